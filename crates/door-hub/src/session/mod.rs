//! One connection's state: what comes of its bytes, and what time does to it.
//!
//! ```text
//!   bytes ──▶ frames ──▶ messages ──▶ by kind and opcode ──▶ a hand: event, change, control, pong
//!                │ping: its echo is said
//!                │close, fault: said, and over
//! ```
//!
//! # Invariants
//! - A message in parts is put together within the limit of one frame, and is given up with the connection
//!   when it does not end.
//! - Nothing here waits, and nothing is kept of a connection between two whole frames but a few numbers.

mod due;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::codec::{Change, Control, Fault, Head, Mask, Next, Opcode, Side, next, split, unmask};

pub(crate) use due::{Clock, Due, Spans};

/// What kind of connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Subscribes to rooms and sends events.
    Messenger,
    /// Takes a share of the events to others, and brings theirs.
    Repeater,
    /// Another hub.
    Hub,
    /// Another hub that is a node of this kind, too, so that text is control.
    Twin,
    /// A repeater or device at this node's repeater.
    Peer,
    /// What this node's repeater pushes to.
    Target,
}

impl Kind {
    /// As `/status` and metrics name it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Kind::Messenger => "messenger",
            Kind::Repeater => "repeater",
            Kind::Hub | Kind::Twin => "hub",
            Kind::Peer => "peer",
            Kind::Target => "target",
        }
    }
}

/// Why an event went nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// It has no newline, so no room.
    NoNewline,
    /// Its room's name is too long.
    Room,
    /// The connection's token does not allow it.
    NotAllowed,
    /// A schema refuses it.
    Unfit,
    /// It is larger than the node takes.
    TooLarge,
    /// The journal would not record it.
    Journal,
    /// Its receiver was full.
    Full,
    /// Its target could not be reached, or refused it.
    Undeliverable,
    /// Its connection ended before it was sent.
    Ended,
}

impl Dropped {
    /// Every reason.
    pub(crate) const ALL: [Dropped; 9] = [
        Dropped::NoNewline,
        Dropped::Room,
        Dropped::NotAllowed,
        Dropped::Unfit,
        Dropped::TooLarge,
        Dropped::Journal,
        Dropped::Full,
        Dropped::Undeliverable,
        Dropped::Ended,
    ];

    /// As metrics name it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Dropped::NoNewline => "no-newline",
            Dropped::Room => "room-too-long",
            Dropped::NotAllowed => "not-allowed",
            Dropped::Unfit => "schema",
            Dropped::TooLarge => "too-large",
            Dropped::Journal => "journal",
            Dropped::Full => "full",
            Dropped::Undeliverable => "undeliverable",
            Dropped::Ended => "connection-ended",
        }
    }
}

/// What a session's frames do.
pub(crate) trait Hand {
    /// An event came.
    fn event(&mut self, room: &[u8], payload: &[u8]);
    /// A messenger wants other rooms.
    fn change(&mut self, change: Change);
    /// A node of this kind said something.
    fn control(&mut self, control: Control);
    /// An event is passed over.
    fn dropped(&mut self, why: Dropped);
    /// A pong came.
    fn pong(&mut self, payload: &[u8]);
    /// A frame for the other side.
    fn say(&mut self, opcode: Opcode, payload: &[u8]);
    /// Whether no more is to be taken for now.
    fn is_busy(&self) -> bool;
}

/// What a session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// So many bytes in all, those not taken included.
    Bytes(usize),
    /// Its hand to be free.
    Hand,
    /// Nothing: the other side said goodbye, and was answered.
    Closed,
    /// Nothing: the other side broke the rules, and was told.
    Fault(Fault),
}

/// See the module.
pub(crate) struct Session {
    pub(crate) kind: Kind,
    /// Which side the other one is.
    side: Side,
    /// Most bytes of a message.
    max: usize,
    /// A message in parts that has not ended.
    part: Option<Box<Part>>,
    /// Whether a frame without a newline is an empty event of the room without a name, as the
    /// original's repeater takes it.
    lenient: bool,
}

struct Part {
    opcode: Opcode,
    bytes: Vec<u8>,
}

/// Masks of one's own frames: other ones each time, which nobody guesses who does not know the first.
#[derive(Debug)]
pub(crate) struct Masks(Option<AtomicU64>);

