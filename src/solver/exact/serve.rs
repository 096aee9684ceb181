//! The layouts that serve most of a demand.
//!
//! GPUs, or nodes whose GPUs change together, that are alike are one kind; each member has one layout out of the
//! kind's choices. The demand is asks: so many of one resource, each of so much worth; a resource with several
//! asks serves the dearest first.
//!
//! ```text
//! maximise  sum worth_a * s_a  -  sum cost_kc * x_kc
//!           sum over c of x_kc = members of k;  s_a <= most_a
//!           sum of s_a of a resource <= what is there anyway + sum of counts_kc * x_kc
//! ```

use super::program::{Effort, Outcome, Program, Sense, as_float, as_whole};

/// Objectives that differ by less are equal: a backend's arithmetic.
const TOLERANCE: f64 = 1e-6;

/// Members that are alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Kind {
    /// How many there are.
    pub members: u32,
    /// Layouts that each may have; the first is the one that it has.
    pub choices: Vec<Choice>,
}

/// A layout.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// How many of each resource it gives.
    pub counts: Vec<u32>,
    /// What it costs, in the unit of [`Ask::worth`].
    pub cost: f64,
}

/// A part of the demand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ask {
    /// Which resource: an index into [`Choice::counts`].
    pub resource: usize,
    /// How many are asked for.
    pub most: u32,
    /// What one is worth.
    pub worth: f64,
}

/// What is chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Served {
    /// Members by kind and choice.
    pub chosen: Vec<Vec<u32>>,
    /// What is served, less what the choices cost.
    pub worth: f64,
    /// No choice is worth more.
    pub bound: f64,
}

impl Served {
    /// Part of the bound that is not reached, 0 to 1.
    pub fn gap(&self) -> f64 {
        let missing = self.bound - self.worth;
        if missing <= TOLERANCE { 0.0 } else { missing / self.bound }
    }
}

/// Chooses layouts, beside `free` that is there anyway, by resource.
///
/// Greedy first: one member after another gets the layout that gains most. Then the integer program, unless the
/// bound of its relaxation is reached already.
pub fn serve(kinds: &[Kind], free: &[u32], asks: &[Ask], effort: Effort) -> Served {
    let mut asks = asks.to_vec();
    asks.sort_by(|a, b| b.worth.total_cmp(&a.worth));
    let question = Question { kinds, free, asks };
    let mut best = question.greedy();
    let program = question.program();
    if let Outcome::Optimal(values) = program.solve_linear(effort) {
        best.bound = best.worth.max(-program.cost(&values));
    }
    if best.gap() <= effort.gap {
        return best;
    }
    let start = question.values(&best.chosen);
    match program.solve_whole(effort, Some(&start)) {
        Outcome::Optimal(values) => {
            let mut best = question.better(best, &values);
            if effort.gap <= 0.0 {
                best.bound = best.worth;
            }
            best
        }
        Outcome::Feasible(values) => question.better(best, &values),
        Outcome::Infeasible | Outcome::Unknown => best,
    }
}

struct Question<'a> {
    kinds: &'a [Kind],
    free: &'a [u32],
    asks: Vec<Ask>, // the dearest first
}

