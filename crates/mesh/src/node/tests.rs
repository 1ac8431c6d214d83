//! Examples of the node: pairs and small nets over perfect links. What must hold under any order of events is the
//! business of the simulation.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use event::{Moment, Pattern};

use super::*;
use crate::acl::{AclRule, Who};
use crate::envelope::{Deliver, Envelope, HOPS_MAX};
use crate::plan::{Generation, SegmentPlan, Shape};
use crate::wire::{Note, Part};

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn wish(text: &str) -> Wish {
    let (pattern, queue) = text.split_once('@').map_or((text, None), |(pattern, queue)| (pattern, Some(queue)));
    Wish { pattern: Pattern::parse(pattern).unwrap(), queue: queue.map(Into::into) }
}

/// Nodes and their links, over which notes travel at once.
struct Net {
    nodes: BTreeMap<NodeId, Node>,
    /// By connection: its ends, the one that dialled first.
    wires: Vec<(NodeId, NodeId)>,
    outputs: BTreeMap<NodeId, Vec<Output>>,
    generation: u64,
    segments: Vec<(String, String)>,
    shape: Shape,
    acl: Arc<[AclRule]>,
}

impl Net {
    /// Nodes as `a/1 a/2 b/1`; segments as `s: a-b b-c`; gateways are the first nodes of their domains.
    fn new(nodes: &str, segments: &[(&str, &str)], shape: Shape) -> Self {
        let ids = nodes.split(' ').map(|text| NodeId::parse(text).unwrap());
        let mut net = Net {
            nodes: ids.map(|id| (id.clone(), Node::new(id, 7))).collect(),
            wires: Vec::new(),
            outputs: BTreeMap::new(),
            generation: 0,
            segments: segments.iter().map(|(name, edges)| (name.to_string(), edges.to_string())).collect(),
            shape,
            acl: Arc::from([]),
        };
        net.plan();
        net.connect();
        net
    }

    fn segment_plans(&self) -> Vec<Arc<SegmentPlan>> {
        let plan = |(segment, edges): &(String, String)| {
            let edge = |text: &str| {
                let (one, two) = text.split_once('-').unwrap();
                (name(one), name(two), 1)
            };
            let edges: Vec<_> = edges.split_whitespace().map(edge).collect();
            let mut domains: Vec<Name> = edges.iter().flat_map(|(one, two, _)| [one.clone(), two.clone()]).collect();
            domains.sort();
            domains.dedup();
            Arc::new(SegmentPlan { name: name(segment), domains, edges })
        };
        self.segments.iter().map(plan).collect()
    }

    /// A plan for each node, of the next generation.
    fn plan(&mut self) {
        self.generation += 1;
        let segments = self.segment_plans();
        let ids: Vec<NodeId> = self.nodes.keys().cloned().collect();
        let gateway = |domain: &Name| ids.iter().find(|id| id.domain == *domain).unwrap().clone();
        for id in &ids {
            let mut plan = Plan {
                generation: Generation { epoch: 1, number: self.generation },
                segments: segments.iter().filter(|segment| segment.domains.contains(&id.domain)).cloned().collect(),
                shape: self.shape.clone(),
                acl: Arc::clone(&self.acl),
                ..Plan::default()
            };
            let mut neighbours: BTreeMap<Name, Vec<Name>> = BTreeMap::new();
            for segment in &segments {
                for (one, two, _) in &segment.edges {
                    for (own, other) in [(one, two), (two, one)] {
                        if *own == id.domain {
                            neighbours.entry(other.clone()).or_default().push(segment.name.clone());
                        }
                    }
                }
            }
            for (domain, carried) in neighbours {
                plan.gateways.push((domain.clone(), gateway(&id.domain)));
                if *id == gateway(&id.domain) {
                    plan.links.push(link(id, &gateway(&domain), carried));
                }
            }
            let hub = match &self.shape {
                Shape::FullMesh => None,
                Shape::Hub(hub) => Some(hub.clone()),
            };
            for other in ids.iter().filter(|other| other.domain == id.domain && *other != id) {
                if hub.as_ref().is_none_or(|hub| *hub == id.node || *hub == other.node) {
                    plan.links.push(link(id, other, Vec::new()));
                }
            }
            self.handle(id, Input::Plan(plan));
        }
        self.run();
    }

