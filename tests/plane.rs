//! The harness of the end-to-end tests works: what the other tests take for
//! granted is shown here, without Tangram where it is not about Tangram.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/plane/mod.rs"]
#[expect(dead_code, unused_imports, reason = "each test file uses what it needs of the harness")]
mod plane;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use http_body_util::Full;
use hyper::Request;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Binding, ConfigMap, Node, ObjectReference, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{
    Api, DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use plane::agent::{AgentDouble, Manner, gpu_nodes};
use plane::ask::{ask, trusting};
use plane::certificates::{Authority, Identity};
use plane::controllers::Managed;
use plane::rules::{Fault, Rule};
use plane::users::BoundTo;
use plane::workload::{many_nodes, many_pods};
use plane::{Plane, Tangram, fake_node, pod, wait_until};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

/// Longer than anything takes that a test waits for, on a machine with all its
/// cores taken: a test that meets it has failed.
const LIMIT: Duration = Duration::from_mins(2);

/// A deployment of two pods and a budget that lets one of them go.
const WORKLOAD: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec: { nodeName: n-a, containers: [{ name: main, image: none }] }
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: { name: web }
spec:
  minAvailable: 1
  selector: { matchLabels: { app: web } }
";

#[tokio::test]
async fn controllers_and_kwok_keep_pods_and_budgets_in_step() {
    let plane = Plane::start().await;
    plane.add_node(&fake_node("n-a", &[], &[], &[])).await;
    let _controllers = plane.controllers().await;
    plane.apply_yaml(WORKLOAD).await;
    let pods = Api::<Pod>::default_namespaced(plane.client());
    let budgets = Api::<PodDisruptionBudget>::default_namespaced(plane.client());
    let listed = async || pods.list(&ListParams::default().labels("app=web")).await.unwrap().items;
    let made = async || (listed().await.len() == 2).then_some(());
    wait_until("the deployment makes its pods", LIMIT, made).await;
    let allowed = async || budgets.get("web").await.unwrap().status?.disruptions_allowed;
    // Nobody has said yet that they run.
    wait_until("the budget is counted", LIMIT, async || (allowed().await == Some(0)).then_some(())).await;

    let _kwok = plane.kwok().await;
    wait_until("a disruption is allowed", LIMIT, async || (allowed().await == Some(1)).then_some(())).await;

    let evicted = listed().await.remove(0).metadata;
    pods.evict(evicted.name.as_deref().unwrap(), &EvictParams::default()).await.unwrap();
    let replaced = async || {
        let now = listed().await;
        let is_gone = now.iter().all(|pod| pod.metadata.uid != evicted.uid);
        (is_gone && now.len() == 2).then_some(())
    };
    wait_until("the evicted pod goes and another one comes", LIMIT, replaced).await;

    // What the deployment owns goes with it.
    let deployments = Api::<Deployment>::default_namespaced(plane.client());
    deployments.delete("web", &DeleteParams::default()).await.unwrap();
    let sets = Api::<ReplicaSet>::default_namespaced(plane.client());
    let gone = async || {
        let sets = sets.list(&ListParams::default()).await.unwrap().items;
        (sets.is_empty() && listed().await.is_empty()).then_some(())
    };
    wait_until("all that the deployment made is gone", LIMIT, gone).await;
}

#[tokio::test]
async fn kwok_leaves_nodes_alone_that_are_not_its_own() {
    let plane = Plane::start().await;
    let mut mine = fake_node("mine", &[], &[], &[]);
    mine.metadata.annotations = Some([("kwok.x-k8s.io/node".to_owned(), "fake".to_owned())].into());
    plane.add_node(&mine).await;
    plane.add_node(&fake_node("other", &[], &[], &[])).await;
    let _kwok = plane.kwok_for(Managed::Annotated("kwok.x-k8s.io/node=fake")).await;
    for node in ["other", "mine"] {
        let mut bound = pod(node, &[]);
        bound.spec.as_mut().unwrap().node_name = Some(node.to_owned());
        plane.add_pod(&bound).await;
    }
    let phase = async |name: &str| plane.pod(name).await.status.and_then(|status| status.phase);
    let runs = async || (phase("mine").await.as_deref() == Some("Running")).then_some(());
    wait_until("the pod on KWOK's node runs", LIMIT, runs).await;
    assert_eq!(phase("other").await.as_deref(), Some("Pending"));
}

/// Lets only the named user make config maps, and says who asked otherwise.
const POLICY: &str = r"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: maps }
rules:
- { apiGroups: [''], resources: [configmaps], verbs: [create] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: maps }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: maps }
subjects:
- { apiGroup: rbac.authorization.k8s.io, kind: Group, name: writers }
- { kind: ServiceAccount, namespace: agents, name: agent }
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: { name: maps }
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - { apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [configmaps] }
  validations:
  - expression: >-
      'system:masters' in request.userInfo.groups || 'writers' in request.userInfo.groups ||
      ('authentication.kubernetes.io/node-name' in request.userInfo.extra &&
      request.userInfo.extra['authentication.kubernetes.io/node-name'][0] == object.metadata.name)
    message: not the map of your node
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: { name: maps }
spec: { policyName: maps, validationActions: [Deny] }
";

