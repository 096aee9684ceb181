//! `POST /v1/dryrun`: pods in, places or reasons out.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::document::{Head, read_objects};
use super::placement::DeviceForm;
use super::whatif::{BatchView, DisplacedView, FragmentationChange, RoomCost};
use super::{Dialect, ObjectError, workload_pods};
use crate::model::{Pod, Policy};
use crate::plan::{NoPlace, Planned, Refusers};
use crate::solver::Refusal;

/// The answer to a dry run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DryRun {
    /// Whether every pod has a place.
    pub all_fit: bool,
    /// Number of pods with a place.
    pub fit: usize,
    /// One entry per pod, in the order in which they were placed.
    pub pods: Vec<PodPlan>,
    /// Generation of the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Milliseconds since the model was last known to be true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_age_ms: Option<u64>,
    /// Whether the pods fit as a batch, where all or none was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchView>,
    /// Names of the nodes that changes added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added_nodes: Vec<String>,
    /// The pods of nodes that changed, and what becomes of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub displaced: Vec<DisplacedView>,
    /// Free and lost capacity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fragmentation: Option<FragmentationChange>,
    /// What room costs for the pods that have none, if it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomCost>,
}

/// What became of one pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodPlan {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// What it asks for, in words.
    pub request: String,
    /// The node, where it has a place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The GPU instances that Tangram would give it; counted devices are the kubelet's choice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceForm>,
    /// Why it has no place: reasons with the nodes that give them, most frequent first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<RefusalCount>,
    /// What stands in the way on the GPUs themselves, counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// A reason and who gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefusalCount {
    /// The reason.
    pub reason: String,
    /// How many nodes give it.
    pub count: usize,
    /// The names of the first 50 of them, in order.
    pub nodes: Vec<String>,
}

/// Errors that are told with their texts; the rest are counted.
const ERRORS_MAX: usize = 20;

/// Reads the pods of a dry run out of Kubernetes objects in JSON or YAML.
///
/// # Errors
/// Every object that cannot be planned, by name and field; none is left out silently.
pub fn dryrun_pods(body: &[u8], dialect: &Dialect) -> Result<Vec<Arc<Pod>>, Vec<String>> {
    pods_beside(body, dialect, |_, _| Ok(false))
}

/// The same where objects of other kinds may stand among them: `other` says which it took.
pub(super) fn pods_beside(
    body: &[u8],
    dialect: &Dialect,
    mut other: impl FnMut(&Head, &str) -> Result<bool, ObjectError>,
) -> Result<Vec<Arc<Pod>>, Vec<String>> {
    let (mut pods, mut errors) = (Vec::new(), Vec::new());
    let max = dialect.limits.dryrun_pods;
    let mut more = 0_usize;
    let mut pods_of = |head: &Head, text: &str| {
        if other(head, text)? { Ok(Vec::new()) } else { workload_pods(head, text, dialect) }
    };
    let mut read = |head: &Head, text: &str| match pods_of(head, text) {
        Ok(some) if pods.len() + some.len() <= max => pods.extend(some.into_iter().map(Arc::new)),
        _ if errors.len() >= ERRORS_MAX => more += 1,
        Ok(_) => errors.push(format!("more than {max} pods, the limit of one dry run (limits.dryrunPods)")),
        Err(error) => errors.push(ObjectError::to_string(&error)),
    };
    if let Err(error) = read_objects(body, &mut read) {
        errors.push(error.to_string());
    }
    errors.dedup();
    if more > 0 {
        errors.push(format!("and {more} more"));
    }
    if errors.is_empty() { Ok(pods) } else { Err(errors) }
}

/// The policy a dry run asks for.
pub fn parse_policy(name: &str) -> Result<Policy, String> {
    Policy::parse(name).ok_or_else(|| format!("policy {name:?} is not known ({})", Policy::NAMES))
}

impl DryRun {
    /// The answer for planned pods.
    pub fn new(planned: &[Planned]) -> Self {
        let fit = planned.iter().filter(|planned| planned.outcome.is_ok()).count();
        Self {
            all_fit: fit == planned.len(),
            fit,
            pods: planned.iter().map(PodPlan::new).collect(),
            generation: None,
            model_age_ms: None,
            batch: None,
            added_nodes: Vec::new(),
            displaced: Vec::new(),
            fragmentation: None,
            room: None,
        }
    }
}

impl PodPlan {
    /// A pod of which nothing is said yet.
    pub(super) fn bare(pod: &Pod) -> Self {
        Self {
            namespace: pod.key.namespace.to_string(),
            name: pod.key.name.to_string(),
            request: request_words(pod),
            node: None,
            devices: Vec::new(),
            refusals: Vec::new(),
            details: Vec::new(),
        }
    }

    pub(super) fn new(planned: &Planned) -> Self {
        let mut form = Self::bare(&planned.pod);
        match &planned.outcome {
            Ok(place) => {
                form.node = Some(place.node.to_string());
                form.devices = place.placement.devices.iter().map(DeviceForm::from).collect();
            }
            Err(refused) => {
                form.refusals = refusal_counts(refused);
                form.details.clone_from(&refused.details);
            }
        }
        form
    }
}

/// Reasons with the nodes that give them, most frequent first.
pub(super) fn refusal_counts(refused: &NoPlace) -> Vec<RefusalCount> {
    let count = |(refusal, nodes): (&Refusal, &Refusers)| RefusalCount {
        reason: refusal.to_string(),
        count: nodes.count,
        nodes: nodes.first.iter().map(ToString::to_string).collect(),
    };
    let mut counts: Vec<RefusalCount> = refused.refusals.iter().map(count).collect();
    counts.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.reason.cmp(&b.reason)));
    counts
}

/// `2x nvidia.com/gpu, 3g.40gb`; `-` for a pod without devices.
pub(super) fn request_words(pod: &Pod) -> String {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for (name, count) in &pod.request.counted {
        counts.insert(name.to_string(), *count);
    }
    for ask in &pod.request.slices {
        *counts.entry(ask.want.to_string()).or_default() += 1;
    }
    let words =
        counts.into_iter().map(|(name, count)| if count == 1 { name } else { format!("{count}x {name}") });
    let words: Vec<String> = words.collect();
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}
