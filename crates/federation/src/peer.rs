//! What a peer wants to be told.
//!
//! Only facts that were told here, of this node, are pushed: what came by a peer never goes on, so nothing
//! loops. Of those a peer has types and prefixes of subjects; an empty list is all. Costs a comparison for
//! each type and prefix.

use alloc::string::String;
use alloc::vec::Vec;

use crate::facts::Entry;
use crate::stored::Stored;

/// A peer and what it wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerSpec {
    /// Its node's name.
    pub name: String,
    /// Types, exactly; empty: all.
    pub types: Vec<String>,
    /// Beginnings of subjects, with their case; empty: all.
    pub subject_prefixes: Vec<String>,
}

/// Whether a fact is for a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Push,
    /// It is not.
    Skip(Skip),
}

/// Why a fact is not for a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// It came by a peer, or is not of this node.
    Foreign,
    /// The peer is this node.
    Ourselves,
    /// Its type is not wanted.
    Type,
    /// Its subject is not wanted.
    Subject,
}

impl Skip {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Skip::Foreign => "not a fact of this node, told here",
            Skip::Ourselves => "the peer is this node",
            Skip::Type => "the peer does not want this type",
            Skip::Subject => "the peer does not want this subject",
        }
    }
}

impl PeerSpec {
    /// Whether a record is for this peer.
    pub fn wants(&self, stored: &Stored, own_node: &str) -> Verdict {
        self.verdict(stored.is_own(own_node), &stored.fact.kind, &stored.fact.subject, own_node)
    }

    /// Whether a fact of the table is for this peer.
    pub fn wants_entry(&self, entry: &Entry, own_node: &str) -> Verdict {
        self.verdict(entry.is_own(own_node), &entry.kind, &entry.subject, own_node)
    }

    fn verdict(&self, own: bool, kind: &str, subject: &str, own_node: &str) -> Verdict {
        if !own {
            Verdict::Skip(Skip::Foreign)
        } else if self.name == own_node {
            Verdict::Skip(Skip::Ourselves)
        } else if !self.types.is_empty() && !self.types.iter().any(|each| each == kind) {
            Verdict::Skip(Skip::Type)
        } else if !self.subject_prefixes.is_empty()
            && !self.subject_prefixes.iter().any(|prefix| subject.starts_with(prefix.as_str()))
        {
            Verdict::Skip(Skip::Subject)
        } else {
            Verdict::Push
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::Fact;

    #[test]
    fn a_peer_is_told_what_is_ours_and_what_it_wants() {
        let peer = |types: &[&str], prefixes: &[&str]| PeerSpec {
            name: "cloud".into(),
            types: types.iter().map(|text| (*text).into()).collect(),
            subject_prefixes: prefixes.iter().map(|text| (*text).into()).collect(),
        };
        let mut fact = Fact::new("g", "1", "seen");
        fact.source = "me".into();
        fact.subject = "10.0.0.1".into();
        let own = Stored { fact, via: None };
        let received = Stored { via: Some("cloud".into()), ..own.clone() };
        assert_eq!(peer(&[], &[]).wants(&own, "me"), Verdict::Push);
        assert_eq!(peer(&["seen", "lost"], &["10.1", "10.0."]).wants(&own, "me"), Verdict::Push);
        assert_eq!(peer(&["see"], &[]).wants(&own, "me"), Verdict::Skip(Skip::Type));
        assert_eq!(peer(&[], &["11."]).wants(&own, "me"), Verdict::Skip(Skip::Subject));
        assert_eq!(peer(&[], &[]).wants(&received, "me"), Verdict::Skip(Skip::Foreign));
        assert_eq!(peer(&[], &[]).wants(&own, "other"), Verdict::Skip(Skip::Foreign));
        assert_eq!(peer(&[], &[]).wants(&own, ""), Verdict::Skip(Skip::Foreign));
        let ourselves = PeerSpec { name: "me".into(), ..peer(&[], &[]) };
        assert_eq!(ourselves.wants(&own, "me"), Verdict::Skip(Skip::Ourselves));
    }
}
