//! Nodes of NVIDIA's own device plugin with an agent: the kubelet's record of who holds which GPU, MIG device or
//! share of one, in the model, in the answers and in what people see.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/cluster.rs"]
#[expect(dead_code, reason = "what the other tests of the model need")]
mod cluster;
#[path = "common/http.rs"]
mod http;

use cluster::{dynamic, gpu, key, live, model, node, pod, report, shared, want};
use http::Server;
use serde_json::{Value, json};
use tangram::mig::Occupancy;
use tangram::model::{
    Cluster, GpuFacts, GpuReport, Holder, Holding, InstanceReport, Node, NodeFacts, Placement, Pod, PodKey,
    Policy, PoolFacts, PoolKind, Problem,
};
use tangram::solver::{Query, Refusal, Scores, Violation, evaluate, verify};

const GPU: &str = "nvidia.com/gpu";
const SMALL: &str = "nvidia.com/mig-1g.10gb";

/// A pod on the node that asks for counted devices.
fn asking(name: &str, resource: &str, count: u32) -> Pod {
    let mut pod = pod(name, &[]);
    pod.request.counted = vec![(resource.into(), count)];
    pod.bound_to("n".into(), Placement::default())
}

fn offering(resource: &str, kind: PoolKind, capacity: u32) -> NodeFacts {
    let pool = PoolFacts { resource: resource.into(), kind, capacity, value_mib: 9_856 };
    NodeFacts { pools: vec![pool], ..node("n") }
}

fn small() -> PoolKind {
    PoolKind::Partition(cluster::name("1g.10gb"))
}

fn shares(replicas: u32, profile: Option<&str>) -> PoolKind {
    PoolKind::Replica { replicas, of: profile.map(cluster::name), by: None }
}

fn holder(pod: &str, shares: Option<u32>) -> Holder {
    Holder { pod: key(pod), shares }
}

/// A GPU outside MIG mode with these holders.
fn whole(index: u16, holders: Vec<Holder>) -> GpuFacts {
    GpuFacts { is_mig_enabled: false, holders, ..gpu(index, model("a100-80gb"), Vec::new()) }
}

/// A GPU cut into small partitions, held in their order.
fn cut(index: u16, holders: &[Option<&str>]) -> GpuFacts {
    let instances = (0..).zip(holders).map(|(start, pod)| live("1g.10gb", start, *pod)).collect();
    gpu(index, model("a100-80gb"), instances)
}

fn node_of(facts: &NodeFacts, gpus: Vec<GpuFacts>, pods: Vec<Pod>) -> Node {
    let report = GpuReport { has_record: true, ..report(gpus) };
    Node::new(shared(facts.clone()), Some(shared(report)), pods.into_iter().map(shared).collect())
}

/// Holdings of the only pool: pod, asked, recorded.
fn holdings(node: &Node) -> Vec<(PodKey, u32, u32)> {
    let of = |Holding { pod, asked, recorded }: &Holding| (pod.clone(), *asked, *recorded);
    node.pools[0].holdings.iter().map(of).collect()
}

fn record(resource: &str, stray: u32, missing: u32) -> Problem {
    Problem::Record { resource: resource.into(), stray, missing }
}

/// What the solver says of so many more devices on these nodes, by name.
fn evaluated(node: &Node, resource: &str, count: u32) -> Result<i64, Refusal> {
    let mut cluster = Cluster::default();
    let index = cluster.put(shared(node.clone()));
    let scores = Scores::prior();
    let pod = asking("asks", resource, count);
    evaluate(cluster.row(index), &Query::new(&cluster, &scores, &pod, Policy::Pack))
}

fn in_use(resource: &str) -> Result<i64, Refusal> {
    Err(Refusal::InUse { resource: resource.into() })
}

#[test]
fn a_record_that_says_what_the_pods_ask_changes_nothing() {
    let facts = offering(SMALL, small(), 7);
    let pods = || vec![asking("a", SMALL, 2), asking("b", SMALL, 1)];
    let node =
        node_of(&facts, vec![cut(0, &[Some("a"), None, Some("b"), Some("a"), None, None, None])], pods());
    assert_eq!((node.pools[0].used, &node.problems[..]), (3, &[][..]));
    assert_eq!(holdings(&node), [(key("a"), 2, 2), (key("b"), 1, 1)]);
    let silent = Node::new(shared(facts), None, pods().into_iter().map(shared).collect());
    assert_eq!(silent.pools[0].used, 3);
    assert_eq!(evaluated(&node, SMALL, 4), evaluated(&silent, SMALL, 4));
    assert!(evaluated(&node, SMALL, 4).is_ok());
    assert_eq!(evaluated(&node, SMALL, 5), in_use(SMALL));
}

