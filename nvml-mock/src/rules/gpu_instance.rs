//! GPU instances: where one may be, and when it may go.

use super::MIG_CONFIG_CHANGE;
use crate::board::Gpu;
use crate::code::{Answer, Code};
use crate::history::What;
use crate::mig::GpuInstance;
use crate::state::State;
use crate::table::Profile;

impl Gpu {
    /// Whether the place, the engines and the count of the profile are free (R1, R2, R3).
    fn fits(&self, profile: &Profile, start: u32) -> bool {
        let Ok(mig) = self.enabled_mig() else { return false };
        let end = start + profile.memory_slices;
        profile.starts.contains(&start)
            && mig.instances.iter().all(|other| end <= other.start || other.start + other.size <= start)
            && self.instances_left(profile) > 0
    }

    /// How many more instances of the profile its maximum and the engines allow, wherever they may be.
    fn instances_left(&self, profile: &Profile) -> u32 {
        let Ok(mig) = self.enabled_mig() else { return 0 };
        let model = mig.model();
        let same = mig.instances.iter().filter(|other| other.profile == profile.name);
        let count = u32::try_from(same.count()).expect("a GPU has a handful of instances");
        let mut left = profile.instances_max.saturating_sub(count);
        let mut free = model.engines.counts();
        for other in &mig.instances {
            for (free, taken) in free.iter_mut().zip(other.profile(model).engines.counts()) {
                *free = free.saturating_sub(taken);
            }
        }
        for (free, wanted) in free.into_iter().zip(profile.engines.counts()) {
            left = left.min(free.checked_div(wanted).unwrap_or(u32::MAX));
        }
        left
    }

    /// How many more instances of the profile there can be (`nvmlDeviceGetGpuInstanceRemainingCapacity`): its
    /// placements never overlap each other.
    pub(crate) fn remaining_capacity(&self, profile: &Profile) -> u32 {
        let free = profile.starts.iter().filter(|&&start| self.fits(profile, start));
        let free = u32::try_from(free.count()).expect("a profile has a handful of placements");
        free.min(self.instances_left(profile))
    }

    /// GPU instance id: the code of a place (R8). A GPU has one whole, then two halves, then four quarters …
    fn id_at(&self, profile: &Profile, start: u32) -> u32 {
        let width = self.mig.as_ref().map_or(1, |mig| mig.model().memory_slices);
        width.div_euclid(profile.memory_slices) - 1 + start.div_euclid(profile.memory_slices)
    }

    /// Whether anything holds the GPU itself: then it gets no first instance.
    pub(super) fn is_held(&self) -> bool {
        self.processes.iter().any(|process| process.instance.is_none())
            || self.holds.iter().any(|hold| hold.gpu_instance.is_none())
    }

    fn is_instance_held(&self, id: u32) -> bool {
        self.processes.iter().any(|process| process.instance.is_some_and(|(instance, _)| instance == id))
            || self.holds.iter().any(|hold| hold.gpu_instance == Some(id))
    }
}

impl State {
    /// Makes a GPU instance: at a start and of a size, or where the driver likes. Tells its serial.
    ///
    /// Without a place the driver takes the last that is free, as the MIG guide's example 2 shows: profiles
    /// 19, 19, 14, 9 in this order do not fit on an A100, 9, 19, 14, 19 do.
    pub(crate) fn create_gpu_instance(
        &mut self,
        gpu: usize,
        profile: u32,
        place: Option<(u32, u32)>,
        is_foreign: bool,
    ) -> Answer<u64> {
        let board = &self.gpus[gpu];
        let mig = board.enabled_mig()?;
        let profile = board.profile_with_id(profile)?;
        if place.is_some_and(|(_, size)| size != profile.memory_slices) {
            return Err(Code::INVALID_ARGUMENT);
        }
        if mig.instances.is_empty() && board.is_held() {
            return Err(Code::IN_USE);
        }
        let mut starts = profile.starts.iter().rev().copied();
        let start = match place {
            Some((start, _)) => Some(start).filter(|&start| board.fits(profile, start)),
            None => starts.find(|&start| board.fits(profile, start)),
        };
        let start = start.ok_or(Code::INSUFFICIENT_RESOURCES)?;
        let id = board.id_at(profile, start);
        let serial = self.next_serial();
        let made = GpuInstance {
            serial,
            id,
            profile: profile.name.clone(),
            start,
            size: profile.memory_slices,
            is_foreign,
            compute: Vec::new(),
        };
        self.mig_mut(gpu)?.instances.push(made);
        self.happened(Some(gpu), What::GpuInstanceCreated { profile: profile.name.clone(), start, id });
        self.tell(gpu, MIG_CONFIG_CHANGE, 0, Some((id, None)));
        Ok(serial)
    }

    /// Removes a GPU instance that has no compute instances and that nobody holds.
    pub(crate) fn destroy_gpu_instance(&mut self, gpu: usize, serial: u64) -> Answer<()> {
        let board = &self.gpus[gpu];
        let instance = board.enabled_mig()?.by_serial(serial).ok_or(Code::INVALID_ARGUMENT)?;
        if !instance.compute.is_empty() || board.is_instance_held(instance.id) {
            return Err(Code::IN_USE);
        }
        self.drop_gpu_instance(gpu, serial)?;
        Ok(())
    }

    /// Takes a GPU instance away, whatever it holds.
    pub(super) fn drop_gpu_instance(&mut self, gpu: usize, serial: u64) -> Answer<()> {
        let instances = &mut self.mig_mut(gpu)?.instances;
        let found = instances.iter().position(|instance| instance.serial == serial);
        let GpuInstance { profile, start, id, .. } = instances.remove(found.ok_or(Code::INVALID_ARGUMENT)?);
        self.happened(Some(gpu), What::GpuInstanceDestroyed { profile, start, id });
        self.tell(gpu, MIG_CONFIG_CHANGE, 0, Some((id, None)));
        Ok(())
    }
}
