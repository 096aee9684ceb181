//! `tangram plan`: the placement dry run.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use axum::http::Uri;

use super::table::dryrun_table;
use super::{client, load_cluster, open};
use crate::config::{Config, PolicyName};
use crate::plan::plan;
use crate::solver::Scores;
use crate::wire::document::{Head, read_objects};
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
    #[arg(long, value_name = "FILE", conflicts_with = "server")]
    cluster: Option<PathBuf>,
    /// Plan on the model of a running `tangram serve`
    #[arg(long, value_name = "URL")]
    server: Option<Uri>,
    /// Placement policy of pods without the annotation tangram.gpu/policy [default: pack, or the server's]
    #[arg(long)]
    policy: Option<PolicyName>,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Output {
    /// For people
    #[default]
    Table,
    /// As POST /v1/dryrun answers
    Json,
    /// The same as YAML
    Yaml,
}

impl Plan {
    pub(super) fn run(self, config: Config) -> anyhow::Result<ExitCode> {
        let answer = match &self.server {
            Some(server) => self.ask(server)?,
            None => self.plan(config)?,
        };
        match self.print(&answer) {
            // Whoever read the answer has seen enough of it.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            printed => printed.context("standard output")?,
        }
        Ok(if answer.all_fit { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }

    fn print(&self, answer: &DryRun) -> std::io::Result<()> {
        let text = match self.output {
            Output::Table => dryrun_table(answer),
            Output::Json => serde_json::to_string_pretty(answer)? + "\n",
            Output::Yaml => serde_saphyr::to_string(answer).map_err(std::io::Error::other)?,
        };
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    fn ask(&self, server: &Uri) -> anyhow::Result<DryRun> {
        let policy = match self.policy {
            None => "",
            Some(PolicyName::Pack) => "?policy=pack",
            Some(PolicyName::Spread) => "?policy=spread",
        };
        // One request, so that later files are placed on what earlier ones leave.
        let mut documents = Vec::new();
        for file in &self.files {
            let read =
                read_objects(read(file)?.as_slice(), |head, json| documents.push(document(head, json)));
            read.with_context(|| file.display().to_string())?;
        }
        let body = client::post(server, &format!("/v1/dryrun{policy}"), documents.concat().into_bytes())?;
        serde_json::from_slice(&body).context("the server's answer is no dry run")
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
        let scores = Arc::new(Scores::prior());
        let cache = load_cluster(&config, &scores, self.cluster.as_deref())?;
        let (planned, _) = plan(cache.cluster().clone(), &scores, config.policy.into(), pods);
        Ok(DryRun::new(&planned))
    }
}

fn read(file: &std::path::Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(file)?.read_to_end(&mut bytes).with_context(|| file.display().to_string())?;
    Ok(bytes)
}

/// An object as a JSON document of its own.
fn document(head: &Head, json: &str) -> String {
    let kind = serde_json::Value::from(head.kind.as_str());
    let members = json.trim_start().strip_prefix('{').unwrap_or(json);
    let separator = if members.trim_start().starts_with('}') { "" } else { "," };
    format!("{{\"kind\":{kind}{separator}{members}\n")
}
