//! The resources in force: where they come from, where they are kept, and who follows them.
//!
//! A resource comes from a file of the configured folder, or over the API; a file goes before the API's
//! of the same identity. Those of the API are recorded as events (`recorded`) at
//! `tidings.resources.<kind>.<name>`, so that there is history and a restart finds them. What they mean is
//! judged by [`plan::check`], and carried out by whoever follows [`Resources::watch`].
//!
//! # Invariants
//! - What is in force was checked as a whole: a set that cannot be never is, not for an instant.
//! - What was recorded is in force after a restart; what is in force was recorded before, or is a file.
//! - No resource holds a secret (`secrets`): what is recorded and shown names files.
//!
//! # Cost
//! A change checks the whole set anew: milliseconds for thousands of resources, off the executor.

mod file;
mod secrets;
mod tree;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use door_http::problem::Problem;
use door_http::{Faulty, Named, ResourceAnswer, Resources as Shown, ambiguous, faulty, no_resource};
use event::{Moment, encode_token};
use journal::Stored;
use journal::limits::BATCH_MESSAGES_MAX;
use mesh::names::Name;
use parking_lot::Mutex;
use plan::{Declared, Document, Fault, Identity, KINDS, check, documents};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use crate::error::{FileFault, StartError};
use crate::recorded::{Change, Recorder};
use file::read_folder;
pub use file::{FromFile, read_path, read_string};
use secrets::inline_secrets;
use view::Action;

/// Most bytes of one resource as JSON: it is recorded as one message.
const RESOURCE_BYTES_MAX: usize = 960 * 1024;

/// Most resources that are kept: a hundred times the largest configuration known.
const RESOURCES_MAX: usize = 65_536;

/// The types of the events that put a resource in force, and take it out.
const APPLIED: &str = "dev.tidings.resource.applied";
const DELETED: &str = "dev.tidings.resource.deleted";

/// A resource of the API.
#[derive(Debug, Clone)]
struct FromEvent {
    document: Document,
    seq: u64,
    time: Moment,
}

/// What each source declares, by identity.
#[derive(Debug, Clone, Default)]
struct Sources {
    files: BTreeMap<Identity, FromFile>,
    events: BTreeMap<Identity, FromEvent>,
}

impl Sources {
    /// What is in force: a file before the API.
    fn documents(&self) -> impl Iterator<Item = &Document> {
        let hidden = |identity: &Identity| self.files.contains_key(identity);
        let events =
            self.events.iter().filter(move |(identity, _)| !hidden(identity)).map(|(_, event)| &event.document);
        self.files.values().map(|file| &file.document).chain(events)
    }

    fn get(&self, identity: &Identity) -> Option<&Document> {
        let file = self.files.get(identity).map(|file| &file.document);
        file.or_else(|| self.events.get(identity).map(|event| &event.document))
    }

    fn check(&self, domain: Option<&Name>) -> Result<Declared, Vec<Fault>> {
        let mut documents: Vec<Document> = self.documents().cloned().collect();
        documents.sort_by_cached_key(Document::identity);
        let declared = check(documents)?;
        let faults = crate::mesh::declared::judge(&declared, domain);
        if faults.is_empty() { Ok(declared) } else { Err(faults) }
    }
}

/// The resources of a node.
pub(crate) struct Resources {
    /// For changes, which go on when who asked for them has left.
    me: Weak<Resources>,
    folder: Option<PathBuf>,
    recorder: Recorder,
    /// The domain of this node, where it may lead a mesh.
    domain: Option<Name>,
    sources: Mutex<Arc<Sources>>,
    in_force: watch::Sender<Arc<Declared>>,
    /// The last position that [`Resources::catch_up`] has looked at.
    caught_up: AtomicU64,
    /// One change at a time: each is recorded before the next is judged.
    changing: tokio::sync::Mutex<()>,
}

