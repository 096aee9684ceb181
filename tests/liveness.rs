//! Agents that renew their Leases, stop, and come back: what a live Tangram and a real scheduler make of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/plane/mod.rs"]
#[expect(dead_code, unused_imports, reason = "each test file uses what it needs of the harness")]
mod plane;

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use plane::agent::AgentDouble;
use plane::ask::call;
use plane::crowd::{LIMIT, agrees, condition, for_tangram, tangram_on};
use plane::install::{LEASES, NAMESPACE, lease};
use plane::truth::devices;
use plane::users::User;
use plane::{Plane, Tangram, fake_node, pod, wait_until};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const SLICE: [(&str, &str); 1] = [("tangram.gpu/mig-3g.40gb", "1")];
/// Between two renewals; a Lease lasts so long that a machine with all its cores taken renews it in time.
const RENEW: Duration = Duration::from_millis(500);
const LEASE_S: u64 = 4;
/// A Lease that outlasts a restart of the API server, which is gone for longer.
const LONG_LEASE_S: u64 = 25;
const GONE: Duration = Duration::from_secs(30);
const SILENT: &str = "node(s) whose Tangram agent is silent";

/// Renews the Lease of the agent of `n-a` as the agent does, until it is aborted.
fn renewing(user: User) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            renew(&user, LEASE_S).await;
            tokio::time::sleep(RENEW).await;
        }
    })
}

/// Renews it once, by a clock that is an hour late: nobody may compare it with another.
async fn renew(user: &User, seconds: u64) {
    let renewed = Timestamp::now() - Duration::from_hours(1);
    let spec = json!({
        "holderIdentity": "n-a",
        "leaseDurationSeconds": seconds,
        "renewTime": format!("{renewed:.6}"),
    });
    let path = format!("{LEASES}/tangram-agent-n-a");
    call(user, "PATCH", &path, &json!({ "spec": spec })).await.unwrap();
}

