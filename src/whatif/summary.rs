//! What a cluster has free, and what of it is lost, in time that follows the kinds of GPUs, not their names.

use std::collections::BTreeMap;

use crate::mig::Catalog;
use crate::model::Cluster;
use crate::solver::{Scores, whole_gpu_fragmentation};

/// Free capacity in NVML memory slices of dynamic GPUs, and in whole GPUs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Summary {
    /// Free memory slices.
    pub free: u32,
    /// Those of them that no profile of the demand can use.
    pub stranded: u32,
    /// Those that a request drawn from the demand is expected not to be able to use.
    pub lost: f64,
    /// Free whole GPUs, of any vendor.
    pub free_gpus: u32,
    /// Those of them that a job of several GPUs on one node is expected not to be able to use.
    pub lost_gpus: f64,
}

impl Summary {
    /// Of all nodes; closed GPUs have nothing free.
    pub fn of(cluster: &Cluster, scores: &Scores) -> Self {
        let mut counts = vec![(0_u32, None); Catalog::get().occupancies()];
        let mut pools: BTreeMap<u32, u32> = BTreeMap::new();
        for index in cluster.indices() {
            let row = cluster.row(index);
            for &occupancy in row.occupancies {
                let (count, known) = &mut counts[occupancy.index()];
                *count += 1;
                *known = Some(occupancy);
            }
            for pool in row.pools.iter().filter(|pool| pool.is_whole && pool.free > 0) {
                *pools.entry(pool.free).or_default() += 1;
            }
        }
        // Sums in the order of kinds: the same whatever the cluster went through.
        let mut summary = Self::default();
        for (count, occupancy) in counts {
            let Some(occupancy) = occupancy else { continue };
            let of = scores.fragmentation(occupancy);
            summary.free += of.free * count;
            summary.stranded += of.stranded * count;
            summary.lost += of.cost * f64::from(count);
        }
        for (free, count) in pools {
            summary.free_gpus = summary.free_gpus.saturating_add(free.saturating_mul(count));
            summary.lost_gpus += whole_gpu_fragmentation(free) * f64::from(count);
        }
        summary
    }
}
