//! The bytes that are saved of consumers: `docs/format/consumer.md` says the same for people.
//!
//! ```text
//! change  := version:u8=2 entry*
//! entry   := kind:u8 length:n body            kind 1 whole, 2 change, 3 gone
//!   whole := stream:s tag:n created:n config position origin:n firsts:seqs flights spent:seqs
//!   change:= stream:s name:s tag:n position flights landed:seqs spent:seqs
//!   gone  := stream:s name:s tag:n
//! position:= cursor:n until:n delivered:n order:n dead:n floor:n acked:n acked_order:n
//! flights := count:n (seq-step:n attempt:n order:n order_last-order:n first:n last-first:z place)*
//!   place := 0:u8 due-last:z | 1:u8 reason:s
//! seqs    := count:n seq-step:n*              step: difference to the one before, the first to 0
//! config  := name:s description:s durable:u8 filters start ack:u8 ack_wait:n backoff
//!            deliver_max:o dead_letter:u8 ack_pending_max:o pause_until:o inactive:o metadata
//!            waiting_max:n batch_max:o bytes_max:o expires_max:o flags:u8 rate_limit_bps:o sample:s priority
//!   flags := 1 headers only | 2 replay at the original pace | 4 sample is given
//!   priority := 0:u8 | (1 overflow | 2 pinned | 3 prioritized) groups pinned_ttl:n
//!   filters, backoff, metadata := count:n item*        item: s | n | s s
//!   start := 0 all | 1 last | 2 new | 3 seq:n | 4 time:n | 5 last per subject
//! n  unsigned LEB128, at most 10 bytes      z  the same, of a zigzagged difference
//! s  length:n and UTF-8                     o  0:u8 | 1:u8 n
//! ```
//!
//! Version 1 has no `spent`, `acked`, `acked_order`, `order`, nothing behind `metadata`, and
//! `ack_pending_max:n`. Moments and spans are nanoseconds. A reader refuses a version that it does not know, and a
//! length beyond the bytes that there are. The engine's record around it has the checksum.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use event::{Moment, Pattern};
use thiserror::Error;

use crate::consumer::{AckPolicy, ConsumerConfig, ConsumerStart, PriorityConfig, PriorityPolicy};

/// The version that is written.
pub const VERSION: u8 = 2;

/// The oldest version that is read.
const VERSION_MIN: u8 = 1;

const WHOLE: u8 = 1;
const CHANGE: u8 = 2;
const GONE: u8 = 3;

const HEADERS_ONLY: u8 = 1;
const REPLAY: u8 = 2;
const SAMPLE: u8 = 4;

/// Bytes that are no saved change. Not worth trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the saved state of consumers is malformed at {0}")]
pub struct Corrupt(pub &'static str);

/// Where a consumer stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// The next position to be read.
    pub cursor: u64,
    /// Of the positions up to and with this one, it takes only its firsts.
    pub until: u64,
    /// Last position delivered for the first time.
    pub delivered: u64,
    /// Deliveries made.
    pub order: u64,
    /// Messages given up.
    pub dead: u64,
    /// No flight is at or before this position.
    pub floor: u64,
    /// See [`ConsumerInfo::ack_floor`](crate::ConsumerInfo::ack_floor).
    pub acked: u64,
    /// See [`ConsumerInfo::ack_floor_order`](crate::ConsumerInfo::ack_floor_order).
    pub acked_order: u64,
}

/// Where a flight is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SavedPlace {
    /// Due at this moment.
    Out(Moment),
    /// Given up, for this reason; its dead letter is not known to be recorded.
    Dying(String),
}

/// A delivery that is outstanding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedFlight {
    /// The message's position.
    pub seq: u64,
    /// Deliveries so far.
    pub attempt: u64,
    /// The order of the first.
    pub order: u64,
    /// The order of the last.
    pub order_last: u64,
    /// When the first was.
    pub first: Moment,
    /// When the last was.
    pub last: Moment,
    /// Where it is.
    pub place: SavedPlace,
}

