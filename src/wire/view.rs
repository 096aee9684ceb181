//! `GET /v1/cluster`: the model as people and tools read it.

use serde::Serialize;
use utoipa::ToSchema;

use super::census::{GroupView, RoomView, TotalsView};
use super::dryrun::request_words;
use super::gpu_view::GpuView;
use super::page::PageView;
use super::topology::TopologyView;
use crate::mig::ProfileName;
use crate::model::{Node, Pod, Pool, PoolFacts, PoolKind, Sharing};
use crate::solver::Scores;

/// The whole cluster.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterView {
    /// Number of the snapshot; it grows with every change.
    pub generation: u64,
    /// Figures of the whole.
    pub totals: TotalsView,
    /// GPU instances that could start now, by profile, if all room went to it.
    pub free: Vec<RoomView>,
    /// Figures by GPU model and node pool.
    pub groups: Vec<GroupView>,
    /// The nodes, by name; not in a summary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Vec<NodeView>>,
    /// Pods that are known and stand on no node, by key; not in a summary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<Vec<PodView>>,
}

/// One page of the nodes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodesView {
    /// Number of the snapshot.
    pub generation: u64,
    /// By name.
    pub nodes: Vec<NodeView>,
    /// Where this page stands.
    pub page: PageView,
}

/// One node.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeView {
    name: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    product: String,
    is_unschedulable: bool,
    #[serde(skip_serializing_if = "TopologyView::is_empty")]
    topology: TopologyView,
    /// Where occupancy comes from: `agent` (a GpuNode report), or `labels`.
    source: &'static str,
    pools: Vec<PoolView>,
    gpus: Vec<GpuView>,
    pods: Vec<PodView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
}

/// Counted devices of a node; which device a pod has is the kubelet's choice.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PoolView {
    resource: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replicas: Option<u32>,
    /// How a device is shared: `time-slicing`, `mps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    sharing: Option<&'static str>,
    capacity: u32,
    used: u32,
    holdings: Vec<HoldingView>,
    /// That pods hold so many is known; on which devices is assumed unless an agent reports all of them.
    devices: &'static str,
}

/// What one pod has of a pool.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct HoldingView {
    pod: String,
    count: u32,
    /// Those of them that the kubelet gave it, as the node's agent reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded: Option<u32>,
}

/// A pod.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodView {
    pod: String,
    uid: String,
    request: String,
    priority: i32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_terminating: bool,
}

impl PodView {
    /// A pod in words.
    pub fn new(pod: &Pod) -> Self {
        Self {
            pod: pod.key.to_string(),
            uid: pod.uid.to_string(),
            request: request_words(pod),
            priority: pod.priority,
            is_terminating: pod.is_terminating,
        }
    }
}

impl NodeView {
    /// A node in words. Pods without devices are left out.
    pub fn new(node: &Node, scores: &Scores) -> Self {
        Self {
            name: node.facts.name.to_string(),
            product: node.facts.product.to_string(),
            is_unschedulable: node.facts.is_unschedulable,
            topology: TopologyView::new(&node.facts.labels),
            source: if node.report.is_some() { "agent" } else { "labels" },
            pools: pools(node),
            gpus: node.gpus.iter().map(|gpu| GpuView::new(node, gpu, scores)).collect(),
            pods: node
                .pods
                .iter()
                .filter(|pod| !pod.request.is_empty())
                .map(|pod| PodView::new(pod))
                .collect(),
            problems: node.problems.iter().map(ToString::to_string).collect(),
        }
    }
}

fn pools(node: &Node) -> Vec<PoolView> {
    let is_reported = node.report.is_some();
    let view = |(facts, pool): (&PoolFacts, &Pool)| {
        let (kind, profile, replicas) = kind_words(&facts.kind);
        let holdings = pool.holdings.iter().map(|held| HoldingView {
            pod: held.pod.to_string(),
            count: held.count(),
            recorded: is_reported.then_some(held.recorded),
        });
        let is_known = is_reported && pool.holdings.iter().all(|held| held.recorded >= held.asked);
        PoolView {
            resource: facts.resource.to_string(),
            kind,
            profile: profile.map(ToString::to_string),
            replicas,
            sharing: sharing_word(&facts.kind),
            capacity: facts.capacity,
            used: pool.used,
            holdings: holdings.collect(),
            devices: if is_known { "known" } else { "assumed" },
        }
    };
    // A device plugin announces names it has nothing for: those say nothing.
    node.pools().filter(|(facts, pool)| facts.capacity > 0 || pool.used > 0).map(view).collect()
}

/// What one unit of a pool is: kind, MIG profile, shares per device.
pub(super) fn kind_words(kind: &PoolKind) -> (&'static str, Option<&ProfileName>, Option<u32>) {
    match kind {
        PoolKind::Whole => ("whole", None, None),
        PoolKind::Partition(profile) => ("partition", Some(profile), None),
        PoolKind::Replica { replicas, of, .. } => ("replica", of.as_ref(), Some(*replicas)),
    }
}

/// How a device is shared, in the words of the labels.
pub(super) fn sharing_word(kind: &PoolKind) -> Option<&'static str> {
    match kind {
        PoolKind::Replica { by, .. } => by.map(Sharing::name),
        PoolKind::Whole | PoolKind::Partition(_) => None,
    }
}
