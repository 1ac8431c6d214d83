//! An intake in memory, a listener for it, a peer that does what a test says, and requests by hand.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use event::{Fact, Moment};
use federation::envelope;
use federation::intake::{Binding, Reject};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use link::{Doing, Gate, Intake, Key, KeyRing, ListenOptions, Noted, Secret, ServerTls, Status, Taken, receive, serve};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// When all tests happen: the moment of the worked vectors.
pub const NOW: i64 = 1_748_600_000;

/// The secret of the worked vectors.
pub const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// The fact of the worked vectors.
pub const FACT: &str = r#"{"id":"evt-1","group":"cloudedge","sourceNode":"onprem","type":"routerd.client.ipv4.observed","subject":"10.88.60.9/32","dedupeKey":"evt-1","payload":{"address":"10.88.60.9/32","mac":"aa:bb:cc:dd:ee:ff"},"observedAt":"2025-05-30T10:13:10Z","expiresAt":"2025-05-30T10:43:10Z"}"#;

/// Its signature at [`NOW`].
pub const SIGNATURE: &str = "6fde03d99d8be7a39efbf1d168737c46675c8a48940354efd5c6d05fc7df585d";

pub fn binding(name: &str, group: &str, sources: Option<&[&str]>) -> Binding {
    let sources = sources.map(|sources| sources.iter().map(|&source| source.to_owned()).collect());
    Binding { name: name.to_owned(), group: group.to_owned(), sources }
}

pub fn key(name: &str, group: &str, sources: Option<&[&str]>, secret: &[u8]) -> Key {
    Key { binding: binding(name, group, sources), secret: Secret::new(secret) }
}

/// A fact of the group `cloudedge` as it is pushed.
pub fn fact(id: &str) -> Bytes {
    let mut fact = Fact::new("cloudedge", id, "routerd.client.ipv4.observed");
    fact.source = "onprem".to_owned();
    envelope::encode(&fact).into()
}

/// An intake that keeps ids.
pub struct Memory {
    pub ring: Mutex<Arc<KeyRing>>,
    pub ids: Mutex<BTreeSet<(String, String)>>,
    pub via: Mutex<Vec<String>>,
    pub noted: Mutex<Vec<String>>,
    pub fails: AtomicBool,
    pub calls: AtomicUsize,
    pub now: AtomicU64,
    pub gate: Gate,
}

impl Memory {
    pub fn with(ring: KeyRing, gate: Gate) -> Arc<Self> {
        Arc::new(Memory {
            ring: Mutex::new(Arc::new(ring)),
            ids: Mutex::default(),
            via: Mutex::default(),
            noted: Mutex::default(),
            fails: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
            now: AtomicU64::new(NOW.unsigned_abs()),
            gate,
        })
    }

    /// One that accepts the secret of the worked vectors for the group `cloudedge`.
    pub fn new() -> Arc<Self> {
        Self::with(KeyRing::new(vec![key("default", "cloudedge", None, SECRET)]), Gate::default())
    }

    pub fn stored(&self) -> usize {
        self.ids.lock().len()
    }
}

impl Intake for Memory {
    fn keys(&self) -> Arc<KeyRing> {
        Arc::clone(&self.ring.lock())
    }

    fn now(&self) -> Moment {
        Moment::from_nanos(self.now.load(Ordering::Relaxed) * 1_000_000_000)
    }

    fn window(&self) -> Duration {
        Duration::from_secs(300)
    }

    fn own_node(&self, _group: &str) -> Arc<str> {
        Arc::from("cloud")
    }

    fn gate(&self) -> &Gate {
        &self.gate
    }

    fn take<'a>(&'a self, binding: &'a Binding, facts: Vec<Fact>) -> Doing<'a, Vec<Result<Taken, Reject>>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let taken = facts.into_iter().map(|fact| {
            if self.fails.load(Ordering::Relaxed) {
                return Err(Reject::StoreError);
            }
            self.via.lock().push(binding.name.clone());
            Ok(Taken { duplicate: !self.ids.lock().insert((fact.group, fact.id)) })
        });
        let taken = taken.collect();
        Box::pin(async { taken })
    }

    fn status(&self) -> Status {
        let (node, group) = ("cloud".to_owned(), "cloudedge".to_owned());
        Status { node, group, stored_events: self.stored() as u64, replay_window_seconds: 300, ..Status::default() }
    }

    fn trace<'a>(&'a self, binding: &'a Binding, id: &'a str) -> Doing<'a, Option<Value>> {
        let known = self.ids.lock().contains(&(binding.group.clone(), id.to_owned()));
        Box::pin(async move { known.then(|| serde_json::json!({ "hops": [id] })) })
    }

    fn note(&self, noted: Noted<'_>) {
        let reason = noted.reject.map_or("replay", Reject::reason);
        self.noted.lock().push(reason.to_owned());
    }
}

