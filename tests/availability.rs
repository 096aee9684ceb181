//! Several replicas of Tangram, under the rights and policies that they are shipped with: one leads, another one
//! takes over however the leader ends, and nothing is bound twice on the way.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/plane/mod.rs"]
#[expect(dead_code, unused_imports, reason = "each test file uses what it needs of the harness")]
mod plane;

use std::fs;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use plane::agent::{AgentDouble, Manner, gpu_nodes};
use plane::ask::{ask, call};
use plane::install::{LEASES, NAMESPACE, Shape, lease};
use plane::users::{BoundTo, User};
use plane::{Plane, Tangram, fake_node, pod, wait_until};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Longer than anything takes that a test waits for, on a machine with all its cores taken.
const LIMIT: Duration = Duration::from_mins(2);
/// Another replica answers this long after the leader died, at most: what users are promised.
const TAKEOVER: Duration = Duration::from_secs(10);
/// A leader that is not heard of is the leader for so long; one that ends in good order hands over sooner.
const LEASE_DURATION: Duration = Duration::from_secs(6);

const PLACEMENT: &str = "tangram.gpu/placement";
const CONFIGURATION: &str = include_str!("../scheduler-config/secondary.yaml");

/// The double plays the kubelet's part too: it looks at nodes and pods, which an agent does not.
const DOUBLE: &str = r"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: double }
rules:
- { apiGroups: [''], resources: [nodes, pods], verbs: [get, list, watch] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: double }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: double }
subjects: [{ kind: ServiceAccount, name: tangram-agent, namespace: tangram-system }]
";

/// Everything installed, one node with four GPUs that Tangram partitions, its agent, and Tangram's account.
async fn cluster(shape: Shape) -> (Plane, User, AgentDouble) {
    let plane = Plane::start().await;
    plane.install(shape).await;
    plane.apply_yaml(DOUBLE).await;
    let labels = [
        ("nvidia.com/gpu.product", "NVIDIA-A100-SXM4-80GB"),
        ("nvidia.com/gpu.count", "4"),
        ("tangram.gpu/mig", "dynamic"),
    ];
    plane.add_node(&fake_node("n-a", &labels, &[], &[])).await;
    let agent = plane.service_account_token(NAMESPACE, "tangram-agent", BoundTo::Node("n-a")).await;
    let agents = AgentDouble::start(agent.client);
    let reports = gpu_nodes(plane.client());
    let reported =
        async || reports.get_opt("n-a").await.unwrap()?.data["status"]["gpus"][3].is_object().then_some(());
    wait_until("the agent reports", LIMIT, reported).await;
    let tangram = plane.tangram_account().await;
    (plane, tangram, agents)
}

fn election(settings: &Value) -> String {
    let mut election = settings.clone();
    election["leaseNamespace"] = json!(NAMESPACE);
    json!({ "kubernetes": { "leaderElection": election, "agentLeaseNamespace": NAMESPACE } }).to_string()
}

async fn replica(user: &User, identity: &str) -> Tangram {
    Tangram::live(&user.kubeconfig, &election(&json!({ "identity": identity })), None).await
}

async fn is_ready(tangram: &Tangram) -> bool {
    tangram.get("/readyz").await.status == 200
}

/// Waits until one of them is ready; it comes first in what is returned.
async fn leader_first(mut replicas: Vec<Tangram>) -> Vec<Tangram> {
    let ready = async || {
        for (index, replica) in replicas.iter().enumerate() {
            if is_ready(replica).await {
                return Some(index);
            }
        }
        None
    };
    let leader = wait_until("a replica leads", LIMIT, ready).await;
    replicas.swap(0, leader);
    for standby in &replicas[1..] {
        let waits = async || {
            let answer = standby.get("/readyz").await;
            (answer.status == 503 && answer.body == "this replica does not lead\n").then_some(())
        };
        wait_until("the others know the cluster and wait", LIMIT, waits).await;
    }
    assert!(is_ready(&replicas[0]).await);
    replicas
}

/// What kube-scheduler asks for one pod: whether the node fits, then to bind it there. The error, empty when bound.
async fn bind(plane: &Plane, tangram: &Tangram, name: &str) -> String {
    let pending = plane.pod(name).await;
    let filter = json!({ "Pod": pending, "Nodes": null, "NodeNames": ["n-a"] });
    let fits = tangram.post("/scheduler/filter", &filter).await;
    let answer = tangram.post("/scheduler/bind", &bind_arguments(&pending)).await;
    let error = answer["Error"].as_str().unwrap().to_owned();
    let is_refused = fits["Error"].as_str().is_some_and(|why| !why.is_empty());
    assert_eq!(is_refused, error.contains("Tangram is not ready"), "{fits} and {error}");
    error
}