    /// Brings up every planned link that is not up.
    fn connect(&mut self) {
        let ids: Vec<NodeId> = self.nodes.keys().cloned().collect();
        for id in ids {
            for view in self.nodes[&id].links() {
                let peer = NodeId::new(view.plan.domain.clone(), view.plan.node.clone().unwrap());
                if view.up.is_none() && id < peer {
                    self.dial(&id, &peer, &view.plan.id);
                }
            }
        }
        self.run();
    }

    fn dial(&mut self, from: &NodeId, to: &NodeId, link: &LinkId) {
        let conn = self.wires.len() as u64;
        self.wires.push((from.clone(), to.clone()));
        self.handle(from, Input::Up { conn, link: link.clone(), peer: to.clone(), dialled: true });
        self.handle(to, Input::Up { conn, link: link.clone(), peer: from.clone(), dialled: false });
    }

    fn handle(&mut self, id: &NodeId, input: Input) {
        let node = self.nodes.get_mut(id).unwrap();
        node.handle(Moment::EPOCH, input);
        while let Some(output) = node.poll() {
            self.outputs.entry(id.clone()).or_default().push(output);
        }
    }

    fn other(&self, conn: u64, id: &NodeId) -> NodeId {
        let (one, two) = &self.wires[usize::try_from(conn).unwrap()];
        if one == id { two.clone() } else { one.clone() }
    }

    /// Lets notes travel until none do. What else nodes said is left.
    fn run(&mut self) {
        let mut kept: BTreeMap<NodeId, Vec<Output>> = BTreeMap::new();
        loop {
            let outputs = core::mem::take(&mut self.outputs);
            if outputs.is_empty() {
                break;
            }
            for (id, outputs) in outputs {
                for output in outputs {
                    match output {
                        Output::Send { conn, note } => {
                            let other = self.other(conn, &id);
                            let note = Note::decode(&note.encode()).unwrap();
                            self.handle(&id, Input::Room { conn });
                            self.handle(&other, Input::Heard { conn, note });
                        }
                        Output::Close { conn, why } => {
                            let other = self.other(conn, &id);
                            self.handle(&other, Input::Down { conn });
                            kept.entry(id.clone()).or_default().push(Output::Close { conn, why });
                        }
                        other => kept.entry(id.clone()).or_default().push(other),
                    }
                }
            }
        }
        self.outputs = kept;
    }

    /// What a node said since this was last asked, but for the usual.
    fn said(&mut self, id: &str) -> Vec<Output> {
        let outputs = self.outputs.remove(&NodeId::parse(id).unwrap()).unwrap_or_default();
        outputs.into_iter().filter(|output| matches!(output, Output::Refused { .. } | Output::Close { .. })).collect()
    }

    fn want(&mut self, id: &str, text: &str, present: bool) {
        self.handle(&NodeId::parse(id).unwrap(), Input::Local { wish: wish(text), present });
        self.run();
    }

    fn conn(&self, from: &str, to: &str) -> u64 {
        let (from, to) = (NodeId::parse(from).unwrap(), NodeId::parse(to).unwrap());
        let views = self.nodes[&from].links();
        views.into_iter().find_map(|view| view.up.filter(|(_, peer)| *peer == to)).unwrap().0
    }

