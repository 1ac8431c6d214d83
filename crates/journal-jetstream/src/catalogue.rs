//! Which streams there are, kept here so that an append is brought to its stream without asking.
//!
//! Read in full at the start, after a reconnect, at every notice that a stream was created, changed or
//! deleted, and every [`CATALOGUE_REFRESH`] in case a notice was lost. What this engine itself does to
//! a stream is entered at once. The servers have the last word: a subject that nothing here captures
//! is asked for before it is refused, and an append that no server takes makes it be read anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_nats::Client;
use event::{Moment, Subject};
use futures_util::StreamExt;
use journal::StreamConfig;
use parking_lot::RwLock;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::api::{Fault, call};
use crate::declared::{is_internal, stream_from};
use crate::limits::CATALOGUE_REFRESH;
use crate::wire::{Names, Stream, Streams, moment};

/// Notices of streams: created, updated, deleted.
const NOTICES: [&str; 3] = [
    "$JS.EVENT.ADVISORY.STREAM.CREATED.>",
    "$JS.EVENT.ADVISORY.STREAM.UPDATED.>",
    "$JS.EVENT.ADVISORY.STREAM.DELETED.>",
];

/// Notices come in bursts: the list is read once for all that come within this span.
const GATHER: Duration = Duration::from_millis(10);

/// A stream as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) name: Arc<str>,
    pub(crate) config: StreamConfig,
    pub(crate) created: Moment,
}

/// See the module.
pub(crate) struct Catalogue {
    client: Client,
    streams: RwLock<BTreeMap<Arc<str>, Arc<Known>>>,
    /// Whether the engine's own stream of notices is there.
    notices: AtomicBool,
    wanted: Notify,
    /// Counts the changes of the list.
    version: AtomicU64,
    /// Told whenever the list may have changed.
    changed: watch::Sender<u64>,
}

impl Catalogue {
    /// Reads the list, and keeps it.
    pub(crate) async fn start(client: Client) -> Result<Arc<Catalogue>, Fault> {
        let (changed, _) = watch::channel(0);
        let notices = AtomicBool::new(false);
        let streams = RwLock::default();
        let catalogue = Arc::new(Catalogue {
            client,
            streams,
            notices,
            version: AtomicU64::new(0),
            wanted: Notify::new(),
            changed,
        });
        catalogue.refresh().await?;
        for notice in NOTICES {
            let weak = Arc::downgrade(&catalogue);
            let subscribed = catalogue.client.subscribe(notice).await;
            let mut notices = subscribed.map_err(|error| Fault::Unreachable(error.to_string()))?;
            tokio::spawn(async move {
                while notices.next().await.is_some() {
                    match weak.upgrade() {
                        Some(catalogue) => catalogue.refresh_soon(),
                        None => break,
                    }
                }
            });
        }
        let weak = Arc::downgrade(&catalogue);
        tokio::spawn(async move {
            while let Some(catalogue) = weak.upgrade() {
                // Either way it is time.
                let _elapsed = timeout(CATALOGUE_REFRESH, catalogue.wanted.notified()).await;
                sleep(GATHER).await;
                if let Err(error) = catalogue.refresh().await {
                    debug!(%error, "cannot list the streams of the cluster");
                }
            }
        });
        Ok(catalogue)
    }

    /// Reads the list anew, soon.
    pub(crate) fn refresh_soon(&self) {
        self.wanted.notify_one();
    }

    /// Tells when the list may have changed.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Grows whenever the list may have changed.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn tell(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
        self.changed.send_modify(|count| *count += 1);
    }

    async fn refresh(&self) -> Result<(), Fault> {
        let found = all(&self.client).await?;
        let internal = |stream: &Stream| stream.config.get("name").and_then(Value::as_str).is_some_and(is_internal);
        self.notices.store(found.iter().any(internal), Ordering::Release);
        let fresh: BTreeMap<Arc<str>, Arc<Known>> =
            found.iter().filter_map(known).map(|known| (Arc::clone(&known.name), known)).collect();
        let changed = {
            let mut streams = self.streams.write();
            let changed = *streams != fresh;
            *streams = fresh;
            changed
        };
        if changed {
            self.tell();
        } else {
            self.changed.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    /// Enters a stream, or what changed of it.
    pub(crate) fn enter(&self, stream: &Stream) -> Option<Arc<Known>> {
        let known = known(stream)?;
        self.streams.write().insert(Arc::clone(&known.name), Arc::clone(&known));
        self.tell();
        Some(known)
    }

    /// Whether the engine's own stream of notices is there.
    pub(crate) fn has_notices(&self) -> bool {
        self.notices.load(Ordering::Acquire)
    }

    /// The engine's own stream of notices was made.
    pub(crate) fn note_notices(&self) {
        self.notices.store(true, Ordering::Release);
        self.tell();
    }

    /// Forgets a stream that was deleted.
    pub(crate) fn forget(&self, name: &str) {
        self.streams.write().remove(name);
        self.tell();
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Known>> {
        self.streams.read().get(name).cloned()
    }

    /// Whether just this stream is there, not one that was made later under its name.
    pub(crate) fn has(&self, stream: &Known) -> bool {
        self.streams.read().get(&stream.name).is_some_and(|known| known.created == stream.created)
    }

    /// What captures a subject, as far as is known here.
    pub(crate) fn capturing(&self, subject: &str) -> Option<Arc<Known>> {
        self.streams.read().values().find(|known| known.config.captures(subject)).cloned()
    }

    /// What captures a subject, asked of the servers.
    pub(crate) async fn ask(&self, subject: &Subject) -> Result<Option<Arc<Known>>, Fault> {
        let names: Names = call(&self.client, "STREAM.NAMES", &json!({ "subject": subject.as_str() })).await?;
        for name in names.streams.unwrap_or_default() {
            let info = call::<Stream>(&self.client, &format!("STREAM.INFO.{name}"), &Value::Null).await;
            match info {
                Ok(stream) => {
                    if let Some(known) = self.enter(&stream).filter(|known| known.config.captures(subject.as_str())) {
                        return Ok(Some(known));
                    }
                }
                Err(fault) if fault.number() == 10059 => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(None)
    }
}

/// All streams of the account, the engine's own too.
pub(crate) async fn all(client: &Client) -> Result<Vec<Stream>, Fault> {
    let mut found: Vec<Stream> = Vec::new();
    let mut seen = 0;
    loop {
        let page: Streams = call(client, "STREAM.LIST", &json!({ "offset": seen })).await?;
        let streams = page.streams.unwrap_or_default();
        seen += streams.len();
        let last = streams.is_empty() || seen >= page.total;
        found.extend(streams);
        if last {
            return Ok(found);
        }
    }
}

fn known(stream: &Stream) -> Option<Arc<Known>> {
    let config = stream_from(&stream.config).filter(|config| !is_internal(&config.name))?;
    Some(Arc::new(Known { name: config.name.as_str().into(), config, created: moment(&stream.created) }))
}
