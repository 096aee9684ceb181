//! Room for one instance by moving a few others, where nothing fits as it is (SOLVER: on-demand moves).
//!
//! Every window of the wanted profile that at most so many instances block is looked at, those with the least
//! memory to move first. Its blockers go where the same prices put them, largest first; where all of them find a
//! place, the window is taken.

use smallvec::SmallVec;

use super::query::Query;
use super::{Cost, Scores, spot};
use crate::mig::{Catalog, Occupancy, PlacementId};
use crate::model::{Policy, Request, SliceAsk, Want};

/// One GPU with what is on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The GPU.
    pub occupancy: Occupancy,
    /// Its instances, and whether each may be moved.
    pub instances: SmallVec<[(PlacementId, bool); 7]>,
}

/// An instance that goes to another place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// Position of the GPU that it leaves, and its place there.
    pub from: (usize, PlacementId),
    /// Where it goes.
    pub to: (usize, PlacementId),
}

/// Room that is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// To be carried out in this order: each place is free when its turn comes.
    pub moves: Vec<Move>,
    /// The place of the wanted instance, free after the last move.
    pub place: (usize, PlacementId),
    /// Memory slices that move, in NVML's unit.
    pub memory_slices: u32,
}

/// A window and what stands in it.
struct Window {
    memory_slices: u32,
    gpu: usize,
    place: PlacementId,
    blockers: SmallVec<[PlacementId; 4]>,
}

/// Makes room for one instance by moving at most `moves_max` others; the least memory moved, then the least cost.
/// `None` where that cannot be, and where no move is needed.
pub fn make_room(gpus: &[Loaded], want: &Want, scores: &Scores, moves_max: usize) -> Option<Room> {
    let catalog = Catalog::get();
    let mut windows = Vec::new();
    for (gpu, loaded) in gpus.iter().enumerate() {
        let Some((model, _)) = catalog.state(loaded.occupancy) else { continue };
        let Some(profile) = want.cheapest(catalog, model) else { continue };
        let geometry = catalog.geometry(model);
        for &place in &geometry.profiles()[usize::from(profile)].placements {
            let mask = |id: PlacementId| geometry.placements()[usize::from(id)].mask;
            let is_in_way = |id: PlacementId| mask(id) & mask(place) != 0;
            let in_way = loaded.instances.iter().filter(|(id, _)| is_in_way(*id));
            if in_way.clone().count() > moves_max || in_way.clone().any(|(_, is_movable)| !is_movable) {
                continue;
            }
            let size = |id: PlacementId| {
                let profile = geometry.placements()[usize::from(id)].profile;
                geometry.profiles()[usize::from(profile)].memory_slices
            };
            let mut blockers: SmallVec<[PlacementId; 4]> = in_way.map(|(id, _)| *id).collect();
            blockers.sort_by_key(|id| (std::cmp::Reverse(size(*id)), *id));
            let memory_slices = blockers.iter().map(|id| u32::from(size(*id))).sum();
            if memory_slices > 0 {
                windows.push(Window { memory_slices, gpu, place, blockers });
            }
        }
    }
    windows.sort_by_key(|window| (window.memory_slices, window.gpu));
    let mut best: Option<(Cost, Room)> = None;
    for window in windows {
        if best.as_ref().is_some_and(|(_, room)| room.memory_slices < window.memory_slices) {
            break;
        }
        let found = clear(gpus, &window, scores);
        if let Some((cost, room)) = found
            && best.as_ref().is_none_or(|(least, _)| cost < *least)
        {
            best = Some((cost, room));
        }
    }
    best.map(|(_, room)| room)
}

/// Clears a window: its blockers go elsewhere.
fn clear(gpus: &[Loaded], window: &Window, scores: &Scores) -> Option<(Cost, Room)> {
    let catalog = Catalog::get();
    let mut after: Vec<Occupancy> = gpus.iter().map(|loaded| loaded.occupancy).collect();
    let (model, _) = catalog.state(gpus[window.gpu].occupancy)?;
    let geometry = catalog.geometry(model);
    // The blockers' own GPU takes the wanted instance first: they must not stand in its way again.
    let left =
        gpus[window.gpu].instances.iter().map(|(id, _)| *id).filter(|id| !window.blockers.contains(id));
    let mut bare = catalog.empty(model);
    for id in left {
        bare = catalog.after(bare, id)?;
    }
    after[window.gpu] = catalog.after(bare, window.place)?;
    let mask = |id: PlacementId| geometry.placements()[usize::from(id)].mask;
    let mut moves = Vec::new();
    for (number, &blocker) in window.blockers.iter().enumerate() {
        let profile = geometry.placements()[usize::from(blocker)].profile;
        let name = geometry.profiles()[usize::from(profile)].name.clone();
        let request = Request {
            slices: vec![SliceAsk { container: "".into(), want: Want::Profile(name) }],
            ..Request::default()
        };
        let query = Query::alone(scores, &request, Policy::Pack);
        // On its own GPU only where none of those stands that are still to move.
        let stays = window.blockers[number..].iter().fold(0, |stays, &id| stays | mask(id));
        let is_free = |to: &(usize, PlacementId)| to.0 != window.gpu || mask(to.1) & stays == 0;
        let elsewhere = |after: &[Occupancy]| {
            let mut others = after.to_vec();
            others[window.gpu] = Occupancy::CLOSED;
            spot(&others, &query)
        };
        let to = spot(&after, &query).filter(is_free).or_else(|| elsewhere(&after))?;
        after[to.0] = catalog.after(after[to.0], to.1)?;
        moves.push(Move { from: (window.gpu, blocker), to });
    }
    let cost = gpus.iter().zip(&after).map(|(before, after)| scores.regret(before.occupancy, *after)).sum();
    let (place, memory_slices) = ((window.gpu, window.place), window.memory_slices);
    Some((cost, Room { moves, place, memory_slices }))
}
