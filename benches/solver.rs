//! The solver alone: filter and prioritize of one dynamic-MIG pod over a whole cluster.

mod common;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use tangram::model::{Cluster, Policy, Request, SliceAsk, Want};
use tangram::solver::{Cost, Query, Scores, evaluate, levels};

fn request(profile: &str) -> Request {
    let profile = tangram::mig::ProfileName::parse(profile).expect("a profile");
    let ask = SliceAsk { container: "main".into(), want: Want::Profile(profile) };
    Request { slices: vec![ask], ..Request::default() }
}

/// What the two verbs compute, without reading and writing bodies: every node's verdict, then every fitting
/// node's cost and level.
fn filter_and_prioritize(cluster: &Cluster, scores: &Scores, request: &Request) -> usize {
    let query = Query::new(cluster, scores, request, Policy::Pack);
    let fits = cluster.indices().filter(|&index| evaluate(cluster.row(index), &query).is_ok());
    let fits: Vec<_> = fits.collect();
    let query = Query::new(cluster, scores, request, Policy::Pack);
    let costs: Vec<Cost> =
        fits.iter().filter_map(|&index| evaluate(cluster.row(index), &query).ok()).collect();
    let name = |at: usize| &cluster.node(fits[at]).facts.name;
    levels(&costs, |a, b| name(a) < name(b)).len()
}

fn solver(criterion: &mut Criterion) {
    let scores = Arc::new(Scores::prior());
    for nodes in [5_000, 50_000] {
        let cache = common::cache(nodes, &scores);
        for profile in ["1g.10gb", "3g.40gb"] {
            let request = request(profile);
            criterion.bench_function(&format!("filter+prioritize/{nodes}x8/{profile}"), |bencher| {
                bencher.iter(|| filter_and_prioritize(black_box(cache.cluster()), &scores, &request));
            });
        }
    }
    criterion.bench_function("prices of all models", |bencher| bencher.iter(Scores::prior));
}

criterion_group!(benches, solver);
criterion_main!(benches);
