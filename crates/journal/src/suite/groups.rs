//! Stories of what NATS's clients ask of consumers: floors, tokens without a tag, limits, groups, resets,
//! counts, and news.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use spin::Mutex;

use super::bench::{Table, pattern};
use super::deliveries::info;
use crate::{
    Ack, AckError, AckToken, ConsumerError, ConsumerStart, Fetch, FetchEnd, FetchError, JournalEvent, PriorityConfig,
    PriorityPolicy,
};

const SECOND: Duration = Duration::from_secs(1);

fn grouped(batch: u64) -> Fetch {
    Fetch { group: Some("g".into()), wait: Some(SECOND * 600), ..Fetch::new(batch) }
}

/// `ConsumerInfo::{ack_floor, ack_floor_order}`.
pub fn the_floor_names_the_delivery_it_is_at(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put_many("a.x", 4);
    table.consumer("S", "c", |config| config.start = ConsumerStart::Seq(2));
    let floor = |table: &mut Table| {
        let info = info(table, "c");
        (info.delivered, info.deliveries, info.ack_floor, info.ack_floor_order)
    };
    assert_eq!(floor(table), (1, 0, 1, 0));
    let given = table.until_fetched("S", "c", &[2, 3, 4]);
    assert_eq!(floor(table), (4, 3, 1, 0));
    table.done(&given[1]);
    assert_eq!(floor(table), (4, 3, 1, 0));
    table.done(&given[0]);
    assert_eq!(floor(table), (4, 3, 3, 2));
    table.done(&given[2]);
    assert_eq!(floor(table), (4, 3, 4, 3));
}

/// `AckToken::tag`.
pub fn a_token_without_a_tag_must_be_of_a_delivery(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put_many("a.x", 2);
    table.consumer("S", "c", |_| ());
    let given = table.until_fetched("S", "c", &[1, 2]);
    let bare = AckToken { tag: 0, ..given[0].token.clone() };
    for forged in [
        AckToken { order: 2, ..bare.clone() },
        AckToken { attempt: 2, ..bare.clone() },
        AckToken { seq: 2, ..bare.clone() },
    ] {
        assert!(matches!(table.say(&forged, Ack::Done), Err(AckError::Unknown(_))));
    }
    assert_eq!(table.say(&bare, Ack::Done), Ok(()));
    assert_eq!(table.say(&bare, Ack::Done), Err(AckError::Already(1)));
}

/// `ConsumerConfig::{batch_max, bytes_max, expires_max, waiting_max}`.
pub fn a_consumer_limits_its_fetches(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.consumer("S", "c", |config| {
        (config.batch_max, config.bytes_max) = (Some(5), Some(100));
        (config.expires_max, config.waiting_max) = (Some(SECOND), 1);
    });
    let fetches = [
        (Fetch::new(6), FetchError::BatchMax { max: 5 }),
        (Fetch { bytes: Some(101), ..Fetch::new(1) }, FetchError::BytesMax { max: 100 }),
        (Fetch { wait: Some(SECOND * 2), ..Fetch::new(1) }, FetchError::ExpiresMax { max: SECOND }),
        (Fetch { min_pending: 1, ..Fetch::new(1) }, FetchError::NotOverflow),
        (Fetch { pin: Some("p".into()), ..Fetch::new(1) }, FetchError::NotPinned),
    ];
    for (fetch, error) in fetches {
        let begun = table.begin("S", "c", fetch, u64::MAX);
        assert_eq!(table.ended(&begun).end, Some(FetchEnd::Failed(error)));
    }
    let _waits = table.begin("S", "c", Fetch { wait: Some(Duration::MAX), ..Fetch::new(1) }, u64::MAX);
    let begun = table.begin("S", "c", Fetch { wait: Some(SECOND), ..Fetch::new(1) }, u64::MAX);
    assert_eq!(table.ended(&begun).end, Some(FetchEnd::Failed(FetchError::Waiting { max: 1 })));
}

/// `PriorityPolicy::Pinned`.
pub fn one_user_is_pinned_until_it_is_let_go(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.consumer("S", "c", |config| config.priority = Some(PriorityConfig::new(PriorityPolicy::Pinned, "g")));
    let first = table.begin("S", "c", grouped(1), u64::MAX);
    let second = table.begin("S", "c", grouped(1), u64::MAX);
    table.put("a.x", "1");
    let pin = table.ended(&first).deliveries[0].pin.clone().expect("a pin");
    assert_eq!(info(table, "c").groups[0].pin, Some(pin.clone()));
    table.put("a.x", "2");
    let wrong = table.begin("S", "c", Fetch { pin: Some("other".into()), ..grouped(1) }, u64::MAX);
    assert_eq!(table.ended(&wrong).end, Some(FetchEnd::WrongPin));
    let named = table.begin("S", "c", Fetch { pin: Some(pin.to_string()), ..grouped(1) }, u64::MAX);
    assert_eq!(table.ended(&named).seqs(), [2]);
    table.put("a.x", "3");
    assert!(second.lock().deliveries.is_empty());
    let unpinned = table.journal().consumer_unpin("S", "c", "other");
    assert_eq!(table.wait(unpinned), Err(ConsumerError::NoGroup("other".into())));
    let unpinned = table.journal().consumer_unpin("S", "c", "g");
    assert_eq!(table.wait(unpinned), Ok(()));
    let third = table.ended(&second);
    assert_eq!(third.seqs(), [3]);
    assert_ne!(third.deliveries[0].pin, Some(pin));
}

