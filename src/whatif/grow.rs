//! Nodes that are not there yet: of a machine's type, or like a node of the cluster.

use std::sync::Arc;

use super::machines::Machine;
use crate::mig::Catalog;
use crate::model::{
    DynamicFacts, Mobility, Node, NodeFacts, Pinned, Pod, PodKey, PoolFacts, PoolKind, Taint,
};

/// Label with the name of a node.
pub const HOSTNAME: &str = "kubernetes.io/hostname";
/// Label with the type of a node's machine.
pub const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";
/// Label with the product of a node's GPUs.
pub(super) const PRODUCT: &str = "nvidia.com/gpu.product";
const COUNT: &str = "nvidia.com/gpu.count";
const MEMORY: &str = "nvidia.com/gpu.memory";
/// Label of nodes whose GPUs Tangram partitions.
pub(super) const MODE: &str = "tangram.gpu/mig";
/// Resource name of whole GPUs.
pub(super) const WHOLE: &str = "nvidia.com/gpu";
/// Taint of a cordoned node.
pub(super) const CORDON: &str = "node.kubernetes.io/unschedulable";

/// What new nodes are like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Template {
    /// A machine out of [`super::MACHINES`].
    Machine {
        /// Which.
        machine: Machine,
        /// Whether Tangram partitions its GPUs; else they are whole.
        is_dynamic: bool,
    },
    /// As this node of the cluster, without its pods but those of `DaemonSet`s.
    Like(Arc<str>),
}

impl Template {
    /// What names of new nodes begin with, as Kubernetes allows names.
    pub(super) fn stem(&self) -> String {
        let name = match self {
            Self::Machine { machine, .. } => machine.name,
            Self::Like(name) => name,
        };
        name.to_ascii_lowercase().replace('_', "-")
    }
}

/// A new node of a machine's type.
pub(super) fn of_machine(machine: Machine, is_dynamic: bool, name: &str) -> Node {
    let model = Catalog::get().by_product(machine.product);
    let value_mib = model.map_or(0, |model| Catalog::get().row(model).memory_mib());
    let mut labels = vec![
        (HOSTNAME, name.to_owned()),
        (INSTANCE_TYPE, machine.name.to_owned()),
        (PRODUCT, machine.product.to_owned()),
        (COUNT, machine.gpus.to_string()),
        (MEMORY, value_mib.to_string()),
    ];
    let mut facts = NodeFacts {
        name: name.into(),
        allocatable: machine.allocatable(),
        product: machine.product.into(),
        ..NodeFacts::default()
    };
    if is_dynamic {
        labels.push((MODE, "dynamic".to_owned()));
        facts.dynamic = Some(DynamicFacts { model, gpus: (0..machine.gpus).collect(), needs_agent: false });
    } else {
        let capacity = u32::from(machine.gpus);
        facts.pools.push(PoolFacts { resource: WHOLE.into(), kind: PoolKind::Whole, capacity, value_mib });
    }
    facts.labels = labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
    Node::new(facts.into(), None, Vec::new())
}

/// A new node like another: empty but for what every such node runs, schedulable, with all GPUs healthy.
pub(super) fn like(example: &Node, name: &str) -> Node {
    let mut facts = NodeFacts::clone(&example.facts);
    facts.name = name.into();
    facts.labels.insert(HOSTNAME.into(), name.into());
    facts.is_unschedulable = false;
    facts.taints.retain(|taint: &Taint| *taint.key != *CORDON);
    facts.problems.clear();
    if let Some(dynamic) = &mut facts.dynamic {
        // What only the agent says of the example: a new node has none yet.
        let gpus = example.dynamic_gpus().map(|gpu| gpu.index).collect();
        let model = dynamic.model.or_else(|| example.dynamic_gpus().find_map(|gpu| gpu.model));
        *dynamic = DynamicFacts { model, gpus, needs_agent: false };
    }
    let everywhere = |pod: &&Arc<Pod>| {
        let is_made_anew =
            matches!(pod.mobility, Mobility { pinned: Some(Pinned::DaemonSet | Pinned::Static), .. });
        is_made_anew && pod.request.is_empty()
    };
    let twin = |pod: &Arc<Pod>| {
        let key = PodKey {
            namespace: pod.key.namespace.clone(),
            name: format!("{} (on {name})", pod.key.name).into(),
        };
        Arc::new(Pod { key, node: Some(name.into()), ..Pod::clone(pod) })
    };
    Node::new(facts.into(), None, example.pods.iter().filter(everywhere).map(twin).collect())
}
