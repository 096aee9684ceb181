//! What NVML says of a node's GPUs: plain data.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Everything that is read at once.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    /// `nvmlSystemGetDriverVersion`, for example `580.95.05`.
    pub driver_version: String,
    /// The newest CUDA that the driver serves (`nvmlSystemGetCudaDriverVersion_v2`), for example `13.0`.
    pub cuda_version: String,
    /// By NVML index. One that fell off the bus before it was ever read is not among them.
    pub gpus: Vec<Gpu>,
    /// GPUs that cannot be read at all: index and why.
    pub unreadable: Vec<(u32, String)>,
}

/// One GPU.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gpu {
    /// NVML index, which may be another after a restart of the driver.
    pub index: u32,
    /// `GPU-…`, which never changes.
    pub uuid: String,
    /// PCI bus address, for example `00000000:17:00.0`.
    pub pci_address: String,
    /// N of `/dev/nvidiaN`.
    pub minor: u32,
    /// Product name, for example `NVIDIA H100 80GB HBM3`.
    pub model: String,
    /// Memory of the board in MiB.
    pub memory_mib: u32,
    /// Memory in use in MiB; all of the board's, whoever uses it.
    pub memory_used_mib: u32,
    /// Share of the last second in which a kernel ran, in percent; `None` under MIG, where NVML does not tell.
    pub utilisation_percent: Option<u32>,
    /// MIG, on a GPU that has it.
    pub mig: Option<Mig>,
    /// How it is connected.
    pub links: Links,
    /// What is wrong with it, most serious first; empty when nothing is.
    pub ailments: Vec<Ailment>,
    /// Processes that compute or draw on it, also in its MIG devices.
    pub processes: Vec<Process>,
}

/// MIG on one GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mig {
    /// Whether the mode is on.
    pub is_enabled: bool,
    /// Whether it will be on after a reset.
    pub is_pending: bool,
    /// Profiles as this board and driver list them; some drivers list them only while the mode is on.
    pub profiles: Vec<Profile>,
    /// GPU instances, by start.
    pub instances: Vec<Instance>,
}

/// A GPU instance profile (MIG User Guide, "Supported MIG Profiles").
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// As `nvidia-smi mig -lgip` prints it, for example `1g.10gb+me`.
    pub name: String,
    /// `nvmlGpuInstanceProfileInfo_t.id`: what creating one wants.
    pub id: u32,
    /// Compute slices.
    pub compute_slices: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// How many the GPU can have at once.
    pub instances_max: u32,
    /// Memory slices that one takes.
    pub memory_slices: u32,
    /// Memory slices at which one may start.
    pub starts: Vec<u32>,
}

/// A GPU instance that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// GPU instance id, given again to the next one at the same place.
    pub id: u32,
    /// Name of its profile.
    pub profile: String,
    /// First memory slice.
    pub start: u32,
    /// Memory slices.
    pub memory_slices: u32,
    /// Its compute instances, by id. One without any serves nobody.
    pub compute: Vec<Compute>,
}

impl Instance {
    /// UUID of the MIG device, where the whole GPU instance is one compute instance.
    pub fn uuid(&self) -> Option<&str> {
        match self.compute.as_slice() {
            [compute] => compute.uuid.as_deref(),
            _ => None,
        }
    }
}

/// A compute instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Compute {
    /// Compute instance id within its GPU instance.
    pub id: u32,
    /// UUID of its MIG device, `MIG-…`; new each time it is made.
    pub uuid: Option<String>,
}

/// A process on a GPU.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Process id on the host.
    pub pid: u32,
    /// Memory in MiB; `None` where the driver does not tell.
    pub memory_mib: Option<u32>,
    /// GPU instance that it is in; `None` on a GPU without MIG.
    pub instance: Option<u32>,
}

/// How a GPU is connected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Links {
    /// Active NVLinks.
    pub nvlinks: u32,
    /// Indices of the GPUs at their other ends; empty where a switch is there instead.
    pub nvlink_peers: Vec<u32>,
    /// How near the other GPUs are by PCIe, by index: `nvmlDeviceGetTopologyCommonAncestor`.
    pub pcie: Vec<(u32, Ancestor)>,
    /// NUMA node of the host.
    pub numa_node: Option<u32>,
    /// The NVLink domain that it is part of.
    pub fabric: Option<Fabric>,
}

/// The nearest thing that two GPUs share (`nvmlGpuTopologyLevel_t`), nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ancestor {
    /// The board.
    Board,
    /// A PCIe switch.
    Switch,
    /// Several PCIe switches.
    Switches,
    /// A host bridge.
    HostBridge,
    /// A NUMA node.
    NumaNode,
    /// The machine.
    System,
}

/// An NVLink domain: GPUs of several nodes with one memory (`nvmlGpuFabricInfo_t`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fabric {
    /// UUID of the domain.
    pub cluster_uuid: String,
    /// Clique: GPUs of the domain that can reach each other.
    pub clique: u32,
}

/// Something that is wrong with a GPU: it gets no new pods.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Ailment {
    /// It fell off the bus: nothing about it can be read.
    Lost,
    /// It wants a reset before anything else.
    ResetRequired,
    /// The driver reported this XID.
    Xid(u64),
    /// Rows of its memory could not be remapped.
    RemapFailed,
    /// Rows of its memory are remapped at the next reset.
    RemapPending,
    /// Pages of its memory are retired at the next restart of the driver.
    RetirementPending,
    /// Memory errors that ECC could not correct, since the driver was loaded.
    Ecc(u64),
}

impl fmt::Display for Ailment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost => f.write_str("fell off the bus"),
            Self::ResetRequired => f.write_str("wants a reset"),
            Self::Xid(xid) => write!(f, "XID {xid}: {}", crate::xid::meaning(*xid)),
            Self::RemapFailed => f.write_str("row remapping failed"),
            Self::RemapPending => f.write_str("row remapping waits for a reset"),
            Self::RetirementPending => f.write_str("page retirement waits for a restart of the driver"),
            Self::Ecc(errors) => write!(f, "{errors} uncorrected memory errors"),
        }
    }
}
