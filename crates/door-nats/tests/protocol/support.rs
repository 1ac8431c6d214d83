//! A door on loopback, and a client that speaks lines.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use door::suite::Plain;
use door::{Access, Limits, Port};
use door_nats::{NatsDoor, Options, Sockets};
use event::Moment;
use journal::local::Local;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How long a client waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

fn clock() -> Moment {
    Moment::EPOCH.after(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap())
}

pub struct Served {
    pub door: NatsDoor,
    pub address: SocketAddr,
    pub monitor: SocketAddr,
    pub port: Port,
}

/// A door with these options, on a journal in memory.
pub async fn serve(options: Options) -> Served {
    serve_with(options, Access::open()).await
}

pub async fn serve_with(options: Options, access: Access) -> Served {
    let journal = Arc::new(Local::new(Arc::new(clock)));
    let port = Port::new(journal, Arc::new(Plain::default()), access, Limits::default());
    let bind = || TcpListener::bind("127.0.0.1:0");
    let (clients, monitor) = (bind().await.unwrap(), bind().await.unwrap());
    let at = monitor.local_addr().unwrap();
    let door =
        NatsDoor::open(Sockets { clients, websocket: None, monitor: Some(monitor) }, port.clone(), options).unwrap();
    Served { address: door.address(), monitor: at, door, port }
}

pub struct Client {
    socket: TcpStream,
    read: Vec<u8>,
    pub info: serde_json::Value,
}

impl Client {
    /// Connects and reads INFO; says nothing.
    pub async fn silent(served: &Served) -> Client {
        let socket = TcpStream::connect(served.address).await.unwrap();
        let mut client = Client { socket, read: Vec::new(), info: serde_json::Value::Null };
        let line = client.line().await;
        client.info = serde_json::from_str(line.strip_prefix("INFO ").unwrap()).unwrap();
        client
    }

    /// Connects, says CONNECT with these fields, and waits until it is in.
    pub async fn new(served: &Served, connect: &str) -> Client {
        let mut client = Client::silent(served).await;
        client.say(&format!("CONNECT {connect}\r\n")).await;
        client.settle().await;
        client
    }

    /// A client as libraries are.
    pub async fn usual(served: &Served) -> Client {
        let connect = r#"{"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":1}"#;
        let mut client = Client::silent(served).await;
        client.say(&format!("CONNECT {connect}\r\nPING\r\n")).await;
        assert_eq!(client.line().await, "PONG");
        assert!(client.line().await.contains("\"connect_info\":true"));
        client
    }

    pub async fn say(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).await.unwrap();
    }

    /// Waits until everything said so far was done.
    pub async fn settle(&mut self) {
        self.say("PING\r\n").await;
        assert_eq!(self.line().await, "PONG");
    }

    /// Exactly these bytes come next.
    pub async fn hears(&mut self, expected: &str) {
        while self.read.len() < expected.len() {
            if !self.more().await {
                break;
            }
        }
        let have = self.read.len().min(expected.len());
        let heard: Vec<u8> = self.read.drain(..have).collect();
        assert_eq!(String::from_utf8_lossy(&heard), expected);
    }

    /// Nothing more comes before everything said so far was done.
    pub async fn hears_nothing(&mut self) {
        self.settle().await;
    }

    pub async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.read.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.read.drain(..end + 2).collect();
                return String::from_utf8(line[..end].to_vec()).unwrap();
            }
            assert!(self.more().await, "the door hung up after {:?}", String::from_utf8_lossy(&self.read));
        }
    }

    /// Takes lines up to one that holds this; all of them.
    pub async fn until(&mut self, part: &str) -> String {
        let mut heard = String::new();
        while !heard.contains(part) {
            heard.push_str(&self.line().await);
            heard.push('\n');
        }
        heard
    }

    /// The door says this and hangs up.
    pub async fn is_told(&mut self, error: &str) {
        while self.more().await {}
        assert_eq!(String::from_utf8_lossy(&self.read), format!("-ERR '{error}'\r\n"));
    }

    async fn more(&mut self) -> bool {
        let read = self.socket.read_buf(&mut self.read);
        tokio::time::timeout(PATIENCE, read).await.expect("nothing came").is_ok_and(|count| count > 0)
    }
}
