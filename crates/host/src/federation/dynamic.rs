//! Derived configuration: the live parts, and the effective configuration that they make with what was
//! declared.
//!
//! # Invariants
//! - A part takes effect after it is on disk, and has none after that is.
//! - The index grows with each change of the effective configuration, and with nothing else; it goes on
//!   after a restart, since it is a moment.
//! - The file holds one whole configuration at any instant: it is written beside and renamed.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use door::Port;
use event::{Fact, Moment};
use journal::AppendError;
use parking_lot::Mutex;
use plan::{Declared, Document, Effective, PART_KIND, Part, captured, effective};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::ledger::Ledger;
use super::meters::Meters;

/// The kind of what captures an address.
const CLAIM: &str = "AddressClaim";

/// What the effective configuration is called.
pub(super) const ROUTER: &str = "effective";

/// How long to wait where the file cannot be written.
const PAUSE: Duration = Duration::from_secs(5);

/// The effective configuration at one index.
pub(super) struct Published {
    pub(super) index: u64,
    pub(super) effective: Effective,
    pub(super) declared: Arc<Declared>,
}

struct State {
    declared: Arc<Declared>,
    parts: BTreeMap<String, Part>,
}

/// What captures addresses here: few of the parts there may be.
#[derive(Default)]
struct Captures {
    parts: Vec<Part>,
    claims: Vec<Document>,
}

/// See the module.
pub(crate) struct Dynamic {
    state: Mutex<State>,
    published: watch::Sender<Arc<Published>>,
    captures: ArcSwap<Captures>,
    ledger: Arc<Ledger>,
    meters: Arc<Meters>,
    port: Port,
    file: Option<PathBuf>,
}

impl Dynamic {
    /// With the parts that were recorded.
    pub(super) async fn open(ledger: Arc<Ledger>, meters: Arc<Meters>, port: Port, file: Option<PathBuf>) -> Arc<Self> {
        let recorded = ledger.parts().await.unwrap_or_else(|error| {
            error!(%error, "derived parts cannot be read; they are derived anew as facts come");
            Vec::new()
        });
        let mut parts = BTreeMap::new();
        for bytes in recorded {
            let part = serde_json::from_slice::<Value>(&bytes).map_err(|error| error.to_string());
            match part.and_then(|part| Part::from_json(&part).map_err(|error| error.to_string())) {
                Ok(part) => _ = parts.insert(part.source.clone(), part),
                Err(error) => error!(error, "a derived part cannot be read and is left out"),
            }
        }
        let state = State { declared: Arc::default(), parts };
        let now = port.now();
        let first = Published { index: 0, effective: merge(&state, now), declared: Arc::default() };
        let published = watch::channel(Arc::new(first)).0;
        let captures = ArcSwap::default();
        let dynamic = Dynamic { state: Mutex::new(state), published, captures, ledger, meters, port, file };
        dynamic.settle();
        Arc::new(dynamic)
    }

    /// What is declared from now on.
    pub(super) fn declare(&self, declared: Arc<Declared>) {
        let mut state = self.state.lock();
        state.declared = declared;
        self.publish(&state);
    }

    /// Records a part, to take effect when all is settled.
    ///
    /// # Errors
    /// As the journal says; it has no effect then.
    pub(super) async fn put(&self, part: Part) -> Result<(), AppendError> {
        self.ledger.part(&part.source, Some(part.to_json())).await?;
        info!(source = part.source, resources = part.resources.len(), "a part is derived");
        self.state.lock().parts.insert(part.source.clone(), part);
        Ok(())
    }

    /// Lets a part hold longer.
    ///
    /// # Errors
    /// As the journal says.
    pub(super) async fn renew(
        &self,
        source: &str,
        until: Option<Moment>,
        seqs: &[(String, u64)],
    ) -> Result<(), AppendError> {
        let Some(part) = self.state.lock().parts.get(source).cloned() else { return Ok(()) };
        let part = part.renewed(until, seqs);
        self.ledger.part(source, Some(part.to_json())).await?;
        self.state.lock().parts.insert(source.to_owned(), part);
        Ok(())
    }

    /// Records that a part is gone, to take effect when all is settled.
    ///
    /// # Errors
    /// As the journal says; it stays then.
    pub(super) async fn drop_part(&self, source: &str, why: &str) -> Result<(), AppendError> {
        let Some(part) = self.state.lock().parts.get(source).cloned() else { return Ok(()) };
        let facts: Vec<&str> =
            part.origin.iter().flat_map(|origin| &origin.facts).map(|fact| fact.id.as_str()).collect();
        let told = json!({"source": source, "generation": part.generation, "why": why, "facts": facts,
            "at": self.port.now().to_string()});
        self.ledger.recorded(&["parts", source], "part.dropped", told).await?;
        self.ledger.part(source, None).await?;
        info!(source, why, "a part is dropped");
        self.state.lock().parts.remove(source);
        Ok(())
    }

    /// Has what was put, renewed and dropped so far take effect together: what takes a part's place is
    /// put before that is dropped, and nobody is to see both.
    pub(super) fn settle(&self) {
        let state = self.state.lock();
        self.publish(&state);
    }

