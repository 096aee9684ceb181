//! What the agent's report says of what it sees: `GpuNode.status`, and `tangram agent --once`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/desk.rs"]
#[expect(dead_code, reason = "each test file uses what it needs")]
mod common;

use std::process::Command;

use common::{desk, gpu, held, id, sight, wanted, with};
use nvml_mock::{Board, Scene};
use serde_json::{Value, json};
use tangram::agent::desk::{Claim, Sight};
use tangram::agent::report::{Notes, content};
use tangram::model::{Holder, PodKey};
use tangram::wire::gpunode_status::Condition;
use tangram::wire::{GpuNodeObject, gpu_report};
use tangram_nvml::facts::{Ailment, Ancestor, Gpu, Process};
use tempfile::TempDir;

fn report(sight: &Sight, made: &[(tangram::agent::device::DeviceId, &str)], notes: &Notes<'_>) -> Value {
    let turn = desk(made).turn(sight, 1000);
    serde_json::to_value(content(sight, &turn, notes)).unwrap()
}

fn pods(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"namespace": "test", "name": name})).collect()
}

/// Pods that share a device, each with the number of its shares.
fn sharers(names: &[(&str, u32)]) -> Value {
    names.iter().map(|(name, n)| json!({"namespace": "test", "name": name, "shares": n})).collect()
}

#[test]
fn partitions_of_the_device_plugin_are_told_with_their_pods() {
    let gpu = with(with(gpu(0, "a100-40gb"), 9, "1g.5gb", 2, Some("MIG-a")), 3, "2g.10gb", 4, Some("MIG-b"));
    let record = held(0, &[("MIG-a", "p")]);
    let sight = Sight { claim: Claim::Nothing, held: record, ..sight(vec![gpu], &[]) };
    let gpu = &report(&sight, &[], &Notes::default())["gpus"][0];
    let expected = json!([
        {"uuid": "MIG-a", "profile": "1g.5gb", "start": 2, "foreign": true,
         "pod": {"namespace": "test", "name": "p"}},
        {"uuid": "MIG-b", "profile": "2g.10gb", "start": 4, "foreign": true},
    ]);
    assert_eq!(gpu["instances"], expected);
    assert_eq!((&gpu["migMode"], gpu.get("pods")), (&json!("Enabled"), None));
}

#[test]
fn a_shared_gpu_is_told_with_all_its_pods_and_its_memory_in_steps() {
    let mut shared = gpu(0, "a100-40gb");
    shared.mig = None;
    (shared.memory_mib, shared.memory_used_mib) = (40_960, 5000);
    let all = [("GPU-0::0", "a"), ("GPU-0::3", "b"), ("GPU-0::7", "b")];
    let sight = |devices: &[(&str, &str)], used| {
        let gpu = Gpu { memory_used_mib: used, ..shared.clone() };
        Sight { claim: Claim::Nothing, held: held(0, devices), ..sight(vec![gpu], &[]) }
    };
    let told = |sight: &Sight| report(sight, &[], &Notes::default())["gpus"][0].clone();
    let gpu = told(&sight(&all, 5000));
    let both = sharers(&[("a", 1), ("b", 2)]);
    assert_eq!((&gpu["pods"], &gpu["memoryUsedMib"]), (&both, &json!(5120)), "two sixteenths");
    assert_eq!(gpu["migMode"], "NotSupported");
    assert_eq!(told(&sight(&all, 5100)), gpu, "a little more is no news");
    assert_eq!(told(&sight(&all, 5121))["memoryUsedMib"], 7680);
    let alone = told(&sight(&[("GPU-0", "a")], 5000));
    assert_eq!((&alone["pods"], alone.get("memoryUsedMib")), (&pods(&["a"]), None), "all of it is one pod's");
    let first = told(&sight(&[("GPU-0::2", "a")], 5000));
    let one = sharers(&[("a", 1)]);
    assert_eq!((&first["pods"], &first["memoryUsedMib"]), (&one, &json!(5120)), "others may come");
}

