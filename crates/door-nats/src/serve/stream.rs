//! A connection with something between it and the socket: TLS, WebSocket, or both.

use std::io;
use std::sync::Arc;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::plain::{LOOK_AGAIN, pause};
use super::{Closed, Outbound};
use crate::session::{Connection, Session, Wait};

/// Bytes read at a time: one TLS record.
const READ_BYTES: usize = 16 * 1024;

/// Where bytes come from.
pub(super) trait Source: Send {
    /// Appends what comes next; `false` where nothing follows. Safe to drop while it waits.
    fn more(&mut self, into: &mut Vec<u8>) -> impl Future<Output = bool> + Send;
}

/// Where bytes go.
pub(super) trait Drain: Send {
    /// Sends them all.
    fn put(&mut self, bytes: Vec<u8>) -> impl Future<Output = io::Result<Vec<u8>>> + Send;

    /// Says that nothing follows.
    fn finish(&mut self) -> impl Future<Output = ()> + Send;
}

impl<S: AsyncRead + AsyncWrite + Send> Source for ReadHalf<S> {
    async fn more(&mut self, into: &mut Vec<u8>) -> bool {
        into.reserve(READ_BYTES);
        matches!(self.read_buf(into).await, Ok(count) if count > 0)
    }
}

impl<S: AsyncRead + AsyncWrite + Send> Drain for WriteHalf<S> {
    async fn put(&mut self, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        self.write_all(&bytes).await?;
        self.flush().await?;
        Ok(bytes)
    }

    async fn finish(&mut self) {
        // Who is gone is not told that he is to go.
        let _gone = self.shutdown().await;
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Source for SplitStream<WebSocketStream<S>> {
    async fn more(&mut self, into: &mut Vec<u8>) -> bool {
        match self.next().await {
            Some(Ok(Message::Binary(bytes))) => into.extend_from_slice(&bytes),
            Some(Ok(Message::Text(text))) => into.extend_from_slice(text.as_bytes()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return false,
            Some(Ok(_)) => {}
        }
        true
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Drain for SplitSink<WebSocketStream<S>, Message> {
    async fn put(&mut self, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        self.send(Message::Binary(bytes.into())).await.map_err(io::Error::other)?;
        Ok(Vec::new())
    }

    async fn finish(&mut self) {
        let _gone = self.close().await;
    }
}

/// Hands what comes to the session, until the connection ends.
pub(super) async fn receive(mut source: impl Source, mut session: Session, connection: Arc<Connection>) {
    let mut left: Vec<u8> = Vec::new();
    let mut wait = Wait::Bytes(1);
    loop {
        match wait {
            Wait::Bytes(needed) => {
                let before = left.len();
                tokio::select! {
                    more = source.more(&mut left) => if !more { break },
                    () = connection.out.ended() => break,
                }
                if left.len() < needed && left.len() > before {
                    continue;
                }
            }
            Wait::Journal => tokio::time::sleep(LOOK_AGAIN).await,
            Wait::Requests => session.requests_have_room().await,
            Wait::Proof => session.prove().await,
            Wait::Closed => break,
        }
        if connection.out.closed().is_some() {
            break;
        }
        let (used, next) = session.process(&left);
        left.drain(..used);
        if left.is_empty() && left.capacity() > READ_BYTES {
            left = Vec::new();
        }
        wait = next;
        if session.flush() {
            pause(&mut session).await;
        }
    }
    connection.out.close(Closed::Client);
}

/// Sends what waits, until the connection has ended and all was said.
pub(super) async fn send(mut drain: impl Drain, out: Arc<Outbound>) {
    while let Some((bytes, sent)) = out.next().await {
        let bytes = if sent == 0 { bytes } else { bytes.get(sent..).unwrap_or_default().to_vec() };
        let put = tokio::select! {
            put = drain.put(bytes) => put,
            () = given_up(&out) => return,
        };
        match put {
            Ok(bytes) => {
                out.moved();
                out.sent(bytes);
            }
            Err(_) => return out.close(Closed::Write),
        }
    }
    // A client that takes nothing any more is not waited for.
    let _late = tokio::time::timeout(std::time::Duration::from_secs(1), drain.finish()).await;
}

/// Waits until what waits for the client will never be sent.
async fn given_up(out: &Outbound) {
    out.ended().await;
    if !matches!(out.closed(), Some(Closed::Write | Closed::SlowPending | Closed::SlowDeadline | Closed::Client)) {
        // It was said goodbye to: what was said is still sent, for a moment.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}
