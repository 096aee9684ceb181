//! `GET /v1/events`, `/v1/history`, `/v1/profiles`, and the page's files without a browser.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt as _;
use serde_json::Value;
use tangram::config::Config;
use tangram::http::{App, Door, Embedded, Feed, router};
use tangram::owner::Model;
use tangram::serve::{EXAMPLE, load};
use tokio::sync::watch;
use tower::ServiceExt as _;

/// Longer than anything takes that a test waits for.
const LIMIT: Duration = Duration::from_mins(1);

struct Server {
    router: Router,
    stop: watch::Sender<bool>,
}

impl Server {
    /// A server whose events have begun.
    async fn new() -> Self {
        let config = Config::default();
        let (cache, _) = load(&config, EXAMPLE.as_bytes()).unwrap();
        let (model, _, _) = Model::start(cache);
        let (feed, dialect) = (Feed::default(), Arc::new(config.dialect()));
        let (stop, told) = watch::channel(false);
        tokio::spawn(feed.clone().follow(model.clone(), told));
        let (policy, world, metrics) = (config.policy, Arc::new(Embedded), Arc::default());
        let server = Self {
            router: router(App { model, policy, dialect, world, metrics, door: Door::default(), feed }),
            stop,
        };
        while server.json("/v1/history").await["samples"] == serde_json::json!([]) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let request =
            headers.iter().fold(Request::builder().method(method).uri(path), |request, (name, value)| {
                request.header(*name, *value)
            });
        self.router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        let body = self.ask("GET", path, &[], "").await.into_body();
        serde_json::from_slice(&axum::body::to_bytes(body, usize::MAX).await.unwrap()).unwrap()
    }

    async fn stream(&self, last: Option<&str>) -> Stream {
        let headers: Vec<(&str, &str)> = last.map(|last| ("last-event-id", last)).into_iter().collect();
        let response = self.ask("GET", "/v1/events", &headers, "").await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        Stream(response.into_body().into_data_stream())
    }

    async fn delete(&self, pod: &str) {
        let response = self.ask("DELETE", &format!("/v1/pods/{pod}"), &[], "").await;
        assert_eq!(response.status(), StatusCode::OK);
    }
}

struct Stream(BodyDataStream);

impl Stream {
    /// The next event of a name: its id and data. `None` where the stream ends first.
    async fn next(&mut self, name: &str) -> Option<(String, Value)> {
        tokio::time::timeout(LIMIT, self.named(name)).await.expect("an event in time")
    }

    async fn named(&mut self, name: &str) -> Option<(String, Value)> {
        loop {
            let frame = self.0.next().await?;
            let text = String::from_utf8(frame.unwrap().to_vec()).unwrap();
            let field = |key: &str| {
                text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": ")).unwrap_or_default()
            };
            if field("event") == name {
                return Some((field("id").to_owned(), serde_json::from_str(field("data")).unwrap()));
            }
        }
    }
}

const ONE: &str = "research/eval-harness-9r8w2";
const OTHER: &str = "research/eval-harness-xg4v5";

