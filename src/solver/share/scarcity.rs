//! Whole groups of GPUs on one node that the demand is about to run short of.
//!
//! A group is the asks for the same number of GPUs, several of them, that only some classes of nodes can serve, with
//! those whose classes are among these. Its supply is how often it still fits, over all nodes; its demand how many
//! such asks come until what is free has been asked for once. u is the chance that a Poisson demand is above
//! the supply, in quarters so that it seldom changes: the price of breaking up a place for such an ask is the GPUs
//! that it would have used, times u.

use std::collections::BTreeMap;

use super::{Ask, Capacity, Demand, Prices, State};

/// Steps of u.
const STEPS: i64 = 4;
/// u is at least k/4 − 1/8 where supply − demand is at most so many standard deviations of the demand, with
/// the logistic function for the normal distribution; squared, in thousandths, with the sign of the root.
const THRESHOLDS: [i128; 4] = [1310, 90, -90, -1310];

/// Asks that compete for the same places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    gpus: u64,
    /// Which classes of nodes can serve at least one of its asks, and no other asks of it.
    classes: Vec<bool>,
    /// Asks per 10^9 thousandths of a GPU that are asked for.
    rate: u64,
    /// Means over its asks.
    cpu_milli: u64,
    memory_mib: u64,
    milli: i64,
}

impl Group {
    /// How many of its asks the node can still take.
    fn slots(&self, node: State<'_>, whole: u64) -> u64 {
        if !self.classes[usize::from(node.class)] {
            return 0;
        }
        let cpu = node.cpu_milli.checked_div(self.cpu_milli).unwrap_or(u64::MAX);
        let memory = node.memory_mib.checked_div(self.memory_mib).unwrap_or(u64::MAX);
        whole.checked_div(self.gpus).unwrap_or(0).min(cpu).min(memory)
    }
}

/// Kinds of ask with their weights.
type Members<'a> = Vec<(&'a Ask, u64)>;

/// The groups of a demand.
pub(super) fn groups(demand: &Demand, capacity: &Capacity) -> Vec<Group> {
    let classes = |ask: &Ask| capacity.classes().iter().map(|(class, _)| class.fits(ask)).collect::<Vec<_>>();
    let mut members: BTreeMap<(u32, Vec<bool>), Members<'_>> = BTreeMap::new();
    for (ask, weight) in demand.kinds().filter(|(ask, _)| ask.gpus > 1 && ask.wants_gpus()) {
        members.entry((ask.gpus, classes(ask))).or_default().push((ask, weight));
    }
    let all = demand.sum(Ask::total_milli).max(1);
    let group = |(gpus, classes): &(u32, Vec<bool>)| {
        let is_within = |other: &[bool]| other.iter().zip(classes).all(|(&other, &mine)| mine || !other);
        let nested = members.iter().filter(|((others, set), _)| others == gpus && is_within(set));
        let asks: Vec<&(&Ask, u64)> = nested.flat_map(|(_, asks)| asks).collect();
        let count: u128 = asks.iter().map(|(_, weight)| u128::from(*weight)).sum();
        let mean = |part: fn(&Ask) -> u64| {
            let sum: u128 = asks.iter().map(|(ask, n)| u128::from(part(ask)) * u128::from(*n)).sum();
            u64::try_from(sum.div_euclid(count)).expect("a mean of 64 bits")
        };
        Group {
            gpus: u64::from(*gpus),
            classes: classes.clone(),
            rate: u64::try_from((count * 1_000_000_000).div_euclid(all)).unwrap_or(u64::MAX),
            cpu_milli: mean(|ask| ask.cpu_milli),
            memory_mib: mean(|ask| ask.memory_mib),
            milli: i64::try_from(mean(Ask::total_milli)).unwrap_or(i64::MAX),
        }
    };
    members.keys().map(group).collect()
}

/// How short the cluster runs of room for each group, from its present state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scarcity {
    supplies: Vec<u64>,
    free_milli: u64,
    steps: Vec<i64>,
}

impl Scarcity {
    /// From the nodes of a cluster as they are.
    pub fn new<'a>(prices: &Prices, nodes: impl IntoIterator<Item = State<'a>>) -> Self {
        let groups = prices.groups.as_slice();
        let mut scarcity = Self { supplies: vec![0; groups.len()], free_milli: 0, steps: Vec::new() };
        for node in nodes {
            scarcity.add(groups, node);
        }
        scarcity.update(groups);
        scarcity
    }

    pub(super) fn add(&mut self, groups: &[Group], node: State<'_>) {
        let whole = node.whole_gpus();
        self.free_milli += node.free_milli();
        for (supply, group) in self.supplies.iter_mut().zip(groups) {
            *supply += group.slots(node, whole);
        }
    }

    pub(super) fn remove(&mut self, groups: &[Group], node: State<'_>) {
        let whole = node.whole_gpus();
        self.free_milli -= node.free_milli();
        for (supply, group) in self.supplies.iter_mut().zip(groups) {
            *supply -= group.slots(node, whole);
        }
    }

    /// Brings u up to date; says whether it changed.
    pub(super) fn update(&mut self, groups: &[Group]) -> bool {
        let free = i128::from(self.free_milli);
        let step = |(group, &supply): (&Group, &u64)| {
            let demand = (i128::from(group.rate) * free).div_euclid(1_000_000); // thousandths of asks
            let beyond = i128::from(supply) * 1000 - demand;
            let is_reached = |&&threshold: &&i128| beyond * beyond.abs() <= threshold * (demand + 1000);
            i64::try_from(THRESHOLDS.iter().filter(is_reached).count()).expect("at most 4")
        };
        let steps: Vec<i64> = groups.iter().zip(&self.supplies).map(step).collect();
        let is_changed = steps != self.steps;
        self.steps = steps;
        is_changed
    }

    /// Worth of the node's room for groups, in billionths of a GPU.
    pub(super) fn worth(&self, groups: &[Group], node: State<'_>) -> i64 {
        if self.steps.iter().all(|&step| step == 0) {
            return 0;
        }
        let whole = node.whole_gpus();
        let worth = |(group, &step): (&Group, &i64)| {
            let slots = i64::try_from(group.slots(node, whole)).expect("at most the GPUs of a node");
            if step == 0 { 0 } else { (step * slots * group.milli * 1_000_000).div_euclid(STEPS) }
        };
        groups.iter().zip(&self.steps).map(worth).sum()
    }
}
