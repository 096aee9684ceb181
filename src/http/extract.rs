//! What requests carry, with problem documents for what cannot be read.

use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::App;
use super::problem::Problem;

/// The query of the URL.
#[derive(Debug)]
pub(super) struct QueryOf<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for QueryOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        query.map(|query| Self(query.0)).map_err(|error| Problem::bad(&error.body_text()))
    }
}

/// The parameters in the path of the URL.
#[derive(Debug)]
pub(super) struct PathOf<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for PathOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0)).map_err(|error| Problem::bad(&error.body_text()))
    }
}

/// Why a body could not be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unread {
    #[error("the body has more than {0} bytes (limits.bodyBytes)")]
    TooLong(usize),
    #[error("the body broke off: {0}")]
    Broken(String),
}

/// A whole body of at most so many bytes.
pub(super) async fn at_most(max: usize, body: Body) -> Result<Bytes, Unread> {
    axum::body::to_bytes(body, max).await.map_err(|error| {
        let is_limit = std::error::Error::source(&error)
            .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>);
        if is_limit { Unread::TooLong(max) } else { Unread::Broken(error.to_string()) }
    })
}

/// A whole body, within the limit of the configuration.
pub(super) async fn whole(app: &App, body: Body) -> Result<Bytes, Problem> {
    at_most(app.dialect.limits.body_bytes, body).await.map_err(|error| {
        let status = match error {
            Unread::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Unread::Broken(_) => StatusCode::BAD_REQUEST,
        };
        Problem::new(status, &error)
    })
}

/// Does what takes a while, and answers with its outcome: never on the threads that answer kube-scheduler.
pub(super) async fn aside<T: Serialize + Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<Response, Problem> {
    let body = move || work().map(|answer| serde_json::to_vec(&answer).expect("texts and numbers only"));
    let defect = |error: tokio::task::JoinError| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, &error);
    tokio::task::spawn_blocking(body).await.map_err(defect)?.map(json)
}

pub(super) fn json(body: Vec<u8>) -> Response {
    ([(axum::http::header::CONTENT_TYPE, "application/json")], body).into_response()
}
