//! One peer's story, told in pushes and answers.

use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use core::time::Duration;

use super::*;
use crate::limits::{BACKOFF_FIRST, BACKOFF_MAX};
use proptest::prelude::*;

fn at(millis: u64) -> Moment {
    Moment::EPOCH.after(Duration::from_millis(millis))
}

fn row(seq: u64, id: &str, expires: Option<u64>) -> Delivery {
    Delivery {
        id: id.into(),
        peer: "cloud".into(),
        seq,
        recorded: at(seq),
        status: Status::Pending,
        attempts: 0,
        last_attempt: None,
        last_error: None,
        delivered: None,
        expires: expires.map(at),
    }
}

fn owe(seq: u64) -> Input {
    Input::Owe { row: row(seq, &format!("fact-{seq}"), None), bytes: 100, withdrawal: false }
}

fn refused(status: u16) -> Outcome {
    Outcome::Refused { status, text: format!("peer returned HTTP {status}") }
}

fn failed() -> Outcome {
    Outcome::Failed { text: "connection refused".to_string() }
}

/// A machine, its time, and what it last pushed.
struct Story {
    outbox: Outbox,
    now: u64,
    pushed: Vec<(u64, Vec<u64>)>,
    rows: Vec<(u64, Status, bool)>,
}

impl Story {
    fn new(facts_max: usize, flights_max: usize) -> Self {
        let shape = Shape { facts_max, bytes_max: 10_000, flights_max };
        Story { outbox: Outbox::new(7, shape), now: 0, pushed: vec![], rows: vec![] }
    }

    fn tell(&mut self, input: Input) -> &mut Self {
        self.outbox.handle(at(self.now), input);
        self.drain()
    }

    fn drain(&mut self) -> &mut Self {
        while let Some(output) = self.outbox.poll() {
            match output {
                Output::Push { batch, seqs } => self.pushed.push((batch, seqs)),
                Output::Record { row, keep } => self.rows.push((row.seq, row.status, keep)),
                Output::Moved(_) => {}
            }
        }
        self
    }

    /// Answers the oldest push that is on its way.
    fn answer(&mut self, outcome: impl Fn(u64) -> Outcome) -> &mut Self {
        let (batch, seqs) = self.pushed.remove(0);
        let outcomes = seqs.into_iter().map(|seq| (seq, outcome(seq))).collect();
        self.tell(Input::Answered { batch, outcomes })
    }

    /// Goes to the next moment at which the machine wants to be woken; gives how long that was.
    fn sleep(&mut self) -> Duration {
        let wake = self.outbox.next_wake().expect("it wants to be woken");
        let slept = wake.since(at(self.now));
        self.now = wake.nanos().div_ceil(1_000_000);
        self.tell(Input::Tick);
        slept
    }

    fn flying(&self) -> Vec<Vec<u64>> {
        self.pushed.iter().map(|(_, seqs)| seqs.clone()).collect()
    }
}

#[test]
fn what_is_owed_is_pushed_at_once_in_batches_that_fit() {
    let mut story = Story::new(2, 2);
    for seq in 1..=5 {
        story.tell(owe(seq));
    }
    assert_eq!(story.flying(), [vec![1], vec![2]], "nothing waits for a batch to fill");
    story.answer(|_| Outcome::Delivered);
    assert_eq!(story.flying(), [vec![2], vec![3, 4]]);
    story.answer(|_| Outcome::Delivered).answer(|_| Outcome::Delivered).answer(|_| Outcome::Delivered);
    assert!(story.outbox.is_empty() && story.outbox.next_wake().is_none());
    let kept: Vec<u64> = story.rows.iter().filter(|(.., keep)| *keep).map(|(seq, ..)| *seq).collect();
    assert_eq!(kept, [1, 2, 3, 4, 5]);
    let mut big = Story::new(10, 1);
    big.tell(owe(1));
    for seq in 2..=4 {
        big.tell(Input::Owe { row: row(seq, &seq.to_string(), None), bytes: 6_000, withdrawal: false });
    }
    big.answer(|_| Outcome::Delivered);
    assert_eq!(big.flying(), [vec![2]], "by bytes, too");
}

#[test]
fn a_peer_that_fails_is_left_alone_for_longer_and_longer_and_then_probed() {
    let mut story = Story::new(10, 1);
    for seq in 1..=3 {
        story.tell(owe(seq));
    }
    let mut waits = vec![];
    for _ in 0..12 {
        story.answer(|_| failed());
        assert!(story.flying().is_empty());
        story.tell(owe(100 + story.now));
        assert!(story.flying().is_empty(), "news changes nothing");
        waits.push(story.sleep());
    }
    let mut doubled = BACKOFF_FIRST;
    for wait in &waits {
        assert!(*wait <= doubled && *wait >= doubled / 2, "{waits:?}");
        doubled = (doubled * 2).min(BACKOFF_MAX);
    }
    assert_eq!((story.outbox.breaker(), story.flying()), (Breaker::HalfOpen, vec![vec![1]]), "one fact");
    story.answer(|_| Outcome::Delivered);
    assert_eq!((story.outbox.breaker(), story.flying()[0].len()), (Breaker::Closed, 10));
    let failures: Vec<_> = story.rows.iter().filter(|row| row.0 == 1).collect();
    assert_eq!(failures.iter().filter(|row| row.1 == Status::Failed && row.2).count(), 1, "the first failure is kept");
}

