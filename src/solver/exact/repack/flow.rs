//! The configuration-flow program.
//!
//! Variables: `y[c, k]` GPUs of class c that keep k of their movable instances, which leaves them in the state
//! of what is fixed and k; `x[s, f]` GPUs in state s that take the filling f. Written as a flow through states it
//! needs classes x keeps + states x fillings variables, where every pair of configurations would need the
//! product, and reaches the same targets. Rows: the GPUs of each class; no more GPUs take fillings than are in the
//! state; each profile finds the places that evictions and room need; GPUs left empty. Cost: what is evicted.

use std::collections::BTreeMap;

use super::super::fillings::Filling;
use super::super::program::{Program, Sense, as_float, as_whole};
use super::{Class, Group, Problem, state};
use crate::mig::{PlacementId, StateId};

/// GPUs of a class that keep the same.
struct Keep {
    class: usize,
    kept: Vec<PlacementId>,
    evicted: Vec<u32>,
    state: StateId,
    variable: usize,
}

/// GPUs in a state that take the same filling.
struct Take<'p> {
    state: StateId,
    filling: &'p Filling,
    variable: usize,
}

pub(super) struct Flow<'p, 'a> {
    pub(super) program: Program,
    problem: &'p Problem<'a>,
    keeps: Vec<Keep>,
    takes: Vec<Take<'p>>,
    variables: usize,
}

impl<'p, 'a> Flow<'p, 'a> {
    /// The program; `None` where a class holds what is illegal, or is drained of what is fixed.
    pub(super) fn new(problem: &'p Problem<'a>) -> Option<Self> {
        let mut program = Program::default();
        let mut keeps = Vec::new();
        for (index, class) in problem.classes.iter().enumerate().filter(|(_, class)| class.gpus > 0) {
            let first = keeps.len();
            keeps.extend(keeps_of(problem, index, class, &mut program)?);
            let terms = keeps[first..].iter().map(|keep| (keep.variable, 1.0)).collect();
            program.row(terms, Sense::Exactly, f64::from(class.gpus));
        }
        let takes = takes_of(problem, &keeps, &mut program);
        let variables = keeps.len() + takes.len();
        let mut flow = Self { program, problem, keeps, takes, variables };
        flow.add_places();
        flow.add_empty();
        Some(flow)
    }

    /// Each profile finds as many places as are evicted or asked for.
    fn add_places(&mut self) {
        for profile in self.problem.fillings.profiles().iter().map(|&id| usize::from(id)) {
            let given =
                self.takes.iter().map(|take| (take.variable, f64::from(take.filling.counts[profile])));
            let taken = self.keeps.iter().map(|keep| (keep.variable, -f64::from(keep.evicted[profile])));
            let terms = given.chain(taken).filter(|(_, factor)| factor.abs() > 0.0).collect();
            self.program.row(terms, Sense::AtLeast, as_float(self.problem.room(profile)));
        }
    }

    /// GPUs in the empty state that take nothing.
    fn add_empty(&mut self) {
        let is_open = |keep: &&Keep| keep.state == 0 && !self.problem.classes[keep.class].drain;
        let empty = self.keeps.iter().filter(is_open).map(|keep| (keep.variable, 1.0));
        let filled = self.takes.iter().filter(|take| take.state == 0).map(|take| (take.variable, -1.0));
        let terms = empty.chain(filled).collect();
        self.program.row(terms, Sense::AtLeast, f64::from(self.problem.goal.empty));
    }

