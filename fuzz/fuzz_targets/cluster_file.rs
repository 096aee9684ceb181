//! Cluster files: Nodes, Pods and GpuNodes, whatever they claim.
//!
//! Checked, beside the absence of panics:
//!
//! - the same file read twice into one model, or into another, gives equal nodes; so does any order of its
//!   events, where no two of them are about the same object;
//! - on every GPU that still takes instances those that are there stand at legal starts, share no memory
//!   slice, and are what the occupancy says;
//! - pods planned on the cluster, of every way of asking and for all that is left of a resource, get only
//!   places that the independent checker accepts;
//! - when all pods are deleted an embedded model holds nothing of them;
//! - the views of the nodes and of the fragmentation can be written.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use tangram::cache::{Cache, Event};
use tangram::model::{Cluster, Node, Pod, PodKey, Policy, Request};
use tangram::plan::plan;
use tangram::solver::verify;
use tangram::wire::dryrun::dryrun_pods;
use tangram::wire::fragmentation::FragmentationView;
use tangram::wire::view::NodeView;
use tangram::wire::{Dialect, cluster_events};
use tangram_fuzz::{SCORES, check_node, check_refused, empty_cache};

/// Pods that are planned on every cluster: one per way of asking.
const PODS: &str = r#"
{"metadata":{"name":"profile"},"spec":{"containers":[{"name":"main","resources":{"limits":{"tangram.gpu/mig-1g.10gb":"1"}}}]}}
{"metadata":{"name":"spread","annotations":{"tangram.gpu/policy":"spread"}},"spec":{"containers":[{"name":"main","resources":{"limits":{"tangram.gpu/mig-2g.20gb":"2","tangram.gpu/mig-1g.10gb.me":"1"}}}]}}
{"metadata":{"name":"memory"},"spec":{"containers":[{"name":"main","resources":{"limits":{"tangram.gpu/mem":"30000","tangram.gpu/compute-slices":"3"}}}]}}
{"metadata":{"name":"whole"},"spec":{"containers":[{"name":"main","resources":{"limits":{"nvidia.com/gpu":"1"}}}]}}
{"metadata":{"name":"counted","annotations":{"tangram.gpu/policy":"spread"}},"spec":{"containers":[{"name":"main","resources":{"limits":{"nvidia.com/gpu":"1","nvidia.com/mig-1g.10gb":"2"}}}]}}
"#;

fuzz_target!(|data: &[u8]| {
    let mut events = Vec::new();
    let cache = read(data, empty_cache(), &mut events);
    let nodes = nodes(&cache);
    nodes.iter().for_each(|node| check_node(node));
    let other = read(data, empty_cache(), &mut Vec::new());
    assert_equal(&nodes, &self::nodes(&other), "read into another model");

    if is_distinct(&events) {
        let mut reversed = empty_cache();
        for event in events.iter().rev() {
            reversed.apply(event.clone());
        }
        assert_equal(&nodes, &self::nodes(&reversed), "its events in reverse");
    }
    for node in &nodes {
        serde_json::to_vec(&NodeView::new(node, &SCORES)).expect("texts and numbers only");
    }
    let view = FragmentationView::new(cache.cluster(), &SCORES, 1);
    serde_json::to_vec(&view).expect("texts and numbers only");

    place_pods(cache.cluster(), &nodes);
    let cache = read(data, cache, &mut Vec::new());
    assert_equal(&nodes, &self::nodes(&cache), "read twice into one model");
    delete_pods(cache.embedded());
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    tangram_fuzz::mutate(data, size, max_size, seed, 0)
});

/// Feeds the file to a model; keeps its events.
fn read(data: &[u8], mut cache: Cache, events: &mut Vec<Event>) -> Cache {
    // What comes before the place where a file breaks off counts.
    _ = cluster_events(data, &Dialect::default(), |event| {
        events.push(event.clone());
        cache.apply(event);
    });
    cache
}

fn nodes(cache: &Cache) -> Vec<Arc<Node>> {
    cache.cluster().by_name().into_iter().cloned().collect()
}

fn assert_equal(nodes: &[Arc<Node>], others: &[Arc<Node>], how: &str) {
    for (node, other) in nodes.iter().zip(others) {
        assert_eq!(node, other, "{how}");
    }
    assert_eq!(nodes.len(), others.len(), "{how}");
}

/// Whether every object occurs once.
fn is_distinct(events: &[Event]) -> bool {
    let (mut names, mut reports, mut keys) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    events.iter().all(|event| match event {
        Event::NodeApplied(facts) => names.insert(&facts.name),
        Event::Report(name, _) => reports.insert(name),
        Event::PodApplied(pod) => keys.insert(&pod.key),
        other => panic!("a cluster file holds no {other:?}"),
    })
}

/// When its pods are gone an embedded model holds nothing of them.
fn delete_pods(mut cache: Cache) {
    let pods: BTreeMap<PodKey, Arc<Pod>> = cache.pods().map(|pod| (pod.key.clone(), pod.clone())).collect();
    for key in pods.keys() {
        cache.apply(Event::PodDeleted(key.clone()));
    }
    for node in nodes(&cache) {
        check_node(&node);
        let name = &node.facts.name;
        assert!(node.pods.is_empty() && node.pools.iter().all(|pool| pool.used == 0), "{name}");
        let holders = node.gpus.iter().flat_map(|gpu| &gpu.instances).filter_map(|held| held.pod.as_ref());
        // What a report says of a pod that stands elsewhere is a lie that stays.
        let was_here = |key: &&PodKey| pods.get(key).is_some_and(|pod| pod.node.as_ref() == Some(name));
        assert_eq!(holders.into_iter().find(was_here), None, "{name}");
    }
}

/// Pods that ask for all that is left of a counted resource, on the first few nodes that have it.
fn greedy_pods<'a>(nodes: &'a [Arc<Node>], like: &'a Pod) -> impl Iterator<Item = Arc<Pod>> {
    let left = nodes
        .iter()
        .flat_map(|node| node.pools())
        .map(|(facts, pool)| (facts.resource.clone(), facts.capacity.saturating_sub(pool.used)));
    left.filter(|(_, left)| *left > 0).take(4).map(|left| {
        let request = Request { counted: vec![left], ..Request::default() };
        Arc::new(Pod { request, ..like.clone() })
    })
}

fn place_pods(cluster: &Cluster, nodes: &[Arc<Node>]) {
    static WANTED: LazyLock<Vec<Arc<Pod>>> =
        LazyLock::new(|| dryrun_pods(PODS.as_bytes(), &Dialect::default()).expect("they are well formed"));
    for pod in WANTED.iter().cloned().chain(greedy_pods(nodes, &WANTED[0])) {
        let (planned, _) = plan(cluster.clone(), &SCORES, Policy::Pack, [pod.clone()]);
        let [planned] = planned.as_slice() else { panic!("one pod, {} outcomes", planned.len()) };
        match &planned.outcome {
            Ok(place) => {
                let node = cluster.get(&place.node).expect("a place is on a node");
                assert_eq!(verify(node, &pod.request, &place.placement), Ok(()), "{}", pod.key);
            }
            Err(refused) => check_refused(refused, cluster),
        }
    }
}
