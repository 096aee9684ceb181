//! A node with its agent, set as users have it: a real kubelet and containerd, a real scheduler that asks Tangram,
//! and GPUs that are a mock behind NVML's own interface.
//!
//! Beside `gpus`, `node` and `plane`, which the test declares too.

use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};

use crate::gpus::{Agent, Gpus};
use crate::node::workload;
use crate::node::{NodeOptions, RealNode};
use crate::plane::agent::gpu_nodes;
use crate::plane::crowd::{for_tangram, tangram_on};
use crate::plane::install::{NAMESPACE, Shape};
use crate::plane::users::BoundTo;
use crate::plane::{Plane, Scheduler, Tangram, wait_until};

/// Longer than anything takes that is waited for, on a machine with all its cores taken.
pub(crate) const LIMIT: Duration = Duration::from_mins(2);

/// The node.
pub(crate) const NODE: &str = "real";

/// Of a node whose GPUs are all Tangram's. How many there are the agent says.
const LABELS: &[(&str, &str)] =
    &[("nvidia.com/gpu.product", "NVIDIA-H100-80GB-HBM3"), ("tangram.gpu/mig", "dynamic")];

/// Everything that is needed, running.
pub(crate) struct Stage<'a> {
    pub(crate) plane: &'a Plane,
    pub(crate) node: RealNode<'a>,
    // Its log lies in the folder of the GPUs.
    pub(crate) agent: Agent,
    pub(crate) gpus: Gpus,
    /// The agent's service account, its token bound to the node: what it writes is held to the policies.
    account: PathBuf,
    pub(crate) tangram: Tangram,
    _scheduler: Scheduler,
}

impl<'a> Stage<'a> {
    /// A node with GPUs of these models.
    pub(crate) async fn set(plane: &'a Plane, models: &[&str]) -> Self {
        plane.install(Shape::Own).await;
        let node = RealNode::start(plane, NodeOptions { name: NODE, labels: LABELS }).await;
        let gpus = Gpus::new(models);
        let account =
            plane.service_account_token(NAMESPACE, "tangram-agent", BoundTo::Node(NODE)).await.kubeconfig;
        let agent = gpus.agent(node.place(), NODE, &account, &[]);
        let tangram = tangram_on(
            &plane.tangram_account().await.kubeconfig,
            &json!({ "agentLeaseNamespace": NAMESPACE }),
        )
        .await;
        let scheduler = plane.scheduler_for(&tangram).await;
        Self { plane, node, gpus, agent, account, tangram, _scheduler: scheduler }
    }

    /// Starts the agent after its death.
    pub(crate) fn restart_agent(&mut self) {
        self.agent = self.gpus.agent(self.node.place(), NODE, &self.account, &[]);
    }
}

/// A pod for the scheduler `tangram` that really runs.
pub(crate) fn ours(name: &str, requests: &[(&str, &str)], paths: &[&str]) -> Pod {
    for_tangram(workload::pod(name, requests, paths))
}

/// Waits until a pod runs.
pub(crate) async fn running(plane: &Plane, name: &str) -> Pod {
    let taken = running_or_rejected(plane, name).await.map_err(|why| format!("{name}: {why}"));
    taken.expect("the kubelet takes the pod")
}

/// Waits until a pod runs, or the kubelet has turned it away: it does so when the device plugin does not answer,
/// and whoever made the pod makes another.
pub(crate) async fn running_or_rejected(plane: &Plane, name: &str) -> Result<Pod, String> {
    let runs = async || {
        let pod = plane.pod(name).await;
        let status = pod.status.as_ref()?;
        if status.phase.as_deref() == Some("Failed") {
            return Some(Err(status.message.clone().unwrap_or_default()));
        }
        let containers = status.container_statuses.as_ref()?;
        containers
            .iter()
            .all(|it| it.state.as_ref().is_some_and(|it| it.running.is_some()))
            .then_some(Ok(pod))
    };
    wait_until(&format!("pod {name} runs"), LIMIT, runs).await
}

/// Deletes a pod and waits until it is gone.
pub(crate) async fn delete(plane: &Plane, name: &str) {
    let pods = Api::<Pod>::namespaced(plane.client(), "default");
    pods.delete(name, &DeleteParams::default().grace_period(1)).await.expect("the pod is deleted");
    let is_gone = async || pods.get_opt(name).await.expect("the API server answers").is_none().then_some(());
    wait_until(&format!("pod {name} is gone"), LIMIT, is_gone).await;
}

/// A node's status as its `GpuNode` has it; null where there is none.
pub(crate) async fn status(plane: &Plane, node: &str) -> Value {
    let object = gpu_nodes(plane.client()).get_opt(node).await.expect("the API server answers");
    object.map(|object| object.data["status"].clone()).unwrap_or_default()
}

/// The instances of a node's status as `gpu/profile/start pod`.
pub(crate) async fn reported(plane: &Plane, node: &str) -> Vec<String> {
    let gpus = status(plane, node).await["gpus"].as_array().cloned().unwrap_or_default();
    let of_gpu = |gpu: &Value| {
        let index = gpu["index"].clone();
        let instances = gpu["instances"].as_array().cloned().unwrap_or_default();
        let text = move |it: &Value| {
            let profile = it["profile"].as_str().expect("an instance has a profile");
            let pod = it["pod"]["name"].as_str().unwrap_or("-");
            format!("{index}/{profile}/{} {pod}", it["start"])
        };
        instances.iter().map(text).collect::<Vec<_>>()
    };
    gpus.iter().flat_map(of_gpu).collect()
}
