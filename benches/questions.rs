//! The questions of the placement API on a large cluster: dry runs and explanations, without reading and writing
//! bodies.

mod common;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use tangram::explain::explain;
use tangram::mig::ProfileName;
use tangram::model::{Cluster, Demand, Mobility, Pod, PodKey, Policy, Request, SliceAsk, Version, Want};
use tangram::solver::Scores;
use tangram::solver::exact::Effort;
use tangram::whatif::{Change, Scenario, answer};

const NODES: u32 = 5_000;

fn pod(name: &str, profile: &str, count: usize) -> Arc<Pod> {
    let want = Want::Profile(ProfileName::parse(profile).expect("a profile"));
    let ask = SliceAsk { container: "main".into(), want };
    Arc::new(Pod {
        key: PodKey { namespace: "bench".into(), name: name.into() },
        uid: name.into(),
        created_s: 0,
        priority: 1_000,
        request: Request { slices: vec![ask; count], ..Request::default() },
        demand: Demand::default(),
        node: None,
        placement: None,
        unreadable_placement: None,
        is_terminating: false,
        mobility: Mobility::default(),
        version: Version::default(),
        waiting: None,
    })
}

fn run(cluster: &Cluster, scores: &Scores, scenario: &Scenario) -> usize {
    let answer = answer(cluster, scores, Policy::Pack, scenario).expect("changes that can be");
    answer.planned.iter().filter(|planned| planned.outcome.is_ok()).count()
}

fn questions(criterion: &mut Criterion) {
    let scores = Arc::new(Scores::prior());
    let cache = common::cache(NODES, &scores);
    let cluster = cache.cluster();
    let profiles = ["1g.10gb", "2g.20gb", "3g.40gb", "7g.80gb"];
    let pods = |count: usize| -> Vec<Arc<Pod>> {
        let names = (0..count).map(|number| (format!("p-{number}"), profiles[number.rem_euclid(4)]));
        names.map(|(name, profile)| pod(&name, profile, 1)).collect()
    };
    let node = cluster.by_name()[0].facts.name.clone();
    // No GPU has so many of these, and no node.
    let hopeless = |count: usize| -> Vec<Arc<Pod>> {
        (0..count).map(|number| pod(&format!("h-{number}"), "7g.80gb", 9)).collect()
    };
    let scenarios = [
        ("dry run/1 pod", Scenario { pods: pods(1), ..Scenario::default() }),
        ("dry run/1 pod that fits nowhere", Scenario { pods: hopeless(1), ..Scenario::default() }),
        ("dry run/1,000 pods", Scenario { pods: pods(1_000), ..Scenario::default() }),
        ("dry run/1,000 pods that fit nowhere", Scenario { pods: hopeless(1_000), ..Scenario::default() }),
        (
            "dry run/drain",
            Scenario { changes: vec![Change::Drain(node.clone())], pods: pods(1), ..Scenario::default() },
        ),
        (
            "dry run/batch of 100",
            Scenario { pods: pods(100), batch: Some(Effort::seconds(1.0)), ..Scenario::default() },
        ),
    ];
    let mut group = criterion.benchmark_group("questions");
    group.sample_size(20);
    for (name, scenario) in scenarios {
        group.bench_function(name, |bencher| {
            bencher.iter(|| run(black_box(cluster), &scores, &scenario));
        });
    }
    let placed =
        cluster.by_name().into_iter().flat_map(|node| &node.pods).find(|pod| !pod.request.is_empty());
    let placed = placed.expect("a generated cluster has pods").clone();
    let waits = pod("waits", "7g.80gb", 8);
    for (name, pod) in
        [("explain/placed", placed), ("explain/waits", waits), ("explain/hopeless", hopeless(1)[0].clone())]
    {
        group.bench_function(name, |bencher| {
            bencher.iter(|| explain(black_box(cluster), &scores, Policy::Pack, &pod));
        });
    }
    group.finish();
}

criterion_group!(benches, questions);
criterion_main!(benches);
