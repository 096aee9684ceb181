//! Events applied to the model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::effect::Effect;
use super::event::{Event, Outcome, ResetKind};
use super::live::{Live, Options};
use crate::model::{Cluster, Demand, GpuReport, Hold, Node, NodeFacts, Pod, PodKey, Policy, with_holds};
use crate::solver::market::Supply;
use crate::solver::{Demand as Mix, Learner, Scores};

/// Half-life of a request in what is learnt of the demand, unless configured: a day has its own rhythm.
const HALF_LIFE_S: f64 = 86_400.0;

/// How far demand and supply may be from those that the prices are for: they change little for less.
const DRIFT: f64 = 0.05;

/// The cluster model with everything it is derived from. One task owns it.
#[derive(Debug)]
pub struct Cache {
    pub(super) cluster: Cluster,
    pub(super) pods: BTreeMap<PodKey, Arc<Pod>>,
    pub(super) reports: BTreeMap<Arc<str>, Arc<GpuReport>>,
    homeless: BTreeMap<Arc<str>, BTreeSet<PodKey>>, // pods bound to nodes that are not known
    pub(super) scores: Arc<Scores>,
    learner: Learner,
    pub(super) policy: Policy,
    pub(super) pods_max: usize,
    is_embedded: bool,
    pub(super) holds: Vec<Hold>,   // places that are kept for pods that move
    pub(super) live: Option<Live>, // where binds are written to an API server
}

impl Cache {
    /// An empty model. `pods_max` bounds what filter requests can make it remember.
    pub fn new(scores: Arc<Scores>, policy: Policy, pods_max: usize) -> Self {
        Self {
            cluster: Cluster::default(),
            pods: BTreeMap::new(),
            reports: BTreeMap::new(),
            homeless: BTreeMap::new(),
            scores,
            learner: Learner::new(HALF_LIFE_S),
            policy,
            pods_max,
            is_embedded: false,
            holds: Vec::new(),
            live: None,
        }
    }

    /// A model that nobody but its own events changes: where a real agent would take a deleted pod's GPU
    /// instances away and report so, the model does.
    #[must_use]
    pub fn embedded(self) -> Self {
        Self { is_embedded: true, ..self }
    }

    /// A model of a cluster that an API server keeps: binds become [`Effect`]s, and versions
    /// of objects are compared. It leads nothing until an event says so.
    #[must_use]
    pub fn live(self, options: Options) -> Self {
        Self { live: Some(Live::new(options)), ..self }
    }

    /// Another half-life, in seconds, of what is learnt of the demand.
    #[must_use]
    pub fn learning_over(self, half_life_s: f64) -> Self {
        Self { learner: Learner::new(half_life_s), ..self }
    }

    /// The prices in force.
    pub fn scores(&self) -> &Arc<Scores> {
        &self.scores
    }

    /// What the cluster is asked for, as far as it is learnt, and what it has, where the prices are for something
    /// else.
    pub fn drifted(&self) -> Option<(Mix, Supply)> {
        let (demand, supply) = (self.learner.demand(), Supply::of(&self.cluster));
        let scores = &self.scores;
        let apart = scores.demand().distance(&demand).max(scores.markets().supply().distance(&supply));
        (apart > DRIFT).then_some((demand, supply))
    }

    /// The cluster as it is now; a clone is a snapshot.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The cluster as others find it, with a stand-in at each place that is kept and not taken; and those places.
    pub fn held(&self) -> (Cluster, Arc<[Hold]>) {
        with_holds(&self.cluster, &self.holds)
    }

