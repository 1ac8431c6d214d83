//! The catalogue as its users meet it: commands in, messages between, answers out.

#![allow(clippy::unwrap_used, reason = "a test")]

mod filter;
mod keys;
mod services;
mod storm;
mod world;
