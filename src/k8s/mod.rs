//! A live cluster: what is read from the API server, and what is written to it.
//!
//! ```text
//!   watch (Node, GpuNode, Lease, Pod) --> owner of the model --effects--> write: Binding, GpuNode.spec
//!     ^                                        |      |                      |
//!     | list again                             |      '--- waiting pods      '--answers--> owner
//!   lead: Lease, takeover, fences              |                |
//!                                          snapshots --> nominate: statuses, Events, evictions
//! ```
//!
//! | file | |
//! |---|---|
//! | `access` | requests, and what an answer means |
//! | `watch`, `feed`, `age` | lists and watches; objects into events; how old the model is |
//! | `lease`, `lead` | who leads; taking over and stepping down |
//! | `write` | effects of the model: the only place where placements change the cluster |
//! | `nominate`, `tell`, `evict` | waiting pods: nominations, words, room made |
//! | `plans` | repacks that are carried out |
//! | `budgets` | `PodDisruptionBudget`s, when somebody plans with them |
//! | `compare` | the model against the API server; the model of one moment |
//! | `managed` | whether kube-scheduler asks about everything |
//! | `relabel` | layouts of static MIG nodes: the labels that mig-manager follows |
//! | `review` | who asks the placement API, and what they may |
//! | `rights` | what all this needs RBAC to allow |
//!
//! Invariants: a Binding demands the UID and the version of the pod that the decision saw; a write to
//! `GpuNode.spec` demands the version it was derived from; so two processes that both believe to lead cannot
//! both succeed. An answer that did not come is never taken for yes or no.

mod access;
mod age;
mod budgets;
mod compare;
mod evict;
mod feed;
mod lead;
mod lease;
mod managed;
mod nominate;
mod plans;
mod relabel;
mod review;
pub mod rights;
mod tell;
mod watch;
mod write;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::{mpsc, watch as tokio_watch};
use tokio::task::JoinSet;

pub use access::{Access, Reply};
pub use age::{Age, Clock};
pub use lead::Leadership;
use nominate::News;
use plans::{Carrier, Plans, Store, Wish, on_demand::OnDemand};
pub use relabel::Relabel;
pub use review::Reviews;
pub(crate) use watch::Change;

use crate::cache::{Cache, Difference, Effect, Event};
use crate::carry::Objection;
use crate::config::{Election as ElectionMode, Kubernetes, Repack};
use crate::extender::Claims;
use crate::metrics::Metrics;
use crate::model::Policy;
use crate::nominate::Nominator;
use crate::owner::{Effects, Model, Stopped, reprice};
use crate::repack::Budget;
use crate::solver::Scores;
use crate::wire::Dialect;
use crate::wire::plans::PlanView;
use crate::wire::repack::StepView;

/// How often the model is told the time.
const TICK: Duration = Duration::from_millis(50);

/// What a live cluster is started with.
#[derive(Debug)]
pub struct Start {
    /// The API server.
    pub access: Access,
    /// The configuration.
    pub kubernetes: Kubernetes,
    /// What may be done with plans that move pods.
    pub repack: Repack,
    /// Prices.
    pub scores: Arc<Scores>,
    /// Policy of pods that choose none.
    pub policy: Policy,
    /// How objects are read.
    pub dialect: Arc<Dialect>,
    /// Where things are counted.
    pub metrics: Arc<Metrics>,
    /// Turns true when the process is told to stop.
    pub stop: tokio_watch::Receiver<bool>,
}

/// A live cluster, as others see it.
#[derive(Debug, Clone)]
pub struct Live {
    access: Access,
    model: Model,
    dialect: Arc<Dialect>,
    age: Age,
    leadership: Arc<Leadership>,
    listed: Vec<tokio_watch::Receiver<u64>>,
    claims: Arc<ArcSwap<Claims>>,
    plans: Plans,
    may_apply: bool,
}

