//! The agent's DaemonSet: what it may, what it sees of its node, and that the program understands it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    NAMESPACE, SHAPES, compared, documents, helm, kustomize, leaves, of_kind, read, root, run, texts,
};

/// What of the node the agent sees: volume, where in the container, where on the node, whether the folder may be
/// made, whether it may write there.
const FOLDERS: [(&str, &str, &str, &str, bool); 8] = [
    (
        "device-plugins",
        "/var/lib/kubelet/device-plugins",
        "/var/lib/kubelet/device-plugins",
        "Directory",
        true,
    ),
    ("pod-resources", "/var/lib/kubelet/pod-resources", "/var/lib/kubelet/pod-resources", "Directory", false),
    ("cdi", "/var/run/cdi", "/var/run/cdi", "DirectoryOrCreate", true),
    ("etc-cdi", "/etc/cdi", "/etc/cdi", "DirectoryOrCreate", false),
    ("state", "/var/lib/tangram", "/var/lib/tangram", "DirectoryOrCreate", true),
    ("dev", "/host/dev", "/dev", "Directory", false),
    ("usr", "/host/usr", "/usr", "Directory", false),
    ("driver", "/run/nvidia", "/run/nvidia", "DirectoryOrCreate", false),
];
/// In NVIDIA's runtime, instead of the last two.
const PROC: (&str, &str, &str, &str, bool) = ("proc", "/host/proc", "/proc", "Directory", false);

fn daemonset(objects: &[Value]) -> &Value {
    let [daemonset] = of_kind(objects, "DaemonSet")[..] else { panic!("there is one DaemonSet") };
    assert_eq!(daemonset["metadata"]["namespace"], NAMESPACE);
    assert_eq!(daemonset["metadata"]["name"], "tangram-agent");
    daemonset
}

fn pod(objects: &[Value]) -> &Value {
    &daemonset(objects)["spec"]["template"]["spec"]
}

pub(super) fn container(objects: &[Value]) -> &Value {
    let [container] = pod(objects)["containers"].as_array().unwrap().as_slice() else {
        panic!("the agent's pod has one container")
    };
    container
}

pub(super) fn variable<'a>(container: &'a Value, name: &str) -> &'a Value {
    let all = container["env"].as_array().unwrap();
    all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name} is not set"))
}

/// The folders of a pod, in the form of [`FOLDERS`].
fn folders(objects: &[Value]) -> BTreeSet<(String, String, String, String, bool)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mounts = container(objects)["volumeMounts"].as_array().unwrap();
    let volumes = pod(objects)["volumes"].as_array().unwrap();
    assert_eq!(mounts.len(), volumes.len());
    let folder = |volume: &Value| {
        let mount = mounts.iter().find(|mount| mount["name"] == volume["name"]).unwrap();
        let (host, may_write) = (&volume["hostPath"], mount["readOnly"] != true);
        (
            text(&volume["name"]),
            text(&mount["mountPath"]),
            text(&host["path"]),
            text(&host["type"]),
            may_write,
        )
    };
    volumes.iter().map(folder).collect()
}

fn owned(
    rows: impl IntoIterator<Item = (&'static str, &'static str, &'static str, &'static str, bool)>,
) -> BTreeSet<(String, String, String, String, bool)> {
    let row = |(name, inside, outside, kind, may_write): (&str, &str, &str, &str, bool)| {
        (name.to_owned(), inside.to_owned(), outside.to_owned(), kind.to_owned(), may_write)
    };
    rows.into_iter().map(row).collect()
}

/// What a user's overlay gives that takes `overlay` and the component for NVIDIA's runtime.
fn in_nvidias_runtime(overlay: &str) -> Vec<Value> {
    own_overlay(|deploy| {
        format!(
            "resources: [{deploy}/overlays/{overlay}]\ncomponents: [{deploy}/components/agent-nvidia-runtime]\n"
        )
    })
}

