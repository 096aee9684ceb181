//! Who asks, and whether they may: every route but health and the extender protocol.
//!
//! As the API server guards its own endpoints that are no resources: a bearer token says who, and RBAC says
//! whether by path and verb. The verb is the method in lower case; HEAD counts as GET.

use std::fmt::Debug;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::App;
use super::limit::{Permit, Traffic};
use super::problem::Problem;

/// Header for the credentials where a proxy takes `Authorization` for itself, as the API server's does.
pub const TOKEN_HEADER: &str = "tangram-authorization";

/// Why somebody is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// Nobody knows who asks.
    Unauthenticated(String),
    /// It is known who asks, and they may not.
    Forbidden(String),
    /// Nobody says at the moment.
    Unknown(String),
    /// Too many ask at once who they are.
    Busy,
}

/// A future that says who asks, once they are let in.
pub type Admission<'a> = Pin<Box<dyn Future<Output = Result<Arc<str>, Denied>> + Send + 'a>>;

/// Decides whom to let in.
pub trait Gate: Debug + Send + Sync {
    /// Whether the owner of a token may do this; gives their name.
    fn admit<'a>(&'a self, token: Option<&'a str>, verb: &'a str, path: &'a str) -> Admission<'a>;

    /// Whether everybody is let in: then the server listens on loopback.
    fn is_open(&self) -> bool;
}

/// Lets everybody in.
#[derive(Debug, Clone, Copy)]
pub struct Open;

impl Gate for Open {
    fn admit<'a>(&'a self, _: Option<&'a str>, _: &'a str, _: &'a str) -> Admission<'a> {
        Box::pin(async { Ok(Arc::from("system:anonymous")) })
    }

    fn is_open(&self) -> bool {
        true
    }
}

/// The way in: who may, and how much at once.
#[derive(Debug, Clone)]
pub struct Door {
    /// Who.
    pub gate: Arc<dyn Gate>,
    /// How much.
    pub traffic: Arc<Traffic>,
}

impl Default for Door {
    fn default() -> Self {
        Self { gate: Arc::new(Open), traffic: Arc::default() }
    }
}

/// Lets a request in, or says why not.
pub(super) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match enter(&app.door, &parts).await {
        // Held until the head of the answer is there: a stream of events is bounded where it is made.
        Ok(_permit) => next.run(Request::from_parts(parts, body)).await,
        Err(refused) => refused,
    }
}

async fn enter(door: &Door, request: &Parts) -> Result<Permit, Response> {
    let Parts { method, headers, uri, .. } = request;
    is_own_page(method, headers, uri).map_err(|why| forbidden(&why))?;
    if door.gate.is_open() {
        is_loopback(headers, uri).map_err(|why| forbidden(&why))?;
    }
    let verb = if method == Method::HEAD { "get".to_owned() } else { method.as_str().to_ascii_lowercase() };
    let token = token(headers);
    let user = door.gate.admit(token.as_deref(), &verb, uri.path()).await.map_err(refusal)?;
    door.traffic.enter(&user).map_err(|wait_s| {
        let detail = format!("{user} asks too much (api.requestsPerSecond, api.concurrentRequests)");
        Problem::new(StatusCode::TOO_MANY_REQUESTS, &detail).retry_after(wait_s).into_response()
    })
}

fn refusal(denied: Denied) -> Response {
    match denied {
        Denied::Unauthenticated(why) => {
            let mut response = Problem::new(StatusCode::UNAUTHORIZED, &why).into_response();
            // Basic makes a browser ask: the token is the password, whatever the name.
            for scheme in [r#"Bearer realm="tangram""#, r#"Basic realm="tangram: a token as password""#] {
                response.headers_mut().append(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
            }
            response
        }
        Denied::Forbidden(why) => forbidden(&why),
        Denied::Unknown(why) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, &why).retry_after(1).into_response()
        }
        Denied::Busy => {
            let detail = "too many tokens are being asked about";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(1).into_response()
        }
    }
}

fn forbidden(why: &str) -> Response {
    Problem::new(StatusCode::FORBIDDEN, why).into_response()
}

