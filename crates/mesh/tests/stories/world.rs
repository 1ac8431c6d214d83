//! A mesh of made-up sockets: one controller, the nodes' own machines, and wires that take no time.
//!
//! A node dials where its plan says; the connection stands if who is there holds the same key for the link. Time
//! goes on only while nothing else is to be done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use event::{Moment, Pattern};
use mesh::control::{
    Act, Controller, Declared, DomainRule, Endpoints, Event, LinkState, LinkView, Rejected, Report, RouteRule,
    Standing, Status,
};
use mesh::envelope::Envelope;
use mesh::names::{LinkId, Name, NodeId};
use mesh::node::{Input, Node, Output, Report as NodeReport};
use mesh::plan::{Generation, LinkKind, Plan, Shape};
use mesh::segment::{Edit, EditError, edit};
use mesh::topology::{Adjacent, Document, SegmentText, Topology, TopologyError};
use mesh::wire::Wish;

/// Longest time that a world runs until it is at rest.
const RUN: Duration = Duration::from_secs(20);

/// A node: its machine, and what a host would hold for it.
pub struct Body {
    pub node: Node,
    pub session: Option<u64>,
    pub endpoints: Endpoints,
    /// The plans that came, oldest first.
    pub plans: Vec<Arc<Plan>>,
    /// What it wants, again after a restart.
    wishes: BTreeSet<Wish>,
    /// Whether it answers: a stopped process does not.
    pub awake: bool,
    /// Replaces the key of each of its links.
    pub wrong_key: bool,
    pub rejected: Option<Rejected>,
}

/// A wire between two nodes.
struct Wire {
    link: LinkId,
    /// Who dialled, and who took it.
    ends: [NodeId; 2],
    address: Arc<str>,
}

/// See the module.
pub struct World {
    pub now: Moment,
    pub controller: Controller,
    pub declared: Declared,
    /// The segments that were added one by one, as they are written.
    pub segments: Vec<SegmentText>,
    document: Document,
    pub bodies: BTreeMap<NodeId, Body>,
    wires: BTreeMap<u64, Wire>,
    /// Addresses that lead to several nodes, and how often each was dialled.
    balancers: BTreeMap<Arc<str>, u64>,
    /// Links that cannot be made.
    jams: BTreeSet<(Name, Name)>,
    pub reports: Vec<Report>,
    pub tells: u64,
    next: u64,
    made: u64,
    epoch: u64,
}

pub fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub fn id(text: &str) -> NodeId {
    NodeId::parse(text).unwrap()
}

/// A topology's `links` from a text such as `hub: a b; c: *`.
pub fn links(text: &str) -> Vec<Adjacent> {
    let rows = text.split(';').map(|row| {
        let (domain, neighbors) = row.split_once(':').unwrap();
        let neighbors = neighbors.split_whitespace().map(str::to_owned).collect();
        Adjacent { domain: domain.trim().to_owned(), neighbors, weight: 1 }
    });
    rows.collect()
}

pub fn keys() -> Box<dyn mesh::control::Keys> {
    Box::new(|text: &str| {
        let mut key = [0_u8; 32];
        for (place, byte) in text.bytes().enumerate() {
            key[place % 32] = key[place % 32].wrapping_mul(31).wrapping_add(byte);
        }
        key
    })
}

impl World {
    /// A world whose controller leads, and takes any domain.
    pub fn new(document: Document) -> Self {
        let mut world = World {
            now: Moment::from_nanos(1_000_000_000).after(Duration::from_secs(86_400)),
            controller: Controller::new(keys()),
            declared: Declared { open: true, ..Declared::default() },
            segments: Vec::new(),
            document,
            bodies: BTreeMap::new(),
            wires: BTreeMap::new(),
            balancers: BTreeMap::new(),
            jams: BTreeSet::new(),
            reports: Vec::new(),
            tells: 0,
            next: 1,
            made: 0,
            epoch: 1,
        };
        world.declare().unwrap();
        world.tell(Event::Lead { epoch: 1 });
        world
    }

    /// One segment of these links.
    pub fn linked(text: &str) -> Self {
        World::new(Document { links: links(text), ..Document::default() })
    }

    /// Segments, each a name and its links.
    pub fn segmented(segments: &[(&str, &str)]) -> Self {
        let texts = segments.iter().map(|(name, text)| SegmentText { name: (*name).to_owned(), links: links(text) });
        World::new(Document { segments: texts.collect(), ..Document::default() })
    }

