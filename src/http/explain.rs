//! `GET /v1/pods/{namespace}/{name}/explain`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::App;
use super::api::stopped;
use super::extract::{PathOf, json};
use super::problem::Problem;
use super::solving::{Work, solve};
use crate::explain;
use crate::model::PodKey;
use crate::wire::explain::ExplainView;

/// Why a pod is where it is, or waits
///
/// Of one that waits: the reasons, and the smallest changes that would let it run, each tried before it is told.
#[utoipa::path(
    get,
    path = "/v1/pods/{namespace}/{name}/explain",
    tag = "plan",
    params(
        ("namespace" = String, Path, description = "Namespace of the pod."),
        ("name" = String, Path, description = "Name of the pod.")
    ),
    responses(
        (status = 200, description = "The explanation.", body = ExplainView),
        (status = 400, description = "A path that cannot be read.",
            body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such pod is known.",
            body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn explain(
    State(app): State<App>,
    PathOf((namespace, name)): PathOf<(String, String)>,
) -> Result<Response, Problem> {
    let key = PodKey { namespace: namespace.into(), name: name.into() };
    let asked = key.clone();
    let found = app.model.inspect(move |cache| cache.pod(&asked).cloned()).await.map_err(stopped)?;
    let Some(pod) = found else {
        let detail = format!("pod {key:.510} is not known; one that asks for no GPU may wait unseen");
        return Err(Problem::new(StatusCode::NOT_FOUND, &detail));
    };
    solve(Work::Heavy, move || {
        let snapshot = app.model.snapshot();
        let explanation = explain::explain(&snapshot.cluster, &snapshot.scores, app.policy, &pod);
        let view = ExplainView::new(&pod, &explanation, snapshot.generation, app.world.age_ms());
        Ok(json(serde_json::to_vec(&view).expect("texts and numbers only")))
    })
    .await
}
