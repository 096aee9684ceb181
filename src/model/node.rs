//! One node with the pods on it.

use std::sync::Arc;

use super::occupy::occupy;
use super::pool::{close_overcommitted, count};
use super::recorded::correct;
use super::{
    Gpu, GpuFacts, GpuReport, NodeFacts, Placement, Pod, PodKey, Pool, PoolFacts, Problem, Resources,
};

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
    /// Whether GPUs of this node are partitioned by an agent that has not been heard for too long.
    pub is_silent: bool,
    /// What does not add up.
    pub problems: Vec<Problem>,
}

impl Node {
    /// Derives a node, with an agent that is not silent. The order of `pods` does not matter.
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
        let pools = count(&facts.pools, report.as_deref(), &gpus, &pods, &mut problems);
        close_overcommitted(&mut gpus, &problems);
        let used = pods.iter().fold(Resources::default(), |sum, pod| sum + pod.demand.resources);
        Self { facts, report, pods, exchanged, used, pools, gpus, is_silent: false, problems }
    }

    /// The same node with an agent that is silent, or is not. Where no GPU is Tangram's to partition, nothing waits
    /// for an agent, and it makes no difference.
    #[must_use]
    pub fn with_agent(mut self, is_silent: bool) -> Self {
        self.is_silent = is_silent && self.facts.dynamic.is_some();
        self.problems.retain(|problem| *problem != Problem::SilentAgent);
        self.problems.extend(self.is_silent.then_some(Problem::SilentAgent));
        self
    }

    /// The same node with another pod on it; it replaces one of the same key.
    #[must_use]
    pub fn with(&self, pod: &Arc<Pod>) -> Self {
        let others = self.pods.iter().filter(|other| other.key != pod.key).cloned();
        let pods = others.chain([pod.clone()]).collect();
        self.again(self.report.clone(), pods)
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
        let is_gone = |pod: &PodKey| gone.contains(&pod);
        let report = self.report.as_ref().map(|report| Arc::new(report.without(is_gone, &places)));
        let left = self.pods.iter().filter(|pod| !goes(pod)).cloned().collect();
        self.again(report, left)
    }

    /// The same node keeping only some of its pods; what its agent reports stays.
    #[must_use]
    pub fn retaining(&self, keeps: impl Fn(&Pod) -> bool) -> Self {
        let pods = self.pods.iter().filter(|pod| keeps(pod)).cloned().collect();
        self.again(self.report.clone(), pods)
    }

    fn again(&self, report: Option<Arc<GpuReport>>, pods: Vec<Arc<Pod>>) -> Self {
        Self::new(self.facts.clone(), report, pods).with_agent(self.is_silent)
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

    /// What the agent reports of a GPU.
    pub fn reported(&self, gpu: u16) -> Option<&GpuFacts> {
        self.report.as_ref()?.gpus.iter().find(|reported| reported.index == gpu)
    }

    /// The GPUs that Tangram may partition.
    pub fn dynamic_gpus(&self) -> impl Iterator<Item = &Gpu> {
        self.gpus.iter().filter(|gpu| gpu.is_dynamic)
    }
}
