//! Stories of streams: what is taken, what is refused, what goes.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use event::{Headers, Moment};

use super::bench::{Table, message, pattern};
use crate::{Append, AppendError, Discard, Expect, Proof, Purge, Read, Receipt, Storage, StreamConfig, StreamError};

const SECOND: Duration = Duration::from_secs(1);

/// Promise 3.
pub fn positions_are_consecutive_and_start_at_one(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    for expected in 1..=5 {
        let receipt = table.append(Append::new(message("a.b", "x"))).expect("taken");
        assert_eq!((receipt.seq, receipt.duplicate, &*receipt.stream), (expected, false, "S"));
        assert!(!table.bench().durable() || receipt.proof != Proof::Memory);
    }
    assert_eq!(table.seqs("S"), [1, 2, 3, 4, 5]);
}

/// Subject, headers and payload, byte for byte.
pub fn a_message_comes_back_as_it_was(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    let mut sent = message("a.é.b*c", "\u{0}bytes");
    sent.headers = Headers::from_pairs([("Ce-Id", "1"), ("x", ""), ("x", "y z")]).expect("headers");
    let before = table.bench().now();
    table.append(Append::new(sent.clone())).expect("taken");
    table.put("a.empty", "");
    let page = table.read("S", Read::from(1, 10));
    assert_eq!(page.messages.len(), 2);
    let stored = page.messages.first().expect("one");
    assert_eq!((stored.seq, &stored.message), (1, &sent));
    assert!(stored.time >= before);
    assert!(page.messages.last().expect("two").message.payload.is_empty());
}

/// The error names the subject.
pub fn a_subject_that_no_stream_captures_is_refused(table: &mut Table) {
    table.stream("S", "a.*", |_| ());
    for subject in ["b", "a", "a.b.c"] {
        let refused = table.append(Append::new(message(subject, "x")));
        assert_eq!(refused, Err(AppendError::NoStream(subject.to_string())));
    }
}

/// The error names both streams and both patterns.
pub fn overlapping_streams_are_refused_and_both_named(table: &mut Table) {
    table.stream("A", "a.>", |_| ());
    let refused = table.journal().stream_create(StreamConfig::new("B", [pattern("*.b")]));
    let refused = table.wait(refused);
    let expected =
        StreamError::Overlap { name: "B".into(), ours: pattern("*.b"), other: "A".into(), theirs: pattern("a.>") };
    assert_eq!(refused.map(|_| ()), Err(expected));
}

/// The same declaration again is answered as the first; another is refused.
pub fn a_stream_declared_twice_alike_is_one_stream(table: &mut Table) {
    let config = table.stream("S", "a.>", |_| ());
    table.put("a.b", "x");
    let again = table.journal().stream_create(config.clone());
    assert_eq!(table.wait(again).expect("the same").state.messages, 1);
    let other = table.journal().stream_create(StreamConfig { messages_max: Some(7), ..config });
    assert_eq!(table.wait(other).map(|_| ()), Err(StreamError::Exists("S".into())));
}

/// Each faulty field is named.
pub fn a_faulty_declaration_names_its_field(table: &mut Table) {
    type Change = fn(&mut StreamConfig);
    let changes: [(&str, Change); 6] = [
        ("name", |config| config.name = "a b".into()),
        ("name", |config| config.name = String::new()),
        ("subjects", |config| config.subjects = Vec::new()),
        ("subjects", |config| config.subjects = vec![pattern("a.*"), pattern("a.b")]),
        ("messages_max", |config| config.messages_max = Some(0)),
        ("duplicate_window", |config| config.age_max = Some(SECOND)),
    ];
    for (named, change) in changes {
        let mut config = StreamConfig::new("S", [pattern("a.>")]);
        change(&mut config);
        let refused = table.journal().stream_create(config);
        match table.wait(refused) {
            Err(StreamError::Invalid { field, .. }) => assert_eq!(field, named),
            other => panic!("{named}: {other:?}"),
        }
    }
}