/// `PriorityPolicy::{Overflow, Prioritized}`.
pub fn thresholds_and_numbers_say_who_is_served(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.consumer("S", "o", |config| config.priority = Some(PriorityConfig::new(PriorityPolicy::Overflow, "g")));
    let spare = table.begin("S", "o", Fetch { min_pending: 3, ..grouped(1) }, u64::MAX);
    table.put_many("a.x", 2);
    let _settled = info(table, "o");
    assert!(spare.lock().deliveries.is_empty());
    table.put("a.x", "3");
    assert_eq!(table.ended(&spare).seqs(), [1]);
    table.consumer("S", "p", |config| {
        config.priority = Some(PriorityConfig::new(PriorityPolicy::Prioritized, "g"));
        config.start = ConsumerStart::New;
    });
    let late = table.begin("S", "p", Fetch { priority: 5, ..grouped(1) }, u64::MAX);
    let early = table.begin("S", "p", Fetch { priority: 1, ..grouped(1) }, u64::MAX);
    table.put_many("a.x", 2);
    assert_eq!((table.ended(&early).seqs(), table.ended(&late).seqs()), (vec![4], vec![5]));
}

/// `Journal::consumer_reset`.
pub fn a_reset_starts_over(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put_many("a.x", 3);
    table.consumer("S", "c", |_| ());
    let given = table.until_fetched("S", "c", &[1, 2, 3]);
    table.done(&given[0]);
    let reset = table.journal().consumer_reset("S", "c", None);
    let reset = table.wait(reset).expect("reset");
    assert_eq!((reset.ack_floor, reset.deliveries, reset.ack_pending, reset.pending), (1, 0, 0, 2));
    assert!(table.say(&given[1].token, Ack::Done).is_err());
    table.until_fetched("S", "c", &[2, 3]);
    let reset = table.journal().consumer_reset("S", "c", Some(1));
    assert_eq!(table.wait(reset).expect("reset").pending, 3);
    table.until_fetched("S", "c", &[1, 2, 3]);
    table.consumer("S", "n", |config| config.start = ConsumerStart::New);
    let refused = table.journal().consumer_reset("S", "n", Some(1));
    assert_eq!(table.wait(refused), Err(ConsumerError::Reset("not allowed")));
}

/// `ConsumerInfo::pending`, `Delivery::pending`.
pub fn what_is_pending_is_counted(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    for _ in 0..5 {
        table.put("a.x", "x");
        table.put("a.y", "y");
    }
    let gone = table.journal().delete("S", 3);
    table.wait(gone).expect("deleted");
    table.consumer("S", "x", |config| config.filters = vec![pattern("a.x")]);
    table.consumer("S", "all", |_| ());
    assert_eq!((info(table, "x").pending, info(table, "all").pending), (4, 9));
    let begun = table.begin("S", "x", Fetch::new(2), u64::MAX);
    let pending: Vec<u64> = table.ended(&begun).deliveries.iter().map(|delivery| delivery.pending).collect();
    assert_eq!((pending, info(table, "x").pending), (vec![3, 2], 2));
}

/// `Journal::watch`.
pub fn a_watcher_is_told(table: &mut Table) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let into = heard.clone();
    table.journal().watch(Box::new(move |event| into.lock().push(event)));
    table.stream("S", "a.>", |_| ());
    table.consumer("S", "c", |config| (config.deliver_max, config.dead_letter) = (Some(1), false));
    table.put("a.x", "1");
    let given = table.until_fetched("S", "c", &[1]);
    table.say(&given[0].token, Ack::Again { delay: None }).expect("taken");
    let deleted = table.journal().consumer_delete("S", "c");
    table.wait(deleted).expect("deleted");
    let deleted = table.journal().stream_delete("S");
    table.wait(deleted).expect("deleted");
    table.until("the stream's end is told", |_| heard.lock().len() >= 6);
    let (stream, consumer): (Arc<str>, Arc<str>) = ("S".into(), "c".into());
    let (seq, deliveries, order) = (1, 1, 1);
    let expected = [
        JournalEvent::StreamCreated { stream: stream.clone() },
        JournalEvent::ConsumerCreated { stream: stream.clone(), consumer: consumer.clone() },
        JournalEvent::Naked { stream: stream.clone(), consumer: consumer.clone(), seq, deliveries, order },
        JournalEvent::MaxDeliveries { stream: stream.clone(), consumer: consumer.clone(), seq, deliveries, order },
        JournalEvent::ConsumerDeleted { stream: stream.clone(), consumer },
        JournalEvent::StreamDeleted { stream },
    ];
    assert_eq!(*heard.lock(), expected);
}
