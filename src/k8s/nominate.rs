//! The task that nominates: waiting pods in, statuses out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, mpsc, watch};

use super::age::Clock;
use super::evict::Evictor;
use super::lead::Leadership;
use super::plans::on_demand::OnDemand;
use super::tell::{Status, Teller, Told, is_said};
use crate::extender::Claims;
use crate::metrics::Metrics;
use crate::model::{Pod, PodKey};
use crate::nominate::{Advice, Nominator};
use crate::owner::{Model, Stopped};

/// Pods that one turn chooses nodes for, before their statuses go out: a turn is a few milliseconds.
const PODS_PER_TURN: usize = 16;
/// Statuses being written at once.
const WRITES: usize = 16;
/// Pause before a pod that changed meanwhile is told again: its new version is on the way.
const AGAIN: Duration = Duration::from_millis(30);
/// A pod that kube-scheduler is placing is left alone for so long: what it is told would come too late for this
/// attempt, and would only change the version that its Binding demands. The next attempt, if there is one,
/// comes a second later.
const HANDS_OFF_MS: u64 = 900;
/// How often pods that wait are looked at for what people should be told.
const LOOK: Duration = Duration::from_secs(1);
/// A pod is told why it waits once it has waited so long, and not more often than that.
const SETTLED_MS: u64 = 2_000;
const RETELL_MS: u64 = 30_000;
/// Pods told per look.
const TOLD_PER_LOOK: usize = 20;

/// What the owner of the model tells of pods that wait.
#[derive(Debug)]
pub(super) enum News {
    /// The pod waits like this, or (`None`) not any more.
    Waiting(PodKey, Option<Arc<Pod>>),
    /// kube-scheduler is placing it.
    Asked(PodKey),
}

/// See [`News`].
pub(super) type Waiting = mpsc::UnboundedReceiver<News>;

/// See the module.
pub(super) struct Nominating {
    pub(super) model: Model,
    pub(super) clock: Clock,
    pub(super) leadership: Arc<Leadership>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) teller: Teller,
    pub(super) nominator: Nominator,
    /// What the extender has to know of rooms that are being made.
    pub(super) claims: Arc<ArcSwap<Claims>>,
    pub(super) evictor: Option<Evictor>,
    pub(super) on_demand: Option<OnDemand>,
    pub(super) schedulers: Vec<String>,
    pub(super) is_enabled: bool,
}

/// What is known of a waiting pod beside its place in the queue.
#[derive(Debug, Clone, Copy)]
struct Seen {
    first_ms: u64,
    told_ms: Option<u64>,  // when it was last told why it waits
    asked_ms: Option<u64>, // when kube-scheduler last began to place it
    is_nominated: bool,
}

