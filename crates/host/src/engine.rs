//! The engines, named here and nowhere else.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use journal::Journal;
use journal::local::Local;
use journal_disk::disk::Disk;
use journal_disk::{DiskJournal, OpenError, Options, RealDisk};
use journal_jetstream::{Credentials, JetStream};
use tokio::runtime::Runtime;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::clock;
use crate::config::{Config, Engine, Sync};
use crate::entropy;
use crate::error::StartError;

/// How long the journal in memory may oversleep what an earlier verb has made due.
const TICK_MAX: Duration = Duration::from_millis(20);

/// Damages that are named one by one in the log; `tidings verify` names all.
const DAMAGE_NAMED_MAX: usize = 20;

/// A journal, and what holds the data directory for this process while it is open.
pub(crate) struct Opened {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) hold: Option<Box<dyn Any + Send>>,
}

/// Opens the journal that the configuration names, and takes the data directory.
pub(crate) fn open(config: &Config, runtime: &Runtime) -> Result<Opened, StartError> {
    let refused = |error: OpenError| match error {
        OpenError::InUse(holder) => StartError::InUse(holder),
        other => StartError::Data { path: config.data.clone(), reason: other.to_string() },
    };
    let disk = RealDisk::new(&config.data).map_err(|error| refused(error.into()))?;
    match &config.engine {
        Engine::Disk => {
            let journal = open_disk(config, disk).map_err(refused)?;
            Ok(Opened { journal: Arc::new(journal), hold: None })
        }
        Engine::Memory => {
            let hold = disk.lock().map_err(|error| match error.kind() {
                std::io::ErrorKind::WouldBlock => StartError::InUse(error.to_string()),
                _ => refused(error.into()),
            })?;
            Ok(Opened { journal: open_memory(runtime), hold: Some(Box::new(hold)) })
        }
        Engine::Nats(address) => {
            let hold = disk.lock().map_err(|error| match error.kind() {
                std::io::ErrorKind::WouldBlock => StartError::InUse(error.to_string()),
                _ => refused(error.into()),
            })?;
            let options = journal_jetstream::Options {
                credentials: config.engine_creds.clone().map(Credentials::File),
                replicas: config.replicas,
                name: format!("tidings {}", config.node),
                ..journal_jetstream::Options::new(address.clone())
            };
            let journal = runtime.block_on(JetStream::connect(options)).map_err(StartError::Engine)?;
            info!(%address, replicas = config.replicas, "the journal is on the cluster");
            Ok(Opened { journal: Arc::new(journal), hold: Some(Box::new(hold)) })
        }
    }
}

fn open_disk(config: &Config, disk: RealDisk) -> Result<DiskJournal, OpenError> {
    let sync = match config.sync {
        Sync::Always => journal_disk::Sync::Always,
        Sync::Interval(span) => journal_disk::Sync::Interval(span),
    };
    let options = Options { sync, seed: entropy::seed()?, ..Options::default() };
    let journal = DiskJournal::open(Arc::new(disk), options, Arc::new(clock::now))?;
    let recovered = journal.recovered();
    if recovered.cut > 0 || recovered.replayed > 0 {
        let (replayed, cut) = (recovered.replayed, recovered.cut);
        info!(replayed, cut, "took up the log's end; what was cut, in bytes, was never acknowledged");
    }
    for damage in recovered.damage.iter().take(DAMAGE_NAMED_MAX) {
        warn!("damaged, passed over: {damage}");
    }
    if recovered.damage.len() > DAMAGE_NAMED_MAX {
        warn!("{} damages in all; 'tidings verify' names them", recovered.damage.len());
    }
    Ok(journal)
}

fn open_memory(runtime: &Runtime) -> Arc<dyn Journal> {
    let local = Local::new(Arc::new(clock::now));
    let ticked = local.clone();
    runtime.spawn(async move {
        loop {
            let due = ticked.wake_at().map_or(TICK_MAX, |at| at.since(clock::now()));
            sleep(due.clamp(Duration::from_millis(1), TICK_MAX)).await;
            ticked.tick();
        }
    });
    Arc::new(local)
}
