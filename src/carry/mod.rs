//! Carrying a plan out: what has to be done next, by the plan's record and the cluster as it is. Decides, and does
//! nothing.
//!
//! ```text
//!            place kept, UID noted            replacement runs there, pod gone
//!   waiting ----------------------> moving ------------------------------------> done
//!      ^                            evict; wait                                   |
//!      '------------------------------ next step ---------------------------------'
//! ```
//!
//! The record says all that a process has to know which comes after one that died: which step is under way, who it is
//! about, for whom its place is kept. It is written before the first effect of a step, and every effect may happen
//! twice: an eviction names a UID, and a place that is kept is kept again. So nothing is lost between any two steps.

mod accept;

use std::collections::BTreeSet;
use std::sync::Arc;

use thiserror::Error;

pub use accept::{STEPS_MAX, accept, moves_on_demand, take_up};

use crate::model::{Cluster, Hold, Pod, PodKey};
use crate::repack::{Move, replay};
use crate::wire::plans::{HoldForm, MoveState, MoveView, PlanView};

/// Why a plan is not taken up, or not stopped.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Objection {
    /// There is no cluster behind the model.
    #[error("the model is embedded: there is no cluster in which pods could be moved")]
    Embedded,
    /// It is not allowed by the configuration.
    #[error("plans are not carried out here: repack.apply.enabled is false")]
    Disabled,
    /// Another replica leads, or none yet.
    #[error("{0}")]
    NotLeading(String),
    /// Another plan runs.
    #[error("plan {0} is being carried out: one at a time")]
    Busy(String),
    /// The plan makes no sense.
    #[error("{0}")]
    Malformed(String),
    /// The cluster is not the one that the plan was made for.
    #[error("the cluster is not as it was planned for: {0}")]
    Changed(String),
    /// No such plan.
    #[error("there is no plan {0}")]
    Unknown(String),
    /// The record could not be written.
    #[error("the plan could not be recorded: {0}")]
    Unrecorded(String),
}

/// The cluster as one look finds it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Without stand-ins.
    pub cluster: &'a Cluster,
    /// Pods that wait for a node.
    pub waiting: &'a [Arc<Pod>],
}

/// What has to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Step begins: its place is to be kept like this.
    Begin(usize, HoldForm),
    /// The pod of the step is to be evicted.
    Evict(usize, PodKey, Arc<str>),
    /// Somebody else has to do something first; what, in words.
    Wait(usize, String),
    /// The replacement stands at its place and the pod is gone: the step is done once the replacement runs.
    Runs(usize, Arc<Pod>),
    /// The cluster is not as the plan needs it. The model may only be late: not to be believed at once.
    Changed(String),
    /// Every step is done.
    Finished,
}

/// What a running plan needs next.
pub fn next(plan: &PlanView, seen: Seen<'_>) -> Next {
    let Some(at) = plan.current() else { return Next::Finished };
    let step = &plan.steps[at];
    let decided = match step.state {
        MoveState::Done => Ok(Next::Finished),
        MoveState::Waiting => begin(plan, at, seen),
        MoveState::Moving => go_on(plan, at, seen),
    };
    decided.unwrap_or_else(|why| Next::Changed(format!("step {}: {why}", at + 1)))
}

