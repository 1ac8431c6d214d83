//! Where nodes can be dialled and how, as they said it when they registered; and what whoever dials them is told.

use std::net::IpAddr;
use std::sync::Arc;

use mesh::control::Endpoints;
use mesh::names::{Name, NodeId};
use mesh::plan::LinkPlan;
use serde_json::json;

use crate::proto::control::{Auth, Details};

/// Looks up what a node said of itself when it registered. By its domain and node, or by its domain and address.
pub(super) type Known<'a> = dyn Fn(&LinkPlan) -> Option<Details> + 'a;

/// Bytes of an address, at most.
const ADDRESS_BYTES_MAX: usize = 255;

/// A node's name, as the mesh has it: what the original allows beside is a dash.
pub(super) fn node_name(text: &str) -> Option<Name> {
    let last = text.rsplit_once('/').map_or(text, |(_, last)| last);
    Name::parse(last).or_else(|_| Name::parse(&mild(last))).ok()
}

fn mild(text: &str) -> String {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    text.to_ascii_lowercase().chars().map(|c| if good(c) { c } else { '-' }).collect()
}

/// The id of a node that registers. A `/` in what it calls itself is a dash.
pub(super) fn node_id(domain: &str, node: &str) -> Option<NodeId> {
    let domain = Name::parse(domain).ok()?;
    Name::parse(node).or_else(|_| Name::parse(&mild(node))).ok().map(|node| NodeId { domain, node })
}

/// Where a node can be dialled, by its domain and by others.
pub(super) fn endpoints(details: &[Details], from: IpAddr) -> Endpoints {
    let listen = details.first().and_then(|first| address(&first.endpoint, from));
    let external = details.iter().find_map(|each| address(each.external_endpoint.as_deref()?, from));
    Endpoints { listen, external }
}

/// `host:port` of an endpoint; one that is any address is where the node was seen.
fn address(endpoint: &str, from: IpAddr) -> Option<Arc<str>> {
    let bare = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let (host, port) = bare.trim_end_matches('/').rsplit_once(':')?;
    if port.parse::<u16>().is_err() || bare.len() > ADDRESS_BYTES_MAX || host.contains(['/', ' ', '@']) {
        return None;
    }
    let from = match from {
        IpAddr::V4(from) => from.to_string(),
        IpAddr::V6(from) => format!("[{from}]"),
    };
    let host = if matches!(host, "" | "0.0.0.0" | "[::]" | "::") { from.as_str() } else { host };
    Some(format!("{host}:{port}").into())
}

/// How a link is dialled, as JSON.
pub(super) fn config(link: &LinkPlan, known: &Known<'_>) -> String {
    let details = known(link).unwrap_or_default();
    let scheme = if details.tls_required { "https" } else { "http" };
    let auth = match Auth::try_from(details.auth_method).unwrap_or(Auth::None) {
        Auth::None => json!("none"),
        Auth::Basic => json!("basic"),
        Auth::Jwt => json!("jwt"),
        Auth::Oidc => json!("oidc"),
        Auth::Spire => {
            let domain = details.spire_trust_domain.unwrap_or_else(|| link.domain.as_str().to_owned());
            json!({ "spire": { "trust_domain": domain } })
        }
    };
    let config = json!({
        "endpoint": format!("{scheme}://{}", link.dial.as_deref().unwrap_or_default()),
        "tls_required": details.tls_required,
        "auth_method": auth,
        "timeout": null,
        "backoff": null,
        "keepalive": null,
    });
    config.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_is_any_address_is_where_the_node_was_seen() {
        let check = |endpoint: &str, expected: Option<&str>| {
            assert_eq!(address(endpoint, [10, 0, 0, 7].into()).as_deref(), expected, "{endpoint}");
        };
        check("127.0.0.1:46357", Some("127.0.0.1:46357"));
        check("0.0.0.0:46357", Some("10.0.0.7:46357"));
        check("[::]:46357", Some("10.0.0.7:46357"));
        check("http://slim.example:46357/", Some("slim.example:46357"));
        check("slim.example", None);
        check("a b:1", None);
    }

    #[test]
    fn a_node_is_named_as_the_mesh_names_nodes() {
        let check = |node: &str, expected: Option<&str>| {
            assert_eq!(node_id("d", node).map(|id| id.to_string()).as_deref(), expected, "{node}");
        };
        check("node-1", Some("d/node-1"));
        check("slim/0", Some("d/slim-0"));
        check("Node 1", Some("d/node-1"));
        check("", None);
        check("-x", None);
    }
}
