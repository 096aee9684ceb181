//! What others do, for comparison: a cost of every node that has room, less is better.

use std::fmt;
use std::str::FromStr;

use crate::solver::Cost;
use crate::solver::share::{Ask, Board, Class, Gpus, Node, Spot, WHOLE};

/// How to choose among the nodes that have room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The least regret in the demand's own prices: `solver::share`.
    Regret,
    /// The least growth of FGD's fragmentation measure, in its own hundred levels (ATC 2023).
    Fgd,
    /// The least left of CPU and GPU, weighed as in the experiments of FGD.
    BestFit,
    /// The first by name.
    FirstFit,
    /// The most left, in parts of the node: Kubernetes' default.
    LeastAllocated,
    /// The least left, in parts of the node.
    MostAllocated,
    /// The least product of what is asked and what is free (Tetris with its sign turned, as FGD compares it).
    DotProduct,
    /// Any.
    Random,
}

const NAMES: [(Policy, &str); 8] = [
    (Policy::Regret, "regret"),
    (Policy::Fgd, "fgd"),
    (Policy::BestFit, "best-fit"),
    (Policy::FirstFit, "first-fit"),
    (Policy::LeastAllocated, "least-allocated"),
    (Policy::MostAllocated, "most-allocated"),
    (Policy::DotProduct, "dot-product"),
    (Policy::Random, "random"),
];

impl Policy {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(policy, _)| *policy)
    }

    /// The places that an ask could be put on, with their costs.
    pub(super) fn spots(self, board: &mut Board, classes: &[(Class, u64)], ask: &Ask) -> Vec<Spot> {
        if self == Self::Regret {
            return board.spots(ask).collect();
        }
        let class = |node: &Node| &classes[usize::from(node.class)].0;
        let open = board.nodes().iter().enumerate().filter(|(_, node)| node.fits(ask, class(node).model));
        let spot = |(at, node): (usize, &Node)| {
            let gpus = self.gpus(board, node, ask);
            let mut after = node.clone();
            after.take(ask, gpus);
            Spot { node: at, gpus, cost: self.cost(board, class(node), node, &after, ask) }
        };
        open.map(spot).collect()
    }

    fn gpus(self, board: &Board, node: &Node, ask: &Ask) -> Gpus {
        let room: Vec<usize> = (0..node.free.len()).filter(|&gpu| node.free[gpu] >= ask.milli).collect();
        let count = if ask.wants_gpus() { usize::try_from(ask.gpus).expect("it fits") } else { 0 };
        let alone = |gpu: usize| std::iter::once(gpu).collect::<Gpus>();
        match self {
            Self::Fgd if count == 1 => {
                let after = |&gpu: &usize| {
                    let mut after = node.clone();
                    after.take(ask, alone(gpu));
                    board.prices().fragmentation(after.state())
                };
                room.into_iter().min_by_key(after).into_iter().collect()
            }
            Self::FirstFit => room.into_iter().take(count).collect(),
            _ => {
                let mut tightest = room;
                tightest.sort_by_key(|&gpu| node.free[gpu]);
                tightest.into_iter().take(count).collect()
            }
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "figures of a comparison"
    )]
    fn cost(self, board: &Board, class: &Class, before: &Node, after: &Node, ask: &Ask) -> Cost {
        let part = |value: u64, of: u64| value as f64 / of.max(1) as f64;
        let gpus = u64::from(class.gpus) * u64::from(WHOLE);
        let free = part(after.cpu_milli, class.cpu_milli)
            + part(after.memory_mib, class.memory_mib)
            + part(after.free_milli(), gpus);
        let cost = match self {
            Self::Regret | Self::FirstFit | Self::Random => 0.0,
            Self::Fgd => {
                let (before, after) = (
                    board.prices().fragmentation(before.state()),
                    board.prices().fragmentation(after.state()),
                );
                let milli = (before - after) as f64 / 1e6;
                return -((100.0 / (1.0 + (-milli / 1000.0).exp())).floor() as Cost);
            }
            Self::BestFit => part(after.cpu_milli, 128_000) + part(after.free_milli(), 8000),
            Self::LeastAllocated => -free,
            Self::MostAllocated => free,
            Self::DotProduct => {
                part(before.cpu_milli, class.cpu_milli) * part(ask.cpu_milli, class.cpu_milli)
                    + part(before.free_milli(), gpus) * part(ask.total_milli(), gpus)
            }
        };
        (cost * 1e9).round() as Cost
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(policy, _)| policy == self).map(|(_, name)| *name);
        f.pad(name.expect("every policy has a name"))
    }
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = NAMES.iter().find(|(_, name)| *name == text).map(|(policy, _)| *policy);
        let known = || NAMES.map(|(_, name)| name).join(", ");
        named.ok_or_else(|| format!("no policy {text:?}; known are {}", known()))
    }
}
