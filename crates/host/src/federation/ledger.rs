//! What became of facts, as events: deliveries, runs, parts, refusals.
//!
//! Two streams, made when there is a first group: [`LEDGER_STREAM`] forgets by age; [`PARTS_STREAM`]
//! keeps the newest of each part, and for a while a mark in the place of one that is gone.
//!
//! # Invariants
//! - Only the node writes here: the port refuses `tidings.federation.` and `tidings.dynamic.` to clients.
//! - What is recorded of a part is what it is: the newest message of its subject.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use door::Port;
use event::cloud::Event;
use event::{Message, Moment, Pattern, Subject, encode_token};
use journal::limits::PAGE_MESSAGES_MAX;
use journal::{Append, AppendError, Journal, Read, ReadError, Rollup, Stored, StreamConfig, StreamError, answer};
use serde_json::Value;

/// Deliveries, runs and refusals.
pub(super) const LEDGER_STREAM: &str = "FEDERATION";

/// Derived parts.
pub(super) const PARTS_STREAM: &str = "DYNAMIC";

/// How long what became of facts is kept, where their group does not say.
const LEDGER_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long a part that is gone is remembered: as long as anyone may still read from before.
const GONE_AGE: Duration = Duration::from_secs(24 * 3600);

/// Changes of one part that are kept.
const PART_HISTORY_MAX: u64 = 16;

/// The type of the event that says that a part is gone.
const PART_GONE: &str = "dev.tidings.part.dropped";

/// One entry as it was recorded.
pub(super) struct Entry {
    /// The type without `dev.tidings.`.
    pub(super) kind: String,
    /// When.
    pub(super) time: Moment,
    /// What.
    pub(super) data: Bytes,
}

/// See the module.
pub(super) struct Ledger {
    node: String,
    journal: Arc<dyn Journal>,
    port: Port,
    made: AtomicBool,
}

impl Ledger {
    pub(super) fn new(node: &str, journal: &Arc<dyn Journal>, port: &Port) -> Self {
        let (journal, port) = (Arc::clone(journal), port.clone());
        Ledger { node: node.to_owned(), journal, port, made: AtomicBool::new(false) }
    }

