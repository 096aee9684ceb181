//! A histogram of times that is counted with atomics alone: kube-scheduler waits while one is observed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Upper bounds in microseconds: three to a decade from 10 µs, what a small filter takes, to the 20 s for which a
/// bind waits for an agent.
const BOUNDS_US: [u64; 20] = [
    10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000, 2_000_000, 5_000_000, 10_000_000, 20_000_000,
];

/// Times, in buckets.
#[derive(Debug, Clone, Default)]
pub(super) struct Times(Arc<Cells>);

#[derive(Debug, Default)]
struct Cells {
    buckets: [AtomicU64; BOUNDS_US.len() + 1], // the last: longer than any bound
    sum_ns: AtomicU64,
}

impl Times {
    /// Something took so long.
    pub(super) fn observe(&self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound_us| bound_us * 1_000 < ns);
        self.0.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.0.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }
}

impl EncodeMetric for Times {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = BOUNDS_US.iter().map(|&us| Duration::from_micros(us).as_secs_f64()).chain([f64::MAX]);
        let counts = self.0.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let sum = Duration::from_nanos(self.0.sum_ns.load(Ordering::Relaxed)).as_secs_f64();
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_the_first_bucket_that_is_not_shorter() {
        let times = Times::default();
        for us in [10, 11, 20, 99_999_999] {
            times.observe(Duration::from_micros(us));
        }
        let counts: Vec<u64> = times.0.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        assert_eq!((counts[0], counts[1], counts[20], counts.iter().sum::<u64>()), (1, 2, 1, 4));
    }
}
