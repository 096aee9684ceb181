//! The OpenAPI document is valid, is what the server does, and names everything that the server has; and every
//! error is a problem document.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "openapi/guide.rs"]
mod guide;
#[path = "common/http.rs"]
#[expect(dead_code, reason = "shared by several test files")]
mod http;
#[path = "common/plane/mod.rs"]
#[expect(dead_code, unused_imports, reason = "each test file uses what it needs of the harness")]
mod plane;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http::Server;
use plane::Tangram;
use serde_json::{Value, json};
use tangram::config::Config;
use tangram::serve::EXAMPLE;
use tempfile::TempDir;

fn document() -> Value {
    serde_json::from_str(tangram::http::openapi()).unwrap()
}

/// The folder with the programs of `tests/openapi/requirements.txt`, made once from `PyPI`.
fn tools() -> &'static Path {
    static TOOLS: OnceLock<PathBuf> = OnceLock::new();
    TOOLS.get_or_init(|| {
        let requirements = include_str!("openapi/requirements.txt");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openapi-tools");
        let done = folder.join("requirements.txt");
        let program = folder.join("bin");
        if fs::read_to_string(&done).is_ok_and(|made| made == requirements) {
            return program;
        }
        let run = |command: &mut Command, what: &str| {
            let output = command.output().unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(output.status.success(), "{what}: {}", said(&output));
        };
        run(
            Command::new("python3").args(["-m", "venv"]).arg(&folder),
            "python3 makes no virtual environment",
        );
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openapi/requirements.txt");
        let mut pip = Command::new(program.join("pip"));
        run(pip.args(["install", "--quiet", "--requirement"]).arg(file), "pip installs nothing from PyPI");
        fs::write(done, requirements).unwrap();
        program
    })
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

#[test]
fn a_validator_finds_nothing_wrong_with_the_document() {
    let dir = TempDir::with_prefix("tangram-openapi-").unwrap();
    let validated = |document: &Value| {
        let file = dir.path().join("openapi.json");
        fs::write(&file, document.to_string()).unwrap();
        Command::new(tools().join("openapi-spec-validator")).arg(&file).output().unwrap()
    };
    let mut document = document();
    let output = validated(&document);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(document["openapi"], "3.1.0");
    // And would find something.
    document["paths"]["/v1/cluster"]["get"]["responses"]["200"]["description"] = json!(7);
    assert!(!validated(&document).status.success());
}

#[tokio::test]
async fn a_fuzzer_gets_no_server_error_and_no_answer_that_is_not_in_the_document() {
    let configuration = "{api: {requestsPerSecond: 100000, concurrentRequests: 1000}}";
    let tangram = Tangram::configured(configuration, None).await;
    let url = format!("{}/openapi.json", tangram.url());
    let output = tokio::task::spawn_blocking(move || {
        // Bodies are Kubernetes objects, which the document does not describe: what it lets through may be refused.
        let excluded = ["--exclude-checks", "positive_data_acceptance"];
        let mut fuzzer = Command::new(tools().join("schemathesis"));
        fuzzer.args(["run", &url, "--checks", "all", "--max-examples", "20", "--seed", "7", "--no-color"]);
        // A stream has no end, and each would be waited for: tests/events.rs reads it.
        fuzzer.args(["--exclude-path", "/v1/events"]);
        fuzzer.args(excluded).current_dir(env!("CARGO_TARGET_TMPDIR")).output().unwrap()
    });
    let output = output.await.unwrap();
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    let document = document();
    let items = document["paths"].as_object().unwrap().values();
    let operations: usize = items.map(|item| item.as_object().unwrap().len()).sum();
    // All but the document itself.
    let asked = operations - 1;
    let selected = asked - 1;
    assert!(said.contains(&format!("{selected} selected / {asked} total")), "{said}");
}

#[test]
fn every_route_of_the_code_stands_in_the_document_but_the_extender_protocol() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
    let mut plain = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let routes = text.split(".route(\"").skip(1).map(|rest| rest.split_once('"').unwrap().0.to_owned());
        plain.extend(routes);
        for word in [".nest(", ".route_service(", ".nest_service("] {
            assert!(!text.contains(word), "{}: {word} hides routes from the document", path.display());
        }
    }
    // probes() answers three of the documented ones on a listener of their own.
    let known = ["/livez", "/readyz", "/metrics"].map(str::to_owned);
    let scheduler = ["filter", "prioritize", "preempt", "bind"].map(|verb| format!("/scheduler/{verb}"));
    assert_eq!(plain, known.into_iter().chain(scheduler).collect());
}

