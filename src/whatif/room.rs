//! What room for a pod costs where it has none: moves of other pods, or evictions of pods of lower priority.

use std::sync::Arc;

use super::batch::{batch, unbound};
use super::near::near;
use crate::model::{Cluster, Pod, Policy};
use crate::preempt::{Eviction, victims};
use crate::repack::{Allowance, Ask, Budget, Goal, Limits, Plan, repack, stays};
use crate::solver::exact::Effort;
use crate::solver::{Query, Scores, evaluate, helped_by_eviction, intree_refusal};

/// What a search came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Search<T> {
    /// This.
    Found(T),
    /// There is none, and that is certain.
    Nothing,
    /// It ended at its bound; there may be one.
    Unknown,
}

impl<T> Search<T> {
    /// What was found.
    pub fn found(&self) -> Option<&T> {
        match self {
            Self::Found(found) => Some(found),
            Self::Nothing | Self::Unknown => None,
        }
    }
}

/// Nodes among which pods are moved.
const MOVE_NODES_MAX: usize = 16;
/// Moves for one pod: beyond, an eviction does less harm.
const MOVES_MAX: u32 = 8;
/// Nodes on which victims are looked for.
const VICTIM_NODES_MAX: usize = 64;
/// Pods that may move where it is to be proved that no moves help: the program follows their kinds.
const PROOF_PODS_MAX: usize = 64;
/// Seconds for that proof.
const PROOF_SECONDS: f64 = 0.02;

/// Which pods to move so that all of these find a place, none of which has one.
pub fn moves(cluster: &Cluster, scores: &Scores, pods: &[Arc<Pod>], budgets: &[Budget]) -> Search<Plan> {
    let Some(first) = pods.first() else { return Search::Nothing };
    let query = Query::new(cluster, scores, first, Policy::Pack);
    let near = near(cluster, scores, first, &query, MOVE_NODES_MAX, |_| true);
    let goal = Goal::Room { pods: pods.to_vec(), is_gang: true };
    let most = MOVES_MAX.saturating_mul(u32::try_from(pods.len()).unwrap_or(u32::MAX));
    let limits = Limits { all: Allowance { moves: Some(most), memory_mib: None }, ..Limits::default() };
    let ask = Ask { goal: &goal, limits: &limits, budgets, effort: None };
    match repack(&near.cluster, scores, &ask) {
        Ok(plan) if plan.is_reached => Search::Found(plan),
        _ if near.is_all && is_hopeless(&near.cluster, scores, pods, budgets) => Search::Nothing,
        _ => Search::Unknown,
    }
}

/// Whether it is certain that no moves help: not even where all that may move could be placed anew at once.
fn is_hopeless(cluster: &Cluster, scores: &Scores, pods: &[Arc<Pod>], budgets: &[Budget]) -> bool {
    let mut bare = cluster.clone();
    let mut all: Vec<Arc<Pod>> = pods.iter().map(|pod| unbound(pod)).collect();
    for index in cluster.indices() {
        let node = cluster.node(index);
        let may_move = |pod: &Pod| !pod.request.is_empty() && stays(node, pod, budgets).is_none();
        let movable = node.pods.iter().filter(|pod| may_move(pod));
        all.extend(movable.map(|pod| unbound(pod)));
        if all.len() > PROOF_PODS_MAX {
            return false;
        }
        bare.put(node.without(may_move).into());
    }
    let (verdict, ..) = batch(bare, scores, Policy::Pack, &all, Effort::seconds(PROOF_SECONDS));
    !verdict.fits && verdict.is_proved
}

/// What an eviction does: how many victims, the highest priority among them; equals by the node's name.
type Harm = (usize, i32, Arc<str>);

/// Whom to evict on one node so that the pod fits there: the fewest that are found, of the lowest priority.
pub fn evictions(cluster: &Cluster, scores: &Scores, policy: Policy, pod: &Pod) -> Search<Eviction> {
    let query = Query::new(cluster, scores, pod, policy);
    let may_help = |index| {
        let node = cluster.node(index);
        let is_lower = node.pods.iter().any(|other| other.priority < pod.priority);
        is_lower && evaluate(cluster.row(index), &query).err().is_none_or(|refusal| !refusal.is_final())
    };
    let near = near(cluster, scores, pod, &query, VICTIM_NODES_MAX, may_help);
    let query = Query::new(&near.cluster, scores, pod, policy);
    let mut best: Option<(Harm, Eviction)> = None;
    for index in near.cluster.indices() {
        let node = near.cluster.node(index);
        if !helped_by_eviction(&near.cluster, index, &query, pod.priority)
            || intree_refusal(pod, &node.without(|other| other.priority < pod.priority)).is_some()
        {
            continue;
        }
        let Some(uids) = victims(&near.cluster, scores, policy, pod, index, &[]) else { continue };
        let mut victims: Vec<Arc<Pod>> =
            node.pods.iter().filter(|other| uids.contains(&other.uid)).cloned().collect();
        victims.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.key.cmp(&b.key)));
        let dearest = victims.first().map_or(i32::MIN, |victim| victim.priority);
        let rank = (victims.len(), dearest, node.facts.name.clone());
        if !victims.is_empty() && best.as_ref().is_none_or(|(least, _)| rank < *least) {
            best = Some((rank, Eviction { node: node.facts.name.clone(), victims }));
        }
    }
    match best {
        Some((_, eviction)) => Search::Found(eviction),
        None if near.is_all => Search::Nothing,
        None => Search::Unknown,
    }
}