fn bind_arguments(pod: &Pod) -> Value {
    let metadata = &pod.metadata;
    json!({
        "PodName": metadata.name,
        "PodNamespace": metadata.namespace,
        "PodUID": metadata.uid,
        "Node": "n-a",
    })
}

async fn add_pod(plane: &Plane, name: &str) {
    plane.add_pod(&pod(name, &[("tangram.gpu/mig-1g.10gb", "1")])).await;
}

async fn is_bound_through(plane: &Plane, tangram: &Tangram, name: &str) {
    add_pod(plane, name).await;
    assert_eq!(bind(plane, tangram, name).await, "");
    assert_eq!(plane.pod(name).await.spec.unwrap().node_name.as_deref(), Some("n-a"));
}

/// A replica that does not lead refuses, in the words of the protocol.
async fn is_refused_by(plane: &Plane, tangram: &Tangram, name: &str) {
    let error = bind(plane, tangram, name).await;
    assert!(error.contains("Tangram is not ready: this replica does not lead"), "{error}");
}

/// So many pods are bound, and no two of them hold one slice.
async fn nothing_is_held_twice(plane: &Plane, bound: usize) {
    let truth = plane.truth().await;
    assert_eq!(truth.violations(), Vec::<String>::new());
    assert_eq!(truth.bound().count(), bound);
}

async fn model_is_true(tangram: &Tangram) {
    let answer = tangram.get("/debug/compare").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let compared: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(compared["differences"], json!([]));
}

#[tokio::test]
async fn another_replica_answers_within_ten_seconds_of_a_kill_and_sooner_after_a_good_end() {
    let (plane, user, _agents) = cluster(Shape::Own).await;
    let replicas = vec![replica(&user, "one").await, replica(&user, "two").await];
    let mut replicas = leader_first(replicas).await;
    is_bound_through(&plane, &replicas[0], "before").await;
    add_pod(&plane, "refused").await;
    is_refused_by(&plane, &replicas[1], "refused").await;

    let killed = Instant::now();
    replicas[0].kill().await;
    replicas[1].ready().await;
    let took = killed.elapsed();
    assert!(took <= TAKEOVER, "after kill -9 it took {took:?}");
    is_bound_through(&plane, &replicas[1], "after-the-kill").await;

    replicas[0].restart().await;
    let listed = async || {
        let reasons = replicas[0].get("/readyz").await.body;
        (reasons == "this replica does not lead\n").then_some(())
    };
    wait_until("the one that was killed waits to lead", LIMIT, listed).await;
    let (first, second) = replicas.split_at_mut(1);
    let told = Instant::now();
    let ((), took) = tokio::join!(second[0].stop(), async {
        first[0].ready().await;
        told.elapsed()
    });
    assert!(took < LEASE_DURATION, "after SIGTERM it took {took:?}");
    is_bound_through(&plane, &replicas[0], "after-the-end").await;
    assert_eq!(bind(&plane, &replicas[0], "refused").await, "");
    nothing_is_held_twice(&plane, 4).await;
    model_is_true(&replicas[0]).await;
}

