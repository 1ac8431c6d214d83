//! Priority groups: whose turn it is, and who is pinned.
//!
//! As in nats-server, only the first group is pinned. A pin is not kept over a restart.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use event::Moment;

use super::Consumer;
use crate::consumer::{ConsumerStart, Fetch, FetchEnd, GroupState, PriorityPolicy};
use crate::desk::Request;
use crate::desk::fetches::{Standing, Turn};
use crate::desk::outbox::Outbox;
use crate::error::ConsumerError;
use crate::limits::PINNED_TTL_DEFAULT;
use crate::news::{JournalEvent, Unpinned};

/// Letters and digits of a pin: as many as of NATS's unique ids.
const PIN_CHARS: usize = 22;

/// A user that is pinned.
#[derive(Debug, Clone)]
pub(in crate::desk) struct Pin {
    pub(in crate::desk) id: Arc<str>,
    since: Moment,
    /// When it was silent for too long.
    pub(super) until: Moment,
}

impl Consumer {
    pub(super) fn turn(&mut self, first: u64, last: u64) -> Turn {
        let policy = self.config.priority.as_ref().map(|priority| priority.policy);
        let overflow = policy == Some(PriorityPolicy::Overflow);
        let standing = Standing {
            policy,
            pin: self.pin.as_ref().map(|pin| &*pin.id),
            pending: if overflow { self.pending(first, last) } else { 0 },
            ack_pending: self.flights.len() as u64,
        };
        self.fetches.turn(&standing)
    }

    /// Takes in a fetch, or says why it ends at once.
    pub(in crate::desk) fn ask(&mut self, now: Moment, request: Request, fetch: &Fetch) -> Result<(), FetchEnd> {
        let named = fetch.pin.as_deref().filter(|named| !named.is_empty());
        let until = now.after(self.pinned_ttl());
        let add = self.fetches.add(now, request, fetch, &self.config);
        if let (Some(pin), Some(named)) = (&mut self.pin, named)
            && add.is_ok()
        {
            if *pin.id != *named {
                self.fetches.remove(request);
                return Err(FetchEnd::WrongPin);
            }
            pin.until = until;
        }
        add.map_err(FetchEnd::Failed)?;
        self.active = now;
        Ok(())
    }

    fn pinned_ttl(&self) -> Duration {
        self.config.priority.as_ref().map_or(PINNED_TTL_DEFAULT, |priority| priority.pinned_ttl)
    }

    fn group(&self) -> String {
        let first = self.config.priority.as_ref().and_then(|priority| priority.groups.first());
        first.cloned().unwrap_or_default()
    }

    pub(super) fn groups(&self) -> Vec<GroupState> {
        let names = self.config.priority.iter().flat_map(|priority| &priority.groups).enumerate();
        let state = |(place, name): (usize, &String)| {
            let pin = self.pin.as_ref().filter(|_| place == 0);
            GroupState { name: name.clone(), pin: pin.map(|pin| pin.id.clone()), since: pin.map(|pin| pin.since) }
        };
        names.map(state).collect()
    }

    /// Pins the user whose turn it is.
    pub(super) fn pin_turn(&mut self, now: Moment, outbox: &mut Outbox) {
        let id = pin_id([self.tag, self.order, now.nanos()]);
        self.fetches.pin(&id);
        let (stream, consumer, group) = (self.stream.clone(), self.name.clone(), self.group());
        outbox.tell(JournalEvent::Pinned { stream, consumer, group, pin: id.clone() });
        self.pin = Some(Pin { id, since: now, until: now.after(self.pinned_ttl()) });
    }

    pub(in crate::desk) fn unpin(&mut self, why: Unpinned, outbox: &mut Outbox) {
        if self.pin.take().is_some() {
            let (stream, consumer, group) = (self.stream.clone(), self.name.clone(), self.group());
            outbox.tell(JournalEvent::Unpinned { stream, consumer, group, why });
        }
    }

    pub(super) fn unpin_silent(&mut self, now: Moment, outbox: &mut Outbox) {
        if self.pin.as_ref().is_some_and(|pin| pin.until <= now) {
            self.unpin(Unpinned::Silent, outbox);
        }
    }

    /// Whether a group may be unpinned.
    pub(in crate::desk) fn check_unpin(&self, group: &str) -> Result<(), ConsumerError> {
        let pinning = self.config.priority.as_ref().filter(|priority| priority.policy == PriorityPolicy::Pinned);
        let known = pinning.is_some_and(|priority| priority.groups.iter().any(|each| each == group));
        if known { Ok(()) } else { Err(ConsumerError::NoGroup(group.to_string())) }
    }

    /// Where a reset to a position leads.
    pub(in crate::desk) fn reset_to(&self, to: Option<u64>) -> Result<u64, ConsumerError> {
        let Some(to) = to.filter(|to| *to > 0) else { return Ok(self.acked + 1) };
        match self.config.start {
            ConsumerStart::All => Ok(to),
            ConsumerStart::Seq(start) if to < start => Err(ConsumerError::Reset("below start seq")),
            ConsumerStart::Time(_) if to < self.origin => Err(ConsumerError::Reset("below start time")),
            ConsumerStart::Seq(_) | ConsumerStart::Time(_) => Ok(to),
            ConsumerStart::Last | ConsumerStart::New | ConsumerStart::LastPerSubject => {
                Err(ConsumerError::Reset("not allowed"))
            }
        }
    }
}

/// A name that no other pin of an engine has: the numbers tell it from all, scrambled so that none is
/// guessed from another.
fn pin_id(numbers: [u64; 3]) -> Arc<str> {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut mix = |number: u64| {
        state = (state ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state = mixed ^ (mixed >> 31);
        state
    };
    for number in numbers {
        mix(number);
    }
    let digit = |place: usize| {
        let at = usize::try_from(mix(place as u64) % 62).unwrap_or(0);
        DIGITS.get(at).map_or('0', |digit| char::from(*digit))
    };
    (0..PIN_CHARS).map(digit).collect::<String>().into()
}
