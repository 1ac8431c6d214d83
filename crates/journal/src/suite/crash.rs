//! Stories of what survives a restart and a crash. An engine that keeps nothing passes over them.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::bench::{Table, pattern};
use super::deliveries::info;
use crate::limits::DEAD_STREAM;
use crate::{Ack, ConsumerConfig, ConsumerStart, Purge, Retention, StreamError, StreamInfo, StreamState};

const SECOND: Duration = Duration::from_secs(1);
/// A little more than the wait before it.
const BIT: Duration = Duration::from_millis(100);

/// Tells a story with a crash, and with a restart.
fn twice(table: &mut Table, story: impl Fn(&mut Table, bool)) {
    if !table.bench().durable() {
        return;
    }
    for crash in [true, false] {
        story(table, crash);
        let streams = table.journal().streams();
        for info in table.wait(streams) {
            let deleted = table.journal().stream_delete(&info.config.name);
            table.wait(deleted).expect("deleted");
        }
    }
}

fn stream(table: &mut Table) -> StreamInfo {
    let info = table.journal().stream_info("S");
    table.wait(info).expect("there is a stream")
}

fn state(table: &mut Table) -> StreamState {
    stream(table).state
}

/// Created, updated, deleted.
pub fn streams_survive_as_declared(table: &mut Table) {
    twice(table, |table, crash| {
        let mut config = table.stream("S", "a.>", |config| {
            (config.messages_max, config.age_max) = (Some(7), Some(SECOND * 1000));
            config.description = "what it is for".into();
            config.metadata = [(String::from("k"), String::from("v"))].into();
        });
        table.stream("GONE", "gone.>", |_| ());
        let deleted = table.journal().stream_delete("GONE");
        table.wait(deleted).expect("deleted");
        let created = stream(table).created;
        table.bench().reopen(crash);
        assert_eq!((stream(table).config, stream(table).created), (config.clone(), created));
        let gone = table.journal().stream_info("GONE");
        assert_eq!(table.wait(gone), Err(StreamError::NotFound("GONE".into())));
        config.messages_max = Some(3);
        let updated = table.journal().stream_update(config.clone());
        table.wait(updated).expect("updated");
        table.bench().reopen(crash);
        assert_eq!(stream(table).config, config);
        table.put_many("a.x", 5);
        assert_eq!(table.seqs("S"), [3, 4, 5]);
    });
}

/// Deleted, purged, purged of everything.
pub fn removals_survive(table: &mut Table) {
    twice(table, |table, crash| {
        table.stream("S", "a.>", |_| ());
        for number in 1..=10_u64 {
            table.put(&alloc::format!("a.{number}"), "p");
        }
        for seq in [5, 10] {
            let deleted = table.journal().delete("S", seq);
            table.wait(deleted).expect("deleted");
        }
        let filter = Some(pattern("a.7"));
        for purge in [Purge { before: Some(3), ..Purge::default() }, Purge { filter, ..Purge::default() }] {
            let purged = table.journal().purge("S", purge);
            table.wait(purged).expect("purged");
        }
        let before = state(table);
        table.bench().reopen(crash);
        assert_eq!(table.seqs("S"), [3, 4, 6, 8, 9]);
        assert_eq!(state(table), before);
        assert_eq!(table.put("a.11", "p"), 11);
        let purged = table.journal().purge("S", Purge::default());
        table.wait(purged).expect("purged");
        table.bench().reopen(crash);
        assert_eq!(table.seqs("S"), []);
        assert_eq!(table.put("a.12", "p"), 12);
    });
}

