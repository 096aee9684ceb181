//! What fits together into what is free of one GPU.

use std::collections::BTreeMap;

use crate::mig::{Geometry, PlacementId, ProfileId, StateId};

/// Instances that fit together into the free part of a GPU, and one way to place them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filling {
    /// How many of each profile, by [`ProfileId`].
    pub counts: Vec<u32>,
    /// Legal placements of these instances, in an order in which each is legal.
    pub layout: Vec<PlacementId>,
}

/// For every state of a GPU the fillings that no other contains.
///
/// More of a profile is always allowed to stay unused, so a program needs no other fillings than these.
#[derive(Debug, Clone)]
pub struct Fillings {
    by_state: Vec<Vec<Filling>>,
    profiles: Vec<ProfileId>,
    sizes: Vec<u32>,
    axis: u32,
}

impl Fillings {
    /// Fillings by instances of the profiles that `is_demanded` names.
    ///
    /// # Complexity
    /// One pass over states and placements; some milliseconds for the largest geometry of the table.
    pub fn new(geometry: &Geometry, is_demanded: impl Fn(ProfileId) -> bool) -> Self {
        let ids = (0..).zip(geometry.profiles()).map(|(id, _)| id);
        let profiles: Vec<ProfileId> = ids.filter(|&id| is_demanded(id)).collect();
        let mut order: Vec<StateId> = (0..geometry.states()).collect();
        order.sort_by_key(|&state| geometry.free(state)); // placements only ever fill
        let mut by_state = vec![Vec::new(); order.len()];
        for state in order {
            by_state[usize::from(state)] = extend(geometry, &profiles, state, &by_state);
        }
        let sizes = geometry.profiles().iter().map(|profile| u32::from(profile.size)).collect();
        Self { by_state, profiles, sizes, axis: u32::from(geometry.axis()) }
    }

    /// Fillings by the profiles without attributes such as `+me`: the demand that is assumed when nobody
    /// says otherwise.
    pub fn plain(geometry: &Geometry) -> Self {
        Self::new(geometry, |id| !geometry.profiles()[usize::from(id)].name.has_attribute())
    }

    /// The fillings of a GPU in `state` that no other contains; the empty one where nothing fits.
    pub fn of(&self, state: StateId) -> &[Filling] {
        &self.by_state[usize::from(state)]
    }

    /// The fillings of an empty GPU: 28 on the 7-slice geometry without attributes.
    pub fn patterns(&self) -> &[Filling] {
        self.of(0)
    }

    /// The demanded profiles, ascending.
    pub fn profiles(&self) -> &[ProfileId] {
        &self.profiles
    }

    /// Number of profiles of the geometry: the length of every list of counts.
    pub fn width(&self) -> usize {
        self.sizes.len()
    }

    /// Memory slices of an instance on the normalised axis.
    pub(super) fn size(&self, profile: usize) -> u32 {
        self.sizes[profile]
    }

    /// Share of a GPU's memory slices.
    pub(super) fn memory_price(&self, profile: usize) -> f64 {
        f64::from(self.sizes[profile]) / f64::from(self.axis)
    }

    /// The demanded profiles, the largest first.
    pub(super) fn by_size(&self) -> Vec<ProfileId> {
        let mut profiles = self.profiles.clone();
        profiles.sort_by_key(|&id| std::cmp::Reverse(self.sizes[usize::from(id)]));
        profiles
    }
}

/// The fillings of `state` from those of the states after it.
fn extend(
    geometry: &Geometry,
    profiles: &[ProfileId],
    state: StateId,
    by_state: &[Vec<Filling>],
) -> Vec<Filling> {
    let mut found: BTreeMap<Vec<u32>, Vec<PlacementId>> = BTreeMap::new();
    for &profile in profiles {
        for (placement, after) in geometry.legal(state, profile) {
            for rest in &by_state[usize::from(after)] {
                let mut counts = rest.counts.clone();
                counts[usize::from(profile)] += 1;
                found.entry(counts).or_insert_with(|| [&[placement], rest.layout.as_slice()].concat());
            }
        }
    }
    if found.is_empty() {
        return vec![Filling { counts: vec![0; geometry.profiles().len()], layout: Vec::new() }];
    }
    let all: Vec<Filling> = found.into_iter().map(|(counts, layout)| Filling { counts, layout }).collect();
    let is_within =
        |inner: &[u32], outer: &[u32]| inner.iter().zip(outer).all(|(inner, outer)| inner <= outer);
    let is_maximal = |filling: &&Filling| {
        all.iter().all(|other| other == *filling || !is_within(&filling.counts, &other.counts))
    };
    all.iter().filter(is_maximal).cloned().collect()
}
