//! `GET /v1/cluster`: the model as people and tools read it.

use serde::Serialize;

use super::dryrun::request_words;
use super::fragmentation::FreeView;
use crate::mig::{Catalog, Occupancy, ProfileName};
use crate::model::{Gpu, Instance, Knowledge, Node, Pod, PodKey, PoolKind};
use crate::solver::Scores;

/// The whole cluster.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterView {
    /// Number of the snapshot; it grows with every change.
    pub generation: u64,
    /// The nodes, by name.
    pub nodes: Vec<NodeView>,
    /// Pods that are known and stand on no node, by key.
    pub pending: Vec<PodView>,
}

/// One node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeView {
    name: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    product: String,
    is_unschedulable: bool,
    /// Where occupancy comes from: `agent` (a GpuNode report), or `labels`.
    source: &'static str,
    pools: Vec<PoolView>,
    gpus: Vec<GpuView>,
    pods: Vec<PodView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
}

/// Counted devices of a node; which device a pod has is the kubelet's choice.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PoolView {
    resource: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replicas: Option<u32>,
    capacity: u32,
    used: u32,
    holdings: Vec<HoldingView>,
    /// That pods hold so many is known; on which device is assumed unless an agent reports it.
    devices: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HoldingView {
    pod: String,
    count: u32,
}

/// One GPU.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GpuView {
    index: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'static str>,
    is_dynamic: bool,
    /// Takes nothing more: unhealthy, in conflict, or of an unknown model.
    is_closed: bool,
    /// The GPU drawn slice by slice: a digit per slice in use (compute slices of its instance), `.` free.
    slices: String,
    instances: Vec<InstanceView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    free: Option<FreeView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct InstanceView {
    profile: String,
    start: u8,
    size: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
    knowledge: &'static str,
}

/// A pod.
#[derive(Debug, Serialize)]
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
            source: if node.report.is_some() { "agent" } else { "labels" },
            pools: pools(node),
            gpus: node.gpus.iter().map(|gpu| GpuView::new(gpu, scores)).collect(),
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
    // An agent that sees who holds its node's partitions knows which pod has which.
    let holds_known =
        |gpu: &Gpu| !gpu.is_dynamic && gpu.instances.iter().any(|instance| instance.pod.is_some());
    let is_reported = node.gpus.iter().any(holds_known);
    let view = |(facts, pool): (&crate::model::PoolFacts, &crate::model::Pool)| {
        let (kind, profile, replicas) = kind_words(&facts.kind);
        let holdings = pool.holdings.iter();
        PoolView {
            resource: facts.resource.to_string(),
            kind,
            profile: profile.map(ToString::to_string),
            replicas,
            capacity: facts.capacity,
            used: pool.used,
            holdings: holdings
                .map(|held| HoldingView { pod: held.pod.to_string(), count: held.count })
                .collect(),
            devices: if is_reported { "known" } else { "assumed" },
        }
    };
    // A device plugin announces names it has nothing for: those say nothing.
    node.pools().filter(|(facts, pool)| facts.capacity > 0 || pool.used > 0).map(view).collect()
}

impl GpuView {
    fn new(gpu: &Gpu, scores: &Scores) -> Self {
        let is_closed = gpu.occupancy == Occupancy::CLOSED;
        Self {
            index: gpu.index,
            uuid: gpu.uuid.as_ref().map(ToString::to_string),
            model: gpu.model.map(|model| Catalog::get().row(model).key),
            is_dynamic: gpu.is_dynamic,
            is_closed,
            slices: drawing(gpu),
            instances: gpu.instances.iter().filter_map(|instance| instance_view(gpu, instance)).collect(),
            free: (!is_closed).then(|| FreeView::new(scores.fragmentation(gpu.occupancy))),
        }
    }
}

fn instance_view(gpu: &Gpu, instance: &Instance) -> Option<InstanceView> {
    let profile = &Catalog::get().row(gpu.model?).profiles[usize::from(instance.profile)];
    Some(InstanceView {
        profile: profile.name.to_owned(),
        start: instance.start,
        size: profile.memory_slices,
        pod: instance.pod.as_ref().map(PodKey::to_string),
        uuid: instance.uuid.as_ref().map(ToString::to_string),
        knowledge: match instance.knowledge {
            Knowledge::Known => "known",
            Knowledge::Assumed => "assumed",
        },
    })
}

/// `3333..1.`: one character per NVML memory slice.
pub fn drawing(gpu: &Gpu) -> String {
    let Some(row) = gpu.model.map(|model| Catalog::get().row(model)) else { return String::new() };
    let mut slices = vec!['.'; usize::from(row.memory_slices)];
    for instance in &gpu.instances {
        let profile = &row.profiles[usize::from(instance.profile)];
        let start = usize::from(instance.start);
        for slice in slices.iter_mut().skip(start).take(usize::from(profile.memory_slices)) {
            *slice = char::from(b'0' + profile.compute_slices);
        }
    }
    slices.into_iter().collect()
}

/// What one unit of a pool is: kind, MIG profile, shares per device.
pub(super) fn kind_words(kind: &PoolKind) -> (&'static str, Option<&ProfileName>, Option<u32>) {
    match kind {
        PoolKind::Whole => ("whole", None, None),
        PoolKind::Partition(profile) => ("partition", Some(profile), None),
        PoolKind::Replica { replicas, of } => ("replica", of.as_ref(), Some(*replicas)),
    }
}
