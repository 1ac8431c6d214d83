//! What should be so.
//!
//! A [`Document`] is a resource as it is written; [`documents`] finds those of a value. [`check`] judges a
//! set of them, each by its kind ([`kinds`]) and then together, and gives a [`Declared`], which never
//! changes. A plugin's answer to facts becomes a [`Part`]; [`reaction`] says when a plugin is to run and
//! what becomes of its parts; [`effective`] merges parts with what was declared, and [`captured`] tells
//! whether a fact is an observation of ourselves. [`schema_of`] and [`explain()`] tell what can be written,
//! [`diff`] what would change.
//!
//! No file, process or socket is touched here: time is an argument, and what is to be done is an answer.
//! What a stranger wrote is judged without panic, and every walk over it is bounded by its own size or by
//! a named limit.
//!
//! Sources: routerd's documents and rules, as its federation has them; what is ours beside them says so.

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
pub use part::{
    ANNOTATIONS, ActionCheck, ActionPlan, ActionUndo, Directive, FactRef, Origin, PART_API_VERSION, PART_KIND, Part,
    PartError, digest, part_source, revision,
};
pub use request::{
    PLUGIN_API_VERSION, PluginEvent, PluginRequest, PluginResult, ResultError, Trigger, check_plan, context, redacted,
};
pub use schema::{schema_of, schema_of_any, schemas};
