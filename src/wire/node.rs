//! Nodes: what the labels and the allocatable of the stock NVIDIA stack, and of other vendors' device
//! plugins, say about GPUs.
//!
//! | said by | means |
//! |---|---|
//! | `nvidia.com/gpu.product` | model; `-MIG-<profile>` and `-SHARED` behind it say how `nvidia.com/gpu` is cut |
//! | `nvidia.com/gpu.count`, `.replicas`, `.memory` | GPUs, shares per GPU, MiB |
//! | `nvidia.com/gpu.sharing-strategy` | how a GPU is shared: `time-slicing`, `mps` |
//! | `nvidia.com/mig-<profile>.product`, `.replicas`, `.sharing-strategy` | the same for one kind of MIG device |
//! | allocatable `nvidia.com/gpu`, `mig-<profile>`, each also `.shared` | how many there are to hand out |
//! | `tangram.gpu/mig: dynamic`, `tangram.gpu/mig-gpus` | GPUs that Tangram partitions: all, or these indices |
//!
//! Sources: GPU feature discovery's label documentation and the sharing section of NVIDIA's device plugin.
//! A label value cannot hold a comma, so indices are written `0_1_4-7`; as an annotation also `0,1,4-7`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;

use super::object::{Amount, Metadata, TaintObject, or_default};
use super::{Dialect, ObjectError};
use crate::mig::{Catalog, ModelId, ProfileName};
use crate::model::{
    DynamicFacts, NodeFacts, PoolFacts, PoolKind, Problem, ResourceKind, Resources, Sharing, Taint,
    TaintEffect, resource_kind,
};
use crate::units::Quantity;

const WHOLE: &str = "nvidia.com/gpu";
const MODE_LABEL: &str = "tangram.gpu/mig";
const GPUS_LABEL: &str = "tangram.gpu/mig-gpus";
const COUNT_LABEL: &str = "nvidia.com/gpu.count";
/// GPUs of one node: the largest hosts have 16; more is a mistake in a label.
const GPUS_MAX: u16 = 64;
/// Worth of a device of which nothing is known: the most common data-centre size.
const MEMORY_MIB_GUESS: u32 = 81_920;

/// A Node as Tangram reads it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeObject {
    #[serde(deserialize_with = "or_default")]
    metadata: Metadata,
    #[serde(deserialize_with = "or_default")]
    spec: NodeSpec,
    #[serde(deserialize_with = "or_default")]
    status: NodeStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeSpec {
    #[serde(deserialize_with = "or_default")]
    unschedulable: bool,
    #[serde(deserialize_with = "or_default")]
    taints: Vec<TaintObject>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeStatus {
    #[serde(deserialize_with = "or_default")]
    allocatable: BTreeMap<String, Amount>,
}

impl NodeObject {
    /// `metadata.name`.
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// `metadata.resourceVersion` as a number; 0 where it is none.
    pub fn revision(&self) -> u64 {
        self.metadata.revision()
    }
}

/// Texts that many nodes share, kept once.
#[derive(Debug, Default)]
pub struct Texts(BTreeSet<Arc<str>>);

impl Texts {
    /// Distinct texts that are remembered; more are kept by their nodes alone.
    const MAX: usize = 1 << 16;

    fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        let text: Arc<str> = text.into();
        if self.0.len() < Self::MAX {
            self.0.insert(text.clone());
        }
        text
    }
}

