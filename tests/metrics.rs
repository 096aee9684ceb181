//! What `/metrics` says: how many MIG devices could start, why nodes refuse, and no more series than there may be.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::float_cmp, reason = "counts are whole")]

#[path = "common/http.rs"]
#[expect(dead_code, reason = "shared by several test files")]
mod http;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::Server;
use proptest::prelude::*;
use serde_json::{Value, json};
use tangram::cache::{Cache, Effect, Event, Fence, Options};
use tangram::carry::Objection;
use tangram::census::{Bounds, Census, Mode};
use tangram::config::Config;
use tangram::extender::Claims;
use tangram::http::{App, Budgets, Compared, Door, Feed, Listed, Planned, World};
use tangram::metrics::{Form, Metrics};
use tangram::mig::{Catalog, MODELS, ModelRow};
use tangram::model::PodKey;
use tangram::owner::Model;
use tangram::serve::{EXAMPLE, load};
use tangram::solver::{Refusal, Scores};
use tangram::wire::cluster_events;
use tangram::wire::repack::StepView;

/// Samples by series, as the text has them.
async fn scrape(server: &Server) -> BTreeMap<String, f64> {
    let (_, text) = server.send("GET", "/metrics", "").await;
    let text = String::from_utf8(text).unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.map(|line| line.rsplit_once(' ').unwrap());
    samples.map(|(series, value)| (series.to_owned(), value.parse().unwrap())).collect()
}

fn node(name: &str, product: &str, gpus: u32, pool: &str) -> Value {
    let labels = json!({
        "nvidia.com/gpu.product": product,
        "nvidia.com/gpu.count": gpus.to_string(),
        "tangram.gpu/mig": "dynamic",
        "karpenter.sh/nodepool": pool,
    });
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": name, "labels": labels },
        "status": { "allocatable": { "cpu": "64", "memory": "512Gi", "pods": "110" } },
    })
}

fn pod(namespace: &str, name: &str, resource: &str) -> Value {
    let resources = json!({ "limits": { resource: "1" } });
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "namespace": namespace, "name": name, "uid": format!("{namespace}-{name}") },
        "spec": { "containers": [{ "name": "main", "image": "x", "resources": resources }] },
    })
}

fn server(objects: &[Value]) -> Server {
    Server::new(&json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string())
}

async fn filter(server: &Server, pod: &Value, nodes: &[&str]) -> Value {
    server.post("/scheduler/filter", json!({ "Pod": pod, "NodeNames": nodes }).to_string()).await
}

/// The most instances of one profile beside what is there: every set of its starts is tried, by the rules of the
/// table alone.
fn most(row: &ModelRow, there: &[(usize, u8)], profile: usize) -> usize {
    fn is_legal(row: &ModelRow, set: &[(usize, u8)]) -> bool {
        let mut slices = BTreeSet::new();
        let is_apart = set.iter().all(|&(profile, start)| {
            (start..start + row.profiles[profile].memory_slices).all(|slice| slices.insert(slice))
        });
        let of = |wanted: usize| set.iter().filter(|(profile, _)| *profile == wanted).count();
        let is_within = (0..row.profiles.len()).all(|wanted| of(wanted) <= row.profiles[wanted].max.into());
        let engines = (0..5).all(|engine| {
            let used: u32 = set.iter().map(|(it, _)| u32::from(row.profiles[*it].engines[engine])).sum();
            used <= u32::from(row.engines[engine])
        });
        is_apart && is_within && engines
    }
    assert!(is_legal(row, there));
    let starts = row.profiles[profile].starts;
    let sets = (0_u32..1 << starts.len()).filter_map(|chosen| {
        let added = (0..starts.len()).filter(|at| chosen & (1 << at) != 0);
        let set: Vec<(usize, u8)> =
            there.iter().copied().chain(added.map(|at| (profile, starts[at]))).collect();
        is_legal(row, &set).then(|| set.len() - there.len())
    });
    sets.max().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any model, any legal layout that some order of placements reaches.
    #[test]
    fn room_for_a_profile_is_what_brute_force_finds(
        model in 0..MODELS.len(),
        placed in prop::collection::vec((0_usize..20, 0_usize..8), 0..6),
    ) {
        let catalog = Catalog::get();
        let id = catalog.models().nth(model).unwrap();
        let (row, geometry) = (catalog.row(id), catalog.geometry(id));
        let (mut occupancy, mut there) = (catalog.empty(id), Vec::new());
        for (profile, start) in placed {
            let profile = profile % row.profiles.len();
            let starts = row.profiles[profile].starts;
            let start = starts[start % starts.len()];
            let placement = geometry.placement(u8::try_from(profile).unwrap(), start).unwrap();
            if let Some(after) = catalog.after(occupancy, placement) {
                occupancy = after;
                there.push((profile, start));
            }
        }
        for profile in 0..row.profiles.len() {
            let room = catalog.room(occupancy, u8::try_from(profile).unwrap());
            prop_assert_eq!(usize::from(room), most(row, &there, profile), "{} {:?}", row.key, there);
        }
    }
}

