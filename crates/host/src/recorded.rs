//! What a node is told to keep, as events: the stream [`RESOURCES_STREAM`], which is made at the first one.
//!
//! The last event of each subject is what is in force, the ones before are its history. What an event
//! means is its kind's to say (`schemas`, `resources`).

use std::sync::Arc;

use bytes::Bytes;
use door::{Port, RESOURCES_PREFIX};
use door_http::problem::Problem;
use event::cloud::Event;
use event::{Message, Moment, Pattern, Subject};
use journal::limits::PAGE_MESSAGES_MAX;
use journal::{
    Append, AppendError, BatchError, Journal, Page, Read, Receipt, Stored, StreamConfig, StreamError, answer,
};

use crate::error::StartError;

/// The stream of the node's own resources, made when there is a first one.
pub(crate) const RESOURCES_STREAM: &str = "TIDINGS";

/// What it captures.
const RESOURCES_PATTERN: &str = "tidings.resources.>";

/// Changes of one resource that are kept.
pub(crate) const HISTORY_MAX: u64 = 64;

/// The attribute that says who asked for a change.
pub(crate) const BY: &str = "appliedby";

/// A change of one resource.
#[derive(Debug)]
pub(crate) struct Change {
    /// The resource's subject, below [`RESOURCES_PREFIX`].
    pub(crate) subject: String,
    /// The resource's name.
    pub(crate) name: String,
    /// The event's type.
    pub(crate) kind: &'static str,
    /// The resource as JSON; none: it is taken away.
    pub(crate) data: Option<Bytes>,
}

/// Why nothing was recorded.
#[derive(Debug)]
pub(crate) enum Unrecorded {
    /// Another node recorded something meanwhile.
    Moved,
    /// The journal, or the change itself.
    Refused(Problem),
}

impl From<Problem> for Unrecorded {
    fn from(problem: Problem) -> Self {
        Unrecorded::Refused(problem)
    }
}

impl From<AppendError> for Unrecorded {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::LastSeq { .. } => Unrecorded::Moved,
            error => Unrecorded::Refused(error.into()),
        }
    }
}

/// Writes and reads the events of a node's resources.
#[derive(Clone)]
pub(crate) struct Recorder {
    node: String,
    journal: Arc<dyn Journal>,
    port: Port,
}

impl Recorder {
    pub(crate) fn new(node: &str, journal: Arc<dyn Journal>, port: Port) -> Self {
        Recorder { node: node.to_owned(), journal, port }
    }

