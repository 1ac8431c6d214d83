//! Where a message would go that enters at this node, and a message that is sent to see where it goes.
//!
//! What a node says is what it knows: its own first hops, and the domains behind them. A controller that leads adds the
//! links and nodes between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use door::{Class, Fabric, Parcel};
use event::{Subject, TraceId, TraceParent};
use mesh::acl::{Acl, Asker};
use mesh::control::LinkView;
use mesh::envelope::Deliver;
use mesh::names::{Name, NodeId};
use mesh::node::Leg;
use mesh::plan::{LinkKind, Plan};
use mesh::tree::Graph;
use serde::{Deserialize, Serialize};

use super::body::Body;
use super::controller::View;
use crate::entropy::seed;

/// Domains to which a rule closes a subject that are named.
const CLOSED_MAX: usize = 16;

/// Where a message of a subject would go that enters at a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Would {
    from: String,
    subject: String,
    /// Who at the node gets it, for people; empty: nobody.
    here: String,
    /// What stands in its way.
    why: Vec<String>,
    /// Whether a rule closes the subject to the node's domain.
    #[serde(default)]
    pub(super) closed: bool,
    pub(super) paths: Vec<Path>,
}

/// One way of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Path {
    pub(super) to: String,
    pub(super) segment: Option<String>,
    /// Where it goes first.
    pub(super) first: Option<Hop>,
    /// Who wants it there, for people.
    wanted: Vec<String>,
    pub(super) queues: BTreeSet<String>,
    /// The domains that it goes through, the node's own first; none where it stays there.
    pub(super) domains: Vec<String>,
    /// As far as they are known.
    #[serde(default)]
    hops: Vec<Hop>,
}

/// A node that it comes to, and by which link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hop {
    pub(super) node: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<String>,
}

/// Where a message of a subject goes that enters at this node.
pub(super) fn would(body: &Body, subject: &str) -> Would {
    let plan = body.ask(|node| node.plan().clone());
    let beyond = body.ask(|node| node.beyond(subject));
    let mut paths: BTreeMap<(String, Option<String>), Path> = BTreeMap::new();
    for leg in &beyond.direct {
        lay(&mut paths, body, &plan, leg);
    }
    for group in &beyond.groups {
        let nearest = group.tiers.first().map(Vec::as_slice).unwrap_or_default();
        nearest.iter().for_each(|leg| lay(&mut paths, body, &plan, leg));
    }
    let own = Asker { domain: &body.id.domain, principal: None };
    let is_closed = Acl::new(Arc::clone(&plan.acl)).may_publish(&own, subject).is_err();
    let mut why = closed(&plan, &body.id.domain, subject);
    if paths.is_empty() && why.is_empty() {
        why.push("nobody beyond this node who can be reached wants it".to_owned());
    }
    let paths = paths.into_values().map(Path::wanted).collect();
    let (from, here) = (body.id.to_string(), here(body, subject));
    Would { from, subject: subject.to_owned(), here, why, closed: is_closed, paths }
}