    /// Who gets a message, as `a/1 b/1@q`: each once for each copy. A group's member is the first of the first tier.
    fn publish(&self, from: &str, subject: &str) -> String {
        let from = NodeId::parse(from).unwrap();
        let beyond = self.nodes[&from].beyond(subject);
        let mut legs: VecDeque<(NodeId, Leg)> = VecDeque::new();
        legs.extend(beyond.direct.into_iter().map(|leg| (from.clone(), leg)));
        let first = |group: FarGroup| group.tiers.into_iter().flatten().next();
        legs.extend(beyond.groups.into_iter().filter_map(first).map(|leg| (from.clone(), leg)));
        let mut got = Vec::new();
        while let Some((sender, leg)) = legs.pop_front() {
            let at = self.other(leg.conn, &sender);
            let head = Envelope::decode(&leg.envelope.encode()).unwrap();
            let onward = self.nodes[&at].judge(leg.conn, &head, subject).unwrap();
            assert_eq!(onward.lost, []);
            let wanted = |queue: Option<&Arc<str>>| {
                let mut any = false;
                self.nodes[&at].interests.each(subject, &mut |number, each| any |= number == OWN && each == queue);
                any
            };
            if onward.here.direct && wanted(None) {
                got.push(at.to_string());
            }
            for queue in onward.here.queues.iter().filter(|queue| wanted(Some(queue))) {
                got.push(format!("{at}@{queue}"));
            }
            legs.extend(onward.direct.into_iter().map(|leg| (at.clone(), leg)));
            let far = onward.groups.into_iter().filter(|group| !wanted(Some(&group.queue))).filter_map(first);
            legs.extend(far.map(|leg| (at.clone(), leg)));
        }
        got.sort();
        got.join(" ")
    }
}

fn link(own: &NodeId, peer: &NodeId, segments: Vec<Name>) -> LinkPlan {
    LinkPlan {
        id: LinkId::parse(&format!("{}|{}", own.min(peer), own.max(peer))).unwrap(),
        kind: if own.domain == peer.domain { LinkKind::Peer } else { LinkKind::Remote },
        domain: peer.domain.clone(),
        node: Some(peer.node.clone()),
        dial: (own < peer).then(|| "there:1".into()),
        key: [7; 32],
        segments,
    }
}

#[test]
fn peers_of_a_full_mesh_get_it_in_one_hop() {
    let mut net = Net::new("a/1 a/2 a/3", &[], Shape::FullMesh);
    for (node, text) in [("a/2", "x.>"), ("a/3", "x.y"), ("a/3", "x.*"), ("a/1", ">")] {
        net.want(node, text, true);
    }
    assert_eq!(net.publish("a/1", "x.y"), "a/2 a/3");
    assert_eq!(net.publish("a/2", "x.y"), "a/1 a/3");
    assert_eq!(net.publish("a/2", "other"), "a/1");
    net.want("a/3", "x.y", false);
    assert_eq!(net.publish("a/1", "x.y"), "a/2 a/3");
    net.want("a/3", "x.*", false);
    assert_eq!(net.publish("a/1", "x.y"), "a/2");
}

#[test]
fn a_hub_relays_and_nobody_gets_it_twice() {
    let mut net = Net::new("a/1 a/2 a/3 a/4", &[], Shape::Hub(name("2")));
    for node in ["a/1", "a/2", "a/3", "a/4"] {
        net.want(node, "x", true);
    }
    assert_eq!(net.publish("a/1", "x"), "a/2 a/3 a/4");
    assert_eq!(net.publish("a/2", "x"), "a/1 a/3 a/4");
}

#[test]
fn a_chain_of_domains_hands_it_on_along_the_tree() {
    let mut net = Net::new("a/1 a/2 b/1 b/2 c/1 c/2", &[("s", "a-b b-c")], Shape::FullMesh);
    net.want("c/2", "x", true);
    net.want("b/2", "x", true);
    assert_eq!(net.publish("a/2", "x"), "b/2 c/2");
    assert_eq!(net.publish("c/1", "x"), "b/2 c/2");
    assert_eq!(net.publish("c/2", "x"), "b/2");
}

#[test]
fn a_spoke_of_another_segment_does_not_get_it() {
    let mut net = Net::new("hub/1 x/1 y/1", &[("s-x", "hub-x"), ("s-y", "hub-y")], Shape::FullMesh);
    for node in ["hub/1", "x/1", "y/1"] {
        net.want(node, ">", true);
    }
    assert_eq!(net.publish("x/1", "m"), "hub/1");
    assert_eq!(net.publish("hub/1", "m"), "x/1 y/1");
}

