//! What nodes may hold of a batch: nodes that are alike in all that matters to it, and their loads.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::mig::Occupancy;
use crate::model::{Cluster, Node, NodeIndex, Pod, Policy, Request, Resources};
use crate::plan::is_alike;
use crate::solver::exact::{Load, Shelf};
use crate::solver::{Cost, Query, Scores, evaluate, intree_refusal};

/// Bounds of the exact answer: beyond, a program takes seconds and its bound says little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound {
    /// More kinds of pods than [`KINDS_MAX`].
    Kinds,
    /// More kinds of nodes than [`SHELVES_MAX`].
    Nodes,
    /// More loads than [`LOADS_MAX`].
    Loads,
    /// The time that was given.
    Time,
}

/// Kinds of pods in one batch.
pub const KINDS_MAX: usize = 16;
/// Kinds of nodes.
pub const SHELVES_MAX: usize = 256;
/// Loads of all kinds of nodes together.
pub const LOADS_MAX: usize = 4_000;
/// MIG devices of different kinds on one node: whether more fit together takes too long to find out so often.
pub const MIXED_MAX: usize = 16;

/// Pods that are alike, by their positions in the batch.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) pod: Arc<Pod>,
    pub(super) members: Vec<usize>,
}

/// The pods of a batch by kind, or `None` where there are too many kinds.
pub(super) fn kinds(pods: &[Arc<Pod>]) -> Option<Vec<Kind>> {
    let mut kinds: Vec<Kind> = Vec::new();
    for (position, pod) in pods.iter().enumerate() {
        match kinds.iter().position(|kind| is_alike(&kind.pod, pod)) {
            Some(kind) => kinds[kind].members.push(position),
            None if kinds.len() == KINDS_MAX => return None,
            None => kinds.push(Kind { pod: pod.clone(), members: vec![position] }),
        }
    }
    Some(kinds)
}

/// The kind of each pod, by position.
pub(super) fn kind_of(kinds: &[Kind]) -> Vec<usize> {
    let members =
        kinds.iter().enumerate().flat_map(|(at, kind)| kind.members.iter().map(move |&pod| (pod, at)));
    let mut of: Vec<(usize, usize)> = members.collect();
    of.sort_unstable();
    of.into_iter().map(|(_, kind)| kind).collect()
}

/// Nodes that are alike, with what each may hold.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) nodes: Vec<NodeIndex>,
    pub(super) shelf: Shelf,
}

/// What of a node matters to a batch.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    passes: Vec<bool>,                    // by kind: whether kube-scheduler's filters let one in
    occupancies: Vec<Occupancy>,          // sorted
    pools: Vec<(&'a str, u32, u32, u32)>, // resource, free, capacity, value
    left: [i64; 4],                       // no more than the whole batch asks for
    beside: (u64, u64),                   // CPU and memory, where they make a price
    is_silent: bool,
}

/// A question about loads.
#[derive(Debug)]
pub(super) struct Loads<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) scores: &'a Scores,
    pub(super) policy: Policy,
    pub(super) kinds: &'a [Kind],
}

