//! The most that a stock can serve of a demand: the bound that a mixed cluster's simulation prints.
//!
//! maximise Σ worth(k) · x(w) over ways w of serving kind k(w), where each kind is served at most as often as it is
//! asked for and no stock gives more than it has. In fractions, and of all nodes of a make together: no placement can
//! serve more.

use super::program::{Backend, Effort, Outcome, Program, Sense};

/// A few hundred variables; never reached.
const EFFORT: Effort = Effort { backend: Backend::Microlp, seconds: 60.0, gap: 0.0 };

/// One way to serve a kind of request.
#[derive(Debug, Clone, PartialEq)]
pub struct Way {
    /// The kind, by position.
    pub kind: usize,
    /// What it takes of which stocks, by position.
    pub takes: Vec<(usize, f64)>,
}

/// The most worth that can be served; `asked` has the worth of a kind and how often it is asked for, `stocks` what
/// there is. `None` where the program cannot be solved.
pub fn most_served(asked: &[(f64, f64)], stocks: &[f64], ways: &[Way]) -> Option<f64> {
    let mut program = Program::default();
    let variables: Vec<usize> = ways.iter().map(|way| program.variable(-asked[way.kind].0)).collect();
    let of = |kind: usize| {
        let its = ways.iter().zip(&variables).filter(move |(way, _)| way.kind == kind);
        its.map(|(_, &variable)| (variable, -1.0)).collect::<Vec<_>>()
    };
    for (kind, (_, count)) in asked.iter().enumerate() {
        program.row(of(kind), Sense::AtLeast, -count);
    }
    for (stock, has) in stocks.iter().enumerate() {
        let takes = ways.iter().zip(&variables).flat_map(|(way, &variable)| {
            way.takes.iter().filter(move |(from, _)| *from == stock).map(move |(_, part)| (variable, -part))
        });
        program.row(takes.collect(), Sense::AtLeast, -has);
    }
    match program.solve_linear(EFFORT) {
        Outcome::Optimal(values) => Some(-program.cost(&values)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stock_serves_what_is_worth_most_of_it() {
        let way = |kind, stock, part| Way { kind, takes: vec![(stock, part)] };
        // 4 of the first kind at 3 each, 10 of the second at 1; the first stock serves both, the other the second.
        let ways = [way(0, 0, 2.0), way(1, 0, 1.0), way(1, 1, 1.0)];
        let most = most_served(&[(3.0, 4.0), (1.0, 10.0)], &[9.0, 3.0], &ways).unwrap();
        assert!((most - (12.0 + 1.0 + 3.0)).abs() < 1e-9, "{most}");
        assert_eq!(most_served(&[], &[], &[]), Some(0.0));
    }
}
