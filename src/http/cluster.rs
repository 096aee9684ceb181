//! What is where, who waits, and what the cluster is asked for.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;

use super::App;
use super::api::stopped;
use super::etag::tagged;
use super::extract::{PathOf, QueryOf};
use super::problem::Problem;
use crate::census::{Bounds, Census};
use crate::model::{Pod, Policy};
use crate::owner::Snapshot;
use crate::plan::plan;
use crate::wire::census::{TotalsView, free, groups};
use crate::wire::fragmentation::FragmentationView;
use crate::wire::mix::DemandView;
use crate::wire::page::PageQuery;
use crate::wire::pods::{PodEntry, PodState, PodsView};
use crate::wire::view::{ClusterView, NodeView, NodesView, PodView};

/// Parameters of the cluster.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ClusterParameters {
    /// Figures alone, without nodes and pods: some kilobytes however large the cluster is.
    #[serde(default)]
    summary: bool,
}

/// The whole cluster
///
/// Figures, nodes with their GPUs and who holds what, and the pods that wait. 5,000 nodes are tens of megabytes: take
/// the summary, and the nodes page by page.
#[utoipa::path(
    get,
    path = "/v1/cluster",
    tag = "cluster",
    params(ClusterParameters, ("If-None-Match" = Option<String>, Header, description = "ETag of the last answer.")),
    responses(
        (status = 200, description = "The model.", body = ClusterView,
            headers(("ETag" = String, description = "Of this generation."))),
        (status = 304, description = "Nothing has changed since."),
        (status = 400, description = "A parameter that is not known.",
            body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn cluster(
    State(app): State<App>,
    QueryOf(parameters): QueryOf<ClusterParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Seen { snapshot, pending, bounds } = Seen::now(&app).await?;
    tagged(&headers, snapshot.generation, move || {
        let census = Census::new(&snapshot.cluster, &snapshot.scores, &pending, &bounds);
        let nodes =
            || snapshot.cluster.by_name().into_iter().map(|node| NodeView::new(node, &snapshot.scores));
        Ok(ClusterView {
            generation: snapshot.generation,
            totals: TotalsView::new(&census),
            free: free(&census),
            groups: groups(&census),
            nodes: (!parameters.summary).then(|| nodes().collect()),
            pending: (!parameters.summary).then(|| pending.iter().map(|pod| PodView::new(pod)).collect()),
        })
    })
    .await
}

/// The nodes, page by page
#[utoipa::path(
    get,
    path = "/v1/nodes",
    tag = "cluster",
    params(PageQuery, ("If-None-Match" = Option<String>, Header, description = "ETag of the last answer.")),
    responses(
        (status = 200, description = "A page.", body = NodesView,
            headers(("ETag" = String, description = "Of this generation."))),
        (status = 304, description = "Nothing has changed since."),
        (status = 400, description = "A parameter that cannot be read.",
            body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn nodes(
    State(app): State<App>,
    QueryOf(query): QueryOf<PageQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = query.limit().map_err(|why| Problem::bad(&why))?;
    let snapshot = app.model.snapshot();
    tagged(&headers, snapshot.generation, move || {
        let all = snapshot.cluster.by_name();
        let (nodes, page) = query.cut(all, limit, |node| node.facts.name.to_string());
        let nodes = nodes.into_iter().map(|node| NodeView::new(node, &snapshot.scores)).collect();
        Ok(NodesView { generation: snapshot.generation, nodes, page })
    })
    .await
}

/// One node
#[utoipa::path(
    get,
    path = "/v1/nodes/{name}",
    tag = "cluster",
    params(
        ("name" = String, Path, description = "Name of the node."),
        ("If-None-Match" = Option<String>, Header, description = "ETag of the last answer.")
    ),
    responses(
        (status = 200, description = "The node.", body = NodeView,
            headers(("ETag" = String, description = "Of this generation."))),
        (status = 304, description = "Nothing has changed since."),
        (status = 400, description = "A path that cannot be read.",
            body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such node.",
            body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn node(
    State(app): State<App>,
    PathOf(name): PathOf<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let snapshot = app.model.snapshot();
    let Some(node) = snapshot.cluster.get(&name).cloned() else {
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            &format!("node {name:.253}: there is none of this name"),
        ));
    };
    tagged(&headers, snapshot.generation, move || Ok(NodeView::new(&node, &snapshot.scores))).await
}

/// Parameters of the pods.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PodsParameters {
    /// Those that wait, or those that have a node; all unless set.
    state: Option<PodState>,
    /// Those of one namespace.
    namespace: Option<String>,
    /// Entries at most.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
    /// `continue` of the page before.
    #[serde(rename = "continue")]
    after: Option<String>,
}

/// The pods that ask for devices, page by page
///
/// With places, or with the reasons why each waits: what would become of it alone, now.
#[utoipa::path(
    get,
    path = "/v1/pods",
    tag = "cluster",
    params(PodsParameters, ("If-None-Match" = Option<String>, Header, description = "ETag of the last answer.")),
    responses(
        (status = 200, description = "A page.", body = PodsView,
            headers(("ETag" = String, description = "Of this generation."))),
        (status = 304, description = "Nothing has changed since."),
        (status = 400, description = "A parameter that cannot be read.",
            body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn pods(
    State(app): State<App>,
    QueryOf(parameters): QueryOf<PodsParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let PodsParameters { state, namespace, limit, after } = parameters;
    let query = PageQuery { limit, after };
    let limit = query.limit().map_err(|why| Problem::bad(&why))?;
    let policy = app.policy;
    let Seen { snapshot, pending, .. } = Seen::now(&app).await?;
    tagged(&headers, snapshot.generation, move || {
        let is_meant = |pod: &&Arc<Pod>| {
            let is_of = namespace.as_deref().is_none_or(|namespace| *pod.key.namespace == *namespace);
            is_of && !pod.request.is_empty()
        };
        let is_wanted = |of: PodState| state.is_none_or(|state| state == of);
        let mut all: Vec<(&Arc<Pod>, Option<&str>)> = Vec::new();
        let by_name = snapshot.cluster.by_name();
        if is_wanted(PodState::Placed) {
            for node in &by_name {
                all.extend(node.pods.iter().filter(is_meant).map(|pod| (pod, Some(&*node.facts.name))));
            }
        }
        if is_wanted(PodState::Pending) {
            all.extend(pending.iter().filter(is_meant).map(|pod| (pod, None)));
        }
        all.sort_by_key(|(pod, _)| pod.key.to_string());
        let (page, view) = query.cut(all, limit, |(pod, _)| pod.key.to_string());
        let entry =
            |(pod, node): (&Arc<Pod>, Option<&str>)| match node.and_then(|name| snapshot.cluster.get(name)) {
                Some(node) => PodEntry::placed(node, pod),
                None => waits(&snapshot, policy, pod),
            };
        let pods = page.into_iter().map(entry).collect();
        Ok(PodsView { generation: snapshot.generation, pods, page: view })
    })
    .await
}

/// What would become of a pod now.
fn waits(snapshot: &Snapshot, policy: Policy, pod: &Arc<Pod>) -> PodEntry {
    let (planned, _) = plan(snapshot.cluster.clone(), &snapshot.scores, policy, [pod.clone()]);
    let [planned] = &planned[..] else { unreachable!("one pod has one outcome") };
    PodEntry::pending(pod, planned.outcome.as_ref())
}

/// Where capacity is, and where it is lost
#[utoipa::path(
    get,
    path = "/v1/fragmentation",
    tag = "cluster",
    params(("If-None-Match" = Option<String>, Header, description = "ETag of the last answer.")),
    responses(
        (status = 200, description = "Free, usable and stranded memory slices, and counted devices.",
            body = FragmentationView, headers(("ETag" = String, description = "Of this generation."))),
        (status = 304, description = "Nothing has changed since.")
    )
)]
pub(super) async fn fragmentation(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    let snapshot = app.model.snapshot();
    let generation = snapshot.generation;
    tagged(&headers, generation, move || {
        Ok(FragmentationView::new(&snapshot.cluster, &snapshot.scores, generation))
    })
    .await
}

/// What the cluster is asked for, and the prices made of it
///
/// The mix is learnt from the requests that come; prices say what an instance of each profile is worth on each model.
#[utoipa::path(
    get,
    path = "/v1/demand",
    tag = "cluster",
    params(("If-None-Match" = Option<String>, Header, description = "ETag of the last answer.")),
    responses(
        (status = 200, description = "Mix and prices.", body = DemandView,
            headers(("ETag" = String, description = "Of this generation."))),
        (status = 304, description = "Nothing has changed since.")
    )
)]
pub(super) async fn demand(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    let Seen { snapshot, pending, bounds } = Seen::now(&app).await?;
    tagged(&headers, snapshot.generation, move || {
        let census = Census::new(&snapshot.cluster, &snapshot.scores, &pending, &bounds);
        Ok(DemandView::new(snapshot.generation, &snapshot.cluster, &snapshot.scores, &census.pending))
    })
    .await
}

/// A snapshot, and the pods that waited at the same moment.
struct Seen {
    snapshot: Arc<Snapshot>,
    pending: Vec<Arc<Pod>>,
    bounds: Bounds,
}

impl Seen {
    async fn now(app: &App) -> Result<Self, Problem> {
        let model = app.model.clone();
        // The owner publishes before it lets anybody look, so the last snapshot is what the look sees.
        let seen = app.model.inspect(move |cache| {
            let pending = cache.pods().filter(|pod| pod.node.is_none()).cloned().collect();
            (model.snapshot(), pending)
        });
        let (snapshot, pending) = seen.await.map_err(stopped)?;
        Ok(Self { snapshot, pending, bounds: app.metrics.counted.bounds().clone() })
    }
}