impl Loads<'_> {
    /// Every class of nodes with every load.
    pub(super) fn classes(&self) -> Result<Vec<Class>, Bound> {
        let mut alike: BTreeMap<Key<'_>, Vec<NodeIndex>> = BTreeMap::new();
        for index in self.cluster.indices() {
            let key = self.key(index);
            if !key.passes.contains(&true) {
                continue; // it holds nothing of the batch
            }
            alike.entry(key).or_default().push(index);
            if alike.len() > SHELVES_MAX {
                return Err(Bound::Nodes);
            }
        }
        let mut left = LOADS_MAX;
        let class = |nodes: Vec<NodeIndex>| {
            let members = u32::try_from(nodes.len()).expect("nodes are counted with 32 bits");
            let loads = self.loads(nodes[0], &mut left)?;
            Ok(Class { nodes, shelf: Shelf { members, loads } })
        };
        alike.into_values().map(class).collect()
    }

    fn key(&self, index: NodeIndex) -> Key<'_> {
        let (node, row) = (self.cluster.node(index), self.cluster.row(index));
        let passes: Vec<bool> =
            self.kinds.iter().map(|kind| intree_refusal(&kind.pod, node).is_none()).collect();
        let requests = || self.kinds.iter().map(|kind| &kind.pod.request);
        let mut occupancies = row.occupancies.to_vec();
        occupancies.sort_unstable();
        if requests().all(|request| request.slices.is_empty()) {
            occupancies.clear();
        }
        let is_asked = |resource: &str| {
            requests().any(|request| request.counted.iter().any(|(name, _)| **name == *resource))
        };
        let pools = node.pools().filter(|(facts, _)| is_asked(&facts.resource)).map(|(facts, pool)| {
            (&*facts.resource, facts.capacity.saturating_sub(pool.used), facts.capacity, facts.value_mib)
        });
        let all = self.kinds.iter().map(|kind| (&kind.pod.demand.resources, kind.members.len()));
        let asked = all.fold([0_i64; 4], |sum, (resources, count)| plus(sum, *resources, count));
        let left = amounts(left(node));
        let left = std::array::from_fn(|at| left[at].min(asked[at]));
        let traits = row.traits;
        let is_counted = requests().any(|request| !request.counted.is_empty());
        let beside = if is_counted { (traits.cpu_milli, traits.memory_mib) } else { (0, 0) };
        Key { passes, occupancies, pools: pools.collect(), left, beside, is_silent: traits.is_silent }
    }

    /// Every load of a node: what fits stays when pods are left out, so each is reached by adding one at a time.
    fn loads(&self, index: NodeIndex, left: &mut usize) -> Result<Vec<Load>, Bound> {
        let nothing = Load { counts: vec![0; self.kinds.len()], cost: 0.0 };
        let mut loads = vec![nothing];
        let mut open = vec![(0, 0)]; // a load, and the first kind that may be added
        while let Some((at, first)) = open.pop() {
            for kind in first..self.kinds.len() {
                let mut counts = loads[at].counts.clone();
                counts[kind] += 1;
                let most = u32::try_from(self.kinds[kind].members.len()).unwrap_or(u32::MAX);
                if counts[kind] > most {
                    continue;
                }
                if self.is_hard(&counts) {
                    return Err(Bound::Loads);
                }
                let Some(cost) = self.cost(index, &counts) else { continue };
                *left = left.checked_sub(1).ok_or(Bound::Loads)?;
                #[expect(clippy::cast_precision_loss, reason = "costs are compared, not counted")]
                loads.push(Load { counts, cost: cost as f64 });
                open.push((loads.len() - 1, kind));
            }
        }
        Ok(loads)
    }

    fn is_hard(&self, counts: &[u32]) -> bool {
        let slices = self.together(counts).slices;
        slices.len() > MIXED_MAX && slices.iter().any(|ask| ask.want != slices[0].want)
    }

    /// What a load costs on a node; `None` where it does not fit.
    pub(super) fn cost(&self, index: NodeIndex, counts: &[u32]) -> Option<Cost> {
        let node = self.cluster.node(index);
        if !self.passes_together(node, counts) {
            return None;
        }
        evaluate(self.cluster.row(index), &self.query(&self.together(counts), counts)).ok()
    }

    /// The question of a load, as if one pod asked it.
    pub(super) fn query(&self, together: &Request, counts: &[u32]) -> Query<'_> {
        let [cpu_milli, memory_bytes, ephemeral_bytes, pods] = self.asked(counts);
        let resources = Resources { cpu_milli, memory_bytes, ephemeral_bytes, pods };
        Query::of(self.cluster, self.scores, together, resources, self.policy)
    }

    fn asked(&self, counts: &[u32]) -> [i64; 4] {
        self.held(counts).fold([0_i64; 4], |sum, (pod, count)| {
            plus(sum, pod.demand.resources, usize::try_from(count).unwrap_or(usize::MAX))
        })
    }

    /// Whether kube-scheduler's filters let all of a load in.
    fn passes_together(&self, node: &Node, counts: &[u32]) -> bool {
        let held: Vec<(&Pod, u32)> = self.held(counts).collect();
        if held.iter().any(|(pod, _)| intree_refusal(pod, node).is_some()) {
            return false;
        }
        let ports = |pod: &Pod, other: &Pod| {
            let (own, theirs) = (&pod.demand.host_ports, &other.demand.host_ports);
            own.iter().any(|port| theirs.iter().any(|other| port.conflicts_with(other)))
        };
        let mut pairs = held.iter().enumerate();
        let is_crowded = pairs.any(|(at, (pod, count))| {
            (*count > 1 && ports(pod, pod)) || held[at + 1..].iter().any(|(other, _)| ports(pod, other))
        });
        let asked = self.asked(counts);
        let left = amounts(left(node));
        !is_crowded && asked.iter().zip(left).all(|(&asked, left)| asked <= 0 || asked <= left)
    }

    fn held<'k>(&'k self, counts: &'k [u32]) -> impl Iterator<Item = (&'k Pod, u32)> {
        let counted = self.kinds.iter().zip(counts.iter().copied());
        counted.filter(|(_, count)| *count > 0).map(|(kind, count)| (&*kind.pod, count))
    }

    /// All that a load asks for, as if one pod asked for it: kind after kind, pod after pod.
    pub(super) fn together(&self, counts: &[u32]) -> Request {
        let mut counted: BTreeMap<Arc<str>, u32> = BTreeMap::new();
        let mut request = Request::default();
        for (pod, count) in self.held(counts) {
            for (resource, units) in &pod.request.counted {
                let sum = counted.entry(resource.clone()).or_default();
                *sum = sum.saturating_add(units.saturating_mul(count));
            }
            for _ in 0..count {
                request.slices.extend(pod.request.slices.iter().cloned());
            }
        }
        request.counted = counted.into_iter().collect();
        request
    }
}

fn left(node: &Node) -> Resources {
    let (allocatable, used) = (amounts(node.facts.allocatable), amounts(node.used));
    let [cpu_milli, memory_bytes, ephemeral_bytes, pods] =
        std::array::from_fn(|at| allocatable[at].saturating_sub(used[at]));
    Resources { cpu_milli, memory_bytes, ephemeral_bytes, pods }
}

fn amounts(resources: Resources) -> [i64; 4] {
    resources.named().map(|(_, amount)| amount)
}

fn plus(sum: [i64; 4], resources: Resources, count: usize) -> [i64; 4] {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let amounts = amounts(resources);
    std::array::from_fn(|at| sum[at].saturating_add(amounts[at].saturating_mul(count)))
}
