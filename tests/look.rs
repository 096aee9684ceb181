//! `tangram status`, `nodes`, `gpus`, `pods`, `top`: what there is, as people read it and as programs do.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/command.rs"]
mod command;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use command::{tangram, text};
use serde_json::Value;

/// What a command that succeeds prints.
fn says(arguments: &[&str]) -> String {
    let output = tangram(arguments);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{arguments:?}");
    text(&output.stdout)
}

/// What a command that fails says.
fn fails(arguments: &[&str]) -> String {
    let output = tangram(arguments);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""), "{arguments:?}");
    text(&output.stderr)
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&says(arguments)).unwrap()
}

#[test]
fn gpus_are_drawn_slice_by_slice_with_their_holders() {
    let expected = "\
NODE         GPU  MODEL      SLICES    FREE  STRANDED  HELD BY
dyn-a100-02  4    a100-80gb  77777777  0     0         tabular-ft-splcd
dyn-a100-02  5    a100-80gb  4444....  4     0         summarize-ctv9zr4j7…
dyn-a100-02  6    a100-80gb  1111111.  1     1         clip-index-xphhp +6
dyn-a100-02  7    a100-80gb  ....1...  7     0         notebook-uma-0
";
    assert_eq!(says(&["gpus", "dyn-a100-02"]), expected);
    let stranded = says(&["gpus", "--stranded", "dyn-a100-02"]);
    assert_eq!(stranded.lines().count(), 2, "{stranded}");
    let wide = says(&["gpus", "dyn-a100-02", "-o", "wide"]);
    assert!(wide.contains("4g.40gb at 0: inference/summarize-ctv9zr4"), "{wide}");
    assert_eq!(json(&["gpus", "dyn-a100-02", "-o", "json"]), json(&["nodes", "dyn-a100-02", "-o", "json"]));
}

#[test]
fn nodes_say_what_is_in_use_and_what_is_wrong() {
    let all = says(&["nodes"]);
    assert_eq!(all.lines().count(), 1 + 35 + 2, "a header, the nodes, two problems\n{all}");
    let line = |name: &str| {
        let line = all.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("dgx-h100-04"), "H100-80GB-H… - - gpu 0/8 0 cordoned");
    assert_eq!(line("dyn-h100-03"), "8 x H100-80… 8/64 1 - 5 no agent");
    assert_eq!(line("dyn-h200-01"), "4 x H200 21/24 1 - 5 1 closed +1");
    assert_eq!(line("dyn-h200-01:"), "GPU 3: unhealthy: Xid 79: GPU has fallen off the bus");
}

#[test]
fn every_table_fits_a_terminal_and_wide_ones_hide_nothing() {
    for command in ["status", "nodes", "gpus", "pods", "top"] {
        let table = says(&[command]);
        // Problems are sentences: they are not cut.
        let is_row = |line: &&str| !line.split(' ').next().unwrap().ends_with(':');
        for row in table.lines().filter(is_row) {
            assert!(row.trim_end().chars().count() <= 80, "{command}: {row}");
        }
        let wide = says(&[command, "-o", "wide"]);
        assert!(!wide.contains('…') && !wide.contains(" +1"), "{command}\n{wide}");
    }
}

#[test]
fn pods_say_where_they_are_or_why_they_wait() {
    let pending = says(&["pods", "--pending", "-o", "wide"]);
    assert_eq!(pending.lines().count(), 1 + 7, "{pending}");
    let line = pending.lines().find(|line| line.starts_with("inference/vllm-mistral-small")).unwrap();
    assert!(line.contains("fits on dyn-h100-04: kube-scheduler has not asked yet"), "{line}");
    let pods = json(&["pods", "-n", "batch", "-o", "json"]);
    let names: Vec<&str> =
        pods["pods"].as_array().unwrap().iter().map(|pod| pod["namespace"].as_str().unwrap()).collect();
    assert_eq!(names, vec!["batch"; 13]);
    assert_eq!(pods.get("page"), None, "all pages are one");
}

