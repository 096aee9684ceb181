//! The measurements, each on a node whose GPUs are empty before and after.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::MODELS;
use crate::figures::{cpu_seconds, megabytes, percentile};
use crate::gpus::instances;
use crate::plane::agent::gpu_nodes;
use crate::stage::{LIMIT, NODE, Stage, ours, reported, running, status};

/// Seven of them fill a GPU: no other profile makes a status longer.
const PROFILE: &str = "1g.10gb";
const RESOURCE: (&str, &str) = ("tangram.gpu/mig-1g.10gb", "1");
const PER_GPU: usize = 7;
/// Where one of them is put by hand.
const PLACE: u32 = 6;

/// Repetitions of what takes a moment.
const TIMES: u32 = 20;
/// How often what is waited for is looked at: so much too long a time can be.
const LOOK: Duration = Duration::from_millis(5);
/// After this an agent has nothing left to do, and may write as often as ever.
const SETTLE: Duration = Duration::from_secs(10);
/// Between pods that come one by one: their writes are fewer than one a second.
const REST: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(30);
const CHURN: Duration = Duration::from_mins(1);
/// Pods that come together, and go when all of them run.
const BATCH: usize = 4;

/// What NVML takes to make an instance, in milliseconds: set, so that it can be told apart.
const NVML_MS: [(&str, u32); 2] =
    [("nvmlDeviceCreateGpuInstanceWithPlacement", 150), ("nvmlGpuInstanceCreateComputeInstance", 50)];

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) what: &'static str,
    pub(crate) measured: String,
    pub(crate) bound: &'static str,
}

/// Nothing happens.
pub(crate) async fn idle(stage: &mut Stage<'_>) -> Vec<Figure> {
    sleep(SETTLE).await;
    let (cpu_s, written) = (cpu_s(stage).await, writes(stage).await);
    sleep(IDLE).await;
    let share = (self::cpu_s(stage).await - cpu_s) / IDLE.as_secs_f64();
    let written = writes(stage).await - written;
    vec![
        memory("idle: resident memory (peak)", stage).await,
        figure("idle: share of a core", format!("{:.2} %", share * 100.0), "1 %"),
        figure("idle: status writes in 30 s", format!("{written:.0}"), "0"),
    ]
}

/// Others make instances, and the API server shows them.
pub(crate) async fn report(stage: &Stage<'_>) -> Vec<Figure> {
    let (plane, scene) = (stage.plane, &stage.gpus.scene);
    let mut times = Vec::new();
    for (number, gpu) in (0..TIMES).zip((0..MODELS.len()).cycle()) {
        // Neither in step with the agent's own looks nor with its limit of writes.
        sleep(number * Duration::from_millis(100)).await;
        let begin = Instant::now();
        let made = scene.make_foreign(gpu, PROFILE, PLACE).expect("the GPU is empty");
        until("the instance is reported", async || reported(plane, NODE).await.len() == 1).await;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
        scene.remove(gpu, made.id).expect("it was made");
        is_empty(stage).await;
    }
    vec![figure("report: NVML change to GpuNode, p50 / p99 / max", spread(times), "2000 ms")]
}

/// Pods come one by one.
pub(crate) async fn bind(stage: &Stage<'_>) -> Vec<Figure> {
    let (plane, scene) = (stage.plane, &stage.gpus.scene);
    for (function, takes_ms) in NVML_MS {
        scene.slow(function, takes_ms.into());
    }
    let nvml_ms: u32 = NVML_MS.iter().map(|(_, takes_ms)| takes_ms).sum();
    let mut times = Vec::new();
    for number in 0..TIMES {
        sleep(REST).await;
        let name = format!("bind-{number}");
        let begin = Instant::now();
        plane.add_pod(&ours(&name, &[RESOURCE], &[])).await;
        until("the pod is bound and its instance made", async || {
            let is_bound = plane.pod(&name).await.spec.is_some_and(|spec| spec.node_name.is_some());
            is_bound && instances(&scene.state()).iter().any(|(_, it)| !it.compute.is_empty())
        })
        .await;
        times.push(begin.elapsed().as_secs_f64() * 1e3 - f64::from(nvml_ms));
        running(plane, &name).await;
        clear(stage).await;
    }
    scene.heal();
    vec![figure("bind: pod created to bound, less NVML, p50 / p99 / max", spread(times), "300 ms")]
}

