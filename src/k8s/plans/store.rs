//! Where plans are recorded: one `ConfigMap` in Tangram's namespace.
//!
//! Not in an annotation of a pod, which goes with the pod that is evicted; not in the Lease, which somebody else may
//! own. A record is written before the first effect of a step, and every write demands the version that was read, so
//! that of two processes that both believe to lead only one goes on.

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::k8s::access::{Access, Reply};
use crate::wire::plans::PlanView;

/// Name of the object.
pub(in crate::k8s) const NAME: &str = "tangram-plans";
const KEY: &str = "plans.json";

/// The plans as they were read or last written.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::k8s) struct Kept {
    pub(in crate::k8s) plans: Vec<PlanView>,
    version: Option<String>, // of the object; none where there is none yet
}

/// Why a record was not read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::k8s) enum Trouble {
    /// Somebody else wrote it, or nobody knows whether it is written: it has to be read again.
    Stale(String),
    /// It is refused, and trying again does not help.
    Refused(String),
}

/// Reads and writes plans.
#[derive(Debug, Clone)]
pub(in crate::k8s) struct Store {
    pub(in crate::k8s) access: Access,
    pub(in crate::k8s) namespace: String,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    #[serde(default)]
    data: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
}

impl Store {
    fn folder(&self) -> String {
        format!("/api/v1/namespaces/{}/configmaps", self.namespace)
    }

    fn path(&self) -> String {
        format!("{}/{NAME}", self.folder())
    }

    /// Reads the plans. An object that somebody wrote who is not Tangram is an error until it is deleted: what it
    /// says may be a plan that is half done.
    pub(in crate::k8s) async fn load(&self) -> Result<Kept, Trouble> {
        match self.access.get(&self.path()).await {
            Reply::Done(body) => {
                let object: Object =
                    serde_json::from_slice(&body).map_err(|error| Trouble::Refused(error.to_string()))?;
                let text = object.data.get(KEY).map_or("[]", String::as_str);
                let plans = serde_json::from_str(text)
                    .map_err(|error| Trouble::Refused(format!("ConfigMap {NAME}: {KEY}: {error}")))?;
                Ok(Kept { plans, version: Some(object.metadata.resource_version) })
            }
            Reply::Refused { code: StatusCode::NOT_FOUND, .. } => Ok(Kept::default()),
            Reply::Refused { code, message } => Err(Trouble::Refused(format!("{code}: {message}"))),
            Reply::Unknown(error) => Err(Trouble::Stale(error)),
        }
    }

    /// Writes plans over those that were read.
    pub(in crate::k8s) async fn save(&self, before: &Kept, plans: Vec<PlanView>) -> Result<Kept, Trouble> {
        let text = serde_json::to_string(&plans).expect("texts and numbers only");
        let mut body = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": NAME, "namespace": self.namespace },
            "data": { KEY: text },
        });
        let reply = match &before.version {
            Some(version) => {
                body["metadata"]["resourceVersion"] = json!(version);
                self.access.replace(&self.path(), &body).await
            }
            None => self.access.create(&self.folder(), &body).await,
        };
        match reply {
            Reply::Done(body) => {
                let object: Object =
                    serde_json::from_slice(&body).map_err(|error| Trouble::Stale(error.to_string()))?;
                Ok(Kept { plans, version: Some(object.metadata.resource_version) })
            }
            Reply::Refused { code: StatusCode::CONFLICT | StatusCode::NOT_FOUND, message } => {
                Err(Trouble::Stale(message))
            }
            Reply::Refused { code, message } => Err(Trouble::Refused(format!("{code}: {message}"))),
            Reply::Unknown(error) => Err(Trouble::Stale(error)),
        }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Stale(why) | Self::Refused(why)) = self;
        f.write_str(why)
    }
}
