//! Charts and maps of generated workloads.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::grid::{Cell, Chooser, Drawing, Grid, Uptake};
use super::parallel::Pool;
use crate::mig::Catalog;
use crate::plot::{Axis, Block, Chart, Curve, Fill, Map, PALETTE, png};
use crate::sim::Fleet;

/// GPUs on a map: sixteen rows of a hundred, as much as an eye takes in.
const MAPPED_MAX: usize = 1600;
/// Demand in percent of all memory up to which allocation is drawn: as far as the openb protocol goes.
const DEMAND_MAX: u32 = 130;

/// What the runs keep for pictures.
pub(super) const DRAWING: Drawing = Drawing { samples: 400, layout };

/// Makes the folder, before anything is run for it.
pub(super) fn prepare(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("--plots {}", folder.display()))
}

/// A picture and the name of its files.
struct Picture {
    name: String,
    svg: String,
}

/// Draws everything that the runs say.
pub(super) fn draw(grid: &Grid, cells: &[Cell], pool: &Pool, folder: &Path) -> anyhow::Result<()> {
    let uptakes = grid.uptakes(pool, DEMAND_MAX);
    let mut pictures = Vec::new();
    for (mix, named) in grid.terms.mixes.iter().enumerate() {
        let slug = slug(&named.name);
        let of_mix = || cells.iter().filter(move |cell| cell.mix == mix);
        let at_most = || of_mix().filter(|cell| cell.load + 1 == grid.terms.loads.len());
        let uptakes = uptakes.iter().filter(|uptake| uptake.mix == mix);
        let curve = |uptake: &Uptake| Curve {
            name: uptake.chooser.to_string(),
            points: uptake.points.clone(),
            is_reference: false,
        };
        let charts = [
            ("allocation", allocation(grid, &named.name, uptakes.map(curve).collect())),
            ("rejected", rejected(grid, &named.name, &of_mix().collect::<Vec<_>>())),
            ("fragmentation", fragmentation(grid, &named.name, at_most())),
        ];
        for (name, chart) in charts {
            pictures.push(Picture { name: format!("{name}-{slug}"), svg: chart.svg() });
        }
        for cell in at_most().filter(|cell| !cell.layout.is_empty()) {
            let name = format!("map-{slug}-{}", self::slug(&cell.chooser.to_string()));
            pictures.push(Picture { name, svg: map(grid, cell).svg() });
        }
    }
    let written = pool.map("draw", pictures.len(), |number| write(folder, &pictures[number]));
    written.into_iter().collect()
}

fn write(folder: &Path, picture: &Picture) -> anyhow::Result<()> {
    let path = |end: &str| folder.join(format!("{}.{end}", picture.name));
    let put = |end: &str, bytes: &[u8]| {
        fs::write(path(end), bytes).with_context(|| path(end).display().to_string())
    };
    put("svg", picture.svg.as_bytes())?;
    put("png", &png(&picture.svg).with_context(|| picture.name.clone())?)
}

/// The setting in words, below a title.
fn subtitle(grid: &Grid, mix: &str, load: Option<f64>) -> String {
    let terms = &grid.terms;
    let model = Catalog::get().row(terms.model).key;
    let load = load.map_or_else(String::new, |load| format!(", load {load}"));
    format!("{} GPUs {model}, mix {mix}{load}", terms.gpus)
}

fn axis(label: &str, range: std::ops::Range<f64>) -> Axis {
    Axis { label: label.to_owned(), range }
}

fn allocation(grid: &Grid, mix: &str, mut curves: Vec<Curve>) -> Chart {
    let ideal = vec![(0.0, 0.0), (100.0, 100.0), (f64::from(DEMAND_MAX), 100.0)];
    curves.push(Curve { name: "everything asked for".to_owned(), points: ideal, is_reference: true });
    Chart {
        title: "Allocation against demand".to_owned(),
        subtitle: subtitle(grid, mix, None) + ", requests only arrive",
        // Below, nothing is refused yet and the curves are one.
        x: axis("memory asked for, % of all", 80.0..f64::from(DEMAND_MAX)),
        y: axis("memory in use, % of all", 80.0..100.0),
        curves: curves.into_iter().map(|curve| from(curve, 80.0)).collect(),
    }
}

/// What is right of `least`.
fn from(curve: Curve, least: f64) -> Curve {
    let mut points: Vec<(f64, f64)> = curve.points.iter().copied().filter(|point| point.0 >= least).collect();
    if curve.is_reference {
        points.insert(0, (least, least));
    }
    Curve { points, ..curve }
}

