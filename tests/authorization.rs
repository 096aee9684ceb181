//! Who may ask the placement API what, with the API server's own answers: every route by every kind of caller.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/plane/mod.rs"]
#[expect(dead_code, unused_imports, reason = "each test file uses what it needs of the harness")]
mod plane;

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use plane::ask::{Answer, ask, call, trusting};
use plane::certificates::Authority;
use plane::install::{NAMESPACE, Shape};
use plane::users::User;
use plane::{Plane, Tangram, wait_until};
use serde_json::{Value, json};

/// Who is let in, each with all that stand before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Admin,
    Planner,
    Reader,
    Anybody,
}

/// Every route, and the least that is let in.
const ROUTES: [(&str, &str, Role); 28] = [
    ("get", "/", Role::Reader),
    ("get", "/debug/compare", Role::Reader),
    ("get", "/docs", Role::Reader),
    ("get", "/livez", Role::Anybody),
    ("get", "/metrics", Role::Reader),
    ("get", "/openapi.json", Role::Reader),
    ("get", "/readyz", Role::Anybody),
    ("get", "/ui/{file}", Role::Reader),
    ("get", "/v1/cluster", Role::Reader),
    ("get", "/v1/demand", Role::Reader),
    ("post", "/v1/dryrun", Role::Planner),
    ("get", "/v1/events", Role::Reader),
    ("post", "/v1/filter", Role::Planner),
    ("get", "/v1/fragmentation", Role::Reader),
    ("get", "/v1/history", Role::Reader),
    ("get", "/v1/layouts", Role::Reader),
    ("get", "/v1/nodes", Role::Reader),
    ("get", "/v1/nodes/{name}", Role::Reader),
    ("get", "/v1/plans", Role::Reader),
    ("post", "/v1/plans", Role::Admin),
    ("get", "/v1/plans/{id}", Role::Reader),
    ("delete", "/v1/plans/{id}", Role::Admin),
    ("get", "/v1/pods", Role::Reader),
    ("get", "/v1/pods/{namespace}/{name}/explain", Role::Reader),
    ("delete", "/v1/pods/{namespace}/{name}", Role::Admin),
    ("get", "/v1/profiles", Role::Reader),
    ("post", "/v1/repack", Role::Planner),
    ("get", "/no/such/route", Role::Admin),
];

/// How long rights take to hold everywhere: answers are kept for ten seconds.
const LIMIT: Duration = Duration::from_mins(1);

/// Users of the test; the last is bound to nothing.
const NAMES: [&str; 4] = ["reader", "planner", "manager", "stranger"];

const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";

const WITH_TOKENS: &str = "{kubernetes: {agentLeaseNamespace: tangram-system, leaderElection: {mode: none}}, \
    api: {authentication: kubernetes}}";

fn bearer(token: &str) -> Vec<(&'static str, String)> {
    vec![("authorization", format!("Bearer {token}"))]
}

async fn send(tangram: &Tangram, method: &str, path: &str, headers: &[(&'static str, String)]) -> Answer {
    let url = tangram.url();
    let (_, authority) = url.split_once("://").unwrap();
    let mut request = Request::builder().method(method.to_uppercase().as_str()).uri(path);
    request = request.header("host", authority);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    ask(authority, None, request.body(Full::<Bytes>::default()).unwrap()).await.unwrap()
}

async fn bind(plane: &Plane, user: &str, role: &str) {
    let group = "rbac.authorization.k8s.io";
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": { "name": format!("test-{user}") },
        "roleRef": { "apiGroup": group, "kind": "ClusterRole", "name": role },
        "subjects": [{ "apiGroup": group, "kind": "User", "name": user }],
    });
    call(&plane.admin(), "POST", BINDINGS, &binding).await.unwrap();
}

/// A plane with the manifests' rights, its three users and one who is bound to nothing, and a Tangram that runs
/// under its own account.
async fn installed(configuration: &str) -> (Plane, [User; 4], Tangram) {
    let plane = Plane::start().await;
    let users = plane.users(NAMES.map(|name| (name, &[][..]))).await;
    plane.install(Shape::Own).await;
    for (user, role) in NAMES.into_iter().zip(["tangram-reader", "tangram-planner", "tangram-admin"]) {
        bind(&plane, user, role).await;
    }
    let account = plane.tangram_account().await;
    let mut tangram = Tangram::live(&account.kubeconfig, configuration, None).await;
    tangram.ready().await;
    (plane, users, tangram)
}

#[test]
fn the_table_has_every_route_of_the_document() {
    let document: Value = serde_json::from_str(tangram::http::openapi()).unwrap();
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        documented.extend(item.as_object().unwrap().keys().map(|method| (method.as_str(), path.as_str())));
    }
    let of_table = ROUTES.iter().map(|(method, path, _)| (*method, *path));
    let of_table: BTreeSet<_> = of_table.filter(|(_, path)| *path != "/no/such/route").collect();
    assert_eq!(of_table, documented);
}

