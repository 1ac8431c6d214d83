//! One link: its negotiation, its key, and what a message on it is to do.
//!
//! ```text
//!            negotiation: reply, key          subscribe, unsubscribe, publish
//!  Waiting ────────────────────────▶ Open ◀──────────────────────────────────┐
//!     │  anything else, bad offer      │                                     │
//!     ▼                                └─── again negotiated, no tag: dropped ┘
//!   fault: the stream ends
//! ```
//!
//! # Invariants
//! - A link is negotiated once. Whatever comes before ends it; a second negotiation is counted and changes nothing.
//! - Where a link has a key, no message is acted upon whose tag is wrong.

mod agree;

use thiserror::Error;

use crate::codec::{Bad, Change, Encoded, Header, Key, Kind, Message, Negotiation, Publish, read};
use crate::limits::LINK_BYTES_MAX;

/// Why a message was not handed on. Its link stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// It is no message, or one that another's decoder would not take.
    Malformed,
    /// Its tag is missing or wrong.
    Tag,
    /// It has passed as many nodes as it may.
    Ttl,
    /// It is larger than is taken.
    TooLarge,
    /// The sender's token does not allow it.
    NotAllowed,
    /// It negotiates a link that is negotiated, or is a word that has no meaning here.
    Unexpected,
    /// Nobody takes it.
    Unroutable,
    /// Its receiver has no room.
    Slow,
    /// A schema does not fit, or the journal would not have it.
    Journal,
}

impl Dropped {
    /// Every reason.
    pub(crate) const ALL: [Dropped; 9] = [
        Dropped::Malformed,
        Dropped::Tag,
        Dropped::Ttl,
        Dropped::TooLarge,
        Dropped::NotAllowed,
        Dropped::Unexpected,
        Dropped::Unroutable,
        Dropped::Slow,
        Dropped::Journal,
    ];

    /// As metrics name it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Dropped::Malformed => "malformed",
            Dropped::Tag => "header-mac",
            Dropped::Ttl => "ttl",
            Dropped::TooLarge => "too-large",
            Dropped::NotAllowed => "not-allowed",
            Dropped::Unexpected => "unexpected",
            Dropped::Unroutable => "unroutable",
            Dropped::Slow => "slow",
            Dropped::Journal => "journal",
        }
    }
}

/// Why a stream ends.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Fault {
    /// The first message is no negotiation.
    #[error("the first message of a link must negotiate it")]
    First,
    /// The first message cannot be read.
    #[error("the first message cannot be read: {0}")]
    Unreadable(Bad),
    /// It is an answer, and nobody asked.
    #[error("a link is negotiated by a request, not by an answer")]
    Reply,
    /// The link has no name, or one that is too long.
    #[error("the names of a link, its node and its deployment have at most {LINK_BYTES_MAX} bytes, and a link has one")]
    Link,
    /// The version is none.
    #[error("the version '{0}' cannot be read")]
    Version(String),
    /// A key is needed and none was given, or it is none.
    #[error("the X25519 key has {0} bytes in place of 32, and this node requires header tags")]
    NoKey(usize),
    /// The key is one of those that lead to a secret which everybody knows, or is none of ML-KEM.
    #[error("the key is of no use")]
    BadKey,
    /// A key of ML-KEM is needed.
    #[error("this node requires a key of ML-KEM-768, of 1184 bytes")]
    NoKem,
    /// It says that it is a replica, and none is expected.
    #[error("this node takes no replica of that deployment or name, or the answer is for another kind of link")]
    Peer,
}

/// What a session goes by.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) node: String,
    pub(crate) domain: String,
    pub(crate) version: String,
    pub(crate) strict: bool,
    pub(crate) enforce_pqc: bool,
    /// The nodes whose links are taken as those of replicas.
    pub(crate) peers: Vec<String>,
}

/// A link that this node offers.
#[derive(Debug, Clone)]
pub(crate) struct Offered {
    /// Its name.
    pub(crate) link: String,
    pub(crate) kind: Kind,
}

/// What a link has become.
#[derive(Debug)]
pub(crate) struct Agreed {
    /// What is to be sent.
    pub(crate) reply: Vec<u8>,
    /// What messages are tagged with; `None`: they are not.
    pub(crate) key: Option<Key>,
    /// Names it.
    pub(crate) link: String,
    pub(crate) kind: Kind,
    /// The other side, as it says.
    pub(crate) node: String,
}

