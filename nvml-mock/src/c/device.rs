//! What a device is.

use std::ffi::c_char;

use nvml_wrapper_sys::bindings as sys;

use super::argument::{Out, characters, version};
use super::call::{Call, Target};
use super::handle::Device;
use crate::code::{Answer, Code};
use crate::table::Architecture;

const BYTES_PER_MIB: u64 = 1 << 20;

/// `nvmlDeviceGetUUID`.
pub(super) fn uuid(call: &Call, device: Device, text: Out<c_char>, length: u32) -> Answer<()> {
    let target = call.target(device)?;
    text.text(length, target.device.map_or(&target.gpu.uuid, |(_, compute)| &compute.uuid))
}

/// `nvmlDeviceGetName`.
pub(super) fn name(call: &Call, device: Device, text: Out<c_char>, length: u32) -> Answer<()> {
    let target = call.target(device)?;
    let name = &target.gpu.name;
    match target.device {
        Some((instance, _)) => text.text(length, &format!("{name} MIG {}", instance.profile)),
        None => text.text(length, name),
    }
}

/// `nvmlDeviceGetIndex`: of a MIG device, under its GPU.
pub(super) fn index(call: &Call, device: Device, index: Out<u32>) -> Answer<()> {
    let target = call.target(device)?;
    let found = match target.device {
        Some((_, compute)) => {
            let devices = target.gpu.enabled_mig()?.devices();
            devices.iter().position(|(_, other)| other.serial == compute.serial).ok_or(Code::NOT_FOUND)?
        }
        None => target.index,
    };
    index.set(u32::try_from(found).map_err(|_| Code::UNKNOWN)?)
}

/// `nvmlDeviceGetMinorNumber`.
pub(super) fn minor(call: &Call, device: Device, minor: Out<u32>) -> Answer<()> {
    minor.set(call.gpu(device)?.1.minor)
}

/// `nvmlDeviceGetPciInfo_v3`.
pub(super) fn pci(call: &Call, device: Device, info: Out<sys::nvmlPciInfo_t>) -> Answer<()> {
    let (_, gpu) = call.gpu(device)?;
    info.set(pci_info(&gpu.pci_address, gpu.pci_device_id)?)
}

/// `nvmlDeviceGetArchitecture`.
pub(super) fn architecture(call: &Call, device: Device, architecture: Out<u32>) -> Answer<()> {
    architecture.set(match call.target(device)?.gpu.architecture {
        Architecture::Volta => sys::NVML_DEVICE_ARCH_VOLTA,
        Architecture::Turing => sys::NVML_DEVICE_ARCH_TURING,
        Architecture::Ampere => sys::NVML_DEVICE_ARCH_AMPERE,
        Architecture::Ada => sys::NVML_DEVICE_ARCH_ADA,
        Architecture::Hopper => sys::NVML_DEVICE_ARCH_HOPPER,
        Architecture::Blackwell => sys::NVML_DEVICE_ARCH_BLACKWELL,
    })
}

/// `nvmlDeviceGetBrand`.
pub(super) fn brand(call: &Call, device: Device, brand: Out<u32>) -> Answer<()> {
    let is_rtx = call.gpu(device)?.1.name.contains("RTX");
    brand.set(if is_rtx {
        sys::nvmlBrandType_enum_NVML_BRAND_NVIDIA_RTX
    } else {
        sys::nvmlBrandType_enum_NVML_BRAND_NVIDIA
    })
}

/// `nvmlDeviceGetCudaComputeCapability`.
pub(super) fn capability(call: &Call, device: Device, major: Out<i32>, minor: Out<i32>) -> Answer<()> {
    let capability = call.target(device)?.gpu.compute_capability;
    major.set(capability.0)?;
    minor.set(capability.1)
}

/// `nvmlDeviceGetMemoryInfo`.
pub(super) fn memory(call: &Call, device: Device, info: Out<sys::nvmlMemory_t>) -> Answer<()> {
    let (total, used) = memory_bytes(&call.target(device)?);
    info.set(sys::nvmlMemory_t { total, free: total.saturating_sub(used), used })
}

/// `nvmlDeviceGetMemoryInfo_v2`.
pub(super) fn memory_v2(call: &Call, device: Device, info: Out<sys::nvmlMemory_v2_t>) -> Answer<()> {
    let expected = version::<sys::nvmlMemory_v2_t>(2);
    if info.get()?.version != expected {
        return Err(Code::ARGUMENT_VERSION_MISMATCH);
    }
    let (total, used) = memory_bytes(&call.target(device)?);
    let free = total.saturating_sub(used);
    info.set(sys::nvmlMemory_v2_t { version: expected, total, reserved: 0, free, used })
}

/// Memory in bytes, and how much of it processes use: all of the GPU's, or those of the GPU instance, whose
/// compute instances share its memory.
fn memory_bytes(target: &Target<'_>) -> (u64, u64) {
    let Target { gpu, device, .. } = target;
    let of = device.map(|(instance, _)| instance.id);
    let used = gpu.processes.iter().filter(|process| of.is_none() || process.instance.map(|it| it.0) == of);
    let used: u64 = used.map(|process| u64::from(process.memory_mib)).sum();
    let total = match (device, &gpu.mig) {
        (Some((instance, _)), Some(mig)) => instance.profile(mig.model()).memory_mib,
        _ => gpu.memory_mib,
    };
    (u64::from(total) * BYTES_PER_MIB, used * BYTES_PER_MIB)
}

/// `nvmlDeviceGetUtilizationRates`: not under MIG.
pub(super) fn utilisation(call: &Call, device: Device, rates: Out<sys::nvmlUtilization_t>) -> Answer<()> {
    let target = call.target(device)?;
    if target.device.is_some() || target.gpu.is_mig_enabled() {
        return Err(Code::NOT_SUPPORTED);
    }
    let (gpu, memory) = target.gpu.utilisation;
    rates.set(sys::nvmlUtilization_t { gpu, memory })
}

/// Domain, bus, device and function of `[domain:]bus:device.function`.
pub(super) fn bus_numbers(address: &str) -> Option<(u32, u32, u32, u32)> {
    let hexadecimal = |text: &str| u32::from_str_radix(text, 16).ok();
    let (rest, function) = address.rsplit_once('.')?;
    let (rest, device) = rest.rsplit_once(':')?;
    let (domain, bus) = rest.rsplit_once(':').unwrap_or(("0", rest));
    Some((hexadecimal(domain)?, hexadecimal(bus)?, hexadecimal(device)?, hexadecimal(function)?))
}

/// What NVML tells of a PCI address.
pub(super) fn pci_info(address: &str, device_id: u32) -> Answer<sys::nvmlPciInfo_t> {
    let (domain, bus, device, function) = bus_numbers(address).ok_or(Code::UNKNOWN)?;
    let text = |digits: usize| format!("{domain:0digits$X}:{bus:02X}:{device:02X}.{function:X}");
    Ok(sys::nvmlPciInfo_t {
        busIdLegacy: characters(&text(4)),
        domain,
        bus,
        device,
        pciDeviceId: device_id,
        pciSubSystemId: 0,
        busId: characters(&text(8)),
    })
}
