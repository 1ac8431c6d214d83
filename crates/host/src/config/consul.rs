//! What the Consul and the DNS door are told: their sections of a configuration, as a file says them and complete.
//!
//! In a file a section is a mapping, or one word where only the address is meant: `dns: off`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::Deserializer;

use super::Listen;
use super::section::word_or_fields;
use crate::error::StartError;
use crate::units::Span;

/// Port of the HTTP API where none is said: the original's own.
pub const CONSUL_PORT: u16 = 8500;
/// Port of gRPC where none is said: the original's own.
pub const CONSUL_GRPC_PORT: u16 = 8502;
/// Port of DNS where none is said: the original's own.
pub const DNS_PORT: u16 = 8600;

/// The datacenter where none is said.
const DATACENTER: &str = "dc1";
/// The domain where none is said.
const DOMAIN: &str = "consul";
/// Longest label of a name in DNS, in bytes (RFC 1035, 2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// Everything the Consul door is told. `None` is the door's own default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsulConfig {
    /// Where the HTTP API is.
    pub listen: Listen,
    /// Where subscriptions over gRPC are.
    pub grpc: Listen,
    /// The name of the datacenter that this node's catalogue is.
    pub datacenter: String,
    /// Most connections.
    pub connections_max: Option<usize>,
    /// Most connections from one address.
    pub connections_per_address_max: Option<usize>,
}

impl Default for ConsulConfig {
    fn default() -> Self {
        ConsulConfig {
            listen: Listen::At(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), CONSUL_PORT)),
            grpc: Listen::At(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), CONSUL_GRPC_PORT)),
            datacenter: DATACENTER.to_owned(),
            connections_max: None,
            connections_per_address_max: None,
        }
    }
}

impl ConsulConfig {
    /// Neither HTTP nor gRPC.
    pub fn off() -> Self {
        ConsulConfig { listen: Listen::Off, grpc: Listen::Off, ..ConsulConfig::default() }
    }
}

/// Everything the DNS door is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsConfig {
    /// Where it is, over UDP and TCP.
    pub listen: Listen,
    /// The domain that it answers for, without the last dot.
    pub domain: String,
    /// How long answers about nodes may be kept.
    pub node_ttl: Duration,
    /// How long answers about services may be kept, by name; `prefix*` and `*` too.
    pub service_ttl: BTreeMap<String, Duration>,
    /// Whether instances with a warning are left out too.
    pub only_passing: bool,
    /// Whether answers say of nodes what their metadata says.
    pub node_meta_txt: bool,
    /// The file whose first line is the token in whose name the catalogue is read. DNS carries none: where tokens are
    /// in force, nothing is answered without this.
    pub token_file: Option<PathBuf>,
}

impl Default for DnsConfig {
    fn default() -> Self {
        DnsConfig {
            listen: Listen::At(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), DNS_PORT)),
            domain: DOMAIN.to_owned(),
            node_ttl: Duration::ZERO,
            service_ttl: BTreeMap::new(),
            only_passing: false,
            node_meta_txt: false,
            token_file: None,
        }
    }
}

impl DnsConfig {
    /// No DNS.
    pub fn off() -> Self {
        DnsConfig { listen: Listen::Off, ..DnsConfig::default() }
    }
}

/// What one place says of the Consul door. Every field may be left out; see [`ConsulConfig`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsulLayer(ConsulFields);

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ConsulFields {
    listen: Option<Listen>,
    grpc: Option<Listen>,
    datacenter: Option<String>,
    max_connections: Option<usize>,
    max_connections_per_address: Option<usize>,
}

/// What one place says of the DNS door. Every field may be left out; see [`DnsConfig`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsLayer(DnsFields);

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DnsFields {
    listen: Option<Listen>,
    domain: Option<String>,
    node_ttl: Option<Span>,
    service_ttl: Option<BTreeMap<String, Span>>,
    only_passing: Option<bool>,
    node_meta_txt: Option<bool>,
    token_file: Option<PathBuf>,
}

impl From<Listen> for ConsulFields {
    fn from(listen: Listen) -> Self {
        ConsulFields { listen: Some(listen), ..ConsulFields::default() }
    }
}

impl From<Listen> for DnsFields {
    fn from(listen: Listen) -> Self {
        DnsFields { listen: Some(listen), ..DnsFields::default() }
    }
}

impl<'de> Deserialize<'de> for ConsulLayer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        word_or_fields(deserializer).map(ConsulLayer)
    }
}

impl<'de> Deserialize<'de> for DnsLayer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        word_or_fields(deserializer).map(DnsLayer)
    }
}

impl ConsulLayer {
    /// A layer that says where the door listens, and for which datacenter.
    #[must_use]
    pub fn listening(listen: Option<Listen>, grpc: Option<Listen>, datacenter: Option<String>) -> Self {
        ConsulLayer(ConsulFields { listen, grpc, datacenter, ..ConsulFields::default() })
    }

    /// This layer over a weaker one, field by field.
    #[must_use]
    pub(super) fn over(self, weaker: ConsulLayer) -> ConsulLayer {
        let (ours, theirs) = (self.0, weaker.0);
        ConsulLayer(ConsulFields {
            listen: ours.listen.or(theirs.listen),
            grpc: ours.grpc.or(theirs.grpc),
            datacenter: ours.datacenter.or(theirs.datacenter),
            max_connections: ours.max_connections.or(theirs.max_connections),
            max_connections_per_address: ours.max_connections_per_address.or(theirs.max_connections_per_address),
        })
    }

