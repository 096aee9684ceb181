//! Repacks that are carried out, on a live cluster: a real kube-scheduler, controllers that make pods anew, evictions
//! within budgets, a server that dies in between, and a cluster that changes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/command.rs"]
mod command;
#[path = "common/plane/mod.rs"]
#[expect(dead_code, unused_imports, reason = "each test file uses what it needs of the harness")]
mod plane;

use k8s_openapi::api::core::v1::{Event, Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use plane::agent::AgentDouble;
use plane::crowd::{LIMIT, agrees, condition, for_tangram};
use plane::install::{NAMESPACE, Shape};
use plane::truth::devices;
use plane::{Plane, Tangram, fake_node, pod, wait_until};
use serde_json::{Value, json};

const GPU: &str = "nvidia.com/gpu";

fn configuration(repack: &Value) -> String {
    json!({ "kubernetes": { "leaderElection": { "mode": "none" } }, "repack": repack }).to_string()
}

async fn tangram(plane: &Plane, repack: &Value) -> Tangram {
    let mut tangram = Tangram::live(&plane.kubeconfig(), &configuration(repack), None).await;
    tangram.ready().await;
    tangram
}

/// A `ReplicaSet` of pods that ask for a device.
async fn replica_set(plane: &Plane, name: &str, replicas: u32, resource: &str, count: u32, policy: &str) {
    plane
        .apply_yaml(&format!(
            "
apiVersion: apps/v1
kind: ReplicaSet
metadata: {{ name: {name}, namespace: default }}
spec:
  replicas: {replicas}
  selector: {{ matchLabels: {{ app: {name} }} }}
  template:
    metadata:
      labels: {{ app: {name} }}
      annotations: {{ tangram.gpu/policy: {policy} }}
    spec:
      schedulerName: tangram
      containers:
      - {{ name: main, image: none, resources: {{ limits: {{ {resource}: {count} }} }} }}
"
        ))
        .await;
}

/// A budget that allows no eviction of the pods of a `ReplicaSet` with one of them.
async fn guard(plane: &Plane, app: &str) {
    plane
        .apply_yaml(&format!(
            "
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{ name: guard-{app}, namespace: default }}
spec: {{ minAvailable: 1, selector: {{ matchLabels: {{ app: {app} }} }} }}
"
        ))
        .await;
    let budgets = Api::<PodDisruptionBudget>::default_namespaced(plane.client());
    let counted = async || {
        let status = budgets.get(&format!("guard-{app}")).await.unwrap().status?;
        (status.observed_generation.is_some() && status.current_healthy == Some(1)).then_some(())
    };
    wait_until("the budget is counted", LIMIT, counted).await;
}

async fn pods_of(plane: &Plane, app: &str) -> Vec<Pod> {
    let selector = ListParams::default().labels(&format!("app={app}"));
    Api::<Pod>::default_namespaced(plane.client()).list(&selector).await.unwrap().items
}

/// The one pod of a `ReplicaSet`, once it runs.
async fn running(plane: &Plane, app: &str) -> Pod {
    let runs = async || {
        let mut pods = pods_of(plane, app).await;
        let is_running =
            |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
        (pods.len() == 1 && is_running(&pods[0])).then(|| pods.remove(0))
    };
    wait_until(&format!("the pod of {app} runs"), LIMIT, runs).await
}

fn node_of(pod: &Pod) -> &str {
    pod.spec.as_ref().unwrap().node_name.as_deref().unwrap_or("")
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap()
}

async fn cordon(plane: &Plane, name: &str, is_cordoned: bool) {
    let patch = Patch::Merge(json!({ "spec": { "unschedulable": is_cordoned } }));
    Api::<Node>::all(plane.client()).patch(name, &PatchParams::default(), &patch).await.unwrap();
}

async fn gpu_nodes(plane: &Plane, gpus: &str) {
    for name in ["n-a", "n-b"] {
        let labels = [("nvidia.com/gpu.product", "NVIDIA-L40S"), ("nvidia.com/gpu.count", gpus)];
        plane.add_node(&fake_node(name, &labels, &[(GPU, gpus)], &[])).await;
    }
}

