//! The smallest changes that would let a pod run, each tried before it is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ask::{Asked, other_asks};
use super::bar::{Bar, bars};
use crate::model::{Cluster, Node, Pod, Policy, TaintEffect};
use crate::plan::{Place, choose};
use crate::preempt::Eviction;
use crate::repack::{Plan, Spot};
use crate::solver::{Query, Scores, best};
use crate::whatif::{Change, HOSTNAME, INSTANCE_TYPE, Search, Template, change, evictions, moves};

/// A change that lets the pod run.
#[derive(Debug, Clone, PartialEq)]
pub enum Remedy {
    /// It asks for something else.
    Ask(Asked),
    /// Something in its way is gone.
    Lift {
        /// What.
        bar: Bar,
        /// Nodes on which it alone stands in the way.
        nodes: usize,
    },
    /// Pods move.
    Move(Box<Plan>),
    /// Pods of lower priority go.
    Evict(Eviction),
    /// One node more.
    Grow {
        /// The type: the label `node.kubernetes.io/instance-type`, or where it is missing the GPU product, or the
        /// resource name of the devices.
        kind: Arc<str>,
        /// A node of the type.
        example: Arc<str>,
    },
}

/// A remedy with the place that the pod has by it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    /// The remedy.
    pub remedy: Remedy,
    /// The place.
    pub place: Place,
    /// Changes of the cluster that show it in a dry run; moves and changes of the pod itself are none.
    pub changes: Vec<Change>,
    /// The pod as it would be.
    pub pod: Arc<Pod>,
}

/// Kinds of remedies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Another profile, fewer devices.
    Ask,
    /// A taint, a selector, a cordon.
    Lift,
    /// Moves.
    Move,
    /// Evictions.
    Evict,
    /// A node more.
    Grow,
}

impl Kind {
    /// All, in the order in which they are told: what disturbs nobody first, then what costs least.
    pub const ALL: [Self; 5] = [Self::Ask, Self::Lift, Self::Move, Self::Evict, Self::Grow];
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Remedies {
    /// Changes that help, by kind.
    pub found: Vec<Tried>,
    /// Kinds of which it is certain that no change helps.
    pub none: Vec<Kind>,
    /// Kinds whose search ended at its bound without one.
    pub unknown: Vec<Kind>,
}

/// Types of nodes that are told.
const TYPES_MAX: usize = 8;

/// Looks for remedies of every kind.
pub(super) fn remedies(cluster: &Cluster, scores: &Scores, policy: Policy, pod: &Arc<Pod>) -> Remedies {
    let bench = Bench { cluster, scores, policy };
    let mut remedies = Remedies::default();
    for kind in Kind::ALL {
        let (found, is_certain) = match kind {
            Kind::Ask => (bench.asks(pod), true),
            Kind::Lift => (bench.lifts(pod), true),
            Kind::Move => bench.moves(pod),
            Kind::Evict => bench.evictions(pod),
            Kind::Grow => (bench.growths(pod), true),
        };
        match (found.is_empty(), is_certain) {
            (false, _) => remedies.found.extend(found),
            (true, true) => remedies.none.push(kind),
            (true, false) => remedies.unknown.push(kind),
        }
    }
    remedies
}

/// Where remedies are tried.
struct Bench<'a> {
    cluster: &'a Cluster,
    scores: &'a Scores,
    policy: Policy,
}