#[test]
fn top_sums_what_each_namespace_and_pod_holds() {
    let expected = "\
NAMESPACE    PODS  SLICES  DEVICES
inference    55    108     4 amd.com/gpu +6
research     31    96      1 amd.com/gpu +3
";
    assert!(says(&["top"]).starts_with(expected), "{}", says(&["top"]));
    let pods = says(&["top", "--pods", "--lines", "1"]);
    assert_eq!(
        pods.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>().join(" "),
        "research/rlhf-actor-8th6j 1 0 8 nvidia.com/gpu"
    );
}

#[test]
fn status_sums_the_cluster_up() {
    let status = says(&["status"]);
    assert!(status.starts_with("35 nodes, 120 pods placed, 7 waiting (94 % accepted)\n"), "{status}");
    assert!(status.contains("-     dynamic  37    19    1         8"), "{status}");
    let answer = json(&["status", "-o", "json"]);
    assert_eq!(answer["totals"]["pendingPods"], 7);
    assert_eq!(answer["pending"].as_array().unwrap().len(), 7);
    let yaml = says(&["status", "-o", "yaml"]);
    assert!(yaml.contains("pendingPods: 7"), "{yaml}");
}

/// A server that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_server_answers_as_a_file_does() {
    let mut server = Command::new(env!("CARGO_BIN_EXE_tangram"))
        .args(["serve", "--listen", "127.0.0.1:0", "--log-level", "error"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let _server = Server(server);
    let address = line.strip_prefix("tangram: listening on ").expect(&line).trim().to_owned();
    for command in ["status", "nodes", "gpus", "pods", "top"] {
        assert_eq!(says(&[command, "--server", &address]), says(&[command]), "{command}");
    }
    let missing = fails(&["nodes", "nowhere", "--server", &address]);
    assert!(missing.contains("404 Not Found: node nowhere: there is none of this name"), "{missing}");
}

#[test]
fn whom_to_ask_is_one_and_errors_name_what_is_wrong() {
    let both = fails(&["status", "--server", "http://localhost:1", "--cluster", "x.yaml"]);
    assert!(both.contains("'--server <URL>' cannot be used with '--cluster <FILE>'"), "{both}");
    let nobody = fails(&["status", "--server", "http://localhost:1"]);
    assert!(nobody.contains("is `tangram serve` running there?"), "{nobody}");
    let file = fails(&["status", "--cluster", "no/such/file.yaml"]);
    assert!(file.contains("no/such/file.yaml"), "{file}");
    let service = fails(&["status", "--kubeconfig", "x", "--service", "tangram"]);
    assert!(service.contains("\"tangram\" is not NAMESPACE/NAME:PORT"), "{service}");
}

#[test]
fn as_a_plugin_of_kubectl_it_asks_the_cluster_of_kubectl() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("kubectl-tangram");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_tangram"), &plugin).unwrap();
    let run = |kubeconfig: &str| {
        let file = folder.path().join("config");
        std::fs::write(&file, kubeconfig).unwrap();
        let output = Command::new(&plugin).arg("status").env("KUBECONFIG", &file).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        text(&output.stderr)
    };
    let config = |user: &str| {
        format!(
            "{{apiVersion: v1, kind: Config, current-context: here, \
             clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:1'}}}}], \
             contexts: [{{name: here, context: {{cluster: c, user: u}}}}], users: [{{name: u, user: {user}}}]}}"
        )
    };
    let without = run(&config("{}"));
    assert!(without.contains("user \"u\" of the kubeconfig has no bearer token"), "{without}");
    let with = run(&config("{token: abc}"));
    let path = "/api/v1/namespaces/tangram-system/services/https:tangram:api/proxy/v1/cluster?summary=true";
    assert!(with.contains(path) && !with.contains("abc"), "{with}");
    let none = run("{apiVersion: v1, kind: Config}");
    assert!(none.contains("the kubeconfig has no current context"), "{none}");
}

#[test]
fn shells_complete_commands() {
    let bash = says(&["completion", "bash"]);
    assert!(bash.contains("complete -F _tangram") && bash.contains("scheduler-config"), "{bash}");
}
