//! A door on loopback, and clients that we did not write.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use door::suite::Plain;
use door::{Access, Fabric, Limits, Port, Token, TokenHash};
use door_hub::{HubDoor, Options, Sockets};
use event::{Moment, Pattern};
use futures_util::{SinkExt, StreamExt};
use journal::local::Local;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// How long a client waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(10);

fn clock() -> Moment {
    Moment::EPOCH.after(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap())
}

/// A node with an open hub door.
pub struct Served {
    pub door: Arc<HubDoor>,
    pub port: Port,
    pub address: SocketAddr,
    pub repeater: SocketAddr,
}

pub async fn serve(options: Options) -> Served {
    serve_with(options, Access::open()).await
}

pub async fn serve_with(options: Options, access: Access) -> Served {
    let journal = Arc::new(Local::new(Arc::new(clock)));
    let port = Port::new(journal, Arc::new(Plain::default()), access, Limits::default());
    serve_on(options, port).await
}

pub async fn serve_on(options: Options, port: Port) -> Served {
    let bind = || TcpListener::bind("127.0.0.1:0");
    let sockets = Sockets { hub: bind().await.unwrap(), repeater: Some(bind().await.unwrap()) };
    let door = Arc::new(HubDoor::open(sockets, port.clone(), options).unwrap());
    let (address, repeater) = (door.address(), door.repeater_address().unwrap());
    Served { door, port, address, repeater }
}

pub async fn usual() -> Served {
    serve(Options::default()).await
}

/// A token that may publish to and read the rooms of these patterns.
pub fn token(name: &str, patterns: &[&str]) -> Token {
    let patterns: Vec<Pattern> = patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect();
    Token { name: name.into(), hash: TokenHash::of(name), publish: patterns.clone(), read: patterns, admin: false }
}

impl Served {
    pub async fn messenger(&self, rooms: &[&str]) -> Client {
        let mut client = Client::new(self.address, "/connect/messenger").await;
        client.subscribe(rooms).await;
        client
    }

    pub async fn client(&self, kind: &str) -> Client {
        Client::new(self.address, &format!("/connect/{kind}")).await
    }

    /// Waits until the door says something of itself.
    pub async fn until(&self, what: &str, mut holds: impl FnMut(&HubDoor) -> bool) {
        let waited = tokio::time::Instant::now();
        while !holds(&self.door) {
            assert!(waited.elapsed() < PATIENCE, "never: {what}: {:?}", self.door.counts());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub fn dropped(&self, why: &str) -> u64 {
        self.door.counts().dropped.iter().find(|(each, _)| *each == why).unwrap().1
    }

    pub fn disconnected(&self, why: &str) -> u64 {
        self.door.counts().disconnected.iter().find(|(each, _)| *each == why).unwrap().1
    }

    pub fn fabric(&self) -> &Arc<dyn Fabric> {
        self.port.fabric()
    }
}

/// A WebSocket client.
pub struct Client {
    pub socket: WebSocketStream<TcpStream>,
}

impl Client {
    pub async fn new(address: SocketAddr, path: &str) -> Client {
        Client::with(address, path, &[]).await.unwrap_or_else(|status| panic!("{path}: {status}"))
    }

    /// The status of the answer where there is no upgrade.
    pub async fn with(address: SocketAddr, path: &str, headers: &[(&'static str, &str)]) -> Result<Client, u16> {
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let socket = TcpStream::connect(address).await.unwrap();
        match tokio_tungstenite::client_async(request, socket).await {
            Ok((socket, _)) => Ok(Client { socket }),
            Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{path}: {error}"),
        }
    }

    pub async fn text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub async fn binary(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.send(Message::binary(bytes.as_ref().to_vec())).await.unwrap();
    }

    /// Everything said so far was done: the pong comes behind it.
    pub async fn settle(&mut self) {
        let left = self.settled().await;
        assert!(left.is_empty(), "{left:?}");
    }

    /// What came before the answer to a ping.
    pub async fn settled(&mut self) -> Vec<String> {
        self.socket.send(Message::Ping("settle".into())).await.unwrap();
        let mut came = Vec::new();
        loop {
            match self.next().await {
                Some(Message::Pong(payload)) if payload == "settle" => return came,
                Some(Message::Binary(bytes)) => came.push(String::from_utf8_lossy(&bytes).into_owned()),
                Some(_) => {}
                None => panic!("the door hung up after {came:?}"),
            }
        }
    }

    pub async fn subscribe(&mut self, rooms: &[&str]) {
        let change = serde_json::json!({"rooms": rooms, "create": true});
        self.text(&change.to_string()).await;
        self.settle().await;
    }

    pub async fn unsubscribe(&mut self, rooms: &[&str]) {
        self.text(&serde_json::json!({ "rooms": rooms }).to_string()).await;
        self.settle().await;
    }

    async fn next(&mut self) -> Option<Message> {
        let next = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("nothing came");
        next.and_then(Result::ok)
    }

    /// The next event.
    pub async fn heard(&mut self) -> String {
        loop {
            match self.next().await.expect("the door hung up") {
                Message::Binary(bytes) => return String::from_utf8_lossy(&bytes).into_owned(),
                Message::Text(text) => return format!("text {text}"),
                _ => {}
            }
        }
    }

    /// The next event's bytes.
    pub async fn heard_bytes(&mut self) -> Vec<u8> {
        loop {
            if let Message::Binary(bytes) = self.next().await.expect("the door hung up") {
                return bytes.to_vec();
            }
        }
    }

    pub async fn hears(&mut self, expected: &str) {
        assert_eq!(self.heard().await, expected);
    }

    /// The code of the close that comes next; `None`: the end without one.
    pub async fn closed(&mut self) -> Option<u16> {
        loop {
            match self.next().await {
                Some(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
                Some(_) => {}
                None => return None,
            }
        }
    }
}

/// One request with its answer: status and body.
pub async fn request(address: SocketAddr, head: &str, body: &[u8]) -> (u16, String, String) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = format!("{head}\r\nHost: {address}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    socket.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), body.to_owned())
}

pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let (status, _, body) = request(address, &format!("GET {path} HTTP/1.1"), b"").await;
    (status, body)
}

pub async fn post(address: SocketAddr, path: &str, body: &str) -> (u16, String) {
    let head = format!("POST {path} HTTP/1.1\r\nContent-Type: application/json");
    let (status, _, body) = request(address, &head, body.as_bytes()).await;
    (status, body)
}
