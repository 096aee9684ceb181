//! A node's GPUs cut anew: whole, by Tangram, or into a layout of MIG devices.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::grow::{MODE, PRODUCT, WHOLE};
use crate::mig::{Catalog, ModelId, ProfileName};
use crate::model::{DynamicFacts, GpuReport, Node, NodeFacts, Pod, PoolFacts, PoolKind};

/// How GPUs are to be cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cut {
    /// Not at all: each is one device.
    Whole,
    /// By Tangram, as pods ask for it.
    Dynamic,
    /// Each GPU into these MIG devices, offered by NVIDIA's device plugin (strategy `mixed`).
    Static(Vec<ProfileName>),
}

/// The node without pods, all its GPUs or one cut anew; what its agent says of the others stays.
///
/// # Errors
/// Why it cannot be, for people.
pub(super) fn recut(node: &Node, gpu: Option<u16>, cut: &Cut) -> Result<Node, String> {
    let gpus = Gpus::of(node)?;
    if let Cut::Static(layout) = cut {
        check(gpus.model, layout)?;
    }
    let mut cuts: BTreeMap<u16, Cut> = gpus.cuts;
    match gpu {
        None => cuts.values_mut().for_each(|old| *old = cut.clone()),
        Some(_) if node.report.is_none() && holds_counted(node) => {
            return Err("which pods hold its GPUs is not known: no agent reports them".to_owned());
        }
        Some(index) if gpus.are_known => {
            let old = cuts.get_mut(&index).ok_or_else(|| format!("the node has no GPU {index}"))?;
            *old = cut.clone();
        }
        Some(_) => {
            return Err("how single GPUs of the node are cut is not known: no agent reports them".to_owned());
        }
    }
    let report = node.report.as_ref().map(|report| Arc::new(cleared(report, gpu, cut)));
    Ok(Node::new(facts(node, gpus.model, &cuts).into(), report, Vec::new()))
}

/// Whether pods hold devices of NVIDIA's device plugin, which are the kubelet's choice.
fn holds_counted(node: &Node) -> bool {
    node.pools().any(|(facts, pool)| facts.resource.starts_with("nvidia.com/") && pool.used > 0)
}

/// What an agent would say once nothing is on the GPUs that are cut anew.
fn cleared(report: &GpuReport, gpu: Option<u16>, cut: &Cut) -> GpuReport {
    let is_cut = |index: u16| gpu.is_none_or(|gpu| gpu == index);
    let mut report = report.clone();
    report.wanted.retain(|(index, _)| !is_cut(*index));
    for gpu in report.gpus.iter_mut().filter(|gpu| is_cut(gpu.index)) {
        gpu.instances.clear();
        gpu.holders.clear();
        gpu.is_mig_enabled = *cut == Cut::Dynamic; // which devices a layout has, its pools say
    }
    report
}

/// Whether a pod holds something of what is cut anew.
pub(super) fn is_concerned(node: &Node, gpu: Option<u16>, pod: &Pod) -> bool {
    let Some(gpu) = gpu else { return !pod.request.is_empty() };
    let is_placed =
        node.placement(pod).is_some_and(|placement| placement.devices.iter().any(|device| device.gpu == gpu));
    let of_gpu = node.gpus.iter().filter(|other| other.index == gpu);
    let holds = of_gpu.flat_map(|gpu| &gpu.instances).any(|instance| instance.pod.as_ref() == Some(&pod.key));
    let reported = node.reported(gpu);
    let is_holder = reported.is_some_and(|gpu| gpu.holders.iter().any(|holder| holder.pod == pod.key));
    is_placed || holds || is_holder
}

/// A node's GPUs as they are.
struct Gpus {
    model: ModelId,
    cuts: BTreeMap<u16, Cut>,
    are_known: bool, // GPU by GPU
}

impl Gpus {
    fn of(node: &Node) -> Result<Self, String> {
        let model = node.dynamic_gpus().find_map(|gpu| gpu.model);
        let model = model.or_else(|| Catalog::get().by_product(&node.facts.product));
        let model = model.ok_or("its GPU model is not in the MIG table")?;
        let dynamic: Vec<u16> = node.dynamic_gpus().map(|gpu| gpu.index).collect();
        let reported: Vec<u16> =
            node.report.iter().flat_map(|report| &report.gpus).map(|gpu| gpu.index).collect();
        let label = node.facts.labels.get("nvidia.com/gpu.count").and_then(|count| count.parse::<u16>().ok());
        let count = label.or_else(|| {
            let whole =
                node.facts.pools.iter().find(|pool| pool.kind == PoolKind::Whole && *pool.resource == *WHOLE);
            u16::try_from(whole?.capacity).ok()
        });
        let indices: Vec<u16> = match (reported.is_empty(), count) {
            (false, _) => reported,
            (true, Some(count)) => (0..count.min(GPUS_MAX)).collect(),
            (true, None) => dynamic.clone(),
        };
        if indices.is_empty() {
            return Err("how many GPUs it has is not known (label nvidia.com/gpu.count)".to_owned());
        }
        let is_all_dynamic = indices.iter().all(|index| dynamic.contains(index));
        let is_all_whole =
            dynamic.is_empty() && node.facts.pools.iter().all(|pool| pool.kind == PoolKind::Whole);
        let are_known = node.report.is_some() || is_all_dynamic || is_all_whole;
        let cut = |&index: &u16| (index, old(node, model, index, &dynamic));
        Ok(Self { model, cuts: indices.iter().map(cut).collect(), are_known })
    }
}

