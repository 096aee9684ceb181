//! Linear and integer programs, and the backends that solve them: the only place that names one.

use good_lp::solvers::SolutionStatus;
use good_lp::variable::UnsolvedProblem;
use good_lp::{
    Expression, ProblemVariables, ResolutionError, Solution, Solver, SolverModel, Variable,
    WithInitialSolution, WithMipGap, WithTimeLimit, constraint, variable,
};

/// What solves integer programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backend {
    /// Branch and bound in Rust, always there; may fail to prove large uneven cases.
    #[default]
    Microlp,
    /// HiGHS, C++; with the crate's feature `highs`.
    #[cfg(feature = "highs")]
    Highs,
}

impl Backend {
    /// The fastest of those compiled in.
    pub fn best() -> Self {
        #[cfg(feature = "highs")]
        return Self::Highs;
        #[cfg(not(feature = "highs"))]
        return Self::Microlp;
    }

    /// All that are compiled in.
    pub fn all() -> &'static [Self] {
        &[
            Self::Microlp,
            #[cfg(feature = "highs")]
            Self::Highs,
        ]
    }
}

/// Seconds that no solve is given more than: a day, because backends cannot hold every number.
const LONGEST: f64 = 86_400.0;

/// How long a solve may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effort {
    /// What solves.
    pub backend: Backend,
    /// Limit of each program in seconds; an answer has at most two, a linear and an integer one.
    pub seconds: f64,
    /// Relative gap at which a solve may stop; 0 for a proof.
    pub gap: f64,
}

impl Effort {
    /// A proof by the best backend, within so many seconds.
    pub fn seconds(seconds: f64) -> Self {
        Self { backend: Backend::best(), seconds, gap: 0.0 }
    }
}

/// What is known of an answer's distance from the best one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// What the answer costs, in the unit of the question.
    pub cost: u64,
    /// No answer costs less.
    pub bound: u64,
}

impl Proof {
    /// Whether no answer is better.
    pub fn is_optimal(&self) -> bool {
        self.cost == self.bound
    }

    /// Part of the cost that is not proved necessary, 0 to 1.
    pub fn gap(&self) -> f64 {
        let beyond = self.cost.saturating_sub(self.bound);
        if beyond == 0 { 0.0 } else { as_float(beyond) / as_float(self.cost) }
    }
}

/// Minimise cost * x subject to the rows, x >= 0.
#[derive(Debug, Clone, Default)]
pub(in crate::solver) struct Program {
    costs: Vec<f64>,
    rows: Vec<Row>,
}

#[derive(Debug, Clone)]
struct Row {
    terms: Vec<(usize, f64)>,
    sense: Sense,
    side: f64,
}

#[derive(Debug, Clone, Copy)]
pub(in crate::solver) enum Sense {
    AtLeast,
    Exactly,
}

/// How a solve ended.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::solver) enum Outcome {
    /// No values cost less than these.
    Optimal(Vec<f64>),
    /// Values that satisfy the rows.
    Feasible(Vec<f64>),
    /// No values satisfy the rows.
    Infeasible,
    /// The limit came first, or the backend gave up.
    Unknown,
}

impl Program {
    /// A new variable.
    pub(in crate::solver) fn variable(&mut self, cost: f64) -> usize {
        self.costs.push(cost);
        self.costs.len() - 1
    }

    /// A new row; terms of a variable that stands twice add up.
    pub(in crate::solver) fn row(&mut self, terms: Vec<(usize, f64)>, sense: Sense, side: f64) {
        self.rows.push(Row { terms, sense, side });
    }

    /// What values cost.
    pub(super) fn cost(&self, values: &[f64]) -> f64 {
        self.costs.iter().zip(values).map(|(cost, value)| cost * value).sum()
    }

    /// Solves over real numbers.
    pub(in crate::solver) fn solve_linear(&self, effort: Effort) -> Outcome {
        self.dispatch(false, effort, None)
    }

    /// Solves over whole numbers; values come back rounded. `start` is an answer in hand.
    pub(super) fn solve_whole(&self, effort: Effort, start: Option<&[f64]>) -> Outcome {
        let round = |values: Vec<f64>| values.into_iter().map(f64::round).collect();
        match self.dispatch(true, effort, start) {
            Outcome::Optimal(values) => Outcome::Optimal(round(values)),
            Outcome::Feasible(values) => Outcome::Feasible(round(values)),
            other => other,
        }
    }

