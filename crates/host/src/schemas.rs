//! The schemas in force: where they come from, where they are kept, and who asks them.
//!
//! A schema comes from a file of the configured folder, or over the API; a file goes before the API's
//! of the same name. Those of the API are events of the stream [`RESOURCES_STREAM`], which is made at the
//! first one: the last event of each subject is what is in force, the ones before are its history.
//!
//! # Invariants
//! - What was recorded is in force after a restart; what is in force was recorded before, or is a file.
//! - While no schema is in force the port judges nothing.

mod file;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use door::{Check, Port, RESOURCES_PREFIX, Unfit};
use door_http::{SchemaAnswer, SchemaView, Schemas as Shown, no_schema, problem::Problem};
use event::cloud::Event;
use event::{Message, Moment, Pattern, Subject};
use journal::limits::PAGE_MESSAGES_MAX;
use journal::{Append, Journal, Read, StreamConfig, StreamError, answer};
use parking_lot::Mutex;
use schema::{Invalid, Resource, Schema, Table, Verdict};
use serde_json::json;
use tracing::{error, info, warn};

use crate::error::{FileFault, StartError};
pub use file::read_schema;

/// The stream of the node's own resources, made when there is a first one.
pub const RESOURCES_STREAM: &str = "TIDINGS";

/// What it captures.
const RESOURCES_PATTERN: &str = "tidings.resources.>";

/// Changes of one resource that are kept.
const HISTORY_MAX: u64 = 64;

/// The types of the events that put a schema in force, and take it out.
const APPLIED: &str = "dev.tidings.schema.applied";
const DELETED: &str = "dev.tidings.schema.deleted";

/// Where a schema comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    File(PathBuf),
    Event { seq: u64, time: Moment },
}

#[derive(Debug, Clone)]
struct Entry {
    schema: Arc<Schema>,
    view: Arc<SchemaView>,
}

impl Entry {
    fn new(schema: Schema, origin: &Origin) -> Self {
        let status = match origin {
            Origin::File(path) => json!({"origin": "file", "file": path.display().to_string()}),
            Origin::Event { seq, time } => json!({"origin": "api", "seq": seq, "time": time.to_string()}),
        };
        let mut resource = schema.resource().to_json();
        let mut summary = json!({"name": schema.name(), "spec": resource["spec"], "status": status});
        if let Some(spec) = summary["spec"].as_object_mut() {
            spec.remove("descriptor");
            spec.remove("schema");
        }
        resource["status"] = status;
        let view = SchemaView { subjects: schema.subjects().to_vec(), summary, resource };
        Entry { schema: Arc::new(schema), view: Arc::new(view) }
    }
}

type Entries = BTreeMap<String, Entry>;

#[derive(Default)]
struct Sources {
    files: Entries,
    events: Entries,
}

/// The schemas of a node.
pub(crate) struct Schemas {
    node: String,
    folder: Option<PathBuf>,
    journal: Arc<dyn Journal>,
    port: Port,
    sources: Mutex<Sources>,
    in_force: ArcSwap<Entries>,
    /// One change at a time: each is recorded before the next is judged.
    changing: tokio::sync::Mutex<()>,
}

/// The table as the port asks it.
struct Judge(Table);

impl Check for Judge {
    fn is_bound(&self, subject: &str) -> bool {
        self.0.bound(subject).next().is_some()
    }

    fn check(&self, message: &mut Message) -> Result<(), Unfit> {
        match self.0.judge(message) {
            Verdict::Good => {}
            Verdict::Mark(headers) => message.headers = headers,
            Verdict::Refuse { schema, fault } => return Err(Unfit { schema, field: fault.field, why: fault.why }),
        }
        Ok(())
    }
}

impl Schemas {
    /// Puts in force what the folder and the journal hold.
    ///
    /// # Errors
    /// [`StartError`] naming the file; what was recorded and cannot be used is reported and left out.
    pub(crate) async fn open(
        node: &str,
        folder: Option<PathBuf>,
        journal: Arc<dyn Journal>,
        port: Port,
    ) -> Result<Arc<Self>, StartError> {
        let files = folder.as_deref().map(read_folder).transpose().map_err(StartError::File)?.unwrap_or_default();
        let events = recorded(&*journal).await?;
        let (sources, changing) = (Mutex::new(Sources { files, events }), tokio::sync::Mutex::default());
        let in_force = ArcSwap::default();
        let schemas = Schemas { node: node.to_owned(), folder, journal, port, sources, in_force, changing };
        let too_many = |invalid: Invalid| StartError::invalid("schemas", invalid.to_string());
        schemas.change(|_| ()).map_err(too_many)?;
        Ok(Arc::new(schemas))
    }

