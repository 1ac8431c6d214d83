//! What all connections of the door share, and what is known of each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Instant, SystemTime};

use door::{ConnectionId, Port};
use parking_lot::Mutex;
use tracing::debug;

use super::authenticate::Standing;
use crate::codec::Info;
use crate::jetstream::JetStream;
use crate::limits::{API_LEVEL, NATS_VERSION};
use crate::options::Options;
use crate::serve::{Closed, Outbound};

/// What a client said of itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct About {
    pub(crate) name: String,
    pub(crate) lang: String,
    pub(crate) version: String,
    pub(crate) user: String,
}

/// What a connection subscribed to: subject and queue, by sid.
pub(crate) type Wishes = BTreeMap<Box<[u8]>, (String, String)>;

/// One connection, as others see it.
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) address: SocketAddr,
    pub(crate) kind: &'static str,
    pub(crate) tls: bool,
    pub(crate) began: Instant,
    pub(crate) began_at: SystemTime,
    pub(crate) out: Arc<Outbound>,
    /// When something came last, in nanoseconds since `began`.
    pub(crate) heard: AtomicU64,
    /// Questions whether it is there that it has not answered.
    pub(crate) asked: AtomicU32,
    /// When it was asked last, in nanoseconds since `began`.
    pub(crate) asked_at: AtomicU64,
    /// How long the last answer took, in nanoseconds.
    pub(crate) round_trip: AtomicU64,
    pub(crate) messages: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) subscriptions: AtomicUsize,
    pub(crate) admitted: AtomicBool,
    /// What its rights rest on, once it has some.
    pub(crate) standing: Mutex<Option<Standing>>,
    /// Whether its rights became more since its session looked.
    pub(crate) grown: AtomicBool,
    pub(crate) about: Mutex<About>,
    /// What it subscribed to, for tools: subject, queue, sid.
    pub(crate) wishes: Mutex<Wishes>,
}

impl Connection {
    pub(crate) fn nanos(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Counts of the door since it was opened.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) connections: AtomicU64,
    pub(crate) slow: AtomicU64,
    pub(crate) stale: AtomicU64,
    pub(crate) refused: AtomicU64,
    /// Of connections that have ended.
    pub(crate) in_messages: AtomicU64,
    pub(crate) in_bytes: AtomicU64,
    pub(crate) out_messages: AtomicU64,
    pub(crate) out_bytes: AtomicU64,
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) port: Port,
    pub(crate) options: Options,
    pub(crate) jetstream: Arc<JetStream>,
    pub(crate) server_id: String,
    pub(crate) address: SocketAddr,
    pub(crate) began: Instant,
    pub(crate) began_at: SystemTime,
    pub(crate) lame: AtomicBool,
    pub(crate) connections: Mutex<BTreeMap<ConnectionId, Arc<Connection>>>,
    pub(crate) next: AtomicU64,
    pub(crate) totals: Totals,
    /// Held while a slow proof is judged.
    pub(crate) proving: tokio::sync::Mutex<()>,
}

impl Shared {
    /// What the server says of itself to one client.
    pub(crate) fn info(&self, connection: &Connection, nonce: Option<String>) -> Info {
        let options = &self.options;
        Info {
            server_id: self.server_id.clone(),
            server_name: options.name.clone(),
            version: NATS_VERSION,
            proto: 1,
            go: "tidings",
            host: self.address.ip().to_string(),
            port: self.address.port(),
            headers: true,
            auth_required: self.wants_authentication(),
            tls_required: options.tls.is_some() && connection.kind == "nats",
            tls_verify: options.tls.is_some() && options.tls_verify,
            max_payload: options.max_payload,
            jetstream: options.jetstream.enabled,
            api_lvl: API_LEVEL,
            client_id: connection.id,
            client_ip: connection.address.ip().to_string(),
            nonce,
            lame_duck: self.lame.load(Ordering::Acquire),
            connect_info: false,
            remote_account: None,
        }
    }

    /// Whether a client must say who it is.
    pub(crate) fn wants_authentication(&self) -> bool {
        let authentication = &self.options.authentication;
        authentication.trust.is_some()
            || authentication.no_auth_user.is_none() && (!authentication.users.is_empty() || !self.port.is_open())
    }

    /// Adds a connection, unless there are as many as may be.
    pub(crate) fn enter(&self, connection: &Arc<Connection>) -> bool {
        let mut connections = self.connections.lock();
        if connections.len() >= self.options.max_connections {
            return false;
        }
        connections.insert(connection.id, Arc::clone(connection));
        self.totals.connections.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Takes a connection out, and keeps its counts.
    pub(crate) fn leave(&self, connection: &Connection) {
        if self.connections.lock().remove(&connection.id).is_none() {
            return;
        }
        let why = connection.out.closed();
        debug!(connection = connection.id, address = %connection.address, why = why.map_or("", Closed::text), "ended");
        let add = |total: &AtomicU64, own: &AtomicU64| total.fetch_add(own.load(Ordering::Relaxed), Ordering::Relaxed);
        add(&self.totals.in_messages, &connection.messages);
        add(&self.totals.in_bytes, &connection.bytes);
        add(&self.totals.out_messages, &connection.out.messages);
        add(&self.totals.out_bytes, &connection.out.message_bytes);
        let counter = match why {
            Some(Closed::SlowPending | Closed::SlowDeadline) => &self.totals.slow,
            Some(Closed::Stale) => &self.totals.stale,
            Some(Closed::Authentication | Closed::AuthenticationTimeout) => &self.totals.refused,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
