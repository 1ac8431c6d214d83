//! Links: how they are negotiated, and how not.

use std::time::Duration;

use door::{Access, NameRule, Token, TokenHash};
use door_slim::Options;
use event::Pattern;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::*;

const BASE: [u8; 32] = {
    let mut key = [0; 32];
    key[0] = 9;
    key
};

async fn ends(options: Options, first: Proto, words: &str) {
    let served = serve(options).await;
    let mut client = Client::silent(served.address, None).await;
    client.send(&first).await;
    match client.raw().await {
        Err(Heard::Over(status, text)) => {
            assert_ne!(status, "0");
            assert!(text.contains(words), "'{text}' does not say '{words}'");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(served.door.counts().refused, 1);
}

#[tokio::test]
async fn a_link_is_negotiated_first_and_rightly() {
    let strict = Options::default;
    let said = |field: u64, bytes: &str| {
        let mut proto = Proto::default().bytes(1, "link").bytes(2, "1.2.3").bytes(4, BASE);
        proto = proto.bytes(field, bytes);
        Proto::default().message(5, Proto::default().message(1, proto))
    };
    ends(strict(), Proto::default(), "must negotiate").await;
    ends(strict(), Proto(vec![0xff]), "cannot be read").await;
    ends(strict(), Proto::default().message(6, Proto::default().number(1, 1)), "must negotiate").await;
    ends(strict(), said(1, ""), "name").await;
    ends(strict(), said(1, &"l".repeat(10_000)), "name").await;
    ends(strict(), said(2, "bogus"), "version").await;
    ends(strict(), said(2, "1.2"), "version").await;
    let reply = Proto::default().bytes(1, "l").bytes(2, "1.2.3").number(3, 1).bytes(4, BASE);
    ends(strict(), Proto::default().message(5, Proto::default().message(1, reply)), "not by an answer").await;
    ends(strict(), negotiation("link", &[], 2), "0 bytes").await;
    ends(strict(), negotiation("link", &[7; 31], 2), "31 bytes").await;
    ends(strict(), negotiation("link", &BASE, 1), "replica").await;
    ends(Options { enforce_pqc: true, ..strict() }, negotiation("link", &BASE, 2), "ML-KEM").await;
}

#[tokio::test]
async fn a_key_that_leads_to_a_secret_everybody_knows_is_refused() {
    for low in [[0; 32], {
        let mut one = [0; 32];
        one[0] = 1;
        one
    }] {
        ends(Options::default(), negotiation("link", &low, 2), "of no use").await;
        let lax = Options { require_header_mac: false, ..Options::default() };
        ends(lax, negotiation("link", &low, 2), "of no use").await;
    }
}

#[tokio::test]
async fn an_answer_echoes_the_link_and_its_kind() {
    let served = serve(Options::default()).await;
    for kind in [0, 2] {
        let _link = Client::open_as(served.address, &format!("link-{kind}"), kind, None).await;
    }
    assert_eq!(served.door.counts().negotiated, 2);
}

#[tokio::test]
async fn who_does_not_negotiate_in_time_is_ended() {
    let deadline = std::time::Duration::from_millis(50);
    let served = serve(Options { negotiation_deadline: deadline, ..Options::default() }).await;
    let mut client = Client::silent(served.address, None).await;
    match client.raw().await {
        Err(Heard::Over(status, _)) => assert_eq!(status, "4"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_replayed_negotiation_changes_nothing() {
    let served = serve(Options::default()).await;
    let mut client = Client::open(served.address).await;
    client.send(&negotiation("link", &BASE, 2)).await;
    client.send(&negotiation("other", &[0; 32], 1)).await;
    served.await_dropped("unexpected", 2).await;
    client.subscribe(any(3)).await;
}

#[tokio::test]
async fn a_link_that_comes_again_takes_the_place_of_the_one_before() {
    let served = serve(Options::default()).await;
    let mut before = Client::open_as(served.address, "same", 2, None).await;
    before.subscribe(any(3)).await;
    let _after = Client::open_as(served.address, "same", 2, None).await;
    assert!(matches!(before.hear().await, Heard::Over(status, _) if status == "10"));
    let mut other = Client::open_as(served.address, "another", 2, None).await;
    other.publish(&Head::to(any(3)), b"to nobody").await;
    assert_eq!(other.told().await["session_context"]["message_id"], 5);
}

#[tokio::test]
async fn the_post_quantum_offer_is_honoured_where_nobody_insists() {
    use ml_kem::kem::{Decapsulate, KeyExport};
    let key = ml_kem::DecapsulationKey768::from_seed([7; 64].into());
    let offered = key.encapsulation_key().to_bytes();
    for enforce_pqc in [false, true] {
        let served = serve(Options { enforce_pqc, ..Options::default() }).await;
        let mut client = Client::silent(served.address, None).await;
        let said = Proto::default().bytes(1, "link").bytes(2, "3.4.6").bytes(4, BASE).number(5, 2).bytes(8, offered);
        client.send(&Proto::default().message(5, Proto::default().message(1, said))).await;
        let reply = client.raw().await.unwrap();
        let Ok(door_slim::codec::Message::Negotiate(said)) = door_slim::codec::read(&reply) else { panic!() };
        let shown = said.kem.expect("an answer of ML-KEM");
        assert_eq!(shown.len(), 1088);
        key.decapsulate_slice(shown).expect("it is one");
    }
}

#[tokio::test]
async fn tokens_are_asked_for_and_their_rights_hold() {
    let tokens = [("writer", "slim.0000000000000001.>"), ("reader", "other.>")].map(|(name, pattern)| {
        let patterns = vec![Pattern::parse(pattern).unwrap()];
        Token { name: name.into(), hash: TokenHash::of(name), publish: patterns.clone(), read: patterns, admin: false }
    });
    let served = serve_with(Options::default(), Access::tokens(tokens.clone())).await;
    assert_eq!(Client::refused(served.address, None).await, "16");
    assert_eq!(Client::refused(served.address, Some("who")).await, "16");
    let mut reader = Client::open_as(served.address, "r", 2, Some("reader")).await;
    reader.send(&reader.change(1, &Head::to(any(3)), 9, true)).await;
    assert!(matches!(reader.hear().await, Heard::Ack(9, Some(why)) if why.contains("'reader' may not read")));
    reader.publish(&Head::to(any(3)), b"x").await;
    assert!(reader.told().await["error"].as_str().unwrap().contains("may not publish"));
    let mut writer = Client::open_as(served.address, "w", 2, Some("writer")).await;
    writer.subscribe(any(3)).await;
    served.port.set_access(Access::tokens(tokens.into_iter().skip(1)));
    writer.publish(&Head::to(any(3)), b"x").await;
    assert!(matches!(writer.hear().await, Heard::Over(status, _) if status == "16"));
}

#[tokio::test]
async fn who_only_listens_hears_nothing_more_when_its_token_is_taken_away_or_a_rule_closes_the_name() {
    let all = || vec![Pattern::all()];
    let token =
        |name: &str| Token { name: name.into(), hash: TokenHash::of(name), publish: all(), read: all(), admin: false };
    let served = serve_with(Options::default(), Access::tokens(["a", "b", "c"].map(token))).await;
    let sender = Client::open_as(served.address, "a", 2, Some("a")).await;
    let mut ruled = Client::open_as(served.address, "b", 2, Some("b")).await;
    let mut gone = Client::open_as(served.address, "c", 2, Some("c")).await;
    ruled.subscribe(any(1)).await;
    ruled.subscribe(any(2)).await;
    gone.subscribe(any(1)).await;
    let rule = NameRule {
        subjects: vec![Pattern::parse("slim.*.*.0000000000000001").unwrap()],
        publish: None,
        subscribe: Some(vec!["a".into()]),
    };
    served.port.set_name_rules(vec![rule]);
    served.port.set_access(Access::tokens(["a", "b"].map(token)));
    assert!(matches!(gone.hear().await, Heard::Over(status, _) if status == "16"));
    timeout(PATIENCE, async {
        while !served.port.fabric().way("slim.0000000000000001.0000000000000002.0000000000000001").is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    sender.publish(&Head::every(any(1)), b"closed").await;
    sender.publish(&Head::every(any(2)), b"open").await;
    assert!(matches!(ruled.hear().await, Heard::Published { payload, .. } if payload.ends_with(b"open")));
}

#[tokio::test]
async fn a_connection_that_opens_no_link_does_not_hold_a_place() {
    let served = serve(Options { connections_max: 1, ..Options::default() }).await;
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    idle.write_all(b"P").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(120)).await;
    tokio::time::resume();
    let mut rest = Vec::new();
    timeout(PATIENCE, idle.read_to_end(&mut rest)).await.expect("it is ended").unwrap();
    Client::open(served.address).await;
}
