//! One process of Tangram: the model as it is, and doubles of the tasks around it (`src/k8s`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tangram::cache::{Answer, Cache, Effect, Event, Found, Outcome, Written};
use tangram::model::PodKey;

use crate::server::{Call, Reply};
use crate::world::{Local, World, new_cache, trace};

/// Between two looks at what waits for a time.
const TICK_MS: u64 = 100;

/// A process.
pub(crate) struct Replica {
    pub(crate) cache: Cache,
    pub(crate) life: u32,
    pub(crate) is_up: bool,
    pub(crate) stopped_until: u64,
    pub(crate) streams: [Stream; 3],
    pub(crate) wanted: u64, // number of the list that is wanted
    pub(crate) until_ms: u64,
    pub(crate) is_ready: bool,
    pub(crate) takeover: Option<Takeover>,
    pub(crate) takeovers: u32,
    pub(crate) seen_lease: Option<(u64, u64)>, // version, since when
    /// Attempts that wait for the end of a bind, by UID.
    pub(crate) binding: BTreeMap<Arc<str>, Vec<usize>>,
    pub(crate) waiting: BTreeSet<PodKey>,
}

/// A list and watch of one kind.
#[derive(Default)]
pub(crate) struct Stream {
    pub(crate) first: usize, // where the last list left off
    pub(crate) cursor: usize,
    pub(crate) epoch: u32,
    pub(crate) is_idle: bool, // everything was told
    pub(crate) is_listing: bool,
    pub(crate) listed: u64,
}

/// What a new leader does first.
pub(crate) struct Takeover {
    pub(crate) number: u64,
    pub(crate) fence: tangram::cache::Fence,
    pub(crate) fences_left: Option<usize>,
}

/// A request of a replica.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) replica: usize,
    pub(crate) life: u32,
    pub(crate) call: Call,
    then: Then,
    is_open: bool,
    /// It was carried out.
    pub(crate) is_done: bool,
    /// The bind that it belongs to has been answered with an error.
    pub(crate) is_disowned: bool,
}

/// What an answer is for.
#[derive(Debug, Clone)]
pub(crate) enum Then {
    Bound { uid: Arc<str> },
    Read { pod: PodKey, uid: Arc<str>, is_fence: bool },
    Wrote { node: Arc<str>, revision: u64, before: Option<Written> },
    Fenced { takeover: u32, key: PodKey, uid: Arc<str>, number: u64 },
    Lease { asked: u64 },
    LeaseWritten { asked: u64, term: u64 },
    Listed { kind: usize, epoch: u32, number: u64 },
}

impl Replica {
    pub(crate) fn new() -> Self {
        Self {
            cache: new_cache(),
            life: 0,
            is_up: false,
            stopped_until: 0,
            streams: Default::default(),
            wanted: 0,
            until_ms: 0,
            is_ready: false,
            takeover: None,
            takeovers: 0,
            seen_lease: None,
            binding: BTreeMap::new(),
            waiting: BTreeSet::new(),
        }
    }
}

fn written(reply: &Reply) -> Written {
    match reply {
        Reply::Done | Reply::Object(_) | Reply::List { .. } | Reply::Lease(_) => Written::Done,
        Reply::Conflict => Written::Conflict,
        Reply::NotFound => Written::Gone,
        Reply::Refused => Written::Refused("no".to_owned()),
        Reply::Unknown => Written::Unknown,
    }
}

impl World {
    pub(crate) fn start(&mut self, replica: usize) {
        let life = self.replicas[replica].life;
        self.replicas[replica] = Replica { life, is_up: true, ..Replica::new() };
        trace!(self, "replica {replica} starts");
        self.local(0, replica, Local::LookAtLease);
        self.local(1, replica, Local::Tick);
    }

    pub(crate) fn act_in(&mut self, replica: usize, local: Local) {
        match local {
            Local::Tick => {
                self.apply(replica, Event::Tick(self.now));
                self.local(TICK_MS, replica, Local::Tick);
            }
            Local::LookAtLease => self.look_at_lease(replica),
            Local::Check(id) => {
                let holds = self.replicas[replica].until_ms > self.now;
                let is_guarded = matches!(self.requests[id].call, Call::Bind { .. } | Call::PatchSpec { .. });
                if is_guarded && !holds {
                    return self.answer(id, Reply::Refused);
                }
                // The process may be stopped between the look and the sending.
                if self.chance(self.faults.stops) {
                    self.stop(replica);
                }
                self.local(0, replica, Local::Send(id));
            }
            Local::Send(id) => self.send(id),
            Local::Answer(id, reply) => self.answer(id, reply),
            Local::Timeout(id) => self.answer(id, Reply::Unknown),
            Local::Watch(kind, epoch) => self.watch(replica, kind, epoch),
            Local::List(kind, epoch) => {
                if self.replicas[replica].streams[kind].epoch == epoch {
                    self.list(replica, kind);
                }
            }
            Local::Listed { kind, epoch, items, live, revision, number } => {
                if self.replicas[replica].streams[kind].epoch == epoch {
                    self.listed(replica, kind, items, live, revision, number);
                }
            }
            Local::Fence { takeover, key, uid, number } => self.fence(replica, takeover, key, uid, number),
            Local::Bind(attempt) => self.bind(replica, attempt),
        }
    }

