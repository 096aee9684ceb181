//! Nominations while the cluster changes under them: after every turn all of them
//! can hold together, by counting alone, and nobody waits who fits.

use std::collections::BTreeMap;
use std::sync::Arc;

use tangram::cache::{Cache, Event};
use tangram::model::{
    NodeFacts, Pod, PodKey, Policy, PoolFacts, PoolKind, Request, Resources, Version, Waiting,
};
use tangram::nominate::Nominator;
use tangram::sim::Random;
use tangram::solver::Scores;

const NODES: usize = 6;
const PODS: usize = 14;
const STEPS: usize = 120;
const SEEDS: u64 = 60;
const GPUS: u32 = 8;
const GPU: &str = "nvidia.com/gpu";

fn node(number: usize, is_unschedulable: bool) -> Arc<NodeFacts> {
    let plenty =
        Resources { cpu_milli: 1 << 30, memory_bytes: 1 << 50, ephemeral_bytes: 1 << 50, pods: 1000 };
    let pool = PoolFacts { resource: GPU.into(), kind: PoolKind::Whole, capacity: GPUS, value_mib: 81_920 };
    Arc::new(NodeFacts {
        name: format!("n-{number}").into(),
        is_unschedulable,
        allocatable: plenty,
        pools: vec![pool],
        ..NodeFacts::default()
    })
}

fn key(number: usize) -> PodKey {
    PodKey { namespace: "default".into(), name: format!("p-{number}").into() }
}

fn pod(number: usize, life: u64, count: u32, priority: i32) -> Pod {
    Pod {
        key: key(number),
        uid: format!("{number}-{life}").into(),
        created_s: 0,
        priority,
        request: Request { counted: vec![(GPU.into(), count)], ..Request::default() },
        demand: tangram::model::Demand::default(),
        node: None,
        placement: None,
        unreadable_placement: None,
        is_terminating: false,
        mobility: tangram::model::Mobility::default(),
        version: Version::default(),
        waiting: Some(Arc::new(Waiting::default())),
    }
}

/// What is asked for.
fn asked(pod: &Pod) -> u32 {
    pod.request.counted.iter().map(|(_, count)| *count).sum()
}

struct World {
    cache: Cache,
    nominator: Nominator,
    waiting: BTreeMap<PodKey, Arc<Pod>>,
    nodes: BTreeMap<String, bool>, // whether it takes pods
    told: BTreeMap<PodKey, Option<Arc<str>>>,
}

impl World {
    fn new() -> Self {
        let scores = Arc::new(Scores::prior());
        Self {
            cache: Cache::new(scores.clone(), Policy::Pack, usize::MAX),
            nominator: Nominator::new(scores, Policy::Pack),
            waiting: BTreeMap::new(),
            nodes: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }

    fn step(&mut self, random: &mut Random) {
        let number = random.below(PODS);
        match random.below(8) {
            0 => {
                let (name, is_cordoned) = (random.below(NODES), random.below(3) == 0);
                self.cache.apply(Event::NodeApplied(node(name, is_cordoned)));
                self.nodes.insert(format!("n-{name}"), !is_cordoned);
            }
            1 if self.nodes.len() > 2 => {
                let name = format!("n-{}", random.below(NODES));
                self.cache.apply(Event::NodeDeleted(name.as_str().into()));
                self.nodes.remove(&name);
            }
            // A pod is bound: mostly where it was told to, sometimes where kube-scheduler liked it better.
            2 | 3 => {
                let Some(pod) = self.waiting.get(&key(number)).cloned() else { return };
                let told = self.told.get(&pod.key).cloned().flatten().filter(|_| random.below(4) > 0);
                let target = told.or_else(|| {
                    self.nodes
                        .keys()
                        .find(|name| self.free(name) >= asked(&pod))
                        .map(|name| name.as_str().into())
                });
                let Some(target) = target.filter(|name| self.free(name) >= asked(&pod)) else { return };
                let bound = Pod { node: Some(target), waiting: None, ..Pod::clone(&pod) };
                self.cache.apply(Event::PodApplied(Arc::new(bound)));
                self.gone(&pod.key);
            }
            4 => {
                self.cache.apply(Event::PodDeleted(key(number)));
                self.gone(&key(number));
            }
            _ if self.cache.pods().all(|pod| pod.key != key(number)) => {
                let count = [1, 2, 4, 8][random.below(4)];
                let priority = [0, 0, 0, 100][random.below(4)];
                let pod = Arc::new(pod(number, random.next_u64(), count, priority));
                self.cache.apply(Event::PodApplied(pod.clone()));
                self.waiting.insert(pod.key.clone(), pod.clone());
                self.nominator.pod(&pod.key, Some(pod.clone()));
            }
            _ => {}
        }
    }

    fn gone(&mut self, key: &PodKey) {
        self.waiting.remove(key);
        self.told.remove(key);
        self.nominator.pod(key, None);
    }

    /// Devices of a node that no pod on it asks for.
    fn free(&self, name: &str) -> u32 {
        let Some(node) = self.cache.cluster().get(name) else { return 0 };
        GPUS - node.pods.iter().map(|pod| asked(pod)).sum::<u32>()
    }

    fn turn(&mut self) {
        loop {
            let (advice, is_more) = self.nominator.turn(self.cache.cluster(), 3);
            for advice in advice {
                self.told.insert(advice.pod.key.clone(), advice.node);
            }
            if !is_more {
                return;
            }
        }
    }

    fn check(&self) {
        let nominated: BTreeMap<PodKey, Arc<str>> =
            self.nominator.nominated().map(|(key, node)| (key.clone(), node.clone())).collect();
        let mut left: BTreeMap<&str, i64> = BTreeMap::new();
        for name in self.nodes.keys() {
            left.insert(name, i64::from(self.free(name)));
        }
        for (key, node) in &nominated {
            assert_eq!(
                self.nodes.get(&**node),
                Some(&true),
                "{key} is nominated to {node}, which takes no pods"
            );
            *left.get_mut(&**node).expect("asserted above") -= i64::from(asked(&self.waiting[key]));
            assert_eq!(self.told.get(key), Some(&Some(node.clone())), "{key} was told so");
        }
        for (node, left) in &left {
            assert!(*left >= 0, "nominations to {node} take {} devices too many", -left);
        }
        for pod in self.waiting.values().filter(|pod| !nominated.contains_key(&pod.key)) {
            let fits = |(node, left): (&&str, &i64)| self.nodes[*node] && *left >= i64::from(asked(pod));
            assert!(!left.iter().any(fits), "{} waits, and fits beside all nominations", pod.key);
            assert!(
                !matches!(self.told.get(&pod.key), Some(Some(_))),
                "{} was told of no node any more",
                pod.key
            );
            // Nor does it fit where those that come behind it stand.
            for name in self.nodes.iter().filter(|(_, takes)| **takes).map(|(name, _)| name) {
                let behind = nominated
                    .iter()
                    .filter(|(key, node)| ***node == **name && self.waiting[*key].priority < pod.priority);
                let behind: i64 = behind.map(|(key, _)| i64::from(asked(&self.waiting[key]))).sum();
                assert!(
                    left[name.as_str()] + behind < i64::from(asked(pod)),
                    "{} comes first on {name}",
                    pod.key
                );
            }
        }
    }
}

#[test]
fn nominations_hold_together_whatever_changes() {
    for seed in 0..SEEDS {
        let mut random = Random::new(seed);
        let mut world = World::new();
        for _ in 0..STEPS {
            for _ in 0..=random.below(3) {
                world.step(&mut random);
            }
            world.turn();
            world.check();
        }
    }
}
