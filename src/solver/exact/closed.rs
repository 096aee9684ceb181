//! The fewest GPUs on the 7-slice geometry, by counting.
//!
//! A GPU has eight memory slices in two halves. The left one is two pairs of slices; the right one is a pair
//! and the *end pair*, whose second slice only a double instance or a half can use. 7g takes the GPU, 4g a
//! left half, 3g any half, 2g any pair but the end pair, a double 1g any pair, a 1g one slice.

use crate::mig::{Geometry, ProfileId};

/// Which profiles of a geometry are which of the six kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SevenSlices {
    single: Option<ProfileId>,
    double: Option<ProfileId>,
    pair: Option<ProfileId>,
    half: Option<ProfileId>,
    left: Option<ProfileId>,
    whole: Option<ProfileId>,
}

impl SevenSlices {
    /// The kinds of a geometry; `None` unless the profiles without attributes are these kinds, each at
    /// most once, with NVML's starts.
    pub fn of(geometry: &Geometry) -> Option<Self> {
        let mut kinds = Self { single: None, double: None, pair: None, half: None, left: None, whole: None };
        if geometry.axis() != 8 || geometry.unit() != 1 {
            return None;
        }
        for (id, profile) in (0..).zip(geometry.profiles()) {
            if profile.name.has_attribute() {
                continue;
            }
            let mut starts: Vec<u8> =
                profile.placements.iter().map(|&id| geometry.placements()[usize::from(id)].start).collect();
            starts.sort_unstable();
            let kind = match (profile.size, starts.as_slice()) {
                (1, [0, 1, 2, 3, 4, 5, 6]) => &mut kinds.single,
                (2, [0, 2, 4, 6]) => &mut kinds.double,
                (2, [0, 2, 4]) => &mut kinds.pair,
                (4, [0, 4]) => &mut kinds.half,
                (4, [0]) => &mut kinds.left,
                (8, [0]) => &mut kinds.whole,
                _ => return None,
            };
            if kind.replace(id).is_some() {
                return None;
            }
        }
        Some(kinds)
    }

    /// The fewest GPUs that hold `counts` instances, by [`ProfileId`]; profiles with attributes do not count.
    pub fn fewest(&self, counts: &[u32]) -> u64 {
        let count = |id: Option<ProfileId>| {
            u64::from(id.and_then(|id| counts.get(usize::from(id))).copied().unwrap_or(0))
        };
        let demand = [self.single, self.double, self.pair, self.half, self.left, self.whole].map(count);
        // One GPU per instance is enough: the answer is within, and what holds on g GPUs holds on g + 1.
        let (mut low, mut high) = (0, demand.iter().sum::<u64>());
        while low < high {
            let middle = low + (high - low).div_euclid(2);
            if fits(demand, middle).is_some() {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }
}

/// `Some` if the demand fits onto so many GPUs. Each kind takes what is of least use to those after it.
fn fits([single, double, pair, half, left, whole]: [u64; 6], gpus: u64) -> Option<()> {
    let right_halves = gpus.checked_sub(whole)?;
    let left_halves = right_halves.checked_sub(left)?;
    let on_right = half.min(right_halves);
    let right_halves = right_halves - on_right;
    let left_halves = left_halves.checked_sub(half - on_right)?;
    let pairs = (2 * left_halves + right_halves).checked_sub(pair)?;
    let on_ends = double.min(right_halves);
    let end_pairs = right_halves - on_ends;
    let pairs = pairs.checked_sub(double - on_ends)?;
    (single <= 2 * pairs + end_pairs).then_some(())
}