    /// The pods that are known, by key.
    pub fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.values()
    }

    /// The pod of that key.
    pub fn pod(&self, key: &PodKey) -> Option<&Arc<Pod>> {
        self.pods.get(key)
    }

    /// Applies one event.
    pub fn apply(&mut self, event: Event) -> Outcome {
        let is_changed = match event {
            Event::NodeApplied(facts) => self.node_applied(facts),
            Event::NodeDeleted(name) => self.node_deleted(&name),
            Event::Report(name, report) => self.reported(&name, report),
            Event::Agent(name, renewal) => self.agent_seen(&name, renewal),
            Event::Listened(at_ms) => self.listened(at_ms),
            Event::PodApplied(pod) => self.pod_applied(pod),
            Event::PodSeen(pod) => self.pod_seen(pod),
            Event::PodDeleted(key) => self.pod_deleted(&key),
            Event::PodGone(key, uid) => self.pod_gone(&key, &uid),
            Event::Reset { kind, live, revision } => self.reset(kind, &live, revision),
            Event::Bind { pod, uid, node } => return self.bind(&pod, &uid, &node),
            Event::Lead(fence) => self.lead(fence),
            Event::Unlead => self.unlead(),
            Event::Answered(answer) => self.answered(answer),
            Event::Tick(now_ms) => self.tick(now_ms),
            Event::Hold(holds) => {
                let is_same = self.holds == holds;
                self.holds = holds;
                !is_same
            }
            Event::Repriced(scores) => {
                !Arc::ptr_eq(&std::mem::replace(&mut self.scores, scores.clone()), &scores)
            }
        };
        if is_changed { Outcome::Changed } else { Outcome::Unchanged }
    }

    fn node_applied(&mut self, mut facts: Arc<NodeFacts>) -> bool {
        let revision = std::mem::take(&mut Arc::make_mut(&mut facts).revision);
        if let Some(live) = &mut self.live
            && !live.node_versions.advance(&facts.name, revision)
        {
            return false;
        }
        let (report, pods) = match self.cluster.get(&facts.name) {
            Some(node) if node.facts == facts => return false,
            Some(node) => (node.report.clone(), node.pods.clone()),
            None => {
                let homeless = self.homeless.remove(&facts.name).unwrap_or_default();
                (
                    self.reports.get(&facts.name).cloned(),
                    homeless.iter().map(|key| self.pods[key].clone()).collect(),
                )
            }
        };
        let name = facts.name.clone();
        self.put(Node::new(facts, report, pods).with_agent(self.is_silent(&name)));
        self.want(&name); // pods may have come and gone while nobody knew the node
        true
    }

    fn node_deleted(&mut self, name: &Arc<str>) -> bool {
        let Some(node) = self.cluster.remove(name) else { return false };
        if !node.pods.is_empty() {
            self.homeless.insert(name.clone(), node.pods.iter().map(|pod| pod.key.clone()).collect());
        }
        true
    }

    fn reported(&mut self, name: &Arc<str>, report: Option<Arc<GpuReport>>) -> bool {
        let known = self.reports.get(name);
        let is_late = known.zip(report.as_ref()).is_some_and(|(known, report)| known.is_after(report));
        if known == report.as_ref() || is_late {
            return false;
        }
        if let Some(node) = self.cluster.get(name) {
            let is_silent = node.is_silent;
            let node = Node::new(node.facts.clone(), report.clone(), node.pods.clone());
            self.put(node.with_agent(is_silent));
        }
        match report {
            Some(report) => self.reports.insert(name.clone(), report),
            None => self.reports.remove(name),
        };
        self.prepare(name);
        self.want(name);
        true
    }

    pub(super) fn pod_applied(&mut self, pod: Arc<Pod>) -> bool {
        if self.is_overtaken(&pod) {
            return false;
        }
        self.learn(&pod);
        self.take_pod(pod)
    }

    /// Counts what a pod asks for: once, and where it asks for no device only on a node that has some.
    fn learn(&mut self, pod: &Pod) {
        let known = self.pods.get(&pod.key).filter(|known| known.uid == pod.uid);
        let is_new = if pod.request.is_empty() {
            let node = pod.node.as_ref().and_then(|name| self.cluster.get(name));
            let is_beside = node.is_some_and(|node| !node.facts.pools.is_empty());
            is_beside && known.is_none_or(|known| known.node.is_none())
        } else {
            known.is_none()
        };
        if is_new {
            self.learner.observe(pod);
        }
    }

    fn take_pod(&mut self, mut pod: Arc<Pod>) -> bool {
        if let Some(known) = self.pods.get(&pod.key).cloned() {
            if self.live.is_some() && known.uid != pod.uid {
                // The name is given again only when its first bearer is gone.
                self.pod_gone(&known.key, &known.uid);
            } else {
                // A pod never leaves its node alive, and loses no place: such an event was overtaken by the bind.
                let is_same = known.uid == pod.uid && known.node.is_some();
                if is_same && known.node == pod.node && pod.placement.is_none() && known.placement.is_some() {
                    Arc::make_mut(&mut pod).placement.clone_from(&known.placement);
                }
                if is_same && pod.node.is_none() {
                    self.seen_unbound(&known, &pod);
                    return false;
                }
                if known.means(&pod) {
                    self.tell_waiting(&pod.key, Some(&pod));
                    self.pods.insert(pod.key.clone(), pod.clone());
                    self.seen_bound(&pod); // as the bind wanted it, but so far nobody knew that it was written
                    return false;
                }
            }
        }
        self.set_pod(pod.clone());
        self.seen_bound(&pod);
        true
    }

    /// Puts a pod where it says that it is, whatever was known of it.
    pub(super) fn set_pod(&mut self, pod: Arc<Pod>) {
        let from = self.lift(&pod.key, pod.node.as_deref());
        if let Some(name) = &pod.node {
            match self.cluster.get(name) {
                Some(node) => self.put(node.with(&pod)),
                None => _ = self.homeless.entry(name.clone()).or_default().insert(pod.key.clone()),
            }
        }
        self.tell_waiting(&pod.key, Some(&pod));
        let to = pod.node.clone();
        self.pods.insert(pod.key.clone(), pod);
        for name in from.iter().chain(&to) {
            self.want(name);
        }
    }

    /// A filter request says what a pending pod asks, and nothing about where a pod is.
    fn pod_seen(&mut self, mut pod: Arc<Pod>) -> bool {
        let pending = Arc::make_mut(&mut pod);
        (pending.node, pending.placement, pending.unreadable_placement) = (None, None, None);
        if let Some(live) = &mut self.live {
            live.effects.push(Effect::Asked(pod.key.clone()));
            // The watch says what a pod is; a request is only ever first. What a later list lacks is gone.
            let is_listed = (1..=live.pods_listed).contains(&pod.version.revision);
            let is_first = self.pods.get(&pod.key).is_none_or(|known| known.uid != pod.uid);
            return is_first && !is_listed && self.pod_applied(pod);
        }
        match self.pods.get(&pod.key) {
            // Bound is bound: one of the same name that is created again has to wait for its deletion.
            Some(known) if known.node.is_some() => return false,
            None if self.pods.len() >= self.pods_max => return false,
            _ => {}
        }
        self.learn(&pod);
        // kube-scheduler's own filters have been asked: binding needs none of what they read.
        let pending = Arc::make_mut(&mut pod);
        pending.demand = Demand { resources: pending.demand.resources, ..Demand::default() };
        self.take_pod(pod)
    }

    pub(super) fn pod_deleted(&mut self, key: &PodKey) -> bool {
        let from = self.lift(key, None);
        self.tell_waiting(key, None);
        let Some(pod) = self.pods.remove(key) else { return false };
        if let Some((name, report)) =
            pod.node.as_ref().filter(|_| self.is_embedded).and_then(|name| self.reports.get_key_value(name))
        {
            let (name, report) = (name.clone(), Arc::new(report.without(|gone| gone == key, &[])));
            self.reported(&name, Some(report));
        }
        if let Some(name) = from {
            self.want(&name);
        }
        true
    }

    /// Takes a known pod off its node, unless that is the node where it is about to stand. Gives that node.
    fn lift(&mut self, key: &PodKey, unless: Option<&str>) -> Option<Arc<str>> {
        let name = self.pods.get(key).and_then(|pod| pod.node.clone())?;
        if unless == Some(&*name) {
            return None;
        }
        if let Some(node) = self.cluster.get(&name) {
            self.put(node.retaining(|pod| pod.key != *key));
        } else if let Some(homeless) = self.homeless.get_mut(&name) {
            homeless.remove(key);
            if homeless.is_empty() {
                self.homeless.remove(&name);
            }
        }
        Some(name)
    }

    fn reset(&mut self, kind: ResetKind, live: &BTreeSet<PodKey>, revision: u64) -> bool {
        let names: BTreeSet<&str> = live.iter().map(|key| &*key.name).collect();
        let gone = |name: &Arc<str>| !names.contains(&**name);
        match kind {
            ResetKind::Pods => {
                if let Some(live) = &mut self.live {
                    live.pods_listed = live.pods_listed.max(revision);
                }
                let is_vanished =
                    |pod: &&Arc<Pod>| !live.contains(&pod.key) && pod.version.revision <= revision;
                let vanished: Vec<Arc<Pod>> = self.pods.values().filter(is_vanished).cloned().collect();
                vanished.iter().filter(|pod| self.pod_gone(&pod.key, &pod.uid)).count() > 0
            }
            ResetKind::Nodes => {
                let known = self.cluster.indices().map(|index| self.cluster.node(index).facts.name.clone());
                let versions = self.live.as_ref().map(|live| &live.node_versions);
                let is_older =
                    |name: &Arc<str>| versions.is_none_or(|versions| versions.get(name) <= revision);
                let vanished: Vec<Arc<str>> = known.filter(|name| gone(name) && is_older(name)).collect();
                if let Some(live) = &mut self.live {
                    live.node_versions.retain(&names, revision);
                }
                vanished.iter().filter(|name| self.node_deleted(name)).count() > 0
            }
            ResetKind::Reports => {
                let is_vanished = |(name, report): &(&Arc<str>, &Arc<GpuReport>)| {
                    gone(name) && (self.live.is_none() || report.revision <= revision)
                };
                let vanished: Vec<Arc<str>> =
                    self.reports.iter().filter(is_vanished).map(|(name, _)| name.clone()).collect();
                vanished.into_iter().filter(|name| self.reported(name, None)).count() > 0
            }
            ResetKind::Agents => self.keep_agents(&names),
        }
    }

    pub(super) fn put(&mut self, node: Node) {
        self.cluster.put(Arc::new(node));
    }
}
