//! Virtual time, the network, faults: whatever happens next, from one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use tangram::cache::{Cache, Event, Options};
use tangram::model::{PodKey, Policy};
use tangram::sim::Random;
use tangram::solver::Scores;

use crate::actors::Agent;
use crate::replica::{Replica, Request};
use crate::rules::{self, Hardware};
use crate::scheduler::Attempt;
use crate::server::{Call, KINDS, Reply, Server};

/// Faults and users stop here.
pub(crate) const CALM_MS: u64 = 4_000;
/// Then everything has to have come to rest.
const REST_MS: u64 = 16_000;
const REST_MIN_MS: u64 = 3_000;
/// More actions than any seed needs: somebody turns in a circle.
const ACTIONS_MAX: u64 = 50_000;
/// A request without an answer is given up after this time.
const TIMEOUT_MS: u64 = 700;

/// Something that is going to happen.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// A request reaches the API server.
    Arrive(usize),
    /// Something in a process: it waits while the process is stopped, and dies with it.
    Local(usize, u32, Local),
    Start(usize),
    AgentSees(usize),
    AgentActs(usize),
    Cycle(PodKey, Arc<str>),
    GivesUp(usize),
    User,
    Fault,
    Removed(PodKey, Arc<str>),
    NodeBack(usize),
    Look,
}

/// Something in the process of a replica.
#[derive(Debug, Clone)]
pub(crate) enum Local {
    Tick,
    LookAtLease,
    Check(usize),
    Send(usize),
    Answer(usize, Reply),
    Timeout(usize),
    Watch(usize, u32),
    List(usize, u32),
    Listed { kind: usize, epoch: u32, items: Vec<Event>, live: BTreeSet<PodKey>, revision: u64, number: u64 },
    Fence { takeover: u32, key: PodKey, uid: Arc<str>, number: u64 },
    Bind(usize),
}

/// The whole world.
pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) now: u64,
    agenda: BTreeMap<(u64, u64), Action>,
    numbers: u64,
    flying: u32, // requests that will reach the API server yet
    pub(crate) server: Server,
    pub(crate) hardware: Vec<(Arc<str>, Hardware)>,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) requests: Vec<Request>,
    pub(crate) agents: Vec<Agent>,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) uids: u64,
    pub(crate) has_election: bool,
    pub(crate) is_calm: bool,
    pub(crate) faults: Faults,
    pub(crate) violation: Option<String>,
    pub(crate) trace: Option<Vec<String>>,
}

/// How bad it gets, in percent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faults {
    pub(crate) lost: usize,
    pub(crate) late: usize,
    pub(crate) stops: usize,
}

pub(crate) fn new_cache() -> Cache {
    static SCORES: LazyLock<Arc<Scores>> = LazyLock::new(|| Arc::new(Scores::prior()));
    Cache::new(SCORES.clone(), Policy::Pack, 1000).live(Options { instance_timeout_ms: 1500 })
}

macro_rules! trace {
    ($world:expr, $($text:tt)*) => {
        if let Some(trace) = &mut $world.trace {
            trace.push(format!("{:>6} {}", $world.now, format_args!($($text)*)));
        }
    };
}
pub(crate) use trace;

impl World {
    pub(crate) fn new(seed: u64, is_traced: bool) -> Self {
        let mut random = Random::new(seed);
        let calm = Faults { lost: 0, late: 0, stops: 0 };
        let bad = Faults { lost: 5, late: 8, stops: 2 };
        let faults = [calm, bad, bad, Faults { lost: 15, late: 25, stops: 5 }][random.below(4)];
        let replicas = [1, 2, 2, 3][random.below(4)];
        let mut world = Self {
            has_election: replicas > 1 || random.below(2) == 0,
            random,
            now: 0,
            agenda: BTreeMap::new(),
            numbers: 0,
            flying: 0,
            server: Server::default(),
            hardware: Vec::new(),
            replicas: (0..replicas).map(|_| Replica::new()).collect(),
            requests: Vec::new(),
            agents: Vec::new(),
            attempts: Vec::new(),
            uids: 0,
            is_calm: false,
            faults,
            violation: None,
            trace: is_traced.then(Vec::new),
        };
        world.furnish();
        for replica in 0..replicas {
            let at = world.between(0, 300);
            world.at(at, Action::Start(replica));
        }
        world.at(50, Action::Fault);
        world.at(100, Action::User);
        world.at(CALM_MS + REST_MIN_MS, Action::Look);
        world
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.random.below(100) < percent
    }

