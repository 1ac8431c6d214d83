//! Files that are lost: what cannot be opened safely is refused, and nothing is deleted for it.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod bench;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bench::{all, append, create, declared, message, open, try_open};
use event::Moment;
use journal_disk::{OpenError, RealDisk};

const NOW: Moment = Moment::from_nanos(1_000_000_000);

/// Two streams, enough recorded that the log's beginning is gone.
fn filled() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut core = open(dir.path(), NOW);
    create(&mut core, NOW, declared("A", "a.>"));
    create(&mut core, NOW, declared("B", "b.>"));
    for round in 0..8 {
        for number in 0..40 {
            append(&mut core, NOW, message(&format!("a.{number}"), &"x".repeat(400))).unwrap();
            append(&mut core, NOW, message("b.b", &round.to_string())).unwrap();
        }
        core.checkpoint(NOW).unwrap();
    }
    core.close(NOW);
    dir
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => drop(found.insert(entry.path(), fs::read(entry.path()).unwrap())),
        }
    }
    found
}

fn lose_catalogues(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with("catalog.") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
}

fn check_refused(dir: &Path) {
    let before = files(&dir.join("streams"));
    assert!(before.len() > 4, "{before:?}");
    let error = try_open(Arc::new(RealDisk::new(dir).unwrap()), NOW).err().unwrap();
    assert!(matches!(error, OpenError::Damaged(_)) && error.to_string().contains("catalog"), "{error}");
    assert_eq!(files(&dir.join("streams")), before);
}

#[test]
fn a_lost_catalogue_is_refused_and_nothing_is_deleted() {
    let dir = filled();
    lose_catalogues(dir.path());
    check_refused(dir.path());
}

#[test]
fn a_lost_catalogue_and_a_lost_log_are_refused_and_nothing_is_deleted() {
    let dir = filled();
    lose_catalogues(dir.path());
    fs::remove_dir_all(dir.path().join("wal")).unwrap();
    check_refused(dir.path());
}

#[test]
fn without_a_catalogue_a_log_that_is_whole_brings_everything_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut core = open(dir.path(), NOW);
    create(&mut core, NOW, declared("A", "a.>"));
    for _ in 0..9 {
        append(&mut core, NOW, message("a.a", "1")).unwrap();
    }
    core.checkpoint(NOW).unwrap();
    append(&mut core, NOW, message("a.a", "2")).unwrap();
    let before = all(&core, "A");
    drop(core);
    lose_catalogues(dir.path());
    let core = open(dir.path(), NOW);
    assert_eq!(all(&core, "A"), before);
}

#[test]
fn a_directory_that_nothing_explains_is_put_aside() {
    let dir = filled();
    let (from, to) = (dir.path().join("streams/00000001"), dir.path().join("streams/00000009"));
    fs::create_dir(&to).unwrap();
    for entry in fs::read_dir(&from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let before: Vec<_> = files(&to).into_values().collect();
    let core = open(dir.path(), NOW);
    assert!(core.recovered().damage.iter().any(|said| said.contains("streams/00000009")), "{:?}", core.recovered());
    assert!(!to.exists());
    let aside: Vec<_> = files(&dir.path().join("damaged/streams-00000009")).into_values().collect();
    assert_eq!(aside, before);
    assert_eq!(all(&core, "A").len(), 320);
}

#[test]
fn a_lost_log_is_told_and_what_came_behind_the_catalogue_is_put_aside() {
    let dir = filled();
    let mut core = open(dir.path(), NOW);
    for _ in 0..40 {
        append(&mut core, NOW, message("a.a", &"y".repeat(400))).unwrap();
    }
    core.flush(NOW).unwrap();
    drop(core);
    fs::remove_dir_all(dir.path().join("wal")).unwrap();
    let core = open(dir.path(), NOW);
    assert!(core.recovered().damage.iter().any(|said| said.contains("log is missing")), "{:?}", core.recovered());
    assert!(fs::read_dir(dir.path().join("damaged")).unwrap().count() > 0);
    assert_eq!(all(&core, "A").len(), 320);
}
