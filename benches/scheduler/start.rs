//! The start on a large cluster: time until ready, and memory.

use std::time::Instant;

use futures_util::{StreamExt as _, stream};
use hyper::Request;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use serde::de::IgnoredAny;
use serde_json::json;

use crate::Options;
use crate::figures::{cpu_seconds, megabytes};
use crate::lab::{Extender, Lab, Setup, create, gpu_pod};

/// Requests of this client under way at once: nobody measures how long writing takes.
const CONNECTIONS: usize = 32;
/// Starts that are measured.
const STARTS: usize = 3;
/// Conditions of a pod that runs.
const CONDITIONS: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// 10,000 nodes and 100,000 pods that run.
pub(crate) async fn start(options: Options) {
    let (nodes, pods) = (options.nodes.unwrap_or(10_000), options.pods.unwrap_or(100_000));
    let began = Instant::now();
    let lab = Lab::new(nodes).await;
    let client = lab.plane.client();
    let running = stream::iter(0..pods).map(|number| run(&client, number, nodes));
    running.buffer_unordered(CONNECTIONS).for_each(async |()| ()).await;
    println!("{nodes} nodes and {pods} pods written in {:.0} s", began.elapsed().as_secs_f64());
    let setup =
        Setup { name: "tangram", extender: Extender::Tangram { is_nominating: true }, is_full: false };
    for _ in 0..options.runs.unwrap_or(STARTS) {
        let began = Instant::now();
        let mut tangram = lab.tangram(&setup).await.expect("the setup has one");
        let ready_s = began.elapsed().as_secs_f64();
        let status = tangram.proc_file("status").await;
        println!(
            "ready after {ready_s:.2} s; resident {:.0} MB, peak {:.0} MB; CPU {:.1} s",
            megabytes(&status, "VmRSS"),
            megabytes(&status, "VmHWM"),
            cpu_seconds(&tangram.proc_file("stat").await),
        );
        tangram.stop().await; // gives its Lease back: the next one need not wait for it
    }
}

/// A pod as a scheduler and a kubelet leave it, each with its own managed fields. Every third asks for a GPU.
async fn run(client: &Client, number: usize, nodes: usize) {
    let name = format!("p-{number:06}");
    let mut pod: Pod = gpu_pod(&name, usize::from(number.is_multiple_of(3)));
    pod.metadata.labels = Some(
        [
            ("app".to_owned(), format!("app-{}", number % 500)),
            ("pod-template-hash".to_owned(), "7d9c5b8f6".to_owned()),
        ]
        .into(),
    );
    pod.spec.get_or_insert_default().node_name = Some(format!("gpu-{:05}", number % nodes));
    create(client, &pod).await;
    let time = "2026-11-01T00:00:00Z";
    let condition = |kind: &str| json!({ "type": kind, "status": "True", "lastTransitionTime": time });
    let conditions = CONDITIONS.map(condition);
    let status = json!({ "status": {
        "phase": "Running",
        "conditions": conditions,
        "hostIP": "10.0.0.1", "hostIPs": [{ "ip": "10.0.0.1" }],
        "podIP": "10.1.0.1", "podIPs": [{ "ip": "10.1.0.1" }],
        "startTime": time,
        "containerStatuses": [{
            "name": "main", "image": "registry.example/app:v1", "imageID": "registry.example/app@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "containerID": "containerd://0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "ready": true, "started": true, "restartCount": 0, "state": { "running": { "startedAt": time } },
        }],
    }});
    let path = format!("/api/v1/namespaces/default/pods/{name}/status?fieldManager=kubelet");
    let request = Request::patch(path).header("content-type", "application/strategic-merge-patch+json");
    let request = request.body(status.to_string().into_bytes()).expect("a plain request");
    client.request::<IgnoredAny>(request).await.expect("a pod runs");
}
