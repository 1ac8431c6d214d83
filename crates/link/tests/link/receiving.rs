//! What is received, row by row.

use std::sync::atomic::Ordering;

use link::{Gate, KeyRing};

use crate::support::{Asked, FACT, Memory, NOW, SECRET, SIGNATURE, answer, fact, key};

const EVENTS: &str = "/v1/events";
const TIMESTAMP: &str = "X-Routerd-Timestamp";
const SIGNED: &str = "X-Routerd-Signature";
const NEW: &str = "{\"accepted\":true,\"duplicate\":false,\"id\":\"evt-1\"}\n";
const KNOWN: &str = "{\"accepted\":true,\"duplicate\":true,\"id\":\"evt-1\"}\n";

/// Asks an intake of its own, and holds status, content type, body, and the reason that was noted against it.
async fn check(asked: Asked, status: u16, body: &str, reason: Option<&str>) {
    check_at(&Memory::new(), asked, status, body, reason).await;
}

async fn check_at(intake: &Memory, asked: Asked, status: u16, body: &str, reason: Option<&str>) {
    intake.noted.lock().clear();
    let (got, content, text) = answer(intake, asked, false).await;
    assert_eq!((got, text.as_str()), (status, body));
    let expected = match (status, body.is_empty()) {
        (_, true) => "",
        (200, _) => "application/json",
        _ => "text/plain; charset=utf-8",
    };
    assert_eq!(content, expected);
    assert_eq!(intake.noted.lock().first().map(String::as_str), reason);
}

fn by_hand(body: &str) -> Asked {
    Asked::signed(EVENTS, SECRET, body)
}

#[tokio::test]
async fn the_worked_vector_is_accepted_once() {
    let intake = Memory::new();
    let vector = || by_hand(FACT).header(SIGNED, SIGNATURE);
    check_at(&intake, vector(), 200, NEW, None).await;
    check_at(&intake, vector(), 200, KNOWN, Some("replay")).await;
    // Signed anew, it is known by its id.
    check_at(&intake, Asked::signed_at(EVENTS, SECRET, NOW + 1, FACT), 200, KNOWN, None).await;
    assert_eq!((intake.stored(), intake.calls.load(Ordering::Relaxed)), (1, 2));
}

#[tokio::test]
async fn only_posts_to_known_paths_are_looked_at() {
    for method in ["GET", "PUT", "HEAD", "DELETE", "OPTIONS"] {
        check(Asked { method, ..by_hand(FACT) }, 405, "", None).await;
    }
    for path in ["/v1/events/", "/", "/v1/status/", "/v1/event"] {
        check(Asked { path, ..by_hand(FACT) }, 404, "404 page not found\n", None).await;
    }
}

#[tokio::test]
async fn a_timestamp_is_a_whole_number_of_seconds() {
    for text in ["", "x", "1748600000.0", "1e9", "99999999999999999999", "1748600000 0"] {
        check(by_hand(FACT).header(TIMESTAMP, text), 400, "bad timestamp\n", Some("bad_timestamp")).await;
    }
    let bare = by_hand(FACT).without(TIMESTAMP).without(SIGNED);
    check(bare, 400, "bad timestamp\n", Some("bad_timestamp")).await;
    for text in ["+1748600000", "0001748600000"] {
        check(by_hand(FACT).header(TIMESTAMP, text), 200, NEW, None).await;
    }
}

#[tokio::test]
async fn a_timestamp_may_be_five_minutes_off_and_no_more() {
    for off in [-300, 300] {
        check(Asked::signed_at(EVENTS, SECRET, NOW + off, FACT), 200, NEW, None).await;
    }
    for at in [NOW - 301, NOW + 301, 0, i64::MIN, i64::MAX, NOW.wrapping_add(i64::MIN)] {
        let asked = Asked::signed_at(EVENTS, SECRET, at, FACT);
        check(asked, 403, "stale timestamp\n", Some("stale_timestamp")).await;
    }
    // Freshness comes before the signature.
    let both = Asked::signed_at(EVENTS, b"wrong", NOW - 301, FACT);
    check(both, 403, "stale timestamp\n", Some("stale_timestamp")).await;
}

