//! `POST /v1/repack`.

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::App;
use super::problem::Problem;
use super::scheduler::{json as body_of, read};
use crate::repack::{Ask, repack};
use crate::solver::exact::Effort;
use crate::wire::repack::{Question, RepackView, repack_objects};

pub(super) async fn plan(
    State(app): State<App>,
    question: Result<Query<Question>, axum::extract::rejection::QueryRejection>,
    body: Body,
) -> Result<Response, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, &detail);
    let defect = |what: &dyn ToString| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, &what.to_string());
    let Query(question) = question.map_err(|error| bad(error.body_text()))?;
    let limits = question.limits().map_err(bad)?;
    let effort = question.seconds().map_err(bad)?.map(Effort::seconds);
    let body = read(&app, body).await.map_err(bad)?;
    // Programs may take seconds: not on the threads that answer kube-scheduler.
    let answer = tokio::task::spawn_blocking(move || {
        let objects = repack_objects(&body, &app.dialect);
        let objects = objects
            .map_err(|errors| bad(format!("{} objects cannot be planned", errors.len())).with(errors))?;
        let goal = question.goal(objects.pods).map_err(bad)?;
        let snapshot = app.model.snapshot();
        let ask = Ask { goal: &goal, limits: &limits, budgets: &objects.budgets, effort };
        let plan = repack(&snapshot.cluster, &snapshot.scores, &ask).map_err(|fault| defect(&fault))?;
        Ok(serde_json::to_vec(&RepackView::new(&goal, &plan)).expect("texts and numbers only"))
    });
    answer.await.map_err(|error| defect(&error))?.map(body_of)
}
