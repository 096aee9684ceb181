//! `GET /debug/compare`: the model against the API server.

use serde::Serialize;
use utoipa::ToSchema;

use crate::cache::Difference;

/// Where the model differs from the API server.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComparisonView {
    /// Number of the snapshot.
    generation: u64,
    /// Milliseconds since the model was last known to be true; null before it ever was.
    #[schema(required)]
    model_age_ms: Option<u64>,
    /// Empty when they agree.
    differences: Vec<DifferenceView>,
}

/// One difference.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DifferenceView {
    /// The object, for example `Pod research/train-0`.
    object: String,
    /// What of it differs.
    field: String,
    /// What the model says.
    model: String,
    /// What the API server says.
    api: String,
}

impl ComparisonView {
    /// The answer for what was found.
    pub fn new(generation: u64, model_age_ms: Option<u64>, differences: Vec<Difference>) -> Self {
        let view = |difference: Difference| DifferenceView {
            object: difference.object,
            field: difference.field.to_owned(),
            model: difference.here,
            api: difference.there,
        };
        Self { generation, model_age_ms, differences: differences.into_iter().map(view).collect() }
    }
}
