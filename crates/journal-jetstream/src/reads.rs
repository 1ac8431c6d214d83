//! Reading: pages, single messages, subjects.
//!
//! Pages come from direct reads, which any replica answers and which cost the leader nothing. A replica
//! may lag, so the leader is asked what the stream's last position is before the page counts as
//! complete, and where the replica gave less, the leader is asked for what follows. The last message of
//! a subject is asked of the leader alone.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Message as Wire;
use event::{Moment, Pattern, Subject};
use futures_util::StreamExt;
use futures_util::future::join_all;
use journal::limits::{PAGE_BYTES_MAX, PAGE_MESSAGES_MAX, PATTERNS_MAX, WAIT_MAX};
use journal::{Page, Read, ReadError, Start, Stored, StreamError, SubjectState, Until};
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::api::{API, Fault, call};
use crate::codec::{direct, got, number};
use crate::engine::Shared;
use crate::limits::{GETS_AT_A_TIME, REQUEST_DEADLINE, REQUEST_TIMEOUT, RETRY_PAUSE};
use crate::streams::{ask, is_name};
use crate::wire::{Got, State, Stream};

const NO_MESSAGE: u32 = 10037;

/// Messages that one batch of several filters asks for at least for each.
const EACH_MIN: usize = 16;

fn failed(name: &str, fault: Fault) -> ReadError {
    match fault {
        Fault::Refused(error) if error.err_code == 10059 => ReadError::NotFound(name.to_owned()),
        Fault::Refused(error) if error.err_code == NO_MESSAGE => ReadError::NoMessage,
        other => ReadError::Storage(other.to_string()),
    }
}

async fn state_of(shared: &Shared, name: &str) -> Result<State, ReadError> {
    match ask(shared, name).await {
        Ok(stream) => Ok(stream.state),
        Err(StreamError::NotFound(name)) => Err(ReadError::NotFound(name)),
        Err(error) => Err(ReadError::Storage(error.to_string())),
    }
}

/// One message, asked of the leader.
async fn leader(shared: &Shared, name: &str, what: Value) -> Result<Stored, ReadError> {
    if !is_name(name) {
        return Err(ReadError::NotFound(name.to_owned()));
    }
    let asked: Result<Got, Fault> = call(&shared.client, &format!("STREAM.MSG.GET.{name}"), &what).await;
    let message = asked.map_err(|fault| failed(name, fault))?.message;
    got(&message).ok_or(ReadError::Damaged(message.seq))
}

pub(crate) async fn get(shared: Arc<Shared>, name: String, seq: u64) -> Result<Stored, ReadError> {
    if seq == 0 {
        state_of(&shared, &name).await?;
        return Err(ReadError::NoMessage);
    }
    leader(&shared, &name, json!({ "seq": seq })).await
}

pub(crate) async fn last(shared: Arc<Shared>, name: String, pattern: Pattern) -> Result<Stored, ReadError> {
    leader(&shared, &name, json!({ "last_by_subj": pattern.as_str() })).await
}

pub(crate) async fn read(
    shared: Arc<Shared>,
    name: String,
    read: Read,
    gate: Option<oneshot::Sender<()>>,
) -> Result<Page, ReadError> {
    if read.filters.len() > PATTERNS_MAX {
        return Err(ReadError::Filters);
    }
    let mut read =
        Read { limit: read.limit.clamp(1, PAGE_MESSAGES_MAX), bytes: read.bytes.clamp(1, PAGE_BYTES_MAX), ..read };
    let page = page(&shared, &name, &mut read).await?;
    // Where it begins is settled.
    drop(gate);
    let Some(wait) = read.wait.filter(|_| page.messages.is_empty() && !read.last_per_subject && read.until.is_none())
    else {
        return Ok(page);
    };
    let deadline = Instant::now() + wait.min(WAIT_MAX);
    let mut follower = match timeout(wait, shared.followers.join(&shared, &name)).await {
        Ok(follower) => follower,
        Err(_) => return Ok(page),
    };
    loop {
        let page = self::page(&shared, &name, &mut read).await?;
        if !page.messages.is_empty() || Instant::now() >= deadline {
            return Ok(page);
        }
        read.start = Start::Seq(page.next);
        follower.next_matching(page.next, &read.filters, deadline).await;
    }
}

