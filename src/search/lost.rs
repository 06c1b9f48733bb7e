//! Networks whose training took the device with it: `lost.txt` of a run.
//!
//! A fault on a CUDA device ends everything that the process computes on it, so the search ends there, before its
//! generation is committed. A run that is gone on with would come to the same network again; so its architecture id is
//! written down first, and counts as a network that cannot be trained. Format: a line per network, its id, a space, and
//! the device's words. A last line that was cut off is dropped. Limit: nothing is said of other devices or runs.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use super::error::SearchError;

fn file(directory: &Path) -> PathBuf {
    directory.join("lost.txt")
}

/// The device's words by architecture id.
///
/// # Errors
/// There is a file, but it cannot be read.
pub(super) fn read(directory: &Path) -> Result<BTreeMap<String, String>, SearchError> {
    let path = file(directory);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(source) => return Err(SearchError::Io { path, source }),
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let pair = |line: &str| {
        let (id, words) = line.split_once(' ')?;
        Some((id.to_owned(), words.to_owned()))
    };
    Ok(whole.lines().filter_map(pair).collect())
}

/// Writes down a network, to the disk itself.
///
/// # Errors
/// The file cannot be written.
pub(super) fn add(directory: &Path, architecture: &str, words: &str) -> Result<(), SearchError> {
    let path = file(directory);
    let line = format!("{architecture} {}\n", words.split_whitespace().collect::<Vec<_>>().join(" "));
    let write = || {
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.write_all(line.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| SearchError::Io { path: path.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_down_is_read_and_a_cut_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap().is_empty());
        add(folder.path(), "0a", "device-side assert\n  triggered").unwrap();
        add(folder.path(), "1b", "an illegal memory access").unwrap();
        fs::write(file(folder.path()), fs::read_to_string(file(folder.path())).unwrap() + "2c an ille")
            .unwrap();
        let expected = [("0a", "device-side assert triggered"), ("1b", "an illegal memory access")];
        let expected = expected.map(|(id, words)| (id.to_owned(), words.to_owned()));
        assert_eq!(read(folder.path()).unwrap(), BTreeMap::from(expected));
    }
}
