//! Fields of a protobuf message, where they lie.

use std::ops::Range;

use super::message::Bad;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// A number of variable length.
    Number(u64),
    /// Bytes: a text, a message, or bytes.
    Bytes(&'a [u8]),
    /// Eight or four bytes; no field that is known has this form.
    Fixed,
}

/// One field.
#[derive(Debug, Clone)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    pub(crate) value: Value<'a>,
    /// Where it lies with its tag.
    pub(crate) span: Range<usize>,
}

/// The fields of a message, one after the other.
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        Fields { bytes, at: 0 }
    }

    fn varint(&mut self) -> Result<u64, Bad> {
        let mut number = 0u64;
        for shift in 0..10u32 {
            let byte = *self.bytes.get(self.at).ok_or(Bad::Short)?;
            self.at += 1;
            if shift == 9 && byte > 1 {
                return Err(Bad::Number);
            }
            number |= u64::from(byte & 0x7f) << (7 * shift);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Bad::Number)
    }

    fn skip(&mut self, count: usize) -> Result<(), Bad> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len()).ok_or(Bad::Short)?;
        self.at = end;
        Ok(())
    }

    fn field(&mut self) -> Result<Field<'a>, Bad> {
        let begin = self.at;
        let tag = u32::try_from(self.varint()?).map_err(|_| Bad::Tag)?;
        let number = tag >> 3;
        if number == 0 {
            return Err(Bad::Tag);
        }
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => {
                self.skip(8)?;
                Value::Fixed
            }
            2 => {
                let count = usize::try_from(self.varint()?).map_err(|_| Bad::Short)?;
                let from = self.at;
                self.skip(count)?;
                Value::Bytes(self.bytes.get(from..self.at).ok_or(Bad::Short)?)
            }
            5 => {
                self.skip(4)?;
                Value::Fixed
            }
            _ => return Err(Bad::Tag),
        };
        Ok(Field { number, value, span: begin..self.at })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Bad>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.at = self.bytes.len();
        }
        Some(field)
    }
}

impl<'a> Field<'a> {
    pub(crate) fn number(&self) -> Result<u64, Bad> {
        match self.value {
            Value::Number(number) => Ok(number),
            _ => Err(Bad::Form),
        }
    }

    /// As a decoder of 32 bits sees it: the lower half.
    pub(crate) fn narrow(&self) -> Result<u32, Bad> {
        Ok((self.number()? & u64::from(u32::MAX)).try_into().unwrap_or(u32::MAX))
    }

    pub(crate) fn bytes(&self) -> Result<&'a [u8], Bad> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(Bad::Form),
        }
    }

    pub(crate) fn text(&self) -> Result<&'a str, Bad> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Bad::Text)
    }

    /// Where its bytes lie within the message that it is a field of.
    pub(crate) fn inner(&self) -> Result<Range<usize>, Bad> {
        Ok(self.span.end - self.bytes()?.len()..self.span.end)
    }
}

/// Sets a place that may be set once.
pub(crate) fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Bad> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Bad::Twice),
    }
}
