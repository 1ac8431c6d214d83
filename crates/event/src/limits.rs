//! Every limit of a message, with its unit and its reason.

/// Longest subject or pattern, in bytes. A subject is a routing key that is held in memory once per
/// distinct value; NATS's control line allows 4,096 bytes in all.
pub const SUBJECT_BYTES_MAX: usize = 1024;

/// Most tokens of a subject or pattern. Bounds the depth of every matcher.
pub const SUBJECT_TOKENS_MAX: usize = 64;

/// Largest header block, in bytes. Headers are parsed by filters, so they stay small.
pub const HEADERS_BYTES_MAX: usize = 64 * 1024;

/// Largest payload that any node may be configured to accept, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Largest payload accepted where nothing is configured, in bytes: NATS's default of 1 MiB.
pub const PAYLOAD_BYTES_DEFAULT: usize = 1024 * 1024;

const _: () = assert!(PAYLOAD_BYTES_DEFAULT <= PAYLOAD_BYTES_MAX);
const _: () = assert!(SUBJECT_TOKENS_MAX <= SUBJECT_BYTES_MAX);
