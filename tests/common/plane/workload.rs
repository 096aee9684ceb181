//! Many nodes and many pods of every kind that Tangram knows, the same in every
//! run with one seed.

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::Api;

use super::apply::create_all;
use super::dice::Dice;
use super::{Plane, fake_node, pod};

/// Models whose GPUs are given whole: they have no MIG, or are not partitioned.
const WHOLE: [&str; 4] = ["NVIDIA-L40S", "Tesla-T4", "NVIDIA-H100-80GB-HBM3", "NVIDIA-A100-SXM4-80GB"];

/// Partitions of one 80 GB GPU, as `mig-parted` makes them: profiles with how
/// often each is there.
const LAYOUTS: [&[(&str, u32)]; 4] = [
    &[("1g.10gb", 7)],
    &[("2g.20gb", 3), ("1g.10gb", 1)],
    &[("3g.40gb", 2)],
    &[("3g.40gb", 1), ("2g.20gb", 1), ("1g.10gb", 2)],
];

/// Models that Tangram partitions.
const DYNAMIC: [&str; 4] =
    ["NVIDIA-A100-SXM4-40GB", "NVIDIA-A100-SXM4-80GB", "NVIDIA-H100-80GB-HBM3", "NVIDIA-A30"];

/// Profiles of those models.
const PROFILES: [&str; 8] =
    ["1g.5gb", "2g.10gb", "3g.20gb", "1g.10gb", "2g.20gb", "3g.40gb", "7g.80gb", "2g.12gb"];

/// Devices of other vendors.
const OTHERS: [&str; 3] = ["amd.com/gpu", "habana.ai/gaudi", "gpu.intel.com/i915"];

/// A way to have GPUs, and what pods ask of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `nvidia.com/gpu`.
    Whole,
    /// `nvidia.com/mig-*` of a static partition.
    Mixed,
    /// `nvidia.com/gpu` that are partitions of one profile.
    Single,
    /// `nvidia.com/gpu.shared`.
    Shared,
    /// `tangram.gpu/mig-*` and `tangram.gpu/mem`.
    Dynamic,
    /// Other vendors' devices.
    Other,
}

/// All kinds. The dynamic one is there twice: it is what Tangram is for.
pub(crate) const KINDS: [Kind; 7] =
    [Kind::Whole, Kind::Mixed, Kind::Single, Kind::Shared, Kind::Dynamic, Kind::Dynamic, Kind::Other];

/// `n` nodes, `node-0000` and on, of mixed kinds.
pub(crate) fn many_nodes(seed: u64, n: usize) -> Vec<Node> {
    let mut dice = Dice::new(seed);
    (0..n).map(|number| node_of(&format!("node-{number:04}"), &mut dice)).collect()
}

/// `n` pods, `pod-0000` and on, that ask for what nodes of mixed kinds have. Not
/// every one of them fits somewhere.
pub(crate) fn many_pods(seed: u64, n: usize) -> Vec<Pod> {
    let mut dice = Dice::new(seed);
    (0..n).map(|number| pod_of(&format!("pod-{number:04}"), &mut dice)).collect()
}

fn node_of(name: &str, dice: &mut Dice) -> Node {
    let kind = dice.pick(&KINDS);
    let count = dice.pick(&[1, 2, 4, 8]);
    let product = match kind {
        Kind::Whole => dice.pick(&WHOLE),
        Kind::Mixed => "NVIDIA-A100-SXM4-80GB",
        Kind::Single => "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb",
        Kind::Shared => "Tesla-T4",
        Kind::Dynamic => dice.pick(&DYNAMIC),
        Kind::Other => return fake_node(name, &[], &[(dice.pick(&OTHERS), &count.to_string())], &[]),
    };
    // On `single` nodes the label counts partitions.
    let devices = if kind == Kind::Single { count * 7 } else { count };
    let mut labels = vec![("nvidia.com/gpu.product", product.to_owned())];
    labels.push(("nvidia.com/gpu.count", devices.to_string()));
    let mut resources = Vec::new();
    match kind {
        Kind::Mixed => {
            labels.push(("nvidia.com/mig.strategy", "mixed".to_owned()));
            for (profile, times) in dice.pick(&LAYOUTS) {
                resources.push((format!("nvidia.com/mig-{profile}"), count * times));
            }
        }
        Kind::Shared => {
            labels.push(("nvidia.com/gpu.replicas", "4".to_owned()));
            resources.push(("nvidia.com/gpu.shared".to_owned(), count * 4));
        }
        Kind::Dynamic => labels.push(("tangram.gpu/mig", "dynamic".to_owned())),
        Kind::Single => {
            labels.push(("nvidia.com/mig.strategy", "single".to_owned()));
            resources.push(("nvidia.com/gpu".to_owned(), devices));
        }
        Kind::Whole | Kind::Other => resources.push(("nvidia.com/gpu".to_owned(), devices)),
    }
    let labels: Vec<(&str, &str)> = labels.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let resources: Vec<_> = resources.iter().map(|(name, count)| (name, count.to_string())).collect();
    let resources: Vec<(&str, &str)> =
        resources.iter().map(|(name, count)| (name.as_str(), count.as_str())).collect();
    fake_node(name, &labels, &resources, &[])
}

fn pod_of(name: &str, dice: &mut Dice) -> Pod {
    let one = "1".to_owned();
    let requests = match dice.pick(&KINDS) {
        Kind::Whole => vec![("nvidia.com/gpu".to_owned(), (1 + dice.roll(8)).to_string())],
        Kind::Mixed => {
            let (profile, _) = dice.pick(&LAYOUTS)[0];
            vec![(format!("nvidia.com/mig-{profile}"), (1 + dice.roll(2)).to_string())]
        }
        Kind::Single => vec![("nvidia.com/gpu".to_owned(), one)],
        Kind::Shared => vec![("nvidia.com/gpu.shared".to_owned(), one)],
        Kind::Dynamic if dice.hits(70) => {
            let count = if dice.hits(85) { one } else { "2".to_owned() };
            vec![(format!("tangram.gpu/mig-{}", dice.pick(&PROFILES)), count)]
        }
        Kind::Dynamic => {
            let mut requests = vec![("tangram.gpu/mem".to_owned(), (2048 + 512 * dice.roll(72)).to_string())];
            if dice.hits(50) {
                let slices = (1 + dice.roll(4)).to_string();
                requests.push(("tangram.gpu/compute-slices".to_owned(), slices));
            }
            requests
        }
        Kind::Other => vec![(dice.pick(&OTHERS).to_owned(), (1 + dice.roll(4)).to_string())],
    };
    let requests: Vec<(&str, &str)> =
        requests.iter().map(|(name, count)| (name.as_str(), count.as_str())).collect();
    pod(name, &requests)
}

impl Plane {
    /// Writes many nodes, some at once.
    pub(crate) async fn add_nodes(&self, nodes: &[Node]) {
        create_all(&Api::all(self.client()), nodes).await;
    }

    /// Writes many pods of the namespace `default`, some at once.
    pub(crate) async fn add_pods(&self, pods: &[Pod]) {
        create_all(&Api::default_namespaced(self.client()), pods).await;
    }
}
