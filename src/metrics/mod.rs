//! What Prometheus is told, one file per subject.
//!
//! ```text
//! decisions  what kube-scheduler asked and was answered, how long it took; news: what to say of it
//! pods       nominations, Bindings, evictions
//! replica    who answers, how old the model is, what cannot be read
//! plans      repack plans
//! census     capacity, fragmentation, pending demand: counted when a scrape comes
//! word, histogram, text   tables of counters; atomic histograms; forms of the text
//! ```
//!
//! Labels have a bounded number of values: fixed words, or entries of a census, which is bounded itself. What
//! kube-scheduler waits for touches atomics alone; `docs/metrics.md` has every metric, and `tests/docs.rs` holds
//! the two equal.

mod census;
mod decisions;
mod histogram;
mod news;
mod plans;
mod pods;
mod replica;
mod text;
mod word;

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

pub use census::Counted;
pub use decisions::{Decisions, Outcome, Running, Verb};
pub use news::News;
pub use plans::PlanOutcome;
pub use pods::{Evicted, Nomination};
pub use text::Form;

use crate::census::Bounds;

/// Every metric of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Decisions of the extender.
    pub decisions: Decisions,
    /// The cluster counted.
    pub counted: Counted,
    pods: pods::Pods,
    replica: replica::Replica,
    plans: plans::Plans,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(Bounds::default())
    }
}

impl Metrics {
    /// Everything at 0.
    pub fn new(bounds: Bounds) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("tangram"),
            decisions: Decisions::default(),
            counted: Counted::new(bounds),
            pods: pods::Pods::default(),
            replica: replica::Replica::default(),
            plans: plans::Plans::default(),
        };
        metrics.replica.register(&mut metrics.registry);
        metrics.decisions.register(&mut metrics.registry);
        metrics.pods.register(&mut metrics.registry);
        metrics.plans.register(&mut metrics.registry);
        metrics.counted.register(&mut metrics.registry);
        metrics
    }

    /// All metrics in a form that Prometheus reads.
    pub fn text(&self, form: Form) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to memory");
        form.of(text)
    }
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