/// The rules of names that stand in the way of what a domain says.
fn closed(plan: &Plan, own: &Name, subject: &str) -> Vec<String> {
    let acl = Acl::new(Arc::clone(&plan.acl));
    if let Err(rule) = acl.may_publish(&Asker { domain: own, principal: None }, subject) {
        return vec![format!("the rule {} lets {own} publish there only to whom it names", rule.name)];
    }
    let others: BTreeSet<&Name> = plan.segments.iter().filter(|segment| segment.domains.contains(own)).fold(
        BTreeSet::new(),
        |mut all, segment| {
            all.extend(segment.domains.iter().filter(|domain| *domain != own));
            all
        },
    );
    let mut deaf: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for domain in others {
        if let Err(rule) = acl.may_hear(&Asker { domain, principal: None }, subject) {
            deaf.entry(rule.name.to_string()).or_default().push(domain.as_str());
        }
    }
    let told = |(rule, domains): (String, Vec<&str>)| {
        let more = domains.len().saturating_sub(CLOSED_MAX);
        let named = domains.iter().take(CLOSED_MAX).copied().collect::<Vec<_>>().join(", ");
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        format!("the rule {rule} does not let {named}{more} hear it")
    };
    deaf.into_iter().map(told).collect()
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

fn lay(paths: &mut BTreeMap<(String, Option<String>), Path>, body: &Body, plan: &Plan, leg: &Leg) {
    let conn = body.conn(leg.conn);
    let first = conn.map(|conn| Hop { node: conn.peer.to_string(), link: Some(conn.link.to_string()) });
    let envelope = &leg.envelope;
    let mut add = |to: String, deliver: &Deliver, domains: Vec<String>| {
        // What stays in the domain is in no segment, although it shares a copy with what leaves.
        let segment = envelope.segment.as_ref().filter(|_| !to.contains('/')).map(ToString::to_string);
        let key = (to.clone(), segment.clone());
        let (first, queues) = (first.clone(), BTreeSet::new());
        let fresh = || Path { to, segment, first, wanted: Vec::new(), queues, domains, hops: Vec::new() };
        let path = paths.entry(key).or_insert_with(fresh);
        if deliver.direct && path.wanted.is_empty() {
            path.wanted.push("everyone who listens".to_owned());
        }
        path.queues.extend(deliver.queues.iter().map(ToString::to_string));
    };
    if !envelope.here.is_empty()
        && let Some(peer) = body.conn(leg.conn).map(|conn| conn.peer.to_string())
    {
        add(peer, &envelope.here, Vec::new());
    }
    for (node, deliver) in &envelope.nodes {
        add(format!("{}/{node}", body.id.domain), deliver, Vec::new());
    }
    for (domain, deliver) in &envelope.to {
        let segment = envelope.segment.as_ref().and_then(|name| plan.segments.iter().find(|each| each.name == *name));
        // Messages follow the tree of where they go.
        let tree = segment.and_then(|segment| Graph::new(&segment.domains, &segment.edges).tree(domain));
        let mut domains: Vec<String> = tree
            .map(|tree| tree.path(&body.id.domain).into_iter().map(ToString::to_string).collect())
            .unwrap_or_default();
        domains.reverse();
        add(domain.to_string(), deliver, domains);
    }
}

impl Path {
    fn wanted(mut self) -> Self {
        self.wanted.extend(self.queues.iter().map(|queue| format!("one of the group {queue}")));
        self
    }
}

impl Would {
    /// With hops as far as they are known: the node's own first, then those that the controller knows.
    pub(super) fn complete(mut self, from: &NodeId, view: Option<&View>) -> Self {
        self.from = from.to_string();
        for path in &mut self.paths {
            path.hops = hops(path, &self.from, view);
        }
        self
    }
}

fn hops(path: &Path, from: &str, view: Option<&View>) -> Vec<Hop> {
    let mut hops: Vec<Hop> = path.first.iter().cloned().collect();
    let mut at = path.first.as_ref().map_or(from, |first| &first.node).to_owned();
    for pair in path.domains.windows(2) {
        let [here, next] = pair else { continue };
        // The first hop may have crossed this border already.
        if at.split('/').next() == Some(next) {
            continue;
        }
        let Some(link) = view.and_then(|view| serving(view, here, next)) else {
            hops.push(Hop { node: next.clone(), link: None });
            at.clone_from(next);
            continue;
        };
        let far = |default: &str| link.to.as_ref().map_or_else(|| default.to_owned(), ToString::to_string);
        let (near, far) = match link.from.domain.as_str() == here {
            true => (link.from.to_string(), far(next)),
            false => (far(here), link.from.to_string()),
        };
        if near != at {
            hops.push(Hop { node: near, link: None });
        }
        hops.push(Hop { node: far.clone(), link: Some(link.id.to_string()) });
        at = far;
    }
    hops
}

/// The link between two domains that serves.
fn serving<'a>(view: &'a View, one: &str, two: &str) -> Option<&'a LinkView> {
    view.status.links.iter().find(|link| {
        let ends = [link.from.domain.as_str(), link.to_domain.as_str()];
        link.kind == LinkKind::Remote && link.serves && (ends == [one, two] || ends == [two, one])
    })
}

/// A trace that nobody had before; `None`: the system gives no random bytes.
pub(super) fn parent() -> Option<TraceParent> {
    let ([high, low], [span, _]) = (seed().ok()?, seed().ok()?);
    let trace = TraceId::new((u128::from(high) << 64 | u128::from(low)).to_be_bytes())?;
    Some(TraceParent { trace, span: span.max(1).to_be_bytes(), sampled: true })
}

/// Publishes an empty message to who listens now; how many took it. Nothing records it.
pub(super) fn probe(body: &Body, subject: &Subject, parent: &str) -> Result<u64, String> {
    let parent = TraceParent::parse(parent).ok_or("it is no traceparent")?;
    if door::is_own(subject.as_str()) {
        return Err("only the node itself publishes there".to_owned());
    }
    let plan = body.ask(|node| node.plan().clone());
    let own = Asker { domain: &body.id.domain, principal: None };
    if let Err(rule) = Acl::new(Arc::clone(&plan.acl)).may_publish(&own, subject.as_str()) {
        return Err(format!("the rule {} does not let all of {} publish there", rule.name, body.id.domain));
    }
    let headers = format!("traceparent: {parent}\r\n");
    let parcel = Parcel { headers: headers.as_bytes(), ..Parcel::new(subject.as_str(), b"") };
    Ok(body.live.send(subject.as_str(), &parcel))
}
