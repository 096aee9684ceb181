//! Prices of occupancies.
//!
//! For a demand mix, phi(s) is the most value of the mix that still fits onto a GPU in state s, and
//! `E(s) = -sum over p of w_p * size_p * maxcount_p(s)` its expected lost capacity: `w_p` the share of
//! profile p in the demanded memory slices, `size_p` its memory slices, `maxcount_p` how many p still fit.
//! Placing p at a start that leads from s to t costs
//!
//! `phi(s) - phi(t) + GAMMA * (E(t) - E(s)) + EPSILON * free(s)`
//!
//! in GPUs, that is the fall of the potential phi - GAMMA * E plus a term for fullness; here in KiB of the GPU's memory so that models compare. Until the mix is learnt it is uniform
//! over the profiles without attribute, each worth its share of the memory slices.
//! The same form holds for whole GPUs of a node, where jobs of 1, 2, 4 and 8 GPUs take the place of
//! profiles.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::Cost;
use crate::mig::{Catalog, Geometry, ModelId, Occupancy, PlacementId, ProfileId, ProfileName, StateId};
use crate::model::{PoolRow, Want};

/// Weight of expected lost capacity; 0.003 to 1 change measured rejections by at most 0.1 points.
const GAMMA: f64 = 0.1;
/// Among equals prefer the fuller GPU: small against every difference of the other terms.
const EPSILON: f64 = 1e-6;
/// GPUs per job of the multi-GPU demand, equally frequent: powers of two up to one host's eight.
const JOB_GPUS: [u32; 4] = [1, 2, 4, 8];

/// Cost of a request that can never be placed on such a GPU.
const NEVER: i32 = i32::MAX;
/// Cost where memory slices are missing.
const FULL: i32 = i32::MAX - 1;
/// Cost where there are free memory slices enough, but none at a legal start.
const FRAGMENTED: i32 = i32::MAX - 2;

/// What a column says of one occupancy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cell {
    Fits(i32),
    Fragmented,
    Full,
    Never,
}

impl Cell {
    pub(super) fn of(cost: i32) -> Self {
        match cost {
            NEVER => Self::Never,
            FULL => Self::Full,
            FRAGMENTED => Self::Fragmented,
            cost => Self::Fits(cost),
        }
    }
}

/// One want priced at every occupancy of every model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    costs: Vec<i32>,         // by occupancy
    picks: Vec<PlacementId>, // by occupancy; meaningful where the cost is one
}

impl Column {
    /// The least cost over GPUs; the sentinels sort behind every cost, the most hopeful one first.
    pub(super) fn least(&self, occupancies: &[Occupancy]) -> Cell {
        Cell::of(occupancies.iter().map(|occupancy| self.costs[occupancy.index()]).min().unwrap_or(NEVER))
    }

    pub(super) fn cell(&self, occupancy: Occupancy) -> Cell {
        Cell::of(self.costs[occupancy.index()])
    }

    pub(super) fn pick(&self, occupancy: Occupancy) -> PlacementId {
        self.picks[occupancy.index()]
    }
}

/// Capacity of a GPU or of many, in NVML memory slices.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Fragmentation {
    /// All memory slices.
    pub total: u32,
    /// Memory slices in use.
    pub used: u32,
    /// Free memory slices.
    pub free: u32,
    /// Free memory slices that some profile of the demand can still cover.
    pub usable: u32,
    /// Free memory slices that none can.
    pub stranded: u32,
    /// Expected free memory slices that a request drawn from the demand cannot use: free + E.
    pub cost: f64,
}

/// Prices of every placement for one demand mix.
#[derive(Debug)]
pub struct Scores {
    columns: BTreeMap<ProfileName, Column>,
    by_model: Vec<Vec<Vec<(i32, PlacementId)>>>, // model, profile, state
    fragmentation: Vec<Fragmentation>,           // by occupancy
    potential: Vec<i32>,                         // by occupancy: phi - GAMMA * E, in KiB
}

impl Scores {
    /// Prices for the demand that is assumed until one is learnt.
    pub fn prior() -> Self {
        let catalog = Catalog::get();
        let mut fragmentation = vec![Fragmentation::default()];
        let mut potential = vec![0];
        let mut by_model = Vec::new();
        for model in catalog.models() {
            let prices = ModelPrices::new(
                catalog.geometry(model),
                f64::from(catalog.row(model).memory_mib()) * 1024.0,
            );
            fragmentation.extend(prices.fragmentation());
            potential.extend((0..prices.geometry.states()).map(|state| prices.potential(state)));
            by_model.push(prices.tables());
        }
        let mut scores = Self { columns: BTreeMap::new(), by_model, fragmentation, potential };
        for profile in catalog.profiles() {
            let column = scores.assemble(|model| catalog.geometry(model).profile(profile));
            scores.columns.insert(profile.clone(), column);
        }
        scores
    }