/// One page, without waiting. Settles where a read of what is new begins.
async fn page(shared: &Arc<Shared>, name: &str, read: &mut Read) -> Result<Page, ReadError> {
    let state = state_of(shared, name).await?;
    let last = match read.until {
        None => state.last_seq,
        Some(Until::Seq(seq)) => seq.min(state.last_seq),
        Some(Until::Time(time)) => up_to(shared, name, time, state.last_seq).await?,
    };
    if read.start == Start::New {
        read.start = Start::Seq(last + 1);
    }
    let from = match read.start {
        Start::Seq(seq) => seq.max(1),
        Start::Time(_) | Start::New => 1,
    };
    let nothing = Page { messages: Vec::new(), next: from.max(last + 1), last, damaged: Vec::new() };
    if state.messages == 0 || from > last {
        return Ok(nothing);
    }
    let since = match read.start {
        Start::Time(time) => Some(time),
        _ => None,
    };
    let mut found = if read.last_per_subject {
        last_of_each(shared, name, read, from, since, last).await?
    } else {
        matching(shared, name, read, from, since, last).await?
    };
    if read.until.is_some() {
        let beyond = found.messages.iter().any(|stored| stored.seq > last);
        found.messages.retain(|stored| stored.seq <= last);
        found.complete |= beyond;
    }
    found.cut(read.limit, read.bytes);
    let seen = found.messages.last().map_or(last, |stored| stored.seq.max(last));
    let next = match found.messages.last() {
        Some(stored) if !found.complete => stored.seq + 1,
        _ => nothing.next.max(seen + 1),
    };
    Ok(Page { messages: found.messages, next, last: seen, damaged: Vec::new() })
}

/// The last position recorded at or before a moment.
async fn up_to(shared: &Arc<Shared>, name: &str, time: Moment, last: u64) -> Result<u64, ReadError> {
    let after = Moment::from_nanos(time.nanos().saturating_add(1)).to_string();
    match leader(shared, name, json!({ "start_time": after, "next_by_subj": ">" })).await {
        Ok(stored) => Ok(stored.seq - 1),
        Err(ReadError::NoMessage) => Ok(last),
        Err(error) => Err(error),
    }
}

/// Messages in order of position.
struct Found {
    messages: Vec<Stored>,
    /// Whether there is nothing more behind them.
    complete: bool,
}

impl Found {
    /// Keeps what a page may hold.
    fn cut(&mut self, limit: usize, bytes: usize) {
        let mut left = bytes;
        let mut count = 0;
        for stored in self.messages.iter().take(limit) {
            let size = stored.message.size();
            if count > 0 && size > left {
                break;
            }
            left = left.saturating_sub(size);
            count += 1;
        }
        if count < self.messages.len() {
            self.messages.truncate(count);
            self.complete = false;
        }
    }
}

async fn matching(
    shared: &Arc<Shared>,
    name: &str,
    read: &Read,
    from: u64,
    since: Option<Moment>,
    last: u64,
) -> Result<Found, ReadError> {
    if read.filters.is_empty() {
        return one_filter(shared, name, None, read.limit, read.bytes, from, since, last).await;
    }
    let each = (read.limit / read.filters.len()).max(EACH_MIN).min(read.limit);
    let limit = if read.filters.len() == 1 { read.limit } else { each };
    let asked =
        read.filters.iter().map(|filter| one_filter(shared, name, Some(filter), limit, read.bytes, from, since, last));
    let all: Vec<Result<Found, ReadError>> = join_all(asked.collect::<Vec<_>>()).await;
    let (mut messages, mut horizon) = (Vec::new(), u64::MAX);
    for found in all {
        let found = found?;
        if !found.complete {
            horizon = horizon.min(found.messages.last().map_or(0, |stored| stored.seq));
        }
        messages.extend(found.messages);
    }
    messages.sort_by_key(|stored| stored.seq);
    messages.dedup_by_key(|stored| stored.seq);
    messages.retain(|stored| stored.seq <= horizon);
    Ok(Found { messages, complete: horizon == u64::MAX })
}

