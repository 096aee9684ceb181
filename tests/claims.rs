//! Claims that cannot all be true, and events that come late: case by case what the model makes of them.
//! `workloads.rs` plays such events at random.

#[path = "common/cluster.rs"]
#[expect(dead_code, reason = "what the other tests of the model need")]
mod cluster;

use std::sync::{Arc, LazyLock};

use cluster::{dynamic, gpu, key, live, model, node, placed, placement, pod, pool, report, shared, want};
use tangram::cache::{BindError, Cache, Event, Outcome};
use tangram::mig::Catalog;
use tangram::model::{
    GpuHealth, GpuReport, InstanceReport, Knowledge, Node, NodeFacts, Placement, Pod, Policy, Problem,
};
use tangram::solver::{Refusal, Scores};

fn new_cache(pods_max: usize) -> Cache {
    static SCORES: LazyLock<Arc<Scores>> = LazyLock::new(|| shared(Scores::prior()));
    Cache::new(SCORES.clone(), Policy::Pack, pods_max)
}

/// A cache with one node `n` of A100s, and these pods.
fn a100(gpus: u16, pods: Vec<Pod>) -> Cache {
    let mut cache = new_cache(100);
    cache.apply(Event::NodeApplied(shared(dynamic("n", model("a100-80gb"), 0..gpus))));
    for pod in pods {
        assert_eq!(cache.apply(Event::PodApplied(shared(pod))), Outcome::Changed);
    }
    cache
}

fn the_node(cache: &Cache) -> &Node {
    cache.cluster().get("n").expect("it was applied")
}

fn bind(cache: &mut Cache, name: &str, profile: &str) -> Outcome {
    cache.apply(Event::PodSeen(shared(pod(name, &[want(profile)]))));
    cache.apply(Event::Bind { pod: key(name), uid: "".into(), node: "n".into() })
}

/// Memory slices in use on a GPU, bit 0 = slice 0; `None` when it is closed.
fn mask(cache: &Cache, gpu: usize) -> Option<u16> {
    let (model, state) = Catalog::get().state(the_node(cache).gpus[gpu].occupancy)?;
    Some(Catalog::get().geometry(model).mask(state))
}

fn holders(cache: &Cache, gpu: usize) -> Vec<(u8, String, Knowledge)> {
    let holder = |instance: &tangram::model::Instance| {
        let pod = instance.pod.as_ref().map_or("nobody", |pod| &pod.name);
        (instance.start, pod.to_owned(), instance.knowledge)
    };
    the_node(cache).gpus[gpu].instances.iter().map(holder).collect()
}

#[test]
fn two_annotations_for_one_memory_slice_close_the_gpu_and_free_nothing() {
    let mut cache =
        a100(1, vec![placed("first", "n", &[(0, "3g.40gb", 0)]), placed("liar", "n", &[(0, "2g.20gb", 2)])]);
    let conflict =
        Problem::Conflict { gpu: 0, profile: cluster::name("2g.20gb"), start: 2, pod: "test/liar".into() };
    assert_eq!(the_node(&cache).problems, [conflict]);
    assert_eq!(mask(&cache, 0), None);
    let known = |start, pod: &str| (start, pod.to_owned(), Knowledge::Known);
    assert_eq!(holders(&cache, 0), [known(0, "first"), known(2, "liar")]);
    let refusal = BindError::DoesNotFit { pod: key("new"), node: "n".into(), refusal: Refusal::Closed };
    assert_eq!(bind(&mut cache, "new", "1g.10gb"), Outcome::NotBound(refusal));

    // Without the liar everything is as if it had never been there.
    assert_eq!(cache.apply(Event::PodDeleted(key("liar"))), Outcome::Changed);
    assert_eq!((mask(&cache, 0), holders(&cache, 0)), (Some(0b1111), vec![known(0, "first")]));
    assert_eq!(the_node(&cache).problems, []);
}

