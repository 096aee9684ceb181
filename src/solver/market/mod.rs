//! Prices of counted devices: whole GPUs, static partitions, and replicas of either, by `solver::share`.
//!
//! ```text
//! kind    what one pod asks for: units of a resource, CPU, memory, models that will do
//! supply  what there is, by class of pool
//! stall   one request at the prices of its resource
//! ```
//!
//! Each resource name is a market of its own: its pools, the requests for it, and those that ask for no device and
//! take CPU and memory from it. A unit is all or nothing, and the kubelet chooses which one: so units of a pool are
//! alike, and a node is a number of free units with CPU and memory. That holds for replicas too: which of a
//! GPU's replicas are free makes no difference to anybody who asks for replicas. A unit's worth is the memory that
//! comes with it, so a replica of N is the Nth part of its GPU, and costs are in KiB of GPU memory, as those of GPU
//! instances are: what can be served by nodes of several kinds goes where it takes the least from the demand.
//!
//! What the trace of `sim::openb` has beyond that, shares of any size on a GPU that is chosen, no device plugin
//! counts; there the same prices look at each GPU's thousandths.

mod kind;
mod stall;
mod supply;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use kind::{Choice, Kind};
pub(super) use stall::Stall;
pub use supply::Supply;

use super::mix::Mix;
use super::share::{Capacity, Class, Demand, Models, Prices, prior};
use crate::model::PoolClass;

/// Units of a pool, and of one request, that prices tell apart: more is a mistake in an object.
const UNITS_MAX: u32 = 1 << 16;
/// Models of one resource that are told apart; the others count as one.
const MODELS_MAX: usize = 64;
/// Weight of all requests for counted devices together.
const WEIGHT: f64 = 4_294_967_296.0;

/// The prices of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Market {
    prices: Prices,
    classes: BTreeMap<PoolClass, u16>,
}

impl Market {
    /// What its requests pay.
    pub fn prices(&self) -> &Prices {
        &self.prices
    }

    /// The number that the prices know a class of pool by.
    pub fn class(&self, class: &PoolClass) -> Option<u16> {
        self.classes.get(class).copied()
    }

    fn new(resource: &Arc<str>, demand: &Mix<Kind>, supply: &Supply) -> Self {
        let mut capacity = Capacity::default();
        let mut models: Vec<&[(Arc<str>, Arc<str>)]> = Vec::new();
        let mut classes = BTreeMap::new();
        for (class, count) in supply.classes().filter(|(class, _)| class.resource == *resource) {
            let known = models.iter().position(|labels| *labels == class.labels.as_slice());
            let model = known.unwrap_or(models.len());
            if known.is_none() {
                models.push(&class.labels);
            }
            let (cpu_milli, memory_mib) = (class.cpu_milli, class.memory_mib);
            let class_of =
                Class { gpus: class.units.min(UNITS_MAX), cpu_milli, memory_mib, model: number(model) };
            classes.insert(class.clone(), capacity.add_nodes(class_of, count));
        }
        let mut asked = Demand::default();
        for (kind, share) in demand.kinds() {
            if kind.resource.as_ref().is_some_and(|other| other != resource) {
                continue;
            }
            let accepted = (0..).zip(&models).filter(|(_, labels)| kind.choice.accepts(labels));
            let accepted = Models::of(accepted.map(|(model, _)| number(model)));
            // Who accepts every model that is there accepts those that are yet to come.
            let is_choosy = models.iter().any(|labels| !kind.choice.accepts(labels));
            let ask = kind.ask(if is_choosy { accepted } else { Models::ANY });
            // What no node could ever serve says nothing about those that could.
            if capacity.classes().iter().any(|(class, _)| class.fits(&ask)) {
                asked.add(ask, weight(share));
            }
        }
        let whole = supply.classes().filter(|(class, _)| class.resource == *resource && class.is_whole);
        // Of partitions and replicas a pod has use for one.
        let prior = prior(&capacity, whole.map(|(class, _)| class.units).max().unwrap_or(1));
        let each = demand.prior() / number_of(&prior);
        prior.kinds().for_each(|(ask, _)| asked.add(*ask, weight(each)));
        Self { prices: Prices::new(&asked, &capacity), classes }
    }
}

/// All markets, and what is paid where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Markets {
    supply: Supply,
    by_resource: BTreeMap<Arc<str>, Market>,
    plain: Prices,
}

impl Markets {
    /// Prices of a demand on a supply.
    pub fn new(demand: &Mix<Kind>, supply: Supply) -> Self {
        let resources = supply.classes().map(|(class, _)| &class.resource);
        let markets = resources.collect::<std::collections::BTreeSet<_>>().into_iter();
        let markets = markets.map(|resource| (resource.clone(), Market::new(resource, demand, &supply)));
        Self { by_resource: markets.collect(), plain: plain(), supply }
    }

    /// What the prices are made for.
    pub fn supply(&self) -> &Supply {
        &self.supply
    }

    /// The market of a resource, where the supply has any of it.
    pub fn get(&self, resource: &str) -> Option<&Market> {
        self.by_resource.get(resource)
    }
}

/// Prices of pools that no supply knows, such as those of a node that came after the prices were made: the prior's on
/// nodes of eight units, whatever their CPU and memory.
fn plain() -> Prices {
    let mut capacity = Capacity::default();
    capacity.add_nodes(Class { gpus: 8, cpu_milli: 0, memory_mib: 0, model: 0 }, 1);
    Prices::new(&prior(&capacity, u32::MAX), &capacity)
}

fn number(model: usize) -> u8 {
    u8::try_from(model.min(MODELS_MAX - 1)).expect("below 64")
}

fn number_of(demand: &Demand) -> f64 {
    demand.kinds().map(|_| 1.0).sum()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share is from 0 to 1")]
fn weight(share: f64) -> u64 {
    (share * WEIGHT).round() as u64
}
