//! What is told to whoever reads the log: an error only where something is wrong, and each once.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod bench;

use std::fmt::{Debug, Write};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use bench::faulty::Faulty;
use bench::{append, create, declared, message, open};
use event::Moment;
use journal::Journal;
use journal_disk::{DiskJournal, Options};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Metadata, Subscriber};

const NOW: Moment = Moment::from_nanos(1_000_000_000);

/// Keeps what is said, with its level.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<(Level, String)>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Kept {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push((*event.metadata().level(), text.0));
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

impl Kept {
    fn count(&self, level: Level, part: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|(each, text)| *each == level && text.contains(part)).count()
    }
}

// One test: there is one log to a process.
#[test]
fn a_clean_end_is_no_error_and_a_full_disk_is_told_once() {
    let kept = Kept::default();
    tracing::subscriber::set_global_default(kept.clone()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut core = open(dir.path(), NOW);
    create(&mut core, NOW, declared("A", "a.>"));
    append(&mut core, NOW, message("a.a", "1")).unwrap();
    core.close(NOW);
    drop(core);
    assert_eq!(kept.count(Level::ERROR, "") + kept.count(Level::WARN, ""), 0, "{:?}", kept.0);

    let (disk, faults) = Faulty::new(dir.path());
    faults.segments_full.store(true, Ordering::SeqCst);
    let options = Options { wal_file_bytes: 1024 * 1024, segment_bytes: 16 * 1024, ..Options::default() };
    let journal = DiskJournal::open(disk, options, Arc::new(|| NOW)).unwrap();
    let (told, done) = mpsc::channel();
    for _ in 0..60 {
        let told = told.clone();
        let large = message("a.a", &"x".repeat(100_000));
        journal.append(large, Box::new(move |result| told.send(result.map(|_| ())).unwrap()));
        done.recv().unwrap().unwrap();
    }
    drop(journal);
    assert_eq!(kept.count(Level::WARN, "stay in the log"), 1, "{:?}", kept.0);
}
