//! Which GPU instances each node should have: those of the pods that stand on it, and no others.
//!
//! Level-triggered: what is wanted follows from the model alone, and is written whenever a `GpuNode` says
//! something else. A write demands the version that was seen, so two leaders cannot both succeed.

use std::sync::Arc;

use super::apply::Cache;
use super::effect::{Effect, Wanted, Written};
use super::live::{Retry, Write};
use crate::model::{Device, GpuReport, InstanceReport, Node, Pod, PodKey};

impl Cache {
    /// Asks for a write where a node's `GpuNode` does not want what the model wants, or where an earlier write
    /// may still arrive: then any write makes that one impossible.
    pub(super) fn want(&mut self, name: &Arc<str>) {
        let Some(live) = &mut self.live else { return };
        let (Some(report), Some(node), Some(fence)) =
            (self.reports.get(name), self.cluster.get(name), &live.fence)
        else {
            return;
        };
        let write = live.writes.get(name).copied();
        let late = write.and_then(|write| write.late).filter(|late| report.revision <= *late);
        let instances = wanted(node, report);
        let is_wanted = instances.iter().map(place).eq(report.wanted.iter().map(reported_place));
        match write {
            Some(Write { retry: Retry::Underway, .. }) => return,
            _ if is_wanted && late.is_none() => {
                live.writes.remove(name);
                return;
            }
            Some(Write { retry, .. }) if !retry.is_due(live.now_ms) => return,
            Some(_) | None => {}
        }
        live.writes.insert(name.clone(), Write { retry: Retry::Underway, late });
        live.effects.push(Effect::WriteWanted {
            node: name.clone(),
            revision: report.revision,
            instances,
            fence: late.map(|late| fence.annotation(late)),
        });
    }

    pub(super) fn wanted_written(&mut self, node: &Arc<str>, revision: u64, outcome: &Written) -> bool {
        let is_newer = self.reports.get(node).is_some_and(|report| report.revision > revision);
        let Some(live) = &mut self.live else { return false };
        let late = live.writes.get(node).and_then(|write| write.late);
        let write = match outcome {
            Written::Done => Write { retry: Retry::At(live.now_ms), late: None },
            Written::Conflict if is_newer => Write { retry: Retry::At(live.now_ms), late },
            // Whatever went wrong: the watch, or the next try, shows what is there now.
            Written::Conflict | Written::Gone | Written::Refused(_) => {
                Write { retry: Retry::after(live.now_ms), late }
            }
            Written::Unknown => Write { retry: Retry::after(live.now_ms), late: late.max(Some(revision)) },
        };
        live.writes.insert(node.clone(), write);
        self.want(node);
        self.prepare(node);
        false
    }

    /// Whether nothing is on its way that changes what is wanted on a node.
    pub(super) fn is_settled(&self, node: &str) -> bool {
        self.live.as_ref().is_none_or(|live| !live.writes.contains_key(node))
    }
}

/// By GPU and start.
fn wanted(node: &Node, report: &GpuReport) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = node.pods.iter().flat_map(|pod| of_pod(node, pod, report)).collect();
    wanted.sort_by(|a, b| place(a).cmp(&place(b)));
    wanted
}

fn of_pod(node: &Node, pod: &Arc<Pod>, report: &GpuReport) -> Vec<Wanted> {
    let of = |device| Wanted { pod: pod.key.clone(), uid: pod.uid.clone(), device };
    if pod.request.slices.is_empty() {
        return Vec::new();
    }
    if let Some(placement) = node.placement(pod) {
        return placement.devices.iter().cloned().map(of).collect();
    }
    // Its annotation cannot be read: what it may use stays.
    let own = report.wanted.iter().filter(|(_, instance)| instance.pod.as_ref() == Some(&pod.key));
    let device = |(gpu, instance): &(u16, InstanceReport)| Device {
        container: "".into(),
        gpu: *gpu,
        profile: instance.profile.clone(),
        start: instance.start,
    };
    own.map(device).map(of).collect()
}

type Place<'a> = (u16, u8, &'a str, Option<&'a PodKey>, Option<&'a str>);

fn place(wanted: &Wanted) -> Place<'_> {
    let Device { gpu, start, profile, .. } = &wanted.device;
    (*gpu, *start, profile.as_str(), Some(&wanted.pod), Some(&*wanted.uid))
}

fn reported_place((gpu, instance): &(u16, InstanceReport)) -> Place<'_> {
    (*gpu, instance.start, instance.profile.as_str(), instance.pod.as_ref(), instance.pod_uid.as_deref())
}
