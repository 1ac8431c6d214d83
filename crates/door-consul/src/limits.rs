//! Limits of this door, with their units and reasons.

use std::time::Duration;

pub use catalog::limits::{EVENT_BYTES_MAX, TXN_OPERATIONS_MAX, VALUE_BYTES_MAX};

/// How long a blocked reader waits where it says nothing: the original's.
pub const WAIT_DEFAULT: Duration = Duration::from_secs(300);
/// How long a blocked reader waits at most: the original's.
pub const WAIT_MAX: Duration = Duration::from_secs(600);
/// What part of a wait is added by chance at most, so that readers do not all come back at once. Clients
/// give up at a tenth more, so it is never more than the original's.
pub const WAIT_JITTER_PART: u32 = 16;
/// Most connections of both listeners together.
pub const CONNECTIONS_DEFAULT: usize = 65_536;
/// Most connections from one address. The original has 200, which users run into: a watched service is a
/// connection.
pub const PER_ADDRESS_DEFAULT: usize = 32_768;
/// Largest body of a request, in bytes, but for a key's value.
pub const BODY_BYTES_DEFAULT: usize = 1024 * 1024;
/// Largest head of a request, in bytes.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long a client may take over TLS, over the head of a request, or over its body; an idle connection is
/// closed after it too.
pub const SLOW_DEADLINE_DEFAULT: Duration = Duration::from_secs(60);
/// How long a connection may take nothing of an answer.
pub const WRITE_DEADLINE_DEFAULT: Duration = Duration::from_secs(30);
/// How long open requests are waited for when the door closes.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(1);
/// Bytes of answers that are kept for the next reader of the same.
pub const ANSWERS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Answers that are kept for the next reader of the same.
pub const ANSWERS_MAX: usize = 16_384;
/// How long an answer that nobody waits for is kept at least, so that its index stays that of its content
/// from one request of a reader to the next.
pub const ANSWER_KEPT: Duration = Duration::from_secs(60);
/// How long a snapshot serves those that arrive after it: the original's.
pub const SNAPSHOT_KEPT: Duration = Duration::from_secs(10);
/// How many batches of changes a feed keeps for those of its readers that are slower than others.
pub const BATCHES_KEPT: usize = 16;
/// Changes that one batch takes at most; those of one position are never split.
pub const BATCH_CHANGES_MAX: usize = 1024;
/// Bytes from which on a snapshot goes on in another piece: what a socket takes at a time.
pub const PIECE_BYTES: usize = 64 * 1024;
/// After how long without an event a stream says that it is alive.
pub const ALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Bytes from which on an answer is compressed when asked: below, it fits a packet anyway.
pub const GZIP_BYTES_MIN: usize = 1024;
/// Streams that one gRPC connection holds open at most.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 16_384;
/// Largest message of a gRPC request, in bytes.
pub const GRPC_REQUEST_BYTES_MAX: usize = 64 * 1024;

const _: () = assert!(WAIT_DEFAULT.as_secs() <= WAIT_MAX.as_secs());
const _: () = assert!(VALUE_BYTES_MAX <= BODY_BYTES_DEFAULT);
const _: () = assert!(PER_ADDRESS_DEFAULT <= CONNECTIONS_DEFAULT);