#[test]
fn a_nudge_ends_the_wait() {
    let mut story = Story::new(10, 1);
    story.tell(owe(1)).answer(|_| failed());
    assert!(story.flying().is_empty());
    story.tell(Input::Nudge);
    assert_eq!(story.flying(), [vec![1]]);
}

#[test]
fn a_clock_that_is_set_back_makes_no_wait_longer() {
    let mut story = Story::new(10, 1);
    story.now = 600_000;
    story.tell(owe(1)).answer(|_| failed());
    story.now = 0;
    story.tell(Input::Tick);
    assert!(story.sleep() <= BACKOFF_MAX);
    let mut apart = Story::new(10, 1);
    apart.now = 900_000;
    apart.tell(owe(1)).answer(|_| refused(400));
    apart.now = 0;
    apart.tell(Input::Tick);
    assert!(apart.sleep() <= APART_BACKOFF_MAX);
    assert_eq!(apart.flying(), [vec![1]]);
}

#[test]
fn batches_that_fail_together_are_one_failure() {
    let mut story = Story::new(1, 4);
    for seq in 1..=4 {
        story.tell(owe(seq));
    }
    for _ in 0..4 {
        story.answer(|_| failed());
    }
    assert_eq!((story.outbox.breaker(), story.sleep() <= BACKOFF_FIRST), (Breaker::Closed, true));
}

#[test]
fn a_fact_that_is_refused_keeps_no_other_waiting() {
    for status in [400, 404, 409, 422] {
        let mut story = Story::new(10, 1);
        story.tell(owe(1)).answer(|_| refused(status));
        story.tell(owe(2));
        assert_eq!(story.flying(), [vec![2]], "{status}");
        story.answer(|_| Outcome::Delivered);
        assert!(story.sleep() <= BACKOFF_FIRST);
        assert_eq!(story.flying(), [vec![1]]);
        story.answer(|_| refused(status));
        assert!(story.sleep() >= BACKOFF_FIRST, "its own back-off doubles");
        story.answer(|_| Outcome::Delivered);
        assert!(story.outbox.is_empty());
    }
}

#[test]
fn an_answer_about_the_key_or_the_clock_holds_back_all() {
    for outcome in [refused(401), refused(403), refused(408), refused(429), refused(500), refused(503), failed()] {
        let mut story = Story::new(10, 1);
        story.tell(owe(1)).answer(|_| outcome.clone()).tell(owe(2));
        assert_eq!(story.flying(), Vec::<Vec<u64>>::new(), "{outcome:?}");
    }
}

#[test]
fn one_fact_that_is_answered_like_a_bad_key_does_not_block_the_peer() {
    // A peer that cuts bodies off answers 401 to one that is too long.
    let answer = |seq| if seq == 1 { refused(401) } else { Outcome::Delivered };
    for facts_max in [1, 10] {
        let mut story = Story::new(facts_max, 1);
        for seq in 1..=20 {
            story.tell(owe(seq));
        }
        let mut steps = 0;
        while story.outbox.len() > 1 {
            steps += 1;
            assert!(steps < 100, "{:?}", story.outbox.counts());
            if story.pushed.is_empty() {
                story.sleep();
            } else {
                story.answer(answer);
            }
        }
        assert_eq!(story.outbox.counts().delivered, 19);
    }
}

#[test]
fn a_batch_that_is_too_long_is_halved_until_it_fits() {
    let mut story = Story::new(8, 1);
    story.tell(owe(100));
    for seq in 1..=8 {
        story.tell(owe(seq));
    }
    story.answer(|_| Outcome::Delivered);
    let mut sizes = vec![];
    while !story.outbox.is_empty() {
        if story.pushed.is_empty() {
            story.sleep();
            continue;
        }
        let size = story.flying()[0].len();
        sizes.push(size);
        story.answer(move |_| if size > 2 { refused(413) } else { Outcome::Delivered });
        assert!(sizes.len() < 30, "{sizes:?}");
    }
    assert_eq!(sizes.get(..3), Some([8, 4, 2].as_slice()));
    let mut alone = Story::new(8, 1);
    alone.tell(owe(1)).answer(|_| refused(413));
    alone.tell(owe(2));
    assert_eq!(alone.flying(), [vec![2]], "one fact that is too long is refused for itself");
}

#[test]
fn of_one_fact_the_latest_state_waits() {
    let state = |seq| Input::Owe { row: row(seq, "fact", None), bytes: 10, withdrawal: seq == 4 };
    let mut story = Story::new(10, 1);
    story.tell(owe(1)).tell(state(2)).tell(state(3)).tell(state(3)).tell(state(2));
    assert_eq!(story.outbox.len(), 2);
    story.tell(state(4)).answer(|_| Outcome::Delivered);
    assert_eq!(story.flying(), [vec![4]]);
    // A state that is on its way when a later one comes is let go of when it comes back in vain.
    story.tell(state(5)).tell(state(6)).answer(|_| failed());
    story.sleep();
    assert_eq!((story.flying(), story.outbox.counts().overtaken), (vec![vec![6]], 4));
}

