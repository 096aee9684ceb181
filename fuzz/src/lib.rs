//! What the fuzz targets share: the example cluster, checks of whole models, and a mutator that keeps
//! JSON well formed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use tangram::cache::{Cache, Event};
use tangram::mig::{Catalog, Occupancy};
use tangram::model::{Cluster, Gpu, Node, Placement, Pod, Policy};
use tangram::plan::{NoPlace, Refusers};
use tangram::solver::{Query, Refusal, Scores, place, verify};
use tangram::wire::{Dialect, cluster_events};

mod mutate;

pub use mutate::mutate;

/// Prices, compiled once.
pub static SCORES: LazyLock<Arc<Scores>> = LazyLock::new(|| Arc::new(Scores::prior()));

/// The example cluster of the repository.
#[derive(Debug)]
pub struct Example {
    /// What its file says.
    pub events: Vec<Event>,
    /// The model of it.
    pub cluster: Cluster,
    /// Its pods, pending ones included.
    pub pods: Vec<Arc<Pod>>,
}

impl Example {
    /// Reads it on first use.
    pub fn get() -> &'static Self {
        static EXAMPLE: LazyLock<Example> = LazyLock::new(|| {
            let text = include_str!("../../examples/cluster.yaml");
            let mut events = Vec::new();
            let contents = cluster_events(text.as_bytes(), &Dialect::default(), |event| events.push(event));
            assert!(contents.expect("the example is well formed").errors.is_empty());
            let mut example = Example { events, cluster: Cluster::default(), pods: Vec::new() };
            let cache = example.cache();
            example.cluster = cache.cluster().clone();
            example.pods = cache.pods().cloned().collect();
            example
        });
        &EXAMPLE
    }

    /// A cache that was told everything the file says.
    pub fn cache(&self) -> Cache {
        let mut cache = empty_cache();
        for event in &self.events {
            cache.apply(event.clone());
        }
        cache
    }
}

/// A cache that knows nothing.
pub fn empty_cache() -> Cache {
    Cache::new(SCORES.clone(), Policy::Pack, Dialect::default().limits.pods)
}

/// Places `pod` on `node`, where it is known to fit, and has the independent checker look at it.
pub fn check_place(cluster: &Cluster, node: &Node, pod: &Pod, query: &Query<'_>) -> Placement {
    let placement = place(cluster, node, &pod.request, query);
    let placement = placement.unwrap_or_else(|refusal| {
        panic!("{} fits {} until it is placed: {refusal}", pod.key, node.facts.name)
    });
    if let Err(violation) = verify(node, &pod.request, &placement) {
        panic!("{} on {}: {violation}", pod.key, node.facts.name);
    }
    placement
}

/// Checks that a pod without a place has a reason on every node, and that none of them is a defect.
pub fn check_refused(refused: &NoPlace, cluster: &Cluster) {
    let is_defect = |refusal: &&Refusal| matches!(refusal, Refusal::Invalid(_));
    assert_eq!(refused.refusals.keys().find(is_defect), None);
    let refusers: usize = refused.refusals.values().map(|nodes| nodes.count).sum();
    assert_eq!(refusers, cluster.len(), "every node refuses for one reason");
    for nodes in refused.refusals.values() {
        let known = nodes.first.iter().filter(|name| cluster.get(name).is_some()).count();
        assert_eq!(known, nodes.count.min(Refusers::NAMED_MAX), "a reason names the nodes that give it");
        assert!(nodes.first.is_sorted_by(|a, b| a < b), "names come sorted, each once");
    }
}

/// Checks what must hold of every node, whatever was said about it.
pub fn check_node(node: &Node) {
    let keys: BTreeSet<_> = node.pods.iter().map(|pod| &pod.key).collect();
    assert_eq!(keys.len(), node.pods.len(), "{}: a pod stands there twice", node.facts.name);
    for (facts, pool) in node.pools() {
        let held = pool.holdings.iter().fold(0_u32, |sum, holding| sum.saturating_add(holding.count()));
        assert_eq!(held, pool.used, "{}: holdings of {}", node.facts.name, facts.resource);
    }
    let indices: BTreeSet<u16> = node.gpus.iter().map(|gpu| gpu.index).collect();
    assert_eq!(indices.len(), node.gpus.len(), "{}: a GPU stands there twice", node.facts.name);
    for gpu in node.dynamic_gpus().filter(|gpu| gpu.occupancy != Occupancy::CLOSED) {
        check_open_gpu(gpu);
    }
}

/// The instances on a GPU that takes more stand at legal starts, never share a memory slice, and are what
/// its occupancy says: by the rows of the MIG table, without the compiled geometry.
fn check_open_gpu(gpu: &Gpu) {
    let catalog = Catalog::get();
    let model = gpu.model.expect("a GPU without a model is closed");
    let row = catalog.row(model);
    let mut held = vec![false; usize::from(row.memory_slices)];
    for instance in &gpu.instances {
        let profile = &row.profiles[usize::from(instance.profile)];
        assert!(
            profile.starts.contains(&instance.start),
            "GPU {}: {} at {}",
            gpu.index,
            profile.name,
            instance.start
        );
        for slice in instance.start..instance.start + profile.memory_slices {
            let is_held = std::mem::replace(&mut held[usize::from(slice)], true);
            assert!(!is_held, "GPU {}: memory slice {slice} is held twice", gpu.index);
        }
    }
    let (owner, state) = catalog.state(gpu.occupancy).expect("it is not closed");
    assert_eq!(owner, model, "GPU {}: occupancy of another model", gpu.index);
    let geometry = catalog.geometry(model);
    let used: Vec<bool> = (0..row.memory_slices)
        .map(|slice| geometry.mask(state) >> slice.div_euclid(geometry.unit()) & 1 == 1)
        .collect();
    assert_eq!(used, held, "GPU {}: occupancy and instances differ", gpu.index);
}

/// How often each of `items` occurs.
pub fn counted<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    for item in items {
        *counts.entry(item).or_default() += 1;
    }
    counts
}
