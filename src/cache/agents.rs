//! Which agents are alive: those that renew their Lease.
//!
//! Clocks of two machines are never compared. As leader election does in Kubernetes' own clients, what counts is
//! when a renewal was *seen*, by the clock of this process; the time that stands in the Lease only has to be
//! another than before. And only time counts during which this process listened: an API server that was gone for
//! an hour, or a process that was stopped, says nothing about agents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::apply::Cache;
use crate::model::Node;

/// Between two signs that the Leases are known, in milliseconds; what is longer is a time without ears. The API
/// server is asked every second, and a slow answer takes a few.
const GAP_MAX_MS: u64 = 10_000;

/// What the Lease of an agent says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// `metadata.resourceVersion`; 0 where it is not known.
    pub revision: u64,
    /// `spec.renewTime` as it stands there: the agent's own clock, so nothing but equal or not.
    pub renewed: Arc<str>,
    /// `spec.leaseDurationSeconds`, in milliseconds.
    ///
    /// An agent is silent when it was not heard for so long: that is what the field means by the API ("measured
    /// against the time of last observed renewTime"). The agent writes four times the pause between two renewals,
    /// as kubelets do, so a lost one, or a slow API server, silences nobody; and longer would only mean more pods
    /// that wait in vain for an instance that nobody makes.
    pub duration_ms: u64,
}

/// How many agents have a Lease.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Agents {
    /// Those that are heard.
    pub alive: usize,
    /// Those that were not heard for too long.
    pub silent: usize,
}

/// When each agent was last heard.
#[derive(Debug, Default)]
pub(super) struct Heard {
    agents: BTreeMap<Arc<str>, Agent>, // by node
    known_ms: Option<u64>,             // the last moment at which all Leases were known
    listened_ms: u64,                  // time spent listening
}

#[derive(Debug)]
struct Agent {
    renewal: Renewal,
    heard_ms: u64, // in time spent listening
    is_silent: bool,
}

impl Heard {
    fn renewed(&mut self, node: &Arc<str>, renewal: Renewal) {
        let heard = Agent { renewal, heard_ms: self.listened_ms, is_silent: false };
        match self.agents.get_mut(node) {
            None => drop(self.agents.insert(node.clone(), heard)),
            // Late, or somebody else wrote to it.
            Some(known) if heard.renewal.revision < known.renewal.revision => {}
            Some(known) if heard.renewal.renewed == known.renewal.renewed => known.renewal = heard.renewal,
            Some(known) => *known = heard,
        }
    }

    /// Counts the time until `at_ms`, and gives the nodes whose agents are silent by now.
    fn listened(&mut self, at_ms: u64) -> Vec<Arc<str>> {
        let gap_ms = at_ms.saturating_sub(self.known_ms.unwrap_or(at_ms));
        self.known_ms = self.known_ms.max(Some(at_ms));
        if gap_ms <= GAP_MAX_MS {
            self.listened_ms += gap_ms;
        }
        let mut silent = Vec::new();
        for (node, agent) in self.agents.iter_mut().filter(|(_, agent)| !agent.is_silent) {
            agent.is_silent = self.listened_ms - agent.heard_ms > agent.renewal.duration_ms;
            silent.extend(agent.is_silent.then(|| node.clone()));
        }
        silent
    }
}

impl Cache {
    /// How many agents have a Lease, on whatever nodes.
    pub fn agents(&self) -> Agents {
        let agents = self.live.iter().flat_map(|live| live.heard.agents.values());
        agents.fold(Agents::default(), |Agents { alive, silent }, agent| Agents {
            alive: alive + usize::from(!agent.is_silent),
            silent: silent + usize::from(agent.is_silent),
        })
    }

    /// Whether the agent of a node was heard once, and not for too long now.
    pub(super) fn is_silent(&self, node: &str) -> bool {
        self.agent(node).is_some_and(|agent| agent.is_silent)
    }

    /// Whether the agent of a node was ever heard.
    pub(super) fn is_heard(&self, node: &str) -> bool {
        self.agent(node).is_some()
    }

    fn agent(&self, node: &str) -> Option<&Agent> {
        self.live.as_ref()?.heard.agents.get(node)
    }

    pub(super) fn agent_seen(&mut self, node: &Arc<str>, renewal: Option<Renewal>) -> bool {
        let Some(live) = &mut self.live else { return false };
        match renewal {
            Some(renewal) => live.heard.renewed(node, renewal),
            None => drop(live.heard.agents.remove(node)),
        }
        self.mark(node)
    }

    pub(super) fn listened(&mut self, at_ms: u64) -> bool {
        let Some(live) = &mut self.live else { return false };
        let silent = live.heard.listened(at_ms);
        silent.iter().filter(|node| self.mark(node)).count() > 0
    }

    /// Forgets agents without a Lease in a complete list.
    pub(super) fn keep_agents(&mut self, nodes: &BTreeSet<&str>) -> bool {
        let known = self.live.iter().flat_map(|live| live.heard.agents.keys());
        let gone: Vec<Arc<str>> = known.filter(|node| !nodes.contains(&***node)).cloned().collect();
        gone.iter().filter(|node| self.agent_seen(node, None)).count() > 0
    }

    /// Brings a node up to date with what is known of its agent; whether that changed it.
    fn mark(&mut self, name: &Arc<str>) -> bool {
        let is_silent = self.is_silent(name);
        let Some(node) = self.cluster.get(name).filter(|node| is_silent || node.is_silent) else {
            return false; // as nearly always
        };
        let marked = Node::clone(node).with_agent(is_silent);
        let is_changed = marked.is_silent != node.is_silent;
        if is_changed {
            self.put(marked);
        }
        is_changed
    }
}
