//! The HTTP surface: routes, bodies, statuses. What the answers say is decided in `extender` and `wire`.
//!
//! | route | |
//! |---|---|
//! | `POST /scheduler/{filter,prioritize,preempt,bind}` | the extender protocol |
//! | `POST /v1/dryrun` | placement dry run |
//! | `POST /v1/repack` | which pods to move, as a plan |
//! | `GET /v1/cluster`, `/v1/fragmentation` | the model |
//! | `GET /v1/layouts` | static layouts for the demand |
//! | `DELETE /v1/pods/{namespace}/{name}` | a pod is gone (embedded model) |
//! | `GET /livez`, `/readyz`, `/metrics`, `/` | probes, Prometheus, and what there is |
//! | `GET /debug/compare` | the model against the API server |

mod api;
mod probes;
mod problem;
mod repack;
mod scheduler;
mod world;

use std::sync::Arc;

use axum::routing::{delete, get, post};
use axum::{Router, middleware};

pub use world::{Compared, Embedded, World};

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
}

impl App {
    fn context<'a>(&'a self, snapshot: &'a Snapshot, claims: &'a Claims) -> Context<'a> {
        Context {
            cluster: &snapshot.cluster,
            scores: &snapshot.scores,
            policy: self.policy,
            dialect: &self.dialect,
            claims,
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

/// All routes.
pub fn router(app: App) -> Router {
    let of_model = Router::new()
        .route("/scheduler/filter", post(scheduler::filter))
        .route("/scheduler/prioritize", post(scheduler::prioritize))
        .route("/scheduler/preempt", post(scheduler::preempt))
        .route("/scheduler/bind", post(scheduler::bind))
        .route("/v1/dryrun", post(api::dryrun))
        .route("/v1/repack", post(repack::plan))
        .route("/v1/cluster", get(api::cluster))
        .route("/v1/fragmentation", get(api::fragmentation))
        .route("/v1/layouts", get(api::layouts))
        .route("/v1/pods/{namespace}/{name}", delete(api::delete_pod))
        .layer(middleware::from_fn_with_state(app.clone(), probes::with_age));
    of_model
        .route("/livez", get(probes::livez))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(probes::metrics))
        .route("/debug/compare", get(probes::compare))
        .route("/", get(api::index))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .with_state(app)
}
