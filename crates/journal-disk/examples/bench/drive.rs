//! Drives a journal from one thread, so cheaply that the journal is what is measured.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use event::{Message, Moment, Pattern, Subject};
use journal::{Append, Journal, StreamConfig};
use journal_disk::disk::{Disk, File};
use journal_disk::{DiskJournal, Options, RealDisk};

use crate::Outcome;

pub const STREAM: &str = "BENCH";
/// How long the driving thread looks for answers before it sleeps: longer than a sync, so that what
/// is measured is the journal, and not how long this machine takes to wake a thread of the load.
const SPIN: Duration = Duration::from_millis(2);

pub fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(0))
}

/// A disk that counts the syncs of the log.
pub struct Counting {
    disk: RealDisk,
    pub syncs: Arc<AtomicU64>,
}

impl Counting {
    pub fn new(dir: &Path) -> Outcome<Self> {
        Ok(Counting { disk: RealDisk::new(dir)?, syncs: Arc::default() })
    }

    fn wrap(&self, path: &str, file: Arc<dyn File>) -> Arc<dyn File> {
        if path.starts_with("wal/") { Arc::new(CountingFile(file, self.syncs.clone())) } else { file }
    }
}

impl Disk for Counting {
    fn create(&self, path: &str) -> std::io::Result<Arc<dyn File>> {
        Ok(self.wrap(path, self.disk.create(path)?))
    }
    fn open(&self, path: &str) -> std::io::Result<Arc<dyn File>> {
        Ok(self.wrap(path, self.disk.open(path)?))
    }
    fn list(&self, dir: &str) -> std::io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &str) -> std::io::Result<()> {
        self.disk.remove(path)
    }
    fn make_dir(&self, dir: &str) -> std::io::Result<()> {
        self.disk.make_dir(dir)
    }
    fn remove_dir(&self, dir: &str) -> std::io::Result<()> {
        self.disk.remove_dir(dir)
    }
    fn sync_dir(&self, dir: &str) -> std::io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn lock(&self) -> std::io::Result<Box<dyn Send + Sync>> {
        self.disk.lock()
    }
}

struct CountingFile(Arc<dyn File>, Arc<AtomicU64>);

impl File for CountingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        self.0.write_at(bytes, offset)
    }
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
    fn allocate(&self, len: u64) -> std::io::Result<()> {
        self.0.allocate(len)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.sync_data()
    }
}

pub fn open_on(disk: Arc<dyn Disk>) -> Outcome<DiskJournal> {
    let options = Options { seed: [0x5eed, 0xbeef], ..Options::default() };
    Ok(DiskJournal::open(disk, options, Arc::new(now))?)
}

pub fn open(dir: &Path) -> Outcome<DiskJournal> {
    open_on(Arc::new(RealDisk::new(dir)?))
}

pub fn create(journal: &DiskJournal) -> Outcome<()> {
    let config = StreamConfig::new(STREAM, [Pattern::parse("events.>")?]);
    wait(journal.stream_create(config))?;
    Ok(())
}

/// A subject of 20 bytes.
pub fn subject(number: u64) -> Outcome<Subject> {
    Ok(Subject::parse(&format!("events.device.{number:06}"))?)
}

/// Messages of a payload of so many bytes, over so many subjects, made ahead.
pub struct Load {
    subjects: Vec<Subject>,
    payload: Bytes,
}

impl Load {
    pub fn new(subjects: u64, payload: usize) -> Outcome<Self> {
        let subjects = (0..subjects).map(subject).collect::<Outcome<_>>()?;
        Ok(Load { subjects, payload: vec![b'x'; payload].into() })
    }

    pub fn message(&self, number: u64) -> Message {
        let place = usize::try_from(number).unwrap_or(0) % self.subjects.len();
        Message::new(self.subjects[place].clone(), self.payload.clone())
    }
}

/// Answers that came, and who waits for them.
struct Answers {
    count: AtomicU64,
    failed: AtomicU64,
    sleeping: AtomicBool,
    driver: Thread,
}

/// Appends `count` messages with `flying` in flight; returns how long it took.
pub fn append(journal: &DiskJournal, load: &Load, count: u64, flying: u64) -> Outcome<Duration> {
    let answers = Arc::new(Answers {
        count: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        sleeping: AtomicBool::new(false),
        driver: thread::current(),
    });
    let start = Instant::now();
    let (mut sent, mut seen) = (0, 0);
    while seen < count {
        while sent < count && sent - seen < flying {
            let answers = answers.clone();
            let told = Box::new(move |result: Result<journal::Receipt, journal::AppendError>| {
                answers.failed.fetch_add(u64::from(result.is_err()), Ordering::Relaxed);
                answers.count.fetch_add(1, Ordering::SeqCst);
                if answers.sleeping.load(Ordering::SeqCst) && answers.sleeping.swap(false, Ordering::SeqCst) {
                    answers.driver.unpark();
                }
            });
            journal.append(Append::new(load.message(sent)), told);
            sent += 1;
        }
        seen = await_more(&answers, seen);
    }
    let took = start.elapsed();
    match answers.failed.load(Ordering::SeqCst) {
        0 => Ok(took),
        failed => Err(format!("{failed} of {count} appends were refused").into()),
    }
}

fn await_more(answers: &Answers, seen: u64) -> u64 {
    let start = Instant::now();
    loop {
        let count = answers.count.load(Ordering::SeqCst);
        if count > seen {
            return count;
        }
        if start.elapsed() < SPIN {
            thread::yield_now();
            continue;
        }
        answers.sleeping.store(true, Ordering::SeqCst);
        if answers.count.load(Ordering::SeqCst) == seen {
            thread::park_timeout(Duration::from_millis(100));
        }
        answers.sleeping.store(false, Ordering::SeqCst);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for an answer on this thread.
pub fn wait<T>(answer: impl Future<Output = T>) -> T {
    let mut answer = pin!(answer);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match answer.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}
