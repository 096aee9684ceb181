//! Static layouts: the integer program against brute force, what may change and what may not, files for mig-manager,
//! the command and the server.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/command.rs"]
mod command;
#[path = "common/http.rs"]
#[expect(dead_code, reason = "shared by several test files")]
mod http;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use command::{tangram, text};
use http::Server;
use proptest::prelude::*;
use serde_json::{Value, json};
use tangram::cache::Cache;
use tangram::config::Config;
use tangram::layouts::{
    Asked, Counts, Fixed, Layout, Layouts, Options, StaticGpu, StaticNode, Strategy as Offer, Wanted,
    layouts, survey, wanted,
};
use tangram::mig::{Catalog, Geometry, ModelId, ProfileName};
use tangram::serve::load;
use tangram::solver::exact::{Fillings, prices};
use tangram::wire::layouts::{LayoutsView, parse_demand};
use tangram::wire::mig_parted::{All, Devices, MigParted};

const MODELS: [&str; 4] = ["a100-80gb", "a30-24gb", "h200-141gb", "rtx-pro-6000-blackwell-96gb"];

fn model(key: &str) -> ModelId {
    let catalog = Catalog::get();
    catalog.models().find(|&model| catalog.row(model).key == key).unwrap()
}

fn name(profile: &str) -> ProfileName {
    ProfileName::parse(profile).unwrap()
}

fn counts(devices: &[(&str, u32)]) -> Counts {
    devices.iter().map(|(profile, count)| (name(profile), *count)).collect()
}

/// Everything that one GPU can hold of profiles without attributes, the empty GPU included.
fn all_layouts(geometry: &Geometry) -> BTreeSet<Counts> {
    let mut seen = BTreeSet::from([(0, Counts::new())]);
    let mut open = vec![(0, Counts::new())];
    while let Some((state, counts)) = open.pop() {
        for (id, profile) in
            (0..).zip(geometry.profiles()).filter(|(_, profile)| !profile.name.has_attribute())
        {
            for (_, after) in geometry.legal(state, id) {
                let mut counts = counts.clone();
                *counts.entry(profile.name.clone()).or_default() += 1;
                if seen.insert((after, counts.clone())) {
                    open.push((after, counts));
                }
            }
        }
    }
    seen.into_iter().map(|(_, counts)| counts).collect()
}

fn node_of(name: &str, model: ModelId, gpus: &[Counts]) -> StaticNode {
    let gpus = (0..).zip(gpus).map(|(index, counts)| StaticGpu {
        index,
        layout: Some(Layout::Cut(counts.clone())),
        free: counts.clone(),
        stays: false,
    });
    let gpus: Vec<StaticGpu> = gpus.collect();
    let devices = gpus.iter().fold(Counts::new(), |sum, gpu| plus(sum, &gpu.free));
    let (name, config, strategy) = (name.into(), "old".into(), Offer::Mixed);
    StaticNode { name, model, strategy, config, gpus, free: devices.clone(), devices, fixed: None }
}

fn plus(mut sum: Counts, counts: &Counts) -> Counts {
    for (profile, count) in counts {
        *sum.entry(profile.clone()).or_default() += count;
    }
    sum
}

/// What devices are worth to a demand.
fn worth(devices: &Counts, demand: &Counts, prices: &BTreeMap<ProfileName, f64>) -> f64 {
    let served = |(profile, most): (&ProfileName, &u32)| {
        f64::from(*devices.get(profile).unwrap_or(&0).min(most)) * prices[profile]
    };
    demand.iter().map(served).sum()
}

fn prices_of(geometry: &Geometry, demand: &Counts) -> BTreeMap<ProfileName, f64> {
    let of = |profile: &ProfileName| f64::from(*demand.get(profile).unwrap_or(&0));
    let amounts: Vec<f64> = geometry.profiles().iter().map(|profile| of(&profile.name)).collect();
    let prices = prices(&Fillings::plain(geometry), &amounts).per_profile;
    geometry.profiles().iter().map(|profile| profile.name.clone()).zip(prices).collect()
}

