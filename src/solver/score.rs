//! Costs of every placement at every occupancy, ready to be looked up: one table per policy.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::exact::{Fillings, prices as fluid_prices};
use super::market::{Markets, Supply};
use super::price::ModelPrices;
use super::{Cost, Demand};
use crate::mig::{Catalog, Geometry, ModelId, Occupancy, PlacementId, Profile, ProfileId, ProfileName};
use crate::model::{Policy, Want};

/// Cost of a request that can never be placed on such a GPU.
const NEVER: i32 = i32::MAX;
/// Cost where memory slices are missing.
pub(super) const FULL: i32 = i32::MAX - 1;
/// Cost where there are free memory slices enough, but none at a legal start.
pub(super) const FRAGMENTED: i32 = i32::MAX - 2;

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

    /// Position of the first GPU of least cost.
    pub(super) fn first_least(&self, occupancies: &[Occupancy]) -> Option<usize> {
        let mut least = (FRAGMENTED, None);
        for (gpu, occupancy) in occupancies.iter().enumerate() {
            let cost = self.costs[occupancy.index()];
            if cost < least.0 {
                least = (cost, Some(gpu));
            }
        }
        least.1
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
    demand: Demand,
    prices: Vec<ModelPrices<'static>>,
    pack: Tables,
    others: [OnceLock<Tables>; OTHERS.len()], // compiled when first used
    fragmentation: Vec<Fragmentation>,        // by occupancy
    potential: Vec<i32>,                      // by occupancy, in KiB
    markets: Markets,
}

/// Policies that are there for comparison, and have tables of their own.
const OTHERS: [Policy; 4] = [Policy::BestFit, Policy::FirstFit, Policy::Mfi, Policy::Fgd];

/// The costs of one policy.
#[derive(Debug)]
struct Tables {
    columns: BTreeMap<ProfileName, Column>,
    by_model: Vec<Vec<Vec<(i32, PlacementId)>>>, // model, profile, layout
}

impl Scores {
    /// Prices for the demand that is assumed until one is learnt.
    pub fn prior() -> Self {
        Self::new(Demand::prior())
    }

    /// Prices for a demand where it is not known what there is of counted devices.
    pub fn new(demand: Demand) -> Self {
        Self::with_supply(demand, Supply::default())
    }

    /// Prices for a demand and what there is of counted devices.
    pub fn with_supply(demand: Demand, supply: Supply) -> Self {
        let catalog = Catalog::get();
        let mut fragmentation = vec![Fragmentation::default()];
        let mut potential = vec![0];
        let mut all = Vec::new();
        for model in catalog.models() {
            let geometry = catalog.geometry(model);
            let memory_kib = f64::from(catalog.row(model).memory_mib()) * 1024.0;
            let shares = demand.of_model(model);
            let prices = ModelPrices::new(
                geometry,
                catalog.layouts(model),
                memory_kib,
                &shares,
                &values(geometry, &shares, &demand),
            );
            fragmentation.extend(prices.fragmentation());
            potential.extend(prices.potential());
            all.push(prices);
        }
        let pack = Tables::new(&all, Policy::Pack);
        let markets = Markets::new(demand.counted(), supply);
        Self { demand, prices: all, pack, others: Default::default(), fragmentation, potential, markets }
    }

    /// The demand that these prices are for.
    pub fn demand(&self) -> &Demand {
        &self.demand
    }

    /// What one instance of each profile of a model is worth, in GPUs.
    pub fn values(&self, model: ModelId) -> &[f64] {
        let mut prices = Catalog::get().models().zip(&self.prices);
        prices.find(|(other, _)| *other == model).map_or(&[], |(_, prices)| prices.values())
    }

    /// The prices of counted devices.
    pub fn markets(&self) -> &Markets {
        &self.markets
    }

    /// The column of a want: ready made for profiles, put together from the models' rows for memory.
    pub(super) fn column(&self, want: &Want, policy: Policy) -> Option<Cow<'_, Column>> {
        let tables = self.tables(policy);
        match want {
            Want::Profile(profile) => tables.columns.get(profile).map(Cow::Borrowed),
            Want::Memory { .. } => {
                let catalog = Catalog::get();
                let is_served = catalog.models().any(|model| want.cheapest(catalog, model).is_some());
                is_served.then(|| Cow::Owned(tables.assemble(|model| want.cheapest(catalog, model))))
            }
        }
    }

    fn tables(&self, policy: Policy) -> &Tables {
        let policy = if matches!(policy, Policy::Random(_)) { Policy::FirstFit } else { policy };
        match OTHERS.iter().position(|other| *other == policy) {
            Some(other) => self.others[other].get_or_init(|| Tables::new(&self.prices, policy)),
            None => &self.pack,
        }
    }

    /// What is free on a GPU, and what of it the demand can use.
    pub fn fragmentation(&self, occupancy: Occupancy) -> Fragmentation {
        self.fragmentation[occupancy.index()]
    }

    /// The memory slices, in NVML's unit, that are free and that no profile of the demand can use.
    pub fn stranded(&self, occupancy: Occupancy) -> Vec<u8> {
        if self.fragmentation(occupancy).stranded == 0 {
            return Vec::new();
        }
        let catalog = Catalog::get();
        let (model, state) = catalog.state(occupancy).expect("a closed GPU has no free slices");
        let mut prices = catalog.models().zip(&self.prices);
        prices.find(|(other, _)| *other == model).map_or_else(Vec::new, |(_, prices)| prices.stranded(state))
    }

    /// Cost of everything that led from one occupancy of a GPU to another.
    pub(super) fn regret(&self, before: Occupancy, after: Occupancy) -> Cost {
        Cost::from(self.potential[before.index()]) - Cost::from(self.potential[after.index()])
    }
}

/// What an instance of each profile is worth in GPUs: the dual of the fluid packing of the demand. The prior's is
/// known: each profile's share of the memory slices.
fn values(geometry: &Geometry, shares: &[f64], demand: &Demand) -> Vec<f64> {
    if demand.is_prior_of_slices() {
        let axis = f64::from(geometry.axis());
        let value = |(profile, share): (&Profile, &f64)| {
            if *share > 0.0 { f64::from(profile.size) / axis } else { 0.0 }
        };
        return geometry.profiles().iter().zip(shares).map(value).collect();
    }
    let fillings = Fillings::new(geometry, |id| shares[usize::from(id)] > 0.0);
    fluid_prices(&fillings, shares).per_profile
}

impl Tables {
    fn new(prices: &[ModelPrices<'_>], policy: Policy) -> Self {
        let by_model = prices.iter().map(|prices| prices.tables(policy)).collect();
        let mut tables = Self { columns: BTreeMap::new(), by_model };
        let catalog = Catalog::get();
        for profile in catalog.profiles() {
            let column = tables.assemble(|model| catalog.geometry(model).profile(profile));
            tables.columns.insert(profile.clone(), column);
        }
        tables
    }

    fn assemble(&self, profile_of: impl Fn(ModelId) -> Option<ProfileId>) -> Column {
        let catalog = Catalog::get();
        let (mut costs, mut picks) = (vec![NEVER], vec![0]);
        for (model, tables) in catalog.models().zip(&self.by_model) {
            if let Some(profile) = profile_of(model) {
                costs.extend(tables[usize::from(profile)].iter().map(|(cost, _)| cost));
                picks.extend(tables[usize::from(profile)].iter().map(|(_, pick)| pick));
            } else {
                let layouts = usize::from(catalog.layouts(model).count());
                costs.resize(costs.len() + layouts, NEVER);
                picks.resize(picks.len() + layouts, 0);
            }
        }
        Column { costs, picks }
    }
}
