//! The page in a real Chromium, driven by Playwright: what people do with it, what it must never do, and whether
//! everybody can use it.
//!
//! Needs `chromium`, `node` and `npm` (on Debian `apt-get install chromium nodejs npm`); the driver and the
//! checker come from npm. `CHROMIUM` names another browser.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use tangram::config::Config;
use tangram::http::{App, Door, Embedded, Feed, router};
use tangram::owner::Model;
use tangram::serve::{EXAMPLE, load};
use tangram::sim::{Shape, cluster_json};
use tokio::net::TcpListener;
use tokio::sync::watch;

const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// Serves a cluster on a free port while the runtime lives.
async fn server(cluster: &str) -> SocketAddr {
    let config = Config::default();
    let (cache, contents) = load(&config, cluster.as_bytes()).unwrap();
    assert_eq!(contents.errors, []);
    let (model, _, _) = Model::start(cache);
    let (feed, dialect) = (Feed::default(), Arc::new(config.dialect()));
    let (stop, told) = watch::channel(false);
    tokio::spawn(feed.clone().follow(model.clone(), told));
    let (policy, world, metrics) = (config.policy, Arc::new(Embedded), Arc::default());
    let app = App { model, policy, dialect, world, metrics, door: Door::default(), feed };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        axum::serve(listener, router(app)).await.unwrap();
        drop(stop);
    });
    address
}

/// A browser, or the reason why there is none.
fn browser() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "which browser is the machine's business")]
    let chosen = std::env::var("CHROMIUM").ok();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let names = chosen.iter().map(String::as_str).chain(BROWSERS);
    let mut candidates = names.flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    candidates.find(|candidate| candidate.exists()).expect(
        "no Chromium: install one (on Debian apt-get install chromium), or name it in the variable CHROMIUM",
    )
}

/// The folder with the driver and the checker, filled from npm once.
fn modules() -> &'static Path {
    static MODULES: OnceLock<PathBuf> = OnceLock::new();
    MODULES.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
        fs::create_dir_all(&folder).unwrap();
        for name in ["package.json", "package-lock.json"] {
            fs::copy(scripts().join(name), folder.join(name)).unwrap();
        }
        let npm = Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&folder).output();
        let npm = npm.expect("npm is missing: on Debian apt-get install nodejs npm");
        assert!(npm.status.success(), "npm ci: {}", String::from_utf8_lossy(&npm.stderr));
        folder
    })
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page")
}

/// One flow of `tests/page/flows.mjs` on a cluster; gives what it says, such as how long something took.
fn flow(name: &str, cluster: &str) -> String {
    let (browser, modules) = (browser(), modules());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let address = runtime.block_on(server(cluster));
    let node = Command::new("node")
        .arg(scripts().join("flows.mjs"))
        .args([format!("http://{address}"), name.to_owned()])
        .env("CHROMIUM", browser)
        .current_dir(modules)
        .output()
        .expect("node is missing: on Debian apt-get install nodejs");
    assert!(node.status.success(), "{name}: {}", String::from_utf8_lossy(&node.stderr));
    String::from_utf8(node.stdout).unwrap()
}

#[test]
fn it_opens_and_asks_nobody_else() {
    println!("{}", flow("it_opens", EXAMPLE));
}

#[test]
fn a_stranded_gpu_is_found() {
    println!("{}", flow("a_stranded_gpu_is_found", EXAMPLE));
}

#[test]
fn a_pending_pod_says_why_and_what_would_help() {
    println!("{}", flow("a_pending_pod_says_why_and_what_would_help", EXAMPLE));
}

#[test]
fn a_what_if_is_drawn_onto_the_map() {
    println!("{}", flow("a_what_if_is_drawn_onto_the_map", EXAMPLE));
}

#[test]
fn a_plan_is_played_before_it_runs() {
    println!("{}", flow("a_plan_is_played_before_it_runs", EXAMPLE));
}

#[test]
fn a_change_is_seen_as_it_happens() {
    println!("{}", flow("a_change_is_seen_as_it_happens", EXAMPLE));
}

#[test]
fn the_keyboard_reaches_everything() {
    println!("{}", flow("the_keyboard_reaches_everything", EXAMPLE));
}

#[test]
fn nobody_is_kept_out_in_light() {
    println!("{}", flow("nobody_is_kept_out_in_light", EXAMPLE));
}

#[test]
fn nobody_is_kept_out_in_dark() {
    println!("{}", flow("nobody_is_kept_out_in_dark", EXAMPLE));
}

#[test]
fn five_thousand_nodes_are_drawn_as_far_as_they_are_in_sight() {
    let shape = Shape { nodes: 5_000, pods: 40_000, padding: 0, seed: 1 };
    println!("{}", flow("five_thousand_nodes_are_shown", &cluster_json(shape)));
}
