//! The owner of the model under random lives of nodes, reports and pods: events doubled, late, in any
//! order, lists with holes, annotations that lie.
//!
//! After every event the cache is held against what this file remembers of the events, against a cache that
//! learns the survivors in another order, and against the raw rows of the MIG table. Inputs are the same in
//! every run.

#[path = "common/cluster.rs"]
#[expect(dead_code, reason = "what the tests of the table alone need")]
mod cluster;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use cluster::{
    Board, Profile, check, dynamic, fits, gpu, key, live, model, node, placed, placement, pod, pool, report,
    shared, want,
};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof};
use proptest::test_runner::TestCaseResult;
use tangram::cache::{BindError, Cache, Event, Outcome, ResetKind};
use tangram::mig::{Catalog, MODELS, ModelRow, Occupancy};
use tangram::model::{
    Cluster, Device, Gpu, GpuHealth, GpuReport, InstanceReport, Node, NodeFacts, Placement, Pod, PodKey,
    Policy, PoolKind, Problem, Row, Want,
};
use tangram::solver::{Refusal, Scores, verify};

fn new_cache(pods_max: usize) -> Cache {
    static SCORES: LazyLock<Arc<Scores>> = LazyLock::new(|| shared(Scores::prior()));
    Cache::new(SCORES.clone(), Policy::Pack, pods_max)
}

// ---------------------------------------------------------------------------------------------------------
// Random events.

// Few, so that things meet.
const NODES: usize = 2;
const PODS: usize = 6;

/// One random step; small numbers choose from the lists below.
#[derive(Debug, Clone)]
enum Step {
    Node {
        node: usize,
        shape: usize,
    },
    NodeGone {
        node: usize,
    },
    Report {
        node: usize,
        sequence: u64,
        gpus: Vec<ReportedGpu>,
        wanted: Vec<(u16, ReportedInstance)>,
    },
    ReportGone {
        node: usize,
    },
    Pod(PodStep),
    Seen(PodStep),
    /// Any pod, or one of those that are pending.
    Bind {
        pod: usize,
        is_pending: bool,
        uid: Uid,
        node: usize,
    },
    PodGone {
        pod: usize,
    },
    Reset {
        kind: usize,
        kept: u8,
    },
    /// An earlier event of this run once more: late, or doubled.
    Again {
        back: usize,
    },
}

#[derive(Debug, Clone)]
struct PodStep {
    pod: usize,
    /// How often the pod was created again under its name.
    life: usize,
    asks: usize,
    priority: i32,
    node: Option<usize>,
    holds: Holds,
}

/// What a bound pod's annotation says.
#[derive(Debug, Clone)]
enum Holds {
    Nothing,
    Unreadable,
    /// (GPU, profile, start), true or not.
    Devices(Vec<(u16, usize, u8)>),
}

#[derive(Debug, Clone, Copy)]
enum Uid {
    Right,
    Empty,
    Wrong,
}

#[derive(Debug, Clone)]
struct ReportedGpu {
    model: usize,
    is_healthy: bool,
    instances: Vec<ReportedInstance>,
}

#[derive(Debug, Clone)]
struct ReportedInstance {
    profile: usize,
    start: u8,
    pod: Option<usize>,
    /// Of the kind that the pod asks for, where it is known; an agent rarely errs there.
    is_as_asked: bool,
}

const PROFILES: [&str; 8] =
    ["1g.10gb", "1g.10gb+me", "1g.20gb", "3g.40gb", "7g.80gb", "1g.6gb", "1g.6gb+me", "2g.12gb"];

/// Facts of a node: GPUs of another model, another number of them, other pools.
fn shape(name: &str, shape: usize) -> NodeFacts {
    let (a100, a30) = (model("a100-80gb"), model("a30-24gb"));
    match shape {
        0 => dynamic(name, a100, [0]),
        1 => dynamic(name, a100, [0, 1]),
        2 => NodeFacts { pools: vec![pool("nvidia.com/gpu", 2)], ..dynamic(name, a30, [0, 2]) },
        3 => NodeFacts { pools: vec![pool("nvidia.com/gpu", 4)], ..node(name) },
        4 => NodeFacts { pools: vec![pool("amd.com/gpu", 1), pool("nvidia.com/gpu", 1)], ..node(name) },
        5 => node(name),
        // GPUs that the labels do not count: those that an agent reports in MIG mode.
        _ => dynamic(name, a100, []),
    }
}

const SHAPES: usize = 7;

