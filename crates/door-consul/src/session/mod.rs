//! What a request asks for, and of whom: endpoints to questions and commands. No socket is known here.

mod agent;
mod keys;
mod keys_read;
mod read;
mod register;
mod sieve;
mod write;

pub(crate) use agent::answer as about_the_node;
pub(crate) use read::{Ask, leads_to, meshed, speaks_mesh};
pub(crate) use register::same_datacenter;
pub(crate) use sieve::{Sieve, Sight};
pub use write::command;
pub(crate) use write::{Written, is_write, write};
