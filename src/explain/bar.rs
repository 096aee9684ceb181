//! What keeps a pod from nodes that have the devices it asks for: taints, selectors, cordons.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::model::{Cluster, Demand, Node, Pod, Policy, Taint, TaintEffect, Toleration};
use crate::solver::{Query, Scores, evaluate, intree_refusal};
use crate::whatif::Change;

/// Something that is in the way, and would be gone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bar {
    /// The node is cordoned.
    Cordon(Arc<str>),
    /// The pod does not tolerate this taint: key, value.
    Taint(Arc<str>, Arc<str>),
    /// The pod's node selector asks for this label: key, value.
    Selector(Arc<str>, Arc<str>),
    /// The pod's required node affinity.
    Affinity,
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cordon(node) => write!(f, "node {node} is cordoned"),
            Self::Taint(key, value) if value.is_empty() => write!(f, "taint {key} is not tolerated"),
            Self::Taint(key, value) => write!(f, "taint {key}={value} is not tolerated"),
            Self::Selector(key, value) => write!(f, "the node selector asks for {key}={value}"),
            Self::Affinity => f.write_str("the required node affinity matches no node with room"),
        }
    }
}

/// Bars that are told.
const BARS_MAX: usize = 8;

/// Every single bar without which some node takes the pod, and on how many nodes it alone stands in the way.
pub(super) fn bars(cluster: &Cluster, scores: &Scores, policy: Policy, pod: &Pod) -> Vec<(Bar, usize)> {
    let query = Query::new(cluster, scores, pod, policy);
    let mut counts: BTreeMap<Bar, (Arc<Pod>, usize)> = BTreeMap::new();
    for index in cluster.indices() {
        if evaluate(cluster.row(index), &query).is_err() {
            continue;
        }
        let node = cluster.node(index);
        for bar in on(node, pod) {
            let lifted = bar.lifted(node);
            let (changed, count) = counts.entry(bar).or_insert_with_key(|bar| (bar.without(pod), 0));
            if intree_refusal(changed, lifted.as_ref().unwrap_or(node)).is_none() {
                *count += 1;
            }
        }
    }
    let mut bars: Vec<(Bar, usize)> = counts.into_iter().map(|(bar, (_, count))| (bar, count)).collect();
    bars.retain(|(_, count)| *count > 0);
    bars.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    bars.truncate(BARS_MAX);
    bars
}

/// The bars of one node: each kind once, since two of a kind are two changes.
fn on(node: &Node, pod: &Pod) -> BTreeSet<Bar> {
    let facts = &node.facts;
    let mut bars = BTreeSet::new();
    if facts.is_unschedulable {
        bars.insert(Bar::Cordon(facts.name.clone()));
    }
    let repels = |taint: &&Taint| taint.effect != TaintEffect::PreferNoSchedule && &*taint.key != CORDON;
    for taint in facts.taints.iter().filter(repels) {
        bars.insert(Bar::Taint(taint.key.clone(), taint.value.clone()));
    }
    for (key, value) in &pod.demand.node_selector {
        bars.insert(Bar::Selector(key.clone(), value.clone()));
    }
    if pod.demand.affinity.is_some() {
        bars.insert(Bar::Affinity);
    }
    bars
}

impl Bar {
    /// The pod without what of it is in the way.
    pub(super) fn without(&self, pod: &Pod) -> Arc<Pod> {
        let mut pod = pod.clone();
        let demand: &mut Demand = &mut pod.demand;
        match self {
            Self::Cordon(_) => {}
            Self::Taint(key, value) => demand.tolerations.push(Toleration {
                key: Some(key.clone()),
                value: Some(value.clone()),
                effect: None,
            }),
            Self::Selector(key, value) => {
                demand.node_selector.retain(|(own, wanted)| !(own == key && wanted == value));
            }
            Self::Affinity => demand.affinity = None,
        }
        Arc::new(pod)
    }

    /// What changes of the cluster.
    pub(super) fn change(&self) -> Option<Change> {
        match self {
            Self::Cordon(node) => Some(Change::Uncordon(node.clone())),
            Self::Taint(..) | Self::Selector(..) | Self::Affinity => None,
        }
    }

    /// The node without what of it is in the way.
    fn lifted(&self, node: &Node) -> Option<Node> {
        let Self::Cordon(name) = self else { return None };
        if node.facts.name != *name {
            return None;
        }
        let mut node = node.clone();
        let facts = Arc::make_mut(&mut node.facts);
        facts.is_unschedulable = false;
        facts.taints.retain(|taint: &Taint| &*taint.key != CORDON);
        Some(node)
    }
}

/// Taint of a cordoned node.
const CORDON: &str = "node.kubernetes.io/unschedulable";