    /// Declares what is written now.
    pub fn declare(&mut self) -> Result<(), TopologyError> {
        let topology = Topology::check(&self.document, &self.segments, None)?;
        self.declared.topology = topology;
        self.tell(Event::Resources(self.declared.clone()));
        Ok(())
    }

    pub fn rewrite(&mut self, document: Document) -> Result<(), TopologyError> {
        self.document = document;
        self.declare()
    }

    pub fn edit(&mut self, change: Edit) -> Result<bool, EditError> {
        let changed = edit(self.declared.topology.mode(), &mut self.segments, change)?;
        self.declare().unwrap();
        Ok(changed)
    }

    pub fn domain(&mut self, domain: &str, shape: Shape) {
        self.declared.domains.retain(|rule| rule.name.as_str() != domain);
        self.declared.domains.push(DomainRule { name: name(domain), shape });
        self.declare().unwrap();
    }

    pub fn route(&mut self, subject: &str, to: &str) {
        let to = Some(BTreeSet::from([name(to)]));
        let rule = RouteRule { name: subject.into(), subjects: vec![Pattern::parse(subject).unwrap()], to };
        self.declared.routes.push(rule);
        self.declare().unwrap();
    }

    /// Starts a node that can be dialled by all, and lets the world come to rest.
    pub fn start(&mut self, node: &str) {
        self.start_at(node, Some(node), Some(&format!("ext.{node}")));
        self.rest();
    }

    pub fn start_all(&mut self, nodes: &str) {
        for node in nodes.split_whitespace() {
            self.start_at(node, Some(node), Some(&format!("ext.{node}")));
        }
        self.rest();
    }

    pub fn start_at(&mut self, node: &str, listen: Option<&str>, external: Option<&str>) {
        let node = id(node);
        let endpoints = Endpoints { listen: listen.map(Into::into), external: external.map(Into::into) };
        self.next += 1;
        let mut body = Body {
            node: Node::new(node.clone(), 7),
            session: None,
            endpoints,
            plans: Vec::new(),
            wishes: BTreeSet::new(),
            awake: true,
            wrong_key: false,
            rejected: None,
        };
        if let Some(before) = self.bodies.remove(&node) {
            (body.wishes, body.wrong_key) = (before.wishes, before.wrong_key);
        }
        for wish in body.wishes.clone() {
            body.node.handle(self.now, Input::Local { wish, present: true });
        }
        self.bodies.insert(node.clone(), body);
        self.register(&node);
    }

    /// Opens a control channel.
    pub fn register(&mut self, node: &NodeId) {
        self.next += 1;
        let session = self.next;
        let up = self.standing(node);
        let Some(body) = self.bodies.get_mut(node) else { return };
        body.session = Some(session);
        body.rejected = None;
        let (endpoints, plan) = (body.endpoints.clone(), body.node.plan().generation);
        self.tell(Event::Registered { session, node: node.clone(), endpoints, plan, up, routes: false });
    }

    /// Kills a node: its channel and its wires end at once.
    pub fn kill(&mut self, node: &str) {
        let node = id(node);
        let Some(body) = self.bodies.get_mut(&node) else { return };
        body.awake = false;
        if let Some(session) = body.session.take() {
            self.tell(Event::Gone { session });
        }
        self.cut_all(&node);
    }

    /// Ends a node's control channel alone.
    pub fn lose_channel(&mut self, node: &str) {
        let node = id(node);
        let session = self.bodies.get_mut(&node).and_then(|body| body.session.take());
        if let Some(session) = session {
            self.tell(Event::Gone { session });
        }
    }

    fn cut_all(&mut self, node: &NodeId) {
        let wires: Vec<u64> =
            self.wires.iter().filter(|(_, wire)| wire.ends.contains(node)).map(|(at, _)| *at).collect();
        for wire in wires {
            self.cut(wire);
        }
    }

    fn cut(&mut self, wire: u64) {
        let Some(Wire { ends, .. }) = self.wires.remove(&wire) else { return };
        for (side, node) in (0..).zip(ends) {
            self.input(&node, Input::Down { conn: wire * 2 + side });
        }
    }

    /// Ends the connection of a link.
    pub fn drop_wire(&mut self, link: &LinkId) {
        let wire = self.wires.iter().find(|(_, wire)| wire.link == *link).map(|(at, _)| *at);
        wire.into_iter().for_each(|wire| self.cut(wire));
        while self.drain() {}
    }

