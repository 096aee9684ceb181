//! Places that are kept: for the next pod of an owner, while the one that stood elsewhere goes.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Cluster, Demand, Mobility, Node, Pinned, Placement, Pod, PodKey, Request, Resources, Version};

/// A place that is kept.
///
/// Until the pod that it is for stands there, a stand-in does: nobody else finds room in it, whatever their priority.
/// It is for a pod of the same controller that asks for the same, and is none of those known before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The pod that moves.
    pub pod: PodKey,
    /// UID of the controller that makes its replacement.
    pub controller: Arc<str>,
    /// UIDs of the controller's pods that the place is not for: those that there were when it began to be kept, and
    /// among them the one that moves.
    pub besides: BTreeSet<Arc<str>>,
    /// What is asked for.
    pub request: Request,
    /// CPU, memory and what else it takes of the node.
    pub resources: Resources,
    /// The node.
    pub node: Arc<str>,
    /// Its GPU instances; empty for a pod of counted devices only.
    pub placement: Placement,
}

impl Hold {
    /// Whether the place is for this pod.
    pub fn is_for(&self, pod: &Pod) -> bool {
        self.pod.namespace == pod.key.namespace
            && pod.mobility.controller.as_ref() == Some(&self.controller)
            && !self.besides.contains(&pod.uid)
            && self.request.counted == pod.request.counted
            && self.request.slices == pod.request.slices
    }

    /// The pod that stands there instead of the stand-in, if it has come.
    pub fn taken_by<'n>(&self, node: &'n Node) -> Option<&'n Arc<Pod>> {
        let has_place = |pod: &Pod| {
            let placement = pod.placement.as_ref().map_or(&[][..], |placement| &placement.devices);
            placement == self.placement.devices
        };
        node.pods.iter().find(|pod| self.is_for(pod) && has_place(pod))
    }

    /// The node with the stand-in.
    pub fn on(&self, node: &Node) -> Node {
        node.with(&Arc::new(self.stand_in()))
    }

    /// The node without the stand-in.
    pub fn off(&self, node: &Node) -> Node {
        let key = self.key();
        node.retaining(|pod| pod.key != key)
    }

    /// No pod can have this name.
    fn key(&self) -> PodKey {
        PodKey { namespace: self.pod.namespace.clone(), name: format!("{} (next)", self.pod.name).into() }
    }

    fn stand_in(&self) -> Pod {
        Pod {
            key: self.key(),
            uid: "".into(),
            created_s: 0,
            priority: i32::MAX,
            request: self.request.clone(),
            demand: Demand { resources: self.resources, ..Demand::default() },
            node: Some(self.node.clone()),
            placement: Some(self.placement.clone()).filter(|placement| !placement.devices.is_empty()),
            unreadable_placement: None,
            is_terminating: false,
            mobility: Mobility { pinned: Some(Pinned::Held), ..Mobility::default() },
            version: Version::default(),
            waiting: None,
        }
    }
}

/// The cluster with a stand-in at each place that is kept and not taken; and those places.
pub fn with_holds(cluster: &Cluster, holds: &[Hold]) -> (Cluster, Arc<[Hold]>) {
    let mut held = cluster.clone();
    let is_open = |hold: &&Hold| cluster.get(&hold.node).is_none_or(|node| hold.taken_by(node).is_none());
    let open: Vec<Hold> = holds.iter().filter(is_open).cloned().collect();
    for hold in &open {
        if let Some(node) = held.get(&hold.node) {
            held.put(Arc::new(hold.on(node)));
        }
    }
    (held, open.into())
}
