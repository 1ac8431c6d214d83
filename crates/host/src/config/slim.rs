//! What the SLIM door is told: its section of a configuration, as a file says it and complete.
//!
//! In a file the section is a mapping, or one word where only the address is meant: `slim: off`.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::Deserialize;
use serde::de::Deserializer;

use super::Listen;
use super::section::word_or_fields;
use crate::error::StartError;
use crate::units::Size;

/// Port of the SLIM door where none is said: the original's habit.
pub const SLIM_PORT: u16 = 46357;

/// Most replicas of a node: each is told every name.
const PEERS_MAX: usize = 64;

/// A replica.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlimPeer {
    /// What it calls itself.
    pub node: String,
    /// Where it listens, `host:port`.
    pub address: String,
}

impl FromStr for SlimPeer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (node, address) = text.split_once('=').unwrap_or_default();
        let good = address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        match good && !node.is_empty() {
            true => Ok(SlimPeer { node: node.to_owned(), address: address.to_owned() }),
            false => Err(format!("must be NODE=HOST:PORT, and is '{text}'")),
        }
    }
}

/// Everything the door is told. `None` is the door's own default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlimConfig {
    /// Where clients and nodes connect, by gRPC and over WebSocket.
    pub listen: Listen,
    /// Where original nodes connect that this node is the controller of.
    pub south: Listen,
    /// Where the original's command line asks the controller, and changes it.
    pub north: Listen,
    /// Replicas: nodes of the same domain, of this make or the original's, that tell each other their names.
    pub peers: Vec<SlimPeer>,
    /// The domain that replicas are to be of; empty: any.
    pub domain: String,
    /// Whether what bears no header MAC is dropped, as by an original node with its defaults.
    pub strict: bool,
    /// Whether links without a post-quantum key are refused.
    pub enforce_pqc: bool,
    /// Largest message that is taken, in bytes.
    pub message_bytes_max: Option<usize>,
    /// Most connections.
    pub connections_max: Option<usize>,
    /// Most names that one connection may subscribe to.
    pub names_max: Option<usize>,
    /// Most bytes that wait for one connection.
    pub pending_bytes_max: Option<usize>,
}

impl Default for SlimConfig {
    fn default() -> Self {
        SlimConfig {
            listen: Listen::At(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), SLIM_PORT)),
            south: Listen::Off,
            north: Listen::Off,
            peers: Vec::new(),
            domain: String::new(),
            strict: true,
            enforce_pqc: false,
            message_bytes_max: None,
            connections_max: None,
            names_max: None,
            pending_bytes_max: None,
        }
    }
}

impl SlimConfig {
    /// No SLIM.
    pub fn off() -> Self {
        SlimConfig { listen: Listen::Off, ..SlimConfig::default() }
    }
}

/// What one place says of the door. Every field may be left out; see [`SlimConfig`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlimLayer(Fields);

/// The fields, as a file has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Fields {
    listen: Option<Listen>,
    south: Option<Listen>,
    north: Option<Listen>,
    peers: Option<Vec<SlimPeer>>,
    domain: Option<String>,
    require_header_mac: Option<bool>,
    enforce_pqc: Option<bool>,
    max_message: Option<Size>,
    max_connections: Option<usize>,
    max_names: Option<usize>,
    max_pending_bytes: Option<Size>,
}

impl From<Listen> for Fields {
    fn from(listen: Listen) -> Self {
        Fields { listen: Some(listen), ..Fields::default() }
    }
}

impl<'de> Deserialize<'de> for SlimLayer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        word_or_fields(deserializer).map(SlimLayer)
    }
}

impl SlimLayer {
    /// A layer that says where the door listens: for messages, for nodes that are led, and for operators.
    #[must_use]
    pub fn listening(listen: Option<Listen>, south: Option<Listen>, north: Option<Listen>) -> Self {
        SlimLayer(Fields { listen, south, north, ..Fields::default() })
    }

    /// The same with replicas, where any are told.
    #[must_use]
    pub fn with_peers(self, peers: Vec<SlimPeer>) -> Self {
        SlimLayer(Fields { peers: Some(peers).filter(|peers| !peers.is_empty()), ..self.0 })
    }

    /// This layer over a weaker one, field by field.
    #[must_use]
    pub(super) fn over(self, weaker: SlimLayer) -> SlimLayer {
        let (ours, theirs) = (self.0, weaker.0);
        SlimLayer(Fields {
            listen: ours.listen.or(theirs.listen),
            south: ours.south.or(theirs.south),
            north: ours.north.or(theirs.north),
            peers: ours.peers.or(theirs.peers),
            domain: ours.domain.or(theirs.domain),
            require_header_mac: ours.require_header_mac.or(theirs.require_header_mac),
            enforce_pqc: ours.enforce_pqc.or(theirs.enforce_pqc),
            max_message: ours.max_message.or(theirs.max_message),
            max_connections: ours.max_connections.or(theirs.max_connections),
            max_names: ours.max_names.or(theirs.max_names),
            max_pending_bytes: ours.max_pending_bytes.or(theirs.max_pending_bytes),
        })
    }

    /// Every default filled, checked.
    pub(super) fn complete(self) -> Result<SlimConfig, StartError> {
        let Fields { listen, south, north, peers, domain, require_header_mac, enforce_pqc, .. } = self.0;
        let peers = peers.unwrap_or_default();
        if peers.len() > PEERS_MAX {
            return Err(StartError::invalid("slim.peers", format!("names {} nodes, at most {PEERS_MAX}", peers.len())));
        }
        let Fields { max_message, max_connections, max_names, max_pending_bytes, .. } = self.0;
        let bytes = |size: Option<Size>| size.map(|size| usize::try_from(size.0).unwrap_or(usize::MAX));
        let (message, pending) = (bytes(max_message), bytes(max_pending_bytes));
        for (name, most) in [
            ("slim.max_message", message),
            ("slim.max_connections", max_connections),
            ("slim.max_names", max_names),
            ("slim.max_pending_bytes", pending),
        ] {
            if most == Some(0) {
                return Err(StartError::invalid(name, "must be 1 at least"));
            }
        }
        if pending.zip(message).is_some_and(|(pending, message)| pending < message) {
            return Err(StartError::invalid("slim.max_pending_bytes", "must hold one message of slim.max_message"));
        }
        let standard = SlimConfig::default();
        Ok(SlimConfig {
            listen: listen.unwrap_or(standard.listen),
            south: south.unwrap_or(standard.south),
            north: north.unwrap_or(standard.north),
            peers,
            domain: domain.unwrap_or(standard.domain),
            strict: require_header_mac.unwrap_or(standard.strict),
            enforce_pqc: enforce_pqc.unwrap_or(standard.enforce_pqc),
            message_bytes_max: message,
            connections_max: max_connections,
            names_max: max_names,
            pending_bytes_max: pending,
        })
    }
}
