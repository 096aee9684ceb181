//! Where a node stands, by the labels that providers and operators give it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

/// Labels that name the pool of machines a node came from, the first that is there counts: GKE, EKS, AKS,
/// Karpenter, Cluster API.
const POOL: [&str; 6] = [
    "cloud.google.com/gke-nodepool",
    "eks.amazonaws.com/nodegroup",
    "kubernetes.azure.com/agentpool",
    "karpenter.sh/nodepool",
    "cluster.x-k8s.io/deployment-name",
    "topology.kubernetes.io/pool",
];
/// Labels that name the rack, likewise: Kueue's and Volcano's examples, GKE and EKS by their smallest block.
const RACK: [&str; 5] = [
    "topology.kubernetes.io/rack",
    "cloud.provider.com/topology-rack",
    "cloud.google.com/gce-topology-subblock",
    "topology.k8s.aws/network-node-layer-3",
    "rack",
];
const ZONE: [&str; 2] = ["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"];

/// Where a node stands, as far as its labels say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TopologyView {
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rack: Option<String>,
    /// The node pool or group of the provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<String>,
}

impl TopologyView {
    pub(super) fn new(labels: &BTreeMap<Arc<str>, Arc<str>>) -> Self {
        let first = |keys: &[&str]| keys.iter().find_map(|key| labels.get(*key)).map(ToString::to_string);
        Self { zone: first(&ZONE), rack: first(&RACK), pool: first(&POOL) }
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
