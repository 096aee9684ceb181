//! `tangram simulate trace`: pods and nodes that come and go.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;

use super::options::Output;
use super::{json, tables};
use crate::cli::{load_cluster, open};
use crate::config::Config;
use crate::mig::Occupancy;
use crate::model::{Cluster, Policy};
use crate::sim::{Course, Decision};
use crate::solver::{Fragmentation, Scores};
use crate::wire::dryrun::parse_policy;
use crate::wire::trace::{DecisionForm, TraceReader};

/// A trace of pods and nodes that come and go, through the model that `tangram serve` keeps
///
/// One JSON object per line, in the order of time (`at`, in seconds): {"at": 0, "pod": {…a Kubernetes Pod…}},
/// {"at": 9, "delete": "NAMESPACE/NAME"}, {"at": 9, "node": {…a Node…}}, {"at": 9, "deleteNode": "NAME"}.
///
/// A pod that fits nowhere waits; it is tried again, by priority and then by age, whenever something is freed. A pod
/// goes where `tangram plan` would put it at that moment.
#[derive(Debug, clap::Args)]
pub(super) struct Trace {
    /// The trace; - reads standard input
    file: PathBuf,
    /// The cluster before the trace, as serve takes it [default: the built-in example]
    #[arg(long, value_name = "FILE", conflicts_with = "empty")]
    cluster: Option<PathBuf>,
    /// Begin without any node: the trace brings them
    #[arg(long)]
    empty: bool,
    /// Placement policy of pods without the annotation tangram.gpu/policy [default: pack]
    #[arg(long, value_parser = parse_policy)]
    policy: Option<Policy>,
    /// Write every decision into this file, one JSON object per line
    #[arg(long, value_name = "FILE")]
    decisions: Option<PathBuf>,
    /// Form of the answer; csv has the reasons
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

impl Trace {
    pub(super) fn run(self, mut config: Config) -> anyhow::Result<String> {
        config.policy = self.policy.unwrap_or(config.policy);
        let cache = if self.empty {
            crate::cache::Cache::new(Arc::new(Scores::prior()), config.policy, config.limits.pods).embedded()
        } else {
            load_cluster(&config, self.cluster.as_deref())?
        };
        let mut course = Course::new(cache, config.policy);
        self.play(&mut course, &config)?;
        let report = course.report();
        Ok(match self.output {
            Output::Table => tables::trace(&report, sum(course.cache().cluster(), course.cache().scores())),
            Output::Json => json(&report),
            Output::Csv => tables::trace_csv(&report),
        })
    }

    fn play(&self, course: &mut Course, config: &Config) -> anyhow::Result<()> {
        let dialect = config.dialect();
        let mut reader = TraceReader::new(&dialect);
        let mut decisions = match &self.decisions {
            None => None,
            Some(path) => {
                let file = File::create(path).with_context(|| format!("--decisions {}", path.display()))?;
                Some(BufWriter::new(file))
            }
        };
        let named = || format!("trace {}", self.file.display());
        for line in BufReader::new(open(&self.file)?).lines() {
            let Some(step) = reader.read(&line.with_context(named)?).with_context(named)? else { continue };
            let (at, field) = (step.at, step.happening.field());
            let taken = course.take(step).map_err(|why| reader.wrong(field, why)).with_context(named)?;
            if let Some(out) = &mut decisions {
                for decision in taken {
                    writeln!(out, "{}", line_of(at, &decision)).context("--decisions")?;
                }
            }
        }
        if let Some(out) = &mut decisions {
            out.flush().context("--decisions")?;
        }
        Ok(())
    }
}

fn line_of(at: f64, decision: &Decision) -> String {
    let (node, devices) = match &decision.place {
        None => (None, Vec::new()),
        Some((node, placement)) => {
            (Some(node.to_string()), placement.devices.iter().map(Into::into).collect())
        }
    };
    let form = DecisionForm { at, pod: decision.pod.to_string(), node, devices };
    serde_json::to_string(&form).expect("numbers and texts only")
}

/// The GPUs that Tangram partitions, summed; closed ones are left out.
fn sum(cluster: &Cluster, scores: &Scores) -> Fragmentation {
    let nodes = cluster.by_name();
    let gpus = nodes.iter().flat_map(|node| node.dynamic_gpus()).map(|gpu| gpu.occupancy);
    let open = gpus.filter(|&occupancy| occupancy != Occupancy::CLOSED);
    open.map(|occupancy| scores.fragmentation(occupancy)).fold(Fragmentation::default(), |sum, gpu| {
        Fragmentation {
            total: sum.total + gpu.total,
            used: sum.used + gpu.used,
            free: sum.free + gpu.free,
            usable: sum.usable + gpu.usable,
            stranded: sum.stranded + gpu.stranded,
            cost: sum.cost + gpu.cost,
        }
    })
}
