//! `GET /v1/demand`: what the cluster is asked for, and the prices made of it.

use std::collections::BTreeSet;

use serde::Serialize;
use utoipa::ToSchema;

use super::census::{WaitingView, waiting};
use crate::census::Pending;
use crate::mig::{Catalog, ModelId};
use crate::model::Cluster;
use crate::solver::Scores;

/// The demand, as it was learnt from the requests that came.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DemandView {
    /// Number of the snapshot.
    generation: u64,
    /// Share of the mix that is learnt, 0 to 1; the rest is assumed: every profile without attribute alike.
    learnt: f64,
    /// What is asked for, largest share first.
    mix: Vec<ShareView>,
    /// Prices, for the GPU models of the cluster.
    models: Vec<ModelPricesView>,
    /// What pods wait for now, by namespace.
    waiting: Vec<WaitingView>,
}

/// A kind of request.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ShareView {
    /// A profile, or an amount of memory.
    request: String,
    /// Its share of all requests, 0 to 1.
    share: f64,
}

/// Prices on GPUs of one model.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ModelPricesView {
    /// The model, as in the MIG table.
    model: &'static str,
    /// By profile, in the order of the MIG table.
    profiles: Vec<PriceView>,
}

/// The price of a profile.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PriceView {
    /// The profile.
    profile: String,
    /// Its share of the requests that this model can serve, 0 to 1.
    share: f64,
    /// What one instance is worth, in GPUs: what the demand would have to pay for more of it.
    price_gpus: f64,
}

impl DemandView {
    /// The demand that the prices of a snapshot are for, and what waits.
    pub fn new(generation: u64, cluster: &Cluster, scores: &Scores, pending: &Pending) -> Self {
        let mut mix: Vec<ShareView> = scores
            .demand()
            .kinds()
            .map(|(want, share)| ShareView { request: want.to_string(), share })
            .collect();
        mix.sort_by(|a, b| b.share.total_cmp(&a.share).then_with(|| a.request.cmp(&b.request)));
        let models: BTreeSet<ModelId> =
            cluster.by_name().iter().flat_map(|node| &node.gpus).filter_map(|gpu| gpu.model).collect();
        Self {
            generation,
            learnt: mix.iter().map(|kind| kind.share).sum::<f64>().min(1.0),
            mix,
            models: models.into_iter().map(|model| ModelPricesView::new(model, scores)).collect(),
            waiting: waiting(pending),
        }
    }
}

impl ModelPricesView {
    fn new(model: ModelId, scores: &Scores) -> Self {
        let catalog = Catalog::get();
        let profiles = catalog.geometry(model).profiles().iter();
        let prices = profiles.zip(scores.demand().of_model(model)).zip(scores.values(model));
        let view = |((profile, share), price): ((&crate::mig::Profile, f64), &f64)| PriceView {
            profile: profile.name.to_string(),
            share,
            price_gpus: *price,
        };
        Self { model: catalog.row(model).key, profiles: prices.map(view).collect() }
    }
}
