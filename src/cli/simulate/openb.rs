//! `tangram simulate openb`: a trace of a production cluster with shares of GPUs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::options::{Common, Output, Seeds, parse_seeds};
use super::parallel::Pool;
use super::{json, tables};
use crate::sim::openb::{
    Cluster, Figures, Knowledge, Policy, Published, Setting, Ties, parse_nodes, parse_pods, parse_published,
    run,
};
use crate::solver::share::Ask;
use crate::wire::simulation::{OpenbRow, Spread};

/// Where the traces lie in the repository.
pub(super) const DATA: &str = "data/traces/openb";

/// A trace in the openb format: whole GPUs and shares, on nodes with CPU, memory and GPU models
///
/// Pods of the trace, drawn again at random until they ask for 130 % of all GPUs, come in random order and never go;
/// one that does not fit is skipped. The figure is how much of all GPUs is allocated when 100 % and when 130 % has
/// been asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Openb {
    /// Pods: the name of a trace in the data folder (default, cpu250, multigpu50, …) or a CSV file; may be repeated
    #[arg(long, value_name = "NAME|FILE", default_value = "default", value_delimiter = ',')]
    pods: Vec<String>,
    /// Nodes, a CSV file [default: those of the data folder]
    #[arg(long, value_name = "FILE")]
    nodes: Option<PathBuf>,
    /// The data folder
    #[arg(long, value_name = "DIR", default_value = DATA)]
    data: PathBuf,
    /// Who chooses: regret (what Tangram does), fgd, best-fit, first-fit, least-allocated, most-allocated,
    /// dot-product, random; may be repeated
    #[arg(long, default_value = "regret,fgd,best-fit", value_delimiter = ',')]
    policy: Vec<Policy>,
    /// Which of equal nodes is taken: the first by name, or any, as kube-scheduler does
    #[arg(long, value_enum, default_value_t)]
    ties: TiesArg,
    /// Pass costs through the eleven levels of the extender protocol
    #[arg(long)]
    through_extender: bool,
    /// What prices are made of: the trace itself, or what was learnt from the pods so far
    #[arg(long, value_enum, default_value_t)]
    demand: Knows,
    /// Seeds: how many, or FIRST-LAST
    #[arg(long, default_value = "42-51", value_parser = parse_seeds)]
    seeds: Seeds,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum TiesArg {
    /// The first by name
    #[default]
    Name,
    /// Any
    Random,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Knows {
    /// What was learnt from the pods so far
    #[default]
    Learnt,
    /// The whole trace
    Trace,
}

/// The data folder, read.
#[derive(Debug)]
pub(super) struct Data {
    folder: PathBuf,
    pub(super) cluster: Cluster,
    pub(super) published: BTreeMap<String, Published>,
}

impl Data {
    /// Reads the nodes, and the published figures where there are any.
    pub(super) fn read(folder: &Path, nodes: Option<&Path>) -> anyhow::Result<Self> {
        let path = nodes.map_or_else(|| folder.join("openb_node_list_gpu_node.csv"), Path::to_owned);
        let cluster = parse_nodes(&text(&path)?).with_context(|| path.display().to_string())?;
        anyhow::ensure!(!cluster.nodes.is_empty(), "{}: it has no node", path.display());
        let path = folder.join("published_fgd.csv");
        let published = match nodes {
            // The figures are for the shipped nodes.
            None if path.exists() => {
                parse_published(&text(&path)?).with_context(|| path.display().to_string())?
            }
            _ => BTreeMap::new(),
        };
        Ok(Self { folder: folder.to_owned(), cluster, published })
    }

    /// The pods of a trace of the folder, or of a file.
    pub(super) fn pods(&self, name: &str) -> anyhow::Result<Vec<Ask>> {
        let shipped = self.folder.join(format!("openb_pod_list_{name}.csv"));
        let path = if shipped.exists() { shipped } else { PathBuf::from(name) };
        let pods = parse_pods(&text(&path)?, &self.cluster).with_context(|| path.display().to_string())?;
        anyhow::ensure!(!pods.is_empty(), "{}: it has no pod", path.display());
        Ok(pods)
    }
}

fn text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| {
        format!("{}: the traces are in {DATA} of the repository, or where --data says", path.display())
    })
}

/// Runs traces × settings × seeds; the figures by trace and setting.
pub(super) fn runs(
    pool: &Pool,
    data: &Data,
    traces: &[Vec<Ask>],
    settings: &[Setting],
    seeds: &[u64],
) -> Vec<Vec<Figures>> {
    let cells = traces.len() * settings.len();
    let figures = pool.map("openb", cells * seeds.len(), |number| {
        let (cell, seed) = (number.div_euclid(seeds.len()), seeds[number.rem_euclid(seeds.len())]);
        let (trace, setting) = (cell.div_euclid(settings.len()), settings[cell.rem_euclid(settings.len())]);
        run(&data.cluster, &traces[trace], &Setting { seed, ..setting })
    });
    figures.chunks(seeds.len()).map(<[Figures]>::to_vec).collect()
}

/// Mean and spread of a part of the figures.
pub(super) fn spread(runs: &[Figures], part: fn(&Figures) -> f64) -> Spread {
    Spread::of(&runs.iter().map(part).collect::<Vec<_>>())
}

impl Openb {
    pub(super) fn run(self) -> anyhow::Result<String> {
        let pool = Pool::new(self.common.threads);
        let data = Data::read(&self.data, self.nodes.as_deref())?;
        let traces: anyhow::Result<Vec<Vec<Ask>>> = self.pods.iter().map(|name| data.pods(name)).collect();
        let settings: Vec<Setting> = self.policy.iter().map(|&policy| self.setting(policy)).collect();
        let runs = runs(&pool, &data, &traces?, &settings, &self.seeds.0);
        pool.say(runs.iter().flatten().map(|run| run.asked).sum());
        let cells = self.pods.iter().flat_map(|trace| self.policy.iter().map(move |policy| (trace, policy)));
        let row = |((trace, policy), runs): ((&String, &Policy), &Vec<Figures>)| OpenbRow {
            trace: trace.clone(),
            policy: policy.to_string(),
            at_100: spread(runs, |run| run.at_100),
            at_130: spread(runs, |run| run.at_130),
            published_at_100: data.published.get(trace).map(|published| published.at_100),
        };
        let rows: Vec<OpenbRow> = cells.zip(&runs).map(row).collect();
        Ok(match self.common.output {
            Output::Table => tables::openb(&rows),
            Output::Json => json(&rows),
            Output::Csv => tables::openb_csv(&rows),
        })
    }

    fn setting(&self, policy: Policy) -> Setting {
        Setting {
            policy,
            ties: match self.ties {
                TiesArg::Name => Ties::Name,
                TiesArg::Random => Ties::Random,
            },
            through_extender: self.through_extender,
            knowledge: match self.demand {
                Knows::Learnt => Knowledge::Learnt,
                Knows::Trace => Knowledge::Histogram,
            },
            seed: 0,
        }
    }
}