    pub(crate) fn request(&mut self, replica: usize, call: Call, then: Then) -> usize {
        let life = self.replicas[replica].life;
        let id = self.requests.len();
        trace!(self, "replica {replica} wants #{id}: {call:?}");
        self.requests.push(Request {
            replica,
            life,
            call,
            then,
            is_open: true,
            is_done: false,
            is_disowned: false,
        });
        let delay = if self.chance(90) { 0 } else { self.between(0, 5) };
        self.local(delay, replica, Local::Check(id));
        id
    }

    /// Applies an event and carries out what it causes.
    pub(crate) fn apply(&mut self, replica: usize, event: Event) -> Outcome {
        let state = &mut self.replicas[replica];
        let outcome = state.cache.apply(event);
        for effect in state.cache.take_effects() {
            match effect {
                Effect::Bind { pod, uid, revision, node, placement, .. } => {
                    let then = Then::Bound { uid: uid.clone() };
                    self.request(replica, Call::Bind { pod, uid, revision, node, placement }, then);
                }
                Effect::ReadPod { pod, uid, revision, fence } => {
                    let then = Then::Read { pod: pod.clone(), uid: uid.clone(), is_fence: fence.is_some() };
                    let call = match fence {
                        Some(annotation) => Call::Fence { pod, uid, revision, annotation },
                        None => Call::GetPod(pod),
                    };
                    self.request(replica, call, then);
                }
                Effect::WriteWanted { node, revision, instances, fence } => {
                    let then = Then::Wrote { node: node.clone(), revision, before: None };
                    self.request(replica, Call::PatchSpec { node, revision, instances, fence }, then);
                }
                Effect::Bound { uid, result } => self.bound(replica, &uid, result),
                Effect::Asked(_) => {} // for the nominator, which is not here
                Effect::Waiting(key, pod) => {
                    let waiting = &mut self.replicas[replica].waiting;
                    if pod.is_some() {
                        waiting.insert(key);
                    } else {
                        waiting.remove(&key);
                    }
                }
            }
        }
        outcome
    }

    pub(crate) fn answer(&mut self, id: usize, reply: Reply) {
        if !std::mem::take(&mut self.requests[id].is_open) {
            return;
        }
        let Request { replica, then, .. } = self.requests[id].clone();
        trace!(self, "#{id} is answered: {}", crate::world::brief(&reply));
        match then {
            Then::Bound { uid } => {
                let answer = Answer::Bind { uid, outcome: written(&reply) };
                self.answered(replica, answer);
            }
            Then::Read { pod, uid, is_fence } => {
                if is_fence && matches!(reply, Reply::Conflict) {
                    let then = Then::Read { pod: pod.clone(), uid, is_fence: false };
                    self.request(replica, Call::GetPod(pod), then);
                    return;
                }
                let found = match reply {
                    Reply::Object(Event::PodApplied(pod)) if pod.uid == uid => Found::Pod(pod),
                    Reply::Object(_) | Reply::NotFound => Found::Gone,
                    _ => Found::Unknown,
                };
                self.answered(replica, Answer::ReadPod { pod, uid, found });
            }
            Then::Wrote { node, revision, before } => {
                let outcome = written(&reply);
                if before.is_none() && outcome != Written::Done {
                    let then = Then::Wrote { node: node.clone(), revision, before: Some(outcome) };
                    self.request(replica, Call::GetGpuNode(node), then);
                    return;
                }
                if let Reply::Object(report) = reply {
                    self.apply(replica, report);
                }
                let outcome = before.unwrap_or(outcome);
                self.answered(replica, Answer::WriteWanted { node, revision, outcome });
            }
            Then::Fenced { takeover, key, uid, number } => {
                self.fenced(replica, takeover, key, uid, number, reply);
            }
            Then::Lease { asked } => self.lease_read(replica, asked, reply),
            Then::LeaseWritten { asked, term } => self.lease_written(replica, asked, term, &reply),
            Then::Listed { kind, epoch, number } => {
                if self.replicas[replica].streams[kind].epoch != epoch {
                    return;
                }
                let Reply::List { items, live, revision } = reply else {
                    self.local(100, replica, Local::List(kind, epoch));
                    return;
                };
                // Objects are taken one by one: other things happen in between.
                let (mut first, mut rest) = (items, Vec::new());
                if self.chance(20) && !first.is_empty() {
                    rest = first.split_off(self.random.below(first.len()));
                }
                for item in first {
                    self.apply(replica, item);
                }
                let delay = if rest.is_empty() { 0 } else { self.delay() };
                self.local(
                    delay,
                    replica,
                    Local::Listed { kind, epoch, items: rest, live, revision, number },
                );
            }
        }
    }

    fn answered(&mut self, replica: usize, answer: Answer) {
        self.apply(replica, Event::Answered(answer.clone()));
        if self.chance(3) {
            self.apply(replica, Event::Answered(answer));
        }
    }
}

impl World {
    /// A bind is answered with an error: none of its Bindings may be carried out from now on. Whether one was.
    pub(crate) fn disown(&mut self, replica: usize, of: &Arc<str>) -> bool {
        let life = self.replicas[replica].life;
        let mut was_done = false;
        for request in &mut self.requests {
            let is_own = (request.replica, request.life) == (replica, life);
            if is_own && matches!(&request.call, Call::Bind { uid, .. } if uid == of) {
                request.is_disowned = true;
                was_done |= request.is_done;
            }
        }
        was_done
    }
}
