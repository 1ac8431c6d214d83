//! What is asked of the mesh, answered: for the whole of it where this node leads, else of what this node knows.
//!
//! Nothing here changes anything, and nothing here is kept: each answer is made of the machines as they stand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use door::Class;
use door_http::problem::Problem;
use door_http::{Mesh as Shown, MeshAnswer, MeshQuestion, mesh_away, no_such_in_mesh};
use event::Subject;
use mesh::acl::{Acl, AclRule, Asker as Asking};
use mesh::control::{LinkState, LinkView as GovernedLink};
use mesh::envelope::Deliver;
use mesh::names::{Name, NodeId};
use mesh::node::{Leg, Node};
use mesh::plan::{LinkKind, Plan, SegmentPlan};
use mesh::proof::{Access, Reach, Why, closed, explain, prove};
use mesh::segment::Segments;
use mesh::tree::Graph;
use plan::{Declared, Document, Identity};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::body::Body;
use super::controller::{Governor, View};
use super::declared::Bounds;
use super::lead::Leading;
use super::member::Member;
use super::meters::MeshCounts;
use super::said::Asked;
use crate::resources::{read_body, refused};

/// Routes that an answer shows, at most.
const ROUTES_MAX: usize = 10_000;

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
        let governor = self.governor.as_ref()?;
        match governor.leading() {
            Leading::Me { .. } => governor.view().await,
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
        let view = self.view().await;
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

    async fn routes(&self, subject: Option<Subject>) -> Value {
        let mut rows: Vec<Value> = match &subject {
            Some(subject) => {
                let trace = trace(&self.body, subject.as_str());
                trace["paths"].as_array().into_iter().flatten().map(|path| route_of(subject.as_str(), path)).collect()
            }
            None => self.body.ask(Node::sources).iter().map(|view| source(&self.body, view)).collect(),
        };
        if let (None, Some(view)) = (&subject, self.view().await) {
            rows.extend(view.status.routes.iter().take(ROUTES_MAX).map(|route| {
                json!({
                    "pattern": route.name.as_str(), "by": route.to.as_str(), "segment": route.segment.as_str(),
                    "via": route.next.as_str(), "from": route.from.as_str(), "state": route.state.word(),
                })
            }));
        }
        self.of_node(json!({ "routes": rows }))
    }

    async fn trace(&self, subject: Subject, from: Option<String>) -> Result<Value, Problem> {
        let from = match from {
            Some(text) if text.contains('/') => NodeId::parse(&text).map_err(|_| no_such_in_mesh("node", &text))?,
            Some(text) => {
                let node = Name::parse(&text).map_err(|_| no_such_in_mesh("node", &text))?;
                NodeId::new(self.body.id.domain.clone(), node)
            }
            None => self.body.id.clone(),
        };
        let view = self.view().await;
        let told = match (from == self.body.id, &self.governor, &view) {
            (true, ..) => trace(&self.body, subject.as_str()),
            (false, Some(governor), Some(view)) => {
                if !view.status.nodes.iter().any(|node| node.id == from) {
                    return Err(no_such_in_mesh("node", &from.to_string()));
                }
                let what = Asked::Trace { subject: subject.to_string() };
                governor.ask(from.clone(), what).await.map_err(|why| mesh_away(format!("{from}: {why}")))?
            }
            (false, ..) => {
                let detail = format!("this node does not lead the mesh: ask the one that does, or {from} itself");
                return Err(mesh_away(detail));
            }
        };
        Ok(match view {
            Some(view) => whole(told, &view, &from),
            None => self.of_node(hopped(told, None)),
        })
    }

    async fn explain(&self, from: String, to: String) -> Result<Value, Problem> {
        let name = |text: String| Name::parse(&text).map_err(|_| no_such_in_mesh("domain", &text));
        let (from, to) = (name(from)?, name(to)?);
        let view = self.view().await;
        let plan = self.plan();
        let (reach, segments, rules) = match &view {
            Some(view) => (view.reach.clone(), view.segments.clone(), super::declared::rules(&self.declared.borrow())),
            None => {
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

    /// What a change would do. Judged by what is declared, not by what is up.
    fn check(&self, resources: &Bytes, without: &[String]) -> Result<Value, Problem> {
        let before = Arc::clone(&self.declared.borrow());
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
        let own = Some(&self.body.id.domain);
        let wrong = |error: mesh::topology::TopologyError| {
            refused(&[plan::Fault::new(format!("{}/Topology", plan::API_VERSION), "", error.to_string())])
        };
        let (before, after) = (Bounds::of(&before, own).map_err(wrong)?, Bounds::of(&after, own).map_err(wrong)?);
        let proof = prove((&before.reach, &before.rules), (&after.reach, &after.rules), after.topology.invariants());
        let change = |change: &mesh::proof::Change| {
            json!({"from": change.from.as_str(), "to": change.to.as_str(), "segment": change.witness.segment.as_str(),
                "path": change.witness.domains.iter().map(Name::as_str).collect::<Vec<_>>()})
        };
        let of =
            |gained: bool| proof.changes.iter().filter(|each| each.gained == gained).map(change).collect::<Vec<_>>();
        let violated = proof.broken.iter().map(|(broken, count)| {
            let witness = broken.witness.as_ref();
            json!({"invariant": broken.to_string(), "pairs": count,
                "segment": witness.map(|path| path.segment.as_str()),
                "path": witness.map(|path| path.domains.iter().map(Name::as_str).collect::<Vec<_>>())})
        });
        let access = proof.access.iter().map(|each| {
            let verb = if each.access == Access::Publish { "publish to" } else { "subscribe to" };
            let may = if each.gained { "may" } else { "may no longer" };
            json!({"rule": &*each.rule, "domain": each.domain.as_str(), "gained": each.gained,
                "text": format!("{} {may} {verb} the names of {}", each.domain, each.rule)})
        });
        Ok(json!({
            "scope": "mesh", "gained": of(true), "lost": of(false), "holds": proof.holds(),
            "violated": violated.collect::<Vec<_>>(), "access": access.collect::<Vec<_>>(),
        }))
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
                MeshQuestion::Routes(subject) => Ok(self.routes(subject).await),
                MeshQuestion::Mirrors => Ok(self.of_node(json!({ "mirrors": self.body.mirrors.rows() }))),
                MeshQuestion::Graph(segment) => self.graph(segment).await,
                MeshQuestion::Trace { subject, from } => self.trace(subject, from).await,
                MeshQuestion::Explain { from, to } => self.explain(from, to).await,
                MeshQuestion::Check { resources, without } => self.check(&resources, &without),
            }
        })
    }

    fn ailment(&self) -> Option<String> {
        let led = self.member.led();
        led.rejected.then(|| {
            let why = led.why.unwrap_or_default();
            format!("the controller of the mesh does not take this node: {why}")
        })
    }
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
pub(super) fn told(body: &Body, what: &Asked) -> Result<Value, String> {
    match what {
        Asked::Trace { subject } => {
            let subject = Subject::parse(subject).map_err(|error| error.to_string())?;
            Ok(trace(body, subject.as_str()))
        }
        Asked::Sources => Ok(body.ask(Node::sources).iter().map(|view| source(body, view)).collect::<Vec<_>>().into()),
    }
}

fn source(body: &Body, view: &mesh::node::SourceView) -> Value {
    let via = view.conn.and_then(|conn| body.conn(conn)).map(|conn| conn.peer.to_string());
    let (by, segment) = match &view.source {
        mesh::wire::Source::Node(node) => (node.to_string(), None),
        mesh::wire::Source::Domain { domain, segment } => (domain.to_string(), Some(segment.to_string())),
    };
    json!({"pattern": format!("({} wishes)", view.wishes), "wishes": view.wishes, "by": by, "segment": segment, "via": via})
}

fn route_of(subject: &str, path: &Value) -> Value {
    json!({
        "pattern": subject, "by": path["to"], "segment": path["segment"], "via": path["first"]["node"],
        "queue": path["queues"], "hops": path["domains"].as_array().map(|domains| domains.len().saturating_sub(1)),
    })
}

/// Where a message of a subject goes that enters at this node.
fn trace(body: &Body, subject: &str) -> Value {
    let plan = body.ask(|node| node.plan().clone());
    let beyond = body.ask(|node| node.beyond(subject));
    let mut paths: BTreeMap<(String, String), Path> = BTreeMap::new();
    for leg in &beyond.direct {
        lay(&mut paths, body, &plan, leg);
    }
    for group in &beyond.groups {
        let nearest = group.tiers.first().map(Vec::as_slice).unwrap_or_default();
        nearest.iter().for_each(|leg| lay(&mut paths, body, &plan, leg));
    }
    let acl = Acl::new(Arc::clone(&plan.acl));
    let asking = Asking { domain: &body.id.domain, principal: None };
    let closed = acl.may_publish(&asking, subject).err();
    let mut why: Vec<String> = closed
        .map(|rule| format!("the rule {} lets {} publish there only to whom it names", rule.name, body.id.domain))
        .into_iter()
        .collect();
    if paths.is_empty() && why.is_empty() {
        why.push("nobody beyond this node who can be reached wants it".to_owned());
    }
    json!({
        "from": body.id.to_string(), "subject": subject, "here": here(body, subject), "why": why,
        "paths": paths.into_values().map(Path::told).collect::<Vec<_>>(),
    })
}

/// Who at this node gets a message that enters here, for people; empty: nobody.
fn here(body: &Body, subject: &str) -> String {
    let near = body.live.near(subject, Class::Client);
    let mut told = Vec::new();
    if !near.direct.is_empty() {
        told.push(format!("{} who listen", near.direct.len()));
    }
    told.extend(
        near.groups.iter().filter_map(|(queue, _)| queue.as_ref()).map(|queue| format!("one of the group {queue}")),
    );
    told.join(", ")
}

/// A way of a message, as far as the node where it enters knows it.
struct Path {
    to: String,
    segment: Option<Name>,
    domains: Vec<Name>,
    first: Option<(NodeId, String, u64)>,
    direct: bool,
    queues: BTreeSet<Arc<str>>,
}

impl Path {
    fn told(self) -> Value {
        let groups = self.queues.iter().map(|queue| format!("one of the group {queue}"));
        let wanted: Vec<String> =
            self.direct.then(|| "everyone who listens".to_owned()).into_iter().chain(groups).collect();
        let first = self.first.map(|(node, link, sent)| json!({"node": node.to_string(), "link": link, "sent": sent}));
        json!({
            "to": self.to, "segment": self.segment.map(|name| name.to_string()), "first": first, "wanted": wanted,
            "domains": self.domains.iter().map(Name::as_str).collect::<Vec<_>>(),
            "queues": self.queues.iter().map(|queue| &**queue).collect::<Vec<_>>(),
        })
    }
}

fn lay(paths: &mut BTreeMap<(String, String), Path>, body: &Body, plan: &Plan, leg: &Leg) {
    let conn = body.conn(leg.conn);
    let first =
        conn.map(|conn| (conn.peer.clone(), conn.link.to_string(), conn.out.counts.messages.load(Ordering::Relaxed)));
    let envelope = &leg.envelope;
    let mut add = |to: String, deliver: &Deliver, domains: Vec<Name>| {
        // What stays in the domain is in no segment, although it shares a copy with what leaves.
        let segment = envelope.segment.clone().filter(|_| !to.contains('/'));
        let key = (to.clone(), segment.as_ref().map(ToString::to_string).unwrap_or_default());
        let fresh = || Path { to, segment, domains, first: first.clone(), direct: false, queues: BTreeSet::new() };
        let path = paths.entry(key).or_insert_with(fresh);
        path.direct |= deliver.direct;
        path.queues.extend(deliver.queues.iter().cloned());
    };
    if !envelope.here.is_empty()
        && let Some((peer, ..)) = &first
    {
        add(peer.to_string(), &envelope.here, Vec::new());
    }
    for (node, deliver) in &envelope.nodes {
        add(format!("{}/{node}", body.id.domain), deliver, Vec::new());
    }
    for (domain, deliver) in &envelope.to {
        let segment = envelope.segment.as_ref().and_then(|name| plan.segments.iter().find(|each| each.name == *name));
        // Messages follow the tree of where they go.
        let tree = segment.and_then(|segment| Graph::new(&segment.domains, &segment.edges).tree(domain));
        let mut domains: Vec<Name> =
            tree.map(|tree| tree.path(&body.id.domain).into_iter().cloned().collect()).unwrap_or_default();
        domains.reverse();
        add(domain.to_string(), deliver, domains);
    }
}

/// A trace with hops as far as the node knows them: its own first, then domains.
fn hopped(mut told: Value, view: Option<&View>) -> Value {
    let from = told["from"].as_str().unwrap_or_default().to_owned();
    for path in told["paths"].as_array_mut().into_iter().flatten() {
        let hops = hops(path, &from, view);
        path["hops"] = hops.into();
    }
    told
}

fn hops(path: &Value, from: &str, view: Option<&View>) -> Vec<Value> {
    let domains: Vec<&str> = path["domains"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let first = &path["first"];
    let mut hops = Vec::new();
    let mut at = from.to_owned();
    if let Some(node) = first["node"].as_str() {
        hops.push(json!({"node": node, "link": first["link"], "sent": first["sent"]}));
        node.clone_into(&mut at);
    }
    for pair in domains.windows(2) {
        let [here, next] = pair else { continue };
        // The first hop may have crossed this border already.
        if at.split('/').next() == Some(*next) {
            continue;
        }
        let link = view.and_then(|view| serving(view, here, next));
        let Some(link) = link else {
            hops.push(json!({"node": *next}));
            (*next).clone_into(&mut at);
            continue;
        };
        let (near, far) = match link.from.domain.as_str() == *here {
            true => (link.from.to_string(), link.to.as_ref().map_or_else(|| (*next).to_owned(), ToString::to_string)),
            false => (link.to.as_ref().map_or_else(|| (*here).to_owned(), ToString::to_string), link.from.to_string()),
        };
        if near != at {
            hops.push(json!({"node": near}));
        }
        hops.push(json!({"node": far, "link": link.id.as_str()}));
        at = far;
    }
    hops
}

/// The link between two domains that serves.
fn serving<'a>(view: &'a View, one: &str, two: &str) -> Option<&'a GovernedLink> {
    view.status.links.iter().find(|link| {
        let ends = [link.from.domain.as_str(), link.to_domain.as_str()];
        link.kind == LinkKind::Remote && link.serves && (ends == [one, two] || ends == [two, one])
    })
}

/// A trace that the controller completes.
fn whole(told: Value, view: &View, from: &NodeId) -> Value {
    let mut told = hopped(told, Some(view));
    if let Some(told) = told.as_object_mut() {
        told.insert("scope".to_owned(), "mesh".into());
        told.insert("from".to_owned(), from.to_string().into());
    }
    told
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
