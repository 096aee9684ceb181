//! Shares of a GPU and whole GPUs by the demand's prices: against brute force, and on a slice of the openb trace.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use tangram::sim::Random;
use tangram::sim::openb::{
    Cluster, Figures, Knowledge, Malformed, Policy, Setting, Ties, parse_nodes, parse_pods, parse_published,
    run, stream,
};
use tangram::solver::share::{
    Ask, Board, Capacity, Class, Demand, Learner, Models, Node, Prices, Scarcity, WHOLE, cost,
};

const NODES: &str = include_str!("../data/traces/openb/openb_node_list_gpu_node.csv");
const PODS: &str = include_str!("../data/traces/openb/openb_pod_list_default.csv");
const SPEC: &str = include_str!("../data/traces/openb/openb_pod_list_gpuspec33.csv");
const PUBLISHED: &str = include_str!("../data/traces/openb/published_fgd.csv");

/// Every so many-th node of the trace.
fn slice(step: usize) -> Cluster {
    let lines = NODES.lines().enumerate().filter(|(at, _)| *at == 0 || at % step == 1);
    let kept: Vec<&str> = lines.map(|(_, line)| line).collect();
    parse_nodes(&kept.join("\n")).unwrap()
}

/// Whether some choice among all of the GPUs serves the ask.
fn fits_somehow(node: &Node, model: u8, ask: &Ask) -> bool {
    let serves = |chosen: u32| {
        let gpus = (0..node.free.len()).filter(|gpu| chosen >> gpu & 1 == 1);
        chosen.count_ones() == ask.gpus && gpus.into_iter().all(|gpu| node.free[gpu] >= ask.milli)
    };
    let gpus = u32::try_from(node.free.len()).unwrap();
    ask.models.contains(model)
        && ask.cpu_milli <= node.cpu_milli
        && ask.memory_mib <= node.memory_mib
        && (ask.gpus == 0 || (0..1 << gpus).any(serves))
}

/// The slice's nodes in a random state.
fn disordered(cluster: &Cluster, random: &mut Random) -> Vec<Node> {
    let mut nodes = cluster.nodes.clone();
    for node in &mut nodes {
        for free in &mut node.free {
            *free = [0, 190, 460, 540, WHOLE, WHOLE][random.below(6)];
        }
        node.cpu_milli = u64::try_from(random.below(usize::try_from(node.cpu_milli).unwrap() + 1)).unwrap();
        node.memory_mib = u64::try_from(random.below(usize::try_from(node.memory_mib).unwrap() + 1)).unwrap();
    }
    nodes
}

#[test]
fn a_node_has_a_cost_exactly_where_the_ask_fits_and_names_gpus_that_are_free() {
    let cluster = slice(20);
    let pods = parse_pods(SPEC, &cluster).unwrap();
    let prices = Prices::new(&Demand::of(&pods), &cluster.capacity);
    let mut random = Random::new(1);
    let (mut fitting, mut others) = (0, 0);
    for _ in 0..10 {
        for node in disordered(&cluster, &mut random) {
            let class = cluster.capacity.classes()[usize::from(node.class)].0;
            for _ in 0..20 {
                let mut ask = pods[random.below(pods.len())];
                ask.gpus *= [1, 1, 2, 3][random.below(4)];
                let found = cost(&node, &ask, &prices, &Scarcity::default());
                assert_eq!(found.is_some(), fits_somehow(&node, class.model, &ask), "{ask:?} on {node:?}");
                let Some((_, gpus)) = found else {
                    others += 1;
                    continue;
                };
                fitting += 1;
                assert_eq!(gpus.count(), ask.gpus);
                assert!(gpus.iter().all(|gpu| node.free[gpu] >= ask.milli), "{ask:?} on {node:?}: {gpus:?}");
            }
        }
    }
    assert!(fitting > 1000 && others > 1000, "{fitting} fit, {others} do not");
}

