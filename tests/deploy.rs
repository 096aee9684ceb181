//! What `deploy/` and `scheduler-config/` hold is consistent, and both ways to install it give the same objects.
//!
//! No cluster: kustomize and Helm render, this file compares. `UPDATE_GOLDEN=1` copies what the chart shares with
//! kustomize into the chart.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "deploy/agent.rs"]
mod agent;
#[path = "deploy/image.rs"]
mod image;
#[path = "deploy/monitoring.rs"]
mod monitoring;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};
use tangram::config::{Config, Election};
use tangram::k8s::rights::{self, Right};

/// Namespace of everything that has one, in the files.
const NAMESPACE: &str = "tangram-system";

/// The three ways to install: an overlay, and the chart's values for the same.
const SHAPES: [(&str, &[&str]); 3] = [
    ("secondary", &[]),
    ("extender", &["shape=extender"]),
    ("extender-cert-manager", &["shape=extender", "tls.certManager=true"]),
];

/// Overlays.
const ALL: &[&str] = &["secondary", "extender", "extender-cert-manager"];
const OWN: &[&str] = &["extender", "extender-cert-manager"];
const BESIDE: &[&str] = &["secondary"];

/// Every role of `deploy/rbac`, the overlays that have it, and what it allows: of these rights the cluster-wide
/// ones for a `ClusterRole`, the others for a `Role`. A role that is not here, or another right, fails.
const ROLES: [(&str, &[&str], &[Right]); 7] = [
    ("ClusterRole tangram", ALL, rights::SERVE),
    ("Role tangram", ALL, rights::SERVE),
    ("Role tangram-leader-election", OWN, rights::LEASE),
    ("Role tangram-follow", BESIDE, rights::FOLLOW),
    ("Role tangram-kube-scheduler", BESIDE, rights::SCHEDULER),
    ("ClusterRole tangram-agent", ALL, rights::AGENT),
    ("Role tangram-agent", ALL, rights::AGENT),
];

/// Who holds each role: the binding, the role, the service account.
const BINDINGS: [(&str, &str, &str); 10] = [
    ("ClusterRoleBinding tangram", "ClusterRole tangram", "tangram"),
    ("ClusterRoleBinding tangram-agent", "ClusterRole tangram-agent", "tangram-agent"),
    ("RoleBinding tangram-system/tangram", "Role tangram", "tangram"),
    ("RoleBinding tangram-system/tangram-agent", "Role tangram-agent", "tangram-agent"),
    ("RoleBinding tangram-system/tangram-leader-election", "Role tangram-leader-election", "tangram"),
    ("RoleBinding tangram-system/tangram-follow", "Role tangram-follow", "tangram"),
    ("RoleBinding tangram-system/tangram-kube-scheduler", "Role tangram-kube-scheduler", "tangram"),
    ("ClusterRoleBinding tangram-kube-scheduler", "ClusterRole system:kube-scheduler", "tangram"),
    ("ClusterRoleBinding tangram-volume-scheduler", "ClusterRole system:volume-scheduler", "tangram"),
    (
        "RoleBinding kube-system/tangram-extension-apiserver-authentication-reader",
        "Role extension-apiserver-authentication-reader",
        "tangram",
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn documents(text: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

fn object(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below `folder`, by its path from the repository's root.
fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else {
                found.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort_unstable();
    found
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|item| item.as_str().unwrap()).collect()
}

/// Where `kustomize` or `helm` is; built on first use, which takes minutes.
fn program(name: &str) -> &'static Path {
    static FOUND: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let mut build = Command::new(root().join("tests/controlplane/build"));
        let output = build.args(["kustomize", "helm"]).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "tests/controlplane/build says why above");
        let listed = String::from_utf8(output.stdout).unwrap();
        let pairs = listed.lines().filter_map(|line| line.split_once(' '));
        pairs.map(|(name, path)| (name.to_owned(), path.into())).collect()
    });
    &found[name]
}

/// What a program prints; `Err` with its complaint when it fails.
fn run(name: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program(name)).args(arguments).current_dir(root()).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    output.status.success().then_some(out).ok_or(err)
}

