//! Load on the whole server over loopback: latencies per verb while events change the model, memory, start.
//!
//! `cargo bench --bench load` prints a table; where Go is installed, an extender that does nothing
//! (`benches/noop`) is measured with the same requests in the same run.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench reads the clock and prints")]

mod common;
#[path = "common/figures.rs"]
#[expect(dead_code, reason = "shared by several benches")]
mod figures;
#[path = "common/noop.rs"]
mod noop;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::serve::ListenerExt as _;
use figures::percentile;
use noop::{Noop, first_address};
use tangram::cache::Event;
use tangram::http::{App, Door, Embedded, Feed, router};
use tangram::model::{Pod, Policy};
use tangram::owner::Model;
use tangram::sim::{Shape, cluster_json, node_name};
use tangram::solver::Scores;
use tangram::wire::Dialect;

const NODES: u32 = 5_000;
const PODS: u32 = 20_000;
const EVENTS_PER_SECOND: u32 = 2_000;
const REQUESTS: usize = 3_000;
/// kubectl prints about 8.8 KB per node; the generated ones have about 0.5 KB of their own.
const PADDING: usize = 8_300;

fn main() {
    let all: Vec<String> = (0..NODES).map(node_name).collect();
    let one = vec![node_name(4_321)];
    let requests = [
        ("filter, 5,000 names", body("filter", &all)),
        ("prioritize, 5,000 names", body("prioritize", &all)),
        ("filter, 1 name", body("filter", &one)),
    ];
    let (address, events) = start_tangram();
    let noop = Noop::start();
    if noop.is_none() {
        println!("the extender that does nothing was not built: is Go installed?");
    }
    println!(
        "{:26} {:>10} {:>10} {:>10}   {:>10} {:>10} {:>10}",
        "", "p50 ms", "p99 ms", "max ms", "noop p50", "noop p99", "ratio p50"
    );
    for (name, request) in &requests {
        let ours = latencies(address, request);
        let theirs = noop.as_ref().map(|noop| latencies(noop.address, request));
        let of_noop = |percent| {
            theirs.as_ref().map_or("-".to_owned(), |theirs| format!("{:.3}", percentile(theirs, percent)))
        };
        let ratio = theirs.as_ref().map(|theirs| percentile(theirs, 50) / percentile(&ours, 50));
        println!(
            "{name:26} {:10.3} {:10.3} {:10.3}   {:>10} {:>10} {:>10}",
            percentile(&ours, 50),
            percentile(&ours, 99),
            percentile(&ours, 100),
            of_noop(50),
            of_noop(99),
            ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.1}x")),
        );
    }
    println!("events applied meanwhile: {:.0} per second", events.rate());
    start_and_memory();
}

/// The server in this process, and events that change its model.
fn start_tangram() -> (SocketAddr, Events) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let scores = Arc::new(Scores::prior());
    let cache = common::cache(NODES, &scores);
    let pods: Vec<Arc<Pod>> = cache.pods().filter(|pod| pod.node.is_some()).cloned().collect();
    let (address, model) = runtime.block_on(async {
        let (model, _, _) = Model::start(cache);
        let dialect = Arc::new(Dialect::default());
        let (world, metrics) = (Arc::new(Embedded), Arc::default());
        let app = App {
            model: model.clone(),
            policy: Policy::Pack,
            dialect,
            world,
            metrics,
            door: Door::default(),
            feed: Feed::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("a live socket"));
        tokio::spawn(async move { axum::serve(listener, router(app)).await });
        (address, model)
    });
    Box::leak(Box::new(runtime)); // serves until the process ends
    (address, Events::start(model, pods))
}

/// Pods that go and come back, in bursts as watches deliver them.
struct Events {
    count: Arc<AtomicU64>,
    since: Instant,
    stop: Arc<AtomicBool>,
}

