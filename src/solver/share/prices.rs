//! All that is computed once from a demand and a capacity.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::duals::{Worth, values};
use super::scarcity::{Group, groups};
use super::{Ask, Demand, Free, State, WHOLE};

/// Weights of asks add up to this.
const WEIGHTS: u128 = 1_000_000;
/// 0.7, in billionths of a GPU per millionth of σ.
const SIGMA: i64 = 700;
/// A thousand times more demand than capacity: beyond, a model is just not to be used.
const SIGMA_MAX: i64 = 1_000_000_000;

/// Nodes that were alike when they were empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class {
    /// GPUs of a node.
    pub gpus: u32,
    /// Thousandths of a CPU of a node.
    pub cpu_milli: u64,
    /// Memory of a node in MiB.
    pub memory_mib: u64,
    /// GPU model, below 64.
    pub model: u8,
}

impl Class {
    /// Whether an empty node could serve an ask.
    pub fn fits(&self, ask: &Ask) -> bool {
        ask.gpus <= self.gpus
            && ask.cpu_milli <= self.cpu_milli
            && ask.memory_mib <= self.memory_mib
            && ask.models.contains(self.model)
    }
}

/// The nodes of a cluster by class.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capacity {
    classes: Vec<(Class, u64)>,
}

impl Capacity {
    /// Adds a node, and says which class it is of.
    pub fn add(&mut self, class: Class) -> u16 {
        self.add_nodes(class, 1)
    }

    /// Adds several nodes of one class.
    pub fn add_nodes(&mut self, class: Class, count: u64) -> u16 {
        let at = self.classes.iter().position(|(known, _)| *known == class);
        let at = at.unwrap_or_else(|| {
            self.classes.push((class, 0));
            self.classes.len() - 1
        });
        self.classes[at].1 += count;
        u16::try_from(at).expect("fewer than 65,536 kinds of node")
    }

    /// The classes with the number of nodes of each.
    pub fn classes(&self) -> &[(Class, u64)] {
        &self.classes
    }

    /// GPUs of the models that `accepts` names.
    fn gpus(&self, accepts: impl Fn(u8) -> bool) -> u128 {
        let accepted = self.classes.iter().filter(|(class, _)| accepts(class.model));
        accepted.map(|(class, count)| u128::from(class.gpus) * u128::from(*count)).sum()
    }
}

/// What of CPU and memory goes with a whole GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Balance {
    cpu_milli: u64,
    memory_mib: u64,
}

impl Balance {
    fn of(demand: &Demand, counts: impl Fn(&Ask) -> bool) -> Self {
        let gpus = demand.sum(Ask::total_milli);
        let per_gpu = |part: fn(&Ask) -> u64| {
            let sum = demand.sum(|ask| if counts(ask) { part(ask) } else { 0 });
            u64::try_from((sum * u128::from(WHOLE)).checked_div(gpus).unwrap_or(0)).unwrap_or(u64::MAX)
        };
        Self { cpu_milli: per_gpu(|ask| ask.cpu_milli), memory_mib: per_gpu(|ask| ask.memory_mib) }
    }

    /// Free GPU, in billionths, that the node has no CPU or memory for.
    pub(super) fn stranded(&self, node: State<'_>, free: i64) -> i64 {
        let served = |left: u64, per_gpu: u64| {
            let billionths = left.saturating_mul(1_000_000_000).checked_div(per_gpu).unwrap_or(u64::MAX);
            i64::try_from(billionths).unwrap_or(i64::MAX)
        };
        let cpu = served(node.cpu_milli, self.cpu_milli);
        (free - cpu.min(served(node.memory_mib, self.memory_mib))).max(0)
    }
}

/// Asks for the same number and size of GPUs that a class of nodes may serve.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Size {
    milli: u16,
    gpus: u32,
    /// Thousandths of a CPU, and the weight of the asks that need no more; both ascend.
    weights: Vec<(u64, i64)>,
}

impl Size {
    /// Weight of the asks that need no more CPU.
    fn weight(&self, cpu_milli: u64) -> i64 {
        let fitting = self.weights.partition_point(|(cpu, _)| *cpu <= cpu_milli);
        fitting.checked_sub(1).map_or(0, |at| self.weights[at].1)
    }
}

/// What asks drawn from the demand find on the nodes of a class: FGD's measure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Use {
    sizes: Vec<Size>, // by milli
}

/// What a demand pays for what is free on a node. Computed once from the demand and the capacity of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prices {
    pub(super) worth: Worth,
    /// Over the asks for GPUs, and over all.
    pub(super) balances: [Balance; 2],
    pub(super) groups: Vec<Group>,
    models: Vec<u8>,  // by class
    sigmas: Vec<i64>, // billionths of a GPU per GPU asked for, by class
    uses: Vec<Use>,   // by class
    total: i64,       // weights of all asks
}

