//! One call of a C function: what it sees, and what stands in its way.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nvml_wrapper_sys::bindings::nvmlReturn_t;

use super::handle::{self, Handle, Kind};
use super::session::{self, Session};
use crate::board::Gpu;
use crate::code::{Answer, Code};
use crate::mig::{self, Mig};
use crate::state::State;

/// Functions that nvml.h allows to root only.
const PRIVILEGED: &[&str] = &[
    "nvmlDeviceSetMigMode",
    "nvmlDeviceGetGpuInstancePossiblePlacements_v2",
    "nvmlDeviceGetGpuInstanceRemainingCapacity",
    "nvmlDeviceCreateGpuInstance",
    "nvmlDeviceCreateGpuInstanceWithPlacement",
    "nvmlGpuInstanceDestroy",
    "nvmlDeviceGetGpuInstances",
    "nvmlDeviceGetGpuInstanceById",
    "nvmlGpuInstanceGetComputeInstanceRemainingCapacity",
    "nvmlGpuInstanceGetComputeInstancePossiblePlacements",
    "nvmlGpuInstanceCreateComputeInstance",
    "nvmlGpuInstanceCreateComputeInstanceWithPlacement",
    "nvmlComputeInstanceDestroy",
    "nvmlGpuInstanceGetComputeInstances",
    "nvmlGpuInstanceGetComputeInstanceById",
];

/// A call, and the state in which it found the machine.
#[derive(Debug)]
pub(super) struct Call {
    function: &'static str,
    pub(super) session: Arc<Session>,
    pub(super) state: Arc<State>,
}

/// What a device handle names.
#[derive(Debug)]
pub(super) struct Target<'a> {
    pub(super) index: usize,
    pub(super) gpu: &'a Gpu,
    /// The MIG device.
    pub(super) device: Option<(&'a mig::GpuInstance, &'a mig::ComputeInstance)>,
}

/// What a GPU instance handle names.
#[derive(Debug)]
pub(super) struct FoundInstance<'a> {
    pub(super) index: usize,
    pub(super) mig: &'a Mig,
    pub(super) instance: &'a mig::GpuInstance,
}

/// Runs a call as C sees it.
pub(super) fn enter(function: &'static str, body: impl FnOnce(&Call) -> Answer<()>) -> nvmlReturn_t {
    number(Call::new(function).and_then(|call| body(&call)))
}

/// An answer as C sees it.
pub(super) fn number(answer: Answer<()>) -> nvmlReturn_t {
    answer.map_or_else(|code| code.0, |()| 0)
}

/// The machine, if the driver is still the one that was opened.
fn read(session: &Session) -> Answer<Arc<State>> {
    let state = session.store.read().map_err(|error| session::unreadable(&session.store, &error))?;
    if state.driver.epoch == session.epoch { Ok(state) } else { Err(state.driver.stale) }
}

impl Call {
    fn new(function: &'static str) -> Answer<Self> {
        let session = session::current()?;
        let mut state = read(&session)?;
        if let Some(&delay) = state.delays_ms.get(function) {
            thread::sleep(Duration::from_millis(delay));
            state = read(&session)?;
        }
        let call = Self { function, session, state };
        call.fault(None)?;
        if PRIVILEGED.contains(&function) {
            call.wants_root()?;
        }
        Ok(call)
    }

    /// The machine as it is by now, for calls that wait.
    pub(super) fn now(&self) -> Answer<Arc<State>> {
        read(&self.session)
    }

    /// Refuses those who are not root.
    pub(super) fn wants_root(&self) -> Answer<()> {
        if self.state.is_privileged { Ok(()) } else { Err(Code::NO_PERMISSION) }
    }

    /// Fails where the scene wants it.
    fn fault(&self, gpu: Option<usize>) -> Answer<()> {
        if !self.state.faults.iter().any(|fault| fault.is_for(self.function, gpu)) {
            return Ok(());
        }
        self.write(|state| Ok(state.take_fault(self.function, gpu)))?.map_or(Ok(()), Err)
    }