#[test]
fn two_pods_that_claim_the_same_instance_close_the_gpu() {
    let cache = a100(2, vec![placed("a", "n", &[(1, "1g.10gb", 4)]), placed("b", "n", &[(1, "1g.10gb", 4)])]);
    let conflict =
        Problem::Conflict { gpu: 1, profile: cluster::name("1g.10gb"), start: 4, pod: "test/b".into() };
    assert_eq!(the_node(&cache).problems, [conflict]);
    assert_eq!((mask(&cache, 0), mask(&cache, 1)), (Some(0), None));
}

#[test]
fn more_instances_of_a_profile_than_there_may_be_close_the_gpu() {
    let cache =
        a100(1, vec![placed("a", "n", &[(0, "1g.10gb+me", 0)]), placed("b", "n", &[(0, "1g.10gb+me", 1)])]);
    let conflict =
        Problem::Conflict { gpu: 0, profile: cluster::name("1g.10gb+me"), start: 1, pod: "test/b".into() };
    assert_eq!(the_node(&cache).problems, [conflict]);
    assert_eq!(mask(&cache, 0), None);
}

/// A pod with an annotation that is not believed stands where the driver would have put it, and the problem
/// says why.
fn check_lie(liar: Pod, why: &str) {
    let honest = placed("honest", "n", &[(0, "1g.10gb", 6)]);
    let cache = a100(1, vec![honest, liar]);
    let lie = Problem::Lie { pod: key("liar"), why: why.to_owned() };
    assert_eq!(the_node(&cache).problems, [lie]);
    let of_honest = (6, "honest".to_owned(), Knowledge::Known);
    let of_liar = holders(&cache, 0);
    assert!(of_liar.contains(&of_honest), "{of_liar:?}");
    assert_eq!(of_liar.len(), 2, "{of_liar:?}");
    assert!(
        of_liar.iter().any(|(_, pod, knowledge)| pod == "liar" && *knowledge == Knowledge::Assumed),
        "{of_liar:?}"
    );
    assert_ne!(of_liar[0].0, of_liar[1].0, "one memory slice each, and not the same");
}

fn liar(devices: &[(u16, &str, u8)]) -> Pod {
    pod("liar", &[want("1g.10gb")]).bound_to("n".into(), placement(devices))
}

#[test]
fn an_annotation_with_a_gpu_that_does_not_exist_is_not_believed() {
    check_lie(liar(&[(7, "1g.10gb", 0)]), "the node has no dynamic GPU 7");
}

#[test]
fn an_annotation_with_another_profile_than_asked_is_not_believed() {
    check_lie(liar(&[(0, "3g.40gb", 0)]), "3g.40gb is not the 1g.10gb that the pod asks for");
}

#[test]
fn an_annotation_with_a_profile_of_another_model_is_not_believed() {
    check_lie(liar(&[(0, "1g.6gb", 0)]), "GPU 0 has no profile 1g.6gb");
}

#[test]
fn an_annotation_with_a_start_that_no_driver_offers_is_not_believed() {
    check_lie(liar(&[(0, "1g.10gb", 7)]), "1g.10gb cannot start at 7");
}

#[test]
fn an_annotation_with_too_few_or_too_many_devices_is_not_believed() {
    check_lie(liar(&[]), "it names 0 devices, the pod asks for 1");
    check_lie(liar(&[(0, "1g.10gb", 0), (0, "1g.10gb", 1)]), "it names 2 devices, the pod asks for 1");
}

#[test]
fn an_annotation_that_cannot_be_read_is_not_believed() {
    let unreadable = Pod { unreadable_placement: Some("version 9".into()), placement: None, ..liar(&[]) };
    check_lie(unreadable, "version 9");
}

#[test]
fn an_annotation_with_one_bad_device_holds_none_of_its_places() {
    let asks = pod("liar", &[want("1g.10gb"), want("1g.10gb")]);
    let cache = a100(1, vec![asks.bound_to("n".into(), placement(&[(0, "1g.10gb", 0), (0, "1g.10gb", 7)]))]);
    let assumed = |start| (start, "liar".to_owned(), Knowledge::Assumed);
    assert_eq!(holders(&cache, 0), [assumed(4), assumed(6)]);
}

