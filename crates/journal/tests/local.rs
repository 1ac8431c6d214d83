//! The suite, on the engine in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use event::Moment;
use journal::Journal;
use journal::local::Local;
use journal::suite::Bench;

struct InMemory {
    nanos: Arc<AtomicU64>,
    journal: Arc<Local>,
}

impl InMemory {
    fn new() -> Self {
        let nanos = Arc::new(AtomicU64::new(1_700_000_000_000_000_000));
        let clock = nanos.clone();
        let journal = Arc::new(Local::new(Arc::new(move || Moment::from_nanos(clock.load(Ordering::SeqCst)))));
        InMemory { nanos, journal }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).expect("a span of a story")
}

impl Bench for InMemory {
    fn journal(&self) -> Arc<dyn Journal> {
        self.journal.clone()
    }

    fn idle(&mut self) {
        self.journal.tick();
    }

    fn advance(&mut self, span: Duration) {
        self.nanos.fetch_add(nanos(span), Ordering::SeqCst);
        self.journal.tick();
    }

    fn step_back(&mut self, span: Duration) {
        self.nanos.fetch_sub(nanos(span), Ordering::SeqCst);
        self.journal.tick();
    }

    fn now(&self) -> Moment {
        Moment::from_nanos(self.nanos.load(Ordering::SeqCst))
    }

    fn durable(&self) -> bool {
        false
    }

    fn reopen(&mut self, _crash: bool) {}
}

journal::journal_suite!(InMemory::new());
