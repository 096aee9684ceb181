//! Whom a command asks: a server, the one inside a cluster, or a model of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, Request, Uri, header};
use http_body_util::BodyExt as _;
use kube::config::Kubeconfig;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use super::{client, load_cluster};
use crate::config::Config;
use crate::http::{App, Door, Embedded, Feed, TOKEN_HEADER, api};
use crate::k8s::{Access, Reply};
use crate::metrics::Metrics;
use crate::owner::Model;

/// What the program is called as a plugin of kubectl.
const PLUGIN: &str = "kubectl-tangram";

/// A Tangram that runs somewhere else.
#[derive(Debug, clap::Args)]
pub(super) struct Remote {
    /// Ask a running `tangram serve`
    #[arg(long, value_name = "URL", conflicts_with_all = ["cluster", "kubeconfig", "context"])]
    server: Option<Uri>,
    /// Ask the Tangram inside this cluster, through its API server [default of `kubectl tangram`: kubectl's own]
    #[arg(long, value_name = "FILE", conflicts_with = "cluster")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME", conflicts_with = "cluster")]
    context: Option<String>,
    /// Service of Tangram's placement API inside the cluster
    #[arg(long, value_name = "NAMESPACE/NAME:PORT", default_value = "tangram-system/tangram:api", value_parser = service)]
    service: Service,
    /// File with the token to show to Tangram [default: the token of the kubeconfig's user]
    #[arg(long, value_name = "FILE", conflicts_with = "cluster")]
    token_file: Option<PathBuf>,
}

/// A Tangram somewhere else, or a model of this command's own.
#[derive(Debug, clap::Args)]
pub(super) struct Target {
    /// Read a cluster file [default: the built-in example]
    #[arg(long, value_name = "FILE")]
    cluster: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

/// A port of a Service.
#[derive(Debug, Clone)]
struct Service {
    namespace: String,
    name: String,
    port: String,
}

fn service(text: &str) -> Result<Service, String> {
    let parts = text.split_once('/').and_then(|(namespace, rest)| {
        let (name, port) = rest.rsplit_once(':')?;
        Some([namespace, name, port].map(str::to_owned))
    });
    match parts {
        Some([namespace, name, port]) if ![&namespace, &name, &port].iter().any(|part| part.is_empty()) => {
            Ok(Service { namespace, name, port })
        }
        _ => Err(format!("{text:?} is not NAMESPACE/NAME:PORT")),
    }
}

impl Service {
    /// Where its API server passes requests on to it.
    fn path(&self) -> String {
        let Self { namespace, name, port } = self;
        format!("/api/v1/namespaces/{namespace}/services/https:{name}:{port}/proxy")
    }
}

/// Somebody who answers.
pub(super) enum Connection {
    /// A server.
    Server(Uri, Option<String>),
    /// One behind the API server.
    Proxy(Runtime, Access, String, String),
    /// A model of this process.
    Own(Runtime, Router),
}

impl Target {
    /// Finds out whom to ask.
    pub(super) fn connect(&self, config: &Config) -> anyhow::Result<Connection> {
        let cluster = self.cluster.as_deref();
        match self.remote.connect(config, cluster)? {
            Some(connection) => Ok(connection),
            None => local(config, cluster),
        }
    }
}

impl Remote {
    /// The connection, where one is asked for rather than a cluster file or the built-in example.
    pub(super) fn connect(
        &self,
        config: &Config,
        cluster: Option<&Path>,
    ) -> anyhow::Result<Option<Connection>> {
        if let Some(server) = &self.server {
            return Connection::to(server, self.token_file.as_deref()).map(Some);
        }
        let is_plugin = cluster.is_none() && is_plugin();
        if self.kubeconfig.is_none() && self.context.is_none() && !is_plugin {
            return Ok(None);
        }
        let read = match &self.kubeconfig {
            Some(path) => {
                Kubeconfig::read_from(path).with_context(|| format!("kubeconfig {}", path.display()))?
            }
            None => Kubeconfig::read().context("kubectl's kubeconfig")?,
        };
        let token = match &self.token_file {
            Some(path) => token_of(path)?,
            None => token_in(&read, self.context.as_deref())?,
        };
        let runtime = Runtime::new().context("no threads to work with")?;
        let timeout = Duration::from_secs(config.kubernetes.request_timeout_seconds.into());
        let access = runtime.block_on(Access::of(read, self.context.as_deref(), timeout))?;
        Ok(Some(Connection::Proxy(runtime, access, self.service.path(), token)))
    }
}

/// Whether kubectl started this process.
fn is_plugin() -> bool {
    let program = std::env::args_os().next().map(PathBuf::from);
    program.as_deref().and_then(Path::file_stem).is_some_and(|name| name == PLUGIN)
}

fn local(config: &Config, cluster: Option<&Path>) -> anyhow::Result<Connection> {
    let cache = load_cluster(config, cluster)?;
    let runtime = Runtime::new().context("no threads to work with")?;
    let router = {
        let _inside = runtime.enter();
        let (model, _, _) = Model::start(cache);
        api(App {
            model,
            policy: config.policy,
            dialect: Arc::new(config.dialect()),
            world: Arc::new(Embedded),
            metrics: Arc::new(Metrics::new(config.metrics.clone())),
            door: Door::default(),
            feed: Feed::default(),
        })
    };
    Ok(Connection::Own(runtime, router))
}

impl Connection {
    /// To a server, with the token of a file.
    pub(super) fn to(server: &Uri, token_file: Option<&Path>) -> anyhow::Result<Self> {
        Ok(Self::Server(server.clone(), token_file.map(token_of).transpose()?))
    }

