//! What a messenger missed: it asks on connect, by `?since=` or `?last=1`.
//!
//! For each room that it subscribes to and a stream keeps, the stream is read from there on, and goes on being
//! read: what is recorded later comes by the same way, so that nothing is missed or doubled where the past
//! ends. Rooms that are not kept come live.
//!
//! # Invariants
//! - No more is read than the connection takes.
//! - A messenger that is read to from the journal hears its own events, too: who sent one is not recorded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use event::units::Span;
use event::{Moment, Pattern};
use journal::{Read, ReadError, Start, Stored};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::receiver::{catalogue, newlines};
use super::shared::{Connection, Shared};
use crate::codec::{Source, decode_room, pattern, write_event};

/// How often it is looked whether there are other streams.
const LOOK: Duration = Duration::from_millis(200);
/// How long one read waits for news.
const WAIT: Duration = Duration::from_secs(30);
/// How long to wait before looking again whether the connection takes more, or the journal is well.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// How long to wait after a failure.
const REST: Duration = Duration::from_secs(1);
/// Events read at a time, and bytes.
const PAGE: (usize, usize) = (256, 256 * 1024);
/// Bytes waiting on the connection beyond which no more is read.
const LADEN_BYTES: usize = 256 * 1024;
/// Keys of which the last value is sent: a building's devices, each with some dozen.
const KEYS_MAX: usize = 10_000;

/// From where on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// From a moment.
    Time(Moment),
    /// From a position of each stream.
    Seq(u64),
    /// From the last value of each key: of each room, subject and type of event.
    Last,
}

impl Since {
    /// What a request asks for: `since` is a moment, a span of time before now, or a position.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn of(since: Option<String>, last: Option<String>, now: Moment) -> Result<Option<Since>, String> {
        match (since, last.as_deref()) {
            (None, None | Some("" | "0" | "false")) => Ok(None),
            (None, Some("1" | "true")) => Ok(Some(Since::Last)),
            (None, Some(_)) => Err(String::from("'last' is 1 or it is left out")),
            (Some(_), Some("1" | "true")) => Err(String::from("'since' and 'last' are asked for one at a time")),
            (Some(text), _) => {
                if let Ok(seq) = text.parse() {
                    return Ok(Some(Since::Seq(seq)));
                }
                if let Ok(Span(span)) = text.parse() {
                    return Ok(Some(Since::Time(now.before(span))));
                }
                // An unencoded `+` of an offset reads as a space.
                let moment = Moment::parse(&text).or_else(|_| Moment::parse(&text.replace(' ', "+")));
                moment.map(|moment| Some(Since::Time(moment))).map_err(|_| {
                    format!("'since={text}' is no time (2026-01-31T12:00:00Z), span (10m) or position (1200)")
                })
            }
        }
    }
}

/// One messenger's replay. Ends when it is dropped.
pub(crate) struct Replay(watch::Sender<Vec<Box<str>>>);

impl Replay {
    pub(crate) fn new(shared: &Arc<Shared>, connection: &Arc<Connection>, since: Since) -> Self {
        let (sender, receiver) = watch::channel(Vec::new());
        shared.tasks.spawn(follow(Arc::clone(shared), Arc::clone(connection), since, receiver));
        Replay(sender)
    }

    /// It wants these rooms now.
    pub(crate) fn want(&mut self, rooms: &[Box<str>]) {
        self.0.send_replace(rooms.to_vec());
    }
}

