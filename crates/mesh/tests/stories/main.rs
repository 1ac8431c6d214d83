//! Stories of a mesh that a controller leads: each sets up domains, does something to them, and asks who holds which
//! link, what is reached and by which way.
//!
//! They tell what the original's own tests of its control plane tell (links, routes, failover, segments, the two ways
//! to change a topology, proofs of links), and what it does not promise.

#![allow(clippy::unwrap_used, reason = "a test")]

mod failover;
mod joining;
mod proofs;
mod reaching;
mod segments;
mod world;
