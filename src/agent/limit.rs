//! How often the status is written at most.

/// One write a second over any minute, and a few at once after a quiet time, so that a bind need not wait for the
/// second.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// When the bucket would be full again.
    full_ms: u64,
}

/// Writes that may follow each other at once.
const BURST: u64 = 5;
/// A little more than a second, so that no minute has more writes than seconds.
const INTERVAL_MS: u64 = 1100;

impl Bucket {
    /// Takes one write out; how long to wait before it.
    pub(super) fn take(&mut self, now_ms: u64) -> u64 {
        self.full_ms = self.full_ms.max(now_ms) + INTERVAL_MS;
        self.full_ms.saturating_sub(now_ms + BURST * INTERVAL_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_at_once_and_no_more_than_one_a_second_after_that() {
        let mut bucket = Bucket::default();
        let waits: Vec<u64> = (0..7).map(|_| bucket.take(10_000)).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 1100, 2200]);
        assert_eq!(bucket.take(13_300), 0, "two intervals were waited for, one has passed since");
        assert_eq!(bucket.take(60_000), 0);
    }
}
