//! What a live Tangram says and does while it does not know the cluster, knows it no longer, or cannot read a part
//! of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/plane/mod.rs"]
#[expect(dead_code, unused_imports, reason = "each test file uses what it needs of the harness")]
mod plane;

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams};
use plane::agent::AgentDouble;
use plane::ask::Answer;
use plane::{Plane, Tangram, fake_node, pod, wait_until};
use serde_json::{Value, json};

/// Longer than anything takes that a test waits for, on a machine with all its cores taken.
const LIMIT: Duration = Duration::from_mins(2);
/// Age of a model that refuses binds, as configured here.
const AGE_MAX_S: u64 = 3;

const WHOLE: [(&str, &str); 1] = [("nvidia.com/gpu", "1")];
const SLICE: [(&str, &str); 1] = [("tangram.gpu/mig-1g.10gb", "1")];

/// One replica, which leads without asking.
fn alone() -> String {
    let kubernetes = json!({ "modelAgeMaxSeconds": AGE_MAX_S, "leaderElection": { "mode": "none" } });
    json!({ "kubernetes": kubernetes }).to_string()
}

async fn add_whole_node(plane: &Plane, name: &str) {
    let labels = [("nvidia.com/gpu.product", "Tesla-T4"), ("nvidia.com/gpu.count", "8")];
    plane.add_node(&fake_node(name, &labels, &[("nvidia.com/gpu", "8")], &[])).await;
}

/// What kube-scheduler asks first.
async fn filter(tangram: &Tangram, pod: &Pod, nodes: &[&str]) -> Answer {
    let request = json!({ "Pod": pod, "Nodes": null, "NodeNames": nodes });
    let answer = tangram.post_any("/scheduler/filter", &request).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap()
}

/// Whether the node fits, by kube-scheduler's question; it is bound there when it does.
async fn is_bound(plane: &Plane, tangram: &Tangram, name: &str, node: &str) -> Result<(), String> {
    let pending = plane.pod(name).await;
    let fits = json_of(&filter(tangram, &pending, &[node]).await);
    if fits["NodeNames"] != json!([node]) {
        return Err(fits.to_string());
    }
    bind(tangram, &pending, node).await
}

async fn bind(tangram: &Tangram, pod: &Pod, node: &str) -> Result<(), String> {
    let metadata = &pod.metadata;
    let arguments = json!({
        "PodName": metadata.name,
        "PodNamespace": metadata.namespace,
        "PodUID": metadata.uid,
        "Node": node,
    });
    let answer = tangram.post("/scheduler/bind", &arguments).await;
    let error = answer["Error"].as_str().unwrap();
    if error.is_empty() { Ok(()) } else { Err(error.to_owned()) }
}

fn age_ms(answer: &Answer) -> u64 {
    let age = answer.headers.get("tangram-model-age-ms").expect("every answer says how old the model is");
    age.to_str().unwrap().parse().unwrap()
}

async fn model_is_true(tangram: &Tangram) {
    let answer = tangram.get("/debug/compare").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(json_of(&answer)["differences"], json!([]));
}