impl Live {
    /// Starts everything that keeps `cache` and the cluster in step. The tasks run for ever; the first that
    /// ends ends the process, but for the one that leads, which ends when it is told to stop.
    pub fn start(start: Start, cache: Cache) -> (Self, Model, JoinSet<Result<(), Stopped>>) {
        let Start { access, kubernetes, repack, scores, policy, dialect, metrics, stop } = start;
        let mut tasks = JoinSet::new();
        let (model, effects, owner) = Model::start(cache);
        tasks.spawn(async move {
            owner.await.ok(); // how it ended is logged by whoever sees the end
            Err(Stopped)
        });
        let clock = Clock::start();
        let leadership = Arc::new(Leadership::new(clock));
        let (relist, wanted) = tokio_watch::channel(0);
        let mut listed = Vec::new();
        let mut contacts = Vec::new();
        let leases = age::Contact::new(clock);
        let agents = kubernetes.agent_lease_namespace.clone().unwrap_or_else(own_namespace);
        for kind in feed::Kind::ALL {
            let (list, is_listed) = tokio_watch::channel(0);
            let is_lease = kind == feed::Kind::Leases;
            let contact = if is_lease { leases.clone() } else { age::Contact::new(clock) };
            let watch = watch::Watch {
                access: access.clone(),
                model: model.clone(),
                feed: feed::Feed::new(kind, &agents, dialect.clone(), metrics.clone()),
                contact: contact.clone(),
                wanted: wanted.clone(),
                listed: list,
            };
            tasks.spawn(watch.run());
            listed.push(is_listed);
            contacts.push(contact);
        }
        let age = Age::new(clock, contacts);
        tasks.spawn(keep(age.clone(), access.clone()));
        let identity: Arc<str> = identity(&kubernetes).into();
        let store = Store { access: access.clone(), namespace: agents };
        let lead = lead::Lead {
            access: access.clone(),
            model: model.clone(),
            dialect: dialect.clone(),
            election: election(&kubernetes, &access, clock, &identity),
            identity: identity.clone(),
            term_alone: u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(1),
            leadership: leadership.clone(),
            relist,
            listed: listed.clone(),
            plans: store.clone(),
            stop,
        };
        tasks.spawn(lead.run());
        tasks.spawn(tick(model.clone(), clock, leases));
        tasks.spawn(reprice(model.clone()));
        let writer = write::Writer::new(
            access.clone(),
            model.clone(),
            dialect.clone(),
            leadership.clone(),
            metrics.clone(),
        );
        let (tell, waiting) = mpsc::unbounded_channel();
        tasks.spawn(carry_out(effects, writer, tell));
        let teller = tell::Teller {
            access: access.clone(),
            model: model.clone(),
            dialect: dialect.clone(),
            identity,
            has_events: kubernetes.events.enabled,
        };
        let carrier = Carrier::new(&teller, &leadership, &metrics, store, repack.step_time_limit_seconds);
        let (plans, carrying) = carrier.start();
        tasks.spawn(carrying);
        let on_demand = OnDemand::if_enabled(&access, &plans, repack.on_demand);
        let preemption = &kubernetes.preemption;
        let evictor = preemption.enabled.then(|| {
            let per_minute = preemption.evictions_per_minute;
            evict::Evictor::new(access.clone(), policy, metrics.clone(), per_minute)
        });
        let claims = Arc::new(ArcSwap::from_pointee(Claims::new()));
        let nominating = nominate::Nominating {
            claims: claims.clone(),
            model: model.clone(),
            clock,
            leadership: leadership.clone(),
            metrics: metrics.clone(),
            teller,
            nominator: Nominator::new(scores, policy),
            evictor,
            on_demand,
            schedulers: kubernetes.schedulers,
            is_enabled: kubernetes.nominator.enabled,
        };
        tasks.spawn(nominating.run(waiting));
        if let Some(file) = kubernetes.scheduler_config_file {
            tasks.spawn(managed::watch(file, model.clone(), metrics));
        }
        let may_apply = repack.apply.enabled;
        let live =
            Self { access, model: model.clone(), dialect, age, leadership, listed, claims, plans, may_apply };
        (live, model, tasks)
    }

    /// Milliseconds since the model was last known to be what the API server has; `None` before it ever was.
    pub fn age_ms(&self) -> Option<u64> {
        self.age.ms()
    }

    /// Whether this replica leads and answers.
    pub fn is_ready(&self) -> bool {
        self.leadership.is_ready()
    }

    /// Pods for which room is being made by eviction, by node.
    pub fn claims(&self) -> Arc<Claims> {
        self.claims.load_full()
    }

    /// Why this replica does not answer; empty when it does.
    pub fn reasons_not_ready(&self) -> Vec<String> {
        if self.is_ready() {
            return Vec::new();
        }
        let kinds = feed::Kind::ALL.iter().zip(&self.listed);
        let missing = kinds.filter(|(_, listed)| *listed.borrow() == 0);
        let mut reasons: Vec<String> =
            missing.map(|(kind, _)| format!("{} objects are not listed yet", kind.name())).collect();
        reasons.push(
            if self.leadership.holds() {
                "this replica leads, and is reading everything again"
            } else {
                "this replica does not lead"
            }
            .to_owned(),
        );
        reasons
    }

