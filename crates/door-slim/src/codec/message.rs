//! Messages, looked at in place.

use std::ops::Range;

use thiserror::Error;

use super::name::{Encoded, Name};
use super::shape;
use super::wire::{Fields, once};
use crate::limits::HEADER_BYTES_MAX;

/// Why bytes are no message, or none that is handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Bad {
    /// They end in the middle.
    #[error("the message ends in the middle of a field")]
    Short,
    /// A tag is none.
    #[error("a field's tag cannot be read")]
    Tag,
    /// A number is too long.
    #[error("a number has more than 64 bits")]
    Number,
    /// A field that is known has another form.
    #[error("a field has the wrong form")]
    Form,
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
    /// A field of the header, or the message's kind, is there twice.
    #[error("a field that may be there once is there twice")]
    Twice,
    /// The header, its source or its destination is missing.
    #[error("the header is missing, or has no source or destination")]
    Header,
    /// A published message has no session header.
    #[error("the session header is missing")]
    Session,
    /// The header is larger than may be.
    #[error("the header is larger than {HEADER_BYTES_MAX} bytes")]
    Large,
}

/// What kind of connection a link is, as its initiator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Between nodes of two domains.
    Remote,
    /// Between replicas.
    Peer,
    /// From an application to its first node.
    Edge,
}

impl Kind {
    fn of(number: u64) -> Self {
        match number {
            1 => Kind::Peer,
            2 => Kind::Edge,
            _ => Kind::Remote,
        }
    }

    /// As it travels.
    pub fn number(self) -> u64 {
        match self {
            Kind::Remote => 0,
            Kind::Peer => 1,
            Kind::Edge => 2,
        }
    }
}

/// The header of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Who sends it.
    pub source: Name<'a>,
    /// Whom it is for, or the name that is subscribed.
    pub destination: Name<'a>,
    /// Where it is for.
    pub to: Encoded,
    /// Who the sender says that he is.
    pub identity: &'a str,
    /// 1: one receiver; else all.
    pub fanout: u32,
    /// Nodes that it may still pass.
    pub ttl: u32,
    /// Heard of for the tag alone: what it asks for is not done.
    pub recv_from: Option<u64>,
    /// Heard of for the tag alone: what it asks for is not done.
    pub forward_to: Option<u64>,
    /// Whether it tells of a failure.
    pub error: Option<bool>,
    /// The tag over the header.
    pub mac: Option<&'a [u8]>,
}

/// The header of a session's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Session {
    /// 1: point to point, 2: a group's.
    pub session_type: u32,
    /// 1: a message of the application; 5: a search for an instance.
    pub message_type: u32,
    /// The session.
    pub session: u32,
    /// The message within it.
    pub message: u32,
}

/// Fields of a header that are this link's own: a node puts its own in their place.
pub(super) const REPLACED: [u32; 5] = [6, 7, 8, 9, 11];

/// Where the parts of a published message lie, from the message's beginning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Layout {
    /// The field of the message that holds all of this.
    pub(super) publish: Range<usize>,
    /// What it holds.
    pub(super) publish_inner: Range<usize>,
    /// The field that holds the header.
    pub(super) header: Range<usize>,
    /// What it holds.
    pub(super) header_inner: Range<usize>,
    /// Fields of the header that are replaced, in order.
    pub(super) replaced: [Range<usize>; REPLACED.len()],
    pub(super) replaced_count: usize,
}

/// A published message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The whole message.
    pub raw: &'a [u8],
    /// Its header.
    pub header: Header<'a>,
    /// Its session's header.
    pub session: Session,
    pub(super) layout: Layout,
}

/// A subscription, or the end of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<'a> {
    /// Its header; the destination is the name that is subscribed.
    pub header: Header<'a>,
    /// Names it in the acknowledgement; 0: none is wanted.
    pub subscription: u64,
}

/// The first message of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiation<'a> {
    /// Names the link; the same when it comes again.
    pub link: &'a str,
    /// The other side's version.
    pub version: &'a str,
    /// Whether it answers one.
    pub is_reply: bool,
    /// A public key of X25519.
    pub key: &'a [u8],
    /// The link's kind.
    pub kind: Kind,
    /// Which node it is.
    pub node: &'a str,
    /// The deployment that it belongs to.
    pub deployment: &'a str,
    /// A public key of ML-KEM-768, or what answers one.
    pub kem: Option<&'a [u8]>,
}

