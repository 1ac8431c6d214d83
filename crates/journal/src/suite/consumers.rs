//! Stories of consumers.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::bench::{Table, message, pattern};
use crate::limits::DEAD_STREAM;
use crate::{
    Ack, AckError, AckPolicy, AckToken, Append, ConsumerConfig, ConsumerError, ConsumerInfo, ConsumerStart, Fetch,
    FetchEnd, FetchError, QueueError, Read, Retention,
};

const SECOND: Duration = Duration::from_secs(1);
/// A little more than the wait before it.
const BIT: Duration = Duration::from_millis(100);

fn info(table: &mut Table, name: &str) -> ConsumerInfo {
    let info = table.journal().consumer_info("S", name);
    table.wait(info).expect("there is a consumer")
}

/// And a fetch needs both.
pub fn a_consumer_needs_its_stream(table: &mut Table) {
    let made = table.journal().consumer_create("S", ConsumerConfig::new("c"));
    assert_eq!(table.wait(made).map(|_| ()), Err(ConsumerError::NoStream("S".into())));
    let fetched = table.fetch("S", "c", 1);
    let missing = || FetchError::NotFound { stream: "S".into(), name: "c".into() };
    assert_eq!(fetched.end, Some(FetchEnd::Failed(missing())));
    table.stream("S", "a.>", |_| ());
    assert_eq!(table.fetch("S", "c", 1).end, Some(FetchEnd::Failed(missing())));
    table.consumer("S", "c", |_| ());
    assert_eq!(table.fetch("S", "c", 0).end, Some(FetchEnd::Failed(FetchError::Batch)));
    assert_eq!(table.fetch("S", "c", 1).end, Some(FetchEnd::Expired));
}

/// The same again is answered as the first; another is refused; an update changes it.
pub fn a_consumer_declared_twice_alike_is_one_consumer(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.consumer("S", "c", |_| ());
    table.consumer("S", "c", |_| ());
    let other = ConsumerConfig { ack_pending_max: Some(7), ..ConsumerConfig::new("c") };
    let made = table.journal().consumer_create("S", other.clone());
    assert_eq!(table.wait(made).map(|_| ()), Err(ConsumerError::Exists("c".into())));
    let updated = table.journal().consumer_update("S", other);
    assert_eq!(table.wait(updated).expect("updated").config.ack_pending_max, Some(7));
    let fixed =
        table.journal().consumer_update("S", ConsumerConfig { ack: AckPolicy::All, ..ConsumerConfig::new("c") });
    assert!(matches!(table.wait(fixed), Err(ConsumerError::Invalid { field: "ack", .. })));
    let faulty = ConsumerConfig { deliver_max: Some(0), ..ConsumerConfig::new("d") };
    let faulty = table.journal().consumer_create("S", faulty);
    assert!(matches!(table.wait(faulty), Err(ConsumerError::Invalid { field: "deliver_max", .. })));
    table.consumer("S", "b", |_| ());
    let all = table.journal().consumers("S");
    let names: Vec<String> = table.wait(all).expect("listed").into_iter().map(|each| each.config.name).collect();
    assert_eq!(names, ["b", "c"]);
    assert_eq!(info(table, "c").config.name, "c");
}

/// All, last, new, a position, a moment, the last of each subject.
pub fn every_start_starts_where_it_says(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    let mut moments = vec![table.bench().now()];
    for subject in ["a.x", "a.y", "a.x", "a.z", "a.y"] {
        table.advance(SECOND);
        moments.push(table.bench().now());
        table.put(subject, "p");
    }
    table.advance(SECOND);
    let third = moments.get(3).copied().expect("a moment");
    let starts = [
        ("all", ConsumerStart::All, vec![1, 2, 3, 4, 5]),
        ("last", ConsumerStart::Last, vec![5]),
        ("new", ConsumerStart::New, vec![]),
        ("seq", ConsumerStart::Seq(4), vec![4, 5]),
        ("time", ConsumerStart::Time(third), vec![3, 4, 5]),
        ("each", ConsumerStart::LastPerSubject, vec![3, 4, 5]),
    ];
    for (name, start, _) in &starts {
        table.consumer("S", name, |config| config.start = *start);
    }
    table.consumer("S", "last-x", |config| {
        config.start = ConsumerStart::Last;
        config.filters = vec![pattern("a.x")];
    });
    table.put("a.x", "p");
    table.put("a.y", "p");
    for (name, _, mut expected) in starts {
        expected.extend([6, 7]);
        table.until_fetched("S", name, &expected);
    }
    table.until_fetched("S", "last-x", &[3, 6]);
}

