//! Whether the model is what its ground state says, and where it differs from another model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::apply::Cache;
use crate::model::{Node, NodeFacts, Pod, PodKey};

/// One difference between two models of one cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The object, for example `Pod research/train-0`.
    pub object: String,
    /// What of it differs.
    pub field: &'static str,
    /// What this model says.
    pub here: String,
    /// What the other one says.
    pub there: String,
}

impl Cache {
    /// What in the model does not follow from its ground state: nothing, unless Tangram has a defect.
    pub fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut by_node: BTreeMap<&Arc<str>, BTreeSet<&PodKey>> = BTreeMap::new();
        for pod in self.pods.values() {
            if let Some(node) = &pod.node {
                by_node.entry(node).or_default().insert(&pod.key);
            }
        }
        for index in self.cluster.indices() {
            let node = self.cluster.node(index);
            let name = &node.facts.name;
            let expected = by_node.remove(name).unwrap_or_default();
            let listed: BTreeSet<&PodKey> = node.pods.iter().map(|pod| &pod.key).collect();
            if expected != listed {
                problems.push(format!(
                    "node {name}: {} pods stand on it, {} are known",
                    listed.len(),
                    expected.len()
                ));
            }
            let report = self.reports.get(name).cloned();
            let rebuilt = Node::new(node.facts.clone(), report, node.pods.clone());
            let rebuilt = rebuilt.with_agent(self.is_silent(name));
            if rebuilt != **node {
                problems.push(format!("node {name} does not follow from its facts, report and pods"));
            }
        }
        problems
    }

    /// Where this model differs from `other`, by object. Versions do not count: they grow with every write.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let mut differences = Vec::new();
        let mut note = |object: String, field: &'static str, here: String, there: String| {
            if here != there {
                differences.push(Difference { object, field, here, there });
            }
        };
        let presence = |is_there: bool| if is_there { "present" } else { "absent" }.to_owned();
        for name in union(node_names(self), node_names(other)) {
            let (here, there) = (self.cluster.get(&name), other.cluster.get(&name));
            note(format!("Node {name}"), "presence", presence(here.is_some()), presence(there.is_some()));
            if let (Some(here), Some(there)) = (here, there)
                && here.facts != there.facts
            {
                note(format!("Node {name}"), "facts", facts(&here.facts), facts(&there.facts));
            }
        }
        for name in union(self.reports.keys().cloned(), other.reports.keys().cloned()) {
            let show = |cache: &Self| {
                cache.reports.get(&name).map_or_else(String::new, |report| format!("{report:?}"))
            };
            if self.reports.get(&name) == other.reports.get(&name) {
                continue;
            }
            note(format!("GpuNode {name}"), "report", show(self), show(other));
        }
        for key in union(self.pods.keys().cloned(), other.pods.keys().cloned()) {
            let (here, there) = (self.pods.get(&key), other.pods.get(&key));
            note(format!("Pod {key}"), "presence", presence(here.is_some()), presence(there.is_some()));
            if let (Some(here), Some(there)) = (here, there)
                && !here.means(there)
            {
                for ((field, here), (_, there)) in fields(here).into_iter().zip(fields(there)) {
                    note(format!("Pod {key}"), field, here, there);
                }
            }
        }
        differences
    }
}

fn node_names(cache: &Cache) -> impl Iterator<Item = Arc<str>> {
    cache.cluster.indices().map(|index| cache.cluster.node(index).facts.name.clone())
}

fn union<T: Ord>(a: impl Iterator<Item = T>, b: impl Iterator<Item = T>) -> BTreeSet<T> {
    a.chain(b).collect()
}

fn facts(facts: &NodeFacts) -> String {
    format!("{facts:?}")
}

fn fields(pod: &Pod) -> [(&'static str, String); 6] {
    [
        ("uid", pod.uid.to_string()),
        ("node", format!("{:?}", pod.node)),
        ("placement", format!("{:?}", pod.placement)),
        ("request", format!("{:?}", pod.request)),
        ("demand", format!("{:?}", pod.demand)),
        ("state", format!("{:?} {} {:?}", pod.priority, pod.is_terminating, pod.waiting)),
    ]
}
