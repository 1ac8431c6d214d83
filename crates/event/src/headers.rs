//! Headers of a message, kept as the bytes that travel.
//!
//! ```text
//! Name: Value\r\n
//! Name: Value\r\n
//! ```
//!
//! The block is NATS's header block without its `NATS/1.0` line and without the empty line at its
//! end, so that a NATS client receives it without re-encoding. Names keep their case and their
//! order, and may repeat. Source: NATS architecture, ADR-4.

use core::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

use crate::limits::HEADERS_BYTES_MAX;

/// A block of headers. Cheap to clone; an empty block costs nothing.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Headers(Bytes);

/// Why a header is refused. Never worth trying again unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// A name is empty, or holds `:` or a control character, or is not UTF-8. NATS clients do send names
    /// with spaces.
    #[error("a header name must be UTF-8 without ':' and control characters")]
    Name,
    /// A value holds a carriage return, a line feed or a NUL, or is not UTF-8.
    #[error("a header value must be UTF-8 without line ends or NUL")]
    Value,
    /// A line has no `:`, or the block does not end with a line end.
    #[error("a header block must be lines of 'Name: Value'")]
    Shape,
    /// Over [`HEADERS_BYTES_MAX`].
    #[error("the headers of a message can have at most {HEADERS_BYTES_MAX} bytes")]
    TooLong,
}

impl Headers {
    /// No headers.
    pub const EMPTY: Headers = Headers(Bytes::new());

    /// Takes a block without copying it, after checking its shape.
    ///
    /// # Errors
    /// [`HeaderError`] naming what is wrong with it.
    pub fn from_block(block: Bytes) -> Result<Self, HeaderError> {
        if block.len() > HEADERS_BYTES_MAX {
            return Err(HeaderError::TooLong);
        }
        let mut rest = block.as_ref();
        while !rest.is_empty() {
            let end = rest.windows(2).position(|pair| pair == b"\r\n").ok_or(HeaderError::Shape)?;
            let line = rest.get(..end).ok_or(HeaderError::Shape)?;
            let colon = line.iter().position(|byte| *byte == b':').ok_or(HeaderError::Shape)?;
            check_name(line.get(..colon).unwrap_or_default())?;
            check_value(line.get(colon + 1..).unwrap_or_default())?;
            rest = rest.get(end + 2..).unwrap_or_default();
        }
        Ok(Headers(block))
    }

    /// Builds a block from pairs, in their order.
    ///
    /// # Errors
    /// [`HeaderError`] for the first pair that cannot be a header.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, HeaderError> {
        let mut block = BytesMut::new();
        for (name, value) in pairs {
            check_name(name.as_bytes())?;
            check_value(value.as_bytes())?;
            block.put_slice(name.as_bytes());
            block.put_slice(b": ");
            block.put_slice(value.as_bytes());
            block.put_slice(b"\r\n");
        }
        if block.len() > HEADERS_BYTES_MAX {
            return Err(HeaderError::TooLong);
        }
        Ok(Headers(block.freeze()))
    }

    /// The same headers and one more at their end.
    ///
    /// # Errors
    /// [`HeaderError`] where the pair cannot be a header.
    pub fn with(&self, name: &str, value: &str) -> Result<Self, HeaderError> {
        Headers::from_pairs(self.iter().chain(core::iter::once((name, value))))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The block's bytes.
    pub fn as_block(&self) -> &Bytes {
        &self.0
    }

    /// Name and value of each header, in order; values without the white space around them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        let block = core::str::from_utf8(&self.0).unwrap_or_default();
        // A line feed ends a line, and is in no value.
        block.split('\n').filter_map(|line| line.split_once(':')).map(|(name, value)| (name, value.trim()))
    }

    /// The first value under a name, in any case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(each, _)| each.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

fn check_name(name: &[u8]) -> Result<(), HeaderError> {
    let good = name.iter().all(|byte| !byte.is_ascii_control() && *byte != b':');
    if good && !name.is_empty() && core::str::from_utf8(name).is_ok() { Ok(()) } else { Err(HeaderError::Name) }
}

fn check_value(value: &[u8]) -> Result<(), HeaderError> {
    let bad = value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) || core::str::from_utf8(value).is_err();
    if bad { Err(HeaderError::Value) } else { Ok(()) }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn names_keep_their_case_and_may_repeat() {
        let headers = Headers::from_pairs([("Ce-Id", "1"), ("x", "a"), ("x", "b")]).unwrap();
        assert_eq!(headers.as_block().as_ref(), b"Ce-Id: 1\r\nx: a\r\nx: b\r\n");
        assert_eq!(headers.get("ce-id"), Some("1"));
        assert_eq!(headers.iter().filter(|(name, _)| *name == "x").count(), 2);
        assert_eq!(Headers::from_block(headers.as_block().clone()), Ok(headers));
    }

    #[test]
    fn a_value_cannot_smuggle_a_line() {
        assert_eq!(Headers::from_pairs([("a", "b\r\nc: d")]), Err(HeaderError::Value));
        assert_eq!(Headers::from_pairs([("a\tb", "c")]), Err(HeaderError::Name));
        assert_eq!(Headers::from_block(Bytes::from_static(b"no colon\r\n")), Err(HeaderError::Shape));
        assert_eq!(Headers::from_block(Bytes::from_static(b"a: b")), Err(HeaderError::Shape));
    }

    proptest! {
        #[test]
        fn any_block_is_judged_without_panic(bytes: Vec<u8>) {
            if let Ok(headers) = Headers::from_block(bytes.clone().into()) {
                prop_assert_eq!(headers.as_block().as_ref(), &bytes[..]);
                prop_assert_eq!(headers.iter().count(), bytes.windows(2).filter(|p| p == b"\r\n").count());
            }
        }
    }
}
