//! A double of the node agent: reports GPUs that do not exist, and GPU instances
//! as if it made them.
//!
//! One double plays the agents of all nodes with `tangram.gpu/mig: dynamic`. It
//! keeps nothing to itself: what it reported last is in the API server, so one
//! that starts again goes on where the last one stopped, as GPUs do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use kube::api::{Api, DynamicObject, ResourceExt as _};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::Plane;
use super::apply::known;
use super::follow::{RETRY, follow};
use super::report::{Hardware, bring_up_to_date};

/// The definition of `GpuNode` objects that users are given.
const DEFINITION: &str = include_str!("../../../deploy/crd/gpunodes.yaml");

/// Which nodes have an agent.
const DYNAMIC: &str = "tangram.gpu/mig=dynamic";

/// How a node's agent behaves. The default one makes instances at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Manner {
    /// How long an instance takes, to make and to remove.
    pub(crate) delay: Duration,
    /// It reports nothing any more, and what it reported stays as it is.
    pub(crate) is_silent: bool,
    /// GPUs that are not healthy, by index, with the reason.
    pub(crate) sick: BTreeMap<u16, String>,
}

/// The manner of each node, and of those that are not named.
#[derive(Debug, Clone, Default)]
struct Manners {
    named: BTreeMap<String, Manner>,
    others: Manner,
}

impl Manners {
    fn of(&self, node: &str) -> Manner {
        self.named.get(node).unwrap_or(&self.others).clone()
    }
}

/// The agents of all dynamic nodes. Dropping it ends them.
pub(crate) struct AgentDouble {
    client: Client,
    manners: watch::Sender<Manners>,
    running: Option<JoinHandle<()>>,
}

impl Plane {
    /// Defines `GpuNode` objects, for tests that apply nothing else of Tangram's
    /// manifests.
    pub(crate) async fn define_gpunodes(&self) {
        self.apply_yaml(DEFINITION).await;
    }
}

/// The `GpuNode` objects that a client sees.
pub(crate) fn gpu_nodes(client: Client) -> Api<DynamicObject> {
    known(client, "tangram.gpu", "v1alpha1", "GpuNode")
}

impl AgentDouble {
    /// Starts the agents, with the rights of `client`.
    pub(crate) fn start(client: Client) -> Self {
        let mut double = Self { client, manners: watch::Sender::default(), running: None };
        double.restart();
        double
    }

    /// How the agent of one node behaves from now on.
    pub(crate) fn manner(&self, node: &str, manner: Manner) {
        self.manners.send_modify(|manners| drop(manners.named.insert(node.to_owned(), manner)));
    }

    /// How all agents behave from now on.
    pub(crate) fn manner_of_all(&self, manner: Manner) {
        self.manners.send_replace(Manners { named: BTreeMap::new(), others: manner });
    }

    /// Ends all agents in the middle of whatever they do.
    pub(crate) async fn crash(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
            // The only error is that it was ended.
            running.await.ok();
        }
    }

    /// Starts them again after a crash. They behave as they were told before it.
    pub(crate) fn restart(&mut self) {
        assert!(self.running.is_none(), "the agents run already");
        self.running = Some(tokio::spawn(run(self.client.clone(), self.manners.subscribe())));
    }
}

impl Drop for AgentDouble {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }
}

/// Something that a node's agent has to look at.
enum Seen {
    Node(Box<Node>),
    Change(String),
}

async fn run(client: Client, manners: watch::Receiver<Manners>) {
    let (sender, mut seen) = mpsc::channel(64);
    // All tasks end with this one.
    let mut tasks = JoinSet::new();
    let nodes = Api::<Node>::all(client.clone());
    tasks.spawn(follow(nodes, DYNAMIC, |node| Seen::Node(Box::new(node)), sender.clone()));
    let reports = gpu_nodes(client.clone());
    tasks.spawn(follow(reports, "", |report| Seen::Change(report.name_any()), sender.clone()));
    // A pod that is bound or gone changes who holds an instance.
    let pods = Api::<Pod>::all(client.clone());
    let node_of = |pod: Pod| Seen::Change(pod.spec.and_then(|spec| spec.node_name).unwrap_or_default());
    tasks.spawn(follow(pods, "", node_of, sender));

    let mut agents: BTreeMap<String, Arc<Notify>> = BTreeMap::new();
    while let Some(seen) = seen.recv().await {
        match seen {
            Seen::Change(name) => {
                if let Some(wake) = agents.get(&name) {
                    wake.notify_one();
                }
            }
            Seen::Node(node) => {
                let wake = agents.entry(node.name_any()).or_insert_with(|| {
                    let wake = Arc::new(Notify::new());
                    tasks.spawn(play(client.clone(), Hardware::of(&node), manners.clone(), wake.clone()));
                    wake
                });
                wake.notify_one();
            }
        }
    }
}

/// The agent of one node.
async fn play(client: Client, node: Hardware, mut manners: watch::Receiver<Manners>, wake: Arc<Notify>) {
    loop {
        tokio::select! {
            () = wake.notified() => (),
            _ = manners.changed() => (),
        }
        // Asked again after every wait: the test may have changed its mind.
        let manner = || Some(manners.borrow().of(&node.name)).filter(|manner| !manner.is_silent);
        if bring_up_to_date(&client, &node, manner).await.is_err() {
            tokio::time::sleep(RETRY).await;
            wake.notify_one();
        }
    }
}
