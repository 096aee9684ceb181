//! Compute instances and their profiles.

use nvml_wrapper_sys::bindings as sys;

use super::argument::{In, Out, characters, list, listed, version};
use super::call::{Call, FoundInstance};
use super::handle::{ComputeInstance, GpuInstance, Kind};
use crate::code::{Answer, Code};
use crate::rules::{Part, parts};
use crate::table::Engines;

/// Fills what all versions of `nvmlComputeInstanceProfileInfo_t` have.
macro_rules! profile_info {
    ($type:ident, $part:expr, $engines:expr, $($more:ident: $value:expr),*) => {
        sys::$type {
            id: $part.id,
            sliceCount: $part.slices,
            instanceCount: $part.instances_max,
            multiprocessorCount: $part.multiprocessors,
            sharedCopyEngineCount: $engines.copy,
            sharedDecoderCount: $engines.decoders,
            sharedEncoderCount: $engines.encoders,
            sharedJpegCount: $engines.jpeg,
            sharedOfaCount: $engines.ofa,
            $($more: $value),*
        }
    };
}

fn part(call: &Call, instance: GpuInstance, profile: u32, engines: u32) -> Answer<(Part, Engines)> {
    let FoundInstance { mig, instance, .. } = call.instance(instance)?;
    if engines != sys::NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED {
        return Err(Code::INVALID_ARGUMENT);
    }
    Ok((parts(mig.model(), instance, profile)?, instance.profile(mig.model()).engines))
}

/// `nvmlGpuInstanceGetComputeInstanceProfileInfo`.
pub(super) fn profile(
    call: &Call,
    instance: GpuInstance,
    profile: u32,
    engines: u32,
    info: Out<sys::nvmlComputeInstanceProfileInfo_t>,
) -> Answer<()> {
    let (part, engines) = part(call, instance, profile, engines)?;
    info.set(profile_info!(nvmlComputeInstanceProfileInfo_t, part, engines,))
}

/// `nvmlGpuInstanceGetComputeInstanceProfileInfoV`.
pub(super) fn profile_v(
    call: &Call,
    instance: GpuInstance,
    profile: u32,
    engines: u32,
    info: Out<sys::nvmlComputeInstanceProfileInfo_v2_t>,
) -> Answer<()> {
    const V2: u32 = version::<sys::nvmlComputeInstanceProfileInfo_v2_t>(2);
    const V3: u32 = version::<sys::nvmlComputeInstanceProfileInfo_v3_t>(3);
    let (part, engines) = part(call, instance, profile, engines)?;
    let name = characters(&format!("MIG {}", part.name));
    match info.cast::<u32>().get()? {
        V2 => info.set(profile_info!(
            nvmlComputeInstanceProfileInfo_v2_t, part, engines, version: V2, name: name
        )),
        V3 => info.cast().set(profile_info!(
            nvmlComputeInstanceProfileInfo_v3_t, part, engines, version: V3, name: name, capabilities: 0
        )),
        _ => Err(Code::ARGUMENT_VERSION_MISMATCH),
    }
}

/// `nvmlGpuInstanceGetComputeInstancePossiblePlacements`.
pub(super) fn placements(
    call: &Call,
    instance: GpuInstance,
    profile: u32,
    placements: Out<sys::nvmlComputeInstancePlacement_t>,
    count: Out<u32>,
) -> Answer<()> {
    let (part, _) = part(call, instance, profile, sys::NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED)?;
    let size = part.slices;
    let all: Vec<_> =
        part.starts.iter().map(|&start| sys::nvmlComputeInstancePlacement_t { start, size }).collect();
    if placements.is_null() { listed(count, placements, &all) } else { list(count, placements, &all) }
}

/// `nvmlGpuInstanceGetComputeInstanceRemainingCapacity`.
pub(super) fn capacity(call: &Call, instance: GpuInstance, profile: u32, count: Out<u32>) -> Answer<()> {
    let FoundInstance { mig, instance, .. } = call.instance(instance)?;
    let free = parts(mig.model(), instance, profile)?.free_starts(instance);
    count.set(u32::try_from(free.len()).map_err(|_| Code::UNKNOWN)?)
}

