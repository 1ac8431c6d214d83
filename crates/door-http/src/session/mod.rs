//! Requests to the port's verbs, and its answers to responses: one module for each part of the API.
//! It knows no socket and no task; what follows a stream is a body that is pulled.

pub mod call;
pub mod caller;
pub mod consumers;
pub mod events;
pub mod federation;
pub mod follow;
pub mod hub;
pub mod mesh;
pub mod messages;
pub mod node;
pub mod publish;
pub mod resources;
pub mod schemas;
pub mod streams;
pub mod view_follow;
pub mod views;
