//! A node at random, from one seed: its GPUs, a kubelet with containers, somebody who makes instances of his own, an
//! API server that changes its mind, and an agent that is killed at any moment. The desk is all that is real.
//!
//! | at every moment | |
//! |---|---|
//! | 1 | an instance that somebody else made is not removed and not offered |
//! | 2 | one that a container holds is not removed |
//! | 3 | what is offered as healthy is wanted, live, whole, and on a GPU that is well |
//!
//! | when everything stands still | |
//! |---|---|
//! | 4 | within a few turns there is nothing left to do |
//! | 5 | all is there that is wanted and that the hardware takes, and it is offered; of the rest it is said why not |
//! | 6 | nothing else of Tangram's is there but what containers hold, and without these nothing at all |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tangram::agent::desk::{Claim, Desk, Held, Offered, Sight, Step, Turn, Wanted};
use tangram::agent::device::DeviceId;
use tangram::agent::ledger::Ledger;
use tangram::mig::ProfileRow;
use tangram::model::PodKey;
use tangram::sim::Random;
use tangram_nvml::facts::{Instance, Inventory};
use tangram_nvml::{Code, Error};

use crate::board::{Board, Live};
use crate::common::{error, id, name, unsettled};

pub(crate) const SEEDS: u64 = 10_000;
const EVENTS: u32 = 160;
/// More turns than anything needs: a pause is over after each.
const TURNS: u32 = 12;
const PAUSE_MS: u64 = 31_000;
const GRANT_MS: u64 = 10_000;
const MAKE: &str = "nvmlDeviceCreateGpuInstanceWithPlacement";

/// Steps to take, and how those ended that were taken.
type Order = (Vec<Step>, Vec<(Step, Result<(), Error>)>);

/// The process of the agent.
struct Agent {
    desk: Desk,
    sight: Sight,
    /// Steps that the thread for NVML has before it, and has behind it.
    order: Option<Order>,
    offers: Vec<Offered>,
    has_turned: bool,
}

