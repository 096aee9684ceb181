//! The task that carries plans out.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use super::store::{Kept, Store, Trouble};
use super::{Ask, Plans, Wish};
use crate::cache::Event;
use crate::carry::{Next, Objection, Seen, accept, next, take_up};
use crate::k8s::access::Reply;
use crate::k8s::budgets::budgets;
use crate::k8s::evict::evict;
use crate::k8s::lead::Leadership;
use crate::k8s::tell::Teller;
use crate::k8s::write::pod_path;
use crate::metrics::{Evicted, Metrics};
use crate::model::{Cluster, Pod, PodKey};
use crate::owner::{Model, Snapshot, Stopped};
use crate::wire::plans::{MoveState, PlanState, PlanView, Replacement};

/// How often a plan is looked at: a step takes seconds to minutes.
const LOOK: Duration = Duration::from_millis(500);
/// The model may be late by what is on its way: what differs for so long differs.
const SETTLED: Duration = Duration::from_secs(10);
/// Between two tries of an eviction that a budget refuses: its controller takes seconds to count anew.
const PAUSE: Duration = Duration::from_secs(2);
/// Wishes that may wait to be heard.
const ASKS: usize = 16;

/// See the module.
#[derive(Debug)]
pub(in crate::k8s) struct Carrier {
    model: Model,
    leadership: Arc<Leadership>,
    metrics: Arc<Metrics>,
    teller: Teller,
    store: Store,
    step_time_limit: NonZeroU32, // seconds, where a plan does not say
}

/// What this process alone knows of the plan under way.
#[derive(Debug, Default)]
struct Memory {
    kept: Option<Kept>,             // none until it was read in this term
    step: Option<(usize, Instant)>, // the step under way, and since when this process knows it
    changed: Option<Instant>,       // since when the cluster is not as the plan needs it
    evicted: Option<Instant>,       // when an eviction was last asked for
    refused: String,                // what the API server said to it
}

impl Memory {
    fn plans(&self) -> &[PlanView] {
        self.kept.as_ref().map_or(&[], |kept| &kept.plans)
    }
}

impl Carrier {
    pub(in crate::k8s) fn new(
        teller: &Teller,
        leadership: &Arc<Leadership>,
        metrics: &Arc<Metrics>,
        store: Store,
        step_time_limit: NonZeroU32,
    ) -> Self {
        let (leadership, metrics) = (leadership.clone(), metrics.clone());
        Self {
            model: teller.model.clone(),
            leadership,
            metrics,
            teller: teller.clone(),
            store,
            step_time_limit,
        }
    }

    /// Starts it.
    pub(in crate::k8s) fn start(self) -> (Plans, impl Future<Output = Result<(), Stopped>>) {
        let (asks, asked) = mpsc::channel(ASKS);
        (Plans { asks }, self.run(asked))
    }

    async fn run(self, mut asked: mpsc::Receiver<Ask>) -> Result<(), Stopped> {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut memory = Memory::default();
        loop {
            let ask = tokio::select! {
                _ = look.tick() => None,
                Some(ask) = asked.recv() => Some(ask),
            };
            let read = self.read(&mut memory).await;
            // Whoever asked may be gone by the time of an answer.
            match ask {
                None if read.is_err() => {}
                None => self.go_on(&mut memory).await?,
                Some(Ask::List(answer)) => {
                    answer.send(read.map(|()| memory.plans().to_vec())).ok();
                }
                Some(Ask::Start(wish, answer)) => {
                    let begun = match read {
                        Ok(()) => self.begin(wish, &mut memory).await,
                        Err(why) => Err(why),
                    };
                    answer.send(begun).ok();
                }
                Some(Ask::Stop(id, answer)) => {
                    let ended = match read {
                        Ok(()) => self.end(&id, &mut memory).await?,
                        Err(why) => Err(why),
                    };
                    answer.send(ended).ok();
                }
            }
        }
    }

    /// Reads the record where it is not known; a replica that does not lead knows nothing.
    async fn read(&self, memory: &mut Memory) -> Result<(), Objection> {
        if !self.leadership.is_ready() {
            *memory = Memory::default();
            return Err(Objection::NotLeading("this replica does not lead".to_owned()));
        }
        if memory.kept.is_none() {
            let kept =
                self.store.load().await.map_err(|trouble| Objection::Unrecorded(trouble.to_string()))?;
            memory.kept = Some(kept);
        }
        Ok(())
    }

