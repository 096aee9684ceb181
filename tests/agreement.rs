//! One placement function: the dry run, the extender and the simulators choose the same nodes for whole GPUs and
//! replicas, on nodes of several models whose CPU and memory run out.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/http.rs"]
#[expect(dead_code, reason = "each test file uses what it needs")]
mod http;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Server;
use serde_json::{Value, json};
use tangram::cache::Cache;
use tangram::config::Config;
use tangram::model::{Cluster, Pod, Policy, PoolClass};
use tangram::plan::plan;
use tangram::serve::load;
use tangram::sim::{Course, Random};
use tangram::solver::Scores;
use tangram::solver::share::{Ask, Board, Free, Models, Node, Scarcity, State, WHOLE, cost, cost_of_whole};
use tangram::wire::trace::{Happening, Step};
use tangram::wire::{self, PodObject};

const GPU: &str = "nvidia.com/gpu";

/// Name, product, memory label in MiB, units, replicas (1: not shared), cores, GiB.
type Make = (&'static str, u32, u32, u32, u32, u32);

const MAKES: [Make; 5] = [
    ("NVIDIA-A100-SXM4-80GB", 81_920, 8, 1, 96, 1024),
    ("NVIDIA-H100-80GB-HBM3", 81_559, 8, 1, 160, 2048),
    ("Tesla-T4", 15_360, 4, 1, 48, 192),
    ("Tesla-T4-SHARED", 15_360, 8, 4, 32, 128),
    ("NVIDIA-L40S", 46_068, 4, 1, 64, 512),
];

fn node(name: &str, (product, memory, units, replicas, cores, gib): Make) -> Value {
    let mut labels = json!({
        "nvidia.com/gpu.product": product,
        "nvidia.com/gpu.memory": memory.to_string(),
        "nvidia.com/gpu.count": units.div_euclid(replicas).to_string(),
        "nvidia.com/gpu.replicas": replicas.to_string(),
    });
    if replicas > 1 {
        labels["nvidia.com/gpu.sharing-strategy"] = "time-slicing".into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": {"allocatable": {"cpu": cores, "memory": format!("{gib}Gi"), "pods": 110, GPU: units}},
    })
}

