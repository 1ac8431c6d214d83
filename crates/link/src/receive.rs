//! Receiving what peers push: one fact, a batch, a question after a fact, and the status.
//!
//! For a group's listener as for a door: a request and its body, whatever they came by. The order of the
//! checks and their answers are the original's (the wire facts, section 2), with what it lacks: a body that
//! is too large is 413, facts of a group or source that the key is not for are 403, and so is a fact that
//! claims to come from this node. A request that was taken before, signature and all, is answered as a
//! duplicate, whatever became of its facts since.
//!
//! # Invariants
//! - Nobody's body is looked into before its signature is found good.
//! - A fact is answered 200 only after the intake has said that it is taken, which means on disk.
//! - All bodies together hold [`crate::limits::HELD_BYTES_MAX`] at most; beyond that, senders are told to
//!   come again.
//!
//! Cost: a pass over the body for each accepted key, one to decode; large ones beside the asynchronous tasks.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use event::{Fact, Moment};
use federation::envelope;
use federation::intake::{self, Binding, Freshness, Reject, ReplayCache};
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{ALLOW, CONTENT_TYPE, FORWARDED, HeaderMap, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::batch;
use crate::body::{BodyWaits, Held, Room, read};
use crate::limits::{BATCH_BYTES_MAX, BODY_BYTES_MAX, INLINE_BYTES_MAX};
use crate::secret::KeyRing;
use crate::wire::{BATCH, EVENTS, SIGNATURE, STATUS, TIMESTAMP, TRACE};

/// Headers by which a proxy says for whom it asks.
const PROXIED: [&str; 2] = ["x-forwarded-for", "x-real-ip"];

/// What is being done, until it is done.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who takes what peers push.
pub trait Intake: Send + Sync {
    /// The keys that are accepted now.
    fn keys(&self) -> Arc<KeyRing>;

    /// What time it is.
    fn now(&self) -> Moment;

    /// How far a timestamp may be off: the widest of the groups.
    fn window(&self) -> Duration;

    /// How far it may be off in the group that a key is bound to.
    fn window_of(&self, binding: &Binding) -> Duration {
        let _all_alike = binding;
        self.window()
    }

    /// The name of this node in a group.
    fn own_node(&self, group: &str) -> Arc<str>;

    /// What is shared by all who receive for this intake.
    fn gate(&self) -> &Gate;

    /// Takes facts that a holder of this key may tell, and answers for each of them, in order, once it is on
    /// disk. The intake itself counts what it answers here; the rest it is told by [`Intake::note`].
    fn take<'a>(&'a self, binding: &'a Binding, facts: Vec<Fact>) -> Doing<'a, Vec<Result<Taken, Reject>>>;

    /// What was received so far.
    fn status(&self) -> Status;

    /// What is known here of a fact in the key's group; `None` where a peer is not told.
    fn trace<'a>(&'a self, binding: &'a Binding, id: &'a str) -> Doing<'a, Option<Value>> {
        let _not_told = (binding, id);
        Box::pin(ready(None))
    }

    /// Something was not handed to [`Intake::take`].
    fn note(&self, noted: Noted<'_>);
}

/// A fact that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// It was there already.
    pub duplicate: bool,
}

/// What was not handed on.
#[derive(Debug, Clone, Copy)]
pub struct Noted<'a> {
    /// The key that signed. `None`: none, or it is not known.
    pub via: Option<&'a Binding>,
    /// The fact. `None`: it was not read.
    pub fact: Option<&'a Fact>,
    /// Why. `None`: it is a replay, answered as a duplicate.
    pub reject: Option<&'a Reject>,
}

/// What a receiver says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// This node.
    pub node: String,
    /// The group; several are told apart by commas.
    pub group: String,
    /// Facts taken, new and not.
    pub received: u64,
    /// Of these, facts that were there already.
    pub duplicate: u64,
    /// Requests and facts refused.
    pub rejected: u64,
    /// Facts in the table.
    pub stored_events: u64,
    /// How far a timestamp may be off.
    pub replay_window_seconds: u64,
}

/// What all who receive for one intake share: requests taken lately, and room for bodies.
#[derive(Debug)]
pub struct Gate {
    replays: Mutex<Option<Replays>>,
    room: Room,
    waits: BodyWaits,
}

/// Requests taken lately, and how long they are kept.
#[derive(Debug)]
struct Replays {
    window: Duration,
    cache: ReplayCache,
}

impl Gate {
    /// A gate where bodies may take so long.
    pub fn new(waits: BodyWaits) -> Self {
        Gate { replays: Mutex::default(), room: Room::default(), waits }
    }

