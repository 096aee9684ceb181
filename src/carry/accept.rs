//! Taking a plan up: the moves that somebody wants, held against the cluster as it is.

use std::collections::BTreeMap;

use super::Objection;
use crate::model::Cluster;
use crate::repack::{Budget, Move, replay};
use crate::wire::plans::{MoveView, PlanState, PlanView, RoomFor};
use crate::wire::repack::StepView;

/// Steps of one plan: its record has to fit into one object of the API server, which takes 1 MiB.
pub const STEPS_MAX: usize = 500;

/// Plans that are kept when they are over.
const KEPT: usize = 5;

/// The steps of a plan as `POST /v1/repack` answered it, on the cluster as it is now.
///
/// # Errors
/// A step that cannot be read, or one that the cluster does not allow any more.
pub fn accept(cluster: &Cluster, budgets: &[Budget], steps: &[StepView]) -> Result<Vec<MoveView>, Objection> {
    if steps.is_empty() {
        return Err(Objection::Malformed("steps: there are none".to_owned()));
    }
    if steps.len() > STEPS_MAX {
        let message = format!("steps: {} of them, at most {STEPS_MAX} are carried out at once", steps.len());
        return Err(Objection::Malformed(message));
    }
    let read = |(number, step): (usize, &StepView)| {
        let malformed = |field: &str| {
            Objection::Malformed(format!("steps[{number}].{field}: a device's profile is malformed"))
        };
        let from = step.from.spot().ok_or_else(|| malformed("from"))?;
        let to = step.to.spot().ok_or_else(|| malformed("to"))?;
        Ok(Move { pod: step.key(), from, to })
    };
    let moves = steps.iter().enumerate().map(read).collect::<Result<Vec<_>, Objection>>()?;
    replay(cluster, budgets, &moves).map_err(|fault| Objection::Changed(fault.to_string()))?;
    let mut pods = BTreeMap::new();
    for this in &moves {
        let pod = || cluster.get(&this.from.node).and_then(|node| node.pod(&this.pod)).cloned();
        if !pods.contains_key(&this.pod)
            && let Some(pod) = pod()
        {
            pods.insert(this.pod.clone(), pod);
        }
    }
    let view = |this: &Move| Some(MoveView::new(this, pods.get(&this.pod)?));
    let views = moves.iter().map(view).collect::<Option<Vec<_>>>();
    views.ok_or_else(|| Objection::Changed("a pod of it is gone".to_owned()))
}

/// Puts a plan behind those that there are, forgetting the oldest of those that are over.
///
/// # Errors
/// One is running.
pub fn take_up(
    plans: &[PlanView],
    steps: Vec<MoveView>,
    room: Option<RoomFor>,
    now: &str,
    step_time_limit_seconds: u32,
) -> Result<Vec<PlanView>, Objection> {
    if let Some(running) = plans.iter().find(|plan| plan.state == PlanState::Running) {
        return Err(Objection::Busy(running.id.clone()));
    }
    let number = |plan: &PlanView| plan.id.strip_prefix("plan-").and_then(|id| id.parse::<u64>().ok());
    let last = plans.iter().filter_map(number).max().unwrap_or(0);
    // Those that on-demand moves are counted by stay as long as they count.
    let keeps_from = plans.len().saturating_sub(KEPT);
    let is_kept =
        |(at, plan): &(usize, &PlanView)| *at >= keeps_from || (plan.room.is_some() && is_recent(plan, now));
    let mut kept: Vec<PlanView> =
        plans.iter().enumerate().filter(is_kept).map(|(_, plan)| plan.clone()).collect();
    kept.push(PlanView {
        id: format!("plan-{}", last + 1),
        created: now.to_owned(),
        state: PlanState::Running,
        note: String::new(),
        room,
        step_time_limit_seconds,
        steps,
    });
    Ok(kept)
}

/// Seconds in which on-demand moves are counted.
const HOUR_S: i64 = 3600;

fn seconds(time: &str) -> Option<i64> {
    time.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

fn is_recent(plan: &PlanView, now: &str) -> bool {
    let age_s = seconds(now).zip(seconds(&plan.created)).map(|(now, created)| now - created);
    age_s.is_none_or(|age_s| age_s < 2 * HOUR_S)
}

/// On-demand moves that were begun within the last hour; of plans that are running, all that they may still begin.
pub fn moves_on_demand(plans: &[PlanView], now: &str) -> usize {
    let is_counted = |plan: &PlanView, started: Option<&str>| match started.map(seconds) {
        Some(at) => at.zip(seconds(now)).is_none_or(|(at, now)| now - at < HOUR_S),
        None => plan.state == PlanState::Running,
    };
    let on_demand = plans.iter().filter(|plan| plan.room.is_some());
    let of =
        |plan: &PlanView| plan.steps.iter().filter(|step| is_counted(plan, step.started.as_deref())).count();
    on_demand.map(of).sum()
}