    /// From now on the domains of a link cannot be connected.
    pub fn jam(&mut self, link: &LinkId) {
        let wire = self.wires.values().find(|wire| wire.link == *link);
        self.jams.extend(wire.map(|wire| (wire.ends[0].domain.clone(), wire.ends[1].domain.clone())));
        self.drop_wire(link);
    }

    pub fn clear_jams(&mut self) {
        self.jams.clear();
    }

    /// How many connections were made so far.
    pub fn wires_made(&self) -> u64 {
        self.made
    }

    /// A plan comes that the controller did not send now.
    pub fn force_plan(&mut self, node: &str, plan: &Plan) {
        self.input(&id(node), Input::Plan(plan.clone()));
        self.rest();
    }

    /// Another controller takes over, which knows nothing but what is declared.
    pub fn take_over(&mut self) {
        self.epoch += 1;
        self.controller = Controller::new(keys());
        let nodes: Vec<_> = self.bodies.iter().filter(|(_, body)| body.awake).map(|(node, _)| node.clone()).collect();
        for node in &nodes {
            if let Some(body) = self.bodies.get_mut(node) {
                body.session = None;
            }
        }
        self.tell(Event::Resources(self.declared.clone()));
        self.tell(Event::Lead { epoch: self.epoch });
        for node in nodes {
            self.register(&node);
        }
    }

    fn standing(&self, node: &NodeId) -> Vec<Standing> {
        let ours = self.wires.values().filter(|wire| wire.ends.contains(node));
        let standing = ours.map(|wire| {
            let dialled = wire.ends[0] == *node;
            let peer = wire.ends[usize::from(dialled)].clone();
            Standing { link: wire.link.clone(), peer, dialled: dialled.then(|| Arc::clone(&wire.address)) }
        });
        standing.collect()
    }

    /// Tells the controller.
    pub fn tell(&mut self, event: Event) {
        self.controller.handle(self.now, event);
        while let Some(act) = self.controller.poll() {
            self.act(act);
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Tell { session, plan } => {
                self.tells += 1;
                let Some(node) = self.of(session) else { return };
                if let Some(body) = self.bodies.get_mut(&node) {
                    body.plans.push(Arc::clone(&plan));
                }
                let bytes = plan.encode();
                self.input(&node, Input::Plan(Plan::decode(&bytes).unwrap()));
            }
            Act::Reject { session, why } => {
                let Some(node) = self.of(session) else { return };
                if let Some(body) = self.bodies.get_mut(&node) {
                    (body.session, body.rejected) = (None, Some(why));
                }
            }
            Act::Routes { .. } => {}
            Act::Report(report) => self.reports.push(report),
        }
    }

    fn of(&self, session: u64) -> Option<NodeId> {
        self.bodies.iter().find(|(_, body)| body.session == Some(session)).map(|(node, _)| node.clone())
    }

    fn input(&mut self, node: &NodeId, input: Input) {
        let now = self.now;
        if let Some(body) = self.bodies.get_mut(node).filter(|body| body.awake) {
            body.node.handle(now, input);
        }
    }

    /// Lets everything happen that happens by itself, until nothing does.
    pub fn rest(&mut self) {
        self.run(RUN);
    }

    /// Lets time go on for so long, at most.
    pub fn run(&mut self, span: Duration) {
        let end = self.now.after(span);
        loop {
            while self.step() {}
            let Some(wake) = self.controller.wake().filter(|wake| *wake <= end) else { break };
            // What the controller does for ever, it does not wait for.
            self.now = self.now.max(wake);
            self.tell(Event::Tick);
        }
        while self.step() {}
    }

    /// Does what is due at this moment. Says whether there was anything.
    fn step(&mut self) -> bool {
        let any = self.drain();
        self.dial_all() || any
    }

    /// Does what nodes want done.
    fn drain(&mut self) -> bool {
        let mut outputs = VecDeque::new();
        for (node, body) in self.bodies.iter_mut().filter(|(_, body)| body.awake) {
            while let Some(output) = body.node.poll() {
                outputs.push_back((node.clone(), output));
            }
        }
        let any = !outputs.is_empty();
        for (node, output) in outputs {
            self.output(&node, output);
        }
        any
    }

