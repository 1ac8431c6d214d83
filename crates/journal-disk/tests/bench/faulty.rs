//! A disk that fails when told to.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use journal_disk::RealDisk;
use journal_disk::disk::{Disk, File};

/// The faults that are on.
#[derive(Debug)]
pub struct Faults {
    /// Whether there is no room for more.
    pub full: AtomicBool,
    /// Whether there is no room for a segment.
    pub segments_full: AtomicBool,
    /// So many syncs of data go well, and one then fails. Negative: none fails.
    pub syncs: AtomicI64,
}

pub struct Faulty {
    disk: RealDisk,
    faults: Arc<Faults>,
}

struct FaultyFile {
    file: Arc<dyn File>,
    faults: Arc<Faults>,
}

impl Faulty {
    pub fn new(dir: &Path) -> (Arc<Faulty>, Arc<Faults>) {
        let faults = Arc::new(Faults { full: false.into(), segments_full: false.into(), syncs: AtomicI64::new(-1) });
        (Arc::new(Faulty { disk: RealDisk::new(dir).unwrap(), faults: faults.clone() }), faults)
    }

    fn wrap(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(FaultyFile { file, faults: self.faults.clone() })
    }
}

fn check(full: &AtomicBool) -> io::Result<()> {
    if full.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
}

impl Disk for Faulty {
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        check(&self.faults.full)?;
        if path.ends_with(".seg") {
            check(&self.faults.segments_full)?;
        }
        Ok(self.wrap(self.disk.create(path)?))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        Ok(self.wrap(self.disk.open(path)?))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn make_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.make_dir(dir)
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.remove_dir(dir)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        self.disk.lock()
    }
}

impl File for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if offset + bytes.len() as u64 > self.file.len()? {
            check(&self.faults.full)?;
        }
        self.file.write_at(bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        check(&self.faults.full)?;
        self.file.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.faults.syncs.load(Ordering::SeqCst) >= 0 && self.faults.syncs.fetch_sub(1, Ordering::SeqCst) == 0 {
            return Err(io::Error::other("the sync failed"));
        }
        self.file.sync_data()
    }
}
