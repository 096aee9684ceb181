//! `tangram layouts`: static layouts for the demand.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::http::Uri;
use tokio::runtime::Runtime;

use super::layouts_table::layouts_table;
use super::target::Connection;
use super::{access, load_cluster};
use crate::cache::Cache;
use crate::config::Config;
use crate::k8s::{Access, Relabel, fetch};
use crate::layouts::{Asked, Options, layouts, survey, wanted};
use crate::solver::exact::Effort;
use crate::wire::Dialect;
use crate::wire::layouts::{LayoutsView, parse_demand};
use crate::wire::mig_parted::{MigParted, label_patches};

/// Say how the GPUs of nodes that mig-manager partitions should be cut for the demand
///
/// Nodes with the label nvidia.com/mig.config and the strategy mixed or single, but not those whose GPUs are Tangram's
/// to partition. Only GPUs that no pod holds change, and only where that serves more; mig-manager takes a node's
/// device plugin away while it works, so a node on which pods hold devices stays as it is.
///
/// Nothing is changed without --apply, which needs the layouts in mig-manager's configuration first: --mig-parted
/// writes them. Cordon the nodes before, so that no pod comes to them meanwhile.
#[derive(Debug, clap::Args)]
pub(super) struct LayoutsCommand {
    /// Plan on this cluster file [default: the built-in example]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kubeconfig", "server"])]
    cluster: Option<PathBuf>,
    /// Plan on the cluster that this kubeconfig file names
    #[arg(long, value_name = "FILE", conflicts_with = "server")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig file [default: its current one]
    #[arg(long, value_name = "NAME", requires = "kubeconfig")]
    context: Option<String>,
    /// Ask a running `tangram serve`, which plans with the defaults of the flags below
    #[arg(long, value_name = "URL", conflicts_with_all = ["change_cost", "by_gpu", "split_whole", "seconds"])]
    server: Option<Uri>,
    /// File with the token to show to the server
    #[arg(long, value_name = "FILE", requires = "server")]
    token_file: Option<PathBuf>,
    /// What to plan for: devices that shall be startable, as 1g.10gb=30,3g.40gb=4, or a mix, as 1g.10gb=70%,3g.40gb=30%
    /// [default: the mix that the cluster's pods ask for, those that wait first]
    #[arg(long, value_name = "DEMAND")]
    demand: Option<String>,
    /// What changing the layout of one GPU costs, in GPUs: it must serve so much more
    #[arg(long, default_value_t = Options::CHANGE_COST, value_name = "GPUS", value_parser = parse_cost)]
    change_cost: f64,
    /// Change GPUs that nobody holds on nodes where pods hold others too; needs the agent's reports
    #[arg(long)]
    by_gpu: bool,
    /// Change GPUs outside MIG mode too; whole-GPU pods lose them
    #[arg(long)]
    split_whole: bool,
    /// Limit of the search in seconds
    #[arg(long, default_value_t = Options::SECONDS, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Write the layouts as a configuration of nvidia-mig-parted
    #[arg(long, value_name = "FILE")]
    mig_parted: Option<PathBuf>,
    /// Write the label patches, one YAML document per node
    #[arg(long, value_name = "FILE")]
    patches: Option<PathBuf>,
    #[command(flatten)]
    carry: CarryOut,
}