/// What one filter matches, from a position or moment on, complete up to the stream's last position.
#[expect(clippy::too_many_arguments, reason = "one question, told apart nowhere else")]
async fn one_filter(
    shared: &Arc<Shared>,
    name: &str,
    filter: Option<&Pattern>,
    limit: usize,
    bytes: usize,
    from: u64,
    since: Option<Moment>,
    last: u64,
) -> Result<Found, ReadError> {
    let mut what = Map::new();
    what.insert(String::from("batch"), json!(limit));
    what.insert(String::from("max_bytes"), json!(bytes));
    match since {
        Some(time) => drop(what.insert(String::from("start_time"), json!(time.to_string()))),
        None => drop(what.insert(String::from("seq"), json!(from))),
    }
    if let Some(filter) = filter.map(Pattern::as_str).or(since.map(|_| ">")) {
        what.insert(String::from("next_by_subj"), json!(filter));
    }
    let batch = batch(shared, name, &Value::Object(what)).await?;
    let mut found = Found { complete: batch.pending == 0, messages: batch.messages };
    let reached = found.messages.last().map_or(0, |stored| stored.seq);
    if !found.complete || reached >= last || found.messages.len() >= limit {
        found.complete = found.complete && reached >= last;
        if found.messages.len() >= limit || reached >= last {
            return Ok(found);
        }
    }
    // The replica ended before the stream does: either nothing more matches, or it lags.
    let filter = filter.map_or(">", Pattern::as_str);
    let mut next = reached.max(from - 1) + 1;
    while found.messages.len() < limit {
        let what = match since {
            Some(time) if reached == 0 && next == from => {
                json!({ "start_time": time.to_string(), "next_by_subj": filter })
            }
            _ => json!({ "seq": next, "next_by_subj": filter }),
        };
        match leader(shared, name, what).await {
            Ok(stored) => {
                next = stored.seq + 1;
                found.messages.push(stored);
            }
            Err(ReadError::NoMessage) => {
                found.complete = true;
                return Ok(found);
            }
            Err(error) => return Err(error),
        }
    }
    found.complete = false;
    Ok(found)
}

/// What a direct read gave.
struct Batch {
    messages: Vec<Stored>,
    pending: u64,
    /// Up to which position the replica looked, where it says so.
    up_to: Option<u64>,
    too_many: bool,
}

/// Asks for many messages at once.
async fn batch(shared: &Shared, name: &str, what: &Value) -> Result<Batch, ReadError> {
    let deadline = Instant::now() + REQUEST_DEADLINE;
    let mut pause = RETRY_PAUSE.0;
    loop {
        match batch_once(shared, name, what).await {
            Ok(batch) => return Ok(batch),
            Err(reason) if Instant::now() + pause >= deadline => return Err(ReadError::Storage(reason)),
            Err(_) => {}
        }
        state_of(shared, name).await?;
        sleep(pause).await;
        pause = (pause * 2).min(RETRY_PAUSE.1);
    }
}

async fn batch_once(shared: &Shared, name: &str, what: &Value) -> Result<Batch, String> {
    let inbox = shared.client.new_inbox();
    let mut answers = shared.client.subscribe(inbox.clone()).await.map_err(|error| error.to_string())?;
    let subject = format!("{API}DIRECT.GET.{name}");
    let body = what.to_string().into_bytes();
    shared.client.publish_with_reply(subject, inbox, body.into()).await.map_err(|error| error.to_string())?;
    let mut batch = Batch { messages: Vec::new(), pending: 0, up_to: None, too_many: false };
    loop {
        let wire = match timeout(REQUEST_TIMEOUT, answers.next()).await {
            Ok(Some(wire)) => wire,
            Ok(None) => return Err(String::from("the connection was lost")),
            Err(_) => return Err(String::from("the servers did not answer in time")),
        };
        match wire.status.map(|status| status.as_u16()) {
            None | Some(200) => {
                if let Some(found) = direct(wire) {
                    batch.pending = found.pending;
                    batch.messages.push(found.stored);
                }
            }
            Some(204) => return Ok(end_of(batch, &wire)),
            Some(404) => return Ok(Batch { pending: 0, ..batch }),
            Some(413) => return Ok(Batch { too_many: true, ..batch }),
            Some(status) => return Err(format!("status {status}")),
        }
    }
}

fn end_of(batch: Batch, wire: &Wire) -> Batch {
    let pending = number(wire, "Nats-Num-Pending").unwrap_or(batch.pending);
    Batch { pending, up_to: number(wire, "Nats-UpTo-Sequence"), ..batch }
}

