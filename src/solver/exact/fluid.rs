//! Prices of profiles in GPUs: the dual of the fluid configuration LP.
//!
//! The primal asks for the fewest GPUs, in fractions, that serve a demand d: minimise sum over patterns t of
//! `x_t`, where each profile p gets at least `d_p`. Its dual, solved here because it has one variable per profile and
//! no value has to be read from a backend's duals:
//!
//! `maximise sum over p of d_p * v_p, where each pattern is worth at most 1 and v >= 0`
//!
//! Several prices may be optimal. The choice is a function of the demand alone: each profile's share of the
//! memory slices if that is optimal, as it is for most demands; else the optimal prices nearest to it in the
//! sum of absolute differences, where a difference weighs a little more for later profiles so that the
//! nearest prices are one point.

use super::fillings::Fillings;
use super::program::{Backend, Effort, Outcome, Program, Sense};

/// Slack within which two objectives count as equal, in GPUs per request: what a backend's arithmetic costs.
const TOLERANCE: f64 = 1e-8;
/// Slack of the optimum where the nearest prices are looked for: less, because a price may move by this over
/// the profile's share of the demand.
const FACE_TOLERANCE: f64 = 1e-9;
/// How much more a difference weighs from one profile to the next.
const TIE_BREAK: f64 = 1e-3;
/// Always the same backend, and a limit that a dozen variables never reach: prices depend on the demand alone.
const EFFORT: Effort = Effort { backend: Backend::Microlp, seconds: 60.0, gap: 0.0 };

/// What the demand pays.
#[derive(Debug, Clone, PartialEq)]
pub struct Prices {
    /// GPUs per further instance, by [`ProfileId`](crate::mig::ProfileId); 0 for profiles that the fillings
    /// leave out.
    pub per_profile: Vec<f64>,
    /// GPUs that the demand keeps busy in the fluid optimum; per request where the demand sums to 1.
    pub gpus: f64,
}

/// The prices of a demand: requests, or shares of them, by [`ProfileId`](crate::mig::ProfileId).
///
/// Where the demand is negative, not a number, or of a profile that the fillings leave out, it counts as 0;
/// without any demand each profile is worth its share of the memory slices. Prices are always feasible:
/// no pattern is worth more than 1.
pub fn prices(fillings: &Fillings, demand: &[f64]) -> Prices {
    let memory: Vec<f64> = (0..fillings.width()).map(|profile| fillings.memory_price(profile)).collect();
    let profiles: Vec<usize> = fillings.profiles().iter().copied().map(usize::from).collect();
    let asked = |&profile: &usize| demand.get(profile).copied().filter(|d| d.is_finite() && *d > 0.0);
    let total: f64 = profiles.iter().filter_map(asked).sum();
    let scale = if total > 0.0 { total } else { 1.0 };
    let shares: Vec<f64> = profiles.iter().map(|profile| asked(profile).unwrap_or(0.0) / scale).collect();
    let memory: Vec<f64> = profiles.iter().map(|&profile| memory[profile]).collect();
    let face = Face { fillings, profiles: &profiles, shares: &shares, memory: &memory };
    let (chosen, gpus) = face.chosen();
    let mut per_profile = vec![0.0; fillings.width()];
    for (&profile, &price) in profiles.iter().zip(&chosen) {
        per_profile[profile] = price;
    }
    Prices { per_profile, gpus: gpus * scale }
}

/// The optimal prices of a demand; all lists go by demanded profile.
struct Face<'a> {
    fillings: &'a Fillings,
    profiles: &'a [usize],
    shares: &'a [f64],
    memory: &'a [f64],
}

impl Face<'_> {
    /// The prices, and what the demand is worth at optimal ones.
    fn chosen(&self) -> (Vec<f64>, f64) {
        let by_memory = (self.memory.to_vec(), worth(self.shares, self.memory));
        let costs = self.shares.iter().map(|share| -share);
        let Outcome::Optimal(best) = self.polytope(costs).solve_linear(EFFORT) else {
            return by_memory; // feasible always, optimal mostly
        };
        let optimum = worth(self.shares, &best);
        if by_memory.1 >= optimum - TOLERANCE {
            return by_memory;
        }
        match self.nearest(optimum).solve_linear(EFFORT) {
            Outcome::Optimal(mut nearest) => {
                nearest.truncate(self.memory.len()); // behind the prices stand the differences
                (self.feasible(nearest), optimum)
            }
            _ => (self.feasible(best), optimum),
        }
    }

    /// One variable per profile, each pattern worth at most 1.
    fn polytope(&self, costs: impl Iterator<Item = f64>) -> Program {
        let mut program = Program::default();
        for cost in costs {
            program.variable(cost);
        }
        for pattern in self.fillings.patterns() {
            let terms = self.profiles.iter().map(|&profile| -f64::from(pattern.counts[profile]));
            program.row(terms.enumerate().collect(), Sense::AtLeast, -1.0);
        }
        program
    }

    /// The prices that reach `optimum` and are nearest to the shares of memory.
    fn nearest(&self, optimum: f64) -> Program {
        let mut program = self.polytope(self.shares.iter().map(|_| 0.0));
        let terms = self.shares.iter().copied().enumerate().collect();
        program.row(terms, Sense::AtLeast, optimum - FACE_TOLERANCE);
        let mut weight = 1.0;
        for (price, &memory) in self.memory.iter().enumerate() {
            let difference = program.variable(weight);
            program.row(vec![(difference, 1.0), (price, -1.0)], Sense::AtLeast, -memory);
            program.row(vec![(difference, 1.0), (price, 1.0)], Sense::AtLeast, memory);
            weight += TIE_BREAK;
        }
        program
    }

    /// Rid of a solver's rounding: whole multiples of a small unit, no pattern above 1.
    fn feasible(&self, mut prices: Vec<f64>) -> Vec<f64> {
        const UNIT: f64 = 1e-6; // above a solver's tolerance, far below any difference between decisions
        for price in &mut prices {
            *price = (*price / UNIT).round().max(0.0) * UNIT;
        }
        let value = |counts: &[u32]| -> f64 {
            self.profiles
                .iter()
                .zip(&prices)
                .map(|(&profile, price)| f64::from(counts[profile]) * price)
                .sum()
        };
        let dearest =
            self.fillings.patterns().iter().map(|pattern| value(&pattern.counts)).fold(1.0, f64::max);
        prices.into_iter().map(|price| price / dearest).collect()
    }
}

fn worth(shares: &[f64], prices: &[f64]) -> f64 {
    shares.iter().zip(prices).map(|(share, price)| share * price).sum()
}