#[test]
fn a_pod_that_fits_on_no_gpu_closes_them_all() {
    let nowhere = pod("nowhere", &[want("3g.40gb")]).bound_to("n".into(), placement(&[]));
    let nowhere = Pod { placement: None, ..nowhere };
    let mut cache = a100(
        2,
        vec![
            placed("a", "n", &[(0, "7g.80gb", 0)]),
            placed("b", "n", &[(1, "1g.10gb", 3), (1, "1g.10gb", 4)]),
            nowhere,
        ],
    );
    let unplaced = Problem::Unplaced { pod: key("nowhere"), want: "3g.40gb".into() };
    assert_eq!(the_node(&cache).problems, [unplaced]);
    assert_eq!((mask(&cache, 0), mask(&cache, 1)), (None, None));
    cache.apply(Event::PodDeleted(key("nowhere")));
    assert_eq!((mask(&cache, 0), mask(&cache, 1)), (Some(0xFF), Some(0b1_1000)));
}

#[test]
fn a_live_instance_that_the_table_does_not_have_closes_the_gpu() {
    let mut cache = a100(1, vec![]);
    let reported = report(vec![gpu(0, model("a100-80gb"), vec![live("1g.11gb", 0, None)])]);
    cache.apply(Event::Report("n".into(), Some(shared(reported))));
    let unknown = Problem::UnknownInstance { gpu: 0, profile: cluster::name("1g.11gb"), start: 0 };
    assert_eq!(the_node(&cache).problems, [unknown]);
    assert_eq!(mask(&cache, 0), None);
    cache.apply(Event::Report("n".into(), None));
    assert_eq!((mask(&cache, 0), the_node(&cache).problems.len()), (Some(0), 0));
}

#[test]
fn live_instances_on_one_memory_slice_close_the_gpu() {
    let mut cache = a100(1, vec![]);
    let instances = vec![live("3g.40gb", 4, None), live("1g.10gb", 6, Some("p"))];
    cache.apply(Event::Report("n".into(), Some(shared(report(vec![gpu(0, model("a100-80gb"), instances)])))));
    let conflict =
        Problem::Conflict { gpu: 0, profile: cluster::name("1g.10gb"), start: 6, pod: "test/p".into() };
    assert_eq!(the_node(&cache).problems, [conflict]);
    assert_eq!(mask(&cache, 0), None);
}

#[test]
fn an_annotation_that_overlaps_a_live_instance_of_another_pod_closes_the_gpu() {
    let mut cache = a100(1, vec![placed("liar", "n", &[(0, "1g.20gb", 4)])]);
    let instances = vec![live("3g.40gb", 4, Some("owner"))];
    cache.apply(Event::Report("n".into(), Some(shared(report(vec![gpu(0, model("a100-80gb"), instances)])))));
    let conflict =
        Problem::Conflict { gpu: 0, profile: cluster::name("1g.20gb"), start: 4, pod: "test/liar".into() };
    assert_eq!(the_node(&cache).problems, [conflict]);
    assert_eq!(mask(&cache, 0), None);
}

#[test]
fn an_annotation_that_agrees_with_the_live_instance_is_counted_once() {
    let mut cache = a100(1, vec![placed("p", "n", &[(0, "3g.40gb", 4)])]);
    for holder in [None, Some("p")] {
        let reported = report(vec![gpu(0, model("a100-80gb"), vec![live("3g.40gb", 4, holder)])]);
        cache.apply(Event::Report("n".into(), Some(shared(reported))));
        assert_eq!((mask(&cache, 0), the_node(&cache).problems.len()), (Some(0xF0), 0));
        assert_eq!(holders(&cache, 0), [(4, "p".to_owned(), Knowledge::Known)]);
    }
}

#[test]
fn an_unhealthy_gpu_keeps_its_instances_and_takes_no_more_until_it_is_well() {
    let mut cache = a100(1, vec![placed("p", "n", &[(0, "3g.40gb", 4)])]);
    let sick = GpuHealth::Unhealthy("XID 79".into());
    let reported =
        report(vec![tangram::model::GpuFacts { health: sick, ..gpu(0, model("a100-80gb"), vec![]) }]);
    cache.apply(Event::Report("n".into(), Some(shared(reported))));
    assert_eq!(the_node(&cache).problems, [Problem::Unhealthy { gpu: 0, why: "XID 79".into() }]);
    assert_eq!((mask(&cache, 0), holders(&cache, 0).len()), (None, 1));
    cache.apply(Event::Report("n".into(), Some(shared(report(vec![gpu(0, model("a100-80gb"), vec![])])))));
    assert_eq!((mask(&cache, 0), the_node(&cache).problems.len()), (Some(0xF0), 0));
}

