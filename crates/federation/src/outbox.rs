//! What is owed to one peer, and when it is tried.
//!
//! One machine a peer, so that none waits for another. It holds positions, not bodies: the host reads
//! those, and the hand that pushes answers for each position. What the machine forgets in a crash the host
//! gives it again, by comparing the table of facts with that of deliveries.
//!
//! ```text
//!            5 failures in a row                 its time has come
//!  CLOSED ───────────────────────▶ OPEN ────────────────────────────▶ HALF OPEN
//!    ▲ several batches at once      ▲ nothing is sent                     │ one fact
//!    │                              └──────────────── it fails ───────────┤
//!    └───────────────────────────────── it is answered ───────────────────┘
//! ```
//!
//! Invariants:
//! - what was owed ends delivered, expired, gone or overtaken by a later state of the same fact, or is
//!   tried again: nothing is lost here.
//! - of one fact one state waits, the latest, be it that it is taken back.
//! - a failure of the peer holds back everything for a while that doubles; a refusal of one fact holds back
//!   that fact alone.
//! - in memory are at most [`OWED_MAX`] facts and [`APART_MAX`] refused ones: [`Outbox::room`] says how many
//!   more are taken.
//!
//! Costs: a few tree operations a fact; about 250 bytes a fact that waits.

mod pace;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use event::Moment;

use crate::deliveries::{Delivery, Status, error_text};
use crate::limits::{APART_BACKOFF_MAX, APART_MAX, OWED_MAX};
pub use pace::Breaker;
use pace::{Pace, backoff};

/// How much is pushed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Most facts of a batch; at least 1.
    pub facts_max: usize,
    /// Most bytes of a batch, save that it has at least one fact.
    pub bytes_max: usize,
    /// Most batches that may be on their way; at least 1.
    pub flights_max: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Shape { facts_max: 1_024, bytes_max: 1024 * 1024, flights_max: 4 }
    }
}

/// How a push of one fact ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The peer has it.
    Delivered,
    /// The peer answered that it does not take it.
    Refused {
        /// The HTTP status.
        status: u16,
        /// What is kept as the reason.
        text: String,
    },
    /// There was no answer, or none that says anything.
    Failed {
        /// What is kept as the reason.
        text: String,
    },
}

impl Outcome {
    /// Whether it is about this fact, and not about the peer, the key or the clock.
    fn is_apart(&self) -> bool {
        matches!(self, Outcome::Refused { status: 400..500, .. }) && !self.is_about_request()
    }

    /// Whether it may be about one fact, though such answers are mostly about all.
    fn is_about_request(&self) -> bool {
        matches!(self, Outcome::Refused { status: 401 | 403 | 408 | 413 | 429, .. })
    }

    fn text(&self) -> &str {
        match self {
            Outcome::Delivered => "",
            Outcome::Refused { text, .. } | Outcome::Failed { text } => text,
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A state of a fact is owed: [`Delivery::pending`], and the bytes of its body.
    Owe {
        /// The row that it is to be.
        row: Delivery,
        /// Of its body.
        bytes: usize,
        /// Whether it takes the fact back.
        withdrawal: bool,
    },
    /// A fact holds no longer.
    Gone {
        /// Its id.
        id: Arc<str>,
    },
    /// A batch ended. Positions that are not named failed without a reason.
    Answered {
        /// Which.
        batch: u64,
        /// How it went with each position.
        outcomes: Vec<(u64, Outcome)>,
    },
    /// The peer or its key was changed: what waits is tried at once.
    Nudge,
    /// From now on so much is pushed at once.
    Shape(Shape),
    /// Time went on.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Push these, and answer with the same number.
    Push {
        /// The batch.
        batch: u64,
        /// The positions, in their order.
        seqs: Vec<u64>,
    },
    /// A row is now so. Where `keep`, it belongs in the stream, too: the others are repeated tries.
    Record {
        /// The row.
        row: Delivery,
        /// Whether it is to survive a restart.
        keep: bool,
    },
    /// The breaker moved.
    Moved(Breaker),
}

/// What was counted since the machine was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Facts pushed, with every try.
    pub attempts: u64,
    /// Facts that the peer took.
    pub delivered: u64,
    /// Tries of facts that failed.
    pub failed: u64,
    /// Tries of facts that the peer refused one by one.
    pub refused: u64,
    /// Facts that expired before they were delivered.
    pub expired: u64,
    /// Facts overtaken by a later state before they were delivered.
    pub overtaken: u64,
    /// Refused facts that were given up, because too many are refused.
    pub given_up: u64,
}

/// Something that waits or is on its way.
#[derive(Debug)]
struct Item {
    row: Delivery,
    bytes: usize,
    withdrawal: bool,
    /// Answers that may have been about this fact alone.
    doubts: u32,
    /// Tries that were refused for this fact alone.
    refusals: u32,
    place: Place,
}

/// Where an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Ready,
    Flying,
    /// Until its own back-off is over.
    Apart(Moment),
    /// On its way, and to be let go of when it comes back without success.
    Overtaken,
}

