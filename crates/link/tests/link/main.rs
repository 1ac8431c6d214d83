//! Both ends of the link, over real sockets and without.

#![allow(clippy::unwrap_used, reason = "a test")]

mod batches;
mod listening;
mod peers;
mod receiving;
mod support;
mod tls;
