//! What more can be said of an append: rollups, batches, lifetimes with markers, given positions,
//! and the streams that allow them.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use event::{Headers, Moment, Transform};

use super::bench::{Table, message, pattern};
use crate::limits::{BATCH_MESSAGES_MAX, TTL_NEVER};
use crate::{
    Append, AppendError, BatchError, ConsumerConfig, ConsumerError, Discard, Expect, Purge, Read, Receipt, Republish,
    Rollup, Source, SourceStart, Start, StreamError, Until, answer,
};

const SECOND: Duration = Duration::from_secs(1);

fn plain(subject: &str, payload: &str) -> Append {
    Append::new(message(subject, payload))
}

fn rolled(subject: &str, rollup: Rollup) -> Append {
    Append { rollup: Some(rollup), ..plain(subject, "rolled up") }
}

fn batch(table: &mut Table, appends: Vec<Append>) -> Result<Receipt, BatchError> {
    let (done, receipt) = answer(|| Err(BatchError { index: 0, error: AppendError::Closed(String::from("lost")) }));
    table.journal().append_all(appends, done);
    table.wait(receipt)
}

fn survived(table: &mut Table) -> bool {
    table.bench().reopen(true);
    table.bench().durable()
}

/// A message may take the place of all earlier ones, of its subject or of the stream.
pub fn a_rollup_takes_the_place_of_what_was_before(table: &mut Table) {
    table.stream("S", "a.>", |config| config.allow_rollup = true);
    table.put_many("a.b", 3);
    table.put("a.c", "4");
    table.append(rolled("a.b", Rollup::Subject)).expect("taken");
    assert_eq!(table.seqs("S"), [4, 5]);
    table.put("a.b", "6");
    if survived(table) {
        assert_eq!(table.seqs("S"), [4, 5, 6]);
        table.append(rolled("a.d", Rollup::All)).expect("taken");
        assert_eq!(table.seqs("S"), [7]);
        table.bench().reopen(true);
        assert_eq!(table.seqs("S"), [7]);
    }
    table.stream("T", "t.>", |_| ());
    assert_eq!(table.append(rolled("t.x", Rollup::Subject)), Err(AppendError::RollupNotAllowed));
}

/// A full subject takes a rollup, where it would take no other message.
pub fn a_rollup_finds_room_in_a_full_subject(table: &mut Table) {
    table.stream("S", "a.>", |config| {
        (config.allow_rollup, config.discard, config.discard_new_per_subject) = (true, Discard::New, true);
        config.messages_per_subject_max = Some(1);
    });
    table.put("a.b", "1");
    assert_eq!(table.append(plain("a.b", "2")), Err(AppendError::Full { limit: "messages_per_subject_max" }));
    table.append(rolled("a.b", Rollup::Subject)).expect("taken");
    assert_eq!(table.seqs("S"), [2]);
}

/// All messages of a batch are there, at consecutive positions, also after a crash.
pub fn a_batch_is_recorded_as_one(table: &mut Table) {
    table.stream("S", "a.>", |config| config.allow_atomic = true);
    table.put("a.b", "1");
    let receipt = batch(table, (0..10).map(|n| plain("a.b", &n.to_string())).collect()).expect("taken");
    assert_eq!((receipt.seq, receipt.duplicate), (11, false));
    assert_eq!(table.put("a.b", "12"), 12);
    if survived(table) {
        assert_eq!(table.seqs("S"), (1..=12).collect::<Vec<_>>());
    }
}

