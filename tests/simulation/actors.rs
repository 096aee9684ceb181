//! Agents, and people who create and delete.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tangram::cache::{Event, ResetKind};
use tangram::mig::{Catalog, ProfileName};
use tangram::model::{
    Demand, DynamicFacts, GpuFacts, GpuHealth, GpuReport, InstanceReport, NodeFacts, Pod, PodKey, PoolFacts,
    PoolKind, Request, SliceAsk, Version, Waiting, Want,
};

use crate::rules::Hardware;
use crate::world::{Action, World, trace};

/// The agent of a node: sees `spec.instances` some time, makes it so some time. The kubelet beside it gives each pod
/// whichever devices of its profiles are free.
#[derive(Debug, Default)]
pub(crate) struct Agent {
    wanted: Vec<(u16, InstanceReport)>,
    seen: (usize, usize),
    pub(crate) asleep_until: u64,
    is_acting: bool,
    /// What containers hold, by GPU and start, with the UID of the pod.
    pub(crate) held: Book,
}

pub(crate) type Book = BTreeMap<(u16, u8), (Arc<str>, PodKey)>;

const PODS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

impl World {
    /// The nodes, with an agent each where Tangram partitions.
    pub(crate) fn furnish(&mut self) {
        for number in 0..2 + self.random.below(3) {
            let name: Arc<str> = format!("node-{number}").into();
            let (model, product, gpus, counted) = match self.random.below(4) {
                0 | 1 => ("a30-24gb", "NVIDIA A30", 1, 0),
                2 => ("a30-24gb", "NVIDIA A30", 2, 1),
                _ => ("a30-24gb", "NVIDIA A30", 0, 2),
            };
            let id = Catalog::get().by_product(product);
            let dynamic = (gpus > 0).then(|| DynamicFacts {
                model: id,
                gpus: (0..gpus).collect(),
                needs_agent: self.chance(80),
            });
            let pool = |capacity| PoolFacts {
                resource: "nvidia.com/gpu".into(),
                kind: PoolKind::Whole,
                capacity,
                value_mib: 24_576,
            };
            let pools = (counted > 0).then(|| pool(counted)).into_iter().collect();
            let product: Arc<str> = product.into();
            let facts = NodeFacts {
                name: name.clone(),
                dynamic,
                pools,
                product: product.clone(),
                ..NodeFacts::default()
            };
            self.server.put_node(facts);
            if gpus > 0 {
                let gpu = |index| GpuFacts {
                    index,
                    uuid: format!("GPU-{index}").into(),
                    product: product.clone(),
                    model: id,
                    memory_mib: None,
                    memory_used_mib: None,
                    holders: Vec::new(),
                    is_mig_enabled: true,
                    health: GpuHealth::Healthy,
                    instances: Vec::new(),
                };
                let report =
                    GpuReport { sequence: 1, gpus: (0..gpus).map(gpu).collect(), ..GpuReport::default() };
                self.server.put_report(&name, report);
            }
            self.hardware.push((name, Hardware { model, gpus, counted }));
            self.agents.push(Agent::default());
        }
    }

    // -----------------------------------------------------------------------------------------------------
    // Agents.

    pub(crate) fn agents_seen(&self) -> (usize, usize) {
        self.agents.first().map_or((0, 0), |agent| agent.seen)
    }

    pub(crate) fn news(&self) -> (usize, usize) {
        let count = |kind| self.server.history(kind).len();
        (count(ResetKind::Reports), count(ResetKind::Pods))
    }

    pub(crate) fn wake_agents(&mut self) {
        let news = self.news();
        for node in 0..self.agents.len() {
            self.agents[node].seen = news;
            let wanted = self.server.reports.get(&self.hardware[node].0).map(|report| &report.wanted);
            let is_new = wanted.is_some_and(|wanted| *wanted != self.agents[node].wanted);
            if is_new || !self.has_all(node) {
                let delay = self.delay();
                self.after(delay, Action::AgentSees(node));
            }
        }
    }

    pub(crate) fn agent_sees(&mut self, node: usize) {
        let agent = &mut self.agents[node];
        if agent.asleep_until > self.now {
            return self.at(self.agents[node].asleep_until, Action::AgentSees(node));
        }
        if let Some(report) = self.server.reports.get(&self.hardware[node].0) {
            agent.wanted.clone_from(&report.wanted);
        }
        if !std::mem::replace(&mut agent.is_acting, true) {
            let delay = self.delay() * 3;
            self.after(delay, Action::AgentActs(node));
        }
    }

    /// Whether every pod of the node holds devices, and nobody else.
    fn has_all(&self, node: usize) -> bool {
        let held: BTreeSet<&str> = self.agents[node].held.values().map(|(uid, _)| &**uid).collect();
        let pods = self.server.holders(&self.hardware[node].0).filter(|pod| !pod.request.slices.is_empty());
        held == pods.map(|pod| &*pod.uid).collect()
    }

