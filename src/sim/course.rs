//! A trace of pods and nodes through the model of a cluster, as a scheduler that asks Tangram would bind them.
//!
//! A pod that fits nowhere waits, and is tried again, by priority and then by age, whenever a pod or a node goes or
//! a node comes or changes. Pods that the cluster had before the trace keep their places, or their lack of one.
//! Prices follow what is asked for and what there is, as they do while Tangram serves.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cache::{Cache, Event, Outcome};
use crate::model::{Node, Placement, Pod, PodKey, Policy};
use crate::plan::no_place;
use crate::solver::{Query, Refusal, Scores, best};
use crate::wire::fragmentation::FragmentationView;
use crate::wire::trace::{Happening, PodCounts, ReasonCount, Step, TraceReport};

/// Seconds between two looks at whether the prices still hold, as the owner of a served model takes them.
const REPRICE_S: f64 = 1.0;

/// A cluster while a trace goes on.
#[derive(Debug)]
pub struct Course {
    cache: Cache,
    policy: Policy,
    looked: f64,
    began: Option<f64>,
    now: f64,
    known: BTreeMap<PodKey, Standing>,
    waiting: BTreeMap<Turn, Arc<Pod>>,
    counts: PodCounts,
    waited: f64,
    steps: u64,
    reasons: BTreeMap<Refusal, (u64, u64)>, // pods, nodes
}

/// How a pod stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Waits(Turn),
    Runs,
    /// It went with its node.
    Lost,
}

/// When a waiting pod is tried: by priority, then by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    priority: Reverse<i32>,
    number: u64,
    since: u64, // the time in bits, so that turns can be ordered
}

/// What was decided about a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The pod.
    pub pod: PodKey,
    /// Node and GPU instances; `None` where it fits nowhere.
    pub place: Option<(Arc<str>, Placement)>,
}

impl Course {
    /// Before a trace, on a cluster as it is.
    pub fn new(cache: Cache, policy: Policy) -> Self {
        let known = cache.pods().map(|pod| (pod.key.clone(), Standing::Runs)).collect();
        Self {
            cache,
            policy,
            looked: f64::NEG_INFINITY,
            began: None,
            now: 0.0,
            known,
            waiting: BTreeMap::new(),
            counts: PodCounts::default(),
            waited: 0.0,
            steps: 0,
            reasons: BTreeMap::new(),
        }
    }

    /// One step of the trace, and what was decided.
    ///
    /// # Errors
    /// Why it cannot be, after what was before; nothing has changed then.
    pub fn take(&mut self, step: Step) -> Result<Vec<Decision>, String> {
        self.now = step.at;
        self.reprice();
        let decisions = match step.happening {
            Happening::Pod(pod) => self.pod(pod)?,
            Happening::PodDeleted(key) => self.pod_deleted(&key)?,
            Happening::Node(facts) => {
                self.cache.apply(Event::NodeApplied(facts));
                self.retry()?
            }
            Happening::NodeDeleted(name) => self.node_deleted(&name)?,
        };
        self.began.get_or_insert(step.at);
        self.steps += 1;
        Ok(decisions)
    }

    fn reprice(&mut self) {
        if self.now - self.looked < REPRICE_S {
            return;
        }
        self.looked = self.now;
        if let Some((demand, supply)) = self.cache.drifted() {
            self.cache.apply(Event::Repriced(Arc::new(Scores::with_supply(demand, supply))));
        }
    }

    fn pod(&mut self, pod: Arc<Pod>) -> Result<Vec<Decision>, String> {
        if self.known.get(&pod.key).is_some_and(|standing| *standing != Standing::Lost) {
            return Err(format!("metadata.name: pod {} is there already", pod.key));
        }
        self.counts.came += 1;
        self.cache.apply(Event::PodApplied(pod.clone()));
        if pod.node.is_some() {
            self.counts.came_bound += 1;
            self.known.insert(pod.key.clone(), Standing::Runs);
            return Ok(Vec::new());
        }
        if let Some(place) = self.bind(&pod)? {
            self.counts.accepted += 1;
            self.known.insert(pod.key.clone(), Standing::Runs);
            return Ok(vec![Decision { pod: pod.key.clone(), place: Some(place) }]);
        }
        let cluster = self.cache.cluster();
        let query = Query::new(cluster, self.cache.scores(), &pod, self.policy);
        for (refusal, nodes) in no_place(cluster, &pod, &query).refusals {
            let sum = self.reasons.entry(refusal).or_default();
            *sum = (sum.0 + 1, sum.1 + u64::try_from(nodes.count).expect("fewer than 2^64 nodes"));
        }
        self.counts.refused += 1;
        let priority = Reverse(pod.priority);
        let turn = Turn { priority, number: self.counts.came, since: self.now.to_bits() };
        self.known.insert(pod.key.clone(), Standing::Waits(turn));
        let decision = Decision { pod: pod.key.clone(), place: None };
        self.waiting.insert(turn, pod);
        Ok(vec![decision])
    }