fn kustomize(overlay: &str) -> Vec<Value> {
    documents(&run("kustomize", &["build", &format!("deploy/kustomize/overlays/{overlay}")]).unwrap())
}

fn helm(namespace: &str, values: &[&str]) -> Result<Vec<Value>, String> {
    let mut arguments = vec!["template", "tangram", "deploy/helm/tangram", "--namespace", namespace];
    arguments.extend(["--kube-version", "1.36.2"]);
    arguments.extend(values.iter().flat_map(|value| ["--set", value]));
    run("helm", &arguments).map(|text| documents(&text))
}

fn name(object: &Value) -> String {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str);
    let name = text("/metadata/name").unwrap();
    let namespace = text("/metadata/namespace").map(|namespace| format!("{namespace}/")).unwrap_or_default();
    format!("{} {namespace}{name}", text("/kind").unwrap())
}

/// The objects of a kind.
fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// Takes off what kustomize and Helm each add to start new pods when the configuration changes, orders lists whose
/// order means nothing, and looks into configurations, whose text differs where their content does not. The
/// namespace is Helm's to make or not.
fn compared(objects: Vec<Value>) -> BTreeMap<String, Value> {
    fn strip(value: &mut Value) {
        const HASHED: [&str; 2] = ["tangram-config-", "tangram-scheduler-config-"];
        const HASH: usize = 10; // letters of kustomize's suffix
        const SETS: [&str; 4] = ["env", "ports", "volumeMounts", "volumes"];
        match value {
            Value::String(text) => {
                for prefix in HASHED {
                    if text.len() == prefix.len() + HASH && text.starts_with(prefix) {
                        text.truncate(prefix.len() - 1);
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            Value::Object(fields) => {
                fields.remove("checksum/config");
                fields.values_mut().for_each(strip);
                for (_, list) in fields.iter_mut().filter(|(key, _)| SETS.contains(&key.as_str())) {
                    list.as_array_mut().unwrap().sort_by_key(Value::to_string);
                }
            }
            _ => (),
        }
    }
    let mut found = BTreeMap::new();
    for mut object in objects {
        if object["kind"] == "Namespace" {
            continue;
        }
        strip(&mut object);
        if object["kind"] == "ConfigMap" {
            for text in object["data"].as_object_mut().unwrap().values_mut() {
                *text = serde_saphyr::from_str(text.as_str().unwrap()).unwrap();
            }
        }
        let name = name(&object);
        assert_eq!(found.insert(name.clone(), object), None, "{name} stands there twice");
    }
    found
}

/// Every value inside a value, by its path: what differs is then a line and not a screen.
fn leaves(value: &Value) -> BTreeSet<String> {
    fn collect(path: &str, value: &Value, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                fields.iter().for_each(|(key, value)| collect(&format!("{path}.{key}"), value, into));
            }
            Value::Array(items) if !items.is_empty() => {
                (0..).zip(items).for_each(|(index, value)| collect(&format!("{path}[{index}]"), value, into));
            }
            value => _ = into.insert(format!("{path} = {value}")),
        }
    }
    let mut found = BTreeSet::new();
    collect("", value, &mut found);
    found
}

#[test]
fn every_file_is_yaml() {
    let both = [files("deploy"), files("scheduler-config")].concat();
    let is_yaml = |path: &&String| {
        Path::new(path).extension().is_some_and(|is| is == "yaml") && !path.contains("/templates/")
    };
    for path in both.iter().filter(is_yaml) {
        let parsed: Result<Vec<Value>, _> = serde_saphyr::from_multiple(&read(path));
        let parsed = parsed.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(parsed.iter().any(Value::is_object), "{path} holds nothing");
    }
}

#[test]
fn what_the_chart_shares_with_kustomize_is_the_same_file() {
    let folder = "deploy/helm/tangram/files/";
    let shared = files(folder);
    assert!(shared.len() > 10, "{shared:?}");
    for path in shared {
        let below = path.strip_prefix(folder).unwrap();
        let is_of_the_root = below.starts_with("scheduler-config/");
        let origin = if is_of_the_root { below.to_owned() } else { format!("deploy/{below}") };
        let text = read(&origin);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(root().join(&path), &text).unwrap();
        }
        assert!(read(&path) == text, "{path} is not {origin}: run with UPDATE_GOLDEN=1");
    }
}

