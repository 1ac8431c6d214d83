//! What the door is told: by the host, typed and complete.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use crate::limits;

/// What is presented to a client that speaks TLS. Asked anew for each connection, so that a
/// certificate can be replaced.
pub type Tls = Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>;

/// A token as it is presented to another node. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Bearer(pub String);

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(…)")
    }
}

/// What the door is told.
#[derive(Clone)]
pub struct Options {
    /// Names this node to other hubs: unique among those that meet. Of two hubs that dialled each
    /// other, the connection of the one with the smaller name stays.
    pub node: String,
    /// What `/status` says of the version.
    pub version: String,
    /// The original's multiplicities, bug for bug: two copies for who subscribed twice, two to each hub
    /// of what a repeater sent.
    pub strict_compat: bool,
    /// Largest payload of an event, in bytes.
    pub payload_bytes_max: usize,
    /// Most connections of all kinds together.
    pub connections_max: usize,
    /// Most rooms of one messenger.
    pub rooms_max: usize,
    /// Most bytes that wait for one connection.
    pub pending_bytes_max: usize,
    /// Most events that wait for one connection.
    pub pending_messages_max: u32,
    /// How long a connection may take nothing while bytes wait for it.
    pub write_deadline: Duration,
    /// How often each connection is pinged.
    pub ping_interval: Duration,
    /// How long a connection lives from its last pong.
    pub read_deadline: Duration,
    /// How long a dial with its upgrade may take.
    pub dial_deadline: Duration,
    /// Names of tokens that may connect as a hub; `None`: those that may publish to and read every room.
    pub hubs: Option<Vec<String>>,
    /// Names of tokens that may connect as a repeater; `None`: those that may publish to every room and
    /// read every room.
    pub repeaters: Option<Vec<String>>,
    /// Origins (`https://host[:port]`) besides the door's own that a page may come from; `*`: any.
    pub origins: Vec<String>,
    /// With TLS: what is presented, on both listeners.
    pub tls: Option<Tls>,
    /// What trusts those that `wss://` and `https://` addresses lead to, where a link or target has
    /// nothing of its own; `None`: such addresses fail.
    pub client_tls: Option<Arc<ClientConfig>>,
    /// What `/interconnect` presents to the hub that it dials.
    pub interconnect_token: Option<Bearer>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            node: String::from("tidings"),
            version: String::from(env!("CARGO_PKG_VERSION")),
            strict_compat: false,
            payload_bytes_max: event::limits::PAYLOAD_BYTES_DEFAULT,
            connections_max: limits::CONNECTIONS_DEFAULT,
            rooms_max: limits::ROOMS_DEFAULT,
            pending_bytes_max: limits::PENDING_BYTES_DEFAULT,
            pending_messages_max: limits::PENDING_MESSAGES_DEFAULT,
            write_deadline: limits::WRITE_DEADLINE_DEFAULT,
            ping_interval: limits::PING_INTERVAL_DEFAULT,
            read_deadline: limits::READ_DEADLINE_DEFAULT,
            dial_deadline: limits::DIAL_DEADLINE_DEFAULT,
            hubs: None,
            repeaters: None,
            origins: Vec::new(),
            tls: None,
            client_tls: None,
            interconnect_token: None,
        }
    }
}

/// A link to another hub, as a `HubLink` declares it.
#[derive(Debug, Clone)]
pub struct Link {
    /// Unique among the links; names the durable consumers `hub-<name>` too.
    pub name: String,
    /// `ws://host[:port]`, `wss://host[:port]`, or `host[:port]`; the port is 7100 where none is given.
    pub address: String,
    /// What is presented there.
    pub token: Option<Bearer>,
    /// Rooms whose events are sent there; empty: all.
    pub rooms: Vec<String>,
    /// What trusts the other hub; `None`: [`Options::client_tls`].
    pub tls: Option<Arc<ClientConfig>>,
}

/// How a repeater's target takes events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As frames on a WebSocket to `<address>/connect/<room>/<node>`, closed when idle.
    WebSocket,
    /// As the body of a `POST` to the address.
    Http,
}

/// A system outside that this node's repeater pushes to, as a `RepeaterTarget` declares it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Unique among the targets.
    pub name: String,
    /// `ws(s)://…`, `http(s)://…`, or `host[:port]`; the port is 7101 where the scheme and it are missing.
    pub address: String,
    /// Rooms whose events are pushed there; one that is `*`: all.
    pub rooms: Vec<String>,
    /// How it takes them.
    pub format: Format,
    /// How often an event is tried in all, at least 1.
    pub attempts_max: u32,
    /// The wait before the second attempt; it doubles with each.
    pub backoff: Duration,
    /// The longest wait between two attempts.
    pub backoff_max: Duration,
    /// How long one push over HTTP may take.
    pub timeout: Duration,
    /// After how long without an event a WebSocket is closed (1001).
    pub idle: Duration,
    /// What is presented there.
    pub token: Option<Bearer>,
    /// What trusts it; `None`: [`Options::client_tls`].
    pub tls: Option<Arc<ClientConfig>>,
}

impl Target {
    /// A target of all rooms with the defaults.
    pub fn new(name: impl Into<String>, address: impl Into<String>, format: Format) -> Self {
        Target {
            name: name.into(),
            address: address.into(),
            rooms: vec![String::from("*")],
            format,
            attempts_max: limits::PUSH_ATTEMPTS_DEFAULT,
            backoff: limits::PUSH_BACKOFF_DEFAULT,
            backoff_max: limits::PUSH_BACKOFF_MAX_DEFAULT,
            timeout: limits::PUSH_TIMEOUT_DEFAULT,
            idle: limits::IDLE_DEFAULT,
            token: None,
            tls: None,
        }
    }
}

impl Link {
    /// A link for all rooms.
    pub fn new(name: impl Into<String>, address: impl Into<String>) -> Self {
        Link { name: name.into(), address: address.into(), token: None, rooms: Vec::new(), tls: None }
    }
}
