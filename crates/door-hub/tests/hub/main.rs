//! The hub door as its clients see it: real sockets, bytes as they travel.

#![allow(clippy::unwrap_used, reason = "a test")]

mod access;
mod bad;
mod links;
mod replay;
mod requests;
mod routing;
mod street;
mod support;
mod targets;