    /// The folder and its files, whose change is to be noticed.
    pub(crate) fn watched(&self) -> Vec<PathBuf> {
        let Some(folder) = &self.folder else { return Vec::new() };
        let inside = std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        std::iter::once(folder.clone()).chain(inside).collect()
    }

    /// Reads the folder again.
    pub(crate) fn reload(&self) {
        let Some(folder) = &self.folder else { return };
        match read_folder(folder) {
            Ok(files) => match self.change(|sources| sources.files = files) {
                Ok(()) => info!(folder = %folder.display(), "schemas reloaded"),
                Err(invalid) => error!(%invalid, "the schemas cannot be reloaded; the old ones stay in force"),
            },
            Err(fault) => error!(%fault, "the schemas cannot be reloaded; the old ones stay in force"),
        }
    }

    /// Changes the sources, and puts in force what they hold then; where that cannot be, changes nothing.
    fn change(&self, change: impl FnOnce(&mut Sources)) -> Result<(), Invalid> {
        let mut sources = self.sources.lock();
        let mut next = Sources { files: sources.files.clone(), events: sources.events.clone() };
        change(&mut next);
        let mut entries = next.events.clone();
        entries.extend(next.files.clone());
        let table = Table::new(entries.values().map(|entry| Arc::clone(&entry.schema)))?;
        let judge = (!table.is_empty()).then(|| Arc::new(Judge(table)) as Arc<dyn Check>);
        self.port.set_check(judge);
        self.in_force.store(Arc::new(entries));
        *sources = next;
        Ok(())
    }

    fn unless_file(&self, name: &str) -> Result<(), Problem> {
        if !self.sources.lock().files.contains_key(name) {
            return Ok(());
        }
        let detail = format!("the schema '{name}' comes from a file of the node's folder of schemas; change it there");
        Err(Problem::from_file(detail).with("schema", name))
    }

    /// Records what became of a schema; position and moment.
    async fn record(&self, name: &str, kind: &str, data: Option<Bytes>) -> Result<Origin, Problem> {
        self.need_stream().await?;
        let time = self.port.now();
        let event = Event {
            id: format!("{name}@{time}"),
            source: format!("/nodes/{}", self.node),
            kind: kind.to_owned(),
            subject: Some(name.to_owned()),
            time: Some(time.to_string()),
            datacontenttype: data.is_some().then(|| String::from("application/json")),
            dataschema: None,
            extensions: Vec::new(),
            data,
        };
        let subject = Subject::new(format!("{RESOURCES_PREFIX}schema.{name}"));
        let subject = subject.map_err(|error| Problem::subject(name, &error))?;
        let message = event.into_message(subject).map_err(|error| Problem::event(&error))?;
        let lost = || Err(journal::AppendError::Closed(String::from("the journal gave the append up")));
        let (done, recorded) = answer(lost);
        self.journal.append(Append::new(message), done);
        let receipt = recorded.await.map_err(Problem::from)?;
        Ok(Origin::Event { seq: receipt.seq, time })
    }

