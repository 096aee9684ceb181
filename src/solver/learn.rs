//! The demand as it is learnt from the requests that come.

use std::collections::BTreeMap;

use super::Demand;
use super::market::Kind;
use crate::model::{Pod, Want};

/// How many requests the prior counts for: so many of a cluster's own outweigh it.
const PRIOR_REQUESTS: f64 = 32.0;
/// Weights are kept relative to a moment; when they have grown by this power of two it is moved on.
const EXPONENT_MAX: f64 = 64.0;
/// Kinds of request for counted devices that are told apart; the rarest is forgotten for a new one.
const KINDS_MAX: usize = 1024;

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
    slices: BTreeMap<Want, f64>,
    counted: BTreeMap<Kind, f64>,
}

impl Learner {
    /// Nothing seen. A half-life in seconds, above 0.
    pub fn new(half_life_s: f64) -> Self {
        Self { half_life_s, epoch_s: 0.0, newest_s: 0.0, slices: BTreeMap::new(), counted: BTreeMap::new() }
    }

    /// A pod asks for what it asks for; where nobody knows when it was created, now.
    pub fn observe(&mut self, pod: &Pod) {
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970, far below 2^52")]
        let created_s = if pod.created_s > 0 { pod.created_s as f64 } else { self.newest_s };
        self.newest_s = self.newest_s.max(created_s);
        if (self.newest_s - self.epoch_s) / self.half_life_s > EXPONENT_MAX {
            let shrink = self.weight_at(self.newest_s);
            self.epoch_s = self.newest_s;
            fade(&mut self.slices, shrink);
            fade(&mut self.counted, shrink);
        }
        let weight = self.weight_at(created_s);
        for ask in &pod.request.slices {
            *self.slices.entry(ask.want.clone()).or_default() += weight;
        }
        for kind in Kind::of(pod) {
            if self.counted.len() >= KINDS_MAX && !self.counted.contains_key(&kind) {
                let rarest =
                    self.counted.iter().min_by(|a, b| a.1.total_cmp(b.1)).map(|(kind, _)| kind.clone());
                rarest.and_then(|rarest| self.counted.remove(&rarest));
            }
            *self.counted.entry(kind).or_default() += weight;
        }
    }

    /// What is asked for, as far as it is known; the prior for the rest.
    pub fn demand(&self) -> Demand {
        let now = self.weight_at(self.newest_s);
        let slices = self.slices.iter().map(|(want, weight)| (want.clone(), weight / now));
        let counted = self.counted.iter().map(|(kind, weight)| (kind.clone(), weight / now));
        Demand::with_prior(slices, PRIOR_REQUESTS).and_counted(counted, PRIOR_REQUESTS)
    }

    fn weight_at(&self, at_s: f64) -> f64 {
        ((at_s - self.epoch_s) / self.half_life_s).exp2()
    }
}

/// Makes all weights relative to a later moment.
fn fade<K: Ord>(weights: &mut BTreeMap<K, f64>, shrink: f64) {
    weights.retain(|_, weight| {
        *weight /= shrink;
        *weight > 1e-6
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::mig::ProfileName;
    use crate::model::{Demand as Beside, Mobility, PodKey, Request, Resources, SliceAsk, Version};

    const DAY_S: i64 = 86_400;
    const NOW_S: i64 = 1_700_000_000;

    fn pod(request: Request, created_s: i64) -> Pod {
        let resources = Resources { cpu_milli: 4000, memory_bytes: 1 << 30, ..Resources::default() };
        Pod {
            key: PodKey { namespace: "default".into(), name: "pod".into() },
            uid: "uid".into(),
            created_s,
            priority: 0,
            request,
            demand: Beside { resources, ..Beside::default() },
            node: None,
            placement: None,
            unreadable_placement: None,
            is_terminating: false,
            mobility: Mobility::default(),
            version: Version::default(),
            waiting: None,
        }
    }

    fn asks(profile: &str, count: usize, created_s: i64) -> Pod {
        let want = Want::Profile(ProfileName::parse(profile).unwrap());
        let ask = SliceAsk { container: "main".into(), want };
        pod(Request { slices: vec![ask; count], ..Request::default() }, created_s)
    }

    #[test]
    fn what_is_asked_of_counted_devices_is_learnt_with_its_cpu_and_memory() {
        let mut learner = Learner::new(86_400.0);
        let gpu: Arc<str> = "nvidia.com/gpu".into();
        for units in [1, 1, 1, 8] {
            let counted = vec![(gpu.clone(), units)];
            learner.observe(&pod(Request { counted, ..Request::default() }, NOW_S));
        }
        learner.observe(&pod(Request::default(), NOW_S));
        let demand = learner.demand();
        let kinds: Vec<(u32, u64, u64, f64)> = demand
            .counted()
            .kinds()
            .map(|(kind, share)| (kind.units, kind.cpu_milli, kind.memory_mib, share * 37.0))
            .collect();
        let expected = [(0, 4000, 1024, 1.0), (1, 4000, 1024, 3.0), (8, 4000, 1024, 1.0)];
        assert_eq!(kinds.len(), expected.len());
        for (kind, expected) in kinds.into_iter().zip(expected) {
            assert_eq!((kind.0, kind.1, kind.2), (expected.0, expected.1, expected.2));
            close(kind.3, expected.3);
        }
        assert_eq!(demand.kinds().count(), 0, "of GPU instances nothing is known");
    }

    #[test]
    fn kinds_are_bounded_and_the_rarest_goes() {
        let mut learner = Learner::new(86_400.0);
        let of = |units: u32| Request { counted: vec![("x".into(), units)], ..Request::default() };
        for units in [1, 1].into_iter().chain(2..3000) {
            learner.observe(&pod(of(units), NOW_S));
        }
        let demand = learner.demand();
        assert_eq!(demand.counted().kinds().count(), KINDS_MAX);
        assert!(demand.counted().kinds().any(|(kind, _)| kind.units == 1), "it was asked for twice");
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
        learner.observe(&asks("7g.80gb", 64, NOW_S - DAY_S));
        learner.observe(&asks("1g.10gb", 32, NOW_S));
        let demand = learner.demand();
        close(share(&demand, "7g.80gb"), 1.0 / 3.0);
        close(share(&demand, "1g.10gb"), 1.0 / 3.0);
        // The same, whatever came first.
        let mut other = Learner::new(86_400.0);
        other.observe(&asks("1g.10gb", 32, NOW_S));
        other.observe(&asks("7g.80gb", 64, NOW_S - DAY_S));
        close(other.demand().distance(&demand), 0.0);
    }

    #[test]
    fn what_is_long_ago_is_forgotten_and_no_number_grows_without_end() {
        let mut learner = Learner::new(1.0);
        learner.observe(&asks("7g.80gb", 1000, NOW_S));
        for second in 1..100_000 {
            learner.observe(&asks("1g.10gb", 1, NOW_S + second));
        }
        let demand = learner.demand();
        close(share(&demand, "7g.80gb"), 0.0);
        // 1 + 1/2 + 1/4 + … = 2 requests against the prior's 32.
        close(share(&demand, "1g.10gb"), 2.0 / 34.0);
    }

    #[test]
    fn a_pod_of_unknown_age_counts_as_new() {
        let mut learner = Learner::new(86_400.0);
        learner.observe(&asks("1g.10gb", 32, NOW_S));
        learner.observe(&asks("2g.20gb", 32, 0));
        close(share(&learner.demand(), "2g.20gb"), 1.0 / 3.0);
    }
}
