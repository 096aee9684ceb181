//! The task that owns the model, and what others hold of it: a queue to the task, and the last snapshot.
//!
//! Events are applied in the order in which they were sent; a snapshot is published per batch, before the
//! senders of the batch are answered, so that everyone reads what it wrote.

use std::sync::Arc;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::cache::{Cache, Event, Outcome};
use crate::model::{Cluster, Pod};

/// Events that may wait; at 100,000 applied a second a full queue is a tenth of a second of work.
const QUEUE: usize = 8192;
/// Events per snapshot at most, so that a flood does not keep readers on an old one.
const BATCH: usize = 256;

/// An immutable view of the cluster.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Grows with every published change.
    pub generation: u64,
    /// The nodes.
    pub cluster: Cluster,
}

/// The owner has stopped: the process is going down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the model is shutting down")]
pub struct Stopped;

enum Message {
    Event(Event, Option<oneshot::Sender<Outcome>>),
    Pending(oneshot::Sender<Vec<Arc<Pod>>>),
}

/// Access to the model for everyone but its owner.
#[derive(Debug, Clone)]
pub struct Model {
    queue: mpsc::Sender<Message>,
    snapshot: Arc<ArcSwap<Snapshot>>,
}

impl Model {
    /// Starts the owner of `cache`. The task ends when every [`Model`] is dropped; it never panics its
    /// callers, so whoever holds the handle decides what its end means.
    pub fn start(cache: Cache) -> (Self, JoinHandle<()>) {
        let first = Snapshot { generation: 1, cluster: cache.cluster().clone() };
        let snapshot = Arc::new(ArcSwap::from_pointee(first));
        let (queue, messages) = mpsc::channel(QUEUE);
        let task = tokio::spawn(own(cache, messages, snapshot.clone()));
        (Self { queue, snapshot }, task)
    }

    /// The last snapshot. Wait-free.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Applies an event and waits until it shows in the snapshot.
    pub async fn apply(&self, event: Event) -> Result<Outcome, Stopped> {
        let (answer, outcome) = oneshot::channel();
        self.queue.send(Message::Event(event, Some(answer))).await.map_err(|_| Stopped)?;
        outcome.await.map_err(|_| Stopped)
    }

    /// Queues an event without waiting for it; waits only while the queue is full.
    pub async fn tell(&self, event: Event) -> Result<(), Stopped> {
        self.queue.send(Message::Event(event, None)).await.map_err(|_| Stopped)
    }

    /// The pods that are known and stand on no node, by key.
    pub async fn pending(&self) -> Result<Vec<Arc<Pod>>, Stopped> {
        let (answer, pending) = oneshot::channel();
        self.queue.send(Message::Pending(answer)).await.map_err(|_| Stopped)?;
        pending.await.map_err(|_| Stopped)
    }
}

async fn own(mut cache: Cache, mut messages: mpsc::Receiver<Message>, snapshot: Arc<ArcSwap<Snapshot>>) {
    let mut batch = Vec::with_capacity(BATCH);
    while messages.recv_many(&mut batch, BATCH).await > 0 {
        let mut answers = Vec::new();
        let mut is_changed = false;
        for message in batch.drain(..) {
            match message {
                Message::Event(event, answer) => {
                    let outcome = cache.apply(event);
                    is_changed |= matches!(outcome, Outcome::Changed | Outcome::Bound(_));
                    answers.extend(answer.map(|answer| (answer, outcome)));
                }
                Message::Pending(answer) => {
                    let pending = cache.pods().filter(|pod| pod.node.is_none()).cloned().collect();
                    answer.send(pending).ok(); // whoever asked may be gone
                }
            }
        }
        if is_changed {
            let generation = snapshot.load().generation + 1;
            snapshot.store(Arc::new(Snapshot { generation, cluster: cache.cluster().clone() }));
        }
        for (answer, outcome) in answers {
            answer.send(outcome).ok(); // whoever asked may be gone
        }
    }
}
