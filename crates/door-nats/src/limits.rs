//! Limits of this door, with their units and reasons.

use std::time::Duration;

/// Version of NATS server whose behaviour clients find here. They compare it to know what to use.
pub const NATS_VERSION: &str = "2.15.1";
/// Level of the JetStream API that is spoken, as `api_lvl` tells it.
pub const API_LEVEL: u32 = 5;

/// Longest control line, in bytes: NATS's own.
pub const CONTROL_LINE_BYTES_DEFAULT: usize = 4096;
/// Most connections: the 64 Ki that NATS has.
pub const CONNECTIONS_DEFAULT: usize = 65_536;
/// Most bytes that wait for one client: NATS's own.
pub const PENDING_BYTES_DEFAULT: usize = 64 * 1024 * 1024;
/// How long a client may take nothing while bytes wait for it: NATS's own.
pub const WRITE_DEADLINE_DEFAULT: Duration = Duration::from_secs(10);
/// How often a silent client is asked whether it is there: NATS's own.
pub const PING_INTERVAL_DEFAULT: Duration = Duration::from_secs(120);
/// Questions without answer, after which it is gone: NATS's own.
pub const PINGS_DEFAULT: u32 = 2;
/// How long a client may take to say who it is: NATS's own.
pub const AUTH_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
/// How long clients have to leave when the node stops. NATS has two minutes; a node that is told to
/// stop is expected to.
pub const LAME_DUCK_DEFAULT: Duration = Duration::from_secs(2);

/// Bytes read at a time: some hundred messages, so that a call to the kernel costs each of them little.
pub const READ_BYTES: usize = 128 * 1024;
/// Bytes waiting in one client beyond which whoever sends to it pauses, as long as it makes progress.
pub const PRESSED_BYTES: usize = 4 * 1024 * 1024;
/// How long a sender pauses at most for a pressed receiver, after each read.
pub const PRESSED_PAUSE: Duration = Duration::from_millis(5);
/// Ways that one connection keeps: a few hundred kinds of subjects at work at a time.
pub const WAYS_KEPT_MAX: usize = 1024;
/// JetStream requests of one connection that wait for their turn, at most; the connection is not
/// read from while it has so many.
pub const REQUESTS_WAITING_MAX: usize = 256;
/// Largest CONNECT, in bytes; it may hold a JWT and a signature. The control line's limit holds for
/// all other operations.
pub const CONNECT_BYTES_MAX: usize = 64 * 1024;