    /// Gets a path; an answer other than success is an error with the problem's detail.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(Method::GET, path, Vec::new())
    }

    /// Posts a body to a path; the same.
    pub(super) fn post<T: DeserializeOwned>(&self, path: &str, body: Vec<u8>) -> anyhow::Result<T> {
        self.ask(Method::POST, path, body)
    }

    fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Vec<u8>) -> anyhow::Result<T> {
        let bytes = match self {
            Self::Server(server, token) => client::ask(server, method, path, token.as_deref(), body)?,
            Self::Proxy(runtime, access, base, token) => {
                let token = (TOKEN_HEADER, format!("Bearer {token}"));
                let path = format!("{base}{path}");
                match runtime.block_on(access.pass(method, &path, token, body)) {
                    Reply::Done(bytes) => bytes,
                    Reply::Refused { code, message } => bail!("{path}: {code}: {message}"),
                    Reply::Unknown(why) => bail!("{path}: {why}"),
                }
            }
            Self::Own(runtime, router) => runtime.block_on(within(router.clone(), method, path, body))?,
        };
        let what = || format!("{path}: the answer is not understood: is the server of another version?");
        serde_json::from_slice(&bytes).with_context(what)
    }
}

async fn within(router: Router, method: Method, path: &str, body: Vec<u8>) -> anyhow::Result<Bytes> {
    let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
    let answer = router.oneshot(request.body(Body::from(body))?).await.unwrap_or_else(|never| match never {});
    let status = answer.status();
    let bytes = answer.into_body().collect().await?.to_bytes();
    if !status.is_success() {
        bail!("{}", client::problem(&bytes));
    }
    Ok(bytes)
}

fn token_of(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("--token-file {}", path.display()))?;
    Ok(text.trim().to_owned())
}

/// The bearer token of a kubeconfig's user. The API server keeps `Authorization` for itself, so Tangram has to be
/// shown it once more; a client certificate cannot be passed on.
fn token_in(config: &Kubeconfig, context: Option<&str>) -> anyhow::Result<String> {
    const HELP: &str =
        "give one that Tangram can look at: --token-file <(kubectl create token SERVICEACCOUNT)";
    let name =
        context.or(config.current_context.as_deref()).context("the kubeconfig has no current context")?;
    let named = config.contexts.iter().find(|it| it.name == name);
    let user = named.and_then(|it| it.context.as_ref()?.user.clone());
    let user = user.with_context(|| format!("the kubeconfig has no context {name:?} with a user"))?;
    let entry = config.auth_infos.iter().find(|it| it.name == user).and_then(|it| it.auth_info.clone());
    let auth = serde_json::to_value(entry).context("the kubeconfig's user")?;
    if let Some(token) = auth["token"].as_str() {
        return Ok(token.to_owned());
    }
    match auth["tokenFile"].as_str() {
        Some(path) => token_of(Path::new(path)),
        None => bail!("user {user:?} of the kubeconfig has no bearer token: {HELP}"),
    }
}