impl Bench<'_> {
    /// The dry run of a remedy.
    fn tried(&self, remedy: Remedy, changes: Vec<Change>, pod: &Arc<Pod>) -> Option<Tried> {
        let after = change(self.cluster, &changes, &[]).ok()?.cluster;
        let query = Query::new(&after, self.scores, pod, self.policy);
        best(&after, pod, &query)?; // most tries fail, and why is not asked
        let (_, place) = choose(&after, self.scores, self.policy, pod).ok()?;
        Some(Tried { remedy, place, changes, pod: pod.clone() })
    }

    /// The first of each ladder that fits.
    fn asks(&self, pod: &Pod) -> Vec<Tried> {
        let ladders = other_asks(self.cluster, pod).into_iter();
        let first = |ladder: Vec<(Asked, Arc<Pod>)>| {
            ladder.into_iter().find_map(|(asked, pod)| self.tried(Remedy::Ask(asked), Vec::new(), &pod))
        };
        ladders.filter_map(first).collect()
    }

    fn lifts(&self, pod: &Pod) -> Vec<Tried> {
        let bars = bars(self.cluster, self.scores, self.policy, pod).into_iter();
        let tried = |(bar, nodes): (Bar, usize)| {
            let (freed, changes) = (bar.without(pod), bar.change().into_iter().collect());
            self.tried(Remedy::Lift { bar, nodes }, changes, &freed)
        };
        bars.filter_map(tried).collect()
    }

    /// Moves were replayed by the repack's own checker.
    fn moves(&self, pod: &Arc<Pod>) -> (Vec<Tried>, bool) {
        let plan = match moves(self.cluster, self.scores, std::slice::from_ref(pod), &[]) {
            Search::Found(plan) => plan,
            Search::Nothing => return (Vec::new(), true),
            Search::Unknown => return (Vec::new(), false),
        };
        let Some(Some(Spot { node, placement })) = plan.places.first().cloned() else {
            return (Vec::new(), false);
        };
        let place = Place { node, placement, cost: 0 };
        let remedy = Remedy::Move(Box::new(plan));
        (vec![Tried { remedy, place, changes: Vec::new(), pod: pod.clone() }], true)
    }

    fn evictions(&self, pod: &Arc<Pod>) -> (Vec<Tried>, bool) {
        let eviction = match evictions(self.cluster, self.scores, self.policy, pod) {
            Search::Found(eviction) => eviction,
            Search::Nothing => return (Vec::new(), true),
            Search::Unknown => return (Vec::new(), false),
        };
        let changes = eviction.victims.iter().map(|victim| Change::Evict(victim.key.clone())).collect();
        let tried = self.tried(Remedy::Evict(eviction), changes, pod);
        let is_certain = tried.is_some();
        (tried.into_iter().collect(), is_certain)
    }

    /// One node more of each type that the cluster has.
    fn growths(&self, pod: &Arc<Pod>) -> Vec<Tried> {
        let mut types: BTreeMap<Type, Arc<Node>> = BTreeMap::new();
        for index in self.cluster.indices() {
            let node = self.cluster.node(index);
            let Some(of) = Type::of(node, pod) else { continue };
            let first = types.entry(of).or_insert_with(|| node.clone());
            if node.facts.name < first.facts.name {
                *first = node.clone();
            }
        }
        let tried = |(Type { kind, .. }, node): (Type, Arc<Node>)| {
            let example = node.facts.name.clone();
            let change =
                Change::Add { template: Template::Like(example.clone()), count: 1, labels: BTreeMap::new() };
            self.tried(Remedy::Grow { kind, example }, vec![change], pod)
        };
        types.into_iter().filter_map(tried).take(TYPES_MAX).collect()
    }
}

/// Nodes that are alike to a pod when they are new.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Type {
    kind: Arc<str>,
    dynamic: usize,                    // GPUs that Tangram partitions
    pools: Vec<(Arc<str>, u32)>,       // resource names and units
    taints: Vec<(Arc<str>, Arc<str>)>, // keys and values
    labels: Vec<Option<Arc<str>>>,     // those that the pod's selectors ask for
}

impl Type {
    /// The type of a node that has devices.
    fn of(node: &Node, pod: &Pod) -> Option<Self> {
        let facts = &node.facts;
        let dynamic = node.dynamic_gpus().count();
        if dynamic == 0 && facts.pools.iter().all(|pool| pool.capacity == 0) {
            return None;
        }
        let product = Some(&facts.product).filter(|product| !product.is_empty());
        // Devices of other vendors have no such label.
        let resource = facts.pools.iter().find(|pool| pool.capacity > 0).map(|pool| &pool.resource);
        let kind = facts.labels.get(INSTANCE_TYPE).or(product).or(resource).cloned().unwrap_or_default();
        let selected = pod.demand.node_selector.iter().map(|(key, _)| key);
        let terms = pod.demand.affinity.iter().flatten().flatten();
        let keys = selected.chain(terms.filter_map(|expression| expression.key.as_ref()));
        let labels = keys.filter(|key| ***key != *HOSTNAME).map(|key| facts.labels.get(key).cloned());
        let repels = facts.taints.iter().filter(|taint| taint.effect != TaintEffect::PreferNoSchedule);
        Some(Self {
            kind,
            dynamic,
            pools: facts.pools.iter().map(|pool| (pool.resource.clone(), pool.capacity)).collect(),
            taints: repels.map(|taint| (taint.key.clone(), taint.value.clone())).collect(),
            labels: labels.collect(),
        })
    }
}
