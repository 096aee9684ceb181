//! Where the shared object is, and where its scene.

use std::env;
use std::path::{Path, PathBuf};

/// Environment variable that names the scene's file.
pub const STATE_VARIABLE: &str = "NVML_MOCK_STATE";

/// Name of the scene's file where the variable is not set: beside the shared object.
pub(crate) const STATE_FILE: &str = "state.json";

const LIBRARY: &str = "libnvml_mock.so";

/// The shared object that cargo built together with the test that asks.
///
/// # Panics
/// When it is not where cargo puts it.
pub fn library() -> PathBuf {
    let program = env::current_exe().expect("a program knows its own path");
    // Tests and benches lie in `deps`, examples beside it, binaries above it.
    let folders = program.ancestors().skip(1).take(2).flat_map(|folder| [folder.join("deps"), folder.into()]);
    let found = folders.map(|folder| folder.join(LIBRARY)).find(|path| path.exists());
    found.unwrap_or_else(|| {
        #[expect(clippy::panic, reason = "the test cannot go on")]
        {
            panic!("{LIBRARY} is not near {}: cargo builds it with tangram-nvml-mock", program.display())
        }
    })
}

/// The scene's file: of the environment, or beside the file in which this code lies.
pub(crate) fn state() -> Option<PathBuf> {
    match env::var_os(STATE_VARIABLE) {
        Some(path) => Some(path.into()),
        None => Some(own_file()?.with_file_name(STATE_FILE)),
    }
}

/// The file that is mapped where this function lies: the shared object, or the program it was linked into.
fn own_file() -> Option<PathBuf> {
    let address = own_file as *const () as usize;
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        // address-range permissions offset device inode path
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        let path = rest.get(rest.find('/')?..)?;
        (start..end).contains(&address).then(|| Path::new(path).to_path_buf())
    })
}
