//! What is known of one node before any pod is on it: the words of labels and of the agent, checked.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{PodKey, PoolKind, Problem, Resources};
use crate::mig::{ModelId, ProfileName};

/// One node as its API object describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// The node's name.
    pub name: Arc<str>,
    /// `metadata.resourceVersion`, for the order of events; 0 where it does not matter.
    pub revision: u64,
    /// All labels.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// `spec.taints`.
    pub taints: Vec<Taint>,
    /// `spec.unschedulable`: cordoned.
    pub is_unschedulable: bool,
    /// `status.allocatable` of what every pod needs.
    pub allocatable: Resources,
    /// Devices that a device plugin counts, sorted by resource name.
    pub pools: Vec<PoolFacts>,
    /// The GPUs Tangram may partition itself.
    pub dynamic: Option<DynamicFacts>,
    /// Product name without the suffixes of sharing and partitioning; empty on a node without GPUs.
    pub product: Arc<str>,
    /// What about these facts does not add up.
    pub problems: Vec<Problem>,
}

/// Devices of one resource name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolFacts {
    /// The resource name that pods ask for.
    pub resource: Arc<str>,
    /// What one unit is.
    pub kind: PoolKind,
    /// Allocatable units.
    pub capacity: u32,
    /// What one unit is worth in MiB of GPU memory; a guess where the model is unknown.
    pub value_mib: u32,
}

/// GPUs of a node in dynamic MIG mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DynamicFacts {
    /// The model, where the table knows it.
    pub model: Option<ModelId>,
    /// Indices of the GPUs, ascending.
    pub gpus: Vec<u16>,
    /// Whether they can be used only where an agent reports them: nobody else makes GPU instances.
    pub needs_agent: bool,
}

/// A taint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taint {
    /// Key.
    pub key: Arc<str>,
    /// Value, empty when absent.
    pub value: Arc<str>,
    /// Effect.
    pub effect: TaintEffect,
}

/// What a taint does to pods that do not tolerate it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaintEffect {
    /// Not scheduled here.
    NoSchedule,
    /// Rather not scheduled here: no reason to refuse.
    PreferNoSchedule,
    /// Not scheduled here, and evicted.
    NoExecute,
}

/// What a node's agent reports (`GpuNode`): NVML's view, which wins over labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GpuReport {
    /// Number of the report, growing.
    pub sequence: u64,
    /// `metadata.resourceVersion` of the object; 0 where it is not known.
    pub revision: u64,
    /// The GPUs, by index.
    pub gpus: Vec<GpuFacts>,
    /// GPU instances that the scheduler wants and that may not exist yet (`spec.instances`).
    pub wanted: Vec<(u16, InstanceReport)>,
    /// What is not as it is wanted, and why, in the agent's words.
    pub unsettled: Vec<Unsettled>,
    /// What in the report could not be read.
    pub problems: Vec<Problem>,
    /// Whether the kubelet answers the agent: a pod that is not named then holds nothing yet.
    pub has_record: bool,
}

/// Why a GPU instance that is wanted is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsettled {
    /// NVML index.
    pub gpu: u16,
    /// First memory slice; `None` for the GPU as a whole.
    pub start: Option<u8>,
    /// In the agent's words.
    pub why: Arc<str>,
}

impl GpuReport {
    /// Whether `other` is a report of before this one.
    pub fn is_after(&self, other: &Self) -> bool {
        match (self.revision, other.revision) {
            (0, _) | (_, 0) => self.sequence > other.sequence,
            (own, other) => own > other,
        }
    }

    /// The report as it is when some pods are gone. GPU instances that Tangram made for them go too, and those at
    /// `places` (index of the GPU, first memory slice); what somebody else made stays, and they hold it no longer.
    #[must_use]
    pub fn without(&self, is_gone: impl Fn(&PodKey) -> bool, places: &[(u16, u8)]) -> Self {
        let mut report = self.clone();
        let goes = |gpu: u16, instance: &InstanceReport| {
            instance.pod.as_ref().is_some_and(&is_gone) || places.contains(&(gpu, instance.start))
        };
        report.wanted.retain(|(gpu, instance)| !goes(*gpu, instance));
        for GpuFacts { index, holders, instances, .. } in &mut report.gpus {
            holders.retain(|holder| !is_gone(&holder.pod));
            instances.retain(|instance| instance.is_foreign || !goes(*index, instance));
            for instance in instances {
                instance.sharers.retain(|sharer| !is_gone(&sharer.pod));
                let left = instance.pod.take().filter(|pod| !is_gone(pod));
                instance.pod = left.or_else(|| Some(instance.sharers.first()?.pod.clone()));
            }
        }
        report
    }
}

/// One GPU as NVML shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuFacts {
    /// NVML index.
    pub index: u16,
    /// `GPU-…`.
    pub uuid: Arc<str>,
    /// Product name as NVML prints it.
    pub product: Arc<str>,
    /// The model, where the table knows it.
    pub model: Option<ModelId>,
    /// Memory of the whole GPU, where reported.
    pub memory_mib: Option<u32>,
    /// Memory in use, where pods share the GPU.
    pub memory_used_mib: Option<u32>,
    /// The pods to which the kubelet gave the GPU itself, or shares of it.
    pub holders: Vec<Holder>,
    /// Whether MIG mode is on.
    pub is_mig_enabled: bool,
    /// Whether it can be used.
    pub health: GpuHealth,
    /// Live GPU instances.
    pub instances: Vec<InstanceReport>,
}

/// Whether a GPU can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GpuHealth {
    /// It can.
    Healthy,
    /// It cannot, and why.
    Unhealthy(Arc<str>),
}

/// A pod to which the kubelet gave a device of a device plugin.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// The pod.
    pub pod: PodKey,
    /// How many shares of the device (time-slicing, MPS); `None` where all of it is the pod's.
    pub shares: Option<u32>,
}

/// A GPU instance that exists or should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceReport {
    /// MIG UUID; `None` while it is only wanted.
    pub uuid: Option<Arc<str>>,
    /// The profile.
    pub profile: ProfileName,
    /// First memory slice, in NVML's unit.
    pub start: u8,
    /// The pod that holds it or is to hold it; the first of those that share it.
    pub pod: Option<PodKey>,
    /// The pods that share it; empty where it is not shared.
    pub sharers: Vec<Holder>,
    /// Memory in use, where pods share it.
    pub memory_used_mib: Option<u32>,
    /// Whether somebody else than Tangram made it.
    pub is_foreign: bool,
    /// UID of that pod, where it is said.
    pub pod_uid: Option<Arc<str>>,
    /// UID of the pod that gets it when it is bound now: the agent offers its device for that pod, and the kubelet
    /// lists it as allocatable.
    pub ready_for: Option<Arc<str>>,
}
