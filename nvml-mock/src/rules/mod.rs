//! What the hardware allows: pure functions over the state (rules R1 to R9 of `mig-profiles.json`, nvml.h).

mod compute_instance;
mod gpu_instance;
mod life;
mod mode;
#[cfg(test)]
mod tests;

pub(crate) use compute_instance::{Part, parts};

use crate::board::Gpu;
use crate::code::{Answer, Code};
use crate::mig::{GpuInstance, Mig};
use crate::state::State;
use crate::table::Profile;

/// `nvmlEventMigConfigChange`.
pub(crate) const MIG_CONFIG_CHANGE: u64 = nvml_wrapper_sys::bindings::nvmlEventMigConfigChange as u64;

impl Gpu {
    /// MIG, while its mode is on.
    pub(crate) fn enabled_mig(&self) -> Answer<&Mig> {
        self.mig.as_ref().filter(|mig| mig.current).ok_or(Code::NOT_SUPPORTED)
    }

    /// The profile with this id, which is NVML's and not the index (`nvmlGpuInstanceProfileInfo_t.id`).
    pub(crate) fn profile_with_id(&self, id: u32) -> Answer<&'static Profile> {
        let model = self.mig.as_ref().ok_or(Code::NOT_SUPPORTED)?.model();
        model.profiles.iter().find(|profile| profile.id == id).ok_or(Code::INVALID_ARGUMENT)
    }
}

impl State {
    fn mig_mut(&mut self, gpu: usize) -> Answer<&mut Mig> {
        self.gpus[gpu].mig.as_mut().filter(|mig| mig.current).ok_or(Code::NOT_SUPPORTED)
    }

    fn instance_mut(&mut self, gpu: usize, serial: u64) -> Answer<&mut GpuInstance> {
        let mut all = self.mig_mut(gpu)?.instances.iter_mut();
        all.find(|instance| instance.serial == serial).ok_or(Code::INVALID_ARGUMENT)
    }
}
