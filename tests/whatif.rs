//! Dry runs with hypothetical changes and batches, and the filter without effect.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/cluster.rs"]
#[expect(dead_code, reason = "what the other tests of the model need")]
mod cluster;
#[path = "common/http.rs"]
mod http;

use std::sync::Arc;

use cluster::{Board, check, dynamic, fits, model, node, pod, pool, want};
use http::Server;
use proptest::prelude::*;
use proptest::{collection, prop_assert, prop_assert_eq, sample};
use serde_json::{Value, json};
use tangram::model::{Cluster, Node, NodeFacts, Pod, Policy, Request, Resources, Want};
use tangram::serve::EXAMPLE;
use tangram::solver::exact::Effort;
use tangram::solver::{Query, Scores, evaluate};
use tangram::whatif::batch;

fn question(rest: &Value) -> String {
    let mut question = json!({"apiVersion": "tangram.gpu/v1", "kind": "DryRun"});
    question.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    question.to_string()
}

fn gpu_pod(name: &str, resource: &str, count: u32) -> Value {
    let containers = json!([{"name": "main", "resources": {"limits": {resource: count.to_string()}}}]);
    json!({"kind": "Pod", "metadata": {"name": name}, "spec": {
        "tolerations": [{"operator": "Exists"}], "containers": containers}})
}

fn on(mut pod: Value, node: &str) -> Value {
    pod["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": node});
    pod
}

#[tokio::test]
async fn nodes_of_a_machines_type_take_what_the_cluster_has_no_room_for() {
    let server = Server::new(EXAMPLE);
    let before = server.get("/v1/cluster").await;
    let mut pod = gpu_pod("sixteen", "nvidia.com/gpu", 16);
    pod["spec"]["nodeSelector"] = json!({"node.kubernetes.io/instance-type": "a2-megagpu-16g"});
    let plain = server.post("/v1/dryrun", pod.to_string()).await;
    assert_eq!(plain["allFit"], false);
    let add = |kind: &str, dynamic: bool, count: u32| json!([{"addNodes": {"instanceType": kind, "count": count, "dynamic": dynamic}}]);
    let body = question(&json!({"pods": [pod], "changes": add("a2-megagpu-16g", false, 2)}));
    let answer = server.post("/v1/dryrun", body).await;
    assert_eq!(
        (&answer["allFit"], &answer["pods"][0]["node"]),
        (&json!(true), &json!("a2-megagpu-16g-new-1"))
    );
    assert_eq!(answer["addedNodes"], json!(["a2-megagpu-16g-new-1", "a2-megagpu-16g-new-2"]));
    let free = |at: &str| answer["fragmentation"][at]["freeGpus"].as_u64().unwrap();
    assert_eq!((free("changed") - free("before"), free("changed") - free("after")), (32, 16));
    assert_eq!(answer["generation"], before["generation"]);
    // Where Tangram partitions them, its profiles are there; names are as Kubernetes allows them.
    let body = question(&json!({
        "pods": [on(gpu_pod("half", "tangram.gpu/mig-3g.40gb", 1), "standard-nd96isr-h100-v5-new-1")],
        "changes": add("Standard_ND96isr_H100_v5", true, 1),
    }));
    let answer = server.post("/v1/dryrun", body).await;
    let device = &answer["pods"][0]["devices"][0];
    assert_eq!((&device["profile"], &device["start"]), (&json!("3g.40gb"), &json!(4)), "{answer:#}");
    assert_eq!(server.get("/v1/cluster").await, before, "nothing changed");
}

