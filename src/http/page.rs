//! The page: files of `web/`, compiled in. They fetch nothing from anywhere else, and need no build.

use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse as _, Response};

use super::api::INDEX;
use super::extract::PathOf;
use super::problem::{Problem, not_found};

/// Scripts, styles and connections of this server alone; nobody may frame the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! files {
    ($($name:literal $media:ident),* $(,)?) => {
        [$(($name, $media, include_str!(concat!("../../web/", $name)))),*]
    };
}

/// Name below `/ui`, media type, text.
const FILES: [(&str, &str, &str); 26] = files![
    "api.js" JS,
    "base.css" CSS,
    "charts.js" JS,
    "controls.js" JS,
    "details.js" JS,
    "dom.js" JS,
    "events.js" JS,
    "gpu.js" JS,
    "groups.js" JS,
    "help.js" JS,
    "icon.svg" SVG,
    "index.html" HTML,
    "keys.js" JS,
    "main.js" JS,
    "map.css" CSS,
    "map.js" JS,
    "model.js" JS,
    "overlay.js" JS,
    "overview.js" JS,
    "palette.js" JS,
    "panel.css" CSS,
    "pending.js" JS,
    "repack.js" JS,
    "requests.js" JS,
    "theme.css" CSS,
    "whatif.js" JS,
];

/// The page for a browser, a text for everybody else
#[utoipa::path(
    get,
    path = "/",
    tag = "operate",
    responses((status = 200, description = "What there is.",
        content((String = "text/html"), (String = "text/plain"))))
)]
pub(super) async fn index(headers: HeaderMap, uri: Uri) -> Response {
    let accept = headers.get(header::ACCEPT).map(|accept| String::from_utf8_lossy(accept.as_bytes()));
    let is_browser = accept.is_some_and(|accept| accept.contains("text/html"));
    let body = if is_browser { named("index.html", uri).await } else { INDEX.into_response() };
    ([(header::VARY, "accept")], body).into_response()
}

/// A file of the page
#[utoipa::path(
    get,
    path = "/ui/{file}",
    tag = "operate",
    params(("file" = String, Path, description = "Its name.")),
    responses(
        (status = 200, description = "The file.",
            content((String = "text/html"), (String = "text/css"), (String = "text/javascript"), (String = "image/svg+xml"))),
        (status = 400, description = "A path that cannot be read.",
            body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "The page has no such file.",
            body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn file(PathOf(name): PathOf<String>, uri: Uri) -> Response {
    named(&name, uri).await
}

async fn named(name: &str, uri: Uri) -> Response {
    match FILES.binary_search_by_key(&name, |(file, ..)| *file) {
        Ok(at) => answer(&FILES[at]),
        Err(_) => not_found(uri).await.into_response(),
    }
}

fn answer((_, media, text): &(&str, &'static str, &'static str)) -> Response {
    let headers = [
        (header::CONTENT_TYPE, *media),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"), // the next version has the same names
    ];
    (headers, *text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_found_by_halving_and_name_no_other_place() {
        assert!(FILES.is_sorted_by_key(|(name, ..)| *name));
        for (name, _, text) in FILES {
            let outside = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!outside.contains("http:") && !outside.contains("https:"), "{name}");
        }
    }
}
