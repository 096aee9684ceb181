//! The cluster as it becomes, step by step.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::stay::{Rules, Stay};
use super::{Allowance, Figures, Limits, Spot, Step};
use crate::mig::{Catalog, ModelRow, Occupancy};
use crate::model::{Cluster, Device, Node, Pod, PodKey, Policy};
use crate::solver::{Query, Scores, best_of, intree_refusal, place, verify};

/// A pod that holds devices.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    pub(super) pod: Arc<Pod>,
    pub(super) at: Spot,
    pub(super) memory_mib: u64,
    pub(super) stay: Option<Stay>,
}

impl Seat {
    /// Whether it is one GPU instance and nothing else.
    pub(super) fn is_single(&self) -> bool {
        self.pod.request.counted.is_empty() && self.pod.request.slices.len() == 1
    }
}

/// A seat that is to be somewhere else.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) seat: Seat,
    pub(super) to: Spot,
}

/// Moves and memory so far.
#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    moves: u32,
    memory_mib: u64,
}

/// A cluster in change.
#[derive(Debug, Clone)]
pub(super) struct Work<'a> {
    pub(super) cluster: Cluster,
    pub(super) scores: &'a Scores,
    pub(super) rules: Rules<'a>,
    pub(super) steps: Arc<Vec<Arc<Step>>>, // shared, as all here: an attempt is a clone
    limits: &'a Limits,
    all: Spent,
    per_namespace: Arc<BTreeMap<Arc<str>, Spent>>,
    masked: Cluster, // the same without what is shut
    shut_gpus: Arc<BTreeSet<(Arc<str>, u16)>>,
    shut_nodes: Arc<BTreeSet<Arc<str>>>,
}

impl<'a> Work<'a> {
    pub(super) fn new(cluster: &Cluster, scores: &'a Scores, rules: Rules<'a>, limits: &'a Limits) -> Self {
        Self {
            cluster: cluster.clone(),
            scores,
            rules,
            steps: Arc::default(),
            limits,
            all: Spent::default(),
            per_namespace: Arc::default(),
            masked: cluster.clone(),
            shut_gpus: Arc::default(),
            shut_nodes: Arc::default(),
        }
    }

    pub(super) fn figures(&self) -> Figures {
        Figures::of(&self.cluster, self.scores)
    }

    /// Nothing more is placed on this GPU.
    pub(super) fn shut_gpu(&mut self, node: &Arc<str>, gpu: u16) {
        Arc::make_mut(&mut self.shut_gpus).insert((node.clone(), gpu));
        if let Some(node) = self.cluster.get(node).cloned() {
            self.put(node);
        }
    }

    /// Nothing more is placed on this node.
    pub(super) fn shut_node(&mut self, node: &Arc<str>) {
        Arc::make_mut(&mut self.shut_nodes).insert(node.clone());
    }

    fn put(&mut self, node: Arc<Node>) {
        let name = &node.facts.name;
        let shut = self.shut_gpus.range((name.clone(), 0)..=(name.clone(), u16::MAX));
        let shut: Vec<u16> = shut.map(|(_, gpu)| *gpu).collect();
        let mut masked = node.clone();
        if !shut.is_empty() {
            for gpu in Arc::make_mut(&mut masked).gpus.iter_mut().filter(|gpu| shut.contains(&gpu.index)) {
                gpu.occupancy = Occupancy::CLOSED;
            }
        }
        self.masked.put(masked);
        self.cluster.put(node);
    }

    /// The pods of a node that hold devices, the largest first.
    pub(super) fn seats(&self, node: &Node) -> Vec<Seat> {
        let holders = node.pods.iter().filter(|pod| !pod.request.is_empty());
        let mut seats: Vec<Seat> = holders.map(|pod| self.seat(node, pod)).collect();
        seats.sort_by_key(|seat| Reverse(seat.memory_mib));
        seats
    }

