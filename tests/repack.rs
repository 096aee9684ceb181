//! Repack plans: against a search over everything that pods can do, replayed by rules written from the MIG table, and
//! every rule of what may move.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/cluster.rs"]
#[expect(dead_code, reason = "what the other tests of the model need")]
mod cluster;
#[path = "common/command.rs"]
mod command;
#[path = "common/http.rs"]
mod http;
#[path = "repack/interfaces.rs"]
mod interfaces;
#[path = "repack/world.rs"]
#[expect(dead_code, reason = "what the test of plans that are carried out needs")]
mod world;

use std::sync::Arc;

use cluster::{pod, shared, want};
use tangram::model::{Expression, Operator, Pinned, Pod};
use tangram::repack::{Allowance, Ask, Budget, Goal, Limits, Plan, repack};
use tangram::solver::Scores;
use tangram::solver::exact::Effort;
use world::{World, names, stay};

fn plan(world: &World, goal: &Goal, limits: &Limits, budgets: &[Budget], effort: Option<Effort>) -> Plan {
    let ask = Ask { goal, limits, budgets, effort };
    repack(&world.cluster(), &Scores::prior(), &ask).unwrap()
}

fn exact(world: &World, goal: &Goal) -> Plan {
    plan(world, goal, &Limits::default(), &[], Some(Effort::seconds(5.0)))
}

fn room(profiles: &[&str], is_gang: bool) -> Goal {
    let pods = profiles.iter().enumerate();
    let pods = pods.map(|(number, profile)| shared(pod(&format!("waiting-{number}"), &[want(profile)])));
    Goal::Room { pods: pods.collect(), is_gang }
}

fn waiting(goal: &Goal) -> &[Arc<Pod>] {
    if let Goal::Room { pods, .. } = goal { pods } else { &[] }
}

#[test]
fn gpus_are_freed_by_the_least_memory_that_any_order_of_moves_needs() {
    let (mut least_of_all, mut reached) = (0, 0);
    for seed in 0..120 {
        let world = World::random("a30-24gb", &[2, 1], 6, 8, seed);
        let found = exact(&world, &Goal::Gpus(1));
        let empty = world.replay(&found, &[]);
        let least = world.least_for_gpus(1);
        assert_eq!(found.is_reached, empty > world.empty_before(), "seed {seed}");
        if let Some(least) = least {
            assert!(found.is_reached, "seed {seed}: {least} MiB are enough");
            assert!(
                found.proof.bound <= least && least <= found.proof.cost,
                "seed {seed}: {:?}",
                found.proof
            );
            reached += 1;
            least_of_all += usize::from(least == found.proof.cost);
        } else {
            assert!(!found.is_reached, "seed {seed}");
        }
    }
    assert!(reached > 40 && least_of_all == reached, "{least_of_all} of {reached}");
}

#[test]
fn room_is_made_by_the_least_memory_that_any_order_of_moves_needs() {
    let (mut least_of_all, mut reached) = (0, 0);
    for seed in 0..120 {
        let world = World::random("a30-24gb", &[2, 1], 7, 8, seed);
        let profile = ["2g.12gb", "4g.24gb"][usize::from(seed % 3 == 0)];
        let goal = room(&[profile], false);
        let found = exact(&world, &goal);
        world.replay(&found, waiting(&goal));
        match world.least_for_room(profile) {
            Some(least) => {
                assert!(found.is_reached, "seed {seed}: {least} MiB are enough");
                assert!(found.proof.bound <= least && least <= found.proof.cost, "seed {seed}: {found:?}");
                reached += 1;
                least_of_all += usize::from(least == found.proof.cost);
            }
            None => assert!(!found.is_reached, "seed {seed}"),
        }
    }
    assert!(reached > 40 && least_of_all == reached, "{least_of_all} of {reached}");
}

