//! The extender protocol over HTTP: every rule of the wire, asserted on whole answers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::needless_pass_by_value, reason = "json!() reads better without a borrow")]

#[path = "common/http.rs"]
mod http;

use http::Server;
use serde_json::{Value, json};
use tangram::config::Config;

/// Two whole-GPU nodes, one of them partly used; a dynamic one whose only GPU is fragmented; a CPU node.
fn cluster() -> String {
    let whole = |name: &str| {
        node(
            name,
            json!({"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.count": "8"}),
            json!({"nvidia.com/gpu": "8"}),
        )
    };
    let dynamic = json!({"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB", "nvidia.com/gpu.count": "1", "tangram.gpu/mig": "dynamic"});
    list(&[
        whole("whole-a"),
        whole("whole-b"),
        node("dynamic", dynamic, json!({})),
        node("cpu", json!({}), json!({})),
        on("whole-b", pod("three", "uid-three", 0, json!({"nvidia.com/gpu": "3"}))),
        sliced("dynamic", "left", "2g.20gb", 0),
        sliced("dynamic", "right", "2g.20gb", 4),
    ])
}

fn list(items: &[Value]) -> String {
    json!({"kind": "List", "items": items}).to_string()
}

fn node(name: &str, labels: Value, devices: Value) -> Value {
    let mut allocatable = json!({"cpu": "64", "memory": "512Gi", "pods": "110"});
    allocatable.as_object_mut().unwrap().extend(devices.as_object().unwrap().clone());
    json!({"kind": "Node", "metadata": {"name": name, "labels": labels}, "status": {"allocatable": allocatable}})
}

fn pod(name: &str, uid: &str, priority: i32, devices: Value) -> Value {
    json!({
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": uid},
        "spec": {"priority": priority, "containers": [{"name": "main", "resources": {"limits": devices}}]},
    })
}

fn on(node: &str, mut pod: Value) -> Value {
    pod["spec"]["nodeName"] = json!(node);
    pod
}

fn sliced(node: &str, name: &str, profile: &str, start: u8) -> Value {
    let mut pod = pod(name, &format!("uid-{name}"), 0, json!({format!("tangram.gpu/mig-{profile}"): "1"}));
    let placement = json!({"version": 1, "devices": [{"container": "main", "gpu": 0, "profile": profile, "start": start}]});
    pod["metadata"]["annotations"] = json!({"tangram.gpu/placement": placement.to_string()});
    on(node, pod)
}

const ALL: [&str; 4] = ["whole-a", "whole-b", "dynamic", "cpu"];

fn asks(pod: &Value, names: &[&str]) -> String {
    json!({"Pod": pod, "Nodes": null, "NodeNames": names}).to_string()
}

fn answer(fitting: &[&str], failed: Value, unresolvable: Value) -> Value {
    json!({"NodeNames": fitting, "Nodes": null, "FailedNodes": failed, "FailedAndUnresolvableNodes": unresolvable, "Error": ""})
}

#[tokio::test]
async fn a_whole_gpu_goes_where_whole_gpus_are_and_first_to_the_node_in_use() {
    let server = Server::new(&cluster());
    let pod = pod("p", "u", 0, json!({"nvidia.com/gpu": "1"}));
    let none = "node does not offer nvidia.com/gpu";
    let expected = answer(&["whole-a", "whole-b"], json!({}), json!({"dynamic": none, "cpu": none}));
    assert_eq!(server.post("/scheduler/filter", asks(&pod, &ALL)).await, expected);
    let scores = server.post("/scheduler/prioritize", asks(&pod, &["whole-a", "whole-b"])).await;
    assert_eq!(scores, json!([{"Host": "whole-a", "Score": 0}, {"Host": "whole-b", "Score": 10}]));
}