#[test]
fn kustomize_and_helm_install_the_same_objects() {
    for (overlay, values) in SHAPES {
        let [ours, theirs] = [kustomize(overlay), helm(NAMESPACE, values).unwrap()].map(compared);
        let [names, others] = [&ours, &theirs].map(|objects| objects.keys().collect::<BTreeSet<_>>());
        assert_eq!(names, others, "{overlay}");
        for (name, object) in ours {
            let [ours, theirs] = [&object, &theirs[&name]].map(leaves);
            let differences: Vec<_> = ours.symmetric_difference(&theirs).collect();
            assert!(differences.is_empty(), "{overlay}: {name}: {differences:#?}");
        }
    }
}

#[test]
fn the_chart_installs_into_any_namespace() {
    for (_, values) in SHAPES {
        for object in helm("gpu", values).unwrap() {
            assert!(!object.to_string().contains(NAMESPACE), "{}", name(&object));
        }
    }
}

#[test]
fn the_chart_takes_its_values_and_no_others() {
    let refused = |values: &[&str], why: &str| {
        let complaint = helm(NAMESPACE, values).unwrap_err();
        assert!(complaint.contains(why), "{values:?}: {complaint}");
    };
    refused(&["shap=extender"], "shap");
    refused(&["shape=both"], "shape");
    refused(&["replicas=0"], "replicas");
    refused(&["shape=extender", "tls.certManager=true", "tls.secretName=other"], "tangram-tls");
    let objects = helm(NAMESPACE, &["policies.install=false", "crd.install=false", "config.log.level=debug"]);
    let objects = objects.unwrap();
    assert!(of_kind(&objects, "ValidatingAdmissionPolicy").is_empty());
    assert!(of_kind(&objects, "CustomResourceDefinition").is_empty());
    let shipped = object("deploy/kustomize/overlays/secondary/config.yaml");
    let objects = compared(objects);
    let configuration = &objects[&format!("ConfigMap {NAMESPACE}/tangram-config")]["data"]["config.yaml"];
    assert_eq!(configuration["log"], json!({ "format": "json", "level": "debug" }));
    assert_eq!(configuration["kubernetes"], shipped["kubernetes"]);
    run("helm", &["lint", "--strict", "deploy/helm/tangram"]).unwrap();
}

#[test]
fn roles_allow_what_the_table_says() {
    for (overlay, _) in SHAPES {
        let objects = kustomize(overlay);
        let (mut found, mut users) = (BTreeMap::new(), 0);
        for role in objects
            .iter()
            .filter(|object| ["Role", "ClusterRole"].contains(&object["kind"].as_str().unwrap()))
        {
            if role["kind"] == "Role" {
                assert_eq!(role["metadata"]["namespace"], NAMESPACE);
            }
            let title =
                format!("{} {}", role["kind"].as_str().unwrap(), role["metadata"]["name"].as_str().unwrap());
            let of_users = rights::USERS.iter().find(|(name, _)| title == format!("ClusterRole {name}"));
            if let Some((_, rights)) = of_users {
                let rules = role["rules"].as_array().unwrap();
                let rules: Vec<_> = rules
                    .iter()
                    .map(|rule| (texts(&rule["nonResourceURLs"]), texts(&rule["verbs"])))
                    .collect();
                let wanted: Vec<_> =
                    rights.iter().map(|right| (right.paths.to_vec(), right.verbs.to_vec())).collect();
                assert_eq!(rules, wanted, "{title}");
                users += 1;
                continue;
            }
            let mut rights = Vec::new();
            for rule in role["rules"].as_array().unwrap() {
                let mut verbs = texts(&rule["verbs"]);
                verbs.sort_unstable();
                for group in texts(&rule["apiGroups"]) {
                    for resource in texts(&rule["resources"]) {
                        rights.push((group, resource, verbs.clone(), texts(&rule["resourceNames"])));
                    }
                }
            }
            rights.sort_unstable();
            found.insert(title, rights);
        }
        let mut wanted = BTreeMap::new();
        for (title, overlays, rights) in ROLES {
            if overlays.contains(&overlay) {
                let is_meant = |right: &&Right| right.is_cluster_wide == title.starts_with("Cluster");
                let rights = rights.iter().filter(is_meant);
                let mut rights: Vec<_> = rights
                    .map(|right| (right.group, right.resource, right.verbs.to_vec(), right.names.to_vec()))
                    .collect();
                rights.sort_unstable();
                wanted.insert(title.to_owned(), rights);
            }
        }
        assert_eq!(found, wanted, "{overlay}");
        assert_eq!(users, rights::USERS.len(), "{overlay}");
    }
}

