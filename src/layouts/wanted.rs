//! How many devices of each profile static nodes should have.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Counts, StaticNode};
use crate::mig::{Catalog, ModelId, ProfileName};
use crate::model::{Cluster, Pod, PoolKind, Want};
use crate::solver::exact::{Fillings, prices};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Asked {
    /// The mix of what the cluster's pods ask for; those that wait come first.
    #[default]
    Learnt,
    /// This mix in its place.
    Shares(BTreeMap<ProfileName, f64>),
    /// So many that can be started, and nothing else.
    Counts(Counts),
}

/// The demand on what nobody holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Devices that pods wait for.
    pub waiting: Counts,
    /// Devices expected beside them.
    pub expected: Counts,
}

/// The demand on the devices of static nodes that nobody holds.
///
/// A mix is scaled, model by model, to as many requests as keep all GPUs in MIG mode busy in the fluid optimum; what
/// pods hold there already and what they wait for is part of that. Requests for `nvidia.com/mig-PROFILE`, for
/// `tangram.gpu/mig-PROFILE`, and for `nvidia.com/gpu` of nodes where that is a MIG device count alike; but only
/// the first can be waited for, since the second never starts on a static node and the third may mean anything.
pub fn wanted(asked: &Asked, nodes: &[StaticNode], cluster: &Cluster, waiting: &[Arc<Pod>]) -> Wanted {
    let mix: BTreeMap<Want, f64> = match asked {
        Asked::Counts(counts) => {
            return Wanted { waiting: Counts::new(), expected: counts.clone() };
        }
        Asked::Shares(shares) => {
            shares.iter().map(|(profile, share)| (Want::Profile(profile.clone()), *share)).collect()
        }
        Asked::Learnt => mix(cluster, waiting),
    };
    let mut wanted = Wanted::default();
    for (profile, count) in waiting.iter().flat_map(|pod| partitions(pod)) {
        *wanted.waiting.entry(profile).or_default() += count;
    }
    let mut busy: BTreeMap<ProfileName, f64> = BTreeMap::new();
    for (model, gpus) in gpus_by_model(nodes) {
        for (profile, count) in scaled(&mix, model, gpus) {
            *busy.entry(profile).or_default() += count;
        }
    }
    for (profile, count) in busy {
        let of = |counts: &Counts| counts.get(&profile).copied().unwrap_or(0);
        let held: u32 = nodes.iter().map(|node| of(&node.devices).saturating_sub(of(&node.free))).sum();
        let left = rounded_up(count).saturating_sub(held).saturating_sub(of(&wanted.waiting));
        if left > 0 {
            wanted.expected.insert(profile, left);
        }
    }
    wanted
}

/// What the pods of a cluster ask for.
fn mix(cluster: &Cluster, waiting: &[Arc<Pod>]) -> BTreeMap<Want, f64> {
    let mut mix: BTreeMap<Want, f64> = BTreeMap::new();
    let bound = cluster.indices().map(|index| cluster.node(index)).flat_map(|node| &node.pods);
    for pod in bound.chain(waiting) {
        for ask in &pod.request.slices {
            *mix.entry(ask.want.clone()).or_default() += 1.0;
        }
    }
    for (profile, count) in waiting.iter().flat_map(|pod| partitions(pod)) {
        *mix.entry(Want::Profile(profile)).or_default() += f64::from(count);
    }
    for (facts, pool) in cluster.indices().flat_map(|index| cluster.node(index).pools()) {
        let (profile, replicas) = match &facts.kind {
            PoolKind::Partition(profile) => (profile, 1),
            PoolKind::Replica { of: Some(profile), replicas, .. } => (profile, *replicas),
            PoolKind::Whole | PoolKind::Replica { of: None, .. } => continue,
        };
        if pool.used > 0 {
            *mix.entry(Want::Profile(profile.clone())).or_default() +=
                f64::from(pool.used) / f64::from(replicas.max(1));
        }
    }
    mix
}

/// The static MIG devices that a pod asks for.
fn partitions(pod: &Pod) -> impl Iterator<Item = (ProfileName, u32)> {
    let profile = |resource: &str| resource.strip_prefix("nvidia.com/mig-").and_then(ProfileName::parse);
    pod.request.counted.iter().filter_map(move |(resource, count)| Some((profile(resource)?, *count)))
}

/// GPUs in MIG mode.
fn gpus_by_model(nodes: &[StaticNode]) -> BTreeMap<ModelId, u32> {
    let mut gpus = BTreeMap::new();
    for node in nodes {
        *gpus.entry(node.model).or_default() += u32::try_from(node.cut_gpus()).unwrap_or(u32::MAX);
    }
    gpus
}

impl StaticNode {
    /// GPUs in MIG mode, and those that may come to be.
    fn cut_gpus(&self) -> usize {
        let is_free = self.fixed.is_none();
        self.gpus.iter().filter(|gpu| is_free || gpu.layout != Some(super::Layout::Whole)).count()
    }
}

/// A mix as requests that keep so many GPUs of a model busy; nothing where the model serves none of it.
fn scaled(mix: &BTreeMap<Want, f64>, model: ModelId, gpus: u32) -> Vec<(ProfileName, f64)> {
    let catalog = Catalog::get();
    let geometry = catalog.geometry(model);
    let mut shares = vec![0.0; geometry.profiles().len()];
    for (want, weight) in mix {
        if let Some(profile) = want.cheapest(catalog, model) {
            shares[usize::from(profile)] += weight;
        }
    }
    let per_request = prices(&Fillings::new(geometry, |id| shares[usize::from(id)] > 0.0), &shares).gpus;
    if per_request <= 0.0 {
        return Vec::new();
    }
    let names = geometry.profiles().iter().map(|profile| profile.name.clone()).zip(shares);
    let asked = names.filter(|(_, share)| *share > 0.0);
    asked.map(|(name, share)| (name, share * f64::from(gpus) / per_request)).collect()
}

/// Requests are whole; a solver's arithmetic is not one more.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; never below 0")]
fn rounded_up(count: f64) -> u32 {
    const TOLERANCE: f64 = 1e-6;
    (count - TOLERANCE).ceil() as u32
}
