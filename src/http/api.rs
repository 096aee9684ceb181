//! The placement API, `/v1`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::App;
use super::extract::{PathOf, QueryOf, aside};
use super::problem::Problem;
use crate::cache::{Event, Outcome};
use crate::layouts::{Asked, Options, survey, wanted};
use crate::model::PodKey;
use crate::owner::Stopped;
use crate::wire::deletion::DeletionView;
use crate::wire::layouts::{LayoutsView, parse_demand};

/// Objects that cannot be planned.
pub(super) fn unplanned(errors: Vec<String>) -> Problem {
    Problem::bad(&format!("{} objects cannot be planned", errors.len())).with(errors)
}

/// Parameters of static layouts.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LayoutsParameters {
    /// Devices that shall be startable (`1g.10gb=30,3g.40gb=4`) or a mix (`1g.10gb=70%,3g.40gb=30%`); what was
    /// learnt unless set.
    #[param(example = "1g.10gb=30,3g.40gb=4")]
    demand: Option<String>,
}

/// Layouts of static MIG nodes
///
/// How the nodes that NVIDIA's mig-manager partitions should be cut for a demand; nothing changes.
#[utoipa::path(
    get,
    path = "/v1/layouts",
    tag = "plan",
    params(LayoutsParameters),
    responses(
        (status = 200, description = "A plan.", body = LayoutsView),
        (status = 400, description = "A demand that cannot be read.",
            body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn layouts(
    State(app): State<App>,
    QueryOf(parameters): QueryOf<LayoutsParameters>,
) -> Result<Response, Problem> {
    let asked = parameters.demand.as_deref().map_or(Ok(Asked::Learnt), parse_demand);
    let asked = asked.map_err(|why| Problem::bad(&why))?;
    let pending = app.model.pending().await.map_err(stopped)?;
    let cluster = app.model.snapshot().cluster.clone();
    aside(move || {
        let nodes = survey(&cluster, false, false);
        let wanted = wanted(&asked, &nodes, &cluster, &pending);
        let plan = crate::layouts::layouts(nodes, &wanted, Options::default());
        Ok(LayoutsView::new(&plan, &wanted))
    })
    .await
}

/// A pod is gone
///
/// On an embedded model alone: that of a live cluster follows the API server.
#[utoipa::path(
    delete,
    path = "/v1/pods/{namespace}/{name}",
    tag = "change",
    params(
        ("namespace" = String, Path, description = "Namespace of the pod."),
        ("name" = String, Path, description = "Name of the pod.")
    ),
    responses(
        (status = 200, description = "It is not there, or no more.", body = DeletionView),
        (status = 400, description = "A path that cannot be read.",
            body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The cluster is live.",
            body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn delete_pod(
    State(app): State<App>,
    PathOf((namespace, name)): PathOf<(String, String)>,
) -> Result<Response, Problem> {
    if !app.world.is_embedded() {
        let detail = "the cluster is live: delete the pod through its API server, and the model follows";
        return Err(Problem::new(StatusCode::CONFLICT, &detail));
    }
    let key = PodKey { namespace: namespace.into(), name: name.into() };
    let outcome = app.model.apply(Event::PodDeleted(key)).await.map_err(stopped)?;
    aside(move || Ok(DeletionView { deleted: outcome == Outcome::Changed })).await
}

/// What there is, for people with curl.
pub(super) const INDEX: &str = "Tangram places GPU pods.

extender protocol (kube-scheduler):
  POST   /scheduler/filter | prioritize | preempt | bind
placement API:
  POST   /v1/dryrun[?policy=pack|spread]     pods or workloads, or a DryRun with changes, JSON or YAML
  GET    /v1/pods/{namespace}/{name}/explain why a pod is where it is, or waits, and what would let it run
  POST   /v1/filter                          the extender's filter without any effect, for autoscalers
  POST   /v1/repack?gpus=N|nodes=N|fragmentation=X|stranded=N
                                             which pods to move; without a goal, room for the pods of the body
  POST   /v1/plans[?stepTimeLimit=SECONDS]   carries out what /v1/repack answered (live cluster)
  GET    /v1/plans | /v1/plans/{id}          plans that are, or were, carried out, and their steps
  DELETE /v1/plans/{id}                      stops one
  GET    /v1/cluster                         nodes, GPUs, who holds what
  GET    /v1/fragmentation                   free, usable and stranded memory slices
  GET    /v1/events                          what changes, as server-sent events
  GET    /v1/history                         figures of the last hour
  GET    /v1/profiles                        GPU models, MIG profiles, where they may start
  GET    /v1/layouts[?demand=1g.10gb=30,...]   static layouts for the demand
  DELETE /v1/pods/{namespace}/{name}         a pod is gone (embedded model)
page:
  GET    /                                   in a browser
probes:
  GET    /livez | /readyz | /metrics
  GET    /debug/compare                      the model against the API server
this API:
  GET    /openapi.json | /docs
";

pub(super) fn stopped(stopped: Stopped) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, &stopped)
}
