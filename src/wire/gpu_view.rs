//! The GPUs in `GET /v1/cluster`: what is where, who has it, who shares it.

use serde::Serialize;
use utoipa::ToSchema;

use super::fragmentation::FreeView;
use super::view::{kind_words, sharing_word};
use crate::mig::{Catalog, Occupancy, ProfileName};
use crate::model::{Gpu, GpuHealth, Holder, Instance, InstanceReport, Knowledge, Node, PodKey, pool_of};
use crate::solver::Scores;

/// One GPU.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct GpuView {
    index: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'static str>,
    is_dynamic: bool,
    /// Takes nothing more from Tangram: unhealthy, in conflict, of an unknown model, or not dynamic.
    is_closed: bool,
    /// The GPU drawn slice by slice: a digit per slice in use (compute slices of its instance), `.` free.
    slices: String,
    instances: Vec<InstanceView>,
    /// The pods to which the kubelet gave the GPU itself, or shares of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pods: Vec<HolderView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared: Option<SharedView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    free: Option<FreeView>,
    /// The slices that are free and that no profile of the demand can use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stranded: Vec<u8>,
    /// Why it takes nothing more, where its agent says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    unhealthy: Option<String>,
}

/// A GPU instance.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct InstanceView {
    profile: String,
    start: u8,
    size: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<String>,
    /// All pods that share it; `pod` is the first of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pods: Vec<HolderView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared: Option<SharedView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
    knowledge: &'static str,
}

/// A pod that has a device, or shares of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct HolderView {
    pod: String,
    /// How many shares it has; absent where it has all of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    shares: Option<u32>,
}

/// A device that pods share.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SharedView {
    /// `time-slicing` or `mps`, where a label says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    sharing: Option<&'static str>,
    /// Shares that there are.
    replicas: u32,
    /// Shares that pods have.
    used: u32,
    /// Memory in use, where the agent tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_used_mib: Option<u32>,
}

impl GpuView {
    pub(super) fn new(node: &Node, gpu: &Gpu, scores: &Scores) -> Self {
        let is_closed = gpu.occupancy == Occupancy::CLOSED;
        let reported = node.reported(gpu.index);
        let holders = reported.map_or(&[][..], |reported| &reported.holders);
        // Of a GPU in MIG mode its MIG devices are shared, of Tangram's nothing is.
        let whole = reported.filter(|reported| !reported.is_mig_enabled && !gpu.is_dynamic);
        Self {
            index: gpu.index,
            uuid: gpu.uuid.as_ref().map(ToString::to_string),
            model: gpu.model.map(|model| Catalog::get().row(model).key),
            is_dynamic: gpu.is_dynamic,
            is_closed,
            slices: drawing(gpu),
            instances: gpu.instances.iter().filter_map(|it| InstanceView::new(node, gpu, it)).collect(),
            pods: holders.iter().map(HolderView::new).collect(),
            shared: whole.and_then(|reported| {
                SharedView::new(node, None, &reported.holders, reported.memory_used_mib)
            }),
            free: (!is_closed).then(|| FreeView::new(scores.fragmentation(gpu.occupancy))),
            stranded: scores.stranded(gpu.occupancy),
            unhealthy: reported.and_then(|reported| match &reported.health {
                GpuHealth::Healthy => None,
                GpuHealth::Unhealthy(why) => Some(why.to_string()),
            }),
        }
    }
}

impl InstanceView {
    fn new(node: &Node, gpu: &Gpu, instance: &Instance) -> Option<Self> {
        let profile = &Catalog::get().row(gpu.model?).profiles[usize::from(instance.profile)];
        let is_it = |it: &&InstanceReport| it.start == instance.start && it.profile.as_str() == profile.name;
        let reported = node.reported(gpu.index).and_then(|reported| reported.instances.iter().find(is_it));
        let foreign = reported.filter(|reported| reported.is_foreign || !gpu.is_dynamic);
        Some(Self {
            profile: profile.name.to_owned(),
            start: instance.start,
            size: profile.memory_slices,
            pod: instance.pod.as_ref().map(PodKey::to_string),
            pods: reported.iter().flat_map(|it| &it.sharers).map(HolderView::new).collect(),
            shared: foreign.and_then(|reported| {
                SharedView::new(node, Some(&reported.profile), &reported.sharers, reported.memory_used_mib)
            }),
            uuid: instance.uuid.as_ref().map(ToString::to_string),
            knowledge: match instance.knowledge {
                Knowledge::Known => "known",
                Knowledge::Assumed => "assumed",
            },
        })
    }
}

impl HolderView {
    fn new(holder: &Holder) -> Self {
        Self { pod: holder.pod.to_string(), shares: holder.shares }
    }
}

impl SharedView {
    /// How a device is shared, where its node's labels say that such devices are.
    fn new(
        node: &Node,
        profile: Option<&ProfileName>,
        holders: &[Holder],
        memory_used_mib: Option<u32>,
    ) -> Option<Self> {
        let kind = &node.facts.pools[pool_of(&node.facts.pools, profile, true)?].kind;
        let (_, _, replicas) = kind_words(kind);
        let used = holders.iter().map(|holder| holder.shares.unwrap_or(1)).fold(0, u32::saturating_add);
        Some(Self { sharing: sharing_word(kind), replicas: replicas?, used, memory_used_mib })
    }
}

/// `3333..1.`: one character per NVML memory slice.
fn drawing(gpu: &Gpu) -> String {
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