/// An update trims what no longer fits.
pub fn new_limits_take_effect_at_once(table: &mut Table) {
    let config = table.stream("S", "a.>", |_| ());
    table.put_many("a.b", 10);
    let metadata = BTreeMap::from([("k".to_string(), "v".to_string())]);
    let update = StreamConfig { messages_max: Some(3), metadata, ..config };
    let updated = table.journal().stream_update(update.clone());
    assert_eq!(table.wait(updated).expect("updated").config, update);
    table.until_seqs("S", &[8, 9, 10]);
    let missing = table.journal().stream_update(StreamConfig::new("T", [pattern("t")]));
    assert_eq!(table.wait(missing).map(|_| ()), Err(StreamError::NotFound("T".into())));
}

/// Storage is fixed.
pub fn what_cannot_change_is_refused(table: &mut Table) {
    let config = table.stream("S", "a.>", |_| ());
    let refused = table.journal().stream_update(StreamConfig { storage: Storage::Memory, ..config });
    assert!(matches!(table.wait(refused), Err(StreamError::Invalid { field: "storage", .. })));
}

/// A new stream of the same name starts anew.
pub fn a_deleted_stream_is_gone_and_its_subjects_are_free(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put("a.b", "x");
    let deleted = table.journal().stream_delete("S");
    table.wait(deleted).expect("deleted");
    assert_eq!(table.append(Append::new(message("a.b", "x"))), Err(AppendError::NoStream("a.b".into())));
    let twice = table.journal().stream_delete("S");
    assert_eq!(table.wait(twice), Err(StreamError::NotFound("S".into())));
    table.stream("S", "a.>", |_| ());
    assert_eq!(table.seqs("S"), []);
    assert_eq!(table.put("a.b", "y"), 1);
    table.bench().reopen(true);
    if table.bench().durable() {
        assert_eq!(table.read("S", Read::from(1, 9)).messages.first().expect("one").message.payload, "y");
    }
}

/// By count.
pub fn retention_by_count_keeps_the_newest(table: &mut Table) {
    table.stream("S", "a.>", |config| config.messages_max = Some(3));
    table.put_many("a.b", 5);
    table.until_seqs("S", &[3, 4, 5]);
    let info = table.journal().stream_info("S");
    let state = table.wait(info).expect("info").state;
    assert_eq!((state.messages, state.first, state.last), (3, 3, 5));
    assert!(state.bytes == 12 || !table.bench().counts_sizes(), "{state:?}");
}

/// By bytes: each message here has 10.
pub fn retention_by_bytes_keeps_the_newest(table: &mut Table) {
    table.stream("S", "a.>", |config| config.bytes_max = Some(25));
    for _ in 0..5 {
        table.put("a.b", "1234567");
    }
    table.until_seqs("S", &[4, 5]);
    let refused = table.append(Append::new(message("a.b", &"x".repeat(30))));
    assert_eq!(refused, Err(AppendError::TooLarge { size: 33, max: 25 }));
}

/// By age.
pub fn retention_by_age_lets_the_old_go(table: &mut Table) {
    table.stream("S", "a.>", |config| {
        config.age_max = Some(SECOND * 2);
        config.duplicate_window = SECOND;
    });
    table.put("a.b", "1");
    table.advance(SECOND);
    table.put("a.b", "2");
    table.advance(SECOND + SECOND / 10);
    table.until_seqs("S", &[2]);
    table.advance(SECOND);
    table.until_seqs("S", &[]);
    assert_eq!(table.put("a.b", "3"), 3);
}

/// By count per subject.
pub fn retention_by_count_per_subject_keeps_the_newest_of_each(table: &mut Table) {
    table.stream("S", "a.>", |config| config.messages_per_subject_max = Some(2));
    for subject in ["a.x", "a.y", "a.x", "a.x", "a.y", "a.x"] {
        table.put(subject, "p");
    }
    table.until_seqs("S", &[2, 4, 5, 6]);
    table.bench().reopen(true);
    if table.bench().durable() {
        assert_eq!(table.seqs("S"), [2, 4, 5, 6]);
        table.put("a.x", "p");
        table.until_seqs("S", &[2, 5, 6, 7]);
    }
}

