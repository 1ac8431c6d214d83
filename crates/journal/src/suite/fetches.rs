//! Stories of waiting: of fetches and their sinks, and of reads that follow.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use spin::Mutex;

use super::bench::{Table, pattern};
use super::deliveries::info;
use crate::limits::{FETCHES_WAITING_MAX, WAIT_MAX};
use crate::{Answer, ConsumerStart, Delivery, Fetch, FetchEnd, FetchError, Read, ReadError, Sink, Want};

const SECOND: Duration = Duration::from_secs(1);

fn waiting(batch: u64) -> Fetch {
    Fetch { batch, bytes: None, wait: Some(SECOND * 60), ..Fetch::default() }
}

/// What a sink's user holds.
#[derive(Default)]
struct User {
    deliveries: Vec<Delivery>,
    /// Deliveries that the user can hold.
    room: usize,
    gone: bool,
    end: Option<FetchEnd>,
}

struct Hand(Arc<Mutex<User>>);

impl Sink for Hand {
    fn deliver(&mut self, delivery: Delivery) -> Want {
        let mut user = self.0.lock();
        assert!(user.deliveries.len() < user.room, "no delivery after a pause");
        user.deliveries.push(delivery);
        if user.deliveries.len() < user.room { Want::More } else { Want::Pause }
    }

    fn ready(&mut self) -> Option<bool> {
        let user = self.0.lock();
        (!user.gone).then_some(user.deliveries.len() < user.room)
    }

    fn end(self: Box<Self>, end: FetchEnd) {
        assert_eq!(self.0.lock().end.replace(end), None, "a fetch ends once");
    }
}

fn open(table: &Table, fetch: Fetch, room: usize) -> Arc<Mutex<User>> {
    let user = Arc::new(Mutex::new(User { room, ..User::default() }));
    table.journal().fetch("S", "c", fetch, Box::new(Hand(user.clone())));
    user
}

fn is_pending<T>(answer: &mut Answer<T>) -> bool {
    matches!(answer.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending)
}

/// One message each, in the order in which they asked.
pub fn fetches_take_turns(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.consumer("S", "c", |_| ());
    let users = [(); 3].map(|()| open(table, waiting(4), 10));
    table.until("all wait", |table| info(table, "c").waiting == 3);
    let held = |users: &[Arc<Mutex<User>>; 3]| users.iter().map(|user| user.lock().deliveries.len()).sum::<usize>();
    for number in 1..=9 {
        table.put("a.x", "p");
        table.until("it is delivered", |_| held(&users) == number);
    }
    let seqs = |user: &Arc<Mutex<User>>| user.lock().deliveries.iter().map(|each| each.stored.seq).collect::<Vec<_>>();
    assert_eq!(users.each_ref().map(seqs), [[1, 4, 7], [2, 5, 8], [3, 6, 9]]);
}

/// And gets nothing before it says that it takes more.
pub fn a_sink_that_pauses_is_asked_again(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put_many("a.x", 10);
    table.consumer("S", "c", |_| ());
    let user = open(table, Fetch { batch: u64::MAX, bytes: None, wait: None, ..Fetch::default() }, 4);
    let mut all = Vec::new();
    while all.len() < 10 {
        let room = user.lock().room.min(10 - all.len());
        table.until("it is full", |table| {
            table.advance(Duration::from_millis(10));
            user.lock().deliveries.len() >= room
        });
        all.extend(core::mem::take(&mut user.lock().deliveries).iter().map(|each| each.stored.seq));
    }
    assert_eq!(all, (1..=10).collect::<Vec<u64>>());
    assert_eq!(user.lock().end, None);
}

/// Though nothing comes for it, and the fetch waits for long.
pub fn a_sink_whose_user_left_is_found_out(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.consumer("S", "c", |_| ());
    let user = open(table, Fetch { wait: Some(WAIT_MAX), ..waiting(4) }, 10);
    table.until("it waits", |table| info(table, "c").waiting == 1);
    user.lock().gone = true;
    table.until("it ends", |table| {
        table.advance(Duration::from_millis(10));
        user.lock().end == Some(FetchEnd::Closed)
    });
    assert_eq!(info(table, "c").waiting, 0);
}