    /// The kubelet takes devices back of pods that are gone, and gives them to pods that have come: those of the
    /// profile in any order, whatever was planned.
    fn kubelet(&mut self, node: usize) {
        let name = self.hardware[node].0.clone();
        let pods: Vec<Arc<Pod>> = self.server.holders(&name).cloned().collect();
        let mut held = std::mem::take(&mut self.agents[node].held);
        held.retain(|_, (uid, _)| pods.iter().any(|pod| pod.uid == *uid));
        let Some(report) = self.server.reports.get(&name).cloned() else { return };
        for pod in pods {
            if held.values().any(|(uid, _)| *uid == pod.uid) {
                continue;
            }
            let mut given = Vec::new();
            for device in pod.placement.iter().flat_map(|placement| &placement.devices) {
                let wanted = self.agents[node].wanted.iter().map(|(gpu, wanted)| (*gpu, wanted));
                let live = report.gpus.iter().flat_map(|gpu| gpu.instances.iter().map(|it| (gpu.index, it)));
                let live: Vec<(u16, &InstanceReport)> = live.collect();
                let is_live = |gpu: u16, it: &InstanceReport| {
                    live.iter()
                        .any(|(of, live)| (*of, live.start, &live.profile) == (gpu, it.start, &it.profile))
                };
                let free: Vec<(u16, u8)> = wanted
                    .filter(|(gpu, it)| it.profile == device.profile && is_live(*gpu, it))
                    .map(|(gpu, it)| (gpu, it.start))
                    .filter(|at| !held.contains_key(at) && !given.contains(at))
                    .collect();
                if free.is_empty() {
                    break;
                }
                given.push(free[self.random.below(free.len())]);
            }
            if given.len() == pod.request.slices.len() {
                trace!(self, "the kubelet of {name} gives {} {} {given:?}", pod.key, pod.uid);
                held.extend(given.into_iter().map(|at| (at, (pod.uid.clone(), pod.key.clone()))));
            }
        }
        self.agents[node].held = held;
    }

    /// Destroys what is not wanted and not held, then makes what is; one at a time at times, and only what the GPU takes.
    pub(crate) fn agent_acts(&mut self, node: usize) {
        if self.agents[node].asleep_until > self.now {
            return self.at(self.agents[node].asleep_until, Action::AgentActs(node));
        }
        self.agents[node].is_acting = false;
        if !self.is_calm && self.chance(5) {
            self.agents[node].asleep_until = self.now + self.between(100, 3000);
        }
        self.kubelet(node);
        let (name, hardware) = self.hardware[node].clone();
        let Some(report) = self.server.reports.get(&name) else { return };
        let mut report = GpuReport::clone(report);
        let before = report.gpus.clone();
        let is_same = |live: &InstanceReport, wanted: &InstanceReport| {
            (live.start, &live.profile) == (wanted.start, &wanted.profile)
        };
        let (wanted, held) = (self.agents[node].wanted.clone(), self.agents[node].held.clone());
        let holder = |gpu: u16, start: u8| held.get(&(gpu, start)).map(|(_, pod)| pod.clone());
        for gpu in &mut report.gpus {
            let index = gpu.index;
            let of_gpu = |(gpu, _): &&(u16, InstanceReport)| *gpu == index;
            gpu.instances.retain(|live| {
                let is_wanted = wanted.iter().filter(of_gpu).any(|(_, wanted)| is_same(live, wanted));
                is_wanted || holder(index, live.start).is_some()
            });
            for (_, wanted) in wanted.iter().filter(of_gpu) {
                if gpu.instances.iter().any(|live| is_same(live, wanted)) {
                    continue;
                }
                let mut all: Vec<(&str, u8)> =
                    gpu.instances.iter().map(|live| (live.profile.as_str(), live.start)).collect();
                all.push((wanted.profile.as_str(), wanted.start));
                if let Err(why) = hardware.holds(&all) {
                    return self.fail(format!("rule 1: {name} is to have what cannot be: {why}"));
                }
                let uuid = format!("MIG-{}", self.server.revision);
                gpu.instances.push(InstanceReport {
                    uuid: Some(uuid.into()),
                    pod: None,
                    pod_uid: None,
                    ..wanted.clone()
                });
                if !self.is_calm && self.random.below(4) == 0 {
                    break; // the rest later
                }
            }
            for live in &mut gpu.instances {
                live.pod = holder(index, live.start);
                let asked = wanted.iter().filter(of_gpu).find(|(_, wanted)| is_same(live, wanted));
                live.ready_for = asked.and_then(|(_, wanted)| wanted.pod_uid.clone());
            }
        }
        let live: usize = report.gpus.iter().map(|gpu| gpu.instances.len()).sum();
        let is_there = |(gpu, wanted): &(u16, InstanceReport)| {
            let gpu = report.gpus.iter().find(|known| known.index == *gpu);
            gpu.is_some_and(|gpu| gpu.instances.iter().any(|live| is_same(live, wanted)))
        };
        let is_whole = wanted.iter().all(is_there) && self.has_all(node);
        if report.gpus != before {
            report.sequence += 1;
            trace!(self, "the agent of {name} reports {live} instances");
            self.server.put_report(&name, report);
        }
        if !is_whole {
            self.agents[node].is_acting = true;
            let delay = self.delay() * 3;
            self.after(delay, Action::AgentActs(node));
        }
    }

