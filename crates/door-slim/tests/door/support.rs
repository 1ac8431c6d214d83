//! A door on loopback, and a client that writes protobuf by hand, so that it can write what it should not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{BufMut, Bytes, BytesMut};
use door::suite::Plain;
use door::{Access, Limits, Port};
use door_slim::codec::{self, Encoded, Message};
use door_slim::{Options, SlimDoor};
use event::Moment;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use journal::local::Local;
use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long a client waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long nothing must come for nothing to be coming.
pub const QUIET: Duration = Duration::from_millis(100);

fn clock() -> Moment {
    Moment::EPOCH.after(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap())
}

/// A node with an open door.
pub struct Served {
    pub door: SlimDoor,
    pub port: Port,
    pub address: SocketAddr,
}

pub async fn serve(options: Options) -> Served {
    serve_with(options, Access::open()).await
}

pub async fn serve_with(options: Options, access: Access) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    serve_at(listener, options, access)
}

pub fn serve_at(listener: TcpListener, options: Options, access: Access) -> Served {
    let journal = Arc::new(Local::new(Arc::new(clock)));
    let port = Port::new(journal, Arc::new(Plain::default()), access, Limits::default());
    let door = SlimDoor::open(listener, port.clone(), options).unwrap();
    let address = door.address();
    Served { door, port, address }
}

impl Served {
    /// How many messages were dropped for a reason.
    pub fn dropped(&self, why: &str) -> u64 {
        self.door.counts().dropped.iter().find(|(name, _)| *name == why).unwrap().1
    }

    /// Waits until so many were dropped for a reason.
    pub async fn await_dropped(&self, why: &str, count: u64) {
        let all = async {
            while self.dropped(why) < count {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, all).await.unwrap_or_else(|_| panic!("{why}: {:?}", self.door.counts()));
    }
}

/// Protobuf, field by field.
#[derive(Default, Clone)]
pub struct Proto(pub Vec<u8>);

impl Proto {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub fn number(mut self, field: u64, number: u64) -> Self {
        self.varint(field << 3);
        self.varint(number);
        self
    }

    pub fn bytes(mut self, field: u64, bytes: impl AsRef<[u8]>) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.as_ref().len() as u64);
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    pub fn message(self, field: u64, message: Proto) -> Self {
        self.bytes(field, message.0)
    }
}

/// A name: three components, and an instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct To(pub [u64; 3], pub Option<u128>);

pub fn any(third: u64) -> To {
    To([1, 2, third], None)
}

pub fn one(third: u64, id: u128) -> To {
    To([1, 2, third], Some(id))
}

impl To {
    fn proto(self) -> Proto {
        let [a, b, c] = self.0;
        let encoded = Proto::default().number(1, a).number(2, b).number(3, c);
        let encoded = match self.1 {
            None => encoded,
            Some(id) => encoded.message(4, Proto::default().number(1, (id >> 64) as u64).number(2, id as u64)),
        };
        let texts = Proto::default().bytes(1, "org").bytes(2, "ns").bytes(3, "app");
        Proto::default().message(1, encoded).message(2, texts)
    }

