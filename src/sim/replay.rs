//! One workload through the production solver under one policy, and what came of it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::fleet::{Fleet, Spot};
use super::workload::{Arrival, Workload};
use crate::mig::{Catalog, ModelId, ProfileId};
use crate::model::Policy;
use crate::solver::exact::{Effort, Fillings, SevenSlices, fewest};
use crate::solver::{Fragmentation, Scores};

/// What is run.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// The GPUs' model.
    pub model: ModelId,
    /// How many there are.
    pub gpus: usize,
    /// Prices.
    pub scores: &'a Scores,
    /// How to choose.
    pub policy: Policy,
    /// Instances that may be moved for a request that fits nowhere.
    pub moves_max: usize,
    /// When measuring begins.
    pub from: f64,
    /// When the run ends.
    pub to: f64,
    /// Length of a step of the series; 0 for no series.
    pub step: f64,
}

/// What came of a run, counted from [`Setting::from`] on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// Requests that came.
    pub requests: u64,
    /// Of those, how many found no place.
    pub rejected: u64,
    /// Memory slices asked for.
    pub slices: u64,
    /// Of those, how many were refused.
    pub rejected_slices: u64,
    /// Instances moved.
    pub moves: u64,
    /// GPUs with something on them, mean over the arrivals.
    pub active: f64,
    /// Course of the run, from its start.
    pub series: Vec<Sample>,
    /// Decisions taken in all, before measuring too.
    pub decisions: u64,
}

/// The fleet at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    /// When.
    pub at: f64,
    /// Memory slices that live requests ask for, placed or refused.
    pub demanded: u64,
    /// Memory slices in use.
    pub used: u64,
    /// Free memory slices that no profile of the demand can use.
    pub stranded: u64,
    /// Expected free memory slices that a request drawn from the demand cannot use.
    pub cost: f64,
    /// GPUs with something on them.
    pub active: u64,
}

impl Figures {
    /// Refused memory slices in percent of those asked for.
    pub fn rejected_slices_percent(&self) -> f64 {
        percent(self.rejected_slices, self.slices)
    }

    /// Refused requests in percent.
    pub fn rejected_percent(&self) -> f64 {
        percent(self.rejected, self.requests)
    }

