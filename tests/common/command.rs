//! The binary under test as a command that ends by itself.

use std::path::Path;
use std::process::{Command, Output};

/// Runs it in the root of the repository, so that examples are found by the paths that the documents give.
pub(crate) fn tangram(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_tangram"));
    command.args(arguments).current_dir(root).output().expect("the binary runs")
}

/// What it wrote.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it writes text")
}
