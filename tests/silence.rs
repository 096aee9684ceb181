//! What is a sign of life of a node's agent, when it counts as silent, and what that means: on the model alone.

#[path = "common/cluster.rs"]
#[expect(dead_code, reason = "what the other tests of the model need")]
mod cluster;

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use cluster::{dynamic, gpu, key, model, node, placed, pod, pool, report, shared, want};
use tangram::cache::{Agents, BindError, Cache, Effect, Event, Fence, Options, Outcome, Renewal, ResetKind};
use tangram::model::{NodeFacts, Pod, PodKey, Policy, Problem, Request, Unsettled};
use tangram::nominate::Nominator;
use tangram::solver::{Query, Refusal, Scores, evaluate};

const LEASE_MS: u64 = 40_000;
const INSTANCE_TIMEOUT_MS: u64 = 20_000;

static SCORES: LazyLock<Arc<Scores>> = LazyLock::new(|| shared(Scores::prior()));

fn live() -> Cache {
    let options = Options { instance_timeout_ms: INSTANCE_TIMEOUT_MS };
    Cache::new(SCORES.clone(), Policy::Pack, 100).live(options)
}

/// A leader with one node `n` of an A100, whose agent was heard once, at 0.
fn heard() -> Cache {
    let mut cache = live();
    cache.apply(Event::NodeApplied(shared(dynamic("n", model("a100-80gb"), [0]))));
    cache.apply(Event::Report("n".into(), Some(shared(report(vec![gpu(0, model("a100-80gb"), vec![])])))));
    cache.apply(Event::Lead(Fence { term: 1, identity: "me".into() }));
    cache.apply(Event::Listened(0));
    cache.apply(renewal("n", 1, "12:00:00"));
    cache.take_effects();
    cache
}

fn renewal(node: &str, revision: u64, renewed: &str) -> Event {
    let renewal = Renewal { revision, renewed: renewed.into(), duration_ms: LEASE_MS };
    Event::Agent(node.into(), Some(renewal))
}

/// Listens from one time to another, hearing nothing, as the API server is asked: every second.
fn listen(cache: &mut Cache, from_ms: u64, until_ms: u64) -> bool {
    let times = (from_ms..until_ms).step_by(1000).skip(1).chain([until_ms]);
    times.filter(|&at_ms| cache.apply(Event::Listened(at_ms)) == Outcome::Changed).count() > 0
}

fn silent() -> Cache {
    let mut cache = heard();
    assert!(listen(&mut cache, 0, LEASE_MS + 1));
    cache
}

fn problems(cache: &Cache) -> &[Problem] {
    &cache.cluster().get("n").expect("it was applied").problems
}

/// What the solver says of a pod on node `n`.
fn answer(cache: &Cache, request: &Request) -> Result<(), Refusal> {
    let index = cache.cluster().index("n").expect("it was applied");
    let asking = Pod { request: request.clone(), ..slice() };
    let query = Query::new(cache.cluster(), &SCORES, &asking, Policy::Pack);
    evaluate(cache.cluster().row(index), &query).map(drop)
}

fn slice() -> Pod {
    pod("new", &[want("1g.10gb")])
}

fn bind(cache: &mut Cache) -> Outcome {
    cache.apply(Event::PodApplied(shared(slice())));
    cache.apply(Event::Bind { pod: key("new"), uid: "".into(), node: "n".into() })
}

/// What ended the bind of a pod that waited for its instance until it was given up.
fn given_up(cache: &mut Cache) -> BindError {
    cache.apply(Event::Tick(INSTANCE_TIMEOUT_MS));
    let ended = cache.take_effects().into_iter().find_map(|effect| match effect {
        Effect::Bound { result, .. } => result.err(),
        _ => None,
    });
    ended.expect("it was given up")
}

fn not_live(why: &str) -> BindError {
    BindError::NotLive { pod: key("new"), node: "n".into(), why: why.into() }
}

#[test]
fn an_agent_is_silent_once_its_lease_has_run_out_and_alive_with_the_next_renewal() {
    let mut cache = heard();
    let before = cache.cluster().get("n").expect("it was applied").clone();
    assert_eq!(cache.agents(), Agents { alive: 1, silent: 0 });
    assert!(!listen(&mut cache, 0, LEASE_MS), "it may renew it just now");
    assert_eq!(answer(&cache, &slice().request), Ok(()));

    assert_eq!(cache.apply(Event::Listened(LEASE_MS + 1)), Outcome::Changed);
    assert_eq!(cache.agents(), Agents { alive: 0, silent: 1 });
    assert_eq!(problems(&cache), [Problem::SilentAgent]);
    assert_eq!(answer(&cache, &slice().request), Err(Refusal::SilentAgent));
    assert_eq!(Refusal::SilentAgent.to_string(), "node(s) whose Tangram agent is silent");
    let refused = BindError::DoesNotFit { pod: key("new"), node: "n".into(), refusal: Refusal::SilentAgent };
    assert_eq!(bind(&mut cache), Outcome::NotBound(refused));
    assert_eq!(cache.check(), [] as [String; 0]);
    assert!(!listen(&mut cache, LEASE_MS + 1, 10 * LEASE_MS), "it is told once");

    assert_eq!(cache.apply(renewal("n", 2, "12:10:00")), Outcome::Changed);
    assert_eq!(cache.cluster().get("n").expect("it was applied"), &before);
    assert_eq!(cache.agents(), Agents { alive: 1, silent: 0 });
    assert!(!listen(&mut cache, 10 * LEASE_MS, 11 * LEASE_MS));
    assert!(listen(&mut cache, 11 * LEASE_MS, 11 * LEASE_MS + 1));
}

