//! NVML, opened; and what is read from it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use nvml_wrapper::{Device, Nvml, cuda_driver_version_major, cuda_driver_version_minor};

use crate::error::{Code, Error};
use crate::facts::{Ailment, Gpu, Inventory};
use crate::read;

/// NVML.
///
/// Calls may take seconds while the driver is busy; they may be made from any thread, one at a time is best.
#[derive(Debug)]
pub struct Library {
    pub(crate) nvml: Nvml,
    driver_version: String,
    cuda_version: String,
    /// What was read of each GPU when it could last be read, by index: its name when it falls off the bus.
    known: BTreeMap<u32, Gpu>,
}

impl Library {
    /// Loads and initialises NVML: from `path`, or `libnvidia-ml.so.1` as the dynamic linker finds it.
    ///
    /// # Errors
    /// [`Code::LibraryNotFound`] without the file, [`Code::DriverNotLoaded`] without the driver.
    pub fn open(path: Option<&Path>) -> Result<Self, Error> {
        let mut builder = Nvml::builder();
        if let Some(path) = path {
            builder.lib_path(OsStr::new(path));
        }
        let nvml = builder.init().map_err(|error| Error::new("nvmlInit_v2", "", error))?;
        let driver_version =
            nvml.sys_driver_version().map_err(|error| Error::new("nvmlSystemGetDriverVersion", "", error))?;
        let cuda = nvml
            .sys_cuda_driver_version()
            .map_err(|error| Error::new("nvmlSystemGetCudaDriverVersion_v2", "", error))?;
        let cuda_version = format!("{}.{}", cuda_driver_version_major(cuda), cuda_driver_version_minor(cuda));
        Ok(Self { nvml, driver_version, cuda_version, known: BTreeMap::new() })
    }

    /// How many GPUs NVML counts.
    ///
    /// # Errors
    /// Whatever `nvmlDeviceGetCount_v2` answers.
    pub fn count(&self) -> Result<u32, Error> {
        self.nvml.device_count().map_err(|error| Error::new("nvmlDeviceGetCount_v2", "", error))
    }

    /// Reads everything. What does not change while the driver runs is read once.
    ///
    /// A GPU that cannot be read any more stands there as it was, ailing; one that never could stands among the
    /// unreadable.
    ///
    /// # Errors
    /// When NVML as a whole does not answer; [`Code::is_stale`] then says whether to open it again.
    pub fn read(&mut self) -> Result<Inventory, Error> {
        let mut inventory = Inventory {
            driver_version: self.driver_version.clone(),
            cuda_version: self.cuda_version.clone(),
            ..Inventory::default()
        };
        for index in 0..self.count()? {
            let known = self.known.get(&index);
            match self.device(index).and_then(|device| read::gpu(&self.nvml, &device, index, known)) {
                Ok(gpu) => {
                    self.known.insert(index, gpu.clone());
                    inventory.gpus.push(gpu);
                }
                Err(error) if error.code.is_stale() => return Err(error),
                Err(error) => match known {
                    Some(known) => inventory.gpus.push(unreadable(known, error.code)),
                    None => inventory.unreadable.push((index, error.to_string())),
                },
            }
        }
        Ok(inventory)
    }

    pub(crate) fn device(&self, index: u32) -> Result<Device<'_>, Error> {
        let subject = format_args!("GPU {index}");
        self.nvml
            .device_by_index(index)
            .map_err(|error| Error::new("nvmlDeviceGetHandleByIndex_v2", subject, error))
    }

    /// By UUID, since an index may be another GPU's after a restart of the driver.
    pub(crate) fn by_uuid(&self, uuid: &str) -> Result<Device<'_>, Error> {
        self.nvml.device_by_uuid(uuid).map_err(|error| Error::new("nvmlDeviceGetHandleByUUID", uuid, error))
    }
}

/// A GPU that was readable once.
fn unreadable(known: &Gpu, code: Code) -> Gpu {
    let ailment = if code == Code::ResetRequired { Ailment::ResetRequired } else { Ailment::Lost };
    Gpu { ailments: vec![ailment], processes: Vec::new(), utilisation_percent: None, ..known.clone() }
}
