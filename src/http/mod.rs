//! The HTTP surface: routes, bodies, statuses. What the answers say is decided in `extender` and `wire`.
//!
//! | file | routes |
//! |---|---|
//! | `scheduler` | `POST /scheduler/{filter,prioritize,preempt,bind}`: the extender protocol |
//! | `cluster` | `/v1`: what is |
//! | `dryrun`, `explain`, `filter`, `api`, `repack` | `/v1`: what would be, and why |
//! | `solving` | how much of that at once |
//! | `plans` | `/v1/plans`: repacks that are carried out |
//! | `probes` | `/livez`, `/readyz`, `/metrics`, `/debug/compare` |
//! | `events` | `/v1/events`, `/v1/history`, `/v1/profiles`: what the page reads beside the cluster; `feed` makes it once for all |
//! | `page` | `/`, `/ui/{file}`: the page, for browsers |
//! | `openapi` | `/openapi.json` and `/docs`, a page of the same |
//!
//! `gate` and `limit` stand before all but the extender protocol and health: who asks, whether they may, how much.
//!
//! # A new route
//!
//! A handler has `#[utoipa::path]` with method, path, tag, parameters and its own answers, and stands in
//! `documented`: so it is in the OpenAPI document, and nothing else is. Bodies and answers are types of `wire`
//! that derive `ToSchema`, never those of the model. A handler takes `extract::{QueryOf, PathOf, whole, aside}` and fails
//! with a `Problem`; the answers that every route may give (401, 403, 429, 500, 503) are added to all.

mod api;
mod cluster;
mod decision;
mod dryrun;
mod etag;
mod events;
mod explain;
mod extract;
mod feed;
mod filter;
mod gate;
mod limit;
mod openapi;
mod page;
mod plans;
mod probes;
mod problem;
mod repack;
mod scheduler;
mod solving;
mod world;

use std::sync::Arc;

use axum::routing::{get, post};
use axum::{Router, middleware};
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use feed::Feed;
pub use gate::{Admission, Denied, Door, Gate, Open, TOKEN_HEADER};
pub use limit::Traffic;
pub use world::{Budgets, Compared, Embedded, Listed, Planned, World};

use crate::extender::{Claims, Context};
use crate::metrics::Metrics;
use crate::model::Policy;
use crate::owner::{Model, Snapshot};
use crate::wire::Dialect;

/// What the handlers share.
#[derive(Debug, Clone)]
pub struct App {
    /// The model.
    pub model: Model,
    /// Policy of pods that choose none.
    pub policy: Policy,
    /// How objects are read.
    pub dialect: Arc<Dialect>,
    /// What is behind the model.
    pub world: Arc<dyn World>,
    /// Where things are counted.
    pub metrics: Arc<Metrics>,
    /// Who may ask, and how much.
    pub door: Door,
    /// What open event streams are told.
    pub feed: Feed,
}

impl App {
    fn context<'a>(&'a self, snapshot: &'a Snapshot, claims: &'a Claims) -> Context<'a> {
        Context {
            cluster: &snapshot.cluster,
            scores: &snapshot.scores,
            policy: self.policy,
            dialect: &self.dialect,
            claims,
            holds: &snapshot.holds,
            evicts: self.world.evicts(),
        }
    }
}

/// Probes and metrics alone.
pub fn probes(app: App) -> Router {
    Router::new()
        .route("/livez", get(probes::livez))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(probes::metrics))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .with_state(app)
}

/// The routes of the OpenAPI document.
fn documented() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(openapi::Head::openapi())
        .routes(routes!(cluster::cluster))
        .routes(routes!(cluster::nodes))
        .routes(routes!(cluster::node))
        .routes(routes!(cluster::pods))
        .routes(routes!(cluster::fragmentation))
        .routes(routes!(cluster::demand))
        .routes(routes!(api::layouts))
        .routes(routes!(dryrun::dryrun))
        .routes(routes!(explain::explain))
        .routes(routes!(filter::filter))
        .routes(routes!(repack::plan))
        .routes(routes!(plans::list, plans::start))
        .routes(routes!(plans::one, plans::stop))
        .routes(routes!(api::delete_pod))
        .routes(routes!(probes::compare))
        .routes(routes!(probes::metrics))
        .routes(routes!(openapi::openapi))
        .routes(routes!(openapi::page))
        .routes(routes!(events::events))
        .routes(routes!(events::history))
        .routes(routes!(events::profiles))
        .routes(routes!(page::index))
        .routes(routes!(page::file))
}

/// The routes that ask nobody who they are, and stand in the document too.
fn health() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(probes::livez)).routes(routes!(probes::readyz))
}

/// The extender protocol: Kubernetes defines it, and kube-scheduler shows a certificate or is next door.
fn scheduler() -> Router<App> {
    Router::new()
        .route("/scheduler/filter", post(scheduler::filter))
        .route("/scheduler/prioritize", post(scheduler::prioritize))
        .route("/scheduler/preempt", post(scheduler::preempt))
        .route("/scheduler/bind", post(scheduler::bind))
        .method_not_allowed_fallback(problem::method_not_allowed)
}

/// All routes.
pub fn router(app: App) -> Router {
    let aged = middleware::from_fn_with_state(app.clone(), probes::with_age);
    guarded(&app).merge(scheduler().layer(aged)).with_state(app)
}

/// All but the extender protocol, for a listener of their own.
pub fn api(app: App) -> Router {
    guarded(&app).with_state(app)
}

/// What is in no other router needs a token, unknown paths too: a new route is guarded unless it is [`health`].
fn guarded(app: &App) -> Router<App> {
    let (documented, _) = documented().split_for_parts();
    let (health, _) = health().split_for_parts();
    documented
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(middleware::from_fn_with_state(app.clone(), probes::with_age))
        .layer(middleware::from_fn_with_state(app.clone(), gate::guard))
        .layer(middleware::from_fn(problem::with_instance))
        .merge(health.method_not_allowed_fallback(problem::method_not_allowed))
}

/// The OpenAPI document, as it is served at `/openapi.json`.
pub fn openapi() -> &'static str {
    openapi::document()
}
