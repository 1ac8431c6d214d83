//! The bytes of one record: what the write-ahead log and the segments are made of.
//!
//! All numbers are little-endian. `len` counts the whole record. The checksum is CRC-32C over all
//! bytes after itself.
//!
//! ```text
//!  0        4        8    9     10           12        16      24      32
//!  ┌────────┬────────┬────┬─────┬────────────┬─────────┬───────┬───────┐
//!  │ crc    │ len    │kind│flags│ subject_len│ stream  │ seq   │ time  │
//!  └────────┴────────┴────┴─────┴────────────┴─────────┴───────┴───────┘
//!  fields, each where its flag is set, in this order:
//!    HEADERS    headers_len u32
//!    ID         id_len u16
//!    EXPIRES    moment u64
//!    DISPLACES  seq u64, size u32    the message that went for this one
//!  subject │ headers │ id │ payload (what is left of len)
//! ```
//!
//! | kind | seq | payload |
//! |---|---|---|
//! | message | its position | the message's |
//! | trim | the new first position; all before it is gone | |
//! | delete | the first of the removed | (seq u64, size u32) of each, all of the record's subject |
//! | stream put | | the declaration, JSON |
//! | stream delete | | |
//! | desk | | a change of the consumers, theirs to read |
//! | void | | nothing: it stands where damaged bytes were moved away from |
//! | reserve | a stream in memory may have used positions up to this one | |
//!
//! Records state effects, so replaying them judges nothing again.

use bytes::{Buf, Bytes};
use event::{Headers, Message, Moment, Subject};

/// Bytes before the fields.
pub const HEADER: usize = 32;
/// Largest record: the largest message and its header; beyond, a length is damage.
pub const RECORD_BYTES_MAX: usize = event::limits::PAYLOAD_BYTES_MAX
    + event::limits::HEADERS_BYTES_MAX
    + event::limits::SUBJECT_BYTES_MAX
    + journal::limits::MESSAGE_ID_BYTES_MAX
    + FIELDS_MAX
    + HEADER;
/// All fields together.
const FIELDS_MAX: usize = 4 + 2 + 8 + 12;
/// Removed messages in one delete record: bounds its size to 48 KiB.
pub const REMOVED_MAX: usize = 4096;

const HAS_HEADERS: u8 = 1;
const HAS_ID: u8 = 2;
const HAS_EXPIRES: u8 = 4;
const HAS_DISPLACES: u8 = 8;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A message.
    Message,
    /// The head moved on.
    Trim,
    /// Single messages went.
    Delete,
    /// A stream was declared, or declared anew.
    StreamPut,
    /// A stream went.
    StreamDelete,
    /// Consumers changed.
    Desk,
    /// Nothing; whatever it holds is passed over.
    Void,
    /// Positions are taken ahead.
    Reserve,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Kind::Message => 1,
            Kind::Trim => 2,
            Kind::Delete => 3,
            Kind::StreamPut => 4,
            Kind::StreamDelete => 5,
            Kind::Desk => 6,
            Kind::Void => 7,
            Kind::Reserve => 8,
        }
    }

    fn of(code: u8) -> Option<Kind> {
        Some(match code {
            1 => Kind::Message,
            2 => Kind::Trim,
            3 => Kind::Delete,
            4 => Kind::StreamPut,
            5 => Kind::StreamDelete,
            6 => Kind::Desk,
            7 => Kind::Void,
            8 => Kind::Reserve,
            _ => return None,
        })
    }
}

/// What is written.
#[derive(Debug, Clone)]
pub struct Draft<'a> {
    /// What it is.
    pub kind: Kind,
    /// The stream's number.
    pub stream: u32,
    /// See the table above.
    pub seq: u64,
    /// When it was recorded.
    pub time: Moment,
    /// The subject; empty where there is none.
    pub subject: &'a [u8],
    /// The header block.
    pub headers: &'a [u8],
    /// The message id.
    pub id: Option<&'a [u8]>,
    /// When it expires.
    pub expires: Option<Moment>,
    /// Position and size of the message that went for it.
    pub displaces: Option<(u64, u32)>,
    /// The payload.
    pub payload: &'a [u8],
}

