//! What the agent does next, from what it sees: no clock, no file, no call.
//!
//! ```text
//!  wanted (GpuNode.spec) --.                        .--> steps: make, remove, turn MIG mode on
//!  NVML's inventory -------+--> Desk::turn(now) ----+--> offers: what the kubelet may hand out
//!  the kubelet's record ---'                        '--> unsettled: what is not as wanted, and why
//! ```
//!
//! Level-triggered: whatever is lost or repeated, the next look gives the right step. Three rules hold at each:
//! an instance that Tangram did not make is not touched; one that a container holds, or may have been given a
//! moment ago, is not removed; and nothing is offered that is not both wanted and live.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use tangram_nvml::facts::{Instance, Inventory};
use tangram_nvml::{Code, Error};

use super::device::DeviceId;
use super::grants::Grants;
use super::ledger::Ledger;
use super::look::Look;
use super::turns::Turns;
use crate::mig::ProfileName;
use crate::model::PodKey;

/// After a step has failed: a quarter of a second, doubled each time.
const PAUSE_MS: u64 = 250;
const PAUSE_MAX_MS: u64 = 30_000;

/// When an instance is made and this fails, half of it may be there; when any other call does, nothing is.
const SECOND_HALF: &str = "nvmlGpuInstanceCreateComputeInstance";

/// A GPU instance that the scheduler wants, at an NVML index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// NVML index of the GPU.
    pub gpu: u32,
    /// Its profile.
    pub profile: ProfileName,
    /// First memory slice.
    pub start: u8,
    /// The pod that it is for.
    pub pod: PodKey,
    /// UID of that pod.
    pub uid: Arc<str>,
}

/// Which GPUs of the node are Tangram's to partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Claim {
    /// The node's labels have not been read yet.
    #[default]
    Unknown,
    /// None: the agent reports, and changes nothing.
    Nothing,
    /// All that have MIG.
    All,
    /// Those with these NVML indices.
    Gpus(BTreeSet<u32>),
}

impl Claim {
    /// Whether a GPU is among them.
    pub fn has(&self, gpu: u32) -> bool {
        match self {
            Self::Unknown | Self::Nothing => false,
            Self::All => true,
            Self::Gpus(gpus) => gpus.contains(&gpu),
        }
    }
}

/// Who holds which device, as the kubelet records it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// By device ID: of Tangram's own resources the placement, of NVIDIA's the UUID.
    pub devices: BTreeMap<String, PodKey>,
    /// When the kubelet was asked: what was handed out later is not in it.
    pub asked_ms: u64,
}

/// Everything that is seen at one moment.
#[derive(Debug, Clone, Default)]
pub struct Sight {
    /// NVML's inventory.
    pub inventory: Inventory,
    /// Which GPUs are Tangram's.
    pub claim: Claim,
    /// The instances wanted; `None` while the API server has not said.
    pub wanted: Option<Vec<Wanted>>,
    /// The kubelet's record; `None` while it has not said.
    pub held: Option<Held>,
    /// Whether MIG mode may be turned on.
    pub may_enable: bool,
}

/// Something to do to a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Remove this instance.
    Destroy(DeviceId, Instance),
    /// Make this one; the profile's id on the board is looked up in the inventory.
    Create(DeviceId),
    /// Turn MIG mode on.
    EnableMig(Arc<str>),
}

/// What the kubelet may hand out, or may not any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// What the kubelet calls it.
    pub id: DeviceId,
    /// UUID of the MIG device.
    pub uuid: Arc<str>,
    /// Wanted, live, and on a GPU that is well.
    pub is_healthy: bool,
    /// Its pod has not come yet: it goes first. Another that seems free is one whose pod has just ended.
    pub is_awaited: bool,
    /// NUMA node of the GPU.
    pub numa_node: Option<u32>,
    /// N of `/dev/nvidiaN`.
    pub minor: u32,
    /// GPU instance and compute instance.
    pub instance: (u32, u32),
}

/// Why something is not as it is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A process or a monitor uses it.
    InUse,
    /// The board has no room, or no engines, left for it.
    InsufficientResources,
    /// An instance that Tangram did not make is in the way.
    OccupiedByOthers,
    /// An instance that Tangram did make is in the way, and goes first.
    MakingRoom,
    /// A container holds it.
    HeldByContainer,
    /// The GPU cannot be read.
    GpuLost,
    /// MIG mode is off.
    MigDisabled,
    /// The GPU has no MIG.
    MigNotSupported,
    /// MIG mode is on after a reset only.
    ResetRequired,
    /// The node's labels do not give this GPU to Tangram.
    NotDynamic,
    /// The node has no GPU of that index.
    NoSuchGpu,
    /// The board has no such profile, or not there.
    NoSuchPlacement,
    /// The driver refused; its words are in the message.
    DriverError,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f) // one word for machines: the variant's name
    }
}

