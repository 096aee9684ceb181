//! The fewest moved memory slices that empty GPUs or make room.
//!
//! ```text
//! greedy  empties the GPUs that hold least, as long as their instances fit elsewhere
//! flow    the configuration-flow program: exact
//! ```
//!
//! An instance cannot slide: it stays where it is or is evicted and placed anew, on any GPU. What is fixed
//! stays. Answers name how many GPUs of a class change alike, not which: they are all the same.

mod flow;
mod greedy;

use super::fillings::Fillings;
use super::program::{Effort, Outcome, Proof, rounded_up};
use crate::mig::{Geometry, PlacementId, ProfileId, StateId};
use flow::Flow;

/// GPUs that hold the same instances, of which the same may move.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class {
    /// Instances that stay.
    pub fixed: Vec<PlacementId>,
    /// Instances that may be evicted.
    pub movable: Vec<PlacementId>,
    /// How many GPUs.
    pub gpus: u32,
    /// Whether all of them have to end empty and take nothing: GPUs of a node that is to be freed.
    pub drain: bool,
}

/// What the moves are for, and what they cost.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Goal {
    /// At least this many GPUs are empty in the end, those that were empty before among them, drained ones
    /// not.
    pub empty: u32,
    /// Further instances that have to find a place, by [`ProfileId`].
    pub room: Vec<u32>,
    /// Cost of an eviction beside one for each memory slice (of the normalised axis) that moves.
    pub per_eviction: u32,
}

/// GPUs of one class that change alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// Index of the class.
    pub class: usize,
    /// Movable instances that stay; the others of the class are evicted.
    pub kept: Vec<PlacementId>,
    /// Instances that come: evicted elsewhere (or here), or room that was asked for.
    pub added: Vec<PlacementId>,
    /// How many GPUs.
    pub gpus: u32,
}

/// A repack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repack {
    /// Every GPU of every class, those that do not change included, by class.
    pub groups: Vec<Group>,
    /// Moved memory slices of the normalised axis plus what evictions cost, and the least possible as far
    /// as proved.
    pub proof: Proof,
    /// Memory slices of the normalised axis that move.
    pub moved: u64,
    /// Instances that move.
    pub evictions: u64,
}

/// Why there is no repack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// Proved: whatever moves, the goal is out of reach.
    #[error("no moves reach the goal")]
    Impossible,
    /// None was found within the limit.
    #[error("no moves that reach the goal were found within the limit")]
    NotFound,
}

/// The cheapest repack within the effort: the greedy one unless the program finds a cheaper.
///
/// # Errors
/// [`Unreachable::Impossible`] is proved; [`Unreachable::NotFound`] may be reached with more effort.
pub fn repack(
    geometry: &Geometry,
    classes: &[Class],
    goal: &Goal,
    effort: Effort,
) -> Result<Repack, Unreachable> {
    let problem = Problem::new(geometry, classes, goal);
    let mut best = greedy::solve(&problem).map(|groups| problem.answer(groups, 0));
    let flow = Flow::new(&problem).ok_or(Unreachable::Impossible)?;
    let bound = match flow.program.solve_linear(effort) {
        Outcome::Optimal(values) => rounded_up(flow.program.cost(&values)),
        Outcome::Infeasible => return best.ok_or(Unreachable::Impossible),
        Outcome::Feasible(_) | Outcome::Unknown => 0,
    };
    if let Some(best) = &mut best {
        best.proof.bound = bound.min(best.proof.cost);
        if best.proof.is_optimal() {
            return Ok(best.clone());
        }
    }
    let start = best.as_ref().and_then(|best| flow.values(&best.groups));
    let (values, is_proved) = match flow.program.solve_whole(effort, start.as_deref()) {
        Outcome::Optimal(values) => (values, true),
        Outcome::Feasible(values) => (values, false),
        Outcome::Infeasible => return best.ok_or(Unreachable::Impossible),
        Outcome::Unknown => return best.ok_or(Unreachable::NotFound),
    };
    let found = flow.groups(&values).map(|groups| problem.answer(groups, bound));
    let mut chosen = match (best, found.filter(|found| problem.is_reached(&found.groups))) {
        (Some(best), Some(found)) if found.proof.cost < best.proof.cost => found,
        (Some(best), _) => best,
        (None, found) => return found.ok_or(Unreachable::NotFound).map(|found| found.proved(is_proved)),
    };
    chosen.proof.bound = bound.min(chosen.proof.cost);
    Ok(chosen.proved(is_proved))
}

