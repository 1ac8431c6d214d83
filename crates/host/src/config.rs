//! What a node is told: the typed, complete [`Config`], and the [`Layer`]s that it is merged from.
//!
//! A layer is what one place says: the command line with the environment, or one YAML file. Layers
//! are merged field by field, the stronger over the weaker, and what none says has a default.
//! Secrets are not part of a configuration: it names the file that holds them.
//!
//! Invariant: a [`Config`] that [`Config::from_layers`] gave listens beyond loopback only where
//! tokens are configured or it was said to be open.

mod consul;
mod hub;
mod mesh;
mod nats;
mod section;
mod slim;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use event::Pattern;
use event::limits::{PAYLOAD_BYTES_DEFAULT, PAYLOAD_BYTES_MAX};
use journal::{Discard, Storage, StreamConfig};
use journal_jetstream::{Address, AddressError};
use serde::Deserialize;

use crate::error::StartError;
use crate::units::{Size, Span, brief};

pub use consul::{CONSUL_GRPC_PORT, CONSUL_PORT, ConsulConfig, ConsulLayer, DNS_PORT, DnsConfig, DnsLayer};
pub use hub::{HUB_PORT, HubConfig, HubLayer};
pub use mesh::{DOMAIN_DEFAULT, MESH_PORT, MeshConfig, MeshFields, MeshLayer};
pub use nats::{
    HandshakeFirst, Hidden, MONITOR_PORT, NATS_PORT, NatsConfig, NatsJetStream, NatsLayer, NatsOperator, NatsSecret,
    NatsSubjects, NatsTls, NatsUserConfig,
};
pub use slim::{SLIM_PORT, SlimConfig, SlimLayer, SlimMembership, SlimPeer, SlimPlace};

/// Port of the HTTP door where none is said.
pub const HTTP_PORT: u16 = 7070;

/// Directory of the data where none is said.
pub const DATA_DEFAULT: &str = "./tidings-data";

/// Name of the stream that every node has, and what it captures.
pub const EVENTS_STREAM: (&str, &str) = ("EVENTS", "events.>");

/// Longest name of a node, in bytes: it is a label of metrics and a token of subjects.
pub const NODE_NAME_BYTES_MAX: usize = 255;

/// Longest `sync` interval: what a power cut may cost.
pub const SYNC_INTERVAL_MAX: Duration = Duration::from_secs(60);

/// Where a door listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Listen {
    /// Nowhere: the door is closed.
    Off,
    /// At this address. Port 0 takes a free port.
    At(SocketAddr),
}

/// What keeps the journal.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Engine {
    /// The data directory.
    Disk,
    /// This process: everything is gone when it ends.
    Memory,
    /// A NATS JetStream server or cluster.
    Nats(Address),
}

/// When a receipt is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Sync {
    /// When the message is on disk.
    Always,
    /// When it is handed to the operating system; the disk is synced this often.
    Interval(Duration),
}

/// Certificate chain and key of the doors, both PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, the node's own certificate first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What a node takes in at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest payload of a message, in bytes.
    pub payload_bytes_max: usize,
}

/// Everything a node is told, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The node's name.
    pub node: String,
    /// The data directory.
    pub data: PathBuf,
    /// What keeps the journal.
    pub engine: Engine,
    /// Copies of each stream, where the engine is a cluster.
    pub replicas: u8,
    /// The file that lets the node in at the engine's servers.
    pub engine_creds: Option<PathBuf>,
    /// When a receipt is given.
    pub sync: Sync,
    /// The HTTP door.
    pub http: Listen,
    /// The NATS door.
    pub nats: NatsConfig,
    /// The hub door.
    pub hub: HubConfig,
    /// The Consul door.
    pub consul: ConsulConfig,
    /// The DNS door.
    pub dns: DnsConfig,
    /// The SLIM door.
    pub slim: SlimConfig,
    /// The mesh that this node is in.
    pub mesh: MeshConfig,
    /// Whether doors beyond loopback may be open to anyone.
    pub open: bool,
    /// The file of tokens. With it, every request needs one.
    pub tokens: Option<PathBuf>,
    /// TLS on the doors.
    pub tls: Option<TlsFiles>,
    /// What is taken in at most.
    pub limits: Limits,
    /// The folder of schemas: `*.yaml` and `*.json`, one resource each.
    pub schemas: Option<PathBuf>,
    /// The folder of resources: `*.yaml`, `*.yml` and `*.json`, any number in a file.
    pub resources: Option<PathBuf>,
    /// The file that the effective configuration is written to.
    pub effective: Option<PathBuf>,
    /// Streams that are created at start where they are missing.
    pub streams: Vec<StreamConfig>,
    /// Whether the default stream is created where it is missing.
    pub default_stream: bool,
}