impl Draft<'_> {
    /// A record without subject or payload.
    pub fn bare(kind: Kind, stream: u32, seq: u64, time: Moment) -> Self {
        let none: &[u8] = &[];
        Draft {
            kind,
            stream,
            seq,
            time,
            subject: none,
            headers: none,
            id: None,
            expires: None,
            displaces: None,
            payload: none,
        }
    }

    /// Adds the record's bytes; returns how many.
    pub fn encode(&self, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        let flags = if self.headers.is_empty() { 0 } else { HAS_HEADERS }
            | self.id.map_or(0, |_| HAS_ID)
            | self.expires.map_or(0, |_| HAS_EXPIRES)
            | self.displaces.map_or(0, |_| HAS_DISPLACES);
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&[self.kind.code(), flags]);
        out.extend_from_slice(&short(self.subject.len()).to_le_bytes());
        out.extend_from_slice(&self.stream.to_le_bytes());
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&self.time.nanos().to_le_bytes());
        if !self.headers.is_empty() {
            out.extend_from_slice(&word(self.headers.len()).to_le_bytes());
        }
        if let Some(id) = self.id {
            out.extend_from_slice(&short(id.len()).to_le_bytes());
        }
        if let Some(expires) = self.expires {
            out.extend_from_slice(&expires.nanos().to_le_bytes());
        }
        if let Some((seq, size)) = self.displaces {
            out.extend_from_slice(&seq.to_le_bytes());
            out.extend_from_slice(&size.to_le_bytes());
        }
        out.extend_from_slice(self.subject);
        out.extend_from_slice(self.headers);
        out.extend_from_slice(self.id.unwrap_or_default());
        out.extend_from_slice(self.payload);
        let len = out.len() - start;
        if let Some(place) = out.get_mut(start + 4..start + 8) {
            place.copy_from_slice(&word(len).to_le_bytes());
        }
        let crc = crc32c::crc32c(out.get(start + 4..).unwrap_or_default());
        if let Some(place) = out.get_mut(start..start + 4) {
            place.copy_from_slice(&crc.to_le_bytes());
        }
        len
    }
}

