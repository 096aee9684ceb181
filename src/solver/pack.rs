//! Several GPU instances on the GPUs of one node.
//!
//! Greedy first: largest instances first, each where it costs least. When greed finds no place the exact
//! search decides: GPU by GPU, over the vectors of what is still to be placed, keeping only those that no
//! other dominates. So "does not fit" is true; a search that meets its bound of steps says so instead.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use smallvec::SmallVec;

use super::query::Query;
use super::score::Cell;
use super::{Cost, Refusal};
use crate::mig::{Catalog, ModelId, Occupancy, PlacementId, ProfileId};
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

/// Why there are no places for all instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unpacked {
    /// There is no room.
    NoRoom,
    /// The budget of the request ended first.
    CutShort,
}

impl Unpacked {
    pub(super) fn refusal(self, count: usize) -> Refusal {
        match self {
            Self::NoRoom => Refusal::NotTogether { count },
            Self::CutShort => Refusal::CutShort { count },
        }
    }
}

/// Steps of the exact search on one node: more than any request within the default limit of MIG devices per pod
/// can take, so that only a raised limit meets it. Each node has its own, so answers do not depend on the order
/// in which nodes are asked about.
const STEPS_MAX: usize = 1 << 18;
/// Finding a way to load a GPU costs about as much as using it so many times.
const STEPS_PER_LOAD: usize = 4;

pub(super) fn pack(occupancies: &[Occupancy], query: &Query<'_>) -> Result<Packed, Unpacked> {
    let devices = greedy(occupancies, query).map_or_else(|| exact_once(occupancies, query), Ok)?;
    let catalog = Catalog::get();
    let mut after = occupancies.to_vec();
    for device in &devices {
        let occupancy = &mut after[device.gpu];
        *occupancy =
            catalog.after(*occupancy, device.placement).expect("packing only takes legal placements");
    }
    let cost =
        occupancies.iter().zip(&after).map(|(&before, &after)| query.scores.regret(before, after)).sum();
    Ok(Packed { cost, devices })
}

fn greedy(occupancies: &[Occupancy], query: &Query<'_>) -> Option<Vec<Packing>> {
    let catalog = Catalog::get();
    let mut occupancies: SmallVec<[Occupancy; 16]> = occupancies.into();
    let mut devices = Vec::new();
    for (kind, slices) in query.slices.iter().enumerate() {
        for _ in &slices.asks {
            let (gpu, placement) = least(&occupancies, query, kind)?;
            occupancies[gpu] = catalog.after(occupancies[gpu], placement).expect("a pick is legal");
            devices.push(Packing { kind, gpu, placement });
        }
    }
    Some(devices)
}

/// The GPU and start of least cost for one instance of a kind; of equals the first GPU.
fn least(occupancies: &[Occupancy], query: &Query<'_>, kind: usize) -> Option<(usize, PlacementId)> {
    let column = query.slices[kind].column.as_ref()?;
    let gpu = if query.policy == Policy::Spread {
        let costs =
            occupancies.iter().enumerate().filter_map(|(gpu, &occupancy)| match column.cell(occupancy) {
                Cell::Fits(cost) => Some((emptiness(query, occupancy), cost, gpu)),
                _ => None,
            });
        costs.min()?.2
    } else {
        column.first_least(occupancies)?
    };
    Some((gpu, column.pick(occupancies[gpu])))
}

/// The GPU, by position, and the start of least cost for the one instance that is asked for; of equals the first
/// GPU. What `place` does on the GPUs of a node.
pub fn spot(occupancies: &[Occupancy], query: &Query<'_>) -> Option<(usize, PlacementId)> {
    least(occupancies, query, 0)
}

/// Under `spread` the emptiest GPU comes first, whatever it costs.
fn emptiness(query: &Query<'_>, occupancy: Occupancy) -> u32 {
    match query.policy {
        Policy::Spread => query.scores.fragmentation(occupancy).used,
        _ => 0,
    }
}

/// Kinds that mean the same profile on every model of the node: they are one to the search.
struct Group {
    profiles: Vec<Option<ProfileId>>, // by model, in the order of Search::models
    members: Vec<usize>,              // one entry per instance: its kind
}

/// The exact search on one node.
struct Search {
    models: Vec<ModelId>,
    groups: Vec<Group>,
}

/// What is still to be placed after some GPUs, and how that came about.
struct Frontier {
    open: Counts,
    parent: usize,                   // position in the frontier of the GPU before
    load: Vec<(usize, PlacementId)>, // group and place
}

/// One way to load a GPU: how many of each group, and where.
struct Load {
    counts: Counts,
    path: Vec<(usize, PlacementId)>,
}

/// Nodes whose GPUs hold the same are searched once: in a new cluster they all do.
fn exact_once(occupancies: &[Occupancy], query: &Query<'_>) -> Result<Vec<Packing>, Unpacked> {
    let mut same = occupancies.to_vec();
    same.sort_unstable();
    if let Some(&unpacked) = query.unpacked.borrow().get(&same) {
        return Err(unpacked);
    }
    // In one order, so that the bound is met alike by nodes that hold the same.
    let order = order(occupancies);
    let sorted: Vec<Occupancy> = order.iter().map(|&gpu| occupancies[gpu]).collect();
    match exact(&sorted, query) {
        Ok(devices) => {
            Ok(devices.into_iter().map(|device| Packing { gpu: order[device.gpu], ..device }).collect())
        }
        Err(unpacked) => {
            query.unpacked.borrow_mut().insert(same, unpacked);
            Err(unpacked)
        }
    }
}

/// The GPUs by what they hold.
fn order(occupancies: &[Occupancy]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..occupancies.len()).collect();
    order.sort_by_key(|&gpu| (occupancies[gpu], gpu));
    order
}