#[tokio::test]
async fn free_instances_are_those_that_can_start_and_not_slices_divided() {
    let mut cordoned = node("cordoned", "NVIDIA-H100-80GB-HBM3", 8, "train");
    cordoned["spec"] = json!({ "unschedulable": true });
    let server = server(&[node("gpu-1", "NVIDIA-H100-80GB-HBM3", 1, "train"), cordoned]);
    let of = |profile: &str| {
        format!(
            "tangram_free_instances{{model=\"NVIDIA-H100-80GB-HBM3\",node_pool=\"train\",profile=\"{profile}\",\
             mode=\"dynamic\"}}"
        )
    };
    let before = scrape(&server).await;
    for (profile, room) in [("1g.10gb", 7.0), ("3g.40gb", 2.0), ("4g.40gb", 1.0), ("7g.80gb", 1.0)] {
        assert_eq!(before[&of(profile)], room, "{profile}");
    }
    let asking = pod("team", "one", "tangram.gpu/mig-1g.10gb");
    filter(&server, &asking, &["gpu-1"]).await;
    let bind = json!({ "PodName": "one", "PodNamespace": "team", "PodUID": "team-one", "Node": "gpu-1" });
    assert_eq!(server.post("/scheduler/bind", bind.to_string()).await["Error"], "");
    // Seven of eight slices are free; two 3g.40gb would need all eight.
    let after = scrape(&server).await;
    for (profile, room) in [("1g.10gb", 6.0), ("3g.40gb", 1.0), ("4g.40gb", 1.0), ("7g.80gb", 0.0)] {
        assert_eq!(after[&of(profile)], room, "{profile}");
    }
    assert_eq!(after["tangram_device_pods{state=\"bound\"}"], 1.0);
    assert_eq!(after["tangram_acceptance_ratio"], 1.0);
}