/// One filter, several, and none.
pub fn a_filter_takes_what_matches(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.consumer("S", "one", |config| config.filters = vec![pattern("a.x")]);
    table.consumer("S", "two", |config| config.filters = vec![pattern("a.x"), pattern("a.y.*")]);
    for subject in ["a.x", "a.y", "a.y.1", "a.x", "a.z"] {
        table.put(subject, "p");
    }
    let delivered = table.until_fetched("S", "one", &[1, 4]);
    assert_eq!(delivered.first().map(|delivery| delivery.stored.message.payload.as_ref()), Some(&b"p"[..]));
    table.until_fetched("S", "two", &[1, 3, 4]);
    assert_eq!(table.fetch("S", "two", 10).end, Some(FetchEnd::Expired));
}

/// After the wait, in order, with the attempt counted; the floor follows.
pub fn acknowledged_is_done_and_the_rest_comes_again(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put_many("a.x", 5);
    table.consumer("S", "c", |config| config.ack_wait = SECOND);
    let first = table.until_fetched("S", "c", &[1, 2, 3, 4, 5]);
    for place in [0, 1, 3] {
        table.done(&first[place]);
    }
    let now = info(table, "c");
    assert_eq!((now.ack_floor, now.ack_pending, now.delivered, now.pending), (2, 2, 5, 0));
    assert_eq!(table.fetch("S", "c", 10).seqs(), []);
    table.advance(SECOND + BIT);
    let second = table.until_fetched("S", "c", &[3, 5]);
    assert!(second.iter().all(|delivery| delivery.token.attempt == 2));
    for delivery in &second {
        table.done(delivery);
    }
    let now = info(table, "c");
    assert_eq!((now.ack_floor, now.ack_pending, now.deliveries), (5, 0, 7));
    table.advance(SECOND * 3);
    assert_eq!(table.fetch("S", "c", 10).seqs(), []);
}

/// `AckPolicy::All`.
pub fn acknowledging_all_reaches_back(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put_many("a.x", 5);
    table.consumer("S", "c", |config| {
        config.ack = AckPolicy::All;
        config.ack_wait = SECOND;
    });
    let first = table.until_fetched("S", "c", &[1, 2, 3, 4, 5]);
    table.done(&first[2]);
    assert_eq!((info(table, "c").ack_floor, info(table, "c").ack_pending), (3, 2));
    table.advance(SECOND + BIT);
    table.until_fetched("S", "c", &[4, 5]);
}

/// `AckPolicy::None`.
pub fn without_acknowledgement_delivered_is_done(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put_many("a.x", 3);
    table.consumer("S", "c", |config| {
        config.ack = AckPolicy::None;
        config.ack_wait = SECOND;
    });
    let first = table.until_fetched("S", "c", &[1, 2, 3]);
    assert_eq!(table.say(&first[0].token, Ack::Done), Err(AckError::NotWanted));
    table.advance(SECOND * 5);
    assert_eq!(table.fetch("S", "c", 10).seqs(), []);
    assert_eq!(info(table, "c").ack_pending, 0);
}

/// The list, then its last.
pub fn backoff_sets_the_waits(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put("a.x", "p");
    table.consumer("S", "c", |config| config.backoff = vec![SECOND, SECOND * 5]);
    for wait in [SECOND, SECOND * 5, SECOND * 5] {
        table.until_fetched("S", "c", &[1]);
        table.advance(wait - BIT);
        assert_eq!(table.fetch("S", "c", 1).seqs(), []);
        table.advance(BIT * 2);
    }
    assert_eq!(table.until_fetched("S", "c", &[1])[0].token.attempt, 4);
}

