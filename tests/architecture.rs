//! The layers of the crate, and words that only some of them may use.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules from the bottom up; each may name those in rows above it and in its own row's module.
const LAYERS: [&[&str]; 15] = [
    &["units", "plot"],
    &["mig"],
    &["model"],
    &["solver"],
    &["plan", "preempt", "repack", "layouts", "cache", "census"],
    &["whatif"],
    &["explain"],
    &["nominate", "wire"],
    &["carry", "extender", "sim"],
    &["owner", "metrics"],
    &["http", "config"],
    &["k8s", "tls"],
    &["agent"],
    &["serve"],
    &["cli"],
];
/// Modules that must not know the world outside.
const PURE: [&str; 18] = [
    "units", "plot", "mig", "model", "solver", "plan", "preempt", "repack", "layouts", "cache", "census",
    "whatif", "explain", "nominate", "wire", "carry", "extender", "sim",
];
/// Words of that world.
const WORLD: [&str; 13] = [
    "tokio",
    "axum",
    "hyper",
    "kube::",
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "std::time",
    "std::process",
    "File::",
    "Instant",
    "SystemTime",
];

fn sources(module: &str) -> Vec<PathBuf> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let file = src.join(format!("{module}.rs"));
    if file.exists() {
        return vec![file];
    }
    files(&src.join(module))
}

/// The files of a folder and its subfolders.
fn files(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).expect("a folder").map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Code without comments; what is in a string is code here, which errs on the strict side.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    lines.join("\n")
}

#[test]
fn every_module_of_the_crate_has_its_layer() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let mut declared: Vec<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let mut layered: Vec<&str> = LAYERS.concat();
    declared.sort_unstable();
    layered.sort_unstable();
    assert_eq!(declared, layered);
}

#[test]
fn modules_name_lower_layers_only() {
    let layer_of: BTreeMap<&str, usize> = LAYERS
        .iter()
        .enumerate()
        .flat_map(|(layer, modules)| modules.iter().map(move |&module| (module, layer)))
        .collect();
    for (&module, &layer) in &layer_of {
        for path in sources(module) {
            let text = code(&path);
            for rest in text.split("crate::").skip(1) {
                let named: String =
                    rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                if let Some(&below) = layer_of.get(named.as_str()) {
                    assert!(
                        named == module || below < layer,
                        "{} names {named}, which is not below it",
                        path.display()
                    );
                }
            }
            assert!(!text.contains("use crate::{"), "{}: name the module, crate::MODULE::…", path.display());
        }
    }
}

#[test]
fn pure_modules_know_nothing_of_the_world() {
    for module in PURE {
        for path in sources(module) {
            let text = code(&path);
            for word in WORLD {
                assert!(!text.contains(word), "{} says {word}", path.display());
            }
        }
    }
}

#[test]
fn the_checker_shares_nothing_with_the_solver() {
    let checker = code(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/solver/verify.rs"));
    for word in
        ["super::", "geometry", "Geometry", "occupancy", "Scores", "crate::solver", ".pools()", "columns"]
    {
        assert!(!checker.contains(word), "the checker says {word}");
    }
}

#[test]
fn no_file_of_code_grows_beyond_what_one_thing_needs() {
    const LINES_MAX: usize = 420;
    let tables = ["models.rs"]; // data, one row per line
    for module in LAYERS.concat() {
        for path in sources(module) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            let is_table = tables.contains(&path.file_name().unwrap().to_str().unwrap());
            assert!(
                is_table || lines <= LINES_MAX,
                "{} has {lines} lines: does it still do one thing?",
                path.display()
            );
        }
    }
}
