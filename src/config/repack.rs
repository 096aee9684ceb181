//! `repack`: what is done with plans that move pods.

use std::num::NonZeroU32;

use serde::Deserialize;

/// Plans that move pods, on a live cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Repack {
    /// Whether plans that somebody sends are carried out: whoever reaches the API may then have pods evicted.
    pub apply: Apply,
    /// A step that takes longer stops its plan, unless the plan says otherwise.
    pub step_time_limit_seconds: NonZeroU32,
    /// Moves for pods that fit nowhere.
    pub on_demand: OnDemand,
}

impl Default for Repack {
    fn default() -> Self {
        Self {
            apply: Apply::default(),
            // Pods may take minutes to end, and images minutes to be pulled.
            step_time_limit_seconds: const { NonZeroU32::new(600).unwrap() },
            on_demand: OnDemand::default(),
        }
    }
}

/// Something that is off unless it is turned on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Apply {
    /// Whether it is on.
    pub enabled: bool,
}

/// Moves that nobody asked for, for a pod that fits nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct OnDemand {
    /// Whether there are any.
    pub enabled: bool,
    /// How many in one hour at most.
    pub moves_per_hour: u32,
    /// How many for one pod at most.
    pub moves_per_pod: u32,
}

impl Default for OnDemand {
    fn default() -> Self {
        // One move for a pod is worth most of what any number is.
        Self { enabled: false, moves_per_hour: 12, moves_per_pod: 1 }
    }
}
