//! A pod as the model keeps it.

use std::fmt;
use std::sync::Arc;

use super::{Demand, Mobility, Request};
use crate::mig::ProfileName;

/// Namespace and name: what people call a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodKey {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A pod with what it asks and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Namespace and name.
    pub key: PodKey,
    /// Identity over time: a pod recreated under its name has another one.
    pub uid: Arc<str>,
    /// `metadata.creationTimestamp`, in seconds since 1970; 0 where there is none.
    pub created_s: i64,
    /// `spec.priority`; a pod may only evict pods of lower priority.
    pub priority: i32,
    /// The devices it asks for.
    pub request: Request,
    /// What kube-scheduler's own filters ask.
    pub demand: Demand,
    /// The node it is bound to.
    pub node: Option<Arc<str>>,
    /// Where its GPU instances are, as its annotation or this process's own bind says.
    pub placement: Option<Placement>,
    /// Why its placement annotation could not be read, where it has one that could not.
    pub unreadable_placement: Option<Arc<str>>,
    /// Whether somebody asked to delete it: it still holds its devices.
    pub is_terminating: bool,
    /// Whether it may be moved.
    pub mobility: Mobility,
    /// Which version of the API object this is.
    pub version: Version,
    /// What matters only while it waits for a node; `None` for a bound pod.
    pub waiting: Option<Arc<Waiting>>,
}

impl Pod {
    /// The same pod on a node, with its places, if it has any that Tangram chooses.
    #[must_use]
    pub fn bound_to(&self, node: Arc<str>, placement: Placement) -> Self {
        let placement = Some(placement).filter(|_| !self.request.slices.is_empty());
        Self { node: Some(node), placement, waiting: None, ..self.clone() }
    }

    /// The node that Tangram nominated for it, by its own condition.
    pub fn nominated(&self) -> Option<&Arc<str>> {
        let (is_true, node) = self.waiting.as_ref()?.condition.as_ref()?;
        is_true.then_some(node)
    }

    /// Whether two versions of a pod mean the same to placement.
    pub fn means(&self, other: &Self) -> bool {
        // Versions grow with every write to the object, whatever it was about.
        Self { version: other.version.clone(), ..self.clone() } == *other
    }
}

/// A version of an API object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Version {
    /// `metadata.resourceVersion`, comparable for one kind of object since Kubernetes 1.35 (KEP-5504); 0
    /// where it is not known.
    pub revision: u64,
    /// The annotation `tangram.gpu/fence`: which leader last made older Bindings of the pod impossible.
    pub fence: Option<Arc<str>>,
}

/// What matters of a pod while it waits for a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waiting {
    /// `spec.schedulerName`.
    pub scheduler: Arc<str>,
    /// Whether scheduling gates keep it from being scheduled at all.
    pub is_gated: bool,
    /// Whether `spec.preemptionPolicy` forbids it to evict others.
    pub never_preempts: bool,
    /// `status.nominatedNodeName`, by whomever.
    pub nominated: Option<Arc<str>>,
    /// The condition `tangram.gpu/Nominated`: its status, and its message.
    pub condition: Option<(bool, Arc<str>)>,
}

/// The exact GPU instances of one pod, in the order of [`Request::slices`].
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Placement {
    /// One entry per GPU instance asked for.
    pub devices: Vec<Device>,
}

/// One GPU instance at one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device {
    /// The container that gets it.
    pub container: Arc<str>,
    /// Index of the GPU on its node (NVML index).
    pub gpu: u16,
    /// The profile.
    pub profile: ProfileName,
    /// First memory slice, in NVML's unit.
    pub start: u8,
}
