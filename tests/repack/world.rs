//! Small clusters, a replay of plans written from the MIG table alone, and the least that has to move by search
//! over everything that pods can do one after another.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use tangram::model::{Cluster, Node, Pinned, Placement, Pod};
use tangram::repack::{Plan, Spot};
use tangram::sim::Random;

use crate::cluster::{Model, dynamic, key, model, placed, shared};

/// A place: node, GPU, profile, start.
type Place = (usize, u16, usize, u8);

/// Nodes `n0` on with GPUs of one model, and pods.
#[derive(Debug, Clone)]
pub(crate) struct World {
    model: &'static Model,
    gpus: Vec<u16>, // of each node
    pub(crate) pods: Vec<Pod>,
}

impl World {
    pub(crate) fn new(model_key: &str, gpus: &[u16]) -> Self {
        Self { model: model(model_key), gpus: gpus.to_vec(), pods: Vec::new() }
    }

    /// A pod on its node.
    pub(crate) fn with(mut self, name: &str, node: usize, devices: &[(u16, &str, u8)]) -> Self {
        self.pods.push(placed(name, &format!("n{node}"), devices));
        self
    }

    /// The last pod, changed.
    pub(crate) fn where_it(mut self, change: impl FnOnce(&mut Pod)) -> Self {
        change(self.pods.last_mut().expect("a pod"));
        self
    }

    /// Pods of one instance each at random places; one in `pinned` stays.
    pub(crate) fn random(model_key: &str, gpus: &[u16], pods: usize, pinned: usize, seed: u64) -> Self {
        let mut world = Self::new(model_key, gpus);
        let mut random = Random::new(seed);
        for number in 0..pods {
            let places = world.places();
            let (_, layouts) = world.positions();
            let free: Vec<Place> =
                places.into_iter().filter(|place| world.is_legal(&layouts, &[*place])).collect();
            let Some(&(node, gpu, profile, start)) =
                (!free.is_empty()).then(|| &free[random.below(free.len())])
            else {
                break;
            };
            let name = world.model.profiles[profile].name.clone();
            world = world.with(&format!("p{number:02}"), node, &[(gpu, &name, start)]);
            if pinned > 0 && random.below(pinned) == 0 {
                world = world.where_it(|pod| pod.mobility.pinned = Some(Pinned::Alone));
            }
        }
        world
    }

    pub(crate) fn cluster(&self) -> Cluster {
        let mut cluster = Cluster::default();
        for (number, gpus) in self.gpus.iter().enumerate() {
            let name = format!("n{number}");
            let pods = self.pods.iter().filter(|pod| pod.node.as_deref() == Some(&name)).cloned();
            let facts = shared(dynamic(&name, self.model, 0..*gpus));
            cluster.put(shared(Node::new(facts, None, pods.map(Arc::new).collect())));
        }
        cluster
    }

    /// Every place of a profile without attribute.
    fn places(&self) -> Vec<Place> {
        let gpus =
            self.gpus.iter().enumerate().flat_map(|(node, gpus)| (0..*gpus).map(move |gpu| (node, gpu)));
        let plain = self.model.placements().into_iter();
        let plain: Vec<_> = plain.filter(|(profile, _)| self.model.profiles[*profile].is_plain()).collect();
        gpus.flat_map(|(node, gpu)| plain.iter().map(move |(profile, start)| (node, gpu, *profile, *start)))
            .collect()
    }

    fn place(&self, node: &str, placement: &Placement) -> Vec<Place> {
        let node: usize = node.strip_prefix('n').expect("n0 on").parse().expect("a number");
        let profile = |name: &str| self.model.profile(name).expect("a profile");
        let of = placement.devices.iter();
        of.map(|device| (node, device.gpu, profile(device.profile.as_str()), device.start)).collect()
    }

    /// The places of each pod, and of all.
    fn positions(&self) -> (BTreeMap<String, Vec<Place>>, Vec<Place>) {
        let of = |pod: &Pod| {
            let places =
                self.place(pod.node.as_ref().expect("bound"), pod.placement.as_ref().expect("placed"));
            (pod.key.name.to_string(), places)
        };
        let by_pod: BTreeMap<String, Vec<Place>> = self.pods.iter().map(of).collect();
        let all = by_pod.values().flatten().copied().collect();
        (by_pod, all)
    }

    /// Whether all of these instances can be there together.
    fn is_legal(&self, held: &[Place], more: &[Place]) -> bool {
        let mut layouts: BTreeMap<(usize, u16), Vec<(usize, u8)>> = BTreeMap::new();
        for (node, gpu, profile, start) in held.iter().chain(more) {
            layouts.entry((*node, *gpu)).or_default().push((*profile, *start));
        }
        let exists = |(node, gpu): &(usize, u16)| self.gpus.get(*node).is_some_and(|gpus| gpu < gpus);
        layouts.iter().all(|(at, layout)| exists(at) && self.model.board(layout).is_some())
    }

    /// Whether the pods can all be where they are, together.
    pub(crate) fn is_sound(&self) -> bool {
        self.is_legal(&[], &self.positions().1)
    }