/// GPUs of one node: the largest hosts have 16.
const GPUS_MAX: u16 = 64;

/// How one GPU is cut, as far as it is known.
fn old(node: &Node, model: ModelId, index: u16, dynamic: &[u16]) -> Cut {
    if dynamic.contains(&index) {
        return Cut::Dynamic;
    }
    match node.reported(index) {
        Some(gpu) if gpu.is_mig_enabled => {
            let geometry = Catalog::get().geometry(model);
            let known = gpu.instances.iter().filter(|instance| geometry.profile(&instance.profile).is_some());
            Cut::Static(known.map(|instance| instance.profile.clone()).collect())
        }
        _ => Cut::Whole,
    }
}

/// Whether a GPU can be cut so: what NVML allows beside one another, in any order.
fn check(model: ModelId, layout: &[ProfileName]) -> Result<(), String> {
    let geometry = Catalog::get().geometry(model);
    let mut profiles = Vec::new();
    for name in layout {
        let profile = geometry.profile(name).ok_or_else(|| format!("the GPU model has no {name}"))?;
        profiles.push(profile);
    }
    // The largest first: the others find what it leaves, whatever order they are made in.
    profiles.sort_by_key(|&profile| std::cmp::Reverse(geometry.profiles()[usize::from(profile)].size));
    let mut states = vec![0];
    for profile in profiles {
        let mut next: Vec<u16> =
            states.iter().flat_map(|&state| geometry.legal(state, profile).map(|(_, after)| after)).collect();
        next.sort_unstable();
        next.dedup();
        states = next;
    }
    if states.is_empty() { Err("no GPU of the model holds all of these at once".to_owned()) } else { Ok(()) }
}

/// The facts of a node with these GPUs.
fn facts(node: &Node, model: ModelId, cuts: &BTreeMap<u16, Cut>) -> NodeFacts {
    let mut facts = NodeFacts::clone(&node.facts);
    let row = Catalog::get().row(model);
    let geometry = Catalog::get().geometry(model);
    facts.pools.retain(|pool| !pool.resource.starts_with("nvidia.com/"));
    facts.problems.clear();
    let dynamic: Vec<u16> =
        cuts.iter().filter(|(_, cut)| **cut == Cut::Dynamic).map(|(&index, _)| index).collect();
    let mode: Arc<str> = MODE.into();
    if dynamic.is_empty() {
        facts.labels.remove(&mode);
    } else {
        facts.labels.insert(mode, "dynamic".into());
    }
    facts.dynamic = (!dynamic.is_empty()).then_some(DynamicFacts {
        model: Some(model),
        gpus: dynamic,
        needs_agent: false,
    });
    // `-MIG-` and `-SHARED` behind a product say how it is cut: no longer so.
    facts.labels.insert(PRODUCT.into(), facts.product.clone());
    let mut counts: BTreeMap<Option<ProfileName>, u32> = BTreeMap::new();
    for cut in cuts.values() {
        match cut {
            Cut::Whole => *counts.entry(None).or_default() += 1,
            Cut::Dynamic => {}
            Cut::Static(layout) => {
                for profile in layout {
                    *counts.entry(Some(profile.clone())).or_default() += 1;
                }
            }
        }
    }
    facts.pools.extend(counts.into_iter().map(|(profile, capacity)| match profile {
        None => {
            PoolFacts { resource: WHOLE.into(), kind: PoolKind::Whole, capacity, value_mib: row.memory_mib() }
        }
        Some(profile) => {
            let id = geometry.profile(&profile).expect("a layout of this model");
            let resource = format!("nvidia.com/mig-{}", profile.resource()).into();
            let value_mib = geometry.profiles()[usize::from(id)].memory_mib;
            PoolFacts { resource, kind: PoolKind::Partition(profile), capacity, value_mib }
        }
    }));
    facts.pools.sort_by(|a, b| a.resource.cmp(&b.resource));
    facts
}
