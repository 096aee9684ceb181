//! MIG mode and MIG devices.

use nvml_wrapper_sys::bindings as sys;

use super::argument::Out;
use super::call::Call;
use super::handle::{Device, Kind};
use crate::code::{Answer, Code};
use crate::mig::Mig;

/// `nvmlDeviceGetMigMode`.
pub(super) fn mode(call: &Call, device: Device, current: Out<u32>, pending: Out<u32>) -> Answer<()> {
    let (_, gpu) = call.gpu(device)?;
    let mig = gpu.mig.as_ref().ok_or(Code::NOT_SUPPORTED)?;
    current.set(u32::from(mig.current))?;
    pending.set(u32::from(mig.pending))
}

/// `nvmlDeviceSetMigMode`.
pub(super) fn set_mode(call: &Call, device: Device, mode: u32, status: Out<sys::nvmlReturn_t>) -> Answer<()> {
    let (index, _) = call.gpu(device)?;
    let enable = match mode {
        sys::NVML_DEVICE_MIG_DISABLE => false,
        sys::NVML_DEVICE_MIG_ENABLE => true,
        _ => return Err(Code::INVALID_ARGUMENT),
    };
    if status.is_null() {
        return Err(Code::INVALID_ARGUMENT);
    }
    status.set(super::call::number(call.change(index, |state| state.set_mig_mode(index, enable))?))
}

/// `nvmlDeviceGetMaxMigDeviceCount`: zero without MIG.
pub(super) fn device_count(call: &Call, device: Device, count: Out<u32>) -> Answer<()> {
    let (_, gpu) = call.gpu(device)?;
    count.set(gpu.enabled_mig().map_or(0, |mig| mig.model().compute_slices))
}

/// `nvmlDeviceGetMigDeviceHandleByIndex`.
pub(super) fn by_index(
    call: &Call,
    device: Device,
    number: u32,
    mig_device: Out<sys::nvmlDevice_t>,
) -> Answer<()> {
    let (index, gpu) = call.gpu(device)?;
    let mig = gpu.enabled_mig()?;
    if number >= mig.model().compute_slices {
        return Err(Code::INVALID_ARGUMENT);
    }
    let devices = mig.devices();
    let (_, compute) = devices.get(number as usize).ok_or(Code::NOT_FOUND)?;
    mig_device.set(call.name(Kind::MigDevice, index, compute.serial))
}

/// `nvmlDeviceGetDeviceHandleFromMigDeviceHandle`.
pub(super) fn parent(call: &Call, mig_device: Device, device: Out<sys::nvmlDevice_t>) -> Answer<()> {
    let target = call.target(mig_device)?;
    target.device.ok_or(Code::INVALID_ARGUMENT)?;
    device.set(call.name(Kind::Gpu, target.index, 0))
}

/// `nvmlDeviceIsMigDeviceHandle`.
pub(super) fn is_device(call: &Call, device: Device, is_mig_device: Out<u32>) -> Answer<()> {
    is_mig_device.set(u32::from(call.target(device)?.device.is_some()))
}

/// `nvmlDeviceGetGpuInstanceId`.
pub(super) fn gpu_instance_id(call: &Call, device: Device, id: Out<u32>) -> Answer<()> {
    id.set(call.target(device)?.device.ok_or(Code::NOT_SUPPORTED)?.0.id)
}

/// `nvmlDeviceGetComputeInstanceId`.
pub(super) fn compute_instance_id(call: &Call, device: Device, id: Out<u32>) -> Answer<()> {
    id.set(call.target(device)?.device.ok_or(Code::NOT_SUPPORTED)?.1.id)
}

/// `nvmlDeviceGetAttributes_v2`: of a MIG device.
pub(super) fn attributes(call: &Call, device: Device, info: Out<sys::nvmlDeviceAttributes_t>) -> Answer<()> {
    let target = call.target(device)?;
    let (instance, compute) = target.device.ok_or(Code::NOT_SUPPORTED)?;
    let profile = instance.profile(target.gpu.mig.as_ref().map(Mig::model).ok_or(Code::UNKNOWN)?);
    let multiprocessors = profile.multiprocessors * compute.slices;
    info.set(sys::nvmlDeviceAttributes_t {
        multiprocessorCount: multiprocessors.div_euclid(profile.compute_slices),
        sharedCopyEngineCount: profile.engines.copy,
        sharedDecoderCount: profile.engines.decoders,
        sharedEncoderCount: profile.engines.encoders,
        sharedJpegCount: profile.engines.jpeg,
        sharedOfaCount: profile.engines.ofa,
        gpuInstanceSliceCount: profile.compute_slices,
        computeInstanceSliceCount: compute.slices,
        memorySizeMB: u64::from(profile.memory_mib),
    })
}
