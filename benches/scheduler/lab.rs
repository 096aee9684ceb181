//! One control plane with its nodes, and what runs on it: a scheduler with or without an extender.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use hyper::Request;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::follow::Follower;
use crate::noop::Noop;
use crate::plane::{Plane, Scheduler, Tangram, fake_node, pod};

/// Requests of this client under way at once.
const CONNECTIONS: usize = 8;
/// A trial in which nothing happens for so long is over.
pub(crate) const QUIET: Duration = Duration::from_secs(15);
/// Pods of every trial.
const POD_PATH: &str = "/api/v1/namespaces/default/pods";

/// An extender of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extender {
    None,
    Noop,
    Tangram { is_nominating: bool },
}

/// What a trial runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) name: &'static str,
    pub(crate) extender: Extender,
    /// `percentageOfNodesToScore: 100` instead of kube-scheduler's own sampling.
    pub(crate) is_full: bool,
}

/// A control plane with nodes.
pub(crate) struct Lab {
    pub(crate) plane: Plane,
    pub(crate) follower: Follower,
    noop: Option<Noop>,
}

impl Lab {
    /// `nodes` nodes with eight whole GPUs each.
    pub(crate) async fn new(nodes: usize) -> Self {
        let plane = Plane::start().await;
        let all: Vec<Node> = (0..nodes).map(node).collect();
        plane.add_nodes(&all).await;
        let noop = Noop::start();
        if noop.is_none() {
            println!("the extender that does nothing was not built: is Go installed?");
        }
        let follower = Follower::start(plane.client());
        Self { plane, follower, noop }
    }

    /// Whether a setup can be run here.
    pub(crate) fn has(&self, setup: &Setup) -> bool {
        setup.extender != Extender::Noop || self.noop.is_some()
    }

    /// Tangram, where the setup has one, ready.
    pub(crate) async fn tangram(&self, setup: &Setup) -> Option<Tangram> {
        let Extender::Tangram { is_nominating } = setup.extender else { return None };
        let configuration = json!({ "kubernetes": {
            "leaderElection": { "leaseNamespace": "default" },
            "nominator": { "enabled": is_nominating },
        }});
        let mut tangram = Tangram::live(&self.plane.kubeconfig(), &configuration.to_string(), None).await;
        tangram.ready().await;
        Some(tangram)
    }

    /// The scheduler of a setup.
    pub(crate) async fn scheduler(&self, setup: &Setup, tangram: Option<&Tangram>) -> Scheduler {
        let mut configuration = json!({
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "clientConnection": { "qps": 2000, "burst": 4000 },
            "profiles": [{ "schedulerName": "tangram" }],
        });
        if setup.is_full {
            configuration["percentageOfNodesToScore"] = json!(100);
        }
        let extender = |url: String| {
            json!({
                "urlPrefix": format!("{url}/scheduler"),
                "filterVerb": "filter",
                "prioritizeVerb": "prioritize",
                "weight": 100,
                "nodeCacheCapable": true,
                "httpTimeout": "30s",
                "managedResources": [{ "name": "nvidia.com/gpu" }],
            })
        };
        let noop = self.noop.as_ref().filter(|_| setup.extender == Extender::Noop);
        if let Some(noop) = noop {
            configuration["extenders"] = json!([extender(format!("http://{}", noop.address))]);
        }
        if let Some(tangram) = tangram {
            let mut own = extender(tangram.url());
            own["preemptVerb"] = json!("preempt");
            own["bindVerb"] = json!("bind");
            configuration["extenders"] = json!([own]);
        }
        self.plane.scheduler(&configuration.to_string()).await
    }

    /// Creates pods from several connections, in about their order; gives the seconds that it took.
    pub(crate) async fn create(&self, pods: &[Pod]) -> f64 {
        let client = self.plane.client();
        let start = Instant::now();
        let requests = stream::iter(pods).map(|pod| create(&client, pod));
        requests.buffer_unordered(CONNECTIONS).collect::<Vec<()>>().await;
        start.elapsed().as_secs_f64()
    }

    /// Deletes every pod, and forgets what was seen of them.
    pub(crate) async fn clean(&self) {
        let delete = Request::delete(format!("{POD_PATH}?gracePeriodSeconds=0")).body(Vec::new());
        let delete = delete.expect("a plain request");
        self.plane.client().request::<IgnoredAny>(delete).await.expect("pods are deleted");
        let is_empty = self.follower.until(QUIET, |sights| sights.present == 0).await;
        assert!(is_empty, "pods stay");
        self.follower.clear();
    }
}

fn node(number: usize) -> Node {
    let product = ["NVIDIA-H100-80GB-HBM3", "NVIDIA-A100-SXM4-80GB"][number % 2];
    let labels = [("nvidia.com/gpu.product", product), ("nvidia.com/gpu.count", "8")];
    fake_node(&format!("gpu-{number:05}"), &labels, &[("nvidia.com/gpu", "8")], &[])
}

/// A pod that waits for the scheduler of these benches.
pub(crate) fn gpu_pod(name: &str, gpus: usize) -> Pod {
    let mut pod = pod(name, &[("cpu", "1"), ("nvidia.com/gpu", &gpus.to_string())]);
    pod.spec.get_or_insert_default().scheduler_name = Some("tangram".to_owned());
    pod
}

/// Creates a pod, and reads nothing of the answer.
pub(crate) async fn create(client: &Client, pod: &Pod) {
    let body = serde_json::to_vec(pod).expect("a pod is JSON");
    let request = Request::post(POD_PATH).header("content-type", "application/json").body(body);
    let request = request.expect("a plain request");
    client.request::<IgnoredAny>(request).await.expect("a pod is created");
}

/// Deletes a pod at once, without an answer from a kubelet.
pub(crate) async fn delete(client: &Client, name: &str) {
    let request = Request::delete(format!("{POD_PATH}/{name}?gracePeriodSeconds=0")).body(Vec::new());
    client.request::<IgnoredAny>(request.expect("a plain request")).await.expect("a pod is deleted");
}

/// The value of a metric of Tangram's, with its labels as printed.
pub(crate) fn metric(metrics: &str, name: &str) -> f64 {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    metrics.lines().find_map(value).unwrap_or(0.0)
}

/// What Tangram's metrics say.
pub(crate) async fn metrics(tangram: &Tangram) -> String {
    tangram.get("/metrics").await.body
}

/// What it answers, as JSON.
pub(crate) async fn answer(tangram: &Tangram, path: &str) -> Value {
    serde_json::from_str(&tangram.get(path).await.body).expect("it answers in JSON")
}
