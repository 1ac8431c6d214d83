//! What this node's controller wants: links and names that lead over them, by all that it said. Pure: a command goes in,
//! the whole of what is to be comes out.
//!
//! # Invariants
//! - What is wanted is bounded by [`LINKS_MAX`] and [`NAMES_MAX`], whatever is said.
//! - A command that says all that there is to be leaves nothing of what was said before.
//!
//! Source: agntcy/slim, its node's controller service.

use std::collections::BTreeMap;

use serde_json::Value;

use super::led::{Dial, Leads};
use crate::limits::{LINK_BYTES_MAX, LINKS_MAX, NAMES_MAX};
use crate::names;
use crate::proto::Name;
use crate::proto::control::{Command, Connection, ConnectionAck, Route, RouteAck};

/// A name's pattern, and a link.
type Key = (event::Pattern, String);

/// See the module.
#[derive(Default)]
pub(super) struct Desired {
    /// Unique by link.
    links: BTreeMap<String, Dial>,
    /// Unique by name and link.
    routes: BTreeMap<Key, Name>,
}

/// What a command changed.
pub(super) struct Taken {
    /// Of each link of the command what is known already: `None`: it is to be dialled.
    pub(super) links: Vec<(String, Option<Result<(), String>>)>,
    /// Of each route of the command the same; `None`: its link says.
    pub(super) routes: Vec<(Route, Option<Result<(), String>>)>,
}

impl Desired {
    /// Takes a command. `shows`: whether this node has anything to show to nodes that ask who dials.
    pub(super) fn take(&mut self, command: Command, shows: bool) -> Taken {
        if command.reconcile {
            *self = Desired::default();
        }
        let mut taken = Taken { links: Vec::new(), routes: Vec::new() };
        for link in command.connections_to_delete {
            let known = self.links.remove(&link).map(drop);
            let outcome = known.ok_or_else(|| format!("Connection with link_id {link} not found"));
            taken.links.push((link, Some(outcome)));
        }
        for connection in command.connections_to_create {
            let outcome = self.link(&connection, shows).err().map(Err);
            taken.links.push((connection.link_id, outcome));
        }
        for route in command.routes_to_delete {
            let known = key(&route).and_then(|key| self.routes.remove(&key).map(drop).ok_or(UNKNOWN));
            taken.routes.push((route, Some(known.map_err(str::to_owned))));
        }
        for route in command.routes_to_set {
            let outcome = self.route(&route).err().map(|why| Err(why.to_owned()));
            taken.routes.push((route, outcome));
        }
        taken
    }

    fn link(&mut self, connection: &Connection, shows: bool) -> Result<(), String> {
        let link = &connection.link_id;
        if link.trim().is_empty() || link.len() > LINK_BYTES_MAX {
            return Err(format!("link_id has 1 to {LINK_BYTES_MAX} bytes"));
        }
        if self.links.len() >= LINKS_MAX && !self.links.contains_key(link) {
            return Err(format!("a node here dials {LINKS_MAX} links at most"));
        }
        let dial = dial(link, &connection.config_data, shows)?;
        self.links.insert(link.clone(), dial);
        Ok(())
    }

    fn route(&mut self, route: &Route) -> Result<(), &'static str> {
        let key = key(route)?;
        if self.routes.len() >= NAMES_MAX && !self.routes.contains_key(&key) {
            return Err("a node here takes no more routes");
        }
        self.routes.insert(key, route.name.clone().unwrap_or_default());
        Ok(())
    }

    /// All links that are to be dialled.
    pub(super) fn links(&self) -> Vec<Dial> {
        self.links.values().cloned().collect()
    }

    /// All names that are to lead over links.
    pub(super) fn routes(&self) -> Vec<Leads> {
        self.routes.iter().map(|((_, link), name)| Leads { name: name.clone(), link: link.clone() }).collect()
    }
}

/// What is said of a route that was not there.
const UNKNOWN: &str = "subscription not found";

fn key(route: &Route) -> Result<Key, &'static str> {
    let long = |link: &&str| link.len() > LINK_BYTES_MAX;
    if route.link_id.as_deref().filter(long).is_some() {
        return Err("connection not found");
    }
    let name = route.name.as_ref().and_then(names::pattern).ok_or("the name has no hashes")?;
    let link = route.link_id.as_deref().filter(|link| !link.trim().is_empty()).ok_or("connection not found")?;
    Ok((name, link.to_owned()))
}

/// How a link is dialled, of what is said as JSON: by a controller's whole command, or by a client's whole
/// configuration.
fn dial(link: &str, config: &str, shows: bool) -> Result<Dial, String> {
    let config: Value = serde_json::from_str(config).map_err(|error| format!("Failed to parse config: {error}"))?;
    let endpoint = config["endpoint"].as_str().ok_or("Failed to parse config: it has no endpoint")?;
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("", endpoint));
    if !matches!(scheme, "" | "http" | "https") {
        return Err(format!("a link to '{endpoint}' cannot be dialled: gRPC is spoken between nodes"));
    }
    let bare = rest.trim_end_matches('/');
    if bare.is_empty() || bare.contains(['/', ' ', '@']) {
        return Err(format!("'{endpoint}' is no endpoint"));
    }
    let tls = scheme == "https" || config["tls_required"].as_bool().unwrap_or(false);
    let has_port = bare.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = if has_port { bare.to_owned() } else { format!("{bare}:{}", if tls { 443 } else { 80 }) };
    let method = &config["auth_method"];
    let asked = method.as_str().is_some_and(|method| matches!(method, "basic" | "jwt" | "oidc"));
    match method {
        _ if asked && !shows => return Err(format!("no local credentials configured for {endpoint}")),
        // Whoever is on the line would have them.
        _ if asked && !tls => return Err(format!("credentials are not shown without TLS, to {endpoint}")),
        Value::Object(method) if method.contains_key("spire") => return Err(NO_SPIRE.to_owned()),
        Value::String(method) if method == "spire" => return Err(NO_SPIRE.to_owned()),
        _ => {}
    }
    Ok(Dial { link: link.to_owned(), address, tls, shows: asked })
}

