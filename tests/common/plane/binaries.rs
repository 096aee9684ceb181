//! Where the programs of the control plane are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, ensure};

/// Finds the programs, and builds them when the machine has none. The script
/// decides, so that a person who runs it by hand gets what the tests get.
const BUILD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/controlplane/build");

/// What a plane runs.
const PROGRAMS: [&str; 3] = ["etcd", "kube-apiserver", "kube-scheduler"];

/// The program called `name`.
///
/// The first call may build for minutes. It blocks its thread, and with it
/// every test that asks meanwhile: none could do anything useful.
pub(super) fn program(name: &str) -> Result<&'static Path> {
    static FOUND: OnceLock<Result<BTreeMap<String, PathBuf>, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| find().map_err(|error| format!("{error:#}")));
    let programs = found.as_ref().map_err(|reason| anyhow::anyhow!("{reason}"))?;
    programs.get(name).map(PathBuf::as_path).with_context(|| format!("{BUILD} named no {name}"))
}

fn find() -> Result<BTreeMap<String, PathBuf>> {
    // Its progress goes to the terminal past the capture of the test's output:
    // a test that is silent for minutes looks like one that hangs.
    let output = Command::new(BUILD)
        .args(PROGRAMS)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("running {BUILD}"))?;
    ensure!(output.status.success(), "{BUILD} ended with {}; it says why above", output.status);
    let listed = String::from_utf8(output.stdout).context("the list of programs is not UTF-8")?;
    let pairs = listed.lines().filter_map(|line| line.split_once(' '));
    Ok(pairs.map(|(name, path)| (name.to_owned(), PathBuf::from(path))).collect())
}
