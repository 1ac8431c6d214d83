//! Peers that do not answer as they should.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use link::{Pushed, Secret, Target, TargetError, TargetOptions, Waits};

use crate::support::{Does, FACT, Fake, NOW, SECRET, SIGNATURE, accepted, http};

/// Short limits, so that what takes too long does so soon.
fn hasty() -> Waits {
    let short = Duration::from_millis(150);
    Waits { connect: short, handshake: short, send: short, answer: short, body: short }
}

async fn push(url: &str, waits: Waits) -> Pushed {
    let target = Target::new(url, TargetOptions { waits, ..TargetOptions::default() }).unwrap();
    target.push_one(&Secret::new(SECRET), NOW, Bytes::from_static(FACT.as_bytes())).await
}

/// Pushes the worked vector to a peer that does this, and holds the outcome against a text.
async fn check(does: Does, waits: Waits, expected: &str) -> Fake {
    let fake = Fake::new(move |_| does.clone()).await;
    let began = Instant::now();
    let told = match push(&fake.url, waits).await {
        Pushed::Accepted { duplicate } => format!("accepted, duplicate {duplicate}"),
        Pushed::Refused { status, text } => format!("refused {status}, {text}"),
        Pushed::Failed { text } => format!("failed, {text}"),
    };
    assert!(told.starts_with(expected), "{told}");
    assert!(!told.contains("sensitive"), "{told}");
    assert!(began.elapsed() < Duration::from_secs(10));
    fake
}

#[tokio::test]
async fn a_push_is_the_originals_byte_for_byte() {
    let fake = check(Does::Answer(accepted()), Waits::default(), "accepted, duplicate false").await;
    let got = fake.got.lock()[0].clone();
    assert_eq!(got.body, FACT.as_bytes());
    let mut lines = got.head.lines();
    assert_eq!(lines.next(), Some("POST /v1/events HTTP/1.1"));
    let lines: Vec<&str> = lines.collect();
    let signature = format!("X-Routerd-Signature: {SIGNATURE}");
    for line in ["Content-Type: application/json", "X-Routerd-Timestamp: 1748600000", &signature, "Content-Length: 275"]
    {
        assert!(lines.contains(&line), "{line} in {lines:?}");
    }
}

#[tokio::test]
async fn slashes_at_the_end_of_an_endpoint_do_not_count_and_a_prefix_does() {
    let fake = Fake::new(|_| Does::Answer(accepted())).await;
    for end in ["", "/", "//", "/fed", "/fed/"] {
        assert_eq!(push(&format!("{}{end}", fake.url), Waits::default()).await, Pushed::Accepted { duplicate: false });
    }
    assert_eq!(fake.paths(), ["/v1/events", "/v1/events", "/v1/events", "/fed/v1/events", "/fed/v1/events"]);
}

#[tokio::test]
async fn any_2xx_is_a_delivery() {
    for status in ["200 OK", "201 Created", "202 Accepted", "299 Whatever"] {
        check(Does::Answer(http(status, "", "")), Waits::default(), "accepted, duplicate false").await;
    }
    let known = http("200 OK", "", "{\"accepted\":true,\"duplicate\":true,\"id\":\"evt-1\"}\n");
    check(Does::Answer(known), Waits::default(), "accepted, duplicate true").await;
    check(Does::Answer(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()), Waits::default(), "accepted").await;
    check(Does::Answer(http("200 OK", "", "<html>sensitive")), Waits::default(), "accepted, duplicate false").await;
}

#[tokio::test]
async fn redirects_are_not_followed() {
    for status in
        ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
    {
        let elsewhere = Fake::new(|_| Does::Answer(accepted())).await;
        let to = format!("Location: {}/v1/events\r\n", elsewhere.url);
        let told = format!("failed, peer returned HTTP {}", &status[..3]);
        check(Does::Answer(http(status, &to, "sensitive")), Waits::default(), &told).await;
        assert_eq!(elsewhere.connections.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test]
async fn refusals_are_told_from_failures() {
    let answer = |status: &str, body: &str| Does::Answer(http(status, "", body));
    let cases = [
        ("400 Bad Request", "bad event body\n", "refused 400, peer returned HTTP 400: bad event body"),
        ("401 Unauthorized", "bad signature\n", "refused 401, peer returned HTTP 401: bad signature"),
        ("401 Unauthorized", "sensitive", "refused 401, peer returned HTTP 401"),
        ("413 Payload Too Large", "", "refused 413, peer returned HTTP 413"),
        ("429 Too Many Requests", "", "refused 429, peer returned HTTP 429"),
        ("404 Not Found", "404 page not found\n", "failed, peer returned HTTP 404"),
        ("500 Internal Server Error", "store error\n", "failed, peer returned HTTP 500: store error"),
        ("503 Service Unavailable", "sensitive", "failed, peer returned HTTP 503"),
    ];
    for (status, body, told) in cases {
        check(answer(status, body), Waits::default(), told).await;
    }
    let date = "Date: Fri, 30 May 2025 10:23:20 GMT\r\n";
    let stale = Does::Answer(http("403 Forbidden", date, "stale timestamp\n"));
    let told = "refused 403, peer returned HTTP 403: stale timestamp (its clock is 600 s ahead of ours)";
    check(stale, Waits::default(), told).await;
}

#[tokio::test]
async fn an_answer_that_drips_is_a_delivery_once_its_head_is_there() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n".to_vec();
    let drip = Does::Drip(head, vec![b'x'; 400], Duration::from_millis(40));
    check(drip, hasty(), "accepted, duplicate false").await;
    let head = b"HTTP/1.1 200 OK\r\n".to_vec();
    let drip = Does::Drip(head, b"Content-Length: 0\r\n\r\n".to_vec(), Duration::from_millis(40));
    check(drip, hasty(), "failed, the answer took longer than 150ms").await;
}

#[tokio::test]
async fn garbage_is_a_failure() {
    for garbage in [&b"sensitive garbage\r\n\r\n"[..], b"\0\xff\xfe", b"HTTP/9.9 200 OK\r\n\r\n", b"SSH-2.0-x\r\n"] {
        check(
            Does::AnswerAndClose(garbage.to_vec()),
            Waits::default(),
            "failed, the connection ended before an answer",
        )
        .await;
    }
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(200_000)).into_bytes();
    check(Does::AnswerAndClose(endless), Waits::default(), "failed, ").await;
}

