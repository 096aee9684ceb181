//! How a GPU is connected: read once, for it does not change while the driver runs.

use std::collections::BTreeSet;

use nvml_wrapper::enum_wrappers::device::TopologyLevel;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use nvml_wrapper_sys::bindings as sys;

use crate::facts::{Ancestor, Fabric, Links};
use crate::raw;
use crate::read::optional;

/// Words of 64 NUMA nodes that are asked for: more than any host has.
const NODE_WORDS: usize = 16;

pub(crate) fn read(nvml: &Nvml, device: &Device<'_>, index: u32) -> Result<Links, NvmlError> {
    let mut links = Links { numa_node: numa_node(device), fabric: fabric(device)?, ..Links::default() };
    let mut remote = BTreeSet::new();
    for number in 0..sys::NVML_NVLINK_MAX_LINKS {
        let link = device.link_wrapper_for(number);
        // A GPU with fewer links calls the number an invalid argument.
        if !link.is_active().unwrap_or(false) {
            continue;
        }
        links.nvlinks += 1;
        remote.extend(link.remote_pci_info().ok().map(|pci| pci.bus_id));
    }
    for other in (0..nvml.device_count()?).filter(|other| *other != index) {
        // One that fell off the bus has no connection to speak of.
        let Ok(peer) = nvml.device_by_index(other) else { continue };
        if let Ok(level) = device.topology_common_ancestor(peer) {
            links.pcie.push((other, ancestor(level)));
        }
        let Ok(peer) = nvml.device_by_index(other) else { continue };
        if peer.pci_info().is_ok_and(|pci| remote.contains(&pci.bus_id)) {
            links.nvlink_peers.push(other);
        }
    }
    Ok(links)
}

fn ancestor(level: TopologyLevel) -> Ancestor {
    match level {
        TopologyLevel::Internal => Ancestor::Board,
        TopologyLevel::Single => Ancestor::Switch,
        TopologyLevel::Multiple => Ancestor::Switches,
        TopologyLevel::HostBridge => Ancestor::HostBridge,
        TopologyLevel::Node => Ancestor::NumaNode,
        TopologyLevel::System => Ancestor::System,
    }
}

/// The nearest one by `nvmlDeviceGetMemoryAffinity`; absent on a host without NUMA. (`nvmlDeviceGetNumaNodeId` is
/// the node that a GPU's own memory is, on machines such as GH200.)
fn numa_node(device: &Device<'_>) -> Option<u32> {
    let sets = device.memory_affinity(NODE_WORDS, sys::NVML_AFFINITY_SCOPE_NODE).ok()?;
    let (word, bits) = (0u32..).zip(sets).find(|(_, bits)| *bits != 0)?;
    Some(word * u64::BITS + bits.trailing_zeros())
}

fn fabric(device: &Device<'_>) -> Result<Option<Fabric>, NvmlError> {
    let Some(info) = optional(raw::fabric_info(device))? else { return Ok(None) };
    let is_part = u32::from(info.state) == sys::NVML_GPU_FABRIC_STATE_COMPLETED
        && info.status == sys::nvmlReturn_enum_NVML_SUCCESS
        && info.clusterUuid.iter().any(|&byte| byte != 0);
    Ok(is_part.then(|| Fabric { cluster_uuid: uuid(info.clusterUuid), clique: info.cliqueId }))
}

/// As RFC 9562 writes one.
fn uuid(bytes: [u8; 16]) -> String {
    let digits = format!("{:032x}", u128::from_be_bytes(bytes));
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}