fn rejected(grid: &Grid, mix: &str, cells: &[&Cell]) -> Chart {
    let loads = &grid.terms.loads;
    let curve = |chooser: &Chooser| {
        let of_chooser = cells.iter().filter(|cell| cell.chooser == *chooser);
        let point = |cell: &&Cell| {
            let all = cell.runs.iter().map(crate::sim::Figures::rejected_slices_percent);
            let all: Vec<f64> = all.collect();
            (loads[cell.load], crate::wire::simulation::Spread::of(&all).mean)
        };
        let mut points: Vec<(f64, f64)> = of_chooser.map(point).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Curve { name: chooser.to_string(), points, is_reference: *chooser == Chooser::Reference }
    };
    let seeds = grid.terms.seeds.len();
    let least = loads.iter().copied().fold(f64::INFINITY, f64::min);
    let most = loads.iter().copied().fold(0.0, f64::max);
    // One load alone stands in the middle.
    let margin = if most > least { 0.0 } else { 0.1 };
    Chart {
        title: "Refused demand against load".to_owned(),
        subtitle: format!("{}, mean of {seeds} seeds", subtitle(grid, mix, None)),
        x: axis("load (1 fills all GPUs under perfect packing)", least - margin..most + margin),
        y: axis("memory slices refused, %", 0.0..0.0),
        curves: grid.terms.choosers.iter().map(curve).collect(),
    }
}

fn fragmentation<'a>(grid: &Grid, mix: &str, cells: impl Iterator<Item = &'a Cell>) -> Chart {
    let curve = |cell: &Cell| {
        #[expect(clippy::cast_precision_loss, reason = "memory slices of some thousand GPUs")]
        let points = cell.runs[0].series.iter().map(|sample| (sample.at, sample.stranded as f64)).collect();
        Curve { name: cell.chooser.to_string(), points, is_reference: false }
    };
    let load = grid.terms.loads.last().copied();
    Chart {
        title: "Stranded memory slices over time".to_owned(),
        subtitle: format!("{}, seed {}", subtitle(grid, mix, load), grid.terms.seeds[0]),
        x: axis("time, mean lifetimes", 0.0..grid.terms.span.1),
        y: axis("free memory slices that no profile can use", 0.0..0.0),
        curves: cells.map(curve).filter(|curve| !curve.points.is_empty()).collect(),
    }
}

fn map(grid: &Grid, cell: &Cell) -> Map {
    let geometry = Catalog::get().geometry(grid.terms.model);
    let shares = grid.terms.mixes[cell.mix].on(geometry).expect("checked before anything was run");
    let asked = geometry.profiles().iter().zip(&shares).zip(colours(&shares));
    let key = asked.filter(|((_, share), _)| **share > 0.0);
    let mut key: Vec<(Fill, String)> =
        key.map(|((profile, _), fill)| (fill, profile.name.to_string())).collect();
    key.push((Fill::Empty, "free".to_owned()));
    key.push((Fill::Lost, "stranded: free, but no profile fits".to_owned()));
    let drawn = cell.layout.len();
    let part = if drawn < grid.terms.gpus { format!(", the first {drawn}") } else { String::new() };
    let load = grid.terms.loads[cell.load];
    Map {
        title: format!("Memory slices at the end: {}", cell.chooser),
        subtitle: format!(
            "{}{part}, time {}, seed {}; one column per GPU, slice 0 below",
            subtitle(grid, &grid.terms.mixes[cell.mix].name, Some(load)),
            grid.terms.span.1,
            grid.terms.seeds[0]
        ),
        key,
        column: "GPU".to_owned(),
        cells: geometry.axis().into(),
        columns: cell.layout.clone(),
    }
}

/// The colour of each profile: those that are asked for take theirs in turn.
fn colours(shares: &[f64]) -> Vec<Fill> {
    let mut next = PALETTE.iter().cycle();
    let colour = |share: &f64| if *share > 0.0 { next.next() } else { None };
    shares.iter().map(colour).map(|colour| Fill::Solid(*colour.unwrap_or(&PALETTE[0]))).collect()
}

/// The GPUs of a fleet as columns of blocks.
fn layout(fleet: &Fleet<'_>, shares: &[f64]) -> Vec<Vec<Block>> {
    let geometry = fleet.geometry();
    let (colours, axis) = (colours(shares), u32::from(geometry.axis()));
    let gpu = |(gpu, instances): (usize, &smallvec::SmallVec<[u8; 8]>)| {
        let lost = fleet.stranded(gpu);
        let slot = |slot: u32| {
            let fill = if lost & (1 << slot) == 0 { Fill::Empty } else { Fill::Lost };
            Block { start: slot, length: 1, fill }
        };
        let held = instances.iter().map(|&place| geometry.placements()[usize::from(place)]);
        let taken = held.clone().fold(0, |taken, place| taken | place.mask);
        let free = (0..axis).filter(|slot| taken & (1 << slot) == 0).map(slot);
        let block = |place: crate::mig::Placement| Block {
            start: place.mask.trailing_zeros(),
            length: place.mask.count_ones(),
            fill: colours[usize::from(place.profile)],
        };
        held.map(block).chain(free).collect()
    };
    fleet.instances().iter().take(MAPPED_MAX).enumerate().map(gpu).collect()
}

/// A name as part of a file's.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars() {
        let c = if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
        if c != '-' || !slug.ends_with('-') {
            slug.push(c);
        }
    }
    slug.trim_matches('-').chars().take(80).collect()
}
