//! Bytes of what travels between nodes: numbers, texts and lists, one after another.
//!
//! ```text
//! number  LEB128: 7 bits a byte, the low ones first, the top bit says that more follow; at most 10 bytes,
//!         no byte more than is needed
//! text    number of bytes, UTF-8
//! list    number of items, the items
//! flag    one byte, 0 or 1
//! ```
//!
//! Invariants: what was written is read back the same; there is one spelling of everything; nothing that is read
//! makes this panic, or hold more than a small multiple of the bytes that came.

use alloc::sync::Arc;
use alloc::vec::Vec;

use event::Pattern;
use thiserror::Error;

use crate::names::{LinkId, Name, NodeId};

/// Why bytes are not what they should be. Never worth trying again unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CodecError {
    /// The bytes end before what they began.
    #[error("the bytes end too early")]
    Short,
    /// There are bytes behind the end.
    #[error("there are bytes behind the end")]
    Trailing,
    /// Another version wrote this.
    #[error("version {0} is not known")]
    Version(u8),
    /// A number, flag or kind that has no meaning here.
    #[error("a number has no meaning here")]
    Value,
    /// A text that is not UTF-8, or breaks the grammar of a name, a link or a pattern.
    #[error("a text breaks the grammar")]
    Text,
    /// A list or a text over its limit.
    #[error("a list or a text is over its limit")]
    Limit,
}

/// Longest text that has no limit of its own, in bytes: addresses, principals, queue groups, reasons.
pub const TEXT_BYTES_MAX: usize = 1_024;

/// Writes.
#[derive(Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub(crate) fn flag(&mut self, flag: bool) {
        self.bytes.push(u8::from(flag));
    }

    pub(crate) fn number(&mut self, mut number: u64) {
        loop {
            let low = u8::try_from(number & 0x7f).unwrap_or(0);
            number >>= 7;
            if number == 0 {
                self.bytes.push(low);
                return;
            }
            self.bytes.push(low | 0x80);
        }
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.raw(text.as_bytes());
    }

    pub(crate) fn option<T>(&mut self, value: Option<&T>, mut each: impl FnMut(&mut Self, &T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            each(self, value);
        }
    }

    pub(crate) fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.number(items.len() as u64);
        for item in items {
            each(self, item);
        }
    }

    pub(crate) fn name(&mut self, name: &Name) {
        self.text(name.as_str());
    }

    pub(crate) fn node(&mut self, node: &NodeId) {
        self.name(&node.domain);
        self.name(&node.node);
    }

    pub(crate) fn pattern(&mut self, pattern: &Pattern) {
        self.text(pattern.as_str());
    }
}

/// Reads.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes }
    }

    pub(crate) fn finish(self) -> Result<(), CodecError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(CodecError::Trailing) }
    }

    pub(crate) fn version(&mut self, known: u8) -> Result<(), CodecError> {
        let version = self.byte()?;
        if version == known { Ok(()) } else { Err(CodecError::Version(version)) }
    }

    pub(crate) fn byte(&mut self) -> Result<u8, CodecError> {
        let (byte, rest) = self.bytes.split_first().ok_or(CodecError::Short)?;
        self.bytes = rest;
        Ok(*byte)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, CodecError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(CodecError::Value),
        }
    }

    pub(crate) fn number(&mut self) -> Result<u64, CodecError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let low = u64::from(byte & 0x7f);
            if shift == 63 && low > 1 {
                return Err(CodecError::Value);
            }
            number |= low << shift;
            if byte & 0x80 == 0 {
                // A last byte of nothing would be a second spelling.
                return if byte == 0 && shift > 0 { Err(CodecError::Value) } else { Ok(number) };
            }
        }
        Err(CodecError::Value)
    }

    pub(crate) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, CodecError> {
        T::try_from(self.number()?).map_err(|_| CodecError::Value)
    }

    pub(crate) fn raw(&mut self, count: usize) -> Result<&'a [u8], CodecError> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(CodecError::Short)?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(crate) fn text(&mut self, most: usize) -> Result<&'a str, CodecError> {
        let count: usize = self.small()?;
        if count > most {
            return Err(CodecError::Limit);
        }
        core::str::from_utf8(self.raw(count)?).map_err(|_| CodecError::Text)
    }

    pub(crate) fn shared_text(&mut self) -> Result<Arc<str>, CodecError> {
        Ok(self.text(TEXT_BYTES_MAX)?.into())
    }

    pub(crate) fn option<T>(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<T, CodecError>,
    ) -> Result<Option<T>, CodecError> {
        if self.flag()? { each(self).map(Some) } else { Ok(None) }
    }

    /// A list of at most so many items. Each takes a byte at least, so no count makes this hold more than came.
    pub(crate) fn list<T>(
        &mut self,
        most: usize,
        mut each: impl FnMut(&mut Self) -> Result<T, CodecError>,
    ) -> Result<Vec<T>, CodecError> {
        let count: usize = self.small()?;
        if count > most {
            return Err(CodecError::Limit);
        }
        if count > self.bytes.len() {
            return Err(CodecError::Short);
        }
        let mut items = Vec::with_capacity(count.min(1_024));
        for _ in 0..count {
            items.push(each(self)?);
        }
        Ok(items)
    }

    pub(crate) fn name(&mut self) -> Result<Name, CodecError> {
        Name::parse(self.text(TEXT_BYTES_MAX)?).map_err(|_| CodecError::Text)
    }

    pub(crate) fn node(&mut self) -> Result<NodeId, CodecError> {
        Ok(NodeId { domain: self.name()?, node: self.name()? })
    }

    pub(crate) fn link(&mut self) -> Result<LinkId, CodecError> {
        LinkId::parse(self.text(TEXT_BYTES_MAX)?).map_err(|_| CodecError::Text)
    }

    pub(crate) fn pattern(&mut self) -> Result<Pattern, CodecError> {
        Pattern::parse(self.text(event::limits::SUBJECT_BYTES_MAX)?).map_err(|_| CodecError::Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use proptest::prelude::*;

    #[test]
    fn a_number_has_one_spelling() {
        let read = |bytes: &[u8]| Reader::new(bytes).number();
        assert_eq!(read(&[0x7f]), Ok(127));
        assert_eq!(read(&[0x80, 1]), Ok(128));
        assert_eq!(read(&[0x80, 0]), Err(CodecError::Value));
        assert_eq!(read(&[0x80]), Err(CodecError::Short));
        assert_eq!(read(&[0xff; 11]), Err(CodecError::Value));
    }

    proptest! {
        #[test]
        fn numbers_and_texts_come_back(number: u64, text: String, flag: bool) {
            let mut writer = Writer::default();
            writer.number(number);
            writer.text(&text);
            writer.flag(flag);
            let bytes = writer.finish();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.number(), Ok(number));
            prop_assert_eq!(reader.text(usize::MAX), Ok(text.as_str()));
            prop_assert_eq!(reader.flag(), Ok(flag));
            prop_assert_eq!(reader.finish(), Ok(()));
        }
    }
}
