//! The solver against exhaustive search: what fits, where it goes, what it costs, who is best and who has
//! to go. Rules, search and prices are those of `common/cluster.rs` and of this file, written from the JSON
//! table and from the formula in `solver::price`'s head; inputs are the same in every run.

#[path = "common/cluster.rs"]
#[expect(dead_code, reason = "what the tests of the table alone need")]
mod cluster;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use cluster::{
    Board, Model, check, container, dynamic, fits, gpu, live, model, placed, pod, pool, report, shared, want,
};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof};
use proptest::test_runner::TestCaseResult;
use tangram::model::{Cluster, GpuHealth, Node, NodeFacts, Placement, Pod, Policy, Problem, Resources, Want};
use tangram::plan::plan;
use tangram::preempt::victims;
use tangram::solver::{
    Cost, Query, Refusal, Scores, Violation, evaluate, helped_by_eviction, levels, place, verify,
};

fn scores() -> &'static Scores {
    static SCORES: LazyLock<Scores> = LazyLock::new(Scores::prior);
    &SCORES
}

/// What a pod with these wants costs on a node, and where it goes.
fn ask(node: &Arc<Node>, pod: &Pod, policy: Policy) -> (Result<Cost, Refusal>, Result<Placement, Refusal>) {
    let mut cluster = Cluster::default();
    let index = cluster.put(node.clone());
    let query = Query::new(&cluster, scores(), pod, policy);
    (evaluate(cluster.row(index), &query), place(&cluster, node, &pod.request, &query))
}

/// All legal layouts of a model: each placement is taken or left.
fn layouts(model: &'static Model) -> Vec<Vec<(usize, u8)>> {
    let mut layouts = vec![Vec::new()];
    for placement in model.placements() {
        let longer =
            layouts.iter().map(|layout: &Vec<(usize, u8)>| [layout.as_slice(), &[placement]].concat());
        let longer: Vec<_> = longer.filter(|layout| model.board(layout).is_some()).collect();
        layouts.extend(longer);
    }
    layouts
}

/// A node `n` with one GPU in this layout: by annotations of bound pods, or by an agent's report.
fn one_gpu(model: &Model, layout: &[(usize, u8)], by_pods: bool) -> Arc<Node> {
    let facts = shared(dynamic("n", model, [0]));
    let at = |&(profile, start): &(usize, u8)| (model.profiles[profile].name.as_str(), start);
    if by_pods {
        let bound = layout.iter().map(at).zip(0..).map(|((profile, start), number)| {
            shared(placed(&format!("p{number}"), "n", &[(0, profile, start)]))
        });
        return shared(Node::new(facts, None, bound.collect()));
    }
    let instances = layout.iter().map(at).map(|(profile, start)| live(profile, start, None)).collect();
    shared(Node::new(facts, Some(shared(report(vec![gpu(0, model, instances)]))), Vec::new()))
}

// ---------------------------------------------------------------------------------------------------------
// Prices, computed without the solver's tables.

/// phi and E by what a GPU holds, remembered.
struct Prices {
    model: &'static Model,
    phi: Memo,
    counts: Vec<Memo>,
    ahead: BTreeMap<Vec<(usize, u8)>, f64>,
}

type Memo = BTreeMap<(u32, Vec<u8>), f64>;

impl Prices {
    fn new(model: &'static Model) -> Self {
        Self {
            model,
            phi: Memo::new(),
            counts: vec![Memo::new(); model.profiles.len()],
            ahead: BTreeMap::new(),
        }
    }

    /// Profiles of the demand until it is learnt: those without attribute, equally frequent.
    fn demand(&self) -> Vec<usize> {
        (0..self.model.profiles.len()).filter(|&profile| self.model.profiles[profile].is_plain()).collect()
    }

    /// Memory slices of a profile, with nothing starting in between.
    fn size(&self, profile: usize) -> f64 {
        f64::from(self.model.profiles[profile].memory_slices) / f64::from(self.model.unit())
    }

    /// What the GPU is worth now and, with less weight, what it is expected to be worth in a while; in GPUs.
    fn potential(&mut self, board: &Board) -> f64 {
        const AHEAD: f64 = 0.1;
        self.now(board) + AHEAD * self.ahead(board)
    }

    /// The expected worth when a clock rings that does so at rate 1 / 0.3, while each instance leaves at rate 1 and
    /// none comes: by what happens first.
    fn ahead(&mut self, board: &Board) -> f64 {
        const RING: f64 = 1.0 / 0.3;
        let instances = board.instances.clone();
        if let Some(&known) = self.ahead.get(&instances) {
            return known;
        }
        let mut sum = RING * self.now(board);
        for &gone in &instances {
            let left: Vec<_> = instances.iter().copied().filter(|instance| *instance != gone).collect();
            let left = self.model.board(&left).expect("part of what was legal");
            sum += self.ahead(&left);
        }
        let rate = RING + f64::from(u8::try_from(instances.len()).expect("a few instances"));
        self.ahead.insert(instances, sum / rate);
        sum / rate
    }

    /// phi - gamma * E.
    fn now(&mut self, board: &Board) -> f64 {
        const GAMMA: f64 = 0.01;
        let demand = self.demand();
        let axis = f64::from(self.model.memory_slices) / f64::from(self.model.unit());
        let values: Vec<(usize, f64)> =
            demand.iter().map(|&profile| (profile, self.size(profile) / axis)).collect();
        let phi = most(board, &values, &mut self.phi);
        let demanded: f64 = demand.iter().map(|&profile| self.size(profile)).sum();
        let lost: f64 = demand
            .iter()
            .map(|&profile| {
                let size = self.size(profile);
                -(size / demanded) * size * most(board, &[(profile, 1.0)], &mut self.counts[profile])
            })
            .sum();
        phi - GAMMA * lost
    }

    /// What a placement costs, in KiB of the GPU's memory.
    fn cost(&mut self, board: &Board, profile: usize, start: u8) -> f64 {
        const EPSILON: f64 = 1e-6;
        let after = board.with(profile, start).expect("a legal start");
        let free = f64::from(self.model.memory_slices) - f64::from(board.mask.count_ones());
        let fullness = EPSILON * free / f64::from(self.model.unit());
        self.kib() * (self.potential(board) - self.potential(&after) + fullness)
    }

    fn kib(&self) -> f64 {
        f64::from(self.model.total_mib()) * 1024.0
    }
}

