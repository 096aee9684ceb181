//! What of a node the prices look at.

use super::WHOLE;

/// What is free of a node's GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Free<'a> {
    /// Thousandths of each GPU.
    Parts(&'a [u16]),
    /// So many whole GPUs, and nothing of the others.
    Whole(u32),
}

/// What is free on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State<'a> {
    /// Number of its class in the [`Capacity`](super::Capacity).
    pub class: u16,
    /// GPUs.
    pub free: Free<'a>,
    /// Thousandths of a CPU.
    pub cpu_milli: u64,
    /// Memory in MiB.
    pub memory_mib: u64,
}

impl State<'_> {
    /// Free thousandths over all GPUs.
    pub fn free_milli(&self) -> u64 {
        match self.free {
            Free::Parts(parts) => parts.iter().map(|&free| u64::from(free)).sum(),
            Free::Whole(count) => u64::from(count) * u64::from(WHOLE),
        }
    }

    /// GPUs that are free as a whole.
    pub fn whole_gpus(&self) -> u64 {
        match self.free {
            Free::Parts(parts) => parts.iter().map(|&free| u64::from(free == WHOLE)).sum(),
            Free::Whole(count) => count.into(),
        }
    }
}
