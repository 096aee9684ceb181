//! The cheapest way to hold a batch: one load for each node, all loads together exactly the batch.
//!
//! Nodes that are alike are one class; a load is what one of its nodes may hold together, as counts by kind of pod.
//!
//! ```text
//! minimise  sum cost_cl * x_cl
//!           sum over l of x_cl = members of c          each node has one load, maybe the empty one
//!           sum over c, l of counts_cl,k * x_cl = n_k  every pod of the batch has a place
//! ```

use super::program::{Effort, Outcome, Program, Sense, as_whole};

/// Nodes that are alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Shelf {
    /// How many there are.
    pub members: u32,
    /// What each may hold; the first is nothing.
    pub loads: Vec<Load>,
}

/// What one node may hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// How many pods of each kind.
    pub counts: Vec<u32>,
    /// What it costs; all costs in one unit.
    pub cost: f64,
}

/// What is known of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Assigned {
    /// It is held: nodes by shelf and load, the cost, and whether no way costs less.
    Held {
        /// Nodes by shelf and load.
        chosen: Vec<Vec<u32>>,
        /// Sum of the loads' costs.
        cost: f64,
        /// Whether no way costs less.
        is_cheapest: bool,
    },
    /// It is proved that nothing holds it.
    Impossible,
    /// The limit came first.
    Unknown,
}

/// Finds the cheapest way for `counts` pods of each kind.
pub fn assign(shelves: &[Shelf], counts: &[u32], effort: Effort) -> Assigned {
    let loads = || shelves.iter().flat_map(|shelf| &shelf.loads);
    // Costs reach 10^12 and tolerances are absolute: the dearest load costs one.
    let dearest = loads().map(|load| load.cost.abs()).fold(1.0_f64, f64::max);
    let mut program = Program::default();
    let mut held: Vec<Vec<(usize, f64)>> = vec![Vec::new(); counts.len()];
    for shelf in shelves {
        let mut members = Vec::new();
        for load in &shelf.loads {
            let variable = program.variable(load.cost / dearest);
            members.push((variable, 1.0));
            for (terms, &count) in held.iter_mut().zip(&load.counts).filter(|(_, count)| **count > 0) {
                terms.push((variable, f64::from(count)));
            }
        }
        program.row(members, Sense::Exactly, f64::from(shelf.members));
    }
    for (terms, &count) in held.into_iter().zip(counts) {
        if terms.is_empty() && count > 0 {
            return Assigned::Impossible;
        }
        program.row(terms, Sense::Exactly, f64::from(count));
    }
    let (values, is_cheapest) = match program.solve_whole(effort, None) {
        Outcome::Optimal(values) => (values, effort.gap <= 0.0),
        Outcome::Feasible(values) => (values, false),
        Outcome::Infeasible => return Assigned::Impossible,
        Outcome::Unknown => return Assigned::Unknown,
    };
    let mut values = values.iter().map(|&value| u32::try_from(as_whole(value)).unwrap_or(u32::MAX));
    let chosen: Vec<Vec<u32>> =
        shelves.iter().map(|shelf| values.by_ref().take(shelf.loads.len()).collect()).collect();
    // Checked, because a backend's rounding may go wrong.
    if !is_exact(shelves, counts, &chosen) {
        return Assigned::Unknown;
    }
    let cost = pairs(shelves, &chosen).map(|(load, nodes)| load.cost * f64::from(nodes)).sum();
    Assigned::Held { chosen, cost, is_cheapest }
}

fn pairs<'a>(shelves: &'a [Shelf], chosen: &'a [Vec<u32>]) -> impl Iterator<Item = (&'a Load, u32)> {
    let all = shelves.iter().zip(chosen);
    all.flat_map(|(shelf, chosen)| shelf.loads.iter().zip(chosen.iter().copied()))
}

/// Whether each node has one load, and all together are the batch.
fn is_exact(shelves: &[Shelf], counts: &[u32], chosen: &[Vec<u32>]) -> bool {
    let sum = |numbers: &[u32]| numbers.iter().copied().map(u64::from).sum::<u64>();
    let members = shelves.iter().zip(chosen).all(|(shelf, chosen)| sum(chosen) == u64::from(shelf.members));
    let held = |kind: usize| -> u64 {
        pairs(shelves, chosen).map(|(load, nodes)| u64::from(load.counts[kind]) * u64::from(nodes)).sum()
    };
    members && counts.iter().enumerate().all(|(kind, &count)| held(kind) == u64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(counts: &[u32], cost: f64) -> Load {
        Load { counts: counts.to_vec(), cost }
    }

    #[test]
    fn the_cheapest_loads_hold_exactly_the_batch() {
        let loads = vec![load(&[0, 0], 0.0), load(&[1, 0], 3.0), load(&[0, 1], 4.0), load(&[1, 1], 5.0)];
        let shelf = Shelf { members: 2, loads };
        let held = assign(std::slice::from_ref(&shelf), &[1, 1], Effort::seconds(5.0));
        let together = Assigned::Held { chosen: vec![vec![1, 0, 0, 1]], cost: 5.0, is_cheapest: true };
        assert_eq!(held, together);
        let shelf = std::slice::from_ref(&shelf);
        assert_eq!(assign(shelf, &[3, 0], Effort::seconds(5.0)), Assigned::Impossible);
        let nothing = assign(&[], &[1], Effort::seconds(5.0));
        assert_eq!(nothing, Assigned::Impossible);
    }
}
