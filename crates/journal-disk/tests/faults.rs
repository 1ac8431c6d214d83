//! Disks that fail: nothing acknowledged is lost, what is refused is said, and what is healthy is read.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod bench;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use bench::faulty::Faulty;
use bench::{all, all_and_damaged, append, create, declared, message, open, run, small, try_open};
use event::{Moment, Pattern};
use journal::{Append, AppendError, Journal, Read, Storage, StreamConfig};
use journal_disk::{Clock, Core, DiskJournal, Op, Options, Reader};

const NOW: Moment = Moment::from_nanos(1_000_000_000);

fn numbered(number: u64) -> Append {
    message(&format!("a.{}", number % 5), &format!("{number}-{}", "x".repeat(300)))
}

/// What was acknowledged is there, once, in order, and nothing else.
fn holds(core: &Core, acknowledged: &[(u64, u64)]) {
    let found: Vec<_> = all(core, "A").into_iter().map(|(seq, _, payload)| (seq, payload)).collect();
    let wanted: Vec<_> = acknowledged.iter().map(|(seq, number)| (*seq, numbered(*number).message.payload)).collect();
    assert_eq!(found, wanted);
}

/// Appends until one is refused; what was acknowledged, and the refusal.
fn fill(core: &mut Core, acknowledged: &mut Vec<(u64, u64)>, from: u64) -> AppendError {
    for number in from..from + 10_000 {
        match append(core, NOW, numbered(number)) {
            Ok(receipt) => acknowledged.push((receipt.seq, number)),
            Err(error) => return error,
        }
    }
    panic!("nothing was refused");
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room_again() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, faults) = Faulty::new(dir.path());
    let mut core = try_open(disk.clone(), NOW).unwrap();
    create(&mut core, NOW, declared("A", "a.>"));
    let mut acknowledged = Vec::new();
    faults.full.store(true, Ordering::SeqCst);
    let error = fill(&mut core, &mut acknowledged, 0);
    assert!(matches!(error, AppendError::Storage(_)), "{error:?}");
    assert!(core.refusing().is_some() && core.closed().is_none());
    assert!(core.checkpoint(NOW).is_err());
    holds(&core, &acknowledged);
    faults.full.store(false, Ordering::SeqCst);
    core.tick(NOW);
    assert_eq!(core.refusing(), None);
    let receipt = append(&mut core, NOW, numbered(77)).unwrap();
    acknowledged.push((receipt.seq, 77));
    holds(&core, &acknowledged);
    core.checkpoint(NOW).unwrap();
    drop(core);
    holds(&try_open(disk, NOW).unwrap(), &acknowledged);
}

#[test]
fn a_failed_sync_closes_and_opening_anew_has_exactly_what_was_acknowledged() {
    for after in [0, 1, 7, 40] {
        let dir = tempfile::tempdir().unwrap();
        let (disk, faults) = Faulty::new(dir.path());
        let mut core = try_open(disk.clone(), NOW).unwrap();
        create(&mut core, NOW, declared("A", "a.>"));
        let mut acknowledged = Vec::new();
        faults.syncs.store(after, Ordering::SeqCst);
        let error = fill(&mut core, &mut acknowledged, 0);
        match &error {
            // The sync of a commit: whether its message is on the disk nobody knows.
            AppendError::Closed(_) => {
                assert!(core.closed().is_some());
                let again = append(&mut core, NOW, numbered(0)).unwrap_err();
                assert!(matches!(again, AppendError::Closed(_)), "{again:?}");
            }
            // The sync of a new file of the log: nothing was written to it.
            other => assert!(matches!(other, AppendError::Storage(_)), "{other:?}"),
        }
        drop(core);
        let core = try_open(disk, NOW).unwrap();
        let found = all(&core, "A");
        let (kept, unknown) = found.split_at(acknowledged.len());
        assert!(kept.iter().map(|each| each.0).eq(acknowledged.iter().map(|each| each.0)), "{after}");
        assert!(unknown.len() <= usize::from(matches!(error, AppendError::Closed(_))), "{after} {unknown:?}");
    }
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let stream = dir.join("streams/00000001");
    let mut found: Vec<_> = fs::read_dir(stream).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|suffix| suffix == "seg"));
    found.sort();
    found
}

/// A store of 60 messages at rest, in several segments.
fn at_rest() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut core = open(dir.path(), NOW);
    create(&mut core, NOW, declared("A", "a.>"));
    for number in 0..60 {
        append(&mut core, NOW, numbered(number)).unwrap();
    }
    core.close(NOW);
    assert!(segments(dir.path()).len() > 3);
    dir
}