    // -----------------------------------------------------------------------------------------------------
    // People.

    pub(crate) fn user(&mut self) {
        if self.is_calm {
            return;
        }
        let key = PodKey { namespace: "test".into(), name: PODS[self.random.below(PODS.len())].into() };
        match self.server.pods.get(&key).cloned() {
            None => self.create(key),
            Some(pod) => match self.random.below(10) {
                0 | 1 => self.delete(&pod),
                2 if pod.node.is_some() => {
                    trace!(self, "{key} {} has ended", pod.uid);
                    self.server.end_pod(&key);
                }
                3 if pod.node.is_some() => self.delete(&pod),
                // Its labels change, say: a newer version that means the same.
                4 => drop(self.server.put_pod(Pod::clone(&pod))),
                5 if pod.waiting.as_ref().is_some_and(|waiting| waiting.is_gated) => {
                    let waiting = pod
                        .waiting
                        .as_ref()
                        .map(|waiting| Waiting { is_gated: false, ..(**waiting).clone() });
                    self.server.put_pod(Pod { waiting: waiting.map(Arc::new), ..Pod::clone(&pod) });
                    self.after(10, Action::Cycle(key, pod.uid.clone()));
                }
                6 => self.change_node(),
                _ => {}
            },
        }
        let pause = self.between(10, 250);
        self.after(pause, Action::User);
    }

    fn create(&mut self, key: PodKey) {
        self.uids += 1;
        let uid: Arc<str> = format!("uid-{}", self.uids).into();
        let slices: &[&str] = match self.random.below(8) {
            0..=2 => &["1g.6gb"],
            3 => &["1g.6gb", "1g.6gb"],
            4 | 5 => &["2g.12gb"],
            6 => &["4g.24gb"],
            _ => &[],
        };
        let want = |name: &&str| Want::Profile(ProfileName::parse(name).expect("a profile"));
        let ask = |(position, name)| SliceAsk { container: format!("c{position}").into(), want: want(name) };
        let counted = if slices.is_empty() { vec![("nvidia.com/gpu".into(), 1)] } else { Vec::new() };
        let waiting = Waiting { is_gated: self.chance(5), ..Waiting::default() };
        let pod = Pod {
            key: key.clone(),
            uid: uid.clone(),
            created_s: 0,
            priority: 0,
            request: Request { counted, slices: slices.iter().enumerate().map(ask).collect(), policy: None },
            demand: Demand::default(),
            node: None,
            placement: None,
            unreadable_placement: None,
            is_terminating: false,
            mobility: tangram::model::Mobility::default(),
            version: Version::default(),
            waiting: Some(Arc::new(waiting)),
        };
        trace!(self, "{key} {uid} is created: {slices:?}");
        self.server.put_pod(pod);
        let delay = self.delay();
        self.after(delay, Action::Cycle(key, uid));
    }

    /// Gracefully: it stays for a while, terminating; or at once, where nothing keeps it.
    fn delete(&mut self, pod: &Arc<Pod>) {
        trace!(self, "{} {} is deleted", pod.key, pod.uid);
        if (pod.node.is_some() || self.chance(30)) && !pod.is_terminating {
            self.server.put_pod(Pod { is_terminating: true, ..Pod::clone(pod) });
            let grace = self.between(10, 800);
            self.after(grace, Action::Removed(pod.key.clone(), pod.uid.clone()));
        } else if !pod.is_terminating {
            self.server.remove_pod(&pod.key);
        }
    }

    fn change_node(&mut self) {
        let node = self.random.below(self.hardware.len());
        let name = self.hardware[node].0.clone();
        let Some(facts) = self.server.nodes.get(&name).cloned() else { return };
        if self.chance(20) {
            trace!(self, "{name} is deleted");
            self.server.remove_node(&name);
            let pause = self.between(20, 600);
            self.after(pause, Action::NodeBack(node));
        } else {
            let is_unschedulable = !facts.is_unschedulable;
            self.server.put_node(NodeFacts { is_unschedulable, ..NodeFacts::clone(&facts) });
        }
    }

    pub(crate) fn node_back(&mut self, node: usize) {
        let name = &self.hardware[node].0;
        let facts =
            self.server.history(ResetKind::Nodes).iter().rev().find_map(|change| match &change.event {
                Event::NodeApplied(facts) if facts.name == *name => Some(facts.clone()),
                _ => None,
            });
        let facts = facts.expect("it was there");
        self.server.put_node(NodeFacts { is_unschedulable: false, ..NodeFacts::clone(&facts) });
    }
}
