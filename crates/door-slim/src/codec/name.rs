//! Names: three components, each a hash, and an instance of 128 bits; and the subjects that stand for them.

use std::fmt::{self, Write as _};

use event::{Pattern, Subject};
use twox_hash::XxHash64;

use super::message::Bad;
use super::wire::{Fields, once};

/// The instance that stands for any.
pub(crate) const ANY: u128 = u128::MAX;
/// What begins the subjects of names.
pub(crate) const PREFIX: &str = "slim.";

/// A name as it is routed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Encoded {
    /// The hashes of organisation, namespace and application.
    pub components: [u64; 3],
    /// The instance, as it was said; all ones stand for any.
    pub id: Option<u128>,
}

impl Encoded {
    /// One instance; `None`: any.
    pub fn instance(&self) -> Option<u128> {
        self.id.filter(|id| *id != ANY)
    }

    /// The same name with `None` for whatever stands for any instance.
    #[must_use]
    pub fn plain(self) -> Self {
        Encoded { id: self.instance(), ..self }
    }

    fn read(bytes: &[u8]) -> Result<Self, Bad> {
        let (mut components, mut id) = ([None; 3], None);
        for field in Fields::of(bytes) {
            let field = field?;
            match field.number {
                1..=3 => {
                    let place = components.get_mut(field.number as usize - 1).ok_or(Bad::Tag)?;
                    once(place, field.number()?)?;
                }
                4 => once(&mut id, read_id(field.bytes()?)?)?,
                _ => {}
            }
        }
        Ok(Encoded { components: components.map(Option::unwrap_or_default), id })
    }
}

fn read_id(bytes: &[u8]) -> Result<u128, Bad> {
    let (mut high, mut low) = (None, None);
    for field in Fields::of(bytes) {
        let field = field?;
        match field.number {
            1 => once(&mut high, field.number()?)?,
            2 => once(&mut low, field.number()?)?,
            _ => {}
        }
    }
    Ok(u128::from(high.unwrap_or(0)) << 64 | u128::from(low.unwrap_or(0)))
}

/// As a subject's tokens have it: `<c0>.<c1>.<c2>[.<id>]`, in hexadecimal digits of full length.
impl fmt::Display for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, third] = self.components;
        write!(f, "{first:016x}.{second:016x}.{third:016x}")?;
        match self.instance() {
            Some(id) => write!(f, ".{id:032x}"),
            None => Ok(()),
        }
    }
}

/// A name as a message has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a> {
    /// What is routed by.
    pub encoded: Option<Encoded>,
    /// What people read.
    pub texts: Option<[&'a str; 3]>,
}

impl<'a> Name<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Bad> {
        let (mut encoded, mut texts) = (None, None);
        for field in Fields::of(bytes) {
            let field = field?;
            match field.number {
                1 => once(&mut encoded, Encoded::read(field.bytes()?)?)?,
                2 => once(&mut texts, read_texts(field.bytes()?)?)?,
                _ => {}
            }
        }
        Ok(Name { encoded, texts })
    }
}

fn read_texts(bytes: &[u8]) -> Result<[&str; 3], Bad> {
    let mut texts = [None; 3];
    for field in Fields::of(bytes) {
        let field = field?;
        if let 1..=3 = field.number {
            let place = texts.get_mut(field.number as usize - 1).ok_or(Bad::Tag)?;
            once(place, field.text()?)?;
        }
    }
    Ok(texts.map(Option::unwrap_or_default))
}

/// The hash of a component's text: XXH64 with the seed 0 over its bytes and one of 0xff.
pub fn component(text: &str) -> u64 {
    let mut bytes = Vec::with_capacity(text.len() + 1);
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0xff);
    XxHash64::oneshot(0, &bytes)
}

/// The subject that messages to a name are delivered at.
pub fn subject(name: &Encoded) -> Option<Subject> {
    Subject::parse(&text(name)).ok()
}

/// The subject, as a pattern.
pub fn pattern(name: &Encoded) -> Option<Pattern> {
    Pattern::parse(&text(name)).ok()
}

fn text(name: &Encoded) -> String {
    let mut text = String::with_capacity(PREFIX.len() + 3 * 17 + 33);
    text.push_str(PREFIX);
    // Writing to a string does not fail.
    let _written = write!(text, "{name}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_hashed_as_the_original_hashes_them() {
        let check = |text: &str, expected: u64| assert_eq!(component(text), expected, "{text}");
        check("org", 0x873e_5803_76ea_963b);
        check("default", 0x2193_03c7_c93f_9668);
        check("class", 0xdf36_5d4b_83d2_7cb2);
    }

    #[test]
    fn a_name_is_a_subject_and_any_instance_has_none_of_its_own() {
        let name = Encoded { components: [1, 2, 3], id: Some(0xabc) };
        let whole = "slim.0000000000000001.0000000000000002.0000000000000003.00000000000000000000000000000abc";
        assert_eq!(subject(&name).unwrap().as_str(), whole);
        for id in [None, Some(ANY)] {
            let name = Encoded { id, ..name };
            assert_eq!(pattern(&name).unwrap().as_str(), &whole[..whole.len() - 33]);
            assert_eq!(name.plain().id, None);
        }
    }
}
