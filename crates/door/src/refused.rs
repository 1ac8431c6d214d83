//! What can go wrong at the port: the journal's error of each verb, and what the port adds.

use std::fmt;
use std::sync::Arc;

use journal::AppendError;
use thiserror::Error;

use crate::check::Unfit;

/// What somebody wanted to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Publish to a subject.
    Publish,
    /// Read a subject, or all subjects of a pattern.
    Read,
    /// Create, change or delete a stream, or remove messages from it.
    Administer,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verb::Publish => "publish",
            Verb::Read => "read",
            Verb::Administer => "administer",
        })
    }
}

/// The token does not allow it. Never worth trying again with the same token.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the token '{who}' may not {verb} '{what}'")]
pub struct NotAllowed {
    /// Whose token.
    pub who: Arc<str>,
    /// What it may not do.
    pub verb: Verb,
    /// The subject, pattern or stream that it may not do it with.
    pub what: String,
}

/// Why a verb was refused: by the port, or by the journal.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refused<E> {
    /// The token does not allow it.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// What the journal said.
    #[error("{0}")]
    Journal(E),
}

/// Why a publish was refused. Nothing was recorded, but where [`AppendError`] says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PublishError {
    /// The token does not allow it.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// The payload is larger than this node takes.
    #[error("the payload has {size} bytes; this node takes {max}")]
    PayloadTooLarge {
        /// Its size, in bytes.
        size: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// The data is not what a schema says.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// What the journal said. [`AppendError::Busy`] is also said where too many bytes are in flight.
    #[error(transparent)]
    Journal(#[from] AppendError),
}
