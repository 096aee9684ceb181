//! What is seen, as the `GpuNode`'s status says it: no clock, no call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tangram_nvml::facts::{Ancestor, Gpu, Instance, Links, Profile};

use super::desk::{Sight, Turn, Unsettled};
use super::device::DeviceId;
use super::ledger::device_id;
use super::podresources::{Held, held};
use crate::model::PodKey;
use crate::wire::gpunode_status::{
    Condition, FabricStatus, GpuStatus, InstanceStatus, LinkStatus, ProfileStatus, StatusContent,
    UnsettledStatus,
};
use crate::wire::{HolderForm, PodForm};

/// Memory in use is told in so many steps, or a status would be written for every allocation.
const MEMORY_STEPS: u32 = 16;
/// Most holders of a device that it takes; no node runs so many pods.
const HOLDERS_MAX: usize = 256;
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

/// Who holds each device, by its ID without the number of a share, with the number of shares.
type Holders<'a> = BTreeMap<Arc<str>, BTreeMap<&'a PodKey, Option<u32>>>;

fn holders(sight: &Sight) -> Holders<'_> {
    let mut holders = Holders::new();
    for (id, pod) in sight.held.iter().flat_map(|held| &held.devices) {
        let (device, is_share) = match held(id) {
            Held::Gpu { uuid, replica } | Held::Mig { uuid, replica } => (uuid, replica.is_some()),
            Held::Place(_) | Held::Unknown(_) => (id.as_str().into(), false),
        };
        let shares = holders.entry(device).or_default().entry(pod).or_default();
        if is_share {
            *shares.get_or_insert(0) += 1;
        }
    }
    holders
}

fn forms(holders: &Holders<'_>, device: &str) -> Vec<HolderForm> {
    let form = |(pod, shares): (&&PodKey, &Option<u32>)| HolderForm {
        namespace: pod.namespace.to_string(),
        name: pod.name.to_string(),
        shares: *shares,
    };
    holders.get(device).into_iter().flatten().take(HOLDERS_MAX).map(form).collect()
}

fn is_shared(pods: &[HolderForm]) -> bool {
    pods.iter().any(|pod| pod.shares.is_some())
}

/// Memory in use, in steps.
fn stepped(used_mib: u32, of_mib: u32) -> u32 {
    used_mib.min(of_mib).next_multiple_of(of_mib.div_ceil(MEMORY_STEPS).max(1)).min(of_mib)
}

/// What the processes in an instance use; `None` where the driver tells of none of them.
fn used_mib(gpu: &Gpu, instance: &Instance) -> Option<u32> {
    let all = gpu.processes.iter().filter(|process| process.instance == Some(instance.id));
    let told: Vec<Option<u32>> = all.map(|process| process.memory_mib).collect();
    let is_silent = !told.is_empty() && told.iter().all(Option::is_none);
    (!is_silent).then(|| told.iter().flatten().fold(0, |sum: u32, mib| sum.saturating_add(*mib)))
}

fn gpu_status(gpu: &Gpu, sight: &Sight, turn: &Turn, notes: &Notes<'_>, holders: &Holders<'_>) -> GpuStatus {
    let words: Vec<String> = gpu.ailments.iter().map(ToString::to_string).collect();
    let pods = forms(holders, &gpu.uuid);
    GpuStatus {
        index: gpu.index,
        uuid: gpu.uuid.clone(),
        pci_address: gpu.pci_address.clone(),
        model: gpu.model.clone(),
        memory_mib: gpu.memory_mib,
        // The board's own figure: the driver does not tell what every process uses.
        memory_used_mib: is_shared(&pods).then(|| stepped(gpu.memory_used_mib, gpu.memory_mib)),
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
    holders: &Holders<'_>,
) -> InstanceStatus {
    let id = device_id(gpu, instance);
    let own = id.filter(|id| turn.own.contains(id));
    // Tangram's devices are recorded by placement, the device plugin's by UUID.
    let name = own.as_ref().map(DeviceId::to_string).or_else(|| instance.uuid().map(ToOwned::to_owned));
    let pods = name.map(|name| forms(holders, &name)).unwrap_or_default();
    let pod = pods.first().cloned().map(|HolderForm { namespace, name, .. }| PodForm {
        namespace,
        name,
        uid: None,
    });
    let profiles = gpu.mig.iter().flat_map(|mig| &mig.profiles);
    let memory_mib =
        profiles.into_iter().find(|profile| profile.name == instance.profile).map(|it| it.memory_mib);
    let used = used_mib(gpu, instance).filter(|_| is_shared(&pods)).zip(memory_mib);
    InstanceStatus {
        uuid: instance.uuid().map(ToOwned::to_owned),
        profile: instance.profile.clone(),
        start: instance.start,
        pod,
        memory_used_mib: used.map(|(used, of)| stepped(used, of)),
        pods: pods.into_iter().filter(|pod| pod.shares.is_some()).collect(),
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
