//! The mix of asks.

use std::collections::BTreeMap;

use super::{Ask, Capacity, Models, WHOLE};

/// Kinds of ask with weights: how often each is asked for, in any unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demand {
    kinds: BTreeMap<Ask, u64>,
}

impl Demand {
    /// The histogram of some asks.
    pub fn of<'a>(asks: impl IntoIterator<Item = &'a Ask>) -> Self {
        let mut demand = Self::default();
        for ask in asks {
            demand.add(*ask, 1);
        }
        demand
    }

    /// Adds weight to a kind.
    pub fn add(&mut self, ask: Ask, weight: u64) {
        if weight > 0 {
            let sum = self.kinds.entry(ask).or_default();
            *sum = sum.saturating_add(weight);
        }
    }

    /// The kinds, in a fixed order, with their weights.
    pub fn kinds(&self) -> impl Iterator<Item = (&Ask, u64)> {
        self.kinds.iter().map(|(ask, &weight)| (ask, weight))
    }

    /// Sum of the weights.
    pub fn weight(&self) -> u64 {
        self.kinds.values().sum()
    }

    /// Sum of something over the asks.
    pub(super) fn sum(&self, part: impl Fn(&Ask) -> u64) -> u128 {
        self.kinds().map(|(ask, weight)| u128::from(part(ask)) * u128::from(weight)).sum()
    }
}

/// GPUs of one pod that are expected of a demand of which nothing is known: powers of two up to one host's eight.
const JOB_GPUS: [u32; 4] = [1, 2, 4, 8];

/// What is assumed until something is known: pods of 1, 2, 4 and 8 whole GPUs alike, as far as a node has them and
/// `gpus_max` goes, each GPU with half of its part of the nodes' CPU and memory.
pub fn prior(capacity: &Capacity, gpus_max: u32) -> Demand {
    let classes = || capacity.classes().iter();
    let sum = |part: fn(&super::Class) -> u64| -> u128 {
        classes().map(|(class, count)| u128::from(part(class)) * u128::from(*count)).sum()
    };
    let gpus = sum(|class| class.gpus.into()).max(1);
    let half = |sum: u128| u64::try_from(sum.div_euclid(2 * gpus)).unwrap_or(u64::MAX);
    let (cpu_milli, memory_mib) = (half(sum(|class| class.cpu_milli)), half(sum(|class| class.memory_mib)));
    let most = classes().map(|(class, _)| class.gpus).max().unwrap_or(0).min(gpus_max);
    let ask = |&gpus: &u32| Ask {
        gpus,
        milli: WHOLE,
        cpu_milli: cpu_milli.saturating_mul(gpus.into()),
        memory_mib: memory_mib.saturating_mul(gpus.into()),
        models: Models::ANY,
    };
    let asks: Vec<Ask> = JOB_GPUS.iter().filter(|&&gpus| gpus <= most).map(ask).collect();
    Demand::of(&asks)
}

/// Weight of one ask that was seen, so that halving keeps fractions.
const SEEN: u64 = 1 << 16;

/// A demand learnt from what is asked: what lies back loses half its weight every so many asks.
#[derive(Debug, Clone)]
pub struct Learner {
    half_life: u64,
    seen: u64,
    demand: Demand,
}

impl Learner {
    /// Starts from a prior that counts as much as `strength` asks that were seen.
    pub fn new(prior: &Demand, strength: u64, half_life: u64) -> Self {
        let total = prior.weight().max(1);
        let mut demand = Demand::default();
        for (ask, weight) in prior.kinds() {
            let scaled = u128::from(weight) * u128::from(strength * SEEN);
            demand.add(*ask, u64::try_from(scaled.div_euclid(total.into())).unwrap_or(u64::MAX));
        }
        Self { half_life: half_life.max(1), seen: 0, demand }
    }

    /// Counts one ask.
    pub fn see(&mut self, ask: Ask) {
        self.demand.add(ask, SEEN);
        self.seen += 1;
        if self.seen.is_multiple_of(self.half_life) {
            self.demand.kinds.retain(|_, weight| {
                *weight >>= 1;
                *weight > 0
            });
        }
    }

    /// Asks counted so far.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The mix as it looks now.
    pub fn demand(&self) -> &Demand {
        &self.demand
    }
}
