//! Values of options, with what is wrong with them in words.

use std::fmt;
use std::num::NonZeroUsize;

use crate::mig::{Catalog, ModelId};
use crate::sim::Mix;

/// Seeds: how many, or from which to which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seeds(pub(super) Vec<u64>);

const SEEDS_MAX: u64 = 10_000;

/// `5` is 1 to 5; `42-51` is itself.
pub(super) fn parse_seeds(text: &str) -> Result<Seeds, String> {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let range = match text.split_once('-') {
        Some((first, last)) => number(first).zip(number(last)),
        None => number(text).map(|count| (1, count)),
    };
    let (first, last) = range.ok_or_else(|| format!("{text:?} is neither a count nor FIRST-LAST"))?;
    if last < first || last - first >= SEEDS_MAX {
        return Err(format!("{text}: expected 1 to {SEEDS_MAX} seeds"));
    }
    Ok(Seeds((first..=last).collect()))
}

/// A GPU model by its key in the table or its product name.
pub(super) fn parse_model(text: &str) -> Result<ModelId, String> {
    let catalog = Catalog::get();
    let by_key = || catalog.models().find(|&model| catalog.row(model).key.eq_ignore_ascii_case(text));
    by_key().or_else(|| catalog.by_product(text)).ok_or_else(|| {
        let keys: Vec<&str> = catalog.models().map(|model| catalog.row(model).key).collect();
        format!(
            "no MIG-capable GPU model is called {text:?}; known are {}, and product names",
            keys.join(", ")
        )
    })
}

/// Mixes of one option: names with commas between them, or one mix of its own.
#[derive(Debug, Clone)]
pub(super) struct Mixes(pub(super) Vec<Mix>);

/// `uniform,bimodal`, or `1g.10gb=3,7g.80gb=1`.
pub(super) fn parse_mixes(text: &str) -> Result<Mixes, String> {
    let parts = if text.contains('=') { vec![text] } else { text.split(',').map(str::trim).collect() };
    Ok(Mixes(parts.into_iter().map(Mix::parse).collect::<Result<_, _>>()?))
}

/// The mixes that are not derived from a trace.
pub(super) fn synthetic_mixes() -> Vec<Mix> {
    Mix::names().take(4).map(|name| Mix::parse(name).expect("a name of the table")).collect()
}

/// A load: how much of the GPUs the mean population fills under perfect packing.
pub(super) fn parse_load(text: &str) -> Result<f64, String> {
    const LOAD_MAX: f64 = 10.0;
    between(text, 0.0, LOAD_MAX).map_err(|wrong| format!("{wrong}: 1 fills all GPUs"))
}

/// A time in mean lifetimes.
pub(super) fn parse_time(text: &str) -> Result<f64, String> {
    const TIME_MAX: f64 = 100_000.0;
    if text.parse() == Ok(0.0) { Ok(0.0) } else { between(text, 0.0, TIME_MAX) }
}

fn between(text: &str, above: f64, most: f64) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    if number > above && number <= most {
        Ok(number)
    } else {
        Err(format!("{text} is not above {above} and at most {most}"))
    }
}

/// A number of GPUs.
pub(super) fn parse_gpus(text: &str) -> Result<usize, String> {
    const GPUS_MAX: usize = 1_000_000;
    let number: Option<usize> = text.parse().ok();
    number
        .filter(|gpus| (1..=GPUS_MAX).contains(gpus))
        .ok_or_else(|| format!("{text:?} is no number from 1 to {GPUS_MAX}"))
}

/// Instances that may be moved for one request.
pub(super) fn parse_moves(text: &str) -> Result<usize, String> {
    // No GPU has more instances than this.
    const MOVES_MAX: usize = 7;
    let number: Option<usize> = text.trim().parse().ok();
    number
        .filter(|moves| *moves <= MOVES_MAX)
        .ok_or_else(|| format!("{text:?} is no number from 0 to {MOVES_MAX}"))
}

/// Options that every simulation takes.
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    /// Threads [default: one per core]; the figures do not depend on it
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<NonZeroUsize>,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Output,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
    /// For spreadsheets
    Csv,
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Csv => "csv",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_count_or_a_range() {
        assert_eq!(parse_seeds("2"), Ok(Seeds(vec![1, 2])));
        assert_eq!(parse_seeds("42-44"), Ok(Seeds(vec![42, 43, 44])));
        assert_eq!(parse_seeds("0"), Err("0: expected 1 to 10000 seeds".to_owned()));
        assert_eq!(parse_seeds("9-8"), Err("9-8: expected 1 to 10000 seeds".to_owned()));
        assert_eq!(parse_seeds("many"), Err("\"many\" is neither a count nor FIRST-LAST".to_owned()));
    }

    #[test]
    fn mixes_are_names_or_one_of_its_own() {
        let names =
            |text: &str| parse_mixes(text).unwrap().0.into_iter().map(|mix| mix.name).collect::<Vec<_>>();
        assert_eq!(names("uniform,openb"), ["uniform", "openb"]);
        assert_eq!(names("1g.10gb=3,7g.80gb=1"), ["1g.10gb=3,7g.80gb=1"]);
        assert_eq!(synthetic_mixes().len(), 4);
    }
}