#[tokio::test]
async fn users_have_their_own_rights_and_accounts_their_node() {
    let plane = Plane::start().await;
    let writer = plane.user("ann", &["writers", "people"]).await;
    let reader = plane.user("system:serviceaccount:tangram-system:tangram", &[]).await;
    plane.add_node(&fake_node("n-a", &[], &[], &[])).await;
    let mut bound = pod("agent", &[]);
    bound.metadata.namespace = Some("agents".to_owned());
    let spec = bound.spec.as_mut().unwrap();
    spec.node_name = Some("n-a".to_owned());
    spec.service_account_name = Some("agent".to_owned());
    let anywhere = plane.service_account_token("agents", "agent", BoundTo::Nothing).await;
    let by_node = plane.service_account_token("agents", "agent", BoundTo::Node("n-a")).await;
    let pods = Api::<Pod>::namespaced(plane.client(), "agents");
    pods.create(&PostParams::default(), &bound).await.unwrap();
    let by_pod = plane.service_account_token("agents", "agent", BoundTo::Pod("agent")).await;
    plane.apply_yaml(POLICY).await;

    let make = async |user: &plane::users::User, name: &str| {
        let mut map = ConfigMap::default();
        map.metadata.name = Some(name.to_owned());
        let maps = Api::<ConfigMap>::default_namespaced(user.client.clone());
        maps.create(&PostParams::default(), &map).await.map(drop).map_err(|error| error.to_string())
    };
    // A policy works some time after it was written.
    let refused = async || make(&anywhere, "n-a").await.err().filter(|why| why.contains("map of your node"));
    let mut number = 0;
    wait_until("the policy works", LIMIT, async || {
        number += 1;
        make(&anywhere, &format!("probe-{number}")).await.err().filter(|why| why.contains("map of your node"))
    })
    .await;
    assert!(refused().await.is_some());
    assert!(make(&by_pod, "n-b").await.unwrap_err().contains("map of your node"));
    make(&by_pod, "n-a").await.unwrap();
    assert!(make(&by_node, "n-a").await.unwrap_err().contains("already exists"));
    make(&writer, "any").await.unwrap();
    let why = make(&reader, "any").await.unwrap_err();
    let who = "\"system:serviceaccount:tangram-system:tangram\" cannot create resource \"configmaps\"";
    assert!(why.contains(who), "{why}");
}

#[tokio::test]
async fn the_api_server_goes_and_comes_back_as_it_was() {
    let plane = Plane::start().await;
    let nodes = Api::<Node>::all(plane.client());
    plane.add_nodes(&many_nodes(1, 40)).await;
    let before = nodes.get("node-0007").await.unwrap();
    // A watch must not keep it from ending.
    let mut changes = Box::pin(nodes.watch(&WatchParams::default(), "0").await.unwrap());
    plane.stop_apiserver().await;
    let ended = tokio::time::timeout(LIMIT, async { while let Some(Ok(_)) = changes.next().await {} }).await;
    assert!(ended.is_ok(), "the watch goes on without a server");
    assert!(matches!(nodes.get("node-0007").await, Err(kube::Error::Service(_))));
    plane.start_apiserver().await;
    assert_eq!(nodes.get("node-0007").await.unwrap(), before);
    plane.kill_apiserver().await;
    assert!(matches!(nodes.get("node-0007").await, Err(kube::Error::Service(_))));
    plane.start_apiserver().await;
    assert_eq!(nodes.list(&ListParams::default()).await.unwrap().items.len(), 40);
}

