//! SLIM's control protocols, joined to this node's controller: original nodes register with it, and the original's
//! command line asks it and changes its segments.
//!
//! A segment is a resource, and a resource has a link at least: the name of one that was made without is kept in the data
//! directory of this node until it is given its first.
//!
//! The secret of a domain that is declared here is kept in a file of the data directory, which the resource names.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use door::Port;
use door_http::problem::Problem;
use door_http::{Named, Resources as _};
use door_slimctl::{Answer, Board, Channel, Counts, Fault, Options, SlimControl, View};
use mesh::control::Event;
use mesh::names::{Name, NodeId};
use mesh::segment::{Edit, EditError, edit};
use mesh::topology::{Adjacent, Mode, SegmentText};
use plan::Declared;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, mpsc};
use tokio::task::spawn_blocking;

use crate::config::Config;
use crate::error::StartError;
use crate::mesh::declared::added;
use crate::mesh::{Governor, stored};
use crate::node::listen;
use crate::resources::Resources;
use crate::scrape::{Encoded, counter, gauge};
use crate::tls::Certificate;

/// Plans and routes that may wait for one node before its channel ends.
const ACTS_MAX: usize = 64;
/// Segments without links that are remembered.
const EMPTY_MAX: usize = 1_000;

/// The sockets, before anything is served.
pub(crate) struct SlimControlParts {
    south: Option<(TcpListener, SocketAddr)>,
    north: Option<(TcpListener, SocketAddr)>,
    options: Options,
}

/// Binds the addresses, unless they are off.
///
/// # Errors
/// [`StartError`], also where this node is no controller.
pub(crate) fn bind(config: &Config, certificate: Option<&Arc<Certificate>>) -> Result<SlimControlParts, StartError> {
    let (south, north) = (listen("slim-south", config.slim.south)?, listen("slim-north", config.slim.north)?);
    if (south.is_some() || north.is_some()) && !config.mesh.controller {
        let what = "needs a controller: start this node with --controller";
        return Err(StartError::invalid("slim.south, slim.north", what));
    }
    let tls = match certificate {
        None => None,
        Some(certificate) => {
            let config = certificate.server_config(None, &[])?;
            let present: door_slimctl::Tls = Arc::new(move || Arc::clone(&config));
            Some(present)
        }
    };
    Ok(SlimControlParts { south, north, options: Options { tls, ..Options::default() } })
}

/// What the board stands on.
pub(crate) struct BoardParts {
    pub(crate) id: NodeId,
    pub(crate) governor: Arc<Governor>,
    pub(crate) resources: Arc<Resources>,
    pub(crate) port: Port,
    pub(crate) data: PathBuf,
}

/// The open door, and where the south and the north of it are.
type Opened = (Option<Arc<SlimControl>>, [Option<SocketAddr>; 2]);

/// Serves from now on; where: nodes, operators.
///
/// # Errors
/// [`StartError`].
pub(crate) fn open(runtime: &Runtime, parts: SlimControlParts, board: BoardParts) -> Result<Opened, StartError> {
    let SlimControlParts { south, north, options } = parts;
    if south.is_none() && north.is_none() {
        return Ok((None, [None, None]));
    }
    let _entered = runtime.enter();
    let bare = stored::bare_segments(&board.data);
    let bare = bare.map_err(|error| StartError::System { doing: "read which segments have no link", error })?;
    let board = Arc::new(ControlBoard { parts: board, editing: Mutex::new(bare) });
    let bare = |socket: Option<(TcpListener, SocketAddr)>| socket.map(|(listener, _)| listener);
    let opened = SlimControl::open(bare(south), bare(north), board, options);
    let (door, addresses) = opened.map_err(|error| StartError::System { doing: "open SLIM's control", error })?;
    Ok((Some(Arc::new(door)), addresses))
}

/// The controller of this node.
struct ControlBoard {
    parts: BoardParts,
    /// One change at a time. The names of segments that have no link yet; never more than [`EMPTY_MAX`].
    editing: Mutex<BTreeSet<String>>,
}

impl ControlBoard {
    fn declared(&self) -> Arc<Declared> {
        Arc::clone(&self.parts.resources.watch().borrow())
    }

    async fn apply(&self, who: &str, resources: &[Value]) -> Result<(), Fault> {
        let body = Bytes::from(json!(resources).to_string());
        self.parts.resources.apply(who, body, false).await.map(drop).map_err(fault)
    }

    /// Whether resources can be declared as things are.
    async fn rehearse(&self, who: &str, resources: &[Value]) -> Result<(), Fault> {
        let body = Bytes::from(json!(resources).to_string());
        self.parts.resources.apply(who, body, true).await.map(drop).map_err(fault)
    }

    async fn delete(&self, who: &str, kind: &str, name: &str) -> Result<(), Fault> {
        let named = Named { kind: kind.to_owned(), name: name.to_owned(), api_version: None };
        self.parts.resources.delete(who, named, false).await.map(drop).map_err(fault)
    }

