//! What NVML says, as tables for people.

use std::fmt::Write as _;

use tangram_nvml::facts::{Gpu, Inventory};

use super::table::columns;

/// One line per GPU; then its GPU instances, what is wrong, and how the GPUs are connected.
pub(super) fn inventory_table(inventory: &Inventory) -> String {
    let mut text = format!("Driver {}, CUDA {}\n\n", inventory.driver_version, inventory.cuda_version);
    if inventory.gpus.is_empty() && inventory.unreadable.is_empty() {
        return text + "NVML lists no GPU.\n";
    }
    let rows = inventory.gpus.iter().map(|gpu| {
        let memory = format!("{}/{} MiB", gpu.memory_used_mib, gpu.memory_mib);
        let (mig, health) = (mig_mode(gpu), health(gpu));
        vec![gpu.index.to_string(), gpu.model.clone(), memory, mig, gpu.processes.len().to_string(), health]
    });
    text += &columns(&["GPU", "MODEL", "MEMORY", "MIG", "PROCS", "HEALTH"], rows);
    let instances: Vec<Vec<String>> = inventory.gpus.iter().flat_map(instance_rows).collect();
    if !instances.is_empty() {
        text += "\n";
        text += &columns(&["GPU", "PROFILE", "SLICES", "PROCS", "MIG DEVICE"], instances.into_iter());
    }
    let links: Vec<Vec<String>> =
        inventory.gpus.iter().filter(|_| inventory.gpus.len() > 1).map(link_row).collect();
    if !links.is_empty() {
        text += "\n";
        text += &columns(&["GPU", "PCI", "NUMA", "NVLINKS", "NVLINK PEERS", "FABRIC"], links.into_iter());
    }
    for gpu in inventory.gpus.iter().filter(|gpu| !gpu.ailments.is_empty()) {
        for ailment in &gpu.ailments {
            writeln!(text, "\nGPU {} ({}): {ailment}", gpu.index, gpu.uuid).expect("writing to a text");
        }
    }
    for (index, why) in &inventory.unreadable {
        writeln!(text, "\nGPU {index} cannot be read: {why}").expect("writing to a text");
    }
    text
}

fn mig_mode(gpu: &Gpu) -> String {
    let Some(mig) = &gpu.mig else { return "none".to_owned() };
    match (mig.is_enabled, mig.is_pending) {
        (true, true) => "on".to_owned(),
        (false, false) => "off".to_owned(),
        (true, false) => "on, off after a reset".to_owned(),
        (false, true) => "off, on after a reset".to_owned(),
    }
}

fn health(gpu: &Gpu) -> String {
    if gpu.ailments.is_empty() { "well" } else { "ailing" }.to_owned()
}

fn instance_rows(gpu: &Gpu) -> Vec<Vec<String>> {
    let row = |instance: &tangram_nvml::facts::Instance| {
        let end = instance.start + instance.memory_slices - 1;
        let processes = gpu.processes.iter().filter(|process| process.instance == Some(instance.id)).count();
        let slices =
            if end == instance.start { end.to_string() } else { format!("{}-{end}", instance.start) };
        let uuids: Vec<&str> =
            instance.compute.iter().filter_map(|compute| compute.uuid.as_deref()).collect();
        let device = if uuids.is_empty() { "-".to_owned() } else { uuids.join(" ") };
        vec![gpu.index.to_string(), instance.profile.clone(), slices, processes.to_string(), device]
    };
    gpu.mig.iter().flat_map(|mig| &mig.instances).map(row).collect()
}

fn link_row(gpu: &Gpu) -> Vec<String> {
    let links = &gpu.links;
    let peers: Vec<String> = links.nvlink_peers.iter().map(ToString::to_string).collect();
    let or_none = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let fabric =
        links.fabric.as_ref().map(|fabric| format!("{} clique {}", fabric.cluster_uuid, fabric.clique));
    vec![
        gpu.index.to_string(),
        gpu.pci_address.clone(),
        or_none(links.numa_node.map(|node| node.to_string()).unwrap_or_default()),
        links.nvlinks.to_string(),
        or_none(peers.join(" ")),
        or_none(fabric.unwrap_or_default()),
    ]
}
