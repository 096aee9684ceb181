//! `tangram serve`: the extender on an embedded model or a live cluster, wired up and run until it is told to
//! stop.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::serve::{Listener, ListenerExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::cache::{Cache, Event, Options};
use crate::config::{Authentication, Config, Kubernetes, Tls};
use crate::extender::Claims;
use crate::http::{
    self, App, Budgets, Compared, Door, Embedded, Feed, Gate, Listed, Open, Planned, Traffic, World, router,
};
use crate::k8s::{Access, Clock, Live, Reviews, Start};
use crate::metrics::Metrics;
use crate::owner::{Model, Stopped, reprice};
use crate::solver::Scores;
use crate::tls::TlsListener;
use crate::wire::repack::StepView;
use crate::wire::{Contents, Dialect, cluster_events};

/// The cluster that is served when no other is named: a few dozen nodes of many kinds, partly full.
pub const EXAMPLE: &str = include_str!("../examples/cluster.yaml");

/// Time that requests under way get after a signal; kubelets give a pod 30 seconds.
const GRACE: Duration = Duration::from_secs(5);

/// Time to give the Lease back.
const RELEASE: Duration = Duration::from_secs(2);

/// Reads a cluster file into a new model. What could not be read is in the contents; everything else is in
/// the model, with prices for what its pods ask for.
pub fn load(config: &Config, reader: impl std::io::Read) -> anyhow::Result<(Cache, Contents)> {
    let mut cache = Cache::new(Arc::new(Scores::prior()), config.policy, config.limits.pods)
        .learning_over(config.demand.half_life_s())
        .embedded();
    let contents = cluster_events(reader, &config.dialect(), |event| {
        cache.apply(event);
    })?;
    if let Some((demand, supply)) = cache.drifted() {
        cache.apply(Event::Repriced(Arc::new(Scores::with_supply(demand, supply))));
    }
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

/// What is served.
#[derive(Debug)]
pub enum Source {
    /// A model that nobody but its own events changes.
    Embedded(Box<Cache>),
    /// A live cluster.
    Live(Access),
}

/// A listener with a certificate, or without.
enum Front {
    Plain(TcpListener),
    Tls(TlsListener),
}

fn front(listener: TcpListener, tls: Option<&Tls>) -> anyhow::Result<Front> {
    Ok(match tls {
        None => Front::Plain(listener),
        Some(tls) => Front::Tls(TlsListener::start(listener, tls)?),
    })
}

impl Front {
    fn address(&self) -> std::io::Result<SocketAddr> {
        match self {
            Self::Plain(listener) => listener.local_addr(),
            Self::Tls(listener) => Listener::local_addr(listener),
        }
    }

    fn spawn(self, servers: &mut JoinSet<std::io::Result<()>>, router: Router, told: watch::Receiver<bool>) {
        match self {
            Self::Plain(listener) => servers.spawn(run(plain(listener), router, told)),
            Self::Tls(listener) => servers.spawn(run(listener, router, told)),
        };
    }
}

/// Who brings a token needs no certificate.
fn without_clients(tls: Option<&Tls>) -> Option<Tls> {
    tls.map(|tls| Tls { client_ca_file: None, ..tls.clone() })
}

/// Serves until SIGINT or SIGTERM.
pub async fn serve(config: Config, source: Source) -> anyhow::Result<()> {
    let authentication = config.authentication(matches!(source, Source::Live(_)))?;
    let listener = bind(config.listen).await?;
    let address = listener.local_addr()?;
    // What can fail fails before this replica asks to lead.
    let main = front(listener, config.tls.as_ref())?;
    let probes = match config.probe_listen {
        None => None,
        Some(address) => Some(bind(address).await?),
    };
    let api = match config.api.listen {
        None => None,
        Some(address) => Some(front(bind(address).await?, without_clients(config.tls.as_ref()).as_ref())?),
    };
    let metrics = Arc::new(Metrics::new(config.metrics.clone()));
    let feed = Feed::default();
    let policy = config.policy;
    let per_user = Traffic::new(config.api.requests_per_second.get(), config.api.concurrent_requests.get());
    let traffic = Arc::new(per_user);
    let (stop, told) = watch::channel(false);
    let (app, summary, tasks) = match source {
        Source::Embedded(cache) => {
            let nodes = cache.cluster().len();
            let problems: usize = cache.cluster().by_name().iter().map(|node| node.problems.len()).sum();
            let (model, _, owner) = Model::start(*cache);
            let mut tasks = JoinSet::new();
            tasks.spawn(async move {
                owner.await.ok(); // however it ended: it must not
                Err(Stopped)
            });
            tasks.spawn(reprice(model.clone()));
            let dialect = Arc::new(config.dialect());
            let door = Door { gate: Arc::new(Open), traffic };
            let app = App { model, policy, dialect, world: Arc::new(Embedded), metrics, door, feed };
            (app, format!("{nodes} nodes, {problems} problems"), tasks)
        }
        Source::Live(access) => {
            let dialect = Arc::new(Dialect { is_live: true, ..config.dialect() });
            let timeout_s = config.kubernetes.instance_timeout_seconds;
            let options = Options { instance_timeout_ms: u64::from(timeout_s) * 1000 };
            let scores = Arc::new(Scores::prior());
            let cache = Cache::new(scores.clone(), policy, config.limits.pods)
                .learning_over(config.demand.half_life_s())
                .live(options);
            let gate: Arc<dyn Gate> = match authentication {
                Authentication::None => Arc::new(Open),
                Authentication::Kubernetes => {
                    Arc::new(Reviews::new(access.clone(), config.api.audiences.clone(), Clock::start()))
                }
            };
            let door = Door { gate, traffic };
            let start = Start {
                access,
                kubernetes: config.kubernetes.clone(),
                repack: config.repack,
                scores,
                policy,
                dialect: dialect.clone(),
                metrics: metrics.clone(),
                stop: told.clone(),
            };
            let (live, model, tasks) = Live::start(start, cache);
            let world = Arc::new(LiveWorld { live, config: config.kubernetes.clone() });
            (App { model, policy, dialect, world, metrics, door, feed }, "a live cluster".to_owned(), tasks)
        }
    };
    let mut feed = JoinSet::new();
    feed.spawn(app.feed.clone().follow(app.model.clone(), told.clone()));
    if let Err(error) = announce(address, config.tls.is_some(), &summary) {
        warn!(%error, %address, "Standard output is gone; serving all the same.");
    }
    let mut servers = JoinSet::new();
    if let Some(probes) = probes {
        info!(address = %probes.local_addr()?, "Probes and metrics are answered here too.");
        servers.spawn(run(plain(probes), http::probes(app.clone()), told.clone()));
    }
    if let Some(api) = api {
        info!(address = %api.address()?, "The placement API is answered here too.");
        api.spawn(&mut servers, http::api(app.clone()), told.clone());
    }
    main.spawn(&mut servers, router(app), told);
    watch_over(servers, tasks, feed, stop).await
}

/// Waits for the end: of all servers after a signal, or of anything that must not end.
async fn watch_over(
    mut servers: JoinSet<std::io::Result<()>>,
    mut tasks: JoinSet<Result<(), Stopped>>,
    mut feed: JoinSet<Result<(), Stopped>>,
    stop: watch::Sender<bool>,
) -> anyhow::Result<()> {
    let stopped = stopped(stop);
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            Some(ended) = servers.join_next() => match ended {
                Ok(Ok(())) if servers.is_empty() => {
                    // Give the Lease back, where there is one.
                    tokio::time::timeout(RELEASE, ending(&mut tasks)).await.ok();
                    return Ok(());
                }
                Ok(ended) => ended.context("the server failed")?,
                Err(error) => return Err(error).context("the server failed"),
            },
            // They outlive every request unless they failed; without them nothing true can be answered.
            Some(ended) = tasks.join_next() => match ended {
                Ok(Ok(())) => {}
                ended => anyhow::bail!("a task that keeps the model ended: {ended:?}"),
            },
            Some(ended) = feed.join_next() => if !matches!(ended, Ok(Ok(()))) {
                anyhow::bail!("the task that tells what changes ended: {ended:?}");
            },
            () = &mut stopped => return Ok(()),
        }
    }
}