#[test]
fn what_a_pod_that_is_gone_still_holds_is_not_free() {
    let facts = offering(SMALL, small(), 3);
    let gpus = |last| vec![cut(0, &[Some("a"), Some("gone"), last])];
    let node = node_of(&facts, gpus(None), vec![asking("a", SMALL, 1)]);
    assert_eq!(holdings(&node), [(key("a"), 1, 1), (key("gone"), 0, 1)]);
    assert_eq!(node.problems, [record(SMALL, 1, 0)]);
    assert!(evaluated(&node, SMALL, 1).is_ok());
    assert_eq!(evaluated(&node, SMALL, 2), in_use(SMALL));
    // One that is starting has none yet, and is not served by what the other still has.
    let node = node_of(&facts, gpus(None), vec![asking("a", SMALL, 1), asking("b", SMALL, 1)]);
    assert_eq!((node.pools[0].used, &node.problems[..]), (3, &[record(SMALL, 1, 1)][..]));
    assert_eq!(evaluated(&node, SMALL, 1), in_use(SMALL));
    // More than it asks for, such as of an earlier life under its name.
    let node = node_of(&facts, gpus(Some("a")), vec![asking("a", SMALL, 1)]);
    assert_eq!(holdings(&node), [(key("a"), 1, 2), (key("gone"), 0, 1)]);
    assert_eq!(node.problems, [record(SMALL, 2, 0)]);
    assert_eq!(evaluated(&node, SMALL, 1), in_use(SMALL));
}

#[test]
fn what_is_not_recorded_is_a_problem_only_while_the_kubelet_answers() {
    let facts = offering(SMALL, small(), 3);
    let node = node_of(&facts, vec![cut(0, &[None, None, None])], vec![asking("a", SMALL, 2)]);
    assert_eq!((node.pools[0].used, &node.problems[..]), (2, &[record(SMALL, 0, 2)][..]));
    let report = report(vec![cut(0, &[None, None, None])]);
    let node = Node::new(shared(facts), Some(shared(report)), vec![shared(asking("a", SMALL, 2))]);
    assert_eq!((node.pools[0].used, &node.problems[..]), (2, &[][..]));
}

#[test]
fn more_recorded_than_offered_closes_no_gpu_and_leaves_nothing_free() {
    let facts = offering(SMALL, small(), 1);
    let gpus = vec![cut(0, &[Some("x"), Some("y")])];
    let node = node_of(&facts, gpus, vec![asking("a", SMALL, 1)]);
    assert_eq!((node.pools[0].used, &node.problems[..]), (3, &[record(SMALL, 2, 1)][..]));
    assert_eq!(evaluated(&node, SMALL, 1), in_use(SMALL));
}

#[test]
fn shares_are_counted_one_by_one_whoever_has_them() {
    for (resource, kind) in [(GPU, shares(4, None)), ("nvidia.com/gpu.shared", shares(4, None))] {
        let facts = offering(resource, kind, 8);
        let gpus =
            |second| vec![whole(0, vec![holder("a", Some(2)), holder("b", Some(2))]), whole(1, second)];
        let pods = || vec![asking("a", resource, 2), asking("b", resource, 2), asking("c", resource, 1)];
        let node = node_of(&facts, gpus(vec![holder("c", Some(1))]), pods());
        assert_eq!((node.pools[0].used, &node.problems[..]), (5, &[][..]), "{resource}");
        assert!(evaluated(&node, resource, 3).is_ok());
        let node = node_of(&facts, gpus(vec![holder("c", Some(1)), holder("gone", Some(3))]), pods());
        assert_eq!(
            (node.pools[0].used, &node.problems[..]),
            (8, &[record(resource, 3, 0)][..]),
            "{resource}"
        );
        assert_eq!(evaluated(&node, resource, 1), in_use(resource), "all shares are held");
    }
}