#[test]
fn a_flipped_byte_in_a_segment_is_named_and_what_is_behind_it_is_read() {
    let dir = at_rest();
    let path = segments(dir.path())[1].clone();
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    // In the payload of the segment's first record.
    file.read_exact_at(&mut byte, 32 + 200).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 32 + 200).unwrap();
    let core = open(dir.path(), NOW);
    let (found, damaged) = all_and_damaged(&core, "A");
    assert_eq!(damaged.len(), 1);
    let wanted: Vec<u64> = (1..=60).filter(|seq| *seq != damaged[0]).collect();
    assert_eq!(found.iter().map(|each| each.0).collect::<Vec<_>>(), wanted);
    let error = Reader::new(core.directory()).get("A", damaged[0]).unwrap_err();
    assert_eq!(error, journal::ReadError::Damaged(damaged[0]));
}

#[test]
fn a_lost_index_is_made_anew() {
    let dir = at_rest();
    for entry in fs::read_dir(dir.path().join("streams/00000001")).unwrap().map(Result::unwrap) {
        if entry.path().extension().is_some_and(|suffix| suffix == "idx") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let core = open(dir.path(), NOW);
    let read = Read { filters: vec![Pattern::parse("a.3").unwrap()], ..Read::from(1, 1000) };
    let page = Reader::new(core.directory()).page("A", &read).unwrap();
    let wanted: Vec<u64> = (0..60).filter(|number| number % 5 == 3).map(|number| number + 1).collect();
    assert_eq!(page.messages.iter().map(|each| each.seq).collect::<Vec<_>>(), wanted);
    assert_eq!(all(&core, "A").len(), 60);
}

#[test]
fn a_torn_tail_is_cut_and_the_next_message_takes_its_position() {
    let dir = tempfile::tempdir().unwrap();
    let mut core = open(dir.path(), NOW);
    create(&mut core, NOW, declared("A", "a.>"));
    for number in 0..10 {
        append(&mut core, NOW, numbered(number)).unwrap();
    }
    let end = core.log_end();
    drop(core);
    let slot_bytes = small().wal_file_bytes;
    let path = dir.path().join(format!("wal/{:016x}.wal", (end - 1) / slot_bytes));
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[0; 100], end % slot_bytes - 100).unwrap();
    let mut core = open(dir.path(), NOW);
    assert!(core.recovered().cut > 0 && core.recovered().damage.is_empty(), "{:?}", core.recovered());
    assert_eq!(all(&core, "A").len(), 9);
    assert_eq!(append(&mut core, NOW, numbered(10)).unwrap().seq, 10);
    drop(core);
    assert_eq!(all(&open(dir.path(), NOW), "A").len(), 10);
}

#[test]
fn a_stream_in_memory_uses_no_position_twice() {
    let dir = tempfile::tempdir().unwrap();
    let config = StreamConfig { storage: Storage::Memory, ..declared("M", "m.>") };
    let mut core = open(dir.path(), NOW);
    create(&mut core, NOW, config);
    let mut last = 0;
    for life in 0..6u64 {
        for _ in 0..=life * 3 {
            let receipt = append(&mut core, NOW, message("m.m", "1")).unwrap();
            assert!(receipt.seq > last, "{life}: {} after {last}", receipt.seq);
            last = receipt.seq;
        }
        match life % 3 {
            0 => {}
            1 => core.checkpoint(NOW).unwrap(),
            // The next life begins right behind a clean end.
            _ => core.close(NOW),
        }
        drop(core);
        core = open(dir.path(), NOW);
        let state = core.info("M").unwrap().state;
        assert_eq!((state.messages, state.last + 1), (0, state.first));
        assert!(if life % 3 == 2 { state.last == last } else { state.last >= last }, "{life} {state:?}");
    }
}

struct Frozen;

impl Clock for Frozen {
    fn now(&self) -> Moment {
        NOW
    }
}

#[test]
fn who_is_refused_finds_the_engine_not_ready() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, faults) = Faulty::new(dir.path());
    let options = Options { wal_file_bytes: 128 * 1024, ..Options::default() };
    let journal = Arc::new(DiskJournal::open(disk, options, Arc::new(Frozen)).unwrap());
    let mut created = journal.stream_create(declared("A", "a.>"));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    while created.as_mut().poll(&mut context).is_pending() {
        std::thread::yield_now();
    }
    let (told, seen) = mpsc::channel();
    for number in 0..2000 {
        if number == 5 {
            faults.full.store(true, Ordering::SeqCst);
        }
        let (asked, told) = (Arc::downgrade(&journal), told.clone());
        // Asked within the answer: nothing came between.
        journal.append(
            numbered(number),
            Box::new(move |result| {
                told.send((result.is_err(), asked.upgrade().unwrap().health().refusing.is_some())).unwrap();
            }),
        );
        let (refused, not_ready) = seen.recv().unwrap();
        assert_eq!(refused, not_ready, "{number}");
        if refused {
            return;
        }
    }
    panic!("nothing was refused");
}

#[test]
fn an_update_in_a_closed_engine_is_refused() {
    let dir = at_rest();
    let mut core = open(dir.path(), NOW);
    core.close(NOW);
    let refused = run(&mut core, NOW, |done| Op::Create(declared("B", "b.>"), done));
    assert!(matches!(refused, Err(journal::StreamError::Closed(_))), "{refused:?}");
}
