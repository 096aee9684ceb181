//! One turn of the nominator: the cluster as it is, guests tried again where it changed, the rest placed.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::queue::{Advice, Nominator, Rank, Stand};
use crate::model::{Cluster, Node, NodeIndex, Placement, Pod};
use crate::solver::{Cost, Query, best, best_of, evaluate, intree_refusal, place, verify};

impl Nominator {
    /// Brings nominations up to date with a snapshot, choosing for at most `most` pods; says what pods'
    /// statuses should be told, and whether there is more to do.
    pub fn turn(&mut self, cluster: &Cluster, most: usize) -> (Vec<Advice>, bool) {
        self.settle(cluster);
        let freed: BTreeSet<Arc<str>> = std::mem::take(&mut self.freed);
        let freed: Vec<NodeIndex> = freed.iter().filter_map(|name| self.held.index(name)).collect();
        let waiting = self.entries.iter().filter(|(_, entry)| entry.stand.node().is_none());
        let waiting: Vec<(Rank, bool)> =
            waiting.map(|(rank, entry)| (*rank, entry.stand == Stand::New)).collect();
        let mut chosen = 0;
        let mut is_more = false;
        for (rank, is_new) in waiting {
            if is_new && chosen == most {
                is_more = true;
                continue;
            }
            if is_new {
                chosen += 1;
                self.choose(rank, None);
            } else if !freed.is_empty() {
                self.choose(rank, Some(&freed));
            }
        }
        (self.advice(), is_more || !self.freed.is_empty())
    }

    /// Takes over a snapshot, and puts the guests again onto nodes that changed or whose guests did.
    fn settle(&mut self, cluster: &Cluster) {
        let changed = cluster.changed_since(&self.base);
        let nodes = changed.iter().flat_map(|index| [self.base.at(*index), cluster.at(*index)]);
        let names: Vec<Arc<str>> = nodes.flatten().map(|node| node.facts.name.clone()).collect();
        self.freed.extend(names.iter().cloned());
        self.base = cluster.clone();
        if changed.len() > cluster.len().div_euclid(4) {
            self.held = cluster.clone(); // cheaper than node by node
            self.stale.extend(self.guests.keys().cloned());
        } else {
            self.stale.extend(names);
        }
        while let Some(name) = self.stale.pop_first() {
            if let Some(node) = self.base.get(&name).cloned() {
                let with_guests = self.with_guests(&name, &node);
                self.held.put(with_guests);
                continue;
            }
            self.held.remove(&name);
            for rank in self.guests.get(&name).cloned().unwrap_or_default() {
                self.stand(rank, Stand::New);
            }
        }
    }

    /// A node with its guests, in the order of the queue; those that do not fit any more have to go.
    fn with_guests(&mut self, name: &Arc<str>, base: &Arc<Node>) -> Arc<Node> {
        let mut node = base.clone();
        for rank in self.guests.get(name).cloned().unwrap_or_default() {
            let entry = &self.entries[&rank];
            let pod = entry.pod.clone();
            let is_claim = matches!(entry.stand, Stand::Claim { .. });
            if base.pod(&pod.key).is_some() {
                continue; // bound here, as it should be: that it waits no more is on its way
            }
            match self.fit(&node, &pod) {
                Some(placement) => {
                    if let Some(hold) = self.held_for(&pod) {
                        node = Arc::new(hold.off(&node));
                    }
                    node = Arc::new(node.with(&Arc::new(pod.bound_to(name.clone(), placement.clone()))));
                    if is_claim {
                        self.claimed(rank, name, placement);
                    } else if let Some(entry) = self.entries.get_mut(&rank) {
                        entry.stand = Stand::Guest { node: name.clone(), placement };
                    }
                }
                None if is_claim => {} // room is still being made
                None => self.stand(rank, Stand::New),
            }
        }
        node
    }

