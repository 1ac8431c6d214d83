//! What many streams, subjects and message ids cost: time, syncs of the log, memory of the process.
//!
//! ```text
//! scale DIR streams COUNT          creates so many streams, each awaited
//! scale DIR subjects COUNT         so many messages of 128 bytes, each on a subject of its own
//! scale DIR spread COUNT           so many on 10,000 subjects in turn
//! scale DIR ids COUNT              so many on one subject, each with an id
//! scale DIR plain COUNT            so many on one subject
//! scale DIR open                   opens it
//! ```
//! A word `kill` at the end leaves the directory as a kill would; a word `rest` waits until what was
//! recorded is moved into the segments before the memory is looked at.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use event::{Message, Moment, Pattern, Subject};
use journal::{Append, Journal, StreamConfig};
use journal_disk::disk::{Disk, File};
use journal_disk::{DiskJournal, Options, RealDisk};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Appends outstanding.
const OUTSTANDING: u64 = 256;

fn now() -> Moment {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Moment::EPOCH.after(since)
}

/// A disk that counts syncs, those of files and of directories.
struct Counting {
    disk: RealDisk,
    syncs: Arc<AtomicU64>,
}

struct CountingFile(Arc<dyn File>, Arc<AtomicU64>);

impl Counting {
    fn wrap(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(CountingFile(file, self.syncs.clone()))
    }
}

impl Disk for Counting {
    fn create(&self, path: &str) -> std::io::Result<Arc<dyn File>> {
        Ok(self.wrap(self.disk.create(path)?))
    }
    fn open(&self, path: &str) -> std::io::Result<Arc<dyn File>> {
        Ok(self.wrap(self.disk.open(path)?))
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
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.disk.sync_dir(dir)
    }
    fn lock(&self) -> std::io::Result<Box<dyn Send + Sync>> {
        self.disk.lock()
    }
}

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

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (Some(folder), Some(verb)) = (words.first(), words.get(1)) else {
        return Err("scale DIR streams|subjects|spread|ids|plain COUNT [rest] [kill], or scale DIR open".into());
    };
    let count: u64 = words.get(2).and_then(|word| word.parse().ok()).unwrap_or(1);
    let syncs = Arc::new(AtomicU64::new(0));
    let disk = Counting { disk: RealDisk::new(Path::new(folder))?, syncs: syncs.clone() };
    let begun = Instant::now();
    let journal = DiskJournal::open(Arc::new(disk), Options::default(), Arc::new(now))?;
    println!("opened in {:.1} ms, {:.1} MiB", millis(begun), memory());
    let (begun, cpu, before) = (Instant::now(), cpu_seconds(), syncs.load(Ordering::Relaxed));
    match verb.as_str() {
        "open" => println!("{} streams", wait(journal.streams()).len()),
        "streams" => {
            for number in 0..count {
                let subjects = [Pattern::parse(&format!("many.s{number}.>"))?];
                wait(journal.stream_create(StreamConfig::new(format!("S{number}"), subjects)))?;
            }
        }
        kind => append(&journal, kind, count)?,
    }
    println!(
        "{verb}: {:.1} ms, {:.2} s of CPU, {} syncs, {:.1} MiB, at most {:.1} MiB",
        millis(begun),
        cpu_seconds() - cpu,
        syncs.load(Ordering::Relaxed) - before,
        memory(),
        peak()
    );
    if words.iter().any(|word| word == "rest") {
        std::thread::sleep(Duration::from_secs(3));
        println!("at rest: {:.1} MiB", memory());
    }
    if !words.iter().any(|word| word == "kill") {
        let begun = Instant::now();
        wait(journal.close());
        println!("closed in {:.1} ms, {:.1} MiB", millis(begun), memory());
    }
    Ok(())
}

fn append(journal: &DiskJournal, kind: &str, count: u64) -> Outcome<()> {
    match wait(journal.stream_create(StreamConfig::new("EVENTS", [Pattern::parse("events.>")?]))) {
        Ok(_) | Err(journal::StreamError::Exists(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let payload = Bytes::from(vec![b'x'; 128]);
    let (done, answers) = sync_channel(usize::try_from(OUTSTANDING)?);
    for number in 0..count {
        if number >= OUTSTANDING {
            answers.recv()??;
        }
        let own = match kind {
            "subjects" => number,
            "spread" => number * 7919 % 10_000,
            _ => 0,
        };
        let message = Message::new(Subject::parse(&format!("events.f{own:08}"))?, payload.clone());
        let mut append = Append::new(message);
        append.id = (kind == "ids").then(|| Bytes::from(format!("the-id-of-{number:012}")));
        let done = done.clone();
        // There is room for every answer that is outstanding.
        journal.append(append, Box::new(move |receipt| drop(done.try_send(receipt))));
    }
    for _ in 0..count.min(OUTSTANDING) {
        answers.recv()??;
    }
    Ok(())
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// A line of the process's status, in MiB.
fn status(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap_or(0.0) / 1024.0
}

/// Resident memory, in MiB.
fn memory() -> f64 {
    status("VmRSS:")
}

fn peak() -> f64 {
    status("VmHWM:")
}

/// Time of processors that this process took, in seconds.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let ticks = behind.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<f64>().ok()).sum::<f64>();
    ticks / 100.0
}

struct Unpark(std::thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for an answer without an executor.
fn wait<T>(mut answer: journal::Answer<T>) -> T {
    let waker = std::task::Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = std::task::Context::from_waker(&waker);
    loop {
        match answer.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => return value,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}