    fn empty(&self, held: &[Place]) -> usize {
        let all =
            self.gpus.iter().enumerate().flat_map(|(node, gpus)| (0..*gpus).map(move |gpu| (node, gpu)));
        let used: BTreeSet<(usize, u16)> = held.iter().map(|(node, gpu, ..)| (*node, *gpu)).collect();
        all.filter(|at| !used.contains(at)).count()
    }

    fn mib(&self, profile: usize) -> u64 {
        let slice = u64::from(self.model.total_mib()).div_euclid(self.model.memory_slices.into());
        slice * u64::from(self.model.profiles[profile].memory_slices)
    }

    /// Replays a plan; says how many GPUs are empty in the end.
    ///
    /// # Panics
    /// Where a pod is not where its step says, may not move, or has no place before it leaves; where the plan's sums
    /// are wrong.
    pub(crate) fn replay(&self, plan: &Plan, waiting: &[Arc<Pod>]) -> usize {
        let (mut positions, _) = self.positions();
        let count = positions.len();
        let mut moved = 0;
        for step in &plan.steps {
            let name = step.pod.key.name.to_string();
            assert_eq!(step.pod.mobility.pinned, None, "{name} may not move");
            let from = self.place(&step.from.node, &step.from.placement);
            let to = self.place(&step.to.node, &step.to.placement);
            assert_eq!(positions[&name], from, "{name} is where its step says");
            let held: Vec<Place> = positions.values().flatten().copied().collect();
            assert!(self.is_legal(&held, &to), "{name}: {to:?} is not free: {held:?}");
            let profiles =
                |places: &[Place]| places.iter().map(|(_, _, profile, _)| *profile).collect::<Vec<_>>();
            assert_eq!(profiles(&from), profiles(&to), "{name} gets what it had");
            moved += from.iter().map(|(_, _, profile, _)| self.mib(*profile)).sum::<u64>();
            positions.insert(name, to);
        }
        assert_eq!((positions.len(), moved), (count, plan.proof.cost));
        assert!(plan.proof.bound <= plan.proof.cost);
        let mut held: Vec<Place> = positions.values().flatten().copied().collect();
        assert_eq!(plan.places.len(), waiting.len());
        for Spot { node, placement } in plan.places.iter().flatten() {
            let place = self.place(node, placement);
            assert!(self.is_legal(&held, &place), "room at {place:?}: {held:?}");
            held.extend(place);
        }
        self.empty(&held)
    }

    /// The least memory that has to move, step by step with both places held, until `is_reached` of what is held.
    /// Only for pods of one instance.
    pub(crate) fn least(&self, is_reached: impl Fn(&Self, &[Place]) -> bool) -> Option<u64> {
        let start: Vec<Place> = self.positions().0.into_values().map(|places| places[0]).collect();
        let mut names: Vec<&Pod> = self.pods.iter().collect();
        names.sort_by(|a, b| a.key.cmp(&b.key));
        let places = self.places();
        let mut done = BTreeSet::new();
        let mut open = BinaryHeap::from([Reverse((0, start))]);
        while let Some(Reverse((cost, held))) = open.pop() {
            if is_reached(self, &held) {
                return Some(cost);
            }
            // Pods of one profile that may all move are alike.
            let mut same: Vec<(bool, usize, Place)> = Vec::new();
            for (pod, place) in held.iter().enumerate() {
                let is_pinned = names[pod].mobility.pinned.is_some();
                same.push((is_pinned, if is_pinned { pod } else { 0 }, *place));
            }
            same.sort_unstable();
            if !done.insert(same) {
                continue;
            }
            for pod in (0..held.len()).filter(|pod| names[*pod].mobility.pinned.is_none()) {
                let profile = held[pod].2;
                for place in places.iter().filter(|place| place.2 == profile) {
                    if self.is_legal(&held, &[*place]) {
                        let mut next = held.clone();
                        next[pod] = *place;
                        open.push(Reverse((cost + self.mib(profile), next)));
                    }
                }
            }
        }
        None
    }

    /// [`World::least`] for so many more empty GPUs.
    pub(crate) fn least_for_gpus(&self, more: usize) -> Option<u64> {
        let before = self.empty(&self.positions().1);
        self.least(|world, held| world.empty(held) >= before + more)
    }

    /// [`World::least`] for a free place of a profile.
    pub(crate) fn least_for_room(&self, profile: &str) -> Option<u64> {
        let profile = self.model.profile(profile).expect("a profile");
        let places = self.places();
        self.least(|world, held| {
            let mut of = places.iter().filter(|place| place.2 == profile);
            of.any(|place| world.is_legal(held, &[*place]))
        })
    }

    /// How many GPUs are empty.
    pub(crate) fn empty_before(&self) -> usize {
        self.empty(&self.positions().1)
    }
}

/// The key of a pod as plans name it.
pub(crate) fn names(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|step| step.pod.key.name.to_string()).collect()
}

/// Why a pod stays, in words.
pub(crate) fn stay(plan: &Plan, name: &str) -> Option<String> {
    plan.kept.iter().find(|kept| kept.pod == key(name)).map(|kept| kept.why.to_string())
}
