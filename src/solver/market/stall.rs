//! One request at the prices of its resource.

use std::cell::OnceCell;
use std::sync::Arc;

use super::{Markets, UNITS_MAX};
use crate::model::{Cluster, PoolRow, ResourceId, Row};
use crate::solver::Cost;
use crate::solver::share::{Free, Prices, Scarcity, State, cost_of_whole};

/// KiB of GPU memory that one placement can cost: sums of a pod's stay numbers.
const COST_MAX: i128 = 1 << 60;
/// Billionths of a unit in a unit, the unit of `share`'s costs.
const BILLION: i128 = 1_000_000_000;

/// What is needed to price units of one resource on every node of a cluster.
#[derive(Debug)]
pub(in crate::solver) struct Stall<'a> {
    resource: ResourceId,
    units: u32,
    cpu_milli: u64,
    memory_mib: u64,
    prices: Option<&'a Prices>,
    plain: &'a Prices,
    classes: Vec<Option<u16>>, // by the cluster's numbers
    cluster: Cluster,
    scarcity: OnceCell<Scarcity>, // looks at every node, so only when a cost is asked for
}

impl<'a> Stall<'a> {
    /// For so many units, of a pod with that CPU and memory; `None` where no node of the cluster ever offered any.
    pub(in crate::solver) fn new(
        markets: &'a Markets,
        cluster: &Cluster,
        resource: &Arc<str>,
        units: u32,
        (cpu_milli, memory_mib): (u64, u64),
    ) -> Option<Self> {
        let market = markets.get(resource);
        let mut classes = vec![None; cluster.classes().len()];
        for (class, id) in cluster.classes().iter().filter(|(class, _)| class.resource == *resource) {
            classes[id.get()] = market.and_then(|market| market.class(class));
        }
        Some(Self {
            resource: cluster.resource(resource)?,
            units: units.min(UNITS_MAX),
            cpu_milli,
            memory_mib,
            prices: market.map(super::Market::prices),
            plain: &markets.plain,
            classes,
            cluster: cluster.clone(),
            scarcity: OnceCell::new(),
        })
    }

    /// Cost of the units from a pool of a node that has them, in KiB of GPU memory.
    pub(in crate::solver) fn cost(&self, row: Row<'_>, pool: &PoolRow) -> Cost {
        let take = |state, prices, scarcity| {
            cost_of_whole(state, self.units, self.cpu_milli, self.memory_mib, prices, scarcity)
        };
        let billionths = match (self.prices, self.state(row, pool)) {
            (Some(prices), Some(state)) => {
                let states =
                    || self.cluster.indices().filter_map(|index| self.state_of(self.cluster.row(index)));
                take(state, prices, self.scarcity.get_or_init(|| Scarcity::new(prices, states())))
            }
            _ => take(state(row, pool, 0), self.plain, &Scarcity::default()),
        };
        let value_kib = i128::from(pool.value_mib) * 1024;
        let kib = (i128::from(billionths) * value_kib).div_euclid(BILLION).clamp(-COST_MAX, COST_MAX);
        Cost::try_from(kib).expect("2^60 is a cost")
    }

    fn state_of(&self, row: Row<'_>) -> Option<State<'static>> {
        let pool = row.pools.iter().find(|pool| pool.resource == self.resource)?;
        self.state(row, pool)
    }

    /// A pool as the prices see it, if they know its class.
    fn state(&self, row: Row<'_>, pool: &PoolRow) -> Option<State<'static>> {
        let class = self.classes.get(pool.class?.get()).copied()??;
        Some(state(row, pool, class))
    }
}

fn state(row: Row<'_>, pool: &PoolRow, class: u16) -> State<'static> {
    State {
        class,
        free: Free::Whole(pool.free.min(UNITS_MAX)),
        cpu_milli: row.traits.cpu_milli,
        memory_mib: row.traits.memory_mib,
    }
}