#[test]
fn of_a_group_one_member_gets_it_the_nearest_first() {
    let mut net = Net::new("a/1 a/2 b/1 b/2 c/1", &[("s", "a-b b-c")], Shape::FullMesh);
    net.want("c/1", "x@q", true);
    assert_eq!(net.publish("a/2", "x"), "c/1@q");
    net.want("b/2", "x@q", true);
    assert_eq!(net.publish("a/2", "x"), "b/2@q");
    net.want("a/1", "x@q", true);
    assert_eq!(net.publish("a/2", "x"), "a/1@q");
    net.want("a/1", "x", true);
    net.want("b/1", "x", true);
    assert_eq!(net.publish("a/2", "x"), "a/1 a/1@q b/1");
}

#[test]
fn a_domain_is_told_once_when_the_first_comes_and_when_the_last_goes() {
    let mut net = Net::new("a/1 a/2 a/3 b/1", &[("s", "a-b")], Shape::FullMesh);
    let heard = |net: &Net| {
        let source = Source::Domain { domain: name("a"), segment: name("s") };
        net.nodes[&NodeId::parse("b/1").unwrap()].wishes(&source, 10).0.len()
    };
    for node in ["a/2", "a/3"] {
        net.want(node, "x", true);
        assert_eq!(heard(&net), 1);
    }
    net.want("a/2", "x", false);
    assert_eq!(heard(&net), 1);
    net.want("a/3", "x", false);
    assert_eq!(heard(&net), 0);
}

#[test]
fn an_older_plan_changes_nothing() {
    let mut net = Net::new("a/1 b/1", &[("s", "a-b")], Shape::FullMesh);
    net.want("b/1", "x", true);
    let id = NodeId::parse("a/1").unwrap();
    let told = Generation { epoch: 1, number: 0 };
    net.handle(&id, Input::Plan(Plan { generation: told, ..Plan::default() }));
    let have = net.nodes[&id].plan().generation;
    assert_eq!(net.outputs[&id].last(), Some(&Output::Report(Report::Stale { told, have })));
    assert_eq!(net.publish("a/1", "x"), "b/1");
}

#[test]
fn a_peer_that_comes_back_is_told_all_and_tells_all() {
    let mut net = Net::new("a/1 a/2", &[], Shape::FullMesh);
    net.want("a/1", "x", true);
    net.want("a/2", "y", true);
    // The second forgets everything and comes back with other clients; the first has not seen it go.
    let (one, two) = (NodeId::parse("a/1").unwrap(), NodeId::parse("a/2").unwrap());
    let plan = net.nodes[&two].plan().clone();
    let link = plan.links[0].id.clone();
    net.nodes.insert(two.clone(), Node::new(two.clone(), 8));
    net.handle(&two, Input::Plan(plan));
    net.want("a/2", "z", true);
    net.dial(&one, &two, &link);
    net.run();
    assert_eq!(net.publish("a/2", "x"), "a/1");
    assert_eq!(net.publish("a/1", "z"), "a/2");
    assert_eq!(net.publish("a/1", "y"), "");
}

#[test]
fn of_two_connections_the_one_that_the_smaller_dialled_stays() {
    for order in [[0, 1], [1, 0]] {
        let mut net = Net::new("a/1 a/2", &[], Shape::FullMesh);
        let (one, two) = (NodeId::parse("a/1").unwrap(), NodeId::parse("a/2").unwrap());
        let link = net.nodes[&one].plan().links[0].id.clone();
        net.wires.extend([(one.clone(), two.clone()), (two.clone(), one.clone())]);
        for conn in order {
            for (own, other, dialled) in [(&one, &two, conn == 0), (&two, &one, conn == 1)] {
                let input = Input::Up { conn: conn + 1, link: link.clone(), peer: other.clone(), dialled };
                net.handle(own, input);
            }
        }
        net.run();
        assert_eq!((net.conn("a/1", "a/2"), net.conn("a/2", "a/1")), (1, 1), "{order:?}");
    }
}

