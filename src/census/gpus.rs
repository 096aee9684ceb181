//! How much of one GPU is held.

use std::sync::Arc;

use crate::mig::Catalog;
use crate::model::{Gpu, Node};

/// One GPU whose UUID an agent reports: the key by which the figures of others, such as DCGM's, join these.
#[derive(Debug, Clone, PartialEq)]
pub struct GpuUse {
    /// `GPU-…`.
    pub uuid: Arc<str>,
    /// Its node.
    pub node: Arc<str>,
    /// NVML index.
    pub index: u16,
    /// Share of its memory slices that pods hold, 0 to 1; 1 for a GPU that a pod holds or shares as a whole.
    pub held: f64,
}

impl GpuUse {
    pub(super) fn new(node: &Node, gpu: &Gpu) -> Option<Self> {
        let uuid = gpu.uuid.clone()?;
        let is_held_whole = node.reported(gpu.index).is_some_and(|reported| !reported.holders.is_empty());
        let held = if is_held_whole { 1.0 } else { held_slices(gpu) };
        Some(Self { uuid, node: node.facts.name.clone(), index: gpu.index, held })
    }
}

fn held_slices(gpu: &Gpu) -> f64 {
    let Some(row) = gpu.model.map(|model| Catalog::get().row(model)) else { return 0.0 };
    let instances = gpu.instances.iter().filter(|instance| instance.pod.is_some());
    let slices = instances.map(|instance| row.profiles[usize::from(instance.profile)].memory_slices);
    let held: u32 = slices.map(u32::from).sum();
    (f64::from(held) / f64::from(row.memory_slices)).min(1.0)
}
