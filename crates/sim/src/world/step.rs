//! One step of a run, and how a seed gives its steps.
//!
//! A step holds all that decides it, and refers to what stands in the journal only by shares ("the
//! position at three quarters of the stream"), so that a run stays meaningful when steps are taken
//! out of it.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use event::{Headers, Message, Pattern, Subject};
use journal::{AckPolicy, ConsumerConfig, ConsumerStart, Discard, Retention, Storage, StreamConfig};

use crate::chance::Chance;
use crate::disk::Countdown;

/// Streams that a run may have.
pub const STREAMS: u64 = 3;
/// Consumers that a stream may have.
pub const CONSUMERS: u64 = 2;
/// What shares are counted in.
pub const SHARES: u64 = 1000;

/// Which faults a run meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Menu {
    /// None: both engines must agree on everything.
    None,
    /// Power failures and killed processes.
    Crash,
    /// These, and a full disk, failing writes and syncs, and a read-only disk.
    All,
    /// Flipped bits, without any other fault.
    Flip,
}

impl Menu {
    /// The one that a seed runs with where none is asked for.
    pub fn of(seed: u64) -> Menu {
        match seed % 10 {
            0 | 1 => Menu::None,
            2..6 => Menu::Crash,
            6..9 => Menu::All,
            _ => Menu::Flip,
        }
    }

    /// The one of a name.
    ///
    /// # Errors
    /// The names that there are.
    pub fn parse(text: &str) -> Result<Menu, String> {
        let all = [Menu::None, Menu::Crash, Menu::All, Menu::Flip];
        let found = all.into_iter().find(|menu| menu.to_string() == text);
        found.ok_or_else(|| format!("'{text}' is not one of all, crash, flip, none"))
    }
}

impl fmt::Display for Menu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Menu::None => "none",
            Menu::Crash => "crash",
            Menu::All => "all",
            Menu::Flip => "flip",
        })
    }
}

/// Which preconditions an append has; positions are those of the oracle, and `off` is added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wish {
    /// Expects the stream's last position.
    pub last: Option<u64>,
    /// Expects the subject's last position.
    pub subject: Option<u64>,
    /// Speaks of this pattern in place of the message's subject.
    pub pattern: bool,
    /// Expects this message id to be the last.
    pub id: Option<u64>,
    /// Names the stream, or a wrong one.
    pub stream: Option<bool>,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Creates a stream; the seed shapes its declaration.
    Create { stream: u64, shape: u64 },
    /// Updates a stream to another shape.
    Update { stream: u64, shape: u64 },
    /// Deletes a stream.
    Drop { stream: u64 },
    /// Appends a message.
    Append { stream: u64, subject: u64, size: u64, id: Option<u64>, ttl: Option<Duration>, wish: Wish },
    /// Purges.
    Purge { stream: u64, filter: Option<u64>, before: Option<u64>, keep: Option<u64> },
    /// Deletes the message at a share of the stream.
    Delete { stream: u64, share: u64 },
    /// Reads a page.
    Read { stream: u64, share: u64, by_time: bool, filters: Vec<u64>, last: bool, limit: u64, bytes: u64 },
    /// Reads one message.
    Get { stream: u64, share: u64 },
    /// Reads the last message that a pattern matches.
    Last { stream: u64, filter: u64 },
    /// Lists subjects.
    Subjects { stream: u64, filter: u64, after: Option<u64>, limit: u64 },
    /// Asks after one stream, or all.
    Info { stream: u64 },
    /// Creates a consumer.
    Hire { stream: u64, consumer: u64, shape: u64 },
    /// Updates a consumer.
    Retrain { stream: u64, consumer: u64, shape: u64 },
    /// Deletes a consumer.
    Dismiss { stream: u64, consumer: u64 },
    /// Pauses a consumer, or resumes it.
    Pause { stream: u64, consumer: u64, span: Option<Duration> },
    /// Fetches.
    Fetch { stream: u64, consumer: u64, batch: u64, bytes: Option<u64> },
    /// Says something of one of the deliveries that were made.
    Say { which: u64, word: u64, synced: bool },
    /// The engine writes, syncs and answers.
    Commit,
    /// The engine does what time asks for.
    Tick,
    /// The engine moves what is in its log to segments.
    Flush,
    /// The engine makes a checkpoint.
    Checkpoint,
    /// Time goes on.
    Later(Duration),
    /// The clock is set back.
    Earlier(Duration),
    /// The engine is closed and opened again.
    Restart,
    /// The process is killed, perhaps in the middle of the next work.
    Kill { within: Option<u64> },
    /// The power fails, perhaps in the middle of the next work.
    Crash { within: Option<u64>, seed: u64 },
    /// The disk has so many bytes more than are used; `None`: no limit.
    Room(Option<u64>),
    /// Writes will fail.
    Writes(Countdown),
    /// Syncs will fail.
    Syncs(Countdown),
    /// Reads will fail.
    Reads(Countdown),
    /// The disk becomes read-only, or no longer is.
    ReadOnly(bool),
    /// All faults are over.
    Heal,
    /// A bit flips in a segment; the engine is opened anew.
    Flip { seed: u64 },
}

