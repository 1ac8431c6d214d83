//! The offline check of a data directory, on this machine's disk.
//!
//! The check itself is the engine's; here it is given a directory and never makes one.

use std::io;
use std::path::Path;
use std::sync::Arc;

use journal_disk::{Options, RealDisk};

pub use journal_disk::verify::{Finding, Part, Progress, Report, Safety, StreamReport, VerifyError};

/// Checks a data directory that no node has open; with `repair` it moves damaged ranges aside.
///
/// # Errors
/// [`VerifyError`]. Damage is no error: it is what the report tells.
pub fn verify(directory: &Path, repair: bool, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Report, VerifyError> {
    if !directory.is_dir() {
        let what = format!("there is no directory {}", directory.display());
        return Err(VerifyError::Io(io::Error::new(io::ErrorKind::NotFound, what)));
    }
    let disk = Arc::new(RealDisk::new(directory)?);
    journal_disk::verify::verify(disk, &Options::default(), repair, progress)
}