/// At once, or after its delay.
pub fn a_negative_acknowledgement_brings_it_back(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put("a.x", "p");
    table.consumer("S", "c", |_| ());
    let first = table.until_fetched("S", "c", &[1]);
    table.say(&first[0].token, Ack::Again { delay: None }).expect("taken");
    let second = table.until_fetched("S", "c", &[1]);
    table.say(&second[0].token, Ack::Again { delay: Some(SECOND * 2) }).expect("taken");
    assert_eq!(table.fetch("S", "c", 1).seqs(), []);
    table.advance(SECOND * 2 + BIT);
    assert_eq!(table.until_fetched("S", "c", &[1])[0].token.attempt, 3);
}

/// In progress.
pub fn progress_counts_the_wait_anew(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put("a.x", "p");
    table.consumer("S", "c", |config| config.ack_wait = SECOND * 2);
    let first = table.until_fetched("S", "c", &[1]);
    table.advance(SECOND + SECOND / 2);
    table.say(&first[0].token, Ack::Progress).expect("taken");
    table.advance(SECOND + SECOND / 2);
    assert_eq!(table.fetch("S", "c", 1).seqs(), []);
    table.advance(SECOND);
    table.until_fetched("S", "c", &[1]);
}

fn dead_letters(table: &mut Table, count: usize) -> Vec<crate::Stored> {
    table.until("the dead letters are recorded", |table| {
        let page = table.journal().read(DEAD_STREAM, Read::from(1, 100));
        table.wait(page).is_ok_and(|page| page.messages.len() >= count)
    });
    let dead = table.read(DEAD_STREAM, Read::from(1, 100)).messages;
    assert_eq!(dead.len(), count);
    dead
}

/// With the original, the reason and the count.
pub fn a_message_given_up_is_a_dead_letter(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put("a.x", "poison");
    table.consumer("S", "c", |_| ());
    let first = table.until_fetched("S", "c", &[1]);
    table.say(&first[0].token, Ack::Give { reason: "cannot parse".into() }).expect("taken");
    let dead = dead_letters(table, 1);
    let letter = &dead[0].message;
    assert_eq!((letter.subject.as_str(), letter.payload.as_ref()), ("dead.S.c", &b"poison"[..]));
    assert!(letter.headers.iter().any(|(_, value)| value == "cannot parse"), "{:?}", letter.headers);
    assert!(letter.headers.iter().any(|(_, value)| value == "a.x"), "{:?}", letter.headers);
    table.until("it is done with", |table| info(table, "c").ack_pending == 0);
    assert_eq!((info(table, "c").ack_floor, info(table, "c").dead), (1, 1));
    assert_eq!(table.say(&first[0].token, Ack::Done), Err(AckError::Already(1)));
}

/// And does not stop the others.
pub fn too_many_deliveries_make_a_dead_letter(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put_many("a.x", 2);
    table.consumer("S", "c", |config| {
        config.ack_wait = SECOND;
        config.deliver_max = Some(2);
    });
    let first = table.until_fetched("S", "c", &[1, 2]);
    table.done(&first[1]);
    table.advance(SECOND + BIT);
    table.until_fetched("S", "c", &[1]);
    table.advance(SECOND + BIT);
    let dead = dead_letters(table, 1);
    assert_eq!(dead[0].message.payload, "1");
    assert!(dead[0].message.headers.iter().any(|(_, value)| value == "2"), "{:?}", dead[0].message.headers);
    table.until("the floor moves on", |table| info(table, "c").ack_floor == 2);
    assert_eq!(table.put("a.x", "3"), 3);
    table.until_fetched("S", "c", &[3]);
    if table.bench().durable() {
        table.bench().reopen(true);
        assert_eq!(dead_letters(table, 1).len(), 1);
    }
}

