//! Reading single messages: `STREAM.MSG.GET`, and directly by `DIRECT.GET`.

use std::fmt::Write;
use std::sync::Arc;
use std::task::{Context, Waker};

use base64::Engine;
use door::{Parcel, Principal, Refused};
use event::{Pattern, Subject};
use journal::limits::{PAGE_BYTES_MAX, PAGE_MESSAGES_MAX};
use journal::{Read, ReadError, Start, Stored, Until};
use serde::Serialize;

use super::errors::{self as e, ApiError};
use super::streams::{is_blank, wire_ok};
use super::wire::{MessageGet, Time};
use super::{Answered, JetStream, Request};

/// What the subjects of direct reads begin with.
pub(super) const DIRECT: &str = "$JS.API.DIRECT.GET.";
/// Subjects of one `multi_last` at most.
const MULTI_MAX: usize = 1024;
/// Bytes sent for one batch where nothing is said: as much as may wait for a client.
const BATCH_BYTES: u64 = 64 * 1024 * 1024;

#[derive(Serialize)]
struct Message {
    subject: String,
    seq: u64,
    #[serde(skip_serializing_if = "super::wire::zero")]
    hdrs: String,
    #[serde(skip_serializing_if = "super::wire::zero")]
    data: String,
    time: Time,
}

#[derive(Serialize)]
struct Got {
    message: Message,
}

/// What a client is told of a read that gives it nothing.
type Status = &'static str;

impl JetStream {
    /// `STREAM.MSG.GET.<stream>`
    pub(super) async fn message_get(&self, who: &Principal, stream: &str, request: &Request) -> Answered {
        if is_blank(&request.payload) {
            return Err(e::BAD_REQUEST);
        }
        let asked: MessageGet = self.decode(request)?;
        let (seq, last, next, time) = kinds(&asked);
        let wrong = asked.batch > 0
            || asked.max_bytes > 0
            || (seq && last)
            || !(seq || last || next || time)
            || (seq && time)
            || (time && last)
            || (last && next);
        if wrong {
            return Err(e::BAD_REQUEST);
        }
        self.known(who, stream).await?;
        let stored = self.find_one(who, stream, &asked).await.map_err(ApiError::from)?;
        let base64 = base64::engine::general_purpose::STANDARD;
        let headers = stored.message.headers.as_block();
        let hdrs = match headers.len() {
            _ if asked.no_hdr => String::new(),
            0 => String::new(),
            _ => base64.encode([b"NATS/1.0\r\n", headers.as_ref(), b"\r\n"].concat()),
        };
        let data = base64.encode(&stored.message.payload);
        let subject = stored.message.subject.to_string();
        wire_ok(&Got { message: Message { subject, seq: stored.seq, hdrs, data, time: Time(Some(stored.time)) } })
    }

    /// The message that a request for one names.
    async fn find_one(&self, who: &Principal, stream: &str, asked: &MessageGet) -> Result<Stored, Refused<ReadError>> {
        let (_, last, next, time) = kinds(asked);
        let missing = || Refused::Journal(ReadError::NoMessage);
        let pattern = |text: &str| Pattern::parse(text).map_err(|_| missing());
        if last {
            return self.port.last(who, stream, &pattern(&asked.last_by_subj)?).await;
        }
        if !next && !time {
            return self.port.get(who, stream, asked.seq).await;
        }
        let filters = if next { vec![pattern(&asked.next_by_subj)?] } else { Vec::new() };
        let start = match asked.start_time {
            Some(Time(moment)) => Start::Time(moment.unwrap_or_default()),
            None => Start::Seq(asked.seq.max(1)),
        };
        let read = Read { start, filters, ..Read::from(1, 1) };
        self.port.read(who, stream, read).await?.messages.into_iter().next().ok_or_else(missing)
    }