/// The machine. See the module.
#[derive(Debug)]
pub struct Outbox {
    now: Moment,
    shape: Shape,
    pace: Pace,
    /// Most facts of a batch, since one was too long for the peer: grows again with every one that is taken.
    fitting: usize,
    /// By position, which is of one state of one fact.
    items: BTreeMap<u64, Item>,
    /// The position of the latest state of each fact that waits or flies.
    latest: BTreeMap<Arc<str>, u64>,
    /// What may be sent: doubtful ones behind the others, then by position.
    ready: BTreeSet<(u32, u64)>,
    apart: BTreeSet<(Moment, u64)>,
    flights: BTreeMap<u64, Vec<u64>>,
    batches: u64,
    counts: Counts,
    outputs: VecDeque<Output>,
}

impl Outbox {
    /// A machine that owes nothing. The seed decides the jitter.
    pub fn new(seed: u64, shape: Shape) -> Self {
        Outbox {
            now: Moment::EPOCH,
            shape,
            pace: Pace::new(seed),
            fitting: usize::MAX,
            items: BTreeMap::new(),
            latest: BTreeMap::new(),
            ready: BTreeSet::new(),
            apart: BTreeSet::new(),
            flights: BTreeMap::new(),
            batches: 0,
            counts: Counts::default(),
            outputs: VecDeque::new(),
        }
    }

    /// How many more facts are taken now. A fact beyond it is taken too: this is for who fetches them.
    pub fn room(&self) -> usize {
        OWED_MAX.saturating_sub(self.items.len() - self.apart.len())
    }

    /// How many facts wait or are on their way.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// When the oldest of these was recorded.
    pub fn oldest(&self) -> Option<Moment> {
        self.items.first_key_value().map(|(_, item)| item.row.recorded)
    }

