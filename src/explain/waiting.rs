//! A pod that has no node.

use std::cmp::Reverse;
use std::sync::Arc;

use super::remedy::{Remedies, remedies};
use crate::model::{Cluster, NodeIndex, Pod, Policy};
use crate::plan::{NoPlace, Place, choose};
use crate::solver::{Query, Refusal, Scores, evaluate, intree_refusal};

/// Nodes that are told.
const NEAREST_MAX: usize = 5;

/// Why a pod waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Waits {
    /// Scheduling gates keep it from being scheduled at all.
    pub is_gated: bool,
    /// Where it could be now, or who refuses it.
    pub now: Result<Place, NoPlace>,
    /// The nodes that are nearest to taking it.
    pub nearest: Vec<Nearest>,
    /// What would let it run; nothing is looked for where it could run now.
    pub remedies: Remedies,
}

/// A node that refuses, and what it lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nearest {
    /// The node.
    pub node: Arc<str>,
    /// Why it refuses.
    pub refusal: Refusal,
    /// The same GPU by GPU.
    pub details: Vec<String>,
}

/// Explains a pod that waits.
pub(super) fn waits(cluster: &Cluster, scores: &Scores, policy: Policy, pod: &Arc<Pod>) -> Waits {
    let now = choose(cluster, scores, policy, pod).map(|(_, place)| place);
    let is_gated = pod.waiting.as_ref().is_some_and(|waiting| waiting.is_gated);
    if now.is_ok() {
        return Waits { is_gated, now, nearest: Vec::new(), remedies: Remedies::default() };
    }
    let nearest = nearest(cluster, scores, policy, pod);
    Waits { is_gated, now, nearest, remedies: remedies(cluster, scores, policy, pod) }
}

/// The nodes that lack least: first those that only kube-scheduler's filters refuse, then by how much is free.
fn nearest(cluster: &Cluster, scores: &Scores, policy: Policy, pod: &Pod) -> Vec<Nearest> {
    let query = Query::new(cluster, scores, pod, policy);
    let free = |index: NodeIndex| -> u32 {
        let row = cluster.row(index);
        row.occupancies.iter().map(|&occupancy| scores.fragmentation(occupancy).free).sum()
    };
    let mut ranked: Vec<_> = Vec::new();
    for index in cluster.indices() {
        let node = cluster.node(index);
        let refusal = evaluate(cluster.row(index), &query).err();
        let filter = intree_refusal(pod, node);
        let rank = match (&refusal, filter) {
            (None, _) => 0,
            (Some(refusal), None) if !refusal.is_final() => 1,
            (Some(refusal), Some(_)) if !refusal.is_final() => 2,
            (Some(_), _) => continue, // it never could
        };
        let refusal = filter.map(Refusal::InTree).or(refusal);
        let Some(refusal) = refusal else { continue };
        ranked.push(((rank, Reverse(free(index)), &node.facts.name), index, refusal));
    }
    if ranked.len() > NEAREST_MAX {
        ranked.select_nth_unstable_by(NEAREST_MAX - 1, |a, b| a.0.cmp(&b.0));
        ranked.truncate(NEAREST_MAX);
    }
    ranked.sort_by(|a, b| a.0.cmp(&b.0));
    let told = |(_, index, refusal): (_, NodeIndex, Refusal)| Nearest {
        node: cluster.node(index).facts.name.clone(),
        refusal,
        details: query.details(&std::iter::once(cluster.row(index))),
    };
    ranked.into_iter().map(told).collect()
}
