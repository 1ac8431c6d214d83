//! What is the same at both ends: paths, headers, and the form of a batch.
//!
//! A batch is a request like that of one fact, at a path of its own: envelopes one a line, compressed
//! with zstd where that helps, signed as it is sent. Its answer has one result a line, in order:
//!
//! ```text
//! POST /v1/federation/batch        Content-Type: application/x-ndjson, Content-Encoding: zstd
//! {"id":"evt-1",…}\n{"id":"evt-2",…}\n
//! 200 {"results":[{"id":"evt-1","accepted":true,"duplicate":false},{"id":"evt-2","error":"…","status":403}]}
//! ```

use bytes::Bytes;
use hyper::header::HeaderName;
use serde::{Deserialize, Serialize};

use crate::limits::COMPRESS_BYTES_MIN;

/// Where one fact is pushed to.
pub const EVENTS: &str = "/v1/events";
/// Where many are.
pub const BATCH: &str = "/v1/federation/batch";
/// Where a peer is asked what it knows of a fact.
pub const TRACE: &str = "/v1/federation/trace/ask";
/// Where a receiver says what it has received.
pub const STATUS: &str = "/v1/status";

/// When a request was signed: Unix seconds, decimal.
pub const TIMESTAMP: HeaderName = HeaderName::from_static("x-routerd-timestamp");
/// The signature, lowercase hex.
pub const SIGNATURE: HeaderName = HeaderName::from_static("x-routerd-signature");

/// The content type of a batch.
pub const NDJSON: &str = "application/x-ndjson";

/// How hard a batch is compressed: the fastest level, which already takes four fifths off.
const ZSTD_LEVEL: i32 = 1;

/// The answer to one fact, as much of it as matters.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Single {
    #[serde(default)]
    pub duplicate: bool,
}

/// The answer to a batch.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub results: Vec<Outcome>,
}

/// What became of one fact of a batch.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    #[serde(default)]
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// The body of a batch, and whether it is compressed.
pub(crate) fn pack(facts: &[Bytes]) -> (Bytes, bool) {
    let size = facts.iter().map(|fact| fact.len() + 1).sum();
    let mut lines = Vec::with_capacity(size);
    for fact in facts {
        lines.extend_from_slice(fact);
        lines.push(b'\n');
    }
    if lines.len() >= COMPRESS_BYTES_MIN {
        // A failure to compress is no failure to send.
        if let Ok(packed) = zstd::bulk::compress(&lines, ZSTD_LEVEL)
            && packed.len() < lines.len()
        {
            return (packed.into(), true);
        }
    }
    (lines.into(), false)
}

/// The lines of a compressed batch. `None` where it is no such, or has more than so many bytes.
pub(crate) fn unpack(body: &[u8], bytes_max: usize) -> Option<Bytes> {
    zstd::bulk::decompress(body, bytes_max).ok().map(Bytes::from)
}

/// The envelopes of a batch: its lines, save blank ones.
pub(crate) fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::BATCH_DECODED_BYTES_MAX;

    fn check(facts: &[&str], compressed: bool) {
        let facts: Vec<Bytes> = facts.iter().map(|fact| Bytes::copy_from_slice(fact.as_bytes())).collect();
        let (body, packed) = pack(&facts);
        assert_eq!(packed, compressed);
        let body = if packed { unpack(&body, BATCH_DECODED_BYTES_MAX).unwrap() } else { body };
        assert_eq!(lines(&body).map(Bytes::copy_from_slice).collect::<Vec<_>>(), facts);
    }

    #[test]
    fn a_batch_comes_out_as_it_went_in() {
        check(&[], false);
        check(&["{\"id\":\"1\"}", "{\"id\":\"2\"}"], false);
        let long = format!("{{\"id\":\"{}\"}}", "x".repeat(3_000));
        check(&[&long, "{}"], true);
    }

    #[test]
    fn what_unpacks_to_too_much_is_refused() {
        let bomb = zstd::bulk::compress(&vec![0; BATCH_DECODED_BYTES_MAX + 1], 1).unwrap();
        assert!(bomb.len() < 64 * 1_024);
        assert!(unpack(&bomb, BATCH_DECODED_BYTES_MAX).is_none());
        let largest = zstd::bulk::compress(&vec![0; BATCH_DECODED_BYTES_MAX], 1).unwrap();
        assert_eq!(unpack(&largest, BATCH_DECODED_BYTES_MAX).unwrap().len(), BATCH_DECODED_BYTES_MAX);
        assert!(unpack(b"garbage", BATCH_DECODED_BYTES_MAX).is_none());
    }
}
