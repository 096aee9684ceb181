//! How GPUs are connected.

use serde::{Deserialize, Serialize};

/// An NVLink of a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NvLink {
    /// Whether it works.
    pub is_active: bool,
    /// What is at its other end.
    pub remote: Remote,
    /// PCI address of what is there, for example `00000000:18:00.0`.
    pub pci_address: String,
}

/// What an NVLink ends at (`nvmlIntNvLinkDeviceType_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remote {
    /// Another GPU.
    Gpu,
    /// A switch.
    Switch,
}

/// The nearest thing that two GPUs share (`nvmlGpuTopologyLevel_t`), nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The board.
    Internal,
    /// A PCI Express switch.
    Single,
    /// Several PCI Express switches.
    Multiple,
    /// A host bridge.
    HostBridge,
    /// A NUMA node.
    Node,
    /// The machine.
    System,
}

/// How near two GPUs are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// UUIDs of the two, in any order.
    pub gpus: [String; 2],
    /// What they share.
    pub level: Level,
}

/// Membership in an NVLink domain (`nvmlGpuFabricInfo_t`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fabric {
    /// UUID of the domain; zeros on one machine with switches.
    pub cluster_uuid: [u8; 16],
    /// Clique.
    pub clique: u32,
    /// `NVML_GPU_FABRIC_STATE_*`; 3 is completed.
    pub state: u8,
    /// `NVML_GPU_FABRIC_HEALTH_MASK_*`.
    pub health_mask: u32,
}