    fn knows(&self, timestamp: i64, signature: &str) -> bool {
        self.replays.lock().as_ref().is_some_and(|known| known.cache.seen(timestamp, signature.as_bytes()))
    }

    /// Keeps a request that was taken. A window of another length starts anew: ids are still known.
    fn keep(&self, window: Duration, now: i64, timestamp: i64, signature: &str) {
        let mut replays = self.replays.lock();
        if replays.as_ref().is_none_or(|known| known.window != window) {
            *replays = Some(Replays { window, cache: ReplayCache::new(Freshness::new(window)) });
        }
        if let Some(known) = replays.as_mut() {
            known.cache.note(now, timestamp, signature.as_bytes());
        }
    }
}

impl Default for Gate {
    fn default() -> Self {
        Gate::new(BodyWaits::default())
    }
}

/// A request with a good signature.
struct Signed<'a> {
    body: Bytes,
    /// What its keys are for: one, as a rule.
    bindings: Vec<Binding>,
    timestamp: i64,
    signature: String,
    /// It was taken before.
    replayed: bool,
    held: Held<'a>,
}

type Answer = Response<Full<Bytes>>;

/// Answers a request. `trusted` tells whether who asks may see the status without a signature: it came over
/// loopback, or showed a certificate that was asked for.
pub async fn receive<B>(intake: &dyn Intake, request: Request<B>, trusted: bool) -> Answer
where
    B: Body<Data = Bytes> + Send,
{
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if matches!(path, EVENTS | BATCH | TRACE) && head.method != Method::POST {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, Bytes::new());
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return answer;
    }
    let answered = match path {
        EVENTS => one(intake, &head, body).await,
        BATCH => many(intake, &head, body).await,
        TRACE => trace(intake, &head, body).await,
        STATUS => status(intake, &head, body, trusted).await,
        _ => Ok(plain(StatusCode::NOT_FOUND, Bytes::from_static(b"404 page not found\n"))),
    };
    answered.unwrap_or_else(|reject| {
        tracing::debug!(path, reason = reject.reason(), "a push is refused");
        intake.note(Noted { via: None, fact: None, reject: Some(&reject) });
        refused(&reject)
    })
}

async fn one<B>(intake: &dyn Intake, head: &Parts, body: B) -> Result<Answer, Reject>
where
    B: Body<Data = Bytes> + Send,
{
    let signed = signed(intake, head, body, BODY_BYTES_MAX).await?;
    let fact = decode(&signed.body)?;
    let binding = match bound(intake, &signed.bindings, &fact) {
        Ok(place) => &signed.bindings[place],
        Err(reject) => {
            intake.note(Noted { via: signed.bindings.first(), fact: Some(&fact), reject: Some(&reject) });
            return Ok(refused(&reject));
        }
    };
    let id = fact.id.clone();
    if signed.replayed {
        intake.note(Noted { via: Some(binding), fact: Some(&fact), reject: None });
        return Ok(accepted(&id, true));
    }
    match intake.take(binding, vec![fact]).await.pop().unwrap_or(Err(Reject::StoreError)) {
        Ok(taken) => {
            remember(intake, &signed);
            Ok(accepted(&id, taken.duplicate))
        }
        Err(reject) => Ok(refused(&reject)),
    }
}

async fn many<B>(intake: &dyn Intake, head: &Parts, body: B) -> Result<Answer, Reject>
where
    B: Body<Data = Bytes> + Send,
{
    let mut signed = signed(intake, head, body, BATCH_BYTES_MAX).await?;
    let packed = batch::is_packed(&head.headers)?;
    if packed {
        let room = batch::unpacked_bytes(&signed.body)?;
        intake.gate().room.take(&mut signed.held, room)?;
    }
    let body = signed.body.clone();
    let facts = beside(signed.body.len(), move || batch::decode(&body, packed)).await.unwrap_or(Err(Reject::Busy))?;
    let batch::Judged { results, all } = batch::take(intake, &signed.bindings, facts, signed.replayed).await;
    if all && !signed.replayed {
        remember(intake, &signed);
    }
    Ok(json(&results))
}

/// A peer asks what is known of a fact.
#[derive(Deserialize)]
struct Question {
    group: String,
    id: String,
}

