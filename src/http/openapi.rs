//! The OpenAPI document, generated from the routes and their types, and a page that shows it.

use std::sync::OnceLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response as Answer, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use super::gate::TOKEN_HEADER;
use super::problem::{MEDIA, Problem};

/// Problems that every guarded route may answer with; a route names what is its own.
const EVERYWHERE: [(&str, &str, &str); 5] = [
    ("401", "Unauthenticated", "No token, or none that the API server knows."),
    ("403", "Forbidden", "The user may not do this: an RBAC rule with nonResourceURLs has to allow it."),
    ("429", "TooManyRequests", "The user asks too much (api.requestsPerSecond, api.concurrentRequests)."),
    ("500", "Internal", "A defect of Tangram."),
    ("503", "Unavailable", "The model is going down, or the API server does not answer."),
];

/// What the document says beside the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tangram",
        description = "Placement of GPU pods: what is where, what would fit, what to move.\n\nErrors are problem \
            documents (RFC 9457). Fields may be added to answers; no field goes away or changes its meaning \
            within `/v1`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(Problem)),
    modifiers(&Everywhere),
    tags(
        (name = "cluster", description = "What is where, and what is lost"),
        (name = "plan", description = "What would be; nothing changes"),
        (name = "change", description = "What changes something"),
        (name = "operate", description = "Health, metrics, and this document")
    )
)]
pub(super) struct Head;

struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
        let bearer = bearer.description(Some("A token that the API server knows (TokenReview)."));
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
        let proxied = "The same, `Bearer TOKEN`, where a proxy takes Authorization for itself.";
        let proxied = ApiKeyValue::with_description(TOKEN_HEADER, proxied);
        components.add_security_scheme("proxied", SecurityScheme::ApiKey(ApiKey::Header(proxied)));
        for (_, name, description) in EVERYWHERE {
            components.responses.insert(name.to_owned(), RefOr::T(problem(description)));
        }
        let nothing: [String; 0] = [];
        document.security = Some(vec![
            SecurityRequirement::new("bearer", nothing.clone()),
            SecurityRequirement::new("proxied", nothing),
            // On loopback alone, where the configuration says so.
            SecurityRequirement::default(),
        ]);
    }
}

fn problem(description: &str) -> Answer {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().description(description).content(MEDIA, content).build()
}

/// The document of some routes, with what holds for all of them.
fn complete(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            // What says that it needs no token has no user to refuse.
            if operation.security.as_ref().is_some() {
                continue;
            }
            for (status, name, _) in EVERYWHERE {
                let answer = RefOr::Ref(Ref::from_response_name(name));
                operation.responses.responses.entry(status.to_owned()).or_insert(answer);
            }
        }
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete].into_iter().flatten()
}

/// The document, made once: all routers have the same routes.
pub(super) fn document() -> &'static str {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let document = complete(super::documented().merge(super::health()).into_openapi());
        document.to_json().expect("texts and numbers only")
    })
}

/// This document
///
/// OpenAPI 3.1, generated from the code that answers.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operate",
    responses((status = 200, description = "The OpenAPI document.", body = serde_json::Value))
)]
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document()).into_response()
}

/// This document as a page
///
/// Needs nothing but this server.
#[utoipa::path(
    get,
    path = "/docs",
    tag = "operate",
    responses((status = 200, description = "A page.", body = String, content_type = "text/html"))
)]
pub(super) async fn page() -> Response {
    const POLICY: &str = "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; \
        script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, include_str!("docs.html")).into_response()
}