#[test]
fn roles_are_bound_to_the_service_accounts_of_the_table() {
    let mut found = BTreeSet::new();
    for (overlay, _) in SHAPES {
        let objects = kustomize(overlay);
        let accounts: Vec<String> = of_kind(&objects, "ServiceAccount").into_iter().map(name).collect();
        for binding in
            objects.iter().filter(|object| object["kind"].as_str().unwrap().ends_with("RoleBinding"))
        {
            let role = &binding["roleRef"];
            let role = format!("{} {}", role["kind"].as_str().unwrap(), role["name"].as_str().unwrap());
            let [subject] = binding["subjects"].as_array().unwrap().as_slice() else {
                panic!("{} has one subject", name(binding))
            };
            assert_eq!(subject["kind"], "ServiceAccount");
            assert_eq!(subject["namespace"], NAMESPACE);
            let account = subject["name"].as_str().unwrap().to_owned();
            assert!(accounts.contains(&format!("ServiceAccount {NAMESPACE}/{account}")), "{account}");
            found.insert((name(binding), role, account));
        }
    }
    let wanted =
        BINDINGS.map(|(binding, role, account)| (binding.to_owned(), role.to_owned(), account.to_owned()));
    assert_eq!(found, BTreeSet::from(wanted));
}

#[test]
fn pods_are_confined_and_wait_for_nothing_that_tangram_places() {
    for (overlay, _) in SHAPES {
        let objects = kustomize(overlay);
        let [deployment] = of_kind(&objects, "Deployment")[..] else {
            panic!("{overlay} has one Deployment")
        };
        assert_eq!(deployment["spec"]["replicas"], 2);
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["schedulerName"], "default-scheduler");
        assert_eq!(pod["priorityClassName"], "system-cluster-critical");
        let security = &pod["securityContext"];
        assert_eq!(security["runAsNonRoot"], true);
        assert_eq!(security["runAsUser"], 65532);
        assert_eq!(security["seccompProfile"], json!({ "type": "RuntimeDefault" }));
        for field in ["hostNetwork", "hostPID", "hostIPC", "initContainers", "shareProcessNamespace"] {
            assert_eq!(pod[field], Value::Null, "{field}");
        }
        for volume in pod["volumes"].as_array().unwrap() {
            assert!(volume["configMap"].is_object() || volume["secret"].is_object(), "{volume}");
        }
        for container in pod["containers"].as_array().unwrap() {
            let confined = json!({
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"] },
            });
            assert_eq!(container["securityContext"], confined);
            let resources = container["resources"].as_object().unwrap();
            assert_eq!(
                resources.keys().collect::<Vec<_>>(),
                ["requests"],
                "a limit throttles the scheduling loop"
            );
            let requests = resources["requests"].as_object().unwrap();
            assert_eq!(requests.keys().collect::<Vec<_>>(), ["cpu", "memory"], "no GPU");
            for probe in ["startupProbe", "livenessProbe"] {
                assert_eq!(container[probe]["httpGet"]["path"], "/livez");
            }
            let mounts = container["volumeMounts"].as_array().unwrap();
            assert!(mounts.iter().all(|mount| mount["readOnly"] == true));
        }
    }
}

