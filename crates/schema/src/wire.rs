//! The wire format of Protocol Buffers, read field by field without a descriptor.
//!
//! ```text
//! tag = varint(number << 3 | wire)      wire: 0 varint, 1 eight bytes, 2 length and bytes,
//! field = tag value                           3 group begins, 4 group ends, 5 four bytes
//! ```
//!
//! Source: Protocol Buffers documentation, "Encoding".

use std::fmt;

use crate::fault::Fault;
use crate::limits::DEPTH_MAX;

/// Largest number of a field.
const NUMBER_MAX: u64 = (1 << 29) - 1;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Varint,
    Fixed64,
    Length,
    GroupStart,
    GroupEnd,
    Fixed32,
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wire::Varint => "a varint",
            Wire::Fixed64 => "eight bytes",
            Wire::Length => "a length and bytes",
            Wire::GroupStart => "the begin of a group",
            Wire::GroupEnd => "the end of a group",
            Wire::Fixed32 => "four bytes",
        })
    }
}

/// What stands before a value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tag {
    pub(crate) number: u32,
    pub(crate) wire: Wire,
}

/// Bytes not yet read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes are left.
    pub(crate) fn rest(&self) -> usize {
        self.0.len()
    }

    /// The next tag; `None` at the end.
    pub(crate) fn tag(&mut self) -> Result<Option<Tag>, Fault> {
        if self.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let wire = match key & 7 {
            0 => Wire::Varint,
            1 => Wire::Fixed64,
            2 => Wire::Length,
            3 => Wire::GroupStart,
            4 => Wire::GroupEnd,
            5 => Wire::Fixed32,
            other => return Err(Fault::whole(format!("the wire type {other} does not exist"))),
        };
        match u32::try_from(key >> 3) {
            Ok(number @ 1..) if u64::from(number) <= NUMBER_MAX => Ok(Some(Tag { number, wire })),
            _ => Err(Fault::whole(format!("a field cannot have the number {}", key >> 3))),
        }
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0_u64;
        for (place, byte) in self.0.iter().enumerate().take(10) {
            if place == 9 && *byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                self.0 = self.0.get(place + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(if self.0.len() < 10 { cut(self.0.len()) } else { Fault::whole("a varint has more than 64 bits") })
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        match self.0.split_at_checked(count) {
            Some((taken, rest)) => {
                self.0 = rest;
                Ok(taken)
            }
            None => Err(cut(self.0.len())),
        }
    }

    pub(crate) fn length(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.varint()?;
        let missing = || Fault::whole(format!("is cut off: {length} bytes are promised, {} are there", self.0.len()));
        let (taken, rest) =
            usize::try_from(length).ok().and_then(|length| self.0.split_at_checked(length)).ok_or_else(missing)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Passes over the value after a tag.
    pub(crate) fn skip(&mut self, tag: Tag, depth: usize) -> Result<(), Fault> {
        let mut open = Vec::new();
        let mut next = Some(tag);
        while let Some(tag) = next {
            match tag.wire {
                Wire::Varint => self.varint().map(|_| ())?,
                Wire::Fixed64 => self.take(8).map(|_| ())?,
                Wire::Fixed32 => self.take(4).map(|_| ())?,
                Wire::Length => self.length().map(|_| ())?,
                Wire::GroupStart if depth + open.len() < DEPTH_MAX => open.push(tag.number),
                Wire::GroupStart => return Err(Fault::whole(format!("is nested deeper than {DEPTH_MAX} messages"))),
                Wire::GroupEnd if open.pop() == Some(tag.number) => {}
                Wire::GroupEnd => {
                    return Err(Fault::whole(format!("the group {} ends where it did not begin", tag.number)));
                }
            }
            next = match open.last() {
                None => None,
                Some(number) => match self.tag()? {
                    Some(tag) => Some(tag),
                    None => return Err(Fault::whole(format!("the group {number} does not end"))),
                },
            };
        }
        Ok(())
    }
}

fn cut(rest: usize) -> Fault {
    Fault::whole(format!("is cut off: the value goes on after the last {rest} bytes"))
}
