//! What the agent knows, and what it last told to others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use tangram_nvml::Event;
use tangram_nvml::facts::Ailment;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::desk::{Claim, Desk, Sight, Step, Turn, Wanted};
use super::device::DeviceId;
use super::follow::Sighting;
use super::kubelet::{Kubelet, Record};
use super::ledger::Ledger;
use super::publish::Before;
use super::report::{Notes, content};
use super::run::Options;
use super::worker::{Answer, Worker};
use crate::k8s::Clock;
use crate::model::{GpuReport, InstanceReport};
use crate::wire::gpunode_status::{Condition, StatusContent};
use crate::wire::{Dialect, GpuNodeObject, NodeObject, Texts, gpu_report, node_facts};

/// After the ledger could not be written: nothing is made meanwhile.
const DISK_AGAIN: Duration = Duration::from_secs(1);

/// The agent's state, and its hands.
#[derive(Debug)]
pub(super) struct State {
    clock: Clock,
    desk: Desk,
    ledger_path: PathBuf,
    /// The ledger as it is on disk.
    saved: Ledger,
    worker: Worker,
    kubelet: Kubelet,
    wishes: watch::Sender<Option<StatusContent>>,
    sight: Sight,
    record: Record,
    /// What the driver told of GPUs, by UUID; it tells each once. Forgotten when the agent starts anew.
    xids: BTreeMap<String, BTreeSet<u64>>,
    nvml: Option<String>,
    /// NVML has answered at least once: before that, nothing is known and nothing is offered.
    has_looked: bool,
    conditions: Vec<Condition>,
}

impl State {
    pub(super) fn new(
        options: &Options,
        clock: Clock,
        worker: Worker,
        kubelet: Kubelet,
        wishes: watch::Sender<Option<StatusContent>>,
    ) -> Self {
        let ledger_path = options.state_dir.join("instances.json");
        let saved = Ledger::read(&ledger_path).unwrap_or_else(|error| {
            let error = format!("{error:#}");
            warn!(error, "Without the ledger only what containers hold is known to be Tangram's.");
            Ledger::default()
        });
        Self {
            clock,
            desk: Desk::new(saved.clone()),
            ledger_path,
            saved,
            worker,
            kubelet,
            wishes,
            sight: Sight { may_enable: options.may_enable_mig, ..Sight::default() },
            record: Record::default(),
            xids: BTreeMap::new(),
            nvml: None,
            has_looked: false,
            conditions: Vec::new(),
        }
    }

    /// Reads NVML, unless it is being read.
    pub(super) fn look(&mut self) {
        if !self.worker.is_busy() {
            self.worker.order(Vec::new());
        }
    }

    pub(super) fn node_seen(&mut self, sighting: &Sighting) {
        let Sighting::There(text) = sighting else { return };
        let claim = match serde_json::from_str::<NodeObject>(text) {
            Err(error) => {
                warn!(%error, "The Node object cannot be read: what is Tangram's stays as it was.");
                return;
            }
            Ok(object) => {
                let dialect = Dialect { is_live: true, ..Dialect::default() };
                node_facts(&object, &dialect, &mut Texts::default()).map(|facts| facts.dynamic)
            }
        };
        let claim = match claim {
            Ok(None) => Claim::Nothing,
            Ok(Some(dynamic)) if dynamic.gpus.is_empty() => Claim::All,
            Ok(Some(dynamic)) => Claim::Gpus(dynamic.gpus.into_iter().map(u32::from).collect()),
            Err(error) => return warn!(%error, "The Node object cannot be read."),
        };
        if claim != self.sight.claim {
            info!(?claim, "The node's labels say which GPUs are Tangram's to partition.");
            self.sight.claim = claim;
        }
    }

    pub(super) fn gpu_node_seen(&mut self, sighting: &Sighting) {
        let text = match sighting {
            Sighting::Unknown => return,
            // Nobody can want anything of a node that has no such object.
            Sighting::Absent => return self.sight.wanted = Some(Vec::new()),
            Sighting::There(text) => text,
        };
        let before: Before = serde_json::from_str(text).unwrap_or_default();
        if self.conditions.is_empty() {
            self.conditions = before.conditions();
        }
        let report = serde_json::from_str::<GpuNodeObject>(text).map_err(|error| error.to_string());
        match report.and_then(|object| gpu_report(object).map_err(|error| error.to_string())) {
            Ok((_, report)) => {
                self.resume(&report);
                // The definition demands a pod; without one there is nobody to make it for.
                let wanted = report.wanted.into_iter().filter_map(|(gpu, instance)| {
                    let InstanceReport { profile, start, pod, pod_uid, .. } = instance;
                    Some(Wanted { gpu: gpu.into(), profile, start, pod: pod?, uid: pod_uid? })
                });
                self.sight.wanted = Some(wanted.collect());
            }
            // What was wanted before stays so: nothing is removed on a misunderstanding.
            Err(error) => warn!(error, "The GpuNode cannot be read."),
        }
    }