impl Resources {
    /// Puts in force what the folder and the journal hold.
    ///
    /// # Errors
    /// [`StartError`] naming the file; what was recorded and cannot be used is reported and left out.
    pub(crate) async fn open(
        folder: Option<PathBuf>,
        recorder: Recorder,
        domain: Option<Name>,
    ) -> Result<Arc<Self>, StartError> {
        let files = folder.as_deref().map(read_folder).transpose().map_err(StartError::File)?.unwrap_or_default();
        let events = recorded(&recorder).await?;
        let (sources, declared) = usable(Sources { files, events }, domain.as_ref())?;
        report_warnings(&declared);
        let (in_force, _) = watch::channel(Arc::new(declared));
        let (sources, changing) = (Mutex::new(Arc::new(sources)), tokio::sync::Mutex::default());
        let caught_up = AtomicU64::new(0);
        let whole = |me: &Weak<Self>| {
            let me = me.clone();
            Resources { me, folder, recorder, domain, sources, in_force, caught_up, changing }
        };
        Ok(Arc::new_cyclic(whole))
    }

    /// What is in force, now and whenever it changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Declared>> {
        self.in_force.subscribe()
    }

    /// The folder and its files, whose change is to be noticed.
    pub(crate) fn watched(&self) -> Vec<PathBuf> {
        let Some(folder) = &self.folder else { return Vec::new() };
        let inside = std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        std::iter::once(folder.clone()).chain(inside).collect()
    }

    /// Reads the folder again. Blocks: not for the executor's threads.
    pub(crate) fn reload(&self) {
        let Some(folder) = &self.folder else { return };
        let _one = self.changing.blocking_lock();
        let files = match read_folder(folder) {
            Ok(files) => files,
            Err(fault) => return error!(%fault, "the resources cannot be reloaded; the old ones stay in force"),
        };
        let next = Sources { files, events: self.sources.lock().events.clone() };
        match next.check(self.domain.as_ref()) {
            Ok(declared) => {
                report_warnings(&declared);
                info!(folder = %folder.display(), resources = declared.documents().len(), "resources reloaded");
                self.put_in_force(next, declared);
            }
            Err(faults) => {
                for fault in &faults {
                    let fault = located(&next, fault).map_or_else(|| fault.to_string(), |fault| fault.to_string());
                    error!(fault, "the resources cannot be reloaded; the old ones stay in force");
                }
            }
        }
    }

    fn put_in_force(&self, sources: Sources, declared: Declared) {
        *self.sources.lock() = Arc::new(sources);
        // Who follows may compare by address: the same documents stay the same.
        self.in_force.send_if_modified(|old| {
            let changed = old.documents() != declared.documents();
            if changed {
                *old = Arc::new(declared);
            }
            changed
        });
    }

    /// Takes up what another node recorded on the same engine.
    pub(crate) async fn catch_up(&self) {
        let Ok(last) = self.recorder.last().await else { return };
        let seen = self.sources.lock().events.values().map(|event| event.seq).max().unwrap_or(0);
        if last > seen.max(self.caught_up.swap(last, Ordering::Relaxed)) {
            let _one = self.changing.lock().await;
            self.read_again().await;
        }
    }

    /// Takes up what was recorded although it was not answered for: by an engine without batches.
    async fn read_again(&self) {
        let Ok(events) = recorded(&self.recorder).await else { return };
        let next = Sources { events, files: self.sources.lock().files.clone() };
        if let Ok(declared) = next.check(self.domain.as_ref()) {
            self.put_in_force(next, declared);
        }
    }

    async fn apply(&self, who: &str, body: Bytes, dry_run: bool) -> Result<Value, Problem> {
        let wanted = spawn_blocking(move || read_body(&body)).await.map_err(broken)??;
        let _one = self.changing.lock().await;
        let sources = Arc::clone(&self.sources.lock());
        let (mut next, mut actions, mut faults) = (Sources::clone(&sources), Vec::new(), Vec::new());
        for document in wanted {
            let identity = document.identity();
            let old = sources.get(&identity);
            let action = Action::applied(old, &document);
            if action.changes_anything() {
                if let Some(file) = sources.files.get(&identity) {
                    return Err(of_file(&identity, file));
                }
                faults.extend(unfit(&document));
                let entry = FromEvent { document, seq: 0, time: Moment::EPOCH };
                next.events.insert(identity, entry);
            }
            actions.push(action);
        }
        if next.events.len() > RESOURCES_MAX {
            return Err(Problem::body(format!("there would be more than {RESOURCES_MAX} resources")));
        }
        faults.extend(same_subject(&next));
        if !faults.is_empty() {
            return Err(refused(&faults));
        }
        self.carry_out(who, next, actions, dry_run).await
    }

    async fn delete(&self, who: &str, named: Named, dry_run: bool) -> Result<Value, Problem> {
        let _one = self.changing.lock().await;
        let sources = Arc::clone(&self.sources.lock());
        let identity = find(&sources, &named)?;
        if let Some(file) = sources.files.get(&identity) {
            return Err(of_file(&identity, file));
        }
        let mut next = Sources::clone(&sources);
        let Some(gone) = next.events.remove(&identity) else { return Err(no_resource(&named)) };
        self.carry_out(who, next, vec![Action::deleted(&gone.document)], dry_run).await
    }

    /// Checks the next set, records the actions, and puts it in force; the answer.
    async fn carry_out(
        &self,
        who: &str,
        mut next: Sources,
        actions: Vec<Action>,
        dry_run: bool,
    ) -> Result<Value, Problem> {
        let domain = self.domain.clone();
        let checked = spawn_blocking(move || (next.check(domain.as_ref()), next));
        let (declared, checked) = checked.await.map_err(broken)?;
        next = checked;
        let declared = declared.map_err(|faults| refused(&faults))?;
        let answer = view::answer(&actions, &declared, dry_run);
        let changing: Vec<&Action> = actions.iter().filter(|action| action.changes_anything()).collect();
        if dry_run || changing.is_empty() {
            return Ok(answer);
        }
        if changing.len() > BATCH_MESSAGES_MAX {
            let detail = format!("one request changes at most {BATCH_MESSAGES_MAX} resources; apply fewer at a time");
            return Err(Problem::body(detail));
        }
        let changes = changing.iter().map(|action| change(action)).collect();
        let (positions, time) = match self.recorder.record(Some(who), changes).await {
            Ok(recorded) => recorded,
            Err(problem) => {
                self.read_again().await;
                return Err(problem);
            }
        };
        for (action, position) in changing.iter().zip(positions) {
            if let Some(entry) = next.events.get_mut(&action.identity) {
                (entry.seq, entry.time) = (position, time);
            }
            info!(resource = %action.identity, action = action.word(), by = who, "resource changed");
        }
        self.put_in_force(next, declared);
        Ok(answer)
    }

    /// Carries a change out whether or not who asked for it waits: what is recorded is to be in force.
    fn to_the_end<'a, F>(&self, change: impl FnOnce(Arc<Self>) -> F) -> ResourceAnswer<'a>
    where
        F: Future<Output = Result<Value, Problem>> + Send + 'static,
    {
        let Some(me) = self.me.upgrade() else {
            return Box::pin(std::future::ready(Err(Problem::closed("the node is shutting down"))));
        };
        let task = tokio::spawn(change(me));
        Box::pin(async move { task.await.map_err(broken)? })
    }

    async fn told(&self, named: Named) -> Result<Value, Problem> {
        let (kind, name) = (kind_of(&named.kind).to_owned(), named.name.clone());
        let subjects = match named.api_version.clone() {
            Some(api_version) => vec![subject(&Identity { api_version, kind, name })],
            None => {
                let stem = format!("{}.{}", encode_token(&kind.to_lowercase()), encode_token(&name));
                vec![format!("{stem}.*"), stem]
            }
        };
        let mut history = Vec::new();
        self.recorder.history(&subjects, |stored| history.push(view::history(stored))).await?;
        if history.is_empty() && find(&self.sources.lock().clone(), &named).is_err() {
            return Err(no_resource(&named));
        }
        Ok(json!({ "history": history }))
    }
}