#[test]
fn the_board_answers_what_the_cost_of_every_node_says_while_nodes_change() {
    let cluster = slice(20);
    let pods = parse_pods(SPEC, &cluster).unwrap();
    let prices = Prices::new(&Demand::of(&pods), &cluster.capacity);
    let mut board = Board::new(cluster.nodes.clone(), prices.clone());
    let mut random = Random::new(2);
    let mut placed = Vec::new();
    for turn in 0..1500 {
        let ask = pods[random.below(pods.len())];
        let costs = board.nodes().iter().map(|node| cost(node, &ask, &prices, board.scarcity()));
        let costs: Vec<_> = costs.enumerate().filter_map(|(at, found)| Some((found?, at))).collect();
        let least = costs.iter().min_by_key(|((cost, _), at)| (*cost, *at)).copied();
        let spot = board.best(&ask);
        assert_eq!(spot.map(|spot| ((spot.cost, spot.gpus), spot.node)), least, "turn {turn}: {ask:?}");
        let spots: Vec<_> = board.spots(&ask).map(|spot| ((spot.cost, spot.gpus), spot.node)).collect();
        assert_eq!(spots, costs);
        if let Some(spot) = spot {
            board.take(spot, &ask);
            placed.push((spot, ask));
        }
        if random.below(3) == 0 && !placed.is_empty() {
            let (spot, ask) = placed.swap_remove(random.below(placed.len()));
            board.give(spot, &ask);
        }
    }
    for (spot, ask) in placed {
        board.give(spot, &ask);
    }
    assert_eq!(board.nodes(), cluster.nodes, "what was given back is free again");
}

#[test]
fn a_share_goes_where_it_leaves_what_the_demand_pays_for() {
    let mut capacity = Capacity::default();
    let class = capacity.add(Class { gpus: 2, cpu_milli: 64_000, memory_mib: 1 << 18, model: 0 });
    let ask = |gpus, milli| Ask { gpus, milli, cpu_milli: 1000, memory_mib: 1024, models: Models::ANY };
    let mut demand = Demand::default();
    demand.add(ask(1, 600), 10);
    demand.add(ask(1, 400), 10);
    let prices = Prices::new(&demand, &capacity);
    let node =
        Node { class, free: [WHOLE, 400].into_iter().collect(), cpu_milli: 64_000, memory_mib: 1 << 18 };
    let on =
        |ask: &Ask| cost(&node, ask, &prices, &Scarcity::default()).unwrap().1.iter().collect::<Vec<_>>();
    assert_eq!(on(&ask(1, 400)), [1], "beside the 600 that are there");
    assert_eq!(on(&ask(1, 600)), [0]);
    assert_eq!(on(&ask(2, 300)), [0, 1]);
    assert_eq!(on(&ask(0, 0)), [] as [usize; 0]);
}

#[test]
fn single_gpus_keep_off_the_last_node_that_a_large_ask_needs() {
    let mut capacity = Capacity::default();
    let class = |gpus| Class { gpus, cpu_milli: 8000 * u64::from(gpus), memory_mib: 1 << 19, model: 0 };
    let large = capacity.add(class(8));
    let small = capacity.add(class(1));
    let node = |number: u16, gpus: u32| Node {
        class: number,
        free: (0..gpus).map(|_| WHOLE).collect(),
        cpu_milli: 8000 * u64::from(gpus),
        memory_mib: 1 << 19,
    };
    let ask = |gpus: u32| Ask { gpus, milli: WHOLE, cpu_milli: 1000, memory_mib: 1024, models: Models::ANY };
    let prices = |asks: &[Ask]| Prices::new(&Demand::of(asks), &capacity);
    let nodes = vec![node(large, 8), node(small, 1)];
    let mut indifferent = Board::new(nodes.clone(), prices(&[ask(1)]));
    assert_eq!(indifferent.best(&ask(1)).unwrap().node, 0, "by name");
    let mut board = Board::new(nodes, prices(&[ask(1), ask(8)]));
    let spot = board.best(&ask(1)).unwrap();
    assert_eq!(spot.node, 1);
    board.take(spot, &ask(1));
    assert_eq!(board.best(&ask(8)).unwrap().node, 0);
    assert_eq!(board.best(&ask(1)).unwrap().node, 0, "rather than nowhere");
}