    async fn begin(&self, wish: Wish, memory: &mut Memory) -> Result<PlanView, Objection> {
        let budgets = budgets(&self.store.access).await.map_err(Objection::Unrecorded)?;
        let cluster = bare(&self.model.snapshot());
        let steps = accept(&cluster, &budgets, &wish.steps)?;
        let limit_s = wish.step_time_limit_seconds.unwrap_or(self.step_time_limit.get());
        let plans = take_up(memory.plans(), steps, wish.room, &now(), limit_s)?;
        self.save(plans, memory).await.map_err(|trouble| Objection::Unrecorded(trouble.to_string()))?;
        let plan = memory.plans().last().ok_or_else(|| Objection::Unrecorded("it is gone".to_owned()))?;
        info!(plan = plan.id, steps = plan.steps.len(), "A plan is carried out.");
        Ok(plan.clone())
    }

    async fn end(&self, id: &str, memory: &mut Memory) -> Result<Result<PlanView, Objection>, Stopped> {
        let Some(plan) = memory.plans().iter().find(|plan| plan.id == id).cloned() else {
            return Ok(Err(Objection::Unknown(id.to_owned())));
        };
        if plan.state != PlanState::Running {
            return Ok(Ok(plan)); // it has ended
        }
        let plan = over(plan, PlanState::Stopped, "somebody asked for it".to_owned());
        Ok(match self.record(plan.clone(), memory).await? {
            Ok(()) => Ok(plan),
            Err(trouble) => Err(Objection::Unrecorded(trouble.to_string())),
        })
    }

    /// One look at the plan that runs.
    async fn go_on(&self, memory: &mut Memory) -> Result<(), Stopped> {
        let Some(plan) = memory.plans().iter().find(|plan| plan.state == PlanState::Running).cloned() else {
            return Ok(());
        };
        let at = plan.current();
        if memory.step.map(|(known, _)| known) != at {
            memory.step = at.map(|at| (at, Instant::now()));
            (memory.changed, memory.evicted) = (None, None);
            memory.refused.clear();
        }
        let waiting = self.model.pending().await?;
        let cluster = bare(&self.model.snapshot());
        let decided =
            tokio::task::block_in_place(|| next(&plan, Seen { cluster: &cluster, waiting: &waiting }));
        let limit = Duration::from_secs(plan.step_time_limit_seconds.into());
        let took = memory.step.map_or(Duration::ZERO, |(_, since)| since.elapsed());
        if let Next::Changed(why) = decided {
            let since = *memory.changed.get_or_insert_with(Instant::now);
            if since.elapsed() < SETTLED {
                return Ok(());
            }
            return self.stop(plan, format!("the cluster changed: {why}"), memory).await;
        }
        memory.changed = None;
        match decided {
            Next::Changed(_) => Ok(()), // above
            Next::Finished => {
                info!(plan = plan.id, "The plan is carried out.");
                self.note(over(plan, PlanState::Done, String::new()), memory).await
            }
            Next::Begin(at, hold) => {
                let mut plan = plan;
                let step = &mut plan.steps[at];
                (step.state, step.hold, step.started) = (MoveState::Moving, Some(hold), Some(now()));
                plan.note = format!("step {}: {} is evicted", at + 1, plan.steps[at].key());
                self.note(plan, memory).await
            }
            Next::Evict(at, ..) | Next::Wait(at, _) if took >= limit => {
                let what = match &decided {
                    Next::Wait(_, what) => what.clone(),
                    _ if memory.refused.is_empty() => "the eviction was not answered".to_owned(),
                    _ => format!("the eviction is refused: {}", memory.refused),
                };
                let why = format!("step {}: {what}, for {} s", at + 1, limit.as_secs());
                self.stop(plan, why, memory).await
            }
            Next::Wait(at, what) => self.waits(plan, at, &what, memory).await,
            Next::Evict(at, pod, uid) => self.evict(plan, at, &pod, &uid, memory).await,
            Next::Runs(at, pod) => {
                if !self.runs(&pod).await {
                    if took >= limit {
                        let why =
                            format!("step {}: {} does not run, for {} s", at + 1, pod.key, limit.as_secs());
                        return self.stop(plan, why, memory).await;
                    }
                    return self.waits(plan, at, &format!("{} does not run yet", pod.key), memory).await;
                }
                let mut plan = plan;
                let step = &mut plan.steps[at];
                let (name, uid) = (pod.key.name.to_string(), pod.uid.to_string());
                (step.state, step.hold) = (MoveState::Done, None);
                step.replacement = Some(Replacement { name, uid });
                plan.note = String::new();
                info!(plan = plan.id, step = at + 1, replacement = %pod.key, "A step is done.");
                self.note(plan, memory).await
            }
        }
    }

