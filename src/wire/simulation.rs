//! What `tangram simulate` prints.

use serde::Serialize;

/// Mean and spread over the seeds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Standard deviation of the sample; 0 for one seed.
    pub deviation: f64,
}

impl Spread {
    /// Of some values, at least one.
    pub fn of(values: &[f64]) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "as many as there are seeds")]
        let count = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Self { mean, deviation: if values.len() > 1 { (squares / (count - 1.0)).sqrt() } else { 0.0 } }
    }
}

/// Generated workloads of GPU instances.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MigReport {
    /// The GPU model, as the table of models calls it.
    pub model: String,
    /// How many GPUs.
    pub gpus: usize,
    /// How long requests live.
    pub lifetime: String,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// When measuring begins, in mean lifetimes.
    pub from: f64,
    /// When the runs end, in mean lifetimes.
    pub to: f64,
    /// What came of them.
    pub rows: Vec<MigRow>,
    /// Arrivals only, until the first refusal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fills: Vec<FillRow>,
}

/// One mix under one load and policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MigRow {
    /// The mix; `mean of N` for the mean over N of them.
    pub mix: String,
    /// The load: 1 fills all GPUs under perfect packing.
    pub load: f64,
    /// The policy; `reference` may move everything at any time.
    pub policy: String,
    /// Instances that may be moved for one request.
    pub moves: usize,
    /// Refused memory slices in percent of those asked for.
    pub rejected_slices_percent: Spread,
    /// Refused requests in percent.
    pub rejected_requests_percent: Spread,
    /// Instances moved per 100 accepted requests.
    pub moves_per_100: Spread,
    /// GPUs with something on them, mean over the arrivals, in percent.
    pub active_gpus_percent: Spread,
}

/// How full the GPUs are when the first request is refused.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FillRow {
    /// The mix.
    pub mix: String,
    /// The policy.
    pub policy: String,
    /// Memory in use, in percent.
    pub memory_percent: Spread,
}

/// The openb protocol.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenbRow {
    /// The trace.
    pub trace: String,
    /// The policy.
    pub policy: String,
    /// Allocated GPU percent when all of capacity has been asked for.
    pub at_100: Spread,
    /// The same when 130 % has been asked for.
    pub at_130: Spread,
    /// The published figure of FGD at 100 %, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published_at_100: Option<f64>,
}

/// One figure of the protocols, beside what it should be.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// What is measured.
    pub what: String,
    /// The best that others reach, where it is measured here.
    pub baseline: Option<f64>,
    /// What is to be reached.
    pub goal: Option<Goal>,
    /// What is reached.
    pub reached: f64,
    /// What nothing can beat.
    pub reference: Option<f64>,
    /// Whether the goal is reached.
    pub is_met: Option<bool>,
}

/// A bound on a figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "is", content = "than")]
pub enum Goal {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
    /// Less than this.
    Below(f64),
    /// More than this.
    Above(f64),
}

impl Goal {
    /// Whether a figure reaches it.
    pub fn is_met(self, figure: f64) -> bool {
        match self {
            Self::AtMost(bound) => figure <= bound,
            Self::AtLeast(bound) => figure >= bound,
            Self::Below(bound) => figure < bound,
            Self::Above(bound) => figure > bound,
        }
    }
}

impl Claim {
    /// A figure beside what it should be.
    pub fn new(
        what: impl Into<String>,
        baseline: Option<f64>,
        goal: Option<Goal>,
        reached: f64,
        reference: Option<f64>,
    ) -> Self {
        let is_met = goal.map(|goal| goal.is_met(reached));
        Self { what: what.into(), baseline, goal, reached, reference, is_met }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_the_deviation_of_the_sample() {
        assert_eq!(Spread::of(&[3.0]), Spread { mean: 3.0, deviation: 0.0 });
        let spread = Spread::of(&[1.0, 2.0, 3.0, 4.0]);
        assert!((spread.mean - 2.5).abs() < 1e-12 && (spread.deviation - 1.290_994_448_7).abs() < 1e-9);
    }

    #[test]
    fn a_goal_is_met_on_its_side_only() {
        assert!(Goal::AtMost(0.4).is_met(0.4) && !Goal::Below(0.4).is_met(0.4));
        assert!(Goal::AtLeast(99.0).is_met(99.0) && !Goal::Above(99.0).is_met(99.0));
    }
}
