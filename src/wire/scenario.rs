//! `kind: DryRun`: the question of `POST /v1/dryrun` where it is more than pods.
//!
//! ```yaml
//! apiVersion: tangram.gpu/v1
//! kind: DryRun
//! batch: true
//! changes:
//! - addNodes: {instanceType: p4d.24xlarge, count: 2, dynamic: true}
//! - drain: {node: dyn-h100-01}
//! pods:
//! - kind: Deployment
//!   ...
//! ```
//!
//! Objects beside it in the body are placed behind its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::document::Head;
use super::dryrun::{parse_policy, pods_beside};
use super::{BUDGET_KIND, BudgetObject, Dialect, ObjectError, budget};
use crate::mig::ProfileName;
use crate::model::{PodKey, Policy};
use crate::solver::exact::Effort;
use crate::whatif::{Change, Cut, Machine, Scenario, Template};

/// `apiVersion` of the question.
pub const API_VERSION: &str = "tangram.gpu/v1";
/// `kind` of the question.
pub const KIND: &str = "DryRun";

/// Seconds for the exact answer to a batch unless something else is said.
const SECONDS: f64 = 2.0;
/// Seconds that nobody is given more than.
const SECONDS_MAX: f64 = 30.0;
/// Changes of one question.
const CHANGES_MAX: usize = 1_000;
/// MIG devices of one GPU's layout: no GPU has more than 14.
const LAYOUT_MAX: usize = 16;

/// The question.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct DryRunQuestion {
    /// `tangram.gpu/v1`.
    pub api_version: String,
    /// Pods and workloads as Kubernetes objects, placed in their order; `PodDisruptionBudget`s among them are kept by
    /// drains.
    #[schema(value_type = Vec<Object>)]
    pub pods: Vec<Box<RawValue>>,
    /// The same, behind `pods`: what `kubectl get -o json` calls items.
    #[schema(value_type = Vec<Object>)]
    pub objects: Vec<Box<RawValue>>,
    /// All pods, or none; else one after another.
    pub batch: bool,
    /// What is changed first, in this order.
    pub changes: Vec<ChangeForm>,
    /// Placement policy of pods that choose none.
    pub policy: Option<String>,
    /// Whether to say what room costs for pods that have none.
    pub room: bool,
    /// Seconds for the exact answer to a batch, at most 30.
    pub time_limit: Option<f64>,
}

/// A hypothetical change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ChangeForm {
    /// Nodes more.
    AddNodes(AddNodes),
    /// The node vanishes.
    RemoveNode(OfNode),
    /// Nothing more is scheduled on the node.
    Cordon(OfNode),
    /// The opposite.
    Uncordon(OfNode),
    /// The node is cordoned, and its pods are evicted.
    Drain(OfNode),
    /// GPUs are cut anew.
    Repartition(Repartition),
    /// A pod is evicted.
    Evict(OfPod),
}

/// Nodes more: of a machine's type, or like a node of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct AddNodes {
    /// A type of the clouds' usual GPU machines, for example `p4d.24xlarge`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// The name of a node of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
    /// How many; 1 unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// With `instanceType`: whether Tangram partitions the GPUs; else they are whole.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dynamic: bool,
    /// Labels beside the template's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OfNode {
    /// Its name.
    pub node: String,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OfPod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// GPUs cut anew: one of `layout`, `dynamic` and `whole`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Repartition {
    /// The node.
    pub node: String,
    /// NVML index of one GPU; all of them unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<u16>,
    /// MIG devices of each GPU, by profile, offered by NVIDIA's device plugin (strategy `mixed`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<Vec<String>>,
    /// By Tangram, as pods ask for it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dynamic: bool,
    /// Not at all: each GPU is one device.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
}

