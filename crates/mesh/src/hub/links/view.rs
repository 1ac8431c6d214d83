//! What is shown of the links.

use alloc::sync::Arc;

use event::Moment;

use super::{Links, Place};

/// A link that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkView {
    /// Its name.
    pub link: Arc<str>,
    /// Its connection.
    pub connection: u64,
    /// The peer's node id, where it told one.
    pub peer: Option<Arc<str>>,
    /// The target that led to it; `None`: the peer dialled.
    pub target: Option<Arc<str>>,
    /// Since when this connection is there.
    pub since: Moment,
}

/// Where a target is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetState {
    /// It is dialled again at this moment.
    Waiting(Moment),
    /// It is being dialled.
    Dialling,
    /// It is linked, by this connection; or the connection waits for the place of one that does not answer.
    Linked(u64),
    /// Another connection to the same hub stays, of this link.
    Covered(Arc<str>),
}

impl TargetState {
    /// The word.
    pub fn word(&self) -> &'static str {
        match self {
            TargetState::Waiting(_) => "waiting",
            TargetState::Dialling => "dialling",
            TargetState::Linked(_) => "linked",
            TargetState::Covered(_) => "covered",
        }
    }
}

/// A hub that is to be dialled, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetView {
    /// Its name.
    pub name: Arc<str>,
    /// Its address.
    pub address: Arc<str>,
    /// Where it is.
    pub state: TargetState,
    /// Dials that failed, and links that did not last, in a row.
    pub failures: u32,
    /// What went wrong last, while it is not linked.
    pub error: Option<Arc<str>>,
}

impl Links {
    /// Whether this connection is the one that its link is up on.
    pub fn is_up(&self, connection: u64) -> bool {
        let link = self.connections.get(&connection).map(|found| &found.link);
        link.and_then(|link| self.standing.get(link)).is_some_and(|standing| standing.connection == connection)
    }

    /// The connection that a link is up on.
    pub fn connection(&self, link: &str) -> Option<u64> {
        self.standing.get(link).map(|standing| standing.connection)
    }

    /// Every link that is up, by name.
    pub fn links(&self) -> impl Iterator<Item = LinkView> {
        self.standing.iter().filter_map(|(link, standing)| {
            let found = self.connections.get(&standing.connection)?;
            Some(LinkView {
                link: Arc::clone(link),
                connection: standing.connection,
                peer: found.peer.clone(),
                target: found.target.clone(),
                since: found.since,
            })
        })
    }

    /// Every target that is wanted, by name.
    pub fn targets(&self) -> impl Iterator<Item = TargetView> {
        self.targets.iter().filter(|(_, target)| target.wanted).map(|(name, target)| TargetView {
            name: Arc::clone(name),
            address: Arc::clone(&target.address),
            state: match &target.place {
                Place::Waiting(due) => TargetState::Waiting(*due),
                Place::Dialling => TargetState::Dialling,
                Place::Linked(connection) => TargetState::Linked(*connection),
                Place::Covered(link) => TargetState::Covered(Arc::clone(link)),
            },
            failures: target.failures,
            error: target.error.clone(),
        })
    }
}