#[tokio::test]
async fn every_route_of_the_document_is_there() {
    let server = Server::new(EXAMPLE);
    for (path, item) in document()["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let asked = path.replace("{namespace}", "default").replace("{name}", "any");
            let asked = asked.replace("{file}", "main.js").replace("{id}", "plan-1");
            if asked == "/v1/events" {
                continue; // a stream has no end: tests/events.rs reads it
            }
            let (status, body) = server.send(&method.to_uppercase(), &asked, "").await;
            let body = String::from_utf8(body).unwrap();
            assert!(
                status != 405 && !body.contains("lists what there is"),
                "{method} {path}: {status} {body}"
            );
        }
    }
}

#[test]
fn every_object_of_the_document_is_a_type_of_the_api() {
    let document = document();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for (name, schema) in schemas {
        assert!(schema["description"].is_string(), "{name} says nothing of itself");
        // Names of fields are those of Kubernetes: camelCase.
        for field in schema["properties"].as_object().into_iter().flatten().map(|(field, _)| field) {
            assert!(field.chars().all(|c| c.is_ascii_alphanumeric()), "{name}.{field}");
        }
    }
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let what = format!("{method} {path}");
            assert!(operation["summary"].is_string() && operation["tags"][0].is_string(), "{what}");
            for (status, answer) in operation["responses"].as_object().unwrap() {
                let is_problem =
                    answer["$ref"].is_string() || answer["content"]["application/problem+json"].is_object();
                let is_error = status.starts_with(['4', '5']) && path != "/readyz";
                assert_eq!(is_problem, is_error, "{what}: {status}");
            }
        }
    }
}