async fn trace<B>(intake: &dyn Intake, head: &Parts, body: B) -> Result<Answer, Reject>
where
    B: Body<Data = Bytes> + Send,
{
    let signed = signed(intake, head, body, BODY_BYTES_MAX).await?;
    let Question { group, id } = serde_json::from_slice(&signed.body).map_err(|_| Reject::BadBody)?;
    let binding = signed.bindings.iter().find(|binding| binding.group == group).ok_or_else(|| {
        Reject::ForeignGroup(signed.bindings.first().map(|binding| binding.group.clone()).unwrap_or_default())
    })?;
    Ok(match intake.trace(binding, &id).await {
        Some(known) => json(&known),
        None => plain(StatusCode::NOT_FOUND, Bytes::from_static(b"404 page not found\n")),
    })
}

async fn status<B>(intake: &dyn Intake, head: &Parts, body: B, trusted: bool) -> Result<Answer, Reject>
where
    B: Body<Data = Bytes> + Send,
{
    let proxied = head.headers.contains_key(FORWARDED) || PROXIED.iter().any(|name| head.headers.contains_key(*name));
    if !trusted || proxied {
        signed(intake, head, body, BODY_BYTES_MAX).await?;
    }
    Ok(json(&intake.status()))
}

/// Reads a body and finds out who signed it.
async fn signed<'a, B>(intake: &'a dyn Intake, head: &Parts, body: B, most: usize) -> Result<Signed<'a>, Reject>
where
    B: Body<Data = Bytes> + Send,
{
    let gate = intake.gate();
    let mut held = Held::default();
    let body = read(body, most, gate.waits, &gate.room, &mut held).await?;
    let timestamp = text(&head.headers, &TIMESTAMP).and_then(envelope::parse_timestamp).ok_or(Reject::BadTimestamp)?;
    let now = seconds(intake.now());
    let fresh = |window| Freshness::new(window).check(now, timestamp);
    if !fresh(intake.window()) {
        return Err(Reject::StaleTimestamp);
    }
    let signature = text(&head.headers, &SIGNATURE).unwrap_or_default().to_owned();
    let (keys, bytes, told) = (intake.keys(), body.clone(), signature.clone());
    let verify = move || keys.verify(timestamp, &bytes, told.as_bytes());
    let mut bindings = beside(body.len(), verify).await.ok_or(Reject::Busy)?;
    if bindings.is_empty() {
        return Err(Reject::BadSignature);
    }
    bindings.retain(|binding| fresh(intake.window_of(binding)));
    if bindings.is_empty() {
        return Err(Reject::StaleTimestamp);
    }
    let replayed = gate.knows(timestamp, &signature);
    Ok(Signed { body, bindings, timestamp, signature, replayed, held })
}

/// A request was taken, and is not to be taken again.
fn remember(intake: &dyn Intake, signed: &Signed<'_>) {
    intake.gate().keep(intake.window(), seconds(intake.now()), signed.timestamp, &signed.signature);
}

/// Which of the keys that signed lets its holder tell this fact.
pub(crate) fn bound(intake: &dyn Intake, bindings: &[Binding], fact: &Fact) -> Result<usize, Reject> {
    let mut refusal = None;
    for (place, binding) in bindings.iter().enumerate() {
        match intake::judge(binding, fact, &intake.own_node(&binding.group)) {
            Ok(()) => return Ok(place),
            // The key of the fact's own group has the better reason.
            Err(reject) if refusal.is_none() || binding.group == fact.group => refusal = Some(reject),
            Err(_) => {}
        }
    }
    Err(refusal.unwrap_or(Reject::BadSignature))
}

/// Decodes an envelope.
pub(crate) fn decode(body: &[u8]) -> Result<Fact, Reject> {
    envelope::decode(body).map_err(Reject::from)
}

/// Work on so many bytes: here, or where it may take its time. `None` where it came to nothing.
async fn beside<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    if bytes <= INLINE_BYTES_MAX {
        return Some(work());
    }
    tokio::task::spawn_blocking(work).await.ok()
}

fn seconds(moment: Moment) -> i64 {
    i64::try_from(moment.nanos() / 1_000_000_000).unwrap_or(i64::MAX)
}

fn text<'a>(headers: &'a HeaderMap, name: &hyper::header::HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn accepted(id: &str, duplicate: bool) -> Answer {
    told(Bytes::from(intake::accepted(id, duplicate)))
}

fn json<T: Serialize>(value: &T) -> Answer {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    told(Bytes::from(line))
}

fn told(line: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(line));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn refused(reject: &Reject) -> Answer {
    let status = StatusCode::from_u16(reject.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    plain(status, Bytes::from(reject.body()))
}

fn plain(status: StatusCode, body: Bytes) -> Answer {
    let text = !body.is_empty();
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    if text {
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    answer
}
