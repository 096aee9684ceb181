//! What a pod's object says of whether the pod may be moved: evicted where it is, and made anew elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

/// Whether a pod may be moved, by what its object says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mobility {
    /// What keeps it where it is; `None` where a controller makes it anew and nothing forbids it.
    pub pinned: Option<Pinned>,
    /// UID of the controller that made it, and would make its replacement.
    pub controller: Option<Arc<str>>,
    /// Its labels, by which a `PodDisruptionBudget` finds it; empty for a pod that asks for no device.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
}

/// What keeps a pod where it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Pinned {
    /// No owner reference has `controller: true`.
    #[error("no controller would make it anew")]
    Alone,
    /// A `DaemonSet` makes one for this node.
    #[error("its DaemonSet would make it anew on the same node")]
    DaemonSet,
    /// A mirror pod: the kubelet of the node runs it from a file.
    #[error("it is a static pod of its node")]
    Static,
    /// No pod at all: it stands for one that moves here.
    #[error("it is a place that is kept for a pod that moves here")]
    Held,
    /// An annotation, or label, forbids it.
    #[error("{key}: \"{value}\" forbids it")]
    Forbidden {
        /// Its key.
        key: &'static str,
        /// Its value.
        value: &'static str,
    },
}
