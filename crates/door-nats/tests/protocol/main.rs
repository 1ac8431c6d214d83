//! The client protocol as a client sees it: real sockets, lines as they travel.

#![allow(clippy::unwrap_used, reason = "a test")]

mod admission;
mod limits;
mod messages;
mod monitoring;
mod support;
