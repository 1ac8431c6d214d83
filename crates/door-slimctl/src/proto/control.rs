//! `controller.proto.v1`: what a node and its controller say to each other.

use prost::{Enumeration, Message, Oneof};

use super::Name;

/// The path of its one method.
pub const OPEN_CONTROL_CHANNEL: &str = "/controller.proto.v1.ControllerService/OpenControlChannel";

/// One message of a control channel.
#[derive(Clone, PartialEq, Message)]
pub struct ControlMessage {
    /// What an answer names it by.
    #[prost(string, tag = "1")]
    pub message_id: String,
    /// What it says.
    #[prost(oneof = "Payload", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 20")]
    pub payload: Option<Payload>,
}

/// What a message says.
#[derive(Clone, PartialEq, Oneof)]
pub enum Payload {
    /// What is to be, or what is.
    #[prost(message, tag = "2")]
    Command(Command),
    /// It was taken.
    #[prost(message, tag = "3")]
    Ack(Ack),
    /// Which routes are there?
    #[prost(message, tag = "4")]
    RouteList(Empty),
    /// These routes are there.
    #[prost(message, tag = "5")]
    Routes(Routes),
    /// Which connections are there?
    #[prost(message, tag = "6")]
    ConnectionList(Empty),
    /// These connections are there.
    #[prost(message, tag = "7")]
    Connections(Connections),
    /// A node comes.
    #[prost(message, tag = "8")]
    Register(Register),
    /// It was taken, or not.
    #[prost(message, tag = "9")]
    Registered(Registered),
    /// A node leaves.
    #[prost(message, tag = "10")]
    Deregister(Deregister),
    /// It may go.
    #[prost(message, tag = "11")]
    Deregistered(Deregistered),
    /// What became of a command.
    #[prost(message, tag = "20")]
    CommandAck(CommandAck),
}

/// Nothing.
#[derive(Clone, PartialEq, Message)]
pub struct Empty {}

/// A link that is to be dialled.
#[derive(Clone, PartialEq, Message)]
pub struct Connection {
    /// Which.
    #[prost(string, tag = "1")]
    pub link_id: String,
    /// Where and how, as JSON.
    #[prost(string, tag = "2")]
    pub config_data: String,
}

/// What became of a link.
#[derive(Clone, PartialEq, Message)]
pub struct ConnectionAck {
    /// Which.
    #[prost(string, tag = "1")]
    pub link_id: String,
    /// Whether it is as it should be.
    #[prost(bool, tag = "2")]
    pub success: bool,
    /// Why not.
    #[prost(string, tag = "3")]
    pub error: String,
}

/// A name that leads over a link; without one: a name that somebody listens to at the node.
#[derive(Clone, PartialEq, Message)]
pub struct Route {
    /// The name.
    #[prost(message, optional, tag = "1")]
    pub name: Option<Name>,
    /// The link.
    #[prost(string, optional, tag = "2")]
    pub link_id: Option<String>,
    /// Which way it was made.
    #[prost(enumeration = "Direction", optional, tag = "3")]
    pub direction: Option<i32>,
}

/// What became of a route.
#[derive(Clone, PartialEq, Message)]
pub struct RouteAck {
    /// Which.
    #[prost(message, optional, tag = "1")]
    pub route: Option<Route>,
    /// Whether it is as it should be.
    #[prost(bool, tag = "2")]
    pub success: bool,
    /// Why not.
    #[prost(string, tag = "3")]
    pub error: String,
}

/// What is to be, or what is.
#[derive(Clone, PartialEq, Message)]
pub struct Command {
    /// Links that are to be dialled.
    #[prost(message, repeated, tag = "1")]
    pub connections_to_create: Vec<Connection>,
    /// Routes that are to be.
    #[prost(message, repeated, tag = "2")]
    pub routes_to_set: Vec<Route>,
    /// Routes that are not to be.
    #[prost(message, repeated, tag = "3")]
    pub routes_to_delete: Vec<Route>,
    /// Links that are to end.
    #[prost(string, repeated, tag = "4")]
    pub connections_to_delete: Vec<String>,
    /// Whether this is all that there is to be.
    #[prost(bool, tag = "5")]
    pub reconcile: bool,
    /// Links that came in.
    #[prost(message, repeated, tag = "6")]
    pub connections_received: Vec<Entry>,
}

/// What became of a command.
#[derive(Clone, PartialEq, Message)]
pub struct CommandAck {
    /// Which.
    #[prost(string, tag = "1")]
    pub original_message_id: String,
    /// Its links.
    #[prost(message, repeated, tag = "2")]
    pub connections: Vec<ConnectionAck>,
    /// Its routes.
    #[prost(message, repeated, tag = "3")]
    pub routes: Vec<RouteAck>,
}

/// It was taken.
#[derive(Clone, PartialEq, Message)]
pub struct Ack {
    /// Which.
    #[prost(string, tag = "1")]
    pub original_message_id: String,
    /// Whether it was good.
    #[prost(bool, tag = "2")]
    pub success: bool,
    /// Words.
    #[prost(string, repeated, tag = "3")]
    pub messages: Vec<String>,
}