    /// Plans that are, or were, carried out, the oldest first.
    pub async fn plans(&self) -> Result<Vec<PlanView>, Objection> {
        self.plans.list().await
    }

    /// Has moves carried out; answers once they are recorded.
    pub async fn start_plan(
        &self,
        steps: Vec<StepView>,
        step_time_limit_seconds: Option<u32>,
    ) -> Result<PlanView, Objection> {
        if !self.may_apply {
            return Err(Objection::Disabled);
        }
        self.plans.start(Wish { steps, step_time_limit_seconds, room: None }).await
    }

    /// Stops a plan; answers once that is recorded.
    pub async fn stop_plan(&self, id: String) -> Result<PlanView, Objection> {
        self.plans.stop(id).await
    }

    /// The cluster's `PodDisruptionBudget`s as they are now.
    pub async fn budgets(&self) -> Result<Vec<Budget>, String> {
        budgets::budgets(&self.access).await
    }

    /// Where the model differs from what the API server has; see [`Difference`].
    pub async fn compare(&self) -> Result<Vec<Difference>, String> {
        compare::compare(&self.access, &self.model, &self.dialect).await
    }
}

/// The model of a cluster as it is now, which nothing keeps up to date.
pub async fn fetch(access: &Access, dialect: &Arc<Dialect>) -> Result<Cache, String> {
    compare::fetch(access, dialect).await
}

async fn keep(age: Age, access: Access) -> Result<(), Stopped> {
    age.keep(access).await;
    Err(Stopped)
}

/// Tells the time, and up to when the agents' Leases are known.
async fn tick(model: Model, clock: Clock, leases: age::Contact) -> Result<(), Stopped> {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told_ms = None;
    loop {
        interval.tick().await;
        let known_ms = leases.known_ms();
        if let Some(known_ms) = known_ms.filter(|_| known_ms != told_ms) {
            model.tell(Event::Listened(known_ms)).await?;
            told_ms = Some(known_ms);
        }
        model.tell(Event::Tick(clock.now_ms())).await?;
    }
}

async fn carry_out(
    mut effects: Effects,
    writer: write::Writer,
    waiting: mpsc::UnboundedSender<News>,
) -> Result<(), Stopped> {
    while let Some(effect) = effects.recv().await {
        match effect {
            Effect::Waiting(key, pod) => waiting.send(News::Waiting(key, pod)).map_err(|_| Stopped)?,
            Effect::Asked(key) => waiting.send(News::Asked(key)).map_err(|_| Stopped)?,
            effect => writer.start(effect),
        }
    }
    Err(Stopped)
}

fn election(
    kubernetes: &Kubernetes,
    access: &Access,
    clock: Clock,
    identity: &Arc<str>,
) -> Option<lease::Election> {
    let options = &kubernetes.leader_election;
    let namespace = options.lease_namespace.clone().unwrap_or_else(own_namespace);
    let (access, name) = (access.clone(), options.lease_name.clone());
    let mut election = lease::Election::new(access, clock, namespace, name, identity.clone());
    match options.mode {
        ElectionMode::None => return None,
        ElectionMode::Own => election.duration_s = options.lease_duration_seconds,
        ElectionMode::Follow => election.follows = Some(host(kubernetes)),
    }
    Some(election)
}

/// The name by which the Lease knows this process: of the pod, and of this life of it.
fn identity(kubernetes: &Kubernetes) -> String {
    let nonce = Timestamp::now().as_nanosecond();
    format!("{}_{nonce:x}-{}", host(kubernetes), std::process::id())
}

/// The pod's name: configured, or as Kubernetes sets it.
#[expect(clippy::disallowed_methods, reason = "a pod learns its own name from its environment alone")]
fn host(kubernetes: &Kubernetes) -> String {
    let configured = kubernetes.leader_election.identity.clone();
    let from = |key: &str| std::env::var(key).ok().filter(|name| !name.is_empty());
    configured
        .or_else(|| from("POD_NAME"))
        .or_else(|| from("HOSTNAME"))
        .unwrap_or_else(|| "tangram".to_owned())
}

fn own_namespace() -> String {
    let mounted = std::fs::read_to_string("/var/run/secrets/kubernetes.io/serviceaccount/namespace");
    mounted.map_or_else(|_| "default".to_owned(), |name| name.trim().to_owned())
}
