//! What the log says of decisions: a bind and a refusal that is new, for people; everything else only when asked for.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// `tangram serve` on the example, until it is asked for what it said.
struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok(); // it may have ended
        self.child.wait().ok();
    }
}

impl Server {
    fn start(level: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tangram"))
            .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--log-level", level])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("tangram: listening on http://").unwrap().to_owned();
        Self { child, address }
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "POST {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    fn filter(&self, pod: &Value, nodes: &[&str]) {
        self.post("/scheduler/filter", &json!({ "Pod": pod, "NodeNames": nodes }));
    }

    /// What it said of decisions: level, pod, node, message.
    fn said(mut self) -> Vec<(String, String, String, String)> {
        self.child.kill().unwrap();
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        lines
            .filter(|line| line["target"] == "tangram::http::decision")
            .map(|line| {
                let fields = &line["fields"];
                assert!(fields["generation"].as_u64().unwrap() > 0, "{line}");
                (text(&line["level"]), text(&fields["pod"]), text(&fields["node"]), text(&fields["message"]))
            })
            .collect()
    }
}

fn pod(name: &str, resource: &str) -> Value {
    let resources = json!({ "limits": { resource: "1" } });
    json!({
        "metadata": { "namespace": "team", "name": name, "uid": format!("uid-{name}") },
        "spec": { "containers": [{ "name": "main", "image": "x", "resources": resources }] },
    })
}

/// Two filters of each pod, other nodes the second time, and binds that end well and badly.
fn said(level: &str) -> Vec<(String, String, String, String)> {
    let server = Server::start(level);
    let (fits, waits) = (pod("fits", "tangram.gpu/mig-1g.18gb"), pod("waits", "tangram.gpu/mig-3g.40gb"));
    let bind = |name: &str, node: &str| {
        let asked =
            json!({ "PodName": name, "PodNamespace": "team", "PodUID": format!("uid-{name}"), "Node": node });
        server.post("/scheduler/bind", &asked)
    };
    for nodes in [&["dyn-h200-01", "cpu-01"], &["cpu-01", "dyn-h200-01"]] {
        server.filter(&fits, nodes);
        server.filter(&waits, nodes);
    }
    server.filter(&waits, &["cpu-01"]);
    assert_eq!(bind("fits", "dyn-h200-01")["Error"], "");
    assert_ne!(bind("waits", "cpu-01")["Error"], "");
    server.said()
}

#[test]
fn at_info_a_line_is_a_bind_or_a_refusal_that_is_new() {
    let said = said("info");
    let [first, other, bound, not_bound] = &said[..] else { panic!("{said:#?}") };
    let line = |level: &str, pod: &str, node: &str, message: &str| {
        (level.to_owned(), pod.to_owned(), node.to_owned(), message.to_owned())
    };
    let why = "No node fits: node has no dynamic MIG GPU (1 node), GPU model has no 3g.40gb (1 node).";
    let swapped = "No node fits: GPU model has no 3g.40gb (1 node), node has no dynamic MIG GPU (1 node).";
    assert!([why, swapped].contains(&first.3.as_str()), "{first:?}");
    assert_eq!((&*first.0, &*first.1), ("INFO", "team/waits"));
    assert_eq!(*other, line("INFO", "team/waits", "", "No node fits: node has no dynamic MIG GPU (1 node)."));
    assert_eq!((&*bound.0, &*bound.1, &*bound.2), ("INFO", "team/fits", "dyn-h200-01"));
    assert!(bound.3.starts_with("Bound: 1g.18gb at ") && bound.3.contains(" of GPU "), "{}", bound.3);
    let refused = "Not bound: pod team/waits does not fit node cpu-01: node has no dynamic MIG GPU.";
    assert_eq!(*not_bound, line("INFO", "team/waits", "cpu-01", refused));
}

#[test]
fn at_debug_every_decision_has_its_line() {
    let said = said("debug");
    let of = |level: &str| said.iter().filter(|line| line.0 == level).count();
    assert_eq!((of("INFO"), of("DEBUG")), (4, 3), "{said:#?}");
    let messages: Vec<&str> = said.iter().map(|line| line.3.as_str()).collect();
    assert!(messages.contains(&"Nodes that fit: 1."), "{messages:?}");
    assert!(messages.iter().any(|message| message.starts_with("No node fits, as before: ")), "{messages:?}");
}
