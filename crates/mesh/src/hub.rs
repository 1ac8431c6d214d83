//! Links between hubs: three machines, of which each knows one thing.
//!
//! [`Links`] knows which connections there are to which hubs, what is dialled and when, and which of two
//! connections to one hub stays. [`Custody`] knows what was sent of a stream and not answered for. [`Seen`]
//! knows what came before. What is sent on a link at all is the business of `route`; sockets, streams and
//! the bytes on the wire are elsewhere.

mod custody;
pub mod limits;
mod links;
mod seen;

pub use custody::{Custody, Load};
pub use links::{Input, LinkView, Links, Output, Target, TargetState, TargetView, Why};
pub use seen::Seen;
