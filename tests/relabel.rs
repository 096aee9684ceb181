//! Static layouts on a real API server, with a double of mig-manager: labels are written one node after another, only
//! where nobody holds what changes, and the first failure is the last thing that happens.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/plane/mod.rs"]
#[expect(dead_code, unused_imports, reason = "each test file uses what it needs of the harness")]
mod plane;

use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams, Patch, PatchParams, ResourceExt as _};
use plane::{Plane, fake_node, pod};
use serde_json::json;
use tangram::config::Config;
use tangram::k8s::{Access, Relabel};
use tangram::wire::Dialect;
use tangram::wire::layouts::LayoutsView;
use tokio::task::JoinHandle;

const CONFIG: &str = "nvidia.com/mig.config";
const STATE: &str = "nvidia.com/mig.config.state";
const NEW: &str = "tangram-a100-80gb-7x1g.10gb";
/// More small devices than the nodes can have.
const DEMAND: &str = "1g.10gb=200";

/// `a` and `b` are drained, `c` is held.
async fn cluster() -> Plane {
    let plane = Plane::start().await;
    for name in ["a", "b", "c"] {
        let labels = [
            ("nvidia.com/gpu.product", "NVIDIA-A100-SXM4-80GB"),
            ("nvidia.com/gpu.count", "8"),
            ("nvidia.com/mig.strategy", "mixed"),
            (CONFIG, "all-3g.40gb"),
            (STATE, "success"),
        ];
        let devices = [("nvidia.com/gpu", "0"), ("nvidia.com/mig-3g.40gb", "16")];
        plane.add_node(&fake_node(name, &labels, &devices, &[])).await;
    }
    plane.run_pod(pod("runs", &[("nvidia.com/mig-3g.40gb", "1")]), "c").await;
    plane
}