/// Whether the rest of the plan still holds; and for whom its next place is to be kept.
fn begin(plan: &PlanView, at: usize, seen: Seen<'_>) -> Result<Next, String> {
    let rest = plan.steps.iter().enumerate().skip(at).map(|(at, _)| wanted(plan, at));
    let rest = rest.collect::<Option<Vec<Move>>>().ok_or("its place cannot be read")?;
    // Whether a budget allows the eviction is the API server's to say, when it is asked for it.
    replay(seen.cluster, &[], &rest).map_err(|fault| match rest.len() {
        1 => fault.what.trim_start_matches("step 1: ").to_owned(),
        _ => format!("of the steps that are left, {}", fault.what),
    })?;
    let Move { pod: key, from, .. } = &rest[0];
    let pod = seen.cluster.get(&from.node).and_then(|node| node.pod(key)).ok_or("its pod is gone")?;
    if plan.steps[at].uid != *pod.uid && pod_of(plan, at).0 == plan.steps[at].key() {
        return Err(format!("{key} was made anew since"));
    }
    let is_sibling = |other: &&Arc<Pod>| {
        other.key.namespace == key.namespace && other.mobility.controller == pod.mobility.controller
    };
    let standing = seen.cluster.indices().flat_map(|index| &seen.cluster.node(index).pods);
    let besides = seen.waiting.iter().chain(standing).filter(is_sibling);
    let besides: BTreeSet<Arc<str>> = besides.map(|other| other.uid.clone()).collect();
    let hold = HoldForm::new(pod, &besides).ok_or("no controller would make it anew")?;
    Ok(Next::Begin(at, hold))
}

fn go_on(plan: &PlanView, at: usize, seen: Seen<'_>) -> Result<Next, String> {
    let step = &plan.steps[at];
    let hold = step.hold().ok_or("its place cannot be read")?;
    let (key, uid) = pod_of(plan, at);
    let target = seen.cluster.get(&hold.node).ok_or_else(|| format!("there is no node {}", hold.node))?;
    let old = seen.cluster.get(&step.from.node).and_then(|node| node.pod(&key)).filter(|pod| pod.uid == uid);
    let taken = hold.taken_by(target);
    if let Some(old) = old.filter(|old| !old.is_terminating) {
        if taken.is_some() {
            // A pod that came between the record and the eviction: its owner has one more, and this one stays.
            return Err(format!("another pod of the owner of {key} took the place"));
        }
        let this = wanted(plan, at).ok_or("its place cannot be read")?;
        replay(seen.cluster, &[], std::slice::from_ref(&this))
            .map_err(|fault| fault.what.trim_start_matches("step 1: ").to_owned())?;
        return Ok(Next::Evict(at, old.key.clone(), old.uid.clone()));
    }
    let Some(replacement) = taken else {
        return arriving(at, &key, &hold, old, seen);
    };
    if old.is_some() {
        return Ok(Next::Wait(at, format!("{key} is ending")));
    }
    Ok(Next::Runs(at, replacement.clone()))
}

/// What a replacement that is not at its place is doing.
fn arriving(
    at: usize,
    key: &PodKey,
    hold: &Hold,
    old: Option<&Arc<Pod>>,
    seen: Seen<'_>,
) -> Result<Next, String> {
    for index in seen.cluster.indices() {
        let node = seen.cluster.node(index);
        if let Some(pod) = node.pods.iter().find(|pod| hold.is_for(pod)) {
            return Err(format!("the replacement {} went to {}", pod.key, node.facts.name));
        }
    }
    let replacement = seen.waiting.iter().find(|pod| hold.is_for(pod));
    Ok(Next::Wait(
        at,
        match (replacement, old) {
            (Some(pod), _) => format!("the replacement {} is not bound yet", pod.key),
            (None, Some(_)) => format!("{key} is ending"),
            (None, None) => format!("nobody has made a replacement of {key} yet"),
        },
    ))
}

/// The pod of a step: the one that was planned for, or what an earlier step of it made.
pub fn pod_of(plan: &PlanView, at: usize) -> (PodKey, Arc<str>) {
    let step = &plan.steps[at];
    let mut earlier = plan.steps[..at].iter().rev().filter(|earlier| earlier.key() == step.key());
    let replacement = earlier.find_map(|earlier| earlier.replacement.as_ref());
    match replacement {
        Some(replacement) => {
            let (namespace, name) = (step.namespace.as_str().into(), replacement.name.as_str().into());
            (PodKey { namespace, name }, replacement.uid.as_str().into())
        }
        None => (step.key(), step.uid.as_str().into()),
    }
}

fn wanted(plan: &PlanView, at: usize) -> Option<Move> {
    let MoveView { from, to, .. } = &plan.steps[at];
    Some(Move { pod: pod_of(plan, at).0, from: from.spot()?, to: to.spot()? })
}
