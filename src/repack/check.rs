//! Every step of a finished plan once more, on the cluster as it was.

use std::sync::Arc;

use thiserror::Error;

use super::room::guest;
use super::work::{Work, is_free};
use super::{Figures, Goal, Plan, Spot};
use crate::model::{Cluster, Node, Pod};
use crate::solver::verify;

/// A plan that must not be carried out: a defect of Tangram.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the plan failed its check, which is a defect of Tangram: {what}")]
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
        let key = &step.pod.key;
        let found =
            cluster.get(&step.from.node).and_then(|node| Some((node.clone(), node.pod(key)?.clone())));
        let Some((from, pod)) = found else {
            return fault(format!("step {number}: {key} is not on {}", step.from.node));
        };
        if from.placement(&pod).cloned().unwrap_or_default() != step.from.placement {
            return fault(format!("step {number}: {key} is elsewhere on {}", step.from.node));
        }
        if let Some(why) = start.rules.stay(&from, &pod) {
            return fault(format!("step {number}: {key} must stay: {why}"));
        }
        take(&cluster, &pod, &step.to)
            .map_err(|why| Fault { what: format!("step {number}: {key}: {why}") })?;
        cluster.put(Arc::new(from.without(|pod| pod.key == *key)));
        put(&mut cluster, &pod, &step.to);
        let is_there = |node: &Arc<Node>| node.pod(key).is_some();
        if !cluster.get(&step.to.node).is_some_and(is_there) {
            return fault(format!("step {number}: {key} is lost"));
        }
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

/// Whether a place is free, by the independent checker and by kube-scheduler's filters.
fn take(cluster: &Cluster, pod: &Pod, spot: &Spot) -> Result<(), String> {
    let node = cluster.get(&spot.node).ok_or_else(|| format!("there is no node {}", spot.node))?;
    verify(node, &pod.request, &spot.placement).map_err(|violation| violation.to_string())?;
    is_free(node, pod, spot).then_some(()).ok_or_else(|| format!("{} does not take it", spot.node))
}

fn put(cluster: &mut Cluster, pod: &Pod, spot: &Spot) {
    if let Some(node) = cluster.get(&spot.node) {
        let bound = pod.bound_to(spot.node.clone(), spot.placement.clone());
        cluster.put(Arc::new(node.with(&Arc::new(bound))));
    }
}
