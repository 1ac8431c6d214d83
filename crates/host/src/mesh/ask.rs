//! What is asked of the mesh, answered: for the whole of it where this node leads, else of what this node knows.
//!
//! Nothing here changes anything, and nothing here is kept: each answer is made of the machines as they stand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use door::{NotAllowed, Verb};
use door_http::problem::Problem;
use door_http::{Mesh as Shown, MeshAnswer, MeshQuestion, RoutesWanted, mesh_away, no_such_in_mesh};
use event::{Subject, TraceId};
use futures_util::future::join_all;
use mesh::acl::AclRule;
use mesh::control::{LinkState, LinkView as GovernedLink};
use mesh::names::{Name, NodeId};
use mesh::node::Node;
use mesh::plan::{LinkKind, Plan, SegmentPlan};
use mesh::proof::{Access, Reach, Why, closed, explain, prove};
use mesh::segment::Segments;
use mesh::wire::{Source, Wish};
use plan::{Declared, Document, Identity};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::body::Body;
use super::controller::{Governor, Shows, View};
use super::declared::Bounds;
use super::lead::Leading;
use super::member::Member;
use super::meters::MeshCounts;
use super::said::Asked;
use super::way::{self, Path, Would};
use crate::resources::{read_body, refused};

/// Routes that an answer shows, at most.
const ROUTES_MAX: usize = 10_000;

/// Pairs of domains, or rules and domains, of each kind of change that are told; of more, how many there are.
const CHANGES_MAX: usize = 1_000;

/// Routes of one source that an answer shows where nothing else is said.
const WISHES_OF_SOURCE: usize = 100;

/// Nodes that one question asks, at most: of more, those that were not asked are named.
const NODES_ASKED: usize = 256;

/// Nodes that are asked at a time.
const NODES_AT_ONCE: usize = 32;

/// Bytes of patterns that a node tells in one answer: a word between nodes holds them.
const ROUTES_BYTES_MAX: usize = 1 << 20;

/// How long is waited for what became of a message that was sent to see its path. Links that are slow take less.
const PROBE: Duration = Duration::from_secs(2);

/// Answers for this node.
pub(crate) struct Asker {
    body: Arc<Body>,
    member: Arc<Member>,
    governor: Option<Arc<Governor>>,
    declared: watch::Receiver<Arc<Declared>>,
}

impl Asker {
    /// Answers of these.
    pub(crate) fn new(
        body: Arc<Body>,
        member: Arc<Member>,
        governor: Option<Arc<Governor>>,
        declared: watch::Receiver<Arc<Declared>>,
    ) -> Self {
        Asker { body, member, governor, declared }
    }

    /// What this node's links have counted.
    pub(crate) fn counts(&self) -> MeshCounts {
        MeshCounts(Arc::clone(&self.body))
    }

    /// How the controller stands, where this node leads.
    async fn view(&self) -> Option<View> {
        self.view_of(Shows::Little).await
    }

    async fn view_of(&self, shows: Shows) -> Option<View> {
        let governor = self.governor.as_ref()?;
        match governor.leading() {
            Leading::Me { .. } => governor.view_of(shows).await,
            Leading::Other { .. } | Leading::Nobody => None,
        }
    }

    fn plan(&self) -> Plan {
        self.body.ask(|node| node.plan().clone())
    }

    /// An answer of one node alone.
    fn of_node(&self, mut answer: Value) -> Value {
        if let Some(answer) = answer.as_object_mut() {
            answer.insert("scope".to_owned(), "node".into());
            answer.insert("node".to_owned(), self.body.id.to_string().into());
        }
        answer
    }

    async fn nodes(&self) -> Value {
        if let Some(view) = self.view().await {
            return json!({ "scope": "mesh", "nodes": nodes(&view, &self.body.id) });
        }
        let (led, plan) = (self.member.led(), self.plan());
        let state = match (&led.by, led.rejected) {
            (Some(_), _) => "connected",
            (None, true) => "refused",
            (None, false) => "away",
        };
        let own = json!({
            "id": self.body.id.to_string(), "state": state, "plan": plan.generation.to_string(),
            "controller": led.by, "why": led.why,
        });
        self.of_node(json!({ "nodes": [own] }))
    }

