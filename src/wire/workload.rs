//! Pods out of whatever people have at hand: Pods, and the pod templates of workloads with their counts.

use serde::Deserialize;

use super::object::{Metadata, or_default};
use super::{Dialect, ObjectError, PodObject, document::Head, pod};
use crate::model::{Pod, PodKey};

/// Kinds whose pods can be planned.
const KINDS: &str =
    "Pod, PodTemplate, ReplicationController, ReplicaSet, Deployment, StatefulSet, Job and CronJob";

/// An object whose pods can be planned.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Workload {
    #[serde(deserialize_with = "or_default")]
    metadata: Metadata,
    #[serde(deserialize_with = "or_default")]
    spec: Spec,
    template: Option<PodObject>, // PodTemplate
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    replicas: Option<usize>,
    completions: Option<usize>,
    parallelism: Option<usize>,
    template: Option<PodObject>,
    job_template: Option<Box<Workload>>,
}

/// The pods of one object: one for a Pod, one per replica or parallel completion for a workload, named as
/// its controller would (`web-0`, `train-2`). Other kinds are an error that names what can be planned.
pub fn workload_pods(head: &Head, text: &str, dialect: &Dialect) -> Result<Vec<Pod>, ObjectError> {
    let kind = if head.kind.is_empty() { "Pod" } else { &head.kind };
    let malformed = |error: serde_json::Error| ObjectError::new(kind, "document", error.to_string());
    if kind == "Pod" {
        let mut object: PodObject = serde_json::from_str(text).map_err(malformed)?;
        object.spec.node_name.clear(); // planned anew, wherever the object came from
        if object.metadata.name.is_empty() {
            "pod".clone_into(&mut object.metadata.name);
        }
        return Ok(vec![pod(&object, dialect)?]);
    }
    let workload: Workload = serde_json::from_str(text).map_err(malformed)?;
    let namespace =
        if workload.metadata.namespace.is_empty() { "default" } else { &workload.metadata.namespace };
    let object = format!("{kind} {namespace}/{}", workload.metadata.name);
    let (template, count) = match kind {
        "PodTemplate" => (workload.template, 1),
        "Deployment" | "ReplicaSet" | "StatefulSet" | "ReplicationController" => {
            (workload.spec.template, workload.spec.replicas.unwrap_or(1))
        }
        "Job" => job(workload.spec),
        "CronJob" => workload.spec.job_template.map_or((None, 0), |template| job(template.spec)),
        _ => {
            return Err(ObjectError::new(
                object,
                "kind",
                format!("no pods can be planned for it; {KINDS} have pods"),
            ));
        }
    };
    let field = if kind == "CronJob" { "spec.jobTemplate.spec.template" } else { "spec.template" };
    let mut template = template.ok_or_else(|| ObjectError::new(&*object, field, "is missing"))?;
    let max = dialect.limits.dryrun_pods;
    if count > max {
        let message = format!("asks for {count} pods, the limit is {max} (limits.dryrunPods)");
        return Err(ObjectError::new(object, "spec", message));
    }
    template.spec.node_name.clear();
    template.metadata.name.clone_from(&workload.metadata.name);
    namespace.clone_into(&mut template.metadata.namespace);
    let first = pod(&template, dialect).map_err(|error| ObjectError { object, ..error })?;
    Ok((0..count).map(|number| numbered(&first, number)).collect())
}

/// A Job runs as many pods at once as it has parallelism, and no more than it has completions.
fn job(spec: Spec) -> (Option<PodObject>, usize) {
    let parallelism = spec.parallelism.unwrap_or(1);
    (spec.template, spec.completions.map_or(parallelism, |completions| completions.min(parallelism)))
}

fn numbered(pod: &Pod, number: usize) -> Pod {
    let name = format!("{}-{number}", pod.key.name).into();
    Pod { key: PodKey { namespace: pod.key.namespace.clone(), name }, ..pod.clone() }
}