#[test]
fn a_link_ends_that_is_not_planned_or_leads_elsewhere() {
    let mut net = Net::new("a/1 a/2 b/1", &[("s", "a-b")], Shape::FullMesh);
    let one = NodeId::parse("a/1").unwrap();
    let link = net.nodes[&one].plan().links[0].id.clone();
    let up = |link: &str, peer: &str| Input::Up {
        conn: 99,
        link: LinkId::parse(link).unwrap(),
        peer: NodeId::parse(peer).unwrap(),
        dialled: false,
    };
    for (input, why) in [
        (up("nobody", "a/2"), Ending::Unplanned),
        (up(link.as_str(), "a/1"), Ending::Itself),
        (up(link.as_str(), "c/1"), Ending::WrongPeer),
        (up(link.as_str(), "a/3"), Ending::WrongPeer),
    ] {
        net.handle(&one, input);
        assert!(net.outputs.remove(&one).unwrap().contains(&Output::Close { conn: 99, why }));
    }
}

fn envelope(origin: &str, segment: Option<&str>, to: &[&str]) -> Envelope {
    Envelope {
        origin: NodeId::parse(origin).unwrap(),
        segment: segment.map(name),
        hops: HOPS_MAX,
        every: false,
        traced: false,
        here: Deliver::NOBODY,
        nodes: Vec::new(),
        to: to.iter().map(|to| (name(to), Deliver::direct())).collect(),
    }
}

/// The hub between two customers: x is in a segment with it, y in another; z lies behind x.
fn customers() -> Net {
    Net::new("hub/1 hub/2 x/1 y/1 z/1", &[("s-x", "hub-x x-z"), ("s-y", "hub-y")], Shape::FullMesh)
}

#[track_caller]
fn check_refused(head: &Envelope, from: &str, at: &str, expected: Result<(), Refusal>) {
    let net = customers();
    let node = &net.nodes[&NodeId::parse(at).unwrap()];
    assert_eq!(node.judge(net.conn(at, from), head, "m").map(|_| ()), expected);
    if expected.is_err() {
        // What is to be kept, and words about it, are held to the same.
        assert_eq!(node.hand(net.conn(at, from), head, None).map(|_| ()), expected);
    }
}

#[test]
fn whatever_a_rogue_gateway_sends_stays_within_its_segment() {
    let (s_x, s_y) = (Some("s-x"), Some("s-y"));
    check_refused(&envelope("x/1", s_x, &["hub"]), "x/1", "hub/1", Ok(()));
    check_refused(&envelope("z/1", s_x, &["hub"]), "x/1", "hub/1", Ok(()));
    let refused = |head, why| check_refused(&head, "x/1", "hub/1", Err(why));
    refused(envelope("x/1", s_y, &["y"]), Refusal::LinkSegment);
    refused(envelope("x/1", None, &["hub"]), Refusal::LinkSegment);
    refused(envelope("x/1", s_x, &["y"]), Refusal::DestinationSegment);
    refused(envelope("x/1", s_x, &["hub", "y"]), Refusal::DestinationSegment);
    refused(envelope("y/1", s_x, &["hub"]), Refusal::OriginSegment);
    refused(envelope("nobody/1", s_x, &["hub"]), Refusal::OriginSegment);
    refused(envelope("hub/2", s_x, &["hub"]), Refusal::Path);
    refused(envelope("z/1", s_x, &["x"]), Refusal::Path);
    refused(Envelope { here: Deliver::direct(), ..envelope("x/1", s_x, &[]) }, Refusal::Shape);
    let nodes = vec![(name("2"), Deliver::direct())];
    refused(Envelope { nodes, ..envelope("x/1", s_x, &[]) }, Refusal::Shape);
}