/// Part of a list of routes.
#[derive(Clone, PartialEq, Message)]
pub struct Routes {
    /// What asked for it.
    #[prost(string, tag = "1")]
    pub original_message_id: String,
    /// The routes.
    #[prost(message, repeated, tag = "2")]
    pub entries: Vec<RouteEntry>,
    /// Whether this is the last part.
    #[prost(bool, tag = "3")]
    pub done: bool,
}

/// A name, and where it leads.
#[derive(Clone, PartialEq, Message)]
pub struct RouteEntry {
    /// The name.
    #[prost(message, optional, tag = "1")]
    pub name: Option<Name>,
    /// The connections.
    #[prost(message, repeated, tag = "2")]
    pub connections: Vec<Entry>,
}

/// Kinds of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Kind {
    /// Inside a node.
    Local = 0,
    /// To another domain.
    Remote = 1,
    /// To another node of the domain.
    Peer = 2,
    /// To an application.
    Edge = 3,
}

/// Who made a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Direction {
    /// The node itself.
    Outgoing = 0,
    /// The other end.
    Incoming = 1,
}

/// A connection of a node.
#[derive(Clone, PartialEq, Message)]
pub struct Entry {
    /// Its number at the node.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// What kind it is of.
    #[prost(enumeration = "Kind", tag = "2")]
    pub kind: i32,
    /// How it was made, as JSON.
    #[prost(string, tag = "3")]
    pub config_data: String,
    /// What both ends call it.
    #[prost(string, optional, tag = "4")]
    pub link_id: Option<String>,
    /// Who made it.
    #[prost(enumeration = "Direction", tag = "5")]
    pub direction: i32,
    /// The node at the other end.
    #[prost(string, optional, tag = "6")]
    pub peer_node_id: Option<String>,
}

/// Part of a list of connections.
#[derive(Clone, PartialEq, Message)]
pub struct Connections {
    /// What asked for it.
    #[prost(string, tag = "1")]
    pub original_message_id: String,
    /// The connections.
    #[prost(message, repeated, tag = "2")]
    pub entries: Vec<Entry>,
    /// Whether this is the last part.
    #[prost(bool, tag = "3")]
    pub done: bool,
}

/// How whoever dials a node proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Auth {
    /// Not at all.
    None = 0,
    /// By SPIRE.
    Spire = 1,
    /// By name and password.
    Basic = 2,
    /// By a token.
    Jwt = 3,
    /// By a token of an identity provider.
    Oidc = 4,
}

/// Where a node can be dialled, and how.
#[derive(Clone, PartialEq, Message)]
pub struct Details {
    /// By its domain, `host:port`.
    #[prost(string, tag = "1")]
    pub endpoint: String,
    /// By other domains, `host:port`.
    #[prost(string, optional, tag = "2")]
    pub external_endpoint: Option<String>,
    /// Whether with TLS.
    #[prost(bool, tag = "3")]
    pub tls_required: bool,
    /// How it is proven who dials.
    #[prost(enumeration = "Auth", tag = "4")]
    pub auth_method: i32,
    /// With SPIRE: the trust domain.
    #[prost(string, optional, tag = "5")]
    pub spire_trust_domain: Option<String>,
}

/// A node comes.
#[derive(Clone, PartialEq, Message)]
pub struct Register {
    /// Its id in its domain.
    #[prost(string, tag = "1")]
    pub node_id: String,
    /// Where it can be dialled.
    #[prost(message, repeated, tag = "2")]
    pub details: Vec<Details>,
    /// Its domain.
    #[prost(string, optional, tag = "3")]
    pub domain_name: Option<String>,
    /// The connections that it has.
    #[prost(message, repeated, tag = "4")]
    pub connections: Vec<Entry>,
    /// The routes that it has.
    #[prost(message, repeated, tag = "5")]
    pub routes: Vec<Route>,
    /// The proof that it belongs to its domain.
    #[prost(string, tag = "6")]
    pub credentials: String,
}

/// It was taken, or not.
#[derive(Clone, PartialEq, Message)]
pub struct Registered {
    /// What asked for it.
    #[prost(string, tag = "1")]
    pub original_message_id: String,
    /// Whether it was taken. If not, it does not come again.
    #[prost(bool, tag = "2")]
    pub success: bool,
    /// The links that it is to dial.
    #[prost(message, repeated, tag = "3")]
    pub connections: Vec<Connection>,
    /// The routes that are to be.
    #[prost(message, repeated, tag = "4")]
    pub routes: Vec<Route>,
}

/// A node leaves.
#[derive(Clone, PartialEq, Message)]
pub struct Deregister {
    /// Which.
    #[prost(message, optional, tag = "1")]
    pub node: Option<Node>,
}

/// A node's id.
#[derive(Clone, PartialEq, Message)]
pub struct Node {
    /// Its text.
    #[prost(string, tag = "1")]
    pub id: String,
}

/// It may go.
#[derive(Clone, PartialEq, Message)]
pub struct Deregistered {
    /// What asked for it.
    #[prost(string, tag = "1")]
    pub original_message_id: String,
    /// Whether it may.
    #[prost(bool, tag = "2")]
    pub success: bool,
}

impl ControlMessage {
    /// A message with an id.
    pub fn new(message_id: String, payload: Payload) -> Self {
        ControlMessage { message_id, payload: Some(payload) }
    }
}
