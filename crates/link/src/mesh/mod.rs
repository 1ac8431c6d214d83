//! Native links: frames between two nodes over TCP, proven, encrypted and in batches.
//!
//! [`dial`] and [`accept`] open a connection on which both ends have proven that they hold a key; [`Opened::start`]
//! makes a link of it, [`Talk::start`] a conversation with a controller. What is sent goes through [`Outbound`], from any
//! thread; what comes is read from the [`Reader`]. The layers, from above: [`frame`], record, handshake, TCP.
//!
//! What is absent: who is linked to whom, what a message's head means, when to dial again. All of that is told.
//!
//! # Invariants
//! - Nothing is held without a limit, in either direction: see [`limits`].
//! - A link that does not keep up loses transient messages, counted; it holds nobody back, and loses no control.
//!
//! # Cost
//! A message is copied once into the link's buffer, encrypted once with its neighbours, and parsed where it lies.

pub mod frame;
mod handshake;
pub mod limits;
mod outbound;
mod record;
mod session;

pub use frame::{Frame, Letter};
pub use handshake::{AcceptError, Admission, DialError, Doorkeeper, Hello, LinkKey, Purpose, accept, dial};
pub use outbound::{Counts, Ended, Outbound, Put};
pub use session::{Opened, Reader, Talk, frames_of};