impl Question<'_> {
    /// What choices are worth.
    fn worth(&self, chosen: &[Vec<u32>]) -> f64 {
        let costs = self.pairs(chosen).map(|(choice, members)| choice.cost * f64::from(members));
        self.served(&self.supply(chosen))
            .zip(&self.asks)
            .map(|(served, ask)| as_float(served) * ask.worth)
            .sum::<f64>()
            - costs.sum::<f64>()
    }

    fn pairs<'c>(&'c self, chosen: &'c [Vec<u32>]) -> impl Iterator<Item = (&'c Choice, u32)> {
        let kinds = self.kinds.iter().zip(chosen);
        kinds.flat_map(|(kind, members)| kind.choices.iter().zip(members.iter().copied()))
    }

    fn supply(&self, chosen: &[Vec<u32>]) -> Vec<u64> {
        let mut supply: Vec<u64> = self.free.iter().copied().map(u64::from).collect();
        for (choice, members) in self.pairs(chosen).filter(|(_, members)| *members > 0) {
            for (sum, &count) in supply.iter_mut().zip(&choice.counts) {
                *sum += u64::from(count) * u64::from(members);
            }
        }
        supply
    }

    /// How many of each ask are served.
    fn served(&self, supply: &[u64]) -> impl Iterator<Item = u64> {
        let mut left = supply.to_vec();
        self.asks.iter().map(move |ask| {
            let served = left[ask.resource].min(u64::from(ask.most));
            left[ask.resource] -= served;
            served
        })
    }

    fn greedy(&self) -> Served {
        let as_it_is = |kind: &Kind| {
            let others = kind.choices.len().saturating_sub(1);
            [vec![kind.members], vec![0; others]].concat()
        };
        let mut chosen: Vec<Vec<u32>> = self.kinds.iter().map(as_it_is).collect();
        let mut worth = self.worth(&chosen);
        loop {
            let mut best: Option<(f64, usize, usize)> = None;
            for (at, kind) in self.kinds.iter().enumerate().filter(|(at, _)| chosen[*at][0] > 0) {
                let mut tried = chosen.clone();
                tried[at][0] -= 1;
                for to in 1..kind.choices.len() {
                    tried[at][to] += 1;
                    let found = self.worth(&tried);
                    tried[at][to] -= 1;
                    if found > best.map_or(worth, |(best, ..)| best) + TOLERANCE {
                        best = Some((found, at, to));
                    }
                }
            }
            let Some((found, at, to)) = best else {
                return Served { chosen, worth, bound: f64::INFINITY };
            };
            chosen[at][0] -= 1;
            chosen[at][to] += 1;
            worth = found;
        }
    }

    fn program(&self) -> Program {
        let mut program = Program::default();
        let mut supplied: Vec<Vec<(usize, f64)>> = vec![Vec::new(); self.free.len()];
        for kind in self.kinds {
            let mut members = Vec::new();
            for choice in &kind.choices {
                let variable = program.variable(choice.cost);
                members.push((variable, 1.0));
                for (terms, &count) in
                    supplied.iter_mut().zip(&choice.counts).filter(|(_, count)| **count > 0)
                {
                    terms.push((variable, f64::from(count)));
                }
            }
            program.row(members, Sense::Exactly, f64::from(kind.members));
        }
        let mut is_asked = vec![false; self.free.len()];
        for ask in &self.asks {
            let variable = program.variable(-ask.worth);
            program.row(vec![(variable, -1.0)], Sense::AtLeast, -f64::from(ask.most));
            supplied[ask.resource].push((variable, -1.0));
            is_asked[ask.resource] = true;
        }
        for ((terms, &free), _) in
            supplied.into_iter().zip(self.free).zip(is_asked).filter(|(_, is_asked)| *is_asked)
        {
            program.row(terms, Sense::AtLeast, -f64::from(free));
        }
        program
    }

    /// Choices as values of the program.
    fn values(&self, chosen: &[Vec<u32>]) -> Vec<f64> {
        let members = chosen.iter().flatten().copied().map(f64::from);
        members.chain(self.served(&self.supply(chosen)).map(as_float)).collect()
    }

    fn better(&self, in_hand: Served, values: &[f64]) -> Served {
        let mut values = values.iter();
        let chosen: Vec<Vec<u32>> = self
            .kinds
            .iter()
            .map(|kind| values.by_ref().take(kind.choices.len()).map(|&value| members(value)).collect())
            .collect();
        // Checked, because a backend's rounding may go wrong: then what is in hand is right.
        let is_whole = self.kinds.iter().zip(&chosen).all(|(kind, chosen)| {
            chosen.iter().copied().map(u64::from).sum::<u64>() == u64::from(kind.members)
        });
        let worth = self.worth(&chosen);
        if !is_whole || worth <= in_hand.worth + TOLERANCE {
            return in_hand;
        }
        Served { chosen, worth, bound: in_hand.bound.max(worth) }
    }
}

fn members(value: f64) -> u32 {
    u32::try_from(as_whole(value)).unwrap_or(u32::MAX)
}
