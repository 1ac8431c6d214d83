//! What nodes tell each other of streams that are kept elsewhere: the head of a message to be kept, and the words about
//! it. Pure.
//!
//! ```text
//! head   envelope | node | flow | stream | as | run u64 | born u64 | floor u64 | position u64 |
//!        previous u64
//! word   version u8 (1) | envelope | node | flow | run u64 | what u8, and what it says:
//!          0 confirmed   position u64            all up to it are recorded
//!          1 again       1 position u64, or 0    what comes behind it is missing; 0: it is not known from where on
//!          2 refused     why
//!          3 ask         stream | as | count u8, filters
//!          4 serving     owed u64
//!          5 denied      why
//! ```
//! The envelope is the mesh's; `node` is the node of its domain that this is for, empty: whichever it comes to. Texts and
//! envelopes have a length (u16) before them; numbers are big-endian.

use mesh::names::Name;

/// The version of a word.
const VERSION: u8 = 1;

/// Bytes of a text, at most: a stream's name, or a reason.
const TEXT_BYTES_MAX: usize = 1_024;

/// Most filters of a question: as many as may be declared of a consumer.
const FILTERS_MAX: usize = 255;

/// What comes with a message that is to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head<'a> {
    /// Where it comes from and goes to.
    pub(super) envelope: &'a [u8],
    /// The node that it is for; empty: whichever it comes to.
    pub(super) node: &'a str,
    /// What words about it are told by.
    pub(super) flow: &'a str,
    /// The stream that it is from.
    pub(super) stream: &'a str,
    /// The stream that it goes into.
    pub(super) into: &'a str,
    /// Tells what is sent now from what was sent before all was sent anew.
    pub(super) run: u64,
    /// When the stream that it is from was made, in nanoseconds: one that is made anew under its name is another.
    pub(super) born: u64,
    /// The position up to which all was confirmed when the run began: the first message of a run is the next behind it.
    pub(super) floor: u64,
    /// Its position in the stream that it is from.
    pub(super) position: u64,
    /// The position behind which it is the next that is to be kept.
    pub(super) previous: u64,
}

/// What is said of a stream that is kept elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// All up to the position are recorded.
    Confirmed(u64),
    /// All after the position are to be sent again; `None`: from wherever the sender knows them to be confirmed.
    Again(Option<u64>),
    /// None is taken, for this reason.
    Refused(String),
    /// A stream is wanted there, as long as this is said again and again.
    Ask {
        /// The stream, as it is called where it is.
        stream: String,
        /// The stream that it is to go into.
        into: String,
        /// Patterns of the messages that are wanted; none: all.
        filters: Vec<String>,
    },
    /// What was asked for comes; so many are not confirmed yet.
    Serving(u64),
    /// What was asked for does not come, for this reason.
    Denied(String),
}

/// A word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// Where it comes from and goes to.
    pub(super) envelope: Vec<u8>,
    /// The node that it is for; empty: whichever it comes to.
    pub(super) node: String,
    /// What it is about.
    pub(super) flow: String,
    /// The run.
    pub(super) run: u64,
    /// What it says.
    pub(super) what: What,
}

/// The node that a head or word names; `Err`: none can be called so.
pub(super) fn node(text: &str) -> Result<Option<Name>, ()> {
    if text.is_empty() { Ok(None) } else { Name::parse(text).map(Some).map_err(|_| ()) }
}

fn put(out: &mut Vec<u8>, part: &[u8]) {
    let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(part.get(..usize::from(length)).unwrap_or_default());
}

/// A reason: cut, and without control characters.
fn put_why(out: &mut Vec<u8>, why: &str) {
    let end = why.char_indices().map(|(at, _)| at).find(|at| *at >= TEXT_BYTES_MAX - 4).unwrap_or(why.len());
    let why: String = why.get(..end).unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
    put(out, why.as_bytes());
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

    fn what(&mut self) -> Option<What> {
        Some(match self.byte()? {
            0 => What::Confirmed(self.number()?),
            1 => What::Again(match self.byte()? {
                0 => None,
                1 => Some(self.number()?),
                _ => return None,
            }),
            2 => What::Refused(self.text()?.to_owned()),
            3 => {
                let (stream, into) = (self.text()?.to_owned(), self.text()?.to_owned());
                let count = self.byte()?;
                let filters = (0..count).map(|_| Some(self.text()?.to_owned())).collect::<Option<_>>()?;
                What::Ask { stream, into, filters }
            }
            4 => What::Serving(self.number()?),
            5 => What::Denied(self.text()?.to_owned()),
            _ => return None,
        })
    }
}