#[test]
fn what_any_model_serves_leaves_the_model_that_others_need() {
    let mut capacity = Capacity::default();
    let class = |model| Class { gpus: 1, cpu_milli: 8000, memory_mib: 1 << 16, model };
    let nodes = [0, 1].map(|model| Node {
        class: capacity.add(class(model)),
        free: [WHOLE].into_iter().collect(),
        cpu_milli: 8000,
        memory_mib: 1 << 16,
    });
    let ask = |models| Ask { gpus: 1, milli: WHOLE, cpu_milli: 1000, memory_mib: 1024, models };
    let demand = Demand::of([&ask(Models::ANY), &ask(Models::of([0]))]);
    let mut board = Board::new(nodes.to_vec(), Prices::new(&demand, &capacity));
    assert_eq!(board.best(&ask(Models::ANY)).unwrap().node, 1);
    assert_eq!(board.best(&ask(Models::of([0]))).unwrap().node, 0);
    assert_eq!(board.best(&ask(Models::of([2, 70]))), None);
}

#[test]
fn without_demand_the_first_node_by_name_is_taken() {
    let cluster = slice(20);
    let pods = parse_pods(PODS, &cluster).unwrap();
    let mut board = Board::new(cluster.nodes.clone(), Prices::new(&Demand::default(), &cluster.capacity));
    let ask = pods.iter().find(|ask| ask.gpus == 1).unwrap();
    let model = |node: &Node| cluster.capacity.classes()[usize::from(node.class)].0.model;
    let first = cluster.nodes.iter().position(|node| fits_somehow(node, model(node), ask));
    assert!(first.is_some());
    assert_eq!(board.best(ask).map(|spot| spot.node), first);
}

#[test]
fn what_lies_back_loses_half_its_weight_and_is_forgotten_in_the_end() {
    let ask = |milli| Ask { gpus: 1, milli, cpu_milli: 0, memory_mib: 0, models: Models::ANY };
    let mut learner = Learner::new(&Demand::of([&ask(WHOLE)]), 2, 4);
    let weight = |learner: &Learner, milli| {
        learner.demand().kinds().find(|(kind, _)| **kind == ask(milli)).map_or(0, |(_, weight)| weight)
    };
    let strength = weight(&learner, WHOLE);
    for _ in 0..4 {
        learner.see(ask(300));
    }
    assert_eq!((weight(&learner, WHOLE), weight(&learner, 300)), (strength >> 1, strength));
    for _ in 0..4 * 20 {
        learner.see(ask(300));
    }
    assert_eq!(weight(&learner, WHOLE), 0);
    assert_eq!(learner.seen(), 84);
}

fn allocated(cluster: &Cluster, pods: &[Ask], policy: Policy, knowledge: Knowledge) -> (f64, f64) {
    let setting = Setting { policy, ties: Ties::Random, through_extender: true, knowledge, seed: 7 };
    let runs: Vec<Figures> =
        (0..4).map(|more| run(cluster, pods, &Setting { seed: 7 + more, ..setting })).collect();
    let mean = |part: fn(&Figures) -> f64| runs.iter().map(part).sum::<f64>() / 4.0;
    (mean(|run| run.at_100), mean(|run| run.at_130))
}

#[test]
fn regret_hands_out_more_than_what_others_do_through_the_levels_of_the_extender() {
    let cluster = slice(10);
    let pods = parse_pods(PODS, &cluster).unwrap();
    let pods: Vec<Ask> = pods.into_iter().step_by(10).collect();
    let regret = allocated(&cluster, &pods, Policy::Regret, Knowledge::Histogram);
    for policy in Policy::all().filter(|policy| *policy != Policy::Regret) {
        let other = allocated(&cluster, &pods, policy, Knowledge::Histogram);
        assert!(regret.0 > other.0 && regret.1 > other.1, "{policy}: {regret:?} against {other:?}");
    }
    let learnt = allocated(&cluster, &pods, Policy::Regret, Knowledge::Learnt);
    assert!((regret.1 - learnt.1).abs() < 1.0, "{regret:?} against {learnt:?}");
}

