//! Where the programs of the control plane are. Each is looked for, and built,
//! when a test first needs it: most tests need few.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow, ensure};

/// Finds the programs, and builds them when the machine has none. The script
/// decides, so that a person who runs it by hand gets what the tests get.
const BUILD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/controlplane/build");

/// The program called `name`, one that the script knows.
///
/// The first call for a program may build for minutes. It blocks its thread, and
/// with it every test that asks for any meanwhile: few could do anything useful.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    static FOUND: Mutex<BTreeMap<String, Result<PathBuf, String>>> = Mutex::new(BTreeMap::new());
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    let sought = || find(name).map_err(|error| format!("{error:#}"));
    let program = found.entry(name.to_owned()).or_insert_with(sought);
    program.clone().map_err(|reason| anyhow!("{reason}"))
}

fn find(name: &str) -> Result<PathBuf> {
    // Its progress goes to the terminal past the capture of the test's output:
    // a test that is silent for minutes looks like one that hangs.
    let output = Command::new(BUILD)
        .arg(name)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("running {BUILD}"))?;
    ensure!(output.status.success(), "{BUILD} ended with {}; it says why above", output.status);
    let listed = String::from_utf8(output.stdout).context("the list of programs is not UTF-8")?;
    let path = listed.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    path.map(PathBuf::from).with_context(|| format!("{BUILD} named no {name}"))
}
