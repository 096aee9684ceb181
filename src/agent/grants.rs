//! Devices that the kubelet was given a moment ago: held, though its record may not name them yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::desk::Sight;
use super::device::DeviceId;

/// How long one counts as held whatever the record says.
const GRANT_MS: u64 = 10_000;
/// How long a kubelet may take to record what it was given.
const RECORD_MS: u64 = 1000;

/// The devices, by ID.
#[derive(Debug, Default)]
pub(super) struct Grants(BTreeMap<DeviceId, Grant>);

#[derive(Debug)]
struct Grant {
    since_ms: u64,
    /// UID of the pod that it was wanted for.
    pod: Option<Arc<str>>,
    /// When that pod was first seen to want it no more.
    ended_ms: Option<u64>,
}

impl Grants {
    pub(super) fn add(&mut self, ids: impl IntoIterator<Item = DeviceId>, now_ms: u64) {
        let grant = || Grant { since_ms: now_ms, pod: None, ended_ms: None };
        self.0.extend(ids.into_iter().map(|id| (id, grant())));
    }

    pub(super) fn has(&self, id: &DeviceId) -> bool {
        self.0.contains_key(id)
    }

    /// Forgets those of which the record says all that there is to say; returns whether a younger record would tell
    /// of one that is left.
    ///
    /// The kubelet gives a pod its devices before it looks at the rest of it, and may still turn it away: such a pod
    /// is never recorded, and what was wanted for it ends.
    pub(super) fn settle(&mut self, sight: &Sight, now_ms: u64) -> bool {
        let asked_ms = sight.held.as_ref().map_or(0, |held| held.asked_ms);
        self.0.retain(|id, grant| {
            if sight.wanted().is_some() {
                let pod = sight.wanted_at(id).map(|wanted| wanted.uid.clone());
                grant.pod = grant.pod.take().or_else(|| pod.clone());
                if grant.pod != pod {
                    grant.ended_ms.get_or_insert(now_ms);
                }
            }
            let is_told = match (sight.holder(id), grant.ended_ms) {
                (Some(_), _) => asked_ms > grant.since_ms,
                (None, Some(ended_ms)) => asked_ms > ended_ms.max(grant.since_ms + RECORD_MS),
                (None, None) => false,
            };
            !is_told && now_ms < grant.since_ms + GRANT_MS
        });
        self.0.values().any(|grant| grant.ended_ms.is_some())
    }

    /// When the next one is held no more, whatever the record says.
    pub(super) fn next_end_ms(&self) -> Option<u64> {
        self.0.values().map(|grant| grant.since_ms + GRANT_MS).min()
    }
}
