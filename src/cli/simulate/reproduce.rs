//! `tangram simulate reproduce`: what is promised, and whether it holds.
//!
//! | protocol | |
//! |---|---|
//! | mig | 800 GPUs of 80 GB and 100 of them, four synthetic mixes, Poisson arrivals, lifetimes of mean 1, measured from 10 to 40 (60 for 100 GPUs), 5 seeds (10 for 100 GPUs) |
//! | openb | 1,213 nodes of a production cluster, pods of its traces up to 130 % of capacity, 10 seeds, ties at random through the eleven levels of the extender protocol, demand learnt from the pods |
//! | mixed | 300 GPUs of six models in MIG mode, whole and shared, asked for all that each way of giving them out has, 5 seeds, ties by name, demand learnt from the pods |

use std::path::{Path, PathBuf};

use super::grid::{Cell, Chooser, Grid, Terms};
use super::mixed::mixed;
use super::openb::{DATA, Data, runs, spread};
use super::options::{Common, Output, parse_model, synthetic_mixes};
use super::parallel::Pool;
use super::{json, tables};
use crate::model::Policy;
use crate::sim::{Lifetime, openb};
use crate::solver::share::Ask;
use crate::wire::simulation::{Claim, FillRow, Goal, MigRow};

/// Run the protocols that the goals are stated for, and say which goals are reached
///
/// The baseline is the best published method, run here under the same protocol; the reference is what nobody can
/// beat. The exit code is 0 even when a goal is missed.
#[derive(Debug, clap::Args)]
pub(super) struct Reproduce {
    /// Which protocols
    #[arg(value_enum, default_value_t)]
    what: What,
    /// Fewer seeds and GPUs: a minute instead of many; figures differ from those that the goals are stated for
    #[arg(long)]
    quick: bool,
    /// Folder with the traces of openb
    #[arg(long, value_name = "DIR", default_value = DATA)]
    data: PathBuf,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Generated workloads of GPU instances
    Mig,
    /// Shares of GPUs and whole ones
    Openb,
    /// A cluster of many models, in MIG mode, whole and shared
    Mixed,
    /// All of them
    #[default]
    All,
}

/// Sizes of a protocol.
#[derive(Debug, Clone, Copy)]
struct Size {
    gpus: usize,
    seeds: u64,
    to: f64,
}

const MFI: Chooser = Chooser::Policy(Policy::Mfi, 0);
const PACK: Chooser = Chooser::Policy(Policy::Pack, 0);

impl Reproduce {
    pub(super) fn run(self) -> anyhow::Result<String> {
        let pool = Pool::new(self.common.threads);
        let mut claims = Vec::new();
        let mut decisions = 0;
        let is_asked = |what| self.what == what || self.what == What::All;
        if is_asked(What::Mig) {
            decisions += mig(&pool, self.quick, &mut claims)?;
        }
        if is_asked(What::Openb) {
            decisions += openb(&pool, self.quick, &self.data, &mut claims)?;
        }
        if is_asked(What::Mixed) {
            decisions += mixed(&pool, self.quick, &mut claims);
        }
        pool.say(decisions);
        if self.quick {
            claims.iter_mut().for_each(unjudged);
        }
        let note = "Quick: goals that are stated for more seeds and GPUs are not judged.\n";
        Ok(match self.common.output {
            Output::Table => tables::claims(&claims) + if self.quick { note } else { "" },
            Output::Json => json(&claims),
            Output::Csv => tables::claims_csv(&claims),
        })
    }
}

/// Under other sizes only what is measured beside each other can be judged.
fn unjudged(claim: &mut Claim) {
    if !matches!(claim.goal, Some(Goal::Below(_) | Goal::Above(_))) {
        claim.is_met = None;
    }
}

