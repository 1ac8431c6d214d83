//! The Rust client for services: a messenger, and, with the features `sqlite` and `postgres`, a view kept in a
//! database ([`replica`]).
//!
//! A [`Messenger`] is connected to a hub, a Tidings node or an original one, and stays so: when the connection
//! is lost it dials again, with a wait that grows and has chance in it, and restores its subscriptions, each once.
//! What is sent meanwhile waits in a bounded buffer, whose [`Policy`] says what happens when it is full.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use client::{Messenger, Options};
//!
//! let messenger = Messenger::connect("ws://localhost:7100", Options::default()).await?;
//! messenger.subscribe(["ITB-1101", "ITB-1108"])?;
//! messenger.send("ITB-1101", br#"{"key":"power","value":"on"}"#.as_slice()).await?;
//! while let Some(event) = messenger.receive().await {
//!     println!("{}: {} bytes", event.room, event.body.len());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What holds:
//! - subscriptions go to the hub before any event that was sent after them, and, on a new connection, before
//!   all events. A room is asked for once, however often it was subscribed to.
//! - events are sent in the order in which they were given. One whose frame was not written as a whole when the
//!   connection was lost is sent again on the next. One that was written may be lost with the connection: the
//!   protocol has no answer to an event. None is sent twice.
//! - nothing waits for a receiver that is not called, unless [`Policy::Block`] asks for that.
//!
//! What it is not: a store. What the hub did not keep while this client was away does not come; a Tidings node
//! that keeps a room replays it on request ([`Options::replay`]).

mod address;
mod connect;
mod error;
mod event_v2;
mod limits;
mod messenger;
mod options;
mod pace;
mod queue;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub mod replica;
mod session;
pub mod sse;

pub use error::{BodyError, ConnectError, SendError};
pub use event_v2::{DeviceInfo, EventV2, RoomInfo};
pub use limits::ROOM_BYTES_MAX;
pub use messenger::{Counts, Event, Messenger, State};
pub use options::{Authorities, Bound, Options, Policy, Replay, Token};