/// What one place says. Every field may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// See [`Config::node`].
    pub node: Option<String>,
    /// See [`Config::data`].
    pub data: Option<PathBuf>,
    /// See [`Config::engine`].
    pub engine: Option<Engine>,
    /// See [`Config::replicas`].
    pub replicas: Option<u8>,
    /// See [`Config::engine_creds`].
    pub engine_creds: Option<PathBuf>,
    /// See [`Config::sync`].
    pub sync: Option<Sync>,
    /// See [`Config::http`].
    pub http: Option<Listen>,
    /// See [`Config::nats`].
    #[serde(default)]
    pub nats: NatsLayer,
    /// See [`Config::hub`].
    #[serde(default)]
    pub hub: HubLayer,
    /// See [`Config::consul`].
    #[serde(default)]
    pub consul: ConsulLayer,
    /// See [`Config::dns`].
    #[serde(default)]
    pub dns: DnsLayer,
    /// See [`Config::slim`].
    #[serde(default)]
    pub slim: SlimLayer,
    /// See [`Config::mesh`].
    #[serde(default)]
    pub mesh: MeshLayer,
    /// See [`Config::open`].
    pub open: Option<bool>,
    /// See [`Config::tokens`].
    pub tokens: Option<PathBuf>,
    /// See [`Config::tls`].
    #[serde(default)]
    pub tls: TlsLayer,
    /// See [`Config::limits`].
    #[serde(default)]
    pub limits: LimitsLayer,
    /// What is logged: a level, or directives such as `info,door_http=debug`.
    pub log: Option<String>,
    /// How it is logged.
    pub log_format: Option<LogFormat>,
    /// Where it is logged instead of standard error.
    pub log_file: Option<PathBuf>,
    /// See [`Config::schemas`].
    pub schemas: Option<PathBuf>,
    /// See [`Config::resources`].
    pub resources: Option<PathBuf>,
    /// See [`Config::effective`].
    pub effective: Option<PathBuf>,
    /// See [`Config::streams`]. A stream of a stronger layer replaces one of the same name.
    #[serde(default)]
    pub streams: Vec<StreamLayer>,
    /// See [`Config::default_stream`].
    pub default_stream: Option<bool>,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
    /// Lines as nats-server writes them, for programs that read those.
    Nats,
}

/// See [`TlsFiles`]; both or neither.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsLayer {
    /// See [`TlsFiles::certificate`].
    pub certificate: Option<PathBuf>,
    /// See [`TlsFiles::key`].
    pub key: Option<PathBuf>,
}

/// See [`Limits`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsLayer {
    /// See [`Limits::payload_bytes_max`].
    pub payload_max: Option<Size>,
}

/// A stream as a configuration file declares it; see [`StreamConfig`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamLayer {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// What it captures.
    pub subjects: Vec<PatternText>,
    /// `file` or `memory`.
    #[serde(default)]
    pub storage: StorageText,
    /// `old` or `new`: what gives way at a limit.
    #[serde(default)]
    pub discard: DiscardText,
    /// Most messages.
    pub messages_max: Option<u64>,
    /// Most bytes.
    pub bytes_max: Option<Size>,
    /// Most messages of one subject.
    pub messages_per_subject_max: Option<u64>,
    /// Age at which a message goes.
    pub age_max: Option<Span>,
    /// How long a message id is remembered.
    pub duplicate_window: Option<Span>,
}