/// What a pod asks: GPU instances and counted devices.
fn asks(number: usize) -> (Vec<Want>, Vec<(&'static str, u32)>) {
    let gpu = |count| ("nvidia.com/gpu", count);
    match number {
        0 => (vec![], vec![]),
        1 => (vec![want("1g.10gb")], vec![]),
        2 => (vec![want("1g.10gb"), want("1g.10gb")], vec![]),
        3 => (vec![want("3g.40gb")], vec![]),
        4 => (vec![want("1g.10gb+me"), want("1g.20gb")], vec![]),
        5 => (vec![want("1g.6gb")], vec![]),
        6 => (vec![want("1g.6gb+me"), want("2g.12gb")], vec![]),
        7 => (vec![Want::Memory { mib: 5000, compute_slices: 1 }], vec![]),
        8 => (vec![], vec![gpu(1)]),
        9 => (vec![want("1g.6gb")], vec![gpu(2)]),
        _ => (vec![], vec![("amd.com/gpu", 1), gpu(1)]),
    }
}

const ASKS: usize = 11;

fn instance() -> impl Strategy<Value = ReportedInstance> {
    let pod = prop_oneof![3 => Just(None), 1 => (0..PODS).prop_map(Some)];
    let parts = (0..PROFILES.len(), start(), pod, any::<bool>());
    parts.prop_map(|(profile, start, pod, is_as_asked)| ReportedInstance { profile, start, pod, is_as_asked })
}

/// Mostly one that exists.
fn start() -> impl Strategy<Value = u8> {
    prop_oneof![6 => (0_u8..4).prop_map(|start| 2 * start), 2 => 0_u8..8, 1 => any::<u8>()]
}

fn pod_step() -> impl Strategy<Value = PodStep> {
    let node = prop_oneof![1 => Just(None), 3 => (0..NODES).prop_map(Some)];
    let devices = vec((0_u16..3, 0..PROFILES.len(), start()), 0..3).prop_map(Holds::Devices);
    let holds = prop_oneof![2 => Just(Holds::Nothing), 1 => Just(Holds::Unreadable), 5 => devices];
    let parts = (0..PODS, 0_usize..2, 0..ASKS, 0_i32..3, node, holds);
    parts.prop_map(|(pod, life, asks, priority, node, holds)| PodStep {
        pod,
        life,
        asks,
        priority,
        node,
        holds,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let reported = (0_usize..3, prop_oneof![6 => Just(true), 1 => Just(false)], vec(instance(), 0..3));
    let reported =
        reported.prop_map(|(model, is_healthy, instances)| ReportedGpu { model, is_healthy, instances });
    let wanted = vec((0_u16..3, instance()), 0..2);
    let uid = prop_oneof![4 => Just(Uid::Right), 1 => Just(Uid::Empty), 1 => Just(Uid::Wrong)];
    prop_oneof![
        3 => (0..NODES, 0..SHAPES).prop_map(|(node, shape)| Step::Node { node, shape }),
        1 => (0..NODES).prop_map(|node| Step::NodeGone { node }),
        2 => (0..NODES, 0_u64..4, vec(reported, 0..3), wanted)
            .prop_map(|(node, sequence, gpus, wanted)| Step::Report { node, sequence, gpus, wanted }),
        1 => (0..NODES).prop_map(|node| Step::ReportGone { node }),
        4 => pod_step().prop_map(Step::Pod),
        // With or without a node: who sends a filter request may write anything.
        6 => pod_step().prop_map(Step::Seen),
        10 => (0..PODS, prop_oneof![3 => Just(true), 1 => Just(false)], uid, 0..NODES)
            .prop_map(|(pod, is_pending, uid, node)| Step::Bind { pod, is_pending, uid, node }),
        3 => (0..PODS).prop_map(|pod| Step::PodGone { pod }),
        1 => (0_usize..3, any::<u8>(), any::<u8>()).prop_map(|(kind, a, b)| Step::Reset { kind, kept: a | b }),
        3 => (1_usize..30).prop_map(|back| Step::Again { back }),
    ]
}

/// A run: nodes first, so that there is something to bind to; then anything.
fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let nodes = (0..SHAPES, 0..SHAPES)
        .prop_map(|(a, b)| vec![Step::Node { node: 0, shape: a }, Step::Node { node: 1, shape: b }]);
    (nodes, vec(step(), 1..most)).prop_map(|(nodes, steps)| [nodes, steps].concat())
}

fn node_name(node: usize) -> Arc<str> {
    format!("n{node}").into()
}

fn reset(kind: ResetKind, live: BTreeSet<PodKey>) -> Event {
    Event::Reset { kind, live, revision: 0 }
}

fn pod_key(pod: usize) -> PodKey {
    key(&format!("p{pod}"))
}

impl ReportedInstance {
    fn report(&self, memory: &Memory) -> InstanceReport {
        let pod = self.pod.map(|pod| format!("p{pod}"));
        let known = pod.as_ref().filter(|_| self.is_as_asked).and_then(|pod| memory.pods.get(&key(pod)));
        let asked = known.and_then(|pod| pod.request.slices.first()).map(|ask| &ask.want);
        let profile = match asked {
            Some(Want::Profile(name)) => name.as_str(),
            _ => PROFILES[self.profile],
        };
        live(profile, self.start, pod.as_deref())
    }
}

impl PodStep {
    fn pod(&self) -> Arc<Pod> {
        let (wants, counted) = asks(self.asks);
        let mut pod = pod(&format!("p{}", self.pod), &wants);
        pod.uid = format!("p{}-{}", self.pod, self.life).into();
        pod.priority = self.priority;
        pod.request.counted = counted.into_iter().map(|(resource, count)| (resource.into(), count)).collect();
        if let Some(node) = self.node {
            pod.node = Some(node_name(node));
            match &self.holds {
                Holds::Nothing => {}
                Holds::Unreadable => pod.unreadable_placement = Some("it is not JSON".into()),
                Holds::Devices(devices) => {
                    let devices: Vec<(u16, &str, u8)> = devices
                        .iter()
                        .map(|&(gpu, profile, start)| (gpu, PROFILES[profile], start))
                        .collect();
                    pod.placement = Some(placement(&devices));
                }
            }
        }
        shared(pod)
    }
}

impl Step {
    /// The event of this step, where it is one of its own.
    fn event(&self, memory: &Memory) -> Option<Event> {
        Some(match self {
            Self::Node { node, shape: number } => {
                Event::NodeApplied(shared(shape(&node_name(*node), *number)))
            }
            Self::NodeGone { node } => Event::NodeDeleted(node_name(*node)),
            Self::Report { node, sequence, gpus, wanted } => {
                let models = [model("a100-80gb"), model("a30-24gb"), model("h100-80gb-sxm")];
                let gpus = gpus.iter().zip(0..).map(|(case, index)| {
                    let mut facts = gpu(
                        index,
                        models[case.model],
                        case.instances.iter().map(|instance| instance.report(memory)).collect(),
                    );
                    if !case.is_healthy {
                        facts.health = GpuHealth::Unhealthy("XID 79".into());
                    }
                    facts
                });
                let wanted = wanted
                    .iter()
                    .map(|(gpu, instance)| (*gpu, InstanceReport { uuid: None, ..instance.report(memory) }));
                let report =
                    GpuReport { sequence: *sequence, wanted: wanted.collect(), ..report(gpus.collect()) };
                Event::Report(node_name(*node), Some(shared(report)))
            }
            Self::ReportGone { node } => Event::Report(node_name(*node), None),
            Self::Pod(step) => Event::PodApplied(step.pod()),
            Self::Seen(step) => Event::PodSeen(step.pod()),
            Self::Bind { pod, is_pending, uid, node } => {
                let pending: Vec<&PodKey> =
                    memory.pods.values().filter(|pod| pod.node.is_none()).map(|pod| &pod.key).collect();
                let pod = match pending.get(pod.checked_rem(pending.len()).unwrap_or(0)) {
                    Some(pending) if *is_pending => (*pending).clone(),
                    _ => pod_key(*pod),
                };
                let uid = match uid {
                    Uid::Right => {
                        memory.pods.get(&pod).map_or_else(|| "unknown".into(), |pod| pod.uid.clone())
                    }
                    Uid::Empty => "".into(),
                    Uid::Wrong => "of-another-life".into(),
                };
                Event::Bind { pod, uid, node: node_name(*node) }
            }
            Self::PodGone { pod } => Event::PodDeleted(pod_key(*pod)),
            Self::Reset { kind, kept } => {
                let is_kept = |number: &usize| kept >> number & 1 == 1;
                let of_nodes = || {
                    (0..NODES)
                        .filter(is_kept)
                        .map(|node| PodKey { namespace: "".into(), name: node_name(node) })
                        .collect()
                };
                match kind {
                    0 => reset(ResetKind::Nodes, of_nodes()),
                    1 => reset(ResetKind::Reports, of_nodes()),
                    _ => reset(ResetKind::Pods, (0..PODS).filter(is_kept).map(pod_key).collect()),
                }
            }
            Self::Again { .. } => return None,
        })
    }
}

// ---------------------------------------------------------------------------------------------------------
// What this file remembers of the events.

#[derive(Debug, Default)]
struct Memory {
    facts: BTreeMap<Arc<str>, Arc<NodeFacts>>,
    reports: BTreeMap<Arc<str>, Arc<GpuReport>>,
    pods: BTreeMap<PodKey, Arc<Pod>>,
    pods_max: usize,
    /// Whether the model stands for the agents too: with a pod go the instances that are reported as its.
    is_embedded: bool,
    /// Pods as binds of this run left them: the places that their containers really have.
    decided: BTreeMap<PodKey, Arc<Pod>>,
}

impl Memory {
    /// Takes an event other than a bind; says whether that changed anything.
    fn take(&mut self, event: &Event) -> bool {
        fn replace<K: Ord + Clone, V: PartialEq>(
            map: &mut BTreeMap<K, Arc<V>>,
            key: &K,
            value: Option<Arc<V>>,
        ) -> bool {
            let is_changed = map.get(key) != value.as_ref();
            match value {
                Some(value) => map.insert(key.clone(), value),
                None => map.remove(key),
            };
            is_changed
        }
        fn retain<K: Ord, V>(map: &mut BTreeMap<K, V>, keeps: impl Fn(&K) -> bool) -> bool {
            let before = map.len();
            map.retain(|key, _| keeps(key));
            map.len() < before
        }
        match event {
            Event::NodeApplied(facts) => replace(&mut self.facts, &facts.name, Some(facts.clone())),
            Event::NodeDeleted(name) => self.facts.remove(name).is_some(),
            Event::Report(name, report) => {
                let known = self.reports.get(name).map(|report| report.sequence);
                let is_late = report.as_ref().is_some_and(|report| Some(report.sequence) < known);
                !is_late && replace(&mut self.reports, name, report.clone())
            }
            Event::PodApplied(pod) => {
                // What was overtaken by a bind takes nothing back: neither the node nor the places.
                let known =
                    self.pods.get(&pod.key).filter(|known| known.uid == pod.uid && known.node.is_some());
                let is_late = known.is_some() && pod.node.is_none();
                let mut pod = Pod::clone(pod);
                if let Some(known) = known.filter(|known| known.node == pod.node && pod.placement.is_none()) {
                    pod.placement.clone_from(&known.placement);
                }
                !is_late && replace(&mut self.pods, &pod.key.clone(), Some(shared(pod)))
            }
            Event::PodSeen(pod) => {
                let pending =
                    Pod { node: None, placement: None, unreadable_placement: None, ..Pod::clone(pod) };
                let pod = shared(pending);
                let known = self.pods.get(&pod.key);
                let is_bound = known.is_some_and(|known| known.node.is_some());
                let is_one_too_many = known.is_none() && self.pods.len() >= self.pods_max;
                !is_bound && !is_one_too_many && replace(&mut self.pods, &pod.key, Some(pod.clone()))
            }
            Event::PodDeleted(key) => self.delete(key),
            Event::Reset { kind, live, .. } => {
                let is_live = |name: &Arc<str>| live.iter().any(|key| key.name == *name);
                match kind {
                    ResetKind::Nodes => retain(&mut self.facts, is_live),
                    ResetKind::Reports => retain(&mut self.reports, is_live),
                    ResetKind::Pods => {
                        let gone: Vec<PodKey> =
                            self.pods.keys().filter(|key| !live.contains(key)).cloned().collect();
                        gone.iter().filter(|key| self.delete(key)).count() > 0
                    }
                    ResetKind::Agents => unreachable!("an embedded model listens to no agent"),
                }
            }
            other => unreachable!("{other:?} is not a fact of an embedded model"),
        }
    }

    fn delete(&mut self, key: &PodKey) -> bool {
        let Some(pod) = self.pods.remove(key) else { return false };
        let report =
            pod.node.as_ref().filter(|_| self.is_embedded).and_then(|node| self.reports.get_mut(node));
        if let Some(report) = report {
            let mut left = GpuReport::clone(report);
            let is_other = |instance: &InstanceReport| instance.pod.as_ref() != Some(key);
            left.gpus.iter_mut().for_each(|gpu| gpu.instances.retain(is_other));
            left.wanted.retain(|(_, instance)| is_other(instance));
            *report = shared(left);
        }
        true
    }

    /// The pods of a node, sorted by key.
    fn pods_on(&self, node: &str) -> Vec<Arc<Pod>> {
        self.pods.values().filter(|pod| pod.node.as_deref() == Some(node)).cloned().collect()
    }

    /// A cache that learns everything in an order of its own.
    fn rebuilt(&self, order: u64) -> Cache {
        let nodes = self.facts.values().map(|facts| Event::NodeApplied(facts.clone()));
        let reports =
            self.reports.iter().map(|(name, report)| Event::Report(name.clone(), Some(report.clone())));
        let pods = self.pods.values().map(|pod| Event::PodApplied(pod.clone()));
        let mut events: Vec<(u64, Event)> = (1..).zip(nodes.chain(reports).chain(pods)).collect();
        events.sort_by_key(|(number, _)| (number ^ order).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut cache = new_cache(PODS);
        for (_, event) in events {
            cache.apply(event);
        }
        cache
    }
}

/// Everything a cache shows, for comparing and for printing.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    nodes: Vec<Arc<Node>>,
    pods: Vec<Arc<Pod>>,
}

fn shown(cache: &Cache) -> Shown {
    Shown {
        nodes: cache.cluster().by_name().into_iter().cloned().collect(),
        pods: cache.pods().cloned().collect(),
    }
}

// ---------------------------------------------------------------------------------------------------------
// What must hold after every event.

fn check_all(cache: &Cache, memory: &Memory, order: u64) -> TestCaseResult {
    let shown = shown(cache);
    let names: Vec<&Arc<str>> = shown.nodes.iter().map(|node| &node.facts.name).collect();
    prop_assert_eq!(names, memory.facts.keys().collect::<Vec<_>>());
    prop_assert_eq!(&shown.pods, &memory.pods.values().cloned().collect::<Vec<_>>());
    for node in &shown.nodes {
        prop_assert_eq!(&node.facts, &memory.facts[&node.facts.name]);
        prop_assert_eq!(node.report.as_ref(), memory.reports.get(&node.facts.name));
        prop_assert_eq!(&node.pods, &memory.pods_on(&node.facts.name));
        check_instances(node)?;
        check_closed_gpus(node)?;
        check_decided(node, memory)?;
        check_claims_are_shown(node)?;
        check_pods_are_counted(node)?;
    }
    check_rows(cache.cluster())?;
    prop_assert_eq!(
        shown,
        self::shown(&memory.rebuilt(order)),
        "a cache that learns this in another order differs"
    );
    Ok(())
}

/// No memory slice twice, no limit passed, and an occupancy that says so, on every GPU that is not closed.
fn check_instances(node: &Node) -> TestCaseResult {
    for gpu in node.gpus.iter().filter(|gpu| gpu.occupancy != Occupancy::CLOSED) {
        let context = format!("{} GPU {}: {:?}", node.facts.name, gpu.index, gpu.instances);
        prop_assert!(gpu.is_dynamic, "{context}");
        let is_sick = node
            .report
            .iter()
            .flat_map(|report| &report.gpus)
            .any(|reported| reported.index == gpu.index && reported.health != GpuHealth::Healthy);
        prop_assert!(!is_sick, "{context}: it is unhealthy");
        let row = row_of(gpu);
        let mut held = BTreeSet::new();
        for instance in &gpu.instances {
            let profile = &row.profiles[usize::from(instance.profile)];
            prop_assert!(profile.starts.contains(&instance.start), "{context}: no such start");
            for slice in instance.start..instance.start + profile.memory_slices {
                prop_assert!(held.insert(slice), "{context}: memory slice {slice} is held twice");
            }
        }
        for (id, profile) in row.profiles.iter().enumerate() {
            let count = gpu.instances.iter().filter(|instance| usize::from(instance.profile) == id).count();
            prop_assert!(count <= usize::from(profile.max), "{context}: {count} {}", profile.name);
        }
        for engine in 0..row.engines.len() {
            let used = gpu
                .instances
                .iter()
                .map(|instance| row.profiles[usize::from(instance.profile)].engines[engine]);
            prop_assert!(
                used.map(u32::from).sum::<u32>() <= u32::from(row.engines[engine]),
                "{context}: engine {engine}"
            );
        }
        let (model, state) = Catalog::get().state(gpu.occupancy).expect("not closed");
        prop_assert_eq!(Some(model), gpu.model);
        let geometry = Catalog::get().geometry(model);
        let mask: BTreeSet<u8> = (0..row.memory_slices)
            .filter(|slice| geometry.mask(state) >> slice.div_euclid(geometry.unit()) & 1 == 1)
            .collect();
        prop_assert_eq!(mask, held, "{}: the occupancy says otherwise", context);
    }
    Ok(())
}

fn row_of(gpu: &Gpu) -> &'static ModelRow {
    let key = Catalog::get().row(gpu.model.expect("a GPU that is open has a model")).key;
    MODELS.iter().find(|row| row.key == key).expect("a row of the table")
}

/// Every instance that an agent reports, or the scheduler wants, stands on its GPU or is a problem.
fn check_claims_are_shown(node: &Node) -> TestCaseResult {
    let reports = || node.report.iter();
    let live = reports().flat_map(|report| &report.gpus);
    let live = live.flat_map(|gpu| gpu.instances.iter().map(|instance| (gpu.index, instance)));
    let wanted = reports().flat_map(|report| &report.wanted).map(|(gpu, instance)| (*gpu, instance));
    for (index, claim) in live.chain(wanted) {
        let Some(gpu) = node.gpus.iter().find(|gpu| gpu.index == index) else { continue };
        let is_shown = gpu.model.is_some()
            && gpu.instances.iter().any(|instance| {
                let name = row_of(gpu).profiles[usize::from(instance.profile)].name;
                (instance.start, name) == (claim.start, claim.profile.as_str())
            });
        let (profile, start) = (claim.profile.clone(), claim.start);
        let is_told = node.problems.contains(&Problem::UnknownInstance { gpu: index, profile, start });
        let is_known = gpu.model.map(|_| model(row_of(gpu).key)).is_some_and(|model| {
            let profile = model.profile(claim.profile.as_str());
            profile.is_some_and(|profile| model.profiles[profile].starts.contains(&claim.start))
        });
        prop_assert_eq!((is_shown, is_told), (is_known, !is_known), "GPU {}: {:?}: {:?}", index, claim, gpu);
    }
    Ok(())
}

/// How many of a pod's asks the instances that it holds can serve, each one ask.
fn served(node: &Node, pod: &Pod) -> usize {
    let instances =
        node.gpus.iter().flat_map(|gpu| gpu.instances.iter().map(move |instance| (gpu, instance)));
    let held = instances.filter(|(_, instance)| instance.pod.as_ref() == Some(&pod.key));
    let held: Vec<(&str, &Profile)> = held
        .map(|(gpu, instance)| {
            let model = model(row_of(gpu).key);
            (model.key.as_str(), &model.profiles[usize::from(instance.profile)])
        })
        .collect();
    let wants: Vec<&Want> = pod.request.slices.iter().map(|ask| &ask.want).collect();
    most_served(&wants, &held)
}

fn most_served(wants: &[&Want], held: &[(&str, &Profile)]) -> usize {
    let Some((want, others)) = wants.split_first() else { return 0 };
    let serves = |(key, profile): &(&str, &Profile)| match want {
        Want::Profile(name) => name.as_str() == profile.name,
        Want::Memory { mib, compute_slices } => {
            let model = model(key);
            let position = model.profile(&profile.name).expect("a profile of the model");
            model.instance_mib(position) >= *mib && u32::from(profile.compute_slices) >= *compute_slices
        }
    };
    let with = (0..held.len()).filter(|&taken| serves(&held[taken])).map(|taken| {
        let left: Vec<_> =
            held.iter().enumerate().filter(|(at, _)| *at != taken).map(|(_, held)| *held).collect();
        1 + most_served(others, &left)
    });
    with.chain([most_served(others, held)]).max().unwrap_or(0)
}

/// Every device that a pod asks for is counted somewhere, or a problem says that it is not.
fn check_pods_are_counted(node: &Node) -> TestCaseResult {
    let instances =
        || node.gpus.iter().flat_map(|gpu| gpu.instances.iter().map(move |instance| (gpu, instance)));
    for pod in &node.pods {
        let held = served(node, pod);
        let about =
            |problem: &&Problem| matches!(problem, Problem::Unplaced { pod: about, .. } if *about == pod.key);
        let unplaced = node.problems.iter().filter(about).count();
        let asked = pod.request.slices.len();
        let context = format!("{} asks for {asked}, has {held} of that, {unplaced} unplaced", pod.key);
        prop_assert!(held + unplaced >= asked, "{context}");
        let all_closed = node.dynamic_gpus().all(|gpu| gpu.occupancy == Occupancy::CLOSED);
        prop_assert!(unplaced == 0 || all_closed, "{context}: {:?}", node.gpus);

        let is_lie =
            |problem: &Problem| matches!(problem, Problem::Lie { pod: about, .. } if *about == pod.key);
        let is_told = node.problems.iter().any(is_lie);
        let (mut is_doubtful, mut is_contradicted) = (pod.unreadable_placement.is_some(), false);
        if let Some(placement) = &pod.placement {
            is_doubtful |= !can_be_true(node, pod, placement);
            is_contradicted = is_reported_elsewhere(node, pod, placement);
        }
        prop_assert!(is_told || !is_doubtful, "{context}: {:?}: {:?}", pod.placement, node.problems);
        prop_assert!(
            !is_told || is_doubtful || is_contradicted,
            "{context}: {:?}: {:?}",
            pod.placement,
            node.problems
        );
        let believed = pod.placement.iter().filter(|_| !is_told).flat_map(|placement| &placement.devices);
        for device in believed {
            let is_there = instances().any(|(gpu, instance)| {
                let name = row_of(gpu).profiles[usize::from(instance.profile)].name;
                (gpu.index, instance.start, name) == (device.gpu, device.start, device.profile.as_str())
                    && instance.pod.as_ref() == Some(&pod.key)
            });
            prop_assert!(is_there, "{context}: {device:?} is not shown: {:?}", node.gpus);
        }
    }
    for (pool, facts) in node.pools.iter().zip(&node.facts.pools) {
        prop_assert_eq!(pool.used, used_of(node, &facts.resource));
        let (resource, capacity) = (facts.resource.clone(), facts.capacity);
        let over = Problem::Overcommitted { resource, used: pool.used, capacity };
        prop_assert_eq!(node.problems.contains(&over), pool.used > capacity, "{:?}", node.problems);
    }
    Ok(())
}

/// Whether an annotation could be true of this pod on this node, seen by itself.
fn can_be_true(node: &Node, pod: &Pod, placement: &Placement) -> bool {
    let is_possible = |(device, want): (&Device, &Want)| {
        let gpu =
            node.gpus.iter().find(|gpu| gpu.index == device.gpu && gpu.is_dynamic && gpu.model.is_some());
        let model = gpu.map(|gpu| model(row_of(gpu).key));
        let profile = model.and_then(|model| Some((model, model.profile(device.profile.as_str())?)));
        profile.is_some_and(|(model, profile)| {
            let is_wanted = match want {
                Want::Profile(name) => *name == device.profile,
                Want::Memory { mib, compute_slices } => {
                    model.instance_mib(profile) >= *mib
                        && u32::from(model.profiles[profile].compute_slices) >= *compute_slices
                }
            };
            is_wanted && model.profiles[profile].starts.contains(&device.start)
        })
    };
    let wants = pod.request.slices.iter().map(|ask| &ask.want);
    let places: BTreeSet<_> =
        placement.devices.iter().map(|device| (device.gpu, &device.profile, device.start)).collect();
    placement.devices.len() == wants.len()
        && places.len() == placement.devices.len()
        && placement.devices.iter().zip(wants).all(is_possible)
}

/// Whether the agent or the scheduler's own wish names the pod at a place that the annotation does not.
fn is_reported_elsewhere(node: &Node, pod: &Pod, placement: &Placement) -> bool {
    let reports = || node.report.iter();
    let live = reports().flat_map(|report| &report.gpus);
    let live = live.flat_map(|gpu| gpu.instances.iter().map(|instance| (gpu.index, instance)));
    let wanted = reports().flat_map(|report| &report.wanted).map(|(gpu, instance)| (*gpu, instance));
    let mut of_pod = live.chain(wanted).filter(|(_, instance)| instance.pod.as_ref() == Some(&pod.key));
    of_pod.any(|(gpu, instance)| {
        let is_here = |device: &Device| {
            (device.gpu, &device.profile, device.start) == (gpu, &instance.profile, instance.start)
        };
        !placement.devices.iter().any(is_here)
    })
}

/// No memory slice is given to two pods by binds, whatever anybody says of those pods in between.
fn check_decided(node: &Node, memory: &Memory) -> TestCaseResult {
    let mut given: BTreeMap<(u16, u8), &PodKey> = BTreeMap::new();
    for pod in &node.pods {
        let decided = memory.decided.get(&pod.key).filter(|decided| decided.uid == pod.uid);
        let decided =
            decided.filter(|decided| (&decided.node, &decided.placement) == (&pod.node, &pod.placement));
        let Some(placement) = decided.and_then(|decided| decided.placement.as_ref()) else { continue };
        // While the node has no such GPU the places mean nothing.
        for device in placement.devices.iter().filter(|_| can_be_true(node, pod, placement)) {
            let gpu = node.gpus.iter().find(|gpu| gpu.index == device.gpu).expect("it can be true");
            let model = model(row_of(gpu).key);
            let size =
                model.profiles[model.profile(device.profile.as_str()).expect("it can be true")].memory_slices;
            for slice in device.start..device.start + size {
                let other = given.insert((device.gpu, slice), &pod.key);
                prop_assert!(
                    other.is_none(),
                    "{} GPU {} slice {slice}: given to {} and {other:?}",
                    node.facts.name,
                    device.gpu,
                    pod.key
                );
            }
        }
    }
    Ok(())
}

/// A GPU of Tangram's is closed exactly where a problem says why.
fn check_closed_gpus(node: &Node) -> TestCaseResult {
    // Pods with more of NVIDIA's devices than are left to its device plugin may sit on any GPU.
    let is_about_all = |problem: &Problem| match problem {
        Problem::Unplaced { .. } => true,
        Problem::Overcommitted { resource, .. } => resource.starts_with("nvidia.com/"),
        _ => false,
    };
    let is_any_unplaced = node.problems.iter().any(is_about_all);
    for gpu in node.dynamic_gpus() {
        let is_about = |problem: &Problem| match problem {
            Problem::Conflict { gpu: about, .. }
            | Problem::UnknownInstance { gpu: about, .. }
            | Problem::Unhealthy { gpu: about, .. } => *about == gpu.index,
            _ => false,
        };
        let has_reason = is_any_unplaced || gpu.model.is_none() || node.problems.iter().any(is_about);
        let is_closed = gpu.occupancy == Occupancy::CLOSED;
        prop_assert_eq!(is_closed, has_reason, "{} GPU {}: {:?}", node.facts.name, gpu.index, node.problems);
    }
    Ok(())
}

fn used_of(node: &Node, resource: &str) -> u32 {
    let counted = node.pods.iter().flat_map(|pod| &pod.request.counted);
    counted.filter(|(name, _)| **name == *resource).map(|(_, count)| count).sum()
}

/// The columns that the solver scans are what the nodes say.
fn check_rows(cluster: &Cluster) -> TestCaseResult {
    let contents = |row: Row<'_>| (row.occupancies.to_vec(), row.pools.to_vec(), row.traits.priority_min);
    for index in cluster.indices() {
        let node = cluster.node(index);
        let name = &node.facts.name;
        prop_assert_eq!(cluster.index(name), Some(index));
        let row = contents(cluster.row(index));
        prop_assert_eq!(&row, &contents(cluster.columns(node).row()), "{}", name);
        let (occupancies, pools, priority_min) = row;
        let expected: Vec<Occupancy> =
            node.gpus.iter().filter(|gpu| gpu.is_dynamic).map(|gpu| gpu.occupancy).collect();
        prop_assert_eq!(occupancies, expected, "{}", name);
        prop_assert_eq!(pools.len(), node.facts.pools.len(), "{}", name);
        for (row, facts) in pools.iter().zip(&node.facts.pools) {
            prop_assert_eq!(Some(row.resource), cluster.resource(&facts.resource), "{}", name);
            let free = facts.capacity.saturating_sub(used_of(node, &facts.resource));
            let is_whole = facts.kind == PoolKind::Whole;
            let expected = (is_whole, free, facts.capacity, facts.value_mib);
            prop_assert_eq!((row.is_whole, row.free, row.capacity, row.value_mib), expected, "{}", name);
        }
        let holders =
            node.pods.iter().filter(|pod| !(pod.request.counted.is_empty() && pod.request.slices.is_empty()));
        prop_assert_eq!(priority_min, holders.map(|pod| pod.priority).min().unwrap_or(i32::MAX), "{}", name);
    }
    prop_assert_eq!(cluster.indices().count(), cluster.len());
    Ok(())
}

// ---------------------------------------------------------------------------------------------------------
// Binds.

/// The GPUs of a node that take more, with what they hold.
fn boards(node: &Node) -> BTreeMap<u16, Board> {
    let open = node.gpus.iter().filter(|gpu| gpu.is_dynamic && gpu.occupancy != Occupancy::CLOSED);
    let board = |gpu: &Gpu| {
        let model = model(row_of(gpu).key);
        let layout: Vec<(usize, u8)> =
            gpu.instances.iter().map(|instance| (usize::from(instance.profile), instance.start)).collect();
        (gpu.index, model.board(&layout).expect("check_instances passed"))
    };
    open.map(board).collect()
}

fn has_room(node: &Node, pod: &Pod) -> bool {
    let capacity = |resource: &str| {
        node.facts.pools.iter().filter(|pool| &*pool.resource == resource).map(|pool| pool.capacity).sum()
    };
    let is_free = |(resource, count): &(Arc<str>, u32)| -> bool {
        let capacity: u32 = capacity(resource);
        used_of(node, resource) + count <= capacity
    };
    let wants: Vec<Want> = pod.request.slices.iter().map(|ask| ask.want.clone()).collect();
    let boards: Vec<Board> = boards(node).into_values().collect();
    pod.request.counted.iter().all(is_free) && fits(&boards, &wants)
}

/// The bind that must fail, and why; `None` where the pod must be bound.
fn refused(
    memory: &Memory,
    cache: &Cache,
    key: &PodKey,
    uid: &Arc<str>,
    name: &Arc<str>,
) -> Option<BindError> {
    let (pod, node) = (key.clone(), name.clone());
    let Some(known) = memory.pods.get(key) else {
        let (count, max) = (memory.pods.len(), memory.pods_max);
        return Some(if count >= max {
            BindError::TooManyPods { count, max }
        } else {
            BindError::UnknownPod { pod }
        });
    };
    if !uid.is_empty() && known.uid != *uid {
        return Some(BindError::WrongUid { pod, known: known.uid.clone(), asked: uid.clone() });
    }
    match &known.node {
        Some(current) if current == name => None,
        Some(current) => Some(BindError::BoundElsewhere { pod, node: current.clone() }),
        None => match cache.cluster().get(name) {
            None => Some(BindError::UnknownNode { node }),
            Some(target) if has_room(target, known) => None,
            // Which refusal is the oracle's business; here it only has to be one.
            Some(_) => Some(BindError::DoesNotFit { pod, node, refusal: Refusal::UnknownNode }),
        },
    }
}

fn check_bind(cache: &mut Cache, memory: &mut Memory, event: &Event) -> TestCaseResult {
    let Event::Bind { pod: key, uid, node: name } = event else { unreachable!("binds only") };
    let expected = refused(memory, cache, key, uid, name);
    let before = shown(cache);
    let target = cache.cluster().get(name).cloned();
    let outcome = cache.apply(event.clone());
    match (&outcome, expected) {
        (Outcome::Bound(placement), None) => {
            let known = memory.pods[key].clone();
            if known.node.is_some() {
                prop_assert_eq!(Some(placement), Some(&known.placement.clone().unwrap_or_default()));
                prop_assert_eq!(shown(cache), before, "bound already: nothing to do");
            } else {
                let target = target.expect("it was refused otherwise");
                prop_assert_eq!(verify(&target, &known.request, placement), Ok(()));
                check_placement(&target, &known, placement)?;
                let bound = shared(known.bound_to(name.clone(), placement.clone()));
                memory.pods.insert(key.clone(), bound.clone());
                memory.decided.insert(key.clone(), bound);
                let node = cache.cluster().get(name).expect("a node does not go with a bind");
                for (resource, _) in &known.request.counted {
                    let capacity = node
                        .facts
                        .pools
                        .iter()
                        .find(|pool| pool.resource == *resource)
                        .map(|pool| pool.capacity);
                    prop_assert!(
                        Some(used_of(node, resource)) <= capacity,
                        "{resource} is overcommitted by a bind"
                    );
                }
            }
            let bound = shown(cache);
            prop_assert_eq!(cache.apply(event.clone()), outcome, "the same bind once more");
            prop_assert_eq!(shown(cache), bound);
        }
        (Outcome::NotBound(error), Some(expected)) => {
            if let (BindError::DoesNotFit { pod, node, refusal }, BindError::DoesNotFit { .. }) =
                (error, &expected)
            {
                prop_assert_eq!((pod, node), (key, name));
                prop_assert!(*refusal != Refusal::UnknownNode);
            } else {
                prop_assert_eq!(error, &expected);
            }
            prop_assert_eq!(shown(cache), before, "a bind that failed changed something");
        }
        (outcome, expected) => prop_assert!(false, "{outcome:?}, expected {expected:?}"),
    }
    Ok(())
}

/// A placement is what the pod asks for, on GPUs that have room for it.
fn check_placement(node: &Node, pod: &Pod, placement: &Placement) -> TestCaseResult {
    let mut boards = boards(node);
    prop_assert_eq!(placement.devices.len(), pod.request.slices.len());
    for (device, ask) in placement.devices.iter().zip(&pod.request.slices) {
        prop_assert_eq!(&device.container, &ask.container);
        let gpu = node
            .gpus
            .iter()
            .find(|gpu| gpu.index == device.gpu)
            .filter(|gpu| boards.contains_key(&gpu.index));
        prop_assert!(gpu.is_some(), "{device:?} is on a GPU that takes nothing");
        let model = model(row_of(gpu.expect("asserted")).key);
        let profile = model
            .profile(device.profile.as_str())
            .filter(|profile| model.serving(&ask.want).contains(profile));
        let next = profile.and_then(|profile| boards[&device.gpu].with(profile, device.start));
        prop_assert!(next.is_some(), "{device:?} has no room or is not {:?}", ask.want);
        boards.insert(device.gpu, next.expect("asserted"));
    }
    Ok(())
}

// ---------------------------------------------------------------------------------------------------------
// The properties.

#[test]
fn whatever_happens_in_whatever_order_the_model_follows_from_what_is_left() {
    let (bound, not_bound) = (Cell::new(0), Cell::new(0));
    let inputs = (steps(60), 3..=PODS, any::<bool>(), any::<u64>());
    check(6, 6000, &inputs, |(steps, pods_max, is_embedded, order)| {
        let cache = new_cache(pods_max);
        let mut cache = if is_embedded { cache.embedded() } else { cache };
        let mut memory = Memory { pods_max, is_embedded, ..Memory::default() };
        let mut history: Vec<Event> = Vec::new();
        for step in &steps {
            let event = match step {
                Step::Again { back } => history.iter().rev().nth(back - 1).cloned(),
                step => step.event(&memory),
            };
            let Some(event) = event else { continue };
            history.push(event.clone());
            if let Event::Bind { pod, .. } = &event {
                let was_pending = memory.pods.get(pod).is_some_and(|pod| pod.node.is_none());
                check_bind(&mut cache, &mut memory, &event)?;
                let is_bound = memory.pods.get(pod).is_some_and(|pod| pod.node.is_some());
                let counter = if was_pending && is_bound { &bound } else { &not_bound };
                counter.set(counter.get() + 1);
            } else {
                let outcome = cache.apply(event.clone());
                let expected = if memory.take(&event) { Outcome::Changed } else { Outcome::Unchanged };
                prop_assert_eq!(outcome, expected, "{:?}", event);
                prop_assert_eq!(cache.apply(event.clone()), Outcome::Unchanged, "doubled: {:?}", event);
            }
            check_all(&cache, &memory, order)?;
        }
        Ok(())
    });
    assert!(bound.get() > 150 && not_bound.get() > 500, "{} bound, {} not", bound.get(), not_bound.get());
}

#[test]
fn the_same_events_give_the_same_answers_byte_for_byte() {
    let run = |steps: &[Step]| {
        let mut cache = new_cache(PODS);
        let mut memory = Memory { pods_max: PODS, ..Memory::default() };
        let mut log = Vec::new();
        for step in steps {
            let Some(event) = step.event(&memory) else { continue };
            let outcome = cache.apply(event.clone());
            memory.pods = cache.pods().map(|pod| (pod.key.clone(), pod.clone())).collect();
            log.push(format!("{event:?} {outcome:?}"));
        }
        // Positions too: they are the order in which refusals are counted.
        let cluster = cache.cluster();
        let order: Vec<_> =
            cluster.indices().map(|index| (index, cluster.node(index).facts.name.clone())).collect();
        log.push(format!("{order:?} {:?}", shown(&cache)));
        log
    };
    check(7, 150, &steps(40), |steps| {
        prop_assert_eq!(run(&steps), run(&steps));
        Ok(())
    });
}

#[test]
fn rows_and_snapshots_stay_true_in_a_cluster_of_many_chunks() {
    const MANY: usize = 200; // nodes; a chunk has 64
    let change = (0..MANY, prop_oneof![4 => (0..SHAPES).prop_map(Some), 1 => Just(None)], any::<bool>());
    check(8, 6, &vec(change, 300..400), |changes| {
        let mut cache = new_cache(MANY);
        for node in 0..MANY {
            cache.apply(Event::NodeApplied(shared(shape(&node_name(node), node.rem_euclid(SHAPES)))));
        }
        check_rows(cache.cluster())?;
        let (mut snapshot, mut was) = (cache.cluster().clone(), format!("{:?}", shown(&cache).nodes));
        for (number, (node, shape_or_gone, has_pod)) in changes.iter().enumerate() {
            let name = node_name(*node);
            cache.apply(match shape_or_gone {
                Some(number) => Event::NodeApplied(shared(shape(&name, *number))),
                None => Event::NodeDeleted(name.clone()),
            });
            if *has_pod {
                let placed = placed(&format!("p{node}"), &name, &[(0, "1g.10gb", 0)]);
                cache.apply(Event::PodApplied(shared(Pod {
                    priority: i32::try_from(number).expect("few"),
                    ..placed
                })));
            }
            if number.rem_euclid(16) == 0 {
                check_rows(cache.cluster())?;
                // What was published before is as it was, whatever came after.
                check_rows(&snapshot)?;
                prop_assert!(format!("{:?}", snapshot.by_name()) == was, "a snapshot changed");
                (snapshot, was) = (cache.cluster().clone(), format!("{:?}", shown(&cache).nodes));
            }
        }
        check_rows(cache.cluster())
    });
}
