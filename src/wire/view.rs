//! `GET /v1/cluster` and `GET /v1/fragmentation`: the model as people and tools read it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::dryrun::request_words;
use crate::mig::{Catalog, Occupancy};
use crate::model::{Cluster, Gpu, Instance, Knowledge, Node, Pod, PodKey, PoolKind};
use crate::solver::{Fragmentation, Scores, whole_gpu_fragmentation};

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
        let (kind, profile, replicas) = match &facts.kind {
            PoolKind::Whole => ("whole", None, None),
            PoolKind::Partition(profile) => ("partition", Some(profile), None),
            PoolKind::Replica { replicas, of } => ("replica", of.as_ref(), Some(*replicas)),
        };
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

/// Memory slices of one GPU or of many, on the axis of their models (A100: 8, A30: 4, RTX PRO 6000: 4).
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct FreeView {
    total_memory_slices: u32,
    used_memory_slices: u32,
    free_memory_slices: u32,
    usable_memory_slices: u32,
    stranded_memory_slices: u32,
    /// Expected free memory slices that a request drawn from the demand cannot use.
    fragmentation_cost: f64,
}

impl FreeView {
    fn new(of: Fragmentation) -> Self {
        Self {
            total_memory_slices: of.total,
            used_memory_slices: of.used,
            free_memory_slices: of.free,
            usable_memory_slices: of.usable,
            stranded_memory_slices: of.stranded,
            fragmentation_cost: of.cost,
        }
    }

    fn add(&mut self, of: Fragmentation) {
        self.total_memory_slices += of.total;
        self.used_memory_slices += of.used;
        self.free_memory_slices += of.free;
        self.usable_memory_slices += of.usable;
        self.stranded_memory_slices += of.stranded;
        self.fragmentation_cost += of.cost;
    }
}

/// Where the cluster's capacity is, and where it is lost.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FragmentationView {
    generation: u64,
    all: Capacity,
    by_model: BTreeMap<String, Capacity>,
}

/// Capacity of one GPU model, or of all.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Capacity {
    dynamic_gpus: u32,
    closed_gpus: u32,
    dynamic: FreeView,
    /// Counted devices by resource name.
    pools: BTreeMap<String, PoolCapacity>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct PoolCapacity {
    capacity: u32,
    used: u32,
    free: u32,
    /// Expected free GPUs that a multi-GPU job drawn from the demand cannot use; whole devices only.
    #[serde(skip_serializing_if = "Option::is_none")]
    fragmentation_gpus: Option<f64>,
}

impl FragmentationView {
    /// Sums over a cluster.
    pub fn new(cluster: &Cluster, scores: &Scores, generation: u64) -> Self {
        let mut view = Self { generation, ..Self::default() };
        for node in cluster.by_name() {
            let product = if node.facts.product.is_empty() { "unknown" } else { &node.facts.product };
            let of_product = view.by_model.entry(product.to_owned()).or_default();
            for capacity in [&mut view.all, of_product] {
                capacity.add(node, scores);
            }
        }
        view.by_model.retain(|_, capacity| capacity.dynamic_gpus > 0 || !capacity.pools.is_empty());
        view
    }
}

impl Capacity {
    fn add(&mut self, node: &Node, scores: &Scores) {
        for gpu in node.dynamic_gpus() {
            self.dynamic_gpus += 1;
            self.closed_gpus += u32::from(gpu.occupancy == Occupancy::CLOSED);
            self.dynamic.add(scores.fragmentation(gpu.occupancy));
        }
        for (facts, pool) in node.pools().filter(|(facts, pool)| facts.capacity > 0 || pool.used > 0) {
            let sum = self.pools.entry(facts.resource.to_string()).or_default();
            let free = facts.capacity.saturating_sub(pool.used);
            sum.capacity = sum.capacity.saturating_add(facts.capacity);
            sum.used = sum.used.saturating_add(pool.used);
            sum.free = sum.free.saturating_add(free);
            if facts.kind == PoolKind::Whole {
                *sum.fragmentation_gpus.get_or_insert(0.0) += whole_gpu_fragmentation(free);
            }
        }
    }
}