#[test]
fn a_peer_may_not_say_what_others_say_nor_have_it_relayed() {
    let here = |origin| Envelope { here: Deliver::direct(), ..envelope(origin, None, &[]) };
    check_refused(&here("hub/2"), "hub/2", "hub/1", Ok(()));
    check_refused(&here("hub/1"), "hub/2", "hub/1", Err(Refusal::Path));
    check_refused(&here("hub/3"), "hub/2", "hub/1", Err(Refusal::Path));
    check_refused(&here("x/1"), "hub/2", "hub/1", Err(Refusal::LinkSegment));
    let nodes = vec![(name("3"), Deliver::direct())];
    check_refused(&Envelope { nodes, ..here("hub/2") }, "hub/2", "hub/1", Err(Refusal::Relay));
    check_refused(&envelope("hub/2", Some("s-x"), &["x", "z"]), "hub/2", "hub/1", Ok(()));
    check_refused(&envelope("hub/2", Some("s-y"), &["x"]), "hub/2", "hub/1", Err(Refusal::DestinationSegment));
}

#[test]
fn hops_end() {
    let net = customers();
    let hub = &net.nodes[&NodeId::parse("x/1").unwrap()];
    let head = Envelope { hops: 0, ..envelope("hub/1", Some("s-x"), &["x", "z"]) };
    let onward = hub.judge(net.conn("x/1", "hub/1"), &head, "m").unwrap();
    assert_eq!((onward.here.direct, onward.direct.len()), (true, 0));
    assert_eq!(onward.lost, [(name("z"), Refusal::Hops)]);
}

#[test]
fn what_is_traced_is_traced_to_its_end() {
    let net = customers();
    let x = &net.nodes[&NodeId::parse("x/1").unwrap()];
    for traced in [false, true] {
        let head = Envelope { traced, ..envelope("hub/1", Some("s-x"), &["x", "z"]) };
        let onward = x.judge(net.conn("x/1", "hub/1"), &head, "m").unwrap();
        assert!(!onward.direct.is_empty() && onward.direct.iter().all(|leg| leg.envelope.traced == traced));
        assert_eq!(Envelope::traced(&head.encode()), Envelope { traced: true, ..head }.encode());
    }
}

#[test]
fn wishes_are_taken_only_from_whom_the_tree_names() {
    let mut net = customers();
    let conn = net.conn("hub/1", "x/1");
    let source = |domain, segment| Source::Domain { domain: name(domain), segment: name(segment) };
    for (source, taken) in [
        (source("x", "s-x"), true),
        (source("z", "s-x"), true),
        (source("y", "s-x"), false),
        (source("y", "s-y"), false),
        (source("x", "s-y"), false),
        (source("hub", "s-x"), false),
        (Source::Node(name("1")), false),
        (Source::Node(name("2")), false),
    ] {
        let part = Part { source: source.clone(), anew: true, add: vec![wish("secret"), wish("x@q")], remove: vec![] };
        net.handle(&NodeId::parse("hub/1").unwrap(), Input::Heard { conn, note: Note::Wishes(vec![part]) });
        net.run();
        let refused = Output::Refused { conn, why: Refusal::Parent, count: 2 };
        assert_eq!(net.said("hub/1"), if taken { vec![] } else { vec![refused] }, "{source}");
    }
    assert_eq!(net.publish("y/1", "secret"), "");
}

