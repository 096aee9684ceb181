//! What a node leaves on the machine besides processes: a folder, and control
//! groups named like it. Both go with the node, or with the next one that starts
//! where a test was killed.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

/// What the names of nodes' folders begin with.
const PREFIX: &str = "tangram-node-";

/// A file in a folder that is locked as long as the node's test lives.
const LOCK: &str = "lock";

/// Held while folders are made or cleared up, between the processes of tests: a
/// folder without a locked file is one that nobody uses any more.
const LOCK_OF_ALL: &str = "/run/tangram-nodes.lock";

/// A file system in memory. The kubelet waits for the disk at every checkpoint, in the middle of admitting pods; behind
/// gigabytes that a build has just written that can take longer than anything waits for a pod.
const MEMORY: &str = "/dev/shm";

/// What lies there where there is one, in a folder of the same name.
const IN_MEMORY: &str = "kubelet";

/// How long processes that were killed may stay in a control group.
const END: Duration = Duration::from_secs(30);

/// The folder of one node, and the name of its control groups. Dropping it
/// removes both: the node's processes have to be gone.
#[derive(Debug)]
pub(super) struct Folder {
    dir: TempDir,
    _lock: File,
}

impl Folder {
    /// Makes a folder, after it cleared up what tests left that were killed.
    pub(super) fn make() -> Result<Self> {
        ensure!(fs::metadata("/proc/self")?.uid() == 0, "a real kubelet and its containers need root");
        let all = File::create(LOCK_OF_ALL).context("making the lock of all nodes")?;
        all.lock().context("waiting for other tests' nodes")?;
        clear_up()?;
        let dir = TempDir::with_prefix(PREFIX).context("making a node's folder")?;
        let lock = File::create_new(dir.path().join(LOCK))?;
        lock.lock()?;
        let folder = Self { dir, _lock: lock };
        if let Some(fast) = in_memory(&folder.control_group()) {
            fs::create_dir(&fast).context("making a folder in memory")?;
            symlink(fast, folder.path().join(IN_MEMORY))?;
        }
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The name of the control groups, below the root of each hierarchy.
    pub(super) fn control_group(&self) -> OsString {
        self.path().file_name().expect("a temporary folder has a name").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        remove_control_groups(&self.control_group());
        remove_from_memory(&self.control_group());
    }
}

fn in_memory(name: &OsStr) -> Option<PathBuf> {
    Some(Path::new(MEMORY)).filter(|memory| memory.is_dir()).map(|memory| memory.join(name))
}

/// What stays because it is in use is removed by nobody: it goes with the machine.
fn remove_from_memory(name: &OsStr) {
    in_memory(name).and_then(|fast| fs::remove_dir_all(fast).ok());
}

/// Removes what was left by tests whose processes are gone.
fn clear_up() -> Result<()> {
    for entry in fs::read_dir(env::temp_dir())? {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = name.as_encoded_bytes().starts_with(PREFIX.as_bytes());
        let Some(lock) = is_ours.then(|| File::open(entry.path().join(LOCK)).ok()).flatten() else {
            continue;
        };
        if lock.try_lock().is_ok() {
            remove_control_groups(&name);
            remove_from_memory(&name);
            fs::remove_dir_all(entry.path()).context("clearing up the folder of a killed test")?;
        }
    }
    Ok(())
}

/// Removes the control groups of a name from every hierarchy, as soon as the
/// processes in them are gone. One that stays is left behind: it costs nothing.
#[expect(clippy::disallowed_methods, reason = "a test is a shell")]
fn remove_control_groups(name: &OsStr) {
    let root = Path::new("/sys/fs/cgroup");
    // Version 2 has one hierarchy, version 1 one in each folder.
    let hierarchies = folders_in(root).into_iter().chain([root.to_owned()]);
    let begin = Instant::now();
    for group in hierarchies.map(|hierarchy| hierarchy.join(name)) {
        while group.exists() && begin.elapsed() < END {
            remove_group(&group);
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Removes a control group with those below it. What is in use stays.
fn remove_group(group: &Path) {
    for below in folders_in(group) {
        remove_group(&below);
    }
    fs::remove_dir(group).ok();
}

fn folders_in(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}
