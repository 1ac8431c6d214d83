//! What the door is told: by the host, once, typed and complete.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use event::Pattern;
use tokio_rustls::rustls::ServerConfig;

use crate::jwt::Trust;
use crate::limits;

/// When a TLS client shakes hands before it hears a word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HandshakeFirst {
    /// Never: the server speaks first, and TLS begins after.
    #[default]
    Never,
    /// Always.
    Always,
    /// Where the client begins within this time; else the server speaks first.
    Within(Duration),
}

/// How a user proves who it is.
#[derive(Clone)]
pub enum Secret {
    /// A password as it is.
    Password(String),
    /// A bcrypt hash of one (`$2a$…`).
    Bcrypt(String),
    /// A public NKEY (`U…`): the client signs the server's nonce.
    Nkey(String),
    /// A token without a user's name.
    Token(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Secret::Password(_) => "Password(…)",
            Secret::Bcrypt(_) => "Bcrypt(…)",
            Secret::Nkey(_) => "Nkey(…)",
            Secret::Token(_) => "Token(…)",
        })
    }
}

/// What a user may do, as NATS says it: an empty allow list allows all that is not denied.
#[derive(Debug, Clone, Default)]
pub struct NatsPermissions {
    /// Subjects that it may publish to.
    pub publish_allow: Vec<Pattern>,
    /// Subjects that it may not publish to.
    pub publish_deny: Vec<Pattern>,
    /// Subjects that it may subscribe to.
    pub subscribe_allow: Vec<Pattern>,
    /// Subjects that it may not subscribe to.
    pub subscribe_deny: Vec<Pattern>,
}

/// One user of this door.
#[derive(Debug, Clone)]
pub struct NatsUser {
    /// The name; of an NKEY user, its public key.
    pub name: String,
    /// How it proves who it is.
    pub secret: Secret,
    /// What it may do.
    pub permissions: NatsPermissions,
}

/// Who may enter. With neither users nor tokens at the port, anyone may.
#[derive(Debug, Clone, Default)]
pub struct Authentication {
    /// Users of this door alone. The node's own tokens are good here too, as `auth_token` or as the
    /// password of their name.
    pub users: Vec<NatsUser>,
    /// The user whom a client is that says nothing of itself.
    pub no_auth_user: Option<String>,
    /// Accounts that vouch for users by JWT. With them, nobody else enters.
    pub trust: Option<Trust>,
}

/// What bounds JetStream at this door.
#[derive(Debug, Clone)]
pub struct JetStreamOptions {
    /// Whether JetStream is spoken.
    pub enabled: bool,
    /// Bytes that streams in files may reserve by `max_bytes`; `None`: as much as the disk has.
    pub store_max: Option<u64>,
    /// Bytes that streams in memory may reserve.
    pub memory_max: Option<u64>,
    /// Whether a request with an unknown field is refused.
    pub strict: bool,
    /// Where the data is, for tools that ask.
    pub store_dir: String,
}

/// What is presented to a client that asks for TLS. Asked anew for each connection, so that a
/// certificate can be replaced.
pub type Tls = Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>;

/// What the door is told.
#[derive(Clone)]
pub struct Options {
    /// Names the server to clients and tools.
    pub name: String,
    /// Largest payload that a client may send, in bytes.
    pub max_payload: usize,
    /// Longest control line, in bytes.
    pub max_control_line: usize,
    /// Most connections.
    pub max_connections: usize,
    /// Most subscriptions of one connection; 0: as many as fit in memory.
    pub max_subscriptions: usize,
    /// Most bytes that wait for one client before it is disconnected.
    pub max_pending: usize,
    /// How long a client may take nothing while bytes wait for it.
    pub write_deadline: Duration,
    /// How often a client that is silent is asked whether it is there.
    pub ping_interval: Duration,
    /// Questions without answer, after which it is gone.
    pub ping_max: u32,
    /// How long a client may take to say who it is.
    pub auth_timeout: Duration,
    /// How long a client that stays is given to leave when the node stops.
    pub lame_duck: Duration,
    /// Who may enter.
    pub authentication: Authentication,
    /// With TLS: what is presented.
    pub tls: Option<Tls>,
    /// Whether clients must present a certificate (the `ServerConfig` sees to it).
    pub tls_verify: bool,
    /// When TLS begins.
    pub handshake_first: HandshakeFirst,
    /// With TLS on the WebSocket listener, which may have it without the other: what is presented.
    pub websocket_tls: Option<Tls>,
    /// JetStream.
    pub jetstream: JetStreamOptions,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            name: String::from("tidings"),
            max_payload: event::limits::PAYLOAD_BYTES_DEFAULT,
            max_control_line: limits::CONTROL_LINE_BYTES_DEFAULT,
            max_connections: limits::CONNECTIONS_DEFAULT,
            max_subscriptions: 0,
            max_pending: limits::PENDING_BYTES_DEFAULT,
            write_deadline: limits::WRITE_DEADLINE_DEFAULT,
            ping_interval: limits::PING_INTERVAL_DEFAULT,
            ping_max: limits::PINGS_DEFAULT,
            auth_timeout: limits::AUTH_TIMEOUT_DEFAULT,
            lame_duck: limits::LAME_DUCK_DEFAULT,
            authentication: Authentication::default(),
            tls: None,
            tls_verify: false,
            handshake_first: HandshakeFirst::Never,
            websocket_tls: None,
            jetstream: JetStreamOptions {
                enabled: true,
                store_max: None,
                memory_max: None,
                strict: true,
                store_dir: String::new(),
            },
        }
    }
}