/// The workloads of section 3 on A100-80GB.
fn terms(size: Size, load: f64, choosers: &[Chooser]) -> Terms {
    Terms {
        model: parse_model("a100-80gb").expect("a model of the table"),
        gpus: size.gpus,
        mixes: synthetic_mixes(),
        loads: vec![load],
        choosers: choosers.to_vec(),
        seeds: (1..=size.seeds).collect(),
        lifetime: Lifetime::Exponential,
        span: (10.0, size.to),
        knows_mix: false,
    }
}

/// Means over mixes and seeds, by chooser.
struct Means {
    rows: Vec<MigRow>,
    decisions: u64,
}

impl Means {
    fn of(pool: &Pool, what: &str, terms: Terms) -> anyhow::Result<Self> {
        let grid = Grid::new(terms)?;
        let cells: Vec<Cell> = grid.run(pool, what, None);
        let decisions = cells.iter().flat_map(|cell| &cell.runs).map(|run| run.decisions).sum();
        // The rows of the means come last.
        let rows = grid.rows(&cells).split_off(cells.len());
        Ok(Self { rows, decisions })
    }

    fn get(&self, chooser: Chooser) -> &MigRow {
        let (policy, moves) = match chooser {
            Chooser::Policy(policy, moves) => (policy.to_string(), moves),
            Chooser::Reference => ("reference".to_owned(), 0),
        };
        let row = self.rows.iter().find(|row| row.policy == policy && row.moves == moves);
        row.expect("every chooser was run")
    }

    /// Memory slices refused, in percent.
    fn refused(&self, chooser: Chooser) -> f64 {
        self.get(chooser).rejected_slices_percent.mean
    }
}

fn mig(pool: &Pool, is_quick: bool, claims: &mut Vec<Claim>) -> anyhow::Result<u64> {
    let large = if is_quick {
        Size { gpus: 200, seeds: 2, to: 20.0 }
    } else {
        Size { gpus: 800, seeds: 5, to: 40.0 }
    };
    let small = if is_quick {
        Size { gpus: 50, seeds: 3, to: 20.0 }
    } else {
        Size { gpus: 100, seeds: 10, to: 60.0 }
    };
    let with_moves: Vec<Chooser> = (0..=2).map(|moves| Chooser::Policy(Policy::Pack, moves)).collect();
    let all = [&with_moves[..], &[MFI, Chooser::Reference]].concat();

    let full = Means::of(pool, "mig, load 0.95", terms(large, 0.95, &all))?;
    refusals(claims, &full, large.gpus, [Goal::AtMost(0.4), Goal::AtMost(0.22)]);

    let few = [PACK, MFI, Chooser::Reference];
    let grid = Grid::new(terms(large, 1.0, &few))?;
    let fills: Vec<FillRow> = grid.fills(pool).split_off(grid.terms.mixes.len() * few.len());
    let memory = |at: usize| Some(fills[at].memory_percent.mean);
    claims.push(Claim::new(
        format!("{} GPUs, memory in use at first refusal %", large.gpus),
        memory(1),
        Some(Goal::AtLeast(99.0)),
        fills[0].memory_percent.mean,
        memory(2),
    ));

    let low = Means::of(pool, "mig, load 0.70", terms(large, 0.7, &few))?;
    let active = |chooser: Chooser| low.get(chooser).active_gpus_percent.mean;
    claims.push(Claim::new(
        format!("{} GPUs, load 0.70, active GPUs %", large.gpus),
        Some(active(MFI)),
        Some(Goal::AtMost(71.2)),
        active(PACK),
        Some(active(Chooser::Reference)),
    ));

    let tight = Means::of(pool, "mig, few GPUs", terms(small, 0.95, &all))?;
    let mfi = Goal::Below(tight.refused(MFI));
    refusals(claims, &tight, small.gpus, [mfi, mfi]);

    let tailed = Terms { lifetime: Lifetime::Lognormal(1.8), ..terms(large, 0.95, &few) };
    let tailed = Means::of(pool, "mig, lognormal", tailed)?;
    claims.push(Claim::new(
        format!("{} GPUs, lognormal(1.8), refused slices %", large.gpus),
        Some(tailed.refused(MFI)),
        Some(Goal::Below(tailed.refused(MFI))),
        tailed.refused(PACK),
        Some(tailed.refused(Chooser::Reference)),
    ));
    Ok([full, low, tight, tailed].iter().map(|means| means.decisions).sum())
}