    async fn change(&self, who: &str, change: Edit) -> Result<Vec<String>, Fault> {
        let mut empty = self.editing.lock().await;
        let declared = self.declared();
        let says = declared.topologies().values().any(plan::TopologySpec::says_links);
        let mode = if says { Mode::Declared } else { Mode::Edited };
        let before = added(&declared);
        let bare = empty.iter().map(|name| SegmentText { name: name.clone(), links: Vec::new() });
        let mut after: Vec<SegmentText> = before.iter().cloned().chain(bare).collect();
        let ends = match &change {
            Edit::AddLink { domain, neighbor, .. } => vec![domain.clone(), neighbor.clone()],
            Edit::AddSegment(new) if after.iter().any(|segment| segment.name == new.name) => {
                return Err(Fault::Exists(format!("there is a segment '{}'", new.name)));
            }
            _ => Vec::new(),
        };
        edit(mode, &mut after, change).map_err(refused)?;
        let changed = |segment: &&SegmentText| !segment.links.is_empty() && !before.contains(segment);
        let resources: Vec<Value> = after.iter().filter(changed).map(resource).collect();
        if !resources.is_empty() {
            self.apply(who, &resources).await?;
        }
        let kept = |name: &str| after.iter().any(|segment| segment.name == name && !segment.links.is_empty());
        for segment in before.iter().filter(|segment| !kept(&segment.name)) {
            self.delete(who, "Segment", &segment.name).await?;
        }
        let bare = after.into_iter().filter(|segment| segment.links.is_empty());
        let bare: BTreeSet<String> = bare.map(|segment| segment.name).collect();
        if bare.len() > EMPTY_MAX {
            return Err(Fault::Precondition(format!(
                "there are {EMPTY_MAX} segments without links: give them some first"
            )));
        }
        if bare != *empty {
            let (data, kept) = (self.parts.data.clone(), bare.clone());
            let kept = spawn_blocking(move || stored::keep_bare_segments(&data, &kept)).await;
            kept.map_err(|_| stops())?.map_err(|error| Fault::Unavailable(error.to_string()))?;
            *empty = bare;
        }
        drop(empty);
        Ok(self.missing(ends).await)
    }

    /// What is to be known of domains that have no node.
    async fn missing(&self, mut domains: Vec<String>) -> Vec<String> {
        let Some(view) = self.parts.governor.view().await else { return Vec::new() };
        domains.retain(|name| name != "*" && !view.status.nodes.iter().any(|node| node.id.domain.as_str() == name));
        domains.into_iter().map(|name| format!("the domain '{name}' has no node yet")).collect()
    }
}

/// A segment, as a resource.
fn resource(segment: &SegmentText) -> Value {
    let row = |row: &Adjacent| json!({"domain": row.domain, "neighbors": row.neighbors, "weight": row.weight});
    let links: Vec<Value> = segment.links.iter().map(row).collect();
    json!({
        "apiVersion": plan::API_VERSION, "kind": "Segment", "metadata": {"name": segment.name}, "spec": {"links": links},
    })
}

fn refused(error: EditError) -> Fault {
    let text = error.to_string();
    match error {
        EditError::Declared | EditError::Default => Fault::Precondition(text),
        EditError::NoSegment(_) | EditError::NoLink { .. } => Fault::NotFound(text),
        EditError::Exists(_) => Fault::Exists(text),
        EditError::Topology(_) => Fault::Invalid(text),
    }
}

/// A problem of a resource; its first fault says more than the whole.
fn fault(problem: Problem) -> Fault {
    let told: Value = serde_json::from_slice(&problem.to_json(None)).unwrap_or_default();
    let reasons = ["faults", "errors"].iter().find_map(|list| told[list][0]["reason"].as_str());
    let text = reasons.map_or_else(|| problem.detail().to_owned(), str::to_owned);
    match problem.status().as_u16() {
        403 => Fault::Denied(text),
        404 => Fault::NotFound(text),
        409 | 412 | 422 => Fault::Precondition(text),
        400..500 => Fault::Invalid(text),
        _ => Fault::Unavailable(text),
    }
}

/// The token of an `authorization` header: of a bearer, or the password of a user.
fn token(presented: &str) -> Option<String> {
    let (scheme, rest) = presented.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    let told = scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(rest.trim()).ok()).flatten()?;
    String::from_utf8(told).ok()?.split_once(':').map(|(_, password)| password.to_owned())
}

fn stops() -> Fault {
    Fault::Unavailable(String::from("this node stops"))
}

impl Board for ControlBoard {
    fn own(&self) -> NodeId {
        self.parts.id.clone()
    }

    fn secret(&self, domain: &Name) -> Option<Vec<u8>> {
        self.parts.governor.secret(domain).map(|secret| secret.to_vec())
    }

