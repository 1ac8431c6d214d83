//! Which positions between a stream's first and last hold nothing.
//!
//! One bit for each position, in blocks that exist only where a position is gone: at most 1.2 bits
//! for each position of a block, and about 560 bytes for the first one in it.

use std::collections::BTreeMap;

use bytes::Buf;

/// Positions of one block.
const BLOCK: u64 = 4096;
const WORDS: usize = (BLOCK / 64) as usize;

/// A set of positions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gone {
    blocks: BTreeMap<u64, Box<[u64; WORDS]>>,
    count: u64,
}

fn place(seq: u64) -> (u64, usize, u64) {
    let within = seq % BLOCK;
    (seq / BLOCK, usize::try_from(within / 64).unwrap_or(0), 1 << (within % 64))
}

impl Gone {
    /// How many there are.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether a position is gone.
    pub fn contains(&self, seq: u64) -> bool {
        let (block, word, bit) = place(seq);
        self.blocks.get(&block).is_some_and(|words| words[word] & bit != 0)
    }

    /// Adds a position; `false` where it was there.
    pub fn insert(&mut self, seq: u64) -> bool {
        let (block, word, bit) = place(seq);
        let words = self.blocks.entry(block).or_insert_with(|| Box::new([0; WORDS]));
        let new = words[word] & bit == 0;
        words[word] |= bit;
        self.count += u64::from(new);
        new
    }

    /// The first of these positions from `seq` on, at most `limit`, in order.
    pub fn from(&self, seq: u64, limit: usize) -> Vec<u64> {
        let blocks = self.blocks.range(seq / BLOCK..);
        let words = blocks.flat_map(|(block, words)| (block * BLOCK..).step_by(64).zip(words.iter()));
        let places = words.filter(|(_, word)| **word != 0);
        let seqs = places.flat_map(|(start, word)| (start..start + 64).filter(move |seq| word >> (seq % 64) & 1 == 1));
        seqs.filter(|each| *each >= seq).take(limit).collect()
    }

    /// Forgets all positions before `seq`.
    pub fn forget_before(&mut self, seq: u64) {
        let (block, word, bit) = place(seq);
        while let Some(first) = self.blocks.first_entry().filter(|first| *first.key() < block) {
            self.count -= first.get().iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
            first.remove();
        }
        let Some(words) = self.blocks.get_mut(&block) else { return };
        let mut forgotten = 0;
        for each in words.iter_mut().take(word) {
            forgotten += each.count_ones();
            *each = 0;
        }
        forgotten += (words[word] & (bit - 1)).count_ones();
        words[word] &= !(bit - 1);
        self.count -= u64::from(forgotten);
        if words.iter().all(|word| *word == 0) {
            self.blocks.remove(&block);
        }
    }

    /// How many positions in a range are gone.
    pub fn count_in(&self, range: std::ops::Range<u64>) -> u64 {
        let mut count = 0;
        for (block, words) in self.blocks.range(range.start / BLOCK..=range.end / BLOCK) {
            for (index, word) in words.iter().enumerate().filter(|(_, word)| **word != 0) {
                let start = block * BLOCK + index as u64 * 64;
                if range.start <= start && start + 64 <= range.end {
                    count += u64::from(word.count_ones());
                } else {
                    count +=
                        (start..start + 64).filter(|seq| range.contains(seq) && self.contains(*seq)).count() as u64;
                }
            }
        }
        count
    }

    /// Adds the set's bytes: blocks u32, then for each its number u64 and its bits.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&u32::try_from(self.blocks.len()).unwrap_or(u32::MAX).to_le_bytes());
        for (block, words) in &self.blocks {
            out.extend_from_slice(&block.to_le_bytes());
            for word in words.iter() {
                out.extend_from_slice(&word.to_le_bytes());
            }
        }
    }

    /// Reads the set from the start of the bytes; `None` where they hold none.
    pub fn decode(bytes: &mut &[u8]) -> Option<Gone> {
        let mut gone = Gone::default();
        for _ in 0..bytes.try_get_u32_le().ok()? {
            let block = bytes.try_get_u64_le().ok()?;
            let mut words = Box::new([0; WORDS]);
            for word in words.iter_mut() {
                *word = bytes.try_get_u64_le().ok()?;
                gone.count += u64::from(word.count_ones());
            }
            gone.blocks.insert(block, words);
        }
        Some(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn agrees_with_a_set(seqs in proptest::collection::vec(0u64..20_000, 0..200), before in 0u64..20_000, end in 0u64..20_000) {
            let (mut gone, mut set) = (Gone::default(), BTreeSet::new());
            for seq in seqs {
                prop_assert_eq!(gone.insert(seq), set.insert(seq));
            }
            if before < end {
                prop_assert_eq!(gone.count_in(before..end), set.range(before..end).count() as u64);
            }
            prop_assert_eq!(gone.from(end, 7), set.range(end..).copied().take(7).collect::<Vec<_>>());
            gone.forget_before(before);
            set.retain(|seq| *seq >= before);
            prop_assert_eq!(gone.len(), set.len() as u64);
            prop_assert!((0..20_000).all(|seq| gone.contains(seq) == set.contains(&seq)));
            let mut bytes = Vec::new();
            gone.encode(&mut bytes);
            prop_assert_eq!(Gone::decode(&mut &bytes[..]), Some(gone));
        }
    }
}