#[test]
fn pods_with_more_devices_than_the_node_offers_are_shown_and_leave_none_to_bind() {
    let mut cache = new_cache(10);
    let facts = NodeFacts { pools: vec![pool("nvidia.com/gpu", 3)], ..node("n") };
    cache.apply(Event::NodeApplied(shared(facts)));
    let with = |name: &str, resource: &str, count| {
        let mut pod = pod(name, &[]);
        pod.request.counted = vec![(resource.into(), count)];
        pod
    };
    for (name, resource) in [("a", "nvidia.com/gpu"), ("b", "nvidia.com/gpu"), ("c", "amd.com/gpu")] {
        let bound = with(name, resource, 2).bound_to("n".into(), Placement::default());
        cache.apply(Event::PodApplied(shared(bound)));
    }
    let over =
        |resource: &str, used, capacity| Problem::Overcommitted { resource: resource.into(), used, capacity };
    let mut problems = the_node(&cache).problems.clone();
    problems.sort();
    assert_eq!(problems, [over("amd.com/gpu", 2, 0), over("nvidia.com/gpu", 4, 3)]);
    cache.apply(Event::PodSeen(shared(with("new", "nvidia.com/gpu", 1))));
    let outcome = cache.apply(Event::Bind { pod: key("new"), uid: "".into(), node: "n".into() });
    let refusal = Refusal::InUse { resource: "nvidia.com/gpu".into() };
    assert_eq!(
        outcome,
        Outcome::NotBound(BindError::DoesNotFit { pod: key("new"), node: "n".into(), refusal })
    );
}

#[test]
fn a_pod_bound_to_a_node_that_comes_later_is_there_when_the_node_is() {
    let mut cache = new_cache(10);
    cache.apply(Event::PodApplied(shared(placed("early", "n", &[(0, "3g.40gb", 0)]))));
    cache.apply(Event::NodeApplied(shared(dynamic("n", model("a100-80gb"), [0]))));
    assert_eq!(mask(&cache, 0), Some(0b1111));
    // The node goes and comes back, as after a relist: the pod still holds its place.
    cache.apply(Event::NodeDeleted("n".into()));
    cache.apply(Event::NodeApplied(shared(dynamic("n", model("a100-80gb"), [0, 1]))));
    assert_eq!((mask(&cache, 0), mask(&cache, 1)), (Some(0b1111), Some(0)));
    assert_eq!(cache.apply(Event::PodDeleted(key("early"))), Outcome::Changed);
    assert_eq!(cache.apply(Event::PodDeleted(key("early"))), Outcome::Unchanged);
    assert_eq!(mask(&cache, 0), Some(0));
}

#[test]
fn a_pod_of_which_nobody_says_where_it_is_is_where_the_driver_would_have_put_it() {
    for (profile, start, used) in [
        ("1g.10gb", 6, 0b100_0000),
        ("1g.20gb", 6, 0b1100_0000),
        ("2g.20gb", 4, 0b11_0000),
        ("3g.40gb", 4, 0b1111_0000),
    ] {
        let bound = Pod { node: Some("n".into()), ..pod("p", &[want(profile)]) };
        let cache = a100(2, vec![bound]);
        assert_eq!(holders(&cache, 0), [(start, "p".to_owned(), Knowledge::Assumed)], "{profile}");
        assert_eq!((mask(&cache, 0), mask(&cache, 1)), (Some(used), Some(0)));
        assert_eq!(the_node(&cache).problems, []);
    }
}

