//! Events applied to the model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::event::{BindError, Event, Outcome, ResetKind};
use crate::model::{Cluster, Demand, GpuReport, Node, NodeFacts, Placement, Pod, PodKey, Policy};
use crate::solver::{Query, Scores, place, verify};

/// The cluster model with everything it is derived from. One task owns it.
#[derive(Debug)]
pub struct Cache {
    cluster: Cluster,
    pods: BTreeMap<PodKey, Arc<Pod>>,
    reports: BTreeMap<Arc<str>, Arc<GpuReport>>,
    waiting: BTreeMap<Arc<str>, BTreeSet<PodKey>>, // pods bound to nodes that are not known
    scores: Arc<Scores>,
    policy: Policy,
    pods_max: usize,
    is_embedded: bool,
}

impl Cache {
    /// An empty model. `pods_max` bounds what filter requests can make it remember.
    pub fn new(scores: Arc<Scores>, policy: Policy, pods_max: usize) -> Self {
        Self {
            cluster: Cluster::default(),
            pods: BTreeMap::new(),
            reports: BTreeMap::new(),
            waiting: BTreeMap::new(),
            scores,
            policy,
            pods_max,
            is_embedded: false,
        }
    }

    /// A model that nobody but its own events changes: where a real agent would take a deleted pod's GPU
    /// instances away and report so, the model does.
    #[must_use]
    pub fn embedded(self) -> Self {
        Self { is_embedded: true, ..self }
    }