impl Shown for Resources {
    fn list(&self, kind: Option<&str>) -> Vec<Value> {
        let sources = Arc::clone(&self.sources.lock());
        let identities: BTreeSet<&Identity> = sources.files.keys().chain(sources.events.keys()).collect();
        let kind = kind.map(kind_of);
        let wanted = |identity: &&Identity| kind.is_none_or(|kind| identity.kind.eq_ignore_ascii_case(kind));
        identities.into_iter().filter(wanted).filter_map(|identity| view::whole(&sources, identity)).collect()
    }

    fn get(&self, named: &Named) -> Result<Value, Problem> {
        let sources = Arc::clone(&self.sources.lock());
        let identity = find(&sources, named)?;
        view::whole(&sources, &identity).ok_or_else(|| no_resource(named))
    }

    fn apply<'a>(&'a self, who: &'a str, body: Bytes, dry_run: bool) -> ResourceAnswer<'a> {
        let who = who.to_owned();
        self.to_the_end(|me| async move { me.apply(&who, body, dry_run).await })
    }

    fn delete<'a>(&'a self, who: &'a str, named: Named, dry_run: bool) -> ResourceAnswer<'a> {
        let who = who.to_owned();
        self.to_the_end(|me| async move { me.delete(&who, named, dry_run).await })
    }

