//! Plans that are carried out, in a small world of their own: controllers that make pods anew when they like, pods
//! that end when they like, rivals that want every place, and a process that dies after every look, so that the record
//! is all that is left of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/cluster.rs"]
#[expect(dead_code, reason = "what the other tests of the model need")]
mod cluster;
#[path = "repack/world.rs"]
#[expect(dead_code, reason = "what the tests of the plans themselves need")]
mod world;

use std::sync::Arc;

use cluster::{key, pod, shared, want};
use tangram::cache::{BindError, Cache, Event, Outcome};
use tangram::carry::{Next, Objection, Seen, accept, moves_on_demand, next, take_up};
use tangram::model::{Pod, Policy};
use tangram::nominate::Nominator;
use tangram::repack::{Ask, Budget, Goal, Limits, repack};
use tangram::sim::Random;
use tangram::solver::{Refusal, Scores};
use tangram::wire::plans::{MoveState, PlanState, PlanView, Replacement, RoomFor};
use tangram::wire::repack::StepView;
use world::World;

const NOW: &str = "2026-11-21T12:00:00Z";

/// A cluster with its pods, each of a controller of its own, and what controllers and rivals do to it.
struct Play {
    world: World,
    cache: Cache,
    random: Random,
    owed: Vec<Pod>, // replacements that controllers have still to make
    made: u32,
    rivals: u32,
}

impl Play {
    fn new(world: World, seed: u64) -> Self {
        let mut world = world;
        for pod in &mut world.pods {
            pod.mobility.controller = Some(format!("owner of {}", pod.key.name).into());
        }
        let mut cache = Cache::new(shared(Scores::prior()), Policy::Pack, usize::MAX);
        for node in world.cluster().by_name() {
            cache.apply(Event::NodeApplied(node.facts.clone()));
        }
        for pod in &world.pods {
            cache.apply(Event::PodApplied(shared(pod.clone())));
        }
        Self { world, cache, random: Random::new(seed), owed: Vec::new(), made: 0, rivals: 0 }
    }

    /// A plan for one more empty GPU, taken up.
    fn plan(&self) -> Option<PlanView> {
        let goal = Goal::Gpus(1);
        let ask = Ask { goal: &goal, limits: &Limits::default(), budgets: &[], effort: None };
        let plan = repack(self.cache.cluster(), self.cache.scores(), &ask).unwrap();
        if !plan.is_reached || plan.steps.is_empty() {
            return None;
        }
        let steps: Vec<StepView> = plan.steps.iter().map(StepView::from).collect();
        let steps = accept(self.cache.cluster(), &[], &steps).unwrap();
        take_up(&[], steps, None, NOW, 600).unwrap().pop()
    }

    fn waiting(&self) -> Vec<Arc<Pod>> {
        self.cache.pods().filter(|pod| pod.node.is_none()).cloned().collect()
    }

    /// Pods of controllers: those that there are and do not end, and those that are owed.
    fn owned(&self) -> usize {
        let lasting = self.cache.pods().filter(|pod| !pod.is_terminating);
        lasting.filter(|pod| pod.mobility.controller.is_some()).count() + self.owed.len()
    }

