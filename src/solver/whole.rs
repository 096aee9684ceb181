//! What counted devices cost under the policies that are there for comparison, and how broken whole GPUs are: jobs of
//! 1, 2, 4 and 8 GPUs take the place of profiles.

use super::Cost;
use crate::model::{Policy, PoolRow};

/// GPUs per job of the multi-GPU demand, equally frequent: powers of two up to one host's eight.
const JOB_GPUS: [u32; 4] = [1, 2, 4, 8];

/// Cost of `count` units from a pool of counted devices.
pub(super) fn pool_cost(pool: &PoolRow, count: u32, policy: Policy) -> Cost {
    let value_kib = i64::from(pool.value_mib) * 1024;
    // Saturating: counts and worth are what labels and allocatable say.
    let lost = if pool.is_whole { expected_lost(pool.free - count, pool.free) } else { 0 };
    match policy {
        Policy::Fgd | Policy::Mfi => value_kib.saturating_mul(lost),
        Policy::BestFit => i64::from(pool.free),
        // The first two have prices, but for what no node ever offered.
        Policy::Pack | Policy::Spread | Policy::FirstFit | Policy::Random(_) => 0,
    }
}

/// What of a node can be lost to jobs, before less after, in squares of GPUs: for a node with so many free GPUs.
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

    #[test]
    fn under_fgd_a_single_gpu_goes_where_it_breaks_the_smallest_hole() {
        let pool = |free| PoolRow {
            class: None,
            resource: crate::model::Cluster::default().resource("x").unwrap_or_else(any_resource),
            is_whole: true,
            free,
            capacity: 8,
            value_mib: 81920,
        };
        let mut order: Vec<u32> = (1..=8).collect();
        order.sort_by_key(|&free| pool_cost(&pool(free), 1, Policy::Fgd));
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
