//! Fingerprints: short numbers that differ where texts differ.
//!
//! FNV-1a of 64 bits, each text followed by its length, mixed at the end. Not for secrets: who can
//! choose a fact's whole content can make two contents alike, and harms only facts of its own. Source:
//! Fowler, Noll and Vo; the mix is MurmurHash3's. Costs a multiplication a byte.

use event::Fact;

/// Gathers texts.
#[derive(Debug, Clone, Copy)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// One that starts at a number: different starts give independent fingerprints.
    pub fn new(start: u64) -> Self {
        Fingerprint(0xcbf2_9ce4_8422_2325 ^ start)
    }

    /// Takes a text.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    /// Takes bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        for byte in bytes.iter().copied().chain((bytes.len() as u64).to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self
    }

    /// The number.
    pub fn value(self) -> u64 {
        let mut word = self.0;
        word = (word ^ (word >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        word = (word ^ (word >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        word ^ (word >> 33)
    }
}

/// Of what a fact says: type, subject, key and payload.
pub fn content(fact: &Fact) -> u64 {
    let start = Fingerprint::new(1).text(&fact.kind).text(&fact.subject).text(&fact.dedupe_key);
    fact.payload.iter().fold(start, |so_far, (key, value)| so_far.text(key).text(value)).value()
}

/// Of an id, wide enough that no two are alike by chance.
pub fn wide(text: &str) -> u128 {
    let (one, two) =
        (Fingerprint::new(2).text(text).value(), Fingerprint::new(0x9e37_79b9_7f4a_7c15).text(text).value());
    (u128::from(one) << 64) | u128::from(two)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_do_not_run_into_each_other() {
        let one = Fingerprint::new(1).text("ab").text("c").value();
        assert_ne!(one, Fingerprint::new(1).text("a").text("bc").value());
        let mut fact = Fact::new("g", "1", "t");
        let before = content(&fact);
        fact.payload.insert("a".into(), "b".into());
        assert_ne!(content(&fact), before);
        assert_ne!(wide("a"), wide("b"));
    }
}
