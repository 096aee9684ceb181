//! `tangram repack` and `POST /v1/repack` on the example whose pods stand where nobody tidied up.

use std::process::Output;

use serde_json::{Value, json};

use crate::command::{tangram, text};
use crate::http::Server;

const FRAGMENTED: &str = include_str!("../../examples/fragmented.yaml");

fn repack(arguments: &[&str]) -> Output {
    tangram(&[&["repack", "--cluster", "examples/fragmented.yaml"], arguments].concat())
}

#[test]
fn the_command_shows_the_steps_what_they_buy_and_who_stays() {
    let shown = repack(&["--gpus", "3"]);
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown.stderr));
    let expected = "\
STEP  POD            FROM NODE/GPU/START  TO NODE/GPU/START  MEMORY
1     chat/chat-c    gpu-1/1/1            gpu-1/0/4          10 GiB
2     batch/sweep-5  gpu-2/2/0            gpu-1/3/5          10 GiB
3     chat/chat-d    gpu-1/2/2            gpu-2/0/4          19.9 GiB

                        BEFORE   AFTER
empty GPUs              0 of 12  3 of 12
nodes without GPU pods  0 of 3   0 of 3
free memory slices      67       67
stranded memory slices  1        1
fragmentation cost      43.2     30.4

Goal reached: 3 moves, 39.8 GiB; the least possible (greedy).

Would have helped, but stays:
POD             NODE   WHY
lab/by-hand     gpu-3  no controller would make it anew
lab/notebook-0  gpu-2  tangram.gpu/movable: \"false\" forbids it
web/front-0     gpu-3  PodDisruptionBudget front allows no eviction

This is a plan: nothing was changed.
";
    assert_eq!(text(&shown.stdout), expected);
    assert!(text(&shown.stdout).lines().all(|line| line.len() <= 80));
    let out_of_reach = repack(&["--gpus", "12"]);
    assert_eq!(out_of_reach.status.code(), Some(1));
    let words = text(&out_of_reach.stdout);
    assert!(words.contains("\nGoal not reached, and no moves reach it: "), "{words}");
    let help = text(&repack(&["--help"]).stdout);
    assert!(
        help.contains("A plan only, unless --apply is given: nothing is moved, evicted or written"),
        "{help}"
    );
}

#[test]
fn what_is_asked_wrongly_is_told_and_is_exit_code_2() {
    for (arguments, words) in [
        (vec![], "required arguments were not provided"),
        (vec!["--gpus", "1", "--nodes", "1"], "cannot be used with"),
        (vec!["--gpus", "1", "--gang"], "gang: there are no pods to make room for"),
        (vec!["--gpus", "1", "--memory-max", "lots"], "memoryMax: \"lots\" is not a Kubernetes quantity"),
        (vec!["--fragmentation", "nan"], "fragmentation: a number of memory slices, 0 or more"),
        (vec!["--gpus", "1", "--time-limit", "1e9"], "timeLimit: 1000000000 is not from 0 to 300 seconds"),
        (vec!["--room", "/no/such/file"], "/no/such/file: No such file or directory"),
    ] {
        let output = repack(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(words), "{arguments:?}: {}", text(&output.stderr));
    }
}

const BUDGET: &str = "
kind: PodDisruptionBudget
metadata: {name: front, namespace: web}
spec: {selector: {matchExpressions: [{key: app, operator: In, values: [front]}]}}
status: {disruptionsAllowed: 0}
";
const PODS: &str = "
kind: Deployment
metadata: {name: big, namespace: lab}
spec: {replicas: 2, template: {spec: {containers: [{name: main, resources: {limits: {tangram.gpu/mig-7g.80gb: 1}}}]}}}
";