/// Pods come and go as fast as the kubelet starts them.
pub(crate) async fn churn(stage: &mut Stage<'_>) -> Vec<Figure> {
    sleep(SETTLE).await;
    let plane = stage.plane;
    let pods = Api::<Pod>::default_namespaced(plane.client());
    let (begin, written) = (Instant::now(), writes(stage).await);
    let mut settled = None;
    let mut count = 0;
    while begin.elapsed() < CHURN {
        let names: Vec<String> = (count..count + BATCH).map(|number| format!("churn-{number}")).collect();
        for name in &names {
            plane.add_pod(&ours(name, &[RESOURCE], &[])).await;
        }
        for name in &names {
            running(plane, name).await;
            pods.delete(name, &DeleteParams::default().grace_period(1)).await.expect("the pod is deleted");
        }
        count += BATCH;
        if settled.is_none() && begin.elapsed() >= SETTLE {
            settled = Some((Instant::now(), writes(stage).await));
        }
    }
    let end = writes(stage).await;
    let rate = |(since, written): (Instant, f64)| (end - written) / since.elapsed().as_secs_f64();
    let (whole, later) = (rate((begin, written)), rate(settled.expect("a minute is longer")));
    let pods_per_s = f64::from(u32::try_from(count).expect("a small count")) / begin.elapsed().as_secs_f64();
    clear(stage).await;
    vec![
        figure("churn: pods", format!("{pods_per_s:.1} /s"), "-"),
        figure("churn: status writes in a minute", format!("{whole:.2} /s"), "1 /s"),
        figure("churn: status writes without the first 10 s", format!("{later:.2} /s"), "1 /s"),
        memory("churn: resident memory (peak)", stage).await,
    ]
}

/// All GPUs are full, and a pod holds each instance.
pub(crate) async fn size(stage: &Stage<'_>) -> Vec<Figure> {
    let plane = stage.plane;
    let count = PER_GPU * MODELS.len();
    // As long as the names that a Deployment gives.
    let names: Vec<String> = (0..count).map(|number| format!("inference-7d9c5b8f6-{number:05}")).collect();
    for name in &names {
        plane.add_pod(&ours(name, &[RESOURCE], &[])).await;
    }
    for name in &names {
        running(plane, name).await;
    }
    until("every instance is reported with its pod", async || {
        let reported = reported(plane, NODE).await;
        reported.len() == count && !reported.iter().any(|it| it.ends_with(" -"))
    })
    .await;
    let object = gpu_nodes(plane.client()).get(NODE).await.expect("the GpuNode is there");
    let bytes = |value: serde_json::Value| format!("{} bytes", value.to_string().len());
    clear(stage).await;
    vec![
        figure("size: spec and status, 8 GPUs with 56 instances", bytes(object.data), "32768 bytes"),
        figure("size: managedFields beside them", bytes(json!(object.metadata.managed_fields)), "-"),
    ]
}

fn figure(what: &'static str, measured: String, bound: &'static str) -> Figure {
    Figure { what, measured, bound }
}

/// Resident memory now, and at its highest.
async fn memory(what: &'static str, stage: &mut Stage<'_>) -> Figure {
    let status = stage.agent.proc_file("status").await;
    let (now, peak) = (megabytes(&status, "VmRSS"), megabytes(&status, "VmHWM"));
    figure(what, format!("{now:.1} ({peak:.1}) MB"), "30 MB")
}

fn spread(mut times_ms: Vec<f64>) -> String {
    times_ms.sort_by(f64::total_cmp);
    let [p50, p99, max] = [50, 99, 100].map(|percent| percentile(&times_ms, percent));
    format!("{p50:.0} / {p99:.0} / {max:.0} ms")
}

/// What the agent has used of the processors.
async fn cpu_s(stage: &mut Stage<'_>) -> f64 {
    cpu_seconds(&stage.agent.proc_file("stat").await)
}

/// How often the status was written: the agent counts.
async fn writes(stage: &Stage<'_>) -> f64 {
    status(stage.plane, NODE).await["sequence"].as_f64().expect("the agent has reported")
}

/// Deletes every pod and waits until that is reported.
async fn clear(stage: &Stage<'_>) {
    let pods = Api::<Pod>::default_namespaced(stage.plane.client());
    let soon = DeleteParams::default().grace_period(1);
    pods.delete_collection(&soon, &ListParams::default()).await.expect("pods are deleted");
    is_empty(stage).await;
}

/// Waits until no instance is there, and none reported.
async fn is_empty(stage: &Stage<'_>) {
    let is_empty = async || {
        instances(&stage.gpus.scene.state()).is_empty() && reported(stage.plane, NODE).await.is_empty()
    };
    until("the GPUs are empty", is_empty).await;
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let waited = timeout(LIMIT, async {
        while !is_so().await {
            sleep(LOOK).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}: not within {LIMIT:?}");
}
