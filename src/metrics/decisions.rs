//! What kube-scheduler asked, what it was answered, how long that took, and why nodes refused.

use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::{Registry, Unit};

use super::histogram::Times;
use super::news::News;
use super::word::{Grid, Table, Word, words};
use crate::solver::Refusal;

words! {
    /// A verb of the extender protocol.
    pub Verb, "verb":
    /// Which nodes fit?
    Filter = "filter",
    /// How well?
    Prioritize = "prioritize",
    /// Who would have to go?
    Preempt = "preempt",
    /// This one it is.
    Bind = "bind",
}

words! {
    /// How a decision came out.
    pub Outcome, "outcome":
    /// Some node fits, was ranked or has victims; the pod is bound.
    Done = "done",
    /// No node fits or can be made to; the pod is not bound.
    Refused = "refused",
    /// The request could not be served: unreadable, too large, or Tangram is not ready.
    Error = "error",
}

words! {
    /// How many nodes a filter call asked about.
    pub(super) Names, "names":
    /// A nomination that was heeded.
    One = "one",
    /// Any other number.
    More = "more",
}

/// Why a node refused, as a word.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Reason(&'static str);

impl Word for Reason {
    const LABEL: &'static str = "reason";
    const ALL: &'static [Self] = &{
        let mut all = [Self(""); Refusal::NAMES.len()];
        let mut at = 0;
        while at < all.len() {
            all[at] = Self(Refusal::NAMES[at]);
            at += 1;
        }
        all
    };

    fn word(self) -> &'static str {
        self.0
    }
}

/// Decisions of the extender.
#[derive(Debug, Default)]
pub struct Decisions {
    outcomes: Grid<Verb, Outcome, Counter>,
    times: Table<Verb, Times>,
    refusals: Table<Reason, Counter>,
    filters: Table<Names, Counter>,
    /// Which refusals have been said already.
    pub news: News,
}

impl Decisions {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "decisions",
            "Requests of kube-scheduler, by verb and by how they came out",
            self.outcomes.clone(),
        );
        registry.register_with_unit(
            "decision_duration",
            "Time from a request of kube-scheduler to its answer; a bind waits for the agent and the API server",
            Unit::Seconds,
            self.times.clone(),
        );
        registry.register(
            "refusals",
            "Nodes that refused a pod in an answer to filter, by reason",
            self.refusals.clone(),
        );
        registry.register(
            "filters",
            "Filter calls, by how many nodes they ask about: one is a nomination that was heeded",
            self.filters.clone(),
        );
    }

    /// A request has come. Count it by ending what this returns.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "how long an answer took is measured here, and decides nothing"
    )]
    pub fn start(&self, verb: Verb) -> Running<'_> {
        Running { decisions: self, verb, since: Instant::now() }
    }

    /// A filter call asked about so many nodes.
    pub fn filter(&self, nodes: usize) {
        self.filters.of(if nodes == 1 { Names::One } else { Names::More }).inc();
    }

    /// So many nodes refused a pod.
    pub fn refused(&self, refusal: &Refusal, nodes: usize) {
        self.refusals.of(Reason(refusal.name())).inc_by(u64::try_from(nodes).unwrap_or(u64::MAX));
    }

    fn ended(&self, verb: Verb, outcome: Outcome, took: Duration) {
        self.outcomes.of(verb, outcome).inc();
        self.times.of(verb).observe(took);
    }
}

/// A request that is not answered yet. One whose client goes away before its answer is not counted.
#[derive(Debug)]
pub struct Running<'a> {
    decisions: &'a Decisions,
    verb: Verb,
    since: Instant,
}

impl Running<'_> {
    /// The answer is made.
    pub fn end(self, outcome: Outcome) {
        self.decisions.ended(self.verb, outcome, self.since.elapsed());
    }
}
