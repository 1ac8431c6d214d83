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
mod sources;
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
use journal::limits::BATCH_MESSAGES_MAX;
use mesh::names::Name;
use parking_lot::Mutex;
use plan::{Declared, Document, Fault, Identity, KINDS, documents};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tracing::{error, info};

use crate::error::StartError;
use crate::recorded::{Change, Recorder, Unrecorded};
use file::read_folder;
pub use file::{FromFile, read_path, read_string};
use secrets::inline_secrets;
use sources::{FromEvent, Sources, located, recorded, report_warnings, usable};
use view::Action;

/// Most bytes of one resource as JSON: it is recorded as one message.
const RESOURCE_BYTES_MAX: usize = 960 * 1024;

/// Most resources that are kept: a hundred times the largest configuration known.
const RESOURCES_MAX: usize = 65_536;

/// How often a change is judged anew because other nodes were faster.
const ATTEMPTS: u32 = 16;

/// The types of the events that put a resource in force, and take it out.
pub(super) const APPLIED: &str = "dev.tidings.resource.applied";
const DELETED: &str = "dev.tidings.resource.deleted";

/// A change that somebody asks for.
enum Wanted {
    Applied(Vec<Document>),
    Deleted(Named),
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
    /// Everything up to this position of the journal is in `sources`.
    caught_up: AtomicU64,
    /// Up to this position others recorded what cannot be in force here: it is told once.
    unfit: AtomicU64,
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
        let last = recorder.last().await.map_err(|error| StartError::invalid("resources", error.to_string()))?;
        let events = recorded(&recorder).await?;
        let (all, own) = (Sources { files, events, ..Sources::default() }, domain.clone());
        let judged = spawn_blocking(move || usable(all, own.as_ref())).await;
        let (sources, declared) = judged.map_err(|error| StartError::invalid("resources", error.to_string()))??;
        report_warnings(&declared);
        let (in_force, _) = watch::channel(Arc::new(declared));
        let (sources, changing) = (Mutex::new(Arc::new(sources)), tokio::sync::Mutex::default());
        let (caught_up, unfit) = (AtomicU64::new(last), AtomicU64::new(0));
        let whole = |me: &Weak<Self>| {
            let me = me.clone();
            Resources { me, folder, recorder, domain, sources, in_force, caught_up, unfit, changing }
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
        let next = Sources { files, ..Sources::clone(&self.sources.lock()) };
        match next.check(self.domain.as_ref()) {
            Ok(declared) => {
                let (next, declared) = next.with_left_out(declared, self.domain.as_ref());
                // What others recorded may go with these files.
                self.unfit.store(0, Ordering::Relaxed);
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
        if last != self.caught_up.load(Ordering::Relaxed) && last != self.unfit.load(Ordering::Relaxed) {
            let _one = self.changing.lock().await;
            // What stands in the way was told; whoever changes something hears of it.
            let _told = self.up_to_date().await;
        }
    }

    /// Takes up all that was recorded: by other nodes, or by this one without an answer. One at a time.
    async fn up_to_date(&self) -> Result<(), Problem> {
        let last = self.recorder.last().await?;
        if last == self.caught_up.load(Ordering::Relaxed) {
            return Ok(());
        }
        let events = recorded(&self.recorder).await.map_err(|error| Problem::closed(error.to_string()))?;
        let (files, domain) = (self.sources.lock().files.clone(), self.domain.clone());
        let next = spawn_blocking(move || usable(Sources { events, files, ..Sources::default() }, domain.as_ref()))
            .await
            .map_err(broken)?;
        match next {
            Ok((sources, declared)) => {
                self.put_in_force(sources, declared);
                self.caught_up.store(last, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                let why = format!("what other nodes recorded does not go with the files of this one: {error}");
                if self.unfit.swap(last, Ordering::Relaxed) != last {
                    error!(why, "resources cannot be taken up; the old ones stay in force");
                }
                Err(Problem::closed(why))
            }
        }
    }

    /// Judges and records a change; anew where another node was faster.
    async fn change(&self, who: &str, wanted: Wanted, dry_run: bool) -> Result<Value, Problem> {
        let _one = self.changing.lock().await;
        for _ in 0..ATTEMPTS {
            self.up_to_date().await?;
            let attempt = match &wanted {
                Wanted::Applied(documents) => self.apply(who, documents.clone(), dry_run).await,
                Wanted::Deleted(named) => self.delete(who, named, dry_run).await,
            };
            match attempt {
                Ok(answer) => return Ok(answer),
                Err(Unrecorded::Refused(problem)) => return Err(problem),
                Err(Unrecorded::Moved) => {}
            }
        }
        Err(Problem::busy("other nodes change resources all the time; try again"))
    }

    async fn apply(&self, who: &str, wanted: Vec<Document>, dry_run: bool) -> Result<Value, Unrecorded> {
        let sources = Arc::clone(&self.sources.lock());
        let (mut next, mut actions, mut faults) = (Sources::clone(&sources), Vec::new(), Vec::new());
        for document in wanted {
            let identity = document.identity();
            let old = sources.get(&identity);
            let action = Action::applied(old, &document);
            if action.changes_anything() {
                if let Some(file) = sources.files.get(&identity) {
                    return Err(of_file(&identity, file).into());
                }
                faults.extend(unfit(&document));
                let entry = FromEvent { document, seq: 0, time: Moment::EPOCH };
                next.left_out.remove(&identity);
                next.events.insert(identity, entry);
            }
            actions.push(action);
        }
        if next.events.len() > RESOURCES_MAX {
            return Err(Problem::body(format!("there would be more than {RESOURCES_MAX} resources")).into());
        }
        faults.extend(same_subject(&next));
        if !faults.is_empty() {
            return Err(refused(&faults).into());
        }
        self.carry_out(who, next, actions, dry_run).await
    }

    async fn delete(&self, who: &str, named: &Named, dry_run: bool) -> Result<Value, Unrecorded> {
        let sources = Arc::clone(&self.sources.lock());
        let mut next = Sources::clone(&sources);
        // What is not in force may be removed too.
        let hidden = Sources { events: next.left_out.clone(), ..Sources::default() };
        let identity = find(&sources, named).or_else(|unknown| find(&hidden, named).map_err(|_| unknown))?;
        if let Some(file) = sources.files.get(&identity) {
            return Err(of_file(&identity, file).into());
        }
        let gone = next.events.remove(&identity).or_else(|| next.left_out.remove(&identity));
        let Some(gone) = gone else { return Err(no_resource(named).into()) };
        self.carry_out(who, next, vec![Action::deleted(&gone.document)], dry_run).await
    }

    /// Checks the next set, records the actions, and puts it in force; the answer.
    async fn carry_out(
        &self,
        who: &str,
        mut next: Sources,
        actions: Vec<Action>,
        dry_run: bool,
    ) -> Result<Value, Unrecorded> {
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
            return Err(Problem::body(detail).into());
        }
        let changes = changing.iter().map(|action| change(action)).collect();
        let after = self.caught_up.load(Ordering::Relaxed);
        let (positions, time) = match self.recorder.record(Some(who), changes, Some(after)).await {
            Ok(recorded) => recorded,
            Err(Unrecorded::Moved) => return Err(Unrecorded::Moved),
            Err(Unrecorded::Refused(problem)) => {
                // Some of it may be recorded although it was not answered for.
                let _told = self.up_to_date().await;
                return Err(problem.into());
            }
        };
        let last = positions.last().copied().unwrap_or(after);
        if last == after + positions.len() as u64 {
            // Nobody else's is between them.
            self.caught_up.store(last, Ordering::Relaxed);
        }
        for (action, position) in changing.iter().zip(positions) {
            if let Some(entry) = next.events.get_mut(&action.identity) {
                (entry.seq, entry.time) = (position, time);
            }
            info!(resource = %action.identity, action = action.word(), by = who, "resource changed");
        }
        let domain = self.domain.clone();
        let whole = spawn_blocking(move || next.with_left_out(declared, domain.as_ref())).await.map_err(broken)?;
        self.put_in_force(whole.0, whole.1);
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
        self.to_the_end(|me| async move {
            let wanted = spawn_blocking(move || read_body(&body)).await.map_err(broken)??;
            me.change(&who, Wanted::Applied(wanted), dry_run).await
        })
    }

    fn delete<'a>(&'a self, who: &'a str, named: Named, dry_run: bool) -> ResourceAnswer<'a> {
        let who = who.to_owned();
        self.to_the_end(|me| async move { me.change(&who, Wanted::Deleted(named), dry_run).await })
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

#[cfg(test)]
mod tests;
