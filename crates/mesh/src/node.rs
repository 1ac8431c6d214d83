//! A node of the mesh.
mod words;

use event::Moment;

pub use words::{Beyond, Ending, FarGroup, Input, Leg, LinkView, Onward, Output, Refusal, Report, SourceView};

use crate::envelope::Envelope;
use crate::names::NodeId;
use crate::plan::Plan;
use alloc::vec::Vec;

/// Notes that a connection may be given before it says that it has room.
pub const NOTES_AHEAD: u32 = 8;

/// The machine of one node.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    plan: Plan,
}

impl Node {
    /// A node without plan, links and wishes. The seed decides how names are hashed: no stranger may know it.
    pub fn new(id: NodeId, _seed: u64) -> Self {
        Node { id, plan: Plan::default() }
    }

    /// Who it is.
    pub fn id(&self) -> &NodeId {
        &self.id
    }

    /// The plan that stands.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Something happened.
    pub fn handle(&mut self, _now: Moment, _input: Input) {}

    /// What is to be done next; `None`: nothing more.
    pub fn poll(&mut self) -> Option<Output> {
        None
    }

    /// When [`Input::Tick`] is due.
    pub fn wake(&self) -> Option<Moment> {
        None
    }

    /// Whether nobody listens beyond this node.
    pub fn is_quiet(&self) -> bool {
        true
    }

    /// Where the messages of a subject go that enter at this node.
    pub fn beyond(&self, _subject: &str) -> Beyond {
        Beyond::default()
    }

    /// Judges a message that came on a connection, and says what is to be done with it.
    ///
    /// # Errors
    /// Why nothing of it may be taken.
    pub fn judge(&self, _conn: u64, _head: &Envelope, _subject: &str) -> Result<Onward, Refusal> {
        Err(Refusal::Closed)
    }

    /// The links as they stand, in the order of their ids.
    pub fn links(&self) -> Vec<LinkView> {
        Vec::new()
    }

    /// Whose wishes are known here, and how many.
    pub fn sources(&self) -> Vec<SourceView> {
        Vec::new()
    }
}
