//! How well a mixed workload is packed in the end, beside what the solver alone reaches with the same pods
//! in the same order.

use std::fs;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tangram::cache::Cache;
use tangram::model::Policy;
use tangram::plan::plan;
use tangram::sim::Random;
use tangram::solver::Scores;
use tangram::wire::dryrun::dryrun_pods;
use tangram::wire::fragmentation::FragmentationView;
use tangram::wire::{Dialect, cluster_events};

use crate::lab::{Extender, Lab, QUIET, Setup, answer, gpu_pod};
use crate::rates::seconds;

/// Pods of the mixed workload.
const PODS: usize = 1_500;

/// Runs a mixed workload with a setup, and without an extender, and compares.
pub(crate) async fn compare(lab: &Lab, setup: &Setup, is_live: bool) {
    let alone = Setup { name: "no extender", extender: Extender::None, is_full: false };
    let mut random = Random::new(7);
    let pods: Vec<Pod> = (0..PODS)
        .map(|number| {
            let gpus = [1, 1, 1, 1, 2, 2, 4, 8][(random.next_u64() >> 61) as usize];
            gpu_pod(&format!("m-{number:05}"), gpus)
        })
        .collect();
    let empty = cluster(lab).await;
    println!("fragmentation of the cluster with {PODS} pods of 1, 2, 4 and 8 GPUs, in GPUs:");
    for setup in [&alone, setup] {
        let tangram = lab.tangram(setup).await;
        let scheduler = if is_live {
            let scheduler = lab.scheduler(setup, tangram.as_ref()).await;
            lab.create(&pods).await;
            scheduler
        } else {
            lab.create(&pods).await;
            lab.scheduler(setup, tangram.as_ref()).await
        };
        let is_whole = lab.follower.until(QUIET, |sights| sights.bound == PODS).await;
        // As the API server took them.
        let mut order: Vec<(usize, String)> = lab
            .follower
            .look(|sights| sights.pods.iter().map(|(name, sight)| (sight.number, name.clone())).collect());
        order.sort_unstable();
        let reached = fragmentation(&view(&cluster(lab).await));
        let in_order = order
            .iter()
            .filter_map(|(_, name)| pods.iter().find(|pod| pod.metadata.name.as_ref() == Some(name)));
        let solved = fragmentation(&solved(&empty, in_order));
        println!(
            "  {:22} {reached:8.2}; the solver alone {solved:8.2}; {:+.1} %{}",
            setup.name,
            (reached / solved - 1.0) * 100.0,
            if is_whole { "" } else { "; not all pods were bound" },
        );
        if let Some(tangram) = &tangram {
            let said = fragmentation(&answer(tangram, "/v1/fragmentation").await);
            assert!((said - reached).abs() < 0.01, "Tangram says {said}");
        }
        drop(scheduler);
        drop(tangram);
        lab.clean().await;
    }
    let (_, nodes) = (seconds(PODS), empty.cluster().len());
    println!("  ({nodes} nodes of 8 GPUs)");
}

fn cache() -> Cache {
    Cache::new(Arc::new(Scores::prior()), Policy::Pack, usize::MAX)
}

/// The cluster as the API server has it.
async fn cluster(lab: &Lab) -> Cache {
    let text = fs::read(lab.plane.capture().await).expect("it was written");
    let mut cache = cache();
    let read = cluster_events(text.as_slice(), &Dialect::default(), |event| {
        cache.apply(event);
    });
    assert!(read.expect("the API server's own objects").errors.is_empty());
    cache
}

/// What the solver makes of pods, one after another.
fn solved<'a>(empty: &Cache, pods: impl Iterator<Item = &'a Pod>) -> Value {
    let typed = |pod: &Pod| {
        let mut pod = serde_json::to_value(pod).expect("a pod is JSON");
        (pod["apiVersion"], pod["kind"]) = (json!("v1"), json!("Pod"));
        pod
    };
    let items: Vec<Value> = pods.map(typed).collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string();
    let pods = dryrun_pods(list.as_bytes(), &Dialect::default()).expect("they can be planned");
    let (_, cluster) = plan(empty.cluster().clone(), &Scores::prior(), Policy::Pack, pods);
    serde_json::to_value(FragmentationView::new(&cluster, &Scores::prior(), 0)).expect("numbers")
}

fn view(cache: &Cache) -> Value {
    let view = FragmentationView::new(cache.cluster(), &Scores::prior(), 0);
    serde_json::to_value(view).expect("numbers")
}

/// Free GPUs that multi-GPU jobs cannot use, over all models.
fn fragmentation(view: &Value) -> f64 {
    let pools = view["all"]["pools"].as_array().expect("a list");
    pools.iter().filter_map(|pool| pool["fragmentationGpus"].as_f64()).sum()
}
