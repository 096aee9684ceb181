//! Hypothetical changes of a cluster, one after another on a copy.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use super::cut::{Cut, is_concerned, recut};
use super::grow::{CORDON, Template, like, of_machine};
use super::leave::{Fate, How, Leaver, fate, leavers};
use crate::model::{Cluster, Node, NodeFacts, Pinned, Pod, PodKey};
use crate::repack::Budget;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// So many nodes more.
    Add {
        /// What they are like.
        template: Template,
        /// How many.
        count: u32,
        /// Labels that they have beside the template's.
        labels: BTreeMap<Arc<str>, Arc<str>>,
    },
    /// The node vanishes; its pods are made anew elsewhere.
    Remove(Arc<str>),
    /// Nothing more is scheduled there.
    Cordon(Arc<str>),
    /// The opposite.
    Uncordon(Arc<str>),
    /// Cordoned, and its pods evicted as `kubectl drain --ignore-daemonsets` does.
    Drain(Arc<str>),
    /// GPUs cut anew, once the pods that hold something of them have left.
    Repartition {
        /// The node.
        node: Arc<str>,
        /// One GPU, or all.
        gpu: Option<u16>,
        /// How.
        cut: Cut,
    },
    /// The pod is evicted; where a controller makes it anew, it looks for a place behind all others.
    Evict(PodKey),
}

/// Why changes cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("changes[{at}]: {why}")]
pub struct ChangeError {
    /// Which change.
    pub at: usize,
    /// What is wrong with it.
    pub why: String,
}

/// Nodes that one question may add: as many as a large cluster has.
pub const NODES_MAX: u32 = 5_000;
/// Pods that changes may turn out.
pub const LEAVERS_MAX: usize = 10_000;

/// A cluster after changes.
#[derive(Debug, Clone)]
pub struct Changed {
    /// The cluster.
    pub cluster: Cluster,
    /// Names of the nodes that were added.
    pub added: Vec<Arc<str>>,
    /// Pods of the nodes that changed, with what becomes of them.
    pub leavers: Vec<Leaver>,
}

/// Applies changes in their order.
///
/// # Errors
/// The first that cannot be: a name that nothing has, too many nodes or pods, a layout that no GPU can have.
pub fn change(cluster: &Cluster, changes: &[Change], budgets: &[Budget]) -> Result<Changed, ChangeError> {
    let mut copy = Changed { cluster: cluster.clone(), added: Vec::new(), leavers: Vec::new() };
    for (at, change) in changes.iter().enumerate() {
        copy.apply(change, budgets).map_err(|why| ChangeError { at, why })?;
    }
    Ok(copy)
}

impl Changed {
    fn apply(&mut self, change: &Change, budgets: &[Budget]) -> Result<(), String> {
        match change {
            Change::Add { template, count, labels } => self.add(template, *count, labels)?,
            Change::Remove(name) => {
                let node = self.node(name)?;
                self.note(leavers(&node, How::Vanishing, budgets, |_| true))?;
                self.cluster.remove(name);
            }
            Change::Cordon(name) => {
                let node = self.node(name)?;
                self.cluster.put(cordoned(&node, true).into());
            }
            Change::Uncordon(name) => {
                let node = self.node(name)?;
                self.cluster.put(cordoned(&node, false).into());
            }
            Change::Drain(name) => {
                let node = self.node(name)?;
                let leavers = leavers(&node, How::Drained, budgets, |_| true);
                let node = cordoned(&node, true).without(|pod| is_gone(&leavers, pod));
                self.cluster.put(node.into());
                self.note(leavers)?;
            }
            Change::Repartition { node, gpu, cut } => self.repartition(node, *gpu, cut, budgets)?,
            Change::Evict(key) => self.evict(key)?,
        }
        Ok(())
    }

    fn node(&self, name: &str) -> Result<Arc<Node>, String> {
        self.cluster.get(name).cloned().ok_or_else(|| format!("there is no node {name:.253}"))
    }

    fn note(&mut self, leavers: Vec<Leaver>) -> Result<(), String> {
        if self.leavers.len() + leavers.len() > LEAVERS_MAX {
            return Err(format!("more than {LEAVERS_MAX} pods would have to leave their nodes"));
        }
        self.leavers.extend(leavers);
        Ok(())
    }