/// What a user's overlay gives, as its text names the folder of ours.
pub(super) fn own_overlay(text: impl FnOnce(&str) -> String) -> Vec<Value> {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let place = fs::canonicalize(folder.path()).unwrap();
    let is_folder = |part: &Component<'_>| matches!(part, Component::Normal(_));
    let up: PathBuf = place.components().filter(is_folder).map(|_| "..").collect();
    let deploy =
        up.join(fs::canonicalize(root()).unwrap().strip_prefix("/").unwrap()).join("deploy/kustomize");
    let text = text(deploy.to_str().unwrap());
    fs::write(folder.path().join("kustomization.yaml"), text).unwrap();
    documents(&run("kustomize", &["build", place.to_str().unwrap()]).unwrap())
}

#[test]
fn the_agent_sees_of_its_node_what_the_table_says() {
    for (overlay, _) in SHAPES {
        assert_eq!(folders(&kustomize(overlay)), owned(FOLDERS), "{overlay}");
    }
    let wanted = owned(FOLDERS[..6].iter().copied().chain([PROC]));
    assert_eq!(folders(&in_nvidias_runtime("secondary")), wanted);
}

#[test]
fn the_agent_is_root_on_its_node_and_nowhere_else() {
    for (overlay, _) in SHAPES {
        let objects = kustomize(overlay);
        let pod = pod(&objects);
        let security =
            json!({ "privileged": true, "readOnlyRootFilesystem": true, "runAsUser": 0, "runAsGroup": 0 });
        assert_eq!(container(&objects)["securityContext"], security, "{overlay}");
        assert_eq!(
            pod["hostPID"], true,
            "the driver shows the processes of the caller's PID namespace alone"
        );
        for field in ["hostNetwork", "hostIPC", "initContainers", "shareProcessNamespace", "securityContext"]
        {
            assert_eq!(pod[field], Value::Null, "{field}");
        }
        assert_eq!(container(&objects)["ports"], Value::Null);

        // A token that is bound to the pod, for the admission policies.
        assert_eq!(pod["serviceAccountName"], "tangram-agent");
        assert_eq!(pod["automountServiceAccountToken"], true);
        assert!(pod["volumes"].as_array().unwrap().iter().all(|volume| volume["secret"].is_null()));

        let namespace = of_kind(&objects, "Namespace")[0];
        assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "privileged");
    }
}

#[test]
fn in_nvidias_runtime_the_agent_has_one_capability() {
    let objects = in_nvidias_runtime("extender");
    let security = json!({
        "privileged": false,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "runAsUser": 0,
        "runAsGroup": 0,
        "capabilities": { "drop": ["ALL"], "add": ["SYS_ADMIN"] },
        "seccompProfile": { "type": "RuntimeDefault" },
    });
    let container = container(&objects);
    assert_eq!(container["securityContext"], security);
    assert_eq!(pod(&objects)["runtimeClassName"], "nvidia");
    for (name, value) in [
        ("NVIDIA_VISIBLE_DEVICES", "all"),
        ("NVIDIA_DRIVER_CAPABILITIES", "utility"),
        ("NVIDIA_MIG_CONFIG_DEVICES", "all"),
        ("NVIDIA_MIG_MONITOR_DEVICES", "all"),
    ] {
        assert_eq!(variable(container, name)["value"], value);
    }
    for overlay in ["secondary", "extender"] {
        let shape = format!("shape={overlay}");
        let theirs = helm(NAMESPACE, &[&shape, "agent.runtimeClassName=nvidia"]).unwrap();
        let [ours, theirs] = [in_nvidias_runtime(overlay), theirs].map(compared);
        let name = format!("DaemonSet {NAMESPACE}/tangram-agent");
        assert_eq!(leaves(&ours[&name]), leaves(&theirs[&name]), "{overlay}");
        assert_eq!(ours.len(), theirs.len(), "{overlay}");
    }
}