fn exact(occupancies: &[Occupancy], query: &Query<'_>) -> Result<Vec<Packing>, Unpacked> {
    let search = Search::new(occupancies, query);
    if !search.has_memory(occupancies) {
        return Err(Unpacked::NoRoom);
    }
    let mut left = STEPS_MAX;
    let mut spend = |steps: usize| {
        left = left.checked_sub(steps).ok_or(Unpacked::CutShort)?;
        Ok(())
    };
    let open: Counts = search.groups.iter().map(|group| group.members.len()).collect();
    let mut layers = vec![vec![Frontier { open, parent: 0, load: Vec::new() }]];
    for &occupancy in occupancies {
        let last = layers.last().expect("starts with one");
        let mut known: BTreeMap<&Counts, Vec<Load>> = BTreeMap::new();
        let mut next: BTreeMap<Counts, Frontier> = BTreeMap::new();
        for (parent, frontier) in last.iter().enumerate() {
            let loads = match known.entry(&frontier.open) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let loads = search.loads(occupancy, &frontier.open);
                    spend(loads.len() * STEPS_PER_LOAD)?;
                    new.insert(loads)
                }
            };
            spend(loads.len())?;
            for load in loads.iter() {
                let open: Counts =
                    frontier.open.iter().zip(&load.counts).map(|(open, placed)| open - placed).collect();
                next.entry(open.clone()).or_insert_with(|| Frontier {
                    open,
                    parent,
                    load: load.path.clone(),
                });
            }
        }
        let mut next: Vec<Frontier> = next.into_values().collect();
        undominated(&mut next, |frontier| &frontier.open, |a, b| a <= b);
        let done = next.iter().position(|frontier| frontier.open.iter().all(|&open| open == 0));
        layers.push(next);
        if let Some(done) = done {
            return Ok(search.trace(&layers, done));
        }
    }
    Err(Unpacked::NoRoom)
}

impl Search {
    fn new(occupancies: &[Occupancy], query: &Query<'_>) -> Self {
        let catalog = Catalog::get();
        let models: BTreeSet<ModelId> =
            occupancies.iter().filter_map(|&occupancy| Some(catalog.state(occupancy)?.0)).collect();
        let models: Vec<ModelId> = models.into_iter().collect();
        let mut groups: Vec<Group> = Vec::new();
        for (kind, slices) in query.slices.iter().enumerate() {
            let profiles: Vec<_> = models.iter().map(|&model| slices.want.cheapest(catalog, model)).collect();
            let members = slices.asks.iter().map(|_| kind);
            match groups.iter_mut().find(|group| group.profiles == profiles) {
                Some(group) => group.members.extend(members),
                None => groups.push(Group { members: members.collect(), profiles }),
            }
        }
        Self { models, groups }
    }

    /// Whether there are free memory slices enough in all, each instance at its smallest.
    fn has_memory(&self, occupancies: &[Occupancy]) -> bool {
        let catalog = Catalog::get();
        let free = |&occupancy: &Occupancy| {
            let (model, state) = catalog.state(occupancy)?;
            let geometry = catalog.geometry(model);
            Some(usize::from(geometry.free(state) * geometry.unit()))
        };
        let needed = |group: &Group| {
            let size = |(&model, &profile): (&ModelId, &Option<ProfileId>)| {
                Some(usize::from(catalog.geometry(model).profiles()[usize::from(profile?)].memory_slices))
            };
            let smallest = self.models.iter().zip(&group.profiles).filter_map(size).min();
            smallest.unwrap_or(usize::MAX).saturating_mul(group.members.len())
        };
        let needed = self.groups.iter().fold(0_usize, |sum, group| sum.saturating_add(needed(group)));
        needed <= occupancies.iter().filter_map(free).sum()
    }

    /// All ways to load a GPU with some of `open` that no other way dominates; at least the empty one.
    fn loads(&self, occupancy: Occupancy, open: &Counts) -> Vec<Load> {
        let catalog = Catalog::get();
        let mut found = vec![Load { counts: SmallVec::from_elem(0, open.len()), path: Vec::new() }];
        let Some((model, state)) = catalog.state(occupancy) else { return found };
        let at = self.models.iter().position(|&known| known == model).expect("every GPU's model is listed");
        let geometry = catalog.geometry(model);
        let mut seen = BTreeSet::new();
        let mut stack = vec![(state, 0)];
        while let Some((state, load)) = stack.pop() {
            for (group, profiles) in self.groups.iter().map(|group| group.profiles[at]).enumerate() {
                let Some(profile) = profiles.filter(|_| found[load].counts[group] < open[group]) else {
                    continue;
                };
                for (placement, after) in geometry.legal(state, profile) {
                    let mut counts = found[load].counts.clone();
                    counts[group] += 1;
                    if seen.insert((after, counts.clone())) {
                        let path = found[load].path.iter().copied().chain([(group, placement)]).collect();
                        found.push(Load { counts, path });
                        stack.push((after, found.len() - 1));
                    }
                }
            }
        }
        undominated(&mut found, |load| &load.counts, |a, b| a >= b);
        found
    }

    /// The way that led to a frontier without anything open.
    fn trace(&self, layers: &[Vec<Frontier>], mut at: usize) -> Vec<Packing> {
        let mut members: Vec<_> = self.groups.iter().map(|group| group.members.iter()).collect();
        let mut devices = Vec::new();
        // Layer 0 is the state before the first GPU.
        for (gpu, layer) in layers.iter().skip(1).enumerate().rev() {
            for &(group, placement) in &layer[at].load {
                let kind = *members[group].next().expect("as many places as instances");
                devices.push(Packing { kind, gpu, placement });
            }
            at = layer[at].parent;
        }
        devices
    }
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