impl Nominating {
    /// Runs until the model is gone.
    pub(super) async fn run(mut self, mut waiting: Waiting) -> Result<(), Stopped> {
        let mut generations = self.model.generations();
        let mut seen: BTreeMap<PodKey, Seen> = BTreeMap::new();
        let (again, mut told_again) = mpsc::unbounded_channel();
        let slots = Arc::new(Semaphore::new(WRITES));
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_more = false;
        let mut is_due = false;
        loop {
            tokio::select! {
                biased;
                change = waiting.recv() => {
                    let Some(change) = change else { return Err(Stopped) };
                    self.take(change, &mut seen);
                    while let Ok(change) = waiting.try_recv() {
                        self.take(change, &mut seen);
                    }
                }
                Some(key) = told_again.recv() => {
                    self.nominator.untold(&key);
                    while let Ok(key) = told_again.try_recv() {
                        self.nominator.untold(&key);
                    }
                }
                _ = look.tick() => {
                    is_due = true;
                    self.look(&mut seen).await;
                }
                () = changed(&mut generations, is_more) => {}
            }
            self.metrics.waiting(self.nominator.len());
            if !self.leadership.is_ready() || self.nominator.is_empty() {
                self.publish_claims();
                is_more = false;
                continue;
            }
            // Without nominations it is only people, and preemption, that want to know who has no room.
            if !(self.is_enabled || is_due || is_more) {
                continue;
            }
            is_due = false;
            let snapshot = self.model.snapshot();
            self.nominator.reprice(&snapshot.scores);
            self.nominator.hold(&snapshot.holds);
            let turn = tokio::task::block_in_place(|| self.nominator.turn(&snapshot.cluster, PODS_PER_TURN));
            is_more = turn.1;
            self.publish_claims();
            for advice in turn.0 {
                let slot = slots.clone().acquire_owned().await.expect("nobody closes it");
                // Some pods may have changed or gone while earlier ones were written.
                while let Ok(news) = waiting.try_recv() {
                    self.take(news, &mut seen);
                }
                let newest = self.nominator.newest(&advice.pod.key).filter(|pod| pod.uid == advice.pod.uid);
                let Some(pod) = newest.cloned() else { continue };
                let advice = Advice { pod, ..advice };
                if self.is_being_placed(&advice.pod.key, &seen) {
                    let (again, key) = (again.clone(), advice.pod.key.clone());
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_millis(HANDS_OFF_MS)).await;
                        again.send(key).ok(); // the task is gone: so is the process
                    });
                    continue;
                }
                let first_ms = Self::note(&advice, &mut seen);
                let (teller, metrics, again, clock) =
                    (self.teller.clone(), self.metrics.clone(), again.clone(), self.clock);
                let status = match &advice.node {
                    Some(node) if self.is_enabled => Status::Nominated(node.clone()),
                    // Not a word to a pod that kube-scheduler has not refused; but one that it has refused is
                    // looked at again only when something about it changes.
                    Some(_)
                        if advice.pod.waiting.as_ref().is_none_or(|waiting| waiting.condition.is_none()) =>
                    {
                        continue;
                    }
                    Some(_) => Status::Waits("a node has room now".to_owned()),
                    None => Status::Waits(self.nominator.why(&advice.pod)),
                };
                tokio::spawn(async move {
                    let told = teller.status(&advice.pod, &status).await;
                    drop(slot);
                    let Ok(told) = told else { return };
                    metrics.nomination(told.outcome());
                    if let (Told::Done, Some(first_ms)) = (told, first_ms) {
                        metrics.nominated_after(clock.now_ms().saturating_sub(first_ms));
                    }
                    if told == Told::Again {
                        tokio::time::sleep(AGAIN).await;
                        again.send(advice.pod.key.clone()).ok(); // the task is gone: so is the process
                    }
                });
            }
        }
    }

    fn publish_claims(&self) {
        let claims = self.nominator.claims();
        if **self.claims.load() != claims {
            self.claims.store(Arc::new(claims));
        }
    }

    fn take(&mut self, news: News, seen: &mut BTreeMap<PodKey, Seen>) {
        let (key, pod) = match news {
            News::Waiting(key, pod) => (key, pod),
            News::Asked(key) => {
                if let Some(seen) = seen.get_mut(&key) {
                    seen.asked_ms = Some(self.clock.now_ms());
                }
                return;
            }
        };
        let is_ours = |pod: &Arc<Pod>| {
            let waiting = pod.waiting.as_ref();
            !pod.request.is_empty()
                && !pod.is_terminating
                && waiting.is_some_and(|waiting| {
                    !waiting.is_gated && self.schedulers.iter().any(|name| **name == *waiting.scheduler)
                })
        };
        let pod = pod.filter(is_ours);
        if pod.is_some() {
            let first_ms = self.clock.now_ms();
            seen.entry(key.clone()).or_insert(Seen {
                first_ms,
                told_ms: None,
                asked_ms: None,
                is_nominated: false,
            });
        } else {
            seen.remove(&key);
        }
        self.nominator.pod(&key, pod);
    }

    /// Whether kube-scheduler may be placing the pod right now.
    fn is_being_placed(&self, pod: &PodKey, seen: &BTreeMap<PodKey, Seen>) -> bool {
        let asked_ms = seen.get(pod).and_then(|seen| seen.asked_ms);
        asked_ms.is_some_and(|at_ms| self.clock.now_ms().saturating_sub(at_ms) < HANDS_OFF_MS)
    }

    /// Notes a nomination; the time at which the pod was first seen, when it is its first.
    fn note(advice: &Advice, seen: &mut BTreeMap<PodKey, Seen>) -> Option<u64> {
        let seen = seen.get_mut(&advice.pod.key).filter(|_| advice.node.is_some())?;
        let is_first = !std::mem::replace(&mut seen.is_nominated, true);
        is_first.then_some(seen.first_ms)
    }

    /// Tells pods why they wait, and makes room for those that may have it made.
    async fn look(&mut self, seen: &mut BTreeMap<PodKey, Seen>) {
        if !self.leadership.is_ready() {
            return;
        }
        let now_ms = self.clock.now_ms();
        let settled = |pod: &&Arc<Pod>| {
            seen.get(&pod.key).is_some_and(|seen| now_ms.saturating_sub(seen.first_ms) >= SETTLED_MS)
        };
        let mut settled: Vec<Arc<Pod>> = self.nominator.nowhere().filter(settled).cloned().collect();
        self.make_room_by_moves(&mut settled, now_ms).await;
        if let Some(evictor) = &mut self.evictor {
            for pod in evictor.given_up(now_ms) {
                self.nominator.unclaim(&pod);
            }
            let snapshot = self.model.snapshot();
            let is_free = |pod: &&Arc<Pod>| self.nominator.held_for(pod).is_none();
            let free: Vec<Arc<Pod>> = settled.iter().filter(is_free).cloned().collect();
            for (pod, node) in evictor.make_room(&snapshot, &free, now_ms, &self.teller).await {
                self.nominator.claim(&pod, &node);
            }
        }
        let is_due = |pod: &&Arc<Pod>| {
            seen.get(&pod.key).is_some_and(|seen| {
                seen.told_ms.is_none_or(|told_ms| now_ms.saturating_sub(told_ms) >= RETELL_MS)
            })
        };
        let due: Vec<Arc<Pod>> = settled.iter().filter(is_due).take(TOLD_PER_LOOK).cloned().collect();
        for pod in due {
            if let Some(seen) = seen.get_mut(&pod.key) {
                seen.told_ms = Some(now_ms);
            }
            let why = tokio::task::block_in_place(|| self.nominator.why(&pod));
            if is_said(&pod, &why) {
                continue;
            }
            let teller = self.teller.clone();
            tokio::spawn(async move {
                if matches!(teller.status(&pod, &Status::Waits(why.clone())).await, Ok(Told::Done)) {
                    teller
                        .event(&pod.key, &pod.uid, "Warning", "NoRoom", &format!("Waits for room: {why}"))
                        .await;
                }
            });
        }
    }
}

