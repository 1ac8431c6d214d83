//! The door over its real encoding, against a client of our own that can misbehave.

#![allow(clippy::unwrap_used, reason = "in a test, what cannot be is a failure")]
#![allow(clippy::cast_possible_truncation, reason = "a test's numbers are small, and halves are meant")]

mod inboxes;
mod links;
mod matching;
mod misuse;
mod remotes;
mod replicas;
mod sockets;
mod support;
