//! GPU models: what NVML lists of each, from `data/mig/mig-profiles.json`.
//!
//! Where the sources tell no number (`null`) the mock needs one nevertheless; what it takes then is said at
//! the field.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

const JSON: &str = include_str!("../../data/mig/mig-profiles.json");
const MIB_PER_GIB: u32 = 1024;
/// NVML's profile index is added to it where no source tells the profile's id.
const UNPUBLISHED_ID: u32 = 200;
/// Multiprocessors of a compute slice where no source tells: those of most models.
const SM_PER_SLICE: u32 = 16;

/// GPU architecture, in the order in which they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "NVIDIA's names")]
pub enum Architecture {
    Volta,
    Turing,
    Ampere,
    Ada,
    Hopper,
    Blackwell,
}

/// A GPU model with MIG.
#[derive(Debug, Clone)]
pub struct Model {
    /// Short name, for example `h100-80gb-sxm`.
    pub key: String,
    /// Names as `nvmlDeviceGetName` tells them.
    pub names: Vec<String>,
    /// Architecture.
    pub architecture: Architecture,
    /// CUDA compute capability, major and minor.
    pub compute_capability: (i32, i32),
    /// PCI device and vendor id as NVML packs them, `0x233010DE`.
    pub pci_device_id: u32,
    /// Compute slices.
    pub compute_slices: u32,
    /// Memory slices: width of the placement axis.
    pub memory_slices: u32,
    /// Memory in MiB; unpublished: what the name of the widest profile says.
    pub memory_mib: u32,
    /// All engines.
    pub engines: Engines,
    /// By NVML's profile index.
    pub profiles: Vec<Profile>,
}

/// A GPU instance profile.
#[derive(Debug, Clone)]
pub struct Profile {
    /// As `nvidia-smi mig -lgip` prints it, for example `1g.10gb+me`.
    pub name: String,
    /// `NVML_GPU_INSTANCE_PROFILE_*`.
    pub index: u32,
    /// What creating one wants; unpublished: 200 and the index.
    pub id: u32,
    /// Compute slices.
    pub compute_slices: u32,
    /// Memory slices.
    pub memory_slices: u32,
    /// Memory in MiB; unpublished: what its name says.
    pub memory_mib: u32,
    /// Multiprocessors; unpublished: 16 of each compute slice.
    pub multiprocessors: u32,
    /// Engines.
    pub engines: Engines,
    /// At most this many at once.
    pub instances_max: u32,
    /// Where it may start, in memory slices.
    pub starts: Vec<u32>,
}

/// Engines that GPU instances share out among themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Engines {
    /// Copy engines.
    pub copy: u32,
    /// NVDEC.
    #[serde(rename = "dec")]
    pub decoders: u32,
    /// NVENC.
    #[serde(rename = "enc")]
    pub encoders: u32,
    /// NVJPG.
    pub jpeg: u32,
    /// Optical flow.
    pub ofa: u32,
}

impl Engines {
    /// In the order of the fields.
    pub const fn counts(self) -> [u32; 5] {
        [self.copy, self.decoders, self.encoders, self.jpeg, self.ofa]
    }
}

/// Compute instance profiles of a GPU instance with so many compute slices: slices of each, and how many fit.
#[derive(Debug, Clone)]
pub(crate) struct Division {
    pub(crate) compute_slices: u32,
    pub(crate) profiles: Vec<(u32, u32)>,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) models: Vec<Model>,
    pub(crate) divisions: Vec<Division>,
}

impl Table {
    pub(crate) fn get() -> &'static Self {
        static TABLE: LazyLock<Table> = LazyLock::new(|| {
            let raw: raw::Table = serde_json::from_str(JSON).expect("mig-profiles.json has its schema");
            raw.into()
        });
        &TABLE
    }

    pub(crate) fn model(&self, key: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.key == key)
    }
}

impl Model {
    pub(crate) fn profile(&self, name: &str) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.name == name)
    }
}

