//! The NATS door, joined to this node: its sockets, its secrets, its end.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use door::Port;
use door_nats::{
    Authentication, HandshakeFirst as DoorHandshake, JetStreamOptions, NatsDoor as Door, NatsPermissions, NatsUser,
    Options, Secret, Sockets, Tls, Trust,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::rustls::ServerConfig;

use crate::config::{Config, HandshakeFirst, NatsConfig, NatsSecret, NatsTls, NatsUserConfig};
use crate::error::StartError;
use crate::file::read_text;
use crate::node::listen;
use crate::tls::Certificate;

/// What a bcrypt hash begins with: a password that does is taken for one, as NATS does.
const BCRYPT: &str = "$2";

/// The door as it was told, before anything listens.
pub(crate) struct NatsParts {
    pub(crate) options: Options,
    /// Certificates of its own, to be looked after.
    pub(crate) certificates: Vec<Arc<Certificate>>,
}

/// Where the door listens.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NatsAddresses {
    pub(crate) clients: Option<SocketAddr>,
    pub(crate) websocket: Option<SocketAddr>,
    pub(crate) monitor: Option<SocketAddr>,
}

/// The open door.
pub(crate) struct NatsDoor {
    door: Door,
    /// Whether clients are told to leave when the node is asked to stop.
    notice: bool,
}

impl NatsParts {
    /// Reads the secrets and certificates that the configuration names.
    pub(crate) fn read(config: &Config, node_tls: Option<&Arc<Certificate>>) -> Result<Self, StartError> {
        let nats = &config.nats;
        let mut certificates = Vec::new();
        let mut present = |own: Option<&NatsTls>| -> Result<Option<Tls>, StartError> {
            let (certificate, ca) = match (own, node_tls) {
                (Some(own), _) => {
                    let certificate = Certificate::read(own.files.clone())?;
                    certificates.push(Arc::clone(&certificate));
                    (certificate, own.ca.as_deref().filter(|_| own.verify))
                }
                (None, Some(node)) => (Arc::clone(node), None),
                (None, None) => return Ok(None),
            };
            // The certificate is looked up for each connection: what is made here does not grow old.
            let config: Arc<ServerConfig> = certificate.server_config(ca, &[])?;
            Ok(Some(Arc::new(move || Arc::clone(&config))))
        };
        let tls = present(nats.tls.as_ref())?;
        let websocket_tls = match &nats.websocket_tls {
            _ if nats.websocket_plain => None,
            Some(own) => present(Some(own))?,
            None => tls.clone(),
        };
        let users = nats.users.iter().map(user).collect::<Result<_, _>>()?;
        let trust = nats.operator.as_ref().map(|operator| Trust::read(&operator.jwt.0, &operator.accounts));
        let trust = trust.transpose().map_err(|error| StartError::invalid("nats.operator", error.to_string()))?;
        let authentication = Authentication { users, no_auth_user: nats.no_auth_user.clone(), trust };
        let options = Options {
            authentication,
            tls,
            websocket_tls,
            tls_verify: nats.tls.as_ref().is_some_and(|tls| tls.verify),
            handshake_first: match nats.tls.as_ref().map(|tls| tls.handshake_first) {
                None | Some(HandshakeFirst::Never) => DoorHandshake::Never,
                Some(HandshakeFirst::Always) => DoorHandshake::Always,
                Some(HandshakeFirst::Within(wait)) => DoorHandshake::Within(wait),
            },
            ..plain(config)
        };
        Ok(NatsParts { options, certificates })
    }
}

/// What is neither secret nor certificate.
fn plain(config: &Config) -> Options {
    let nats: &NatsConfig = &config.nats;
    let standard = Options::default();
    Options {
        name: nats.name.clone().unwrap_or_else(|| config.node.clone()),
        max_payload: nats.payload_bytes_max.unwrap_or(config.limits.payload_bytes_max),
        max_control_line: nats.control_line_bytes_max.unwrap_or(standard.max_control_line),
        max_connections: nats.connections_max.unwrap_or(standard.max_connections),
        max_subscriptions: nats.subscriptions_max.unwrap_or(standard.max_subscriptions),
        max_pending: nats.pending_bytes_max.unwrap_or(standard.max_pending),
        write_deadline: nats.write_deadline.unwrap_or(standard.write_deadline),
        ping_interval: nats.ping_interval.unwrap_or(standard.ping_interval),
        ping_max: nats.pings_max.unwrap_or(standard.ping_max),
        auth_timeout: nats.auth_timeout.unwrap_or(standard.auth_timeout),
        lame_duck: nats.lame_duck.unwrap_or(standard.lame_duck),
        jetstream: JetStreamOptions {
            enabled: nats.jetstream.enabled,
            store_max: nats.jetstream.file_bytes_max,
            memory_max: nats.jetstream.memory_bytes_max,
            strict: nats.jetstream.strict,
            store_dir: std::path::absolute(&config.data).unwrap_or_else(|_| config.data.clone()).display().to_string(),
        },
        ..standard
    }
}

fn user(config: &NatsUserConfig) -> Result<NatsUser, StartError> {
    let password = |text: &str| {
        if text.starts_with(BCRYPT) { Secret::Bcrypt(text.to_owned()) } else { Secret::Password(text.to_owned()) }
    };
    let file = |path: &Path| {
        let text = read_text(path).map_err(|error| StartError::Unreadable { path: path.to_owned(), error })?;
        Ok(text.trim().to_owned())
    };
    let secret = match &config.secret {
        NatsSecret::Password(text) => password(&text.0),
        NatsSecret::PasswordFile(path) => password(&file(path)?),
        NatsSecret::Token(text) => Secret::Token(text.0.clone()),
        NatsSecret::TokenFile(path) => Secret::Token(file(path)?),
        NatsSecret::Nkey(key) => Secret::Nkey(key.clone()),
    };
    let permissions = NatsPermissions {
        publish_allow: config.publish.allow.clone(),
        publish_deny: config.publish.deny.clone(),
        subscribe_allow: config.subscribe.allow.clone(),
        subscribe_deny: config.subscribe.deny.clone(),
    };
    Ok(NatsUser { name: config.name.clone(), secret, permissions })
}

/// Binds the door's addresses, unless it is off.
pub(crate) fn bind(config: &NatsConfig) -> Result<Option<(Sockets, NatsAddresses)>, StartError> {
    let Some((clients, address)) = listen("nats", config.listen)? else {
        return Ok(None);
    };
    let split = |bound: Option<(TcpListener, SocketAddr)>| bound.unzip();
    let (websocket, websocket_at) = split(listen("nats-websocket", config.websocket)?);
    let (monitor, monitor_at) = split(listen("monitor", config.monitor)?);
    let addresses = NatsAddresses { clients: Some(address), websocket: websocket_at, monitor: monitor_at };
    Ok(Some((Sockets { clients, websocket, monitor }, addresses)))
}

impl NatsDoor {
    /// Serves from now on.
    pub(crate) fn open(
        runtime: &Runtime,
        sockets: Sockets,
        port: Port,
        options: Options,
        notice: bool,
    ) -> Result<Self, StartError> {
        let _entered = runtime.enter();
        let door = Door::open(sockets, port, options)
            .map_err(|error| StartError::System { doing: "open the nats door", error })?;
        Ok(NatsDoor { door, notice })
    }

    /// Tells clients to leave where they are to be told, disconnects all, and waits for what is in flight.
    pub(crate) async fn close(self, lame_duck: bool) {
        if self.notice || lame_duck {
            self.door.lame_duck().await;
        }
        self.door.close().await;
    }
}
