//! A listener that speaks TLS, with certificates that may change while it runs.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use arc_swap::ArcSwap;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, info, warn};

use crate::config::Tls;

/// How often the files are looked at: a mounted Secret changes within a minute or so.
const LOOK: Duration = Duration::from_secs(5);
/// A client that does not finish its handshake in this time is let go.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections that have shaken hands and wait to be served.
const READY: usize = 64;
/// Pause after the operating system gave no connection: it is out of something.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts TLS connections. HTTP/2 where the client can, as kube-scheduler does: one connection for all.
#[derive(Debug)]
pub struct TlsListener {
    address: SocketAddr,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl TlsListener {
    /// Wraps a listener. The files must be readable and belong together now; later ones that do not are
    /// logged, and the last good ones stay.
    pub fn start(listener: TcpListener, tls: &Tls) -> anyhow::Result<Self> {
        let address = listener.local_addr()?;
        let certificate = Arc::new(Certificate(ArcSwap::from_pointee(load(tls)?)));
        let provider = Arc::new(ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let builder = match &tls.client_ca_file {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates("tls.clientCaFile", path)? {
                    roots.add(authority).with_context(|| format!("tls.clientCaFile {}", path.display()))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(certificate.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let (send, ready) = mpsc::channel(READY);
        tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), send));
        tokio::spawn(reload(tls.clone(), certificate));
        Ok(Self { address, ready })
    }
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(ready) => ready,
            None => std::future::pending().await, // the accepting task never ends before this one
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

/// Shakes hands with each client on a task of its own: a slow one keeps nobody waiting.
async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    ready: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "A connection could not be accepted.");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "A connection keeps its delay.");
        }
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    ready.send((stream, address)).await.ok(); // the server stops
                }
                Ok(Err(error)) => debug!(%error, %address, "A TLS handshake failed."),
                Err(_) => debug!(%address, "A TLS handshake took too long."),
            }
        });
    }
}

#[derive(Debug)]
struct Certificate(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

async fn reload(tls: Tls, certificate: Arc<Certificate>) {
    let read = |tls: &Tls| (fs::read(&tls.cert_file).ok(), fs::read(&tls.key_file).ok());
    let mut known = read(&tls);
    loop {
        tokio::time::sleep(LOOK).await;
        let now = read(&tls);
        if now == known {
            continue;
        }
        match load(&tls) {
            Ok(key) => {
                certificate.0.store(Arc::new(key));
                info!(file = %tls.cert_file.display(), "The certificate was renewed.");
            }
            // Perhaps only one of the two files is new yet.
            Err(error) => warn!("The new certificate cannot be used, the old one stays: {error:#}"),
        }
        known = now;
    }
}

fn load(tls: &Tls) -> anyhow::Result<CertifiedKey> {
    let chain = certificates("tls.certFile", &tls.cert_file)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key_file)
        .with_context(|| format!("tls.keyFile {}", tls.key_file.display()))?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).with_context(|| {
        format!("tls.certFile {} and tls.keyFile {}", tls.cert_file.display(), tls.key_file.display())
    })
}

/// The certificates of a file that the configuration names under `key`.
fn certificates(key: &str, path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = read.with_context(|| format!("{key} {}", path.display()))?;
    ensure!(!chain.is_empty(), "{key} {} holds no certificate", path.display());
    Ok(chain)
}