#[test]
fn no_plan_leaves_a_pod_without_its_place_or_moves_what_must_stay() {
    let goals = [
        Goal::Gpus(1),
        Goal::Gpus(3),
        Goal::Nodes(1),
        Goal::Stranded(0),
        Goal::Lost(1.5),
        room(&["7g.80gb", "3g.40gb"], false),
        room(&["4g.40gb", "4g.40gb", "1g.20gb"], true),
    ];
    let (mut reached, mut moves) = (0, 0);
    for seed in 0..12 {
        let world = World::random("a100-80gb", &[2, 3], 10 + usize::try_from(seed % 4).unwrap(), 9, seed);
        for goal in &goals {
            for effort in [None, Some(Effort::seconds(0.5))] {
                let all = Allowance { moves: Some(6), memory_mib: None };
                let limits = Limits { all, ..Limits::default() };
                let found = plan(&world, goal, &limits, &[], effort);
                let empty = world.replay(&found, waiting(goal));
                assert!(found.steps.len() <= 6);
                assert_eq!(usize::try_from(found.after.empty_gpus).unwrap(), empty);
                if let (Goal::Gpus(more), true) = (goal, found.is_reached) {
                    assert!(empty >= world.empty_before() + usize::try_from(*more).unwrap());
                }
                if let Goal::Room { is_gang: true, .. } = goal {
                    assert!(found.is_reached || found.steps.is_empty(), "a gang in part is worth nothing");
                }
                reached += usize::from(found.is_reached);
                moves += found.steps.len();
            }
        }
    }
    assert!(reached > 30 && moves > 90, "{reached} reached with {moves} moves");
}

/// One small pod on GPU 0 beside room on GPU 1, which another holds in part.
fn pair() -> World {
    World::new("a100-80gb", &[2]).with("stays", 0, &[(1, "4g.40gb", 0)]).with("goes", 0, &[(0, "1g.10gb", 3)])
}

/// What is done to a pod.
type Change = fn(&mut Pod);

#[test]
fn each_rule_of_what_may_move_keeps_its_pod_and_says_so() {
    let free = exact(&pair(), &Goal::Gpus(1));
    assert_eq!((free.is_reached, names(&free)), (true, vec!["goes".to_owned()]));
    assert_eq!((free.proof.cost, free.proof.bound), (10_240, 10_240));
    let forbidden = Pinned::Forbidden { key: "tangram.gpu/movable", value: "false" };
    let rules: [(Change, &str); 6] = [
        (|pod| pod.mobility.pinned = Some(Pinned::Alone), "no controller would make it anew"),
        (
            |pod| pod.mobility.pinned = Some(Pinned::DaemonSet),
            "its DaemonSet would make it anew on the same node",
        ),
        (|pod| pod.mobility.pinned = Some(Pinned::Static), "it is a static pod of its node"),
        (|pod| pod.is_terminating = true, "it is being deleted"),
        (
            |pod| pod.demand.has_unmodelled = true,
            "its volumes, pod affinity or spread constraints are not modelled",
        ),
        (|pod| pod.priority = 11, "its priority is 11"),
    ];
    let limits = Limits { priority_max: Some(10), ..Limits::default() };
    let keep = |change: &dyn Fn(&mut Pod), budgets: &[Budget]| {
        let mut world = pair().where_it(change);
        world.pods[0].mobility.pinned = Some(Pinned::Alone);
        let found = plan(&world, &Goal::Gpus(1), &limits, budgets, Some(Effort::seconds(5.0)));
        assert_eq!((found.is_reached, found.steps.len()), (false, 0));
        assert!(found.is_impossible);
        stay(&found, "goes").unwrap()
    };
    for (change, words) in rules {
        assert_eq!(keep(&change, &[]), words);
    }
    let by_annotation = |pod: &mut Pod| pod.mobility.pinned = Some(forbidden.clone());
    assert_eq!(keep(&by_annotation, &[]), "tangram.gpu/movable: \"false\" forbids it");
    let labelled = |pod: &mut Pod| {
        pod.mobility.labels.insert("app".into(), "web".into());
    };
    let budget = |name: &str, namespace: &str, value: &str, allowed| Budget {
        namespace: namespace.into(),
        name: name.into(),
        selector: vec![Expression {
            key: Some("app".into()),
            operator: Operator::In,
            values: vec![value.into()],
        }],
        allowed,
    };
    let words = "PodDisruptionBudget web allows no eviction";
    assert_eq!(keep(&labelled, &[budget("web", "test", "web", 0)]), words);
    let two = [budget("web", "test", "web", 1), budget("all", "test", "web", 1)];
    let words = "several PodDisruptionBudgets cover it, and the API server evicts no such pod";
    assert_eq!(keep(&labelled, &two), words);
    let others =
        [budget("web", "other", "web", 0), budget("db", "test", "db", 0), budget("one", "test", "web", 1)];
    let found = plan(&pair().where_it(labelled), &Goal::Gpus(1), &Limits::default(), &others, None);
    assert!(found.is_reached, "a budget of others, and one that allows an eviction");
}

