//! containerd of a node: its configuration, and the one image there is.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::{IMAGE, START};
use crate::plane::binaries::program;
use crate::plane::flag;
use crate::plane::process::{Place, Process};

/// Where containerd listens, in the node's folder.
pub(super) fn socket(dir: &Path) -> PathBuf {
    dir.join("containerd.sock")
}

/// Where it looks for CDI specifications, in the node's folder. The node's
/// programs see it as `/var/run/cdi`.
pub(super) fn cdi_dir(dir: &Path) -> PathBuf {
    dir.join("cdi")
}

/// Writes what containerd reads, before it first starts.
pub(super) fn prepare(dir: &Path) -> Result<()> {
    fs::create_dir(dir.join("cni"))?;
    // A node is not ready without a network. Pods of the tests use the machine's,
    // so this one is never made and its plugin need not exist.
    let network = r#"{ "cniVersion": "1.0.0", "name": "none", "plugins": [{ "type": "loopback" }] }"#;
    fs::write(dir.join("cni/none.conflist"), network)?;
    write_runtime(&runtime(dir))?;
    fs::write(dir.join("containerd.toml"), configuration(dir)?).context("configuring containerd")
}

/// What containerd runs as runc, in the node's folder.
fn runtime(dir: &Path) -> PathBuf {
    dir.join("runc")
}

/// containerd gives its runtime no arguments of ours, so this is a script.
fn write_runtime(path: &Path) -> Result<()> {
    let (unconfined, runc) = (program("unconfined")?, program("runc")?);
    let script = format!("#!/bin/sh\nexec '{}' '{}' \"$@\"\n", unconfined.display(), runc.display());
    fs::write(path, script)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).context("writing the runtime")
}

fn configuration(dir: &Path) -> Result<String> {
    Ok(format!(
        "
version = 3
# Not the machine's.
imports = []
root = '{root}'
# Private to the node, and gone when it is: as on a machine that starts again.
state = '/run/containerd'
# Would make a folder of the machine.
disabled_plugins = ['io.containerd.internal.v1.opt']

[grpc]
address = '{socket}'

[plugins.'io.containerd.nri.v1.nri']
# Would start the machine's plugins.
disable = true

[plugins.'io.containerd.cri.v1.images']
# Copies the image's one file; overlayfs does not work on every folder.
snapshotter = 'native'
pinned_images = {{ sandbox = '{IMAGE}' }}

[plugins.'io.containerd.cri.v1.runtime']
cdi_spec_dirs = ['/var/run/cdi']
# Asking for less needs CAP_SYS_RESOURCE, which root does not have everywhere.
restrict_oom_score_adj = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['{cni}']
conf_dir = '{cni}'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
runtime_path = '{shim}'
options = {{ BinaryName = '{runtime}' }}
",
        root = dir.join("containerd").display(),
        socket = socket(dir).display(),
        cni = dir.join("cni").display(),
        shim = program("containerd-shim-runc-v2")?.display(),
        runtime = runtime(dir).display(),
    ))
}

/// Starts containerd and waits until it serves. What it knew it still knows, and
/// containers that run it finds again.
pub(super) async fn start(place: Place, dir: &Path) -> Result<Process> {
    let arguments = [flag("config", dir.join("containerd.toml"))];
    let mut process = Process::start_in(place, "containerd", dir, &program("containerd")?, arguments)?;
    process.line("containerd successfully booted", START).await?;
    Ok(process)
}

/// Gives a running containerd the image of all containers, which the program in
/// it makes.
pub(super) fn import_image(dir: &Path) -> Result<()> {
    let image = dir.join("image.tar");
    let made =
        Command::new(program("workload")?).args(["-image", IMAGE]).stdout(fs::File::create(&image)?).status();
    let made = made.context("making the image")?;
    ensure!(made.success(), "the workload made no image of itself: {made}");
    let imported = Command::new(program("ctr")?)
        .arg(flag("address", socket(dir)))
        .args(["--namespace=k8s.io", "images", "import", "--local", "--snapshotter=native"])
        .arg(&image)
        .stdin(Stdio::null())
        .output()
        .context("running ctr")?;
    let said = String::from_utf8_lossy(&imported.stderr);
    ensure!(imported.status.success(), "ctr imported no image: {}: {said}", imported.status);
    Ok(())
}
