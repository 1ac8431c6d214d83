//! What this node says, and what it hands on.

use bytes::{BufMut, BytesMut};

use super::frame::HEAD_BYTES;
use super::mac::{Key, Signer, TAG_BYTES};
use super::message::{Header, Kind, Publish, Session};
use super::name::{Encoded, Name};

/// Bytes of a tag with what stands before it.
const MAC_FIELD_BYTES: usize = 2 + TAG_BYTES;
/// A field's form: bytes.
const BYTES: u8 = 2;

fn varint_bytes(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

fn varint(out: &mut impl BufMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    out.put_u8(u8::try_from(number).unwrap_or(0));
}

fn tag(out: &mut impl BufMut, field: u8, form: u8) {
    out.put_u8(field << 3 | form);
}

/// A number, unless it is 0, which goes without saying.
fn number(out: &mut impl BufMut, field: u8, value: u64) {
    if value != 0 {
        tag(out, field, 0);
        varint(out, value);
    }
}

/// Bytes, unless there are none.
fn bytes(out: &mut impl BufMut, field: u8, value: &[u8]) {
    if !value.is_empty() {
        message(out, field, value);
    }
}

fn message(out: &mut impl BufMut, field: u8, value: &[u8]) {
    open(out, field, value.len());
    out.put_slice(value);
}

fn open(out: &mut impl BufMut, field: u8, length: usize) {
    tag(out, field, BYTES);
    varint(out, length as u64);
}

/// Writes a message with its frame.
pub(crate) fn framed(out: &mut BytesMut, message: &[u8]) {
    out.reserve(HEAD_BYTES + message.len());
    out.put_u8(0);
    out.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    out.put_slice(message);
}

/// The lengths that a message has when it is handed on.
struct Lengths {
    header: usize,
    publish: usize,
    message: usize,
}

fn lengths(publish: &Publish<'_>, ttl: u32, tagged: bool) -> Lengths {
    let layout = &publish.layout;
    let replaced: usize = layout.replaced.iter().take(layout.replaced_count).map(ExactSizeIterator::len).sum();
    let ttl = if ttl == 0 { 0 } else { 1 + varint_bytes(u64::from(ttl)) };
    let header = layout.header_inner.len() - replaced + ttl + if tagged { MAC_FIELD_BYTES } else { 0 };
    let field = |length: usize| 1 + varint_bytes(length as u64) + length;
    let inner = layout.publish_inner.len() - layout.header.len() + field(header);
    let message = publish.raw.len() - layout.publish.len() + field(inner);
    Lengths { header, publish: inner, message }
}

/// Bytes that a message has at most when it is handed on.
pub(crate) fn forwarded_bytes(publish: &Publish<'_>) -> usize {
    lengths(publish, publish.header.ttl, true).message
}

/// Writes a message with its frame for another link: one node further, without what was the first link's own, and
/// with the other's tag. A `signer` is of one key.
pub(crate) fn forward(out: &mut BytesMut, publish: &Publish<'_>, key: Option<&Key>, signer: &mut Signer) {
    let (raw, layout) = (publish.raw, &publish.layout);
    let ttl = publish.header.ttl.saturating_sub(1);
    let lengths = lengths(publish, ttl, key.is_some());
    out.reserve(HEAD_BYTES + lengths.message);
    out.put_u8(0);
    out.put_u32(u32::try_from(lengths.message).unwrap_or(u32::MAX));
    let copy = |out: &mut BytesMut, from: usize, to: usize| {
        out.put_slice(raw.get(from..to).unwrap_or_default());
    };
    copy(out, 0, layout.publish.start);
    open(out, 3, lengths.publish);
    copy(out, layout.publish_inner.start, layout.header.start);
    open(out, 1, lengths.header);
    let mut at = layout.header_inner.start;
    for replaced in layout.replaced.iter().take(layout.replaced_count) {
        copy(out, at, replaced.start);
        at = replaced.end;
    }
    copy(out, at, layout.header_inner.end);
    number(out, 6, u64::from(ttl));
    if let Some(key) = key {
        let header = Header { ttl, recv_from: None, forward_to: None, mac: None, ..publish.header };
        message(out, 11, &signer.sign(key, &header, publish.header_bytes()));
    }
    copy(out, layout.header.end, layout.publish_inner.end);
    copy(out, layout.publish.end, raw.len());
}

/// What a subscription, or the end of one, came to.
pub(crate) fn ack(subscription: u64, outcome: Result<(), &str>) -> Vec<u8> {
    let mut inner = Vec::new();
    number(&mut inner, 1, subscription);
    number(&mut inner, 2, u64::from(outcome.is_ok()));
    bytes(&mut inner, 3, outcome.err().unwrap_or_default().as_bytes());
    let mut out = Vec::new();
    message(&mut out, 6, &inner);
    out
}

/// Nodes that what a replica is told may pass: the replica alone.
const REPLICA_TTL: u64 = 2;

/// Subscribes a name at a replica, or takes that back.
pub(crate) fn subscription(name: &Encoded, texts: Option<[&str; 3]>, id: u64, wanted: bool) -> Vec<u8> {
    // A reader that shows texts shows the hashes where they are not known here.
    let hashes = name.components.map(|component| format!("{component:016x}"));
    let [first, second, third] = &hashes;
    let texts = texts.unwrap_or([first, second, third]);
    let whole = self::name(&Name { encoded: Some(*name), texts: Some(texts) });
    let mut header = Vec::new();
    message(&mut header, 1, &whole);
    message(&mut header, 2, &whole);
    number(&mut header, 4, 1);
    number(&mut header, 6, REPLICA_TTL);
    let mut inner = Vec::new();
    message(&mut inner, 1, &header);
    number(&mut inner, 2, id);
    let mut out = Vec::new();
    message(&mut out, if wanted { 1 } else { 2 }, &inner);
    out
}

/// What is answered to a negotiation.
pub(crate) struct Reply<'a> {
    pub(crate) link: &'a str,
    pub(crate) version: &'a str,
    pub(crate) key: &'a [u8],
    pub(crate) kind: Kind,
    pub(crate) node: &'a str,
    pub(crate) deployment: &'a str,
    pub(crate) kem: Option<&'a [u8]>,
}