    /// Devices that are reported as ready, or as held by the pod that they are wanted for.
    fn resume(&mut self, report: &GpuReport) {
        let now_ms = self.clock.now_ms();
        for gpu in &report.gpus {
            for instance in gpu.instances.iter().filter(|it| it.ready_for.is_some() || it.pod.is_some()) {
                let (profile, start) = (instance.profile.clone(), instance.start);
                let is_it = |(of, wanted): &&(u16, InstanceReport)| {
                    (*of, wanted.start, &wanted.profile) == (gpu.index, start, &profile)
                        && wanted.pod == instance.pod
                };
                let taken_by =
                    report.wanted.iter().find(is_it).and_then(|(_, wanted)| wanted.pod_uid.clone());
                if instance.pod.is_some() && taken_by.is_none() {
                    continue; // somebody else's
                }
                self.desk.resume(DeviceId { gpu: gpu.uuid.clone(), profile, start }, taken_by, now_ms);
            }
        }
    }

    pub(super) fn answered(&mut self, answer: Answer) {
        self.worker.answered();
        let now_ms = self.clock.now_ms();
        for (step, result) in answer.done {
            match &result {
                Ok(()) => info!(step = %words(&step), took = ?answer.took, "Done."),
                Err(error) => warn!(step = %words(&step), %error, "A step failed; it is tried again later."),
            }
            self.desk.done(&step, result, now_ms);
        }
        match answer.inventory {
            Ok(mut inventory) => {
                // One with an XID of its own takes no more.
                for gpu in &mut inventory.gpus {
                    let told = self.xids.get(&gpu.uuid).into_iter().flatten();
                    gpu.ailments.extend(told.map(|xid| Ailment::Xid(*xid)));
                    gpu.ailments.sort();
                }
                if self.nvml.take().is_some() {
                    info!(gpus = inventory.gpus.len(), "NVML answers again.");
                }
                self.sight.inventory = inventory;
                self.has_looked = true;
            }
            Err(error) => {
                if self.nvml.is_none() {
                    error!(%error, "NVML does not answer.");
                }
                self.nvml = Some(error.to_string());
                // What was there may be there still; nothing of it is fit for new pods.
                for gpu in &mut self.sight.inventory.gpus {
                    gpu.ailments = vec![Ailment::Lost];
                }
            }
        }
    }

    pub(super) fn happened(&mut self, event: Event) {
        match event {
            Event::Quiet => return,
            Event::Changed => {}
            Event::Xid(gpu, xid) => {
                let is_of_gpu = tangram_nvml::is_of_gpu(xid);
                warn!(gpu, xid, is_of_gpu, "The driver reported an XID.");
                if is_of_gpu {
                    self.xids.entry(gpu).or_default().insert(xid);
                }
            }
        }
        self.look();
    }

    pub(super) fn recorded(&mut self, record: Record) {
        self.sight.held.clone_from(&record.held);
        self.record = record;
    }

    /// The kubelet was given devices, or is about to choose some.
    pub(super) fn granted(&mut self, ids: Vec<DeviceId>) {
        self.kubelet.called();
        if !ids.is_empty() {
            self.desk.granted(ids, self.clock.now_ms());
            self.kubelet.ask();
        }
    }

    /// Does what follows from all that is known; when to look again, if nothing happens before.
    pub(super) fn turn(&mut self) -> Option<Duration> {
        let now_ms = self.clock.now_ms();
        if !self.has_looked {
            if self.nvml.is_some() {
                self.tell(&Turn::default());
            }
            return None;
        }
        let mut turn = self.desk.turn(&self.sight, now_ms);
        if *self.desk.ledger() != self.saved {
            if let Err(error) = self.desk.ledger().write(&self.ledger_path) {
                let error = format!("{error:#}");
                error!(error, "The ledger cannot be written: nothing is made or removed until it can.");
                turn.steps.clear();
                self.tell(&turn);
                return Some(DISK_AGAIN);
            }
            self.saved.clone_from(self.desk.ledger());
        }
        if let Some(offers) = &turn.offers {
            self.kubelet.offer(&self.sight, offers);
        }
        if turn.needs_held {
            self.kubelet.ask();
        }
        if !turn.steps.is_empty() && !self.worker.is_busy() {
            self.desk.ordered(&turn.steps);
            self.worker.order(std::mem::take(&mut turn.steps));
        }
        self.tell(&turn);
        turn.wake_ms.map(|at| Duration::from_millis(at.saturating_sub(now_ms) + 1))
    }

    /// Wishes the status that follows.
    fn tell(&mut self, turn: &Turn) {
        let now = Timestamp::now().to_string();
        let allocatable: BTreeSet<DeviceId> = turn
            .offers
            .iter()
            .flatten()
            .filter(|offer| offer.is_healthy && self.record.allocatable.contains(&offer.id))
            .map(|offer| offer.id.clone())
            .collect();
        let notes = Notes {
            allocatable,
            nvml: self.nvml.clone(),
            kubelet: self.record.error.clone(),
            before: &self.conditions,
            now: &now,
        };
        let content = content(&self.sight, turn, &notes);
        self.conditions.clone_from(&content.conditions);
        self.wishes.send_if_modified(|wish| {
            let is_new = wish.as_ref() != Some(&content);
            *wish = Some(content);
            is_new
        });
    }
}

fn words(step: &Step) -> String {
    match step {
        Step::Create(id) => format!("make {id}"),
        Step::Destroy(id, _) => format!("remove {id}"),
        Step::EnableMig(gpu) => format!("turn MIG mode on, {gpu}"),
    }
}

/// UID of a Node object.
pub(super) fn node_uid(sighting: &Sighting) -> Option<String> {
    #[derive(Deserialize)]
    struct Object {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        uid: String,
    }
    let Sighting::There(text) = sighting else { return None };
    serde_json::from_str::<Object>(text).ok().map(|object| object.metadata.uid)
}
