//! Which fields a client's decoder knows, and of which form each must be.

use super::message::Bad;
use super::wire::Fields;

/// The form of a field.
pub(super) enum Form {
    Number,
    Text,
    Bytes,
    Message(&'static Shape),
}

/// The fields of a message that are known.
pub(super) type Shape = [(u32, Form)];

/// Whether a decoder that knows these fields takes a message. Fields that it does not know may be anything.
pub(super) fn check(bytes: &[u8], shape: &Shape) -> Result<(), Bad> {
    for field in Fields::of(bytes) {
        let field = field?;
        match shape.iter().find(|(number, _)| *number == field.number).map(|(_, form)| form) {
            None => {}
            Some(Form::Number) => drop(field.number()?),
            Some(Form::Text) => drop(field.text()?),
            Some(Form::Bytes) => drop(field.bytes()?),
            // Shapes are finite and none holds itself: as deep as they are, and no deeper.
            Some(Form::Message(shape)) => check(field.bytes()?, shape)?,
        }
    }
    Ok(())
}

use Form::{Bytes as B, Message as M, Number as N, Text as T};

pub(super) const ENTRY: &Shape = &[(1, T), (2, T)];
const ID: &Shape = &[(1, N), (2, N)];
const ENCODED: &Shape = &[(1, N), (2, N), (3, N), (4, M(ID))];
const TEXTS: &Shape = &[(1, T), (2, T), (3, T)];
const NAME: &Shape = &[(1, M(ENCODED)), (2, M(TEXTS))];
const NONE: &Shape = &[];
const SETTINGS: &Shape = &[(1, N), (2, N)];
const PARTICIPANT: &Shape = &[(1, M(NAME)), (2, M(SETTINGS)), (3, N)];
const MLS: &Shape = &[(1, N), (2, B)];
const JOIN: &Shape = &[(1, M(SETTINGS)), (2, M(NAME)), (3, M(NAME)), (4, M(&[(1, N)]))];
const JOINED: &Shape = &[(1, B), (2, M(PARTICIPANT))];
const UPDATE: &Shape = &[(1, N), (2, M(PARTICIPANT)), (3, M(PARTICIPANT)), (4, M(MLS))];
const WELCOME: &Shape = &[(1, M(PARTICIPANT)), (2, M(MLS))];
const COMMAND: &Shape = &[
    (1, M(NONE)),
    (2, M(NONE)),
    (3, M(JOIN)),
    (4, M(JOINED)),
    (5, M(NONE)),
    (6, M(NONE)),
    (7, M(UPDATE)),
    (8, M(WELCOME)),
    (9, M(&[(1, M(NAME))])),
    (10, M(&[(1, M(NAME)), (2, B)])),
    (11, M(NONE)),
    (12, M(NONE)),
    (13, M(&[(1, N)])),
    (14, M(&[(1, M(NAME)), (2, N), (3, N)])),
    (15, M(&[(1, M(NAME)), (2, B)])),
    (16, M(MLS)),
];
/// What an application sends, or a session's own machinery.
pub(super) const CONTENT: &Shape = &[(1, M(&[(1, T), (2, B)])), (2, M(COMMAND))];
