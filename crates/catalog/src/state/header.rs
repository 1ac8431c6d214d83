//! What is said of a key, or of a user event, beside its bytes.
//!
//! ```text
//! payload              the value
//! Catalog-Flags        the client's number; absent: 0
//! Catalog-Session      the session that holds it; absent: none
//! Catalog-Lock-Index   how often it was acquired; absent: 0
//! Catalog-Created      the position at which it came to be; absent: the message's own
//! Catalog-Lock-Delay   nanoseconds for which it cannot be acquired, counted from the message
//! ```
//!
//! An empty message removes a key where it says so by its type, or says nothing at all.

/// The type of the message that says that a key went.
pub const KEY_REMOVED: &str = "catalog.key.removed";
/// See the module's head.
pub const FLAGS: &str = "Catalog-Flags";
/// See the module's head.
pub const SESSION: &str = "Catalog-Session";
/// See the module's head.
pub const LOCK_INDEX: &str = "Catalog-Lock-Index";
/// See the module's head.
pub const CREATED: &str = "Catalog-Created";
/// See the module's head.
pub const LOCK_DELAY: &str = "Catalog-Lock-Delay";
/// Which nodes a user event is for.
pub const NODE_FILTER: &str = "Catalog-Node-Filter";
/// Which services a user event is for.
pub const SERVICE_FILTER: &str = "Catalog-Service-Filter";
/// Which tags a user event is for.
pub const TAG_FILTER: &str = "Catalog-Tag-Filter";
