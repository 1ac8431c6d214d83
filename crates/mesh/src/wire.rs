//! What nodes tell each other on a link of who wants what.
//!
//! A link carries notes in order and loses none while its connection lives. A note speaks of **sources**: a node of
//! the domain, or a domain in a segment. To hear the same twice changes nothing.
//!
//! ```text
//! version u8 (1) | kind u8
//! 1 wishes   parts: source | flag anew | add: wish | remove: wish
//! 2 gone     sources
//! 3 ask      sources
//! 4 full
//! source     0, node | 1, domain, segment
//! wish       pattern | queue group?
//! ```
//!
//! with numbers, texts, lists and flags as `codec` has them.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use event::Pattern;

use crate::codec::{CodecError, Reader, Writer};
use crate::envelope::QUEUE_BYTES_MAX;
use crate::names::Name;

/// The version of the bytes.
const VERSION: u8 = 1;

/// Most items of a list of a note. Notes have some hundred; one pattern in very many groups makes a longer one.
const ITEMS_MAX: usize = 1 << 20;

/// What somebody wants: a pattern, alone or as a member of a queue group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wish {
    /// Which subjects.
    pub pattern: Pattern,
    /// The queue group.
    pub queue: Option<Arc<str>>,
}

/// Whose wishes they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A node of the own domain: what its clients want.
    Node(Name),
    /// A domain, in a segment: what anyone there wants.
    Domain {
        /// The domain.
        domain: Name,
        /// The segment that it is heard in.
        segment: Name,
    },
}

/// What changed for one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Whose wishes.
    pub source: Source,
    /// Whether all that was told of it before is void.
    pub anew: bool,
    /// What is wanted.
    pub add: Vec<Wish>,
    /// What is wanted no longer.
    pub remove: Vec<Wish>,
}

/// What one node tells another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// What sources want.
    Wishes(Vec<Part>),
    /// Nothing is known of these sources any longer.
    Gone(Vec<Source>),
    /// Tell all of these sources anew, where you may.
    Ask(Vec<Source>),
    /// All that was to be told when the link came up is told.
    Full,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Node(node) => write!(f, "node {node}"),
            Source::Domain { domain, segment } => write!(f, "domain {domain} in {segment}"),
        }
    }
}

impl Note {
    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.byte(VERSION);
        match self {
            Note::Wishes(parts) => {
                writer.byte(1);
                writer.list(parts, |writer, part| {
                    write_source(writer, &part.source);
                    writer.flag(part.anew);
                    writer.list(&part.add, write_wish);
                    writer.list(&part.remove, write_wish);
                });
            }
            Note::Gone(sources) => {
                writer.byte(2);
                writer.list(sources, write_source);
            }
            Note::Ask(sources) => {
                writer.byte(3);
                writer.list(sources, write_source);
            }
            Note::Full => writer.byte(4),
        }
        writer.finish()
    }

    /// Reads what [`Note::encode`] wrote.
    ///
    /// # Errors
    /// [`CodecError`] where it did not.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        reader.version(VERSION)?;
        let note = match reader.byte()? {
            1 => Note::Wishes(reader.list(ITEMS_MAX, |reader| {
                Ok(Part {
                    source: read_source(reader)?,
                    anew: reader.flag()?,
                    add: reader.list(ITEMS_MAX, read_wish)?,
                    remove: reader.list(ITEMS_MAX, read_wish)?,
                })
            })?),
            2 => Note::Gone(reader.list(ITEMS_MAX, read_source)?),
            3 => Note::Ask(reader.list(ITEMS_MAX, read_source)?),
            4 => Note::Full,
            _ => return Err(CodecError::Value),
        };
        reader.finish()?;
        Ok(note)
    }
}

fn write_source(writer: &mut Writer, source: &Source) {
    match source {
        Source::Node(node) => {
            writer.byte(0);
            writer.name(node);
        }
        Source::Domain { domain, segment } => {
            writer.byte(1);
            writer.name(domain);
            writer.name(segment);
        }
    }
}

fn read_source(reader: &mut Reader<'_>) -> Result<Source, CodecError> {
    match reader.byte()? {
        0 => Ok(Source::Node(reader.name()?)),
        1 => Ok(Source::Domain { domain: reader.name()?, segment: reader.name()? }),
        _ => Err(CodecError::Value),
    }
}

fn write_wish(writer: &mut Writer, wish: &Wish) {
    writer.pattern(&wish.pattern);
    writer.option(wish.queue.as_ref(), |writer, queue| writer.text(queue));
}

fn read_wish(reader: &mut Reader<'_>) -> Result<Wish, CodecError> {
    let pattern = reader.pattern()?;
    let queue = reader.option(|reader| reader.text(QUEUE_BYTES_MAX).map(Arc::from))?;
    Ok(Wish { pattern, queue })
}
