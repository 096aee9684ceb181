//! The demand as it is learnt from the requests that come.

use std::collections::BTreeMap;

use super::Demand;
use crate::model::{Request, Want};

/// How many requests the prior counts for: so many of a cluster's own outweigh it.
const PRIOR_REQUESTS: f64 = 32.0;
/// Weights are kept relative to a moment; when they have grown by this power of two it is moved on.
const EXPONENT_MAX: f64 = 64.0;

/// Counts requests; one loses half its weight with each half-life.
///
/// The newest request that was seen is now: no clock is read, and whoever sees the same pods learns the same, up to
/// the last bits of the order in which they came.
#[derive(Debug, Clone)]
pub struct Learner {
    half_life_s: f64,
    /// The moment that the weights are relative to, in seconds since 1970.
    epoch_s: f64,
    newest_s: f64,
    weights: BTreeMap<Want, f64>,
}

impl Learner {
    /// Nothing seen. A half-life in seconds, above 0.
    pub fn new(half_life_s: f64) -> Self {
        Self { half_life_s, epoch_s: 0.0, newest_s: 0.0, weights: BTreeMap::new() }
    }

    /// Somebody asks for this; the pod was created so many seconds after 1970, or (0) nobody knows when.
    pub fn observe(&mut self, request: &Request, created_s: i64) {
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970, far below 2^52")]
        let created_s = if created_s > 0 { created_s as f64 } else { self.newest_s };
        self.newest_s = self.newest_s.max(created_s);
        if (self.newest_s - self.epoch_s) / self.half_life_s > EXPONENT_MAX {
            let shrink = self.weight_at(self.newest_s);
            self.epoch_s = self.newest_s;
            self.weights.retain(|_, weight| {
                *weight /= shrink;
                *weight > 1e-6
            });
        }
        let weight = self.weight_at(created_s);
        for ask in &request.slices {
            *self.weights.entry(ask.want.clone()).or_default() += weight;
        }
    }

    /// What is asked for, as far as it is known; the prior for the rest.
    pub fn demand(&self) -> Demand {
        let now = self.weight_at(self.newest_s);
        Demand::with_prior(
            self.weights.iter().map(|(want, weight)| (want.clone(), weight / now)),
            PRIOR_REQUESTS,
        )
    }

    fn weight_at(&self, at_s: f64) -> f64 {
        ((at_s - self.epoch_s) / self.half_life_s).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mig::ProfileName;
    use crate::model::SliceAsk;

    const DAY_S: i64 = 86_400;
    const NOW_S: i64 = 1_700_000_000;

    fn asks(profile: &str, count: usize) -> Request {
        let want = Want::Profile(ProfileName::parse(profile).unwrap());
        let ask = SliceAsk { container: "main".into(), want };
        Request { slices: vec![ask; count], ..Request::default() }
    }

    fn share(demand: &Demand, profile: &str) -> f64 {
        let want = Want::Profile(ProfileName::parse(profile).unwrap());
        demand.kinds().find(|(known, _)| **known == want).map_or(0.0, |(_, share)| share)
    }

    fn close(left: f64, right: f64) {
        assert!((left - right).abs() < 1e-9, "{left} is not {right}");
    }

    #[test]
    fn a_request_of_a_day_ago_counts_half() {
        let mut learner = Learner::new(86_400.0);
        assert_eq!(learner.demand(), Demand::prior());
        learner.observe(&asks("7g.80gb", 64), NOW_S - DAY_S);
        learner.observe(&asks("1g.10gb", 32), NOW_S);
        let demand = learner.demand();
        close(share(&demand, "7g.80gb"), 1.0 / 3.0);
        close(share(&demand, "1g.10gb"), 1.0 / 3.0);
        // The same, whatever came first.
        let mut other = Learner::new(86_400.0);
        other.observe(&asks("1g.10gb", 32), NOW_S);
        other.observe(&asks("7g.80gb", 64), NOW_S - DAY_S);
        close(other.demand().distance(&demand), 0.0);
    }

    #[test]
    fn what_is_long_ago_is_forgotten_and_no_number_grows_without_end() {
        let mut learner = Learner::new(1.0);
        learner.observe(&asks("7g.80gb", 1000), NOW_S);
        for second in 1..100_000 {
            learner.observe(&asks("1g.10gb", 1), NOW_S + second);
        }
        let demand = learner.demand();
        close(share(&demand, "7g.80gb"), 0.0);
        // 1 + 1/2 + 1/4 + … = 2 requests against the prior's 32.
        close(share(&demand, "1g.10gb"), 2.0 / 34.0);
    }

    #[test]
    fn a_pod_of_unknown_age_counts_as_new() {
        let mut learner = Learner::new(86_400.0);
        learner.observe(&asks("1g.10gb", 32), NOW_S);
        learner.observe(&asks("2g.20gb", 32), 0);
        close(share(&learner.demand(), "2g.20gb"), 1.0 / 3.0);
    }
}