/// The repack that is always there at once, if it finds one; its bound is 0: nothing is proved.
pub fn repack_greedily(geometry: &Geometry, classes: &[Class], goal: &Goal) -> Option<Repack> {
    let problem = Problem::new(geometry, classes, goal);
    greedy::solve(&problem).map(|groups| problem.answer(groups, 0))
}

impl Repack {
    fn proved(mut self, is_proved: bool) -> Self {
        if is_proved {
            self.proof.bound = self.proof.cost;
        }
        self
    }
}

/// The question, ready for both ways.
struct Problem<'a> {
    geometry: &'a Geometry,
    classes: &'a [Class],
    goal: &'a Goal,
    fillings: Fillings,
}

impl<'a> Problem<'a> {
    fn new(geometry: &'a Geometry, classes: &'a [Class], goal: &'a Goal) -> Self {
        let moves = |id: ProfileId| {
            let movable = classes.iter().flat_map(|class| &class.movable);
            goal.room.get(usize::from(id)).is_some_and(|&count| count > 0)
                || movable.into_iter().any(|&placement| profile(geometry, placement) == id)
        };
        Self { geometry, classes, goal, fillings: Fillings::new(geometry, moves) }
    }

    fn room(&self, profile: usize) -> u64 {
        u64::from(self.goal.room.get(profile).copied().unwrap_or(0))
    }

    fn counts(&self, placements: &[PlacementId]) -> Vec<u32> {
        let mut counts = vec![0; self.fillings.width()];
        for &placement in placements {
            counts[usize::from(profile(self.geometry, placement))] += 1;
        }
        counts
    }

    /// What evicting so many of each profile costs.
    fn price(&self, evicted: &[u32]) -> u64 {
        let each = |(profile, &count): (usize, &u32)| {
            u64::from(count) * u64::from(self.fillings.size(profile) + self.goal.per_eviction)
        };
        evicted.iter().enumerate().map(each).sum()
    }

    /// Movable instances of the group's class that do not stay.
    fn evicted(&self, group: &Group) -> Vec<PlacementId> {
        let movable = &self.classes[group.class].movable;
        movable.iter().copied().filter(|placement| !group.kept.contains(placement)).collect()
    }

    fn answer(&self, groups: Vec<Group>, bound: u64) -> Repack {
        let (mut cost, mut moved, mut evictions) = (0, 0, 0);
        for group in &groups {
            let evicted = self.counts(&self.evicted(group));
            let sizes =
                evicted.iter().enumerate().map(|(profile, &count)| count * self.fillings.size(profile));
            cost += u64::from(group.gpus) * self.price(&evicted);
            moved += u64::from(group.gpus) * u64::from(sizes.sum::<u32>());
            evictions += u64::from(group.gpus) * u64::from(evicted.iter().sum::<u32>());
        }
        Repack { groups, proof: Proof { cost, bound: bound.min(cost) }, moved, evictions }
    }

    /// Whether an answer, whoever gave it, is legal, loses nothing and reaches the goal.
    fn is_reached(&self, groups: &[Group]) -> bool {
        let mut gpus: Vec<u64> = self.classes.iter().map(|class| u64::from(class.gpus)).collect();
        let mut balance: Vec<i128> = vec![0; self.fillings.width()];
        let mut empty = 0;
        for group in groups {
            let class = &self.classes[group.class];
            let placements = [class.fixed.as_slice(), &group.kept, &group.added].concat();
            if state(self.geometry, &placements).is_none() || (class.drain && !placements.is_empty()) {
                return false;
            }
            let Some(left) = gpus[group.class].checked_sub(u64::from(group.gpus)) else { return false };
            gpus[group.class] = left;
            empty += if placements.is_empty() && !class.drain { u64::from(group.gpus) } else { 0 };
            let (added, evicted) = (self.counts(&group.added), self.counts(&self.evicted(group)));
            for (balance, (added, evicted)) in balance.iter_mut().zip(added.into_iter().zip(evicted)) {
                *balance += (i128::from(added) - i128::from(evicted)) * i128::from(group.gpus);
            }
        }
        let is_exact = |(profile, &balance): (usize, &i128)| balance == i128::from(self.room(profile));
        gpus.iter().all(|&left| left == 0)
            && empty >= u64::from(self.goal.empty)
            && balance.iter().enumerate().all(is_exact)
    }
}

fn profile(geometry: &Geometry, placement: PlacementId) -> ProfileId {
    geometry.placements()[usize::from(placement)].profile
}

/// The state that placements make together, if they are legal.
fn state(geometry: &Geometry, placements: &[PlacementId]) -> Option<StateId> {
    placements.iter().try_fold(0, |state, &placement| geometry.after(state, placement))
}
