//! What kind of connection a message came from, and to which kinds it may go.

/// The kind of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Somebody who publishes and listens: a program at a door, a messenger at the hub door.
    Client,
    /// Another node of the same domain. Every node of a domain is linked to every other, so what
    /// comes from a peer has reached all peers.
    Peer,
    /// A hub that this node is connected to. What comes from it is for this node's own clients.
    Hub,
    /// A repeater: it carries messages on to hubs that it knows.
    Repeater,
    /// A link into another domain, along the tree of its segment.
    Remote,
}

impl Class {
    /// Every class.
    pub const ALL: [Class; 5] = [Class::Client, Class::Peer, Class::Hub, Class::Repeater, Class::Remote];

    /// Whether what came from a connection of this class may go to one of the other.
    ///
    /// ```text
    /// from \ to   client  peer  hub  repeater  remote
    /// client        x      x     x      x        x
    /// peer          x                   x        x
    /// hub           x
    /// repeater      x      x     x               x
    /// remote        x      x            x        x
    /// ```
    ///
    /// A peer's message has reached all peers and does not go to them again; a hub's goes to
    /// messengers only; a repeater's never to a repeater, so that repeaters make no loop; a remote
    /// link's goes on along its tree, where the tree itself leaves out the way it came.
    pub const fn reaches(self, to: Class) -> bool {
        match (self, to) {
            (_, Class::Client) | (Class::Client, _) => true,
            (Class::Hub, _) => false,
            (Class::Peer | Class::Remote, Class::Hub) => false,
            (Class::Peer, Class::Peer) => false,
            (Class::Repeater, Class::Repeater) => false,
            (Class::Peer | Class::Remote, Class::Repeater | Class::Remote) => true,
            (Class::Remote, Class::Peer) => true,
            (Class::Repeater, Class::Peer | Class::Hub | Class::Remote) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Class::{self, Client, Hub, Peer, Remote, Repeater};
    use alloc::vec::Vec;

    fn check(from: Class, expected: &[Class]) {
        let reached: Vec<Class> = Class::ALL.into_iter().filter(|to| from.reaches(*to)).collect();
        assert_eq!(reached, expected, "from {from:?}");
    }

    #[test]
    fn the_rules_are_the_table() {
        check(Client, &[Client, Peer, Hub, Repeater, Remote]);
        check(Peer, &[Client, Repeater, Remote]);
        check(Hub, &[Client]);
        check(Repeater, &[Client, Peer, Hub, Remote]);
        check(Remote, &[Client, Peer, Repeater, Remote]);
    }
}
