//! What pods without a node ask for.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bounds::{NAMES_MAX, largest};
use super::{Bounds, Mode, OTHER, known};
use crate::mig::ProfileName;
use crate::model::{Pod, Want};

/// Stands for the profile of a GPU instance that is asked for by its memory.
const BY_MEMORY: &str = "by-memory";

/// What the pods of one namespace ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Pods.
    pub pods: u32,
    /// GPU instances by profile, and by who makes them.
    pub instances: BTreeMap<(Arc<str>, Mode), u32>,
    /// Other counted devices by resource name.
    pub devices: BTreeMap<Arc<str>, u32>,
}

/// What pods without a node ask for, by namespace. Pods with scheduling gates, and pods that are being deleted, do
/// not wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pending(pub BTreeMap<Arc<str>, Asked>);

impl Pending {
    pub(super) fn new(waiting: &[Arc<Pod>], bounds: &Bounds) -> Self {
        let mut asked = BTreeMap::<Arc<str>, Asked>::new();
        for pod in waiting.iter().filter(|pod| waits(pod)) {
            asked.entry(pod.key.namespace.clone()).or_default().add(pod);
        }
        for of in asked.values_mut() {
            let devices = std::mem::take(&mut of.devices);
            of.devices = largest(devices, NAMES_MAX, &OTHER.into(), |count| u64::from(*count), add);
        }
        Self(largest(asked, bounds.namespaces, &OTHER.into(), Asked::units, Asked::merge))
    }

    /// Pods in all.
    pub fn pods(&self) -> u32 {
        self.0.values().map(|asked| asked.pods).sum()
    }
}

fn waits(pod: &Pod) -> bool {
    let is_gated = pod.waiting.as_ref().is_some_and(|waiting| waiting.is_gated);
    pod.node.is_none() && !pod.request.is_empty() && !pod.is_terminating && !is_gated
}

/// Saturating: counts are what pods say.
fn add(sum: &mut u32, count: u32) {
    *sum = sum.saturating_add(count);
}

impl Asked {
    fn add(&mut self, pod: &Pod) {
        self.pods += 1;
        for ask in &pod.request.slices {
            let profile = match &ask.want {
                Want::Profile(profile) => known(profile),
                Want::Memory { .. } => BY_MEMORY.into(),
            };
            add(self.instances.entry((profile, Mode::Dynamic)).or_default(), 1);
        }
        for (resource, count) in &pod.request.counted {
            let partition = resource.strip_prefix("nvidia.com/mig-").and_then(ProfileName::parse);
            let sum = match partition {
                Some(profile) => self.instances.entry((known(&profile), Mode::Static)).or_default(),
                None => self.devices.entry(resource.clone()).or_default(),
            };
            add(sum, *count);
        }
    }

    fn units(&self) -> u64 {
        self.instances.values().chain(self.devices.values()).map(|count| u64::from(*count)).sum()
    }

    fn merge(&mut self, other: Self) {
        self.pods += other.pods;
        for (key, count) in other.instances {
            add(self.instances.entry(key).or_default(), count);
        }
        for (resource, count) in other.devices {
            add(self.devices.entry(resource).or_default(), count);
        }
        let devices = std::mem::take(&mut self.devices);
        self.devices = largest(devices, NAMES_MAX, &OTHER.into(), |count| u64::from(*count), add);
    }
}
