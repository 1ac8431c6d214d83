//! What there is: nodes, services on them, their checks, keys, sessions, user events.
//!
//! All of it is shared and never changes: what changes is made anew. Texts that repeat (names, tags, keys of
//! metadata) are shared between all that say the same.
//!
//! `created` and `changed` are positions in the stream: when a thing came to be, and when it last changed. They take
//! no part in [`Node::same`], [`Service::same`] and [`Check::same`].

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use bytes::Bytes;
use event::Moment;

use crate::map::Map;

/// A node: a machine, or what stands for one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// A UUID, or empty.
    pub id: Arc<str>,
    /// Its name, as it was written. Compared without case.
    pub node: Arc<str>,
    /// An IP address or a name; empty where nothing but instances is known of it.
    pub address: Arc<str>,
    /// Its datacenter.
    pub datacenter: Arc<str>,
    /// Further addresses, by kind: `lan`, `wan`, `lan_ipv4`, ….
    pub tagged_addresses: Map<Arc<str>>,
    /// What its owner says of it.
    pub meta: Map<Arc<str>>,
    /// See the module's head.
    pub created: u64,
    /// See the module's head.
    pub changed: u64,
}

/// An address of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceAddress {
    /// An IP address or a name.
    pub address: Arc<str>,
    /// Its port. As registered: odd ones are taken.
    pub port: i64,
}

/// How much of the load an instance takes, by its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weights {
    /// While it passes.
    pub passing: i64,
    /// While it warns.
    pub warning: i64,
}

impl Default for Weights {
    fn default() -> Self {
        Weights { passing: 1, warning: 1 }
    }
}

/// JSON that is handed on as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(pub Box<str>);

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An instance of a service, without its node and checks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// Empty for most; `connect-proxy` and the gateways' kinds.
    pub kind: Arc<str>,
    /// Unique on its node.
    pub id: Arc<str>,
    /// The service's name, as it was written. Compared without case.
    pub service: Arc<str>,
    /// In the order given.
    pub tags: Arc<[Arc<str>]>,
    /// An IP address or a name; empty: the node's.
    pub address: Arc<str>,
    /// Further addresses, by kind.
    pub tagged_addresses: Map<ServiceAddress>,
    /// What its owner says of it.
    pub meta: Map<Arc<str>>,
    /// As registered: negative and large ones are taken.
    pub port: i64,
    /// A socket's path in place of a port, or empty.
    pub socket_path: Arc<str>,
    /// How much of the load it takes.
    pub weights: Weights,
    /// Whether others may change its tags.
    pub enable_tag_override: bool,
    /// A proxy's settings.
    pub proxy: Option<Json>,
    /// A mesh's settings.
    pub connect: Option<Json>,
    /// See the module's head.
    pub created: u64,
    /// See the module's head.
    pub changed: u64,
}

/// How a check stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// All is well.
    Passing,
    /// It works, for now.
    Warning,
    /// It does not work.
    Critical,
}

impl Status {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Passing => "passing",
            Status::Warning => "warning",
            Status::Critical => "critical",
        }
    }

    /// What is written so.
    pub fn parse(text: &str) -> Option<Status> {
        match text {
            "passing" => Some(Status::Passing),
            "warning" => Some(Status::Warning),
            "critical" => Some(Status::Critical),
            _ => None,
        }
    }
}

/// How a check is made. All absent: somebody else makes it and tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Definition {
    /// It must be told to pass within each such span.
    pub ttl: Option<Duration>,
    /// A URL that must answer with 2xx.
    pub http: Option<Box<str>>,
    /// The request's method; empty: GET.
    pub method: Box<str>,
    /// The request's headers.
    pub header: Map<Arc<[Arc<str>]>>,
    /// The request's body.
    pub body: Box<str>,
    /// `host:port` that must take a connection.
    pub tcp: Option<Box<str>>,
    /// How often.
    pub interval: Option<Duration>,
    /// How long an answer may take.
    pub timeout: Option<Duration>,
    /// Whether a certificate is taken as it is.
    pub tls_skip_verify: bool,
    /// How long the service may be critical before it is deregistered.
    pub deregister_after: Option<Duration>,
    /// Passes in a row before it passes.
    pub successes_before_passing: u32,
    /// Failures in a row before it is critical.
    pub failures_before_critical: u32,
}

impl Definition {
    /// Whether nothing is said at all.
    pub fn is_empty(&self) -> bool {
        *self == Definition::default()
    }
}