/// So that who builds a table from a consumer knows when it is complete.
pub fn the_last_message_says_that_none_is_left(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    for subject in ["a.x", "a.y", "a.x", "a.y", "a.z"] {
        table.put(subject, "p");
    }
    let filters = vec![pattern("a.x"), pattern("a.y")];
    table.consumer("S", "all", |config| config.filters.clone_from(&filters));
    table.consumer("S", "each", |config| {
        config.filters = filters;
        config.start = ConsumerStart::LastPerSubject;
    });
    for (name, batch, expected) in [("all", 4, vec![false, false, false, true]), ("each", 2, vec![false, true])] {
        let deliveries = table.fetch("S", name, batch).deliveries;
        assert_eq!(deliveries.iter().map(|each| each.pending == 0).collect::<Vec<_>>(), expected, "{name}");
    }
}

/// Until one has ended.
pub fn no_more_fetches_wait_than_allowed(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.consumer("S", "c", |_| ());
    let users: Vec<_> = (0..FETCHES_WAITING_MAX).map(|_| open(table, waiting(1), 1)).collect();
    let beyond = table.begin("S", "c", waiting(1), 1);
    assert_eq!(
        table.ended(&beyond).end,
        Some(FetchEnd::Failed(FetchError::Waiting { max: FETCHES_WAITING_MAX as u64 }))
    );
    table.advance(SECOND * 61);
    table.until("all end", |_| users.iter().all(|user| user.lock().end == Some(FetchEnd::Expired)));
    table.put("a.x", "p");
    assert_eq!(table.fetch("S", "c", 1).seqs(), [1]);
}

/// Before, between and after.
pub fn a_consumer_says_where_it_stands(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    table.put_many("a.x", 5);
    table.consumer("S", "c", |_| ());
    let now = info(table, "c");
    assert_eq!((now.pending, now.delivered, now.deliveries, now.ack_floor), (5, 0, 0, 0));
    let first = table.fetch("S", "c", 3).deliveries;
    let now = info(table, "c");
    assert_eq!((now.pending, now.delivered, now.deliveries, now.ack_floor), (2, 3, 3, 0));
    assert_eq!((now.ack_pending, now.redelivered), (3, 0));
    table.done(&first[1]);
    table.done(&first[2]);
    assert_eq!((info(table, "c").ack_floor, info(table, "c").ack_pending), (0, 1));
    table.done(&first[0]);
    assert_eq!((info(table, "c").ack_floor, info(table, "c").ack_pending), (3, 0));
    let stream = table.journal().stream_info("S");
    assert_eq!(table.wait(stream).expect("there").consumers, 1);
}

/// And passes over the rest.
pub fn a_read_waits_only_for_what_it_wants(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    let filters = vec![pattern("a.x"), pattern("a.y.>")];
    let mut page = table.journal().read("S", Read { filters, wait: Some(SECOND * 60), ..Read::from(1, 10) });
    table.put_many("a.z", 3);
    assert!(is_pending(&mut page));
    table.put("a.y.1", "here");
    let page = table.wait(page).expect("a page");
    assert_eq!(page.messages.iter().map(|each| each.seq).collect::<Vec<_>>(), [4]);
    assert_eq!((page.next, page.last), (5, 4));
}

/// It stops waiting.
pub fn a_dropped_read_disturbs_nobody(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    let read = || Read { wait: Some(SECOND * 60), ..Read::from(1, 10) };
    let (mut kept, mut dropped) = (table.journal().read("S", read()), table.journal().read("S", read()));
    assert!(is_pending(&mut kept) && is_pending(&mut dropped));
    drop(dropped);
    table.put("a.x", "p");
    assert_eq!(table.wait(kept).expect("a page").messages.len(), 1);
}

/// With what they would be told if they asked then.
pub fn a_stream_that_goes_ends_the_reads_that_wait_on_it(table: &mut Table) {
    table.stream("S", "a.>", |_| ());
    let page = table.journal().read("S", Read { wait: Some(SECOND * 60), ..Read::from(1, 10) });
    let deleted = table.journal().stream_delete("S");
    table.wait(deleted).expect("deleted");
    assert_eq!(table.wait(page), Err(ReadError::NotFound("S".into())));
}