#[test]
fn selectors_of_a_shape_find_its_pods_and_their_ports() {
    for (overlay, _) in SHAPES {
        let objects = kustomize(overlay);
        let deployment = of_kind(&objects, "Deployment")[0];
        let template = &deployment["spec"]["template"];
        let labels = &template["metadata"]["labels"];
        let containers = template["spec"]["containers"].as_array().unwrap();
        let ports: Vec<(&str, i64)> = containers
            .iter()
            .flat_map(|container| container["ports"].as_array().unwrap())
            .map(|port| (port["name"].as_str().unwrap(), port["containerPort"].as_i64().unwrap()))
            .collect();
        assert_eq!(&deployment["spec"]["selector"]["matchLabels"], labels);
        assert_eq!(&of_kind(&objects, "PodDisruptionBudget")[0]["spec"]["selector"]["matchLabels"], labels);
        let policies = of_kind(&objects, "NetworkPolicy");
        let network = policies.into_iter().find(|policy| policy["metadata"]["name"] == "tangram").unwrap();
        let network = &network["spec"];
        assert_eq!(&network["podSelector"]["matchLabels"], labels);
        let open = network["ingress"][0]["ports"].as_array().unwrap().iter();
        let open: BTreeSet<&str> = open.map(|port| port["port"].as_str().unwrap()).collect();
        assert_eq!(open, ports.iter().map(|(name, _)| *name).collect(), "{overlay}");
        for service in of_kind(&objects, "Service") {
            assert_eq!(&service["spec"]["selector"], labels);
            assert!(ports.contains(&("extender", service["spec"]["ports"][0]["port"].as_i64().unwrap())));
        }

        // What the ports are is said by the configuration.
        let configuration = object(&format!(
            "deploy/kustomize/overlays/{}/config.yaml",
            overlay.split_once('-').map_or(overlay, |(shape, _)| shape)
        ));
        let probes = ports.iter().find(|(name, _)| *name == "probes").unwrap().1;
        assert_eq!(configuration["probeListen"], format!("0.0.0.0:{probes}"));
        assert_eq!(template["metadata"]["annotations"]["prometheus.io/port"], probes.to_string());
    }
}

#[test]
fn a_scheduler_finds_tangram_where_its_configuration_says() {
    let extender = |file: &str| object(&format!("scheduler-config/{file}.yaml"))["extenders"][0].clone();
    let configuration = |shape: &str| object(&format!("deploy/kustomize/overlays/{shape}/config.yaml"));

    let secondary = configuration("secondary");
    let url = format!("http://{}/scheduler", secondary["listen"].as_str().unwrap());
    for file in ["secondary", "autoscaler"] {
        assert_eq!(extender(file)["urlPrefix"], url);
        let scheduler = object(&format!("scheduler-config/{file}.yaml"));
        let election = &scheduler["leaderElection"];
        assert_eq!(election["resourceName"], secondary["kubernetes"]["leaderElection"]["leaseName"]);
        assert_eq!(election["resourceNamespace"], NAMESPACE);
        assert_eq!(scheduler["profiles"][0]["schedulerName"], secondary["kubernetes"]["schedulers"][0]);
    }
    assert_eq!(secondary["kubernetes"]["leaderElection"]["mode"], "follow");

    let objects = kustomize("extender-cert-manager");
    let service = of_kind(&objects, "Service")[0];
    let host = format!("{}.{NAMESPACE}.svc", service["metadata"]["name"].as_str().unwrap());
    let port = &service["spec"]["ports"][0]["port"];
    let theirs = extender("extender");
    assert_eq!(theirs["urlPrefix"], format!("https://{host}:{port}/scheduler"));
    assert_eq!(theirs["enableHTTPS"], true);
    assert_eq!(theirs["tlsConfig"]["serverName"], host);
    assert!(theirs["tlsConfig"]["caFile"].is_string(), "without a CA nothing is checked");
    let certificate = |secret: &str| {
        let all = of_kind(&objects, "Certificate");
        all.into_iter().find(|one| one["spec"]["secretName"] == secret).unwrap().clone()
    };
    assert!(texts(&certificate("tangram-tls")["spec"]["dnsNames"]).contains(&host.as_str()));
    assert_eq!(certificate("tangram-scheduler-client-tls")["spec"]["usages"], json!(["client auth"]));
    let own = configuration("extender");
    assert_eq!(own["listen"], format!("0.0.0.0:{port}"));
    assert!(own["tls"]["clientCaFile"].is_string(), "bind is not for everybody");
    assert_eq!(own["kubernetes"]["leaderElection"]["mode"], "own");
}