    /// The column of a want: ready made for profiles, put together from the models' rows for memory.
    pub(super) fn column(&self, want: &Want) -> Option<Cow<'_, Column>> {
        match want {
            Want::Profile(profile) => self.columns.get(profile).map(Cow::Borrowed),
            Want::Memory { .. } => {
                let catalog = Catalog::get();
                let is_served = catalog.models().any(|model| want.cheapest(catalog, model).is_some());
                is_served.then(|| Cow::Owned(self.assemble(|model| want.cheapest(catalog, model))))
            }
        }
    }

    /// What is free on a GPU, and what of it the demand can use.
    pub fn fragmentation(&self, occupancy: Occupancy) -> Fragmentation {
        self.fragmentation[occupancy.index()]
    }

    /// Cost of everything that led from one occupancy of a GPU to another.
    pub(super) fn regret(&self, before: Occupancy, after: Occupancy) -> Cost {
        Cost::from(self.potential[before.index()]) - Cost::from(self.potential[after.index()])
    }

    fn assemble(&self, profile_of: impl Fn(ModelId) -> Option<ProfileId>) -> Column {
        let catalog = Catalog::get();
        let (mut costs, mut picks) = (vec![NEVER], vec![0]);
        for (model, tables) in catalog.models().zip(&self.by_model) {
            if let Some(profile) = profile_of(model) {
                costs.extend(tables[usize::from(profile)].iter().map(|(cost, _)| cost));
                picks.extend(tables[usize::from(profile)].iter().map(|(_, pick)| pick));
            } else {
                let states = usize::from(catalog.geometry(model).states());
                costs.resize(costs.len() + states, NEVER);
                picks.resize(picks.len() + states, 0);
            }
        }
        Column { costs, picks }
    }
}

/// Prices of one model: phi, E and the demand they come from.
struct ModelPrices<'a> {
    geometry: &'a Geometry,
    memory_kib: f64,
    demand: Vec<ProfileId>,
    phi: Vec<f64>,
    lost: Vec<f64>, // E
}

impl<'a> ModelPrices<'a> {
    fn new(geometry: &'a Geometry, memory_kib: f64) -> Self {
        let plain = |id: &ProfileId| !geometry.profiles()[usize::from(*id)].name.has_attribute();
        let demand: Vec<ProfileId> = (0..).zip(geometry.profiles()).map(|(id, _)| id).filter(plain).collect();
        let size = |id: ProfileId| f64::from(geometry.profiles()[usize::from(id)].size);
        let axis = f64::from(geometry.axis());
        let phi = most(geometry, |id| if demand.contains(&id) { size(id) / axis } else { 0.0 });
        let demanded: f64 = demand.iter().map(|&id| size(id)).sum();
        let mut lost = vec![0.0; phi.len()];
        for &id in &demand {
            let count = most(geometry, |other| if other == id { 1.0 } else { 0.0 });
            for (lost, count) in lost.iter_mut().zip(count) {
                *lost -= size(id) / demanded * size(id) * count;
            }
        }
        Self { geometry, memory_kib, demand, phi, lost }
    }

    /// Cost and best start by profile and state.
    fn tables(&self) -> Vec<Vec<(i32, PlacementId)>> {
        let profiles = (0..).zip(self.geometry.profiles()).map(|(id, _)| id);
        profiles.map(|id| (0..self.geometry.states()).map(|state| self.best(state, id)).collect()).collect()
    }

    fn best(&self, state: StateId, profile: ProfileId) -> (i32, PlacementId) {
        let costs = self.geometry.legal(state, profile).map(|(id, after)| (self.cost(state, after), id));
        // min_by_key keeps the first of equals, and legal() gives preferred starts first.
        costs.min_by_key(|(cost, _)| *cost).unwrap_or_else(|| {
            let size = self.geometry.profiles()[usize::from(profile)].size;
            (if self.geometry.free(state) < size { FULL } else { FRAGMENTED }, 0)
        })
    }

    fn cost(&self, state: StateId, after: StateId) -> i32 {
        let fullness = EPSILON * f64::from(self.geometry.free(state));
        self.potential(state) - self.potential(after) + rounded(fullness * self.memory_kib)
    }

    fn potential(&self, state: StateId) -> i32 {
        let state = usize::from(state);
        rounded((self.phi[state] - GAMMA * self.lost[state]) * self.memory_kib)
    }

