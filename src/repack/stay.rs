//! Which pods may be moved, and why the others not.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use super::Budget;
use super::work::Seat;
use crate::mig::Occupancy;
use crate::model::{Knowledge, Node, Pinned, Pod, PodKey};

/// Why a pod stays.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Stay {
    /// Its object says so.
    #[error("{0}")]
    Pinned(#[from] Pinned),
    /// Somebody deletes it: what it holds is free soon without a move.
    #[error("it is being deleted")]
    Ending,
    /// Volumes, affinity between pods or spread constraints may bind it to its node, and Tangram does not model
    /// them.
    #[error("its volumes, pod affinity or spread constraints are not modelled")]
    Unmodelled,
    /// Its priority is above the bound.
    #[error("its priority is {0}")]
    Priority(i32),
    /// A budget allows no eviction.
    #[error("PodDisruptionBudget {0} allows no eviction")]
    Budget(Arc<str>),
    /// The API server evicts no pod that several budgets cover.
    #[error("several PodDisruptionBudgets cover it, and the API server evicts no such pod")]
    Budgets,
    /// Nobody says where on its node its GPU instances are.
    #[error("where its GPU instances are is not known")]
    Unplaced,
    /// Its GPU takes nothing more, or its node's agent is silent: moving it frees nothing.
    #[error("its GPU is closed")]
    Closed,
}

/// A pod that would have helped, and stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The pod.
    pub pod: PodKey,
    /// Its node.
    pub node: Arc<str>,
    /// Why it stays.
    pub why: Stay,
}

/// What decides whether a pod may be moved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) priority_max: Option<i32>,
    pub(super) budgets: &'a [Budget],
}

impl Rules<'_> {
    /// Why a pod stays where it is; `None` if it may be moved.
    pub(super) fn stay(&self, node: &Node, pod: &Pod) -> Option<Stay> {
        if let Some(pinned) = &pod.mobility.pinned {
            return Some(pinned.clone().into());
        }
        let is_above = self.priority_max.is_some_and(|max| pod.priority > max);
        let flags = [
            (pod.is_terminating, Stay::Ending),
            (pod.demand.has_unmodelled, Stay::Unmodelled),
            (is_above, Stay::Priority(pod.priority)),
        ];
        if let Some((_, why)) = flags.into_iter().find(|(holds, _)| *holds) {
            return Some(why);
        }
        let mut covering = self.budgets.iter().filter(|budget| budget.covers(pod));
        match (covering.next(), covering.next()) {
            (Some(_), Some(_)) => Some(Stay::Budgets),
            (Some(budget), None) if budget.allowed == 0 => Some(Stay::Budget(budget.name.clone())),
            _ => unplaced(node, pod),
        }
    }
}

/// Why nothing is gained by moving the instances of a pod, or why it is not known where they are.
fn unplaced(node: &Node, pod: &Pod) -> Option<Stay> {
    if pod.request.slices.is_empty() {
        return None;
    }
    if node.is_silent {
        return Some(Stay::Closed);
    }
    let Some(placement) = node.placement(pod) else { return Some(Stay::Unplaced) };
    for device in &placement.devices {
        let gpu = node.gpus.iter().find(|gpu| gpu.index == device.gpu)?;
        if gpu.occupancy == Occupancy::CLOSED {
            return Some(Stay::Closed);
        }
        let is_it = |instance: &&crate::model::Instance| {
            instance.start == device.start && instance.pod.as_ref() == Some(&pod.key)
        };
        if gpu.instances.iter().find(is_it).is_none_or(|instance| instance.knowledge != Knowledge::Known) {
            return Some(Stay::Unplaced);
        }
    }
    (placement.devices.len() != pod.request.slices.len()).then_some(Stay::Unplaced)
}

/// Pods that stood in the way and stay.
#[derive(Debug, Default)]
pub(super) struct Ledger(BTreeMap<PodKey, (Arc<str>, Stay)>);

impl Ledger {
    /// Notes those of the seats that stay; says whether there is any.
    pub(super) fn note<'s>(&mut self, seats: impl IntoIterator<Item = &'s Seat>) -> bool {
        let mut is_any = false;
        for seat in seats {
            if let Some(why) = &seat.stay {
                is_any = true;
                self.0.entry(seat.pod.key.clone()).or_insert_with(|| (seat.at.node.clone(), why.clone()));
            }
        }
        is_any
    }

    pub(super) fn kept(self) -> Vec<Kept> {
        self.0.into_iter().map(|(pod, (node, why))| Kept { pod, node, why }).collect()
    }
}
