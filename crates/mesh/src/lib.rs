//! How nodes reach each other.
//!
//! [`node`] is the machine of a node of the mesh: what its neighbours want, where a message goes, and what may come
//! in. It is told a [`plan`] and speaks in [`wire`] notes; messages travel under an [`envelope`]. [`hub`] holds the
//! links between hubs: who dials whom and when, which of two links stays, and what is owed on each.
//!
//! This crate knows no clock, socket, thread or executor: it is `no_std` with `alloc`. Time is an argument,
//! chance is a seed.

#![no_std]
extern crate alloc;

pub mod acl;
mod codec;
pub mod control;
pub mod envelope;
pub mod hub;
mod interest;
pub mod names;
pub mod node;
pub mod plan;
pub mod proof;
mod routes;
pub mod segment;
pub mod topology;
pub mod tree;
pub mod wire;