/// A pattern in a file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PatternText(pub Pattern);

impl TryFrom<String> for PatternText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Pattern::parse(&text)
            .map(PatternText)
            .map_err(|error| format!("'{}' is not a pattern of subjects: {error}", brief(&text)))
    }
}

/// See [`Storage`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageText {
    /// On disk.
    #[default]
    File,
    /// In memory.
    Memory,
}

/// See [`Discard`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiscardText {
    /// The oldest go.
    #[default]
    Old,
    /// The new one is refused.
    New,
}

impl StreamLayer {
    fn into_config(self) -> StreamConfig {
        let mut config = StreamConfig::new(self.name, self.subjects.into_iter().map(|pattern| pattern.0));
        config.description = self.description;
        config.storage = match self.storage {
            StorageText::File => Storage::File,
            StorageText::Memory => Storage::Memory,
        };
        config.discard = match self.discard {
            DiscardText::Old => Discard::Old,
            DiscardText::New => Discard::New,
        };
        config.messages_max = self.messages_max;
        config.bytes_max = self.bytes_max.map(|size| size.0);
        config.messages_per_subject_max = self.messages_per_subject_max;
        config.age_max = self.age_max.map(|span| span.0);
        if let Some(span) = self.duplicate_window {
            config.duplicate_window = span.0;
        }
        config
    }
}

impl Layer {
    /// This layer over a weaker one.
    #[must_use]
    pub fn over(self, weaker: Layer) -> Layer {
        let mut streams = weaker.streams;
        streams.retain(|stream| self.streams.iter().all(|ours| ours.name != stream.name));
        streams.extend(self.streams);
        Layer {
            node: self.node.or(weaker.node),
            data: self.data.or(weaker.data),
            engine: self.engine.or(weaker.engine),
            replicas: self.replicas.or(weaker.replicas),
            engine_creds: self.engine_creds.or(weaker.engine_creds),
            sync: self.sync.or(weaker.sync),
            http: self.http.or(weaker.http),
            nats: self.nats.over(weaker.nats),
            hub: self.hub.over(weaker.hub),
            consul: self.consul.over(weaker.consul),
            dns: self.dns.over(weaker.dns),
            slim: self.slim.over(weaker.slim),
            mesh: self.mesh.over(weaker.mesh),
            open: self.open.or(weaker.open),
            tokens: self.tokens.or(weaker.tokens),
            tls: TlsLayer {
                certificate: self.tls.certificate.or(weaker.tls.certificate),
                key: self.tls.key.or(weaker.tls.key),
            },
            limits: LimitsLayer { payload_max: self.limits.payload_max.or(weaker.limits.payload_max) },
            log: self.log.or(weaker.log),
            log_format: self.log_format.or(weaker.log_format),
            log_file: self.log_file.or(weaker.log_file),
            schemas: self.schemas.or(weaker.schemas),
            resources: self.resources.or(weaker.resources),
            effective: self.effective.or(weaker.effective),
            streams,
            default_stream: self.default_stream.or(weaker.default_stream),
        }
    }

    /// Makes the paths that are relative be relative to `base`: a file speaks of its own neighbours.
    pub(crate) fn rebase(&mut self, base: &Path) {
        let tls = [&mut self.tls.certificate, &mut self.tls.key];
        let paths = [
            &mut self.engine_creds,
            &mut self.data,
            &mut self.tokens,
            &mut self.log_file,
            &mut self.schemas,
            &mut self.resources,
            &mut self.effective,
        ];
        let sections = self.nats.paths().into_iter().chain(self.dns.paths()).chain(self.mesh.paths());
        let sections = sections.chain(self.slim.paths());
        for path in paths.into_iter().chain(tls).flatten().chain(sections) {
            if path.is_relative() {
                *path = base.join(&*path);
            }
        }
    }
}