impl Events {
    fn start(model: Model, pods: Vec<Arc<Pod>>) -> Self {
        let (count, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, stopped) = (count.clone(), stop.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a thread");
            let mut at = 0;
            while !stopped.load(Ordering::Relaxed) {
                for _ in 0..EVENTS_PER_SECOND.div_ceil(2 * 100) {
                    let pod = &pods[at % pods.len()];
                    at += 7;
                    let gone = Event::PodDeleted(pod.key.clone());
                    let back = Event::PodApplied(pod.clone());
                    runtime
                        .block_on(async { model.tell(gone).await.and(model.tell(back).await) })
                        .expect("it runs");
                    counted.fetch_add(2, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        Self { count, since: Instant::now(), stop }
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn rate(&self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        self.count.load(Ordering::Relaxed) as f64 / self.since.elapsed().as_secs_f64()
    }
}

/// A request as kube-scheduler sends it, for a pod that asks for one GPU instance.
fn body(verb: &str, names: &[String]) -> Vec<u8> {
    let pod = r#"{"metadata":{"name":"mig1","namespace":"default","uid":"d217efec-097c-4490-88f1-da76adbf6bf5","resourceVersion":"213","generation":1,"creationTimestamp":"2026-11-20T23:48:21Z","labels":{"app":"mig1"}},"spec":{"containers":[{"name":"c","image":"registry.example/app:v1","resources":{"limits":{"cpu":"1","tangram.gpu/mig-1g.10gb":"1"},"requests":{"cpu":"1","tangram.gpu/mig-1g.10gb":"1"}},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}],"restartPolicy":"Always","schedulerName":"tangram","priority":0,"preemptionPolicy":"PreemptLowerPriority"},"status":{"phase":"Pending","qosClass":"Burstable"}}"#;
    let names = serde_json::to_string(names).expect("texts");
    let body = format!(r#"{{"Pod":{pod},"Nodes":null,"NodeNames":{names}}}"#);
    let head = format!(
        "POST /scheduler/{verb} HTTP/1.1\r\nHost: x\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: {}\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

/// Sorted latencies in milliseconds of one request after another on one connection.
fn latencies(address: SocketAddr, request: &[u8]) -> Vec<f64> {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_nodelay(true).expect("a live socket");
    let mut buffer = vec![0; 1 << 20];
    let warm_up = REQUESTS.div_ceil(10);
    let mut latencies: Vec<f64> = (0..REQUESTS + warm_up)
        .map(|_| {
            let start = Instant::now();
            exchange(&mut stream, request, &mut buffer);
            start.elapsed().as_secs_f64() * 1e3
        })
        .skip(warm_up)
        .collect();
    latencies.sort_by(f64::total_cmp);
    latencies
}

fn exchange(stream: &mut TcpStream, request: &[u8], buffer: &mut [u8]) {
    stream.write_all(request).expect("sent");
    let mut length = 0;
    loop {
        length += stream.read(&mut buffer[length..]).expect("an answer");
        let Some(end) = buffer[..length].windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = std::str::from_utf8(&buffer[..end]).expect("a head").to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let is_complete = match head.split("content-length: ").nth(1) {
            Some(rest) => {
                let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                length >= end + 4 + digits.parse::<usize>().expect("a length")
            }
            None => buffer[..length].ends_with(b"0\r\n\r\n"), // chunked
        };
        if is_complete {
            return;
        }
    }
}

/// A server of its own on a file as kubectl writes it: seconds to the first answer, and memory.
fn start_and_memory() {
    let file = concat!(env!("CARGO_TARGET_TMPDIR"), "/cluster.json");
    let text = cluster_json(Shape { nodes: NODES, pods: PODS, padding: PADDING, seed: 1 });
    std::fs::write(file, &text).expect("written");
    let start = Instant::now();
    let mut server = Command::new(env!("CARGO_BIN_EXE_tangram"))
        .args(["serve", "--listen", "127.0.0.1:0", "--log-level", "warn", "--cluster", file])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it was built");
    let address = first_address(&mut server);
    println!(
        "start from a file of {} MB: {:.2} s",
        text.len().div_ceil(1_000_000),
        start.elapsed().as_secs_f64()
    );
    let status = |when: &str| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).expect("Linux");
        let lines = status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"));
        println!(
            "memory {when}: {}",
            lines.map(|line| line.replace(['\t', ' '], "")).collect::<Vec<_>>().join(" ")
        );
    };
    status("after the start");
    let names: Vec<String> = (0..NODES).map(node_name).collect();
    latencies(address, &body("filter", &names));
    status("after 3,300 requests of 5,000 names");
    server.kill().ok();
    server.wait().ok();
}
