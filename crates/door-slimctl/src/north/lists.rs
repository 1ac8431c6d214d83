//! What the controller shows, as operators are told it. Pure.

use std::collections::BTreeMap;

use mesh::control::{LinkState, LinkView};
use mesh::names::NodeId;
use mesh::plan::LinkKind;

use crate::board::View;
use crate::proto::control::{Details, Direction, Entry, Kind, RouteEntry as NodeRoute};
use crate::proto::plane::{
    Between, DomainEntry, DomainList, LinkEntry, LinkStatus, NodeEntry, NodeStatus, RouteEntry, RouteStatus,
    SegmentEdge, SegmentEntry, SegmentList,
};
use crate::south::Nodes;

/// What stands for each node of a mesh.
const EACH: &str = "*";

/// The nodes.
pub(super) fn nodes(nodes: &Nodes, view: &View) -> Vec<NodeEntry> {
    let entry = |node: &mesh::control::NodeView| {
        let mut connections = nodes.details(&node.id);
        let listen = node.endpoints.listen.as_deref().map(str::to_owned);
        let external = node.endpoints.external.as_deref().map(str::to_owned);
        if connections.is_empty() && (listen.is_some() || external.is_some()) {
            let endpoint = listen.unwrap_or_default();
            connections.push(Details { endpoint, external_endpoint: external, ..Details::default() });
        }
        NodeEntry {
            id: node.id.to_string(),
            connections,
            status: if node.connected { NodeStatus::Connected } else { NodeStatus::NotConnected } as i32,
            domain: node.id.domain.to_string(),
        }
    };
    view.status.nodes.iter().map(entry).collect()
}

fn asks(asked: &str, shown: &str) -> bool {
    asked.is_empty() || asked == shown
}

/// The routes between two nodes: first those that each domain that wants a name announces, then those that come of
/// them.
pub(super) fn routes(nodes: &Nodes, view: &View, asked: &Between) -> Vec<RouteEntry> {
    let (mut templates, mut routes) = (BTreeMap::new(), Vec::new());
    for route in &view.status.routes {
        let Some(name) = nodes.seen.name(route.name.as_str()) else { continue };
        let to = route.to.to_string();
        templates.entry((route.name.clone(), to.clone())).or_insert_with(|| RouteEntry {
            id: format!("{EACH}|{}|{to}", route.name.as_str()),
            source_node_id: String::from(EACH),
            dest_node_id: to.clone(),
            name: Some(name.clone()),
            status: RouteStatus::Applied as i32,
            ..RouteEntry::default()
        });
        let from = route.at.as_ref().map_or_else(|| route.from.to_string(), ToString::to_string);
        let link = route.link.as_ref().and_then(|id| view.status.links.iter().find(|link| link.id == *id));
        let next = link.and_then(|link| other(link, &from)).unwrap_or_else(|| route.next.to_string());
        let (status, status_msg) = match &route.state {
            LinkState::Applied => (RouteStatus::Applied, String::new()),
            LinkState::Failed(why) => (RouteStatus::Failed, why.to_string()),
            LinkState::Pending | LinkState::Connecting => (RouteStatus::Pending, String::new()),
        };
        let link_id = route.link.as_ref().map(ToString::to_string).unwrap_or_default();
        routes.push(RouteEntry {
            id: format!("{from}|{}|{}|{}", route.name.as_str(), route.segment, next),
            source_node_id: from,
            dest_node_id: next,
            name: Some(name),
            status: status as i32,
            status_msg,
            last_updated: 0,
            link_id,
        });
    }
    let all = templates.into_values().chain(routes);
    all.filter(|route| asks(&asked.from, &route.source_node_id) && asks(&asked.to, &route.dest_node_id)).collect()
}

/// The end of a link that is not this one.
fn other(link: &LinkView, end: &str) -> Option<String> {
    let to = link.to.as_ref().map(ToString::to_string);
    if link.from.to_string() == end { to } else { Some(link.from.to_string()) }
}

