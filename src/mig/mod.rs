//! MIG geometry: which GPU instances a GPU model can hold, and where.
//!
//! Words (NVIDIA MIG User Guide): a *profile* such as `3g.40gb` names a kind of GPU instance; a
//! *placement* is a profile at a start, in memory slices; a *state* is everything that decides what else fits
//! on one GPU: the memory slices in use and the few counters that bind; a *layout* is the instances at their
//! places, and an *occupancy* the layout of a GPU of some model.
//!
//! ```text
//! models   facts: one row per GPU model and profile, with sources
//! profile  names: 1g.10gb+me as nvidia-smi prints it, mig-1g.10gb.me as a resource name
//! geometry one model compiled: every reachable state, and where each placement leads
//! layouts  the same for layouts
//! room     how many more of a profile fit
//! catalog  all models: product label -> model, profile name -> rows, one flat index of occupancies
//! ```
//!
//! Invariants: a placement is legal if and only if `Geometry::after` knows a successor; the order in which
//! instances were placed does not matter; there is no state that cannot be reached by legal placements.
//! Absent on purpose: prices, policies, nodes. Compute instances: one full-width CI per GI, as the
//! Kubernetes device plugin exposes them.

mod catalog;
mod geometry;
mod layouts;
#[expect(clippy::unreadable_literal, reason = "numbers as the sources print them")]
mod models;
mod profile;
mod room;

pub use catalog::{Catalog, ModelId, Occupancy};
pub use geometry::{Geometry, Placement, PlacementId, Profile, ProfileId, StateId};
pub use layouts::{LayoutId, Layouts};
pub use models::MODELS;
pub use profile::ProfileName;

/// One GPU model as its sources describe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelRow {
    /// Short stable name, for example `a100-80gb`.
    pub key: &'static str,
    /// Names as NVML prints them (`nvmlDeviceGetName`).
    pub names: &'static [&'static str],
    /// Compute slices of the whole GPU.
    pub compute_slices: u8,
    /// Width of the placement axis in NVML memory slices.
    pub memory_slices: u8,
    /// Memory of the whole GPU as NVML reports it.
    pub memory_mib: Option<u32>,
    /// Copy, decode, encode, JPEG and optical-flow engines of the whole GPU.
    pub engines: [u8; 5],
    /// Where the row comes from.
    pub source: &'static str,
    /// Every profile the model offers.
    pub profiles: &'static [ProfileRow],
}

/// One GPU instance profile of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProfileRow {
    /// Name as `nvidia-smi mig -lgip` prints it, without the `MIG ` prefix.
    pub name: &'static str,
    /// Compute slices of the instance.
    pub compute_slices: u8,
    /// Memory slices of the instance.
    pub memory_slices: u8,
    /// Legal starts in memory slices (`nvmlDeviceGetGpuInstancePossiblePlacements_v2`).
    pub starts: &'static [u8],
    /// At most this many on one GPU (`nvmlGpuInstanceProfileInfo_t.instanceCount`).
    pub max: u8,
    /// Memory of the instance.
    pub memory_mib: Option<u32>,
    /// Copy, decode, encode, JPEG and optical-flow engines of the instance.
    pub engines: [u8; 5],
}

impl ModelRow {
    /// Memory of the whole GPU in MiB; where no source tells, what the model's name promises.
    pub fn memory_mib(&self) -> u32 {
        let named = || {
            let gib = self.key.rsplit('-').next().and_then(|word| word.strip_suffix("gb"));
            gib.and_then(|digits| digits.parse::<u32>().ok()).map(|gib| gib * 1024)
        };
        self.memory_mib.or_else(named).expect("the key of every model ends in its memory")
    }

    /// Memory of an instance of `profile` in MiB.
    ///
    /// Where no source tells: nine tenths of the profile's share of the GPU, a guess below every ratio that
    /// is known (0.92 to 0.99), so that a pod is not promised memory that is not there.
    pub fn profile_memory_mib(&self, profile: &ProfileRow) -> u32 {
        let share = u64::from(self.memory_mib()) * u64::from(profile.memory_slices) * 9;
        let guess = share.div_euclid(u64::from(self.memory_slices) * 10);
        profile.memory_mib.unwrap_or_else(|| u32::try_from(guess).expect("a share of a u32"))
    }
}
