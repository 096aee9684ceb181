//! `tangram serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use tokio::runtime::Runtime;

use super::{access, load_cluster};
use crate::config::{Authentication, Config};
use crate::model::Policy;
use crate::serve::{Source, serve};
use crate::wire::dryrun::parse_policy;

/// Run the scheduler extender and the placement API
///
/// Point kube-scheduler at it with an extender stanza whose urlPrefix is `http://ADDRESS/scheduler`, with
/// filterVerb filter, prioritizeVerb prioritize, preemptVerb preempt and nodeCacheCapable true.
///
/// In a pod, or with --kubeconfig, the model is that of the live cluster: it follows watches, binds write to the
/// API server, and several replicas elect one that answers.
///
/// Otherwise the model is embedded: it is read from a file once and changes through bind and DELETE /v1/pods
/// alone, and nothing is written anywhere.
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    /// Cluster file: what `kubectl get nodes,pods -A -o json` (or -o yaml) prints, GpuNode objects too;
    /// - reads standard input [default: a built-in example of 35 nodes]
    #[arg(long, value_name = "FILE")]
    cluster: Option<PathBuf>,
    /// Serve the live cluster that this kubeconfig file names [default in a pod: the pod's own cluster]
    #[arg(long, value_name = "FILE", conflicts_with = "cluster")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig file [default: its current one]
    #[arg(long, value_name = "NAME", requires = "kubeconfig")]
    context: Option<String>,
    /// Address to listen on; port 0 takes a free one and prints it [default: 127.0.0.1:7240]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Let everybody who reaches the address ask everything: on loopback alone
    #[arg(long)]
    no_authentication: bool,
    /// Placement policy of pods without the annotation tangram.gpu/policy [default: pack]
    #[arg(long, value_parser = parse_policy)]
    policy: Option<Policy>,
}

impl Serve {
    pub(super) fn run(self, mut config: Config) -> anyhow::Result<ExitCode> {
        config.listen = self.listen.unwrap_or(config.listen);
        config.policy = self.policy.unwrap_or(config.policy);
        if self.no_authentication {
            config.api.authentication = Some(Authentication::None);
        }
        let is_live = self.kubeconfig.is_some() || (self.cluster.is_none() && is_in_cluster());
        let (runtime, source) = if is_live {
            let (runtime, access) = access(&config, self.kubeconfig.as_deref(), self.context.as_deref())?;
            (runtime, Source::Live(access))
        } else {
            let cache = load_cluster(&config, self.cluster.as_deref())?;
            (Runtime::new().context("no threads to serve with")?, Source::Embedded(Box::new(cache)))
        };
        let served = runtime.block_on(serve(config, source));
        runtime.shutdown_background(); // a dry run under way answers nobody any more
        served?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Whether this process runs in a pod: Kubernetes tells it where the API server is.
#[expect(clippy::disallowed_methods, reason = "Kubernetes tells a pod so through its environment alone")]
fn is_in_cluster() -> bool {
    std::env::var("KUBERNETES_SERVICE_HOST").is_ok()
}