/// Refused slices without and with moves, and how many moves that takes.
fn refusals(claims: &mut Vec<Claim>, means: &Means, gpus: usize, [still, moving]: [Goal; 2]) {
    /// At most so many moves per 100 accepted requests.
    const MOVED: Goal = Goal::AtMost(0.25);
    let reference = Some(means.refused(Chooser::Reference));
    let words = ["refused slices %", "refused with 1 move %", "refused with 2 moves %"];
    for (moves, words) in words.into_iter().enumerate() {
        let goal = [Some(still), Some(moving), None][moves];
        let chooser = Chooser::Policy(Policy::Pack, moves);
        let what = format!("{gpus} GPUs, load 0.95, {words}");
        claims.push(Claim::new(what, Some(means.refused(MFI)), goal, means.refused(chooser), reference));
        if moves > 0 {
            // The goal bounds the moves that reach it.
            let bound = if moves == 1 && matches!(moving, Goal::AtMost(_)) { Some(MOVED) } else { None };
            let moved = means.get(chooser).moves_per_100.mean;
            claims.push(Claim::new("  moves per 100 accepted", None, bound, moved, None));
        }
    }
}

const TRACES: [&str; 9] = [
    "default",
    "cpu100",
    "cpu250",
    "gpushare60",
    "gpushare100",
    "gpuspec10",
    "gpuspec33",
    "multigpu20",
    "multigpu50",
];

fn openb(pool: &Pool, is_quick: bool, folder: &Path, claims: &mut Vec<Claim>) -> anyhow::Result<u64> {
    let data = Data::read(folder, None)?;
    let names = if is_quick { &TRACES[..1] } else { &TRACES[..] };
    let seeds: Vec<u64> = if is_quick { vec![42] } else { (42..52).collect() };
    let setting = |policy| openb::Setting {
        policy,
        ties: openb::Ties::Random,
        through_extender: true,
        knowledge: openb::Knowledge::Learnt,
        seed: 0,
    };
    let traces: anyhow::Result<Vec<Vec<Ask>>> = names.iter().map(|name| data.pods(name)).collect();
    let traces = traces?;
    let ours = runs(pool, &data, &traces, &[setting(openb::Policy::Regret)], &seeds);
    // FGD knows the trace, as it does where it was published.
    let fgd = openb::Setting { knowledge: openb::Knowledge::Histogram, ..setting(openb::Policy::Fgd) };
    let fgd = runs(pool, &data, &traces[..1], &[fgd], &seeds);
    let at_100 = |runs: &[openb::Figures]| spread(runs, |run| run.at_100).mean;
    let at_130 = |runs: &[openb::Figures]| spread(runs, |run| run.at_130).mean;
    claims.push(Claim::new(
        "openb default at 100 %, allocated GPU %",
        Some(at_100(&fgd[0])),
        Some(Goal::AtLeast(96.2)),
        at_100(&ours[0]),
        Some(BOUND),
    ));
    claims.push(Claim::new(
        "openb default at 130 %, allocated GPU %",
        Some(at_130(&fgd[0])),
        Some(Goal::AtLeast(96.3)),
        at_130(&ours[0]),
        None,
    ));
    for (name, runs) in names.iter().zip(&ours).filter(|_| !is_quick) {
        let published = data.published.get(*name).map(|published| published.at_100);
        let goal = published.map(Goal::Above);
        claims.push(Claim::new(format!("openb {name} at 100 %"), published, goal, at_100(runs), None));
    }
    Ok(ours.iter().chain(&fgd).flatten().map(|run| run.asked).sum())
}

/// The bound of the linear program for the default trace, in percent.
const BOUND: f64 = 96.9;
