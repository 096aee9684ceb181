//! What the API server's own objects say of placements, checked by rules alone:
//! nothing here asks Tangram, or uses what it computed.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams};
use serde_json::Value;
use tangram::mig::{Catalog, ModelRow, ProfileRow};

use super::Plane;
use super::agent::gpu_nodes;

/// A GPU instance: GPU, profile, first memory slice, pod.
type Held = (u64, String, u64, String);

/// Everything that matters, as it is in the API server.
pub(crate) struct Truth {
    nodes: Vec<Node>,
    pub(crate) pods: Vec<Pod>,
    wanted: BTreeMap<String, Vec<Held>>, // by node
}

impl Plane {
    /// Reads everything that matters.
    pub(crate) async fn truth(&self) -> Truth {
        let all = ListParams::default();
        let nodes = Api::<Node>::all(self.client()).list(&all).await.expect("nodes are listed").items;
        let pods = Api::<Pod>::all(self.client()).list(&all).await.expect("pods are listed").items;
        let listed = gpu_nodes(self.client()).list(&all).await;
        let objects = listed.map(|listed| listed.items).unwrap_or_default(); // the kind may not be there
        let wanted = objects.into_iter().map(|object| {
            let instances = object.data["spec"]["instances"].as_array().cloned().unwrap_or_default();
            let pod =
                |one: &Value| format!("{}/{}", text(&one["pod"]["namespace"]), text(&one["pod"]["name"]));
            let held = |one: &Value| held(one, pod(one));
            (object.metadata.name.unwrap_or_default(), instances.iter().map(held).collect())
        });
        Truth { nodes, pods, wanted: wanted.collect() }
    }
}

impl Truth {
    /// Pods that stand on a node and have not ended.
    pub(crate) fn bound(&self) -> impl Iterator<Item = (&Pod, &str)> {
        let ended = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            matches!(phase, Some("Succeeded" | "Failed"))
        };
        self.pods.iter().filter(move |pod| !ended(pod)).filter_map(|pod| {
            let node = pod.spec.as_ref()?.node_name.as_deref()?;
            Some((pod, node))
        })
    }

    /// Pods that stand on no node.
    pub(crate) fn pending(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_none()))
    }

    /// What is wrong: memory slices held twice, starts that no GPU of the model has, more devices than the node
    /// offers, pods without the devices they asked for.
    pub(crate) fn violations(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for node in &self.nodes {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            let pods: Vec<&Pod> = self.bound().filter(|(_, on)| *on == name).map(|(pod, _)| pod).collect();
            check_counted(node, &pods, &mut wrong);
            check_slices(node, &pods, &mut wrong);
        }
        wrong
    }

    /// Where the GPU instances that are wanted are not those of the pods that are bound.
    pub(crate) fn unwanted(&self) -> Vec<String> {
        let mut expected: BTreeMap<&str, Vec<Held>> =
            self.wanted.keys().map(|node| (node.as_str(), Vec::new())).collect();
        for (pod, node) in self.bound() {
            for device in devices(pod) {
                expected.entry(node).or_default().push(held(&device, key(pod)));
            }
        }
        let mut wrong = Vec::new();
        for (node, mut expected) in expected {
            let mut wanted = self.wanted.get(node).cloned().unwrap_or_default();
            expected.sort();
            wanted.sort();
            if expected != wanted {
                wrong.push(format!("node {node}: bound {expected:?}, wanted {wanted:?}"));
            }
        }
        wrong
    }
}

fn check_counted(node: &Node, pods: &[&Pod], wrong: &mut Vec<String>) {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let mut asked: BTreeMap<String, u64> = BTreeMap::new();
    for pod in pods {
        for (resource, count) in requests(pod) {
            *asked.entry(resource).or_default() += count;
        }
    }
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.clone()).unwrap_or_default();
    for (resource, count) in asked.into_iter().filter(|(resource, _)| !resource.starts_with("tangram.gpu/")) {
        let offered = allocatable.get(&resource).and_then(|amount| amount.0.parse::<u64>().ok()).unwrap_or(0);
        if count > offered {
            wrong.push(format!("node {name}: {count} {resource} held, {offered} offered"));
        }
    }
}

fn check_slices(node: &Node, pods: &[&Pod], wrong: &mut Vec<String>) {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let labels = node.metadata.labels.clone().unwrap_or_default();
    let product = labels.get("nvidia.com/gpu.product").map(String::as_str).unwrap_or_default();
    let count: u64 = labels.get("nvidia.com/gpu.count").and_then(|count| count.parse().ok()).unwrap_or(0);
    let known = Catalog::get();
    let model = known.by_product(product).map(|model| known.row(model));
    let mut slices: BTreeMap<(u64, u64), String> = BTreeMap::new();
    for pod in pods {
        let asked: u64 = requests(pod)
            .iter()
            .map(|(resource, count)| match resource.as_str() {
                "tangram.gpu/mem" => 1,
                resource if resource.starts_with("tangram.gpu/mig-") => *count,
                _ => 0,
            })
            .sum();
        let devices = devices(pod);
        if u64::try_from(devices.len()).ok() != Some(asked) {
            wrong.push(format!("pod {} on {name}: {asked} devices asked for, {devices:?} given", key(pod)));
        }
        for device in devices {
            let (gpu, profile, start, _) = held(&device, String::new());
            let row = model.and_then(|model| legal(model, &profile, start)).filter(|_| gpu < count);
            let Some(row) = row else {
                wrong.push(format!("pod {} on {name}: {device} is not possible on {product}", key(pod)));
                continue;
            };
            for slice in start..start + u64::from(row.memory_slices) {
                if let Some(other) = slices.insert((gpu, slice), key(pod)) {
                    let pod = key(pod);
                    wrong.push(format!("node {name}: slice {slice} of GPU {gpu} held by {other} and {pod}"));
                }
            }
        }
    }
}

fn legal(model: &'static ModelRow, profile: &str, start: u64) -> Option<&'static ProfileRow> {
    model
        .profiles
        .iter()
        .find(|row| row.name == profile && row.starts.iter().any(|legal| u64::from(*legal) == start))
}

/// What a pod's containers ask of extended resources.
fn requests(pod: &Pod) -> Vec<(String, u64)> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let requests = containers.filter_map(|container| container.resources.as_ref()?.requests.clone());
    let whole = |(name, amount): (String, k8s_openapi::apimachinery::pkg::api::resource::Quantity)| {
        let is_extended = name.contains('/');
        Some((name, amount.0.parse().ok()?)).filter(|_| is_extended)
    };
    requests.flatten().filter_map(whole).collect()
}

/// The devices of a pod's placement annotation.
pub(crate) fn devices(pod: &Pod) -> Vec<Value> {
    let annotations = pod.metadata.annotations.as_ref();
    let annotation = annotations.and_then(|all| all.get("tangram.gpu/placement"));
    let Some(annotation) = annotation else { return Vec::new() };
    let parsed: Value = serde_json::from_str(annotation).expect("an annotation of Tangram is JSON");
    assert_eq!(parsed["version"], 1, "{annotation}");
    parsed["devices"].as_array().expect("devices are a list").clone()
}

fn held(device: &Value, pod: String) -> Held {
    let number = |key: &str| device[key].as_u64().expect("a number");
    (number("gpu"), text(&device["profile"]).to_owned(), number("start"), pod)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Namespace and name.
pub(crate) fn key(pod: &Pod) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    format!("{}/{}", part(&pod.metadata.namespace), part(&pod.metadata.name))
}
