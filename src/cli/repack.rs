//! `tangram repack`: which pods to move, as a plan.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use axum::http::Uri;

use super::output::Output;
use super::plan::documents;
use super::repack_table::repack_table;
use super::{client, load_contents};
use crate::config::Config;
use crate::repack::{Ask, repack};
use crate::solver::exact::Effort;
use crate::wire::repack::{Objects, Question, RepackView, repack_objects};

/// Say which pods to move so that GPUs or nodes become empty, waiting pods find room, or less is stranded
///
/// A plan only: nothing is moved, evicted or written, whatever the flags. The steps are in an order in which each
/// pod's new place is free before it leaves the old one. Moved are only pods that a controller makes anew, within
/// their disruption budgets (one eviction at a time), not those of a DaemonSet, those with tangram.gpu/movable: "false",
/// karpenter.sh/do-not-disrupt: "true" or cluster-autoscaler.kubernetes.io/safe-to-evict: "false", nor those with
/// volumes, pod affinity or spread constraints, which Tangram does not model.
///
/// Exit code: 0 when the goal is reached, 1 when it is not, 2 when something went wrong.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("goal").required(true).args(["gpus", "nodes", "room", "fragmentation", "stranded"])))]
pub(super) struct Repack {
    /// So many more GPUs without any GPU instance
    #[arg(long, value_name = "N")]
    gpus: Option<u32>,
    /// So many more nodes without any pod that asks for a GPU
    #[arg(long, value_name = "N")]
    nodes: Option<u32>,
    /// Places for these pods or workloads, JSON or YAML; - reads standard input; may be repeated
    #[arg(long, value_name = "FILE")]
    room: Vec<PathBuf>,
    /// Fragmentation cost at most X: free memory slices that a request is expected not to be able to use
    #[arg(long, value_name = "X")]
    fragmentation: Option<f64>,
    /// At most N stranded memory slices: free, and of use to no profile of the demand
    #[arg(long, value_name = "N")]
    stranded: Option<u32>,
    /// Room for all of the pods, or no moves
    #[arg(long, requires = "room")]
    gang: bool,
    /// Plan on this cluster file, within the disruption budgets in it [default: the built-in example]
    #[arg(long, value_name = "FILE", conflicts_with = "server")]
    cluster: Option<PathBuf>,
    /// Plan on the model of a running `tangram serve`
    #[arg(long, value_name = "URL")]
    server: Option<Uri>,
    /// Disruption budgets (`PodDisruptionBudget`), beside those of the cluster file; a server knows none of its own
    #[arg(long, value_name = "FILE")]
    budgets: Vec<PathBuf>,
    /// At most so many moves
    #[arg(long, value_name = "N")]
    moves_max: Option<u32>,
    /// At most so much GPU memory moved, for example 400Gi
    #[arg(long, value_name = "QUANTITY")]
    memory_max: Option<String>,
    /// At most so many moves in each namespace
    #[arg(long, value_name = "N")]
    namespace_moves_max: Option<u32>,
    /// At most so much GPU memory moved in each namespace
    #[arg(long, value_name = "QUANTITY")]
    namespace_memory_max: Option<String>,
    /// Pods of higher priority stay
    #[arg(long, value_name = "PRIORITY", allow_negative_numbers = true)]
    priority_max: Option<i32>,
    /// Time for the exact answer in seconds; 0: the greedy answer alone [default: 5]
    #[arg(long, value_name = "SECONDS")]
    time_limit: Option<f64>,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

impl Repack {
    pub(super) fn run(self, config: &Config) -> anyhow::Result<ExitCode> {
        let answer = match &self.server {
            Some(server) => self.ask(server)?,
            None => self.plan(config)?,
        };
        self.output.print(&answer, repack_table)?;
        Ok(if answer.reached { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }

    fn question(&self) -> Question {
        Question {
            gpus: self.gpus,
            nodes: self.nodes,
            fragmentation: self.fragmentation,
            stranded: self.stranded,
            gang: self.gang,
            moves_max: self.moves_max,
            memory_max: self.memory_max.clone(),
            namespace_moves_max: self.namespace_moves_max,
            namespace_memory_max: self.namespace_memory_max.clone(),
            priority_max: self.priority_max,
            time_limit: self.time_limit,
        }
    }

    /// The pods and budgets of all files.
    fn objects(&self) -> anyhow::Result<Vec<u8>> {
        documents(&[self.room.as_slice(), &self.budgets].concat())
    }

    fn ask(&self, server: &Uri) -> anyhow::Result<RepackView> {
        let path = format!("/v1/repack?{}", self.question().query());
        let body = client::post(server, &path, self.objects()?)?;
        serde_json::from_slice(&body).context("the server's answer is no repack")
    }

    fn plan(&self, config: &Config) -> anyhow::Result<RepackView> {
        let question = self.question();
        let limits = question.limits().map_err(anyhow::Error::msg)?;
        let effort = question.seconds().map_err(anyhow::Error::msg)?.map(Effort::seconds);
        let objects = repack_objects(&self.objects()?, &config.dialect());
        let Objects { pods, mut budgets } =
            objects.map_err(|errors| anyhow::anyhow!("{}", errors.join("\n  ")))?;
        let goal = question.goal(pods).map_err(anyhow::Error::msg)?;
        let (cache, contents) = load_contents(config, self.cluster.as_deref())?;
        budgets.extend(contents.budgets);
        let ask = Ask { goal: &goal, limits: &limits, budgets: &budgets, effort };
        let plan = repack(cache.cluster(), cache.scores(), &ask)?;
        Ok(RepackView::new(&goal, &plan))
    }
}
