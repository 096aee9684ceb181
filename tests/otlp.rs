//! Spans reach an OpenTelemetry collector: one per decision, with pod, node and generation. Needs the feature `otlp`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const LIMIT: Duration = Duration::from_mins(1);

/// Ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok(); // it may have ended
        self.0.wait().ok();
    }
}

/// A collector that says yes to everything, and passes on what it was sent.
async fn collector() -> (String, mpsc::UnboundedReceiver<(String, Bytes)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (send, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let send = send.clone();
            let answer = service_fn(move |request: Request<Incoming>| {
                let send = send.clone();
                async move {
                    let path = request.uri().path().to_owned();
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    send.send((path, body)).ok(); // the test has seen enough
                    // An empty message, uncompressed, and the status of gRPC in the trailers.
                    let body = Full::new(Bytes::from_static(&[0; 5])).with_trailers(async {
                        let ok = HeaderValue::from_static("0");
                        Some(Ok::<_, Infallible>(HeaderMap::from_iter([(
                            "grpc-status".parse().unwrap(),
                            ok,
                        )])))
                    });
                    let response = Response::builder().header("content-type", "application/grpc");
                    Ok::<_, Infallible>(response.body(body).unwrap())
                }
            });
            let connection = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), answer));
        }
    });
    (address, received)
}

fn serve(environment: &[(&str, &str)]) -> (Process, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tangram"))
        .args(["serve", "--listen", "127.0.0.1:0"])
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("tangram: listening on http://").unwrap().to_owned();
    (Process(child), address)
}

fn post(address: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "POST {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn each_decision_is_a_span_with_pod_node_and_generation() {
    let (collector, mut received) = collector().await;
    let endpoint = format!("http://{collector}");
    let (_process, address) =
        serve(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "100")]);
    let resources = json!({ "limits": { "tangram.gpu/mig-3g.40gb": "1" } });
    let pod = json!({
        "metadata": { "namespace": "lab", "name": "traced", "uid": "lab-traced" },
        "spec": { "containers": [{ "name": "main", "image": "x", "resources": resources }] },
    });
    let body = json!({ "Pod": pod, "NodeNames": ["dyn-h200-01"] }).to_string();
    let answer =
        tokio::task::spawn_blocking(move || post(&address, "/scheduler/filter", &body)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    let has = |bytes: &Bytes, word: &str| bytes.windows(word.len()).any(|part| part == word.as_bytes());
    let found = tokio::time::timeout(LIMIT, async {
        loop {
            let (path, body) = received.recv().await.unwrap();
            assert_eq!(path, "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
            if has(&body, "lab/traced") {
                return body;
            }
        }
    });
    let span = found.await.expect("a span arrives");
    let words =
        ["tangram", "decision", "verb", "filter", "node", "dyn-h200-01", "generation", "outcome", "refused"];
    for word in words {
        assert!(has(&span, word), "{word}");
    }
}
