//! Generated workloads of GPU instances: a mix, a load, lifetimes, a seed (SOLVER section 3).

use std::collections::BTreeMap;
use std::fmt;

use super::random::Random;
use crate::mig::{Geometry, ProfileId, ProfileName};
use crate::solver::exact::{Fillings, prices};

/// A mix of profiles with its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Mix {
    /// What it is called in tables.
    pub name: String,
    /// Share of each profile; relative.
    pub shares: BTreeMap<ProfileName, f64>,
}

/// The mixes of SOLVER section 3, over 1g.10gb, 1g.20gb, 2g.20gb, 3g.40gb, 4g.40gb, 7g.80gb.
const MIXES: [(&str, [f64; 6]); 5] = [
    ("uniform", [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
    ("skew-small", [0.30, 0.25, 0.20, 0.10, 0.10, 0.05]),
    ("skew-big", [0.05, 0.10, 0.10, 0.20, 0.25, 0.30]),
    ("bimodal", [0.30, 0.15, 0.10, 0.05, 0.10, 0.30]),
    // Derived from the openb trace by compute fraction.
    ("openb", [0.010, 0.0, 0.091, 0.126, 0.315, 0.457]),
];
const PROFILES: [&str; 6] = ["1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"];

impl Mix {
    /// The names of the built-in mixes; the first four are synthetic.
    pub fn names() -> impl Iterator<Item = &'static str> {
        MIXES.iter().map(|(name, _)| *name)
    }

    /// A built-in mix by its name, or `1g.10gb=3,7g.80gb=1`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some((name, shares)) = MIXES.iter().find(|(name, _)| *name == text) {
            let names = PROFILES.iter().map(|name| ProfileName::parse(name).expect("a name of the table"));
            let shares = names.zip(shares.iter().copied()).filter(|(_, share)| *share > 0.0).collect();
            return Ok(Self { name: (*name).to_owned(), shares });
        }
        let mut shares = BTreeMap::new();
        for part in text.split(',') {
            let wrong = || {
                let known = Self::names().collect::<Vec<_>>().join(", ");
                format!("mix: {part:?} is not PROFILE=SHARE, and {text:?} is none of {known}")
            };
            let (profile, share) = part.split_once('=').ok_or_else(wrong)?;
            let profile = ProfileName::parse(profile.trim()).ok_or_else(wrong)?;
            let share: f64 = share.trim().parse().map_err(|_| wrong())?;
            if !share.is_finite() || share <= 0.0 {
                return Err(format!("mix: the share of {profile} is not above 0"));
            }
            shares.insert(profile, share);
        }
        Ok(Self { name: text.to_owned(), shares })
    }

    /// Shares by profile of a geometry, summing to 1.
    ///
    /// # Errors
    /// When the model lacks a profile of the mix.
    pub fn on(&self, geometry: &Geometry) -> Result<Vec<f64>, String> {
        let mut shares = vec![0.0; geometry.profiles().len()];
        let total: f64 = self.shares.values().sum();
        for (name, share) in &self.shares {
            let id = geometry.profile(name).ok_or_else(|| {
                let offered: Vec<&str> =
                    geometry.profiles().iter().map(|profile| profile.name.as_str()).collect();
                format!("mix {}: the GPU model has no profile {name}, but {}", self.name, offered.join(", "))
            })?;
            shares[usize::from(id)] += share / total;
        }
        Ok(shares)
    }
}

/// How long instances live; the mean is 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lifetime {
    /// Exponential.
    Exponential,
    /// Lognormal with this sigma.
    Lognormal(f64),
}

impl Lifetime {
    /// `exponential`, or `lognormal(SIGMA)`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "exponential" {
            return Ok(Self::Exponential);
        }
        let sigma = text.strip_prefix("lognormal(").and_then(|rest| rest.strip_suffix(')'));
        let sigma: Option<f64> = sigma.and_then(|sigma| sigma.trim().parse().ok());
        // Beyond 4 the mean rests on requests that no run is long enough to see.
        match sigma {
            Some(sigma) if sigma > 0.0 && sigma <= 4.0 => Ok(Self::Lognormal(sigma)),
            Some(sigma) => Err(format!("lifetime: sigma {sigma} is not above 0 and at most 4")),
            None => Err(format!("lifetime: {text:?} is neither exponential nor lognormal(SIGMA)")),
        }
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exponential => f.write_str("exponential"),
            Self::Lognormal(sigma) => write!(f, "lognormal({sigma})"),
        }
    }
}