/// Where one message of a batch is refused, nothing of it is recorded.
pub fn a_batch_is_refused_as_one(table: &mut Table) {
    table.stream("S", "a.>", |config| {
        (config.allow_atomic, config.allow_rollup, config.discard) = (true, true, Discard::New);
        config.messages_max = Some(20);
    });
    let id = |id: &'static str| Append { id: Some(Bytes::from_static(id.as_bytes())), ..plain("a.b", id) };
    let expect = |subject, expect: Expect| Append { expect, ..plain(subject, "x") };
    let last = |seq| Expect { last: Some(seq), ..Expect::default() };
    let of_subject = |seq| Expect { last_of_subject: Some(seq), ..Expect::default() };
    table.append(id("one")).expect("taken");
    let refused = [
        (
            Vec::from([plain("a.b", "x"), expect("a.c", of_subject(7))]),
            1,
            AppendError::LastSubjectSeq { expected: 7, found: 0 },
        ),
        (Vec::from([expect("a.b", last(0))]), 0, AppendError::LastSeq { expected: 0, found: 1 }),
        (Vec::from([id("two"), id("one")]), 1, AppendError::BatchDuplicate),
        (Vec::from([id("two"), id("two")]), 1, AppendError::BatchDuplicate),
        (Vec::from([plain("a.b", "x"), plain("b", "x")]), 1, AppendError::NoStream("b".into())),
        ((0..20).map(|_| plain("a.b", "x")).collect(), 19, AppendError::Full { limit: "messages_max" }),
        ((0..=BATCH_MESSAGES_MAX).map(|_| plain("a.b", "x")).collect(), 0, AppendError::BatchTooLarge),
    ];
    for (appends, index, error) in refused {
        assert_eq!(batch(table, appends), Err(BatchError { index, error }));
    }
    for appends in [
        Vec::new(),
        Vec::from([plain("a.b", "x"), expect("a.c", last(2))]),
        Vec::from([plain("a.b", "x"), expect("a.b", of_subject(2))]),
        Vec::from([plain("a.b", "x"), rolled("a.b", Rollup::Subject)]),
        Vec::from([plain("a.b", "x"), rolled("a.c", Rollup::All)]),
    ] {
        let refused = batch(table, appends).expect_err("refused");
        assert!(matches!(refused.error, AppendError::BatchUnsupported(_)), "{refused}");
    }
    assert_eq!(table.seqs("S"), [1]);
    let taken = Vec::from([expect("a.c", last(1)), expect("a.b", of_subject(1)), rolled("a.d", Rollup::Subject)]);
    assert_eq!(batch(table, taken).expect("taken").seq, 4);
    table.stream("T", "t.>", |_| ());
    let refused = batch(table, Vec::from([plain("t.x", "x")])).expect_err("refused");
    assert_eq!(refused.error, AppendError::BatchNotAllowed);
}

/// What a batch brings is subject to the limits, message by message.
pub fn limits_hold_within_a_batch(table: &mut Table) {
    table.stream("S", "a.>", |config| {
        (config.allow_atomic, config.messages_per_subject_max, config.messages_max) = (true, Some(2), Some(3));
    });
    let subjects = ["a.b", "a.b", "a.b", "a.c", "a.d"];
    batch(table, subjects.iter().map(|subject| plain(subject, "x")).collect()).expect("taken");
    assert_eq!(table.seqs("S"), [3, 4, 5]);
}

/// The last message of a subject that expires leaves a marker, which leaves none.
pub fn a_marker_says_that_a_subject_is_empty(table: &mut Table) {
    table.stream("S", "a.>", |config| config.marker_ttl = Some(SECOND * 90));
    table.append(Append { ttl: Some(SECOND), ..plain("a.b", "1") }).expect("taken");
    table.put("a.c", "2");
    table.append(Append { ttl: Some(SECOND * 100), ..plain("a.c", "3") }).expect("taken");
    // A lifetime is as long as the marker's, at least.
    table.advance(SECOND * 50);
    table.until_seqs("S", &[1, 2, 3]);
    table.advance(SECOND * 45);
    table.until_seqs("S", &[2, 3, 4]);
    let marker = table.read("S", Read::from(4, 1)).messages.remove(0).message;
    assert_eq!((marker.subject.as_str(), marker.payload.len()), ("a.b", 0));
    assert_eq!(marker.headers.get("Nats-Marker-Reason"), Some("MaxAge"));
    assert_eq!(marker.headers.get("Nats-TTL"), Some("1m30s"));
    // Another message of the subject is there: no marker.
    table.advance(SECOND * 10);
    table.until_seqs("S", &[2, 4]);
    if survived(table) {
        table.until_seqs("S", &[2, 4]);
        table.advance(SECOND * 90);
        table.until_seqs("S", &[2]);
    }
}

/// Age leaves markers, too, and what was purged from a key-value store is one already.
pub fn age_leaves_a_marker(table: &mut Table) {
    table.stream("S", "a.>", |config| {
        (config.marker_ttl, config.age_max) = (Some(SECOND), Some(SECOND * 10));
        config.duplicate_window = SECOND;
    });
    table.put_many("a.b", 3);
    let headers = Headers::from_pairs([("KV-Operation", "PURGE")]).expect("headers");
    table.append(Append::new(event::Message { headers, ..message("a.c", "") })).expect("taken");
    table.advance(SECOND * 10);
    table.until_seqs("S", &[5]);
    let marker = table.read("S", Read::from(5, 1)).messages.remove(0).message;
    assert_eq!((marker.subject.as_str(), marker.headers.get("Nats-Marker-Reason")), ("a.b", Some("MaxAge")));
    table.advance(SECOND * 2);
    table.until_seqs("S", &[]);
}