    /// Records changes, all or none; the position of each, and their moment. Where the engine's servers
    /// know no atomic batches, one after the other. With `after`, only where that is the last position of all.
    ///
    /// # Errors
    /// [`Unrecorded`]; nothing was recorded then, but where the engine knows no batches.
    pub(crate) async fn record(
        &self,
        by: Option<&str>,
        changes: Vec<Change>,
        after: Option<u64>,
    ) -> Result<(Vec<u64>, Moment), Unrecorded> {
        let time = self.port.now();
        let mut appends = Vec::new();
        for change in changes {
            appends.push(Append::new(self.message(change, by, time)?));
        }
        if let Some(first) = appends.first_mut() {
            first.expect.last = after;
        }
        let atomic = self.need_stream(appends.len() > 1).await?;
        if atomic && appends.len() > 1 {
            let count = appends.len() as u64;
            match self.append_all(appends.clone()).await {
                Ok(Receipt { seq: last, .. }) => {
                    return Ok(((1..=count).map(|place| (last + place).saturating_sub(count)).collect(), time));
                }
                Err(AppendError::BatchNotAllowed | AppendError::BatchUnsupported(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut positions = Vec::new();
        for append in appends {
            let (done, recorded) = answer(|| Err(lost()));
            self.journal.append(append, done);
            positions.push(recorded.await?.seq);
        }
        Ok((positions, time))
    }

    async fn append_all(&self, appends: Vec<Append>) -> Result<Receipt, AppendError> {
        let (done, recorded) = answer(|| Err(BatchError { index: 0, error: lost() }));
        self.journal.append_all(appends, done);
        recorded.await.map_err(|refused| refused.error)
    }

    fn message(&self, change: Change, by: Option<&str>, time: Moment) -> Result<Message, Problem> {
        let event = Event {
            id: format!("{}@{time}", change.subject),
            source: format!("/nodes/{}", self.node),
            kind: change.kind.to_owned(),
            subject: Some(change.name),
            time: Some(time.to_string()),
            datacontenttype: change.data.is_some().then(|| String::from("application/json")),
            dataschema: None,
            extensions: by.map(|by| (BY.to_owned(), by.to_owned())).into_iter().collect(),
            data: change.data,
        };
        let subject = format!("{RESOURCES_PREFIX}{}", change.subject);
        let subject = Subject::new(subject.clone()).map_err(|error| Problem::subject(&subject, &error))?;
        event.into_message(subject).map_err(|error| Problem::event(&error))
    }

    /// Makes the stream where it is missing; with `atomic`, has it take batches. Whether it does.
    async fn need_stream(&self, atomic: bool) -> Result<bool, Problem> {
        let known = match self.journal.stream_info(RESOURCES_STREAM).await {
            Ok(known) => known.config,
            Err(StreamError::NotFound(_)) => return self.make_stream().await,
            Err(error) => return Err(error.into()),
        };
        if known.allow_atomic || !atomic {
            return Ok(known.allow_atomic);
        }
        let taken = self.journal.stream_update(StreamConfig { allow_atomic: true, ..known }).await;
        Ok(taken.is_ok_and(|info| info.config.allow_atomic))
    }

    async fn make_stream(&self) -> Result<bool, Problem> {
        let pattern = Pattern::parse(RESOURCES_PATTERN).map_err(|error| Problem::subject(RESOURCES_PATTERN, &error))?;
        let mut config = StreamConfig::new(RESOURCES_STREAM, [pattern]);
        config.description = String::from("What this node was told to keep: resources and their history");
        config.messages_per_subject_max = Some(HISTORY_MAX);
        let mut made = Err(StreamError::NotFound(RESOURCES_STREAM.to_owned()));
        // Servers that know no batches may refuse a stream that is to take them.
        for allow_atomic in [true, false] {
            made = self.journal.stream_create(StreamConfig { allow_atomic, ..config.clone() }).await;
            if !matches!(made, Err(StreamError::Invalid { .. })) {
                break;
            }
        }
        match made {
            Ok(made) => {
                self.port.catalogue_changed();
                Ok(made.config.allow_atomic)
            }
            Err(StreamError::Exists(_)) => {
                self.port.catalogue_changed();
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The last position of all; 0: nothing was ever recorded.
    ///
    /// # Errors
    /// The journal's refusal.
    pub(crate) async fn last(&self) -> Result<u64, StreamError> {
        match self.journal.stream_info(RESOURCES_STREAM).await {
            Ok(info) => Ok(info.state.last),
            Err(StreamError::NotFound(_)) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// The last event of each subject that the pattern, below [`RESOURCES_PREFIX`], matches.
    ///
    /// # Errors
    /// [`StartError::Stream`].
    pub(crate) async fn last_of_each(&self, pattern: &str, each: impl FnMut(&Stored)) -> Result<(), StartError> {
        let broken = |reason: String| StartError::Stream { stream: RESOURCES_STREAM.to_owned(), reason };
        match self.journal.stream_info(RESOURCES_STREAM).await {
            Ok(_) => {}
            Err(StreamError::NotFound(_)) => return Ok(()),
            Err(error) => return Err(broken(error.to_string())),
        }
        let pattern = Pattern::parse(&format!("{RESOURCES_PREFIX}{pattern}"));
        let pattern = pattern.map_err(|error| broken(error.to_string()))?;
        let read = |from| Read {
            filters: vec![pattern.clone()],
            last_per_subject: true,
            ..Read::from(from, PAGE_MESSAGES_MAX)
        };
        pages(&*self.journal, read, each).await.map_err(|error| broken(error.to_string()))
    }

    /// Every event of these subjects, below [`RESOURCES_PREFIX`], that is kept: oldest first.
    ///
    /// # Errors
    /// The journal's refusal.
    pub(crate) async fn history(&self, subjects: &[String], each: impl FnMut(&Stored)) -> Result<(), Problem> {
        match self.journal.stream_info(RESOURCES_STREAM).await {
            Ok(_) => {}
            Err(StreamError::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let full = |subject: &String| {
            let text = format!("{RESOURCES_PREFIX}{subject}");
            Pattern::parse(&text).map_err(|error| Problem::subject(&text, &error))
        };
        let filters = subjects.iter().map(full).collect::<Result<Vec<_>, _>>()?;
        let read = |from| Read { filters: filters.clone(), ..Read::from(from, PAGE_MESSAGES_MAX) };
        pages(&*self.journal, read, each).await.map_err(Problem::from)
    }
}

async fn pages(
    journal: &dyn Journal,
    read: impl Fn(u64) -> Read,
    mut each: impl FnMut(&Stored),
) -> Result<(), journal::ReadError> {
    let mut from = 1;
    loop {
        let page: Page = journal.read(RESOURCES_STREAM, read(from)).await?;
        page.messages.iter().for_each(&mut each);
        if page.next > page.last || page.next <= from {
            return Ok(());
        }
        from = page.next;
    }
}

fn lost() -> AppendError {
    AppendError::Closed(String::from("the journal gave the append up"))
}
