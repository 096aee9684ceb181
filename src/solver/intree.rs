//! kube-scheduler's own filters, for answers that must hold without asking it.
//!
//! Modelled: `NodeUnschedulable`, `NodeName`, `TaintToleration`, `NodeAffinity` (selector and required
//! terms), `NodePorts`, `NodeResourcesFit` (CPU, memory, ephemeral storage, pods). The texts are
//! kube-scheduler's. Not modelled: volumes, affinity between pods, topology spread.

use std::sync::Arc;

use crate::model::{Demand, Expression, Node, NodeFacts, Operator, Pod, Taint, TaintEffect, Toleration};

/// The first of kube-scheduler's filters that refuses the pod on this node, in kube-scheduler's order.
pub fn intree_refusal(pod: &Pod, node: &Node) -> Option<&'static str> {
    let (demand, facts) = (&pod.demand, &*node.facts);
    if facts.is_unschedulable && !tolerates_cordon(demand) {
        return Some("node(s) were unschedulable");
    }
    if pod.node.as_ref().is_some_and(|name| *name != facts.name) {
        return Some("node(s) didn't match the requested node name");
    }
    let repels = |taint: &&Taint| taint.effect != TaintEffect::PreferNoSchedule;
    if facts.taints.iter().filter(repels).any(|taint| !is_tolerated(&demand.tolerations, taint)) {
        return Some("node(s) had untolerated taint(s)");
    }
    if !matches_selector(demand, facts) {
        return Some("node(s) didn't match Pod's node affinity/selector");
    }
    lacking(demand, node)
}

/// The first of host ports, CPU, memory, ephemeral storage and pods that other pods have left too little of.
pub fn lacking(demand: &Demand, node: &Node) -> Option<&'static str> {
    let taken = || node.pods.iter().flat_map(|pod| &pod.demand.host_ports);
    if demand.host_ports.iter().any(|port| taken().any(|other| port.conflicts_with(other))) {
        return Some("node(s) didn't have free ports for the requested pod ports");
    }
    let asked = demand.resources.named();
    let left = node.facts.allocatable.named().into_iter().zip(node.used.named());
    left.zip(asked)
        .find(|(((_, allocatable), (_, used)), (_, asked))| {
            *asked > 0 && *asked > allocatable.saturating_sub(*used)
        })
        .map(|(_, (name, _))| insufficient(name))
}

fn insufficient(resource: &str) -> &'static str {
    match resource {
        "cpu" => "Insufficient cpu",
        "memory" => "Insufficient memory",
        "ephemeral-storage" => "Insufficient ephemeral-storage",
        _ => "Too many pods",
    }
}

fn tolerates_cordon(demand: &Demand) -> bool {
    let cordon = Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        value: "".into(),
        effect: TaintEffect::NoSchedule,
    };
    is_tolerated(&demand.tolerations, &cordon)
}

fn is_tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| {
        toleration.key.as_ref().is_none_or(|key| *key == taint.key)
            && toleration.value.as_ref().is_none_or(|value| *value == taint.value)
            && toleration.effect.is_none_or(|effect| effect == taint.effect)
    })
}

fn matches_selector(demand: &Demand, facts: &NodeFacts) -> bool {
    let selected = demand.node_selector.iter().all(|(key, value)| facts.labels.get(key) == Some(value));
    let label = |expression: &Expression| match &expression.key {
        Some(key) => facts.labels.get(key),
        None => Some(&facts.name),
    };
    let term_holds = |term: &Vec<Expression>| {
        !term.is_empty() && term.iter().all(|expression| holds(expression, label(expression)))
    };
    selected && demand.affinity.as_ref().is_none_or(|terms| terms.iter().any(term_holds))
}

/// Whether a requirement holds for the value of its label, where there is such a label.
pub(super) fn holds(expression: &Expression, label: Option<&Arc<str>>) -> bool {
    let is_listed = label.is_some_and(|label| expression.values.contains(label));
    let compared = || {
        let number = label?.parse::<i64>().ok()?;
        Some(number.cmp(&expression.values.first()?.parse::<i64>().ok()?))
    };
    match expression.operator {
        Operator::In => is_listed,
        Operator::NotIn => !is_listed,
        Operator::Exists => label.is_some(),
        Operator::DoesNotExist => label.is_none(),
        Operator::Gt => compared() == Some(std::cmp::Ordering::Greater),
        Operator::Lt => compared() == Some(std::cmp::Ordering::Less),
    }
}
