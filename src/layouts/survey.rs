//! The nodes that mig-manager partitions, as they are.

use std::fmt;
use std::sync::Arc;

use super::{Counts, Layout, add};
use crate::mig::{Catalog, Geometry, ModelId, StateId};
use crate::model::{Cluster, GpuHealth, Node, PoolKind};

/// The label whose value names a node's layout.
pub(super) const CONFIG: &str = "nvidia.com/mig.config";
const STATE: &str = "nvidia.com/mig.config.state";
const STRATEGY: &str = "nvidia.com/mig.strategy";
const MANAGER: &str = "nvidia.com/gpu.deploy.mig-manager";
const COUNT: &str = "nvidia.com/gpu.count";
/// GPUs of one node: the largest hosts have 16.
const GPUS_MAX: u16 = 64;

/// How NVIDIA's device plugin offers MIG devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strategy {
    /// All alike, as `nvidia.com/gpu`.
    Single,
    /// Each profile as `nvidia.com/mig-PROFILE`.
    Mixed,
}

/// A node whose GPUs mig-manager partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticNode {
    /// Its name.
    pub name: Arc<str>,
    /// Model of its GPUs.
    pub model: ModelId,
    /// How its MIG devices are offered.
    pub strategy: Strategy,
    /// The label `nvidia.com/mig.config`.
    pub config: Arc<str>,
    /// Its GPUs, by index.
    pub gpus: Vec<StaticGpu>,
    /// All its MIG devices.
    pub devices: Counts,
    /// Those that nobody holds.
    pub free: Counts,
    /// Why none of its GPUs may change, where something forbids it.
    pub fixed: Option<Fixed>,
}

/// One GPU of such a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticGpu {
    /// NVML index.
    pub index: u16,
    /// How it is cut; `None` where only the devices of the node as a whole are known.
    pub layout: Option<Layout>,
    /// Devices that nobody holds, where an agent reports them.
    pub free: Counts,
    /// Whether a pod holds it, or a device of it, or it is whole and is not to be split.
    pub stays: bool,
}

/// Why a node keeps its layout whatever is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fixed {
    /// Pods hold devices: so many.
    Held(usize),
    /// Pods hold devices, and nobody says which: the agent does not report, or its report lacks them.
    HeldSomewhere,
    /// mig-manager is at work; the value of its label.
    AtWork(Arc<str>),
    /// mig-manager failed.
    Failed,
    /// The label that keeps mig-manager from the node.
    NoManager,
    /// MIG mode is off: its GPUs are for whole-GPU pods.
    Whole,
    /// Some GPUs are whole, and which is not known without an agent.
    Unclear,
    /// A GPU is unhealthy.
    Unhealthy(u16),
}

impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(1) => f.write_str("1 pod holds devices of it"),
            Self::Held(pods) => write!(f, "{pods} pods hold devices of it"),
            Self::HeldSomewhere => f.write_str("pods hold devices of it, and no agent says of which GPUs"),
            Self::AtWork(state) => write!(f, "mig-manager is at work there ({STATE}: {state})"),
            Self::Failed => write!(f, "mig-manager failed there ({STATE}: failed)"),
            Self::NoManager => write!(f, "mig-manager is kept away ({MANAGER}: false)"),
            Self::Whole => f.write_str("its GPUs are whole"),
            Self::Unclear => f.write_str("some of its GPUs are whole, and no agent says which"),
            Self::Unhealthy(gpu) => write!(f, "GPU {gpu} is unhealthy"),
        }
    }
}

/// All such nodes of a cluster, by name: `nvidia.com/mig.config` with the strategy mixed or single, a GPU model that
/// the table knows, and no GPU that is Tangram's to partition.
///
/// With `by_gpu` GPUs that nobody holds may change on nodes where others are held; without it, such a node stays.
/// With `may_split` GPUs outside MIG mode may change too.
pub fn survey(cluster: &Cluster, by_gpu: bool, may_split: bool) -> Vec<StaticNode> {
    cluster.by_name().into_iter().filter_map(|node| StaticNode::of(node, by_gpu, may_split)).collect()
}

