//! A message that a command comes to.

use core::time::Duration;

use bytes::Bytes;
use event::{Headers, Message, Subject};
use journal::{Append, Expect, Rollup};

/// What must be so for a message to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// Nothing.
    Any,
    /// The last position of its subject; 0: none there.
    Subject(u64),
    /// The last position of the stream: where what was known of the subject is forgotten.
    Stream(u64),
}

/// A message to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Where.
    pub subject: Subject,
    /// What kind of fact it is, and of keys what is said beside the value.
    pub headers: Headers,
    /// The whole of the thing, or nothing: it went.
    pub payload: Bytes,
    /// What it was judged by.
    pub expect: Expectation,
    /// Whether the thing went.
    pub removal: bool,
    /// How long the message stays.
    pub ttl: Option<Duration>,
}

impl Write {
    /// As a journal takes it. What is at the subject already goes in the same instant: the last message of a subject
    /// is the truth.
    pub fn append(self) -> Append {
        let message = Message { subject: self.subject, reply: None, headers: self.headers, payload: self.payload };
        let expect = match self.expect {
            Expectation::Any => Expect::default(),
            Expectation::Subject(last) => Expect { last_of_subject: Some(last), ..Expect::default() },
            Expectation::Stream(last) => Expect { last: Some(last), ..Expect::default() },
        };
        let rollup = self.removal.then_some(Rollup::Subject);
        Append { expect, ttl: self.ttl, rollup, ..Append::new(message) }
    }
}
