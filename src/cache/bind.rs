//! Binds: decided here, written by others, true once the API server says so.
//!
//! ```text
//!                  GPU instances live                   Done
//!   Preparing ---------------------------> Writing -----------------------> bound
//!    |  ^                                   |   |
//!    |  | still unbound, newer version      |   | Conflict, Unknown
//!    |  '----------------------- Reading <--+---'
//!    | too late                    |        | refused
//!    '--------> given up <---------'--------'
//! ```
//!
//! From the decision on the pod stands on its node in every snapshot. It is taken off only when it is certain
//! that the Binding was not written and never will be: the API server refused it, the pod is gone, or the pod
//! was read unbound in a version newer than the one that the Binding demands. Time alone decides nothing once
//! a Binding may have been sent.

use std::borrow::Cow;
use std::sync::Arc;

use super::apply::Cache;
use super::effect::{Effect, Fence, Found, Written};
use super::event::{BindError, Outcome};
use super::live::Retry;
use crate::model::{Device, GpuReport, Hold, InstanceReport, Node, Placement, Pod, PodKey, Unsettled};
use crate::solver::{Query, Refusal, place, verify};

/// Bindings of one pod that may meet a conflict before the bind is given up: each had a newer version.
const TRIES_MAX: u32 = 8;

/// A bind that has been decided and not ended.
#[derive(Debug)]
pub(super) struct Bind {
    pod: Arc<Pod>, // as it waits, in the newest version seen
    node: Arc<str>,
    placement: Placement,
    step: Step,
    tries: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The agent is to make the GPU instances; given up at this time.
    Preparing { until_ms: u64 },
    /// The Binding is on its way, demanding this revision of the pod.
    Writing { revision: u64 },
    /// The pod is being read, for the Binding that demanded this revision has no clear outcome.
    Reading { revision: u64, retry: Retry },
}

impl Cache {
    pub(super) fn bind(&mut self, key: &PodKey, uid: &Arc<str>, node: &Arc<str>) -> Outcome {
        if let Some(outcome) = self.under_way(key, uid, node) {
            return outcome;
        }
        let (pod, placement) = match self.decide(key, uid, node) {
            Ok(decided) => decided,
            Err(outcome) => return outcome,
        };
        let bound = Arc::new(pod.bound_to(node.clone(), placement.clone()));
        let Some(live) = &mut self.live else {
            self.set_pod(bound);
            return Outcome::Bound(placement);
        };
        let step = Step::Preparing { until_ms: live.now_ms + live.options.instance_timeout_ms };
        let uid = pod.uid.clone();
        live.binds.insert(
            uid.clone(),
            Bind { pod, node: node.clone(), placement: placement.clone(), step, tries: 0 },
        );
        self.set_pod(bound);
        self.prepare(node);
        Outcome::Underway(uid)
    }

    /// What a live model answers before it decides anything.
    fn under_way(&self, key: &PodKey, uid: &Arc<str>, node: &Arc<str>) -> Option<Outcome> {
        let live = self.live.as_ref()?;
        let Some(fence) = &live.fence else { return Some(Outcome::NotBound(BindError::NotLeader)) };
        let known = self.pods.get(key)?;
        if known.version.fence.as_deref().is_some_and(|annotation| fence.is_overtaken_by(annotation)) {
            return Some(Outcome::NotBound(BindError::NotLeader));
        }
        let bind = live.binds.get(&known.uid).filter(|_| uid.is_empty() || *uid == known.uid)?;
        Some(if bind.node == *node {
            Outcome::Underway(known.uid.clone())
        } else {
            Outcome::NotBound(BindError::Elsewhere { pod: key.clone(), node: bind.node.clone() })
        })
    }

