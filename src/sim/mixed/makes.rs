//! The nodes of the mixed cluster.

use std::sync::Arc;

use crate::mig::{Catalog, ModelId};
use crate::model::{DynamicFacts, NodeFacts, PoolFacts, PoolKind, Resources};

/// The resource of whole GPUs.
pub(super) const WHOLE: &str = "nvidia.com/gpu";
/// The resource of replicas, as the device plugin renames it.
pub(super) const SHARED: &str = "nvidia.com/gpu.shared";
/// Replicas of a shared GPU.
pub(super) const REPLICAS: u32 = 4;

/// How a node gives out its GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// GPU instances that Tangram makes.
    Mig,
    /// Whole.
    Whole,
    /// Replicas of each.
    Shared,
}

impl Way {
    pub(super) const ALL: [Self; 3] = [Self::Mig, Self::Whole, Self::Shared];
}

/// Nodes that are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Make {
    pub(super) product: &'static str,
    pub(super) way: Way,
    pub(super) nodes: u32,
    pub(super) gpus: u16,
    pub(super) cores: u32,
    pub(super) gib: u32,
}

const fn make(product: &'static str, way: Way, nodes: u32, gpus: u16, cores: u32, gib: u32) -> Make {
    Make { product, way, nodes, gpus, cores, gib }
}

const A100_40: &str = "NVIDIA-A100-SXM4-40GB";
pub(super) const A100_80: &str = "NVIDIA-A100-SXM4-80GB";
pub(super) const H100_80: &str = "NVIDIA-H100-80GB-HBM3";
pub(super) const H200: &str = "NVIDIA-H200";
const A30: &str = "NVIDIA-A30";
const RTX_PRO: &str = "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition";

/// 300 GPUs on 46 nodes; cores and memory as clouds and vendors pair them.
pub(super) const MAKES: [Make; 10] = [
    make(A100_40, Way::Mig, 5, 8, 96, 1024),
    make(A100_80, Way::Mig, 4, 8, 96, 1024),
    make(H100_80, Way::Mig, 4, 8, 192, 2048),
    make(A30, Way::Mig, 5, 4, 48, 256),
    make(RTX_PRO, Way::Mig, 3, 4, 64, 512),
    make(A100_80, Way::Whole, 6, 8, 96, 1024),
    make(H100_80, Way::Whole, 6, 8, 192, 2048),
    make(H200, Way::Whole, 4, 8, 192, 2048),
    make(A30, Way::Shared, 5, 4, 48, 256),
    make(RTX_PRO, Way::Shared, 4, 8, 128, 1024),
];

impl Make {
    pub(super) fn model(&self) -> ModelId {
        Catalog::get().by_product(self.product).expect("the products are in the table")
    }

    /// GPU memory of all its nodes.
    pub(super) fn memory_mib(&self) -> u32 {
        self.nodes * u32::from(self.gpus) * Catalog::get().row(self.model()).memory_mib()
    }

    /// Its nodes, empty.
    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeFacts> {
        let make = *self;
        (0..make.nodes).map(move |number| make.node(number))
    }

    fn node(&self, number: u32) -> NodeFacts {
        let model = self.model();
        let memory_mib = Catalog::get().row(model).memory_mib();
        let gpus = u32::from(self.gpus);
        let pool = |resource: &str, kind, capacity, value_mib| {
            vec![PoolFacts { resource: resource.into(), kind, capacity, value_mib }]
        };
        let (pools, word) = match self.way {
            Way::Mig => (Vec::new(), "mig"),
            Way::Whole => (pool(WHOLE, PoolKind::Whole, gpus, memory_mib), "whole"),
            Way::Shared => {
                let kind = PoolKind::Replica { replicas: REPLICAS, of: None, by: None };
                (pool(SHARED, kind, gpus * REPLICAS, memory_mib.div_euclid(REPLICAS)), "shared")
            }
        };
        let dynamic = DynamicFacts { model: Some(model), gpus: (0..self.gpus).collect(), needs_agent: false };
        let product: Arc<str> = self.product.into();
        NodeFacts {
            name: format!("{word}-{product}-{number}").to_lowercase().into(),
            labels: [("nvidia.com/gpu.product".into(), product.clone())].into(),
            allocatable: Resources {
                cpu_milli: i64::from(self.cores) * 1000,
                memory_bytes: i64::from(self.gib) << 30,
                ephemeral_bytes: 1 << 40,
                pods: 250,
            },
            pools,
            dynamic: (self.way == Way::Mig).then_some(dynamic),
            product,
            ..NodeFacts::default()
        }
    }
}
