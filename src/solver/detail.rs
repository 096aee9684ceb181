//! Why an instance fits nowhere, GPU by GPU, in a sentence that people can act on.

use std::collections::BTreeMap;

use super::Query;
use super::score::Cell;
use crate::mig::Catalog;
use crate::model::{Row, Want};

impl Query<'_> {
    /// One line per kind of instance and obstacle, counted over all dynamic GPUs of `rows`:
    /// `3g.40gb: 12 GPUs have 4 free memory slices but not at 0 or 4`.
    ///
    /// Free memory slices are in NVML's unit. A kind that fits on some GPU gives no line.
    pub fn details<'r>(&self, rows: &(impl Iterator<Item = Row<'r>> + Clone)) -> Vec<String> {
        let mut lines = Vec::new();
        for slices in &self.slices {
            let Some(column) = &slices.column else { continue };
            let mut counted: BTreeMap<(u8, String), usize> = BTreeMap::new();
            let mut fits = false;
            for &occupancy in rows.clone().flat_map(|row| row.occupancies) {
                let obstacle = match (column.cell(occupancy), obstacle(&slices.want, occupancy)) {
                    (Cell::Fits(_), _) => {
                        fits = true;
                        break;
                    }
                    (Cell::Never, _) | (_, None) => continue,
                    (_, Some(obstacle)) => obstacle,
                };
                *counted.entry(obstacle).or_default() += 1;
            }
            if !fits {
                let line = |((_, obstacle), count): ((u8, String), usize)| match count {
                    1 => format!("{}: 1 GPU has {obstacle}", slices.text),
                    _ => format!("{}: {count} GPUs have {obstacle}", slices.text),
                };
                lines.extend(counted.into_iter().rev().map(line));
            }
        }
        lines
    }
}

/// Free memory slices, and what about them does not do.
fn obstacle(want: &Want, occupancy: crate::mig::Occupancy) -> Option<(u8, String)> {
    let catalog = Catalog::get();
    let (model, state) = catalog.state(occupancy)?;
    let geometry = catalog.geometry(model);
    let profile = &geometry.profiles()[usize::from(want.cheapest(catalog, model)?)];
    let free = geometry.free(state) * geometry.unit();
    let noun = if free == 1 { "free memory slice" } else { "free memory slices" };
    let placements = profile.placements.iter().map(|&id| geometry.placements()[usize::from(id)]);
    let is_vacant = |mask: u16| mask & geometry.mask(state) == 0;
    let text = if free < profile.memory_slices {
        format!("{free} {noun}, {} are needed", profile.memory_slices)
    } else if placements.clone().any(|placement| is_vacant(placement.mask)) {
        format!("{free} {noun}, but no engines or instances of {} left", profile.name)
    } else {
        let mut starts: Vec<u8> = placements.map(|placement| placement.start).collect();
        starts.sort_unstable();
        format!("{free} {noun} but not at {}", listed(&starts))
    };
    Some((free, text))
}

/// `0`, `0 or 4`, `0, 2 or 4`.
fn listed(starts: &[u8]) -> String {
    let words: Vec<String> = starts.iter().map(u8::to_string).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}
