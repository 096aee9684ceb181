//! The few fields that Tangram reads of Kubernetes objects.

use std::collections::BTreeMap;

use serde::de::{Deserializer, IgnoredAny};
use serde::{Deserialize, Serialize};

/// `metadata`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Metadata {
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) namespace: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) uid: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) deletion_timestamp: Option<IgnoredAny>,
    #[serde(deserialize_with = "or_default")]
    pub(super) resource_version: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) creation_timestamp: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) owner_references: Vec<OwnerReference>,
}

/// One of `metadata.ownerReferences`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OwnerReference {
    #[serde(deserialize_with = "or_default")]
    pub(super) kind: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) uid: String,
    pub(super) controller: Option<bool>,
}

impl Metadata {
    /// The resource version as a number; 0 where it is none.
    pub(super) fn revision(&self) -> u64 {
        self.resource_version.parse().unwrap_or(0)
    }
}

/// `spec` of a pod or a pod template.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodSpec {
    #[serde(deserialize_with = "or_default")]
    pub(super) node_name: String,
    pub(super) priority: Option<i32>,
    #[serde(deserialize_with = "or_default")]
    pub(super) scheduler_name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) scheduling_gates: Vec<IgnoredAny>,
    #[serde(deserialize_with = "or_default")]
    pub(super) preemption_policy: String,
    pub(super) host_network: Option<bool>,
    #[serde(deserialize_with = "or_default")]
    pub(super) containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    pub(super) init_containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    pub(super) overhead: BTreeMap<String, Amount>,
    #[serde(deserialize_with = "or_default")]
    pub(super) node_selector: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) affinity: AffinityObject,
    #[serde(deserialize_with = "or_default")]
    pub(super) tolerations: Vec<TolerationObject>,
    #[serde(deserialize_with = "or_default")]
    pub(super) topology_spread_constraints: Vec<IgnoredAny>,
    #[serde(deserialize_with = "or_default")]
    pub(super) volumes: Vec<Volume>,
}

/// A container or init container.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Container {
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    pub(super) restart_policy: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) resources: ContainerResources,
    #[serde(deserialize_with = "or_default")]
    pub(super) ports: Vec<Port>,
}

/// `resources` of a container.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerResources {
    #[serde(deserialize_with = "or_default")]
    pub(super) requests: BTreeMap<String, Amount>,
    #[serde(deserialize_with = "or_default")]
    pub(super) limits: BTreeMap<String, Amount>,
}

/// A port of a container.
#[derive(Debug, Default, Deserialize)]
#[expect(clippy::struct_field_names, reason = "named as Kubernetes names them")]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Port {
    pub(super) host_port: Option<u32>,
    pub(super) container_port: Option<u32>,
    #[serde(rename = "hostIP")]
    pub(super) host_ip: Option<String>,
    pub(super) protocol: Option<String>,
}

/// A volume: only whether it can bind the pod to a node.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Volume {
    pub(super) persistent_volume_claim: Option<IgnoredAny>,
    pub(super) ephemeral: Option<IgnoredAny>,
}

/// `affinity`.
#[derive(Debug, Default, Deserialize)]
#[expect(clippy::struct_field_names, reason = "named as Kubernetes names them")]
#[serde(default, rename_all = "camelCase")]
pub(super) struct AffinityObject {
    #[serde(deserialize_with = "or_default")]
    pub(super) node_affinity: NodeAffinity,
    pub(super) pod_affinity: Option<IgnoredAny>,
    pub(super) pod_anti_affinity: Option<IgnoredAny>,
}

/// `nodeAffinity`: the preferred terms are no reason to refuse.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct NodeAffinity {
    pub(super) required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
}

/// A node selector.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct NodeSelector {
    #[serde(deserialize_with = "or_default")]
    pub(super) node_selector_terms: Vec<NodeSelectorTerm>,
}

/// One term of a node selector.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct NodeSelectorTerm {
    #[serde(deserialize_with = "or_default")]
    pub(super) match_expressions: Vec<Requirement>,
    #[serde(deserialize_with = "or_default")]
    pub(super) match_fields: Vec<Requirement>,
}

/// One requirement of a term.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Requirement {
    pub(super) key: String,
    pub(super) operator: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) values: Vec<String>,
}

/// A toleration.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TolerationObject {
    pub(super) key: Option<String>,
    pub(super) operator: Option<String>,
    pub(super) value: Option<String>,
    pub(super) effect: Option<String>,
}

/// A taint of a node.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TaintObject {
    pub(super) key: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) value: String,
    pub(super) effect: String,
}

/// A quantity as Kubernetes accepts it: a text, or a bare number.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Amount {
    /// `"500m"`.
    Text(String),
    /// `2`, `0.5`.
    Number(serde_json::Number),
}

/// Reads `null` as the default, as Kubernetes does for every list, map and text.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
