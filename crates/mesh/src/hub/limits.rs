//! Every limit of hub links, with its unit and its reason.

use core::time::Duration;

/// Wait before the first redial: a peer that restarts is back in about a second.
pub const REDIAL_FIRST: Duration = Duration::from_secs(1);

/// Longest wait before a redial: a peer that was away for a day is found within a minute.
pub const REDIAL_MAX: Duration = Duration::from_secs(60);

/// How long a link must have been up for the failures before it to be forgotten: one that is taken and
/// closed again and again is not dialled at full speed.
pub const STEADY: Duration = Duration::from_secs(10);

/// How long the standing connection has to answer a probe: a peer that dials again mostly lost the earlier
/// connection, and waits for this long at most.
pub const PROBE: Duration = Duration::from_secs(5);

/// Most messages of one stream that one link is owed an answer for: at a round trip of 100 ms, 40,000 a second.
pub const OWED_MESSAGES_MAX: usize = 4_096;

/// Most bytes of these: what a link may cost in buffers at a peer that does not answer.
pub const OWED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most streams of a peer whose positions are remembered; beyond it the one heard of longest ago goes.
pub const SEEN_STREAMS_MAX: usize = 1_024;

/// Most runs of positions that are remembered of one stream: gaps between them are messages that were not sent
/// here, or come late. More than any sender has out at once; beyond it the oldest goes.
pub const SEEN_RUNS_MAX: usize = 4 * OWED_MESSAGES_MAX;

/// Most peers whose positions are remembered; beyond it the one heard of longest ago goes.
pub const SEEN_PEERS_MAX: usize = 1_024;
