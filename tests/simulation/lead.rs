//! Leading, step by step as `src/k8s/lease.rs` and `src/k8s/lead.rs` do it.

use std::sync::Arc;

use tangram::cache::{Event, Fence};
use tangram::model::PodKey;

use crate::replica::{Takeover, Then};
use crate::server::{Call, Lease, Reply};
use crate::world::{Action, Local, World, trace};

const DURATION_MS: u64 = 900;
const LOOK_MS: u64 = 200;
const RENEWAL_MS: u64 = 300;
const PAUSE_MS: u64 = 100;

impl World {
    fn identity(&self, replica: usize) -> Arc<str> {
        format!("r{replica}-{}", self.replicas[replica].life).into()
    }

    pub(crate) fn look_at_lease(&mut self, replica: usize) {
        if self.has_election {
            self.request(replica, Call::GetLease, Then::Lease { asked: self.now });
        } else {
            let term = u64::from(self.replicas[replica].life) + 1; // later than that of every earlier life
            let fence = Fence { term, identity: self.identity(replica) };
            self.leads(replica, fence, u64::MAX);
        }
    }

    pub(crate) fn lease_read(&mut self, replica: usize, asked: u64, reply: Reply) {
        let lease = match reply {
            Reply::Lease(lease) => lease,
            Reply::NotFound => return self.put_lease(replica, 0, 1, asked),
            _ => return self.unknown(replica),
        };
        let Lease { version, holder, term } = lease;
        let own = self.identity(replica);
        let state = &mut self.replicas[replica];
        if state.seen_lease.is_none_or(|(seen, _)| seen != version) {
            state.seen_lease = Some((version, self.now));
        }
        let unchanged = state.seen_lease.map_or(0, |(_, since)| asked.saturating_sub(since));
        let is_expired = holder.is_empty() || unchanged > DURATION_MS;
        if holder == own {
            self.put_lease(replica, version, term, asked);
        } else if is_expired {
            self.put_lease(replica, version, term + 1, asked);
        } else {
            self.follows(replica);
        }
    }

    fn put_lease(&mut self, replica: usize, version: u64, term: u64, asked: u64) {
        let holder = self.identity(replica);
        self.request(replica, Call::PutLease { version, holder, term }, Then::LeaseWritten { asked, term });
    }

    pub(crate) fn lease_written(&mut self, replica: usize, asked: u64, term: u64, reply: &Reply) {
        match reply {
            Reply::Lease(_) => {
                let fence = Fence { term, identity: self.identity(replica) };
                self.leads(replica, fence, asked + DURATION_MS);
            }
            Reply::Conflict => self.follows(replica),
            _ => self.unknown(replica),
        }
    }

    fn leads(&mut self, replica: usize, fence: Fence, until_ms: u64) {
        let has_begun = self.replicas[replica].takeover.is_some();
        if has_begun && self.replicas[replica].until_ms <= self.now {
            self.step_down(replica);
        }
        self.replicas[replica].until_ms = until_ms;
        let now = self.now;
        let others = self.replicas.iter().filter(|other| other.until_ms > now && other.is_up).count();
        if until_ms > now && others > 1 {
            self.fail("rule 5: two replicas rightly believe that they lead".to_owned());
        }
        if self.replicas[replica].takeover.is_none() {
            trace!(self, "replica {replica} takes over: {fence:?}");
            let state = &mut self.replicas[replica];
            state.wanted += 1;
            state.takeovers += 1;
            state.takeover = Some(Takeover { number: state.wanted, fence, fences_left: None });
            for kind in 0..3 {
                if !self.replicas[replica].streams[kind].is_listing {
                    self.list(replica, kind);
                }
            }
        }
        self.look_again(replica, RENEWAL_MS);
    }

    fn follows(&mut self, replica: usize) {
        self.step_down(replica);
        self.look_again(replica, LOOK_MS);
    }

    fn unknown(&mut self, replica: usize) {
        if self.replicas[replica].until_ms > self.now {
            self.look_again(replica, PAUSE_MS);
        } else {
            self.follows(replica);
        }
    }

