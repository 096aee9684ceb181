//! One GPU model compiled into a table of occupancies.
//!
//! An occupancy is (memory slices in use, counters that bind). Counters are the engines of the GPU and the
//! number of instances of a profile that may exist only so often (`+me`). Rules R1 to R3 of
//! `data/mig/mig-profiles.json`: instances never share a memory slice, start only where NVML lists a
//! placement, stay within each profile's maximum, and never use more engines than the whole GPU has.
//!
//! The axis is divided by the greatest common divisor of all starts and sizes (RTX PRO 6000: 12 -> 4), and
//! counters that no legal layout can exceed are left out, so the 7-slice GPUs have 382 states, not 2,319
//! layouts. Starts keep NVML's unit at the surface ([`Placement::start`]).

use std::collections::{BTreeMap, BTreeSet};

use super::{ModelRow, ProfileName};

/// Index of a profile in its [`Geometry`], in the order of the model's row.
pub type ProfileId = u8;
/// Index of a placement in its [`Geometry`].
pub type PlacementId = u8;
/// Index of an occupancy in its [`Geometry`]; 0 is the empty GPU.
pub type StateId = u16;

const ILLEGAL: StateId = StateId::MAX;
const COUNTERS_MAX: usize = 8;

/// A profile of one model, ready for placing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: ProfileName,
    /// Compute slices of an instance.
    pub compute_slices: u8,
    /// Memory slices of an instance in NVML's unit.
    pub memory_slices: u8,
    /// Memory slices of an instance on the normalised axis.
    pub size: u8,
    /// Memory of an instance.
    pub memory_mib: u32,
    /// Its placements, best first when they cost the same.
    pub placements: Vec<PlacementId>,
}

/// A profile at a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// The profile.
    pub profile: ProfileId,
    /// First memory slice, in NVML's unit.
    pub start: u8,
    /// The memory slices it takes on the normalised axis, bit 0 = slice 0.
    pub mask: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    mask: u16,
    counters: [u8; COUNTERS_MAX],
}

/// Everything one GPU model can hold.
#[derive(Debug)]
pub struct Geometry {
    axis: u8,
    unit: u8,
    profiles: Vec<Profile>,
    placements: Vec<Placement>,
    states: Vec<State>,
    successors: Vec<StateId>, // row = state, column = placement
}

/// A resource of the GPU that placements use up beside memory slices.
struct Counter {
    total: u8,
    used_by: Vec<u8>, // by profile
}

impl Geometry {
    /// Compiles a row of the table.
    pub fn new(row: &ModelRow) -> Self {
        let unit = row
            .profiles
            .iter()
            .flat_map(|profile| profile.starts.iter().copied().chain([profile.memory_slices]))
            .fold(row.memory_slices, gcd);
        let axis = row.memory_slices.div_euclid(unit);
        let mut placements = Vec::new();
        let mut profiles = Vec::new();
        for (id, profile) in (0..).zip(row.profiles) {
            let size = profile.memory_slices.div_euclid(unit);
            let first = placements.len();
            placements.extend(profile.starts.iter().map(|&start| Placement {
                profile: id,
                start,
                mask: ((1 << size) - 1) << start.div_euclid(unit),
            }));
            let mut ids: Vec<PlacementId> = (first..placements.len()).map(narrow).collect();
            let order = preferred_starts(axis, size);
            let rank =
                |start: u8| order.iter().position(|&preferred| preferred == start).unwrap_or(order.len());
            ids.sort_by_key(|&id| rank(placements[usize::from(id)].start.div_euclid(unit)));
            profiles.push(Profile {
                name: ProfileName::parse(profile.name).expect("the table's names are well formed"),
                compute_slices: profile.compute_slices,
                memory_slices: profile.memory_slices,
                size,
                memory_mib: row.profile_memory_mib(profile),
                placements: ids,
            });
        }
        let counters = binding_counters(row, &placements);
        let (states, successors) = explore(&placements, &counters);
        Self { axis, unit, profiles, placements, states, successors }
    }

    /// Width of the normalised axis in memory slices.
    pub fn axis(&self) -> u8 {
        self.axis
    }

    /// NVML memory slices per slice of the normalised axis.
    pub fn unit(&self) -> u8 {
        self.unit
    }

    /// All profiles, in table order.
    pub fn profiles(&self) -> &[Profile] {
        &self.profiles
    }

    /// The profile called `name`.
    pub fn profile(&self, name: &ProfileName) -> Option<ProfileId> {
        self.profiles.iter().position(|profile| profile.name == *name).map(narrow)
    }

    /// All placements.
    pub fn placements(&self) -> &[Placement] {
        &self.placements
    }

    /// The placement of `profile` at `start` (NVML memory slices), if NVML lists it.
    pub fn placement(&self, profile: ProfileId, start: u8) -> Option<PlacementId> {
        let ids = &self.profiles.get(usize::from(profile))?.placements;
        ids.iter().copied().find(|&id| self.placements[usize::from(id)].start == start)
    }

    /// Number of occupancies that legal placements can reach, the empty one included.
    pub fn states(&self) -> StateId {
        StateId::try_from(self.states.len()).expect("bounded when explored")
    }

