//! Where a node's programs run: mounts and process numbers of their own.
//!
//! The kubelet's and containerd's fixed folders are then private, so several
//! nodes run beside each other and beside whatever the machine itself runs. And
//! the kernel clears up: with the first process of the place all others end,
//! containers and shims included, and with the last one its mounts go.

use std::ffi::OsString;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::START;
use crate::plane::process::{Place, Process};

/// The first process of the place; its argument is the node's folder.
///
/// `/proc` still shows the numbers of outside when it begins, so the number that
/// it reads is the one that `nsenter` wants. The kubelet writes these settings of
/// the kernel: it finds the values it wants in plain files and leaves the
/// machine's alone. Programs whose parents end become this one's children, and
/// `wait` takes their ends. What is in `/run` is gone when a machine starts again;
/// CDI's folder is one that the test sees too.
const FIRST: &str = r#"
read -r number _ </proc/self/stat
mount -t proc proc /proc
while read -r name value; do
    mkdir -p "$1/settings/${name%/*}"
    echo "$value" >"$1/settings/$name"
    mount --bind "$1/settings/$name" "/proc/sys/$name"
done <<END
kernel/keys/root_maxbytes 25000000
kernel/keys/root_maxkeys 1000000
kernel/panic 10
kernel/panic_on_oops 1
vm/overcommit_memory 1
vm/panic_on_oom 0
END
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/log
rm -rf "$1/cdi"
mkdir -p "$1/cdi" /run/cdi "$1/kubelet" /var/lib/kubelet
mount --bind "$1/cdi" /run/cdi
mount --bind "$1/kubelet" /var/lib/kubelet
echo "first process: $number"
while :; do sleep infinity & wait $!; done
"#;

/// What stands before the number in the line that says it.
const NUMBER: &str = "first process: ";

/// How long the kernel may take to end every process of the place.
const END: Duration = Duration::from_secs(30);

/// The place of one node. Dropping it ends everything that runs there.
#[derive(Debug)]
pub(super) struct Namespaces {
    _first: Process,
    number: String,
}

impl Namespaces {
    /// Makes the place of the node whose folder is `dir`.
    pub(super) async fn start(dir: &Path) -> Result<Self> {
        let words = "--mount --pid --fork --kill-child --propagation private sh -euc".split(' ');
        let arguments =
            words.map(OsString::from).chain([FIRST.into(), "first".into(), dir.as_os_str().to_owned()]);
        let mut first = Process::start("namespaces", dir, Path::new("unshare"), arguments)?;
        let line = first.line(NUMBER, START).await.context("making namespaces")?;
        let number = line.strip_prefix(NUMBER).context("the line was found by it")?.to_owned();
        Ok(Self { _first: first, number })
    }

    /// Where programs of the node are started.
    pub(super) fn place(&self) -> Place {
        let target = format!("--target={}", self.number);
        Place(["nsenter", &target, "--mount", "--pid", "--"].map(OsString::from).into())
    }
}

impl Drop for Namespaces {
    #[expect(clippy::disallowed_methods, reason = "a test is a shell")]
    fn drop(&mut self) {
        Place::default().command("kill").args(["-KILL", &self.number]).status().ok();
        // The first process is gone when all others are.
        let (first, begin) = (Path::new("/proc").join(&self.number), Instant::now());
        while first.exists() && begin.elapsed() < END {
            thread::sleep(Duration::from_millis(10));
        }
    }
}