/// A message of the data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// A name is subscribed.
    Subscribe(Change<'a>),
    /// A subscription ends.
    Unsubscribe(Change<'a>),
    /// Something is published.
    Publish(Publish<'a>),
    /// A link is negotiated.
    Negotiate(Negotiation<'a>),
    /// What a subscription came to. Nodes that take connections have none to wait for.
    Ack,
    /// Nothing that is known.
    Other,
}

/// Looks at a message.
///
/// # Errors
/// [`Bad`], where it is none, or a client's decoder would not take it.
pub fn read(raw: &[u8]) -> Result<Message<'_>, Bad> {
    let mut kind = None;
    for field in Fields::of(raw) {
        let field = field?;
        match field.number {
            1 | 2 | 3 | 5 | 6 => once(&mut kind, (field.number, field.span.clone(), field.inner()?))?,
            4 => shape::check(field.bytes()?, shape::ENTRY)?,
            _ => {}
        }
    }
    let Some((number, span, inner)) = kind else {
        return Ok(Message::Other);
    };
    let bytes = raw.get(inner.clone()).ok_or(Bad::Short)?;
    match number {
        1 => Ok(Message::Subscribe(change(bytes)?)),
        2 => Ok(Message::Unsubscribe(change(bytes)?)),
        3 => publish(raw, span, inner).map(Message::Publish),
        5 => link(bytes),
        _ => {
            shape::check(bytes, &[(1, shape::Form::Number), (2, shape::Form::Number), (3, shape::Form::Text)])?;
            Ok(Message::Ack)
        }
    }
}

fn change(bytes: &[u8]) -> Result<Change<'_>, Bad> {
    let (mut held, mut subscription) = (None, None);
    for field in Fields::of(bytes) {
        let field = field?;
        match field.number {
            1 => once(&mut held, header(field.bytes()?, 0, &mut Layout::default())?)?,
            2 => once(&mut subscription, field.number()?)?,
            _ => {}
        }
    }
    Ok(Change { header: held.ok_or(Bad::Header)?, subscription: subscription.unwrap_or(0) })
}

fn publish(raw: &[u8], span: Range<usize>, inner: Range<usize>) -> Result<Publish<'_>, Bad> {
    let begin = inner.start;
    let bytes = raw.get(inner.clone()).ok_or(Bad::Short)?;
    let mut layout = Layout { publish: span, publish_inner: inner, ..Layout::default() };
    let (mut held, mut session) = (None, None);
    for field in Fields::of(bytes) {
        let field = field?;
        match field.number {
            1 => {
                let inner = field.inner()?;
                layout.header = begin + field.span.start..begin + field.span.end;
                layout.header_inner = begin + inner.start..begin + inner.end;
                once(&mut held, header(field.bytes()?, layout.header_inner.start, &mut layout)?)?;
            }
            2 => once(&mut session, session_header(field.bytes()?)?)?,
            3 => shape::check(field.bytes()?, shape::CONTENT)?,
            _ => {}
        }
    }
    Ok(Publish { raw, header: held.ok_or(Bad::Header)?, session: session.ok_or(Bad::Session)?, layout })
}

/// Reads a header whose bytes begin at `at` of the message.
fn header<'a>(bytes: &'a [u8], at: usize, layout: &mut Layout) -> Result<Header<'a>, Bad> {
    if bytes.len() > HEADER_BYTES_MAX {
        return Err(Bad::Large);
    }
    let (mut source, mut destination, mut identity) = (None, None, None);
    let (mut fanout, mut ttl, mut error, mut mac) = (None, None, None, None);
    let (mut recv_from, mut forward_to, mut incoming, mut signed) = (None, None, None, None);
    for field in Fields::of(bytes) {
        let field = field?;
        match field.number {
            1 => once(&mut source, Name::read(field.bytes()?)?)?,
            2 => once(&mut destination, Name::read(field.bytes()?)?)?,
            3 => once(&mut identity, field.text()?)?,
            4 => once(&mut fanout, field.narrow()?)?,
            5 => drop(field.text()?),
            6 => once(&mut ttl, field.narrow()?)?,
            7 => once(&mut recv_from, field.number()?)?,
            8 => once(&mut forward_to, field.number()?)?,
            9 => once(&mut incoming, field.number()?)?,
            10 => once(&mut error, field.number()? != 0)?,
            11 => once(&mut mac, field.bytes()?)?,
            12 => once(&mut signed, field.bytes()?)?,
            _ => {}
        }
        if REPLACED.contains(&field.number) {
            let place = layout.replaced.get_mut(layout.replaced_count).ok_or(Bad::Twice)?;
            *place = at + field.span.start..at + field.span.end;
            layout.replaced_count += 1;
        }
    }
    let (Some(source), Some(destination)) = (source, destination) else {
        return Err(Bad::Header);
    };
    let (Some(_), Some(to)) = (source.encoded, destination.encoded) else {
        return Err(Bad::Header);
    };
    let identity = identity.unwrap_or_default();
    let (fanout, ttl) = (fanout.unwrap_or(0), ttl.unwrap_or(0));
    Ok(Header { source, destination, to, identity, fanout, ttl, recv_from, forward_to, error, mac })
}