    /// Makes the streams, unless they are there.
    ///
    /// # Errors
    /// As the journal says.
    pub(super) async fn need(&self) -> Result<(), StreamError> {
        if self.made.load(Ordering::Acquire) {
            return Ok(());
        }
        let pattern = |text: &str| {
            Pattern::parse(text).map_err(|error| StreamError::Invalid { field: "subjects", reason: error.to_string() })
        };
        let mut ledger = StreamConfig::new(LEDGER_STREAM, [pattern("tidings.federation.>")?]);
        ledger.description = String::from("What became of facts between sites: deliveries, runs, refusals");
        ledger.age_max = Some(LEDGER_AGE);
        let mut parts = StreamConfig::new(PARTS_STREAM, [pattern("tidings.dynamic.>")?]);
        parts.description = String::from("Configuration derived from facts");
        parts.messages_per_subject_max = Some(PART_HISTORY_MAX);
        parts.allow_rollup = true;
        for config in [ledger, parts] {
            match self.journal.stream_info(&config.name).await {
                Ok(_) => {}
                Err(StreamError::NotFound(_)) => match self.journal.stream_create(config).await {
                    Ok(_) | Err(StreamError::Exists(_)) => self.port.catalogue_changed(),
                    Err(error) => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
        self.made.store(true, Ordering::Release);
        Ok(())
    }

    /// Records an entry at `tidings.federation.<tokens>`.
    ///
    /// # Errors
    /// As the journal says.
    pub(super) async fn record(&self, tokens: &[&str], kind: &str, data: Value) -> Result<u64, AppendError> {
        let subject = subject_of("tidings.federation", tokens);
        self.append(subject, &format!("dev.tidings.{kind}"), Some(data), None, None).await
    }

    /// As [`Ledger::record`], where the place does not matter.
    ///
    /// # Errors
    /// As the journal says.
    pub(super) async fn recorded(&self, tokens: &[&str], kind: &str, data: Value) -> Result<(), AppendError> {
        self.record(tokens, kind, data).await.map(|_| ())
    }

    /// Records lines at `tidings.federation.<tokens>`, without waiting; `then` is called when they are on
    /// disk, from an engine's thread. What is lost is history alone.
    ///
    /// # Errors
    /// Where the tokens make no subject; `then` is not called.
    pub(super) fn lines(
        &self,
        tokens: &[&str],
        lines: Vec<u8>,
        then: impl FnOnce() + Send + 'static,
    ) -> Result<(), event::cloud::EventError> {
        let subject = subject_of("tidings.federation", tokens).map_err(event::cloud::EventError::Subject)?;
        let mut message = self.message(subject, "dev.tidings.deliveries", None)?;
        message.payload = lines.into();
        let done = move |answer: Result<journal::Receipt, AppendError>| match answer {
            Ok(_) => then(),
            Err(error) => tracing::debug!(%error, "a record of deliveries is lost"),
        };
        self.journal.append(Append::new(message), Box::new(done));
        Ok(())
    }

    /// Records what a part is now; `None`: that it is gone.
    ///
    /// # Errors
    /// As the journal says.
    pub(super) async fn part(&self, source: &str, part: Option<Value>) -> Result<u64, AppendError> {
        let subject = subject_of("tidings.dynamic.part", &[source]);
        match part {
            Some(part) => self.append(subject, "dev.tidings.part.derived", Some(part), None, None).await,
            None => self.append(subject, PART_GONE, None, Some(GONE_AGE), Some(Rollup::Subject)).await,
        }
    }

    /// The parts that there are, as they were recorded.
    ///
    /// # Errors
    /// As the journal says.
    pub(super) async fn parts(&self) -> Result<Vec<Bytes>, ReadError> {
        let mut read = Read::from(1, PAGE_MESSAGES_MAX);
        read.last_per_subject = true;
        let mut found = Vec::new();
        self.each(PARTS_STREAM, read, |entry| {
            if entry.kind != "part.dropped" {
                found.push(entry.data);
            }
        })
        .await?;
        Ok(found)
    }

    /// Gives every entry below `tidings.federation.<token>`, oldest first.
    ///
    /// # Errors
    /// As the journal says.
    pub(super) async fn entries(&self, token: &str, given: impl FnMut(Entry)) -> Result<(), ReadError> {
        self.entries_at(&format!("{token}.>"), given).await
    }

    /// Gives every entry at `tidings.federation.<tokens>`, oldest first.
    ///
    /// # Errors
    /// As the journal says.
    pub(super) async fn entries_at(&self, tokens: &str, given: impl FnMut(Entry)) -> Result<(), ReadError> {
        let mut read = Read::from(1, PAGE_MESSAGES_MAX);
        read.filters.extend(Pattern::parse(&format!("tidings.federation.{tokens}")));
        self.each(LEDGER_STREAM, read, given).await
    }

    async fn each(&self, stream: &str, mut read: Read, mut given: impl FnMut(Entry)) -> Result<(), ReadError> {
        loop {
            let page = match self.journal.read(stream, read.clone()).await {
                Ok(page) => page,
                Err(ReadError::NotFound(_)) => return Ok(()),
                Err(error) => return Err(error),
            };
            page.messages.iter().filter_map(entry_of).for_each(&mut given);
            if page.next > page.last || page.messages.is_empty() {
                return Ok(());
            }
            read.start = journal::Start::Seq(page.next);
        }
    }

    async fn append(
        &self,
        subject: Result<Subject, event::SubjectError>,
        kind: &str,
        data: Option<Value>,
        ttl: Option<Duration>,
        rollup: Option<Rollup>,
    ) -> Result<u64, AppendError> {
        let refused = |reason: String| AppendError::Closed(reason);
        self.need().await.map_err(|error| refused(error.to_string()))?;
        let subject = subject.map_err(|error| refused(error.to_string()))?;
        let message = self.message(subject, kind, data).map_err(|error| refused(error.to_string()))?;
        let (done, recorded) = answer(|| Err(AppendError::Closed(String::from("the journal gave the append up"))));
        self.journal.append(Append { ttl, rollup, ..Append::new(message) }, done);
        Ok(recorded.await?.seq)
    }

    fn message(&self, subject: Subject, kind: &str, data: Option<Value>) -> Result<Message, event::cloud::EventError> {
        let time = self.port.now();
        let event = Event {
            id: format!("{}@{}", subject.as_str(), time.nanos()),
            source: format!("/nodes/{}", self.node),
            kind: kind.to_owned(),
            subject: None,
            time: Some(time.to_string()),
            datacontenttype: data.is_some().then(|| String::from("application/json")),
            dataschema: None,
            extensions: Vec::new(),
            data: data.map(|data| data.to_string().into()),
        };
        event.into_message(subject)
    }
}

fn subject_of(prefix: &str, tokens: &[&str]) -> Result<Subject, event::SubjectError> {
    let tokens: String = tokens.iter().flat_map(|token| [String::from("."), encode_token(token)]).collect();
    Subject::new(format!("{prefix}{tokens}"))
}

fn entry_of(stored: &Stored) -> Option<Entry> {
    let kind = stored.message.headers.get("ce-type")?.strip_prefix("dev.tidings.")?.to_owned();
    Some(Entry { kind, time: stored.time, data: stored.message.payload.clone() })
}
