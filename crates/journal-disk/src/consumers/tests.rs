//! Too many notices: none of those who wait is forgotten.

use std::sync::atomic::AtomicBool;
use std::sync::mpsc;

use event::{Message, Subject};
use journal::{Delivery, Journal, StreamConfig};

use super::*;
use crate::{DiskJournal, Options, RealDisk};

struct Frozen;

impl Clock for Frozen {
    fn now(&self) -> Moment {
        Moment::from_nanos(1_000_000_000)
    }
}

/// Takes deliveries; the first one waits for the gate, and with it the desk.
struct Slow {
    gate: Option<mpsc::Receiver<()>>,
    came: mpsc::Sender<Delivery>,
    entered: Arc<AtomicBool>,
}

impl Sink for Slow {
    fn deliver(&mut self, delivery: Delivery) -> Want {
        if let Some(gate) = self.gate.take() {
            self.entered.store(true, Ordering::SeqCst);
            gate.recv().unwrap();
        }
        self.came.send(delivery).unwrap();
        Want::More
    }

    fn ready(&mut self) -> Option<bool> {
        Some(true)
    }

    fn end(self: Box<Self>, _end: FetchEnd) {}
}

fn wait<T>(mut answer: Answer<T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(value) = answer.as_mut().poll(&mut context) {
            return value;
        }
        thread::yield_now();
    }
}

fn append(journal: &DiskJournal, subject: &str) {
    let (told, done) = mpsc::channel();
    let message = Message::new(Subject::parse(subject).unwrap(), Bytes::from_static(b"x"));
    journal.append(Append::new(message), Box::new(move |result| told.send(result.map(|_| ())).unwrap()));
    done.recv().unwrap().unwrap();
}

fn push() -> Fetch {
    Fetch { batch: u64::MAX, bytes: None, wait: Some(Duration::from_secs(60)), ..Fetch::default() }
}

#[test]
fn notices_beyond_the_limit_come_to_one_and_everybody_still_gets_everything() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::new(dir.path()).unwrap());
    let options = Options { wal_file_bytes: 256 * 1024, ..Options::default() };
    let journal = DiskJournal::open(disk, options, Arc::new(Frozen)).unwrap();
    wait(journal.stream_create(StreamConfig::new("S", [Pattern::parse("s.>").unwrap()]))).unwrap();
    for (name, filter) in [("slow", "s.first"), ("every", "s.>"), ("late", "s.late")] {
        let config = ConsumerConfig { filters: vec![Pattern::parse(filter).unwrap()], ..ConsumerConfig::new(name) };
        wait(journal.consumer_create("S", config)).unwrap();
    }
    let (open, gate) = mpsc::channel();
    let entered = Arc::new(AtomicBool::new(false));
    let sink = |gate, came: &mpsc::Sender<Delivery>| Slow { gate, came: came.clone(), entered: entered.clone() };
    let ((slow, _slow), (every, all), (late, last)) = (mpsc::channel(), mpsc::channel(), mpsc::channel());
    journal.fetch("S", "every", push(), Box::new(sink(None, &every)));
    journal.fetch("S", "late", push(), Box::new(sink(None, &late)));
    // So many turns of the desk are enough for both to find that nothing is there.
    for _ in 0..200 {
        wait(journal.consumer_info("S", "late")).unwrap();
    }
    journal.fetch("S", "slow", push(), Box::new(sink(Some(gate), &slow)));
    append(&journal, "s.first");
    while !entered.load(Ordering::SeqCst) {
        thread::yield_now();
    }
    // The desk stands still until the gate opens.
    for _ in 0..3 * NOTICES_MAX {
        append(&journal, "s.more");
    }
    append(&journal, "s.late");
    let queue = journal.way().queue.lock();
    assert!(queue.notices <= NOTICES_MAX && queue.events.len() <= NOTICES_MAX + 2, "{}", queue.notices);
    assert_eq!(queue.grown.len(), 1);
    drop(queue);
    open.send(()).unwrap();
    let total = 3 * NOTICES_MAX as u64 + 2;
    assert_eq!(last.recv().unwrap().stored.seq, total);
    for seq in 1..=total {
        assert_eq!(all.recv().unwrap().stored.seq, seq);
    }
    // And all of it goes on.
    append(&journal, "s.late");
    assert_eq!(last.recv().unwrap().stored.seq, total + 1);
    assert_eq!(all.recv().unwrap().stored.seq, total + 1);
}
