//! Why a pod is where it is, or why it waits, and the smallest changes that would let it run.
//!
//! ```text
//! placed    a pod that has a node: what that costs, and what the best other nodes would
//! waiting   a pod that has none: who refuses it, and which nodes are nearest to taking it
//! ask       it asks for less, more or something else
//! bar       what of its object, or of nodes, keeps it from nodes that have room
//! remedy    every change, tried before it is told
//! ```
//!
//! No change is told that was not tried: the changed pod is placed on the changed cluster by the same solver as
//! everywhere. Where no change of a kind helps, that is said only where it is certain; a search that ended at its
//! bound says so instead.
//!
//! Absent on purpose: `ResourceQuota`s. The API server refuses the pod itself where one is used up, so no pod that
//! exists waits for one.

mod ask;
mod bar;
mod placed;
mod remedy;
mod waiting;

use std::sync::Arc;

pub use ask::Asked;
pub use bar::Bar;
pub use placed::{Other, Placed};
pub use remedy::{Kind, Remedies, Remedy, Tried};
pub use waiting::{Nearest, Waits};

use crate::model::{Cluster, Pod, Policy};
use crate::solver::Scores;

/// An explanation.
#[derive(Debug, Clone, PartialEq)]
pub enum Explanation {
    /// It has a node.
    Placed(Placed),
    /// It has none.
    Waits(Box<Waits>),
    /// It has a node that is not known.
    Astray(Arc<str>),
}

/// Explains a pod as the cluster is now.
pub fn explain(cluster: &Cluster, scores: &Scores, policy: Policy, pod: &Arc<Pod>) -> Explanation {
    match &pod.node {
        None => Explanation::Waits(Box::new(waiting::waits(cluster, scores, policy, pod))),
        Some(node) => match cluster.get(node) {
            None => Explanation::Astray(node.clone()),
            Some(node) => Explanation::Placed(placed::placed(cluster, scores, policy, pod, node)),
        },
    }
}
