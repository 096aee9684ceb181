//! Who leads: a Lease of Tangram's own, or the one by which kube-scheduler elects.
//!
//! As client-go does it: a Lease counts as expired when *this* process has seen it unchanged for its whole
//! duration, so clocks of different machines are never compared. What is added is a time until which the
//! leader may believe that it leads: one duration after it *sent* its last renewal. Another one takes over
//! one duration after it *saw* that renewal, which is later; so nobody ever rightly believes beside another.

use std::sync::Arc;

use axum::http::StatusCode;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tracing::{debug, warn};

use super::access::{Access, Reply};
use super::age::Clock;
use crate::cache::Fence;

/// A Lease and how to stand towards it.
#[derive(Debug)]
pub(super) struct Election {
    pub(super) access: Access,
    pub(super) clock: Clock,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) identity: Arc<str>,
    pub(super) duration_s: u32,
    /// Beside a kube-scheduler that renews the Lease: the host name with which its identity begins.
    pub(super) follows: Option<String>,
    seen: Option<Seen>,
    looked_ms: Option<u64>, // the last look that was answered
}

/// A state of the Lease and since when it is unchanged.
#[derive(Debug)]
struct Seen {
    version: String,
    since_ms: u64,
    /// When an older version was last seen: it was renewed after that.
    renewed_after_ms: Option<u64>,
}

/// What a look at the Lease said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// This replica leads, until the time given unless it looks again.
    Leads { fence: Fence, until_ms: u64 },
    /// Another one does.
    Follows,
    /// The API server did not say.
    Unknown,
}

impl Election {
    pub(super) fn new(
        access: Access,
        clock: Clock,
        namespace: String,
        name: String,
        identity: Arc<str>,
    ) -> Self {
        Self {
            access,
            clock,
            namespace,
            name,
            identity,
            duration_s: 6,
            follows: None,
            seen: None,
            looked_ms: None,
        }
    }

    fn path(&self) -> String {
        format!("{}/{}", self.folder(), self.name)
    }

    fn folder(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.namespace)
    }

    /// Looks at the Lease, and takes or renews it where that is right.
    pub(super) async fn look(&mut self) -> Standing {
        let asked_ms = self.clock.now_ms();
        let lease = match self.access.get(&self.path()).await {
            Reply::Done(body) => serde_json::from_slice::<Lease>(&body).ok(),
            Reply::Refused { code: StatusCode::NOT_FOUND, .. } if self.follows.is_some() => {
                return Standing::Follows;
            }
            Reply::Refused { code: StatusCode::NOT_FOUND, .. } => return self.create(asked_ms).await,
            reply => {
                warn!(lease = self.path(), ?reply, "The Lease cannot be read.");
                return Standing::Unknown;
            }
        };
        let Some(lease) = lease else { return Standing::Unknown };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        if self.seen.as_ref().is_none_or(|seen| seen.version != version) {
            // Renewed before the answer came, maybe after the question: its holder may believe for a whole
            // duration after that. Who believes as another's follower has to take the earliest moment.
            let renewed_after_ms = self.seen.as_ref().and(self.looked_ms);
            self.seen = Some(Seen { version, since_ms: self.clock.now_ms(), renewed_after_ms });
        }
        self.looked_ms = Some(asked_ms);
        let unchanged_ms = self.seen.as_ref().map_or(0, |seen| asked_ms.saturating_sub(seen.since_ms));
        let duration_ms = u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0) * 1000;
        let is_expired = holder.is_empty() || unchanged_ms > duration_ms;
        let term = u64::try_from(spec.lease_transitions.unwrap_or(0)).unwrap_or(0);
        if let Some(host) = &self.follows {
            // kube-scheduler writes HOST_RANDOM; the host is the pod that both containers share.
            let is_own = holder.split('_').next() == Some(host);
            let renewed_after_ms = self.seen.as_ref().and_then(|seen| seen.renewed_after_ms);
            return match renewed_after_ms.filter(|_| is_own && !is_expired) {
                Some(renewed_after_ms) => {
                    let fence = Fence { term, identity: self.identity.clone() };
                    Standing::Leads { fence, until_ms: renewed_after_ms + duration_ms }
                }
                // Also a Lease that nobody has renewed since the first look: how old it is, nobody knows.
                None => Standing::Follows,
            };
        }
        if holder == *self.identity {
            self.write(lease, term, asked_ms).await
        } else if is_expired {
            debug!(lease = self.path(), holder, "The Lease has expired; taking it.");
            self.write(lease, term + 1, asked_ms).await
        } else {
            Standing::Follows
        }
    }

    /// Gives the Lease back, so that the next one need not wait.
    pub(super) async fn release(&mut self) {
        if self.follows.is_some() {
            return;
        }
        let Reply::Done(body) = self.access.get(&self.path()).await else { return };
        let Ok(mut lease) = serde_json::from_slice::<Lease>(&body) else { return };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() == Some(&*self.identity) {
            spec.holder_identity = None;
            let reply = self.access.replace(&self.path(), &typed(&lease)).await;
            debug!(?reply, "Released the Lease.");
        }
    }

    async fn create(&mut self, asked_ms: u64) -> Standing {
        let body = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": { "name": self.name, "namespace": self.namespace },
            "spec": {
                "holderIdentity": &*self.identity,
                "leaseDurationSeconds": self.duration_s,
                "leaseTransitions": 1,
                "acquireTime": now(),
                "renewTime": now(),
            },
        });
        let reply = self.access.create(&self.folder(), &body).await;
        self.written(&reply, 1, asked_ms)
    }

    /// Writes this replica into the Lease as it was read; the API server refuses when it has changed since.
    async fn write(&mut self, mut lease: Lease, term: u64, asked_ms: u64) -> Standing {
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(&*self.identity) {
            spec.acquire_time = Some(now());
        }
        spec.holder_identity = Some(self.identity.to_string());
        spec.lease_duration_seconds = i32::try_from(self.duration_s).ok();
        spec.lease_transitions = i32::try_from(term).ok();
        spec.renew_time = Some(now());
        let reply = self.access.replace(&self.path(), &typed(&lease)).await;
        self.written(&reply, term, asked_ms)
    }

    fn written(&mut self, reply: &Reply, term: u64, asked_ms: u64) -> Standing {
        match reply {
            Reply::Done(_) => Standing::Leads {
                fence: Fence { term, identity: self.identity.clone() },
                until_ms: asked_ms + u64::from(self.duration_s) * 1000,
            },
            Reply::Refused { code: StatusCode::CONFLICT, .. } => Standing::Follows,
            reply => {
                warn!(lease = self.path(), ?reply, "The Lease cannot be written.");
                Standing::Unknown
            }
        }
    }
}

/// A Lease with its kind, as the API server wants it back.
fn typed(lease: &Lease) -> Value {
    let mut value = serde_json::to_value(lease).expect("a Lease is JSON");
    value["apiVersion"] = json!("coordination.k8s.io/v1");
    value["kind"] = json!("Lease");
    value
}

/// The time of day, for people who read the Lease: nothing is decided by it.
fn now() -> MicroTime {
    MicroTime(Timestamp::now())
}