    /// `DIRECT.GET.<stream>[.<subject>]`: done at once where the journal has it at hand.
    pub(super) fn direct_now(self: &Arc<Self>, who: &Principal, request: Request) -> Option<Request> {
        let (own, who) = (Arc::clone(self), who.clone());
        let mut work = Box::pin(async move { own.direct(&who, &request).await });
        if work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            self.spawn(work);
        }
        None
    }

    async fn direct(&self, who: &Principal, request: &Request) {
        let Some(reply) = &request.reply else {
            return;
        };
        let tail = request.subject.strip_prefix(DIRECT).unwrap_or_default();
        let (stream, key) = tail.split_once('.').unwrap_or((tail, ""));
        let Ok(known) = self.known(who, stream).await else {
            return self.nobody(reply, &request.subject);
        };
        if !known.config.allow_direct && !known.rest.mirror_direct {
            return self.nobody(reply, &request.subject);
        }
        if self.check_level(request).is_err() {
            return self.status(reply, "412 Required Api Level", "");
        }
        let asked = match read_direct(&request.payload, key) {
            Ok(asked) => asked,
            Err(status) => return self.status(reply, status, ""),
        };
        if !asked.multi_last.is_empty() {
            return self.direct_multi(who, stream, &asked, reply).await;
        }
        if asked.batch > 0 {
            return self.direct_batch(who, stream, &asked, reply).await;
        }
        match self.find_one(who, stream, &asked).await {
            Ok(stored) => self.send_stored(reply, stream, &stored, asked.no_hdr, None),
            Err(_) => self.status(reply, "404 Message Not Found", ""),
        }
    }

    /// Says what a server says where nobody answers a subject.
    pub(super) fn nobody(&self, reply: &Subject, subject: &str) {
        self.status(reply, "503", &format!("Nats-Subject: {subject}\r\n"));
    }

    /// Sends a status.
    pub(super) fn status(&self, reply: &Subject, status: &str, headers: &str) {
        let parcel = Parcel { status, headers: headers.as_bytes(), ..Parcel::new(reply.as_str(), b"") };
        self.port.send(reply.as_str(), &parcel);
    }

    /// Sends a message with its place. `behind`: how many are left, and which was sent before it.
    fn send_stored(&self, reply: &Subject, stream: &str, stored: &Stored, bare: bool, behind: Option<(u64, u64)>) {
        let mut headers = String::new();
        if !bare {
            headers.push_str(&String::from_utf8_lossy(stored.message.headers.as_block()));
            let Stored { seq, time, message } = stored;
            let subject = message.subject.as_str();
            // Writing to a string does not fail.
            let _ = write!(
                headers,
                "Nats-Stream: {stream}\r\nNats-Subject: {subject}\r\nNats-Sequence: {seq}\r\nNats-Time-Stamp: {time}\r\n"
            );
            if let Some((pending, last)) = behind {
                let _ = write!(headers, "Nats-Num-Pending: {pending}\r\nNats-Last-Sequence: {last}\r\n");
            }
        }
        let parcel = Parcel { headers: headers.as_bytes(), ..Parcel::new(reply.as_str(), &stored.message.payload) };
        self.port.send(reply.as_str(), &parcel);
    }

    async fn direct_batch(&self, who: &Principal, stream: &str, asked: &MessageGet, reply: &Subject) {
        let (_, _, next, _) = kinds(asked);
        let filter = match Pattern::parse(&asked.next_by_subj) {
            Ok(pattern) if next => Some(pattern),
            Err(_) if next => return self.status(reply, "404 Message Not Found", ""),
            _ => None,
        };
        let mut start = match asked.start_time {
            Some(Time(moment)) => Start::Time(moment.unwrap_or_default()),
            None => Start::Seq(asked.seq.max(1)),
        };
        let room = u64::try_from(asked.max_bytes).ok().filter(|bytes| *bytes > 0).unwrap_or(BATCH_BYTES);
        let batch = usize::try_from(asked.batch).unwrap_or(usize::MAX);
        let (mut sent, mut bytes, mut last) = (0, 0, 0);
        let mut pending = self.pending(who, stream, start, filter.as_ref()).await;
        while sent < batch && bytes < room {
            let read = Read {
                start,
                filters: filter.iter().cloned().collect(),
                bytes: usize::try_from(room - bytes).unwrap_or(PAGE_BYTES_MAX).min(PAGE_BYTES_MAX),
                ..Read::from(1, (batch - sent).min(PAGE_MESSAGES_MAX))
            };
            let Ok(page) = self.port.read(who, stream, read).await else {
                break;
            };
            let ended = page.messages.is_empty() || page.next > page.last;
            for stored in page.messages {
                if bytes >= room {
                    break;
                }
                pending = pending.saturating_sub(1);
                self.send_stored(reply, stream, &stored, asked.no_hdr, Some((pending, last)));
                last = stored.seq;
                bytes += stored.message.size() as u64;
                sent += 1;
            }
            start = Start::Seq(page.next);
            if ended {
                break;
            }
        }
        if sent == 0 {
            return self.status(reply, "404 Message Not Found", "");
        }
        let headers = format!("Nats-Num-Pending: {pending}\r\nNats-Last-Sequence: {last}\r\n");
        self.status(reply, "204 EOB", &headers);
    }

    /// How many messages match from a place on: exact for whole streams, else counted by subject.
    async fn pending(&self, who: &Principal, stream: &str, start: Start, filter: Option<&Pattern>) -> u64 {
        let Ok(info) = self.port.stream_info(who, stream).await else {
            return 0;
        };
        let from = match start {
            Start::Seq(seq) => seq.max(info.state.first),
            Start::Time(_) | Start::New => {
                let read = Read { start, ..Read::from(1, 1) };
                match self.port.read(who, stream, read).await {
                    Ok(page) => page.messages.first().map_or(info.state.last + 1, |stored| stored.seq),
                    Err(_) => return 0,
                }
            }
        };
        let whole = filter.is_none_or(|filter| filter.as_str() == ">");
        if whole && from <= info.state.first {
            return info.state.messages;
        }
        if whole && info.state.deleted == 0 {
            return (info.state.last + 1).saturating_sub(from);
        }
        let (mut count, mut next) = (0, from);
        loop {
            let filters = filter.cloned().into_iter().collect();
            let Ok(page) = self.port.read(who, stream, Read { filters, ..Read::from(next, PAGE_MESSAGES_MAX) }).await
            else {
                return count;
            };
            count += page.messages.len() as u64;
            next = page.next;
            if page.messages.is_empty() || page.next > page.last {
                return count;
            }
        }
    }

    async fn direct_multi(&self, who: &Principal, stream: &str, asked: &MessageGet, reply: &Subject) {
        let filters: Vec<Pattern> = asked.multi_last.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
        let until = match (asked.up_to_seq, asked.up_to_time) {
            (0, Some(Time(moment))) => Some(Until::Time(moment.unwrap_or_default())),
            (0, None) => None,
            (seq, _) => Some(Until::Seq(seq)),
        };
        let Ok(last_seq) = self.port.stream_info(who, stream).await.map(|info| info.state.last) else {
            return self.status(reply, "404 No Results", "");
        };
        let mut found: Vec<Stored> = Vec::new();
        let mut from = asked.seq.max(1);
        loop {
            let read =
                Read { filters: filters.clone(), last_per_subject: true, until, ..Read::from(from, MULTI_MAX + 1) };
            let Ok(page) = self.port.read(who, stream, read).await else {
                break;
            };
            let ended = page.messages.is_empty() || page.next > page.last;
            from = page.next;
            found.extend(page.messages);
            if found.len() > MULTI_MAX {
                return self.status(reply, "413 Too Many Results", "");
            }
            if ended {
                break;
            }
        }
        if found.is_empty() || filters.is_empty() {
            return self.status(reply, "404 No Results", "");
        }
        let room = u64::try_from(asked.max_bytes).ok().filter(|bytes| *bytes > 0).unwrap_or(BATCH_BYTES);
        let batch = usize::try_from(asked.batch).ok().filter(|batch| *batch > 0).unwrap_or(usize::MAX);
        let up_to = match until {
            Some(Until::Seq(seq)) => seq,
            Some(Until::Time(_)) => found.last().map_or(last_seq, |stored| stored.seq),
            None => last_seq,
        };
        let (mut bytes, mut last, mut left) = (0, 0, found.len() as u64);
        for stored in found.iter().take(batch) {
            if bytes >= room {
                break;
            }
            left -= 1;
            self.send_stored(reply, stream, stored, asked.no_hdr, Some((left, last)));
            last = stored.seq;
            bytes += stored.message.size() as u64;
        }
        let headers =
            format!("Nats-Num-Pending: {left}\r\nNats-Last-Sequence: {last}\r\nNats-UpTo-Sequence: {up_to}\r\n");
        self.status(reply, "204 EOB", &headers);
    }
}

