//! The least of the mixed cluster's demand that must be refused.

use super::kinds::{Device, KINDS, Kind};
use super::makes::{MAKES, Make, REPLICAS, Way};
use super::stream;
use crate::mig::{Catalog, ProfileName};
use crate::model::Want;
use crate::solver::exact::{Way as Serving, most_served};

/// Stocks of one make: GPU, cores, memory.
const STOCKS: usize = 3;

/// Percent of the demanded GPU memory that no placement of this seed's pods can serve: all nodes of a make as one, in
/// fractions. GPU instances take memory slices, wherever these lie.
///
/// # Panics
/// When the linear program of some hundred variables cannot be solved.
pub fn refused_at_least(seed: u64) -> f64 {
    let mut asked: Vec<(f64, f64)> = KINDS.iter().map(|kind| (f64::from(kind.worth_mib), 0.0)).collect();
    for kind in stream(seed) {
        asked[kind].1 += 1.0;
    }
    let stocks: Vec<f64> = MAKES.iter().flat_map(stocks).collect();
    let pairs = || (0..KINDS.len()).flat_map(|kind| (0..MAKES.len()).map(move |make| (kind, make)));
    let serving = |(kind, make): (usize, usize)| {
        let parts = [device(&KINDS[kind], &MAKES[make])?, KINDS[kind].cores.into(), KINDS[kind].gib.into()];
        let takes = parts.into_iter().enumerate().map(|(stock, part)| (make * STOCKS + stock, part));
        Some(Serving { kind, takes: takes.collect() })
    };
    let ways: Vec<Serving> = pairs().filter_map(serving).collect();
    let most = most_served(&asked, &stocks, &ways).expect("a small program");
    let all: f64 = asked.iter().map(|(worth, count)| worth * count).sum();
    (100.0 * (all - most) / all).max(0.0)
}

fn stocks(make: &Make) -> [f64; STOCKS] {
    let each = match make.way {
        Way::Mig => Catalog::get().geometry(make.model()).axis().into(),
        Way::Whole => 1,
        Way::Shared => REPLICAS,
    };
    let nodes = f64::from(make.nodes);
    [f64::from(make.gpus) * f64::from(each), make.cores.into(), make.gib.into()].map(|part: f64| nodes * part)
}

/// What a pod takes of a make's GPUs: memory slices, GPUs or replicas; `None` where it cannot go.
fn device(kind: &Kind, make: &Make) -> Option<f64> {
    if kind.way != make.way {
        return None;
    }
    let catalog = Catalog::get();
    let want = match kind.device {
        Device::Units(units, products) => {
            return (products.is_empty() || products.contains(&make.product)).then_some(units.into());
        }
        Device::Profile(name) => Want::Profile(ProfileName::parse(name)?),
        Device::Memory(mib) => Want::Memory { mib, compute_slices: 0 },
    };
    let geometry = catalog.geometry(make.model());
    let profile = match &want {
        Want::Profile(name) => geometry.profile(name)?,
        Want::Memory { .. } => want.cheapest(catalog, make.model())?,
    };
    Some(geometry.profiles()[usize::from(profile)].size.into())
}
