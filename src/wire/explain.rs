//! `GET /v1/pods/{namespace}/{name}/explain`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::dryrun::{RefusalCount, refusal_counts, request_words};
use super::placement::DeviceForm;
use super::repack::{RepackView, SpotView};
use super::scenario::ChangeForm;
use super::whatif::{VictimView, plan_view, victims};
use crate::explain::{Bar, Explanation, Kind, Nearest, Placed, Remedy, Tried, Waits};
use crate::model::{Placement, Pod};

/// Why a pod is where it is, or why it waits and what would let it run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExplainView {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// What it asks for, in words.
    pub request: String,
    /// `placed`, `pending`, or `unknownNode` for a pod whose node Tangram does not know.
    pub state: String,
    /// The same in a sentence.
    pub summary: String,
    /// Generation of the snapshot.
    pub generation: u64,
    /// Milliseconds since the model was last known to be true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_age_ms: Option<u64>,
    /// Of a pod that has a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placed: Option<PlacedView>,
    /// Of a pod that has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingView>,
}

/// Where a pod is, and what other nodes would cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlacedView {
    /// Node and GPU instances.
    pub at: SpotView,
    /// What its node would cost if it were placed now, in KiB of GPU memory that the demand loses; absent where it
    /// would not be placed there now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_kib: Option<i64>,
    /// Why it would not be placed there now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// Nodes that would take it now, its own among them.
    pub feasible_nodes: usize,
    /// How many of those cost less.
    pub cheaper_nodes: usize,
    /// The cheapest others, cheapest first.
    pub alternatives: Vec<AlternativeView>,
}

/// A node that would take the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlternativeView {
    /// Node and GPU instances.
    pub at: SpotView,
    /// What it costs, in KiB of GPU memory that the demand loses.
    pub cost_kib: i64,
}

/// Why a pod waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingView {
    /// Whether scheduling gates keep it from being scheduled.
    pub gated: bool,
    /// Where it fits now: it only waits for its turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fits: Option<SpotView>,
    /// Reasons with the nodes that give them, most frequent first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<RefusalCount>,
    /// What stands in the way on the GPUs themselves, counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// The nodes that are nearest to taking it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nearest: Vec<NearestView>,
    /// Changes that would let it run, each tried; each is enough by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<RemedyView>,
    /// Kinds of change of which none helps: `ask`, `lift`, `move`, `evict`, `grow`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub no_such_change: Vec<String>,
    /// Kinds of change whose search ended at its bound without one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_searched_out: Vec<String>,
}

/// A node that refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NearestView {
    /// The node.
    pub node: String,
    /// Why.
    pub reason: String,
    /// The same GPU by GPU.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// A change that would let the pod run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemedyView {
    /// `ask` (it asks for something else), `lift` (a taint, a selector, a cordon), `move` (other pods move), `evict`
    /// (pods of lower priority go) or `grow` (a node more).
    pub kind: String,
    /// In words.
    pub text: String,
    /// The place that it has by it.
    pub place: SpotView,
    /// With `ask`: what it asks for instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<AskView>,
    /// With `move`: the moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<RepackView>,
    /// With `evict`: the victims, dearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub victims: Vec<VictimView>,
    /// With `grow`: the type of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_type: Option<String>,
    /// Changes that show it in `POST /v1/dryrun`; moves and changes of the pod itself are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ChangeForm>,
}

/// Something else to ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AskView {
    /// What it asks for now.
    pub from: String,
    /// What it would ask for.
    pub to: String,
    /// How many of it.
    pub count: u32,
    /// Whether it is more than the pod asks for now.
    pub larger: bool,
}

impl ExplainView {
    /// The answer for a pod on a snapshot of this generation and age.
    pub fn new(pod: &Pod, explanation: &Explanation, generation: u64, model_age_ms: Option<u64>) -> Self {
        let (state, summary) = match explanation {
            Explanation::Placed(placed) => ("placed", placed_words(placed)),
            Explanation::Waits(waits) => ("pending", pending_words(waits)),
            Explanation::Astray(node) => {
                ("unknownNode", format!("It is bound to node {node}, which Tangram does not know."))
            }
        };
        Self {
            namespace: pod.key.namespace.to_string(),
            name: pod.key.name.to_string(),
            request: request_words(pod),
            state: state.to_owned(),
            summary,
            generation,
            model_age_ms,
            placed: match explanation {
                Explanation::Placed(placed) => Some(placed.into()),
                _ => None,
            },
            pending: match explanation {
                Explanation::Waits(waits) => Some(PendingView::new(waits)),
                _ => None,
            },
        }
    }
}

fn placed_words(placed: &Placed) -> String {
    let Placed { node, feasible, cheaper, .. } = placed;
    match (&placed.cost, cheaper) {
        (Err(_), _) => {
            format!("It runs on {node}, where it would not be placed now; {feasible} nodes would take it.")
        }
        (Ok(_), 0) => {
            format!("It runs on {node}: of {feasible} nodes that would take it now, none costs less.")
        }
        (Ok(_), 1) => {
            format!("It runs on {node}: of {feasible} nodes that would take it now, one costs less.")
        }
        (Ok(_), _) => {
            format!("It runs on {node}: of {feasible} nodes that would take it now, {cheaper} cost less.")
        }
    }
}

