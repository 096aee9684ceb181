//! One HTTP request to a running server.

use anyhow::{Context as _, bail};
use axum::body::Bytes;
use axum::http::{Method, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// Asks for `path` of `server`, with a token to show; an answer other than success is an error with the problem's
/// detail.
pub(super) fn ask(
    server: &Uri,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: Vec<u8>,
) -> anyhow::Result<Bytes> {
    if server.scheme_str() != Some("http") {
        bail!("--server {server}: expected http://HOST:PORT");
    }
    let host = server.host().context("--server: no host in it")?.to_owned();
    let port = server.port_u16().unwrap_or(80);
    let path = format!("{}{path}", server.path().trim_end_matches('/'));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await;
        let stream =
            stream.with_context(|| format!("--server {server}: is `tangram serve` running there?"))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driven = tokio::spawn(connection);
        let mut request =
            Request::builder().method(method).uri(path).header("host", format!("{host}:{port}"));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        let response = sender.send_request(request).await.with_context(|| format!("--server {server}"))?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        driven.abort();
        if status.is_success() {
            return Ok(body);
        }
        bail!("{server} answered {status}: {}", problem(&body))
    })
}

/// What a problem document says.
pub(super) fn problem(body: &[u8]) -> String {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let detail = problem["detail"].as_str().unwrap_or("no reason given");
    let errors = problem["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let errors = errors.iter().filter_map(Value::as_str).flat_map(|error| ["\n  ", error]);
    std::iter::once(detail).chain(errors).collect()
}
