//! A real Kubernetes control plane for one test: etcd, an API server and, when
//! asked for, a scheduler.
//!
//! Each [`Plane`] has its own processes, its own folder and its own port, so
//! tests run beside each other. etcd talks over a socket in the folder. Nodes are
//! objects that a test writes, and a bound pod stays as it is, unless the test
//! starts [`controllers`] that change them.
//!
//! A helper that cannot do its work panics: a test has nothing else to do with
//! such an error than to fail with its text.

mod access;
pub(crate) mod agent;
mod apiserver;
pub(crate) mod apply;
pub(crate) mod ask;
pub(crate) mod binaries;
pub(crate) mod certificates;
pub(crate) mod controllers;
pub(crate) mod crowd;
pub(crate) mod dice;
mod follow;
pub(crate) mod install;
pub(crate) mod link;
mod objects;
pub(crate) mod process;
pub(crate) mod proxy;
mod report;
pub(crate) mod rules;
mod tangram;
pub(crate) mod truth;
pub(crate) mod users;
mod why;
pub(crate) mod workload;

use std::ffi::OsString;
use std::fmt::Debug;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams, TypeMeta};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

use access::Access;
use apiserver::{ApiServer, start_etcd};
use binaries::program;
use process::Process;
use users::User;

pub(crate) use objects::{annotated, fake_node, pod};
pub(crate) use tangram::Tangram;

/// How long a program of the plane may take to be ready. It takes seconds on an
/// idle machine; one with every core taken by other tests needs the rest.
const START: Duration = Duration::from_mins(2);

/// How long the scheduler may take over one pod. It takes a tenth of a second;
/// the rest is for a full machine and for a pod that is tried again.
const DECISION: Duration = Duration::from_mins(1);

/// How often [`wait_until`] looks: each look is a request to the API server.
const LOOK: Duration = Duration::from_millis(100);

/// A running etcd and API server. Dropping it kills them and removes the folder.
pub(crate) struct Plane {
    client: Client,
    access: Access,
    // Ended before the folder they write to goes: fields are dropped in order.
    apiserver: ApiServer,
    _etcd: Process,
    dir: TempDir,
    files: AtomicUsize,
}

/// A running kube-scheduler. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Scheduler {
    process: Process,
}

impl Scheduler {
    /// Kills it where it stands: it does not give its Lease back.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.expect("the scheduler is killed");
    }
}

impl Plane {
    /// Starts a plane with nothing in it, and waits until it takes pods.
    pub(crate) async fn start() -> Self {
        Self::try_start().await.expect("a control plane starts")
    }

    async fn try_start() -> Result<Self> {
        let dir = TempDir::with_prefix("tangram-plane-")?;
        let socket = format!("unix://{}", dir.path().join("etcd.sock").display());
        let etcd = start_etcd(dir.path(), &socket)?;
        let access = Access::write(dir.path())?;
        let (apiserver, client) = ApiServer::start(dir.path(), &socket, &access).await?;
        Ok(Self { client, access, apiserver, _etcd: etcd, dir, files: AtomicUsize::new(0) })
    }

