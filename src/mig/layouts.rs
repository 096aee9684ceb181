//! Every layout of a geometry: which instances are where.
//!
//! Two layouts may have one state, and so take the same instances next; but they empty differently. A GPU's
//! occupancy is therefore its layout.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::geometry::narrow;
use super::{Geometry, PlacementId, StateId};

/// Index of a layout in its [`Layouts`]; 0 is the empty GPU.
pub type LayoutId = u16;

const ILLEGAL: LayoutId = LayoutId::MAX;

/// The layouts of a geometry, numbered so that each comes before all that hold more.
#[derive(Debug)]
pub struct Layouts {
    placements: usize,
    states: Vec<StateId>,
    instances: Vec<u8>,
    successors: Vec<LayoutId>, // row = layout, column = placement
}

impl Layouts {
    /// All layouts that legal placements can reach: 2,319 on a 7-slice GPU.
    pub fn new(geometry: &Geometry) -> Self {
        type Set = SmallVec<[PlacementId; 8]>;
        let placements = geometry.placements().len();
        let mut sets = vec![Set::new()];
        let mut ids: BTreeMap<Set, LayoutId> = BTreeMap::from([(Set::new(), 0)]);
        let mut states = vec![0];
        let mut successors = Vec::new();
        let mut current = 0;
        while let Some(set) = sets.get(current).cloned() {
            for placement in (0..placements).map(narrow) {
                let Some(after) = geometry.after(states[current], placement) else {
                    successors.push(ILLEGAL);
                    continue;
                };
                let mut next = set.clone();
                next.insert(set.partition_point(|&other| other < placement), placement);
                successors.push(*ids.entry(next).or_insert_with_key(|next| {
                    sets.push(next.clone());
                    states.push(after);
                    narrow(sets.len() - 1)
                }));
            }
            current += 1;
        }
        let instances = sets.iter().map(|set| narrow(set.len())).collect();
        Self { placements, states, instances, successors }
    }

    /// How many there are, the empty one included.
    pub fn count(&self) -> LayoutId {
        narrow(self.states.len())
    }

    /// What decides what else fits.
    pub fn state(&self, layout: LayoutId) -> StateId {
        self.states[usize::from(layout)]
    }

    /// Number of instances.
    pub fn instances(&self, layout: LayoutId) -> u8 {
        self.instances[usize::from(layout)]
    }

    /// The layout after `placement`, or `None` where it is illegal.
    pub fn after(&self, layout: LayoutId, placement: PlacementId) -> Option<LayoutId> {
        let next = self.successors[usize::from(layout) * self.placements + usize::from(placement)];
        (next != ILLEGAL).then_some(next)
    }

    /// All layouts with one instance more.
    pub fn successors(&self, layout: LayoutId) -> impl Iterator<Item = LayoutId> {
        let first = usize::from(layout) * self.placements;
        self.successors[first..first + self.placements].iter().copied().filter(|&next| next != ILLEGAL)
    }
}
