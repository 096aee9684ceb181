//! `tangram simulate mig`: generated workloads of GPU instances.

use std::path::PathBuf;

use super::grid::{Chooser, Grid, Terms};
use super::options::{
    Common, Mixes, Output, Seeds, parse_gpus, parse_load, parse_mixes, parse_model, parse_moves, parse_seeds,
    parse_time, synthetic_mixes,
};
use super::parallel::Pool;
use super::{json, pictures, tables};
use crate::mig::{Catalog, ModelId};
use crate::model::Policy;
use crate::sim::Lifetime;
use crate::wire::dryrun::parse_policy;
use crate::wire::simulation::MigReport;

/// Generated requests for GPU instances on a row of GPUs
///
/// Requests come at random (Poisson), each for one instance drawn from the mix, stay for a random lifetime of mean 1
/// and go. One that fits nowhere is lost. A load of 1 means that those alive at one time fill all GPUs in the mean,
/// if they were packed perfectly. All combinations of mix, load, policy and moves are run with every seed.
#[derive(Debug, clap::Args)]
pub(super) struct Mig {
    /// GPU model: a key such as a100-80gb, h100-80gb-sxm, a30-24gb, or a product name
    #[arg(long, default_value = "a100-80gb", value_parser = parse_model)]
    model: ModelId,
    /// How many GPUs
    #[arg(long, value_name = "N", default_value = "800", value_parser = parse_gpus)]
    gpus: usize,
    /// What is asked for: uniform, skew-small, skew-big, bimodal, openb, or PROFILE=SHARE,…; may be repeated
    /// [default: the first four]
    #[arg(long, value_name = "MIX", value_parser = parse_mixes)]
    mix: Vec<Mixes>,
    /// How much is asked for; 1 fills all GPUs under perfect packing; may be repeated
    #[arg(long, default_value = "0.95", value_delimiter = ',', value_parser = parse_load)]
    load: Vec<f64>,
    /// Who chooses: pack, spread, best-fit, first-fit, mfi, fgd, random(SEED); may be repeated
    #[arg(long, default_value = "pack,mfi,best-fit,first-fit", value_delimiter = ',', value_parser = parse_policy)]
    policy: Vec<Policy>,
    /// Instances that may be moved for a request that fits nowhere
    #[arg(long, default_value = "0", value_delimiter = ',', value_parser = parse_moves)]
    moves: Vec<usize>,
    /// Seeds: how many, or FIRST-LAST
    #[arg(long, default_value = "5", value_parser = parse_seeds)]
    seeds: Seeds,
    /// How long requests stay: exponential, or lognormal(SIGMA)
    #[arg(long, default_value = "exponential", value_parser = Lifetime::parse)]
    lifetime: Lifetime,
    /// When measuring begins, in mean lifetimes
    #[arg(long, value_name = "TIME", default_value = "10", value_parser = parse_time)]
    from: f64,
    /// When the runs end, in mean lifetimes
    #[arg(long, value_name = "TIME", default_value = "40", value_parser = parse_time)]
    to: f64,
    /// What prices are made of: the prior, which knows nothing of the mix, or the mix
    #[arg(long, value_enum, default_value_t)]
    demand: Knows,
    /// Say also how full the GPUs are at the first refusal, when nothing ever goes
    #[arg(long)]
    fill: bool,
    /// Add the reference: everything may be moved at any time, what no placement can beat
    #[arg(long)]
    bound: bool,
    /// Draw charts and maps into this folder, as SVG and PNG
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Knows {
    /// Every profile without attribute alike
    #[default]
    Prior,
    /// The mix that is asked for
    Mix,
}

impl Mig {
    pub(super) fn run(self) -> anyhow::Result<String> {
        let Self { from, to, .. } = self;
        anyhow::ensure!(from < to, "--from {from}: measuring has to begin before the run ends, --to {to}");
        let pool = Pool::new(self.common.threads);
        let grid = Grid::new(self.terms())?;
        if let Some(folder) = &self.plots {
            pictures::prepare(folder)?;
        }
        let cells = grid.run(&pool, "simulate", self.plots.as_ref().map(|_| pictures::DRAWING));
        let fills = if self.fill { grid.fills(&pool) } else { Vec::new() };
        pool.say(cells.iter().flat_map(|cell| &cell.runs).map(|run| run.decisions).sum());
        if let Some(folder) = &self.plots {
            pictures::draw(&grid, &cells, &pool, folder)?;
        }
        let report = MigReport {
            model: Catalog::get().row(self.model).key.to_owned(),
            gpus: self.gpus,
            lifetime: self.lifetime.to_string(),
            seeds: self.seeds.0,
            from,
            to,
            rows: grid.rows(&cells),
            fills,
        };
        Ok(match self.common.output {
            Output::Table => tables::mig(&report),
            Output::Json => json(&report),
            Output::Csv => tables::mig_csv(&report),
        })
    }

    fn terms(&self) -> Terms {
        let mixes = self.mix.iter().flat_map(|mixes| mixes.0.clone());
        let policies = once(&self.policy);
        let moves = once(&self.moves);
        let choosers = policies
            .iter()
            .flat_map(|&policy| moves.iter().map(move |&moves| Chooser::Policy(policy, moves)));
        Terms {
            model: self.model,
            gpus: self.gpus,
            mixes: if self.mix.is_empty() { synthetic_mixes() } else { mixes.collect() },
            loads: once(&self.load),
            choosers: choosers.chain(self.bound.then_some(Chooser::Reference)).collect(),
            seeds: self.seeds.0.clone(),
            lifetime: self.lifetime,
            span: (self.from, self.to),
            knows_mix: self.demand == Knows::Mix,
        }
    }
}

/// The values, each once, in the order in which they were given.
fn once<T: PartialEq + Copy>(values: &[T]) -> Vec<T> {
    let mut once = Vec::new();
    for value in values {
        if !once.contains(value) {
            once.push(*value);
        }
    }
    once
}