#[tokio::test]
async fn a_node_by_example_is_new_and_empty() {
    let server = Server::new(EXAMPLE);
    let ask = |node: &str| on(gpu_pod("all", "tangram.gpu/mig-7g.80gb", 8), node);
    let full = server.post("/v1/dryrun", ask("dyn-h100-01").to_string()).await;
    assert_eq!(full["allFit"], false);
    let changes = json!([{"addNodes": {"example": "dyn-h100-01", "labels": {"pool": "burst"}}}]);
    let body = question(&json!({"pods": [ask("dyn-h100-01-new-1")], "changes": changes}));
    assert_eq!(server.post("/v1/dryrun", body).await["allFit"], true);
    let mut by_label = gpu_pod("labelled", "tangram.gpu/mig-7g.80gb", 1);
    by_label["spec"]["nodeSelector"] = json!({"pool": "burst"});
    let body = question(&json!({"objects": [by_label], "changes": changes}));
    assert_eq!(server.post("/v1/dryrun", body).await["pods"][0]["node"], "dyn-h100-01-new-1");
}

#[tokio::test]
async fn a_drain_names_each_pod_and_what_becomes_of_it() {
    let server = Server::new(&small_cluster());
    let drain = |change: Value| question(&json!({"changes": [change]}));
    let answer = server.post("/v1/dryrun", drain(json!({"drain": {"node": "a"}}))).await;
    let fates = |answer: &Value| -> Vec<(String, String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let displaced = answer["displaced"].as_array().unwrap().iter();
        displaced
            .map(|pod| (text(&pod["pod"]["name"]), text(&pod["fate"]), text(&pod["pod"]["node"])))
            .collect()
    };
    let all = |rows: &[(&str, &str, &str)]| -> Vec<(String, String, String)> {
        rows.iter().map(|(a, b, c)| ((*a).to_owned(), (*b).to_owned(), (*c).to_owned())).collect()
    };
    let expected =
        [("agent", "ofNode", "-"), ("alone", "stays", "-"), ("big", "nowhere", "-"), ("web", "moves", "b")];
    assert_eq!(fates(&answer), all(&expected));
    let reason = |name: &str| {
        let displaced = answer["displaced"].as_array().unwrap();
        displaced.iter().find(|pod| pod["pod"]["name"] == name).unwrap()["reason"].clone()
    };
    assert_eq!(reason("alone"), "no controller would make it anew");
    assert_eq!(answer["displaced"][2]["pod"]["refusals"][0]["reason"], "node(s) were unschedulable");
    // A node that vanishes keeps nobody; an eviction looks for a place behind the pods that are asked about.
    let gone = server.post("/v1/dryrun", drain(json!({"removeNode": {"node": "a"}}))).await;
    assert_eq!(fates(&gone)[1], ("alone".to_owned(), "lost".to_owned(), "-".to_owned()));
    let evict = question(&json!({
        "pods": [gpu_pod("asked", "nvidia.com/gpu", 2)],
        "changes": [{"cordon": {"node": "b"}}, {"evict": {"namespace": "default", "name": "web"}}],
    }));
    let mut asked: Value = serde_json::from_str(&evict).unwrap();
    asked["pods"][0]["spec"]["tolerations"] = json!([]);
    let answer = server.post("/v1/dryrun", asked.to_string()).await;
    assert_eq!(answer["pods"][0]["node"], "a");
    assert_eq!(fates(&answer), all(&[("web", "nowhere", "-")]));
    asked["changes"][0] = json!({"uncordon": {"node": "b"}});
    let answer = server.post("/v1/dryrun", asked.to_string()).await;
    assert_eq!(answer["allFit"], true);
    assert_eq!(answer["displaced"][0]["fate"], "moves");
}

#[tokio::test]
async fn a_budget_keeps_a_pod_on_a_node_that_is_drained() {
    let server = Server::new(&small_cluster());
    let budget = |allowed: u32| {
        json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}}, "status": {"disruptionsAllowed": allowed},
        })
    };
    for (allowed, fate) in [(0, "stays"), (1, "moves")] {
        let body = question(&json!({"objects": [budget(allowed)], "changes": [{"drain": {"node": "a"}}]}));
        let answer = server.post("/v1/dryrun", body).await;
        assert_eq!(answer["displaced"][3]["fate"], fate, "{answer:#}");
    }
}