#[tokio::test]
async fn a_link_delays_swallows_and_cuts() {
    let plane = Plane::start().await;
    plane.add_node(&fake_node("n-a", &[], &[], &[])).await;
    let link = plane.link().await;
    let nodes = Api::<Node>::all(link.admin.client.clone());
    nodes.get("n-a").await.unwrap();

    link.delay(Duration::from_millis(300));
    let asked = Instant::now();
    nodes.get("n-a").await.unwrap();
    assert!(asked.elapsed() >= Duration::from_millis(600), "there and back took {:?}", asked.elapsed());
    link.delay(Duration::ZERO);

    // A request in the dark is neither answered nor refused.
    link.black_hole(true);
    let mut asking = Box::pin(nodes.get("n-a"));
    let in_the_dark = tokio::time::timeout(Duration::from_secs(1), &mut asking).await;
    assert!(in_the_dark.is_err(), "{in_the_dark:?}");
    link.black_hole(false);
    asking.await.unwrap();

    let changes = nodes.watch(&WatchParams::default().disable_bookmarks(), "0").await.unwrap();
    let mut changes = Box::pin(changes);
    assert!(matches!(changes.next().await, Some(Ok(WatchEvent::Added(_)))));
    link.refuse(true);
    link.cut();
    let ended = tokio::time::timeout(LIMIT, async { while let Some(Ok(_)) = changes.next().await {} }).await;
    assert!(ended.is_ok(), "the watch goes on after the cut");
    assert!(matches!(nodes.get("n-a").await, Err(kube::Error::Service(_))));
    link.refuse(false);
    nodes.get("n-a").await.unwrap();
}

