//! The harness's real node works: a real kubelet runs real containers with the
//! devices that a plugin announces, and they run on whatever restarts around
//! them. What the tests of the agent take for granted is shown here without it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/node/mod.rs"]
mod node;
#[path = "common/plane/mod.rs"]
#[expect(dead_code, unused_imports, reason = "each test file uses what it needs of the harness")]
mod plane;

use std::fs;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Node, Pod};
use kube::api::{Api, DeleteParams};
use node::workload::{self, Seen};
use node::{NodeOptions, RealNode};
use plane::{Plane, wait_until};
use tangram_kubelet_api::deviceplugin::{CdiDevice, ContainerAllocateResponse};
use tangram_kubelet_api::podresources::{
    AllocatableResourcesRequest, ContainerDevices, ListPodResourcesRequest,
};

/// Longer than anything takes that a test waits for, on a machine with all its
/// cores taken: a test that meets it has failed.
const LIMIT: Duration = Duration::from_mins(2);

/// A scheduler without Tangram.
const SCHEDULER: &str = "{apiVersion: kubescheduler.config.k8s.io/v1, kind: KubeSchedulerConfiguration}";

/// The resource of the plugin in these tests.
const RESOURCE: &str = "tangram.gpu/mig-1g.10gb";

/// What a device is called: its GPU, its profile, and where it starts.
const DEVICE: &str = "GPU-8d5e/1g.10gb/2";

/// What CDI does to a container with the device.
const CDI: &str = r#"{
    "cdiVersion": "0.6.0",
    "kind": "tangram.gpu/mig",
    "devices": [{
        "name": "GPU-8d5e.1g.10gb.2",
        "containerEdits": {
            "env": ["FROM_CDI=yes"],
            "deviceNodes": [{ "path": "/dev/mig-of-tests", "hostPath": "/dev/null" }]
        }
    }]
}"#;

/// What the plugin answers for any devices.
fn answer(_: &[String]) -> ContainerAllocateResponse {
    ContainerAllocateResponse {
        envs: [("NVIDIA_VISIBLE_DEVICES".to_owned(), "MIG-1f2e".to_owned())].into(),
        cdi_devices: vec![CdiDevice { name: "tangram.gpu/mig=GPU-8d5e.1g.10gb.2".to_owned() }],
        ..ContainerAllocateResponse::default()
    }
}

/// Waits until the one container of a pod runs for the `start`th time, counted
/// from 0, and returns what the kubelet says of it.
async fn running(plane: &Plane, pod: &str, start: i32) -> ContainerStatus {
    let runs = async || {
        let status = plane.pod(pod).await.status?.container_statuses?.into_iter().next()?;
        (status.restart_count == start && status.state.as_ref()?.running.is_some()).then_some(status)
    };
    wait_until(&format!("pod {pod} runs"), LIMIT, runs).await
}

/// Waits until the kubelet knows exactly these devices.
async fn allocatable(node: &RealNode<'_>, devices: &[&str]) {
    let mut record = node.pod_resources().await;
    let known = async || {
        let answer = record.get_allocatable_resources(AllocatableResourcesRequest {}).await.unwrap();
        let known: Vec<String> =
            answer.into_inner().devices.into_iter().flat_map(|devices| devices.device_ids).collect();
        (known == devices).then_some(())
    };
    wait_until(&format!("the kubelet knows {devices:?}"), LIMIT, known).await;
}

/// Which container of which pod has which devices, as the kubelet says.
async fn holders(node: &RealNode<'_>) -> Vec<(String, String, Vec<ContainerDevices>)> {
    let answer = node.pod_resources().await.list(ListPodResourcesRequest {}).await.unwrap();
    let pods = answer.into_inner().pod_resources.into_iter();
    pods.flat_map(|pod| pod.containers.into_iter().map(move |container| (pod.name.clone(), container)))
        .map(|(pod, container)| (pod, container.name, container.devices))
        .filter(|(_, _, devices)| !devices.is_empty())
        .collect()
}

