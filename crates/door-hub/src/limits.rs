//! Limits of this door, with their units and reasons.

use std::time::Duration;

use event::limits::SUBJECT_BYTES_MAX;

/// Longest name of a room, in bytes, as it travels; encoded it must still fit into a subject.
pub const ROOM_BYTES_MAX: usize = SUBJECT_BYTES_MAX;
/// Most rooms that one messenger subscribes to: a building has hundreds.
pub const ROOMS_DEFAULT: usize = 4096;
/// Most connections of all kinds together.
pub const CONNECTIONS_DEFAULT: usize = 65_536;
/// Most bytes that wait for one connection before it is given up: some thousand events of the usual
/// size. The original has 1,000 events.
pub const PENDING_BYTES_DEFAULT: usize = 8 * 1024 * 1024;
/// Most events that wait for one connection before it is given up.
pub const PENDING_MESSAGES_DEFAULT: u32 = 16_384;
/// How long a connection may take nothing while bytes wait for it: the original's.
pub const WRITE_DEADLINE_DEFAULT: Duration = Duration::from_secs(10);
/// How often each connection is pinged: the original's. A messenger gives up after 90 s without.
pub const PING_INTERVAL_DEFAULT: Duration = Duration::from_secs(30);
/// How long a connection lives from its last pong, or from its beginning: the original's.
pub const READ_DEADLINE_DEFAULT: Duration = Duration::from_secs(60);
/// How long a dial, its TLS and its upgrade may take: the original's.
pub const DIAL_DEADLINE_DEFAULT: Duration = Duration::from_secs(10);
/// How long a client may take over TLS and the head of its request.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// How long an idle connection to a repeater's target stays open: the original's.
pub const IDLE_DEFAULT: Duration = Duration::from_secs(5);
/// How long one push over HTTP may take: the original's.
pub const PUSH_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
/// Events that wait for one repeater target: the original's.
pub const TARGET_QUEUE_MESSAGES: usize = 1000;
/// Bytes that wait for one repeater target.
pub const TARGET_QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// How often an HTTP push is tried in all, where a target says nothing.
pub const PUSH_ATTEMPTS_DEFAULT: u32 = 5;
/// The wait before the second attempt, where a target says nothing; it doubles with each.
pub const PUSH_BACKOFF_DEFAULT: Duration = Duration::from_millis(200);
/// The longest wait between two attempts, where a target says nothing.
pub const PUSH_BACKOFF_MAX_DEFAULT: Duration = Duration::from_secs(10);

/// Bytes read at a time, into a buffer of the thread's.
pub const READ_BYTES: usize = 64 * 1024;
/// Bytes waiting in one connection beyond which whoever sends to it pauses, as long as it makes progress.
pub const PRESSED_BYTES: usize = 1024 * 1024;
/// How long a sender pauses at most for a pressed receiver, after each read.
pub const PRESSED_PAUSE: Duration = Duration::from_millis(5);
/// Rooms whose ways one connection keeps: a messenger speaks for one, a hub for a building.
pub const WAYS_KEPT_MAX: usize = 256;
/// Bytes of a frame besides the largest payload: the room and the newlines of a few hops.
pub const FRAME_BYTES_BESIDES: usize = ROOM_BYTES_MAX + 64;
/// Bytes of a body of a change of subscriptions, at most; as many rooms as may be, of usual names.
pub const CHANGE_BYTES_MAX: usize = 256 * 1024;
/// Kept events sent on one link and stream and not yet acknowledged.
pub const CUSTODY_MESSAGES: usize = 256;
/// Bytes of them.
pub const CUSTODY_BYTES: usize = 4 * 1024 * 1024;
/// Appends of kept events of one connection that the journal has not answered.
pub const APPENDS_WAITING_MAX: usize = 1024;

const _: () = assert!(READ_DEADLINE_DEFAULT.as_secs() > PING_INTERVAL_DEFAULT.as_secs());
const _: () = assert!(PRESSED_BYTES < PENDING_BYTES_DEFAULT);
