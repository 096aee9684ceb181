//! The queue of waiting pods and what each was told.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{Cluster, Hold, Placement, Pod, PodKey, Policy};
use crate::plan::no_place;
use crate::solver::{Query, Refusal, Scores};

/// Times that somebody else may take a nomination away before it is not made again.
const CLEARED_MAX: u32 = 3;

/// Position in the queue: priority, then age, then the order in which pods were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    priority: Reverse<i32>,
    created_s: i64,
    number: u64,
}

impl Rank {
    pub(super) fn priority(self) -> i32 {
        self.priority.0
    }
}

/// A waiting pod.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) pod: Arc<Pod>,
    pub(super) stand: Stand,
    told: Told,
    cleared: u32,
    pub(super) is_claimant: bool, // room was made for it by eviction, and is its own until it is bound
}

/// The last that was asked for in a pod's status.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Nothing,
    Node(Arc<str>),
    NoNode,
}

/// Where a waiting pod stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stand {
    /// It has not been placed on the cluster as it is.
    New,
    /// No node had room, on the cluster of the last turn.
    Nowhere,
    /// It should go here.
    Guest { node: Arc<str>, placement: Placement },
    /// Room is being made for it here, by preemption: kube-scheduler's or Tangram's.
    Claim { node: Arc<str> },
}

impl Stand {
    pub(super) fn node(&self) -> Option<&Arc<str>> {
        match self {
            Self::Guest { node, .. } | Self::Claim { node } => Some(node),
            Self::New | Self::Nowhere => None,
        }
    }
}

/// What a pod's status should say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// The pod, in the newest version seen.
    pub pod: Arc<Pod>,
    /// The node to nominate; `None` withdraws the nomination that Tangram made.
    pub node: Option<Arc<str>>,
}

/// All nominations.
#[derive(Debug)]
pub struct Nominator {
    pub(super) scores: Arc<Scores>,
    pub(super) policy: Policy,
    pub(super) holds: Arc<[Hold]>,
    pub(super) base: Cluster,
    pub(super) held: Cluster, // base with the guests
    pub(super) entries: BTreeMap<Rank, Entry>,
    ranks: BTreeMap<PodKey, Rank>,
    pub(super) guests: BTreeMap<Arc<str>, BTreeSet<Rank>>, // by node
    pub(super) stale: BTreeSet<Arc<str>>, // nodes of `held` that are not what `base` and the guests make
    pub(super) freed: BTreeSet<Arc<str>>, // nodes that may have more room than in the last turn
    seen: u64,
}

impl Nominator {
    /// No pod, no node.
    pub fn new(scores: Arc<Scores>, policy: Policy) -> Self {
        Self {
            scores,
            policy,
            holds: Arc::default(),
            base: Cluster::default(),
            held: Cluster::default(),
            entries: BTreeMap::new(),
            ranks: BTreeMap::new(),
            guests: BTreeMap::new(),
            stale: BTreeSet::new(),
            freed: BTreeSet::new(),
            seen: 0,
        }
    }

    /// Prices that hold from now on.
    pub fn reprice(&mut self, scores: &Arc<Scores>) {
        self.scores = scores.clone();
    }

    /// Places that are kept for pods that move, with their stand-ins in every cluster that follows: a pod that one is
    /// for goes there and nowhere else.
    pub fn hold(&mut self, holds: &Arc<[Hold]>) {
        if self.holds == *holds {
            return;
        }
        let before = std::mem::replace(&mut self.holds, holds.clone());
        let is_meant = |pod: &Pod| before.iter().chain(holds.iter()).any(|hold| hold.is_for(pod));
        let meant = self.entries.iter().filter(|(_, entry)| is_meant(&entry.pod));
        for rank in meant.map(|(rank, _)| *rank).collect::<Vec<_>>() {
            self.stand(rank, Stand::New);
        }
    }

    /// The place that is kept for a pod.
    pub fn held_for(&self, pod: &Pod) -> Option<&Hold> {
        self.holds.iter().find(|hold| hold.is_for(pod))
    }

