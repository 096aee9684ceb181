//! How a GPU is connected.

use nvml_wrapper_sys::bindings as sys;

use super::argument::{Out, version};
use super::call::Call;
use super::device::pci_info;
use super::handle::{Device, Kind};
use crate::board::Gpu;
use crate::code::{Answer, Code};
use crate::links::{Fabric, Level, NvLink, Remote};
use crate::state::State;
use crate::table::Architecture;

/// What `nvmlDeviceGetNvLinkVersion` tells: that of Hopper.
const NVLINK_VERSION: u32 = 4;
const BITS_PER_WORD: u32 = u64::BITS;

fn link(call: &Call, device: Device, number: u32) -> Answer<&NvLink> {
    let (_, gpu) = call.gpu(device)?;
    if gpu.nvlinks.is_empty() {
        return Err(Code::NOT_SUPPORTED);
    }
    gpu.nvlinks.get(number as usize).ok_or(Code::INVALID_ARGUMENT)
}

/// `nvmlDeviceGetNvLinkState`.
pub(super) fn nvlink_state(call: &Call, device: Device, number: u32, active: Out<u32>) -> Answer<()> {
    active.set(u32::from(link(call, device, number)?.is_active))
}

/// `nvmlDeviceGetNvLinkRemotePciInfo_v2`.
pub(super) fn nvlink_remote(
    call: &Call,
    device: Device,
    number: u32,
    info: Out<sys::nvmlPciInfo_t>,
) -> Answer<()> {
    let link = link(call, device, number)?;
    let gpu = call.state.gpus.iter().find(|gpu| gpu.pci_address == link.pci_address);
    info.set(pci_info(&link.pci_address, gpu.map_or(0, |gpu| gpu.pci_device_id))?)
}

/// `nvmlDeviceGetNvLinkRemoteDeviceType`.
pub(super) fn nvlink_remote_type(call: &Call, device: Device, number: u32, kind: Out<u32>) -> Answer<()> {
    kind.set(match link(call, device, number)?.remote {
        Remote::Gpu => sys::nvmlIntNvLinkDeviceType_enum_NVML_NVLINK_DEVICE_TYPE_GPU,
        Remote::Switch => sys::nvmlIntNvLinkDeviceType_enum_NVML_NVLINK_DEVICE_TYPE_SWITCH,
    })
}

/// `nvmlDeviceGetNvLinkCapability`: all but the bridge's.
pub(super) fn nvlink_capability(
    call: &Call,
    device: Device,
    number: u32,
    capability: u32,
    has: Out<u32>,
) -> Answer<()> {
    link(call, device, number)?;
    if capability >= sys::nvmlNvLinkCapability_enum_NVML_NVLINK_CAP_COUNT {
        return Err(Code::INVALID_ARGUMENT);
    }
    has.set(u32::from(capability != sys::nvmlNvLinkCapability_enum_NVML_NVLINK_CAP_SLI_BRIDGE))
}

/// `nvmlDeviceGetNvLinkVersion`.
pub(super) fn nvlink_version(call: &Call, device: Device, number: u32, version: Out<u32>) -> Answer<()> {
    link(call, device, number)?;
    version.set(NVLINK_VERSION)
}

fn level(state: &State, one: &Gpu, other: &Gpu) -> Level {
    let joins = |gpus: &[String; 2]| gpus.contains(&one.uuid) && gpus.contains(&other.uuid);
    match state.connections.iter().find(|connection| joins(&connection.gpus)) {
        Some(connection) => connection.level,
        None if one.uuid == other.uuid => Level::Internal,
        None if one.numa_node == other.numa_node => Level::Node,
        None => Level::System,
    }
}

const fn level_number(level: Level) -> u32 {
    match level {
        Level::Internal => sys::nvmlGpuLevel_enum_NVML_TOPOLOGY_INTERNAL,
        Level::Single => sys::nvmlGpuLevel_enum_NVML_TOPOLOGY_SINGLE,
        Level::Multiple => sys::nvmlGpuLevel_enum_NVML_TOPOLOGY_MULTIPLE,
        Level::HostBridge => sys::nvmlGpuLevel_enum_NVML_TOPOLOGY_HOSTBRIDGE,
        Level::Node => sys::nvmlGpuLevel_enum_NVML_TOPOLOGY_NODE,
        Level::System => sys::nvmlGpuLevel_enum_NVML_TOPOLOGY_SYSTEM,
    }
}

