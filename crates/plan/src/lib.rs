//! What should be so.
//!
//! The kinds of resources and their rules, reactions to facts as a machine, and the merging of derived
//! configuration with what was declared. No file, process or socket is touched here: time is an
//! argument, and what is to be done is an answer.

#![no_std]
extern crate alloc;

mod declared;
mod document;
pub mod duration;
mod explain;
pub mod kinds;
mod schema;

pub use declared::{Declared, PeerFrom, ResolvedPeer, check};
pub use document::{API_VERSION, Document, Fault, Identity, documents};
pub use explain::{Change, ExplainError, Explained, Field, diff, explain};
pub use kinds::*;
pub use schema::{schema_of, schema_of_any, schemas};