    /// The cluster as it is now; a clone is a snapshot.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The pods that are known, by key.
    pub fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.values()
    }

    /// Applies one event.
    pub fn apply(&mut self, event: Event) -> Outcome {
        let is_changed = match event {
            Event::NodeApplied(facts) => self.node_applied(facts),
            Event::NodeDeleted(name) => self.node_deleted(&name),
            Event::Report(name, report) => self.reported(name, report),
            Event::PodApplied(pod) => self.pod_applied(pod),
            Event::PodSeen(pod) => self.pod_seen(pod),
            Event::PodDeleted(key) => self.pod_deleted(&key),
            Event::Reset(kind, live) => self.reset(kind, &live),
            Event::Bind { pod, uid, node } => return self.bind(&pod, &uid, &node),
        };
        if is_changed { Outcome::Changed } else { Outcome::Unchanged }
    }

    fn node_applied(&mut self, facts: Arc<NodeFacts>) -> bool {
        let (report, pods) = match self.cluster.get(&facts.name) {
            Some(node) if node.facts == facts => return false,
            Some(node) => (node.report.clone(), node.pods.clone()),
            None => {
                let waiting = self.waiting.remove(&facts.name).unwrap_or_default();
                (
                    self.reports.get(&facts.name).cloned(),
                    waiting.iter().map(|key| self.pods[key].clone()).collect(),
                )
            }
        };
        self.put(Node::new(facts, report, pods));
        true
    }

    fn node_deleted(&mut self, name: &Arc<str>) -> bool {
        let Some(node) = self.cluster.remove(name) else { return false };
        if !node.pods.is_empty() {
            self.waiting.insert(name.clone(), node.pods.iter().map(|pod| pod.key.clone()).collect());
        }
        true
    }

    fn reported(&mut self, name: Arc<str>, report: Option<Arc<GpuReport>>) -> bool {
        let known = self.reports.get(&name);
        let is_late =
            known.zip(report.as_ref()).is_some_and(|(known, report)| report.sequence < known.sequence);
        if known == report.as_ref() || is_late {
            return false;
        }
        if let Some(node) = self.cluster.get(&name) {
            self.put(Node::new(node.facts.clone(), report.clone(), node.pods.clone()));
        }
        match report {
            Some(report) => self.reports.insert(name, report),
            None => self.reports.remove(&name),
        };
        true
    }

    fn pod_applied(&mut self, mut pod: Arc<Pod>) -> bool {
        if let Some(known) = self.pods.get(&pod.key) {
            // A pod never leaves its node alive, and loses no place: such an event was overtaken by the bind.
            let is_same = known.uid == pod.uid && known.node.is_some();
            if is_same && known.node == pod.node && pod.placement.is_none() && known.placement.is_some() {
                Arc::make_mut(&mut pod).placement.clone_from(&known.placement);
            }
            if *known == pod || (is_same && pod.node.is_none()) {
                return false;
            }
        }
        self.lift(&pod.key, pod.node.as_deref());
        if let Some(name) = &pod.node {
            match self.cluster.get(name) {
                Some(node) => self.put(node.with(&pod)),
                None => _ = self.waiting.entry(name.clone()).or_default().insert(pod.key.clone()),
            }
        }
        self.pods.insert(pod.key.clone(), pod);
        true
    }

    /// A filter request says what a pending pod asks, and nothing about where a pod is.
    fn pod_seen(&mut self, mut pod: Arc<Pod>) -> bool {
        let pending = Arc::make_mut(&mut pod);
        (pending.node, pending.placement, pending.unreadable_placement) = (None, None, None);
        // kube-scheduler's own filters have been asked: binding needs none of what they read.
        pending.demand = Demand { resources: pending.demand.resources, ..Demand::default() };
        match self.pods.get(&pod.key) {
            // Bound is bound: one of the same name that is created again has to wait for its deletion.
            Some(known) if known.node.is_some() => false,
            None if self.pods.len() >= self.pods_max => false,
            _ => self.pod_applied(pod),
        }
    }

    fn pod_deleted(&mut self, key: &PodKey) -> bool {
        self.lift(key, None);
        let Some(pod) = self.pods.remove(key) else { return false };
        if let Some((name, report)) =
            pod.node.as_ref().filter(|_| self.is_embedded).and_then(|name| self.reports.get_key_value(name))
        {
            let (name, report) = (name.clone(), Arc::new(report.without(key)));
            self.reported(name, Some(report));
        }
        true
    }

    /// Takes a known pod off its node, unless that is the node where it is about to stand.
    fn lift(&mut self, key: &PodKey, unless: Option<&str>) {
        let Some(name) = self.pods.get(key).and_then(|pod| pod.node.clone()) else { return };
        if unless == Some(&*name) {
            return;
        }
        if let Some(node) = self.cluster.get(&name) {
            self.put(node.retaining(|pod| pod.key != *key));
        } else if let Some(waiting) = self.waiting.get_mut(&name) {
            waiting.remove(key);
            if waiting.is_empty() {
                self.waiting.remove(&name);
            }
        }
    }

    fn reset(&mut self, kind: ResetKind, live: &BTreeSet<PodKey>) -> bool {
        let names: BTreeSet<&str> = live.iter().map(|key| &*key.name).collect();
        let gone = |name: &Arc<str>| !names.contains(&**name);
        match kind {
            ResetKind::Pods => {
                let vanished: Vec<PodKey> =
                    self.pods.keys().filter(|key| !live.contains(key)).cloned().collect();
                vanished.iter().filter(|key| self.pod_deleted(key)).count() > 0
            }
            ResetKind::Nodes => {
                let known = self.cluster.indices().map(|index| self.cluster.node(index).facts.name.clone());
                let vanished: Vec<Arc<str>> = known.filter(gone).collect();
                vanished.iter().filter(|name| self.node_deleted(name)).count() > 0
            }
            ResetKind::Reports => {
                let vanished: Vec<Arc<str>> =
                    self.reports.keys().filter(|name| gone(name)).cloned().collect();
                vanished.into_iter().filter(|name| self.reported(name.clone(), None)).count() > 0
            }
        }
    }

    fn bind(&mut self, key: &PodKey, uid: &Arc<str>, name: &Arc<str>) -> Outcome {
        match self.decide(key, uid, name) {
            Ok((pod, placement)) => {
                self.pod_applied(Arc::new(pod.bound_to(name.clone(), placement.clone())));
                Outcome::Bound(placement)
            }
            Err(outcome) => outcome,
        }
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
        let query = Query::new(&self.cluster, &self.scores, &known.request, self.policy);
        let placement = place(&self.cluster, target, &known.request, &query).map_err(|refusal| {
            Outcome::NotBound(BindError::DoesNotFit { pod: pod.clone(), node: node.clone(), refusal })
        })?;
        verify(target, &known.request, &placement)
            .map_err(|violation| Outcome::NotBound(BindError::FailedCheck { pod, node, violation }))?;
        Ok((known.clone(), placement))
    }

    fn put(&mut self, node: Node) {
        self.cluster.put(Arc::new(node));
    }
}