    async fn links(&self) -> Value {
        if let Some(view) = self.view().await {
            let links: Vec<Value> = view.status.links.iter().map(governed_link).collect();
            let unheld = view.status.unheld.iter().map(|(one, two)| {
                json!({"id": format!("{one} - {two}"), "kind": "remote", "state": "failed",
                    "why": "no node of either domain can be dialled by the other: start one with --mesh-external"})
            });
            return json!({ "scope": "mesh", "links": links.into_iter().chain(unheld).collect::<Vec<_>>() });
        }
        self.of_node(json!({ "links": own_links(&self.body) }))
    }

    async fn domains(&self) -> Value {
        match self.view().await {
            Some(view) => json!({ "scope": "mesh", "domains": domains(&view) }),
            None => {
                let plan = self.plan();
                let all: BTreeSet<&Name> = plan.segments.iter().flat_map(|segment| &segment.domains).collect();
                let row = |name: &Name| {
                    let within = plan.segments.iter().filter(|segment| segment.domains.contains(name));
                    json!({"name": name.as_str(), "segments": within.map(|segment| segment.name.as_str()).collect::<Vec<_>>()})
                };
                let rows: Vec<Value> = all.into_iter().map(row).collect();
                self.of_node(json!({ "domains": rows }))
            }
        }
    }

    async fn segments(&self) -> Value {
        let declared = Arc::clone(&self.declared.borrow());
        let origin = |name: &str| match declared.segments().contains_key(name) {
            true => format!("Segment/{name}"),
            false => String::new(),
        };
        let row = |segment: &Arc<SegmentPlan>| {
            let link = |(one, two, weight): &(Name, Name, u32)| match weight {
                1 => format!("{one}-{two}"),
                weight => format!("{one}-{two}:{weight}"),
            };
            json!({
                "name": segment.name.as_str(), "origin": origin(segment.name.as_str()),
                "domains": segment.domains.iter().map(Name::as_str).collect::<Vec<_>>(),
                "links": segment.edges.iter().map(link).collect::<Vec<_>>(),
            })
        };
        match self.view().await {
            Some(view) => {
                let rows: Vec<Value> = view.segments.all().iter().map(row).collect();
                let warnings: Vec<String> = view.status.warnings.iter().map(ToString::to_string).collect();
                json!({ "scope": "mesh", "segments": rows, "warnings": warnings })
            }
            None => {
                let rows: Vec<Value> = self.plan().segments.iter().map(row).collect();
                self.of_node(json!({ "segments": rows }))
            }
        }
    }

    async fn graph(&self, only: Option<String>) -> Result<Value, Problem> {
        let view = self.view_of(Shows::Live).await;
        let own = self.plan();
        let (all, live) = match &view {
            Some(view) => (view.segments.clone(), view.live.clone()),
            None => (Segments::shared(own.segments.clone()), Segments::shared(own.segments.clone())),
        };
        if let Some(name) = only.as_ref().filter(|name| all.get(name).is_none()) {
            return Err(no_such_in_mesh("segment", name));
        }
        let mut nodes: BTreeMap<Name, Vec<String>> = BTreeMap::new();
        match &view {
            Some(view) => {
                for node in &view.status.nodes {
                    nodes.entry(node.id.domain.clone()).or_default().push(node.id.node.to_string());
                }
                nodes.extend(
                    view.status
                        .domains
                        .iter()
                        .filter(|each| each.nodes == 0)
                        .map(|each| (each.name.clone(), Vec::new())),
                );
            }
            None => {
                nodes.insert(self.body.id.domain.clone(), vec![self.body.id.node.to_string()]);
                let others = own.segments.iter().flat_map(|segment| &segment.domains).cloned();
                for domain in others {
                    nodes.entry(domain).or_default();
                }
            }
        }
        let shown = all.all().iter().filter(|segment| only.as_deref().is_none_or(|name| segment.name.as_str() == name));
        let segments: Vec<Value> = shown.map(|segment| drawn(segment, live.get(segment.name.as_str()))).collect();
        let domains: Vec<Value> =
            nodes.iter().map(|(name, nodes)| json!({"name": name.as_str(), "nodes": nodes})).collect();
        let answer = json!({ "scope": "mesh", "domains": domains, "segments": segments });
        Ok(if view.is_some() { answer } else { self.of_node(answer) })
    }

