//! What dies, stalls and gets lost while pods are bound, on a real control plane.
//!
//! After each of these everything comes to rest by itself: nothing is held twice,
//! no placement is lost, no pod waits that fits somewhere, the model is what a
//! rebuild gives. What is checked stands in `Plane::at_rest`.

#[path = "common/plane/mod.rs"]
#[expect(dead_code, unused_imports, reason = "each test file uses what it needs of the harness")]
mod plane;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use plane::agent::{AgentDouble, Manner};
use plane::crowd::{LIMIT, for_tangram, tangram_on};
use plane::dice::Dice;
use plane::rules::{Fault, Rule};
use plane::truth::{devices, key};
use plane::workload::{many_nodes, many_pods};
use plane::{Plane, wait_until};
use serde_json::{Value, json};

/// Which requests a fault is for.
type Matches = fn(&hyper::http::request::Parts) -> bool;

/// A plane with nodes of all kinds and their agents, which take a moment for an instance.
async fn cluster(seed: u64, nodes: usize) -> (Plane, AgentDouble) {
    let plane = Plane::start().await;
    plane.define_gpunodes().await;
    plane.add_nodes(&many_nodes(seed, nodes)).await;
    let agents = AgentDouble::start(plane.client());
    agents.manner_of_all(Manner { delay: Duration::from_millis(30), ..Manner::default() });
    (plane, agents)
}

