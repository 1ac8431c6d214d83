//! A run: the network between the bodies, and the steps.

mod watch;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use mesh::acl::AclRule;
use mesh::envelope::Envelope;
use mesh::names::{LinkId, Name, NodeId};
use mesh::node::Input;
use mesh::plan::{LinkKind, SegmentPlan};
use mesh::wire::Note;

use super::body::{Body, Done, Frame, Got, Message};
use super::check::Model;
use super::planner::Truth;
use super::rogue;
use super::story::{SUBJECTS, Step, World, world};
use crate::chance::Chance;
use crate::seeds::Report;

/// Small things that may happen before all is at rest. Far more than are needed: what circles shows by it.
const REST_MAX: u64 = 400_000;

/// What runs met.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Messages that were published.
    pub published: u64,
    /// Deliveries.
    pub got: u64,
    /// Copies that went between nodes.
    pub copies: u64,
    /// Notes of interests.
    pub notes: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Messages and wishes that were refused.
    pub refused: u64,
    /// Lies that were told.
    pub lies: u64,
}

impl Counts {
    /// Adds those of another run.
    pub fn add(&mut self, other: &Counts) {
        self.published += other.published;
        self.got += other.got;
        self.copies += other.copies;
        self.notes += other.notes;
        self.connections += other.connections;
        self.refused += other.refused;
        self.lies += other.lies;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Made, and the node does not know yet.
    Coming,
    Up,
    Gone,
}

/// A connection: its ends, the first of which dialled, and what is on its way to each.
struct Wire {
    link: LinkId,
    ends: [usize; 2],
    states: [End; 2],
    queues: [VecDeque<Frame>; 2],
    dead: bool,
}

/// A small thing that may happen.
enum Act {
    Frame(usize, usize),
    Up(usize, usize),
    Down(usize, usize),
    Dial(usize, LinkId, usize),
    Plan(usize),
}

/// Where a message entered, as it is true.
struct Sent {
    domain: Name,
    every: bool,
    lie: bool,
    copies: u64,
}

struct Run {
    world: World,
    chance: Chance,
    bodies: Vec<Body>,
    wires: Vec<Wire>,
    parted: BTreeSet<(usize, usize)>,
    generation: u64,
    topology: usize,
    rules: usize,
    /// Topologies that a plan may still be of.
    held: BTreeSet<usize>,
    sent: Vec<Sent>,
    got: BTreeMap<Got, u64>,
    log: Vec<String>,
    counts: Counts,
    failure: Option<String>,
}

/// Runs steps.
pub(super) fn run(seed: u64, steps: &[Step]) -> Report<Counts> {
    let mut run = Run::new(seed);
    for step in steps {
        run.log.push(format!("{step:?}"));
        run.step(step);
        if run.failure.is_some() {
            break;
        }
    }
    if run.failure.is_none() {
        run.end();
    }
    let text = run.log.join("\n");
    let lines = text.bytes().chain(format!("{:?}", run.got).into_bytes());
    let digest =
        lines.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    Report { log: run.log, failure: run.failure, digest, counts: run.counts }
}

impl Run {
    fn new(seed: u64) -> Self {
        let world = world(seed);
        let mut chance = Chance::new(seed).branch(3);
        let body = |number| Body {
            number,
            node: None,
            wishes: BTreeSet::new(),
            links: Vec::new(),
            conns: BTreeMap::new(),
            plans: Vec::new(),
            clock: 0,
        };
        let mut bodies: Vec<Body> = (0..world.nodes.len()).map(body).collect();
        for body in &mut bodies {
            body.clock = chance.number();
            let seed = chance.number();
            body.start(&world.nodes[body.number], seed, &mut Done::default());
        }
        Run {
            world,
            chance,
            bodies,
            wires: Vec::new(),
            parted: BTreeSet::new(),
            generation: 0,
            topology: 0,
            rules: 0,
            held: BTreeSet::from([0]),
            sent: Vec::new(),
            got: BTreeMap::new(),
            log: Vec::new(),
            counts: Counts::default(),
            failure: None,
        }
    }

    fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
    }

    fn segments(&self) -> &[Arc<SegmentPlan>] {
        &self.world.topologies[self.topology]
    }

