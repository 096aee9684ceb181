//! What a cluster is asked for: kinds of request with their weights.

use crate::mig::{Catalog, ModelId, ProfileId};
use crate::model::Want;

use super::market::Kind;
use super::mix::Mix;

/// A mix of requests: of those for GPU instances, with every profile without attribute alike as prior, and of those
/// for counted devices.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Demand {
    slices: Mix<Want>,
    counted: Mix<Kind>,
}

impl Demand {
    /// What is assumed until something is known.
    pub fn prior() -> Self {
        Self::default()
    }

    /// A mix of requests for GPU instances; weights are relative, and those that are not above zero count for nothing.
    pub fn new(kinds: impl IntoIterator<Item = (Want, f64)>) -> Self {
        Self::with_prior(kinds, 0.0)
    }

    /// The same beside a prior of this weight.
    pub fn with_prior(kinds: impl IntoIterator<Item = (Want, f64)>, prior: f64) -> Self {
        Self { slices: Mix::new(kinds, prior), counted: Mix::default() }
    }

    /// With a mix of requests for counted devices, beside a prior of this weight.
    #[must_use]
    pub fn and_counted(self, kinds: impl IntoIterator<Item = (Kind, f64)>, prior: f64) -> Self {
        Self { counted: Mix::new(kinds, prior), ..self }
    }

    /// The kinds of GPU instances with their shares of all requests for such; none for the prior.
    pub fn kinds(&self) -> impl Iterator<Item = (&Want, f64)> {
        self.slices.kinds()
    }

    /// The mix of requests for counted devices.
    pub fn counted(&self) -> &Mix<Kind> {
        &self.counted
    }

    /// Whether nothing is known of the GPU instances that are asked for.
    pub(super) fn is_prior_of_slices(&self) -> bool {
        self.slices == Mix::default()
    }

    /// Shares by profile of one model, of the requests that it can serve; the prior's where it can serve none.
    pub fn of_model(&self, model: ModelId) -> Vec<f64> {
        let catalog = Catalog::get();
        let profiles = catalog.geometry(model).profiles();
        let mut shares = vec![0.0; profiles.len()];
        for (want, share) in self.slices.kinds() {
            if let Some(profile) = profile(want, catalog, model) {
                shares[usize::from(profile)] += share;
            }
        }
        let prior = if shares.iter().sum::<f64>() > 0.0 { self.slices.prior() } else { 1.0 };
        let is_plain: Vec<bool> = profiles.iter().map(|profile| !profile.name.has_attribute()).collect();
        let plain: f64 = is_plain.iter().map(|is_plain| f64::from(u8::from(*is_plain))).sum();
        for (share, is_plain) in shares.iter_mut().zip(is_plain) {
            *share += if is_plain { prior / plain } else { 0.0 };
        }
        let total: f64 = shares.iter().sum();
        shares.into_iter().map(|share| share / total).collect()
    }

    /// How far two mixes are apart, in GPU instances or in counted devices, whichever is more: from 0 to 1.
    pub fn distance(&self, other: &Self) -> f64 {
        self.slices.distance(&other.slices).max(self.counted.distance(&other.counted))
    }
}

fn profile(want: &Want, catalog: &Catalog, model: ModelId) -> Option<ProfileId> {
    match want {
        Want::Profile(name) => catalog.geometry(model).profile(name),
        Want::Memory { .. } => want.cheapest(catalog, model),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mig::ProfileName;

    fn want(name: &str) -> Want {
        Want::Profile(ProfileName::parse(name).unwrap())
    }

    #[test]
    fn shares_are_of_the_requests_that_a_model_can_serve() {
        let demand = Demand::new([(want("1g.10gb"), 3.0), (want("7g.80gb"), 1.0), (want("1g.6gb"), 4.0)]);
        let catalog = Catalog::get();
        let shares = |product: &str| {
            let model = catalog.by_product(product).unwrap();
            let profiles = catalog.geometry(model).profiles().iter();
            let shares = profiles.zip(demand.of_model(model)).filter(|(_, share)| *share > 0.0);
            shares.map(|(profile, share)| format!("{} {share:.2}", profile.name)).collect::<Vec<_>>()
        };
        assert_eq!(shares("NVIDIA-H100-80GB-HBM3"), ["1g.10gb 0.75", "7g.80gb 0.25"]);
        assert_eq!(shares("NVIDIA-A30"), ["1g.6gb 1.00"]);
        assert_eq!(shares("NVIDIA-H200").len(), 6, "nothing known of it: the prior");
    }

    #[test]
    fn distance_is_nothing_between_equals_and_one_between_strangers() {
        let demand =
            |pairs: &[(&str, f64)]| Demand::new(pairs.iter().map(|(name, share)| (want(name), *share)));
        let one = demand(&[("1g.10gb", 2.0), ("2g.20gb", 2.0)]);
        assert!((one.distance(&demand(&[("1g.10gb", 1.0), ("2g.20gb", 1.0)]))).abs() < 1e-12);
        assert!((one.distance(&demand(&[("7g.80gb", 1.0)])) - 1.0).abs() < 1e-12);
        assert!((one.distance(&demand(&[("1g.10gb", 1.0)])) - 0.5).abs() < 1e-12);
        assert!((Demand::prior().distance(&one) - 1.0).abs() < 1e-12);
    }
}