    fn output(&mut self, node: &NodeId, output: Output) {
        match output {
            Output::Send { conn, note } => {
                let bytes = note.encode();
                if let Some(peer) = self.other(conn) {
                    let note = mesh::wire::Note::decode(&bytes).unwrap();
                    self.input(&peer, Input::Heard { conn: conn ^ 1, note });
                }
                self.input(node, Input::Room { conn });
            }
            Output::Close { conn, .. } => self.cut(conn / 2),
            Output::Report(report) => self.node_report(node, report),
            Output::Links { want } => {
                let wanted: BTreeSet<_> = want.iter().map(|link| (link.id.clone(), link.dial.clone())).collect();
                let stale: Vec<u64> = (self.wires.iter())
                    .filter(|(_, wire)| wire.ends[0] == *node)
                    .filter(|(_, wire)| !wanted.contains(&(wire.link.clone(), Some(Arc::clone(&wire.address)))))
                    .map(|(at, _)| *at)
                    .collect();
                stale.into_iter().for_each(|wire| self.cut(wire));
            }
            Output::Touched(_) | Output::Refused { .. } => {}
        }
    }

    fn node_report(&mut self, node: &NodeId, report: NodeReport) {
        let Some(session) = self.bodies.get(node).and_then(|body| body.session) else { return };
        match report {
            NodeReport::Applied(generation) => self.tell(Event::Acked { session, generation, failed: Vec::new() }),
            NodeReport::Up { link, peer } => {
                let wire = self.wires.values().find(|wire| wire.link == link && wire.ends.contains(node));
                let dialled = wire.filter(|wire| wire.ends[0] == *node).map(|wire| Arc::clone(&wire.address));
                self.tell(Event::Up { session, up: Standing { link, peer, dialled } });
            }
            NodeReport::Down { link, .. } => self.tell(Event::Down { session, link, why: "ended".into() }),
            NodeReport::Stale { .. } | NodeReport::Full { .. } => {}
        }
    }

    fn other(&self, conn: u64) -> Option<NodeId> {
        let wire = self.wires.get(&(conn / 2))?;
        wire.ends.get(usize::try_from(1 - conn % 2).ok()?).cloned()
    }

    /// Dials each link that is not up. Says whether any came up.
    fn dial_all(&mut self) -> bool {
        let mut wanted = Vec::new();
        for (node, body) in self.bodies.iter().filter(|(_, body)| body.awake) {
            for link in body.node.links().into_iter().filter(|link| link.up.is_none()) {
                wanted.extend(link.plan.dial.clone().map(|address| (node.clone(), link.plan.clone(), address)));
            }
        }
        let mut any = false;
        for (node, plan, address) in wanted {
            if self.wires.values().any(|wire| wire.link == plan.id && wire.ends[0] == node) {
                continue;
            }
            let behind: Vec<NodeId> = (self.bodies.iter())
                .filter(|(_, body)| {
                    let Endpoints { listen, external } = &body.endpoints;
                    body.awake && [listen, external].into_iter().any(|each| each.as_ref() == Some(&address))
                })
                .map(|(node, _)| node.clone())
                .collect();
            let turn = self.balancers.entry(Arc::clone(&address)).or_default();
            *turn += u64::from(behind.len() > 1);
            let Some(peer) = behind.get(usize::try_from(*turn).unwrap() % behind.len().max(1)).cloned() else {
                self.fail(&node, &plan.id, "nobody is there");
                continue;
            };
            let there = self.bodies.get(&peer).map(|body| body.node.links()).unwrap_or_default();
            let same = there.iter().any(|link| link.plan.id == plan.id && link.plan.key == plan.key);
            let wrong = [&node, &peer].into_iter().any(|end| self.bodies.get(end).is_some_and(|body| body.wrong_key));
            let (one, two) = (node.domain.clone(), peer.domain.clone());
            let jammed = self.jams.contains(&(one.clone(), two.clone())) || self.jams.contains(&(two, one));
            if !same || wrong || jammed || peer == node {
                self.fail(&node, &plan.id, "the other end does not hold the key of this link");
                continue;
            }
            any = true;
            (self.next, self.made) = (self.next + 1, self.made + 1);
            let wire = self.next;
            let ends = [node.clone(), peer.clone()];
            self.wires.insert(wire, Wire { link: plan.id.clone(), ends, address });
            for (side, (end, other)) in (0..).zip([(&node, &peer), (&peer, &node)]) {
                let (conn, link) = (wire * 2 + side, plan.id.clone());
                self.input(end, Input::Up { conn, link, peer: other.clone(), dialled: side == 0 });
            }
        }
        any
    }

