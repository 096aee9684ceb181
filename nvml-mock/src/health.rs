//! Errors of a GPU's memory, and their repair.

use serde::{Deserialize, Serialize};

/// What is wrong with a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether ECC is on.
    pub is_ecc_enabled: bool,
    /// ECC errors since the driver was loaded.
    pub volatile: Errors,
    /// ECC errors ever.
    pub aggregate: Errors,
    /// Rows remapped because of corrected errors.
    pub remapped_corrected: u32,
    /// Rows remapped because of uncorrected errors.
    pub remapped_uncorrected: u32,
    /// Whether a remapping waits for a reset.
    pub remapping_pending: bool,
    /// Whether a remapping ever failed.
    pub remapping_failed: bool,
    /// Whether the retirement of a page waits; `None` on GPUs that remap rows instead.
    pub retirement_pending: Option<bool>,
}

/// Counts of ECC errors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errors {
    /// Corrected ones.
    pub corrected: u64,
    /// Uncorrected ones.
    pub uncorrected: u64,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            is_ecc_enabled: true,
            volatile: Errors::default(),
            aggregate: Errors::default(),
            remapped_corrected: 0,
            remapped_uncorrected: 0,
            remapping_pending: false,
            remapping_failed: false,
            retirement_pending: None,
        }
    }
}
