//! Every step of a finished plan once more, on the cluster as it was.

use std::sync::Arc;

use thiserror::Error;

use super::replay::{self, Move, put, take};
use super::room::guest;
use super::work::Work;
use super::{Figures, Goal, Plan, Step};
use crate::model::Pod;

/// Why a plan must not be carried out. Of one that was just made, it is a defect of Tangram.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what}")]
pub struct Fault {
    /// Which step breaks which rule.
    pub what: String,
}

/// Replays a plan: every pod stands where its step says, may move, and has its place before it leaves; the pods that
/// room was made for have theirs after; the figures are those that the plan claims.
pub(super) fn check(start: &Work<'_>, goal: &Goal, plan: &Plan) -> Result<(), Fault> {
    let fault = |what: String| Err(Fault { what });
    let mut cluster = start.cluster.clone();
    for (number, step) in (1..).zip(&plan.steps) {
        let Step { from, to, .. } = step;
        let this = Move { pod: step.pod.key.clone(), from: from.clone(), to: to.clone() };
        replay::step(&mut cluster, &start.rules, &this)
            .map_err(|why| Fault { what: format!("step {number}: {}: {why}", this.pod) })?;
    }
    let pods: &[Arc<Pod>] = if let Goal::Room { pods, .. } = goal { pods } else { &[] };
    for (number, (pod, place)) in pods.iter().zip(&plan.places).enumerate() {
        let Some(place) = place else { continue };
        let guest = guest(pod, number);
        take(&cluster, &guest, place).map_err(|why| Fault { what: format!("{}: {why}", pod.key) })?;
        put(&mut cluster, &guest, place);
    }
    let after = Figures::of(&cluster, start.scores);
    if after != plan.after {
        return fault(format!("it ends with {after:?} and claims {:?}", plan.after));
    }
    let is_reached = goal.is_reached(&plan.before, &after, &plan.places);
    if is_reached == plan.is_reached { Ok(()) } else { fault("it claims a goal that it misses".to_owned()) }
}
