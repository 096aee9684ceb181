//! What is seen, as the `GpuNode`'s status says it: no clock, no call.

use std::collections::{BTreeMap, BTreeSet};

use tangram_nvml::facts::{Ancestor, Gpu, Instance, Links, Profile};

use super::desk::{Sight, Turn, Unsettled};
use super::device::DeviceId;
use super::ledger::device_id;
use crate::model::PodKey;
use crate::wire::PodForm;
use crate::wire::gpunode_status::{
    Condition, FabricStatus, GpuStatus, InstanceStatus, LinkStatus, ProfileStatus, StatusContent,
    UnsettledStatus,
};

/// Memory in use is told in so many steps, or a status would be written for every allocation.
const MEMORY_STEPS: u32 = 16;
/// Longest message that the definition of `GpuNode` takes.
const MESSAGE_MAX: usize = 512;

/// What else is known at the moment of a report.
#[derive(Debug, Default)]
pub struct Notes<'a> {
    /// Devices that are offered and that the kubelet lists as allocatable.
    pub allocatable: BTreeSet<DeviceId>,
    /// Why NVML does not answer.
    pub nvml: Option<String>,
    /// Why the kubelet does not answer.
    pub kubelet: Option<String>,
    /// The conditions of the last report: one that stays keeps its time.
    pub before: &'a [Condition],
    /// Now, RFC 3339.
    pub now: &'a str,
}

/// Puts together what is reported.
pub fn content(sight: &Sight, turn: &Turn, notes: &Notes<'_>) -> StatusContent {
    let inventory = &sight.inventory;
    let holders = holders(sight);
    let gpus: Vec<GpuStatus> =
        inventory.gpus.iter().map(|gpu| gpu_status(gpu, sight, turn, notes, &holders)).collect();
    let unsettled: Vec<UnsettledStatus> = turn.unsettled.iter().map(unsettled).collect();
    StatusContent {
        driver_version: inventory.driver_version.clone(),
        cuda_version: inventory.cuda_version.clone(),
        gpu_count: u32::try_from(gpus.len()).expect("NVML counts GPUs in 32 bits"),
        conditions: conditions(sight, &unsettled, notes),
        gpus,
        unsettled,
    }
}

/// Who holds each device, by the ID without the number of a replica.
fn holders(sight: &Sight) -> BTreeMap<&str, BTreeSet<&PodKey>> {
    let mut holders = BTreeMap::<&str, BTreeSet<&PodKey>>::new();
    for (id, pod) in sight.held.iter().flat_map(|held| &held.devices) {
        holders.entry(id.split("::").next().unwrap_or(id)).or_default().insert(pod);
    }
    holders
}

fn form(pod: &PodKey) -> PodForm {
    PodForm { namespace: pod.namespace.to_string(), name: pod.name.to_string(), uid: None }
}

fn gpu_status(
    gpu: &Gpu,
    sight: &Sight,
    turn: &Turn,
    notes: &Notes<'_>,
    holders: &BTreeMap<&str, BTreeSet<&PodKey>>,
) -> GpuStatus {
    let words: Vec<String> = gpu.ailments.iter().map(ToString::to_string).collect();
    let pods: Vec<PodForm> =
        holders.get(gpu.uuid.as_str()).into_iter().flatten().map(|pod| form(pod)).collect();
    let step = gpu.memory_mib.div_ceil(MEMORY_STEPS).max(1);
    GpuStatus {
        index: gpu.index,
        uuid: gpu.uuid.clone(),
        pci_address: gpu.pci_address.clone(),
        model: gpu.model.clone(),
        memory_mib: gpu.memory_mib,
        memory_used_mib: (pods.len() > 1)
            .then(|| gpu.memory_used_mib.next_multiple_of(step).min(gpu.memory_mib)),
        mig_mode: match &gpu.mig {
            None => "NotSupported",
            Some(mig) if mig.is_enabled => "Enabled",
            Some(_) => "Disabled",
        },
        health: if words.is_empty() { "Healthy" } else { "Unhealthy" },
        health_reason: cut(&words.join("; "), 256),
        numa_node: gpu.links.numa_node,
        links: links(&gpu.links),
        fabric: gpu
            .links
            .fabric
            .as_ref()
            .map(|fabric| FabricStatus { cluster_uuid: fabric.cluster_uuid.clone(), clique: fabric.clique }),
        profiles: gpu.mig.iter().flat_map(|mig| &mig.profiles).map(profile).collect(),
        instances: gpu
            .mig
            .iter()
            .flat_map(|mig| &mig.instances)
            .map(|found| instance(gpu, found, sight, turn, notes, holders))
            .collect(),
        pods,
    }
}