    /// Where a pod goes on a node, checked; or the outcome that ends the bind without a change.
    fn decide(
        &self,
        key: &PodKey,
        uid: &Arc<str>,
        name: &Arc<str>,
    ) -> Result<(Arc<Pod>, Placement), Outcome> {
        let (pod, node) = (key.clone(), name.clone());
        let Some(known) = self.pods.get(key) else {
            return Err(Outcome::NotBound(match self.pods.len() {
                count if count >= self.pods_max => BindError::TooManyPods { count, max: self.pods_max },
                _ => BindError::UnknownPod { pod },
            }));
        };
        if !uid.is_empty() && known.uid != *uid {
            let (known, asked) = (known.uid.clone(), uid.clone());
            return Err(Outcome::NotBound(BindError::WrongUid { pod, known, asked }));
        }
        match &known.node {
            Some(current) if current == name => {
                return Err(Outcome::Bound(known.placement.clone().unwrap_or_default()));
            }
            Some(current) => {
                return Err(Outcome::NotBound(BindError::BoundElsewhere { pod, node: current.clone() }));
            }
            None => {}
        }
        let Some(target) = self.cluster.get(name) else {
            return Err(Outcome::NotBound(BindError::UnknownNode { node }));
        };
        let refused = |refusal| {
            Outcome::NotBound(BindError::DoesNotFit { pod: pod.clone(), node: node.clone(), refusal })
        };
        let (target, own) = self.around(target, known).map_err(refused)?;
        let query = Query::new(&self.cluster, &self.scores, known, self.policy);
        let placement = match own {
            Some(own) => own.clone(),
            None => place(&self.cluster, &target, &known.request, &query).map_err(refused)?,
        };
        verify(&target, &known.request, &placement)
            .map_err(|violation| Outcome::NotBound(BindError::FailedCheck { pod, node, violation }))?;
        Ok((known.clone(), placement))
    }

