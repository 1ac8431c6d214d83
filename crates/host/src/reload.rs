//! Takes up new tokens, certificates, schemas, resources and secrets of domains while the node runs: when their files
//! change, or on request.
//!
//! On a thread of its own, since it reads files. What cannot be used is reported and the old stays
//! in force.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use door::Port;
use tracing::{error, info};

use crate::federation::Federation;
use crate::hub::Hub;
use crate::mesh::secrets::Secrets;
use crate::resources::Resources;
use crate::schemas::Schemas;
use crate::tls::Certificate;
use crate::tokens::read_tokens;
use crate::watch::Watched;

/// How often the files are looked at: a few `stat` calls each time.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Stack of the thread, in bytes: what compiling the deepest schema needs; little of it is ever touched.
const STACK_BYTES: usize = 4 * 1024 * 1024;

/// The thread. Ends when this is dropped.
pub(crate) struct Reloader {
    ask: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What can be taken up anew.
pub(crate) struct Reloadable {
    pub(crate) port: Port,
    pub(crate) tokens: Option<PathBuf>,
    pub(crate) certificates: Vec<Arc<Certificate>>,
    pub(crate) schemas: Arc<Schemas>,
    pub(crate) resources: Arc<Resources>,
    pub(crate) federation: Arc<Federation>,
    pub(crate) hub: Option<Arc<Hub>>,
    pub(crate) secrets: Option<Arc<Secrets>>,
}

impl Reloadable {
    fn files(&self) -> Vec<PathBuf> {
        let certificate = self.certificates.iter().flat_map(|certificate| {
            let files = certificate.files();
            [files.certificate.clone(), files.key.clone()]
        });
        let folders = self.schemas.watched().into_iter().chain(self.resources.watched());
        let folders = folders.chain(self.federation.watched());
        let folders = folders.chain(self.hub.iter().flat_map(|hub| hub.watched()));
        let folders = folders.chain(self.secrets.iter().flat_map(|secrets| secrets.watched()));
        self.tokens.iter().cloned().chain(certificate).chain(folders).collect()
    }

    fn reload(&self) {
        if let Some(path) = &self.tokens {
            match read_tokens(path) {
                Ok(access) => {
                    self.port.set_access(access);
                    info!(file = %path.display(), "tokens reloaded");
                }
                Err(error) => error!(%error, "the tokens cannot be reloaded; the old ones stay in force"),
            }
        }
        for certificate in &self.certificates {
            match certificate.reload() {
                Ok(()) => info!(file = %certificate.files().certificate.display(), "certificate reloaded"),
                Err(error) => error!(%error, "the certificate cannot be reloaded; the old one stays in force"),
            }
        }
        self.schemas.reload();
        self.resources.reload();
        self.federation.reload();
        if let Some(hub) = &self.hub {
            hub.reload();
        }
        if let Some(secrets) = &self.secrets {
            secrets.reload();
        }
    }
}

impl Reloader {
    /// Starts the thread, where there is anything to look after.
    pub(crate) fn start(reloadable: Reloadable) -> io::Result<Self> {
        let mut watched = Watched::new(reloadable.files());
        let (ask, asked) = sync_channel(1);
        let thread = std::thread::Builder::new().name("reload".into()).stack_size(STACK_BYTES).spawn(move || {
            loop {
                let due = match asked.recv_timeout(LOOK_INTERVAL) {
                    Ok(()) => {
                        watched.changed();
                        true
                    }
                    Err(RecvTimeoutError::Timeout) => watched.changed(),
                    Err(RecvTimeoutError::Disconnected) => return,
                };
                if due {
                    reloadable.reload();
                }
                // A folder may have other files now, and resources may name others.
                watched.follow(reloadable.files());
            }
        })?;
        Ok(Reloader { ask: Some(ask), thread: Some(thread) })
    }

    /// Reads the files again soon.
    pub(crate) fn ask(&self) {
        match self.ask.as_ref().map(|ask| ask.try_send(())) {
            None => {}
            // One that waits already does for both.
            Some(Ok(()) | Err(TrySendError::Full(()))) => {}
            Some(Err(TrySendError::Disconnected(()))) => error!("nothing is reloaded any more"),
        }
    }
}

impl Drop for Reloader {
    fn drop(&mut self) {
        self.ask = None;
        if let Some(thread) = self.thread.take() {
            // It ended by a panic, which was reported.
            let _panicked = thread.join();
        }
    }
}
