//! `POST /v1/repack`: a goal and its limits in, a plan out.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::document::Head;
use super::dryrun::{pods_beside, request_words};
use super::placement::DeviceForm;
use super::{BUDGET_KIND, BudgetObject, Dialect, ObjectError, budget};
use crate::model::{Pod, PodKey};
use crate::repack::{Allowance, Budget, Figures, Goal, Kept, Limits, Plan, Spot, Step};
use crate::units::Quantity;

/// The question, as the query of the URL has it; each key is also a flag of `tangram repack`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Question {
    /// So many more empty GPUs.
    pub gpus: Option<u32>,
    /// So many more nodes without GPU pods.
    pub nodes: Option<u32>,
    /// At most so much fragmentation cost.
    pub fragmentation: Option<f64>,
    /// At most so many stranded memory slices.
    pub stranded: Option<u32>,
    /// Room for all of the pods, or nothing.
    pub gang: bool,
    /// Moves.
    pub moves_max: Option<u32>,
    /// GPU memory that moves, as a quantity.
    pub memory_max: Option<String>,
    /// Moves in each namespace.
    pub namespace_moves_max: Option<u32>,
    /// GPU memory that moves in each namespace.
    pub namespace_memory_max: Option<String>,
    /// Pods of higher priority stay.
    pub priority_max: Option<i32>,
    /// Seconds for the exact answer; 0 for the greedy one alone.
    pub time_limit: Option<f64>,
}

impl Question {
    /// Seconds for the exact answer unless something else is said.
    pub const SECONDS: f64 = 5.0;
    /// Seconds that nobody is given more than: a request must end.
    const SECONDS_MAX: f64 = 300.0;

    /// The question as the query of a URL.
    pub fn query(&self) -> String {
        fn pair(name: &str, value: Option<&impl ToString>) -> Option<String> {
            // `+` and `%` mean something else in a query; no other sign of a quantity does.
            let value = value?.to_string().replace('%', "%25").replace('+', "%2B").replace('&', "%26");
            Some(format!("{name}={value}"))
        }
        let pairs = [
            pair("gpus", self.gpus.as_ref()),
            pair("nodes", self.nodes.as_ref()),
            pair("fragmentation", self.fragmentation.as_ref()),
            pair("stranded", self.stranded.as_ref()),
            pair("gang", Some(&self.gang).filter(|gang| **gang)),
            pair("movesMax", self.moves_max.as_ref()),
            pair("memoryMax", self.memory_max.as_ref()),
            pair("namespaceMovesMax", self.namespace_moves_max.as_ref()),
            pair("namespaceMemoryMax", self.namespace_memory_max.as_ref()),
            pair("priorityMax", self.priority_max.as_ref()),
            pair("timeLimit", self.time_limit.as_ref()),
        ];
        pairs.into_iter().flatten().collect::<Vec<_>>().join("&")
    }

    /// The goal: one of those that are named, or room for the pods.
    ///
    /// # Errors
    /// None or several are there, or one makes no sense; says which.
    pub fn goal(&self, pods: Vec<Arc<Pod>>) -> Result<Goal, String> {
        if self.fragmentation.is_some_and(|most| !most.is_finite() || most < 0.0) {
            return Err("fragmentation: a number of memory slices, 0 or more".to_owned());
        }
        let room = (!pods.is_empty()).then_some(Goal::Room { pods, is_gang: self.gang });
        if self.gang && room.is_none() {
            return Err("gang: there are no pods to make room for".to_owned());
        }
        let goals = [
            self.gpus.map(Goal::Gpus),
            self.nodes.map(Goal::Nodes),
            self.fragmentation.map(Goal::Lost),
            self.stranded.map(Goal::Stranded),
            room,
        ];
        let mut goals = goals.into_iter().flatten();
        match (goals.next(), goals.next()) {
            (Some(goal), None) => Ok(goal),
            (None, _) => {
                Err("no goal: gpus, nodes, fragmentation, stranded, or pods to make room for".to_owned())
            }
            (Some(_), Some(_)) => {
                Err("one goal at a time: gpus, nodes, fragmentation, stranded, or pods to make room for"
                    .to_owned())
            }
        }
    }