    /// Every default filled, checked.
    pub(super) fn complete(self) -> Result<ConsulConfig, StartError> {
        let (fields, standard) = (self.0, ConsulConfig::default());
        let datacenter = fields.datacenter.unwrap_or(standard.datacenter);
        check_label("consul.datacenter", &datacenter)?;
        for (name, most) in [
            ("consul.max_connections", fields.max_connections),
            ("consul.max_connections_per_address", fields.max_connections_per_address),
        ] {
            if most == Some(0) {
                return Err(StartError::invalid(name, "must be 1 at least"));
            }
        }
        let listen = fields.listen.unwrap_or(standard.listen);
        let grpc = match (listen, fields.grpc) {
            (Listen::Off, Some(Listen::At(_))) => {
                return Err(StartError::invalid("consul.grpc", "is a part of the Consul door, which is off"));
            }
            (Listen::Off, _) => Listen::Off,
            (Listen::At(_), grpc) => grpc.unwrap_or(standard.grpc),
        };
        Ok(ConsulConfig {
            listen,
            grpc,
            datacenter,
            connections_max: fields.max_connections,
            connections_per_address_max: fields.max_connections_per_address,
        })
    }
}

impl DnsLayer {
    /// A layer that says where the door listens.
    #[must_use]
    pub fn listening(listen: Option<Listen>) -> Self {
        DnsLayer(DnsFields { listen, ..DnsFields::default() })
    }

    /// This layer over a weaker one, field by field; the mapping is taken whole.
    #[must_use]
    pub(super) fn over(self, weaker: DnsLayer) -> DnsLayer {
        let (ours, theirs) = (self.0, weaker.0);
        DnsLayer(DnsFields {
            listen: ours.listen.or(theirs.listen),
            domain: ours.domain.or(theirs.domain),
            node_ttl: ours.node_ttl.or(theirs.node_ttl),
            service_ttl: ours.service_ttl.or(theirs.service_ttl),
            only_passing: ours.only_passing.or(theirs.only_passing),
            node_meta_txt: ours.node_meta_txt.or(theirs.node_meta_txt),
            token_file: ours.token_file.or(theirs.token_file),
        })
    }

    /// Paths that a file may give relative to itself.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.0.token_file.iter_mut()
    }

    /// Every default filled, checked.
    pub(super) fn complete(self) -> Result<DnsConfig, StartError> {
        let (fields, standard) = (self.0, DnsConfig::default());
        let domain = fields.domain.map_or(standard.domain, |domain| domain.trim_end_matches('.').to_lowercase());
        domain.split('.').try_for_each(|label| check_label("dns.domain", label))?;
        let ttls = fields.service_ttl.unwrap_or_default();
        Ok(DnsConfig {
            listen: fields.listen.unwrap_or(standard.listen),
            domain,
            node_ttl: fields.node_ttl.map_or(standard.node_ttl, |span| span.0),
            service_ttl: ttls.into_iter().map(|(name, span)| (name, span.0)).collect(),
            only_passing: fields.only_passing.unwrap_or(standard.only_passing),
            node_meta_txt: fields.node_meta_txt.unwrap_or(standard.node_meta_txt),
            token_file: fields.token_file,
        })
    }
}

/// A name that can stand in DNS.
fn check_label(name: &'static str, label: &str) -> Result<(), StartError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    match (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(fits) {
        true => Ok(()),
        false => Err(StartError::invalid(name, "must be made of 1 to 63 letters, digits, '-' and '_'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consul(yaml: &str) -> Result<ConsulConfig, String> {
        let layer: ConsulLayer = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
        layer.complete().map_err(|error| error.to_string())
    }

    fn dns(yaml: &str) -> Result<DnsConfig, String> {
        let layer: DnsLayer = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
        layer.complete().map_err(|error| error.to_string())
    }

    #[test]
    fn one_word_closes_the_door_with_its_second_listener() {
        let closed = consul("off").unwrap();
        assert_eq!((closed.listen, closed.grpc), (Listen::Off, Listen::Off));
        let open = consul("8510").unwrap();
        assert_eq!(open.listen, "127.0.0.1:8510".parse().unwrap());
        assert_eq!(open.grpc, ConsulConfig::default().grpc);
        assert!(consul("{listen: off, grpc: 8502}").unwrap_err().contains("consul.grpc"));
    }

    #[test]
    fn what_cannot_be_is_named() {
        assert!(consul("{datacenter: 'a b'}").unwrap_err().contains("consul.datacenter"));
        assert!(consul("{max_connections: 0}").unwrap_err().contains("consul.max_connections"));
        assert!(consul("{conect: 1}").unwrap_err().contains("conect"));
        assert!(dns("{domain: 'a..b'}").unwrap_err().contains("dns.domain"));
        assert_eq!(dns("{domain: Example.Consul.}").unwrap().domain, "example.consul");
        let ttls = dns("{service_ttl: {web: 10s, '*': 1s}}").unwrap().service_ttl;
        assert_eq!(ttls.get("web"), Some(&Duration::from_secs(10)));
    }
}