impl Step {
    /// Whether it is asked of the consumers.
    pub fn is_of_consumers(&self) -> bool {
        matches!(
            self,
            Step::Hire { .. }
                | Step::Retrain { .. }
                | Step::Dismiss { .. }
                | Step::Pause { .. }
                | Step::Fetch { .. }
                | Step::Say { .. }
        )
    }
}

/// The steps of a seed.
pub fn steps(seed: u64, count: usize, menu: Menu) -> Vec<Step> {
    let mut chance = Chance::new(seed).branch(2);
    let mut steps: Vec<Step> =
        (0..chance.between(1, STREAMS)).map(|stream| Step::Create { stream, shape: chance.number() }).collect();
    steps.push(Step::Commit);
    let writer = chance.between(5, 60);
    while steps.len() < count {
        let step = match chance.below(100) {
            at if at < writer => append(&mut chance),
            at if at < writer + 12 => Step::Commit,
            _ => other(&mut chance, menu),
        };
        steps.push(step);
    }
    steps
}

fn stream(chance: &mut Chance) -> u64 {
    chance.below(if chance.clone().happens(1, 20) { STREAMS + 1 } else { STREAMS })
}

fn some<T>(chance: &mut Chance, times: u64, of: u64, make: impl FnOnce(&mut Chance) -> T) -> Option<T> {
    if chance.happens(times, of) { Some(make(chance)) } else { None }
}

fn append(chance: &mut Chance) -> Step {
    let size = match chance.below(40) {
        0 => chance.between(2_000, 30_000),
        1..8 => chance.between(300, 2_000),
        _ => chance.below(120),
    };
    let wish = if chance.happens(1, 5) {
        Wish {
            last: some(chance, 1, 3, |chance| u64::from(chance.happens(1, 4))),
            subject: some(chance, 1, 3, |chance| u64::from(chance.happens(1, 4))),
            pattern: chance.happens(1, 3),
            id: some(chance, 1, 8, |chance| chance.below(12)),
            stream: some(chance, 1, 4, |chance| chance.happens(3, 4)),
        }
    } else {
        Wish::default()
    };
    Step::Append {
        stream: stream(chance),
        subject: chance.below(8),
        size,
        id: some(chance, 1, 3, |chance| chance.below(12)),
        ttl: some(chance, 1, 8, |chance| Duration::from_millis(chance.between(1, 200_000))),
        wish,
    }
}

fn other(chance: &mut Chance, menu: Menu) -> Step {
    match chance.below(100) {
        0..24 => reading(chance),
        24..32 => Step::Tick,
        32..40 => later(chance),
        40..43 if menu == Menu::None || chance.happens(1, 3) => {
            Step::Earlier(Duration::from_millis(chance.between(1, 100_000)))
        }
        43..49 => Step::Flush,
        49..53 => Step::Checkpoint,
        53..60 => removal(chance),
        60..63 => declaration(chance),
        63..83 => consuming(chance),
        83..86 => Step::Restart,
        86..100 => fault(chance, menu),
        _ => Step::Commit,
    }
}

fn later(chance: &mut Chance) -> Step {
    Step::Later(match chance.below(4) {
        0 => Duration::from_nanos(chance.below(1000)),
        1 => Duration::from_millis(chance.below(2_000)),
        2 => Duration::from_secs(chance.below(60)),
        _ => Duration::from_secs(chance.below(400)),
    })
}