fn instance(
    gpu: &Gpu,
    instance: &Instance,
    sight: &Sight,
    turn: &Turn,
    notes: &Notes<'_>,
    holders: &BTreeMap<&str, BTreeSet<&PodKey>>,
) -> InstanceStatus {
    let id = device_id(gpu, instance);
    let own = id.filter(|id| turn.own.contains(id));
    // Tangram's devices are recorded by placement, the device plugin's by UUID.
    let name = own.as_ref().map(DeviceId::to_string).or_else(|| instance.uuid().map(ToOwned::to_owned));
    let pod = name.and_then(|name| holders.get(name.as_str())?.first().map(|pod| form(pod)));
    InstanceStatus {
        uuid: instance.uuid().map(ToOwned::to_owned),
        profile: instance.profile.clone(),
        start: instance.start,
        pod,
        ready_for: own
            .as_ref()
            .filter(|id| notes.allocatable.contains(id))
            .and_then(|id| ready_for(sight, id)),
        foreign: own.is_none(),
    }
}

fn ready_for(sight: &Sight, id: &DeviceId) -> Option<String> {
    sight.wanted_at(id).map(|wanted| wanted.uid.to_string())
}

fn profile(profile: &Profile) -> ProfileStatus {
    ProfileStatus {
        name: profile.name.clone(),
        memory_mib: profile.memory_mib,
        memory_slices: profile.memory_slices,
        starts: profile.starts.clone(),
        max: profile.instances_max,
    }
}

fn links(links: &Links) -> Vec<LinkStatus> {
    let word = |ancestor| match ancestor {
        Ancestor::Board => "board",
        Ancestor::Switch => "switch",
        Ancestor::Switches => "switches",
        Ancestor::HostBridge => "hostBridge",
        Ancestor::NumaNode => "numaNode",
        Ancestor::System => "system",
    };
    let link = |(gpu, ancestor): &(u32, Ancestor)| LinkStatus {
        gpu: *gpu,
        pcie: word(*ancestor),
        nvlink: links.nvlink_peers.contains(gpu),
    };
    links.pcie.iter().map(link).collect()
}

fn unsettled(open: &Unsettled) -> UnsettledStatus {
    UnsettledStatus {
        gpu: open.gpu,
        profile: open.place.as_ref().map(|(profile, _)| profile.as_str().to_owned()),
        start: open.place.as_ref().map(|(_, start)| *start),
        leaving: open.is_leaving,
        reason: open.reason.to_string(),
        message: cut(&open.message, MESSAGE_MAX),
    }
}

fn conditions(sight: &Sight, unsettled: &[UnsettledStatus], notes: &Notes<'_>) -> Vec<Condition> {
    let unreadable = sight.inventory.unreadable.first().map(|(_, why)| why.clone());
    let missing = unsettled.iter().find(|open| !open.leaving);
    let rows = [
        ("NVMLReady", notes.nvml.clone().or(unreadable), "Answered", "NVMLFailed"),
        ("KubeletReady", notes.kubelet.clone(), "Answered", "KubeletFailed"),
        (
            "InstancesReady",
            missing.map(|open| open.message.clone()),
            "AsWanted",
            missing.map_or("", |open| open.reason.as_str()),
        ),
    ];
    rows.map(|(kind, problem, good, bad)| {
        let status = if problem.is_none() { "True" } else { "False" };
        let before = notes.before.iter().find(|before| before.kind == kind && before.status == status);
        Condition {
            kind: kind.to_owned(),
            status: status.to_owned(),
            last_transition_time: before
                .map_or_else(|| notes.now.to_owned(), |before| before.last_transition_time.clone()),
            reason: if problem.is_none() { good } else { bad }.to_owned(),
            message: cut(&problem.unwrap_or_default(), MESSAGE_MAX),
        }
    })
    .to_vec()
}

fn cut(text: &str, max: usize) -> String {
    text.chars().take(max).collect()
}