/// Whether to do it.
#[derive(Debug, clap::Args)]
struct CarryOut {
    /// Set the labels, one node after another, where nobody holds what changes
    #[arg(long, requires = "kubeconfig")]
    apply: bool,
    /// After each label wait until mig-manager has made the layout; stop at the first failure
    #[arg(long, requires = "apply")]
    wait: bool,
    /// How long --wait waits for one node, in seconds
    #[arg(long, default_value_t = 1800, value_name = "SECONDS", requires = "wait")]
    timeout: u32,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Output {
    /// For people
    #[default]
    Table,
    /// As GET /v1/layouts answers
    Json,
}

fn parse_cost(text: &str) -> Result<f64, String> {
    let cost = text.parse::<f64>().ok().filter(|cost| (0.0..=1000.0).contains(cost));
    cost.ok_or_else(|| "expected a number from 0 to 1000".to_owned())
}

impl LayoutsCommand {
    pub(super) fn run(self, config: &Config) -> anyhow::Result<ExitCode> {
        let asked = self.demand.as_deref().map_or(Ok(Asked::Learnt), parse_demand);
        let asked = asked.map_err(anyhow::Error::msg)?;
        if let Some(server) = &self.server {
            let encoded = self.demand.as_ref().map(|demand| demand.replace('%', "%25").replace(' ', ""));
            let query = encoded.map_or_else(String::new, |demand| format!("?demand={demand}"));
            let connection = Connection::to(server, self.token_file.as_deref())?;
            self.show(&connection.get(&format!("/v1/layouts{query}"))?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let Some(kubeconfig) = &self.kubeconfig else {
            let cache = load_cluster(config, self.cluster.as_deref())?;
            self.show(&self.plan(&cache, &asked))?;
            return Ok(ExitCode::SUCCESS);
        };
        let (runtime, access) = access(config, Some(kubeconfig), self.context.as_deref())?;
        let dialect = Arc::new(Dialect { is_live: true, ..config.dialect() });
        let cache = runtime.block_on(fetch(&access, &dialect)).map_err(anyhow::Error::msg)?;
        let plan = self.plan(&cache, &asked);
        self.show(&plan)?;
        if self.carry.apply {
            self.carry_out(&runtime, access, dialect, &plan)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn plan(&self, cache: &Cache, asked: &Asked) -> LayoutsView {
        let nodes = survey(cache.cluster(), self.by_gpu, self.split_whole);
        let waiting: Vec<_> = cache.pods().filter(|pod| pod.node.is_none()).cloned().collect();
        let wanted = wanted(asked, &nodes, cache.cluster(), &waiting);
        let options = Options { change_cost: self.change_cost, effort: Effort::seconds(self.seconds.into()) };
        LayoutsView::new(&layouts(nodes, &wanted, options), &wanted)
    }

    /// Prints the plan and writes the files.
    fn show(&self, plan: &LayoutsView) -> anyhow::Result<()> {
        let text = match self.output {
            Output::Table => layouts_table(plan),
            Output::Json => serde_json::to_string_pretty(plan).context("the plan has no form")? + "\n",
        };
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // Whoever read the answer has seen enough of it; nothing is applied that nobody saw.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe && !self.carry.apply => {}
            printed => printed.context("standard output")?,
        }
        let file = MigParted::new(plan).map_or_else(String::new, |file| file.to_yaml());
        for (path, text) in [(&self.mig_parted, file), (&self.patches, label_patches(plan))] {
            let Some(path) = path else { continue };
            if text.is_empty() {
                tell(&format!("nothing changes: {} is not written", path.display()));
            } else {
                write(path, &text)?;
            }
        }
        Ok(())
    }

    fn carry_out(
        &self,
        runtime: &Runtime,
        access: Access,
        dialect: Arc<Dialect>,
        plan: &LayoutsView,
    ) -> anyhow::Result<()> {
        let relabel = Relabel { access, dialect, by_gpu: self.by_gpu, may_split: self.split_whole };
        let changes: Vec<_> = plan.nodes.iter().filter(|node| node.new_config.is_some()).collect();
        for (number, node) in (1..).zip(&changes) {
            let progress = format!("[{number}/{}] {}", changes.len(), node.name);
            let failed = |error: String| {
                let left = changes.len() - number;
                anyhow::anyhow!("{}: {error}; stopped there, nodes not tried: {left}", node.name)
            };
            runtime.block_on(relabel.select(node)).map_err(failed)?;
            tell(&format!(
                "{progress}: nvidia.com/mig.config={}",
                node.new_config.as_deref().unwrap_or_default()
            ));
            if self.carry.wait {
                let said = |state: &str| tell(&format!("{progress}: {state}"));
                let limit = Duration::from_secs(self.carry.timeout.into());
                runtime.block_on(relabel.settled(node, limit, said)).map_err(failed)?;
            }
        }
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

/// Says it to people, who may have stopped to listen.
fn tell(words: &str) {
    writeln!(std::io::stderr(), "{words}").ok();
}