/// Waits for the task that leads: the only one that ends well.
async fn ending(tasks: &mut JoinSet<Result<(), Stopped>>) {
    while let Some(ended) = tasks.join_next().await {
        if matches!(ended, Ok(Ok(()))) {
            return;
        }
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

fn plain(listener: TcpListener) -> impl Listener<Addr = SocketAddr> {
    // Answers are small and awaited: never hold one back to fill a packet.
    listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            warn!(%error, "A connection keeps its delay.");
        }
    })
}

async fn run<L: Listener<Addr = SocketAddr>>(
    listener: L,
    router: Router,
    mut told: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let server = axum::serve(listener, router).with_graceful_shutdown(async move {
        told.wait_for(|&is_told| is_told).await.ok(); // an error is the end of serve() itself
    });
    server.await
}

/// A live cluster as the server asks for it.
#[derive(Debug)]
struct LiveWorld {
    live: Live,
    config: Kubernetes,
}

impl World for LiveWorld {
    fn is_embedded(&self) -> bool {
        false
    }

    fn age_ms(&self) -> Option<u64> {
        self.live.age_ms()
    }

    fn reasons_not_ready(&self) -> Vec<String> {
        self.live.reasons_not_ready()
    }

    fn refuses_binds(&self) -> Option<String> {
        let max_s = self.config.model_age_max_seconds;
        let is_old = self.live.age_ms().is_none_or(|age_ms| age_ms > u64::from(max_s) * 1000);
        is_old.then(|| {
            format!("the API server has not been heard of for {max_s} s (kubernetes.modelAgeMaxSeconds)")
        })
    }