    pub(crate) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.random.next_u64().rem_euclid(to - from)
    }

    /// Until something small is done: short mostly, long when things are bad.
    pub(crate) fn delay(&mut self) -> u64 {
        if self.is_calm || !self.chance(self.faults.late) {
            return self.between(1, 15);
        }
        if self.chance(70) { self.between(15, 200) } else { self.between(200, 2500) }
    }

    pub(crate) fn at(&mut self, at: u64, action: Action) {
        self.numbers += 1;
        self.flying += u32::from(matches!(action, Action::Arrive(_)));
        self.agenda.insert((at, self.numbers), action);
    }

    pub(crate) fn after(&mut self, ms: u64, action: Action) {
        self.at(self.now + ms, action);
    }

    pub(crate) fn local(&mut self, ms: u64, replica: usize, local: Local) {
        let life = self.replicas[replica].life;
        self.after(ms, Action::Local(replica, life, local));
    }

    /// Runs to the end, or to the first violation.
    pub(crate) fn run(&mut self) {
        while self.violation.is_none() {
            let Some(((at, _), action)) = self.agenda.pop_first() else { return };
            self.now = at;
            if at >= CALM_MS && !self.is_calm {
                self.calm_down();
            }
            if matches!(action, Action::Look) {
                let rest = self.rest();
                if self.flying == 0 && rest.is_ok() {
                    return;
                }
                if at > CALM_MS + REST_MS {
                    self.fail(rest.err().unwrap_or_else(|| "requests fly for ever".to_owned()));
                }
                self.after(1000, Action::Look);
                continue;
            }
            self.act(action);
            self.wake();
            if self.numbers > ACTIONS_MAX {
                self.fail("rule 3: it never comes to rest".to_owned());
            }
        }
    }

    pub(crate) fn fail(&mut self, why: String) {
        trace!(self, "VIOLATION {why}");
        self.violation.get_or_insert(why);
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Arrive(request) => self.arrive(request),
            Action::Local(replica, life, local) => {
                let Replica { life: now_life, stopped_until, .. } = self.replicas[replica];
                if life != now_life {
                    return;
                }
                if stopped_until > self.now {
                    self.at(stopped_until, Action::Local(replica, life, local));
                } else {
                    self.act_in(replica, local);
                }
            }
            Action::Start(replica) => self.start(replica),
            Action::AgentSees(node) => self.agent_sees(node),
            Action::AgentActs(node) => self.agent_acts(node),
            Action::Cycle(key, uid) => self.cycle(&key, &uid),
            Action::GivesUp(attempt) => self.scheduler_gives_up(attempt),
            Action::User => self.user(),
            Action::Fault => self.fault(),
            Action::Removed(key, uid) => {
                if self.server.pods.get(&key).is_some_and(|pod| pod.uid == uid) {
                    trace!(self, "{key} {uid} is removed");
                    self.server.remove_pod(&key);
                }
            }
            Action::NodeBack(node) => self.node_back(node),
            Action::Look => {}
        }
    }

    /// A request is sent: it may be lost, or arrive when nobody waits for it any more.
    pub(crate) fn send(&mut self, id: usize) {
        let replica = self.requests[id].replica;
        self.local(TIMEOUT_MS, replica, Local::Timeout(id));
        let is_lost = !self.is_calm && self.chance(self.faults.lost);
        if is_lost {
            trace!(self, "#{id} is lost");
        } else {
            let mut delay = self.delay();
            if !self.is_calm && self.chance(self.faults.lost.div_ceil(2)) {
                delay = self.between(TIMEOUT_MS, 5000);
            }
            self.after(delay, Action::Arrive(id));
        }
    }

    fn arrive(&mut self, id: usize) {
        self.flying -= 1;
        let Request { replica, life, call, .. } = self.requests[id].clone();
        let is_write = matches!(call, Call::Bind { .. } | Call::PatchSpec { .. });
        let reply = if is_write && !self.is_calm && self.chance(1) {
            Reply::Refused
        } else {
            self.server.serve(&call)
        };
        trace!(self, "#{id} of {replica} arrives: {call:?} -> {}", brief(&reply));
        match (&call, &reply) {
            (Call::Bind { node, .. }, Reply::Done) => {
                if self.requests[id].is_disowned {
                    self.fail(format!("rule 4: #{id} was answered with an error and has bound its pod"));
                }
                self.check(node);
            }
            (Call::PatchSpec { node, .. }, Reply::Object(_)) => self.check(node),
            _ => {}
        }
        self.requests[id].is_done = matches!(reply, Reply::Done);
        let is_lost = !self.is_calm && self.chance(self.faults.lost);
        if !is_lost {
            let delay = self.delay();
            self.after(delay, Action::Local(replica, life, Local::Answer(id, reply)));
        }
    }

    pub(crate) fn check(&mut self, name: &Arc<str>) {
        let Some((_, hardware)) = self.hardware.iter().find(|(known, _)| known == name) else { return };
        if let Err(why) = rules::node(&self.server, hardware, name) {
            self.fail(why);
        }
    }

    /// Watches that had nothing to tell have it now; agents see what is new.
    fn wake(&mut self) {
        for replica in 0..self.replicas.len() {
            for (kind, of) in KINDS.iter().enumerate() {
                let stream = &mut self.replicas[replica].streams[kind];
                let is_news = stream.is_idle && stream.cursor < self.server.history(*of).len();
                if is_news {
                    stream.is_idle = false;
                    let epoch = stream.epoch;
                    let delay = self.delay();
                    self.local(delay, replica, Local::Watch(kind, epoch));
                }
            }
        }
        if self.agents_seen() != self.news() {
            self.wake_agents();
        }
    }

    fn fault(&mut self) {
        if self.is_calm {
            return;
        }
        let replica = self.random.below(self.replicas.len());
        let is_bad = self.faults.lost > 0;
        match self.random.below(6) {
            0 | 1 if is_bad => self.stop(replica),
            2 if is_bad => self.crash(replica, false),
            3 => self.crash(replica, true),
            _ => {}
        }
        let pause = self.between(200, 1500);
        self.after(pause, Action::Fault);
    }

    /// The process is stopped for a while, wherever it is.
    pub(crate) fn stop(&mut self, replica: usize) {
        if !self.is_calm && self.replicas[replica].is_up {
            let until = self.now + self.between(50, 2500);
            self.replicas[replica].stopped_until = until.min(CALM_MS);
            trace!(self, "replica {replica} is stopped until {until}");
        }
    }

    fn calm_down(&mut self) {
        self.is_calm = true;
        trace!(self, "everything works from now on");
        for agent in &mut self.agents {
            agent.asleep_until = 0;
        }
        self.wake_agents();
    }
}

pub(crate) fn brief(reply: &Reply) -> String {
    match reply {
        Reply::List { revision, items, .. } => format!("{} items at {revision}", items.len()),
        Reply::Object(Event::PodApplied(pod)) => {
            format!(
                "{} {} at {} on {:?} fence {:?}",
                pod.key, pod.uid, pod.version.revision, pod.node, pod.version.fence
            )
        }
        Reply::Object(Event::Report(name, Some(report))) => format!("{name} at {}", report.revision),
        reply => format!("{reply:?}"),
    }
}
