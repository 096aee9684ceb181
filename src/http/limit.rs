//! How much one user may ask: so many requests in a second, and so many at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Users that are counted at the same time. Who asks nothing for a second is forgotten when there are more.
const USERS_MAX: usize = 1024;

/// Bounds on what one user asks.
#[derive(Debug)]
pub struct Traffic {
    per_second: u32,
    at_once: u32,
    start: Instant,
    // Held for a look and a sum, never while something is awaited.
    accounts: Mutex<BTreeMap<Arc<str>, Account>>,
}

/// What one user has asked. A full second's requests may come in one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Account {
    left: f64,
    at_s: f64,
    running: u32,
}

impl Default for Traffic {
    fn default() -> Self {
        Self::new(Self::PER_SECOND, Self::AT_ONCE)
    }
}

impl Traffic {
    /// Requests of one user in a second, unless the configuration says otherwise.
    pub const PER_SECOND: u32 = 500;
    /// Requests of one user at once, unless the configuration says otherwise.
    pub const AT_ONCE: u32 = 32;

    /// Bounds of one user, both at least 1.
    #[expect(clippy::disallowed_methods, reason = "a shell reads the clock here, and nowhere else")]
    pub fn new(per_second: u32, at_once: u32) -> Self {
        Self { per_second, at_once, start: Instant::now(), accounts: Mutex::default() }
    }

    /// Lets one more request of a user in, until the permit is dropped.
    ///
    /// # Errors
    /// It is one too many; the seconds after which it may be tried again.
    pub(super) fn enter(self: &Arc<Self>, user: &Arc<str>) -> Result<Permit, u32> {
        self.enter_at(self.start.elapsed().as_secs_f64(), user)
    }

    fn enter_at(self: &Arc<Self>, now_s: f64, user: &Arc<str>) -> Result<Permit, u32> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if accounts.len() >= USERS_MAX && !accounts.contains_key(user) {
            accounts.retain(|_, account| account.running > 0 || now_s - account.at_s < 1.0);
            if accounts.len() >= USERS_MAX {
                return Err(1);
            }
        }
        let full = f64::from(self.per_second);
        let account = accounts.entry(user.clone()).or_insert(Account { left: full, at_s: now_s, running: 0 });
        account.left = (account.left + (now_s - account.at_s) * full).min(full);
        account.at_s = now_s;
        if account.left < 1.0 || account.running >= self.at_once {
            return Err(1);
        }
        account.left -= 1.0;
        account.running += 1;
        Ok(Permit { traffic: self.clone(), user: user.clone() })
    }
}

/// One request that is let in.
#[derive(Debug)]
pub(super) struct Permit {
    traffic: Arc<Traffic>,
    user: Arc<str>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut accounts = self.traffic.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.get_mut(&self.user) {
            account.running -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: usize) -> Arc<str> {
        format!("user-{number}").into()
    }

    #[test]
    fn a_user_has_so_many_requests_a_second_and_others_have_their_own() {
        let traffic = Arc::new(Traffic::new(3, 8));
        let let_in =
            |at_s: f64, user: &Arc<str>| (0..5).filter(|_| traffic.enter_at(at_s, user).is_ok()).count();
        let (one, other) = (user(1), user(2));
        assert_eq!((let_in(0.0, &one), let_in(0.0, &other)), (3, 3));
        assert_eq!(let_in(0.7, &one), 2);
        assert_eq!(let_in(60.0, &one), 3, "what was not asked does not add up");
    }

    #[test]
    fn a_user_has_so_many_requests_at_once() {
        let traffic = Arc::new(Traffic::new(100, 2));
        let one = user(1);
        let held: Vec<_> = (0..2).map(|_| traffic.enter_at(0.0, &one).unwrap()).collect();
        assert_eq!(traffic.enter_at(0.0, &one).unwrap_err(), 1);
        assert!(traffic.enter_at(0.0, &user(2)).is_ok());
        drop(held);
        assert!(traffic.enter_at(0.0, &one).is_ok());
    }

    #[test]
    fn users_without_end_take_no_memory_without_end() {
        let traffic = Arc::new(Traffic::new(5, 5));
        let held = traffic.enter_at(0.0, &user(0)).unwrap();
        for number in 1..USERS_MAX {
            drop(traffic.enter_at(0.0, &user(number)).unwrap());
        }
        assert_eq!(traffic.enter_at(0.5, &user(USERS_MAX)).unwrap_err(), 1, "all of them asked just now");
        assert!(traffic.enter_at(2.0, &user(USERS_MAX)).is_ok());
        assert_eq!(traffic.accounts.lock().unwrap().len(), 2, "who is being answered, and who asked last");
        drop(held);
    }
}