/// By count and by bytes.
pub fn discard_new_refuses_when_full(table: &mut Table) {
    table.stream("S", "a.>", |config| {
        config.discard = Discard::New;
        config.messages_max = Some(2);
        config.bytes_max = Some(100);
    });
    table.put("a.b", "x");
    let refused = table.append(Append::new(message("a.b", &"x".repeat(95))));
    assert_eq!(refused, Err(AppendError::Full { limit: "bytes_max" }));
    table.put("a.b", "x");
    let refused = table.append(Append::new(message("a.b", "x")));
    assert_eq!(refused, Err(AppendError::Full { limit: "messages_max" }));
    let deleted = table.journal().delete("S", 1);
    table.wait(deleted).expect("deleted");
    assert_eq!(table.put("a.b", "x"), 3);
}

/// Per subject.
pub fn discard_new_per_subject_refuses_when_full(table: &mut Table) {
    table.stream("S", "a.>", |config| {
        config.discard = Discard::New;
        config.messages_per_subject_max = Some(1);
        config.discard_new_per_subject = true;
    });
    table.put("a.x", "1");
    table.put("a.y", "1");
    let refused = table.append(Append::new(message("a.x", "2")));
    assert_eq!(refused, Err(AppendError::Full { limit: "messages_per_subject_max" }));
}

/// Subject and headers count.
pub fn a_message_over_the_maximum_is_refused(table: &mut Table) {
    table.stream("S", "a.>", |config| config.message_bytes_max = Some(10));
    table.put("a.b", "1234567");
    let refused = table.append(Append::new(message("a.b", "12345678")));
    assert_eq!(refused, Err(AppendError::TooLarge { size: 11, max: 10 }));
}

fn with_id(id: &str) -> Append {
    Append { id: Some(Bytes::copy_from_slice(id.as_bytes())), ..Append::new(message("a.b", id)) }
}

/// Exact inside the window, forgotten after it.
pub fn a_message_id_counts_once_in_its_window(table: &mut Table) {
    table.stream("S", "a.>", |config| config.duplicate_window = SECOND * 10);
    let seq = |receipt: Result<Receipt, AppendError>| receipt.map(|receipt| (receipt.seq, receipt.duplicate));
    assert_eq!(seq(table.append(with_id("one"))), Ok((1, false)));
    assert_eq!(seq(table.append(with_id("two"))), Ok((2, false)));
    assert_eq!(seq(table.append(with_id("one"))), Ok((1, true)));
    let purged = table.journal().purge("S", Purge::default());
    table.wait(purged).expect("purged");
    assert_eq!(seq(table.append(with_id("two"))), Ok((2, true)));
    table.advance(SECOND * 11);
    assert_eq!(seq(table.append(with_id("one"))), Ok((3, false)));
    assert_eq!(seq(table.append(with_id(&"x".repeat(600)))), Err(AppendError::IdTooLong));
}

/// Promise 4.
pub fn the_window_survives_a_restart(table: &mut Table) {
    table.stream("S", "a.>", |config| config.duplicate_window = SECOND * 100);
    for id in ["one", "two", "three"] {
        table.append(with_id(id)).expect("taken");
    }
    if !table.bench().durable() {
        return;
    }
    for crash in [true, false, true] {
        table.bench().reopen(crash);
        for (seq, id) in [(1, "one"), (2, "two"), (3, "three")] {
            let receipt = table.append(with_id(id)).expect("taken");
            assert_eq!((receipt.seq, receipt.duplicate), (seq, true), "{id}");
        }
    }
    let expect = Expect { last_id: Some("three".into()), ..Expect::default() };
    let receipt = table.append(Append { expect, ..with_id("four") });
    assert_eq!(receipt.expect("the last id is remembered").seq, 4);
}

