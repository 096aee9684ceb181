//! What the tests of the core share: the MIG table as its JSON file tells it, the rules and an exhaustive
//! search written from it, and builders of facts and pods.
//!
//! Nothing here asks the code under test for an answer; its types are only built and read. A layout is a
//! sorted list of (profile, start), the profile as a position in the JSON and the start in NVML's memory
//! slices.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, LazyLock};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestRng, TestRunner};
use serde_json::Value;
use tangram::mig::{Catalog, ModelId, ProfileName};
use tangram::model::{
    Device, DynamicFacts, GpuFacts, GpuHealth, GpuReport, InstanceReport, NodeFacts, Placement, Pod, PodKey,
    PoolFacts, PoolKind, Request, SliceAsk, Want,
};

/// One GPU model of the JSON.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) key: String,
    pub(crate) names: Vec<String>,
    pub(crate) labels: Vec<String>,
    pub(crate) compute_slices: u8,
    pub(crate) memory_slices: u8,
    pub(crate) memory_mib: Option<u32>,
    pub(crate) engines: [u8; 5],
    pub(crate) profiles: Vec<Profile>,
}

/// One profile of a model of the JSON.
#[derive(Debug)]
pub(crate) struct Profile {
    pub(crate) name: String,
    pub(crate) resource: String,
    pub(crate) compute_slices: u8,
    pub(crate) memory_slices: u8,
    pub(crate) memory_mib: Option<u32>,
    pub(crate) engines: [u8; 5],
    pub(crate) max: u8,
    pub(crate) starts: Vec<u8>,
}

/// The JSON file.
pub(crate) fn json() -> &'static Value {
    static JSON: LazyLock<Value> = LazyLock::new(|| {
        serde_json::from_str(include_str!("../../data/mig/mig-profiles.json")).expect("the table is JSON")
    });
    &JSON
}

/// The models that have a geometry, in the order of the JSON.
pub(crate) fn table() -> &'static [Model] {
    static TABLE: LazyLock<Vec<Model>> = LazyLock::new(|| {
        let models = json()["models"].as_array().expect("a list").iter();
        models.filter(|model| model["solver_supported"] == true).map(Model::read).collect()
    });
    &TABLE
}

/// The model of that key.
pub(crate) fn model(key: &str) -> &'static Model {
    table().iter().find(|model| model.key == key).expect(key)
}

fn number(value: &Value) -> u8 {
    value.as_u64().and_then(|number| u8::try_from(number).ok()).expect("a count below 256")
}

fn mib(value: &Value) -> Option<u32> {
    value.as_u64().map(|mib| u32::try_from(mib).expect("a GPU has less than 4 PiB"))
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().expect("a list").iter().map(text).collect()
}

fn engines(value: &Value) -> [u8; 5] {
    ["copy", "dec", "enc", "jpeg", "ofa"].map(|engine| number(&value[engine]))
}

impl Model {
    fn read(value: &Value) -> Self {
        Self {
            key: text(&value["key"]),
            names: texts(&value["nvml_names"]),
            labels: texts(&value["gfd_product_labels"]),
            compute_slices: number(&value["compute_slices"]),
            memory_slices: number(&value["memory_units"]),
            memory_mib: mib(&value["nvml_total_memory_mib"]),
            engines: engines(&value["engine_totals"]),
            profiles: value["profiles"].as_array().expect("a list").iter().map(Profile::read).collect(),
        }
    }

    /// The same model in Tangram's catalog.
    pub(crate) fn id(&self) -> ModelId {
        Catalog::get().by_product(&self.labels[0]).expect("the catalog has every model")
    }

    /// The position of a profile.
    pub(crate) fn profile(&self, name: &str) -> Option<usize> {
        self.profiles.iter().position(|profile| profile.name == name)
    }

    /// Every (profile, start) that NVML lists.
    pub(crate) fn placements(&self) -> Vec<(usize, u8)> {
        let of =
            |(id, profile): (usize, &Profile)| profile.starts.iter().map(move |&start| (id, start)).collect();
        self.profiles.iter().enumerate().flat_map::<Vec<_>, _>(of).collect()
    }

