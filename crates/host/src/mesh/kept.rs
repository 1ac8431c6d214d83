//! What nodes tell each other of streams that are kept elsewhere: the head of a message to be kept, and the word of what
//! was kept. Pure.
//!
//! ```text
//! head   kind u8: 0 bring, 1 ask | envelope: length u16, bytes | run u64 | position u64 | previous u64 | left u64
//!        | born u64 | node | mirror | stream | as
//! word   version u8 (1) | origin | mirror | to | run u64 | position u64 | what u8 | why
//! ```
//! Texts have a length (u16) before them; numbers are big-endian.

use mesh::names::Name;

/// What stands before the name of a mirror whose messages were asked for: no name holds the character.
pub(super) const ASKED: &str = "asked/";

/// The version of a word.
const VERSION: u8 = 1;

/// Bytes of a text, at most: a stream's name, or a reason.
const TEXT_BYTES_MAX: usize = 1_024;

/// A domain, or a node of one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The domain.
    pub(super) domain: Name,
    /// The node; `None`: whichever of its nodes is come to.
    pub(super) node: Option<Name>,
}

impl Place {
    /// Reads `domain` or `domain/node`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (domain, node) = text.split_once('/').map_or((text, None), |(domain, node)| (domain, Some(node)));
        let node = node.map(Name::parse).transpose().ok()?;
        Some(Place { domain: Name::parse(domain).ok()?, node })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.node {
            Some(node) => write!(f, "{}/{node}", self.domain),
            None => write!(f, "{}", self.domain),
        }
    }
}

/// What a node wants of another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// It brings a message to be kept.
    #[default]
    Bring,
    /// It asks for a stream, from behind a position; the payload holds filters, one a line.
    Ask,
}

/// What comes with a message that is to be kept, or with the question for a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Head<'a> {
    /// What is wanted.
    pub(super) kind: Kind,
    /// Where it comes from and goes to.
    pub(super) envelope: &'a [u8],
    /// Tells what is sent now from what was sent before all was sent anew.
    pub(super) run: u64,
    /// Its position in the stream that it is from.
    pub(super) position: u64,
    /// The position of the message that was sent before it; of the first of a run: up to which all was confirmed before.
    pub(super) previous: u64,
    /// Messages that are to come behind it, as far as that is known.
    pub(super) left: u64,
    /// When the stream that it is from was made, in nanoseconds since 1970: another of the same name is another stream.
    pub(super) born: u64,
    /// The node of the domain that it goes to; empty: whichever it comes to.
    pub(super) node: &'a str,
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
    /// The domain or node where they are kept, as the head said it.
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
        let mut out = Vec::with_capacity(self.envelope.len() + 96);
        out.push(u8::from(self.kind == Kind::Ask));
        put(&mut out, self.envelope);
        for number in [self.run, self.position, self.previous, self.left, self.born] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        [self.node, self.mirror, self.stream, self.into].iter().for_each(|text| put(&mut out, text.as_bytes()));
        out
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Option<Head<'a>> {
        let mut parts = Parts(bytes);
        let kind = match parts.byte()? {
            0 => Kind::Bring,
            1 => Kind::Ask,
            _ => return None,
        };
        let head = Head {
            kind,
            envelope: parts.bytes()?,
            run: parts.number()?,
            position: parts.number()?,
            previous: parts.number()?,
            left: parts.number()?,
            born: parts.number()?,
            node: parts.text()?,
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
            Head { envelope: b"e", run: 1, position: 9, previous: 7, left: 3, born: 5, mirror: "m", ..Head::default() };
        let head = Head { stream: "ORDERS", into: "COPY", ..head };
        for (kind, node) in [(Kind::Ask, "h1"), (Kind::Bring, "")] {
            let head = Head { kind, node, ..head };
            assert_eq!(Head::decode(&head.encode()), Some(head));
        }
        let bytes = head.encode();
        assert_eq!(Head::decode(&[&[2], &bytes[1..]].concat()), None, "there is no such kind");
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