/// Each precondition, met and not met.
pub fn preconditions_hold_or_refuse(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    let none = Expect::default;
    let mut check = |expect: Expect, expected: Result<u64, AppendError>| {
        let receipt = table.append(Append { expect, ..Append::new(message("a.b", "x")) });
        assert_eq!(receipt.map(|receipt| receipt.seq), expected);
    };
    check(Expect { last: Some(1), ..none() }, Err(AppendError::LastSeq { expected: 1, found: 0 }));
    check(Expect { last: Some(0), ..none() }, Ok(1));
    check(Expect { last_of_subject: Some(0), ..none() }, Err(AppendError::LastSubjectSeq { expected: 0, found: 1 }));
    check(Expect { last_of_subject: Some(1), ..none() }, Ok(2));
    check(Expect { last_of_subject: Some(0), subject: Some(pattern("a.c")), ..none() }, Ok(3));
    check(Expect { last_of_subject: Some(3), subject: Some(pattern("a.*")), ..none() }, Ok(4));
    check(
        Expect { last_of_subject: Some(3), subject: Some(pattern("a.>")), ..none() },
        Err(AppendError::LastSubjectSeq { expected: 3, found: 4 }),
    );
    check(Expect { stream: Some("S".into()), ..none() }, Ok(5));
    let other = AppendError::OtherStream { expected: "T".into(), found: "S".into() };
    check(Expect { stream: Some("T".into()), ..none() }, Err(other));
    let wrong = AppendError::LastId { expected: "id".into(), found: String::new() };
    check(Expect { last_id: Some("id".into()), ..none() }, Err(wrong));
    table.append(with_id("id")).expect("taken");
    let receipt = table.append(Append { expect: Expect { last_id: Some("id".into()), ..none() }, ..with_id("next") });
    assert_eq!(receipt.expect("taken").seq, 7);
}

/// Each by its own time, and after a restart too.
pub fn a_lifetime_of_its_own_ends(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    for ttl in [None, Some(SECOND * 5), Some(SECOND * 2), None, Some(SECOND * 60)] {
        table.append(Append { ttl, ..Append::new(message("a.b", "x")) }).expect("taken");
    }
    table.advance(SECOND * 3);
    table.until_seqs("S", &[1, 2, 4, 5]);
    if table.bench().durable() {
        table.bench().reopen(true);
    }
    table.advance(SECOND * 3);
    table.until_seqs("S", &[1, 4, 5]);
}

/// Where `allow_ttl` is off.
pub fn a_lifetime_is_refused_where_it_is_not_allowed(table: &mut Table) {
    table.stream("S", "a.>", |config| config.allow_ttl = false);
    let refused = table.append(Append { ttl: Some(SECOND), ..Append::new(message("a.b", "x")) });
    assert_eq!(refused, Err(AppendError::TtlNotAllowed));
}

/// All, by subject, up to a position, keep n; positions go on.
pub fn purge_removes_what_it_names(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    for subject in ["a.x", "a.y", "a.x", "a.y", "a.x", "a.y", "a.x", "a.y"] {
        table.put(subject, "p");
    }
    let mut check = |purge: Purge, removed: u64, left: &[u64]| {
        let purged = table.journal().purge("S", purge.clone());
        assert_eq!(table.wait(purged), Ok(removed), "{purge:?}");
        assert_eq!(table.seqs("S"), left, "{purge:?}");
    };
    let x = || Some(pattern("a.x"));
    check(Purge { filter: x(), before: Some(3), keep: None }, 1, &[2, 3, 4, 5, 6, 7, 8]);
    check(Purge { filter: x(), before: None, keep: Some(1) }, 2, &[2, 4, 6, 7, 8]);
    check(Purge { filter: x(), before: None, keep: None }, 1, &[2, 4, 6, 8]);
    check(Purge { filter: None, before: Some(5), keep: None }, 2, &[6, 8]);
    check(Purge { filter: None, before: None, keep: Some(1) }, 1, &[8]);
    check(Purge::default(), 1, &[]);
    assert_eq!(table.put("a.x", "p"), 9);
    if table.bench().durable() {
        table.bench().reopen(true);
        assert_eq!(table.seqs("S"), [9]);
    }
    let both = table.journal().purge("S", Purge { before: Some(1), keep: Some(1), filter: None });
    assert!(matches!(table.wait(both), Err(StreamError::Invalid { .. })));
}

