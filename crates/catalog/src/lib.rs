//! What services there are: nodes, instances, checks, keys and sessions, folded from messages.
//!
//! One message states the whole of one thing, and the last message of a subject is the truth ([`address`] says where,
//! `stored` how it looks). [`State`] is the fold. A [`Command`] is judged against it ([`State::judge`]) and comes to
//! messages, each with what it was judged by, or is refused in the words of the original; what it has to be allowed is said
//! before ([`State::needs`]). [`filter`] is the grammar by
//! which readers choose.
//!
//! It knows no socket, clock or chance: time and ids are arguments, and no check is made here.

#![no_std]
extern crate alloc;

pub mod address;
mod command;
pub mod filter;
mod judge;
pub mod limits;
mod map;
mod model;
mod needs;
mod state;
mod stored;
mod text;
mod write;

pub use address::{event_subject, key_subject, node_subject, service_pattern, session_subject};
pub use command::{
    CheckDraft, Command, Fire, Form, Judged, KeyPut, Outcome, Refused, RefusedKind, Register, ServiceDraft,
    SessionCreate, SetCheck, TxnAnswer, TxnError, TxnOperation, TxnResult, TxnVerb,
};
pub use map::Map;
pub use model::{
    Behavior, Check, Definition, Health, InstanceKey, Json, Node, Pair, Service, ServiceAddress, Session, Status,
    UserEvent, Weights,
};
pub use needs::Need;
pub use state::{Instances, NodeView, Reader, ServiceView, State, Touch, Unfit, WasRead};
pub use write::{Expectation, Write};
