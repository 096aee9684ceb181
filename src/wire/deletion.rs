//! `DELETE /v1/pods/{namespace}/{name}`.

use serde::Serialize;
use utoipa::ToSchema;

/// The answer to a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeletionView {
    /// Whether there was such a pod. Gone twice is gone: no second answer is an error.
    pub deleted: bool,
}