impl Masks {
    /// For a side that was dialled: none.
    pub(crate) const NONE: Masks = Masks(None);

    /// For one that dialled.
    pub(crate) fn from(seed: u64) -> Masks {
        Masks(Some(AtomicU64::new(seed)))
    }

    /// The next.
    pub(crate) fn next(&self) -> Mask {
        // SplitMix64.
        let state = self.0.as_ref()?.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let [a, b, c, d, ..] = (mixed ^ (mixed >> 31)).to_ne_bytes();
        Some([a, b, c, d])
    }
}

impl Session {
    /// A connection whose other side is a `side`; messages have at most `max` bytes.
    pub(crate) fn new(kind: Kind, side: Side, max: usize) -> Self {
        Session { kind, side, max, part: None, lenient: false }
    }

    /// Takes frames without a newline for empty events.
    pub(crate) fn lenient(mut self, lenient: bool) -> Self {
        self.lenient = lenient;
        self
    }

    /// Takes whole frames from the beginning of `bytes`; how many bytes they were, and what is next.
    pub(crate) fn process(&mut self, bytes: &mut [u8], hand: &mut impl Hand) -> (usize, Wait) {
        let mut used = 0;
        loop {
            if hand.is_busy() {
                return (used, Wait::Hand);
            }
            let rest = bytes.get_mut(used..).unwrap_or_default();
            let head = match next(rest, self.side, self.max) {
                Next::Frame(head) => head,
                Next::More(needed) => return (used, Wait::Bytes(needed)),
                Next::Fault(fault) => return (used, self.fault(fault, hand)),
            };
            let whole = head.head + head.payload;
            let payload = rest.get_mut(head.head..whole).unwrap_or_default();
            if let Some(mask) = head.mask {
                unmask(payload, mask);
            }
            used += whole;
            match self.frame(head, payload, hand) {
                Wait::Bytes(_) => {}
                over => return (used, over),
            }
        }
    }

    fn fault(&self, fault: Fault, hand: &mut impl Hand) -> Wait {
        hand.say(Opcode::Close, &fault.code().to_be_bytes());
        Wait::Fault(fault)
    }

    fn frame(&mut self, head: Head, payload: &[u8], hand: &mut impl Hand) -> Wait {
        match (head.opcode, &mut self.part) {
            (Opcode::Ping, _) => hand.say(Opcode::Pong, payload),
            (Opcode::Pong, _) => hand.pong(payload),
            (Opcode::Close, _) => {
                // The status is echoed: RFC 6455, section 5.5.1.
                hand.say(Opcode::Close, payload.get(..2).unwrap_or_default());
                return Wait::Closed;
            }
            (Opcode::Continuation, None) => return self.fault(Fault::Protocol, hand),
            (Opcode::Text | Opcode::Binary, Some(_)) => return self.fault(Fault::Protocol, hand),
            (opcode, None) if head.fin => self.message(opcode, payload, hand),
            (opcode, None) => self.part = Some(Box::new(Part { opcode, bytes: payload.to_vec() })),
            (Opcode::Continuation, Some(part)) => {
                if part.bytes.len() + payload.len() > self.max {
                    return self.fault(Fault::TooLong, hand);
                }
                part.bytes.extend_from_slice(payload);
                if head.fin
                    && let Some(part) = self.part.take()
                {
                    self.message(part.opcode, &part.bytes, hand);
                }
            }
        }
        Wait::Bytes(0)
    }

    fn message(&mut self, opcode: Opcode, bytes: &[u8], hand: &mut impl Hand) {
        match (self.kind, opcode) {
            (Kind::Messenger, Opcode::Text) => {
                // The original ignores, without a word, what is no change.
                if let Some(change) = Change::parse(bytes) {
                    hand.change(change);
                }
            }
            (Kind::Twin, Opcode::Text) => {
                if let Some(control) = Control::parse(bytes) {
                    hand.control(control);
                }
            }
            (Kind::Target, _) => {}
            _ => match split(bytes) {
                Some((room, payload)) => hand.event(room, payload),
                None if self.lenient => hand.event(b"", b""),
                None => hand.dropped(Dropped::NoNewline),
            },
        }
    }
}

#[cfg(test)]
mod tests;