/// The links between domains, and pairs of domains that are to be linked and are not.
pub(super) fn links(view: &View, asked: &Between) -> Vec<LinkEntry> {
    let remote = view.status.links.iter().filter(|link| link.kind == LinkKind::Remote);
    let entries = remote.map(|link| {
        let (status, status_msg) = match &link.state {
            LinkState::Applied => (LinkStatus::Applied, String::new()),
            LinkState::Failed(why) => (LinkStatus::Failed, why.to_string()),
            LinkState::Pending | LinkState::Connecting => (LinkStatus::Pending, String::new()),
        };
        let to = link.to.as_ref().map_or_else(|| link.to_domain.to_string(), ToString::to_string);
        LinkEntry {
            id: format!("{}|{to}|{}", link.from, link.id),
            link_id: link.id.to_string(),
            source_node_id: link.from.to_string(),
            dest_node_id: to,
            dest_endpoint: link.address.as_deref().unwrap_or_default().to_owned(),
            conn_config_data: String::new(),
            status: status as i32,
            status_msg,
            deleted: !link.serves,
            last_updated: 0,
        }
    });
    let unheld = view.status.unheld.iter().map(|(one, two)| LinkEntry {
        id: format!("pending|{one}|{two}"),
        link_id: String::from("-"),
        source_node_id: one.to_string(),
        dest_node_id: two.to_string(),
        dest_endpoint: String::from("-"),
        status: LinkStatus::Pending as i32,
        status_msg: String::from("no node of either domain can be dialled by the other"),
        ..LinkEntry::default()
    });
    let all = entries.chain(unheld);
    all.filter(|link| asks(&asked.from, &link.source_node_id) && asks(&asked.to, &link.dest_node_id)).collect()
}

/// The segments.
pub(super) fn segments(view: &View) -> SegmentList {
    let entry = |segment: &std::sync::Arc<mesh::plan::SegmentPlan>| SegmentEntry {
        name: segment.name.to_string(),
        domains: segment.domains.iter().map(ToString::to_string).collect(),
        edges: segment
            .edges
            .iter()
            .map(|(one, two, _)| SegmentEdge { domain_a: one.to_string(), domain_b: two.to_string() })
            .collect(),
    };
    SegmentList { segments: view.segments.iter().map(entry).collect() }
}

/// The domains, and their nodes.
pub(super) fn domains(view: &View) -> DomainList {
    let mut domains: BTreeMap<String, Vec<String>> =
        view.status.domains.iter().map(|domain| (domain.name.to_string(), Vec::new())).collect();
    for node in &view.status.nodes {
        domains.entry(node.id.domain.to_string()).or_default().push(node.id.to_string());
    }
    let entries = domains.into_iter().map(|(domain_name, nodes)| DomainEntry { domain_name, nodes });
    DomainList { domains: entries.collect() }
}

/// The routes at a node of our own make.
pub(super) fn routes_of(nodes: &Nodes, view: &View, node: &NodeId) -> Vec<NodeRoute> {
    let mut routes: BTreeMap<_, Vec<Entry>> = BTreeMap::new();
    let at = view.status.routes.iter().filter(|route| route.at.as_ref() == Some(node));
    for route in at {
        let link = view.status.links.iter().enumerate().find(|(_, link)| Some(&link.id) == route.link.as_ref());
        let entries = routes.entry(route.name.clone()).or_default();
        entries.extend(link.and_then(|(place, link)| connection(place, link, node)));
    }
    let entries = routes
        .into_iter()
        .filter_map(|(name, connections)| Some(NodeRoute { name: Some(nodes.seen.name(name.as_str())?), connections }));
    entries.collect()
}

/// The connections of a node of our own make.
pub(super) fn connections_of(view: &View, node: &NodeId) -> Vec<Entry> {
    let up = view.status.links.iter().enumerate().filter(|(_, link)| link.state == LinkState::Applied);
    up.filter_map(|(place, link)| connection(place, link, node)).collect()
}

/// A link as one of its ends has it.
fn connection(place: usize, link: &LinkView, node: &NodeId) -> Option<Entry> {
    let dials = link.from == *node;
    if !dials && link.to.as_ref() != Some(node) {
        return None;
    }
    Some(Entry {
        id: u64::try_from(place).unwrap_or(u64::MAX),
        kind: if link.kind == LinkKind::Remote { Kind::Remote } else { Kind::Peer } as i32,
        config_data: String::new(),
        link_id: Some(link.id.to_string()),
        direction: if dials { Direction::Outgoing } else { Direction::Incoming } as i32,
        peer_node_id: other(link, &node.to_string()),
    })
}

/// Gives the peers of a node's connections their whole names.
pub(super) fn name_peers(view: &View, node: &NodeId, entries: &mut [Entry]) {
    for entry in entries {
        let link = view.status.links.iter().find(|link| entry.link_id.as_deref() == Some(link.id.as_str()));
        match Kind::try_from(entry.kind) {
            Ok(Kind::Remote) => {
                entry.peer_node_id = link.and_then(|link| other(link, &node.to_string())).or(entry.peer_node_id.take());
            }
            Ok(Kind::Peer) => {
                let whole = |peer: String| if peer.contains('/') { peer } else { format!("{}/{peer}", node.domain) };
                entry.peer_node_id = entry.peer_node_id.take().map(whole);
            }
            Ok(Kind::Local | Kind::Edge) | Err(_) => {}
        }
    }
}