    async fn routes(&self, RoutesWanted { subject, at, limit }: RoutesWanted) -> Result<Value, Problem> {
        let most = limit.unwrap_or(WISHES_OF_SOURCE).min(ROUTES_MAX);
        let view = self.view().await;
        if let Some(subject) = subject {
            let would = self.would(&subject, &self.node(at)?, view.as_ref()).await?;
            let rows: Vec<Value> = would.paths.iter().map(|path| route_of(subject.as_str(), path)).collect();
            return Ok(self.scoped(json!({ "routes": rows }), view.as_ref()));
        }
        let (rows, unheard) = match (&at, &view) {
            (None, Some(view)) => self.all_routes(view, most).await,
            _ => {
                let told = self.of(&self.node(at)?, view.as_ref(), Asked::Sources { most, own: false }).await?;
                (routes_told(told).map_err(mesh_away)?, Vec::new())
            }
        };
        Ok(self.scoped(json!({ "routes": rows, "unheard": unheard }), view.as_ref()))
    }

    /// What clients of each node want, and the routes that are declared; and the nodes that did not tell.
    async fn all_routes(&self, view: &View, most: usize) -> (Vec<Route>, Vec<String>) {
        let ask = async |node: &NodeId| {
            let told = self.of(node, Some(view), Asked::Sources { most, own: true }).await.map_err(|_| ());
            told.and_then(|told| routes_told(told).map_err(|_| ())).map_err(|()| node.to_string())
        };
        let (there, away): (Vec<_>, Vec<_>) = view.status.nodes.iter().partition(|node| node.connected);
        let (asked, rest) = there.split_at(there.len().min(NODES_ASKED));
        let mut unheard: Vec<String> = away.iter().chain(rest).map(|node| node.id.to_string()).collect();
        let mut rows = Vec::new();
        // A few at a time, so that what they tell is never all in memory beside what is kept of it.
        for some in asked.chunks(NODES_AT_ONCE) {
            for told in join_all(some.iter().map(|node| ask(&node.id))).await {
                match told {
                    Ok(told) => rows.extend(told.into_iter().take(ROUTES_MAX.saturating_sub(rows.len()).min(most + 1))),
                    Err(node) => unheard.push(node),
                }
            }
        }
        rows.extend(view.status.routes.iter().take(ROUTES_MAX).map(|route| Route {
            pattern: route.name.to_string(),
            by: route.to.to_string(),
            segment: Some(route.segment.to_string()),
            via: Some(route.next.to_string()),
            from: Some(route.from.to_string()),
            state: Some(route.state.word().to_owned()),
            ..Route::default()
        }));
        (rows, unheard)
    }

    /// The node that is meant.
    fn node(&self, from: Option<String>) -> Result<NodeId, Problem> {
        match from {
            Some(text) if text.contains('/') => NodeId::parse(&text).map_err(|_| no_such_in_mesh("node", &text)),
            Some(text) => {
                let node = Name::parse(&text).map_err(|_| no_such_in_mesh("node", &text))?;
                Ok(NodeId::new(self.body.id.domain.clone(), node))
            }
            None => Ok(self.body.id.clone()),
        }
    }

