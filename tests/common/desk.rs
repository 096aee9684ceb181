//! What the agent sees, made by hand: GPUs of the MIG table, instances, records, wants.

use std::sync::Arc;

use tangram::agent::desk::{Claim, Desk, Held, Sight, Step, Turn, Wanted};
use tangram::agent::device::DeviceId;
use tangram::agent::ledger::Ledger;
use tangram::mig::{MODELS, ModelRow, ProfileName};
use tangram::model::PodKey;
use tangram_nvml::facts::{Compute, Gpu, Instance, Inventory, Links, Mig, Process, Profile};
use tangram_nvml::{Code, Error};

/// A row of the MIG table.
pub(crate) fn row(key: &str) -> &'static ModelRow {
    MODELS.iter().find(|row| row.key == key).expect(key)
}

/// A healthy, empty GPU of a model, with MIG mode on.
pub(crate) fn gpu(index: u32, key: &str) -> Gpu {
    let row = row(key);
    let profile = |(id, profile): (u32, &tangram::mig::ProfileRow)| Profile {
        name: profile.name.to_owned(),
        id,
        compute_slices: profile.compute_slices.into(),
        memory_mib: row.profile_memory_mib(profile),
        instances_max: profile.max.into(),
        memory_slices: profile.memory_slices.into(),
        starts: profile.starts.iter().map(|start| u32::from(*start)).collect(),
    };
    Gpu {
        index,
        uuid: format!("GPU-{index}"),
        pci_address: format!("00000000:{index:02}:00.0"),
        minor: index + 4,
        model: row.names[0].to_owned(),
        memory_mib: row.memory_mib(),
        memory_used_mib: 0,
        utilisation_percent: None,
        mig: Some(Mig {
            is_enabled: true,
            is_pending: true,
            profiles: (0..).zip(row.profiles).map(profile).collect(),
            instances: Vec::new(),
        }),
        links: Links { numa_node: Some(1), ..Links::default() },
        ailments: Vec::new(),
        processes: Vec::new(),
    }
}

/// The same GPU with an instance more, of this UUID; without a compute instance if there is none.
pub(crate) fn with(mut gpu: Gpu, id: u32, profile: &str, start: u32, uuid: Option<&str>) -> Gpu {
    let mig = gpu.mig.as_mut().expect("it has MIG");
    let known = mig.profiles.iter().find(|known| known.name == profile).expect(profile);
    let compute = uuid.map(|uuid| Compute { id: 0, uuid: Some(uuid.to_owned()) });
    mig.instances.push(Instance {
        id,
        profile: profile.to_owned(),
        start,
        memory_slices: known.memory_slices,
        compute: compute.into_iter().collect(),
    });
    mig.instances.sort_by_key(|instance| instance.start);
    gpu
}

/// The same GPU with a process in a GPU instance, or on it as a whole.
pub(crate) fn running(mut gpu: Gpu, pid: u32, instance: Option<u32>) -> Gpu {
    gpu.processes.push(Process { pid, memory_mib: None, instance });
    gpu
}

pub(crate) fn name(profile: &str) -> ProfileName {
    ProfileName::parse(profile).expect(profile)
}

/// What the kubelet calls an instance.
pub(crate) fn id(gpu: u32, profile: &str, start: u8) -> DeviceId {
    DeviceId { gpu: format!("GPU-{gpu}").into(), profile: name(profile), start }
}

pub(crate) fn wanted(gpu: u32, profile: &str, start: u8) -> Wanted {
    Wanted {
        gpu,
        profile: name(profile),
        start,
        pod: PodKey { namespace: "test".into(), name: "wanted".into() },
        uid: format!("uid-{gpu}-{start}").into(),
    }
}

/// A record of the kubelet: devices by their names, with their pods.
#[expect(clippy::unnecessary_wraps, reason = "it is what a sight has of the kubelet")]
pub(crate) fn held(asked_ms: u64, devices: &[(&str, &str)]) -> Option<Held> {
    let pod = |name: &str| PodKey { namespace: "test".into(), name: name.into() };
    let devices = devices.iter().map(|(device, holder)| ((*device).to_owned(), pod(holder))).collect();
    Some(Held { devices, asked_ms })
}

/// These GPUs, all of them Tangram's; an empty record of long ago; MIG mode may be turned on.
pub(crate) fn sight(gpus: Vec<Gpu>, wanted: &[Wanted]) -> Sight {
    Sight {
        inventory: Inventory { gpus, ..Inventory::default() },
        claim: Claim::All,
        wanted: Some(wanted.to_vec()),
        held: held(0, &[]),
        may_enable: true,
    }
}

/// A desk that made these instances, by their UUIDs.
pub(crate) fn desk(made: &[(DeviceId, &str)]) -> Desk {
    let mut ledger = Ledger::default();
    for (id, _) in made {
        ledger.intend(id.clone());
    }
    let gpus = made.iter().map(|(id, uuid)| {
        let index = id.gpu.strip_prefix("GPU-").expect("a UUID").parse().expect("an index");
        with(gpu(index, "h100-80gb-sxm"), 1, id.profile.as_str(), id.start.into(), Some(uuid))
    });
    for gpu in gpus {
        let others: Vec<DeviceId> = ledger.ids().cloned().collect();
        // The ledger learns UUIDs from what it sees; whatever is not on this sight is held to be coming.
        let inventory = Inventory { gpus: vec![gpu], ..Inventory::default() };
        ledger.settle(&inventory, |id| others.contains(id), |_| false);
    }
    Desk::new(ledger)
}

/// How a call fails.
pub(crate) fn error(call: &'static str, code: Code) -> Error {
    Error { call, subject: "GPU 0".to_owned(), code, detail: String::new() }
}

/// Each unsettled thing in short: `0 1g.10gb@3 leaving InUse`.
pub(crate) fn unsettled(turn: &Turn) -> Vec<String> {
    let short = |open: &tangram::agent::desk::Unsettled| {
        let place =
            open.place.as_ref().map_or("all".to_owned(), |(profile, start)| format!("{profile}@{start}"));
        let leaving = if open.is_leaving { "leaving " } else { "" };
        format!("{} {place} {leaving}{}", open.gpu, open.reason)
    };
    turn.unsettled.iter().map(short).collect()
}

/// Each offer in short: `GPU-0/1g.10gb/3 MIG-1 healthy`; `None` while nothing is said.
pub(crate) fn offers(turn: &Turn) -> Option<Vec<String>> {
    let short = |offer: &tangram::agent::desk::Offered| {
        format!("{} {} {}", offer.id, offer.uuid, if offer.is_healthy { "healthy" } else { "unhealthy" })
    };
    turn.offers.as_ref().map(|offers| offers.iter().map(short).collect())
}

/// Each step in short: `make GPU-0/1g.10gb/3`.
pub(crate) fn steps(turn: &Turn) -> Vec<String> {
    let short = |step: &Step| match step {
        Step::Create(id) => format!("make {id}"),
        Step::Destroy(id, instance) => format!("remove {id} {}", instance.uuid().unwrap_or("-")),
        Step::EnableMig(gpu) => format!("enable {gpu}"),
    };
    turn.steps.iter().map(short).collect()
}

/// The places in a desk's ledger.
pub(crate) fn ledger(desk: &Desk) -> Vec<String> {
    desk.ledger().ids().map(ToString::to_string).collect()
}

pub(crate) fn uuid(text: &str) -> Arc<str> {
    text.into()
}
