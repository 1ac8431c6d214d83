//! What the node's machine is told, what it answers, and why it refuses.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use event::Pattern;

use crate::envelope::{Deliver, Envelope};
use crate::names::{LinkId, Name, NodeId};
use crate::plan::{Generation, LinkPlan, Plan};
use crate::wire::{Note, Wish};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A controller told a plan, or one was kept from before. Only a greater generation is applied.
    Plan(Plan),
    /// A connection was made and both its ends are proven.
    Up {
        /// Its number, unique for ever.
        conn: u64,
        /// Its link.
        link: LinkId,
        /// Who is at the other end.
        peer: NodeId,
        /// Whether this node dialled.
        dialled: bool,
    },
    /// A connection ended, whoever ended it. Unknown ones are ignored.
    Down {
        /// Its number.
        conn: u64,
    },
    /// A note came.
    Heard {
        /// On which connection.
        conn: u64,
        /// The note.
        note: Note,
    },
    /// A note that [`Output::Send`] gave has left: there is room for another. Without it no more than
    /// [`NOTES_AHEAD`](super::NOTES_AHEAD) are given to a connection.
    Room {
        /// On which connection.
        conn: u64,
    },
    /// The first at this node came who wants this, or the last went.
    Local {
        /// What is wanted.
        wish: Wish,
        /// Whether somebody is there.
        present: bool,
    },
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this, in order, and say [`Input::Room`] when it has left.
    Send {
        /// On which connection.
        conn: u64,
        /// What.
        note: Note,
    },
    /// End a connection. It counts as down already; its [`Input::Down`] is ignored.
    Close {
        /// Which.
        conn: u64,
        /// Why.
        why: Ending,
    },
    /// [`Node::beyond`](super::Node::beyond) may answer otherwise for subjects that these overlap, and
    /// [`Node::judge`](super::Node::judge) for them too: what was kept of both is void.
    Touched(Vec<Pattern>),
    /// Something that a peer told was not taken.
    Refused {
        /// On which connection.
        conn: u64,
        /// Why.
        why: Refusal,
        /// How many wishes.
        count: u64,
    },
    /// From now on exactly these links are dialled and accepted. A link that is not among them has ended.
    Links {
        /// The links.
        want: Vec<LinkPlan>,
    },
    /// What a controller or an operator wants to know.
    Report(Report),
}

/// What a controller or an operator wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A plan is applied.
    Applied(Generation),
    /// A plan was not applied: this node has that one, or a later one.
    Stale {
        /// The plan that came.
        told: Generation,
        /// The one that stands.
        have: Generation,
    },
    /// A link is up.
    Up {
        /// Which.
        link: LinkId,
        /// Who is at the other end.
        peer: NodeId,
    },
    /// A link is up no longer.
    Down {
        /// Which.
        link: LinkId,
        /// Who was at the other end.
        peer: NodeId,
    },
    /// A peer has told all that it had to tell when the link came up.
    Full {
        /// Which.
        link: LinkId,
    },
}

/// Why a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ending {
    /// No link of this id is planned. The other end may know a later plan: trying again is right.
    Unplanned,
    /// Who is at the other end is not whom the plan names.
    WrongPeer,
    /// It leads to this node itself.
    Itself,
    /// Another connection of this link stays.
    Doubled,
}

impl Ending {
    /// One word, for counting.
    pub fn word(self) -> &'static str {
        match self {
            Ending::Unplanned => "unplanned",
            Ending::WrongPeer => "wrong-peer",
            Ending::Itself => "itself",
            Ending::Doubled => "doubled",
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ending::Unplanned => "no link of this id is planned here",
            Ending::WrongPeer => "the plan names another node for this link",
            Ending::Itself => "the link leads to this node itself",
            Ending::Doubled => "another connection of this link stays",
        })
    }
}

/// Why a message or a wish is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The connection is not up.
    Closed,
    /// The link does not carry the segment, or none is named on a link between domains.
    LinkSegment,
    /// The domain where the message entered is not in the segment.
    OriginSegment,
    /// A destination is not in the segment, or is not a domain that this node knows.
    DestinationSegment,
    /// This node's own domain is not in the segment.
    OwnSegment,
    /// The way from where it entered to a destination does not lead from this peer to this node.
    Path,
    /// The envelope names nodes or this node's clients, which only a peer of the domain may.
    Shape,
    /// No hops are left.
    Hops,
    /// A peer of a full mesh wants a message relayed to another peer.
    Relay,
    /// The origin's domain may not publish to the subject.
    PublishRule,
    /// The domain may not hear the subject, or want the pattern.
    SubscribeRule,
    /// A source is told by who is not its parent.
    Parent,
    /// More is wanted than this node holds.
    TooMany,
    /// There is no link to go on by.
    NoWay,
}