#[tokio::test]
async fn a_device_reaches_its_container_which_outlives_what_runs_it() {
    let plane = Plane::start().await;
    let _scheduler = plane.scheduler(SCHEDULER).await;
    let labels = [("nvidia.com/gpu.product", "NVIDIA-A100-SXM4-80GB")];
    let mut node = RealNode::start(&plane, NodeOptions { name: "real", labels: &labels }).await;
    let object = Api::<Node>::all(plane.client()).get("real").await.unwrap();
    assert_eq!(object.metadata.labels.unwrap()["nvidia.com/gpu.product"], "NVIDIA-A100-SXM4-80GB");

    fs::write(node.cdi_dir().join("tests.json"), CDI).unwrap();
    let mut plugin = node.plugin(RESOURCE, answer).await;
    plugin.announce(&[DEVICE]);
    allocatable(&node, &[DEVICE]).await;
    assert_eq!(holders(&node).await, []);

    // Scheduled by the number in the node's status, to which the kubelet adds it.
    plane.add_pod(&workload::pod("holder", &[(RESOURCE, "1")], &["/dev/mig-of-tests", "/dev/other"])).await;
    let before = running(&plane, "holder", 0).await;
    assert_eq!(plugin.allocated(), [[DEVICE]]);
    let holder = plane.pod("holder").await;
    let said = node.said(&holder, "main").await;
    let [Seen { environment, paths }] = &said[..] else { panic!("one start, and it said {said:?}") };
    assert_eq!(environment["NVIDIA_VISIBLE_DEVICES"], "MIG-1f2e");
    assert_eq!(environment["FROM_CDI"], "yes");
    let devices =
        [("/dev/mig-of-tests".to_owned(), Some("device".to_owned())), ("/dev/other".to_owned(), None)];
    assert_eq!(paths, &devices.into());
    let devices = ContainerDevices {
        resource_name: RESOURCE.to_owned(),
        device_ids: vec![DEVICE.to_owned()],
        topology: None,
    };
    let held = [("holder".to_owned(), "main".to_owned(), vec![devices])];
    assert_eq!(holders(&node).await, held);

    // After each of them the node runs new pods, and the old one has not noticed.
    let undisturbed = async |node: &RealNode<'_>, new: &str| {
        plane.add_pod(&workload::pod(new, &[], &[])).await;
        running(&plane, new, 0).await;
        assert_eq!(running(&plane, "holder", 0).await, before, "{new}");
        assert_eq!(node.said(&holder, "main").await, said, "{new}");
        assert_eq!(holders(node).await, held, "{new}");
    };
    node.restart_kubelet().await;
    undisturbed(&node, "after-the-kubelets-restart").await;
    node.kill_kubelet().await;
    node.start_kubelet().await;
    undisturbed(&node, "after-the-kubelets-death").await;
    node.restart_containerd().await;
    undisturbed(&node, "after-containerds-restart").await;
    node.kill_containerd().await;
    node.start_containerd().await;
    undisturbed(&node, "after-containerds-death").await;

    // Devices are unknown to a kubelet that started again, until the plugin is back.
    allocatable(&node, &[]).await;
    plugin.register().await;
    allocatable(&node, &[DEVICE]).await;
    let pods = Api::<Pod>::default_namespaced(plane.client());
    pods.delete("holder", &DeleteParams::default()).await.unwrap();
    let gone = async || pods.get_opt("holder").await.unwrap().is_none().then_some(());
    wait_until("the pod is gone", LIMIT, gone).await;
    let free = async || holders(&node).await.is_empty().then_some(());
    wait_until("the device is free", LIMIT, free).await;
    plane.add_pod(&workload::pod("next", &[(RESOURCE, "1")], &[])).await;
    running(&plane, "next", 0).await;
    assert_eq!(plugin.allocated(), [[DEVICE], [DEVICE]]);
}

#[tokio::test]
async fn nodes_run_beside_each_other_start_again_and_leave_nothing() {
    // As a test leaves it that was killed.
    let left = std::env::temp_dir().join("tangram-node-left");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("lock"), "").unwrap();

    let plane = Plane::start().await;
    let mut one = RealNode::start(&plane, NodeOptions { name: "one", labels: &[] }).await;
    assert!(!left.exists());
    let other = RealNode::start(&plane, NodeOptions { name: "other", labels: &[] }).await;
    for name in ["one", "other"] {
        let mut pod = workload::pod(name, &[], &["/workload"]);
        let spec = pod.spec.as_mut().unwrap();
        spec.node_name = Some(name.to_owned());
        let mut first = spec.containers[0].clone();
        first.name = "first".to_owned();
        spec.init_containers = Some(vec![first]);
        plane.add_pod(&workload::runnable(pod, &["/workload"])).await;
    }
    for name in ["one", "other"] {
        running(&plane, name, 0).await;
    }
    let (pod, beside) = (plane.pod("one").await, running(&plane, "other", 0).await);
    let file = Some("file".to_owned());
    assert_eq!(one.said(&pod, "first").await[0].paths["/workload"], file);
    assert_eq!(one.said(&pod, "main").await.len(), 1);

    // A program in the node's place finds its folders where every node has them.
    let find = "test -S /var/lib/kubelet/pod-resources/kubelet.sock && ls /var/run/cdi";
    fs::write(one.cdi_dir().join("of-one.json"), CDI).unwrap();
    let found = one.place().command("sh").args(["-c", find]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "of-one.json\n", "{found:?}");

    one.reboot().await;
    assert_eq!(fs::read_dir(one.cdi_dir()).unwrap().count(), 0);
    running(&plane, "one", 1).await;
    assert_eq!(one.said(&pod, "main").await.len(), 2);
    assert_eq!(running(&plane, "other", 0).await, beside);

    let folders = [one, other].map(|node| node.device_plugin_dir().ancestors().nth(2).unwrap().to_owned());
    for folder in folders {
        assert!(!folder.exists(), "{} is left", folder.display());
    }
}
