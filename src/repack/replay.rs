//! Moves, one after the other, on a cluster as it is: whether each pod stands where its move says, may move, and finds
//! its new place free before it leaves the old one.

use std::sync::Arc;

use super::stay::Rules;
use super::work::is_free;
use super::{Budget, Fault, Spot};
use crate::model::{Cluster, Node, Pod, PodKey};
use crate::solver::verify;

/// One move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The pod, by the name that it has when its turn comes.
    pub pod: PodKey,
    /// Where it is then.
    pub from: Spot,
    /// Where it goes.
    pub to: Spot,
}

/// Replays moves that somebody wants to be carried out; gives the cluster after the last of them.
///
/// # Errors
/// The first that breaks a rule, and which.
pub fn replay(cluster: &Cluster, budgets: &[Budget], moves: &[Move]) -> Result<Cluster, Fault> {
    let rules = Rules { priority_max: None, budgets };
    let mut cluster = cluster.clone();
    for (number, this) in (1..).zip(moves) {
        step(&mut cluster, &rules, this)
            .map_err(|why| Fault { what: format!("step {number}: {}: {why}", this.pod) })?;
    }
    Ok(cluster)
}

/// The same for one move, on a cluster that it changes.
pub(super) fn step(cluster: &mut Cluster, rules: &Rules<'_>, this: &Move) -> Result<(), String> {
    let Move { pod: key, from, to } = this;
    let found = cluster.get(&from.node).and_then(|node| Some((node.clone(), node.pod(key)?.clone())));
    let Some((node, pod)) = found else {
        return Err(format!("it is not on {}", from.node));
    };
    if node.placement(&pod).cloned().unwrap_or_default() != from.placement {
        return Err(format!("it is elsewhere on {}", from.node));
    }
    if let Some(why) = rules.stay(&node, &pod) {
        return Err(format!("it must stay: {why}"));
    }
    take(cluster, &pod, to)?;
    cluster.put(Arc::new(node.without(|pod| pod.key == *key)));
    put(cluster, &pod, to);
    let is_there = |node: &Arc<Node>| node.pod(key).is_some();
    if cluster.get(&to.node).is_some_and(is_there) { Ok(()) } else { Err("it is lost".to_owned()) }
}

/// Whether a place is free, by the independent checker and by kube-scheduler's filters.
pub(super) fn take(cluster: &Cluster, pod: &Pod, spot: &Spot) -> Result<(), String> {
    let node = cluster.get(&spot.node).ok_or_else(|| format!("there is no node {}", spot.node))?;
    verify(node, &pod.request, &spot.placement).map_err(|violation| violation.to_string())?;
    is_free(node, pod, spot).then_some(()).ok_or_else(|| format!("{} does not take it", spot.node))
}

pub(super) fn put(cluster: &mut Cluster, pod: &Pod, spot: &Spot) {
    if let Some(node) = cluster.get(&spot.node) {
        let bound = pod.bound_to(spot.node.clone(), spot.placement.clone());
        cluster.put(Arc::new(node.with(&Arc::new(bound))));
    }
}
