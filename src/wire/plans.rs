//! Plans that are carried out, as `GET /v1/plans` shows them and as they are kept in the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::dryrun::request_words;
use super::placement::device;
use super::repack::SpotView;
use crate::mig::ProfileName;
use crate::model::{Hold, Placement, Pod, PodKey, Request, Resources, SliceAsk, Want};
use crate::repack::{Move, Spot};

/// A plan that is, or was, carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanView {
    /// Its name: later plans have larger ones.
    pub id: String,
    /// When it was taken up, RFC 3339.
    pub created: String,
    /// How far it is.
    pub state: PlanState,
    /// What the step under way waits for, or why the plan stopped.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// The waiting pod that it makes room for, where nobody asked for it (on-demand moves).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomFor>,
    /// A step that takes longer stops the plan.
    pub step_time_limit_seconds: u32,
    /// In their order; at most one is under way.
    pub steps: Vec<MoveView>,
}

/// What `GET /v1/plans` answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Plans {
    /// The oldest first; of those that are over, the last few.
    pub plans: Vec<PlanView>,
}

/// How far a plan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum PlanState {
    /// Its steps are carried out, one after the other.
    Running,
    /// All of them are.
    Done,
    /// It ended before its last step: the steps that are done stay done, and every pod that left is made anew.
    Stopped,
}

/// The waiting pod of an on-demand plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoomFor {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// The node where room is made.
    pub node: String,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MoveView {
    /// Namespace of the pod.
    pub namespace: String,
    /// Its name before the plan.
    pub name: String,
    /// Its UID before the plan.
    pub uid: String,
    /// What it asks for, in words.
    pub request: String,
    /// Where it is.
    pub from: SpotView,
    /// Where its replacement goes.
    pub to: SpotView,
    /// How far it is.
    pub state: MoveState,
    /// When it began, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// The place that is kept while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldForm>,
    /// The pod that stands there now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement: Option<Replacement>,
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum MoveState {
    /// Others come first.
    Waiting,
    /// The new place is kept; the pod is evicted, goes, and its replacement comes.
    Moving,
    /// The replacement runs at its place, and the pod is gone.
    Done,
}

/// The pod that took a moved pod's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replacement {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
}

/// For whom a place is kept; see [`Hold`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HoldForm {
    /// UID of the controller that makes the replacement.
    pub controller: String,
    /// UIDs of pods of the controller that the place is not for.
    pub besides: BTreeSet<String>,
    /// Devices by resource name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counted: BTreeMap<String, u32>,
    /// GPU instances.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<SliceForm>,
    /// CPU in thousandths of a core.
    pub cpu_milli: i64,
    /// Memory in bytes.
    pub memory_bytes: i64,
    /// Ephemeral storage in bytes.
    pub ephemeral_bytes: i64,
}

/// One GPU instance that is asked for: a profile, or so much memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SliceForm {
    /// Container.
    pub container: String,
    /// Profile, where it is asked for by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// MiB, otherwise.
    #[serde(default)]
    pub memory_mib: u32,
    /// With at least so many compute slices.
    #[serde(default)]
    pub compute_slices: u32,
}

impl PlanView {
    /// The step that is under way or comes next.
    pub fn current(&self) -> Option<usize> {
        self.steps.iter().position(|step| step.state != MoveState::Done)
    }

    /// The places that are kept for a running plan.
    pub fn holds(&self) -> Vec<Hold> {
        let moving = self.steps.iter().filter(|step| step.state == MoveState::Moving);
        let holds = moving.filter_map(MoveView::hold);
        if self.state == PlanState::Running { holds.collect() } else { Vec::new() }
    }
}

impl MoveView {
    /// The step that a plan wants, not begun.
    pub fn new(wanted: &Move, pod: &Pod) -> Self {
        Self {
            namespace: wanted.pod.namespace.to_string(),
            name: wanted.pod.name.to_string(),
            uid: pod.uid.to_string(),
            request: request_words(pod),
            from: SpotView::from(&wanted.from),
            to: SpotView::from(&wanted.to),
            state: MoveState::Waiting,
            started: None,
            hold: None,
            replacement: None,
        }
    }

    /// The pod's namespace and name before the plan.
    pub fn key(&self) -> PodKey {
        PodKey { namespace: self.namespace.as_str().into(), name: self.name.as_str().into() }
    }

    /// The place that is kept, if it can be read.
    pub fn hold(&self) -> Option<Hold> {
        let form = self.hold.as_ref()?;
        let slices = form.slices.iter().map(SliceForm::ask).collect::<Option<_>>()?;
        let counted = form.counted.iter().map(|(name, count)| (name.as_str().into(), *count)).collect();
        let Spot { node, placement } = self.to.spot()?;
        Some(Hold {
            pod: self.key(),
            controller: form.controller.as_str().into(),
            besides: form.besides.iter().map(|uid| uid.as_str().into()).collect(),
            request: Request { counted, slices, policy: None },
            resources: Resources {
                cpu_milli: form.cpu_milli,
                memory_bytes: form.memory_bytes,
                ephemeral_bytes: form.ephemeral_bytes,
                pods: 1,
            },
            node,
            placement,
        })
    }
}

impl HoldForm {
    /// Keeps a place for a pod like this one, of the same controller; `None` where it has none.
    pub fn new(pod: &Pod, besides: &BTreeSet<Arc<str>>) -> Option<Self> {
        let Resources { cpu_milli, memory_bytes, ephemeral_bytes, .. } = pod.demand.resources;
        let counted = pod.request.counted.iter().map(|(name, count)| (name.to_string(), *count));
        Some(Self {
            controller: pod.mobility.controller.as_ref()?.to_string(),
            besides: besides.iter().map(ToString::to_string).collect(),
            counted: counted.collect(),
            slices: pod.request.slices.iter().map(SliceForm::from).collect(),
            cpu_milli,
            memory_bytes,
            ephemeral_bytes,
        })
    }
}

impl SliceForm {
    fn ask(&self) -> Option<SliceAsk> {
        let want = match &self.profile {
            Some(name) => Want::Profile(ProfileName::parse(name)?),
            None => Want::Memory { mib: self.memory_mib, compute_slices: self.compute_slices },
        };
        Some(SliceAsk { container: self.container.as_str().into(), want })
    }
}

impl From<&SliceAsk> for SliceForm {
    fn from(ask: &SliceAsk) -> Self {
        let container = ask.container.to_string();
        match &ask.want {
            Want::Profile(name) => {
                Self { container, profile: Some(name.to_string()), memory_mib: 0, compute_slices: 0 }
            }
            Want::Memory { mib, compute_slices } => {
                Self { container, profile: None, memory_mib: *mib, compute_slices: *compute_slices }
            }
        }
    }
}

impl SpotView {
    /// The place; `None` where a profile is malformed.
    pub fn spot(&self) -> Option<Spot> {
        let devices = self.devices.iter().map(device).collect::<Option<_>>()?;
        Some(Spot { node: self.node.as_str().into(), placement: Placement { devices } })
    }
}
