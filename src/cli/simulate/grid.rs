//! Every combination of mix, load, policy and seed through the simulator.

use std::fmt;

use super::parallel::Pool;
use crate::mig::{Catalog, ModelId, ProfileName};
use crate::model::{Policy, Want};
use crate::plot::Block;
use crate::sim::{
    Figures, Lifetime, Mix, Setting, Workload, fill, fill_reference, play, reference, replay, uptake,
};
use crate::solver::exact::SevenSlices;
use crate::solver::{Demand, Scores};
use crate::wire::simulation::{FillRow, MigRow, Spread};

/// What is run.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) model: ModelId,
    pub(super) gpus: usize,
    pub(super) mixes: Vec<Mix>,
    pub(super) loads: Vec<f64>,
    pub(super) choosers: Vec<Chooser>,
    pub(super) seeds: Vec<u64>,
    pub(super) lifetime: Lifetime,
    /// When measuring begins and when the run ends, in mean lifetimes.
    pub(super) span: (f64, f64),
    /// Whether prices are made for each mix; otherwise they are those of the prior.
    pub(super) knows_mix: bool,
}

/// Terms that hold together, with prices.
#[derive(Debug)]
pub(super) struct Grid {
    pub(super) terms: Terms,
    shares: Vec<Vec<f64>>, // by mix
    scores: Vec<Scores>,   // by mix
}

/// Who chooses places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chooser {
    /// A policy, with so many moves for a request that fits nowhere.
    Policy(Policy, usize),
    /// Everything may be moved at any time: what nobody can beat.
    Reference,
}

impl fmt::Display for Chooser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(policy, 0) => policy.fmt(f),
            Self::Policy(policy, 1) => write!(f, "{policy}, 1 move"),
            Self::Policy(policy, moves) => write!(f, "{policy}, {moves} moves"),
            Self::Reference => f.write_str("reference"),
        }
    }
}

/// All seeds of one mix under one load and chooser.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) mix: usize,
    pub(super) load: usize,
    pub(super) chooser: Chooser,
    pub(super) runs: Vec<Figures>, // by seed
    /// The GPUs at the end of the first seed, where they are to be drawn.
    pub(super) layout: Vec<Vec<Block>>,
}

/// How memory fills up where requests only arrive.
#[derive(Debug)]
pub(super) struct Uptake {
    pub(super) mix: usize,
    pub(super) chooser: Chooser,
    pub(super) points: Vec<(f64, f64)>,
}

/// What pictures need beside the figures.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drawing {
    /// Samples over the time of a run.
    pub(super) samples: u32,
    /// How a GPU at the end is drawn.
    pub(super) layout: fn(&crate::sim::Fleet<'_>, &[f64]) -> Vec<Vec<Block>>,
}

impl Grid {
    /// Checks that mixes and GPUs belong together.
    ///
    /// # Errors
    /// In words.
    pub(super) fn new(terms: Terms) -> anyhow::Result<Self> {
        let geometry = Catalog::get().geometry(terms.model);
        let shares: Result<Vec<Vec<f64>>, String> = terms.mixes.iter().map(|mix| mix.on(geometry)).collect();
        let shares = shares.map_err(anyhow::Error::msg)?;
        let want = |(name, share): (&ProfileName, &f64)| (Want::Profile(name.clone()), *share);
        let demand = |mix: &Mix| {
            if terms.knows_mix { Demand::new(mix.shares.iter().map(want)) } else { Demand::prior() }
        };
        let scores = terms.mixes.iter().map(|mix| Scores::new(demand(mix))).collect();
        if terms.choosers.contains(&Chooser::Reference) {
            let is_counted = |mix: &Mix| mix.shares.keys().all(|name| !name.has_attribute());
            let is_exact = SevenSlices::of(geometry).is_some() && terms.mixes.iter().all(is_counted);
            anyhow::ensure!(
                is_exact,
                "--bound: the fewest GPUs are counted on 7-slice models only, for profiles without attributes"
            );
        }
        Ok(Self { terms, shares, scores })
    }