#[test]
fn shares_of_a_mig_device_count_in_its_own_pool() {
    let kind = |resource: &str, kind, capacity| offering(resource, kind, capacity).pools.remove(0);
    let pools = vec![
        kind(GPU, PoolKind::Whole, 1),
        kind(SMALL, small(), 0),
        kind("nvidia.com/mig-1g.10gb.shared", shares(2, Some("1g.10gb")), 4),
        kind("nvidia.com/mig-2g.20gb", PoolKind::Partition(cluster::name("2g.20gb")), 1),
    ];
    let facts = NodeFacts { pools, ..node("n") };
    let half = InstanceReport {
        sharers: vec![holder("a", Some(1)), holder("b", Some(1))],
        ..live("1g.10gb", 0, Some("a"))
    };
    let gpus = vec![
        gpu(0, model("a100-80gb"), vec![half, live("2g.20gb", 2, Some("c"))]),
        whole(1, vec![holder("d", None)]),
    ];
    let node = node_of(&facts, gpus, Vec::new());
    let used: Vec<u32> = node.pools.iter().map(|pool| pool.used).collect();
    assert_eq!(used, [1, 0, 2, 1]);
    assert_eq!(node.problems.len(), 3);
}

#[test]
fn an_agent_that_does_not_tell_of_shares_is_understood() {
    let facts = offering(GPU, shares(4, None), 4);
    let gpus = vec![whole(0, vec![holder("a", None), holder("gone", None)])];
    let node = node_of(&facts, gpus, vec![asking("a", GPU, 1)]);
    assert_eq!((node.pools[0].used, &node.problems[..]), (2, &[record(GPU, 1, 0)][..]));
}

#[test]
fn what_tangram_places_counts_in_no_pool_and_a_gpu_held_whole_takes_no_instance() {
    let a100 = model("a100-80gb");
    let mut facts = dynamic("n", a100, 0..2);
    facts.pools = offering(SMALL, small(), 3).pools;
    let foreign = InstanceReport { is_foreign: true, ..live("1g.10gb", 6, Some("plugin")) };
    let own = live("1g.10gb", 0, Some("own"));
    let held = GpuFacts { holders: vec![holder("whole", None)], ..gpu(1, a100, Vec::new()) };
    let node = node_of(&facts, vec![gpu(0, a100, vec![own, foreign]), held], Vec::new());
    assert_eq!(holdings(&node), [(key("plugin"), 0, 1)]);
    assert_ne!(node.gpus[0].occupancy, Occupancy::CLOSED);
    assert_eq!(node.gpus[1].occupancy, Occupancy::CLOSED);
    let held = Problem::HeldWhole { gpu: 1, pod: key("whole") };
    assert_eq!(node.problems, [held, record(SMALL, 1, 0)]);
    let seven = pod("p", &[want("7g.80gb")]).request;
    let place = |gpu| cluster::placement(&[(gpu, "7g.80gb", 0)]);
    assert_eq!(verify(&node, &seven, &place(1)), Err(Violation::UnusableGpu { gpu: 1 }));
}

#[test]
fn evicting_a_pod_frees_what_it_holds_and_nothing_else() {
    let facts = offering(SMALL, small(), 3);
    let mut half = live("1g.10gb", 2, Some("a"));
    half.sharers = vec![holder("a", Some(1)), holder("gone", Some(1))];
    let foreign = |start, pod| InstanceReport { is_foreign: true, ..live("1g.10gb", start, pod) };
    half.is_foreign = true;
    let gpus = vec![
        gpu(0, model("a100-80gb"), vec![foreign(0, Some("a")), foreign(1, Some("gone")), half]),
        whole(1, vec![holder("a", Some(1)), holder("b", Some(1))]),
    ];
    let node = node_of(&facts, gpus, vec![asking("a", SMALL, 2)]);
    assert_eq!(evaluated(&node, SMALL, 1), in_use(SMALL));
    let without = node.without(|pod| pod.key == key("a"));
    assert_eq!(holdings(&without), [(key("gone"), 0, 2)]);
    assert!(evaluated(&without, SMALL, 1).is_ok());
    let gpus = &without.report.as_ref().unwrap().gpus;
    let pods: Vec<Option<PodKey>> = gpus[0].instances.iter().map(|instance| instance.pod.clone()).collect();
    assert_eq!(pods, [None, Some(key("gone")), Some(key("gone"))], "partitions stay");
    assert_eq!(gpus[1].holders, [holder("b", Some(1))]);
}

// What the objects say, through the API.

fn stock(labels: &Value, allocatable: &Value) -> Value {
    json!({"kind": "Node", "metadata": {"name": "n", "labels": labels}, "status": {"allocatable": allocatable}})
}

