//! A server between a program and the API server that spoils single requests: a
//! binding is carried out and its answer lost, a list is late, a patch fails.
//!
//! It ends TLS with a certificate of its own, which its kubeconfigs trust, and
//! passes on who asks. Bodies stream, so watches work. A [`Link`] stands before
//! it, for faults of the network itself.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, client, server};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::Plane;
use super::ask::trusting;
use super::dice::Dice;
use super::link::Link;
use super::rules::{Fault, Rule};

/// After so long an unused connection is not trusted: the API server closes
/// those of a minute and a half, and that must not look like a fault.
const IDLE: Duration = Duration::from_secs(30);

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// A proxy that carries everything until it is given rules. Dropping it ends it.
pub(crate) struct Proxy {
    /// The network before it; its `route` and `admin` are the proxy's.
    pub(crate) link: Link,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    port: u16,
    connector: TlsConnector,
    rules: Mutex<(Vec<Rule>, Dice)>,
    exchanges: Mutex<Vec<Exchange>>,
}

/// A request that came, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// `GET` and so on.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// The API server's status, or nothing as long as it has not answered.
    pub(crate) status: Option<u16>,
    /// What was done to it.
    pub(crate) fault: Option<Fault>,
}

impl Plane {
    /// A proxy before the API server.
    pub(crate) async fn proxy(&self) -> Proxy {
        self.try_proxy().await.expect("a proxy is made")
    }

    async fn try_proxy(&self) -> Result<Proxy> {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let authority = self.new_file("proxy", "crt");
        fs::write(&authority, made.cert.pem())?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der());
        let key = key.map_err(|reason| anyhow!("the proxy's key: {reason}"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let served = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)?;
        let shared = Arc::new(Shared {
            port: self.apiserver.port,
            connector: trusting(&self.access.authority(), None)?,
            rules: Mutex::new((Vec::new(), Dice::new(0))),
            exchanges: Mutex::default(),
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let link = self.link_to(listener.local_addr()?.port(), authority).await?;
        let acceptor = TlsAcceptor::from(Arc::new(served));
        let accepting = tokio::spawn(accept(listener, acceptor, shared.clone()));
        Ok(Proxy { link, shared, accepting })
    }
}

impl Proxy {
    /// Adds a rule. The first that is for a request is the only one.
    pub(crate) fn rule(&self, rule: Rule) {
        self.shared.rules.lock().unwrap_or_else(PoisonError::into_inner).0.push(rule);
    }

    /// Drops all rules; requests under way keep their fault.
    pub(crate) fn clear(&self) {
        self.shared.rules.lock().unwrap_or_else(PoisonError::into_inner).0.clear();
    }

    /// Makes the dice fall as they do for this seed.
    pub(crate) fn seed(&self, seed: u64) {
        self.shared.rules.lock().unwrap_or_else(PoisonError::into_inner).1 = Dice::new(seed);
    }

    /// All that was asked so far.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        self.shared.exchanges.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often it was asked with this method for a path that ends so, and what
    /// the API server said each time.
    pub(crate) fn answers(&self, method: &str, path_end: &str) -> Vec<Option<u16>> {
        let path = |exchange: &Exchange| exchange.path.split('?').next().map(|path| path.ends_with(path_end));
        let meant = |exchange: &Exchange| exchange.method == method && path(exchange) == Some(true);
        self.exchanges().into_iter().filter(meant).map(|exchange| exchange.status).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    // Ended with this task.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let (acceptor, shared) = (acceptor.clone(), shared.clone());
        connections.spawn(async move {
            let stream = acceptor.accept(stream).await?;
            // Requests of one connection come one after the other, so one
            // connection to the API server serves them.
            let upstream = tokio::sync::Mutex::new(None);
            let service = service_fn(|request| answer(&shared, &upstream, request));
            server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?;
            Ok::<_, anyhow::Error>(())
        });
    }
}

/// A connection to the API server, and when it was last used.
type Upstream = tokio::sync::Mutex<Option<(SendRequest<Incoming>, Instant)>>;

/// Answers one request. An error ends the connection without an answer.
async fn answer(shared: &Shared, upstream: &Upstream, request: Request<Incoming>) -> Result<Response<Body>> {
    let (parts, body) = request.into_parts();
    let (number, fault) = shared.note(&parts);
    match fault {
        Some(Fault::LoseRequest) => bail!("the request is lost"),
        Some(Fault::Answer(status)) => {
            let mut answer = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
            *answer.status_mut() = StatusCode::from_u16(status)?;
            return Ok(answer);
        }
        Some(Fault::DelayRequest(delay)) => sleep(delay).await,
        _ => (),
    }
    let mut held = upstream.lock().await;
    let usable =
        |(sender, used): &mut (SendRequest<_>, Instant)| !sender.is_closed() && used.elapsed() < IDLE;
    let mut sender = match held.take_if(usable) {
        Some((sender, _)) => sender,
        None => shared.connect().await?,
    };
    sender.ready().await?;
    let answer = sender.send_request(Request::from_parts(parts, body)).await?;
    *held = Some((sender, Instant::now()));
    drop(held);
    shared.answered(number, answer.status());
    match fault {
        Some(Fault::LoseAnswer) => bail!("the answer is lost"),
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::DelayAnswer(delay)) => sleep(delay).await,
        _ => (),
    }
    Ok(answer.map(Incoming::boxed_unsync))
}

impl Shared {
    /// Writes a request down and decides about it.
    fn note(&self, asked: &hyper::http::request::Parts) -> (usize, Option<Fault>) {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let (rules, dice) = &mut *rules;
        let fault = rules.iter_mut().find_map(|rule| rule.apply(asked, dice));
        let mut exchanges = self.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
        let method = asked.method.to_string();
        exchanges.push(Exchange { method, path: asked.uri.to_string(), status: None, fault });
        (exchanges.len() - 1, fault)
    }

    fn answered(&self, number: usize, status: StatusCode) {
        let mut exchanges = self.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
        exchanges[number].status = Some(status.as_u16());
    }

    async fn connect(&self) -> Result<SendRequest<Incoming>> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.context("to the API server")?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("127.0.0.1")?;
        let stream = self.connector.connect(name, stream).await?;
        let (sender, connection) = client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // It ends when the sender and the last answer's body are dropped.
        tokio::spawn(connection);
        Ok(sender)
    }
}
