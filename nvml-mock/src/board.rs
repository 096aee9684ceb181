//! GPUs: what one is, and how a test orders one.

use serde::{Deserialize, Serialize};

use crate::health::Health;
use crate::links::{Fabric, NvLink};
use crate::mig::{Hold, Mig, Process};
use crate::table::{Architecture, Model, Table};

/// One GPU of a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gpu {
    /// `GPU-…`.
    pub uuid: String,
    /// Product name.
    pub name: String,
    /// N of `/dev/nvidiaN`.
    pub minor: u32,
    /// PCI bus address as NVML writes it, for example `00000000:17:00.0`.
    pub pci_address: String,
    /// PCI device and vendor id, `0x233010DE`.
    pub pci_device_id: u32,
    /// Architecture.
    pub architecture: Architecture,
    /// CUDA compute capability, major and minor.
    pub compute_capability: (i32, i32),
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Utilisation of multiprocessors and of memory, in percent.
    pub utilisation: (u32, u32),
    /// MIG, on a GPU that has it.
    pub mig: Option<Mig>,
    /// Processes on it and in its instances.
    pub processes: Vec<Process>,
    /// Clients that hold it without computing, as DCGM does.
    pub holds: Vec<Hold>,
    /// Whether it fell off the bus.
    pub is_lost: bool,
    /// Errors and repairs.
    pub health: Health,
    /// NVLink connections by number.
    pub nvlinks: Vec<NvLink>,
    /// NUMA node of the host that is nearest (`nvmlDeviceGetMemoryAffinity`).
    pub numa_node: Option<u32>,
    /// NUMA node that the GPU's own memory is, on machines that have such (`nvmlDeviceGetNumaNodeId`).
    pub memory_node: Option<u32>,
    /// NVLink domain.
    pub fabric: Option<Fabric>,
}

impl Gpu {
    pub(crate) fn is_mig_enabled(&self) -> bool {
        self.mig.as_ref().is_some_and(|mig| mig.current)
    }

    /// Whether changing MIG mode resets it, and a reboot keeps the mode.
    pub(crate) fn needs_reset_for_mig(&self) -> bool {
        self.architecture <= Architecture::Ampere
    }
}

/// A GPU as a test orders it.
#[derive(Debug, Clone)]
pub struct Board(Gpu);

impl Board {
    /// A model of the table, MIG off, under its first name.
    ///
    /// # Panics
    /// When the table has no such key, or its placements are unpublished; the text lists what there is.
    pub fn of(key: &str) -> Self {
        let model = Table::get().model(key);
        let model = model.unwrap_or_else(|| {
            #[expect(clippy::panic, reason = "the test that orders it is wrong")]
            {
                panic!(
                    "no GPU model {key:?} with published placements in mig-profiles.json, which has: {}",
                    Self::keys().join(", ")
                )
            }
        });
        Self::new(model)
    }

    /// Keys of all models that can be ordered.
    pub fn keys() -> Vec<&'static str> {
        Table::get().models.iter().map(|model| model.key.as_str()).collect()
    }

    fn new(model: &Model) -> Self {
        let mut board = Self::plain(&model.names[0], model.memory_mib)
            .architecture(model.architecture, model.compute_capability);
        board.0.pci_device_id = model.pci_device_id;
        board.0.mig = Some(Mig::new(&model.key));
        board
    }

    /// A GPU without MIG, of the Ada architecture, for example `NVIDIA L4` with 23034 MiB.
    pub fn plain(name: &str, memory_mib: u32) -> Self {
        Self(Gpu {
            uuid: String::new(),
            name: name.to_owned(),
            minor: 0,
            pci_address: String::new(),
            pci_device_id: 0x27B8_10DE, // an L4's
            architecture: Architecture::Ada,
            compute_capability: (8, 9),
            memory_mib,
            utilisation: (0, 0),
            mig: None,
            processes: Vec::new(),
            holds: Vec::new(),
            is_lost: false,
            health: Health::default(),
            nvlinks: Vec::new(),
            numa_node: None,
            memory_node: None,
            fabric: None,
        })
    }

    /// Under another name: another of the model's, or one that no table has.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.0.name);
        self
    }

    /// Of another architecture.
    #[must_use]
    pub fn architecture(mut self, architecture: Architecture, compute_capability: (i32, i32)) -> Self {
        self.0.architecture = architecture;
        self.0.compute_capability = compute_capability;
        // Ampere and newer remap rows instead of retiring pages.
        self.0.health.retirement_pending = (architecture < Architecture::Ampere).then_some(false);
        self
    }

    /// With MIG mode on.
    ///
    /// # Panics
    /// On a GPU that has no MIG.
    #[must_use]
    pub fn mig(self) -> Self {
        self.with(|mig| (mig.current, mig.pending) = (true, true))
    }

    /// Passed through to a virtual machine, which cannot reset it.
    ///
    /// # Panics
    /// On a GPU that has no MIG.
    #[must_use]
    pub fn passthrough(self) -> Self {
        self.with(|mig| mig.is_passed_through = true)
    }

    /// Under a driver that tells profiles and placements only while MIG mode is on.
    ///
    /// # Panics
    /// On a GPU that has no MIG.
    #[must_use]
    pub fn tells_profiles_in_mig_mode_only(self) -> Self {
        self.with(|mig| mig.tells_profiles_always = false)
    }

    fn with(mut self, change: impl FnOnce(&mut Mig)) -> Self {
        let Gpu { mig, name, .. } = &mut self.0;
        change(mig.as_mut().unwrap_or_else(|| {
            #[expect(clippy::panic, reason = "the test that orders it is wrong")]
            {
                panic!("{name} has no MIG")
            }
        }));
        self
    }

    /// The GPU at an index of a machine.
    pub(crate) fn at(self, index: u32, uuid: String) -> Gpu {
        let pci_address = format!("00000000:{:02X}:00.0", 0x10 + 8 * index);
        Gpu { uuid, minor: index, pci_address, ..self.0 }
    }
}