/// The token: of the header that proxies leave alone, else of `Authorization`.
fn token(headers: &HeaderMap) -> Option<String> {
    let names = [HeaderName::from_static(TOKEN_HEADER), header::AUTHORIZATION];
    let (scheme, credentials) =
        names.iter().find_map(|name| headers.get(name)?.to_str().ok()?.split_once(' '))?;
    let credentials = credentials.trim();
    let token = if scheme.eq_ignore_ascii_case("bearer") {
        credentials.to_owned()
    } else if scheme.eq_ignore_ascii_case("basic") {
        let pair = String::from_utf8(BASE64_STANDARD.decode(credentials).ok()?).ok()?;
        pair.split_once(':')?.1.to_owned()
    } else {
        return None;
    };
    Some(token).filter(|token| !token.is_empty())
}

/// Whether a request that may change something comes from a page of this server, or from no browser: a browser
/// sends credentials that it remembers for whatever page asks.
fn is_own_page(method: &Method, headers: &HeaderMap, uri: &Uri) -> Result<(), String> {
    if method.is_safe() {
        return Ok(());
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_own = match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) => ["same-origin", "none"].contains(&site),
        (None, Some(origin)) => {
            let of = origin.split_once("://").map(|(_, authority)| authority);
            of.is_some() && of == host(headers, uri).as_ref().map(Authority::as_str)
        }
        (None, None) => true,
    };
    if is_own { Ok(()) } else { Err("the request comes from a page of another site".to_owned()) }
}

/// Whether the name by which the server was called is that of this machine: another name may be a page's that
/// had its own resolved to loopback.
fn is_loopback(headers: &HeaderMap, uri: &Uri) -> Result<(), String> {
    let Some(authority) = host(headers, uri) else { return Ok(()) };
    let name = authority.host().trim_matches(['[', ']']);
    if name == "localhost" || name.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    Err(format!("{name:.100} is not this machine: without authentication call it localhost"))
}

fn host(headers: &HeaderMap, uri: &Uri) -> Option<Authority> {
    let named = || headers.get(header::HOST)?.to_str().ok()?.parse().ok();
    uri.authority().cloned().or_else(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_token_comes_in_either_header_and_as_a_password() {
        let of = |pairs: &[(&'static str, &str)]| token(&headers(pairs));
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(of(&[("authorization", "Bearer abc")]), some("abc"));
        assert_eq!(of(&[("authorization", "bearer  abc ")]), some("abc"));
        assert_eq!(
            of(&[("authorization", "Bearer proxy"), ("tangram-authorization", "Bearer own")]),
            some("own")
        );
        assert_eq!(of(&[("authorization", "Basic bWU6YTpi")]), some("a:b")); // me:a:b
        for nothing in ["Bearer", "Bearer ", "Digest abc", "Basic %", "Basic bWU="] {
            assert_eq!(of(&[("authorization", nothing)]), None, "{nothing}");
        }
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn only_pages_of_this_server_may_change_something() {
        let asked = |method: Method, pairs: &[(&'static str, &str)]| {
            is_own_page(&method, &headers(pairs), &Uri::from_static("/v1/dryrun")).is_ok()
        };
        for (pairs, is_own) in [
            (&[][..], true),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("origin", "http://localhost:7240"), ("host", "localhost:7240")], true),
            (&[("origin", "http://evil.example"), ("host", "localhost:7240")], false),
            (&[("origin", "null"), ("host", "localhost:7240")], false),
        ] {
            assert_eq!(asked(Method::POST, pairs), is_own, "{pairs:?}");
            assert!(asked(Method::GET, pairs), "{pairs:?}");
        }
    }

    #[test]
    fn an_open_server_answers_to_names_of_this_machine_alone() {
        for (name, is_own) in [
            ("localhost:7240", true),
            ("127.0.0.1:7240", true),
            ("[::1]:7240", true),
            ("rebound.example:7240", false),
            ("localhost.evil.example", false),
        ] {
            let is_loopback = is_loopback(&headers(&[("host", name)]), &Uri::from_static("/v1/cluster"));
            assert_eq!(is_loopback.is_ok(), is_own, "{name}");
        }
    }
}
