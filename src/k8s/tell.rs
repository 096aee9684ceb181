//! What pods are told: nominations, conditions, Events.

use std::sync::Arc;

use axum::http::StatusCode;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tracing::{debug, warn};

use super::access::{Access, Reply};
use super::feed::pod_event;
use super::write::pod_path;
use crate::metrics::Nomination;
use crate::model::{Pod, PodKey};
use crate::owner::{Model, Stopped};
use crate::wire::{Dialect, NOMINATED_CONDITION};

/// Writes statuses of pods, and Events about them.
#[derive(Debug, Clone)]
pub(super) struct Teller {
    pub(super) access: Access,
    pub(super) model: Model,
    pub(super) dialect: Arc<Dialect>,
    pub(super) identity: Arc<str>,
    pub(super) has_events: bool,
}

/// What a pod's status is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Status {
    /// This node is nominated.
    Nominated(Arc<str>),
    /// No node is; and why.
    Waits(String),
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// The status says so.
    Done,
    /// The pod changed meanwhile, or nobody knows: say it again.
    Again,
    /// There is nobody to tell.
    Gone,
}

impl Teller {
    /// Writes the status of a pod as it was seen. A version that somebody else changed meanwhile is left
    /// alone: kube-scheduler may just have nominated a node of its own.
    pub(super) async fn status(&self, pod: &Pod, status: &Status) -> Result<Told, Stopped> {
        let (node, reason, message) = match status {
            Status::Nominated(node) => (json!(&**node), "NodeNominated", &**node),
            Status::Waits(why) => (Value::Null, "NoRoom", why.as_str()),
        };
        let is_true = matches!(status, Status::Nominated(_));
        let condition = json!({
            "type": NOMINATED_CONDITION,
            "status": if is_true { "True" } else { "False" },
            "reason": reason,
            "message": message,
            "lastTransitionTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        });
        let mut body = json!({
            "metadata": { "uid": &*pod.uid, "resourceVersion": pod.version.revision.to_string() },
            "status": { "conditions": [condition] },
        });
        let has_own = pod.waiting.as_ref().is_some_and(|waiting| waiting.nominated.is_some());
        if is_true || has_own {
            body["status"]["nominatedNodeName"] = node;
        }
        match self.access.merge_by_key(&format!("{}/status", pod_path(&pod.key)), &body).await {
            Reply::Done(body) => {
                let object = serde_json::from_slice(&body).ok();
                let event = object.and_then(|object| pod_event(&object, &self.dialect).ok());
                if let Some(event) = event {
                    self.model.tell(event).await?;
                }
                Ok(Told::Done)
            }
            Reply::Refused { code: StatusCode::NOT_FOUND, .. } => Ok(Told::Gone),
            Reply::Refused { code: StatusCode::CONFLICT, .. } => Ok(Told::Again),
            reply => {
                warn!(pod = %pod.key, ?reply, "The status of a pod could not be written.");
                Ok(Told::Again)
            }
        }
    }

    /// Writes an Event about a pod.
    pub(super) async fn event(&self, pod: &PodKey, uid: &str, kind: &str, reason: &str, note: &str) {
        if !self.has_events {
            return;
        }
        let now = Timestamp::now();
        let body = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": { "namespace": &*pod.namespace, "name": format!("{:.200}.{:x}", pod.name, now.as_nanosecond()) },
            "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
            "reportingController": "tangram.gpu/tangram",
            "reportingInstance": self.identity.chars().take(128).collect::<String>(),
            "action": "Placing",
            "reason": reason,
            "type": kind,
            "note": note.chars().take(1000).collect::<String>(),
            "regarding": { "apiVersion": "v1", "kind": "Pod", "namespace": &*pod.namespace, "name": &*pod.name, "uid": uid },
        });
        let path = format!("/apis/events.k8s.io/v1/namespaces/{}/events", pod.namespace);
        let reply = self.access.create(&path, &body).await;
        if !matches!(reply, Reply::Done(_)) {
            debug!(%pod, ?reply, "An Event could not be written.");
        }
    }
}

impl Told {
    /// For the metric.
    pub(super) fn outcome(self) -> Nomination {
        match self {
            Self::Done => Nomination::Done,
            Self::Again => Nomination::Again,
            Self::Gone => Nomination::Gone,
        }
    }
}

/// Whether a pod's condition says that already.
pub(super) fn is_said(pod: &Pod, why: &str) -> bool {
    let condition = pod.waiting.as_ref().and_then(|waiting| waiting.condition.as_ref());
    condition.is_some_and(|(is_true, message)| !is_true && &**message == why)
}
