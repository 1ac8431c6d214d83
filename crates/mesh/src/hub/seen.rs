//! Whether a message of a peer's stream came before.
//!
//! Every position that was taken is remembered, as runs of positions: a peer mostly sends a stream in its order,
//! and then it is one run; but what it could not send at first, or was given back by a consumer, comes late, and
//! must not be taken for old because later ones were there before. Where a name may stand for another stream
//! tomorrow, who asks adds to the name what tells the two apart: positions begin anew in the new one.
//!
//! What came before is answered for only when the first of it is kept: while that is under way, silence is
//! the answer to the second. And who gave a message back ends the connection, so that it is sent again.
//!
//! Invariants:
//! - a position that was taken is never new again, until [`Seen::give_back`], or until it is forgotten for
//!   want of room: rather twice than lost.
//! - at most [`SEEN_PEERS_MAX`] peers with [`SEEN_STREAMS_MAX`] streams of [`SEEN_RUNS_MAX`] runs each are
//!   remembered.
//!
//! Costs: four tree look-ups a message; 16 bytes a run, of which a stream whose every message is sent has one.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use super::limits::{SEEN_PEERS_MAX, SEEN_RUNS_MAX, SEEN_STREAMS_MAX};

/// What was heard of something, and when, in messages since the beginning.
#[derive(Debug)]
struct Heard<T> {
    what: T,
    at: u64,
}

type ByName<T> = BTreeMap<Arc<str>, Heard<T>>;

/// The positions of a stream that were taken: the first of each run, and the last. Two runs have a gap between
/// them.
#[derive(Debug, Default)]
struct Taken {
    runs: BTreeMap<u64, u64>,
}

impl Taken {
    /// The run that a position is in or behind.
    fn before(&self, seq: u64) -> Option<(u64, u64)> {
        self.runs.range(..=seq).next_back().map(|(first, last)| (*first, *last))
    }

    fn take(&mut self, seq: u64) -> bool {
        let before = self.before(seq);
        if before.is_some_and(|(_, last)| last >= seq) {
            return false;
        }
        let joins = before.filter(|(_, last)| last.checked_add(1) == Some(seq));
        let first = joins.map_or(seq, |(first, _)| first);
        let next = seq.checked_add(1).and_then(|next| self.runs.remove(&next));
        self.runs.insert(first, next.unwrap_or(seq));
        if self.runs.len() > SEEN_RUNS_MAX {
            self.runs.pop_first();
        }
        true
    }

    fn give_back(&mut self, seq: u64) {
        let Some((first, last)) = self.before(seq).filter(|(_, last)| *last >= seq) else { return };
        self.runs.remove(&first);
        if first < seq {
            self.runs.insert(first, seq - 1);
        }
        if seq < last {
            self.runs.insert(seq + 1, last);
        }
    }
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
        entry(streams, stream, at, SEEN_STREAMS_MAX).take(seq)
    }

    /// A message that was taken could not be kept: it is new again.
    pub fn give_back(&mut self, peer: &str, stream: &str, seq: u64) {
        let streams = self.peers.get_mut(peer).map(|peer| &mut peer.what);
        if let Some(taken) = streams.and_then(|streams| streams.get_mut(stream)) {
            taken.what.give_back(seq);
        }
    }

    /// The highest position of a peer's stream that was taken; 0: none.
    pub fn highest(&self, peer: &str, stream: &str) -> u64 {
        let streams = self.peers.get(peer).map(|peer| &peer.what);
        let taken = streams.and_then(|streams| streams.get(stream));
        taken.and_then(|taken| taken.what.runs.last_key_value()).map_or(0, |(_, last)| *last)
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
    use alloc::collections::BTreeSet;
    use alloc::format;
    use proptest::prelude::*;

    #[test]
    fn what_came_before_is_known_for_each_peer_and_stream() {
        let mut seen = Seen::new();
        assert!(seen.take("a", "S", 1) && seen.take("a", "S", 5) && !seen.take("a", "S", 5));
        assert!(seen.take("a", "S", 2), "what comes late is new all the same");
        assert!(seen.take("b", "S", 1) && seen.take("a", "T", 1));
        assert_eq!((seen.highest("a", "S"), seen.highest("a", "X"), seen.highest("x", "S")), (5, 0, 0));
        seen.forget("a");
        assert!(seen.take("a", "S", 2));
    }

    #[test]
    fn what_was_given_back_is_new_again_and_nothing_else() {
        let mut seen = Seen::new();
        assert!((6..=9).all(|seq| seen.take("a", "S", seq)));
        seen.give_back("a", "S", 7);
        seen.give_back("a", "S", 99);
        seen.give_back("x", "S", 1);
        assert!(seen.take("a", "S", 7) && !seen.take("a", "S", 8) && !seen.take("a", "S", 7));
    }

    #[test]
    fn a_stream_in_its_order_is_one_run_and_the_oldest_of_many_goes() {
        let mut taken = Taken::default();
        assert!((1..=10_000).all(|seq| taken.take(seq)) && taken.runs.len() == 1);
        let gaps = (1..=SEEN_RUNS_MAX as u64).map(|turn| 10_000 + 2 * turn);
        assert!(gaps.clone().all(|seq| taken.take(seq)) && taken.runs.len() == SEEN_RUNS_MAX);
        assert!(gaps.clone().all(|seq| !taken.take(seq)) && taken.take(10_000), "rather twice than lost");
        assert!(taken.take(u64::MAX) && !taken.take(u64::MAX) && taken.take(0));
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

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(steps in proptest::collection::vec((0_u8..4, 0_u64..24), 0..120)) {
            let (mut taken, mut set) = (Taken::default(), BTreeSet::new());
            for (what, seq) in steps {
                if what == 0 {
                    taken.give_back(seq);
                    set.remove(&seq);
                } else {
                    prop_assert_eq!(taken.take(seq), set.insert(seq));
                }
                let joined = taken.runs.iter().zip(taken.runs.keys().skip(1)).any(|((_, last), next)| last + 1 >= *next);
                prop_assert!(!joined, "runs that touch: {:?}", taken.runs);
            }
        }
    }
}
