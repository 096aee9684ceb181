//! Bodies of the extender protocol against the example cluster.
//!
//! The first byte chooses the verb (by its value modulo 4: filter, prioritize, preempt, bind) and, with
//! bit 2, the policy; the rest is the body. Checked, beside the absence of panics:
//!
//! - equal bodies get equal answers, and every answer is JSON;
//! - filter names each node that it was asked about once, and no other; no unknown node fits; where a node
//!   fits the pod can be placed, and the independent checker accepts the place; a filter request changes no
//!   node of the model;
//! - prioritize scores each node once, 0 to 10, with a single 10 if and only if some node fits, and 0 where
//!   filter refuses;
//! - preempt names only nodes it was asked about, only pods on them, only those given to it (or, where none
//!   were, only pods of lower priority), and the pod really fits without them;
//! - bind never has its decision refused by the checker, answers a repetition as it answered first, and is
//!   not undone by an older event; a pod that is gone leaves nothing behind.

#![no_main]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use tangram::cache::{BindError, Cache, Event, Outcome};
use tangram::extender::{self, Context};
use tangram::model::{Node, Pod, PodKey, Policy};
use tangram::solver::{Query, verify};
use tangram::wire::extender::{BindingArgs, ExtenderArgs, Nodes, PreemptionArgs};
use tangram::wire::{self, Dialect};
use tangram_fuzz::{Example, SCORES, check_node, check_place, counted};

