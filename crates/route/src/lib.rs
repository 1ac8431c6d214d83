//! Who wants what.
//!
//! [`Interests`] collects which destination wants which subjects, and makes immutable
//! [`ForwardingTable`]s of it; a table says where a message goes, given the [`Class`] of the
//! connection that it came from. Nothing is delivered here.
//!
//! # Invariants
//! - A destination gets a message once, however many of its patterns match.
//! - Destinations come in the order of their numbers, repeaters after all others.
//! - Of all repeaters that want a message, one gets it: the one with the lowest number.
//! - A table never changes; versions of one `Interests` only grow.
//!
//! # Cost
//! A match walks a trie: its cost follows what matches, not how many interests there are. Making a
//! table costs as much as there are interests, since a table shares nothing with the next.
//!
//! This crate knows no clock, socket, thread or executor: it is `no_std` with `alloc`.

#![no_std]
extern crate alloc;

mod class;
mod table;

pub use class::Class;
pub use table::{Destination, ForwardingTable, Interests};
