//! The kubelet of a node: who it is to the API server, and its configuration.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::net::UnixStream;

use super::{NodeOptions, START, containerd};
use crate::plane::binaries::program;
use crate::plane::process::{Place, Process};
use crate::plane::{Plane, flag};

/// Gives nodes the rights that Kubernetes wrote down for them. A cluster of today
/// has the node authorizer for this, which knows what each node may see.
pub(super) const RIGHTS: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: nodes-of-tests }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:node }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: Group, name: system:nodes }]
";

/// The kubelet's folder in the node's. The node's programs see it as
/// `/var/lib/kubelet`.
pub(super) fn root(dir: &Path) -> PathBuf {
    dir.join("kubelet")
}

/// Where device plugins listen, and in `kubelet.sock` the kubelet for them. The
/// kubelet has no other folder for it, whatever its root.
pub(super) fn device_plugin_dir(dir: &Path) -> PathBuf {
    root(dir).join("device-plugins")
}

/// Where the kubelet says who holds which device.
pub(super) fn pod_resources_socket(dir: &Path) -> PathBuf {
    root(dir).join("pod-resources/kubelet.sock")
}

/// Where the containers' output is.
pub(super) fn logs(dir: &Path) -> PathBuf {
    dir.join("logs")
}

/// Writes what the kubelet reads, before it first starts.
pub(super) fn prepare(plane: &Plane, dir: &Path, name: &str, control_group: &str) -> Result<()> {
    fs::write(dir.join("kubelet.json"), configuration(dir, control_group).to_string())?;
    let kubeconfig =
        fs::read_to_string(plane.kubeconfig()).context("reading the administrator's kubeconfig")?;
    let mut kubeconfig: Value = serde_json::from_str(&kubeconfig)?;
    // The administrator speaks as the node: a user of its own would have to be
    // there when the API server starts.
    let user = &mut kubeconfig["users"][0]["user"];
    user["as"] = json!(format!("system:node:{name}"));
    user["as-groups"] = json!(["system:nodes"]);
    fs::write(dir.join("kubelet.kubeconfig"), kubeconfig.to_string()).context("writing the node's kubeconfig")
}

fn configuration(dir: &Path, control_group: &str) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": format!("unix://{}", containerd::socket(dir).display()),
        // All containers of the node are below it.
        "cgroupRoot": format!("/{control_group}"),
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": false,
        "enforceNodeAllocatable": [],
        // Machines on which tests run have either version.
        "failCgroupV1": false,
        "failSwapOn": false,
        // Several nodes on one machine cannot have one port each, and nobody asks.
        "enableServer": false,
        "healthzPort": 0,
        // Would change the machine.
        "makeIPTablesUtilChains": false,
        "volumePluginDir": dir.join("volume-plugins"),
        // Lowering it needs CAP_SYS_RESOURCE.
        "oomScoreAdj": 0,
        "podLogsDir": logs(dir),
        "resolvConf": "",
        // A full disk of the machine is not the tests' affair.
        "localStorageCapacityIsolation": false,
        "evictionHard": { "memory.available": "1Mi", "nodefs.available": "0%", "imagefs.available": "0%" },
        "imageGCHighThresholdPercent": 100,
        // What plugins announce is in the node's status this much later, by default 10 s.
        "nodeStatusUpdateFrequency": "1s",
    })
}

/// Starts the kubelet and waits until it serves device plugins and says who has
/// which device.
pub(super) async fn start(place: Place, dir: &Path, options: &NodeOptions<'_>) -> Result<Process> {
    let labels: Vec<String> = options.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let arguments = [
        flag("config", dir.join("kubelet.json")),
        flag("kubeconfig", dir.join("kubelet.kubeconfig")),
        flag("hostname-override", options.name),
        flag("node-labels", labels.join(",")),
        "--v=2".into(),
    ];
    let mut process = Process::start_in(place, "kubelet", dir, &program("kubelet")?, arguments)?;
    // A kubelet that was killed left its sockets, but nobody answers there.
    let sockets = [device_plugin_dir(dir).join("kubelet.sock"), pod_resources_socket(dir)];
    let listens = async || {
        for socket in &sockets {
            UnixStream::connect(socket).await.ok()?;
        }
        Some(())
    };
    process.until("to listen", START, listens).await?;
    Ok(process)
}
