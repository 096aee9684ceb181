//! Errors of the API as problem documents (RFC 9457).

use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// Media type of a problem document.
pub(super) const MEDIA: &str = "application/problem+json";

/// The type of a problem.
macro_rules! tag {
    ($name:literal) => {
        concat!("tag:tangram.gpu,2026:problem/", $name)
    };
}

/// What can go wrong: status, type, title. A type is for programs and stays what it is; titles and details are for
/// people.
const KINDS: [(StatusCode, &str, &str); 12] = [
    (StatusCode::BAD_REQUEST, tag!("invalid-request"), "The request cannot be read"),
    (StatusCode::UNAUTHORIZED, tag!("unauthenticated"), "Nobody knows who asks"),
    (StatusCode::FORBIDDEN, tag!("forbidden"), "Who asks may not"),
    (StatusCode::NOT_FOUND, tag!("not-found"), "There is no such thing"),
    (StatusCode::METHOD_NOT_ALLOWED, tag!("method-not-allowed"), "The route does not take this method"),
    (StatusCode::NOT_ACCEPTABLE, tag!("not-acceptable"), "The answer has no such form"),
    (StatusCode::CONFLICT, tag!("conflict"), "The state of the cluster does not allow it"),
    (StatusCode::PAYLOAD_TOO_LARGE, tag!("body-too-large"), "The body is too large"),
    (StatusCode::TOO_MANY_REQUESTS, tag!("too-many-requests"), "Too many requests"),
    (StatusCode::INTERNAL_SERVER_ERROR, tag!("internal"), "A defect of Tangram"),
    (StatusCode::SERVICE_UNAVAILABLE, tag!("unavailable"), "There is no answer at the moment"),
    (StatusCode::GATEWAY_TIMEOUT, tag!("timeout"), "The answer took too long"),
];

/// A problem document.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Problem {
    /// What is wrong, for programs: `tag:tangram.gpu,2026:problem/` and a name that stays.
    #[serde(rename = "type")]
    #[schema(format = "uri", example = "tag:tangram.gpu,2026:problem/invalid-request")]
    kind: &'static str,
    /// The same for people.
    title: &'static str,
    /// Status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong with this request.
    detail: String,
    /// Path that was asked for.
    #[serde(skip_serializing_if = "str::is_empty")]
    #[schema(format = "uri-reference")]
    instance: Box<str>,
    /// One line per thing that is wrong, with object and field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<String>,
    /// Seconds after which it may be tried again, told in a header.
    #[serde(skip)]
    retry_after_s: Option<u32>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: &(impl ToString + ?Sized)) -> Self {
        let known = KINDS.iter().find(|(known, ..)| *known == status);
        let unknown = ("about:blank", status.canonical_reason().unwrap_or("Error"));
        let (kind, title) = known.map_or(unknown, |(_, kind, title)| (*kind, *title));
        Self {
            kind,
            title,
            status: status.as_u16(),
            detail: detail.to_string(),
            instance: Box::default(),
            errors: Vec::new(),
            retry_after_s: None,
        }
    }

    /// The request cannot be read, or asks for what makes no sense.
    pub(super) fn bad(detail: &(impl ToString + ?Sized)) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// With one line per thing that is wrong.
    pub(super) fn with(self, errors: Vec<String>) -> Self {
        Self { errors, ..self }
    }

    /// To be tried again after so many seconds.
    pub(super) fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).expect("it came from one");
        let body = serde_json::to_string(&self).expect("texts and numbers only");
        let mut response = (status, [(header::CONTENT_TYPE, MEDIA)], body).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Makes every error a problem document that names the path, those of the framework too.
pub(super) async fn with_instance(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let problem = response.extensions().get::<Problem>().cloned();
    let problem = problem.unwrap_or_else(|| {
        Problem::new(status, status.canonical_reason().unwrap_or("the request was refused"))
    });
    // What is said in headers stays: Allow, WWW-Authenticate, Retry-After.
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA));
    let problem = Problem { instance: path.chars().take(PATH_MAX).collect(), ..problem };
    Response::from_parts(parts, serde_json::to_string(&problem).expect("texts and numbers only").into())
}

/// Characters of a path that are told back.
const PATH_MAX: usize = 200;

pub(super) async fn not_found(uri: Uri) -> Problem {
    let detail = format!("there is no {:.200}; GET /openapi.json lists what there is", uri.path());
    Problem::new(StatusCode::NOT_FOUND, &detail)
}

pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let detail = format!(
        "{:.200} does not take {:.20}; GET /openapi.json lists what does",
        uri.path(),
        method.as_str()
    );
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, &detail)
}
