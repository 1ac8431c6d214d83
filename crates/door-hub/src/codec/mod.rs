//! Bytes to frames, events and changes of subscriptions, and back. Pure: no socket, no clock.

mod change;
mod control;
mod event;
mod frame;
mod room;
mod span;
mod v2;

pub use change::Change;
pub use control::{Control, Place};
pub use event::{Source, split, write_event};
pub use frame::{Fault, Head, Mask, Next, Opcode, Side, next, unmask, write_frame};
pub use room::{decode_room, encode_room, pattern, subject};
pub use span::go_duration;
pub use v2::{Posted, V2, attributes, post};