/// What a message is to do.
#[expect(clippy::large_enum_variant, reason = "it is moved once for each message, and not kept")]
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// The link is open.
    Open(Box<Agreed>),
    /// A name is subscribed, by these texts where they were said.
    Subscribe(Encoded, Option<[&'a str; 3]>, u64),
    /// A subscription ends.
    Unsubscribe(Encoded, u64),
    /// Something is to be handed on.
    Publish(Publish<'a>),
    /// It is as it should be.
    Heard,
    /// Nothing.
    Dropped(Dropped),
}

enum State {
    Waiting,
    /// This node offered, and waits for the answer.
    Offering(Box<agree::Offer>),
    Open {
        key: Option<Key>,
    },
}

/// See the module.
pub(crate) struct Session {
    rules: Rules,
    state: State,
    scratch: Vec<u8>,
    /// The header of the last message whose tag was right: messages of one flow have the same.
    right: Vec<u8>,
}

impl Session {
    pub(crate) fn new(rules: Rules) -> Self {
        Session { rules, state: State::Waiting, scratch: Vec::new(), right: Vec::new() }
    }

    /// One in which this node offers a link; and the offer. `None`: the system gives no random bytes.
    pub(crate) fn offering(rules: Rules, offered: Offered) -> Option<(Self, Vec<u8>)> {
        let (offer, said) = agree::offer(&rules, offered)?;
        let state = State::Offering(Box::new(offer));
        Some((Session { rules, state, scratch: Vec::new(), right: Vec::new() }, said))
    }

    /// Whether it is negotiated.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// Says what a message is to do.
    ///
    /// # Errors
    /// [`Fault`], where the stream is to end.
    pub(crate) fn handle<'a>(&mut self, raw: &'a [u8]) -> Result<Step<'a>, Fault> {
        let message = read(raw);
        let State::Open { key } = &self.state else {
            let agreed = match message {
                Ok(Message::Negotiate(offer)) => match std::mem::replace(&mut self.state, State::Waiting) {
                    State::Offering(offered) => offered.answered(&offer)?,
                    State::Waiting | State::Open { .. } => self.negotiate(&offer)?,
                },
                Ok(_) => return Err(Fault::First),
                Err(bad) => return Err(Fault::Unreadable(bad)),
            };
            self.state = State::Open { key: agreed.key.clone() };
            return Ok(Step::Open(Box::new(agreed)));
        };
        let strict = self.rules.strict;
        let (scratch, right) = (&mut self.scratch, &mut self.right);
        Ok(match message {
            Err(_) => Step::Dropped(Dropped::Malformed),
            // Replicas are told names, and acknowledge them.
            Ok(Message::Ack) if !self.rules.peers.is_empty() => Step::Heard,
            Ok(Message::Negotiate(_) | Message::Ack | Message::Other) => Step::Dropped(Dropped::Unexpected),
            Ok(Message::Subscribe(Change { header, .. }) | Message::Unsubscribe(Change { header, .. }))
                if !is_right(key.as_ref(), &header, scratch, !strict) =>
            {
                Step::Dropped(Dropped::Tag)
            }
            Ok(Message::Subscribe(change)) => {
                let Change { header, subscription } = change;
                Step::Subscribe(header.to.plain(), header.destination.texts, subscription)
            }
            Ok(Message::Unsubscribe(change)) => Step::Unsubscribe(change.header.to.plain(), change.subscription),
            Ok(Message::Publish(publish)) if !is_known(key.as_ref(), &publish, scratch, right) => {
                Step::Dropped(Dropped::Tag)
            }
            // The last node that it may pass is this one.
            Ok(Message::Publish(publish)) if publish.header.ttl <= 1 => Step::Dropped(Dropped::Ttl),
            Ok(Message::Publish(publish)) => Step::Publish(publish),
        })
    }

    fn negotiate(&self, offer: &Negotiation<'_>) -> Result<Agreed, Fault> {
        if offer.is_reply {
            return Err(Fault::Reply);
        }
        let long = |text: &str| text.len() > LINK_BYTES_MAX;
        if offer.link.is_empty() || long(offer.link) || long(offer.node) || long(offer.deployment) {
            return Err(Fault::Link);
        }
        if !is_version(offer.version) {
            return Err(Fault::Version(offer.version.chars().take(64).collect()));
        }
        let same = offer.deployment.is_empty() || self.rules.domain.is_empty() || offer.deployment == self.rules.domain;
        let known = offer.node != self.rules.node && self.rules.peers.iter().any(|peer| peer == offer.node);
        if offer.kind == Kind::Peer && !(known && same) {
            return Err(Fault::Peer);
        }
        agree::agree(&self.rules, offer)
    }
}

/// Whether a message may be acted upon by its tag. `lax`: one without any may.
fn is_right(key: Option<&Key>, header: &Header<'_>, scratch: &mut Vec<u8>, lax: bool) -> bool {
    match key {
        None => true,
        Some(_) if lax && header.mac.is_none() => true,
        Some(key) => key.verifies(header, scratch),
    }
}

/// As [`is_right`], for a message whose header is often that of the one before.
fn is_known(key: Option<&Key>, publish: &Publish<'_>, scratch: &mut Vec<u8>, right: &mut Vec<u8>) -> bool {
    let bytes = publish.header_bytes();
    if key.is_none() || right == bytes {
        return true;
    }
    let known = is_right(key, &publish.header, scratch, false);
    if known {
        right.clear();
        right.extend_from_slice(bytes);
    }
    known
}

/// Whether a text is a version: three numbers, and perhaps a name behind `-` or `+`.
fn is_version(text: &str) -> bool {
    let (core, rest) = match text.find(['-', '+']) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let number = |part: &str| {
        !part.is_empty()
            && part.len() <= 19
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    let mut parts = core.split('.');
    let three = parts.by_ref().take(3).filter(|part| number(part)).count() == 3 && parts.next().is_none();
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b".-+".contains(&byte);
    three && rest.len() <= 128 && rest.len() != 1 && rest.bytes().all(named)
}

#[cfg(test)]
mod tests;
