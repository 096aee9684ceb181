//! The API server: objects with versions from one counter, preconditions, a history for watches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tangram::cache::{Event, ResetKind, Wanted};
use tangram::model::{GpuReport, InstanceReport, NodeFacts, Placement, Pod, PodKey, Version};

/// Kinds that are watched, in the order in which lists are read.
pub(crate) const KINDS: [ResetKind; 3] = [ResetKind::Nodes, ResetKind::Reports, ResetKind::Pods];

/// One change of an object, as a watch tells it.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) event: Event,
}

/// The Lease.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    pub(crate) version: u64,
    pub(crate) holder: Arc<str>,
    pub(crate) term: u64,
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    /// `resourceVersion` 0 demands none.
    Bind {
        pod: PodKey,
        uid: Arc<str>,
        revision: u64,
        node: Arc<str>,
        placement: Placement,
    },
    Fence {
        pod: PodKey,
        uid: Arc<str>,
        revision: u64,
        annotation: String,
    },
    GetPod(PodKey),
    PatchSpec {
        node: Arc<str>,
        revision: u64,
        instances: Vec<Wanted>,
        /// An annotation, which no earlier write has written: the object changes in any case.
        fence: Option<String>,
    },
    GetGpuNode(Arc<str>),
    List(ResetKind),
    GetLease,
    /// `version` 0 creates it.
    PutLease {
        version: u64,
        holder: Arc<str>,
        term: u64,
    },
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Done,
    Object(Event),
    List { items: Vec<Event>, live: BTreeSet<PodKey>, revision: u64 },
    Lease(Lease),
    NotFound,
    Conflict,
    Refused,
    Unknown,
}

/// Everything that is durable.
#[derive(Debug, Default)]
pub(crate) struct Server {
    pub(crate) revision: u64,
    pub(crate) nodes: BTreeMap<Arc<str>, Arc<NodeFacts>>,
    pub(crate) reports: BTreeMap<Arc<str>, Arc<GpuReport>>,
    pub(crate) pods: BTreeMap<PodKey, Arc<Pod>>,
    /// Pods of phase Succeeded: they are there and hold nothing.
    pub(crate) ended: BTreeSet<Arc<str>>,
    pub(crate) history: [Vec<Change>; 3],
    pub(crate) lease: Option<Lease>,
    /// Every Binding that was carried out, by UID.
    pub(crate) bound: BTreeMap<Arc<str>, (Arc<str>, Placement)>,
}

fn position(kind: ResetKind) -> usize {
    KINDS.iter().position(|known| *known == kind).expect("all are listed")
}

impl Server {
    pub(crate) fn history(&self, kind: ResetKind) -> &[Change] {
        &self.history[position(kind)]
    }

    fn note(&mut self, kind: ResetKind, revision: u64, event: Event) {
        self.history[position(kind)].push(Change { revision, event });
    }