/// GiB in a profile's name: 10 of `1g.10gb+me`.
fn nominal_gib(profile: &str) -> u32 {
    let digits = profile.split_once('.').and_then(|(_, rest)| rest.split_once("gb"));
    digits.and_then(|(digits, _)| digits.parse().ok()).expect("a profile's name tells its memory")
}

/// The file as it is written.
mod raw {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::{Architecture, Division, Engines, MIB_PER_GIB, SM_PER_SLICE, UNPUBLISHED_ID, nominal_gib};

    #[derive(Deserialize)]
    pub(super) struct Table {
        models: Vec<Model>,
        compute_instances: Divisions,
    }

    #[derive(Deserialize)]
    struct Divisions {
        // The A30's are among them.
        a100: BySlices,
    }

    #[derive(Deserialize)]
    struct BySlices {
        by_gi_slices: BTreeMap<String, BTreeMap<String, u32>>,
    }

    #[derive(Deserialize)]
    struct Model {
        key: String,
        nvml_names: Vec<String>,
        architecture: Architecture,
        compute_capability: String,
        pci_device_ids: Vec<String>,
        compute_slices: u32,
        memory_units: Option<u32>,
        nvml_total_memory_mib: Option<u32>,
        engine_totals: serde_json::Value,
        profiles: Vec<Profile>,
    }

    #[derive(Deserialize)]
    struct Profile {
        name: String,
        nvml_profile_index: u32,
        nvidia_smi_id: Option<u32>,
        compute_slices: u32,
        memory_units: Option<u32>,
        memory_mib: Option<u32>,
        sm: Option<u32>,
        engines: Engines,
        max_instances: u32,
        placements: Option<Vec<Placement>>,
    }

    #[derive(Deserialize)]
    struct Placement {
        start: u32,
    }

    impl From<Table> for super::Table {
        fn from(raw: Table) -> Self {
            let slices = |name: &str| name.trim_end_matches('c').parse().expect("slices are a number");
            let divisions = raw.compute_instances.a100.by_gi_slices.iter().map(|(whole, parts)| Division {
                compute_slices: slices(whole),
                profiles: parts.iter().map(|(part, &count)| (slices(part), count)).collect(),
            });
            let divisions = divisions.collect();
            Self { models: raw.models.into_iter().filter_map(Model::placed).collect(), divisions }
        }
    }

    impl Model {
        /// The model, unless its placements are unpublished.
        fn placed(self) -> Option<super::Model> {
            let memory_slices = self.memory_units?;
            let mut profiles: Vec<_> =
                self.profiles.into_iter().map(Profile::placed).collect::<Option<_>>()?;
            profiles.sort_by_key(|profile| profile.index);
            let nominal = profiles.iter().map(|it| nominal_gib(&it.name) * MIB_PER_GIB).max()?;
            let hexadecimal = |text: &String| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok();
            let capability = self.compute_capability.split_once('.')?;
            Some(super::Model {
                key: self.key,
                names: self.nvml_names,
                architecture: self.architecture,
                compute_capability: (capability.0.parse().ok()?, capability.1.parse().ok()?),
                pci_device_id: self.pci_device_ids.first().and_then(hexadecimal)? << 16 | 0x10DE,
                compute_slices: self.compute_slices,
                memory_slices,
                memory_mib: self.nvml_total_memory_mib.unwrap_or(nominal),
                engines: serde_json::from_value(self.engine_totals).ok()?,
                profiles,
            })
        }
    }

    impl Profile {
        fn placed(self) -> Option<super::Profile> {
            Some(super::Profile {
                index: self.nvml_profile_index,
                id: self.nvidia_smi_id.unwrap_or(UNPUBLISHED_ID + self.nvml_profile_index),
                compute_slices: self.compute_slices,
                memory_slices: self.memory_units?,
                memory_mib: self.memory_mib.unwrap_or_else(|| nominal_gib(&self.name) * MIB_PER_GIB),
                multiprocessors: self.sm.unwrap_or(SM_PER_SLICE * self.compute_slices),
                engines: self.engines,
                instances_max: self.max_instances,
                starts: self.placements?.into_iter().map(|placement| placement.start).collect(),
                name: self.name,
            })
        }
    }
}