impl StaticNode {
    /// The node, if it is one; see [`survey`].
    pub fn of(node: &Node, by_gpu: bool, may_split: bool) -> Option<Self> {
        let facts = &node.facts;
        let label = |key: &str| facts.labels.get(key).filter(|value| !value.is_empty());
        let config = label(CONFIG)?.clone();
        let strategy = match &**label(STRATEGY)? {
            "mixed" => Strategy::Mixed,
            "single" => Strategy::Single,
            _ => return None,
        };
        let reported = node.report.as_ref().and_then(|report| report.gpus.first()?.model);
        let model = Catalog::get().by_product(&facts.product).or(reported)?;
        if facts.dynamic.is_some() {
            return None;
        }
        let mut of = Self {
            name: facts.name.clone(),
            model,
            strategy,
            config,
            gpus: Vec::new(),
            devices: Counts::new(),
            free: Counts::new(),
            fixed: None,
        };
        let whole = of.count_pools(node);
        of.gpus = if node.report.as_ref().is_some_and(|report| !report.gpus.is_empty()) {
            reported_gpus(node)
        } else {
            let count: u16 = label(COUNT)?.parse().ok().filter(|count| (1..=GPUS_MAX).contains(count))?;
            of.counted_gpus(count, whole)
        };
        let state = label(STATE).map_or("", |state| &**state);
        let is_off = label(MANAGER).is_some_and(|value| &**value == "false");
        let unhealthy =
            node.report.iter().flat_map(|report| &report.gpus).find(|gpu| gpu.health != GpuHealth::Healthy);
        let is_known = of.gpus.iter().all(|gpu| gpu.layout.is_some());
        let is_whole = |gpu: &StaticGpu| !may_split && gpu.layout == Some(Layout::Whole);
        let wholes = of.gpus.iter().filter(|gpu| is_whole(gpu)).count();
        for gpu in &mut of.gpus {
            gpu.stays |= is_whole(gpu);
        }
        of.fixed = if is_off {
            Some(Fixed::NoManager)
        } else if state == "failed" {
            Some(Fixed::Failed)
        } else if matches!(state, "pending" | "rebooting") {
            Some(Fixed::AtWork(state.into()))
        } else if let Some(gpu) = unhealthy {
            Some(Fixed::Unhealthy(gpu.index))
        } else if whole > 0 && !is_known {
            Some(Fixed::Unclear)
        } else if wholes == of.gpus.len() || (wholes > 0 && strategy == Strategy::Single) {
            Some(Fixed::Whole)
        } else {
            of.held(node, by_gpu)
        };
        Some(of)
    }

    /// Counts MIG devices; gives the number of devices that are whole GPUs, or shares of them.
    fn count_pools(&mut self, node: &Node) -> u32 {
        let mut whole = 0;
        for (facts, pool) in node.pools().filter(|(facts, _)| facts.resource.starts_with("nvidia.com/")) {
            let (profile, replicas) = match &facts.kind {
                PoolKind::Partition(profile) | PoolKind::Replica { of: Some(profile), replicas: 1, .. } => {
                    (profile, 1)
                }
                PoolKind::Replica { of: Some(profile), replicas, .. } => (profile, *replicas),
                PoolKind::Whole | PoolKind::Replica { of: None, .. } => {
                    whole += facts.capacity;
                    continue;
                }
            };
            let devices = |shares: u32| shares.div_euclid(replicas.max(1));
            let free = devices(facts.capacity.saturating_sub(pool.used));
            for (sum, count) in [(&mut self.devices, devices(facts.capacity)), (&mut self.free, free)] {
                if count > 0 {
                    add(sum, &Counts::from([(profile.clone(), count)]));
                }
            }
        }
        whole
    }

