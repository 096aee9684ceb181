//! `GET /v1/pods`: who is placed where, and who waits for what.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::dryrun::{RefusalCount, refusal_counts, request_words};
use super::page::PageView;
use super::placement::DeviceForm;
use crate::model::{Node, Pod, PodKey};
use crate::plan::{NoPlace, Place};

/// Which pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PodState {
    /// Those without a node.
    Pending,
    /// Those with one.
    Placed,
}

/// One page of the pods that ask for devices.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodsView {
    /// Number of the snapshot.
    pub generation: u64,
    /// By namespace and name.
    pub pods: Vec<PodEntry>,
    /// Where this page stands.
    pub page: PageView,
}

/// A pod.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodEntry {
    namespace: String,
    name: String,
    uid: String,
    /// What it asks for, in words.
    request: String,
    priority: i32,
    state: PodState,
    /// Somebody asked to delete it: it still holds its devices.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_terminating: bool,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// Its GPU instances; counted devices are the kubelet's choice.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    devices: Vec<DeviceForm>,
    /// The node that Tangram nominated for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    nominated: Option<String>,
    /// Scheduling gates keep it from being scheduled.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_gated: bool,
    /// While it waits: the node that would take it now. kube-scheduler has not asked yet, or waits itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    fits: Option<String>,
    /// While it waits and no node would: the reasons with the nodes that give them, most frequent first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refusals: Vec<RefusalCount>,
    /// What stands in the way on the GPUs themselves, counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<String>,
}

impl PodEntry {
    /// A pod on its node.
    pub fn placed(node: &Node, pod: &Pod) -> Self {
        let devices = node.placement(pod).map(|placement| placement.devices.iter().map(DeviceForm::from));
        Self {
            node: Some(node.facts.name.to_string()),
            devices: devices.into_iter().flatten().collect(),
            state: PodState::Placed,
            ..Self::of(pod)
        }
    }

    /// A pod that waits, and what would become of it now.
    pub fn pending(pod: &Pod, outcome: Result<&Place, &NoPlace>) -> Self {
        let mut entry = Self::of(pod);
        match outcome {
            Ok(place) => entry.fits = Some(place.node.to_string()),
            Err(refused) => {
                entry.refusals = refusal_counts(refused);
                entry.details.clone_from(&refused.details);
            }
        }
        entry
    }

    fn of(pod: &Pod) -> Self {
        let PodKey { namespace, name } = &pod.key;
        Self {
            namespace: namespace.to_string(),
            name: name.to_string(),
            uid: pod.uid.to_string(),
            request: request_words(pod),
            priority: pod.priority,
            state: PodState::Pending,
            is_terminating: pod.is_terminating,
            node: None,
            devices: Vec::new(),
            nominated: pod.nominated().map(ToString::to_string),
            is_gated: pod.waiting.as_ref().is_some_and(|waiting| waiting.is_gated),
            fits: None,
            refusals: Vec::new(),
            details: Vec::new(),
        }
    }
}
