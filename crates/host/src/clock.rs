//! The clock and the entropy of this machine.

use std::time::{Duration, SystemTime};

use event::Moment;

/// What time it is by this machine's clock. May jump, also back: who needs order keeps it itself.
pub(crate) fn now() -> Moment {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Moment::EPOCH.after(since)
}
