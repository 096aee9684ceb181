//! One node, one request: what it costs there, or why it does not fit.

use super::query::{Counted, Query, Slices};
use super::score::Cell;
use super::whole::pool_cost;
use super::{Cost, Refusal, pack::pack, random};
use crate::model::{Cluster, NodeIndex, Policy, PoolRow, Row};

/// Steps of fullness that the policy `spread` tells apart.
const FULLNESS_STEPS: i64 = 1000;
/// One step of fullness outweighs every regret (below 2^40 KiB, a petabyte of GPU memory).
const FULLNESS_STEP: Cost = 1 << 40;

/// The cost of a request on a node, or why it does not fit. Reads the row only.
///
/// Table look-ups for single GPU instances: O(GPUs). Several instances are packed greedily, and exactly where greed
/// finds no place. Counted devices cost O(sizes of request); the first of a query looks at every node.
pub fn evaluate(row: Row<'_>, query: &Query<'_>) -> Result<Cost, Refusal> {
    let cost = priced(row, query)?;
    Ok(if let Policy::Random(seed) = query.policy { random::of_node(row, seed) } else { cost })
}

/// Whether a request fits on a node, or why not: [`evaluate()`] without what pools cost.
pub fn fits(row: Row<'_>, query: &Query<'_>) -> Result<(), Refusal> {
    for counted in &query.counted {
        find(row.pools, counted)?;
    }
    slices(row, query).map(|_| ())
}

fn priced(row: Row<'_>, query: &Query<'_>) -> Result<Cost, Refusal> {
    let mut cost: Cost = 0;
    for counted in &query.counted {
        let pool = find(row.pools, counted)?;
        let used = i64::from(pool.capacity - pool.free);
        let spread = match query.policy {
            Policy::Spread => fullness(used, i64::from(pool.capacity)),
            _ => 0,
        };
        let price = match &counted.stall {
            Some(stall) => stall.cost(row, pool),
            None => pool_cost(pool, counted.count, query.policy),
        };
        cost = spread.saturating_add(price).saturating_add(cost);
    }
    Ok(slices(row, query)?.saturating_add(cost))
}

fn slices(row: Row<'_>, query: &Query<'_>) -> Result<Cost, Refusal> {
    let Some(first) = query.slices.first() else { return Ok(0) };
    let is_single = query.slices.len() == 1 && first.asks.len() == 1;
    if is_single && query.policy != Policy::Spread { single(row, first) } else { several(row, query) }
}

fn find<'a>(pools: &'a [PoolRow], counted: &Counted<'_>) -> Result<&'a PoolRow, Refusal> {
    let resource = || counted.name.clone();
    let pool = pools.iter().find(|pool| Some(pool.resource) == counted.id);
    match pool {
        None => Err(Refusal::NotOffered { resource: resource() }),
        Some(pool) if pool.capacity == 0 => Err(Refusal::NotOffered { resource: resource() }),
        Some(pool) if pool.capacity < counted.count => {
            Err(Refusal::TooFew { resource: resource(), count: counted.count })
        }
        Some(pool) if pool.free < counted.count => Err(Refusal::InUse { resource: resource() }),
        Some(pool) => Ok(pool),
    }
}

fn single(row: Row<'_>, slices: &Slices<'_>) -> Result<Cost, Refusal> {
    let column = slices.column.as_ref();
    match column.map_or(Cell::Never, |column| column.least(row.occupancies)) {
        // Nobody would make the instance, however much room there is. What can never be is said first.
        Cell::Fits(_) | Cell::Full | Cell::Fragmented if row.traits.is_silent => Err(Refusal::SilentAgent),
        Cell::Fits(cost) => Ok(Cost::from(cost)),
        cell => Err(refusal(row, slices, cell)),
    }
}

fn refusal(row: Row<'_>, slices: &Slices<'_>, cell: Cell) -> Refusal {
    use crate::mig::Occupancy;
    let want = slices.text.clone();
    match cell {
        Cell::Fragmented => Refusal::Fragmented { want },
        Cell::Full => Refusal::Full { want },
        Cell::Fits(_) => unreachable!("a cost is not a refusal"),
        Cell::Never if slices.column.is_none() => Refusal::NoSuchProfile { want },
        Cell::Never if row.occupancies.is_empty() => Refusal::NotDynamic,
        Cell::Never if row.occupancies.iter().all(|&occupancy| occupancy == Occupancy::CLOSED) => {
            Refusal::Closed
        }
        Cell::Never => Refusal::WrongModel { want },
    }
}

fn several(row: Row<'_>, query: &Query<'_>) -> Result<Cost, Refusal> {
    for slices in &query.slices {
        single(row, slices)?;
    }
    let count = query.slices.iter().map(|slices| slices.asks.len()).sum();
    let packed = pack(row.occupancies, query).map_err(|unpacked| unpacked.refusal(count))?;
    let fullness = match query.policy {
        Policy::Spread => {
            let all = row.occupancies.iter().map(|&occupancy| query.scores.fragmentation(occupancy));
            let (used, total) = all.fold((0, 0), |(used, total), gpu| {
                (used + i64::from(gpu.used), total + i64::from(gpu.total))
            });
            fullness(used, total)
        }
        _ => 0,
    };
    Ok(packed.cost + fullness)
}

fn fullness(used: i64, total: i64) -> Cost {
    (used * FULLNESS_STEPS).checked_div(total).unwrap_or(0) * FULLNESS_STEP
}

/// Whether the pod would fit if every pod of lower priority than `priority` were gone from the node.
pub fn helped_by_eviction(cluster: &Cluster, index: NodeIndex, query: &Query<'_>, priority: i32) -> bool {
    let left = cluster.node(index).without(|pod| pod.priority < priority);
    fits(cluster.columns(&left).row(), query).is_ok()
}