#[test]
fn only_a_renewal_that_is_new_is_a_sign_of_life() {
    let mut cache = heard();
    listen(&mut cache, 0, LEASE_MS);
    // Somebody else wrote to the Lease; one that was overtaken; one that comes twice.
    for (revision, renewed) in [(5, "12:00:00"), (4, "11:59:50"), (5, "12:00:00")] {
        assert_eq!(cache.apply(renewal("n", revision, renewed)), Outcome::Unchanged);
    }
    assert!(listen(&mut cache, LEASE_MS, LEASE_MS + 1));
    for (revision, renewed) in [(6, "12:00:00"), (5, "12:00:50")] {
        assert_eq!(cache.apply(renewal("n", revision, renewed)), Outcome::Unchanged);
    }
    // The agent's clock may say what it likes, also that it is earlier.
    assert_eq!(cache.apply(renewal("n", 7, "1970-01-01")), Outcome::Changed);
    assert_eq!(problems(&cache), []);
}

#[test]
fn time_in_which_nobody_listened_silences_nobody() {
    let mut cache = heard();
    listen(&mut cache, 0, 30_000);
    let hour = 3_600_000;
    assert_eq!(cache.apply(Event::Listened(hour)), Outcome::Unchanged);
    assert!(!listen(&mut cache, hour, hour + 10_000), "10 s of its 40 are left");
    assert!(listen(&mut cache, hour + 10_000, hour + 11_000));
    // Time does not go back, whatever is told.
    cache.apply(renewal("n", 2, "13:00:00"));
    assert!(!listen(&mut cache, 0, LEASE_MS + 1));
    assert!(!listen(&mut cache, hour + 11_000, hour + 11_000 + LEASE_MS));
}

#[test]
fn silence_leaves_what_runs_where_it_is() {
    let mut cache = heard();
    let runs = placed("runs", "n", &[(0, "3g.40gb", 4)]);
    cache.apply(Event::PodApplied(shared(runs.clone())));
    let gpus = cache.cluster().get("n").expect("it was applied").gpus.clone();
    cache.take_effects();
    assert!(listen(&mut cache, 0, LEASE_MS + 1));
    let node = cache.cluster().get("n").expect("it was applied").clone();
    assert_eq!(node.gpus, gpus);
    assert_eq!(node.pod(&key("runs")).expect("it stands there").placement, runs.placement);
    assert_eq!(cache.take_effects(), [], "nothing is written");

    // What comes and goes changes nothing about that.
    cache.apply(Event::PodApplied(shared(placed("also", "n", &[(0, "1g.10gb", 0)]))));
    assert_eq!(problems(&cache), [Problem::SilentAgent]);
    cache.apply(Event::PodDeleted(key("also")));
    let newer = NodeFacts { is_unschedulable: true, ..dynamic("n", model("a100-80gb"), [0]) };
    cache.apply(Event::NodeApplied(shared(newer)));
    let mut later = report(vec![gpu(0, model("a100-80gb"), vec![])]);
    later.sequence = 2;
    cache.apply(Event::Report("n".into(), Some(shared(later))));
    assert_eq!(problems(&cache), [Problem::SilentAgent]);
    assert_eq!(cache.check(), [] as [String; 0]);
}

#[test]
fn a_bind_that_waits_for_a_silent_agent_says_so_when_it_is_given_up() {
    let mut cache = heard();
    listen(&mut cache, 0, LEASE_MS);
    assert!(matches!(bind(&mut cache), Outcome::Underway(_)));
    listen(&mut cache, LEASE_MS, LEASE_MS + 1);
    assert_eq!(given_up(&mut cache), not_live("its agent is silent"));
}

