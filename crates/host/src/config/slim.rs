//! What the SLIM door is told: its section of a configuration, as a file says it and complete.
//!
//! In a file the section is a mapping, or one word where only the address is meant: `slim: off`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
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

/// Most places where a controller may be: more than that are not tried in a reasonable time.
const CONTROLLERS_MAX: usize = 16;

/// Where another node, or a controller, is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SlimPlace {
    /// `host:port`.
    pub address: String,
    /// Whether it is dialled with TLS.
    pub tls: bool,
}

impl FromStr for SlimPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (tls, address) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some(_) => (false, ""),
            None => (false, text),
        };
        let good = address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        match good && !address.contains(['/', '@', ' ']) {
            true => Ok(SlimPlace { address: address.to_owned(), tls }),
            false => Err(format!("must be HOST:PORT, http://HOST:PORT or https://HOST:PORT, and is '{text}'")),
        }
    }
}

impl TryFrom<String> for SlimPlace {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A replica.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlimPeer {
    /// What it calls itself.
    pub node: String,
    /// Where it listens.
    pub address: SlimPlace,
}

impl FromStr for SlimPeer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (node, address) = text.split_once('=').unwrap_or_default();
        match address.parse() {
            Ok(address) if !node.is_empty() => Ok(SlimPeer { node: node.to_owned(), address }),
            _ => Err(format!("must be NODE=HOST:PORT or NODE=https://HOST:PORT, and is '{text}'")),
        }
    }
}

