//! Native links between two ends in one process, over TCP on the loopback.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use link::mesh::limits::{CUSTODY_BYTES_MAX, WAITING_BYTES_MAX};
use link::mesh::{
    AcceptError, Admission, DialError, Ended, Frame, Hello, Letter, LinkKey, Opened, Outbound, Purpose, Put, Reader,
    Talk, accept, dial,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const KEY: [u8; 32] = [7; 32];

fn hello(link: &str) -> Hello {
    Hello { purpose: Purpose::Link, link: link.to_owned(), from: "a/1".to_owned(), to: "b".to_owned() }
}

fn keeper(hello: &Hello) -> Option<Admission> {
    (hello.link == "l1").then(|| Admission { key: LinkKey::new(KEY), payload: b"b/2".to_vec() })
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn handshake(link: &str, key: [u8; 32]) -> (Result<Opened, DialError>, Result<Opened, AcceptError>) {
    let (listener, address) = listener().await;
    let accepted = async { accept(listener.accept().await.unwrap().0, &keeper).await };
    let (address, key) = (address.to_string(), LinkKey::new(key));
    tokio::join!(dial(&address, hello(link), &key, b"a/1"), accepted)
}

async fn linked() -> ((Arc<Outbound>, Reader), (Arc<Outbound>, Reader)) {
    let (dialled, accepted) = handshake("l1", KEY).await;
    (dialled.unwrap().start(), accepted.unwrap().start())
}

/// What comes next, as text.
async fn heard(reader: &mut Reader, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    while all.len() < count {
        let each = &mut |frame: Frame<'_>| {
            all.push(match frame {
                Frame::Message(letter) => format!("{} {}", letter.subject, String::from_utf8_lossy(letter.payload)),
                Frame::Note(bytes) => format!("note {}", String::from_utf8_lossy(bytes)),
                other => format!("{other:?}"),
            });
        };
        reader.batch(each).await.unwrap();
    }
    all
}

#[tokio::test]
async fn both_ends_prove_that_they_hold_the_key_and_tell_who_they_are() {
    let (dialled, accepted) = handshake("l1", KEY).await;
    let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
    assert_eq!((&dialled.told[..], &accepted.told[..]), (&b"b/2"[..], &b"a/1"[..]));
    assert_eq!(accepted.hello, hello("l1"));
}

#[tokio::test]
async fn who_has_another_key_or_is_not_awaited_is_not_let_in() {
    let (dialled, accepted) = handshake("l1", [8; 32]).await;
    assert!(matches!((dialled, accepted), (Err(DialError::Closed), Err(AcceptError::Key(_)))));
    let (dialled, accepted) = handshake("l2", KEY).await;
    assert!(matches!((dialled, accepted), (Err(DialError::Closed), Err(AcceptError::Unknown(_)))));
}

#[tokio::test]
async fn what_does_not_speak_this_protocol_is_told_apart() {
    type Expected = fn(&AcceptError) -> bool;
    let cases: [(&[u8], Expected); 5] = [
        (b"GET / HTTP/1.1\r\n\r\n", |error| matches!(error, AcceptError::Stranger)),
        (b"TDNL\x02\x01\x00\x00", |error| matches!(error, AcceptError::Version(2))),
        (b"TDNL\x01\x09\x00\x00", |error| matches!(error, AcceptError::Stranger)),
        (b"TDNL\x01\x01\xff\xff", |error| matches!(error, AcceptError::Stranger)),
        (b"TDNL\x01\x01\x00\x02\x00\x09", |error| matches!(error, AcceptError::Stranger)),
    ];
    for (bytes, expected) in cases {
        let (listener, address) = listener().await;
        let mut stranger = TcpStream::connect(address).await.unwrap();
        stranger.write_all(bytes).await.unwrap();
        let error = accept(listener.accept().await.unwrap().0, &keeper).await.unwrap_err();
        assert!(expected(&error), "{error:?} to {bytes:?}");
        assert!(matches!(stranger.read(&mut [0; 9]).await, Ok(0) | Err(_)), "nothing is told to a stranger");
    }
}

/// Stands between two ends, and lets `change` have what the dialling end sends first.
async fn between(change: impl Fn(&mut Vec<u8>)) -> (Result<Opened, DialError>, Result<Opened, AcceptError>) {
    let ((outer, address), (inner, behind)) = (listener().await, listener().await);
    let relay = async {
        let (mut left, mut right) = (outer.accept().await.unwrap().0, TcpStream::connect(behind).await.unwrap());
        let mut first = vec![0; 4096];
        let count = left.read(&mut first).await.unwrap();
        first.truncate(count);
        change(&mut first);
        right.write_all(&first).await.unwrap();
        let _ended = tokio::io::copy_bidirectional(&mut left, &mut right).await;
    };
    let accepted = async { accept(inner.accept().await.unwrap().0, &keeper).await };
    let (address, key) = (address.to_string(), LinkKey::new(KEY));
    let both = async { tokio::join!(dial(&address, hello("l1"), &key, b"a/1"), accepted) };
    tokio::select! {
        both = both => both,
        () = async { relay.await; std::future::pending().await } => unreachable!(),
    }
}

#[tokio::test]
async fn who_changes_a_name_on_the_way_ends_the_handshake() {
    let (dialled, accepted) = between(|_| ()).await;
    assert!(dialled.is_ok() && accepted.is_ok());
    let renamed = |first: &mut Vec<u8>| {
        let at = first.windows(3).position(|three| three == b"a/1").unwrap();
        first[at] = b'c';
    };
    let (dialled, accepted) = between(renamed).await;
    assert!(matches!((dialled, accepted), (Err(_), Err(AcceptError::Key(hello))) if hello.from == "c/1"));
}

#[tokio::test]
async fn an_old_greeting_that_is_repeated_opens_nothing() {
    let recorded = parking_lot::Mutex::new(Vec::new());
    let (_, accepted) = between(|first| recorded.lock().clone_from(first)).await;
    assert!(accepted.is_ok());
    let (listener, address) = listener().await;
    let mut again = TcpStream::connect(address).await.unwrap();
    again.write_all(&recorded.into_inner()).await.unwrap();
    again.write_all(&[0, 30]).await.unwrap();
    again.write_all(&[0; 30]).await.unwrap();
    let accepted = accept(listener.accept().await.unwrap().0, &keeper).await;
    assert!(matches!(accepted, Err(AcceptError::Key(_))), "{accepted:?}");
}

#[tokio::test]
async fn frames_come_as_they_were_put_and_notes_go_first() {
    let ((out, _dialler), (_, mut reader)) = linked().await;
    let letter = Letter { head: b"h", subject: "a.b", payload: b"1", ..Letter::default() };
    assert_eq!(out.message(&letter), Put::First);
    assert_eq!(out.message(&Letter { payload: b"2", ..letter }), Put::Yes);
    assert!(out.note(b"n"));
    out.flush();
    assert_eq!(heard(&mut reader, 3).await, ["note n", "a.b 1", "a.b 2"]);
}

#[tokio::test]
async fn a_message_of_many_records_comes_whole_and_notes_pass_it() {
    let ((out, _dialler), (_, mut reader)) = linked().await;
    let payload = "x".repeat(3 << 20);
    let letter = Letter { head: b"h", subject: "big", payload: payload.as_bytes(), ..Letter::default() };
    assert_eq!(out.message(&letter), Put::First);
    assert_eq!(out.message(&Letter { payload: b"small", ..letter }), Put::Yes);
    out.flush();
    assert!(out.note(b"n"));
    let all = heard(&mut reader, 3).await;
    assert_eq!(all[0], "note n");
    assert_eq!((all[1].len(), all[2].as_str()), (4 + payload.len(), "big small"));
}

#[tokio::test]
async fn many_threads_put_at_a_time_and_each_ones_messages_stay_in_order() {
    const EACH: usize = 5_000;
    let ((out, _dialler), (_, mut reader)) = linked().await;
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let out = Arc::clone(&out);
            std::thread::spawn(move || {
                for number in 0..EACH {
                    let (subject, payload) = (format!("t{thread}"), number.to_string());
                    let letter = Letter { subject: &subject, payload: payload.as_bytes(), ..Letter::default() };
                    match out.message(&letter) {
                        Put::First => out.flush(),
                        Put::Yes => {}
                        Put::No => panic!("there is room"),
                    }
                }
            })
        })
        .collect();
    let mut next = [0; 4];
    for text in heard(&mut reader, 4 * EACH).await {
        let (subject, number) = text.split_once(' ').unwrap();
        let thread: usize = subject[1..].parse().unwrap();
        assert_eq!(number, next[thread].to_string());
        next[thread] += 1;
    }
    assert_eq!(next, [EACH; 4]);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[tokio::test]
