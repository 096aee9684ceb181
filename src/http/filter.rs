//! `POST /v1/filter`: the extender's filter for simulations, such as a cluster autoscaler's.

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::App;
use super::extract::{json, whole};
use super::problem::Problem;
use super::scheduler::answers;
use super::solving::{Work, solve};
use crate::extender::simulate;
use crate::wire::extender::ExtenderArgs;

/// The extender's filter, for simulations
///
/// Answers as the extender's filter does, in its own form, and remembers nothing: also of nodes that the cluster does
/// not have, where they are given as objects.
#[utoipa::path(
    post,
    path = "/v1/filter",
    tag = "plan",
    request_body(content = serde_json::Value, content_type = "application/json",
        description = "ExtenderArgs of the scheduler extender protocol, v1."),
    responses(
        (status = 200, description = "ExtenderFilterResult of the same.", body = serde_json::Value),
        (status = 400, description = "Arguments that cannot be read.",
            body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large (limits.bodyBytes).",
            body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn filter(State(app): State<App>, body: Body) -> Result<Response, Problem> {
    answers(&app).map_err(|why| Problem::new(StatusCode::SERVICE_UNAVAILABLE, &why))?;
    let body = whole(&app, body).await?;
    solve(Work::Light, move || {
        let limits = &app.dialect.limits;
        let args = ExtenderArgs::parse(&body, limits.node_names, limits.name_bytes)
            .map_err(|why| Problem::bad(&why))?;
        Ok(json(simulate(app.context(&app.model.snapshot(), &app.world.claims()), &args)))
    })
    .await
}