    fn next(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    fn pod_event(&self, pod: &Arc<Pod>) -> Event {
        if self.ended.contains(&pod.uid) {
            Event::PodGone(pod.key.clone(), pod.uid.clone())
        } else {
            Event::PodApplied(pod.clone())
        }
    }

    /// Writes a pod; gives what a watch says of it.
    pub(crate) fn put_pod(&mut self, mut pod: Pod) -> Event {
        pod.version.revision = self.next();
        let (revision, pod) = (pod.version.revision, Arc::new(pod));
        let event = self.pod_event(&pod);
        self.pods.insert(pod.key.clone(), pod);
        self.note(ResetKind::Pods, revision, event.clone());
        event
    }

    pub(crate) fn end_pod(&mut self, key: &PodKey) {
        if let Some(pod) = self.pods.get(key).cloned() {
            self.ended.insert(pod.uid.clone());
            self.put_pod(Pod::clone(&pod));
        }
    }

    pub(crate) fn remove_pod(&mut self, key: &PodKey) {
        if let Some(pod) = self.pods.remove(key) {
            let revision = self.next();
            self.note(ResetKind::Pods, revision, Event::PodGone(key.clone(), pod.uid.clone()));
        }
    }

    pub(crate) fn put_node(&mut self, mut facts: NodeFacts) {
        facts.revision = self.next();
        let (revision, facts) = (facts.revision, Arc::new(facts));
        self.nodes.insert(facts.name.clone(), facts.clone());
        self.note(ResetKind::Nodes, revision, Event::NodeApplied(facts));
    }

    pub(crate) fn remove_node(&mut self, name: &Arc<str>) {
        if self.nodes.remove(name).is_some() {
            let revision = self.next();
            self.note(ResetKind::Nodes, revision, Event::NodeDeleted(name.clone()));
        }
    }

    pub(crate) fn put_report(&mut self, name: &Arc<str>, mut report: GpuReport) -> Event {
        report.revision = self.next();
        let (revision, report) = (report.revision, Arc::new(report));
        self.reports.insert(name.clone(), report.clone());
        let event = Event::Report(name.clone(), Some(report));
        self.note(ResetKind::Reports, revision, event.clone());
        event
    }

    /// Pods that hold what they were given: bound, not ended.
    pub(crate) fn holders(&self, node: &str) -> impl Iterator<Item = &Arc<Pod>> {
        let node = node.to_owned();
        self.pods
            .values()
            .filter(move |pod| pod.node.as_deref() == Some(&*node) && !self.ended.contains(&pod.uid))
    }

    /// Whether a pod of that UID is there and has not ended.
    pub(crate) fn lives(&self, uid: &str) -> bool {
        !self.ended.contains(uid) && self.pods.values().any(|pod| *pod.uid == *uid)
    }

    /// Carries out a request, in one transaction.
    pub(crate) fn serve(&mut self, call: &Call) -> Reply {
        match call {
            Call::Bind { pod, uid, revision, node, placement } => {
                self.bind(pod, uid, *revision, node, placement)
            }
            Call::Fence { pod, uid, revision, annotation } => self.fence(pod, uid, *revision, annotation),
            Call::GetPod(key) => {
                self.pods.get(key).map_or(Reply::NotFound, |pod| Reply::Object(self.pod_event(pod)))
            }
            Call::PatchSpec { node, revision, instances, fence } => {
                self.patch(node, *revision, instances, fence.is_some())
            }
            Call::GetGpuNode(node) => self.reports.get(node).map_or(Reply::NotFound, |report| {
                Reply::Object(Event::Report(node.clone(), Some(report.clone())))
            }),
            Call::List(kind) => self.list(*kind),
            Call::GetLease => self.lease.clone().map_or(Reply::NotFound, Reply::Lease),
            Call::PutLease { version, holder, term } => {
                if self.lease.as_ref().map_or(0, |lease| lease.version) != *version {
                    return Reply::Conflict;
                }
                let lease = Lease { version: self.next(), holder: holder.clone(), term: *term };
                self.lease = Some(lease.clone());
                Reply::Lease(lease)
            }
        }
    }

    fn bind(
        &mut self,
        key: &PodKey,
        uid: &Arc<str>,
        revision: u64,
        node: &Arc<str>,
        placement: &Placement,
    ) -> Reply {
        let Some(pod) = self.pods.get(key) else { return Reply::NotFound };
        let is_other = pod.uid != *uid || (revision > 0 && pod.version.revision != revision);
        if is_other || pod.node.is_some() || pod.is_terminating {
            return Reply::Conflict;
        }
        if pod.waiting.as_ref().is_some_and(|waiting| waiting.is_gated) {
            return Reply::Refused;
        }
        let pod = pod.bound_to(node.clone(), placement.clone());
        self.bound.insert(uid.clone(), (node.clone(), placement.clone()));
        self.put_pod(pod);
        Reply::Done
    }

    fn fence(&mut self, key: &PodKey, uid: &Arc<str>, revision: u64, annotation: &str) -> Reply {
        let Some(pod) = self.pods.get(key).cloned() else { return Reply::NotFound };
        if pod.uid != *uid || (revision > 0 && pod.version.revision != revision) {
            return Reply::Conflict;
        }
        if pod.version.fence.as_deref() == Some(annotation) {
            return Reply::Object(self.pod_event(&pod)); // a patch that changes nothing writes nothing
        }
        let version = Version { fence: Some(annotation.into()), ..pod.version };
        Reply::Object(self.put_pod(Pod { version, ..Pod::clone(&pod) }))
    }

    fn patch(&mut self, node: &Arc<str>, revision: u64, instances: &[Wanted], is_fencing: bool) -> Reply {
        let Some(report) = self.reports.get(node) else { return Reply::NotFound };
        if revision > 0 && report.revision != revision {
            return Reply::Conflict;
        }
        let form = |wanted: &Wanted| {
            let (uuid, profile) = (None, wanted.device.profile.clone());
            let (pod, pod_uid) = (Some(wanted.pod.clone()), Some(wanted.uid.clone()));
            let start = wanted.device.start;
            let (sharers, memory_used_mib, is_foreign, ready_for) = (Vec::new(), None, false, None);
            let instance = InstanceReport {
                uuid,
                profile,
                start,
                pod,
                sharers,
                memory_used_mib,
                is_foreign,
                pod_uid,
                ready_for,
            };
            (wanted.device.gpu, instance)
        };
        let wanted: Vec<(u16, InstanceReport)> = instances.iter().map(form).collect();
        if report.wanted == wanted && !is_fencing {
            return Reply::Object(Event::Report(node.clone(), Some(report.clone())));
        }
        let report = GpuReport { wanted, ..GpuReport::clone(report) };
        Reply::Object(self.put_report(node, report))
    }

    fn list(&self, kind: ResetKind) -> Reply {
        let named = |name: &Arc<str>| PodKey { namespace: "".into(), name: name.clone() };
        let (items, live) = match kind {
            ResetKind::Nodes => {
                let items = self.nodes.values().map(|facts| Event::NodeApplied(facts.clone()));
                (items.collect(), self.nodes.keys().map(named).collect())
            }
            ResetKind::Reports => {
                let item = |(name, report): (&Arc<str>, &Arc<GpuReport>)| {
                    Event::Report(name.clone(), Some(report.clone()))
                };
                (self.reports.iter().map(item).collect(), self.reports.keys().map(named).collect())
            }
            ResetKind::Pods => {
                let items = self.pods.values().map(|pod| self.pod_event(pod));
                let has_ended = |pod: &&Arc<Pod>| self.ended.contains(&pod.uid);
                let live = self.pods.values().filter(|pod| !has_ended(pod)).map(|pod| pod.key.clone());
                (items.collect(), live.collect())
            }
            ResetKind::Agents => unreachable!("agents play without Leases here: see tests/silence.rs"),
        };
        Reply::List { items, live, revision: self.revision }
    }
}