#[tokio::test]
async fn a_change_names_the_node_as_it_is_now() {
    let server = Server::new().await;
    let mut stream = server.stream(None).await;
    let (_, hello) = stream.next("hello").await.unwrap();
    server.delete(ONE).await;
    let (_, change) = stream.next("change").await.unwrap();
    assert!(change["generation"].as_u64() > hello["generation"].as_u64(), "{hello} {change}");
    let cluster = server.json("/v1/cluster").await;
    let nodes = change["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 1, "only one node has changed");
    let now = cluster["nodes"].as_array().unwrap().iter().find(|node| node["name"] == "dyn-h100-01");
    assert_eq!(Some(&nodes[0]), now);
    assert_eq!(nodes[0]["gpus"][0]["slices"], "....22..");
    assert_eq!(change["removedNodes"], serde_json::json!([]));
}

#[tokio::test]
async fn a_pod_that_waits_is_told_and_when_it_is_gone() {
    let server = Server::new().await;
    let mut stream = server.stream(None).await;
    stream.next("hello").await.unwrap();
    server.delete("research/longseq-ft-xl-ks47r").await;
    let (_, change) = stream.next("change").await.unwrap();
    assert_eq!(change["noLongerPending"], serde_json::json!(["research/longseq-ft-xl-ks47r"]));
    assert_eq!(change["nodes"], serde_json::json!([]));
}

#[tokio::test]
async fn a_stream_that_broke_off_misses_nothing() {
    let server = Server::new().await;
    let mut first = server.stream(None).await;
    let (id, _) = first.next("hello").await.unwrap();
    server.delete(ONE).await;
    let (seen, _) = first.next("change").await.unwrap();
    drop(first);
    server.delete(OTHER).await;
    let mut again = server.stream(Some(&seen)).await;
    let (_, change) = again.next("change").await.unwrap();
    assert_eq!(change["nodes"][0]["gpus"][0]["slices"], "........");
    let mut both = server.stream(Some(&id)).await;
    for slices in ["....22..", "........"] {
        assert_eq!(both.next("change").await.unwrap().1["nodes"][0]["gpus"][0]["slices"], slices);
    }
    let (_, reset) = server.stream(Some("0-17")).await.next("reset").await.unwrap();
    assert_eq!(reset["reason"], "the last event is too old");
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let server = Server::new().await;
    let mut stream = server.stream(None).await;
    stream.next("hello").await.unwrap();
    server.stop.send_replace(true);
    assert_eq!(stream.next("change").await, None);
    let response = server.ask("GET", "/v1/events", &[], "").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn figures_agree_with_the_other_answers() {
    let server = Server::new().await;
    let mut stream = server.stream(None).await;
    stream.next("hello").await.unwrap();
    server.delete(ONE).await;
    let (id, sample) = stream.next("sample").await.unwrap();
    assert_eq!(id, "", "a sample is no change: nobody goes on from it");
    let fragmentation = server.json("/v1/fragmentation").await;
    let expected = &fragmentation["all"]["dynamic"];
    let part = |key: &str| expected[key].as_f64().unwrap();
    let lost = part("fragmentationCost") / part("freeMemorySlices");
    assert!((sample["fragmentation"].as_f64().unwrap() - lost).abs() < 0.05, "{sample} {lost}");
    assert_eq!(sample["startable"]["amd.com/gpu"], 3);
    assert_eq!(
        sample["startable"]["tangram.gpu/mig-7g.141gb"], 0,
        "one GPU is closed, the others are in use"
    );
    assert_eq!(sample["pending"], 7);
    let history = server.json("/v1/history").await;
    assert_eq!(history["intervalSeconds"], 10);
    assert!(history["samples"][0].get("startable").is_none());
}

#[tokio::test]
async fn browsers_get_the_page_and_others_a_text() {
    let server = Server::new().await;
    let page = server.ask("GET", "/", &[("accept", "text/html,*/*;q=0.8")], "").await;
    assert_eq!(page.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
    let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    let html = axum::body::to_bytes(page.into_body(), usize::MAX).await.unwrap();
    let html = String::from_utf8(html.to_vec()).unwrap();
    let named = html.split('"').filter_map(|text| text.strip_prefix("ui/"));
    for file in named.clone() {
        let response = server.ask("GET", &format!("/ui/{file}"), &[], "").await;
        assert_eq!(response.status(), StatusCode::OK, "{file}");
    }
    assert_eq!(named.count(), 6);
    let text = server.ask("GET", "/", &[("accept", "*/*")], "").await;
    assert_eq!(text.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    let strange = server.ask("GET", "/ui/..%2fCargo.toml", &[], "").await;
    assert_eq!(strange.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_table_of_profiles_is_shown() {
    let models = Server::new().await.json("/v1/profiles").await;
    let h100 = models.as_array().unwrap().iter().find(|row| row["model"] == "h100-80gb-sxm").unwrap();
    assert_eq!(h100["memorySlices"], 8);
    let profile =
        h100["profiles"].as_array().unwrap().iter().find(|row| row["profile"] == "3g.40gb").unwrap();
    assert_eq!((&profile["memorySlices"], &profile["starts"]), (&4.into(), &serde_json::json!([0, 4])));
}
