//! The device plugin's answers to the kubelet's side of the interface: lists, allocations, and what is on disk for
//! the container runtime by then.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/kubelet.rs"]
#[expect(dead_code, reason = "each test file uses what it needs")]
mod kubelet;
#[path = "common/plugin.rs"]
#[expect(dead_code, reason = "each test file uses what it needs")]
mod node;

use std::fs;

use node::{Node, ONE, QUIET, SOCKET, TWO, healthy, offer_of, one};
use tangram::agent::plugin::Offer;
use tonic::Code;

#[tokio::test]
async fn resources_are_registered_with_what_they_have_once_that_is_known() {
    let node = Node::new();
    let kubelet = node.kubelet();
    fs::write(node.spec(), "of an earlier life").unwrap();
    let agent = node.agent();
    tokio::time::sleep(QUIET).await;
    assert_eq!(kubelet.world().len(), 0, "nothing is known yet");
    assert_eq!(fs::read_to_string(node.spec()).unwrap(), "of an earlier life");

    agent.offer(&[(ONE, vec![one(3), one(0)]), (TWO, vec![])]);
    let lists = kubelet.lists(ONE, 1).await;
    assert_eq!(lists[0].devices, healthy(&["1g.10gb/0", "1g.10gb/3"]));
    assert_eq!(lists[0].numa_nodes, [Some(1), Some(1)]);
    assert_eq!(kubelet.lists(TWO, 1).await[0].devices, []);
    let seen = kubelet.seen(ONE);
    let [request] = &seen.registrations[..] else { panic!("{seen:?}") };
    assert_eq!((&*request.version, &*request.endpoint), ("v1beta1", SOCKET));
    assert_eq!(request.options, seen.options);
    let options = seen.options.unwrap();
    assert!(options.get_preferred_allocation_available && !options.pre_start_required);
    agent.stop().await;
}