/// A check of a node or of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The node's name.
    pub node: Arc<str>,
    /// Unique on its node.
    pub check_id: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// How it stands.
    pub status: Status,
    /// For people.
    pub notes: Arc<str>,
    /// What it last said.
    pub output: Arc<str>,
    /// The instance, or empty for the node's own.
    pub service_id: Arc<str>,
    /// The service's name, or empty for the node's own.
    pub service_name: Arc<str>,
    /// The instance's tags.
    pub service_tags: Arc<[Arc<str>]>,
    /// `ttl`, `http`, `tcp`, or empty.
    pub kind: Arc<str>,
    /// How it is made; `None`: somebody else makes it and tells.
    pub definition: Option<Arc<Definition>>,
    /// The Tidings node that makes it, or empty.
    pub agent: Arc<str>,
    /// When its status last changed.
    pub since: Moment,
    /// When what it says was last recorded to have changed.
    pub recorded: Moment,
    /// See the module's head.
    pub created: u64,
    /// See the module's head.
    pub changed: u64,
}

/// An instance with its node and all checks that decide over it: what a reader of a service sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The node.
    pub node: Arc<Node>,
    /// The instance.
    pub service: Arc<Service>,
    /// The node's checks, then the instance's own.
    pub checks: Vec<Arc<Check>>,
    /// The last position of the instance's subject.
    pub position: u64,
}

impl Health {
    /// The worst of the checks; passing where there are none.
    pub fn status(&self) -> Status {
        self.checks.iter().map(|check| check.status).max().unwrap_or(Status::Passing)
    }

    /// The instance's own checks.
    pub fn own_checks(&self) -> impl Iterator<Item = &Arc<Check>> + Clone {
        self.checks.iter().filter(|check| !check.service_id.is_empty())
    }

    /// The instance's address, else the node's.
    pub fn address(&self) -> &str {
        if self.service.address.is_empty() { &self.node.address } else { &self.service.address }
    }
}

/// Names an instance within its service. In the order in which answers list them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceKey {
    /// The node's name in lower case.
    pub node: Arc<str>,
    /// The instance's id.
    pub id: Arc<str>,
}

/// A key's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The key.
    pub key: Arc<str>,
    /// Any bytes.
    pub value: Bytes,
    /// A number of the client's.
    pub flags: u64,
    /// How often it was acquired.
    pub lock_index: u64,
    /// The session that holds it.
    pub session: Option<Arc<str>>,
    /// See the module's head.
    pub created: u64,
    /// See the module's head. It is the last position of the key's subject too.
    pub changed: u64,
}

/// What becomes of a session's keys when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behavior {
    /// They are held by nobody.
    #[default]
    Release,
    /// They go.
    Delete,
}

impl Behavior {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Behavior::Release => "release",
            Behavior::Delete => "delete",
        }
    }
}

/// A session: who holds keys, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// A UUID.
    pub id: Arc<str>,
    /// For people.
    pub name: Arc<str>,
    /// The node that it goes with.
    pub node: Arc<str>,
    /// How long its keys cannot be acquired after it ended.
    pub lock_delay: Duration,
    /// What becomes of its keys.
    pub behavior: Behavior,
    /// It ends when it is not renewed for so long (at most twice as long).
    pub ttl: Option<Duration>,
    /// Checks of the node that end it when they are critical.
    pub node_checks: Arc<[Arc<str>]>,
    /// Checks of instances that end it when they are critical.
    pub service_checks: Arc<[Arc<str>]>,
    /// The Tidings node that counts its lifetime.
    pub agent: Arc<str>,
    /// When it was recorded.
    pub began: Moment,
    /// See the module's head.
    pub created: u64,
    /// See the module's head.
    pub changed: u64,
}

impl Session {
    /// All checks that end it.
    pub fn checks(&self) -> impl Iterator<Item = &Arc<str>> + Clone {
        self.node_checks.iter().chain(self.service_checks.iter())
    }
}

/// An event that a user fired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserEvent {
    /// A UUID.
    pub id: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Any bytes.
    pub payload: Bytes,
    /// Which nodes it is for: a regular expression, not evaluated here.
    pub node_filter: Arc<str>,
    /// Which services it is for.
    pub service_filter: Arc<str>,
    /// Which tags it is for.
    pub tag_filter: Arc<str>,
    /// Its position in the stream; [`crate::State::events`] are in its order.
    pub position: u64,
    /// When it was recorded.
    pub time: Moment,
}

macro_rules! same {
    ($type:ty, $($field:ident),+) => {
        impl $type {
            /// Whether both say the same, whatever their positions and ages.
            pub fn same(&self, other: &Self) -> bool {
                let mut other = other.clone();
                $(other.$field = self.$field;)+
                *self == other
            }
        }
    };
}
same!(Node, created, changed);
same!(Service, created, changed);
same!(Check, created, changed, since, recorded);
same!(Session, created, changed, began);