    /// Number of pods that wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no pod waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The pod waits like this, or (`None`) does not wait any more.
    pub fn pod(&mut self, key: &PodKey, pod: Option<Arc<Pod>>) {
        let known = self.ranks.get(key).copied();
        let known = known.filter(|rank| {
            let old = &self.entries[rank].pod;
            pod.as_ref().is_some_and(|pod| pod.uid == old.uid && pod.priority == old.priority)
        });
        let Some(rank) = known else {
            self.remove(key);
            if let Some(pod) = pod {
                self.add(pod);
            }
            return;
        };
        let Some(pod) = pod else { return };
        let entry = self.entries.get_mut(&rank).expect("every rank has its entry");
        let nominated = |pod: &Pod| pod.waiting.as_ref().and_then(|waiting| waiting.nominated.clone());
        let (before, after) = (nominated(&entry.pod), nominated(&pod));
        let has_changed = entry.pod.request != pod.request || entry.pod.demand != pod.demand;
        entry.pod = pod.clone();
        if is_foreign(&pod, &entry.told) {
            let node = after.expect("a foreign nomination names a node");
            self.stand(rank, Stand::Claim { node });
        } else if before.is_some() && after.is_none() && matches!(entry.told, Told::Node(_)) {
            // Somebody took it away: a few times it is made again, then not.
            entry.cleared += 1;
            if entry.cleared <= CLEARED_MAX {
                entry.told = Told::Nothing;
            }
        } else if matches!(entry.stand, Stand::Claim { .. }) && before.is_some() && after.is_none()
            || has_changed
        {
            self.stand(rank, Stand::New);
        }
    }

    fn add(&mut self, pod: Arc<Pod>) {
        self.seen += 1;
        let waiting = pod.waiting.clone().unwrap_or_default();
        let rank = Rank { priority: Reverse(pod.priority), created_s: pod.created_s, number: self.seen };
        self.ranks.insert(pod.key.clone(), rank);
        // A nomination of an earlier life of this process counts as told.
        let own = waiting.nominated.clone().filter(|_| !is_foreign(&pod, &Told::Nothing));
        let claim = waiting.nominated.clone().filter(|_| own.is_none());
        let told = own.map_or(Told::Nothing, Told::Node);
        self.entries.insert(rank, Entry { pod, stand: Stand::New, told, cleared: 0, is_claimant: false });
        if let Some(node) = claim {
            self.stand(rank, Stand::Claim { node });
        }
    }

    fn remove(&mut self, key: &PodKey) {
        let Some(rank) = self.ranks.remove(key) else { return };
        self.stand(rank, Stand::New);
        self.entries.remove(&rank);
    }

    /// Gives a pod another stand; the node that it leaves has more room.
    pub(super) fn stand(&mut self, rank: Rank, stand: Stand) {
        let Some(entry) = self.entries.get_mut(&rank) else { return };
        entry.is_claimant = matches!(stand, Stand::Claim { .. });
        let before = std::mem::replace(&mut entry.stand, stand);
        let after = entry.stand.node().cloned();
        if let Some(node) = before.node() {
            if let Some(guests) = self.guests.get_mut(node) {
                guests.remove(&rank);
                if guests.is_empty() {
                    self.guests.remove(node);
                }
            }
            self.stale.insert(node.clone());
            self.freed.insert(node.clone());
        }
        if let Some(node) = after {
            self.stale.insert(node.clone());
            self.guests.entry(node).or_default().insert(rank);
        }
    }

    /// Room is being made for a pod on a node: it gets the place as soon as it fits.
    pub fn claim(&mut self, key: &PodKey, node: &Arc<str>) {
        let Some(rank) = self.ranks.get(key).copied() else { return };
        self.stand(rank, Stand::Claim { node: node.clone() });
        if let Some(entry) = self.entries.get_mut(&rank) {
            entry.told = Told::Node(node.clone());
        }
    }

    /// The room that was being made for a pod did not come about in time: it looks for another place.
    pub fn unclaim(&mut self, key: &PodKey) {
        let Some(rank) = self.ranks.get(key).copied() else { return };
        if matches!(self.entries[&rank].stand, Stand::Claim { .. }) {
            self.stand(rank, Stand::New);
        }
    }