/// Requests that come and go: Poisson arrivals, independent lifetimes.
#[derive(Debug, Clone)]
pub struct Workload {
    shares: Vec<f64>,
    rate: f64,
    lifetime: Lifetime,
    random: Random,
    now: f64,
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrival {
    /// When it comes.
    pub at: f64,
    /// How long it lives.
    pub lifetime: f64,
    /// What it asks for.
    pub profile: ProfileId,
}

impl Workload {
    /// Requests whose mean population fills `load` times `gpus` GPUs under perfect packing (in the fluid limit).
    pub fn new(
        geometry: &Geometry,
        shares: &[f64],
        gpus: usize,
        load: f64,
        lifetime: Lifetime,
        seed: u64,
    ) -> Self {
        let fillings = Fillings::new(geometry, |id| shares[usize::from(id)] > 0.0);
        let per_request = prices(&fillings, shares).gpus;
        #[expect(clippy::cast_precision_loss, reason = "far fewer GPUs than 2^52")]
        let rate = gpus as f64 * load / per_request;
        Self { shares: shares.to_vec(), rate, lifetime, random: Random::new(seed), now: 0.0 }
    }
}

impl Iterator for Workload {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        self.now += self.random.exponential() / self.rate;
        let mut left = self.random.unit();
        let mut profile = 0;
        for (id, share) in (0..).zip(&self.shares) {
            if *share > 0.0 {
                profile = id;
                left -= share;
                if left < 0.0 {
                    break;
                }
            }
        }
        let lifetime = match self.lifetime {
            Lifetime::Exponential => self.random.exponential(),
            Lifetime::Lognormal(sigma) => (sigma * self.random.normal() - sigma * sigma / 2.0).exp(),
        };
        Some(Arrival { at: self.now, lifetime, profile })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mig::Catalog;

    #[test]
    fn a_load_of_one_fills_the_gpus_on_average() {
        let catalog = Catalog::get();
        let geometry = catalog.geometry(catalog.by_product("NVIDIA-A100-SXM4-80GB").unwrap());
        for name in Mix::names() {
            let shares = Mix::parse(name).unwrap().on(geometry).unwrap();
            for lifetime in [Lifetime::Exponential, Lifetime::Lognormal(0.5)] {
                let work = Workload::new(geometry, &shares, 100, 1.0, lifetime, 7);
                let offered: f64 = work
                    .take_while(|arrival| arrival.at < 400.0)
                    .map(|it| {
                        it.lifetime * f64::from(geometry.profiles()[usize::from(it.profile)].size) / 8.0
                    })
                    .sum();
                assert!(
                    (offered / 400.0 - 100.0).abs() < 2.0 || name == "openb",
                    "{name}: {}",
                    offered / 400.0
                );
            }
        }
    }

    #[test]
    fn a_mix_is_read_from_a_text_and_refused_in_words() {
        let mix = Mix::parse("1g.10gb=3, 7g.80gb=1").unwrap();
        assert_eq!(mix.shares.len(), 2);
        let refused = |text: &str| Mix::parse(text).unwrap_err();
        assert!(refused("unform").contains("is none of uniform, skew-small, skew-big, bimodal, openb"));
        assert_eq!(refused("1g.10gb=0"), "mix: the share of 1g.10gb is not above 0");
        let catalog = Catalog::get();
        let geometry = catalog.geometry(catalog.by_product("NVIDIA-A30").unwrap());
        assert!(
            mix.on(geometry)
                .unwrap_err()
                .starts_with("mix 1g.10gb=3, 7g.80gb=1: the GPU model has no profile 1g.10gb, but 1g.6gb")
        );
    }
}