    /// Runs everything: by mix, load and chooser.
    pub(super) fn run(&self, pool: &Pool, what: &str, drawing: Option<Drawing>) -> Vec<Cell> {
        let (choosers, seeds) = (self.terms.choosers.len(), self.terms.seeds.len());
        let cells = self.terms.mixes.len() * self.terms.loads.len() * choosers;
        let place = |cell: usize| {
            let rest = cell.div_euclid(choosers);
            let (mix, load) =
                (rest.div_euclid(self.terms.loads.len()), rest.rem_euclid(self.terms.loads.len()));
            (mix, load, self.terms.choosers[cell.rem_euclid(choosers)])
        };
        let run = |number: usize| {
            let (mix, load, chooser) = place(number.div_euclid(seeds));
            let seed = number.rem_euclid(seeds);
            let drawing = drawing.filter(|_| seed == 0);
            let is_mapped = load + 1 == self.terms.loads.len();
            self.one(mix, self.terms.loads[load], chooser, self.terms.seeds[seed], drawing, is_mapped)
        };
        let mut runs = pool.map(what, cells * seeds, run).into_iter();
        let cell = |number: usize| {
            let (mix, load, chooser) = place(number);
            let (runs, layouts): (Vec<_>, Vec<_>) = runs.by_ref().take(seeds).unzip();
            Cell { mix, load, chooser, runs, layout: layouts.into_iter().next().unwrap_or_default() }
        };
        (0..cells).map(cell).collect()
    }

    fn one(
        &self,
        mix: usize,
        load: f64,
        chooser: Chooser,
        seed: u64,
        drawing: Option<Drawing>,
        is_mapped: bool,
    ) -> (Figures, Vec<Vec<Block>>) {
        let work = self.work(mix, load, seed);
        let step = drawing.map_or(0.0, |drawing| self.terms.span.1 / f64::from(drawing.samples));
        match chooser {
            Chooser::Reference => (reference(&self.setting(mix, Policy::Pack, 0), work), Vec::new()),
            Chooser::Policy(policy, moves) => {
                let setting = Setting { step, ..self.setting(mix, policy, moves) };
                match drawing.filter(|_| is_mapped) {
                    None => (replay(&setting, work), Vec::new()),
                    Some(drawing) => {
                        let (figures, fleet) = play(&setting, work);
                        (figures, (drawing.layout)(&fleet, &self.shares[mix]))
                    }
                }
            }
        }
    }

    /// Memory in use at the first refusal: by mix and chooser; moves play no part.
    pub(super) fn fills(&self, pool: &Pool) -> Vec<FillRow> {
        let choosers = self.without_moves();
        let seeds = self.terms.seeds.len();
        let run = |number: usize| {
            let (cell, seed) = (number.div_euclid(seeds), self.terms.seeds[number.rem_euclid(seeds)]);
            let (mix, chooser) = (cell.div_euclid(choosers.len()), choosers[cell.rem_euclid(choosers.len())]);
            let work = self.work(mix, 1.0, seed);
            match chooser {
                Chooser::Policy(policy, _) => fill(&self.setting(mix, policy, 0), work),
                Chooser::Reference => fill_reference(&self.setting(mix, Policy::Pack, 0), work),
            }
        };
        let cells = self.terms.mixes.len() * choosers.len();
        let values = pool.map("fill", cells * seeds, run);
        let by_mix: Vec<&[f64]> = values.chunks(seeds).collect();
        let row = |mix: String, chooser: &Chooser, values: &[f64]| {
            let policy = chooser.to_string();
            FillRow { mix, policy, memory_percent: Spread::of(values) }
        };
        let mut rows = Vec::new();
        for (mix, cells) in self.terms.mixes.iter().zip(by_mix.chunks(choosers.len())) {
            rows.extend(
                choosers.iter().zip(cells).map(|(chooser, values)| row(mix.name.clone(), chooser, values)),
            );
        }
        if self.terms.mixes.len() > 1 {
            for (at, chooser) in choosers.iter().enumerate() {
                let of_mixes = by_mix.iter().skip(at).step_by(choosers.len()).copied();
                rows.push(row(self.mean_name(), chooser, &means(&of_mixes.collect::<Vec<_>>())));
            }
        }
        rows
    }

