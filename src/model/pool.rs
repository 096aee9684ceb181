//! Counted devices of one node: what its pods ask for, and what the kubelet gave whom.
//!
//! The API server says how many devices a pod asks for, and its word comes first: a pod that was just bound has
//! none yet. The kubelet's record, which the node's agent reports, says which devices are really held, also by a
//! pod that the API server shows no longer. A device is free where neither says that somebody has it.
//!
//! ```text
//!  pods ask      a: 2  b: 1         recorded  a: 1  gone: 1
//!  holdings      a: 2  b: 1  gone: 1          4 used; stray 1, missing 2
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Gpu, GpuReport, Pod, PodKey, PoolFacts, PoolKind, Problem};
use crate::mig::{Occupancy, ProfileName};

/// The use of one pool of counted devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pool {
    /// Units held: the sum over [`Pool::holdings`]. More than the capacity only with a problem.
    pub used: u32,
    /// Who holds them, sorted by pod.
    pub holdings: Vec<Holding>,
}

/// A pod's share of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// The pod; one that is not on the node holds only what is recorded.
    pub pod: PodKey,
    /// Units that it asks for.
    pub asked: u32,
    /// Units that the kubelet gave it, as the node's agent reports.
    pub recorded: u32,
}

impl Holding {
    /// Units that are not free.
    pub fn count(&self) -> u32 {
        self.asked.max(self.recorded)
    }
}

/// Counts what is held of each pool, in their order.
pub(super) fn count(
    facts: &[PoolFacts],
    report: Option<&GpuReport>,
    gpus: &[Gpu],
    pods: &[Arc<Pod>],
    problems: &mut Vec<Problem>,
) -> Vec<Pool> {
    let mut tallies: Vec<BTreeMap<&PodKey, Holding>> = vec![BTreeMap::new(); facts.len()];
    for pod in pods {
        for (resource, count) in &pod.request.counted {
            let Ok(position) = facts.binary_search_by(|facts| facts.resource.cmp(resource)) else {
                let (resource, used) = (resource.clone(), *count);
                problems.push(Problem::Overcommitted { resource, used, capacity: 0 });
                continue;
            };
            let asked = &mut holding(&mut tallies[position], &pod.key).asked;
            *asked = asked.saturating_add(*count);
        }
    }
    for (pod, profile, shares) in report.iter().flat_map(|report| recorded(report, gpus)) {
        if let Some(position) = pool_of(facts, profile, shares.is_some()) {
            let recorded = &mut holding(&mut tallies[position], pod).recorded;
            *recorded = recorded.saturating_add(shares.unwrap_or(1));
        }
    }
    let has_record = report.is_some_and(|report| report.has_record);
    facts.iter().zip(tallies).map(|(facts, tally)| sum(facts, tally, has_record, problems)).collect()
}

fn holding<'t, 'k>(tally: &'t mut BTreeMap<&'k PodKey, Holding>, pod: &'k PodKey) -> &'t mut Holding {
    tally.entry(pod).or_insert_with(|| Holding { pod: pod.clone(), asked: 0, recorded: 0 })
}

fn sum(
    facts: &PoolFacts,
    tally: BTreeMap<&PodKey, Holding>,
    has_record: bool,
    problems: &mut Vec<Problem>,
) -> Pool {
    let holdings: Vec<Holding> = tally.into_values().collect();
    let total = |of: fn(&Holding) -> u32| holdings.iter().map(of).fold(0, u32::saturating_add);
    let asked = total(|holding| holding.asked);
    let (resource, capacity) = (&facts.resource, facts.capacity);
    if asked > capacity {
        problems.push(Problem::Overcommitted { resource: resource.clone(), used: asked, capacity });
    }
    let stray = total(|holding| holding.recorded.saturating_sub(holding.asked));
    let missing = total(|holding| holding.asked.saturating_sub(holding.recorded));
    if stray > 0 || (missing > 0 && has_record && is_reported(resource)) {
        problems.push(Problem::Record { resource: resource.clone(), stray, missing });
    }
    Pool { used: total(Holding::count), holdings }
}

/// What the kubelet gave to pods of the devices that are not Tangram's: which pod, the MIG profile of the device
/// or `None` for a GPU itself, and how many shares or `None` for all of it.
fn recorded<'a>(
    report: &'a GpuReport,
    gpus: &'a [Gpu],
) -> impl Iterator<Item = (&'a PodKey, Option<&'a ProfileName>, Option<u32>)> {
    report.gpus.iter().flat_map(move |reported| {
        let is_dynamic = gpus.iter().any(|gpu| gpu.index == reported.index && gpu.is_dynamic);
        let whole = reported.holders.iter().map(|holder| (&holder.pod, None, holder.shares));
        let partitions = reported.instances.iter().filter(move |instance| instance.is_foreign || !is_dynamic);
        whole.chain(partitions.flat_map(|instance| {
            let alone = instance.pod.iter().filter(|_| instance.sharers.is_empty()).map(|pod| (pod, None));
            let sharers = instance.sharers.iter().map(|sharer| (&sharer.pod, sharer.shares));
            alone.chain(sharers).map(|(pod, shares)| (pod, Some(&instance.profile), shares))
        }))
    })
}

/// The pool that a device of NVIDIA's device plugin is counted in: a MIG device by its profile, or a GPU itself.
pub fn pool_of(pools: &[PoolFacts], profile: Option<&ProfileName>, is_shared: bool) -> Option<usize> {
    let is_of = |(_, facts): &(usize, &PoolFacts)| {
        let of = match &facts.kind {
            PoolKind::Whole => None,
            PoolKind::Partition(profile) => Some(profile),
            PoolKind::Replica { of, .. } => of.as_ref(),
        };
        is_reported(&facts.resource) && of == profile
    };
    // With `renameByDefault` a plugin leaves the plain name behind, with nothing to hand out.
    let rank = |(_, facts): &(usize, &PoolFacts)| {
        (matches!(facts.kind, PoolKind::Replica { .. }) == is_shared, facts.capacity > 0)
    };
    pools.iter().enumerate().filter(is_of).max_by_key(rank).map(|(position, _)| position)
}

/// Agents report NVIDIA's devices only.
fn is_reported(resource: &str) -> bool {
    resource.starts_with("nvidia.com/")
}

/// Pods that hold more of NVIDIA's devices than the device plugin has left hold GPUs that Tangram may think
/// are its own: nothing more is placed on any of those.
pub(super) fn close_overcommitted(gpus: &mut [Gpu], problems: &[Problem]) {
    let is_nvidia = |problem: &Problem| matches!(problem, Problem::Overcommitted { resource, .. } if is_reported(resource));
    if problems.iter().any(is_nvidia) {
        for gpu in gpus {
            gpu.occupancy = Occupancy::CLOSED;
        }
    }
}
