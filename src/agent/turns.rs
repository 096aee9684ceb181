//! One pod after another: of the devices of a profile, those of one pod are offered at a time.
//!
//! The kubelet gives a pod whichever free device of the profile it likes. While only the devices of one pod are
//! free, that is the pod that gets them, and a bind waits until its devices are offered; so every pod gets exactly
//! what was placed for it. A pod that does not come within a while holds up nobody: then the kubelet may choose,
//! and the model goes by its record.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::desk::{Offered, Sight};
use super::device::DeviceId;
use crate::mig::ProfileName;

/// How long the others wait for a pod to take its devices: as long as a kubelet may take to see it and more.
const PATIENCE_MS: u64 = 10_000;

/// What became of the devices that are offered.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Since when those are offered that nobody has taken yet.
    since: BTreeMap<DeviceId, u64>,
    /// For which pods, by UID, devices were taken. One that is free again belongs to a pod that has ended, though
    /// its API object may say so later: it is nobody else's.
    taken: BTreeMap<DeviceId, Arc<str>>,
}

impl Turns {
    /// A device that is reported as ready or as taken, also by an earlier life of the agent whose last write came
    /// late: its pod may be on its way.
    pub(super) fn resume(&mut self, id: DeviceId, taken_by: Option<Arc<str>>, now_ms: u64) {
        match taken_by {
            Some(pod) => _ = self.taken.entry(id).or_insert(pod),
            None => _ = self.since.entry(id).or_insert(now_ms),
        }
    }

    /// Leaves those offers whose turn it is; until when others may wait for them.
    pub(super) fn keep(
        &mut self,
        offers: &mut Vec<Offered>,
        sight: &Sight,
        is_taken: impl Fn(&DeviceId) -> bool,
        now_ms: u64,
    ) -> Option<u64> {
        let is_offered = |id: &DeviceId| offers.iter().any(|offer| offer.id == *id && offer.is_healthy);
        if sight.wanted().is_some() && sight.held.is_some() {
            // Before that, what is offered is not yet all that should be.
            self.since.retain(|id, _| is_offered(id) && !is_taken(id));
            for offer in offers.iter().filter(|offer| offer.is_healthy) {
                let wanted = sight.wanted_at(&offer.id);
                // The record names no UID: who holds it since before it was wanted for this pod is another one.
                if let Some(wanted) = wanted.filter(|wanted| sight.holder(&offer.id) == Some(&wanted.pod)) {
                    self.taken.entry(offer.id.clone()).or_insert_with(|| wanted.uid.clone());
                }
            }
            let is_of =
                |id: &DeviceId, pod: &Arc<str>| is_taken(id) || pod_of(sight, id).is_some_and(|of| of == pod);
            self.taken.retain(|id, pod| is_offered(id) && is_of(id, pod));
        }
        let has_ended = |id: &DeviceId| {
            !is_taken(id) && self.taken.get(id).is_some_and(|pod| pod_of(sight, id) == Some(pod))
        };
        offers.retain(|offer| !has_ended(&offer.id));
        let is_patient = |since_ms: u64| now_ms < since_ms + PATIENCE_MS;
        let mut first: BTreeMap<&ProfileName, (u64, &Arc<str>)> = BTreeMap::new();
        let untaken = || offers.iter().filter(|offer| offer.is_healthy && !is_taken(&offer.id));
        // Who is being waited for goes on; else whoever stands first.
        for offer in untaken() {
            let Some(pod) = pod_of(sight, &offer.id) else { continue };
            let since_ms = self.since.get(&offer.id).copied();
            if since_ms.is_some_and(|since_ms| !is_patient(since_ms)) {
                continue;
            }
            let rank = (since_ms.unwrap_or(u64::MAX), pod);
            let known = first.entry(&offer.id.profile).or_insert(rank);
            *known = (*known).min(rank);
        }
        let now: Vec<DeviceId> = untaken()
            .filter(|offer| {
                let turn = first.get(&offer.id.profile).map(|(_, pod)| *pod);
                self.since.contains_key(&offer.id) || turn.is_none() || turn == pod_of(sight, &offer.id)
            })
            .map(|offer| offer.id.clone())
            .collect();
        let before = offers.len();
        offers.retain(|offer| !offer.is_healthy || is_taken(&offer.id) || now.contains(&offer.id));
        let is_waited_for = offers.len() < before;
        for id in now {
            self.since.entry(id).or_insert(now_ms);
        }
        for offer in offers {
            offer.is_awaited = self.since.contains_key(&offer.id);
        }
        let ends =
            self.since.values().map(|since_ms| since_ms + PATIENCE_MS).filter(|end_ms| *end_ms > now_ms);
        ends.min().filter(|_| is_waited_for)
    }
}

/// UID of the pod that a device is wanted for.
fn pod_of<'a>(sight: &'a Sight, id: &DeviceId) -> Option<&'a Arc<str>> {
    sight.wanted_at(id).map(|wanted| &wanted.uid)
}