/// Layouts of all GPUs after a plan.
fn then(plan: &Layouts) -> Vec<Layout> {
    let of = |(at, node): (usize, &StaticNode)| match plan.changes.get(&at) {
        Some(change) => change.layouts.clone(),
        None => node.gpus.iter().map(|gpu| gpu.layout.clone().unwrap()).collect(),
    };
    plan.nodes.iter().enumerate().flat_map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_program_gains_what_trying_everything_gains(
        key in 0..MODELS.len(),
        gpus in 1..=2_usize,
        asked in prop::collection::vec(0..5_u32, 8),
        present in prop::collection::vec(any::<prop::sample::Index>(), 2),
        cost in prop::sample::select(vec![0.0, 0.1, 0.4]),
    ) {
        let model = model(MODELS[key]);
        let geometry = Catalog::get().geometry(model);
        let all: Vec<Counts> = all_layouts(geometry).into_iter().collect();
        let now: Vec<Counts> = present[..gpus].iter().map(|index| all[index.index(all.len())].clone()).collect();
        let plain = geometry.profiles().iter().filter(|profile| !profile.name.has_attribute());
        let demand: Counts =
            plain.zip(asked).filter(|(_, count)| *count > 0).map(|(profile, count)| (profile.name.clone(), count)).collect();
        let prices = prices_of(geometry, &demand);
        let value = |then: &[Counts]| {
            let devices = then.iter().fold(Counts::new(), plus);
            let changed: f64 = then.iter().zip(&now).map(|(then, now)| if then == now { 0.0 } else { cost }).sum();
            worth(&devices, &demand, &prices) - changed
        };
        let stay = value(&now);
        let mut best = f64::NEG_INFINITY;
        for first in &all {
            if gpus == 1 {
                best = best.max(value(std::slice::from_ref(first)));
                continue;
            }
            for second in &all {
                best = best.max(value(&[first.clone(), second.clone()]));
            }
        }
        let wanted = Wanted { waiting: Counts::new(), expected: demand.clone() };
        let options = Options { change_cost: cost, ..Options::default() };
        let plan = layouts(vec![node_of("n", model, &now)], &wanted, options);
        let reached: Vec<Counts> = then(&plan).iter().map(Layout::counts).collect();
        prop_assert!((plan.gain - (best - stay)).abs() < 1e-5, "{} is not {}: {demand:?} {now:?}", plan.gain, best - stay);
        prop_assert!((value(&reached) - best).abs() < 1e-5, "{reached:?}");
        prop_assert!(plan.gap() < 1e-4);
        prop_assert!(reached.iter().all(|counts| all.contains(counts)));
    }

    #[test]
    fn files_say_the_plan_and_every_layout_in_them_is_legal(
        key in 0..MODELS.len(),
        nodes in 1..=3_usize,
        gpus in 1..=8_usize,
        asked in prop::collection::vec(0..12_u32, 12),
    ) {
        let model = model(MODELS[key]);
        let geometry = Catalog::get().geometry(model);
        let profiles = geometry.profiles().iter().zip(asked).filter(|(_, count)| *count > 0);
        let demand: Counts = profiles.map(|(profile, count)| (profile.name.clone(), count)).collect();
        let empty = vec![Counts::new(); gpus];
        let nodes: Vec<StaticNode> = (0..nodes).map(|node| node_of(&format!("n{node}"), model, &empty)).collect();
        let wanted = Wanted { waiting: Counts::new(), expected: demand };
        let plan = layouts(nodes, &wanted, Options::default());
        let view = LayoutsView::new(&plan, &wanted);
        let Some(file) = MigParted::new(&view) else {
            prop_assert!(plan.changes.is_empty());
            return Ok(());
        };
        let read: MigParted = serde_saphyr::from_str(&file.to_yaml()).unwrap();
        prop_assert_eq!(&read, &file);
        prop_assert_eq!(read.version.as_str(), "v1");
        for (&at, change) in &plan.changes {
            prop_assert!(is_label_value(&change.config), "{}", change.config);
            let mut seen = BTreeMap::new();
            for entry in &read.mig_configs[&change.config] {
                prop_assert!(entry.mig_enabled);
                let devices = entry.mig_devices.clone().unwrap();
                prop_assert!(fits(geometry, &devices), "{devices:?}");
                let indices: Vec<u16> = match &entry.devices {
                    Devices::All(All::All) => plan.nodes[at].gpus.iter().map(|gpu| gpu.index).collect(),
                    Devices::Indices(indices) => indices.clone(),
                };
                for index in indices {
                    prop_assert!(seen.insert(index, devices.clone()).is_none(), "GPU {index} stands there twice");
                }
            }
            let then = change.layouts.iter().map(Layout::counts);
            let then: Vec<BTreeMap<String, u32>> =
                then.map(|counts| counts.into_iter().map(|(profile, count)| (profile.to_string(), count)).collect()).collect();
            prop_assert_eq!(seen.into_values().collect::<Vec<_>>(), then);
        }
    }
}

