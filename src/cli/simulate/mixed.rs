//! The mixed cluster of `tangram simulate reproduce`.

use super::parallel::Pool;
use crate::model::Policy;
use crate::sim::mixed::{Figures, refused_at_least, run};
use crate::wire::simulation::{Claim, Goal};

/// Ours, and those that it is measured against.
const POLICIES: [Policy; 4] = [Policy::Pack, Policy::Mfi, Policy::Fgd, Policy::BestFit];

/// Runs every policy with every seed and says what came of it; gives the number of decisions.
pub(super) fn mixed(pool: &Pool, is_quick: bool, claims: &mut Vec<Claim>) -> u64 {
    let seeds: Vec<u64> = (1..=if is_quick { 2 } else { 5 }).collect();
    let runs: Vec<Figures> = pool.map("mixed", seeds.len() * POLICIES.len(), |number| {
        let (seed, policy) = (number.div_euclid(POLICIES.len()), number.rem_euclid(POLICIES.len()));
        run(POLICIES[policy], seeds[seed])
    });
    let refused = |policy: usize| {
        let its = runs.iter().skip(policy).step_by(POLICIES.len());
        its.map(|run| run.refused_percent).collect::<Vec<f64>>()
    };
    let others = || (1..POLICIES.len()).map(refused);
    let best = others().map(|refused| mean(&refused)).fold(f64::INFINITY, f64::min);
    let bounds: Vec<f64> = seeds.iter().map(|&seed| refused_at_least(seed)).collect();
    claims.push(Claim::new(
        "mixed cluster, refused GPU memory %",
        Some(best),
        Some(Goal::Below(best)),
        mean(&refused(0)),
        Some(mean(&bounds)),
    ));
    let ours = refused(0);
    let beyond = others()
        .flat_map(|refused| ours.iter().zip(refused).map(|(ours, other)| ours - other).collect::<Vec<f64>>());
    claims.push(Claim::new(
        "  more than any of MFI, FGD, best-fit on any seed",
        None,
        Some(Goal::Below(0.0)),
        beyond.fold(f64::NEG_INFINITY, f64::max),
        None,
    ));
    runs.iter().map(|run| run.asked).sum()
}

fn mean(values: &[f64]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a few seeds")]
    let count = values.len() as f64;
    values.iter().sum::<f64>() / count
}
