//! Whether a message of a peer's stream came before.
//!
//! A peer sends a stream in its order, and after a lost connection again from what was not answered for. So
//! the highest position tells what is new, beside those that could not be kept and were given back. Where a
//! name may stand for another stream tomorrow, who asks adds to the name what tells the two apart: positions
//! begin anew in the new one.
//!
//! What came before is answered for only when the first of it is kept: while that is under way, silence is
//! the answer to the second. And who gave a message back ends the connection, so that it is sent again.
//!
//! Invariants:
//! - a position that was taken is never new again, until [`Seen::give_back`], or until it is forgotten for
//!   want of room.
//! - at most [`SEEN_PEERS_MAX`] peers with [`SEEN_STREAMS_MAX`] streams each are remembered.
//!
//! Costs: two tree look-ups a message.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;

use super::limits::{OWED_MESSAGES_MAX, SEEN_PEERS_MAX, SEEN_STREAMS_MAX};

/// What was heard of something, and when, in messages since the beginning.
#[derive(Debug)]
struct Heard<T> {
    what: T,
    at: u64,
}

type ByName<T> = BTreeMap<Arc<str>, Heard<T>>;

/// What was taken of a stream.
#[derive(Debug, Default)]
struct Taken {
    highest: u64,
    /// Positions below it that are new again.
    back: BTreeSet<u64>,
}

/// The machine. See the module.
#[derive(Debug, Default)]
pub struct Seen {
    peers: ByName<ByName<Taken>>,
    heard: u64,
}

impl Seen {
    /// Nothing was heard.
    pub fn new() -> Self {
        Seen::default()
    }

    /// Whether a position is new. It is taken then: who cannot keep the message gives it back.
    #[must_use]
    pub fn take(&mut self, peer: &str, stream: &str, seq: u64) -> bool {
        self.heard += 1;
        let at = self.heard;
        let streams = entry(&mut self.peers, peer, at, SEEN_PEERS_MAX);
        let taken = entry(streams, stream, at, SEEN_STREAMS_MAX);
        let new = seq > taken.highest || taken.back.remove(&seq);
        taken.highest = seq.max(taken.highest);
        new
    }

    /// A message that was taken could not be kept: it is new again. Where more were given back than a peer
    /// may have out, all from the first of them on are.
    pub fn give_back(&mut self, peer: &str, stream: &str, seq: u64) {
        let streams = self.peers.get_mut(peer).map(|peer| &mut peer.what);
        let Some(taken) = streams.and_then(|streams| streams.get_mut(stream)).map(|stream| &mut stream.what) else {
            return;
        };
        if seq <= taken.highest {
            taken.back.insert(seq);
        }
        if taken.back.len() > OWED_MESSAGES_MAX
            && let Some(first) = core::mem::take(&mut taken.back).pop_first()
        {
            taken.highest = first.saturating_sub(1);
        }
    }

    /// The highest position of a peer's stream that was taken; 0: none.
    pub fn highest(&self, peer: &str, stream: &str) -> u64 {
        let streams = self.peers.get(peer).map(|peer| &peer.what);
        streams.and_then(|streams| streams.get(stream)).map_or(0, |stream| stream.what.highest)
    }

    /// Forgets a peer.
    pub fn forget(&mut self, peer: &str) {
        self.peers.remove(peer);
    }
}

/// What stands under a name, made where there is none; then, for want of room, what was heard of longest
/// ago goes.
fn entry<'a, T: Default>(of: &'a mut ByName<T>, name: &str, at: u64, most: usize) -> &'a mut T {
    if !of.contains_key(name) && of.len() >= most {
        let oldest = of.iter().min_by_key(|(_, heard)| heard.at).map(|(name, _)| Arc::clone(name));
        if let Some(oldest) = oldest {
            of.remove(&oldest);
        }
    }
    let name = of.get_key_value(name).map_or_else(|| Arc::from(name), |(known, _)| Arc::clone(known));
    let heard = of.entry(name).or_insert_with(|| Heard { what: T::default(), at });
    heard.at = at;
    &mut heard.what
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn what_came_before_is_known_for_each_peer_and_stream() {
        let mut seen = Seen::new();
        assert!(seen.take("a", "S", 1) && seen.take("a", "S", 5) && !seen.take("a", "S", 5) && !seen.take("a", "S", 2));
        assert!(seen.take("b", "S", 1) && seen.take("a", "T", 1));
        assert_eq!((seen.highest("a", "S"), seen.highest("a", "X"), seen.highest("x", "S")), (5, 0, 0));
        seen.forget("a");
        assert!(seen.take("a", "S", 2));
    }

    #[test]
    fn what_was_given_back_is_new_again() {
        let mut seen = Seen::new();
        assert!(seen.take("a", "S", 7) && seen.take("a", "S", 8));
        seen.give_back("a", "S", 7);
        seen.give_back("a", "S", 9);
        seen.give_back("x", "S", 1);
        assert!(seen.take("a", "S", 7) && !seen.take("a", "S", 8) && !seen.take("a", "S", 7));
        assert!(seen.take("a", "S", 9));
        for seq in 1..=OWED_MESSAGES_MAX as u64 + 1 {
            let _ = seen.take("a", "S", seq);
            seen.give_back("a", "S", seq);
        }
        assert_eq!(seen.highest("a", "S"), 0, "rather twice than lost");
    }

    #[test]
    fn names_that_a_peer_makes_up_cost_a_bounded_room_and_the_one_in_use_stays() {
        let mut seen = Seen::new();
        assert!(seen.take("a", "used", 9));
        for made_up in 0..3 * SEEN_STREAMS_MAX {
            assert!(seen.take("a", &format!("s{made_up}"), 1) && !seen.take("a", "used", 9));
        }
        assert_eq!(seen.peers.get("a").unwrap().what.len(), SEEN_STREAMS_MAX);
    }
}
