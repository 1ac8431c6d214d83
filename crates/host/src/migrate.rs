//! Moving a data directory, of which no node runs, to a NATS JetStream server or cluster.
//!
//! How is told in `journal_jetstream::migrate`; here both ends are opened. The directory is only read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use journal::Journal;
use journal_disk::{DiskJournal, Options, RealDisk};
use journal_jetstream::{ConnectError, Credentials, JetStream};
use thiserror::Error;
use tokio::runtime::Builder;

use crate::clock;

pub use journal_jetstream::{Address, MigrateError, Moved, Progress};

/// Where to.
#[derive(Debug, Clone)]
pub struct Target {
    /// The servers.
    pub servers: Address,
    /// Copies of each stream.
    pub replicas: u8,
    /// What lets us in.
    pub creds: Option<PathBuf>,
}

/// Why a move did not take place, or stopped.
#[derive(Debug, Error)]
pub enum MoveError {
    /// The directory cannot be opened: it is none, or a node has it.
    #[error("cannot open the data directory {}: {reason}", path.display())]
    Source {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The servers cannot be used.
    #[error(transparent)]
    Target(ConnectError),
    /// It stopped on the way. A second run goes on.
    #[error(transparent)]
    Stopped(Box<MigrateError>),
}

/// Copies all streams and durable consumers.
///
/// # Errors
/// [`MoveError`]; nothing is changed in the directory.
pub fn migrate(from: &Path, to: Target, progress: impl FnMut(Progress) + Send) -> Result<Vec<Moved>, MoveError> {
    let refused = |reason: String| MoveError::Source { path: from.to_owned(), reason };
    if !from.is_dir() {
        return Err(refused(String::from("there is no such directory")));
    }
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| refused(error.to_string()))?;
    let options = journal_jetstream::Options {
        credentials: to.creds.map(Credentials::File),
        replicas: to.replicas,
        name: String::from("tidings migrate"),
        ..journal_jetstream::Options::new(to.servers)
    };
    let target = runtime.block_on(JetStream::connect(options)).map_err(MoveError::Target)?;
    let disk = RealDisk::new(from).map_err(|error| refused(error.to_string()))?;
    let source = DiskJournal::open(Arc::new(disk), Options::default(), Arc::new(clock::now))
        .map_err(|error| refused(error.to_string()))?;
    let source: Arc<dyn Journal> = Arc::new(source);
    let moved = runtime.block_on(journal_jetstream::migrate(Arc::clone(&source), &target, progress));
    runtime.block_on(source.close());
    runtime.block_on(target.close());
    moved.map_err(|error| MoveError::Stopped(Box::new(error)))
}
