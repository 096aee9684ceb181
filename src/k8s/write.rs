//! What the model wants written: the only place where placements change the cluster.

use std::sync::Arc;

use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tracing::warn;

use super::access::{Access, Reply};
use super::feed::pod_event;
use super::lead::Leadership;
use crate::cache::{Answer, Effect, Event, Found, Wanted, Written};
use crate::metrics::Metrics;
use crate::model::{Placement, PodKey};
use crate::owner::{Model, Stopped};
use crate::wire::{
    Dialect, FENCE_ANNOTATION, GpuNodeObject, PLACEMENT_ANNOTATION, PodObject, gpu_report,
    placement_annotation,
};

/// Requests under way at once.
const REQUESTS: usize = 64;

/// Carries out effects.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    pub(super) access: Access,
    pub(super) model: Model,
    pub(super) dialect: Arc<Dialect>,
    pub(super) leadership: Arc<Leadership>,
    pub(super) metrics: Arc<Metrics>,
    slots: Arc<Semaphore>,
}

/// Path of a pod.
pub(super) fn pod_path(pod: &PodKey) -> String {
    format!("/api/v1/namespaces/{}/pods/{}", pod.namespace, pod.name)
}

impl Writer {
    pub(super) fn new(
        access: Access,
        model: Model,
        dialect: Arc<Dialect>,
        leadership: Arc<Leadership>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { access, model, dialect, leadership, metrics, slots: Arc::new(Semaphore::new(REQUESTS)) }
    }

    /// Carries out one effect on a task of its own, and tells the model what became of it.
    pub(super) fn start(&self, effect: Effect) {
        let writer = self.clone();
        tokio::spawn(async move {
            let slot = writer.slots.clone().acquire_owned().await;
            let _slot = slot.expect("nobody closes it");
            writer.carry_out(effect).await.ok(); // the model is gone: the process ends
        });
    }

    async fn carry_out(&self, effect: Effect) -> Result<(), Stopped> {
        let answer = match effect {
            Effect::Bind { pod, uid, revision, node, placement, nominated } => {
                let outcome = self.bind(&pod, &uid, revision, &node, &placement).await;
                self.metrics.binding(&outcome);
                if outcome == Written::Done {
                    self.metrics.landed(nominated.as_deref(), &node);
                }
                Answer::Bind { uid, outcome }
            }
            Effect::ReadPod { pod, uid, revision, fence } => {
                let found = self.read_pod(&pod, &uid, revision, fence.as_deref()).await;
                Answer::ReadPod { pod, uid, found }
            }
            Effect::WriteWanted { node, revision, instances, fence } => {
                let outcome = self.write_wanted(&node, revision, &instances, fence.as_deref()).await?;
                Answer::WriteWanted { node, revision, outcome }
            }
            Effect::Bound { .. } | Effect::Waiting(..) | Effect::Asked(_) => return Ok(()), // not for the world
        };
        self.model.tell(Event::Answered(answer)).await
    }

    async fn bind(
        &self,
        pod: &PodKey,
        uid: &str,
        revision: u64,
        node: &str,
        placement: &Placement,
    ) -> Written {
        if !self.leadership.holds() {
            return Written::Refused("this replica does not lead any more".to_owned());
        }
        let mut metadata = json!({ "name": &*pod.name, "namespace": &*pod.namespace, "uid": uid });
        if revision > 0 {
            metadata["resourceVersion"] = json!(revision.to_string());
        }
        if !placement.devices.is_empty() {
            metadata["annotations"] = json!({ PLACEMENT_ANNOTATION: placement_annotation(placement) });
        }
        let body = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": metadata,
            "target": { "apiVersion": "v1", "kind": "Node", "name": node },
        });
        written(self.access.create(&format!("{}/binding", pod_path(pod)), &body).await)
    }

    async fn read_pod(&self, pod: &PodKey, uid: &Arc<str>, revision: u64, fence: Option<&str>) -> Found {
        let mut reply = Reply::Unknown(String::new());
        if let Some(fence) = fence {
            let mut metadata = json!({ "uid": &**uid, "annotations": { FENCE_ANNOTATION: fence } });
            if revision > 0 {
                metadata["resourceVersion"] = json!(revision.to_string());
            }
            reply = self.access.merge(&pod_path(pod), &json!({ "metadata": metadata })).await;
        }
        if fence.is_none() || matches!(reply, Reply::Refused { code: StatusCode::CONFLICT, .. }) {
            reply = self.access.get(&pod_path(pod)).await;
        }
        match reply {
            Reply::Done(body) => match read::<PodObject>(&body) {
                Some(object) if object.uid() != *uid => Found::Gone,
                Some(object) => match pod_event(&object, &self.dialect) {
                    Ok(Event::PodApplied(pod)) => Found::Pod(pod),
                    Ok(_) => Found::Gone, // it has ended
                    Err(error) => {
                        warn!(%error, "A pod that is being bound cannot be read.");
                        Found::Unknown
                    }
                },
                None => Found::Unknown,
            },
            Reply::Refused { code: StatusCode::NOT_FOUND, .. } => Found::Gone,
            reply => {
                warn!(%pod, ?reply, "A pod that is being bound was not read; trying again.");
                Found::Unknown
            }
        }
    }

    async fn write_wanted(
        &self,
        node: &str,
        revision: u64,
        instances: &[Wanted],
        fence: Option<&str>,
    ) -> Result<Written, Stopped> {
        if !self.leadership.holds() {
            return Ok(Written::Refused("this replica does not lead any more".to_owned()));
        }
        let path = format!("/apis/tangram.gpu/v1alpha1/gpunodes/{node}");
        let mut body =
            json!({ "spec": { "instances": instances.iter().map(wanted_form).collect::<Vec<_>>() } });
        if revision > 0 {
            body["metadata"]["resourceVersion"] = json!(revision.to_string());
        }
        if let Some(fence) = fence {
            body["metadata"]["annotations"] = json!({ FENCE_ANNOTATION: fence });
        }
        let reply = self.access.merge(&path, &body).await;
        let (object, outcome) = match reply {
            Reply::Done(body) => (read::<GpuNodeObject>(&body), Written::Done),
            reply => {
                let outcome = written(reply);
                if outcome != Written::Conflict {
                    warn!(
                        node,
                        ?outcome,
                        "The GPU instances wanted on a node could not be written; trying again."
                    );
                }
                match self.access.get(&path).await {
                    Reply::Done(body) => (read::<GpuNodeObject>(&body), outcome),
                    _ => (None, outcome),
                }
            }
        };
        if let Some(Ok((name, report))) = object.map(gpu_report) {
            self.model.tell(Event::Report(name.into(), Some(Arc::new(report)))).await?;
        }
        Ok(outcome)
    }
}

fn wanted_form(wanted: &Wanted) -> Value {
    let Wanted { pod, uid, device } = wanted;
    json!({
        "gpu": device.gpu,
        "profile": device.profile.as_str(),
        "start": device.start,
        "pod": { "namespace": &*pod.namespace, "name": &*pod.name, "uid": &**uid },
    })
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}

fn written(reply: Reply) -> Written {
    match reply {
        Reply::Done(_) => Written::Done,
        Reply::Refused { code: StatusCode::CONFLICT, .. } => Written::Conflict,
        Reply::Refused { code: StatusCode::NOT_FOUND, .. } => Written::Gone,
        Reply::Refused { code, message } => Written::Refused(format!("{code}: {message}")),
        Reply::Unknown(_) => Written::Unknown,
    }
}
