//! A node and an operator, as the originals speak.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use door_slimctl::proto::control::{
    Command, CommandAck, Connection, ConnectionAck, Connections, ControlMessage, Deregister, Entry,
    OPEN_CONTROL_CHANNEL, Payload, Register, Route,
};
use door_slimctl::proto::plane::SERVICE;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// Longest wait for anything.
const WAIT: Duration = Duration::from_secs(20);

/// What is sent: frames as they come, until the sender is dropped.
struct Sent(mpsc::UnboundedReceiver<Bytes>);

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

pub fn frame(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut bytes).unwrap();
    bytes.freeze()
}

async fn connect(address: &str) -> SendRequest<Sent> {
    let socket = TcpStream::connect(address).await.unwrap();
    let (requests, connection) = handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    requests
}

fn request(path: &str, presented: Option<&str>, body: Sent) -> Request<Sent> {
    let request = Request::builder().method(Method::POST).uri(format!("http://x{path}"));
    let request = presented.into_iter().fold(request, |request, text| request.header("authorization", text));
    request.header("content-type", "application/grpc").body(body).unwrap()
}

/// A node's side of its control channel.
pub struct Node {
    sender: mpsc::UnboundedSender<Bytes>,
    body: Incoming,
    read: BytesMut,
    ready: VecDeque<ControlMessage>,
    /// What it says when it is asked for its links.
    pub links: Vec<Entry>,
    _requests: SendRequest<Sent>,
}

impl Node {
    pub async fn dial(address: &str) -> Node {
        let mut requests = connect(address).await;
        let (sender, receiver) = mpsc::unbounded_channel();
        let response = requests.send_request(request(OPEN_CONTROL_CHANNEL, None, Sent(receiver))).await.unwrap();
        let (read, ready) = (BytesMut::new(), VecDeque::new());
        Node { sender, body: response.into_body(), read, ready, links: Vec::new(), _requests: requests }
    }

    pub async fn raw(&self, bytes: &[u8]) {
        self.sender.send(Bytes::copy_from_slice(bytes)).unwrap();
    }

    fn say(&self, payload: Payload) {
        self.sender.send(frame(&ControlMessage::new("of-the-node".into(), payload))).unwrap();
    }

    /// The next message; `None` at the end.
    pub async fn next(&mut self) -> Option<ControlMessage> {
        loop {
            if self.read.len() >= 5 {
                let length = u32::from_be_bytes(self.read[1..5].try_into().unwrap()) as usize;
                if self.read.len() >= 5 + length {
                    let _head = self.read.split_to(5);
                    return Some(ControlMessage::decode(self.read.split_to(length)).unwrap());
                }
            }
            let frame = timeout(WAIT, self.body.frame()).await.expect("the door says nothing")?.ok()?;
            if let Ok(bytes) = frame.into_data() {
                self.read.extend_from_slice(&bytes);
            }
        }
    }

    /// Registers; whether it was taken.
    pub async fn register(&mut self, register: Register) -> bool {
        self.say(Payload::Register(register));
        match self.next().await.and_then(|message| message.payload) {
            Some(Payload::Registered(registered)) => registered.success,
            other => panic!("{other:?}"),
        }
    }

    /// Answers as a node does that can do everything it is told, until it is told a command that fits.
    async fn until<T>(&mut self, found: impl Fn(&Command) -> Option<T>) -> T {
        loop {
            let message = match self.ready.pop_front() {
                Some(message) => message,
                None => self.next().await.expect("the channel ended"),
            };
            match message.payload {
                Some(Payload::Command(command)) => {
                    let status = |each: &Connection| ConnectionAck {
                        link_id: each.link_id.clone(),
                        success: true,
                        ..Default::default()
                    };
                    let connections = command.connections_to_create.iter().map(status).collect();
                    let ack = CommandAck { original_message_id: message.message_id, connections, routes: Vec::new() };
                    self.say(Payload::CommandAck(ack));
                    if let Some(found) = found(&command) {
                        return found;
                    }
                }
                Some(Payload::ConnectionList(_)) => {
                    let list = Connections {
                        original_message_id: message.message_id,
                        entries: self.links.clone(),
                        done: true,
                    };
                    self.say(Payload::Connections(list));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    pub async fn until_dials(&mut self) -> Connection {
        self.until(|command| command.connections_to_create.first().cloned()).await
    }

    pub async fn until_route(&mut self) -> Route {
        self.until(|command| command.routes_to_set.first().cloned()).await
    }

    pub async fn announce(&self, route: Route) {
        self.say(Payload::Command(Command { routes_to_set: vec![route], ..Command::default() }));
    }

    /// A link came in.
    pub async fn received(&self, link: &str) {
        let entry = Entry { link_id: Some(link.into()), direction: 1, ..Entry::default() };
        self.say(Payload::Command(Command { connections_received: vec![entry], ..Command::default() }));
    }

    pub async fn leave(&mut self) {
        self.say(Payload::Deregister(Deregister::default()));
        while let Some(message) = self.next().await {
            if matches!(message.payload, Some(Payload::Deregistered(_))) {
                return;
            }
        }
        panic!("it may not go");
    }
}

/// An operator.
pub struct Caller {
    requests: SendRequest<Sent>,
    /// What it presents.
    pub presented: Option<String>,
}

impl Caller {
    pub async fn dial(address: &str) -> Caller {
        Caller { requests: connect(address).await, presented: None }
    }

    /// The messages of the answer, or the code of its bad end.
    pub async fn call<Q: Message, A: Message + Default>(&mut self, method: &str, asked: &Q) -> Result<Vec<A>, u16> {
        let (sender, receiver) = mpsc::unbounded_channel();
        sender.send(frame(asked)).unwrap();
        drop(sender);
        let request = request(&format!("{SERVICE}{method}"), self.presented.as_deref(), Sent(receiver));
        let response = timeout(WAIT, self.requests.send_request(request)).await.unwrap().unwrap();
        let body = timeout(WAIT, response.into_body().collect()).await.unwrap().unwrap();
        let code = body.trailers().and_then(|trailers| trailers.get("grpc-status")?.to_str().ok()?.parse().ok());
        let mut bytes = body.to_bytes();
        match code {
            Some(0) => {}
            code => return Err(code.unwrap()),
        }
        let mut messages = Vec::new();
        while bytes.len() >= 5 {
            let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
            let _head = bytes.split_to(5);
            messages.push(A::decode(bytes.split_to(length)).unwrap());
        }
        Ok(messages)
    }

    /// Asks until the answer is as it should be.
    pub async fn until<Q: Message, A: Message + Default>(
        &mut self,
        method: &str,
        asked: &Q,
        good: impl Fn(&[A]) -> bool,
    ) -> Vec<A> {
        let asking = async {
            loop {
                let found = self.call(method, asked).await.unwrap();
                if good(&found) {
                    return found;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(WAIT, asking).await.expect("it does not become as it should be")
    }
}
