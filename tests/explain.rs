//! Explanations: every change that is told lets the pod run, and where none is told there is none.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/cluster.rs"]
#[expect(dead_code, reason = "what the other tests of the model need")]
mod cluster;
#[path = "common/http.rs"]
mod http;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cluster::{Board, check, dynamic, fits, model, pod, want};
use http::Server;
use proptest::prelude::*;
use proptest::{collection, prop_assert, prop_assert_eq, sample};
use serde_json::{Value, json};
use tangram::explain::{Explanation, Kind, Remedy, Waits, explain};
use tangram::model::{
    Cluster, Gpu, Mobility, Node, NodeFacts, Pinned, Pod, Policy, Taint, TaintEffect, Want,
};
use tangram::plan::plan;
use tangram::serve::EXAMPLE;
use tangram::solver::Scores;
use tangram::whatif::change;

const MODEL: &str = "a30-24gb";

#[tokio::test]
async fn a_placed_pod_is_compared_with_the_best_others() {
    let server = Server::new(EXAMPLE);
    let before = server.get("/v1/cluster").await;
    let mut compared = 0;
    for node in before["nodes"].as_array().unwrap() {
        let holder =
            node["gpus"].as_array().into_iter().flatten().filter_map(|gpu| gpu["instances"].as_array());
        let Some(holder) = holder.flatten().find_map(|instance| instance["pod"].as_str()) else { continue };
        let answer = server.get(&format!("/v1/pods/{holder}/explain")).await;
        assert_eq!((&answer["state"], &answer["pending"]), (&json!("placed"), &Value::Null));
        assert_eq!(answer["generation"], before["generation"]);
        let placed = &answer["placed"];
        assert_eq!(placed["at"]["node"], node["name"]);
        let alternatives = placed["alternatives"].as_array().unwrap();
        let costs: Vec<i64> = alternatives.iter().map(|other| other["costKib"].as_i64().unwrap()).collect();
        assert!(costs.is_sorted(), "{answer:#}");
        assert!(alternatives.iter().all(|other| other["at"]["node"] != node["name"]));
        assert_eq!(placed["costKib"].is_null(), placed["refusal"].is_string(), "{answer:#}");
        let Some(own) = placed["costKib"].as_i64() else { continue };
        compared += 1;
        let cheaper = costs.iter().filter(|&&cost| cost < own).count();
        assert_eq!(placed["cheaperNodes"].as_u64().unwrap().min(5), u64::try_from(cheaper).unwrap());
        assert!(placed["feasibleNodes"].as_u64().unwrap() > u64::try_from(costs.len()).unwrap());
    }
    assert!(compared >= 5, "{compared}");
    assert_eq!(server.get("/v1/cluster").await, before, "nothing changed");
    let (status, problem) = server.send("GET", "/v1/pods/no/such/explain", "").await;
    assert_eq!(status, 404, "{}", String::from_utf8_lossy(&problem));
}

#[tokio::test]
async fn every_change_that_is_told_of_a_waiting_pod_shows_in_a_dry_run() {
    let server = Server::new(EXAMPLE);
    let before = server.get("/v1/cluster").await;
    let pending = before["pending"].as_array().unwrap();
    assert_eq!(pending.len(), 7);
    let mut kinds = BTreeSet::new();
    for pod in pending {
        let key = pod["pod"].as_str().unwrap();
        let answer = server.get(&format!("/v1/pods/{key}/explain")).await;
        assert_eq!(answer["state"], "pending", "{answer:#}");
        let object = object(key);
        if answer["pending"]["fits"].is_object() {
            assert_eq!(server.post("/v1/dryrun", object.to_string()).await["allFit"], true, "{key}");
            continue;
        }
        assert_eq!(server.post("/v1/dryrun", object.to_string()).await["allFit"], false, "{key}");
        let refused: u64 = answer["pending"]["refusals"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["count"].as_u64().unwrap())
            .sum();
        assert_eq!(refused, 35, "each node gives one reason");
        for told in answer["pending"]["changes"].as_array().into_iter().flatten() {
            kinds.insert(told["kind"].as_str().unwrap().to_owned());
            if told["changes"].as_array().is_none_or(Vec::is_empty) {
                continue; // the pod itself changes, or others move: below, in the core
            }
            let body = json!({"apiVersion": "tangram.gpu/v1", "kind": "DryRun", "pods": [object], "changes": told["changes"]});
            let shown = server.post("/v1/dryrun", body.to_string()).await;
            assert_eq!(shown["allFit"], true, "{told:#}");
            assert_eq!(shown["pods"][0]["node"], told["place"]["node"], "{told:#}");
        }
    }
    assert!(kinds.contains("grow") && kinds.contains("ask"), "{kinds:?}");
    assert_eq!(server.get("/v1/cluster").await, before, "nothing changed");
}