fn pending_words(waits: &Waits) -> String {
    match (&waits.now, waits.is_gated) {
        (_, true) => "Scheduling gates keep it from being scheduled.".to_owned(),
        (Ok(place), _) => format!("It fits on {} now, and waits for its turn.", place.node),
        (Err(refused), _) => {
            let nodes: usize = refused.refusals.values().map(|refusers| refusers.count).sum();
            let ways = match waits.remedies.found.len() {
                0 if waits.remedies.unknown.is_empty() => "no such change".to_owned(),
                0 => "none was found".to_owned(),
                1 => "1 change would let it run".to_owned(),
                many => format!("{many} changes would let it run"),
            };
            format!("None of {nodes} nodes takes it; {ways}.")
        }
    }
}

impl From<&Placed> for PlacedView {
    fn from(placed: &Placed) -> Self {
        let others = placed
            .others
            .iter()
            .map(|other| AlternativeView { at: spot(&other.node, &other.placement), cost_kib: other.cost });
        Self {
            at: spot(&placed.node, &placed.placement),
            cost_kib: placed.cost.as_ref().ok().copied(),
            refusal: placed.cost.as_ref().err().map(ToString::to_string),
            feasible_nodes: placed.feasible,
            cheaper_nodes: placed.cheaper,
            alternatives: others.collect(),
        }
    }
}

fn spot(node: &str, placement: &Placement) -> SpotView {
    SpotView { node: node.to_owned(), devices: placement.devices.iter().map(DeviceForm::from).collect() }
}

impl PendingView {
    fn new(waits: &Waits) -> Self {
        let refused = waits.now.as_ref().err();
        let names = |kinds: &[Kind]| kinds.iter().map(|&kind| name(kind).to_owned()).collect();
        Self {
            gated: waits.is_gated,
            fits: waits.now.as_ref().ok().map(|place| spot(&place.node, &place.placement)),
            refusals: refused.map(refusal_counts).unwrap_or_default(),
            details: refused.map(|refused| refused.details.clone()).unwrap_or_default(),
            nearest: waits.nearest.iter().map(NearestView::from).collect(),
            changes: waits.remedies.found.iter().map(RemedyView::from).collect(),
            no_such_change: names(&waits.remedies.none),
            not_searched_out: names(&waits.remedies.unknown),
        }
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Ask => "ask",
        Kind::Lift => "lift",
        Kind::Move => "move",
        Kind::Evict => "evict",
        Kind::Grow => "grow",
    }
}

impl From<&Nearest> for NearestView {
    fn from(nearest: &Nearest) -> Self {
        Self {
            node: nearest.node.to_string(),
            reason: nearest.refusal.to_string(),
            details: nearest.details.clone(),
        }
    }
}

impl From<&Tried> for RemedyView {
    fn from(tried: &Tried) -> Self {
        let (kind, text) = words(&tried.remedy);
        Self {
            kind: name(kind).to_owned(),
            text,
            place: spot(&tried.place.node, &tried.place.placement),
            ask: match &tried.remedy {
                Remedy::Ask(asked) => Some(AskView {
                    from: asked.from.clone(),
                    to: asked.to.clone(),
                    count: asked.count,
                    larger: asked.is_larger,
                }),
                _ => None,
            },
            plan: match &tried.remedy {
                Remedy::Move(plan) => Some(plan_view(plan)),
                _ => None,
            },
            victims: match &tried.remedy {
                Remedy::Evict(eviction) => victims(eviction),
                _ => Vec::new(),
            },
            node_type: match &tried.remedy {
                Remedy::Grow { kind, .. } => Some(kind.to_string()),
                _ => None,
            },
            changes: tried.changes.iter().map(ChangeForm::from).collect(),
        }
    }
}

fn words(remedy: &Remedy) -> (Kind, String) {
    let counted = |count: usize, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    };
    match remedy {
        Remedy::Ask(asked) if asked.from == asked.to => {
            (Kind::Ask, format!("ask for {} {} only", asked.count, asked.to))
        }
        Remedy::Ask(asked) => (Kind::Ask, format!("ask for {} instead of {}", asked.to, asked.from)),
        Remedy::Lift { bar, nodes } => {
            let nodes = counted(*nodes, "node", "nodes");
            let text = match bar {
                Bar::Cordon(node) => format!("uncordon {node}"),
                Bar::Taint(key, value) if value.is_empty() => {
                    format!("tolerate the taint {key}, alone in the way on {nodes}")
                }
                Bar::Taint(key, value) => {
                    format!("tolerate the taint {key}={value}, alone in the way on {nodes}")
                }
                Bar::Selector(key, value) => {
                    format!("drop the node selector {key}={value}, alone in the way on {nodes}")
                }
                Bar::Affinity => format!("drop the required node affinity, alone in the way on {nodes}"),
            };
            (Kind::Lift, text)
        }
        Remedy::Move(plan) => {
            (Kind::Move, format!("move {}", counted(plan.steps.len(), "other pod", "other pods")))
        }
        Remedy::Evict(eviction) => {
            let pods = counted(eviction.victims.len(), "pod", "pods");
            (Kind::Evict, format!("evict {pods} of lower priority from {}", eviction.node))
        }
        Remedy::Grow { kind, example } => (Kind::Grow, format!("one node more of {kind}, like {example}")),
    }
}