    fn look_again(&mut self, replica: usize, after: u64) {
        if self.replicas[replica].wanted == 0 {
            self.replicas[replica].wanted = 1;
            (0..3).for_each(|kind| self.list(replica, kind));
        }
        self.local(after, replica, Local::LookAtLease);
    }

    fn step_down(&mut self, replica: usize) {
        let state = &mut self.replicas[replica];
        if state.takeover.take().is_some() {
            (state.until_ms, state.is_ready) = (0, false);
            trace!(self, "replica {replica} steps down");
            self.apply(replica, Event::Unlead);
        }
    }

    /// Everything has been listed since the Lease was taken: fence every pod that waits.
    pub(crate) fn all_listed(&mut self, replica: usize) {
        let state = &mut self.replicas[replica];
        let takeover = state.takeovers;
        let Some(Takeover { number, fences_left: left @ None, .. }) = &mut state.takeover else { return };
        if state.streams.iter().any(|stream| stream.listed < *number) {
            return;
        }
        let may_be_bound = state.cache.pods().filter(|pod| {
            let is_gated = pod.waiting.as_ref().is_some_and(|waiting| waiting.is_gated);
            pod.node.is_none() && !pod.request.is_empty() && !is_gated
        });
        let pods: Vec<(PodKey, Arc<str>)> =
            may_be_bound.map(|pod| (pod.key.clone(), pod.uid.clone())).collect();
        *left = Some(pods.len());
        for (number, (key, uid)) in (0..).zip(pods) {
            self.fence(replica, takeover, key, uid, number);
        }
        self.all_fenced(replica);
    }

    pub(crate) fn fence(&mut self, replica: usize, takeover: u32, key: PodKey, uid: Arc<str>, number: u64) {
        let state = &self.replicas[replica];
        let Some(Takeover { fence, .. }) = state.takeover.as_ref().filter(|_| state.takeovers == takeover)
        else {
            return;
        };
        let annotation = fence.annotation(number);
        let call = Call::Fence { pod: key.clone(), uid: uid.clone(), revision: 0, annotation };
        self.request(replica, call, Then::Fenced { takeover, key, uid, number });
    }

    pub(crate) fn fenced(
        &mut self,
        replica: usize,
        takeover: u32,
        key: PodKey,
        uid: Arc<str>,
        number: u64,
        reply: Reply,
    ) {
        if self.replicas[replica].takeovers != takeover {
            return;
        }
        match reply {
            Reply::Object(event) => drop(self.apply(replica, event)),
            Reply::NotFound | Reply::Conflict => {}
            _ => return self.local(PAUSE_MS, replica, Local::Fence { takeover, key, uid, number }),
        }
        if let Some(Takeover { fences_left: Some(left), .. }) = &mut self.replicas[replica].takeover {
            *left -= 1;
        }
        self.all_fenced(replica);
    }

    fn all_fenced(&mut self, replica: usize) {
        let state = &mut self.replicas[replica];
        let Some(Takeover { fences_left: Some(0), fence, .. }) = &state.takeover else { return };
        let fence = fence.clone();
        let problems = state.cache.check();
        if !problems.is_empty() {
            return self.fail(format!("rule 3: the model contradicts itself: {problems:?}"));
        }
        trace!(self, "replica {replica} leads: {fence:?}");
        self.apply(replica, Event::Lead(fence));
        self.replicas[replica].is_ready = true;
    }

    /// The process ends; gracefully: it stops leading first, and gives the Lease back.
    pub(crate) fn crash(&mut self, replica: usize, is_graceful: bool) {
        if !self.replicas[replica].is_up || self.replicas[replica].stopped_until > self.now {
            return;
        }
        if is_graceful {
            self.step_down(replica);
            let own = self.identity(replica);
            if let Some(lease) = self.server.lease.clone().filter(|lease| lease.holder == own) {
                let call = Call::PutLease { version: lease.version, holder: "".into(), term: lease.term };
                self.server.serve(&call);
            }
        }
        trace!(self, "replica {replica} ends");
        let state = &mut self.replicas[replica];
        state.life += 1;
        (state.is_up, state.is_ready, state.until_ms, state.takeover) = (false, false, 0, None);
        state.streams = Default::default();
        state.binding.clear();
        let pause = self.between(20, 1500);
        self.after(pause, Action::Start(replica));
    }
}
