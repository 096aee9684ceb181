//! What a share of each size is worth, in GPUs: the dual of the fluid configuration LP.
//!
//! The primal serves the demand with the fewest GPUs, each filled by some pattern of shares. Its dual is
//! maximise Σ d·v, where no pattern is worth more than one GPU. Patterns are added as they are found to be worth more,
//! by the knapsack that also gives φ.

use std::collections::BTreeMap;

use super::WHOLE;
use crate::solver::exact::program::{Backend, Effort, Outcome, Program, Sense};

/// Billionths of a GPU in a GPU: the unit of worths and costs.
pub(super) const UNIT: i64 = 1_000_000_000;
/// How much more than a GPU a pattern may be worth, for a solver's rounding.
const TOLERANCE: i64 = 1000;
/// Patterns to look at; the last answer is taken where they do not do. Never reached with 100 sizes.
const PATTERNS_MAX: usize = 2000;
/// One program of at most [`PATTERNS_MAX`] rows.
const EFFORT: Effort = Effort { backend: Backend::Microlp, seconds: 1.0, gap: 0.0 };

/// The most the demand would pay for a part of a GPU, by its free thousandths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Worth {
    most: Vec<i64>,
    last: Vec<u16>, // size of a share in the best filling; 0: the thousandth stays empty
}

impl Worth {
    /// The knapsack over shares of given worth.
    pub(super) fn new(values: &BTreeMap<u16, i64>) -> Self {
        let mut most = vec![0; usize::from(WHOLE) + 1];
        let mut last = vec![0; most.len()];
        for free in 1..=WHOLE {
            let at = usize::from(free);
            most[at] = most[at - 1];
            for (&size, &value) in values.range(1..=free) {
                let sum = most[usize::from(free - size)] + value;
                if sum > most[at] {
                    (most[at], last[at]) = (sum, size);
                }
            }
        }
        Self { most, last }
    }

    /// The worth of so many free thousandths.
    pub(super) fn of(&self, free: u16) -> i64 {
        self.most[usize::from(free.min(WHOLE))]
    }

    /// The best filling of a GPU: how many shares of each size.
    fn best(&self) -> BTreeMap<u16, u32> {
        let mut pattern = BTreeMap::new();
        let mut free = WHOLE;
        while free > 0 {
            let size = self.last[usize::from(free)];
            if size > 0 {
                *pattern.entry(size).or_default() += 1;
            }
            free -= size.max(1);
        }
        pattern
    }
}

/// The worth of each size that is asked for. `asked` has parts of all GPUs' worth of asks, by size in thousandths.
pub(super) fn values(asked: &BTreeMap<u16, f64>) -> BTreeMap<u16, i64> {
    let mut patterns: Vec<BTreeMap<u16, u32>> =
        asked.keys().map(|&size| BTreeMap::from([(size, u32::from(WHOLE.div_euclid(size)))])).collect();
    // By length, until a program is solved: patterns of the LP hold, so it is an answer at any time.
    let mut values: BTreeMap<u16, i64> =
        asked.keys().map(|&size| (size, (UNIT * i64::from(size)).div_euclid(WHOLE.into()))).collect();
    while patterns.len() < PATTERNS_MAX {
        let Some(next) = solve(asked, &patterns) else { return values };
        values = next;
        let worth = Worth::new(&values);
        if worth.of(WHOLE) <= UNIT + TOLERANCE {
            return values;
        }
        patterns.push(worth.best());
    }
    values
}

fn solve(asked: &BTreeMap<u16, f64>, patterns: &[BTreeMap<u16, u32>]) -> Option<BTreeMap<u16, i64>> {
    let mut program = Program::default();
    let variables: BTreeMap<u16, usize> =
        asked.iter().map(|(&size, &share)| (size, program.variable(-share))).collect();
    for pattern in patterns {
        let terms = pattern.iter().map(|(size, &count)| (variables[size], -f64::from(count)));
        program.row(terms.collect(), Sense::AtLeast, -1.0);
    }
    let Outcome::Optimal(solution) = program.solve_linear(EFFORT) else { return None };
    #[expect(clippy::cast_possible_truncation, reason = "a worth is 0 to 1 GPU")]
    let rounded = |value: f64| (value.clamp(0.0, 1.0) * 1e9).round() as i64;
    Some(variables.into_iter().map(|(size, variable)| (size, rounded(solution[variable]))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The best filling by trying all.
    fn exhaustive(free: u16, values: &[(u16, i64)]) -> i64 {
        let Some((&(size, value), others)) = values.split_first() else { return 0 };
        let counts = (0..=free.div_euclid(size)).map(|n| (n, i64::from(n) * value));
        counts.map(|(n, sum)| sum + exhaustive(free - n * size, others)).max().expect("none is a count")
    }

    #[test]
    fn the_knapsack_finds_what_exhaustive_search_finds() {
        let sets: [&[(u16, i64)]; 3] = [
            &[(230, 250), (460, 500), (810, 1000)],
            &[(70, 13), (110, 40), (333, 340), (500, 480)],
            &[(1000, 1000), (999, 1)],
        ];
        for set in sets {
            let worth = Worth::new(&set.iter().copied().collect());
            for free in (0..=WHOLE).step_by(7).chain([460, 920, 999, WHOLE]) {
                assert_eq!(worth.of(free), exhaustive(free, set), "{free} of {set:?}");
            }
        }
    }

    #[test]
    fn shares_that_only_fit_in_twos_are_worth_half_a_gpu() {
        let values = values(&[(460, 0.5), (1000, 0.5)].into());
        assert_eq!(values, [(460, 500_000_000), (1000, UNIT)].into());
    }

    #[test]
    fn what_fits_beside_a_large_share_for_nothing_is_worth_nothing() {
        let values = values(&[(100, 0.1), (810, 0.9)].into());
        assert_eq!(values, [(100, 0), (810, UNIT)].into());
    }
}
