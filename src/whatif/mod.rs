//! What would be: pods placed on a copy of the cluster, which nothing else sees, after hypothetical changes.
//!
//! ```text
//! machines  the clouds' usual GPU machines
//! grow      nodes that are not there yet
//! leave     which pods leave a node that changes
//! cut       a node's GPUs cut anew
//! change    changes one after another
//! loads     what nodes may hold of a batch
//! batch     all pods, or none
//! near      the part of a large cluster in which room is looked for
//! room      what room costs: moves, evictions
//! summary   free and lost capacity
//! ```
//!
//! Pods that changes turn out are placed first, then those asked about in their order, and last the ones that were
//! evicted to make way. Nothing here changes the cluster that is given.

mod batch;
mod change;
mod cut;
mod grow;
mod leave;
mod loads;
mod machines;
mod near;
mod room;
mod summary;

use std::sync::Arc;

pub use batch::unbound;
pub use batch::{Verdict, batch};
pub use change::{Change, ChangeError, Changed, LEAVERS_MAX, NODES_MAX, change};
pub use cut::Cut;
pub use grow::{HOSTNAME, INSTANCE_TYPE, Template};
pub use leave::{Fate, Leaver};
pub use loads::{Bound, KINDS_MAX, LOADS_MAX, MIXED_MAX, SHELVES_MAX};
pub use machines::{MACHINES, Machine, Source};
pub use room::{Search, evictions, moves};
pub use summary::Summary;

use crate::model::{Cluster, Pod, Policy};
use crate::plan::{Planned, plan};
use crate::preempt::Eviction;
use crate::repack::{Budget, Plan};
use crate::solver::Scores;
use crate::solver::exact::Effort;

/// A question.
#[derive(Debug, Clone, Default)]
pub struct Scenario {
    /// What is changed first.
    pub changes: Vec<Change>,
    /// The pods to place.
    pub pods: Vec<Arc<Pod>>,
    /// All or nothing, with so much effort for the exact answer; else one after another.
    pub batch: Option<Effort>,
    /// `PodDisruptionBudget`s, which drains keep.
    pub budgets: Vec<Budget>,
    /// Whether to say what room costs for the pods that have none.
    pub wants_room: bool,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Names of the nodes that were added.
    pub added: Vec<Arc<str>>,
    /// The pods that changes concern, each with its new place where it needs one.
    pub leavers: Vec<(Leaver, Option<Planned>)>,
    /// The pods that were asked about, in their order.
    pub planned: Vec<Planned>,
    /// Of a batch.
    pub verdict: Option<Verdict>,
    /// The cluster as it is, after the changes, and with the pods.
    pub summaries: [Summary; 3],
    /// What room costs for those that have no place, if it was asked.
    pub room: Option<Room>,
    /// The cluster with the pods.
    pub after: Cluster,
}

/// What room costs for pods that have no place.
#[derive(Debug, Clone)]
pub struct Room {
    /// How many of the pods it is about: the first that have no place.
    pub pods: usize,
    /// Moves that make room for all of them.
    pub moves: Search<Plan>,
    /// For each alone, in their order: whom to evict.
    pub evictions: Vec<(Arc<Pod>, Search<Eviction>)>,
}

/// Pods that room is looked for at once.
pub const ROOM_PODS_MAX: usize = 8;

/// Answers a question.
///
/// # Errors
/// A change that cannot be.
pub fn answer(
    cluster: &Cluster,
    scores: &Scores,
    policy: Policy,
    scenario: &Scenario,
) -> Result<Answer, ChangeError> {
    let before = Summary::of(cluster, scores);
    let Changed { cluster: changed, added, leavers } = change(cluster, &scenario.changes, &scenario.budgets)?;
    let summary = if scenario.changes.is_empty() { before } else { Summary::of(&changed, scores) };
    let of_fate = |fate: &Fate| -> Vec<Arc<Pod>> {
        leavers.iter().filter(|leaver| leaver.fate == *fate).map(|leaver| unbound(&leaver.pod)).collect()
    };
    let (first, last) = (of_fate(&Fate::Moves), of_fate(&Fate::MakesWay));
    let all: Vec<Arc<Pod>> = first.iter().chain(&scenario.pods).cloned().collect();
    let (verdict, mut planned, mut after) = if let Some(effort) = scenario.batch {
        let (verdict, planned, after) = batch(changed, scores, policy, &all, effort);
        (Some(verdict), planned, after)
    } else {
        let (planned, after) = plan(changed, scores, policy, all);
        (None, planned, after)
    };
    let asked = planned.split_off(first.len());
    let room = scenario.wants_room.then(|| make_room(&after, scores, policy, &asked, &scenario.budgets));
    let (made_way, with_all) = plan(after, scores, policy, last);
    after = with_all;
    let (mut moved, mut made_way) = (planned.into_iter(), made_way.into_iter());
    let with_place = |leaver: Leaver| {
        let place = match leaver.fate {
            Fate::Moves => moved.next(),
            Fate::MakesWay => made_way.next(),
            Fate::Stays(_) | Fate::OfNode(_) | Fate::Lost(_) | Fate::Ends => None,
        };
        (leaver, place)
    };
    let leavers = leavers.into_iter().map(with_place).collect();
    let summaries = [before, summary, Summary::of(&after, scores)];
    Ok(Answer { added, leavers, planned: asked, verdict, summaries, room, after })
}

fn make_room(
    cluster: &Cluster,
    scores: &Scores,
    policy: Policy,
    planned: &[Planned],
    budgets: &[Budget],
) -> Room {
    let waiting = planned.iter().filter(|planned| planned.outcome.is_err());
    let pods: Vec<Arc<Pod>> = waiting.take(ROOM_PODS_MAX).map(|planned| planned.pod.clone()).collect();
    let evict = |pod: &Arc<Pod>| (pod.clone(), evictions(cluster, scores, policy, pod));
    Room {
        pods: pods.len(),
        moves: moves(cluster, scores, &pods, budgets),
        evictions: pods.iter().map(evict).collect(),
    }
}
