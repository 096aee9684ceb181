//! `GpuNode.status` as an agent writes it. How it is read back stands in `gpunode`.

use serde::{Deserialize, Serialize};

use super::gpunode::{HolderForm, PodForm};

/// The whole status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuNodeStatus {
    /// Number of the report, one higher for each.
    pub sequence: u64,
    /// When it was read, RFC 3339.
    pub observed_at: String,
    /// What is reported.
    #[serde(flatten)]
    pub content: StatusContent,
}

/// What is reported: a report is written when this changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusContent {
    /// Version of the NVIDIA driver.
    pub driver_version: String,
    /// Newest CUDA that it serves.
    pub cuda_version: String,
    /// How many GPUs are reported: a printer column cannot count.
    pub gpu_count: u32,
    /// The GPUs, by index.
    pub gpus: Vec<GpuStatus>,
    /// What is not as it is wanted, by GPU and start.
    pub unsettled: Vec<UnsettledStatus>,
    /// Conditions of the agent's work.
    pub conditions: Vec<Condition>,
}

/// One GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuStatus {
    /// NVML index.
    pub index: u32,
    /// `GPU-…`.
    pub uuid: String,
    /// PCI bus address.
    pub pci_address: String,
    /// Product name.
    pub model: String,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Memory in use in MiB, in steps of a sixteenth; only where containers share the GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_used_mib: Option<u32>,
    /// `Enabled`, `Disabled` or `NotSupported`.
    pub mig_mode: &'static str,
    /// `Healthy` or `Unhealthy`.
    pub health: &'static str,
    /// Why it is not healthy.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub health_reason: String,
    /// NUMA node of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numa_node: Option<u32>,
    /// How the other GPUs are reached.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkStatus>,
    /// The NVLink domain that it is part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fabric: Option<FabricStatus>,
    /// Profiles as NVML lists them on this board.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<ProfileStatus>,
    /// GPU instances that exist.
    pub instances: Vec<InstanceStatus>,
    /// Pods to whose containers the kubelet gave the GPU as a whole, or shares of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<HolderForm>,
}

/// How another GPU is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkStatus {
    /// Its NVML index.
    pub gpu: u32,
    /// The nearest thing shared by PCIe: `board`, `switch`, `switches`, `hostBridge`, `numaNode`, `system`.
    pub pcie: &'static str,
    /// Whether NVLinks lead to it directly.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub nvlink: bool,
}

/// An NVLink domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FabricStatus {
    /// UUID of the domain.
    pub cluster_uuid: String,
    /// Clique within it.
    pub clique: u32,
}

/// A profile on one board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProfileStatus {
    /// Name as `nvidia-smi` prints it.
    pub name: String,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Memory slices that one takes.
    pub memory_slices: u32,
    /// Memory slices at which one may start.
    pub starts: Vec<u32>,
    /// How many there can be at once.
    pub max: u32,
}

/// A GPU instance that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatus {
    /// UUID of its MIG device; absent where it has none, or several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Profile.
    pub profile: String,
    /// First memory slice.
    pub start: u32,
    /// The pod that the kubelet gave it to; the first of those that share it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodForm>,
    /// Pods to whose containers the kubelet gave shares of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<HolderForm>,
    /// Memory that its processes use in MiB, in steps of a sixteenth; only where containers share it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_used_mib: Option<u32>,
    /// UID of the pod that gets it when it is bound now: its device is offered for that pod, and the kubelet lists it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_for: Option<String>,
    /// Whether somebody else made it: the agent does not touch it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub foreign: bool,
}

/// Something that is not as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnsettledStatus {
    /// NVML index.
    pub gpu: u32,
    /// Profile; absent for the GPU as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// First memory slice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<u8>,
    /// Whether it is there and should not be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
    /// One word for machines, for example `OccupiedByOthers`.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

/// A condition, as Kubernetes has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// When `status` last changed, RFC 3339.
    pub last_transition_time: String,
    /// One word for machines.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}
