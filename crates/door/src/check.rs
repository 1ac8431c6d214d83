//! What looks at a message before it is recorded or delivered.

use event::Message;
use thiserror::Error;

/// Judges messages on entry. Called on a door's task: must not block.
pub trait Check: Send + Sync {
    /// Whether messages of a subject are judged at all.
    fn is_bound(&self, subject: &str) -> bool;

    /// Judges a message, and may change its headers; never its subject or payload.
    ///
    /// # Errors
    /// [`Unfit`]: the publisher is refused.
    fn check(&self, message: &mut Message) -> Result<(), Unfit>;
}

/// The data is not what a schema says. Never worth trying again unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the schema '{schema}' refuses the data: {}{why}", at(field))]
pub struct Unfit {
    /// The schema.
    pub schema: String,
    /// The path of the field; empty: the data as a whole.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

fn at(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!("{field}: ") }
}