#[test]
fn a_shared_mig_device_is_told_with_all_its_pods_and_what_its_processes_use() {
    let there = with(gpu(0, "a100-40gb"), 9, "1g.5gb", 2, Some("MIG-a"));
    let there = with(there, 3, "2g.10gb", 4, Some("MIG-b"));
    let process = |pid, memory_mib, instance| Process { pid, memory_mib, instance: Some(instance) };
    let told = |processes: &[Process]| {
        let gpu = Gpu { processes: processes.to_vec(), ..there.clone() };
        let record = held(0, &[("MIG-a::0", "a"), ("MIG-a::1", "b"), ("MIG-a::3", "a"), ("MIG-b", "c")]);
        let sight = Sight { claim: Claim::Nothing, held: record, ..sight(vec![gpu], &[]) };
        report(&sight, &[], &Notes::default())["gpus"][0]["instances"].clone()
    };
    let used = told(&[process(1, Some(500), 9), process(2, Some(512), 9), process(3, Some(4000), 3)]);
    // 1012 MiB of an instance's 4864 are told as four sixteenths.
    let shared = json!({
        "uuid": "MIG-a", "profile": "1g.5gb", "start": 2, "foreign": true, "memoryUsedMib": 1216,
        "pod": {"namespace": "test", "name": "a"}, "pods": sharers(&[("a", 2), ("b", 1)]),
    });
    let alone = json!({
        "uuid": "MIG-b", "profile": "2g.10gb", "start": 4, "foreign": true,
        "pod": {"namespace": "test", "name": "c"},
    });
    assert_eq!(used, json!([shared, alone]));
    assert_eq!(told(&[])[0]["memoryUsedMib"], 0);
    assert_eq!(told(&[process(1, None, 9)])[0].get("memoryUsedMib"), None, "the driver does not tell");
    assert_eq!(told(&[process(1, None, 9), process(2, Some(10), 9)])[0]["memoryUsedMib"], 304);
}

#[test]
fn what_is_told_of_shares_is_read_back() {
    let there = with(gpu(1, "a100-40gb"), 9, "1g.5gb", 2, Some("MIG-a"));
    let mut plain = gpu(0, "a100-40gb");
    plain.mig = None;
    plain.memory_used_mib = 5000;
    let record = held(0, &[("MIG-a::0", "a"), ("MIG-a::1", "b"), ("GPU-0::1", "c"), ("GPU-0::2", "c")]);
    let sight = Sight { claim: Claim::Nothing, held: record, ..sight(vec![plain, there], &[]) };
    let status = report(&sight, &[], &Notes::default());
    let object: GpuNodeObject =
        serde_json::from_value(json!({"metadata": {"name": "n"}, "status": status})).unwrap();
    let (_, read) = gpu_report(object).unwrap();
    let holder = |name: &str, shares| Holder {
        pod: PodKey { namespace: "test".into(), name: name.into() },
        shares: Some(shares),
    };
    assert!(read.has_record);
    assert_eq!(
        (&read.gpus[0].holders[..], read.gpus[0].memory_used_mib),
        (&[holder("c", 2)][..], Some(5120))
    );
    let instance = &read.gpus[1].instances[0];
    assert_eq!(instance.sharers, [holder("a", 1), holder("b", 1)]);
    assert_eq!((instance.pod.as_ref(), instance.memory_used_mib), (Some(&holder("a", 1).pod), Some(0)));
    assert!(instance.is_foreign && instance.ready_for.is_none());
}

#[test]
fn an_instance_is_ready_for_its_pod_once_the_kubelet_lists_it() {
    let there = with(gpu(0, "h100-80gb-sxm"), 1, "1g.10gb", 3, Some("MIG-a"));
    let place = id(0, "1g.10gb", 3);
    let made = [(place.clone(), "MIG-a")];
    let instance = |held, allocatable: bool| {
        let sight = Sight { held, ..sight(vec![there.clone()], &[wanted(0, "1g.10gb", 3)]) };
        let allocatable = allocatable.then(|| place.clone()).into_iter().collect();
        let notes = Notes { allocatable, ..Notes::default() };
        report(&sight, &made, &notes)["gpus"][0]["instances"][0].clone()
    };
    let live = json!({"uuid": "MIG-a", "profile": "1g.10gb", "start": 3});
    assert_eq!(instance(held(0, &[]), false), live);
    let mut ready = live;
    ready["readyFor"] = "uid-0-3".into();
    assert_eq!(instance(held(0, &[]), true), ready);
    ready["pod"] = json!({"namespace": "test", "name": "wanted"});
    assert_eq!(instance(held(0, &[(&place.to_string(), "wanted")]), true), ready);
}

