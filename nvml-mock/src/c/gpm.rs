//! GPM, NVML's performance metrics: the mock has none, as GPUs before Hopper.

use nvml_wrapper_sys::bindings as sys;

use super::argument::Out;
use super::call::Call;
use super::handle::{Device, Named};
use crate::code::{Answer, Code};

type Sample = Named<sys::nvmlGpmSample_st>;

/// `nvmlGpmQueryDeviceSupport`.
pub(super) fn query(call: &Call, device: Device, _support: Out<sys::nvmlGpmSupport_t>) -> Answer<()> {
    call.target(device)?;
    Err(Code::NOT_SUPPORTED)
}

/// `nvmlGpmSampleAlloc`.
pub(super) fn sample_alloc(_call: &Call, _sample: Out<sys::nvmlGpmSample_t>) -> Answer<()> {
    Err(Code::NOT_SUPPORTED)
}

/// `nvmlGpmSampleFree`.
pub(super) fn sample_free(_call: &Call, _sample: Sample) -> Answer<()> {
    Err(Code::NOT_SUPPORTED)
}

/// `nvmlGpmSampleGet`.
pub(super) fn sample_get(call: &Call, device: Device, _sample: Sample) -> Answer<()> {
    call.target(device)?;
    Err(Code::NOT_SUPPORTED)
}

/// `nvmlGpmMigSampleGet`.
pub(super) fn mig_sample_get(call: &Call, device: Device, _instance: u32, _sample: Sample) -> Answer<()> {
    call.target(device)?;
    Err(Code::NOT_SUPPORTED)
}

/// `nvmlGpmMetricsGet`.
pub(super) fn metrics_get(_call: &Call, _metrics: Out<sys::nvmlGpmMetricsGet_t>) -> Answer<()> {
    Err(Code::NOT_SUPPORTED)
}
