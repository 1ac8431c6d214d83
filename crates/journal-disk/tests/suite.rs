//! The journal's suite, held against the embedded engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use event::Moment;
use journal::Journal;
use journal::suite::Bench;
use journal_disk::{Clock, DiskJournal, Options, RealDisk};

#[derive(Default)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now(&self) -> Moment {
        Moment::from_nanos(self.0.load(Ordering::SeqCst))
    }
}

struct Disk {
    dir: tempfile::TempDir,
    clock: Arc<Hand>,
    journal: Option<Arc<DiskJournal>>,
}

fn open(dir: &tempfile::TempDir, clock: &Arc<Hand>) -> Arc<DiskJournal> {
    let options = Options { wal_file_bytes: 256 * 1024, ..Options::default() };
    let disk = Arc::new(RealDisk::new(dir.path()).expect("a directory"));
    Arc::new(DiskJournal::open(disk, options, clock.clone()).expect("an engine"))
}

impl Disk {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let clock = Arc::new(Hand(AtomicU64::new(1_700_000_000_000_000_000)));
        let journal = Some(open(&dir, &clock));
        Disk { dir, clock, journal }
    }

    fn engine(&self) -> &Arc<DiskJournal> {
        self.journal.as_ref().expect("it is open")
    }
}

impl Bench for Disk {
    fn journal(&self) -> Arc<dyn Journal> {
        self.engine().clone()
    }

    fn idle(&mut self) {
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_micros(20));
    }

    fn advance(&mut self, span: Duration) {
        self.clock.0.fetch_add(u64::try_from(span.as_nanos()).expect("short"), Ordering::SeqCst);
        self.engine().tick();
    }

    fn step_back(&mut self, span: Duration) {
        self.clock.0.fetch_sub(u64::try_from(span.as_nanos()).expect("short"), Ordering::SeqCst);
        self.engine().tick();
    }

    fn now(&self) -> Moment {
        self.clock.now()
    }

    fn durable(&self) -> bool {
        true
    }

    fn reopen(&mut self, crash: bool) {
        let journal = self.journal.take().expect("it is open");
        if !crash {
            let mut closed = journal.close();
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            while closed.as_mut().poll(&mut context).is_pending() {
                self.idle();
            }
        }
        assert!(Arc::strong_count(&journal) == 1, "somebody still holds the journal");
        drop(journal);
        self.journal = Some(open(&self.dir, &self.clock));
    }
}

journal::journal_suite!(Disk::new());
