//! Pushing facts to one peer: one a request as the original does, or many where the peer takes them.
//!
//! Whether it does is found out by sending a batch: a peer that has no such path answers 404 or 405, is
//! sent single facts from then on, and is asked again after [`SINGLE_FOR`]. Every request is signed as it
//! is sent. Connections are kept and shared by all who push to the peer; each carries one request at a
//! time, so [`TargetOptions::connections`] is how many are in flight.
//!
//! # Invariants
//! - A redirect is a failure: nothing that was signed for one peer is sent to another.
//! - What a peer answers is never repeated, save refusals that are known word for word.
//! - Each phase has a limit of time, each answer a limit of bytes: no peer can hold a push for ever.
//!
//! Cost: a signature is one pass over the body; large batches are packed beside the asynchronous tasks.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, DATE, HOST, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Request, Response, Uri};
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::connect::{Connection, Endpoint, Trouble, Waits, whole};
use crate::limits::{
    ANSWER_BYTES_MAX, BATCH_ANSWER_BYTES_MAX, BATCH_BYTES_FLOOR, BATCH_BYTES_MAX, BATCH_FACTS_MAX,
    BATCHES_IN_FLIGHT_MAX, IDLE_MAX, INLINE_BYTES_MAX, PEER_CONNECTIONS_MAX, SINGLE_FOR,
};
use crate::refusal;
use crate::secret::Secret;
use crate::wire::{self, BATCH, EVENTS, NDJSON, Outcome, Results, SIGNATURE, Single, TIMESTAMP};

/// What became of one fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    /// The peer has it.
    Accepted {
        /// It had it already.
        duplicate: bool,
    },
    /// The peer will not have it: 4xx. For 401, 403, 408, 413 and 429 it is not this fact that is at fault.
    Refused {
        /// The status.
        status: u16,
        /// `peer returned HTTP <n>`, and why, where the peer gave a reason that is known.
        text: String,
    },
    /// There was no answer, or one that says nothing of the fact. It is to be tried again.
    Failed {
        /// The phase and the cause.
        text: String,
    },
}

/// How facts go to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing was sent yet.
    Unknown,
    /// One a request.
    Single,
    /// Many a request.
    Batch,
}

/// How a peer is reached.
#[derive(Debug, Clone)]
pub struct TargetOptions {
    /// For `https`; see [`crate::client_config`].
    pub tls: Option<Arc<ClientConfig>>,
    /// The name that the peer's certificate is to be for, where it is not the host of the endpoint.
    pub server_name: Option<String>,
    /// Limits of time.
    pub waits: Waits,
    /// Requests in flight.
    pub connections: usize,
    /// Whether batches are tried.
    pub batch: bool,
}

impl Default for TargetOptions {
    fn default() -> Self {
        let waits = Waits::default();
        TargetOptions { tls: None, server_name: None, waits, connections: PEER_CONNECTIONS_MAX, batch: true }
    }
}

/// Why an endpoint is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TargetError {
    /// It does not look like `http://host:port` or `https://host/prefix`.
    #[error("the endpoint is no http or https URL of a host, without user, query and fragment")]
    Endpoint,
    /// It says `https`, and there is no TLS configuration.
    #[error("the endpoint is https, and TLS is not set up")]
    NoTls,
    /// The name for the certificate is no host name.
    #[error("'{0}' is no name that a certificate can have")]
    ServerName(String),
}

/// A peer to push to.
#[derive(Debug)]
pub struct Target {
    endpoint: Endpoint,
    waits: Waits,
    slots: Semaphore,
    connections: usize,
    idle: Mutex<Vec<Connection>>,
    known: Mutex<Known>,
}

/// What was found out about the peer.
#[derive(Debug)]
struct Known {
    batch: bool,
    answered: bool,
    single_until: Option<Instant>,
    batch_bytes_max: usize,
}

/// A whole answer.
struct Answer {
    status: u16,
    headers: HeaderMap,
    /// `None` where it did not end in time, or is too long.
    body: Option<Bytes>,
}