/// The last message of each subject, from a position on.
async fn last_of_each(
    shared: &Arc<Shared>,
    name: &str,
    read: &Read,
    from: u64,
    since: Option<Moment>,
    last: u64,
) -> Result<Found, ReadError> {
    let filters: Vec<&str> = read.filters.iter().map(Pattern::as_str).collect();
    let filters = if filters.is_empty() { vec![">"] } else { filters };
    let (mut pause, deadline) = (Duration::from_millis(2), Instant::now() + REQUEST_DEADLINE);
    let batch = loop {
        let mut what = json!({ "multi_last": filters, "seq": from });
        if let (Some(_), Value::Object(what)) = (read.until, &mut what) {
            what.insert(String::from("up_to_seq"), json!(last));
        }
        let batch = batch(shared, name, &what).await?;
        // A replica that lags would tell of an earlier time.
        if batch.too_many || batch.up_to.is_none_or(|up_to| up_to >= last) || Instant::now() >= deadline {
            break batch;
        }
        sleep(pause).await;
        pause = (pause * 2).min(RETRY_PAUSE.0);
    };
    let mut messages = if batch.too_many {
        shared.followers.last_of_each(shared, name, &read.filters).await.map_err(|fault| failed(name, fault))?
    } else {
        batch.messages
    };
    messages.retain(|stored| stored.seq >= from && since.is_none_or(|time| stored.time >= time));
    messages.sort_by_key(|stored| stored.seq);
    Ok(Found { messages, complete: true })
}

pub(crate) async fn subjects(
    shared: Arc<Shared>,
    name: String,
    pattern: Pattern,
    after: Option<Subject>,
    limit: usize,
) -> Result<Vec<SubjectState>, ReadError> {
    state_of(&shared, &name).await?;
    let mut counts: Vec<(Subject, u64)> = Vec::new();
    let mut offset = 0_usize;
    loop {
        let what = json!({ "subjects_filter": pattern.as_str(), "offset": offset });
        let asked: Result<Stream, Fault> = call(&shared.client, &format!("STREAM.INFO.{name}"), &what).await;
        let page = asked.map_err(|fault| failed(&name, fault))?.state.subjects.unwrap_or_default();
        if page.is_empty() {
            break;
        }
        offset += page.len();
        let known = page.into_iter().filter_map(|(subject, count)| Some((Subject::parse(&subject).ok()?, count)));
        counts.extend(known.filter(|(subject, _)| after.as_ref().is_none_or(|after| subject > after)));
    }
    counts.sort();
    counts.dedup_by(|a, b| a.0 == b.0);
    counts.truncate(limit.min(PAGE_MESSAGES_MAX));
    let mut states = Vec::with_capacity(counts.len());
    let mut counts = counts.into_iter();
    loop {
        let some = counts.by_ref().take(GETS_AT_A_TIME);
        let asked: Vec<_> = some.map(|(subject, messages)| ends_of(&shared, &name, subject, messages)).collect();
        if asked.is_empty() {
            return Ok(states);
        }
        for ends in join_all(asked).await {
            states.extend(ends?);
        }
    }
}

/// First and last position of a subject; `None` where it went in the meantime.
async fn ends_of(
    shared: &Shared,
    name: &str,
    subject: Subject,
    messages: u64,
) -> Result<Option<SubjectState>, ReadError> {
    let end = |what: Value| async {
        match leader(shared, name, what).await {
            Ok(stored) => Ok(Some(stored.seq)),
            Err(ReadError::NoMessage) => Ok(None),
            Err(error) => Err(error),
        }
    };
    let Some(last) = end(json!({ "last_by_subj": subject.as_str() })).await? else { return Ok(None) };
    let first = match messages {
        1 => last,
        _ => end(json!({ "seq": 1, "next_by_subj": subject.as_str() })).await?.unwrap_or(last),
    };
    Ok(Some(SubjectState { subject, messages, first, last }))
}

pub(crate) async fn deleted(shared: Arc<Shared>, name: String, from: u64, limit: usize) -> Result<Vec<u64>, ReadError> {
    state_of(&shared, &name).await?;
    let asked: Result<Stream, Fault> =
        call(&shared.client, &format!("STREAM.INFO.{name}"), &json!({ "deleted_details": true })).await;
    let all = asked.map_err(|fault| failed(&name, fault))?.state.deleted.unwrap_or_default();
    Ok(all.into_iter().filter(|seq| *seq >= from).take(limit).collect())
}