    /// What may be moved.
    ///
    /// # Errors
    /// An amount of memory that is no quantity.
    pub fn limits(&self) -> Result<Limits, String> {
        let memory = |name: &str, text: &Option<String>| {
            let mib = |text: &String| match Quantity::parse(text) {
                Ok(bytes) => Ok(u64::try_from(bytes.units_rounded_up() >> 20).unwrap_or(0)),
                Err(why) => Err(format!("{name}: {text:?} is {why}")),
            };
            text.as_ref().map(mib).transpose()
        };
        Ok(Limits {
            all: Allowance { moves: self.moves_max, memory_mib: memory("memoryMax", &self.memory_max)? },
            per_namespace: Allowance {
                moves: self.namespace_moves_max,
                memory_mib: memory("namespaceMemoryMax", &self.namespace_memory_max)?,
            },
            priority_max: self.priority_max,
        })
    }

    /// Seconds for the exact answer; `None` for the greedy one alone.
    ///
    /// # Errors
    /// A number that is no time.
    pub fn seconds(&self) -> Result<Option<f64>, String> {
        let seconds = self.time_limit.unwrap_or(Self::SECONDS);
        if !(0.0..=Self::SECONDS_MAX).contains(&seconds) {
            return Err(format!("timeLimit: {seconds} is not from 0 to {} seconds", Self::SECONDS_MAX));
        }
        Ok(Some(seconds).filter(|seconds| *seconds > 0.0))
    }
}

/// What goes with a question.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Objects {
    /// The pods that room is to be made for.
    pub pods: Vec<Arc<Pod>>,
    /// `PodDisruptionBudget`s.
    pub budgets: Vec<Budget>,
}

/// Reads the pods that room is to be made for, and `PodDisruptionBudget`s, in any order; both may be absent.
///
/// # Errors
/// Every object that cannot be read, by name and field.
pub fn repack_objects(body: &[u8], dialect: &Dialect) -> Result<Objects, Vec<String>> {
    if body.trim_ascii().is_empty() {
        return Ok(Objects::default());
    }
    let mut budgets = Vec::new();
    let pods = pods_beside(body, dialect, |head: &Head, text: &str| {
        if head.kind != BUDGET_KIND {
            return Ok(false);
        }
        let object: BudgetObject = serde_json::from_str(text)
            .map_err(|error| ObjectError::new(BUDGET_KIND, "document", error.to_string()))?;
        budgets.extend(budget(&object)?);
        Ok(true)
    })?;
    Ok(Objects { pods, budgets })
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepackView {
    /// Whether the goal is reached after the last step.
    pub reached: bool,
    /// Whether it is proved that no moves reach it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub impossible: bool,
    /// Number of steps.
    pub moves: usize,
    /// GPU memory of the pods that move.
    pub moved_mib: u64,
    /// The least that has to move, as far as proved.
    pub bound_mib: u64,
    /// Part of the moved memory that is not proved necessary, 0 to 1.
    pub gap: f64,
    /// `greedy` or `exact`.
    pub method: String,
    /// To be carried out in this order.
    pub steps: Vec<StepView>,
    /// The pods that room was to be made for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<RoomView>,
    /// Before the first step.
    pub before: FiguresView,
    /// After the last step, with the pods that room was made for.
    pub after: FiguresView,
    /// Pods that would have helped and stay.
    pub stays: Vec<StayView>,
}

/// One move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// Namespace.
    pub namespace: String,
    /// Name; whoever makes the pod anew may name it otherwise.
    pub name: String,
    /// What it asks for, in words.
    pub request: String,
    /// Its GPU memory.
    pub memory_mib: u64,
    /// Where it is.
    pub from: SpotView,
    /// Where it goes.
    pub to: SpotView,
    /// Whether it only makes way, and moves again later.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub detour: bool,
}

