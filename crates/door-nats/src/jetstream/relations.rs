//! Streams that take over what others record: mirrors and sources; and what is published again.
//!
//! Each relation is a task that reads the origin page by page and records what it reads. Where it
//! stands is told by what it recorded: a mirror's last position, or the header
//! [`SOURCE`] of the last message that came of a source.
//!
//! # Invariants
//! - What a relation brings is recorded once and in order, across restarts. One gap is possible: a write
//!   that fails in the middle of a page whose later writes do not, and what its target finds too large.
//! - A relation ends with its stream; an origin that is not there is waited for.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use door::{NOBODY, Parcel, Principal, PublishError};
use event::{Headers, Message, Pattern};
use journal::limits::PAGE_MESSAGES_MAX;
use journal::{Append, AppendError, Read, ReadError, Source, SourceStart, Start, Stored, StreamConfig, StreamError};
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::JetStream;
use super::known::Known;
use super::stream_forms::transform_form;
use super::wire::SourceReply;

/// Header of a message that came of a source: the origin, its position there, filter, transform, and
/// subject, each without white space.
const SOURCE: &str = "Nats-Stream-Source";
/// Messages taken over at a time.
const PAGE: usize = 1_000;
/// How long one read waits for something new.
const WAIT: Duration = Duration::from_secs(30);
/// How long until what failed is tried again.
const AGAIN: Duration = Duration::from_millis(250);

/// How long until a message is offered again to a journal that was busy.
const BUSY: Duration = Duration::from_millis(1);

/// Where a relation stands.
#[derive(Debug, Default)]
struct Standing {
    /// Messages of the origin that are not taken over yet.
    lag: AtomicU64,
    /// When something was last heard of it, in nanoseconds since the epoch; 0: never.
    heard: AtomicU64,
}

struct Relation {
    source: Source,
    mirrors: bool,
    standing: Arc<Standing>,
    task: AbortHandle,
}

impl Drop for Relation {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All relations, by the stream that takes over.
#[derive(Default)]
pub(super) struct Relations {
    of: Mutex<HashMap<String, Vec<Relation>>>,
}

/// Why a relation does not go on.
enum Halt {
    /// The stream that takes over is gone.
    Over,
    /// Something is amiss that may pass.
    Later,
}

impl JetStream {
    /// Lets a stream take over what its declaration says, from now on.
    pub(super) fn relate(self: &Arc<Self>, config: &StreamConfig) {
        let Some(runtime) = self.runtime.as_ref().filter(|_| !self.port.journal().relates()) else {
            return;
        };
        let wanted = config.mirror.iter().map(|source| (source, true));
        let wanted: Vec<_> = wanted.chain(config.sources.iter().map(|source| (source, false))).collect();
        let mut of = self.relations.of.lock();
        if wanted.is_empty() {
            of.remove(&config.name);
            return;
        }
        let mut before = of.remove(&config.name).unwrap_or_default();
        let mut now = Vec::with_capacity(wanted.len());
        for (source, mirrors) in wanted {
            let kept = before.iter().position(|old| old.source == *source && old.mirrors == mirrors);
            now.push(match kept {
                Some(place) => before.swap_remove(place),
                None => {
                    let standing = Arc::new(Standing::default());
                    let (own, stream) = (Arc::downgrade(self), config.name.clone());
                    let (from, progress) = (source.clone(), Arc::clone(&standing));
                    let task = runtime.spawn(async move {
                        while let Some(own) = own.upgrade() {
                            match own.follow(&stream, &from, mirrors, &progress).await {
                                Halt::Over => return,
                                Halt::Later => {}
                            }
                            drop(own);
                            tokio::time::sleep(AGAIN).await;
                        }
                    });
                    Relation { source: source.clone(), mirrors, standing, task: task.abort_handle() }
                }
            });
        }
        of.insert(config.name.clone(), now);
    }

    /// Lets a stream that is gone take over nothing more.
    pub(super) fn unrelate(&self, stream: &str) {
        self.relations.of.lock().remove(stream);
    }

    /// How a stream's mirror and sources are.
    pub(super) fn relations_of(&self, config: &StreamConfig) -> (Option<SourceReply>, Vec<SourceReply>) {
        let now = self.port.now().nanos();
        let of = self.relations.of.lock();
        let standings = of.get(&config.name).map(Vec::as_slice).unwrap_or_default();
        let reply = |source: &Source, mirrors: bool| {
            let standing = standings.iter().find(|each| each.source == *source && each.mirrors == mirrors);
            let (lag, heard) = standing.map_or((0, 0), |each| {
                (each.standing.lag.load(Ordering::Relaxed), each.standing.heard.load(Ordering::Relaxed))
            });
            SourceReply {
                name: source.stream.clone(),
                lag,
                active: match heard {
                    0 => -1,
                    heard => i64::try_from(now.saturating_sub(heard)).unwrap_or(i64::MAX),
                },
                filter_subject: source.filter.as_ref().map(ToString::to_string).unwrap_or_default(),
                subject_transforms: source.transforms.iter().map(transform_form).collect(),
            }
        };
        let mirror = config.mirror.as_ref().map(|source| reply(source, true));
        (mirror, config.sources.iter().map(|source| reply(source, false)).collect())
    }

