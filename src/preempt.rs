//! Preemption: whether evicting what kube-scheduler chose makes room, and whether less would do.

use std::sync::Arc;

use crate::model::{Cluster, NodeIndex, Pod, Policy};
use crate::solver::{Query, Scores, lacking, place, verify};

/// The victims on one node that really have to go, given those that kube-scheduler chose.
///
/// `None` when the pod would not fit even without them. With no victims given, Tangram chooses: the fewest
/// it finds among the pods of lower priority, lowest priority first. A victim is spared when the pod still
/// fits with it, by Tangram's own placement and by kube-scheduler's filters as far as they are modelled;
/// where something unmodelled may be the reason for a victim, none is spared. A victim that the model does
/// not know holds nothing here and has to go for reasons of kube-scheduler's own.
///
/// Gives UIDs, in the order chosen, or by name where Tangram chooses.
pub fn victims(
    cluster: &Cluster,
    scores: &Scores,
    policy: Policy,
    pod: &Pod,
    index: NodeIndex,
    chosen: &[Arc<str>],
) -> Option<Vec<Arc<str>>> {
    let node = cluster.node(index);
    let query = Query::new(cluster, scores, &pod.request, policy);
    let fits_without = |victims: &[Arc<Pod>]| {
        let left = node.retaining(|other| victims.iter().all(|victim| victim.key != other.key));
        let placement = place(cluster, &left, &pod.request, &query);
        let is_sound = placement.is_ok_and(|placement| verify(&left, &pod.request, &placement).is_ok());
        is_sound && lacking(&pod.demand, &left).is_none()
    };
    let mut victims: Vec<Arc<Pod>> = if chosen.is_empty() {
        node.pods.iter().filter(|other| other.priority < pod.priority).cloned().collect()
    } else {
        node.pods.iter().filter(|other| chosen.contains(&other.uid)).cloned().collect()
    };
    if !fits_without(&victims) {
        return None;
    }
    let may_spare =
        |victim: &Pod| chosen.is_empty() || !(pod.demand.has_unmodelled || victim.demand.has_unmodelled);
    // The dearest first, so that what is left to evict is the least: kube-scheduler's own order of reprieve.
    victims.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.key.cmp(&b.key)));
    let mut at = 0;
    while at < victims.len() {
        let spared = victims.remove(at);
        if !may_spare(&spared) || !fits_without(&victims) {
            victims.insert(at, spared);
            at += 1;
        }
    }
    if chosen.is_empty() {
        victims.sort_by(|a, b| a.key.cmp(&b.key));
        return Some(victims.iter().map(|victim| victim.uid.clone()).collect());
    }
    let is_spared = |uid: &Arc<str>| {
        node.pods.iter().any(|pod| pod.uid == *uid) && victims.iter().all(|victim| victim.uid != *uid)
    };
    Some(chosen.iter().filter(|uid| !is_spared(uid)).cloned().collect())
}