#[tokio::test]
async fn decisions_and_refusals_are_counted_by_what_they_came_to() {
    let server = server(&[node("gpu-1", "NVIDIA-H100-80GB-HBM3", 1, "train")]);
    let before = scrape(&server).await;
    assert_eq!(before["tangram_decisions_total{verb=\"filter\",outcome=\"done\"}"], 0.0);
    filter(&server, &pod("team", "fits", "tangram.gpu/mig-3g.40gb"), &["gpu-1"]).await;
    filter(&server, &pod("team", "other", "tangram.gpu/mig-1g.24gb"), &["gpu-1", "gone"]).await;
    server.send("POST", "/scheduler/filter", "{").await;
    server.send("POST", "/scheduler/prioritize", "{").await;
    let bind = json!({ "PodName": "nobody", "PodNamespace": "team", "PodUID": "", "Node": "gpu-1" });
    server.post("/scheduler/bind", bind.to_string()).await;
    let after = scrape(&server).await;
    for (series, count) in [
        ("tangram_decisions_total{verb=\"filter\",outcome=\"done\"}", 1.0),
        ("tangram_decisions_total{verb=\"filter\",outcome=\"refused\"}", 1.0),
        ("tangram_decisions_total{verb=\"filter\",outcome=\"error\"}", 1.0),
        ("tangram_decisions_total{verb=\"prioritize\",outcome=\"error\"}", 1.0),
        ("tangram_decisions_total{verb=\"bind\",outcome=\"refused\"}", 1.0),
        ("tangram_refusals_total{reason=\"UnknownNode\"}", 1.0),
        ("tangram_refusals_total{reason=\"WrongModel\"}", 1.0),
        ("tangram_refusals_total{reason=\"Full\"}", 0.0),
        ("tangram_filters_total{names=\"one\"}", 1.0),
        ("tangram_filters_total{names=\"more\"}", 1.0),
        ("tangram_decision_duration_seconds_count{verb=\"filter\"}", 3.0),
        ("tangram_pending_pods{namespace=\"team\"}", 2.0),
        ("tangram_pending_instances{namespace=\"team\",profile=\"3g.40gb\",mode=\"dynamic\"}", 1.0),
        ("tangram_device_pods{state=\"pending\"}", 2.0),
        ("tangram_acceptance_ratio", 0.0),
    ] {
        assert_eq!(after.get(series), Some(&count), "{series}");
    }
}

/// A replica that waits: it has a model, and somebody else answers.
#[derive(Debug)]
struct Standby;

impl World for Standby {
    fn is_embedded(&self) -> bool {
        false
    }

    fn age_ms(&self) -> Option<u64> {
        Some(250)
    }

    fn reasons_not_ready(&self) -> Vec<String> {
        vec!["this replica does not lead".to_owned()]
    }

    fn refuses_binds(&self) -> Option<String> {
        None
    }

    fn claims(&self) -> Arc<Claims> {
        Arc::default()
    }

    fn evicts(&self) -> bool {
        false
    }

    fn budgets(&self) -> Budgets<'_> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn plans(&self) -> Listed<'_> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn start_plan(&self, _: Vec<StepView>, _: Option<u32>) -> Planned<'_> {
        Box::pin(async { Err(Objection::Disabled) })
    }

    fn stop_plan(&self, id: String) -> Planned<'_> {
        Box::pin(async { Err(Objection::Unknown(id)) })
    }

    fn compare(&self) -> Compared<'_> {
        Box::pin(async { Err("nobody asks".to_owned()) })
    }
}

#[tokio::test]
async fn a_replica_that_waits_says_how_it_is_and_nothing_of_the_cluster() {
    let config = Config::default();
    let (cache, _) = load(&config, EXAMPLE.as_bytes()).unwrap();
    let (model, _, _) = Model::start(cache);
    let app = App {
        model,
        policy: config.policy,
        dialect: Arc::new(config.dialect()),
        world: Arc::new(Standby),
        metrics: Arc::default(),
        door: Door::default(),
        feed: Feed::default(),
    };
    let of_standby = scrape(&Server::of(app)).await;
    assert_eq!(of_standby["tangram_leader"], 0.0);
    assert_eq!(of_standby["tangram_model_age_seconds"], 0.25);
    let of_leader = scrape(&Server::new(EXAMPLE)).await;
    let missing: BTreeSet<&str> = of_leader
        .keys()
        .filter(|series| !of_standby.contains_key(*series))
        .map(|series| series.split('{').next().unwrap())
        .collect();
    // What would be counted twice if both said it.
    let of_cluster = [
        "tangram_acceptance_ratio",
        "tangram_device_pods",
        "tangram_devices",
        "tangram_dynamic_gpus",
        "tangram_free_instances",
        "tangram_gpu_held_ratio",
        "tangram_gpus_left_out",
        "tangram_lost_gpus",
        "tangram_lost_memory_slices",
        "tangram_memory_slices",
        "tangram_node_problems",
        "tangram_pending_devices",
        "tangram_pending_instances",
        "tangram_pending_pods",
        "tangram_stranded_memory_bytes",
    ];
    assert_eq!(missing, BTreeSet::from(of_cluster));
}

