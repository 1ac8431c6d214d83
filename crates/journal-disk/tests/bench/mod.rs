//! What the tests of the stepped engine share.
#![allow(dead_code, clippy::unwrap_used, reason = "each test takes what it needs; a failed step fails the test")]

pub mod faulty;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use event::{Message, Moment, Pattern, Subject};
use journal::{Append, AppendError, Done, Read, Receipt, StreamConfig};
use journal_disk::disk::Disk;
use journal_disk::{Core, Op, OpenError, Options, Reader, RealDisk};

/// Sizes that reach their edges soon.
pub fn small() -> Options {
    Options { wal_file_bytes: 16 * 1024, segment_bytes: 4 * 1024, checkpoint_bytes: 8 * 1024, ..Options::default() }
}

pub fn try_open(disk: Arc<dyn Disk>, now: Moment) -> Result<Core, OpenError> {
    Core::open(disk, small(), now)
}

pub fn open(dir: &std::path::Path, now: Moment) -> Core {
    try_open(Arc::new(RealDisk::new(dir).unwrap()), now).unwrap()
}

pub fn run<T: Send + 'static>(core: &mut Core, now: Moment, op: impl FnOnce(Done<T>) -> Op) -> T {
    let slot = Arc::new(Mutex::new(None));
    let place = slot.clone();
    core.submit(op(Box::new(move |value| *place.lock().unwrap() = Some(value))));
    core.commit(now);
    let value = slot.lock().unwrap().take();
    value.unwrap()
}

pub fn append(core: &mut Core, now: Moment, append: Append) -> Result<Receipt, AppendError> {
    run(core, now, |done| Op::Append(append, done))
}

pub fn message(subject: &str, payload: &str) -> Append {
    Append::new(Message::new(Subject::parse(subject).unwrap(), Bytes::copy_from_slice(payload.as_bytes())))
}

pub fn declared(name: &str, pattern: &str) -> StreamConfig {
    StreamConfig::new(name, [Pattern::parse(pattern).unwrap()])
}

pub fn create(core: &mut Core, now: Moment, config: StreamConfig) {
    run(core, now, |done| Op::Create(config, done)).unwrap();
}

/// A stream's messages, and the positions found damaged.
pub fn all_and_damaged(core: &Core, stream: &str) -> (Vec<(u64, String, Bytes)>, Vec<u64>) {
    let reader = Reader::new(core.directory());
    let (mut from, mut found, mut damaged) = (1, Vec::new(), Vec::new());
    loop {
        let page = reader.page(stream, &Read::from(from, 7)).unwrap();
        damaged.extend(page.damaged);
        found.extend(
            page.messages
                .into_iter()
                .map(|each| (each.seq, each.message.subject.as_str().to_owned(), each.message.payload)),
        );
        from = page.next;
        if page.next > page.last {
            return (found, damaged);
        }
    }
}

pub fn all(core: &Core, stream: &str) -> Vec<(u64, String, Bytes)> {
    let (found, damaged) = all_and_damaged(core, stream);
    assert!(damaged.is_empty(), "{damaged:?}");
    found
}