/// A place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpotView {
    /// Node.
    pub node: String,
    /// GPU instances; none for counted devices, which are the kubelet's choice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceForm>,
}

/// A pod that room was to be made for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoomView {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// What it asks for, in words.
    pub request: String,
    /// Its place after the last step, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<SpotView>,
}

/// A pod that would have helped and stays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StayView {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Its node.
    pub node: String,
    /// Why it stays.
    pub reason: String,
}

/// Figures of the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FiguresView {
    /// Dynamic GPUs that can be used.
    pub gpus: u32,
    /// Those of them without a GPU instance.
    pub empty_gpus: u32,
    /// Nodes with GPUs of any kind.
    pub nodes: u32,
    /// Those of them without a pod that asks for one.
    pub empty_nodes: u32,
    /// Free memory slices of dynamic GPUs, in NVML's unit.
    pub free_memory_slices: u32,
    /// Those of them that no profile of the demand can use.
    pub stranded_memory_slices: u32,
    /// Those that a request drawn from the demand is expected not to be able to use.
    pub fragmentation_cost: f64,
}

impl RepackView {
    /// The answer for a plan.
    pub fn new(goal: &Goal, plan: &Plan) -> Self {
        let pods: &[Arc<Pod>] = if let Goal::Room { pods, .. } = goal { pods } else { &[] };
        let room = |(pod, place): (&Arc<Pod>, &Option<Spot>)| RoomView {
            namespace: pod.key.namespace.to_string(),
            name: pod.key.name.to_string(),
            request: request_words(pod),
            place: place.as_ref().map(SpotView::from),
        };
        Self {
            reached: plan.is_reached,
            impossible: plan.is_impossible,
            moves: plan.steps.len(),
            moved_mib: plan.proof.cost,
            bound_mib: plan.proof.bound,
            gap: plan.proof.gap(),
            method: if plan.is_exact { "exact" } else { "greedy" }.to_owned(),
            steps: plan.steps.iter().map(StepView::from).collect(),
            pods: pods.iter().zip(&plan.places).map(room).collect(),
            before: FiguresView::from(&plan.before),
            after: FiguresView::from(&plan.after),
            stays: plan.kept.iter().map(StayView::from).collect(),
        }
    }
}

impl StepView {
    /// The pod's namespace and name.
    pub fn key(&self) -> PodKey {
        PodKey { namespace: self.namespace.as_str().into(), name: self.name.as_str().into() }
    }
}

impl From<&Step> for StepView {
    fn from(step: &Step) -> Self {
        Self {
            namespace: step.pod.key.namespace.to_string(),
            name: step.pod.key.name.to_string(),
            request: request_words(&step.pod),
            memory_mib: step.memory_mib,
            from: SpotView::from(&step.from),
            to: SpotView::from(&step.to),
            detour: step.is_detour,
        }
    }
}

impl From<&Spot> for SpotView {
    fn from(spot: &Spot) -> Self {
        let devices = spot.placement.devices.iter().map(DeviceForm::from).collect();
        Self { node: spot.node.to_string(), devices }
    }
}

impl From<&Kept> for StayView {
    fn from(kept: &Kept) -> Self {
        Self {
            namespace: kept.pod.namespace.to_string(),
            name: kept.pod.name.to_string(),
            node: kept.node.to_string(),
            reason: kept.why.to_string(),
        }
    }
}

impl From<&Figures> for FiguresView {
    fn from(figures: &Figures) -> Self {
        Self {
            gpus: figures.gpus,
            empty_gpus: figures.empty_gpus,
            nodes: figures.nodes,
            empty_nodes: figures.empty_nodes,
            free_memory_slices: figures.free,
            stranded_memory_slices: figures.stranded,
            fragmentation_cost: figures.lost,
        }
    }
}
