//! A hub of the tests' own: it accepts, and does what a test tells it to.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use client::{Messenger, Options, State};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

/// How long a test waits for something that is to happen.
pub const SOON: Duration = Duration::from_secs(20);

pub struct Hub {
    pub listener: TcpListener,
    pub address: SocketAddr,
}

/// One connection, seen from the hub.
pub struct Peer<S = TcpStream>(pub WebSocketStream<S>);

/// Waits for something that is to happen soon.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what).await.expect("it happens soon")
}

impl Hub {
    pub async fn start() -> Self {
        Hub::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    pub async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        Hub { listener, address }
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// The next connection, upgraded.
    pub async fn accept(&self) -> Peer {
        let (stream, _) = soon(self.listener.accept()).await.unwrap();
        Peer(soon(accept_async(stream)).await.unwrap())
    }

    /// The next connection's request; it is answered as told, and closed.
    pub async fn answer(&self, answer: &str) -> String {
        let (mut stream, _) = soon(self.listener.accept()).await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(soon(stream.read_u8()).await.unwrap());
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    }

    /// A messenger, and its connection.
    pub async fn messenger(&self, options: Options) -> (Messenger, Peer) {
        let url = self.url();
        let (messenger, peer) = tokio::join!(Messenger::connect(&url, options), self.accept());
        (messenger.unwrap(), peer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// The next frame, be it one for the protocol itself.
    pub async fn frame(&mut self) -> Message {
        soon(self.0.next()).await.expect("a frame").unwrap()
    }

    /// The next texts and events, as text.
    pub async fn expect(&mut self, expected: &[&str]) {
        for expected in expected {
            let got = self.frame().await;
            assert!(got.is_text() || got.is_binary(), "{got:?}");
            assert_eq!(got.is_text(), expected.starts_with('{'), "{got:?} instead of {expected}");
            assert_eq!(String::from_utf8(got.into_data().to_vec()).unwrap(), *expected);
        }
    }

    pub async fn say(&mut self, message: Message) {
        soon(self.0.send(message)).await.unwrap();
    }

    pub async fn event(&mut self, frame: &'static str) {
        self.say(Message::Binary(Bytes::from_static(frame.as_bytes()))).await;
    }

    /// Nothing comes before the answer to a ping.
    pub async fn nothing_more(&mut self) {
        self.say(Message::Ping(Bytes::from_static(b"then"))).await;
        assert_eq!(self.frame().await, Message::Pong(Bytes::from_static(b"then")));
    }
}

/// Options of tests: redials come soon.
pub fn quick() -> Options {
    Options { redial_first: Duration::from_millis(5), redial_max: Duration::from_millis(20), ..Options::default() }
}

/// Waits until a messenger is so.
pub async fn until(messenger: &Messenger, so: impl Fn(&State) -> bool) {
    let mut states = messenger.states();
    soon(states.wait_for(|state| so(state))).await.unwrap();
}

pub fn waiting(state: &State) -> bool {
    matches!(state, State::Waiting { .. })
}

/// The next events, as room and body.
pub async fn receives(messenger: &Messenger, expected: &[(&str, &str)]) {
    for (room, body) in expected {
        let event = soon(messenger.receive()).await.expect("an event");
        assert_eq!((event.room.as_str(), &event.body[..]), (*room, body.as_bytes()));
    }
}
