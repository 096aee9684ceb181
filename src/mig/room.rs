//! How many more instances of one profile a GPU takes.

use super::{Geometry, ProfileId, StateId};

/// For every occupancy of a geometry and every profile: how many instances of that profile alone it still takes.
///
/// Not free slices divided by the profile's size: legal starts, engines and maxima bind too.
#[derive(Debug)]
pub(super) struct Room {
    profiles: usize,
    most: Vec<u8>, // row = state, column = profile
}

impl Room {
    /// Each state from those that it leads to, which hold more memory slices and so come first.
    pub(super) fn new(geometry: &Geometry) -> Self {
        let profiles = geometry.profiles().len();
        let mut most = vec![0; usize::from(geometry.states()) * profiles];
        let mut fullest_first: Vec<StateId> = (0..geometry.states()).collect();
        fullest_first.sort_by_key(|&state| geometry.free(state));
        for state in fullest_first {
            for (column, profile) in (0..profiles).zip(0..) {
                let more = |next: StateId| 1 + most[usize::from(next) * profiles + column];
                let best = geometry.legal(state, profile).map(|(_, next)| more(next)).max();
                most[usize::from(state) * profiles + column] = best.unwrap_or(0);
            }
        }
        Self { profiles, most }
    }

    /// So many.
    pub(super) fn most(&self, state: StateId, profile: ProfileId) -> u8 {
        self.most[usize::from(state) * self.profiles + usize::from(profile)]
    }
}
