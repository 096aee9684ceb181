//! Leading: taking over, saying so, and stopping in time.
//!
//! A new leader sees for itself before it answers anything: it lists everything again, then writes its fence
//! onto every pod that waits, which makes every Binding that a former leader may have on its way impossible
//! (it demands an older version of the pod). What the writes give back is the pod as it is after that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::access::{Access, Reply};
use super::age::Clock;
use super::feed::pod_event;
use super::lease::{Election, Standing};
use super::plans::{Kept, Store, Trouble};
use super::write::pod_path;
use crate::cache::{Cache, Event, Fence};
use crate::model::PodKey;
use crate::owner::{Model, Stopped};
use crate::wire::plans::PlanView;
use crate::wire::{Dialect, FENCE_ANNOTATION};

/// Fences written at once.
const FENCES: usize = 32;
/// Pause before a fence that got no answer is tried again.
const PAUSE: Duration = Duration::from_millis(200);
/// Between two looks at the Lease of somebody else, who may stop renewing it.
const LOOK: Duration = Duration::from_secs(1);

/// What others may know of the leadership.
#[derive(Debug)]
pub struct Leadership {
    clock: Clock,
    until_ms: AtomicU64,
    is_ready: AtomicBool,
}

impl Leadership {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, until_ms: AtomicU64::new(0), is_ready: AtomicBool::new(false) }
    }

    /// Whether this replica leads and has seen everything.
    pub fn is_ready(&self) -> bool {
        self.holds() && self.is_ready.load(Ordering::Relaxed)
    }

    /// Whether this replica may still believe that it leads.
    pub fn holds(&self) -> bool {
        self.clock.now_ms() < self.until_ms.load(Ordering::Relaxed)
    }
}

/// The task that leads or waits to.
#[derive(Debug)]
pub(super) struct Lead {
    pub(super) access: Access,
    pub(super) model: Model,
    pub(super) dialect: Arc<Dialect>,
    /// `None`: there is one replica, and it leads.
    pub(super) election: Option<Election>,
    pub(super) identity: Arc<str>,
    /// The term without an election: later than that of every earlier life, whose fences may still arrive.
    pub(super) term_alone: u64,
    pub(super) leadership: Arc<Leadership>,
    pub(super) relist: watch::Sender<u64>,
    pub(super) listed: Vec<watch::Receiver<u64>>,
    pub(super) plans: Store,
    /// Turns true when the process is told to stop.
    pub(super) stop: watch::Receiver<bool>,
}

impl Lead {
    /// Runs until the process stops.
    pub(super) async fn run(mut self) -> Result<(), Stopped> {
        let mut taking_over: Option<JoinHandle<Result<(), Stopped>>> = None;
        loop {
            let standing = match &mut self.election {
                Some(election) => election.look().await,
                None => Standing::Leads {
                    fence: Fence { term: self.term_alone, identity: self.identity.clone() },
                    until_ms: u64::MAX,
                },
            };
            let mut period = LOOK;
            match standing {
                Standing::Leads { fence, until_ms } => {
                    // Not renewed in time: others may have led meanwhile, even if nobody does now.
                    if taking_over.is_some() && !self.leadership.holds() {
                        self.step_down(&mut taking_over, "the Lease was not renewed in time").await?;
                    }
                    self.leadership.until_ms.store(until_ms, Ordering::Relaxed);
                    if taking_over.is_none() {
                        info!(term = fence.term, "This replica leads; reading everything again.");
                        // Before anything else happens: the lists that follow are later than this moment.
                        let number = *self.relist.borrow() + 1;
                        self.relist.send_replace(number);
                        taking_over = Some(tokio::spawn(self.takeover(number, fence).run()));
                    }
                    period = self.renewal();
                }
                Standing::Follows => self.step_down(&mut taking_over, "another one holds the Lease").await?,
                Standing::Unknown if !self.leadership.holds() => {
                    self.step_down(&mut taking_over, "the Lease cannot be renewed").await?;
                }
                Standing::Unknown => period = PAUSE,
            }
            // Those that wait to lead keep a model too.
            self.relist.send_if_modified(|number| {
                let is_first = *number == 0;
                *number = (*number).max(1);
                is_first
            });
            let told = tokio::time::timeout(period, self.stop.wait_for(|&is_stopped| is_stopped)).await;
            match told.map(|stopped| stopped.is_ok()) {
                Err(_) => {}
                Ok(false) => return Err(Stopped),
                Ok(true) => {
                    self.step_down(&mut taking_over, "the process stops").await?;
                    if let Some(election) = &mut self.election {
                        election.release().await;
                    }
                    return Ok(());
                }
            }
        }
    }