/// A request as somebody makes it.
pub struct Asked {
    pub method: &'static str,
    pub path: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Asked {
    /// A signed request at [`NOW`].
    pub fn signed(path: &'static str, secret: &[u8], body: impl Into<Vec<u8>>) -> Self {
        Self::signed_at(path, secret, NOW, body)
    }

    pub fn signed_at(path: &'static str, secret: &[u8], timestamp: i64, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let signature = Secret::new(secret).sign(timestamp, &body);
        let headers = vec![("X-Routerd-Timestamp", timestamp.to_string()), ("X-Routerd-Signature", signature)];
        Asked { method: "POST", path, headers, body }
    }

    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self
    }
}

/// What an intake answers: status, content type and body.
pub async fn answer(intake: &dyn Intake, asked: Asked, trusted: bool) -> (u16, String, String) {
    let mut request = Request::builder().method(asked.method).uri(asked.path);
    for (name, value) in &asked.headers {
        request = request.header(*name, value);
    }
    let request = request.body(Full::new(Bytes::from(asked.body))).unwrap();
    let answer = receive(intake, request, trusted).await;
    let (head, body) = answer.into_parts();
    let content = head.headers.get("content-type").map_or("", |value| value.to_str().unwrap()).to_owned();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status.as_u16(), content, String::from_utf8(body.to_vec()).unwrap())
}

/// A listener that serves an intake.
pub struct Served {
    pub address: SocketAddr,
    pub shutdown: CancellationToken,
    pub task: JoinHandle<()>,
}

pub async fn served(intake: Arc<Memory>, tls: Option<Arc<ServerTls>>, options: ListenOptions) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(serve(listener, intake, tls, options, shutdown.clone()));
    Served { address, shutdown, task }
}

impl Served {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// A request as it came in at a fake peer.
#[derive(Debug, Clone)]
pub struct Got {
    /// The first line and the headers.
    pub head: String,
    pub body: Vec<u8>,
}

/// A peer that says what it is told to, byte for byte, for each connection the same.
pub struct Fake {
    pub url: String,
    pub got: Arc<Mutex<Vec<Got>>>,
    pub connections: Arc<AtomicUsize>,
}

/// What a fake peer does with one request.
#[derive(Clone)]
pub enum Does {
    /// Answers with these bytes, and goes on.
    Answer(Vec<u8>),
    /// The same, and closes.
    AnswerAndClose(Vec<u8>),
    /// Answers with the first bytes at once, with the others one by one, so long apart.
    Drip(Vec<u8>, Vec<u8>, Duration),
    /// Says nothing, and keeps the connection.
    Hang,
}

impl Fake {
    /// A peer that does what `script` says for each path.
    pub async fn new(script: impl Fn(&str) -> Does + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (got, connections) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
        let (seen, count, script) = (Arc::clone(&got), Arc::clone(&connections), Arc::new(script));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(play(stream, Arc::clone(&seen), Arc::clone(&script)));
            }
        });
        Fake { url, got, connections }
    }

    pub fn paths(&self) -> Vec<String> {
        let path = |got: &Got| got.head.split(' ').nth(1).unwrap_or_default().to_owned();
        self.got.lock().iter().map(path).collect()
    }
}

async fn play<F: Fn(&str) -> Does>(mut stream: TcpStream, seen: Arc<Mutex<Vec<Got>>>, script: Arc<F>) {
    while let Some(got) = request(&mut stream).await {
        let path = got.head.split(' ').nth(1).unwrap_or_default().to_owned();
        seen.lock().push(got);
        let sent = match script(&path) {
            Does::Answer(bytes) => stream.write_all(&bytes).await,
            Does::AnswerAndClose(bytes) => {
                let _gone = stream.write_all(&bytes).await;
                return;
            }
            Does::Drip(first, rest, pause) => {
                let _gone = stream.write_all(&first).await;
                for byte in rest {
                    tokio::time::sleep(pause).await;
                    if stream.write_all(&[byte]).await.is_err() {
                        return;
                    }
                }
                Ok(())
            }
            Does::Hang => std::future::pending().await,
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn request(stream: &mut TcpStream) -> Option<Got> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = bytes.split_off(end + 4);
    while body.len() < length.unwrap_or(0) {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Got { head, body })
}

/// An answer as bytes.
pub fn http(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len()).into_bytes()
}

/// What the original answers to a fact that is new.
pub fn accepted() -> Vec<u8> {
    http("200 OK", "Content-Type: application/json\r\n", "{\"accepted\":true,\"duplicate\":false,\"id\":\"evt-1\"}\n")
}