    fn open(&self) -> Answer<'_, Option<Channel>> {
        Box::pin(async {
            let (sender, acts) = mpsc::channel(ACTS_MAX);
            Some(Channel { session: self.parts.governor.foreign(sender).await, acts })
        })
    }

    fn event(&self, event: Event) -> Answer<'_, ()> {
        Box::pin(self.parts.governor.happened(event))
    }

    fn view(&self) -> Answer<'_, Result<View, Fault>> {
        Box::pin(async {
            let view = self.parts.governor.view().await.ok_or_else(stops)?;
            Ok(View { status: view.status, segments: view.segments.all().to_vec() })
        })
    }

    fn admit(&self, presented: Option<&str>, change: bool) -> Result<Arc<str>, Fault> {
        let token = presented.and_then(token);
        let who = self.parts.port.authenticate(token.as_deref());
        let who = who.map_err(|error| Fault::Denied(error.to_string()))?;
        if who.is_admin() || (!change && who.reads_everything()) {
            return Ok(Arc::clone(who.name()));
        }
        let needs = if change { "administer" } else { "administer, or read everything" };
        Err(Fault::Denied(format!("the token '{}' may not {needs}", who.name())))
    }

    fn edit(&self, who: Arc<str>, change: Edit) -> Answer<'_, Result<Vec<String>, Fault>> {
        Box::pin(async move { self.change(&who, change).await })
    }

    fn add_domain(&self, who: Arc<str>, name: Name, secret: String) -> Answer<'_, Result<(), Fault>> {
        Box::pin(async move {
            let least = crate::mesh::SECRET_BYTES_MIN;
            if secret.len() < least || secret.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return Err(Fault::Invalid(format!("the secret must have {least} characters at least, and no space")));
            }
            let _one_at_a_time = self.editing.lock().await;
            if self.declared().domains().contains_key(name.as_str()) {
                return Err(Fault::Exists(format!("the domain '{name}' is declared; remove it first")));
            }
            let (data, domain) = (self.parts.data.clone(), name.clone());
            let file = stored::domain_file(&data, &domain).map_err(|error| Fault::Unavailable(error.to_string()))?;
            let resource = [json!({
                "apiVersion": plan::API_VERSION, "kind": "Domain", "metadata": {"name": name.as_str()},
                "spec": {"secretFile": file.to_string_lossy()},
            })];
            // A secret is kept only for a domain that can be declared.
            self.rehearse(&who, &resource).await?;
            let kept = spawn_blocking(move || stored::keep_domain(&data, &domain, &secret)).await;
            kept.map_err(|_| stops())?.map_err(|error| Fault::Unavailable(error.to_string()))?;
            self.apply(&who, &resource).await
        })
    }

    fn remove_domain(&self, who: Arc<str>, name: Name) -> Answer<'_, Result<(), Fault>> {
        Box::pin(async move {
            self.delete(&who, "Domain", name.as_str()).await?;
            let data = self.parts.data.clone();
            let gone = spawn_blocking(move || stored::forget_domain(&data, &name)).await;
            gone.map_err(|_| stops())?.map_err(|error| Fault::Unavailable(error.to_string()))
        })
    }
}

/// What was counted of control channels, as a scrape shows it.
#[derive(Debug)]
pub(crate) struct SlimControlCounts {
    counts: Counts,
    /// The names of what follows, and what they say.
    names: [(&'static str, &'static str); 5],
}

impl SlimControlCounts {
    /// Of nodes that this one leads.
    pub(crate) fn of_nodes(counts: Counts) -> Self {
        let names = [
            ("tidings_slim_control_nodes", "Original nodes that are registered here now"),
            ("tidings_slim_control_registrations", "Original nodes that were taken"),
            ("tidings_slim_control_rejected", "Original nodes that were turned away"),
            ("tidings_slim_control_commands", "Commands that original nodes were told"),
            ("tidings_slim_control_failed", "Links that original nodes said could not be had"),
        ];
        SlimControlCounts { counts, names }
    }

    /// Of this node under its controller.
    pub(crate) fn of_this(counts: Counts) -> Self {
        let names = [
            ("tidings_slim_led", "Whether an original controller leads this node now"),
            ("tidings_slim_led_registrations", "How often a controller took this node"),
            ("tidings_slim_led_rejected", "How often a controller turned this node away"),
            ("tidings_slim_led_commands", "Commands that this node was told"),
            ("tidings_slim_led_failed", "Links and routes of them that could not be had"),
        ];
        SlimControlCounts { counts, names }
    }
}

impl Collector for SlimControlCounts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Encoded {
        let Counts { nodes, registered, rejected, commands, failed } = self.counts;
        let [(now, says), rest @ ..] = self.names;
        gauge(&mut encoder, now, says, nodes)?;
        for ((name, says), count) in rest.into_iter().zip([registered, rejected, commands, failed]) {
            counter(&mut encoder, name, says, count)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_bearers_or_a_users_password() {
        let check = |presented: &str, expected: Option<&str>| {
            assert_eq!(token(presented).as_deref(), expected, "{presented}");
        };
        check("Bearer abc", Some("abc"));
        check("basic dXNlcjpwYXNz", Some("pass"));
        check("Basic !!", None);
        check("Digest x", None);
        check("abc", None);
    }

    #[test]
    fn a_segment_is_a_resource_that_can_be_read_again() {
        let links = vec![Adjacent { domain: "hub".into(), neighbors: vec!["a".into(), "b".into()], weight: 3 }];
        let segment = SegmentText { name: "s".into(), links };
        let documents = plan::documents(resource(&segment)).unwrap();
        assert_eq!(added(&plan::check(documents).unwrap()), [segment]);
    }
}