    fn add(
        &mut self,
        template: &Template,
        count: u32,
        labels: &BTreeMap<Arc<str>, Arc<str>>,
    ) -> Result<(), String> {
        let added = u32::try_from(self.added.len()).unwrap_or(u32::MAX);
        if count > NODES_MAX.saturating_sub(added) {
            return Err(format!("more than {NODES_MAX} nodes would be added"));
        }
        let example = match template {
            Template::Machine { .. } => None,
            Template::Like(name) => Some(self.node(name)?),
        };
        let stem = template.stem();
        let mut number = 0_u32;
        for _ in 0..count {
            let name = loop {
                number += 1;
                let name = format!("{stem}-new-{number}");
                if self.cluster.index(&name).is_none() {
                    break name;
                }
            };
            let node = match (template, &example) {
                (Template::Machine { machine, is_dynamic }, _) => of_machine(*machine, *is_dynamic, &name),
                (Template::Like(_), example) => like(example.as_ref().expect("it was looked up"), &name),
            };
            let node = if labels.is_empty() { node } else { labelled(&node, labels) };
            self.added.push(node.facts.name.clone());
            self.cluster.put(node.into());
        }
        Ok(())
    }

    fn repartition(
        &mut self,
        name: &str,
        gpu: Option<u16>,
        cut: &Cut,
        budgets: &[Budget],
    ) -> Result<(), String> {
        let node = self.node(name)?;
        let empty = recut(&node, gpu, cut).map_err(|why| format!("node {name}: {why}"))?;
        let leavers = leavers(&node, How::Drained, budgets, |pod| is_concerned(&node, gpu, pod));
        if let Some(Leaver { pod, fate, .. }) = leavers.iter().find(|leaver| !leaver.fate.is_gone()) {
            let why = match fate {
                Fate::Stays(why) => why.to_string(),
                Fate::OfNode(why) => why.to_string(),
                _ => String::new(),
            };
            return Err(format!("node {name}: pod {} holds a device of it and stays: {why}", pod.key));
        }
        let stays = node.pods.iter().filter(|pod| !is_gone(&leavers, pod)).cloned().collect();
        let recut = Node::new(empty.facts, empty.report, stays).with_agent(node.is_silent);
        self.cluster.put(recut.into());
        self.note(leavers)
    }

    fn evict(&mut self, key: &PodKey) -> Result<(), String> {
        let on = |index| {
            let node = self.cluster.node(index);
            Some((node.clone(), node.pod(key)?.clone()))
        };
        let found = self.cluster.indices().find_map(on);
        let (node, pod) = found.ok_or_else(|| format!("no pod {key:.510} stands on a node"))?;
        // Whoever asks has decided it: only what nobody makes anew has no place to look for.
        let fate = match fate(&pod, How::Vanishing, &[]) {
            // What a DaemonSet makes anew asks for its node again.
            Fate::Moves | Fate::OfNode(Pinned::DaemonSet) => Fate::MakesWay,
            Fate::OfNode(why) => return Err(format!("evicting pod {key} changes nothing: {why}")),
            other => other,
        };
        let left = node.without(|other| other.key == *key);
        let leaver = Leaver { pod, node: node.facts.name.clone(), fate };
        self.cluster.put(left.into());
        self.note(vec![leaver])
    }
}

fn is_gone(leavers: &[Leaver], pod: &Pod) -> bool {
    leavers.iter().any(|leaver| leaver.pod.key == pod.key && leaver.fate.is_gone())
}

fn cordoned(node: &Node, is_cordoned: bool) -> Node {
    let mut facts = NodeFacts::clone(&node.facts);
    facts.is_unschedulable = is_cordoned;
    facts.taints.retain(|taint| is_cordoned || *taint.key != *CORDON);
    with_facts(node, facts)
}

fn labelled(node: &Node, labels: &BTreeMap<Arc<str>, Arc<str>>) -> Node {
    let mut facts = NodeFacts::clone(&node.facts);
    facts.labels.extend(labels.iter().map(|(key, value)| (key.clone(), value.clone())));
    with_facts(node, facts)
}

fn with_facts(node: &Node, facts: NodeFacts) -> Node {
    Node::new(facts.into(), node.report.clone(), node.pods.clone()).with_agent(node.is_silent)
}