/// Two nodes of four GPUs: `a` has a `DaemonSet`'s pod, one alone, one of a controller with three GPUs and one with
/// one; `b` has three GPUs free.
fn small_cluster() -> String {
    let node = |name: &str| {
        json!({
            "kind": "Node",
            "metadata": {"name": name, "labels": {
                "kubernetes.io/hostname": name, "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.count": "4",
            }},
            "status": {"allocatable": {"cpu": "8", "memory": "64Gi", "pods": "110", "nvidia.com/gpu": "4"}},
        })
    };
    let pod = |name: &str, node: &str, gpus: u32, owner: Option<&str>| {
        let owners: Vec<Value> = owner
            .iter()
            .map(|kind| json!({"kind": kind, "name": "x", "uid": "u", "controller": true}))
            .collect();
        let limits =
            if gpus == 0 { json!({"cpu": "1"}) } else { json!({"nvidia.com/gpu": gpus.to_string()}) };
        json!({
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": name}, "ownerReferences": owners},
            "spec": {"nodeName": node, "containers": [{"name": "main", "resources": {"limits": limits}}]},
        })
    };
    let items = json!([
        node("a"),
        node("b"),
        pod("agent", "a", 0, Some("DaemonSet")),
        pod("alone", "a", 0, None),
        pod("big", "a", 2, Some("ReplicaSet")),
        pod("web", "a", 1, Some("ReplicaSet")),
        pod("other", "b", 2, Some("ReplicaSet")),
        pod("third", "b", 1, Some("ReplicaSet")),
    ]);
    json!({"kind": "List", "items": items}).to_string()
}