/// The answer to a negotiation.
pub(crate) fn reply(reply: &Reply<'_>) -> Vec<u8> {
    negotiation(reply, true)
}

/// A negotiation, or the answer to one.
pub(crate) fn negotiation(said: &Reply<'_>, is_reply: bool) -> Vec<u8> {
    let mut inner = Vec::new();
    bytes(&mut inner, 1, said.link.as_bytes());
    bytes(&mut inner, 2, said.version.as_bytes());
    number(&mut inner, 3, u64::from(is_reply));
    bytes(&mut inner, 4, said.key);
    number(&mut inner, 5, said.kind.number());
    bytes(&mut inner, 6, said.node.as_bytes());
    bytes(&mut inner, 7, said.deployment.as_bytes());
    bytes(&mut inner, 8, said.kem.unwrap_or_default());
    let mut link = Vec::new();
    message(&mut link, 1, &inner);
    let mut out = Vec::new();
    message(&mut out, 5, &link);
    out
}

/// What is said of a message that cannot be handed on.
pub(crate) struct Answer<'a> {
    /// The header and session of that message.
    pub(crate) header: &'a Header<'a>,
    pub(crate) session: Session,
    /// What is said, as a JSON text.
    pub(crate) text: &'a str,
}

/// A message to its own sender, marked as an error: from whom it was meant for, in the same session and with the same
/// number, but of no kind that a session acts upon.
pub(crate) fn answer(answer: &Answer<'_>, key: Option<&Key>) -> Vec<u8> {
    let said = Header {
        source: answer.header.destination,
        destination: answer.header.source,
        to: answer.header.to,
        identity: "",
        fanout: 1,
        ttl: 1,
        recv_from: None,
        forward_to: None,
        error: Some(true),
        mac: None,
    };
    let mut header = Vec::new();
    message(&mut header, 1, &name(&said.source));
    message(&mut header, 2, &name(&said.destination));
    number(&mut header, 4, 1);
    number(&mut header, 6, 1);
    number(&mut header, 10, 1);
    if let Some(key) = key {
        message(&mut header, 11, &key.sign(&said, &mut Vec::new()));
    }
    let mut session = Vec::new();
    number(&mut session, 1, u64::from(answer.session.session_type));
    number(&mut session, 3, u64::from(answer.session.session));
    number(&mut session, 4, u64::from(answer.session.message));
    let mut payload = Vec::new();
    bytes(&mut payload, 1, b"application/json");
    bytes(&mut payload, 2, answer.text.as_bytes());
    let mut content = Vec::new();
    message(&mut content, 1, &payload);
    let mut inner = Vec::new();
    message(&mut inner, 1, &header);
    message(&mut inner, 2, &session);
    message(&mut inner, 3, &content);
    let mut out = Vec::new();
    message(&mut out, 3, &inner);
    out
}

pub(super) fn name(name: &Name<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(encoded) = &name.encoded {
        message(&mut out, 1, &encoded_name(encoded));
    }
    if let Some(texts) = &name.texts {
        let mut inner = Vec::new();
        for (field, text) in (1..).zip(texts) {
            bytes(&mut inner, field, text.as_bytes());
        }
        message(&mut out, 2, &inner);
    }
    out
}

fn encoded_name(encoded: &Encoded) -> Vec<u8> {
    let mut out = Vec::new();
    for (field, component) in (1..).zip(encoded.components) {
        number(&mut out, field, component);
    }
    if let Some(id) = encoded.id {
        let mut inner = Vec::new();
        number(&mut inner, 1, u64::try_from(id >> 64).unwrap_or(u64::MAX));
        number(&mut inner, 2, u64::try_from(id & u128::from(u64::MAX)).unwrap_or(u64::MAX));
        message(&mut out, 4, &inner);
    }
    out
}
