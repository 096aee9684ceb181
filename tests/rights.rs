//! What the accounts may do under the manifests, asked of a real API server: what `tangram::k8s::rights` lists,
//! and nothing else.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/plane/mod.rs"]
#[expect(dead_code, unused_imports, reason = "each test file uses what it needs of the harness")]
mod plane;

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, stream};
use plane::Plane;
use plane::ask::call;
use plane::install::{NAMESPACE, Shape};
use plane::users::{BoundTo, User};
use serde_json::json;
use tangram::k8s::rights::{AGENT, FOLLOW, LEASE, Right, SCHEDULER, SERVE};

const VERBS: [&str; 10] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "impersonate",
    "escalate",
];

/// What is looked at: all that the tables name, and what would be worth having for somebody who took the pod
/// over.
const RESOURCES: [(&str, &str); 34] = [
    ("", "nodes"),
    ("", "nodes/status"),
    ("", "nodes/proxy"),
    ("", "pods"),
    ("", "pods/status"),
    ("", "pods/binding"),
    ("", "pods/eviction"),
    ("", "pods/exec"),
    ("", "pods/attach"),
    ("", "pods/log"),
    ("", "pods/ephemeralcontainers"),
    ("", "pods/resize"),
    ("", "bindings"),
    ("", "secrets"),
    ("", "configmaps"),
    ("", "events"),
    ("", "namespaces"),
    ("", "serviceaccounts"),
    ("", "serviceaccounts/token"),
    ("policy", "poddisruptionbudgets"),
    ("tangram.gpu", "gpunodes"),
    ("tangram.gpu", "gpunodes/status"),
    ("events.k8s.io", "events"),
    ("coordination.k8s.io", "leases"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("certificates.k8s.io", "certificatesigningrequests"),
    ("apps", "deployments"),
    ("apps", "daemonsets"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
];

/// Names that a rule may have. No name is a list, or an object whose name is not known yet.
const NAMES: [&str; 5] = ["", "tangram", "tangram-scheduler", "kube-scheduler", "tangram-plans"];

type Rule = (String, String, String, Vec<String>);

/// One question: namespace, group, resource, name, verb.
type Question = (&'static str, &'static str, &'static str, &'static str, &'static str);

fn every_question() -> Vec<Question> {
    let mut questions = Vec::new();
    for namespace in [NAMESPACE, "kube-system"] {
        for (group, resource) in RESOURCES {
            // Names matter where a rule has some.
            let names = if matches!(resource, "leases" | "configmaps") { &NAMES[..] } else { &NAMES[..1] };
            for &name in names {
                questions.extend(VERBS.map(|verb| (namespace, group, resource, name, verb)));
            }
        }
    }
    questions
}

fn is_listed(rights: &[Right], question: Question) -> bool {
    let (namespace, group, resource, name, verb) = question;
    rights.iter().any(|right| {
        (right.group, right.resource) == (group, resource)
            && right.verbs.contains(&verb)
            && (right.is_cluster_wide || namespace == NAMESPACE)
            && (right.names.is_empty() || right.names.contains(&name))
    })
}

async fn is_allowed(user: &User, question: Question) -> bool {
    let (namespace, group, resource, name, verb) = question;
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let attributes = json!({
        "namespace": namespace,
        "group": group,
        "resource": resource,
        "subresource": subresource,
        "name": name,
        "verb": verb,
    });
    let kind = "SelfSubjectAccessReview";
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": kind,
        "spec": { "resourceAttributes": attributes },
    });
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    call(user, "POST", path, &review).await.unwrap()["status"]["allowed"] == true
}

/// All rules that hold for somebody in a namespace, but for those that everybody has: to ask who one is and what
/// one may do.
async fn rules(user: &User, namespace: &str) -> BTreeSet<Rule> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": { "namespace": namespace },
    });
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let answer = call(user, "POST", path, &review).await.unwrap();
    assert_ne!(answer["status"]["incomplete"], true, "{answer}");
    let mut found = BTreeSet::new();
    for rule in answer["status"]["resourceRules"].as_array().unwrap() {
        let texts = |field: &str| -> Vec<String> {
            let list = rule[field].as_array().into_iter().flatten();
            list.map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        for group in texts("apiGroups") {
            for resource in texts("resources").iter().filter(|resource| !resource.starts_with("selfsubject"))
            {
                for verb in texts("verbs") {
                    found.insert((group.clone(), resource.clone(), verb, texts("resourceNames")));
                }
            }
        }
    }
    found
}

