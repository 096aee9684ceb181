//! The file that processes share.
//!
//! A version of the state is never changed: who changes it writes a new file beside it and renames it over the
//! old one, under a lock that the kernel releases when its holder dies. So a reader needs no lock, and a
//! process that is killed between any two instructions leaves the old version or the new one. What is seen is
//! kept until the name means another file, and the file is held open meanwhile, so that its inode number is
//! nobody else's; a read that finds nothing new is one `stat`.
//!
//! | file | what |
//! |---|---|
//! | `NAME` | the state |
//! | `NAME.lock` | locked by whoever changes it |
//! | `NAME.new` | the next version while it is written |
//! | `NAME.history` | happenings, one JSON object in a line; only the bytes that the state counts are true |

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::code::Answer;
use crate::history::Happening;
use crate::state::State;

/// The file, and what was last seen of it.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    seen: Mutex<Option<Seen>>,
}

#[derive(Debug)]
struct Seen {
    mark: Mark,
    state: Arc<State>,
    /// Keeps the inode number its own.
    _file: File,
}

/// What tells one version from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Mark {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

impl Store {
    /// The store at a path, whether the file is there or not.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path, seen: Mutex::new(None) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The state as it is now.
    pub(crate) fn read(&self) -> io::Result<Arc<State>> {
        let mark = Mark::of(&fs::metadata(&self.path)?);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = seen.as_ref().filter(|seen| seen.mark == mark) {
            return Ok(Arc::clone(&seen.state));
        }
        let mut file = File::open(&self.path)?;
        let mark = Mark::of(&file.metadata()?);
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let state: Arc<State> = Arc::new(serde_json::from_slice(&text)?);
        *seen = Some(Seen { mark, state: Arc::clone(&state), _file: file });
        Ok(state)
    }

    /// Writes the first version, over whatever was there.
    pub(crate) fn create(&self, state: State) -> io::Result<()> {
        let _lock = self.lock()?;
        self.write(state, None)
    }

    /// Changes the state for process `by`, unless the change refuses.
    pub(crate) fn change<T>(
        &self,
        by: Option<u32>,
        change: impl FnOnce(&mut State) -> Answer<T>,
    ) -> io::Result<Answer<T>> {
        let _lock = self.lock()?;
        let mut state = State::clone(&*self.read()?);
        let answer = change(&mut state);
        if answer.is_ok() {
            self.write(state, by)?;
        }
        Ok(answer)
    }

    /// Everything that happened.
    pub(crate) fn history(&self) -> io::Result<Vec<Happening>> {
        let length = self.read()?.history_bytes;
        if length == 0 {
            return Ok(Vec::new());
        }
        let mut text = Vec::new();
        File::open(self.beside("history"))?.take(length).read_to_end(&mut text)?;
        serde_json::Deserializer::from_slice(&text).into_iter().map(|line| Ok(line?)).collect()
    }

    fn lock(&self) -> io::Result<File> {
        let file = OpenOptions::new().create(true).append(true).open(self.beside("lock"))?;
        file.lock()?;
        Ok(file)
    }

    fn write(&self, mut state: State, by: Option<u32>) -> io::Result<()> {
        state.history_bytes = self.remember(&state, by)?;
        state.happenings.clear();
        let new = self.beside("new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(&state)?)?;
        fs::rename(&new, &self.path)?;
        let mark = Mark::of(&file.metadata()?);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = Some(Seen { mark, state: Arc::new(state), _file: file });
        Ok(())
    }

    /// Appends what happened to the history, and tells how long that is then.
    fn remember(&self, state: &State, by: Option<u32>) -> io::Result<u64> {
        if state.happenings.is_empty() {
            return Ok(state.history_bytes);
        }
        #[expect(clippy::disallowed_methods, reason = "the history tells when things happened")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let at_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let mut text = Vec::new();
        for happening in &state.happenings {
            serde_json::to_writer(&mut text, &Happening { at_us, by, ..happening.clone() })?;
            text.push(b'\n');
        }
        let mut file =
            OpenOptions::new().create(true).truncate(false).write(true).open(self.beside("history"))?;
        // What a process wrote that was killed before it renamed the state never happened.
        file.set_len(state.history_bytes)?;
        file.seek(SeekFrom::End(0))?;
        file.write_all(&text)?;
        file.stream_position()
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = OsString::from(&self.path);
        path.push(".");
        path.push(suffix);
        path.into()
    }
}