/// What is saved of one consumer.
#[expect(clippy::large_enum_variant, reason = "entries are few and short-lived")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// All of it, in place of whatever was known under its name.
    Whole {
        /// The stream.
        stream: String,
        /// See [`AckToken::tag`](crate::AckToken::tag).
        tag: u64,
        /// When it was created.
        created: Moment,
        /// The declaration.
        config: ConsumerConfig,
        /// Where it stands.
        position: Position,
        /// Where it started.
        origin: u64,
        /// Positions still to be read before any other, in order.
        firsts: Vec<u64>,
        /// All flights, in order of position.
        flights: Vec<SavedFlight>,
        /// Positions that were delivered as often as may be and must stay in the stream, in order.
        spent: Vec<u64>,
    },
    /// What changed since the last.
    Change {
        /// The stream.
        stream: String,
        /// The consumer.
        name: String,
        /// Its tag.
        tag: u64,
        /// Where it stands.
        position: Position,
        /// Flights that began or changed, in order of position.
        flights: Vec<SavedFlight>,
        /// Flights behind the floor that are done, in order of position.
        landed: Vec<u64>,
        /// Of the landed and those before the floor, the ones that are spent, in order.
        spent: Vec<u64>,
    },
    /// It is gone.
    Gone {
        /// The stream.
        stream: String,
        /// The consumer.
        name: String,
        /// Its tag.
        tag: u64,
    },
}

/// The bytes of a change.
pub fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Writer(Vec::from([VERSION]));
    for entry in entries {
        let mut body = Writer(Vec::new());
        let kind = body.entry(entry);
        bytes.byte(kind);
        bytes.number(body.0.len() as u64);
        bytes.0.extend(body.0);
    }
    bytes.0
}

/// The change in these bytes.
///
/// # Errors
/// [`Corrupt`] naming the part.
pub fn decode(bytes: &[u8]) -> Result<Vec<Entry>, Corrupt> {
    let mut reader = Reader { rest: bytes, version: VERSION };
    reader.version = reader.byte("version")?;
    if !(VERSION_MIN..=VERSION).contains(&reader.version) {
        return Err(Corrupt("version"));
    }
    let mut entries = Vec::new();
    while !reader.rest.is_empty() {
        let kind = reader.byte("kind")?;
        let length = reader.length("length")?;
        let mut body = Reader { rest: reader.take(length, "length")?, version: reader.version };
        entries.push(body.entry(kind)?);
        if !body.rest.is_empty() {
            return Err(Corrupt("the end of an entry"));
        }
    }
    Ok(entries)
}

struct Writer(Vec<u8>);

