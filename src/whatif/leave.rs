//! Which pods leave a node that is drained, removed or cut anew, and what becomes of the others.

use std::sync::Arc;

use crate::model::{Node, Pinned, Pod};
use crate::repack::{Budget, Stay};

/// A pod of a node that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaver {
    /// The pod as it was.
    pub pod: Arc<Pod>,
    /// Its node.
    pub node: Arc<str>,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of a pod of a node that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It needs another place, before the pods that are asked about.
    Moves,
    /// The same, behind them: it was evicted to make way.
    MakesWay,
    /// It stays where it is, so that the change does not come to its end.
    Stays(Stay),
    /// It belongs to the node: it stays with it, or goes with it.
    OfNode(Pinned),
    /// It is gone for good, and why nobody makes it anew.
    Lost(Stay),
    /// It is being deleted anyway.
    Ends,
}

/// How pods are made to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Evicted as `kubectl drain --ignore-daemonsets` does: budgets and pins hold.
    Drained,
    /// Their node vanishes: nothing holds.
    Vanishing,
}

/// What becomes of a pod.
pub(super) fn fate(pod: &Pod, how: How, budgets: &[Budget]) -> Fate {
    if pod.is_terminating {
        return Fate::Ends;
    }
    match (&pod.mobility.pinned, how) {
        (Some(pinned @ (Pinned::DaemonSet | Pinned::Static)), _)
        | (Some(pinned @ Pinned::Held), How::Vanishing) => return Fate::OfNode(pinned.clone()),
        (Some(pinned @ Pinned::Alone), How::Vanishing) => return Fate::Lost(pinned.clone().into()),
        (Some(pinned), How::Drained) => return Fate::Stays(pinned.clone().into()),
        (Some(Pinned::Forbidden { .. }) | None, _) => {}
    }
    if how == How::Vanishing {
        return Fate::Moves;
    }
    let mut covering = budgets.iter().filter(|budget| budget.covers(pod));
    match (covering.next(), covering.next()) {
        (Some(_), Some(_)) => Fate::Stays(Stay::Budgets),
        (Some(budget), None) if budget.allowed == 0 => Fate::Stays(Stay::Budget(budget.name.clone())),
        _ => Fate::Moves,
    }
}

/// The pods of a node with what becomes of them; only those that `concerns` says.
pub(super) fn leavers(
    node: &Node,
    how: How,
    budgets: &[Budget],
    concerns: impl Fn(&Pod) -> bool,
) -> Vec<Leaver> {
    let leaver = |pod: &Arc<Pod>| Leaver {
        pod: pod.clone(),
        node: node.facts.name.clone(),
        fate: fate(pod, how, budgets),
    };
    node.pods.iter().filter(|pod| concerns(pod)).map(leaver).collect()
}

impl Fate {
    /// Whether the pod is on its node no longer.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Moves | Self::MakesWay | Self::Lost(_) | Self::Ends)
    }
}