/// Has a reader for each room and stream.
async fn follow(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    since: Since,
    mut wanted: watch::Receiver<Vec<Box<str>>>,
) {
    let over = CancellationToken::new();
    let mut running: BTreeMap<(Box<str>, String), CancellationToken> = BTreeMap::new();
    let mut version = None;
    loop {
        let now = catalogue(&shared.port);
        if version != Some(now) || wanted.has_changed().unwrap_or(true) {
            version = Some(now);
            let mut rooms = wanted.borrow_and_update().clone();
            if rooms.iter().any(|room| **room == *"*") {
                rooms.retain(|room| **room == *"*");
            }
            let streams = shared.port.journal().streams().await;
            let mut keep: BTreeMap<(Box<str>, String), (String, Pattern)> = BTreeMap::new();
            for (room, each) in rooms.iter().filter_map(|room| Some((room, pattern(room)?))) {
                for info in streams.iter().filter(|info| info.config.subjects.iter().any(|own| own.overlaps(&each))) {
                    let name = format!("{}@{}", info.config.name, info.created.nanos());
                    keep.insert((room.clone(), name), (info.config.name.clone(), each.clone()));
                }
            }
            running.retain(|key, reader| {
                keep.contains_key(key) || {
                    reader.cancel();
                    false
                }
            });
            for (key, (stream, pattern)) in keep {
                running.entry(key).or_insert_with(|| {
                    let token = over.child_token();
                    let reader =
                        Reader { shared: Arc::clone(&shared), connection: Arc::clone(&connection), stream, pattern };
                    let end = token.clone();
                    shared.tasks.spawn(async move {
                        tokio::select! {
                            () = Box::pin(reader.run(since)) => {}
                            () = end.cancelled() => {}
                        }
                    });
                    token
                });
            }
        }
        tokio::select! {
            changed = wanted.changed() => {
                if changed.is_err() {
                    break;
                }
                // Its new rooms are read again from above.
                version = None;
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    over.cancel();
}

struct Reader {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    stream: String,
    pattern: Pattern,
}

impl Reader {
    async fn run(self, since: Since) {
        let mut start = match since {
            Since::Time(moment) => Start::Time(moment),
            Since::Seq(seq) => Start::Seq(seq),
            Since::Last => match self.last().await {
                Some(next) => Start::Seq(next),
                None => return,
            },
        };
        while self.connection.out.closed().is_none() {
            let read = self.read(start, Some(WAIT)).await;
            match read {
                Ok(page) => {
                    for stored in &page.messages {
                        self.send(stored).await;
                    }
                    start = Start::Seq(page.next);
                }
                Err(ReadError::NotFound(_)) => return,
                Err(error) => {
                    warn!(stream = self.stream, id = %self.connection.label(), "cannot replay: {error}");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    async fn read(&self, start: Start, wait: Option<Duration>) -> Result<journal::Page, ReadError> {
        let (limit, bytes) = PAGE;
        let read = Read { start, filters: vec![self.pattern.clone()], limit, bytes, wait, ..Read::from(1, limit) };
        self.shared.port.journal().read(&self.stream, read).await
    }

    /// Sends the last value of each key; where to go on.
    async fn last(&self) -> Option<u64> {
        let mut values: BTreeMap<String, Stored> = BTreeMap::new();
        let mut next = 1;
        loop {
            let page = match self.read(Start::Seq(next), None).await {
                Ok(page) => page,
                Err(error) => {
                    warn!(stream = self.stream, id = %self.connection.label(), "cannot replay: {error}");
                    return None;
                }
            };
            next = page.next;
            for stored in page.messages {
                let header = |name| stored.message.headers.get(name).unwrap_or_default().to_owned();
                let key = format!("{}\n{}\n{}", stored.message.subject, header("ce-subject"), header("ce-type"));
                if values.len() < KEYS_MAX || values.contains_key(&key) {
                    values.insert(key, stored);
                }
            }
            if page.next > page.last {
                break;
            }
        }
        let mut values: Vec<Stored> = values.into_values().collect();
        values.sort_by_key(|stored| stored.seq);
        for stored in &values {
            self.send(stored).await;
        }
        Some(next)
    }

    async fn send(&self, stored: &Stored) {
        let message = &stored.message;
        let out = &self.connection.out;
        let Some(room) = decode_room(message.subject.as_str()) else { return };
        if !self.connection.who.may_read(message.subject.as_str()) {
            return;
        }
        while out.waiting() > LADEN_BYTES && out.closed().is_none() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let newlines = newlines(self.connection.kind, Source::of(message.headers.as_block()));
        let took = out.put(1, message.payload.len(), |bytes| {
            write_event(bytes, self.connection.masks.next(), &room, newlines, &message.payload);
        });
        if took == door::Took::First {
            out.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_a_span_or_a_position() {
        let now = Moment::parse("2026-01-31T12:00:00Z").unwrap();
        let check = |since: Option<&str>, last: Option<&str>, expected: Option<Option<Since>>| {
            let found = Since::of(since.map(str::to_owned), last.map(str::to_owned), now).ok();
            assert_eq!(found, expected, "{since:?} {last:?}");
        };
        let time = |text| Some(Some(Since::Time(Moment::parse(text).unwrap())));
        check(None, None, Some(None));
        check(Some("10m"), None, time("2026-01-31T11:50:00Z"));
        check(Some("2026-01-31T11:00:00Z"), None, time("2026-01-31T11:00:00Z"));
        check(Some("2026-01-31T12:00:00 01:00"), None, time("2026-01-31T11:00:00Z"));
        check(Some("1200"), None, Some(Some(Since::Seq(1200))));
        check(None, Some("1"), Some(Some(Since::Last)));
        for (since, last) in [(Some("yesterday"), None), (None, Some("x")), (Some("1"), Some("1"))] {
            check(since, last, None);
        }
    }
}
