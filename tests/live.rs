//! Tangram on a live cluster: a real kube-scheduler asks it, and what becomes of
//! pods is read from the API server and checked by rules alone.

#[path = "common/plane/mod.rs"]
#[expect(dead_code, unused_imports, reason = "each test file uses what it needs of the harness")]
mod plane;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use plane::agent::{AgentDouble, Manner};
use plane::crowd::{LIMIT, agrees, condition, for_tangram, tangram_on};
use plane::truth::{devices, key};
use plane::workload::{many_nodes, many_pods};
use plane::{Plane, fake_node, pod, wait_until};
use serde_json::json;

/// A pod for the scheduler `tangram`.
fn ours(name: &str, requests: &[(&str, &str)]) -> Pod {
    for_tangram(pod(name, requests))
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_pods_of_all_kinds_on_two_hundred_nodes() {
    let plane = Plane::start().await;
    plane.define_gpunodes().await;
    plane.add_nodes(&many_nodes(11, 200)).await;
    let _agents = AgentDouble::start(plane.client());
    let tangram = tangram_on(&plane.kubeconfig(), &json!({})).await;
    let _scheduler = plane.scheduler_for(&tangram).await;

    let pods: Vec<Pod> = many_pods(12, 500).into_iter().map(for_tangram).collect();
    plane.add_pods(&pods).await;
    // Every pod is bound, or refused by the scheduler and told by Tangram why.
    let is_settled = |pod: &Pod| {
        pod.spec.as_ref().unwrap().node_name.is_some()
            || (condition(pod, "PodScheduled").is_some() && condition(pod, "tangram.gpu/Nominated").is_some())
    };
    let settled = async || {
        let truth = plane.truth().await;
        (truth.pods.len() == 500 && truth.pods.iter().all(is_settled)).then_some(())
    };
    wait_until("every pod is bound or told why not", LIMIT, settled).await;
    agrees(&tangram).await;

    let truth = plane.truth().await;
    assert_eq!(truth.violations(), Vec::<String>::new());
    assert_eq!(truth.unwanted(), Vec::<String>::new());
    let (bound, pending) = (truth.bound().count(), truth.pending().count());
    assert!(bound >= 300, "{bound} bound, {pending} pending");
    assert!(truth.bound().filter(|(pod, _)| !devices(pod).is_empty()).count() >= 50);

    // The pending ones really fit nowhere, and what they are told is a reason of Tangram's.
    assert_eq!(plane.stuck(&truth).await, Vec::<String>::new());
    for pod in truth.pending() {
        let (scheduler, own) =
            (condition(pod, "PodScheduled").unwrap(), condition(pod, "tangram.gpu/Nominated").unwrap());
        assert!(scheduler.starts_with("0/200 nodes are available"), "{scheduler}");
        // Each of Tangram's reasons is one that the scheduler heard from it, unless it is the scheduler's own.
        for reason in own.split("; ") {
            let is_counted = reason.starts_with("not enough free ") || reason.starts_with("node ");
            assert!(is_counted || scheduler.contains(reason), "{}: {own:?}, but {scheduler:?}", key(pod));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bind_waits_for_the_gpu_instance_and_gives_up_cleanly() {
    let plane = Plane::start().await;
    plane.define_gpunodes().await;
    let labels = [
        ("nvidia.com/gpu.product", "NVIDIA-H100-80GB-HBM3"),
        ("nvidia.com/gpu.count", "1"),
        ("tangram.gpu/mig", "dynamic"),
    ];
    plane.add_node(&fake_node("n-a", &labels, &[], &[])).await;
    let agents = AgentDouble::start(plane.client());
    let tangram = tangram_on(&plane.kubeconfig(), &json!({ "instanceTimeoutSeconds": 2 })).await;
    let _scheduler = plane.scheduler_for(&tangram).await;

    plane.add_pod(&ours("first", &[("tangram.gpu/mig-3g.40gb", "1")])).await;
    assert_eq!(plane.node_of("first").await, "n-a");
    let truth = plane.truth().await;
    assert_eq!((truth.violations(), truth.unwanted()), (vec![], vec![]));

    // The agent does not answer: nothing is bound, nothing stays wanted for long, the scheduler says why.
    agents.manner("n-a", Manner { is_silent: true, ..Manner::default() });
    plane.add_pod(&ours("second", &[("tangram.gpu/mig-3g.40gb", "1")])).await;
    let said = async || {
        let pod = plane.pod("second").await;
        condition(&pod, "PodScheduled").filter(|text| text.contains("were not ready")).map(str::to_owned)
    };
    let said = wait_until("the failed bind is told", LIMIT, said).await;
    assert_eq!(
        said,
        "pod default/second: the GPU instances on node n-a were not ready in time: no agent has ever been heard there"
    );
    assert_eq!(plane.pod("second").await.spec.unwrap().node_name, None);

    // It is back: the next try succeeds.
    agents.manner("n-a", Manner::default());
    assert_eq!(plane.node_of("second").await, "n-a");
    agrees(&tangram).await;
    let truth = plane.truth().await;
    assert_eq!((truth.violations(), truth.unwanted()), (vec![], vec![]));

    // A deleted pod's instance is not wanted any more, and its room is given again.
    let pods = Api::<Pod>::default_namespaced(plane.client());
    pods.delete("first", &DeleteParams::default().grace_period(0)).await.unwrap();
    plane.add_pod(&ours("third", &[("tangram.gpu/mig-3g.40gb", "1")])).await;
    assert_eq!(plane.node_of("third").await, "n-a");
    let truth = plane.truth().await;
    assert_eq!((truth.violations(), truth.unwanted()), (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn nominations_hold_together_and_follow_the_cluster() {
    let plane = Plane::start().await;
    let labels = [("nvidia.com/gpu.product", "NVIDIA-L40S"), ("nvidia.com/gpu.count", "4")];
    plane.add_node(&fake_node("n-a", &labels, &[("nvidia.com/gpu", "4")], &[])).await;
    let tangram = tangram_on(&plane.kubeconfig(), &json!({})).await;
    let nominated = async |name: &str, expected: Option<&str>| {
        let pod = async || {
            let pod = plane.pod(name).await;
            let status = pod.status.clone().unwrap();
            let is_told = condition(&pod, "tangram.gpu/Nominated").is_some();
            (is_told && status.nominated_node_name.as_deref() == expected).then_some(pod)
        };
        wait_until(&format!("{name} is nominated {expected:?}"), LIMIT, pod).await
    };
    // Without a scheduler nothing is bound: what holds is the nominations alone.
    plane.add_pod(&ours("a", &[("nvidia.com/gpu", "3")])).await;
    nominated("a", Some("n-a")).await;
    plane.add_pod(&ours("b", &[("nvidia.com/gpu", "2")])).await;
    let told = nominated("b", None).await;
    assert_eq!(
        condition(&told, "tangram.gpu/Nominated"),
        Some("nodes have room, but other waiting pods come first")
    );
    // One of higher priority takes the room.
    let mut urgent = ours("urgent", &[("nvidia.com/gpu", "4")]);
    plane.add_priority_class("high", 1000).await;
    urgent.spec.as_mut().unwrap().priority_class_name = Some("high".to_owned());
    plane.add_pod(&urgent).await;
    nominated("urgent", Some("n-a")).await;
    nominated("a", None).await;
    // A new node, and what waited gets it in order; a cordon, and it is taken away again.
    plane.add_node(&fake_node("n-b", &labels, &[("nvidia.com/gpu", "4")], &[])).await;
    nominated("a", Some("n-b")).await;
    let nodes = Api::<k8s_openapi::api::core::v1::Node>::all(plane.client());
    let cordon = |is_cordoned: bool| Patch::Merge(json!({ "spec": { "unschedulable": is_cordoned } }));
    nodes.patch("n-b", &PatchParams::default(), &cordon(true)).await.unwrap();
    nominated("a", None).await;
    nodes.patch("n-b", &PatchParams::default(), &cordon(false)).await.unwrap();
    nominated("a", Some("n-b")).await;
    // What kube-scheduler nominated is left alone.
    let foreign = json!({ "status": { "nominatedNodeName": "n-a" } });
    let pods = Api::<Pod>::default_namespaced(plane.client());
    pods.patch_status("b", &PatchParams::default(), &Patch::Merge(foreign)).await.unwrap();
    plane.add_node(&fake_node("n-c", &labels, &[("nvidia.com/gpu", "4")], &[])).await;
    plane.add_pod(&ours("c", &[("nvidia.com/gpu", "4")])).await;
    nominated("c", Some("n-c")).await;
    assert_eq!(plane.pod("b").await.status.unwrap().nominated_node_name.as_deref(), Some("n-a"));
    agrees(&tangram).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_high_priority_gets_room_for_its_instance() {
    let plane = Plane::start().await;
    plane.define_gpunodes().await;
    let _controllers = plane.controllers().await;
    let _kwok = plane.kwok().await;
    let labels = [
        ("nvidia.com/gpu.product", "NVIDIA-A100-SXM4-80GB"),
        ("nvidia.com/gpu.count", "1"),
        ("tangram.gpu/mig", "dynamic"),
    ];
    for name in ["n-a", "n-b"] {
        plane.add_node(&fake_node(name, &labels, &[], &[])).await;
    }
    let _agents = AgentDouble::start(plane.client());
    let tangram = tangram_on(&plane.kubeconfig(), &json!({})).await;
    let _scheduler = plane.scheduler_for(&tangram).await;
    // Fourteen small pods fill both nodes; on one of them a budget forbids to evict any.
    for number in 0..14 {
        let mut small = ours(&format!("small-{number}"), &[("tangram.gpu/mig-1g.10gb", "1")]);
        small.metadata.labels = Some([("app".to_owned(), "small".to_owned())].into());
        plane.add_pod(&small).await;
    }
    let full = async || (plane.truth().await.bound().count() == 14).then_some(());
    wait_until("the small pods run", LIMIT, full).await;
    let on_a: Vec<String> = plane
        .truth()
        .await
        .bound()
        .filter(|(_, node)| *node == "n-a")
        .map(|(pod, _)| pod.metadata.name.clone().unwrap())
        .collect();
    let pods = Api::<Pod>::default_namespaced(plane.client());
    for name in &on_a {
        let label = Patch::Merge(json!({ "metadata": { "labels": { "guarded": "yes" } } }));
        pods.patch(name, &PatchParams::default(), &label).await.unwrap();
    }
    plane
        .apply_yaml(
            "
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: { name: guard, namespace: default }
spec: { minAvailable: 7, selector: { matchLabels: { guarded: 'yes' } } }
",
        )
        .await;
    plane.add_priority_class("high", 1000).await;
    let mut large = ours("large", &[("tangram.gpu/mig-3g.40gb", "1")]);
    large.spec.as_mut().unwrap().priority_class_name = Some("high".to_owned());
    plane.add_pod(&large).await;
    assert_eq!(plane.node_of("large").await, "n-b");

    // The fewest that make room: four slices of one half, or three where the last slice has no instance.
    let truth = plane.truth().await;
    assert_eq!(truth.violations(), Vec::<String>::new());
    let left = truth.bound().filter(|(pod, _)| key(pod).contains("small")).count();
    assert_eq!(left, 14 - 3, "three small ones made room");
    for name in &on_a {
        assert!(pods.get_opt(name).await.unwrap().is_some(), "{name} is guarded");
    }
    let events = Api::<Event>::default_namespaced(plane.client());
    let reasons = async || {
        let events = events.list(&ListParams::default()).await.unwrap();
        let of = |reason: &str| {
            events.items.iter().filter(|event| event.reason.as_deref() == Some(reason)).count()
        };
        (of("Preempted") == 3 && of("MakingRoom") == 1).then_some(())
    };
    wait_until("every eviction is explained", LIMIT, reasons).await;
}
