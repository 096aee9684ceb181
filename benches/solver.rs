//! The solver alone: filter and prioritize of one pod over a whole cluster, of dynamic-MIG and of whole GPUs.

mod common;
#[path = "common/whole.rs"]
mod whole;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use tangram::model::{Cluster, Pod, Policy};
use tangram::solver::{Cost, Query, Scores, evaluate, fits, levels};

/// What the two verbs compute, without reading and writing bodies: every node's verdict, then every fitting
/// node's cost and level.
fn filter_and_prioritize(cluster: &Cluster, scores: &Scores, pod: &Pod) -> usize {
    let query = Query::new(cluster, scores, pod, Policy::Pack);
    let open = cluster.indices().filter(|&index| fits(cluster.row(index), &query).is_ok());
    let open: Vec<_> = open.collect();
    let query = Query::new(cluster, scores, pod, Policy::Pack);
    let costs: Vec<Cost> =
        open.iter().filter_map(|&index| evaluate(cluster.row(index), &query).ok()).collect();
    let name = |at: usize| &cluster.node(open[at]).facts.name;
    levels(&costs, |a, b| name(a) < name(b)).len()
}

fn solver(criterion: &mut Criterion) {
    let scores = Arc::new(Scores::prior());
    for nodes in [5_000, 50_000] {
        let cache = common::cache(nodes, &scores);
        for profile in ["1g.10gb", "3g.40gb"] {
            let pod = whole::pod(&format!("tangram.gpu/mig-{profile}"), 1, 8);
            criterion.bench_function(&format!("filter+prioritize/{nodes}x8/{profile}"), |bencher| {
                bencher.iter(|| filter_and_prioritize(black_box(cache.cluster()), &scores, &pod));
            });
        }
    }
    let cache = whole::cache(5_000);
    for gpus in [1, 4] {
        let pod = whole::pod("nvidia.com/gpu", gpus, 8 * gpus);
        criterion.bench_function(&format!("filter+prioritize/5000x8/{gpus} whole"), |bencher| {
            bencher.iter(|| filter_and_prioritize(black_box(cache.cluster()), cache.scores(), &pod));
        });
    }
    let (demand, supply) = (cache.scores().demand(), cache.scores().markets().supply());
    criterion.bench_function("prices of all models", |bencher| bencher.iter(Scores::prior));
    criterion.bench_function("prices of all models and whole GPUs", |bencher| {
        bencher.iter(|| Scores::with_supply(demand.clone(), supply.clone()));
    });
}

criterion_group!(benches, solver);
criterion_main!(benches);