#[test]
fn the_program_reads_every_configuration_that_is_shipped() {
    let parsed =
        |origin: &str, text: &str| Config::parse(text).unwrap_or_else(|error| panic!("{origin}: {error:#}"));
    let shipped = files("deploy").into_iter().filter(|path| path.ends_with("/config.yaml"));
    let shipped: Vec<String> = shipped.filter(|path| !path.contains("/templates/")).collect();
    assert!(shipped.len() >= 4, "{shipped:?}");
    for path in shipped {
        parsed(&path, &read(&path));
    }
    // As the pods get them, and what is no default arrives.
    for (overlay, values) in SHAPES {
        for objects in [kustomize(overlay), helm(NAMESPACE, values).unwrap()] {
            let objects = compared(objects);
            let map = &objects[&format!("ConfigMap {NAMESPACE}/tangram-config")];
            let config = parsed(overlay, &map["data"]["config.yaml"].to_string());
            let election = &config.kubernetes.leader_election;
            let wanted = match overlay {
                "secondary" => (Election::Follow, "tangram-scheduler", false, "tangram"),
                _ => (Election::Own, "tangram", true, "default-scheduler"),
            };
            let schedulers = config.kubernetes.schedulers.join(",");
            let found = (election.mode, &*election.lease_name, config.tls.is_some(), &*schedulers);
            assert_eq!(found, wanted, "{overlay}");
            assert!(config.probe_listen.is_some(), "{overlay}");
        }
    }
}

#[test]
fn policies_hold_the_accounts_that_exist_and_fail_closed() {
    let objects = kustomize("secondary");
    let policies = of_kind(&objects, "ValidatingAdmissionPolicy");
    let bindings = of_kind(&objects, "ValidatingAdmissionPolicyBinding");
    assert_eq!(policies.len(), 5);
    assert_eq!(bindings.len(), policies.len());
    let accounts: Vec<String> = of_kind(&objects, "ServiceAccount")
        .into_iter()
        .map(|account| {
            format!("system:serviceaccount:{NAMESPACE}:{}", account["metadata"]["name"].as_str().unwrap())
        })
        .collect();
    for policy in policies {
        assert_eq!(policy["spec"]["failurePolicy"], "Fail", "{}", name(policy));
        let text = policy.to_string();
        for found in text.split("system:serviceaccount:").skip(1) {
            let account = found.split('\'').next().unwrap();
            assert!(
                accounts.contains(&format!("system:serviceaccount:{account}")),
                "{}: {account}",
                name(policy)
            );
        }
        assert!(text.contains(&accounts[0]), "{}", name(policy));
        let binding =
            bindings.iter().find(|binding| binding["metadata"]["name"] == policy["metadata"]["name"]);
        let binding = &binding.unwrap()["spec"];
        assert_eq!(binding["policyName"], policy["metadata"]["name"]);
        assert_eq!(binding["validationActions"], json!(["Deny"]));
        assert_eq!(binding["matchResources"], Value::Null, "no namespace is left out");
    }
    let keys = ["tangram.gpu/placement", "tangram.gpu/fence"];
    assert!(keys.iter().all(|key| read("deploy/policies/pod-annotations.yaml").contains(key)));
}

