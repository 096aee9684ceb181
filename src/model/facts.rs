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

    /// The report as it is when some GPU instances, by index of the GPU, are taken away.
    #[must_use]
    pub fn without(&self, goes: impl Fn(u16, &InstanceReport) -> bool) -> Self {
        let mut report = self.clone();
        report.wanted.retain(|(gpu, instance)| !goes(*gpu, instance));
        for gpu in &mut report.gpus {
            gpu.instances.retain(|instance| !goes(gpu.index, instance));
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

/// A GPU instance that exists or should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceReport {
    /// MIG UUID; `None` while it is only wanted.
    pub uuid: Option<Arc<str>>,
    /// The profile.
    pub profile: ProfileName,
    /// First memory slice, in NVML's unit.
    pub start: u8,
    /// The pod that holds it or is to hold it.
    pub pod: Option<PodKey>,
    /// UID of that pod, where it is said.
    pub pod_uid: Option<Arc<str>>,
    /// UID of the pod that gets it when it is bound now: the agent offers its device for that pod, and the kubelet
    /// lists it as allocatable.
    pub ready_for: Option<Arc<str>>,
}
