//! What the solver scans of a node, in numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Node, NodeFacts, PoolClass, PoolFacts, PoolKind, mib};
use crate::mig::Occupancy;

/// A counted resource name as a number, valid in the cluster that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceId(u32);

/// A class of pools as a number, valid in the cluster that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassId(u32);

impl ClassId {
    /// As a position in a table over [`Cluster::classes`](super::Cluster::classes).
    pub fn get(self) -> usize {
        usize::try_from(self.0).expect("32 bits fit into an address")
    }
}

/// What the solver scans of one node.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Occupancy of every dynamic GPU, by index.
    pub occupancies: &'a [Occupancy],
    /// Counted devices.
    pub pools: &'a [PoolRow],
    /// What it has once.
    pub traits: Traits,
}

/// What a node has once.
#[derive(Debug, Clone, Copy)]
pub struct Traits {
    /// Lowest priority of a pod that holds a device here; `i32::MAX` when there is none.
    pub priority_min: i32,
    /// A number that tells nodes apart, made from the name.
    pub salt: u64,
    /// Whether the agent that would make GPU instances here is silent.
    pub is_silent: bool,
    /// Free thousandths of a core.
    pub cpu_milli: u64,
    /// Free memory in MiB.
    pub memory_mib: u64,
}

impl Default for Traits {
    fn default() -> Self {
        Self { priority_min: i32::MAX, salt: 0, is_silent: false, cpu_milli: 0, memory_mib: 0 }
    }
}

/// What the solver scans of a node that stands in no cluster, such as one without some of its pods.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    pub(super) occupancies: Vec<Occupancy>,
    pub(super) pools: Vec<PoolRow>,
    pub(super) traits: Traits,
}

/// What the solver scans of one pool of counted devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolRow {
    /// Its resource name.
    pub resource: ResourceId,
    /// Its class; `None` where the cluster has no node of that class.
    pub class: Option<ClassId>,
    /// Whether one unit is a whole device.
    pub is_whole: bool,
    /// Free units.
    pub free: u32,
    /// Allocatable units.
    pub capacity: u32,
    /// Worth of one unit in MiB of GPU memory.
    pub value_mib: u32,
}

/// Names that have numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    pub(super) resources: BTreeMap<Arc<str>, ResourceId>,
    pub(super) classes: BTreeMap<PoolClass, ClassId>,
}

impl Names {
    /// Whether every pool of a node has its numbers.
    pub(super) fn has(&self, facts: &NodeFacts) -> bool {
        facts.pools.iter().all(|pool| {
            self.resources.contains_key(&pool.resource)
                && self.classes.contains_key(&PoolClass::of(facts, pool))
        })
    }

    /// Gives numbers to the pools of a node.
    pub(super) fn learn(&mut self, facts: &NodeFacts) {
        for pool in &facts.pools {
            let next = ResourceId(number(self.resources.len()));
            self.resources.entry(pool.resource.clone()).or_insert(next);
            let next = ClassId(number(self.classes.len()));
            self.classes.entry(PoolClass::of(facts, pool)).or_insert(next);
        }
    }

    fn row(&self, facts: &NodeFacts, pool: &PoolFacts) -> Option<PoolRow> {
        Some(PoolRow {
            resource: *self.resources.get(&pool.resource)?,
            class: self.classes.get(&PoolClass::of(facts, pool)).copied(),
            is_whole: pool.kind == PoolKind::Whole,
            free: 0,
            capacity: pool.capacity,
            value_mib: pool.value_mib,
        })
    }
}

impl Columns {
    /// The columns as a row.
    pub fn row(&self) -> Row<'_> {
        Row { occupancies: &self.occupancies, pools: &self.pools, traits: self.traits }
    }

    /// Reads a node. `alike` are the pools of one with the same facts, whose numbers are known.
    pub(super) fn new(node: &Node, names: &Names, alike: Option<&[PoolRow]>) -> Self {
        let rows: Vec<Option<PoolRow>> = match alike {
            Some(rows) if rows.len() == node.pools.len() => rows.iter().copied().map(Some).collect(),
            _ => node.facts.pools.iter().map(|pool| names.row(&node.facts, pool)).collect(),
        };
        let pools = node.pools().zip(rows).filter_map(|((facts, pool), row)| {
            Some(PoolRow { free: facts.capacity.saturating_sub(pool.used), ..row? })
        });
        let holders = node.pods.iter().filter(|pod| !pod.request.is_empty());
        let (has, used) = (node.facts.allocatable, node.used);
        let traits = Traits {
            priority_min: holders.map(|pod| pod.priority).min().unwrap_or(i32::MAX),
            salt: salt(&node.facts.name),
            is_silent: node.is_silent,
            cpu_milli: u64::try_from(has.cpu_milli.saturating_sub(used.cpu_milli)).unwrap_or(0),
            memory_mib: mib(has.memory_bytes.saturating_sub(used.memory_bytes)),
        };
        let occupancies = node.dynamic_gpus().map(|gpu| gpu.occupancy).collect();
        Self { occupancies, pools: pools.collect(), traits }
    }
}

/// FNV-1a (Fowler, Noll, Vo): the same on every machine.
fn salt(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

fn number(count: usize) -> u32 {
    u32::try_from(count).expect("fewer than 2^32 names")
}