    /// Asks for an eviction, once the place is kept.
    async fn evict(
        &self,
        plan: PlanView,
        at: usize,
        pod: &PodKey,
        uid: &str,
        memory: &mut Memory,
    ) -> Result<(), Stopped> {
        if memory.evicted.is_some_and(|last| last.elapsed() < PAUSE) || !self.leadership.holds() {
            return Ok(());
        }
        // Whoever led before may have kept nothing; nobody else finds room there from here on.
        self.model.apply(Event::Hold(plan.holds())).await?;
        memory.evicted = Some(Instant::now());
        match evict(&self.store.access, pod, uid).await {
            Reply::Done(_) => {
                self.metrics.eviction(Evicted::Done);
                let to = &plan.steps[at].to.node;
                info!(plan = plan.id, step = at + 1, %pod, to, "Evicted: its next place is kept.");
                let note = format!("Moves to node {to}: a repack makes room, and a place is kept there");
                self.teller.event(pod, uid, "Normal", "Moving", &note).await;
                self.waits(plan, at, &format!("{pod} is ending"), memory).await
            }
            // It is gone, or another one of its name; or nobody knows, and it is asked for again: it names a UID.
            Reply::Refused { code: StatusCode::NOT_FOUND | StatusCode::CONFLICT, .. } | Reply::Unknown(_) => {
                Ok(())
            }
            Reply::Refused { code: StatusCode::TOO_MANY_REQUESTS, message } => {
                self.metrics.eviction(Evicted::Refused);
                memory.refused.clone_from(&message);
                self.waits(plan, at, &format!("the eviction of {pod} is refused: {message}"), memory).await
            }
            Reply::Refused { code, message } => {
                self.metrics.eviction(Evicted::Refused);
                let why = format!("step {}: the eviction of {pod} is refused: {code}: {message}", at + 1);
                self.stop(plan, why, memory).await
            }
        }
    }

    /// Whether the pod runs, as the API server says: the model does not know.
    async fn runs(&self, pod: &Pod) -> bool {
        #[derive(Deserialize)]
        struct Object {
            metadata: Meta,
            status: Status,
        }
        #[derive(Deserialize)]
        struct Meta {
            uid: String,
        }
        #[derive(Deserialize)]
        struct Status {
            #[serde(default)]
            phase: String,
        }
        let Reply::Done(body) = self.store.access.get(&pod_path(&pod.key)).await else { return false };
        let object: Option<Object> = serde_json::from_slice(&body).ok();
        object.is_some_and(|object| {
            object.metadata.uid == *pod.uid && matches!(object.status.phase.as_str(), "Running" | "Succeeded")
        })
    }

    async fn waits(&self, plan: PlanView, at: usize, what: &str, memory: &mut Memory) -> Result<(), Stopped> {
        let note = format!("step {}: {what}", at + 1);
        if plan.note == note { Ok(()) } else { self.note(PlanView { note, ..plan }, memory).await }
    }

    async fn stop(&self, plan: PlanView, why: String, memory: &mut Memory) -> Result<(), Stopped> {
        warn!(plan = plan.id, why, "The plan stops.");
        self.note(over(plan, PlanState::Stopped, why), memory).await
    }

    /// Records a plan; where that fails it is looked at again.
    async fn note(&self, plan: PlanView, memory: &mut Memory) -> Result<(), Stopped> {
        if let Err(trouble) = self.record(plan, memory).await? {
            warn!(%trouble, "The plan could not be recorded; reading it again.");
        }
        Ok(())
    }

    /// Records a plan, then keeps its places and no others.
    async fn record(&self, plan: PlanView, memory: &mut Memory) -> Result<Result<(), Trouble>, Stopped> {
        let holds = plan.holds();
        let plans = memory
            .plans()
            .iter()
            .map(|known| if known.id == plan.id { plan.clone() } else { known.clone() })
            .collect();
        if let Err(trouble) = self.save(plans, memory).await {
            return Ok(Err(trouble));
        }
        self.model.apply(Event::Hold(holds)).await?;
        Ok(Ok(()))
    }

    async fn save(&self, plans: Vec<PlanView>, memory: &mut Memory) -> Result<(), Trouble> {
        // What is not known to be written is read before anything else happens.
        let Some(before) = memory.kept.take() else {
            return Err(Trouble::Stale("it is not read".to_owned()));
        };
        if !self.leadership.holds() {
            return Err(Trouble::Stale("this replica does not lead any more".to_owned()));
        }
        memory.kept = Some(self.store.save(&before, plans).await?);
        Ok(())
    }
}

fn over(plan: PlanView, state: PlanState, note: String) -> PlanView {
    PlanView { state, note, ..plan }
}

/// The cluster without stand-ins.
fn bare(snapshot: &Snapshot) -> Cluster {
    let mut cluster = snapshot.cluster.clone();
    for hold in snapshot.holds.iter() {
        if let Some(node) = cluster.get(&hold.node) {
            cluster.put(Arc::new(hold.off(node)));
        }
    }
    cluster
}

/// The time of day, for people, and for the hour in which on-demand moves are counted.
pub(super) fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