    /// What a node answers to a question, which may be this one.
    async fn of(&self, node: &NodeId, view: Option<&View>, what: Asked) -> Result<Value, Problem> {
        let away = |why: String| mesh_away(format!("{node}: {why}"));
        if *node == self.body.id {
            return told(&self.body, &what).await.map_err(away);
        }
        let (Some(governor), Some(view)) = (&self.governor, view) else {
            let detail = format!("this node does not lead the mesh: ask the one that does, or {node} itself");
            return Err(mesh_away(detail));
        };
        if !view.status.nodes.iter().any(|known| known.id == *node) {
            return Err(no_such_in_mesh("node", &node.to_string()));
        }
        governor.ask(node.clone(), what).await.map_err(away)
    }

    /// Where a message of the subject would go.
    async fn would(&self, subject: &Subject, from: &NodeId, view: Option<&View>) -> Result<Would, Problem> {
        if *from == self.body.id {
            return Ok(way::would(&self.body, subject.as_str()).complete(from, view));
        }
        let told = self.of(from, view, Asked::Trace { subject: subject.to_string() }).await?;
        let would: Would = serde_json::from_value(told)
            .map_err(|_| mesh_away(format!("{from}: it answers what cannot be read: it may be of another version")))?;
        Ok(would.complete(from, view))
    }

    fn scoped(&self, answer: Value, view: Option<&View>) -> Value {
        match (answer, view) {
            (Value::Object(mut answer), Some(_)) => {
                answer.insert("scope".to_owned(), "mesh".into());
                answer.into()
            }
            (answer, _) => self.of_node(answer),
        }
    }

    async fn trace(&self, subject: Subject, from: Option<String>) -> Result<Value, Problem> {
        let (from, view) = (self.node(from)?, self.view().await);
        let would = self.would(&subject, &from, view.as_ref()).await?;
        Ok(self.scoped(json!(would), view.as_ref()))
    }

    /// What is noted of a trace: by the nodes that this one leads, or by this one.
    fn took(&self, id: TraceId, view: Option<&View>) -> Option<Value> {
        let shelf = match (&self.governor, view) {
            (Some(governor), Some(_)) => &governor.traces,
            _ => &self.body.traces.shelf,
        };
        shelf.told(id)
    }

    async fn traced(&self, id: TraceId) -> Result<Value, Problem> {
        let view = self.view().await;
        let took = self.took(id, view.as_ref()).ok_or_else(|| no_such_in_mesh("trace", &id.to_string()))?;
        Ok(self.scoped(took, view.as_ref()))
    }

    /// Has a node publish an empty message, and waits until it is known where that went.
    async fn probe(&self, subject: Subject, from: Option<String>) -> Result<Value, Problem> {
        let (from, view) = (self.node(from)?, self.view().await);
        let would = self.would(&subject, &from, view.as_ref()).await?;
        if would.closed {
            let who = format!("domain:{}", from.domain).into();
            return Err(NotAllowed { who, verb: Verb::Publish, what: subject.to_string() }.into());
        }
        let chance = || mesh_away("the system gives no random bytes".to_owned());
        let parent = way::parent().ok_or_else(chance)?;
        let what = Asked::Probe { subject: subject.to_string(), parent: parent.to_string() };
        self.of(&from, view.as_ref(), what).await?;
        let whole = match (&self.governor, &view) {
            (Some(governor), Some(_)) => governor.traces.whole(parent.trace, PROBE).await,
            // What other nodes noted is not known here.
            _ => false,
        };
        let took = self.took(parent.trace, view.as_ref());
        let answer = json!({"would": would, "took": took, "complete": whole, "trace": parent.trace.to_string()});
        Ok(self.scoped(answer, view.as_ref()))
    }