/// A line of the metrics.
async fn agents(tangram: &Tangram, state: &str) -> Option<String> {
    let text = tangram.get("/metrics").await.body;
    let name = format!("tangram_agents{{state=\"{state}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).map(str::to_owned)
}

async fn count(tangram: &Tangram, alive: &str, silent: &str) {
    let counted = async || {
        let found = (agents(tangram, "alive").await?, agents(tangram, "silent").await?);
        (found == (alive.to_owned(), silent.to_owned())).then_some(())
    };
    wait_until(&format!("{alive} agents are alive, {silent} silent"), LIMIT, counted).await;
}

/// The problems of the only node.
async fn problems(tangram: &Tangram) -> Value {
    let view: Value = serde_json::from_str(&tangram.get("/v1/cluster").await.body).unwrap();
    assert_eq!(view["nodes"].as_array().unwrap().len(), 1);
    view["nodes"][0]["problems"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_agent_is_silent_takes_nothing_new_until_it_is_heard_again() {
    let plane = Plane::start().await;
    plane.define_gpunodes().await;
    plane.apply_yaml(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {NAMESPACE}}}}}")).await;
    let labels = [
        ("nvidia.com/gpu.product", "NVIDIA-H100-80GB-HBM3"),
        ("nvidia.com/gpu.count", "1"),
        ("tangram.gpu/mig", "dynamic"),
    ];
    plane.add_node(&fake_node("n-a", &labels, &[], &[])).await;
    let admin = plane.admin();
    let _agents = AgentDouble::start(plane.client());
    let tangram = tangram_on(&plane.kubeconfig(), &json!({ "agentLeaseNamespace": NAMESPACE })).await;
    let _scheduler = plane.scheduler_for(&tangram).await;

    // Nobody ever heard of an agent, nor of the Lease of somebody else: as it always was.
    call(&admin, "POST", LEASES, &lease("somebody")).await.unwrap();
    count(&tangram, "0", "0").await;
    plane.add_pod(&for_tangram(pod("first", &SLICE))).await;
    assert_eq!(plane.node_of("first").await, "n-a");
    let placed = devices(&plane.pod("first").await);

    call(&admin, "POST", LEASES, &lease("tangram-agent-n-a")).await.unwrap();
    let agent = renewing(admin.clone());
    count(&tangram, "1", "0").await;
    agent.abort();
    count(&tangram, "0", "1").await;
    let text =
        "the node's Tangram agent is silent: its Lease is not renewed; no new MIG device is placed here";
    assert_eq!(problems(&tangram).await, json!([text]));
    // The scheduler asks, is told so, and says it; the pod is told too. What runs, runs where it was.
    plane.add_pod(&for_tangram(pod("second", &SLICE))).await;
    let told = async || {
        let pod = plane.pod("second").await;
        let scheduler = condition(&pod, "PodScheduled")?.contains(SILENT);
        (scheduler && condition(&pod, "tangram.gpu/Nominated") == Some(SILENT)).then_some(pod)
    };
    let second = wait_until("the second pod is told why it waits", LIMIT, told).await;
    assert_eq!(second.spec.unwrap().node_name, None);
    assert_eq!(plane.node_of("first").await, "n-a");
    assert_eq!(devices(&plane.pod("first").await), placed);
    agrees(&tangram).await;

    // Another hand on the Lease is no sign of life.
    let label = json!({ "metadata": { "labels": { "touched": "yes" } } });
    call(&admin, "PATCH", &format!("{LEASES}/tangram-agent-n-a"), &label).await.unwrap();
    agrees(&tangram).await; // asks the API server for everything: that was long ago then
    assert_eq!(problems(&tangram).await, json!([text]));

    let agent = renewing(admin.clone());
    assert_eq!(plane.node_of("second").await, "n-a");
    count(&tangram, "1", "0").await;
    assert_eq!(problems(&tangram).await, Value::Null);
    assert_eq!(devices(&plane.pod("first").await), placed);
    agent.abort();

    // A Lease that is taken away leaves the node as if there had never been one.
    count(&tangram, "0", "1").await;
    call(&admin, "DELETE", &format!("{LEASES}/tangram-agent-n-a"), &Value::Null).await.unwrap();
    count(&tangram, "0", "0").await;
    assert_eq!(problems(&tangram).await, Value::Null);
    let truth = plane.truth().await;
    assert_eq!((truth.violations(), truth.unwanted()), (vec![], vec![]));
}

#[tokio::test]
async fn an_api_server_that_was_gone_silences_no_agent() {
    let plane = Plane::start().await;
    plane.define_gpunodes().await;
    plane.apply_yaml(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {NAMESPACE}}}}}")).await;
    let admin = plane.admin();
    call(&admin, "POST", LEASES, &lease("tangram-agent-n-a")).await.unwrap();
    let tangram = tangram_on(&plane.kubeconfig(), &json!({ "agentLeaseNamespace": NAMESPACE })).await;
    count(&tangram, "0", "0").await;
    renew(&admin, LONG_LEASE_S).await;
    count(&tangram, "1", "0").await;
    plane.stop_apiserver().await;
    tokio::time::sleep(GONE).await;
    plane.start_apiserver().await;
    let is_heard = async || {
        let text = tangram.get("/metrics").await.body;
        let age_s = text.lines().find_map(|line| line.strip_prefix("tangram_model_age_seconds "))?;
        (age_s.parse::<f64>().unwrap() < 5.0).then_some(())
    };
    wait_until("the API server is heard again", LIMIT, is_heard).await;
    // The Lease ran out meanwhile, and nobody could have renewed it.
    let now = (agents(&tangram, "alive").await, agents(&tangram, "silent").await);
    assert_eq!(now, (Some("1".to_owned()), Some("0".to_owned())));
    // From now on silence counts again.
    count(&tangram, "0", "1").await;
}
