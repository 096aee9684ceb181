//! Pods on the GPUs that lose most are placed anew, as long as that loses less.

use std::cmp::Reverse;

use super::stay::Ledger;
use super::work::{Seat, Target, Work};
use super::{Goal, Spot};
use crate::mig::{Catalog, Occupancy};
use crate::model::{Device, Gpu, Node, Placement};

/// Looks at all pods: each lets those before find places that they did not see, and few are of use.
const ROUNDS: usize = 4;

/// Parts of a memory slice that are told apart: below is rounding.
const PARTS: f64 = 1e6;

/// Moves one pod after another until little enough is lost, or nothing is gained.
pub(super) fn settle<'a>(start: &Work<'a>, goal: &Goal, ledger: &mut Ledger) -> Work<'a> {
    let mut work = start.clone();
    let figures = work.figures();
    let mut left = measure(goal, figures.stranded, figures.lost);
    let wanted = match goal {
        Goal::Stranded(slices) => whole(f64::from(*slices)),
        Goal::Lost(slices) => whole(*slices),
        _ => return work,
    };
    for _ in 0..ROUNDS {
        let before = left;
        for seat in losing(&work, goal) {
            if left <= wanted {
                return work;
            }
            if ledger.note([&seat]) {
                continue;
            }
            // Where the solver puts it, or another start on its own GPU, which the solver sees as taken.
            let places = slides(&work, &seat).into_iter().chain(work.find(&seat.pod));
            let gains = places.map(|to| (gain(&work, goal, &seat.at, &to).unwrap_or(0), to));
            let best = gains.reduce(|best, other| if other.0 > best.0 { other } else { best });
            if let Some((gain, to)) = best.filter(|(gain, _)| *gain > 0)
                && work.carry(vec![Target { seat, to }]).is_some()
            {
                left -= gain;
            }
        }
        if left == before {
            break;
        }
    }
    work
}

/// How much less is lost when the one GPU instance at a place goes to another.
fn gain(work: &Work<'_>, goal: &Goal, from: &Spot, to: &Spot) -> Option<i64> {
    let ([leaves], [comes]) = (from.placement.devices.as_slice(), to.placement.devices.as_slice()) else {
        return None;
    };
    let (source, target) = (work.cluster.get(&from.node)?, work.cluster.get(&to.node)?);
    let (source, target) = (gpu(source, leaves)?, gpu(target, comes)?);
    let of = |occupancy: Occupancy| {
        let of = work.scores.fragmentation(occupancy);
        measure(goal, of.stranded, of.cost)
    };
    let bare = without(source, leaves.start)?;
    if std::ptr::eq(source, target) {
        return Some(of(source.occupancy) - of(with(bare, comes)?));
    }
    let before = of(source.occupancy) + of(target.occupancy);
    Some(before - of(bare) - of(with(target.occupancy, comes)?))
}

/// Other starts of a seat on its own GPU that are free beside it.
fn slides(work: &Work<'_>, seat: &Seat) -> Vec<Spot> {
    let at = || {
        let [device] = seat.at.placement.devices.as_slice() else { return None };
        let gpu = gpu(work.cluster.get(&seat.at.node)?, device)?;
        let (model, state) = Catalog::get().state(gpu.occupancy)?;
        Some((device, Catalog::get().geometry(model), state))
    };
    let Some((device, geometry, state)) = at() else { return Vec::new() };
    let Some(profile) = geometry.profile(&device.profile) else { return Vec::new() };
    let spot = |start| Spot {
        node: seat.at.node.clone(),
        placement: Placement { devices: vec![Device { start, ..device.clone() }] },
    };
    let starts = geometry.legal(state, profile).map(|(id, _)| geometry.placements()[usize::from(id)].start);
    starts.map(spot).collect()
}

fn gpu<'n>(node: &'n Node, device: &Device) -> Option<&'n Gpu> {
    node.gpus.iter().find(|gpu| gpu.index == device.gpu)
}

/// What a GPU holds without its instance at a start.
fn without(gpu: &Gpu, start: u8) -> Option<Occupancy> {
    let catalog = Catalog::get();
    let geometry = catalog.geometry(gpu.model?);
    let mut left = gpu.instances.iter().filter(|instance| instance.start != start);
    left.try_fold(catalog.empty(gpu.model?), |occupancy, instance| {
        catalog.after(occupancy, geometry.placement(instance.profile, instance.start)?)
    })
}

fn with(occupancy: Occupancy, device: &Device) -> Option<Occupancy> {
    let catalog = Catalog::get();
    let geometry = catalog.geometry(catalog.state(occupancy)?.0);
    catalog.after(occupancy, geometry.placement(geometry.profile(&device.profile)?, device.start)?)
}

fn measure(goal: &Goal, stranded: u32, lost: f64) -> i64 {
    match goal {
        Goal::Lost(_) => whole(lost),
        _ => whole(f64::from(stranded)),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "slices of a cluster, far below 2^63 parts")]
fn whole(slices: f64) -> i64 {
    (slices * PARTS).round() as i64
}

/// The pods of one instance on GPUs that lose something: those that lose most first, and of a GPU the smallest.
fn losing(work: &Work<'_>, goal: &Goal) -> Vec<Seat> {
    let mut losing = Vec::new();
    for node in work.cluster.by_name() {
        for seat in work.seats(node).into_iter().filter(Seat::is_single) {
            let [device] = seat.at.placement.devices.as_slice() else { continue };
            let Some(gpu) = gpu(node, device).filter(|gpu| gpu.occupancy != Occupancy::CLOSED) else {
                continue;
            };
            let of = work.scores.fragmentation(gpu.occupancy);
            let lost = measure(goal, of.stranded, of.cost);
            if lost > 0 {
                losing.push((Reverse(lost), seat.memory_mib, seat));
            }
        }
    }
    losing.sort_by(|a, b| (a.0, a.1, &a.2.pod.key).cmp(&(b.0, b.1, &b.2.pod.key)));
    losing.into_iter().map(|(_, _, seat)| seat).collect()
}
