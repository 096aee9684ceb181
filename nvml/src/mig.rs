//! MIG: modes, profiles, GPU instances; and the only calls that change a GPU.

use std::collections::BTreeMap;

use nvml_wrapper::Device;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper_sys::bindings as sys;

use crate::error::{Code, Error};
use crate::facts::{Compute, Instance, Mig, Profile};
use crate::library::Library;
use crate::raw;
use crate::read::optional;

type Failed = (&'static str, NvmlError);

fn at<T>(call: &'static str, result: Result<T, NvmlError>) -> Result<T, Failed> {
    result.map_err(|error| (call, error))
}

pub(crate) fn read(device: &Device<'_>, known: Option<&Mig>) -> Result<Option<Mig>, Failed> {
    let Some(mode) = at("nvmlDeviceGetMigMode", optional(device.mig_mode()))? else { return Ok(None) };
    let is_enabled = mode.current == sys::NVML_DEVICE_MIG_ENABLE;
    let profiles = match known {
        Some(known) if !known.profiles.is_empty() => known.profiles.clone(),
        _ => profiles(device)?,
    };
    let instances = if is_enabled { instances(device, &profiles)? } else { Vec::new() };
    let is_pending = mode.pending == sys::NVML_DEVICE_MIG_ENABLE;
    Ok(Some(Mig { is_enabled, is_pending, profiles, instances }))
}

fn profiles(device: &Device<'_>) -> Result<Vec<Profile>, Failed> {
    let mut profiles = Vec::new();
    for index in 0..sys::NVML_GPU_INSTANCE_PROFILE_COUNT {
        let info = match raw::profile_info(device, index) {
            Err(NvmlError::InvalidArg) => continue, // a profile that this driver does not know
            info => at("nvmlDeviceGetGpuInstanceProfileInfoV", optional(info))?,
        };
        let Some(info) = info else { continue };
        let call = "nvmlDeviceGetGpuInstancePossiblePlacements_v2";
        let mut placements = at(call, raw::possible_placements(device, info.id))?;
        placements.sort_by_key(|placement| placement.start);
        let name = raw::text(&info.name);
        profiles.push(Profile {
            name: name.strip_prefix("MIG ").unwrap_or(&name).to_owned(),
            id: info.id,
            compute_slices: info.sliceCount,
            memory_mib: u32::try_from(info.memorySizeMB).unwrap_or(u32::MAX),
            instances_max: info.instanceCount,
            memory_slices: placements.first().map_or(0, |placement| placement.size),
            starts: placements.iter().map(|placement| placement.start).collect(),
        });
    }
    Ok(profiles)
}

fn instances(device: &Device<'_>, profiles: &[Profile]) -> Result<Vec<Instance>, Failed> {
    let mut found = Vec::new();
    let mut uuids: Option<BTreeMap<(u32, u32), String>> = None; // a walk of its own: only where there is any
    for profile in profiles {
        let call = "nvmlDeviceGetGpuInstances";
        for handle in at(call, raw::gpu_instances(device, profile.id, profile.instances_max))? {
            let uuids = match &mut uuids {
                Some(uuids) => uuids,
                none => none.insert(mig_devices(device)?),
            };
            let info = at("nvmlGpuInstanceGetInfo", raw::gpu_instance_info(device, handle))?;
            let mut compute: Vec<Compute> =
                at("nvmlGpuInstanceGetComputeInstances", computes(device, handle))?
                    .into_iter()
                    .map(|(id, _)| Compute { id, uuid: uuids.get(&(info.id, id)).cloned() })
                    .collect();
            compute.sort_by_key(|compute| compute.id);
            found.push(Instance {
                id: info.id,
                profile: profile.name.clone(),
                start: info.placement.start,
                memory_slices: info.placement.size,
                compute,
            });
        }
    }
    found.sort_by_key(|instance| instance.start);
    Ok(found)
}

/// UUIDs of MIG devices by GPU instance and compute instance.
fn mig_devices(device: &Device<'_>) -> Result<BTreeMap<(u32, u32), String>, Failed> {
    let mut uuids = BTreeMap::new();
    for index in 0..at("nvmlDeviceGetMaxMigDeviceCount", device.mig_device_count())? {
        let mig = match device.mig_device_by_index(index) {
            Err(NvmlError::NotFound | NvmlError::InvalidArg) => continue, // a place that is not taken
            mig => at("nvmlDeviceGetMigDeviceHandleByIndex", mig)?,
        };
        let ids = at("nvmlDeviceGetGpuInstanceId", raw::instance_ids(&mig))?;
        uuids.insert(ids, at("nvmlDeviceGetUUID", mig.uuid())?);
    }
    Ok(uuids)
}

/// Compute instances of a GPU instance, with their ids.
fn computes(
    device: &Device<'_>,
    instance: raw::GpuInstance,
) -> Result<Vec<(u32, raw::ComputeInstance)>, NvmlError> {
    let mut found = Vec::new();
    for profile in compute_profiles(device, instance)? {
        for handle in raw::compute_instances(device, instance, profile.id, profile.instanceCount)? {
            found.push((raw::compute_instance_id(device, handle)?, handle));
        }
    }
    Ok(found)
}

fn compute_profiles(
    device: &Device<'_>,
    instance: raw::GpuInstance,
) -> Result<Vec<sys::nvmlComputeInstanceProfileInfo_t>, NvmlError> {
    let mut profiles = Vec::new();
    for index in 0..sys::NVML_COMPUTE_INSTANCE_PROFILE_COUNT {
        match raw::compute_profile(device, instance, index) {
            Err(NvmlError::InvalidArg) => {} // a profile that this driver does not know
            profile => profiles.extend(optional(profile)?),
        }
    }
    Ok(profiles)
}

/// Makes the compute instance that takes a whole GPU instance: of the widest profile. There may be two of one
/// width, of which the driver takes the one that goes with the GPU instance (`+me`).
fn create_whole(device: &Device<'_>, instance: raw::GpuInstance) -> Result<(), NvmlError> {
    let profiles = compute_profiles(device, instance)?;
    let width = profiles.iter().map(|profile| profile.sliceCount).max();
    let mut last = NvmlError::from(Code::InsufficientResources.number());
    for profile in profiles.iter().filter(|profile| Some(profile.sliceCount) == width) {
        match raw::create_compute_instance(device, instance, profile.id) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Library {
    /// Makes a GPU instance at exactly one place, and in it the one compute instance that takes all of it.
    ///
    /// When the compute instance cannot be made, the GPU instance is taken back, so that nothing half made stays;
    /// should that fail too, it stands there without compute instances, which [`Library::destroy`] removes.
    ///
    /// # Errors
    /// [`Code::InsufficientResources`] where the place or the engines are taken, [`Code::InUse`] where something
    /// holds the GPU, [`Code::NotSupported`] without MIG mode (`nvmlDeviceCreateGpuInstanceWithPlacement`,
    /// `nvmlGpuInstanceCreateComputeInstance`).
    pub fn create(&self, gpu: &str, profile: &Profile, start: u32) -> Result<(), Error> {
        let subject = format!("GPU {gpu}, {} at {start}", profile.name);
        let device = self.by_uuid(gpu)?;
        let placement = sys::nvmlGpuInstancePlacement_t { start, size: profile.memory_slices };
        let instance = raw::create_gpu_instance(&device, profile.id, placement)
            .map_err(|error| Error::new("nvmlDeviceCreateGpuInstanceWithPlacement", &subject, error))?;
        create_whole(&device, instance)
            .map_err(|error| Error::new("nvmlGpuInstanceCreateComputeInstance", &subject, error))
            .inspect_err(|_| drop(raw::destroy_gpu_instance(&device, instance)))
    }

    /// Removes a GPU instance with its compute instances, if it is still the one that was read: an id is given
    /// again, a UUID is not.
    ///
    /// # Errors
    /// [`Code::InUse`] while a process uses it; [`Code::NotFound`] when it is not there, or is another one now.
    pub fn destroy(&self, gpu: &str, instance: &Instance) -> Result<(), Error> {
        let subject = format!("GPU {gpu}, {} at {}", instance.profile, instance.start);
        let failed = |call| {
            let subject = subject.clone();
            move |error| Error::new(call, subject, error)
        };
        let device = self.by_uuid(gpu)?;
        let handle =
            raw::gpu_instance_by_id(&device, instance.id).map_err(failed("nvmlDeviceGetGpuInstanceById"))?;
        let uuids = mig_devices(&device).map_err(|(call, error)| Error::new(call, &subject, error))?;
        let computes = computes(&device, handle).map_err(failed("nvmlGpuInstanceGetComputeInstances"))?;
        let now = computes.iter().map(|(id, _)| uuids.get(&(instance.id, *id)));
        if !now.eq(instance.compute.iter().map(|compute| compute.uuid.as_ref())) {
            return Err(failed("nvmlDeviceGetUUID")(NvmlError::NotFound));
        }
        for (_, compute) in computes {
            raw::destroy_compute_instance(&device, compute).map_err(failed("nvmlComputeInstanceDestroy"))?;
        }
        raw::destroy_gpu_instance(&device, handle).map_err(failed("nvmlGpuInstanceDestroy"))
    }

    /// Turns MIG mode on. Ampere GPUs are reset by it, so nothing may run on them; newer ones are not.
    ///
    /// # Errors
    /// [`Code::InUse`] while anything holds the GPU, [`Code::ResetRequired`] where the reset has to be made from
    /// outside (a virtual machine with the GPU passed through), [`Code::NoPermission`] without root
    /// (`nvmlDeviceSetMigMode`, also by its activation status).
    pub fn enable_mig(&self, gpu: &str) -> Result<(), Error> {
        let failed = |error| Error::new("nvmlDeviceSetMigMode", format_args!("GPU {gpu}"), error);
        let status = self.by_uuid(gpu)?.set_mig_mode(true).map_err(failed)?;
        nvml_wrapper::error::nvml_try(status).map_err(failed)
    }
}
