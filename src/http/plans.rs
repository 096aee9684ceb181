//! `/v1/plans`: repacks that are carried out.

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};

use super::App;
use super::extract::{PathOf, QueryOf, json as body_of, whole};
use super::problem::Problem;
use crate::carry::Objection;
use crate::wire::plans::{PlanView, Plans};
use crate::wire::repack::StepView;

/// Seconds that no step may take longer than: nobody waits for more than a day.
const LIMIT_MAX_S: u32 = 86_400;

/// Parameters of a plan.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PlanParameters {
    /// Seconds after which a step that has not ended stops the plan; the configuration's
    /// (repack.stepTimeLimitSeconds) unless set.
    #[param(minimum = 1, maximum = 86_400)]
    step_time_limit: Option<u32>,
}

/// A plan to carry out: what is read of the answer of `POST /v1/repack`, which may be sent as it is.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
pub(super) struct WantedPlan {
    /// Its moves, in order.
    steps: Vec<StepView>,
}

/// Plans that are, or were, carried out
#[utoipa::path(
    get,
    path = "/v1/plans",
    tag = "plan",
    responses((status = 200, description = "The plans, the oldest first.", body = Plans))
)]
pub(super) async fn list(State(app): State<App>) -> Result<Response, Problem> {
    is_ready(&app)?;
    Ok(json(&Plans { plans: app.world.plans().await.map_err(|objection| problem(&objection))? }))
}

/// One plan
#[utoipa::path(
    get,
    path = "/v1/plans/{id}",
    tag = "plan",
    params(("id" = String, Path, description = "Its name, as the list has it.")),
    responses(
        (status = 200, description = "The plan, with what became of each step.", body = PlanView),
        (status = 400, description = "A path that cannot be read.",
            body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such plan.",
            body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn one(State(app): State<App>, PathOf(id): PathOf<String>) -> Result<Response, Problem> {
    is_ready(&app)?;
    let plans = app.world.plans().await.map_err(|objection| problem(&objection))?;
    let plan = plans.iter().find(|plan| plan.id == id);
    plan.map(json).ok_or_else(|| problem(&Objection::Unknown(id)))
}

/// Carries a plan out
///
/// Pods are evicted one after another, within their budgets, each once its new place is held.
#[utoipa::path(
    post,
    path = "/v1/plans",
    tag = "plan",
    params(PlanParameters),
    request_body(content = WantedPlan, description = "The plan, as `POST /v1/repack` answered it."),
    responses(
        (status = 201, description = "It is recorded, and begins.", body = PlanView),
        (status = 400, description = "No plan, or parameters that cannot be read.",
            body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Plans are not carried out here (repack.apply.enabled), or not for the caller.",
            body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Another plan is under way, the cluster has changed, or is no live one.",
            body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large (limits.bodyBytes).",
            body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn start(
    State(app): State<App>,
    QueryOf(parameters): QueryOf<PlanParameters>,
    body: Body,
) -> Result<Response, Problem> {
    let bad = |detail: String| Problem::bad(&detail);
    let limit_s = parameters.step_time_limit;
    if limit_s.is_some_and(|limit_s| !(1..=LIMIT_MAX_S).contains(&limit_s)) {
        return Err(bad(format!("stepTimeLimit: not from 1 to {LIMIT_MAX_S} seconds")));
    }
    let body = whole(&app, body).await?;
    let wanted: WantedPlan = serde_json::from_slice(&body)
        .map_err(|error| bad(format!("the body is no plan as POST /v1/repack answers it: {error}")))?;
    is_ready(&app)?;
    let plan = app.world.start_plan(wanted.steps, limit_s).await.map_err(|objection| problem(&objection))?;
    Ok((StatusCode::CREATED, json(&plan)).into_response())
}

/// Stops a plan
///
/// After the effect that is under way; what was moved stays moved.
#[utoipa::path(
    delete,
    path = "/v1/plans/{id}",
    tag = "plan",
    params(("id" = String, Path, description = "Its name, as the list has it.")),
    responses(
        (status = 200, description = "The plan as it was stopped.", body = PlanView),
        (status = 400, description = "A path that cannot be read.",
            body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such plan.",
            body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn stop(State(app): State<App>, PathOf(id): PathOf<String>) -> Result<Response, Problem> {
    is_ready(&app)?;
    let plan: PlanView = app.world.stop_plan(id).await.map_err(|objection| problem(&objection))?;
    Ok(json(&plan))
}

fn is_ready(app: &App) -> Result<(), Problem> {
    match app.world.reasons_not_ready().into_iter().next() {
        None => Ok(()),
        Some(why) => Err(problem(&Objection::NotLeading(why))),
    }
}

fn json(view: &impl Serialize) -> Response {
    body_of(serde_json::to_vec(view).expect("texts and numbers only"))
}

fn problem(objection: &Objection) -> Problem {
    let status = match objection {
        Objection::Malformed(_) => StatusCode::BAD_REQUEST,
        Objection::Disabled => StatusCode::FORBIDDEN,
        Objection::Unknown(_) => StatusCode::NOT_FOUND,
        Objection::Embedded | Objection::Busy(_) | Objection::Changed(_) => StatusCode::CONFLICT,
        Objection::NotLeading(_) | Objection::Unrecorded(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    Problem::new(status, objection)
}