/// And the subject's state follows.
pub fn a_deleted_message_leaves_a_gap(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put_many("a.b", 5);
    for seq in [3, 5, 1] {
        let deleted = table.journal().delete("S", seq);
        table.wait(deleted).expect("deleted");
    }
    let again = table.journal().delete("S", 3);
    assert_eq!(table.wait(again), Err(StreamError::NoMessage(3)));
    assert_eq!(table.seqs("S"), [2, 4]);
    let info = table.journal().stream_info("S");
    let state = table.wait(info).expect("info").state;
    assert_eq!((state.first, state.last, state.messages, state.subjects), (2, 5, 2, 1));
    let last = table.journal().last("S", &pattern("a.b"));
    assert_eq!(table.wait(last).expect("there").seq, 4);
    assert_eq!(table.put("a.b", "x"), 6);
    if table.bench().durable() {
        table.bench().reopen(true);
        assert_eq!(table.seqs("S"), [2, 4, 6]);
    }
}

/// `deny_delete` and `deny_purge`.
pub fn denied_is_denied(table: &mut Table) {
    table.stream("S", "a.>", |config| {
        config.deny_delete = true;
        config.deny_purge = true;
    });
    table.put("a.b", "x");
    let deleted = table.journal().delete("S", 1);
    assert_eq!(table.wait(deleted), Err(StreamError::Denied("deny_delete")));
    let purged = table.journal().purge("S", Purge::default());
    assert_eq!(table.wait(purged), Err(StreamError::Denied("deny_purge")));
}

/// The stream stays declared.
pub fn memory_storage_forgets_messages_and_keeps_the_stream(table: &mut Table) {
    let config = table.stream("S", "a.>", |config| config.storage = Storage::Memory);
    let receipt = table.append(Append::new(message("a.b", "x"))).expect("taken");
    assert_eq!(receipt.proof, Proof::Memory);
    assert_eq!(table.seqs("S"), [1]);
    if table.bench().durable() {
        table.bench().reopen(false);
        let info = table.journal().stream_info("S");
        let info = table.wait(info).expect("it is declared");
        assert_eq!((info.config, info.state.messages), (config, 0));
    }
}

/// Promises 1 and 2, over several crashes.
pub fn everything_acknowledged_survives_a_crash(table: &mut Table) {
    if !table.bench().durable() {
        return;
    }
    table.stream("S", "a.>", |_| ());
    table.stream("T", "t", |_| ());
    let mut count = 0;
    for round in 0..4 {
        for _ in 0..25 {
            count += 1;
            assert_eq!(table.put("a.b", &count.to_string()), count);
            table.put("t", &count.to_string());
        }
        table.bench().reopen(round % 2 == 0);
        for stream in ["S", "T"] {
            let page = table.read(stream, Read::from(1, 1000));
            let payloads: Vec<String> =
                page.messages.iter().map(|stored| String::from_utf8_lossy(&stored.message.payload).into()).collect();
            assert_eq!(payloads, (1..=count).map(|n| n.to_string()).collect::<Vec<_>>());
        }
    }
}

/// Moments in a stream never go back, and nothing is lost by it.
pub fn the_clock_may_step_back(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.advance(SECOND * 100);
    table.put("a.b", "1");
    table.bench().step_back(SECOND * 50);
    table.put("a.b", "2");
    table.advance(SECOND * 100);
    table.put("a.b", "3");
    let times: Vec<Moment> = table.read("S", Read::from(1, 9)).messages.iter().map(|stored| stored.time).collect();
    assert!(times.is_sorted() && times.len() == 3, "{times:?}");
}
