//! The messages of `subscribe.StateChangeSubscription`, by the numbers of their fields. Written by hand, so that no
//! compiler of schemas is needed; `street/consul_subscribe.proto` says the same for clients.

use std::collections::BTreeMap;

use catalog::{Check, Health, Node, Service};
use prost::Message;

/// The topics that are known here.
pub(crate) mod topics {
    /// Instances of a service.
    pub(crate) const SERVICE_HEALTH: i32 = 1;
    /// Instances by which a service is reached by mesh.
    pub(crate) const SERVICE_HEALTH_CONNECT: i32 = 2;
    /// The names of all services.
    pub(crate) const SERVICE_LIST: i32 = 7;
}

/// What a client asks for.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SubscribeRequest {
    #[prost(int32, tag = "1")]
    pub(crate) topic: i32,
    /// What older clients say in place of a subject.
    #[prost(string, tag = "2")]
    pub(crate) key: String,
    #[prost(string, tag = "3")]
    pub(crate) token: String,
    #[prost(uint64, tag = "4")]
    pub(crate) index: u64,
    #[prost(string, tag = "5")]
    pub(crate) datacenter: String,
    #[prost(oneof = "Subject", tags = "9, 10")]
    pub(crate) subject: Option<Subject>,
}

/// Of what.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Subject {
    /// Of everything.
    #[prost(bool, tag = "9")]
    Wildcard(bool),
    /// Of one.
    #[prost(message, tag = "10")]
    Named(NamedSubject),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct NamedSubject {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
}