/// How this node belongs to a controller of the original's make, and dials other nodes of SLIM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlimMembership {
    /// Where a controller is that leads this node, the first one first; none: it is led by none.
    pub controllers: Vec<SlimPlace>,
    /// Where other domains reach this node, `host:port`.
    pub external: Option<String>,
    /// The file whose first line is the secret of this node's domain.
    pub secret_file: Option<PathBuf>,
    /// Authorities that others' certificates must come from, PEM; `None`: those of the system.
    pub authorities: Option<PathBuf>,
    /// The file whose first line is what is shown to others: `Bearer TOKEN` or `Basic USER:PASSWORD`.
    pub credentials_file: Option<PathBuf>,
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
    /// The domain that this node belongs to, and replicas are to be of; empty: any.
    pub domain: String,
    /// Who leads this node, and what it proves itself with.
    pub membership: SlimMembership,
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
            membership: SlimMembership::default(),
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
    controllers: Option<Vec<SlimPlace>>,
    external: Option<String>,
    secret_file: Option<PathBuf>,
    authorities: Option<PathBuf>,
    credentials_file: Option<PathBuf>,
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

    /// The same with what leads this node; what is absent there says nothing.
    #[must_use]
    pub fn with_membership(self, told: SlimMembership) -> Self {
        SlimLayer(Fields {
            controllers: Some(told.controllers).filter(|controllers| !controllers.is_empty()),
            external: told.external,
            secret_file: told.secret_file,
            authorities: told.authorities,
            credentials_file: told.credentials_file,
            ..self.0
        })
    }

    /// Whether a controller of the original's make leads this node.
    pub(super) fn is_led(&self) -> bool {
        self.0.controllers.as_ref().is_some_and(|controllers| !controllers.is_empty())
    }

    /// The domain and the file of its secret, where this layer does not say them.
    #[must_use]
    pub(super) fn of_domain(mut self, domain: Option<String>, secret_file: Option<PathBuf>) -> Self {
        self.0.domain = self.0.domain.or(domain);
        self.0.secret_file = self.0.secret_file.or(secret_file);
        self
    }

    /// Paths, to be made relative to the file that names them.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let Fields { secret_file, authorities, credentials_file, .. } = &mut self.0;
        [secret_file, authorities, credentials_file].into_iter().flatten()
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
            controllers: ours.controllers.or(theirs.controllers),
            external: ours.external.or(theirs.external),
            secret_file: ours.secret_file.or(theirs.secret_file),
            authorities: ours.authorities.or(theirs.authorities),
            credentials_file: ours.credentials_file.or(theirs.credentials_file),
            require_header_mac: ours.require_header_mac.or(theirs.require_header_mac),
            enforce_pqc: ours.enforce_pqc.or(theirs.enforce_pqc),
            max_message: ours.max_message.or(theirs.max_message),
            max_connections: ours.max_connections.or(theirs.max_connections),
            max_names: ours.max_names.or(theirs.max_names),
            max_pending_bytes: ours.max_pending_bytes.or(theirs.max_pending_bytes),
        })
    }

    fn membership(&self) -> Result<SlimMembership, StartError> {
        let Fields { controllers, external, secret_file, authorities, credentials_file, .. } = self.0.clone();
        let controllers = controllers.unwrap_or_default();
        let refused = |field, what: &str| Err(StartError::invalid(field, what.to_owned()));
        if controllers.len() > CONTROLLERS_MAX {
            return refused("slim.controllers", &format!("names more than {CONTROLLERS_MAX} places"));
        }
        if let Some(Err(why)) = external.as_ref().map(|place| place.parse::<SlimPlace>()) {
            return refused("slim.external", &why);
        }
        if !controllers.is_empty() {
            if self.0.listen == Some(Listen::Off) {
                return refused("slim.controllers", "needs the SLIM door, which is off");
            }
            if self.0.domain.as_deref().is_none_or(str::is_empty) {
                return refused("slim.domain", "is needed: a controller leads nodes of domains (--domain NAME)");
            }
        }
        Ok(SlimMembership { controllers, external, secret_file, authorities, credentials_file })
    }

    /// Every default filled, checked.
    pub(super) fn complete(self) -> Result<SlimConfig, StartError> {
        let membership = self.membership()?;
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
            membership,
            strict: require_header_mac.unwrap_or(standard.strict),
            enforce_pqc: enforce_pqc.unwrap_or(standard.enforce_pqc),
            message_bytes_max: message,
            connections_max: max_connections,
            names_max: max_names,
            pending_bytes_max: pending,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Layer, MeshFields, MeshLayer};

    #[test]
    fn a_place_says_whether_it_is_dialled_with_tls() {
        let check = |text: &str, expected: Option<(&str, bool)>| {
            let found = text.parse::<SlimPlace>().ok();
            assert_eq!(found.as_ref().map(|place| (place.address.as_str(), place.tls)), expected, "{text}");
        };
        check("b:1", Some(("b:1", false)));
        check("http://[::1]:7", Some(("[::1]:7", false)));
        check("https://b.example:443", Some(("b.example:443", true)));
        for bad in ["", "b", ":1", "b:x", "ws://b:1", "https://b", "http://b:1/x", "http://u@b:1"] {
            check(bad, None);
        }
    }

    #[test]
    fn a_node_that_is_led_has_a_domain_and_one_controller() {
        let led = || {
            SlimLayer::default().with_membership(SlimMembership {
                controllers: vec!["c:50052".parse().unwrap()],
                external: Some(String::from("a:46357")),
                ..SlimMembership::default()
            })
        };
        let check = |slim: SlimLayer, mesh: MeshFields, expected: Result<&str, &str>| {
            let layer = Layer { slim, mesh: MeshLayer::from(mesh), ..Layer::default() };
            match (Config::from_layers(layer), expected) {
                (Ok(config), Ok(domain)) => {
                    assert_eq!((config.slim.domain.as_str(), config.mesh.listen), (domain, Listen::Off));
                    assert!(config.slim.membership.secret_file.is_some());
                }
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (found, expected) => panic!("{found:?}, expected {expected:?}"),
            }
        };
        let domain = || MeshFields {
            domain: Some(String::from("a")),
            secret_file: Some(PathBuf::from("a.secret")),
            ..MeshFields::default()
        };
        check(led(), domain(), Ok("a"));
        check(led(), MeshFields::default(), Err("slim.domain"));
        check(led(), MeshFields { controller: Some(true), ..domain() }, Err("one controller"));
        check(led(), MeshFields { join: Some(vec![String::from("c:7200")]), ..domain() }, Err("one controller"));
        let off = SlimLayer(Fields { listen: Some(Listen::Off), ..led().0 });
        check(off, domain(), Err("needs the SLIM door"));
        let place = |external: &str| SlimLayer(Fields { external: Some(external.into()), ..led().0 });
        check(place("nowhere"), domain(), Err("slim.external"));
    }
}