    async fn explain(&self, from: String, to: String) -> Result<Value, Problem> {
        let name = |text: String| Name::parse(&text).map_err(|_| no_such_in_mesh("domain", &text));
        let (from, to) = (name(from)?, name(to)?);
        let mut view = self.view_of(Shows::Reach).await;
        let plan = self.plan();
        let reach = view.as_mut().and_then(|view| view.reach.take());
        let (reach, segments, rules) = match (&view, reach) {
            (Some(view), Some(reach)) => {
                (reach, view.segments.clone(), super::declared::rules(&self.declared.borrow()))
            }
            _ => {
                let segments = Segments::shared(plan.segments.clone());
                let mut domains: BTreeSet<Name> = segments.domains().cloned().collect();
                domains.insert(self.body.id.domain.clone());
                (Reach::of(&segments, &domains), segments, plan.acl.to_vec())
            }
        };
        let why = explain(&reach, &from, &to);
        if let Why::Unknown(domain) = &why {
            return Err(no_such_in_mesh("domain", domain.as_str()));
        }
        let paths = match &why {
            Why::Reaches(paths) => paths.iter().map(|path| weighed(path, &segments)).collect(),
            _ => Vec::new(),
        };
        let reaches = matches!(why, Why::Reaches(_) | Why::Same);
        let reason: Vec<String> = if paths.is_empty() { vec![why.to_string()] } else { Vec::new() };
        let answer = json!({
            "scope": "mesh", "from": from.as_str(), "to": to.as_str(), "reaches": reaches, "paths": paths,
            "why": reason, "acls": closings(&rules, &from, &to),
        });
        Ok(if view.is_some() { answer } else { self.of_node(answer) })
    }
}

impl Shown for Asker {
    fn ask(&self, question: MeshQuestion) -> MeshAnswer<'_> {
        Box::pin(async move {
            match question {
                MeshQuestion::Nodes => Ok(self.nodes().await),
                MeshQuestion::Links => Ok(self.links().await),
                MeshQuestion::Domains => Ok(self.domains().await),
                MeshQuestion::Segments => Ok(self.segments().await),
                MeshQuestion::Routes(wanted) => self.routes(wanted).await,
                MeshQuestion::Mirrors => Ok(self.of_node(json!({ "mirrors": self.body.mirrors.rows() }))),
                MeshQuestion::Graph(segment) => self.graph(segment).await,
                MeshQuestion::Trace { subject, from } => self.trace(subject, from).await,
                MeshQuestion::Traced(id) => self.traced(id).await,
                MeshQuestion::Probe { subject, from } => self.probe(subject, from).await,
                MeshQuestion::Explain { from, to } => self.explain(from, to).await,
                MeshQuestion::Check { resources, without } => {
                    let (before, own) = (Arc::clone(&self.declared.borrow()), self.body.id.domain.clone());
                    let check = spawn_blocking(move || check(&before, &own, &resources, &without)).await;
                    check.unwrap_or_else(|_| Err(mesh_away("the check did not end".to_owned())))
                }
            }
        })
    }

    fn ailment(&self) -> Option<String> {
        if self.governor.as_ref().is_some_and(|governor| !governor.is_rooted()) {
            let what = "the engine does not answer for what controllers share: this node cannot lead the mesh";
            return Some(what.to_owned());
        }
        let led = self.member.led();
        led.rejected.then(|| {
            let why = led.why.unwrap_or_default();
            format!("the controller of the mesh does not take this node: {why}")
        })
    }
}

