//! The same pod asking for something else: another profile, fewer devices.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::mig::{Catalog, ModelId, ProfileName};
use crate::model::{Cluster, Pod, PoolKind, Request, Want};

/// What a pod would ask for instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What it asks for now: a profile, an amount of memory, a resource name.
    pub from: String,
    /// What it would ask for.
    pub to: String,
    /// How many of it the pod would ask for.
    pub count: u32,
    /// Whether it is more than the pod asks for now.
    pub is_larger: bool,
}

/// Changed pods in the order in which they should be tried: for each kind that is asked for, what is larger from the
/// least on, and what is smaller from the most on.
pub(super) fn other_asks(cluster: &Cluster, pod: &Pod) -> Vec<Vec<(Asked, Arc<Pod>)>> {
    let mut ladders = Vec::new();
    let wants: BTreeSet<&Want> = pod.request.slices.iter().map(|ask| &ask.want).collect();
    for want in wants {
        ladders.extend(other_profiles(cluster, pod, want));
    }
    for (at, (resource, count)) in pod.request.counted.iter().enumerate() {
        ladders.extend(other_partitions(cluster, pod, at, resource, *count));
        let fewer = (1..*count).rev().map(|fewer| {
            let asked = Asked {
                from: resource.to_string(),
                to: resource.to_string(),
                count: fewer,
                is_larger: false,
            };
            (asked, with(pod, |request| request.counted[at].1 = fewer))
        });
        ladders.push(fewer.take(FEWER_MAX).collect());
    }
    ladders.retain(|ladder: &Vec<_>| !ladder.is_empty());
    ladders
}

/// Numbers of devices that are tried: nodes have at most 64 GPUs, and shares have no end.
const FEWER_MAX: usize = 64;

/// GPU models of the cluster that Tangram partitions.
fn models(cluster: &Cluster) -> BTreeSet<ModelId> {
    let catalog = Catalog::get();
    let rows = cluster.indices().flat_map(|index| cluster.row(index).occupancies);
    let mut seen = vec![false; catalog.occupancies()];
    let new = rows.filter(|occupancy| !std::mem::replace(&mut seen[occupancy.index()], true));
    new.filter_map(|&occupancy| Some(catalog.state(occupancy)?.0)).collect()
}

/// Larger and smaller profiles of the cluster's models in place of one want.
fn other_profiles(cluster: &Cluster, pod: &Pod, want: &Want) -> [Vec<(Asked, Arc<Pod>)>; 2] {
    let catalog = Catalog::get();
    let size = |model: ModelId, name: &ProfileName| {
        let geometry = catalog.geometry(model);
        let profile = &geometry.profiles()[usize::from(geometry.profile(name)?)];
        Some((profile.memory_mib, profile.compute_slices))
    };
    let models = models(cluster);
    let own = match want {
        Want::Memory { mib, compute_slices } => {
            Some((*mib, u8::try_from(*compute_slices).unwrap_or(u8::MAX)))
        }
        // On the models of the cluster, or where it exists at all.
        Want::Profile(name) => {
            let here = models.iter().filter_map(|&model| size(model, name)).min();
            here.or_else(|| catalog.offers(name).iter().filter_map(|&(model, _)| size(model, name)).min())
        }
    };
    let Some(own) = own else { return [Vec::new(), Vec::new()] };
    let mut others: BTreeSet<((u32, u8), ProfileName)> = BTreeSet::new();
    for &model in &models {
        for profile in catalog.geometry(model).profiles() {
            let is_plain = !profile.name.has_attribute();
            if is_plain && !matches!(want, Want::Profile(name) if *name == profile.name) {
                others.insert(((profile.memory_mib, profile.compute_slices), profile.name.clone()));
            }
        }
    }
    let changed = |((memory_mib, _), name): &((u32, u8), ProfileName)| {
        let to = Want::Profile(name.clone());
        let count = pod.request.slices.iter().filter(|ask| ask.want == *want).count();
        let asked = Asked {
            from: want.to_string(),
            to: to.to_string(),
            count: u32::try_from(count).unwrap_or(u32::MAX),
            is_larger: *memory_mib >= own.0,
        };
        let pod = with(pod, |request| {
            for ask in request.slices.iter_mut().filter(|ask| ask.want == *want) {
                ask.want = to.clone();
            }
        });
        (asked, pod)
    };
    let (larger, smaller): (Vec<_>, Vec<_>) = others.iter().partition(|(size, _)| size.0 >= own.0);
    [larger.into_iter().map(changed).collect(), smaller.into_iter().rev().map(changed).collect()]
}

/// The same for MIG devices that a device plugin counts: other resource names of nodes of the cluster.
fn other_partitions(
    cluster: &Cluster,
    pod: &Pod,
    at: usize,
    resource: &str,
    count: u32,
) -> [Vec<(Asked, Arc<Pod>)>; 2] {
    let mut known: BTreeSet<(u32, Arc<str>)> = BTreeSet::new();
    for index in cluster.indices() {
        for facts in &cluster.node(index).facts.pools {
            let is_mig = facts.resource.starts_with("nvidia.com/mig-");
            if is_mig && matches!(facts.kind, PoolKind::Partition(_)) && facts.capacity > 0 {
                known.insert((facts.value_mib, facts.resource.clone()));
            }
        }
    }
    let Some(own) = known.iter().find(|(_, name)| **name == *resource).map(|(mib, _)| *mib) else {
        return [Vec::new(), Vec::new()];
    };
    known.retain(|(_, name)| **name != *resource);
    let changed = |(mib, name): &(u32, Arc<str>)| {
        let asked = Asked { from: resource.to_owned(), to: name.to_string(), count, is_larger: *mib >= own };
        let pod = with(pod, |request| {
            request.counted[at].0 = name.clone();
            request.counted.sort();
        });
        (asked, pod)
    };
    let (larger, smaller): (Vec<_>, Vec<_>) = known.iter().partition(|(mib, _)| *mib >= own);
    [larger.into_iter().map(changed).collect(), smaller.into_iter().rev().map(changed).collect()]
}

fn with(pod: &Pod, change: impl FnOnce(&mut Request)) -> Arc<Pod> {
    let mut pod = pod.clone();
    change(&mut pod.request);
    Arc::new(pod)
}
