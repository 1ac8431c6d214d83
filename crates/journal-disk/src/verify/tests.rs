use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use event::{Message, Moment, Pattern, Subject};
use journal::{Append, Read, StreamConfig};

use super::*;
use crate::{Core, Op, Reader, RealDisk};

const MESSAGES: u64 = 160;
const STREAM: &str = "S";

fn options() -> Options {
    Options { wal_file_bytes: 16 * 1024, segment_bytes: 4 * 1024, checkpoint_bytes: 8 * 1024, ..Options::default() }
}

fn now() -> Moment {
    Moment::from_nanos(1_000_000_000)
}

fn open(dir: &Path) -> Result<Core, crate::OpenError> {
    Core::open(Arc::new(RealDisk::new(dir).unwrap()), options(), now())
}

fn run<T: Send + 'static>(core: &mut Core, op: impl FnOnce(journal::Done<T>) -> Op) -> T {
    let slot = Arc::new(Mutex::new(None));
    let place = slot.clone();
    core.submit(op(Box::new(move |value| *place.lock().unwrap() = Some(value))));
    core.commit(now());
    let value = slot.lock().unwrap().take();
    value.unwrap()
}

fn payload(seq: u64) -> Bytes {
    Bytes::from(format!("{seq}-{}", "x".repeat(usize::try_from(seq * 7 % 90).unwrap())))
}

/// A directory with a stream of [`MESSAGES`] messages, of which the last checkpoint covers the first
/// `covered`. Ended cleanly where it covers all.
fn directory(covered: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut core = open(dir.path()).unwrap();
    let config = StreamConfig::new(STREAM, [Pattern::parse("a.>").unwrap()]);
    run(&mut core, |done| Op::Create(config, done)).unwrap();
    for seq in 1..=MESSAGES {
        let subject = Subject::parse(&format!("a.{}", seq % 7)).unwrap();
        let append = Append::new(Message::new(subject, payload(seq)));
        assert_eq!(run(&mut core, |done| Op::Append(append, done)).unwrap().seq, seq);
        if seq == covered || seq % 40 == 0 && seq < covered {
            core.checkpoint(now()).unwrap();
        }
    }
    if covered == MESSAGES {
        core.close(now());
    }
    dir
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for path in files(from) {
        let target = to.path().join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&path, target).unwrap();
    }
    to
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let all = files(dir).into_iter().filter(|path| !path.ends_with("lock"));
    all.map(|path| (path.strip_prefix(dir).unwrap().to_owned(), std::fs::read(&path).unwrap())).collect()
}

fn report(dir: &Path, repair: bool) -> Report {
    verify(Arc::new(RealDisk::new(dir).unwrap()), &options(), repair, &mut |_| {}).unwrap()
}

/// What a node reads after opening the directory.
fn held(dir: &Path) -> BTreeMap<u64, Bytes> {
    let core = open(dir).unwrap();
    let reader = Reader::new(core.directory());
    let (mut from, mut found) = (1, BTreeMap::new());
    loop {
        let page = reader.page(STREAM, &Read::from(from, 50)).unwrap();
        assert!(page.damaged.is_empty(), "{:?}", page.damaged);
        found.extend(page.messages.into_iter().map(|each| (each.seq, each.message.payload)));
        from = page.next;
        if page.next > page.last {
            return found;
        }
    }
}

fn lost(report: &Report) -> Vec<u64> {
    let mut lost = Vec::new();
    for finding in &report.findings {
        if let Safety::Lost(ranges) = &finding.safety {
            lost.extend(ranges.iter().flat_map(|(from, to)| *from..=*to));
        }
    }
    lost
}