/// What became of a batch.
enum Sent {
    /// Each fact was answered for.
    Each(Vec<Pushed>),
    /// The peer does not know batches.
    Unknown,
    /// It is too large for the peer, or for what stands before it.
    TooLarge,
    /// All of it has one outcome.
    All(Pushed),
}

impl Target {
    /// A peer at an endpoint, whose slashes at the end do not count. Nothing is connected yet.
    ///
    /// # Errors
    /// [`TargetError`] where the endpoint or its certificate's name cannot be meant.
    pub fn new(endpoint: &str, options: TargetOptions) -> Result<Self, TargetError> {
        let TargetOptions { tls, server_name, waits, connections, batch } = options;
        let endpoint = parse(endpoint, tls, server_name)?;
        let connections = connections.max(1);
        let known = Known { batch, answered: false, single_until: None, batch_bytes_max: BATCH_BYTES_MAX };
        Ok(Target {
            endpoint,
            waits,
            slots: Semaphore::new(connections),
            connections,
            idle: Mutex::default(),
            known: Mutex::new(known),
        })
    }

    /// How facts go to it now.
    pub fn mode(&self) -> Mode {
        let known = self.known.lock();
        match (known.takes_batches(), known.answered) {
            (false, _) => Mode::Single,
            (true, true) => Mode::Batch,
            (true, false) => Mode::Unknown,
        }
    }

    /// Speaks TLS so from the next connection on; connections that are kept and idle are let go. Of no
    /// consequence where the endpoint is plain.
    pub fn set_tls(&self, config: Arc<ClientConfig>) {
        if let Some((current, _)) = &self.endpoint.tls {
            *current.lock() = config;
            self.idle.lock().clear();
        }
    }

    /// How many requests may be in flight.
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// Pushes one fact, signed at `timestamp` (Unix seconds).
    pub async fn push_one(&self, secret: &Secret, timestamp: i64, fact: Bytes) -> Pushed {
        self.push_one_within(secret, timestamp, fact, &self.waits).await
    }

    /// The same, as a probe of a peer that failed before: no phase takes longer than `most`.
    pub async fn probe(&self, secret: &Secret, timestamp: i64, fact: Bytes, most: Duration) -> Pushed {
        self.push_one_within(secret, timestamp, fact, &self.waits.within(most)).await
    }

    async fn push_one_within(&self, secret: &Secret, timestamp: i64, fact: Bytes, waits: &Waits) -> Pushed {
        let signature = sign(secret, timestamp, &fact).await;
        let headers = headers(timestamp, &signature, "application/json");
        match self.exchange(EVENTS, headers, fact, ANSWER_BYTES_MAX, waits).await {
            Ok(answer) if (200..300).contains(&answer.status) => {
                let told: Option<Single> = answer.body.and_then(|body| serde_json::from_slice(&body).ok());
                Pushed::Accepted { duplicate: told.unwrap_or_default().duplicate }
            }
            Ok(answer) => answer.refusal(timestamp),
            Err(trouble) => Pushed::Failed { text: trouble.to_string() },
        }
    }

    /// Pushes many facts, `now` being the Unix second, in as few requests as the peer takes. Outcomes are
    /// in order, one for each. Once a request fails, the facts that were not answered for fail alike.
    pub async fn push_many(&self, secret: &Secret, now: i64, facts: &[Bytes]) -> Vec<Pushed> {
        let began = Instant::now();
        let mut pushed: Vec<Pushed> = Vec::with_capacity(facts.len());
        while let Some(rest) = facts.get(pushed.len()..).filter(|rest| !rest.is_empty()) {
            let parts = self.batches_of(rest);
            if parts.is_empty() {
                pushed.extend(self.push_each(secret, now, began, rest).await);
                break;
            }
            // Made at once: a future that holds the closure cannot be sent to another thread.
            let request = |part| async move { (part, self.push_batch(secret, later(now, began), part).await) };
            let requests: Vec<_> = parts.into_iter().map(request).collect();
            let mut requests = stream::iter(requests).buffered(BATCHES_IN_FLIGHT_MAX);
            while let Some((part, sent)) = requests.next().await {
                match sent {
                    Sent::Each(outcomes) => pushed.extend(outcomes),
                    Sent::All(failed @ Pushed::Failed { .. }) => {
                        pushed.resize(facts.len(), failed);
                        break;
                    }
                    Sent::All(outcome) => pushed.resize(pushed.len() + part.len(), outcome),
                    Sent::Unknown => {
                        self.known.lock().turn_single();
                        break;
                    }
                    Sent::TooLarge => {
                        self.known.lock().halve(part);
                        break;
                    }
                }
            }
        }
        pushed
    }

