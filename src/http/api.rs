//! The placement API, `/v1`.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::App;
use super::problem::Problem;
use super::scheduler::{json as body_of, read};
use crate::cache::{Event, Outcome};
use crate::layouts::{Asked, Options, survey, wanted};
use crate::model::PodKey;
use crate::owner::Stopped;
use crate::plan::plan;
use crate::wire::dryrun::{DryRun, dryrun_pods, parse_policy};
use crate::wire::fragmentation::FragmentationView;
use crate::wire::layouts::{LayoutsView, parse_demand};
use crate::wire::view::{ClusterView, NodeView, PodView};

/// Parameters of a dry run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DryRunParameters {
    policy: Option<String>,
}

pub(super) async fn dryrun(
    State(app): State<App>,
    parameters: Result<Query<DryRunParameters>, axum::extract::rejection::QueryRejection>,
    body: Body,
) -> Result<Response, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, &detail);
    let Query(parameters) = parameters.map_err(|error| bad(error.body_text()))?;
    let policy = parameters.policy.map_or(Ok(app.policy), |name| parse_policy(&name)).map_err(bad)?;
    let body = read(&app, body).await.map_err(bad)?;
    // Reading and planning thousands of pods takes a while: not on the threads that answer kube-scheduler.
    let answer = tokio::task::spawn_blocking(move || {
        let pods = dryrun_pods(&body, &app.dialect)?;
        let snapshot = app.model.snapshot();
        let (planned, _) = plan(snapshot.cluster.clone(), &snapshot.scores, policy, pods);
        Ok(serde_json::to_vec(&DryRun::new(&planned)).expect("texts and numbers only"))
    });
    let answer = answer.await.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, &error))?;
    answer.map(body_of).map_err(|errors: Vec<String>| {
        bad(format!("{} objects cannot be planned", errors.len())).with(errors)
    })
}

pub(super) async fn cluster(State(app): State<App>) -> Result<Response, Problem> {
    let pending = app.model.pending().await.map_err(stopped)?;
    let snapshot = app.model.snapshot();
    let view = tokio::task::spawn_blocking(move || {
        let nodes = snapshot.cluster.by_name();
        let view = ClusterView {
            generation: snapshot.generation,
            nodes: nodes.iter().map(|node| NodeView::new(node, &snapshot.scores)).collect(),
            pending: pending.iter().map(|pod| PodView::new(pod)).collect(),
        };
        serde_json::to_vec(&view).expect("texts and numbers only")
    });
    view.await.map(body_of).map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, &error))
}

pub(super) async fn fragmentation(State(app): State<App>) -> Response {
    let snapshot = app.model.snapshot();
    let view = FragmentationView::new(&snapshot.cluster, &snapshot.scores, snapshot.generation);
    body_of(serde_json::to_vec(&view).expect("texts and numbers only"))
}

/// Parameters of static layouts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LayoutsParameters {
    demand: Option<String>,
}

pub(super) async fn layouts(
    State(app): State<App>,
    parameters: Result<Query<LayoutsParameters>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, &detail);
    let Query(parameters) = parameters.map_err(|error| bad(error.body_text()))?;
    let asked = parameters.demand.as_deref().map_or(Ok(Asked::Learnt), parse_demand).map_err(bad)?;
    let pending = app.model.pending().await.map_err(stopped)?;
    let cluster = app.model.snapshot().cluster.clone();
    let view = tokio::task::spawn_blocking(move || {
        let nodes = survey(&cluster, false, false);
        let wanted = wanted(&asked, &nodes, &cluster, &pending);
        let plan = crate::layouts::layouts(nodes, &wanted, Options::default());
        serde_json::to_vec(&LayoutsView::new(&plan, &wanted)).expect("texts and numbers only")
    });
    view.await.map(body_of).map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, &error))
}

pub(super) async fn delete_pod(
    State(app): State<App>,
    path: Result<Path<(String, String)>, axum::extract::rejection::PathRejection>,
) -> Result<Response, Problem> {
    let path = path.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, &error.body_text()))?;
    let Path((namespace, name)) = path;
    if !app.world.is_embedded() {
        let detail = "the cluster is live: delete the pod through its API server, and the model follows";
        return Err(Problem::new(StatusCode::CONFLICT, &detail));
    }
    let key = PodKey { namespace: namespace.into(), name: name.into() };
    let outcome = app.model.apply(Event::PodDeleted(key)).await.map_err(stopped)?;
    // Gone twice is gone: the second answer only says that there was nothing left to do.
    let answer = json!({ "deleted": outcome == Outcome::Changed });
    Ok(body_of(answer.to_string().into_bytes()))
}

pub(super) async fn index() -> Response {
    const TEXT: &str = "Tangram places GPU pods.

extender protocol (kube-scheduler):
  POST   /scheduler/filter | prioritize | preempt | bind
placement API:
  POST   /v1/dryrun[?policy=pack|spread]     pods or workloads, JSON or YAML
  POST   /v1/repack?gpus=N|nodes=N|fragmentation=X|stranded=N
                                             which pods to move; without a goal, room for the pods of the body
  GET    /v1/cluster                         nodes, GPUs, who holds what
  GET    /v1/fragmentation                   free, usable and stranded memory slices
  GET    /v1/layouts[?demand=1g.10gb=30,...]   static layouts for the demand
  DELETE /v1/pods/{namespace}/{name}         a pod is gone (embedded model)
probes:
  GET    /livez | /readyz | /metrics
  GET    /debug/compare                      the model against the API server
";
    TEXT.into_response()
}

fn stopped(stopped: Stopped) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, &stopped)
}
