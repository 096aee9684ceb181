//! Writes to the API server: the node's `GpuNode` and the agent's sign of life. Nothing else.

use std::time::Duration;

use axum::http::StatusCode;
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tracing::{info, warn};

use super::follow::Sighting;
use super::limit::Bucket;
use crate::k8s::{Access, Clock, Reply};
use crate::wire::agent_lease;
use crate::wire::gpunode_status::{Condition, GpuNodeStatus, StatusContent};

/// Where `GpuNode` objects are.
pub(super) const GPU_NODES: &str = "/apis/tangram.gpu/v1alpha1/gpunodes";
/// A change that nobody waits for is written together with what follows within this time.
const GATHER: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// As kubelets do. Who is not heard for so long counts as silent: no new pod comes, so some renewals may fail before
/// that (`cache::Renewal`).
const LEASE_S: u32 = 40;
const RENEW: Duration = Duration::from_secs(10);

/// The node, as its `GpuNode` names it.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    pub(super) node: String,
    /// The Node's UID: its `GpuNode` goes with it.
    pub(super) uid: String,
}

/// What a status said that an earlier life of the agent wrote.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Before {
    status: BeforeStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct BeforeStatus {
    sequence: u64,
    conditions: Vec<Condition>,
}

impl Before {
    pub(super) fn conditions(&self) -> Vec<Condition> {
        self.status.conditions.clone()
    }
}

/// Keeps the status as wished, until nobody wishes any more.
pub(super) async fn publish(
    access: Access,
    clock: Clock,
    owner: Owner,
    mut wishes: watch::Receiver<Option<StatusContent>>,
    mut gpu_node: watch::Receiver<Sighting>,
) {
    let mut sequence = None;
    let mut written: Option<StatusContent> = None;
    let mut bucket = Bucket::default();
    let mut pause = PAUSE;
    loop {
        let wish = wishes.borrow_and_update().clone().filter(|wish| Some(wish) != written.as_ref());
        let Some(wish) = wish else {
            tokio::select! {
                changed = wishes.changed() => if changed.is_err() { return },
                // Somebody deleted it: it is made again, with all that there is to say.
                Ok(()) = gpu_node.changed() => if *gpu_node.borrow_and_update() == Sighting::Absent {
                    (sequence, written) = (None, None);
                },
            }
            continue;
        };
        let is_urgent =
            |wish: &StatusContent| written.as_ref().is_none_or(|written| awaited(wish).ne(awaited(written)));
        if !is_urgent(&wish) {
            // What comes within the time comes along; something urgent ends it.
            let more = wishes.wait_for(|wish| wish.as_ref().is_some_and(is_urgent));
            tokio::time::timeout(GATHER, more).await.ok();
        }
        tokio::time::sleep(Duration::from_millis(bucket.take(clock.now_ms()))).await;
        let Some(wish) = wishes.borrow_and_update().clone() else { continue };
        let number = match sequence {
            Some(number) => Ok(number),
            None => find(&access, &owner).await,
        };
        let result = match number {
            Ok(number) => write(&access, &owner, number + 1, &wish).await.map(|()| number + 1),
            Err(error) => Err(error),
        };
        match result {
            Ok(number) => {
                (sequence, written, pause) = (Some(number), Some(wish), PAUSE);
            }
            Err(error) => {
                warn!(node = owner.node, error, "The status of the GpuNode cannot be written; trying again.");
                sequence = None; // it may have been made anew
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// What binds wait for: devices that the kubelet lists, and why others are not there.
fn awaited(content: &StatusContent) -> impl Iterator<Item = String> {
    let devices = content.gpus.iter().flat_map(|gpu| {
        let listed = gpu.instances.iter().filter(|instance| instance.ready_for.is_some());
        listed.map(|it| format!("{}/{}/{} {:?}", gpu.index, it.profile, it.start, it.ready_for))
    });
    let missing = content.unsettled.iter().filter(|open| !open.leaving);
    devices.chain(missing.map(|open| format!("{open:?}")))
}

/// The sequence number that the status has; makes the object where there is none.
async fn find(access: &Access, owner: &Owner) -> Result<u64, String> {
    match access.get(&format!("{GPU_NODES}/{}", owner.node)).await {
        Reply::Done(body) => {
            let before: Before = serde_json::from_slice(&body).unwrap_or_default();
            return Ok(before.status.sequence);
        }
        Reply::Refused { code: StatusCode::NOT_FOUND, .. } => {}
        reply => return Err(text(reply)),
    }
    let reference = json!({"apiVersion": "v1", "kind": "Node", "name": owner.node, "uid": owner.uid});
    let object = json!({
        "apiVersion": "tangram.gpu/v1alpha1",
        "kind": "GpuNode",
        "metadata": {"name": owner.node, "ownerReferences": [reference]},
    });
    match access.create(GPU_NODES, &object).await {
        Reply::Done(_) => {
            info!(node = owner.node, "Made the GpuNode of this node.");
            Ok(0)
        }
        reply => Err(text(reply)),
    }
}

async fn write(access: &Access, owner: &Owner, sequence: u64, content: &StatusContent) -> Result<(), String> {
    let status =
        GpuNodeStatus { sequence, observed_at: Timestamp::now().to_string(), content: content.clone() };
    let path = format!("{GPU_NODES}/{}/status", owner.node);
    // Only this agent writes it: no version is demanded, or every change of spec would be a conflict.
    match access.merge(&path, &json!({"status": status})).await {
        Reply::Done(_) => Ok(()),
        reply => Err(text(reply)),
    }
}

/// Renews the agent's Lease, as kubelets do for nodes, for ever.
pub(super) async fn live(access: Access, namespace: String, owner: Owner) {
    let name = agent_lease(&owner.node);
    let folder = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    let path = format!("{folder}/{name}");
    loop {
        let mut lease = match access.get(&path).await {
            Reply::Done(body) => serde_json::from_slice(&body).unwrap_or_default(),
            _ => serde_json::Value::Null,
        };
        let is_new = !lease.is_object();
        if is_new {
            let reference = json!({"apiVersion": "v1", "kind": "Node", "name": owner.node, "uid": owner.uid});
            lease = json!({
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": name, "ownerReferences": [reference]},
            });
        }
        let now = format!("{:.6}", Timestamp::now());
        lease["spec"] =
            json!({"holderIdentity": owner.node, "leaseDurationSeconds": LEASE_S, "renewTime": now});
        let reply =
            if is_new { access.create(&folder, &lease).await } else { access.replace(&path, &lease).await };
        if !matches!(reply, Reply::Done(_)) {
            warn!(lease = path, error = text(reply), "The Lease cannot be renewed.");
        }
        tokio::time::sleep(RENEW).await;
    }
}

fn text(reply: Reply) -> String {
    match reply {
        Reply::Done(_) => String::new(),
        Reply::Refused { code, message } => format!("{code}: {message}"),
        Reply::Unknown(error) => error,
    }
}
