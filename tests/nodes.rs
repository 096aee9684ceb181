//! What the labels and the allocatable of a node mean: every mode of the stock stack, and their contradictions.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::needless_pass_by_value, reason = "json!() reads better without a borrow")]

#[path = "common/http.rs"]
mod http;

use http::Server;
use serde_json::{Value, json};

fn node(labels: Value, allocatable: Value) -> Value {
    json!({"kind": "Node", "metadata": {"name": "n", "labels": labels}, "status": {"allocatable": allocatable}})
}

fn pod(name: &str, devices: Value) -> Value {
    let containers = json!([{"name": "main", "resources": {"limits": devices}}]);
    json!({"kind": "Pod", "metadata": {"name": name, "namespace": "x", "uid": name}, "spec": {"containers": containers}})
}

fn running(name: &str, devices: Value) -> Value {
    let mut pod = pod(name, devices);
    pod["spec"]["nodeName"] = json!("n");
    pod
}

fn server(items: &[Value]) -> Server {
    Server::new(&json!({"kind": "List", "items": items}).to_string())
}

/// The node as the API shows it.
async fn view(items: &[Value]) -> Value {
    server(items).get("/v1/cluster").await["nodes"][0].clone()
}

/// Why the node refuses a pod; empty when it does not.
async fn refusal(server: &Server, devices: Value) -> String {
    let request = json!({"Pod": pod("asks", devices), "NodeNames": ["n"]}).to_string();
    let answer = server.post("/scheduler/filter", request).await;
    let failed = |key: &str| answer[key]["n"].as_str().unwrap_or_default().to_owned();
    failed("FailedNodes") + &failed("FailedAndUnresolvableNodes")
}

fn labels(product: &str, count: &str, more: Value) -> Value {
    let mut labels = json!({"nvidia.com/gpu.product": product, "nvidia.com/gpu.count": count});
    labels.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    labels
}

#[tokio::test]
async fn every_mode_of_the_stock_stack_is_read_from_labels_and_allocatable() {
    let shared = json!({"nvidia.com/gpu.replicas": "4"});
    let mixed = json!({
        "nvidia.com/mig.strategy": "mixed", "nvidia.com/mig-1g.10gb.product": "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb-SHARED",
        "nvidia.com/mig-1g.10gb.replicas": "2",
    });
    let single = json!({"nvidia.com/mig.strategy": "single"});
    for (labels, resource, kind, profile, replicas) in [
        (
            labels("NVIDIA-H100-80GB-HBM3", "8", json!({})),
            "nvidia.com/gpu",
            "whole",
            Value::Null,
            Value::Null,
        ),
        (labels("Tesla-T4-SHARED", "2", shared.clone()), "nvidia.com/gpu", "replica", Value::Null, json!(4)),
        (labels("Tesla-T4", "2", shared.clone()), "nvidia.com/gpu.shared", "replica", Value::Null, json!(4)),
        (labels("Tesla-T4-SHARED", "2", json!({})), "nvidia.com/gpu", "replica", Value::Null, json!(4)),
        (
            labels("NVIDIA-A30-MIG-2g.12gb", "8", single.clone()),
            "nvidia.com/gpu",
            "partition",
            json!("2g.12gb"),
            Value::Null,
        ),
        (
            labels("NVIDIA-A30-MIG-2g.12gb-SHARED", "8", shared),
            "nvidia.com/gpu",
            "replica",
            json!("2g.12gb"),
            json!(4),
        ),
        (
            labels("NVIDIA-A100-SXM4-80GB", "8", json!({})),
            "nvidia.com/mig-1g.10gb.me",
            "partition",
            json!("1g.10gb+me"),
            Value::Null,
        ),
        (
            labels("NVIDIA-A100-SXM4-80GB", "8", mixed.clone()),
            "nvidia.com/mig-1g.10gb",
            "replica",
            json!("1g.10gb"),
            json!(2),
        ),
        (
            labels("NVIDIA-A100-SXM4-80GB", "8", mixed),
            "nvidia.com/mig-1g.10gb.shared",
            "replica",
            json!("1g.10gb"),
            json!(2),
        ),
        (json!({}), "amd.com/gpu", "whole", Value::Null, Value::Null),
        (json!({}), "gpu.intel.com/i915", "whole", Value::Null, Value::Null),
    ] {
        let node = view(&[node(labels.clone(), json!({resource: "8"}))]).await;
        let pool = &node["pools"][0];
        let read = (&pool["resource"], &pool["kind"], &pool["profile"], &pool["replicas"], &pool["capacity"]);
        assert_eq!(read, (&json!(resource), &json!(kind), &profile, &replicas, &json!(8)), "{labels}");
        assert_eq!(node["problems"], Value::Null, "{labels}");
    }
}

