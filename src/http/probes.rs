//! Probes, metrics, and what people look at when something is wrong.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;
use super::extract::aside;
use super::problem::Problem;
use crate::cache::Cache;
use crate::census::Census;
use crate::metrics::Form;
use crate::owner::Snapshot;
use crate::wire::compare::ComparisonView;

/// Header of every answer that depends on the model.
const AGE_HEADER: &str = "tangram-model-age-ms";

/// Whether the process lives
#[utoipa::path(
    get,
    path = "/livez",
    tag = "operate",
    security(()),
    responses((status = 200, description = "It does.", body = String))
)]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether this process answers kube-scheduler
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operate",
    security(()),
    responses(
        (status = 200, description = "It does.", body = String),
        (status = 503, description = "It does not: a reason per line.", body = String)
    )
)]
pub(super) async fn readyz(State(app): State<App>) -> Response {
    let reasons = app.world.reasons_not_ready();
    if reasons.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response()
}

/// Metrics for Prometheus
///
/// In the `OpenMetrics` form, or in Prometheus' own text form, as the request accepts.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operate",
    responses((status = 200, description = "Metrics.", content(
        (String = "application/openmetrics-text"),
        (String = "text/plain")
    )))
)]
pub(super) async fn metrics(State(app): State<App>, headers: HeaderMap) -> Response {
    let is_ready = app.world.reasons_not_ready().is_empty();
    if let Ok(agents) = app.model.inspect(Cache::agents).await {
        app.metrics.agents(agents);
    }
    let snapshot = app.model.snapshot();
    app.metrics.state(app.world.age_ms(), snapshot.generation, is_ready, snapshot.cluster.len());
    if is_ready {
        count(&app, snapshot).await;
    } else {
        // Figures of the cluster are the leader's to say: from two replicas they would be added up.
        app.metrics.counted.clear();
    }
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let form = Form::accepted(accept);
    ([(header::CONTENT_TYPE, form.media_type())], app.metrics.text(form)).into_response()
}

/// Counts the cluster, unless it is counted already. It takes milliseconds: not on the threads that answer
/// kube-scheduler.
async fn count(app: &App, snapshot: Arc<Snapshot>) {
    if app.metrics.counted.is_of(snapshot.generation) {
        return;
    }
    let Ok(pending) = app.model.pending().await else { return };
    let metrics = app.metrics.clone();
    let counted = tokio::task::spawn_blocking(move || {
        let census = Census::new(&snapshot.cluster, &snapshot.scores, &pending, metrics.counted.bounds());
        metrics.counted.set(snapshot.generation, census);
    });
    counted.await.ok(); // the process is going down: what was counted before is said again
}

/// The model against the API server
///
/// Lists the cluster anew and compares. An embedded model has nothing to be compared with.
#[utoipa::path(
    get,
    path = "/debug/compare",
    tag = "operate",
    responses(
        (status = 200, description = "Where they differ.", body = ComparisonView),
        (status = 409, description = "The model is embedded.",
            body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn compare(State(app): State<App>) -> Result<Response, Problem> {
    if app.world.is_embedded() {
        let detail = "the model is embedded: there is nothing to compare it with";
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    let compared = app.world.compare().await;
    let differences = compared.map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE, &error))?;
    let generation = app.model.snapshot().generation;
    let age_ms = app.world.age_ms();
    aside(move || Ok(ComparisonView::new(generation, age_ms, differences))).await
}

/// Says of every answer how old the model was.
pub(super) async fn with_age(State(app): State<App>, request: Request, next: Next) -> Response {
    let age_ms = app.world.age_ms();
    let mut response = next.run(request).await;
    if let Some(age_ms) = age_ms {
        response.headers_mut().insert(AGE_HEADER, HeaderValue::from(age_ms));
    }
    response
}
