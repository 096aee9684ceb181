//! Which pods to move so that GPUs or nodes become empty, pods that wait find room, or less capacity is
//! stranded. A plan only: nothing here changes anything.
//!
//! ```text
//! budget   PodDisruptionBudgets
//! stay     which pods may be moved, and why the others not
//! figures  what a cluster has empty and what it has lost
//! work     the cluster as it becomes, step by step: seats, steps, what is spent
//! clear    greedy: GPUs or nodes that hold least are emptied
//! room     greedy: the windows that are cheapest to clear, for pods that wait
//! settle   greedy: pods on the GPUs that lose most are placed anew
//! exact    the configuration-flow program, and its answer as moves of pods
//! replay   moves one after the other, each by the rules
//! check    every step of a finished plan once more, on the cluster as it was
//! ```
//!
//! Every moved pod has its place before it leaves: a step is legal only while the pod still holds the old one.
//! Pods are placed by the same solver as everywhere, with the policy `pack`; CPU, memory, selectors and taints
//! are asked of each new place. What matters is moved GPU memory: a plan is the cheapest that was found, and
//! says how much of it is proved to be necessary.
//!
//! Each step disrupts one pod and the next waits for its replacement, so a `PodDisruptionBudget` that allows one
//! eviction allows any number of steps.

mod budget;
mod check;
mod clear;
mod exact;
mod figures;
mod replay;
mod room;
mod settle;
mod stay;
mod work;

use std::sync::Arc;

pub use budget::Budget;
pub use check::Fault;
pub use figures::Figures;
pub use replay::{Move, replay};
pub use stay::{Kept, Stay};

use crate::model::{Cluster, Node, Placement, Pod};
use crate::solver::Scores;
use crate::solver::exact::{Effort, Proof};
use stay::{Ledger, Rules};
use work::Work;

/// What the moves are for.
#[derive(Debug, Clone, PartialEq)]
pub enum Goal {
    /// So many more dynamic GPUs without any GPU instance.
    Gpus(u32),
    /// So many more nodes that have GPUs, and no pod that asks for one.
    Nodes(u32),
    /// Places for these pods, in their order.
    Room {
        /// The pods.
        pods: Vec<Arc<Pod>>,
        /// Whether room for some of them is worth nothing.
        is_gang: bool,
    },
    /// At most so many free memory slices that no profile of the demand can use.
    Stranded(u32),
    /// At most so many free memory slices that a request drawn from the demand is expected not to be able to use.
    Lost(f64),
}

/// What may be moved, and how much of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub all: Allowance,
    /// In each namespace.
    pub per_namespace: Allowance,
    /// Pods of higher priority stay.
    pub priority_max: Option<i32>,
}

/// Bounds on moves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Moves.
    pub moves: Option<u32>,
    /// GPU memory of the pods that move, in MiB.
    pub memory_mib: Option<u64>,
}

/// The question.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// What for.
    pub goal: &'a Goal,
    /// How much.
    pub limits: &'a Limits,
    /// `PodDisruptionBudget`s of the cluster.
    pub budgets: &'a [Budget],
    /// How long the exact program may look for fewer moves; `None`: greedy alone.
    pub effort: Option<Effort>,
}

/// Where a pod is or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// The node.
    pub node: Arc<str>,
    /// Its GPU instances; empty for a pod of counted devices only, which are the kubelet's choice.
    pub placement: Placement,
}

/// One pod goes from one place to another, which is free before it leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The pod as it was before the first step.
    pub pod: Arc<Pod>,
    /// Where it is.
    pub from: Spot,
    /// Where it goes.
    pub to: Spot,
    /// Its GPU memory in MiB.
    pub memory_mib: u64,
    /// Whether it only makes way, and moves again later: in a cycle, each waits for another to leave.
    pub is_detour: bool,
}