impl Refusal {
    /// Every refusal.
    pub const ALL: [Refusal; 14] = [
        Refusal::Closed,
        Refusal::LinkSegment,
        Refusal::OriginSegment,
        Refusal::DestinationSegment,
        Refusal::OwnSegment,
        Refusal::Path,
        Refusal::Shape,
        Refusal::Hops,
        Refusal::Relay,
        Refusal::PublishRule,
        Refusal::SubscribeRule,
        Refusal::Parent,
        Refusal::TooMany,
        Refusal::NoWay,
    ];

    /// One word, for counting.
    pub fn word(self) -> &'static str {
        match self {
            Refusal::Closed => "closed",
            Refusal::LinkSegment => "link-segment",
            Refusal::OriginSegment => "origin-segment",
            Refusal::DestinationSegment => "destination-segment",
            Refusal::OwnSegment => "own-segment",
            Refusal::Path => "path",
            Refusal::Shape => "shape",
            Refusal::Hops => "hops",
            Refusal::Relay => "relay",
            Refusal::PublishRule => "publish-rule",
            Refusal::SubscribeRule => "subscribe-rule",
            Refusal::Parent => "parent",
            Refusal::TooMany => "too-many",
            Refusal::NoWay => "no-way",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Closed => "the connection is not up",
            Refusal::LinkSegment => "the link does not carry the segment",
            Refusal::OriginSegment => "the domain where the message entered is not in the segment",
            Refusal::DestinationSegment => "a destination is not in the segment",
            Refusal::OwnSegment => "this node's domain is not in the segment",
            Refusal::Path => "the way to a destination does not lead from this peer to this node",
            Refusal::Shape => "the envelope names nodes, which only a peer of the domain may",
            Refusal::Hops => "no hops are left",
            Refusal::Relay => "peers of a full mesh do not relay",
            Refusal::PublishRule => "a name rule does not let the domain publish to this subject",
            Refusal::SubscribeRule => "a name rule does not let the domain hear this subject",
            Refusal::Parent => "the peer is not on the way to whose wishes it tells",
            Refusal::TooMany => "more is wanted than this node holds",
            Refusal::NoWay => "there is no link to go on by",
        })
    }
}

/// One copy of a message, on its way over one connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leg {
    /// The connection.
    pub conn: u64,
    /// For whom the copy is.
    pub envelope: Envelope,
}

/// Where the members of a queue group are beyond this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FarGroup {
    /// The group.
    pub queue: Arc<str>,
    /// For a message that one member gets: the nearest first, peers before other domains; each leg reaches one
    /// place, of which one member gets it.
    pub tiers: Vec<Vec<Leg>>,
    /// For a message that every member gets: all of these.
    pub everywhere: Vec<Leg>,
}

/// Where the messages of a subject go beyond this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Beyond {
    /// A copy on each of these.
    pub direct: Vec<Leg>,
    /// One of these for each group, or every place.
    pub groups: Vec<FarGroup>,
    /// Whether every subject that differs in its last token alone has the same.
    pub alike: bool,
}

/// What is to be done with a message that came on a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Onward {
    /// Who of this node's own clients gets it: those who listen on their own, and members of these groups.
    pub here: Deliver,
    /// Whether all members of a group get it; else one.
    pub every: bool,
    /// A copy on each of these.
    pub direct: Vec<Leg>,
    /// Groups of which members beyond this node may have it. Of a group that is in `here` too, members at this node
    /// come first. With `every` these are empty: what they would say is in `direct`.
    pub groups: Vec<FarGroup>,
    /// Destinations that it could not go on to, and why.
    pub lost: Vec<(Name, Refusal)>,
}

/// A link as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkView {
    /// As it is planned.
    pub plan: LinkPlan,
    /// The connection that is up and who is at its other end.
    pub up: Option<(u64, NodeId)>,
    /// Whether the peer has told all that it had to tell.
    pub full: bool,
}

/// A source of wishes as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceView {
    /// Whose wishes.
    pub source: crate::wire::Source,
    /// The connection that tells them; `None`: they are this node's own.
    pub conn: Option<u64>,
    /// How many.
    pub wishes: u64,
}