pub(crate) struct World {
    seed: u64,
    random: Random,
    now: u64,
    boards: Vec<Board>,
    uuids: u32,
    wanted: Vec<Wanted>,
    /// What containers hold, by the kubelet's own book.
    holding: BTreeMap<String, PodKey>,
    /// Devices that were handed out, with the pod that they were wanted for.
    had: BTreeSet<(String, Arc<str>)>,
    granted: BTreeMap<String, u64>,
    /// A record on its way.
    asked: Option<Held>,
    disk: Ledger,
    agent: Option<Agent>,
    /// Places of Tangram's on a GPU that was lost and wiped: perhaps nobody has seen the UUID there.
    blind: Vec<DeviceId>,
    happened: Vec<String>,
    is_calm: bool,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let keys = ["h100-80gb-sxm", "a30-24gb", "a100-80gb", "rtx-pro-6000-blackwell-96gb"];
        let boards = (0..2).map(|index| Board::new(index, keys[random.below(keys.len())])).collect();
        Self {
            seed,
            random,
            now: 1000,
            boards,
            uuids: 0,
            wanted: Vec::new(),
            holding: BTreeMap::new(),
            had: BTreeSet::new(),
            granted: BTreeMap::new(),
            asked: None,
            disk: Ledger::default(),
            agent: None,
            blind: Vec::new(),
            happened: Vec::new(),
            is_calm: false,
        }
    }

    pub(crate) fn run(&mut self) {
        for _ in 0..EVENTS {
            self.now += self.random.next_u64().rem_euclid(400);
            self.happen();
        }
        self.is_calm = true;
        for board in self.boards.iter_mut().filter(|board| board.is_lost) {
            board.wipe();
        }
        self.rest();
        self.holding.clear();
        self.rest();
        let left = |board: &Board| board.live.iter().filter(|live| !live.is_foreign).count();
        let own: usize = self.boards.iter().map(left).sum();
        self.check(own <= self.wanted.len(), "rule 6: something is left over");
    }

    fn check(&self, is_so: bool, why: &str) {
        assert!(is_so, "{}\nseed {}: {why}", self.happened.join("\n"), self.seed);
    }

    fn note(&mut self, what: &str) {
        self.happened.push(format!("{:>6} {what}", self.now));
    }

    fn happen(&mut self) {
        match self.random.below(40) {
            0..=3 => self.want(),
            4..=6 => self.unwant(),
            7 | 8 => self.foreign_comes(),
            9 => self.foreign_goes(),
            10..=12 => self.hand_out(),
            13 | 14 => self.take_back(),
            15 => self.crash(),
            16 if self.random.below(3) == 0 => self.reboot(),
            17 if self.random.below(2) == 0 => self.lose_or_bring_back(),
            18..=20 => self.ask(),
            21 | 22 => self.record_comes(),
            23..=26 => self.see_api(),
            27..=32 => self.work(),
            _ if self.agent.is_none() => self.start(),
            _ => self.turn(true),
        }
    }

    // The API server wants what a legal layout has, whatever else is there.

    fn any_place(&mut self) -> (usize, &'static ProfileRow, u8) {
        let gpu = self.random.below(self.boards.len());
        let profiles = self.boards[gpu].row.profiles;
        let profile = &profiles[self.random.below(profiles.len())];
        (gpu, profile, profile.starts[self.random.below(profile.starts.len())])
    }

    fn want(&mut self) {
        let (gpu, profile, start) = self.any_place();
        let board = &self.boards[gpu];
        let others = self.wanted.iter().filter(|wanted| wanted.gpu == board.index);
        let others = others.map(|it| (board.profile(it.profile.as_str()).expect("it is wanted"), it.start));
        if Board::has_room(board.row, others, profile, start) {
            let uid: Arc<str> = format!("uid-{}", self.random.below(1 << 30)).into(); // another pod each time
            let pod = PodKey { namespace: "test".into(), name: uid.clone() };
            let wanted = Wanted { gpu: self.boards[gpu].index, profile: name(profile.name), start, pod, uid };
            self.note(&format!("wanted: {} {}@{start}", wanted.gpu, wanted.profile));
            self.wanted.push(wanted);
        }
    }

    fn unwant(&mut self) {
        if !self.wanted.is_empty() {
            let gone = self.wanted.remove(self.random.below(self.wanted.len()));
            self.note(&format!("not wanted: {} {}@{}", gone.gpu, gone.profile, gone.start));
        }
    }

    fn see_api(&mut self) {
        let Some(agent) = &mut self.agent else { return };
        agent.sight.wanted = Some(self.wanted.clone());
        agent.sight.claim = Claim::All;
    }

    // Somebody else.

    fn foreign_comes(&mut self) {
        let (gpu, profile, start) = self.any_place();
        let uuid = self.uuid();
        let board = &mut self.boards[gpu];
        if board.make(profile, start, uuid.clone()).is_ok() {
            let id = id(board.index, profile.name, start);
            let live = board.live.last_mut().expect("it was made");
            live.is_foreign = true;
            // The agent was killed between intent and UUID, and has not looked since.
            let is_blind = self.agent.as_ref().is_none_or(|agent| !agent.has_turned);
            live.is_excused = is_blind && self.disk.has(&id) || self.blind.contains(&id);
            self.note(&format!("somebody makes {id} {uuid}"));
        }
    }

    fn foreign_goes(&mut self) {
        let gpu = self.random.below(self.boards.len());
        self.boards[gpu].live.retain(|live| !live.is_foreign);
        self.note(&format!("somebody takes his from {gpu}"));
    }

    // The kubelet.

    fn hand_out(&mut self) {
        let Some(agent) = &mut self.agent else { return };
        let free = |offer: &&Offered| offer.is_healthy && !self.holding.contains_key(&offer.id.to_string());
        let free: Vec<DeviceId> = agent.offers.iter().filter(free).map(|offer| offer.id.clone()).collect();
        if free.is_empty() {
            return;
        }
        let chosen = free[self.random.below(free.len())].clone();
        agent.desk.granted([chosen.clone()], self.now);
        let pod = PodKey { namespace: "test".into(), name: format!("p{}", self.now).into() };
        self.granted.insert(chosen.to_string(), self.now);
        let boards = &self.boards;
        let is_it = |wanted: &&Wanted| {
            let board = &boards[usize::try_from(wanted.gpu).expect("two GPUs")];
            id(board.index, wanted.profile.as_str(), wanted.start) == chosen
        };
        let wanted = self.wanted.iter().find(is_it);
        self.had.extend(wanted.map(|it| (chosen.to_string(), it.uid.clone())));
        self.holding.insert(chosen.to_string(), wanted.map_or(pod, |it| it.pod.clone()));
        self.note(&format!("handed out: {chosen}"));
    }

    fn take_back(&mut self) {
        let all: Vec<String> = self.holding.keys().cloned().collect();
        if !all.is_empty() {
            let gone = &all[self.random.below(all.len())];
            self.holding.remove(gone);
            self.note(&format!("taken back: {gone}"));
        }
    }

    fn ask(&mut self) {
        self.asked = Some(Held { devices: self.holding.clone(), asked_ms: self.now });
    }

    fn record_comes(&mut self) {
        if let (Some(agent), Some(held)) = (&mut self.agent, self.asked.take()) {
            agent.sight.held = Some(held);
        }
    }

    // The machine.

    fn start(&mut self) {
        self.note("the agent starts");
        let sight = Sight { may_enable: true, ..Sight::default() };
        let desk = Desk::new(self.disk.clone());
        self.agent = Some(Agent { desk, sight, order: None, offers: Vec::new(), has_turned: false });
        self.look();
    }

    fn crash(&mut self) {
        self.note("the agent is killed");
        self.agent = None;
        self.asked = None;
        for board in &mut self.boards {
            board.forget();
            for live in board.live.iter_mut().filter(|live| live.is_foreign) {
                live.is_excused |= self.disk.has(&id(board.index, live.profile.name, live.start));
            }
        }
    }

    fn reboot(&mut self) {
        self.crash();
        self.note("the machine is rebooted");
        for board in &mut self.boards {
            board.wipe();
            board.is_enabled = self.random.below(2) == 0;
        }
        // Some pods are there again, with the devices that they had.
        let random = &mut self.random;
        self.holding.retain(|_, _| random.below(2) == 0);
    }

    fn lose_or_bring_back(&mut self) {
        let gpu = self.random.below(self.boards.len());
        self.note(&format!("GPU {gpu} is lost or comes back"));
        if self.boards[gpu].is_lost {
            // What was made just before may have come and gone without anybody seeing its UUID.
            let of_gpu = format!("GPU-{gpu}");
            self.blind.extend(self.disk.ids().filter(|id| *id.gpu == *of_gpu).cloned());
            self.boards[gpu].wipe();
        } else {
            self.boards[gpu].is_lost = true;
        }
    }

    fn uuid(&mut self) -> String {
        self.uuids += 1;
        format!("MIG-{}", self.uuids)
    }

    // The agent's thread for NVML.

    fn look(&mut self) {
        if let Some(agent) = self.agent.as_mut().filter(|agent| agent.order.is_none()) {
            agent.order = Some((Vec::new(), Vec::new()));
            self.work();
        }
    }

    /// Takes one step; answers when none is left.
    fn work(&mut self) {
        let Some(mut agent) = self.agent.take() else { return };
        let Some((steps, done)) = &mut agent.order else {
            self.agent = Some(agent);
            return self.look();
        };
        if steps.is_empty() {
            for (step, result) in std::mem::take(done) {
                agent.desk.done(&step, result, self.now);
            }
            let gpus = self.boards.iter_mut().filter_map(Board::read).collect();
            agent.sight.inventory = Inventory { gpus, ..Inventory::default() };
            agent.order = None;
        } else {
            let step = steps.remove(0);
            let result = self.take(&step);
            self.note(&format!("{step:?} -> {result:?}"));
            done.push((step, result));
        }
        self.agent = Some(agent);
    }

    fn board(&mut self, gpu: &str) -> &mut Board {
        let index = gpu.strip_prefix("GPU-").and_then(|index| index.parse::<usize>().ok());
        &mut self.boards[index.expect("GPUs have their index for a UUID")]
    }

    fn take(&mut self, step: &Step) -> Result<(), Error> {
        let luck = if self.is_calm { 19 } else { self.random.below(20) };
        match step {
            Step::EnableMig(gpu) if luck > 5 => self.board(gpu).is_enabled = true,
            Step::EnableMig(_) => return Err(error("nvmlDeviceSetMigMode", Code::InUse)),
            Step::Destroy(..) if luck == 0 => return Err(error("nvmlGpuInstanceDestroy", Code::InUse)),
            Step::Destroy(device, seen) => self.destroy(device, seen)?,
            Step::Create(_) if luck == 0 => return Err(error(MAKE, Code::InUse)),
            Step::Create(device) => {
                let uuid = self.uuid();
                let board = self.board(&device.gpu);
                let profile = board.profile(device.profile.as_str()).expect("it was wanted");
                board.make(profile, device.start, uuid).map_err(|code| error(MAKE, code))?;
                if luck == 1 {
                    board.live.last_mut().expect("it was made").uuid = None; // half of it stays
                    return Err(error("nvmlGpuInstanceCreateComputeInstance", Code::InsufficientResources));
                }
            }
        }
        Ok(())
    }

    fn destroy(&mut self, device: &DeviceId, seen: &Instance) -> Result<(), Error> {
        let board = self.board(&device.gpu);
        let position = board.find(seen).map_err(|code| error("nvmlDeviceGetGpuInstanceById", code))?;
        let gone = board.live.remove(position);
        self.check(!gone.is_foreign || gone.is_excused, &format!("rule 1: {gone:?} is removed"));
        let is_held = self.holding.contains_key(&device.to_string());
        self.check(!is_held, &format!("rule 2: {gone:?} is removed and held"));
        Ok(())
    }

    // The agent's loop.

    /// One turn; the agent may be killed in the middle of it.
    fn turn(&mut self, may_die: bool) {
        let (seed, now) = (self.random.below(30), self.now);
        let Some(mut agent) = self.agent.take() else { return };
        self.excuse(&agent.sight);
        let turn = agent.desk.turn(&agent.sight, now);
        agent.has_turned = true;
        self.inspect(&agent.sight, &turn);
        if may_die && seed == 0 {
            return self.crash(); // before the ledger is written
        }
        self.disk = agent.desk.ledger().clone();
        if may_die && seed == 1 {
            return self.crash(); // before the first step
        }
        if let Some(offers) = turn.offers {
            agent.offers = offers;
        }
        if agent.order.is_none() && !turn.steps.is_empty() {
            agent.desk.ordered(&turn.steps);
            agent.order = Some((turn.steps, Vec::new()));
        }
        self.agent = Some(agent);
    }

    /// The kubelet's word makes what is at a place Tangram's, whoever made it.
    fn excuse(&mut self, sight: &Sight) {
        let granted = self.granted.iter().filter(|(_, at)| **at + GRANT_MS > self.now).map(|(id, _)| id);
        let named: Vec<&String> =
            sight.held.iter().flat_map(|held| held.devices.keys()).chain(granted).collect();
        for board in &mut self.boards {
            for live in &mut board.live {
                let id = id(board.index, live.profile.name, live.start).to_string();
                live.is_excused |= named.contains(&&id);
            }
        }
    }

    fn inspect(&self, sight: &Sight, turn: &Turn) {
        let foreign = |live: &&Live| live.is_foreign && !live.is_excused;
        let theirs = self.boards.iter().flat_map(|board| board.live.iter().filter(foreign));
        let theirs: Vec<&str> = theirs.filter_map(|live| live.uuid.as_deref()).collect();
        let named = |id: &DeviceId| {
            sight.held.as_ref().is_some_and(|held| held.devices.contains_key(&id.to_string()))
                || self.granted.get(&id.to_string()).is_some_and(|at| at + GRANT_MS > self.now)
        };
        for step in &turn.steps {
            if let Step::Destroy(_, seen) = step {
                let is_theirs = seen.uuid().is_some_and(|uuid| theirs.contains(&uuid));
                self.check(!is_theirs, &format!("rule 1: {step:?}"));
            }
        }
        for offer in turn.offers.iter().flatten() {
            self.check(!theirs.contains(&&*offer.uuid), &format!("rule 1: {offer:?}"));
            let is_it = |wanted: &Wanted| id(wanted.gpu, wanted.profile.as_str(), wanted.start) == offer.id;
            let is_known = sight.claim != Claim::Unknown;
            let is_wanted = match sight.wanted.as_ref().filter(|_| is_known) {
                Some(wanted) => wanted.iter().any(is_it),
                None => named(&offer.id),
            };
            let gpu = sight.inventory.gpus.iter().find(|gpu| *gpu.uuid == *offer.id.gpu);
            let gpu = gpu.expect("it was seen");
            let live = gpu.mig.iter().flat_map(|mig| &mig.instances);
            let is_live = live.filter_map(Instance::uuid).any(|uuid| *uuid == *offer.uuid);
            let is_right = if offer.is_healthy {
                is_wanted && is_live && gpu.ailments.is_empty()
            } else {
                is_live && (named(&offer.id) || is_wanted)
            };
            self.check(is_right, &format!("rule 3: {offer:?}"));
        }
    }

    // Rest.

    fn rest(&mut self) {
        self.note("everything stands still");
        if self.agent.is_none() {
            self.start();
        }
        // Turns enough also for devices that nobody comes for: after a while the next ones are offered, too.
        for number in 0.. {
            self.check(number < 2 * TURNS, "rule 4: it never comes to rest");
            self.finish();
            self.see_api();
            self.now += PAUSE_MS;
            self.ask();
            self.record_comes();
            self.look();
            self.now += 1;
            self.turn(false);
            self.finish();
            if number > TURNS && self.is_settled() {
                break;
            }
        }
        self.is_as_wanted();
    }

    /// Takes all steps that were ordered.
    fn finish(&mut self) {
        while self.agent.as_ref().is_some_and(|agent| agent.order.is_some()) {
            self.work();
        }
    }

    /// Nothing is to be done, for what the hardware has no room for waits for its next try.
    fn is_settled(&mut self) -> bool {
        let agent = self.agent.as_mut().expect("nobody kills it");
        let turn = agent.desk.turn(&agent.sight, self.now);
        turn.steps.is_empty() && !turn.needs_held
    }

    fn is_as_wanted(&mut self) {
        let mut agent = self.agent.take().expect("nobody kills it");
        let turn = agent.desk.turn(&agent.sight, self.now);
        let is_offered =
            |id: &DeviceId| turn.offers.iter().flatten().any(|offer| offer.id == *id && offer.is_healthy);
        let said = unsettled(&turn);
        for wanted in &self.wanted {
            let board = &self.boards[usize::try_from(wanted.gpu).expect("two GPUs")];
            let profile = board.profile(wanted.profile.as_str()).expect("it is wanted");
            let id = id(wanted.gpu, profile.name, wanted.start);
            let is_it = |live: &&Live| live.profile.name == profile.name && live.start == wanted.start;
            let there = board.live.iter().filter(is_it).find(|live| !live.is_foreign);
            // What its pod has given back is kept for nobody else.
            let has_ended = self.had.contains(&(id.to_string(), wanted.uid.clone()));
            let is_offered = is_offered(&id) || has_ended;
            let is_taken = board.live.iter().filter(is_it).any(|live| live.is_excused) && is_offered;
            let begin = format!("{} {}@{} ", wanted.gpu, wanted.profile, wanted.start);
            let is_said = said.iter().any(|said| said.starts_with(&begin) && !said.contains("leaving"));
            match there {
                Some(live) if live.uuid.is_some() => {
                    self.check(is_offered && !is_said, &format!("rule 5: {id} is there: {said:?}"));
                }
                Some(_) => {
                    let is_held = self.holding.contains_key(&id.to_string());
                    self.check(is_held && is_said, &format!("rule 5: half of {id} is there: {said:?}"));
                }
                None => {
                    let is_possible = board.takes(profile, wanted.start);
                    self.check(
                        !is_possible && is_said != is_taken,
                        &format!("rule 5: {id} is not there: {said:?}"),
                    );
                }
            }
        }
        for board in &self.boards {
            for live in board.live.iter().filter(|live| !live.is_foreign) {
                let id = id(board.index, live.profile.name, live.start);
                let is_it = |wanted: &Wanted| {
                    (wanted.gpu, wanted.start) == (board.index, live.start)
                        && wanted.profile.as_str() == live.profile.name
                };
                let is_known = self.wanted.iter().any(is_it) || self.holding.contains_key(&id.to_string());
                self.check(is_known, &format!("rule 6: {live:?} is left over: {said:?}"));
            }
        }
        self.agent = Some(agent);
    }
}
