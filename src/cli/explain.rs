//! `tangram explain`: why a pod is where it is, or waits.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::answers_table::explain_table;
use super::load_cluster;
use super::output::Output;
use super::target::Remote;
use crate::config::Config;
use crate::explain::explain;
use crate::model::PodKey;
use crate::wire::explain::ExplainView;

/// Say why a pod is where it is, or why it waits and the smallest changes that would let it run
///
/// Every change that is told was tried on a copy of the cluster. Nothing is changed.
///
/// Exit code: 0 for a pod that has a node or fits on one now, 1 for one that fits nowhere, 2 when something went wrong.
#[derive(Debug, clap::Args)]
pub(super) struct Explain {
    /// The pod: NAMESPACE/NAME, or NAME in the namespace `default`
    #[arg(value_name = "POD")]
    pod: String,
    /// Namespace of the pod
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// The pod of this cluster file [default: the built-in example]
    #[arg(long, value_name = "FILE")]
    cluster: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

impl Explain {
    pub(super) fn run(self, config: &Config) -> anyhow::Result<ExitCode> {
        let key = self.key();
        let answer = match self.remote.connect(config, self.cluster.as_deref())? {
            Some(connection) => connection.get(&format!("/v1/pods/{key}/explain"))?,
            None => self.explain(config, &key)?,
        };
        self.output.print(&answer, explain_table)?;
        let is_stuck = answer.pending.is_some_and(|pending| pending.fits.is_none());
        Ok(if is_stuck { ExitCode::from(1) } else { ExitCode::SUCCESS })
    }

    fn key(&self) -> PodKey {
        let (namespace, name) = self.pod.split_once('/').unwrap_or(("default", &self.pod));
        PodKey { namespace: self.namespace.as_deref().unwrap_or(namespace).into(), name: name.into() }
    }

    fn explain(&self, config: &Config, key: &PodKey) -> anyhow::Result<ExplainView> {
        let cache = load_cluster(config, self.cluster.as_deref())?;
        let pod = cache.pod(key).with_context(|| format!("there is no pod {key} in the cluster"))?;
        let explanation = explain(cache.cluster(), cache.scores(), config.policy, pod);
        Ok(ExplainView::new(pod, &explanation, 0, None))
    }
}
