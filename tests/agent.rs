//! The agent on a real node: a real kubelet and containerd, a real scheduler that asks Tangram, and GPUs that are
//! a mock behind NVML's own interface.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "common/gpus.rs"]
#[expect(dead_code, reason = "each test file uses what it needs of the harness")]
mod gpus;
#[path = "common/node/mod.rs"]
#[expect(dead_code, reason = "each test file uses what it needs of the harness")]
mod node;
#[path = "common/plane/mod.rs"]
#[expect(dead_code, unused_imports, reason = "each test file uses what it needs of the harness")]
mod plane;
#[path = "common/stage.rs"]
mod stage;

use std::collections::BTreeSet;
use std::time::Duration;

use gpus::instances;
use k8s_openapi::api::core::v1::{Pod, PodOS, ResourceRequirements};
use kube::api::{Api, DeleteParams};
use node::workload::Seen;
use nvml_mock::{GpuInstance, What};
use plane::agent::gpu_nodes;
use plane::crowd::agrees;
use plane::dice::Dice;
use plane::{Plane, wait_until};
use serde_json::{Value, json};
use stage::{LIMIT, Stage, delete, ours, reported, running, running_or_rejected, status};
use tangram_kubelet_api::podresources::ListPodResourcesRequest;

const MODELS: &[&str] = &["h100-80gb-sxm", "h100-80gb-sxm"];

/// The same, once every instance has its pod.
async fn held(plane: &Plane) -> Vec<String> {
    let all = async || {
        let now = reported(plane, "real").await;
        (!now.is_empty() && now.iter().all(|it| !it.ends_with(" -"))).then_some(now)
    };
    wait_until("who holds what is told", LIMIT, all).await
}