impl<'a> Head<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.envelope.len() + 128);
        put(&mut out, self.envelope);
        [self.node, self.flow, self.stream, self.into].iter().for_each(|text| put(&mut out, text.as_bytes()));
        for number in [self.run, self.born, self.floor, self.position, self.previous] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Option<Head<'a>> {
        let mut parts = Parts(bytes);
        let head = Head {
            envelope: parts.bytes()?,
            node: parts.text()?,
            flow: parts.text()?,
            stream: parts.text()?,
            into: parts.text()?,
            run: parts.number()?,
            born: parts.number()?,
            floor: parts.number()?,
            position: parts.number()?,
            previous: parts.number()?,
        };
        let ordered = head.floor <= head.previous && head.previous < head.position;
        (parts.0.is_empty() && ordered).then_some(head)
    }
}

impl Word {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put(&mut out, &self.envelope);
        [&self.node, &self.flow].iter().for_each(|text| put(&mut out, text.as_bytes()));
        out.extend_from_slice(&self.run.to_be_bytes());
        match &self.what {
            What::Confirmed(position) => {
                out.push(0);
                out.extend_from_slice(&position.to_be_bytes());
            }
            What::Again(behind) => {
                out.extend_from_slice(&[1, u8::from(behind.is_some())]);
                out.extend(behind.iter().flat_map(|position| position.to_be_bytes()));
            }
            What::Refused(why) => {
                out.push(2);
                put_why(&mut out, why);
            }
            What::Ask { stream, into, filters } => {
                out.push(3);
                [stream, into].iter().for_each(|text| put(&mut out, text.as_bytes()));
                let filters = filters.get(..FILTERS_MAX.min(filters.len())).unwrap_or_default();
                out.push(u8::try_from(filters.len()).unwrap_or(u8::MAX));
                filters.iter().for_each(|filter| put(&mut out, filter.as_bytes()));
            }
            What::Serving(owed) => {
                out.push(4);
                out.extend_from_slice(&owed.to_be_bytes());
            }
            What::Denied(why) => {
                out.push(5);
                put_why(&mut out, why);
            }
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Word> {
        let mut parts = Parts(bytes);
        if parts.byte()? != VERSION {
            return None;
        }
        let envelope = parts.bytes()?.to_vec();
        let (node, flow) = (parts.text()?.to_owned(), parts.text()?.to_owned());
        let (run, what) = (parts.number()?, parts.what()?);
        parts.0.is_empty().then_some(Word { envelope, node, flow, run, what })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(what: What) -> Word {
        Word { envelope: b"e".to_vec(), node: "1".to_owned(), flow: "push/m".to_owned(), run: 3, what }
    }

    #[test]
    fn heads_are_read_as_they_were_written_and_nothing_else_is() {
        let (node, flow, stream, into) = ("", "push/m", "ORDERS", "COPY");
        let head =
            Head { envelope: b"e", node, flow, stream, into, run: 1, born: 5, floor: 6, position: 9, previous: 7 };
        let bytes = head.encode();
        assert_eq!(Head::decode(&bytes), Some(head));
        assert_eq!(Head::decode(&Head { previous: 9, ..head }.encode()), None, "nothing comes before itself");
        assert_eq!(Head::decode(&Head { floor: 8, ..head }.encode()), None, "nor before its run");
        assert!((0..bytes.len()).all(|cut| Head::decode(&bytes[..cut]).is_none()));
    }

    #[test]
    fn words_are_read_as_they_were_written_and_nothing_else_is() {
        let (stream, into, filters) = ("S".to_owned(), "T".to_owned(), vec!["a.>".to_owned(), "b".to_owned()]);
        for what in [
            What::Confirmed(4),
            What::Again(None),
            What::Again(Some(7)),
            What::Refused("there is no room".to_owned()),
            What::Ask { stream, into, filters },
            What::Serving(9),
            What::Denied("a rule".to_owned()),
        ] {
            let bytes = word(what.clone()).encode();
            assert_eq!(Word::decode(&bytes), Some(word(what)));
            assert!((0..bytes.len()).all(|cut| Word::decode(&bytes[..cut]).is_none()));
        }
        let long = word(What::Refused("x\n".repeat(9_000))).encode();
        assert!(Word::decode(&long).is_some(), "a reason is cut, and without control characters");
        let many = vec!["a".to_owned(); 300];
        let asked = word(What::Ask { stream: "S".to_owned(), into: "T".to_owned(), filters: many }).encode();
        assert!(Word::decode(&asked).is_some());
    }
}
