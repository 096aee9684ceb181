//! What a cluster has empty, and what it has lost.

use crate::mig::{Catalog, Occupancy};
use crate::model::{Cluster, Gpu, Node};
use crate::solver::Scores;

/// Figures of a cluster, in GPUs, nodes and NVML memory slices.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// Dynamic GPUs that can be used.
    pub gpus: u32,
    /// Of those, how many hold no GPU instance.
    pub empty_gpus: u32,
    /// Nodes with GPUs of any kind.
    pub nodes: u32,
    /// Of those, how many have no pod that asks for one.
    pub empty_nodes: u32,
    /// Free memory slices of the dynamic GPUs.
    pub free: u32,
    /// Free memory slices that no profile of the demand can use.
    pub stranded: u32,
    /// Free memory slices that a request drawn from the demand is expected not to be able to use.
    pub lost: f64,
}

impl Figures {
    /// The figures of all nodes.
    pub fn of(cluster: &Cluster, scores: &Scores) -> Self {
        let mut figures = Self::default();
        // In the order of names, so that the sum is the same whatever the cluster went through.
        for node in cluster.by_name() {
            figures.add(node, scores);
        }
        figures
    }

    fn add(&mut self, node: &Node, scores: &Scores) {
        for gpu in node.dynamic_gpus().filter(|gpu| gpu.occupancy != Occupancy::CLOSED) {
            let of = scores.fragmentation(gpu.occupancy);
            self.gpus += 1;
            self.empty_gpus += u32::from(is_empty(gpu));
            self.free += of.free;
            self.stranded += of.stranded;
            self.lost += of.cost;
        }
        if has_gpus(node) {
            self.nodes += 1;
            self.empty_nodes += u32::from(is_unused(node));
        }
    }
}

/// Whether a GPU can be used and holds no GPU instance.
pub(super) fn is_empty(gpu: &Gpu) -> bool {
    let state = Catalog::get().state(gpu.occupancy).map(|(_, state)| state);
    state == Some(0) && gpu.instances.is_empty()
}

/// Whether a node has devices.
pub(super) fn has_gpus(node: &Node) -> bool {
    node.dynamic_gpus().next().is_some() || node.facts.pools.iter().any(|pool| pool.capacity > 0)
}

/// Whether no pod of a node asks for a device.
pub(super) fn is_unused(node: &Node) -> bool {
    node.pods.iter().all(|pod| pod.request.is_empty()) && node.pools.iter().all(|pool| pool.used == 0)
}
