//! `tangram repack`: which pods to move, as a plan; and carrying it out.

use std::path::PathBuf;
use std::process::ExitCode;

use super::apply::apply;
use super::load_contents;
use super::output::Output;
use super::plan::documents;
use super::repack_table::repack_table;
use super::target::{Connection, Remote};
use crate::config::Config;
use crate::repack::{Ask, repack};
use crate::solver::exact::Effort;
use crate::wire::repack::{Objects, Question, RepackView, repack_objects};

/// Say which pods to move so that GPUs or nodes become empty, waiting pods find room, or less is stranded
///
/// A plan only, unless --apply is given: nothing is moved, evicted or written. The steps are in an order in which each
/// pod's new place is free before it leaves the old one. Moved are only pods that a controller makes anew, within
/// their disruption budgets (one eviction at a time), not those of a DaemonSet, those with tangram.gpu/movable: "false",
/// karpenter.sh/do-not-disrupt: "true" or cluster-autoscaler.kubernetes.io/safe-to-evict: "false", nor those with
/// volumes, pod affinity or spread constraints, which Tangram does not model.
///
/// With --apply the server carries out the plan that is shown, if it reaches the goal: one step at a time, it keeps the
/// new place, asks for the eviction, and waits until the replacement runs there. It goes on when this command ends, and
/// where it was when the server is started again; DELETE /v1/plans/ID stops it.
///
/// Exit code: 0 when the goal is reached, and with --apply every step is done; 1 when it is not reached or the plan
/// stopped; 2 when something went wrong.
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
    #[arg(long, value_name = "FILE")]
    cluster: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
    /// Disruption budgets (`PodDisruptionBudget`), beside those of the cluster file or of the server's live cluster
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
    /// Carry the plan out on the server's live cluster (repack.apply.enabled in its configuration)
    #[arg(long, conflicts_with = "cluster")]
    apply: bool,
    /// A step that takes longer stops the plan [default: as the server is configured, 600]
    #[arg(long, value_name = "SECONDS", requires = "apply")]
    step_time_limit: Option<u32>,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

impl Repack {
    pub(super) fn run(self, config: &Config) -> anyhow::Result<ExitCode> {
        let connection = self.remote.connect(config, self.cluster.as_deref())?;
        let answer = match &connection {
            Some(connection) => self.ask(connection)?,
            None if self.apply => anyhow::bail!("--apply: name a live cluster by --server or --kubeconfig"),
            None => self.plan(config)?,
        };
        let apply_by = connection.filter(|_| self.apply && answer.reached && answer.moves > 0);
        if let Some(connection) = apply_by {
            return apply(&connection, &answer, self.step_time_limit, self.output);
        }
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

    fn ask(&self, connection: &Connection) -> anyhow::Result<RepackView> {
        let path = format!("/v1/repack?{}", self.question().query());
        connection.post(&path, self.objects()?)
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