const NO_SPIRE: &str = "SPIRE is not spoken here";

/// What is told of a link.
pub(super) fn link_ack(link_id: String, outcome: Result<(), String>) -> ConnectionAck {
    ConnectionAck { link_id, success: outcome.is_ok(), error: outcome.err().unwrap_or_default() }
}

/// What is told of a route.
pub(super) fn route_ack(route: Route, outcome: Result<(), String>) -> RouteAck {
    RouteAck { route: Some(route), success: outcome.is_ok(), error: outcome.err().unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Encoded, Id};

    fn connection(link: &str, config: &str) -> Connection {
        Connection { link_id: link.into(), config_data: config.into() }
    }

    fn route(third: u64, link: &str) -> Route {
        let id = Some(Id { high: u64::MAX, low: u64::MAX });
        let name = Name { encoded: Some(Encoded { first: 1, second: 2, third, id }), texts: None };
        Route { name: Some(name), link_id: Some(link.into()), direction: None }
    }

    fn links(desired: &Desired) -> Vec<String> {
        desired.links().into_iter().map(|dial| format!("{} {} {}", dial.link, dial.address, dial.tls)).collect()
    }

    #[test]
    fn a_link_is_dialled_as_it_is_told() {
        let check = |config: &str, shows: bool, expected: Result<(&str, bool), &str>| {
            let found = dial("l", config, shows);
            let found = found.as_ref().map(|dial| (dial.address.as_str(), dial.tls)).map_err(String::as_str);
            assert_eq!(found, expected, "{config}");
        };
        let none = r#"{"endpoint":"http://10.0.0.1:46357","tls_required":false,"auth_method":"none","timeout":null}"#;
        check(none, false, Ok(("10.0.0.1:46357", false)));
        check(r#"{"endpoint":"https://b.example","auth_method":"none"}"#, false, Ok(("b.example:443", true)));
        check(r#"{"endpoint":"b.example:1","tls_required":true,"auth_method":"jwt"}"#, true, Ok(("b.example:1", true)));
        check(r#"{"endpoint":"http://[::1]:7/"}"#, false, Ok(("[::1]:7", false)));
        let basic = r#"{"endpoint":"http://b:1","auth_method":"basic"}"#;
        check(basic, false, Err("no local credentials configured for http://b:1"));
        check(basic, true, Err("credentials are not shown without TLS, to http://b:1"));
        let shows = |auth: &str| {
            dial("l", &format!(r#"{{"endpoint":"https://b:1","auth_method":"{auth}"}}"#), true).unwrap().shows
        };
        assert!(shows("basic") && shows("jwt") && !shows("none"), "only where it is asked for");
        check(r#"{"endpoint":"http://b:1","auth_method":{"spire":{"trust_domain":"b"}}}"#, true, Err(NO_SPIRE));
        check(r#"{"tls_required":true}"#, true, Err("Failed to parse config: it has no endpoint"));
        for bad in [r#"{"endpoint":"ws://b:1"}"#, r#"{"endpoint":"http://u@b:1"}"#, r#"{"endpoint":""}"#, "", "[]"] {
            assert!(dial("l", bad, true).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_whole_command_leaves_nothing_of_the_one_before_and_a_part_changes_what_it_names() {
        let mut desired = Desired::default();
        let to = |port: u16| format!(r#"{{"endpoint":"http://b:{port}"}}"#);
        let whole = |links: Vec<Connection>, routes: Vec<Route>| Command {
            connections_to_create: links,
            routes_to_set: routes,
            reconcile: true,
            ..Command::default()
        };
        let taken =
            desired.take(whole(vec![connection("one", &to(1)), connection("bad", "")], vec![route(3, "one")]), true);
        assert!(taken.links[0].1.is_none() && matches!(taken.links[1].1, Some(Err(_))));
        assert_eq!((links(&desired), desired.routes().len()), (vec![String::from("one b:1 false")], 1));
        let part = Command {
            connections_to_create: vec![connection("two", &to(2))],
            connections_to_delete: vec![String::from("one"), String::from("none")],
            routes_to_set: vec![route(4, "two"), Route::default()],
            routes_to_delete: vec![route(3, "one"), route(9, "one")],
            ..Command::default()
        };
        let taken = desired.take(part, true);
        let told: Vec<_> = taken.links.iter().map(|(_, outcome)| outcome.as_ref().map(Result::is_ok)).collect();
        assert_eq!(told, [Some(true), Some(false), None]);
        let told: Vec<_> = taken.routes.iter().map(|(_, outcome)| outcome.as_ref().map(Result::is_ok)).collect();
        assert_eq!(told, [Some(true), Some(false), None, Some(false)]);
        assert_eq!((links(&desired), desired.routes()[0].link.as_str()), (vec![String::from("two b:2 false")], "two"));
        desired.take(whole(Vec::new(), Vec::new()), true);
        assert!(desired.links().is_empty() && desired.routes().is_empty());
    }

    #[test]
    fn what_is_wanted_is_bounded() {
        let mut desired = Desired::default();
        let many = (0..=LINKS_MAX).map(|each| connection(&each.to_string(), r#"{"endpoint":"b:1"}"#)).collect();
        let taken = desired.take(Command { connections_to_create: many, ..Command::default() }, true);
        assert!(taken.links[LINKS_MAX].1.is_some() && desired.links().len() == LINKS_MAX);
    }
}