    fn rule_list(&self) -> &Arc<[AclRule]> {
        &self.world.rules[self.rules]
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Run(count) => {
                for _ in 0..*count {
                    if !self.act() {
                        break;
                    }
                }
            }
            Step::Want { node, wish, present } => {
                let body = &mut self.bodies[*node];
                let changed = if *present { body.wishes.insert(wish.clone()) } else { body.wishes.remove(wish) };
                if changed {
                    self.handle(*node, Input::Local { wish: wish.clone(), present: *present });
                }
            }
            Step::Publish { node, subject, every } => drop(self.publish(*node, subject, *every)),
            Step::Cut(number) => {
                let alive: Vec<usize> = (0..self.wires.len()).filter(|wire| !self.wires[*wire].dead).collect();
                if !alive.is_empty() {
                    self.kill_wire(alive[usize::try_from(*number).unwrap_or(0) % alive.len()]);
                }
            }
            Step::Part { one, two, cut } => self.part(*one.min(two), *one.max(two), *cut),
            Step::Kill(node) => self.kill(*node),
            Step::Start(node) => self.start(*node),
            Step::Plan { topology, rules } => {
                (self.topology, self.rules) = (*topology, *rules);
                self.held.insert(*topology);
                self.plan();
            }
            Step::Lie => self.lie(),
        }
    }

    fn part(&mut self, one: usize, two: usize, cut: bool) {
        if !cut {
            self.parted.remove(&(one, two));
            return;
        }
        self.parted.insert((one, two));
        for wire in 0..self.wires.len() {
            let ends = self.wires[wire].ends;
            if ends == [one, two] || ends == [two, one] {
                self.kill_wire(wire);
            }
        }
    }

    fn kill(&mut self, node: usize) {
        if self.bodies[node].node.take().is_none() {
            return;
        }
        self.bodies[node].conns.clear();
        self.bodies[node].links.clear();
        for wire in 0..self.wires.len() {
            if let Some(end) = self.wires[wire].ends.iter().position(|each| *each == node) {
                self.kill_wire(wire);
                self.wires[wire].states[end] = End::Gone;
            }
        }
        self.plan();
    }

    fn start(&mut self, node: usize) {
        if self.bodies[node].node.is_some() {
            return;
        }
        let (mut done, seed) = (Done::default(), self.chance.number());
        let id: NodeId = self.world.nodes[node].clone();
        self.bodies[node].start(&id, seed, &mut done);
        self.did(node, done);
        self.plan();
    }

    /// A new plan for everybody, on its way.
    fn plan(&mut self) {
        self.generation += 1;
        let alive: Vec<bool> = self.bodies.iter().map(|body| body.node.is_some()).collect();
        let truth = Truth {
            world: &self.world,
            segments: self.segments(),
            rules: self.rule_list(),
            alive: &alive,
            generation: self.generation,
        };
        let plans = truth.plans();
        for (body, plan) in self.bodies.iter_mut().zip(plans) {
            body.plans.push(plan);
        }
    }

    /// The gateways of the rogue domain send what they may not.
    fn lie(&mut self) {
        let Some(rogue) = self.world.rogue.map(|rogue| self.world.domains[rogue].name.clone()) else { return };
        let liars: Vec<(usize, usize)> = (0..self.wires.len())
            .flat_map(|wire| [(wire, 0), (wire, 1)])
            .filter(|(wire, end)| {
                let wire = &self.wires[*wire];
                let domain = |end: usize| &self.world.nodes[wire.ends[end]].domain;
                !wire.dead && *domain(*end) == rogue && *domain(1 - end) != rogue
            })
            .collect();
        let Some((wire, end)) = self.chance.pick(&liars).copied() else { return };
        for _ in 0..self.chance.between(1, 8) {
            let subject = self.chance.pick(&SUBJECTS).copied().unwrap_or("a");
            let message = Message { number: self.sent.len(), subject };
            self.sent.push(Sent { domain: rogue.clone(), every: false, lie: true, copies: 0 });
            let frame = rogue::lie(&self.world, message, &mut self.chance);
            self.wires[wire].queues[1 - end].push_back(frame);
            self.counts.lies += 1;
        }
    }

    fn publish(&mut self, node: usize, subject: &'static str, every: bool) -> Option<usize> {
        self.bodies[node].node.as_ref()?;
        let message = Message { number: self.sent.len(), subject };
        let domain = self.world.nodes[node].domain.clone();
        self.sent.push(Sent { domain, every, lie: false, copies: 0 });
        self.counts.published += 1;
        let mut done = Done::default();
        self.bodies[node].publish(message, every, &mut self.chance, &mut done);
        self.did(node, done);
        Some(message.number)
    }

    fn handle(&mut self, node: usize, input: Input) {
        let mut done = Done::default();
        self.bodies[node].handle(input, &mut done);
        self.did(node, done);
    }

    /// Puts on the wires what a body did, and checks it.
    fn did(&mut self, node: usize, done: Done) {
        self.counts.refused += done.refused.len() as u64;
        for got in done.got {
            self.check_got(&got);
            *self.got.entry(got).or_default() += 1;
            self.counts.got += 1;
        }
        for (conn, frame) in done.sent {
            let wire = usize::try_from(conn).unwrap_or(usize::MAX);
            let Some(end) = self.wires.get(wire).and_then(|wire| wire.ends.iter().position(|each| *each == node))
            else {
                return self.fail(format!("node {node} sends on {conn}, which is not its own"));
            };
            match &frame {
                Frame::Note(_) => self.counts.notes += 1,
                Frame::Message(head, message) => self.check_copy(wire, end, head, *message),
            }
            let wire = &mut self.wires[wire];
            if !wire.dead {
                wire.queues[1 - end].push_back(frame);
            }
        }
        for conn in done.closed {
            let wire = usize::try_from(conn).unwrap_or(usize::MAX);
            let end = self.wires[wire].ends.iter().position(|each| *each == node).unwrap_or(0);
            self.kill_wire(wire);
            self.wires[wire].states[end] = End::Gone;
        }
    }

    fn kill_wire(&mut self, wire: usize) {
        let wire = &mut self.wires[wire];
        wire.dead = true;
        wire.queues.iter_mut().for_each(VecDeque::clear);
        for state in wire.states.iter_mut().filter(|state| **state == End::Coming) {
            *state = End::Gone;
        }
    }

    /// Lets one small thing happen; `false`: nothing can.
    fn act(&mut self) -> bool {
        let acts = self.acts();
        if acts.is_empty() || self.failure.is_some() {
            return false;
        }
        let chosen = self.chance.index(acts.len());
        match acts.into_iter().nth(chosen) {
            Some(Act::Frame(wire, end)) => self.frame(wire, end),
            Some(Act::Up(wire, end)) => self.up(wire, end),
            Some(Act::Down(wire, end)) => {
                self.wires[wire].states[end] = End::Gone;
                self.handle(self.wires[wire].ends[end], Input::Down { conn: wire as u64 });
            }
            Some(Act::Dial(node, link, to)) => {
                self.counts.connections += 1;
                let (states, queues) = ([End::Coming; 2], [VecDeque::new(), VecDeque::new()]);
                self.wires.push(Wire { link, ends: [node, to], states, queues, dead: false });
            }
            Some(Act::Plan(node)) => {
                let count = self.bodies[node].plans.len();
                let place = self.chance.index(count);
                let plan = self.bodies[node].plans[place].clone();
                // Some come twice.
                if !self.chance.happens(1, 8) {
                    self.bodies[node].plans.remove(place);
                }
                self.handle(node, Input::Plan(plan));
            }
            None => {}
        }
        true
    }

    fn acts(&self) -> Vec<Act> {
        let mut acts = Vec::new();
        for (number, wire) in self.wires.iter().enumerate() {
            for end in 0..2 {
                match wire.states[end] {
                    End::Coming => acts.push(Act::Up(number, end)),
                    End::Up if wire.dead => acts.push(Act::Down(number, end)),
                    End::Up if !wire.queues[end].is_empty() => acts.push(Act::Frame(number, end)),
                    End::Up | End::Gone => {}
                }
            }
        }
        for body in self.bodies.iter().filter(|body| body.node.is_some()) {
            if !body.plans.is_empty() {
                acts.push(Act::Plan(body.number));
            }
            for link in &body.links {
                let up = body.conns.values().any(|each| *each == link.id);
                let dialling = self.wires.iter().any(|wire| {
                    wire.ends[0] == body.number && wire.link == link.id && !wire.dead && wire.states[0] == End::Coming
                });
                if let Some(to) =
                    link.dial.as_ref().filter(|_| !up && !dialling).and_then(|to| self.answers(body, to, link))
                {
                    acts.push(Act::Dial(body.number, link.id.clone(), to));
                }
            }
        }
        acts
    }

    /// The node at an address, if it takes this link from here.
    fn answers(&self, body: &Body, to: &str, link: &mesh::plan::LinkPlan) -> Option<usize> {
        let to = self.world.nodes.iter().position(|node| node.to_string() == to)?;
        let pair = (body.number.min(to), body.number.max(to));
        let takes = |theirs: &mesh::plan::LinkPlan| theirs.id == link.id && theirs.key == link.key;
        let there = self.bodies[to].node.is_some() && self.bodies[to].links.iter().any(takes);
        (there && !self.parted.contains(&pair)).then_some(to)
    }

    fn up(&mut self, wire: usize, end: usize) {
        let node = self.wires[wire].ends[end];
        let peer = self.world.nodes[self.wires[wire].ends[1 - end]].clone();
        self.wires[wire].states[end] = End::Up;
        let link = self.wires[wire].link.clone();
        self.handle(node, Input::Up { conn: wire as u64, link, peer, dialled: end == 0 });
    }

    fn frame(&mut self, wire: usize, end: usize) {
        let node = self.wires[wire].ends[end];
        let Some(frame) = self.wires[wire].queues[end].pop_front() else { return };
        match frame {
            Frame::Note(bytes) => {
                // A lie takes no room of an honest sender's; more room than there is does no harm.
                self.handle(self.wires[wire].ends[1 - end], Input::Room { conn: wire as u64 });
                if let Ok(note) = Note::decode(&bytes) {
                    self.handle(node, Input::Heard { conn: wire as u64, note });
                }
            }
            Frame::Message(bytes, message) => {
                let Ok(head) = Envelope::decode(&bytes) else { return };
                let mut done = Done::default();
                self.bodies[node].came(wire as u64, &head, message, &mut self.chance, &mut done);
                if !done.got.is_empty() {
                    self.check_claim(node, &head, message);
                }
                self.did(node, done);
            }
        }
    }

    fn rest(&mut self) {
        for _ in 0..REST_MAX {
            if !self.act() {
                return;
            }
        }
        self.fail("it never comes to rest".to_owned());
    }

    /// All is mended; then all that is to be must be.
    fn end(&mut self) {
        self.parted.clear();
        for node in 0..self.bodies.len() {
            self.start(node);
        }
        if let Some(rogue) = self.world.rogue {
            for wire in 0..self.wires.len() {
                if self.wires[wire].ends.iter().any(|end| self.world.domains[rogue].nodes.contains(end)) {
                    self.kill_wire(wire);
                }
            }
        }
        self.plan();
        self.rest();
        self.check_links();
        let model =
            Model { world: &self.world, segments: self.segments(), rules: self.rule_list(), bodies: &self.bodies };
        if let Err(why) = model.check_known() {
            self.fail(why);
        }
        for node in 0..self.bodies.len() {
            for (number, subject) in SUBJECTS.iter().enumerate() {
                self.last_round(node, subject, (node + number) % 2 == 0);
            }
        }
    }

    fn check_links(&mut self) {
        let mut up: BTreeMap<LinkId, Vec<u64>> = BTreeMap::new();
        let mut wrong = Vec::new();
        for body in &self.bodies {
            let views = body.node.as_ref().map(|node| node.links()).unwrap_or_default();
            for view in views {
                match view.up {
                    Some((conn, _)) if view.full => up.entry(view.plan.id).or_default().push(conn),
                    _ => wrong.push(format!("node {} has no whole link {}", body.number, view.plan.id)),
                }
                if view.plan.kind == LinkKind::Remote && view.plan.segments.is_empty() {
                    wrong.push(format!("node {} has a link without segments", body.number));
                }
            }
        }
        for (link, conns) in up {
            if !matches!(conns.as_slice(), [one, two] if one == two) {
                wrong.push(format!("the ends of {link} hold {conns:?}"));
            }
        }
        if let Some(wrong) = wrong.into_iter().next() {
            self.fail(wrong);
        }
    }

    fn last_round(&mut self, node: usize, subject: &'static str, every: bool) {
        if self.failure.is_some() {
            return;
        }
        let Some(number) = self.publish(node, subject, every) else { return };
        self.rest();
        let got = self.got.iter().filter(|(got, _)| got.number == number);
        let got: BTreeMap<Got, u64> = got.map(|(got, count)| (got.clone(), *count)).collect();
        let model =
            Model { world: &self.world, segments: self.segments(), rules: self.rule_list(), bodies: &self.bodies };
        if let Err(why) = model.check(node, subject, every, &got) {
            self.fail(format!("{subject} from node {node}: {why}"));
        }
    }
}
