//! Requests to the API server, with the one distinction that matters: answered, or nobody knows.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use axum::body::Bytes;
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::Deserialize;
use serde_json::Value;
use tracing::debug;

/// A connection to an API server.
#[derive(Clone)]
pub struct Access {
    client: Client,
    timeout: Duration,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It was carried out; the body.
    Done(Bytes),
    /// It was not carried out, and why.
    Refused {
        /// Status.
        code: StatusCode,
        /// The API server's words.
        message: String,
    },
    /// No answer, or one that may mean both (a server error may come after the write).
    Unknown(String),
}

impl Access {
    /// Connects as a kubeconfig file says, or as a pod of the cluster.
    pub async fn new(
        kubeconfig: Option<&Path>,
        context: Option<&str>,
        timeout: Duration,
    ) -> anyhow::Result<Self> {
        let Some(path) = kubeconfig else {
            return Self::with(Config::incluster().context("the service account of this pod")?, timeout);
        };
        let read = Kubeconfig::read_from(path).with_context(|| format!("kubeconfig {}", path.display()))?;
        Self::of(read, context, timeout).await.with_context(|| format!("kubeconfig {}", path.display()))
    }

    /// Connects as a kubeconfig says that was read.
    pub async fn of(read: Kubeconfig, context: Option<&str>, timeout: Duration) -> anyhow::Result<Self> {
        let options = KubeConfigOptions { context: context.map(Into::into), ..Default::default() };
        Self::with(Config::from_custom_kubeconfig(read, &options).await?, timeout)
    }

    fn with(mut config: Config, timeout: Duration) -> anyhow::Result<Self> {
        config.connect_timeout = Some(timeout);
        config.write_timeout = Some(timeout);
        // Watches are long; every other request is bounded by `timeout` as a whole.
        config.read_timeout = None;
        // Whoever asks knows what may be asked twice: a write must not be.
        config.default_retry = false;
        Ok(Self { client: Client::try_from(config).context("no client for the API server")?, timeout })
    }

    /// Reads an object or a list.
    pub async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, "", None).await
    }

    /// Creates what `body` is.
    pub async fn create(&self, path: &str, body: &Value) -> Reply {
        self.call(Method::POST, path, "application/json", Some(body)).await
    }

    /// Replaces an object.
    pub async fn replace(&self, path: &str, body: &Value) -> Reply {
        self.call(Method::PUT, path, "application/json", Some(body)).await
    }

    /// Merges into an object; lists are replaced whole.
    pub async fn merge(&self, path: &str, body: &Value) -> Reply {
        self.call(Method::PATCH, path, "application/merge-patch+json", Some(body)).await
    }

    /// Merges into an object of Kubernetes' own; lists with a key are merged by it.
    pub async fn merge_by_key(&self, path: &str, body: &Value) -> Reply {
        self.call(Method::PATCH, path, "application/strategic-merge-patch+json", Some(body)).await
    }

    /// Sends a request to what is behind the API server, with a header of its own.
    pub async fn pass(
        &self,
        method: Method,
        path: &str,
        own: (&'static str, String),
        body: Vec<u8>,
    ) -> Reply {
        let media = (header::CONTENT_TYPE.as_str(), "application/json".to_owned());
        let headers = if body.is_empty() { vec![own] } else { vec![own, media] };
        self.answered(method, path, &headers, body).await
    }

    async fn call(&self, method: Method, path: &str, media: &str, body: Option<&Value>) -> Reply {
        let media = (!media.is_empty()).then(|| (header::CONTENT_TYPE.as_str(), media.to_owned()));
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        self.answered(method, path, media.as_slice(), body).await
    }

    async fn answered(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
    ) -> Reply {
        let answered = async {
            let response = self.send(method.clone(), path, headers, body).await?;
            let status = response.status();
            let body = response.into_body().collect().await.map_err(|error| error.to_string())?;
            Ok::<_, String>((status, body.to_bytes()))
        };
        let reply = match tokio::time::timeout(self.timeout, answered).await {
            Err(_) => Reply::Unknown(format!("no answer within {:?}", self.timeout)),
            Ok(Err(error)) => Reply::Unknown(error),
            Ok(Ok((status, body))) if status.is_success() => return Reply::Done(body),
            Ok(Ok((code, body))) if code.is_client_error() && code != StatusCode::REQUEST_TIMEOUT => {
                Reply::Refused { code, message: message(&body) }
            }
            Ok(Ok((code, body))) => Reply::Unknown(format!("{code}: {}", message(&body))),
        };
        debug!(%method, path, ?reply, "The API server did not do it.");
        reply
    }

    /// Opens a stream: the body is read by the caller, however long it takes.
    pub(crate) async fn open(&self, path: &str) -> Result<axum::http::Response<Body>, String> {
        let opened = tokio::time::timeout(self.timeout, self.send(Method::GET, path, &[], Vec::new())).await;
        opened.map_err(|_| format!("no answer within {:?}", self.timeout))?
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
    ) -> Result<axum::http::Response<Body>, String> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Body::from(body)).map_err(|error| error.to_string())?;
        self.client.send(request).await.map_err(|error| chain(&error))
    }
}

/// An error with what caused it: what is wrong with a connection stands at the end.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}

/// The message of a `Status` object, or the detail of a problem document.
fn message(body: &[u8]) -> String {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Status {
        #[serde(alias = "detail")]
        message: String,
    }
    let status: Status = serde_json::from_slice(body).unwrap_or_default();
    if status.message.is_empty() {
        String::from_utf8_lossy(body).chars().take(200).collect()
    } else {
        status.message
    }
}