/// Reads the body of a dry run: pods and workloads, and at most one question about them. Gives the policy too, where
/// the question names one.
///
/// # Errors
/// Every object that cannot be read, and every field of the question that makes no sense.
pub fn dryrun_scenario(body: &[u8], dialect: &Dialect) -> Result<(Scenario, Option<Policy>), Vec<String>> {
    let mut question: Option<DryRunQuestion> = None;
    let mut budgets = Vec::new();
    let mut other = |head: &Head, text: &str| match head.kind.as_str() {
        KIND => {
            let malformed = |error: serde_json::Error| wrong("document", error.to_string());
            let read: DryRunQuestion = serde_json::from_str(text).map_err(malformed)?;
            if question.replace(read).is_some() {
                return Err(wrong("document", "there is another one in the same body"));
            }
            Ok(true)
        }
        BUDGET_KIND => {
            let object: BudgetObject = serde_json::from_str(text)
                .map_err(|error| ObjectError::new(BUDGET_KIND, "document", error.to_string()))?;
            budgets.extend(budget(&object)?);
            Ok(true)
        }
        _ => Ok(false),
    };
    let beside = pods_beside(body, dialect, &mut other)?;
    let Some(mut asked) = question.take() else {
        return Ok((Scenario { pods: beside, budgets, ..Scenario::default() }, None));
    };
    let items: Vec<String> =
        asked.pods.drain(..).chain(asked.objects.drain(..)).map(|item| item.get().to_owned()).collect();
    let mut pods = Vec::new();
    if !items.is_empty() {
        let list = format!(r#"{{"kind":"List","items":[{}]}}"#, items.join(","));
        let mut other = |head: &Head, text: &str| {
            if head.kind == BUDGET_KIND {
                let object: BudgetObject = serde_json::from_str(text)
                    .map_err(|error| ObjectError::new(BUDGET_KIND, "document", error.to_string()))?;
                budgets.extend(budget(&object)?);
            }
            Ok(head.kind == BUDGET_KIND)
        };
        pods = pods_beside(list.as_bytes(), dialect, &mut other)?;
    }
    pods.extend(beside);
    let max = dialect.limits.dryrun_pods;
    if pods.len() > max {
        return Err(vec![format!("more than {max} pods, the limit of one dry run (limits.dryrunPods)")]);
    }
    let (scenario, policy) = asked.read().map_err(|error| vec![error.to_string()])?;
    Ok((Scenario { pods, budgets, ..scenario }, policy))
}

fn wrong(field: &str, message: impl Into<String>) -> ObjectError {
    ObjectError::new(KIND, field, message)
}

impl DryRunQuestion {
    /// All but the pods.
    fn read(&self) -> Result<(Scenario, Option<Policy>), ObjectError> {
        if self.api_version != API_VERSION {
            return Err(wrong("apiVersion", format!("{:.80?} is not {API_VERSION}", self.api_version)));
        }
        if self.changes.len() > CHANGES_MAX {
            return Err(wrong("changes", format!("more than {CHANGES_MAX}")));
        }
        let seconds = self.time_limit.unwrap_or(SECONDS);
        if !(0.0..=SECONDS_MAX).contains(&seconds) {
            return Err(wrong("timeLimit", format!("{seconds} is not from 0 to {SECONDS_MAX} seconds")));
        }
        let policy = self.policy.as_deref().map(parse_policy).transpose();
        let policy = policy.map_err(|error| wrong("policy", error))?;
        let change = |(at, form): (usize, &ChangeForm)| {
            form.read().map_err(|(field, why)| wrong(&format!("changes[{at}].{field}"), why))
        };
        let scenario = Scenario {
            changes: self.changes.iter().enumerate().map(change).collect::<Result<_, _>>()?,
            batch: self.batch.then(|| Effort::seconds(seconds)),
            wants_room: self.room,
            ..Scenario::default()
        };
        Ok((scenario, policy))
    }
}

impl ChangeForm {
    /// The change, or the field that makes no sense and why.
    fn read(&self) -> Result<Change, (&'static str, String)> {
        let name = |node: &OfNode| Arc::from(node.node.as_str());
        Ok(match self {
            Self::AddNodes(add) => add.read()?,
            Self::RemoveNode(node) => Change::Remove(name(node)),
            Self::Cordon(node) => Change::Cordon(name(node)),
            Self::Uncordon(node) => Change::Uncordon(name(node)),
            Self::Drain(node) => Change::Drain(name(node)),
            Self::Repartition(form) => {
                let cut = form.cut()?;
                Change::Repartition { node: form.node.as_str().into(), gpu: form.gpu, cut }
            }
            Self::Evict(pod) => Change::Evict(PodKey {
                namespace: pod.namespace.as_str().into(),
                name: pod.name.as_str().into(),
            }),
        })
    }
}

impl AddNodes {
    fn read(&self) -> Result<Change, (&'static str, String)> {
        let template = match (&self.instance_type, &self.example) {
            (Some(name), None) => {
                let machine = Machine::by_name(name).ok_or_else(|| {
                    let why = format!("{name:.80?} is not known; name a node of the cluster as example");
                    ("addNodes.instanceType", why)
                })?;
                Template::Machine { machine, is_dynamic: self.dynamic }
            }
            (None, Some(_)) if self.dynamic => {
                return Err((
                    "addNodes.dynamic",
                    "goes with instanceType; an example says it itself".to_owned(),
                ));
            }
            (None, Some(example)) => Template::Like(example.as_str().into()),
            _ => return Err(("addNodes", "one of instanceType and example".to_owned())),
        };
        let labels = self.labels.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into()));
        Ok(Change::Add { template, count: self.count.unwrap_or(1), labels: labels.collect() })
    }
}