impl Config {
    /// The merged layers with every default filled, checked as a whole.
    ///
    /// # Errors
    /// [`StartError`] naming the field and what it must be.
    pub fn from_layers(layer: Layer) -> Result<Config, StartError> {
        let node = match layer.node {
            Some(node) => node,
            None => hostname(),
        };
        check_node(&node)?;
        let tls = match (layer.tls.certificate, layer.tls.key) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
            (None, None) => None,
            _ => return Err(StartError::invalid("tls", "needs both a certificate and a key, or neither")),
        };
        let limits = limits(&layer.limits)?;
        let (slim, mesh) = led(layer.slim, layer.mesh)?;
        let config = Config {
            node,
            data: layer.data.unwrap_or_else(|| DATA_DEFAULT.into()),
            engine: layer.engine.unwrap_or(Engine::Disk),
            replicas: layer.replicas.unwrap_or(1),
            engine_creds: layer.engine_creds,
            sync: layer.sync.unwrap_or(Sync::Always),
            http: layer.http.unwrap_or(Listen::At(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), HTTP_PORT))),
            nats: layer.nats.complete(limits.payload_bytes_max)?,
            hub: layer.hub.complete(limits.payload_bytes_max)?,
            consul: layer.consul.complete()?,
            dns: layer.dns.complete()?,
            slim: slim.complete()?,
            mesh: mesh.complete()?,
            open: layer.open.unwrap_or(false),
            tokens: layer.tokens,
            tls,
            limits,
            schemas: layer.schemas,
            resources: layer.resources,
            effective: layer.effective,
            streams: layer.streams.into_iter().map(StreamLayer::into_config).collect(),
            default_stream: layer.default_stream.unwrap_or(true),
        };
        config.check_exposure()?;
        Ok(config)
    }

    /// Refuses what would be open to a network by accident: a listener beyond loopback that asks nobody who he is. Links of
    /// a mesh always ask.
    fn check_exposure(&self) -> Result<(), StartError> {
        let tokens = self.tokens.is_some();
        let (nats, nats_asks) = (&self.nats, tokens || self.nats.asks());
        let listeners = [
            ("http", self.http, tokens),
            ("nats", nats.listen, nats_asks),
            ("nats-websocket", nats.websocket, nats_asks),
            // Monitoring asks nobody, whatever there is to be known by.
            ("monitor", nats.monitor, false),
            ("hub", self.hub.listen, tokens),
            ("repeater", self.hub.repeater, tokens),
            ("consul", self.consul.listen, tokens),
            ("consul-grpc", self.consul.grpc, tokens),
            ("dns", self.dns.listen, tokens),
            ("slim", self.slim.listen, tokens),
            ("slim-south", self.slim.south, tokens),
            ("slim-north", self.slim.north, tokens),
        ];
        let exposed = listeners.into_iter().find_map(|(door, listen, asks)| match listen {
            Listen::At(address) if !is_loopback(address.ip()) && !asks && !self.open => Some((door, address)),
            _ => None,
        });
        exposed.map_or(Ok(()), |(door, address)| Err(StartError::Exposed { door, address }))
    }
}

/// A node has one controller: where that is of the original's make, the domain that is told is that controller's.
fn led(slim: SlimLayer, mut mesh: MeshLayer) -> Result<(SlimLayer, MeshLayer), StartError> {
    if !slim.is_led() {
        return Ok((slim, mesh));
    }
    let what = "leads this node, which is in a mesh of its own make too: a node has one controller";
    let (domain, secret) = mesh.take_domain().ok_or_else(|| StartError::invalid("slim.controllers", what))?;
    Ok((slim.of_domain(domain, secret), mesh))
}