    /// The GPU at an index, if it can be talked to.
    pub(super) fn board(&self, index: usize) -> Answer<&Gpu> {
        let gpu = self.state.gpus.get(index).ok_or(Code::INVALID_ARGUMENT)?;
        self.fault(Some(index))?;
        if gpu.is_lost { Err(Code::GPU_IS_LOST) } else { Ok(gpu) }
    }

    /// What a handle of one of these kinds names, if that is not of an earlier driver.
    fn handle<T>(&self, named: &handle::Named<T>, kinds: &[Kind]) -> Answer<(Handle, &Gpu)> {
        let handle =
            named.handle.filter(|handle| kinds.contains(&handle.kind)).ok_or(Code::INVALID_ARGUMENT)?;
        if !handle.is_of(self.session.epoch) {
            return Err(self.state.driver.stale);
        }
        Ok((handle, self.board(handle.gpu)?))
    }

    /// A GPU; MIG devices are refused.
    pub(super) fn gpu(&self, device: handle::Device) -> Answer<(usize, &Gpu)> {
        let (handle, gpu) = self.handle(&device, &[Kind::Gpu])?;
        Ok((handle.gpu, gpu))
    }

    /// A GPU or a MIG device.
    pub(super) fn target(&self, device: handle::Device) -> Answer<Target<'_>> {
        let (handle, gpu) = self.handle(&device, &[Kind::Gpu, Kind::MigDevice])?;
        let device = match handle.kind {
            Kind::MigDevice => {
                let devices = gpu.mig.as_ref().map(Mig::devices).unwrap_or_default();
                let found = devices.into_iter().find(|(_, compute)| compute.serial == handle.serial);
                Some(found.ok_or(Code::INVALID_ARGUMENT)?)
            }
            _ => None,
        };
        Ok(Target { index: handle.gpu, gpu, device })
    }

    /// A GPU instance that still exists.
    pub(super) fn instance(&self, named: handle::GpuInstance) -> Answer<FoundInstance<'_>> {
        let (handle, gpu) = self.handle(&named, &[Kind::GpuInstance])?;
        let mig = gpu.enabled_mig().map_err(|_| Code::INVALID_ARGUMENT)?;
        let instance = mig.by_serial(handle.serial).ok_or(Code::INVALID_ARGUMENT)?;
        Ok(FoundInstance { index: handle.gpu, mig, instance })
    }

    /// A compute instance that still exists, as the MIG device that it is.
    pub(super) fn compute(&self, named: handle::ComputeInstance) -> Answer<Target<'_>> {
        let (handle, gpu) = self.handle(&named, &[Kind::ComputeInstance])?;
        let devices = gpu.mig.as_ref().map(Mig::devices).unwrap_or_default();
        let found = devices.into_iter().find(|(_, compute)| compute.serial == handle.serial);
        Ok(Target { index: handle.gpu, gpu, device: Some(found.ok_or(Code::INVALID_ARGUMENT)?) })
    }

    /// The pointer that names something of a GPU; serial 0 for the GPU itself.
    pub(super) fn name<T>(&self, kind: Kind, gpu: usize, serial: u64) -> *mut T {
        Handle::new(kind, self.session.epoch, gpu, serial).pointer()
    }

    /// Changes a GPU, as it is now and not as the call found it.
    pub(super) fn change<T>(&self, gpu: usize, change: impl FnOnce(&mut State) -> Answer<T>) -> Answer<T> {
        self.write(|state| {
            if state.driver.epoch != self.session.epoch {
                return Err(state.driver.stale);
            }
            let is_lost = state.gpus.get(gpu).is_none_or(|gpu| gpu.is_lost);
            if is_lost { Err(Code::GPU_IS_LOST) } else { change(state) }
        })
    }

    fn write<T>(&self, change: impl FnOnce(&mut State) -> Answer<T>) -> Answer<T> {
        let store = &self.session.store;
        let changed = store.change(Some(std::process::id()), change);
        changed.unwrap_or_else(|error| Err(session::unreadable(store, &error)))
    }
}
