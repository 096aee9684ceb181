//! A mixed cluster: GPUs of six models, in MIG mode, whole and shared, with CPU and memory that run out.
//!
//! Pods of every kind arrive in random order until each way of giving out GPUs has been asked for all that it has, and
//! never leave; one that does not fit is refused. The figure is the part of the demand that is refused, in GPU memory.
//! Nodes and pods go through the model and the solver of production (`Course`), prices are learnt as pods come.
//!
//! ```text
//! makes   the nodes
//! kinds   the pods
//! bound   the least that must be refused
//! ```

mod bound;
mod kinds;
mod makes;

use std::sync::Arc;

pub use bound::refused_at_least;

use super::{Course, Random};
use crate::cache::Cache;
use crate::model::Policy;
use crate::solver::Scores;
use crate::wire::trace::{Happening, Step};
use kinds::{KINDS, Kind};
use makes::{MAKES, Make, Way};

/// What came of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// GPU memory that was refused, in percent of what was asked for.
    pub refused_percent: f64,
    /// Pods that were asked for.
    pub asked: u64,
}

/// The pods of a seed: kinds by position, in the order in which they come.
pub fn stream(seed: u64) -> Vec<usize> {
    let mut random = Random::new(seed);
    let mut stream = Vec::new();
    for way in Way::ALL {
        let kinds: Vec<usize> = (0..KINDS.len()).filter(|&kind| KINDS[kind].way == way).collect();
        let weights: usize = kinds.iter().map(|&kind| KINDS[kind].weight).sum();
        let has: u32 = MAKES.iter().filter(|make| make.way == way).map(Make::memory_mib).sum();
        let mut asked = 0;
        while asked < has {
            let mut at = random.below(weights);
            let kind = kinds.iter().find(|&&kind| {
                let is_it = at < KINDS[kind].weight;
                at = at.wrapping_sub(KINDS[kind].weight);
                is_it
            });
            let kind = *kind.expect("below the sum of the weights");
            asked += KINDS[kind].worth_mib;
            stream.push(kind);
        }
    }
    for last in (1..stream.len()).rev() {
        stream.swap(last, random.below(last + 1));
    }
    stream
}

/// Runs the protocol.
///
/// # Panics
/// Never: the trace is one that can be.
pub fn run(policy: Policy, seed: u64) -> Figures {
    let cache = Cache::new(Arc::new(Scores::prior()), policy, usize::MAX).embedded();
    let mut course = Course::new(cache, policy);
    for facts in MAKES.iter().flat_map(Make::nodes) {
        let happening = Happening::Node(Arc::new(facts));
        course.take(Step { at: 0.0, happening }).expect("no node is refused");
    }
    let (mut asked, mut refused, mut count) = (0.0, 0.0, 0_u32);
    for number in stream(seed) {
        let kind: &Kind = &KINDS[number];
        count += 1;
        let happening = Happening::Pod(Arc::new(kind.pod(count)));
        let decisions = course.take(Step { at: f64::from(count), happening }).expect("each pod comes once");
        let worth = f64::from(kind.worth_mib);
        asked += worth;
        refused += if decisions.iter().any(|decision| decision.place.is_some()) { 0.0 } else { worth };
    }
    Figures { refused_percent: 100.0 * refused / asked, asked: count.into() }
}