    async fn need_stream(&self) -> Result<(), Problem> {
        match self.journal.stream_info(RESOURCES_STREAM).await {
            Ok(_) => return Ok(()),
            Err(StreamError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let pattern = Pattern::parse(RESOURCES_PATTERN).map_err(|error| Problem::subject(RESOURCES_PATTERN, &error))?;
        let mut config = StreamConfig::new(RESOURCES_STREAM, [pattern]);
        config.description = String::from("What this node was told to keep: resources and their history");
        config.messages_per_subject_max = Some(HISTORY_MAX);
        match self.journal.stream_create(config).await {
            Ok(_) | Err(StreamError::Exists(_)) => {
                self.port.catalogue_changed();
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn apply(&self, name: &str, bytes: Bytes) -> Result<(Arc<SchemaView>, bool), Problem> {
        let _one = self.changing.lock().await;
        self.unless_file(name)?;
        let resource = Resource::from_json(&bytes).map_err(|invalid| invalid_problem(&invalid))?;
        if resource.metadata.name != name {
            let what = format!("is '{}', and the path says '{name}'", resource.metadata.name);
            return Err(Problem::field("metadata.name", &what));
        }
        let compiled = tokio::task::spawn_blocking(move || Schema::compile(resource)).await;
        let compiled = compiled.map_err(|error| Problem::closed(error.to_string()))?;
        let compiled = compiled.map_err(|invalid| invalid_problem(&invalid))?;
        let known = self.in_force.load().get(name).cloned();
        if let Some(known) = &known
            && known.schema.resource() == compiled.resource()
        {
            return Ok((Arc::clone(&known.view), false));
        }
        if known.is_none() && self.in_force.load().len() >= schema::limits::SCHEMAS_MAX {
            return Err(Problem::field("metadata.name", "is one more schema than can be in force"));
        }
        let data = compiled.resource().to_json().to_string();
        let origin = self.record(name, APPLIED, Some(data.into())).await?;
        let entry = Entry::new(compiled, &origin);
        let view = Arc::clone(&entry.view);
        let put = |sources: &mut Sources| {
            sources.events.insert(name.to_owned(), entry);
        };
        self.change(put).map_err(|invalid| invalid_problem(&invalid))?;
        info!(schema = name, "schema applied");
        Ok((view, known.is_none()))
    }

    async fn remove(&self, name: &str) -> Result<(), Problem> {
        let _one = self.changing.lock().await;
        self.unless_file(name)?;
        if !self.in_force.load().contains_key(name) {
            return Err(no_schema(name));
        }
        self.record(name, DELETED, None).await?;
        let remove = |sources: &mut Sources| {
            sources.events.remove(name);
        };
        self.change(remove).map_err(|invalid| invalid_problem(&invalid))?;
        info!(schema = name, "schema deleted");
        Ok(())
    }
}

impl Shown for Schemas {
    fn list(&self) -> Vec<Arc<SchemaView>> {
        self.in_force.load().values().map(|entry| Arc::clone(&entry.view)).collect()
    }

    fn get(&self, name: &str) -> Option<Arc<SchemaView>> {
        self.in_force.load().get(name).map(|entry| Arc::clone(&entry.view))
    }

    fn put<'a>(&'a self, name: &'a str, resource: Bytes) -> SchemaAnswer<'a, (Arc<SchemaView>, bool)> {
        Box::pin(self.apply(name, resource))
    }

    fn delete<'a>(&'a self, name: &'a str) -> SchemaAnswer<'a, ()> {
        Box::pin(self.remove(name))
    }
}

fn invalid_problem(invalid: &Invalid) -> Problem {
    Problem::field(&invalid.field, &invalid.why)
}

/// What the journal holds.
async fn recorded(journal: &dyn Journal) -> Result<Entries, StartError> {
    let broken = |reason: String| StartError::Stream { stream: RESOURCES_STREAM.to_owned(), reason };
    let mut entries = Entries::new();
    match journal.stream_info(RESOURCES_STREAM).await {
        Ok(_) => {}
        Err(StreamError::NotFound(_)) => return Ok(entries),
        Err(error) => return Err(broken(error.to_string())),
    }
    let pattern = format!("{RESOURCES_PREFIX}schema.*");
    let pattern = Pattern::parse(&pattern).map_err(|error| broken(error.to_string()))?;
    let mut from = 1;
    loop {
        let read =
            Read { filters: vec![pattern.clone()], last_per_subject: true, ..Read::from(from, PAGE_MESSAGES_MAX) };
        let page = journal.read(RESOURCES_STREAM, read).await.map_err(|error| broken(error.to_string()))?;
        for stored in &page.messages {
            if stored.message.headers.get("ce-type") != Some(APPLIED) {
                continue;
            }
            let compiled = Resource::from_json(&stored.message.payload).and_then(Schema::compile);
            match compiled {
                Ok(schema) => {
                    let origin = Origin::Event { seq: stored.seq, time: stored.time };
                    entries.insert(schema.name().to_owned(), Entry::new(schema, &origin));
                }
                Err(invalid) => {
                    let subject = stored.message.subject.as_str();
                    warn!(%invalid, subject, seq = stored.seq, "a recorded schema cannot be used, and is not in force");
                }
            }
        }
        if page.next > page.last || page.next <= from {
            return Ok(entries);
        }
        from = page.next;
    }
}

/// The schemas of a folder: each `*.yaml` and `*.json` file whose text says that it is one.
fn read_folder(folder: &Path) -> Result<Entries, FileFault> {
    let mut entries = Entries::new();
    for path in file::schema_files(folder)? {
        let (resource, text) = file::read_draft(&path)?;
        let schema = file::compile(resource, &path, &text)?;
        let name = schema.name().to_owned();
        let entry = Entry::new(schema, &Origin::File(path.clone()));
        if entries.insert(name.clone(), entry).is_some() {
            let reason = format!("metadata.name: another file of the folder declares '{name}' too");
            return Err(file::fault(&path, &text, "metadata.name", reason));
        }
    }
    Ok(entries)
}
