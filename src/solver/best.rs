//! The one node where a pod costs least.

use super::{Cost, Query, evaluate, intree_refusal};
use crate::model::{Cluster, NodeIndex, Pod};

/// Nodes that kube-scheduler's own filters may refuse before the rest is sorted: most pods are refused by
/// none, and finding the least of many is cheaper than sorting them.
const TRIES: usize = 8;

/// The node where a pod costs least, first by name among equals, that neither Tangram nor the modelled
/// filters of kube-scheduler refuse.
pub fn best(cluster: &Cluster, pod: &Pod, query: &Query<'_>) -> Option<(Cost, NodeIndex)> {
    best_of(cluster, cluster.indices(), pod, query)
}

/// The same among some nodes.
pub fn best_of(
    cluster: &Cluster,
    nodes: impl Iterator<Item = NodeIndex>,
    pod: &Pod,
    query: &Query<'_>,
) -> Option<(Cost, NodeIndex)> {
    let cost_of = |index: NodeIndex| Some((evaluate(cluster.row(index), query).ok()?, index));
    let mut candidates: Vec<(Cost, NodeIndex)> = nodes.filter_map(cost_of).collect();
    let name = |candidate: &(Cost, NodeIndex)| &cluster.node(candidate.1).facts.name;
    let order =
        |a: &(Cost, NodeIndex), b: &(Cost, NodeIndex)| a.0.cmp(&b.0).then_with(|| name(a).cmp(name(b)));
    let passes = |candidate: &(Cost, NodeIndex)| intree_refusal(pod, cluster.node(candidate.1)).is_none();
    for _ in 0..TRIES {
        let (at, least) = candidates.iter().enumerate().min_by(|a, b| order(a.1, b.1))?;
        if passes(least) {
            return Some(*least);
        }
        candidates.swap_remove(at);
    }
    candidates.sort_unstable_by(order);
    candidates.into_iter().find(passes)
}
