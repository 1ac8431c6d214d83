//! Every limit of federation, with its unit and its reason.

use core::time::Duration;

/// Largest body of one envelope, in bytes: what routerd reads of a request.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Deepest nesting of JSON that an envelope may have: what Go's decoder allows.
pub const DEPTH_MAX: usize = 10_000;

/// How far the clock of a sender may be off, where nothing is configured: routerd's default.
pub const WINDOW_DEFAULT: Duration = Duration::from_secs(5 * 60);

/// How long the end of a fact is remembered: a request that was on its way when the fact ended is signed,
/// and signatures are fresh for [`WINDOW_DEFAULT`] in either direction.
pub const ENDED_KEEP: Duration = Duration::from_secs(10 * 60);

/// Most ended facts that are remembered: about 20 MB. The oldest go first.
pub const ENDED_MAX: usize = 262_144;

/// Most names of sources, types and peers that are kept once for all facts of a group; more are kept
/// with each fact, so that a stranger who makes up names does not fill the memory for good.
pub const NAMES_MAX: usize = 4_096;

/// How long a withdrawal is kept of a fact that would hold for ever, so that a peer that was away learns
/// of it: longer than a site is cut off before somebody looks.
pub const WITHDRAWN_KEEP: Duration = Duration::from_secs(7 * 24 * 3600);

/// Longest id of a fact that stands in a message id as it is, in bytes. With the rest of the id it stays
/// below what a journal takes.
pub const MESSAGE_ID_NAME_BYTES_MAX: usize = 256;

/// Most requests that are remembered to know them again: at the default window more than 3,000 each second,
/// and at most about 20 MB. Beyond it the oldest go, which the table of facts still knows as duplicates.
pub const REPLAYS_MAX: usize = 1 << 20;

/// Longest text of an error that is kept of a delivery, in bytes: peers choose it.
pub const ERROR_BYTES_MAX: usize = 512;

/// How far a clock may be set back without more ado: what a time service corrects in passing.
pub const CLOCK_SLACK: Duration = Duration::from_secs(1);

/// Most facts that an outbox takes in before it asks for no more: what a peer that is away costs in memory,
/// about 4 MB. The rest waits in the table of facts.
pub const OWED_MAX: usize = 16_384;

/// Most facts that a peer refused one by one and that are tried again apart from the others. Beyond it
/// they are given up until they are owed again.
pub const APART_MAX: usize = 4_096;

/// Failures in a row after which a peer is only probed, with one fact at a time.
pub const BREAKER_FAILURES: u32 = 5;

/// First wait before a peer is tried again: as routerd's.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(200);

/// Longest wait before a peer is tried again: it is found healed within so long. A probe is one fact.
pub const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Longest wait before a fact that a peer refuses is tried again: such a refusal ends when somebody
/// changes something there.
pub const APART_BACKOFF_MAX: Duration = Duration::from_secs(5 * 60);

const _: () = assert!(BACKOFF_FIRST.as_millis() < BACKOFF_MAX.as_millis());
const _: () = assert!(ENDED_KEEP.as_secs() >= 2 * WINDOW_DEFAULT.as_secs());
const _: () = assert!(WITHDRAWN_KEEP.as_secs() >= ENDED_KEEP.as_secs());
