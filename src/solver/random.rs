//! Costs of the policy `random`: any order of the places, by a seed.

use super::Cost;
use crate::mig::Occupancy;
use crate::model::Row;

/// A cost that depends on the seed, the node and what is on it: another order of the nodes each time something
/// changes, and the same one each time nothing has.
pub(super) fn of_node(row: Row<'_>, seed: u64) -> Cost {
    let gpus = row.occupancies.iter().map(|occupancy| occupancy.index());
    let pools = row.pools.iter().map(|pool| usize::try_from(pool.free).unwrap_or(0));
    cost(row.traits.salt, gpus.chain(pools), seed)
}

/// The same for one GPU by itself.
pub fn random_cost(seed: u64, gpu: usize, occupancy: Occupancy) -> Cost {
    cost(mixed(widened(gpu)), [occupancy.index()].into_iter(), seed)
}

fn cost(salt: u64, state: impl Iterator<Item = usize>, seed: u64) -> Cost {
    let state = state.fold(salt, |state, value| mixed(state ^ widened(value)));
    // Below 2^62, so that sums with it stay numbers.
    i64::try_from(mixed(state ^ seed) >> 2).unwrap_or(0)
}

fn widened(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// The finisher of `SplitMix64` (Steele, Lea, Flood 2014): every bit depends on every other.
fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