#[tokio::test]
async fn the_server_answers_as_the_command_does() {
    let server = Server::new(FRAGMENTED);
    let before = server.get("/v1/cluster").await;
    let remote = server.post("/v1/repack?gpus=3", BUDGET).await;
    let local: Value = serde_json::from_slice(&repack(&["--gpus", "3", "-o", "json"]).stdout).unwrap();
    assert_eq!(remote, local);
    assert_eq!(
        (&remote["reached"], &remote["moves"], &remote["gap"]),
        (&json!(true), &json!(3), &json!(0.0))
    );
    assert_eq!(server.get("/v1/cluster").await, before, "a plan changes nothing");
    let room = server.post("/v1/repack?gang=true&memoryMax=100Gi", format!("{PODS}---{BUDGET}")).await;
    assert_eq!(room["reached"], true, "{room:#}");
    let places: Vec<&Value> =
        room["pods"].as_array().unwrap().iter().map(|pod| &pod["place"]["node"]).collect();
    assert!(places.len() == 2 && places.iter().all(|node| node.is_string()), "{room:#}");
    let nothing = server.post("/v1/repack?gang=true&movesMax=1", PODS).await;
    assert_eq!((&nothing["reached"], &nothing["moves"]), (&json!(false), &json!(0)));
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_a_problem_document() {
    let server = Server::new(FRAGMENTED);
    for (query, body, words) in [
        ("", "", "no goal: gpus, nodes, fragmentation, stranded, or pods to make room for"),
        ("?gpus=1&nodes=2", "", "one goal at a time"),
        ("?gpus=1", PODS, "one goal at a time"),
        ("?gpus=1&gang=true", "", "gang: there are no pods to make room for"),
        ("?gpu=1", "", "unknown field `gpu`"),
        ("?gpus=-1", "", "invalid digit"),
        ("?gpus=1&memoryMax=x", "", "memoryMax: \"x\" is not a Kubernetes quantity"),
        ("?gpus=1&timeLimit=-1", "", "timeLimit: -1 is not from 0 to 300 seconds"),
        ("?gpus=1", "kind: Service\nmetadata: {name: s}\n", "1 objects cannot be planned"),
    ] {
        let (status, problem) = server.send("POST", &format!("/v1/repack{query}"), body).await;
        let problem: Value = serde_json::from_slice(&problem).unwrap();
        assert_eq!(status.as_u16(), 400, "{query}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{query}: {detail}");
    }
}

/// What the answer says of one pod that would have helped, after the example was changed.
async fn reason(from: &str, to: &str, pod: &str) -> Option<String> {
    assert!(FRAGMENTED.contains(from), "{from}");
    let answer = Server::new(&FRAGMENTED.replace(from, to)).post("/v1/repack?gpus=12", "").await;
    let stays = answer["stays"].as_array().unwrap().iter();
    let found = stays.filter(|stay| stay["name"] == pod);
    found.map(|stay| stay["reason"].as_str().unwrap().to_owned()).next()
}

#[tokio::test]
async fn objects_say_whether_their_pods_may_move() {
    let movable = "tangram.gpu/movable: \"false\"";
    for (to, expected) in [
        ("tangram.gpu/movable: \"true\"", None),
        ("example.com/other: \"false\"", None),
        ("karpenter.sh/do-not-disrupt: \"true\"", Some("karpenter.sh/do-not-disrupt: \"true\" forbids it")),
        ("karpenter.sh/do-not-disrupt: \"false\"", None),
        (
            "cluster-autoscaler.kubernetes.io/safe-to-evict: \"false\"",
            Some("cluster-autoscaler.kubernetes.io/safe-to-evict: \"false\" forbids it"),
        ),
        ("kubernetes.io/config.mirror: \"x\"", Some("it is a static pod of its node")),
    ] {
        assert_eq!(reason(movable, to, "notebook-0").await.as_deref(), expected, "{to}");
    }
    let owner = "kind: StatefulSet, name: notebook";
    for (to, expected) in [
        ("kind: DaemonSet, name: notebook", "its DaemonSet would make it anew on the same node"),
        ("kind: Node, name: notebook", "it is a static pod of its node"),
    ] {
        assert_eq!(reason(owner, to, "notebook-0").await.as_deref(), Some(expected));
    }
    let controlled = "name: front, uid: o, controller: true";
    let foreign = "name: front, uid: o, controller: false";
    let words = "no controller would make it anew";
    assert_eq!(reason(controlled, foreign, "front-0").await.as_deref(), Some(words));
}