/// Reads a node. What cannot be read of its GPUs becomes a problem of the node, never a missing node.
pub fn node_facts(
    object: &NodeObject,
    dialect: &Dialect,
    texts: &mut Texts,
) -> Result<NodeFacts, ObjectError> {
    let name = object.metadata.name.as_str();
    if name.is_empty() || name.len() > dialect.limits.name_bytes {
        let max = dialect.limits.name_bytes;
        return Err(ObjectError::new(
            "Node",
            "metadata.name",
            format!("has {} bytes, 1 to {max} are allowed", name.len()),
        ));
    }
    let mut reader = Reader { object, dialect, problems: Vec::new() };
    let (product, cut) = reader.product();
    let model = Catalog::get().by_product(product);
    if model.is_none() && !product.is_empty() && !is_known_without_mig(product) {
        reader.problems.push(Problem::UnknownModel { product: product.into() });
    }
    let dynamic = reader.dynamic(product, model, &cut);
    let pools = reader.pools(model, &cut, dynamic.as_ref());
    let allocatable = Resources {
        cpu_milli: reader.allocatable("cpu", Quantity::milli),
        memory_bytes: reader.allocatable("memory", Quantity::units_rounded_up),
        ephemeral_bytes: reader.allocatable("ephemeral-storage", Quantity::units_rounded_up),
        pods: reader.allocatable("pods", Quantity::units_rounded_up),
    };
    let labels = &object.metadata.labels;
    Ok(NodeFacts {
        name: name.into(),
        revision: if dialect.is_live { object.metadata.revision() } else { 0 },
        labels: labels.iter().map(|(key, value)| (texts.share(key), texts.share(value))).collect(),
        taints: object.spec.taints.iter().filter_map(taint).collect(),
        is_unschedulable: object.spec.unschedulable,
        allocatable,
        pools,
        dynamic,
        product: texts.share(product),
        problems: reader.problems,
    })
}

fn taint(taint: &TaintObject) -> Option<Taint> {
    let effect = match taint.effect.as_str() {
        "NoSchedule" => TaintEffect::NoSchedule,
        "PreferNoSchedule" => TaintEffect::PreferNoSchedule,
        "NoExecute" => TaintEffect::NoExecute,
        _ => return None,
    };
    Some(Taint { key: taint.key.as_str().into(), value: taint.value.as_str().into(), effect })
}

/// How the product label says that `nvidia.com/gpu` is cut.
#[derive(Debug, Default)]
struct Cut {
    profile: Option<ProfileName>,
    is_shared: bool,
    is_invalid: bool, // -MIG-INVALID, or nothing that is a profile
}