/// A line of the metrics, by its name with labels.
async fn metric(tangram: &Tangram, name: &str) -> Option<f64> {
    let text = tangram.get("/metrics").await.body;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

#[tokio::test]
async fn nothing_is_answered_before_everything_was_read_and_the_reasons_are_told() {
    let plane = Plane::start().await;
    plane.define_gpunodes().await;
    add_whole_node(&plane, "n-a").await;
    plane.add_pod(&pod("first", &WHOLE)).await;
    let link = plane.link().await;
    link.black_hole(true);
    let mut tangram = Tangram::live(&link.admin.kubeconfig, "", None).await;

    let answer = tangram.get("/readyz").await;
    let reasons: Vec<&str> = answer.body.lines().collect();
    let not_listed =
        ["Node", "GpuNode", "Lease", "Pod"].map(|kind| format!("{kind} objects are not listed yet"));
    assert_eq!(answer.status, 503);
    assert_eq!(reasons[..4], not_listed);
    assert_eq!(reasons[4..], ["this replica does not lead"]);
    assert_eq!(tangram.get("/livez").await.status, 200);
    assert_eq!(metric(&tangram, "tangram_model_age_seconds").await, Some(-1.0));
    assert_eq!(metric(&tangram, "tangram_leader").await, Some(0.0));
    let first = plane.pod("first").await;
    let answer = filter(&tangram, &first, &["n-a"]).await;
    assert!(!answer.headers.contains_key("tangram-model-age-ms"));
    let refusal = json_of(&answer);
    // Not that the node does not fit: kube-scheduler would believe it.
    assert_eq!(refusal["FailedNodes"].as_object().map_or(0, serde_json::Map::len), 0, "{refusal}");
    assert!(refusal["Error"].as_str().unwrap().contains("Tangram is not ready: Node objects"), "{refusal}");
    let error = bind(&tangram, &first, "n-a").await.unwrap_err();
    assert!(error.contains("Tangram is not ready: Node objects are not listed yet"), "{error}");

    link.black_hole(false);
    tangram.ready().await;
    assert_eq!(metric(&tangram, "tangram_leader").await, Some(1.0));
    is_bound(&plane, &tangram, "first", "n-a").await.unwrap();
    assert_eq!(plane.node_of("first").await, "n-a");
}

#[tokio::test]
async fn without_an_api_server_the_model_ages_and_binds_are_refused_until_it_is_back() {
    let plane = Plane::start().await;
    plane.define_gpunodes().await;
    add_whole_node(&plane, "n-a").await;
    let mut tangram = Tangram::live(&plane.kubeconfig(), &alone(), None).await;
    tangram.ready().await;
    for name in ["before", "after"] {
        plane.add_pod(&pod(name, &WHOLE)).await;
    }
    is_bound(&plane, &tangram, "before", "n-a").await.unwrap();
    let after = plane.pod("after").await;

    plane.stop_apiserver().await;
    let at_first = age_ms(&filter(&tangram, &after, &["n-a"]).await);
    let is_old = async || {
        let answer = filter(&tangram, &after, &["n-a"]).await;
        // It fits all the same: the model is the last that was true.
        assert_eq!(json_of(&answer)["NodeNames"], json!(["n-a"]));
        Some(age_ms(&answer)).filter(|&age_ms| age_ms > AGE_MAX_S * 1000)
    };
    let at_last = wait_until("the model is old", LIMIT, is_old).await;
    assert!(at_last > at_first);
    assert!(metric(&tangram, "tangram_model_age_seconds").await.unwrap() > 3.0);
    let error = bind(&tangram, &after, "n-a").await.unwrap_err();
    assert_eq!(error, "the API server has not been heard of for 3 s (kubernetes.modelAgeMaxSeconds)");
    assert_eq!(tangram.get("/debug/compare").await.status, 503);
    // It is the only replica: nobody else would answer.
    assert_eq!(tangram.get("/readyz").await.status, 200);

    plane.start_apiserver().await;
    add_whole_node(&plane, "n-b").await;
    let is_young = async || {
        let answer = filter(&tangram, &after, &["n-a", "n-b"]).await;
        let sees_all = json_of(&answer)["NodeNames"] == json!(["n-a", "n-b"]);
        (sees_all && age_ms(&answer) < AGE_MAX_S * 1000).then_some(())
    };
    wait_until("the model is young again, and has what came meanwhile", LIMIT, is_young).await;
    is_bound(&plane, &tangram, "after", "n-a").await.unwrap();
    assert_eq!(plane.node_of("after").await, "n-a");
    model_is_true(&tangram).await;
}

#[tokio::test]
async fn a_kind_that_is_defined_later_is_read_from_then_on() {
    let plane = Plane::start().await;
    let labels = [
        ("nvidia.com/gpu.product", "NVIDIA-A100-SXM4-80GB"),
        ("nvidia.com/gpu.count", "1"),
        ("tangram.gpu/mig", "dynamic"),
    ];
    plane.add_node(&fake_node("n-a", &labels, &[], &[])).await;
    add_whole_node(&plane, "n-b").await;
    for (name, requests) in [("slice", SLICE), ("whole", WHOLE)] {
        plane.add_pod(&pod(name, &requests)).await;
    }
    let mut tangram = Tangram::live(&plane.kubeconfig(), &alone(), None).await;
    tangram.ready().await;
    // Without agents no GPU is partitioned, and all else works.
    is_bound(&plane, &tangram, "slice", "n-a").await.unwrap_err();
    is_bound(&plane, &tangram, "whole", "n-b").await.unwrap();
    model_is_true(&tangram).await;

    plane.define_gpunodes().await;
    let _agents = AgentDouble::start(plane.client());
    let bound = async || is_bound(&plane, &tangram, "slice", "n-a").await.ok();
    wait_until("the agent's report is read", LIMIT, bound).await;
    assert_eq!(plane.node_of("slice").await, "n-a");
    model_is_true(&tangram).await;
}

#[tokio::test]
async fn objects_that_make_no_sense_are_counted_and_stop_nothing_else() {
    let plane = Plane::start().await;
    plane.define_gpunodes().await;
    add_whole_node(&plane, "n-a").await;
    // Numbers that cannot be.
    let labels = [("nvidia.com/gpu.product", "NVIDIA-A100-SXM4-80GB"), ("nvidia.com/gpu.count", "many")];
    plane.add_node(&fake_node("broken", &labels, &[("nvidia.com/gpu", "1e30")], &[])).await;
    plane.add_pod(&pod("listed", &[("tangram.gpu/nonsense", "1")])).await;
    let mut tangram = Tangram::live(&plane.kubeconfig(), &alone(), None).await;
    tangram.ready().await;
    let now = r#"tangram_unreadable_objects{kind="Pod"}"#;
    let ever = r#"tangram_unreadable_total{kind="Pod"}"#;
    assert_eq!(metric(&tangram, now).await, Some(1.0));

    // One that is watched, then others behind it on the same watch.
    plane.add_pod(&pod("watched", &[("tangram.gpu/nonsense", "1")])).await;
    plane.add_pod(&pod("sound", &WHOLE)).await;
    let counted = async |objects| {
        wait_until("it is counted", LIMIT, async || {
            (metric(&tangram, now).await == Some(objects)).then_some(())
        })
        .await;
    };
    counted(2.0).await;
    assert!(metric(&tangram, ever).await.unwrap() >= 2.0);
    is_bound(&plane, &tangram, "sound", "n-a").await.unwrap();
    assert_eq!(plane.node_of("sound").await, "n-a");
    let refused = json_of(&filter(&tangram, &plane.pod("watched").await, &["n-a"]).await);
    let why = refused["FailedAndUnresolvableNodes"]["n-a"].as_str().unwrap();
    assert!(
        why.starts_with("Pod default/watched: ") && why.contains("requests[tangram.gpu/nonsense]"),
        "{why}"
    );

    // The node is there, says what is wrong with it, and takes nothing.
    let view = json_of(&tangram.get("/v1/cluster").await);
    let problems = |name: &str| {
        let nodes = view["nodes"].as_array().unwrap();
        nodes.iter().find(|node| node["name"] == name).unwrap()["problems"].to_string()
    };
    assert_eq!(problems("n-a"), "null");
    assert!(problems("broken").contains("status.allocatable"), "{view}");
    plane.add_pod(&pod("other", &WHOLE)).await;
    is_bound(&plane, &tangram, "other", "broken").await.unwrap_err();

    let pods = Api::<Pod>::default_namespaced(plane.client());
    for name in ["listed", "watched"] {
        pods.delete(name, &DeleteParams::default().grace_period(0)).await.unwrap();
    }
    counted(0.0).await;
    model_is_true(&tangram).await;
}