/// Durable ones; the others are gone.
pub fn consumers_survive_as_declared(table: &mut Table) {
    twice(table, |table, crash| {
        table.stream("S", "a.>", |_| ());
        for number in 1..=5 {
            table.put(&alloc::format!("a.{number}"), "p");
        }
        let declared = ConsumerConfig {
            filters: vec![pattern("a.2"), pattern("a.4")],
            start: ConsumerStart::Seq(2),
            backoff: vec![SECOND, SECOND * 2],
            description: "what it is for".into(),
            metadata: [(String::from("k"), String::from("v"))].into(),
            pause_until: Some(event::Moment::from_nanos(7)),
            inactive: Some(SECOND * 100_000),
            ..ConsumerConfig::new("c")
        };
        table.consumer("S", "c", |config| *config = declared.clone());
        table.consumer("S", "new", |config| config.start = ConsumerStart::New);
        table.consumer("S", "last", |config| config.start = ConsumerStart::Last);
        table.consumer("S", "brief", |config| config.durable = false);
        table.consumer("S", "gone", |_| ());
        let deleted = table.journal().consumer_delete("S", "gone");
        table.wait(deleted).expect("deleted");
        let created = info(table, "c").created;
        table.bench().reopen(crash);
        assert_eq!((info(table, "c").config, info(table, "c").created), (declared, created));
        let all = table.journal().consumers("S");
        let names: Vec<String> = table.wait(all).expect("listed").iter().map(|each| each.config.name.clone()).collect();
        assert_eq!(names, ["c", "last", "new"]);
        table.put("a.6", "p");
        table.until_fetched("S", "c", &[2, 4]);
        table.until_fetched("S", "new", &[6]);
        table.until_fetched("S", "last", &[5, 6]);
    });
}

/// So that a message that kills its worker, and the node, is given up all the same.
pub fn deliveries_are_counted_on(table: &mut Table) {
    twice(table, |table, crash| {
        table.stream("S", "a.>", |_| ());
        table.put_many("a.x", 2);
        table.consumer("S", "c", |config| (config.ack_wait, config.deliver_max) = (SECOND, Some(3)));
        for attempt in 1..=3 {
            let deliveries = table.until_fetched("S", "c", &[1, 2]);
            assert!(deliveries.iter().all(|each| each.token.attempt == attempt), "{deliveries:?}");
            // What is said durably takes along what happened before it.
            table.say(&deliveries[0].token, Ack::Progress).expect("taken");
            table.bench().reopen(crash);
            table.advance(SECOND + BIT);
        }
        table.until("both are given up", |table| info(table, "c").dead == 2);
        assert_eq!(table.seqs(DEAD_STREAM), [1, 2]);
        table.bench().reopen(crash);
        table.advance(SECOND + BIT);
        assert_eq!(table.fetch("S", "c", 2).seqs(), []);
        table.until("both are given up still", |table| info(table, "c").ack_pending == 0);
        assert_eq!(table.seqs(DEAD_STREAM), [1, 2]);
    });
}

/// Part of the way through.
pub fn a_start_at_the_last_of_each_survives(table: &mut Table) {
    twice(table, |table, crash| {
        table.stream("S", "a.>", |_| ());
        for subject in ["a.x", "a.y", "a.x", "a.z", "a.w", "a.y"] {
            table.put(subject, "p");
        }
        table.consumer("S", "c", |config| {
            (config.start, config.ack_wait) = (ConsumerStart::LastPerSubject, SECOND * 1000);
        });
        table.put("a.x", "p");
        table.bench().reopen(crash);
        let first = table.fetch("S", "c", 2).deliveries;
        assert_eq!(first.iter().map(|each| each.stored.seq).collect::<Vec<_>>(), [3, 4]);
        table.done(&first[0]);
        table.bench().reopen(crash);
        table.until_fetched("S", "c", &[5, 6, 7]);
    });
}

/// Acknowledged, and the crash came before its removal.
pub fn what_a_work_queue_lost_sight_of_is_found(table: &mut Table) {
    twice(table, |table, crash| {
        table.stream("S", "a.>", |config| config.retention = Retention::WorkQueue);
        table.put_many("a.x", 4);
        table.consumer("S", "c", |config| config.ack_wait = SECOND);
        for delivery in table.fetch("S", "c", 3).deliveries {
            table.done(&delivery);
        }
        table.bench().reopen(crash);
        table.until_seqs("S", &[4]);
        table.until_fetched("S", "c", &[4]);
        assert_eq!(state(table).last, 4);
    });
}