/// Until some are acknowledged.
pub fn no_more_are_outstanding_than_allowed(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put_many("a.x", 10);
    table.consumer("S", "c", |config| config.ack_pending_max = Some(3));
    let first = table.until_fetched("S", "c", &[1, 2, 3]);
    assert_eq!(table.fetch("S", "c", 10).seqs(), []);
    let waiting =
        table.begin("S", "c", Fetch { batch: 1, bytes: None, wait: Some(SECOND * 60), ..Fetch::default() }, u64::MAX);
    table.done(&first[0]);
    assert_eq!(table.ended(&waiting).seqs(), [4]);
}

/// Until it is resumed, or its moment comes.
pub fn a_paused_consumer_delivers_nothing(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put_many("a.x", 2);
    table.consumer("S", "c", |_| ());
    let until = table.bench().now().after(SECOND * 10);
    let paused = table.journal().consumer_pause("S", "c", Some(until));
    assert_eq!(table.wait(paused).expect("paused").config.pause_until, Some(until));
    assert_eq!(table.fetch("S", "c", 1).seqs(), []);
    let waiting =
        table.begin("S", "c", Fetch { batch: 1, bytes: None, wait: Some(SECOND * 60), ..Fetch::default() }, u64::MAX);
    table.advance(SECOND * 10 + BIT);
    assert_eq!(table.ended(&waiting).seqs(), [1]);
    let later = table.bench().now().after(SECOND * 1000);
    let paused = table.journal().consumer_pause("S", "c", Some(later));
    table.wait(paused).expect("paused");
    assert_eq!(table.fetch("S", "c", 1).seqs(), []);
    let resumed = table.journal().consumer_pause("S", "c", None);
    table.wait(resumed).expect("resumed");
    table.until_fetched("S", "c", &[2]);
}

/// And a durable one does not.
pub fn an_ephemeral_consumer_goes_when_nobody_asks(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put("a.x", "p");
    table.consumer("S", "brief", |config| {
        config.durable = false;
        config.inactive = Some(SECOND * 5);
    });
    table.consumer("S", "lasting", |_| ());
    table.advance(SECOND * 4);
    table.fetch("S", "brief", 1);
    table.advance(SECOND * 4);
    assert_eq!(info(table, "brief").config.name, "brief");
    table.advance(SECOND * 2);
    table.until("the ephemeral consumer is gone", |table| {
        let found = table.journal().consumer_info("S", "brief");
        table.wait(found).is_err()
    });
    assert_eq!(info(table, "lasting").config.name, "lasting");
}

/// Batch, bytes, wait and no wait.
pub fn a_fetch_is_bounded_by_batch_bytes_and_wait(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    for _ in 0..6 {
        table.put("a.x", &"p".repeat(97));
    }
    table.consumer("S", "c", |_| ());
    let full = table.fetch("S", "c", 2);
    assert_eq!((full.seqs(), full.end), (vec![1, 2], Some(FetchEnd::Full)));
    let begun = table.begin("S", "c", Fetch { batch: 10, bytes: Some(250), wait: None, ..Fetch::default() }, u64::MAX);
    let bytes = table.ended(&begun);
    assert_eq!((bytes.seqs(), bytes.end), (vec![3, 4], Some(FetchEnd::Bytes)));
    let begun = table.begin("S", "c", Fetch { batch: 10, bytes: Some(5), wait: None, ..Fetch::default() }, u64::MAX);
    let bytes = table.ended(&begun);
    assert_eq!((bytes.seqs(), bytes.end), (vec![], Some(FetchEnd::Bytes)));
    let rest = table.fetch("S", "c", 10);
    assert_eq!((rest.seqs(), rest.end), (vec![5, 6], Some(FetchEnd::Expired)));
    let begun =
        table.begin("S", "c", Fetch { batch: 10, bytes: None, wait: Some(SECOND), ..Fetch::default() }, u64::MAX);
    assert_eq!(begun.lock().end, None);
    table.advance(SECOND + BIT);
    assert_eq!(table.ended(&begun).end, Some(FetchEnd::Expired));
}