fn pod(name: &str, units: u32, cores: u32, gib: u32, products: &[&str]) -> Value {
    let mut amounts = json!({"cpu": cores, "memory": format!("{gib}Gi")});
    if units > 0 {
        amounts[GPU] = units.into();
    }
    let mut spec =
        json!({"containers": [{"name": "main", "resources": {"requests": amounts, "limits": amounts}}]});
    if !products.is_empty() {
        let term = json!({"matchExpressions": [{"key": "nvidia.com/gpu.product", "operator": "In", "values": products}]});
        spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
            json!({"nodeSelectorTerms": [term]});
    }
    let metadata = json!({"name": name, "namespace": "default", "uid": format!("uid-{name}")});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

/// Pods of many kinds; some insist on models.
fn pods(random: &mut Random, count: usize, prefix: &str) -> Vec<Value> {
    let kinds: [(u32, u32, u32, &[&str]); 9] = [
        (1, 4, 16, &[]),
        (1, 12, 64, &[]),
        (1, 2, 8, &["Tesla-T4", "Tesla-T4-SHARED"]),
        (1, 8, 32, &["NVIDIA-H100-80GB-HBM3"]),
        (2, 16, 128, &[]),
        (2, 8, 64, &["NVIDIA-A100-SXM4-80GB", "NVIDIA-H100-80GB-HBM3"]),
        (4, 32, 256, &[]),
        (8, 64, 768, &[]),
        (1, 30, 16, &["NVIDIA-L40S"]),
    ];
    let pod = |number: usize| {
        let (units, cores, gib, products) = kinds[random.below(kinds.len())];
        pod(&format!("{prefix}{number:03}"), units, cores, gib, products)
    };
    (0..count).map(pod).collect()
}

/// A cluster of every make, with pods that run there and those that wait, all of which were learnt from.
fn world(nodes: &[(String, Make)], seen: &[Value]) -> String {
    let mut items: Vec<Value> = nodes.iter().map(|(name, make)| node(name, *make)).collect();
    // A pod without devices takes CPU from the first node of each make.
    for (at, (name, _)) in nodes.iter().enumerate().step_by(4) {
        let mut pod = pod(&format!("cpu{at}"), 0, 10, 40, &[]);
        pod["spec"]["nodeName"] = name.as_str().into();
        items.push(pod);
    }
    items.extend(seen.iter().cloned());
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

fn nodes(makes: &[Make]) -> Vec<(String, Make)> {
    let of = |(number, make): (usize, Make)| (0..4).map(move |twin| (format!("n{twin}-{number}"), make));
    makes.iter().copied().enumerate().flat_map(of).collect()
}

fn loaded(text: &str) -> Cache {
    let (cache, contents) = load(&Config::default(), text.as_bytes()).unwrap();
    assert_eq!(contents.errors, []);
    cache
}

fn read(pod: &Value) -> Arc<Pod> {
    let object: PodObject = serde_json::from_value(pod.clone()).unwrap();
    Arc::new(wire::pod(&object, &Config::default().dialect()).unwrap())
}

/// kube-scheduler's own filters, as far as these pods ask them: books of CPU and memory, and products.
struct Books(BTreeMap<String, (Make, u64, u64)>);

impl Books {
    fn new(cluster: &Cluster, nodes: &[(String, Make)]) -> Self {
        let entry = |(name, make): &(String, Make)| {
            let used = cluster.get(name).unwrap().used;
            let (cpu, memory) = (u64::from(make.4) * 1000, u64::from(make.5) << 30);
            let used = (u64::try_from(used.cpu_milli).unwrap(), u64::try_from(used.memory_bytes).unwrap());
            (name.clone(), (*make, cpu - used.0, memory - used.1))
        };
        Self(nodes.iter().map(entry).collect())
    }

    fn amounts(pod: &Pod) -> (u64, u64) {
        let asked = pod.demand.resources;
        (u64::try_from(asked.cpu_milli).unwrap(), u64::try_from(asked.memory_bytes).unwrap())
    }

    fn passing(&self, pod: &Pod) -> Vec<&String> {
        let (cpu, memory) = Self::amounts(pod);
        let products = pod.demand.affinity.iter().flatten().flatten().flat_map(|wanted| &wanted.values);
        let products: Vec<&str> = products.map(|product| &**product).collect();
        let passes = |(_, (make, has_cpu, has_memory)): &(&String, &(Make, u64, u64))| {
            *has_cpu >= cpu && *has_memory >= memory && (products.is_empty() || products.contains(&make.0))
        };
        self.0.iter().filter(passes).map(|(name, _)| name).collect()
    }

    fn take(&mut self, pod: &Pod, node: &str) {
        let (cpu, memory) = Self::amounts(pod);
        let entry = self.0.get_mut(node).unwrap();
        entry.1 -= cpu;
        entry.2 -= memory;
    }
}

/// What a scheduler that asks the extender does with each pod.
async fn through_the_extender(text: &str, nodes: &[(String, Make)], pods: &[Value]) -> Vec<Option<String>> {
    let server = Server::new(text);
    let mut books = Books::new(loaded(text).cluster(), nodes);
    let mut chosen = Vec::new();
    for object in pods {
        let pod = read(object);
        let ask = |names: &Value| json!({"Pod": object, "NodeNames": names}).to_string();
        let passing = json!(books.passing(&pod));
        let filtered = server.post("/scheduler/filter", ask(&passing)).await;
        let open = filtered["NodeNames"].clone();
        let scored = server.post("/scheduler/prioritize", ask(&open)).await;
        let best: Vec<&Value> =
            scored.as_array().unwrap().iter().filter(|node| node["Score"] == 10).collect();
        assert_eq!(best.len(), usize::from(open.as_array().is_some_and(|open| !open.is_empty())));
        let node = best.first().map(|node| node["Host"].as_str().unwrap().to_owned());
        if let Some(node) = &node {
            let bind = json!({
                "PodName": &*pod.key.name, "PodNamespace": "default", "PodUID": &*pod.uid, "Node": node,
            });
            assert_eq!(server.post("/scheduler/bind", bind.to_string()).await, json!({"Error": ""}));
            books.take(&pod, node);
        }
        chosen.push(node);
    }
    chosen
}

fn planned(cache: &Cache, pods: &[Value]) -> Vec<Option<String>> {
    let (planned, _) = plan(cache.cluster().clone(), cache.scores(), Policy::Pack, pods.iter().map(read));
    planned.into_iter().map(|planned| planned.outcome.ok().map(|place| place.node.to_string())).collect()
}

fn played(cache: Cache, pods: &[Value]) -> Vec<Option<String>> {
    let mut course = Course::new(cache, Policy::Pack);
    let play = |pod: &Value| {
        let decisions = course.take(Step { at: 0.0, happening: Happening::Pod(read(pod)) }).unwrap();
        decisions[0].place.as_ref().map(|(node, _)| node.to_string())
    };
    pods.iter().map(play).collect()
}

#[tokio::test]
async fn the_dry_run_the_extender_and_a_trace_choose_the_same_nodes() {
    let nodes = nodes(&MAKES);
    for seed in 1..=2 {
        let mut random = Random::new(seed);
        let text = world(&nodes, &pods(&mut random, 60, "seen"));
        let wanted = pods(&mut random, 80, "p");
        let expected = planned(&loaded(&text), &wanted);
        assert_eq!(through_the_extender(&text, &nodes, &wanted).await, expected, "seed {seed}");
        assert_eq!(played(loaded(&text), &wanted), expected, "seed {seed}");
        let refused = expected.iter().filter(|node| node.is_none()).count();
        let used: std::collections::BTreeSet<&String> = expected.iter().flatten().collect();
        assert!(refused > 0 && refused < 60, "seed {seed}: {refused} of 80 found no place");
        assert!(used.len() > 15, "seed {seed}: {} of 20 nodes were used", used.len());
    }
}

/// The nodes and the pods as `simulate openb` has them.
struct Bare {
    names: Vec<String>,
    board: Board,
    products: Vec<&'static str>,
}

impl Bare {
    fn new(cluster: &Cluster, scores: &Scores, nodes: &[(String, Make)]) -> Self {
        let market = scores.markets().get(GPU).unwrap();
        let mut sorted = nodes.to_vec();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        let bare = |(name, make): &(String, Make)| {
            let node = cluster.get(name).unwrap();
            let class = PoolClass::of(&node.facts, &node.facts.pools[0]);
            let amount = |has: i64, used: i64| u64::try_from(has - used).unwrap();
            let (has, used) = (node.facts.allocatable, node.used);
            Node {
                class: market.class(&class).expect("the prices are for this cluster"),
                free: (0..make.2).map(|gpu| if gpu < node.pools[0].used { 0 } else { WHOLE }).collect(),
                cpu_milli: amount(has.cpu_milli, used.cpu_milli),
                memory_mib: amount(has.memory_bytes, used.memory_bytes) >> 20,
            }
        };
        let board = Board::new(sorted.iter().map(bare).collect(), market.prices().clone());
        // Models have the numbers of their classes, in the order of their labels.
        let mut classes: Vec<(&PoolClass, &'static str)> = Vec::new();
        for (class, _) in scores.markets().supply().classes() {
            let is_it = |make: &&Make| class.labels.iter().any(|(_, value)| **value == *make.0);
            classes.push((class, MAKES.iter().find(is_it).unwrap().0));
        }
        let products = classes.into_iter().map(|(_, product)| product).collect();
        Self { names: sorted.into_iter().map(|(name, _)| name).collect(), board, products }
    }

    fn place(&mut self, pod: &Pod) -> Option<String> {
        let wanted = pod.demand.affinity.iter().flatten().flatten().flat_map(|wanted| &wanted.values);
        let wanted: Vec<&str> = wanted.map(|product| &**product).collect();
        let accepted = (0..).zip(&self.products).filter(|(_, product)| wanted.contains(product));
        let models =
            if wanted.is_empty() { Models::ANY } else { Models::of(accepted.map(|(model, _)| model)) };
        let (cpu, memory) = Books::amounts(pod);
        let gpus = pod.request.counted[0].1;
        let ask = Ask { gpus, milli: WHOLE, cpu_milli: cpu, memory_mib: memory >> 20, models };
        let spot = self.board.best(&ask)?;
        self.board.take(spot, &ask);
        Some(self.names[spot.node].clone())
    }
}

#[test]
fn production_places_whole_gpus_where_the_simulator_of_openb_does() {
    // GPUs of one worth, in KiB above a billion: no two costs become one.
    let makes = MAKES.map(|(product, _, units, _, cores, gib)| (product, 1_000_000, units, 1, cores, gib));
    // Models of the MIG table have the memory of the table.
    let makes: Vec<Make> = makes
        .into_iter()
        .filter(|make| !["A100", "H100"].iter().any(|known| make.0.contains(known)))
        .collect();
    let nodes = nodes(&makes);
    let mut refused = 0;
    for seed in 1..=5 {
        let mut random = Random::new(seed);
        let cache = loaded(&world(&nodes, &pods(&mut random, 60, "seen")));
        let wanted = pods(&mut random, 70, "p");
        let mut bare = Bare::new(cache.cluster(), cache.scores(), &nodes);
        let simulated: Vec<Option<String>> = wanted.iter().map(|pod| bare.place(&read(pod))).collect();
        assert_eq!(planned(&cache, &wanted), simulated, "seed {seed}");
        refused += simulated.iter().filter(|node| node.is_none()).count();
    }
    assert!(refused > 50 && refused < 250, "{refused} of 350 found no place");
}

#[test]
fn a_number_of_whole_gpus_costs_what_they_cost_one_by_one() {
    let cache = loaded(&world(&nodes(&MAKES), &pods(&mut Random::new(4), 80, "seen")));
    let market = cache.scores().markets().get(GPU).unwrap();
    let prices = market.prices();
    let mut random = Random::new(5);
    let mut compared = 0;
    for _ in 0..3000 {
        let class = random.below(MAKES.len());
        let free: Vec<u16> = (0..8).map(|_| [0, WHOLE][random.below(2)]).collect();
        let cpu_milli = u64::try_from(random.below(96_000)).unwrap();
        let memory_mib = u64::try_from(random.below(1 << 20)).unwrap();
        let class = u16::try_from(class).unwrap();
        let node = Node { class, free: free.iter().copied().collect(), cpu_milli, memory_mib };
        let others: Vec<Node> =
            (0..3).map(|twin| Node { cpu_milli: cpu_milli + twin, ..node.clone() }).collect();
        let scarcity = Scarcity::new(prices, others.iter().map(Node::state));
        let whole = u32::try_from(node.state().whole_gpus()).unwrap();
        let state = State { free: Free::Whole(whole), ..node.state() };
        assert_eq!(prices.fragmentation(state), prices.fragmentation(node.state()));
        let ask = Ask {
            gpus: 1 + u32::try_from(random.below(4)).unwrap(),
            milli: WHOLE,
            cpu_milli: u64::try_from(random.below(40_000)).unwrap(),
            memory_mib: u64::try_from(random.below(1 << 18)).unwrap(),
            models: Models::ANY,
        };
        if let Some((cost, _)) = cost(&node, &ask, prices, &scarcity) {
            let alike = cost_of_whole(state, ask.gpus, ask.cpu_milli, ask.memory_mib, prices, &scarcity);
            assert_eq!(alike, cost, "{ask:?} on {node:?}");
            compared += 1;
        }
    }
    assert!(compared > 1000, "{compared} compared");
}