    /// Memory of the whole GPU; where the JSON has none, what the key promises.
    pub(crate) fn total_mib(&self) -> u32 {
        let (_, size) = self.key.rsplit_once('-').expect("keys end in the memory");
        let promised = || size.trim_end_matches("gb").parse::<u32>().expect("in GiB") * 1024;
        self.memory_mib.unwrap_or_else(promised)
    }

    /// Memory of an instance; where the JSON has none, nine tenths of its share of the GPU.
    pub(crate) fn instance_mib(&self, profile: usize) -> u32 {
        let Profile { memory_mib, memory_slices, .. } = self.profiles[profile];
        let tenths = u64::from(self.total_mib()) * u64::from(memory_slices) * 9;
        let guess = tenths.div_euclid(10 * u64::from(self.memory_slices));
        memory_mib.unwrap_or_else(|| u32::try_from(guess).expect("less than the whole"))
    }

    /// Memory slices of NVML that are one slice where nothing starts or ends in between.
    pub(crate) fn unit(&self) -> u8 {
        let is_unit = |unit: &u8| {
            let whole = |length: u8| length.rem_euclid(*unit) == 0;
            whole(self.memory_slices)
                && self.profiles.iter().all(|profile| whole(profile.memory_slices))
                && self.profiles.iter().flat_map(|profile| &profile.starts).all(|&start| whole(start))
        };
        (1..=self.memory_slices).rev().find(is_unit).expect("1 is one")
    }

    /// The profiles that may serve a want: by name, or every one without attribute that is large enough.
    pub(crate) fn serving(&self, want: &Want) -> Vec<usize> {
        let serves = |id: &usize| match want {
            Want::Profile(name) => self.profiles[*id].name == name.as_str(),
            Want::Memory { mib, compute_slices } => {
                self.profiles[*id].is_plain()
                    && self.instance_mib(*id) >= *mib
                    && u32::from(self.profiles[*id].compute_slices) >= *compute_slices
            }
        };
        (0..self.profiles.len()).filter(serves).collect()
    }

    /// An empty GPU of this model.
    pub(crate) fn empty(&'static self) -> Board {
        Board { model: self, mask: 0, counts: vec![0; self.profiles.len()], instances: Vec::new() }
    }

    /// A GPU with this layout, if it is legal.
    pub(crate) fn board(&'static self, layout: &[(usize, u8)]) -> Option<Board> {
        layout.iter().try_fold(self.empty(), |board, &(profile, start)| board.with(profile, start))
    }
}

impl Profile {
    fn read(value: &Value) -> Self {
        let placements = value["placements"].as_array().expect("a list");
        let size = number(&value["memory_units"]);
        assert!(placements.iter().all(|placement| number(&placement["size"]) == size), "{value}");
        Self {
            name: text(&value["name"]),
            resource: text(&value["k8s_resource"]),
            compute_slices: number(&value["compute_slices"]),
            memory_slices: size,
            memory_mib: mib(&value["memory_mib"]),
            engines: engines(&value["engines"]),
            max: number(&value["max_instances"]),
            starts: placements.iter().map(|placement| number(&placement["start"])).collect(),
        }
    }

    /// Whether its name has no attribute such as `+me`.
    pub(crate) fn is_plain(&self) -> bool {
        !self.name.contains(['+', '-'])
    }

    /// The memory slices that an instance at `start` takes, bit 0 = slice 0.
    pub(crate) fn mask(&self, start: u8) -> u32 {
        (0..self.memory_slices).map(|slice| 1 << (start + slice)).sum()
    }
}

/// What one GPU holds, as far as it matters for what else fits.
#[derive(Clone)]
pub(crate) struct Board {
    model: &'static Model,
    /// Memory slices in use, NVML's unit, bit 0 = slice 0.
    pub(crate) mask: u32,
    /// Instances by profile.
    counts: Vec<u8>,
    /// Profile and start of each, sorted.
    pub(crate) instances: Vec<(usize, u8)>,
}

