//! `tangram serve`: the extender on an embedded model, wired up and run until it is told to stop.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::cache::Cache;
use crate::config::Config;
use crate::http::{App, router};
use crate::owner::Model;
use crate::solver::Scores;
use crate::wire::{Contents, cluster_events};

/// The cluster that is served when no other is named: a few dozen nodes of many kinds, partly full.
pub const EXAMPLE: &str = include_str!("../examples/cluster.yaml");

/// Time that requests under way get after a signal; kubelets give a pod 30 seconds.
const GRACE: Duration = Duration::from_secs(5);

/// Reads a cluster file into a new model. What could not be read is in the contents; everything else is in
/// the model.
pub fn load(
    config: &Config,
    scores: Arc<Scores>,
    reader: impl std::io::Read,
) -> anyhow::Result<(Cache, Contents)> {
    let mut cache = Cache::new(scores, config.policy.into(), config.limits.pods).embedded();
    let contents = cluster_events(reader, &config.dialect(), |event| {
        cache.apply(event);
    })?;
    Ok((cache, contents))
}

/// Logs what a cluster file held.
pub fn log_contents(source: &str, contents: &Contents) {
    info!(
        source,
        nodes = contents.nodes,
        pods = contents.pods,
        reports = contents.reports,
        "Read the cluster."
    );
    for (kind, count) in &contents.others {
        info!(kind, count, "Objects of this kind mean nothing to placement and were left out.");
    }
    for error in &contents.errors {
        warn!(%error, "An object could not be read and was left out.");
    }
    if contents.more_errors > 0 {
        warn!(count = contents.more_errors, "More objects could not be read.");
    }
}

/// Serves until SIGINT or SIGTERM.
pub async fn serve(config: Config, scores: Arc<Scores>, cache: Cache) -> anyhow::Result<()> {
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let address = listener.local_addr()?;
    let nodes = cache.cluster().len();
    let problems: usize = cache.cluster().by_name().iter().map(|node| node.problems.len()).sum();
    let (model, owner) = Model::start(cache);
    let app = App { model, scores, policy: config.policy.into(), dialect: Arc::new(config.dialect()) };
    if let Err(error) = announce(address, nodes, problems) {
        warn!(%error, %address, "Standard output is gone; serving all the same.");
    }
    // Answers are small and awaited: never hold one back to fill a packet.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            warn!(%error, "A connection keeps its delay.");
        }
    });
    let (stop, mut told) = tokio::sync::watch::channel(false);
    let server = axum::serve(listener, router(app)).with_graceful_shutdown(async move {
        told.wait_for(|&is_told| is_told).await.ok(); // an error is the end of serve() itself
    });
    tokio::select! {
        result = server => result.context("the server failed"),
        // The owner outlives every request unless it failed; without it nothing true can be answered.
        ended = owner => Err(anyhow::anyhow!("the owner of the model ended: {ended:?}")),
        () = stopped(stop) => Ok(()),
    }
}

fn announce(address: std::net::SocketAddr, nodes: usize, problems: usize) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "tangram: listening on http://{address}")?;
    writeln!(out, "tangram: {nodes} nodes, {problems} problems; extender at /scheduler, API at /v1")?;
    writeln!(out, "tangram: try  curl http://{address}/v1/fragmentation")?;
    out.flush()
}

/// Ends some time after a signal: requests under way get [`GRACE`], a second signal ends it at once.
async fn stopped(stop: tokio::sync::watch::Sender<bool>) {
    signalled().await;
    info!("Stopping: requests under way are finished.");
    stop.send_replace(true);
    tokio::select! {
        () = signalled() => warn!("Stopping at once."),
        () = tokio::time::sleep(GRACE) => warn!("Stopping: some requests were not finished in time."),
    }
}

async fn signalled() {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(error) => {
                warn!(%error, "SIGTERM will not be handled.");
                std::future::pending().await
            }
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate => {}
    }
}