fn running(name: &str, resource: &str, count: u32) -> Value {
    let limits = json!({"limits": {resource: count.to_string()}});
    json!({
        "kind": "Pod", "metadata": {"name": name, "namespace": "x", "uid": name},
        "spec": {"nodeName": "n", "containers": [{"name": "main", "resources": limits}]},
    })
}

fn told(gpus: &Value) -> Value {
    let conditions = json!([{"type": "KubeletReady", "status": "True"}]);
    let status = json!({"sequence": 1, "gpus": gpus, "conditions": conditions});
    json!({"kind": "GpuNode", "metadata": {"name": "n"}, "status": status})
}

fn server(items: &[Value]) -> Server {
    Server::new(&json!({"kind": "List", "items": items}).to_string())
}

async fn refusal(server: &Server, resource: &str) -> String {
    let mut pod = running("asks", resource, 1);
    pod["spec"]["nodeName"] = Value::Null;
    let request = json!({"Pod": pod, "NodeNames": ["n"]}).to_string();
    let answer = server.post("/scheduler/filter", request).await;
    let failed = |key: &str| answer[key]["n"].as_str().unwrap_or_default().to_owned();
    failed("FailedNodes") + &failed("FailedAndUnresolvableNodes")
}

fn named(name: &str) -> Value {
    json!({"namespace": "x", "name": name})
}

fn sharing(name: &str, shares: u32) -> Value {
    json!({"namespace": "x", "name": name, "shares": shares})
}

#[tokio::test]
async fn static_partitions_are_shown_with_their_pods_and_what_they_leave_out() {
    let labels =
        json!({"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB", "nvidia.com/mig.strategy": "mixed"});
    let allocatable = json!({"nvidia.com/mig-1g.10gb": "2", "nvidia.com/mig-3g.40gb": "1"});
    let partition = |uuid: &str, profile: &str, start: u8, pod: Value| {
        let mut told = json!({"uuid": uuid, "profile": profile, "start": start, "foreign": true});
        if !pod.is_null() {
            told["pod"] = pod;
        }
        told
    };
    let instances = [
        partition("MIG-a", "1g.10gb", 0, named("a")),
        partition("MIG-b", "1g.10gb", 1, named("gone")),
        partition("MIG-c", "3g.40gb", 4, Value::Null),
    ];
    let gpu = json!({
        "index": 0, "uuid": "GPU-0", "model": "NVIDIA A100-SXM4-80GB", "migMode": "Enabled", "instances": instances,
    });
    let server = server(&[
        stock(&labels, &allocatable),
        running("a", "nvidia.com/mig-1g.10gb", 1),
        running("c", "nvidia.com/mig-3g.40gb", 1),
        told(&json!([gpu])),
    ]);
    let node = server.get("/v1/cluster").await["nodes"][0].clone();
    let shown: Vec<[&Value; 4]> = node["gpus"][0]["instances"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| [&it["uuid"], &it["profile"], &it["start"], &it["pod"]])
        .collect();
    let (a, b, c) = (json!("MIG-a"), json!("MIG-b"), json!("MIG-c"));
    let (small, large) = (json!("1g.10gb"), json!("3g.40gb"));
    let expected = [
        [&a, &small, &json!(0), &json!("x/a")],
        [&b, &small, &json!(1), &json!("x/gone")],
        [&c, &large, &json!(4), &Value::Null],
    ];
    assert_eq!(shown, expected);
    assert_eq!(node["gpus"][0]["slices"], "11..3333");
    let pools = node["pools"].as_array().unwrap();
    let held = json!([
        {"pod": "x/a", "count": 1, "recorded": 1},
        {"pod": "x/gone", "count": 1, "recorded": 1},
    ]);
    assert_eq!((&pools[0]["holdings"], &pools[0]["devices"]), (&held, &json!("known")));
    let starting = json!([{"pod": "x/c", "count": 1, "recorded": 0}]);
    assert_eq!((&pools[1]["holdings"], &pools[1]["devices"]), (&starting, &json!("assumed")));
    assert_eq!(
        node["problems"],
        json!([
            "nvidia.com/mig-1g.10gb: the kubelet records 1 that no pod here asks for, and lacks 0 that pods ask for",
            "nvidia.com/mig-3g.40gb: the kubelet records 0 that no pod here asks for, and lacks 1 that pods ask for",
        ])
    );
    assert_eq!(refusal(&server, "nvidia.com/mig-1g.10gb").await, "not enough free nvidia.com/mig-1g.10gb");
    let view = server.get("/v1/fragmentation").await;
    let layout = json!({
        "gpus": 1, "totalMemorySlices": 8, "usedMemorySlices": 2, "freeMemorySlices": 4, "strandedMemorySlices": 2,
    });
    assert_eq!(view["all"]["static"], layout);
    assert_eq!(view["byModel"]["NVIDIA-A100-SXM4-80GB"]["static"], layout);
    assert_eq!(view["all"]["strandedMib"], 20_480);
    // A pod that ends leaves its partition, which is free from then on.
    server.send("DELETE", "/v1/pods/x/a", "").await;
    assert_eq!(refusal(&server, "nvidia.com/mig-1g.10gb").await, "");
    let left = server.get("/v1/cluster").await["nodes"][0]["gpus"][0]["instances"][0].clone();
    assert_eq!((&left["uuid"], &left["pod"]), (&a, &Value::Null));
}

