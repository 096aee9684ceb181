//! Generated clusters for the benches.

use std::sync::Arc;

use tangram::cache::Cache;
use tangram::model::Policy;
use tangram::sim::{Shape, cluster_json};
use tangram::solver::Scores;
use tangram::wire::{Dialect, cluster_events};

/// A model of so many nodes with eight GPUs and four pods each, in mixed occupancy.
pub(crate) fn cache(nodes: u32, scores: &Arc<Scores>) -> Cache {
    let text = cluster_json(Shape { nodes, pods: nodes * 4, padding: 0, seed: 1 });
    let mut cache = Cache::new(scores.clone(), Policy::Pack, usize::MAX);
    let contents = cluster_events(text.as_bytes(), &Dialect::default(), |event| {
        cache.apply(event);
    });
    let contents = contents.expect("a generated cluster can be read");
    assert_eq!(contents.nodes, usize::try_from(nodes).expect("fits"));
    assert!(contents.errors.is_empty(), "{:?}", contents.errors);
    cache
}
