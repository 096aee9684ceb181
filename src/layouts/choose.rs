//! Layouts for the GPUs that may change.

use std::collections::BTreeMap;

use super::name::{config_name, entries};
use super::question::Question;
use super::{Counts, Layout, StaticNode, Strategy, Wanted, add};
use crate::mig::ModelId;
use crate::solver::exact::{Effort, Kind, Served, serve};

/// How layouts are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// What the change of one GPU costs, in GPUs.
    pub change_cost: f64,
    /// How long may be searched.
    pub effort: Effort,
}

impl Options {
    /// A change pays if it serves more than this, in GPUs: less than the smallest device, which is an eighth of one.
    pub const CHANGE_COST: f64 = 0.1;
    /// How long is searched.
    pub const SECONDS: u32 = 10;
}

impl Default for Options {
    fn default() -> Self {
        Self { change_cost: Self::CHANGE_COST, effort: Effort::seconds(Self::SECONDS.into()) }
    }
}

/// A plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Layouts {
    /// The nodes, as they were given.
    pub nodes: Vec<StaticNode>,
    /// Which of them change, by position.
    pub changes: BTreeMap<usize, Change>,
    /// Devices that can be started now.
    pub before: Counts,
    /// Devices that can be started then.
    pub after: Counts,
    /// What is served in GPUs as the demand prices them, less the cost of changes, and no more is possible: both
    /// beside what is served without any change.
    pub gain: f64,
    /// The same for the best plan there may be.
    pub gain_bound: f64,
}

/// What a node is to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The layout's name: the value of `nvidia.com/mig.config`.
    pub config: String,
    /// Layouts of all its GPUs, in their order.
    pub layouts: Vec<Layout>,
    /// How many of them change.
    pub gpus: usize,
}

impl Layouts {
    /// Part of the best plan's gain that is not proved to be reached, 0 to 1.
    pub fn gap(&self) -> f64 {
        let missing = self.gain_bound - self.gain;
        if missing <= 1e-6 { 0.0 } else { missing / self.gain_bound }
    }
}

/// GPUs that change together.
#[derive(Debug)]
struct Unit {
    node: usize,
    gpus: Vec<usize>, // positions in the node
}

/// What makes units alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Like {
    pub(super) model: ModelId,
    pub(super) strategy: Strategy,
    pub(super) gpus: usize,
    /// How each is cut, where that is known.
    pub(super) layout: Option<Layout>,
    pub(super) free: Counts,
}

/// Chooses layouts for the GPUs that may change; all others stay.
pub fn layouts(nodes: Vec<StaticNode>, wanted: &Wanted, options: Options) -> Layouts {
    let (units, free) = units(&nodes);
    let gpus = units.iter().map(|(like, units)| (like.model, like.gpus * units.len()));
    let question = Question::new(nodes.iter().map(|node| node.model), gpus, wanted);
    let kinds: Vec<Kind> =
        units.iter().map(|(like, units)| question.kind(like, units.len(), options.change_cost)).collect();
    let served = serve(&kinds, &question.row(&free), &question.asks, options.effort);
    let before: Counts = units.iter().fold(free.clone(), |mut sum, (like, units)| {
        for _ in units {
            add(&mut sum, &like.free);
        }
        sum
    });
    let stay = serve(&as_they_are(&kinds), &question.row(&free), &question.asks, options.effort);
    let mut after = free;
    let mut cuts: BTreeMap<usize, BTreeMap<usize, Layout>> = BTreeMap::new();
    for ((like, units), chosen) in units.iter().zip(&served.chosen) {
        let choices = question.layouts(like);
        let (&keep, changes) = chosen.split_first().expect("a kind has its own layout");
        (0..keep).for_each(|_| add(&mut after, &like.free));
        let mut then = Vec::new();
        for (layout, &members) in choices.iter().zip(changes) {
            then.extend((0..members).map(|_| layout.clone()));
        }
        for layout in &then {
            (0..like.gpus).for_each(|_| add(&mut after, &layout.counts()));
        }
        for (unit, layout) in few_nodes(units, then.len(), &cuts).into_iter().zip(then) {
            let cuts = cuts.entry(unit.node).or_default();
            cuts.extend(unit.gpus.iter().map(|&gpu| (gpu, layout.clone())));
        }
    }
    let change = |(node, cuts): (usize, BTreeMap<usize, Layout>)| (node, change(&nodes[node], &cuts));
    let changes = cuts.into_iter().map(change).collect();
    let Served { worth, bound, .. } = served;
    Layouts { changes, before, after, gain: worth - stay.worth, gain_bound: bound - stay.worth, nodes }
}

fn as_they_are(kinds: &[Kind]) -> Vec<Kind> {
    kinds.iter().map(|kind| Kind { members: kind.members, choices: kind.choices[..1].to_vec() }).collect()
}

/// The units that may change, by what makes them alike, and what is free on all other GPUs.
fn units(nodes: &[StaticNode]) -> (BTreeMap<Like, Vec<Unit>>, Counts) {
    let mut units: BTreeMap<Like, Vec<Unit>> = BTreeMap::new();
    let mut free = Counts::new();
    for (at, node) in nodes.iter().enumerate() {
        if node.fixed.is_some() {
            add(&mut free, &node.free);
            continue;
        }
        let like =
            |gpus, layout, free| Like { model: node.model, strategy: node.strategy, gpus, layout, free };
        let is_known = node.gpus.iter().all(|gpu| gpu.layout.is_some());
        if node.strategy == Strategy::Single || !is_known {
            let first = node.gpus.first().and_then(|gpu| gpu.layout.clone());
            let layout = first.filter(|first| node.gpus.iter().all(|gpu| gpu.layout.as_ref() == Some(first)));
            let unit = Unit { node: at, gpus: (0..node.gpus.len()).collect() };
            units.entry(like(node.gpus.len(), layout, node.free.clone())).or_default().push(unit);
            continue;
        }
        for (position, gpu) in node.gpus.iter().enumerate() {
            if gpu.stays {
                add(&mut free, &gpu.free);
                continue;
            }
            let counts = gpu.layout.as_ref().map(Layout::counts).unwrap_or_default();
            let unit = Unit { node: at, gpus: vec![position] };
            units.entry(like(1, gpu.layout.clone(), counts)).or_default().push(unit);
        }
    }
    (units, free)
}

/// Units of few nodes: first of those that change anyway, then of those that have most of them.
fn few_nodes<'u>(
    units: &'u [Unit],
    count: usize,
    changed: &BTreeMap<usize, BTreeMap<usize, Layout>>,
) -> Vec<&'u Unit> {
    let mut by_node: BTreeMap<usize, Vec<&Unit>> = BTreeMap::new();
    for unit in units {
        by_node.entry(unit.node).or_default().push(unit);
    }
    let mut nodes: Vec<(usize, Vec<&Unit>)> = by_node.into_iter().collect();
    nodes.sort_by_key(|(node, units)| {
        (!changed.contains_key(node), std::cmp::Reverse(units.len().min(count)), units.len(), *node)
    });
    nodes.into_iter().flat_map(|(_, units)| units).take(count).collect()
}

fn change(node: &StaticNode, cuts: &BTreeMap<usize, Layout>) -> Change {
    let gpus = node.gpus.iter().enumerate();
    let layouts: Vec<Layout> = gpus
        .map(|(position, gpu)| {
            cuts.get(&position)
                .or(gpu.layout.as_ref())
                .expect("a unit without layouts is a whole node")
                .clone()
        })
        .collect();
    Change { config: config_name(node, &entries(node, &layouts)), layouts, gpus: cuts.len() }
}