#[tokio::test]
async fn a_peer_that_closes_before_its_head_has_not_taken_it_and_after_it_has() {
    check(Does::AnswerAndClose(Vec::new()), Waits::default(), "failed, the connection ended before an answer").await;
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n{\"acc".to_vec();
    check(Does::AnswerAndClose(half), Waits::default(), "accepted, duplicate false").await;
}

#[tokio::test]
async fn a_peer_that_never_answers_fails_in_time() {
    check(Does::Hang, hasty(), "failed, the answer took longer than 150ms").await;
}

#[tokio::test]
async fn a_probe_has_less_time_than_a_push() {
    let fake = Fake::new(|_| Does::Hang).await;
    let target = Target::new(&fake.url, TargetOptions::default()).unwrap();
    let most = Duration::from_millis(100);
    let outcome = target.probe(&Secret::new(SECRET), NOW, Bytes::from_static(b"{}"), most).await;
    assert_eq!(outcome, Pushed::Failed { text: "the answer took longer than 100ms".to_owned() });
}

#[tokio::test]
async fn a_huge_answer_is_not_read_to_its_end() {
    let huge = http("200 OK", "", &"x".repeat(50 << 20));
    let fake = check(Does::Answer(huge), Waits::default(), "accepted, duplicate false").await;
    // And its connection is not used again.
    assert_eq!(push(&fake.url, Waits::default()).await, Pushed::Accepted { duplicate: false });
    assert_eq!(fake.connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn nobody_there_is_a_failure_of_the_connection() {
    let gone = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let Pushed::Failed { text } = push(&format!("http://{gone}"), Waits::default()).await else { panic!() };
    assert!(text.starts_with(&format!("no connection to {gone}: ")), "{text}");
    let Pushed::Failed { text } = push("http://nobody.invalid", Waits::default()).await else { panic!() };
    assert!(text.contains("nobody.invalid") || text.contains("to resolve"), "{text}");
}

#[tokio::test]
async fn connections_are_kept_and_one_that_was_closed_is_no_failure() {
    let fake = Fake::new(|_| Does::Answer(accepted())).await;
    let target = Target::new(&fake.url, TargetOptions::default()).unwrap();
    for _ in 0..10 {
        target.push_one(&Secret::new(SECRET), NOW, Bytes::from_static(b"{}")).await;
    }
    assert_eq!((fake.got.lock().len(), fake.connections.load(Ordering::Relaxed)), (10, 1));

    // It says that it keeps the connection, and closes it.
    let closing = Fake::new(|_| Does::AnswerAndClose(accepted())).await;
    let target = Target::new(&closing.url, TargetOptions::default()).unwrap();
    for _ in 0..10 {
        let outcome = target.push_one(&Secret::new(SECRET), NOW, Bytes::from_static(b"{}")).await;
        assert_eq!(outcome, Pushed::Accepted { duplicate: false });
    }
    assert_eq!(closing.connections.load(Ordering::Relaxed), 10);
}

#[test]
fn an_endpoint_is_an_http_url_of_a_host() {
    for url in ["", "host", "host:80", "ftp://host", "http://", "http://user@host", "http://host/?x", "http://host/#x"]
    {
        assert_eq!(Target::new(url, TargetOptions::default()).unwrap_err(), TargetError::Endpoint, "{url}");
    }
    assert_eq!(Target::new("https://host", TargetOptions::default()).unwrap_err(), TargetError::NoTls);
    for url in ["http://host", "http://host:8080/", "http://[::1]:80/a/b", "http://192.0.2.1"] {
        assert!(Target::new(url, TargetOptions::default()).is_ok(), "{url}");
    }
}
