//! Prices of one GPU model's occupancies.
//!
//! For a demand mix, phi(s) is the most value of the mix that still fits onto a GPU in state s, and
//! `E(s) = -sum over p of w_p * size_p * maxcount_p(s)` its expected lost capacity: `w_p` the share of
//! profile p in the demanded memory slices, `size_p` its memory slices, `maxcount_p` how many p still fit.
//! Instances go again, and not all at once: `ahead(l)` is what phi - GAMMA * E of a layout l is expected to be
//! after a random time, exponential with HORIZON mean lifetimes, if nothing comes meanwhile. It tells a GPU that
//! will soon be empty from one with the same memory slices in use that will not. With the potential
//!
//! `P(l) = phi(l) - GAMMA * E(l) + AHEAD * ahead(l)`
//!
//! placing an instance that leads from l to k costs `P(l) - P(k) + EPSILON * free(l)` in GPUs; here in KiB of the
//! GPU's memory so that models compare.
//!
//! # The weights
//!
//! Chosen on 800 GPUs, the four synthetic mixes of the simulation's protocol and seeds other than its own, each
//! in the middle of a range over which nothing moves by more than the spread over seeds: GAMMA 0.001 to 0.03,
//! HORIZON 0.1 to 0.9, AHEAD 0.03 to 0.3. Without AHEAD, 2 to 4 percent more of what could be avoided is
//! refused, and 0.1 points more GPUs are in use at a load of 0.7.

use super::score::{FRAGMENTED, FULL, Fragmentation};
use crate::mig::{Geometry, LayoutId, Layouts, PlacementId, ProfileId, StateId};
use crate::model::Policy;

/// Weight of expected lost capacity.
const GAMMA: f64 = 0.01;
/// Mean time to look ahead, in mean lifetimes of an instance.
const HORIZON: f64 = 0.3;
/// Weight of what is expected then.
const AHEAD: f64 = 0.1;
/// Among equals prefer the fuller GPU: small against every difference of the other terms.
const EPSILON: f64 = 1e-6;
/// Fractions of a slice that the policy `fgd` tells apart.
const FGD_SCALE: f64 = 1_000_000.0;

/// Prices of one model: phi, E and the demand they come from.
#[derive(Debug)]
pub(super) struct ModelPrices<'a> {
    geometry: &'a Geometry,
    layouts: &'a Layouts,
    memory_kib: f64,
    demand: Vec<ProfileId>,
    shares: Vec<f64>,    // of the requests, in the order of demand
    values: Vec<f64>,    // in GPUs, by profile
    lost: Vec<f64>,      // E
    potential: Vec<i32>, // by layout, in KiB
}

impl<'a> ModelPrices<'a> {
    /// `shares` of the requests and `values` in GPUs, each by profile.
    pub(super) fn new(
        geometry: &'a Geometry,
        layouts: &'a Layouts,
        memory_kib: f64,
        shares: &[f64],
        values: &[f64],
    ) -> Self {
        let demand: Vec<ProfileId> =
            (0..).zip(shares).filter(|(_, share)| **share > 0.0).map(|(id, _)| id).collect();
        let size = |id: ProfileId| f64::from(geometry.profiles()[usize::from(id)].size);
        let share = |id: ProfileId| shares[usize::from(id)];
        let phi = most(geometry, |id| values[usize::from(id)]);
        let demanded: f64 = demand.iter().map(|&id| share(id) * size(id)).sum();
        let mut lost = vec![0.0; phi.len()];
        for &id in &demand {
            let count = most(geometry, |other| if other == id { 1.0 } else { 0.0 });
            for (lost, count) in lost.iter_mut().zip(count) {
                *lost -= share(id) * size(id) / demanded * size(id) * count;
            }
        }
        let shares = demand.iter().map(|&id| share(id)).collect();
        let now: Vec<f64> = phi.iter().zip(&lost).map(|(phi, lost)| phi - GAMMA * lost).collect();
        let ahead = ahead(layouts, &now);
        let potential = (0..layouts.count()).zip(&ahead).map(|(layout, ahead)| {
            rounded((now[usize::from(layouts.state(layout))] + AHEAD * ahead) * memory_kib)
        });
        let potential = potential.collect();
        let values = values.to_vec();
        Self { geometry, layouts, memory_kib, demand, shares, values, lost, potential }
    }

    /// Cost and best start by profile and layout.
    pub(super) fn tables(&self, policy: Policy) -> Vec<Vec<(i32, PlacementId)>> {
        let layouts = 0..self.layouts.count();
        let states = 0..self.geometry.states();
        let useless: Vec<f64> = states.clone().map(|state| self.useless(state)).collect();
        let blocked: Vec<i32> = states.map(|state| self.blocked(state)).collect();
        let cost = |layout: LayoutId, after: LayoutId| {
            let [s, t] = [layout, after].map(|layout| usize::from(self.layouts.state(layout)));
            match policy {
                Policy::Pack | Policy::Spread => self.cost(layout, after),
                Policy::BestFit => i32::from(self.free(layout)),
                Policy::FirstFit | Policy::Random(_) => 0,
                Policy::Mfi => blocked[t] - blocked[s],
                Policy::Fgd => rounded((useless[t] - useless[s]) * FGD_SCALE),
            }
        };
        let profiles = (0..).zip(self.geometry.profiles()).map(|(id, _)| id);
        profiles.map(|id| layouts.clone().map(|layout| self.best(layout, id, cost)).collect()).collect()
    }

