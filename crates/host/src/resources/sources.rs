//! What each source declares, and what of it can be in force together.
//!
//! # Invariants
//! - A promise that domains never see each other goes before recorded segments: they are left out.
//! - What the files declare is never left out: a node whose files do not go with a recorded promise does not start.

use std::collections::BTreeMap;

use event::Moment;
use journal::Stored;
use mesh::names::Name;
use plan::{Declared, Document, Fault, Identity, check, documents};
use tracing::{error, warn};

use super::APPLIED;
use super::file::FromFile;
use crate::error::{FileFault, StartError};
use crate::mesh::declared::{breaking, forbidden, judge};
use crate::recorded::Recorder;

/// What begins the name of every Topology.
const TOPOLOGY: &str = "tidings.dev/v1/Topology/";

/// A resource of the API.
#[derive(Debug, Clone)]
pub(super) struct FromEvent {
    pub(super) document: Document,
    pub(super) seq: u64,
    pub(super) time: Moment,
}

/// What each source declares, by identity.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources {
    pub(super) files: BTreeMap<Identity, FromFile>,
    pub(super) events: BTreeMap<Identity, FromEvent>,
    /// What was recorded and cannot be in force as things are.
    pub(super) left_out: BTreeMap<Identity, FromEvent>,
}

impl Sources {
    /// What is in force: a file before the API.
    pub(super) fn documents(&self) -> impl Iterator<Item = &Document> {
        let hidden = |identity: &Identity| self.files.contains_key(identity);
        let events =
            self.events.iter().filter(move |(identity, _)| !hidden(identity)).map(|(_, event)| &event.document);
        self.files.values().map(|file| &file.document).chain(events)
    }

    pub(super) fn get(&self, identity: &Identity) -> Option<&Document> {
        let file = self.files.get(identity).map(|file| &file.document);
        file.or_else(|| self.events.get(identity).map(|event| &event.document))
    }

    /// The same, with what was left out as far as it can be in force now: nothing is left out for it.
    pub(super) fn with_left_out(self, declared: Declared, domain: Option<&Name>) -> (Self, Declared) {
        if self.left_out.is_empty() {
            return (self, declared);
        }
        let mut all = self.clone();
        all.events.append(&mut all.left_out);
        match usable(all, domain) {
            Ok((more, declared)) if self.events.keys().all(|held| more.events.contains_key(held)) => (more, declared),
            Ok(_) | Err(_) => (self, declared),
        }
    }

    fn leave_out(&mut self, identity: &Identity) {
        let gone = self.events.remove(identity);
        self.left_out.extend(gone.map(|event| (identity.clone(), event)));
    }

    /// The recorded Segment by which domains see each other that never may; `None`: files or a Topology say so.
    fn breaking(&self, domain: Option<&Name>) -> Option<Identity> {
        let declared = check(self.documents().cloned().collect::<Vec<_>>()).ok()?;
        let name = breaking(&declared, domain)?;
        let segment = |identity: &&Identity| identity.kind == "Segment" && identity.name == name;
        self.events.keys().filter(|identity| !self.files.contains_key(*identity)).find(segment).cloned()
    }

    /// What is declared, where a change may put it in force.
    pub(super) fn check(&self, domain: Option<&Name>) -> Result<Declared, Vec<Fault>> {
        self.judged(|declared| judge(declared, domain))
    }

    /// What is declared, where it may stay in force: as [`Sources::check`], but for domains that are always to see each
    /// other, and do not.
    fn fits(&self, domain: Option<&Name>) -> Result<Declared, Vec<Fault>> {
        self.judged(|declared| forbidden(declared, domain))
    }

    fn judged(&self, faults: impl FnOnce(&Declared) -> Vec<Fault>) -> Result<Declared, Vec<Fault>> {
        let mut documents: Vec<Document> = self.documents().cloned().collect();
        documents.sort_by_cached_key(Document::identity);
        let declared = check(documents)?;
        let faults = faults(&declared);
        if faults.is_empty() { Ok(declared) } else { Err(faults) }
    }
}

/// A fault of a file's resource, with its line.
pub(super) fn located(sources: &Sources, fault: &Fault) -> Option<FileFault> {
    let mut files = sources.files.iter();
    files.find(|(identity, _)| identity.to_string() == fault.resource).map(|(_, file)| file.fault(fault))
}