    /// A node tells that it could not bring a link about: once for each reason.
    fn fail(&mut self, node: &NodeId, link: &LinkId, why: &str) {
        let known =
            self.controller.status().links.into_iter().find(|view| view.id == *link && view.kind == LinkKind::Remote);
        if known.is_some_and(|view| view.state == LinkState::Failed(why.into())) {
            return;
        }
        let Some(body) = self.bodies.get(node) else { return };
        let (Some(session), generation) = (body.session, body.node.plan().generation) else { return };
        self.tell(Event::Acked { session, generation, failed: vec![(link.clone(), why.into())] });
    }

    /// A client at a node wants a subject, alone or in a group.
    pub fn want(&mut self, node: &str, pattern: &str, queue: Option<&str>) {
        let wish = Wish { pattern: Pattern::parse(pattern).unwrap(), queue: queue.map(Into::into) };
        let node = id(node);
        if let Some(body) = self.bodies.get_mut(&node) {
            body.wishes.insert(wish.clone());
        }
        self.input(&node, Input::Local { wish, present: true });
        self.rest();
    }

    pub fn unwant(&mut self, node: &str, pattern: &str, queue: Option<&str>) {
        let wish = Wish { pattern: Pattern::parse(pattern).unwrap(), queue: queue.map(Into::into) };
        let node = id(node);
        if let Some(body) = self.bodies.get_mut(&node) {
            body.wishes.remove(&wish);
        }
        self.input(&node, Input::Local { wish, present: false });
        self.rest();
    }

    /// A message that enters at a node: the nodes beyond it that deliver it to listeners, in order, each as often as
    /// it does, with the nodes on the way there.
    pub fn publish(&self, node: &str, subject: &str) -> Vec<String> {
        let mut got = Vec::new();
        let Some(body) = self.bodies.get(&id(node)) else { return got };
        let beyond = body.node.beyond(subject);
        let groups = beyond.groups.into_iter().filter_map(|group| group.tiers.into_iter().flatten().next());
        for leg in beyond.direct.into_iter().chain(groups) {
            self.carry(leg.conn, &leg.envelope, subject, node.to_owned(), &mut got);
        }
        got.sort();
        got
    }

    fn carry(&self, conn: u64, envelope: &Envelope, subject: &str, path: String, got: &mut Vec<String>) {
        let Some(peer) = self.other(conn) else { return };
        let path = format!("{path} {peer}");
        let envelope = Envelope::decode(&envelope.encode()).unwrap();
        let Some(body) = self.bodies.get(&peer).filter(|body| body.awake) else { return };
        let Ok(onward) = body.node.judge(conn ^ 1, &envelope, subject) else {
            got.push(format!("{path} refused"));
            return;
        };
        let listens = |wish: &Wish| wish.pattern.matches(subject);
        if body.wishes.iter().any(listens) && !onward.here.is_empty() {
            got.push(path.clone());
        }
        let groups = onward.groups.into_iter().filter(|group| !onward.here.queues.contains(&group.queue));
        let groups = groups.filter_map(|group| group.tiers.into_iter().flatten().next());
        for leg in onward.direct.into_iter().chain(groups) {
            self.carry(leg.conn, &leg.envelope, subject, path.clone(), got);
        }
    }

    pub fn status(&self) -> Status {
        self.controller.status()
    }

    /// The link that serves two domains.
    pub fn link(&self, one: &str, two: &str) -> Option<LinkView> {
        let views = self.status().links.into_iter();
        let mut views = views.filter(|view| view.kind == LinkKind::Remote && view.serves);
        views.find(|view| {
            let ends = [view.from.domain.as_str(), view.to_domain.as_str()];
            ends == [one, two] || ends == [two, one]
        })
    }

    /// Who holds the link of two domains, if it is up: both nodes, in order of the domains that were asked for.
    pub fn held(&self, one: &str, two: &str) -> Option<String> {
        let view = self.link(one, two).filter(|view| view.state == LinkState::Applied)?;
        let to = view.to?;
        Some(if view.from.domain.as_str() == one {
            format!("{} {to}", view.from)
        } else {
            format!("{to} {}", view.from)
        })
    }

    pub fn generation(&self, node: &str) -> Generation {
        self.bodies.get(&id(node)).map(|body| body.node.plan().generation).unwrap_or_default()
    }
}