    /// A node as a pod finds it between the places that are kept for others, and the one that is kept for it, as long
    /// as it is free.
    fn around<'n>(
        &'n self,
        node: &'n Arc<Node>,
        pod: &Pod,
    ) -> Result<(Cow<'n, Node>, Option<&'n Placement>), Refusal> {
        let mut around = Cow::Borrowed(&**node);
        let mut own = None;
        let is_open =
            |hold: &&Hold| self.cluster.get(&hold.node).is_some_and(|node| hold.taken_by(node).is_none());
        for hold in self.holds.iter().filter(is_open) {
            let is_here = hold.node == node.facts.name;
            match hold.is_for(pod) {
                true if !is_here => return Err(Refusal::HeldElsewhere),
                true => own = Some(&hold.placement),
                false if is_here => around = Cow::Owned(hold.on(&around)),
                false => {}
            }
        }
        let own = own.filter(|placement| verify(&around, &pod.request, placement).is_ok());
        Ok((around, own))
    }

    /// Writes the Bindings of pods on a node whose GPU instances are there now.
    pub(super) fn prepare(&mut self, name: &Arc<str>) {
        let (report, is_settled) = (self.reports.get(name).cloned(), self.is_settled(name));
        let node = self.cluster.get(name).cloned();
        let Some(live) = &mut self.live else { return };
        let mut ready = Vec::new();
        for (uid, bind) in &mut live.binds {
            if !matches!(bind.step, Step::Preparing { .. }) || bind.node != *name {
                continue;
            }
            // The kubelet may have given its device to another pod, whose own is then left for this one.
            let dealt = node.as_ref().and_then(|node| node.placement(node.pod(&bind.pod.key)?));
            bind.placement = dealt.unwrap_or(&bind.placement).clone();
            let are_ready = || is_settled && are_live(report.as_deref(), &bind.pod, &bind.placement);
            if bind.placement.devices.is_empty() || are_ready() {
                ready.push(uid.clone());
            }
        }
        for uid in ready {
            self.write_binding(&uid);
        }
    }

    fn write_binding(&mut self, uid: &Arc<str>) {
        let Some(live) = &mut self.live else { return };
        let Some(bind) = live.binds.get_mut(uid) else { return };
        let revision = bind.pod.version.revision;
        bind.step = Step::Writing { revision };
        bind.tries += 1;
        live.effects.push(Effect::Bind {
            pod: bind.pod.key.clone(),
            uid: uid.clone(),
            revision,
            node: bind.node.clone(),
            placement: bind.placement.clone(),
            nominated: bind.pod.nominated().cloned(),
        });
    }

    fn read_pod(&mut self, uid: &Arc<str>, is_fencing: bool) {
        let Some(live) = &mut self.live else { return };
        let Some(bind) = live.binds.get_mut(uid) else { return };
        let (Step::Writing { revision } | Step::Reading { revision, .. }) = bind.step else { return };
        bind.step = Step::Reading { revision, retry: Retry::Underway };
        let pod = bind.pod.key.clone();
        // One that leads no more overtakes nobody; that the version must be the one it saw keeps it harmless.
        let deposed = Fence { term: 0, identity: "none".into() };
        let fence = is_fencing.then(|| live.fence.as_ref().unwrap_or(&deposed).annotation(revision));
        live.effects.push(Effect::ReadPod { pod, uid: uid.clone(), revision, fence });
    }

    pub(super) fn bind_answered(&mut self, uid: &Arc<str>, outcome: Written) -> bool {
        let bind = self.live.as_ref().and_then(|live| live.binds.get(uid));
        let Some(bind) = bind.filter(|bind| matches!(bind.step, Step::Writing { .. })) else { return false };
        let pod = bind.pod.key.clone();
        match outcome {
            Written::Done => self.bound(uid),
            Written::Refused(why) => return self.give_up(uid, BindError::Refused { pod, why }),
            Written::Gone => return self.pod_gone(&pod, uid),
            Written::Conflict => self.read_pod(uid, false),
            Written::Unknown => self.read_pod(uid, true),
        }
        false
    }

    pub(super) fn pod_read(&mut self, key: &PodKey, uid: &Arc<str>, found: Found) -> bool {
        let pod = match found {
            Found::Gone => return self.pod_gone(key, uid),
            Found::Unknown => {
                let Some(live) = &mut self.live else { return false };
                if let Some(Bind { step: Step::Reading { retry, .. }, .. }) = live.binds.get_mut(uid) {
                    *retry = Retry::after(live.now_ms);
                }
                return false;
            }
            Found::Pod(pod) => pod,
        };
        let is_changed = self.pod_applied(pod); // ends the bind, or brings a newer version
        let Some(live) = &self.live else { return is_changed };
        let Some(Bind { pod, node, step: Step::Reading { revision, .. }, tries, .. }) = live.binds.get(uid)
        else {
            return is_changed;
        };
        if pod.version.revision <= *revision {
            self.read_pod(uid, true); // the Binding may still arrive: write a version that it does not demand
            return is_changed;
        }
        // Unbound in a newer version: that Binding was not written and cannot be any more.
        let is_overtaken =
            |annotation: &str| live.fence.as_ref().is_none_or(|fence| fence.is_overtaken_by(annotation));
        let reason = if live.fence.is_none() || pod.version.fence.as_deref().is_some_and(is_overtaken) {
            Some(BindError::NotLeader)
        } else if pod.is_terminating {
            Some(BindError::Gone { pod: key.clone() })
        } else if *tries >= TRIES_MAX {
            let why = "the pod changed too often meanwhile".to_owned();
            Some(BindError::Refused { pod: key.clone(), why })
        } else {
            None
        };
        if let Some(error) = reason {
            return self.give_up(uid, error) | is_changed;
        }
        let (node, until_ms) = (node.clone(), live.now_ms + live.options.instance_timeout_ms);
        if let Some(bind) = self.live.as_mut().and_then(|live| live.binds.get_mut(uid)) {
            bind.step = Step::Preparing { until_ms };
        }
        self.prepare(&node);
        is_changed
    }

    /// A version of the pod in which it waits: newer than the Binding's or not, it is the one to bind.
    pub(super) fn seen_unbound(&mut self, known: &Arc<Pod>, pod: &Arc<Pod>) {
        if let Some(bind) = self.live.as_mut().and_then(|live| live.binds.get_mut(&pod.uid)) {
            bind.pod = pod.clone();
            let bound = Pod { version: pod.version.clone(), ..Pod::clone(known) };
            self.pods.insert(pod.key.clone(), Arc::new(bound));
        }
    }

    /// A version of the pod in which it is bound: that ends its bind, one way or the other.
    pub(super) fn seen_bound(&mut self, pod: &Pod) {
        let bind = self.live.as_ref().and_then(|live| live.binds.get(&pod.uid));
        let (Some(bind), Some(node)) = (bind, &pod.node) else { return };
        if bind.node == *node {
            // Another leader may have given it other places there.
            self.end(&pod.uid.clone(), Ok(pod.placement.clone().unwrap_or_default()));
        } else {
            let error = BindError::BoundElsewhere { pod: pod.key.clone(), node: node.clone() };
            self.end(&pod.uid.clone(), Err(error));
        }
    }

    fn bound(&mut self, uid: &Arc<str>) {
        let placement =
            self.live.as_ref().and_then(|live| live.binds.get(uid)).map(|bind| bind.placement.clone());
        if let Some(placement) = placement {
            self.end(uid, Ok(placement));
        }
    }

    /// The pod of a bind is gone.
    pub(super) fn gave_up(&mut self, pod: &PodKey, uid: &Arc<str>) {
        self.end(uid, Err(BindError::Gone { pod: pod.clone() }));
    }

    /// Ends a bind whose Binding was not written and never will be: the pod waits again.
    fn give_up(&mut self, uid: &Arc<str>, error: BindError) -> bool {
        let Some(bind) = self.end(uid, Err(error)) else { return false };
        self.set_pod(bind.pod);
        true
    }

    fn end(&mut self, uid: &Arc<str>, result: Result<Placement, BindError>) -> Option<Bind> {
        let live = self.live.as_mut()?;
        let bind = live.binds.remove(uid)?;
        live.effects.push(Effect::Bound { uid: uid.clone(), result });
        Some(bind)
    }

    pub(super) fn unlead(&mut self) -> bool {
        let Some(live) = &mut self.live else { return false };
        live.fence = None;
        self.give_up_prepared(|_| true, |_, _| BindError::NotLeader)
    }

    pub(super) fn tick_binds(&mut self, now_ms: u64) -> bool {
        let Some(live) = &self.live else { return false };
        let is_due = |bind: &&Bind| matches!(bind.step, Step::Reading { retry, .. } if retry.is_due(now_ms));
        let due: Vec<Arc<str>> =
            live.binds.values().filter(is_due).map(|bind| bind.pod.uid.clone()).collect();
        for uid in due {
            self.read_pod(&uid, true);
        }
        self.give_up_prepared(
            |until_ms| until_ms <= now_ms,
            |cache, bind| BindError::NotLive {
                pod: bind.pod.key.clone(),
                node: bind.node.clone(),
                why: cache.missing(bind),
            },
        )
    }

    /// Why a bind waits still, for the pod's Event: what an agent says only counts while it is heard.
    fn missing(&self, bind: &Bind) -> Arc<str> {
        if self.is_silent(&bind.node) {
            return "its agent is silent".into();
        }
        let is_of = |device: &Device, open: &&Unsettled| {
            open.gpu == device.gpu && open.start.is_none_or(|start| start == device.start)
        };
        let devices = &bind.placement.devices;
        let unsettled = self.reports.get(&bind.node).into_iter().flat_map(|report| &report.unsettled);
        let mut said = unsettled.filter(|open| devices.iter().any(|device| is_of(device, open)));
        match said.next() {
            Some(open) => open.why.clone(),
            None if self.is_heard(&bind.node) => "its agent has not said why".into(),
            None => "no agent has ever been heard there".into(),
        }
    }

    /// Gives up binds for which no Binding has been sent yet.
    fn give_up_prepared(
        &mut self,
        is_over: impl Fn(u64) -> bool,
        error: impl Fn(&Self, &Bind) -> BindError,
    ) -> bool {
        let Some(live) = &self.live else { return false };
        let over = |bind: &Bind| match bind.step {
            Step::Preparing { until_ms } if is_over(until_ms) => {
                Some((bind.pod.uid.clone(), error(self, bind)))
            }
            _ => None,
        };
        let over: Vec<(Arc<str>, BindError)> = live.binds.values().filter_map(over).collect();
        over.into_iter().filter(|(uid, error)| self.give_up(uid, error.clone())).count() > 0
    }
}

/// Whether every GPU instance of a placement is wanted for the pod, live, and offered for it by a kubelet that lists
/// it: a pod that arrived before its device would be turned away for good. One that asks for none is ready.
fn are_live(report: Option<&GpuReport>, pod: &Pod, placement: &Placement) -> bool {
    placement.devices.iter().all(|device| {
        let is_it =
            |instance: &InstanceReport| instance.profile == device.profile && instance.start == device.start;
        report.is_some_and(|report| {
            let is_wanted = report.wanted.iter().any(|(gpu, wanted)| {
                *gpu == device.gpu && is_it(wanted) && wanted.pod_uid.as_ref() == Some(&pod.uid)
            });
            let gpu = report.gpus.iter().find(|gpu| gpu.index == device.gpu);
            let live = gpu.and_then(|gpu| gpu.instances.iter().find(|instance| is_it(instance)));
            is_wanted
                && live.is_some_and(|live| {
                    let is_free = live.pod.as_ref().is_none_or(|of| *of == pod.key);
                    live.uuid.is_some() && live.ready_for.as_ref() == Some(&pod.uid) && is_free
                })
        })
    })
}
