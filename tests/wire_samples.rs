//! Tangram's answers to what a real kube-scheduler really sent (`golden/wire`), byte for byte.
//!
//! `UPDATE_GOLDEN=1 cargo test --test wire_samples` rewrites `golden/answers`; read the difference.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/http.rs"]
#[expect(dead_code, reason = "shared by several test files")]
mod http;

use std::fs;
use std::path::{Path, PathBuf};

use http::Server;
use serde_json::{Value, json};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Verb and body of a recorded request.
fn request(path: &Path) -> (String, String) {
    let text = fs::read_to_string(path).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").or_else(|| text.split_once("\n\n")).unwrap();
    let target = head.split_whitespace().nth(1).unwrap();
    (target.rsplit('/').next().unwrap().to_owned(), body.to_owned())
}

fn sample(name: &str) -> (String, Value) {
    let (verb, body) = request(&golden().join("wire").join(format!("{name}.request.txt")));
    (verb, serde_json::from_str(&body).unwrap())
}

/// The cluster of the recordings: four A100-40GB nodes of eight GPUs, from a full `NodeList`; with the victims
/// of one of the two recorded preemptions on them (`meta` or `full`), or empty.
fn cluster(victims: Option<&str>) -> String {
    let mut items = sample("b-gpu8-nodelist-filter").1["Nodes"]["items"].as_array().unwrap().clone();
    for item in &mut items {
        item["kind"] = json!("Node");
    }
    let full = sample("e-preempt-victims").1;
    let nodes = full["NodeNameToVictims"].as_object().unwrap().iter().filter(|_| victims.is_some());
    for (node, on_node) in nodes {
        for (position, pod) in on_node["Pods"].as_array().unwrap().iter().enumerate() {
            let mut pod = pod.clone();
            pod["kind"] = json!("Pod");
            if victims == Some("meta") {
                let meta = &sample("e-preempt-meta").1["NodeNameToMetaVictims"][node];
                pod["metadata"]["uid"] = meta["Pods"][position]["UID"].clone();
            }
            items.push(pod);
        }
    }
    json!({"kind": "List", "items": items}).to_string()
}

#[tokio::test]
async fn every_recorded_request_gets_its_golden_answer() {
    let mut names: Vec<PathBuf> =
        fs::read_dir(golden().join("wire")).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.to_string_lossy().ends_with(".request.txt"));
    names.sort();
    assert_eq!(names.len(), 35);
    for path in names {
        let name = path.file_name().unwrap().to_string_lossy().replace(".request.txt", "");
        let (verb, body) = request(&path);
        // Binding needs a pod that is known: each exchange has a server of its own, told by a filter first.
        let victims = match name.as_str() {
            "e-preempt-meta" => Some("meta"),
            "e-preempt-victims" => Some("full"),
            _ => None,
        };
        let server = Server::new(&cluster(victims));
        if verb == "bind" {
            let filter =
                golden().join("wire").join(format!("{}.request.txt", name.replace("-bind", "-filter")));
            server.post("/scheduler/filter", request(&filter).1).await;
        }
        let (status, answer) = server.send("POST", &format!("/scheduler/{}", verb_of(&verb)), body).await;
        assert_eq!(status, 200, "{name}");
        let answer = String::from_utf8(answer).unwrap();
        let file = golden().join("answers").join(format!("{name}.json"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&file, format!("{answer}\n")).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(format!("{answer}\n"), expected, "{name}: UPDATE_GOLDEN=1 rewrites it");
    }
}

/// The recorded faults (g, h) went to paths named after the fault; all of them are filter requests.
fn verb_of(recorded: &str) -> &str {
    match recorded {
        "filter" | "prioritize" | "preempt" | "bind" => recorded,
        _ => "filter",
    }
}

#[tokio::test]
async fn a_full_node_list_is_answered_with_the_same_objects() {
    let (_, args) = sample("b-gpu8-nodelist-filter");
    let answer = Server::new(&cluster(None)).post("/scheduler/filter", args.to_string()).await;
    assert_eq!(answer["Nodes"], args["Nodes"]);
    assert_eq!(answer["NodeNames"], Value::Null);
}

#[tokio::test]
async fn the_recorded_preemption_keeps_both_victims_because_eight_gpus_need_both() {
    let server = Server::new(&cluster(Some("meta")));
    let (_, args) = sample("e-preempt-meta");
    let answer = server.post("/scheduler/preempt", args.to_string()).await;
    let sorted = |value: &Value| {
        let mut uids: Vec<String> =
            value["Pods"].as_array().unwrap().iter().map(|pod| pod["UID"].to_string()).collect();
        uids.sort();
        uids
    };
    for (node, victims) in args["NodeNameToMetaVictims"].as_object().unwrap() {
        assert_eq!(sorted(&answer["NodeNameToMetaVictims"][node]), sorted(victims), "{node}");
    }
}