#[tokio::test]
async fn a_proxy_spoils_the_requests_that_a_rule_is_for() {
    let plane = Plane::start().await;
    let ann = plane.user("ann", &["people"]).await;
    let proxy = plane.proxy().await;
    let client = proxy.link.admin.client.clone();
    let (nodes, pods) = (Api::<Node>::all(client.clone()), Api::<Pod>::default_namespaced(client));

    // Who asks is passed on, and a watch streams.
    let other = plane.through(&proxy.link.route, &ann).await;
    let why = Api::<Node>::all(other.client).get("n-a").await.unwrap_err().to_string();
    assert!(why.contains("User \"ann\" cannot get resource \"nodes\""), "{why}");
    let mut changes = Box::pin(nodes.watch(&WatchParams::default().disable_bookmarks(), "0").await.unwrap());
    for name in ["n-a", "n-b"] {
        plane.add_node(&fake_node(name, &[], &[], &[])).await;
        let change = tokio::time::timeout(LIMIT, changes.next()).await.expect("a change streams through");
        let Some(Ok(WatchEvent::Added(node))) = change else { panic!("{change:?}") };
        assert_eq!(node.metadata.name.as_deref(), Some(name));
    }

    // Its certificate is good for programs that trust its authority, and no others.
    let address = format!("127.0.0.1:{}", proxy.link.route.port);
    let request = || Request::get("/livez").header("host", "127.0.0.1").body(Full::default()).unwrap();
    let trust = trusting(&proxy.link.route.authority, None).unwrap();
    assert_eq!(ask(&address, Some(&trust), request()).await.unwrap().body, "ok");
    let other = plane.link().await;
    let distrust = trusting(&other.route.authority, None).unwrap();
    assert!(ask(&address, Some(&distrust), request()).await.is_err());

    // Carried out, and the answer lost: the client cannot know.
    proxy.rule(Rule::on("POST", "/binding", Fault::LoseAnswer).times(1));
    plane.add_pod(&pod("lost", &[])).await;
    let bind = async |name: &str| {
        let target = ObjectReference { name: Some("n-a".to_owned()), ..ObjectReference::default() };
        let mut binding = Binding { target, ..Binding::default() };
        binding.metadata.name = Some(name.to_owned());
        let bound: Result<Status, _> =
            pods.create_subresource("binding", name, &PostParams::default(), &binding).await;
        bound
    };
    assert!(matches!(bind("lost").await, Err(kube::Error::Service(_))));
    assert_eq!(plane.node_of("lost").await, "n-a");
    let again = bind("lost").await;
    assert!(matches!(&again, Err(kube::Error::Api(status)) if status.code == 409), "{again:?}");
    assert_eq!(proxy.answers("POST", "/lost/binding"), [Some(201), Some(409)]);

    // Not carried out.
    for (name, fault) in [("gone", Fault::LoseRequest), ("failed", Fault::Answer(500))] {
        proxy.rule(Rule::on("POST", "/binding", fault).times(1));
        plane.add_pod(&pod(name, &[])).await;
        bind(name).await.unwrap_err();
        assert_eq!(plane.pod(name).await.spec.unwrap().node_name, None);
        bind(name).await.unwrap();
    }

    // A scheduler on this way, beside one of another name, tries again.
    let named = |name: &str| {
        format!(
            "{{apiVersion: kubescheduler.config.k8s.io/v1, kind: KubeSchedulerConfiguration, profiles: \
             [{{schedulerName: {name}}}]}}"
        )
    };
    let _direct = plane.scheduler(&named("direct")).await;
    let _spoiled = plane.scheduler_as(&named("spoiled"), &proxy.link.admin).await;
    proxy.rule(Rule::on("POST", "/spoiled/binding", Fault::Answer(500)).times(1));
    for name in ["direct", "spoiled"] {
        let mut waiting = pod(name, &[]);
        waiting.spec.as_mut().unwrap().scheduler_name = Some(name.to_owned());
        plane.add_pod(&waiting).await;
        plane.node_of(name).await;
    }
    assert_eq!(proxy.answers("POST", "/spoiled/binding"), [None, Some(201)]);
    assert_eq!(proxy.answers("POST", "/direct/binding"), []);

    // Late in either direction, and never.
    let late = Duration::from_millis(500);
    for fault in [Fault::DelayRequest(late), Fault::DelayAnswer(late)] {
        proxy.rule(Rule::on("GET", "/n-a", fault).times(1));
        let asked = Instant::now();
        nodes.get("n-a").await.unwrap();
        assert!(asked.elapsed() >= late, "{fault:?} took {:?}", asked.elapsed());
    }
    proxy.rule(Rule::on("GET", "/n-a", Fault::Silence).times(1));
    let unheard = tokio::time::timeout(late, nodes.get("n-a")).await;
    assert!(unheard.is_err(), "{unheard:?}");

    // By chance, and the same chance again.
    let failures = async || {
        proxy.clear();
        proxy.seed(7);
        proxy.rule(Rule::on("GET", "/n-b", Fault::Answer(503)).percent(40));
        let mut failures = Vec::new();
        for _ in 0..40 {
            failures.push(nodes.get("n-b").await.is_err());
        }
        failures
    };
    let first = failures().await;
    assert_eq!(failures().await, first);
    let count = first.iter().filter(|&&failed| failed).count();
    assert!((4..36).contains(&count), "{count} of 40 failed");
    proxy.clear();
    proxy.rule(Rule::on_watch("nodes", Fault::Answer(410)));
    assert!(nodes.watch(&WatchParams::default().disable_bookmarks(), "0").await.is_err());
    nodes.list(&ListParams::default()).await.unwrap();
}

#[tokio::test]
async fn tangram_is_frozen_killed_and_started_again() {
    let cluster = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/cluster.yaml");
    let mut one = Tangram::start(["--cluster", cluster]).await;
    let mut other = Tangram::start(["--cluster", cluster]).await;
    assert_ne!(one.url(), other.url());
    one.ready().await;
    other.ready().await;

    one.pause().await;
    let unheard = tokio::time::timeout(Duration::from_secs(1), one.try_get("/livez")).await;
    assert!(unheard.is_err(), "{unheard:?}");
    assert_eq!(other.get("/livez").await.status, 200);
    one.resume().await;
    assert_eq!(one.get("/livez").await.status, 200);
    assert_eq!(one.get("/nothing-is-here").await.status, 404);

    let url = one.url();
    one.kill().await;
    let why = format!("{:#}", one.try_get("/livez").await.unwrap_err());
    assert!(why.contains("onnect"), "{why}");
    one.restart().await;
    one.ready().await;
    assert_eq!(one.url(), url);

    // Frozen processes end too, and with the test at the latest.
    other.stop().await;
    assert!(other.try_get("/livez").await.is_err());
    one.pause().await;
}