#[test]
fn the_patch_for_the_operators_driver_gives_what_the_charts_value_gives() {
    let document = read("deploy/agent.md");
    let patches =
        document.split_once("driver container:\n\n```yaml\n").unwrap().1.split_once("```").unwrap().0;
    let objects =
        own_overlay(|deploy| patches.replace("../secondary", &format!("{deploy}/overlays/secondary")));
    let theirs = helm(NAMESPACE, &["agent.dev=/run/nvidia/driver/dev"]).unwrap();
    let [ours, theirs] = [objects, theirs].map(compared);
    let name = format!("DaemonSet {NAMESPACE}/tangram-agent");
    assert_eq!(leaves(&ours[&name]), leaves(&theirs[&name]));
    assert!(ours[&name].to_string().contains("--runtime-dev=/run/nvidia/driver/dev"));
}

#[test]
fn a_node_never_has_two_agents() {
    let objects = kustomize("secondary");
    let update = json!({ "rollingUpdate": { "maxSurge": 0, "maxUnavailable": "10%" } });
    assert_eq!(daemonset(&objects)["spec"]["updateStrategy"], update);
    assert_eq!(of_kind(&objects, "DaemonSet").len(), 1);
}

#[test]
fn the_agent_runs_where_gpus_are_and_is_not_evicted_for_pods_that_need_it() {
    let objects = kustomize("secondary");
    let pod = pod(&objects);
    assert_eq!(pod["priorityClassName"], "system-node-critical");
    assert_eq!(
        pod["tolerations"],
        json!([{ "key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule" }])
    );
    let required = &pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let mut keys = BTreeSet::new();
    for term in required["nodeSelectorTerms"].as_array().unwrap() {
        let [label, paused] = term["matchExpressions"].as_array().unwrap().as_slice() else {
            panic!("{term} has a label and an exception")
        };
        keys.insert(label["key"].as_str().unwrap());
        assert_eq!(
            (&paused["key"], &paused["operator"]),
            (&json!("nvidia.com/gpu.deploy.client"), &json!("NotIn"))
        );
        assert_eq!(texts(&paused["values"]), ["paused-for-driver-upgrade", "paused-for-mig-change"]);
    }
    let wanted = [
        "tangram.gpu/mig",
        "nvidia.com/gpu.present",
        "feature.node.kubernetes.io/pci-10de.present",
        "feature.node.kubernetes.io/pci-0300_10de.present",
        "feature.node.kubernetes.io/pci-0302_10de.present",
    ];
    assert_eq!(keys, BTreeSet::from(wanted));
    let resources =
        json!({ "requests": { "cpu": "20m", "memory": "40Mi" }, "limits": { "memory": "100Mi" } });
    assert_eq!(container(&objects)["resources"], resources);
}

#[test]
fn nobody_reaches_the_agent_over_the_network() {
    for (overlay, _) in SHAPES {
        let objects = kustomize(overlay);
        let all = of_kind(&objects, "NetworkPolicy");
        let policy = all.into_iter().find(|policy| policy["metadata"]["name"] == "tangram-agent").unwrap();
        let labels = &daemonset(&objects)["spec"]["template"]["metadata"]["labels"];
        assert_eq!(&policy["spec"]["podSelector"]["matchLabels"], labels);
        assert_eq!(&daemonset(&objects)["spec"]["selector"]["matchLabels"], labels);
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        assert_eq!(policy["spec"]["ingress"], Value::Null);
        let [out] = policy["spec"]["egress"].as_array().unwrap().as_slice() else {
            panic!("one rule for what goes out")
        };
        assert_eq!(out["to"], Value::Null, "no manifest knows the API server's address");
        assert!(out["ports"].as_array().unwrap().contains(&json!({ "port": 443 })));
    }
}

/// `tangram` with arguments.
fn tangram(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tangram")).args(arguments).output().unwrap()
}

/// The arguments as the kubelet gives them.
fn arguments(container: &Value) -> Vec<String> {
    for (name, field) in [("NODE_NAME", "spec.nodeName"), ("NAMESPACE", "metadata.namespace")] {
        assert_eq!(variable(container, name)["valueFrom"]["fieldRef"]["fieldPath"], field);
    }
    let text = |argument: &str| argument.replace("$(NODE_NAME)", "n1").replace("$(NAMESPACE)", NAMESPACE);
    let arguments: Vec<String> = texts(&container["args"]).into_iter().map(text).collect();
    assert!(arguments.iter().all(|argument| !argument.contains("$(")), "{arguments:?}");
    arguments
}

