//! Preemption: whether evicting what kube-scheduler chose makes room, and whether less would do.

use std::sync::Arc;

use crate::model::{Cluster, Node, NodeIndex, Pod, Policy};
use crate::solver::{Query, Scores, evaluate, intree_refusal, lacking, place, verify};

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
    let query = Query::new(cluster, scores, pod, policy);
    let fits_without = |victims: &[Arc<Pod>]| {
        let left = node.without(|other| victims.iter().any(|victim| victim.key == other.key));
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

/// What has to go so that a pod fits on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eviction {
    /// The node.
    pub node: Arc<str>,
    /// The victims, dearest first.
    pub victims: Vec<Arc<Pod>>,
}

/// Whom to evict for a pod that no node has GPU instances for: the fewest pods on one node, then those of
/// the lowest priority.
///
/// kube-scheduler cannot do this: it sees neither memory slices nor their fragmentation, so it finds no
/// victims. Nodes that kube-scheduler's own filters refuse are left to its own preemption, and where pods
/// that are ending make room soon, nobody is evicted at all. `may_evict` says which pods may go at all,
/// `may_go` whether these may go together.
pub fn eviction(
    cluster: &Cluster,
    scores: &Scores,
    policy: Policy,
    pod: &Pod,
    may_evict: impl Fn(&Pod) -> bool,
    may_go: impl Fn(&[Arc<Pod>]) -> bool,
) -> Option<Eviction> {
    if pod.request.slices.is_empty() {
        return None;
    }
    let query = Query::new(cluster, scores, pod, policy);
    let fits = |node: &Node| {
        let placement = place(cluster, node, &pod.request, &query);
        placement.is_ok_and(|placement| verify(node, &pod.request, &placement).is_ok())
            && intree_refusal(pod, node).is_none()
    };
    let mut best: Option<((usize, i32, i64), Eviction)> = None;
    for index in cluster.indices() {
        let (node, row) = (cluster.node(index), cluster.row(index));
        let is_ours = row.traits.priority_min < pod.priority
            && evaluate(row, &query).is_err()
            && intree_refusal(pod, node).is_none();
        if !is_ours {
            continue;
        }
        let ending = |other: &Pod| other.is_terminating && !other.request.is_empty();
        if node.pods.iter().any(|other| ending(other)) && fits(&node.without(ending)) {
            return None;
        }
        let Some(victims) = fewest(node, pod, &fits, &may_evict) else { continue };
        if !may_go(&victims) {
            continue;
        }
        let dearest = victims.iter().map(|victim| victim.priority).max().unwrap_or(i32::MIN);
        let sum = victims.iter().map(|victim| i64::from(victim.priority)).sum();
        let rank = (victims.len(), dearest, sum);
        let name = &node.facts.name;
        if best.as_ref().is_none_or(|(least, other)| (rank, name) < (*least, &other.node)) {
            best = Some((rank, Eviction { node: name.clone(), victims }));
        }
    }
    best.map(|(_, eviction)| eviction)
}

/// Victims on a node, none of which can be spared: the least harm of the sets that are found by sparing the dearest
/// first, those with the least first, and one side of the GPUs or the other first.
fn fewest(
    node: &Node,
    pod: &Pod,
    fits: &impl Fn(&Node) -> bool,
    may_evict: &impl Fn(&Pod) -> bool,
) -> Option<Vec<Arc<Pod>>> {
    let may_go = |other: &&Arc<Pod>| {
        other.priority < pod.priority
            && !other.is_terminating
            && !other.request.slices.is_empty()
            && may_evict(other)
    };
    let mut candidates: Vec<Arc<Pod>> = node.pods.iter().filter(may_go).cloned().collect();
    let without =
        |victims: &[Arc<Pod>]| node.without(|other| victims.iter().any(|victim| victim.key == other.key));
    if candidates.is_empty() || !fits(&without(&candidates)) {
        return None;
    }
    // One alone is the least there can be: lowest priority first.
    candidates.sort_by(|a, b| a.priority.cmp(&b.priority).then_with(|| a.key.cmp(&b.key)));
    if let Some(one) = candidates.iter().find(|one| fits(&without(std::slice::from_ref(one)))) {
        return Some(vec![one.clone()]);
    }
    let spare = |mut victims: Vec<Arc<Pod>>| {
        let mut at = 0;
        while at < victims.len() {
            let spared = victims.remove(at);
            if !fits(&without(&victims)) {
                victims.insert(at, spared);
                at += 1;
            }
        }
        victims
    };
    let place = |victim: &Arc<Pod>| {
        let first = node.placement(victim).and_then(|placement| placement.devices.first());
        first.map(|device| (device.gpu, device.start))
    };
    let mut dearest_first = candidates.clone();
    dearest_first.reverse();
    let mut smallest_first = candidates.clone();
    smallest_first.sort_by_key(|victim| victim.request.slices.len());
    // What is left to go then lies beside each other, on one side of a GPU or on the other.
    let mut by_place = candidates;
    by_place.sort_by_key(place);
    let mut backwards = by_place.clone();
    backwards.reverse();
    let harm = |victims: &Vec<Arc<Pod>>| {
        let priorities = || victims.iter().map(|victim| victim.priority);
        (victims.len(), priorities().max(), priorities().map(i64::from).sum::<i64>())
    };
    [dearest_first, smallest_first, by_place, backwards].into_iter().map(spare).min_by_key(harm)
}
