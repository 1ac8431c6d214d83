//! Records of deliveries as they are kept: one JSON object a line, in short names, so that a batch is one
//! message of a stream.
//!
//! ```text
//! {"i":id,"p":peer,"q":position,"r":recorded,"s":status,"a":attempts,
//!  "l":last attempt,"e":error,"d":delivered,"x":expires}
//! ```
//!
//! Moments are nanoseconds since 1970. What is not there is `null` or absent; names that are not known are
//! passed over, so that an older node reads what a newer one wrote.

use alloc::string::String;
use alloc::vec::Vec;

use event::Moment;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Delivery, Status};

/// Why a line is no record. Never worth trying again unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line} is no record of a delivery: {reason}")]
pub struct DecodeError {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    i: alloc::borrow::Cow<'a, str>,
    p: alloc::borrow::Cow<'a, str>,
    q: u64,
    r: u64,
    s: alloc::borrow::Cow<'a, str>,
    a: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    l: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e: Option<alloc::borrow::Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    d: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    x: Option<u64>,
}

/// The lines of some records.
pub fn encode<'a>(deliveries: impl IntoIterator<Item = &'a Delivery>) -> Vec<u8> {
    let mut out = Vec::new();
    for delivery in deliveries {
        let line = Line {
            i: (&*delivery.id).into(),
            p: (&*delivery.peer).into(),
            q: delivery.seq,
            r: delivery.recorded.nanos(),
            s: delivery.status.word().into(),
            a: delivery.attempts,
            l: delivery.last_attempt.map(Moment::nanos),
            e: delivery.last_error.as_deref().map(Into::into),
            d: delivery.delivered.map(Moment::nanos),
            x: delivery.expires.map(Moment::nanos),
        };
        // Strings and numbers: this does not fail.
        out.extend_from_slice(&serde_json::to_vec(&line).unwrap_or_default());
        out.push(b'\n');
    }
    out
}

/// The records in some lines; empty lines are passed over.
///
/// # Errors
/// [`DecodeError`] for the first line that is none.
pub fn decode(lines: &[u8]) -> Result<Vec<Delivery>, DecodeError> {
    let mut deliveries = Vec::new();
    for (place, line) in lines.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let refused = |reason| DecodeError { line: place + 1, reason };
        let line: Line<'_> = serde_json::from_slice(line).map_err(|error| refused(alloc::format!("{error}")))?;
        let status = Status::of(&line.s).ok_or_else(|| refused(alloc::format!("'{}' is no status", line.s)))?;
        deliveries.push(Delivery {
            id: (*line.i).into(),
            peer: (*line.p).into(),
            seq: line.q,
            recorded: Moment::from_nanos(line.r),
            status,
            attempts: line.a,
            last_attempt: line.l.map(Moment::from_nanos),
            last_error: line.e.as_deref().map(Into::into),
            delivered: line.d.map(Moment::from_nanos),
            expires: line.x.map(Moment::from_nanos),
        });
    }
    Ok(deliveries)
}
