//! The door as clients see it: bytes in, bytes out.

#![allow(clippy::unwrap_used, reason = "in a test, what cannot be is a failure")]

mod blocking;
mod faults;
mod keys;
mod rights;
mod secure;
mod shapes;
mod streams;
mod support;
