//! What can go wrong with a replica.

use thiserror::Error;

/// Why a replica does not go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReplicaError {
    /// The spec cannot be used. Trying again is of no use.
    #[error("{0}")]
    Spec(String),
    /// The node does not answer, or not as one does. It may pass: what is in the table stays.
    #[error("the node cannot be reached: {0}")]
    Away(String),
    /// The node refuses. It may pass: a view may be declared, a token put in force.
    #[error("the node refuses with {status}: {text}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it says.
        text: String,
    },
    /// The database cannot be used. It may pass.
    #[error("the database: {0}")]
    Database(String),
    /// Somebody else keeps the same table, and was faster. It goes on from where that is.
    #[error("another replica writes to the same table, and is ahead")]
    Overtaken,
}

impl ReplicaError {
    /// Whether trying again is of no use.
    pub fn is_final(&self) -> bool {
        matches!(self, ReplicaError::Spec(_))
    }
}