    fn pod_deleted(&mut self, key: &PodKey) -> Result<Vec<Decision>, String> {
        let standing = self.known.remove(key).ok_or_else(|| format!("there is no pod {key}"))?;
        self.cache.apply(Event::PodDeleted(key.clone()));
        match standing {
            Standing::Runs => self.retry(),
            Standing::Lost => Ok(Vec::new()),
            Standing::Waits(turn) => {
                self.waiting.remove(&turn);
                self.counts.gave_up += 1;
                Ok(Vec::new())
            }
        }
    }

    fn node_deleted(&mut self, name: &Arc<str>) -> Result<Vec<Decision>, String> {
        let node: Arc<Node> =
            self.cache.cluster().get(name).cloned().ok_or_else(|| format!("there is no node {name}"))?;
        for pod in &node.pods {
            self.cache.apply(Event::PodDeleted(pod.key.clone()));
            self.known.insert(pod.key.clone(), Standing::Lost);
            self.counts.lost += 1;
        }
        self.cache.apply(Event::NodeDeleted(name.clone()));
        // What is gone makes no room.
        Ok(Vec::new())
    }

    /// Tries every waiting pod again.
    fn retry(&mut self) -> Result<Vec<Decision>, String> {
        let mut decisions = Vec::new();
        // One that asks the same as one that was just refused need not be tried.
        let mut refused: Vec<Arc<Pod>> = Vec::new();
        let waiting: Vec<(Turn, Arc<Pod>)> =
            self.waiting.iter().map(|(turn, pod)| (*turn, pod.clone())).collect();
        for (turn, pod) in waiting {
            if refused.iter().any(|other| other.request == pod.request && other.demand == pod.demand) {
                continue;
            }
            let Some(place) = self.bind(&pod)? else {
                refused.push(pod);
                continue;
            };
            self.waiting.remove(&turn);
            self.known.insert(pod.key.clone(), Standing::Runs);
            let waited = self.now - f64::from_bits(turn.since);
            self.counts.accepted_later += 1;
            self.counts.waited_seconds_max = self.counts.waited_seconds_max.max(waited);
            self.waited += waited;
            decisions.push(Decision { pod: pod.key.clone(), place: Some(place) });
        }
        Ok(decisions)
    }

    /// Binds a pod where it costs least, if it fits anywhere.
    fn bind(&mut self, pod: &Arc<Pod>) -> Result<Option<(Arc<str>, Placement)>, String> {
        let (cluster, scores) = (self.cache.cluster(), self.cache.scores().clone());
        let query = Query::new(cluster, &scores, pod, self.policy);
        let Some((_, index)) = best(cluster, pod, &query) else { return Ok(None) };
        let node = cluster.node(index).facts.name.clone();
        let (key, uid) = (pod.key.clone(), pod.uid.clone());
        match self.cache.apply(Event::Bind { pod: key, uid, node: node.clone() }) {
            Outcome::Bound(placement) => Ok(Some((node, placement))),
            Outcome::NotBound(error) => Err(error.to_string()),
            other => unreachable!("a bind of an embedded model ends at once: {other:?}"),
        }
    }

    /// What became of it all.
    pub fn report(&self) -> TraceReport {
        #[expect(clippy::cast_precision_loss, reason = "counts of a simulation, far below 2^52")]
        let mean = self.waited / self.counts.accepted_later.max(1) as f64;
        let waiting = u64::try_from(self.waiting.len()).expect("fewer than 2^64 pods");
        let reason = |(refusal, (pods, nodes)): (&Refusal, &(u64, u64))| ReasonCount {
            reason: refusal.to_string(),
            pods: *pods,
            nodes: *nodes,
        };
        let mut reasons: Vec<ReasonCount> = self.reasons.iter().map(reason).collect();
        reasons.sort_by(|a, b| (b.pods, b.nodes, &a.reason).cmp(&(a.pods, a.nodes, &b.reason)));
        TraceReport {
            steps: self.steps,
            seconds: self.now - self.began.unwrap_or(self.now),
            pods: PodCounts { waiting, waited_seconds_mean: mean, ..self.counts.clone() },
            reasons,
            nodes: self.cache.cluster().len(),
            fragmentation: Some(FragmentationView::new(self.cache.cluster(), self.cache.scores(), 0)),
        }
    }

    /// The cluster as it is now.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }
}
