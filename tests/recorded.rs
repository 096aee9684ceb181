//! Devices that the kubelet handed out otherwise than planned: the model follows its record, on one node and
//! through a bind.

#[path = "common/cluster.rs"]
#[expect(dead_code, reason = "what the other tests of the model need")]
mod cluster;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use cluster::{dynamic, gpu, key, live, model, placed, pod, report, shared, want};
use tangram::cache::{Answer, Cache, Effect, Event, Fence, Options, Outcome, Wanted, Written};
use tangram::mig::Occupancy;
use tangram::model::{Device, GpuReport, InstanceReport, Node, Placement, Pod, PodKey, Policy, Problem};
use tangram::solver::Scores;

/// GPU, profile, first memory slice.
type At<'a> = (u16, &'a str, u8);

/// What is wanted, in the order of `GpuNode.spec`: where, and the UID of the pod that is to have it.
fn wanted(all: &[(At<'_>, &str)]) -> Vec<(u16, InstanceReport)> {
    let one = |((index, profile, start), pod): &(At<'_>, &str)| {
        let uid = Some(format!("uid-of-{pod}").into());
        (*index, InstanceReport { uuid: None, pod_uid: uid, ..live(profile, *start, Some(pod)) })
    };
    all.iter().map(one).collect()
}

/// A node of two A100s with these pods, these instances, recorded for these pods, and no wants.
fn node_of(pods: &[(&str, &[At<'_>])], records: &[(At<'_>, Option<&str>)]) -> Node {
    node_wanting(pods, records, &[])
}

fn node_wanting(
    pods: &[(&str, &[At<'_>])],
    records: &[(At<'_>, Option<&str>)],
    wants: &[(At<'_>, &str)],
) -> Node {
    let a100 = model("a100-80gb");
    let of_gpu = |index: u16| {
        let instances = records.iter().filter(|((of, ..), _)| *of == index);
        let instances = instances.map(|((_, profile, start), pod)| live(profile, *start, *pod)).collect();
        gpu(index, a100, instances)
    };
    let report = GpuReport { wanted: wanted(wants), ..report(vec![of_gpu(0), of_gpu(1)]) };
    let pods = pods.iter().map(|(name, devices)| shared(placed(name, "n", devices))).collect();
    Node::new(shared(dynamic("n", a100, 0..2)), Some(shared(report)), pods)
}

/// Where a pod's devices are.
fn places(node: &Node, pod: &str) -> Vec<(u16, u8)> {
    let pod = node.pod(&key(pod)).expect("it is on the node");
    let devices = &node.placement(pod).expect("it has devices").devices;
    devices.iter().map(|device| (device.gpu, device.start)).collect()
}

fn exchanged(pod: &str, profile: &str, planned: (u16, u8), found: (u16, u8)) -> Problem {
    Problem::Exchanged { pod: key(pod), profile: cluster::name(profile), planned, found }
}

fn is_closed(node: &Node) -> bool {
    node.gpus.iter().any(|gpu| gpu.occupancy == Occupancy::CLOSED)
}

const SMALL: &str = "1g.10gb";
const LARGE: &str = "3g.40gb";

#[test]
fn as_planned_nothing_is_said() {
    let pods: &[(&str, &[At<'_>])] = &[("a", &[(0, SMALL, 0)]), ("b", &[(1, SMALL, 3)])];
    for records in [
        &[][..],
        &[((0, SMALL, 0), Some("a")), ((1, SMALL, 3), None)],
        &[((0, SMALL, 0), Some("a")), ((1, SMALL, 3), Some("b"))],
    ] {
        let node = node_of(pods, records);
        assert_eq!((places(&node, "a"), places(&node, "b")), (vec![(0, 0)], vec![(1, 3)]));
        assert_eq!(node.problems, []);
    }
}

#[test]
fn two_pods_that_got_each_others_devices_are_where_they_are() {
    let pods: &[(&str, &[At<'_>])] = &[("a", &[(0, SMALL, 0)]), ("b", &[(1, SMALL, 3)])];
    // Both are recorded, or one of them: the other has what is left.
    let both = [((0, SMALL, 0), Some("b")), ((1, SMALL, 3), Some("a"))];
    let only_a = [((0, SMALL, 0), None), ((1, SMALL, 3), Some("a"))];
    let not_yet_live = [((1, SMALL, 3), Some("a"))];
    for records in [&both[..], &only_a, &not_yet_live] {
        let node = node_of(pods, records);
        assert_eq!((places(&node, "a"), places(&node, "b")), (vec![(1, 3)], vec![(0, 0)]));
        let changes = [exchanged("a", SMALL, (0, 0), (1, 3)), exchanged("b", SMALL, (1, 3), (0, 0))];
        assert_eq!(node.problems, changes);
        assert!(!is_closed(&node));
        let holder = |gpu: usize| node.gpus[gpu].instances[0].pod.clone();
        assert_eq!((holder(0), holder(1)), (Some(key("b")), Some(key("a"))));
    }
}

#[test]
fn what_is_wanted_still_as_it_was_planned_is_no_contradiction() {
    let pods: &[(&str, &[At<'_>])] = &[("a", &[(0, SMALL, 0)]), ("b", &[(0, SMALL, 3)])];
    let wants: &[(At<'_>, &str)] = &[((0, SMALL, 0), "a"), ((0, SMALL, 3), "b")];
    let node = node_wanting(pods, &[((0, SMALL, 0), None), ((0, SMALL, 3), Some("a"))], wants);
    assert_eq!((places(&node, "a"), places(&node, "b")), (vec![(0, 3)], vec![(0, 0)]));
    let changes = [exchanged("a", SMALL, (0, 0), (0, 3)), exchanged("b", SMALL, (0, 3), (0, 0))];
    assert_eq!(node.problems, changes);
    assert!(!is_closed(&node));
}

#[test]
fn a_ring_of_three_is_closed_by_what_is_left() {
    let pods: &[(&str, &[At<'_>])] =
        &[("a", &[(0, SMALL, 0)]), ("b", &[(0, SMALL, 1)]), ("c", &[(1, SMALL, 2)])];
    let all = [((0, SMALL, 0), Some("b")), ((0, SMALL, 1), Some("c")), ((1, SMALL, 2), Some("a"))];
    for records in [&all[..], &all[..2], &all[1..]] {
        let node = node_of(pods, records);
        let found = (places(&node, "a"), places(&node, "b"), places(&node, "c"));
        assert_eq!(found, (vec![(1, 2)], vec![(0, 0)], vec![(0, 1)]), "{records:?}");
        assert_eq!(node.problems.len(), 3);
        assert!(!is_closed(&node));
    }
    // One record alone makes one exchange: the third pod stays.
    let node = node_of(pods, &all[..1]);
    assert_eq!((places(&node, "a"), places(&node, "c")), (vec![(0, 1)], vec![(1, 2)]));
}

#[test]
fn a_pod_with_two_devices_keeps_the_one_that_is_its_own() {
    let pods: &[(&str, &[At<'_>])] = &[("a", &[(0, SMALL, 0), (0, SMALL, 1)]), ("b", &[(1, SMALL, 2)])];
    let node = node_of(pods, &[((0, SMALL, 1), Some("a")), ((1, SMALL, 2), Some("a"))]);
    assert_eq!((places(&node, "a"), places(&node, "b")), (vec![(1, 2), (0, 1)], vec![(0, 0)]));
    assert_eq!(node.problems, [exchanged("a", SMALL, (0, 0), (1, 2)), exchanged("b", SMALL, (1, 2), (0, 0))]);
    // Its own two the other way round are no exchange: the record does not say which container has which.
    let node = node_of(pods, &[((0, SMALL, 0), Some("a")), ((0, SMALL, 1), Some("a"))]);
    assert_eq!((places(&node, "a"), node.problems.len()), (vec![(0, 0), (0, 1)], 0));
}

#[test]
fn a_record_at_a_place_that_is_planned_for_nobody_moves_nobody() {
    let pods: &[(&str, &[At<'_>])] = &[("a", &[(0, SMALL, 0)])];
    let node = node_of(pods, &[((1, SMALL, 3), Some("a"))]);
    assert_eq!(places(&node, "a"), [(0, 0)]);
    assert!(matches!(node.problems[..], [Problem::Lie { .. }]), "{:?}", node.problems);
    // Nor does one of a pod that is not here.
    let node = node_of(pods, &[((0, SMALL, 0), Some("stranger"))]);
    assert_eq!(places(&node, "a"), [(0, 0)]);
    // Nor one for another life of the pod.
    let mut pods = vec![placed("a", "n", &[(0, SMALL, 0)]), placed("b", "n", &[(0, SMALL, 0)])];
    pods[0].uid = "second-life".into();
    let instances = vec![live(SMALL, 3, Some("a"))];
    let earlier = GpuReport {
        wanted: wanted(&[((0, SMALL, 3), "a")]),
        ..report(vec![gpu(0, model("a100-80gb"), instances)])
    };
    let pods = pods.into_iter().map(shared).collect();
    let node = Node::new(shared(dynamic("n", model("a100-80gb"), [0])), Some(shared(earlier)), pods);
    assert_eq!(places(&node, "a"), [(0, 0)]);
}

#[test]
fn more_records_than_seats_leave_somebody_as_planned_and_close_the_gpu() {
    let pods: &[(&str, &[At<'_>])] = &[("a", &[(0, SMALL, 0)]), ("b", &[(1, SMALL, 3)])];
    let node = node_of(pods, &[((0, SMALL, 0), Some("a")), ((1, SMALL, 3), Some("a"))]);
    assert_eq!((places(&node, "a"), places(&node, "b")), (vec![(0, 0)], vec![(1, 3)]));
    let conflict =
        Problem::Conflict { gpu: 1, profile: cluster::name(SMALL), start: 3, pod: "test/b".into() };
    assert!(node.problems.contains(&conflict), "{:?}", node.problems);
    assert_eq!(node.gpus[1].occupancy, Occupancy::CLOSED);
}

#[test]
fn profiles_are_never_mixed() {
    let pods: &[(&str, &[At<'_>])] =
        &[("a", &[(0, SMALL, 0)]), ("b", &[(0, LARGE, 4)]), ("c", &[(1, LARGE, 0)])];
    let node = node_of(pods, &[((0, SMALL, 0), Some("b")), ((0, LARGE, 4), Some("c"))]);
    // The record that calls a small one b's means another b; the large ones are exchanged.
    let found = (places(&node, "a"), places(&node, "b"), places(&node, "c"));
    assert_eq!(found, (vec![(0, 0)], vec![(1, 0)], vec![(0, 4)]));
    let changes = [exchanged("b", LARGE, (0, 4), (1, 0)), exchanged("c", LARGE, (1, 0), (0, 4))];
    assert!(changes.iter().all(|change| node.problems.contains(change)), "{:?}", node.problems);
}

#[test]
fn plans_that_contradict_each_other_are_left_alone() {
    let pods: &[(&str, &[At<'_>])] =
        &[("a", &[(0, SMALL, 0)]), ("b", &[(0, SMALL, 0)]), ("c", &[(1, SMALL, 3)])];
    for records in [&[][..], &[((1, SMALL, 4), Some("a"))]] {
        let node = node_of(pods, records);
        let found = (places(&node, "a"), places(&node, "b"), places(&node, "c"));
        assert_eq!(found, (vec![(0, 0)], vec![(0, 0)], vec![(1, 3)]), "{records:?}");
        assert_eq!(node.gpus[0].occupancy, Occupancy::CLOSED);
        assert!(node.gpus[1].occupancy != Occupancy::CLOSED);
    }
}

#[test]
fn the_place_that_was_left_over_is_planned_twice_and_no_contradiction() {
    // a was bound with 0 and got 3; b's Binding was written with what was left: 0.
    let pods: &[(&str, &[At<'_>])] = &[("a", &[(0, SMALL, 0)]), ("b", &[(0, SMALL, 0)])];
    let wants: &[(At<'_>, &str)] = &[((0, SMALL, 0), "b"), ((0, SMALL, 3), "a")];
    let (left, taken) = ((0, SMALL, 0), (0, SMALL, 3));
    for records in [
        &[(left, Some("b")), (taken, Some("a"))][..],
        &[(left, None), (taken, Some("a"))],
        &[(left, Some("b")), (taken, None)],
        &[(left, None), (taken, None)], // the kubelet does not answer
        &[],                            // nor NVML
    ] {
        let node = node_wanting(pods, records, wants);
        assert_eq!((places(&node, "a"), places(&node, "b")), (vec![(0, 3)], vec![(0, 0)]), "{records:?}");
        assert_eq!(node.problems, [exchanged("a", SMALL, (0, 0), (0, 3))], "{records:?}");
        assert!(!is_closed(&node));
    }
}

#[test]
fn equal_inputs_give_equal_nodes() {
    let pods: &[(&str, &[At<'_>])] = &[
        ("a", &[(0, SMALL, 0), (1, LARGE, 0)]),
        ("b", &[(0, SMALL, 1)]),
        ("c", &[(0, SMALL, 2)]),
        ("d", &[(0, LARGE, 4)]),
    ];
    let records: &[(At<'_>, Option<&str>)] =
        &[((0, SMALL, 0), Some("c")), ((0, LARGE, 4), Some("a")), ((0, SMALL, 2), Some("b"))];
    let node = node_of(pods, records);
    let turned: Vec<(&str, &[At<'_>])> = pods.iter().rev().copied().collect();
    assert_eq!(node_of(&turned, records), node);
    let again = Node::new(node.facts.clone(), node.report.clone(), node.pods.clone());
    assert_eq!(again, node, "what follows does not feed back");
    let without = node.retaining(|pod| *pod.key.name != *"b").with(node.pod(&key("b")).expect("it is there"));
    assert_eq!(without, node);
}

/// An API server and an agent for one node, as far as binds need them: each effect is answered at once.
struct Live {
    cache: Cache,
    report: GpuReport,
    bound: BTreeMap<PodKey, Placement>,
    revision: u64,
}

impl Live {
    fn new() -> Self {
        static SCORES: LazyLock<Arc<Scores>> = LazyLock::new(|| shared(Scores::prior()));
        let options = Options { instance_timeout_ms: 1000 };
        let mut cache = Cache::new(SCORES.clone(), Policy::Pack, 100).live(options);
        cache.apply(Event::NodeApplied(shared(dynamic("n", model("a100-80gb"), [0]))));
        let report = report(vec![gpu(0, model("a100-80gb"), vec![])]);
        let mut all = Self { cache, report, bound: BTreeMap::new(), revision: 1 };
        all.cache.apply(Event::Lead(Fence { term: 1, identity: "test".into() }));
        all.reported();
        all
    }

    /// The agent reports; what follows is done, but Bindings are seen only later, by `seen`.
    fn reported(&mut self) {
        self.revision += 1;
        self.report.revision = self.revision;
        self.cache.apply(Event::Report("n".into(), Some(shared(self.report.clone()))));
        self.settle();
    }

    fn settle(&mut self) {
        for effect in self.cache.take_effects() {
            match effect {
                Effect::WriteWanted { node, revision, instances, .. } => {
                    assert_eq!(revision, self.report.revision, "nobody else writes");
                    self.report.wanted = instances.iter().map(form).collect();
                    self.reported();
                    let outcome = Written::Done;
                    self.cache.apply(Event::Answered(Answer::WriteWanted { node, revision, outcome }));
                    self.settle();
                }
                Effect::Bind { pod, uid, placement, .. } => {
                    assert_eq!(self.bound.insert(pod, placement), None, "it is bound once");
                    self.cache.apply(Event::Answered(Answer::Bind { uid, outcome: Written::Done }));
                }
                _ => {}
            }
        }
    }

    /// Decides a bind: its GPU instance is wanted from then on.
    fn bind(&mut self, name: &str) {
        self.revision += 1;
        let mut pending = pod(name, &[want(SMALL)]);
        pending.version.revision = self.revision;
        self.cache.apply(Event::PodApplied(shared(pending)));
        let bind = Event::Bind { pod: key(name), uid: "".into(), node: "n".into() };
        assert_eq!(self.cache.apply(bind), Outcome::Underway(format!("uid-of-{name}").into()));
        self.settle();
    }

    /// The agent makes what is wanted, removes what is not, and says who has what by the kubelet's record.
    fn agent(&mut self, records: &[(u8, &str)]) {
        let made = |(_, instance): &(u16, InstanceReport)| {
            let pod = records.iter().find(|(start, _)| *start == instance.start).map(|(_, pod)| *pod);
            let ready_for = instance.pod_uid.clone();
            InstanceReport { ready_for, ..live(instance.profile.as_str(), instance.start, pod) }
        };
        self.report.gpus[0].instances = self.report.wanted.iter().map(made).collect();
        self.reported();
    }

    /// The watch shows the Binding of a pod.
    fn seen(&mut self, name: &str) {
        self.revision += 1;
        let mut pod = pod(name, &[want(SMALL)]).bound_to("n".into(), self.bound[&key(name)].clone());
        pod.version.revision = self.revision;
        self.cache.apply(Event::PodApplied(shared(pod)));
        self.settle();
    }

    fn gone(&mut self, name: &str) {
        self.bound.remove(&key(name));
        self.cache.apply(Event::PodGone(key(name), format!("uid-of-{name}").into()));
        self.settle();
    }

    fn bound_at(&self, name: &str) -> Option<u8> {
        self.bound.get(&key(name)).map(|placement| placement.devices[0].start)
    }

    /// Where each pod is, in the model and in `GpuNode.spec`, which must be the same.
    fn now(&self) -> Vec<(String, u8)> {
        let node = self.cache.cluster().get("n").expect("it is there");
        let at = |pod: &Arc<Pod>| (pod.key.name.to_string(), places(node, &pod.key.name)[0].1);
        let mut now: Vec<(String, u8)> = node.pods.iter().map(at).collect();
        let wants = self.report.wanted.iter();
        let of = |key: &Option<PodKey>| key.as_ref().expect("all are somebody's").name.to_string();
        let mut wanted: Vec<(String, u8)> =
            wants.map(|(_, instance)| (of(&instance.pod), instance.start)).collect();
        now.sort();
        wanted.sort();
        assert_eq!(now, wanted);
        assert_eq!(self.cache.check(), Vec::<String>::new());
        now
    }

    fn problems(&self) -> &[Problem] {
        &self.cache.cluster().get("n").expect("it is there").problems
    }
}

fn form(wanted: &Wanted) -> (u16, InstanceReport) {
    let Device { gpu, profile, start, .. } = &wanted.device;
    let pod_uid = Some(wanted.uid.clone());
    let of = live(profile.as_str(), *start, Some(&wanted.pod.name));
    (*gpu, InstanceReport { uuid: None, pod_uid, ..of })
}

fn at(pairs: &[(&str, u8)]) -> Vec<(String, u8)> {
    pairs.iter().map(|(pod, start)| ((*pod).to_owned(), *start)).collect()
}

#[test]
fn a_pod_that_takes_the_device_readied_for_another_leaves_it_its_own() {
    let mut live = Live::new();
    live.bind("a");
    live.agent(&[]);
    live.seen("a");
    let a = live.bound_at("a").expect("its instance is live");
    live.bind("b");
    let [(_, first), (_, second)] = live.now()[..] else { unreachable!("two pods") };
    assert_eq!((first, live.bound_at("b")), (a, None));

    // The agent makes b's; the kubelet gives it to a, which has just started.
    live.agent(&[(second, "a")]);
    assert_eq!(live.now(), at(&[("a", second), ("b", first)]));
    assert_eq!(live.bound_at("b"), None, "what is left is not offered for it yet");
    live.agent(&[(second, "a")]);
    assert_eq!(live.bound_at("b"), Some(first), "bound with what is left");
    // Its Binding is seen: two annotations name one place now, and nothing changes.
    live.seen("b");
    assert_eq!(live.now(), at(&[("a", second), ("b", first)]));
    assert_eq!(live.problems(), [exchanged("a", SMALL, (0, first), (0, second))]);
    live.agent(&[(second, "a"), (first, "b")]);
    assert_eq!(live.now(), at(&[("a", second), ("b", first)]));
    assert!(!is_closed(live.cache.cluster().get("n").expect("it is there")));

    // A third has another place; the kubelet's silence moves nobody; b goes, and the next has b's place.
    live.bind("c");
    live.agent(&[]);
    live.seen("c");
    let third = live.bound_at("c").expect("its instance is live");
    assert_eq!(live.now(), at(&[("a", second), ("b", first), ("c", third)]));
    live.agent(&[(second, "a"), (first, "b"), (third, "c")]);
    live.gone("b");
    assert_eq!(live.now(), at(&[("a", second), ("c", third)]));
    live.agent(&[(second, "a"), (third, "c")]);
    live.bind("d");
    live.agent(&[(second, "a"), (third, "c")]);
    assert_eq!(live.bound_at("d"), Some(first));
    live.seen("d");
    assert_eq!(live.now(), at(&[("a", second), ("c", third), ("d", first)]));
}

#[test]
fn a_place_that_went_to_a_binding_under_way_is_not_given_to_the_next() {
    let mut live = Live::new();
    live.bind("a");
    live.agent(&[]);
    live.seen("a");
    live.bind("b");
    live.bind("c");
    let [(_, a), (_, b), (_, c)] = live.now()[..] else { unreachable!("three pods") };
    // a got c's: c is bound with a's. Before that is seen, a's record goes for a moment.
    live.agent(&[(c, "a")]);
    assert_eq!((live.bound_at("b"), live.bound_at("c")), (Some(b), None));
    live.agent(&[(c, "a")]);
    assert_eq!(live.bound_at("c"), Some(a), "once it is offered for it");
    live.agent(&[(c, "a"), (b, "b")]);
    live.seen("c");
    live.seen("b");
    assert_eq!(live.now(), at(&[("a", c), ("b", b), ("c", a)]));
    live.agent(&[]);
    assert_eq!(live.now(), at(&[("a", c), ("b", b), ("c", a)]));
}