fn session_header(bytes: &[u8]) -> Result<Session, Bad> {
    let mut session = Session::default();
    for field in Fields::of(bytes) {
        let field = field?;
        match field.number {
            1 => session.session_type = field.narrow()?,
            2 => session.message_type = field.narrow()?,
            3 => session.session = field.narrow()?,
            4 => session.message = field.narrow()?,
            _ => {}
        }
    }
    Ok(session)
}

fn link(bytes: &[u8]) -> Result<Message<'_>, Bad> {
    let mut found = None;
    for field in Fields::of(bytes) {
        let field = field?;
        if field.number == 1 {
            once(&mut found, negotiation(field.bytes()?)?)?;
        }
    }
    Ok(found.map_or(Message::Other, Message::Negotiate))
}

fn negotiation(bytes: &[u8]) -> Result<Negotiation<'_>, Bad> {
    let mut said = Negotiation {
        link: "",
        version: "",
        is_reply: false,
        key: &[],
        kind: Kind::Remote,
        node: "",
        deployment: "",
        kem: None,
    };
    for field in Fields::of(bytes) {
        let field = field?;
        match field.number {
            1 => said.link = field.text()?,
            2 => said.version = field.text()?,
            3 => said.is_reply = field.number()? != 0,
            4 => said.key = field.bytes()?,
            5 => said.kind = Kind::of(field.number()?),
            6 => said.node = field.text()?,
            7 => said.deployment = field.text()?,
            8 => said.kem = Some(field.bytes()?),
            _ => {}
        }
    }
    Ok(said)
}

/// The headers of a published message of which only the beginning is there, where they are in it: to answer one
/// that is too large to be taken.
pub(crate) fn partial(begin: &[u8]) -> Option<(Header<'_>, Session)> {
    // The tag and the length of what holds all of it.
    let inner = opened(begin, 3)?;
    let (mut held, mut session) = (None, None);
    for field in Fields::of(inner) {
        let Ok(field) = field else { break };
        match field.number {
            1 => held = header(field.bytes().ok()?, 0, &mut Layout::default()).ok(),
            2 => session = session_header(field.bytes().ok()?).ok(),
            _ => {}
        }
    }
    Some((held?, session?))
}

/// What is there of a message's field, though it may be cut off. Entries of metadata may stand before it.
fn opened(begin: &[u8], number: u32) -> Option<&[u8]> {
    let mut rest = begin;
    loop {
        let mut fields = Fields::of(rest);
        match fields.next()? {
            Ok(field) if field.number == number => return field.bytes().ok(),
            Ok(field) => rest = rest.get(field.span.end..)?,
            Err(_) => {
                let (tag, rest) = rest.split_first()?;
                let length = rest.iter().position(|byte| byte & 0x80 == 0)?;
                return (u32::from(*tag) == number << 3 | 2).then(|| rest.get(length + 1..)).flatten();
            }
        }
    }
}

impl<'a> Publish<'a> {
    /// The header's bytes as they came, its tag with them. Where they are those of another message, so is every tag
    /// that follows from them.
    pub(crate) fn header_bytes(&self) -> &'a [u8] {
        self.raw.get(self.layout.header_inner.clone()).unwrap_or_default()
    }

    /// The bytes of the header up to the first field that differs from link to link: mostly source, destination and
    /// identity. Messages of which they are the same come from and go to the same names.
    pub(crate) fn who(&self) -> &'a [u8] {
        let layout = &self.layout;
        let end = match layout.replaced.first() {
            Some(first) if layout.replaced_count > 0 => first.start,
            _ => layout.header_inner.end,
        };
        self.raw.get(layout.header_inner.start..end).unwrap_or_default()
    }
}