/// `nvmlGpuInstanceCreateComputeInstance`.
pub(super) fn create(
    call: &Call,
    instance: GpuInstance,
    profile: u32,
    made: Out<sys::nvmlComputeInstance_t>,
) -> Answer<()> {
    create_at(call, instance, profile, None, made)
}

/// `nvmlGpuInstanceCreateComputeInstanceWithPlacement`.
pub(super) fn create_with_placement(
    call: &Call,
    instance: GpuInstance,
    profile: u32,
    placement: In<sys::nvmlComputeInstancePlacement_t>,
    made: Out<sys::nvmlComputeInstance_t>,
) -> Answer<()> {
    let placement = placement.get()?;
    create_at(call, instance, profile, Some((placement.start, placement.size)), made)
}

fn create_at(
    call: &Call,
    instance: GpuInstance,
    profile: u32,
    place: Option<(u32, u32)>,
    made: Out<sys::nvmlComputeInstance_t>,
) -> Answer<()> {
    let FoundInstance { index, instance, .. } = call.instance(instance)?;
    if made.is_null() {
        return Err(Code::INVALID_ARGUMENT);
    }
    let create =
        |state: &mut crate::State| state.create_compute_instance(index, instance.serial, profile, place);
    made.set(call.name(Kind::ComputeInstance, index, call.change(index, create)?))
}

/// `nvmlComputeInstanceDestroy`.
pub(super) fn destroy(call: &Call, compute: ComputeInstance) -> Answer<()> {
    let target = call.compute(compute)?;
    let (_, compute) = target.device.ok_or(Code::INVALID_ARGUMENT)?;
    call.change(target.index, |state| state.destroy_compute_instance(target.index, compute.serial))
}

/// `nvmlGpuInstanceGetComputeInstances`: those of one profile.
pub(super) fn all(
    call: &Call,
    instance: GpuInstance,
    profile: u32,
    instances: Out<sys::nvmlComputeInstance_t>,
    count: Out<u32>,
) -> Answer<()> {
    let FoundInstance { index, mig, instance } = call.instance(instance)?;
    let part = parts(mig.model(), instance, profile)?;
    let same = instance.compute.iter().filter(|compute| compute.slices == part.slices);
    let same: Vec<_> = same.map(|it| call.name(Kind::ComputeInstance, index, it.serial)).collect();
    if instances.is_null() {
        return Err(Code::INVALID_ARGUMENT);
    }
    listed(count, instances, &same)
}

/// `nvmlGpuInstanceGetComputeInstanceById`.
pub(super) fn by_id(
    call: &Call,
    instance: GpuInstance,
    id: u32,
    found: Out<sys::nvmlComputeInstance_t>,
) -> Answer<()> {
    let FoundInstance { index, instance, .. } = call.instance(instance)?;
    let compute = instance.compute.iter().find(|compute| compute.id == id).ok_or(Code::NOT_FOUND)?;
    found.set(call.name(Kind::ComputeInstance, index, compute.serial))
}

/// `nvmlComputeInstanceGetInfo_v2`.
pub(super) fn info(
    call: &Call,
    compute: ComputeInstance,
    info: Out<sys::nvmlComputeInstanceInfo_t>,
) -> Answer<()> {
    let target = call.compute(compute)?;
    let (instance, compute) = target.device.ok_or(Code::INVALID_ARGUMENT)?;
    let model = target.gpu.enabled_mig()?.model();
    let part = (0..sys::NVML_COMPUTE_INSTANCE_PROFILE_COUNT)
        .filter_map(|id| parts(model, instance, id).ok())
        .find(|part| part.slices == compute.slices);
    info.set(sys::nvmlComputeInstanceInfo_t {
        device: call.name(Kind::Gpu, target.index, 0),
        gpuInstance: call.name(Kind::GpuInstance, target.index, instance.serial),
        id: compute.id,
        profileId: part.ok_or(Code::UNKNOWN)?.id,
        placement: sys::nvmlComputeInstancePlacement_t { start: compute.start, size: compute.slices },
    })
}
