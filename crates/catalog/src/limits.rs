//! Every limit of the catalogue, with its unit and its reason.

use core::time::Duration;

/// Most pairs of metadata of a node or service: Consul's.
pub const META_PAIRS_MAX: usize = 64;

/// Longest key of metadata, in bytes: Consul's.
pub const META_KEY_BYTES_MAX: usize = 128;

/// Longest value of metadata, in bytes: Consul's.
pub const META_VALUE_BYTES_MAX: usize = 512;

/// Longest address, in bytes: twice what a name in DNS can have.
pub const ADDRESS_BYTES_MAX: usize = 512;

/// Longest name of a node, service, instance, check or event, in bytes. Encoded, three of them and a datacenter
/// must make one subject; what does not is refused when the subject is made.
pub const NAME_BYTES_MAX: usize = 512;

/// Largest value of a key, in bytes: Consul's.
pub const VALUE_BYTES_MAX: usize = 512 * 1024;

/// Largest payload of a user event, in bytes: Consul's, for its gossip; kept for what clients expect of its order.
pub const EVENT_BYTES_MAX: usize = 64 * 1024;

/// Largest record of an instance or node, in bytes: all its checks with what they said.
pub const RECORD_BYTES_MAX: usize = 512 * 1024;

/// Most checks of one instance, or of one node. Each result restates them all.
pub const CHECKS_MAX: usize = 128;

/// Longest output of a check that is kept, in bytes: Consul's. The rest is cut off.
pub const OUTPUT_BYTES_MAX: usize = 4 * 1024;

/// How often a check's output is recorded while its status stays as it is: each record costs a sync, and wakes every
/// reader of the service.
pub const OUTPUT_EVERY: Duration = Duration::from_secs(5 * 60);

/// Most tags of a service.
pub const TAGS_MAX: usize = 1_024;

/// Most operations of one transaction: Consul's.
pub const TXN_OPERATIONS_MAX: usize = 64;

/// How long a removal stays in the stream: a reader that was away for a weekend learns of it.
pub const REMOVAL_KEPT: Duration = Duration::from_secs(3 * 24 * 3600);

/// How long a user event stays in the stream.
pub const EVENT_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Most removed subjects that are remembered with the position of their removal, about 10 MB. Beyond it a
/// precondition on an absent subject speaks of the whole stream, which is right, and dearer.
pub const REMOVED_MAX: usize = 65_536;

/// Most removals that the table of one service remembers: whoever was away for more gets a snapshot.
pub const SERVICE_REMOVALS_MAX: usize = 1_024;

/// Most removals that the tables of nodes, keys and sessions remember, each.
pub const TABLE_REMOVALS_MAX: usize = 16_384;

/// Most services without an instance that are remembered with the position at which the last one went.
pub const EXTINCT_MAX: usize = 4_096;

/// Texts that are remembered to be kept once for all that say the same: names, tags, keys of metadata. 256 KiB, and
/// the texts.
pub const TEXTS_MAX: usize = 16_384;

/// Most lifetimes of checks that are kept once for all that have the same.
pub const DEFINITIONS_SHARED_MAX: usize = 1_024;

/// Longest text that is looked for among those, in bytes.
pub const TEXT_SHARED_BYTES_MAX: usize = 96;

/// User events that are listed: Consul's.
pub const EVENTS_LISTED: usize = 256;

/// Lock delay where a session says none: Consul's.
pub const LOCK_DELAY_DEFAULT: Duration = Duration::from_secs(15);

/// Longest lock delay: Consul's. A longer one counts as this.
pub const LOCK_DELAY_MAX: Duration = Duration::from_secs(60);

/// Shortest lifetime of a session: Consul's.
pub const SESSION_TTL_MIN: Duration = Duration::from_secs(10);

/// Longest lifetime of a session: Consul's.
pub const SESSION_TTL_MAX: Duration = Duration::from_secs(24 * 3600);

/// Shortest time that a service may be critical before it is deregistered: Consul's. A shorter one counts as this.
pub const DEREGISTER_AFTER_MIN: Duration = Duration::from_secs(60);

/// Shortest interval of a check: Consul's. A shorter one counts as this.
pub const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Longest filter expression, in bytes.
pub const FILTER_BYTES_MAX: usize = 8 * 1024;

/// Deepest nesting of a filter expression, in parentheses and `not`s.
pub const FILTER_DEPTH_MAX: usize = 32;

/// Longest pattern of a `matches`, in bytes.
pub const REGEX_BYTES_MAX: usize = 1_024;

const _: () = assert!(SESSION_TTL_MIN.as_secs() < SESSION_TTL_MAX.as_secs());
const _: () = assert!(LOCK_DELAY_DEFAULT.as_secs() <= LOCK_DELAY_MAX.as_secs());
