//! Every limit of the journal, with its unit and its reason.

use core::time::Duration;

/// Longest stream or consumer name, in bytes. Both are file names and NATS subject tokens.
pub const NAME_BYTES_MAX: usize = 255;

/// Longest message id, in bytes. Ids are hashed for the window, so this bounds only the work.
pub const MESSAGE_ID_BYTES_MAX: usize = 512;

/// Most subject patterns of a stream, and most filters of a consumer or a read.
pub const PATTERNS_MAX: usize = 256;

/// Most messages of one atomic batch: NATS's default. All of them are held until the last has come.
pub const BATCH_MESSAGES_MAX: usize = 1_000;

/// Most bytes of the messages of one atomic batch, counted as [`event::Message::size`]: it becomes one
/// write of the log.
pub const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The lifetime of a message that does not go by age at all.
pub const TTL_NEVER: Duration = Duration::MAX;

/// Shortest life of a marker: NATS counts lifetimes in seconds.
pub const MARKER_TTL_MIN: Duration = Duration::from_secs(1);

/// Most sources of a stream: each is a consumer of another stream.
pub const SOURCES_MAX: usize = 256;

/// De-duplication window where none is configured: NATS's default.
pub const DUPLICATE_WINDOW_DEFAULT: Duration = Duration::from_secs(120);

/// Most messages of one page: bounds what one read holds in memory, with [`PAGE_BYTES_MAX`].
pub const PAGE_MESSAGES_MAX: usize = 10_000;

/// Most bytes of one page, save that a page holds at least one message.
pub const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most messages of one fetch of a door that holds the whole batch in memory. The journal itself takes
/// any batch: its sink says when it has enough.
pub const FETCH_MESSAGES_MAX: usize = 10_000;

/// Longest wait of one fetch or read. A longer one asks again; NATS clients use up to minutes.
pub const WAIT_MAX: Duration = Duration::from_secs(3600);

/// Acknowledgement wait where none is configured: NATS's default.
pub const ACK_WAIT_DEFAULT: Duration = Duration::from_secs(30);

/// Outstanding messages of a consumer where nothing is configured: NATS's default.
pub const ACK_PENDING_DEFAULT: u64 = 1_000;

/// Fetches that may wait on one consumer at a time, where nothing is configured: NATS's default.
pub const FETCHES_WAITING_MAX: usize = 512;

/// Longest name of a priority group, in bytes: NATS's.
pub const GROUP_BYTES_MAX: usize = 16;

/// How long a pinned user may be silent, where nothing is configured: NATS's default.
pub const PINNED_TTL_DEFAULT: Duration = Duration::from_secs(120);

/// Inactivity after which an ephemeral consumer goes, where nothing is configured.
pub const INACTIVE_DEFAULT: Duration = Duration::from_secs(5);

/// Name of the stream that keeps dead letters, and the first token of its subjects:
/// `dead.<stream>.<consumer>`, both encoded as tokens.
pub const DEAD_STREAM: &str = "DEAD";
/// See [`DEAD_STREAM`].
pub const DEAD_PREFIX: &str = "dead";