#[test]
fn a_bind_that_waits_says_what_is_known_of_the_agent() {
    let mut cache = heard();
    assert!(matches!(bind(&mut cache), Outcome::Underway(_)));
    assert_eq!(given_up(&mut cache), not_live("its agent has not said why"));

    let mut cache = heard();
    let mut later = report(vec![gpu(0, model("a100-80gb"), vec![])]);
    let why: Arc<str> = "MigDisabled: MIG mode is off".into();
    later.sequence = 2;
    later.unsettled = vec![Unsettled { gpu: 0, start: None, why: why.clone() }];
    cache.apply(Event::Report("n".into(), Some(shared(later.clone()))));
    assert!(matches!(bind(&mut cache), Outcome::Underway(_)));
    assert_eq!(given_up(&mut cache), not_live(&why));

    // Never heard: as without Leases, but for the words. What is said all the same comes first.
    let mut cache = heard();
    cache.apply(Event::Agent("n".into(), None));
    assert!(!listen(&mut cache, 0, 2 * LEASE_MS));
    assert!(matches!(bind(&mut cache), Outcome::Underway(_)));
    assert_eq!(given_up(&mut cache), not_live("no agent has ever been heard there"));
}

#[test]
fn without_a_lease_a_node_is_as_it_would_be_without_any() {
    let kept = |names: &[&str]| -> BTreeSet<PodKey> {
        names.iter().map(|&name| PodKey { namespace: "".into(), name: name.into() }).collect()
    };
    let reset = |names: &[&str]| Event::Reset { kind: ResetKind::Agents, live: kept(names), revision: 9 };
    for gone in [Event::Agent("n".into(), None), reset(&["other"])] {
        let mut cache = silent();
        assert_eq!(cache.apply(reset(&["n", "other"])), Outcome::Unchanged);
        assert_eq!(cache.apply(gone), Outcome::Changed);
        assert_eq!((problems(&cache), cache.agents()), (&[] as &[Problem], Agents::default()));
        assert_eq!(answer(&cache, &slice().request), Ok(()));
        assert!(!listen(&mut cache, LEASE_MS + 1, 3 * LEASE_MS));
    }
}

#[test]
fn an_agent_may_be_known_before_its_node() {
    let mut cache = live();
    cache.apply(Event::Listened(0));
    cache.apply(renewal("n", 1, "12:00:00"));
    assert!(!listen(&mut cache, 0, LEASE_MS + 1), "there is nothing to show it on");
    cache.apply(Event::NodeApplied(shared(dynamic("n", model("a100-80gb"), [0]))));
    assert_eq!(problems(&cache), [Problem::SilentAgent]);
    assert_eq!(cache.check(), [] as [String; 0]);
}

#[test]
fn only_gpus_that_tangram_partitions_wait_for_an_agent() {
    let whole = Request { counted: vec![("nvidia.com/gpu".into(), 1)], ..Request::default() };
    let counted = || vec![pool("nvidia.com/gpu", 1)];
    let mut cache = silent();
    let both = NodeFacts { pools: counted(), ..dynamic("n", model("a100-80gb"), [0]) };
    cache.apply(Event::NodeApplied(shared(both)));
    assert_eq!(answer(&cache, &whole), Ok(()));
    let unknown = pod("new", &[want("1g.6gb")]).request;
    let refusal = Refusal::WrongModel { want: "1g.6gb".into() };
    assert_eq!(answer(&cache, &unknown), Err(refusal), "an agent that came back would not help");

    cache.apply(Event::NodeApplied(shared(NodeFacts { pools: counted(), ..node("n") })));
    assert_eq!(problems(&cache), []);
    assert_eq!(answer(&cache, &whole), Ok(()));
    assert_eq!(answer(&cache, &slice().request), Err(Refusal::NotDynamic));
    assert_eq!(cache.check(), [] as [String; 0]);
}

#[test]
fn pods_that_wait_are_nominated_when_the_agent_is_back() {
    let mut cache = silent();
    let mut nominator = Nominator::new(SCORES.clone(), Policy::Pack);
    nominator.pod(&key("new"), Some(shared(slice())));
    let nodes = |nominator: &mut Nominator, cache: &Cache| -> Vec<Option<Arc<str>>> {
        nominator.turn(cache.cluster(), 16).0.into_iter().map(|advice| advice.node).collect()
    };
    assert_eq!(nodes(&mut nominator, &cache), []);
    assert_eq!(nominator.why(&slice()), "node(s) whose Tangram agent is silent");
    cache.apply(renewal("n", 2, "12:10:00"));
    assert_eq!(nodes(&mut nominator, &cache), [Some("n".into())]);
    // And not left there when it falls silent again.
    listen(&mut cache, LEASE_MS + 1, 3 * LEASE_MS);
    assert_eq!(nodes(&mut nominator, &cache), [None]);
}

#[test]
fn an_embedded_model_listens_to_nobody() {
    let mut cache = Cache::new(SCORES.clone(), Policy::Pack, 100).embedded();
    cache.apply(Event::NodeApplied(shared(dynamic("n", model("a100-80gb"), [0]))));
    assert_eq!(cache.apply(renewal("n", 1, "12:00:00")), Outcome::Unchanged);
    assert!(!listen(&mut cache, 0, 10 * LEASE_MS));
    assert_eq!((cache.agents(), problems(&cache)), (Agents::default(), &[] as &[Problem]));
}
