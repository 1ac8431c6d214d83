//! What a payload must be: protobuf descriptors and JSON Schemas, bound to subjects.
//!
//! A [`Resource`] is what is declared, a [`Schema`] is one compiled, and a [`Table`] holds those in force
//! by the patterns of their subjects. [`Table::judge`] says of a message that it is right, that its
//! publisher is to be refused, or that it is to be marked.
//!
//! This crate knows no door, engine, clock or socket; it reads files only in [`Resource::inline`] and
//! [`compile_proto`], for people at a command line and for folders of configuration. Payloads are
//! looked at and never changed.

mod data;
mod fault;
mod json;
pub mod limits;
mod proto;
mod resource;
mod source;
mod table;
mod wire;

pub use fault::{Fault, Invalid};
pub use resource::{API_VERSION, KIND, Metadata, Mode, Resource, Spec, Type, check_name};
pub use source::{SourceError, compile_proto};
pub use table::{ERROR_HEADER, NAME_HEADER, Schema, Table, Verdict};
