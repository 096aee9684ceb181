//! The repack that is always there at once.
//!
//! Drained GPUs first, then what room was asked for; then GPU by GPU, those that hold least first, each as
//! long as all it holds fits into others that are neither empty nor to be emptied. Where this is not enough
//! everything movable is placed anew, the largest first.

use std::collections::{BTreeMap, BTreeSet};

use super::{Class, Group, Problem, profile, state};
use crate::mig::{PlacementId, ProfileId, StateId};

/// One GPU under way.
#[derive(Clone)]
struct Unit {
    class: usize,
    kept: Vec<PlacementId>,
    added: Vec<PlacementId>,
    state: StateId,
}

/// The GPUs that may take instances, by free slices and state so that the fullest come first.
struct Board<'p, 'a> {
    problem: &'p Problem<'a>,
    units: Vec<Unit>,
    open: BTreeMap<(u8, StateId), BTreeSet<usize>>,
}

pub(super) fn solve(problem: &Problem<'_>) -> Option<Vec<Group>> {
    let attempts = [empty_the_least, place_all_anew];
    attempts.into_iter().filter_map(|attempt| attempt(problem)).find(|groups| problem.is_reached(groups))
}

fn empty_the_least(problem: &Problem<'_>) -> Option<Vec<Group>> {
    let mut board =
        Board::new(problem, |class| if class.drain { Vec::new() } else { class.movable.clone() })?;
    board.place_all(&board.waiting())?;
    let wanted = usize::try_from(problem.goal.empty).ok()?;
    let mut victims: Vec<usize> = (0..board.units.len()).filter(|&unit| board.is_victim(unit)).collect();
    victims.sort_by_key(|&unit| problem.price(&problem.counts(&board.units[unit].kept)));
    let mut empty = board.empty();
    for victim in victims {
        if empty >= wanted {
            break;
        }
        empty += usize::from(board.clear(victim));
    }
    Some(board.groups())
}

fn place_all_anew(problem: &Problem<'_>) -> Option<Vec<Group>> {
    let mut board = Board::new(problem, |_| Vec::new())?;
    board.place_all(&board.waiting())?;
    Some(board.groups())
}

impl<'p, 'a> Board<'p, 'a> {
    fn new(problem: &'p Problem<'a>, kept: impl Fn(&Class) -> Vec<PlacementId>) -> Option<Self> {
        let mut units = Vec::new();
        for (index, class) in problem.classes.iter().enumerate() {
            let kept = kept(class);
            let state = state(problem.geometry, &[class.fixed.as_slice(), &kept].concat())?;
            let unit = Unit { class: index, kept, added: Vec::new(), state };
            units.extend((0..class.gpus).map(|_| unit.clone()));
        }
        let mut board = Self { problem, units, open: BTreeMap::new() };
        for unit in 0..board.units.len() {
            board.show(unit);
        }
        Some(board)
    }

    fn key(&self, unit: usize) -> (u8, StateId) {
        let state = self.units[unit].state;
        (self.problem.geometry.free(state), state)
    }

    fn show(&mut self, unit: usize) {
        if !self.problem.classes[self.units[unit].class].drain {
            self.open.entry(self.key(unit)).or_default().insert(unit);
        }
    }

    fn hide(&mut self, unit: usize) {
        let key = self.key(unit);
        if let Some(units) = self.open.get_mut(&key) {
            units.remove(&unit);
            if units.is_empty() {
                self.open.remove(&key);
            }
        }
    }

    /// Evicted instances and the room that was asked for, the largest first.
    fn waiting(&self) -> Vec<ProfileId> {
        let problem = self.problem;
        let mut counts: Vec<u64> = (0..problem.fillings.width()).map(|id| problem.room(id)).collect();
        for unit in &self.units {
            for &placement in &problem.classes[unit.class].movable {
                let is_evicted = !unit.kept.contains(&placement);
                counts[usize::from(profile(problem.geometry, placement))] += u64::from(is_evicted);
            }
        }
        let slots: u64 = self.units.iter().map(|_| u64::from(problem.geometry.axis())).sum();
        let bounded = |id: ProfileId| usize::try_from(counts[usize::from(id)].min(slots + 1)).unwrap_or(0);
        problem.fillings.by_size().into_iter().flat_map(|id| std::iter::repeat_n(id, bounded(id))).collect()
    }

    fn place_all(&mut self, profiles: &[ProfileId]) -> Option<()> {
        profiles.iter().try_for_each(|&id| self.place(id, true).map(drop))
    }

    /// Places an instance on the fullest GPU that takes it, an empty one if it may; says on which, and in
    /// which state that was before.
    fn place(&mut self, id: ProfileId, may_open: bool) -> Option<(usize, StateId)> {
        let geometry = self.problem.geometry;
        let fitting = self.open.iter().filter(|((_, state), _)| may_open || *state != 0);
        let mut taking = fitting
            .filter_map(|((_, state), units)| Some((*units.first()?, geometry.legal(*state, id).next()?)));
        let (unit, (placement, after)) = taking.next()?;
        let before = self.units[unit].state;
        self.hide(unit);
        self.units[unit].added.push(placement);
        self.units[unit].state = after;
        self.show(unit);
        Some((unit, before))
    }

    fn is_victim(&self, unit: usize) -> bool {
        let unit = &self.units[unit];
        let class = &self.problem.classes[unit.class];
        class.fixed.is_empty() && unit.added.is_empty() && !unit.kept.is_empty() && !class.drain
    }

    fn empty(&self) -> usize {
        self.open.iter().filter(|((_, state), _)| *state == 0).map(|(_, units)| units.len()).sum()
    }

    /// Empties a GPU if all it holds fits onto others that are not empty; else leaves everything as it was.
    fn clear(&mut self, victim: usize) -> bool {
        if !self.is_victim(victim) {
            return false; // it has taken what others held
        }
        self.hide(victim);
        let geometry = self.problem.geometry;
        let mut leaving: Vec<ProfileId> =
            self.units[victim].kept.iter().map(|&placement| profile(geometry, placement)).collect();
        leaving.sort_by_key(|&id| std::cmp::Reverse(self.problem.fillings.size(usize::from(id))));
        let mut takers: Vec<(usize, StateId)> = Vec::new();
        for id in leaving {
            let Some(taker) = self.place(id, false) else {
                takers.into_iter().rev().for_each(|(unit, state)| self.take_back(unit, state));
                self.show(victim);
                return false;
            };
            takers.push(taker);
        }
        self.units[victim].kept.clear();
        self.units[victim].state = 0;
        self.show(victim);
        true
    }

    fn take_back(&mut self, unit: usize, before: StateId) {
        self.hide(unit);
        self.units[unit].added.pop();
        self.units[unit].state = before;
        self.show(unit);
    }

    fn groups(self) -> Vec<Group> {
        let mut counted: BTreeMap<(usize, Vec<PlacementId>, Vec<PlacementId>), u32> = BTreeMap::new();
        for mut unit in self.units {
            unit.kept.sort_unstable();
            unit.added.sort_unstable();
            *counted.entry((unit.class, unit.kept, unit.added)).or_insert(0) += 1;
        }
        let group = |((class, kept, added), gpus)| Group { class, kept, added, gpus };
        counted.into_iter().map(group).collect()
    }
}
