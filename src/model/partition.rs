//! GPUs that somebody else partitioned, such as NVIDIA's mig-manager: what the layout holds, has free, and leaves out.

use super::{Gpu, GpuHealth, Node};
use crate::mig::{Catalog, ModelRow};

/// The memory slices of one such GPU, in NVML's unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Partitioned {
    /// In partitions that a pod holds.
    pub held: u32,
    /// In partitions that nobody holds.
    pub free: u32,
    /// In no partition.
    pub stranded: u32,
}

impl Node {
    /// The healthy GPUs in MIG mode that are not Tangram's to partition, where an agent reports them and the table
    /// has their model.
    pub fn partitioned(&self) -> impl Iterator<Item = (&'static ModelRow, Partitioned)> {
        self.gpus.iter().filter(|gpu| !gpu.is_dynamic).filter_map(|gpu| {
            let reported = self.reported(gpu.index)?;
            let is_usable = reported.is_mig_enabled && reported.health == GpuHealth::Healthy;
            let row = Catalog::get().row(gpu.model.filter(|_| is_usable)?);
            Some((row, layout(row, gpu)))
        })
    }
}

fn layout(row: &ModelRow, gpu: &Gpu) -> Partitioned {
    let mut of = Partitioned::default();
    for slice in 0..row.memory_slices {
        let mut there = gpu.instances.iter().filter(|instance| {
            let size = row.profiles[usize::from(instance.profile)].memory_slices;
            (instance.start..instance.start.saturating_add(size)).contains(&slice)
        });
        let count = match there.clone().next() {
            None => &mut of.stranded,
            Some(_) if there.any(|instance| instance.pod.is_some()) => &mut of.held,
            Some(_) => &mut of.free,
        };
        *count += 1;
    }
    of
}