#[test]
fn a_binding_knows_which_node_was_nominated_and_hits_and_misses_are_counted() {
    let config = Config::default();
    let nominated = |name: &str, node: Option<&str>| {
        let mut pod = pod("team", name, "nvidia.com/gpu");
        let condition = json!({
            "type": "tangram.gpu/Nominated",
            "status": if node.is_some() { "True" } else { "False" },
            "message": node.unwrap_or("no room"),
        });
        pod["status"] = json!({ "phase": "Pending", "conditions": [condition] });
        pod
    };
    let mut objects =
        vec![nominated("hit", Some("a")), nominated("miss", Some("b")), nominated("none", None)];
    for name in ["a", "b"] {
        let mut node = node(name, "NVIDIA-L40S", 8, "");
        node["metadata"]["labels"]["tangram.gpu/mig"] = json!("");
        node["status"]["allocatable"]["nvidia.com/gpu"] = json!("8");
        objects.push(node);
    }
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string();
    let options = Options { instance_timeout_ms: 1000 };
    let mut cache = Cache::new(Arc::new(Scores::prior()), config.policy, 100).live(options);
    let contents = cluster_events(list.as_bytes(), &config.dialect(), |event| {
        cache.apply(event);
    });
    assert_eq!(contents.unwrap().errors, []);
    cache.apply(Event::Lead(Fence { term: 1, identity: "test".into() }));
    let metrics = Metrics::default();
    for name in ["hit", "miss", "none"] {
        let pod = PodKey { namespace: "team".into(), name: name.into() };
        cache.apply(Event::Bind { pod, uid: "".into(), node: "a".into() });
    }
    for effect in cache.take_effects() {
        if let Effect::Bind { node, nominated, .. } = effect {
            metrics.landed(nominated.as_deref(), &node);
        }
    }
    let text = metrics.text(Form::OpenMetrics);
    for outcome in ["hit", "miss", "none"] {
        let line = format!("tangram_nominated_pods_bound_total{{outcome=\"{outcome}\"}} 1\n");
        assert!(text.contains(&line), "{line}");
    }
}

#[test]
fn the_form_is_the_one_that_is_asked_for() {
    let prometheus = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    assert_eq!(Form::accepted(prometheus), Form::OpenMetrics);
    for other in ["", "*/*", "text/plain;version=0.0.4"] {
        assert_eq!(Form::accepted(other), Form::Prometheus, "{other}");
    }
    let metrics = Metrics::default();
    let (new, old) = (metrics.text(Form::OpenMetrics), metrics.text(Form::Prometheus));
    assert!(new.ends_with("# EOF\n") && new.contains("# TYPE tangram_decisions counter\n"));
    assert!(!old.contains("# EOF") && old.contains("# TYPE tangram_decisions_total counter\n"));
    let samples = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    assert_eq!(samples(&new), samples(&old));
}

#[test]
fn every_kind_of_refusal_has_a_name_of_its_own() {
    let of = |resource: &str| Arc::<str>::from(resource);
    let all = [
        Refusal::UnknownNode,
        Refusal::Invalid(of("x")),
        Refusal::NotOffered { resource: of("x") },
        Refusal::TooFew { resource: of("x"), count: 1 },
        Refusal::InUse { resource: of("x") },
        Refusal::NoSuchProfile { want: of("x") },
        Refusal::NotDynamic,
        Refusal::WrongModel { want: of("x") },
        Refusal::Closed,
        Refusal::SilentAgent,
        Refusal::Full { want: of("x") },
        Refusal::Fragmented { want: of("x") },
        Refusal::NotTogether { count: 1 },
        Refusal::CutShort { count: 1 },
        Refusal::Claimed,
        Refusal::Held,
        Refusal::HeldElsewhere,
        Refusal::InTree("x"),
    ];
    assert_eq!(all.map(|refusal| refusal.name()), Refusal::NAMES);
}

