//! What open event streams are told: made once, kept for a while, given to all of them.
//!
//! Handlers that answer kube-scheduler never come here. A stream has a short queue; whoever does not read is
//! dropped and comes back with the id of the last event it has, from which it is told the rest, or that it is
//! too late for that.

mod follow;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::Bytes;
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::wire::events::{HelloView, ResetView, frame};
use crate::wire::sample::{HistoryView, SampleView};

/// Streams at a time: far more than people look at, far fewer than there are file descriptors.
const STREAMS_MAX: usize = 256;
/// Events that wait for one reader: some seconds of a busy cluster.
const QUEUE: usize = 64;
/// Events that can be told again, and their bytes.
const RING: usize = 1024;
const RING_BYTES: usize = 8 << 20;
/// Samples in the history: an hour.
const SAMPLES: usize = 360;

/// What open event streams are told.
#[derive(Debug, Clone)]
pub struct Feed {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    epoch: i64, // tells the events of this process from those of the one before
    next: u64,
    generation: u64,
    ring: VecDeque<(u64, Bytes)>,
    ring_bytes: usize,
    streams: Vec<mpsc::Sender<Bytes>>,
    latest: Option<SampleView>,
    history: VecDeque<SampleView>,
    is_closed: bool,
}

/// What a new stream says first, and where the rest comes from.
pub(super) struct Stream {
    pub(super) first: Vec<Bytes>,
    pub(super) rest: mpsc::Receiver<Bytes>,
}

impl Default for Feed {
    fn default() -> Self {
        let state = State {
            epoch: Timestamp::now().as_microsecond(),
            next: 1,
            generation: 0,
            ring: VecDeque::new(),
            ring_bytes: 0,
            streams: Vec::new(),
            latest: None,
            history: VecDeque::new(),
            is_closed: false,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }
}

impl Feed {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    /// Opens a stream behind the event called `last`; `None` where too many are open.
    pub(super) fn open(&self, last: Option<&str>) -> Option<Stream> {
        let mut state = self.state();
        state.streams.retain(|stream| !stream.is_closed());
        if state.streams.len() >= STREAMS_MAX || state.is_closed {
            return None;
        }
        let (sender, rest) = mpsc::channel(QUEUE);
        let first = state.first(last);
        state.streams.push(sender);
        Some(Stream { first, rest })
    }

    /// The last hour.
    pub(super) fn history(&self) -> HistoryView {
        let samples = self.state().history.iter().cloned().collect();
        HistoryView { interval_seconds: follow::SAMPLE.as_secs(), samples }
    }
}

impl State {
    fn id(&self, number: u64) -> String {
        format!("{:x}-{number}", self.epoch)
    }

    /// What was missed since `last`, or that there is nothing to go on from. Always with the latest figures.
    fn first(&self, last: Option<&str>) -> Vec<Bytes> {
        let now = self.id(self.next - 1);
        let missed = last.map(|last| self.missed(last));
        let mut first = match missed {
            Some(Some(missed)) => return missed,
            Some(None) => {
                let reset = ResetView { reason: "the last event is too old" };
                vec![Bytes::from(frame(Some(&now), "reset", &reset))]
            }
            None => {
                vec![Bytes::from(frame(Some(&now), "hello", &HelloView { generation: self.generation }))]
            }
        };
        first.extend(self.latest.as_ref().map(|sample| Bytes::from(frame(None, "sample", sample))));
        first
    }

    /// The events after `last`; `None` where some of them are not kept any more, or it is no id of this process.
    fn missed(&self, last: &str) -> Option<Vec<Bytes>> {
        let (epoch, number) = last.split_once('-')?;
        let number: u64 = number.parse().ok()?;
        let oldest = self.ring.front().map_or(self.next, |(number, _)| *number);
        let is_known = i64::from_str_radix(epoch, 16) == Ok(self.epoch) && number < self.next;
        if !is_known || number + 1 < oldest {
            return None;
        }
        let later = self.ring.iter().filter(|(other, _)| *other > number);
        Some(later.map(|(_, frame)| frame.clone()).collect())
    }

    /// Gives a frame to every stream; those that do not read are dropped.
    fn send(&mut self, frame: &Bytes) {
        self.streams.retain(|stream| stream.try_send(frame.clone()).is_ok());
    }

    /// Tells an event that can be told again.
    fn publish(&mut self, event: &str, data: &impl serde::Serialize) {
        let frame = Bytes::from(frame(Some(&self.id(self.next)), event, data));
        self.send(&frame);
        self.ring_bytes += frame.len();
        self.ring.push_back((self.next, frame));
        self.next += 1;
        while self.ring.len() > RING || self.ring_bytes > RING_BYTES {
            let Some((_, frame)) = self.ring.pop_front() else { break };
            self.ring_bytes -= frame.len();
        }
    }

    /// Forgets the events: whoever asks for the rest of them must read everything again.
    fn forget(&mut self) {
        self.next += 1;
        self.ring.clear();
        self.ring_bytes = 0;
    }

    fn keep(&mut self, sample: &SampleView) {
        self.history.push_back(sample.brief());
        if self.history.len() > SAMPLES {
            self.history.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(frames: &[Bytes]) -> String {
        frames.iter().map(|frame| String::from_utf8_lossy(frame).into_owned()).collect()
    }

    #[test]
    fn a_stream_goes_on_where_it_broke_off_or_starts_anew() {
        let feed = Feed::default();
        let hello = text(&feed.open(None).unwrap().first);
        assert!(hello.contains("event: hello\ndata: {\"generation\":0}\n\n"), "{hello}");
        let id = hello.split_once('\n').unwrap().0.strip_prefix("id: ").unwrap().to_owned();
        for number in 1..=3 {
            feed.state().publish("change", &number);
        }
        let missed = text(&feed.open(Some(&id)).unwrap().first);
        assert_eq!(missed.matches("event: change").count(), 3, "{missed}");
        let last = format!("{:x}-3", feed.state().epoch);
        assert_eq!(text(&feed.open(Some(&last)).unwrap().first), "");
        for strange in ["", "x", "0-1", "zz-1", &format!("{:x}-9", feed.state().epoch)] {
            let first = text(&feed.open(Some(strange)).unwrap().first);
            assert!(first.contains("event: reset"), "{strange:?}: {first}");
        }
        feed.state().forget();
        assert!(text(&feed.open(Some(&last)).unwrap().first).contains("event: reset"));
    }

    #[test]
    fn the_ring_keeps_the_newest() {
        let feed = Feed::default();
        for number in 0..RING + 10 {
            feed.state().publish("change", &number);
        }
        let state = feed.state();
        assert_eq!((state.ring.len(), state.ring.front().unwrap().0), (RING, 11));
        assert_eq!(state.ring_bytes, state.ring.iter().map(|(_, frame)| frame.len()).sum::<usize>());
        assert!(state.missed(&state.id(9)).is_none());
        assert_eq!(state.missed(&state.id(10)).unwrap().len(), RING);
    }

    #[test]
    fn who_does_not_read_is_dropped_and_only_so_many_may() {
        let feed = Feed::default();
        let slow = feed.open(None).unwrap();
        for number in 0..=QUEUE {
            feed.state().publish("change", &number);
        }
        assert!(feed.state().streams.is_empty());
        drop(slow);
        let open: Vec<Stream> = (0..STREAMS_MAX).map(|_| feed.open(None).unwrap()).collect();
        assert!(feed.open(None).is_none());
        drop(open);
        assert!(feed.open(None).is_some(), "those that are gone make room");
    }
}
