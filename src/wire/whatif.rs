//! The parts of a dry run's answer beside the pods: what changes did, whether a batch fits, what room costs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::dryrun::{DryRun, PodPlan, request_words};
use super::repack::RepackView;
use crate::model::Pod;
use crate::plan::Planned;
use crate::preempt::Eviction;
use crate::repack::{Goal, Plan};
use crate::whatif::{Answer, Bound, Fate, Leaver, Room, Search, Summary, Verdict};

/// Whether a batch fits as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchView {
    /// Whether every pod has a place.
    pub fits: bool,
    /// `greedy` or `exact`: which found the places.
    pub method: String,
    /// Whether it is proved: that no places are cheaper, or that there are none.
    pub proved: bool,
    /// Which bound the exact answer met: `podKinds`, `nodeKinds`, `loads` or `time`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<String>,
}

/// Free and lost capacity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapacityView {
    /// Free memory slices of dynamic GPUs, in NVML's unit.
    pub free_memory_slices: u32,
    /// Those of them that no profile of the demand can use.
    pub stranded_memory_slices: u32,
    /// Those that a request drawn from the demand is expected not to be able to use.
    pub fragmentation_cost: f64,
    /// Free whole GPUs, of any vendor.
    pub free_gpus: u32,
    /// Those of them that a job of several GPUs on one node is expected not to be able to use.
    pub fragmentation_gpus: f64,
}

/// Capacity along the way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FragmentationChange {
    /// As it is.
    pub before: CapacityView,
    /// After the changes, before any pod has a new place.
    pub changed: CapacityView,
    /// With the pods.
    pub after: CapacityView,
}

/// A pod of a node that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DisplacedView {
    /// Its node before.
    pub from: String,
    /// What becomes of it: `moves`, `nowhere` (it has no other place), `stays`, `ofNode` (a `DaemonSet`'s, or static),
    /// `lost` (nobody makes it anew) or `ends` (it is being deleted).
    pub fate: String,
    /// Why it stays, or is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether volumes, pod affinity or spread constraints may forbid the new place: they are not modelled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unmodelled: bool,
    /// The pod, with its new place or the reasons why there is none.
    pub pod: PodPlan,
}

/// What room costs for pods that have none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoomCost {
    /// How many pods it is about: the first without a place.
    pub pods: usize,
    /// `found`, `none` (it is certain that no moves help) or `unknown` (the search ended at its bound).
    pub moves: String,
    /// The moves that make room for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<RepackView>,
    /// For each of them alone, in their order.
    pub evictions: Vec<EvictionView>,
}

/// Whom to evict for a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EvictionView {
    /// Namespace of the pod that waits.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `found`, `none` or `unknown`.
    pub outcome: String,
    /// The node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The victims, dearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub victims: Vec<VictimView>,
}

/// A pod to evict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VictimView {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Its priority.
    pub priority: i32,
    /// What it asks for, in words.
    pub request: String,
}

impl DryRun {
    /// The answer to a question on a snapshot of this generation and age; a file has neither.
    pub fn answer(answer: &Answer, generation: Option<u64>, model_age_ms: Option<u64>) -> Self {
        let [before, changed, after] = &answer.summaries;
        Self {
            generation,
            model_age_ms,
            added_nodes: answer.added.iter().map(ToString::to_string).collect(),
            displaced: answer.leavers.iter().map(DisplacedView::new).collect(),
            batch: answer.verdict.as_ref().map(BatchView::from),
            fragmentation: Some(FragmentationChange {
                before: before.into(),
                changed: changed.into(),
                after: after.into(),
            }),
            room: answer.room.as_ref().map(RoomCost::new),
            ..Self::new(&answer.planned)
        }
    }
}

impl From<&Verdict> for BatchView {
    fn from(verdict: &Verdict) -> Self {
        let bound = verdict.bound.map(|bound| match bound {
            Bound::Kinds => "podKinds",
            Bound::Nodes => "nodeKinds",
            Bound::Loads => "loads",
            Bound::Time => "time",
        });
        Self {
            fits: verdict.fits,
            method: if verdict.is_exact { "exact" } else { "greedy" }.to_owned(),
            proved: verdict.is_proved,
            bound: bound.map(str::to_owned),
        }
    }
}

impl From<&Summary> for CapacityView {
    fn from(of: &Summary) -> Self {
        Self {
            free_memory_slices: of.free,
            stranded_memory_slices: of.stranded,
            fragmentation_cost: of.lost,
            free_gpus: of.free_gpus,
            fragmentation_gpus: of.lost_gpus,
        }
    }
}

impl DisplacedView {
    fn new((leaver, planned): &(Leaver, Option<Planned>)) -> Self {
        let has_place = planned.as_ref().is_some_and(|planned| planned.outcome.is_ok());
        let (fate, reason) = match &leaver.fate {
            Fate::Moves | Fate::MakesWay if has_place => ("moves", None),
            Fate::Moves | Fate::MakesWay => ("nowhere", None),
            Fate::Stays(why) => ("stays", Some(why.to_string())),
            Fate::OfNode(why) => ("ofNode", Some(why.to_string())),
            Fate::Lost(why) => ("lost", Some(why.to_string())),
            Fate::Ends => ("ends", None),
        };
        Self {
            from: leaver.node.to_string(),
            fate: fate.to_owned(),
            reason,
            unmodelled: planned.is_some() && leaver.pod.demand.has_unmodelled,
            pod: planned.as_ref().map_or_else(|| PodPlan::bare(&leaver.pod), PodPlan::new),
        }
    }
}

impl RoomCost {
    fn new(room: &Room) -> Self {
        Self {
            pods: room.pods,
            moves: outcome(&room.moves),
            plan: room.moves.found().map(plan_view),
            evictions: room.evictions.iter().map(|(pod, found)| EvictionView::new(pod, found)).collect(),
        }
    }
}

/// A plan of moves by itself.
pub(super) fn plan_view(plan: &Plan) -> RepackView {
    RepackView::new(&Goal::Room { pods: Vec::new(), is_gang: true }, plan)
}

fn outcome<T>(search: &Search<T>) -> String {
    match search {
        Search::Found(_) => "found",
        Search::Nothing => "none",
        Search::Unknown => "unknown",
    }
    .to_owned()
}

impl EvictionView {
    fn new(pod: &Pod, found: &Search<Eviction>) -> Self {
        let eviction = found.found();
        Self {
            namespace: pod.key.namespace.to_string(),
            name: pod.key.name.to_string(),
            outcome: outcome(found),
            node: eviction.map(|eviction| eviction.node.to_string()),
            victims: eviction.map(victims).unwrap_or_default(),
        }
    }
}

/// The victims of an eviction.
pub(super) fn victims(eviction: &Eviction) -> Vec<VictimView> {
    let view = |pod: &std::sync::Arc<Pod>| VictimView {
        namespace: pod.key.namespace.to_string(),
        name: pod.key.name.to_string(),
        priority: pod.priority,
        request: request_words(pod),
    };
    eviction.victims.iter().map(view).collect()
}
