//! The listener of a group over real sockets: limits of time and number, and its end.

use std::sync::Arc;
use std::time::Duration;

use link::{BodyWaits, Gate, KeyRing, ListenOptions, Secret, Target, TargetOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::support::{FACT, Memory, NOW, SECRET, SIGNATURE, Served, fact, key, served};

const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(10);

fn impatient() -> Arc<Memory> {
    let ring = KeyRing::new(vec![key("default", "cloudedge", None, SECRET)]);
    Memory::with(ring, Gate::new(BodyWaits { pause: SHORT, whole: 3 * SHORT }))
}

fn hasty() -> ListenOptions {
    ListenOptions { head: SHORT, drain: SHORT, ..ListenOptions::default() }
}

/// What is answered to these bytes, sent with pauses between them, until the connection is closed.
async fn check(served: &Served, pieces: &[&[u8]], pause: Duration, expected: &str) {
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let began = Instant::now();
    let (mut reader, mut writer) = stream.split();
    let send = async {
        for piece in pieces {
            if writer.write_all(piece).await.is_err() {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    let read = async {
        let _reset = timeout(LONG, reader.read_to_end(&mut answer)).await.unwrap();
    };
    tokio::select! {
        () = send => {}
        () = read => {}
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with(expected) && (expected.is_empty() == answer.is_empty()), "{answer:?}");
    assert!(began.elapsed() < LONG / 2, "{:?}", began.elapsed());
}

fn head(length: usize) -> Vec<u8> {
    let signed = format!("X-Routerd-Timestamp: {NOW}\r\nX-Routerd-Signature: {SIGNATURE}\r\n");
    format!("POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{signed}Connection: close\r\n\r\n")
        .into()
}

#[tokio::test]
async fn a_client_that_is_silent_or_slow_is_cut_off() {
    let served = served(impatient(), None, hasty()).await;
    check(&served, &[], SHORT, "").await;
    // A head that drips.
    let head_bytes = head(275);
    let drops: Vec<&[u8]> = head_bytes.chunks(1).collect();
    check(&served, &drops, SHORT / 10, "").await;
    // A body that stops, and one that drips.
    let refused = "HTTP/1.1 400 Bad Request\r\n";
    check(&served, &[&head_bytes, b"{\"id\":"], Duration::ZERO, refused).await;
    let drops: Vec<&[u8]> = [&head_bytes[..]].into_iter().chain(FACT.as_bytes().chunks(1)).collect();
    check(&served, &drops, SHORT / 10, refused).await;
    // And one that does not.
    check(&served, &[&head_bytes, FACT.as_bytes()], Duration::ZERO, "HTTP/1.1 200 OK\r\n").await;
}

#[tokio::test]
async fn a_body_that_is_one_byte_too_long_is_answered_not_reset() {
    let served = served(Memory::new(), None, ListenOptions::default()).await;
    let too_much = vec![b'x'; (1 << 20) + 1];
    check(&served, &[&head(too_much.len()), &too_much], Duration::ZERO, "HTTP/1.1 413 Payload Too Large\r\n").await;
    let chunked =
        b"POST /v1/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n100001\r\n";
    let end = b"\r\n0\r\n\r\n";
    check(&served, &[chunked, &too_much, end], Duration::ZERO, "HTTP/1.1 413 Payload Too Large\r\n").await;
    // Nothing of it stays unread, however large it was announced to be.
    let much = vec![b'x'; 5 << 20];
    for _ in 0..5 {
        check(&served, &[&head(much.len()), &much], Duration::ZERO, "HTTP/1.1 413 Payload Too Large\r\n").await;
    }
    check(&served, &[&head(usize::MAX >> 1)], Duration::ZERO, "HTTP/1.1 413 Payload Too Large\r\n").await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_cut_off() {
    let served = served(Memory::new(), None, ListenOptions { write: SHORT, ..ListenOptions::default() }).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let asked = b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1_000);
    let ask = async { while stream.write_all(&asked).await.is_ok() {} };
    timeout(LONG, ask).await.unwrap();
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_until_one_ends() {
    let options = ListenOptions { connections: 2, ..ListenOptions::default() };
    let served = served(Memory::new(), None, options).await;
    let mut held = vec![TcpStream::connect(served.address).await.unwrap()];
    held.push(TcpStream::connect(served.address).await.unwrap());
    let target = Target::new(&served.url(), TargetOptions::default()).unwrap();
    let secret = Secret::new(SECRET);
    let mut third = std::pin::pin!(target.push_one(&secret, NOW, fact("1")));
    assert!(timeout(SHORT, third.as_mut()).await.is_err());
    held.pop();
    assert_eq!(timeout(LONG, third).await.unwrap(), link::Pushed::Accepted { duplicate: false });
}

#[tokio::test]
async fn the_end_waits_for_what_is_under_way_and_for_nothing_else() {
    let served = served(impatient(), None, ListenOptions { drain: LONG, ..ListenOptions::default() }).await;
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    let mut busy = TcpStream::connect(served.address).await.unwrap();
    busy.write_all(&head(275)).await.unwrap();
    busy.write_all(&FACT.as_bytes()[..10]).await.unwrap();
    // Both were taken when a third has been answered.
    let target = Target::new(&served.url(), TargetOptions::default()).unwrap();
    target.push_one(&Secret::new(SECRET), NOW, fact("1")).await;
    served.shutdown.cancel();
    assert_eq!(idle.read(&mut [0; 16]).await.unwrap(), 0);
    busy.write_all(&FACT.as_bytes()[10..]).await.unwrap();
    let mut answer = Vec::new();
    busy.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
    timeout(LONG, served.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_end_does_not_wait_for_ever() {
    let served = served(Memory::new(), None, hasty()).await;
    let mut stuck = TcpStream::connect(served.address).await.unwrap();
    stuck.write_all(&head(275)).await.unwrap();
    let target = Target::new(&served.url(), TargetOptions::default()).unwrap();
    target.push_one(&Secret::new(SECRET), NOW, fact("1")).await;
    served.shutdown.cancel();
    timeout(LONG / 2, served.task).await.unwrap().unwrap();
}