    fn dispatch(&self, is_whole: bool, effort: Effort, start: Option<&[f64]>) -> Outcome {
        match effort.backend {
            Backend::Microlp => self.run(good_lp::microlp, is_whole, effort, start),
            #[cfg(feature = "highs")]
            Backend::Highs => {
                // One thread: solves run beside a server that answers, and threads make answers differ.
                let single = |problem: UnsolvedProblem| good_lp::highs(problem).set_threads(1);
                self.run(single, is_whole, effort, start)
            }
        }
    }

    fn run<M>(
        &self,
        backend: impl Solver<Model = M>,
        is_whole: bool,
        effort: Effort,
        start: Option<&[f64]>,
    ) -> Outcome
    where
        M: SolverModel<Error = ResolutionError> + WithMipGap + WithTimeLimit + WithInitialSolution,
    {
        let (unsolved, variables) = self.unsolved(is_whole);
        let mut model = unsolved.using(backend).with_time_limit(within(effort.seconds, LONGEST));
        for row in &self.rows {
            model.add_constraint(row.constraint(&variables));
        }
        if is_whole {
            #[expect(clippy::cast_possible_truncation, reason = "a gap has no use for more digits")]
            let gap = within(effort.gap, 1.0) as f32;
            model = model.with_mip_gap(gap).expect("neither negative nor infinite");
            if let Some(start) = start {
                model = model.with_initial_solution(variables.iter().copied().zip(start.iter().copied()));
            }
        }
        match model.solve() {
            Ok(solution) => {
                let values = variables.iter().map(|&variable| solution.value(variable)).collect();
                match solution.status() {
                    SolutionStatus::Optimal => Outcome::Optimal(values),
                    // HiGHS says so of a gap within its own absolute tolerance, too.
                    SolutionStatus::GapLimit if effort.gap <= 0.0 => Outcome::Optimal(values),
                    SolutionStatus::GapLimit | SolutionStatus::TimeLimit => Outcome::Feasible(values),
                }
            }
            Err(ResolutionError::Infeasible) => Outcome::Infeasible,
            Err(_) => Outcome::Unknown,
        }
    }

    fn unsolved(&self, is_whole: bool) -> (UnsolvedProblem, Vec<Variable>) {
        let mut problem = ProblemVariables::new();
        let kind = || if is_whole { variable().integer() } else { variable() };
        let variables: Vec<Variable> = self.costs.iter().map(|_| problem.add(kind().min(0))).collect();
        let mut objective = Expression::with_capacity(variables.len());
        for (&variable, &cost) in variables.iter().zip(&self.costs) {
            objective.add_mul(cost, variable);
        }
        (problem.minimise(objective), variables)
    }
}

impl Row {
    fn constraint(&self, variables: &[Variable]) -> good_lp::Constraint {
        let mut sum = Expression::with_capacity(self.terms.len());
        for &(index, factor) in &self.terms {
            sum.add_mul(factor, variables[index]);
        }
        match self.sense {
            Sense::AtLeast => constraint::geq(sum, self.side),
            Sense::Exactly => constraint::eq(sum, self.side),
        }
    }
}

/// A number between 0 and `most`; 0 for what is none.
fn within(number: f64, most: f64) -> f64 {
    number.max(0.0).min(most)
}

/// The least whole number that is not below `bound` by more than a solver's tolerance.
pub(super) fn rounded_up(bound: f64) -> u64 {
    const TOLERANCE: f64 = 1e-6; // relative to what is at most some millions
    let least = (bound - TOLERANCE * bound.abs().max(1.0)).ceil();
    as_whole(least)
}

/// A value that is whole up to a solver's tolerance; 0 for what is negative or not a number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates; counts are far below"
)]
pub(super) fn as_whole(value: f64) -> u64 {
    value.round() as u64
}

/// A count as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "counts of GPUs, requests and slices: below 2^53")]
pub(super) fn as_float(count: u64) -> f64 {
    count as f64
}