#[tokio::test]
async fn agents_report_what_is_wanted_when_and_if_they_are_told() {
    let plane = Plane::start().await;
    plane.define_gpunodes().await;
    let labels = [
        ("nvidia.com/gpu.product", "NVIDIA-A100-SXM4-80GB"),
        ("nvidia.com/gpu.count", "2"),
        ("tangram.gpu/mig", "dynamic"),
    ];
    plane.add_node(&fake_node("dynamic", &labels, &[], &[])).await;
    plane.add_node(&fake_node("plain", &labels[..2], &[], &[])).await;
    let mut agents = AgentDouble::start(plane.client());
    let objects = gpu_nodes(plane.client());
    let status = async || {
        let object = objects.get_opt("dynamic").await.unwrap();
        object.map_or(Value::Null, |object| object.data["status"].clone())
    };
    let reported = async |what: &str, is_it: &dyn Fn(&Value) -> bool| {
        wait_until(what, LIMIT, async || Some(status().await).filter(is_it)).await
    };
    let first = reported("the GPUs are there", &|status| status["gpus"][1]["index"] == 1).await;
    assert_eq!(first["sequence"], 1);
    assert_eq!(first["gpus"][0]["model"], "NVIDIA-A100-SXM4-80GB");
    assert!(objects.get_opt("plain").await.unwrap().is_none());

    let bound = pod("holder", &[]);
    plane.add_pod(&bound).await;
    let holder = plane.pod("holder").await.metadata.uid;
    let want = async |starts: &[u8]| {
        let pod = json!({ "namespace": "default", "name": "holder", "uid": holder });
        let instance = |start| json!({ "gpu": 1, "profile": "1g.10gb", "start": start, "pod": pod });
        let instances: Vec<Value> = starts.iter().map(instance).collect();
        let patch = Patch::Merge(json!({ "spec": { "instances": instances } }));
        objects.patch("dynamic", &PatchParams::default(), &patch).await.unwrap();
    };
    let live = |status: &Value| status["gpus"][1]["instances"].as_array().map_or(0, Vec::len);
    want(&[0]).await;
    let one = reported("the instance is live", &|status| live(status) == 1).await;
    let instance = &one["gpus"][1]["instances"][0];
    assert!(instance["uuid"].as_str().unwrap().starts_with("MIG-"), "{instance}");
    // Nobody holds it before the pod is bound.
    assert_eq!(instance["pod"], Value::Null);
    let target = json!({ "metadata": { "name": "holder" }, "target": { "name": "dynamic" } });
    let pods = Api::<Pod>::default_namespaced(plane.client());
    let bound: Result<Status, _> =
        pods.create_subresource("binding", "holder", &PostParams::default(), &target).await;
    bound.unwrap();
    let is_held = |status: &Value| status["gpus"][1]["instances"][0]["pod"]["name"] == "holder";
    let held = reported("the pod holds it", &is_held).await;
    assert!(held["sequence"].as_u64() > one["sequence"].as_u64());

    // Slow, then silent, then gone: nothing is reported, and later all of it.
    let delay = Duration::from_secs(2);
    agents.manner("dynamic", Manner { delay, ..Manner::default() });
    let asked = Instant::now();
    want(&[0, 1]).await;
    reported("the slow instance is live", &|status| live(status) == 2).await;
    assert!(asked.elapsed() >= delay);
    agents.manner("dynamic", Manner { is_silent: true, ..Manner::default() });
    want(&[]).await;
    plane.add_node(&fake_node("later", &labels, &[], &[])).await;
    let other = async || objects.get_opt("later").await.unwrap();
    wait_until("another agent works", LIMIT, other).await;
    assert_eq!(live(&status().await), 2);
    agents.crash().await;
    want(&[3]).await;
    agents.manner_of_all(Manner { sick: [(0, "Xid 79".to_owned())].into(), ..Manner::default() });
    assert_eq!(live(&status().await), 2);
    agents.restart();
    let last = reported("the agent is back", &|status| live(status) == 1).await;
    assert_eq!(last["gpus"][1]["instances"][0]["start"], 3);
    assert_eq!(last["gpus"][0]["health"], "Unhealthy");
    assert_eq!(last["gpus"][0]["healthReason"], "Xid 79");
}

