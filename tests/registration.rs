//! How the device plugin and the kubelet find each other, and find each other again: late, refused, restarted,
//! replaced.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/kubelet.rs"]
#[expect(dead_code, reason = "each test file uses what it needs")]
mod kubelet;
#[path = "common/plugin.rs"]
#[expect(dead_code, reason = "each test file uses what it needs")]
mod node;

use std::fs;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use kubelet::{Faults, Kubelet};
use node::{Node, ONE, QUIET, SOCKET, TWO, healthy, one};

#[tokio::test]
async fn a_kubelet_that_comes_late_is_found_at_once() {
    let node = Node::new();
    let agent = node.agent();
    agent.offer(&[(ONE, vec![one(0)])]);
    // By now it is tried after pauses that are longer than what follows.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let kubelet = node.kubelet();
    let lists = tokio::time::timeout(Duration::from_secs(2), kubelet.lists(ONE, 1)).await;
    assert_eq!(lists.expect("in time")[0].devices, healthy(&["1g.10gb/0"]));
    agent.stop().await;
}

#[tokio::test]
async fn a_kubelet_that_refuses_is_asked_again() {
    let node = Node::new();
    let faults = Faults { refusals: 2, ..Faults::default() };
    let kubelet = Kubelet::start_with(&node.path("plugins"), &node.spec(), faults);
    let agent = node.agent();
    agent.offer(&[(ONE, vec![one(0)])]);
    assert_eq!(kubelet.lists(ONE, 1).await[0].devices, healthy(&["1g.10gb/0"]));
    assert_eq!((kubelet.refusals(), kubelet.seen(ONE).registrations.len()), (0, 1));
    agent.stop().await;
}

#[tokio::test]
async fn a_kubelet_that_never_asks_is_asked_to_and_its_successor_is_found_without_that() {
    let node = Node::new();
    let faults = Faults { is_forgetful: true, ..Faults::default() };
    let kubelet = Kubelet::start_with(&node.path("plugins"), &node.spec(), faults);
    let agent = node.agent_with("envvar,cdi-cri", Duration::from_millis(500));
    agent.offer(&[(ONE, vec![one(0)])]);
    // Ten looks after the first registration comes the second.
    kubelet.wait(ONE, "asked again", |seen| seen.registrations.len() == 2).await;
    tokio::time::sleep(QUIET).await;
    kubelet.kill();
    let kubelet = node.kubelet();
    let lists = tokio::time::timeout(Duration::from_secs(3), kubelet.lists(ONE, 1)).await;
    assert_eq!(lists.expect("long before ten looks")[0].devices, healthy(&["1g.10gb/0"]));
    agent.stop().await;
}

#[tokio::test]
async fn a_kubelet_that_restarts_has_everything_again_at_once() {
    let node = Node::new();
    let agent = node.agent();
    agent.offer(&[(ONE, vec![one(0), one(1)]), (TWO, vec![])]);
    for end in [Kubelet::kill, Kubelet::stop, Kubelet::kill] {
        let kubelet = node.kubelet();
        let soon = tokio::time::timeout(Duration::from_secs(2), kubelet.lists(ONE, 1)).await;
        let lists = soon.expect("however short the life before was");
        assert_eq!(lists[0].devices, healthy(&["1g.10gb/0", "1g.10gb/1"]));
        assert_eq!(kubelet.lists(TWO, 1).await[0].devices, []);
        tokio::time::sleep(QUIET).await;
        for (resource, seen) in kubelet.world() {
            assert_eq!((seen.registrations.len(), seen.lists.len()), (1, 1), "{resource}");
        }
        end(kubelet);
    }
    // What changes while there is no kubelet is what the next one hears first.
    agent.offer(&[(ONE, vec![one(1)]), (TWO, vec![])]);
    let kubelet = node.kubelet();
    assert_eq!(kubelet.lists(ONE, 1).await[0].devices, healthy(&["1g.10gb/1"]));
    assert!(kubelet.allocate(ONE, &["GPU-a/1g.10gb/1"]).await.is_ok());
    agent.stop().await;
}