#[tokio::test]
async fn shared_gpus_and_mig_devices_are_shown_with_all_who_share_them() {
    let labels = json!({
        "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB-SHARED", "nvidia.com/gpu.replicas": "4",
        "nvidia.com/gpu.sharing-strategy": "time-slicing",
        "nvidia.com/mig-1g.10gb.product": "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb-SHARED",
        "nvidia.com/mig-1g.10gb.replicas": "2", "nvidia.com/mig-1g.10gb.sharing-strategy": "mps",
    });
    let allocatable = json!({"nvidia.com/gpu": "4", "nvidia.com/mig-1g.10gb": "2"});
    let instance = json!({
        "uuid": "MIG-a", "profile": "1g.10gb", "start": 0, "foreign": true, "pod": named("d"),
        "pods": [sharing("d", 1), sharing("e", 1)], "memoryUsedMib": 1216,
    });
    let board = |index, mode, more: Value| {
        let uuid = format!("GPU-{index}");
        let mut gpu =
            json!({"index": index, "uuid": uuid, "model": "NVIDIA A100-SXM4-80GB", "migMode": mode});
        gpu.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        gpu
    };
    let taken =
        json!({"pods": [sharing("a", 2), sharing("b", 1)], "memoryMib": 81920, "memoryUsedMib": 20480});
    let gpus = json!([board(0, "Disabled", taken), board(1, "Enabled", json!({"instances": [instance]}))]);
    let mut items = vec![
        stock(&labels, &allocatable),
        running("a", GPU, 2),
        running("b", GPU, 1),
        running("d", "nvidia.com/mig-1g.10gb", 1),
        running("e", "nvidia.com/mig-1g.10gb", 1),
        told(&gpus),
    ];
    let full = server(&items);
    let node = full.get("/v1/cluster").await["nodes"][0].clone();
    let gpu = &node["gpus"][0];
    assert_eq!(gpu["pods"], json!([{"pod": "x/a", "shares": 2}, {"pod": "x/b", "shares": 1}]));
    assert_eq!(
        gpu["shared"],
        json!({"sharing": "time-slicing", "replicas": 4, "used": 3, "memoryUsedMib": 20480})
    );
    let instance = &node["gpus"][1]["instances"][0];
    assert_eq!(instance["pods"], json!([{"pod": "x/d", "shares": 1}, {"pod": "x/e", "shares": 1}]));
    assert_eq!(
        instance["shared"],
        json!({"sharing": "mps", "replicas": 2, "used": 2, "memoryUsedMib": 1216})
    );
    let pools = node["pools"].as_array().unwrap();
    let words = |pool: &Value| (pool["kind"].clone(), pool["sharing"].clone(), pool["devices"].clone());
    assert_eq!(words(&pools[0]), (json!("replica"), json!("time-slicing"), json!("known")));
    assert_eq!(words(&pools[1]), (json!("replica"), json!("mps"), json!("known")));
    assert_eq!(node["problems"], Value::Null);
    assert_eq!(node["gpus"][1]["shared"], Value::Null, "its MIG devices are shared, it is not");
    assert_eq!(refusal(&full, GPU).await, "");
    assert_eq!(refusal(&full, "nvidia.com/mig-1g.10gb").await, "not enough free nvidia.com/mig-1g.10gb");
    // The last share is held by a pod that the API server shows no longer.
    items.pop();
    let taken = json!({"pods": [sharing("a", 2), sharing("b", 1), sharing("gone", 1)]});
    items.push(told(&json!([board(0, "Disabled", taken)])));
    assert_eq!(refusal(&server(&items), GPU).await, "not enough free nvidia.com/gpu");
}
