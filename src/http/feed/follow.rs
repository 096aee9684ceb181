//! The task that looks at each snapshot once, for all streams.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::Feed;
use crate::owner::{Model, Stopped};
use crate::wire::events::{Seen, Told, frame};
use crate::wire::sample::SampleView;

/// Time between two samples of the history.
pub(super) const SAMPLE: Duration = Duration::from_secs(10);
/// Time between two events at least: faster than people see, and a burst of binds is one event.
const PACE: Duration = Duration::from_millis(100);
/// Time between two samples for streams, while the model changes.
const FIGURES: Duration = Duration::from_secs(1);
/// A comment now and then: proxies close connections on which nothing comes.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Time after the last stream has closed in which it may come back and miss nothing.
const RETURN: Duration = Duration::from_mins(1);

impl Feed {
    /// Makes events of a model until `told` says that the process stops; then the streams end. While nobody has a
    /// stream, nothing is made but samples.
    pub async fn follow(self, model: Model, mut told: watch::Receiver<bool>) -> Result<(), Stopped> {
        let mut generations = model.generations();
        let (mut samples, mut heartbeats) = (interval(SAMPLE), interval(HEARTBEAT));
        samples.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = look(&model).await?;
        self.state().generation = seen.generation;
        let mut heard = Heard::default();
        loop {
            tokio::select! {
                changed = generations.changed() => {
                    changed.map_err(|_| Stopped)?;
                    seen = if heard.is_needed(&self) {
                        let now = self.tell(seen, look(&model).await?).await?;
                        if heard.is_due() {
                            self.sample(&now).await?;
                        }
                        now
                    } else {
                        let snapshot = model.snapshot();
                        let mut state = self.state();
                        state.forget();
                        state.generation = snapshot.generation;
                        let (generation, cluster) = (snapshot.generation, snapshot.cluster.clone());
                        // The pods of a moment ago: the first event that is told again names the difference.
                        Seen { generation, cluster, scores: snapshot.scores.clone(), ..seen }
                    };
                    sleep(PACE).await;
                }
                _ = samples.tick() => {
                    let sample = self.sample(&look(&model).await?).await?;
                    self.state().keep(&sample);
                }
                _ = heartbeats.tick() => self.state().send(&Bytes::from_static(b": heartbeat\n\n")),
                () = stopped(&mut told) => {
                    let mut state = self.state();
                    state.is_closed = true;
                    state.streams.clear();
                    return Ok(());
                }
            }
        }
    }

    /// Publishes what is different.
    async fn tell(&self, before: Seen, now: Seen) -> Result<Seen, Stopped> {
        let feed = self.clone();
        let told = tokio::task::spawn_blocking(move || {
            let told = match before.until(&now) {
                Told::Nothing => None,
                Told::Change(change) => Some(("change", written(&change))),
                Told::Reset(reset) => Some(("reset", written(&reset))),
            };
            let mut state = feed.state();
            state.generation = now.generation;
            if let Some((event, data)) = told {
                state.publish(event, &data);
            }
            drop(state);
            now
        });
        told.await.map_err(|_| Stopped)
    }

    /// Figures for everyone who looks. They can be had again at any time, so they have no id.
    async fn sample(&self, seen: &Seen) -> Result<SampleView, Stopped> {
        let seen = seen.clone();
        let sample = tokio::task::spawn_blocking(move || {
            let pending: Vec<_> = seen.pending.into_values().collect();
            let at = Timestamp::now().as_millisecond();
            SampleView::new(at, seen.generation, &seen.cluster, &seen.scores, &pending)
        });
        let sample = sample.await.map_err(|_| Stopped)?;
        let frame = Bytes::from(frame(None, "sample", &sample));
        let mut state = self.state();
        state.send(&frame);
        state.latest = Some(sample.clone());
        Ok(sample)
    }
}

/// Ends when the process stops. Whoever would say so being gone is the same.
async fn stopped(told: &mut watch::Receiver<bool>) {
    told.wait_for(|&is_told| is_told).await.ok();
}

/// Written before the lock is taken.
fn written(data: &impl Serialize) -> Box<RawValue> {
    to_raw_value(data).expect("texts and numbers only")
}

/// When somebody last had a stream, and when it was last told figures.
#[derive(Default)]
struct Heard {
    at: Option<Instant>,
    figures: Option<Instant>,
}

impl Heard {
    fn is_needed(&mut self, feed: &Feed) -> bool {
        if !feed.state().streams.is_empty() {
            self.at = Some(Instant::now());
        }
        self.at.is_some_and(|at| Instant::now().duration_since(at) < RETURN)
    }

    fn is_due(&mut self) -> bool {
        let is_due = self.figures.is_none_or(|at| Instant::now().duration_since(at) >= FIGURES);
        if is_due {
            self.figures = Some(Instant::now());
        }
        is_due
    }
}

/// The last snapshot, and the pods that wait behind it.
async fn look(model: &Model) -> Result<Seen, Stopped> {
    let snapshot = model.snapshot();
    let pending = model.pending().await?;
    Ok(Seen {
        generation: snapshot.generation,
        cluster: snapshot.cluster.clone(),
        scores: Arc::clone(&snapshot.scores),
        pending: pending.into_iter().map(|pod| (pod.key.clone(), pod)).collect(),
    })
}
