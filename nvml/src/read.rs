//! One GPU, read.

use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, Nvml};

use crate::error::{Code, Error};
use crate::facts::{Ailment, Gpu, Process};
use crate::{links, mig, raw};

const BYTES_PER_MIB: u64 = 1 << 20;

pub(crate) fn mib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_euclid(BYTES_PER_MIB)).unwrap_or(u32::MAX)
}

/// What a GPU does not have is `None`, not an error.
pub(crate) fn optional<T>(result: Result<T, NvmlError>) -> Result<Option<T>, NvmlError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(NvmlError::NotSupported | NvmlError::FailedToLoadSymbol(_) | NvmlError::NoData) => Ok(None),
        Err(error) => match Code::of(error.into()) {
            Code::ArgumentVersionMismatch | Code::NotReady | Code::Deprecated => Ok(None),
            code => Err(NvmlError::from(code.number())),
        },
    }
}

/// `known` is what was read before: its facts that never change are taken from there.
pub(crate) fn gpu(nvml: &Nvml, device: &Device<'_>, index: u32, known: Option<&Gpu>) -> Result<Gpu, Error> {
    let subject = format!("GPU {index}");
    let failed = |call| {
        let subject = subject.clone();
        move |error| Error::new(call, subject, error)
    };
    let uuid = device.uuid().map_err(failed("nvmlDeviceGetUUID"))?;
    let known = known.filter(|known| known.uuid == uuid);
    let memory = device.memory_info().map_err(failed("nvmlDeviceGetMemoryInfo"))?;
    let utilisation =
        optional(device.utilization_rates()).map_err(failed("nvmlDeviceGetUtilizationRates"))?;
    let base = match known {
        Some(known) => known.clone(),
        None => Gpu {
            index,
            pci_address: device.pci_info().map_err(failed("nvmlDeviceGetPciInfo_v3"))?.bus_id,
            minor: device.minor_number().map_err(failed("nvmlDeviceGetMinorNumber"))?,
            model: device.name().map_err(failed("nvmlDeviceGetName"))?,
            memory_mib: mib(memory.total),
            links: links::read(nvml, device, index).map_err(failed("reading links"))?,
            uuid,
            memory_used_mib: 0,
            utilisation_percent: None,
            mig: None,
            ailments: Vec::new(),
            processes: Vec::new(),
        },
    };
    let mig = mig::read(device, known.and_then(|known| known.mig.as_ref()))
        .map_err(|(call, error)| Error::new(call, &subject, error))?;
    Ok(Gpu {
        index,
        memory_used_mib: mib(memory.used),
        utilisation_percent: utilisation.map(|rates| rates.gpu),
        ailments: ailments(device).map_err(failed("reading health"))?,
        processes: processes(device).map_err(failed("nvmlDeviceGetComputeRunningProcesses_v3"))?,
        mig,
        ..base
    })
}

fn ailments(device: &Device<'_>) -> Result<Vec<Ailment>, NvmlError> {
    let mut ailments = Vec::new();
    // Not told while MIG instances exist; an ailment of before is then still among the fields.
    let (is_pending, has_failed) = if let Some(rows) = optional(raw::remapped_rows(device))? {
        rows
    } else {
        let says = |id| Ok::<_, NvmlError>(optional(raw::field(device, id))?.is_some_and(|it| it != 0));
        (says(raw::REMAPPED_PENDING)?, says(raw::REMAPPED_FAILURE)?)
    };
    ailments.extend(has_failed.then_some(Ailment::RemapFailed));
    ailments.extend(is_pending.then_some(Ailment::RemapPending));
    let retires = optional(device.are_pages_pending_retired())?.unwrap_or(false);
    ailments.extend(retires.then_some(Ailment::RetirementPending));
    let errors =
        optional(device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile))?.unwrap_or(0);
    ailments.extend((errors > 0).then_some(Ailment::Ecc(errors)));
    Ok(ailments)
}

fn processes(device: &Device<'_>) -> Result<Vec<Process>, NvmlError> {
    let mut found = optional(device.running_compute_processes())?.unwrap_or_default();
    found.extend(optional(device.running_graphics_processes())?.unwrap_or_default());
    let mut processes: Vec<Process> = found.iter().map(process).collect();
    processes.sort();
    processes.dedup_by_key(|process| (process.pid, process.instance)); // one that computes and draws
    Ok(processes)
}

fn process(info: &ProcessInfo) -> Process {
    let memory_mib = match info.used_gpu_memory {
        UsedGpuMemory::Used(bytes) => Some(mib(bytes)),
        UsedGpuMemory::Unavailable => None,
    };
    Process { pid: info.pid, memory_mib, instance: info.gpu_instance_id }
}
