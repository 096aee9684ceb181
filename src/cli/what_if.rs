//! `tangram what-if`: dry runs after hypothetical changes.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::json;

use super::answers_table::what_if_table;
use super::load_contents;
use super::output::Output;
use super::plan::documents;
use super::target::Remote;
use crate::config::Config;
use crate::model::Policy;
use crate::whatif::{Machine, answer};
use crate::wire::dryrun::{DryRun, parse_policy};
use crate::wire::scenario::{API_VERSION, AddNodes, ChangeForm, KIND, OfNode, OfPod, dryrun_scenario};

/// Say where pods would go after changes of the cluster, without making them
///
/// Changes are pairs of words, made in their order: `drain NODE`, `remove NODE`, `cordon NODE`, `uncordon NODE`,
/// `evict NAMESPACE/POD`, `add TYPE` or `add NODE` (one more like it), each also as `add TYPE=COUNT`. Pods that
/// changes turn out are placed first, then the pods of the files.
///
/// Exit code: 0 when every pod has a place and none stays on a node that is drained, 1 when not, 2 when something
/// went wrong.
#[derive(Debug, clap::Args)]
pub(super) struct WhatIf {
    /// Changes: drain NODE, add p5.48xlarge=2, …
    #[arg(value_name = "CHANGE", num_args = 2.., required = true)]
    changes: Vec<String>,
    /// Pods or workloads, JSON or YAML, several documents too; - reads standard input; may be repeated
    #[arg(short, long = "filename", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// All pods, or none
    #[arg(long)]
    batch: bool,
    /// Say too what room costs for pods that have none
    #[arg(long)]
    room: bool,
    /// Tangram partitions the GPUs of machines that are added; else they are whole
    #[arg(long)]
    dynamic: bool,
    /// Change this cluster file [default: the built-in example]
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

impl WhatIf {
    pub(super) fn run(self, config: &Config) -> anyhow::Result<ExitCode> {
        let body = self.question()?;
        let answer = match self.remote.connect(config, self.cluster.as_deref())? {
            Some(connection) => connection.post("/v1/dryrun", body)?,
            None => self.answer(config, &body)?,
        };
        self.output.print(&answer, what_if_table)?;
        let is_left =
            answer.displaced.iter().any(|pod| matches!(pod.fate.as_str(), "stays" | "nowhere" | "lost"));
        Ok(if answer.all_fit && !is_left { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }

    /// The body of the request: the question, and the objects of the files behind it.
    fn question(&self) -> anyhow::Result<Vec<u8>> {
        let mut question = json!({
            "apiVersion": API_VERSION,
            "kind": KIND,
            "batch": self.batch,
            "room": self.room,
            "changes": self.changes()?,
        });
        if let Some(policy) = self.policy {
            question["policy"] = policy.to_string().into();
        }
        let mut body = format!("{question}\n").into_bytes();
        body.extend(documents(&self.files)?);
        Ok(body)
    }

    fn changes(&self) -> anyhow::Result<Vec<ChangeForm>> {
        let change = |words: &[String]| match words {
            [verb, what] => self.change(verb, what),
            _ => bail!("{} is followed by nothing: changes are pairs such as drain NODE", words.join(" ")),
        };
        self.changes.chunks(2).map(change).collect()
    }

    fn change(&self, verb: &str, what: &str) -> anyhow::Result<ChangeForm> {
        let node = OfNode { node: what.to_owned() };
        Ok(match verb {
            "drain" => ChangeForm::Drain(node),
            "remove" => ChangeForm::RemoveNode(node),
            "cordon" => ChangeForm::Cordon(node),
            "uncordon" => ChangeForm::Uncordon(node),
            "evict" => {
                let (namespace, name) = what.split_once('/').unwrap_or(("default", what));
                ChangeForm::Evict(OfPod { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            "add" => ChangeForm::AddNodes(self.add(what)?),
            _ => bail!("{verb:?} is no change: drain, remove, cordon, uncordon, evict and add are"),
        })
    }

    fn add(&self, what: &str) -> anyhow::Result<AddNodes> {
        let (name, count) = match what.split_once('=') {
            Some((name, count)) => (name, count.parse().with_context(|| format!("add {what}"))?),
            None => (what, 1),
        };
        let (name, count) = (Some(name.to_owned()), Some(count));
        Ok(if name.as_deref().and_then(Machine::by_name).is_some() {
            AddNodes { instance_type: name, count, dynamic: self.dynamic, ..AddNodes::default() }
        } else {
            AddNodes { example: name, count, ..AddNodes::default() }
        })
    }

    fn answer(&self, config: &Config, body: &[u8]) -> anyhow::Result<DryRun> {
        let read = dryrun_scenario(body, &config.dialect());
        let (mut scenario, policy) = read.map_err(|errors| anyhow::anyhow!("{}", errors.join("\n  ")))?;
        let (cache, contents) = load_contents(config, self.cluster.as_deref())?;
        scenario.budgets.extend(contents.budgets);
        let policy = policy.unwrap_or(config.policy);
        let answer = answer(cache.cluster(), cache.scores(), policy, &scenario)?;
        Ok(DryRun::answer(&answer, None, None))
    }
}