struct Reader<'a> {
    object: &'a NodeObject,
    dialect: &'a Dialect,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn label(&self, key: &str) -> Option<&'a str> {
        self.object.metadata.labels.get(key).map(String::as_str)
    }

    fn number(&self, key: &str) -> Option<u32> {
        self.label(key)?.parse().ok()
    }

    fn distrust(&mut self, key: &str, value: &str, expected: &'static str) {
        self.problems.push(Problem::Label { key: key.into(), value: value.into(), expected });
    }

    /// The product without its suffixes, and what they say. A node may have no GPU: the product is empty.
    fn product(&mut self) -> (&'a str, Cut) {
        let label = "nvidia.com/gpu.product";
        let Some(value) = self.label(label) else { return ("", Cut::default()) };
        let (rest, is_shared) = value.strip_suffix("-SHARED").map_or((value, false), |rest| (rest, true));
        let Some((product, profile)) = rest.rsplit_once("-MIG-") else {
            return (rest, Cut { is_shared, ..Cut::default() });
        };
        let profile = ProfileName::parse(profile);
        if profile.is_none() {
            self.distrust(label, value, "a MIG profile behind -MIG-");
        }
        let is_invalid = profile.is_none();
        (product, Cut { profile, is_shared, is_invalid })
    }

    fn dynamic(&mut self, product: &str, model: Option<ModelId>, cut: &Cut) -> Option<DynamicFacts> {
        let mode = self.label(MODE_LABEL)?;
        if mode != "dynamic" {
            self.distrust(MODE_LABEL, mode, "dynamic, or no such label");
            return None;
        }
        if cut.profile.is_some() || cut.is_invalid {
            self.distrust(
                MODE_LABEL,
                mode,
                "no such label where the product says that the GPUs are partitioned",
            );
            return None;
        }
        // A node without a product label may still have an agent that knows.
        if model.is_none() && !product.is_empty() {
            self.distrust(MODE_LABEL, mode, "no such label on a GPU model that is not in the MIG table");
            return None;
        }
        let gpus = self.dynamic_indices()?;
        Some(DynamicFacts { model, gpus, needs_agent: self.dialect.is_live })
    }

    /// The dynamic GPUs; none when their list cannot be read, for nobody knows which are meant.
    fn dynamic_indices(&mut self) -> Option<Vec<u16>> {
        let listed = self
            .label(GPUS_LABEL)
            .or_else(|| self.object.metadata.annotations.get(GPUS_LABEL).map(String::as_str));
        let count = self.number(COUNT_LABEL).map(|count| u16::try_from(count).unwrap_or(u16::MAX));
        if count.is_some_and(|count| count > GPUS_MAX) {
            let value = self.label(COUNT_LABEL).unwrap_or_default();
            self.distrust(COUNT_LABEL, value, "at most 64 GPUs");
            return None;
        }
        let Some(listed) = listed else { return Some((0..count.unwrap_or(0)).collect()) };
        let below = count.unwrap_or(GPUS_MAX);
        let Some(indices) = indices(listed).filter(|indices| indices.iter().all(|&index| index < below))
        else {
            self.distrust(GPUS_LABEL, listed, "indices of GPUs of this node, such as 0_1_4-7");
            return None;
        };
        Some(indices.into_iter().collect())
    }

    fn allocatable(&mut self, resource: &str, unit: fn(Quantity) -> i64) -> i64 {
        let Some(amount) = self.object.status.allocatable.get(resource) else { return 0 };
        match amount.quantity() {
            Ok(quantity) => unit(quantity),
            Err(why) => {
                self.unreadable(resource, format!("{:?} is {why}", amount.shown()));
                0
            }
        }
    }

    fn unreadable(&mut self, resource: &str, message: String) {
        self.problems.push(Problem::Unreadable { field: format!("status.allocatable[{resource}]"), message });
    }

    fn pools(&mut self, model: Option<ModelId>, cut: &Cut, dynamic: Option<&DynamicFacts>) -> Vec<PoolFacts> {
        let object = self.object;
        let mut pools = Vec::new();
        for (name, amount) in &object.status.allocatable {
            if resource_kind(name, &self.dialect.device_resources) != Some(ResourceKind::Counted) {
                continue;
            }
            let mut capacity = amount.quantity().and_then(Quantity::whole).unwrap_or_else(|why| {
                let message = format!("{:?} is {why}", amount.shown());
                self.unreadable(name, message);
                0
            });
            if cut.is_invalid && name.starts_with(WHOLE) {
                capacity = 0; // what one unit is, nobody knows
            }
            let kind = self.kind(name, cut, capacity);
            if let Some(dynamic) = dynamic.filter(|_| name.starts_with("nvidia.com/")) {
                capacity = self.without_dynamic(name, &kind, capacity, dynamic);
            }
            let value_mib = self.value_mib(model, &kind);
            pools.push(PoolFacts { resource: name.as_str().into(), kind, capacity, value_mib });
        }
        pools
    }

    /// A device plugin that still offers what lies on GPUs which Tangram partitions would hand it out twice:
    /// only the GPUs that are left to it count.
    fn without_dynamic(&mut self, name: &str, kind: &PoolKind, capacity: u32, dynamic: &DynamicFacts) -> u32 {
        let taken = u32::try_from(dynamic.gpus.len()).expect("at most GPUS_MAX");
        let left = self.number(COUNT_LABEL).unwrap_or(taken).saturating_sub(taken);
        let most = match kind {
            PoolKind::Whole => left,
            PoolKind::Replica { replicas, of: None, .. } => left.saturating_mul(*replicas),
            // Partitions of the other GPUs: how many there are only the device plugin knows.
            PoolKind::Partition(_) | PoolKind::Replica { of: Some(_), .. } if left > 0 => u32::MAX,
            PoolKind::Partition(_) | PoolKind::Replica { of: Some(_), .. } => 0,
        };
        if capacity > most {
            let message =
                format!("{capacity} offered, but {taken} GPUs are Tangram's to partition: {most} count");
            self.unreadable(name, message);
        }
        capacity.min(most)
    }

    fn kind(&mut self, name: &str, cut: &Cut, capacity: u32) -> PoolKind {
        let (plain, is_renamed) = name.strip_suffix(".shared").map_or((name, false), |plain| (plain, true));
        let (of, is_shared) = if plain == WHOLE {
            (cut.profile.clone(), is_renamed || cut.is_shared)
        } else if let Some(profile) = plain.strip_prefix("nvidia.com/mig-") {
            let is_shared =
                self.label(&format!("{plain}.product")).is_some_and(|product| product.ends_with("-SHARED"));
            let Some(profile) = ProfileName::parse(profile) else {
                self.problems.push(Problem::Unreadable {
                    field: "status.allocatable".to_owned(),
                    message: format!("{name:.80} does not name a MIG profile"),
                });
                return PoolKind::Whole;
            };
            (Some(profile), is_renamed || is_shared)
        } else {
            return PoolKind::Whole;
        };
        if is_shared {
            let replicas = self.number(&format!("{plain}.replicas")).filter(|&replicas| replicas > 0);
            let guess =
                || self.number(&format!("{plain}.count")).and_then(|count| capacity.checked_div(count));
            let strategy = self.label(&format!("{plain}.sharing-strategy"));
            let by = Sharing::ALL.into_iter().find_map(|(name, by)| (strategy == Some(name)).then_some(by));
            return PoolKind::Replica { replicas: replicas.or_else(guess).unwrap_or(1).max(1), of, by };
        }
        of.map_or(PoolKind::Whole, PoolKind::Partition)
    }

    fn value_mib(&self, model: Option<ModelId>, kind: &PoolKind) -> u32 {
        let catalog = Catalog::get();
        let labelled = || self.number("nvidia.com/gpu.memory").filter(|&mib| mib > 0);
        let whole = || {
            model.map(|model| catalog.row(model).memory_mib()).or_else(labelled).unwrap_or(MEMORY_MIB_GUESS)
        };
        let partition = |profile: &ProfileName| {
            let known = model.and_then(|model| {
                let geometry = catalog.geometry(model);
                Some(geometry.profiles()[usize::from(geometry.profile(profile)?)].memory_mib)
            });
            known.or_else(|| named_mib(profile)).unwrap_or(MEMORY_MIB_GUESS)
        };
        match kind {
            PoolKind::Whole => whole(),
            PoolKind::Partition(profile) => partition(profile),
            PoolKind::Replica { replicas, of, .. } => {
                of.as_ref().map_or_else(whole, partition).div_euclid(*replicas)
            }
        }
    }
}

