//! The binary as its users start it: arguments, exit codes, messages, signals.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/command.rs"]
mod command;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use std::process::{Child, Command, Stdio};

use command::{tangram, text};

/// A server that ends with the test.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tangram"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address =
            line.strip_prefix("tangram: listening on http://").expect(&line).trim().parse().unwrap();
        Self { child, address }
    }

    fn request(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn serve_answers_a_real_filter_request_on_the_example_and_stops_on_sigterm() {
    let mut server = Server::start(&[]);
    let body = r#"{"Pod":{"metadata":{"name":"p","uid":"u"},"spec":{"containers":[{"name":"c","resources":{"limits":{"tangram.gpu/mig-1g.10gb":"1"}}}]}},"NodeNames":["dyn-h100-05","cpu-01"]}"#;
    let length = body.len();
    let answer = server.request(&format!(
        "POST /scheduler/filter HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    ));
    let expected = r#"{"NodeNames":["dyn-h100-05"],"Nodes":null,"FailedNodes":{},"FailedAndUnresolvableNodes":{"cpu-01":"node has no dynamic MIG GPU"},"Error":""}"#;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(expected), "{answer}");
    let pid = server.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_request_that_breaks_off_leaves_the_server_answering() {
    let server = Server::start(&[]);
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream
        .write_all(b"POST /scheduler/filter HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{\"Pod\":")
        .unwrap();
    drop(stream);
    for garbage in [
        "\0\0\0\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "POST /scheduler/bind HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ] {
        server.request(garbage);
    }
    let answer = server.request("GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok\n"), "{answer}");
}

#[test]
fn plan_says_by_its_exit_code_whether_all_fit() {
    let fits = tangram(&["plan", "-f", "examples/pods/one-slice.yaml"]);
    assert_eq!(fits.status.code(), Some(0));
    assert_eq!(
        text(&fits.stdout),
        "\
POD                 REQUEST  NODE         DEVICES
research/one-slice  1g.10gb  dyn-h100-05  gpu 7: 1g.10gb at 1

1 of 1 pods fit.
"
    );
    let refused = tangram(&["plan", "-f", "examples/pods/does-not-fit.yaml"]);
    assert_eq!(refused.status.code(), Some(1));
    let words = text(&refused.stdout);
    assert!(
        words.contains(
            "\nresearch/impossible-profile (9g.99gb) fits nowhere:\n     34 nodes: no GPU model has 9g.99gb\n"
        ),
        "{words}"
    );
    assert!(words.ends_with("\n0 of 6 pods fit.\n"), "{words}");
}

#[test]
fn plan_answers_alike_from_a_file_and_from_a_server_in_every_form() {
    let server = Server::start(&[]);
    let url = format!("http://{}", server.address);
    let files = ["-f", "examples/pods/one-slice.yaml", "-f", "examples/pods/inference-deployment.yaml"];
    for form in ["table", "json", "yaml"] {
        let local =
            tangram(&[&["plan", "-o", form, "--cluster", "examples/cluster.yaml"], &files[..]].concat());
        let remote = tangram(&[&["plan", "-o", form, "--server", &url], &files[..]].concat());
        assert_eq!(text(&local.stdout), text(&remote.stdout), "{form}: {}", text(&remote.stderr));
        assert_eq!((local.status.code(), remote.status.code()), (Some(0), Some(0)));
    }
}

#[test]
fn what_goes_wrong_is_told_with_its_object_and_is_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let broken = write("broken.json", r#"{"kind":"List","items":[{"kind":"Node""#);
    let empty = write("empty.yaml", "");
    let config = write("config.yaml", "limits: {nodeNmes: 3}\n");
    let unknown = write("service.yaml", "kind: Service\nmetadata: {name: web}\n");
    let one = "examples/pods/one-slice.yaml";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    for (arguments, words) in [
        (vec!["plan", "-f", one, "--cluster", &broken], "not valid JSON: EOF while parsing an object"),
        (vec!["plan", "-f", one, "--cluster", &empty], "holds no Kubernetes object"),
        (vec!["plan", "-f", one, "--cluster", "/no/such/file"], "/no/such/file: No such file or directory"),
        (vec!["plan", "-f", &unknown], "Service default/web: kind: no pods can be planned for it"),
        (vec!["plan", "-f", one, "--server", "http://127.0.0.1:1"], "is `tangram serve` running there?"),
        (vec!["plan", "-f", one, "--server", "https://x"], "expected http://HOST:PORT"),
        (vec!["serve", "--config", &config], "nodeNmes"),
        (vec!["serve", "--log-level", "loud,,=="], "log level"),
        (vec!["serve", "--listen", "nowhere"], "invalid socket address"),
        (vec!["serve", "--listen", &taken], &format!("cannot listen on {taken}")),
        (vec!["serve", "--listen", "0.0.0.0:1"], "listen: 0.0.0.0:1: without authentication everybody"),
    ] {
        let output = tangram(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(words), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn objects_that_cannot_be_read_are_named_and_the_rest_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cluster.json");
    let items = r#"{"kind":"List","items":[
        {"kind":"Node","metadata":{"name":"good"},"status":{"allocatable":{"nvidia.com/gpu":"2"}}},
        {"kind":"Node","metadata":{"name":"odd"},"status":{"allocatable":{"nvidia.com/gpu":"two"}}},
        {"kind":"Node","metadata":{"name":["no"]}},
        {"kind":"Pod","metadata":{"name":"p","namespace":"x"},"spec":{"nodeName":"good","containers":[{"resources":{"limits":{"nvidia.com/gpu":"1.5"}}}]}},
        {"kind":"ConfigMap","metadata":{"name":"c"}}]}"#;
    std::fs::write(&file, items).unwrap();
    let mut server = Server::start(&["--log-format", "json", "--cluster", file.to_str().unwrap()]);
    let cluster = server.request("GET /v1/cluster HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(cluster.contains(r#""name":"good""#), "{cluster}");
    assert!(
        cluster.contains(r#"status.allocatable[nvidia.com/gpu]: \"two\" is not a Kubernetes quantity"#),
        "{cluster}"
    );
    server.child.kill().unwrap();
    let mut log = String::new();
    server.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{log}");
    for words in [
        "Node without a readable name: document: invalid type: sequence",
        "Pod x/p: spec.containers[0].resources.limits[nvidia.com/gpu]",
        "ConfigMap",
    ] {
        assert!(log.contains(words), "{words}: {log}");
    }
}

#[test]
fn help_teaches_by_example() {
    let help = text(&tangram(&["--help"]).stdout);
    for words in
        ["kubectl get nodes,pods -A -o json > cluster.json", "tangram serve --cluster cluster.json", "plan"]
    {
        assert!(help.contains(words), "{words}: {help}");
    }
    let serve = text(&tangram(&["serve", "--help"]).stdout);
    assert!(
        serve.contains("urlPrefix is `http://ADDRESS/scheduler`") && serve.contains("127.0.0.1:7240"),
        "{serve}"
    );
}

#[test]
fn explain_and_what_if_say_by_their_exit_code_whether_all_is_well() {
    let stuck = tangram(&["explain", "research/longseq-ft-xl-ks47r"]);
    assert_eq!(stuck.status.code(), Some(1), "{}", text(&stuck.stderr));
    let told = text(&stuck.stdout);
    for line in
        ["None of 35 nodes takes it", "one node more of NVIDIA-H200, like dyn-h200-01", "No such change: "]
    {
        assert!(told.contains(line), "{line}: {told}");
    }
    let fits = tangram(&["explain", "vllm-mistral-small-k4fzsk55js-v8hcf", "-n", "inference", "-o", "json"]);
    let answer: serde_json::Value = serde_json::from_slice(&fits.stdout).unwrap();
    assert_eq!((fits.status.code(), &answer["pending"]["fits"]["node"]), (Some(0), &"dyn-h100-04".into()));
    let unknown = tangram(&["explain", "x"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("there is no pod default/x in the cluster"));

    let added = tangram(&["what-if", "drain", "dyn-h100-06", "add", "p5.48xlarge=2", "-o", "json"]);
    let answer: serde_json::Value = serde_json::from_slice(&added.stdout).unwrap();
    assert_eq!(added.status.code(), Some(0), "{answer:#}");
    assert_eq!(answer["addedNodes"], serde_json::json!(["p5.48xlarge-new-1", "p5.48xlarge-new-2"]));
    assert_eq!(answer["displaced"][0]["fate"], "moves");
    for (arguments, message) in [
        (["what-if", "burn", "x"].as_slice(), "\"burn\" is no change"),
        (&["what-if", "drain", "x"], "changes[0]: there is no node x"),
        (&["what-if", "drain", "dyn-h100-06", "add"], "add is followed by nothing"),
    ] {
        let refused = tangram(arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(text(&refused.stderr).contains(message), "{}", text(&refused.stderr));
    }
}