    /// Facts in batches that are not too large; none, where they are to go alone. Until the peer has
    /// answered a batch, one is enough.
    fn batches_of<'a>(&self, mut facts: &'a [Bytes]) -> Vec<&'a [Bytes]> {
        let known = self.known.lock();
        let mut parts = Vec::new();
        if !known.takes_batches() || facts.len() == 1 {
            return parts;
        }
        while !facts.is_empty() && (known.answered || parts.is_empty()) {
            let mut bytes = 0;
            let fit = facts.iter().take(BATCH_FACTS_MAX).take_while(|fact| {
                bytes += fact.len() + 1;
                bytes <= known.batch_bytes_max
            });
            // One that is larger than a batch may be is still one, and refused by itself.
            let (part, rest) = facts.split_at(fit.count().max(1));
            parts.push(part);
            facts = rest;
        }
        parts
    }

    async fn push_batch(&self, secret: &Secret, timestamp: i64, facts: &[Bytes]) -> Sent {
        let (body, packed, signature) = pack(secret, timestamp, facts).await;
        let mut headers = headers(timestamp, &signature, NDJSON);
        if packed {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("zstd"));
        }
        let answer = match self.exchange(BATCH, headers, body, BATCH_ANSWER_BYTES_MAX, &self.waits).await {
            Ok(answer) => answer,
            Err(trouble) => return Sent::All(Pushed::Failed { text: trouble.to_string() }),
        };
        match answer.status {
            200 => match answer.results(facts.len()) {
                Some(outcomes) => {
                    self.known.lock().answered = true;
                    Sent::Each(outcomes)
                }
                // Whatever says 200 to everything has not said that it knows batches.
                None if answer.body.is_some() && !self.known.lock().answered => Sent::Unknown,
                None => Sent::All(Pushed::Failed { text: "the answer to a batch is not one result a fact".to_owned() }),
            },
            404 | 405 | 415 | 501 => Sent::Unknown,
            413 if facts.len() > 1 => Sent::TooLarge,
            _ => Sent::All(answer.refusal(timestamp)),
        }
    }

    /// Pushes facts one a request, many at a time. Once one fails, no more are begun, and those fail alike.
    async fn push_each(&self, secret: &Secret, now: i64, began: Instant, facts: &[Bytes]) -> Vec<Pushed> {
        let failed: &OnceLock<Pushed> = &OnceLock::new();
        let requests = facts.iter().map(|fact| async move {
            if let Some(failed) = failed.get() {
                return failed.clone();
            }
            let outcome = self.push_one(secret, later(now, began), fact.clone()).await;
            if matches!(outcome, Pushed::Failed { .. }) {
                failed.get_or_init(|| outcome.clone());
            }
            outcome
        });
        let requests: Vec<_> = requests.collect();
        stream::iter(requests).buffered(self.connections).collect().await
    }

    /// Asks a peer by a signed request; the body of its answer, where that is 200.
    ///
    /// # Errors
    /// What [`Pushed`] would be.
    pub async fn ask(&self, secret: &Secret, timestamp: i64, path: &str, body: Bytes) -> Result<Bytes, Pushed> {
        let signature = sign(secret, timestamp, &body).await;
        let headers = headers(timestamp, &signature, "application/json");
        match self.exchange(path, headers, body, BATCH_ANSWER_BYTES_MAX, &self.waits).await {
            Ok(Answer { status: 200, body: Some(body), .. }) => Ok(body),
            Ok(Answer { status: 200, .. }) => Err(Pushed::Failed { text: "the answer did not end".to_owned() }),
            Ok(answer) => Err(answer.refusal(timestamp)),
            Err(trouble) => Err(Pushed::Failed { text: trouble.to_string() }),
        }
    }

    /// One request and its answer, on a connection that was kept, or else on another.
    async fn exchange(
        &self,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
        answer_bytes_max: usize,
        waits: &Waits,
    ) -> Result<Answer, Trouble> {
        let uri = self.endpoint.path(path).ok_or_else(|| Trouble::Broken("the path is none".to_owned()))?;
        let _slot = self.slots.acquire().await.map_err(|_| Trouble::Broken("there is no slot".to_owned()))?;
        if let Some(mut kept) = self.kept().await {
            match kept.send(self.request(&uri, &headers), body.clone(), waits).await {
                Ok(answer) => return Ok(self.read(kept, answer, answer_bytes_max, waits).await),
                // The peer may have closed it just then; that is no failure of the peer.
                Err(Trouble::Broken(_)) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        let mut fresh = self.endpoint.connect(waits).await?;
        let answer = fresh.send(self.request(&uri, &headers), body, waits).await?;
        Ok(self.read(fresh, answer, answer_bytes_max, waits).await)
    }

    /// A connection that was kept and still stands.
    async fn kept(&self) -> Option<Connection> {
        loop {
            let mut connection = self.idle.lock().pop()?;
            if connection.idle_since.elapsed() < IDLE_MAX && connection.is_ready().await {
                return Some(connection);
            }
        }
    }

    fn request(&self, uri: &Uri, headers: &HeaderMap) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = hyper::Method::POST;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers.clone();
        request.headers_mut().insert(HOST, self.endpoint.authority.clone());
        request
    }

    /// Reads an answer to its end; only then is the connection kept.
    async fn read(&self, mut from: Connection, answer: Response<Incoming>, most: usize, waits: &Waits) -> Answer {
        let (head, body) = answer.into_parts();
        let body = whole(body, most, waits.body).await;
        if body.is_some() {
            from.idle_since = Instant::now();
            let mut idle = self.idle.lock();
            // The oldest are at the front, and the last is used first.
            let stale = idle.iter().take_while(|kept| kept.idle_since.elapsed() >= IDLE_MAX).count();
            idle.drain(..stale);
            idle.push(from);
        }
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }
}

