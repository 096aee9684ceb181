//! One node, one ask: what placing it there costs, and on which GPUs.

use super::{Ask, Node, Prices, Scarcity};
use crate::solver::Cost;

/// 0.1 and 0.2 as parts of ten.
const FRAGMENTATION_TENTHS: i64 = 1;
const ALL_ASKS_TENTHS: i64 = 2;

/// Some GPUs of a node, by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gpus(u64);

impl Gpus {
    /// Their indices, ascending.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..super::GPUS_MAX).filter(move |&gpu| self.contains(gpu))
    }

    /// How many there are.
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }

    fn contains(self, gpu: usize) -> bool {
        self.0 >> gpu & 1 == 1
    }

    fn add(&mut self, gpu: usize) {
        self.0 |= 1 << gpu;
    }
}

impl FromIterator<usize> for Gpus {
    /// Indices below [`GPUS_MAX`](super::GPUS_MAX).
    fn from_iter<I: IntoIterator<Item = usize>>(indices: I) -> Self {
        let mut gpus = Self::default();
        indices.into_iter().for_each(|gpu| gpus.add(gpu));
        gpus
    }
}

/// The cost of an ask on a node, less is better, and the GPUs to take; none where it does not fit.
///
/// Costs of one ask on different nodes compare; those of different asks do not. Among GPUs of equal cost it is
/// the first.
pub fn cost(node: &Node, ask: &Ask, prices: &Prices, scarcity: &Scarcity) -> Option<(Cost, Gpus)> {
    regret(node, ask, prices, scarcity, || potential(node, prices, scarcity))
}

/// [`cost()`] where the potential of the node may be known already.
pub(super) fn regret(
    node: &Node,
    ask: &Ask,
    prices: &Prices,
    scarcity: &Scarcity,
    before: impl FnOnce() -> Cost,
) -> Option<(Cost, Gpus)> {
    if !node.fits(ask, prices.model(node)) {
        return None;
    }
    let mut after = node.clone();
    after.cpu_milli -= ask.cpu_milli;
    after.memory_mib -= ask.memory_mib;
    let mut gpus = Gpus::default();
    let mut least = None;
    for _ in 0..if ask.wants_gpus() { ask.gpus } else { 0 } {
        let gpu;
        (gpu, least) = best_gpu(&mut after, ask, gpus, prices, scarcity);
        after.free[gpu] -= ask.milli;
        gpus.add(gpu);
    }
    let after = least.unwrap_or_else(|| potential(&after, prices, scarcity));
    Some((after - before() + prices.sigma(node) * i64::from(ask.gpus), gpus))
}

/// The GPU to take next, and the node's potential after it where it had to be computed.
fn best_gpu(
    node: &mut Node,
    ask: &Ask,
    taken: Gpus,
    prices: &Prices,
    scarcity: &Scarcity,
) -> (usize, Option<Cost>) {
    let is_open = |node: &Node, gpu: usize| node.free[gpu] >= ask.milli && !taken.contains(gpu);
    let first =
        (0..node.free.len()).find(|&gpu| is_open(node, gpu)).expect("as many GPUs as were found to fit");
    let (mut best, mut least) = (first, None);
    for gpu in first + 1..node.free.len() {
        let is_like_another =
            (first..gpu).any(|other| node.free[other] == node.free[gpu] && !taken.contains(other));
        if !is_open(node, gpu) || is_like_another {
            continue;
        }
        let mut try_on = |gpu: usize| {
            node.free[gpu] -= ask.milli;
            let potential = potential(node, prices, scarcity);
            node.free[gpu] += ask.milli;
            potential
        };
        let known = *least.get_or_insert_with(|| try_on(first));
        let potential = try_on(gpu);
        if potential < known {
            (best, least) = (gpu, Some(potential));
        }
    }
    (best, least)
}

/// What is lost of a node, in billionths of a GPU; the sum of the module's head.
pub(super) fn potential(node: &Node, prices: &Prices, scarcity: &Scarcity) -> Cost {
    let free = i64::try_from(node.free_milli()).expect("at most 64 GPUs") * 1_000_000;
    let worth: i64 = node.free.iter().map(|&free| prices.worth.of(free)).sum();
    let [of_gpu_asks, of_all] = prices.balances.map(|balance| balance.stranded(node, free));
    let tenths = FRAGMENTATION_TENTHS * prices.fragmentation(node) + ALL_ASKS_TENTHS * of_all;
    of_gpu_asks + tenths.div_euclid(10) - worth - scarcity.worth(&prices.groups, node)
}