    /// The cheapest start; FULL or FRAGMENTED where there is none.
    fn best(
        &self,
        layout: LayoutId,
        profile: ProfileId,
        cost: impl Fn(LayoutId, LayoutId) -> i32,
    ) -> (i32, PlacementId) {
        // min_by_key keeps the first of equals, and placements stand in the order in which they are preferred.
        let places = self.geometry.profiles()[usize::from(profile)].placements.iter();
        let costs = places.filter_map(|&id| Some((cost(layout, self.layouts.after(layout, id)?), id)));
        costs.min_by_key(|(cost, _)| *cost).unwrap_or_else(|| {
            let size = self.geometry.profiles()[usize::from(profile)].size;
            (if self.free(layout) < size { FULL } else { FRAGMENTED }, 0)
        })
    }

    fn cost(&self, layout: LayoutId, after: LayoutId) -> i32 {
        let fullness = EPSILON * f64::from(self.free(layout));
        self.potential[usize::from(layout)] - self.potential[usize::from(after)]
            + rounded(fullness * self.memory_kib)
    }

    fn free(&self, layout: LayoutId) -> u8 {
        self.geometry.free(self.layouts.state(layout))
    }

    /// What one instance is worth in GPUs, by profile.
    pub(super) fn values(&self) -> &[f64] {
        &self.values
    }

    /// P in KiB, by layout.
    pub(super) fn potential(&self) -> &[i32] {
        &self.potential
    }

    /// Free memory slices that a request drawn from the demand cannot use because it does not fit at all (FGD's
    /// measure).
    fn useless(&self, state: StateId) -> f64 {
        let free = f64::from(self.geometry.free(state));
        let fits = |id: ProfileId| self.geometry.legal(state, id).next().is_some();
        self.demand
            .iter()
            .zip(&self.shares)
            .filter(|(id, _)| !fits(**id))
            .map(|(_, share)| share * free)
            .sum()
    }

    /// Memory slices of profiles that would fit by size, over their starts that are taken (MFI's measure).
    fn blocked(&self, state: StateId) -> i32 {
        let geometry = self.geometry;
        let profile = |id: ProfileId| &geometry.profiles()[usize::from(id)];
        let has_size = |id: &ProfileId| profile(*id).size <= geometry.free(state);
        let taken = |id: ProfileId| profile(id).placements.len() - geometry.legal(state, id).count();
        let weight =
            |id: ProfileId| i32::from(profile(id).size) * i32::try_from(taken(id)).expect("at most 8 starts");
        self.demand.iter().copied().filter(has_size).map(weight).sum()
    }

    /// By layout.
    pub(super) fn fragmentation(&self) -> Vec<Fragmentation> {
        let by_state: Vec<Fragmentation> =
            (0..self.geometry.states()).map(|state| self.fragmentation_of(state)).collect();
        let layouts = 0..self.layouts.count();
        layouts.map(|layout| by_state[usize::from(self.layouts.state(layout))]).collect()
    }

    /// Free memory slices on the normalised axis that some profile of the demand can still cover.
    fn usable(&self, state: StateId) -> u16 {
        let geometry = self.geometry;
        let places = self.demand.iter().flat_map(|&id| geometry.legal(state, id));
        let covered =
            places.fold(0, |covered, (id, _)| covered | geometry.placements()[usize::from(id)].mask);
        covered & !geometry.mask(state)
    }

    /// The memory slices, in NVML's unit, that are free and of no use to the demand.
    pub(super) fn stranded(&self, state: StateId) -> Vec<u8> {
        let (geometry, unit) = (self.geometry, self.geometry.unit());
        let lost = !(self.usable(state) | geometry.mask(state));
        let slices = 0..geometry.axis() * unit;
        slices.filter(|slice| lost >> slice.div_euclid(unit) & 1 == 1).collect()
    }

    fn fragmentation_of(&self, state: StateId) -> Fragmentation {
        let geometry = self.geometry;
        let unit = u32::from(geometry.unit());
        let free = u32::from(geometry.free(state));
        let usable = self.usable(state).count_ones();
        Fragmentation {
            total: u32::from(geometry.axis()) * unit,
            used: (u32::from(geometry.axis()) - free) * unit,
            free: free * unit,
            usable: usable * unit,
            stranded: (free - usable) * unit,
            cost: (f64::from(free) + self.lost[usize::from(state)]) * f64::from(unit),
        }
    }
}

