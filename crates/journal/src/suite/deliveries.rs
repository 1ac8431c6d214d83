//! Stories of deliveries: their order, their end, and what they leave behind.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use event::Headers;
use spin::Mutex;

use super::bench::{Table, message, pattern};
use crate::limits::DEAD_STREAM;
use crate::{
    Ack, AckError, Append, AppendError, ConsumerConfig, ConsumerError, ConsumerInfo, Delivery, Purge, QueueError, Read,
    Receipt, Retention,
};

const SECOND: Duration = Duration::from_secs(1);
/// A little more than the wait before it.
const BIT: Duration = Duration::from_millis(100);

pub(super) fn info(table: &mut Table, name: &str) -> ConsumerInfo {
    let info = table.journal().consumer_info("S", name);
    table.wait(info).expect("there is a consumer")
}

fn attempts(deliveries: &[Delivery]) -> Vec<(u64, u64)> {
    deliveries.iter().map(|delivery| (delivery.stored.seq, delivery.token.attempt)).collect()
}

/// Each in order of position.
pub fn what_comes_again_comes_before_what_is_new(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put_many("a.x", 6);
    table.consumer("S", "c", |_| ());
    let first = table.fetch("S", "c", 4).deliveries;
    for place in [3, 0] {
        table.say(&first[place].token, Ack::Again { delay: None }).expect("taken");
    }
    let second = table.until_fetched("S", "c", &[1, 4, 5, 6]);
    assert_eq!(attempts(&second), [(1, 2), (4, 2), (5, 1), (6, 1)]);
    assert_eq!(second.iter().map(|each| each.token.order).collect::<Vec<_>>(), [5, 6, 7, 8]);
    assert_eq!(info(table, "c").redelivered, 2);
}

/// The wait was over, and the first worker did it after all.
pub fn an_acknowledgement_of_an_older_delivery_counts(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put("a.x", "p");
    table.consumer("S", "c", |config| config.ack_wait = SECOND);
    let first = table.until_fetched("S", "c", &[1]);
    table.advance(SECOND + BIT);
    let second = table.until_fetched("S", "c", &[1]);
    table.done(&first[0]);
    assert_eq!(table.say(&second[0].token, Ack::Done), Err(AckError::Already(1)));
    table.advance(SECOND + BIT);
    assert_eq!(table.fetch("S", "c", 1).seqs(), []);
}

/// Delivered or not, deleted or purged.
pub fn a_removed_message_is_done_with(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put_many("a.x", 6);
    table.consumer("S", "c", |config| config.ack_wait = SECOND);
    table.fetch("S", "c", 4);
    for seq in [2, 5] {
        let deleted = table.journal().delete("S", seq);
        table.wait(deleted).expect("deleted");
    }
    let purged = table.journal().purge("S", Purge { before: Some(2), ..Purge::default() });
    table.wait(purged).expect("purged");
    table.advance(SECOND + BIT);
    let second = table.until_fetched("S", "c", &[3, 4, 6]);
    assert_eq!(attempts(&second), [(3, 2), (4, 2), (6, 1)]);
    let now = info(table, "c");
    assert_eq!((now.ack_floor, now.ack_pending), (2, 3));
}

/// Its own bytes and headers, and who gave it up, when and why.
pub fn a_dead_letter_tells_its_history(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    let mut sent = message("a.x", "poison\0");
    sent.headers = Headers::from_pairs([("Ce-Id", "1")]).expect("headers");
    table.append(Append::new(sent)).expect("taken");
    table.consumer("S", "c", |config| config.ack_wait = SECOND);
    table.until_fetched("S", "c", &[1]);
    table.advance(SECOND + BIT);
    let second = table.until_fetched("S", "c", &[1]);
    table.say(&second[0].token, Ack::Give { reason: "it is\r\nno JSON".into() }).expect("taken");
    table.until("it is given up", |table| info(table, "c").dead == 1);
    let page = table.read(DEAD_STREAM, Read::from(1, 10));
    let letter = &page.messages[0].message;
    assert_eq!(letter.payload, "poison\0");
    for (name, value) in [
        ("ce-id", "1"),
        ("Tidings-Dead-Stream", "S"),
        ("Tidings-Dead-Consumer", "c"),
        ("Tidings-Dead-Subject", "a.x"),
        ("Tidings-Dead-Seq", "1"),
        ("Tidings-Dead-Deliveries", "2"),
        ("Tidings-Dead-Reason", "it is  no JSON"),
    ] {
        assert_eq!(letter.headers.get(name), Some(value), "{name}");
    }
    let when = |name| event::Moment::parse(letter.headers.get(name).unwrap_or_default()).expect("a moment");
    assert!(when("Tidings-Dead-Last-Delivered").since(when("Tidings-Dead-First-Delivered")) >= SECOND);
    table.advance(SECOND * 10);
    assert_eq!(table.fetch("S", "c", 10).seqs(), []);
}

/// Then what is given up is counted, and no more.
pub fn dead_letters_can_be_off(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put("a.x", "p");
    table.consumer("S", "c", |config| config.dead_letter = false);
    let first = table.until_fetched("S", "c", &[1]);
    table.say(&first[0].token, Ack::Give { reason: "no".into() }).expect("taken");
    table.until("it is given up", |table| info(table, "c").dead == 1);
    let streams = table.journal().streams();
    assert_eq!(table.wait(streams).len(), 1);
}