impl Known {
    fn takes_batches(&self) -> bool {
        self.batch && self.single_until.is_none_or(|until| Instant::now() >= until)
    }

    /// No batches for a while.
    fn turn_single(&mut self) {
        self.single_until = Some(Instant::now() + SINGLE_FOR);
        self.answered = false;
    }

    /// A batch of these facts was too large.
    fn halve(&mut self, facts: &[Bytes]) {
        let bytes: usize = facts.iter().map(|fact| fact.len() + 1).sum();
        self.batch_bytes_max = (self.batch_bytes_max.min(bytes) / 2).max(BATCH_BYTES_FLOOR);
        if bytes <= BATCH_BYTES_FLOOR {
            // It is not the size.
            self.turn_single();
        }
    }
}

impl Answer {
    /// What an answer other than 2xx means.
    fn refusal(&self, timestamp: i64) -> Pushed {
        let reason = self.body.as_deref().and_then(refusal::known);
        let text = refusal::text(self.status, reason, self.skew(timestamp));
        match self.status {
            // These say that it is the wrong place, not the wrong fact.
            404 | 405 | 407 | 421 | 426 => Pushed::Failed { text },
            400..500 => Pushed::Refused { status: self.status, text },
            _ => Pushed::Failed { text },
        }
    }

    /// By how many seconds the peer's clock is ahead of ours.
    fn skew(&self, timestamp: i64) -> Option<i64> {
        let date = httpdate::parse_http_date(self.headers.get(DATE)?.to_str().ok()?).ok()?;
        let seconds = date.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
        i64::try_from(seconds).ok()?.checked_sub(timestamp)
    }

