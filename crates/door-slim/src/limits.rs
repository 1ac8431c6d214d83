//! Limits of this door, with their units and reasons.

use std::time::Duration;

/// Largest message, in bytes: what a stock client takes.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Largest header of a message, in bytes: names of some kilobytes, and an identity's token.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Bytes that are kept of a message which is too long, to find out who is to be told.
pub const PARTIAL_BYTES: usize = 16 * 1024;
/// Longest name of a link, in bytes; the original's are UUIDs, or two nodes' names.
pub const LINK_BYTES_MAX: usize = 512;
/// Longest text of a name's component that is kept, in bytes: for a controller and for listings.
pub const TEXT_BYTES_MAX: usize = 256;
/// Most connections together.
pub const CONNECTIONS_DEFAULT: usize = 16_384;
/// Streams of one connection; a stock client opens one.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 100;
/// Most subscriptions of one link, each name and instance with each of its ids.
pub const SUBSCRIPTIONS_DEFAULT: usize = 131_072;
/// Most bytes that wait for one link before messages are dropped for it.
pub const PENDING_BYTES_DEFAULT: usize = 16 * 1024 * 1024;
/// Bytes besides that a node's own words may take: acknowledgements and answers. Who lets more wait is ended.
pub const SAID_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes waiting for one link beyond which whoever sends to it pauses, as long as it makes progress.
pub const PRESSED_BYTES: usize = 512 * 1024;
/// How long a sender pauses at most for a pressed receiver, after each read, where others wait for it too.
pub const PRESSED_PAUSE: Duration = Duration::from_millis(2);
/// The same, where all that it sends goes to pressed receivers.
pub const PRESSED_PAUSE_ALONE: Duration = Duration::from_millis(200);
/// How long a receiver may make no progress before senders no longer pause for it.
pub const PROGRESS: Duration = Duration::from_millis(50);
/// Bytes handed to a connection at a time.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes read before those who were written to are woken.
pub const READ_BYTES: usize = 256 * 1024;
/// How long a link may take to negotiate: the original's.
pub const NEGOTIATION_DEADLINE_DEFAULT: Duration = Duration::from_secs(5);
/// How long a client may take over TLS, and over the head of a request: the original's.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// How long a link may take nothing while bytes wait for it.
pub const WRITE_DEADLINE_DEFAULT: Duration = Duration::from_secs(60);
/// How often a connection that is silent is pinged.
pub const PING_INTERVAL_DEFAULT: Duration = Duration::from_secs(30);
/// How long the answer to a ping may take: the original's.
pub const PING_DEADLINE_DEFAULT: Duration = Duration::from_secs(20);
/// How long closing may take.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(2);
/// Names whose ways one link keeps.
pub const WAYS_KEPT_MAX: usize = 1024;
/// Messages of one instance's inbox that are told apart; those beyond may be kept twice.
pub const INBOX_IDS_MAX: usize = 16_384;
/// Messages of an inbox read at a time.
pub const INBOX_PAGE_MESSAGES: usize = 64;
/// Bytes of them.
pub const INBOX_PAGE_BYTES: usize = 1024 * 1024;
/// How often it is looked whether there are other inboxes, though this node did not change them.
pub const INBOX_LOOK: Duration = Duration::from_secs(1);
/// How soon something that is kept is offered again to a receiver that had no room.
pub const INBOX_RETRY: Duration = Duration::from_millis(50);
/// How long nothing may come, after all that was kept is delivered, until other nodes are told to send to the owner
/// itself: several round trips between continents.
pub const INBOX_LINGER: Duration = Duration::from_millis(500);
/// How long they are kept from it at most, however much comes.
pub const INBOX_LINGER_MAX: Duration = Duration::from_secs(5);
/// Instances of one name for which something is kept, at most: each is known to all nodes while it is.
pub const INBOX_INSTANCES_MAX: usize = 1024;
/// The same of all names: with the messages' numbers, some 100 MB.
pub const INBOX_BACKLOGS_MAX: usize = 16_384;
/// How often it is looked for what is kept no more because it became too old.
pub const INBOX_TIDY: Duration = Duration::from_secs(30);
/// Most bytes of messages on their way into inboxes; what is beyond is not taken.
pub const INBOX_PENDING_BYTES_MAX: usize = 64 * 1024 * 1024;

const _: () = assert!(PRESSED_BYTES < PENDING_BYTES_DEFAULT);
const _: () = assert!(MESSAGE_BYTES_MAX < PENDING_BYTES_DEFAULT);
const _: () = assert!(PARTIAL_BYTES < MESSAGE_BYTES_MAX);