/// Makes what the labels ask for, or fails on one node; it works on one node at a time or the test fails.
fn mig_manager(plane: &Plane, fails_on: Option<&'static str>) -> JoinHandle<()> {
    let nodes = Api::<Node>::all(plane.client());
    tokio::spawn(async move {
        loop {
            let all = nodes.list(&ListParams::default()).await.unwrap().items;
            let at_work: Vec<&Node> = all.iter().filter(|node| node.labels()[STATE] == "pending").collect();
            assert!(at_work.len() <= 1, "one node at a time");
            if let [node] = at_work.as_slice() {
                let name = node.name_any();
                tokio::time::sleep(Duration::from_millis(500)).await;
                let state = if fails_on == Some(&name) { "failed" } else { "success" };
                let patch = Patch::Merge(json!({ "metadata": { "labels": { STATE: state } } }));
                nodes.patch(&name, &PatchParams::default(), &patch).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
}

/// Both labels of the three nodes.
async fn labels(plane: &Plane) -> Vec<(String, String)> {
    let nodes = Api::<Node>::all(plane.client()).list(&ListParams::default()).await.unwrap().items;
    nodes.iter().map(|node| (node.labels()[CONFIG].clone(), node.labels()[STATE].clone())).collect()
}

fn labelled(pairs: [(&str, &str); 3]) -> Vec<(String, String)> {
    pairs.map(|(config, state)| (config.to_owned(), state.to_owned())).to_vec()
}

async fn tangram(kubeconfig: PathBuf, arguments: &'static [&'static str]) -> Output {
    let command = move || {
        std::process::Command::new(env!("CARGO_BIN_EXE_tangram"))
            .args(["layouts", "--demand", DEMAND, "--kubeconfig"])
            .arg(kubeconfig)
            .args(arguments)
            .output()
            .unwrap()
    };
    tokio::task::spawn_blocking(command).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

const OLD: (&str, &str) = ("all-3g.40gb", "success");

#[tokio::test(flavor = "multi_thread")]
async fn labels_are_written_when_asked_for_one_node_after_another() {
    let plane = cluster().await;
    let shown = tangram(plane.kubeconfig(), &[]).await;
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown.stderr));
    assert_eq!(labels(&plane).await, labelled([OLD; 3]), "nobody asked for it");
    let manager = mig_manager(&plane, None);
    let applied = tangram(plane.kubeconfig(), &["--apply", "--wait"]).await;
    assert_eq!(applied.status.code(), Some(0), "{}", text(&applied.stderr));
    assert_eq!(text(&applied.stdout), text(&shown.stdout), "the plan is shown first");
    let told = |number: u8, node: &str| {
        let about = |words: &str| format!("[{number}/2] {node}: {words}\n");
        about(&format!("{CONFIG}={NEW}")) + &about("pending") + &about("success")
    };
    assert_eq!(text(&applied.stderr), told(1, "a") + &told(2, "b"));
    assert_eq!(labels(&plane).await, labelled([(NEW, "success"), (NEW, "success"), OLD]));
    assert!(!manager.is_finished(), "it saw one node at a time");
    manager.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_failure_is_the_last_thing_that_happens() {
    let plane = cluster().await;
    let manager = mig_manager(&plane, Some("a"));
    let failed = tangram(plane.kubeconfig(), &["--apply", "--wait"]).await;
    manager.abort();
    assert_eq!(failed.status.code(), Some(2));
    let words = text(&failed.stderr);
    assert!(words.contains("a: mig-manager failed") && words.contains("nodes not tried: 1"), "{words}");
    assert_eq!(labels(&plane).await, labelled([(NEW, "failed"), OLD, OLD]));
    // The next plan leaves it to people, and goes on with the other one.
    let again = tangram(plane.kubeconfig(), &["-o", "json"]).await;
    let plan: LayoutsView = serde_json::from_slice(&again.stdout).unwrap();
    let fixed = plan.nodes[0].fixed.as_deref();
    assert_eq!(fixed, Some("mig-manager failed there (nvidia.com/mig.config.state: failed)"));
    assert_eq!(plan.nodes[1].new_config.as_deref(), Some(NEW));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_another_by_now_is_left_alone() {
    let plane = cluster().await;
    let planned = tangram(plane.kubeconfig(), &["-o", "json"]).await;
    let plan: LayoutsView = serde_json::from_slice(&planned.stdout).unwrap();
    let access = Access::new(Some(&plane.kubeconfig()), None, Duration::from_secs(20)).await.unwrap();
    let dialect = Arc::new(Dialect { is_live: true, ..Config::default().dialect() });
    let relabel = Relabel { access, dialect, by_gpu: false, may_split: false };
    plane.run_pod(pod("came", &[("nvidia.com/mig-3g.40gb", "1")]), "a").await;
    assert_eq!(relabel.select(&plan.nodes[0]).await, Err("1 pod holds devices of it".to_owned()));
    let other = Patch::Merge(json!({ "metadata": { "labels": { CONFIG: "all-balanced" } } }));
    let nodes = Api::<Node>::all(plane.client());
    nodes.patch("b", &PatchParams::default(), &other).await.unwrap();
    let error = relabel.select(&plan.nodes[1]).await.unwrap_err();
    assert!(error.contains("no longer those that were planned for"), "{error}");
    assert_eq!(relabel.select(&plan.nodes[2]).await, Ok(()), "nothing was planned for it");
    assert_eq!(labels(&plane).await, labelled([OLD, ("all-balanced", "success"), OLD]));
    // Nobody makes the layout: that is said, and so is another one's label.
    let back = Patch::Merge(json!({ "metadata": { "labels": { CONFIG: OLD.0 } } }));
    nodes.patch("b", &PatchParams::default(), &back).await.unwrap();
    assert_eq!(relabel.select(&plan.nodes[1]).await, Ok(()));
    let mut heard = Vec::new();
    let limit = Duration::from_secs(2);
    let late =
        relabel.settled(&plan.nodes[1], limit, |state| heard.push(state.to_owned())).await.unwrap_err();
    assert!(late.contains("not within 2s; nvidia.com/mig.config.state: pending"), "{late}");
    assert_eq!(heard, ["pending"]);
    nodes.patch("b", &PatchParams::default(), &other).await.unwrap();
    let overtaken = relabel.settled(&plan.nodes[1], limit, |_| ()).await;
    assert_eq!(overtaken, Err(format!("somebody else set {CONFIG}: all-balanced")));
}