    fn cover(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[1, 1]);
        self.0.iter().for_each(|each| out.extend_from_slice(&each.to_le_bytes()));
        match self.1 {
            None => out.push(0),
            Some(id) => {
                out.push(1);
                out.extend_from_slice(&((id >> 64) as u64).to_le_bytes());
                out.extend_from_slice(&(id as u64).to_le_bytes());
            }
        }
        out.push(1);
        for text in ["org", "ns", "app"] {
            out.extend_from_slice(&(text.len() as u32).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// A header as a client makes it.
#[derive(Clone)]
pub struct Head {
    pub source: To,
    pub destination: To,
    pub fanout: u32,
    pub ttl: u32,
    pub recv_from: Option<u64>,
    pub forward_to: Option<u64>,
    /// Fields that are added as they are.
    pub more: Proto,
}

impl Head {
    pub fn to(destination: To) -> Self {
        let source = one(99, 7);
        Head { source, destination, fanout: 1, ttl: 8, recv_from: None, forward_to: None, more: Proto::default() }
    }

    pub fn every(destination: To) -> Self {
        Head { fanout: 256, ..Head::to(destination) }
    }

    fn proto(&self, tag: Option<Vec<u8>>) -> Proto {
        let mut proto = Proto::default()
            .message(1, self.source.proto())
            .message(2, self.destination.proto())
            .bytes(3, "me")
            .number(4, self.fanout.into())
            .number(6, self.ttl.into());
        for (field, value) in [(7, self.recv_from), (8, self.forward_to)] {
            if let Some(value) = value {
                proto = proto.number(field, value);
            }
        }
        if let Some(tag) = tag {
            proto = proto.bytes(11, tag);
        }
        proto.0.extend_from_slice(&self.more.0);
        proto
    }

    fn cover(&self, link: &str) -> Vec<u8> {
        let mut out = b"SLIM-DP-HDR-v1\0".to_vec();
        out.extend_from_slice(&(link.len() as u32).to_le_bytes());
        out.extend_from_slice(link.as_bytes());
        self.source.cover(&mut out);
        self.destination.cover(&mut out);
        out.extend_from_slice(&2u32.to_le_bytes());
        out.extend_from_slice(b"me");
        out.extend_from_slice(&self.fanout.to_le_bytes());
        for value in [self.recv_from, self.forward_to] {
            match value {
                None => out.push(0),
                Some(value) => {
                    out.push(1);
                    out.extend_from_slice(&value.to_le_bytes());
                }
            }
        }
        out.push(0);
        out.extend_from_slice(&self.ttl.to_le_bytes());
        out
    }
}

/// The first message of a link.
pub fn negotiation(link: &str, key: &[u8], kind: u64) -> Proto {
    let said = Proto::default().bytes(1, link).bytes(2, "3.4.6").bytes(4, key).number(5, kind).bytes(6, "client");
    Proto::default().message(5, Proto::default().message(1, said))
}

/// A published message with a payload.
pub fn content(payload: &[u8]) -> (Proto, Proto) {
    let session = Proto::default().number(1, 1).number(2, 1).number(3, 42).number(4, 5);
    let app = Proto::default().bytes(1, "text/plain").bytes(2, payload);
    (session, Proto::default().message(1, app))
}

/// What a client heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A message: whom it was for, its payload's end, what is left of its hops, and whether it tells of a failure.
    Published { to: To, payload: Vec<u8>, ttl: u32, error: bool, raw: Bytes },
    /// An acknowledgement: its id, and what went wrong.
    Ack(u64, Option<String>),
    /// The stream's end: a status and words.
    Over(String, String),
}

/// One link of a client.
pub struct Client {
    sender: mpsc::Sender<Bytes>,
    body: Incoming,
    held: BytesMut,
    key: Option<hmac::Key>,
    pub link: String,
    pub reply: Bytes,
    /// Ids of subscriptions are counted.
    next: u64,
}

type Outgoing = StreamBody<Receiver>;

/// The messages of a client, as a stream.
pub struct Receiver(mpsc::Receiver<Bytes>);

impl futures_util::Stream for Receiver {
    type Item = Result<Frame<Bytes>, std::convert::Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

async fn call(address: SocketAddr, token: Option<&str>) -> (mpsc::Sender<Bytes>, Response<Incoming>) {
    let socket = TcpStream::connect(address).await.unwrap();
    let (mut send, connection) =
        hyper::client::conn::http2::handshake::<_, _, Outgoing>(TokioExecutor::new(), TokioIo::new(socket))
            .await
            .unwrap();
    tokio::spawn(connection);
    let (sender, receiver) = mpsc::channel(1024);
    let mut request = Request::post(format!("http://{address}/dataplane.proto.v1.DataPlaneService/OpenChannel"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(StreamBody::new(Receiver(receiver))).unwrap();
    // The heads of the answer come before anything was said.
    let response = timeout(PATIENCE, send.send_request(request)).await.expect("heads at once").unwrap();
    (sender, response)
}

impl Client {
    /// A stream on which nothing was said.
    pub async fn silent(address: SocketAddr, token: Option<&str>) -> Self {
        let (sender, response) = call(address, token).await;
        let link = String::from("link");
        let body = response.into_body();
        Client { sender, body, held: BytesMut::new(), key: None, link, reply: Bytes::new(), next: 1 }
    }

    /// The status of a call that is refused at once.
    pub async fn refused(address: SocketAddr, token: Option<&str>) -> String {
        let (_sender, response) = call(address, token).await;
        response.headers().get("grpc-status").map(|status| status.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    /// A negotiated link.
    pub async fn open(address: SocketAddr) -> Self {
        Client::open_as(address, "link", 2, None).await
    }

    pub async fn open_as(address: SocketAddr, link: &str, kind: u64, token: Option<&str>) -> Self {
        let mut client = Client::silent(address, token).await;
        let private = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).unwrap();
        let public = private.compute_public_key().unwrap();
        client.send(&negotiation(link, public.as_ref(), kind)).await;
        client.link = link.to_owned();
        let reply = client.raw().await.expect("an answer to the negotiation");
        let Ok(Message::Negotiate(said)) = codec::read(&reply) else { panic!("{reply:?}") };
        assert!(said.is_reply && said.link == link, "{said:?}");
        assert_eq!(said.kind.number(), kind);
        let theirs = UnparsedPublicKey::new(&X25519, said.key);
        let key = agree_ephemeral(private, &theirs, |shared| {
            let derived = Salt::new(HKDF_SHA256, link.as_bytes()).extract(shared);
            let mut key = [0; 32];
            derived.expand(&[b"SLIM-DP-inter-node-hmac-v1"], HKDF_SHA256).unwrap().fill(&mut key).unwrap();
            hmac::Key::new(hmac::HMAC_SHA256, &key)
        });
        client.key = Some(key.unwrap());
        client.reply = reply;
        client
    }

    /// Sends bytes as they are.
    pub async fn send_bytes(&self, bytes: Bytes) {
        // A stream that has ended takes nothing more.
        let _gone = self.sender.send(bytes).await;
    }

    /// Sends a message.
    pub async fn send(&self, message: &Proto) {
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(message.0.len() as u32);
        frame.put_slice(&message.0);
        self.send_bytes(frame.freeze()).await;
    }

    fn tag(&self, head: &Head) -> Option<Vec<u8>> {
        let key = self.key.as_ref()?;
        Some(hmac::sign(key, &head.cover(&self.link)).as_ref().to_vec())
    }

    pub fn published(&self, head: &Head, payload: &[u8]) -> Proto {
        let (session, content) = content(payload);
        let inner = Proto::default().message(1, head.proto(self.tag(head))).message(2, session).message(3, content);
        Proto::default().message(3, inner)
    }

    pub async fn publish_with(&self, head: &Head, session: Proto, content: Proto) {
        let inner = Proto::default().message(1, head.proto(self.tag(head))).message(2, session).message(3, content);
        self.send(&Proto::default().message(3, inner)).await;
    }

    pub async fn publish(&self, head: &Head, payload: &[u8]) {
        self.send(&self.published(head, payload)).await;
    }

    pub fn change(&self, field: u64, head: &Head, id: u64, tagged: bool) -> Proto {
        let tag = self.tag(head).filter(|_| tagged);
        Proto::default().message(field, Proto::default().message(1, head.proto(tag)).number(2, id))
    }

    /// Subscribes a name, and waits until that is so.
    pub async fn subscribe(&mut self, name: To) -> u64 {
        let id = self.next;
        self.next += 1;
        self.send(&self.change(1, &Head::to(name), id, true)).await;
        assert_eq!(self.hear().await, Heard::Ack(id, None));
        id
    }

    /// Takes a subscription back; what is said.
    pub async fn unsubscribe(&mut self, name: To, id: u64) -> Option<String> {
        self.send(&self.change(2, &Head::to(name), id, true)).await;
        match self.hear().await {
            Heard::Ack(same, why) if same == id => why,
            other => panic!("{other:?}"),
        }
    }

    /// The next message, as it came; the end where there is none.
    pub async fn raw(&mut self) -> Result<Bytes, Heard> {
        loop {
            if let [_, a, b, c, d, ..] = *self.held {
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                if self.held.len() >= 5 + length {
                    return Ok(self.held.split_to(5 + length).freeze().slice(5..));
                }
            }
            let over = |status: &str, text: &str| Heard::Over(status.to_owned(), text.to_owned());
            match self.body.frame().await {
                None => return Err(over("", "")),
                Some(Err(error)) => return Err(over("broken", &error.to_string())),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.held.put_slice(&data),
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        let get = |name| trailers.get(name).map_or("", |value| value.to_str().unwrap());
                        return Err(over(get("grpc-status"), get("grpc-message")));
                    }
                },
            }
        }
    }

    /// What comes next.
    pub async fn hear(&mut self) -> Heard {
        timeout(PATIENCE, self.next()).await.expect("something must come")
    }

    /// Nothing comes.
    pub async fn hears_nothing(&mut self) {
        if let Ok(heard) = timeout(QUIET, self.next()).await {
            panic!("{heard:?}");
        }
    }

    async fn next(&mut self) -> Heard {
        let raw = match self.raw().await {
            Ok(raw) => raw,
            Err(over) => return over,
        };
        match codec::read(&raw).unwrap() {
            Message::Publish(publish) => {
                let header = &publish.header;
                if let Some(key) = &self.key {
                    let error = header.error == Some(true);
                    assert_eq!(header.mac.map(<[u8]>::len), Some(32), "every message is tagged");
                    if !error {
                        let head = Head { ttl: header.ttl, fanout: header.fanout, ..Head::to(to(header.to)) };
                        hmac::verify(key, &head.cover(&self.link), header.mac.unwrap()).expect("the tag is right");
                    }
                }
                assert_eq!((header.recv_from, header.forward_to), (None, None));
                let payload = payload(&raw);
                let (to, ttl, error) = (to(header.to), header.ttl, header.error == Some(true));
                Heard::Published { to, payload, ttl, error, raw }
            }
            Message::Ack => ack(&raw),
            other => panic!("{other:?}"),
        }
    }

    /// A message to a name, with its payload.
    pub async fn gets(&mut self, payload: &[u8]) {
        match self.hear().await {
            Heard::Published { payload: found, error: false, .. } => assert_eq!(found, payload),
            other => panic!("{other:?}"),
        }
    }

    /// What it is told of a message that came to nothing.
    pub async fn told(&mut self) -> serde_json::Value {
        match self.hear().await {
            Heard::Published { payload, error: true, .. } => serde_json::from_slice(&payload).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

fn to(name: Encoded) -> To {
    To(name.components, name.id)
}

/// Reads a field of a message, for the few that the codec does not show.
fn field(bytes: &[u8], wanted: u64) -> Option<&[u8]> {
    let mut rest = bytes;
    let varint = |rest: &mut &[u8]| {
        let mut number = 0u64;
        for shift in 0.. {
            let (byte, after) = rest.split_first().unwrap();
            *rest = after;
            number |= u64::from(byte & 0x7f) << (7 * shift);
            if byte & 0x80 == 0 {
                return number;
            }
        }
        number
    };
    while !rest.is_empty() {
        let tag = varint(&mut rest);
        let begin = rest;
        let number = varint(&mut rest);
        if tag & 7 == 2 {
            let (found, after) = rest.split_at(number as usize);
            rest = after;
            if tag >> 3 == wanted {
                return Some(found);
            }
        } else if tag >> 3 == wanted {
            return Some(&begin[..begin.len() - rest.len()]);
        }
    }
    None
}

fn payload(raw: &[u8]) -> Vec<u8> {
    let content = field(field(raw, 3).unwrap(), 3).unwrap();
    field(field(content, 1).unwrap(), 2).unwrap_or_default().to_vec()
}

fn ack(raw: &[u8]) -> Heard {
    let inner = field(raw, 6).unwrap();
    let id = field(inner, 1).unwrap().iter().rev().fold(0u64, |sum, byte| sum << 7 | u64::from(byte & 0x7f));
    let good = field(inner, 2).is_some();
    let why = field(inner, 3).map(|text| String::from_utf8(text.to_vec()).unwrap());
    assert_eq!(good, why.is_none());
    Heard::Ack(id, why)
}