    /// The breaker.
    pub fn breaker(&self) -> Breaker {
        self.pace.breaker()
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes what happened.
    pub fn handle(&mut self, now: Moment, input: Input) {
        if now < self.now {
            self.set_back(now);
        }
        self.now = now;
        match input {
            Input::Owe { row, bytes, withdrawal } => self.owe(row, bytes, withdrawal),
            Input::Gone { id } => self.gone(&id),
            Input::Answered { batch, outcomes } => self.answered(batch, outcomes),
            Input::Nudge => self.nudge(),
            Input::Shape(shape) => self.shape = shape,
            Input::Tick => {}
        }
    }

    /// What is to be done next; `None`: nothing until something happens or it is time to wake.
    pub fn poll(&mut self) -> Option<Output> {
        if self.outputs.is_empty() {
            self.send();
        }
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is to be handled.
    pub fn next_wake(&self) -> Option<Moment> {
        let ready = self.pace.wake().filter(|_| !self.ready.is_empty() && self.flights.is_empty());
        let apart = self.apart.first().map(|(due, _)| *due);
        [ready, apart].into_iter().flatten().min()
    }

    /// The clock was set back: nothing waits longer for it than its back-off can be.
    fn set_back(&mut self, now: Moment) {
        self.pace.set_back(now);
        let latest = now.after(APART_BACKOFF_MAX);
        while let Some((due, seq)) = self.apart.last().filter(|(due, _)| *due > latest).copied() {
            self.apart.remove(&(due, seq));
            self.apart.insert((latest, seq));
            if let Some(item) = self.items.get_mut(&seq) {
                item.place = Place::Apart(latest);
            }
        }
    }

    fn owe(&mut self, row: Delivery, bytes: usize, withdrawal: bool) {
        let seq = row.seq;
        if let Some(item) = self.items.get_mut(&seq) {
            // What seemed over while it was on its way, by a clock that was ahead, holds after all.
            if item.place == Place::Overtaken && self.latest.get(&row.id) == Some(&seq) {
                item.place = Place::Flying;
            }
            return;
        }
        match self.latest.get(&row.id).copied() {
            Some(later) if later > seq => return,
            Some(earlier) => self.overtake(earlier),
            None => {}
        }
        self.latest.insert(row.id.clone(), seq);
        self.outputs.push_back(Output::Record { row: row.clone(), keep: false });
        self.items.insert(seq, Item { row, bytes, withdrawal, doubts: 0, refusals: 0, place: Place::Ready });
        self.ready.insert((0, seq));
    }

    /// A later state is owed: the earlier one no longer, unless it is on its way.
    fn overtake(&mut self, seq: u64) {
        match self.items.get_mut(&seq) {
            Some(item) if matches!(item.place, Place::Flying | Place::Overtaken) => item.place = Place::Overtaken,
            Some(_) => {
                self.counts.overtaken += 1;
                self.drop_item(seq);
            }
            None => {}
        }
    }

    fn gone(&mut self, id: &str) {
        if let Some(seq) = self.latest.get(id).copied() {
            match self.items.get_mut(&seq) {
                Some(item) if item.place == Place::Flying => item.place = Place::Overtaken,
                Some(item) if item.place == Place::Overtaken => {}
                _ => self.expired(seq),
            }
        }
    }

    fn expired(&mut self, seq: u64) {
        if let Some(item) = self.drop_item(seq) {
            self.counts.expired += 1;
            let row = Delivery { status: Status::Expired, ..item.row };
            self.outputs.push_back(Output::Record { row, keep: true });
        }
    }

    fn nudge(&mut self) {
        if self.pace.forgive() {
            self.outputs.push_back(Output::Moved(self.pace.breaker()));
        }
        for (_, seq) in core::mem::take(&mut self.apart) {
            self.make_ready(seq);
        }
    }

    fn make_ready(&mut self, seq: u64) {
        if let Some(item) = self.items.get_mut(&seq) {
            item.place = Place::Ready;
            self.ready.insert((item.doubts, seq));
        }
    }

    fn drop_item(&mut self, seq: u64) -> Option<Item> {
        let item = self.items.remove(&seq)?;
        self.ready.remove(&(item.doubts, seq));
        if let Place::Apart(due) = item.place {
            self.apart.remove(&(due, seq));
        }
        if self.latest.get(&item.row.id) == Some(&seq) {
            self.latest.remove(&item.row.id);
        }
        Some(item)
    }

    /// Sends what may be sent.
    fn send(&mut self) {
        while let Some((_, seq)) = self.apart.first().filter(|(due, _)| *due <= self.now).copied() {
            self.apart.pop_first();
            self.make_ready(seq);
        }
        loop {
            if self.flights.len() >= self.pace.flights(self.shape.flights_max) || !self.pace.may_send(self.now) {
                return;
            }
            let seqs = self.next_batch();
            if seqs.is_empty() {
                return;
            }
            if self.pace.sent() {
                self.outputs.push_back(Output::Moved(self.pace.breaker()));
            }
            self.batches += 1;
            self.counts.attempts += seqs.len() as u64;
            self.flights.insert(self.batches, seqs.clone());
            self.outputs.push_back(Output::Push { batch: self.batches, seqs });
        }
    }

    /// Takes the next batch out of what is ready; what expired meanwhile goes.
    fn next_batch(&mut self) -> Vec<u64> {
        let facts_max = self.pace.facts(self.shape.facts_max.min(self.fitting));
        let (mut seqs, mut bytes) = (Vec::new(), 0);
        while let Some((doubts, seq)) = self.ready.first().copied().filter(|_| seqs.len() < facts_max) {
            let Some(item) = self.items.get_mut(&seq) else {
                self.ready.remove(&(doubts, seq));
                continue;
            };
            if !item.withdrawal && item.row.expires.is_some_and(|expires| expires < self.now) {
                self.expired(seq);
                continue;
            }
            if !seqs.is_empty() && bytes + item.bytes > self.shape.bytes_max {
                break;
            }
            bytes += item.bytes;
            item.place = Place::Flying;
            item.row.attempts += 1;
            item.row.last_attempt = Some(self.now);
            self.ready.remove(&(doubts, seq));
            seqs.push(seq);
        }
        seqs.sort_unstable();
        seqs
    }

    fn answered(&mut self, batch: u64, outcomes: Vec<(u64, Outcome)>) {
        let Some(seqs) = self.flights.remove(&batch) else { return };
        let lost = Outcome::Failed { text: String::from("no answer for this event") };
        let mut outcomes: BTreeMap<u64, Outcome> = outcomes.into_iter().collect();
        let ends: Vec<(u64, Outcome)> =
            seqs.into_iter().map(|seq| (seq, outcomes.remove(&seq).unwrap_or_else(|| lost.clone()))).collect();
        let too_long = |outcome: &Outcome| matches!(outcome, Outcome::Refused { status: 413, .. });
        let (taken, alone) = (ends.iter().any(|(_, outcome)| *outcome == Outcome::Delivered), ends.len() == 1);
        if !alone && ends.iter().all(|(_, outcome)| too_long(outcome)) {
            self.fitting = ends.len() / 2;
        } else if taken {
            self.fitting = self.fitting.max(ends.len()).saturating_mul(2);
        }
        // A single fact that is too long is refused for itself.
        let for_itself = |outcome: &Outcome| outcome.is_apart() || (alone && too_long(outcome));
        let answered = taken || ends.iter().any(|(_, outcome)| for_itself(outcome) || too_long(outcome));
        let failed = ends.iter().any(|(_, outcome)| *outcome != Outcome::Delivered && !for_itself(outcome));
        for (seq, outcome) in ends {
            // A refusal that is mostly about all is about this one where others were taken.
            let apart = for_itself(&outcome) || (taken && outcome.is_about_request());
            self.ended(seq, &outcome, apart, alone);
        }
        if self.pace.answered(self.now, batch, self.batches, answered, failed) {
            self.outputs.push_back(Output::Moved(self.pace.breaker()));
        }
    }

    /// One fact's push ended.
    fn ended(&mut self, seq: u64, outcome: &Outcome, apart: bool, alone: bool) {
        let Some(item) = self.items.get_mut(&seq) else { return };
        if *outcome == Outcome::Delivered {
            self.counts.delivered += 1;
            if let Some(item) = self.drop_item(seq) {
                let row =
                    Delivery { status: Status::Delivered, delivered: Some(self.now), last_error: None, ..item.row };
                self.outputs.push_back(Output::Record { row, keep: true });
            }
            return;
        }
        let keep = item.row.status != Status::Failed;
        item.row.status = Status::Failed;
        item.row.last_error = Some(error_text(outcome.text()));
        let row = item.row.clone();
        self.counts.failed += 1;
        if item.place == Place::Overtaken {
            // Without a later state in its place, it is what holds no longer.
            if self.latest.get(&row.id) == Some(&seq) {
                return self.expired(seq);
            }
            self.counts.overtaken += 1;
            self.drop_item(seq);
            return;
        }
        if apart {
            self.counts.refused += 1;
            item.refusals += 1;
            let due = self.now.after(backoff(self.pace.chance(), item.refusals, APART_BACKOFF_MAX));
            item.place = Place::Apart(due);
            self.apart.insert((due, seq));
            self.outputs.push_back(Output::Record { row, keep });
            if self.apart.len() > APART_MAX {
                self.counts.given_up += 1;
                self.drop_item(seq);
            }
            return;
        }
        item.doubts += u32::from(alone && outcome.is_about_request());
        self.make_ready(seq);
        self.outputs.push_back(Output::Record { row, keep });
    }
}
