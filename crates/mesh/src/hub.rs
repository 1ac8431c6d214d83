//! Links between hubs: three machines, of which each knows one thing.
//!
//! [`Links`] knows which connections there are to which hubs, what is dialled and when, and which of two
//! connections to one hub stays. [`Custody`] knows what was sent of a stream and not answered for. [`Seen`]
//! knows what came before. What is sent on a link at all is the business of `route`; sockets, streams and
//! the bytes on the wire are elsewhere.
//!
//! What the two sides of a link hold to, so that nothing kept is lost and nothing comes twice:
//! - a message is answered for when it is recorded, or delivered where it is not kept: on every connection that
//!   it came by and that is still open, never on another, which may have died unseen. Where none is, the
//!   sender loses its connection too, and sends again.
//! - a copy that comes while the first is being recorded is answered for together with that.
//! - who cannot record a message gives it back ([`Seen::give_back`]) and closes the connections to its peer.
//! - a sender whose connection is replaced or lost sends again what [`Custody::lost`] gives. Before anything new, if
//!   order matters to it: for what is kept or lost it does not.

mod custody;
pub mod limits;
mod links;
mod seen;

pub use custody::{Custody, Load};
pub use links::{Input, LinkView, Links, Output, Target, TargetState, TargetView, Why};
pub use seen::Seen;
