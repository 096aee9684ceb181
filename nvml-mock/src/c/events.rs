//! Events: what happens to a GPU after it was registered for them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nvml_wrapper_sys::bindings as sys;

use super::argument::Out;
use super::call::Call;
use super::handle::{Device, EventSet, Handle, Kind};
use super::session::lock;
use crate::board::Gpu;
use crate::code::{Answer, Code};
use crate::rules::MIG_CONFIG_CHANGE;
use crate::state::{Event, State};

/// How often a wait looks.
const LOOK: Duration = Duration::from_millis(5);

/// An event set of this process.
#[derive(Debug, Default)]
pub(super) struct Set {
    registered: Vec<Registration>,
}

/// A GPU that the set wants to hear of.
#[derive(Debug)]
struct Registration {
    gpu: String,
    kinds: u64,
    /// Serial of the last event that it was told, or that was there before it.
    after: u64,
    /// Whether it was told that the GPU is lost: once for each time.
    knows_lost: bool,
}

/// What a set hears.
enum Heard {
    Event(Event),
    Lost,
    Nothing,
}

impl Set {
    fn hear(&mut self, state: &State) -> Heard {
        for event in &state.events {
            let wants = |it: &&mut Registration| {
                it.gpu == event.gpu && it.kinds & event.kind != 0 && it.after < event.serial
            };
            if let Some(registration) = self.registered.iter_mut().find(wants) {
                registration.after = event.serial;
                return Heard::Event(event.clone());
            }
        }
        for registration in &mut self.registered {
            let is_lost = state.gpus.iter().any(|gpu| gpu.uuid == registration.gpu && gpu.is_lost);
            let knew = std::mem::replace(&mut registration.knows_lost, is_lost);
            if is_lost && !knew {
                return Heard::Lost;
            }
        }
        Heard::Nothing
    }
}

/// Kinds of event that a GPU has.
fn supported(gpu: &Gpu) -> u64 {
    let always = sys::nvmlEventTypeSingleBitEccError
        | sys::nvmlEventTypeDoubleBitEccError
        | sys::nvmlEventTypeXidCriticalError
        | sys::nvmlEventTypePState
        | sys::nvmlEventTypeClock;
    u64::from(always) | if gpu.mig.is_some() { MIG_CONFIG_CHANGE } else { 0 }
}

/// `nvmlEventSetCreate`.
pub(super) fn create(call: &Call, set: Out<sys::nvmlEventSet_t>) -> Answer<()> {
    static SETS: AtomicU64 = AtomicU64::new(1);
    let serial = SETS.fetch_add(1, Ordering::Relaxed);
    set.set(call.name(Kind::EventSet, 0, serial))?;
    lock(&call.session.sets).insert(serial, Set::default());
    Ok(())
}

/// `nvmlDeviceGetSupportedEventTypes`.
pub(super) fn types(call: &Call, device: Device, types: Out<u64>) -> Answer<()> {
    types.set(supported(call.gpu(device)?.1))
}

/// `nvmlDeviceRegisterEvents`.
pub(super) fn register(call: &Call, device: Device, kinds: u64, set: EventSet) -> Answer<()> {
    let (_, gpu) = call.gpu(device)?;
    if kinds & !supported(gpu) != 0 {
        return Err(Code::NOT_SUPPORTED);
    }
    let registration =
        Registration { gpu: gpu.uuid.clone(), kinds, after: call.state.serial, knows_lost: false };
    with(call, serial(call, set)?, |set| set.registered.push(registration))
}

/// `nvmlEventSetWait_v2`.
pub(super) fn wait(
    call: &Call,
    set: EventSet,
    data: Out<sys::nvmlEventData_t>,
    timeout_ms: u32,
) -> Answer<()> {
    let (event, device) = next(call, set, timeout_ms)?;
    data.set(sys::nvmlEventData_t {
        device,
        eventType: event.kind,
        eventData: event.data,
        gpuInstanceId: event.gpu_instance.unwrap_or(u32::MAX),
        computeInstanceId: event.compute_instance.unwrap_or(u32::MAX),
    })
}

/// `nvmlEventData_t` of the first version of the wait, which tells no instance.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct EventDataV1 {
    device: sys::nvmlDevice_t,
    kind: u64,
    data: u64,
}

/// `nvmlEventSetWait`.
pub(super) fn wait_v1(call: &Call, set: EventSet, data: Out<EventDataV1>, timeout_ms: u32) -> Answer<()> {
    let (event, device) = next(call, set, timeout_ms)?;
    data.set(EventDataV1 { device, kind: event.kind, data: event.data })
}

/// `nvmlEventSetFree`.
pub(super) fn free(call: &Call, set: EventSet) -> Answer<()> {
    let serial = serial(call, set)?;
    lock(&call.session.sets).remove(&serial).map(drop).ok_or(Code::INVALID_ARGUMENT)
}

fn serial(call: &Call, set: EventSet) -> Answer<u64> {
    let handle = set.handle.filter(|handle| handle.kind == Kind::EventSet).ok_or(Code::INVALID_ARGUMENT)?;
    if handle.is_of(call.session.epoch) { Ok(handle.serial) } else { Err(call.state.driver.stale) }
}

fn with<T>(call: &Call, serial: u64, use_it: impl FnOnce(&mut Set) -> T) -> Answer<T> {
    lock(&call.session.sets).get_mut(&serial).map(use_it).ok_or(Code::INVALID_ARGUMENT)
}

/// The next event and the device that it is about.
fn next(call: &Call, set: EventSet, timeout_ms: u32) -> Answer<(Event, sys::nvmlDevice_t)> {
    let serial = serial(call, set)?;
    #[expect(clippy::disallowed_methods, reason = "the caller says how long to wait")]
    let now = Instant::now;
    let end = now() + Duration::from_millis(u64::from(timeout_ms));
    loop {
        let state = call.now()?;
        match with(call, serial, |set| set.hear(&state))? {
            Heard::Event(event) => {
                let gpu = state.index_of(&event.gpu).ok_or(Code::UNKNOWN)?;
                let device = Handle::new(Kind::Gpu, call.session.epoch, gpu, 0).pointer();
                return Ok((event, device));
            }
            Heard::Lost => return Err(Code::GPU_IS_LOST),
            Heard::Nothing => {}
        }
        let left = end.saturating_duration_since(now());
        if left.is_zero() {
            return Err(Code::TIMEOUT);
        }
        thread::sleep(left.min(LOOK));
    }
}
