//! Pictures of figures: SVG, and the same as PNG. Knows numbers and names, and nothing of GPUs.
//!
//! ```text
//! chart  curves over two axes
//! map    rows of narrow columns, each divided into cells
//! png    SVG as PNG
//! ```
//!
//! Colours are those of Okabe and Ito (2008), which people with any colour vision tell apart; yellow is left out,
//! for it is lost on white.

mod chart;
mod map;
mod png;

pub use chart::{Axis, Chart, Curve};
pub use map::{Block, Fill, Map};
pub use png::png;

/// A colour: red, green, blue.
pub type Colour = (u8, u8, u8);

/// Colours in the order in which they are given out.
pub const PALETTE: [Colour; 7] = [
    (0, 114, 178),   // blue
    (213, 94, 0),    // vermilion
    (0, 158, 115),   // green
    (204, 121, 167), // purple
    (86, 180, 233),  // sky blue
    (230, 159, 0),   // orange
    (0, 0, 0),
];

/// Letters, axes.
const INK: Colour = (34, 34, 34);
/// Lines of the grid, free cells.
const FAINT: Colour = (228, 228, 228);