/// A message may be kept for ever, while those around it age.
pub fn a_message_may_live_for_ever(table: &mut Table) {
    table.stream("S", "a.>", |config| {
        (config.age_max, config.duplicate_window) = (Some(SECOND * 10), SECOND);
    });
    table.append(Append { ttl: Some(TTL_NEVER), ..plain("a.b", "1") }).expect("taken");
    table.put("a.b", "2");
    table.advance(SECOND * 5);
    table.put("a.b", "3");
    if survived(table) {
        table.advance(SECOND * 6);
        table.until_seqs("S", &[1, 3]);
        table.bench().reopen(false);
        table.advance(SECOND * 6);
        table.until_seqs("S", &[1]);
    }
}

/// A mirror takes the positions and moments that it is given.
pub fn positions_may_be_given(table: &mut Table) {
    table.stream("S", "a.>", |config| {
        config.subjects.clear();
        config.mirror = Some(Source::new("ORIGIN"));
    });
    let at = |seq, nanos| Append {
        into: Some("S".into()),
        at: Some((seq, Moment::from_nanos(nanos))),
        ..plain("anything", "x")
    };
    assert_eq!(table.append(at(5, 100)).expect("taken").seq, 5);
    assert_eq!(table.append(at(8, 200)).expect("taken").seq, 8);
    assert_eq!(table.append(at(8, 300)), Err(AppendError::Position { seq: 8, last: 8 }));
    assert!(matches!(table.append(plain("anything", "x")), Err(AppendError::NoStream(_))));
    let lost = Append { into: Some("NONE".into()), ..plain("a.b", "x") };
    assert_eq!(table.append(lost), Err(AppendError::NotFound("NONE".into())));
    if survived(table) {
        let page = table.read("S", Read::from(1, 10));
        let found: Vec<_> = page.messages.iter().map(|stored| (stored.seq, stored.time.nanos())).collect();
        assert_eq!(found, [(5, 100), (8, 200)]);
        let info = table.journal().stream_info("S");
        let state = table.wait(info).expect("there").state;
        assert_eq!((state.first, state.last, state.deleted), (5, 8, 2));
        let deleted = table.journal().deleted("S", 0, 10);
        assert_eq!(table.wait(deleted), Ok(Vec::from([6, 7])));
    }
}

/// A new stream may start behind position 1.
pub fn a_stream_may_start_later(table: &mut Table) {
    table.stream("S", "a.>", |config| config.first = 100);
    let state = |table: &mut Table| {
        let info = table.journal().stream_info("S");
        let state = table.wait(info).expect("there").state;
        (state.first, state.last, state.messages)
    };
    assert_eq!(state(table), (100, 99, 0));
    for crash in [true, false] {
        table.bench().reopen(crash);
        if table.bench().durable() {
            assert_eq!(state(table), (100, 99, 0));
        }
    }
    if table.bench().durable() {
        assert_eq!(table.put("a.b", "x"), 100);
        assert_eq!(state(table), (100, 100, 1));
    }
}

/// A sealed stream takes nothing, loses nothing, and stays sealed.
pub fn sealed_is_sealed(table: &mut Table) {
    let mut config = table.stream("S", "a.>", |_| ());
    table.put("a.b", "1");
    config.sealed = true;
    let sealed = table.journal().stream_update(config.clone());
    table.wait(sealed).expect("sealed");
    assert_eq!(table.append(plain("a.b", "2")), Err(AppendError::Sealed));
    let deleted = table.journal().delete("S", 1);
    assert_eq!(table.wait(deleted), Err(StreamError::Denied("sealed")));
    let purged = table.journal().purge("S", Purge::default());
    assert_eq!(table.wait(purged), Err(StreamError::Denied("sealed")));
    config.sealed = false;
    let opened = table.journal().stream_update(config);
    assert!(matches!(table.wait(opened), Err(StreamError::Invalid { field: "sealed", .. })));
    assert_eq!(table.seqs("S"), [1]);
}

/// A subject is recorded as the transform makes it, and judged so.
pub fn a_transform_changes_the_subject(table: &mut Table) {
    table.stream("S", "in.>", |config| {
        config.transform = Some(Transform::new("in.*.*", "out.$2.{{wildcard(1)}}").expect("a transform"));
        config.allow_atomic = true;
    });
    table.put("in.a.b", "1");
    table.put("in.other", "2");
    let of_subject = Expect { last_of_subject: Some(1), ..Expect::default() };
    table.append(Append { expect: of_subject, ..plain("in.a.b", "3") }).expect("taken");
    batch(table, Vec::from([plain("in.x.y", "4")])).expect("taken");
    assert_eq!(table.matching("S", Start::Seq(1), &["out.b.a"]), [1, 3]);
    assert_eq!(table.matching("S", Start::Seq(1), &["in.>"]), [2]);
    assert_eq!(table.matching("S", Start::Seq(1), &["out.y.x"]), [4]);
}