/// Damages a copy of the directory, checks it, repairs it, checks that nothing is left to repair,
/// and that a node then reads all but what was said to be lost. Returns the first report.
fn check(dir: &Path, damage: impl FnOnce(&Path)) -> Report {
    let copied = copy(dir);
    let dir = copied.path();
    damage(dir);
    let before = contents(dir);
    let first = report(dir, false);
    assert_eq!(contents(dir), before, "checking changed something");
    let repaired = report(dir, true);
    assert_eq!(first.findings.len(), repaired.findings.len());
    let again = report(dir, false);
    assert!(again.is_healthy(), "{:?} was left of {:?}", again.findings, first.findings);
    let there = contents(dir);
    for (path, bytes) in &before {
        let same = there.values().any(|each| each == bytes);
        assert!(there.contains_key(path) || same, "{path:?} was not kept");
    }
    let lost = lost(&first);
    let held = held(dir);
    // The log's torn end cannot be told from damage there: it is cut, and its length is told.
    let end = if first.torn > 0 { *held.last_key_value().unwrap().0 } else { MESSAGES };
    assert!(MESSAGES - end <= 1 || first.findings.len() > 1, "{} bytes were cut", first.torn);
    for seq in 1..=end {
        match held.get(&seq) {
            Some(found) => assert_eq!(*found, payload(seq)),
            None => assert!(lost.contains(&seq), "{seq} is lost and was not named: {:?}", first.findings),
        }
        assert!(!(lost.contains(&seq) && held.contains_key(&seq)), "{seq} was named and is there");
    }
    first
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

fn named(dir: &Path, wanted: &str) -> Vec<String> {
    let names = files(dir).into_iter().map(|path| path.strip_prefix(dir).unwrap().to_string_lossy().into_owned());
    names.filter(|name| name.contains(wanted)).collect()
}

#[test]
fn a_healthy_directory_is_healthy() {
    for covered in [0, 100, MESSAGES] {
        let dir = directory(covered);
        let report = check(dir.path(), |_| {});
        assert!(report.is_healthy() && !report.is_loss(), "{:?}", report.findings);
        assert_eq!(report.streams.len(), 1, "{covered}");
        assert_eq!(report.streams[0].healthy, MESSAGES, "{covered}");
        assert!(report.missing.is_empty(), "{:?}", report.missing);
    }
}

#[test]
fn any_flipped_byte_of_a_segment_is_named_and_repaired() {
    let dir = directory(MESSAGES);
    for name in named(dir.path(), ".seg") {
        let len = std::fs::metadata(dir.path().join(&name)).unwrap().len();
        for at in (0..len).step_by(89) {
            let report = check(dir.path(), |dir| flip(&dir.join(&name), usize::try_from(at).unwrap()));
            let found = &report.findings[0];
            assert_eq!((report.findings.len(), &found.file), (1, &name));
            assert!(found.offset <= at && at < found.offset + found.len, "{found} does not hold {at}");
            assert!(lost(&report).len() <= 1, "{found}");
        }
    }
}

#[test]
fn any_flipped_byte_of_the_log_is_named_and_repaired() {
    let dir = directory(100);
    let mut seen = 0;
    for name in named(dir.path(), ".wal") {
        let bytes = std::fs::read(dir.path().join(&name)).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for at in (32..end).step_by(97) {
            let report = check(dir.path(), |dir| flip(&dir.join(&name), at));
            seen += report.findings.len();
            for found in &report.findings {
                let range = found.offset..found.offset + found.len;
                assert!(found.file == name && range.contains(&(at as u64)), "{found} does not hold {at}");
            }
        }
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn what_is_derived_is_moved_aside() {
    let dir = directory(MESSAGES);
    for (wanted, part) in [(".idx", Part::Index), ("state.", Part::Snapshot)] {
        let name = named(dir.path(), wanted).pop().unwrap();
        let report = check(dir.path(), |dir| flip(&dir.join(&name), 40));
        assert_eq!(report.findings.len(), 1);
        let found = &report.findings[0];
        assert_eq!((found.part, &found.safety, &found.file), (part, &Safety::Derived, &name));
        assert!(!report.is_loss());
    }
}

#[test]
fn what_is_derived_may_be_missing() {
    let dir = directory(MESSAGES);
    for wanted in [".idx", "state."] {
        let report = check(dir.path(), |dir| {
            named(dir, wanted).iter().for_each(|name| std::fs::remove_file(dir.join(name)).unwrap());
        });
        assert!(report.is_healthy() && !report.missing.is_empty(), "{wanted}");
    }
}

#[test]
fn a_damaged_catalogue_gives_way_to_the_one_before() {
    let dir = directory(100);
    let names = named(dir.path(), "catalog.");
    for name in &names {
        let report = check(dir.path(), |dir| flip(&dir.join(name), 30));
        assert_eq!((report.findings.len(), report.findings[0].part), (1, Part::Catalog));
        assert!(!report.is_loss());
    }
    let copied = copy(dir.path());
    names.iter().for_each(|name| flip(&copied.path().join(name), 30));
    let report = report(copied.path(), true);
    assert!(report.closed && report.is_loss() && !report.is_healthy());
    assert_eq!(named(copied.path(), "catalog.").len(), names.len());
}

#[test]
fn a_cut_segment_is_filled_and_a_missing_one_is_named() {
    let dir = directory(MESSAGES);
    let name = named(dir.path(), ".seg")[1].clone();
    let report = check(dir.path(), |dir| {
        let file = std::fs::OpenOptions::new().write(true).open(dir.join(&name)).unwrap();
        file.set_len(2_000).unwrap();
    });
    assert_eq!((report.findings.len(), report.findings[0].part), (1, Part::Records));

    let copied = copy(dir.path());
    std::fs::remove_file(copied.path().join(&name)).unwrap();
    let report = self::report(copied.path(), true);
    assert_eq!(report.findings[0].part, Part::Segment);
    let held = held(copied.path());
    assert!((1..=MESSAGES).all(|seq| held.contains_key(&seq) != lost(&report).contains(&seq)));
}

#[test]
fn a_message_that_the_log_still_has_is_put_back() {
    let dir = directory(100);
    let name = named(dir.path(), ".seg").pop().unwrap();
    let report = check(dir.path(), |dir| flip(&dir.join(&name), 60));
    assert_eq!(report.findings[0].safety, Safety::Copy("the log".to_owned()), "{}", report.findings[0]);
    assert!(!report.is_loss());
}

#[test]
fn a_message_damaged_in_both_places_is_lost_and_hides_no_other() {
    let dir = directory(100);
    let segment = named(dir.path(), ".seg").pop().unwrap();
    let report = check(dir.path(), |dir| {
        let bytes = std::fs::read(dir.join(&segment)).unwrap();
        let needle = &bytes[40..72];
        flip(&dir.join(&segment), 60);
        for name in named(dir, ".wal") {
            let log = std::fs::read(dir.join(&name)).unwrap();
            if let Some(at) = log.windows(needle.len()).position(|window| window == needle) {
                flip(&dir.join(&name), at + 20);
            }
        }
    });
    assert_eq!(lost(&report).len(), 1, "{:?}", report.findings);
}

/// Five bytes anywhere, many times: all that is lost is named, all else is there, with its bytes.
#[test]
fn damage_in_many_places_is_named_and_repaired() {
    for covered in [100, MESSAGES] {
        let dir = directory(covered);
        let names: Vec<String> =
            named(dir.path(), "").into_iter().filter(|name| name != "lock" && !name.starts_with("catalog")).collect();
        let mut chance = 7u64;
        let mut below = |n: usize| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(chance >> 33).unwrap() % n
        };
        for _ in 0..8 {
            let places: Vec<(&String, usize)> = (0..5).map(|_| (&names[below(names.len())], below(1 << 20))).collect();
            check(dir.path(), |dir| {
                for (name, at) in &places {
                    let len = std::fs::metadata(dir.join(name)).unwrap().len();
                    flip(&dir.join(name), at % usize::try_from(len).unwrap());
                }
            });
        }
    }
}

#[test]
fn a_directory_in_use_is_refused() {
    let dir = directory(100);
    let _core = open(dir.path()).unwrap();
    let disk = Arc::new(RealDisk::new(dir.path()).unwrap());
    let error = verify(disk, &options(), false, &mut |_| {}).unwrap_err();
    assert!(matches!(error, VerifyError::InUse(_)), "{error}");
}

#[test]
fn an_empty_directory_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::new(dir.path()).unwrap());
    assert!(matches!(verify(disk, &options(), false, &mut |_| {}), Err(VerifyError::Nothing)));
}

#[test]
fn progress_names_every_file_once() {
    let dir = directory(MESSAGES);
    let mut seen = Vec::new();
    let disk = Arc::new(RealDisk::new(dir.path()).unwrap());
    verify(disk, &options(), false, &mut |progress| {
        assert!(progress.done == seen.len() && progress.done < progress.total);
        seen.push(progress.file.to_owned());
    })
    .unwrap();
    assert_eq!(seen.len(), 2 + named(dir.path(), ".seg").len());
}