#[test]
fn a_pod_of_which_nobody_says_where_it_is_has_the_free_instance_of_its_kind() {
    let bound = |name: &str, profile| Pod { node: Some("n".into()), ..pod(name, &[want(profile)]) };
    let mut cache = a100(1, vec![bound("p", "3g.40gb"), bound("q", "1g.10gb")]);
    let instances = vec![live("3g.40gb", 0, None), live("1g.10gb", 5, Some("r"))];
    cache.apply(Event::Report("n".into(), Some(shared(report(vec![gpu(0, model("a100-80gb"), instances)])))));
    let assumed = |start, pod: &str| (start, pod.to_owned(), Knowledge::Assumed);
    let known = (5, "r".to_owned(), Knowledge::Known);
    assert_eq!(holders(&cache, 0), [assumed(0, "p"), known, assumed(6, "q")]);
}

#[test]
fn what_the_scheduler_wants_is_held_before_it_exists() {
    let mut cache = a100(1, vec![]);
    let wanted = InstanceReport { uuid: None, ..live("3g.40gb", 4, Some("p")) };
    let report = GpuReport { wanted: vec![(0, wanted)], ..report(vec![gpu(0, model("a100-80gb"), vec![])]) };
    cache.apply(Event::Report("n".into(), Some(shared(report))));
    assert_eq!(holders(&cache, 0), [(4, "p".to_owned(), Knowledge::Known)]);
    assert_eq!(mask(&cache, 0), Some(0xF0));
}

#[test]
fn an_annotation_that_names_one_place_twice_is_not_believed() {
    let twice = [(0, "1g.10gb", 0), (0, "1g.10gb", 0)];
    let mut cache = a100(1, vec![placed("liar", "n", &twice)]);
    let lie = Problem::Lie { pod: key("liar"), why: "it names one place twice".to_owned() };
    assert_eq!(the_node(&cache).problems, [lie]);
    assert_eq!(holders(&cache, 0).len(), 2, "it holds two devices, wherever they are");
    cache.apply(Event::PodDeleted(key("liar")));
    assert_eq!(mask(&cache, 0), Some(0));
}

#[test]
fn a_live_instance_that_names_its_pod_is_where_the_pod_is() {
    let bound = Pod { placement: None, ..placed("p", "n", &[(0, "7g.80gb", 0)]) };
    let mut cache = a100(1, vec![bound]);
    let reported = report(vec![gpu(0, model("a100-80gb"), vec![live("7g.80gb", 0, Some("p"))])]);
    cache.apply(Event::Report("n".into(), Some(shared(reported))));
    assert_eq!(holders(&cache, 0), [(0, "p".to_owned(), Knowledge::Known)]);
    assert_eq!((mask(&cache, 0), the_node(&cache).problems.len()), (Some(0xFF), 0));
}

#[test]
fn where_the_agent_finds_a_pod_elsewhere_both_places_are_held_and_it_is_told() {
    let mut cache = a100(1, vec![placed("p", "n", &[(0, "2g.20gb", 0)])]);
    let reported = report(vec![gpu(0, model("a100-80gb"), vec![live("2g.20gb", 4, Some("p"))])]);
    cache.apply(Event::Report("n".into(), Some(shared(reported))));
    assert!(
        matches!(the_node(&cache).problems[..], [Problem::Lie { .. }]),
        "{:?}",
        the_node(&cache).problems
    );
    assert_eq!((mask(&cache, 0), holders(&cache, 0).len()), (Some(0b11_0011), 2));
}

#[test]
fn a_stale_report_of_a_pods_earlier_life_does_not_free_what_its_bind_holds() {
    // Deleted and created again, as by a StatefulSet, before the agent takes the old instance away.
    let mut cache = a100(1, vec![]);
    let stale = report(vec![gpu(0, model("a100-80gb"), vec![live("3g.40gb", 0, Some("web-0"))])]);
    cache.apply(Event::Report("n".into(), Some(shared(stale))));
    let Outcome::Bound(given) = bind(&mut cache, "web-0", "3g.40gb") else { unreachable!("there is room") };
    assert_eq!(given.devices[0].start, 4);
    let full = Refusal::Full { want: "3g.40gb".into() };
    let refusal = BindError::DoesNotFit { pod: key("other"), node: "n".into(), refusal: full };
    assert_eq!(bind(&mut cache, "other", "3g.40gb"), Outcome::NotBound(refusal));
}

