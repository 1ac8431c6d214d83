//! Names of domains, segments, nodes and links.
//!
//! ```text
//! name   1 to 63 bytes of a-z 0-9 . _ -, the first a letter or a digit
//! node   domain "/" name
//! link   1 to 128 bytes without control characters
//! ```
//!
//! Invariant: a name that breaks the grammar cannot be made. Cloning copies no bytes; names compare, order and hash
//! as their text.

use alloc::string::String;
use alloc::sync::Arc;
use core::borrow::Borrow;
use core::fmt;
use core::str::FromStr;

use thiserror::Error;

/// Longest name, in bytes: a label of DNS.
pub const NAME_BYTES_MAX: usize = 63;

/// Longest id of a link, in bytes: two node ids and a separator nearly always fit, and a UUID does.
pub const LINK_ID_BYTES_MAX: usize = 128;

/// Characters of a refused text that an error repeats.
const SHOWN: usize = 40;

/// The name of a domain, a segment or a node.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// The name of a domain: nodes that trust each other.
pub type Domain = Name;

/// The name of a segment: a part of the network that cannot see another.
pub type Segment = Name;

/// A node, by its domain and its name there. Orders by domain, then by name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    /// Its domain.
    pub domain: Name,
    /// Its name there.
    pub node: Name,
}

/// What both ends of a link call it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(Arc<str>);

/// Why a text is not a name. Never worth trying again unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadName {
    /// A domain, segment or node.
    #[error("'{0}' is not a name: 1 to 63 of a-z 0-9 . _ -, beginning with a letter or a digit")]
    Name(String),
    /// A node id.
    #[error("'{0}' is not a node: domain/node")]
    Node(String),
    /// A link's id.
    #[error("'{0}' is not the id of a link: 1 to 128 bytes without control characters")]
    Link(String),
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

impl Name {
    /// Copies a name from a text.
    ///
    /// # Errors
    /// [`BadName::Name`] where the text breaks the grammar.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        let inner = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        let first = text.as_bytes().first().is_some_and(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'));
        if first && text.len() <= NAME_BYTES_MAX && text.as_bytes().iter().all(inner) {
            Ok(Name(text.into()))
        } else {
            Err(BadName::Name(shown(text)))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl NodeId {
    /// A node of a domain.
    pub fn new(domain: Name, node: Name) -> Self {
        NodeId { domain, node }
    }

    /// Parses `domain/node`.
    ///
    /// # Errors
    /// [`BadName`] where the text has another shape, or one of the names breaks the grammar.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        let (domain, node) = text.split_once('/').ok_or_else(|| BadName::Node(shown(text)))?;
        Ok(NodeId { domain: Name::parse(domain)?, node: Name::parse(node)? })
    }
}

impl LinkId {
    /// Copies an id from a text.
    ///
    /// # Errors
    /// [`BadName::Link`] where it is empty, too long, or has control characters.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        if text.is_empty() || text.len() > LINK_ID_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(BadName::Link(shown(text)));
        }
        Ok(LinkId(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! text_like {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }
        impl FromStr for $type {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                <$type>::parse(text)
            }
        }
        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }
    };
}
text_like!(Name);
text_like!(LinkId);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.node)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl FromStr for NodeId {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        NodeId::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn names_keep_to_the_grammar() {
        for good in ["a", "0", "a.b_c-9", &"x".repeat(63)] {
            assert_eq!(Name::parse(good).map(|name| name.to_string()), Ok(good.to_string()));
        }
        for bad in ["", "-a", ".a", "A", "a b", "a/b", "é", "*", "$domain", &"x".repeat(64)] {
            assert!(Name::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_node_is_a_domain_and_a_name() {
        let node = NodeId::parse("north/n1").unwrap();
        assert_eq!((node.domain.as_str(), node.node.as_str(), node.to_string().as_str()), ("north", "n1", "north/n1"));
        for bad in ["", "north", "/n1", "north/", "a/b/c", "A/b"] {
            assert!(NodeId::parse(bad).is_err(), "{bad}");
        }
        assert!(NodeId::parse("a/z").unwrap() < NodeId::parse("b/a").unwrap());
    }

    #[test]
    fn a_link_has_any_printable_id() {
        assert!(LinkId::parse("a/n1|b/n2 é").is_ok());
        assert!(
            LinkId::parse("").is_err() && LinkId::parse("a\n").is_err() && LinkId::parse(&"x".repeat(129)).is_err()
        );
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_panic(text: String) {
            let _ = (Name::parse(&text), LinkId::parse(&text));
            if let Ok(node) = NodeId::parse(&text) {
                prop_assert_eq!(node.to_string(), text);
            }
        }
    }
}