    /// One thing that somebody else does. Rivals want what moves, and most of all where it goes.
    fn others(&mut self, plan: &PlanView) {
        match self.random.below(5) {
            0 => {
                let ending = self.cache.pods().find(|pod| pod.is_terminating).map(|pod| pod.key.clone());
                if let Some(key) = ending {
                    self.cache.apply(Event::PodDeleted(key));
                }
            }
            1 => {
                if let Some(pod) = self.owed.pop() {
                    self.cache.apply(Event::PodApplied(shared(pod)));
                }
            }
            2 | 3 => {
                // As kube-scheduler does without asking filter: anywhere, and the bind alone decides.
                let waiting = self.waiting();
                let count = self.cache.cluster().len();
                if waiting.is_empty() {
                    return;
                }
                let pod = waiting[self.random.below(waiting.len())].clone();
                let node = format!("n{}", self.random.below(count));
                let bind =
                    Event::Bind { pod: pod.key.clone(), uid: pod.uid.clone(), node: node.as_str().into() };
                let outcome = self.cache.apply(bind);
                let hold = plan.holds().into_iter().find(|hold| hold.is_for(&pod));
                if let Some(hold) = hold {
                    if *hold.node == *node {
                        assert_eq!(outcome, Outcome::Bound(hold.placement), "its place is free");
                    } else {
                        let refusal = Refusal::HeldElsewhere;
                        let error =
                            BindError::DoesNotFit { pod: pod.key.clone(), node: node.into(), refusal };
                        assert_eq!(outcome, Outcome::NotBound(error));
                    }
                }
            }
            _ if self.rivals < 3 && plan.holds().len() == 1 => {
                self.rivals += 1;
                let hold = &plan.holds()[0];
                let profile = hold.placement.devices[0].profile.as_str();
                let rival = pod(&format!("rival-{}", self.rivals), &[want(profile)]);
                let (key, uid) = (rival.key.clone(), rival.uid.clone());
                self.cache.apply(Event::PodApplied(shared(rival)));
                self.cache.apply(Event::Bind { pod: key, uid, node: hold.node.clone() });
            }
            _ => {}
        }
    }

    /// What the process does at one look, with nothing but the record; `false` once the plan is over.
    fn look(&mut self, plan: &mut PlanView) -> bool {
        self.cache.apply(Event::Hold(plan.holds()));
        let waiting = self.waiting();
        match next(plan, Seen { cluster: self.cache.cluster(), waiting: &waiting }) {
            Next::Begin(at, hold) => {
                (plan.steps[at].state, plan.steps[at].hold) = (MoveState::Moving, Some(hold));
            }
            Next::Evict(_, key, uid) => {
                let old = self.cache.pods().find(|pod| pod.key == key && pod.uid == uid).unwrap().clone();
                let ending = Pod { is_terminating: true, ..Pod::clone(&old) };
                self.cache.apply(Event::PodApplied(shared(ending)));
                self.made += 1;
                let name = format!("made-{}", self.made);
                let (key, uid) = (cluster::key(&name), format!("uid-of-{name}").into());
                self.owed.push(Pod { key, uid, node: None, placement: None, ..Pod::clone(&old) });
            }
            Next::Wait(..) => {}
            Next::Runs(at, pod) => {
                let step = &mut plan.steps[at];
                let spot = step.to.spot().unwrap();
                assert_eq!(
                    (pod.node.as_ref(), pod.placement.as_ref()),
                    (Some(&spot.node), Some(&spot.placement))
                );
                let replacement = Replacement { name: pod.key.name.to_string(), uid: pod.uid.to_string() };
                (step.state, step.hold, step.replacement) = (MoveState::Done, None, Some(replacement));
            }
            Next::Changed(why) => {
                (plan.state, plan.note) = (PlanState::Stopped, why);
            }
            Next::Finished => plan.state = PlanState::Done,
        }
        plan.state == PlanState::Running
    }

    fn is_sound(&self) {
        let mut world = self.world.clone();
        world.pods = self.cache.pods().filter(|pod| pod.node.is_some()).map(|pod| Pod::clone(pod)).collect();
        assert!(world.is_sound(), "two pods hold one slice: {:?}", world.pods);
    }
}

