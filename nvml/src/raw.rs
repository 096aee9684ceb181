//! The calls that `nvml-wrapper` does not wrap, or wraps wrongly: each without unsafe code at the caller's.
//!
//! All follow one form: the symbol is looked up (an older driver may lack it), called, and its code turned into
//! a result. A buffer is asked for with the size that the last call said.
#![expect(unsafe_code, reason = "NVML is a C library; every call here passes pointers that outlive it")]

use std::mem::zeroed;
use std::ptr::null_mut;

use nvml_wrapper::Device;
use nvml_wrapper::error::{NvmlError, nvml_sym, nvml_try};
use nvml_wrapper_sys::bindings as sys;

/// Fields of `nvmlDeviceGetFieldValues`: whether rows wait to be remapped, and whether remapping failed.
pub(crate) use sys::field_id::{
    NVML_FI_DEV_REMAPPED_FAILURE as REMAPPED_FAILURE, NVML_FI_DEV_REMAPPED_PENDING as REMAPPED_PENDING,
};

type Result<T> = std::result::Result<T, NvmlError>;

/// A GPU instance that was there when it was listed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GpuInstance(sys::nvmlGpuInstance_t);

/// A compute instance that was there when it was listed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ComputeInstance(sys::nvmlComputeInstance_t);

macro_rules! call {
    ($device:expr, $name:ident, $($argument:expr),*) => {{
        let symbol = nvml_sym($device.nvml().lib().$name.as_ref())?;
        // SAFETY: the symbol has this signature in every version of NVML that exports it; the arguments are
        // handles of this NVML and pointers to locals.
        nvml_try(unsafe { symbol($($argument),*) })
    }};
}

fn handle(device: &Device<'_>) -> sys::nvmlDevice_t {
    // SAFETY: it does not leave this module and is used while the device is borrowed.
    unsafe { device.handle() }
}

/// A struct of plain C data, zeroed.
fn empty<T: Copy>() -> T {
    // SAFETY: used for NVML's structs of integers, arrays and pointers only, for which zero is a value.
    unsafe { zeroed() }
}

/// `version` of a versioned NVML struct: its size and the version's number.
fn version<T>(number: u32) -> u32 {
    u32::try_from(size_of::<T>()).expect("NVML's structs are small") | (number << 24)
}

/// `nvmlDeviceGetGpuInstanceProfileInfoV`: with the name, which the older form lacks.
pub(crate) fn profile_info(device: &Device<'_>, index: u32) -> Result<sys::nvmlGpuInstanceProfileInfo_v2_t> {
    let mut info = sys::nvmlGpuInstanceProfileInfo_v2_t {
        version: version::<sys::nvmlGpuInstanceProfileInfo_v2_t>(2),
        ..empty()
    };
    call!(device, nvmlDeviceGetGpuInstanceProfileInfoV, handle(device), index, &raw mut info)?;
    Ok(info)
}

/// `nvmlDeviceGetGpuInstancePossiblePlacements_v2`.
pub(crate) fn possible_placements(
    device: &Device<'_>,
    profile: u32,
) -> Result<Vec<sys::nvmlGpuInstancePlacement_t>> {
    let mut count = 0;
    call!(
        device,
        nvmlDeviceGetGpuInstancePossiblePlacements_v2,
        handle(device),
        profile,
        null_mut(),
        &raw mut count
    )?;
    let mut placements = vec![empty::<sys::nvmlGpuInstancePlacement_t>(); count as usize];
    let buffer = placements.as_mut_ptr();
    call!(
        device,
        nvmlDeviceGetGpuInstancePossiblePlacements_v2,
        handle(device),
        profile,
        buffer,
        &raw mut count
    )?;
    placements.truncate(count as usize);
    Ok(placements)
}

/// `nvmlDeviceGetGpuInstances`: those of one profile; `instances_max` is how many it can have.
pub(crate) fn gpu_instances(
    device: &Device<'_>,
    profile: u32,
    instances_max: u32,
) -> Result<Vec<GpuInstance>> {
    let mut count = instances_max;
    let mut instances = vec![null_mut(); instances_max as usize];
    let buffer = instances.as_mut_ptr();
    call!(device, nvmlDeviceGetGpuInstances, handle(device), profile, buffer, &raw mut count)?;
    instances.truncate(count as usize);
    Ok(instances.into_iter().map(GpuInstance).collect())
}

/// `nvmlGpuInstanceGetInfo`.
pub(crate) fn gpu_instance_info(
    device: &Device<'_>,
    instance: GpuInstance,
) -> Result<sys::nvmlGpuInstanceInfo_t> {
    let mut info = empty();
    call!(device, nvmlGpuInstanceGetInfo, instance.0, &raw mut info)?;
    Ok(info)
}

/// `nvmlDeviceGetGpuInstanceById`.
pub(crate) fn gpu_instance_by_id(device: &Device<'_>, id: u32) -> Result<GpuInstance> {
    let mut instance = null_mut();
    call!(device, nvmlDeviceGetGpuInstanceById, handle(device), id, &raw mut instance)?;
    Ok(GpuInstance(instance))
}

