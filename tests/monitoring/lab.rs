//! Tangram on its example cluster, a double of DCGM exporter, and a Prometheus that scrapes both.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// How often, and with what pause, something is looked for before it counts as not working: for two minutes.
const LOOKS: usize = 480;
const PAUSE: Duration = Duration::from_millis(250);

/// A program that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok(); // it may have ended
        self.0.wait().ok();
    }
}

pub(crate) struct Lab {
    prometheus: String,
    tangram: String,
    _processes: [Process; 2],
    _folder: TempDir,
}

fn missing(program: &str, error: &std::io::Error) -> String {
    format!("{program} does not run ({error}): install Debian's package prometheus, as .ci/run does")
}

/// Runs promtool, which must agree.
pub(crate) fn promtool(arguments: &[&str]) {
    let run = Command::new("promtool").args(arguments).stdin(Stdio::null()).output();
    agrees(&run.unwrap_or_else(|error| panic!("{}", missing("promtool", &error))));
}

fn agrees(output: &Output) {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success(), "{out}{err}");
}

/// One request that must be answered with status 200; the body of the answer.
fn request(address: &str, method: &str, path: &str, kind: &str, body: &str) -> String {
    let (head, body) = exchange(address, method, path, kind, body);
    assert!(is_ok(&head), "{method} {path}: {head} {body}");
    body
}

fn is_ok(head: &str) -> bool {
    head.lines().next().is_some_and(|status| status.contains(" 200 "))
}

/// One request of HTTP/1.0; head and body of the answer.
fn exchange(address: &str, method: &str, path: &str, kind: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

impl Lab {
    /// Starts all three, and waits until Prometheus has scraped both a few times.
    pub(crate) fn start() -> Self {
        let folder = TempDir::with_prefix("tangram-monitoring-").unwrap();
        let (serve, tangram) = serve();
        let dcgm = dcgm(&tangram);
        let (process, prometheus) = prometheus(folder.path(), &tangram, &dcgm);
        let lab = Self { prometheus, tangram, _processes: [process, serve], _folder: folder };
        let scraped = (0..LOOKS).any(|_| {
            lab.decide();
            thread::sleep(PAUSE);
            lab.scrapes() >= 4.0
        });
        assert!(scraped, "Prometheus has not scraped both in time");
        lab
    }

    /// One decision of each verb, so that times and outcomes are there.
    fn decide(&self) {
        let post = |path: &str, body: &Value| {
            request(&self.tangram, "POST", path, "application/json", &body.to_string())
        };
        let resources = json!({ "limits": { "tangram.gpu/mig-3g.40gb": "1" } });
        let pod = json!({
            "metadata": { "namespace": "lab", "name": "asks", "uid": "lab-asks" },
            "spec": { "containers": [{ "name": "main", "image": "x", "resources": resources }] },
        });
        let asked = json!({ "Pod": pod, "NodeNames": ["dyn-h200-01", "cpu-01"] });
        post("/scheduler/filter", &asked);
        post("/scheduler/prioritize", &asked);
        post("/scheduler/preempt", &json!({ "Pod": pod, "NodeNameToMetaVictims": {} }));
        post(
            "/scheduler/bind",
            &json!({ "PodName": "asks", "PodNamespace": "lab", "PodUID": "lab-asks", "Node": "cpu-01" }),
        );
    }

    /// How often the target that was scraped least was scraped.
    fn scrapes(&self) -> f64 {
        let counts = self.query("min(count_over_time(up[5m]) and up == 1) and count(up == 1) == 2");
        counts.first().map_or(0.0, |sample| sample["value"][1].as_str().unwrap().parse().unwrap())
    }

    /// The samples that a query gives now.
    pub(crate) fn query(&self, query: &str) -> Vec<Value> {
        let body = format!("query={}", encoded(query));
        let kind = "application/x-www-form-urlencoded";
        let answer = request(&self.prometheus, "POST", "/api/v1/query", kind, &body);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }

    /// promtool finds nothing wrong with names, types and help texts.
    pub(crate) fn check_metrics(&self) {
        let text = request(&self.tangram, "GET", "/metrics", "text/plain", "");
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        agrees(&promtool.wait_with_output().unwrap());
    }
}

/// The binary under test, and where it listens.
fn serve() -> (Process, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tangram"))
        .args(["serve", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("tangram: listening on http://").unwrap().to_owned();
    (Process(child), address)
}

/// What DCGM exporter says of the GPUs that Tangram knows: hardly busy, by MIG device. Ends with the test's process.
fn dcgm(tangram: &str) -> String {
    let metrics = request(tangram, "GET", "/metrics", "text/plain", "");
    let uuids = metrics.lines().filter_map(|line| line.split_once("UUID=\"")?.1.split('"').next());
    let mut text = "# TYPE DCGM_FI_PROF_GR_ENGINE_ACTIVE gauge\n".to_owned();
    for (gpu, uuid) in uuids.enumerate() {
        for instance in [1, 2] {
            let labels =
                format!("gpu=\"{gpu}\",UUID=\"{uuid}\",GPU_I_PROFILE=\"1g.18gb\",GPU_I_ID=\"{instance}\"");
            writeln!(text, "DCGM_FI_PROF_GR_ENGINE_ACTIVE{{{labels}}} 0.01").unwrap();
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let head = format!(
                "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
                text.len()
            );
            stream.write_all((head + &text).as_bytes()).ok(); // Prometheus may be gone
        }
    });
    address
}

/// A Prometheus that scrapes both every second, and where it listens.
fn prometheus(folder: &Path, tangram: &str, dcgm: &str) -> (Process, String) {
    let config = json!({
        "global": { "scrape_interval": "1s", "scrape_timeout": "1s" },
        "scrape_configs": [
            { "job_name": "tangram", "static_configs": [{ "targets": [tangram] }] },
            { "job_name": "dcgm", "static_configs": [{ "targets": [dcgm] }] },
        ],
    });
    let file = folder.join("prometheus.yaml");
    fs::write(&file, config.to_string()).unwrap();
    promtool(&["check", "config", file.to_str().unwrap()]);
    // Prometheus takes no port 0: one that was free a moment ago, and another if somebody was quicker.
    for _ in 0..LOOKS {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let started = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .args(["--log.level=error"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let started = started.unwrap_or_else(|error| panic!("{}", missing("prometheus", &error)));
        let mut process = Process(started);
        for _ in 0..LOOKS {
            if process.0.try_wait().unwrap().is_some() {
                break; // the port was taken
            }
            let listens = TcpStream::connect(&address).is_ok();
            if listens && is_ok(&exchange(&address, "GET", "/-/ready", "", "").0) {
                return (process, address);
            }
            thread::sleep(PAUSE);
        }
    }
    panic!("Prometheus does not start")
}