/// What a change would do. Judged by what is declared, not by what is up.
fn check(before: &Declared, own: &Name, resources: &Bytes, without: &[String]) -> Result<Value, Problem> {
    let wanted = if resources.is_empty() { Vec::new() } else { read_body(resources)? };
    let mut documents: BTreeMap<Identity, Document> =
        before.documents().iter().map(|document| (document.identity(), document.clone())).collect();
    for name in without {
        let found = documents.keys().find(|identity| identity.kind == "Segment" && identity.name == *name).cloned();
        let gone = found.and_then(|identity| documents.remove(&identity));
        gone.ok_or_else(|| no_such_in_mesh("Segment", name))?;
    }
    documents.extend(wanted.into_iter().map(|document| (document.identity(), document)));
    let after = plan::check(documents.into_values()).map_err(|faults| refused(&faults))?;
    let own = Some(own);
    let wrong = |error: mesh::topology::TopologyError| {
        refused(&[plan::Fault::new(format!("{}/Topology", plan::API_VERSION), "", error.to_string())])
    };
    let (before, after) = (Bounds::of(before, own).map_err(wrong)?, Bounds::of(&after, own).map_err(wrong)?);
    let proof = prove((&before.reach, &before.rules), (&after.reach, &after.rules), after.topology.invariants());
    let change = |change: &mesh::proof::Change| {
        json!({"from": change.from.as_str(), "to": change.to.as_str(), "segment": change.witness.segment.as_str(),
            "path": change.witness.domains.iter().map(Name::as_str).collect::<Vec<_>>()})
    };
    let all = |gained: bool| proof.changes.iter().filter(move |each| each.gained == gained);
    let of = |gained: bool| all(gained).take(CHANGES_MAX).map(change).collect::<Vec<_>>();
    let more = |gained: bool| all(gained).count().saturating_sub(CHANGES_MAX);
    let violated = proof.broken.iter().map(|(broken, count)| {
        let witness = broken.witness.as_ref();
        json!({"invariant": broken.to_string(), "pairs": count,
            "segment": witness.map(|path| path.segment.as_str()),
            "path": witness.map(|path| path.domains.iter().map(Name::as_str).collect::<Vec<_>>())})
    });
    let access = proof.access.iter().take(CHANGES_MAX).map(|each| {
        let verb = if each.access == Access::Publish { "publish to" } else { "subscribe to" };
        let may = if each.gained { "may" } else { "may no longer" };
        json!({"rule": &*each.rule, "domain": each.domain.as_str(), "gained": each.gained,
            "text": format!("{} {may} {verb} the names of {}", each.domain, each.rule)})
    });
    Ok(json!({
        "scope": "mesh", "gained": of(true), "lost": of(false), "holds": proof.holds(),
        "violated": violated.collect::<Vec<_>>(), "access": access.collect::<Vec<_>>(),
        "more": {"gained": more(true), "lost": more(false), "access": proof.access.len().saturating_sub(CHANGES_MAX)},
    }))
}

fn nodes(view: &View, own: &NodeId) -> Vec<Value> {
    let row = |node: &mesh::control::NodeView| {
        let state = if node.connected { "connected" } else { "away" };
        let gateway = view.status.domains.iter().any(|domain| domain.gateways.iter().any(|(_, held)| *held == node.id));
        let roles = [(node.id == *own, "controller"), (gateway, "gateway")];
        let roles: Vec<&str> = roles.into_iter().filter(|(is, _)| *is).map(|(_, role)| role).collect();
        let wanted = (node.told != node.acked).then(|| node.told.to_string());
        json!({
            "id": node.id.to_string(), "domain": node.id.domain.as_str(), "node": node.id.node.as_str(),
            "state": state, "plan": node.acked.to_string(), "wanted": wanted, "listen": node.endpoints.listen.as_deref(),
            "external": node.endpoints.external.as_deref(), "links": node.remote_links, "role": roles,
        })
    };
    view.status.nodes.iter().map(row).collect()
}

fn governed_link(link: &GovernedLink) -> Value {
    let why = if let LinkState::Failed(why) = &link.state { Some(&**why) } else { None };
    let to = link.to.as_ref().map_or_else(|| link.to_domain.to_string(), ToString::to_string);
    json!({
        "id": link.id.as_str(), "kind": kind(link.kind), "from": link.from.to_string(), "to": to,
        "address": link.address.as_deref(), "segments": link.segments.iter().map(Name::as_str).collect::<Vec<_>>(),
        "state": link.state.word(), "why": why, "serves": link.serves,
    })
}

fn kind(kind: LinkKind) -> &'static str {
    match kind {
        LinkKind::Peer => "peer",
        LinkKind::Remote => "remote",
    }
}