#[test]
fn a_closed_name_crosses_no_border_and_an_opened_one_does_at_once() {
    let mut net = Net::new("a/1 b/1 c/1", &[("s", "a-b b-c")], Shape::FullMesh);
    for node in ["b/1", "c/1"] {
        net.want(node, "pay.>", true);
        net.want(node, "news", true);
    }
    assert_eq!(net.publish("a/1", "pay.x"), "b/1 c/1");
    let list = |domains: &[&str]| Some(domains.iter().map(|domain| Who::Domain(name(domain))).collect());
    let rule = |publish, subscribe| AclRule {
        name: "pay".into(),
        subjects: vec![Pattern::parse("pay.>").unwrap()],
        publish,
        subscribe,
    };
    net.acl = Arc::from([rule(None, list(&["a", "b"]))]);
    net.plan();
    assert_eq!(net.publish("a/1", "pay.x"), "b/1");
    assert_eq!(net.publish("a/1", "news"), "b/1 c/1");
    // Who listens to everything hears what is not closed, and that alone.
    net.want("c/1", ">", true);
    assert_eq!(net.publish("a/1", "pay.x"), "b/1");
    assert_eq!(net.publish("a/1", "other"), "c/1");
    net.want("c/1", ">", false);
    net.acl = Arc::from([rule(list(&["b"]), None)]);
    net.plan();
    assert_eq!(net.publish("a/1", "pay.x"), "");
    assert_eq!(net.publish("b/1", "pay.x"), "c/1");
    let head = envelope("a/1", Some("s"), &["b"]);
    let judged = net.nodes[&NodeId::parse("b/1").unwrap()].judge(net.conn("b/1", "a/1"), &head, "pay.x");
    assert_eq!(judged, Err(Refusal::PublishRule));
    net.acl = Arc::from([]);
    net.plan();
    assert_eq!(net.publish("a/1", "pay.x"), "b/1 c/1");
}

#[test]
fn a_segment_that_loses_an_edge_loses_what_crossed_it_and_regains_it() {
    let mut net = Net::new("a/1 b/1 c/1", &[("s", "a-b b-c")], Shape::FullMesh);
    net.want("c/1", "x", true);
    assert_eq!(net.publish("a/1", "x"), "c/1");
    net.segments = vec![("s".into(), "a-b".into())];
    net.plan();
    assert_eq!(net.publish("a/1", "x"), "");
    net.segments = vec![("s".into(), "a-b b-c".into())];
    net.plan();
    net.connect();
    assert_eq!(net.publish("a/1", "x"), "c/1");
}

#[test]
fn what_is_kept_in_a_domain_goes_there_though_nobody_listens() {
    let net = Net::new("a/1 a/2 b/1 c/1", &[("s", "a-b b-c")], Shape::FullMesh);
    let leg = net.nodes[&NodeId::parse("a/2").unwrap()].toward(&name("c"), "x").unwrap();
    assert_eq!(leg.conn, net.conn("a/2", "a/1"));
    assert_eq!(leg.envelope.to, [(name("c"), Deliver::direct())]);
    assert_eq!(net.nodes[&NodeId::parse("a/2").unwrap()].toward(&name("z"), "x"), Err(Refusal::NoWay));
}

/// The nodes that a frame of custody comes to, up to the one that takes it; or why none does.
#[track_caller]
fn check_straight(net: &Net, from: &str, to: &str, expected: Result<&str, Refusal>) {
    let (domain, node) = to.split_once('/').map_or((to, None), |(domain, node)| (domain, Some(name(node))));
    let mut at = NodeId::parse(from).unwrap();
    let mut way = Vec::new();
    let mut step = net.nodes[&at].straight(&name(domain), node.as_ref()).map(Handed::On);
    while let Ok(Handed::On(leg)) = step {
        at = net.other(leg.conn, &at);
        way.push(at.to_string());
        step = net.nodes[&at].hand(leg.conn, &leg.envelope, node.as_ref());
    }
    assert_eq!(step.map(|_| way.join(" ")), expected.map(String::from));
}

