//! What nodes tell each other of streams that are kept elsewhere: the head of a message to be kept, and the word of what
//! was kept. Pure.
//!
//! ```text
//! head   envelope: length u16, bytes | run u64 | position u64 | previous u64 | mirror | stream | as
//! word   version u8 (1) | origin | mirror | to | run u64 | position u64 | what u8 | why
//! ```
//! Texts have a length (u16) before them; numbers are big-endian.

/// The version of a word.
const VERSION: u8 = 1;

/// Bytes of a text, at most: a stream's name, or a reason.
const TEXT_BYTES_MAX: usize = 1_024;

/// What comes with a message that is to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head<'a> {
    /// Where it comes from and goes to.
    pub(super) envelope: &'a [u8],
    /// Tells what is sent now from what was sent before all was sent anew.
    pub(super) run: u64,
    /// Its position in the stream that it is from.
    pub(super) position: u64,
    /// The position of the message that was sent before it in this run; 0: it is the first.
    pub(super) previous: u64,
    /// The name of the mirror.
    pub(super) mirror: &'a str,
    /// The stream that it is from.
    pub(super) stream: &'a str,
    /// The stream that it goes into.
    pub(super) into: &'a str,
}

/// What became of messages that were to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// All up to the position are recorded.
    Confirmed,
    /// All after the position are to be sent again: some are missing.
    Again,
    /// None is taken, for this reason.
    Refused(String),
}

/// A word of what became of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// The node that sent them: `domain/node`.
    pub(super) origin: String,
    /// The mirror.
    pub(super) mirror: String,
    /// The domain in which they are kept.
    pub(super) to: String,
    /// The run.
    pub(super) run: u64,
    /// The position.
    pub(super) position: u64,
    /// What.
    pub(super) what: What,
}

fn put(out: &mut Vec<u8>, part: &[u8]) {
    let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(part.get(..usize::from(length)).unwrap_or_default());
}

struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<2>()?;
        let (part, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        self.0 = rest;
        Some(part)
    }

    fn text(&mut self) -> Option<&'a str> {
        let text = std::str::from_utf8(self.bytes()?).ok()?;
        (text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control)).then_some(text)
    }

    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*number))
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }
}

impl<'a> Head<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.envelope.len() + 64);
        put(&mut out, self.envelope);
        for number in [self.run, self.position, self.previous] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        [self.mirror, self.stream, self.into].iter().for_each(|text| put(&mut out, text.as_bytes()));
        out
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Option<Head<'a>> {
        let mut parts = Parts(bytes);
        let head = Head {
            envelope: parts.bytes()?,
            run: parts.number()?,
            position: parts.number()?,
            previous: parts.number()?,
            mirror: parts.text()?,
            stream: parts.text()?,
            into: parts.text()?,
        };
        (parts.0.is_empty() && head.previous < head.position).then_some(head)
    }
}

impl Word {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        [&self.origin, &self.mirror, &self.to].iter().for_each(|text| put(&mut out, text.as_bytes()));
        out.extend_from_slice(&self.run.to_be_bytes());
        out.extend_from_slice(&self.position.to_be_bytes());
        let (what, why) = match &self.what {
            What::Confirmed => (0, ""),
            What::Again => (1, ""),
            What::Refused(why) => (2, why.as_str()),
        };
        out.push(what);
        let end = why.char_indices().map(|(at, _)| at).find(|at| *at >= TEXT_BYTES_MAX - 4).unwrap_or(why.len());
        let why: String = why.get(..end).unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
        put(&mut out, why.as_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Word> {
        let mut parts = Parts(bytes);
        if parts.byte()? != VERSION {
            return None;
        }
        let (origin, mirror, to) = (parts.text()?.to_owned(), parts.text()?.to_owned(), parts.text()?.to_owned());
        let (run, position, what) = (parts.number()?, parts.number()?, parts.byte()?);
        let why = parts.text()?;
        let what = match what {
            0 => What::Confirmed,
            1 => What::Again,
            2 => What::Refused(why.to_owned()),
            _ => return None,
        };
        parts.0.is_empty().then_some(Word { origin, mirror, to, run, position, what })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_and_words_are_read_as_they_were_written_and_nothing_else_is() {
        let head =
            Head { envelope: b"e", run: 1, position: 9, previous: 7, mirror: "m", stream: "ORDERS", into: "COPY" };
        let bytes = head.encode();
        assert_eq!(Head::decode(&bytes), Some(head));
        assert_eq!(Head::decode(&Head { previous: 9, ..head }.encode()), None, "nothing comes before itself");
        for what in [What::Confirmed, What::Again, What::Refused("there is no room".to_owned())] {
            let (origin, mirror, to) = ("a/1".to_owned(), "m".to_owned(), "b".to_owned());
            let word = Word { origin, mirror, to, run: 3, position: 4, what };
            let bytes = word.encode();
            assert_eq!(Word::decode(&bytes), Some(word));
            assert!((0..bytes.len()).all(|cut| Word::decode(&bytes[..cut]).is_none()));
        }
        assert!((0..bytes.len()).all(|cut| Head::decode(&bytes[..cut]).is_none()));
        let long = Word { what: What::Refused("\n".repeat(9_000)), ..Word::decode(&word(2)).unwrap() };
        assert!(Word::decode(&long.encode()).is_some(), "a reason is cut, and without control characters");
    }

    fn word(position: u64) -> Vec<u8> {
        let (origin, mirror, to) = ("a/1".to_owned(), "m".to_owned(), "b".to_owned());
        Word { origin, mirror, to, run: 0, position, what: What::Confirmed }.encode()
    }
}