/// What of the sources can be in force: all files, and what was recorded and fits. A promise that recorded segments
/// break is kept, and segments are left out. Takes milliseconds: not for the executor's threads.
pub(super) fn usable(mut sources: Sources, domain: Option<&Name>) -> Result<(Sources, Declared), StartError> {
    // Files may speak of domains that were declared over the API.
    let mut base = sources.clone();
    base.events.retain(|identity, _| identity.kind == "Domain");
    if let Err(faults) = base.fits(domain) {
        return Err(start_error(&sources, &faults));
    }
    loop {
        let faults = match sources.fits(domain) {
            Ok(declared) => {
                report_broken(&declared, domain);
                return Ok((sources, declared));
            }
            Err(faults) => faults,
        };
        if let Some(fault) = faults.iter().find(|fault| is_promise(fault)) {
            let Some(segment) = sources.breaking(domain) else { return Err(against(fault)) };
            error!(%fault, left_out = %segment, "a recorded segment breaks a promise, and is not in force");
            sources.leave_out(&segment);
            continue;
        }
        let at_fault = |identity: &&Identity| faults.iter().any(|fault| identity.to_string() == fault.resource);
        let unfit: Vec<Identity> = sources.events.keys().filter(at_fault).cloned().collect();
        for identity in &unfit {
            let fault = faults.iter().find(|fault| identity.to_string() == fault.resource).map(Fault::to_string);
            warn!(fault, "a recorded resource cannot be used, and is not in force");
            sources.leave_out(identity);
        }
        if unfit.is_empty() {
            // The files alone are fine: what was recorded does not go with them.
            let fault = faults.first().map(Fault::to_string).unwrap_or_default();
            if sources.events.keys().any(|identity| identity.kind == "Topology") {
                return Err(against(&fault));
            }
            error!(fault, "the recorded resources do not go with those of the files, and are not in force");
            sources.left_out.append(&mut sources.events);
        }
    }
}

/// Whether a fault is a broken promise that domains never see each other.
fn is_promise(fault: &Fault) -> bool {
    fault.path.is_empty() && fault.resource.starts_with(TOPOLOGY)
}

/// What was recorded and the files do not go together, and neither may be left out.
fn against(fault: &impl std::fmt::Display) -> StartError {
    let reason = format!("the files and what was recorded over the API do not go together: {fault}; change the files");
    StartError::invalid("resources", reason)
}

/// A promise that domains always see each other is not worth the node's start: it is told.
fn report_broken(declared: &Declared, domain: Option<&Name>) {
    for fault in judge(declared, domain) {
        error!(%fault, "what is declared of the mesh breaks a promise; the next change must mend it");
    }
}

fn start_error(sources: &Sources, faults: &[Fault]) -> StartError {
    for fault in faults.iter().skip(1) {
        let fault = located(sources, fault).map_or_else(|| fault.to_string(), |fault| fault.to_string());
        error!(fault, "a resource is wrong");
    }
    let first = faults.first();
    match first.and_then(|fault| located(sources, fault)) {
        Some(fault) => StartError::File(fault),
        None => StartError::invalid("resources", first.map(Fault::to_string).unwrap_or_default()),
    }
}

pub(super) fn report_warnings(declared: &Declared) {
    for warning in declared.warnings() {
        warn!(%warning, "a resource is in force, and perhaps not what was meant");
    }
}

/// What the journal holds.
pub(super) async fn recorded(recorder: &Recorder) -> Result<BTreeMap<Identity, FromEvent>, StartError> {
    let mut events = BTreeMap::new();
    let take = |stored: &Stored| {
        if stored.message.headers.get("ce-type") != Some(APPLIED) {
            return;
        }
        let (seq, time, subject) = (stored.seq, stored.time, stored.message.subject.as_str());
        let value = serde_json::from_slice(&stored.message.payload).map_err(|error| error.to_string());
        let read = value.and_then(|value| documents(value).map_err(|fault| fault.to_string()));
        match read {
            Ok(documents) => {
                for document in documents {
                    events.insert(document.identity(), FromEvent { document, seq, time });
                }
            }
            Err(reason) => warn!(reason, subject, seq, "a recorded resource cannot be used, and is not in force"),
        }
    };
    recorder.last_of_each(">", take).await?;
    Ok(events)
}