impl Repartition {
    fn cut(&self) -> Result<Cut, (&'static str, String)> {
        match (&self.layout, self.dynamic, self.whole) {
            (Some(layout), false, false) if layout.len() <= LAYOUT_MAX => {
                let profile = |name: &String| {
                    ProfileName::parse(name)
                        .ok_or_else(|| ("repartition.layout", format!("{name:.40?} is no MIG profile")))
                };
                Ok(Cut::Static(layout.iter().map(profile).collect::<Result<_, _>>()?))
            }
            (Some(_), false, false) => Err(("repartition.layout", format!("more than {LAYOUT_MAX}"))),
            (None, true, false) => Ok(Cut::Dynamic),
            (None, false, true) => Ok(Cut::Whole),
            _ => Err(("repartition", "one of layout, dynamic and whole".to_owned())),
        }
    }
}

impl From<&Change> for ChangeForm {
    fn from(change: &Change) -> Self {
        let of = |node: &Arc<str>| OfNode { node: node.to_string() };
        match change {
            Change::Add { template, count, labels } => {
                let labels = labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
                let add = AddNodes { count: Some(*count), labels, ..AddNodes::default() };
                Self::AddNodes(match template {
                    Template::Machine { machine, is_dynamic } => {
                        AddNodes { instance_type: Some(machine.name.to_owned()), dynamic: *is_dynamic, ..add }
                    }
                    Template::Like(example) => AddNodes { example: Some(example.to_string()), ..add },
                })
            }
            Change::Remove(node) => Self::RemoveNode(of(node)),
            Change::Cordon(node) => Self::Cordon(of(node)),
            Change::Uncordon(node) => Self::Uncordon(of(node)),
            Change::Drain(node) => Self::Drain(of(node)),
            Change::Repartition { node, gpu, cut } => Self::Repartition(Repartition {
                node: node.to_string(),
                gpu: *gpu,
                layout: match cut {
                    Cut::Static(layout) => Some(layout.iter().map(ToString::to_string).collect()),
                    Cut::Whole | Cut::Dynamic => None,
                },
                dynamic: *cut == Cut::Dynamic,
                whole: *cut == Cut::Whole,
            }),
            Change::Evict(key) => {
                Self::Evict(OfPod { namespace: key.namespace.to_string(), name: key.name.to_string() })
            }
        }
    }
}