    fn seat(&self, node: &Node, pod: &Arc<Pod>) -> Seat {
        let placement = node.placement(pod).cloned().unwrap_or_default();
        let counted = pod.request.counted.iter().map(|(resource, count)| {
            let pool = node.facts.pools.iter().find(|pool| pool.resource == *resource);
            u64::from(pool.map_or(0, |pool| pool.value_mib)) * u64::from(*count)
        });
        let slices = placement.devices.iter().map(|device| memory_mib(node, device));
        let memory_mib = counted.chain(slices).sum();
        let at = Spot { node: node.facts.name.clone(), placement };
        Seat { pod: pod.clone(), at, memory_mib, stay: self.rules.stay(node, pod) }
    }

    /// Takes a pod away from a node.
    pub(super) fn lift(&mut self, node: &str, key: &PodKey) {
        if let Some(node) = self.cluster.get(node) {
            let left = node.without(|pod| pod.key == *key);
            self.put(left.into());
        }
    }

    /// Puts a pod where it may be.
    pub(super) fn set(&mut self, pod: &Pod, spot: &Spot) {
        if let Some(node) = self.cluster.get(&spot.node) {
            let bound = pod.bound_to(spot.node.clone(), spot.placement.clone());
            let node = node.with(&Arc::new(bound));
            self.put(node.into());
        }
    }

    /// Where the production solver puts a pod, of what is not shut.
    pub(super) fn find(&self, pod: &Pod) -> Option<Spot> {
        let open = |name: &Arc<str>| self.shut_nodes.is_empty() || !self.shut_nodes.contains(name);
        self.find_among(pod, |node| open(&node.facts.name))
    }

    /// The same on one node.
    pub(super) fn find_on(&self, pod: &Pod, name: &Arc<str>) -> Option<Spot> {
        let pod = unbound(pod);
        let query = Query::new(&self.masked, self.scores, &pod, Policy::Pack);
        let node = self.masked.get(name).filter(|node| intree_refusal(&pod, node).is_none())?;
        let placement = place(&self.masked, node, &pod.request, &query).ok()?;
        Some(Spot { node: name.clone(), placement })
    }

    fn find_among(&self, pod: &Pod, is_open: impl Fn(&Node) -> bool) -> Option<Spot> {
        let pod = unbound(pod);
        let query = Query::new(&self.masked, self.scores, &pod, Policy::Pack);
        let nodes = self.masked.indices().filter(|index| is_open(self.masked.node(*index)));
        let (_, index) = best_of(&self.masked, nodes, &pod, &query)?;
        let node = self.masked.node(index);
        let placement = place(&self.masked, node, &pod.request, &query).ok()?;
        Some(Spot { node: node.facts.name.clone(), placement })
    }

    /// Whether a pod may be here beside all that is.
    pub(super) fn is_free(&self, pod: &Pod, spot: &Spot) -> bool {
        self.cluster.get(&spot.node).is_some_and(|node| is_free(node, pod, spot))
    }

    /// Places seats anew, the largest first, as if all of them were gone; carries the moves out. Where one finds no
    /// place, or there is no order, `None`, and this is left in between.
    pub(super) fn place_anew(&mut self, mut seats: Vec<Seat>) -> Option<()> {
        let mut bare = self.clone();
        for seat in &seats {
            bare.lift(&seat.at.node, &seat.pod.key);
        }
        seats.sort_by_key(|seat| Reverse(seat.memory_mib));
        let targets = bare.place_all(seats)?;
        self.carry(targets)
    }

    /// Finds places for seats that were lifted.
    pub(super) fn place_all(&mut self, seats: Vec<Seat>) -> Option<Vec<Target>> {
        let target = |seat: Seat| {
            let to = self.find(&seat.pod)?;
            self.set(&seat.pod, &to);
            Some(Target { seat, to })
        };
        seats.into_iter().map(target).collect()
    }

    /// Carries moves out in an order in which each place is free before its pod leaves the old one. In a cycle the
    /// smallest pod makes way to a spare place first.
    pub(super) fn carry(&mut self, mut waiting: Vec<Target>) -> Option<()> {
        waiting.retain(|target| target.seat.at != target.to);
        let mut detoured = BTreeSet::new();
        while !waiting.is_empty() {
            let before = waiting.len();
            waiting.retain(|target| !self.step(&target.seat, &target.to, false));
            if waiting.len() == before {
                self.detour(&mut waiting, &mut detoured)?;
            }
        }
        Some(())
    }

