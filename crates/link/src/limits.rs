//! Limits of what moves between nodes, each with its unit and reason.

use std::time::Duration;

/// Bytes of the body of a request with one fact. The original's limit: more it cuts off.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// Bytes of a batch as it is sent: four of the largest facts.
pub const BATCH_BYTES_MAX: usize = 4 << 20;

/// Bytes of a batch that was decompressed: JSON of facts that are alike shrinks to a fifth or less.
pub const BATCH_DECODED_BYTES_MAX: usize = 16 << 20;

/// Facts in one batch. Larger ones save nothing, and more is lost where one fails.
pub const BATCH_FACTS_MAX: usize = 4_096;

/// Bytes of an answer to one fact. It has a hundred; the rest of a longer one is not read.
pub const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Bytes of an answer to a batch: [`BATCH_FACTS_MAX`] results with an id of [`ANSWER_ID_CHARS_MAX`] and an error.
pub const BATCH_ANSWER_BYTES_MAX: usize = 4 << 20;

/// Characters of an id that an answer to a batch repeats: enough to find it again.
pub const ANSWER_ID_CHARS_MAX: usize = 256;

/// Bytes of a head, of a request as of an answer: ours have a few hundred.
pub const HEAD_BYTES_MAX: usize = 64 << 10;

/// Bytes of a secret file. A key longer than a block of SHA-256 gains nothing.
pub const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Keys that a ring tries against one signature: each costs a pass over the body.
pub const KEYS_MAX: usize = 256;

/// Bytes from which a body is signed, checked and unpacked beside the asynchronous tasks: a millisecond of work.
pub const INLINE_BYTES_MAX: usize = 256 << 10;

/// Bytes from which a batch is compressed. Less fits into one packet or two.
pub const COMPRESS_BYTES_MIN: usize = 1 << 10;

/// Bytes that a batch is not cut below, where a peer finds it too large.
pub const BATCH_BYTES_FLOOR: usize = 16 << 10;

/// Bytes of the bodies that one intake holds at a time, as received and as unpacked: 64 of the largest batches.
pub const HELD_BYTES_MAX: usize = 256 << 20;

/// Bytes beyond a limit that are read and dropped, so that the sender sees the answer and no reset.
pub const DRAIN_BYTES_MAX: usize = 4 << 20;

/// Connections to one peer. Each carries one request at a time, and so many share one sync of a disk: 2,000
/// facts a second where an answer takes 30 ms.
pub const PEER_CONNECTIONS_MAX: usize = 64;

/// Connections that a group's listener holds at a time: 60 peers with all of theirs.
pub const LISTEN_CONNECTIONS_MAX: usize = 4_096;

/// Batches to one peer that are on their way at a time: one is packed and one unpacked while one is written.
pub const BATCHES_IN_FLIGHT_MAX: usize = 3;

/// How long a peer that took no batch is sent single facts before it is asked again: it may be renewed.
pub const SINGLE_FOR: Duration = Duration::from_mins(10);

/// How long a connection to a peer is kept without use: less than [`HEAD_WAIT_MAX`], so that we close first.
pub const IDLE_MAX: Duration = Duration::from_secs(20);

/// How long a connection may be silent, or take to send the head of a request.
pub const HEAD_WAIT_MAX: Duration = Duration::from_secs(30);

/// How long a body may pause.
pub const BODY_PAUSE_MAX: Duration = Duration::from_secs(10);

/// How long a body may take: the largest in this time is 140 KB/s.
pub const BODY_WAIT_MAX: Duration = Duration::from_secs(30);

/// How long a client may leave an answer unread.
pub const WRITE_PAUSE_MAX: Duration = Duration::from_secs(10);

/// How long a TLS handshake may take.
pub const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long requests under way have to end at shutdown.
pub const DRAIN_WAIT_MAX: Duration = Duration::from_secs(5);

const _: () = assert!(IDLE_MAX.as_secs() < HEAD_WAIT_MAX.as_secs());
const _: () = assert!(BODY_BYTES_MAX < BATCH_BYTES_MAX && BATCH_BYTES_MAX < BATCH_DECODED_BYTES_MAX);
const _: () = assert!(BATCH_DECODED_BYTES_MAX < HELD_BYTES_MAX);