#[tokio::test]
async fn workloads_are_of_all_kinds_and_understood() {
    let (nodes, pods) = (many_nodes(3, 60), many_pods(4, 200));
    assert_eq!(many_nodes(3, 60), nodes);
    assert_ne!(many_nodes(4, 60), nodes);
    assert_eq!(many_pods(4, 200), pods);
    let asked: BTreeSet<&str> = pods
        .iter()
        .filter_map(|pod| {
            pod.spec.as_ref().unwrap().containers[0].resources.as_ref().unwrap().limits.as_ref()
        })
        .flat_map(|limits| limits.keys().map(String::as_str))
        .collect();
    for resource in [
        "nvidia.com/gpu",
        "nvidia.com/gpu.shared",
        "nvidia.com/mig-3g.40gb",
        "tangram.gpu/mig-1g.10gb",
        "tangram.gpu/mem",
        "tangram.gpu/compute-slices",
        "amd.com/gpu",
        "habana.ai/gaudi",
        "gpu.intel.com/i915",
    ] {
        assert!(asked.contains(resource), "nobody asks for {resource}, only for {asked:?}");
    }

    // The API server takes them, and Tangram finds nothing wrong with a node.
    let plane = Plane::start().await;
    plane.add_nodes(&nodes).await;
    plane.add_pods(&pods).await;
    let cluster = plane.capture().await;
    let tangram = Tangram::start(["--cluster".as_ref(), cluster.as_os_str()]).await;
    let answer = tangram.get("/v1/cluster").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let view: Value = serde_json::from_str(&answer.body).unwrap();
    let seen = view["nodes"].as_array().unwrap();
    assert_eq!(seen.len(), 60);
    for node in seen {
        assert_eq!(node["problems"], Value::Null, "{node}");
    }
    // And places most kinds of pods somewhere.
    let names: Vec<_> = nodes.iter().map(|node| node.metadata.name.clone()).collect();
    let mut places = BTreeMap::new();
    for pod in &pods {
        let request = json!({ "Pod": pod, "Nodes": null, "NodeNames": names });
        let answer = tangram.post("/scheduler/filter", &request).await;
        let fits = answer["NodeNames"].as_array().is_some_and(|names| !names.is_empty());
        *places.entry(fits).or_insert(0) += 1;
    }
    assert!(places.get(&true).is_some_and(|&count| count > 100), "{places:?}");
}

/// Answers each connection whose client shows a certificate of the authority.
async fn strict_server(authority: &Authority, own: &Identity) -> u16 {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.certificate()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients =
        WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
    let chain = vec![CertificateDer::from_pem_file(&own.certificate).unwrap()];
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(&own.key).unwrap())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.ok();
                stream.flush().await.ok();
            }
        }
    });
    port
}

#[tokio::test]
async fn an_authority_signs_for_servers_and_clients() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let port = strict_server(&authority, &authority.issue("tangram")).await;
    let address = format!("127.0.0.1:{port}");
    let ours = authority.certificate();
    let asked = async |trusted, own: Option<&Identity>| {
        let request = Request::get("/").header("host", "127.0.0.1").body(Full::default()).unwrap();
        ask(&address, Some(&trusting(trusted, own).unwrap()), request).await
    };
    let client = authority.issue("scheduler");
    assert_eq!(asked(&ours, Some(&client)).await.unwrap().body, "ok");
    asked(&ours, None).await.unwrap_err();
    asked(&ours, Some(&stranger.issue("scheduler"))).await.unwrap_err();
    asked(&stranger.certificate(), Some(&client)).await.unwrap_err();
}

#[tokio::test]
async fn a_live_tangram_is_cut_off_and_another_one_takes_over() {
    let plane = Plane::start().await;
    plane.define_gpunodes().await;
    plane.apply_yaml("{apiVersion: v1, kind: Namespace, metadata: {name: tangram-system}}").await;
    plane.add_nodes(&many_nodes(1, 20)).await;
    let _agents = AgentDouble::start(plane.client());
    let configuration = |identity: &str| {
        let election = json!({ "leaseNamespace": "tangram-system", "identity": identity });
        json!({ "kubernetes": { "leaderElection": election } }).to_string()
    };
    let proxy = plane.proxy().await;
    let mut one = Tangram::live(&proxy.link.admin.kubeconfig, &configuration("one"), None).await;
    one.ready().await;
    let mut two = Tangram::live(&plane.kubeconfig(), &configuration("two"), None).await;
    proxy.link.black_hole(true);
    two.ready().await;
    assert_eq!(one.get("/readyz").await.status, 503);
}