    /// Memory in use against memory asked for, where requests only arrive: by mix and policy, of the first seed.
    pub(super) fn uptakes(&self, pool: &Pool, most: u32) -> Vec<Uptake> {
        let choosers: Vec<Chooser> =
            self.without_moves().into_iter().filter(|chooser| *chooser != Chooser::Reference).collect();
        pool.map("allocation", self.terms.mixes.len() * choosers.len(), |number| {
            let (mix, chooser) =
                (number.div_euclid(choosers.len()), choosers[number.rem_euclid(choosers.len())]);
            let Chooser::Policy(policy, _) = chooser else { unreachable!("the reference was left out") };
            let work = self.work(mix, 1.0, self.terms.seeds[0]);
            Uptake { mix, chooser, points: uptake(&self.setting(mix, policy, 0), work, most) }
        })
    }

    /// The choosers, each policy once.
    fn without_moves(&self) -> Vec<Chooser> {
        let mut once = Vec::new();
        for chooser in &self.terms.choosers {
            let bare = match chooser {
                Chooser::Policy(policy, _) => Chooser::Policy(*policy, 0),
                Chooser::Reference => Chooser::Reference,
            };
            if !once.contains(&bare) {
                once.push(bare);
            }
        }
        once
    }

    fn setting(&self, mix: usize, policy: Policy, moves_max: usize) -> Setting<'_> {
        let scores = &self.scores[mix];
        let Terms { model, gpus, span: (from, to), .. } = self.terms;
        Setting { model, gpus, scores, policy, moves_max, from, to, step: 0.0 }
    }

    fn work(&self, mix: usize, load: f64, seed: u64) -> Workload {
        let geometry = Catalog::get().geometry(self.terms.model);
        Workload::new(geometry, &self.shares[mix], self.terms.gpus, load, self.terms.lifetime, seed)
    }

    /// Rows of a table: one per cell; then, for several mixes, their mean.
    pub(super) fn rows(&self, cells: &[Cell]) -> Vec<MigRow> {
        let mut rows: Vec<MigRow> = cells.iter().map(|cell| self.row(&[cell])).collect();
        if self.terms.mixes.len() > 1 {
            let per_mix = self.terms.loads.len() * self.terms.choosers.len();
            let same = |at: usize| cells.iter().skip(at).step_by(per_mix).collect::<Vec<_>>();
            rows.extend((0..per_mix).map(|at| self.row(&same(at))));
        }
        rows
    }

    /// The mean over cells that differ in their mix only.
    fn row(&self, cells: &[&Cell]) -> MigRow {
        let spread = |part: &dyn Fn(&Figures) -> f64| {
            let values: Vec<Vec<f64>> =
                cells.iter().map(|cell| cell.runs.iter().map(part).collect()).collect();
            Spread::of(&means(&values))
        };
        #[expect(clippy::cast_precision_loss, reason = "far fewer GPUs than 2^52")]
        let gpus = self.terms.gpus as f64;
        let first = cells[0];
        let (policy, moves) = match first.chooser {
            Chooser::Policy(policy, moves) => (policy.to_string(), moves),
            Chooser::Reference => ("reference".to_owned(), 0),
        };
        MigRow {
            mix: if cells.len() == 1 { self.terms.mixes[first.mix].name.clone() } else { self.mean_name() },
            load: self.terms.loads[first.load],
            policy,
            moves,
            rejected_slices_percent: spread(&Figures::rejected_slices_percent),
            rejected_requests_percent: spread(&Figures::rejected_percent),
            moves_per_100: spread(&Figures::moves_per_100),
            active_gpus_percent: spread(&|figures| 100.0 * figures.active / gpus),
        }
    }

    fn mean_name(&self) -> String {
        format!("mean of {}", self.terms.mixes.len())
    }
}

/// Seed by seed, the mean over several rows of values.
fn means<V: AsRef<[f64]>>(rows: &[V]) -> Vec<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let count = rows.len() as f64;
    let seeds = rows.first().map_or(0, |row| row.as_ref().len());
    (0..seeds).map(|seed| rows.iter().map(|row| row.as_ref()[seed]).sum::<f64>() / count).collect()
}