/// `nvmlDeviceCreateGpuInstanceWithPlacement`.
pub(crate) fn create_gpu_instance(
    device: &Device<'_>,
    profile: u32,
    placement: sys::nvmlGpuInstancePlacement_t,
) -> Result<GpuInstance> {
    let mut instance = null_mut();
    call!(
        device,
        nvmlDeviceCreateGpuInstanceWithPlacement,
        handle(device),
        profile,
        &raw const placement,
        &raw mut instance
    )?;
    Ok(GpuInstance(instance))
}

/// `nvmlGpuInstanceDestroy`.
pub(crate) fn destroy_gpu_instance(device: &Device<'_>, instance: GpuInstance) -> Result<()> {
    call!(device, nvmlGpuInstanceDestroy, instance.0)
}

/// `nvmlGpuInstanceGetComputeInstanceProfileInfo`, of the profile whose engines are shared.
pub(crate) fn compute_profile(
    device: &Device<'_>,
    instance: GpuInstance,
    index: u32,
) -> Result<sys::nvmlComputeInstanceProfileInfo_t> {
    let mut info = empty::<sys::nvmlComputeInstanceProfileInfo_t>();
    let shared = sys::NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED;
    call!(device, nvmlGpuInstanceGetComputeInstanceProfileInfo, instance.0, index, shared, &raw mut info)?;
    Ok(info)
}

/// `nvmlGpuInstanceGetComputeInstances`: those of one profile.
pub(crate) fn compute_instances(
    device: &Device<'_>,
    instance: GpuInstance,
    profile: u32,
    instances_max: u32,
) -> Result<Vec<ComputeInstance>> {
    let mut count = instances_max;
    let mut instances = vec![null_mut(); instances_max as usize];
    let buffer = instances.as_mut_ptr();
    call!(device, nvmlGpuInstanceGetComputeInstances, instance.0, profile, buffer, &raw mut count)?;
    instances.truncate(count as usize);
    Ok(instances.into_iter().map(ComputeInstance).collect())
}

/// `nvmlComputeInstanceGetInfo_v2`: its id.
pub(crate) fn compute_instance_id(device: &Device<'_>, instance: ComputeInstance) -> Result<u32> {
    let mut info = empty::<sys::nvmlComputeInstanceInfo_t>();
    call!(device, nvmlComputeInstanceGetInfo_v2, instance.0, &raw mut info)?;
    Ok(info.id)
}

/// `nvmlGpuInstanceCreateComputeInstance`.
pub(crate) fn create_compute_instance(
    device: &Device<'_>,
    instance: GpuInstance,
    profile: u32,
) -> Result<ComputeInstance> {
    let mut compute = null_mut();
    call!(device, nvmlGpuInstanceCreateComputeInstance, instance.0, profile, &raw mut compute)?;
    Ok(ComputeInstance(compute))
}

/// `nvmlComputeInstanceDestroy`.
pub(crate) fn destroy_compute_instance(device: &Device<'_>, instance: ComputeInstance) -> Result<()> {
    call!(device, nvmlComputeInstanceDestroy, instance.0)
}

/// GPU instance and compute instance of a MIG device: `nvmlDeviceGetGpuInstanceId`,
/// `nvmlDeviceGetComputeInstanceId`.
pub(crate) fn instance_ids(mig: &Device<'_>) -> Result<(u32, u32)> {
    let (mut gpu, mut compute) = (0, 0);
    call!(mig, nvmlDeviceGetGpuInstanceId, handle(mig), &raw mut gpu)?;
    call!(mig, nvmlDeviceGetComputeInstanceId, handle(mig), &raw mut compute)?;
    Ok((gpu, compute))
}

/// `nvmlDeviceGetRemappedRows`: whether a remapping waits for a reset, and whether one failed.
pub(crate) fn remapped_rows(device: &Device<'_>) -> Result<(bool, bool)> {
    let (mut corrected, mut uncorrected, mut pending, mut failed) = (0, 0, 0, 0);
    call!(
        device,
        nvmlDeviceGetRemappedRows,
        handle(device),
        &raw mut corrected,
        &raw mut uncorrected,
        &raw mut pending,
        &raw mut failed
    )?;
    Ok((pending != 0, failed != 0))
}

/// `nvmlDeviceGetGpuFabricInfo`: cluster UUID, clique and state of the NVLink fabric.
pub(crate) fn fabric_info(device: &Device<'_>) -> Result<sys::nvmlGpuFabricInfo_t> {
    let mut info = empty();
    call!(device, nvmlDeviceGetGpuFabricInfo, handle(device), &raw mut info)?;
    Ok(info)
}

/// What a field of the GPU says: `nvmlDeviceGetFieldValues` of one field whose value is a 32-bit number.
pub(crate) fn field(device: &Device<'_>, id: u32) -> Result<u32> {
    let mut value = sys::nvmlFieldValue_t { fieldId: id, ..empty() };
    call!(device, nvmlDeviceGetFieldValues, handle(device), 1, &raw mut value)?;
    nvml_try(value.nvmlReturn)?;
    // SAFETY: every member of the union is plain data of at least 32 bits, and it was zeroed.
    Ok(unsafe { value.value.uiVal })
}

/// The text in a C array of characters: up to its end or the first zero.
pub(crate) fn text(characters: &[std::ffi::c_char]) -> String {
    let bytes: Vec<u8> =
        characters.iter().map(|character| character.cast_unsigned()).take_while(|&byte| byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
