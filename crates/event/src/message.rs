//! What moves.

use bytes::Bytes;

use crate::{Headers, Subject};

/// A message: a subject, perhaps a subject to reply to, headers, and opaque payload bytes.
///
/// Cloning copies no bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it goes.
    pub subject: Subject,
    /// Where an answer is awaited.
    pub reply: Option<Subject>,
    /// What is said about the payload.
    pub headers: Headers,
    /// The payload, never parsed or re-serialised on its way.
    pub payload: Bytes,
}

impl Message {
    /// A message without headers.
    pub fn new(subject: Subject, payload: impl Into<Bytes>) -> Self {
        Message { subject, reply: None, headers: Headers::EMPTY, payload: payload.into() }
    }

    /// Bytes of subject, headers and payload together: what size limits and retention count.
    pub fn size(&self) -> usize {
        self.subject.as_bytes().len() + self.headers.as_block().len() + self.payload.len()
    }
}