/// Products that NVIDIA sells without MIG, as GPU feature discovery begins their labels: nothing is missing
/// in the table when one of them is not there.
const WITHOUT_MIG: &[&str] = &[
    "Tesla",
    "Quadro",
    "NVIDIA-A2",
    "NVIDIA-A10",
    "NVIDIA-A10G",
    "NVIDIA-A16",
    "NVIDIA-A40",
    "NVIDIA-GeForce",
    "NVIDIA-L2",
    "NVIDIA-L4",
    "NVIDIA-L20",
    "NVIDIA-L40",
    "NVIDIA-L40S",
    "NVIDIA-RTX",
    "NVIDIA-T4",
    "NVIDIA-TITAN",
];

fn is_known_without_mig(product: &str) -> bool {
    // The professional Blackwell cards have MIG.
    if product.starts_with("NVIDIA-RTX-PRO") {
        return false;
    }
    let begins = |known: &str| {
        product.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    WITHOUT_MIG.iter().any(|known| begins(known))
}

/// What a profile's name promises: `1g.10gb` has 10 GiB.
fn named_mib(profile: &ProfileName) -> Option<u32> {
    let (_, rest) = profile.as_str().split_once("g.")?;
    let (gib, _) = rest.split_once("gb")?;
    gib.parse::<u32>().ok()?.checked_mul(1024)
}

/// `0_1_4-7` (or with commas) as indices; `None` when it is something else.
fn indices(text: &str) -> Option<BTreeSet<u16>> {
    let mut indices = BTreeSet::new();
    for part in text.split([',', '_']) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= GPUS_MAX {
            return None;
        }
        indices.extend(first..=last);
    }
    Some(indices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_lists_of_ranges() {
        assert_eq!(indices("0_2_4-6"), Some([0, 2, 4, 5, 6].into()));
        assert_eq!(indices("0,1,4-7"), Some([0, 1, 4, 5, 6, 7].into()));
        for text in ["", "a", "3-1", "64", "0-65535", "-1", "1-"] {
            assert_eq!(indices(text), None, "{text}");
        }
    }
}
