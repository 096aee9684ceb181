//! What Prometheus is told, and what people ask first: how old is the model, what became of binds.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::cache::{Agents, Written};

/// Every metric of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    model_age: Gauge<f64, AtomicU64>,
    is_leader: Gauge<i64, AtomicI64>,
    nodes: Gauge<i64, AtomicI64>,
    unreadable: Family<Kind, Counter>,
    unreadable_now: Family<Kind, Gauge<i64, AtomicI64>>,
    bindings: Family<Outcome, Counter>,
    nominations: Family<Outcome, Counter>,
    nomination_delay: Histogram,
    agents: Family<State, Gauge<i64, AtomicI64>>,
    waiting: Gauge<i64, AtomicI64>,
    evictions: Family<Outcome, Counter>,
    unmanaged: Gauge<i64, AtomicI64>,
    filters: Family<Names, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: Text,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: Text,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: Text,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Names {
    names: Text,
}

/// One of a few fixed words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Text(&'static str);

impl EncodeLabelValue for Text {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.0, encoder)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("tangram");
        // From 1 ms to about 4 s.
        let nomination_delay = Histogram::new(exponential_buckets(0.001, 2.0, 13));
        let (model_age, is_leader, nodes, waiting, unmanaged) = Default::default();
        let (unreadable, unreadable_now, filters) = (Family::default(), Family::default(), Family::default());
        let agents = Family::default();
        let (bindings, nominations, evictions) = (Family::default(), Family::default(), Family::default());
        let metrics = Self {
            model_age,
            is_leader,
            nodes,
            agents,
            unreadable,
            unreadable_now,
            bindings,
            nominations,
            nomination_delay,
            waiting,
            evictions,
            unmanaged,
            filters,
            registry: Registry::default(),
        };
        let seconds = Unit::Seconds;
        let help = "Time since the model was last known to be what the API server has; -1 before it ever was";
        registry.register_with_unit("model_age", help, seconds, metrics.model_age.clone());
        registry.register(
            "leader",
            "Whether this replica answers (1) or waits (0)",
            metrics.is_leader.clone(),
        );
        registry.register("nodes", "Nodes in the model", metrics.nodes.clone());
        registry.register(
            "agents",
            "Agents on nodes, by whether they renew their Lease (alive) or not any more (silent)",
            metrics.agents.clone(),
        );
        registry.register(
            "unreadable_objects",
            "Objects in the cluster that cannot be read now",
            metrics.unreadable_now.clone(),
        );
        registry.register("unreadable", "Times that an object could not be read", metrics.unreadable.clone());
        registry.register("bindings", "Bindings written, by what became of them", metrics.bindings.clone());
        registry.register(
            "nominations",
            "Nominations written, by what became of them",
            metrics.nominations.clone(),
        );
        registry.register_with_unit(
            "nomination_delay",
            "Time from the first sight of a pod to its nomination",
            Unit::Seconds,
            metrics.nomination_delay.clone(),
        );
        registry.register("waiting_pods", "Pods that wait for a node", metrics.waiting.clone());
        registry.register(
            "evictions",
            "Evictions asked for, by what became of them",
            metrics.evictions.clone(),
        );
        registry.register(
            "unmanaged_resources",
            "Device resources in the cluster that the scheduler configuration does not name",
            metrics.unmanaged.clone(),
        );
        registry.register(
            "filters",
            "Filter calls, by how many nodes they ask about: one is a nomination that was heeded",
            metrics.filters.clone(),
        );
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// All metrics in Prometheus' text form.
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to memory");
        text
    }

    /// How old the model is, whether this replica leads, how many nodes it knows: as of now.
    pub fn state(&self, age_ms: Option<u64>, is_leader: bool, nodes: usize) {
        self.model_age.set(age_ms.map_or(-1.0, seconds));
        self.is_leader.set(i64::from(is_leader));
        self.nodes.set(count(nodes));
    }

    /// An object could not be read.
    pub fn unreadable(&self, kind: &'static str) {
        self.unreadable.get_or_create(&Kind { kind: Text(kind) }).inc();
    }

    /// So many objects of a kind cannot be read now.
    pub fn unreadable_now(&self, kind: &'static str, objects: usize) {
        self.unreadable_now.get_or_create(&Kind { kind: Text(kind) }).set(count(objects));
    }

    /// A Binding was written, or not.
    pub fn binding(&self, outcome: &Written) {
        self.bindings.get_or_create(&outcome_of(outcome)).inc();
    }

    /// So many agents are alive, and so many silent: as of now.
    pub fn agents(&self, agents: Agents) {
        for (state, number) in [("alive", agents.alive), ("silent", agents.silent)] {
            self.agents.get_or_create(&State { state: Text(state) }).set(count(number));
        }
    }

    /// A nomination was written, or not.
    pub fn nomination(&self, outcome: &'static str) {
        self.nominations.get_or_create(&Outcome { outcome: Text(outcome) }).inc();
    }

    /// A pod was nominated so many milliseconds after it was first seen.
    pub fn nominated_after(&self, ms: u64) {
        self.nomination_delay.observe(seconds(ms));
    }

    /// So many pods wait.
    pub fn waiting(&self, pods: usize) {
        self.waiting.set(count(pods));
    }

    /// An eviction was asked for.
    pub fn eviction(&self, outcome: &'static str) {
        self.evictions.get_or_create(&Outcome { outcome: Text(outcome) }).inc();
    }

    /// A filter call asked about so many nodes.
    pub fn filter(&self, nodes: usize) {
        self.filters.get_or_create(&Names { names: Text(if nodes == 1 { "one" } else { "more" }) }).inc();
    }

    /// So many resource names are not in the scheduler's configuration.
    pub fn unmanaged(&self, names: usize) {
        self.unmanaged.set(count(names));
    }
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn outcome_of(outcome: &Written) -> Outcome {
    Outcome {
        outcome: Text(match outcome {
            Written::Done => "done",
            Written::Conflict => "conflict",
            Written::Gone => "gone",
            Written::Refused(_) => "refused",
            Written::Unknown => "unknown",
        }),
    }
}
