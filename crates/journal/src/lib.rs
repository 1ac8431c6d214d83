//! What memory promises.
//!
//! A [`Journal`] keeps **streams**, durable ordered logs of the messages whose subjects they
//! capture, and **consumers**, durable cursors over them. This crate holds the contract, the rules
//! that every engine applies ([`rules`]), consumers as a state machine ([`desk`]), an engine in
//! memory that is also the oracle ([`memory`]), and the suite that every engine passes
//! ([`suite`]).
//!
//! It knows no clock, file, socket, thread, entropy or executor (`no_std` with `alloc`). Time is an
//! argument of the machines; a [`Journal`], which stands at the rim, is given a clock by whoever
//! builds it.
//!
//! # Promises
//! 1. A receipt is given only when the message is as durable as the engine says in
//!    [`Receipt::proof`]; by default that is *on this disk, synced*.
//! 2. A crash at any instant loses nothing that a receipt was given for, doubles nothing, reorders
//!    nothing. A message without a receipt is there once or not at all.
//! 3. A stream's positions are consecutive and start at 1, unless it is declared to start later or
//!    they are given from elsewhere ([`Append::at`]). A position is never used twice.
//! 4. De-duplication by message id is exact within its window, across restarts.
//! 5. A reader sees only what would survive a crash, in order of position.
//! 6. Consumers deliver at least once. An acknowledged message is not delivered again, but for
//!    acknowledgements that a crash overtook; an unacknowledged one is never skipped.

#![no_std]
extern crate alloc;

mod config;
mod consumer;
mod contract;
pub mod desk;
mod error;
pub mod limits;
pub mod local;
pub mod memory;
mod news;
pub mod rules;
mod stream;
pub mod suite;

pub use config::{Discard, Republish, Retention, Source, SourceStart, Storage, StreamConfig};
pub use consumer::{
    Ack, AckPolicy, AckToken, ConsumerConfig, ConsumerInfo, ConsumerStart, Delivery, Fetch, FetchEnd, GroupState,
    PriorityConfig, PriorityPolicy, Sink, Want,
};
pub use contract::{Answer, Done, Health, Journal, answer, ready};
pub use error::{AckError, AppendError, BatchError, ConsumerError, FetchError, QueueError, ReadError, StreamError};
pub use news::{JournalEvent, Streams, Unpinned, Watcher};
pub use stream::{
    Append, Expect, Page, Proof, Purge, Read, Receipt, Rollup, Start, Stored, StreamInfo, StreamState, SubjectState,
    Until,
};
