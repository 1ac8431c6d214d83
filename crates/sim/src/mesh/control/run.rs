//! A run: the channels and connections between the nodes and the controllers, and the steps.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use event::Moment;
use mesh::control::{Act, Controller, Declared, DomainRule, Endpoints, Event, Report as Told, Standing};
use mesh::names::{LinkId, Name, NodeId};
use mesh::plan::{Generation, Plan, Shape};
use mesh::topology::Topology;

use super::body::Body;
use super::check;
use super::{Door, Setting, Step, domain_name, setting};
use crate::chance::Chance;
use crate::seeds::Report;

/// Time that a world is given to come to rest.
const REST: Duration = Duration::from_secs(300);

/// Things that may happen in it. Far more than are needed: what circles shows by it.
const REST_MAX: u64 = 1_000_000;

/// What runs met.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Plans that were told.
    pub told: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Connections that ended.
    pub ended: u64,
    /// Links that got other ends.
    pub moved: u64,
    /// Nodes that were turned away.
    pub rejected: u64,
}

impl Counts {
    /// Adds those of another run.
    pub fn add(&mut self, other: &Counts) {
        self.told += other.told;
        self.connections += other.connections;
        self.ended += other.ended;
        self.moved += other.moved;
        self.rejected += other.rejected;
    }
}

/// What is on its way.
enum Coming {
    /// To a controller.
    Event(usize, Event),
    /// From a controller, on a session.
    Plan(u64, Arc<Plan>),
    /// A session is closed by the controller.
    Closed(u64),
    /// A node dials what is not up.
    Dial(usize),
    /// A node opens a channel.
    Register(usize),
    /// A node sees that a connection ended.
    Down(usize, u64),
    /// A node hears that one was made.
    Up(usize, u64, Standing),
}

/// A connection: its link, and the nodes that dialled and took it.
struct Wire {
    link: LinkId,
    ends: [usize; 2],
}

/// See the module.
pub struct World {
    chance: Chance,
    pub now: Moment,
    /// How far the controllers' clocks are ahead.
    skew: Duration,
    pub setting: Setting,
    pub bodies: Vec<Body>,
    pub controllers: Vec<Controller>,
    pub declared: Declared,
    wires: BTreeMap<u64, Wire>,
    jams: BTreeSet<(usize, usize)>,
    coming: BTreeMap<(Moment, u64), Coming>,
    /// By channel: when the last thing on it comes, so that what is later does not overtake it.
    last: BTreeMap<u64, Moment>,
    /// By session: the node, and the last plan that came.
    sessions: BTreeMap<u64, (usize, Generation)>,
    next: u64,
    log: Vec<String>,
    pub counts: Counts,
    failure: Option<String>,
}

fn keys() -> Box<dyn mesh::control::Keys> {
    Box::new(|text: &str| {
        let mut key = [0_u8; 32];
        for (place, byte) in text.bytes().enumerate() {
            if let Some(slot) = key.get_mut(place % 32) {
                *slot = slot.wrapping_mul(31).wrapping_add(byte);
            }
        }
        key
    })
}

fn bodies(setting: &Setting) -> Option<Vec<Body>> {
    let mut bodies = Vec::new();
    for (domain, (nodes, door)) in setting.domains.iter().zip(&setting.doors).enumerate() {
        for node in 0..*nodes {
            let id = NodeId::parse(&format!("{}/n{node}", domain_name(domain))).ok()?;
            let external: Option<Arc<str>> = match door {
                Door::Each => Some(format!("ext.{id}").into()),
                Door::Shared => Some(format!("ext.{}", domain_name(domain)).into()),
                Door::Closed => None,
            };
            let listen = Some(id.to_string().into());
            bodies.push(Body::new(id, Endpoints { listen, external }));
        }
    }
    Some(bodies)
}

