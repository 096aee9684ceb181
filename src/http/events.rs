//! `GET /v1/events`, `GET /v1/history`, `GET /v1/profiles`: what the page reads beside the cluster.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};

use super::App;
use super::extract::json as body_of;
use super::problem::Problem;
use crate::wire::events::EventFrame;
use crate::wire::profiles::ModelView;
use crate::wire::sample::HistoryView;

/// What changes, as it changes
///
/// Server-sent events: `hello`, `change`, `sample`, `reset`. After `hello` or `reset` read `GET /v1/cluster`; every
/// `change` with a larger generation comes after it. With `Last-Event-ID` the stream goes on behind that event, or
/// says `reset` where that is too long ago. A stream that is not read is closed.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "cluster",
    params(("Last-Event-ID" = Option<String>, Header, description = "Id of the last event that was read.")),
    responses(
        (status = 200, description = "Events, until somebody closes the stream.", body = EventFrame,
            content_type = "text/event-stream")
    )
)]
pub(super) async fn events(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    let last = headers.get("last-event-id").map(|id| String::from_utf8_lossy(id.as_bytes()));
    let open = app.feed.open(last.as_deref());
    let open = open.ok_or_else(|| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many event streams are open; come back later")
    })?;
    let rest = stream::unfold(open.rest, async |mut rest| rest.recv().await.map(|frame| (frame, rest)));
    let frames = stream::iter(open.first).chain(rest).map(Ok::<Bytes, Infallible>);
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"), // nginx would keep them back
    ];
    Ok((headers, Body::from_stream(frames)).into_response())
}

/// Utilisation, fragmentation and acceptance of the last hour
#[utoipa::path(
    get,
    path = "/v1/history",
    tag = "cluster",
    responses((status = 200, description = "Samples, oldest first.", body = HistoryView))
)]
pub(super) async fn history(State(app): State<App>) -> Response {
    body_of(serde_json::to_vec(&app.feed.history()).expect("texts and numbers only"))
}

/// GPU models, their MIG profiles and where instances may start
#[utoipa::path(
    get,
    path = "/v1/profiles",
    tag = "cluster",
    responses((status = 200, description = "The table that placements are made by.", body = Vec<ModelView>))
)]
pub(super) async fn profiles() -> Response {
    body_of(serde_json::to_vec(&ModelView::all()).expect("texts and numbers only"))
}