#[tokio::test]
async fn gpus_cut_anew_offer_what_their_layout_has() {
    let server = Server::new(EXAMPLE);
    let cut = |what: Value| {
        let mut change = json!({"node": "p5.48xlarge-new-1"});
        change.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
        json!([{"addNodes": {"instanceType": "p5.48xlarge"}}, {"repartition": change}])
    };
    let asked = |resource: &str, count: u32| on(gpu_pod("p", resource, count), "p5.48xlarge-new-1");
    for (change, resource, most) in [
        (json!({"layout": ["3g.40gb", "3g.40gb"]}), "nvidia.com/mig-3g.40gb", 16),
        (json!({"layout": ["1g.10gb+me", "3g.40gb"]}), "nvidia.com/mig-1g.10gb.me", 8),
        (json!({"whole": true}), "nvidia.com/gpu", 8),
        (json!({"gpu": 2, "layout": ["7g.80gb"]}), "nvidia.com/gpu", 7),
        (json!({"gpu": 2, "dynamic": true}), "tangram.gpu/mig-2g.20gb", 3),
    ] {
        for (count, fits) in [(most, true), (most + 1, false)] {
            let body = question(&json!({"pods": [asked(resource, count)], "changes": cut(change.clone())}));
            let (status, answer) = server.send("POST", "/v1/dryrun", body).await;
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            if count > 8 && resource.starts_with("tangram") {
                assert_eq!(status, 400);
            } else {
                assert_eq!(answer["allFit"], fits, "{change} {resource} {count}: {answer:#}");
            }
        }
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_told_by_its_field() {
    let server = Server::new(EXAMPLE);
    let table = [
        (json!({"apiVersion": "v1"}), "DryRun: apiVersion: \"v1\" is not tangram.gpu/v1"),
        (json!({"policy": "best"}), "DryRun: policy: policy \"best\" is not known"),
        (json!({"timeLimit": 31}), "DryRun: timeLimit: 31 is not from 0 to 30 seconds"),
        (
            json!({"changes": [{"addNodes": {"instanceType": "p9"}}]}),
            "changes[0].addNodes.instanceType: \"p9\" is not known",
        ),
        (json!({"changes": [{"addNodes": {}}]}), "changes[0].addNodes: one of instanceType and example"),
        (json!({"changes": [{"addNodes": {"example": "x"}}]}), "changes[0]: there is no node x"),
        (
            json!({"changes": [{"addNodes": {"example": "cpu-01", "count": 5001}}]}),
            "changes[0]: more than 5000 nodes",
        ),
        (json!({"changes": [{"drain": {"node": "x"}}]}), "changes[0]: there is no node x"),
        (
            json!({"changes": [{"cordon": {"node": "cpu-01"}}, {"removeNode": {"node": "x"}}]}),
            "changes[1]: there is no node x",
        ),
        (
            json!({"changes": [{"evict": {"namespace": "n", "name": "p"}}]}),
            "changes[0]: no pod n/p stands on a node",
        ),
        (
            json!({"changes": [{"repartition": {"node": "dgx-h100-03", "gpu": 1, "whole": true}}]}),
            "which pods hold its GPUs is not known: no agent reports them",
        ),
        (
            json!({"changes": [{"repartition": {"node": "dgx-h100-03"}}]}),
            "changes[0].repartition: one of layout, dynamic and whole",
        ),
        (
            json!({"changes": [{"repartition": {"node": "dgx-h100-03", "layout": ["7g.80gb", "1g.10gb"]}}]}),
            "no GPU of the model holds all of these at once",
        ),
        (
            json!({"changes": [{"repartition": {"node": "dgx-h100-03", "layout": ["1g.5gb"]}}]}),
            "the GPU model has no 1g.5gb",
        ),
        (
            json!({"changes": [{"repartition": {"node": "cpu-01", "whole": true}}]}),
            "its GPU model is not in the MIG table",
        ),
        (json!({"changes": [{"explode": {"node": "x"}}]}), "unknown variant `explode`"),
        (
            json!({"pods": [{"kind": "Service", "metadata": {"name": "s"}}]}),
            "Service default/s: kind: no pods can be planned for it",
        ),
        (json!({"podz": []}), "unknown field `podz`"),
    ];
    for (rest, expected) in table {
        let (status, problem) = server.send("POST", "/v1/dryrun", question(&rest)).await;
        let problem: Value = serde_json::from_slice(&problem).unwrap();
        assert_eq!(status, 400, "{rest}: {problem}");
        let errors = problem["errors"].to_string().replace("\\\"", "\"");
        assert!(errors.contains(expected), "{rest}: {errors}");
    }
    let twice = format!("{0}\n{0}", question(&json!({})));
    let (status, problem) = server.send("POST", "/v1/dryrun", twice).await;
    assert_eq!(status, 400);
    assert!(String::from_utf8_lossy(&problem).contains("there is another one in the same body"));
    let (status, _) =
        server.send("POST", "/v1/dryrun?policy=pack", question(&json!({"policy": "spread"}))).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn a_question_in_yaml_takes_objects_beside_it() {
    let body = "apiVersion: tangram.gpu/v1\nkind: DryRun\nchanges:\n- addNodes: {instanceType: a2-highgpu-1g, dynamic: true}\npods:\n- kind: Pod\n  metadata: {name: first}\n  spec: {nodeSelector: {node.kubernetes.io/instance-type: a2-highgpu-1g}, containers: [{name: c, resources: {limits: {tangram.gpu/mig-3g.20gb: 1}}}]}\n---\nkind: Pod\nmetadata: {name: second}\nspec: {nodeSelector: {node.kubernetes.io/instance-type: a2-highgpu-1g}, containers: [{name: c, resources: {limits: {tangram.gpu/mig-4g.20gb: 1}}}]}\n";
    let answer = Server::new(EXAMPLE).post("/v1/dryrun", body).await;
    let names: Vec<&Value> = answer["pods"].as_array().unwrap().iter().map(|pod| &pod["name"]).collect();
    assert_eq!(names, ["first", "second"]);
    assert_eq!(answer["allFit"], true, "{answer:#}");
}

#[tokio::test]
async fn room_says_what_it_costs() {
    let server = Server::new(&small_cluster());
    let mut pod = gpu_pod("urgent", "nvidia.com/gpu", 3);
    pod["spec"]["priority"] = json!(1000);
    let answer = server.post("/v1/dryrun", question(&json!({"pods": [pod], "room": true}))).await;
    let room = &answer["room"];
    assert_eq!((&answer["allFit"], &room["pods"]), (&json!(false), &json!(1)));
    // `big` cannot go to `b`, which has one GPU free; `web` or `third` alone are not enough for three GPUs on `a`,
    // but `b` has three when `other` leaves.
    assert_eq!(room["evictions"][0]["node"], "a");
    let victims: Vec<&Value> =
        room["evictions"][0]["victims"].as_array().unwrap().iter().map(|pod| &pod["name"]).collect();
    assert_eq!(victims, ["big"], "{room:#}");
}

#[tokio::test]
async fn a_batch_is_all_or_nothing() {
    let server = Server::new(&small_cluster());
    let pods = |count: usize| -> Vec<Value> {
        (0..count).map(|number| gpu_pod(&format!("p{number}"), "nvidia.com/gpu", 1)).collect()
    };
    let fits = server.post("/v1/dryrun", question(&json!({"pods": pods(2), "batch": true}))).await;
    let verdict = |answer: &Value| (answer["batch"]["fits"].clone(), answer["batch"]["proved"].clone());
    assert_eq!(verdict(&fits), (json!(true), json!(true)), "{fits:#}");
    assert_eq!(fits["fit"], 2);
    let none = server.post("/v1/dryrun", question(&json!({"pods": pods(3), "batch": true}))).await;
    assert_eq!(verdict(&none), (json!(false), json!(true)), "{none:#}");
    assert_eq!(none["fit"], 0, "none of them has a place");
    assert_eq!(none["fragmentation"]["before"], none["fragmentation"]["after"]);
}

#[tokio::test]
async fn the_examples_of_the_documents_are_answered() {
    let server = Server::new(EXAMPLE);
    let document = include_str!("../docs/questions.md");
    let blocks = document.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let answers = [("train", true), ("half", true)];
    assert_eq!(blocks.clone().count(), answers.len());
    for (block, (name, fits)) in blocks.zip(answers) {
        let answer = server.post("/v1/dryrun", block.to_owned()).await;
        assert_eq!(
            (&answer["pods"][0]["name"], &answer["allFit"]),
            (&json!(name), &json!(fits)),
            "{answer:#}"
        );
    }
    let pod = document.split("/v1/pods/").nth(2).unwrap().split("/explain").next().unwrap();
    assert_eq!(server.get(&format!("/v1/pods/{pod}/explain")).await["state"], "pending");
}

/// A cluster of one or two kinds of small nodes, and pods that compete for them.
#[derive(Debug, Clone)]
struct Case {
    nodes: Vec<(u16, u32, i64, Vec<&'static str>)>, // dynamic A30s, whole GPUs, CPUs, instances there
    pods: Vec<(Vec<&'static str>, u32, i64)>,       // profiles, whole GPUs, CPUs
}

fn cases() -> impl Strategy<Value = Case> {
    let profile = || sample::select(vec!["1g.6gb", "2g.12gb", "4g.24gb", "1g.6gb+me"]);
    let node = (0..3_u16, 0..3_u32, 1..6_i64, collection::vec(profile(), 0..3));
    let pod = (collection::vec(profile(), 0..3), 0..2_u32, 0..3_i64);
    (collection::vec(node, 1..4), collection::vec(pod, 1..5)).prop_map(|(nodes, pods)| Case { nodes, pods })
}

fn cpus(count: i64) -> Resources {
    Resources { cpu_milli: count * 1000, ..Resources::default() }
}

impl Case {
    fn cluster(&self) -> Cluster {
        let mut cluster = Cluster::default();
        for (at, (gpus, whole, cpu, held)) in self.nodes.iter().enumerate() {
            let name = format!("n{at}");
            let facts = if *gpus > 0 { dynamic(&name, model("a30-24gb"), 0..*gpus) } else { node(&name) };
            let pools = if *whole > 0 { vec![pool("example.com/npu", *whole)] } else { Vec::new() };
            let facts = Arc::new(NodeFacts { allocatable: cpus(*cpu), pools, ..facts });
            let mut node = Node::new(facts, None, Vec::new());
            // Where the first start is free: the same in the board below.
            for (number, profile) in held.iter().enumerate().filter(|_| *gpus > 0) {
                let next = pod(&format!("held-{at}-{number}"), &[want(profile)]);
                let scores = Scores::prior();
                let query = Query::alone(&scores, &next.request, Policy::FirstFit);
                if let Ok(placement) = tangram::solver::place(&cluster, &node, &next.request, &query) {
                    node = node.with(&Arc::new(next.bound_to(name.as_str().into(), placement)));
                }
            }
            cluster.put(node.into());
        }
        cluster
    }

    fn pods(&self) -> Vec<Arc<Pod>> {
        let pod = |(at, (profiles, whole, cpu)): (usize, &(Vec<&str>, u32, i64))| {
            let wants: Vec<Want> = profiles.iter().map(|profile| want(profile)).collect();
            let mut pod = pod(&format!("p{at}"), &wants);
            pod.request.counted =
                (*whole > 0).then(|| ("example.com/npu".into(), *whole)).into_iter().collect();
            pod.demand.resources = cpus(*cpu);
            Arc::new(pod)
        };
        self.pods.iter().enumerate().map(pod).collect()
    }
}

/// What one node's boards hold, by the rules of the MIG table alone.
fn boards(node: &Node) -> Vec<Board> {
    let model = model("a30-24gb");
    let board = |gpu: &tangram::model::Gpu| {
        let held: Vec<(usize, u8)> =
            gpu.instances.iter().map(|instance| (usize::from(instance.profile), instance.start)).collect();
        model.board(&held).unwrap()
    };
    node.dynamic_gpus().map(board).collect()
}

/// Whether some pods fit together on a node.
fn hold(node: &Node, pods: &[&Arc<Pod>]) -> bool {
    let asked: u32 = pods.iter().flat_map(|pod| &pod.request.counted).map(|(_, count)| *count).sum();
    let offered: u32 = node.facts.pools.iter().map(|pool| pool.capacity).sum();
    let cpu: i64 = pods.iter().map(|pod| pod.demand.resources.cpu_milli).sum();
    let wants: Vec<Want> =
        pods.iter().flat_map(|pod| &pod.request.slices).map(|ask| ask.want.clone()).collect();
    asked <= offered && cpu <= node.facts.allocatable.cpu_milli && fits(&boards(node), &wants)
}

/// What pods cost together on a node.
fn cost(cluster: &Cluster, node: &Node, scores: &Scores, pods: &[&Arc<Pod>]) -> Option<i64> {
    if pods.is_empty() {
        return Some(0);
    }
    let mut request = Request::default();
    let mut whole = 0;
    for pod in pods {
        request.slices.extend(pod.request.slices.iter().cloned());
        whole += pod.request.counted.iter().map(|(_, count)| *count).sum::<u32>();
    }
    request.counted = (whole > 0).then(|| ("example.com/npu".into(), whole)).into_iter().collect();
    let resources = Resources {
        cpu_milli: pods.iter().map(|pod| pod.demand.resources.cpu_milli).sum(),
        memory_bytes: pods.iter().map(|pod| pod.demand.resources.memory_bytes).sum(),
        ..Resources::default()
    };
    let query = Query::of(cluster, scores, &request, resources, Policy::Pack);
    evaluate(cluster.columns(node).row(), &query).ok()
}

#[test]
fn a_batch_equals_brute_force() {
    let scores = Scores::prior();
    check(11, 60, &cases(), |case| {
        let (cluster, pods) = (case.cluster(), case.pods());
        let nodes = cluster.by_name();
        let mut least: Option<i64> = None;
        let mut is_possible = false;
        for code in 0..nodes.len().pow(u32::try_from(pods.len()).unwrap()) {
            let mut rest = code;
            let mut on = vec![Vec::new(); nodes.len()];
            for pod in &pods {
                on[rest.rem_euclid(nodes.len())].push(pod);
                rest = rest.div_euclid(nodes.len());
            }
            if nodes.iter().zip(&on).all(|(node, pods)| hold(node, pods)) {
                is_possible = true;
                let costs = nodes.iter().zip(&on).map(|(node, pods)| cost(&cluster, node, &scores, pods));
                let total: Option<i64> = costs.sum();
                least = least.into_iter().chain(total).min();
            }
        }
        let (verdict, planned, after) =
            batch(cluster.clone(), &scores, Policy::Pack, &pods, Effort::seconds(20.0));
        prop_assert_eq!(verdict.fits, is_possible);
        prop_assert!(verdict.is_proved, "{:?}", verdict);
        if !verdict.fits {
            prop_assert!(planned.iter().all(|planned| planned.outcome.is_err()));
            return Ok(());
        }
        let total: Option<i64> = nodes
            .iter()
            .map(|node| {
                let here = planned.iter().filter(|planned| {
                    planned.outcome.as_ref().is_ok_and(|place| place.node == node.facts.name)
                });
                cost(&cluster, node, &scores, &here.map(|planned| &planned.pod).collect::<Vec<_>>())
            })
            .sum();
        // Of equal costs up to a program's arithmetic.
        let (total, least) = (total.unwrap(), least.unwrap());
        prop_assert!((total - least).abs() <= least.abs().div_euclid(100_000) + 1, "{} {}", total, least);
        for node in &nodes {
            let count = after.get(&node.facts.name).unwrap().pods.len() - node.pods.len();
            let planned = planned
                .iter()
                .filter(|planned| planned.outcome.as_ref().is_ok_and(|place| place.node == node.facts.name));
            prop_assert_eq!(count, planned.count());
        }
        Ok(())
    });
}

#[tokio::test]
async fn the_filter_knows_template_nodes_and_remembers_nothing() {
    let server = Server::new(EXAMPLE);
    let template = json!({
        "kind": "Node",
        "metadata": {"name": "template-node-for-h100-8472", "labels": {
            "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.count": "8", "tangram.gpu/mig": "dynamic",
        }},
        "status": {"allocatable": {"cpu": "96", "memory": "900Gi", "pods": "110"}},
    });
    let full = json!({"kind": "Node", "metadata": {"name": "cpu-01"}});
    let mut pod = gpu_pod("never-seen", "tangram.gpu/mig-7g.80gb", 1);
    pod["metadata"]["uid"] = json!("u-1");
    let args = json!({"Pod": pod, "Nodes": {"items": [template, full]}});
    let before = server.get("/v1/cluster").await;
    let answer = server.post("/v1/filter", args.to_string()).await;
    let items = answer["Nodes"]["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{answer:#}");
    assert_eq!(items[0], template, "given back as it came");
    assert_eq!(answer["FailedAndUnresolvableNodes"], json!({"cpu-01": "node has no dynamic MIG GPU"}));
    assert_eq!((&answer["Error"], &answer["NodeNames"]), (&json!(""), &Value::Null));
    // By name only what the cluster has is known.
    let names = json!({"Pod": args["Pod"], "NodeNames": ["dyn-h100-06", "template-node-for-h100-8472"]});
    let answer = server.post("/v1/filter", names.to_string()).await;
    assert_eq!(answer["NodeNames"], json!(["dyn-h100-06"]));
    assert_eq!(
        answer["FailedAndUnresolvableNodes"]["template-node-for-h100-8472"],
        "node unknown to Tangram"
    );
    assert_eq!(server.get("/v1/cluster").await, before, "the pod is not remembered, nor is the node");
    // The extender's own filter gives the same answer, and remembers the pod.
    assert_eq!(server.post("/scheduler/filter", names.to_string()).await, answer);
    let pending = |view: &Value| view["pending"].as_array().unwrap().len();
    assert_eq!(pending(&server.get("/v1/cluster").await), pending(&before) + 1);
    for (body, error) in [("{", "EOF"), ("{}", "Pod is missing")] {
        let (status, answer) = server.send("POST", "/v1/filter", body).await;
        let problem: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!((status.as_u16(), &problem["status"]), (400, &json!(400)));
        assert!(problem["detail"].as_str().unwrap().contains(error), "{problem}");
    }
}