    /// GPUs of a node without an agent: cut alike, where that can be.
    fn counted_gpus(&self, count: u16, whole: u32) -> Vec<StaticGpu> {
        let gpus = u32::from(count);
        let layout = if self.devices.is_empty() && whole > 0 {
            Some(Layout::Whole)
        } else if whole == 0 && self.devices.values().all(|devices| devices.rem_euclid(gpus) == 0) {
            let each =
                self.devices.iter().map(|(profile, devices)| (profile.clone(), devices.div_euclid(gpus)));
            let each: Counts = each.collect();
            is_legal(Catalog::get().geometry(self.model), &each).then_some(Layout::Cut(each))
        } else {
            None
        };
        let gpu = |index| StaticGpu { index, layout: layout.clone(), free: Counts::new(), stays: false };
        (0..count).map(gpu).collect()
    }

    /// Whether pods keep the node as it is.
    fn held(&mut self, node: &Node, by_gpu: bool) -> Option<Fixed> {
        let is_nvidia = |resource: &str| resource.starts_with("nvidia.com/");
        let pools = || node.pools().filter(|(facts, _)| is_nvidia(&facts.resource));
        let mut pods: Vec<_> =
            pools().flat_map(|(_, pool)| &pool.holdings).map(|holding| &holding.pod).collect();
        // A resource that the node does not offer any more has no pool, and its pods may run on.
        let asks = |(resource, _): &(Arc<str>, u32)| is_nvidia(resource);
        pods.extend(node.pods.iter().filter(|pod| pod.request.counted.iter().any(asks)).map(|pod| &pod.key));
        let reported = node.report.iter().flat_map(|report| &report.gpus);
        pods.extend(reported.flat_map(|gpu| {
            let whole = gpu.holders.iter().map(|holder| &holder.pod);
            let of = gpu.instances.iter();
            whole.chain(of.flat_map(|it| it.pod.iter().chain(it.sharers.iter().map(|sharer| &sharer.pod))))
        }));
        pods.sort();
        pods.dedup();
        if pods.is_empty() {
            return None;
        }
        if !by_gpu || self.strategy == Strategy::Single {
            return Some(Fixed::Held(pods.len()));
        }
        let is_recorded = node.report.as_ref().is_some_and(|report| report.has_record)
            && pools().flat_map(|(_, pool)| &pool.holdings).all(|holding| holding.asked <= holding.recorded);
        if !is_recorded {
            return Some(Fixed::HeldSomewhere);
        }
        self.gpus.iter().all(|gpu| gpu.stays).then_some(Fixed::Held(pods.len()))
    }
}

/// GPUs as the agent reports them.
fn reported_gpus(node: &Node) -> Vec<StaticGpu> {
    let reported = node.report.iter().flat_map(|report| &report.gpus);
    let mut gpus: Vec<StaticGpu> = reported
        .map(|gpu| {
            let mut free = Counts::new();
            let mut all = Counts::new();
            let mut stays = !gpu.holders.is_empty();
            for instance in &gpu.instances {
                let one = Counts::from([(instance.profile.clone(), 1)]);
                add(&mut all, &one);
                if instance.pod.is_none() && instance.sharers.is_empty() {
                    add(&mut free, &one);
                } else {
                    stays = true;
                }
            }
            let layout = if gpu.is_mig_enabled { Layout::Cut(all) } else { Layout::Whole };
            StaticGpu { index: gpu.index, layout: Some(layout), free, stays }
        })
        .collect();
    gpus.sort_by_key(|gpu| gpu.index);
    gpus
}

/// Whether a GPU can hold these devices together.
pub(super) fn is_legal(geometry: &Geometry, counts: &Counts) -> bool {
    let mut ids = Vec::new();
    for (profile, &count) in counts {
        let Some(id) = geometry.profile(profile) else { return false };
        // More than there are slices never fit.
        ids.extend((0..count.min(u32::from(geometry.axis()) + 1)).map(|_| id));
    }
    ids.sort_by_key(|&id| std::cmp::Reverse(geometry.profiles()[usize::from(id)].size));
    fits(geometry, 0, &ids)
}

fn fits(geometry: &Geometry, state: StateId, ids: &[u8]) -> bool {
    let Some((&first, rest)) = ids.split_first() else { return true };
    geometry.legal(state, first).any(|(_, after)| fits(geometry, after, rest))
}