/// The links of this node as it sees them, with what they carried.
fn own_links(body: &Body) -> Vec<Value> {
    let troubles = body.troubles();
    let row = |view: &mesh::node::LinkView| {
        let conn = view.up.as_ref().and_then(|(number, _)| body.conn(*number));
        let to = view.up.as_ref().map(|(_, peer)| peer.to_string());
        let planned = view.plan.node.as_ref().map(|node| format!("{}/{node}", view.plan.domain));
        let why = if view.up.is_none() { troubles.get(&view.plan.id) } else { None };
        json!({
            "id": view.plan.id.as_str(), "kind": kind(view.plan.kind), "from": body.id.to_string(),
            "to": to.or(planned).unwrap_or_else(|| view.plan.domain.to_string()),
            "state": if view.up.is_some() { "up" } else { "down" }, "why": why,
            "segments": view.plan.segments.iter().map(Name::as_str).collect::<Vec<_>>(),
            "counts": conn.map(|conn| counts(&conn)),
        })
    };
    body.ask(Node::links).iter().map(row).collect()
}

fn counts(conn: &super::body::Conn) -> Value {
    json!({
        "received": conn.messages.load(Ordering::Relaxed), "refused": conn.refused.load(Ordering::Relaxed),
        "sent": conn.out.counts.messages.load(Ordering::Relaxed),
        "dropped": conn.out.counts.dropped.load(Ordering::Relaxed),
        "roundTripMicros": conn.out.round_trip().map(|span| u64::try_from(span.as_micros()).unwrap_or(u64::MAX)),
    })
}

fn domains(view: &View) -> Vec<Value> {
    let row = |domain: &mesh::control::DomainView| {
        let nodes = view.status.nodes.iter().filter(|node| node.id.domain == domain.name);
        let neighbors = domain.gateways.iter().map(|(neighbor, by)| format!("{neighbor} by {}", by.node));
        let shape = match &domain.shape {
            mesh::plan::Shape::FullMesh => "full-mesh".to_owned(),
            mesh::plan::Shape::Hub(hub) => format!("hub {hub}"),
        };
        json!({
            "name": domain.name.as_str(), "declared": domain.declared, "shape": shape,
            "nodes": nodes.map(|node| node.id.node.as_str()).collect::<Vec<_>>(),
            "segments": domain.segments.iter().map(Name::as_str).collect::<Vec<_>>(),
            "neighbors": neighbors.collect::<Vec<_>>(),
        })
    };
    view.status.domains.iter().map(row).collect()
}

fn drawn(segment: &SegmentPlan, live: Option<&Arc<SegmentPlan>>) -> Value {
    let up = |one: &Name, two: &Name| live.is_some_and(|live| live.edges.iter().any(|(a, b, _)| a == one && b == two));
    let edge = |(one, two, weight): &(Name, Name, u32)| json!({"between": [one.as_str(), two.as_str()], "weight": weight, "up": up(one, two)});
    json!({
        "name": segment.name.as_str(), "domains": segment.domains.iter().map(Name::as_str).collect::<Vec<_>>(),
        "edges": segment.edges.iter().map(edge).collect::<Vec<_>>(),
    })
}

/// What a controller asks of this node.
pub(super) async fn told(body: &Arc<Body>, what: &Asked) -> Result<Value, String> {
    let subject = |text: &str| Subject::parse(text).map_err(|error| error.to_string());
    match what {
        Asked::Trace { subject: text } => Ok(json!(way::would(body, subject(text)?.as_str()))),
        Asked::Sources { most, own } => {
            let (body, most, own) = (Arc::clone(body), *most, *own);
            let routes = spawn_blocking(move || json!(routes(&body, most, own))).await;
            routes.map_err(|_| "the walk over all interests did not end".to_owned())
        }
        Asked::Probe { subject: text, parent } => way::probe(body, &subject(text)?, parent).map(Value::from),
    }
}

/// Somebody who wants something.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Route {
    pattern: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    segment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    /// Of a row that stands for several: how many the source has in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    wishes: Option<u64>,
}

/// What a node told of its routes.
fn routes_told(told: Value) -> Result<Vec<Route>, String> {
    let told: Vec<Route> = serde_json::from_value(told).map_err(|_| "a node answers what cannot be read".to_owned())?;
    Ok(told.into_iter().take(ROUTES_MAX).collect())
}