#[tokio::test]
async fn a_kubelet_that_lets_a_resource_go_gets_it_again() {
    let node = Node::new();
    let kubelet = node.kubelet();
    // Long before the next look at the files.
    let agent = node.agent_with("envvar,cdi-cri", Duration::from_mins(1));
    agent.offer(&[(ONE, vec![one(0)]), (TWO, vec![])]);
    kubelet.lists(ONE, 1).await;
    kubelet.lists(TWO, 1).await;
    kubelet.disconnect(ONE);
    let seen = kubelet.wait(ONE, "registered again", |seen| seen.lists.len() == 2).await;
    assert_eq!((seen.registrations.len(), seen.ended), (2, 1));
    assert_eq!(seen.lists[0].devices, seen.lists[1].devices);
    assert_eq!(kubelet.seen(TWO).registrations.len(), 1, "the other one was not let go");
    agent.stop().await;
}

#[tokio::test]
async fn a_socket_that_is_removed_is_made_anew_without_another_registration() {
    let node = Node::new();
    let kubelet = node.kubelet();
    let agent = node.agent();
    agent.offer(&[(ONE, vec![one(0)])]);
    kubelet.lists(ONE, 1).await;
    let socket = node.path("plugins").join(SOCKET);
    fs::remove_file(&socket).unwrap();
    tokio::time::sleep(QUIET).await;
    assert!(socket.exists());
    agent.offer(&[(ONE, vec![one(1)])]);
    assert_eq!(kubelet.lists(ONE, 2).await[1].devices, healthy(&["1g.10gb/1"]));
    assert_eq!(kubelet.seen(ONE).registrations.len(), 1);
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_that_restarts_takes_no_device_away() {
    let node = Node::new();
    let kubelet = node.kubelet();
    let socket = node.path("plugins").join(SOCKET);
    let agent = node.agent();
    agent.offer(&[(ONE, vec![one(0), one(1)])]);
    kubelet.lists(ONE, 1).await;
    agent.kill().await;
    kubelet.wait(ONE, "without its agent", |seen| seen.ended == 1).await;
    assert!(node.spec().exists(), "containers that run may start again meanwhile");
    // What a process leaves behind that was killed.
    fs::remove_file(&socket).ok();
    drop(UnixListener::bind(&socket).unwrap());

    let agent = node.agent();
    tokio::time::sleep(QUIET).await;
    assert_eq!(kubelet.seen(ONE).registrations.len(), 1, "it does not know yet what there is");
    agent.offer(&[(ONE, vec![one(0), one(1)])]);
    let lists = kubelet.lists(ONE, 2).await;
    assert_eq!(lists.len(), 2);
    assert_eq!(lists[1].devices, lists[0].devices);
    assert!(kubelet.allocate(ONE, &["GPU-a/1g.10gb/1"]).await.is_ok());

    agent.stop().await;
    kubelet.wait(ONE, "told of the end", |seen| seen.ended == 2).await;
    assert!(!socket.exists() && node.spec().exists());
}

#[tokio::test]
async fn of_two_agents_the_later_one_serves_until_it_ends() {
    let node = Node::new();
    let kubelet = node.kubelet();
    let first = node.agent();
    first.offer(&[(ONE, vec![one(0)])]);
    kubelet.lists(ONE, 1).await;
    let second = node.agent();
    second.offer(&[(ONE, vec![one(1)])]);
    kubelet.lists(ONE, 2).await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(kubelet.devices(ONE), Some(healthy(&["1g.10gb/1"])));
    assert_eq!(kubelet.seen(ONE).registrations.len(), 2, "they do not take it from each other");
    second.stop().await;
    let seen = kubelet.wait(ONE, "back", |seen| seen.registrations.len() == 3 && seen.lists.len() == 3).await;
    assert_eq!(seen.lists[2].devices, healthy(&["1g.10gb/0"]));
    first.stop().await;
}