#[tokio::test]
async fn every_route_lets_in_who_may_and_nobody_else() {
    let (_plane, [reader, planner, admin, stranger], tangram) = installed(WITH_TOKENS).await;
    // The administrator of the cluster may everything: what is not there is not there.
    let callers = [
        ("no token", None, None),
        ("an empty token", Some(""), None),
        ("a wrong token", Some("of-nobody"), None),
        ("stranger", Some(stranger.token.as_str()), Some(Role::Anybody)),
        ("reader", Some(&reader.token), Some(Role::Reader)),
        ("planner", Some(&planner.token), Some(Role::Planner)),
        ("admin", Some(&admin.token), Some(Role::Admin)),
    ];
    // A rule of RBAC takes a moment to reach the authorizer.
    let is_read = async || {
        let answers = [&reader, &planner, &admin].map(|user| bearer(&user.token));
        for headers in &answers {
            (send(&tangram, "get", "/v1/demand", headers).await.status == 200).then_some(())?;
        }
        Some(())
    };
    wait_until("the rights hold", LIMIT, is_read).await;
    for (method, path, needed) in ROUTES {
        let path = path.replace("{namespace}", "default").replace("{name}", "any").replace("{id}", "plan-1");
        let path = path.replace("{file}", "main.js");
        for (caller, token, role) in &callers {
            let headers = token.map(bearer).unwrap_or_default();
            let is_let_in = role.is_some_and(|role| role <= needed);
            // A stream has no end to wait for; HEAD counts as GET.
            let method = if path == "/v1/events" && is_let_in { "head" } else { method };
            let answer = send(&tangram, method, &path, &headers).await;
            let status = answer.status.as_u16();
            let what = format!("{method} {path} by {caller}: {answer:?}");
            let is_unknown_route = path == "/no/such/route";
            match role {
                _ if needed == Role::Anybody => assert_eq!(status, 200, "{what}"),
                None => {
                    assert_eq!(status, 401, "{what}");
                    assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"tangram\"", "{what}");
                }
                // RBAC has no rule for a path that nobody knows.
                Some(_) if is_unknown_route => assert_eq!(status, 403, "{what}"),
                Some(role) if *role <= needed => assert!(![401, 403, 500].contains(&status), "{what}"),
                Some(_) => assert_eq!(status, 403, "{what}"),
            }
            if status >= 400 {
                let problem: Value = serde_json::from_str(&answer.body).unwrap();
                assert_eq!(answer.headers["content-type"], "application/problem+json", "{what}");
                assert_eq!(
                    (&problem["status"], &problem["instance"]),
                    (&json!(status), &json!(path)),
                    "{what}"
                );
            }
        }
    }
    // A refusal names who, what and where; and HEAD is a GET.
    let answer = send(&tangram, "post", "/v1/repack", &bearer(&reader.token)).await;
    let problem: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(problem["detail"], "reader may not post /v1/repack: no RBAC rule allows it");
    assert_eq!(send(&tangram, "head", "/v1/cluster", &bearer(&reader.token)).await.status, 200);
    // The extender protocol has its own way: whoever reaches loopback.
    assert_eq!(send(&tangram, "post", "/scheduler/filter", &[]).await.status, 200);
}

#[tokio::test]
async fn a_right_that_is_taken_away_ends_and_without_an_api_server_nobody_new_comes_in() {
    let (plane, [reader, planner, ..], tangram) = installed(WITH_TOKENS).await;
    let status = async |user: &User| send(&tangram, "get", "/v1/demand", &bearer(&user.token)).await.status;
    wait_until("the rights hold", LIMIT, async || (status(&reader).await == 200).then_some(())).await;
    let path = format!("{BINDINGS}/test-reader");
    call(&plane.admin(), "DELETE", &path, &Value::Null).await.unwrap();
    wait_until("the right is gone", LIMIT, async || (status(&reader).await == 403).then_some(())).await;

    plane.stop_apiserver().await;
    let answer = send(&tangram, "get", "/v1/demand", &bearer(&planner.token)).await;
    assert_eq!((answer.status.as_u16(), &answer.headers["retry-after"]), (503, &"1".parse().unwrap()));
    let problem: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(problem["detail"], "the API server does not say who asks");
    assert_eq!(send(&tangram, "get", "/livez", &[]).await.status, 200);
}

#[tokio::test]
async fn a_token_for_another_audience_is_nobodys() {
    let configuration = "{kubernetes: {agentLeaseNamespace: tangram-system, leaderElection: {mode: none}}, \
        api: {authentication: kubernetes, audiences: [tangram]}}";
    let (plane, [reader, ..], tangram) = installed(configuration).await;
    let account = plane.tangram_account().await;
    let token = async |audience: &str| {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/tangram/token");
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": { "audiences": [audience], "expirationSeconds": 600 },
        });
        let answer = call(&plane.admin(), "POST", &path, &request).await.unwrap();
        answer["status"]["token"].as_str().unwrap().to_owned()
    };
    let status =
        async |token: &str| send(&tangram, "get", "/v1/demand", &bearer(token)).await.status.as_u16();
    // It is known, and bound to nothing that may read.
    assert_eq!(status(&token("tangram").await).await, 403);
    for other in [token("other").await, account.token, reader.token] {
        assert_eq!(status(&other).await, 401);
    }
}

