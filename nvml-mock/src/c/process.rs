//! Processes that use a device.

use nvml_wrapper_sys::bindings as sys;

use super::argument::{Out, list};
use super::call::Call;
use super::handle::Device;
use crate::code::Answer;
use crate::mig::{Kind, Process};

/// Where no instance is named.
const NONE: u32 = u32::MAX;
const BYTES_PER_MIB: u64 = 1 << 20;

/// `nvmlDeviceGetComputeRunningProcesses_v3`.
pub(super) fn compute(
    call: &Call,
    device: Device,
    count: Out<u32>,
    infos: Out<sys::nvmlProcessInfo_t>,
) -> Answer<()> {
    of_kind(call, Kind::Compute, device, count, infos)
}

/// `nvmlDeviceGetGraphicsRunningProcesses_v3`.
pub(super) fn graphics(
    call: &Call,
    device: Device,
    count: Out<u32>,
    infos: Out<sys::nvmlProcessInfo_t>,
) -> Answer<()> {
    of_kind(call, Kind::Graphics, device, count, infos)
}

/// `nvmlDeviceGetMPSComputeRunningProcesses_v3`.
pub(super) fn mps(
    call: &Call,
    device: Device,
    count: Out<u32>,
    infos: Out<sys::nvmlProcessInfo_t>,
) -> Answer<()> {
    of_kind(call, Kind::Mps, device, count, infos)
}

/// All of a GPU's with the instances that they are in, which under MIG only root is told; or those in a MIG
/// device.
fn of_kind(
    call: &Call,
    kind: Kind,
    device: Device,
    count: Out<u32>,
    infos: Out<sys::nvmlProcessInfo_t>,
) -> Answer<()> {
    let target = call.target(device)?;
    if target.device.is_none() && target.gpu.is_mig_enabled() {
        call.wants_root()?;
    }
    let within = target.device.map(|(instance, compute)| (instance.id, compute.id));
    let listed =
        |process: &&Process| process.kind == kind && (within.is_none() || process.instance == within);
    let found: Vec<_> = target.gpu.processes.iter().filter(listed).map(info).collect();
    list(count, infos, &found)
}

fn info(process: &Process) -> sys::nvmlProcessInfo_t {
    let (gpu, compute) = process.instance.unwrap_or((NONE, NONE));
    sys::nvmlProcessInfo_t {
        pid: process.pid,
        usedGpuMemory: u64::from(process.memory_mib) * BYTES_PER_MIB,
        gpuInstanceId: gpu,
        computeInstanceId: compute,
    }
}