#[tokio::test]
async fn a_list_is_sent_when_it_changed_and_only_then() {
    let node = Node::new();
    let kubelet = node.kubelet();
    let agent = node.agent();
    let two = offer_of("2g.20gb", 4, 0);
    agent.offer(&[(ONE, vec![one(0)]), (TWO, vec![])]);
    kubelet.lists(ONE, 1).await;
    kubelet.lists(TWO, 1).await;

    agent.offer(&[(ONE, vec![one(0)]), (TWO, vec![two.clone()])]);
    assert_eq!(kubelet.lists(TWO, 2).await[1].devices, healthy(&["2g.20gb/4"]));
    // The same instances in another life: to the kubelet, the same devices.
    agent.offer(&[(ONE, vec![offer_of("1g.10gb", 0, 1)]), (TWO, vec![two.clone()])]);
    tokio::time::sleep(QUIET).await;
    assert_eq!((kubelet.seen(ONE).lists.len(), kubelet.seen(TWO).lists.len()), (1, 2));

    let sick = Offer { is_healthy: false, ..one(0) };
    agent.offer(&[(ONE, vec![sick]), (TWO, vec![two])]);
    let unhealthy = vec![("GPU-a/1g.10gb/0".to_owned(), "Unhealthy".to_owned())];
    assert_eq!(kubelet.lists(ONE, 2).await[1].devices, unhealthy);

    agent.offer(&[(ONE, vec![one(0)])]);
    assert_eq!(kubelet.lists(TWO, 3).await[2].devices, [], "a resource that is gone has no device");
    agent.offer(&[(ONE, vec![one(0)]), (TWO, vec![offer_of("2g.20gb", 0, 0)])]);
    assert_eq!(kubelet.lists(TWO, 4).await[3].devices, healthy(&["2g.20gb/0"]));

    let three = "tangram.gpu/mig-3g.40gb";
    agent.offer(&[(ONE, vec![one(0)]), (three, vec![offer_of("3g.40gb", 4, 0)])]);
    assert_eq!(kubelet.lists(three, 1).await[0].devices, healthy(&["3g.40gb/4"]));
    for (resource, seen) in kubelet.world() {
        assert_eq!((seen.registrations.len(), seen.ended), (1, 0), "{resource}");
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_device_is_announced_when_it_is_on_disk_and_leaves_the_disk_when_it_is_not_announced() {
    let node = Node::new();
    let kubelet = node.kubelet();
    let agent = node.agent();
    agent.offer(&[(ONE, vec![one(0)])]);
    let has = |list: &kubelet::List, uuid: &str| list.spec.as_ref().is_some_and(|spec| spec.contains(uuid));
    let lists = kubelet.lists(ONE, 1).await;
    assert!(has(&lists[0], "MIG-0-0"));
    agent.offer(&[(ONE, vec![one(1)])]);
    let lists = kubelet.lists(ONE, 2).await;
    assert!(has(&lists[1], "MIG-1-0"));
    agent.offer(&[(ONE, vec![])]);
    kubelet.lists(ONE, 3).await;
    tokio::time::sleep(QUIET).await;
    assert!(!node.spec().exists(), "a spec with no device is invalid");
    agent.stop().await;
}

#[tokio::test]
async fn without_its_nodes_a_device_is_healthy_only_where_a_runtime_can_give_it_otherwise() {
    let node = Node::new();
    fs::remove_file(node.path("dev/nvidia0")).unwrap();
    let unhealthy = vec![("GPU-a/1g.10gb/0".to_owned(), "Unhealthy".to_owned())];
    {
        let kubelet = node.kubelet();
        let agent = node.agent_with("cdi-cri", QUIET);
        agent.offer(&[(ONE, vec![one(0)])]);
        assert_eq!(kubelet.lists(ONE, 1).await[0].devices, unhealthy);
        let refusal = kubelet.allocate(ONE, &["GPU-a/1g.10gb/0"]).await.unwrap_err();
        let missing = node.path("dev/nvidia0");
        let text = format!("GPU-a/1g.10gb/0 has no CDI device: {} does not exist", missing.display());
        assert_eq!((refusal.code(), refusal.message()), (Code::FailedPrecondition, &*text));
        fs::write(&missing, "").unwrap();
        assert_eq!(kubelet.lists(ONE, 2).await[1].devices, healthy(&["1g.10gb/0"]), "it is tried again");
        agent.stop().await;
        kubelet.stop();
        fs::remove_file(missing).unwrap();
    }
    let kubelet = node.kubelet();
    let agent = node.agent();
    agent.offer(&[(ONE, vec![one(0)])]);
    assert_eq!(kubelet.lists(ONE, 1).await[0].devices, healthy(&["1g.10gb/0"]));
    let answer = kubelet.allocate(ONE, &["GPU-a/1g.10gb/0"]).await.unwrap();
    assert_eq!((&*answer.envs["NVIDIA_VISIBLE_DEVICES"], answer.cdi_devices.len()), ("MIG-0-0", 0));
    agent.stop().await;
}

#[tokio::test]
async fn a_container_gets_what_is_offered_at_that_moment_and_the_agent_hears_of_it() {
    let node = Node::new();
    let kubelet = node.kubelet();
    let mut agent = node.agent();
    let sick = Offer { is_healthy: false, ..one(5) };
    agent.offer(&[(ONE, vec![one(0), one(3), sick])]);
    kubelet.lists(ONE, 1).await;
    let all = ["GPU-a/1g.10gb/3", "GPU-a/1g.10gb/0"];
    assert_eq!(kubelet.preferred(ONE, &all, &[], 1).await, ["GPU-a/1g.10gb/0"]);
    assert_eq!(kubelet.preferred(ONE, &all, &all[..1], 2).await, all);

    let answer = kubelet.allocate(ONE, &all).await.unwrap();
    let devices: Vec<String> = answer.cdi_devices.into_iter().map(|device| device.name).collect();
    assert_eq!(devices, ["tangram.gpu/mig=MIG-0-0", "tangram.gpu/mig=MIG-3-0"]);
    let envs = [("NVIDIA_VISIBLE_DEVICES", "MIG-0-0,MIG-3-0"), ("TANGRAM_MIG_1G_10GB", "MIG-0-0,MIG-3-0")];
    assert_eq!(answer.envs, envs.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    for expected in [&[][..], &[], &all] {
        let heard = tokio::time::timeout(QUIET, agent.allocated.recv()).await.expect("the agent hears of it");
        let heard: Vec<String> = heard.unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(heard, expected, "two questions, then what was handed out");
    }

    let refused = async |id: &str| {
        let refusal = kubelet.allocate(ONE, &[id]).await.unwrap_err();
        (refusal.code(), refusal.message().to_owned())
    };
    let precondition = |text: &str| (Code::FailedPrecondition, text.to_owned());
    let gone = "GPU-a/1g.10gb/0";
    assert_eq!(refused("GPU-a/1g.10gb/1").await, precondition("GPU-a/1g.10gb/1 is not wanted here any more"));
    assert_eq!(refused("GPU-a/1g.10gb/5").await, precondition("GPU-a/1g.10gb/5 is not live"));
    agent.offer(&[(ONE, vec![one(3)])]);
    kubelet.lists(ONE, 2).await;
    assert_eq!(refused(gone).await, precondition("GPU-a/1g.10gb/0 is not wanted here any more"));
    let heard = tokio::time::timeout(QUIET, agent.allocated.recv()).await;
    assert!(heard.is_err(), "nothing was handed out");
    agent.stop().await;
}
