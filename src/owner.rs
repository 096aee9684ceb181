//! The task that owns the model, and what others hold of it: a queue to the task, and the last snapshot.
//!
//! Events are applied in the order in which they were sent; a snapshot is published per batch, before the
//! senders of the batch are answered and before its effects go out, so that everyone reads what it wrote.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use crate::cache::{Cache, Effect, Event, Outcome};
use crate::model::{Cluster, Hold, Pod};
use crate::solver::Scores;

/// Events that may wait; at 100,000 applied a second a full queue is a tenth of a second of work.
const QUEUE: usize = 8192;
/// Events per snapshot at most, so that a flood does not keep readers on an old one.
const BATCH: usize = 256;

/// How often the demand is compared with the one that the prices are for.
const REPRICE: Duration = Duration::from_secs(1);

/// An immutable view of the cluster.
#[derive(Debug)]
pub struct Snapshot {
    /// Grows with every published change.
    pub generation: u64,
    /// The nodes, with a stand-in at each place that is kept for a pod that moves.
    pub cluster: Cluster,
    /// Those places.
    pub holds: Arc<[Hold]>,
    /// The prices: the same cluster and the same prices always give the same answer.
    pub scores: Arc<Scores>,
}

/// The owner has stopped: the process is going down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the model is shutting down")]
pub struct Stopped;

/// What the owner wants done in the world: nothing on an embedded model. Unbounded, for whoever takes them
/// also sends events, and neither may wait for the other.
pub type Effects = mpsc::UnboundedReceiver<Effect>;

enum Message {
    Event(Event, Option<oneshot::Sender<Outcome>>),
    Inspect(Box<dyn FnOnce(&Cache) + Send>),
}

/// Access to the model for everyone but its owner.
#[derive(Debug, Clone)]
pub struct Model {
    queue: mpsc::Sender<Message>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    generation: watch::Receiver<u64>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(event, _) => event.fmt(f),
            Self::Inspect(_) => f.write_str("Inspect"),
        }
    }
}

impl Model {
    /// Starts the owner of `cache`. The task ends when every [`Model`] is dropped; it never panics its
    /// callers, so whoever holds the handle decides what its end means.
    pub fn start(cache: Cache) -> (Self, Effects, JoinHandle<()>) {
        let first = snapshot_of(&cache, 1);
        let snapshot = Arc::new(ArcSwap::from_pointee(first));
        let (queue, messages) = mpsc::channel(QUEUE);
        let (effects, taken) = mpsc::unbounded_channel();
        let (publish, generation) = watch::channel(1);
        let owner = Owner {
            cache,
            snapshot: snapshot.clone(),
            generation: publish,
            effects,
            binding: BTreeMap::new(),
        };
        (Self { queue, snapshot, generation }, taken, tokio::spawn(owner.run(messages)))
    }

    /// The last snapshot. Wait-free.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Tells of every new snapshot by its generation.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.generation.clone()
    }

    /// Applies an event and waits until it shows in the snapshot; a bind, until it has ended.
    pub async fn apply(&self, event: Event) -> Result<Outcome, Stopped> {
        let (answer, outcome) = oneshot::channel();
        self.queue.send(Message::Event(event, Some(answer))).await.map_err(|_| Stopped)?;
        outcome.await.map_err(|_| Stopped)
    }

    /// Queues an event without waiting for it; waits only while the queue is full.
    pub async fn tell(&self, event: Event) -> Result<(), Stopped> {
        self.queue.send(Message::Event(event, None)).await.map_err(|_| Stopped)
    }

    /// Looks at the model behind every event sent so far. The owner does nothing else meanwhile.
    pub async fn inspect<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Cache) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (answer, seen) = oneshot::channel();
        let look = Box::new(move |cache: &Cache| {
            answer.send(look(cache)).ok(); // whoever asked may be gone
        });
        self.queue.send(Message::Inspect(look)).await.map_err(|_| Stopped)?;
        seen.await.map_err(|_| Stopped)
    }

    /// The pods that are known and stand on no node, by key.
    pub async fn pending(&self) -> Result<Vec<Arc<Pod>>, Stopped> {
        self.inspect(|cache| cache.pods().filter(|pod| pod.node.is_none()).cloned().collect()).await
    }
}

fn snapshot_of(cache: &Cache, generation: u64) -> Snapshot {
    let (cluster, holds) = cache.held();
    Snapshot { generation, cluster, holds, scores: cache.scores().clone() }
}

/// Keeps the prices with what is learnt of the demand, and with what there is: whenever they have drifted, new ones are made beside
/// everything else.
pub async fn reprice(model: Model) -> Result<(), Stopped> {
    let mut look = interval(REPRICE);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let Some((demand, supply)) = model.inspect(Cache::drifted).await? else { continue };
        let made = tokio::task::spawn_blocking(move || Scores::with_supply(demand, supply)).await;
        let scores = Arc::new(made.map_err(|_| Stopped)?);
        debug!("Demand or supply have drifted: new prices.");
        model.apply(Event::Repriced(scores)).await?;
    }
}

struct Owner {
    cache: Cache,
    snapshot: Arc<ArcSwap<Snapshot>>,
    generation: watch::Sender<u64>,
    effects: mpsc::UnboundedSender<Effect>,
    binding: BTreeMap<Arc<str>, Vec<oneshot::Sender<Outcome>>>, // who waits for the bind of a pod, by UID
}

impl Owner {
    async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut batch = Vec::with_capacity(BATCH);
        while messages.recv_many(&mut batch, BATCH).await > 0 {
            self.apply(&mut batch);
        }
    }

    fn apply(&mut self, batch: &mut Vec<Message>) {
        let mut answers = Vec::new();
        let mut looks = Vec::new();
        let mut is_changed = false;
        for message in batch.drain(..) {
            match message {
                Message::Event(event, answer) => {
                    let is_bind = matches!(event, Event::Bind { .. });
                    let outcome = self.cache.apply(event);
                    is_changed |= is_bind || outcome == Outcome::Changed;
                    match (outcome, answer) {
                        (Outcome::Underway(uid), Some(answer)) => {
                            self.binding.entry(uid).or_default().push(answer);
                        }
                        (outcome, answer) => answers.extend(answer.map(|answer| (answer, outcome))),
                    }
                }
                Message::Inspect(look) => looks.push(look),
            }
        }
        let effects = self.cache.take_effects();
        is_changed |= effects.iter().any(|effect| matches!(effect, Effect::Bound { .. }));
        if is_changed {
            let generation = self.snapshot.load().generation + 1;
            self.snapshot.store(Arc::new(snapshot_of(&self.cache, generation)));
            self.generation.send_replace(generation);
        }
        for look in looks {
            look(&self.cache);
        }
        for effect in effects {
            match effect {
                Effect::Bound { uid, result } => {
                    for answer in self.binding.remove(&uid).unwrap_or_default() {
                        let outcome = result.clone().map_or_else(Outcome::NotBound, Outcome::Bound);
                        answers.push((answer, outcome));
                    }
                }
                effect => {
                    self.effects.send(effect).ok(); // nobody acts for an embedded model
                }
            }
        }
        for (answer, outcome) in answers {
            answer.send(outcome).ok(); // whoever asked may be gone
        }
    }
}