impl Default for Config {
    /// What a node is told by saying nothing, under the name `node`.
    fn default() -> Self {
        Config {
            node: String::from("node"),
            data: DATA_DEFAULT.into(),
            engine: Engine::Disk,
            replicas: 1,
            engine_creds: None,
            sync: Sync::Always,
            http: Listen::At(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), HTTP_PORT)),
            nats: NatsConfig::default(),
            hub: HubConfig::default(),
            consul: ConsulConfig::default(),
            dns: DnsConfig::default(),
            slim: SlimConfig::default(),
            mesh: MeshConfig::default(),
            open: false,
            tokens: None,
            tls: None,
            limits: Limits { payload_bytes_max: PAYLOAD_BYTES_DEFAULT },
            schemas: None,
            resources: None,
            effective: None,
            streams: Vec::new(),
            default_stream: true,
        }
    }
}

fn limits(layer: &LimitsLayer) -> Result<Limits, StartError> {
    let payload = layer.payload_max.map_or(PAYLOAD_BYTES_DEFAULT, |size| usize::try_from(size.0).unwrap_or(usize::MAX));
    if payload == 0 || payload > PAYLOAD_BYTES_MAX {
        return Err(StartError::invalid(
            "limits.payload_max",
            format!("must be 1 to {PAYLOAD_BYTES_MAX} bytes, and is {payload}"),
        ));
    }
    Ok(Limits { payload_bytes_max: payload })
}

fn check_node(node: &str) -> Result<(), StartError> {
    let good = !node.is_empty()
        && node.len() <= NODE_NAME_BYTES_MAX
        && node.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if good {
        Ok(())
    } else {
        Err(StartError::invalid(
            "node",
            format!("must be 1 to {NODE_NAME_BYTES_MAX} letters, digits, '-', '_' or '.', and is '{}'", brief(node)),
        ))
    }
}

/// This machine's name, made fit for a node's name; `node` where it has none.
fn hostname() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let fit: String = name
        .chars()
        .take(NODE_NAME_BYTES_MAX)
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' })
        .collect();
    if fit.is_empty() { String::from("node") } else { fit }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

impl FromStr for Listen {
    type Err = String;

    /// `off`, `IP:PORT`, `localhost:PORT`, or a port of loopback. Names are not looked up: starting
    /// never waits for a name server.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "off" || text == "false" {
            return Ok(Listen::Off);
        }
        let loopback = |port: &str| port.parse().ok().map(|port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
        let address = text.parse().ok().or_else(|| loopback(text.strip_prefix("localhost:").unwrap_or(text)));
        address.map(Listen::At).ok_or_else(|| {
            format!("'{}' is not an address such as 127.0.0.1:7070, [::1]:7070 or 0.0.0.0:7070, nor 'off'", brief(text))
        })
    }
}

impl FromStr for Engine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "disk" => Ok(Engine::Disk),
            "memory" => Ok(Engine::Memory),
            other if other.starts_with("nats://") || other.starts_with("tls://") => {
                other.parse().map(Engine::Nats).map_err(|error: AddressError| error.to_string())
            }
            other => Err(format!("'{}' is not an engine; use 'disk', 'memory' or nats://host:4222", brief(other))),
        }
    }
}

