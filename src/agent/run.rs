//! The agent at work: whatever happens wakes one loop, which looks at all that is known and does what the desk
//! says.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use tangram_nvml::Event;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::warn;

use super::follow::{Sighting, follow};
use super::kubelet::Kubelet;
use super::publish::{GPU_NODES, Owner, live, publish};
use super::state::{State, node_uid};
use super::worker::Worker;
use crate::k8s::{Access, Clock};

/// How often NVML is read when nothing happens. Events tell most changes at once; health and what others do is
/// found within this time.
const LOOK: Duration = Duration::from_millis(1500);
/// Between two tries to listen to NVML's events.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);

/// What the agent is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the node.
    pub node: String,
    /// Namespace of the agent's Lease: Tangram's own.
    pub namespace: String,
    /// NVML's shared library; as the dynamic linker finds it unless set.
    pub nvml: Option<PathBuf>,
    /// Folder for the ledger of what the agent made.
    pub state_dir: PathBuf,
    /// Where the kubelet is, and what containers are told.
    pub kubelet: super::kubelet::Options,
    /// Whether MIG mode may be turned on for GPUs that the node's labels give to Tangram.
    pub may_enable_mig: bool,
}

/// Runs until `stop` turns true.
///
/// # Errors
/// When a thread or the kubelet's sockets cannot be had, or a part of the agent ends that should not.
pub async fn run(options: Options, access: Access, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let clock = Clock::start();
    let mut tasks = JoinSet::new();
    let (tell, mut node) = watch::channel(Sighting::Unknown);
    tasks.spawn(follow(access.clone(), "/api/v1/nodes", options.node.clone(), tell));
    let (tell, mut gpu_node) = watch::channel(Sighting::Unknown);
    tasks.spawn(follow(access.clone(), GPU_NODES, options.node.clone(), tell));
    let published = gpu_node.clone();
    let (worker, mut answers) = Worker::start(options.nvml.clone()).context("no thread for NVML")?;
    let mut events = listen(options.nvml.clone()).context("no thread for NVML's events")?;
    let (kubelet, mut records, mut granted) = Kubelet::start(options.kubelet.clone(), clock, &mut tasks)?;
    let (wishes, status) = watch::channel(None);
    let (name, namespace, mut owner_node) = (options.node.clone(), options.namespace.clone(), node.clone());
    tasks.spawn(async move {
        // Everything written belongs to the Node object, and goes with it.
        let Ok(uid) = owner_node.wait_for(|node| node_uid(node).is_some()).await.map(|node| node_uid(&node))
        else {
            return;
        };
        let owner = Owner { node: name, uid: uid.unwrap_or_default() };
        tokio::join!(
            live(access.clone(), namespace, owner.clone()),
            publish(access, clock, owner, status, published)
        );
    });
    let mut state = State::new(&options, clock, worker, kubelet, wishes);
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pause = None;
    loop {
        let wake = async {
            match pause {
                Some(pause) => sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // What was handed out is heard before a record that may not have it yet.
            biased;
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            Ok(()) = node.changed() => state.node_seen(&node.borrow_and_update()),
            Ok(()) = gpu_node.changed() => state.gpu_node_seen(&gpu_node.borrow_and_update()),
            Some(answer) = answers.recv() => state.answered(answer),
            Some(event) = events.recv() => state.happened(event),
            Some(ids) = granted.recv() => state.granted(ids),
            Ok(()) = records.changed() => state.recorded(records.borrow_and_update().clone()),
            _ = look.tick() => state.look(),
            () = wake => {}
            Some(_) = tasks.join_next() => anyhow::bail!("a part of the agent ended that should not"),
        }
        pause = state.turn();
    }
}

/// NVML's events, as they happen. Where the driver has none, or is restarted, it is tried again.
fn listen(nvml: Option<PathBuf>) -> std::io::Result<mpsc::UnboundedReceiver<Event>> {
    let (tell, events) = mpsc::unbounded_channel();
    let work = move || {
        while !tell.is_closed() {
            let watched = tangram_nvml::watch(nvml.as_deref(), |event| {
                let is_heard = event == Event::Quiet && !tell.is_closed() || tell.send(event).is_ok();
                if is_heard { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            if let Err(error) = watched {
                warn!(%error, "NVML's events cannot be heard; what changes is found by looking.");
                std::thread::sleep(LISTEN_AGAIN);
            }
        }
    };
    std::thread::Builder::new().name("nvml-events".into()).spawn(work)?;
    Ok(events)
}
