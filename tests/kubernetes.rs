//! A real kube-scheduler asks the running binary.
//!
//! What the protocol's own tests cannot show: that the scheduler understands the
//! answers, that they count against its in-tree plugins, and what a person sees
//! who describes a pod that fits nowhere.
//!
//! Tangram serves a file here, the same objects that the API server holds.

#[path = "common/plane/mod.rs"]
#[expect(dead_code, reason = "each test file uses what it needs of the harness")]
mod plane;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use plane::{Plane, Scheduler, Tangram, annotated, fake_node, pod};
use serde_json::{Value, json};

/// The configuration that users are given.
const CONFIGURATION: &str = include_str!("../scheduler-config/secondary.yaml");

/// That configuration for the test: the port that its server has, and pods that name no scheduler.
/// Tangram on a file binds nothing in the API server, so the scheduler has to.
fn configuration(url: &str) -> String {
    let adapted = [
        ("http://127.0.0.1:7240", url),
        ("schedulerName: tangram\n", "schedulerName: default-scheduler\n"),
        ("  bindVerb: bind\n", ""),
    ];
    adapted.iter().fold(CONFIGURATION.to_owned(), |text, (shipped, tested)| {
        assert!(text.contains(shipped), "secondary.yaml lacks {shipped:?}");
        text.replace(shipped, tested)
    })
}

/// Tangram on what the plane holds now, and a scheduler that asks it.
async fn schedule(plane: &Plane) -> (Tangram, Scheduler) {
    let cluster = plane.capture().await;
    let tangram = Tangram::start(["--cluster".as_ref(), cluster.as_os_str()]).await;
    let scheduler = plane.scheduler(&configuration(&tangram.url())).await;
    (tangram, scheduler)
}

/// A node whose single GPU Tangram partitions. It advertises no resource: what
/// fits is known to Tangram alone.
fn dynamic_node(name: &str) -> Node {
    let labels = [
        ("nvidia.com/gpu.product", "NVIDIA-A100-SXM4-80GB"),
        ("nvidia.com/gpu.count", "1"),
        ("tangram.gpu/mig", "dynamic"),
    ];
    fake_node(name, &labels, &[], &[])
}

/// Runs a pod on `node` that holds a `1g.10gb` instance from memory slice
/// `start` on.
async fn run_1g(plane: &Plane, node: &str, start: u8) {
    let device = json!({ "container": "main", "gpu": 0, "profile": "1g.10gb", "start": start });
    let placement = json!({ "version": 1, "devices": [device] });
    let running = pod(&format!("{node}-{start}"), &[("tangram.gpu/mig-1g.10gb", "1")]);
    plane.run_pod(annotated(running, "tangram.gpu/placement", &placement), node).await;
}

#[tokio::test]
async fn a_partly_used_node_is_preferred_over_an_empty_one() {
    let plane = Plane::start().await;
    let labels = [("nvidia.com/gpu.product", "NVIDIA-A100-SXM4-80GB"), ("nvidia.com/gpu.count", "8")];
    for name in ["n-a", "n-b"] {
        plane.add_node(&fake_node(name, &labels, &[("nvidia.com/gpu", "8")], &[])).await;
    }
    plane.run_pod(pod("running", &[("nvidia.com/gpu", "3"), ("cpu", "32")]), "n-b").await;
    let _running = schedule(&plane).await;

    // Without a GPU the scheduler does not ask, and spreads.
    plane.add_pod(&pod("plain", &[("cpu", "1")])).await;
    assert_eq!(plane.node_of("plain").await, "n-a");
    plane.add_pod(&pod("gpu", &[("cpu", "1"), ("nvidia.com/gpu", "1")])).await;
    assert_eq!(plane.node_of("gpu").await, "n-b");
}

#[tokio::test]
async fn a_mig_pod_lands_on_the_only_node_with_a_free_placement() {
    let plane = Plane::start().await;
    for name in ["n-a", "n-b", "n-c"] {
        plane.add_node(&dynamic_node(name)).await;
    }
    // A 3g.40gb starts at slice 0 or 4 and takes four. Every node has six or
    // seven slices free; only n-b has four of them in one half.
    for (node, start) in [("n-a", 1), ("n-a", 4), ("n-b", 5), ("n-c", 3), ("n-c", 6)] {
        run_1g(&plane, node, start).await;
    }
    // The scheduler by itself would take either of the other two.
    plane.run_pod(pod("busy", &[("cpu", "32")]), "n-b").await;
    let _running = schedule(&plane).await;

    plane.add_pod(&pod("mig", &[("tangram.gpu/mig-3g.40gb", "1")])).await;
    assert_eq!(plane.node_of("mig").await, "n-b");
}

#[tokio::test]
async fn a_pod_that_fits_nowhere_is_told_why() {
    let plane = Plane::start().await;
    for name in ["n-a", "n-b"] {
        plane.add_node(&dynamic_node(name)).await;
        run_1g(&plane, name, 0).await;
        run_1g(&plane, name, 4).await;
    }
    let (tangram, _scheduler) = schedule(&plane).await;

    plane.add_pod(&pod("mig", &[("tangram.gpu/mig-3g.40gb", "1")])).await;
    let message = plane.refusal_of("mig").await;
    let pending = plane.pod("mig").await;
    let request = json!({ "Pod": pending, "Nodes": null, "NodeNames": ["n-a", "n-b"] });
    let answer = tangram.post("/scheduler/filter", &request).await;

    // The nodes are in the same state, so they must be refused in the same
    // words: that is what lets the scheduler count them.
    let reasons = reasons(&answer);
    let [(reason, 2)] = reasons.as_slice() else {
        panic!("two nodes in one state are refused with one reason, not {reasons:?} from {answer}")
    };
    assert!(message.contains(&format!("0/2 nodes are available: 2 {reason}")), "{message} lacks {reason}");
    assert_eq!(pending.spec.and_then(|spec| spec.node_name), None);
}

/// The reasons in a filter's answer, each with the number of nodes it is given
/// for: what the scheduler makes of it.
fn reasons(answer: &Value) -> Vec<(String, usize)> {
    let mut counted = BTreeMap::new();
    for refusals in ["FailedNodes", "FailedAndUnresolvableNodes"] {
        for (_, reason) in answer[refusals].as_object().into_iter().flatten() {
            let reason = reason.as_str().expect("a reason is text").to_owned();
            *counted.entry(reason).or_default() += 1;
        }
    }
    counted.into_iter().collect()
}
