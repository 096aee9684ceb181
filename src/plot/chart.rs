//! Curves over two axes.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::{Colour, FAINT, INK, PALETTE};

const WIDTH: u32 = 960;
const HEIGHT: u32 = 560;
/// Where the curves are named, right of the plot.
const LEGEND: i32 = 210;
/// A value on each axis for about so many pixels.
const LABELS: (usize, usize) = (9, 8);

/// An axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// What it measures, with its unit.
    pub label: String,
    /// What is shown at least.
    pub range: Range<f64>,
}

/// A line, or a few points joined.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Its name in the legend.
    pub name: String,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
    /// Drawn dashed in grey: what the others are measured against.
    pub is_reference: bool,
}

/// Curves over two axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Above everything.
    pub title: String,
    /// Below the title, smaller.
    pub subtitle: String,
    /// To the right.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// The curves.
    pub curves: Vec<Curve>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Failure<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

impl Chart {
    /// The chart as SVG.
    pub fn svg(&self) -> String {
        let mut text = String::new();
        // Written into a text, nothing can fail.
        self.draw(&SVGBackend::with_string(&mut text, (WIDTH, HEIGHT)).into_drawing_area())
            .expect("the areas lie within the picture");
        text
    }

    fn draw<'a>(&self, area: &Area<'a>) -> Result<(), Failure<'a>> {
        area.fill(&WHITE)?;
        let ink = |size: u32| ("sans-serif", size).into_font().color(&colour(INK));
        area.draw(&Text::new(self.title.as_str(), (24, 18), ink(22)))?;
        area.draw(&Text::new(self.subtitle.as_str(), (24, 47), ink(14)))?;
        let (_, below) = area.split_vertically(70);
        let split = i32::try_from(WIDTH).expect("a small number") - LEGEND;
        let (left, right) = below.split_horizontally(split);
        let (x, y) = (self.range(&self.x.range, |point| point.0), self.range(&self.y.range, |point| point.1));
        let mut plot = ChartBuilder::on(&left)
            .margin(10)
            .x_label_area_size(52)
            .y_label_area_size(70)
            .build_cartesian_2d(x, y)?;
        plot.configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(colour(FAINT))
            .axis_style(colour(INK))
            .x_labels(LABELS.0)
            .y_labels(LABELS.1)
            .x_desc(self.x.label.as_str())
            .y_desc(self.y.label.as_str())
            .axis_desc_style(ink(15))
            .label_style(ink(14))
            .x_label_formatter(&|value| short(*value))
            .y_label_formatter(&|value| short(*value))
            .draw()?;
        for (number, curve) in self.curves.iter().enumerate() {
            let style = style(number, curve);
            let points = curve.points.iter().copied();
            if is_dashed(number, curve) {
                plot.draw_series(DashedLineSeries::new(points, 7, 4, style))?;
            } else {
                plot.draw_series(LineSeries::new(points, style))?;
            }
            if curve.points.len() <= MARKED && !curve.is_reference {
                let mark = |point: &(f64, f64)| Circle::new(*point, 4, style.filled());
                plot.draw_series(curve.points.iter().map(mark))?;
            }
        }
        for (row, (number, curve)) in (0..).zip(self.curves.iter().enumerate()) {
            let (middle, style) = (24 + 26 * row, style(number, curve));
            let ends = if is_dashed(number, curve) { vec![(8, 18), (24, 34)] } else { vec![(8, 34)] };
            for (from, to) in ends {
                right.draw(&PathElement::new([(from, middle), (to, middle)], style))?;
            }
            right.draw(&Text::new(curve.name.as_str(), (42, middle - 5), ink(15)))?;
        }
        area.present()
    }

    /// The wanted range, wide enough for every point, with some room above those that lie beyond it.
    fn range(&self, wanted: &Range<f64>, part: impl Fn(&(f64, f64)) -> f64) -> Range<f64> {
        let points = self.curves.iter().flat_map(|curve| &curve.points).map(part);
        let (low, high) =
            points.fold((wanted.start, wanted.end), |(low, high), value| (low.min(value), high.max(value)));
        let room = if high > wanted.end { (high - low) * ROOM } else { 0.0 };
        if high > low { low..high + room } else { low..low + 1.0 }
    }
}

/// Room above the highest point, in parts of the axis.
const ROOM: f64 = 0.05;

/// Points that are marked each: fewer than make a line by themselves.
const MARKED: usize = 24;

/// A colour that comes again is dashed.
fn is_dashed(number: usize, curve: &Curve) -> bool {
    curve.is_reference || number.div_euclid(PALETTE.len()) % 2 == 1
}

fn style(number: usize, curve: &Curve) -> ShapeStyle {
    const GREY: Colour = (120, 120, 120);
    let own = if curve.is_reference { GREY } else { PALETTE[number.rem_euclid(PALETTE.len())] };
    colour(own).stroke_width(2)
}

fn colour((red, green, blue): Colour) -> RGBColor {
    RGBColor(red, green, blue)
}

/// A number with as many digits as it needs, three behind the point at most.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, -0.0, 0.25, 0.1 + 0.2, 100.0].map(short), ["0", "0", "0.25", "0.3", "100"]);
    }

    #[test]
    fn a_chart_says_what_it_shows_and_escapes_it() {
        let axis = |label: &str| Axis { label: label.to_owned(), range: 0.0..1.0 };
        let curve = Curve { name: "pack < mfi".to_owned(), points: vec![(0.0, 3.0)], is_reference: false };
        let chart = Chart {
            title: "A & B".to_owned(),
            subtitle: "of a test".to_owned(),
            x: axis("time"),
            y: axis("slices"),
            curves: vec![curve],
        };
        let svg = chart.svg();
        for words in ["A &amp; B", "of a test", "pack &lt; mfi", "time", "slices", "#0072B2"] {
            assert!(svg.contains(words), "{words}: {svg}");
        }
        let range = |wanted: Range<f64>| chart.range(&wanted, |point| point.1);
        assert!((range(0.0..1.0).end - 3.15).abs() < 1e-9, "room above what lies beyond");
        assert_eq!(range(0.0..4.0), 0.0..4.0);
        assert_eq!(chart.range(&(0.0..0.0), |point| point.0), 0.0..1.0, "never empty");
    }
}