    fn claims(&self) -> Arc<Claims> {
        self.live.claims()
    }

    fn evicts(&self) -> bool {
        self.config.preemption.enabled
    }

    fn budgets(&self) -> Budgets<'_> {
        Box::pin(self.live.budgets())
    }

    fn plans(&self) -> Listed<'_> {
        Box::pin(self.live.plans())
    }

    fn start_plan(&self, steps: Vec<StepView>, step_time_limit_seconds: Option<u32>) -> Planned<'_> {
        Box::pin(self.live.start_plan(steps, step_time_limit_seconds))
    }

    fn stop_plan(&self, id: String) -> Planned<'_> {
        Box::pin(self.live.stop_plan(id))
    }

    fn compare(&self) -> Compared<'_> {
        Box::pin(self.live.compare())
    }
}

fn announce(address: SocketAddr, has_tls: bool, summary: &str) -> std::io::Result<()> {
    let scheme = if has_tls { "https" } else { "http" };
    let mut out = std::io::stdout().lock();
    writeln!(out, "tangram: listening on {scheme}://{address}")?;
    writeln!(out, "tangram: {summary}; extender at /scheduler, API at /v1")?;
    writeln!(out, "tangram: try  curl {scheme}://{address}/v1/fragmentation")?;
    out.flush()
}

/// Ends some time after a signal: requests under way get [`GRACE`], a second signal ends it at once.
async fn stopped(stop: watch::Sender<bool>) {
    signalled().await;
    info!("Stopping: requests under way are finished.");
    stop.send_replace(true);
    tokio::select! {
        () = signalled() => warn!("Stopping at once."),
        () = tokio::time::sleep(GRACE) => warn!("Stopping: some requests were not finished in time."),
    }
}

/// Waits for SIGINT or SIGTERM.
pub(crate) async fn signalled() {
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