#[test]
fn what_expires_while_it_waits_is_not_pushed() {
    let mut story = Story::new(10, 1);
    story.tell(owe(1));
    story.tell(Input::Owe { row: row(2, "short", Some(50)), bytes: 10, withdrawal: false });
    story.tell(Input::Owe { row: row(3, "over", Some(50)), bytes: 10, withdrawal: true });
    story.tell(Input::Owe { row: row(4, "gone", None), bytes: 10, withdrawal: false });
    story.tell(Input::Gone { id: "gone".into() }).tell(Input::Gone { id: "never".into() });
    story.now = 51;
    story.answer(|_| Outcome::Delivered);
    assert_eq!(story.flying(), [vec![3]], "a withdrawal is pushed all the same");
    assert!(story.rows.contains(&(2, Status::Expired, true)) && story.rows.contains(&(4, Status::Expired, true)));
    assert_eq!(story.outbox.counts().expired, 2);
    // What goes while it is on its way is done with when it comes back in vain.
    story.answer(|_| Outcome::Delivered).tell(owe(5)).tell(Input::Gone { id: "fact-5".into() }).answer(|_| failed());
    assert!(story.outbox.is_empty() && story.rows.contains(&(5, Status::Expired, true)));
    // Unless it is owed again by then: the clock that ended it was wrong.
    story.tell(owe(6)).sleep();
    story.tell(Input::Gone { id: "fact-6".into() }).tell(owe(6)).answer(|_| failed()).sleep();
    assert_eq!(story.flying(), [vec![6]]);
}

#[test]
fn what_is_not_answered_failed() {
    let mut story = Story::new(10, 1);
    story.tell(owe(1));
    let (batch, _) = story.pushed.remove(0);
    story.tell(Input::Answered { batch, outcomes: vec![(99, Outcome::Delivered)] });
    story.tell(Input::Answered { batch, outcomes: vec![(1, Outcome::Delivered)] });
    assert_eq!((story.outbox.len(), story.outbox.counts().delivered), (1, 0), "an end counts once");
}

#[test]
fn memory_is_bounded_by_what_it_takes() {
    let mut story = Story::new(1, 1);
    assert_eq!(story.outbox.room(), OWED_MAX);
    for seq in 1..=OWED_MAX as u64 {
        story.outbox.handle(at(0), owe(seq));
    }
    assert_eq!(story.outbox.room(), 0);
    let mut refuses = Story::new(100, 1);
    for seq in 1..=(APART_MAX as u64 + 100) {
        refuses.tell(owe(seq));
    }
    for _ in 0..10_000 {
        if refuses.pushed.is_empty() {
            break;
        }
        refuses.answer(|_| refused(400));
    }
    assert_eq!((refuses.outbox.apart.len(), refuses.outbox.counts().given_up > 0), (APART_MAX, true));
}

proptest! {
    #[test]
    fn whatever_is_answered_everything_owed_ends_once(
        steps in proptest::collection::vec((0..8_u8, 1..6_u64, any::<u16>()), 1..80), facts_max in 1..6_usize, flights_max in 1..4_usize,
    ) {
        let mut story = Story::new(facts_max, flights_max);
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        for (seq, (what, id, chance)) in (1..).zip(steps) {
            match what {
                0..4 => {
                    last.insert(id, seq);
                    let row = row(seq, &id.to_string(), None);
                    story.tell(Input::Owe { row, bytes: usize::from(chance), withdrawal: false });
                }
                4 if story.outbox.next_wake().is_some() => drop(story.sleep()),
                5 => drop(story.tell(Input::Nudge)),
                _ if !story.pushed.is_empty() => {
                    let outcomes = [Outcome::Delivered, refused(400), refused(401), refused(413), refused(503), failed()];
                    story.answer(|seq| outcomes[(usize::from(chance) + usize::try_from(seq).unwrap()) % outcomes.len()].clone());
                }
                _ => {}
            }
        }
        let mut steps = 0;
        while !story.outbox.is_empty() {
            steps += 1;
            prop_assert!(steps < 2_000, "it comes to an end once the peer takes everything");
            if story.pushed.is_empty() {
                story.sleep();
            } else {
                story.answer(|_| Outcome::Delivered);
            }
        }
        let delivered = |seq: u64| story.rows.iter().filter(|row| row.0 == seq && row.1 == Status::Delivered).count();
        for seq in last.values() {
            prop_assert_eq!(delivered(*seq), 1, "the latest state of each fact");
        }
        prop_assert!(story.outbox.latest.is_empty() && story.outbox.ready.is_empty() && story.outbox.apart.is_empty());
        let counts = story.outbox.counts();
        prop_assert_eq!(counts.attempts, counts.delivered + counts.failed);
    }
}