async fn a_link_that_does_not_keep_up_drops_messages_and_counts_them_but_no_note() {
    let ((out, _dialler), (_, mut reader)) = linked().await;
    let payload = vec![b'x'; 1 << 20];
    let letter = Letter { subject: "a", payload: &payload, ..Letter::default() };
    let mut taken = 0;
    while out.message(&letter) != Put::No {
        out.flush();
        taken += 1;
        assert!(taken < 1000, "a socket that nobody reads takes no end of bytes");
    }
    assert!(out.waiting() >= WAITING_BYTES_MAX && out.ended().is_none());
    assert_eq!(out.counts.dropped.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert_eq!(out.keep(&letter), Put::No, "it is safe where it is");
    assert!(out.note(b"still") && CUSTODY_BYTES_MAX <= WAITING_BYTES_MAX);
    let mut all = heard(&mut reader, taken + 1).await;
    all.retain(|text| text.starts_with("note"));
    assert_eq!(all, ["note still"]);
    assert_eq!(out.message(&letter), Put::First, "there is room again");
}

#[tokio::test]
async fn the_reason_for_the_end_comes_to_the_other_side() {
    let ((out, mut dialler), (_, mut reader)) = linked().await;
    out.close("the plan has changed");
    let ended = reader.batch(&mut |_| ()).await.unwrap_err();
    assert_eq!(ended, Ended::Told("the plan has changed".to_owned()));
    assert!(!out.note(b"late") && out.message(&Letter::default()) == Put::No);
    assert_eq!(dialler.batch(&mut |_| ()).await, Err(Ended::Closed("the plan has changed".to_owned())));
}

#[tokio::test]
async fn a_changed_record_ends_the_link() {
    let (dialled, accepted) = between(|first| first.truncate(first.len())).await;
    let (_, mut reader) = accepted.unwrap().start();
    drop(dialled);
    assert!(matches!(reader.batch(&mut |_| ()).await, Err(Ended::Gone | Ended::Failed(_))));
}

#[tokio::test]
async fn a_peer_that_hangs_is_noticed_within_three_seconds_and_one_that_idles_is_not() {
    let ((out, mut alive), (_, mut reader)) = linked().await;
    // The far end reads nothing and says nothing, as a stopped process does; its socket stays open.
    let (dialled, accepted) = handshake("l1", KEY).await;
    let (_hung, (other, mut waits)) = (accepted.unwrap(), dialled.unwrap().start());
    let began = std::time::Instant::now();
    let nothing = &mut |_: Frame<'_>| ();
    let ended = tokio::select! {
        ended = waits.batch(nothing) => ended.unwrap_err(),
        _ = async { loop { alive.batch(&mut |_| ()).await.unwrap() } } => unreachable!(),
        _ = async { loop { reader.batch(&mut |_| ()).await.unwrap() } } => unreachable!(),
    };
    let passed = began.elapsed();
    assert_eq!(ended, Ended::Silent);
    assert!(passed > Duration::from_secs(2) && passed < Duration::from_secs(4), "{passed:?}");
    assert!(other.is_over() && !out.is_over());
    assert!(out.round_trip().is_some_and(|round| round < Duration::from_secs(1)));
}

#[tokio::test]
async fn a_node_and_its_controller_talk() {
    let (dialled, accepted) = handshake("l1", KEY).await;
    let (node, mut from_controller) = Talk::start(dialled.unwrap());
    let (controller, mut from_node) = Talk::start(accepted.unwrap());
    assert!(node.control(b"register") && controller.control(b"plan") && controller.control(b"plan 2"));
    assert_eq!(from_node.next().await.unwrap(), b"register");
    assert_eq!(from_controller.next().await.unwrap(), b"plan");
    assert_eq!(from_controller.next().await.unwrap(), b"plan 2");
    assert!(node.note(b"no"));
    assert!(matches!(from_node.next().await, Err(Ended::Broken(_))), "a note is not for a controller");
}

#[test]
fn a_key_is_derived_for_one_use_and_shown_nowhere() {
    let key = LinkKey::derive(b"a secret", "domain a");
    assert_eq!(format!("{key:?}"), "LinkKey(..)");
}
