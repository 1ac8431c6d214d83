//! The way that one receiver's messages take: from a delivery to a parcel on a subject.
//!
//! # Invariants
//! - A way is asked for again only when the fabric says that it changed.
//! - What a receiver sees of a message is the message's own subject, and as its reply the subject on
//!   which it is acknowledged.
//!
//! # Cost
//! A delivery: one check of the way, five numbers written into a buffer that is kept, one offer. No
//! allocation, but for the first messages' headers where headers are added.

use std::sync::Arc;

use door::{Fabric, NOBODY, Parcel, Taker, Way};
use journal::Delivery;

/// Bytes sent between two looks at whether the receiver is laden.
const LOOK_EVERY: usize = 32 * 1024;
/// What a header block has around it on the wire, and NATS counts: `NATS/1.0` and two line ends.
const HEADERS_FRAME: usize = 12;

/// Who among those who listen to a subject counts as its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receivers {
    /// Anybody.
    Any,
    /// Those who listen for themselves.
    Direct,
    /// Members of queue groups.
    Groups,
}

impl Receivers {
    /// Whether a way leads to any.
    pub(super) fn are_on(self, way: &Way) -> bool {
        match self {
            Receivers::Any => !way.is_empty(),
            Receivers::Direct => !way.direct.is_empty(),
            Receivers::Groups => !way.groups.is_empty(),
        }
    }
}

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offered {
    /// Nobody listens.
    Nobody,
    /// Who listens would not take it.
    Refused,
    /// It was taken. `first`: by one who had nothing waiting.
    Taken {
        /// See the variant.
        first: bool,
    },
}

/// See the module.
pub(super) struct Outlet {
    fabric: Arc<dyn Fabric>,
    to: Box<str>,
    receivers: Receivers,
    way: Arc<Way>,
    /// The acknowledgement's subject: the first `prefix` bytes stay.
    reply: String,
    prefix: usize,
    headers: Vec<u8>,
    unlooked: usize,
}

impl Outlet {
    /// A way to `to`. `acknowledged`: what the subjects of acknowledgements begin with, dot included.
    pub(super) fn new(fabric: Arc<dyn Fabric>, to: &str, receivers: Receivers, acknowledged: &str) -> Self {
        let way = fabric.way(to);
        let mut reply = String::with_capacity(acknowledged.len() + 5 * 21);
        reply.push_str(acknowledged);
        Outlet {
            fabric,
            to: to.into(),
            receivers,
            way,
            reply,
            prefix: acknowledged.len(),
            headers: Vec::new(),
            unlooked: LOOK_EVERY,
        }
    }

    /// Where it leads.
    pub(super) fn to(&self) -> &str {
        &self.to
    }

    /// Whether anybody listens now.
    pub(super) fn is_wanted(&mut self) -> bool {
        if !self.fabric.is_current(&self.way) {
            self.way = self.fabric.way(&self.to);
        }
        self.receivers.are_on(&self.way)
    }

    /// Makes ready what goes with a delivery; bytes of the whole, as NATS counts them.
    pub(super) fn prepare(&mut self, delivery: &Delivery, headers_only: bool) -> usize {
        let (token, stored) = (&delivery.token, &delivery.stored);
        self.reply.truncate(self.prefix);
        let mut digits = itoa::Buffer::new();
        for number in [token.attempt, stored.seq, token.order, stored.time.nanos()] {
            self.reply.push_str(digits.format(number));
            self.reply.push('.');
        }
        self.reply.push_str(digits.format(delivery.pending));
        self.headers.clear();
        if headers_only || delivery.pin.is_some() {
            self.headers.extend_from_slice(stored.message.headers.as_block());
        }
        if headers_only {
            self.header("Nats-Msg-Size", digits.format(stored.message.payload.len()));
        }
        if let Some(pin) = &delivery.pin {
            self.header("Nats-Pin-Id", pin);
        }
        let block = self.block(delivery).len();
        let payload = if headers_only { 0 } else { stored.message.payload.len() };
        let framed = if block == 0 { 0 } else { block + HEADERS_FRAME };
        stored.message.subject.as_str().len() + self.reply.len() + framed + payload
    }

    fn header(&mut self, name: &str, value: &str) {
        for part in [name, ": ", value, "\r\n"] {
            self.headers.extend_from_slice(part.as_bytes());
        }
    }

    fn block<'a>(&'a self, delivery: &'a Delivery) -> &'a [u8] {
        if self.headers.is_empty() { delivery.stored.message.headers.as_block() } else { &self.headers }
    }

    /// Offers a delivery that was made ready.
    pub(super) fn offer(&mut self, delivery: &Delivery, headers_only: bool) -> Offered {
        let message = &delivery.stored.message;
        let parcel = Parcel {
            subject: message.subject.as_str(),
            reply: &self.reply,
            status: "",
            headers: self.block(delivery),
            payload: if headers_only { &[] } else { &message.payload },
        };
        let size = parcel.size();
        let offered = self.send(&parcel);
        self.unlooked += size;
        offered
    }

    /// Offers a parcel to whoever listens.
    pub(super) fn send(&self, parcel: &Parcel<'_>) -> Offered {
        let mut first = false;
        let (taken, refused) = self.way.offer(parcel, NOBODY, &mut |taker| {
            first = true;
            taker.wake();
        });
        self.fabric.count(taken, refused);
        match (taken, refused) {
            (0, 0) => Offered::Nobody,
            (0, _) => Offered::Refused,
            _ => Offered::Taken { first },
        }
    }

    /// The receiver that is laden, if one is. Looks now and then.
    pub(super) fn laden(&mut self) -> Option<Arc<dyn Taker>> {
        if self.unlooked < LOOK_EVERY {
            return None;
        }
        self.unlooked = 0;
        self.way.hops().map(|hop| &hop.taker).find(|taker| taker.is_laden()).map(Arc::clone)
    }
}
