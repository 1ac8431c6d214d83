//! Bytes to requests, and answers to bytes. Pure: it knows no port, clock, socket or task.
//!
//! - [`cloud`]: the CloudEvents HTTP binding, binary, structured and batch;
//! - [`declare`]: streams and consumers as JSON;
//! - [`kept`]: which HTTP headers a message keeps, and which it gives back;
//! - [`message`]: a stored message as JSON, as a CloudEvent, as a server-sent event;
//! - [`query`]: query strings, in which every name must be known;
//! - [`view`]: rows of views as JSON, and as server-sent events.
//!
//! Each is fuzzed: no bytes make it panic.

pub mod cloud;
pub mod declare;
pub mod kept;
pub mod message;
pub mod query;
pub mod view;
