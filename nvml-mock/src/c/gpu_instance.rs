//! GPU instances and their profiles.

use nvml_wrapper_sys::bindings as sys;

use super::argument::{In, Out, characters, list, listed, version};
use super::call::{Call, FoundInstance};
use super::handle::{Device, GpuInstance, Kind};
use crate::board::Gpu;
use crate::code::{Answer, Code};
use crate::table::Profile;

/// Refuses where the driver tells profiles in MIG mode only.
fn wants_mode(gpu: &Gpu) -> Answer<()> {
    let mig = gpu.mig.as_ref().ok_or(Code::NOT_SUPPORTED)?;
    if mig.current || mig.tells_profiles_always { Ok(()) } else { Err(Code::NOT_SUPPORTED) }
}

/// The profile with NVML's index, which is not its id.
fn with_index(gpu: &Gpu, index: u32) -> Answer<&'static Profile> {
    wants_mode(gpu)?;
    if index >= sys::NVML_GPU_INSTANCE_PROFILE_COUNT {
        return Err(Code::INVALID_ARGUMENT);
    }
    let profiles = &gpu.mig.as_ref().ok_or(Code::NOT_SUPPORTED)?.model().profiles;
    profiles.iter().find(|profile| profile.index == index).ok_or(Code::NOT_SUPPORTED)
}

fn with_id(gpu: &Gpu, id: u32) -> Answer<&'static Profile> {
    wants_mode(gpu)?;
    gpu.profile_with_id(id)
}

/// Fills what all versions of `nvmlGpuInstanceProfileInfo_t` have.
macro_rules! profile_info {
    ($type:ident, $profile:expr, $($more:ident: $value:expr),*) => {
        sys::$type {
            id: $profile.id,
            sliceCount: $profile.compute_slices,
            instanceCount: $profile.instances_max,
            multiprocessorCount: $profile.multiprocessors,
            copyEngineCount: $profile.engines.copy,
            decoderCount: $profile.engines.decoders,
            encoderCount: $profile.engines.encoders,
            jpegCount: $profile.engines.jpeg,
            ofaCount: $profile.engines.ofa,
            memorySizeMB: u64::from($profile.memory_mib),
            $($more: $value),*
        }
    };
}

/// `nvmlDeviceGetGpuInstanceProfileInfo`.
pub(super) fn profile(
    call: &Call,
    device: Device,
    index: u32,
    info: Out<sys::nvmlGpuInstanceProfileInfo_t>,
) -> Answer<()> {
    let profile = with_index(call.gpu(device)?.1, index)?;
    info.set(profile_info!(nvmlGpuInstanceProfileInfo_t, profile, isP2pSupported: 0))
}

/// `nvmlDeviceGetGpuInstanceProfileInfoV`.
pub(super) fn profile_v(
    call: &Call,
    device: Device,
    index: u32,
    info: Out<sys::nvmlGpuInstanceProfileInfo_v2_t>,
) -> Answer<()> {
    tell(with_index(call.gpu(device)?.1, index)?, info)
}

/// `nvmlDeviceGetGpuInstanceProfileInfoByIdV`.
pub(super) fn profile_by_id(
    call: &Call,
    device: Device,
    id: u32,
    info: Out<sys::nvmlGpuInstanceProfileInfo_v2_t>,
) -> Answer<()> {
    tell(with_id(call.gpu(device)?.1, id)?, info)
}

fn tell(profile: &Profile, info: Out<sys::nvmlGpuInstanceProfileInfo_v2_t>) -> Answer<()> {
    const V2: u32 = version::<sys::nvmlGpuInstanceProfileInfo_v2_t>(2);
    const V3: u32 = version::<sys::nvmlGpuInstanceProfileInfo_v3_t>(3);
    let name = characters(&format!("MIG {}", profile.name));
    match info.cast::<u32>().get()? {
        V2 => info.set(profile_info!(
            nvmlGpuInstanceProfileInfo_v2_t, profile, version: V2, isP2pSupported: 0, name: name
        )),
        V3 => {
            let draws = profile.name.contains("+gfx");
            let capabilities = if draws { sys::NVML_GPU_INSTANCE_PROFILE_CAPS_GFX } else { 0 };
            info.cast().set(profile_info!(
                nvmlGpuInstanceProfileInfo_v3_t, profile, version: V3, name: name, capabilities: capabilities
            ))
        }
        _ => Err(Code::ARGUMENT_VERSION_MISMATCH),
    }
}