/// A stream takes as many consumers as it says.
pub fn consumers_are_counted(table: &mut Table) {
    table.stream("S", "a.>", |config| config.consumers_max = Some(1));
    table.consumer("S", "one", |_| ());
    table.consumer("S", "one", |_| ());
    let more = table.journal().consumer_create("S", ConsumerConfig::new("two"));
    assert_eq!(table.wait(more).expect_err("refused"), ConsumerError::TooMany(1));
    let gone = table.journal().consumer_delete("S", "one");
    table.wait(gone).expect("deleted");
    table.consumer("S", "two", |_| ());
}

/// Positions that hold nothing are told, in pages.
pub fn what_is_deleted_is_told(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put_many("a.b", 9);
    for seq in [1, 3, 4, 7] {
        let deleted = table.journal().delete("S", seq);
        table.wait(deleted).expect("deleted");
    }
    for (from, limit, expected) in [(0, 10, &[3, 4, 7][..]), (4, 10, &[4, 7]), (0, 2, &[3, 4]), (8, 10, &[])] {
        let deleted = table.journal().deleted("S", from, limit);
        assert_eq!(table.wait(deleted).expect("told"), expected);
    }
}

/// Who keeps an answer of who captures a subject finds out that it may have changed.
pub fn the_version_grows_with_what_is_captured(table: &mut Table) {
    let mut seen = table.journal().version();
    let mut grown = |table: &mut Table| {
        let now = table.journal().version();
        assert!(now > core::mem::replace(&mut seen, now));
    };
    let mut config = table.stream("S", "a.>", |_| ());
    grown(table);
    config.subjects = Vec::from([pattern("b.>")]);
    let updated = table.journal().stream_update(config);
    table.wait(updated).expect("updated");
    grown(table);
    let deleted = table.journal().stream_delete("S");
    table.wait(deleted).expect("deleted");
    grown(table);
    let before = table.journal().version();
    table.stream("S", "a.>", |_| ());
    grown(table);
    table.put("a.b", "x");
    assert!(table.journal().version() > before);
}

/// The last of each subject may be asked as of a position or a moment.
pub fn the_last_of_each_up_to_a_place(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    for subject in ["a.b", "a.c", "a.b"] {
        table.put(subject, "x");
    }
    let middle = table.bench().now();
    table.advance(SECOND);
    for subject in ["a.b", "a.d", "a.c"] {
        table.put(subject, "x");
    }
    let mut lasts = |until, filters: &[&str]| -> Vec<u64> {
        let filters = filters.iter().map(|text| pattern(text)).collect();
        let read = Read { until: Some(until), filters, last_per_subject: true, ..Read::from(1, 10) };
        table.read("S", read).messages.iter().map(|stored| stored.seq).collect()
    };
    assert_eq!(lasts(Until::Seq(3), &[]), [2, 3]);
    assert_eq!(lasts(Until::Seq(1), &[]), [1]);
    assert_eq!(lasts(Until::Seq(5), &["a.b", "a.d"]), [4, 5]);
    assert_eq!(lasts(Until::Seq(99), &[]), [4, 5, 6]);
    assert_eq!(lasts(Until::Time(middle), &[]), [2, 3]);
    let page = table.read("S", Read { until: Some(Until::Seq(4)), ..Read::from(2, 10) });
    assert_eq!(page.messages.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [2, 3, 4]);
}

/// All that a declaration says comes back after a crash and after an end.
pub fn everything_declared_survives(table: &mut Table) {
    let config = table.stream("S", "a.>", |config| {
        (config.consumers_max, config.allow_rollup, config.allow_atomic, config.allow_direct) =
            (Some(3), true, true, true);
        (config.first, config.marker_ttl) = (7, Some(SECOND * 3));
        config.transform = Some(Transform::new("a.*", "b.$1").expect("a transform"));
        let transform = Transform::new("", "r.>").expect("a transform");
        config.republish = Some(Republish { transform: transform.clone(), headers_only: true });
        config.sources = Vec::from([
            Source { start: Some(SourceStart::Seq(3)), filter: Some(pattern("x.*")), ..Source::new("X") },
            Source {
                start: Some(SourceStart::Time(Moment::EPOCH)),
                transforms: [transform].into(),
                ..Source::new("Y")
            },
        ]);
    });
    for crash in [true, false] {
        table.bench().reopen(crash);
        if table.bench().durable() {
            let info = table.journal().stream_info("S");
            assert_eq!(table.wait(info).expect("there").config, config);
        }
    }
}