    /// The same end with no pod moving twice, where there is an order for that.
    pub(super) fn straightened(self, start: &Self) -> Self {
        let mut targets: Vec<Target> = Vec::new();
        for step in self.steps.iter() {
            let to = step.to.clone();
            if let Some(earlier) = targets.iter_mut().find(|target| target.seat.pod.key == step.pod.key) {
                earlier.to = to;
            } else {
                let (pod, at, memory_mib) = (step.pod.clone(), step.from.clone(), step.memory_mib);
                targets.push(Target { seat: Seat { pod, at, memory_mib, stay: None }, to });
            }
        }
        let mut direct = start.clone();
        if targets.len() == self.steps.len()
            || direct.carry(targets).is_none()
            || direct.all.memory_mib >= self.all.memory_mib
        {
            return self;
        }
        Self { steps: direct.steps, all: direct.all, per_namespace: direct.per_namespace, ..self }
    }

    /// One of the waiting pods makes way, each at most once.
    fn detour(&mut self, waiting: &mut [Target], detoured: &mut BTreeSet<PodKey>) -> Option<()> {
        waiting.sort_by(|a, b| {
            let rank = |target: &Target| (target.seat.memory_mib, target.seat.pod.key.clone());
            rank(a).cmp(&rank(b))
        });
        // Best where nobody waits for the place.
        let mut apart = self.clone();
        for Target { to, .. } in waiting.iter() {
            for device in &to.placement.devices {
                apart.shut_gpu(&to.node, device.gpu);
            }
        }
        for field in [&apart, &self.clone()] {
            for target in waiting.iter_mut() {
                let Some(spare) = field.find(&target.seat.pod) else { continue };
                if !detoured.contains(&target.seat.pod.key) && self.step(&target.seat, &spare, true) {
                    detoured.insert(target.seat.pod.key.clone());
                    target.seat.at = spare;
                    return Some(());
                }
            }
        }
        None
    }

    /// Moves a pod if its new place is free beside the old one, and the budgets allow it.
    fn step(&mut self, seat: &Seat, to: &Spot, is_detour: bool) -> bool {
        let namespace = &seat.pod.key.namespace;
        let all = self.all.with(seat);
        let own = self.per_namespace.get(namespace).copied().unwrap_or_default().with(seat);
        let is_allowed = all.is_within(&self.limits.all) && own.is_within(&self.limits.per_namespace);
        if !is_allowed || !self.is_free(&seat.pod, to) {
            return false;
        }
        self.all = all;
        Arc::make_mut(&mut self.per_namespace).insert(namespace.clone(), own);
        self.lift(&seat.at.node, &seat.pod.key);
        self.set(&seat.pod, to);
        let (pod, from, to) = (seat.pod.clone(), seat.at.clone(), to.clone());
        let step = Step { pod, from, to, memory_mib: seat.memory_mib, is_detour };
        Arc::make_mut(&mut self.steps).push(Arc::new(step));
        true
    }
}

impl Spent {
    fn with(self, seat: &Seat) -> Self {
        Self { moves: self.moves + 1, memory_mib: self.memory_mib + seat.memory_mib }
    }

    fn is_within(self, allowance: &Allowance) -> bool {
        allowance.moves.is_none_or(|moves| self.moves <= moves)
            && allowance.memory_mib.is_none_or(|memory| self.memory_mib <= memory)
    }
}

/// Whether a pod may be at a place of this node beside all that is there.
pub(super) fn is_free(node: &Node, pod: &Pod, spot: &Spot) -> bool {
    let is_heard = !node.is_silent || pod.request.slices.is_empty();
    is_heard
        && verify(node, &pod.request, &spot.placement).is_ok()
        && intree_refusal(&unbound(pod), node).is_none()
}

/// The pod as its controller makes it anew: on no node yet.
fn unbound(pod: &Pod) -> Pod {
    Pod { node: None, placement: None, ..pod.clone() }
}