impl fmt::Debug for Board {
    /// `a30-24gb 1.11 [1g.6gb, 2g.12gb]`: memory slices in use from slice 0 on, and the instances.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slices =
            (0..self.model.memory_slices).map(|slice| if self.mask >> slice & 1 == 1 { '1' } else { '.' });
        let instances = self.model.profiles.iter().zip(&self.counts);
        let instances =
            instances.flat_map(|(profile, &count)| std::iter::repeat_n(&*profile.name, count.into()));
        let instances: Vec<&str> = instances.collect();
        write!(f, "{} {} [{}]", self.model.key, slices.collect::<String>(), instances.join(", "))
    }
}

impl Board {
    /// The GPU with one more instance, unless a rule forbids it: R1 to R3 of the JSON.
    pub(crate) fn with(&self, profile: usize, start: u8) -> Option<Self> {
        let Profile { max, starts, .. } = &self.model.profiles[profile];
        let mask = self.model.profiles[profile].mask(start);
        if !starts.contains(&start) || self.mask & mask != 0 || self.counts[profile] == *max {
            return None;
        }
        let mut next = self.clone();
        next.mask |= mask;
        next.counts[profile] += 1;
        next.instances.push((profile, start));
        next.instances.sort_unstable();
        let used = |engine: usize| -> u32 {
            let of = self.model.profiles.iter().zip(&next.counts);
            of.map(|(profile, &count)| u32::from(profile.engines[engine]) * u32::from(count)).sum()
        };
        (0..5).all(|engine| used(engine) <= u32::from(self.model.engines[engine])).then_some(next)
    }

    /// Where a profile may start.
    pub(crate) fn starts(&self, profile: usize) -> Vec<u8> {
        let starts = self.model.profiles[profile].starts.iter().copied();
        starts.filter(|&start| self.with(profile, start).is_some()).collect()
    }

    pub(crate) fn key(&self) -> (&'static str, u32, Vec<u8>) {
        (&self.model.key, self.mask, self.counts.clone())
    }
}

/// Whether all wants find places on these GPUs: tries every profile, GPU and start of each.
pub(crate) fn fits(boards: &[Board], wants: &[Want]) -> bool {
    let mut wants = wants.to_vec();
    // Scarce and large ones first, so that a dead end shows early; the answer does not depend on it.
    wants.sort_by_key(|want| {
        let serving = boards.iter().flat_map(|board| {
            let profiles = board.model.serving(want);
            profiles
                .into_iter()
                .map(|id| (board.model.profiles[id].max, u8::MAX - board.model.profiles[id].memory_slices))
        });
        (serving.min(), want.clone())
    });
    let mut dead = BTreeSet::new();
    search(&mut boards.to_vec(), &wants, &mut dead)
}