/// What `POST /v1/repack` answers, once the model knows that the goal is within reach.
async fn planned(tangram: &Tangram, question: &str, steps: usize) -> Value {
    let planned = async || {
        let plan = tangram.post(&format!("/v1/repack?{question}"), &Value::Null).await;
        let count = plan["steps"].as_array().unwrap().len();
        (plan["reached"] == true && count == steps).then_some(plan)
    };
    wait_until("a plan reaches the goal", LIMIT, planned).await
}

async fn start(tangram: &Tangram, plan: &Value, limit_s: u32) -> String {
    let answer = tangram.post_any(&format!("/v1/plans?stepTimeLimit={limit_s}"), plan).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let plan: Value = serde_json::from_str(&answer.body).unwrap();
    plan["id"].as_str().unwrap().to_owned()
}

async fn plan_of(tangram: &Tangram, id: &str) -> Value {
    let answer = tangram.get(&format!("/v1/plans/{id}")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

/// The plan, once it is over.
async fn over(tangram: &Tangram, id: &str) -> Value {
    let over = async || Some(plan_of(tangram, id).await).filter(|plan| plan["state"] != "running");
    wait_until("the plan is over", LIMIT, over).await
}

/// States of the steps.
fn steps(plan: &Value) -> Vec<&str> {
    plan["steps"].as_array().unwrap().iter().map(|step| step["state"].as_str().unwrap()).collect()
}

async fn is_sound(plane: &Plane, tangram: &Tangram) {
    agrees(tangram).await;
    let truth = plane.truth().await;
    assert_eq!(truth.violations(), Vec::<String>::new());
    assert_eq!(truth.unwanted(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_kept_for_the_replacement_against_others_and_over_the_death_of_the_server() {
    let plane = Plane::start().await;
    gpu_nodes(&plane, "4").await;
    cordon(&plane, "n-b", true).await;
    // With the rights that it is shipped with, and no more.
    plane.install(Shape::Own).await;
    let account = plane.tangram_account().await;
    let controllers = plane.controllers().await;
    let _kwok = plane.kwok().await;
    let kubernetes = json!({
        "leaderElection": { "leaseNamespace": NAMESPACE, "identity": "one" },
        "agentLeaseNamespace": NAMESPACE,
    });
    let configuration = json!({ "kubernetes": kubernetes, "repack": { "apply": { "enabled": true } } });
    let mut server = Tangram::live(&account.kubeconfig, &configuration.to_string(), None).await;
    server.ready().await;
    let _scheduler = plane.scheduler_for(&server).await;
    replica_set(&plane, "chat", 1, GPU, 2, "pack").await;
    let old = running(&plane, "chat").await;
    assert_eq!(node_of(&old), "n-a");
    plane.run_pod(pod("filler", &[(GPU, "2")]), "n-b").await;
    cordon(&plane, "n-b", false).await;
    let plan = planned(&server, "nodes=1", 1).await;
    assert_eq!(plan["steps"][0]["to"]["node"], "n-b");

    // Nobody makes the replacement, so that its place stays empty for a while: two GPUs on n-b.
    drop(controllers);
    let id = start(&server, &plan, 600).await;
    let evicted = async || pods_of(&plane, "chat").await.is_empty().then_some(());
    wait_until("the pod is evicted", LIMIT, evicted).await;
    assert_eq!(steps(&plan_of(&server, &id).await), ["moving"]);
    let second = server.post_any("/v1/plans", &plan).await;
    assert_eq!(second.status, 409, "{}", second.body);
    assert!(second.body.contains("is not on n-a"), "{}", second.body);

    // One that wants just these two, and was there first.
    let mut rival = for_tangram(pod("rival", &[(GPU, "2")]));
    let spec = rival.spec.as_mut().unwrap();
    spec.node_selector = Some([("kubernetes.io/hostname".to_owned(), "n-b".to_owned())].into());
    plane.add_pod(&rival).await;
    let why = plane.refusal_of("rival").await;
    assert!(why.contains("not enough free nvidia.com/gpu"), "{why}");

    server.kill().await;
    server.restart().await;
    server.ready().await;
    // Whatever is asked again finds the place kept.
    let touch = Patch::Merge(json!({ "metadata": { "annotations": { "touched": "yes" } } }));
    let pods = Api::<Pod>::default_namespaced(plane.client());
    pods.patch("rival", &PatchParams::default(), &touch).await.unwrap();
    let plan = async || Some(plan_of(&server, &id).await).filter(|plan| plan["state"] == "running");
    let plan = wait_until("the plan goes on", LIMIT, plan).await;
    assert_eq!(steps(&plan), ["moving"]);
    assert_eq!(plane.pod("rival").await.spec.unwrap().node_name, None);

    let _controllers = plane.controllers().await;
    let done = over(&server, &id).await;
    assert_eq!((done["state"].as_str(), steps(&done)), (Some("done"), vec!["done"]), "{done}");
    let new = running(&plane, "chat").await;
    assert_eq!(node_of(&new), "n-b");
    assert_ne!(uid(&new), uid(&old));
    assert_eq!(done["steps"][0]["replacement"]["uid"], uid(&new));
    assert_eq!(plane.pod("rival").await.spec.unwrap().node_name, None);
    is_sound(&plane, &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_stops_when_the_cluster_changes_and_when_a_budget_refuses() {
    let plane = Plane::start().await;
    gpu_nodes(&plane, "8").await;
    cordon(&plane, "n-b", true).await;
    let _controllers = plane.controllers().await;
    let kwok = plane.kwok().await;
    let server = tangram(&plane, &json!({ "apply": { "enabled": true } })).await;
    let _scheduler = plane.scheduler_for(&server).await;
    for app in ["one", "two", "three"] {
        replica_set(&plane, app, 1, GPU, 1, "pack").await;
        assert_eq!(node_of(&running(&plane, app).await), "n-a");
    }
    plane.run_pod(pod("filler", &[(GPU, "4")]), "n-b").await;
    cordon(&plane, "n-b", false).await;
    let plan = planned(&server, "nodes=1", 3).await;

    // Nobody ends what is evicted: the first step waits, and meanwhile somebody takes what the last one needs.
    drop(kwok);
    let id = start(&server, &plan, 600).await;
    let ending = async || {
        let plan = plan_of(&server, &id).await;
        plan["note"].as_str().unwrap_or("").contains("is ending").then_some(plan)
    };
    let waits = wait_until("the first pod is ending", LIMIT, ending).await;
    assert_eq!(steps(&waits), ["moving", "waiting", "waiting"]);
    plane.run_pod(pod("squatter", &[(GPU, "2")]), "n-b").await;
    let kwok = plane.kwok().await;
    let stopped = over(&server, &id).await;
    assert_eq!(stopped["state"], "stopped", "{stopped}");
    assert_eq!(steps(&stopped), ["done", "waiting", "waiting"]);
    let note = stopped["note"].as_str().unwrap();
    assert!(note.starts_with("the cluster changed: step 2: of the steps that are left, step 2: "), "{note}");
    let pods = Api::<Pod>::default_namespaced(plane.client());
    pods.delete("squatter", &DeleteParams::default().grace_period(0)).await.unwrap();

    // Afresh, for what is left; and the second of the two is guarded while the first one is ending.
    let plan = planned(&server, "nodes=1", 2).await;
    let guarded = plan["steps"][1]["name"].as_str().unwrap().split('-').next().unwrap().to_owned();
    drop(kwok);
    let id = start(&server, &plan, 30).await;
    let ending = async || {
        let plan = plan_of(&server, &id).await;
        plan["note"].as_str().unwrap_or("").contains("is ending").then_some(())
    };
    wait_until("the first pod is ending", LIMIT, ending).await;
    guard(&plane, &guarded).await;
    let before = running(&plane, &guarded).await;
    let _kwok = plane.kwok().await;
    let stopped = over(&server, &id).await;
    assert_eq!(steps(&stopped), ["done", "moving"], "{stopped}");
    let note = stopped["note"].as_str().unwrap();
    assert!(note.starts_with("step 2: the eviction is refused: "), "{note}");
    assert!(note.contains("disruption budget"), "{note}");
    assert_eq!(uid(&running(&plane, &guarded).await), uid(&before));

    // A plan knows the budget from the start, and one that does not is not taken up.
    let left = server.post("/v1/repack?nodes=1", &Value::Null).await;
    assert_eq!(left["reached"], false);
    let reason = format!("PodDisruptionBudget guard-{guarded} allows no eviction");
    let stays = left["stays"].as_array().unwrap();
    assert!(stays.iter().any(|stay| stay["reason"] == reason), "{left}");
    let step = json!({ "steps": [plan["steps"][1]] });
    let refused = server.post_any("/v1/plans", &step).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert!(refused.body.contains(&reason), "{}", refused.body);

    // The command, once the budget is gone.
    let budgets = Api::<PodDisruptionBudget>::default_namespaced(plane.client());
    budgets.delete(&format!("guard-{guarded}"), &DeleteParams::default()).await.unwrap();
    let url = server.url();
    let command = move || command::tangram(&["repack", "--nodes", "1", "--apply", "--server", &url]);
    let done = tokio::task::spawn_blocking(command).await.unwrap();
    let said = command::text(&done.stdout);
    assert_eq!(done.status.code(), Some(0), "{said} {}", command::text(&done.stderr));
    for line in
        ["Goal reached: 1 move", "plan-3: 1 steps", "leaves n-a for n-b", "plan-3: done, 1 pod moved."]
    {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert_eq!(node_of(&running(&plane, &guarded).await), "n-b");
    is_sound(&plane, &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_fits_nowhere_has_another_moved_within_the_budget_of_the_hour() {
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
    let on_demand = json!({ "onDemand": { "enabled": true, "movesPerHour": 1 } });
    let server = tangram(&plane, &on_demand).await;
    let _scheduler = plane.scheduler_for(&server).await;
    // One small pod on each GPU, and by its own wish a new one would go to the emptier.
    cordon(&plane, "n-b", true).await;
    replica_set(&plane, "small", 1, "tangram.gpu/mig-1g.10gb", 1, "spread").await;
    assert_eq!(node_of(&running(&plane, "small").await), "n-a");
    cordon(&plane, "n-b", false).await;
    cordon(&plane, "n-a", true).await;
    replica_set(&plane, "small", 2, "tangram.gpu/mig-1g.10gb", 1, "spread").await;
    let apart = async || {
        let pods = pods_of(&plane, "small").await;
        let is_running =
            |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
        (pods.len() == 2 && pods.iter().all(is_running)).then_some(())
    };
    wait_until("both small pods run", LIMIT, apart).await;
    cordon(&plane, "n-a", false).await;

    plane.add_pod(&for_tangram(pod("large", &[("tangram.gpu/mig-7g.80gb", "1")]))).await;
    let node = plane.node_of("large").await;
    let small = pods_of(&plane, "small").await;
    assert!(small.iter().all(|pod| node_of(pod) != node), "both are on the other one");
    assert_eq!(small.iter().flat_map(devices).count(), 2);
    let listed: Value = serde_json::from_str(&server.get("/v1/plans").await.body).unwrap();
    let plan = &listed["plans"][0];
    assert_eq!(plan["room"]["name"], "large");
    over(&server, plan["id"].as_str().unwrap()).await;
    let events = Api::<Event>::default_namespaced(plane.client());
    let told = async || {
        let events = events.list(&ListParams::default()).await.unwrap().items;
        events.into_iter().find(|event| event.reason.as_deref() == Some("MakingRoom"))?.message
    };
    let told = wait_until("the pod is told", LIMIT, told).await;
    assert!(told.starts_with(&format!("Making room on node {node}: moving default/small-")), "{told}");

    // The hour's budget is spent; and nobody else has plans carried out here.
    plane.add_pod(&for_tangram(pod("larger", &[("tangram.gpu/mig-7g.80gb", "1")]))).await;
    let told = async || {
        let pod = plane.pod("larger").await;
        condition(&pod, "tangram.gpu/Nominated").map(str::to_owned)
    };
    wait_until("the second one waits", LIMIT, told).await;
    let listed: Value = serde_json::from_str(&server.get("/v1/plans").await.body).unwrap();
    assert_eq!(listed["plans"].as_array().unwrap().len(), 1);
    let refused = server.post_any("/v1/plans", &json!({ "steps": [] })).await;
    assert_eq!(refused.status, 403, "{}", refused.body);
    is_sound(&plane, &server).await;
}
