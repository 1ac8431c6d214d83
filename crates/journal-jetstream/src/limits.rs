//! Every limit of the engine, with its unit and its reason.

use std::time::Duration;

/// Appends sent and not yet acknowledged, at most. JetStream's throughput is flat from about a
/// thousand on; four thousand ride out a slow sync, and bound what a failed-over leader leaves open.
pub const ACKS_OUTSTANDING_MAX: usize = 4_096;

/// Appends taken in and not yet sent, at most; beyond, an append is refused as busy. Bounds memory
/// while a stream has no leader, for as long as [`RETRY_DEADLINE`].
pub const APPENDS_WAITING_MAX: u64 = 65_536;

/// How long the server may take to acknowledge an append before its fate counts as unknown. An
/// election takes 4 to 9 seconds, so a longer wait only delays the retry.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an append is tried again before its publisher is told that its fate is unknown. Well
/// above the 5 to 7 seconds of a failover, and below the two minutes of the default window of
/// message ids, inside which trying again cannot double it.
pub const RETRY_DEADLINE: Duration = Duration::from_secs(30);

/// Shortest and longest pause between two tries.
pub const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How long one request to the server's interface may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request is tried again while no leader answers.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(20);

/// How long connecting may take at start, over all servers that were named.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// How often the list of streams is read anew even if no notice of a change came.
pub const CATALOGUE_REFRESH: Duration = Duration::from_secs(30);

/// How often a sink that waits is asked whether its user is still there.
pub const SINK_ASKED_EVERY: Duration = Duration::from_millis(50);

/// Most messages of one pull of a push-like fetch: what its sink may leave lying is bounded by it.
pub const PUSH_WINDOW: u64 = 256;

/// Longest silence of a pull before it is asked anew: the server sends a heartbeat twice as often.
pub const HEARTBEAT: Duration = Duration::from_secs(5);

/// Requests for single messages that run at a time for one verb.
pub const GETS_AT_A_TIME: usize = 64;

/// Acknowledged positions above the floor that are remembered for each consumer, so that a second
/// acknowledgement is told apart from a first.
pub const SETTLED_MAX: usize = 65_536;

/// Messages buffered for one subscription of the client, at most; more than it can ever have
/// outstanding, so that none is dropped.
pub const SUBSCRIPTION_CAPACITY: usize = 4 * ACKS_OUTSTANDING_MAX;

/// What a message may be larger on the wire than it counts: our own headers and the protocol's line.
pub const WIRE_SLACK: u32 = 1_024;

/// Oldest server that has what is needed: message lifetimes, paused consumers, batched reads.
pub const SERVER_MIN: (i64, i64, i64) = (2, 11, 0);
