//! This replica: whether it answers, how old its model is, and what in the cluster it cannot read or is not asked
//! about.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::word::{Table, words};
use super::{Metrics, count, seconds};
use crate::cache::Agents;

words! {
    /// Whether an agent renews its Lease.
    pub(super) AgentState, "state":
    /// It does.
    Alive = "alive",
    /// It does not any more.
    Silent = "silent",
}

/// Kinds of objects that are watched; named here so that each has its series before anything goes wrong.
const KINDS: [&str; 4] = ["GpuNode", "Lease", "Node", "Pod"];

type Label = [(&'static str, &'static str); 1];

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Replica {
    model_age: Gauge<f64, AtomicU64>,
    generation: Gauge<i64, AtomicI64>,
    is_leader: Gauge<i64, AtomicI64>,
    nodes: Gauge<i64, AtomicI64>,
    agents: Table<AgentState, Gauge<i64, AtomicI64>>,
    unreadable: Family<Label, Counter>,
    unreadable_now: Family<Label, Gauge<i64, AtomicI64>>,
    unmanaged: Gauge<i64, AtomicI64>,
}

impl Replica {
    pub(super) fn register(&self, registry: &mut Registry) {
        for kind in KINDS {
            drop(self.unreadable.get_or_create(&[("kind", kind)]));
            drop(self.unreadable_now.get_or_create(&[("kind", kind)]));
        }
        let help = "Time since the model was last known to be what the API server has; -1 before it ever was";
        registry.register_with_unit("model_age", help, Unit::Seconds, self.model_age.clone());
        registry.register(
            "model_generation",
            "Grows with every change of the model that readers see",
            self.generation.clone(),
        );
        registry.register("leader", "Whether this replica answers (1) or waits (0)", self.is_leader.clone());
        registry.register("nodes", "Nodes in the model", self.nodes.clone());
        registry.register(
            "agents",
            "Agents on nodes, by whether they renew their Lease (alive) or not any more (silent)",
            self.agents.clone(),
        );
        registry.register(
            "unreadable_objects",
            "Objects in the cluster that cannot be read now",
            self.unreadable_now.clone(),
        );
        registry.register("unreadable", "Times that an object could not be read", self.unreadable.clone());
        registry.register(
            "unmanaged_resources",
            "Device resources in the cluster that the scheduler configuration does not name",
            self.unmanaged.clone(),
        );
    }
}

impl Metrics {
    /// How old the model is and which, whether this replica leads, how many nodes it knows: as of now.
    pub fn state(&self, age_ms: Option<u64>, generation: u64, is_leader: bool, nodes: usize) {
        self.replica.model_age.set(age_ms.map_or(-1.0, seconds));
        self.replica.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.replica.is_leader.set(i64::from(is_leader));
        self.replica.nodes.set(count(nodes));
    }

    /// So many agents are alive, and so many silent: as of now.
    pub fn agents(&self, agents: Agents) {
        self.replica.agents.of(AgentState::Alive).set(count(agents.alive));
        self.replica.agents.of(AgentState::Silent).set(count(agents.silent));
    }

    /// An object could not be read.
    pub fn unreadable(&self, kind: &'static str) {
        self.replica.unreadable.get_or_create(&[("kind", kind)]).inc();
    }

    /// So many objects of a kind cannot be read now.
    pub fn unreadable_now(&self, kind: &'static str, objects: usize) {
        self.replica.unreadable_now.get_or_create(&[("kind", kind)]).set(count(objects));
    }

    /// So many resource names are not in the scheduler's configuration.
    pub fn unmanaged(&self, names: usize) {
        self.replica.unmanaged.set(count(names));
    }
}
