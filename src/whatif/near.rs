//! A part of a large cluster in which room for a pod is looked for: the nodes that are nearest to having it.

use std::cmp::Reverse;

use crate::model::{Cluster, NodeIndex, Pod, Row};
use crate::solver::{Query, Scores, evaluate};

/// A part of a cluster.
#[derive(Debug, Clone)]
pub(super) struct Near {
    /// The nodes.
    pub(super) cluster: Cluster,
    /// Whether these are all that could matter.
    pub(super) is_all: bool,
}

/// At most `most` nodes: those on which a pod could be with others gone, and those that have the most room for
/// others.
pub(super) fn near(
    cluster: &Cluster,
    scores: &Scores,
    pod: &Pod,
    query: &Query<'_>,
    most: usize,
    matters: impl Fn(NodeIndex) -> bool,
) -> Near {
    let could = |index: &NodeIndex| match evaluate(cluster.row(*index), query) {
        Ok(_) => true,
        Err(refusal) => !refusal.is_final(),
    };
    let mut nodes: Vec<NodeIndex> = cluster.indices().filter(|index| matters(*index)).collect();
    let is_all = nodes.len() <= most;
    if !is_all {
        // Only the best are sorted: of thousands of nodes few are looked at.
        let key = |index: &NodeIndex| {
            let free = free(cluster.row(*index), scores, pod);
            (!could(index), Reverse(free), cluster.node(*index).facts.name.clone())
        };
        let mut keyed: Vec<_> = nodes.into_iter().map(|index| (key(&index), index)).collect();
        keyed.select_nth_unstable(most - 1);
        keyed.truncate(most);
        nodes = keyed.into_iter().map(|(_, index)| index).collect();
    }
    let mut part = Cluster::default();
    for index in nodes {
        part.put(cluster.node(index).clone());
    }
    Near { cluster: part, is_all }
}

/// Free memory slices, or free units of what the pod asks for.
fn free(row: Row<'_>, scores: &Scores, pod: &Pod) -> u32 {
    if pod.request.slices.is_empty() {
        return row.pools.iter().map(|pool| pool.free).max().unwrap_or(0);
    }
    row.occupancies.iter().map(|&occupancy| scores.fragmentation(occupancy).free).sum()
}
