//! Bytes between nodes: signed HTTP push and receive, alone and in batches; native links in [`mesh`].
//!
//! [`KeyRing`] signs and checks; [`Target`] pushes to one peer; [`receive`] judges what comes in and hands it
//! to an [`Intake`], for a door as for [`serve`], the listener of a group; [`ServerTls`] and
//! [`client_config`] are TLS at both ends. The forms on the wire are in [`wire`], the limits in [`limits`].
//!
//! What is absent: a journal, a table of facts, a clock for signatures. What was received is handed on,
//! and answered when the intake says that it is on disk. What is pushed, when, and whether again, is told.
//!
//! # Invariants
//! - No error, log line or `Debug` holds a secret, a signature or a body.
//! - Nothing waits without a limit, in either direction; nothing is held without one.

mod batch;
mod body;
mod connect;
pub mod limits;
mod listen;
pub mod mesh;
mod push;
mod receive;
mod refusal;
mod secret;
mod tls;
pub mod wire;

pub use body::BodyWaits;
pub use connect::Waits;
pub use listen::{ListenOptions, serve};
pub use push::{Mode, Pushed, Target, TargetError, TargetOptions};
pub use receive::{Doing, Gate, Intake, Noted, Status, Taken, receive};
pub use secret::{Key, KeyRing, Secret, SecretError, read_secret};
pub use tls::{ClientFiles, ServerFiles, ServerTls, TlsError, client_config};