#[test]
fn what_ails_a_gpu_and_how_it_is_connected_is_told() {
    let mut ill = gpu(0, "h100-80gb-sxm");
    ill.ailments = vec![Ailment::Xid(79), Ailment::RemapPending];
    ill.links.pcie = vec![(1, Ancestor::Switch), (2, Ancestor::System)];
    ill.links.nvlink_peers = vec![1];
    ill.links.numa_node = Some(1);
    let told = report(&sight(vec![ill], &[]), &[], &Notes::default());
    let gpu = &told["gpus"][0];
    assert_eq!(gpu["health"], "Unhealthy");
    assert_eq!(gpu["healthReason"], "XID 79: fell off the bus; row remapping waits for a reset");
    assert_eq!(
        gpu["links"],
        json!([{"gpu": 1, "pcie": "switch", "nvlink": true}, {"gpu": 2, "pcie": "system"}])
    );
    assert_eq!((&gpu["numaNode"], &told["gpuCount"]), (&json!(1), &json!(1)));
}

#[test]
fn conditions_keep_the_time_since_when_they_hold() {
    let wanted = [wanted(5, "1g.10gb", 0)];
    let before = [Condition {
        kind: "KubeletReady".into(),
        status: "False".into(),
        last_transition_time: "2026-01-01T00:00:00Z".into(),
        reason: "KubeletFailed".into(),
        message: "another".into(),
    }];
    let notes = Notes {
        kubelet: Some("no answer".into()),
        before: &before,
        now: "2026-02-02T00:00:00Z",
        ..Notes::default()
    };
    let told = report(&sight(vec![gpu(0, "h100-80gb-sxm")], &wanted), &[], &notes);
    let row = |row: &Value| {
        let word = |key: &str| row[key].as_str().unwrap().to_owned();
        [word("type"), word("status"), word("reason"), word("lastTransitionTime")]
    };
    let rows: Vec<_> = told["conditions"].as_array().unwrap().iter().map(row).collect();
    let now = "2026-02-02T00:00:00Z";
    let expected = [
        ["NVMLReady", "True", "Answered", now],
        ["KubeletReady", "False", "KubeletFailed", "2026-01-01T00:00:00Z"],
        ["InstancesReady", "False", "NoSuchGpu", now],
    ];
    assert_eq!(rows, expected);
    let open = &told["unsettled"][0];
    assert_eq!(
        (&open["gpu"], &open["profile"], &open["reason"]),
        (&json!(5), &json!("1g.10gb"), &json!("NoSuchGpu"))
    );
}

fn mig_uuid(gpu: u32, start: u32) -> String {
    format!("MIG-0123abcd-{gpu}-{start}-89ab-4cde-8f01-23456789abcd")
}

/// Eight GPUs with seven instances each.
fn full_gpus() -> Vec<Gpu> {
    let full = |index| {
        let mut gpu = (0..7).fold(gpu(index, "h100-80gb-sxm"), |gpu, start| {
            with(gpu, start + 7, "1g.10gb", start, Some(&mig_uuid(index, start)))
        });
        gpu.links.pcie =
            (0..8).filter(|other| *other != index).map(|other| (other, Ancestor::System)).collect();
        gpu
    };
    (0..8).map(full).collect()
}

/// All of them shared by two pods with long names, which is as many pods as a kubelet runs by default: the object
/// stays below 32 KB.
#[test]
fn a_full_node_of_shared_partitions_is_told_in_few_words() {
    let places = (0..8u32).flat_map(|gpu| (0..7u32).map(move |start| (gpu, start)));
    let shares = places.flat_map(|place| [(place, 0), (place, 1)]);
    let names: Vec<(String, String)> = shares
        .map(|((gpu, start), share)| {
            let pod = format!("inference-llama-70b-{gpu}-7c9d8f6b5-x{start}{share}k");
            (format!("{}::{share}", mig_uuid(gpu, start)), pod)
        })
        .collect();
    let devices: Vec<(&str, &str)> = names.iter().map(|(id, pod)| (id.as_str(), pod.as_str())).collect();
    let sight = Sight { claim: Claim::Nothing, held: held(0, &devices), ..sight(full_gpus(), &[]) };
    let status = report(&sight, &[], &Notes::default());
    let text = status.to_string();
    assert_eq!(text.matches("\"shares\":1").count(), 112);
    assert!(text.len() < 32 << 10, "{} bytes", text.len());
}

