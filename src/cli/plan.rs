//! `tangram plan`: the placement dry run.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::output::Output;
use super::table::dryrun_table;
use super::target::{Connection, Remote};
use super::{load_cluster, read};
use crate::config::Config;
use crate::model::Policy;
use crate::whatif::{Scenario, answer};
use crate::wire::document::{Head, read_objects};
use crate::wire::dryrun::parse_policy;
use crate::wire::dryrun::{DryRun, dryrun_pods};

/// Say where pods would go, or why nowhere, without changing anything
///
/// Pods are placed one after another, each on what the ones before it leave. Pods, Deployments, Jobs,
/// StatefulSets, ReplicaSets and CronJobs are understood, each with its number of pods.
///
/// Exit code: 0 when every pod fits, 1 when some pod does not, 2 when something went wrong.
#[derive(Debug, clap::Args)]
pub(super) struct Plan {
    /// Pods or workloads, JSON or YAML, several documents too; - reads standard input; may be repeated
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Plan on this cluster file [default: the built-in example]
    #[arg(long, value_name = "FILE")]
    cluster: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
    /// Placement policy of pods without the annotation tangram.gpu/policy [default: pack, or the server's]
    #[arg(long, value_parser = parse_policy)]
    policy: Option<Policy>,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

impl Plan {
    pub(super) fn run(self, config: Config) -> anyhow::Result<ExitCode> {
        let answer = match self.remote.connect(&config, self.cluster.as_deref())? {
            Some(connection) => self.ask(&connection)?,
            None => self.plan(config)?,
        };
        self.output.print(&answer, dryrun_table)?;
        Ok(if answer.all_fit { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }

    fn ask(&self, connection: &Connection) -> anyhow::Result<DryRun> {
        let policy = self.policy.map_or_else(String::new, |policy| format!("?policy={policy}"));
        let answer: DryRun = connection.post(&format!("/v1/dryrun{policy}"), documents(&self.files)?)?;
        // Which state it is of says something of the server, not of the plan: alike from a file.
        Ok(DryRun { generation: None, model_age_ms: None, ..answer })
    }

    fn plan(&self, mut config: Config) -> anyhow::Result<DryRun> {
        config.policy = self.policy.unwrap_or(config.policy);
        let dialect = config.dialect();
        let mut pods = Vec::new();
        for file in &self.files {
            let read = dryrun_pods(&read(file)?, &dialect);
            pods.extend(
                read.map_err(|errors| anyhow::anyhow!("{}: {}", file.display(), errors.join("\n  ")))?,
            );
        }
        let cache = load_cluster(&config, self.cluster.as_deref())?;
        let scenario = Scenario { pods, ..Scenario::default() };
        let answer = answer(cache.cluster(), cache.scores(), config.policy, &scenario)?;
        Ok(DryRun::answer(&answer, None, None))
    }
}

/// Objects of files as JSON documents behind one another: one request, so that later files are placed on what
/// earlier ones leave.
pub(super) fn documents(files: &[PathBuf]) -> anyhow::Result<Vec<u8>> {
    let mut documents = Vec::new();
    for file in files {
        let read = read_objects(read(file)?.as_slice(), |head, json| documents.push(document(head, json)));
        read.with_context(|| file.display().to_string())?;
    }
    Ok(documents.concat().into_bytes())
}

/// An object as a JSON document of its own.
fn document(head: &Head, json: &str) -> String {
    let kind = serde_json::Value::from(head.kind.as_str());
    let members = json.trim_start().strip_prefix('{').unwrap_or(json);
    let separator = if members.trim_start().starts_with('}') { "" } else { "," };
    format!("{{\"kind\":{kind}{separator}{members}\n")
}
