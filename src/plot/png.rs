//! SVG as PNG, with letters that are part of the program.

use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb::Database};
use thiserror::Error;

/// Pixels of the PNG per pixel of the SVG, in each direction: sharp on dense screens.
const SCALE: f32 = 2.0;
/// Pixels that are drawn at most in each direction; beyond, the picture is drawn smaller.
const SIDE_MAX: f32 = 16_000.0;

/// Why there is no picture.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the picture cannot be drawn: {0}")]
pub struct Undrawable(String);

/// Draws an SVG of this module as PNG.
pub fn png(svg: &str) -> Result<Vec<u8>, Undrawable> {
    let why = |error: String| Undrawable(error);
    let tree = Tree::from_str(svg, options()).map_err(|error| why(error.to_string()))?;
    let size = tree.size();
    let scale = SCALE.min(SIDE_MAX / size.width().max(size.height()));
    let pixels_of = |length: f32| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 16,000")]
        let pixels = (length * scale).ceil().max(1.0) as u32;
        pixels
    };
    let pixels = Pixmap::new(pixels_of(size.width()), pixels_of(size.height()));
    let mut pixels = pixels.ok_or_else(|| why("it has no pixels".to_owned()))?;
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| why(error.to_string()))
}

fn options() -> &'static Options<'static> {
    static OPTIONS: LazyLock<Options<'static>> = LazyLock::new(|| {
        let mut fonts = Database::new();
        fonts.load_font_data(notosans::REGULAR_TTF.to_vec());
        fonts.set_sans_serif_family("Noto Sans");
        Options { fontdb: Arc::new(fonts), ..Options::default() }
    });
    &OPTIONS
}