#[tokio::test]
async fn labels_that_contradict_each_other_offer_nothing_and_say_so() {
    let dynamic = json!({"tangram.gpu/mig": "dynamic"});
    for (labels, problem) in [
        (
            labels("NVIDIA-A100-SXM4-80GB-MIG-1g.10gb", "14", dynamic.clone()),
            r#"label tangram.gpu/mig="dynamic": no such label where the product says that the GPUs are partitioned"#,
        ),
        (
            labels("NVIDIA-A100-SXM4-80GB-MIG-INVALID", "7", json!({})),
            r#"label nvidia.com/gpu.product="NVIDIA-A100-SXM4-80GB-MIG-INVALID": a MIG profile behind -MIG-"#,
        ),
        (
            labels("NVIDIA-A100-SXM4-80GB", "1000", dynamic.clone()),
            r#"label nvidia.com/gpu.count="1000": at most 64 GPUs"#,
        ),
        (
            labels(
                "NVIDIA-A100-SXM4-80GB",
                "8",
                json!({"tangram.gpu/mig": "dynamic", "tangram.gpu/mig-gpus": "8"}),
            ),
            r#"label tangram.gpu/mig-gpus="8": indices of GPUs of this node, such as 0_1_4-7"#,
        ),
        (
            labels("NVIDIA-L40S", "8", dynamic),
            r#"label tangram.gpu/mig="dynamic": no such label on a GPU model that is not in the MIG table"#,
        ),
    ] {
        let items = [node(labels, json!({}))];
        assert_eq!(view(&items).await["problems"], json!([problem]));
        let refused = refusal(&server(&items), json!({"tangram.gpu/mig-1g.10gb": "1"})).await;
        assert_eq!(refused, "node has no dynamic MIG GPU", "{problem}");
    }
    let invalid =
        node(labels("NVIDIA-A100-SXM4-80GB-MIG-INVALID", "7", json!({})), json!({"nvidia.com/gpu": "7"}));
    let refused = refusal(&server(&[invalid]), json!({"nvidia.com/gpu": "1"})).await;
    assert_eq!(refused, "node does not offer nvidia.com/gpu");
}

#[tokio::test]
async fn a_gpu_of_an_unknown_model_is_placed_whole_although_it_is_labelled_dynamic() {
    let labels = labels("NVIDIA-Q900", "4", json!({"tangram.gpu/mig": "dynamic"}));
    let server = server(&[node(labels, json!({"nvidia.com/gpu": "4"}))]);
    assert_eq!(refusal(&server, json!({"nvidia.com/gpu": "4"})).await, "");
    assert_eq!(
        refusal(&server, json!({"tangram.gpu/mig-1g.10gb": "1"})).await,
        "node has no dynamic MIG GPU"
    );
}

#[tokio::test]
async fn whole_gpus_held_on_a_node_that_became_dynamic_close_it() {
    let labels = labels("NVIDIA-A100-SXM4-80GB", "1", json!({"tangram.gpu/mig": "dynamic"}));
    let items = [node(labels, json!({})), running("old", json!({"nvidia.com/gpu": "1"}))];
    let server = server(&items);
    let refused = refusal(&server, json!({"tangram.gpu/mig-1g.10gb": "1"})).await;
    assert_eq!(refused, "dynamic MIG GPUs are closed (unhealthy or in conflict)");
    assert_eq!(view(&items).await["problems"], json!(["pods hold 1 nvidia.com/gpu, the node offers 0"]));
    server.send("DELETE", "/v1/pods/x/old", "").await;
    assert_eq!(refusal(&server, json!({"tangram.gpu/mig-7g.80gb": "1"})).await, "");
}

#[tokio::test]
async fn a_device_plugin_counts_only_for_the_gpus_that_are_left_to_it() {
    let half = labels(
        "NVIDIA-A100-SXM4-80GB",
        "8",
        json!({"tangram.gpu/mig": "dynamic", "tangram.gpu/mig-gpus": "0-3_7"}),
    );
    let server = server(&[node(half, json!({"nvidia.com/gpu": "8"}))]);
    assert_eq!(refusal(&server, json!({"nvidia.com/gpu": "3"})).await, "");
    assert_eq!(
        refusal(&server, json!({"nvidia.com/gpu": "4"})).await,
        "node has fewer than 4 nvidia.com/gpu"
    );
    assert_eq!(refusal(&server, json!({"nvidia.com/gpu": "3", "tangram.gpu/mig-7g.80gb": "5"})).await, "");
}

