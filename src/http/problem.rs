//! Errors of the API as problem documents (RFC 9457).

use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A problem document.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<String>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: &(impl ToString + ?Sized)) -> Self {
        Self {
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.to_string(),
            errors: Vec::new(),
        }
    }

    /// With one line per thing that is wrong.
    pub(super) fn with(self, errors: Vec<String>) -> Self {
        Self { errors, ..self }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).expect("it came from one");
        let body = serde_json::to_string(&self).expect("texts and numbers only");
        (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}

pub(super) async fn not_found(uri: Uri) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        &format!("there is no {:.200}; GET / lists what there is", uri.path()),
    )
}

pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let detail = format!("{:.200} does not take {method:.20}; GET / lists what does", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, &detail)
}