    /// Instances moved per 100 requests that were accepted.
    pub fn moves_per_100(&self) -> f64 {
        percent(self.moves, self.requests - self.rejected)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a simulation, far below 2^52")]
pub(super) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

/// An end: when, and of which request.
type End = (Reverse<u64>, usize);

/// Runs a workload until [`Setting::to`].
pub fn replay(setting: &Setting<'_>, work: Workload) -> Figures {
    play(setting, work).0
}

/// The same, with the fleet as it is at the end.
pub fn play<'a>(setting: &Setting<'a>, work: Workload) -> (Figures, Fleet<'a>) {
    let mut fleet = Fleet::new(setting.scores, setting.policy, setting.model, setting.gpus);
    let sizes = sizes(setting.model);
    let mut figures = Figures::default();
    let mut ends: BinaryHeap<End> = BinaryHeap::new();
    let mut places: Vec<Option<Spot>> = Vec::new(); // by request
    let mut asked: Vec<ProfileId> = Vec::new();
    let (mut demanded, mut active, mut next_sample) = (0, 0, 0.0);
    for arrival in work.take_while(|arrival| arrival.at <= setting.to) {
        while let Some(&(Reverse(at), request)) = ends.peek()
            && f64::from_bits(at) <= arrival.at
        {
            ends.pop();
            demanded -= sizes[usize::from(asked[request])];
            if let Some(spot) = places[request].take() {
                fleet.remove(spot);
            }
        }
        while setting.step > 0.0 && next_sample <= arrival.at {
            figures.series.push(sample(&fleet, setting.scores, next_sample, demanded));
            next_sample += setting.step;
        }
        let is_measured = arrival.at > setting.from;
        let size = sizes[usize::from(arrival.profile)];
        demanded += size;
        asked.push(arrival.profile);
        ends.push((Reverse((arrival.at + arrival.lifetime).to_bits()), places.len()));
        figures.decisions += 1;
        let active_before = if is_measured { fleet.active() } else { 0 };
        let (spot, moves) = take(&mut fleet, &mut places, &arrival, setting.moves_max);
        places.push(spot);
        if is_measured {
            active += active_before;
            figures.requests += 1;
            figures.slices += size;
            figures.moves += moves;
            figures.rejected += u64::from(spot.is_none());
            figures.rejected_slices += if spot.is_none() { size } else { 0 };
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of a simulation, far below 2^52")]
    let mean = active as f64 / figures.requests.max(1) as f64;
    (Figures { active: mean, ..figures }, fleet)
}

fn take(
    fleet: &mut Fleet<'_>,
    places: &mut [Option<Spot>],
    arrival: &Arrival,
    moves_max: usize,
) -> (Option<Spot>, u64) {
    if let Some(spot) = fleet.place(arrival.profile) {
        return (Some(spot), 0);
    }
    let room = if moves_max > 0 { fleet.room(arrival.profile, moves_max) } else { None };
    let Some(room) = room else { return (None, 0) };
    for step in &room.moves {
        let moved = places.iter_mut().flatten().find(|spot| **spot == step.from);
        *moved.expect("who is moved was placed") = step.to;
        fleet.remove(step.from);
        fleet.put(step.to);
    }
    fleet.put(room.place);
    (Some(room.place), u64::try_from(room.moves.len()).expect("a few moves"))
}

/// The fewest GPUs that hold so many instances of each profile, or a bound below that.
pub(super) fn needed(model: ModelId) -> impl Fn(&[u32]) -> u64 {
    let geometry = Catalog::get().geometry(model);
    let fillings = Fillings::plain(geometry);
    let closed = SevenSlices::of(geometry);
    move |counts| match &closed {
        Some(closed) => closed.fewest(counts),
        None => fewest(geometry, &fillings, counts, Effort::seconds(1.0)).proof.bound,
    }
}

/// Memory slices by profile.
pub(super) fn sizes(model: ModelId) -> Vec<u64> {
    Catalog::get().geometry(model).profiles().iter().map(|profile| u64::from(profile.memory_slices)).collect()
}

fn sample(fleet: &Fleet<'_>, scores: &Scores, at: f64, demanded: u64) -> Sample {
    let all = fleet.occupancies().iter().map(|&occupancy| scores.fragmentation(occupancy));
    let sum = all.fold(Fragmentation::default(), |sum, gpu| Fragmentation {
        used: sum.used + gpu.used,
        stranded: sum.stranded + gpu.stranded,
        cost: sum.cost + gpu.cost,
        ..sum
    });
    Sample {
        at,
        demanded,
        used: sum.used.into(),
        stranded: sum.stranded.into(),
        cost: sum.cost,
        active: u64::try_from(fleet.active()).expect("fewer than 2^64 GPUs"),
    }
}

/// The same workload where everything may be moved at any time: what no placement without moves can beat.
///
/// A request is refused when what is there and the request do not fit onto the GPUs however they are packed.
pub fn reference(setting: &Setting<'_>, work: Workload) -> Figures {
    let sizes = sizes(setting.model);
    let needed = needed(setting.model);
    let gpus = u64::try_from(setting.gpus).expect("fewer than 2^64 GPUs");
    let mut counts = vec![0; sizes.len()];
    let mut ends: BinaryHeap<(Reverse<u64>, ProfileId)> = BinaryHeap::new();
    let mut figures = Figures::default();
    let mut active = 0;
    for arrival in work.take_while(|arrival| arrival.at <= setting.to) {
        while let Some(&(Reverse(at), profile)) = ends.peek()
            && f64::from_bits(at) <= arrival.at
        {
            ends.pop();
            counts[usize::from(profile)] -= 1;
        }
        let before = needed(&counts);
        counts[usize::from(arrival.profile)] += 1;
        let fits = needed(&counts) <= gpus;
        if fits {
            ends.push((Reverse((arrival.at + arrival.lifetime).to_bits()), arrival.profile));
        } else {
            counts[usize::from(arrival.profile)] -= 1;
        }
        figures.decisions += 1;
        if arrival.at > setting.from {
            let size = sizes[usize::from(arrival.profile)];
            active += before;
            figures.requests += 1;
            figures.slices += size;
            figures.rejected += u64::from(!fits);
            figures.rejected_slices += if fits { 0 } else { size };
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of a simulation, far below 2^52")]
    let mean = active as f64 / figures.requests.max(1) as f64;
    Figures { active: mean, ..figures }
}