    fn history(&self, named: Named) -> ResourceAnswer<'_> {
        Box::pin(self.told(named))
    }
}

/// Where a resource is recorded, below the prefix of all: `<kind>.<name>`, and the version too where it
/// is of a kind whose names several versions may give.
fn subject(identity: &Identity) -> String {
    let (kind, name) = (encode_token(&identity.kind.to_lowercase()), encode_token(&identity.name));
    let known = KINDS.iter().find(|kind| kind.name == identity.kind);
    if known.is_some_and(|kind| kind.api_versions().any(|version| version == identity.api_version)) {
        return format!("{kind}.{name}");
    }
    format!("{kind}.{name}.{}", encode_token(&identity.api_version))
}

fn change(action: &Action) -> Change {
    let data = action.document.as_ref().map(|document| Bytes::from(document.to_json().to_string()));
    let kind = if data.is_some() { APPLIED } else { DELETED };
    Change { subject: subject(&action.identity), name: action.identity.name.clone(), kind, data }
}

/// The documents of a request's body.
pub(crate) fn read_body(body: &[u8]) -> Result<Vec<Document>, Problem> {
    if body.trim_ascii().is_empty() {
        return Err(Problem::body("the body is empty; send a resource, or a list of them, as JSON"));
    }
    let value: Value = serde_json::from_slice(body).map_err(|error| Problem::body(error.to_string()))?;
    let documents = documents(value).map_err(|fault| refused(&[fault]))?;
    let mut seen = BTreeSet::new();
    let twice = documents.iter().map(Document::identity).find(|identity| !seen.insert(identity.clone()));
    match twice {
        Some(identity) => Err(refused(&[Fault::new(&identity, "metadata.name", "is there twice")])),
        None => Ok(documents),
    }
}

/// Why a resource cannot be kept, whatever it means.
fn unfit(document: &Document) -> Vec<Fault> {
    let mut faults = inline_secrets(document);
    let identity = document.identity();
    if identity.kind == "Schema" && identity.api_version == plan::API_VERSION {
        let reason = "is declared by 'tidings schema apply', or PUT /v1/schemas/NAME";
        faults.push(Fault::new(&identity, "kind", reason));
    }
    let bytes = document.to_json().to_string().len();
    if bytes > RESOURCE_BYTES_MAX {
        let reason = format!("is too large: {bytes} bytes as JSON, where {RESOURCE_BYTES_MAX} is the most");
        faults.push(Fault::new(&identity, "spec", reason));
    }
    faults
}

