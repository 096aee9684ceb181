//! Nodes and pods without machines behind them.

use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use serde_json::{Map, Value, json};

/// What every fake node has besides its GPUs: more than the tests ask for, so
/// that only what a test names can run out.
const ALLOCATABLE: [(&str, &str); 3] = [("cpu", "64"), ("memory", "512Gi"), ("pods", "110")];

/// A node that is ready, with `allocatable` in addition to processors and
/// memory.
pub(crate) fn fake_node(
    name: &str,
    labels: &[(&str, &str)],
    allocatable: &[(&str, &str)],
    taints: &[Taint],
) -> Node {
    let mut labels = object(labels);
    labels.insert("kubernetes.io/hostname".into(), name.into());
    let mut resources = object(&ALLOCATABLE);
    resources.append(&mut object(allocatable));
    from(json!({
        "metadata": { "name": name, "labels": labels },
        "spec": { "taints": taints },
        "status": {
            "capacity": resources,
            "allocatable": resources,
            // Without it the scheduler would see a node that never reported.
            "conditions": [{ "type": "Ready", "status": "True", "reason": "KubeletReady" }],
        },
    }))
}

/// A pod with one container, `main`, that asks for `requests`. They are limits
/// too: Kubernetes wants both equal for GPUs.
pub(crate) fn pod(name: &str, requests: &[(&str, &str)]) -> Pod {
    let resources = object(requests);
    from(json!({
        "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "containers": [{
                "name": "main",
                "image": "nothing-runs-it",
                "resources": { "requests": resources, "limits": resources },
            }],
        },
    }))
}

/// The same pod with an annotation.
pub(crate) fn annotated(mut pod: Pod, key: &str, value: &Value) -> Pod {
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(key.to_owned(), value.to_string());
    pod
}

fn object(pairs: &[(&str, &str)]) -> Map<String, Value> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.into())).collect()
}

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("the object was written for this type")
}
