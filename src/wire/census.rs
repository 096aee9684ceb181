//! The cluster counted, in `GET /v1/cluster` and `GET /v1/demand`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::census::{Asked, Census, Devices, Group, Mode, Pending, Slices};

/// Figures of the whole cluster.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TotalsView {
    /// Nodes, with and without devices.
    nodes: u32,
    /// Pods that ask for devices and have a node.
    placed_pods: u32,
    /// Pods that ask for devices and have none.
    pending_pods: u32,
    /// Share of pods that ask for devices and have a node, 0 to 1; 1 where nobody asks.
    acceptance: f64,
    /// Problems of nodes, by kind.
    problems: BTreeMap<String, u32>,
}

/// GPUs of one model in one node pool.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupView {
    /// Product name, as GPU feature discovery writes it, or `other`.
    model: String,
    /// Value of the label that names the node's pool (metrics.poolLabels); empty where there is none.
    node_pool: String,
    /// GPUs that Tangram partitions.
    dynamic_gpus: u32,
    /// Those of them that take nothing more.
    closed_gpus: u32,
    /// NVML memory slices, by who partitions: `dynamic` (Tangram) or `static`.
    slices: BTreeMap<String, SlicesView>,
    /// Memory of stranded slices.
    stranded_mib: u64,
    /// GPU instances that could start now, by profile.
    free: Vec<RoomView>,
    /// Counted devices, by resource name.
    devices: BTreeMap<String, DevicesView>,
}

/// NVML memory slices; each is in one figure.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SlicesView {
    /// Of GPU instances that are there or about to be.
    used: u32,
    /// Free, and of use.
    usable: u32,
    /// Free, and of no use as they lie.
    stranded: u32,
    /// Of GPUs that take nothing more.
    closed: u32,
}

/// How many GPU instances of a profile could start now, if all room went to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = FreeProfileView)]
#[serde(rename_all = "camelCase")]
pub struct RoomView {
    /// The profile.
    profile: String,
    /// `dynamic`: Tangram makes them; `static`: partitions that nobody holds.
    mode: &'static str,
    /// So many.
    count: u32,
}

/// Units of a counted resource.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DevicesView {
    /// Held by pods.
    used: u32,
    /// Held by nobody.
    free: u32,
}

/// What the pods of one namespace wait for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitingView {
    /// The namespace, or `other` for those beyond metrics.namespaces.
    namespace: String,
    /// Pods.
    pods: u32,
    /// GPU instances, by profile.
    instances: Vec<RoomView>,
    /// Other counted devices, by resource name.
    devices: BTreeMap<String, u32>,
}

impl TotalsView {
    /// The figures of a census.
    pub fn new(census: &Census) -> Self {
        let problems = census.problems.iter();
        Self {
            nodes: census.nodes,
            placed_pods: census.pods_bound,
            pending_pods: census.pending.pods(),
            acceptance: census.acceptance(),
            problems: problems.map(|(kind, count)| ((*kind).to_owned(), *count)).collect(),
        }
    }
}

/// The groups of a census, by model and node pool.
pub fn groups(census: &Census) -> Vec<GroupView> {
    let groups = census.groups.iter();
    groups.map(|(place, group)| GroupView::new(&place.model, &place.node_pool, group)).collect()
}

/// What could start in the whole cluster, by profile.
pub fn free(census: &Census) -> Vec<RoomView> {
    let mut sums = BTreeMap::new();
    for ((profile, mode), count) in census.groups.values().flat_map(|group| &group.room) {
        let sum: &mut u32 = sums.entry((profile.to_string(), mode.name())).or_default();
        *sum = sum.saturating_add(*count);
    }
    sums.into_iter().map(|((profile, mode), count)| RoomView { profile, mode, count }).collect()
}

/// What pods wait for, by namespace.
pub fn waiting(pending: &Pending) -> Vec<WaitingView> {
    let view = |(namespace, asked): (&Arc<str>, &Asked)| WaitingView {
        namespace: namespace.to_string(),
        pods: asked.pods,
        instances: asked.instances.iter().map(RoomView::from).collect(),
        devices: asked.devices.iter().map(|(name, count)| (name.to_string(), *count)).collect(),
    };
    pending.0.iter().map(view).collect()
}

impl GroupView {
    fn new(model: &str, node_pool: &str, group: &Group) -> Self {
        let slices = |(mode, slices): (&Mode, &Slices)| {
            let Slices { used, usable, stranded, closed } = *slices;
            (mode.name().to_owned(), SlicesView { used, usable, stranded, closed })
        };
        let devices = |(name, devices): (&Arc<str>, &Devices)| {
            (name.to_string(), DevicesView { used: devices.used, free: devices.free })
        };
        Self {
            model: model.to_owned(),
            node_pool: node_pool.to_owned(),
            dynamic_gpus: group.dynamic_gpus,
            closed_gpus: group.closed_gpus,
            slices: group.slices.iter().map(slices).collect(),
            stranded_mib: group.stranded_mib,
            free: group.room.iter().map(RoomView::from).collect(),
            devices: group.devices.iter().map(devices).collect(),
        }
    }
}

impl From<(&(Arc<str>, Mode), &u32)> for RoomView {
    fn from(((profile, mode), count): (&(Arc<str>, Mode), &u32)) -> Self {
        Self { profile: profile.to_string(), mode: mode.name(), count: *count }
    }
}