/// Runs the steps of a seed.
pub fn run(seed: u64, steps: &[Step]) -> Report<Counts> {
    let root = Chance::new(seed);
    let setting = setting(&mut root.branch(1));
    let bodies = bodies(&setting).unwrap_or_default();
    let mut world = World {
        chance: root.branch(3),
        now: Moment::from_nanos(1),
        skew: Duration::from_secs(3_600),
        setting,
        bodies,
        controllers: Vec::new(),
        declared: Declared::default(),
        wires: BTreeMap::new(),
        jams: BTreeSet::new(),
        coming: BTreeMap::new(),
        last: BTreeMap::new(),
        sessions: BTreeMap::new(),
        next: 1,
        log: Vec::new(),
        counts: Counts::default(),
        failure: None,
    };
    world.declared.domains = (0..world.setting.domains.len())
        .filter_map(|domain| Some(DomainRule { name: Name::parse(&domain_name(domain)).ok()?, shape: Shape::FullMesh }))
        .collect();
    world.take_over();
    world.declare(0);
    for step in steps {
        world.say(format_args!("{step:?}"));
        world.step(*step);
        if world.failure.is_some() {
            break;
        }
    }
    world.finish()
}

impl World {
    fn say(&mut self, what: std::fmt::Arguments<'_>) {
        let mut line = String::new();
        let _ = write!(line, "{:>9} {what}", self.now.nanos() / 1_000_000);
        self.log.push(line);
    }

    fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
    }

    /// Mends all, waits, and asks that all is as it is to be, and that nothing more happens then.
    fn finish(mut self) -> Report<Counts> {
        if self.failure.is_none() {
            self.say(format_args!("all is mended"));
            self.jams.clear();
            for node in 0..self.bodies.len() {
                let body = self.bodies.get(node).map(|body| (body.alive, body.hangs));
                match body {
                    Some((true, true)) => self.step(Step::Wake(node)),
                    Some((false, _)) => self.step(Step::Start(node)),
                    _ => {}
                }
            }
            self.wait(REST);
            if let Err(why) = check::at_rest(&self) {
                self.fail(why);
            }
            let (told, connections) = (self.counts.told, self.counts.connections);
            self.wait(REST);
            if (told, connections) != (self.counts.told, self.counts.connections) {
                self.fail(format!("{} plans were told at rest", self.counts.told - told));
            }
        }
        let mut digest = 0xcbf2_9ce4_8422_2325_u64;
        let plans = self.bodies.iter().flat_map(|body| body.plan.encode());
        for byte in self.log.iter().flat_map(|line| line.bytes()).chain(plans) {
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Report { log: self.log, failure: self.failure, digest, counts: self.counts }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Start(node) => self.start(node),
            Step::Kill(node) => self.stop(node, false),
            Step::Leave(node) => self.stop(node, true),
            Step::Hang(node) => self.hang(node),
            Step::Wake(node) => self.wake(node),
            Step::Channel(node) => self.end_channel(node, 5),
            Step::Cut(number) => {
                let wire = self.wires.keys().nth(number % self.wires.len().max(1)).copied();
                wire.into_iter().for_each(|wire| self.cut(wire));
            }
            Step::Jam(one, two) if one != two => self.jam(one, two),
            Step::Jam(..) => {}
            Step::Clear => self.jams.clear(),
            Step::Declare(number) => self.declare(number),
            Step::TakeOver => self.take_over(),
            Step::Skew(seconds) => self.skew = Duration::from_secs(seconds),
            Step::Wait(millis) => self.wait(Duration::from_millis(millis)),
        }
    }

    fn body(&mut self, node: usize) -> Option<&mut Body> {
        self.bodies.get_mut(node)
    }

    fn start(&mut self, node: usize) {
        self.stop(node, false);
        let Some(body) = self.body(node) else { return };
        (body.alive, body.hangs) = (true, false);
        body.life += 1;
        // What it was told is on its disk, sometimes.
        let keeps = self.chance.happens(1, 2);
        if let Some(body) = self.body(node).filter(|_| !keeps) {
            body.plan = Arc::default();
        }
        self.soon(5, Coming::Register(node));
        self.soon(10, Coming::Dial(node));
    }

    fn stop(&mut self, node: usize, says: bool) {
        let Some(body) = self.body(node) else { return };
        if !std::mem::take(&mut body.alive) {
            return;
        }
        if let Some((controller, session)) = body.channel.filter(|_| says) {
            self.on_channel(session, Coming::Event(controller, Event::Deregistered { session }));
        }
        self.end_channel(node, 5);
        self.cut_all(node, 20);
        if let Some(body) = self.body(node) {
            body.up.clear();
        }
    }

    fn hang(&mut self, node: usize) {
        let Some(body) = self.body(node).filter(|body| body.answers()) else { return };
        body.hangs = true;
        // Heartbeats notice it within three seconds.
        self.end_channel(node, 3_000);
        self.cut_all(node, 3_000);
    }

    fn wake(&mut self, node: usize) {
        let Some(body) = self.body(node).filter(|body| body.alive && body.hangs) else { return };
        body.hangs = false;
        body.up.clear();
        self.soon(5, Coming::Register(node));
        self.soon(10, Coming::Dial(node));
    }

    /// A channel ends; the controller hears of it within so many milliseconds.
    fn end_channel(&mut self, node: usize, millis: u64) {
        let Some((controller, session)) = self.body(node).and_then(|body| body.channel.take()) else { return };
        self.sessions.remove(&session);
        let wait = self.chance.below(millis);
        let at = self.now.after(Duration::from_millis(wait)).max(self.last.get(&session).copied().unwrap_or(self.now));
        self.put(at, Coming::Event(controller, Event::Gone { session }));
        self.soon(200, Coming::Register(node));
    }

    fn cut_all(&mut self, node: usize, millis: u64) {
        let wires: Vec<u64> =
            self.wires.iter().filter(|(_, wire)| wire.ends.contains(&node)).map(|(wire, _)| *wire).collect();
        for wire in wires {
            self.cut_within(wire, millis);
        }
    }

    fn cut(&mut self, wire: u64) {
        self.cut_within(wire, 20);
    }

    fn cut_within(&mut self, wire: u64, millis: u64) {
        let Some(Wire { ends, .. }) = self.wires.remove(&wire) else { return };
        self.counts.ended += 1;
        for end in ends {
            self.soon(millis, Coming::Down(end, wire));
        }
    }

    fn jam(&mut self, one: usize, two: usize) {
        let pair = (one.min(two), one.max(two));
        self.jams.insert(pair);
        let hit: Vec<u64> =
            self.wires.iter().filter(|(_, wire)| self.pair_of(wire.ends) == pair).map(|(wire, _)| *wire).collect();
        hit.into_iter().for_each(|wire| self.cut(wire));
    }

    /// The domains of two nodes, by number, in order.
    fn pair_of(&self, ends: [usize; 2]) -> (usize, usize) {
        let [one, two] = ends.map(|end| {
            let name = self.bodies.get(end).map(|body| body.id.domain.as_str().to_owned()).unwrap_or_default();
            (0..self.setting.domains.len()).find(|domain| domain_name(*domain) == name).unwrap_or_default()
        });
        (one.min(two), one.max(two))
    }

    fn declare(&mut self, number: usize) {
        let Some(document) = self.setting.documents.get(number) else { return };
        match Topology::check(document, &[], None) {
            Ok(topology) => self.declared.topology = topology,
            Err(error) => self.fail(format!("a topology is refused: {error}")),
        }
        let at = self.controllers.len().saturating_sub(1);
        self.tell(at, Event::Resources(self.declared.clone()));
    }

    /// Another controller leads. The one before hears of it some time later.
    fn take_over(&mut self) {
        let mut controller = Controller::new(keys());
        controller.handle(self.now.after(self.skew), Event::Resources(self.declared.clone()));
        self.controllers.push(controller);
        let at = self.controllers.len() - 1;
        self.tell(at, Event::Lead { epoch: at as u64 + 1 });
        if let Some(before) = at.checked_sub(1) {
            self.soon(2_000, Coming::Event(before, Event::Follow));
        }
    }

    fn put(&mut self, at: Moment, coming: Coming) {
        self.next += 1;
        self.coming.insert((at, self.next), coming);
    }

    /// Within so many milliseconds.
    fn soon(&mut self, millis: u64, coming: Coming) {
        let wait = self.chance.below(millis.max(1));
        self.put(self.now.after(Duration::from_millis(wait)), coming);
    }

    /// On a session: after all that was sent there before.
    fn on_channel(&mut self, session: u64, coming: Coming) {
        let wait = self.chance.below(30);
        let at = self.now.after(Duration::from_millis(wait));
        let at = self.last.get(&session).map_or(at, |last| at.max(*last));
        self.last.insert(session, at);
        self.put(at, coming);
    }

    fn wait(&mut self, span: Duration) {
        let end = self.now.after(span);
        for _ in 0..REST_MAX {
            let wake = (self.controllers.iter().enumerate())
                .filter_map(|(at, controller)| Some((controller.wake()?.before(self.skew), at)))
                .min()
                .filter(|(wake, _)| *wake <= end);
            let next = self.coming.first_key_value().map(|(key, _)| *key).filter(|(at, _)| *at <= end);
            match (wake, next) {
                (Some((wake, at)), next) if next.is_none_or(|(next, _)| wake <= next) => {
                    self.now = self.now.max(wake);
                    self.tell(at, Event::Tick);
                }
                (_, Some(key)) => {
                    self.now = self.now.max(key.0);
                    if let Some(coming) = self.coming.remove(&key) {
                        self.comes(coming);
                    }
                }
                _ => {
                    self.now = end;
                    return;
                }
            }
            if self.failure.is_some() {
                return;
            }
        }
        self.fail("it does not come to rest".into());
    }

    fn comes(&mut self, coming: Coming) {
        match coming {
            Coming::Event(controller, event) => self.tell(controller, event),
            Coming::Plan(session, plan) => self.planned(session, plan),
            Coming::Closed(session) => {
                let Some((node, _)) = self.sessions.remove(&session) else { return };
                if let Some(body) = self.body(node) {
                    body.channel = None;
                }
                self.soon(500, Coming::Register(node));
            }
            Coming::Register(node) => self.register(node),
            Coming::Dial(node) => self.dial(node),
            Coming::Down(node, wire) => self.down(node, wire),
            Coming::Up(node, wire, standing) => self.up(node, wire, standing),
        }
    }

    fn tell(&mut self, at: usize, event: Event) {
        let Some(controller) = self.controllers.get_mut(at) else { return };
        controller.handle(self.now.after(self.skew), event);
        let acts: Vec<Act> = std::iter::from_fn(|| controller.poll()).collect();
        for act in acts {
            match act {
                Act::Tell { session, plan } => {
                    self.counts.told += 1;
                    if let Err(why) = check::plan(&plan) {
                        self.fail(why);
                    }
                    self.on_channel(session + 1_000_000_000, Coming::Plan(session, plan));
                }
                Act::Reject { session, .. } => {
                    self.counts.rejected += 1;
                    self.on_channel(session + 1_000_000_000, Coming::Closed(session));
                }
                Act::Report(Told::Mended(count)) => self.fail(format!("the sweep mended {count} plans")),
                Act::Report(Told::Moved { .. }) => self.counts.moved += 1,
                Act::Report(_) | Act::Routes { .. } => {}
            }
        }
    }

    /// A node opens a channel: to the controller that leads, or to the one before it, which may not know yet.
    fn register(&mut self, node: usize) {
        let newest = self.controllers.len().saturating_sub(1);
        let back = usize::from(self.controllers.get(newest.wrapping_sub(1)).is_some_and(Controller::leads));
        let controller = newest - if self.chance.happens(1, 4) { back.min(newest) } else { 0 };
        self.next += 1;
        let session = self.next;
        let Some(body) = self.body(node).filter(|body| body.answers() && body.channel.is_none()) else { return };
        body.channel = Some((controller, session));
        let event = Event::Registered {
            session,
            node: body.id.clone(),
            endpoints: body.endpoints.clone(),
            plan: body.plan.generation,
            up: body.standing(),
            routes: false,
        };
        self.sessions.insert(session, (node, Generation::default()));
        self.on_channel(session, Coming::Event(controller, event));
    }

    fn planned(&mut self, session: u64, plan: Arc<Plan>) {
        let Some((node, last)) = self.sessions.get_mut(&session) else { return };
        if plan.generation < *last {
            let why = format!("a channel was told {} after {last}", plan.generation);
            self.fail(why);
            return;
        }
        *last = plan.generation;
        let node = *node;
        let Some(body) = self.bodies.get_mut(node).filter(|body| body.answers()) else { return };
        let generation = plan.generation;
        if generation > body.plan.generation {
            body.plan = plan;
            let stale: Vec<u64> = (body.up.iter())
                .filter(|(link, (_, standing))| body.planned(link).is_none_or(|plan| plan.dial != standing.dialled))
                .map(|(_, (wire, _))| *wire)
                .collect();
            stale.into_iter().for_each(|wire| self.cut_within(wire, 5));
            self.soon(20, Coming::Dial(node));
        }
        let Some((controller, _)) = self.bodies.get(node).and_then(|body| body.channel) else { return };
        self.on_channel(session, Coming::Event(controller, Event::Acked { session, generation, failed: Vec::new() }));
    }

    /// A node dials what is not up, and again a while later as long as something is not.
    fn dial(&mut self, node: usize) {
        let Some(body) = self.bodies.get(node).filter(|body| body.answers()) else { return };
        let dials = body.dials();
        let mut failed = false;
        for plan in dials {
            let behind: Vec<usize> = (self.bodies.iter().enumerate())
                .filter(|(other, body)| {
                    let addresses = [&body.endpoints.listen, &body.endpoints.external];
                    *other != node && body.answers() && addresses.contains(&&plan.dial)
                })
                .map(|(other, _)| other)
                .collect();
            let other = self.chance.pick(&behind).copied();
            let taken = other.filter(|other| {
                let known = self.bodies.get(*other).and_then(|body| body.planned(&plan.id));
                known.is_some_and(|known| known.key == plan.key && known.dial.is_none())
                    && !self.jams.contains(&self.pair_of([node, *other]))
            });
            match taken {
                Some(other) => self.connect(node, other, &plan.id, plan.dial.clone()),
                None => failed = true,
            }
        }
        if failed {
            self.soon(400, Coming::Dial(node));
        }
    }

    fn connect(&mut self, node: usize, other: usize, link: &LinkId, address: Option<Arc<str>>) {
        // A link has one connection: the later one stays.
        let before: Vec<u64> = self
            .wires
            .iter()
            .filter(|(_, wire)| wire.link == *link && wire.ends == [node, other])
            .map(|(at, _)| *at)
            .collect();
        if !before.is_empty() {
            return;
        }
        self.next += 1;
        let wire = self.next;
        self.counts.connections += 1;
        self.wires.insert(wire, Wire { link: link.clone(), ends: [node, other] });
        let ids =
            (self.bodies.get(node).map(|body| body.id.clone()), self.bodies.get(other).map(|body| body.id.clone()));
        let (Some(one), Some(two)) = ids else { return };
        self.soon(5, Coming::Up(node, wire, Standing { link: link.clone(), peer: two, dialled: address }));
        self.soon(5, Coming::Up(other, wire, Standing { link: link.clone(), peer: one, dialled: None }));
    }

    fn up(&mut self, node: usize, wire: u64, standing: Standing) {
        if !self.wires.contains_key(&wire) {
            return;
        }
        let Some(body) = self.bodies.get_mut(node).filter(|body| body.answers()) else { return };
        if body.planned(&standing.link).is_none_or(|plan| plan.dial != standing.dialled) {
            self.cut_within(wire, 5);
            return;
        }
        let before = body.up.insert(standing.link.clone(), (wire, standing.clone()));
        let channel = body.channel;
        if let Some((before, _)) = before {
            self.cut_within(before, 5);
        }
        if let Some((controller, session)) = channel {
            self.on_channel(session, Coming::Event(controller, Event::Up { session, up: standing }));
        }
    }

    fn down(&mut self, node: usize, wire: u64) {
        let Some(body) = self.bodies.get_mut(node).filter(|body| body.answers()) else { return };
        let link = body.up.iter().find(|(_, (each, _))| *each == wire).map(|(link, _)| link.clone());
        let channel = body.channel;
        if let Some(link) = link {
            body.up.remove(&link);
            if let Some((controller, session)) = channel {
                let event = Event::Down { session, link, why: "ended".into() };
                self.on_channel(session, Coming::Event(controller, event));
            }
        }
        self.soon(50, Coming::Dial(node));
    }

    /// The connections: the link, and the nodes that dialled and took it.
    pub fn connections(&self) -> impl Iterator<Item = (&LinkId, &NodeId, &NodeId)> {
        self.wires.values().filter_map(|wire| {
            let [one, two] = wire.ends.map(|end| self.bodies.get(end).map(|body| &body.id));
            Some((&wire.link, one?, two?))
        })
    }
}
