//! Names as they are sent, and as patterns of the fabric; and the texts of those that were seen, for listings.
//!
//! A name is the pattern `slim.<c0>.<c1>.<c2>`, with 16 hexadecimal digits for each component, and `.<id>` with 32 for
//! one instance.

use std::collections::BTreeMap;

use event::Pattern;
use parking_lot::Mutex;

use crate::limits::{LIST_MAX, TEXT_BYTES_MAX};
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

/// The texts of names that were seen.
#[derive(Default)]
pub(crate) struct Seen {
    /// Unique by hashes. Never more than [`LIST_MAX`].
    texts: Mutex<BTreeMap<[u64; 3], Texts>>,
}

impl Seen {
    /// Keeps the texts of a name, where it has any.
    pub(crate) fn keep(&self, name: &Name) {
        let (Some(Encoded { first, second, third, .. }), Some(texts)) = (&name.encoded, &name.texts) else { return };
        if [&texts.first, &texts.second, &texts.third].iter().any(|text| text.len() > TEXT_BYTES_MAX) {
            return;
        }
        let mut known = self.texts.lock();
        if known.len() < LIST_MAX {
            known.entry([*first, *second, *third]).or_insert_with(|| texts.clone());
        }
    }

    /// The name of a pattern, with its texts. Where they were not seen, the hashes stand for them: a reader that shows
    /// names by their texts shows something.
    pub(crate) fn name(&self, pattern: &str) -> Option<Name> {
        let mut name = name(pattern)?;
        let Encoded { first, second, third, .. } = name.encoded.clone()?;
        let known = self.texts.lock().get(&[first, second, third]).cloned();
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
    fn texts_that_were_seen_are_shown_with_every_instance() {
        let seen = Seen::default();
        let texts = Texts { first: "org".into(), second: "ns".into(), third: "app".into() };
        let encoded = Encoded { first: 1, second: 2, third: 3, id: None };
        let sent = Name { encoded: Some(encoded), texts: Some(texts.clone()) };
        let text = pattern(&sent).unwrap().as_str().to_owned();
        let shown = |pattern: &str| seen.name(pattern).unwrap().texts.unwrap();
        assert_eq!(shown(&text).first, "0000000000000001");
        seen.keep(&sent);
        assert_eq!(shown(&text), texts);
        assert_eq!(shown(&format!("{text}.{:032x}", 9)), texts);
    }
}