#[test]
fn the_program_takes_the_arguments_and_finds_its_folders_where_they_are_mounted() {
    let help = String::from_utf8(tangram(&["agent", "--help"]).stdout).unwrap();
    for (values, objects) in [
        ("overlay", kustomize("secondary")),
        ("component", in_nvidias_runtime("secondary")),
        (
            "values",
            helm(
                NAMESPACE,
                &[
                    "agent.nvml=/opt/libnvidia-ml.so.1",
                    "agent.dev=/run/nvidia/driver/dev",
                    "agent.extraArgs={--keep-mig-mode}",
                ],
            )
            .unwrap(),
        ),
    ] {
        let container = container(&objects);
        let arguments = arguments(container);
        for flag in arguments.iter().filter_map(|argument| argument.split('=').next()?.strip_prefix("--")) {
            assert!(help.split_whitespace().any(|word| word == format!("--{flag}")), "{values}: --{flag}");
        }
        // It gets as far as the kubeconfig, past everything that is said of a wrong argument.
        let mut all: Vec<&str> = arguments.iter().map(String::as_str).collect();
        all.extend(["--kubeconfig", "/nowhere"]);
        let output = tangram(&all);
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(complaint.starts_with("tangram: kubeconfig /nowhere: "), "{values}: {complaint}");
        let is_mounted = |path: &str| {
            let mounts = container["volumeMounts"].as_array().unwrap();
            mounts.iter().any(|mount| path.starts_with(mount["mountPath"].as_str().unwrap()))
        };
        for path in arguments.iter().filter_map(|argument| argument.split_once("=/").map(|(_, path)| path)) {
            assert!(is_mounted(&format!("/{path}")), "{values}: /{path}");
        }
        // Folders that no argument names are the program's defaults.
        for folder in ["/var/lib/tangram", "/var/run/cdi"] {
            assert!(help.contains(&format!("[default: {folder}]")) && is_mounted(folder), "{folder}");
        }
    }
}

#[test]
fn the_charts_values_reach_the_agent() {
    assert!(of_kind(&helm(NAMESPACE, &["agent.enabled=false"]).unwrap(), "DaemonSet").is_empty());
    let objects = helm(
        NAMESPACE,
        &[
            "agent.nvml=/home/kubernetes/bin/nvidia/lib64/libnvidia-ml.so.1",
            "agent.podResourcesDir=/var/lib/k0s/kubelet/pod-resources",
            "agent.extraArgs={--keep-mig-mode}",
            "agent.tolerations[0].operator=Exists",
            "agent.nodeSelector.pool=gpu",
            "agent.resources.limits.memory=200Mi",
            "image.repository=registry.example/tangram",
        ],
    )
    .unwrap();
    let (pod, container) = (pod(&objects), container(&objects));
    let arguments = texts(&container["args"]);
    assert_eq!(arguments[arguments.len() - 2..], ["--nvml=/host/nvml/libnvidia-ml.so.1", "--keep-mig-mode"]);
    let folder = |name: &str| {
        let volumes = pod["volumes"].as_array().unwrap();
        volumes.iter().find(|volume| volume["name"] == name).unwrap()["hostPath"]["path"].clone()
    };
    assert_eq!(folder("nvml"), "/home/kubernetes/bin/nvidia/lib64");
    assert_eq!(folder("pod-resources"), "/var/lib/k0s/kubelet/pod-resources");
    assert_eq!(pod["tolerations"], json!([{ "operator": "Exists" }]));
    assert_eq!(pod["nodeSelector"], json!({ "kubernetes.io/os": "linux", "pool": "gpu" }));
    assert_eq!(container["resources"]["limits"]["memory"], "200Mi");
    let image = format!("registry.example/tangram:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(container["image"], image);
    let complaint = helm(NAMESPACE, &["agent.nvml=libnvidia-ml.so.1"]).unwrap_err();
    assert!(complaint.contains("nvml"), "{complaint}");
}
