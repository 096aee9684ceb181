//! All nodes, in a form that is cheap to share and cheap to scan.
//!
//! Nodes live in chunks of 64. A clone of the cluster shares every chunk; changing a node copies its chunk
//! and nothing else, so the owner publishes a snapshot per batch of events, and a scenario is a clone.
//! Beside the nodes a chunk keeps what the solver reads of them in columns ([`Row`]): one occupancy per
//! dynamic GPU and one [`PoolRow`] per counted resource, so that a scan over the cluster reads memory in
//! order and never follows a pointer.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::columns::Names;
use super::{ClassId, Columns, Map, Node, PoolClass, PoolRow, ResourceId, Row, Traits};
use crate::mig::Occupancy;

const CHUNK: usize = 64; // nodes copied per event, and pointers copied per snapshot: 64 keeps both small

/// Position of a node in its cluster; stays valid until the node is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeIndex(u32);

impl NodeIndex {
    /// As a position in a table with [`Cluster::slots`] entries.
    pub fn get(self) -> usize {
        usize::try_from(self.0).expect("32 bits fit into an address")
    }
}

/// The cluster: all nodes by name.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    chunks: Vec<Arc<Chunk>>,
    names: Arc<Map<Arc<str>, NodeIndex>>,
    pools: Arc<Names>,
    vacant: Vec<NodeIndex>,
}

#[derive(Debug, Clone, Default)]
struct Chunk {
    nodes: Vec<Option<Arc<Node>>>,
    spans: Vec<Span>,
    occupancies: Vec<Occupancy>,
    pools: Vec<PoolRow>,
}

#[derive(Debug, Clone, Default)]
struct Span {
    occupancies: Range<u32>,
    pools: Range<u32>,
    traits: Traits,
}

impl Cluster {
    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Length of a table indexed by [`NodeIndex::get`].
    pub fn slots(&self) -> usize {
        self.chunks.len() * CHUNK
    }

    /// The position of the node called `name`.
    pub fn index(&self, name: &str) -> Option<NodeIndex> {
        self.names.get(name).copied()
    }

    /// The node at a position that [`Cluster::index`] or [`Cluster::indices`] gave.
    pub fn node(&self, index: NodeIndex) -> &Arc<Node> {
        let (chunk, slot) = split(index);
        self.chunks[chunk].nodes[slot].as_ref().expect("an index names a node")
    }

    /// The node called `name`.
    pub fn get(&self, name: &str) -> Option<&Arc<Node>> {
        self.index(name).map(|index| self.node(index))
    }

