//! Generated clusters: the same number of nodes and seed always give the same text, in the form that
//! `kubectl get nodes,pods -A -o json` prints. Benches, load tests and memory tests feed on it.

use std::fmt::Write as _;

use super::Random;
use crate::mig::{Catalog, Geometry, StateId};

/// What to generate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Nodes, `gpu-00000` on, each with eight GPUs in dynamic MIG mode.
    pub nodes: u32,
    /// Pods over all nodes, as far as they find room; one GPU instance each.
    pub pods: u32,
    /// Bytes of annotations per node that placement does not read: kubectl's output is mostly such.
    pub padding: usize,
    /// Seed.
    pub seed: u64,
}

/// GPUs per generated node.
pub const GPUS: u16 = 8;
const PRODUCTS: [&str; 3] = ["NVIDIA-A100-SXM4-80GB", "NVIDIA-H100-80GB-HBM3", "NVIDIA-H200"];
/// GPUs start in a random layout whose instances nobody evicts: the mixed occupancy of a cluster in use.
const PROFILES: usize = 7;

/// Writes a cluster as one JSON List.
pub fn cluster_json(shape: Shape) -> String {
    let mut random = Random::new(shape.seed);
    let mut items = Vec::new();
    let mut pods = Vec::new();
    for number in 0..shape.nodes {
        let product = PRODUCTS[random.below(PRODUCTS.len())];
        items.push(node(number, product, &"x".repeat(shape.padding)));
        let model = Catalog::get().by_product(product).expect("the products are in the table");
        let quota = shape.pods.div_ceil(shape.nodes.max(1));
        let left = shape.pods.saturating_sub(u32::try_from(pods.len()).expect("fewer than 2^32 pods"));
        fill(number, Catalog::get().geometry(model), quota.min(left), &mut random, &mut pods);
    }
    items.append(&mut pods);
    format!("{{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[{}]}}", items.join(",\n"))
}

/// The name of a generated node.
pub fn node_name(number: u32) -> String {
    format!("gpu-{number:05}")
}

fn node(number: u32, product: &str, padding: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Node","metadata":{{"name":"{name}","uid":"node-{number}","annotations":{{"example.com/padding":"{padding}"}},"labels":{{"kubernetes.io/hostname":"{name}","nvidia.com/gpu.product":"{product}","nvidia.com/gpu.count":"{GPUS}","tangram.gpu/mig":"dynamic","topology.kubernetes.io/zone":"zone-{zone}"}}}},"status":{{"allocatable":{{"cpu":"128","memory":"1024Gi","pods":"110","ephemeral-storage":"1Ti"}}}}}}"#,
        name = node_name(number),
        zone = number.rem_euclid(3),
    )
}

/// Puts pods onto the GPUs of a node, each instance at a random legal place.
fn fill(number: u32, geometry: &Geometry, count: u32, random: &mut Random, pods: &mut Vec<String>) {
    let mut states: Vec<StateId> = vec![0; usize::from(GPUS)];
    for pod in 0..count {
        // A request that finds its GPU full tries others; a full node takes fewer pods than asked for.
        for _ in 0..16 {
            let gpu = random.below(states.len());
            let profile = u8::try_from(random.below(PROFILES)).expect("below 7");
            let legal: Vec<_> = geometry.legal(states[gpu], profile).collect();
            if legal.is_empty() {
                continue;
            }
            let (placement, after) = legal[random.below(legal.len())];
            states[gpu] = after;
            let start = geometry.placements()[usize::from(placement)].start;
            pods.push(running_pod(number, pod, gpu, &geometry.profiles()[usize::from(profile)], start));
            break;
        }
    }
}

fn running_pod(node: u32, pod: u32, gpu: usize, profile: &crate::mig::Profile, start: u8) -> String {
    let (name, resource) = (&profile.name, profile.name.resource());
    let mut text = String::new();
    write!(
        text,
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"pod-{node}-{pod}","namespace":"team-{team}","uid":"uid-{node}-{pod}","annotations":{{"tangram.gpu/placement":"{{\"version\":1,\"devices\":[{{\"container\":\"main\",\"gpu\":{gpu},\"profile\":\"{name}\",\"start\":{start}}}]}}"}}}},"spec":{{"nodeName":"{node_name}","containers":[{{"name":"main","resources":{{"limits":{{"cpu":"2","memory":"8Gi","tangram.gpu/mig-{resource}":"1"}},"requests":{{"cpu":"2","memory":"8Gi","tangram.gpu/mig-{resource}":"1"}}}}}}]}},"status":{{"phase":"Running"}}}}"#,
        team = node.rem_euclid(20),
        node_name = node_name(node),
    )
    .expect("writing to a text");
    text
}
