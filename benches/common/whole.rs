//! A generated cluster of whole GPUs in use, with prices for what runs there.

use serde_json::{Value, json};
use std::sync::Arc;

use tangram::cache::{Cache, Event};
use tangram::model::{Pod, Policy};
use tangram::sim::Random;
use tangram::solver::Scores;
use tangram::wire::{self, Dialect, PodObject, cluster_events};

/// Models with the cores and GiB of a node of eight GPUs.
const MODELS: [(&str, u32, u32); 4] = [
    ("NVIDIA-A100-SXM4-80GB", 96, 1024),
    ("NVIDIA-H100-80GB-HBM3", 192, 2048),
    ("NVIDIA-L40S", 128, 512),
    ("Tesla-T4", 64, 384),
];
/// GPUs of a pod: most want one.
const GPUS: [u32; 8] = [1, 1, 1, 1, 2, 2, 4, 8];
const CPUS_PER_GPU: [u32; 5] = [4, 6, 8, 10, 16];

/// A pod of so many units, with cores and 8 GiB of memory for each core.
pub(crate) fn pod(resource: &str, units: u32, cores: u32) -> Pod {
    let object = object("new", "", resource, units, cores);
    let object: PodObject = serde_json::from_value(object).expect("a pod");
    wire::pod(&object, &Dialect::default()).expect("a pod")
}

fn object(name: &str, node: &str, resource: &str, units: u32, cores: u32) -> Value {
    let amounts = json!({"cpu": cores, "memory": format!("{}Gi", cores * 8), resource: units});
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "uid": name},
        "spec": {"nodeName": node, "containers": [{"name": "main", "resources": {"requests": amounts, "limits": amounts}}]},
    })
}

/// So many nodes of eight GPUs, each with random pods.
pub(crate) fn cache(nodes: u32) -> Cache {
    let mut random = Random::new(1);
    let mut items = Vec::new();
    for number in 0..nodes {
        let (product, cores, gib) = MODELS[random.below(MODELS.len())];
        let name = format!("gpu-{number:05}");
        items.push(json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"nvidia.com/gpu.product": product, "nvidia.com/gpu.count": "8"}},
            "status": {"allocatable": {"cpu": cores, "memory": format!("{gib}Gi"), "pods": 110, "nvidia.com/gpu": 8}},
        }));
        let mut left = 8;
        for seat in 0..random.below(5) {
            let gpus = GPUS[random.below(GPUS.len())];
            if gpus <= left {
                left -= gpus;
                let cores = gpus * CPUS_PER_GPU[random.below(CPUS_PER_GPU.len())];
                items.push(object(&format!("pod-{number}-{seat}"), &name, "nvidia.com/gpu", gpus, cores));
            }
        }
    }
    let text = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    let mut cache = Cache::new(Arc::new(Scores::prior()), Policy::Pack, usize::MAX);
    let contents = cluster_events(text.as_bytes(), &Dialect::default(), |event| {
        cache.apply(event);
    });
    assert!(contents.expect("a generated cluster can be read").errors.is_empty());
    let (demand, supply) = cache.drifted().expect("pods were seen");
    cache.apply(Event::Repriced(Arc::new(Scores::with_supply(demand, supply))));
    cache
}
