//! kube-scheduler: filters, binds, waits, tries again; and what its binds were answered (rule 4).

use std::sync::Arc;

use tangram::cache::{BindError, Event, Outcome, ResetKind};
use tangram::model::{Cluster, Placement, Pod, PodKey, Policy};
use tangram::solver::{Query, Scores, best, evaluate};

use crate::world::{Action, Local, World, trace};

/// A bind that kube-scheduler asked for.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) key: PodKey,
    pub(crate) uid: Arc<str>,
    pub(crate) node: Arc<str>,
    is_over: bool, // for the scheduler
}

/// How long kube-scheduler waits for an answer.
const PATIENCE_MS: u64 = 2_500;

impl World {
    /// One scheduling cycle of a pod: filter at some replica, choose, bind.
    pub(crate) fn cycle(&mut self, key: &PodKey, uid: &Arc<str>) {
        let is_late = self.is_calm || !self.chance(5); // or its watch is
        let pod = self.server.pods.get(key).filter(|pod| pod.uid == *uid).cloned();
        let waits = |pod: &Pod| {
            pod.node.is_none()
                && !pod.is_terminating
                && !pod.waiting.as_ref().is_some_and(|waiting| waiting.is_gated)
        };
        if is_late && !pod.as_ref().is_some_and(|pod| waits(pod)) {
            return;
        }
        let ready: Vec<usize> =
            (0..self.replicas.len()).filter(|&replica| self.replicas[replica].is_ready).collect();
        if ready.is_empty() {
            return self.cycle_again(key, uid, 100, 400);
        }
        let mut replica = ready[self.random.below(ready.len())];
        // What the scheduler has of the pod: a version of it, maybe an old one.
        let old = self.server.history(ResetKind::Pods).iter().rev().find_map(|change| match &change.event {
            Event::PodApplied(pod) if pod.uid == *uid && pod.node.is_none() => Some(pod.clone()),
            _ => None,
        });
        let Some(shown) = pod.filter(|pod| pod.node.is_none()).or(old) else { return };
        if self.replicas[replica].stopped_until <= self.now {
            self.apply(replica, Event::PodSeen(shown.clone()));
        }
        let Some(node) = self.choose(replica, &shown) else {
            let (from, to) = if self.is_calm { (1000, 2500) } else { (100, 1500) };
            return self.cycle_again(key, uid, from, to);
        };
        if self.chance(3) {
            replica = self.random.below(self.replicas.len());
        }
        self.attempt(key, uid, &node, replica, false);
        if self.chance(10) {
            let node = if self.chance(50) { node } else { self.any_node() };
            self.attempt(key, uid, &node, replica, true);
        }
    }

    fn any_node(&mut self) -> Arc<str> {
        let node = self.random.below(self.hardware.len());
        self.hardware[node].0.clone()
    }

    fn choose(&mut self, replica: usize, pod: &Pod) -> Option<Arc<str>> {
        if !self.is_calm && self.chance(15) {
            return Some(self.any_node()); // a snapshot of before
        }
        let is_best = self.is_calm || self.chance(50);
        let seed = self.random.next_u64();
        choose_on(self.replicas[replica].cache.cluster(), pod, (!is_best).then_some(seed))
    }

    fn cycle_again(&mut self, key: &PodKey, uid: &Arc<str>, from: u64, to: u64) {
        let pause = self.between(from, to);
        self.after(pause, Action::Cycle(key.clone(), uid.clone()));
    }

    fn attempt(&mut self, key: &PodKey, uid: &Arc<str>, node: &Arc<str>, replica: usize, is_extra: bool) {
        let id = self.attempts.len();
        let (key, uid, node) = (key.clone(), uid.clone(), node.clone());
        trace!(self, "bind {id} of {key} {uid} to {node} at {replica}");
        self.attempts.push(Attempt { key, uid, node, is_over: is_extra });
        let delay = self.delay();
        self.local(delay, replica, Local::Bind(id));
        if !is_extra {
            self.after(PATIENCE_MS, Action::GivesUp(id));
        }
    }