#[test]
fn budgets_of_moves_and_of_memory_hold_in_all_and_in_each_namespace() {
    let world = pair().with("more", 0, &[(0, "2g.20gb", 0)]);
    let moved = |limits: &Limits| {
        let found = plan(&world, &Goal::Gpus(1), limits, &[], Some(Effort::seconds(5.0)));
        world.replay(&found, &[]);
        (found.is_reached, found.steps.len(), found.proof.cost)
    };
    let within = |moves, memory_mib| Allowance { moves, memory_mib };
    let enough = (true, 2, 30_720);
    let nothing = (false, 0, 0);
    for (allowance, expected) in [
        (within(None, None), enough),
        (within(Some(2), Some(30_720)), enough),
        (within(Some(1), None), nothing),
        (within(None, Some(30_719)), nothing),
        (within(Some(0), None), nothing),
    ] {
        assert_eq!(moved(&Limits { all: allowance, ..Limits::default() }), expected, "{allowance:?}");
        assert_eq!(moved(&Limits { per_namespace: allowance, ..Limits::default() }), expected);
    }
    let mut apart = world.clone();
    apart.pods[1].key.namespace = "elsewhere".into();
    let limits = Limits { per_namespace: within(Some(1), None), ..Limits::default() };
    assert!(
        plan(&apart, &Goal::Gpus(1), &limits, &[], None).is_reached,
        "one move in each of two namespaces"
    );
}

#[test]
fn what_moves_goes_where_cpu_selectors_and_taints_let_it() {
    let base = || {
        World::new("a100-80gb", &[1, 1, 1])
            .with("a", 1, &[(0, "4g.40gb", 0)])
            .with("b", 2, &[(0, "4g.40gb", 0)])
            .with("goes", 0, &[(0, "1g.10gb", 3)])
    };
    let goal = Goal::Gpus(1);
    let to = |world: &World, change: &dyn Fn(&mut tangram::model::NodeFacts)| {
        let mut cluster = world.cluster();
        let node = cluster.get("n1").unwrap().clone();
        let mut facts = tangram::model::NodeFacts::clone(&node.facts);
        change(&mut facts);
        cluster.put(shared(tangram::model::Node::new(shared(facts), None, node.pods.clone())));
        let limits = Limits::default();
        let ask = Ask { goal: &goal, limits: &limits, budgets: &[], effort: Some(Effort::seconds(5.0)) };
        let found = repack(&cluster, &Scores::prior(), &ask).unwrap();
        assert_eq!((found.is_reached, found.steps.len()), (true, 1));
        found.steps[0].to.node.to_string()
    };
    assert_eq!(to(&base(), &|_| ()), "n1", "first by name");
    assert_eq!(to(&base(), &|facts| facts.is_unschedulable = true), "n2");
    let hungry = base().where_it(|pod| pod.demand.resources.cpu_milli = 500);
    let rich = |facts: &mut tangram::model::NodeFacts| facts.allocatable.cpu_milli = 500;
    assert_eq!(to(&hungry, &rich), "n1", "the only one with CPU");
    let choosy = base().where_it(|pod| pod.demand.node_selector.push(("zone".into(), "b".into())));
    let in_zone = |facts: &mut tangram::model::NodeFacts| {
        facts.labels.insert("zone".into(), "b".into());
    };
    assert_eq!(to(&choosy, &in_zone), "n1");
}

