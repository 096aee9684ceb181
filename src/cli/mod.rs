//! The command line.

mod agent;
mod answers_table;
mod apply;
mod client;
mod completion;
mod explain;
mod inventory;
mod layouts;
mod layouts_table;
mod log;
mod look;
mod output;
mod plan;
mod repack;
mod repack_table;
mod scheduler_config;
mod serve;
mod simulate;
mod table;
mod target;
mod what_if;

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

use crate::cache::Cache;
use crate::config::{Config, LogFormat};
use crate::k8s::{Access, fetch};
use crate::serve::{EXAMPLE, load, log_contents};
use crate::wire::{Contents, Dialect};

/// Places GPU pods of a Kubernetes cluster: whole GPUs, MIG slices and shares.
#[derive(Debug, Parser)]
#[command(version, about, long_about = LONG_ABOUT, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

const LONG_ABOUT: &str = "\
Tangram answers kube-scheduler, over its extender protocol, which nodes fit a GPU pod and how well, from an \
in-memory model of the cluster. It knows which memory slices of every MIG GPU are taken, where the next GPU \
instance may start, and which place leaves the most room for what comes after.";

const AFTER_HELP: &str = "\
Examples:
  tangram serve                                     the extender on a built-in example cluster
  kubectl get nodes,pods -A -o json > cluster.json
  tangram serve --cluster cluster.json              the extender on a copy of yours
  tangram serve --kubeconfig ~/.kube/config         the extender on your live cluster
  tangram scheduler-config --cluster cluster.json   what your kube-scheduler needs to ask it
  tangram status                                    how full, what could start, who waits: `kubectl tangram status`
  tangram agent --once                              what the GPUs of this machine are, and who uses them
  tangram plan -f pods.yaml --cluster cluster.json  would these pods fit, and where?
  tangram explain research/train-0                  why is this pod where it is, or pending?
  tangram what-if drain node-1 -f pods.yaml         where would its pods go, and do these still fit?
  tangram layouts --cluster cluster.json            how mig-manager's nodes should be cut for the demand
  tangram repack --gpus 4 --cluster cluster.json    which pods to move to have four more GPUs empty
  tangram simulate reproduce --quick                how well does it pack, next to others?";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Agent(Box<agent::Agent>),
    Status(look::Status),
    Nodes(look::Nodes),
    Gpus(look::Gpus),
    Pods(look::Pods),
    Top(look::Top),
    Plan(plan::Plan),
    Explain(explain::Explain),
    WhatIf(Box<what_if::WhatIf>),
    Layouts(Box<layouts::LayoutsCommand>),
    Repack(repack::Repack),
    Simulate(Box<simulate::Simulate>),
    SchedulerConfig(scheduler_config::SchedulerConfig),
    Completion(completion::Completion),
}

/// Flags that every command takes.
#[derive(Debug, clap::Args)]
struct Common {
    /// Configuration file (YAML); flags win over it
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Form of the log on standard error [default: text]
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// error, warn, info, debug or trace, or by module: `info,tangram::http=debug` [default: info; plan, simulate: warn]
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
}

/// Runs a parsed command line.
///
/// # Errors
/// What went wrong, for people. A plan in which some pod does not fit is no error: it is exit code 1.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let mut config = cli.common.config.as_deref().map_or_else(|| Ok(Config::default()), Config::read)?;
    if let Some(format) = cli.common.log_format {
        config.log.format = format;
    }
    match (&cli.common.log_level, &cli.command) {
        (Some(level), _) => config.log.level.clone_from(level),
        (None, Command::Serve(_)) => {}
        (None, Command::Agent(agent)) if !agent.is_for_people() => {}
        (None, _) => "warn".clone_into(&mut config.log.level),
    }
    let _log = log::start(&config, matches!(cli.command, Command::Serve(_)))?;
    match cli.command {
        Command::Serve(serve) => serve.run(config),
        Command::Agent(agent) => agent.run(&config),
        Command::Status(status) => status.run(&config),
        Command::Nodes(nodes) => nodes.run(&config),
        Command::Gpus(gpus) => gpus.run(&config),
        Command::Pods(pods) => pods.run(&config),
        Command::Top(top) => top.run(&config),
        Command::Plan(plan) => plan.run(config),
        Command::Explain(explain) => explain.run(&config),
        Command::WhatIf(what_if) => what_if.run(&config),
        Command::Layouts(layouts) => layouts.run(&config),
        Command::Repack(repack) => repack.run(&config),
        Command::Simulate(simulate) => simulate.run(config),
        Command::SchedulerConfig(command) => command.run(&config),
        Command::Completion(completion) => Ok(completion.run()),
    }
}

/// The model of a cluster file, or of the built-in example.
fn load_cluster(config: &Config, path: Option<&Path>) -> anyhow::Result<Cache> {
    load_contents(config, path).map(|(cache, _)| cache)
}

/// The same, with what else the file held.
fn load_contents(config: &Config, path: Option<&Path>) -> anyhow::Result<(Cache, Contents)> {
    let Some(path) = path else {
        let (cache, contents) = load(config, EXAMPLE.as_bytes())?;
        log_contents("the built-in example", &contents);
        return Ok((cache, contents));
    };
    let loaded = load(config, open(path)?);
    let (cache, contents) = loaded.with_context(|| format!("cluster file {}", path.display()))?;
    log_contents(&path.to_string_lossy(), &contents);
    Ok((cache, contents))
}

/// A connection to a live cluster, as the configuration bounds it.
fn access(
    config: &Config,
    kubeconfig: Option<&Path>,
    context: Option<&str>,
) -> anyhow::Result<(Runtime, Access)> {
    let runtime = Runtime::new().context("no threads to work with")?;
    let timeout = Duration::from_secs(config.kubernetes.request_timeout_seconds.into());
    let access = runtime.block_on(Access::new(kubeconfig, context, timeout))?;
    Ok((runtime, access))
}

/// The model of a live cluster as it is now.
fn live_model(config: &Config, kubeconfig: Option<&Path>, context: Option<&str>) -> anyhow::Result<Cache> {
    let (runtime, access) = access(config, kubeconfig, context)?;
    let dialect = Arc::new(Dialect { is_live: true, ..config.dialect() });
    runtime.block_on(fetch(&access, &dialect)).map_err(anyhow::Error::msg)
}

/// All of a file, or of standard input for `-`.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes).with_context(|| path.display().to_string())?;
    Ok(bytes)
}

/// Opens a file, or standard input for `-`.
fn open(path: &Path) -> anyhow::Result<Box<dyn Read>> {
    const BUFFER: usize = 1 << 20; // a cluster file has megabytes: read it in few calls
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    let file = File::open(path).with_context(|| path.display().to_string())?;
    Ok(Box::new(BufReader::with_capacity(BUFFER, file)))
}