    /// A client with every right.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// For programs: how to reach this plane with every right.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.access.kubeconfig.clone()
    }

    /// The path of a file in the plane's folder that nobody else writes.
    fn new_file(&self, what: &str, extension: &str) -> PathBuf {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        self.dir.path().join(format!("{what}-{number}.{extension}"))
    }

    /// Starts a scheduler with a `KubeSchedulerConfiguration`, to which only how
    /// to reach this plane is added.
    pub(crate) async fn scheduler(&self, configuration: &str) -> Scheduler {
        self.scheduler_as(configuration, &self.admin()).await
    }

    /// Starts a scheduler that asks the API server as somebody, or on some way.
    pub(crate) async fn scheduler_as(&self, configuration: &str, user: &User) -> Scheduler {
        // With one scheduler there is nobody to elect, and it takes seconds.
        self.try_scheduler(configuration, user, false).await.expect("a scheduler starts")
    }

    /// Starts one that works when it holds the Lease of its configuration. Its name there is that of this machine
    /// with something behind it.
    pub(crate) async fn elected_scheduler(&self, configuration: &str, user: &User) -> Scheduler {
        self.try_scheduler(configuration, user, true).await.expect("a scheduler starts")
    }

    async fn try_scheduler(&self, configuration: &str, user: &User, is_elected: bool) -> Result<Scheduler> {
        let mut configuration: Value =
            serde_saphyr::from_str(configuration).context("reading the scheduler's configuration")?;
        ensure!(configuration.is_object(), "the scheduler's configuration is no mapping");
        configuration["clientConnection"]["kubeconfig"] = json!(user.kubeconfig);
        configuration["leaderElection"]["leaderElect"] = json!(is_elected);
        let path = self.new_file("scheduler", "json");
        fs::write(&path, configuration.to_string())?;
        // What is tried for each pod begins to be logged at this level.
        let arguments = [flag("config", &path), "--secure-port=0".into(), "--v=3".into()];
        let mut process =
            Process::start("kube-scheduler", self.dir.path(), &program("kube-scheduler")?, arguments)?;
        // Past this line the configuration was read and found valid.
        process.line("Starting Kubernetes Scheduler", START).await?;
        Ok(Scheduler { process })
    }

    /// Writes a node, with its status.
    pub(crate) async fn add_node(&self, node: &Node) {
        let nodes = Api::<Node>::all(self.client());
        nodes.create(&PostParams::default(), node).await.expect("a node is created");
    }

    /// Writes a pod that waits for the scheduler.
    pub(crate) async fn add_pod(&self, pod: &Pod) {
        let pods = Api::<Pod>::default_namespaced(self.client());
        pods.create(&PostParams::default(), pod).await.expect("a pod is created");
    }

    /// Writes a priority class, and waits until pods may name it: the API server's admission reads it from a watch.
    pub(crate) async fn add_priority_class(&self, name: &str, value: i32) {
        let text = format!(
            "{{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {{name: {name}}}, value: {value}}}"
        );
        self.apply_yaml(&text).await;
        let pods = Api::<Pod>::default_namespaced(self.client());
        let spec = json!({ "priorityClassName": name, "containers": [{ "name": "main", "image": "none" }] });
        let pod: Pod = serde_json::from_value(json!({ "metadata": { "name": "asks" }, "spec": spec }))
            .expect("a pod is well formed");
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let is_known = async || pods.create(&dry, &pod).await.ok();
        wait_until(&format!("PriorityClass {name} is known"), START, is_known).await;
    }

    /// Writes a pod that runs on `node`, as if a scheduler and a kubelet had
    /// done their work.
    pub(crate) async fn run_pod(&self, mut pod: Pod, node: &str) {
        let pods = Api::<Pod>::default_namespaced(self.client());
        pod.spec.get_or_insert_default().node_name = Some(node.to_owned());
        self.add_pod(&pod).await;
        let status = Patch::Merge(json!({ "status": { "phase": "Running" } }));
        let name = pod.metadata.name.expect("the pod was created under its name");
        pods.patch_status(&name, &PatchParams::default(), &status).await.expect("a pod runs");
    }

    /// The pod called `name`, as it is now.
    pub(crate) async fn pod(&self, name: &str) -> Pod {
        Api::<Pod>::default_namespaced(self.client()).get(name).await.expect("the pod exists")
    }

    /// Waits until the pod called `name` is bound, and returns its node.
    pub(crate) async fn node_of(&self, name: &str) -> String {
        let bound = async || self.pod(name).await.spec?.node_name;
        wait_until(&format!("pod {name} is bound"), DECISION, bound).await
    }

    /// Waits until the scheduler has said that it cannot place the pod called
    /// `name`, and returns its words.
    pub(crate) async fn refusal_of(&self, name: &str) -> String {
        let refused = async || {
            let pod = self.pod(name).await;
            let node = pod.spec?.node_name;
            assert_eq!(node, None, "pod {name} is bound, and was to be refused");
            let conditions = pod.status?.conditions?;
            let scheduled = conditions.into_iter().find(|condition| condition.type_ == "PodScheduled")?;
            (scheduled.reason.as_deref() == Some("Unschedulable")).then_some(scheduled.message?)
        };
        wait_until(&format!("pod {name} is refused"), DECISION, refused).await
    }

    /// Writes down all nodes and pods as `kubectl get nodes,pods -A -o json`
    /// prints them, and returns the file. What a test put into the API server
    /// and what Tangram is given cannot differ this way.
    pub(crate) async fn capture(&self) -> PathBuf {
        self.try_capture().await.expect("the cluster is written down")
    }

    async fn try_capture(&self) -> Result<PathBuf> {
        let mut items = self.list::<Node>().await?;
        items.append(&mut self.list::<Pod>().await?);
        // Where the kind is not defined there are none.
        let reports = agent::gpu_nodes(self.client()).list(&ListParams::default()).await;
        for mut report in reports.map(|reports| reports.items).unwrap_or_default() {
            report.types =
                Some(TypeMeta { api_version: "tangram.gpu/v1alpha1".into(), kind: "GpuNode".into() });
            items.push(serde_json::to_value(report)?);
        }
        let list = json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": items });
        let path = self.dir.path().join("cluster.json");
        fs::write(&path, list.to_string())?;
        Ok(path)
    }

    /// Every object of a kind, each with its kind: in a list of one kind the API
    /// server leaves it out.
    async fn list<K>(&self) -> Result<Vec<Value>>
    where
        K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug,
    {
        let listed = Api::<K>::all(self.client()).list(&ListParams::default()).await?;
        let typed = |item: K| {
            let mut item = serde_json::to_value(item)?;
            item["apiVersion"] = json!(K::api_version(&()));
            item["kind"] = json!(K::kind(&()));
            Ok(item)
        };
        listed.items.into_iter().map(typed).collect()
    }
}

/// Waits until `condition` finds something. The test fails with `what` when
/// `limit` is over before.
pub(crate) async fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> T {
    let found = tokio::time::timeout(limit, async {
        loop {
            if let Some(found) = condition().await {
                return found;
            }
            tokio::time::sleep(LOOK).await;
        }
    });
    let found = found.await.ok();
    assert!(found.is_some(), "{what}: not within {limit:?}");
    found.expect("asserted above")
}

/// `--NAME=VALUE`, for a program of Kubernetes.
pub(crate) fn flag(name: &str, value: impl Into<OsString>) -> OsString {
    let mut flag = OsString::from(format!("--{name}="));
    flag.push(value.into());
    flag
}
