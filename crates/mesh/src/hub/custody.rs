//! What was sent to a peer and not answered for yet.
//!
//! One for each link and stream of the journal. It holds positions and sizes, not bodies: what goes again is
//! read again.
//!
//! Invariants:
//! - a position leaves by an acknowledgement alone, or by [`Custody::lost`], which gives it back.
//! - at most so many messages and bytes are out, save that one message may be as large as it is.
//!
//! Costs: one tree operation a message, about 40 bytes each.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::limits::{OWED_BYTES_MAX, OWED_MESSAGES_MAX};

/// Messages and bytes together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Messages.
    pub messages: usize,
    /// Bytes of their payloads.
    pub bytes: usize,
}

/// The machine. See the module.
#[derive(Debug)]
pub struct Custody {
    most: Load,
    out: BTreeMap<u64, usize>,
    bytes: usize,
    /// The highest position ever sent; 0: none.
    highest: u64,
}

impl Default for Custody {
    fn default() -> Self {
        Custody::new(Load { messages: OWED_MESSAGES_MAX, bytes: OWED_BYTES_MAX })
    }
}

impl Custody {
    /// Nothing is out. `most`: what may be, at least one message.
    pub fn new(most: Load) -> Self {
        let most = Load { messages: most.messages.max(1), bytes: most.bytes };
        Custody { most, out: BTreeMap::new(), bytes: 0, highest: 0 }
    }

    /// How much more may be sent now.
    pub fn room(&self) -> Load {
        Load {
            messages: self.most.messages.saturating_sub(self.out.len()),
            bytes: self.most.bytes.saturating_sub(self.bytes),
        }
    }

    /// Whether a message of this size may be sent now. Where nothing is out, any may.
    pub fn fits(&self, bytes: usize) -> bool {
        let room = self.room();
        self.out.is_empty() || (room.messages > 0 && bytes <= room.bytes)
    }

    /// A message is sent: it is out from now on. False, and nothing is changed, where it does not fit or is
    /// out already.
    #[must_use]
    pub fn sent(&mut self, seq: u64, bytes: usize) -> bool {
        if !self.fits(bytes) || self.out.contains_key(&seq) {
            return false;
        }
        self.out.insert(seq, bytes);
        self.bytes += bytes;
        self.highest = self.highest.max(seq);
        true
    }

    /// The peer answered for one position; how much this frees: nothing where it was not out.
    pub fn acknowledged(&mut self, seq: u64) -> Load {
        let Some(bytes) = self.out.remove(&seq) else { return Load::default() };
        self.bytes -= bytes;
        Load { messages: 1, bytes }
    }

    /// The peer answered for a position and all before it, as a pong does for what was sent before its ping.
    pub fn acknowledged_to(&mut self, seq: u64) -> Load {
        let mut freed = Load::default();
        while let Some(entry) = self.out.first_entry().filter(|entry| *entry.key() <= seq) {
            freed.messages += 1;
            freed.bytes += entry.remove();
        }
        self.bytes -= freed.bytes;
        freed
    }

    /// The connection is gone: what goes again, in its order. Nothing is out then.
    pub fn lost(&mut self) -> Vec<u64> {
        self.bytes = 0;
        core::mem::take(&mut self.out).into_keys().collect()
    }

    /// What is out.
    pub fn load(&self) -> Load {
        Load { messages: self.out.len(), bytes: self.bytes }
    }

    /// Whether nothing is out.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// The oldest position that is out.
    pub fn oldest(&self) -> Option<u64> {
        self.out.first_key_value().map(|(seq, _)| *seq)
    }

    /// The highest position that was ever sent; 0: none. Everything up to it that is not out was answered for.
    pub fn highest(&self) -> u64 {
        self.highest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec;
    use proptest::prelude::*;

    fn load(messages: usize, bytes: usize) -> Load {
        Load { messages, bytes }
    }

    #[test]
    fn what_is_out_is_bounded_and_goes_again_when_the_connection_is_lost() {
        let mut custody = Custody::new(load(3, 100));
        assert!(custody.sent(4, 50) && custody.sent(5, 40) && !custody.sent(6, 11) && !custody.sent(5, 1));
        assert_eq!((custody.room(), custody.fits(10), custody.fits(11)), (load(1, 10), true, false));
        assert_eq!(custody.acknowledged(5), load(1, 40));
        assert_eq!(custody.acknowledged(5), load(0, 0));
        assert!(custody.sent(6, 1) && custody.sent(8, 1) && !custody.fits(0));
        assert_eq!((custody.oldest(), custody.highest()), (Some(4), 8));
        assert_eq!(custody.acknowledged_to(6), load(2, 51));
        assert_eq!((custody.lost(), custody.load()), (vec![8], load(0, 0)));
        assert!(custody.sent(8, 1), "it goes again");
    }

    #[test]
    fn a_message_larger_than_the_bound_goes_alone() {
        let mut custody = Custody::new(load(0, 10));
        assert!(custody.sent(1, 1_000) && !custody.sent(2, 0));
        assert_eq!(custody.acknowledged(1), load(1, 1_000));
        assert!(custody.sent(2, 0));
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(steps in proptest::collection::vec((0_u8..4, 1_u64..20, 0_usize..40), 0..60)) {
            let mut custody = Custody::new(load(5, 100));
            let mut out: BTreeSet<(u64, usize)> = BTreeSet::new();
            for (what, seq, bytes) in steps {
                match what {
                    0 | 1 => {
                        let sum: usize = out.iter().map(|(_, bytes)| bytes).sum();
                        let fits = out.is_empty() || (out.len() < 5 && sum + bytes <= 100);
                        let fresh = !out.iter().any(|(known, _)| *known == seq);
                        prop_assert_eq!(custody.sent(seq, bytes), fits && fresh);
                        if fits && fresh {
                            out.insert((seq, bytes));
                        }
                    }
                    2 => {
                        let freed = custody.acknowledged(seq);
                        let before = out.len();
                        out.retain(|(known, _)| *known != seq);
                        prop_assert_eq!(freed.messages, before - out.len());
                    }
                    _ => {
                        let freed = custody.acknowledged_to(seq);
                        let before = out.len();
                        out.retain(|(known, _)| *known > seq);
                        prop_assert_eq!(freed.messages, before - out.len());
                    }
                }
                let sum: usize = out.iter().map(|(_, bytes)| bytes).sum();
                prop_assert_eq!(custody.load(), load(out.len(), sum));
            }
            let seqs: Vec<u64> = out.into_iter().map(|(seq, _)| seq).collect();
            prop_assert_eq!(custody.lost(), seqs);
        }
    }
}