/// A pod of the example as its file has it.
fn object(key: &str) -> Value {
    let documents: Value = serde_saphyr::from_str(EXAMPLE).unwrap();
    let items = documents["items"].as_array().unwrap();
    let is_it = |item: &&Value| {
        let name = |field: &str| item["metadata"][field].as_str().unwrap_or_default();
        item["kind"] == "Pod" && format!("{}/{}", name("namespace"), name("name")) == key
    };
    items.iter().find(is_it).unwrap().clone()
}

/// GPUs of a node, profile and priority of the pods there, and what stands in the way.
type Holding = (u16, Vec<(&'static str, u8)>, Bar);

/// Nodes of A30s with what they hold, and a pod that waits.
#[derive(Debug, Clone)]
struct Case {
    nodes: Vec<Holding>,
    asks: Vec<&'static str>,
    priority: u8,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Bar {
    None,
    Cordon,
    Taint,
    Label,
}

fn cases() -> impl Strategy<Value = Case> {
    let profile = || sample::select(vec!["1g.6gb", "1g.6gb", "2g.12gb", "4g.24gb"]);
    let bar = sample::select(vec![Bar::None, Bar::None, Bar::None, Bar::Cordon, Bar::Taint, Bar::Label]);
    let node = (1..3_u16, collection::vec((profile(), 0..4_u8), 1..5), bar);
    let asks = collection::vec(profile(), 1..3);
    (collection::vec(node, 1..4), asks, 0..4_u8).prop_map(|(nodes, asks, priority)| Case {
        nodes,
        asks,
        priority,
    })
}

impl Case {
    /// Pods land where first fit puts them; every other one is alone, so that nothing moves it.
    fn cluster(&self) -> Cluster {
        let scores = Scores::prior();
        let mut cluster = Cluster::default();
        for (at, (gpus, held, bar)) in self.nodes.iter().enumerate() {
            let name = format!("n{at}");
            let mut facts = dynamic(&name, model(MODEL), 0..*gpus);
            if *bar != Bar::Label {
                facts.labels.insert("pool".into(), "gpu".into());
            }
            let mut one = Cluster::default();
            one.put(Node::new(Arc::new(facts.clone()), None, Vec::new()).into());
            let pods = held.iter().enumerate().map(|(number, (profile, priority))| {
                let pinned = (number == 2).then_some(Pinned::Alone);
                let pod = pod(&format!("h{at}{number}"), &[want(profile)]);
                let mobility = Mobility { pinned, ..Mobility::default() };
                Arc::new(Pod { priority: i32::from(*priority), mobility, ..pod })
            });
            for planned in plan(one, &scores, Policy::FirstFit, pods).0 {
                let Ok(place) = planned.outcome else { continue };
                let bound = planned.pod.bound_to(place.node, place.placement);
                let mut pods = cluster.get(&name).map_or(Vec::new(), |node| node.pods.clone());
                pods.push(Arc::new(bound));
                cluster.put(Node::new(Arc::new(facts.clone()), None, pods).into());
            }
            let pods = cluster.get(&name).map_or(Vec::new(), |node| node.pods.clone());
            facts.is_unschedulable = *bar == Bar::Cordon;
            if *bar == Bar::Taint {
                facts.taints.push(Taint {
                    key: "team".into(),
                    value: "x".into(),
                    effect: TaintEffect::NoSchedule,
                });
            }
            cluster.put(Node::new(Arc::new(facts), None, pods).into());
        }
        cluster
    }

    fn pod(&self) -> Arc<Pod> {
        let wants: Vec<Want> = self.asks.iter().map(|profile| want(profile)).collect();
        let mut pod = pod("waits", &wants);
        pod.priority = self.priority.into();
        pod.demand.node_selector.push(("pool".into(), "gpu".into()));
        Arc::new(pod)
    }
}

fn waits(explanation: Explanation) -> Waits {
    match explanation {
        Explanation::Waits(waits) => *waits,
        other => unreachable!("the pod has no node: {other:?}"),
    }
}

/// What a node holds without some of its pods, by the rules of the MIG table alone.
fn boards(node: &Node, without: impl Fn(&Pod) -> bool) -> Vec<Board> {
    let board = |gpu: &Gpu| {
        let is_left = |instance: &&tangram::model::Instance| {
            let holder = instance.pod.as_ref().and_then(|key| node.pod(key));
            holder.is_none_or(|pod| !without(pod))
        };
        let held: Vec<(usize, u8)> = gpu
            .instances
            .iter()
            .filter(is_left)
            .map(|instance| (usize::from(instance.profile), instance.start))
            .collect();
        model(MODEL).board(&held).unwrap()
    };
    node.dynamic_gpus().map(board).collect()
}

fn is_open(node: &Node) -> bool {
    let facts: &NodeFacts = &node.facts;
    !facts.is_unschedulable && facts.taints.is_empty() && facts.labels.contains_key("pool")
}

fn wants(pod: &Pod) -> Vec<Want> {
    pod.request.slices.iter().map(|ask| ask.want.clone()).collect()
}

#[test]
fn what_is_told_holds_and_what_is_denied_does_not() {
    let scores = Scores::prior();
    let seen: RefCell<BTreeMap<(Kind, bool), usize>> = RefCell::default();
    check(5, 150, &cases(), |case| {
        let (cluster, pod) = (case.cluster(), case.pod());
        let waits = waits(explain(&cluster, &scores, Policy::Pack, &pod));
        let nodes = cluster.by_name();
        let takes = |node: &Node, wants: &[Want]| is_open(node) && fits(&boards(node, |_| false), wants);
        prop_assert_eq!(waits.now.is_ok(), nodes.iter().any(|node| takes(node, &wants(&pod))));
        if waits.now.is_ok() {
            return Ok(());
        }
        let fits_on = |cluster: &Cluster, pod: &Arc<Pod>| {
            let (planned, _) = plan(cluster.clone(), &scores, Policy::Pack, [pod.clone()]);
            planned[0].outcome.is_ok()
        };
        for kind in &waits.remedies.none {
            *seen.borrow_mut().entry((*kind, false)).or_default() += 1;
        }
        for tried in &waits.remedies.found {
            *seen.borrow_mut().entry((kind(&tried.remedy), true)).or_default() += 1;
            let changed = change(&cluster, &tried.changes, &[]).unwrap();
            if let Remedy::Move(plan) = &tried.remedy {
                prop_assert!(moved(&cluster, plan, &pod), "{:?}", plan.steps);
            } else {
                prop_assert!(fits_on(&changed.cluster, &tried.pod), "{:?}", tried.remedy);
                prop_assert!(!tried.changes.is_empty() || *tried.pod != *pod);
            }
        }
        for kind in &waits.remedies.none {
            let there_is = match kind {
                Kind::Ask => is_other_ask(&case, &nodes, &takes),
                Kind::Lift => {
                    nodes.iter().any(|node| bars(node) == 1 && fits(&boards(node, |_| false), &wants(&pod)))
                }
                Kind::Evict => nodes.iter().any(|node| {
                    is_open(node) && fits(&boards(node, |other| other.priority < pod.priority), &wants(&pod))
                }),
                Kind::Grow => {
                    nodes.iter().any(|node| bars(node) == 0 && fits(&boards(node, |_| true), &wants(&pod)))
                }
                Kind::Move => is_movable(&nodes, &pod),
            };
            prop_assert!(!there_is, "{:?} is denied", kind);
        }
        Ok(())
    });
    for kind in Kind::ALL {
        for is_found in [true, false] {
            let count = seen.borrow().get(&(kind, is_found)).copied().unwrap_or(0);
            assert!(count >= 5, "{kind:?} found {is_found}: only {count} cases show it");
        }
    }
}

fn kind(remedy: &Remedy) -> Kind {
    match remedy {
        Remedy::Ask(_) => Kind::Ask,
        Remedy::Lift { .. } => Kind::Lift,
        Remedy::Move(_) => Kind::Move,
        Remedy::Evict(_) => Kind::Evict,
        Remedy::Grow { .. } => Kind::Grow,
    }
}

/// What stands in the way on a node, counted; a cordon does not come with a new one.
fn bars(node: &Node) -> usize {
    let facts = &node.facts;
    usize::from(facts.is_unschedulable) + facts.taints.len() + usize::from(!facts.labels.contains_key("pool"))
}

/// Whether one kind that is asked for could be another profile without attribute.
fn is_other_ask(case: &Case, nodes: &[&Arc<Node>], takes: &impl Fn(&Node, &[Want]) -> bool) -> bool {
    let distinct: BTreeSet<&str> = case.asks.iter().copied().collect();
    let plain = model(MODEL).profiles.iter().filter(|profile| profile.is_plain());
    let others: Vec<&str> = plain.map(|profile| profile.name.as_str()).collect();
    distinct.iter().any(|from| {
        others.iter().filter(|to| *to != from).any(|to| {
            let asks: Vec<Want> =
                case.asks.iter().map(|ask| want(if ask == from { to } else { ask })).collect();
            nodes.iter().any(|node| takes(node, &asks))
        })
    })
}

/// Whether moving one pod, or two, makes room: the pod's place is cleared and those find others.
fn is_movable(nodes: &[&Arc<Node>], pod: &Pod) -> bool {
    let movable: Vec<&Arc<Pod>> =
        nodes.iter().flat_map(|node| &node.pods).filter(|pod| pod.mobility.pinned.is_none()).collect();
    let mut sets: Vec<Vec<&Arc<Pod>>> = movable.iter().map(|one| vec![*one]).collect();
    for (at, one) in movable.iter().enumerate() {
        sets.extend(movable[at + 1..].iter().map(|other| vec![*one, *other]));
    }
    sets.iter().any(|gone| {
        let is_gone = |other: &Pod| gone.iter().any(|one| one.key == other.key);
        // Each of them on any open node, the pod on any: the boards of one node hold all that is put there.
        let places = nodes.len().pow(u32::try_from(gone.len() + 1).unwrap());
        (0..places).any(|code| {
            let mut rest = code;
            let mut asked = vec![Vec::new(); nodes.len()];
            let mut is_open_to_it = true;
            for guest in gone.iter().map(|one| &***one).chain([pod]) {
                let at = rest.rem_euclid(nodes.len());
                rest = rest.div_euclid(nodes.len());
                asked[at].extend(wants(guest));
                // The pod alone has a selector; nobody has a toleration.
                let facts = &nodes[at].facts;
                let lets_in = !facts.is_unschedulable && facts.taints.is_empty();
                is_open_to_it &= lets_in && (guest.key != pod.key || is_open(nodes[at]));
            }
            let mut all = nodes.iter().zip(&asked);
            is_open_to_it && all.all(|(node, asked)| asked.is_empty() || fits(&boards(node, is_gone), asked))
        })
    })
}

/// Moves replayed: each place is free when its pod gets there, and the pod fits at last.
fn moved(cluster: &Cluster, plan: &tangram::repack::Plan, pod: &Arc<Pod>) -> bool {
    let mut cluster = cluster.clone();
    for step in &plan.steps {
        let (from, to) = (cluster.get(&step.from.node).unwrap().clone(), step.to.clone());
        let mover = Pod { key: cluster::key("mover"), ..Pod::clone(&step.pod) };
        let target = cluster
            .get(&to.node)
            .unwrap()
            .with(&Arc::new(mover.bound_to(to.node.clone(), to.placement.clone())));
        if !target.problems.is_empty() {
            return false;
        }
        cluster.put(from.without(|other| other.key == step.pod.key).into());
        let arrived = step.pod.bound_to(to.node.clone(), to.placement);
        let node = cluster.get(&to.node).unwrap().with(&Arc::new(arrived));
        if !node.problems.is_empty() {
            return false;
        }
        cluster.put(node.into());
    }
    tangram::plan::choose(&cluster, &Scores::prior(), Policy::Pack, pod).is_ok()
}