/// As it arrives, and ends when it is full.
pub fn a_waiting_fetch_gets_what_arrives(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.consumer("S", "c", |config| config.filters = vec![pattern("a.y")]);
    let begun =
        table.begin("S", "c", Fetch { batch: 2, bytes: None, wait: Some(SECOND * 60), ..Fetch::default() }, u64::MAX);
    table.put("a.x", "1");
    table.put("a.y", "2");
    table.until("the first arrives", |_| begun.lock().deliveries.len() == 1);
    table.put("a.y", "3");
    let ended = table.ended(&begun);
    assert_eq!((ended.seqs(), ended.end), (vec![2, 3], Some(FetchEnd::Full)));
}

/// Each message to one of them.
pub fn competing_workers_share_and_none_is_lost(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.consumer("S", "c", |_| ());
    let fetch = || Fetch { batch: 10, bytes: None, wait: Some(SECOND * 60), ..Fetch::default() };
    let one = table.begin("S", "c", fetch(), u64::MAX);
    let two = table.begin("S", "c", fetch(), u64::MAX);
    table.put_many("a.x", 20);
    let mut all = table.ended(&one).seqs();
    let theirs = table.ended(&two).seqs();
    assert_eq!((all.len(), theirs.len()), (10, 10));
    all.extend(theirs);
    all.sort_unstable();
    assert_eq!(all, (1..=20).collect::<Vec<_>>());
}

/// At once.
pub fn what_a_gone_worker_left_goes_to_another(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put_many("a.x", 4);
    table.consumer("S", "c", |_| ());
    let gone = table.begin("S", "c", Fetch { batch: 10, bytes: None, wait: Some(SECOND * 60), ..Fetch::default() }, 2);
    let gone = table.ended(&gone);
    assert_eq!((gone.seqs(), gone.end), (vec![1, 2], Some(FetchEnd::Closed)));
    table.until_fetched("S", "c", &[3, 4]);
}

/// A batch without end.
pub fn a_push_goes_on_until_it_is_closed(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put_many("a.x", 3);
    table.consumer("S", "c", |config| config.ack = AckPolicy::None);
    let push = table.begin("S", "c", Fetch { batch: u64::MAX, bytes: None, wait: Some(SECOND), ..Fetch::default() }, 6);
    table.until("the past arrives", |_| push.lock().deliveries.len() == 3);
    table.advance(SECOND * 100);
    table.put_many("a.x", 4);
    let ended = table.ended(&push);
    assert_eq!((ended.seqs(), ended.end), (vec![1, 2, 3, 4, 5, 6], Some(FetchEnd::Closed)));
    table.until_fetched("S", "c", &[7]);
}

/// Another's, a used one, one never made, one of an earlier consumer.
pub fn tokens_are_judged(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put_many("a.x", 2);
    table.consumer("S", "c", |_| ());
    table.consumer("S", "d", |_| ());
    let first = table.until_fetched("S", "c", &[1, 2]);
    let token = &first[0].token;
    assert_eq!(token.to_string().parse::<AckToken>().as_ref(), Ok(token));
    assert!(matches!("S.c.x".parse::<AckToken>(), Err(AckError::Malformed(_))));
    table.done(&first[0]);
    assert_eq!(table.say(token, Ack::Done), Err(AckError::Already(1)));
    let never = AckToken { seq: 9, ..token.clone() };
    assert_eq!(table.say(&never, Ack::Done), Err(AckError::Unknown(9)));
    let forged = AckToken { consumer: "d".into(), ..first[1].token.clone() };
    assert!(matches!(table.say(&forged, Ack::Done), Err(AckError::NotFound { .. } | AckError::Unknown(_))));
    let deleted = table.journal().consumer_delete("S", "c");
    table.wait(deleted).expect("deleted");
    assert!(matches!(table.say(&first[1].token, Ack::Done), Err(AckError::NotFound { .. })));
    table.advance(SECOND);
    table.consumer("S", "c", |_| ());
    table.until_fetched("S", "c", &[1, 2]);
    assert!(matches!(table.say(&first[1].token, Ack::Done), Err(AckError::NotFound { .. })));
}

