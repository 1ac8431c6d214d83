//! The door's routes, one by one, on a journal in memory, without a socket.

#![allow(clippy::unwrap_used, reason = "a test")]

mod access;
mod consumers;
mod events;
mod mesh;
mod messages;
mod node;
mod publish;
mod pushback;
mod resources;
mod streams;
mod support;
mod views;