/// An address of this machine that is not loopback: the API server's proxy goes to no other.
fn address() -> String {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").expect("a network interface beside loopback, for the API server's proxy");
    socket.local_addr().unwrap().ip().to_string()
}

#[tokio::test]
async fn through_the_api_servers_proxy_the_token_comes_in_a_header_of_its_own() {
    let authority = Authority::new();
    let (own, clients) = (authority.issue("tangram"), Authority::new());
    // As the shape `extender` is shipped: certificates for the scheduler, tokens on the other listener.
    let configuration = json!({
        "kubernetes": { "agentLeaseNamespace": NAMESPACE, "leaderElection": { "mode": "none" } },
        "tls": { "certFile": own.certificate, "keyFile": own.key, "clientCaFile": clients.certificate() },
        "api": { "listen": format!("{}:0", address()), "authentication": "kubernetes" },
    });
    let plane = Plane::start().await;
    let [reader, caller] = plane.users([("reader", &[]), ("caller", &[])]).await;
    plane.install(Shape::Own).await;
    bind(&plane, "reader", "tangram-reader").await;
    let account = plane.tangram_account().await;
    let identity = clients.issue("scheduler");
    let trust = trusting(&authority.certificate(), Some(&identity)).unwrap();
    let mut tangram = Tangram::live(&account.kubeconfig, &configuration.to_string(), Some(trust)).await;
    tangram.ready().await;
    let line = tangram.line("The placement API is answered here too.").await;
    let (host, port) = line.rsplit_once("address=").unwrap().1.trim().rsplit_once(':').unwrap();
    let port: u16 = port.parse().unwrap();

    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "tangram" },
        "spec": { "ports": [{ "name": "api", "port": 443, "targetPort": port }] },
    });
    // The API server's proxy goes to addresses of pods alone.
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "tangram-0" },
        "spec": { "containers": [{ "name": "tangram", "image": "nothing-runs-it" }] },
    });
    let status = json!({ "status": { "podIP": host, "podIPs": [{ "ip": host }] } });
    let target = json!({ "kind": "Pod", "name": "tangram-0", "namespace": NAMESPACE });
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints", "metadata": { "name": "tangram" },
        "subsets": [{ "addresses": [{ "ip": host, "targetRef": target }], "ports": [{ "name": "api", "port": port }] }],
    });
    // The proxy itself is a right.
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": "caller" },
        "rules": [{ "apiGroups": [""], "resources": ["services/proxy"], "resourceNames": ["https:tangram:api"],
            "verbs": ["create", "get"] }],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "caller" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "caller" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "caller" }],
    });
    let admin = plane.admin();
    for (group, resource, object) in [
        ("api/v1", "services", &service),
        ("api/v1", "pods", &pod),
        ("api/v1", "endpoints", &endpoints),
        ("apis/rbac.authorization.k8s.io/v1", "roles", &role),
        ("apis/rbac.authorization.k8s.io/v1", "rolebindings", &binding),
    ] {
        let path = format!("/{group}/namespaces/{NAMESPACE}/{resource}");
        call(&admin, "POST", &path, object).await.unwrap();
    }
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/tangram-0/status");
    call(&admin, "PATCH", &path, &status).await.unwrap();

    let proxied = async |user: &User, method: &str, path: &str, token: Option<&str>| {
        let base = format!("/api/v1/namespaces/{NAMESPACE}/services/https:tangram:api/proxy");
        let mut request = Request::builder().method(method).uri(format!("{base}{path}"));
        if let Some(token) = token {
            request = request.header("tangram-authorization", format!("Bearer {token}"));
        }
        let answer: Result<Value, _> = user.client.request(request.body(Vec::new()).unwrap()).await;
        answer.map_err(|error| format!("{error:?}"))
    };
    let seen = async || {
        let answer = proxied(&caller, "GET", "/v1/cluster?summary=true", Some(&reader.token)).await;
        let answer = answer.inspect_err(|error| eprintln!("not yet: {error}")).ok()?;
        Some(answer["totals"]["nodes"].clone())
    };
    assert_eq!(wait_until("the proxy finds Tangram", LIMIT, seen).await, json!(0));
    // The API server keeps the caller's own credentials to itself.
    let error = proxied(&caller, "GET", "/v1/cluster", None).await.unwrap_err();
    assert!(error.contains("401"), "{error}");
    let error = proxied(&caller, "POST", "/v1/repack?gpus=1", Some(&reader.token)).await.unwrap_err();
    assert!(error.contains("403"), "{error}");
    // That listener has nothing for schedulers, whoever asks.
    let error = proxied(&caller, "POST", "/scheduler/bind", Some(&reader.token)).await.unwrap_err();
    assert!(error.contains("403"), "{error}");
}
