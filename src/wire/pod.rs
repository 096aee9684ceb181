//! Pods: what they ask for, by Kubernetes' own rules.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;

use super::object::{Metadata, PodSpec, or_default};
use super::quantities::{Slot, slots, total};
use super::{Dialect, ObjectError, PLACEMENT_ANNOTATION, mobility, placement};
use crate::model::{
    Pod, PodKey, Policy, Request, ResourceKind, SliceAsk, Version, Waiting, Want, resource_kind,
};

/// Key of the annotation, or label, that chooses a pod's placement policy.
const POLICY_ANNOTATION: &str = "tangram.gpu/policy";
/// Key of the annotation by which a leader makes older Bindings of a pod impossible: `EPOCH/IDENTITY/N`.
pub const FENCE_ANNOTATION: &str = "tangram.gpu/fence";
/// Type of the pod condition that says whether Tangram found a node.
pub const NOMINATED_CONDITION: &str = "tangram.gpu/Nominated";
/// Key of the annotation that names a pod's part in disaggregated inference.
const ROLE_ANNOTATION: &str = "tangram.gpu/role";
const MEMORY: &str = "tangram.gpu/mem";
const COMPUTE_SLICES: &str = "tangram.gpu/compute-slices";
/// Resource names of devices in one pod: every profile of one GPU model, and then some.
const DEVICE_NAMES_MAX: usize = 64;
const ROLES: [&str; 2] = ["prefill", "decode"];

/// A Pod as Tangram reads it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodObject {
    #[serde(deserialize_with = "or_default")]
    pub(super) metadata: Metadata,
    #[serde(deserialize_with = "or_default")]
    pub(super) spec: PodSpec,
    #[serde(deserialize_with = "or_default")]
    status: PodStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodStatus {
    #[serde(deserialize_with = "or_default")]
    phase: String,
    #[serde(deserialize_with = "or_default")]
    nominated_node_name: String,
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(deserialize_with = "or_default")]
    message: String,
}

impl PodObject {
    /// Namespace and name; a pod without namespace is in `default`.
    pub fn key(&self) -> PodKey {
        let namespace = if self.metadata.namespace.is_empty() { "default" } else { &self.metadata.namespace };
        PodKey { namespace: namespace.into(), name: self.metadata.name.as_str().into() }
    }

    /// `metadata.uid`.
    pub fn uid(&self) -> Arc<str> {
        self.metadata.uid.as_str().into()
    }

    /// `metadata.resourceVersion` as a number; 0 where it is none.
    pub fn revision(&self) -> u64 {
        self.metadata.revision()
    }

    fn waiting(&self) -> Waiting {
        let (spec, status) = (&self.spec, &self.status);
        let ours = status.conditions.iter().find(|condition| condition.kind == NOMINATED_CONDITION);
        Waiting {
            scheduler: match spec.scheduler_name.as_str() {
                "" => "default-scheduler".into(),
                name => name.into(),
            },
            is_gated: !spec.scheduling_gates.is_empty(),
            never_preempts: spec.preemption_policy == "Never",
            nominated: Some(status.nominated_node_name.as_str())
                .filter(|name| !name.is_empty())
                .map(Into::into),
            condition: ours.map(|condition| (condition.status == "True", condition.message.as_str().into())),
        }
    }

    /// Whether the pod has ended: it holds nothing any more.
    pub fn has_ended(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }
}

/// Reads a pod. The error names the pod and the field.
pub fn pod(object: &PodObject, dialect: &Dialect) -> Result<Pod, ObjectError> {
    let reader = Reader { name: format!("Pod {}", object.key()), object, dialect };
    reader.check_size()?;
    let spec = &object.spec;
    let is_bound = !spec.node_name.is_empty();
    let annotation = object.metadata.annotations.get(PLACEMENT_ANNOTATION);
    // Before a pod is bound its annotation is only what its creator wrote.
    let placement = annotation.filter(|_| is_bound).map(|value| placement::parse(value));
    let (placement, unreadable) = match placement.transpose() {
        Ok(placement) => (placement, None),
        Err(why) => (None, Some(why.into())),
    };
    let created = object.metadata.creation_timestamp.parse::<jiff::Timestamp>();
    let request = Request {
        counted: reader.counted()?,
        slices: reader.slices()?,
        policy: if is_bound { None } else { reader.policy()? },
    };
    // Most pods of a cluster hold no device, and nobody asks whether they may be moved.
    let mut mobility = mobility::mobility(&object.metadata);
    if request.is_empty() {
        mobility.labels.clear(); // most pods of most clusters ask for no device
    }
    Ok(Pod {
        key: object.key(),
        uid: object.metadata.uid.as_str().into(),
        created_s: created.map_or(0, jiff::Timestamp::as_second),
        priority: spec.priority.unwrap_or(0),
        request,
        demand: reader.demand()?,
        node: is_bound.then(|| spec.node_name.as_str().into()),
        placement,
        unreadable_placement: unreadable,
        is_terminating: object.metadata.deletion_timestamp.is_some(),
        mobility,
        version: Version {
            revision: object.metadata.revision(),
            fence: object.metadata.annotations.get(FENCE_ANNOTATION).map(|fence| fence.as_str().into()),
        },
        waiting: (!is_bound).then(|| Arc::new(object.waiting())),
    })
}