    /// The results of a batch of so many facts.
    fn results(&self, facts: usize) -> Option<Vec<Pushed>> {
        let Results { results } = serde_json::from_slice(self.body.as_deref()?).ok()?;
        (results.len() == facts).then(|| results.into_iter().map(pushed).collect())
    }
}

fn pushed(outcome: Outcome) -> Pushed {
    let Outcome { accepted, duplicate, error, status, .. } = outcome;
    let status = status.unwrap_or(500);
    if accepted == Some(true) {
        return Pushed::Accepted { duplicate: duplicate.unwrap_or(false) };
    }
    let text = refusal::text(status, error.as_deref().and_then(|error| refusal::known(error.as_bytes())), None);
    if (400..500).contains(&status) { Pushed::Refused { status, text } } else { Pushed::Failed { text } }
}

fn parse(endpoint: &str, tls: Option<Arc<ClientConfig>>, server_name: Option<String>) -> Result<Endpoint, TargetError> {
    let uri: Uri = endpoint.trim().trim_end_matches('/').parse().map_err(|_| TargetError::Endpoint)?;
    let authority = uri.authority().ok_or(TargetError::Endpoint)?;
    if uri.query().is_some()
        || authority.as_str().contains('@')
        || authority.host().is_empty()
        || endpoint.contains('#')
    {
        return Err(TargetError::Endpoint);
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let (port, tls) = match uri.scheme_str() {
        Some("http") => (80, None),
        Some("https") => {
            let config = tls.ok_or(TargetError::NoTls)?;
            let name = server_name.unwrap_or_else(|| host.clone());
            let name = ServerName::try_from(name.clone()).map_err(|_| TargetError::ServerName(name))?;
            (443, Some((Mutex::new(config), name)))
        }
        _ => return Err(TargetError::Endpoint),
    };
    Ok(Endpoint {
        host,
        port: authority.port_u16().unwrap_or(port),
        authority: HeaderValue::from_str(authority.as_str()).map_err(|_| TargetError::Endpoint)?,
        prefix: uri.path().trim_end_matches('/').to_owned(),
        tls,
    })
}

fn headers(timestamp: i64, signature: &str, content_type: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(TIMESTAMP, HeaderValue::from(timestamp));
    if let Ok(mut signature) = HeaderValue::from_str(signature) {
        signature.set_sensitive(true);
        headers.insert(SIGNATURE, signature);
    }
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("tidings/", env!("CARGO_PKG_VERSION"))));
    headers
}

fn later(now: i64, since: Instant) -> i64 {
    now.saturating_add(i64::try_from(since.elapsed().as_secs()).unwrap_or(i64::MAX))
}

async fn sign(secret: &Secret, timestamp: i64, body: &Bytes) -> String {
    if body.len() <= INLINE_BYTES_MAX {
        return secret.sign(timestamp, body);
    }
    let (secret, body) = (secret.clone(), body.clone());
    tokio::task::spawn_blocking(move || secret.sign(timestamp, &body)).await.unwrap_or_default()
}

async fn pack(secret: &Secret, timestamp: i64, facts: &[Bytes]) -> (Bytes, bool, String) {
    let pack = move |secret: &Secret, facts: &[Bytes]| {
        let (body, packed) = wire::pack(facts);
        let signature = secret.sign(timestamp, &body);
        (body, packed, signature)
    };
    if facts.iter().map(Bytes::len).sum::<usize>() <= INLINE_BYTES_MAX {
        return pack(secret, facts);
    }
    let (secret, facts) = (secret.clone(), facts.to_vec());
    tokio::task::spawn_blocking(move || pack(&secret, &facts)).await.unwrap_or_default()
}
