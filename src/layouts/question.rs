//! The demand and the choices in the terms of the integer program.

use std::collections::{BTreeMap, BTreeSet};

use super::choose::Like;
use super::survey::is_legal;
use super::{Counts, Layout, Strategy, Wanted};
use crate::mig::{Catalog, Geometry, ModelId, ProfileName};
use crate::solver::exact::{Ask, Choice, Fillings, Kind, prices};

/// A device that a pod waits for counts so much more than one that is expected: whatever a whole GPU could be of use
/// for otherwise, the smallest device (an eighth) that a pod waits for comes first.
const WAITING: f64 = 16.0;

/// A model of which nothing may change counts so many GPUs where prices are averaged.
const HARDLY_ANY: f64 = 1e-3;

/// The demand in the terms of the program: its resources are profiles, whichever model has them.
pub(super) struct Question {
    names: Vec<ProfileName>,
    patterns: BTreeMap<ModelId, Vec<Counts>>,
    pub(super) asks: Vec<Ask>,
}

impl Question {
    /// Of these models; `gpus` of them may change.
    pub(super) fn new(
        models: impl Iterator<Item = ModelId>,
        gpus: impl Iterator<Item = (ModelId, usize)>,
        wanted: &Wanted,
    ) -> Self {
        let mut weights: BTreeMap<ModelId, f64> = models.map(|model| (model, HARDLY_ANY)).collect();
        for (model, gpus) in gpus {
            *weights.entry(model).or_default() += f64::from(u32::try_from(gpus).unwrap_or(u32::MAX));
        }
        let geometry = |model: ModelId| Catalog::get().geometry(model);
        let profiles = weights.keys().flat_map(|&model| geometry(model).profiles());
        let names: BTreeSet<ProfileName> = profiles.map(|profile| profile.name.clone()).collect();
        let names: Vec<ProfileName> = names.into_iter().collect();
        let mut patterns = BTreeMap::new();
        let mut sums = vec![(0.0, 0.0); names.len()]; // prices, GPUs
        for (&model, &weight) in &weights {
            let geometry = geometry(model);
            let (fillings, prices) = priced(geometry, wanted);
            for (profile, price) in geometry.profiles().iter().zip(prices) {
                let sum = &mut sums[names.binary_search(&profile.name).expect("names of all models")];
                *sum = (sum.0 + price * weight, sum.1 + weight);
            }
            let of = |counts: &[u32]| -> Counts {
                let profiles = geometry.profiles().iter().map(|profile| profile.name.clone());
                profiles.zip(counts.iter().copied()).filter(|(_, count)| *count > 0).collect()
            };
            patterns.insert(model, fillings.patterns().iter().map(|pattern| of(&pattern.counts)).collect());
        }
        let mut asks = Vec::new();
        for (resource, (name, (price, weight))) in names.iter().zip(sums).enumerate() {
            for (counts, factor) in [(&wanted.waiting, WAITING), (&wanted.expected, 1.0)] {
                if let Some(&most) = counts.get(name) {
                    asks.push(Ask { resource, most, worth: factor * price / weight });
                }
            }
        }
        Self { names, patterns, asks }
    }

    /// Devices in the order of the program's resources.
    pub(super) fn row(&self, counts: &Counts) -> Vec<u32> {
        self.names.iter().map(|name| counts.get(name).copied().unwrap_or(0)).collect()
    }

    /// Layouts that each GPU of a unit may get instead of its own.
    pub(super) fn layouts(&self, like: &Like) -> Vec<Layout> {
        let patterns = &self.patterns[&like.model];
        let layouts: Vec<Layout> = match like.strategy {
            Strategy::Mixed => patterns.iter().cloned().map(Layout::Cut).collect(),
            Strategy::Single => {
                // One profile on all GPUs of the node, as often as it fits.
                let mut most: BTreeMap<&ProfileName, u32> = BTreeMap::new();
                for (profile, &count) in patterns.iter().flatten() {
                    let most = most.entry(profile).or_default();
                    *most = count.max(*most);
                }
                most.into_iter()
                    .map(|(profile, most)| Layout::Cut(Counts::from([(profile.clone(), most)])))
                    .collect()
            }
        };
        layouts.into_iter().filter(|layout| Some(layout) != like.layout.as_ref()).collect()
    }

    pub(super) fn kind(&self, like: &Like, members: usize, change_cost: f64) -> Kind {
        let gpus = u32::try_from(like.gpus).expect("a node has few GPUs");
        let keep = Choice { counts: self.row(&like.free), cost: 0.0 };
        let others = self.layouts(like).into_iter().map(|layout| {
            let counts = layout.counts();
            debug_assert!(is_legal(Catalog::get().geometry(like.model), &counts), "{layout}");
            let counts = self.row(&counts).into_iter().map(|count| count.saturating_mul(gpus)).collect();
            Choice { counts, cost: change_cost * f64::from(gpus) }
        });
        Kind {
            members: u32::try_from(members).expect("fewer GPUs than a number holds"),
            choices: std::iter::once(keep).chain(others).collect(),
        }
    }
}

/// The layouts of a GPU, and what the demand pays for its profiles, in GPUs.
fn priced(geometry: &Geometry, wanted: &Wanted) -> (Fillings, Vec<f64>) {
    let asked = |name: &ProfileName| {
        let of = |counts: &Counts| counts.get(name).copied().unwrap_or(0);
        of(&wanted.waiting).saturating_add(of(&wanted.expected))
    };
    let demand: Vec<f64> =
        geometry.profiles().iter().map(|profile| f64::from(asked(&profile.name))).collect();
    let fillings = Fillings::new(geometry, |id| {
        demand[usize::from(id)] > 0.0 || !geometry.profiles()[usize::from(id)].name.has_attribute()
    });
    let prices = prices(&fillings, &demand).per_profile;
    (fillings, prices)
}