    /// The room that was being made for a pod is there: it gets its place, and is told so once more, for
    /// kube-scheduler looks again at a pod that it has refused only when something about it changes.
    pub(super) fn claimed(&mut self, rank: Rank, node: &Arc<str>, placement: Placement) {
        if let Some(entry) = self.entries.get_mut(&rank) {
            if !entry.pod.request.slices.is_empty() {
                entry.told = Told::Nothing;
            }
            entry.stand = Stand::Guest { node: node.clone(), placement };
        }
    }

    /// A pod that waits, in the newest version seen.
    pub fn newest(&self, key: &PodKey) -> Option<&Arc<Pod>> {
        self.ranks.get(key).and_then(|rank| self.entries.get(rank)).map(|entry| &entry.pod)
    }

    /// What was asked for did not come about: it is asked for again.
    pub fn untold(&mut self, key: &PodKey) {
        if let Some(entry) = self.ranks.get(key).and_then(|rank| self.entries.get_mut(rank)) {
            entry.told = Told::Nothing;
        }
    }

    /// What pods' statuses should say and do not. Each is given once.
    pub(super) fn advice(&mut self) -> Vec<Advice> {
        let mut advice = Vec::new();
        for entry in self.entries.values_mut() {
            let node = match &entry.stand {
                Stand::Guest { node, .. } => Some(node.clone()),
                Stand::Nowhere => None,
                Stand::New | Stand::Claim { .. } => continue, // nothing decided; or kept off
            };
            let is_said = match &entry.told {
                Told::Node(told) => node.as_ref() == Some(told),
                Told::NoNode | Told::Nothing => node.is_none(), // nothing to withdraw
            };
            if !is_said && entry.cleared <= CLEARED_MAX {
                entry.told = node.clone().map_or(Told::NoNode, Told::Node);
                advice.push(Advice { pod: entry.pod.clone(), node });
            }
        }
        advice
    }

    /// Pods for which no node has room, in the order of the queue.
    pub fn nowhere(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.entries.values().filter(|entry| entry.stand == Stand::Nowhere).map(|entry| &entry.pod)
    }

    /// Pods for which room is being made, or has just been made, by node; in the order of the queue.
    pub fn claims(&self) -> BTreeMap<Arc<str>, Vec<Arc<Pod>>> {
        let mut claims: BTreeMap<Arc<str>, Vec<Arc<Pod>>> = BTreeMap::new();
        for entry in self.entries.values().filter(|entry| entry.is_claimant) {
            if let Some(node) = entry.stand.node() {
                claims.entry(node.clone()).or_default().push(entry.pod.clone());
            }
        }
        claims
    }

    /// Nominations that hold, by pod.
    pub fn nominated(&self) -> impl Iterator<Item = (&PodKey, &Arc<str>)> {
        self.entries.values().filter_map(|entry| Some((&entry.pod.key, entry.stand.node()?)))
    }

    /// Why no node has room for a pod, in one sentence that stays the same while the reasons do.
    pub fn why(&self, pod: &Pod) -> String {
        let query = Query::new(&self.base, &self.scores, pod, self.policy);
        let reasons: Vec<Refusal> = no_place(&self.base, pod, &query).refusals.into_keys().collect();
        // What says the least about this pod comes last, and only when nothing else is to be said.
        let is_beside = |refusal: &&Refusal| refusal.is_final() || matches!(refusal, Refusal::InTree(_));
        let close: Vec<&Refusal> = reasons.iter().filter(|refusal| !is_beside(refusal)).collect();
        let shown = if close.is_empty() { reasons.iter().collect() } else { close };
        let texts: Vec<String> = shown.into_iter().map(ToString::to_string).collect();
        match texts.as_slice() {
            [] if self.base.is_empty() => "no node is known".to_owned(),
            [] => "nodes have room, but other waiting pods come first".to_owned(),
            texts => texts.join("; "),
        }
    }
}

/// Whether a pod is nominated by somebody else. Tangram's own nominations are marked by its condition.
fn is_foreign(pod: &Pod, told: &Told) -> bool {
    let Some(waiting) = &pod.waiting else { return false };
    let Some(node) = &waiting.nominated else { return false };
    let is_marked = waiting.condition.as_ref().is_some_and(|(is_true, message)| *is_true && message == node);
    !is_marked && *told != Told::Node(node.clone())
}