#[test]
fn the_crd_bounds_and_explains_every_field() {
    fn check(path: &str, schema: &Value) {
        assert!(path.ends_with("metadata") || schema["description"].is_string(), "{path} has no description");
        match schema["type"].as_str().unwrap() {
            "array" => {
                assert!(schema["maxItems"].is_u64(), "{path} is not bounded");
                assert!(schema["x-kubernetes-list-type"].is_string(), "{path} has no list type");
                check(&format!("{path}[]"), &schema["items"]);
            }
            "string" if !["apiVersion", "kind"].iter().any(|field| path == format!(".{field}")) => {
                let bounds = ["maxLength", "enum", "format"];
                assert!(bounds.iter().any(|bound| !schema[bound].is_null()), "{path} is not bounded");
            }
            "integer" => assert!(schema["minimum"].is_u64(), "{path} can be negative"),
            _ => (),
        }
        for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
            check(&format!("{path}.{field}"), schema);
        }
    }
    let crd = object("deploy/crd/gpunodes.yaml");
    let version = &crd["spec"]["versions"][0];
    assert_eq!(version["name"], "v1alpha1");
    assert_eq!(version["subresources"], json!({ "status": {} }));
    let schema = &version["schema"]["openAPIV3Schema"];
    check("", schema);
    let wanted = &schema["properties"]["spec"]["properties"]["instances"];
    assert_eq!(wanted["x-kubernetes-list-map-keys"], json!(["gpu", "start"]));
    assert_eq!(wanted["items"]["properties"]["pod"]["required"], json!(["namespace", "name", "uid"]));
}

/// What of a value a schema does not allow. The part of OpenAPI that the CRD uses, except patterns and formats.
fn violations(path: &str, schema: &Value, value: &Value, into: &mut Vec<String>) {
    let mut is_violated = |what: &str| into.push(format!("{path}: {what}: {value}"));
    let above =
        |bound: &str, number: Option<f64>| schema[bound].as_f64().zip(number).is_some_and(|(m, n)| n > m);
    let count = |count: usize| u32::try_from(count).ok().map(f64::from);
    match (schema["type"].as_str().unwrap(), value) {
        ("object", Value::Object(fields)) => {
            let known = schema["properties"].as_object();
            for required in texts(&schema["required"]) {
                if !fields.contains_key(required) {
                    is_violated(&format!("{required} is missing"));
                }
            }
            for (field, value) in fields {
                match known.map(|known| known.get(field)) {
                    None => (), // metadata
                    Some(None) => into.push(format!("{path}.{field} is not known")),
                    Some(Some(schema)) => violations(&format!("{path}.{field}"), schema, value, into),
                }
            }
        }
        ("array", Value::Array(items)) => {
            if above("maxItems", count(items.len())) {
                is_violated("too many");
            }
            for (index, item) in items.iter().enumerate() {
                violations(&format!("{path}[{index}]"), &schema["items"], item, into);
            }
        }
        ("string", Value::String(text)) => {
            let is_one_of = schema["enum"].as_array().is_none_or(|all| all.contains(value));
            if !is_one_of || above("maxLength", count(text.len())) {
                is_violated("not allowed");
            }
        }
        ("integer", Value::Number(number)) => {
            let number = number.as_f64();
            if above("maximum", number) || schema["minimum"].as_f64().zip(number).is_some_and(|(m, n)| n < m)
            {
                is_violated("out of range");
            }
        }
        (wanted, _) => is_violated(&format!("not of type {wanted}")),
    }
}

