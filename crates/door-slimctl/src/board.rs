//! What the host joins: the controller, its segments, and who may change them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use mesh::control::{Act, Event, Status};
use mesh::names::{Name, NodeId};
use mesh::plan::SegmentPlan;
use mesh::segment::Edit;
use tokio::sync::mpsc;

/// Something that is answered later.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A control channel at the controller.
pub struct Channel {
    /// Its number, unique for ever.
    pub session: u64,
    /// What the controller wants of it: plans, routes, a rejection. When it is closed, so is the channel.
    pub acts: mpsc::Receiver<Act>,
}

/// What a controller shows of itself.
#[derive(Debug, Clone)]
pub struct View {
    /// Nodes, links, domains and routes.
    pub status: Status,
    /// The segments, without what is not up left out.
    pub segments: Vec<Arc<SegmentPlan>>,
}

/// Why a change is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Who asks may not.
    #[error("{0}")]
    Denied(String),
    /// There is none.
    #[error("{0}")]
    NotFound(String),
    /// It is there already, and other.
    #[error("{0}")]
    Exists(String),
    /// It cannot be, as things are.
    #[error("{0}")]
    Precondition(String),
    /// It is not well formed.
    #[error("{0}")]
    Invalid(String),
    /// It may go another time.
    #[error("{0}")]
    Unavailable(String),
}

/// The controller, as this door needs it. No method may block.
pub trait Board: Send + Sync {
    /// This node.
    fn own(&self) -> NodeId;

    /// The secret by which nodes prove that they belong to a domain; `None`: none of its nodes is taken.
    fn secret(&self, domain: &Name) -> Option<Vec<u8>>;

    /// A control channel; `None` where this node is no controller, or stops.
    fn open(&self) -> Answer<'_, Option<Channel>>;

    /// Tells the controller what happened. Events of one channel are told in order.
    fn event(&self, event: Event) -> Answer<'_, ()>;

    /// What the controller shows of itself.
    fn view(&self) -> Answer<'_, Result<View, Fault>>;

    /// Who presented this (the whole `authorization` header), where it may see, or may change, what there is.
    ///
    /// # Errors
    /// [`Fault::Denied`].
    fn admit(&self, presented: Option<&str>, change: bool) -> Result<Arc<str>, Fault>;

    /// Changes the segments for somebody; what is to be known of it.
    fn edit(&self, who: Arc<str>, edit: Edit) -> Answer<'_, Result<Vec<String>, Fault>>;

    /// Declares a domain and its secret for somebody.
    fn add_domain(&self, who: Arc<str>, name: Name, secret: String) -> Answer<'_, Result<(), Fault>>;

    /// Takes a domain away for somebody, and its nodes with it.
    fn remove_domain(&self, who: Arc<str>, name: Name) -> Answer<'_, Result<(), Fault>>;
}