/// A problem document: status, headers, and what it says.
async fn problem(server: &Server, method: &str, path: &str, body: &str) -> (u16, HeaderMap, Value) {
    let (parts, body) = server.answer(method, path, body.to_owned()).await;
    assert_eq!(parts.headers["content-type"], "application/problem+json", "{method} {path}");
    (parts.status.as_u16(), parts.headers, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn every_error_is_a_problem_document_that_names_what_is_wrong() {
    let mut config = Config::default();
    config.limits.body_bytes = 100;
    let server = Server::with(EXAMPLE, &config);
    let long = "x".repeat(101);
    for (method, path, body, status, kind, detail) in [
        (
            "GET",
            "/nothing",
            "",
            404,
            "not-found",
            "there is no /nothing; GET /openapi.json lists what there is",
        ),
        ("GET", "/v1/nodes/none", "", 404, "not-found", "node none: there is none of this name"),
        (
            "PUT",
            "/v1/cluster",
            "",
            405,
            "method-not-allowed",
            "/v1/cluster does not take PUT; GET /openapi.json lists what does",
        ),
        (
            "POST",
            "/livez",
            "",
            405,
            "method-not-allowed",
            "/livez does not take POST; GET /openapi.json lists what does",
        ),
        (
            "POST",
            "/v1/dryrun",
            &long,
            413,
            "body-too-large",
            "the body has more than 100 bytes (limits.bodyBytes)",
        ),
        (
            "POST",
            "/v1/repack",
            &long,
            413,
            "body-too-large",
            "the body has more than 100 bytes (limits.bodyBytes)",
        ),
        ("GET", "/v1/nodes?limit=501", "", 400, "invalid-request", "limit: 501 is not from 1 to 500"),
        (
            "GET",
            "/v1/nodes?limit=x",
            "",
            400,
            "invalid-request",
            "Failed to deserialize query string: limit: invalid digit found in string",
        ),
        (
            "GET",
            "/v1/pods?state=gone",
            "",
            400,
            "invalid-request",
            "Failed to deserialize query string: state: unknown variant `gone`, expected `pending` or `placed`",
        ),
        ("DELETE", "/v1/pods/a/%ff", "", 400, "invalid-request", "Invalid URL: Invalid UTF-8 in `name`"),
        (
            "GET",
            "/debug/compare",
            "",
            409,
            "conflict",
            "the model is embedded: there is nothing to compare it with",
        ),
    ] {
        let (answered, headers, problem) = problem(&server, method, path, body).await;
        let instance = path.split('?').next().unwrap();
        assert_eq!((answered, problem["status"].as_u64()), (status, Some(status.into())), "{path}");
        assert_eq!(problem["type"], format!("tag:tangram.gpu,2026:problem/{kind}"), "{path}");
        assert_eq!(problem["detail"], detail, "{path}");
        if path != "/livez" {
            assert_eq!(problem["instance"], instance, "{path}");
        }
        assert!(problem["title"].is_string() && problem["errors"].is_null(), "{problem}");
        assert_eq!(status == 405, headers.contains_key("allow"), "{path}");
    }
}

#[tokio::test]
async fn pages_of_nodes_and_pods_make_up_the_cluster() {
    let server = Server::new(EXAMPLE);
    let cluster = server.get("/v1/cluster").await;
    let pages = async |path: &str, list: &str| {
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let page = server.get(&format!("{path}limit=9{after}")).await;
            all.extend(page[list].as_array().unwrap().clone());
            match page["page"]["continue"].as_str() {
                Some(last) => after = format!("&continue={last}"),
                None => return all,
            }
        }
    };
    assert_eq!(json!(pages("/v1/nodes?", "nodes").await), cluster["nodes"]);
    let pending = pages("/v1/pods?state=pending&", "pods").await;
    let names = |pods: &[Value]| -> Vec<String> {
        pods.iter().map(|pod| format!("{}/{}", pod["namespace"], pod["name"]).replace('"', "")).collect()
    };
    let known: Vec<&str> =
        cluster["pending"].as_array().unwrap().iter().map(|pod| pod["pod"].as_str().unwrap()).collect();
    assert_eq!(names(&pending), known);
    assert!(pending.iter().all(|pod| pod["fits"].is_string() != pod["refusals"].is_array()), "{pending:#?}");
    let placed = pages("/v1/pods?state=placed&", "pods").await;
    let all = pages("/v1/pods?", "pods").await;
    assert_eq!(all.len(), placed.len() + pending.len());
    assert_eq!(cluster["totals"]["placedPods"], placed.len());
    let of = placed.iter().find(|pod| pod["name"] == "clip-index-xphhp").unwrap();
    assert_eq!((of["node"].as_str(), of["devices"].as_array().unwrap().len()), (Some("dyn-a100-02"), 7));
}

#[tokio::test]
async fn a_summary_has_the_figures_and_no_nodes() {
    let server = Server::new(EXAMPLE);
    let (mut whole, summary) =
        (server.get("/v1/cluster").await, server.get("/v1/cluster?summary=true").await);
    whole.as_object_mut().unwrap().retain(|key, _| !["nodes", "pending"].contains(&key.as_str()));
    assert_eq!(summary, whole);
    let free = |profile: &str| {
        let all = summary["free"].as_array().unwrap();
        all.iter().find(|free| free["profile"] == profile && free["mode"] == "static").unwrap()["count"]
            .clone()
    };
    // What tests/api.rs finds among the pools.
    assert_eq!(free("3g.40gb"), 15);
}

#[tokio::test]
async fn who_has_the_last_answer_gets_no_other_until_something_changes() {
    let server = Server::new(EXAMPLE);
    let path = "/v1/nodes/dyn-a100-02";
    let (first, body) = server.answer("GET", path, "").await;
    let tag = first.headers["etag"].to_str().unwrap().to_owned();
    let again = async || {
        let request = Request::get(path).header("if-none-match", &tag).body(Body::empty()).unwrap();
        let (parts, body) = server.exchange(request).await;
        (parts.status.as_u16(), body.is_empty())
    };
    assert_eq!((first.status.as_u16(), body.is_empty()), (200, false));
    assert_eq!(again().await, (304, true));
    server.send("DELETE", "/v1/pods/batch/clip-index-xphhp", "").await;
    assert_eq!(again().await, (200, false));
}

#[tokio::test]
async fn a_user_who_asks_too_much_is_told_to_wait_and_schedulers_are_not() {
    let mut config = Config::default();
    config.api.requests_per_second = 2.try_into().unwrap();
    let server = Server::with(EXAMPLE, &config);
    for _ in 0..2 {
        assert_eq!(server.send("GET", "/v1/demand", "").await.0, 200);
    }
    let (status, headers, said) = problem(&server, "GET", "/v1/demand", "").await;
    assert_eq!((status, &headers["retry-after"]), (429, &"1".parse().unwrap()));
    assert_eq!(said["type"], "tag:tangram.gpu,2026:problem/too-many-requests");
    for _ in 0..10 {
        assert_eq!(server.send("POST", "/scheduler/filter", "{}").await.0, 200);
        assert_eq!(server.send("GET", "/livez", "").await.0, 200);
    }
}

#[tokio::test]
async fn the_page_of_the_document_asks_no_other_server() {
    let (parts, body) = Server::new(EXAMPLE).answer("GET", "/docs", "").await;
    let page = String::from_utf8(body).unwrap();
    assert_eq!(parts.headers["content-type"], "text/html; charset=utf-8");
    let policy = parts.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("connect-src 'self'"), "{policy}");
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("innerHTML"));
}

#[tokio::test]
async fn the_guide_shows_requests_with_the_answers_they_get() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md")).unwrap();
    let examples = guide::examples(&text);
    assert!(examples.len() >= 8, "{}", examples.len());
    for example in examples {
        let server = Server::new(EXAMPLE);
        let (_, body) = server.send(&example.method, &example.path, example.body.clone()).await;
        let answer: Value = serde_json::from_slice(&body).unwrap();
        guide::is_part(&example.answer, &answer).unwrap_or_else(|at| panic!("{example:?}: {at}: {answer:#}"));
    }
}