    fn fragmentation(&self) -> Vec<Fragmentation> {
        (0..self.geometry.states()).map(|state| self.fragmentation_of(state)).collect()
    }

    fn fragmentation_of(&self, state: StateId) -> Fragmentation {
        let geometry = self.geometry;
        let mask = geometry.mask(state);
        let covered = self
            .demand
            .iter()
            .flat_map(|&id| geometry.legal(state, id))
            .fold(0, |covered, (id, _)| covered | geometry.placements()[usize::from(id)].mask);
        let unit = u32::from(geometry.unit());
        let free = u32::from(geometry.free(state));
        let usable = u16::count_ones(covered & !mask);
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

#[expect(clippy::cast_possible_truncation, reason = "at most 1.8 GPUs of at most 300 GiB in KiB: below 2^30")]
fn rounded(kib: f64) -> i32 {
    kib.round() as i32
}

/// Cost of `count` units from a pool of counted devices, by the same formula: jobs of whole GPUs take the
/// place of profiles; shares and partitions are all alike, so only fullness tells them apart.
pub(super) fn pool_cost(pool: &PoolRow, count: u32) -> Cost {
    let value_kib = i64::from(pool.value_mib) * 1024;
    // Saturating: counts and worth are what labels and allocatable say.
    let regret = i64::from(count).saturating_mul(value_kib);
    let lost = if pool.is_whole { expected_lost(pool.free - count, pool.free) } else { 0 };
    // GAMMA = 1/10, and one GPU is 8 memory slices, the unit of E for MIG: 8/10 of the value.
    let lost = value_kib.saturating_mul(lost).saturating_mul(8).div_euclid(LOST_SCALE * 10);
    let fullness = i64::from(pool.free).saturating_mul(1 + value_kib.div_euclid(1_000_000));
    regret.saturating_add(lost).saturating_add(fullness)
}

const LOST_SCALE: i64 = 15; // sum of JOB_GPUS: w_j = j / 15

/// (E(after) - E(before)) * [`LOST_SCALE`] for a node with so many free GPUs.
fn expected_lost(after: u32, before: u32) -> i64 {
    let placeable = |free: u32| -> i64 {
        JOB_GPUS.iter().map(|&job| i64::from(job) * i64::from(job) * i64::from(free.div_euclid(job))).sum()
    };
    placeable(before) - placeable(after)
}

/// Expected free GPUs of a node that a multi-GPU job drawn from the demand cannot use.
pub fn whole_gpu_fragmentation(free: u32) -> f64 {
    let scale = f64::from(JOB_GPUS.iter().sum::<u32>());
    JOB_GPUS.iter().map(|&job| f64::from(job) / scale * f64::from(free.rem_euclid(job))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a100() -> (ModelPrices<'static>, &'static Geometry) {
        let catalog = Catalog::get();
        let model = catalog.by_product("NVIDIA-A100-SXM4-80GB").unwrap();
        (ModelPrices::new(catalog.geometry(model), 1e6), catalog.geometry(model))
    }

    #[test]
    fn an_empty_gpu_is_worth_one_gpu_and_loses_what_uneven_profiles_cannot_cover() {
        let (prices, geometry) = a100();
        assert!((prices.phi[0] - 1.0).abs() < 1e-12);
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
            geometry.placements()[usize::from(prices.best(0, profile).1)].start
        };
        let starts: Vec<u8> = ["1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "7g.80gb"].map(start).to_vec();
        // 1g at 6 would strand slice 7, which only a pair that starts at 6 can use.
        assert_eq!(starts, [4, 6, 4, 4, 0]);
    }

    #[test]
    fn a_single_gpu_goes_where_it_breaks_the_smallest_hole() {
        let pool = |free| PoolRow {
            resource: crate::model::Cluster::default().resource("x").unwrap_or_else(any_resource),
            is_whole: true,
            free,
            capacity: 8,
            value_mib: 81920,
        };
        let mut order: Vec<u32> = (1..=8).collect();
        order.sort_by_key(|&free| pool_cost(&pool(free), 1));
        assert_eq!(order, [1, 3, 5, 7, 2, 6, 4, 8]);
    }

    fn any_resource() -> crate::model::ResourceId {
        use crate::model::{Cluster, Node, NodeFacts, PoolFacts, PoolKind};
        let pool = PoolFacts { resource: "x".into(), kind: PoolKind::Whole, capacity: 1, value_mib: 1 };
        let facts = NodeFacts { name: "n".into(), pools: vec![pool], ..NodeFacts::default() };
        let mut cluster = Cluster::default();
        cluster.put(Node::new(facts.into(), None, Vec::new()).into());
        cluster.resource("x").unwrap()
    }
}