#[tokio::test]
async fn a_leader_that_was_frozen_binds_nothing_when_it_goes_on() {
    let (plane, user, agents) = cluster(Shape::Own).await;
    let mut replicas = Vec::new();
    for identity in ["one", "two", "three"] {
        replicas.push(replica(&user, identity).await);
    }
    let mut replicas = leader_first(replicas).await;
    let mut old = replicas.remove(0);
    is_bound_through(&plane, &old, "before").await;

    // A bind that waits for its GPU instance when the leader freezes.
    agents.manner("n-a", Manner { is_silent: true, ..Manner::default() });
    add_pod(&plane, "under-way").await;
    let pending = plane.pod("under-way").await;
    let filter = json!({ "Pod": pending, "Nodes": null, "NodeNames": ["n-a"] });
    assert_eq!(old.post("/scheduler/filter", &filter).await["NodeNames"], json!(["n-a"]));
    let (address, body) = (old.url().replace("http://", ""), bind_arguments(&pending).to_string());
    let late = tokio::spawn(async move {
        let request = hyper::Request::post("/scheduler/bind").header("host", &address);
        ask(&address, None, request.body(body.into()).unwrap()).await
    });
    let reports = gpu_nodes(plane.client());
    let wanted = async || {
        let instances = reports.get("n-a").await.unwrap().data["spec"]["instances"].clone();
        (instances.as_array().map_or(0, Vec::len) == 2).then_some(())
    };
    wait_until("an instance is wanted for it", LIMIT, wanted).await;
    old.pause().await;
    let mut replicas = leader_first(replicas).await;
    let new = &mut replicas[0];
    agents.manner_of_all(Manner::default());
    // It is bound by the new leader, and others with it, while the old one knows nothing of it.
    assert_eq!(bind(&plane, new, "under-way").await, "");
    let placed = plane.pod("under-way").await.metadata.annotations.unwrap()[PLACEMENT].clone();
    for number in 0..4 {
        is_bound_through(&plane, new, &format!("meanwhile-{number}")).await;
    }
    add_pod(&plane, "refused").await;

    old.resume().await;
    assert!(!is_ready(&old).await, "a former leader is ready");
    is_refused_by(&plane, &old, "refused").await;
    old.line("This replica does not lead any more").await;
    assert!(!is_ready(&old).await, "a former leader is ready");
    is_refused_by(&plane, &old, "refused").await;
    let late: Value = serde_json::from_str(&late.await.unwrap().unwrap().body).unwrap();
    assert!(late["Error"].is_string(), "{late}");
    assert_eq!(plane.pod("under-way").await.metadata.annotations.unwrap()[PLACEMENT], placed);
    assert_eq!(bind(&plane, new, "refused").await, "");
    nothing_is_held_twice(&plane, 7).await;
    model_is_true(new).await;
}

#[tokio::test]
async fn beside_a_scheduler_the_one_leads_whose_scheduler_holds_the_lease() {
    let (plane, user, _agents) = cluster(Shape::Scheduler).await;
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned();
    let follower = async |identity: &str| {
        let settings = json!({ "mode": "follow", "leaseName": "tangram-scheduler", "identity": identity });
        Tangram::live(&user.kubeconfig, &election(&settings), None).await
    };
    let mut one = follower(&host).await;
    let mut two = follower("elsewhere").await;
    let mut configuration: Value = serde_saphyr::from_str(CONFIGURATION).unwrap();
    configuration["extenders"][0]["urlPrefix"] = json!(format!("{}/scheduler", one.url()));
    for (period, long) in [("leaseDuration", "3s"), ("renewDeadline", "2s"), ("retryPeriod", "1s")] {
        configuration["leaderElection"][period] = json!(long);
    }
    let mut scheduler = plane.elected_scheduler(&configuration.to_string(), &user).await;
    one.ready().await;
    assert!(!is_ready(&two).await, "both are ready");
    let mut waiting = pod("through-it", &[("tangram.gpu/mig-1g.10gb", "1")]);
    waiting.spec.as_mut().unwrap().scheduler_name = Some("tangram".to_owned());
    plane.add_pod(&waiting).await;
    assert_eq!(plane.node_of("through-it").await, "n-a");
    nothing_is_held_twice(&plane, 1).await;

    // Nobody holds it; then the scheduler of the other pod; then that of a pod whose name begins the same.
    let ends = async |tangram: &Tangram, what: &str| {
        wait_until(what, LIMIT, async || (!is_ready(tangram).await).then_some(())).await;
    };
    scheduler.kill().await;
    ends(&one, "a Tangram whose scheduler is dead is not ready").await;
    let held_by = async |holder: &str| {
        let mut held = lease("tangram-scheduler");
        held["spec"] = json!({ "holderIdentity": holder, "leaseDurationSeconds": 60 });
        let path = format!("{LEASES}/tangram-scheduler");
        call(&plane.admin(), "PATCH", &path, &held).await.unwrap();
    };
    held_by("elsewhere_2f0c").await;
    two.ready().await;
    assert!(!is_ready(&one).await, "both are ready");
    is_bound_through(&plane, &two, "by-the-other").await;
    held_by("elsewhere-2_77aa").await;
    ends(&two, "a Tangram whose scheduler lost the Lease is not ready").await;
    assert!(!is_ready(&one).await, "a stranger's Lease makes one ready");
    nothing_is_held_twice(&plane, 2).await;
}