fn report(gpus: Value) -> Value {
    json!({"kind": "GpuNode", "metadata": {"name": "n"}, "status": {"sequence": 1, "gpus": gpus}})
}

#[tokio::test]
async fn a_gpu_that_the_agent_does_not_see_takes_nothing_whatever_the_labels_count() {
    let labels = labels("NVIDIA-A100-SXM4-80GB", "2", json!({"tangram.gpu/mig": "dynamic"}));
    let full =
        json!([{"uuid": "MIG-1", "profile": "7g.80gb", "start": 0, "pod": {"namespace": "x", "name": "p"}}]);
    let gpu = json!({"index": 0, "uuid": "GPU-0", "model": "NVIDIA A100-SXM4-80GB", "migMode": "Enabled", "instances": full});
    let server = server(&[node(labels, json!({})), report(json!([gpu]))]);
    let refused = refusal(&server, json!({"tangram.gpu/mig-1g.10gb": "1"})).await;
    assert_eq!(refused, "no GPU has enough free memory slices for 1g.10gb");
}

#[tokio::test]
async fn an_agent_alone_says_which_gpus_there_are() {
    let labels = json!({"tangram.gpu/mig": "dynamic"});
    let gpu = json!({"index": 0, "uuid": "GPU-0", "model": "NVIDIA H200", "migMode": "Enabled"});
    let items = [node(labels, json!({})), report(json!([gpu]))];
    assert_eq!(refusal(&server(&items), json!({"tangram.gpu/mig-7g.141gb": "1"})).await, "");
    assert_eq!(view(&items).await["problems"], Value::Null);
}

#[tokio::test]
async fn deleting_a_pod_frees_what_an_agent_reported_since_nobody_else_will() {
    let labels = labels("NVIDIA-A100-SXM4-80GB", "1", json!({"tangram.gpu/mig": "dynamic"}));
    let live =
        json!([{"uuid": "MIG-1", "profile": "7g.80gb", "start": 0, "pod": {"namespace": "x", "name": "p"}}]);
    let gpu = json!({"index": 0, "uuid": "GPU-0", "model": "NVIDIA A100-SXM4-80GB", "migMode": "Enabled", "instances": live});
    let server = server(&[
        node(labels, json!({})),
        running("p", json!({"tangram.gpu/mig-7g.80gb": "1"})),
        report(json!([gpu])),
    ]);
    let ask = || json!({"tangram.gpu/mig-1g.10gb": "1"});
    assert_ne!(refusal(&server, ask()).await, "");
    server.send("DELETE", "/v1/pods/x/p", "").await;
    assert_eq!(refusal(&server, ask()).await, "");
}

#[tokio::test]
async fn a_filter_request_never_touches_a_bound_pod_of_its_name() {
    let labels = labels("NVIDIA-A100-SXM4-80GB", "1", json!({"tangram.gpu/mig": "dynamic"}));
    let items = [node(labels, json!({})), running("asks", json!({"tangram.gpu/mig-7g.80gb": "1"}))];
    let server = server(&items);
    let slices = async || server.get("/v1/cluster").await["nodes"][0]["gpus"][0]["slices"].clone();
    assert_eq!(slices().await, "77777777");
    refusal(&server, json!({"nvidia.com/gpu": "1"})).await;
    assert_eq!(slices().await, "77777777");
}

#[tokio::test]
async fn a_label_chooses_the_policy_as_the_annotation_does() {
    let server = server(&[node(labels("NVIDIA-L40S", "1", json!({})), json!({"nvidia.com/gpu": "1"}))]);
    let mut pod = pod("p", json!({"nvidia.com/gpu": "1"}));
    pod["metadata"]["labels"] = json!({"tangram.gpu/policy": "wrong"});
    let answer = server.post("/scheduler/filter", json!({"Pod": pod, "NodeNames": ["n"]}).to_string()).await;
    let reason = r#"Pod x/p: metadata.annotations[tangram.gpu/policy]: "wrong" is not known (pack, spread, best-fit, first-fit, mfi, fgd, random(SEED))"#;
    assert_eq!(answer["FailedAndUnresolvableNodes"]["n"], reason);
}
