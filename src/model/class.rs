//! Kinds of pool: what nodes of one make have in common while they are empty.
//!
//! A cluster has thousands of nodes and some dozens of classes; prices are made by class.

use std::sync::Arc;

use super::{NodeFacts, PoolFacts, PoolKind};

/// Labels by which pods choose a GPU model, or how a GPU is shared: those of GPU feature discovery and AMD's node
/// labeller, and the clouds' names for machines. Sorted.
pub const MODEL_LABELS: [&str; 9] = [
    "amd.com/gpu.product-name",
    "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
    "node.kubernetes.io/instance-type",
    "nvidia.com/gpu.family",
    "nvidia.com/gpu.memory",
    "nvidia.com/gpu.product",
    "nvidia.com/gpu.replicas",
    "nvidia.com/gpu.sharing-strategy",
];

/// A kind of pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PoolClass {
    /// Resource name.
    pub resource: Arc<str>,
    /// Those of [`MODEL_LABELS`] that the node has, in their order.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// Whether one unit is a whole device.
    pub is_whole: bool,
    /// Worth of one unit in MiB of GPU memory.
    pub value_mib: u32,
    /// Allocatable units.
    pub units: u32,
    /// Allocatable CPU of the node in thousandths of a core, [`coarse`].
    pub cpu_milli: u64,
    /// Allocatable memory of the node in MiB, [`coarse`].
    pub memory_mib: u64,
}

impl PoolClass {
    /// The class of a pool of a node.
    pub fn of(node: &NodeFacts, pool: &PoolFacts) -> Self {
        let label =
            |key: &&str| node.labels.get_key_value(*key).map(|(key, value)| (key.clone(), value.clone()));
        Self {
            resource: pool.resource.clone(),
            labels: MODEL_LABELS.iter().filter_map(label).collect(),
            is_whole: pool.kind == PoolKind::Whole,
            value_mib: pool.value_mib,
            units: pool.capacity,
            cpu_milli: coarse(u64::try_from(node.allocatable.cpu_milli).unwrap_or(0)),
            memory_mib: coarse(mib(node.allocatable.memory_bytes)),
        }
    }
}

/// Whole MiB; nothing where it is less than nothing.
pub fn mib(bytes: i64) -> u64 {
    u64::try_from(bytes).unwrap_or(0) >> 20
}

/// An amount rounded up to four significant bits: machines of one make differ by some MiB, and requests that differ by
/// less than an eighth are one kind.
pub fn coarse(amount: u64) -> u64 {
    let step = 1_u64 << (u64::BITS - amount.leading_zeros()).saturating_sub(4);
    amount.checked_next_multiple_of(step).unwrap_or(amount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_rounded_up_by_less_than_an_eighth() {
        assert_eq!(
            [0, 1, 15, 16, 17, 18, 127_850, u64::MAX].map(coarse),
            [0, 1, 15, 16, 18, 18, 131_072, u64::MAX]
        );
        for amount in (1..100_000).step_by(7) {
            let rounded = coarse(amount);
            assert!(rounded >= amount && (rounded - amount) * 8 < amount, "{amount}: {rounded}");
        }
        assert!(MODEL_LABELS.is_sorted());
    }
}