impl Nominating {
    /// Has pods moved for one that fits nowhere; those for which this happens do not count as such any more.
    async fn make_room_by_moves(&mut self, settled: &mut Vec<Arc<Pod>>, now_ms: u64) {
        let Some(on_demand) = &mut self.on_demand else { return };
        for pod in on_demand.given_up(now_ms).await {
            self.nominator.unclaim(&pod);
        }
        let mut rooms = on_demand.rooms().await;
        if rooms.is_empty() {
            let is_free = |pod: &&Arc<Pod>| self.nominator.held_for(pod).is_none();
            let free: Vec<Arc<Pod>> = settled.iter().filter(is_free).cloned().collect();
            let snapshot = self.model.snapshot();
            rooms.extend(on_demand.make_room(&snapshot, &free, now_ms, &self.teller).await);
        }
        for (pod, node) in rooms {
            // One that has its place there already keeps it.
            if self.nominator.nowhere().any(|waiting| waiting.key == pod) {
                self.nominator.claim(&pod, &node);
            }
            settled.retain(|waiting| waiting.key != pod);
        }
    }
}

/// The cluster has changed, or there is more to do anyway.
async fn changed(generations: &mut watch::Receiver<u64>, is_more: bool) {
    if !is_more && generations.changed().await.is_err() {
        std::future::pending::<()>().await; // the model is gone; whoever tells of pods says so too
    }
}
