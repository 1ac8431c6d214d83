//! What all links of the door have in common.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use door::{Class, ConnectionId, Port, Principal};
use parking_lot::Mutex;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::inbox::Inboxes;
use super::outbound::Outbound;
use super::own::Own;
use super::remote::Remotes;
use crate::codec::{Key, Kind};
use crate::counts::{Totals, add, less};
use crate::options::{Options, Presented};
use crate::session::Rules;

/// Sets the connections of this door apart from those of others: `slim` in its upper half.
const CONNECTIONS_FROM: u64 = 0x736c_696d << 32;

/// A number that is not that of another node; 0 where the system gives none, which is as good while there is one.
fn random() -> u64 {
    let mut bytes = [0; 8];
    let _filled = SystemRandom::new().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// What a link has agreed upon.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) key: Option<Key>,
    pub(crate) link: String,
    pub(crate) kind: Kind,
    pub(crate) node: String,
}

/// One link.
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) address: SocketAddr,
    pub(crate) who: Mutex<Principal>,
    /// What was presented, to be looked at again when other tokens are put in force.
    pub(crate) token: Option<Box<str>>,
    pub(crate) transport: &'static str,
    /// Whether this node opened the link, to whom it was told to.
    pub(crate) trusted: bool,
    pub(crate) out: Outbound,
    pub(crate) terms: OnceLock<Terms>,
    /// It is negotiated: for the one who dialled it.
    pub(crate) opened: Notify,
    pub(crate) published: AtomicU64,
    pub(crate) subscriptions: AtomicUsize,
    pub(crate) dropped: AtomicU64,
}

/// See the module.
pub(crate) struct Shared {
    pub(crate) port: Port,
    pub(crate) options: Options,
    pub(crate) totals: Arc<Totals>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stopping: CancellationToken,
    pub(crate) inboxes: Inboxes,
    /// Somebody subscribed: who keeps something may get rid of it.
    pub(crate) joined: Arc<Notify>,
    pub(crate) connected: AtomicUsize,
    /// What replicas and a controller are told.
    pub(crate) own: Own,
    /// Links to other domains that a controller told of.
    pub(crate) remotes: Remotes,
    /// Where the ids of what they are told begin.
    pub(crate) ids: u64,
    /// Changes when other tokens or rules are put in force.
    pub(crate) access: watch::Receiver<()>,
    links: Mutex<HashMap<ConnectionId, Arc<Connection>>>,
    next: AtomicU64,
}

impl Shared {
    pub(crate) fn new(port: Port, options: Options, tasks: TaskTracker, stopping: CancellationToken) -> Self {
        let (changed, access) = watch::channel(());
        port.when_access_changes(Arc::new(move || changed.send_replace(())));
        Shared {
            port,
            options,
            totals: Arc::default(),
            tasks,
            stopping,
            inboxes: Inboxes::default(),
            joined: Arc::default(),
            connected: AtomicUsize::new(0),
            own: Own::default(),
            remotes: Remotes::default(),
            ids: random(),
            access,
            links: Mutex::default(),
            next: AtomicU64::new(1),
        }
    }

    /// What sessions go by.
    pub(crate) fn rules(&self) -> Rules {
        Rules {
            node: self.options.node.clone(),
            domain: self.options.domain.clone(),
            version: self.options.version.clone(),
            strict: self.options.require_header_mac,
            enforce_pqc: self.options.enforce_pqc,
            peers: self.options.replicas.iter().map(|replica| replica.node.clone()).collect(),
        }
    }

    /// What a link is to the fabric.
    pub(crate) fn class(&self, connection: &Connection) -> Class {
        match connection.terms.get().map(|terms| terms.kind) {
            Some(Kind::Peer) => Class::Peer,
            Some(Kind::Remote) if self.options.led => Class::Remote,
            _ => Class::Client,
        }
    }