#[tokio::test]
async fn a_crowd_of_names_does_not_grow_the_series_without_end() {
    let mut objects = Vec::new();
    for number in 0..300 {
        let mut node = node(&format!("n{number}"), &format!("GPU-{number}"), 1, &format!("pool-{number}"));
        node["status"]["allocatable"]["nvidia.com/gpu"] = json!("1");
        objects.push(node);
        let resource = format!("nvidia.com/mig-{number}g.{number}gb");
        objects.push(pod(&format!("team-{number}"), "waits", &resource));
        objects.push(pod("one", &format!("p{number}"), &format!("gpu.intel.com/x{number}")));
    }
    let known = scrape(&server(&objects[..3])).await.len();
    let crowd = scrape(&server(&objects)).await;
    let of = |name: &str| crowd.keys().filter(|series| series.starts_with(name)).count();
    let bounds = Bounds::default();
    assert_eq!(of("tangram_pending_pods{"), bounds.namespaces + 1);
    assert_eq!(of("tangram_lost_gpus{"), bounds.groups + 1);
    assert!(of("tangram_pending_devices{") <= 26 * 2, "{}", of("tangram_pending_devices{"));
    assert!(of("tangram_pending_instances{") <= bounds.namespaces + 1);
    // A group has some ten series, a namespace two or three.
    assert!(crowd.len() < known + bounds.groups * 12 + bounds.namespaces * 3 + 60, "{}", crowd.len());
    let pending = crowd.iter().filter(|(series, _)| series.starts_with("tangram_pending_pods{"));
    assert_eq!(pending.map(|(_, pods)| pods).sum::<f64>(), 600.0, "everybody is counted somewhere");
}

#[test]
fn a_census_of_the_example_agrees_with_a_count_by_hand() {
    let (cache, _) = load(&Config::default(), EXAMPLE.as_bytes()).unwrap();
    let waiting: Vec<_> = cache.pods().filter(|pod| pod.node.is_none()).cloned().collect();
    let census = Census::new(cache.cluster(), cache.scores(), &waiting, &Bounds::default());
    let nodes = cache.cluster().by_name();
    let gpus: usize = nodes.iter().map(|node| node.dynamic_gpus().count()).sum();
    assert_eq!(
        usize::try_from(census.groups.values().map(|group| group.dynamic_gpus).sum::<u32>()).unwrap(),
        gpus
    );
    assert!(gpus > 0);
    let bound = nodes.iter().flat_map(|node| &node.pods).filter(|pod| !pod.request.is_empty()).count();
    assert_eq!(usize::try_from(census.pods_bound).unwrap(), bound);
    let problems: usize = nodes.iter().map(|node| node.problems.len()).sum();
    assert_eq!(usize::try_from(census.problems.values().sum::<u32>()).unwrap(), problems);
    // All slices of all open GPUs of a model that the table knows are in one state.
    let slices: u32 = census
        .groups
        .values()
        .filter_map(|group| group.slices.get(&Mode::Dynamic))
        .map(|slices| slices.used + slices.usable + slices.stranded + slices.closed)
        .sum();
    let known = nodes.iter().flat_map(|node| node.dynamic_gpus()).filter_map(|gpu| gpu.model);
    assert_eq!(slices, known.map(|model| u32::from(Catalog::get().row(model).memory_slices)).sum::<u32>());
    assert!(census.gpus.iter().all(|gpu| (0.0..=1.0).contains(&gpu.held)));
    let none = Bounds { gpus: 0, ..Bounds::default() };
    let without = Census::new(cache.cluster(), cache.scores(), &waiting, &none);
    assert_eq!(usize::try_from(without.gpus_left_out).unwrap(), census.gpus.len());
}
