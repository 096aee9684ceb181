//! How GPUs are connected.

use super::Scene;
use crate::links::{Connection, Fabric, Level, NvLink, Remote};

impl Scene {
    /// So many more links between two GPUs.
    pub fn link(&self, one: usize, other: usize, links: u32) {
        self.change(|state| {
            for (from, to) in [(one, other), (other, one)] {
                let pci_address = state.gpus[to].pci_address.clone();
                let link = NvLink { is_active: true, remote: Remote::Gpu, pci_address };
                state.gpus[from].nvlinks.extend((0..links).map(|_| link.clone()));
            }
        });
    }

    /// So many more links from a GPU to an NVLink switch at a PCI address.
    pub fn link_to_switch(&self, gpu: usize, pci_address: &str, links: u32) {
        let pci_address = pci_address.to_owned();
        let link = NvLink { is_active: true, remote: Remote::Switch, pci_address };
        self.change(|state| state.gpus[gpu].nvlinks.extend((0..links).map(|_| link.clone())));
    }

    /// What two GPUs share; otherwise the NUMA node where that is the same, the machine where it is not.
    pub fn connect(&self, one: usize, other: usize, level: Level) {
        self.change(|state| {
            let gpus = [one, other].map(|gpu| state.gpus[gpu].uuid.clone());
            state.connections.insert(0, Connection { gpus, level });
        });
    }

    /// The NUMA node of the host that is nearest (`nvmlDeviceGetMemoryAffinity`).
    pub fn numa(&self, gpu: usize, node: Option<u32>) {
        self.change(|state| state.gpus[gpu].numa_node = node);
    }

    /// The NUMA node that the GPU's own memory is (`nvmlDeviceGetNumaNodeId`), on machines such as GH200;
    /// elsewhere the call is not supported.
    pub fn memory_node(&self, gpu: usize, node: Option<u32>) {
        self.change(|state| state.gpus[gpu].memory_node = node);
    }

    /// The NVLink domain that the GPU is part of.
    pub fn fabric(&self, gpu: usize, fabric: Option<Fabric>) {
        self.change(|state| state.gpus[gpu].fabric = fabric);
    }
}
