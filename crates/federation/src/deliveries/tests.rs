//! Rows, their records, and their numbers.

use alloc::vec::Vec;

use super::*;
use crate::facts::Facts;
use crate::stored::Stored;
use event::Fact;
use proptest::prelude::*;

fn at(seconds: u64) -> Moment {
    Moment::EPOCH.after(Duration::from_secs(seconds))
}

fn row(id: &str, peer: &str, seq: u64, status: Status) -> Delivery {
    Delivery {
        id: id.into(),
        peer: peer.into(),
        seq,
        recorded: at(seq),
        status,
        attempts: 1,
        last_attempt: Some(at(seq + 1)),
        last_error: (status == Status::Failed).then(|| "peer returned HTTP 500".into()),
        delivered: (status == Status::Delivered).then(|| at(seq + 1)),
        expires: Some(at(100)),
    }
}

#[test]
fn the_latest_state_counts_and_a_delivery_above_all() {
    let mut table = Deliveries::new();
    let mut check = |delivery: Delivery, taken: bool, expected: (u64, Status)| {
        assert_eq!(table.apply(delivery), taken);
        let row = table.get("1", "p").unwrap();
        assert_eq!((row.seq, row.status), expected);
    };
    check(row("1", "p", 1, Status::Pending), true, (1, Status::Pending));
    check(row("1", "p", 1, Status::Failed), true, (1, Status::Failed));
    check(row("1", "p", 1, Status::Pending), false, (1, Status::Failed));
    check(row("1", "p", 1, Status::Delivered), true, (1, Status::Delivered));
    check(row("1", "p", 1, Status::Failed), false, (1, Status::Delivered));
    check(row("1", "p", 2, Status::Pending), false, (1, Status::Delivered));
    check(row("1", "p", 2, Status::Failed), true, (2, Status::Failed));
    check(row("1", "p", 1, Status::Delivered), false, (2, Status::Failed));
    assert_eq!((table.len(), table.of("1").count()), (1, 1));
    table.apply(row("1", "q", 1, Status::Delivered));
    table.apply(row("2", "q", 1, Status::Delivered));
    table.prune_peer("p");
    assert_eq!(table.len(), 2);
    table.prune(["1", "never"]);
    assert_eq!((table.len(), table.iter().count()), (1, 1));
}

#[test]
fn numbers_are_by_peer_over_the_facts_that_hold() {
    let mut facts = Facts::new("g");
    for (seq, (id, expires)) in (1..).zip([("1", 50), ("2", 90), ("3", 0), ("1", 60)]) {
        let mut fact = Fact::new("g", id, "t");
        fact.observed = Some(at(1));
        fact.expires = (expires > 0).then(|| at(expires));
        facts.fold(seq, at(seq), &Stored { fact, via: None }, at(seq));
    }
    let mut table = Deliveries::new();
    for delivery in [
        row("1", "p", 1, Status::Delivered),
        row("2", "p", 2, Status::Failed),
        row("3", "p", 3, Status::Pending),
        row("3", "q", 3, Status::Delivered),
        row("gone", "p", 1, Status::Failed),
    ] {
        table.apply(delivery);
    }
    assert!(table.owes(facts.get("1").unwrap(), "p") && !table.owes(facts.get("3").unwrap(), "q"));
    assert!(table.owes(facts.get("2").unwrap(), "q"));
    let mut over = row("3", "q", 3, Status::Expired);
    over.peer = "r".into();
    table.apply(over);
    assert!(table.owes(facts.get("3").unwrap(), "r"), "it holds after all");
    table.rows.get_mut("3").unwrap().retain(|row| &*row.peer != "r");
    let found = table.summary(&facts, &Filter::default(), at(20));
    let text = serde_json::to_string(&found).unwrap();
    let expected = "[{\"group\":\"g\",\"peer\":\"p\",\"events\":3,\"delivered\":1,\"staleTTL\":1,\"failed\":1,\
        \"pending\":1,\"maxLagSeconds\":18,\"minExpiresInSeconds\":40},\
        {\"group\":\"g\",\"peer\":\"q\",\"events\":1,\"delivered\":1,\"staleTTL\":0,\"failed\":0,\
        \"pending\":0,\"maxLagSeconds\":1,\"minExpiresInSeconds\":null}]";
    assert_eq!(text, expected);
    let only = Filter { peer: Some("q".into()), kind: Some("t".into()), include_expired: true };
    assert_eq!(table.summary(&facts, &only, at(20)).len(), 1);
    assert!(table.summary(&facts, &Filter { kind: Some("u".into()), ..only }, at(20)).is_empty());
}

#[test]
fn a_damaged_line_is_named() {
    let lines = encode([&row("1", "p", 1, Status::Delivered), &row("2", "p", 1, Status::Failed)]);
    let text = core::str::from_utf8(&lines).unwrap();
    let first = "{\"i\":\"1\",\"p\":\"p\",\"q\":1,\"r\":1000000000,\"s\":\"delivered\",\"a\":1,\
        \"l\":2000000000,\"d\":2000000000,\"x\":100000000000}";
    assert_eq!(text.lines().next(), Some(first));
    let damaged = text.replace("\"s\":\"failed\"", "\"s\":\"lost\"");
    assert_eq!(decode(damaged.as_bytes()).unwrap_err().line, 2);
    let newer = text.replace("{\"i\"", "{\"new\":[1],\"i\"");
    assert_eq!(decode(newer.as_bytes()).unwrap().len(), 2);
    assert_eq!(error_text(&"é".repeat(1_000)).len(), 512);
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        rows in proptest::collection::vec((".{0,5}", ".{0,5}", any::<[u64; 5]>(), 0..5_usize, any::<u32>(), proptest::option::of(".{0,9}")), 0..5),
    ) {
        let all = [Status::Pending, Status::Failed, Status::Expired, Status::Skipped, Status::Delivered];
        let rows: Vec<Delivery> = rows.into_iter().map(|(id, peer, numbers, status, attempts, error)| Delivery {
            id: id.into(),
            peer: peer.into(),
            seq: numbers[0],
            recorded: Moment::from_nanos(numbers[1]),
            status: all[status],
            attempts,
            last_attempt: (status > 0).then(|| Moment::from_nanos(numbers[2])),
            last_error: error.map(Into::into),
            delivered: (status == 4).then(|| Moment::from_nanos(numbers[3])),
            expires: (attempts % 2 == 0).then(|| Moment::from_nanos(numbers[4])),
        }).collect();
        prop_assert_eq!(decode(&encode(&rows)).unwrap(), rows);
    }

    #[test]
    fn lines_of_strangers_are_judged_without_panic(bytes: Vec<u8>) {
        let _judged = decode(&bytes);
    }
}
