//! The whole server without a socket: requests into the router, answers out.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::Value;
use tangram::config::Config;
use tangram::http::{App, Embedded, router};
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
        Self {
            router: router(App {
                model,
                policy: config.policy,
                dialect,
                world: Arc::new(Embedded),
                metrics: Arc::default(),
            }),
        }
    }

    /// One request; status and body.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        body: impl Into<Body>,
    ) -> (StatusCode, Vec<u8>) {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let response = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let status = response.status();
        (status, axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec())
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
