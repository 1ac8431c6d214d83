//! Streams of this node that are kept in other domains too, with custody.

use std::sync::Arc;

use link::mesh::Letter;
use mesh::node::Refusal;

use super::body::{Body, Conn};

/// What is in this node's custody, and what is brought to it.
#[derive(Default)]
pub(super) struct Custody {}

impl Custody {
    /// A message came that is to be kept here, or further on.
    pub(super) fn keep(&self, _body: &Arc<Body>, _conn: &Arc<Conn>, _letter: &Letter<'_>) -> Result<(), Refusal> {
        Err(Refusal::NoWay)
    }

    /// A peer says what was kept.
    pub(super) fn kept(&self, _body: &Arc<Body>, _conn: &Arc<Conn>, _bytes: &[u8]) {}
}
