//! How nodes reach each other.
//!
//! [`hub`] holds the links between hubs: who dials whom and when, which of two links stays, and what is
//! owed on each.
//!
//! This crate knows no clock, socket, thread or executor: it is `no_std` with `alloc`. Time is an argument,
//! chance is a seed.

#![no_std]
extern crate alloc;

pub mod hub;