/// A repack.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Whether the goal is reached after the last step.
    pub is_reached: bool,
    /// Whether it is proved that no moves of the pods that may move reach it.
    pub is_impossible: bool,
    /// To be carried out in this order.
    pub steps: Vec<Step>,
    /// For [`Goal::Room`]: the place of each pod, free after the last step.
    pub places: Vec<Option<Spot>>,
    /// Before the first step.
    pub before: Figures,
    /// After the last step.
    pub after: Figures,
    /// GPU memory that moves, in MiB, and the least that has to as far as proved. Nothing is proved of a
    /// fragmentation, and of a goal that is not reached.
    pub proof: Proof,
    /// Whether the steps are those of the exact program.
    pub is_exact: bool,
    /// Pods that would have helped and stay.
    pub kept: Vec<Kept>,
}

/// Plans the moves.
///
/// # Errors
/// The plan broke a rule when it was replayed: a defect of Tangram, and the plan is not given.
pub fn repack(cluster: &Cluster, scores: &Scores, ask: &Ask<'_>) -> Result<Plan, Fault> {
    let rules = Rules { priority_max: ask.limits.priority_max, budgets: ask.budgets };
    let mut ledger = Ledger::default();
    let start = Work::new(cluster, scores, rules, ask.limits);
    let (greedy, places) = match ask.goal {
        Goal::Gpus(_) | Goal::Nodes(_) => (clear::clear(&start, ask.goal, &mut ledger), Vec::new()),
        Goal::Room { pods, is_gang } => room::room(&start, pods, *is_gang, &mut ledger),
        Goal::Stranded(_) | Goal::Lost(_) => (settle::settle(&start, ask.goal, &mut ledger), Vec::new()),
    };
    let greedy = greedy.straightened(&start);
    let mut plan = Plan::new(ask.goal, &start, &greedy, places);
    plan.proof.bound = clear::bound(&start, ask.goal);
    if let Some(effort) = ask.effort.filter(|_| !(plan.is_reached && plan.proof.is_optimal())) {
        let exact = exact::exact(&start, ask.goal, effort);
        plan.proof.bound = plan.proof.bound.max(exact.bound);
        plan.is_impossible = exact.is_impossible && !plan.is_reached;
        if let Some((work, places)) = exact.answer {
            let found = Plan { is_exact: true, ..Plan::new(ask.goal, &start, &work, places) };
            if found.is_reached && (!plan.is_reached || found.proof.cost < plan.proof.cost) {
                let bound = plan.proof.bound;
                plan = Plan { proof: Proof { bound, ..found.proof }, ..found };
            }
        }
    }
    let is_proved = plan.is_reached;
    plan.proof.bound = if is_proved { plan.proof.bound.min(plan.proof.cost) } else { 0 };
    plan.kept = ledger.kept();
    check::check(&start, ask.goal, &plan).map_err(|Fault { what }| Fault {
        what: format!("the plan failed its check, which is a defect of Tangram: {what}"),
    })?;
    Ok(plan)
}

/// Why a pod of a node may not be moved; `None` if it may.
pub fn stays(node: &Node, pod: &Pod, budgets: &[Budget]) -> Option<Stay> {
    Rules { priority_max: None, budgets }.stay(node, pod)
}

impl Plan {
    fn new(goal: &Goal, start: &Work<'_>, end: &Work<'_>, places: Vec<Option<Spot>>) -> Self {
        let (before, after) = (Figures::of(&start.cluster, start.scores), end.figures());
        Self {
            is_reached: goal.is_reached(&before, &after, &places),
            is_impossible: false,
            proof: Proof { cost: end.steps.iter().map(|step| step.memory_mib).sum(), bound: 0 },
            steps: end.steps.iter().map(|step| Step::clone(step)).collect(),
            places,
            before,
            after,
            is_exact: false,
            kept: Vec::new(),
        }
    }
}

impl Goal {
    fn is_reached(&self, before: &Figures, after: &Figures, places: &[Option<Spot>]) -> bool {
        match self {
            Self::Gpus(count) => after.empty_gpus >= before.empty_gpus.saturating_add(*count),
            Self::Nodes(count) => after.empty_nodes >= before.empty_nodes.saturating_add(*count),
            Self::Room { .. } => places.iter().all(Option::is_some),
            Self::Stranded(slices) => after.stranded <= *slices,
            Self::Lost(slices) => after.lost <= *slices,
        }
    }
}
