//! GPUs or nodes are emptied, those that hold least first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::Goal;
use super::figures::{has_gpus, is_empty, is_unused};
use super::stay::Ledger;
use super::work::{Seat, Work, slices_mib};
use crate::mig::{Catalog, Occupancy};
use crate::model::{Gpu, Node};

/// A GPU, or a node with all it has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Unit {
    node: Arc<str>,
    gpu: Option<u16>,
}

/// Empties as many as are wanted, or as many as can be.
pub(super) fn clear<'a>(start: &Work<'a>, goal: &Goal, ledger: &mut Ledger) -> Work<'a> {
    let wanted = match goal {
        Goal::Gpus(count) | Goal::Nodes(count) => *count,
        _ => 0,
    };
    let mut work = start.clone();
    // What is empty stays empty: a pod moved there would gain nothing.
    let mut candidates = BinaryHeap::new();
    let mut empty_before = 0;
    for node in start.cluster.by_name() {
        for unit in units(node, goal) {
            if unit.is_empty(node) {
                empty_before += 1;
                unit.shut(&mut work);
            } else if unit.is_known(node) {
                candidates.push(Reverse((memory(&unit.seats(&work, node)), unit)));
            }
        }
    }
    let mut last = 0; // what the dearest costs that was emptied
    while let Some(Reverse((memory_mib, unit))) = candidates.pop() {
        // Those that would have cost the same are told, too.
        let is_done = empty(&work, goal) >= empty_before + wanted;
        if is_done && memory_mib > last {
            break;
        }
        let Some(node) = work.cluster.get(&unit.node).cloned() else { continue };
        let seats = unit.seats(&work, &node);
        let grown = memory(&seats);
        if ledger.note(&seats) || is_done || unit.is_empty(&node) {
            continue;
        }
        if grown > memory_mib {
            candidates.push(Reverse((grown, unit))); // others moved here: its turn comes later
            continue;
        }
        let mut attempt = work.clone();
        unit.shut(&mut attempt);
        // Most that cannot be emptied fail at once: nothing that leaves makes room for the largest.
        let is_lost = |seat: &Seat| seat.is_single() && attempt.find(&seat.pod).is_none();
        if seats.first().is_some_and(is_lost) {
            continue;
        }
        if attempt.place_anew(seats).is_some() {
            last = memory_mib;
            work = attempt;
        }
    }
    work
}

/// The least memory that has to move, in MiB: that of the GPUs or nodes that hold least and may be emptied.
pub(super) fn bound(start: &Work<'_>, goal: &Goal) -> u64 {
    let (Goal::Gpus(wanted) | Goal::Nodes(wanted)) = goal else { return 0 };
    let mut least: Vec<u64> = Vec::new();
    for node in start.cluster.by_name() {
        for unit in units(node, goal).filter(|unit| !unit.is_empty(node) && unit.is_known(node)) {
            let seats = unit.seats(start, node);
            if seats.iter().all(|seat| seat.stay.is_none()) {
                least.push(unit.held(node).unwrap_or_else(|| memory(&seats)));
            }
        }
    }
    least.sort_unstable();
    least.iter().take(usize::try_from(*wanted).unwrap_or(usize::MAX)).sum()
}

fn memory(seats: &[Seat]) -> u64 {
    seats.iter().map(|seat| seat.memory_mib).sum()
}

fn empty(work: &Work<'_>, goal: &Goal) -> u32 {
    let of = |node: &Arc<Node>| units(node, goal).filter(|unit| unit.is_empty(node)).count();
    let sum: usize = work.cluster.indices().map(|index| of(work.cluster.node(index))).sum();
    u32::try_from(sum).unwrap_or(u32::MAX)
}

/// What of a node may become empty, for a goal.
fn units(node: &Node, goal: &Goal) -> impl Iterator<Item = Unit> {
    let name = node.facts.name.clone();
    let is_of_nodes = matches!(goal, Goal::Nodes(_));
    let whole = (is_of_nodes && has_gpus(node)).then(|| Unit { node: name.clone(), gpu: None });
    let open = node.dynamic_gpus().filter(move |gpu| !is_of_nodes && gpu.occupancy != Occupancy::CLOSED);
    whole.into_iter().chain(open.map(move |gpu| Unit { node: name.clone(), gpu: Some(gpu.index) }))
}

impl Unit {
    fn on<'n>(&self, node: &'n Node) -> Option<&'n Gpu> {
        node.gpus.iter().find(|gpu| Some(gpu.index) == self.gpu)
    }

    fn is_empty(&self, node: &Node) -> bool {
        self.on(node).map_or_else(|| is_unused(node), is_empty)
    }

    /// Whether pods of this node hold all that is held.
    fn is_known(&self, node: &Node) -> bool {
        match self.on(node) {
            Some(gpu) => gpu
                .instances
                .iter()
                .all(|instance| instance.pod.as_ref().is_some_and(|key| node.pod(key).is_some())),
            None => node
                .pools
                .iter()
                .flat_map(|pool| &pool.holdings)
                .all(|holding| node.pod(&holding.pod).is_some()),
        }
    }

    /// The pods that hold it, or something of it.
    fn seats(&self, work: &Work<'_>, node: &Node) -> Vec<Seat> {
        let mut seats = work.seats(node);
        if let Some(gpu) = self.on(node) {
            seats.retain(|seat| {
                gpu.instances.iter().any(|instance| instance.pod.as_ref() == Some(&seat.pod.key))
            });
        }
        seats
    }

    /// Memory of the GPU's instances alone: a pod may hold others elsewhere.
    fn held(&self, node: &Node) -> Option<u64> {
        let gpu = self.on(node)?;
        let row = Catalog::get().row(gpu.model?);
        let slices = gpu.instances.iter();
        let slices = slices.map(|instance| row.profiles[usize::from(instance.profile)].memory_slices);
        Some(slices_mib(row, slices.map(u64::from).sum()))
    }

    fn shut(&self, work: &mut Work<'_>) {
        match self.gpu {
            Some(gpu) => work.shut_gpu(&self.node, gpu),
            None => work.shut_node(&self.node),
        }
    }
}
