//! What makes objects change by themselves: Kubernetes' controllers, and KWOK in
//! the kubelets' place.

use std::fs;

use anyhow::Result;

use super::access::free_port;
use super::binaries::program;
use super::process::Process;
use super::{Plane, START, flag};

/// What runs of the controller manager: what workloads and evictions need. The
/// controllers of nodes stay away, they would take fake nodes for dead ones.
const CONTROLLERS: [&str; 11] = [
    "cronjob-controller",
    "deployment-controller",
    "disruption-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "replicaset-controller",
    "serviceaccount-controller",
    "statefulset-controller",
    "ttl-after-finished-controller",
    "validatingadmissionpolicy-status-controller",
];

/// What KWOK does to pods: all start at once and, unlike KWOK's own stages, run
/// until somebody deletes them, jobs included.
const STAGES: &str = include_str!("kwok-stages.yaml");

/// Which nodes KWOK plays the kubelet of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Managed<'a> {
    /// All.
    All,
    /// Those with this annotation, written `key=value`.
    Annotated(&'a str),
}

/// A running kube-controller-manager. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Controllers {
    _process: Process,
}

/// A running KWOK. Dropping it kills it; pods then stay as they are.
#[derive(Debug)]
pub(crate) struct Kwok {
    _process: Process,
}

impl Plane {
    /// Starts the controllers: workloads make pods, what a deleted object owns
    /// goes with it, and budgets say how many pods may be evicted.
    pub(crate) async fn controllers(&self) -> Controllers {
        let process = self.try_controllers().await.expect("the controllers start");
        Controllers { _process: process }
    }

    async fn try_controllers(&self) -> Result<Process> {
        let kubeconfig = &self.access.kubeconfig;
        let arguments = [
            flag("kubeconfig", kubeconfig),
            flag("controllers", CONTROLLERS.join(",")),
            flag("service-account-private-key-file", &self.access.service_account_key),
            // With one of them there is nobody to elect, and it takes seconds.
            "--leader-elect=false".into(),
            "--secure-port=0".into(),
            "--kube-api-qps=500".into(),
            "--kube-api-burst=1000".into(),
        ];
        let name = "kube-controller-manager";
        let mut process = Process::start(name, self.dir.path(), &program(name)?, arguments)?;
        // The last thing that the collector says before it works; it is the
        // slowest to start, since it must know every kind there is.
        process.line("all resource monitors have synced", START).await?;
        Ok(process)
    }

    /// Starts KWOK for every node.
    pub(crate) async fn kwok(&self) -> Kwok {
        self.kwok_for(Managed::All).await
    }

    /// Starts KWOK: pods bound to its nodes run, and those that are deleted go.
    pub(crate) async fn kwok_for(&self, managed: Managed<'_>) -> Kwok {
        let process = self.try_kwok(managed).await.expect("KWOK starts");
        Kwok { _process: process }
    }

    async fn try_kwok(&self, managed: Managed<'_>) -> Result<Process> {
        let stages = self.new_file("kwok", "yaml");
        fs::write(&stages, STAGES)?;
        let port = free_port()?;
        let arguments = [
            flag("kubeconfig", &self.access.kubeconfig),
            flag("config", &stages),
            match managed {
                Managed::All => "--manage-all-nodes=true".into(),
                Managed::Annotated(selector) => flag("manage-nodes-with-annotation-selector", selector),
            },
            // Nodes are ready because the test says so; a lease per node and ten
            // seconds would only keep the API server busy.
            "--node-lease-duration-seconds=0".into(),
            flag("server-address", format!("127.0.0.1:{port}")),
        ];
        let mut process = Process::start("kwok", self.dir.path(), &program("kwok")?, arguments)?;
        process.line("Watch", START).await?;
        Ok(process)
    }
}