impl FromStr for Sync {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "always" {
            return Ok(Sync::Always);
        }
        let refused = || format!("'{}' is neither 'always' nor an interval such as 10ms", brief(text));
        let span: Span = text.parse().map_err(|_| refused())?;
        if span.0.is_zero() || span.0 > SYNC_INTERVAL_MAX {
            return Err(format!("a sync interval is more than zero and at most {SYNC_INTERVAL_MAX:?}"));
        }
        Ok(Sync::Interval(span.0))
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "human" => Ok(LogFormat::Human),
            "json" => Ok(LogFormat::Json),
            "nats" => Ok(LogFormat::Nats),
            other => Err(format!("'{}' is none of 'human', 'json' and 'nats'", brief(other))),
        }
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl TryFrom<String> for Engine {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl TryFrom<String> for Sync {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Off => f.write_str("off"),
            Listen::At(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Engine::Disk => f.write_str("disk"),
            Engine::Memory => f.write_str("memory"),
            Engine::Nats(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for Sync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sync::Always => f.write_str("always"),
            Sync::Interval(span) => write!(f, "every {span:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_listen(text: &str, expected: Option<&str>) {
        assert_eq!(text.parse::<Listen>().ok().map(|listen| listen.to_string()).as_deref(), expected, "{text}");
    }

    #[test]
    fn a_door_listens_at_an_address_or_is_off_and_no_name_is_looked_up() {
        check_listen("off", Some("off"));
        check_listen("127.0.0.1:7070", Some("127.0.0.1:7070"));
        check_listen("[::1]:0", Some("[::1]:0"));
        check_listen("localhost:80", Some("127.0.0.1:80"));
        check_listen("7070", Some("127.0.0.1:7070"));
        for bad in ["", ":7070", "example.org:80", "127.0.0.1", "70700", "127.0.0.1:70700", "on"] {
            check_listen(bad, None);
        }
    }

    #[track_caller]
    fn check(layer: Layer, refused: Option<&str>) {
        match (Config::from_layers(layer), refused) {
            (Ok(_), None) => {}
            (Err(error), Some(part)) => assert!(error.to_string().contains(part), "{error}"),
            (found, expected) => panic!("{found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn only_loopback_is_open_without_a_word() {
        let at = |text: &str| Layer { http: Some(text.parse().unwrap()), ..Layer::default() };
        check(at("127.0.0.1:0"), None);
        check(at("[::1]:0"), None);
        check(at("[::ffff:127.0.0.1]:0"), None);
        check(at("0.0.0.0:0"), Some("0.0.0.0:0"));
        check(at("[::]:0"), Some("[::]:0"));
        check(at("192.0.2.1:0"), Some("192.0.2.1:0"));
        check(Layer { open: Some(true), ..at("0.0.0.0:0") }, None);
        check(Layer { tokens: Some("t.yaml".into()), ..at("0.0.0.0:0") }, None);
    }

    #[test]
    fn no_listener_is_open_to_a_network_by_accident() {
        for listener in [
            "http: A",
            "nats: A",
            "nats: {websocket: A}",
            "nats: {monitor: A}",
            "hub: A",
            "hub: {repeater: A}",
            "consul: A",
            "consul: {grpc: A}",
            "dns: A",
        ] {
            let text = listener.replace('A', "192.0.2.1:1");
            let layer = |more: &str| crate::file::parse::<Layer>(&format!("{text}\n{more}")).ok().unwrap();
            check(layer(""), Some("192.0.2.1:1 would be open to anyone"));
            check(layer("open: true"), None);
            // Monitoring asks nobody.
            let asked = !listener.contains("monitor");
            check(layer("tokens: t.yaml"), if asked { None } else { Some("the monitor door") });
        }
    }

    #[test]
    fn a_door_of_a_later_version_may_only_be_off() {}

    #[test]
    fn impossible_values_are_named() {
        check(Layer { node: Some("a b".into()), ..Layer::default() }, Some("node"));
        let limits = LimitsLayer { payload_max: Some(Size(0)) };
        check(Layer { limits, ..Layer::default() }, Some("limits.payload_max"));
        let tls = TlsLayer { certificate: Some("c".into()), key: None };
        check(Layer { tls, ..Layer::default() }, Some("tls"));
        assert_eq!("nats://u:secret@a,b".parse::<Engine>().unwrap().to_string(), "nats://***@a,nats://b");
        assert!("nats://".parse::<Engine>().is_err());
        assert_eq!("10ms".parse(), Ok(Sync::Interval(Duration::from_millis(10))));
        for bad in ["0s", "61s", "never"] {
            assert!(bad.parse::<Sync>().is_err());
        }
    }

    #[test]
    fn the_stronger_layer_wins_field_by_field() {
        let strong = Layer { node: Some("strong".into()), ..Layer::default() };
        let weak = Layer { node: Some("weak".into()), open: Some(true), ..Layer::default() };
        let merged = strong.over(weak);
        assert_eq!((merged.node.as_deref(), merged.open), (Some("strong"), Some(true)));
    }
}