    pub(crate) fn bind(&mut self, replica: usize, id: usize) {
        let Attempt { key, uid, node, .. } = &self.attempts[id];
        let event = Event::Bind { pod: key.clone(), uid: uid.clone(), node: node.clone() };
        match self.apply(replica, event) {
            Outcome::Underway(uid) => {
                self.replicas[replica].binding.entry(uid).or_default().push(id);
            }
            Outcome::Bound(placement) => self.succeeded(id, &placement),
            Outcome::NotBound(error) => self.failed(id, &error),
            outcome => self.fail(format!("a bind is {outcome:?}")),
        }
    }

    /// A bind that was under way has ended: rule 4.
    pub(crate) fn bound(&mut self, replica: usize, uid: &Arc<str>, result: Result<Placement, BindError>) {
        let attempts = self.replicas[replica].binding.remove(uid).unwrap_or_default();
        trace!(self, "replica {replica} says of {uid}: {result:?}");
        match result {
            Ok(placement) => {
                for id in attempts {
                    self.succeeded(id, &placement);
                }
            }
            Err(error) => {
                let lives = self.server.lives(uid);
                if matches!(error, BindError::Gone { .. }) {
                    let pod = self.server.pods.values().find(|pod| pod.uid == *uid);
                    if lives && !pod.is_some_and(|pod| pod.is_terminating) {
                        self.fail(format!("rule 4: {uid} is said to be gone"));
                    }
                }
                if self.disown(replica, uid) && lives {
                    self.fail(format!("rule 4: {uid} is bound, and the answer is {error}"));
                }
                for id in attempts {
                    self.failed(id, &error);
                }
            }
        }
    }

    fn succeeded(&mut self, id: usize, placement: &Placement) {
        let Attempt { uid, node, key, .. } = &self.attempts[id];
        let is_bound =
            self.server.bound.get(uid).is_some_and(|bound| bound == &(node.clone(), placement.clone()));
        if !is_bound {
            let why = format!("rule 4: {key} {uid} is not bound to {node} with {placement:?}");
            self.fail(why);
        }
        self.attempts[id].is_over = true;
    }

    fn failed(&mut self, id: usize, error: &BindError) {
        trace!(self, "bind {id} has failed: {error}");
        if !std::mem::replace(&mut self.attempts[id].is_over, true) {
            let Attempt { key, uid, .. } = &self.attempts[id];
            let (key, uid) = (key.clone(), uid.clone());
            self.cycle_again(&key, &uid, 50, 600);
        }
    }

    pub(crate) fn scheduler_gives_up(&mut self, id: usize) {
        if !std::mem::replace(&mut self.attempts[id].is_over, true) {
            trace!(self, "the scheduler waits no more for bind {id}");
            let Attempt { key, uid, .. } = &self.attempts[id];
            let (key, uid) = (key.clone(), uid.clone());
            self.cycle_again(&key, &uid, 50, 600);
        }
    }

    /// Rule 3: whatever waits fits nowhere.
    pub(crate) fn nobody_is_stuck(&self, truth: &tangram::cache::Cache) -> Result<(), String> {
        for pod in self.server.pods.values() {
            let is_gated = pod.waiting.as_ref().is_some_and(|waiting| waiting.is_gated);
            if pod.node.is_some() || pod.is_terminating || is_gated {
                continue;
            }
            if let Some(node) = choose_on(truth.cluster(), pod, None) {
                return Err(format!("rule 3: {} {} waits and fits {node}", pod.key, pod.uid));
            }
        }
        Ok(())
    }
}

/// The best node, or any that fits.
fn choose_on(cluster: &Cluster, pod: &Pod, any: Option<u64>) -> Option<Arc<str>> {
    static SCORES: std::sync::LazyLock<Scores> = std::sync::LazyLock::new(Scores::prior);
    let query = Query::new(cluster, &SCORES, pod, Policy::Pack);
    let index = match any {
        None => best(cluster, pod, &query)?.1,
        Some(seed) => {
            let fitting: Vec<_> =
                cluster.indices().filter(|&index| evaluate(cluster.row(index), &query).is_ok()).collect();
            let count = u64::try_from(fitting.len()).expect("few nodes");
            let chosen = usize::try_from(seed.checked_rem(count)?).expect("few nodes");
            fitting[chosen]
        }
    };
    Some(cluster.node(index).facts.name.clone())
}
