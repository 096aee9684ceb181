//! One node with the pods on it.

use std::sync::Arc;

use super::recorded::correct;
use super::{
    Gpu, GpuReport, NodeFacts, Placement, Pod, PodKey, PoolFacts, Problem, Resources, occupy::occupy,
};
use crate::mig::Occupancy;

/// A node and everything that follows from what is on it.
///
/// Equal inputs give equal nodes: see [`Node::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What its API object says.
    pub facts: Arc<NodeFacts>,
    /// What its agent says, if it has one.
    pub report: Option<Arc<GpuReport>>,
    /// The pods bound to it, sorted by key.
    pub pods: Vec<Arc<Pod>>,
    /// Those to which the kubelet gave other devices than were planned, with the ones that they have.
    exchanged: Vec<Arc<Pod>>,
    /// What those pods ask of kube-scheduler's own resources.
    pub used: Resources,
    /// Counted devices, in the order of [`NodeFacts::pools`].
    pub pools: Vec<Pool>,
    /// GPUs that are dynamic or reported, by index.
    pub gpus: Vec<Gpu>,
    /// What does not add up.
    pub problems: Vec<Problem>,
}

/// The use of one pool of counted devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Units held; more than the capacity only with a [`Problem::Overcommitted`].
    pub used: u32,
    /// Who holds them, sorted by pod.
    pub holdings: Vec<Holding>,
}

/// A pod's share of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// The pod.
    pub pod: PodKey,
    /// Units.
    pub count: u32,
}

impl Node {
    /// Derives a node. The order of `pods` does not matter.
    pub fn new(facts: Arc<NodeFacts>, report: Option<Arc<GpuReport>>, mut pods: Vec<Arc<Pod>>) -> Self {
        pods.sort_by(|a, b| a.key.cmp(&b.key));
        let mut problems = facts.problems.clone();
        problems.extend(report.iter().flat_map(|report| report.problems.iter().cloned()));
        let mut placed = pods.clone();
        if let Some(report) = &report {
            correct(report, &mut placed, &mut problems);
        }
        let is_other = |(pod, placed): &(&Arc<Pod>, &Arc<Pod>)| !Arc::ptr_eq(pod, placed);
        let exchanged: Vec<Arc<Pod>> =
            pods.iter().zip(&placed).filter(is_other).map(|(_, placed)| placed.clone()).collect();
        let mut gpus = occupy(&facts, report.as_deref(), &placed, &exchanged, &mut problems);
        let pools = count(&facts.pools, &pods, &mut problems);
        close_overcommitted(&mut gpus, &problems);
        let used = pods.iter().fold(Resources::default(), |sum, pod| sum + pod.demand.resources);
        Self { facts, report, pods, exchanged, used, pools, gpus, problems }
    }

    /// The same node with another pod on it; it replaces one of the same key.
    #[must_use]
    pub fn with(&self, pod: &Arc<Pod>) -> Self {
        let others = self.pods.iter().filter(|other| other.key != pod.key).cloned();
        let pods = others.chain([pod.clone()]).collect();
        Self::new(self.facts.clone(), self.report.clone(), pods)
    }

    /// The node as it is when some of its pods are gone and their GPU instances with them.
    #[must_use]
    pub fn without(&self, goes: impl Fn(&Pod) -> bool) -> Self {
        let gone: Vec<&PodKey> = self.pods.iter().filter(|pod| goes(pod)).map(|pod| &pod.key).collect();
        let is_theirs = |pod: Option<&PodKey>| pod.is_some_and(|pod| gone.contains(&pod));
        // Also those of which the agent does not say whose they are.
        let of_gpu = |gpu: &Gpu| {
            let theirs = gpu.instances.iter().filter(|instance| is_theirs(instance.pod.as_ref()));
            theirs.map(|instance| (gpu.index, instance.start)).collect::<Vec<_>>()
        };
        let places: Vec<(u16, u8)> = self.gpus.iter().flat_map(of_gpu).collect();
        let report = self.report.as_ref().map(|report| {
            Arc::new(report.without(|gpu, instance| {
                is_theirs(instance.pod.as_ref()) || places.contains(&(gpu, instance.start))
            }))
        });
        let left = self.pods.iter().filter(|pod| !goes(pod)).cloned().collect();
        Self::new(self.facts.clone(), report, left)
    }

    /// The same node keeping only some of its pods; what its agent reports stays.
    #[must_use]
    pub fn retaining(&self, keeps: impl Fn(&Pod) -> bool) -> Self {
        let pods = self.pods.iter().filter(|pod| keeps(pod)).cloned().collect();
        Self::new(self.facts.clone(), self.report.clone(), pods)
    }

    /// The pod of that key, if it is on this node.
    pub fn pod(&self, key: &PodKey) -> Option<&Arc<Pod>> {
        self.pods.binary_search_by(|pod| pod.key.cmp(key)).ok().map(|position| &self.pods[position])
    }

    /// Where a pod's devices are: as the kubelet has it where it says so, else as was planned.
    pub fn placement<'a>(&'a self, pod: &'a Pod) -> Option<&'a Placement> {
        let found = self.exchanged.iter().find(|other| other.key == pod.key);
        found.map_or(pod, |found| &**found).placement.as_ref()
    }

    /// Counted devices with their use.
    pub fn pools(&self) -> impl Iterator<Item = (&PoolFacts, &Pool)> {
        self.facts.pools.iter().zip(&self.pools)
    }

    /// The GPUs that Tangram may partition.
    pub fn dynamic_gpus(&self) -> impl Iterator<Item = &Gpu> {
        self.gpus.iter().filter(|gpu| gpu.is_dynamic)
    }
}

/// Pods that hold more of NVIDIA's devices than the device plugin has left hold GPUs that Tangram may think
/// are its own: nothing more is placed on any of those.
fn close_overcommitted(gpus: &mut [Gpu], problems: &[Problem]) {
    let is_nvidia = |problem: &Problem| matches!(problem, Problem::Overcommitted { resource, .. } if resource.starts_with("nvidia.com/"));
    if problems.iter().any(is_nvidia) {
        for gpu in gpus {
            gpu.occupancy = Occupancy::CLOSED;
        }
    }
}

fn count(facts: &[PoolFacts], pods: &[Arc<Pod>], problems: &mut Vec<Problem>) -> Vec<Pool> {
    let mut pools = vec![Pool { used: 0, holdings: Vec::new() }; facts.len()];
    for pod in pods {
        for (resource, count) in &pod.request.counted {
            let Ok(position) = facts.binary_search_by(|facts| facts.resource.cmp(resource)) else {
                let (resource, used) = (resource.clone(), *count);
                problems.push(Problem::Overcommitted { resource, used, capacity: 0 });
                continue;
            };
            let pool = &mut pools[position];
            pool.used = pool.used.saturating_add(*count);
            pool.holdings.push(Holding { pod: pod.key.clone(), count: *count });
        }
    }
    for (facts, pool) in facts.iter().zip(&pools) {
        if pool.used > facts.capacity {
            let (resource, used, capacity) = (facts.resource.clone(), pool.used, facts.capacity);
            problems.push(Problem::Overcommitted { resource, used, capacity });
        }
    }
    pools
}
