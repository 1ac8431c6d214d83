//! The catalogue of services, kept: its stream followed, what runs out taken away, the checks of this node run.
//!
//! # Invariants
//! - The stream is read from where it is the latest of each subject, and then followed: a restart costs what
//!   there is, not what there was.
//! - What is decided here (a check that expires, a session that ends, an instance that is critical for too long)
//!   is written like anybody's command, by the node itself.

mod doors;
mod keeper;
mod meters;
mod probe;
mod runs;
mod turns;

pub(crate) use doors::{CatalogueParts, Services, bind};
pub(crate) use meters::CatalogueCounts;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use catalog::{CheckDraft, Command, Form, Register, ServiceDraft, WasRead};
use door::catalogue::{PATTERN, STREAM};
use door::{Catalogue, Port, Principal};
use event::Pattern;
use journal::limits::PAGE_MESSAGES_MAX;
use journal::{Journal, Read, ReadError, Start, Stored, StreamConfig, StreamError};
use tokio::runtime::Runtime;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use crate::error::StartError;

/// Messages of one subject that are kept: what other doors can read of how it came about.
const HISTORY: u64 = 8;
/// How long a message id is remembered. Writes carry none; messages of other doors may.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(10);
/// Longest wait of one read of the stream.
const LOOK: Duration = Duration::from_secs(30);
/// The port that the original's servers speak to each other at; here it only names the node.
const SERVER_PORT: u16 = 8300;
/// How long to wait where the stream cannot be read.
const PAUSE: Duration = Duration::from_secs(1);

/// The catalogue with what keeps it.
pub(crate) struct Keeper {
    catalogue: Catalogue,
    end: CancellationToken,
    tasks: TaskTracker,
}

impl Keeper {
    /// Makes the stream where it is missing, folds what it holds, and follows it from there on.
    ///
    /// # Errors
    /// [`StartError`] where the stream cannot be made or read.
    pub(crate) async fn open(port: &Port, datacenter: &str, node: &str) -> Result<Keeper, StartError> {
        let refused = |reason: String| StartError::Stream { stream: STREAM.to_owned(), reason };
        let journal = Arc::clone(port.journal());
        declare(&*journal).await.map_err(|error| refused(way_out(&error)))?;
        port.catalogue_changed();
        let catalogue = Catalogue::new(port.clone(), datacenter, node);
        let next = fold_latest(&catalogue, &*journal).await.map_err(|error| refused(error.to_string()))?;
        catalogue.set_ready(true);
        let keeper = Keeper { catalogue, end: CancellationToken::new(), tasks: TaskTracker::new() };
        keeper.tasks.spawn(follow(keeper.catalogue.clone(), journal, next, keeper.end.clone()));
        Ok(keeper)
    }

    /// Registers the node itself, and begins to run checks and to take away what runs out.
    pub(crate) fn begin(&self, runtime: &Runtime, address: Option<IpAddr>) {
        let _entered = runtime.enter();
        let (catalogue, end) = (self.catalogue.clone(), self.end.clone());
        self.tasks.spawn(async move {
            let itself = Principal::anyone();
            let command = registration(catalogue.node(), address);
            if let Err(error) = catalogue.write(&itself, command).await {
                warn!(%error, "the node cannot register itself in the catalogue");
            }
            tokio::join!(keeper::keep(catalogue.clone(), end.clone()), runs::run(catalogue, end));
        });
    }

