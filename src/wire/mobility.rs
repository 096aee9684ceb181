//! Whether a pod may be moved: owner references, and the annotations by which people forbid it.

use super::object::Metadata;
use crate::model::{Mobility, Pinned};

/// Written by the kubelet into the mirror of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Keys, of annotations or labels, with the value that forbids to move the pod: Tangram's own, Karpenter's and
/// the cluster autoscaler's.
const FORBIDDING: [(&str, &str); 3] = [
    ("tangram.gpu/movable", "false"),
    ("karpenter.sh/do-not-disrupt", "true"),
    ("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"),
];

/// What an object says of whether its pod may be moved.
pub(super) fn mobility(metadata: &Metadata) -> Mobility {
    let labels = metadata.labels.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into()));
    let controller = metadata.owner_references.iter().find(|owner| owner.controller == Some(true));
    let uid = controller.map(|owner| owner.uid.as_str()).filter(|uid| !uid.is_empty());
    Mobility {
        pinned: pinned(metadata, controller.map(|owner| owner.kind.as_str())),
        controller: uid.map(Into::into),
        labels: labels.collect(),
    }
}

fn pinned(metadata: &Metadata, kind: Option<&str>) -> Option<Pinned> {
    if metadata.annotations.contains_key(MIRROR) || kind == Some("Node") {
        return Some(Pinned::Static);
    }
    match kind {
        None => return Some(Pinned::Alone),
        Some("DaemonSet") => return Some(Pinned::DaemonSet),
        Some(_) => {}
    }
    let says = |key: &str| metadata.annotations.get(key).or_else(|| metadata.labels.get(key));
    let forbidding = FORBIDDING.into_iter().find(|(key, value)| says(key).is_some_and(|said| said == value));
    forbidding.map(|(key, value)| Pinned::Forbidden { key, value })
}