/// And what was not acknowledged stays so.
pub fn an_update_keeps_what_is_outstanding(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put_many("a.x", 4);
    table.consumer("S", "c", |_| ());
    let first = table.fetch("S", "c", 2).deliveries;
    let changed = ConsumerConfig { ack_pending_max: Some(3), description: "other".into(), ..ConsumerConfig::new("c") };
    let updated = table.journal().consumer_update("S", changed.clone());
    let now = table.wait(updated).expect("updated");
    assert_eq!((now.config, now.ack_pending, now.delivered), (changed, 2, 2));
    assert_eq!(table.fetch("S", "c", 10).seqs(), [3]);
    table.done(&first[0]);
    table.done(&first[1]);
    assert_eq!(table.fetch("S", "c", 10).seqs(), [4]);
}

/// From where it stands.
pub fn filters_change_with_an_update(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    for subject in ["a.x", "a.y", "a.x", "a.y"] {
        table.put(subject, "p");
    }
    table.consumer("S", "c", |config| config.filters = vec![pattern("a.x")]);
    assert_eq!(table.fetch("S", "c", 1).seqs(), [1]);
    let changed = ConsumerConfig { filters: vec![pattern("a.y")], ..ConsumerConfig::new("c") };
    let updated = table.journal().consumer_update("S", changed);
    table.wait(updated).expect("updated");
    table.until_fetched("S", "c", &[2, 4]);
    table.put("a.x", "p");
    table.put("a.y", "p");
    table.until_fetched("S", "c", &[6]);
}

/// Whether by a new consumer or by an update.
pub fn a_work_queue_refuses_shared_messages(table: &mut Table) {
    table.stream("S", "a.>", |config| config.retention = Retention::WorkQueue);
    table.consumer("S", "x", |config| config.filters = vec![pattern("a.x.>")]);
    table.consumer("S", "y", |config| config.filters = vec![pattern("a.y.>")]);
    let shared = |text| ConsumerConfig { filters: vec![pattern(text)], ..ConsumerConfig::new("y") };
    let updated = table.journal().consumer_update("S", shared("a.*.z"));
    let refused = table.wait(updated).map(|_| ());
    assert_eq!(refused, Err(ConsumerError::Queue(QueueError::Overlap { other: "x".into() })));
    table.put("a.x.1", "p");
    table.put("a.y.1", "p");
    table.until_fetched("S", "y", &[2]);
}

/// Not even for a moment that a reader could rely on.
pub fn interest_keeps_nothing_that_nobody_wants(table: &mut Table) {
    table.stream("S", "a.>", |config| config.retention = Retention::Interest);
    assert_eq!(table.put("a.x", "p"), 1);
    table.until_seqs("S", &[]);
    table.consumer("S", "c", |config| config.filters = vec![pattern("a.x")]);
    assert_eq!(table.put("a.y", "p"), 2);
    assert_eq!(table.put("a.x", "p"), 3);
    table.until_seqs("S", &[3]);
    table.until_fetched("S", "c", &[3]);
}

/// By deletion, or by other filters.
pub fn a_consumer_that_goes_takes_its_interest_along(table: &mut Table) {
    table.stream("S", "a.>", |config| config.retention = Retention::Interest);
    table.consumer("S", "slow", |_| ());
    table.consumer("S", "quick", |_| ());
    table.put_many("a.x", 4);
    for delivery in table.fetch("S", "quick", 3).deliveries {
        table.done(&delivery);
    }
    assert_eq!(table.seqs("S"), [1, 2, 3, 4]);
    let deleted = table.journal().consumer_delete("S", "slow");
    table.wait(deleted).expect("deleted");
    table.until_seqs("S", &[4]);
    let other = ConsumerConfig { filters: vec![pattern("a.y")], ..ConsumerConfig::new("quick") };
    let updated = table.journal().consumer_update("S", other);
    table.wait(updated).expect("updated");
    table.until_seqs("S", &[]);
}

/// Many appends in flight: each is answered once, in order.
pub fn receipts_come_in_order_of_position(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    let told: Arc<Mutex<Vec<u64>>> = Arc::default();
    for number in 0..500 {
        let told = told.clone();
        let done = move |result: Result<Receipt, AppendError>| told.lock().extend(result.map(|receipt| receipt.seq));
        table.journal().append(Append::new(message(&format!("a.{number}"), "p")), Box::new(done));
    }
    table.until("all receipts are there", |_| told.lock().len() == 500);
    assert_eq!(*told.lock(), (1..=500).collect::<Vec<u64>>());
}

/// Nor is its id remembered.
pub fn what_is_refused_takes_no_position(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put("a.x", "p");
    let with_id = |last| {
        let mut append = Append::new(message("a.x", "p"));
        (append.id, append.expect.last) = (Some("one".into()), last);
        append
    };
    assert_eq!(table.append(with_id(Some(7))).map(|_| ()), Err(AppendError::LastSeq { expected: 7, found: 1 }));
    let receipt = table.append(with_id(None)).expect("taken");
    assert_eq!((receipt.seq, receipt.duplicate), (2, false));
}
