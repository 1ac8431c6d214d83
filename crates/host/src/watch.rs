//! Notices that a file has changed, cheaply: by its length, its time of change and its number.
//!
//! Not a file system watcher: those miss renames of directories that secrets are mounted from.

use std::fs::Metadata;
use std::path::PathBuf;
use std::time::SystemTime;

/// What is known of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    number: u64,
}

/// Files that are looked at now and then.
#[derive(Debug)]
pub(crate) struct Watched {
    files: Vec<(PathBuf, Option<Stamp>)>,
}

impl Watched {
    /// The files as they are now.
    pub(crate) fn new(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let files = files.into_iter().map(|file| (file.clone(), stamp(&file))).collect();
        Watched { files }
    }

    /// Looks at these files from now on. What is known of those that were looked at before stays, so that
    /// a change meanwhile is noticed; one that is new has changed.
    pub(crate) fn follow(&mut self, files: impl IntoIterator<Item = PathBuf>) {
        let known = std::mem::take(&mut self.files);
        let seen = |file: &PathBuf| known.iter().find(|(each, _)| each == file).and_then(|(_, seen)| *seen);
        self.files = files.into_iter().map(|file| (file.clone(), seen(&file))).collect();
    }

    /// Whether any has changed since it was last asked. A file that is missing has not: it is
    /// about to be replaced.
    pub(crate) fn changed(&mut self) -> bool {
        let mut changed = false;
        for (file, seen) in &mut self.files {
            let now = stamp(file);
            if now.is_some() && now != *seen {
                *seen = now;
                changed = true;
            }
        }
        changed
    }
}

fn stamp(file: &PathBuf) -> Option<Stamp> {
    let metadata = std::fs::metadata(file).ok()?;
    Some(Stamp { modified: metadata.modified().ok(), length: metadata.len(), number: number(&metadata) })
}

#[cfg(unix)]
fn number(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn number(_metadata: &Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_replaced_is_noticed_once_and_a_missing_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (file, other) = (dir.path().join("f"), dir.path().join("g"));
        std::fs::write(&file, "one").unwrap();
        let mut watched = Watched::new([file.clone()]);
        assert!(!watched.changed());
        std::fs::write(&other, "two").unwrap();
        std::fs::rename(&other, &file).unwrap();
        assert!(watched.changed() && !watched.changed());
        std::fs::write(&file, "three").unwrap();
        std::fs::write(&other, "new").unwrap();
        watched.follow([file.clone()]);
        assert!(watched.changed() && !watched.changed(), "a change meanwhile is not lost");
        watched.follow([file.clone(), other.clone()]);
        assert!(watched.changed() && !watched.changed(), "a new file is one");
        watched.follow([file.clone()]);
        std::fs::remove_file(&file).unwrap();
        assert!(!watched.changed());
        std::fs::write(&file, "three").unwrap();
        assert!(watched.changed());
    }
}