    /// Takes over what an origin has, and what comes, until something is amiss.
    async fn follow(&self, stream: &str, source: &Source, mirrors: bool, standing: &Standing) -> Halt {
        let mut start = match self.resume(stream, source, mirrors).await {
            Ok(start) => start,
            Err(halt) => return halt,
        };
        let filters: Vec<Pattern> = match source.transforms.as_slice() {
            [] => source.filter.iter().cloned().collect(),
            transforms => transforms.iter().map(|transform| transform.pattern().clone()).collect(),
        };
        loop {
            let read = Read { start, filters: filters.clone(), wait: Some(WAIT), ..Read::from(1, PAGE) };
            let Ok(page) = self.port.journal().read(&source.stream, read).await else {
                return Halt::Later;
            };
            standing.heard.store(self.port.now().nanos(), Ordering::Relaxed);
            standing
                .lag
                .store((page.last + 1).saturating_sub(page.next) + page.messages.len() as u64, Ordering::Relaxed);
            if let Err(halt) = self.take_over(stream, source, mirrors, &page.messages).await {
                return halt;
            }
            standing.lag.store((page.last + 1).saturating_sub(page.next), Ordering::Relaxed);
            start = Start::Seq(page.next);
        }
    }

    /// Records a page of an origin, up to the first message that is refused at once.
    async fn take_over(&self, stream: &str, source: &Source, mirrors: bool, messages: &[Stored]) -> Result<(), Halt> {
        // All are on their way before the first is waited for, so that they share one sync.
        let mut asked = Vec::with_capacity(messages.len());
        let mut outcome = Ok(());
        for stored in messages {
            let Some(append) = append_of(stream, source, mirrors, stored) else {
                continue;
            };
            let (done, mut answer) = journal::answer(|| Err(AppendError::Closed("given up".into())));
            self.port.journal().append(append, done);
            let mut context = Context::from_waker(Waker::noop());
            match answer.as_mut().poll(&mut context) {
                Poll::Pending => asked.push(answer),
                Poll::Ready(answer) => outcome = judge_answer(answer),
            }
            if outcome.is_err() {
                // Most often for want of room: what follows must not overtake it.
                break;
            }
        }
        for answer in asked {
            outcome = outcome.and(judge_answer(answer.await));
        }
        outcome
    }

    /// Where a relation goes on.
    async fn resume(&self, stream: &str, source: &Source, mirrors: bool) -> Result<Start, Halt> {
        let state = match self.port.journal().stream_info(stream).await {
            Ok(info) => info.state,
            Err(StreamError::NotFound(_)) => return Err(Halt::Over),
            Err(_) => return Err(Halt::Later),
        };
        let reached = match mirrors {
            true => Some(state.last).filter(|last| *last > 0),
            false => self.reached(stream, source, state.first, state.last).await?,
        };
        Ok(match (reached, source.start) {
            (Some(reached), _) => Start::Seq(reached + 1),
            (None, None) => Start::Seq(1),
            (None, Some(SourceStart::Seq(seq))) => Start::Seq(seq),
            (None, Some(SourceStart::Time(moment))) => Start::Time(moment),
        })
    }

    /// The last position of a source that was taken over: looked for from a stream's end backward.
    async fn reached(&self, stream: &str, source: &Source, first: u64, last: u64) -> Result<Option<u64>, Halt> {
        let window = PAGE_MESSAGES_MAX as u64;
        let mut until = last;
        while until >= first.max(1) {
            let from = (until + 1).saturating_sub(window).max(first.max(1));
            let (mut next, mut found) = (from, None);
            while next <= until {
                let page = match self.port.journal().read(stream, Read::from(next, PAGE_MESSAGES_MAX)).await {
                    Ok(page) => page,
                    Err(ReadError::NotFound(_)) => return Err(Halt::Over),
                    Err(_) => return Err(Halt::Later),
                };
                found = page.messages.iter().filter_map(|stored| came_of(stored, source)).next_back().or(found);
                if page.next > page.last || page.next <= next {
                    break;
                }
                next = page.next;
            }
            if found.is_some() {
                return Ok(found);
            }
            until = from - 1;
        }
        Ok(None)
    }