/// The most value that still fits, by trying every next instance.
fn most(board: &Board, values: &[(usize, f64)], memo: &mut Memo) -> f64 {
    let (_, mask, counts) = board.key();
    if let Some(&known) = memo.get(&(mask, counts.clone())) {
        return known;
    }
    let mut best = 0.0_f64;
    for &(profile, value) in values {
        for start in board.starts(profile) {
            let rest = most(&board.with(profile, start).expect("a legal start"), values, memo);
            best = best.max(value + rest);
        }
    }
    memo.insert((mask, counts), best);
    best
}

/// A cost is a difference of two rounded potentials plus a rounded term.
const ROUNDING: f64 = 1.5 + 1e-3;
/// Costs of two starts share everything but one rounded potential.
const ROUNDING_OF_CHOICE: f64 = 1.0 + 1e-3;

#[expect(clippy::cast_precision_loss, reason = "costs of tests are far below 2^52")]
fn kib(cost: Cost) -> f64 {
    cost as f64
}

const EXHAUSTIVE: [&str; 4] =
    ["a100-80gb", "a30-24gb", "rtx-pro-6000-blackwell-96gb", "rtx-pro-5000-blackwell-48gb"];

#[test]
fn an_instance_fits_exactly_where_it_has_a_legal_start() {
    for model in EXHAUSTIVE.map(model) {
        for (number, layout) in layouts(model).iter().enumerate() {
            let board = model.board(layout).unwrap();
            let node = one_gpu(model, layout, number.is_multiple_of(2));
            let free = u32::from(model.memory_slices) - board.mask.count_ones();
            for (position, profile) in model.profiles.iter().enumerate() {
                let starts = board.starts(position);
                let pod = pod("asks", &[want(&profile.name)]);
                for policy in [Policy::Pack, Policy::Spread] {
                    let (cost, placement) = ask(&node, &pod, policy);
                    let context = format!("{} {layout:?} {}", model.key, profile.name);
                    let refusal = cost.err();
                    assert_eq!(refusal, placement.as_ref().err().cloned(), "{context}");
                    let text = || profile.name.as_str().into();
                    let expected = match () {
                        () if !starts.is_empty() => None,
                        () if free < u32::from(profile.memory_slices) => Some(Refusal::Full { want: text() }),
                        () => Some(Refusal::Fragmented { want: text() }),
                    };
                    assert_eq!(refusal, expected, "{context}");
                    if let Ok(placement) = placement {
                        let [device] = &placement.devices[..] else {
                            unreachable!("{context}: {placement:?}")
                        };
                        assert_eq!(
                            (device.gpu, device.profile.as_str()),
                            (0, profile.name.as_str()),
                            "{context}"
                        );
                        assert!(starts.contains(&device.start), "{context}: {}", device.start);
                        assert_eq!(verify(&node, &pod.request, &placement), Ok(()), "{context}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_model_without_the_profile_refuses_it_however_empty() {
    let a100 = one_gpu(model("a100-80gb"), &[], true);
    let refusal = |want: Want| ask(&a100, &pod("asks", &[want]), Policy::Pack).0.unwrap_err();
    assert_eq!(refusal(want("1g.6gb")), Refusal::WrongModel { want: "1g.6gb".into() });
    assert_eq!(refusal(want("1g.11gb")), Refusal::NoSuchProfile { want: "1g.11gb".into() });
    let more = |mib| Want::Memory { mib, compute_slices: 1 };
    assert_eq!(refusal(more(80_641)), Refusal::WrongModel { want: "80641 MiB".into() });
    assert_eq!(refusal(more(300_000)), Refusal::NoSuchProfile { want: "300000 MiB".into() });
    let static_node = shared(Node::new(shared(cluster::node("n")), None, Vec::new()));
    assert_eq!(ask(&static_node, &pod("asks", &[more(1)]), Policy::Pack).0, Err(Refusal::NotDynamic));
}

#[test]
fn the_start_chosen_costs_least_by_the_formula_and_its_price_is_the_one_told() {
    // The driver's own order among equals, in memory slices of 7-slice GPUs, by an instance's size.
    let driver = |size: u8| -> &[u8] {
        match size {
            1 => &[6, 4, 5, 0, 1, 2, 3],
            2 => &[6, 4, 0, 2],
            _ => &[4, 0],
        }
    };
    for model in EXHAUSTIVE.map(model) {
        let mut prices = Prices::new(model);
        for layout in layouts(model) {
            let board = model.board(&layout).unwrap();
            let node = one_gpu(model, &layout, true);
            for (position, profile) in model.profiles.iter().enumerate() {
                let costs: BTreeMap<u8, f64> = board
                    .starts(position)
                    .into_iter()
                    .map(|start| (start, prices.cost(&board, position, start)))
                    .collect();
                let Some(least) = costs.values().copied().min_by(f64::total_cmp) else { continue };
                let (told, placement) = ask(&node, &pod("asks", &[want(&profile.name)]), Policy::Pack);
                let (told, start) = (kib(told.unwrap()), placement.unwrap().devices[0].start);
                let context = format!(
                    "{} {layout:?} {}: start {start} of {costs:?}, told {told}",
                    model.key, profile.name
                );
                assert!(costs[&start] <= least + ROUNDING_OF_CHOICE, "{context}");
                assert!((told - costs[&start]).abs() <= ROUNDING, "{context}");
                if model.memory_slices == 8 && costs[&start] - least < 1e-6 {
                    let mut equal = driver(profile.memory_slices)
                        .iter()
                        .filter(|start| costs.get(*start).is_some_and(|cost| cost - least < 1e-6));
                    assert_eq!(equal.next(), Some(&start), "{context}: not the first in the driver's order");
                }
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------------------
// Random nodes.

/// What a random GPU is.
#[derive(Debug, Clone)]
struct GpuCase {
    model: usize,
    /// Placements tried one after another; what does not fit is left out.
    tries: Vec<usize>,
    /// Instances known from annotations of bound pods; else an agent reports them.
    by_pods: bool,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Unhealthy,
    NotDynamic,
}

/// What a random pod wants, told by a GPU model and a profile of it.
#[derive(Debug, Clone)]
struct WantCase {
    model: usize,
    profile: usize,
    /// `Some` asks for memory: so much more or less than the profile has, and compute slices.
    memory: Option<(i64, u8)>,
}

const RANDOM: [&str; 6] = [
    "a100-80gb",
    "a30-24gb",
    "rtx-pro-6000-blackwell-96gb",
    "h100-80gb-sxm",
    "gb300-278gb",
    "rtx-pro-5000-blackwell-48gb",
];

fn random_model(choice: usize) -> &'static Model {
    model(RANDOM[choice.rem_euclid(RANDOM.len())])
}

fn gpu_case() -> impl Strategy<Value = GpuCase> {
    let state =
        prop_oneof![12 => Just(State::Open), 1 => Just(State::Unhealthy), 1 => Just(State::NotDynamic)];
    let parts = (0..RANDOM.len(), vec(any::<usize>(), 0..4), any::<bool>(), state);
    parts.prop_map(|(model, tries, by_pods, state)| GpuCase { model, tries, by_pods, state })
}

/// GPUs of one model, or of several.
fn gpu_cases(most: usize) -> impl Strategy<Value = Vec<GpuCase>> {
    (vec(gpu_case(), 1..=most), prop_oneof![2 => Just(false), 1 => Just(true)]).prop_map(
        |(mut gpus, is_mixed)| {
            let first = gpus[0].model;
            gpus.iter_mut().filter(|_| !is_mixed).for_each(|gpu| gpu.model = first);
            gpus
        },
    )
}

fn want_case() -> impl Strategy<Value = WantCase> {
    let memory =
        prop_oneof![3 => Just(None), 1 => (prop_oneof![-2000_i64..3, Just(0)], 0_u8..4).prop_map(Some)];
    (any::<usize>(), any::<usize>(), memory).prop_map(|(model, profile, memory)| WantCase {
        model,
        profile,
        memory,
    })
}

impl WantCase {
    /// The want, mostly for one of these models.
    fn want(&self, models: &[usize]) -> Want {
        let model = random_model(models[self.model.rem_euclid(models.len())]);
        let profile = self.profile.rem_euclid(model.profiles.len());
        match self.memory {
            None => want(&model.profiles[profile].name),
            Some((more, compute_slices)) => {
                let mib = i64::from(model.instance_mib(profile)) + more;
                let mib = u32::try_from(mib.max(1)).expect("memory of a GPU");
                let has = model.profiles[profile].compute_slices;
                Want::Memory { mib, compute_slices: u32::from(compute_slices.min(has)) }
            }
        }
    }
}

/// A node under test with what this file knows of it.
struct NodeCase {
    node: Arc<Node>,
    /// GPUs on which something may be placed, by index.
    boards: BTreeMap<u16, (&'static Model, Board)>,
    /// The other GPUs, by index.
    closed: BTreeMap<u16, &'static Model>,
}

impl NodeCase {
    /// GPUs have the indices 1, 4, 7, ...: an index is not a position.
    fn new(facts: NodeFacts, cases: &[GpuCase], pods: &[Arc<Pod>]) -> Self {
        let name = facts.name.clone();
        let indices = (0..).map(|position| 3 * position + 1);
        let of_tangram = indices.clone().zip(cases).filter(|(_, case)| case.state != State::NotDynamic);
        let of_tangram: Vec<u16> = of_tangram.map(|(index, _)| index).collect();
        let first = cases.first().map_or(0, |case| case.model);
        // A dynamic node that names no GPU means all of them: such a node is not one.
        let facts = if of_tangram.is_empty() {
            facts
        } else {
            NodeFacts { dynamic: dynamic(&name, random_model(first), of_tangram).dynamic, ..facts }
        };
        let (mut boards, mut closed) = (BTreeMap::new(), BTreeMap::new());
        let (mut reported, mut bound) = (Vec::new(), pods.to_vec());
        for (index, case) in indices.zip(cases) {
            let model = random_model(case.model);
            let mut board = model.empty();
            let mut instances = Vec::new();
            for choice in &case.tries {
                let placements = model.placements();
                let (profile, start) = placements[choice.rem_euclid(placements.len())];
                let Some(next) = board.with(profile, start) else { continue };
                board = next;
                let profile = model.profiles[profile].name.as_str();
                if case.by_pods && case.state == State::Open {
                    let pod = format!("{name}-gpu{index}-{start}");
                    let pod = placed(&pod, &name, &[(index, profile, start)]);
                    bound.push(shared(Pod { priority: i32::MAX, ..pod })); // never a victim
                } else {
                    instances.push(live(profile, start, None));
                }
            }
            let mut facts = gpu(index, model, instances);
            if case.state == State::Unhealthy {
                facts.health = GpuHealth::Unhealthy("XID 79".into());
            }
            reported.push(facts);
            if case.state == State::Open {
                boards.insert(index, (model, board));
            } else {
                closed.insert(index, model);
            }
        }
        let node = Node::new(shared(facts), Some(shared(report(reported))), bound);
        Self { node: shared(node), boards, closed }
    }

    fn boards(&self) -> Vec<Board> {
        self.boards.values().map(|(_, board)| board.clone()).collect()
    }

    /// Puts a placement onto the GPUs; an error says which rule it breaks.
    fn take(&mut self, wants: &[Want], placement: &Placement) -> TestCaseResult {
        prop_assert_eq!(placement.devices.len(), wants.len());
        for (position, (device, want)) in placement.devices.iter().zip(wants).enumerate() {
            prop_assert_eq!(&device.container, &container(position));
            let Some((model, board)) = self.boards.get_mut(&device.gpu) else {
                prop_assert!(false, "GPU {} is not to be used", device.gpu);
                continue;
            };
            let profile = model.profile(device.profile.as_str());
            let serving = profile.filter(|profile| model.serving(want).contains(profile));
            let next = serving.and_then(|profile| board.with(profile, device.start));
            prop_assert!(next.is_some(), "{device:?} is no legal place for {want:?}");
            *board = next.expect("asserted");
        }
        Ok(())
    }
}

#[test]
fn several_instances_fit_exactly_where_a_search_of_all_places_finds_room() {
    let (fitting, refused) = (Cell::new(0), Cell::new(0));
    let inputs = (gpu_cases(3), vec(want_case(), 1..=6));
    check(2, 4000, &inputs, |(gpus, asked)| {
        let mut case = NodeCase::new(cluster::node("n"), &gpus, &[]);
        let models: Vec<usize> = gpus.iter().map(|gpu| gpu.model).collect();
        let wants: Vec<Want> = asked.iter().map(|asked| asked.want(&models)).collect();
        let expected = fits(&case.boards(), &wants);
        let counter = if expected { &fitting } else { &refused };
        counter.set(counter.get() + 1);
        let pod = pod("asks", &wants);
        for policy in [Policy::Spread, Policy::Pack] {
            let (cost, placement) = ask(&case.node, &pod, policy);
            prop_assert_eq!(cost.is_ok(), expected, "{:?} with {:?}: {:?}", case.boards(), &wants, cost);
            prop_assert_eq!(cost.as_ref().err(), placement.as_ref().err());
            // What is small is searched to the end.
            prop_assert!(
                !matches!(cost, Err(Refusal::CutShort { .. })),
                "{:?} with {:?}",
                case.boards(),
                &wants
            );
            let (Ok(cost), Ok(placement)) = (cost, placement) else { continue };
            prop_assert_eq!(verify(&case.node, &pod.request, &placement), Ok(()));
            let before = case.boards.clone();
            case.take(&wants, &placement)?;
            if policy == Policy::Pack {
                let told = kib(cost);
                let regret = regret(&before, &case.boards);
                // Fullness is part of the price of a single instance only: below 1e-6 * 8 of 300 GiB.
                let tolerance = if wants.len() == 1 { 3000.0 } else { 6.0 };
                prop_assert!((told - regret).abs() <= tolerance, "told {told}, by the formula {regret}");
            }
            case.boards = before;
        }
        Ok(())
    });
    // Neither answer is rare, or the comparison says little.
    assert!(fitting.get() > 1000 && refused.get() > 1000, "{} fit, {} do not", fitting.get(), refused.get());
}

#[test]
fn one_query_answers_every_node_as_if_it_were_the_only_one() {
    // Nodes of one model that differ in little: what is remembered of one must not be taken for another.
    let inputs = (vec(gpu_cases(3), 2..8), vec(want_case(), 2..=5));
    check(10, 1500, &inputs, |(mut nodes, asked)| {
        let first = nodes[0][0].model;
        nodes.iter_mut().flatten().for_each(|gpu| gpu.model = first);
        let wants: Vec<Want> = asked.iter().map(|asked| asked.want(&[first])).collect();
        let pod = pod("asks", &wants);
        let mut cluster = Cluster::default();
        let mut cases = Vec::new();
        for (number, gpus) in nodes.iter().enumerate() {
            let case = NodeCase::new(cluster::node(&format!("n{number}")), gpus, &[]);
            cases.push((cluster.put(case.node.clone()), case));
        }
        let query = Query::new(&cluster, scores(), &pod, Policy::Pack);
        for (index, case) in &cases {
            let cost = evaluate(cluster.row(*index), &query);
            let boards = case.boards();
            prop_assert_eq!(
                cost.is_ok(),
                fits(&boards, &wants),
                "{:?} with {:?}: {:?}",
                boards,
                &wants,
                cost
            );
            prop_assert_eq!(&cost, &ask(&case.node, &pod, Policy::Pack).0);
        }
        Ok(())
    });
}

/// What the GPUs lost, in KiB, by the formula.
fn regret(
    before: &BTreeMap<u16, (&'static Model, Board)>,
    after: &BTreeMap<u16, (&'static Model, Board)>,
) -> f64 {
    let pairs =
        before.values().zip(after.values()).filter(|((_, before), (_, after))| before.mask != after.mask);
    let lost = pairs.map(|((model, before), (_, after))| {
        let mut prices = Prices::new(model);
        prices.kib() * (prices.potential(before) - prices.potential(after))
    });
    lost.sum()
}

#[test]
fn instances_that_greed_would_refuse_are_placed_by_the_search() {
    // Largest first where it costs least, the 2g fills up GPU 1; but each +me needs a GPU of its own.
    let facts = shared(dynamic("n", model("a30-24gb"), [0, 1]));
    let node = shared(Node::new(facts, None, vec![shared(placed("there", "n", &[(1, "2g.12gb", 0)]))]));
    let wants = |names: &[&str]| names.iter().map(|name| want(name)).collect::<Vec<_>>();
    let together = pod("asks", &wants(&["1g.6gb+me", "1g.6gb+me", "2g.12gb"]));
    let (cost, placement) = ask(&node, &together, Policy::Pack);
    assert!(cost.is_ok(), "{cost:?}");
    let gpus: Vec<u16> = placement.unwrap().devices.iter().map(|device| device.gpu).collect();
    assert_eq!((gpus[0] == gpus[1], gpus[2]), (false, 0));
    let one_more = pod("asks", &wants(&["1g.6gb+me", "1g.6gb+me", "1g.6gb+me"]));
    assert_eq!(ask(&node, &one_more, Policy::Pack).0, Err(Refusal::NotTogether { count: 3 }));
}

#[test]
fn a_pod_with_many_different_asks_is_refused_at_once() {
    // Each asks for something else and means the same profile: to the search they are one.
    let node = one_gpu(model("a100-80gb"), &[], true);
    let asks = |more: u32| Want::Memory { mib: 5000 + more, compute_slices: 1 };
    let wants: Vec<Want> = (0..16).map(asks).collect();
    let cost = ask(&node, &pod("asks", &wants), Policy::Pack).0;
    assert_eq!(cost, Err(Refusal::NotTogether { count: 16 }));
    assert!(ask(&node, &pod("asks", &wants[..7]), Policy::Pack).1.is_ok());
}

#[test]
fn an_absurd_number_of_devices_has_a_price_too() {
    let absurd = tangram::model::PoolFacts { value_mib: u32::MAX, ..pool("nvidia.com/gpu", u32::MAX) };
    let facts = NodeFacts { pools: vec![absurd], ..cluster::node("n") };
    let node = shared(Node::new(shared(facts), None, Vec::new()));
    let mut pod = pod("asks", &[]);
    pod.request.counted = vec![("nvidia.com/gpu".into(), u32::MAX)];
    for policy in [Policy::Pack, Policy::Spread] {
        assert!(ask(&node, &pod, policy).0.is_ok());
    }
}

// ---------------------------------------------------------------------------------------------------------
// The checker.

/// A device of a random decision.
#[derive(Debug, Clone)]
struct DeviceCase {
    honesty: Honesty,
    gpu: usize,
    profile: usize,
    start: usize,
}

#[derive(Debug, Clone, Copy)]
enum Honesty {
    /// Keeps every rule as long as there is room.
    Honest,
    /// The right profile at a listed start, on any GPU and whatever is there.
    OnAnyGpu,
    Arbitrary,
}

impl DeviceCase {
    /// GPU, profile and start for a want.
    fn choose(&self, case: &NodeCase, want: &Want) -> (u16, String, u8) {
        let places = |gpu: u16, model: &'static Model, starts: &dyn Fn(usize) -> Vec<u8>| -> Vec<_> {
            let of = |profile: usize| starts(profile).into_iter().map(move |start| (profile, start));
            let places = model.serving(want).into_iter().flat_map(of);
            places.map(|(profile, start)| (gpu, model.profiles[profile].name.clone(), start)).collect()
        };
        let choices: Vec<(u16, String, u8)> = match self.honesty {
            Honesty::Honest => {
                let boards = case.boards.iter();
                boards
                    .flat_map(|(&gpu, (model, board))| places(gpu, model, &|profile| board.starts(profile)))
                    .collect()
            }
            Honesty::OnAnyGpu => {
                let open = case.boards.iter().map(|(&gpu, (model, _))| (gpu, *model));
                let all = open.chain(case.closed.iter().map(|(&gpu, model)| (gpu, *model)));
                all.flat_map(|(gpu, model)| {
                    places(gpu, model, &|profile| model.profiles[profile].starts.clone())
                })
                .collect()
            }
            Honesty::Arbitrary => Vec::new(),
        };
        if let Some(choice) = self.start.checked_rem(choices.len()) {
            return choices[choice].clone();
        }
        let model = random_model(self.gpu);
        let profile = &model.profiles[self.profile.rem_euclid(model.profiles.len())];
        let [gpu, start] = [self.gpu.rem_euclid(9), self.start.rem_euclid(14)];
        (u16::try_from(gpu).expect("below 9"), profile.name.clone(), u8::try_from(start).expect("below 14"))
    }
}

fn device_case() -> impl Strategy<Value = DeviceCase> {
    let honesty =
        prop_oneof![6 => Just(Honesty::Honest), 1 => Just(Honesty::OnAnyGpu), 1 => Just(Honesty::Arbitrary)];
    let parts = (honesty, any::<usize>(), any::<usize>(), any::<usize>());
    parts.prop_map(|(honesty, gpu, profile, start)| DeviceCase { honesty, gpu, profile, start })
}

#[test]
fn the_checker_accepts_exactly_the_decisions_that_keep_every_rule() {
    let (accepted, refused) = (Cell::new(0), Cell::new(0));
    let inputs = (gpu_cases(3), vec((want_case(), device_case()), 1..4), 0_usize..12);
    check(9, 3000, &inputs, |(gpus, asked, twist)| {
        let mut case = NodeCase::new(cluster::node("n"), &gpus, &[]);
        let models: Vec<usize> = gpus.iter().map(|gpu| gpu.model).collect();
        let wants: Vec<Want> = asked.iter().map(|(want, _)| want.want(&models)).collect();
        let mut devices = Vec::new();
        let mut is_legal = true;
        for (want, (_, device)) in wants.iter().zip(&asked) {
            let (gpu, name, start) = device.choose(&case, want);
            let after = case.boards.get(&gpu).and_then(|(model, board)| {
                let profile = model.profile(&name)?;
                // Whoever asks for memory may get any instance that has it, of any attribute.
                let has_enough = match want {
                    Want::Profile(wanted) => wanted.as_str() == name,
                    Want::Memory { mib, compute_slices } => {
                        model.instance_mib(profile) >= *mib
                            && u32::from(model.profiles[profile].compute_slices) >= *compute_slices
                    }
                };
                Some((*model, board.with(profile, start).filter(|_| has_enough)?))
            });
            is_legal &= after.is_some();
            if let Some(after) = after {
                case.boards.insert(gpu, after);
            }
            devices.push((gpu, name, start));
        }
        let devices: Vec<(u16, &str, u8)> =
            devices.iter().map(|(gpu, name, start)| (*gpu, name.as_str(), *start)).collect();
        let mut decided = cluster::placement(&devices);
        match twist {
            0 => drop(decided.devices.pop()),
            1 => decided.devices[0].container = "another".into(),
            2 => decided.devices.push(decided.devices[0].clone()),
            _ => {}
        }
        is_legal &= twist > 2;
        let counter = if is_legal { &accepted } else { &refused };
        counter.set(counter.get() + 1);
        let verdict = verify(&case.node, &pod("asks", &wants).request, &decided);
        prop_assert_eq!(verdict.is_ok(), is_legal, "{:?} for {:?}: {:?}", decided, wants, verdict);
        Ok(())
    });
    assert!(
        accepted.get() > 500 && refused.get() > 500,
        "{} accepted, {} refused",
        accepted.get(),
        refused.get()
    );
}

#[test]
fn the_checker_names_the_rule_that_a_decision_breaks() {
    let model = model("a100-80gb");
    let facts = NodeFacts { pools: vec![pool("nvidia.com/gpu", 2)], ..dynamic("n", model, [0, 1]) };
    let sick =
        tangram::model::GpuFacts { health: GpuHealth::Unhealthy("XID".into()), ..gpu(1, model, Vec::new()) };
    let there = placed("there", "n", &[(0, "3g.40gb", 4), (0, "1g.10gb+me", 0)]);
    let node = Node::new(
        shared(facts),
        Some(shared(report(vec![gpu(0, model, Vec::new()), sick]))),
        vec![shared(there)],
    );
    let verdict = |profile: &str, device: (u16, &str, u8)| {
        verify(&node, &pod("asks", &[want(profile)]).request, &cluster::placement(&[device]))
    };
    assert_eq!(verdict("1g.10gb", (0, "1g.10gb", 3)), Ok(()));
    assert_eq!(verdict("1g.10gb", (0, "1g.10gb", 4)), Err(Violation::HeldTwice { gpu: 0, slice: 4 }));
    assert_eq!(verdict("1g.10gb+me", (0, "1g.10gb+me", 1)), Err(Violation::OverLimit { gpu: 0 }));
    assert_eq!(verdict("1g.10gb", (0, "1g.20gb", 2)), Err(Violation::Mismatch { position: 0 }));
    assert_eq!(verdict("1g.10gb", (1, "1g.10gb", 0)), Err(Violation::UnusableGpu { gpu: 1 }));
    assert_eq!(verdict("1g.10gb", (2, "1g.10gb", 0)), Err(Violation::UnusableGpu { gpu: 2 }));
    let illegal =
        |profile: &str, start| Violation::IllegalPlacement { gpu: 0, profile: cluster::name(profile), start };
    assert_eq!(verdict("1g.10gb", (0, "1g.10gb", 7)), Err(illegal("1g.10gb", 7)));
    assert_eq!(verdict("1g.6gb", (0, "1g.6gb", 1)), Err(illegal("1g.6gb", 1)));
    let request = pod("asks", &[want("1g.10gb"), want("1g.10gb")]).request;
    let one = cluster::placement(&[(0, "1g.10gb", 2)]);
    assert_eq!(verify(&node, &request, &one), Err(Violation::Count { placed: 1, asked: 2 }));
    let twice = cluster::placement(&[(0, "1g.10gb", 2), (0, "1g.10gb", 2)]);
    assert_eq!(verify(&node, &request, &twice), Err(Violation::HeldTwice { gpu: 0, slice: 2 }));
    let mut counted = pod("asks", &[]).request;
    counted.counted = vec![("nvidia.com/gpu".into(), 3)];
    let over = Violation::OverCapacity { resource: "nvidia.com/gpu".to_owned(), count: 3, free: 2 };
    assert_eq!(verify(&node, &counted, &Placement::default()), Err(over));

    // What else may be on a GPU nobody knows: an instance that the table does not have, or pods with more
    // of the device plugin's GPUs than there are.
    let asks = pod("asks", &[want("1g.10gb")]).request;
    let at_0 = cluster::placement(&[(0, "1g.10gb", 0)]);
    let facts = || NodeFacts { pools: vec![pool("nvidia.com/gpu", 2)], ..dynamic("n", model, [0]) };
    for (profile, start) in [("1g.11gb", 4), ("3g.40gb", 2), ("7g.80gb", 255)] {
        let odd = report(vec![gpu(0, model, vec![live(profile, start, None)])]);
        let node = Node::new(shared(facts()), Some(shared(odd)), Vec::new());
        assert_eq!(
            verify(&node, &asks, &at_0),
            Err(Violation::UnusableGpu { gpu: 0 }),
            "{profile} at {start}"
        );
    }
    let holder = Pod { request: counted, ..pod("holder", &[]) }.bound_to("n".into(), Placement::default());
    let node = Node::new(shared(facts()), None, vec![shared(holder)]);
    assert_eq!(verify(&node, &asks, &at_0), Err(Violation::UnusableGpu { gpu: 0 }));
}

// ---------------------------------------------------------------------------------------------------------
// Random clusters.

const COUNTED: [&str; 3] = ["amd.com/gpu", "nvidia.com/gpu", "nvidia.com/mig-1g.10gb"];

/// A node with counted devices and CPU beside its GPUs.
#[derive(Debug, Clone)]
struct MachineCase {
    gpus: Vec<GpuCase>,
    /// Capacity by position in [`COUNTED`]; `None` is no such pool.
    pools: Vec<Option<u32>>,
    cpu_milli: i64,
}

#[derive(Debug, Clone)]
struct PodCase {
    wants: Vec<WantCase>,
    /// Units by position in [`COUNTED`].
    counted: Vec<u32>,
    cpu_milli: i64,
    priority: i32,
}

fn machine_case() -> impl Strategy<Value = MachineCase> {
    let gpus = prop_oneof![1 => Just(Vec::new()), 3 => gpu_cases(2)];
    let pool = prop_oneof![2 => Just(None), 3 => (0_u32..6).prop_map(Some)];
    (gpus, vec(pool, COUNTED.len()), 0_i64..8000).prop_map(|(gpus, pools, cpu_milli)| MachineCase {
        gpus,
        pools,
        cpu_milli,
    })
}

fn pod_case() -> impl Strategy<Value = PodCase> {
    let count = prop_oneof![4 => Just(0_u32), 1 => 1_u32..4];
    let wants = prop_oneof![1 => Just(Vec::new()), 2 => vec(want_case(), 1), 1 => vec(want_case(), 2..4)];
    let parts = (wants, vec(count, COUNTED.len()), 0_i64..2000, 0..4);
    parts.prop_map(|(wants, counted, cpu_milli, priority)| PodCase { wants, counted, cpu_milli, priority })
}

impl PodCase {
    fn pod(&self, name: &str, models: &[usize]) -> Pod {
        let wants: Vec<Want> = self.wants.iter().map(|asked| asked.want(models)).collect();
        let mut pod = pod(name, &wants);
        let counted = COUNTED.iter().zip(&self.counted).filter(|(_, count)| **count > 0);
        pod.request.counted = counted.map(|(resource, &count)| ((*resource).into(), count)).collect();
        pod.demand.resources = Resources { cpu_milli: self.cpu_milli, pods: 1, ..Resources::default() };
        pod.priority = self.priority;
        pod
    }
}

fn wants_of(pod: &Pod) -> Vec<Want> {
    pod.request.slices.iter().map(|ask| ask.want.clone()).collect()
}

/// A machine with what this file knows of it.
struct Machine {
    case: NodeCase,
    free: BTreeMap<Arc<str>, u32>,
    cpu_milli: i64,
    pods: i64,
}

/// Pods that a machine of these tests takes.
const PODS_MAX: i64 = 5;

impl Machine {
    fn new(name: &str, case: &MachineCase, pods: &[Arc<Pod>]) -> Self {
        let pools = COUNTED
            .iter()
            .zip(&case.pools)
            .filter_map(|(resource, capacity)| Some(pool(resource, (*capacity)?)));
        let pools: Vec<_> = pools.collect();
        let free = pools.iter().map(|pool| (pool.resource.clone(), pool.capacity)).collect();
        let allocatable = Resources { cpu_milli: case.cpu_milli, pods: PODS_MAX, ..Resources::default() };
        let facts = NodeFacts { pools, allocatable, ..cluster::node(name) };
        Self { case: NodeCase::new(facts, &case.gpus, pods), free, cpu_milli: case.cpu_milli, pods: PODS_MAX }
    }

    fn fits(&self, pod: &Pod) -> bool {
        let has =
            |(resource, count): &(Arc<str>, u32)| self.free.get(resource).is_some_and(|free| free >= count);
        let asked = pod.demand.resources;
        pod.request.counted.iter().all(has)
            && (asked.cpu_milli == 0 || asked.cpu_milli <= self.cpu_milli)
            && asked.pods <= self.pods
            && fits(&self.case.boards(), &wants_of(pod))
    }

    fn take(&mut self, pod: &Pod, placement: &Placement) -> TestCaseResult {
        self.case.take(&wants_of(pod), placement)?;
        for (resource, count) in &pod.request.counted {
            let free = self.free.get_mut(resource).expect("it fits");
            *free -= count;
        }
        self.cpu_milli -= pod.demand.resources.cpu_milli;
        self.pods -= pod.demand.resources.pods;
        Ok(())
    }

    /// The least cost of one instance here by the formula, in KiB.
    fn least(&self, want: &Want, prices: &mut BTreeMap<&'static str, Prices>) -> Option<f64> {
        let boards = self.case.boards.values();
        let costs = boards.flat_map(|(model, board)| {
            let prices = prices.entry(&model.key).or_insert_with(|| Prices::new(model));
            // The cheapest profile alone: the one of least memory, then compute.
            let cheapest = model.serving(want).into_iter().min_by_key(|&profile| {
                (model.profiles[profile].memory_slices, model.profiles[profile].compute_slices)
            });
            let starts = cheapest.map_or(Vec::new(), |profile| {
                board.starts(profile).iter().map(|&start| (profile, start)).collect()
            });
            starts.into_iter().map(|(profile, start)| prices.cost(board, profile, start)).collect::<Vec<_>>()
        });
        costs.min_by(f64::total_cmp)
    }
}

fn models_of(machines: &[MachineCase]) -> Vec<usize> {
    let mut models: Vec<usize> =
        machines.iter().flat_map(|machine| &machine.gpus).map(|gpu| gpu.model).collect();
    if models.is_empty() {
        models.push(0);
    }
    models
}

#[test]
fn a_plan_places_a_pod_exactly_when_some_node_has_room_and_takes_the_cheapest() {
    let (placed, refused) = (Cell::new(0), Cell::new(0));
    let inputs = (vec(machine_case(), 1..=4), vec(pod_case(), 1..8), any::<bool>());
    check(3, 800, &inputs, |(machines, pods, is_packing)| {
        let policy = if is_packing { Policy::Pack } else { Policy::Spread };
        let models = models_of(&machines);
        let pods: Vec<Arc<Pod>> = pods
            .iter()
            .enumerate()
            // Every other pod has the name of the one before: in a plan they are two.
            .map(|(number, pod)| shared(pod.pod(&format!("p{}", number.div_euclid(2)), &models)))
            .collect();
        // In the cluster the other way round than by name: the order of memory is not the order of names.
        let mut known: BTreeMap<Arc<str>, Machine> = BTreeMap::new();
        let mut cluster = Cluster::default();
        for (number, case) in machines.iter().enumerate().rev() {
            let machine = Machine::new(&format!("n{number}"), case, &[]);
            cluster.put(machine.case.node.clone());
            known.insert(machine.case.node.facts.name.clone(), machine);
        }
        let (planned, after) = plan(cluster, scores(), policy, pods.clone());
        prop_assert_eq!(planned.len(), pods.len());
        let mut prices = BTreeMap::new();
        for (pod, planned) in pods.iter().zip(&planned) {
            prop_assert_eq!(pod, &planned.pod);
            let fitting: BTreeSet<&str> =
                known.iter().filter(|(_, machine)| machine.fits(pod)).map(|(name, _)| &**name).collect();
            let counter = if fitting.is_empty() { &refused } else { &placed };
            counter.set(counter.get() + 1);
            match &planned.outcome {
                Ok(place) => {
                    prop_assert!(
                        fitting.contains(&*place.node),
                        "{} on {}, fits {fitting:?}",
                        pod.key,
                        place.node
                    );
                    if let ([ask], [], true) = (&pod.request.slices[..], &pod.request.counted[..], is_packing)
                    {
                        let least = |name: &str| known[name].least(&ask.want, &mut prices).expect("it fits");
                        let costs: BTreeMap<&str, f64> =
                            fitting.iter().copied().zip(fitting.iter().copied().map(least)).collect();
                        let chosen = costs[&*place.node];
                        let best = costs.values().copied().min_by(f64::total_cmp).expect("it fits somewhere");
                        prop_assert!(
                            chosen <= best + 2.0 * ROUNDING,
                            "{} on {} of {costs:?}",
                            pod.key,
                            place.node
                        );
                        prop_assert!(
                            (kib(place.cost) - chosen).abs() <= ROUNDING,
                            "{} told for {chosen}",
                            place.cost
                        );
                        let first = costs
                            .iter()
                            .find(|(_, cost)| (*cost - chosen).abs() < 1e-6)
                            .map(|(name, _)| *name);
                        prop_assert_eq!(
                            first,
                            Some(&*place.node),
                            "equal costs end at the name: {:?}",
                            costs
                        );
                    }
                    known.get_mut(&place.node).expect("a node of the cluster").take(pod, &place.placement)?;
                }
                Err(refused) => {
                    prop_assert!(fitting.is_empty(), "{} nowhere, fits {fitting:?}: {refused:?}", pod.key);
                    let refusing = refused.refusals.values().flat_map(|refusers| &refusers.first);
                    let mut refusing: Vec<&str> = refusing.map(|name| &**name).collect();
                    refusing.sort_unstable();
                    let all: Vec<&str> = known.keys().map(|name| &**name).collect();
                    prop_assert_eq!(refusing, all, "every node refuses once");
                }
            }
        }
        prop_assert_eq!(after.len(), known.len());
        for node in after.by_name() {
            // An unhealthy GPU is the only problem that these clusters begin with; a plan adds none.
            let is_known = |problem: &Problem| matches!(problem, Problem::Unhealthy { .. });
            prop_assert!(node.problems.iter().all(is_known), "{:?}", node.problems);
            let machine = &known[&node.facts.name];
            for (facts, pool) in node.pools() {
                prop_assert_eq!(facts.capacity - pool.used, machine.free[&facts.resource]);
            }
            for (index, (model, board)) in &machine.case.boards {
                let gpu = node.gpus.iter().find(|gpu| gpu.index == *index).expect("no GPU goes");
                let masks = gpu
                    .instances
                    .iter()
                    .map(|instance| model.profiles[usize::from(instance.profile)].mask(instance.start));
                prop_assert_eq!(masks.sum::<u32>(), board.mask, "GPU {} after the plan: {:?}", index, board);
            }
        }
        Ok(())
    });
    assert!(placed.get() > 500 && refused.get() > 500, "{} placed, {} refused", placed.get(), refused.get());
}

#[test]
fn the_best_node_alone_has_level_10_and_levels_follow_the_costs() {
    let cost = prop_oneof![Just(-1_i64), 0_i64..5, 0_i64..2000, Just(Cost::MAX), Just(Cost::MIN)];
    let inputs = vec((cost, any::<u16>()), 1..300);
    check(4, 600, &inputs, |nodes| {
        // Names differ; their order has nothing to do with positions.
        let name = |node: usize| (nodes[node].1, node);
        let costs: Vec<Cost> = nodes.iter().map(|(cost, _)| *cost).collect();
        let levels = levels(&costs, |a, b| name(a) < name(b));
        prop_assert_eq!(levels.len(), costs.len());
        let best = (0..costs.len()).min_by_key(|&node| (costs[node], name(node)));
        let top: Vec<usize> = (0..costs.len()).filter(|&node| levels[node] >= 10).collect();
        prop_assert_eq!(top, best.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(best.map(|best| levels[best]), Some(10));
        for a in 0..costs.len() {
            for b in 0..costs.len() {
                if costs[a] < costs[b] {
                    prop_assert!(levels[a] >= levels[b], "{} below {}", costs[a], costs[b]);
                }
                if costs[a] == costs[b] && Some(a) != best && Some(b) != best {
                    prop_assert_eq!(levels[a], levels[b]);
                }
            }
        }
        let distinct: BTreeSet<Cost> = costs.iter().copied().collect();
        // As long as there are levels enough, different costs show.
        if distinct.len() <= 10 {
            let used: BTreeSet<u8> =
                (0..costs.len()).filter(|&node| Some(node) != best).map(|node| levels[node]).collect();
            let others: BTreeSet<Cost> =
                (0..costs.len()).filter(|&node| Some(node) != best).map(|node| costs[node]).collect();
            prop_assert_eq!(used.len(), others.len());
        }
        Ok(())
    });
}

// ---------------------------------------------------------------------------------------------------------
// Preemption.

/// A machine with those of its pods that stay.
fn left_of(machine: &MachineCase, pods: &[Arc<Pod>], stays: &dyn Fn(&Pod) -> bool) -> Machine {
    let mut left = Machine::new("n", machine, &[]);
    for pod in pods.iter().filter(|pod| stays(pod)) {
        left.take(pod, &pod.placement.clone().unwrap_or_default()).expect("it was there");
    }
    left
}

#[test]
fn victims_make_room_and_none_of_them_could_stay() {
    let (helped, hopeless, spared) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let inputs =
        (gpu_cases(2), machine_case(), vec(pod_case(), 2..8), pod_case(), any::<u8>(), any::<bool>());
    check(5, 1500, &inputs, |(gpus, machine, bound, preemptor, chosen, is_chosen)| {
        let machine = MachineCase { gpus, ..machine };
        let preemptor = PodCase { priority: 1 + preemptor.priority, ..preemptor };
        let models = models_of(std::slice::from_ref(&machine));
        // Pods bound one after another, each where the solver puts it.
        let mut there: Vec<Arc<Pod>> = Vec::new();
        for (number, case) in bound.iter().enumerate() {
            let pod = case.pod(&format!("p{number}"), &models);
            let node = Machine::new("n", &machine, &there).case.node;
            if let (_, Ok(placement)) = ask(&node, &pod, Policy::Pack) {
                there.push(shared(pod.bound_to("n".into(), placement)));
            }
        }
        let pod = preemptor.pod("asks", &models);
        let node = Machine::new("n", &machine, &there).case.node;
        let fits_beside = |stays: &dyn Fn(&Pod) -> bool| left_of(&machine, &there, stays).fits(&pod);
        let candidates: Vec<Arc<Pod>> = if is_chosen {
            let is_named = |(number, _): &(usize, &Arc<Pod>)| chosen >> number & 1 == 1;
            there.iter().enumerate().filter(is_named).map(|(_, pod)| pod.clone()).collect()
        } else {
            there.iter().filter(|other| other.priority < pod.priority).cloned().collect()
        };
        let mut named: Vec<Arc<str>> = candidates.iter().map(|pod| pod.uid.clone()).collect();
        if is_chosen && chosen >> 7 == 1 {
            named.insert(0, "of-a-pod-that-tangram-does-not-know".into());
        }
        if is_chosen && named.is_empty() {
            return Ok(()); // no victims named means that Tangram chooses
        }
        let is_helped = {
            let mut cluster = Cluster::default();
            let index = cluster.put(node.clone());
            let query = Query::new(&cluster, scores(), &pod, Policy::Pack);
            helped_by_eviction(&cluster, index, &query, pod.priority)
        };
        let mut without_cpu = pod.clone();
        without_cpu.demand.resources = Resources::default(); // kube-scheduler's own filters say that
        let helps = left_of(&machine, &there, &|other| other.priority >= pod.priority).fits(&without_cpu);
        prop_assert_eq!(is_helped, helps, "evicting all of lower priority than {}", pod.priority);

        let is_candidate = |other: &Pod| candidates.iter().any(|candidate| candidate.key == other.key);
        let mut cluster = Cluster::default();
        let index = cluster.put(node);
        let chosen: &[Arc<str>] = if is_chosen { &named } else { &[] };
        let found = victims(&cluster, scores(), Policy::Pack, &pod, index, chosen);
        let expected = fits_beside(&|other| !is_candidate(other));
        prop_assert_eq!(found.is_some(), expected);
        let Some(found) = found else {
            hopeless.set(hopeless.get() + 1);
            return Ok(());
        };
        // In the order asked, or by name; whom Tangram does not know it does not spare.
        let in_order: Vec<Arc<str>> = named.iter().filter(|uid| found.contains(uid)).cloned().collect();
        prop_assert_eq!(&found, &in_order);
        let is_known = |uid: &Arc<str>| there.iter().any(|pod| pod.uid == *uid);
        let unknown = |uids: &[Arc<str>]| uids.iter().filter(|uid| !is_known(uid)).count();
        prop_assert_eq!(unknown(&found), unknown(&named));
        helped.set(helped.get() + u32::from(!found.is_empty()));
        spared.set(spared.get() + u32::from(found.len() < named.len()));
        prop_assert!(fits_beside(&|other| !found.contains(&other.uid)), "no room without {:?}", found);
        for victim in found.iter().filter(|uid| is_known(uid)) {
            let could_stay = fits_beside(&|other| !found.contains(&other.uid) || other.uid == *victim);
            prop_assert!(!could_stay, "{victim} need not go");
        }
        Ok(())
    });
    let counts = (helped.get(), hopeless.get(), spared.get());
    assert!(counts.0 > 100 && counts.1 > 100 && counts.2 > 100, "helped, hopeless, spared: {counts:?}");
}
