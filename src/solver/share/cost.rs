//! One node, one ask: what placing it there costs, and on which GPUs.

use super::{Ask, Free, Node, Prices, Scarcity, State, WHOLE};
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
    regret(node, ask, prices, scarcity, || potential(node.state(), prices, scarcity))
}

/// The cost of taking so many whole GPUs with that CPU and memory: what [`cost()`] says of such an ask, where nobody
/// can choose the GPUs and their number is all that is known.
///
/// The GPUs were found free. Of CPU and memory no more is taken than there is: whether a pod fits those is for others
/// to say.
pub fn cost_of_whole(
    before: State<'_>,
    gpus: u32,
    cpu_milli: u64,
    memory_mib: u64,
    prices: &Prices,
    scarcity: &Scarcity,
) -> Cost {
    let left = u32::try_from(before.whole_gpus()).unwrap_or(u32::MAX).saturating_sub(gpus);
    let after = State {
        free: Free::Whole(left),
        cpu_milli: before.cpu_milli.saturating_sub(cpu_milli),
        memory_mib: before.memory_mib.saturating_sub(memory_mib),
        ..before
    };
    let class = before.class;
    let [before, after] = [before, after].map(|state| potential(state, prices, scarcity));
    difference(before, after, class, gpus, prices)
}

fn difference(before: Cost, after: Cost, class: u16, gpus: u32, prices: &Prices) -> Cost {
    after - before + prices.sigma(class) * i64::from(gpus)
}

/// [`cost()`] where the potential of the node may be known already.
pub(super) fn regret(
    node: &Node,
    ask: &Ask,
    prices: &Prices,
    scarcity: &Scarcity,
    before: impl FnOnce() -> Cost,
) -> Option<(Cost, Gpus)> {
    if !node.fits(ask, prices.model(node.class)) {
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
    let after = least.unwrap_or_else(|| potential(after.state(), prices, scarcity));
    Some((difference(before(), after, node.class, ask.gpus, prices), gpus))
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
            let potential = potential(node.state(), prices, scarcity);
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
pub(super) fn potential(node: State<'_>, prices: &Prices, scarcity: &Scarcity) -> Cost {
    let free = i64::try_from(node.free_milli()).expect("at most 2^32 GPUs") * 1_000_000;
    let worth: i64 = match node.free {
        Free::Parts(parts) => parts.iter().map(|&free| prices.worth.of(free)).sum(),
        Free::Whole(count) => i64::from(count) * prices.worth.of(WHOLE),
    };
    let [of_gpu_asks, of_all] = prices.balances.map(|balance| balance.stranded(node, free));
    let tenths = FRAGMENTATION_TENTHS * prices.fragmentation(node) + ALL_ASKS_TENTHS * of_all;
    of_gpu_asks + tenths.div_euclid(10) - worth - scarcity.worth(&prices.groups, node)
}
