//! What Tangram did for pods: nominations, Bindings, evictions.

use std::sync::atomic::AtomicI64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::histogram::Times;
use super::word::{Table, words};
use super::{Metrics, count};
use crate::cache::Written;

words! {
    /// What became of a Binding.
    pub(super) BindingOutcome, "outcome":
    /// Written.
    Done = "done",
    /// The pod had another version meanwhile.
    Conflict = "conflict",
    /// There is no such pod.
    Gone = "gone",
    /// The API server would not.
    Refused = "refused",
    /// Nobody knows: no answer came.
    Unknown = "unknown",
}

words! {
    /// What became of a nomination.
    pub Nomination, "outcome":
    /// The pod's status says so.
    Done = "done",
    /// The pod changed meanwhile, or nobody knows: it is told again.
    Again = "again",
    /// There is nobody to tell.
    Gone = "gone",
}

words! {
    /// Whether a bound pod stands where it was nominated.
    pub(super) Landing, "outcome":
    /// There.
    Hit = "hit",
    /// On another node.
    Miss = "miss",
    /// It was not nominated.
    None = "none",
}

words! {
    /// What became of an eviction.
    pub Evicted, "outcome":
    /// Granted.
    Done = "done",
    /// Refused, such as for a PodDisruptionBudget.
    Refused = "refused",
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pods {
    bindings: Table<BindingOutcome, Counter>,
    nominations: Table<Nomination, Counter>,
    delay: Times,
    landings: Table<Landing, Counter>,
    waiting: Gauge<i64, AtomicI64>,
    evictions: Table<Evicted, Counter>,
}

impl Pods {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("bindings", "Bindings written, by what became of them", self.bindings.clone());
        registry.register(
            "nominations",
            "Nominations written, by what became of them",
            self.nominations.clone(),
        );
        registry.register_with_unit(
            "nomination_delay",
            "Time from the first sight of a pod to its nomination",
            Unit::Seconds,
            self.delay.clone(),
        );
        registry.register(
            "nominated_pods_bound",
            "Pods bound where they were nominated (hit), elsewhere (miss), or without a nomination (none)",
            self.landings.clone(),
        );
        registry.register("waiting_pods", "Pods that wait for a node", self.waiting.clone());
        registry.register("evictions", "Evictions asked for, by what became of them", self.evictions.clone());
    }
}

impl Metrics {
    /// A Binding was written, or not.
    pub fn binding(&self, outcome: &Written) {
        let outcome = match outcome {
            Written::Done => BindingOutcome::Done,
            Written::Conflict => BindingOutcome::Conflict,
            Written::Gone => BindingOutcome::Gone,
            Written::Refused(_) => BindingOutcome::Refused,
            Written::Unknown => BindingOutcome::Unknown,
        };
        self.pods.bindings.of(outcome).inc();
    }

    /// A pod was bound; `nominated` is the node that Tangram had nominated for it.
    pub fn landed(&self, nominated: Option<&str>, node: &str) {
        let landing = match nominated {
            Some(nominated) if nominated == node => Landing::Hit,
            Some(_) => Landing::Miss,
            None => Landing::None,
        };
        self.pods.landings.of(landing).inc();
    }

    /// A nomination was written, or not.
    pub fn nomination(&self, outcome: Nomination) {
        self.pods.nominations.of(outcome).inc();
    }

    /// A pod was nominated so many milliseconds after it was first seen.
    pub fn nominated_after(&self, ms: u64) {
        self.pods.delay.observe(std::time::Duration::from_millis(ms));
    }

    /// So many pods wait.
    pub fn waiting(&self, pods: usize) {
        self.pods.waiting.set(count(pods));
    }

    /// An eviction was asked for.
    pub fn eviction(&self, outcome: Evicted) {
        self.pods.evictions.of(outcome).inc();
    }
}