/// Something that is not as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsettled {
    /// NVML index.
    pub gpu: u32,
    /// Profile and first memory slice; `None` for the GPU as a whole.
    pub place: Option<(ProfileName, u8)>,
    /// Whether it is there and should not be, rather than the other way round.
    pub is_leaving: bool,
    /// Why.
    pub reason: Reason,
    /// In words, with what to do.
    pub message: String,
}

/// What follows from a sight.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Turn {
    /// To do now, in this order.
    pub steps: Vec<Step>,
    /// What the kubelet may hand out, by ID; `None` while too little is known to say it.
    pub offers: Option<Vec<Offered>>,
    /// What is not as it is wanted.
    pub unsettled: Vec<Unsettled>,
    /// Devices that Tangram's instances are, by ID, whether offered or not.
    pub own: BTreeSet<DeviceId>,
    /// Something waits for a younger record of the kubelet.
    pub needs_held: bool,
    /// When to look again, if nothing happens before.
    pub wake_ms: Option<u64>,
}

/// A step that failed.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) error: Error,
    pause_ms: u64,
    pub(super) until_ms: u64,
}

/// What a step is about: a place, or a GPU as a whole.
pub(super) type Subject = (Arc<str>, Option<DeviceId>);

/// What is remembered from turn to turn.
#[derive(Debug, Default)]
pub struct Desk {
    pub(super) ledger: Ledger,
    pub(super) failures: BTreeMap<Subject, Failure>,
    /// When each leaving device was first offered no more.
    pub(super) withdrawn: BTreeMap<DeviceId, u64>,
    pub(super) grants: Grants,
    turns: Turns,
    /// Instances that were to be made and, unless it was ordered, are not.
    intended: Vec<DeviceId>,
    /// Steps that were ordered and have not ended: what they change is not seen yet, or half.
    under_way: Vec<Step>,
}