/// For every state the most value that still fits, each profile worth `value`: backwards over the states,
/// which placements only ever fill.
fn most(geometry: &Geometry, value: impl Fn(ProfileId) -> f64) -> Vec<f64> {
    let mut order: Vec<StateId> = (0..geometry.states()).collect();
    order.sort_by_key(|&state| geometry.free(state));
    let mut most = vec![0.0_f64; order.len()];
    for state in order {
        let mut best = 0.0_f64;
        for (placement, id) in geometry.placements().iter().zip(0..) {
            if let Some(after) = geometry.after(state, id) {
                best = best.max(value(placement.profile) + most[usize::from(after)]);
            }
        }
        most[usize::from(state)] = best;
    }
    most
}

/// What `now`, by state, is expected to be at HORIZON, by layout.
///
/// Each instance leaves at rate 1, so with n of them `(1 + HORIZON * n) * ahead(l) = now(l) + HORIZON * sum of
/// ahead over the layouts with one instance less`: one pass from the empty GPU on.
fn ahead(layouts: &Layouts, now: &[f64]) -> Vec<f64> {
    let mut ahead = vec![0.0; usize::from(layouts.count())]; // at first the sum over those with one less
    for layout in 0..layouts.count() {
        let value = now[usize::from(layouts.state(layout))] + HORIZON * ahead[usize::from(layout)];
        let value = value / (1.0 + HORIZON * f64::from(layouts.instances(layout)));
        ahead[usize::from(layout)] = value;
        for next in layouts.successors(layout) {
            ahead[usize::from(next)] += value;
        }
    }
    ahead
}

#[expect(clippy::cast_possible_truncation, reason = "at most 1.8 GPUs of at most 300 GiB in KiB: below 2^30")]
fn rounded(kib: f64) -> i32 {
    kib.round() as i32
}

#[cfg(test)]
mod tests {
    use super::super::Demand;
    use super::*;
    use crate::mig::{Catalog, ProfileName};

    fn a100() -> (ModelPrices<'static>, &'static Geometry) {
        let catalog = Catalog::get();
        let model = catalog.by_product("NVIDIA-A100-SXM4-80GB").unwrap();
        let geometry = catalog.geometry(model);
        let shares = Demand::prior().of_model(model);
        let values: Vec<f64> =
            geometry.profiles().iter().map(|profile| f64::from(profile.size) / 8.0).collect();
        (ModelPrices::new(geometry, catalog.layouts(model), 1e6, &shares, &values), geometry)
    }

    #[test]
    fn an_empty_gpu_is_worth_one_gpu_and_loses_what_uneven_profiles_cannot_cover() {
        let (prices, geometry) = a100();
        let value = |id: ProfileId| f64::from(geometry.profiles()[usize::from(id)].size) / 8.0;
        assert!((most(geometry, value)[0] - 1.0).abs() < 1e-12);
        // Of 8 slices 1g uses 7, 1g.20gb 8, 2g 6, 3g 8, 4g 4, 7g 8; sizes 1+2+2+4+4+8 = 21.
        let used = (7.0 + 2.0 * 8.0 + 2.0 * 6.0 + 4.0 * 8.0 + 4.0 * 4.0 + 8.0 * 8.0) / 21.0;
        let fragmentation = prices.fragmentation_of(0);
        assert!((fragmentation.cost - (8.0 - used)).abs() < 1e-12);
        assert_eq!((fragmentation.free, fragmentation.stranded), (8, 0));
        assert_eq!(geometry.free(0), 8);
    }

    #[test]
    fn starts_leave_room_for_the_largest() {
        let (prices, geometry) = a100();
        let start = |name: &str| {
            let profile = geometry.profile(&ProfileName::parse(name).unwrap()).unwrap();
            let (_, place) = prices.best(0, profile, |layout, after| prices.cost(layout, after));
            geometry.placements()[usize::from(place)].start
        };
        let starts: Vec<u8> = ["1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "7g.80gb"].map(start).to_vec();
        // 1g at 6 would strand slice 7, which only a pair that starts at 6 can use.
        assert_eq!(starts, [4, 6, 4, 4, 0]);
    }

    #[test]
    fn among_equal_slices_a_gpu_that_empties_later_is_the_cheaper_one() {
        let (prices, geometry) = a100();
        let name = |name: &str| geometry.profile(&ProfileName::parse(name).unwrap()).unwrap();
        let at = |profile: &str, start| geometry.placement(name(profile), start).unwrap();
        let holding = |places: &[u8]| {
            places.iter().fold(0, |layout, &place| prices.layouts.after(layout, place).unwrap())
        };
        let one = holding(&[at("4g.40gb", 0)]);
        let four = holding(&[0, 1, 2, 3].map(|start| at("1g.10gb", start)));
        assert_eq!(prices.layouts.state(one), prices.layouts.state(four));
        let cost = |layout| prices.cost(layout, prices.layouts.after(layout, at("3g.40gb", 4)).unwrap());
        assert!(
            cost(four) < cost(one),
            "four instances are gone later than one: {} {}",
            cost(four),
            cost(one)
        );
    }
}
