//! Errors of memory, and fields.

use nvml_wrapper_sys::bindings as sys;

use super::argument::Out;
use super::call::Call;
use super::handle::Device;
use crate::board::Gpu;
use crate::code::{Answer, Code};
use crate::health::Health;

/// `nvmlDeviceGetEccMode`.
pub(super) fn ecc_mode(call: &Call, device: Device, current: Out<u32>, pending: Out<u32>) -> Answer<()> {
    let (_, gpu) = call.gpu(device)?;
    current.set(u32::from(gpu.health.is_ecc_enabled))?;
    pending.set(u32::from(gpu.health.is_ecc_enabled))
}

fn errors(health: &Health, kind: u32, counter: u32) -> Answer<u64> {
    if !health.is_ecc_enabled {
        return Err(Code::NOT_SUPPORTED);
    }
    let errors = match counter {
        sys::nvmlEccCounterType_enum_NVML_VOLATILE_ECC => health.volatile,
        sys::nvmlEccCounterType_enum_NVML_AGGREGATE_ECC => health.aggregate,
        _ => return Err(Code::INVALID_ARGUMENT),
    };
    match kind {
        sys::nvmlMemoryErrorType_enum_NVML_MEMORY_ERROR_TYPE_CORRECTED => Ok(errors.corrected),
        sys::nvmlMemoryErrorType_enum_NVML_MEMORY_ERROR_TYPE_UNCORRECTED => Ok(errors.uncorrected),
        _ => Err(Code::INVALID_ARGUMENT),
    }
}

/// `nvmlDeviceGetTotalEccErrors`.
pub(super) fn ecc_errors(
    call: &Call,
    device: Device,
    kind: u32,
    counter: u32,
    count: Out<u64>,
) -> Answer<()> {
    count.set(errors(&call.gpu(device)?.1.health, kind, counter)?)
}

/// `nvmlDeviceGetMemoryErrorCounter`: all errors are the DRAM's; of a MIG device only the caches' are told.
pub(super) fn ecc_counter(
    call: &Call,
    device: Device,
    kind: u32,
    counter: u32,
    location: u32,
    count: Out<u64>,
) -> Answer<()> {
    let target = call.target(device)?;
    let all = errors(&target.gpu.health, kind, counter)?;
    match location {
        sys::nvmlMemoryLocation_enum_NVML_MEMORY_LOCATION_DRAM if target.device.is_some() => {
            Err(Code::NOT_SUPPORTED)
        }
        sys::nvmlMemoryLocation_enum_NVML_MEMORY_LOCATION_DRAM => count.set(all),
        location if location < sys::nvmlMemoryLocation_enum_NVML_MEMORY_LOCATION_COUNT => count.set(0),
        _ => Err(Code::INVALID_ARGUMENT),
    }
}

/// `nvmlDeviceGetRemappedRows`: not while there are MIG instances, nor on GPUs that retire pages.
pub(super) fn remapped_rows(
    call: &Call,
    device: Device,
    corrected: Out<u32>,
    uncorrected: Out<u32>,
    pending: Out<u32>,
    failed: Out<u32>,
) -> Answer<()> {
    let (_, gpu) = call.gpu(device)?;
    let has_instances = gpu.mig.as_ref().is_some_and(|mig| !mig.instances.is_empty());
    if has_instances || gpu.health.retirement_pending.is_some() {
        return Err(Code::NOT_SUPPORTED);
    }
    corrected.set(gpu.health.remapped_corrected)?;
    uncorrected.set(gpu.health.remapped_uncorrected)?;
    pending.set(u32::from(gpu.health.remapping_pending))?;
    failed.set(u32::from(gpu.health.remapping_failed))
}

/// `nvmlDeviceGetRetiredPagesPendingStatus`.
pub(super) fn retirement(call: &Call, device: Device, pending: Out<u32>) -> Answer<()> {
    let (_, gpu) = call.gpu(device)?;
    pending.set(u32::from(gpu.health.retirement_pending.ok_or(Code::NOT_SUPPORTED)?))
}

fn field(gpu: &Gpu, id: u32) -> Option<u32> {
    let mig = gpu.mig.as_ref();
    match id {
        sys::field_id::NVML_FI_DEV_REMAPPED_COR => Some(gpu.health.remapped_corrected),
        sys::field_id::NVML_FI_DEV_REMAPPED_UNC => Some(gpu.health.remapped_uncorrected),
        sys::field_id::NVML_FI_DEV_REMAPPED_PENDING => Some(u32::from(gpu.health.remapping_pending)),
        sys::field_id::NVML_FI_DEV_REMAPPED_FAILURE => Some(u32::from(gpu.health.remapping_failed)),
        sys::field_id::NVML_FI_DEV_IS_RESETLESS_MIG_SUPPORTED => {
            Some(u32::from(mig.is_some() && !gpu.needs_reset_for_mig()))
        }
        sys::field_id::NVML_FI_DEV_IS_MIG_MODE_INDEPENDENT_MIG_QUERY_CAPABLE => {
            Some(u32::from(mig.is_some_and(|mig| mig.tells_profiles_always)))
        }
        _ => None,
    }
}

/// `nvmlDeviceGetFieldValues`: each has a code of its own.
pub(super) fn fields(
    call: &Call,
    device: Device,
    count: i32,
    values: Out<sys::nvmlFieldValue_t>,
) -> Answer<()> {
    let (_, gpu) = call.gpu(device)?;
    let count = u32::try_from(count).map_err(|_| Code::INVALID_ARGUMENT)?;
    values.each(count, |value| {
        value.timestamp = 0;
        value.latencyUsec = 0;
        match field(gpu, value.fieldId) {
            Some(number) => {
                value.nvmlReturn = 0;
                value.valueType = sys::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT;
                value.value.ullVal = u64::from(number); // zeroes what lies beside the smaller member
            }
            None => value.nvmlReturn = Code::NOT_SUPPORTED.0,
        }
    })
}
