//! The socket of one resource in the kubelet's directory.
//!
//! A kubelet that starts removes every socket of the directory, so a listener says nothing about whether
//! anybody can still find it: what counts is which file has the name.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::warn;

/// Pause after the operating system gave no connection: it is out of something.
const PAUSE: Duration = Duration::from_millis(100);

/// Which file has a name. The time is part of it because file systems give the number of a removed file to the
/// next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    number: u64,
    modified: (i64, i64),
}

impl FileId {
    /// Of the file that has the name now.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let data = fs::symlink_metadata(path).ok()?;
        Some(Self { device: data.dev(), number: data.ino(), modified: (data.mtime(), data.mtime_nsec()) })
    }
}

/// What stands where a socket was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// The socket.
    Own,
    /// Nothing: a kubelet has started, or somebody cleans up.
    Gone,
    /// A file that somebody else put there, most likely another agent.
    Foreign,
}

/// A socket that connections are taken from. Dropped, it takes no more, and its file goes.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    file: Option<FileId>,
    _accepting: JoinSet<()>, // ends with the socket
}

impl Socket {
    /// Listens at `path` and hands on what connects. Whatever socket was there is replaced: of two agents the
    /// later one is meant.
    pub(super) fn bind(path: &Path, accepted: mpsc::Sender<UnixStream>) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(data) if data.file_type().is_socket() => fs::remove_file(path)?,
            Ok(_) => return Err(io::Error::other("there is a file that is no socket")),
            Err(_) => {} // nothing there, or bind says what is wrong
        }
        let listener = UnixListener::bind(path)?;
        let file = FileId::of(path);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, accepted));
        Ok(Self { path: path.to_owned(), file, _accepting: accepting })
    }

    /// What stands at its path now.
    pub(super) fn presence(&self) -> Presence {
        match FileId::of(&self.path) {
            None => Presence::Gone,
            there if there == self.file => Presence::Own,
            Some(_) => Presence::Foreign,
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.presence() == Presence::Own {
            fs::remove_file(&self.path).ok(); // the next agent would replace it
        }
    }
}

/// Whether somebody listens at `path`.
pub(super) async fn is_served(path: &Path) -> bool {
    UnixStream::connect(path).await.is_ok()
}

async fn accept(listener: UnixListener, accepted: mpsc::Sender<UnixStream>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if accepted.send(stream).await.is_err() {
                    return; // the server has ended
                }
            }
            Err(error) => {
                warn!(%error, "A connection could not be accepted.");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_knows_whether_it_still_has_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        let (send, mut accepted) = mpsc::channel(1);
        let first = Socket::bind(&path, send.clone()).unwrap();
        assert_eq!(first.presence(), Presence::Own);
        assert!(is_served(&path).await);
        assert!(accepted.recv().await.is_some());
        let second = Socket::bind(&path, send).unwrap();
        assert_eq!((first.presence(), second.presence()), (Presence::Foreign, Presence::Own));
        drop(first);
        assert_eq!(second.presence(), Presence::Own, "the file of another is left alone");
        fs::remove_file(&path).unwrap();
        assert_eq!(second.presence(), Presence::Gone);
        assert!(!is_served(&path).await);
    }

    #[tokio::test]
    async fn a_dropped_socket_leaves_no_file_and_a_file_that_is_no_socket_stays() {
        let directory = tempfile::tempdir().unwrap();
        let (send, _accepted) = mpsc::channel(1);
        let path = directory.path().join("a.sock");
        drop(Socket::bind(&path, send.clone()).unwrap());
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        let error = Socket::bind(&path, send.clone()).unwrap_err();
        assert_eq!(error.to_string(), "there is a file that is no socket");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        let error = Socket::bind(&directory.path().join("no/a.sock"), send).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