impl Writer {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push((number & 0x7f) as u8);
    }

    /// The way from `from` to `to`, in either direction, wrapping.
    fn way(&mut self, from: Moment, to: Moment) {
        let way = to.nanos().wrapping_sub(from.nanos()).cast_signed();
        self.number(((way << 1) ^ (way >> 63)).cast_unsigned());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    fn option(&mut self, number: Option<u64>) {
        self.byte(u8::from(number.is_some()));
        number.into_iter().for_each(|number| self.number(number));
    }

    fn span(&mut self, span: Duration) {
        self.number(nanos(span));
    }

    fn entry(&mut self, entry: &Entry) -> u8 {
        match entry {
            Entry::Whole { stream, tag, created, config, position, origin, firsts, flights, spent } => {
                self.text(stream);
                self.number(*tag);
                self.number(created.nanos());
                self.config(config);
                self.position(position);
                self.number(*origin);
                self.seqs(firsts);
                self.flights(flights);
                self.seqs(spent);
                WHOLE
            }
            Entry::Change { stream, name, tag, position, flights, landed, spent } => {
                self.text(stream);
                self.text(name);
                self.number(*tag);
                self.position(position);
                self.flights(flights);
                self.seqs(landed);
                self.seqs(spent);
                CHANGE
            }
            Entry::Gone { stream, name, tag } => {
                self.text(stream);
                self.text(name);
                self.number(*tag);
                GONE
            }
        }
    }

    fn position(&mut self, position: &Position) {
        let Position { cursor, until, delivered, order, dead, floor, acked, acked_order } = position;
        [cursor, until, delivered, order, dead, floor, acked, acked_order]
            .into_iter()
            .for_each(|number| self.number(*number));
    }

    fn seqs(&mut self, seqs: &[u64]) {
        self.number(seqs.len() as u64);
        let mut before = 0;
        for seq in seqs {
            self.number(seq.wrapping_sub(before));
            before = *seq;
        }
    }

    fn flights(&mut self, flights: &[SavedFlight]) {
        self.number(flights.len() as u64);
        let mut before = 0;
        for flight in flights {
            self.number(flight.seq.wrapping_sub(before));
            before = flight.seq;
            self.number(flight.attempt);
            self.number(flight.order);
            self.number(flight.order_last.wrapping_sub(flight.order));
            self.number(flight.first.nanos());
            self.way(flight.first, flight.last);
            match &flight.place {
                SavedPlace::Out(due) => {
                    self.byte(0);
                    self.way(flight.last, *due);
                }
                SavedPlace::Dying(reason) => {
                    self.byte(1);
                    self.text(reason);
                }
            }
        }
    }

    fn config(&mut self, config: &ConsumerConfig) {
        self.text(&config.name);
        self.text(&config.description);
        self.byte(u8::from(config.durable));
        self.number(config.filters.len() as u64);
        config.filters.iter().for_each(|filter| self.text(filter.as_str()));
        match config.start {
            ConsumerStart::All => self.byte(0),
            ConsumerStart::Last => self.byte(1),
            ConsumerStart::New => self.byte(2),
            ConsumerStart::Seq(seq) => {
                self.byte(3);
                self.number(seq);
            }
            ConsumerStart::Time(time) => {
                self.byte(4);
                self.number(time.nanos());
            }
            ConsumerStart::LastPerSubject => self.byte(5),
        }
        self.byte(match config.ack {
            AckPolicy::Explicit => 0,
            AckPolicy::All => 1,
            AckPolicy::None => 2,
        });
        self.span(config.ack_wait);
        self.number(config.backoff.len() as u64);
        config.backoff.iter().for_each(|span| self.span(*span));
        self.option(config.deliver_max);
        self.byte(u8::from(config.dead_letter));
        self.option(config.ack_pending_max);
        self.option(config.pause_until.map(Moment::nanos));
        self.option(config.inactive.map(nanos));
        self.number(config.metadata.len() as u64);
        for (key, value) in &config.metadata {
            self.text(key);
            self.text(value);
        }
        self.limits(config);
    }

    fn limits(&mut self, config: &ConsumerConfig) {
        self.number(config.waiting_max);
        self.option(config.batch_max);
        self.option(config.bytes_max);
        self.option(config.expires_max.map(nanos));
        let flags = [config.headers_only, config.replay_original, config.sample.is_some()];
        self.byte(flags.into_iter().zip([HEADERS_ONLY, REPLAY, SAMPLE]).map(|(on, bit)| u8::from(on) * bit).sum());
        self.option(config.rate_limit_bps);
        self.text(config.sample.as_deref().unwrap_or_default());
        let Some(priority) = &config.priority else { return self.byte(0) };
        self.byte(match priority.policy {
            PriorityPolicy::Overflow => 1,
            PriorityPolicy::Pinned => 2,
            PriorityPolicy::Prioritized => 3,
        });
        self.number(priority.groups.len() as u64);
        priority.groups.iter().for_each(|group| self.text(group));
        self.span(priority.pinned_ttl);
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

struct Reader<'a> {
    rest: &'a [u8],
    version: u8,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize, part: &'static str) -> Result<&'a [u8], Corrupt> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Corrupt(part))?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self, part: &'static str) -> Result<u8, Corrupt> {
        self.take(1, part)?.first().copied().ok_or(Corrupt(part))
    }

    fn flag(&mut self, part: &'static str) -> Result<bool, Corrupt> {
        match self.byte(part)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Corrupt(part)),
        }
    }

    fn number(&mut self, part: &'static str) -> Result<u64, Corrupt> {
        let mut number = 0u64;
        for place in 0..10 {
            let byte = self.byte(part)?;
            let bits = u64::from(byte & 0x7f);
            if place == 9 && bits > 1 {
                return Err(Corrupt(part));
            }
            number |= bits << (7 * place);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Corrupt(part))
    }

    fn way(&mut self, from: Moment, part: &'static str) -> Result<Moment, Corrupt> {
        let folded = self.number(part)?;
        let way = (folded >> 1).cast_signed() ^ -(folded & 1).cast_signed();
        Ok(Moment::from_nanos(from.nanos().wrapping_add(way.cast_unsigned())))
    }

    fn length(&mut self, part: &'static str) -> Result<usize, Corrupt> {
        usize::try_from(self.number(part)?).map_err(|_| Corrupt(part))
    }

    /// A count of items of one byte at least, so that a made-up one costs nothing.
    fn count(&mut self, part: &'static str) -> Result<usize, Corrupt> {
        self.length(part).and_then(|count| if count <= self.rest.len() { Ok(count) } else { Err(Corrupt(part)) })
    }

    fn text(&mut self, part: &'static str) -> Result<String, Corrupt> {
        let length = self.length(part)?;
        let bytes = self.take(length, part)?;
        core::str::from_utf8(bytes).map(String::from).map_err(|_| Corrupt(part))
    }

    fn option(&mut self, part: &'static str) -> Result<Option<u64>, Corrupt> {
        if self.flag(part)? { self.number(part).map(Some) } else { Ok(None) }
    }

    fn span(&mut self, part: &'static str) -> Result<Duration, Corrupt> {
        self.number(part).map(Duration::from_nanos)
    }

    fn moment(&mut self, part: &'static str) -> Result<Moment, Corrupt> {
        self.number(part).map(Moment::from_nanos)
    }

    fn entry(&mut self, kind: u8) -> Result<Entry, Corrupt> {
        let stream = self.text("stream")?;
        match kind {
            WHOLE => Ok(Entry::Whole {
                stream,
                tag: self.number("tag")?,
                created: self.moment("created")?,
                config: self.config()?,
                position: self.position()?,
                origin: self.number("origin")?,
                firsts: self.seqs()?,
                flights: self.flights()?,
                spent: if self.version > 1 { self.seqs()? } else { Vec::new() },
            }),
            CHANGE => Ok(Entry::Change {
                stream,
                name: self.text("name")?,
                tag: self.number("tag")?,
                position: self.position()?,
                flights: self.flights()?,
                landed: self.seqs()?,
                spent: if self.version > 1 { self.seqs()? } else { Vec::new() },
            }),
            GONE => Ok(Entry::Gone { stream, name: self.text("name")?, tag: self.number("tag")? }),
            _ => Err(Corrupt("kind")),
        }
    }

    fn position(&mut self) -> Result<Position, Corrupt> {
        let mut position = Position {
            cursor: self.number("cursor")?,
            until: self.number("until")?,
            delivered: self.number("delivered")?,
            order: self.number("order")?,
            dead: self.number("dead")?,
            floor: self.number("floor")?,
            acked: 0,
            acked_order: 0,
        };
        position.acked = position.floor;
        if self.version > 1 {
            (position.acked, position.acked_order) = (self.number("acked")?, self.number("acked")?);
        }
        Ok(position)
    }

    fn flights(&mut self) -> Result<Vec<SavedFlight>, Corrupt> {
        let mut flights = Vec::new();
        let mut seq = 0u64;
        for _ in 0..self.count("flights")? {
            seq = seq.wrapping_add(self.number("flight")?);
            let attempt = self.number("flight")?;
            let (order, more) =
                if self.version > 1 { (self.number("flight")?, self.number("flight")?) } else { (0, 0) };
            let order_last = order.wrapping_add(more);
            let first = self.moment("flight")?;
            let last = self.way(first, "flight")?;
            let place = match self.byte("place")? {
                0 => SavedPlace::Out(self.way(last, "place")?),
                1 => SavedPlace::Dying(self.text("place")?),
                _ => return Err(Corrupt("place")),
            };
            flights.push(SavedFlight { seq, attempt, order, order_last, first, last, place });
        }
        Ok(flights)
    }

    fn seqs(&mut self) -> Result<Vec<u64>, Corrupt> {
        let mut seqs = Vec::new();
        let mut seq = 0u64;
        for _ in 0..self.count("positions")? {
            seq = seq.wrapping_add(self.number("positions")?);
            seqs.push(seq);
        }
        Ok(seqs)
    }

    fn config(&mut self) -> Result<ConsumerConfig, Corrupt> {
        let mut config = ConsumerConfig::new(self.text("name")?);
        config.description = self.text("description")?;
        config.durable = self.flag("durable")?;
        for _ in 0..self.count("filters")? {
            config.filters.push(Pattern::parse(&self.text("filter")?).map_err(|_| Corrupt("filter"))?);
        }
        config.start = match self.byte("start")? {
            0 => ConsumerStart::All,
            1 => ConsumerStart::Last,
            2 => ConsumerStart::New,
            3 => ConsumerStart::Seq(self.number("start")?),
            4 => ConsumerStart::Time(self.moment("start")?),
            5 => ConsumerStart::LastPerSubject,
            _ => return Err(Corrupt("start")),
        };
        config.ack = match self.byte("ack")? {
            0 => AckPolicy::Explicit,
            1 => AckPolicy::All,
            2 => AckPolicy::None,
            _ => return Err(Corrupt("ack")),
        };
        config.ack_wait = self.span("ack_wait")?;
        for _ in 0..self.count("backoff")? {
            config.backoff.push(self.span("backoff")?);
        }
        config.deliver_max = self.option("deliver_max")?;
        config.dead_letter = self.flag("dead_letter")?;
        let bounded = self.version == 1 || self.flag("ack_pending_max")?;
        config.ack_pending_max = if bounded { Some(self.number("ack_pending_max")?) } else { None };
        config.pause_until = self.option("pause_until")?.map(Moment::from_nanos);
        config.inactive = self.option("inactive")?.map(Duration::from_nanos);
        let mut metadata = BTreeMap::new();
        for _ in 0..self.count("metadata")? {
            let key = self.text("metadata")?;
            metadata.insert(key, self.text("metadata")?);
        }
        config.metadata = metadata;
        if self.version > 1 {
            self.limits(&mut config)?;
        }
        Ok(config)
    }

    fn limits(&mut self, config: &mut ConsumerConfig) -> Result<(), Corrupt> {
        config.waiting_max = self.number("waiting_max")?;
        config.batch_max = self.option("batch_max")?;
        config.bytes_max = self.option("bytes_max")?;
        config.expires_max = self.option("expires_max")?.map(Duration::from_nanos);
        let flags = self.byte("flags")?;
        if flags & !(HEADERS_ONLY | REPLAY | SAMPLE) != 0 {
            return Err(Corrupt("flags"));
        }
        (config.headers_only, config.replay_original) = (flags & HEADERS_ONLY != 0, flags & REPLAY != 0);
        config.rate_limit_bps = self.option("rate_limit_bps")?;
        let sample = self.text("sample")?;
        config.sample = (flags & SAMPLE != 0).then_some(sample);
        let policy = match self.byte("priority")? {
            0 => return Ok(()),
            1 => PriorityPolicy::Overflow,
            2 => PriorityPolicy::Pinned,
            3 => PriorityPolicy::Prioritized,
            _ => return Err(Corrupt("priority")),
        };
        let mut groups = Vec::new();
        for _ in 0..self.count("groups")? {
            groups.push(self.text("group")?);
        }
        config.priority = Some(PriorityConfig { policy, groups, pinned_ttl: self.span("pinned_ttl")? });
        Ok(())
    }
}

#[cfg(test)]
mod tests;
