//! Events: what the driver tells without being asked.

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::path::Path;

use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::event::EventData;

use crate::error::Error;

/// How long one wait lasts at most: how soon the caller can end the watch.
const WAIT_MS: u32 = 1000;

/// Something that happened to a GPU, or nothing for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The driver reported an XID on the GPU of this UUID.
    Xid(String, u64),
    /// Its memory or its MIG configuration changed.
    Changed,
    /// Nothing happened for a second.
    Quiet,
}

/// Waits for events of all GPUs and tells them, until told to stop. Blocks its thread.
///
/// # Errors
/// When NVML cannot be opened, or stops answering because the driver was restarted.
pub fn watch(path: Option<&Path>, mut tell: impl FnMut(Event) -> ControlFlow<()>) -> Result<(), Error> {
    let mut builder = Nvml::builder();
    if let Some(path) = path {
        builder.lib_path(OsStr::new(path));
    }
    let nvml = builder.init().map_err(|error| Error::new("nvmlInit_v2", "", error))?;
    let mut set = nvml.create_event_set().map_err(|error| Error::new("nvmlEventSetCreate", "", error))?;
    let wanted = EventTypes::CRITICAL_XID_ERROR
        | EventTypes::MIG_CONFIG_CHANGE
        | EventTypes::SINGLE_BIT_ECC_ERROR
        | EventTypes::DOUBLE_BIT_ECC_ERROR;
    let count = nvml.device_count().map_err(|error| Error::new("nvmlDeviceGetCount_v2", "", error))?;
    for index in 0..count {
        // One that fell off the bus has no more to tell; one that knows fewer events tells those.
        let Ok(device) = nvml.device_by_index(index) else { continue };
        let Ok(supported) = device.supported_event_types() else { continue };
        set = device.register_events(wanted & supported, set).map_err(|error| {
            Error::new("nvmlDeviceRegisterEvents", format_args!("GPU {index}"), error.error)
        })?;
    }
    loop {
        let event = match set.wait(WAIT_MS) {
            Ok(data) => event(&data),
            Err(NvmlError::Timeout) => Event::Quiet,
            // The GPU that is lost is found by reading; the others still have something to tell.
            Err(NvmlError::GpuLost) => Event::Changed,
            Err(error) => return Err(Error::new("nvmlEventSetWait_v2", "", error)),
        };
        if tell(event).is_break() {
            return Ok(());
        }
    }
}

fn event(data: &EventData<'_>) -> Event {
    let xid = match data.event_data {
        Some(XidError::Value(xid)) => xid,
        Some(XidError::Unknown) => 999,
        None => return Event::Changed,
    };
    data.device.uuid().map_or(Event::Changed, |uuid| Event::Xid(uuid, xid))
}