#[test]
fn no_pod_is_lost_and_no_place_taken_whatever_others_do_and_whenever_the_process_dies() {
    let (mut done, mut stopped, mut steps) = (0, 0, 0);
    for seed in 0..60 {
        let world = World::random("a100-80gb", &[2, 2], 9, 6, seed);
        let mut game = Play::new(world, seed);
        let Some(mut plan) = game.plan() else { continue };
        let owned = game.owned();
        let mut looks = 0;
        loop {
            plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
            if !game.look(&mut plan) {
                break;
            }
            game.is_sound();
            for _ in 0..game.random.below(4) {
                game.others(&plan);
                game.is_sound();
            }
            assert_eq!(game.owned(), owned, "seed {seed}: a pod is lost");
            looks += 1;
            assert!(looks < 5_000, "seed {seed}: {plan:?}");
        }
        assert_eq!(game.owned(), owned, "seed {seed}: a pod is lost");
        game.cache.apply(Event::Hold(plan.holds()));
        assert_eq!(plan.holds(), [], "nothing is kept for a plan that is over");
        steps += plan.steps.len();
        match plan.state {
            PlanState::Done => done += 1,
            PlanState::Stopped => {
                assert!(game.rivals > 0, "seed {seed}: nobody changed the cluster: {}", plan.note);
                stopped += 1;
            }
            PlanState::Running => unreachable!("it is over"),
        }
    }
    assert!(
        done >= 10 && stopped >= 1 && steps > done + stopped,
        "{done} done, {stopped} stopped, {steps} steps"
    );
}

/// Two half-empty GPUs, on a node each.
fn halves() -> Play {
    let world = World::new("a100-80gb", &[1, 1]).with("left", 0, &[(0, "3g.40gb", 0)]);
    Play::new(world.with("right", 1, &[(0, "3g.40gb", 0)]), 1)
}

#[test]
fn a_plan_is_taken_up_only_as_the_cluster_is_and_one_at_a_time() {
    let mut game = halves();
    let plan = game.plan().unwrap();
    let step = |plan: &PlanView| StepView {
        namespace: plan.steps[0].namespace.clone(),
        name: plan.steps[0].name.clone(),
        request: String::new(),
        memory_mib: 0,
        from: plan.steps[0].from.clone(),
        to: plan.steps[0].to.clone(),
        detour: false,
    };
    let wanted = [step(&plan)];
    let cluster = game.cache.cluster().clone();
    assert_eq!(accept(&cluster, &[], &wanted), Ok(plan.steps.clone()));
    assert_eq!(accept(&cluster, &[], &[]), Err(Objection::Malformed("steps: there are none".to_owned())));
    let mut odd = wanted.clone();
    odd[0].to.devices[0].profile = "huge".to_owned();
    let malformed = Objection::Malformed("steps[0].to: a device's profile is malformed".to_owned());
    assert_eq!(accept(&cluster, &[], &odd), Err(malformed));
    let name = plan.steps[0].name.clone();
    let changed = |why: &str| Err(Objection::Changed(format!("step 1: test/{name}: {why}")));
    let budget = Budget { namespace: "test".into(), name: "all".into(), selector: Vec::new(), allowed: 0 };
    let why = "it must stay: PodDisruptionBudget all allows no eviction";
    assert_eq!(accept(&cluster, &[budget], &wanted), changed(why));
    let mut twice = wanted.clone();
    twice[0].to = twice[0].from.clone();
    assert_eq!(accept(&cluster, &[], &twice), changed("memory slice 0 of GPU 0 would be held twice"));
    game.cache.apply(Event::PodDeleted(key(&name)));
    let node = &plan.steps[0].from.node;
    assert_eq!(accept(game.cache.cluster(), &[], &wanted), changed(&format!("it is not on {node}")));

    let busy = take_up(std::slice::from_ref(&plan), plan.steps.clone(), None, NOW, 1);
    assert_eq!(busy, Err(Objection::Busy("plan-1".to_owned())));
    let mut plans = vec![PlanView { state: PlanState::Done, ..plan.clone() }];
    for number in 2..20 {
        plans = take_up(&plans, plan.steps.clone(), None, NOW, 1).unwrap();
        let last = plans.last_mut().unwrap();
        assert_eq!(last.id, format!("plan-{number}"));
        last.state = PlanState::Stopped;
    }
    assert_eq!(plans.len(), 6, "those that are over are forgotten, but for the last few");
}

