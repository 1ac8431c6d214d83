//! The schemas in force: where they come from, where they are kept, and who asks them.
//!
//! A schema comes from a file of the configured folder, or over the API; a file goes before the API's
//! of the same name. Those of the API are recorded as events (`recorded`): the last event of each subject
//! is what is in force, the ones before are its history.
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
use door::{Check, Port, Unfit};
use door_http::{SchemaAnswer, SchemaView, Schemas as Shown, no_schema, problem::Problem};
use event::{Message, Moment};
use journal::Stored;
use parking_lot::Mutex;
use schema::{Invalid, Resource, Schema, Table, Verdict};
use serde_json::json;
use tracing::{error, info, warn};

use crate::error::{FileFault, StartError};
use crate::recorded::{Change, Recorder, Unrecorded};
pub use file::read_schema;

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
    folder: Option<PathBuf>,
    recorder: Recorder,
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
    pub(crate) async fn open(folder: Option<PathBuf>, recorder: Recorder, port: Port) -> Result<Arc<Self>, StartError> {
        let files = folder.as_deref().map(read_folder).transpose().map_err(StartError::File)?.unwrap_or_default();
        let events = recorded(&recorder).await?;
        let (sources, changing) = (Mutex::new(Sources { files, events }), tokio::sync::Mutex::default());
        let in_force = ArcSwap::default();
        let schemas = Schemas { folder, recorder, port, sources, in_force, changing };
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
    async fn record(&self, name: &str, kind: &'static str, data: Option<Bytes>) -> Result<Origin, Problem> {
        let change = Change { subject: format!("schema.{name}"), name: name.to_owned(), kind, data };
        let (positions, time) = match self.recorder.record(None, vec![change], None).await {
            Ok(recorded) => recorded,
            Err(Unrecorded::Refused(problem)) => return Err(problem),
            Err(Unrecorded::Moved) => return Err(Problem::closed("the schema was recorded after nothing")),
        };
        Ok(Origin::Event { seq: positions.first().copied().unwrap_or(0), time })
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
async fn recorded(recorder: &Recorder) -> Result<Entries, StartError> {
    let mut entries = Entries::new();
    let take = |stored: &Stored| {
        if stored.message.headers.get("ce-type") != Some(APPLIED) {
            return;
        }
        match Resource::from_json(&stored.message.payload).and_then(Schema::compile) {
            Ok(schema) => {
                let origin = Origin::Event { seq: stored.seq, time: stored.time };
                entries.insert(schema.name().to_owned(), Entry::new(schema, &origin));
            }
            Err(invalid) => {
                let subject = stored.message.subject.as_str();
                warn!(%invalid, subject, seq = stored.seq, "a recorded schema cannot be used, and is not in force");
            }
        }
    };
    recorder.last_of_each("schema.*", take).await?;
    Ok(entries)
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
