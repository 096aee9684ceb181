//! A mixed cluster under several policies: GPUs of six models, in MIG mode, whole and shared, with CPU and memory.

use tangram::model::Policy;
use tangram::sim::mixed::{refused_at_least, run, stream};

#[test]
fn pack_refuses_less_than_others_and_nobody_less_than_the_bound() {
    let seed = 2;
    let bound = refused_at_least(seed);
    let pack = run(Policy::Pack, seed);
    assert!(bound <= pack.refused_percent, "seed {seed}: {pack:?} is below {bound}");
    for policy in [Policy::Mfi, Policy::Fgd, Policy::BestFit] {
        let other = run(policy, seed);
        assert!(pack.refused_percent < other.refused_percent, "seed {seed}, {policy}: {other:?}, {pack:?}");
    }
}

#[test]
fn the_pods_are_a_function_of_the_seed() {
    assert_eq!(stream(3), stream(3));
    assert_ne!(stream(3), stream(4));
    assert!(stream(3).len() > 500);
}