    /// An answer in the program's variables.
    pub(super) fn values(&self, groups: &[Group]) -> Option<Vec<f64>> {
        let mut values = vec![0.0; self.variables];
        let keeps: BTreeMap<(usize, StateId, &[u32]), usize> = self
            .keeps
            .iter()
            .map(|keep| ((keep.class, keep.state, keep.evicted.as_slice()), keep.variable))
            .collect();
        for group in groups {
            let class = &self.problem.classes[group.class];
            let state = state(self.problem.geometry, &[class.fixed.as_slice(), &group.kept].concat())?;
            let evicted = self.problem.counts(&self.problem.evicted(group));
            values[*keeps.get(&(group.class, state, evicted.as_slice()))?] += f64::from(group.gpus);
            if group.added.is_empty() {
                continue;
            }
            let added = self.problem.counts(&group.added);
            let holds = |take: &&Take<'_>| {
                take.state == state
                    && take.filling.counts.iter().zip(&added).all(|(held, added)| held >= added)
            };
            values[self.takes.iter().find(holds)?.variable] += f64::from(group.gpus);
        }
        Some(values)
    }

    /// The answer that the program's values are; `None` where they are none.
    pub(super) fn groups(&self, values: &[f64]) -> Option<Vec<Group>> {
        let gpus = |variable: usize| u32::try_from(as_whole(values[variable])).ok();
        let mut waiting: BTreeMap<StateId, Vec<(&Filling, u32)>> = BTreeMap::new();
        for take in &self.takes {
            waiting.entry(take.state).or_default().push((take.filling, gpus(take.variable)?));
        }
        let mut groups = Vec::new();
        for keep in &self.keeps {
            let mut left = gpus(keep.variable)?;
            let mut push = |added: &[PlacementId], gpus: u32| {
                let (kept, added) = (keep.kept.clone(), added.to_vec());
                groups.push(Group { class: keep.class, kept, added, gpus });
            };
            let is_drained = self.problem.classes[keep.class].drain;
            for (filling, asked) in waiting.get_mut(&keep.state).filter(|_| !is_drained).into_iter().flatten()
            {
                let taken = left.min(*asked);
                if taken > 0 {
                    (left, *asked) = (left - taken, *asked - taken);
                    push(&filling.layout, taken);
                }
            }
            if left > 0 {
                push(&[], left);
            }
        }
        self.trimmed(groups)
    }

    /// Without the places that fillings offer and nobody needs.
    fn trimmed(&self, mut groups: Vec<Group>) -> Option<Vec<Group>> {
        for profile in 0..self.problem.fillings.width() {
            let placed =
                |group: &Group| u64::from(self.problem.counts(&group.added)[profile]) * u64::from(group.gpus);
            let leaves = |group: &Group| {
                u64::from(self.problem.counts(&self.problem.evicted(group))[profile]) * u64::from(group.gpus)
            };
            let needed = groups.iter().map(leaves).sum::<u64>() + self.problem.room(profile);
            let mut surplus = groups.iter().map(placed).sum::<u64>().checked_sub(needed)?;
            let mut next = 0;
            while surplus > 0 {
                let group = groups.get_mut(next)?;
                let is_of = |&placement: &PlacementId| {
                    usize::from(super::profile(self.problem.geometry, placement)) == profile
                };
                let Some(place) = group.added.iter().rposition(is_of) else {
                    next += 1;
                    continue;
                };
                let cut = u32::try_from(surplus.min(u64::from(group.gpus))).ok()?;
                let rest = Group { gpus: group.gpus - cut, ..group.clone() };
                group.added.remove(place);
                group.gpus = cut;
                surplus -= u64::from(cut);
                if rest.gpus > 0 {
                    groups.push(rest);
                }
            }
        }
        let mut merged: BTreeMap<(usize, Vec<PlacementId>, Vec<PlacementId>), u32> = BTreeMap::new();
        for mut group in groups {
            group.kept.sort_unstable();
            group.added.sort_unstable();
            *merged.entry((group.class, group.kept, group.added)).or_insert(0) += group.gpus;
        }
        let group = |((class, kept, added), gpus)| Group { class, kept, added, gpus };
        Some(merged.into_iter().map(group).collect())
    }
}

/// What GPUs of a class may keep: of keeps that leave the same state and evict the same, one.
fn keeps_of(problem: &Problem<'_>, index: usize, class: &Class, program: &mut Program) -> Option<Vec<Keep>> {
    let subsets =
        if class.drain { 1 } else { 1_u32.checked_shl(u32::try_from(class.movable.len()).ok()?)? };
    let mut keeps: BTreeMap<(StateId, Vec<u32>), Vec<PlacementId>> = BTreeMap::new();
    for subset in 0..subsets {
        let is_kept = |bit: usize| subset >> bit & 1 == 1;
        let (kept, evicted): (Vec<_>, Vec<_>) =
            class.movable.iter().copied().enumerate().partition(|(bit, _)| is_kept(*bit));
        let plain = |list: Vec<(usize, PlacementId)>| list.into_iter().map(|(_, id)| id).collect::<Vec<_>>();
        let (kept, evicted) = (plain(kept), plain(evicted));
        let state = state(problem.geometry, &[class.fixed.as_slice(), &kept].concat())?;
        if class.drain && state != 0 {
            return None;
        }
        keeps.entry((state, problem.counts(&evicted))).or_insert(kept);
    }
    let variable =
        |evicted: &[u32], program: &mut Program| program.variable(as_float(problem.price(evicted)));
    let keep = |((state, evicted), kept): ((StateId, Vec<u32>), Vec<PlacementId>)| {
        let variable = variable(&evicted, program);
        Keep { class: index, kept, evicted, state, variable }
    };
    Some(keeps.into_iter().map(keep).collect())
}

/// Fillings of the states that GPUs may be left in, and the rows that bound them.
fn takes_of<'p>(problem: &'p Problem<'_>, keeps: &[Keep], program: &mut Program) -> Vec<Take<'p>> {
    let mut by_state: BTreeMap<StateId, Vec<usize>> = BTreeMap::new();
    for keep in keeps.iter().filter(|keep| !problem.classes[keep.class].drain) {
        by_state.entry(keep.state).or_default().push(keep.variable);
    }
    let mut takes = Vec::new();
    for (state, sources) in by_state {
        let first = takes.len();
        let useful = problem.fillings.of(state).iter().filter(|filling| !filling.layout.is_empty());
        takes.extend(useful.map(|filling| Take { state, filling, variable: program.variable(0.0) }));
        if first < takes.len() {
            let inflow = sources.into_iter().map(|variable| (variable, 1.0));
            let outflow = takes[first..].iter().map(|take: &Take<'_>| (take.variable, -1.0));
            program.row(inflow.chain(outflow).collect(), Sense::AtLeast, 0.0);
        }
    }
    takes
}
