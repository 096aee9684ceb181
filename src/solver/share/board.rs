//! A cluster's nodes with the costs of each kind of ask, kept until a node changes.

use std::collections::BTreeMap;

use super::cost::{potential, regret};
use super::{Ask, Gpus, Node, Prices, Scarcity};
use crate::solver::Cost;

/// Kinds of ask that costs are kept for: 512 × 5,000 nodes are 50 MiB. With more, all are forgotten.
const KINDS_MAX: usize = 512;
/// Stands for a node where the ask does not fit.
const NO_ROOM: Cost = Cost::MAX;

/// Where an ask goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// Position of the node.
    pub node: usize,
    /// On which of its GPUs.
    pub gpus: Gpus,
    /// Cost there, in billionths of a GPU.
    pub cost: Cost,
}

/// Nodes that asks are placed on. Answers are those of [`cost()`](super::cost()) on every node, faster.
#[derive(Debug, Clone)]
pub struct Board {
    nodes: Vec<Node>,
    prices: Prices,
    scarcity: Scarcity,
    before: Vec<Cost>,
    versions: Vec<u32>,
    changes: Vec<usize>, // nodes, in the order in which they changed
    rows: BTreeMap<Ask, Row>,
}

/// One kind of ask on every node.
#[derive(Debug, Clone)]
struct Row {
    costs: Vec<Cost>,
    gpus: Vec<Gpus>,
    seen: Vec<u32>, // version of the node that the cost is of
    until: usize,   // changes that are worked in
}

impl Board {
    /// Nodes by name: among equals the first is chosen.
    pub fn new(nodes: Vec<Node>, prices: Prices) -> Self {
        let mut board = Self {
            scarcity: Scarcity::default(),
            before: Vec::new(),
            versions: vec![0; nodes.len()],
            changes: Vec::new(),
            rows: BTreeMap::new(),
            nodes,
            prices,
        };
        board.scarcity = Scarcity::new(&board.prices, board.nodes.iter().map(Node::state));
        board.forget();
        board
    }

    /// Goes on with other prices.
    pub fn reprice(&mut self, prices: Prices) {
        self.prices = prices;
        self.scarcity = Scarcity::new(&self.prices, self.nodes.iter().map(Node::state));
        self.forget();
    }

    /// The nodes as they are.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The prices in use.
    pub fn prices(&self) -> &Prices {
        &self.prices
    }

    /// How short the cluster runs of what.
    pub fn scarcity(&self) -> &Scarcity {
        &self.scarcity
    }

    /// The place of least cost, the first node among equals.
    pub fn best(&mut self, ask: &Ask) -> Option<Spot> {
        let row = self.row(ask);
        let least = *row.costs.iter().min()?;
        let node = row.costs.iter().position(|&cost| cost == least).expect("the least is one of them");
        (least != NO_ROOM).then(|| Spot { node, gpus: row.gpus[node], cost: least })
    }

    /// The place on every node that has one.
    pub fn spots(&mut self, ask: &Ask) -> impl Iterator<Item = Spot> {
        let row = self.row(ask);
        let places = row.costs.iter().zip(&row.gpus).enumerate();
        places.filter(|(_, (cost, _))| **cost != NO_ROOM).map(|(node, (&cost, &gpus))| Spot {
            node,
            gpus,
            cost,
        })
    }

    /// Books a place that was found free.
    pub fn take(&mut self, spot: Spot, ask: &Ask) {
        self.change(spot.node, |node| node.take(ask, spot.gpus));
    }

    /// Gives back what was booked.
    pub fn give(&mut self, spot: Spot, ask: &Ask) {
        self.change(spot.node, |node| node.give(ask, spot.gpus));
    }

    fn change(&mut self, at: usize, how: impl FnOnce(&mut Node)) {
        self.scarcity.remove(&self.prices.groups, self.nodes[at].state());
        how(&mut self.nodes[at]);
        self.scarcity.add(&self.prices.groups, self.nodes[at].state());
        if self.scarcity.update(&self.prices.groups) || self.changes.len() > 64 * self.nodes.len() {
            self.forget();
        } else {
            self.before[at] = potential(self.nodes[at].state(), &self.prices, &self.scarcity);
            self.versions[at] = self.versions[at].wrapping_add(1);
            self.changes.push(at);
        }
    }

    /// Drops every cost, where each may have changed.
    fn forget(&mut self) {
        self.rows.clear();
        self.changes.clear();
        let potentials = self.nodes.iter().map(|node| potential(node.state(), &self.prices, &self.scarcity));
        self.before = potentials.collect();
    }

    fn row(&mut self, ask: &Ask) -> &Row {
        let Self { nodes, prices, scarcity, before, versions, changes, rows } = self;
        if rows.len() >= KINDS_MAX && !rows.contains_key(ask) {
            rows.clear();
        }
        let count = nodes.len();
        let row = rows.entry(*ask).or_insert_with(|| Row {
            costs: vec![NO_ROOM; count],
            gpus: vec![Gpus::default(); count],
            seen: versions.iter().map(|version| version.wrapping_sub(1)).collect(),
            until: usize::MAX,
        });
        let mut refresh = |at: usize| {
            if row.seen[at] != versions[at] {
                row.seen[at] = versions[at];
                let found = regret(&nodes[at], ask, prices, scarcity, || before[at]);
                (row.costs[at], row.gpus[at]) = found.unwrap_or((NO_ROOM, Gpus::default()));
            }
        };
        match changes.get(row.until..) {
            Some(new) if new.len() < count => new.iter().for_each(|&at| refresh(at)),
            _ => (0..count).for_each(refresh),
        }
        row.until = changes.len();
        row
    }
}
