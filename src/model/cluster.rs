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

use super::{Map, Node, PoolKind};
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

/// A counted resource name as a number, valid in the cluster that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceId(u32);

/// The cluster: all nodes by name.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    chunks: Vec<Arc<Chunk>>,
    names: Arc<Map<Arc<str>, NodeIndex>>,
    resources: Arc<BTreeMap<Arc<str>, ResourceId>>,
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
    priority_min: i32,
    salt: u64,
    is_silent: bool,
}

/// What the solver scans of one node.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Occupancy of every dynamic GPU, by index.
    pub occupancies: &'a [Occupancy],
    /// Counted devices.
    pub pools: &'a [PoolRow],
    /// Lowest priority of a pod that holds a device here; `i32::MAX` when there is none.
    pub priority_min: i32,
    /// A number that tells nodes apart, made from the name.
    pub salt: u64,
    /// Whether the agent that would make GPU instances here is silent.
    pub is_silent: bool,
}

/// What the solver scans of a node that stands in no cluster, such as one without some of its pods.
#[derive(Debug, Clone)]
pub struct Columns {
    occupancies: Vec<Occupancy>,
    pools: Vec<PoolRow>,
    priority_min: i32,
    salt: u64,
    is_silent: bool,
}

impl Columns {
    /// The columns as a row.
    pub fn row(&self) -> Row<'_> {
        Row {
            occupancies: &self.occupancies,
            pools: &self.pools,
            priority_min: self.priority_min,
            salt: self.salt,
            is_silent: self.is_silent,
        }
    }
}

/// What the solver scans of one pool of counted devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolRow {
    /// Its resource name.
    pub resource: ResourceId,
    /// Whether one unit is a whole device.
    pub is_whole: bool,
    /// Free units.
    pub free: u32,
    /// Allocatable units.
    pub capacity: u32,
    /// Worth of one unit in MiB of GPU memory.
    pub value_mib: u32,
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
        columns(node, &self.resources)
    }

    /// The number of a counted resource, if any node ever offered it.
    pub fn resource(&self, name: &str) -> Option<ResourceId> {
        self.resources.get(name).copied()
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
        for pool in &node.facts.pools {
            if !self.resources.contains_key(&pool.resource) {
                let id = ResourceId(narrow(self.resources.len()));
                Arc::make_mut(&mut self.resources).insert(pool.resource.clone(), id);
            }
        }
        let index = self.index(&node.facts.name).unwrap_or_else(|| {
            let index = self.vacant.pop().unwrap_or_else(|| self.grow());
            Arc::make_mut(&mut self.names).insert(node.facts.name.clone(), index);
            index
        });
        let (chunk, slot) = split(index);
        Arc::make_mut(&mut self.chunks[chunk]).set(slot, Some(node), &self.resources);
        index
    }

    /// Removes the node called `name`; gives it back if there was one.
    pub fn remove(&mut self, name: &str) -> Option<Arc<Node>> {
        let index = self.index(name)?;
        Arc::make_mut(&mut self.names).remove(name);
        let (chunk, slot) = split(index);
        let chunk = Arc::make_mut(&mut self.chunks[chunk]);
        let node = chunk.nodes[slot].clone();
        chunk.set(slot, None, &self.resources);
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
        last.spans.push(Span {
            priority_min: i32::MAX,
            ..last.spans.last().map_or_else(Span::default, Span::after)
        });
        join(chunk, last.nodes.len() - 1)
    }
}

impl Span {
    /// An empty span behind this one.
    fn after(&self) -> Self {
        Self {
            occupancies: self.occupancies.end..self.occupancies.end,
            pools: self.pools.end..self.pools.end,
            priority_min: i32::MAX,
            salt: 0,
            is_silent: false,
        }
    }
}

impl Chunk {
    fn row(&self, slot: usize) -> Row<'_> {
        let span = &self.spans[slot];
        Row {
            occupancies: &self.occupancies[bounds(&span.occupancies)],
            pools: &self.pools[bounds(&span.pools)],
            priority_min: span.priority_min,
            salt: span.salt,
            is_silent: span.is_silent,
        }
    }

    /// Puts a node into its slot and brings the columns up to date: in place when the node keeps its shape,
    /// which is every event but a changed number of GPUs or resources.
    fn set(&mut self, slot: usize, node: Option<Arc<Node>>, resources: &BTreeMap<Arc<str>, ResourceId>) {
        let nothing = Columns {
            occupancies: Vec::new(),
            pools: Vec::new(),
            priority_min: i32::MAX,
            salt: 0,
            is_silent: false,
        };
        let Columns { occupancies, pools, priority_min, salt, is_silent } =
            node.as_deref().map_or(nothing, |node| columns(node, resources));
        self.nodes[slot] = node;
        let span = &mut self.spans[slot];
        (span.priority_min, span.salt, span.is_silent) = (priority_min, salt, is_silent);
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

fn columns(node: &Node, resources: &BTreeMap<Arc<str>, ResourceId>) -> Columns {
    let pools = node.pools().filter_map(|(facts, pool)| {
        Some(PoolRow {
            resource: *resources.get(&facts.resource)?,
            is_whole: facts.kind == PoolKind::Whole,
            free: facts.capacity.saturating_sub(pool.used),
            capacity: facts.capacity,
            value_mib: facts.value_mib,
        })
    });
    let holders = node.pods.iter().filter(|pod| !pod.request.is_empty());
    Columns {
        occupancies: node.dynamic_gpus().map(|gpu| gpu.occupancy).collect(),
        pools: pools.collect(),
        priority_min: holders.map(|pod| pod.priority).min().unwrap_or(i32::MAX),
        salt: salt(&node.facts.name),
        is_silent: node.is_silent,
    }
}

/// FNV-1a (Fowler, Noll, Vo): the same on every machine.
fn salt(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
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