/// `nvmlDeviceGetTopologyCommonAncestor`.
pub(super) fn ancestor(call: &Call, one: Device, other: Device, path: Out<u32>) -> Answer<()> {
    let (one, other) = (call.gpu(one)?.1, call.gpu(other)?.1);
    path.set(level_number(level(&call.state, one, other)))
}

/// `nvmlDeviceGetTopologyNearestGpus`: the others at exactly this level.
pub(super) fn nearest(
    call: &Call,
    device: Device,
    wanted: u32,
    count: Out<u32>,
    devices: Out<sys::nvmlDevice_t>,
) -> Answer<()> {
    let (index, gpu) = call.gpu(device)?;
    let others = call.state.gpus.iter().enumerate().filter(|(other, _)| *other != index);
    let found = others.filter(|(_, other)| level_number(level(&call.state, gpu, other)) == wanted);
    let mut found: Vec<_> = found.map(|(other, _)| call.name(Kind::Gpu, other, 0)).collect();
    let room = count.get()?;
    if room > 0 {
        found.truncate(room as usize);
        devices.fill(&found)?;
    }
    count.set(u32::try_from(found.len()).map_err(|_| Code::UNKNOWN)?)
}

/// `nvmlDeviceGetNumaNodeId`: only where GPUs are NUMA nodes themselves.
pub(super) fn numa_node(call: &Call, device: Device, node: Out<u32>) -> Answer<()> {
    node.set(call.gpu(device)?.1.memory_node.ok_or(Code::NOT_SUPPORTED)?)
}

/// `nvmlDeviceGetMemoryAffinity`: one bit for each NUMA node.
pub(super) fn memory_affinity(
    call: &Call,
    device: Device,
    words: u32,
    nodes: Out<u64>,
    scope: u32,
) -> Answer<()> {
    let (_, gpu) = call.gpu(device)?;
    if words == 0 || scope > sys::NVML_AFFINITY_SCOPE_SOCKET {
        return Err(Code::INVALID_ARGUMENT);
    }
    let node = gpu.numa_node.ok_or(Code::NOT_SUPPORTED)?;
    let mut set = vec![0; words as usize];
    let word = set.get_mut(node.div_euclid(BITS_PER_WORD) as usize).ok_or(Code::INVALID_ARGUMENT)?;
    *word = 1 << node.rem_euclid(BITS_PER_WORD);
    nodes.fill(&set)
}

/// The domain that a GPU tells: before Hopper there was none.
fn membership(gpu: &Gpu) -> Answer<Fabric> {
    match &gpu.fabric {
        Some(fabric) => Ok(fabric.clone()),
        None if gpu.architecture < Architecture::Hopper => Err(Code::NOT_SUPPORTED),
        None => Ok(Fabric {
            cluster_uuid: [0; 16],
            clique: 0,
            state: u8::try_from(sys::NVML_GPU_FABRIC_STATE_NOT_SUPPORTED).map_err(|_| Code::UNKNOWN)?,
            health_mask: 0,
        }),
    }
}

/// `nvmlDeviceGetGpuFabricInfo`.
pub(super) fn fabric(call: &Call, device: Device, info: Out<sys::nvmlGpuFabricInfo_t>) -> Answer<()> {
    let Fabric { cluster_uuid, clique, state, .. } = membership(call.gpu(device)?.1)?;
    info.set(sys::nvmlGpuFabricInfo_t { clusterUuid: cluster_uuid, status: 0, cliqueId: clique, state })
}

/// `nvmlDeviceGetGpuFabricInfoV`.
pub(super) fn fabric_v(call: &Call, device: Device, info: Out<sys::nvmlGpuFabricInfoV_t>) -> Answer<()> {
    const V2: u32 = version::<sys::nvmlGpuFabricInfo_v2_t>(2);
    const V3: u32 = version::<sys::nvmlGpuFabricInfo_v3_t>(3);
    let Fabric { cluster_uuid, clique, state, health_mask } = membership(call.gpu(device)?.1)?;
    match info.cast::<u32>().get()? {
        V2 => info.cast().set(sys::nvmlGpuFabricInfo_v2_t {
            version: V2,
            clusterUuid: cluster_uuid,
            status: 0,
            cliqueId: clique,
            state,
            healthMask: health_mask,
        }),
        V3 => info.set(sys::nvmlGpuFabricInfo_v3_t {
            version: V3,
            clusterUuid: cluster_uuid,
            status: 0,
            cliqueId: clique,
            state,
            healthMask: health_mask,
            healthSummary: 0,
        }),
        _ => Err(Code::ARGUMENT_VERSION_MISMATCH),
    }
}
