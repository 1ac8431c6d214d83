//! Who wants what.
//!
//! [`Interests`] collects which connections want which subjects. Of it come immutable [`Route`]s: a
//! route says where the messages of one subject go, given the [`Class`] of the connection that they
//! come from. Nothing is delivered here.
//!
//! # Invariants
//! - A leg gets a message once, however many of its patterns match.
//! - Legs come in the order of their numbers.
//! - Of the members of a queue group, and of all repeaters, one gets a message; which one is the
//!   sender's to say.
//! - A route never changes.
//!
//! This crate knows no clock, socket, thread or executor: it is `no_std` with `alloc`.

#![no_std]
extern crate alloc;

mod class;
mod table;

pub use class::Class;
pub use table::{Interests, Leg, Route};