/// What Kubernetes asks of a label value.
fn is_label_value(text: &str) -> bool {
    let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && is_end(text.chars().next())
        && is_end(text.chars().next_back())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// Whether a GPU holds these devices, by placing them in every order.
fn fits(geometry: &Geometry, devices: &BTreeMap<String, u32>) -> bool {
    let mut states = BTreeSet::from([0]);
    for (profile, &count) in devices {
        let Some(id) = geometry.profile(&name(profile)) else { return false };
        for _ in 0..count {
            states =
                states.iter().flat_map(|&state| geometry.legal(state, id).map(|(_, after)| after)).collect();
        }
    }
    !states.is_empty()
}

/// A node of eight A100, all cut alike; `labels` on top.
fn node(name: &str, each: &[(&str, u32)], config: &str, labels: &Value) -> Value {
    let mut object = json!({
        "kind": "Node",
        "metadata": { "name": name, "labels": {
            "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB",
            "nvidia.com/gpu.count": "8",
            "nvidia.com/mig.strategy": "mixed",
            "nvidia.com/mig.config": config,
            "nvidia.com/mig.config.state": "success",
        }},
        "status": { "allocatable": { "nvidia.com/gpu": if each.is_empty() { "8" } else { "0" } } },
    });
    for (profile, count) in each {
        object["status"]["allocatable"][format!("nvidia.com/mig-{profile}")] = (count * 8).to_string().into();
    }
    for (key, value) in labels.as_object().unwrap() {
        object["metadata"]["labels"][key] = value.clone();
    }
    object
}

fn pod(name: &str, node: Option<&str>, profile: &str, count: u32) -> Value {
    json!({
        "kind": "Pod",
        "metadata": { "name": name, "namespace": "default", "uid": name },
        "spec": {
            "nodeName": node,
            "containers": [{ "name": "main", "resources": { "limits": { format!("nvidia.com/mig-{profile}"): count.to_string() } } }],
        },
    })
}

/// A drained node of halves, a held one, one that is whole; pods that wait for small devices.
fn small_cluster() -> Value {
    let halves = [("3g.40gb", 2)];
    let mut items = vec![
        node("drained", &halves, "all-3g.40gb", &json!({})),
        node("held", &halves, "all-3g.40gb", &json!({})),
        node("whole", &[], "all-disabled", &json!({})),
        pod("runs", Some("held"), "3g.40gb", 1),
    ];
    items.extend((0..15).map(|number| pod(&format!("waits-{number}"), None, "1g.10gb", 1)));
    json!({ "kind": "List", "items": items })
}

fn read(cluster: &Value) -> Cache {
    load(&Config::default(), cluster.to_string().as_bytes()).unwrap().0
}

fn planned(cluster: &Value, asked: &Asked, by_gpu: bool) -> (Layouts, Wanted) {
    let cache = read(cluster);
    let nodes = survey(cache.cluster(), by_gpu, false);
    let waiting: Vec<_> = cache.pods().filter(|pod| pod.node.is_none()).cloned().collect();
    let wanted = wanted(asked, &nodes, cache.cluster(), &waiting);
    (layouts(nodes, &wanted, Options::default()), wanted)
}

#[test]
fn pods_that_wait_come_first_and_only_drained_nodes_change() {
    let (plan, wanted) = planned(&small_cluster(), &Asked::Learnt, false);
    assert_eq!(wanted.waiting, counts(&[("1g.10gb", 15)]));
    assert_eq!(
        plan.nodes.iter().map(|node| node.fixed.clone()).collect::<Vec<_>>(),
        [None, Some(Fixed::Held(1)), Some(Fixed::Whole)]
    );
    assert_eq!(plan.changes.keys().collect::<Vec<_>>(), [&0]);
    assert_eq!(plan.before, counts(&[("3g.40gb", 31)]));
    assert!(plan.after[&name("1g.10gb")] >= 15, "{:?}", plan.after);
    assert!(plan.gap() < 1e-4);
}

#[test]
fn a_change_has_to_pay() {
    let (plan, _) = planned(&small_cluster(), &Asked::Counts(counts(&[("3g.40gb", 20)])), false);
    assert!(plan.changes.is_empty(), "31 are there");
    let (plan, _) =
        planned(&small_cluster(), &Asked::Counts(counts(&[("1g.10gb", 7), ("3g.40gb", 29)])), false);
    assert_eq!(plan.changes[&0].gpus, 1, "one GPU of small ones, and no more");
    assert_eq!(plan.after, counts(&[("1g.10gb", 7), ("3g.40gb", 29)]));
    assert_eq!(plan.changes[&0].layouts[1..], vec![Layout::Cut(counts(&[("3g.40gb", 2)])); 7]);
}

#[test]
fn every_reason_to_stay_has_its_words() {
    let labelled = |labels: Value| {
        let list = json!({ "kind": "List", "items": [node("n", &[("1g.10gb", 7)], "x", &labels)] });
        survey(read(&list).cluster(), false, false)
            .first()
            .map(|node| node.fixed.as_ref().map(ToString::to_string))
    };
    let state = |state: &str| labelled(json!({ "nvidia.com/mig.config.state": state }));
    assert_eq!(state("success"), Some(None));
    assert_eq!(
        state("failed").unwrap().unwrap(),
        "mig-manager failed there (nvidia.com/mig.config.state: failed)"
    );
    assert_eq!(
        state("pending").unwrap().unwrap(),
        "mig-manager is at work there (nvidia.com/mig.config.state: pending)"
    );
    assert_eq!(
        labelled(json!({ "nvidia.com/gpu.deploy.mig-manager": "false" })).unwrap().unwrap(),
        "mig-manager is kept away (nvidia.com/gpu.deploy.mig-manager: false)"
    );
    for others in [
        json!({ "nvidia.com/mig.strategy": "none" }),
        json!({ "nvidia.com/mig.config": "" }),
        json!({ "nvidia.com/gpu.product": "NVIDIA-Q900-PROTOTYPE" }),
        json!({ "tangram.gpu/mig": "dynamic" }),
    ] {
        assert_eq!(labelled(others.clone()), None, "{others}");
    }
}

#[test]
fn single_nodes_get_one_profile_on_all_gpus() {
    let single = json!({
        "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB-MIG-3g.40gb",
        "nvidia.com/mig.strategy": "single",
    });
    let mut object = node("single", &[], "all-3g.40gb", &single);
    object["status"]["allocatable"]["nvidia.com/gpu"] = "16".into();
    let list = json!({ "kind": "List", "items": [object] });
    let (plan, _) = planned(&list, &Asked::Counts(counts(&[("1g.10gb", 40), ("2g.20gb", 5)])), false);
    assert_eq!(plan.before, counts(&[("3g.40gb", 16)]));
    assert_eq!(plan.changes[&0].layouts, vec![Layout::Cut(counts(&[("1g.10gb", 7)])); 8]);
    assert_eq!(plan.changes[&0].config, "tangram-a100-80gb-7x1g.10gb");
}

/// A report of eight GPUs of two halves; pods hold devices of those that `held` names.
fn report(held: &[u64]) -> Value {
    let gpus = (0..8).map(|index| {
        let instance = |start: u64| {
            let mut instance = json!({ "uuid": format!("MIG-{index}-{start}"), "profile": "3g.40gb", "start": start });
            if start == 0 && held.contains(&index) {
                instance["pod"] = json!({ "namespace": "default", "name": format!("p{index}"), "uid": format!("p{index}") });
            }
            instance
        };
        json!({
            "index": index, "uuid": format!("GPU-{index}"), "model": "NVIDIA A100-SXM4-80GB", "health": "Healthy",
            "migMode": "Enabled", "instances": [instance(0), instance(4)],
        })
    });
    json!({
        "kind": "GpuNode",
        "metadata": { "name": "n" },
        "status": {
            "gpus": gpus.collect::<Vec<_>>(),
            "conditions": [{ "type": "KubeletReady", "status": "True" }],
        },
    })
}

#[test]
fn a_gpu_that_a_pod_holds_never_changes() {
    let asked = Asked::Counts(counts(&[("1g.10gb", 56)]));
    for held in [vec![], vec![0], vec![1, 6], (0..8).collect::<Vec<u64>>()] {
        let mut items = vec![node("n", &[("3g.40gb", 2)], "all-3g.40gb", &json!({})), report(&held)];
        items.extend(held.iter().map(|index| pod(&format!("p{index}"), Some("n"), "3g.40gb", 1)));
        let list = json!({ "kind": "List", "items": items });
        let (whole_nodes, _) = planned(&list, &asked, false);
        assert_eq!(whole_nodes.changes.is_empty(), !held.is_empty());
        let (plan, wanted) = planned(&list, &asked, true);
        assert_eq!(plan.changes.is_empty(), held.len() == 8, "{:?}", plan.nodes[0].fixed);
        let halves = Layout::Cut(counts(&[("3g.40gb", 2)]));
        for (gpu, layout) in (0..8).zip(then(&plan)) {
            assert_eq!(layout == halves, held.contains(&gpu), "GPU {gpu}: {layout}");
        }
        if held == [1, 6] {
            let file = MigParted::new(&LayoutsView::new(&plan, &wanted)).unwrap();
            let entries = file.mig_configs.values().next().unwrap();
            let of = |entry: usize| entries[entry].devices.clone();
            assert_eq!(
                (of(0), of(1)),
                (Devices::Indices(vec![0, 2, 3, 4, 5, 7]), Devices::Indices(vec![1, 6]))
            );
        }
        // A pod that the kubelet has given nothing yet may get any device.
        if let [0] = held.as_slice() {
            let mut items = list["items"].as_array().unwrap().clone();
            items.push(pod("new", Some("n"), "3g.40gb", 1));
            let (plan, _) = planned(&json!({ "kind": "List", "items": items }), &asked, true);
            assert_eq!(plan.nodes[0].fixed, Some(Fixed::HeldSomewhere));
            assert!(plan.changes.is_empty());
        }
    }
}

#[test]
fn a_mix_is_scaled_to_the_gpus_and_what_is_held_is_part_of_it() {
    let list = json!({ "kind": "List", "items": [
        node("a", &[("1g.10gb", 7)], "x", &json!({})),
        node("b", &[("1g.10gb", 7)], "x", &json!({})),
        pod("p", Some("b"), "1g.10gb", 6),
    ]});
    let cache = read(&list);
    let nodes = survey(cache.cluster(), false, false);
    let of = |asked: &str| wanted(&parse_demand(asked).unwrap(), &nodes, cache.cluster(), &[]).expected;
    assert_eq!(of("1g.10gb=100%"), counts(&[("1g.10gb", 16 * 7 - 6)]));
    assert_eq!(of("3g.40gb=50%,7g.80gb=50%"), counts(&[("3g.40gb", 11), ("7g.80gb", 11)]), "16 GPUs / 1.5");
    assert_eq!(of("1g.10gb=3"), counts(&[("1g.10gb", 3)]));
    let learnt = wanted(&Asked::Learnt, &nodes, cache.cluster(), &[]).expected;
    assert_eq!(learnt, of("1g.10gb=100%"));
}

#[test]
fn a_demand_that_makes_no_sense_says_which_part() {
    for (text, words) in [
        ("", "expected PROFILE=COUNT"),
        ("1g.10gb", "expected PROFILE=COUNT"),
        ("9g.99gb=1", "no GPU model has a profile \"9g.99gb\""),
        ("1g.10gb=0", "is no number from 1 to 1000000"),
        ("1g.10gb=-5%", "is no share above 0 %"),
        ("1g.10gb=1,1g.10gb=2", "stands there twice"),
        ("1g.10gb=1,3g.40gb=30%", "counts or shares, not both"),
    ] {
        let error = parse_demand(text).unwrap_err();
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[test]
fn the_command_prints_the_plan_and_writes_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (cluster, config, patches) = (path("cluster.json"), path("config.yaml"), path("patches.yaml"));
    std::fs::write(&cluster, small_cluster().to_string()).unwrap();
    let on = ["layouts", "--cluster", &cluster, "--demand", "1g.10gb=14,3g.40gb=27"];
    let files = ["--mig-parted", &config, "--patches", &patches];
    let output = tangram(&[&on[..], &files[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(
        text(&output.stdout),
        "\
NODE     GPUS         LAYOUT NOW  LAYOUT THEN                     UNCHANGED BECAUSE
drained  8 a100-80gb  2x3g.40gb   0-1: 7x1g.10gb; 2-7: 2x3g.40gb
held     8 a100-80gb  2x3g.40gb   -                               1 pod holds devices of it
whole    8 a100-80gb  whole       -                               its GPUs are whole

PROFILE  PODS WAIT FOR  EXPECTED  STARTABLE NOW  STARTABLE THEN
1g.10gb  0              14        0              14
3g.40gb  0              27        31             27

1 of 3 nodes change, 2 GPUs; that serves 1.55 GPUs more, changes paid; no plan gains more.
"
    );
    let yaml = std::fs::read_to_string(&config).unwrap();
    let file: Value = serde_saphyr::from_str(&yaml).unwrap();
    let (name, entries) = file["mig-configs"].as_object().unwrap().iter().next().unwrap();
    assert!(name.starts_with("tangram-a100-80gb-"), "{name}");
    let entry = |devices: &[u16], profile: &str, count: u32| json!({ "devices": devices, "mig-enabled": true, "mig-devices": { profile: count } });
    assert_eq!(*entries, json!([entry(&[0, 1], "1g.10gb", 7), entry(&[2, 3, 4, 5, 6, 7], "3g.40gb", 2)]));
    let document: Value = serde_saphyr::from_str(&std::fs::read_to_string(&patches).unwrap()).unwrap();
    let metadata = json!({ "name": "drained", "labels": { "nvidia.com/mig.config": name } });
    assert_eq!(document, json!({ "apiVersion": "v1", "kind": "Node", "metadata": metadata }));
    std::fs::remove_file(&config).unwrap();
    let nothing = tangram(&["layouts", "--mig-parted", &config]);
    assert_eq!(nothing.status.code(), Some(0));
    assert!(text(&nothing.stderr).contains("nothing changes"), "{}", text(&nothing.stderr));
    assert!(!Path::new(&config).exists());
    for (arguments, words) in [
        (&["layouts", "--apply"][..], "--kubeconfig"),
        (&["layouts", "--demand", "1g.10gb"], "expected PROFILE=COUNT"),
        (&["layouts", "--change-cost=-1"], "expected a number from 0 to 1000"),
    ] {
        let output = tangram(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(words), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[tokio::test]
async fn the_server_plans_as_the_command_does() {
    let cluster = small_cluster().to_string();
    let (status, body) =
        Server::new(&cluster).send("GET", "/v1/layouts?demand=1g.10gb=14", String::new()).await;
    assert_eq!(status, 200);
    let served: LayoutsView = serde_json::from_slice(&body).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cluster.json");
    std::fs::write(&file, &cluster).unwrap();
    let output =
        tangram(&["layouts", "-o", "json", "--demand", "1g.10gb=14", "--cluster", file.to_str().unwrap()]);
    assert_eq!(serde_json::from_slice::<LayoutsView>(&output.stdout).unwrap(), served);
    assert_eq!(served.changed_gpus, 2);
    let (status, body) = Server::new(&cluster).send("GET", "/v1/layouts?demand=9g", String::new()).await;
    assert_eq!(status, 400);
    assert!(text(&body).contains("expected PROFILE=COUNT"), "{}", text(&body));
}
