//! Which decisions have been said already: kube-scheduler asks about a pod that waits again and again, and a log
//! that repeats the answer hides the one that changed.

use std::sync::atomic::{AtomicU64, Ordering};

/// Slots, a power of two: pods that wait at once and share one are told of more often than need be.
const SLOTS: usize = 1 << 14;

/// What was last said of each pod, in a table of fixed size: one atomic exchange, however many pods there are.
#[derive(Debug)]
pub struct News(Box<[AtomicU64]>);

impl Default for News {
    fn default() -> Self {
        Self((0..SLOTS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl News {
    /// Whether this is another thing to say of the pod than the last. `what` is a number that tells things apart.
    pub fn is_new(&self, pod: &str, what: u64) -> bool {
        let pod = hash(pod.bytes());
        let said = hash(pod.to_le_bytes().into_iter().chain(what.to_le_bytes()));
        let slot = usize::try_from(pod & (SLOTS as u64 - 1)).expect("fewer slots than addresses");
        self.0[slot].swap(said, Ordering::Relaxed) != said
    }
}

/// FNV-1a (Fowler, Noll, Vo), 64 bits.
fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_from_the_last_is_news() {
        let news = News::default();
        assert!(news.is_new("a", 1));
        assert!(!news.is_new("a", 1));
        assert!(news.is_new("b", 1));
        assert!(news.is_new("a", 2));
        assert!(news.is_new("a", 1));
    }
}