impl Desk {
    /// With what an earlier life of the agent made.
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger, ..Self::default() }
    }

    /// What has to be on disk before the steps of a turn are taken.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The kubelet was given devices just now.
    pub fn granted(&mut self, ids: impl IntoIterator<Item = DeviceId>, now_ms: u64) {
        self.grants.add(ids, now_ms);
    }

    /// What the `GpuNode` says, whoever wrote that: a device that is ready, or that was taken by the pod of a UID.
    pub fn resume(&mut self, id: DeviceId, taken_by: Option<Arc<str>>, now_ms: u64) {
        self.turns.resume(id, taken_by, now_ms);
    }

    /// The steps of the last turn are being taken, until `done` is called for each.
    pub fn ordered(&mut self, steps: &[Step]) {
        self.intended.clear();
        self.under_way.extend_from_slice(steps);
    }

    pub(super) fn is_going(&self, id: &DeviceId) -> bool {
        self.under_way.iter().any(|step| matches!(step, Step::Destroy(other, _) if other == id))
    }

    /// How a step ended.
    pub fn done(&mut self, step: &Step, result: Result<(), Error>, now_ms: u64) {
        let subject = subject(step);
        self.under_way.retain(|other| other != step);
        // What is at the place now, or comes there, is somebody else's.
        let is_none = match (step, &result) {
            (Step::Destroy(..), Ok(())) => true,
            (Step::Create(_), Err(error)) => error.call != SECOND_HALF && error.code != Code::Timeout,
            _ => false,
        };
        if let (Step::Destroy(id, _) | Step::Create(id), true) = (step, is_none) {
            self.ledger.forget(id);
        }
        match result {
            Ok(()) => drop(self.failures.remove(&subject)),
            Err(error) => {
                let pause_ms = self.failures.get(&subject).map_or(PAUSE_MS, |known| known.pause_ms * 2);
                let pause_ms = pause_ms.min(PAUSE_MAX_MS);
                self.failures.insert(subject, Failure { error, pause_ms, until_ms: now_ms + pause_ms });
            }
        }
    }

    /// Decides. The ledger may change: it has to be on disk before the first step is taken.
    pub fn turn(&mut self, sight: &Sight, now_ms: u64) -> Turn {
        let needs_held = self.grants.settle(sight, now_ms);
        for id in std::mem::take(&mut self.intended) {
            self.ledger.forget(&id);
        }
        let is_coming = |id: &DeviceId| {
            self.under_way.iter().any(|step| matches!(step, Step::Create(other) if other == id))
        };
        let is_handed_out = |id: &DeviceId| self.grants.has(id) || sight.holder(id).is_some();
        self.ledger.settle(&sight.inventory, is_coming, is_handed_out);
        let mut turn = Turn { own: self.ledger.ids().cloned().collect(), needs_held, ..Turn::default() };
        let mut offers = Vec::new();
        for gpu in &sight.inventory.gpus {
            let looked = Look { desk: self, sight, gpu, now_ms }.look(&mut turn, &mut offers);
            self.withdrawn.extend(looked);
        }
        let waits_until = self.turns.keep(&mut offers, sight, is_handed_out, now_ms);
        let wanted = sight.wanted().unwrap_or_default();
        let is_there = |index| sight.inventory.gpus.iter().any(|gpu| gpu.index == index);
        for wanted in wanted.iter().filter(|wanted| !is_there(wanted.gpu)) {
            let message = format!("NVML knows no GPU {}: see `nvidia-smi -L` on the node", wanted.gpu);
            turn.unsettled.push(unsettled(wanted, Reason::NoSuchGpu, message));
        }
        turn.steps.retain(|step| !self.under_way.contains(step));
        for step in &turn.steps {
            if let Step::Create(id) = step {
                self.ledger.intend(id.clone());
                self.intended.push(id.clone());
            }
        }
        self.forget(sight, &turn, &offers);
        let times = self.failures.values().map(|failure| failure.until_ms).chain(waits_until);
        let times = times.chain(self.grants.next_end_ms());
        turn.wake_ms = times.filter(|at| *at > now_ms).min();
        turn.offers = (sight.wanted().is_some() || sight.held.is_some()).then_some(offers);
        turn
    }

    /// What was remembered of devices and failures that are no subject any more.
    fn forget(&mut self, sight: &Sight, turn: &Turn, offers: &[Offered]) {
        let is_offered = |id: &DeviceId| offers.iter().any(|offer| offer.id == *id && offer.is_healthy);
        self.withdrawn.retain(|id, _| turn.own.contains(id) && !is_offered(id));
        let uuid = |index| sight.inventory.gpus.iter().find(|gpu| gpu.index == index).map(|gpu| &*gpu.uuid);
        let is_about = |open: &Unsettled, (gpu, place): &Subject| {
            let place = place.as_ref().map(|id| (&id.profile, id.start));
            let of = open.place.as_ref().map(|(profile, start)| (profile, *start));
            of == place && uuid(open.gpu) == Some(&**gpu)
        };
        self.failures.retain(|of, _| {
            turn.steps.iter().chain(&self.under_way).any(|step| subject(step) == *of)
                || turn.unsettled.iter().any(|open| is_about(open, of))
        });
    }
}

impl Sight {
    /// What is wanted, once the API server has said that and which GPUs are Tangram's.
    pub(super) fn wanted(&self) -> Option<&[Wanted]> {
        self.wanted.as_deref().filter(|_| self.claim != Claim::Unknown)
    }

    /// What is wanted at a device's place.
    pub(super) fn wanted_at(&self, id: &DeviceId) -> Option<&Wanted> {
        let gpu = self.inventory.gpus.iter().find(|gpu| *gpu.uuid == *id.gpu)?;
        let is_it = |wanted: &&Wanted| {
            wanted.gpu == gpu.index && (&wanted.profile, wanted.start) == (&id.profile, id.start)
        };
        self.wanted.as_deref()?.iter().find(is_it)
    }

    pub(super) fn holder(&self, id: &DeviceId) -> Option<&PodKey> {
        self.held.as_ref()?.devices.get(&id.to_string())
    }
}

fn subject(step: &Step) -> Subject {
    match step {
        Step::Destroy(id, _) | Step::Create(id) => (id.gpu.clone(), Some(id.clone())),
        Step::EnableMig(gpu) => (gpu.clone(), None),
    }
}

pub(super) fn unsettled(wanted: &Wanted, reason: Reason, message: String) -> Unsettled {
    let place = Some((wanted.profile.clone(), wanted.start));
    Unsettled { gpu: wanted.gpu, place, is_leaving: false, reason, message }
}