#[tokio::test]
async fn eviction_is_called_helpful_only_where_pods_of_lower_priority_are_in_the_way() {
    let server = Server::new(&cluster());
    let full = "not enough free nvidia.com/gpu";
    let none = "node does not offer nvidia.com/gpu";
    let few = "node has fewer than 9 nvidia.com/gpu";
    for (priority, count, failed, unresolvable) in [
        (0, "8", json!({}), json!({"whole-b": full, "dynamic": none, "cpu": none})),
        (1, "8", json!({"whole-b": full}), json!({"dynamic": none, "cpu": none})),
        (1, "9", json!({}), json!({"whole-a": few, "whole-b": few, "dynamic": none, "cpu": none})),
    ] {
        let pod = pod("p", "u", priority, json!({"nvidia.com/gpu": count}));
        let fitting: &[&str] = if count == "8" { &["whole-a"] } else { &[] };
        let expected = answer(fitting, failed, unresolvable);
        assert_eq!(server.post("/scheduler/filter", asks(&pod, &ALL)).await, expected, "{priority} {count}");
    }
}

#[tokio::test]
async fn every_refusal_of_mig_names_its_cause() {
    let server = Server::new(&cluster());
    for (resource, reason) in [
        ("tangram.gpu/mig-3g.40gb", "free memory slices for 3g.40gb, but no legal placement"),
        ("tangram.gpu/mig-7g.80gb", "no GPU has enough free memory slices for 7g.80gb"),
        ("tangram.gpu/mig-1g.5gb", "GPU model has no 1g.5gb"),
        ("tangram.gpu/mig-9g.99gb", "no GPU model has 9g.99gb"),
        ("tangram.gpu/mem", "no GPU model has 999999 MiB"),
    ] {
        let count = if resource.ends_with("mem") { "999999" } else { "1" };
        let pod = pod("p", "u", 0, json!({resource: count}));
        let expected = answer(&[], json!({}), json!({"dynamic": reason}));
        assert_eq!(server.post("/scheduler/filter", asks(&pod, &["dynamic"])).await, expected);
    }
    let two = pod("p", "u", 1, json!({"tangram.gpu/mig-2g.20gb": "2"}));
    let together =
        answer(&[], json!({"dynamic": "not room for all 2 MIG devices of the pod together"}), json!({}));
    assert_eq!(server.post("/scheduler/filter", asks(&two, &["dynamic"])).await, together);
    let many = pod("p", "u", 1, json!({"tangram.gpu/mig-3g.40gb": "3"}));
    let never = server.post("/scheduler/filter", asks(&many, &["cpu", "dynamic"])).await;
    assert_eq!(never["FailedNodes"], json!({}));
}

