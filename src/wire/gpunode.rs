//! `GpuNode` objects (`tangram.gpu/v1alpha1`, cluster-scoped, named like their node).
//!
//! `spec.instances` are the GPU instances that the scheduler wants, `status` is what the node's agent reads
//! from NVML and the kubelet.

use serde::{Deserialize, Serialize};

use super::ObjectError;
use super::gpunode_status::UnsettledStatus;
use super::object::{Metadata, or_default};
use crate::mig::{Catalog, ProfileName};
use crate::model::{GpuFacts, GpuHealth, GpuReport, Holder, InstanceReport, PodKey, Problem, Unsettled};

/// A `GpuNode` as Tangram reads it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct GpuNodeObject {
    #[serde(deserialize_with = "or_default")]
    metadata: Metadata,
    #[serde(deserialize_with = "or_default")]
    spec: Spec,
    #[serde(deserialize_with = "or_default")]
    status: Status,
}

impl GpuNodeObject {
    /// `metadata.name`.
    pub fn name(&self) -> &str {
        &self.metadata.name
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(deserialize_with = "or_default")]
    instances: Vec<WantedForm>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    sequence: u64,
    #[serde(deserialize_with = "or_default")]
    gpus: Vec<GpuForm>,
    #[serde(deserialize_with = "or_default")]
    unsettled: Vec<UnsettledStatus>,
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<ConditionForm>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ConditionForm {
    r#type: String,
    status: String,
}

#[derive(Debug, Deserialize)]
struct WantedForm {
    gpu: u16,
    #[serde(flatten)]
    instance: InstanceForm,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GpuForm {
    index: u16,
    uuid: String,
    #[serde(default)]
    model: String,
    memory_mib: Option<u32>,
    memory_used_mib: Option<u32>,
    #[serde(default)]
    mig_mode: String,
    #[serde(default)]
    health: String,
    #[serde(default)]
    health_reason: String,
    #[serde(default, deserialize_with = "or_default")]
    instances: Vec<InstanceForm>,
    #[serde(default, deserialize_with = "or_default")]
    pods: Vec<HolderForm>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InstanceForm {
    uuid: Option<String>,
    profile: String,
    start: u8,
    pod: Option<PodForm>,
    #[serde(default, deserialize_with = "or_default")]
    pods: Vec<HolderForm>,
    memory_used_mib: Option<u32>,
    ready_for: Option<String>,
    #[serde(default)]
    foreign: bool,
}

/// A pod that is named by another object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PodForm {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// A pod that holds a device, or shares of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderForm {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// How many shares (time-slicing, MPS); absent where all of it is the pod's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<u32>,
}

impl From<HolderForm> for Holder {
    fn from(form: HolderForm) -> Self {
        let pod = PodKey { namespace: form.namespace.into(), name: form.name.into() };
        Self { pod, shares: form.shares }
    }
}

/// Reads a report: the node's name and what its agent and the scheduler say. An instance that cannot be
/// read becomes a problem of the node.
pub fn gpu_report(object: GpuNodeObject) -> Result<(String, GpuReport), ObjectError> {
    let revision = object.metadata.revision();
    let name = object.metadata.name;
    if name.is_empty() {
        return Err(ObjectError::new("GpuNode", "metadata.name", "is empty"));
    }
    let mut problems = Vec::new();
    let mut read = |field: &str, position: usize, form: InstanceForm| {
        let profile = ProfileName::parse(&form.profile);
        if profile.is_none() {
            let message =
                format!("{:?} is not a MIG profile", form.profile.chars().take(40).collect::<String>());
            problems.push(Problem::Unreadable { field: format!("{field}[{position}].profile"), message });
        }
        Some(InstanceReport {
            uuid: form.uuid.map(Into::into),
            profile: profile?,
            start: form.start,
            sharers: form.pods.into_iter().map(Into::into).collect(),
            memory_used_mib: form.memory_used_mib,
            is_foreign: form.foreign,
            ready_for: form.ready_for.map(Into::into),
            pod_uid: form.pod.as_ref().and_then(|pod| pod.uid.as_deref().map(Into::into)),
            pod: form.pod.map(|pod| PodKey { namespace: pod.namespace.into(), name: pod.name.into() }),
        })
    };
    let wanted = (0..).zip(object.spec.instances);
    let wanted = wanted
        .filter_map(|(position, form)| Some((form.gpu, read("spec.instances", position, form.instance)?)))
        .collect();
    let mut gpus: Vec<GpuFacts> = Vec::new();
    for form in object.status.gpus {
        let field = format!("status.gpus[{}].instances", form.index);
        let instances = form.instances.into_iter().enumerate();
        gpus.push(GpuFacts {
            index: form.index,
            uuid: form.uuid.into(),
            model: Catalog::get().by_product(&form.model),
            product: form.model.into(),
            memory_mib: form.memory_mib,
            memory_used_mib: form.memory_used_mib,
            holders: form.pods.into_iter().map(Into::into).collect(),
            is_mig_enabled: form.mig_mode == "Enabled",
            health: match form.health.as_str() {
                "" | "Healthy" => GpuHealth::Healthy,
                state if form.health_reason.is_empty() => GpuHealth::Unhealthy(state.into()),
                _ => GpuHealth::Unhealthy(form.health_reason.into()),
            },
            instances: instances.filter_map(|(position, form)| read(&field, position, form)).collect(),
        });
    }
    gpus.sort_by_key(|gpu| gpu.index);
    if let Some(twice) = gpus.windows(2).find(|pair| pair[0].index == pair[1].index) {
        let message = format!("index {} stands there twice", twice[0].index);
        return Err(ObjectError::new(format!("GpuNode {name}"), "status.gpus", message));
    }
    // One that leaves is in nobody's way: what waits for its room says so itself.
    let arriving = object.status.unsettled.into_iter().filter(|open| !open.leaving);
    let unsettled = arriving.filter_map(|open| {
        let why = format!("{}: {}", open.reason, open.message).into();
        Some(Unsettled { gpu: u16::try_from(open.gpu).ok()?, start: open.start, why })
    });
    let unsettled = unsettled.collect();
    let is_answering = |it: &ConditionForm| it.r#type == "KubeletReady" && it.status == "True";
    let has_record = object.status.conditions.iter().any(is_answering);
    let sequence = object.status.sequence;
    Ok((name, GpuReport { sequence, revision, gpus, wanted, unsettled, problems, has_record }))
}