/// Clean, and after a crash.
pub fn acknowledgements_survive_a_restart(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put_many("a.x", 6);
    table.consumer("S", "c", |config| config.ack_wait = SECOND);
    let first = table.until_fetched("S", "c", &[1, 2, 3, 4, 5, 6]);
    for place in [0, 1, 3] {
        table.done(&first[place]);
    }
    if !table.bench().durable() {
        return;
    }
    table.bench().reopen(true);
    let now = info(table, "c");
    assert_eq!((now.ack_floor, now.config.ack_wait), (2, SECOND));
    table.advance(SECOND + BIT);
    let second = table.until_fetched("S", "c", &[3, 5, 6]);
    table.done(&second[0]);
    assert_eq!(table.say(&first[3].token, Ack::Done), Err(AckError::Already(4)));
    table.bench().reopen(false);
    assert_eq!(info(table, "c").ack_floor, 4);
    table.advance(SECOND + BIT);
    let third = table.until_fetched("S", "c", &[5, 6]);
    assert!(third.iter().all(|delivery| delivery.token.attempt >= 3), "{third:?}");
}

/// Promise 6.
pub fn an_unacknowledged_message_survives_a_crash(table: &mut Table) {
    if !table.bench().durable() {
        return;
    }
    table.stream("S", "a.>", |_| ());
    table.consumer("S", "c", |config| config.ack_wait = SECOND);
    for round in 0..5_u64 {
        table.put_many("a.x", 4);
        let fetched = table.fetch("S", "c", 4);
        assert_eq!(fetched.deliveries.len(), 4, "round {round}");
        for delivery in fetched.deliveries.iter().take(3) {
            table.done(delivery);
        }
        table.bench().reopen(true);
        table.advance(SECOND + BIT);
        let left = table.until_fetched("S", "c", &[round * 4 + 4]);
        table.done(&left[0]);
    }
    assert_eq!(info(table, "c").ack_floor, 20);
}

/// `Retention::WorkQueue`.
pub fn a_work_queue_lets_go_of_what_is_done(table: &mut Table) {
    table.stream("S", "a.>", |config| config.retention = Retention::WorkQueue);
    table.put_many("a.x", 3);
    table.consumer("S", "c", |_| ());
    let rival = table.journal().consumer_create("S", ConsumerConfig::new("rival"));
    assert_eq!(table.wait(rival), Err(ConsumerError::Queue(QueueError::Unfiltered)));
    let first = table.until_fetched("S", "c", &[1, 2, 3]);
    table.done(&first[1]);
    table.until_seqs("S", &[1, 3]);
    table.done(&first[0]);
    table.done(&first[2]);
    table.until_seqs("S", &[]);
}

/// `Retention::Interest`.
pub fn interest_lets_go_when_all_are_done(table: &mut Table) {
    table.stream("S", "a.>", |config| config.retention = Retention::Interest);
    table.consumer("S", "all", |_| ());
    table.consumer("S", "some", |config| config.filters = vec![pattern("a.x")]);
    for subject in ["a.x", "a.y"] {
        table.append(Append::new(message(subject, "p"))).expect("taken");
    }
    let all = table.until_fetched("S", "all", &[1, 2]);
    table.done(&all[0]);
    table.done(&all[1]);
    table.until_seqs("S", &[1]);
    let some = table.until_fetched("S", "some", &[1]);
    table.done(&some[0]);
    table.until_seqs("S", &[]);
}

/// And so does a deleted stream.
pub fn a_deleted_consumer_ends_its_fetches(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    let fetch = || Fetch { batch: 1, bytes: None, wait: Some(SECOND * 60), ..Fetch::default() };
    for delete_stream in [false, true] {
        table.consumer("S", "c", |_| ());
        let waiting = table.begin("S", "c", fetch(), u64::MAX);
        if delete_stream {
            let deleted = table.journal().stream_delete("S");
            table.wait(deleted).expect("deleted");
        } else {
            let deleted = table.journal().consumer_delete("S", "c");
            table.wait(deleted).expect("deleted");
        }
        assert_eq!(table.ended(&waiting).end, Some(FetchEnd::ConsumerDeleted));
    }
    let gone = table.journal().consumer_delete("S", "c");
    assert!(table.wait(gone).is_err());
}