fn listed_rules(rights: &[Right], namespace: &str) -> BTreeSet<Rule> {
    let holds = |right: &&Right| right.is_cluster_wide || namespace == NAMESPACE;
    let rules = rights.iter().filter(holds).flat_map(|right| {
        right.verbs.iter().map(|verb| {
            let names = right.names.iter().map(|&name| name.to_owned()).collect();
            (right.group.to_owned(), right.resource.to_owned(), (*verb).to_owned(), names)
        })
    });
    rules.collect()
}

/// Both ways to ask: every rule that there is, and what the authorizer makes of each question.
async fn holds_exactly(user: &User, rights: &[Right]) {
    for namespace in [NAMESPACE, "kube-system"] {
        let (found, wanted) = (rules(user, namespace).await, listed_rules(rights, namespace));
        let differences: Vec<_> = found.symmetric_difference(&wanted).collect();
        assert!(differences.is_empty(), "in {namespace}: {differences:#?}");
    }
    let asked = stream::iter(every_question());
    let mut asked =
        asked.map(async |question| (question, is_allowed(user, question).await)).buffer_unordered(16);
    let (mut allowed, mut wrong) = (0, Vec::new());
    while let Some((question, is_allowed)) = asked.next().await {
        allowed += usize::from(is_allowed);
        if is_allowed != is_listed(rights, question) {
            wrong.push((question, is_allowed));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(allowed > 0);
}

#[tokio::test]
async fn the_accounts_of_a_tangram_with_a_lease_of_its_own_may_do_what_the_tables_say() {
    let plane = Plane::start().await;
    plane.install(Shape::Own).await;
    let tangram = plane.tangram_account().await;
    holds_exactly(&tangram, &[SERVE, LEASE].concat()).await;
    let agent = plane.service_account_token(NAMESPACE, "tangram-agent", BoundTo::Nothing).await;
    holds_exactly(&agent, AGENT).await;
}

#[tokio::test]
async fn the_account_of_a_tangram_beside_a_scheduler_adds_the_schedulers_rights() {
    let plane = Plane::start().await;
    plane.install(Shape::Scheduler).await;
    let tangram = plane.tangram_account().await;
    let rights = [SERVE, FOLLOW, SCHEDULER].concat();
    for question in every_question() {
        if is_listed(&rights, question) {
            assert!(is_allowed(&tangram, question).await, "{question:?}");
        }
    }
    // The scheduler's roles add something, and not this.
    assert!(is_allowed(&tangram, (NAMESPACE, "", "pods", "", "delete")).await, "kube-scheduler preempts so");
    for (group, resource, verb) in [
        ("", "secrets", "get"),
        ("", "secrets", "list"),
        ("", "pods", "create"),
        ("", "pods/exec", "create"),
        ("", "nodes", "patch"),
        ("", "nodes/proxy", "get"),
        ("", "serviceaccounts/token", "create"),
        ("apps", "deployments", "create"),
        ("tangram.gpu", "gpunodes", "create"),
        ("tangram.gpu", "gpunodes", "delete"),
        ("tangram.gpu", "gpunodes/status", "patch"),
        ("rbac.authorization.k8s.io", "clusterrolebindings", "create"),
    ] {
        let question = (NAMESPACE, group, resource, "", verb);
        assert!(!is_allowed(&tangram, question).await, "{question:?}");
    }
    let lead = (NAMESPACE, "coordination.k8s.io", "leases", "tangram-scheduler", "update");
    let other = (NAMESPACE, "coordination.k8s.io", "leases", "tangram", "update");
    assert_eq!((is_allowed(&tangram, lead).await, is_allowed(&tangram, other).await), (true, false));
}