    /// Publishes a recorded message again, where its stream says so. One that a stream captures then is
    /// given back, to be recorded with [`JetStream::record_again`].
    pub(super) fn republish(&self, known: &Known, message: &Message, seq: u64, duplicate: bool) -> Option<Message> {
        let wanted = !duplicate && !self.port.journal().relates();
        let republish = known.config.republish.as_ref().filter(|_| wanted)?;
        let recorded = known.config.transform.as_ref().and_then(|transform| transform.apply(&message.subject, seq));
        let recorded = recorded.as_ref().unwrap_or(&message.subject);
        let subject = republish.transform.apply(recorded, seq)?;
        let last = known.last_of(recorded, seq);
        let mut headers = String::from_utf8_lossy(message.headers.as_block()).into_owned();
        let (stream, time) = (&known.config.name, self.port.now());
        // Writing to a string does not fail.
        let _ = write!(
            headers,
            "Nats-Stream: {stream}\r\nNats-Subject: {recorded}\r\nNats-Sequence: {seq}\r\nNats-Time-Stamp: {time}\r\n\
             Nats-Last-Sequence: {last}\r\n"
        );
        if republish.headers_only {
            let _ = write!(headers, "Nats-Msg-Size: {}\r\n", message.payload.len());
        }
        if self.port.captured_by(&subject).is_some() {
            let payload = if republish.headers_only { Bytes::new() } else { message.payload.clone() };
            let headers = Headers::from_block(Bytes::from(headers)).ok()?;
            return Some(Message { headers, payload, ..Message::new(subject, Bytes::new()) });
        }
        let payload: &[u8] = if republish.headers_only { b"" } else { &message.payload };
        let parcel = Parcel { headers: headers.as_bytes(), ..Parcel::new(subject.as_str(), payload) };
        self.port.send(subject.as_str(), &parcel);
        None
    }

    /// Records what is published again, and goes on with `then`: who was told that the first is recorded finds
    /// the second too.
    pub(super) fn record_again(self: &Arc<Self>, message: Message, then: impl FnOnce() + Send + 'static) {
        let way = self.port.fabric().way(message.subject.as_str());
        let (own, append) = (Arc::clone(self), Append::new(message.clone()));
        self.port.publish_from(&Principal::anyone(), NOBODY, Some(&way), append, move |outcome| {
            if matches!(outcome, Err(PublishError::Journal(AppendError::Busy))) {
                let later = Arc::clone(&own);
                return own.spawn(async move {
                    tokio::time::sleep(BUSY).await;
                    later.record_again(message, then);
                });
            }
            own.recorded(&message, None, outcome);
            then();
        });
    }
}

/// What the answer to a recorded message says about going on.
fn judge_answer(answer: Result<journal::Receipt, AppendError>) -> Result<(), Halt> {
    match answer {
        // One that is there already was recorded before a restart.
        Ok(_) | Err(AppendError::Position { .. } | AppendError::TooLarge { .. }) => Ok(()),
        Err(AppendError::NotFound(_) | AppendError::Sealed) => Err(Halt::Over),
        Err(_) => Err(Halt::Later),
    }
}

/// What is recorded of an origin's message; `None`: nothing.
fn append_of(stream: &str, source: &Source, mirrors: bool, stored: &Stored) -> Option<Append> {
    let mut message = stored.message.clone();
    let transform = source.transforms.iter().find(|transform| transform.pattern().matches(message.subject.as_str()));
    if let Some(transform) = transform {
        message.subject = transform.apply(&stored.message.subject, stored.seq)?;
    } else if !source.transforms.is_empty() {
        return None;
    }
    if !mirrors {
        let value = format!("{} {} {}", prefix(source), stored.seq, suffix(source, stored));
        message.headers = message.headers.with(SOURCE, &value).ok()?;
    }
    let at = mirrors.then_some((stored.seq, stored.time));
    Some(Append { into: Some(stream.to_owned()), at, ..Append::new(message) })
}

fn prefix(source: &Source) -> &str {
    &source.stream
}

fn filter_text(source: &Source) -> String {
    match source.transforms.as_slice() {
        [] => source.filter.as_ref().map_or_else(|| ">".to_owned(), ToString::to_string),
        transforms => transforms.iter().map(event::Transform::source).collect::<Vec<_>>().join("\u{c}"),
    }
}

fn destination_text(source: &Source) -> String {
    match source.transforms.as_slice() {
        [] => ">".to_owned(),
        transforms => transforms.iter().map(event::Transform::destination).collect::<Vec<_>>().join("\u{c}"),
    }
}

fn suffix(source: &Source, stored: &Stored) -> String {
    let text = |text: String| if text.is_empty() { ">".to_owned() } else { text };
    format!("{} {} {}", text(filter_text(source)), text(destination_text(source)), stored.message.subject)
}

/// The position in its origin of a message that came of a source.
fn came_of(stored: &Stored, source: &Source) -> Option<u64> {
    // Of several such headers the last is ours: the others came with the message.
    let own = stored.message.headers.iter().filter(|(name, _)| *name == SOURCE).last()?.1;
    let mut parts = own.split(' ');
    let (name, seq) = (parts.next()?, parts.next()?.parse().ok()?);
    let same =
        parts.next() == Some(filter_text(source).as_str()) && parts.next() == Some(destination_text(source).as_str());
    (name == source.stream && same).then_some(seq)
}