#[tokio::test]
async fn a_signature_is_64_lowercase_characters_over_timestamp_and_body() {
    let wrong = [by_hand(FACT).without(SIGNED), by_hand(FACT).header(SIGNED, &SIGNATURE.to_uppercase())]
        .into_iter()
        .chain([
            by_hand(FACT).header(SIGNED, ""),
            by_hand(FACT).header(SIGNED, "0"),
            by_hand(FACT).header(TIMESTAMP, "1748600001"),
        ])
        .chain([Asked::signed(EVENTS, b"another", FACT), Asked { body: b"{}".to_vec(), ..by_hand(FACT) }]);
    for asked in wrong {
        check(asked, 401, "bad signature\n", Some("bad_signature")).await;
    }
}

#[tokio::test]
async fn a_body_is_one_envelope() {
    for body in ["", "garbage", "[]", "{} {}", r#"{"id":1}"#, r#"{"id":"a","payload":{"x":1}}"#] {
        check(by_hand(body), 400, "bad event body\n", Some("bad_body")).await;
    }
    for (body, missing) in [
        (r#"{"events":[]}"#, "id"),
        (r#"{"id":" ","group":"cloudedge","type":"t"}"#, "id"),
        (r#"{"id":"a","type":"t"}"#, "group"),
        (r#"{"id":"a","group":"cloudedge"}"#, "type"),
    ] {
        let told = format!("invalid event: federation event {missing} is required\n");
        check(by_hand(body), 400, &told, Some("validation")).await;
    }
}

#[tokio::test]
async fn a_body_of_a_mebibyte_is_taken_and_one_more_byte_is_not() {
    let padded = |bytes: usize| {
        let head = r#"{"id":"evt-1","group":"cloudedge","type":"t","sourceNode":"s","subject":""#;
        format!("{head}{}\"}}", "x".repeat(bytes - head.len() - 2))
    };
    check(by_hand(&padded(1 << 20)), 200, NEW, None).await;
    check(by_hand(&padded((1 << 20) + 1)), 413, "body too large\n", Some("too_large")).await;
}

#[tokio::test]
async fn a_store_that_fails_is_told_and_the_same_request_is_tried_again() {
    let intake = Memory::new();
    intake.fails.store(true, Ordering::Relaxed);
    check_at(&intake, by_hand(FACT), 500, "store error\n", None).await;
    intake.fails.store(false, Ordering::Relaxed);
    check_at(&intake, by_hand(FACT), 200, NEW, None).await;
}

#[tokio::test]
async fn an_id_is_answered_as_go_writes_it() {
    let body = r#"{"id":"a<b>&\u2028\"é","group":"cloudedge","type":"t"}"#;
    let told = "{\"accepted\":true,\"duplicate\":false,\"id\":\"a\\u003cb\\u003e\\u0026\\u2028\\\"é\"}\n";
    check(by_hand(body), 200, told, None).await;
}

#[tokio::test]
async fn a_key_is_for_its_group_and_its_sources() {
    let ring = || {
        KeyRing::new(vec![
            key("default", "cloudedge", None, SECRET),
            key("site-b", "cloudedge", Some(&["b"]), b"of b"),
            key("lab", "lab", None, b"of the lab"),
            key("shared-1", "one", None, b"shared"),
            key("shared-2", "two", None, b"shared"),
        ])
    };
    let told =
        |group: &str, source: &str| format!(r#"{{"id":"evt-1","group":"{group}","type":"t","sourceNode":"{source}"}}"#);
    type Expected = Result<&'static str, (&'static str, &'static str)>;
    let cases: [(&[u8], &str, &str, Expected); 9] = [
        (SECRET, "cloudedge", "anyone", Ok("default")),
        (SECRET, "lab", "anyone", Err(("foreign group", "foreign_group"))),
        (SECRET, "cloudedge", "cloud", Err(("own source", "own_source"))),
        (b"of b", "cloudedge", "b", Ok("site-b")),
        (b"of b", "cloudedge", "a", Err(("foreign source", "foreign_source"))),
        (b"of b", "lab", "b", Err(("foreign group", "foreign_group"))),
        (b"of the lab", "cloudedge", "b", Err(("foreign group", "foreign_group"))),
        (b"shared", "two", "b", Ok("shared-2")),
        (b"shared", "three", "b", Err(("foreign group", "foreign_group"))),
    ];
    for (secret, group, source, expected) in cases {
        let intake = Memory::with(ring(), Gate::default());
        let asked = Asked::signed(EVENTS, secret, told(group, source));
        match expected {
            Ok(via) => {
                check_at(&intake, asked, 200, NEW, None).await;
                assert_eq!(*intake.via.lock(), [via]);
            }
            Err((body, reason)) => {
                let (status, _, text) = answer(&*intake, asked, false).await;
                assert!(status == 403 && text.starts_with(body) && text.ends_with('\n'), "{status} {text}");
                assert_eq!((intake.noted.lock().as_slice(), intake.stored()), (&[reason.to_owned()][..], 0));
            }
        }
    }
}

#[tokio::test]
async fn a_key_is_rotated_while_requests_come() {
    let intake = Memory::new();
    let (old, new) = (|| key("default", "cloudedge", None, SECRET), || key("new", "cloudedge", None, b"new"));
    let by_new = |id: &str| Asked::signed(EVENTS, b"new", fact(id));
    let by_old = |id: &str| Asked::signed(EVENTS, SECRET, fact(id));
    assert_eq!(answer(&*intake, by_new("1"), false).await.0, 401);
    *intake.ring.lock() = KeyRing::new(vec![old(), new()]).into();
    assert_eq!(answer(&*intake, by_new("1"), false).await.0, 200);
    assert_eq!(answer(&*intake, by_old("2"), false).await.0, 200);
    *intake.ring.lock() = KeyRing::new(vec![new()]).into();
    assert_eq!(answer(&*intake, by_old("3"), false).await.0, 401);
}

#[tokio::test]
async fn the_status_is_for_who_is_near_or_signs() {
    let told = "{\"node\":\"cloud\",\"group\":\"cloudedge\",\"received\":0,\"duplicate\":0,\"rejected\":0,\"storedEvents\":0,\"replayWindowSeconds\":300}\n";
    let bare = |method| Asked { method, path: "/v1/status", headers: Vec::new(), body: Vec::new() };
    let near = answer(&*Memory::new(), bare("GET"), true).await;
    assert_eq!(near, (200, "application/json".to_owned(), told.to_owned()));
    check(bare("GET"), 400, "bad timestamp\n", Some("bad_timestamp")).await;
    check(Asked { method: "GET", ..Asked::signed("/v1/status", SECRET, "") }, 200, told, None).await;
    let wrong = Asked { method: "GET", ..Asked::signed("/v1/status", b"wrong", "") };
    check(wrong, 401, "bad signature\n", Some("bad_signature")).await;
    // Whoever asks for somebody else is not near.
    let proxied = bare("GET").header("X-Forwarded-For", "192.0.2.1");
    assert_eq!(answer(&*Memory::new(), proxied, true).await.0, 400);
}

#[tokio::test]
async fn a_peer_may_ask_after_a_fact_of_its_group() {
    let path = "/v1/federation/trace/ask";
    let intake = Memory::new();
    check_at(&intake, by_hand(FACT), 200, NEW, None).await;
    let ask = |body: &str| Asked::signed(path, SECRET, body);
    let known = ask(r#"{"group":"cloudedge","id":"evt-1"}"#);
    check_at(&intake, known, 200, "{\"hops\":[\"evt-1\"]}\n", None).await;
    check_at(&intake, ask(r#"{"group":"cloudedge","id":"evt-2"}"#), 404, "404 page not found\n", None).await;
    let foreign = ask(r#"{"group":"lab","id":"evt-1"}"#);
    assert_eq!(answer(&*intake, foreign, false).await.0, 403);
}