/// All of them held by pods with long names: the object stays below 32 KB.
#[test]
fn a_full_node_is_told_in_few_words() {
    let gpus = full_gpus();
    let places = || (0..8u32).flat_map(|gpu| (0..7u8).map(move |start| (gpu, start)));
    let wanted: Vec<_> = places().map(|(gpu, start)| wanted(gpu, "1g.10gb", start)).collect();
    let names: Vec<(String, String)> = places()
        .map(|(gpu, start)| {
            let pod = format!("inference-llama-70b-{gpu}-7c9d8f6b5-x{start}2k");
            (id(gpu, "1g.10gb", start).to_string(), pod)
        })
        .collect();
    let devices: Vec<(&str, &str)> = names.iter().map(|(id, pod)| (id.as_str(), pod.as_str())).collect();
    let sight = Sight { held: held(0, &devices), ..sight(gpus, &wanted) };
    let notes = Notes {
        allocatable: places().map(|(gpu, start)| id(gpu, "1g.10gb", start)).collect(),
        ..Notes::default()
    };
    let status = report(&sight, &[], &notes);
    let instances: usize =
        status["gpus"].as_array().unwrap().iter().map(|gpu| gpu["instances"].as_array().unwrap().len()).sum();
    assert_eq!(instances, 56);
    let uid = "0123abcd-89ab-4cde-8f01-23456789abcd";
    let spec: Vec<Value> = names
        .iter()
        .zip(places())
        .map(|((_, pod), (gpu, start))| {
            let pod = json!({"namespace": "research", "name": pod, "uid": uid});
            json!({"gpu": gpu, "profile": "1g.10gb", "start": start, "pod": pod})
        })
        .collect();
    let object = json!({"spec": {"instances": spec}, "status": status}).to_string();
    assert!(object.len() < 32 << 10, "{} bytes", object.len());
}

/// `tangram agent --once` on a machine, as somebody would call it there.
fn once(scene: &Scene, more: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tangram"));
    let output =
        command.args(["agent", "--once", "--nvml"]).arg(scene.library()).args(more).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn once_prints_what_is_there_for_people_and_for_machines() {
    let folder = TempDir::with_prefix("tangram-once-").unwrap();
    let boards = vec![Board::of("h100-80gb-sxm").mig(), Board::plain("NVIDIA L4", 23_034)];
    let scene = Scene::create(folder.path().join("state.json"), boards);
    let made = scene.make_foreign(0, "3g.40gb", 4).unwrap();
    let uuid = &made.compute[0].uuid;
    scene.run(4711, uuid, 512).unwrap();
    scene.link(0, 1, 2);
    scene.ecc(1, 0, 2);
    let table = once(&scene, &[]);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    let has = |words: &[&str]| lines.iter().any(|line| line == words);
    assert!(has(&["Driver", "580.95.05,", "CUDA", "13.0"]), "{table}");
    let used = lines.iter().find(|line| line.starts_with(&["0", "NVIDIA", "H100"])).unwrap();
    assert_eq!(&used[used.len() - 3..], ["on", "1", "well"], "MIG mode, processes, health");
    assert!(has(&["0", "3g.40gb", "4-7", "1", uuid]), "{table}");
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with(&["1", "NVIDIA", "L4"]) && line.ends_with(&["none", "0", "ailing"]))
    );
    assert!(table.contains("2 uncorrected memory errors"), "{table}");
    let json: Value = serde_json::from_str(&once(&scene, &["-o", "json"])).unwrap();
    assert_eq!(json["gpus"][0]["mig"]["instances"][0]["compute"][0]["uuid"], uuid.as_str());
    assert_eq!(json["gpus"][0]["mig"]["profiles"].as_array().unwrap().len(), 7);
    assert_eq!((&json["gpus"][1]["mig"], &json["driverVersion"]), (&Value::Null, &json!("580.95.05")));
}
