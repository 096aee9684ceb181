//! The admission policies as they are shipped, in a real API server: every case of `deploy/policies/README.md`,
//! asked by the one it is about, with the words of the refusal.

#![expect(clippy::panic, reason = "a test that cannot go on fails")]

#[path = "common/plane/mod.rs"]
#[expect(dead_code, unused_imports, reason = "each test file uses what it needs of the harness")]
mod plane;

use plane::Plane;
use plane::ask::call;
use plane::fake_node;
use plane::install::{LEASES, NAMESPACE, Shape, lease};
use plane::users::{BoundTo, User};
use serde_json::{Value, json};

const PLACEMENT: &str = "tangram.gpu/placement";
const FENCE: &str = "tangram.gpu/fence";
const PODS: &str = "/api/v1/namespaces/team/pods";
const GPUNODES: &str = "/apis/tangram.gpu/v1alpha1/gpunodes";
const TANGRAM: &str = "system:serviceaccount:tangram-system:tangram";
const AGENT: &str = "system:serviceaccount:tangram-system:tangram-agent";

/// A user with every right on pods of one namespace, and a kubelet.
const OTHERS: &str = r"
apiVersion: v1
kind: Namespace
metadata: { name: team }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: { name: pods, namespace: team }
rules:
- apiGroups: ['']
  resources: [pods, pods/status, pods/binding, pods/resize, pods/ephemeralcontainers, bindings]
  verbs: ['*']
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: pods, namespace: team }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: pods }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: User, name: alicia }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: kubelets }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:node }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: Group, name: system:nodes }]
";

/// A pod of the namespace `team`.
fn pod(name: &str, annotations: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": "team", "annotations": annotations },
        "spec": {
            "containers": [
                { "name": "main", "image": "nothing-runs-it", "resources": { "requests": { "cpu": "500m" } } },
            ],
        },
    })
}

fn annotations(annotations: &Value) -> Value {
    json!({ "metadata": { "annotations": annotations } })
}

/// A Binding to n1, which can be posted in two places.
fn binding(name: &str, annotations: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": { "name": name, "namespace": "team", "annotations": annotations },
        "target": { "kind": "Node", "name": "n1" },
    })
}

/// Who asks, for what.
struct Request<'a>(&'a User, &'a str, String, Value);

impl Request<'_> {
    async fn allowed(self) -> Value {
        let Self(user, method, path, body) = self;
        call(user, method, &path, &body).await.unwrap_or_else(|why| panic!("{method} {path} {body}: {why}"))
    }

    /// Refused by a policy, and in these words.
    async fn denied(self, policy: &str, words: &str) {
        let why = self.refused(policy).await;
        assert_eq!(why, words);
    }

    async fn refused(self, policy: &str) -> String {
        let Self(user, method, path, body) = self;
        let answer = call(user, method, &path, &body).await;
        let why = answer.expect_err(&format!("{method} {path} {body} is refused"));
        let by = format!("ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request: ");
        let words =
            why.split_once(&by).filter(|_| why.starts_with("403: ")).map(|(_, words)| words.to_owned());
        words.unwrap_or_else(|| panic!("{method} {path} {body}: {why}, not by {policy}"))
    }

    /// Refused because an annotation of `pod` is not for `who` to change.
    async fn keeps(self, pod: &str, key: &str, who: &str) {
        let why = format!("is set, changed and removed only by {TANGRAM}, not by {who}");
        self.denied("tangram-pod-annotations", &format!("pod team/{pod}: metadata.annotations[{key}] {why}"))
            .await;
    }
}

