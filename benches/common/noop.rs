//! The extender that does nothing, in Go: what any extender costs at least.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

/// Built and run where Go is installed. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Noop {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Noop {
    pub(crate) fn start() -> Option<Self> {
        let target = concat!(env!("CARGO_TARGET_TMPDIR"), "/noop");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/noop");
        let built = Command::new("go").args(["build", "-o", target, "."]).current_dir(source).status();
        if !built.is_ok_and(|status| status.success()) {
            return None;
        }
        let mut child = Command::new(target).stdout(Stdio::piped()).spawn().expect("it was built");
        let address = first_address(&mut child);
        Some(Self { child, address })
    }
}

impl Drop for Noop {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The address in the first line that a server prints.
pub(crate) fn first_address(child: &mut Child) -> SocketAddr {
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a first line");
    line.trim().rsplit('/').next().expect("an address").parse().expect("an address")
}
