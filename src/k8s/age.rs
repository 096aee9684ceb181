//! How old the model is: the time since it was last known to be what the API server has.
//!
//! A watch that is open and an API server that answers mean that nothing is missing. So a watch is up to
//! date as of the last thing heard on it, or as of the last question that the API server answered while the
//! watch was open, whichever is later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::access::{Access, Reply};

/// Between two questions.
const PERIOD: Duration = Duration::from_secs(1);

/// Milliseconds since the process started: monotonic, and the same for all who ask.
#[derive(Debug, Clone, Copy)]
pub struct Clock(std::time::Instant);

impl Clock {
    /// Starts a clock.
    #[expect(clippy::disallowed_methods, reason = "a shell reads the clock here, and nowhere else")]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Milliseconds since then.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).expect("a process does not run for 500 million years")
    }
}

/// The age of the model.
#[derive(Debug, Clone)]
pub struct Age {
    clock: Clock,
    contacts: Vec<Contact>,
}

/// What is known of one watch.
#[derive(Debug, Clone)]
pub(super) struct Contact {
    clock: Clock,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    is_listed: AtomicBool,
    is_open: AtomicBool,
    last_ms: AtomicU64,
}

impl Contact {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, state: Arc::default() }
    }

    /// A list was read whole, or something came on the watch.
    pub(super) fn made(&self) {
        self.state.is_listed.store(true, Ordering::Relaxed);
        self.state.last_ms.fetch_max(self.clock.now_ms(), Ordering::Relaxed);
    }

    /// A watch that goes on from the last version is open.
    pub(super) fn opened(&self) {
        self.state.is_open.store(true, Ordering::Relaxed);
    }

    /// The last moment at which everything of the kind was known; `None` before it ever was.
    pub(super) fn known_ms(&self) -> Option<u64> {
        let is_listed = self.state.is_listed.load(Ordering::Relaxed);
        is_listed.then(|| self.state.last_ms.load(Ordering::Relaxed))
    }

    /// The watch is broken.
    pub(super) fn lost(&self) {
        self.state.is_open.store(false, Ordering::Relaxed);
    }
}

impl Age {
    pub(super) fn new(clock: Clock, contacts: Vec<Contact>) -> Self {
        Self { clock, contacts }
    }

    /// Milliseconds since the model was last up to date; `None` before it ever was.
    pub fn ms(&self) -> Option<u64> {
        let oldest = self.contacts.iter().map(Contact::known_ms).min().flatten()?;
        Some(self.clock.now_ms().saturating_sub(oldest))
    }

    /// Asks the API server for a sign of life, for ever.
    pub(super) async fn keep(self, access: Access) {
        loop {
            let asked_ms = self.clock.now_ms();
            let open: Vec<&Contact> = self
                .contacts
                .iter()
                .filter(|contact| contact.state.is_open.load(Ordering::Relaxed))
                .collect();
            if matches!(access.get("/version").await, Reply::Done(_)) {
                for contact in open {
                    if contact.state.is_open.load(Ordering::Relaxed) {
                        contact.state.last_ms.fetch_max(asked_ms, Ordering::Relaxed);
                    }
                }
            }
            tokio::time::sleep(PERIOD).await;
        }
    }
}
