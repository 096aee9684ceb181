//! Probes, metrics, and what people look at when something is wrong.

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::App;
use super::problem::Problem;
use super::scheduler::json as body_of;
use crate::cache::Cache;

/// Header of every answer that depends on the model.
const AGE_HEADER: &str = "tangram-model-age-ms";

pub(super) async fn livez() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(app): State<App>) -> Response {
    let reasons = app.world.reasons_not_ready();
    if reasons.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response()
}

pub(super) async fn metrics(State(app): State<App>) -> Response {
    let is_ready = app.world.reasons_not_ready().is_empty();
    if let Ok(agents) = app.model.inspect(Cache::agents).await {
        app.metrics.agents(agents);
    }
    app.metrics.state(app.world.age_ms(), is_ready, app.model.snapshot().cluster.len());
    let media = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, media)], app.metrics.text()).into_response()
}

pub(super) async fn compare(State(app): State<App>) -> Result<Response, Problem> {
    let compared = app.world.compare().await;
    let differences = compared.map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE, &error))?;
    let differences: Vec<_> = differences
        .into_iter()
        .map(|difference| {
            json!({
                "object": difference.object,
                "field": difference.field,
                "model": difference.here,
                "api": difference.there,
            })
        })
        .collect();
    let answer = json!({
        "generation": app.model.snapshot().generation,
        "modelAgeMs": app.world.age_ms(),
        "differences": differences,
    });
    Ok(body_of(answer.to_string().into_bytes()))
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
