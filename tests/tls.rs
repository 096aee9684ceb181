//! Tangram over TLS: certificates that are renewed, clients that show theirs, both versions of HTTP, a real
//! kube-scheduler with the shipped `tlsConfig`, and what is said of files that cannot be used.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/plane/mod.rs"]
#[expect(dead_code, unused_imports, reason = "each test file uses what it needs of the harness")]
mod plane;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper::{Request, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use plane::ask::{ask, trusting};
use plane::certificates::{Authority, Identity};
use plane::{Plane, Tangram, fake_node, pod, wait_until};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Longer than anything takes that a test waits for, on a machine with all its cores taken.
const LIMIT: Duration = Duration::from_mins(2);

const CONFIGURATION: &str = include_str!("../scheduler-config/extender.yaml");
/// The name that it expects in Tangram's certificate.
const SERVICE: &str = "tangram.tangram-system.svc";

fn configuration(own: &Identity, clients: Option<&Path>) -> String {
    let tls = json!({ "certFile": own.certificate, "keyFile": own.key, "clientCaFile": clients });
    json!({ "tls": tls, "probeListen": "127.0.0.1:0" }).to_string()
}

/// Shakes hands, offering versions of HTTP.
async fn connect(tangram: &Tangram, trust: &TlsConnector, versions: &[&str]) -> TlsStream<TcpStream> {
    let mut config = (**trust.config()).clone();
    config.alpn_protocols = versions.iter().map(|version| version.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(tangram.url().replace("https://", "")).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(std::sync::Arc::new(config)).connect(name, stream).await.unwrap()
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

fn in_file(own: &Identity) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(&own.certificate).unwrap()
}

fn livez(authority: &str) -> Request<Full<Bytes>> {
    let uri = format!("https://{authority}/livez");
    Request::get(uri).header("host", authority).body(Full::default()).unwrap()
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_is_not() {
    let authority = Authority::new();
    let own = authority.issue("tangram");
    let trust = trusting(&authority.certificate(), None).unwrap();
    let mut tangram = Tangram::configured(&configuration(&own, None), Some(trust.clone())).await;
    tangram.ready().await;
    let first = in_file(&own);
    let old = connect(&tangram, &trust, &[]).await;
    assert_eq!(shown(&old), first);
    let (mut old, connection) = http1::handshake(TokioIo::new(old)).await.unwrap();
    tokio::spawn(connection);

    let becomes = async |tangram: &Tangram, renewed: &CertificateDer<'_>| {
        let is_shown = async || (shown(&connect(tangram, &trust, &[]).await) == *renewed).then_some(());
        wait_until("the new certificate is shown", LIMIT, is_shown).await;
    };
    authority.issue("tangram");
    let second = in_file(&own);
    assert_ne!(first, second);
    becomes(&tangram, &second).await;
    // Who came before stays.
    assert_eq!(old.send_request(livez("127.0.0.1")).await.unwrap().status(), StatusCode::OK);

    fs::write(&own.certificate, "-----BEGIN NONSENSE-----\n").unwrap();
    let line = tangram.line("The new certificate cannot be used, the old one stays").await;
    let file = format!("tls.certFile {}", own.certificate.display());
    assert!(line.contains(&file), "{line} lacks {file}");
    assert_eq!(shown(&connect(&tangram, &trust, &[]).await), second);
    authority.issue("tangram");
    becomes(&tangram, &in_file(&own)).await;
}

#[tokio::test]
async fn only_clients_of_the_authority_are_served_and_all_others_get_probes_in_plain_http() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (own, clients) = (authority.issue("tangram"), Authority::new());
    let scheduler = clients.issue("scheduler");
    let trusting = |client: Option<&Identity>| trusting(&authority.certificate(), client).unwrap();
    let trust = trusting(Some(&scheduler));
    let configuration = configuration(&own, Some(&clients.certificate()));
    let mut tangram = Tangram::configured(&configuration, Some(trust.clone())).await;
    tangram.ready().await;

    let address = tangram.url().replace("https://", "");
    let asked =
        async |client: Option<&Identity>| ask(&address, Some(&trusting(client)), livez(&address)).await;
    assert_eq!(asked(Some(&scheduler)).await.unwrap().body, "ok\n");
    for client in [None, Some(&stranger.issue("scheduler")), Some(&own)] {
        let answer = asked(client).await;
        assert!(answer.is_err(), "{client:?} got {answer:?}");
    }
    assert!(ask(&address, None, livez(&address)).await.is_err(), "plain HTTP is answered");

    // As kube-scheduler asks, and as curl may.
    let stream = connect(&tangram, &trust, &["h2", "http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..2 {
        let answer = sender.send_request(livez(&address)).await.unwrap();
        assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
    }
    let stream = connect(&tangram, &trust, &["http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let answer = sender.send_request(livez(&address)).await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_11));

    let line = tangram.line("Probes and metrics are answered here too.").await;
    let probes = line.rsplit_once("address=").unwrap().1.trim();
    let probe = async |method: &str, path: &str| {
        let request = Request::builder().method(method).uri(path).header("host", probes);
        ask(probes, None, request.body(Full::default()).unwrap()).await.unwrap()
    };
    for (path, part) in [("/livez", "ok"), ("/readyz", "ok"), ("/metrics", "tangram_model_age_seconds")] {
        let answer = probe("GET", path).await;
        assert!(answer.status == 200 && answer.body.contains(part), "{path}: {answer:?}");
    }
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/v1/cluster"),
        ("GET", "/v1/fragmentation"),
        ("GET", "/debug/compare"),
        ("DELETE", "/v1/pods/default/any"),
        ("POST", "/v1/dryrun"),
        ("POST", "/scheduler/filter"),
        ("POST", "/scheduler/bind"),
    ] {
        assert_eq!(probe(method, path).await.status, 404, "{method} {path}");
    }
}

#[tokio::test]
async fn a_scheduler_with_the_shipped_stanza_schedules_over_tls() {
    let plane = Plane::start().await;
    plane.define_gpunodes().await;
    let labels = [("nvidia.com/gpu.product", "Tesla-T4"), ("nvidia.com/gpu.count", "2")];
    plane.add_node(&fake_node("n-a", &labels, &[("nvidia.com/gpu", "2")], &[])).await;
    let authority = Authority::new();
    // As kube-scheduler checks it: by the name of the Service, whatever the URL says.
    let (own, client) = (authority.issue(SERVICE), authority.issue("kube-scheduler"));
    let mut tangram = json!({ "kubernetes": { "leaderElection": { "mode": "none" } } });
    tangram["kubernetes"]["schedulers"] = json!(["default-scheduler"]);
    let ca = authority.certificate();
    tangram["tls"] = json!({ "certFile": own.certificate, "keyFile": own.key, "clientCaFile": ca });
    let trust = trusting(&ca, Some(&client)).unwrap();
    let mut tangram = Tangram::live(&plane.kubeconfig(), &tangram.to_string(), Some(trust)).await;
    tangram.ready().await;

    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let mut adapted = CONFIGURATION.to_owned();
    for (shipped, here) in [
        ("https://tangram.tangram-system.svc:7240", tangram.url()),
        ("/etc/kubernetes/tangram/ca.crt", path(&ca)),
        ("/etc/kubernetes/tangram/tls.crt", path(&client.certificate)),
        ("/etc/kubernetes/tangram/tls.key", path(&client.key)),
    ] {
        assert!(adapted.contains(shipped), "extender.yaml lacks {shipped}");
        adapted = adapted.replace(shipped, &here);
    }
    let _scheduler = plane.scheduler(&adapted).await;
    for name in ["first", "second"] {
        plane.add_pod(&pod(name, &[("nvidia.com/gpu", "1")])).await;
        assert_eq!(plane.node_of(name).await, "n-a");
    }
    // It was Tangram that bound them.
    let bindings = tangram.get("/metrics").await.body;
    assert!(bindings.contains("tangram_bindings_total{outcome=\"done\"} 2"), "{bindings}");
    plane.add_pod(&pod("third", &[("nvidia.com/gpu", "1"), ("cpu", "1")])).await;
    plane.refusal_of("third").await;
}

#[test]
fn files_that_cannot_be_used_are_named_with_their_key_before_anything_is_served() {
    let dir = TempDir::with_prefix("tangram-tls-").unwrap();
    let (authority, other) = (Authority::new(), Authority::new());
    let (own, others) = (authority.issue("tangram"), other.issue("tangram"));
    let (missing, empty) = (dir.path().join("missing.pem"), dir.path().join("empty.pem"));
    fs::write(&empty, "").unwrap();
    let ca = authority.certificate();
    let names = |key: &str, path: &Path| format!("tls.{key} {}", path.display());
    let (certificate, key) = (&own.certificate, &own.key);
    for (files, wanted) in [
        ((&missing, key, &ca), vec![names("certFile", &missing)]),
        ((&empty, key, &ca), vec![names("certFile", &empty)]),
        ((certificate, &missing, &ca), vec![names("keyFile", &missing)]),
        ((certificate, &empty, &ca), vec![names("keyFile", &empty)]),
        (
            (certificate, &others.key, &ca),
            vec![names("certFile", certificate), names("keyFile", &others.key)],
        ),
        ((certificate, key, &missing), vec![names("clientCaFile", &missing)]),
        ((certificate, key, &empty), vec![names("clientCaFile", &empty)]),
        ((certificate, key, key), vec![names("clientCaFile", key)]),
    ] {
        let (certificate, key, clients) = files;
        let tls: Value = json!({ "certFile": certificate, "keyFile": key, "clientCaFile": clients });
        let file = dir.path().join("config.yaml");
        fs::write(&file, json!({ "listen": "127.0.0.1:0", "tls": tls }).to_string()).unwrap();
        let mut serve = Command::new(env!("CARGO_BIN_EXE_tangram"));
        let output = serve.args(["serve", "--config"]).arg(&file).output().unwrap();
        let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        assert!(!output.status.success(), "{tls} is served");
        assert!(!out.contains("listening"), "{tls}: {out}");
        for wanted in wanted {
            assert!(err.contains(&wanted), "{err} lacks {wanted}");
        }
    }
}