    /// Memory slices in use, on the normalised axis, bit 0 = slice 0.
    pub fn mask(&self, state: StateId) -> u16 {
        self.states[usize::from(state)].mask
    }

    /// Free memory slices on the normalised axis.
    pub fn free(&self, state: StateId) -> u8 {
        self.axis - u8::try_from(self.mask(state).count_ones()).expect("a mask has 16 bits")
    }

    /// The occupancy after `placement`, or `None` where it is illegal.
    pub fn after(&self, state: StateId, placement: PlacementId) -> Option<StateId> {
        let next = self.successors[usize::from(state) * self.placements.len() + usize::from(placement)];
        (next != ILLEGAL).then_some(next)
    }

    /// Whether another geometry has the same placements, states and successors: its layouts are the same too.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let places = |geometry: &Self| -> Vec<(ProfileId, u16)> {
            geometry.placements.iter().map(|placement| (placement.profile, placement.mask)).collect()
        };
        self.successors == other.successors && places(self) == places(other)
    }

    /// Where `profile` may start on a GPU in `state`, in the order in which equal starts are preferred.
    pub fn legal(&self, state: StateId, profile: ProfileId) -> impl Iterator<Item = (PlacementId, StateId)> {
        let ids = &self.profiles[usize::from(profile)].placements;
        ids.iter().filter_map(move |&id| Some((id, self.after(state, id)?)))
    }
}

/// The driver's own order of starts where several are equally good (SOLVER: 1g: 6,4,5,0..3; 2g: 4,0,2;
/// 3g: 4,0), seen on the 7-slice GPUs; elsewhere ascending.
fn preferred_starts(axis: u8, size: u8) -> &'static [u8] {
    match (axis, size) {
        (8, 1) => &[6, 4, 5, 0, 1, 2, 3],
        (8, 2) => &[6, 4, 0, 2],
        (8, 4) => &[4, 0],
        _ => &[],
    }
}

/// The counters that some layout within masks and maxima could exceed.
fn binding_counters(row: &ModelRow, placements: &[Placement]) -> Vec<Counter> {
    let profiles = row.profiles;
    let engine = |engine: usize| Counter {
        total: row.engines[engine],
        used_by: profiles.iter().map(|profile| profile.engines[engine]).collect(),
    };
    let maximum = |limited: usize| Counter {
        total: profiles[limited].max,
        used_by: (0..profiles.len()).map(|profile| u8::from(profile == limited)).collect(),
    };
    let mut kept: Vec<Counter> = Vec::new();
    let candidates = (0..profiles.len()).map(maximum).chain((0..row.engines.len()).map(engine));
    // Maxima first: whether an engine binds is asked of layouts that keep the maxima.
    for candidate in candidates {
        if exceeds(placements, &kept, &candidate) {
            kept.push(candidate);
        }
    }
    assert!(kept.len() <= COUNTERS_MAX, "{}: more binding counters than a state holds", row.key);
    kept
}

/// Whether some layout that keeps masks and `kept` uses more of `candidate` than there is.
fn exceeds(placements: &[Placement], kept: &[Counter], candidate: &Counter) -> bool {
    let watched: Vec<&Counter> = kept.iter().chain([candidate]).collect();
    let last = kept.len();
    let mut seen = BTreeSet::new();
    let mut open = vec![(0_u16, vec![0_u8; watched.len()])];
    while let Some((mask, used)) = open.pop() {
        for placement in placements.iter().filter(|placement| placement.mask & mask == 0) {
            let profile = usize::from(placement.profile);
            let used: Vec<u8> =
                watched.iter().zip(&used).map(|(counter, used)| used + counter.used_by[profile]).collect();
            if kept.iter().zip(&used).any(|(counter, &used)| used > counter.total) {
                continue;
            }
            if used[last] > candidate.total {
                return true;
            }
            let next = (mask | placement.mask, used);
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    false
}

/// All occupancies reachable from the empty GPU, numbered by discovery, and their successors.
fn explore(placements: &[Placement], counters: &[Counter]) -> (Vec<State>, Vec<StateId>) {
    let empty = State { mask: 0, counters: [0; COUNTERS_MAX] };
    let mut states = vec![empty];
    let mut ids = BTreeMap::from([(empty, 0)]);
    let mut successors = Vec::new();
    let mut current = 0;
    while let Some(&state) = states.get(current) {
        current += 1;
        for placement in placements {
            let mut next = state;
            next.mask |= placement.mask;
            let mut is_legal = state.mask & placement.mask == 0;
            for (counter, used) in counters.iter().zip(&mut next.counters) {
                *used += counter.used_by[usize::from(placement.profile)];
                is_legal &= *used <= counter.total;
            }
            successors.push(if is_legal {
                *ids.entry(next).or_insert_with(|| {
                    states.push(next);
                    narrow(states.len() - 1)
                })
            } else {
                ILLEGAL
            });
        }
    }
    (states, successors)
}

fn gcd(a: u8, b: u8) -> u8 {
    if b == 0 { a } else { gcd(b, a.rem_euclid(b)) }
}

pub(super) fn narrow<T: TryFrom<usize>>(index: usize) -> T {
    T::try_from(index).ok().expect("a geometry has fewer placements and states than its indices hold")
}
