//! A pod that has a node.

use std::sync::Arc;

use crate::model::{Cluster, Node, Placement, Pod, Policy};
use crate::solver::{Cost, Query, Refusal, Scores, evaluate, intree_refusal, place};
use crate::whatif::unbound;

/// Other nodes that are told.
const OTHERS_MAX: usize = 5;

/// Where a pod is, and what other nodes would cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// Its node.
    pub node: Arc<str>,
    /// Its GPU instances, as the kubelet has it where it says so.
    pub placement: Placement,
    /// What its node would cost if it were placed now, or why it would not be placed there.
    pub cost: Result<Cost, Refusal>,
    /// Nodes that would take it now, its own among them.
    pub feasible: usize,
    /// How many of those cost less than its own.
    pub cheaper: usize,
    /// The cheapest others, cheapest first.
    pub others: Vec<Other>,
}

/// A node that would take the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// The node.
    pub node: Arc<str>,
    /// The GPU instances that it would get there.
    pub placement: Placement,
    /// What that costs.
    pub cost: Cost,
}

/// Compares a pod's node with all others, as if it were to be placed now.
pub(super) fn placed(
    cluster: &Cluster,
    scores: &Scores,
    policy: Policy,
    pod: &Arc<Pod>,
    node: &Arc<Node>,
) -> Placed {
    let mut without = cluster.clone();
    without.put(node.without(|other| other.key == pod.key).into());
    let waiting = unbound(pod);
    let query = Query::new(&without, scores, &waiting, policy);
    let name = &node.facts.name;
    let mut costs: Vec<(Cost, Arc<str>)> = Vec::new();
    let mut own = Err(Refusal::UnknownNode);
    for index in without.indices() {
        let node = without.node(index);
        let cost = evaluate(without.row(index), &query).and_then(|cost| {
            intree_refusal(&waiting, node).map_or(Ok(cost), |why| Err(Refusal::InTree(why)))
        });
        if let Ok(cost) = &cost {
            costs.push((*cost, node.facts.name.clone()));
        }
        if node.facts.name == *name {
            own = cost;
        }
    }
    let cheaper = own.as_ref().map_or(0, |own| costs.iter().filter(|(cost, _)| cost < own).count());
    let feasible = costs.len();
    costs.retain(|(_, other)| other != name);
    if costs.len() > OTHERS_MAX {
        costs.select_nth_unstable(OTHERS_MAX - 1);
        costs.truncate(OTHERS_MAX);
    }
    costs.sort_unstable();
    let other = |(cost, node): (Cost, Arc<str>)| {
        let placement = place(&without, without.get(&node)?, &waiting.request, &query).ok()?;
        Some(Other { node, placement, cost })
    };
    let others = costs.into_iter().filter_map(other).collect();
    let placement = node.placement(pod).cloned().unwrap_or_default();
    Placed { node: name.clone(), placement, cost: own, feasible, cheaper, others }
}
