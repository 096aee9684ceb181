//! `POST /v1/repack`.

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::App;
use super::api::unplanned;
use super::extract::{QueryOf, aside, whole};
use super::problem::Problem;
use crate::metrics::PlanOutcome;
use crate::repack::{Ask, repack};
use crate::solver::exact::Effort;
use crate::wire::repack::{Question, RepackView, repack_objects};

/// Which pods to move
///
/// The fewest moves that reach a goal, in an order in which each is possible when its turn comes; nothing changes.
#[utoipa::path(
    post,
    path = "/v1/repack",
    tag = "plan",
    params(Question),
    request_body(
        description = "Pods that room is to be made for (a goal of its own), and PodDisruptionBudgets to keep; may \
            be empty.",
        content(
            (serde_json::Value = "application/json"),
            (serde_json::Value = "application/yaml")
        )
    ),
    responses(
        (status = 200, description = "A plan, or what keeps from the goal.", body = RepackView),
        (status = 400, description = "Objects or parameters that cannot be read, no goal, or several.",
            body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large (limits.bodyBytes).",
            body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn plan(
    State(app): State<App>,
    QueryOf(question): QueryOf<Question>,
    body: Body,
) -> Result<Response, Problem> {
    let bad = |why: String| Problem::bad(&why);
    let limits = question.limits().map_err(bad)?;
    let effort = question.seconds().map_err(bad)?.map(Effort::seconds);
    let body = whole(&app, body).await?;
    let unknown = |why: String| Problem::new(StatusCode::SERVICE_UNAVAILABLE, &why);
    let mut budgets = app.world.budgets().await.map_err(unknown)?;
    aside(move || {
        let objects = repack_objects(&body, &app.dialect).map_err(unplanned)?;
        let goal = question.goal(objects.pods).map_err(bad)?;
        let snapshot = app.model.snapshot();
        budgets.extend(objects.budgets);
        let ask = Ask { goal: &goal, limits: &limits, budgets: &budgets, effort };
        let plan = repack(&snapshot.cluster, &snapshot.scores, &ask)
            .map_err(|fault| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, &fault))?;
        let outcome = match (plan.is_reached, plan.is_impossible) {
            (true, _) => PlanOutcome::Reached,
            (false, true) => PlanOutcome::Impossible,
            (false, false) => PlanOutcome::Short,
        };
        app.metrics.plan(outcome, plan.steps.len());
        Ok(RepackView::new(&goal, &plan))
    })
    .await
}