type Seen = BTreeSet<(usize, Vec<(&'static str, u32, Vec<u8>)>)>;

fn search(boards: &mut [Board], wants: &[Want], dead: &mut Seen) -> bool {
    let Some((want, others)) = wants.split_first() else { return true };
    let mut key: Vec<_> = boards.iter().map(Board::key).collect();
    key.sort_unstable();
    let key = (wants.len(), key);
    if dead.contains(&key) {
        return false;
    }
    for gpu in 0..boards.len() {
        for profile in boards[gpu].model.serving(want) {
            for start in boards[gpu].starts(profile) {
                let before = boards[gpu].clone();
                boards[gpu] = before.with(profile, start).expect("starts are legal");
                let is_found = search(boards, others, dead);
                boards[gpu] = before;
                if is_found {
                    return true;
                }
            }
        }
    }
    dead.insert(key);
    false
}

/// A profile's name.
pub(crate) fn name(profile: &str) -> ProfileName {
    ProfileName::parse(profile).expect(profile)
}

/// A want for a profile.
pub(crate) fn want(profile: &str) -> Want {
    Want::Profile(name(profile))
}

/// A node without GPUs.
pub(crate) fn node(name: &str) -> NodeFacts {
    NodeFacts { name: name.into(), ..NodeFacts::default() }
}

/// A node whose GPUs Tangram partitions.
pub(crate) fn dynamic(name: &str, model: &Model, gpus: impl IntoIterator<Item = u16>) -> NodeFacts {
    let dynamic =
        DynamicFacts { model: Some(model.id()), gpus: gpus.into_iter().collect(), needs_agent: false };
    NodeFacts { dynamic: Some(dynamic), product: model.labels[0].as_str().into(), ..node(name) }
}

/// Devices that a device plugin counts: whole ones.
pub(crate) fn pool(resource: &str, capacity: u32) -> PoolFacts {
    PoolFacts { resource: resource.into(), kind: PoolKind::Whole, capacity, value_mib: 81_920 }
}

/// A healthy GPU in MIG mode as an agent reports it.
pub(crate) fn gpu(index: u16, model: &Model, instances: Vec<InstanceReport>) -> GpuFacts {
    GpuFacts {
        index,
        uuid: format!("GPU-{index}").into(),
        product: model.names[0].as_str().into(),
        model: Some(model.id()),
        memory_mib: None,
        memory_used_mib: None,
        holders: Vec::new(),
        is_mig_enabled: true,
        health: GpuHealth::Healthy,
        instances,
    }
}

/// A live GPU instance, held by `pod` or by nobody who is known.
pub(crate) fn live(profile: &str, start: u8, pod: Option<&str>) -> InstanceReport {
    let uuid = Some(format!("MIG-{profile}-{start}").into());
    InstanceReport {
        uuid,
        profile: name(profile),
        start,
        pod: pod.map(key),
        sharers: Vec::new(),
        memory_used_mib: None,
        is_foreign: false,
        pod_uid: None,
        ready_for: None,
    }
}

/// A report of these GPUs.
pub(crate) fn report(gpus: Vec<GpuFacts>) -> GpuReport {
    GpuReport { sequence: 1, gpus, ..GpuReport::default() }
}

/// The key of a pod of the namespace of all tests.
pub(crate) fn key(name: &str) -> PodKey {
    PodKey { namespace: "test".into(), name: name.into() }
}

/// The container that asks for the instance at a position.
pub(crate) fn container(position: usize) -> Arc<str> {
    format!("c{position}").into()
}

/// A pending pod that asks for GPU instances, one per container.
pub(crate) fn pod(name: &str, wants: &[Want]) -> Pod {
    let ask =
        |(position, want): (usize, &Want)| SliceAsk { container: container(position), want: want.clone() };
    Pod {
        key: key(name),
        uid: format!("uid-of-{name}").into(),
        created_s: 0,
        priority: 0,
        request: Request { slices: wants.iter().enumerate().map(ask).collect(), ..Request::default() },
        demand: tangram::model::Demand::default(),
        node: None,
        placement: None,
        unreadable_placement: None,
        is_terminating: false,
        mobility: tangram::model::Mobility::default(),
        version: tangram::model::Version::default(),
        waiting: None,
    }
}

/// A pod that asks for one GPU instance per device and is bound there.
pub(crate) fn placed(pod_name: &str, node: &str, devices: &[(u16, &str, u8)]) -> Pod {
    let wants: Vec<Want> = devices.iter().map(|(_, profile, _)| want(profile)).collect();
    pod(pod_name, &wants).bound_to(node.into(), placement(devices))
}

/// GPU instances at these places: (GPU, profile, start).
pub(crate) fn placement(devices: &[(u16, &str, u8)]) -> Placement {
    let device = |(position, &(gpu, profile, start)): (usize, &(u16, &str, u8))| Device {
        container: container(position),
        gpu,
        profile: name(profile),
        start,
    };
    Placement { devices: devices.iter().enumerate().map(device).collect() }
}

/// Anything as what events carry.
pub(crate) fn shared<T>(value: T) -> Arc<T> {
    Arc::new(value)
}

/// Runs a property over `cases` inputs, the same ones in every run.
///
/// # Panics
/// With the seed and the smallest input that fails.
pub(crate) fn check<S: Strategy>(
    seed: u64,
    cases: u32,
    inputs: &S,
    property: impl Fn(S::Value) -> TestCaseResult,
) {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 4000, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let failure = runner.run(inputs, property).err();
    assert!(
        failure.is_none(),
        "seed {seed}: {}",
        failure.map(|failure| failure.to_string()).unwrap_or_default()
    );
}
