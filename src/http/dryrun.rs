//! `POST /v1/dryrun`.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::App;
use super::api::unplanned;
use super::extract::{QueryOf, json, whole};
use super::problem::Problem;
use super::solving::{Work, solve};
use crate::whatif::{Scenario, answer};
use crate::wire::dryrun::{DryRun, parse_policy};
use crate::wire::scenario::{DryRunQuestion, dryrun_scenario};

/// Parameters of a dry run.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Parameters {
    /// How to choose among the places that fit: `pack` or `spread`, or a policy for comparison (`best-fit`,
    /// `first-fit`, `mfi`, `fgd`, `random(SEED)`). The configuration's unless set.
    #[param(example = "spread")]
    policy: Option<String>,
}

/// Where pods would go
///
/// Places pods one after another on a copy of the cluster, also after hypothetical changes; nothing changes.
#[utoipa::path(
    post,
    path = "/v1/dryrun",
    tag = "plan",
    params(Parameters),
    request_body(
        description = "Pods, or workloads whose pods are planned with all replicas, as Kubernetes objects: one, a \
            List, or several documents. Or a question of kind DryRun, with changes to the cluster.",
        content(
            (DryRunQuestion = "application/json", example = json!({
                "kind": "Pod", "metadata": {"name": "notebook"}, "spec": {"containers": [{
                    "name": "main", "resources": {"limits": {"tangram.gpu/mig-1g.10gb": "1"}}
                }]}
            })),
            (DryRunQuestion = "application/yaml", example = json!({
                "kind": "Pod", "metadata": {"name": "train"}, "spec": {"containers": [{
                    "name": "main", "resources": {"limits": {"nvidia.com/gpu": 1}}
                }]}
            }))
        )
    ),
    responses(
        (status = 200, description = "A place or the reasons why there is none, for each pod.", body = DryRun,
            example = json!({"allFit": true, "fit": 1, "pods": [{
                "namespace": "default", "name": "notebook", "request": "1g.10gb", "node": "dyn-h100-05",
                "devices": [{"container": "main", "gpu": 2, "profile": "1g.10gb", "start": 6}]
            }]})),
        (status = 400, description = "Objects or parameters that cannot be read; all of them are named.",
            body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large (limits.bodyBytes).",
            body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn dryrun(
    State(app): State<App>,
    QueryOf(parameters): QueryOf<Parameters>,
    body: Body,
) -> Result<Response, Problem> {
    let in_query = parameters.policy.as_deref().map(parse_policy).transpose();
    let in_query = in_query.map_err(|why| Problem::bad(&why))?;
    let body = whole(&app, body).await?;
    let dialect = app.dialect.clone();
    let (scenario, in_body) =
        solve(Work::Light, move || dryrun_scenario(&body, &dialect).map_err(unplanned)).await?;
    if in_query.is_some() && in_body.is_some() && in_query != in_body {
        return Err(Problem::bad("policy: the query and the body say different ones"));
    }
    let policy = in_body.or(in_query).unwrap_or(app.policy);
    solve(work(&scenario), move || {
        let snapshot = app.model.snapshot();
        let answer = answer(&snapshot.cluster, &snapshot.scores, policy, &scenario)
            .map_err(|error| Problem::bad("a change cannot be made").with(vec![error.to_string()]))?;
        let view = DryRun::answer(&answer, Some(snapshot.generation), app.world.age_ms());
        Ok(json(serde_json::to_vec(&view).expect("texts and numbers only")))
    })
    .await
}

fn work(scenario: &Scenario) -> Work {
    let is_light = scenario.batch.is_none() && !scenario.wants_room && scenario.changes.is_empty();
    if is_light { Work::Light } else { Work::Heavy }
}
