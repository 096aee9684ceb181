//! MIG on one GPU: modes, instances, and who uses them.

use serde::{Deserialize, Serialize};

use crate::table::{Model, Profile, Table};

/// MIG on one GPU.
#[expect(clippy::struct_excessive_bools, reason = "each is one fact that NVML tells")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mig {
    /// Key of the model in the table.
    pub model: String,
    /// Whether the mode is on.
    pub current: bool,
    /// Whether it will be on after a reset.
    pub pending: bool,
    /// Whether the GPU cannot be reset from within this machine.
    pub is_passed_through: bool,
    /// Whether profiles and placements are told while the mode is off.
    pub tells_profiles_always: bool,
    /// GPU instances in the order in which they were made.
    pub instances: Vec<GpuInstance>,
}

/// A GPU instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuInstance {
    /// What its handles name: another one at the same place has another.
    pub serial: u64,
    /// GPU instance id: a code of its place, given again to the next one there.
    pub id: u32,
    /// Name of its profile.
    pub profile: String,
    /// First memory slice.
    pub start: u32,
    /// Memory slices.
    pub size: u32,
    /// Whether the scene made it, for somebody else.
    pub is_foreign: bool,
    /// Compute instances.
    pub compute: Vec<ComputeInstance>,
}

/// A compute instance, and so a MIG device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComputeInstance {
    /// What its handles name.
    pub serial: u64,
    /// Compute instance id within the GPU instance.
    pub id: u32,
    /// First compute slice within the GPU instance.
    pub start: u32,
    /// Compute slices.
    pub slices: u32,
    /// UUID of the MIG device, `MIG-…`: new each time.
    pub uuid: String,
}

/// A process on a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Which list it stands in.
    pub kind: Kind,
    /// GPU instance and compute instance that it is in; `None` on the bare GPU.
    pub instance: Option<(u32, u32)>,
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the lists that NVML has")]
pub enum Kind {
    Compute,
    Graphics,
    Mps,
}

/// A client that holds a GPU without computing on it: DCGM, `nvidia-persistenced`, an exporter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Who.
    pub client: String,
    /// GPU instance that it holds; `None`: the GPU.
    pub gpu_instance: Option<u32>,
}

impl Mig {
    /// Off, with nothing in it.
    pub(crate) fn new(model: &str) -> Self {
        Self {
            model: model.to_owned(),
            current: false,
            pending: false,
            is_passed_through: false,
            tells_profiles_always: true,
            instances: Vec::new(),
        }
    }

    pub(crate) fn model(&self) -> &'static Model {
        Table::get().model(&self.model).expect("the state names models of the table")
    }

    pub(crate) fn by_serial(&self, serial: u64) -> Option<&GpuInstance> {
        self.instances.iter().find(|instance| instance.serial == serial)
    }

    /// MIG devices in the order of their index: by GPU instance id and compute instance id.
    pub(crate) fn devices(&self) -> Vec<(&GpuInstance, &ComputeInstance)> {
        let all = self.instances.iter();
        let mut devices: Vec<_> = all.flat_map(|it| it.compute.iter().map(move |ci| (it, ci))).collect();
        devices.sort_by_key(|(instance, compute)| (instance.id, compute.id));
        devices
    }
}

impl GpuInstance {
    pub(crate) fn profile(&self, model: &'static Model) -> &'static Profile {
        model.profile(&self.profile).expect("an instance has a profile of its model")
    }
}
