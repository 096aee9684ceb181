//! The library, the driver, and how devices are found.

use std::ffi::c_char;

use nvml_wrapper_sys::bindings as sys;

use super::argument::{In, Out};
use super::call::Call;
use super::device::bus_numbers;
use super::handle::Kind;
use crate::code::{Answer, Code};

/// `nvmlSystemGetDriverVersion`.
pub(super) fn driver_version(call: &Call, text: Out<c_char>, length: u32) -> Answer<()> {
    text.text(length, &call.state.driver.version)
}

/// `nvmlSystemGetNVMLVersion`.
pub(super) fn nvml_version(call: &Call, text: Out<c_char>, length: u32) -> Answer<()> {
    text.text(length, &call.state.driver.nvml_version)
}

/// `nvmlSystemGetCudaDriverVersion`.
pub(super) fn cuda_version(call: &Call, version: Out<i32>) -> Answer<()> {
    version.set(call.state.driver.cuda_version)
}

/// `nvmlDeviceGetCount_v2`: lost GPUs are counted.
pub(super) fn count(call: &Call, count: Out<u32>) -> Answer<()> {
    count.set(u32::try_from(call.state.gpus.len()).map_err(|_| Code::UNKNOWN)?)
}

/// `nvmlDeviceGetHandleByIndex_v2`.
pub(super) fn by_index(call: &Call, index: u32, device: Out<sys::nvmlDevice_t>) -> Answer<()> {
    let index = index as usize;
    call.board(index)?;
    device.set(call.name(Kind::Gpu, index, 0))
}

/// `nvmlDeviceGetHandleByUUID`: of GPUs and of MIG devices.
pub(super) fn by_uuid(call: &Call, uuid: In<c_char>, device: Out<sys::nvmlDevice_t>) -> Answer<()> {
    let uuid = uuid.text()?;
    for (index, gpu) in call.state.gpus.iter().enumerate() {
        let devices = gpu.mig.as_ref().map(crate::mig::Mig::devices).unwrap_or_default();
        let found = devices.iter().find(|(_, compute)| compute.uuid == uuid);
        let (kind, serial) = match found {
            _ if gpu.uuid == uuid => (Kind::Gpu, 0),
            Some((_, compute)) => (Kind::MigDevice, compute.serial),
            None => continue,
        };
        call.board(index)?;
        return device.set(call.name(kind, index, serial));
    }
    Err(Code::NOT_FOUND)
}

/// `nvmlDeviceGetHandleByPciBusId_v2`: with or without the domain.
pub(super) fn by_pci(call: &Call, address: In<c_char>, device: Out<sys::nvmlDevice_t>) -> Answer<()> {
    let wanted = bus_numbers(&address.text()?).ok_or(Code::INVALID_ARGUMENT)?;
    let found = call.state.gpus.iter().position(|gpu| bus_numbers(&gpu.pci_address) == Some(wanted));
    let index = found.ok_or(Code::NOT_FOUND)?;
    call.board(index)?;
    device.set(call.name(Kind::Gpu, index, 0))
}