/// Who wants what, as this node knows it: at most so many patterns of each source, and a row that says how many there
/// are where there are more. With `own` only what its own clients want. Walks all wishes, some thousand at a time.
fn routes(body: &Body, most: usize, own: bool) -> Vec<Route> {
    let sources: Vec<_> = body.ask(Node::sources).into_iter().filter(|view| !own || view.conn.is_none()).collect();
    let mut found: BTreeMap<Source, Vec<Wish>> = sources.iter().map(|view| (view.source.clone(), Vec::new())).collect();
    let (mut at, mut count, mut bytes) = (Some(0), 0, 0);
    while let Some(from) = at {
        at = body.ask(|node| {
            node.wishes_part(from, |source, wish| {
                let room = count < ROUTES_MAX && bytes < ROUTES_BYTES_MAX;
                if let Some(wishes) = found.get_mut(source).filter(|wishes| room && wishes.len() < most) {
                    count += 1;
                    bytes += wish.pattern.as_str().len() + wish.queue.as_ref().map_or(0, |queue| queue.len());
                    wishes.push(wish);
                }
            })
        });
    }
    let mut rows = Vec::new();
    for view in sources {
        let via = view.conn.and_then(|conn| body.conn(conn)).map(|conn| conn.peer.to_string());
        let (by, segment) = match &view.source {
            Source::Node(node) => (format!("{}/{node}", body.id.domain), None),
            Source::Domain { domain, segment } => (domain.to_string(), Some(segment.to_string())),
        };
        let mut wishes = found.remove(&view.source).unwrap_or_default();
        wishes.sort_unstable_by(|one, two| (one.pattern.as_str(), &one.queue).cmp(&(two.pattern.as_str(), &two.queue)));
        let row = Route { by, segment, via, ..Route::default() };
        rows.extend(wishes.iter().map(|wish| {
            let queue = wish.queue.as_ref().map(ToString::to_string);
            Route { pattern: wish.pattern.to_string(), queue, ..row.clone() }
        }));
        let more = view.wishes.saturating_sub(wishes.len() as u64);
        if more > 0 {
            rows.push(Route { pattern: format!("... and {more} more"), wishes: Some(view.wishes), ..row });
        }
    }
    rows
}

fn route_of(subject: &str, path: &Path) -> Value {
    json!({
        "pattern": subject, "by": path.to, "segment": path.segment, "via": path.first.as_ref().map(|first| &first.node),
        "queue": path.queues, "hops": path.domains.len().saturating_sub(1),
    })
}

fn weighed(path: &mesh::proof::Path, segments: &Segments) -> Value {
    let edges = segments.get(path.segment.as_str()).map(|segment| segment.edges.as_slice()).unwrap_or_default();
    let cost = |pair: &[Name]| {
        let [one, two] = pair else { return 0 };
        let is = |(a, b, _): &&(Name, Name, u32)| (a == one && b == two) || (a == two && b == one);
        edges.iter().find(is).map_or(0, |(_, _, weight)| u64::from(*weight))
    };
    let weight: u64 = path.domains.windows(2).map(cost).sum();
    json!({
        "segment": path.segment.as_str(), "weight": weight,
        "path": path.domains.iter().map(Name::as_str).collect::<Vec<_>>(),
    })
}

/// The rules that stand between two domains that reach each other.
fn closings(rules: &[AclRule], from: &Name, to: &Name) -> Vec<String> {
    let subjects = |rule: &AclRule| rule.subjects.iter().map(|each| each.as_str()).collect::<Vec<_>>().join(", ");
    let publish = closed(rules, from, Access::Publish)
        .map(|rule| format!("{from} may not publish to {} (NameAcl/{})", subjects(rule), rule.name));
    let subscribe = closed(rules, to, Access::Subscribe)
        .map(|rule| format!("{to} may not subscribe to {} (NameAcl/{})", subjects(rule), rule.name));
    publish.chain(subscribe).collect()
}
