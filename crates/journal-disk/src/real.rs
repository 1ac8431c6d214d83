//! A directory of the operating system as a [`Disk`].
//!
//! The lock is advisory (`flock`) on the file `lock`, which also holds the process id of its owner.

use std::fs;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use crate::disk::{Disk, File, is_hurried, would_wait};

/// Mode of new directories: what people recorded is not for everyone on the machine.
const DIR_MODE: u32 = 0o700;
/// Name of the lock's file.
const LOCK: &str = "lock";

/// A directory tree of the operating system.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    /// The tree under `root`, which is created where it does not exist.
    ///
    /// # Errors
    /// What the operating system says of creating it.
    pub fn new(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        make_private(&root)?;
        Ok(RealDisk { root })
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }
}

fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(path)
}

fn open(path: &Path, create: bool) -> io::Result<fs::File> {
    fs::OpenOptions::new().read(true).write(true).create_new(create).open(path)
}

impl Disk for RealDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(RealFile(open(&self.path(path), true)?)))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        if is_hurried() {
            return Err(would_wait());
        }
        let path = self.path(path);
        match open(&path, false) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Ok(Arc::new(RealFile(fs::File::open(&path)?)))
            }
            other => Ok(Arc::new(RealFile(other?))),
        }
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path(dir))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.path(path))
    }

    fn make_dir(&self, dir: &str) -> io::Result<()> {
        make_private(&self.path(dir))
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        fs::remove_dir_all(self.path(dir))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        fs::File::open(self.path(dir))?.sync_all()
    }

    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        let path = self.path(LOCK);
        let mut file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        match rustix::fs::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let holder = fs::read_to_string(&path).unwrap_or_default();
                let said = format!(
                    "the data directory '{}' is in use by another node (process {}); stop it, or choose another directory",
                    self.root.display(),
                    holder.trim()
                );
                return Err(io::Error::new(io::ErrorKind::WouldBlock, said));
            }
            Err(error) => return Err(error.into()),
        }
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Box::new(file))
    }
}

struct RealFile(fs::File);

impl RealFile {
    /// Reads what the operating system has in memory.
    fn read_cached(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let mut into = [io::IoSliceMut::new(rest)];
            match preadv2(&self.0, &mut into, offset + filled as u64, ReadWriteFlags::NOWAIT) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                // A file system that does not know the question would wait, for all that is known.
                Err(Errno::AGAIN | Errno::OPNOTSUPP) => return Err(would_wait()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(filled)
    }
}

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if is_hurried() {
            return self.read_cached(buffer, offset);
        }
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self.0.as_fd(), FallocateFlags::empty(), 0, len) {
            // A filesystem without the call keeps room only for what is written.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                if self.len()? < len {
                    self.0.set_len(len)?;
                }
                Ok(())
            }
            other => Ok(other?),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
