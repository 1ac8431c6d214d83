//! Dead letters: what becomes of a message that a consumer gives up.
//!
//! A dead letter is the message itself, with its headers and payload, at the subject
//! `dead.<stream>.<consumer>`, and these headers more:
//!
//! | header | value |
//! |---|---|
//! | `Tidings-Dead-Stream`, `-Consumer` | who gave it up |
//! | `Tidings-Dead-Subject` | the message's own subject |
//! | `Tidings-Dead-Seq` | its position in the stream |
//! | `Tidings-Dead-Deliveries` | how often it was delivered |
//! | `Tidings-Dead-Reason` | why it was given up |
//! | `Tidings-Dead-First-Delivered`, `-Last-Delivered` | when, RFC 3339 |
//! | `Tidings-Dead-Headers: dropped` | where its own headers left no room for these, and are not there |
//!
//! Its message id is `<stream>/<consumer>/<tag>/<seq>`, so that a crash between recording it and
//! remembering that it was recorded does not double it.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;
use event::{Headers, Message, Pattern, Subject, SubjectError, encode_token};

use crate::config::StreamConfig;
use crate::limits::{DEAD_PREFIX, DEAD_STREAM};
use crate::stream::{Append, Stored};

use super::consumer::Consumer;
use super::flights::Flight;

/// Longest reason that is kept, in characters: a line, not a stack trace.
const REASON_CHARS_MAX: usize = 512;

/// The declaration of the stream of dead letters.
///
/// # Errors
/// Never: the pattern is fixed.
pub fn dead_stream() -> Result<StreamConfig, SubjectError> {
    let mut config = StreamConfig::new(DEAD_STREAM, [Pattern::parse(&format!("{DEAD_PREFIX}.>"))?]);
    config.description = "Messages that consumers gave up".to_string();
    Ok(config)
}

/// A reason as it is kept: one line, of bounded length.
pub(super) fn reason(text: &str) -> String {
    let line = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(REASON_CHARS_MAX).map(line).collect()
}

pub(super) fn letter(consumer: &Consumer, stored: &Stored, flight: &Flight, reason: &str) -> Append {
    let Stored { seq, message, .. } = stored;
    let numbers = [seq.to_string(), flight.attempt.to_string(), flight.first.to_string(), flight.last.to_string()];
    let [position, deliveries, first, last] = &numbers;
    let history = [
        ("Tidings-Dead-Stream", &*consumer.stream),
        ("Tidings-Dead-Consumer", &*consumer.name),
        ("Tidings-Dead-Subject", message.subject.as_str()),
        ("Tidings-Dead-Seq", position),
        ("Tidings-Dead-Deliveries", deliveries),
        ("Tidings-Dead-Reason", reason),
        ("Tidings-Dead-First-Delivered", first),
        ("Tidings-Dead-Last-Delivered", last),
    ];
    let all = Headers::from_pairs(message.headers.iter().chain(history));
    let headers = all.or_else(|_| {
        let dropped = core::iter::once(("Tidings-Dead-Headers", "dropped"));
        Headers::from_pairs(history.into_iter().chain(dropped))
    });
    let (stream, name) = (encode_token(&consumer.stream), encode_token(&consumer.name));
    // Names are at most 255 letters and digits each, so this is a subject; if not, the message keeps its own.
    let subject = Subject::new(format!("{DEAD_PREFIX}.{stream}.{name}")).unwrap_or_else(|_| message.subject.clone());
    let id = format!("{}/{}/{}/{seq}", consumer.stream, consumer.name, consumer.tag);
    let message =
        Message { subject, reply: None, headers: headers.unwrap_or_default(), payload: message.payload.clone() };
    Append { id: Some(Bytes::from(Vec::from(id))), ..Append::new(message) }
}