fn reading(chance: &mut Chance) -> Step {
    let stream = stream(chance);
    let share = chance.below(SHARES + 50);
    match chance.below(12) {
        0..6 => Step::Read {
            stream,
            share,
            by_time: chance.happens(1, 4),
            filters: (0..chance.below(3)).map(|_| chance.below(6)).collect(),
            last: chance.happens(1, 4),
            limit: chance.between(1, 40),
            bytes: chance.between(1, 20_000),
        },
        6 | 7 => Step::Get { stream, share },
        8 => Step::Last { stream, filter: chance.below(6) },
        9 => Step::Subjects {
            stream,
            filter: chance.below(6),
            after: some(chance, 1, 3, |chance| chance.below(8)),
            limit: chance.between(1, 10),
        },
        _ => Step::Info { stream },
    }
}

fn removal(chance: &mut Chance) -> Step {
    let stream = stream(chance);
    if chance.happens(2, 3) {
        return Step::Delete { stream, share: chance.below(SHARES + 20) };
    }
    let before = some(chance, 1, 2, |chance| chance.below(SHARES + 20));
    let keep = if before.is_some() && chance.happens(9, 10) { None } else { some(chance, 1, 2, |c| c.below(6)) };
    Step::Purge { stream, filter: some(chance, 1, 2, |chance| chance.below(6)), before, keep }
}

fn declaration(chance: &mut Chance) -> Step {
    let (stream, shape) = (stream(chance), chance.number());
    match chance.below(8) {
        0 => Step::Drop { stream },
        1..4 => Step::Create { stream, shape },
        _ => Step::Update { stream, shape },
    }
}

fn consuming(chance: &mut Chance) -> Step {
    let (stream, consumer, shape) = (chance.below(STREAMS), chance.below(CONSUMERS), chance.number());
    match chance.below(24) {
        0..3 => Step::Hire { stream, consumer, shape },
        3 => Step::Retrain { stream, consumer, shape },
        4 if chance.happens(1, 3) => Step::Dismiss { stream, consumer },
        5 => Step::Pause { stream, consumer, span: some(chance, 1, 2, |c| Duration::from_millis(c.below(90_000))) },
        4 | 6..14 => Step::Fetch {
            stream,
            consumer,
            batch: chance.between(1, 12),
            bytes: some(chance, 1, 4, |chance| chance.between(1, 3_000)),
        },
        _ => Step::Say { which: chance.number(), word: chance.below(12), synced: chance.happens(1, 2) },
    }
}

fn fault(chance: &mut Chance, menu: Menu) -> Step {
    let within = |chance: &mut Chance| some(chance, 2, 3, |chance| chance.below(40));
    let countdown = |chance: &mut Chance| Countdown { after: chance.below(12), times: chance.between(1, 2) };
    match (menu, chance.below(16)) {
        (Menu::None, _) => Step::Commit,
        (Menu::Flip, 0..6) => Step::Flip { seed: chance.number() },
        (Menu::Flip, _) => Step::Tick,
        (Menu::Crash | Menu::All, 0..3) => Step::Kill { within: within(chance) },
        (Menu::Crash, _) | (Menu::All, 3..8) => Step::Crash { within: within(chance), seed: chance.number() },
        (Menu::All, 8 | 9) => Step::Room(some(chance, 2, 3, |chance| chance.below(300_000))),
        (Menu::All, 10) => Step::Writes(countdown(chance)),
        (Menu::All, 11) => Step::Syncs(countdown(chance)),
        (Menu::All, 12) => Step::Reads(countdown(chance)),
        (Menu::All, 13) => Step::ReadOnly(chance.happens(1, 2)),
        (Menu::All, _) => Step::Heal,
    }
}

/// A stream's name.
pub fn stream_name(stream: u64) -> String {
    format!("S{stream}")
}

/// A consumer's name.
pub fn consumer_name(consumer: u64) -> String {
    format!("c{consumer}")
}

fn text(subject: &str) -> Subject {
    Subject::new(Bytes::copy_from_slice(subject.as_bytes())).unwrap_or_else(|error| panic!("{subject}: {error}"))
}

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// One of a stream's subjects.
pub fn subject(stream: u64, number: u64) -> Subject {
    match number {
        0..5 => text(&format!("s{stream}.k{number}")),
        _ => text(&format!("s{stream}.k{}.x", number - 5)),
    }
}

