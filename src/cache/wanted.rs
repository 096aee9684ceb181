//! Which GPU instances each node should have: those of the pods that stand on it, and no others.
//!
//! Level-triggered: what is wanted follows from the model alone, and is written whenever a `GpuNode` says
//! something else. A write demands the version that was seen, so two leaders cannot both succeed.

use std::sync::Arc;

use super::apply::Cache;
use super::effect::{Effect, Wanted, Written};
use super::live::Retry;
use crate::model::{Device, GpuReport, InstanceReport, Node, Pod, PodKey};

impl Cache {
    /// Asks for a write where a node's `GpuNode` does not want what the model wants.
    pub(super) fn want(&mut self, name: &Arc<str>) {
        let Some(live) = &mut self.live else { return };
        let (Some(report), Some(node), Some(_)) =
            (self.reports.get(name), self.cluster.get(name), &live.fence)
        else {
            return;
        };
        let is_waiting = live.writes.get(name).is_some_and(|retry| !retry.is_due(live.now_ms));
        let instances = wanted(node, report);
        if instances.iter().map(place).eq(report.wanted.iter().map(reported_place)) {
            if !matches!(live.writes.get(name), Some(Retry::Underway)) {
                live.writes.remove(name);
            }
            return;
        }
        if is_waiting {
            return;
        }
        live.writes.insert(name.clone(), Retry::Underway);
        live.effects.push(Effect::WriteWanted { node: name.clone(), revision: report.revision, instances });
    }

    pub(super) fn wanted_written(&mut self, node: &Arc<str>, outcome: &Written) -> bool {
        let Some(live) = &mut self.live else { return false };
        let retry = match outcome {
            Written::Done => Retry::At(live.now_ms),
            // Whatever went wrong: the watch, or the next try, shows what is there now.
            Written::Conflict | Written::Gone | Written::Refused(_) | Written::Unknown => {
                Retry::after(live.now_ms)
            }
        };
        live.writes.insert(node.clone(), retry);
        if *outcome == Written::Done {
            self.want(node);
        }
        false
    }
}

/// By GPU and start.
fn wanted(node: &Node, report: &GpuReport) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = node.pods.iter().flat_map(|pod| of_pod(pod, report)).collect();
    wanted.sort_by(|a, b| place(a).cmp(&place(b)));
    wanted
}

fn of_pod(pod: &Arc<Pod>, report: &GpuReport) -> Vec<Wanted> {
    let of = |device| Wanted { pod: pod.key.clone(), uid: pod.uid.clone(), device };
    if pod.request.slices.is_empty() {
        return Vec::new();
    }
    if let Some(placement) = &pod.placement {
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
