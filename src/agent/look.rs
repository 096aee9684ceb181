//! One GPU, looked at: what it needs done, what it offers, what keeps it from being as it is wanted.

use std::sync::Arc;

use tangram_nvml::facts::{Ailment, Gpu, Instance};
use tangram_nvml::{Code, Error};

use super::desk::{Claim, Desk, Offered, Reason, Sight, Step, Turn, Unsettled, Wanted, unsettled};
use super::device::DeviceId;
use super::ledger::device_id;

/// One GPU, with all that bears on it.
pub(super) struct Look<'a> {
    pub(super) desk: &'a Desk,
    pub(super) sight: &'a Sight,
    pub(super) gpu: &'a Gpu,
    pub(super) now_ms: u64,
}

impl Look<'_> {
    /// Adds what follows for this GPU; returns devices that are offered no more, with since when.
    pub(super) fn look(&self, turn: &mut Turn, offers: &mut Vec<Offered>) -> Vec<(DeviceId, u64)> {
        let gpu = self.gpu;
        let wanted = self.sight.wanted().unwrap_or_default();
        let wanted: Vec<&Wanted> = wanted.iter().filter(|wanted| wanted.gpu == gpu.index).collect();
        let is_usable = match self.obstacle(turn) {
            None => true,
            Some((reason, message)) => {
                turn.unsettled.extend(wanted.iter().map(|wanted| unsettled(wanted, reason, message.clone())));
                false
            }
        };
        let mut withdrawn = Vec::new();
        for instance in gpu.mig.iter().flat_map(|mig| &mig.instances) {
            let Some(id) = self.own(instance) else { continue };
            let is_wanted = wanted.iter().any(|wanted| is_at(wanted, &id));
            // Until the API server has said what is wanted, what a container holds is taken for it.
            let is_known = self.sight.wanted().is_some();
            let is_right = if is_known { is_wanted } else { self.is_held(&id) };
            if is_right && self.is_whole(&id, instance) {
                let is_open = is_usable || self.sight.claim == Claim::Unknown;
                offers.extend(self.offer(&id, instance, is_open && gpu.ailments.is_empty()));
                continue;
            }
            let since_ms = *self.desk.withdrawn.get(&id).unwrap_or(&self.now_ms);
            withdrawn.push((id.clone(), since_ms));
            if is_usable && (is_known || instance.uuid().is_none()) {
                self.remove(&id, instance, since_ms, turn);
            }
            if self.is_held(&id) {
                offers.extend(self.offer(&id, instance, false));
            }
        }
        if is_usable {
            for wanted in wanted {
                self.provide(wanted, turn);
            }
        }
        withdrawn
    }

    /// What keeps this GPU from being partitioned at all, after a step against it has been planned.
    fn obstacle(&self, turn: &mut Turn) -> Option<(Reason, String)> {
        let gpu = self.gpu;
        if !self.sight.claim.has(gpu.index) {
            let text = "the labels tangram.gpu/mig and tangram.gpu/mig-gpus do not give this GPU to Tangram";
            return Some((Reason::NotDynamic, text.to_owned()));
        }
        if let Some(lost @ (Ailment::Lost | Ailment::ResetRequired)) = gpu.ailments.first() {
            return Some((Reason::GpuLost, format!("{lost}: drain the node, then reset the GPU or reboot")));
        }
        let Some(mig) = &gpu.mig else {
            return Some((Reason::MigNotSupported, format!("{} has no MIG", gpu.model)));
        };
        if mig.is_enabled {
            return None;
        }
        let (reason, message) = self.enable(mig.is_pending, turn);
        turn.unsettled.push(Unsettled {
            gpu: gpu.index,
            place: None,
            is_leaving: false,
            reason,
            message: message.clone(),
        });
        Some((Reason::MigDisabled, message))
    }

    /// Turns MIG mode on where that is allowed and disturbs nobody.
    fn enable(&self, is_pending: bool, turn: &mut Turn) -> (Reason, String) {
        let gpu = self.gpu;
        if !self.sight.may_enable {
            let text = "MIG mode is off and the agent may not turn it on: `nvidia-smi -i N -mig 1`";
            return (Reason::MigDisabled, text.to_owned());
        }
        if let Some(process) = gpu.processes.first() {
            let text = format!("MIG mode is off; process {} uses the GPU, which must be idle", process.pid);
            return (Reason::InUse, text);
        }
        let Some(held) = &self.sight.held else {
            let text = "MIG mode is off; the kubelet has not said whether a container holds the GPU";
            return (Reason::MigDisabled, text.to_owned());
        };
        let of_gpu = |id: &&String| id.split("::").next() == Some(gpu.uuid.as_str());
        if let Some(holder) = held.devices.keys().find(of_gpu).and_then(|id| held.devices.get(id)) {
            let text = format!("MIG mode is off; pod {holder} holds the whole GPU");
            return (Reason::HeldByContainer, text);
        }
        let subject = (Arc::from(gpu.uuid.as_str()), None);
        match self.desk.failures.get(&subject) {
            Some(failure) if failure.until_ms > self.now_ms => {
                (reason_of(failure.error.code), failure.error.to_string())
            }
            Some(_) | None if is_pending => {
                let text = "MIG mode is on after a reset: `nvidia-smi --gpu-reset`, or reboot the machine";
                turn.steps.push(Step::EnableMig(subject.0));
                (Reason::ResetRequired, text.to_owned())
            }
            Some(_) | None => {
                turn.steps.push(Step::EnableMig(subject.0));
                (Reason::MigDisabled, "MIG mode is being turned on".to_owned())
            }
        }
    }

    fn own(&self, instance: &Instance) -> Option<DeviceId> {
        device_id(self.gpu, instance).filter(|id| self.desk.ledger.has(id))
    }

    /// Whether it has its compute instance, and nothing is being done to it.
    fn is_whole(&self, id: &DeviceId, instance: &Instance) -> bool {
        instance.uuid().is_some() && !self.desk.is_going(id)
    }

    fn is_held(&self, id: &DeviceId) -> bool {
        self.desk.grants.has(id) || self.sight.holder(id).is_some()
    }

    fn offer(&self, id: &DeviceId, instance: &Instance, is_healthy: bool) -> Option<Offered> {
        let compute = instance.compute.first()?;
        Some(Offered {
            id: id.clone(),
            uuid: instance.uuid()?.into(),
            is_healthy,
            is_awaited: false,
            numa_node: self.gpu.links.numa_node,
            minor: self.gpu.minor,
            instance: (instance.id, compute.id),
        })
    }

    /// An instance that should not be there.
    fn remove(&self, id: &DeviceId, instance: &Instance, since_ms: u64, turn: &mut Turn) {
        let mut stay = |reason, message| {
            turn.unsettled.push(Unsettled {
                gpu: self.gpu.index,
                place: Some((id.profile.clone(), id.start)),
                is_leaving: true,
                reason,
                message,
            });
        };
        if let Some(holder) = self.sight.holder(id) {
            return stay(Reason::HeldByContainer, format!("pod {holder} still holds it"));
        }
        let uses = self.gpu.processes.iter().find(|process| process.instance == Some(instance.id));
        if let Some(process) = uses {
            return stay(Reason::InUse, format!("process {} still uses it", process.pid));
        }
        let is_seen = self.sight.held.as_ref().is_some_and(|held| held.asked_ms > since_ms);
        if !is_seen || self.desk.grants.has(id) {
            turn.needs_held = true;
            return stay(Reason::HeldByContainer, "the kubelet may just have given it to a container".into());
        }
        match self.failure(id) {
            Some(failure) => stay(reason_of(failure.code), failure.to_string()),
            None => turn.steps.push(Step::Destroy(id.clone(), instance.clone())),
        }
    }

    /// An instance that should be there.
    fn provide(&self, wanted: &Wanted, turn: &mut Turn) {
        let gpu = self.gpu;
        let mig = gpu.mig.as_ref().expect("a GPU without MIG has an obstacle");
        let id =
            DeviceId { gpu: gpu.uuid.as_str().into(), profile: wanted.profile.clone(), start: wanted.start };
        let profile = mig.profiles.iter().find(|profile| profile.name == id.profile.as_str());
        let start = u32::from(id.start);
        let Some(profile) = profile.filter(|profile| profile.starts.contains(&start)) else {
            let known: Vec<&str> = mig.profiles.iter().map(|profile| profile.name.as_str()).collect();
            let text = match profile {
                Some(profile) => format!("NVML lets {} start at {:?}", profile.name, profile.starts),
                None => format!("NVML lists {}", known.join(", ")),
            };
            return turn.unsettled.push(unsettled(wanted, Reason::NoSuchPlacement, text));
        };
        let overlaps = |instance: &&Instance| {
            instance.start < start + profile.memory_slices && start < instance.start + instance.memory_slices
        };
        let in_way: Vec<&Instance> = mig.instances.iter().filter(overlaps).collect();
        let is_it = |instance: &Instance| self.own(instance).as_ref() == Some(&id);
        match in_way.as_slice() {
            [] => match self.failure(&id) {
                Some(failure) => {
                    let (reason, text) = (reason_of(failure.code), failure.to_string());
                    turn.unsettled.push(unsettled(wanted, reason, text));
                }
                None => turn.steps.push(Step::Create(id)),
            },
            [instance] if is_it(instance) && self.is_whole(&id, instance) => {}
            _ => {
                let foreign = in_way.iter().find(|instance| self.own(instance).is_none());
                let (reason, other, whose) = match foreign {
                    Some(foreign) => (Reason::OccupiedByOthers, *foreign, "which Tangram did not make"),
                    None => (Reason::MakingRoom, in_way[0], "which leaves first"),
                };
                let text = format!("{} at {} is in its way, {whose}", other.profile, other.start);
                turn.unsettled.push(unsettled(wanted, reason, text));
            }
        }
    }

    /// A failure after which it is too early to try again.
    fn failure(&self, id: &DeviceId) -> Option<&Error> {
        let failure = self.desk.failures.get(&(id.gpu.clone(), Some(id.clone())))?;
        (failure.until_ms > self.now_ms).then_some(&failure.error)
    }
}

fn is_at(wanted: &Wanted, id: &DeviceId) -> bool {
    (&wanted.profile, wanted.start) == (&id.profile, id.start)
}

fn reason_of(code: Code) -> Reason {
    match code {
        Code::InUse => Reason::InUse,
        Code::InsufficientResources => Reason::InsufficientResources,
        Code::GpuIsLost => Reason::GpuLost,
        Code::ResetRequired => Reason::ResetRequired,
        _ => Reason::DriverError,
    }
}