#[test]
fn a_run_is_a_function_of_its_seed_and_the_best_node_is_alone_at_the_top() {
    let cluster = slice(20);
    let pods: Vec<Ask> = parse_pods(SPEC, &cluster).unwrap().into_iter().step_by(20).collect();
    let setting = |ties, through_extender, seed| Setting {
        policy: Policy::Regret,
        ties,
        through_extender,
        knowledge: Knowledge::Histogram,
        seed,
    };
    let by_name = run(&cluster, &pods, &setting(Ties::Name, false, 3));
    assert_eq!(run(&cluster, &pods, &setting(Ties::Name, false, 3)), by_name);
    assert_eq!(run(&cluster, &pods, &setting(Ties::Random, true, 3)), by_name, "levels lose nothing");
    assert_ne!(run(&cluster, &pods, &setting(Ties::Name, false, 4)), by_name);
    assert!(by_name.at_100 <= by_name.at_130 && by_name.at_130 <= 100.0);
}

#[test]
fn pods_are_drawn_until_they_ask_for_130_percent() {
    let cluster = slice(20);
    let pods: Vec<Ask> = parse_pods(PODS, &cluster).unwrap().into_iter().step_by(40).collect();
    let asks = stream(&pods, cluster.milli(), 5);
    let sum: u64 = asks.iter().map(Ask::total_milli).sum();
    let wanted = (cluster.milli() * 13).div_ceil(10);
    assert!(sum >= wanted && sum < wanted + 8000, "{sum} of {wanted}");
    assert!(asks.iter().all(|ask| pods.contains(ask)));
    assert!(pods.iter().all(|pod| asks.contains(pod)), "each pod of the trace comes at least once");
    assert_ne!(asks, stream(&pods, cluster.milli(), 6));
    assert_eq!(stream(&[], cluster.milli(), 5), []);
}

#[test]
fn the_files_hold_what_their_readme_says() {
    let cluster = parse_nodes(NODES).unwrap();
    assert_eq!((cluster.nodes.len(), cluster.milli()), (1213, 6_212_000));
    assert!(cluster.names.is_sorted());
    assert_eq!(parse_pods(PODS, &cluster).unwrap().len(), 8152);
    let published = parse_published(PUBLISHED).unwrap();
    assert_eq!((published.len(), published["default"].at_100), (17, 95.23));
}

#[test]
fn a_file_that_makes_no_sense_is_refused_with_line_and_column() {
    let head = "sn,cpu_milli,memory_mib,gpu,model\n";
    let nodes = |line: &str| parse_nodes(&format!("{head}{line}")).unwrap_err();
    let cell =
        |line, column, value: &str, wanted| Malformed::Cell { line, column, value: value.to_owned(), wanted };
    assert_eq!(nodes("a,1000,1,-1,T4"), cell(2, "gpu", "-1", "a number in range"));
    assert_eq!(nodes("a,1000,1,65,T4"), cell(2, "gpu", "65", "a number up to 64"));
    assert_eq!(nodes("a,1000,1,1"), cell(2, "model", "", "there"));
    assert_eq!(parse_nodes("sn,gpu\n").unwrap_err(), Malformed::NoColumn { column: "cpu_milli" });
    let cluster = parse_nodes(&format!("{head}a,1000,1,1,T4\n")).unwrap();
    let pods = |line: &str| {
        parse_pods(&format!("cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n{line}"), &cluster)
    };
    assert_eq!(pods("1,1,1,1001,").unwrap_err(), cell(2, "gpu_milli", "1001", "1 to 1000"));
    assert_eq!(
        nodes("a,1000,1,65,T4").to_string(),
        "line 2, column \"gpu\": \"65\" is not a number up to 64"
    );
    assert_eq!(pods("1,1,1,500,T4|P100").unwrap()[0].models, Models::of([0]));
    assert_eq!(pods("1,1,0,0,").unwrap()[0].models, Models::ANY);
}