    /// Parts as they are, by source.
    pub(super) fn parts(&self) -> Vec<Part> {
        self.state.lock().parts.values().cloned().collect()
    }

    /// The parts of a subscription.
    pub(super) fn parts_of(&self, subscription: &str) -> Vec<Part> {
        let state = self.state.lock();
        let of = |part: &&Part| part.origin.as_ref().is_some_and(|origin| origin.subscription == subscription);
        state.parts.values().filter(of).cloned().collect()
    }

    /// What the effective configuration would be with a part, in the place of another of its source.
    pub(super) fn with(&self, part: &Part) -> Effective {
        let state = self.state.lock();
        let mut parts = state.parts.clone();
        parts.insert(part.source.clone(), part.clone());
        merge(&State { declared: Arc::clone(&state.declared), parts }, self.port.now())
    }

    /// The effective configuration as of now.
    pub(super) fn current(&self) -> Arc<Published> {
        self.published.borrow().clone()
    }

    /// The first effective configuration with another index, or the current one when the wait is over.
    pub(super) async fn next(&self, index: Option<u64>, wait: Duration) -> Arc<Published> {
        let mut published = self.published.subscribe();
        let other = published.wait_for(|published| Some(published.index) != index);
        // The sender lives as long as this; a wait that is over gives what there is.
        let _waited = tokio::time::timeout(wait, other).await;
        self.current()
    }

    /// What this node captures that a fact claims to have observed, or why that cannot be said.
    pub(super) fn captured(&self, fact: &Fact, own_node: &str) -> Option<String> {
        let Captures { parts, claims } = &**self.captures.load();
        if parts.is_empty() && claims.is_empty() {
            return None;
        }
        match captured(fact, parts, claims, own_node, self.port.now()) {
            Ok(claim) => claim.map(|claim| claim.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    fn publish(&self, state: &State) {
        let now = self.port.now();
        let effective = merge(state, now);
        let captures = Captures {
            parts: state.parts.values().filter(|part| captures(part)).cloned().collect(),
            claims: state.declared.documents().iter().filter(|document| document.kind == CLAIM).cloned().collect(),
        };
        self.captures.store(Arc::new(captures));
        self.meters.parts(effective.active.len(), effective.quarantined.len());
        self.published.send_if_modified(|published| {
            if published.effective == effective && Arc::ptr_eq(&published.declared, &state.declared) {
                return false;
            }
            let index = published.index.max(now.nanos() / 1_000) + 1;
            *published = Arc::new(Published { index, effective, declared: Arc::clone(&state.declared) });
            true
        });
    }

    /// Has parts end at their time, and the file follow, until told to end.
    pub(super) async fn keep(self: Arc<Self>, end: CancellationToken) {
        let mut published = self.published.subscribe();
        let mut written = None;
        loop {
            let current = published.borrow_and_update().clone();
            if let Some(path) = &self.file
                && written != Some(current.index)
            {
                match self.write(path.clone(), &current).await {
                    Ok(()) => written = Some(current.index),
                    Err(error) => {
                        warn!(file = %path.display(), %error, "the effective configuration cannot be written")
                    }
                }
            }
            let behind = self.file.is_some() && written != Some(current.index);
            let now = self.port.now();
            let expiry = self.state.lock().parts.values().filter_map(|part| part.expires).filter(|at| *at > now).min();
            let until = expiry.map(|at| at.since(now));
            tokio::select! {
                biased;
                () = end.cancelled() => return,
                changed = published.changed() => if changed.is_err() { return },
                () = sleep(PAUSE), if behind => {}
                () = sleep_until(Instant::now() + until.unwrap_or_default()), if until.is_some() => self.expire().await,
            }
        }
    }

    /// Drops parts whose time is over: those of subscriptions are dropped by them, and this is for the rest.
    async fn expire(&self) {
        let now = self.port.now();
        let over: Vec<String> = {
            let state = self.state.lock();
            let over = |part: &&Part| part.is_expired(now) && part.origin.is_none();
            state.parts.values().filter(over).map(|part| part.source.clone()).collect()
        };
        for source in over {
            if let Err(error) = self.drop_part(&source, "expired").await {
                warn!(source, %error, "a part whose time is over cannot be dropped; it is no more in force");
                sleep(PAUSE).await;
            }
        }
        self.settle();
    }

    async fn write(&self, path: PathBuf, current: &Published) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(&current.effective.router(ROUTER)).map_err(io::Error::other)?;
        text.push('\n');
        let written = tokio::task::spawn_blocking(move || replace(&path, text.as_bytes())).await;
        written.map_err(io::Error::other)?
    }
}

fn merge(state: &State, now: Moment) -> Effective {
    let declared = &state.declared;
    let told = declared.documents().iter().filter(|document| document.kind == PART_KIND);
    let told = told.filter_map(|document| Part::from_spec(&document.spec).ok());
    let parts: Vec<Part> = state.parts.values().cloned().chain(told).collect();
    effective(declared.documents(), declared.policies().values(), &parts, now)
}

fn captures(part: &Part) -> bool {
    part.mobility_dataplane.is_some() || part.resources.iter().any(|resource| resource.kind == CLAIM)
}

/// Writes a file whole, or not at all.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_added_extension("new");
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder)?.sync_all()
}
