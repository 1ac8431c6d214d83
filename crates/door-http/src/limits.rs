//! Every limit of the door, with its unit and its reason.

use std::time::Duration;

use journal::limits::{PAGE_BYTES_MAX, PAGE_MESSAGES_MAX};

/// Largest body of a declaration or of a small request, in bytes: 256 subjects of 1,024 bytes, and
/// ten thousand acknowledgement tokens, fit.
pub const DECLARATION_BYTES_MAX: usize = 2 * 1024 * 1024;

/// What an envelope may add to the data of a structured event, in bytes: a full header block.
pub const ENVELOPE_BYTES_MAX: usize = 128 * 1024;

/// Largest batch of events, in bytes, where a payload may not be larger alone.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most events of one batch: what one page of a read would give back.
pub const BATCH_EVENTS_MAX: usize = PAGE_MESSAGES_MAX;

/// Messages of a listing where the request names no limit.
pub const LIST_DEFAULT: usize = 100;

/// Most bytes of messages in a listing. JSON makes up to six bytes of one.
pub const LIST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Messages that one step of following reads, at most: what one slow reader holds in memory.
pub const FOLLOW_MESSAGES_MAX: usize = 256;

/// Bytes that one step of following reads, at most.
pub const FOLLOW_BYTES_MAX: usize = 512 * 1024;

/// Messages of a fetch where the request names no batch.
pub const FETCH_DEFAULT: u64 = 10;

/// Bytes of a fetch where the request names none, and the most that it may name. A single larger
/// message is given alone.
pub const FETCH_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Messages that a push holds for its client, at most: they count against the consumer's
/// acknowledgement wait while they wait here.
pub const PUSH_MESSAGES_MAX: u64 = 64;

/// Most acknowledgement tokens of one request.
pub const TOKENS_MAX: usize = 10_000;

/// Messages that a search for one event looks through, at most: seconds, not minutes.
pub const SCAN_MESSAGES_MAX: u64 = 2_000_000;

/// Longest query string, in bytes: 256 filters fit if they are of ordinary length.
pub const QUERY_BYTES_MAX: usize = 16 * 1024;

/// How long a client may take between two pieces of a body.
pub const BODY_WAIT_MAX: Duration = Duration::from_secs(30);

/// How long a connection may be idle, or take to send a request's head.
pub const HEAD_WAIT_MAX: Duration = Duration::from_secs(60);

/// How long a TLS handshake may take.
pub const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long requests may go on after shutdown began.
pub const DRAIN_WAIT_MAX: Duration = Duration::from_secs(5);

/// Connections at a time. Idle ones cost a few KiB each; beyond, new ones wait in the listen queue.
pub const CONNECTIONS_MAX: usize = 16_384;

/// Requests at a time on one HTTP/2 connection.
pub const H2_STREAMS_MAX: u32 = 256;

/// Bytes of bodies in memory at a time, over all requests; beyond, 429.
pub const BODIES_BYTES_MAX: usize = 256 * 1024 * 1024;

/// An append that waits longer than this says that the disk is stalled: not ready.
pub const STALLED_AFTER: Duration = Duration::from_secs(5);

const _: () = assert!(LIST_DEFAULT <= PAGE_MESSAGES_MAX);
const _: () = assert!(LIST_BYTES_MAX <= PAGE_BYTES_MAX);
const _: () = assert!(FOLLOW_BYTES_MAX <= PAGE_BYTES_MAX);
const _: () = assert!(FOLLOW_MESSAGES_MAX <= PAGE_MESSAGES_MAX);

/// Largest schema as it is declared, in bytes: it is recorded as one message.
pub const SCHEMA_BYTES_MAX: usize = 960 * 1024;

/// Rows of a listing of a view where the request names no limit, and the most that it may name.
pub const VIEW_ROWS_DEFAULT: usize = 10_000;
/// See [`VIEW_ROWS_DEFAULT`].
pub const VIEW_ROWS_MAX: usize = 100_000;

/// Longest wait for a change of a view: longer than any proxy keeps an idle request.
pub const VIEW_WAIT_MAX: Duration = Duration::from_secs(600);

/// How long a wait for a change is where an index is given and no wait.
pub const VIEW_WAIT_DEFAULT: Duration = Duration::from_secs(60);

/// How long a request waits for a view to be folded for the first time.
pub const VIEW_FOLD_WAIT: Duration = Duration::from_secs(5);

/// How long an encoded snapshot of a view is kept for the next who asks: as long as a storm of readers that lost
/// their node lasts.
pub const SNAPSHOT_KEPT: Duration = Duration::from_secs(10);

/// Bytes of one piece of a snapshot, about: what a slow reader holds.
pub const VIEW_PIECE_BYTES: usize = 64 * 1024;

/// Changes of a view that are told at a time, at most, save that a position is never split.
pub const VIEW_BATCH_ROWS: usize = 1_024;

/// Encoded batches of changes that are kept of a view, for readers that follow at about the same place.
pub const VIEW_BATCHES_KEPT: usize = 16;

/// Largest batch that is kept, in bytes.
pub const VIEW_BATCH_BYTES_KEPT: usize = 512 * 1024;
