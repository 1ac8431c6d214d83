//! What should be so.
//!
//! The kinds of resources and their rules, reactions to facts as a machine, and the merging of derived
//! configuration with what was declared. No file, process or socket is touched here: time is an
//! argument, and what is to be done is an answer.

#![no_std]
extern crate alloc;

mod canonical;
mod declared;
mod document;
pub mod duration;
mod explain;
mod guard;
pub mod kinds;
mod merge;
mod part;
pub mod reaction;
mod request;
mod schema;

pub use declared::{Declared, PeerFrom, ResolvedPeer, check};
pub use document::{API_VERSION, Document, Fault, Identity, documents};
pub use explain::{Change, ExplainError, Explained, Field, diff, explain};
pub use guard::{Claim, GuardError, OBSERVED_IPV4, captured};
pub use kinds::*;
pub use merge::{Added, Effective, Explanation, From, Quarantined, Resolved, Suppressed, effective};
pub use schema::{schema_of, schema_of_any, schemas};
pub use part::{
    ANNOTATIONS, ActionCheck, ActionPlan, ActionUndo, Directive, FactRef, Origin, PART_API_VERSION, PART_KIND, Part,
    PartError, digest, part_source, revision,
};
pub use request::{
    PLUGIN_API_VERSION, PluginEvent, PluginRequest, PluginResult, ResultError, Trigger, check_plan, context, redacted,
};
