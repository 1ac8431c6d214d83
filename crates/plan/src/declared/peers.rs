//! The peers of a group: from node sets, and as they are declared.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::Typed;
use crate::kinds::{Batch, PUSH_TIMEOUT, PeerAuth, PeerSpec, PeerTls};

/// A peer that facts are pushed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedPeer {
    /// Its node name in the group, by which deliveries are kept. Unique in the group.
    pub name: String,
    /// Where facts are pushed to; `None`: nobody has said.
    pub endpoint: Option<String>,
    /// Types that are pushed; none: all.
    pub types: Vec<String>,
    /// Beginnings of subjects that are pushed; none: all.
    pub subject_prefixes: Vec<String>,
    /// Keys of its own.
    pub auth: PeerAuth,
    /// TLS towards it.
    pub tls: PeerTls,
    /// Whether many facts go in one request.
    pub batch: Batch,
    /// How long one push may take.
    pub timeout: Duration,
    /// Who says so.
    pub from: PeerFrom,
}

/// Who says that there is a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerFrom {
    /// An EventPeer, by name.
    Peer(String),
    /// A SAMNodeSet, by name.
    NodeSet(String),
}

pub(super) fn of_group(typed: &Typed, group: &str) -> Vec<ResolvedPeer> {
    let Some(spec) = typed.groups.get(group) else { return Vec::new() };
    let mut by_node = BTreeMap::new();
    for source in &spec.peers_from {
        let Some((name, set)) = node_set(typed, &source.resource) else { continue };
        for node in set.nodes.iter().filter(|node| node.node_ref != spec.node_name) {
            let endpoint = Some(node.event_endpoint.clone()).filter(|endpoint| !endpoint.is_empty());
            by_node.insert(node.node_ref.clone(), of_node(&node.node_ref, endpoint, name));
        }
    }
    let declared = typed.peers.iter().filter(|(_, peer)| peer.group_ref == group && peer.node_name != spec.node_name);
    for (name, peer) in declared {
        by_node.insert(peer.node_name.clone(), of_peer(name, peer));
    }
    by_node.into_values().collect()
}

/// The node set that `SAMNodeSet/<name>` names.
pub(super) fn node_set<'a>(typed: &'a Typed, resource: &str) -> Option<(&'a str, &'a crate::kinds::NodeSetSpec)> {
    let name = node_set_name(resource)?;
    typed.node_sets.get_key_value(name).map(|(name, set)| (name.as_str(), set))
}

/// The name in `SAMNodeSet/<name>`.
pub(crate) fn node_set_name(resource: &str) -> Option<&str> {
    resource.trim().strip_prefix("SAMNodeSet/").map(str::trim).filter(|name| !name.is_empty())
}

fn of_node(node: &str, endpoint: Option<String>, set: &str) -> ResolvedPeer {
    ResolvedPeer {
        name: node.into(),
        endpoint,
        types: Vec::new(),
        subject_prefixes: Vec::new(),
        auth: PeerAuth::default(),
        tls: PeerTls::default(),
        batch: Batch::default(),
        timeout: PUSH_TIMEOUT,
        from: PeerFrom::NodeSet(set.into()),
    }
}

fn of_peer(name: &str, peer: &PeerSpec) -> ResolvedPeer {
    ResolvedPeer {
        name: peer.node_name.clone(),
        endpoint: Some(peer.endpoint.clone()),
        types: peer.types.clone(),
        subject_prefixes: peer.subject_prefixes.clone(),
        auth: peer.auth.clone(),
        tls: peer.tls.clone(),
        batch: peer.batch,
        timeout: peer.timeout,
        from: PeerFrom::Peer(name.into()),
    }
}
