//! Repack plans that were asked for, and the moves in them.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::Metrics;
use super::word::{Table, words};

words! {
    /// What a plan comes to.
    pub PlanOutcome, "outcome":
    /// Its goal, after its last step.
    Reached = "reached",
    /// Less than its goal, and more moves might do.
    Short = "short",
    /// It is proved that no moves do.
    Impossible = "impossible",
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Plans {
    plans: Table<PlanOutcome, Counter>,
    moves: Counter,
}

impl Plans {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("plans", "Repack plans made, by what they come to", self.plans.clone());
        registry.register("plan_moves", "Moves of pods in repack plans made", self.moves.clone());
    }
}

impl Metrics {
    /// A repack plan was made.
    pub fn plan(&self, outcome: PlanOutcome, moves: usize) {
        self.plans.plans.of(outcome).inc();
        self.plans.moves.inc_by(u64::try_from(moves).unwrap_or(u64::MAX));
    }
}