async fn reports(plane: &Plane, node: &str, expected: &[&str]) {
    let is_reported = async || (reported(plane, node).await == expected).then_some(());
    let mut last = Vec::new();
    let waited = tokio::time::timeout(LIMIT, async {
        while is_reported().await.is_none() {
            last = reported(plane, node).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    assert!(waited.await.is_ok(), "reported {last:?}, expected {expected:?}");
}

impl Stage<'_> {
    /// What a container was told: its environment, and its paths.
    async fn seen(&self, pod: &Pod, container: &str) -> Seen {
        self.node.said(pod, container).await.pop().expect("it started")
    }

    /// Annotation, kubelet, mock and container agree about a running pod's devices: their MIG UUIDs.
    async fn devices(&self, pod: &Pod) -> Vec<String> {
        let name = pod.metadata.name.as_deref().unwrap();
        let state = self.gpus.scene.state();
        let mut uuids = Vec::new();
        for holder in self.holders(name).await {
            let mut told: Vec<String> = Vec::new();
            for id in &holder.1 {
                let [gpu, profile, start] = &id.split('/').collect::<Vec<_>>()[..] else { panic!("{id}") };
                let is_it = |(index, it): &&(usize, GpuInstance)| {
                    state.gpus[*index].uuid == *gpu
                        && it.profile == *profile
                        && it.start.to_string() == *start
                };
                let all = instances(&state);
                let (_, instance) = all.iter().find(is_it).unwrap_or_else(|| panic!("{name}: no {id}"));
                told.push(instance.compute[0].uuid.clone());
            }
            let seen = self.seen(pod, &holder.0).await;
            let visible: BTreeSet<&str> = seen.environment["NVIDIA_VISIBLE_DEVICES"].split(',').collect();
            assert_eq!(visible, told.iter().map(String::as_str).collect(), "{name}/{}", holder.0);
            uuids.extend(told);
        }
        uuids
    }

    /// Containers of a pod with the devices that the kubelet says they hold.
    async fn holders(&self, pod: &str) -> Vec<(String, Vec<String>)> {
        // The kubelet refuses more than ten calls at once, the agent's among them.
        let list = async || self.node.pod_resources().await.list(ListPodResourcesRequest {}).await.ok();
        let answer = wait_until("the kubelet's record", LIMIT, list).await;
        let pods = answer.into_inner().pod_resources.into_iter().filter(|it| it.name == pod);
        let containers = pods.flat_map(|pod| pod.containers);
        let held = containers.map(|it| {
            let ids = it.devices.into_iter().filter(|it| it.resource_name.starts_with("tangram.gpu/"));
            (it.name, ids.flat_map(|it| it.device_ids).collect::<Vec<_>>())
        });
        held.filter(|(_, ids)| !ids.is_empty()).collect()
    }

    /// The devices that a pod holds, by the kubelet's word.
    async fn ids(&self, pod: &str) -> BTreeSet<String> {
        self.holders(pod).await.into_iter().flat_map(|(_, ids)| ids).collect()
    }

    /// Nothing is on the GPUs any more, and everything that was made was removed once.
    async fn is_empty(&self) {
        let is_empty = async || instances(&self.gpus.scene.state()).is_empty().then_some(());
        wait_until("the GPUs are empty", LIMIT, is_empty).await;
        reports(self.plane, "real", &[]).await;
        agrees(&self.tangram).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_gets_exactly_the_gpu_instance_that_was_placed_for_it() {
    let plane = Plane::start().await;
    let stage = Stage::set(&plane, MODELS).await;
    let paths = ["/dev/nvidia0", "/dev/nvidia1", "/dev/nvidiactl"];
    plane.add_pod(&ours("one", &[("tangram.gpu/mig-1g.10gb", "1")], &paths)).await;
    let pod = running(&plane, "one").await;
    let made = instances(&stage.gpus.scene.state());
    let [(of_gpu, instance)] = &made[..] else { panic!("one instance: {made:?}") };
    assert_eq!(stage.devices(&pod).await, [instance.compute[0].uuid.clone()]);
    let expected = format!("{of_gpu}/1g.10gb/{}", instance.start);
    reports(&plane, "real", &[&format!("{expected} one")]).await;
    let planned = &plane::truth::devices(&pod)[0];
    assert_eq!(
        format!("{}/{}/{}", planned["gpu"], planned["profile"].as_str().unwrap(), planned["start"]),
        expected,
        "as it was annotated"
    );
    let seen = stage.seen(&pod, "main").await;
    let there = |path: &str| seen.paths[path].is_some();
    let gpus = [*of_gpu == 0, *of_gpu == 1];
    assert_eq!(paths.map(there), [gpus[0], gpus[1], true], "one GPU's device node, by CDI");
    agrees(&stage.tangram).await;

    delete(&plane, "one").await;
    stage.is_empty().await;
    assert_eq!(stage.gpus.made_and_removed(), (1, 1));

    // Its GpuNode is made again when somebody deletes it.
    let objects = gpu_nodes(plane.client());
    let old = objects.get("real").await.unwrap().metadata.uid;
    objects.delete("real", &DeleteParams::default()).await.unwrap();
    let again = async || {
        let object = objects.get_opt("real").await.unwrap()?;
        (object.metadata.uid != old && object.data["status"]["gpuCount"] == 2).then_some(())
    };
    wait_until("the GpuNode is there again", LIMIT, again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_of_one_pod_get_devices_of_their_own() {
    let plane = Plane::start().await;
    let stage = Stage::set(&plane, MODELS).await;
    let mut pod = ours("several", &[("tangram.gpu/mig-1g.10gb", "2")], &[]);
    let spec = pod.spec.as_mut().unwrap();
    let mut second = spec.containers[0].clone();
    second.name = "second".to_owned();
    let ask: ResourceRequirements =
        serde_json::from_value(json!({"limits": {"tangram.gpu/mig-2g.20gb": "1"}})).unwrap();
    second.resources = Some(ask);
    let mut first = spec.containers[0].clone();
    first.name = "before".to_owned();
    first.args = Some(vec!["-once".to_owned()]);
    spec.containers.push(second);
    spec.init_containers = Some(vec![first]);
    plane.add_pod(&pod).await;
    let pod = running(&plane, "several").await;
    let devices: BTreeSet<String> = stage.devices(&pod).await.into_iter().collect();
    assert_eq!(devices.len(), 3, "two and one, none twice");
    let made = instances(&stage.gpus.scene.state());
    let profiles: Vec<&str> = made.iter().map(|(_, it)| it.profile.as_str()).collect();
    assert_eq!(profiles.iter().filter(|it| **it == "2g.20gb").count(), 1);
    assert_eq!(profiles.len(), 3, "the init container has what its pod's container gets: {profiles:?}");
    let before = stage.seen(&pod, "before").await.environment["NVIDIA_VISIBLE_DEVICES"].clone();
    let main = stage.seen(&pod, "main").await.environment["NVIDIA_VISIBLE_DEVICES"].clone();
    assert_eq!(before, main);
    agrees(&stage.tangram).await;
    delete(&plane, "several").await;
    stage.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_run_on_whatever_restarts_around_them() {
    let plane = Plane::start().await;
    let mut stage = Stage::set(&plane, MODELS).await;
    plane.add_pod(&ours("holder", &[("tangram.gpu/mig-3g.40gb", "1")], &[])).await;
    let before = running(&plane, "holder").await;
    let devices = stage.devices(&before).await;
    let started = |pod: &Pod| {
        let statuses = pod.status.as_ref().unwrap().container_statuses.clone().unwrap();
        (statuses[0].container_id.clone(), statuses[0].restart_count)
    };
    // Each is followed by a pod that needs the agent, the kubelet and the scheduler as they were.
    let undisturbed = async |stage: &Stage<'_>, new: &str| {
        plane.add_pod(&ours(new, &[("tangram.gpu/mig-1g.10gb", "1")], &[])).await;
        let pod = running(&plane, new).await;
        assert_eq!(stage.devices(&pod).await.len(), 1);
        let holder = running(&plane, "holder").await;
        assert_eq!(started(&holder), started(&before), "{new}");
        assert_eq!(stage.devices(&holder).await, devices, "{new}");
        delete(&plane, new).await;
    };
    stage.agent.kill().await;
    stage.restart_agent();
    undisturbed(&stage, "after-the-agents-death").await;
    stage.node.restart_kubelet().await;
    undisturbed(&stage, "after-the-kubelets-restart").await;
    stage.node.kill_kubelet().await;
    stage.agent.kill().await;
    stage.restart_agent();
    stage.node.start_kubelet().await;
    undisturbed(&stage, "after-the-death-of-both").await;
    stage.node.restart_containerd().await;
    undisturbed(&stage, "after-containerds-restart").await;
    agrees(&stage.tangram).await;
    delete(&plane, "holder").await;
    stage.is_empty().await;
    assert_eq!(stage.gpus.made_and_removed(), (5, 5), "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_switched_off_gets_its_instances_again() {
    let plane = Plane::start().await;
    let mut stage = Stage::set(&plane, MODELS).await;
    plane.add_pod(&ours("holder", &[("tangram.gpu/mig-2g.20gb", "1")], &[])).await;
    let before = running(&plane, "holder").await;
    let at_first = held(&plane).await;
    let old = stage.devices(&before).await;
    stage.agent.kill().await;
    stage.node.reboot().await;
    stage.gpus.scene.reboot(); // a Hopper forgets its MIG mode as well
    stage.restart_agent();
    let is_rebuilt = async || {
        instances(&stage.gpus.scene.state()).iter().any(|(_, it)| !it.compute.is_empty()).then_some(())
    };
    wait_until("the instance is there again", LIMIT, is_rebuilt).await;
    reports(&plane, "real", &at_first.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let rebuilt = instances(&stage.gpus.scene.state());
    assert_eq!(rebuilt.len(), 1);
    assert_ne!(rebuilt[0].1.compute[0].uuid, old[0], "a UUID is never given again");
    // Another pod comes and goes beside it; the place of the first is not given away.
    plane.add_pod(&ours("next", &[("tangram.gpu/mig-2g.20gb", "1")], &[])).await;
    let next = running(&plane, "next").await;
    assert_eq!(stage.devices(&next).await.len(), 1);
    delete(&plane, "next").await;
    delete(&plane, "holder").await;
    stage.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_restarts_is_seen_and_what_it_lost_made_again() {
    let plane = Plane::start().await;
    let stage = Stage::set(&plane, MODELS).await;
    plane.add_pod(&ours("holder", &[("tangram.gpu/mig-3g.40gb", "1")], &[])).await;
    let before = stage.devices(&running(&plane, "holder").await).await;
    let at_first = held(&plane).await;
    let scene = &stage.gpus.scene;
    scene.stop_driver();
    // What was there is shown still, on GPUs that take no more.
    modes_become(&plane, &[("Enabled", "Unhealthy"), ("Enabled", "Unhealthy")]).await;
    plane.add_pod(&ours("waits", &[("tangram.gpu/mig-3g.40gb", "1")], &[])).await;
    scene.start_driver();
    modes_become(&plane, &[("Enabled", "Healthy"), ("Enabled", "Healthy")]).await;
    running(&plane, "waits").await;
    let now = async || {
        let now = reported(&plane, "real").await;
        (now.len() == 2 && now.contains(&at_first[0]) && now.iter().any(|it| it.ends_with(" waits")))
            .then_some(())
    };
    wait_until("the first is back at its place, the other beside it", LIMIT, now).await;
    let uuids: Vec<String> =
        instances(&scene.state()).into_iter().map(|(_, it)| it.compute[0].uuid.clone()).collect();
    assert!(uuids.len() == 2 && !uuids.contains(&before[0]), "both are there, under new names: {uuids:?}");
    delete(&plane, "waits").await;
    delete(&plane, "holder").await;
    stage.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_made_is_shown_and_never_touched() {
    let plane = Plane::start().await;
    let stage = Stage::set(&plane, &["h100-80gb-sxm"]).await;
    let theirs = stage.gpus.scene.make_foreign(0, "3g.40gb", 0).unwrap();
    reports(&plane, "real", &["0/3g.40gb/0 -"]).await;
    plane.add_pod(&ours("four", &[("tangram.gpu/mig-4g.40gb", "1")], &[])).await;
    plane.add_pod(&ours("three", &[("tangram.gpu/mig-3g.40gb", "1")], &[])).await;
    let pod = running(&plane, "three").await;
    assert_eq!(stage.devices(&pod).await.len(), 1);
    reports(&plane, "real", &["0/3g.40gb/0 -", "0/3g.40gb/4 three"]).await;
    let told = async || {
        let pod = plane.pod("four").await;
        plane::crowd::condition(&pod, "tangram.gpu/Nominated").map(ToOwned::to_owned)
    };
    let why = wait_until("pod four is told why it waits", LIMIT, told).await;
    assert!(why.contains("4g.40gb"), "{why}");
    delete(&plane, "three").await;
    reports(&plane, "real", &["0/3g.40gb/0 -"]).await;
    // When they take theirs away, the room is used.
    stage.gpus.scene.remove(0, theirs.id).unwrap();
    running(&plane, "four").await;
    reports(&plane, "real", &["0/4g.40gb/0 four"]).await;
    let is_theirs = |what: &What| match what {
        What::GpuInstanceDestroyed { profile, start, .. } => (profile.as_str(), *start) == ("3g.40gb", 0),
        _ => false,
    };
    let history = stage.gpus.scene.history();
    let removals: Vec<_> = history.iter().filter(|it| is_theirs(&it.what)).map(|it| it.by).collect();
    assert_eq!(removals, [None], "by nobody but themselves");
    delete(&plane, "four").await;
}

/// The devices of a pod's annotation, as the kubelet would call them.
fn planned(pod: &Pod, stage: &Stage<'_>) -> BTreeSet<String> {
    let gpus = stage.gpus.scene.state().gpus;
    let id = |device: &Value| {
        let gpu = &gpus[usize::try_from(device["gpu"].as_u64().unwrap()).unwrap()].uuid;
        format!("{gpu}/{}/{}", device["profile"].as_str().unwrap(), device["start"])
    };
    plane::truth::devices(pod).iter().map(id).collect()
}

/// Seconds from a pod's bind to the start of its container, as the API server shows them.
fn way(pod: &Pod) -> i64 {
    let status = pod.status.as_ref().unwrap();
    let mut conditions = status.conditions.iter().flatten();
    let bound =
        conditions.find(|it| it.type_ == "PodScheduled").unwrap().last_transition_time.clone().unwrap();
    let state = status.container_statuses.as_ref().unwrap()[0].state.clone().unwrap();
    state.running.unwrap().started_at.unwrap().0.duration_since(bound.0).as_secs()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_turned_away_after_it_was_given_its_device_leaves_nothing_behind() {
    let plane = Plane::start().await;
    let stage = Stage::set(&plane, &["h100-80gb-sxm"]).await;
    // The kubelet asks for devices first and looks at the rest of the pod then.
    let mut foreign = ours("foreign", &[("tangram.gpu/mig-3g.40gb", "1")], &[]);
    foreign.spec.as_mut().unwrap().os = Some(PodOS { name: "windows".to_owned() });
    for _ in 0..3 {
        plane.add_pod(&foreign).await;
        let why = running_or_rejected(&plane, "foreign").await.unwrap_err();
        assert_eq!(why, "Pod was rejected: Failed to admit pod as the OS field doesn't match node OS");
        for name in ["one", "two"] {
            plane.add_pod(&ours(name, &[("tangram.gpu/mig-3g.40gb", "1")], &[])).await;
        }
        for name in ["one", "two"] {
            let pod = running(&plane, name).await;
            stage.devices(&pod).await;
            assert_eq!(stage.ids(name).await, planned(&pod, &stage), "{name}");
        }
        for name in ["one", "two", "foreign"] {
            delete(&plane, name).await;
        }
    }
    stage.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_pods_come_and_go_while_the_agent_dies_again_and_again() {
    const PODS: usize = 200;
    const PROFILES: [(&str, &str); 4] =
        [("1g.10gb", "1"), ("1g.10gb", "2"), ("2g.20gb", "1"), ("3g.40gb", "1")];
    let plane = Plane::start().await;
    let mut stage = Stage::set(&plane, &["h100-80gb-sxm"; 4]).await;
    let mut dice = Dice::new(4);
    let mut alive: Vec<String> = Vec::new();
    let (mut born, mut deaths, mut rejected, mut raced, mut exact) = (0, 0, 0, 0, 0);
    let mut strayed: BTreeSet<String> = BTreeSet::new();
    let pods = Api::<Pod>::namespaced(plane.client(), "default");
    while born < PODS {
        let batch = (PODS - born).min(4);
        let new: Vec<String> = (born..born + batch).map(|number| format!("p{number}")).collect();
        for name in &new {
            let (profile, count) = dice.pick(&PROFILES);
            plane.add_pod(&ours(name, &[(&format!("tangram.gpu/mig-{profile}"), count)], &[])).await;
        }
        born += batch;
        alive.extend(new);
        let has_died = dice.hits(30);
        if has_died {
            tokio::time::sleep(Duration::from_millis(dice.roll(700).into())).await;
            stage.agent.kill().await;
            stage.restart_agent();
            deaths += 1;
        }
        let mut kept = Vec::new();
        for name in alive {
            let pod = match running_or_rejected(&plane, &name).await {
                Ok(pod) => pod,
                Err(why) => {
                    if why.starts_with("Pod was rejected: Node didn't have enough resource: tangram.gpu/") {
                        raced += 1; // a pod ended while this one was admitted: see deploy/agent.md
                    } else {
                        // The agent was killed between the bind and the kubelet's question for the device.
                        let is_allocation = why.starts_with("Pod was rejected: Allocate failed");
                        assert!(has_died && is_allocation, "{name}: {why}");
                        rejected += 1;
                    }
                    delete(&plane, &name).await;
                    continue;
                }
            };
            kept.push((name, pod));
        }
        // Not before: a question for the record while a pod is admitted can get the pod turned away.
        for (name, pod) in &kept {
            stage.devices(pod).await;
            let (held, planned) = (stage.ids(name).await, planned(pod, &stage));
            if held == planned {
                exact += 1;
            } else if !strayed.contains(name) {
                // Nobody waits longer for a pod that does not come: then the kubelet may choose.
                let slowest = kept.iter().map(|(_, pod)| way(pod)).max().unwrap_or_default();
                assert!(
                    slowest >= 9,
                    "{name} holds {held:?} and not {planned:?}; the slowest took {slowest} s"
                );
                strayed.insert(name.clone());
            }
        }
        alive = kept.into_iter().map(|(name, _)| name).collect();
        // Of the eight halves of the GPUs two pods leave four at least: the next four fit whatever they ask for.
        while alive.len() > 2 {
            let name =
                alive.swap_remove(usize::try_from(dice.roll(u32::try_from(alive.len()).unwrap())).unwrap());
            pods.delete(&name, &DeleteParams::default().grace_period(1)).await.unwrap();
        }
    }
    assert!(deaths >= 4 && rejected <= deaths, "{deaths} deaths, {rejected} pods rejected");
    assert!(exact * 2 > PODS, "{exact} times a pod held what was placed for it");
    assert!(raced * 50 <= PODS, "{raced} of {PODS} pods met one that had just ended");
    agrees(&stage.tangram).await;
    for name in alive {
        delete(&plane, &name).await;
    }
    stage.is_empty().await;
    let (made, removed) = stage.gpus.made_and_removed();
    assert_eq!(made, removed, "all that was made was removed");
}

/// Health and MIG mode of each GPU, as reported.
async fn modes(plane: &Plane) -> Vec<(String, String)> {
    let status = status(plane, "real").await;
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let gpus = status["gpus"].as_array().cloned().unwrap_or_default();
    gpus.iter().map(|gpu| (word(&gpu["migMode"]), word(&gpu["health"]))).collect()
}

async fn modes_become(plane: &Plane, expected: &[(&str, &str)]) {
    let owned: Vec<_> =
        expected.iter().map(|(mode, health)| ((*mode).to_owned(), (*health).to_owned())).collect();
    let are = async || (modes(plane).await == owned).then_some(());
    wait_until(&format!("the GPUs are {expected:?}"), LIMIT, are).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mig_mode_is_turned_on_when_a_gpu_is_idle_and_an_ill_gpu_takes_no_more() {
    let plane = Plane::start().await;
    let stage = Stage::set(&plane, MODELS).await;
    let scene = &stage.gpus.scene;
    let busy = scene.uuid(0);
    scene.run(4711, &busy, 512).unwrap();
    scene.change(|state| {
        for mig in state.gpus.iter_mut().filter_map(|gpu| gpu.mig.as_mut()) {
            (mig.current, mig.pending) = (false, false);
        }
    });
    modes_become(&plane, &[("Disabled", "Healthy"), ("Enabled", "Healthy")]).await;
    plane.add_pod(&ours("first", &[("tangram.gpu/mig-4g.40gb", "1")], &[])).await;
    plane.add_pod(&ours("second", &[("tangram.gpu/mig-4g.40gb", "1")], &[])).await;
    let ready = async || {
        let phases: Vec<bool> = [plane.pod("first").await, plane.pod("second").await]
            .iter()
            .map(|pod| pod.spec.as_ref().unwrap().node_name.is_some())
            .collect();
        (phases.iter().filter(|it| **it).count() == 1).then_some(phases[0])
    };
    let is_first = wait_until("one of two pods has its place", LIMIT, ready).await;
    let (lucky, other) = if is_first { ("first", "second") } else { ("second", "first") };
    reports(&plane, "real", &[&format!("1/4g.40gb/0 {lucky}")]).await;

    // Idle, the other GPU is made ready, and the pod that waited is told.
    scene.kill(4711);
    modes_become(&plane, &[("Enabled", "Healthy"), ("Enabled", "Healthy")]).await;
    running(&plane, other).await;
    reports(&plane, "real", &[&format!("0/4g.40gb/0 {other}"), &format!("1/4g.40gb/0 {lucky}")]).await;
    delete(&plane, other).await;

    // One that fell off the bus keeps what runs on it, and takes no more.
    let before = running(&plane, lucky).await;
    scene.xid(1, 79, None);
    scene.lose(1);
    modes_become(&plane, &[("Enabled", "Healthy"), ("Enabled", "Unhealthy")]).await;
    plane.add_pod(&ours("third", &[("tangram.gpu/mig-3g.40gb", "1")], &[])).await;
    plane.add_pod(&ours("fourth", &[("tangram.gpu/mig-3g.40gb", "1")], &[])).await;
    for name in ["third", "fourth"] {
        running(&plane, name).await;
    }
    let mut placed = reported(&plane, "real").await;
    placed.retain(|it| it.starts_with("1/"));
    assert_eq!(placed, [format!("1/4g.40gb/0 {lucky}")]);
    let after = running(&plane, lucky).await;
    let id =
        |pod: &Pod| pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap()[0].container_id.clone();
    assert_eq!(id(&after), id(&before));
    agrees(&stage.tangram).await;
}