/// `nvmlDeviceGetGpuInstancePossiblePlacements_v2`.
pub(super) fn placements(
    call: &Call,
    device: Device,
    profile: u32,
    placements: Out<sys::nvmlGpuInstancePlacement_t>,
    count: Out<u32>,
) -> Answer<()> {
    let profile = with_id(call.gpu(device)?.1, profile)?;
    let size = profile.memory_slices;
    let all: Vec<_> =
        profile.starts.iter().map(|&start| sys::nvmlGpuInstancePlacement_t { start, size }).collect();
    if placements.is_null() { listed(count, placements, &all) } else { list(count, placements, &all) }
}

/// `nvmlDeviceGetGpuInstanceRemainingCapacity`.
pub(super) fn capacity(call: &Call, device: Device, profile: u32, count: Out<u32>) -> Answer<()> {
    let (_, gpu) = call.gpu(device)?;
    gpu.enabled_mig()?;
    count.set(gpu.remaining_capacity(gpu.profile_with_id(profile)?))
}

/// `nvmlDeviceCreateGpuInstance`.
pub(super) fn create(
    call: &Call,
    device: Device,
    profile: u32,
    made: Out<sys::nvmlGpuInstance_t>,
) -> Answer<()> {
    create_at(call, device, profile, None, made)
}

/// `nvmlDeviceCreateGpuInstanceWithPlacement`.
pub(super) fn create_with_placement(
    call: &Call,
    device: Device,
    profile: u32,
    placement: In<sys::nvmlGpuInstancePlacement_t>,
    made: Out<sys::nvmlGpuInstance_t>,
) -> Answer<()> {
    let placement = placement.get()?;
    create_at(call, device, profile, Some((placement.start, placement.size)), made)
}

fn create_at(
    call: &Call,
    device: Device,
    profile: u32,
    place: Option<(u32, u32)>,
    made: Out<sys::nvmlGpuInstance_t>,
) -> Answer<()> {
    let (index, _) = call.gpu(device)?;
    if made.is_null() {
        return Err(Code::INVALID_ARGUMENT);
    }
    let serial = call.change(index, |state| state.create_gpu_instance(index, profile, place, false))?;
    made.set(call.name(Kind::GpuInstance, index, serial))
}

/// `nvmlGpuInstanceDestroy`.
pub(super) fn destroy(call: &Call, instance: GpuInstance) -> Answer<()> {
    let FoundInstance { index, instance, .. } = call.instance(instance)?;
    call.change(index, |state| state.destroy_gpu_instance(index, instance.serial))
}

/// `nvmlDeviceGetGpuInstances`: those of one profile.
pub(super) fn all(
    call: &Call,
    device: Device,
    profile: u32,
    instances: Out<sys::nvmlGpuInstance_t>,
    count: Out<u32>,
) -> Answer<()> {
    let (index, gpu) = call.gpu(device)?;
    let mig = gpu.enabled_mig()?;
    let profile = gpu.profile_with_id(profile)?;
    let same = mig.instances.iter().filter(|instance| instance.profile == profile.name);
    let same: Vec<_> = same.map(|it| call.name(Kind::GpuInstance, index, it.serial)).collect();
    if instances.is_null() {
        return Err(Code::INVALID_ARGUMENT);
    }
    listed(count, instances, &same)
}

/// `nvmlDeviceGetGpuInstanceById`.
pub(super) fn by_id(call: &Call, device: Device, id: u32, found: Out<sys::nvmlGpuInstance_t>) -> Answer<()> {
    let (index, gpu) = call.gpu(device)?;
    let mut all = gpu.enabled_mig()?.instances.iter();
    let instance = all.find(|instance| instance.id == id).ok_or(Code::NOT_FOUND)?;
    found.set(call.name(Kind::GpuInstance, index, instance.serial))
}

/// `nvmlGpuInstanceGetInfo`.
pub(super) fn info(call: &Call, instance: GpuInstance, info: Out<sys::nvmlGpuInstanceInfo_t>) -> Answer<()> {
    let FoundInstance { index, mig, instance } = call.instance(instance)?;
    info.set(sys::nvmlGpuInstanceInfo_t {
        device: call.name(Kind::Gpu, index, 0),
        id: instance.id,
        profileId: instance.profile(mig.model()).id,
        placement: sys::nvmlGpuInstancePlacement_t { start: instance.start, size: instance.size },
    })
}