#[test]
fn on_demand_moves_count_for_an_hour() {
    let plan = halves().plan().unwrap();
    let room = RoomFor { namespace: "test".into(), name: "p".into(), uid: "u".into(), node: "n0".into() };
    let begun = |started: Option<&str>, state: PlanState| {
        let mut plan = PlanView { room: Some(room.clone()), state, ..plan.clone() };
        plan.steps[0].started = started.map(str::to_owned);
        plan
    };
    let count = |plans: &[PlanView]| moves_on_demand(plans, NOW);
    assert_eq!(count(&[begun(Some("2026-11-21T11:00:01Z"), PlanState::Done)]), 1);
    assert_eq!(count(&[begun(Some("2026-11-21T11:00:00Z"), PlanState::Done)]), 0);
    assert_eq!(count(&[begun(None, PlanState::Stopped)]), 0, "never begun");
    assert_eq!(count(&[begun(None, PlanState::Running)]), 1, "it will be");
    assert_eq!(count(&[begun(Some("yesterday"), PlanState::Done)]), 1, "who knows");
    assert_eq!(count(&[PlanView { room: None, ..begun(Some(NOW), PlanState::Done) }]), 0, "asked for");
}

#[test]
fn the_next_pod_is_nominated_where_its_place_is_kept_and_a_rival_elsewhere() {
    let mut game = halves();
    let mut plan = game.plan().unwrap();
    assert!(game.look(&mut plan), "the place is to be kept");
    assert!(game.look(&mut plan), "the eviction");
    game.cache.apply(Event::PodDeleted(key(&plan.steps[0].name)));
    let made = Pod { waiting: Some(Arc::default()), ..game.owed.pop().unwrap() };
    let rival = Pod { waiting: Some(Arc::default()), ..pod("rival", &[want("3g.40gb")]) };
    // Of itself the one would go to the empty GPU, and the other, which came first, to either.
    let nominated = |policy: Policy| {
        let mut nominator = Nominator::new(shared(Scores::prior()), policy);
        for pod in [&rival, &made] {
            nominator.pod(&pod.key, Some(shared(pod.clone())));
        }
        let (cluster, holds) = game.cache.held();
        nominator.hold(&holds);
        nominator.turn(&cluster, 9);
        nominator.nominated().map(|(key, node)| (key.name.to_string(), node.to_string())).collect::<Vec<_>>()
    };
    let (from, to) = (plan.steps[0].from.node.clone(), plan.steps[0].to.node.clone());
    let expected = vec![("rival".to_owned(), from), ("made-1".to_owned(), to)];
    assert_eq!((nominated(Policy::Spread), nominated(Policy::Pack)), (expected.clone(), expected));
}

#[test]
fn what_a_step_waits_for_is_said() {
    let mut game = halves();
    let mut plan = game.plan().unwrap();
    let name = plan.steps[0].name.clone();
    assert!(game.look(&mut plan));
    assert_eq!(plan.steps[0].state, MoveState::Moving);
    game.cache.apply(Event::Hold(plan.holds()));
    let what = |game: &Play, plan: &PlanView| {
        let waiting = game.waiting();
        next(plan, Seen { cluster: game.cache.cluster(), waiting: &waiting })
    };
    let uid: Arc<str> = format!("uid-of-{name}").into();
    assert_eq!(what(&game, &plan), Next::Evict(0, key(&name), uid.clone()));
    assert!(game.look(&mut plan), "the eviction");
    assert_eq!(what(&game, &plan), Next::Wait(0, format!("test/{name} is ending")));
    game.cache.apply(Event::PodDeleted(key(&name)));
    let nobody = format!("nobody has made a replacement of test/{name} yet");
    assert_eq!(what(&game, &plan), Next::Wait(0, nobody));
    let made = game.owed.pop().unwrap();
    game.cache.apply(Event::PodApplied(shared(made.clone())));
    let unbound = "the replacement test/made-1 is not bound yet".to_owned();
    assert_eq!(what(&game, &plan), Next::Wait(0, unbound));
    // Somebody binds it elsewhere without asking.
    let elsewhere = plan.steps[0].from.node.clone();
    let spot = plan.steps[0].from.spot().unwrap();
    let strayed = made.bound_to(spot.node, spot.placement);
    game.cache.apply(Event::PodApplied(shared(strayed)));
    let why = format!("step 1: the replacement test/made-1 went to {elsewhere}");
    assert_eq!(what(&game, &plan), Next::Changed(why));
}