fn pods(seed: u64, count: usize) -> Vec<Pod> {
    many_pods(seed, count).into_iter().map(for_tangram).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_during_three_hundred_binds() {
    let (plane, _agents) = cluster(31, 120).await;
    let mut tangram = tangram_on(&plane.kubeconfig(), &json!({})).await;
    let _scheduler = plane.scheduler_for(&tangram).await;
    plane.add_pods(&pods(32, 300)).await;
    let mut dice = Dice::new(33);
    let mut bound_before = BTreeMap::new();
    for _ in 0..12 {
        tokio::time::sleep(Duration::from_millis(u64::from(50 + dice.roll(700)))).await;
        tangram.kill().await;
        // What is placed stays placed, whatever dies.
        let truth = plane.truth().await;
        let places: BTreeMap<String, (String, Vec<Value>)> =
            truth.bound().map(|(pod, node)| (key(pod), (node.to_owned(), devices(pod)))).collect();
        for (pod, place) in &bound_before {
            assert_eq!(places.get(pod), Some(place), "{pod}");
        }
        bound_before = places;
        tangram.restart().await;
        tangram.ready().await;
    }
    let truth = plane.at_rest(300, &tangram).await;
    assert!(truth.bound().count() >= 180, "{} bound", truth.bound().count());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_every_two_steps_of_a_bind() {
    let (plane, _agents) = cluster(41, 40).await;
    let proxy = plane.proxy().await;
    let mut tangram = tangram_on(&proxy.link.admin.kubeconfig, &json!({})).await;
    let _scheduler = plane.scheduler_for(&tangram).await;
    let is_spec = |asked: &hyper::http::request::Parts| {
        asked.method == "PATCH" && asked.uri.path().contains("/gpunodes/")
    };
    let is_bind = |asked: &hyper::http::request::Parts| asked.uri.path().ends_with("/binding");
    let points: [(&str, Matches, Fault); 4] = [
        ("before the instances are asked for", is_spec, Fault::LoseRequest),
        ("after the instances are asked for", is_spec, Fault::Silence),
        ("before the Binding", is_bind, Fault::LoseRequest),
        ("after the Binding, before its answer", is_bind, Fault::Silence),
    ];
    let mut count = 0;
    for round in 0..3 {
        for (what, matches, fault) in points {
            let before = proxy.exchanges().iter().filter(|exchange| exchange.fault == Some(fault)).count();
            proxy.rule(Rule::when(matches, fault).times(1));
            // Of every kind, some of which need an instance.
            plane.add_pods(&renamed(pods(42 + round, 12), count)).await;
            count += 12;
            let met = async || {
                let after = proxy.exchanges().iter().filter(|exchange| exchange.fault == Some(fault)).count();
                (after > before).then_some(())
            };
            wait_until(what, LIMIT, met).await;
            tangram.kill().await;
            proxy.clear();
            tangram.restart().await;
            tangram.ready().await;
        }
    }
    plane.at_rest(count, &tangram).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_api_server_whose_answers_get_lost() {
    for seed in [51, 52] {
        let (plane, _agents) = cluster(seed, 60).await;
        let proxy = plane.proxy().await;
        proxy.seed(seed);
        let more = json!({ "requestTimeoutSeconds": 1 });
        let tangram = tangram_on(&proxy.link.admin.kubeconfig, &more).await;
        let _scheduler = plane.scheduler_for(&tangram).await;
        let is_write = |asked: &hyper::http::request::Parts| asked.method != "GET";
        let faults = [
            (Fault::LoseAnswer, 12),
            (Fault::LoseRequest, 12),
            (Fault::Answer(500), 12),
            (Fault::DelayAnswer(Duration::from_millis(1300)), 10), // later than anybody waits
            (Fault::DelayRequest(Duration::from_millis(1300)), 10), // carried out when nobody waits any more
            (Fault::DelayRequest(Duration::from_millis(150)), 60),
        ];
        for (fault, percent) in faults {
            proxy.rule(Rule::when(is_write, fault).percent(percent));
        }
        plane.add_pods(&pods(seed + 100, 100)).await;
        tokio::time::sleep(Duration::from_secs(12)).await; // of trouble; then rest
        proxy.clear();
        let truth = plane.at_rest(100, &tangram).await;
        assert!(truth.bound().count() >= 50, "{} bound", truth.bound().count());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_gone_for_a_minute() {
    let (plane, _agents) = cluster(61, 60).await;
    let tangram = tangram_on(&plane.kubeconfig(), &json!({})).await;
    let _scheduler = plane.scheduler_for(&tangram).await;
    plane.add_pods(&pods(62, 60)).await;
    plane.kill_apiserver().await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    // It answers, and says how old what it knows is.
    let answer = tangram.get("/v1/fragmentation").await;
    assert_eq!(answer.status, 200);
    let age_ms: u64 =
        answer.headers["tangram-model-age-ms"].to_str().expect("a number").parse().expect("a number");
    assert!(age_ms >= 59_000, "{age_ms}");
    plane.start_apiserver().await;
    plane.add_pods(&renamed(pods(63, 40), 60)).await;
    plane.at_rest(100, &tangram).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_streams_bind_the_same_pods() {
    let (plane, _agents) = cluster(71, 40).await;
    let proxy = plane.proxy().await;
    let tangram = tangram_on(&proxy.link.admin.kubeconfig, &json!({})).await;
    plane.add_pods(&pods(72, 24)).await;
    let nominated = async || {
        let pods = plane.truth().await.pods;
        let is_told =
            |pod: &Pod| pod.status.as_ref().is_some_and(|status| status.nominated_node_name.is_some());
        let told: Vec<Pod> = pods.into_iter().filter(is_told).collect();
        (told.len() >= 12).then_some(told)
    };
    let told = wait_until("nominations", LIMIT, nominated).await;
    let bind = async |pod: &Pod| {
        let node = pod.status.as_ref().and_then(|status| status.nominated_node_name.clone());
        let (name, uid) = (&pod.metadata.name, &pod.metadata.uid);
        let body = json!({ "PodName": name, "PodNamespace": "default", "PodUID": uid, "Node": node });
        tangram.post("/scheduler/bind", &body).await["Error"].as_str().map(str::to_owned)
    };
    let streams = (0..16).map(async |_| {
        let mut answers = Vec::new();
        for pod in &told {
            answers.push(bind(pod).await);
        }
        answers
    });
    let answers = futures_util::future::join_all(streams).await;
    for (number, pod) in told.iter().enumerate() {
        let of_pod: Vec<_> = answers.iter().map(|answers| answers[number].clone()).collect();
        assert_eq!(of_pod, vec![Some(String::new()); 16], "{}", key(pod));
        // One Binding was written, whoever asked.
        let path = format!("/pods/{}/binding", pod.metadata.name.as_deref().unwrap_or_default());
        let created = proxy.answers("POST", &path).into_iter().filter(|status| *status == Some(201)).count();
        assert_eq!(created, 1, "{path}");
    }
    assert_eq!(plane.truth().await.violations(), Vec::<String>::new());
    // And again, much later: the same answer, and nothing written.
    assert_eq!(bind(&told[0]).await, Some(String::new()));
    let elsewhere = json!({
        "PodName": told[0].metadata.name,
        "PodNamespace": "default",
        "PodUID": told[0].metadata.uid,
        "Node": "node-0000-that-is-not-there",
    });
    let refused = tangram.post("/scheduler/bind", &elsewhere).await;
    assert!(
        refused["Error"].as_str().is_some_and(|error| error.contains("is already bound to node")),
        "{refused}"
    );
}

/// The pods under names that no others have.
fn renamed(pods: Vec<Pod>, from: usize) -> Vec<Pod> {
    let named = |(number, mut pod): (usize, Pod)| {
        pod.metadata.name = Some(format!("later-{:04}", from + number));
        pod
    };
    pods.into_iter().enumerate().map(named).collect()
}
