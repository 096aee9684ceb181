//! The fewest GPUs that hold given counts of instances, on any geometry.

use std::collections::BTreeMap;

use super::closed::SevenSlices;
use super::fillings::{Filling, Fillings};
use super::fluid::prices;
use super::program::{Effort, Outcome, Program, Proof, Sense, as_float, as_whole, rounded_up};
use crate::mig::{Geometry, PlacementId, ProfileId, StateId};

/// A packing of instances onto as few GPUs as were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fewest {
    /// GPUs used, and the fewest possible as far as proved.
    pub proof: Proof,
    /// What GPUs hold, each with the number of GPUs that hold it; together at least what was asked for.
    pub packing: Vec<(Filling, u64)>,
}

/// The fewest GPUs for `counts` instances by [`ProfileId`]; profiles that the fillings leave out do not
/// count.
///
/// First fit by decreasing size; then, only while the bound is lower, the pattern ILP (one whole variable per
/// pattern, one row per profile): first for what the fluid optimum leaves over when it is rounded down, which
/// is small and nearly always enough, then for all.
pub fn fewest(geometry: &Geometry, fillings: &Fillings, counts: &[u32], effort: Effort) -> Fewest {
    fewest_above(lower_bound(geometry, fillings, counts), geometry, fillings, counts, effort)
}

/// The same where a bound is known, or where none but the programs' own is to be believed (0).
pub fn fewest_above(
    bound: u64,
    geometry: &Geometry,
    fillings: &Fillings,
    counts: &[u32],
    effort: Effort,
) -> Fewest {
    let mut best = first_fit(geometry, fillings, counts);
    best.proof.bound = bound.max(fluid_bound(fillings, counts)).min(best.proof.cost);
    if best.proof.is_optimal() {
        return best;
    }
    let question = Question::new(fillings, counts);
    let base = question.rounded_down(effort);
    let left = as_float(best.proof.bound) - base.iter().sum::<f64>();
    let rest = question.without(&base).program(left).solve_whole(effort, None);
    let (Outcome::Optimal(values) | Outcome::Feasible(values)) = rest else {
        return question.best(best, None, effort);
    };
    let start: Vec<f64> = base.iter().zip(&values).map(|(base, value)| base + value).collect();
    question.best(best, Some(&start), effort)
}

/// How many of each demanded profile, to be covered by patterns.
struct Question<'a> {
    fillings: &'a Fillings,
    counts: Vec<f64>, // by demanded profile
}

impl<'a> Question<'a> {
    fn new(fillings: &'a Fillings, counts: &[u32]) -> Self {
        let count = |id: &ProfileId| counts.get(usize::from(*id)).copied().unwrap_or(0);
        Self { fillings, counts: fillings.profiles().iter().map(count).map(f64::from).collect() }
    }

    /// The pattern program where fewer than `bound` GPUs are known not to do: told so, a backend has its
    /// proof as soon as it finds so many.
    fn program(&self, bound: f64) -> Program {
        let patterns = self.fillings.patterns();
        let mut program = Program::default();
        let gpus = patterns.iter().map(|_| (program.variable(1.0), 1.0)).collect();
        program.row(gpus, Sense::AtLeast, bound.max(0.0));
        for (&id, &count) in
            self.fillings.profiles().iter().zip(&self.counts).filter(|(_, count)| **count > 0.0)
        {
            let terms = patterns.iter().map(|pattern| f64::from(pattern.counts[usize::from(id)]));
            program.row(terms.enumerate().collect(), Sense::AtLeast, count);
        }
        program
    }

    /// GPUs per pattern that the whole optimum has nearly surely.
    fn rounded_down(&self, effort: Effort) -> Vec<f64> {
        const SPARE: f64 = 2.0; // GPUs of each pattern left to choose anew
        match self.program(0.0).solve_linear(effort) {
            Outcome::Optimal(values) => values.iter().map(|value| (value.floor() - SPARE).max(0.0)).collect(),
            _ => vec![0.0; self.fillings.patterns().len()],
        }
    }

    fn held(&self, profile: ProfileId, gpus: &[f64]) -> f64 {
        let counts =
            self.fillings.patterns().iter().map(|pattern| f64::from(pattern.counts[usize::from(profile)]));
        counts.zip(gpus).map(|(count, gpus)| count * gpus).sum()
    }

    /// What is left to cover beside these GPUs.
    fn without(&self, gpus: &[f64]) -> Self {
        let ids = self.fillings.profiles().iter().zip(&self.counts);
        let counts = ids.map(|(&id, count)| (count - self.held(id, gpus)).max(0.0)).collect();
        Self { fillings: self.fillings, counts }
    }