#[test]
fn a_frame_of_custody_comes_to_the_node_that_it_is_for_and_to_no_other() {
    let mut net = Net::new("a/1 a/2 b/1 c/1 c/2 c/3", &[("s", "a-b b-c")], Shape::FullMesh);
    check_straight(&net, "a/2", "c", Ok("a/1 b/1 c/1"));
    check_straight(&net, "a/2", "c/2", Ok("a/1 b/1 c/1 c/2"));
    check_straight(&net, "a/1", "c/1", Ok("b/1 c/1"));
    check_straight(&net, "c/3", "a/2", Ok("c/1 b/1 a/1 a/2"));
    check_straight(&net, "a/2", "c/9", Err(Refusal::NoWay));
    check_straight(&net, "a/2", "z", Err(Refusal::NoWay));
    check_straight(&net, "c/3", "c/2", Ok("c/2"));
    check_straight(&net, "c/3", "c/3", Err(Refusal::Shape));
    check_straight(&net, "c/3", "c", Err(Refusal::Shape));
    assert_eq!(net.nodes[&NodeId::parse("a/1").unwrap()].domains().collect::<Vec<_>>(), [&name("b"), &name("c")]);
    // Names are asked for apart: words about what is kept have none.
    let rule = AclRule {
        name: "pay".into(),
        subjects: vec![Pattern::parse("pay.>").unwrap()],
        publish: Some(vec![Who::Domain(name("a"))]),
        subscribe: Some(vec![Who::Domain(name("b"))]),
    };
    net.acl = Arc::from([rule]);
    net.plan();
    let node = &net.nodes[&NodeId::parse("b/1").unwrap()];
    let may =
        |from, to, subject| node.may_cross(&name(from), &name(to), subject).map_err(|rule| (rule.why, rule.domain));
    assert_eq!(may("a", "b", "pay.x"), Ok(()));
    assert_eq!(may("a", "c", "pay.x"), Err((Refusal::SubscribeRule, name("c"))));
    assert_eq!(may("c", "b", "pay.x"), Err((Refusal::PublishRule, name("c"))));
    assert_eq!(may("c", "a", "news"), Ok(()));
    let takes = |pattern: &str| node.may_take(&name("c"), &Pattern::parse(pattern).unwrap()).is_ok();
    assert!(takes("news.>") && !takes("*.x"));
}

#[test]
fn in_a_domain_with_a_hub_a_frame_of_custody_goes_by_it() {
    let net = Net::new("a/1 b/1 b/2 b/3", &[("s", "a-b")], Shape::Hub(name("1")));
    check_straight(&net, "a/1", "b/3", Ok("b/1 b/3"));
    check_straight(&net, "b/2", "b/3", Ok("b/1 b/3"));
    check_straight(&net, "b/3", "a/1", Ok("b/1 a/1"));
}

fn sends(outputs: &[Output]) -> usize {
    outputs.iter().filter(|each| matches!(each, Output::Send { .. })).count()
}

#[test]
fn many_names_travel_in_small_notes_and_no_faster_than_there_is_room() {
    let mut net = Net::new("a/1 a/2", &[], Shape::FullMesh);
    let (one, two) = (NodeId::parse("a/1").unwrap(), NodeId::parse("a/2").unwrap());
    let conn = net.conn("a/1", "a/2");
    for number in 0..20_000 {
        net.handle(&one, Input::Local { wish: wish(&format!("names.{number}")), present: true });
    }
    assert_eq!(sends(&net.outputs[&one]), NOTES_AHEAD as usize);
    net.run();
    assert_eq!(net.nodes[&two].sources().iter().map(|source| source.wishes).max(), Some(20_000));
    assert_eq!(net.publish("a/2", "names.19999"), "a/1");
    // And all at once, to one who comes new.
    net.handle(&two, Input::Down { conn });
    net.handle(&one, Input::Down { conn });
    assert_eq!(net.publish("a/2", "names.19999"), "");
    net.connect();
    assert_eq!(net.publish("a/2", "names.19999"), "a/1");
    assert!(net.nodes[&two].links()[0].full);
}

#[test]
fn changes_that_pile_up_are_told_as_they_are_in_the_end() {
    let mut net = Net::new("a/1 a/2", &[], Shape::FullMesh);
    let one = NodeId::parse("a/1").unwrap();
    for round in 0..1_000 {
        net.handle(&one, Input::Local { wish: wish("flaps"), present: round % 2 == 0 });
    }
    assert_eq!(sends(&net.outputs[&one]), NOTES_AHEAD as usize);
    net.run();
    assert_eq!(net.publish("a/2", "flaps"), "");
}