#[test]
fn a_live_instance_at_a_start_that_the_table_does_not_have_closes_the_gpu() {
    for (profile, start) in [("3g.40gb", 2), ("7g.80gb", 4), ("1g.10gb", 255)] {
        let mut cache = a100(1, vec![]);
        let reported = report(vec![gpu(0, model("a100-80gb"), vec![live(profile, start, None)])]);
        cache.apply(Event::Report("n".into(), Some(shared(reported))));
        let unknown = Problem::UnknownInstance { gpu: 0, profile: cluster::name(profile), start };
        assert_eq!(the_node(&cache).problems, [unknown]);
        assert_eq!(mask(&cache, 0), None);
    }
}

#[test]
fn a_late_event_of_a_pending_pod_does_not_free_what_its_bind_holds() {
    let mut cache = a100(1, vec![pod("p", &[want("3g.40gb")])]);
    assert!(matches!(bind(&mut cache, "p", "3g.40gb"), Outcome::Bound(_)));
    let shown = |cache: &Cache| format!("{:?} {:?}", the_node(cache), cache.pods().collect::<Vec<_>>());
    let bound = shown(&cache);
    // As it was before the bind; and bound, but as it was before its annotation was seen.
    let pending = pod("p", &[want("3g.40gb")]);
    let without_places = Pod { node: Some("n".into()), ..pending.clone() };
    for late in [pending, without_places] {
        for _ in 0..2 {
            assert_eq!(cache.apply(Event::PodApplied(shared(late.clone()))), Outcome::Unchanged);
            assert_eq!((mask(&cache, 0), shown(&cache)), (Some(0xF0), bound.clone()));
        }
    }
}

#[test]
fn a_filter_request_binds_nobody_whatever_node_and_places_it_names() {
    let mut cache = a100(1, vec![]);
    cache.apply(Event::PodSeen(shared(placed("liar", "n", &[(0, "7g.80gb", 0)]))));
    assert_eq!((mask(&cache, 0), the_node(&cache).pods.len()), (Some(0), 0));
    assert_eq!(cache.pods().map(|pod| pod.node.clone()).collect::<Vec<_>>(), [None]);
}

#[test]
fn an_older_report_does_not_replace_a_newer_one_but_one_after_its_end_does() {
    let numbered = |sequence, instances| {
        let report = GpuReport { sequence, ..report(vec![gpu(0, model("a100-80gb"), instances)]) };
        Event::Report("n".into(), Some(shared(report)))
    };
    let mut cache = a100(1, vec![]);
    assert_eq!(cache.apply(numbered(8, vec![live("3g.40gb", 0, None)])), Outcome::Changed);
    assert_eq!(cache.apply(numbered(7, vec![])), Outcome::Unchanged);
    assert_eq!(mask(&cache, 0), Some(0b1111));
    cache.apply(Event::Report("n".into(), None));
    assert_eq!(cache.apply(numbered(7, vec![])), Outcome::Changed);
    assert_eq!(mask(&cache, 0), Some(0));
}

#[test]
fn a_pod_created_again_under_its_name_is_another_pod() {
    let mut cache = a100(1, vec![]);
    assert!(matches!(bind(&mut cache, "p", "3g.40gb"), Outcome::Bound(_)));
    let reborn = Pod { uid: "second-life".into(), ..pod("p", &[want("1g.10gb")]) };
    assert_eq!(cache.apply(Event::PodSeen(shared(reborn.clone()))), Outcome::Unchanged);
    assert_eq!(mask(&cache, 0), Some(0b1111_0000), "a filter request frees nothing");
    let second = || Event::Bind { pod: key("p"), uid: "second-life".into(), node: "n".into() };
    let (known, asked) = ("uid-of-p".into(), "second-life".into());
    let wrong = BindError::WrongUid { pod: key("p"), known, asked };
    assert_eq!(cache.apply(second()), Outcome::NotBound(wrong));
    assert_eq!(cache.apply(Event::PodDeleted(key("p"))), Outcome::Changed);
    assert_eq!(cache.apply(Event::PodSeen(shared(reborn))), Outcome::Changed);
    assert!(matches!(cache.apply(second()), Outcome::Bound(_)));
}