/// Which ways of naming a message a request uses: by position, last, next, by time.
fn kinds(asked: &MessageGet) -> (bool, bool, bool, bool) {
    (asked.seq > 0, !asked.last_by_subj.is_empty(), !asked.next_by_subj.is_empty(), asked.start_time.is_some())
}

/// Reads a direct request; `key` is the subject in its subject.
fn read_direct(payload: &[u8], key: &str) -> Result<MessageGet, Status> {
    if key.is_empty() && payload.is_empty() {
        return Err("408 Empty Request");
    }
    let mut asked: MessageGet = super::wire::decode(payload, false).map_err(|_| "408 Malformed Request")?;
    let (seq, last, next, time) = kinds(&asked);
    let multi = !asked.multi_last.is_empty();
    if !key.is_empty() {
        let more = asked.up_to_seq > 0 || asked.up_to_time.is_some() || asked.batch != 0;
        if seq || last || next || time || multi || more {
            return Err("408 Bad Request");
        }
        key.clone_into(&mut asked.last_by_subj);
        return Ok(asked);
    }
    if !(seq || last || next || time || multi) {
        return Err("408 Empty Request");
    }
    let two_kinds = [(seq, last), (seq, time), (time, last), (last, next), (last, multi), (next, multi)];
    let wrong = two_kinds.contains(&(true, true))
        || (last && asked.batch > 0)
        || (asked.up_to_seq > 0 && asked.up_to_time.is_some());
    if wrong { Err("408 Bad Request") } else { Ok(asked) }
}
