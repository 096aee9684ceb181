//! `tangram serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;

use super::load_cluster;
use crate::config::{Config, PolicyName};
use crate::serve::serve;
use crate::solver::Scores;

/// Run the scheduler extender and the placement API
///
/// Point kube-scheduler at it with an extender stanza whose urlPrefix is `http://ADDRESS/scheduler`, with
/// filterVerb filter, prioritizeVerb prioritize, preemptVerb preempt and nodeCacheCapable true.
///
/// The model is embedded: it is read from a file once and changes through bind and DELETE /v1/pods alone.
/// Nothing is written anywhere.
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    /// Cluster file: what `kubectl get nodes,pods -A -o json` (or -o yaml) prints, GpuNode objects too;
    /// - reads standard input [default: a built-in example of 35 nodes]
    #[arg(long, value_name = "FILE")]
    cluster: Option<PathBuf>,
    /// Address to listen on; port 0 takes a free one and prints it [default: 127.0.0.1:7240]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Placement policy of pods without the annotation tangram.gpu/policy [default: pack]
    #[arg(long)]
    policy: Option<PolicyName>,
}

impl Serve {
    pub(super) fn run(self, mut config: Config) -> anyhow::Result<ExitCode> {
        config.listen = self.listen.unwrap_or(config.listen);
        config.policy = self.policy.unwrap_or(config.policy);
        let scores = Arc::new(Scores::prior());
        let cache = load_cluster(&config, &scores, self.cluster.as_deref())?;
        let runtime = tokio::runtime::Runtime::new().context("no threads to serve with")?;
        let served = runtime.block_on(serve(config, scores, cache));
        runtime.shutdown_background(); // a dry run under way answers nobody any more
        served?;
        Ok(ExitCode::SUCCESS)
    }
}