/// Resources that would be recorded at the same place: their kinds differ in case alone.
fn same_subject(sources: &Sources) -> Option<Fault> {
    let mut subjects: BTreeMap<String, &Identity> = BTreeMap::new();
    sources.events.keys().find_map(|identity| {
        let other = subjects.insert(subject(identity), identity).filter(|other| other.kind != identity.kind)?;
        Some(Fault::new(identity, "kind", format!("differs from that of {other} in case alone")))
    })
}

fn of_file(identity: &Identity, file: &FromFile) -> Problem {
    let (path, line) = (file.path().display(), file.line());
    let detail = format!("{identity} comes from the file {path}, line {line}; change it there");
    Problem::from_file(detail).with("resource", identity.to_string())
}

pub(crate) fn refused(faults: &[Fault]) -> Problem {
    let told = |fault: &Fault| Faulty {
        resource: fault.resource.clone(),
        path: fault.path.clone(),
        reason: fault.reason.clone(),
    };
    faulty(&faults.iter().map(told).collect::<Vec<_>>())
}

fn broken(error: tokio::task::JoinError) -> Problem {
    Problem::closed(error.to_string())
}

/// A kind as people write it: known ones in any case, and by their plural and their short name too.
fn kind_of(text: &str) -> &str {
    let named =
        |kind: &&plan::Kind| [kind.name, kind.plural, kind.short].iter().any(|name| name.eq_ignore_ascii_case(text));
    KINDS.iter().find(named).map_or(text, |kind| kind.name)
}

/// The resource that a request names.
fn find(sources: &Sources, named: &Named) -> Result<Identity, Problem> {
    let kind = kind_of(&named.kind);
    let fits = |identity: &&Identity| {
        identity.name == named.name
            && identity.kind.eq_ignore_ascii_case(kind)
            && named.api_version.as_ref().is_none_or(|version| identity.api_version == *version)
    };
    let found: BTreeSet<&Identity> = sources.files.keys().chain(sources.events.keys()).filter(fits).collect();
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (None, _) => Err(no_resource(named)),
        (Some(only), None) => Ok(only.clone()),
        (Some(first), Some(second)) => Err(ambiguous(named, &[&first.api_version, &second.api_version])),
    }
}

/// A fault of a file's resource, with its line.
fn located(sources: &Sources, fault: &Fault) -> Option<FileFault> {
    let mut files = sources.files.iter();
    files.find(|(identity, _)| identity.to_string() == fault.resource).map(|(_, file)| file.fault(fault))
}

/// What of the sources can be in force: all files, and what was recorded and fits.
fn usable(mut sources: Sources, domain: Option<&Name>) -> Result<(Sources, Declared), StartError> {
    if let Err(faults) = (Sources { files: sources.files.clone(), ..Sources::default() }).check(domain) {
        return Err(start_error(&sources, &faults));
    }
    loop {
        let faults = match sources.check(domain) {
            Ok(declared) => return Ok((sources, declared)),
            Err(faults) => faults,
        };
        let before = sources.events.len();
        for fault in &faults {
            let at_fault = |identity: &Identity| identity.to_string() == fault.resource;
            if sources.events.keys().any(at_fault) {
                warn!(%fault, "a recorded resource cannot be used, and is not in force");
                sources.events.retain(|identity, _| !at_fault(identity));
            }
        }
        if sources.events.len() == before {
            // The files alone are fine: what was recorded does not go with them.
            let fault = faults.first().map(Fault::to_string).unwrap_or_default();
            error!(fault, "the recorded resources do not go with those of the files, and are not in force");
            sources.events.clear();
        }
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

fn report_warnings(declared: &Declared) {
    for warning in declared.warnings() {
        warn!(%warning, "a resource is in force, and perhaps not what was meant");
    }
}

/// What the journal holds.
async fn recorded(recorder: &Recorder) -> Result<BTreeMap<Identity, FromEvent>, StartError> {
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