#[test]
fn gpunodes_of_the_example_are_what_the_crd_allows() {
    let crd = object("deploy/crd/gpunodes.yaml");
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let example = object("examples/cluster.yaml");
    let items: Vec<Value> = example["items"].as_array().unwrap().clone();
    let found = of_kind(&items, "GpuNode");
    assert!(!found.is_empty());
    let mut wrong = Vec::new();
    for gpunode in &found {
        violations(&name(gpunode), schema, gpunode, &mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    let mut impossible = found[0].clone();
    impossible["spec"]["instances"][0]["gpu"] = json!(64);
    impossible["status"]["gpus"][0]["colour"] = json!("green");
    impossible["status"]["gpus"][0]["health"] = json!("Sick");
    violations("", schema, &impossible, &mut wrong);
    let wanted = [
        ".spec.instances[0].gpu: out of range: 64",
        ".status.gpus[0].colour is not known",
        ".status.gpus[0].health: not allowed: \"Sick\"",
    ];
    assert_eq!(wrong, wanted);
}

/// The resource names of a configuration, and whether the scheduler ignores each.
fn managed(file: &str) -> Vec<(String, bool)> {
    let configuration = object(&format!("scheduler-config/{file}.yaml"));
    let managed = configuration["extenders"][0]["managedResources"].as_array().unwrap().clone();
    let name = |one: &Value| one["name"].as_str().unwrap().to_owned();
    managed.iter().map(|one| (name(one), one["ignoredByScheduler"] == true)).collect()
}

#[test]
fn the_configurations_name_every_resource_that_a_gpu_model_of_the_table_can_have() {
    let named = managed("secondary");
    let distinct: BTreeSet<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(distinct.len(), named.len(), "kube-scheduler refuses a name that stands there twice");
    for profile in tangram::mig::Catalog::get().profiles() {
        let resource = profile.resource();
        for name in ["nvidia.com/mig-", "tangram.gpu/mig-"].map(|group| format!("{group}{resource}")) {
            assert!(distinct.contains(name.as_str()), "{name}");
        }
    }
    // Only what no device plugin counts is ignored, and for an autoscaler nothing is.
    assert!(named.iter().all(|(name, is_ignored)| *is_ignored == name.starts_with("tangram.gpu/")));
    assert_eq!(managed("extender"), named);
    let counted: Vec<_> = named.into_iter().map(|(name, _)| (name, false)).collect();
    assert_eq!(managed("autoscaler"), counted);
}

#[test]
fn the_configurations_differ_only_in_where_and_for_whom() {
    let settings = json!({
        "filterVerb": "filter",
        "prioritizeVerb": "prioritize",
        "preemptVerb": "preempt",
        "bindVerb": "bind",
        "weight": 100,
        "nodeCacheCapable": true,
        "ignorable": false,
        "httpTimeout": "30s",
    });
    for file in ["secondary", "extender", "autoscaler"] {
        let configuration = object(&format!("scheduler-config/{file}.yaml"));
        assert_eq!(configuration["percentageOfNodesToScore"], 100);
        let [extender] = configuration["extenders"].as_array().unwrap().as_slice() else {
            panic!("{file} has one extender")
        };
        let mut extender = extender.as_object().unwrap().clone();
        extender.retain(|key, _| settings.get(key).is_some());
        assert_eq!(Value::Object(extender), settings, "{file}");
    }
}

#[test]
fn versions_are_the_ones_that_the_tests_run() {
    let modules = read("tests/controlplane/go.mod");
    let kubernetes = modules.split_once("k8s.io/kubernetes v").unwrap().1.split_whitespace().next().unwrap();
    let toolchain = read("rust-toolchain.toml");
    let rust = toolchain.split_once("channel = \"").unwrap().1.split('"').next().unwrap();
    let dockerfile = read("Dockerfile");
    assert!(
        dockerfile.contains(&format!("FROM rust:{rust}-")),
        "the Dockerfile has another Rust than {rust}"
    );
    assert!(dockerfile.contains("\nUSER 65532:65532\n"));

    let image = format!("tangram:{}", env!("CARGO_PKG_VERSION"));
    let scheduler = format!("registry.k8s.io/kube-scheduler:v{kubernetes}");
    for (overlay, _) in SHAPES {
        let objects = kustomize(overlay);
        for workload in of_kind(&objects, "Deployment").into_iter().chain(of_kind(&objects, "DaemonSet")) {
            for container in workload["spec"]["template"]["spec"]["containers"].as_array().unwrap() {
                let found = container["image"].as_str().unwrap();
                assert!([image.as_str(), scheduler.as_str()].contains(&found), "{found}");
            }
        }
    }
}
