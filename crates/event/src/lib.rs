//! What a fact is.
//!
//! The lowest floor of the house: the [`Message`] that moves, the [`Subject`] it moves by, the
//! [`Pattern`] it is wanted by, its [`Headers`], the [`CloudEvents`](cloud) attributes it may carry,
//! and the [`Moment`] it happened.
//!
//! This crate knows no clock, file, socket, thread, entropy or executor: it is `no_std` with
//! `alloc`, so the compiler keeps that promise.

#![no_std]
extern crate alloc;

pub mod cloud;
mod fact;
mod headers;
pub mod limits;
mod message;
mod moment;
pub mod path;
mod subject;
mod trace;
mod transform;
pub mod units;
mod wanted;

pub use fact::Fact;
pub use headers::{HeaderError, Headers};
pub use message::Message;
pub use moment::{Moment, MomentError};
pub use path::{JsonPath, PathError};
pub use subject::{Pattern, Subject, SubjectError, decode_token, encode_token};
pub use trace::{TraceId, TraceParent};
pub use transform::{Transform, TransformError};
pub use wanted::Wanted;
