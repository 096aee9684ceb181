//! The whole server without a socket: requests into the router, answers out.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::response::Parts;
use axum::http::{Request, StatusCode};
use serde_json::Value;
use tangram::config::Config;
use tangram::http::{App, Door, Embedded, Feed, Open, Traffic, router};
use tangram::metrics::Metrics;
use tangram::owner::Model;
use tangram::serve::load;
use tower::ServiceExt as _;

/// A server on an embedded cluster.
#[derive(Clone)]
pub(crate) struct Server {
    router: Router,
}

impl Server {
    /// On a cluster file's text.
    pub(crate) fn new(cluster: &str) -> Self {
        Self::with(cluster, &Config::default())
    }

    /// On a cluster file's text, configured.
    pub(crate) fn with(cluster: &str, config: &Config) -> Self {
        let (cache, contents) = load(config, cluster.as_bytes()).unwrap();
        assert_eq!(contents.errors, []);
        let (model, _, _) = Model::start(cache);
        let dialect = Arc::new(config.dialect());
        let api = &config.api;
        let traffic = Traffic::new(api.requests_per_second.get(), api.concurrent_requests.get());
        Self::of(App {
            model,
            policy: config.policy,
            dialect,
            world: Arc::new(Embedded),
            metrics: Arc::new(Metrics::new(config.metrics.clone())),
            door: Door { gate: Arc::new(Open), traffic: Arc::new(traffic) },
            feed: Feed::default(),
        })
    }

    /// On a model and a world of the test's own.
    pub(crate) fn of(app: App) -> Self {
        Self { router: router(app) }
    }

    /// One request; status and body.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        body: impl Into<Body>,
    ) -> (StatusCode, Vec<u8>) {
        let (parts, body) = self.answer(method, path, body).await;
        (parts.status, body)
    }

    /// One request; the head of the answer and the body.
    pub(crate) async fn answer(&self, method: &str, path: &str, body: impl Into<Body>) -> (Parts, Vec<u8>) {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        self.exchange(request.body(body.into()).unwrap()).await
    }

    /// One request as it is; the head of the answer and the body.
    pub(crate) async fn exchange(&self, request: Request<Body>) -> (Parts, Vec<u8>) {
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        (parts, axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec())
    }

    /// A POST that must be answered with 200 and JSON.
    pub(crate) async fn post(&self, path: &str, body: impl Into<Body>) -> Value {
        let (status, body) = self.send("POST", path, body).await;
        assert_eq!(status, StatusCode::OK, "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    /// A GET that must be answered with 200 and JSON.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.send("GET", path, Body::empty()).await;
        assert_eq!(status, StatusCode::OK, "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }
}
