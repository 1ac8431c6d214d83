//! Batches: found out about, packed, answered fact by fact, and fallen back from.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use link::{Gate, KeyRing, ListenOptions, Mode, Pushed, Secret, Target, TargetOptions};

use crate::support::{Asked, Does, Fake, Memory, NOW, SECRET, accepted, answer, fact, http, key, served};

const BATCH: &str = "/v1/federation/batch";

fn facts(count: usize) -> Vec<Bytes> {
    (0..count).map(|number| fact(&format!("evt-{number}"))).collect()
}

fn target(url: &str) -> Target {
    Target::new(url, TargetOptions::default()).unwrap()
}

async fn push(target: &Target, facts: &[Bytes]) -> Vec<Pushed> {
    target.push_many(&Secret::new(SECRET), NOW, facts).await
}

const NEW: Pushed = Pushed::Accepted { duplicate: false };
const KNOWN: Pushed = Pushed::Accepted { duplicate: true };

#[tokio::test]
async fn many_facts_go_in_few_requests_and_each_is_answered_for() {
    let intake = Memory::new();
    let served = served(intake.clone(), None, ListenOptions::default()).await;
    let target = target(&served.url());
    assert_eq!(target.mode(), Mode::Unknown);
    assert_eq!(push(&target, &facts(10_000)).await, vec![NEW; 10_000]);
    assert_eq!((intake.stored(), intake.calls.load(Ordering::Relaxed)), (10_000, 3));
    assert_eq!(target.mode(), Mode::Batch);
    // The very same requests again are replays, and are not looked at twice.
    assert_eq!(push(&target, &facts(4_096)).await, vec![KNOWN; 4_096]);
    assert_eq!(intake.calls.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn one_bad_fact_spoils_no_other() {
    let ring = KeyRing::new(vec![key("default", "cloudedge", None, SECRET)]);
    let intake = Memory::with(ring, Gate::default());
    let served = served(intake.clone(), None, ListenOptions::default()).await;
    let foreign = Bytes::from_static(br#"{"id":"x","group":"lab","type":"t"}"#);
    let own = Bytes::from_static(br#"{"id":"y","group":"cloudedge","type":"t","sourceNode":"cloud"}"#);
    let batch = [fact("1"), foreign, Bytes::from_static(b"garbage"), own, fact("1"), fact("2")];
    let outcomes = push(&target(&served.url()), &batch).await;
    let refused =
        |status: u16, why: &str| Pushed::Refused { status, text: format!("peer returned HTTP {status}: {why}") };
    let expected =
        [NEW, refused(403, "foreign group"), refused(400, "bad event body"), refused(403, "own source"), KNOWN, NEW];
    assert_eq!(outcomes, expected);
    assert_eq!(*intake.noted.lock(), ["foreign_group", "bad_body", "own_source"]);
}

#[tokio::test]
async fn a_peer_that_knows_no_batches_is_sent_single_facts_from_then_on() {
    for refusal in ["404 Not Found", "405 Method Not Allowed", "415 Unsupported Media Type", "501 Not Implemented"] {
        let fake = Fake::new(move |path| {
            Does::Answer(if path == BATCH { http(refusal, "", "404 page not found\n") } else { accepted() })
        })
        .await;
        let target = target(&fake.url);
        assert_eq!(push(&target, &facts(20)).await, vec![NEW; 20]);
        assert_eq!(target.mode(), Mode::Single);
        assert_eq!(push(&target, &facts(20)).await, vec![NEW; 20]);
        let paths = fake.paths();
        assert_eq!((paths.len(), paths.iter().filter(|path| *path == BATCH).count()), (41, 1), "{refusal}");
        let mut bodies: Vec<Vec<u8>> = fake.got.lock()[1..21].iter().map(|got| got.body.clone()).collect();
        bodies.sort();
        let mut sent: Vec<Vec<u8>> = facts(20).iter().map(|fact| fact.to_vec()).collect();
        sent.sort();
        assert_eq!(bodies, sent);
    }
}

#[tokio::test]
async fn a_peer_that_says_200_to_everything_knows_no_batches() {
    for body in ["", "<html>", "{}", "{\"results\":[]}", "{\"accepted\":true,\"duplicate\":false,\"id\":\"x\"}"] {
        let fake = Fake::new(move |_| Does::Answer(http("200 OK", "", body))).await;
        let target = target(&fake.url);
        assert_eq!(push(&target, &facts(3)).await, vec![NEW; 3]);
        assert_eq!(target.mode(), Mode::Single);
    }
}

#[tokio::test]
async fn a_batch_that_is_too_large_for_what_stands_between_is_cut() {
    let intake = Memory::new();
    let fake = Fake::new(move |path| {
        Does::Answer(if path == BATCH { http("413 Payload Too Large", "", "") } else { accepted() })
    })
    .await;
    // Nothing is small enough for this one, so single facts are tried in the end.
    let target = target(&fake.url);
    assert_eq!(push(&target, &facts(2_000)).await, vec![NEW; 2_000]);
    let sizes: Vec<usize> = fake.paths().iter().filter(|path| *path == BATCH).map(String::len).collect();
    assert!((2..12).contains(&sizes.len()), "{} batches", sizes.len());
    drop(intake);
}

#[tokio::test]
async fn a_failure_of_the_whole_batch_is_that_of_each_fact() {
    let cases = [
        ("401 Unauthorized", "bad signature\n", "peer returned HTTP 401: bad signature", true),
        ("500 Internal Server Error", "store error\n", "peer returned HTTP 500: store error", false),
        ("307 Temporary Redirect", "", "peer returned HTTP 307", false),
    ];
    for (status, body, told, refused) in cases {
        let fake = Fake::new(move |_| Does::Answer(http(status, "", body))).await;
        let outcomes = push(&target(&fake.url), &facts(5_000)).await;
        let text = told.to_owned();
        let each = if refused { Pushed::Refused { status: 401, text } } else { Pushed::Failed { text } };
        assert_eq!(outcomes, vec![each; 5_000]);
        // A failure is not repeated for what is left; a refusal may be of the first part alone.
        assert_eq!(fake.paths().len(), if refused { 2 } else { 1 });
    }
}

#[tokio::test]
async fn singles_stop_at_the_first_failure() {
    let fake = Fake::new(|path| {
        Does::Answer(if path == BATCH { http("404 Not Found", "", "") } else { http("500 Oops", "", "") })
    })
    .await;
    let outcomes = push(&target(&fake.url), &facts(4_096)).await;
    assert_eq!(outcomes, vec![Pushed::Failed { text: "peer returned HTTP 500".to_owned() }; 4_096]);
    assert!(fake.paths().len() < 200, "{}", fake.paths().len());
}

#[tokio::test]
async fn batches_can_be_turned_off() {
    let intake = Memory::new();
    let served = served(intake.clone(), None, ListenOptions::default()).await;
    let target = Target::new(&served.url(), TargetOptions { batch: false, ..TargetOptions::default() }).unwrap();
    assert_eq!(push(&target, &facts(50)).await, vec![NEW; 50]);
    assert_eq!((target.mode(), intake.calls.load(Ordering::Relaxed)), (Mode::Single, 50));
}

async fn check(asked: Asked, status: u16, body: &str) {
    let intake = Memory::new();
    let (got, _, text) = answer(&*intake, asked, false).await;
    assert_eq!((got, text.as_str()), (status, body));
}

#[tokio::test]
async fn what_is_no_batch_is_refused_as_a_whole() {
    let signed = |body: Vec<u8>| Asked::signed(BATCH, SECRET, body);
    check(signed(Vec::new()), 200, "{\"results\":[]}\n").await;
    check(signed(b"\n \n".to_vec()), 200, "{\"results\":[]}\n").await;
    let told = "{\"results\":[{\"id\":\"evt-1\",\"accepted\":true,\"duplicate\":false},{\"id\":\"\",\"error\":\"bad event body\",\"status\":400}]}\n";
    check(signed([&fact("evt-1")[..], b"\n[]\n"].concat()), 200, told).await;
    check(signed(fact("1").to_vec()).header("Content-Encoding", "gzip"), 400, "bad event body\n").await;
    check(signed(fact("1").to_vec()).header("Content-Encoding", "zstd"), 400, "bad event body\n").await;
    check(signed(b"{}\n".repeat(4_097)), 413, "body too large\n").await;
    check(signed(vec![b' '; (4 << 20) + 1]), 413, "body too large\n").await;
    let bomb = zstd::bulk::compress(&vec![b' '; 17 << 20], 1).unwrap();
    check(signed(bomb).header("Content-Encoding", "zstd"), 413, "body too large\n").await;
    check(Asked::signed(BATCH, b"wrong", fact("1")), 401, "bad signature\n").await;
}