    /// Where a pod goes on a node, if it fits by every filter that is modelled.
    fn fit(&self, node: &Node, pod: &Pod) -> Option<Placement> {
        if node.pod(&pod.key).is_some() {
            return None; // bound already; that it waits no more is on its way
        }
        let bare = self.held_for(pod).map(|hold| (hold, hold.off(node)));
        if let Some((hold, bare)) = &bare {
            let is_free = hold.node == node.facts.name
                && intree_refusal(pod, bare).is_none()
                && verify(bare, &pod.request, &hold.placement).is_ok();
            return is_free.then(|| hold.placement.clone());
        }
        if intree_refusal(pod, node).is_some() {
            return None;
        }
        let query = Query::new(&self.held, &self.scores, pod, self.policy);
        let placement = place(&self.held, node, &pod.request, &query).ok()?;
        verify(node, &pod.request, &placement).ok()?;
        Some(placement)
    }

    /// Chooses a node for a pod: among all, or among those that have more room than when none had enough.
    fn choose(&mut self, rank: Rank, among: Option<&[NodeIndex]>) {
        let pod = self.entries[&rank].pod.clone();
        if let Some(hold) = self.held_for(&pod).cloned() {
            let found = self.held.get(&hold.node).and_then(|node| self.fit(node, &pod));
            self.stand(
                rank,
                match found {
                    Some(placement) => Stand::Guest { node: hold.node, placement },
                    None => Stand::Nowhere,
                },
            );
            return; // the node is made again, with this guest, in the next turn
        }
        let scores = self.scores.clone();
        let query = Query::new(&self.held, &scores, &pod, self.policy);
        let found = match among {
            None => best(&self.held, &pod, &query),
            Some(nodes) => best_of(&self.held, nodes.iter().copied(), &pod, &query),
        };
        let node = match found {
            Some((_, index)) => Some(self.held.node(index).clone()),
            None => self.displace(rank, &pod, among),
        };
        let Some(node) = node else {
            self.stand(rank, Stand::Nowhere);
            return;
        };
        let Some(placement) = place(&self.held, &node, &pod.request, &query).ok() else {
            self.stand(rank, Stand::Nowhere);
            return;
        };
        let name = node.facts.name.clone();
        let with_guest = Arc::new(node.with(&Arc::new(pod.bound_to(name.clone(), placement.clone()))));
        let was_stale = self.stale.contains(&name);
        self.stand(rank, Stand::Guest { node: name.clone(), placement });
        self.held.put(with_guest);
        if !was_stale {
            self.stale.remove(&name);
        }
    }

    /// Finds a node where the pod fits once guests of lower priority are gone, and sends those away.
    fn displace(&mut self, rank: Rank, pod: &Arc<Pod>, among: Option<&[NodeIndex]>) -> Option<Arc<Node>> {
        let is_lower = |guest: &Rank| guest.priority() < rank.priority();
        let mut best: Option<(Cost, Arc<str>, Arc<Node>)> = None;
        let scores = self.scores.clone();
        let query = Query::new(&self.held, &scores, pod, self.policy);
        let is_meant = |name: &Arc<str>| {
            among.is_none_or(|nodes| self.held.index(name).is_some_and(|index| nodes.contains(&index)))
        };
        for (name, guests) in
            self.guests.iter().filter(|(name, guests)| guests.iter().any(is_lower) && is_meant(name))
        {
            let Some(base) = self.base.get(name) else { continue };
            let mut node = Node::clone(base);
            for guest in guests.iter().filter(|guest| !is_lower(guest)) {
                let entry = &self.entries[guest];
                if let Stand::Guest { placement, .. } = &entry.stand {
                    node = node.with(&Arc::new(entry.pod.bound_to(name.clone(), placement.clone())));
                }
            }
            if self.fit(&node, pod).is_none() {
                continue;
            }
            let Ok(cost) = evaluate(self.held.columns(&node).row(), &query) else { continue };
            if best.as_ref().is_none_or(|(least, first, _)| (cost, name) < (*least, first)) {
                best = Some((cost, name.clone(), Arc::new(node)));
            }
        }
        let (_, name, node) = best?;
        let lower: Vec<Rank> = self.guests[&name].iter().copied().filter(is_lower).collect();
        for guest in lower {
            self.stand(guest, Stand::New);
        }
        Some(node)
    }
}