/// One of the patterns that reads and consumers ask for.
pub fn filter(stream: u64, number: u64) -> Pattern {
    match number {
        0 => pattern(&format!("s{stream}.k0")),
        1 => pattern(&format!("s{stream}.*")),
        2 => pattern(&format!("s{stream}.*.x")),
        3 => pattern("*.k1.>"),
        4 => pattern(&format!("s{stream}.k2")),
        _ => pattern(">"),
    }
}

/// The message of an append: its bytes are decided by the step's place, so that no two are alike.
pub fn message(stream: u64, number: u64, size: u64, place: usize) -> Message {
    let mut payload = format!("{place}:").into_bytes();
    let mut chance = Chance::new(place as u64);
    while (payload.len() as u64) < size {
        payload.push(u8::try_from(chance.below(256)).unwrap_or(0));
    }
    let mut message = Message::new(subject(stream, number), payload);
    if place.is_multiple_of(3) {
        message.headers = Headers::from_pairs([("place", place.to_string().as_str())]).unwrap_or_default();
    }
    message
}

/// The declaration that a seed shapes.
pub fn stream_config(stream: u64, shape: u64) -> StreamConfig {
    let mut chance = Chance::new(shape);
    let chance = &mut chance;
    let subjects = match chance.below(20) {
        0 => vec![pattern(">")],
        1 => vec![pattern("*.k1"), pattern(&format!("s{stream}.k1.x"))],
        2..6 => vec![pattern(&format!("s{stream}.*")), pattern(&format!("s{stream}.*.x"))],
        _ => vec![pattern(&format!("s{stream}.>"))],
    };
    let mut config = StreamConfig::new(stream_name(stream), subjects);
    config.description = format!("shape {shape}");
    if chance.happens(1, 10) {
        config.storage = Storage::Memory;
    }
    config.retention = match chance.below(12) {
        0 => Retention::Interest,
        1 => Retention::WorkQueue,
        _ => Retention::Limits,
    };
    config.messages_max = some(chance, 1, 4, |chance| chance.below(30));
    config.bytes_max = some(chance, 1, 4, |chance| chance.between(20, 20_000));
    config.messages_per_subject_max = some(chance, 1, 4, |chance| chance.between(1, 4));
    config.age_max = some(chance, 1, 4, |chance| Duration::from_millis(chance.between(1_000, 300_000)));
    config.message_bytes_max = some(chance, 1, 10, |chance| u32::try_from(chance.between(10, 3_000)).unwrap_or(0));
    if chance.happens(1, 4) {
        config.discard = Discard::New;
        config.discard_new_per_subject = config.messages_per_subject_max.is_some() && chance.happens(1, 2);
    }
    let window = Duration::from_millis(chance.below(200_000));
    config.duplicate_window = config.age_max.map_or(window, |age| window.min(age));
    config.allow_ttl = chance.happens(3, 4);
    config.deny_delete = chance.happens(1, 20);
    config.deny_purge = chance.happens(1, 20);
    config
}

/// The declaration of a consumer that a seed shapes.
pub fn consumer_config(stream: u64, consumer: u64, shape: u64) -> ConsumerConfig {
    let mut chance = Chance::new(shape);
    let chance = &mut chance;
    let mut config = ConsumerConfig::new(consumer_name(consumer));
    config.durable = chance.happens(4, 5);
    config.filters = match chance.below(4) {
        0 => vec![filter(stream, 1)],
        1 => vec![filter(stream, 0), filter(stream, 2)],
        _ => Vec::new(),
    };
    config.start = match chance.below(8) {
        0 => ConsumerStart::Last,
        1 => ConsumerStart::New,
        2 => ConsumerStart::Seq(chance.below(20)),
        3 => ConsumerStart::LastPerSubject,
        _ => ConsumerStart::All,
    };
    config.ack = match chance.below(6) {
        0 => AckPolicy::All,
        1 => AckPolicy::None,
        _ => AckPolicy::Explicit,
    };
    config.ack_wait = Duration::from_millis(chance.between(1, 60_000));
    config.deliver_max = some(chance, 1, 3, |chance| chance.between(1, 4));
    let waits = chance.below(config.deliver_max.unwrap_or(3).min(3) + 1);
    config.backoff = (0..waits).map(|_| Duration::from_millis(chance.between(1, 30_000))).collect();
    config.ack_pending_max = Some(chance.between(1, 20));
    config.dead_letter = chance.happens(2, 3);
    config
}