    /// The better of what is in hand and `start`, or of the whole program where neither is proved.
    fn best(&self, in_hand: Fewest, start: Option<&[f64]>, effort: Effort) -> Fewest {
        let best = self.better(in_hand, start);
        if best.proof.is_optimal() {
            return best;
        }
        match self.program(as_float(best.proof.bound)).solve_whole(effort, start) {
            Outcome::Optimal(values) => {
                let mut best = self.better(best, Some(&values));
                best.proof.bound = as_whole(values.iter().sum()).clamp(best.proof.bound, best.proof.cost);
                best
            }
            Outcome::Feasible(values) => self.better(best, Some(&values)),
            Outcome::Infeasible | Outcome::Unknown => best,
        }
    }

    fn better(&self, in_hand: Fewest, values: Option<&[f64]>) -> Fewest {
        let gpus = |values: &[f64]| values.iter().map(|&value| as_whole(value)).sum::<u64>();
        // Checked, because a backend's rounding may go wrong: then what is in hand is right.
        let is_better = |values: &&[f64]| {
            gpus(values) < in_hand.proof.cost && self.without(values).counts.iter().all(|&left| left <= 0.0)
        };
        let Some(values) = values.filter(is_better) else { return in_hand };
        let patterns = self.fillings.patterns().iter().cloned();
        let packing = patterns.zip(values.iter().map(|&value| as_whole(value))).filter(|(_, gpus)| *gpus > 0);
        let (cost, bound) = (gpus(values), in_hand.proof.bound);
        Fewest { proof: Proof { cost, bound: bound.min(cost) }, packing: packing.collect() }
    }
}

/// GPUs that hold the same, by free slices, so that the fullest come first.
type Open = BTreeMap<(u8, StateId, Vec<PlacementId>), u64>;

/// The greedy answer: the largest first, each onto the fullest GPU that takes it.
///
/// # Complexity
/// GPUs that hold the same are one entry and are filled together: the work follows the distinct layouts,
/// which are some dozens, and neither instances nor GPUs.
pub fn first_fit(geometry: &Geometry, fillings: &Fillings, counts: &[u32]) -> Fewest {
    let mut open = Open::new();
    for id in fillings.by_size() {
        let mut left = u64::from(counts.get(usize::from(id)).copied().unwrap_or(0));
        let step = |state: StateId| geometry.legal(state, id).next();
        while left > 0 {
            let Some((key, (placement, after))) = open.keys().find_map(|key| Some((key, step(key.1)?)))
            else {
                open_empty(&mut open, geometry, id, left);
                break;
            };
            let key = key.clone();
            let gpus = open.remove(&key).expect("found there");
            let filled = gpus.min(left);
            left -= filled;
            let layout = [key.2.as_slice(), &[placement]].concat();
            *open.entry((geometry.free(after), after, layout)).or_insert(0) += filled;
            if gpus > filled {
                open.insert(key, gpus - filled);
            }
        }
    }
    let gpus = open.values().sum();
    let bound = lower_bound(geometry, fillings, counts).min(gpus);
    let packing = open.into_iter().map(|((_, _, layout), gpus)| (filling(geometry, layout), gpus)).collect();
    Fewest { proof: Proof { cost: gpus, bound }, packing }
}

/// Empty GPUs filled with `left` instances of one profile.
fn open_empty(open: &mut Open, geometry: &Geometry, id: ProfileId, left: u64) {
    let mut most = Vec::new(); // placements and the state after each
    while let Some(step) = geometry.legal(most.last().map_or(0, |&(_, after)| after), id).next() {
        most.push(step);
    }
    let per_gpu = u64::try_from(most.len()).expect("a GPU has few slices").max(1);
    let rest = usize::try_from(left.rem_euclid(per_gpu)).expect("less than a GPU holds");
    for (held, gpus) in [(most.len(), left.div_euclid(per_gpu)), (rest, 1)] {
        if let Some(&(_, state)) = most[..held].last().filter(|_| gpus > 0) {
            let layout = most[..held].iter().map(|&(placement, _)| placement).collect();
            *open.entry((geometry.free(state), state, layout)).or_insert(0) += gpus;
        }
    }
}

/// No packing needs fewer GPUs: exact on the 7-slice geometry, elsewhere the fluid optimum, rounded up.
pub fn lower_bound(geometry: &Geometry, fillings: &Fillings, counts: &[u32]) -> u64 {
    let mut demanded = vec![0; fillings.width()];
    for profile in fillings.profiles().iter().map(|&id| usize::from(id)) {
        demanded[profile] = counts.get(profile).copied().unwrap_or(0);
    }
    let counted = SevenSlices::of(geometry).map_or(0, |kinds| kinds.fewest(&demanded));
    counted.max(fluid_bound(fillings, counts))
}

fn fluid_bound(fillings: &Fillings, counts: &[u32]) -> u64 {
    let demand: Vec<f64> = counts.iter().copied().map(f64::from).collect();
    rounded_up(prices(fillings, &demand).gpus)
}

/// Placements as a filling.
fn filling(geometry: &Geometry, layout: Vec<PlacementId>) -> Filling {
    let mut counts = vec![0; geometry.profiles().len()];
    for &placement in &layout {
        counts[usize::from(geometry.placements()[usize::from(placement)].profile)] += 1;
    }
    Filling { counts, layout }
}