    /// The catalogue.
    pub(crate) fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Ends what was begun.
    pub(crate) async fn close(&self) {
        self.catalogue.set_ready(false);
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// The node itself, with the service that says that there is a catalogue.
fn registration(node: &str, address: Option<IpAddr>) -> Command {
    let address = address.filter(|address| !address.is_unspecified()).unwrap_or(Ipv4Addr::LOCALHOST.into());
    let alive = CheckDraft {
        id: String::from("serfHealth"),
        name: String::from("Serf Health Status"),
        status: String::from("passing"),
        output: String::from("Agent alive and reachable"),
        ..CheckDraft::default()
    };
    let service = ServiceDraft {
        id: String::from("consul"),
        name: String::from("consul"),
        port: i64::from(SERVER_PORT),
        ..ServiceDraft::default()
    };
    let mut register = Register::new(Form::Catalog, node);
    (register.address, register.service, register.checks) = (address.to_string(), Some(service), vec![alive]);
    Command::Register(Box::new(register))
}

/// Why there is no stream for the catalogue, and how a node starts without one.
fn way_out(error: &StreamError) -> String {
    let reason = match error {
        StreamError::Overlap { other, theirs, .. } => {
            format!("the stream '{other}' has the subjects '{theirs}', where the catalogue is recorded")
        }
        error => error.to_string(),
    };
    format!("{reason}; with `--consul off --dns off` the node starts without a catalogue")
}

async fn declare(journal: &dyn Journal) -> Result<(), StreamError> {
    let pattern = Pattern::parse(PATTERN)
        .map_err(|error| StreamError::Invalid { field: "subjects", reason: error.to_string() })?;
    match journal.stream_info(STREAM).await {
        Ok(found) if found.config.subjects.iter().any(|subjects| subjects.contains(&pattern)) => return Ok(()),
        Ok(found) => {
            let subjects: Vec<&str> = found.config.subjects.iter().map(Pattern::as_str).collect();
            let reason =
                format!("of the stream '{STREAM}' that is there lacks '{PATTERN}': it has '{}'", subjects.join("', '"));
            return Err(StreamError::Invalid { field: "subjects", reason });
        }
        Err(StreamError::NotFound(_)) => {}
        Err(error) => return Err(error),
    }
    let mut config = StreamConfig::new(STREAM, [pattern]);
    config.description = String::from("Services, nodes, keys and sessions: the latest message of a subject holds");
    config.messages_per_subject_max = Some(HISTORY);
    config.duplicate_window = DUPLICATE_WINDOW;
    (config.allow_ttl, config.allow_rollup, config.allow_atomic) = (true, true, true);
    journal.stream_create(config).await.map(drop)
}

/// Folds the latest message of each subject; where to go on. While a page is folded, the messages of the next are read
/// by another thread, and the one behind that by the journal.
async fn fold_latest(catalogue: &Catalogue, journal: &dyn Journal) -> Result<u64, ReadError> {
    let page_from = |next| journal.read(STREAM, Read { last_per_subject: true, ..Read::from(next, PAGE_MESSAGES_MAX) });
    let (mut reader, mut page) = (catalogue.reader(), page_from(1).await?);
    let mut ready = None;
    let next = loop {
        let (next, last) = (page.next, page.last);
        let behind = (next <= last).then(|| page_from(next));
        let reading = spawn_blocking(move || {
            let read: Vec<_> = page.messages.iter().map(|stored| reader.read(stored)).collect();
            (reader, page.messages, read)
        });
        fold_page(catalogue, ready.take());
        let (free, messages, read) = reading.await.map_err(|error| ReadError::Closed(error.to_string()))?;
        reader = free;
        ready = Some((messages, read, next));
        match behind {
            Some(behind) => page = behind.await?,
            None => break next,
        }
    };
    fold_page(catalogue, ready);
    catalogue.end_reading(reader);
    Ok(next)
}

/// Folds messages with what was read of each, up to where the next page begins.
fn fold_page(catalogue: &Catalogue, page: Option<(Vec<Stored>, Vec<WasRead>, u64)>) {
    if let Some((messages, read, next)) = page {
        catalogue.fold_read(messages.iter().zip(read), next.saturating_sub(1));
    }
}

/// Folds what the stream brings, until told to end.
async fn follow(catalogue: Catalogue, journal: Arc<dyn Journal>, mut next: u64, end: CancellationToken) {
    loop {
        let read = Read { start: Start::Seq(next), wait: Some(LOOK), ..Read::from(next, PAGE_MESSAGES_MAX) };
        let page = tokio::select! {
            biased;
            () = end.cancelled() => return,
            page = journal.read(STREAM, read) => page,
        };
        match page {
            Ok(page) => {
                next = page.next;
                catalogue.fold(&page.messages, next.saturating_sub(1));
            }
            Err(ReadError::NotFound(_)) => {
                error!(stream = STREAM, "the catalogue's stream is gone; it is made anew");
                catalogue.forget();
                next = 1;
                if let Err(error) = declare(&*journal).await {
                    error!(%error, "the catalogue's stream cannot be made");
                }
                catalogue.port().catalogue_changed();
                pause(&end).await;
            }
            Err(error) => {
                warn!(%error, "the catalogue's stream cannot be read");
                pause(&end).await;
            }
        }
    }
}

async fn pause(end: &CancellationToken) {
    tokio::select! {
        () = end.cancelled() => {}
        () = sleep(PAUSE) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use door::suite::Plain;
    use door::{Access, Limits};
    use event::{Message, Moment, Subject};
    use journal::Append;
    use journal::local::Local;

    /// Opens the catalogue beside a stream of somebody's.
    async fn check(stream: &str, subjects: &str, expected: &[&str]) {
        let journal: Arc<dyn Journal> = Arc::new(Local::new(Arc::new(|| Moment::EPOCH)));
        journal.stream_create(StreamConfig::new(stream, [Pattern::parse(subjects).unwrap()])).await.unwrap();
        let port = Port::new(journal, Arc::new(Plain::default()), Access::open(), Limits::default());
        let refused = Keeper::open(&port, "dc1", "n1").await.err().map(|error| error.to_string());
        let refused = refused.unwrap_or_else(|| panic!("{stream} {subjects} is taken"));
        for part in expected.iter().chain(&["--consul off --dns off"]) {
            assert!(refused.contains(part), "{refused}");
        }
    }

    #[tokio::test]
    async fn a_stream_in_the_catalogues_place_is_named_with_the_way_out() {
        check("MINE", "catalog.new.*", &["'MINE'", "'catalog.new.*'"]).await;
        check("CATALOG", "products.>", &["'CATALOG'", "'products.>'"]).await;
    }

    #[tokio::test]
    async fn what_was_there_is_folded_page_by_page() {
        let journal: Arc<dyn Journal> = Arc::new(Local::new(Arc::new(|| Moment::EPOCH)));
        declare(&*journal).await.unwrap();
        let count = 2 * PAGE_MESSAGES_MAX + 5;
        for number in 0..=count {
            // One in the middle of a page is no record.
            let payload = if number == PAGE_MESSAGES_MAX + 7 { "?" } else { r#"{"Service":{"Port":80}}"# };
            let subject = Subject::parse(&format!("catalog.dc1.web.n{}.i{number}", number % 100)).unwrap();
            journal.append(Append::new(Message::new(subject, payload)), Box::new(|done| assert!(done.is_ok())));
        }
        let port = Port::new(journal, Arc::new(Plain::default()), Access::open(), Limits::default());
        let keeper = Keeper::open(&port, "dc1", "n1").await.unwrap();
        let catalogue = keeper.catalogue();
        let (sizes, position) = catalogue.read(|state| (state.sizes(), state.position()));
        assert_eq!((sizes, position), ((count, 1, 100), count as u64 + 1));
        assert_eq!((catalogue.unfit(), catalogue.is_ready()), (1, true));
        keeper.close().await;
    }
}