#[tokio::test]
async fn annotations_of_pods_are_tangrams_and_of_pods_only_they_are() {
    let plane = Plane::start().await;
    let named: [(&str, &[&str]); 3] =
        [("alicia", &[]), ("system:node:n1", &["system:nodes"]), ("system:kube-scheduler", &[])];
    let [alicia, kubelet, scheduler] = plane.users(named).await;
    plane.apply_yaml(OTHERS).await;
    plane.install(Shape::Own).await;
    let (admin, tangram) = (plane.admin(), plane.tangram_account().await);
    let controller =
        plane.service_account_token("kube-system", "replicaset-controller", BoundTo::Nothing).await;
    plane.add_node(&fake_node("n1", &[], &[], &[])).await;
    let of = |name: &str| format!("{PODS}/{name}");
    let post = |user, body: Value| Request(user, "POST", PODS.to_owned(), body);
    let patch = |user, path: &str, body: Value| Request(user, "PATCH", of(path), body);

    // Pods are made without.
    post(&alicia, pod("p1", &json!({}))).allowed().await;
    post(&alicia, pod("p2", &json!({ "tangram.gpu/policy": "spread" }))).allowed().await;
    post(&alicia, pod("p3", &json!({ PLACEMENT: "{}" }))).keeps("p3", PLACEMENT, "alicia").await;
    post(&alicia, pod("p3", &json!({ PLACEMENT: "" }))).keeps("p3", PLACEMENT, "alicia").await;
    post(&alicia, pod("p3", &json!({ FENCE: "1/a/0" }))).keeps("p3", FENCE, "alicia").await;
    post(&admin, pod("p3", &json!({ PLACEMENT: "{}" }))).keeps("p3", PLACEMENT, "admin").await;
    let generated = |annotations: &Value| {
        let mut pod = pod("", annotations);
        pod["metadata"]["name"].take();
        pod["metadata"]["generateName"] = json!("web-");
        pod
    };
    let who = "system:serviceaccount:kube-system:replicaset-controller";
    let why =
        post(&controller, generated(&json!({ PLACEMENT: "{}" }))).refused("tangram-pod-annotations").await;
    assert!(why.starts_with("pod team/web-") && why.contains(PLACEMENT) && why.ends_with(who), "{why}");
    post(&controller, generated(&json!({}))).allowed().await;

    // Nobody else sets them.
    let forged = || annotations(&json!({ PLACEMENT: "{}" }));
    patch(&alicia, "p1", forged()).keeps("p1", PLACEMENT, "alicia").await;
    patch(&alicia, "p1/status", forged()).keeps("p1", PLACEMENT, "alicia").await;
    let mut applied = pod("p1", &json!({ PLACEMENT: "{}" }));
    applied["spec"].take();
    patch(&alicia, "p1?fieldManager=alicia#apply", applied).keeps("p1", PLACEMENT, "alicia").await;

    // Tangram changes its own, and nothing else.
    patch(&tangram, "p1", annotations(&json!({ FENCE: "1/a/0" }))).allowed().await;
    let image = json!({ "spec": { "containers": [{ "name": "main", "image": "other" }] } });
    patch(&tangram, "p1#strategic", image)
        .denied("tangram-pod-patch", "pod team/p1: spec is not for Tangram to change, only annotations")
        .await;
    patch(&tangram, "p1", json!({ "metadata": { "labels": { "app": "other" } } }))
        .denied("tangram-pod-patch", "pod team/p1: of metadata, Tangram changes annotations only")
        .await;
    let nominated = json!({ "status": { "nominatedNodeName": "n1" } });
    let nominated = patch(&tangram, "p1/status", nominated).allowed().await;
    assert_eq!(nominated["status"]["nominatedNodeName"], "n1");

    // A pod that has one is changed otherwise, and keeps it.
    patch(&alicia, "p1", annotations(&json!({ "note": "mine" }))).allowed().await;
    patch(&alicia, "p1", json!({ "metadata": { "labels": { "app": "web" } } })).allowed().await;
    for change in [json!({ FENCE: "9/b/0" }), json!({ FENCE: null }), Value::Null] {
        patch(&alicia, "p1", annotations(&change)).keeps("p1", FENCE, "alicia").await;
    }
    patch(&alicia, "p1/status", annotations(&json!({ FENCE: null }))).keeps("p1", FENCE, "alicia").await;

    // Bindings carry them.
    let bindings = "/api/v1/namespaces/team/bindings";
    for path in [of("p1/binding"), bindings.to_owned()] {
        for key in [PLACEMENT, FENCE] {
            let forged = binding("p1", &json!({ key: "{}" }));
            Request(&alicia, "POST", path.clone(), forged).keeps("p1", key, "alicia").await;
        }
    }
    Request(&scheduler, "POST", of("p2/binding"), binding("p2", &json!({}))).allowed().await;
    let placed = json!({ PLACEMENT: r#"{"version":1,"devices":[]}"# });
    Request(&tangram, "POST", of("p1/binding"), binding("p1", &placed)).allowed().await;

    // Of the bound pod too.
    patch(&alicia, "p1", annotations(&json!({ PLACEMENT: null }))).keeps("p1", PLACEMENT, "alicia").await;
    patch(&kubelet, "p1/status", json!({ "status": { "phase": "Running" } })).allowed().await;
    let resources = json!({ "requests": { "cpu": "1" } });
    let resized = json!({ "containers": [{ "name": "main", "resources": resources }] });
    let debugger = json!({ "ephemeralContainers": [{ "name": "debug", "image": "other" }] });
    for (path, spec) in [("p1/resize#strategic", resized), ("p1/ephemeralcontainers#strategic", debugger)] {
        let mut both = forged();
        both["spec"] = spec;
        let answer = patch(&alicia, path, both).allowed().await;
        assert_eq!(answer["metadata"]["annotations"][PLACEMENT], placed[PLACEMENT], "{path}");
    }
    let evicted = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": "p2" } });
    Request(&tangram, "POST", of("p2/eviction"), evicted).allowed().await;
    let at_once = json!({ "gracePeriodSeconds": 0 });
    Request(&alicia, "DELETE", of("p1"), at_once).allowed().await;
}

/// Tokens as agents have them: of the agent's pods on n1 and n2, and of no pod.
async fn agents(plane: &Plane) -> [User; 3] {
    let mut users = Vec::new();
    for node in ["n1", "n2"] {
        plane.add_node(&fake_node(node, &[], &[], &[])).await;
        let mut agent = pod(node, &json!({}));
        agent["metadata"]["namespace"] = json!(NAMESPACE);
        agent["spec"]["nodeName"] = json!(node);
        agent["spec"]["serviceAccountName"] = json!("tangram-agent");
        let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods");
        call(&plane.admin(), "POST", &pods, &agent).await.expect("an agent's pod is made");
        users.push(plane.service_account_token(NAMESPACE, "tangram-agent", BoundTo::Pod(node)).await);
    }
    users.push(plane.service_account_token(NAMESPACE, "tangram-agent", BoundTo::Nothing).await);
    users.try_into().ok().expect("three")
}

#[tokio::test]
async fn agents_write_what_is_of_their_node_and_tangram_what_it_wants_there() {
    let plane = Plane::start().await;
    plane.install(Shape::Own).await;
    let (admin, tangram) = (plane.admin(), plane.tangram_account().await);
    let [one, two, unbound] = agents(&plane).await;
    let instance = |start: u8| {
        let pod = json!({ "namespace": "team", "name": "p1", "uid": "1" });
        json!({ "gpu": 0, "profile": "1g.10gb", "start": start, "pod": pod })
    };
    let gpunode = |spec: Value| json!({ "apiVersion": "tangram.gpu/v1alpha1", "kind": "GpuNode", "metadata": { "name": "n1" }, "spec": spec });
    let make = |user, spec| Request(user, "POST", GPUNODES.to_owned(), gpunode(spec));
    let patch = |user, part: &str, body| Request(user, "PATCH", format!("{GPUNODES}/{part}"), body);
    let refused = async |field: &str, asked: [Request<'_>; 3]| {
        let only = format!("GpuNode n1: {field} is written only by");
        let on_that = format!("{only} the agent on that node; this token is bound to");
        let words = [
            format!("{on_that} node n2"),
            format!("{on_that} no node"),
            format!("{only} {AGENT}, not by admin"),
        ];
        for (asked, words) in asked.into_iter().zip(words) {
            asked.denied("tangram-gpunode-agent", &words).await;
        }
    };
    refused("the object", [&two, &unbound, &admin].map(|user| make(user, json!({})))).await;
    let why = "GpuNode n1: spec.instances is written only by Tangram, an agent creates the object without it";
    make(&one, json!({ "instances": [instance(0)] })).denied("tangram-gpunode-agent", why).await;
    make(&one, json!({ "instances": [] })).allowed().await;
    Request(&admin, "DELETE", format!("{GPUNODES}/n1"), Value::Null).allowed().await;
    make(&one, json!({})).allowed().await;
    refused("status", [&two, &unbound, &admin].map(|user| patch(user, "n1/status", status(7)))).await;
    patch(&one, "n1/status", status(1)).allowed().await;

    // Each part has its own way, and takes nothing of the other with it.
    let spec = |starts: &[u8]| {
        let instances: Vec<Value> = starts.iter().map(|&start| instance(start)).collect();
        json!({ "spec": { "instances": instances } })
    };
    let mut all = spec(&[3]);
    all["status"] = status(2)["status"].take();
    let mut labelled = all.clone();
    labelled["metadata"] = json!({ "labels": { "of": "agent" } });
    let after = patch(&one, "n1/status", labelled).allowed().await;
    let seen = |object: &Value| (object["spec"]["instances"].clone(), object["status"]["sequence"].clone());
    assert_eq!(seen(&after), (Value::Null, json!(2)));
    assert_eq!(after["metadata"]["labels"], Value::Null);
    patch(&tangram, "n1", spec(&[0])).allowed().await;
    all["status"]["sequence"] = json!(9);
    let after = patch(&tangram, "n1", all).allowed().await;
    assert_eq!(seen(&after), (json!([instance(3)]), json!(2)));
    let why = format!("GpuNode n1: spec is written only by {TANGRAM}, not by admin");
    for change in [spec(&[5]), json!({ "spec": null })] {
        patch(&admin, "n1", change).denied("tangram-gpunode-spec", &why).await;
    }
    patch(&admin, "n1", json!({ "metadata": { "labels": { "of": "admin" } } })).allowed().await;

    // Leases.
    let post = |user, name: &str| Request(user, "POST", LEASES.to_owned(), lease(name));
    post(&one, "tangram-agent-n1").allowed().await;
    let take = async |name: &str| {
        let lease = format!("{LEASES}/{name}");
        let mut held = call(&one, "GET", &lease, &Value::Null).await.expect("the Lease is there");
        held["spec"] = json!({ "holderIdentity": "agent" });
        Request(&one, "PUT", lease, held)
    };
    take("tangram-agent-n1").await.allowed().await;
    let only = |name: &str, node: &str| {
        format!(
            "Lease {NAMESPACE}/{name}: an agent writes only the Lease tangram-agent-NODE; this token is bound to {node}"
        )
    };
    for name in ["tangram-agent-n2", "tangram"] {
        post(&one, name).denied("tangram-agent-lease", &only(name, "node n1")).await;
    }
    post(&unbound, "tangram-agent-n1")
        .denied("tangram-agent-lease", &only("tangram-agent-n1", "no node"))
        .await;
    post(&tangram, "tangram").allowed().await;
    take("tangram").await.denied("tangram-agent-lease", &only("tangram", "node n1")).await;
}

/// A report that says nothing but its number.
fn status(sequence: u64) -> Value {
    json!({ "status": { "sequence": sequence, "observedAt": "2026-01-01T00:00:00Z", "driverVersion": "1", "gpus": [] } })
}
