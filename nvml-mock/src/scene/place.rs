//! Instances, modes, processes: what other people do on the machine.

use super::Scene;
use crate::code::{Answer, Code};
use crate::mig::{GpuInstance, Hold, Kind, Process};
use crate::rules;

impl Scene {
    /// Somebody else makes a GPU instance at a start, with one compute instance that takes all of it.
    ///
    /// # Errors
    /// What NVML would have answered them; [`Code::INVALID_ARGUMENT`] for a profile that the GPU does not have.
    pub fn make_foreign(&self, gpu: usize, profile: &str, start: u32) -> Answer<GpuInstance> {
        self.obey(|state| {
            let model = state.gpus[gpu].mig.as_ref().ok_or(Code::NOT_SUPPORTED)?.model();
            let profile = model.profile(profile).ok_or(Code::INVALID_ARGUMENT)?;
            let place = Some((start, profile.memory_slices));
            let serial = state.create_gpu_instance(gpu, profile.id, place, true)?;
            let instance = state.gpus[gpu].enabled_mig()?.by_serial(serial).ok_or(Code::NOT_FOUND)?;
            let whole = (0..u32::MAX)
                .map_while(|id| match rules::parts(model, instance, id) {
                    Err(Code::INVALID_ARGUMENT) => None,
                    part => Some(part),
                })
                .find_map(|part| part.ok().filter(|part| part.slices == profile.compute_slices));
            let whole = whole.ok_or(Code::NOT_SUPPORTED)?;
            state.create_compute_instance(gpu, serial, whole.id, None)?;
            state.gpus[gpu].enabled_mig()?.by_serial(serial).cloned().ok_or(Code::NOT_FOUND)
        })
    }

    /// Somebody else removes the GPU instance with this id, and its compute instances.
    ///
    /// # Errors
    /// What NVML would have answered them; [`Code::NOT_FOUND`] without such an instance.
    pub fn remove(&self, gpu: usize, id: u32) -> Answer<()> {
        self.obey(|state| {
            let all = &state.gpus[gpu].enabled_mig()?.instances;
            let instance = all.iter().find(|instance| instance.id == id).ok_or(Code::NOT_FOUND)?.clone();
            for compute in &instance.compute {
                state.destroy_compute_instance(gpu, compute.serial)?;
            }
            state.destroy_gpu_instance(gpu, instance.serial)
        })
    }

    /// Somebody else changes MIG mode, under the rules of `nvmlDeviceSetMigMode`.
    ///
    /// # Errors
    /// What NVML would have answered them, also by the activation status: the mode may be pending then.
    pub fn set_mig(&self, gpu: usize, is_enabled: bool) -> Answer<()> {
        // The pending mode is to stay when the activation fails.
        self.obey(|state| state.set_mig_mode(gpu, is_enabled))?
    }

    /// A process computes on a device: a GPU's UUID or a MIG device's, as `NVIDIA_VISIBLE_DEVICES` names them.
    ///
    /// # Errors
    /// [`Code::NOT_FOUND`] without such a device.
    pub fn run(&self, pid: u32, device: &str, memory_mib: u32) -> Answer<()> {
        self.run_as(Kind::Compute, pid, device, memory_mib)
    }

    /// A process uses a device, in the list of its kind.
    ///
    /// # Errors
    /// [`Code::NOT_FOUND`] without such a device.
    pub fn run_as(&self, kind: Kind, pid: u32, device: &str, memory_mib: u32) -> Answer<()> {
        self.obey(|state| {
            for gpu in &mut state.gpus {
                let instance = match &gpu.mig {
                    _ if gpu.uuid == device => None,
                    Some(mig) => match mig.devices().iter().find(|(_, compute)| compute.uuid == device) {
                        Some((instance, compute)) => Some((instance.id, compute.id)),
                        None => continue,
                    },
                    None => continue,
                };
                gpu.processes.push(Process { pid, memory_mib, kind, instance });
                return Ok(());
            }
            Err(Code::NOT_FOUND)
        })
    }

    /// A process ends, wherever it ran.
    pub fn kill(&self, pid: u32) {
        self.change(|state| {
            state.gpus.iter_mut().for_each(|gpu| gpu.processes.retain(|process| process.pid != pid));
        });
    }

    /// A client that does not compute, such as DCGM, holds a GPU or one of its GPU instances: no process stands
    /// in any list, and yet it is in use.
    pub fn hold(&self, client: &str, gpu: usize, gpu_instance: Option<u32>) {
        self.change(|state| state.gpus[gpu].holds.push(Hold { client: client.to_owned(), gpu_instance }));
    }

    /// The client lets go of everything.
    pub fn release(&self, client: &str) {
        self.change(|state| {
            state.gpus.iter_mut().for_each(|gpu| gpu.holds.retain(|hold| hold.client != client));
        });
    }

    /// Utilisation that the GPU tells while MIG is off: of multiprocessors and of memory, in percent.
    pub fn utilisation(&self, gpu: usize, compute: u32, memory: u32) {
        self.change(|state| state.gpus[gpu].utilisation = (compute, memory));
    }
}
