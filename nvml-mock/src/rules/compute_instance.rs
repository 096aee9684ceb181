//! Compute instances: how a GPU instance is divided.

use super::MIG_CONFIG_CHANGE;
use crate::code::{Answer, Code};
use crate::history::What;
use crate::mig::{ComputeInstance, GpuInstance};
use crate::state::{State, uuid};
use crate::table::{Model, Table};

/// Compute slices of `NVML_COMPUTE_INSTANCE_PROFILE_*`, by index. `1_SLICE_REV1`, the eighth, is an alias that
/// no driver offers together with `1_SLICE`.
const SLICES: [u32; 7] = [1, 2, 3, 4, 7, 8, 6];
const PROFILES: u32 = nvml_wrapper_sys::bindings::NVML_COMPUTE_INSTANCE_PROFILE_COUNT;

/// A compute instance profile of one GPU instance.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// NVML's index, which is its id too.
    pub(crate) id: u32,
    /// Compute slices.
    pub(crate) slices: u32,
    /// At most this many at once.
    pub(crate) instances_max: u32,
    /// `1c.3g.40gb`; `3g.40gb` for the whole.
    pub(crate) name: String,
    /// Multiprocessors.
    pub(crate) multiprocessors: u32,
    /// Compute slices at which it may start.
    pub(crate) starts: Vec<u32>,
}

/// The profile of compute instances with this index or id.
///
/// # Errors
/// [`Code::INVALID_ARGUMENT`] for a number that is no profile, [`Code::NOT_SUPPORTED`] for one that this GPU
/// instance does not have.
pub(crate) fn parts(model: &'static Model, instance: &GpuInstance, id: u32) -> Answer<Part> {
    if id >= PROFILES {
        return Err(Code::INVALID_ARGUMENT);
    }
    let profile = instance.profile(model);
    let whole = profile.compute_slices;
    let slices = SLICES.get(id as usize).ok_or(Code::NOT_SUPPORTED)?;
    let division = Table::get().divisions.iter().find(|division| division.compute_slices == whole);
    let division = division.ok_or(Code::NOT_SUPPORTED)?;
    let (slices, instances_max) =
        *division.profiles.iter().find(|(part, _)| part == slices).ok_or(Code::NOT_SUPPORTED)?;
    // Like GPU instances they stand where their size, rounded up to a power of two, lets them stand.
    let stride = slices.next_power_of_two();
    let name = if slices == whole { profile.name.clone() } else { format!("{slices}c.{}", profile.name) };
    Ok(Part {
        id,
        slices,
        instances_max,
        name,
        multiprocessors: (profile.multiprocessors * slices).div_euclid(whole),
        starts: (0..instances_max).map(|number| number * stride).collect(),
    })
}

impl Part {
    /// Where in the GPU instance another one has room.
    pub(crate) fn free_starts(&self, instance: &GpuInstance) -> Vec<u32> {
        let free = |start: u32| {
            let end = start + self.slices;
            instance.compute.iter().all(|other| end <= other.start || other.start + other.slices <= start)
        };
        self.starts.iter().copied().filter(|&start| free(start)).collect()
    }
}

impl State {
    /// Makes a compute instance: at a start and of a size, or at the first free place. Tells its serial.
    pub(crate) fn create_compute_instance(
        &mut self,
        gpu: usize,
        serial: u64,
        profile: u32,
        place: Option<(u32, u32)>,
    ) -> Answer<u64> {
        let mig = self.gpus[gpu].enabled_mig()?;
        let instance = mig.by_serial(serial).ok_or(Code::INVALID_ARGUMENT)?;
        let gpu_instance = instance.id;
        let part = parts(mig.model(), instance, profile)?;
        if place.is_some_and(|(_, size)| size != part.slices) {
            return Err(Code::INVALID_ARGUMENT);
        }
        let mut free = part.free_starts(instance).into_iter();
        let start = free.find(|&start| place.is_none_or(|(wanted, _)| wanted == start));
        let start = start.ok_or(Code::INSUFFICIENT_RESOURCES)?;
        let taken = |id: &u32| instance.compute.iter().any(|other| other.id == *id);
        let id = (0..=part.instances_max).find(|id| !taken(id)).expect("fewer exist than may");
        let made = self.next_serial();
        let uuid = uuid("MIG", self.seed, made);
        let compute = ComputeInstance { serial: made, id, start, slices: part.slices, uuid: uuid.clone() };
        self.instance_mut(gpu, serial)?.compute.push(compute);
        self.happened(Some(gpu), What::ComputeInstanceCreated { gpu_instance, id, uuid });
        self.tell(gpu, MIG_CONFIG_CHANGE, 0, Some((gpu_instance, Some(id))));
        Ok(made)
    }

    /// Removes a compute instance in which no process runs.
    pub(crate) fn destroy_compute_instance(&mut self, gpu: usize, serial: u64) -> Answer<()> {
        let board = &self.gpus[gpu];
        let devices = board.enabled_mig()?.devices();
        let found = devices.iter().find(|(_, compute)| compute.serial == serial);
        let (instance, compute) = found.ok_or(Code::INVALID_ARGUMENT)?;
        let place = Some((instance.id, compute.id));
        if board.processes.iter().any(|process| process.instance == place) {
            return Err(Code::IN_USE);
        }
        self.drop_compute_instance(gpu, serial)
    }

    /// Takes a compute instance away, whatever runs in it.
    pub(super) fn drop_compute_instance(&mut self, gpu: usize, serial: u64) -> Answer<()> {
        let all = &mut self.mig_mut(gpu)?.instances;
        let instance = all.iter_mut().find(|it| it.compute.iter().any(|compute| compute.serial == serial));
        let instance = instance.ok_or(Code::INVALID_ARGUMENT)?;
        let gpu_instance = instance.id;
        let found = instance.compute.iter().position(|compute| compute.serial == serial);
        let ComputeInstance { id, uuid, .. } = instance.compute.remove(found.ok_or(Code::INVALID_ARGUMENT)?);
        self.happened(Some(gpu), What::ComputeInstanceDestroyed { gpu_instance, id, uuid });
        self.tell(gpu, MIG_CONFIG_CHANGE, 0, Some((gpu_instance, Some(id))));
        Ok(())
    }
}