#[tokio::test]
async fn keys_come_in_any_casing_and_the_last_of_equal_ones_wins() {
    let server = Server::new(&cluster());
    let pod = pod("p", "u", 0, json!({"nvidia.com/gpu": "1"}));
    for body in [
        format!(r#"{{"pod":{pod},"nodenames":["whole-a"]}}"#),
        format!(r#"{{"POD":{pod},"nodeNames":["whole-a"],"future":[{{}}]}}"#),
        format!(r#"{{"Pod":null,"NodeNames":["cpu"],"pod":{pod},"nodeNames":["whole-a"],"Nodes":null}}"#),
    ] {
        let expected = answer(&["whole-a"], json!({}), json!({}));
        assert_eq!(server.post("/scheduler/filter", body.clone()).await, expected, "{body}");
    }
}

#[tokio::test]
async fn unknown_nodes_are_refused_and_duplicates_answered_once() {
    let server = Server::new(&cluster());
    let pod = pod("p", "u", 0, json!({"nvidia.com/gpu": "1"}));
    let names = ["ghost", "whole-a", "ghost", "whole-a", "wh\"ole\n"];
    let unknown = "node unknown to Tangram";
    let expected = answer(&["whole-a"], json!({}), json!({"ghost": unknown, "wh\"ole\n": unknown}));
    assert_eq!(server.post("/scheduler/filter", asks(&pod, &names)).await, expected);
    let scores = server.post("/scheduler/prioritize", asks(&pod, &names)).await;
    let expected = json!([{"Host": "whole-a", "Score": 10}, {"Host": "ghost", "Score": 0}, {"Host": "wh\"ole\n", "Score": 0}]);
    assert_eq!(scores, expected);
    let (_, text) = server.send("POST", "/scheduler/filter", asks(&pod, &names)).await;
    assert_eq!(String::from_utf8(text).unwrap().matches("ghost").count(), 1);
}

#[tokio::test]
async fn requests_of_containers_add_up_as_kubernetes_adds_them() {
    let server = Server::new(&cluster());
    let gpus = |count: &str| json!({"limits": {"nvidia.com/gpu": count}});
    // max(init 6, sidecar 1 + init 4, sidecar 1 + main 2 + 1) = 6: eight fit on a, five on b.
    let mut pod = pod("p", "u", 0, json!({}));
    pod["spec"]["containers"] =
        json!([{"name": "a", "resources": gpus("2")}, {"name": "b", "resources": gpus("1")}]);
    let sidecar = json!({"name": "s", "restartPolicy": "Always", "resources": gpus("1")});
    pod["spec"]["initContainers"] =
        json!([{"name": "i", "resources": gpus("6")}, sidecar, {"name": "j", "resources": gpus("4")}]);
    let full = json!({"whole-b": "not enough free nvidia.com/gpu"});
    let expected = answer(&["whole-a"], json!({}), full.clone());
    assert_eq!(server.post("/scheduler/filter", asks(&pod, &["whole-a", "whole-b"])).await, expected);
    // max(6 -> 5, 1 + 4) = 5 fits on both.
    pod["spec"]["initContainers"][0]["resources"] = gpus("5");
    let expected = answer(&["whole-a", "whole-b"], json!({}), json!({}));
    assert_eq!(server.post("/scheduler/filter", asks(&pod, &["whole-a", "whole-b"])).await, expected);
    // sidecar 2 + init 4 = 6 does not.
    pod["spec"]["initContainers"][1]["resources"] = gpus("2");
    let expected = answer(&["whole-a"], json!({}), full);
    assert_eq!(server.post("/scheduler/filter", asks(&pod, &["whole-a", "whole-b"])).await, expected);
}

#[tokio::test]
async fn a_workload_is_played_over_http() {
    let server = Server::new(&cluster());
    let pod = |name: &str| pod(name, &format!("uid-{name}"), 0, json!({"nvidia.com/gpu": "5"}));
    let bind = |name: &str, node: &str| {
        json!({"PodName": name, "PodNamespace": "default", "PodUID": format!("uid-{name}"), "Node": node})
            .to_string()
    };
    let unknown = json!({"Error": "pod default/one is not known: it is in no cluster file and no filter request named it"});
    assert_eq!(server.post("/scheduler/bind", bind("one", "whole-b")).await, unknown);

    server.post("/scheduler/filter", asks(&pod("one"), &ALL)).await;
    let done = json!({"Error": ""});
    assert_eq!(server.post("/scheduler/bind", bind("one", "whole-b")).await, done);
    assert_eq!(
        server.post("/scheduler/bind", bind("one", "whole-b")).await,
        done,
        "asking twice is harmless"
    );
    let elsewhere = json!({"Error": "pod default/one is already bound to node whole-b"});
    assert_eq!(server.post("/scheduler/bind", bind("one", "whole-a")).await, elsewhere);

    server.post("/scheduler/filter", asks(&pod("two"), &ALL)).await;
    let full = json!({"Error": "pod default/two does not fit node whole-b: not enough free nvidia.com/gpu"});
    assert_eq!(server.post("/scheduler/bind", bind("two", "whole-b")).await, full);
    let ghost = json!({"Error": "node ghost is not known"});
    assert_eq!(server.post("/scheduler/bind", bind("two", "ghost")).await, ghost);

    let gone = |deleted: bool| serde_json::to_vec(&json!({"deleted": deleted})).unwrap();
    assert_eq!(
        server.send("DELETE", "/v1/pods/default/one", "").await,
        (200.try_into().unwrap(), gone(true))
    );
    assert_eq!(
        server.send("DELETE", "/v1/pods/default/one", "").await,
        (200.try_into().unwrap(), gone(false))
    );
    assert_eq!(server.post("/scheduler/bind", bind("two", "whole-b")).await, done);

    let other = json!({"PodName": "two", "PodNamespace": "default", "PodUID": "uid-new", "Node": "whole-b"});
    let stale =
        json!({"Error": "pod default/two has uid uid-two, not uid-new: it was deleted and created again"});
    assert_eq!(server.post("/scheduler/bind", other.to_string()).await, stale);
}

#[tokio::test]
async fn binding_a_slice_takes_its_place_and_deleting_frees_it() {
    let server = Server::new(&cluster());
    let slice = pod("p", "u", 0, json!({"tangram.gpu/mig-2g.20gb": "1"}));
    server.post("/scheduler/filter", asks(&slice, &["dynamic"])).await;
    let bind =
        json!({"PodName": "p", "PodNamespace": "default", "PodUID": "u", "Node": "dynamic"}).to_string();
    let gpu = async || server.get("/v1/cluster").await["nodes"][1]["gpus"][0]["slices"].clone();
    assert_eq!(gpu().await, "22..22..");
    assert_eq!(server.post("/scheduler/bind", bind).await, json!({"Error": ""}));
    assert_eq!(gpu().await, "222222..");
    server.send("DELETE", "/v1/pods/default/p", "").await;
    assert_eq!(gpu().await, "22..22..");
}

#[tokio::test]
async fn preemption_drops_nodes_that_still_do_not_fit_and_spares_whom_it_can() {
    let low = |name: &str, node: &str, gpus: &str| {
        on(node, pod(name, &format!("uid-{name}"), 1, json!({"nvidia.com/gpu": gpus})))
    };
    let labels = json!({"nvidia.com/gpu.product": "NVIDIA-L40S", "nvidia.com/gpu.count": "4"});
    let cluster = list(&[
        node("n1", labels.clone(), json!({"nvidia.com/gpu": "4"})),
        node("n2", labels, json!({"nvidia.com/gpu": "4"})),
        low("a", "n1", "2"),
        low("b", "n1", "2"),
        low("c", "n2", "1"),
        on("n2", pod("d", "uid-d", 100, json!({"nvidia.com/gpu": "3"}))),
    ]);
    let server = Server::new(&cluster);
    let high = pod("high", "uid-high", 10, json!({"nvidia.com/gpu": "2"}));
    let uids = |uids: &[&str]| json!({"Pods": uids.iter().map(|uid| json!({"UID": uid})).collect::<Vec<_>>(), "NumPDBViolations": 1});
    let ask = |victims: Value| json!({"Pod": high, "NodeNameToMetaVictims": victims}).to_string();
    let answer = |victims: Value| json!({"NodeNameToMetaVictims": victims});

    // b is enough on n1; c cannot make room for two on n2; n3 is not known.
    let asked = ask(json!({"n1": uids(&["uid-a", "uid-b"]), "n2": uids(&["uid-c"]), "n3": uids(&["uid-x"])}));
    assert_eq!(server.post("/scheduler/preempt", asked).await, answer(json!({"n1": uids(&["uid-b"])})));
    // A victim that the model does not know is kube-scheduler's own affair.
    let asked = ask(json!({"n1": uids(&["uid-a", "uid-unknown"])}));
    assert_eq!(
        server.post("/scheduler/preempt", asked).await,
        answer(json!({"n1": uids(&["uid-a", "uid-unknown"])}))
    );
    // No victims given: Tangram names the fewest, never one of higher priority.
    let none = json!({"Pods": null, "NumPDBViolations": 0});
    let asked = ask(json!({"n1": none, "n2": none}));
    let chosen = json!({"n1": {"Pods": [{"UID": "uid-b"}], "NumPDBViolations": 0}});
    assert_eq!(server.post("/scheduler/preempt", asked).await, answer(chosen));
    for nothing in [json!({}), Value::Null] {
        assert_eq!(server.post("/scheduler/preempt", ask(nothing)).await, answer(json!({})));
    }
    // Whole pods as victims; the answer is in UIDs all the same.
    let full = json!({"n1": {"Pods": [{"metadata": {"name": "a", "uid": "uid-a"}}], "NumPDBViolations": 0}});
    let asked = json!({"Pod": high, "NodeNameToVictims": full, "NodeNameToMetaVictims": null}).to_string();
    let expected = answer(json!({"n1": {"Pods": [{"UID": "uid-a"}], "NumPDBViolations": 0}}));
    assert_eq!(server.post("/scheduler/preempt", asked).await, expected);
}

#[tokio::test]
async fn a_victim_that_may_be_chosen_for_unmodelled_reasons_is_not_spared() {
    let labels = json!({"nvidia.com/gpu.product": "NVIDIA-L40S", "nvidia.com/gpu.count": "4"});
    let low = |name: &str| on("n1", pod(name, &format!("uid-{name}"), 1, json!({"nvidia.com/gpu": "1"})));
    let server =
        Server::new(&list(&[node("n1", labels, json!({"nvidia.com/gpu": "4"})), low("a"), low("b")]));
    let mut high = pod("high", "uid-high", 10, json!({"nvidia.com/gpu": "3"}));
    high["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    let victims = json!({"n1": {"Pods": [{"UID": "uid-a"}, {"UID": "uid-b"}], "NumPDBViolations": 0}});
    let asked = json!({"Pod": high, "NodeNameToMetaVictims": victims}).to_string();
    assert_eq!(server.post("/scheduler/preempt", asked).await, json!({"NodeNameToMetaVictims": victims}));
}

#[tokio::test]
async fn a_pod_that_makes_no_sense_is_refused_by_every_node_in_the_same_words() {
    let server = Server::new(&cluster());
    let mut cases = vec![
        (
            json!({"nvidia.com/gpu": "NaN"}),
            r#"Pod default/p: spec.containers[0].resources.limits[nvidia.com/gpu]: "NaN" is not a Kubernetes quantity"#,
        ),
        (
            json!({"nvidia.com/gpu": "-1"}),
            r#"Pod default/p: spec.containers[0].resources.limits[nvidia.com/gpu]: "-1" is negative"#,
        ),
        (
            json!({"nvidia.com/gpu": "0.5"}),
            r#"Pod default/p: spec.containers[0].resources.limits[nvidia.com/gpu]: "0.5" is not a whole number"#,
        ),
        (
            json!({"tangram.gpu/mig-huge": "1"}),
            "Pod default/p: spec.containers[0].resources.limits[tangram.gpu/mig-huge]: no resource of Tangram: mig-<profile>, mem and compute-slices are",
        ),
        (
            json!({"tangram.gpu/compute-slices": "2"}),
            "Pod default/p: spec.containers[0].resources.limits[tangram.gpu/compute-slices]: goes with tangram.gpu/mem, which the container does not ask for",
        ),
        (
            json!({"tangram.gpu/mig-1g.10gb": "4000000000"}),
            "Pod default/p: spec.containers: 4000000000 tangram.gpu/mig-1g.10gb: a pod may ask for 8 MIG devices (limits.migDevicesPerPod)",
        ),
    ];
    let mut bodies: Vec<(Value, &str)> =
        cases.drain(..).map(|(devices, reason)| (pod("p", "u", 0, devices), reason)).collect();
    let mut policy = pod("p", "u", 0, json!({"nvidia.com/gpu": "1"}));
    policy["metadata"]["annotations"] = json!({"tangram.gpu/policy": "fastest"});
    bodies.push((
        policy,
        r#"Pod default/p: metadata.annotations[tangram.gpu/policy]: "fastest" is not known (pack, spread, best-fit, first-fit, mfi, fgd, random(SEED))"#,
    ));
    for (pod, reason) in bodies {
        let expected = answer(&[], json!({}), json!({"whole-a": reason, "cpu": reason}));
        assert_eq!(server.post("/scheduler/filter", asks(&pod, &["whole-a", "cpu"])).await, expected);
    }
}

#[tokio::test]
async fn a_pod_of_two_modes_that_no_node_serves_together_is_refused() {
    let server = Server::new(&cluster());
    let pod = pod("p", "u", 0, json!({"nvidia.com/gpu": "1", "tangram.gpu/mig-1g.10gb": "1"}));
    let unresolvable = json!({
        "whole-a": "node has no dynamic MIG GPU",
        "whole-b": "node has no dynamic MIG GPU",
        "dynamic": "node does not offer nvidia.com/gpu",
        "cpu": "node does not offer nvidia.com/gpu",
    });
    assert_eq!(
        server.post("/scheduler/filter", asks(&pod, &ALL)).await,
        answer(&[], json!({}), unresolvable)
    );
}

#[tokio::test]
async fn unreadable_bodies_are_answered_in_the_form_of_each_verb() {
    let mut config = Config::default();
    config.limits.body_bytes = 4096;
    config.limits.node_names = 3;
    let server = Server::with(&cluster(), &config);
    let pod = pod("p", "u", 0, json!({"nvidia.com/gpu": "1"}));
    let cases = [
        (String::new(), "EOF while parsing a value at line 1 column 0".to_owned()),
        ("{\"Pod\":".to_owned(), "EOF while parsing a value at line 1 column 7".to_owned()),
        ("[]".to_owned(), "invalid type: sequence, expected ExtenderArgs: an object with Pod and NodeNames or Nodes at line 1 column 0".to_owned()),
        (r#"{"NodeNames":[]}"#.to_owned(), "Pod is missing".to_owned()),
        (asks(&pod, &ALL), "4 nodes, the limit is 3 (limits.nodeNames)".to_owned()),
        (asks(&pod, &[&"n".repeat(300)]), "node name 0 has 300 bytes, the limit is 253 (limits.nameBytes)".to_owned()),
        (asks(&pod, &[&"n".repeat(5000)]), "the body has more than 4096 bytes (limits.bodyBytes)".to_owned()),
    ];
    for (body, error) in cases {
        let filtered = server.post("/scheduler/filter", body.clone()).await;
        let expected = json!({"NodeNames": null, "Nodes": null, "FailedNodes": {}, "FailedAndUnresolvableNodes": {}, "Error": error});
        assert_eq!(filtered, expected, "{body:.100}");
        let (status, problem) = server.send("POST", "/scheduler/prioritize", body).await;
        let problem: Value = serde_json::from_slice(&problem).unwrap();
        assert_eq!((status.as_u16(), &problem["detail"]), (400, &json!(error)));
    }
    let missing = json!({"Error": "PodName is missing"});
    assert_eq!(server.post("/scheduler/bind", "{}").await, missing);
    assert_eq!(
        server.post("/scheduler/bind", r#"{"PodName":7}"#).await,
        json!({"Error": "PodName is not a string"})
    );
    let (status, problem) =
        server.send("POST", "/scheduler/preempt", r#"{"Pod":{},"NodeNameToMetaVictims":[]}"#).await;
    let problem: Value = serde_json::from_slice(&problem).unwrap();
    assert_eq!(
        (status.as_u16(), &problem["detail"]),
        (400, &json!("NodeNameToMetaVictims is not an object"))
    );
}

#[tokio::test]
async fn nesting_without_end_is_refused_and_nothing_falls_over() {
    let server = Server::new(&cluster());
    let deep = format!(r#"{{"Pod":{}"#, r#"{"spec":"#.repeat(100_000));
    let answer = server.post("/scheduler/filter", deep).await;
    assert!(answer["Error"].as_str().unwrap().starts_with("EOF while parsing"), "{answer}");
    let deep = format!(r#"{{"Pod":{}"#, "[".repeat(100_000));
    for verb in ["bind", "preempt"] {
        let (_, answer) = server.send("POST", &format!("/scheduler/{verb}"), deep.clone()).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains("recursion limit exceeded"), "{verb}: {answer}");
    }
    assert_eq!(server.get("/v1/cluster").await["generation"], 1);
}

#[tokio::test]
async fn names_without_end_are_refused_without_repeating_them() {
    let server = Server::new(&cluster());
    let long = "n".repeat(300);
    for (pod, field) in [
        (pod(&long, "u", 0, json!({"nvidia.com/gpu": "1"})), "metadata.name"),
        (pod("p", &long, 0, json!({"nvidia.com/gpu": "1"})), "metadata.uid"),
        (pod("p", "u", 0, json!({format!("nvidia.com/mig-{long}"): "1"})), "spec.containers[].resources"),
    ] {
        let reason = format!(
            "Pod: {field}: a name of {} bytes, the limit is 253 (limits.nameBytes)",
            if field.ends_with("resources") { 315 } else { 300 }
        );
        let expected = answer(&[], json!({}), json!({"cpu": reason}));
        assert_eq!(server.post("/scheduler/filter", asks(&pod, &["cpu"])).await, expected);
    }
    let bind = json!({"PodName": long, "PodNamespace": "default", "PodUID": "u", "Node": "cpu"}).to_string();
    let expected = json!({"Error": "PodName has 300 bytes, the limit is 253 (limits.nameBytes)"});
    assert_eq!(server.post("/scheduler/bind", bind).await, expected);
}
