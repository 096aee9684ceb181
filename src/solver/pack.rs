//! Several GPU instances on the GPUs of one node.
//!
//! Greedy first: largest instances first, each where it costs least. When greed finds no place the exact
//! search decides: GPU by GPU, over the vectors of what is still to be placed, keeping only those that no
//! other dominates. So "does not fit" is always true.

use std::collections::{BTreeMap, BTreeSet};

use smallvec::SmallVec;

use super::Cost;
use super::query::Query;
use super::score::Cell;
use crate::mig::{Catalog, Occupancy, PlacementId};
use crate::model::Policy;

/// Places for all instances of a query.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) cost: Cost,
    pub(super) devices: Vec<Packing>,
}

/// One instance: which kind of the query, on which GPU (position in the row), where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packing {
    pub(super) kind: usize,
    pub(super) gpu: usize,
    pub(super) placement: PlacementId,
}

type Counts = SmallVec<[usize; 4]>; // by kind of the query

pub(super) fn pack(occupancies: &[Occupancy], query: &Query<'_>) -> Option<Packed> {
    let devices = greedy(occupancies, query).or_else(|| exact(occupancies, query))?;
    let catalog = Catalog::get();
    let mut after = occupancies.to_vec();
    for device in &devices {
        let occupancy = &mut after[device.gpu];
        *occupancy =
            catalog.after(*occupancy, device.placement).expect("packing only takes legal placements");
    }
    let cost =
        occupancies.iter().zip(&after).map(|(&before, &after)| query.scores.regret(before, after)).sum();
    Some(Packed { cost, devices })
}

fn greedy(occupancies: &[Occupancy], query: &Query<'_>) -> Option<Vec<Packing>> {
    let catalog = Catalog::get();
    let mut occupancies: SmallVec<[Occupancy; 16]> = occupancies.into();
    let mut devices = Vec::new();
    for (kind, slices) in query.slices.iter().enumerate() {
        let column = slices.column.as_ref()?;
        for _ in &slices.asks {
            let costs =
                occupancies.iter().enumerate().filter_map(|(gpu, &occupancy)| match column.cell(occupancy) {
                    Cell::Fits(cost) => Some((emptiness(query, occupancy), cost, gpu)),
                    _ => None,
                });
            let (.., gpu) = costs.min()?;
            let placement = column.pick(occupancies[gpu]);
            occupancies[gpu] = catalog.after(occupancies[gpu], placement).expect("a pick is legal");
            devices.push(Packing { kind, gpu, placement });
        }
    }
    Some(devices)
}

/// Under `spread` the emptiest GPU comes first, whatever it costs.
fn emptiness(query: &Query<'_>, occupancy: Occupancy) -> u32 {
    match query.policy {
        Policy::Pack => 0,
        Policy::Spread => query.scores.fragmentation(occupancy).used,
    }
}

/// What is still to be placed after some GPUs, and how that came about.
struct Frontier {
    open: Counts,
    parent: usize, // position in the frontier of the GPU before
    devices: Vec<Packing>,
}

fn exact(occupancies: &[Occupancy], query: &Query<'_>) -> Option<Vec<Packing>> {
    let open: Counts = query.slices.iter().map(|slices| slices.asks.len()).collect();
    let mut layers = vec![vec![Frontier { open, parent: 0, devices: Vec::new() }]];
    let mut known: BTreeMap<(Occupancy, Counts), Vec<Load>> = BTreeMap::new();
    for (gpu, &occupancy) in occupancies.iter().enumerate() {
        let last = layers.last().expect("starts with one");
        let mut next: Vec<Frontier> = Vec::new();
        for (parent, frontier) in last.iter().enumerate() {
            let key = (occupancy, frontier.open.clone());
            let loads = known.entry(key).or_insert_with(|| loads(occupancy, &frontier.open, query));
            next.extend(loads.iter().map(|load| Frontier {
                open: frontier.open.iter().zip(&load.counts).map(|(open, placed)| open - placed).collect(),
                parent,
                devices:
                    load.path.iter().map(|&(kind, placement)| Packing { kind, gpu, placement }).collect(),
            }));
        }
        undominated(&mut next, |frontier| &frontier.open, |a, b| a <= b);
        let done = next.iter().position(|frontier| frontier.open.iter().all(|&open| open == 0));
        layers.push(next);
        if let Some(done) = done {
            return Some(trace(&layers, done));
        }
    }
    None
}

fn trace(layers: &[Vec<Frontier>], mut at: usize) -> Vec<Packing> {
    let mut devices = Vec::new();
    for layer in layers.iter().rev() {
        devices.extend(layer[at].devices.iter().copied());
        at = layer[at].parent;
    }
    devices
}

/// One way to load a GPU: how many of each kind, and where.
struct Load {
    counts: Counts,
    path: Vec<(usize, PlacementId)>,
}

/// All ways to load a GPU with some of `open` that no other way dominates; at least the empty one.
fn loads(occupancy: Occupancy, open: &Counts, query: &Query<'_>) -> Vec<Load> {
    let catalog = Catalog::get();
    let mut found = vec![Load { counts: SmallVec::from_elem(0, open.len()), path: Vec::new() }];
    let Some((model, _)) = catalog.state(occupancy) else { return found };
    let profiles: Vec<_> = query.slices.iter().map(|slices| slices.want.cheapest(catalog, model)).collect();
    let mut seen = BTreeSet::new();
    let mut stack = vec![(occupancy, 0)];
    let mut tops = Vec::new();
    while let Some((occupancy, load)) = stack.pop() {
        let (_, state) = catalog.state(occupancy).expect("a legal placement does not close a GPU");
        for (kind, profile) in profiles.iter().enumerate() {
            let Some(profile) = profile else { continue };
            if found[load].counts[kind] == open[kind] {
                continue;
            }
            for (placement, after) in catalog.geometry(model).legal(state, *profile) {
                let mut counts = found[load].counts.clone();
                counts[kind] += 1;
                if seen.insert((after, counts.clone())) {
                    let mut path = found[load].path.clone();
                    path.push((kind, placement));
                    found.push(Load { counts, path });
                    stack.push((catalog.occupancy(model, after), found.len() - 1));
                }
            }
        }
    }
    tops.append(&mut found);
    undominated(&mut tops, |load| &load.counts, |a, b| a >= b);
    tops
}

/// Keeps the entries whose counts no other entry's beat in every place; of equal ones the first.
fn undominated<T>(
    entries: &mut Vec<T>,
    counts: impl Fn(&T) -> &Counts,
    beats: impl Fn(usize, usize) -> bool,
) {
    let mut kept: Vec<T> = Vec::new();
    for entry in entries.drain(..) {
        let dominates = |a: &T, b: &T| counts(a).iter().zip(counts(b)).all(|(&a, &b)| beats(a, b));
        if kept.iter().any(|other| dominates(other, &entry)) {
            continue;
        }
        kept.retain(|other| !dominates(&entry, other));
        kept.push(entry);
    }
    *entries = kept;
}
