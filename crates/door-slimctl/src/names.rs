//! Names as they are sent, and as patterns of the fabric; and the texts of those that are announced, for listings.
//!
//! A name is the pattern `slim.<c0>.<c1>.<c2>`, with 16 hexadecimal digits for each component, and `.<id>` with 32 for
//! one instance.

use std::collections::BTreeMap;

use event::Pattern;
use parking_lot::Mutex;
use twox_hash::XxHash64;

use crate::limits::TEXT_BYTES_MAX;
use crate::proto::{Encoded, Id, Name, Texts};

/// What begins the patterns of names.
const PREFIX: &str = "slim";
/// The instance that stands for any.
const ANY: u128 = u128::MAX;

/// The pattern of a name; `None` for one without hashes.
pub(crate) fn pattern(name: &Name) -> Option<Pattern> {
    let Encoded { first, second, third, id } = name.encoded.as_ref()?;
    let mut text = format!("{PREFIX}.{first:016x}.{second:016x}.{third:016x}");
    if let Some(id) = id.as_ref().map(instance).filter(|id| *id != ANY) {
        text.push_str(&format!(".{id:032x}"));
    }
    Pattern::parse(&text).ok()
}

fn instance(id: &Id) -> u128 {
    u128::from(id.high) << 64 | u128::from(id.low)
}

/// The name of a pattern; `None` for what is no name of SLIM.
pub(crate) fn name(pattern: &str) -> Option<Name> {
    let mut tokens = pattern.split('.');
    if tokens.next() != Some(PREFIX) {
        return None;
    }
    let mut component = || {
        let token = tokens.next().filter(|token| token.len() == 16)?;
        u64::from_str_radix(token, 16).ok()
    };
    let (first, second, third) = (component()?, component()?, component()?);
    let id = match tokens.next() {
        None => ANY,
        Some(token) if token.len() == 32 => u128::from_str_radix(token, 16).ok()?,
        Some(_) => return None,
    };
    let halves = (id >> 64, id & u128::from(u64::MAX));
    let id = Id { high: u64::try_from(halves.0).ok()?, low: u64::try_from(halves.1).ok()? };
    tokens
        .next()
        .is_none()
        .then_some(Name { encoded: Some(Encoded { first, second, third, id: Some(id) }), texts: None })
}

/// Whether texts are what a name's hashes were made of: XXH64 with the seed 0 over a text's bytes and one of 0xff.
fn fit(encoded: &Encoded, texts: &Texts) -> bool {
    let of = |text: &str| {
        let mut bytes = Vec::with_capacity(text.len() + 1);
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0xff);
        XxHash64::oneshot(0, &bytes)
    };
    let pairs = [(encoded.first, &texts.first), (encoded.second, &texts.second), (encoded.third, &texts.third)];
    pairs.iter().all(|(hash, text)| text.len() <= TEXT_BYTES_MAX && of(text) == *hash)
}

/// The texts, where anybody said the true ones, and how many names of how many nodes there are.
type Announced = (Option<Texts>, usize);

/// The texts of names that nodes announced.
///
/// # Invariants
/// - Texts are those that a name's hashes were made of: nobody can have another's name shown as his own.
/// - They are kept as long as a node announces a name of them.
#[derive(Default)]
pub(crate) struct Seen {
    /// Unique by hashes.
    texts: Mutex<BTreeMap<[u64; 3], Announced>>,
}

impl Seen {
    /// A node announces a name. Where it has its true texts, they are kept.
    pub(crate) fn keep(&self, name: &Name) {
        let Some(encoded) = &name.encoded else { return };
        let mut known = self.texts.lock();
        let (kept, count) = known.entry([encoded.first, encoded.second, encoded.third]).or_default();
        *count += 1;
        if kept.is_none() {
            *kept = name.texts.clone().filter(|texts| fit(encoded, texts));
        }
    }

    /// It does not any longer.
    pub(crate) fn forget(&self, pattern: &str) {
        let Some(Encoded { first, second, third, .. }) = name(pattern).and_then(|name| name.encoded) else { return };
        let mut known = self.texts.lock();
        let Some((_, count)) = known.get_mut(&[first, second, third]) else { return };
        *count -= 1;
        if *count == 0 {
            known.remove(&[first, second, third]);
        }
    }

    /// The name of a pattern, with its texts. Where they are not known, the hashes stand for them: a reader that shows
    /// names by their texts shows something.
    pub(crate) fn name(&self, pattern: &str) -> Option<Name> {
        let mut name = name(pattern)?;
        let Encoded { first, second, third, .. } = name.encoded.clone()?;
        let known = self.texts.lock().get(&[first, second, third]).and_then(|(texts, _)| texts.clone());
        let hashes = || Texts {
            first: format!("{first:016x}"),
            second: format!("{second:016x}"),
            third: format!("{third:016x}"),
        };
        name.texts = Some(known.unwrap_or_else(hashes));
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_pattern_and_back() {
        let check = |id: Option<u128>, expected: &str| {
            let half = |id: u128| u64::try_from(id & u128::from(u64::MAX)).unwrap();
            let halves = |id: u128| Id { high: half(id >> 64), low: half(id) };
            let sent = Name {
                encoded: Some(Encoded { first: 1, second: 2, third: u64::MAX, id: id.map(halves) }),
                texts: None,
            };
            let text = pattern(&sent).unwrap().as_str().to_owned();
            assert_eq!(text, expected);
            let back = name(&text).unwrap().encoded.unwrap();
            assert_eq!((back.first, back.second, back.third), (1, 2, u64::MAX));
            assert_eq!(back.id, Some(halves(id.unwrap_or(ANY))));
        };
        let begin = "slim.0000000000000001.0000000000000002.ffffffffffffffff";
        check(None, begin);
        check(Some(ANY), begin);
        check(Some(7), &format!("{begin}.{:032x}", 7));
        for other in ["slim", "slim.1.2.3", "other.x", &format!("{begin}.7"), &format!("{begin}.{:032x}.x", 7)] {
            assert_eq!(name(other), None, "{other}");
        }
    }

    #[test]
    fn true_texts_are_shown_with_every_instance_as_long_as_a_name_of_them_is_announced() {
        let seen = Seen::default();
        let texts = Texts { first: "org".into(), second: "default".into(), third: "class".into() };
        let (first, second, third) = (0x873e_5803_76ea_963b, 0x2193_03c7_c93f_9668, 0xdf36_5d4b_83d2_7cb2);
        let encoded = Encoded { first, second, third, id: None };
        let sent = Name { encoded: Some(encoded.clone()), texts: Some(texts.clone()) };
        let text = pattern(&sent).unwrap().as_str().to_owned();
        let shown = |pattern: &str| seen.name(pattern).unwrap().texts.unwrap();
        let lie = Texts { third: "other".into(), ..texts.clone() };
        seen.keep(&Name { encoded: Some(encoded), texts: Some(lie) });
        seen.forget(&text);
        assert_eq!(shown(&text).first, "873e580376ea963b");
        seen.keep(&sent);
        seen.keep(&sent);
        assert_eq!(shown(&text), texts);
        assert_eq!(shown(&format!("{text}.{:032x}", 9)), texts);
        seen.forget(&text);
        assert_eq!(shown(&text), texts);
        seen.forget(&text);
        assert_eq!((shown(&text).first.as_str(), seen.texts.lock().len()), ("873e580376ea963b", 0));
    }
}
