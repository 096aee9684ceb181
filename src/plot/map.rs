//! Rows of narrow columns, each divided into cells: what is where, at a glance.

use std::fmt::Write as _;

use super::{Colour, FAINT, INK};

const MARGIN: u32 = 24;
const HEAD: u32 = 104;
/// Size of a cell in pixels: where there are few, they are larger.
const CELL: u32 = 9;
const LARGE_CELL: u32 = 16;
const COLUMNS: usize = 100;
/// Left of the cells, for the number of a row's first column.
const NUMBERS: u32 = 64;
/// Between two rows of columns.
const GAP: u32 = 16;
const KEY: u32 = 18;

/// What a block looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// A colour.
    Solid(Colour),
    /// Nothing is there.
    Empty,
    /// Nothing is there, and nothing can be: crossed out in red.
    Lost,
}

/// Adjacent cells of one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// The first cell, counted from below.
    pub start: u32,
    /// How many.
    pub length: u32,
    /// What it looks like.
    pub fill: Fill,
}

/// The map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// Above everything.
    pub title: String,
    /// Below the title, smaller.
    pub subtitle: String,
    /// What the looks mean.
    pub key: Vec<(Fill, String)>,
    /// What a column is called, before its number.
    pub column: String,
    /// Cells of a column.
    pub cells: u32,
    /// Columns from left to right, a hundred in a row.
    pub columns: Vec<Vec<Block>>,
}

impl Map {
    /// The map as SVG.
    pub fn svg(&self) -> String {
        let across = narrow(self.columns.len().clamp(1, COLUMNS));
        let cell = if 2 * narrow(self.columns.len()) <= narrow(COLUMNS) { LARGE_CELL } else { CELL };
        let row_height = self.cells * cell + GAP;
        let rows = narrow(self.columns.len().div_ceil(COLUMNS).max(1));
        let key: u32 = self.key.iter().map(|(_, name)| key_width(name)).sum();
        let words = 8 * narrow(self.subtitle.chars().count());
        let width = 2 * MARGIN + key.max(words).max(NUMBERS + across * cell);
        let height = HEAD + rows * row_height + MARGIN;
        let mut svg = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="sans-serif" fill="{ink}">
<defs><pattern id="lost" width="5" height="5" patternUnits="userSpaceOnUse"><rect width="5" height="5" fill="white"/><path d="M0 5L5 0M-1 1L1 -1M4 6L6 4" stroke="{LOST}" stroke-width="1.6"/></pattern></defs>
<rect width="{width}" height="{height}" fill="white"/>
<text x="{MARGIN}" y="36" font-size="22">{title}</text>
<text x="{MARGIN}" y="60" font-size="14">{subtitle}</text>
"#,
            ink = hex(INK),
            title = escaped(&self.title),
            subtitle = escaped(&self.subtitle),
        );
        self.write_key(&mut svg);
        for (number, column) in self.columns.iter().enumerate() {
            let (row, place) = (narrow(number.div_euclid(COLUMNS)), narrow(number.rem_euclid(COLUMNS)));
            let (x, floor) = (MARGIN + NUMBERS + place * cell, HEAD + (row + 1) * row_height - GAP);
            if place == 0 {
                let middle = floor - (self.cells * cell).div_euclid(2) + 4;
                text(&mut svg, MARGIN, middle, 12, &format!("{} {number}", self.column));
            }
            for block in column {
                let top = floor - (block.start + block.length) * cell;
                rect(&mut svg, (x, top), (cell - 1, block.length * cell - 1), block.fill);
            }
        }
        svg + "</svg>\n"
    }

    fn write_key(&self, svg: &mut String) {
        let mut x = MARGIN;
        for (fill, name) in &self.key {
            rect(svg, (x, HEAD - 28), (KEY, 14), *fill);
            text(svg, x + KEY + 6, HEAD - 16, 14, name);
            x += key_width(name);
        }
    }
}

/// Room for an entry of the key: letters are about this wide.
fn key_width(name: &str) -> u32 {
    KEY + 30 + 8 * narrow(name.chars().count())
}

const LOST: &str = "#D40000";

fn rect(svg: &mut String, (x, y): (u32, u32), (width, height): (u32, u32), fill: Fill) {
    let (paint, border) = match fill {
        Fill::Solid(colour) => (hex(colour), String::new()),
        Fill::Empty => (hex(FAINT), String::new()),
        Fill::Lost => ("url(#lost)".to_owned(), format!(r#" stroke="{LOST}" stroke-width="0.8""#)),
    };
    writeln!(svg, r#"<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{paint}"{border}/>"#)
        .expect("writing to a text");
}

fn text(svg: &mut String, x: u32, y: u32, size: u32, words: &str) {
    writeln!(svg, r#"<text x="{x}" y="{y}" font-size="{size}">{}</text>"#, escaped(words))
        .expect("writing to a text");
}

fn hex((red, green, blue): Colour) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).expect("a picture has few parts")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_has_its_blocks_key_and_numbers() {
        let block = |start, length, fill| Block { start, length, fill };
        let columns = vec![vec![block(0, 3, Fill::Solid((1, 2, 255))), block(3, 1, Fill::Lost)]; 101];
        let key = vec![(Fill::Solid((1, 2, 255)), "a <b>".to_owned()), (Fill::Lost, "lost".to_owned())];
        let (title, subtitle, column) = ("T".to_owned(), "S".to_owned(), "GPU".to_owned());
        let svg = Map { title, subtitle, key, column, cells: 4, columns }.svg();
        assert_eq!(svg.matches(r##"fill="#0102FF""##).count(), 102);
        assert_eq!(svg.matches("url(#lost)").count(), 102);
        for words in ["a &lt;b&gt;", ">GPU 0<", ">GPU 100<", r#"height="26""#] {
            assert!(svg.contains(words), "{words}: {svg}");
        }
    }
}
