//! NVML as one process has it open.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::events::Set;
use crate::code::{Answer, Code};
use crate::locate;
use crate::store::Store;

/// What `nvmlInit` opened.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) store: Store,
    /// Of the driver, when it was opened.
    pub(super) epoch: u64,
    /// Event sets by their serial.
    pub(super) sets: Mutex<BTreeMap<u64, Set>>,
}

/// The session, and how often it was opened more than closed.
static SESSION: Mutex<Option<(Arc<Session>, u32)>> = Mutex::new(None);

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `nvmlInit_v2`, under the name by which it was called.
///
/// A process that opens NVML again after the driver was restarted, without having closed it, gets a new
/// session; what it holds of the old one stays dead.
pub(super) fn open(function: &str) -> Answer<()> {
    let mut session = lock(&SESSION);
    let path = locate::state().ok_or(Code::LIBRARY_NOT_FOUND)?;
    let store = Store::at(path);
    let state = store.read().map_err(|error| unreadable(&store, &error))?;
    if state.faults.iter().any(|fault| fault.is_for(function, None)) {
        let code = store.change(None, |state| Ok(state.take_fault(function, None)));
        if let Ok(Ok(Some(code))) = code {
            return Err(code);
        }
    }
    if !state.driver.is_loaded {
        return Err(Code::DRIVER_NOT_LOADED);
    }
    let epoch = state.driver.epoch;
    *session = Some(match session.take() {
        Some((open, count)) if open.epoch == epoch && open.store.path() == store.path() => (open, count + 1),
        other => {
            let count = other.map_or(0, |(_, count)| count);
            (Arc::new(Session { store, epoch, sets: Mutex::default() }), count + 1)
        }
    });
    Ok(())
}

/// `nvmlShutdown`.
pub(super) fn close() -> Answer<()> {
    let mut session = lock(&SESSION);
    match session.take() {
        None => return Err(Code::UNINITIALIZED),
        Some((_, 1)) => {}
        Some((open, count)) => *session = Some((open, count - 1)),
    }
    Ok(())
}

pub(super) fn current() -> Answer<Arc<Session>> {
    lock(&SESSION).as_ref().map(|(session, _)| Arc::clone(session)).ok_or(Code::UNINITIALIZED)
}

/// A scene that is missing or broken: the program under test gets a code, the person a reason.
#[expect(clippy::print_stderr, reason = "a C library has no other way to say it")]
pub(super) fn unreadable(store: &Store, error: &io::Error) -> Code {
    eprintln!("nvml-mock: {}: {error}", store.path().display());
    match error.kind() {
        io::ErrorKind::NotFound => Code::DRIVER_NOT_LOADED,
        _ => Code::UNKNOWN,
    }
}
