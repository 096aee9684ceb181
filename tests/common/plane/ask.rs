//! One HTTP request of a test, in the place of the scheduler, of a kubelet's
//! probe, of a person with `curl`.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::certificates::Identity;
use super::users::User;

/// What a server said.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// 200 and so on.
    pub(crate) status: StatusCode,
    /// Headers.
    pub(crate) headers: HeaderMap,
    /// The body, which is text in all that is asked here.
    pub(crate) body: String,
}

/// A TLS client that trusts what is signed by the certificates in a file, and
/// shows a certificate of its own when it has one.
pub(crate) fn trusting(authority: &Path, own: Option<&Identity>) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(authority);
    for certificate in certificates.with_context(|| format!("reading {}", authority.display()))? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match own {
        None => config.with_no_client_auth(),
        Some(own) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&own.certificate)?.collect();
            config.with_client_auth_cert(chain?, PrivateKeyDer::from_pem_file(&own.key)?)?
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Asks the API server as somebody. A `PATCH` is a merge patch, where the path does not say otherwise behind
/// `#`: `#apply` or `#strategic`. An error is the status and the API server's words.
pub(crate) async fn call(user: &User, method: &str, path: &str, body: &Value) -> Result<Value, String> {
    let (path, how) = path.split_once('#').unwrap_or((path, "merge"));
    let media = match (method, how) {
        ("PATCH", "apply") => "application/apply-patch+yaml",
        ("PATCH", "strategic") => "application/strategic-merge-patch+json",
        ("PATCH", _) => "application/merge-patch+json",
        _ => "application/json",
    };
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request = Request::builder().method(method).uri(path).header("content-type", media).body(body);
    let answer: Result<Value, _> = user.client.request(request.expect("a path and a body")).await;
    answer.map_err(|error| match error {
        kube::Error::Api(status) => format!("{}: {}", status.code, status.message),
        error => format!("no answer: {error:?}"),
    })
}

/// Asks the server at `address` (host and port), with TLS when there is a way to
/// trust it. Each request has its own connection.
pub(crate) async fn ask(
    address: &str,
    tls: Option<&TlsConnector>,
    request: Request<Full<Bytes>>,
) -> Result<Answer> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
    match tls {
        None => exchange(stream, request).await,
        Some(connector) => {
            let (host, _) = address.rsplit_once(':').context("an address has a port")?;
            let name = ServerName::try_from(host.to_owned())?;
            exchange(connector.connect(name, stream).await?, request).await
        }
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    connection.abort();
    let body = String::from_utf8(body.into()).context("the answer is not UTF-8")?;
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}
