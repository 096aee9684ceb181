//! The placement API: dry runs, the cluster, fragmentation, errors.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/http.rs"]
mod http;

use http::Server;
use serde_json::{Value, json};
use tangram::config::Config;
use tangram::serve::EXAMPLE;

fn pods(name: &str) -> String {
    let path = format!("{}/examples/pods/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn nodes(answer: &Value) -> Vec<&str> {
    answer["pods"].as_array().unwrap().iter().map(|pod| pod["node"].as_str().unwrap_or("-")).collect()
}

#[tokio::test]
async fn a_deployment_is_placed_replica_by_replica_and_nothing_changes() {
    let server = Server::new(EXAMPLE);
    let before = server.get("/v1/cluster").await;
    let answer = server.post("/v1/dryrun", pods("inference-deployment")).await;
    assert_eq!((&answer["allFit"], &answer["fit"]), (&json!(true), &json!(6)));
    let mut places: Vec<String> = Vec::new();
    for pod in answer["pods"].as_array().unwrap() {
        let device = &pod["devices"][0];
        assert_eq!(device["profile"], "3g.40gb");
        places.push(format!("{} {} {}", pod["node"], device["gpu"], device["start"]));
    }
    places.sort();
    places.dedup();
    assert_eq!(places.len(), 6, "no two replicas share a place");
    assert_eq!(server.get("/v1/cluster").await, before);
}

#[tokio::test]
async fn an_indexed_job_counts_its_parallelism() {
    let answer = Server::new(EXAMPLE).post("/v1/dryrun", pods("train-4gpu-job")).await;
    assert_eq!(nodes(&answer).len(), 3);
    let mut distinct = nodes(&answer);
    distinct.sort_unstable();
    assert_eq!(distinct, ["dgx-h100-02", "dgx-h100-03", "l40s-01"]);
}

#[tokio::test]
async fn every_kind_of_request_finds_its_kind_of_node() {
    let answer = Server::new(EXAMPLE).post("/v1/dryrun", pods("mixed-batch")).await;
    assert_eq!(answer["allFit"], true, "{answer:#}");
    let by_name = |name: &str| {
        let pods = answer["pods"].as_array().unwrap();
        pods.iter().find(|pod| pod["name"] == name).unwrap()["node"].as_str().unwrap().to_owned()
    };
    for (pod, prefix) in [
        ("static-mixed", "mig-a100-"),
        ("static-single", "mig-a30-"),
        ("shared", "t4-shared-02"),
        ("mig-shared", "mig-shared-01"),
        ("dynamic", "dyn-"),
        ("enough-memory", "dyn-"),
        ("amd", "mi300x-01"),
        ("gaudi", "gaudi3-01"),
    ] {
        assert!(by_name(pod).starts_with(prefix), "{pod}: {}", by_name(pod));
    }
}

#[tokio::test]
async fn a_pod_without_a_place_is_told_why_node_by_node_and_gpu_by_gpu() {
    let server = Server::new(EXAMPLE);
    let pod = |name: &str, profile: &str, node: &str| {
        let resource = format!("tangram.gpu/mig-{profile}");
        json!({
            "kind": "Pod", "metadata": {"name": name},
            "spec": {
                "nodeSelector": {"kubernetes.io/hostname": node}, "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "main", "resources": {"limits": {resource: "1"}}}],
            },
        })
    };
    let answer = server.post("/v1/dryrun", pod("big", "3g.40gb", "dyn-h100-01").to_string()).await;
    let big = &answer["pods"][0];
    assert_eq!((&answer["allFit"], &big["node"]), (&json!(false), &Value::Null));
    let reasons: Vec<(&Value, &Value)> = big["refusals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|refusal| (&refusal["count"], &refusal["reason"]))
        .collect();
    let selector = json!("node(s) didn't match Pod's node affinity/selector");
    let fragmented = json!("free memory slices for 3g.40gb, but no legal placement");
    assert_eq!(reasons, [(&json!(34), &selector), (&json!(1), &fragmented)]);
    let details: Vec<&str> =
        big["details"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert_eq!(
        details,
        [
            "3g.40gb: 1 GPU has 6 free memory slices but not at 0 or 4",
            "3g.40gb: 1 GPU has 5 free memory slices but not at 0 or 4",
            "3g.40gb: 1 GPU has 4 free memory slices but not at 0 or 4",
            "3g.40gb: 1 GPU has 3 free memory slices, 4 are needed",
            "3g.40gb: 3 GPUs have 1 free memory slice, 4 are needed",
            "3g.40gb: 1 GPU has 0 free memory slices, 4 are needed",
        ]
    );
}

#[tokio::test]
async fn the_policy_decides_between_full_and_empty() {
    let server = Server::new(EXAMPLE);
    let one = pods("one-slice");
    let packed = server.post("/v1/dryrun", one.clone()).await;
    let spread = server.post("/v1/dryrun?policy=spread", one).await;
    assert_eq!(nodes(&packed), ["dyn-h100-05"], "the only slot that nothing larger can use");
    assert_eq!(nodes(&spread), ["dyn-h100-06"], "the emptiest node");
}

#[tokio::test]
async fn what_cannot_be_planned_is_listed_object_by_object() {
    let server = Server::new(EXAMPLE);
    let body = "kind: Service\nmetadata: {name: s}\n---\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, resources: {limits: {nvidia.com/gpu: x}}}]}\n";
    let (status, problem) = server.send("POST", "/v1/dryrun", body).await;
    let problem: Value = serde_json::from_slice(&problem).unwrap();
    assert_eq!(status, 400);
    assert_eq!(
        problem["errors"],
        json!([
            "Service default/s: kind: no pods can be planned for it; Pod, PodTemplate, ReplicationController, ReplicaSet, Deployment, StatefulSet, Job and CronJob have pods",
            "Pod default/p: spec.containers[0].resources.limits[nvidia.com/gpu]: \"x\" is not a Kubernetes quantity",
        ])
    );
    let mut config = Config::default();
    config.limits.dryrun_pods = 2;
    let server = Server::with(EXAMPLE, &config);
    let (status, problem) = server.send("POST", "/v1/dryrun", pods("inference-deployment")).await;
    let problem: Value = serde_json::from_slice(&problem).unwrap();
    let errors =
        json!(["Deployment inference/chat-api: spec: asks for 6 pods, the limit is 2 (limits.dryrunPods)"]);
    assert_eq!((status.as_u16(), &problem["errors"]), (400, &errors));
    for (path, status) in [
        ("/v1/dryrun?policy=best", 400),
        ("/v1/dryrun?polcy=pack", 400),
        ("/nothing", 404),
        ("/v1/cluster", 405),
    ] {
        let (answered, problem) = server.send("POST", path, pods("one-slice")).await;
        let problem: Value = serde_json::from_slice(&problem).unwrap();
        assert_eq!((answered.as_u16(), &problem["status"]), (status, &json!(status)), "{path}: {problem}");
    }
}

#[tokio::test]
async fn the_cluster_says_what_is_known_and_what_is_assumed() {
    let cluster = Server::new(EXAMPLE).get("/v1/cluster").await;
    let nodes = cluster["nodes"].as_array().unwrap();
    let node = |name: &str| nodes.iter().find(|node| node["name"] == name).unwrap();
    assert_eq!(nodes.len(), 35);
    let instance =
        |name: &str, gpu: usize, position: usize| node(name)["gpus"][gpu]["instances"][position].clone();
    assert_eq!(node("dyn-a100-03")["source"], "labels");
    let assumed = instance("dyn-a100-03", 0, 1);
    assert_eq!(
        (&assumed["pod"], &assumed["knowledge"]),
        (&json!("ml-platform/legacy-import-r99n6"), &json!("assumed"))
    );
    assert_eq!(instance("dyn-a100-03", 0, 0)["knowledge"], "known");
    assert_eq!(node("dyn-h200-01")["source"], "agent");
    assert_eq!(node("dyn-h200-01")["gpus"][3]["isClosed"], true);
    assert_eq!(
        node("dyn-h200-01")["problems"],
        json!(["GPU 3: unhealthy: Xid 79: GPU has fallen off the bus"])
    );
    let unknown = "GPU model \"NVIDIA-Q900-PROTOTYPE\" is not in the MIG table: its GPUs are placed as whole devices only";
    assert_eq!(node("novel-01")["problems"], json!([unknown]));
    assert_eq!(
        (&node("novel-01")["pools"][0]["capacity"], &node("novel-01")["pools"][0]["used"]),
        (&json!(4), &json!(1))
    );
    let drawn: Vec<&Value> =
        node("dyn-h100-01")["gpus"].as_array().unwrap().iter().map(|gpu| &gpu["slices"]).collect();
    assert_eq!(
        drawn,
        ["22..22..", "...11...", "3333221.", "4444111.", "1111111.", "..22..1.", "77777777", ".1..3333"]
    );
    assert_eq!(cluster["pending"].as_array().unwrap().len(), 7);
}

#[tokio::test]
async fn fragmentation_adds_up_over_models() {
    let view = Server::new(EXAMPLE).get("/v1/fragmentation").await;
    let all = &view["all"]["dynamic"];
    let number = |value: &Value| value.as_u64().unwrap();
    assert_eq!(
        number(&all["freeMemorySlices"]),
        number(&all["usableMemorySlices"]) + number(&all["strandedMemorySlices"])
    );
    assert_eq!(
        number(&all["totalMemorySlices"]),
        number(&all["usedMemorySlices"]) + number(&all["freeMemorySlices"])
    );
    // Slice 7 is all that is left on three GPUs of dyn-h100-01 and cannot be used on a fourth; and so on.
    // On the RTX PRO six are beside an instance with all media engines: what asks for 1g.24gb-me can use them.
    assert_eq!(number(&all["strandedMemorySlices"]), 9);
    let models = view["byModel"].as_object().unwrap();
    let sum = |field: &str| models.values().map(|model| number(&model["dynamic"][field])).sum::<u64>();
    assert_eq!(sum("freeMemorySlices"), number(&all["freeMemorySlices"]));
    assert_eq!(sum("strandedMemorySlices"), 9);
    let pools = view["all"]["pools"].as_array().unwrap();
    let of = |resource: &str, kind: &str| {
        pools.iter().find(|pool| pool["resource"] == resource && pool["kind"] == kind).unwrap().clone()
    };
    let halves = json!({"resource": "nvidia.com/mig-3g.40gb", "kind": "partition", "profile": "3g.40gb", "capacity": 24, "used": 9, "free": 15});
    assert_eq!(of("nvidia.com/mig-3g.40gb", "partition"), halves);
    // Whole GPUs, MIG devices of single nodes and time-sliced shares have one name and are three things.
    let capacity = |kind: &str| of("nvidia.com/gpu", kind)["capacity"].clone();
    assert_eq!(
        (capacity("whole"), capacity("partition"), capacity("replica")),
        (json!(88), json!(16), json!(56))
    );
    assert_eq!(view["all"]["closedGpus"], 1);
}

#[tokio::test]
async fn a_planned_pod_never_takes_the_place_of_one_that_has_its_name() {
    let server = Server::new(EXAMPLE);
    // Seven of eight GPUs of dgx-h100-01 are in use; the pod asks for the last one, three times, by one name.
    let cluster = server.get("/v1/cluster").await;
    let node =
        cluster["nodes"].as_array().unwrap().iter().find(|node| node["name"] == "dgx-h100-01").unwrap();
    let running = node["pods"][0]["pod"].as_str().unwrap().split_once('/').unwrap();
    let pod = json!({
        "kind": "Pod", "metadata": {"namespace": running.0, "name": running.1},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": "dgx-h100-01"}, "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "main", "resources": {"limits": {"nvidia.com/gpu": "1"}}}],
        },
    });
    let answer = server.post("/v1/dryrun", format!("{pod}{pod}{pod}")).await;
    assert_eq!(nodes(&answer), ["dgx-h100-01", "-", "-"]);
}