    /// What the solver scans of a node.
    pub fn row(&self, index: NodeIndex) -> Row<'_> {
        let (chunk, slot) = split(index);
        self.chunks[chunk].row(slot)
    }

    /// What the solver scans of a node as it would be in this cluster.
    pub fn columns(&self, node: &Node) -> Columns {
        let alike = self.index(&node.facts.name).and_then(|index| self.alike(index, node));
        Columns::new(node, &self.pools, alike)
    }

    /// The number of a counted resource, if any node ever offered it.
    pub fn resource(&self, name: &str) -> Option<ResourceId> {
        self.pools.resources.get(name).copied()
    }

    /// Every class of pools that there ever was, with its number.
    pub fn classes(&self) -> &BTreeMap<PoolClass, ClassId> {
        &self.pools.classes
    }

    /// The pools of the node at a position, where it has the facts of this one.
    fn alike(&self, index: NodeIndex, node: &Node) -> Option<&[PoolRow]> {
        let there = self.at(index).is_some_and(|there| Arc::ptr_eq(&there.facts, &node.facts));
        there.then(|| self.row(index).pools)
    }

    /// All nodes' positions, in memory order.
    pub fn indices(&self) -> impl Iterator<Item = NodeIndex> {
        self.chunks.iter().enumerate().flat_map(|(chunk, nodes)| {
            let slots = nodes.nodes.iter().enumerate().filter(|(_, node)| node.is_some());
            slots.map(move |(slot, _)| join(chunk, slot))
        })
    }

    /// All nodes, sorted by name.
    pub fn by_name(&self) -> Vec<&Arc<Node>> {
        let mut nodes: Vec<&Arc<Node>> = self.indices().map(|index| self.node(index)).collect();
        nodes.sort_by(|a, b| a.facts.name.cmp(&b.facts.name));
        nodes
    }

    /// Positions whose node is another than in `earlier`, an older state of this cluster, removed ones
    /// included. Reads a pointer per chunk and per node of the chunks that changed.
    pub fn changed_since(&self, earlier: &Self) -> Vec<NodeIndex> {
        let mut changed = Vec::new();
        for (at, chunk) in self.chunks.iter().enumerate() {
            let before = earlier.chunks.get(at);
            if before.is_some_and(|before| Arc::ptr_eq(before, chunk)) {
                continue;
            }
            for (slot, node) in chunk.nodes.iter().enumerate() {
                let before = before.and_then(|before| before.nodes.get(slot)?.as_ref());
                let is_same = match (before, node) {
                    (Some(before), Some(node)) => Arc::ptr_eq(before, node),
                    (before, node) => before.is_none() && node.is_none(),
                };
                if !is_same {
                    changed.push(join(at, slot));
                }
            }
        }
        changed
    }

    /// The node at a position, if one is there.
    pub fn at(&self, index: NodeIndex) -> Option<&Arc<Node>> {
        let (chunk, slot) = split(index);
        self.chunks.get(chunk)?.nodes.get(slot)?.as_ref()
    }

    /// Adds a node, or replaces the one of its name.
    pub fn put(&mut self, node: Arc<Node>) -> NodeIndex {
        let index = self.index(&node.facts.name).unwrap_or_else(|| {
            let index = self.vacant.pop().unwrap_or_else(|| self.grow());
            Arc::make_mut(&mut self.names).insert(node.facts.name.clone(), index);
            index
        });
        let alike = self.alike(index, &node);
        if alike.is_none() && !self.pools.has(&node.facts) {
            Arc::make_mut(&mut self.pools).learn(&node.facts);
        }
        let columns = Columns::new(&node, &self.pools, self.alike(index, &node));
        let (chunk, slot) = split(index);
        Arc::make_mut(&mut self.chunks[chunk]).set(slot, Some(node), columns);
        index
    }

    /// Removes the node called `name`; gives it back if there was one.
    pub fn remove(&mut self, name: &str) -> Option<Arc<Node>> {
        let index = self.index(name)?;
        Arc::make_mut(&mut self.names).remove(name);
        let (chunk, slot) = split(index);
        let chunk = Arc::make_mut(&mut self.chunks[chunk]);
        let node = chunk.nodes[slot].clone();
        chunk.set(slot, None, Columns::default());
        self.vacant.push(index);
        node
    }

    fn grow(&mut self) -> NodeIndex {
        if self.chunks.last().is_none_or(|chunk| chunk.nodes.len() == CHUNK) {
            self.chunks.push(Arc::default());
        }
        let chunk = self.chunks.len() - 1;
        let last = Arc::make_mut(&mut self.chunks[chunk]);
        last.nodes.push(None);
        last.spans.push(last.spans.last().map_or_else(Span::default, Span::after));
        join(chunk, last.nodes.len() - 1)
    }
}

impl Span {
    /// An empty span behind this one.
    fn after(&self) -> Self {
        Self {
            occupancies: self.occupancies.end..self.occupancies.end,
            pools: self.pools.end..self.pools.end,
            traits: Traits::default(),
        }
    }
}

impl Chunk {
    fn row(&self, slot: usize) -> Row<'_> {
        let span = &self.spans[slot];
        Row {
            occupancies: &self.occupancies[bounds(&span.occupancies)],
            pools: &self.pools[bounds(&span.pools)],
            traits: span.traits,
        }
    }

    /// Puts a node into its slot and brings the columns up to date: in place when the node keeps its shape,
    /// which is every event but a changed number of GPUs or resources.
    fn set(&mut self, slot: usize, node: Option<Arc<Node>>, columns: Columns) {
        let Columns { occupancies, pools, traits } = columns;
        self.nodes[slot] = node;
        let span = &mut self.spans[slot];
        span.traits = traits;
        let (old_occupancies, old_pools) = (bounds(&span.occupancies), bounds(&span.pools));
        let shift = |range: &mut Range<u32>, from: usize, to: usize| {
            let moved = |at: u32| at + narrow(to) - narrow(from);
            *range = moved(range.start)..moved(range.end);
        };
        let (from, to) = ((old_occupancies.len(), old_pools.len()), (occupancies.len(), pools.len()));
        span.occupancies.end = span.occupancies.start + narrow(to.0);
        span.pools.end = span.pools.start + narrow(to.1);
        if from != to {
            for later in &mut self.spans[slot + 1..] {
                shift(&mut later.occupancies, from.0, to.0);
                shift(&mut later.pools, from.1, to.1);
            }
        }
        self.occupancies.splice(old_occupancies, occupancies);
        self.pools.splice(old_pools, pools);
    }
}

fn split(index: NodeIndex) -> (usize, usize) {
    (index.get().div_euclid(CHUNK), index.get().rem_euclid(CHUNK))
}

fn join(chunk: usize, slot: usize) -> NodeIndex {
    NodeIndex(narrow(chunk * CHUNK + slot))
}

fn bounds(range: &Range<u32>) -> Range<usize> {
    let widen = |at: u32| usize::try_from(at).expect("32 bits fit into an address");
    widen(range.start)..widen(range.end)
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).expect("fewer than 2^32 nodes, GPUs and pools")
}