    fn renewal(&self) -> Duration {
        let third = self.election.as_ref().map_or(1, |election| election.duration_s).div_ceil(3);
        if self.election.as_ref().is_some_and(|election| election.follows.is_some()) {
            return LOOK; // as fresh as the other one's renewals
        }
        Duration::from_secs(u64::from(third))
    }

    async fn step_down(
        &self,
        taking_over: &mut Option<JoinHandle<Result<(), Stopped>>>,
        why: &str,
    ) -> Result<(), Stopped> {
        let Some(task) = taking_over.take() else { return Ok(()) };
        self.leadership.until_ms.store(0, Ordering::Relaxed);
        self.leadership.is_ready.store(false, Ordering::Relaxed);
        task.abort();
        warn!(why, "This replica does not lead any more.");
        self.model.apply(Event::Unlead).await.map(|_| ())
    }

    fn takeover(&self, number: u64, fence: Fence) -> Takeover {
        Takeover {
            access: self.access.clone(),
            model: self.model.clone(),
            dialect: self.dialect.clone(),
            leadership: self.leadership.clone(),
            listed: self.listed.clone(),
            plans: self.plans.clone(),
            number,
            fence,
        }
    }
}

/// What a new leader does first.
struct Takeover {
    access: Access,
    model: Model,
    dialect: Arc<Dialect>,
    leadership: Arc<Leadership>,
    listed: Vec<watch::Receiver<u64>>,
    plans: Store,
    number: u64,
    fence: Fence,
}

impl Takeover {
    async fn run(mut self) -> Result<(), Stopped> {
        let number = self.number;
        for listed in &mut self.listed {
            listed.wait_for(|&listed| listed >= number).await.map_err(|_| Stopped)?;
        }
        self.keep_places().await?;
        let waiting = self.model.pending().await?;
        // A gated pod cannot be bound, and one without devices is nothing of ours.
        let may_be_bound = waiting.iter().filter(|pod| {
            !pod.request.is_empty() && !pod.waiting.as_ref().is_some_and(|waiting| waiting.is_gated)
        });
        let pods: Vec<(PodKey, Arc<str>)> =
            may_be_bound.map(|pod| (pod.key.clone(), pod.uid.clone())).collect();
        let count = pods.len();
        let this = &self;
        let fences = stream::iter((0..).zip(pods)).map(|(number, (key, uid))| this.fence(number, key, uid));
        let mut fences = fences.buffer_unordered(FENCES);
        while let Some(fenced) = fences.next().await {
            fenced?;
        }
        let problems = self.model.inspect(Cache::check).await?;
        for problem in &problems {
            error!(problem, "The model contradicts itself, please report this.");
        }
        if !problems.is_empty() {
            return Ok(()); // never ready: a wrong answer is worse than none
        }
        self.model.apply(Event::Lead(self.fence.clone())).await?;
        self.leadership.is_ready.store(true, Ordering::Relaxed);
        info!(term = self.fence.term, fenced = count, "Ready.");
        Ok(())
    }

    /// Keeps the places of the plan that runs, before anybody is told that there is room.
    async fn keep_places(&self) -> Result<(), Stopped> {
        let kept = loop {
            match self.plans.load().await {
                Ok(kept) => break kept,
                Err(Trouble::Refused(why)) => {
                    warn!(why, "The record of plans cannot be read: none is carried out.");
                    break Kept::default();
                }
                Err(Trouble::Stale(why)) => {
                    warn!(why, "The record of plans cannot be read yet; trying again.");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        let holds = kept.plans.iter().flat_map(PlanView::holds).collect();
        self.model.apply(Event::Hold(holds)).await.map(|_| ())
    }

    async fn fence(&self, number: u64, key: PodKey, uid: Arc<str>) -> Result<(), Stopped> {
        let annotations = json!({ FENCE_ANNOTATION: self.fence.annotation(number) });
        let body = json!({ "metadata": { "uid": &*uid, "annotations": annotations } });
        loop {
            match self.access.merge(&pod_path(&key), &body).await {
                Reply::Done(body) => {
                    let event = serde_json::from_slice(&body).map_err(|error| error.to_string());
                    let event = event.and_then(|object| {
                        pod_event(&object, &self.dialect).map_err(|error| error.to_string())
                    });
                    match event {
                        Ok(event) => self.model.tell(event).await?,
                        Err(error) => warn!(pod = %key, error, "A pod that was fenced cannot be read."),
                    }
                    return Ok(());
                }
                // Gone, or another one of its name: nothing of a former leader can reach it.
                Reply::Refused { code: StatusCode::NOT_FOUND | StatusCode::CONFLICT, .. } => return Ok(()),
                reply => {
                    warn!(pod = %key, ?reply, "A pod cannot be fenced yet; trying again.");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}
