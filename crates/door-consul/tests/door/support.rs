//! A door on loopback over a catalogue over a journal in memory, and a client that writes and reads bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use door::catalogue::{PATTERN, STREAM};
use door::suite::Plain;
use door::{Access, Catalogue, Limits, Port, Token, TokenHash};
use door_consul::{ConsulDoor, Options, Sockets};
use event::{Moment, Pattern};
use journal::local::Local;
use journal::{Journal, Read, Start, StreamConfig};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// How long a client waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(10);

fn clock() -> Moment {
    Moment::EPOCH.after(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap())
}

/// A node with an open Consul door.
pub struct Served {
    pub door: Arc<ConsulDoor>,
    pub catalogue: Catalogue,
    pub port: Port,
    pub address: SocketAddr,
}

pub async fn serve() -> Served {
    serve_with(Options::default(), Access::open()).await
}

pub async fn serve_with(options: Options, access: Access) -> Served {
    let journal: Arc<dyn Journal> = Arc::new(Local::new(Arc::new(clock)));
    let mut config = StreamConfig::new(STREAM, [Pattern::parse(PATTERN).unwrap()]);
    (config.allow_ttl, config.allow_rollup, config.allow_atomic) = (true, true, true);
    config.messages_per_subject_max = Some(8);
    journal.stream_create(config).await.unwrap();
    let port = Port::new(Arc::clone(&journal), Arc::new(Plain::default()), access, Limits::default());
    port.catalogue_changed();
    let catalogue = Catalogue::new(port.clone(), &options.datacenter, &options.node);
    catalogue.set_ready(true);
    tokio::spawn(follow(catalogue.clone(), journal));
    let bind = || TcpListener::bind("127.0.0.1:0");
    let sockets = Sockets { http: bind().await.unwrap(), grpc: Some(bind().await.unwrap()) };
    let door = Arc::new(ConsulDoor::open(sockets, catalogue.clone(), options).unwrap());
    let address = door.address();
    Served { door, catalogue, port, address }
}

async fn follow(catalogue: Catalogue, journal: Arc<dyn Journal>) {
    let mut next = 1;
    loop {
        let wait = Some(Duration::from_secs(30));
        let read = Read { start: Start::Seq(next), wait, ..Read::from(next, 256) };
        let Ok(page) = journal.read(STREAM, read).await else { return };
        next = page.next;
        catalogue.fold(&page.messages, next - 1);
    }
}

/// A token that may publish and read these patterns.
pub fn token(name: &str, publish: &[&str], read: &[&str]) -> Token {
    let all = |texts: &[&str]| texts.iter().map(|text| Pattern::parse(text).unwrap()).collect();
    Token { name: name.into(), hash: TokenHash::of(name), publish: all(publish), read: all(read), admin: false }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(each, _)| each.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    pub fn index(&self) -> u64 {
        self.header("x-consul-index").unwrap_or_else(|| panic!("no index: {}", self.head)).parse().unwrap()
    }
}

/// A connection that stays.
pub struct Client<S = TcpStream> {
    stream: S,
    left: Vec<u8>,
}

impl Client {
    pub async fn new(address: SocketAddr) -> Self {
        Client::over(TcpStream::connect(address).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub fn over(stream: S) -> Self {
        Client { stream, left: Vec::new() }
    }

    pub async fn send(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) {
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}{length}\r\n").into_bytes();
        bytes.extend_from_slice(body);
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// Bytes up to and with an end.
    pub async fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.left.windows(end.len()).position(|window| window == end) {
                return self.left.drain(..at + end.len()).collect();
            }
            self.more().await;
        }
    }

    /// What is there, at least a byte.
    pub async fn some(&mut self) -> Vec<u8> {
        if self.left.is_empty() {
            self.more().await;
        }
        std::mem::take(&mut self.left)
    }

    /// Waits for the end of the connection.
    pub async fn ended(&mut self) {
        let mut rest = Vec::new();
        let _ended = timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await.expect("it goes on");
    }

    async fn more(&mut self) {
        let mut buffer = vec![0; 64 * 1024];
        let read = timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("nothing comes").unwrap();
        assert!(read > 0, "closed, after {:?}", String::from_utf8_lossy(&self.left));
        self.left.extend_from_slice(&buffer[..read]);
    }

    pub async fn reply(&mut self) -> Reply {
        let head = String::from_utf8(self.until(b"\r\n\r\n").await).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let reply = Reply { status, head, body: Vec::new() };
        let length: usize = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        while self.left.len() < length {
            self.more().await;
        }
        let body = self.left.drain(..length).collect();
        Reply { body, ..reply }
    }

    /// Server-sent events, up to and with the first whose text holds this.
    pub async fn events(&mut self, last: &str) -> Vec<String> {
        let mut events = Vec::new();
        loop {
            // Chunks end where events do, so their frames stand between events.
            let event = String::from_utf8(self.until(b"\n\n").await).unwrap();
            let text = event.lines().filter(|line| line.contains(':')).collect::<Vec<_>>().join("\n");
            let found = text.contains(last);
            events.push(text);
            if found {
                return events;
            }
        }
    }

    pub async fn ask(&mut self, method: &str, path: &str, body: &str) -> Reply {
        self.send(method, path, "", body.as_bytes()).await;
        self.reply().await
    }
}

impl Served {
    pub async fn client(&self) -> Client {
        Client::new(self.address).await
    }

    pub async fn ask(&self, method: &str, path: &str, body: &str) -> Reply {
        self.client().await.ask(method, path, body).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, "").await
    }

    pub async fn put(&self, path: &str, body: &str) -> Reply {
        self.ask("PUT", path, body).await
    }

    /// Registers an instance of a service with the catalogue.
    pub async fn register(&self, service: &str, node: &str, id: &str, port: u16) {
        let body = format!(
            r#"{{"Node":"{node}","Address":"10.0.0.1","Service":{{"ID":"{id}","Service":"{service}","Port":{port}}}}}"#
        );
        let reply = self.put("/v1/catalog/register", &body).await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "true"));
    }

    /// Waits until the door says something of itself.
    pub async fn until(&self, what: &str, mut holds: impl FnMut(&door_consul::Counts) -> bool) {
        let waited = tokio::time::Instant::now();
        while !holds(&self.door.counts()) {
            assert!(waited.elapsed() < PATIENCE, "never: {what}: {:?}", self.door.counts());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
