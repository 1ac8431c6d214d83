//! What any client may ask.
//!
//! Every door speaks to one [`Port`]. Behind it stand the journal, which remembers, and the
//! [`Fabric`], which hands messages to whoever listens now. What a client may do is decided here
//! and nowhere else, from its [`Principal`]: a door's work is to find out who is asking, and to put
//! questions and answers into its protocol.
//!
//! This crate knows no protocol, engine, mesh, socket or file. Its own state is the set of tokens,
//! which can be replaced at run time, and a count of bytes in flight, which bounds memory.

mod access;
pub mod catalogue;
mod check;
mod declare;
mod deliveries;
mod fabric;
pub mod limits;
mod port;
mod refused;
mod subscription;
pub mod suite;
mod views;
mod wakes;

pub use access::{Access, NameRule, Principal, Token, TokenHash, Unauthenticated};
pub use catalogue::Catalogue;
pub use check::{Check, Unfit};
pub use deliveries::Deliveries;
pub use fabric::{
    Beyond, Class, ConnectionId, Fabric, Far, Group, Hop, KEEPS_AHEAD, KEEPS_UNTAKEN, Keepers, Listener, ListenerId,
    NOBODY, Offered, Parcel, Quiet, Spread, Taker, Took, Tracer, WITHIN_HEADER, Way,
};
pub use journal;
pub use limits::Limits;
pub use port::{Port, Published, RESOURCES_PREFIX, is_own};
pub use refused::{NotAllowed, PublishError, Refused, Verb};
pub use subscription::{Heard, Subscription};
pub use views::{Cursor, Standing, View, ViewKey, ViewParts, ViewTouch, ViewWaiting, Views};
pub use wakes::{Waiting, Wakes};