#[test]
fn a_pod_leaves_its_half_only_after_the_other_half_is_clear() {
    // A 4g starts at 0 alone. The 3g that stands there fits on the other half once the 1g has left.
    let world = World::new("a100-80gb", &[2])
        .with("half", 0, &[(0, "3g.40gb", 0)])
        .with("small", 0, &[(0, "1g.10gb", 4)])
        .with("pinned", 0, &[(1, "7g.80gb", 0)])
        .where_it(|pod| pod.mobility.pinned = Some(Pinned::Alone));
    let goal = room(&["4g.40gb"], false);
    let found = exact(&world, &goal);
    assert!(!found.is_reached && found.is_impossible, "the 1g has nowhere to go");
    assert_eq!(stay(&found, "pinned").unwrap(), "no controller would make it anew");
    let mut world = world;
    world.pods.pop();
    let world = world
        .with("pinned", 0, &[(1, "3g.40gb", 4)])
        .where_it(|pod| pod.mobility.pinned = Some(Pinned::Alone))
        .with("also", 0, &[(1, "1g.20gb", 2)])
        .where_it(|pod| pod.mobility.pinned = Some(Pinned::Alone));
    let found = exact(&world, &goal);
    world.replay(&found, waiting(&goal));
    assert_eq!((found.is_reached, names(&found)), (true, vec!["small".to_owned(), "half".to_owned()]));
    assert_eq!((found.proof.cost, found.proof.bound), (51_200, 51_200));
}

#[test]
fn a_node_is_freed_of_whole_gpus_and_gpu_instances() {
    let mut world = World::new("a100-80gb", &[1, 1]).with("a", 0, &[(0, "1g.10gb", 0)]);
    world = world.with("b", 1, &[(0, "2g.20gb", 0)]);
    let found = exact(&world, &Goal::Nodes(1));
    assert_eq!((found.is_reached, names(&found)), (true, vec!["a".to_owned()]));
    assert_eq!((found.before.empty_nodes, found.after.empty_nodes, found.before.nodes), (0, 1, 2));
    let mut cluster = tangram::model::Cluster::default();
    for (name, count) in [("g0", 1), ("g1", 2), ("g2", 8)] {
        let facts = tangram::model::NodeFacts {
            pools: vec![cluster::pool("nvidia.com/gpu", 8)],
            ..cluster::node(name)
        };
        let mut holder = pod(&format!("on-{name}"), &[]);
        holder.request.counted = vec![("nvidia.com/gpu".into(), count)];
        let holder = holder.bound_to(name.into(), tangram::model::Placement::default());
        cluster.put(shared(tangram::model::Node::new(shared(facts), None, vec![shared(holder)])));
    }
    let limits = Limits::default();
    let ask = Ask { goal: &Goal::Nodes(1), limits: &limits, budgets: &[], effort: None };
    let found = repack(&cluster, &Scores::prior(), &ask).unwrap();
    assert_eq!((found.is_reached, names(&found)), (true, vec!["on-g0".to_owned()]));
    assert_eq!(&*found.steps[0].to.node, "g1");
    assert_eq!((found.proof.cost, found.proof.bound), (81_920, 81_920));
}

#[test]
fn less_is_stranded_after_pods_stand_where_they_leave_more() {
    // A 1g in the middle of a half of each GPU.
    let world = World::new("a100-80gb", &[3])
        .with("a", 0, &[(0, "1g.10gb", 1)])
        .with("b", 0, &[(1, "1g.10gb", 1)])
        .with("c", 0, &[(2, "1g.10gb", 1)]);
    let before = exact(&world, &Goal::Lost(1000.0));
    assert!(before.is_reached && before.steps.is_empty());
    let half = Goal::Lost(before.before.lost / 2.0);
    let found = exact(&world, &half);
    world.replay(&found, &[]);
    assert!(found.is_reached, "{} of {}", found.after.lost, found.before.lost);
    assert!(found.after.lost <= before.before.lost / 2.0);
    assert!(!exact(&world, &Goal::Lost(0.0)).is_reached || found.after.lost <= 0.0);
}