pub(super) struct Reader<'a> {
    name: String,
    pub(super) object: &'a PodObject,
    dialect: &'a Dialect,
}

impl Reader<'_> {
    pub(super) fn error(&self, field: impl Into<String>, message: impl Into<String>) -> ObjectError {
        ObjectError::new(&self.name, field, message)
    }

    fn check_size(&self) -> Result<(), ObjectError> {
        let (count, max) = (slots(&self.object.spec).count(), self.dialect.limits.containers);
        if count > max {
            return Err(self.error(
                "spec.containers",
                format!("{count} containers, the limit is {max} (limits.containers)"),
            ));
        }
        let metadata = &self.object.metadata;
        let own = [
            ("metadata.name", &metadata.name),
            ("metadata.namespace", &metadata.namespace),
            ("metadata.uid", &metadata.uid),
        ];
        let containers =
            slots(&self.object.spec).map(|slot| ("spec.containers[].name", &slot.container.name));
        let resources = slots(&self.object.spec).flat_map(|slot| slot.container.resource_names());
        let resources = resources.map(|name| ("spec.containers[].resources", name));
        let max = self.dialect.limits.name_bytes;
        // All of these are repeated in refusals, once per node.
        let devices = self.device_names().len();
        if devices > DEVICE_NAMES_MAX {
            let message =
                format!("{devices} resource names of devices, at most {DEVICE_NAMES_MAX} make sense");
            return Err(self.error("spec.containers", message));
        }
        if count == 0 {
            return Err(self.error("spec.containers", "is empty"));
        }
        match own.into_iter().chain(containers).chain(resources).find(|(_, name)| name.len() > max) {
            None => Ok(()),
            Some((field, name)) => {
                let message =
                    format!("a name of {} bytes, the limit is {max} (limits.nameBytes)", name.len());
                Err(ObjectError::new("Pod", field, message))
            }
        }
    }

    fn count(&self, slot: Slot<'_>, resource: &str) -> Result<u32, ObjectError> {
        let Some(amount) = slot.container.asks(resource) else { return Ok(0) };
        let count = amount.quantity().and_then(crate::units::Quantity::whole);
        count.map_err(|why| self.error(slot.field(resource), format!("{:?} is {why}", amount.shown())))
    }

    /// All names of resources that mean GPUs, sorted, with their kinds.
    fn device_names(&self) -> Vec<(&str, ResourceKind)> {
        let names: BTreeSet<&str> = slots(&self.object.spec)
            .flat_map(|slot| slot.container.resource_names())
            .map(String::as_str)
            .collect();
        let kind = |name| Some((name, resource_kind(name, &self.dialect.device_resources)?));
        names.into_iter().filter_map(kind).collect()
    }

    fn counted(&self) -> Result<Vec<(Arc<str>, u32)>, ObjectError> {
        let mut counted = Vec::new();
        for (name, kind) in self.device_names() {
            match kind {
                ResourceKind::Counted => {
                    let total = total(&self.object.spec, |slot| self.count(slot, name).map(i64::from))?;
                    let total = u32::try_from(total)
                        .map_err(|_| self.error("spec.containers", format!("{total} {name} is too large")))?;
                    if total > 0 {
                        counted.push((name.into(), total));
                    }
                }
                ResourceKind::Unknown => {
                    let slot = slots(&self.object.spec).find(|slot| slot.container.asks(name).is_some());
                    let field = slot.map_or_else(|| "spec".to_owned(), |slot| slot.field(name));
                    return Err(self
                        .error(field, "no resource of Tangram: mig-<profile>, mem and compute-slices are"));
                }
                ResourceKind::Slice(_) | ResourceKind::Memory | ResourceKind::ComputeSlices => {}
            }
        }
        Ok(counted)
    }

    fn slices(&self) -> Result<Vec<SliceAsk>, ObjectError> {
        let mut asks = Vec::new();
        for (name, kind) in self.device_names() {
            if let ResourceKind::Slice(profile) = kind {
                self.profile_asks(name, &Want::Profile(profile), &mut asks)?;
            }
        }
        self.memory_asks(&mut asks)?;
        if asks.len() > self.dialect.limits.mig_devices_per_pod {
            return Err(self.too_many(asks.len(), "MIG devices"));
        }
        let order: Vec<&str> = slots(&self.object.spec).map(|slot| slot.container.name.as_str()).collect();
        asks.sort_by_key(|ask| order.iter().position(|name| *name == &*ask.container));
        Ok(asks)
    }

    fn too_many(&self, count: usize, what: &str) -> ObjectError {
        let max = self.dialect.limits.mig_devices_per_pod;
        let message =
            format!("{count} {what}: a pod may ask for {max} MIG devices (limits.migDevicesPerPod)");
        self.error("spec.containers", message)
    }

    /// One ask per device: those of the containers that last, and what an init container needs beyond.
    fn profile_asks(&self, name: &str, want: &Want, asks: &mut Vec<SliceAsk>) -> Result<(), ObjectError> {
        let total = total(&self.object.spec, |slot| self.count(slot, name).map(i64::from))?;
        let max = self.dialect.limits.mig_devices_per_pod;
        let total = usize::try_from(total).unwrap_or(usize::MAX);
        if total > max {
            return Err(self.too_many(total, name));
        }
        let mut missing = total;
        let last_first = slots(&self.object.spec).collect::<Vec<_>>();
        let lasting = last_first.iter().filter(|slot| slot.is_lasting());
        let passing = last_first.iter().filter(|slot| !slot.is_lasting());
        for slot in lasting.chain(passing) {
            let count = usize::try_from(self.count(*slot, name)?).unwrap_or(usize::MAX).min(missing);
            missing -= count;
            let container: Arc<str> = slot.container.name.as_str().into();
            asks.extend((0..count).map(|_| SliceAsk { container: container.clone(), want: want.clone() }));
        }
        Ok(())
    }

    /// One device per container that asks for memory. An init container uses the device of a container that
    /// lasts where one is large enough; the init containers for which none is share one more device.
    fn memory_asks(&self, asks: &mut Vec<SliceAsk>) -> Result<(), ObjectError> {
        let (mut lasting, mut passing) = (Vec::new(), Vec::new());
        for slot in slots(&self.object.spec) {
            let (mib, compute_slices) = (self.count(slot, MEMORY)?, self.count(slot, COMPUTE_SLICES)?);
            if mib == 0 && compute_slices > 0 {
                let message = format!("goes with {MEMORY}, which the container does not ask for");
                return Err(self.error(slot.field(COMPUTE_SLICES), message));
            }
            let list = if slot.is_lasting() { &mut lasting } else { &mut passing };
            list.extend((mib > 0).then_some((slot.container.name.as_str(), mib, compute_slices)));
        }
        let is_served = |(_, mib, compute_slices): &(&str, u32, u32)| {
            lasting.iter().any(|(_, has, computes)| has >= mib && computes >= compute_slices)
        };
        passing.retain(|ask| !is_served(ask));
        let shared = passing.into_iter().reduce(|a, b| (a.0, a.1.max(b.1), a.2.max(b.2)));
        asks.extend(lasting.into_iter().chain(shared).map(|(container, mib, compute_slices)| SliceAsk {
            container: container.into(),
            want: Want::Memory { mib, compute_slices },
        }));
        Ok(())
    }

    fn policy(&self) -> Result<Option<Policy>, ObjectError> {
        let annotations = &self.object.metadata.annotations;
        let refuse = |key: &str, value: &str, known: &[&str]| {
            let shown: String = value.chars().take(40).collect();
            self.error(
                format!("metadata.annotations[{key}]"),
                format!("{shown:?} is not known ({})", known.join(", ")),
            )
        };
        if let Some(role) = annotations.get(ROLE_ANNOTATION)
            && !ROLES.contains(&role.as_str())
        {
            return Err(refuse(ROLE_ANNOTATION, role, &ROLES));
        }
        let labels = &self.object.metadata.labels;
        let wish = annotations.get(POLICY_ANNOTATION).or_else(|| labels.get(POLICY_ANNOTATION));
        let Some(name) = wish else { return Ok(None) };
        Policy::parse(name).map(Some).ok_or_else(|| refuse(POLICY_ANNOTATION, name, &[Policy::NAMES]))
    }
}
