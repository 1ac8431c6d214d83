//! `controlplane.proto.v1`: what operators ask of a controller, and what they are answered.

use prost::{Enumeration, Message};

use super::Name;
use super::control::Details;

/// What begins the paths of its methods.
pub const SERVICE: &str = "/controlplane.proto.v1.ControlPlaneService/";

/// States of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum NodeStatus {
    /// Not known.
    Unspecified = 0,
    /// It has a control channel.
    Connected = 1,
    /// It has none.
    NotConnected = 2,
}

/// A node.
#[derive(Clone, PartialEq, Message)]
pub struct NodeEntry {
    /// `domain/node`.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Where it can be dialled.
    #[prost(message, repeated, tag = "2")]
    pub connections: Vec<Details>,
    /// Its state.
    #[prost(enumeration = "NodeStatus", tag = "4")]
    pub status: i32,
    /// Its domain.
    #[prost(string, tag = "5")]
    pub domain: String,
}

/// Which routes or links are asked for: of these two nodes; empty: of any.
#[derive(Clone, PartialEq, Message)]
pub struct Between {
    /// Where they begin.
    #[prost(string, tag = "1")]
    pub from: String,
    /// Where they lead.
    #[prost(string, tag = "2")]
    pub to: String,
}

/// States of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum RouteStatus {
    /// Not known.
    Unspecified = 0,
    /// It is there.
    Applied = 1,
    /// It could not be made.
    Failed = 2,
    /// It is to go.
    Deleted = 3,
    /// It is to come.
    Pending = 4,
}

/// A route.
#[derive(Clone, PartialEq, Message)]
pub struct RouteEntry {
    /// Which.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The node that has it; `*`: each.
    #[prost(string, tag = "2")]
    pub source_node_id: String,
    /// Where it leads.
    #[prost(string, tag = "3")]
    pub dest_node_id: String,
    /// The name.
    #[prost(message, optional, tag = "6")]
    pub name: Option<Name>,
    /// Its state.
    #[prost(enumeration = "RouteStatus", tag = "7")]
    pub status: i32,
    /// Words.
    #[prost(string, tag = "8")]
    pub status_msg: String,
    /// When it changed, in seconds since 1970.
    #[prost(int64, tag = "10")]
    pub last_updated: i64,
    /// The link.
    #[prost(string, tag = "11")]
    pub link_id: String,
}

/// States of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum LinkStatus {
    /// Not known.
    Unspecified = 0,
    /// It is to come.
    Pending = 1,
    /// It is up.
    Applied = 2,
    /// It could not be made.
    Failed = 3,
}

/// A link.
#[derive(Clone, PartialEq, Message)]
pub struct LinkEntry {
    /// Which, in listings.
    #[prost(string, tag = "1")]
    pub id: String,
    /// What both ends call it.
    #[prost(string, tag = "2")]
    pub link_id: String,
    /// Who dials.
    #[prost(string, tag = "3")]
    pub source_node_id: String,
    /// Who takes it.
    #[prost(string, tag = "4")]
    pub dest_node_id: String,
    /// Where.
    #[prost(string, tag = "5")]
    pub dest_endpoint: String,
    /// How, as JSON.
    #[prost(string, tag = "6")]
    pub conn_config_data: String,
    /// Its state.
    #[prost(enumeration = "LinkStatus", tag = "7")]
    pub status: i32,
    /// Words.
    #[prost(string, tag = "8")]
    pub status_msg: String,
    /// Whether it is to go.
    #[prost(bool, tag = "9")]
    pub deleted: bool,
    /// When it changed, in seconds since 1970.
    #[prost(int64, tag = "10")]
    pub last_updated: i64,
}

/// Two domains that are neighbours.
#[derive(Clone, PartialEq, Message)]
pub struct SegmentEdge {
    /// One.
    #[prost(string, tag = "1")]
    pub domain_a: String,
    /// The other.
    #[prost(string, tag = "2")]
    pub domain_b: String,
}

/// A segment.
#[derive(Clone, PartialEq, Message)]
pub struct SegmentEntry {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its domains.
    #[prost(string, repeated, tag = "2")]
    pub domains: Vec<String>,
    /// Its edges.
    #[prost(message, repeated, tag = "3")]
    pub edges: Vec<SegmentEdge>,
}

/// All segments.
#[derive(Clone, PartialEq, Message)]
pub struct SegmentList {
    /// They.
    #[prost(message, repeated, tag = "1")]
    pub segments: Vec<SegmentEntry>,
}

/// What is asked of one segment, domain or node, by name.
#[derive(Clone, PartialEq, Message)]
pub struct Named {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// What is asked of a link between two domains.
#[derive(Clone, PartialEq, Message)]
pub struct TopologyLink {
    /// One.
    #[prost(string, tag = "1")]
    pub domain_a: String,
    /// The other.
    #[prost(string, tag = "2")]
    pub domain_b: String,
    /// The segment; empty: `default`.
    #[prost(string, tag = "3")]
    pub segment: String,
}

/// What is to be known of a change that was made.
#[derive(Clone, PartialEq, Message)]
pub struct Warnings {
    /// Words.
    #[prost(string, repeated, tag = "1")]
    pub warnings: Vec<String>,
}

/// A domain.
#[derive(Clone, PartialEq, Message)]
pub struct DomainEntry {
    /// Its name.
    #[prost(string, tag = "1")]
    pub domain_name: String,
    /// Its nodes, as `domain/node`.
    #[prost(string, repeated, tag = "2")]
    pub nodes: Vec<String>,
}

/// All domains.
#[derive(Clone, PartialEq, Message)]
pub struct DomainList {
    /// They.
    #[prost(message, repeated, tag = "1")]
    pub domains: Vec<DomainEntry>,
}

/// A domain that is to be, and its secret.
#[derive(Clone, PartialEq, Message)]
pub struct AddDomain {
    /// Its name.
    #[prost(string, tag = "1")]
    pub domain_name: String,
    /// Its secret.
    #[prost(string, tag = "2")]
    pub secret: String,
}