/// What a client is told.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Event {
    #[prost(uint64, tag = "1")]
    pub(crate) index: u64,
    #[prost(oneof = "Payload", tags = "2, 3, 4, 10, 12")]
    pub(crate) payload: Option<Payload>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Payload {
    #[prost(bool, tag = "2")]
    EndOfSnapshot(bool),
    #[prost(bool, tag = "3")]
    NewSnapshotToFollow(bool),
    #[prost(message, tag = "4")]
    EventBatch(EventBatch),
    #[prost(message, tag = "10")]
    ServiceHealth(Box<ServiceHealth>),
    #[prost(message, tag = "12")]
    Service(ServiceListUpdate),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct EventBatch {
    #[prost(message, repeated, tag = "1")]
    pub(crate) events: Vec<Event>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ServiceHealth {
    /// 0: it is there; 1: not any more.
    #[prost(int32, tag = "1")]
    pub(crate) op: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) instance: Option<CheckServiceNode>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ServiceListUpdate {
    #[prost(int32, tag = "1")]
    pub(crate) op: i32,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CheckServiceNode {
    #[prost(message, optional, tag = "1")]
    pub(crate) node: Option<WireNode>,
    #[prost(message, optional, tag = "2")]
    pub(crate) service: Option<WireService>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) checks: Vec<WireCheck>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RaftIndex {
    #[prost(uint64, tag = "1")]
    create: u64,
    #[prost(uint64, tag = "2")]
    modify: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WireNode {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    pub(crate) node: String,
    #[prost(string, tag = "3")]
    address: String,
    #[prost(string, tag = "4")]
    datacenter: String,
    #[prost(btree_map = "string, string", tag = "5")]
    tagged_addresses: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "6")]
    meta: BTreeMap<String, String>,
    #[prost(message, optional, tag = "7")]
    index: Option<RaftIndex>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WireWeights {
    #[prost(int32, tag = "1")]
    passing: i32,
    #[prost(int32, tag = "2")]
    warning: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WireAddress {
    #[prost(string, tag = "1")]
    address: String,
    #[prost(int32, tag = "2")]
    port: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WireService {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    pub(crate) id: String,
    #[prost(string, tag = "3")]
    pub(crate) service: String,
    #[prost(string, repeated, tag = "4")]
    tags: Vec<String>,
    #[prost(string, tag = "5")]
    address: String,
    #[prost(btree_map = "string, string", tag = "6")]
    meta: BTreeMap<String, String>,
    #[prost(int32, tag = "7")]
    pub(crate) port: i32,
    #[prost(message, optional, tag = "8")]
    weights: Option<WireWeights>,
    #[prost(bool, tag = "9")]
    enable_tag_override: bool,
    #[prost(message, optional, tag = "14")]
    index: Option<RaftIndex>,
    #[prost(btree_map = "string, message", tag = "15")]
    tagged_addresses: BTreeMap<String, WireAddress>,
    #[prost(string, tag = "17")]
    socket_path: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WireCheck {
    #[prost(string, tag = "1")]
    node: String,
    #[prost(string, tag = "2")]
    check_id: String,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    status: String,
    #[prost(string, tag = "5")]
    notes: String,
    #[prost(string, tag = "6")]
    output: String,
    #[prost(string, tag = "7")]
    service_id: String,
    #[prost(string, tag = "8")]
    service_name: String,
    #[prost(string, repeated, tag = "9")]
    service_tags: Vec<String>,
    #[prost(message, optional, tag = "11")]
    index: Option<RaftIndex>,
    #[prost(string, tag = "12")]
    kind: String,
}

/// A number of 64 bits as this protocol can say it.
fn narrow(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(if number < 0 { i32::MIN } else { i32::MAX })
}

fn texts(values: &[std::sync::Arc<str>]) -> Vec<String> {
    values.iter().map(|value| value.to_string()).collect()
}

fn pairs(values: &catalog::Map<std::sync::Arc<str>>) -> BTreeMap<String, String> {
    values.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

impl From<&Health> for CheckServiceNode {
    fn from(of: &Health) -> Self {
        CheckServiceNode {
            node: Some(WireNode::from(&*of.node)),
            service: Some(WireService::from(&*of.service)),
            checks: of.checks.iter().map(|check| WireCheck::from(&**check)).collect(),
        }
    }
}

impl CheckServiceNode {
    /// What tells which instance is not there any more.
    pub(crate) fn named(service: &str, node: &str, id: &str) -> Self {
        let node = WireNode { node: node.to_owned(), ..WireNode::default() };
        let service = WireService { service: service.to_owned(), id: id.to_owned(), ..WireService::default() };
        CheckServiceNode { node: Some(node), service: Some(service), checks: Vec::new() }
    }
}

impl From<&Node> for WireNode {
    fn from(of: &Node) -> Self {
        WireNode {
            id: of.id.to_string(),
            node: of.node.to_string(),
            address: of.address.to_string(),
            datacenter: of.datacenter.to_string(),
            tagged_addresses: pairs(&of.tagged_addresses),
            meta: pairs(&of.meta),
            index: Some(RaftIndex { create: of.created, modify: of.changed }),
        }
    }
}

impl From<&Service> for WireService {
    fn from(of: &Service) -> Self {
        let tagged = of.tagged_addresses.iter().map(|(kind, each)| {
            (kind.to_string(), WireAddress { address: each.address.to_string(), port: narrow(each.port) })
        });
        let weights = WireWeights { passing: narrow(of.weights.passing), warning: narrow(of.weights.warning) };
        WireService {
            kind: of.kind.to_string(),
            id: of.id.to_string(),
            service: of.service.to_string(),
            tags: texts(&of.tags),
            address: of.address.to_string(),
            meta: pairs(&of.meta),
            port: narrow(of.port),
            weights: Some(weights),
            enable_tag_override: of.enable_tag_override,
            index: Some(RaftIndex { create: of.created, modify: of.changed }),
            tagged_addresses: tagged.collect(),
            socket_path: of.socket_path.to_string(),
        }
    }
}

impl From<&Check> for WireCheck {
    fn from(of: &Check) -> Self {
        WireCheck {
            node: of.node.to_string(),
            check_id: of.check_id.to_string(),
            name: of.name.to_string(),
            status: of.status.as_str().to_owned(),
            notes: of.notes.to_string(),
            output: of.output.to_string(),
            service_id: of.service_id.to_string(),
            service_name: of.service_name.to_string(),
            service_tags: texts(&of.service_tags),
            index: Some(RaftIndex { create: of.created, modify: of.changed }),
            kind: of.kind.to_string(),
        }
    }
}