    /// What another node is dialled with.
    pub(crate) async fn presented(&self, tls: bool) -> Result<Presented, String> {
        match &self.options.present {
            Some(present) => present(tls).await,
            None if tls => Err(String::from("this node was not told how to speak TLS with others")),
            None => Ok(Presented::default()),
        }
    }

    /// A new link.
    pub(crate) fn enter(
        &self,
        address: SocketAddr,
        who: Principal,
        token: Option<&str>,
        transport: &'static str,
    ) -> Arc<Connection> {
        self.add(address, who, (token, transport), false)
    }

    /// A new link that this node opens.
    pub(crate) fn enter_trusted(&self, address: SocketAddr) -> Arc<Connection> {
        self.add(address, self.trusted(), (None, "grpc"), true)
    }

    /// What those may whom this node dials: where there are no tokens, what everybody may; else everything.
    pub(crate) fn trusted(&self) -> Principal {
        self.port.authenticate(None).unwrap_or_else(|_| self.port.within_name_rules(&Principal::anyone()))
    }

    fn add(
        &self,
        address: SocketAddr,
        who: Principal,
        (token, transport): (Option<&str>, &'static str),
        trusted: bool,
    ) -> Arc<Connection> {
        let id = CONNECTIONS_FROM + self.next.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection {
            id,
            address,
            who: Mutex::new(who),
            token: token.map(Into::into),
            transport,
            trusted,
            out: Outbound::new(self.options.pending_bytes_max),
            terms: OnceLock::new(),
            opened: Notify::new(),
            published: AtomicU64::new(0),
            subscriptions: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
        });
        self.links.lock().insert(id, Arc::clone(&connection));
        add(&self.totals.links, 1);
        connection
    }

    /// A link is gone.
    pub(crate) fn leave(&self, id: ConnectionId) {
        self.own.gone(id);
        self.remotes.closed(id);
        if self.links.lock().remove(&id).is_some() {
            less(&self.totals.links, 1);
        }
    }

    /// All links.
    pub(crate) fn all(&self) -> Vec<Arc<Connection>> {
        self.links.lock().values().cloned().collect()
    }

    /// The one that a link comes in place of: of the same name, from the same address, with the same rights. It is
    /// gone, though nobody has noticed.
    pub(crate) fn former(&self, new: &Connection, kind: Kind, link: &str) -> Option<Arc<Connection>> {
        let name = Arc::clone(new.who.lock().name());
        let links = self.links.lock();
        let same = |each: &&Arc<Connection>| {
            each.id != new.id
                && each.address.ip() == new.address.ip()
                && each.trusted == new.trusted
                && each.terms.get().is_some_and(|terms| terms.kind == kind && terms.link == link)
                && *each.who.lock().name() == name
        };
        links.values().find(same).cloned()
    }

    /// The links, for listings.
    pub(crate) fn status(&self) -> Value {
        let kind = |kind: Kind| match kind {
            Kind::Edge => "edge",
            Kind::Peer => "peer",
            Kind::Remote => "remote",
        };
        let mut all = self.all();
        all.sort_by_key(|each| each.id);
        let links = all.iter().map(|each| {
            let terms = each.terms.get();
            json!({
                "id": each.id,
                "address": each.address.to_string(),
                "token": &**each.who.lock().name(),
                "transport": each.transport,
                "link": terms.map(|terms| terms.link.as_str()),
                "kind": terms.map(|terms| kind(terms.kind)),
                "node": terms.map(|terms| terms.node.as_str()).filter(|node| !node.is_empty()),
                "tagged": terms.is_some_and(|terms| terms.key.is_some()),
                "subscriptions": each.subscriptions.load(Ordering::Relaxed),
                "published": each.published.load(Ordering::Relaxed),
                "delivered": each.out.messages.load(Ordering::Relaxed),
                "dropped": each.dropped.load(Ordering::Relaxed),
                "waitingBytes": each.out.waiting(),
            })
        });
        json!({"node": self.options.node, "links": links.collect::<Vec<_>>()})
    }
}