// Both are bounded by limits far below; saturating keeps a broken caller from wrapping.
fn short(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

fn word(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

const _: () = assert!(event::limits::SUBJECT_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(journal::limits::MESSAGE_ID_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(RECORD_BYTES_MAX <= u32::MAX as usize);

/// A record's fixed part, read but not checked against its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The checksum it claims.
    pub crc: u32,
    /// Its whole length.
    pub len: usize,
    /// What it is.
    pub kind: Kind,
    /// Its stream.
    pub stream: u32,
    /// See the module's table.
    pub seq: u64,
    /// When it was recorded.
    pub time: Moment,
    flags: u8,
    subject_len: usize,
}

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The bytes end before the record does; it needs this many in all.
    Short(usize),
    /// The fixed part is none.
    Head,
    /// The checksum is wrong, and the length is plausible.
    Checksum {
        /// The length it claims.
        len: usize,
    },
}

impl Head {
    /// Reads the fixed part.
    ///
    /// # Errors
    /// [`Broken`] where it is none.
    pub fn read(bytes: &[u8]) -> Result<Head, Broken> {
        let mut fixed = bytes.get(..HEADER).ok_or(Broken::Short(HEADER))?;
        let crc = fixed.get_u32_le();
        let len = fixed.get_u32_le() as usize;
        let (kind, flags) = (fixed.get_u8(), fixed.get_u8());
        let subject_len = usize::from(fixed.get_u16_le());
        let (stream, seq, time) = (fixed.get_u32_le(), fixed.get_u64_le(), Moment::from_nanos(fixed.get_u64_le()));
        let kind = Kind::of(kind).ok_or(Broken::Head)?;
        let head = Head { crc, len, kind, stream, seq, time, flags, subject_len };
        if flags > 15 || len > RECORD_BYTES_MAX || len < HEADER + head.fields_len() + subject_len {
            return Err(Broken::Head);
        }
        Ok(head)
    }

    fn fields_len(&self) -> usize {
        let has = |flag, len| if self.flags & flag == 0 { 0 } else { len };
        has(HAS_HEADERS, 4) + has(HAS_ID, 2) + has(HAS_EXPIRES, 8) + has(HAS_DISPLACES, 12)
    }

    /// Where the subject is in the record.
    pub fn subject_range(&self) -> core::ops::Range<usize> {
        let start = HEADER + self.fields_len();
        start..start + self.subject_len
    }

    /// Bytes from the start that [`Head::size`] and [`Head::subject_range`] need.
    pub fn prefix_len(&self) -> usize {
        self.subject_range().end
    }

    /// Subject, headers and payload together, as [`Message::size`] counts.
    pub fn size(&self, record: &[u8]) -> usize {
        let mut fields = record.get(HEADER..).unwrap_or_default();
        if self.flags & HAS_HEADERS != 0 {
            fields = fields.get(4..).unwrap_or_default();
        }
        let id = match fields.get(..2) {
            Some(two) if self.flags & HAS_ID != 0 => usize::from(u16::from_le_bytes([two[0], two[1]])),
            _ => 0,
        };
        self.len.saturating_sub(HEADER + self.fields_len() + id)
    }
}

/// A whole record whose checksum is right. Cheap to make and to clone: its bytes are shared.
#[derive(Debug, Clone)]
pub struct Record {
    /// The fixed part.
    pub head: Head,
    /// The message id.
    pub id: Option<Bytes>,
    /// When it expires.
    pub expires: Option<Moment>,
    /// Position and size of the message that went for it.
    pub displaces: Option<(u64, u32)>,
    /// The subject.
    pub subject: Bytes,
    /// The header block.
    pub headers: Bytes,
    /// The payload.
    pub payload: Bytes,
}

/// Checks that the bytes begin with a whole record; returns its fixed part.
///
/// # Errors
/// [`Broken`] where they do not.
pub fn check(bytes: &[u8]) -> Result<Head, Broken> {
    let head = Head::read(bytes)?;
    let whole = bytes.get(4..head.len).ok_or(Broken::Short(head.len))?;
    if crc32c::crc32c(whole) != head.crc {
        return Err(Broken::Checksum { len: head.len });
    }
    Ok(head)
}

impl Record {
    /// Reads the record at the start of the bytes, sharing them.
    ///
    /// # Errors
    /// [`Broken`] where they hold none.
    pub fn read(bytes: &Bytes) -> Result<Record, Broken> {
        let head = check(bytes)?;
        Record::parts(head, bytes).ok_or(Broken::Head)
    }

    fn parts(head: Head, bytes: &Bytes) -> Option<Record> {
        let has = |flag| head.flags & flag != 0;
        let mut fields = bytes.get(HEADER..HEADER + head.fields_len())?;
        let headers_len = if has(HAS_HEADERS) { fields.get_u32_le() as usize } else { 0 };
        let id_len = if has(HAS_ID) { usize::from(fields.get_u16_le()) } else { 0 };
        let expires = has(HAS_EXPIRES).then(|| Moment::from_nanos(fields.get_u64_le()));
        let displaces = has(HAS_DISPLACES).then(|| (fields.get_u64_le(), fields.get_u32_le()));
        let subject = head.subject_range();
        let headers_end = subject.end.checked_add(headers_len)?;
        let id_end = headers_end.checked_add(id_len)?;
        if id_end > head.len {
            return None;
        }
        Some(Record {
            head,
            id: has(HAS_ID).then(|| bytes.slice(headers_end..id_end)),
            expires,
            displaces,
            headers: if headers_len == 0 { Bytes::new() } else { bytes.slice(subject.end..headers_end) },
            subject: bytes.slice(subject),
            payload: bytes.slice(id_end..head.len),
        })
    }

    /// The message in it; `None` where it holds none.
    pub fn message(&self) -> Option<Message> {
        Some(Message {
            subject: Subject::new(self.subject.clone()).ok()?,
            reply: None,
            headers: Headers::from_block(self.headers.clone()).ok()?,
            payload: self.payload.clone(),
        })
    }

    /// Subject, headers and payload together.
    pub fn size(&self) -> usize {
        self.subject.len() + self.headers.len() + self.payload.len()
    }

    /// The messages that a delete record removed: position and size.
    pub fn removed(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.payload.chunks_exact(12).map(|mut pair| (pair.get_u64_le(), pair.get_u32_le()))
    }
}

/// The payload of a delete record.
pub fn removed_payload(removed: &[(u64, u32)]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(removed.len() * 12);
    for (seq, size) in removed {
        payload.extend_from_slice(&seq.to_le_bytes());
        payload.extend_from_slice(&size.to_le_bytes());
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_record_comes_back(
            (seq, time, stream) in any::<(u64, u64, u32)>(),
            subject in "[a-z]{1,9}(\\.[a-z]{1,9}){0,3}",
            value in "[ -~]{0,9}",
            id in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
            expires in proptest::option::of(any::<u64>()),
            displaces in proptest::option::of(any::<(u64, u32)>()),
            payload: Vec<u8>,
            flip: prop::sample::Index,
        ) {
            let headers = if value.is_empty() { String::new() } else { format!("x: {value}\r\n") };
            let mut out = vec![1, 2, 3];
            let draft = Draft {
                subject: subject.as_bytes(),
                headers: headers.as_bytes(),
                id: id.as_deref(),
                expires: expires.map(Moment::from_nanos),
                displaces,
                payload: &payload,
                ..Draft::bare(Kind::Message, stream, seq, Moment::from_nanos(time))
            };
            let len = draft.encode(&mut out);
            let bytes = Bytes::from(out).slice(3..);
            prop_assert_eq!(bytes.len(), len);
            let record = Record::read(&bytes).unwrap();
            prop_assert_eq!((record.head.seq, record.head.stream, record.head.time.nanos()), (seq, stream, time));
            prop_assert_eq!(record.id.as_deref(), id.as_deref());
            prop_assert_eq!(record.expires.map(Moment::nanos), expires);
            prop_assert_eq!(record.displaces, displaces);
            let message = record.message().unwrap();
            prop_assert_eq!(message.subject.as_str(), subject);
            prop_assert_eq!(message.headers.as_block().as_ref(), headers.as_bytes());
            prop_assert_eq!(message.payload.as_ref(), &payload[..]);
            prop_assert_eq!(record.head.size(&bytes), message.size());

            let mut damaged = bytes.to_vec();
            let place = flip.index(damaged.len());
            damaged[place] ^= 1;
            prop_assert!(Record::read(&damaged.into()).is_err());
            prop_assert!(Record::read(&bytes.slice(..len - 1)).is_err());
        }

        #[test]
        fn any_bytes_are_judged_without_panic(bytes: Vec<u8>) {
            let _ = Record::read(&bytes.into());
        }
    }

    #[test]
    fn the_removed_come_back() {
        let removed = [(7, 9), (u64::MAX, 0)];
        let payload = removed_payload(&removed);
        let mut out = Vec::new();
        Draft { subject: b"a", payload: &payload, ..Draft::bare(Kind::Delete, 1, 7, Moment::EPOCH) }.encode(&mut out);
        let record = Record::read(&out.into()).unwrap();
        assert!(record.removed().eq(removed));
    }
}
