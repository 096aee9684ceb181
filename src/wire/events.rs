//! `GET /v1/events`: what changes, as server-sent events.
//!
//! | event | data | when |
//! |---|---|---|
//! | `hello` | [`HelloView`] | first on a stream that resumes nothing |
//! | `change` | [`ChangeView`] | the model has changed |
//! | `sample` | [`SampleView`](super::sample::SampleView) | figures of the cluster, while it changes and now and then |
//! | `reset` | [`ResetView`] | what is known is of no use: read `GET /v1/cluster` again |

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::view::{NodeView, PodView};
use crate::model::{Cluster, Node, NodeIndex, Pod, PodKey};
use crate::solver::Scores;

/// Nodes that one event names; where more have changed, reading all of them again is the better way.
const NODES_MAX: usize = 500;

/// What was seen when an event was last made.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Number of the snapshot.
    pub generation: u64,
    /// The nodes.
    pub cluster: Cluster,
    /// The prices, which say what is stranded.
    pub scores: Arc<Scores>,
    /// The pods that wait, by key.
    pub pending: BTreeMap<PodKey, Arc<Pod>>,
}

/// An event as a stream of them is described (HTML standard, server-sent events): `data` is JSON, by `event` a
/// `HelloView`, `ChangeView`, `SampleView` or `ResetView`.
#[derive(Debug, ToSchema)]
pub struct EventFrame {
    /// Which event: `hello`, `change`, `sample` or `reset`.
    pub event: String,
    /// To go on behind it, as `Last-Event-ID`.
    pub id: String,
    /// JSON.
    pub data: String,
}

/// The start of a stream.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HelloView {
    /// Changes up to this snapshot are not told: read them from `GET /v1/cluster`.
    pub generation: u64,
}

/// What has changed since the event before.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangeView {
    generation: u64,
    /// Nodes that are new or different, as they are now.
    #[schema(value_type = Vec<Object>)]
    nodes: Vec<NodeView>,
    /// Names of nodes that are gone.
    removed_nodes: Vec<String>,
    /// Pods that wait, new or different.
    #[schema(value_type = Vec<Object>)]
    pending: Vec<PodView>,
    /// Pods that wait no longer, as `namespace/name`: they stand on a node, or are gone.
    no_longer_pending: Vec<String>,
}

/// Why everything must be read again.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResetView {
    /// In words.
    pub reason: &'static str,
}

/// What to tell.
#[derive(Debug)]
pub enum Told {
    /// Nothing that the API shows is different.
    Nothing,
    /// This.
    Change(ChangeView),
    /// Everything.
    Reset(ResetView),
}

impl Seen {
    /// What is different now.
    pub fn until(&self, now: &Self) -> Told {
        let places = self.changed(now);
        if places.len() > NODES_MAX {
            return Told::Reset(ResetView { reason: "too much has changed at once" });
        }
        let there = |&place: &NodeIndex| now.cluster.at(place);
        let is_gone = |node: &&Arc<Node>| now.cluster.index(&node.facts.name).is_none();
        let gone = places.iter().filter_map(|&place| self.cluster.at(place)).filter(is_gone);
        let is_new = |pod: &&Arc<Pod>| self.pending.get(&pod.key) != Some(pod);
        let change = ChangeView {
            generation: now.generation,
            nodes: places.iter().filter_map(there).map(|node| NodeView::new(node, &now.scores)).collect(),
            removed_nodes: gone.map(|node| node.facts.name.to_string()).collect(),
            pending: now.pending.values().filter(is_new).map(|pod| PodView::new(pod)).collect(),
            no_longer_pending: self
                .pending
                .keys()
                .filter(|key| !now.pending.contains_key(*key))
                .map(PodKey::to_string)
                .collect(),
        };
        if change.is_empty() { Told::Nothing } else { Told::Change(change) }
    }

    /// Nodes that are others now, or that lost or won usable slices when prices changed. What a GPU is expected
    /// to lose (`fragmentationCost`) moves with every price, and is not worth an event.
    fn changed(&self, now: &Self) -> Vec<NodeIndex> {
        let mut places = now.cluster.changed_since(&self.cluster);
        if Arc::ptr_eq(&self.scores, &now.scores) {
            return places;
        }
        let stranded = |scores: &Scores, node: &Node| -> Vec<u32> {
            node.dynamic_gpus().map(|gpu| scores.fragmentation(gpu.occupancy).stranded).collect()
        };
        let is_repriced = |place: &NodeIndex| {
            let node = now.cluster.node(*place);
            stranded(&self.scores, node) != stranded(&now.scores, node)
        };
        places.extend(now.cluster.indices().filter(is_repriced));
        places.sort_unstable();
        places.dedup();
        places
    }
}

impl ChangeView {
    fn is_empty(&self) -> bool {
        self.nodes.is_empty()
            && self.removed_nodes.is_empty()
            && self.pending.is_empty()
            && self.no_longer_pending.is_empty()
    }
}

/// One event as it goes over the wire; JSON has no line breaks of its own.
pub fn frame(id: Option<&str>, event: &str, data: &impl Serialize) -> String {
    let data = serde_json::to_string(data).expect("texts and numbers only");
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("{id}event: {event}\ndata: {data}\n\n")
}