impl Prices {
    /// The prices of a demand on a cluster.
    ///
    /// Without any demand all placements cost the same, but for models that nobody needs.
    pub fn new(demand: &Demand, capacity: &Capacity) -> Self {
        let milli = demand.sum(Ask::total_milli).max(1);
        let mut asked: BTreeMap<u16, f64> = BTreeMap::new();
        for (ask, weight) in demand.kinds().filter(|(ask, _)| ask.wants_gpus()) {
            let part = u128::from(weight) * u128::from(ask.gpus) * WEIGHTS * u128::from(WHOLE);
            let part = u32::try_from(part.div_euclid(milli)).unwrap_or(u32::MAX);
            *asked.entry(ask.milli.min(WHOLE)).or_default() += f64::from(part) / 1e6;
        }
        let weights = u128::from(demand.weight().max(1));
        let share = |weight: u64| {
            i64::try_from((u128::from(weight) * WEIGHTS).div_euclid(weights)).expect("at most a million")
        };
        let classes = capacity.classes();
        Self {
            worth: Worth::new(&values(&asked)),
            balances: [Balance::of(demand, Ask::wants_gpus), Balance::of(demand, |_| true)],
            groups: groups(demand, capacity),
            models: classes.iter().map(|(class, _)| class.model).collect(),
            sigmas: classes.iter().map(|(class, _)| sigma(class.model, demand, capacity)).collect(),
            uses: classes.iter().map(|(class, _)| Use::of(class, demand, share)).collect(),
            total: demand.kinds().map(|(_, weight)| share(weight)).sum(),
        }
    }

    /// GPU model of a class.
    pub(super) fn model(&self, class: u16) -> u8 {
        self.models[usize::from(class)]
    }

    /// What using the GPU model of a class costs, in billionths of a GPU per GPU.
    pub(super) fn sigma(&self, class: u16) -> i64 {
        self.sigmas[usize::from(class)]
    }

    /// Free GPU of the node, in billionths, that an ask drawn from the demand cannot use, in the mean: FGD's measure
    /// F. What asks need in memory is left out there, and here.
    pub fn fragmentation(&self, node: State<'_>) -> i64 {
        let sizes = &self.uses[usize::from(node.class)].sizes;
        match node.free {
            Free::Parts(parts) => {
                let mut free: SmallVec<[u16; 8]> = parts.into();
                free.sort_unstable();
                self.unused(sizes, &free, node.cpu_milli)
            }
            // No share is larger than a GPU.
            Free::Whole(count) => {
                let total = i64::from(count) * i64::from(WHOLE);
                let fitting = sizes.iter().filter(|size| size.gpus <= count);
                let weight: i64 = fitting.map(|size| size.weight(node.cpu_milli)).sum();
                (self.total - weight) * total
            }
        }
    }

    /// The same for GPUs with so much free each, ascending.
    fn unused(&self, sizes: &[Size], free: &[u16], cpu_milli: u64) -> i64 {
        let total: i64 = free.iter().map(|&free| i64::from(free)).sum();
        let mut useful = 0;
        let (mut below, mut sum_below) = (0, 0); // GPUs with less left than the size
        for size in sizes {
            while below < free.len() && free[below] < size.milli {
                sum_below += i64::from(free[below]);
                below += 1;
            }
            if free.len() - below >= usize::try_from(size.gpus).expect("32 bits fit an address") {
                useful += size.weight(cpu_milli) * (total - sum_below);
            }
        }
        self.total * total - useful
    }
}

/// 0.7 σ of a model: the demand of those that do not accept every model, spread over what they accept.
fn sigma(model: u8, demand: &Demand, capacity: &Capacity) -> i64 {
    let all = capacity.gpus(|_| true);
    let milli = demand.sum(Ask::total_milli).max(1);
    let needing = demand.kinds().filter(|(ask, _)| ask.models.contains(model));
    let parts = needing.filter_map(|(ask, weight)| {
        let accepted = capacity.gpus(|model| ask.models.contains(model));
        let asked = u128::from(weight) * u128::from(ask.total_milli());
        (accepted < all).then(|| (asked * WEIGHTS * all).checked_div(milli * accepted))?
    });
    i64::try_from(parts.sum::<u128>()).map_or(SIGMA_MAX, |sum| sum.min(SIGMA_MAX)) * SIGMA
}

impl Use {
    fn of(class: &Class, demand: &Demand, share: impl Fn(u64) -> i64) -> Self {
        let mut sizes: BTreeMap<(u16, u32), BTreeMap<u64, i64>> = BTreeMap::new();
        for (ask, weight) in demand.kinds() {
            if ask.wants_gpus() && ask.models.contains(class.model) && ask.gpus <= class.gpus {
                *sizes.entry((ask.milli, ask.gpus)).or_default().entry(ask.cpu_milli).or_default() +=
                    share(weight);
            }
        }
        let size = |((milli, gpus), cpus): ((u16, u32), BTreeMap<u64, i64>)| {
            let mut sum = 0;
            let add = |(cpu, weight)| {
                sum += weight;
                (cpu, sum)
            };
            Size { milli, gpus, weights: cpus.into_iter().map(add).collect() }
        };
        Self { sizes: sizes.into_iter().map(size).collect() }
    }
}
