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
pub mod kinds;

pub use declared::{Declared, PeerFrom, ResolvedPeer, check};
pub use document::{API_VERSION, Document, Fault, Identity, documents};
pub use kinds::*;