fuzz_target!(|data: &[u8]| {
    let Some((&first, body)) = data.split_first() else { return };
    let policy = if first & 4 == 0 { Policy::Pack } else { Policy::Spread };
    let dialect = Dialect::default();
    let claims = tangram::extender::Claims::new();
    let context = Context {
        cluster: &Example::get().cluster,
        scores: &SCORES,
        policy,
        dialect: &dialect,
        claims: &claims,
        holds: &[],
        evicts: false,
    };
    match first % 4 {
        0 => filter(context, body),
        1 => prioritize(context, body),
        2 => preempt(context, body),
        _ => bind(body),
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    tangram_fuzz::mutate(data, size, max_size, seed, 1)
});

fn parse<'a>(context: Context<'_>, body: &'a [u8]) -> Option<ExtenderArgs<'a>> {
    let limits = &context.dialect.limits;
    ExtenderArgs::parse(body, limits.node_names, limits.name_bytes).ok()
}

/// Each node asked about is answered once, and no other.
fn check_names<'a>(answered: impl Iterator<Item = &'a String>, nodes: &Nodes<'_>) {
    let answered = counted(answered.map(String::as_str));
    assert!(answered.values().all(|&count| count == 1), "a node is answered more than once");
    let asked: BTreeSet<&str> = (0..nodes.len()).map(|position| nodes.name(position)).collect();
    assert_eq!(answered.into_keys().collect::<BTreeSet<_>>(), asked, "nodes answered and asked about");
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct FilterAnswer<'a> {
    node_names: Option<Vec<String>>,
    #[serde(borrow)]
    nodes: Option<NodeListAnswer<'a>>,
    failed_nodes: Pairs,
    failed_and_unresolvable_nodes: Pairs,
    error: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeListAnswer<'a> {
    #[serde(rename = "metadata")]
    _metadata: BTreeMap<String, String>,
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

/// The members of an object, doubled keys too.
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// Names that an answer says fit, checked against the form of the question.
fn fitting(nodes: &Nodes<'_>, answer: &FilterAnswer<'_>) -> Vec<String> {
    match (nodes, &answer.node_names, &answer.nodes) {
        (Nodes::Names(_), Some(names), None) => names.clone(),
        (Nodes::Objects(items), None, Some(list)) => {
            let name = |raw: &&RawValue| {
                let item = items.iter().find(|item| item.json.get() == raw.get());
                item.expect("an item of the question").name.clone().into_owned()
            };
            list.items.iter().map(name).collect()
        }
        _ => panic!("an answer in another form than the question"),
    }
}

fn filter(context: Context<'_>, body: &[u8]) {
    let Some(args) = parse(context, body) else { return };
    let (answer, pod) = extender::filter(context, &args);
    let again = parse(context, body).expect("it was read before");
    assert_eq!(extender::filter(context, &again).0, answer, "equal questions, different answers");

    let answer: FilterAnswer<'_> = serde_json::from_slice(&answer).expect("an answer is JSON");
    assert_eq!(answer.error, "");
    let fits = fitting(&args.nodes, &answer);
    let refused = answer.failed_nodes.0.iter().chain(&answer.failed_and_unresolvable_nodes.0);
    assert!(refused.clone().all(|(_, why)| !why.is_empty()), "a refusal without a reason");
    check_names(fits.iter().chain(refused.map(|(name, _)| name)), &args.nodes);
    let Some(pod) = pod else {
        assert!(fits.is_empty(), "a pod that cannot be read fits");
        return;
    };
    let query = Query::new(context.cluster, context.scores, &pod, context.policy);
    for name in &fits {
        let node = context.cluster.get(name).expect("an unknown node fits");
        check_place(context.cluster, node, &pod, &query);
    }
    live(pod, fits.first());
}

thread_local! {
    /// A model that is brought back to where it was after every input.
    static CACHE: RefCell<Cache> = RefCell::new(Example::get().cache());
}

/// The life of a pod in the model: seen by filter, bound, gone.
fn live(pod: Pod, node: Option<&String>) {
    let Example { cluster, pods, .. } = Example::get();
    let before = pods.iter().find(|known| known.key == pod.key);
    CACHE.with_borrow_mut(|cache| {
        cache.apply(Event::PodSeen(Arc::new(pod.clone())));
        if before.is_none() {
            for name in pod.node.iter() {
                assert_eq!(cache.cluster().get(name), cluster.get(name), "a filter request changes a node");
            }
        }
        if let Some(node) = node {
            check_bind(cache, &pod.key, "", node);
        }
        cache.apply(Event::PodDeleted(pod.key));
        if let Some(before) = before {
            cache.apply(Event::PodApplied(before.clone()));
        }
        for name in node.map(String::as_str).into_iter().chain(pod.node.as_deref()) {
            assert_eq!(cache.cluster().get(name), cluster.get(name), "a pod that left is still there");
        }
    });
}

fn check_bind(cache: &mut Cache, pod: &PodKey, uid: &str, node: &str) -> Outcome {
    let bind = Event::Bind { pod: pod.clone(), uid: uid.into(), node: node.into() };
    let before: Option<Arc<Node>> = cache.cluster().get(node).cloned();
    let first = cache.apply(bind.clone());
    assert_eq!(cache.apply(bind), first, "a repeated bind is answered differently");
    match (&first, before) {
        (Outcome::Bound(placement), Some(before)) => {
            let now = cache.cluster().get(node).expect("a node does not vanish");
            check_node(now);
            let bound = now.pod(pod).expect("a bound pod stands on its node");
            if before.pod(pod).is_none() {
                assert_eq!(verify(&before, &bound.request, placement), Ok(()));
            }
        }
        (Outcome::Bound(_), None) => panic!("bound to an unknown node"),
        (Outcome::NotBound(error @ BindError::FailedCheck { .. }), _) => panic!("{error}"),
        (Outcome::NotBound(_), before) => {
            assert_eq!(cache.cluster().get(node).cloned(), before, "a bind that failed changes a node");
        }
        (outcome, _) => panic!("a bind is answered {outcome:?}"),
    }
    first
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct HostPriority {
    host: String,
    score: u64,
}

fn prioritize(context: Context<'_>, body: &[u8]) {
    let Some(args) = parse(context, body) else { return };
    let answer = extender::prioritize(context, &args);
    let again = parse(context, body).expect("it was read before");
    assert_eq!(extender::prioritize(context, &again), answer, "equal questions, different answers");

    let scores: Vec<HostPriority> = serde_json::from_slice(&answer).expect("an answer is JSON");
    check_names(scores.iter().map(|score| &score.host), &args.nodes);
    assert!(scores.iter().all(|score| score.score <= 10), "a score above 10");

    let (filtered, _) = extender::filter(context, &again);
    let filtered: FilterAnswer<'_> = serde_json::from_slice(&filtered).expect("an answer is JSON");
    let fits: BTreeSet<String> = fitting(&again.nodes, &filtered).into_iter().collect();
    assert!(
        scores.iter().all(|score| score.score == 0 || fits.contains(&score.host)),
        "a refused node scores"
    );
    let best = scores.iter().filter(|score| score.score == 10).count();
    assert_eq!(best, usize::from(!fits.is_empty()), "nodes with the highest score");
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct PreemptionAnswer {
    node_name_to_meta_victims: BTreeMap<String, MetaVictims>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MetaVictims {
    #[serde(rename = "Pods")]
    pods: Vec<MetaPod>,
    #[serde(rename = "NumPDBViolations")]
    pdb_violations: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MetaPod {
    #[serde(rename = "UID")]
    uid: String,
}

fn preempt(context: Context<'_>, body: &[u8]) {
    let Ok(args) = PreemptionArgs::parse(body, 100_000) else { return };
    let answer = extender::preempt(context, &args);
    let again =
        extender::preempt(context, &PreemptionArgs::parse(body, 100_000).expect("it was read before"));
    let pod = wire::pod(&args.pod, context.dialect);
    let (answer, again, pod) = match (answer, again, pod) {
        (Ok(answer), Ok(again), Ok(pod)) => (answer, again, pod),
        (Err(answer), Err(again), Err(pod)) => {
            assert_eq!((&answer, &answer), (&again, &pod));
            return;
        }
        _ => panic!("equal questions, different answers"),
    };
    let text = serde_json::to_vec(&answer).expect("texts and numbers only");
    assert_eq!(
        serde_json::to_vec(&again).expect("texts and numbers only"),
        text,
        "equal questions, different answers"
    );

    let answer: PreemptionAnswer = serde_json::from_slice(&text).expect("an answer is JSON");
    let query = Query::new(context.cluster, context.scores, &pod, context.policy);
    for (name, victims) in &answer.node_name_to_meta_victims {
        let given = &args.victims.get(name).expect("a node that was not asked about").uids;
        let node = context.cluster.get(name).expect("an unknown node");
        assert!(!victims.pods.is_empty(), "{name}: kube-scheduler takes no victims for an error");
        assert!(victims.pdb_violations <= victims.pods.len());
        let uids = counted(victims.pods.iter().map(|victim| victim.uid.as_str()));
        for (&uid, &count) in &uids {
            if given.is_empty() {
                assert_eq!(count, 1, "{name}: {uid} is named twice");
                let victim = node.pods.iter().find(|pod| *pod.uid == *uid).expect("a victim on another node");
                assert!(victim.priority < pod.priority, "{name}: {uid} has no lower priority");
            } else {
                // What kube-scheduler chose and the model does not know has to go all the same.
                assert!(
                    count <= given.iter().filter(|given| *given == uid).count(),
                    "{name}: {uid} was not given"
                );
            }
        }
        let left = node.retaining(|other| !uids.contains_key(&*other.uid));
        check_place(context.cluster, &left, &pod, &query);
    }
}

fn bind(body: &[u8]) {
    let max = Dialect::default().limits.name_bytes;
    let Ok(args) = BindingArgs::parse(body, max) else { return };
    assert_eq!(BindingArgs::parse(body, max), Ok(args.clone()));
    let Example { cluster, pods, .. } = Example::get();
    let key = PodKey { namespace: args.pod_namespace.into(), name: args.pod_name.into() };
    CACHE.with_borrow_mut(|cache| {
        let outcome = check_bind(cache, &key, &args.pod_uid, &args.node);
        if matches!(outcome, Outcome::Bound(_)) {
            let before = pods.iter().find(|pod| pod.key == key).expect("an unknown pod was bound");
            let late = cache.apply(Event::PodApplied(before.clone()));
            assert_eq!(late, Outcome::Unchanged, "an event from before the bind undoes it");
            cache.apply(Event::PodDeleted(key));
            cache.apply(Event::PodApplied(before.clone()));
            assert_eq!(
                cache.cluster().get(&args.node),
                cluster.get(&args.node),
                "a pod that left is still there"
            );
        }
    });
}