/// Memory of a GPU instance as its part of the GPU.
fn memory_mib(node: &Node, device: &Device) -> u64 {
    let model = node.gpus.iter().find(|gpu| gpu.index == device.gpu).and_then(|gpu| gpu.model);
    let Some(model) = model else { return 0 };
    let row = Catalog::get().row(model);
    let slices = row.profiles.iter().find(|profile| profile.name == device.profile.as_str());
    slices.map_or(0, |profile| slices_mib(row, profile.memory_slices.into()))
}

/// Memory slices of a GPU in MiB: each the same, so that sums compare.
pub(super) fn slices_mib(row: &ModelRow, slices: u64) -> u64 {
    u64::from(row.memory_mib()).div_euclid(row.memory_slices.into()) * slices
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mig::ProfileName;
    use crate::model::{DynamicFacts, NodeFacts, Placement, PodKey, Request, SliceAsk, Want};

    /// A node with so many GPUs, and a pod on each half that is named, on the first.
    fn halves(gpus: u16, pods: &[(&str, u8)]) -> Cluster {
        let model = Catalog::get().by_product("NVIDIA-A100-SXM4-80GB");
        let dynamic = Some(DynamicFacts { model, gpus: (0..gpus).collect(), needs_agent: false });
        let facts = NodeFacts { name: "n".into(), dynamic, ..NodeFacts::default() };
        let profile = ProfileName::parse("3g.40gb").unwrap();
        let pod = |(name, start): &(&str, u8)| {
            let ask = SliceAsk { container: "main".into(), want: Want::Profile(profile.clone()) };
            Arc::new(Pod {
                key: PodKey { namespace: "test".into(), name: (*name).into() },
                uid: "".into(),
                created_s: 0,
                priority: 0,
                request: Request { slices: vec![ask], ..Request::default() },
                demand: crate::model::Demand::default(),
                node: Some("n".into()),
                placement: Some(half(0, *start).placement),
                unreadable_placement: None,
                is_terminating: false,
                mobility: crate::model::Mobility::default(),
                version: crate::model::Version::default(),
                waiting: None,
            })
        };
        let mut cluster = Cluster::default();
        cluster.put(Arc::new(Node::new(facts.into(), None, pods.iter().map(pod).collect())));
        cluster
    }

    fn half(gpu: u16, start: u8) -> Spot {
        let profile = ProfileName::parse("3g.40gb").unwrap();
        let device = Device { container: "main".into(), gpu, profile, start };
        Spot { node: "n".into(), placement: Placement { devices: vec![device] } }
    }

    #[test]
    fn two_pods_change_places_over_a_spare_one_and_not_without() {
        let (scores, limits) = (Scores::prior(), Limits::default());
        let rules = Rules { priority_max: None, budgets: &[] };
        let swap = |gpus: u16, limits: &Limits| {
            let cluster = halves(gpus, &[("left", 0), ("right", 4)]);
            let mut work = Work::new(&cluster, &scores, rules, limits);
            let seats = work.seats(cluster.get("n").unwrap());
            let target = |seat: Seat| {
                let start = if &*seat.pod.key.name == "left" { 4 } else { 0 };
                Target { seat, to: half(0, start) }
            };
            let is_carried = work.carry(seats.into_iter().map(target).collect()).is_some();
            let step = |step: &Arc<Step>| {
                let to = &step.to.placement.devices[0];
                (step.pod.key.name.to_string(), to.gpu, to.start, step.is_detour)
            };
            is_carried.then(|| work.steps.iter().map(step).collect::<Vec<_>>())
        };
        let step = |name: &str, gpu, start, is_detour| (name.to_owned(), gpu, start, is_detour);
        let expected = [step("left", 1, 4, true), step("right", 0, 0, false), step("left", 0, 4, false)];
        assert_eq!(swap(2, &limits), Some(expected.to_vec()));
        assert_eq!(swap(1, &limits), None);
        let all = Allowance { moves: Some(2), memory_mib: None };
        assert_eq!(swap(2, &Limits { all, ..limits }), None, "a detour is a move");
    }
}
