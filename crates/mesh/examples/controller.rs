//! What a controller and a proof cost: 1,000 nodes in 100 domains, 100 segments over 100 domains.
//!
//! Prints one line a row: what, and how long the machine worked on it. Nodes are made up: they acknowledge at once and
//! all that is dialled comes up. What they would take themselves is not counted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use event::Moment;
use mesh::control::{Act, Controller, Declared, DomainRule, Endpoints, Event, LinkState, Standing};
use mesh::names::{LinkId, Name, NodeId};
use mesh::plan::{Generation, LinkKind, Plan, Shape};
use mesh::proof::{Reach, prove};
use mesh::topology::{Adjacent, Document, SegmentText, Topology, TopologyError};

const DOMAINS: usize = 100;
const NODES: usize = 10;

type Failure = Box<dyn std::error::Error>;

/// The controller, and how long it worked.
struct Bench {
    controller: Controller,
    now: Moment,
    nodes: Vec<NodeId>,
    /// By session, which is the place in `nodes`: what it was told last.
    plans: Vec<Arc<Plan>>,
    /// By session: the links that it has up.
    up: Vec<BTreeSet<LinkId>>,
    worked: Duration,
    told: usize,
    bytes: usize,
}

fn domain(number: usize) -> Result<Name, Failure> {
    Ok(Name::parse(&format!("domain-{number:03}"))?)
}

fn topology(document: &Document) -> Result<Topology, TopologyError> {
    Topology::check(document, &[], None)
}

fn links(domain: &str, neighbor: &str) -> Vec<Adjacent> {
    vec![Adjacent { domain: domain.to_owned(), neighbors: vec![neighbor.to_owned()], weight: 1 }]
}

impl Bench {
    fn new(document: &Document) -> Result<Self, Failure> {
        let mut nodes = Vec::new();
        let mut domains = Vec::new();
        for number in 0..DOMAINS {
            domains.push(DomainRule { name: domain(number)?, shape: Shape::FullMesh });
            for node in 0..NODES {
                nodes.push(NodeId::new(domain(number)?, Name::parse(&format!("n{node}"))?));
            }
        }
        let keys = |text: &str| {
            let mut key = [0; 32];
            key.iter_mut().zip(text.bytes()).for_each(|(key, byte)| *key = byte);
            key
        };
        let mut bench = Bench {
            controller: Controller::new(Box::new(keys)),
            now: Moment::from_nanos(1),
            plans: vec![Arc::default(); nodes.len()],
            up: vec![BTreeSet::new(); nodes.len()],
            nodes,
            worked: Duration::ZERO,
            told: 0,
            bytes: 0,
        };
        let topology = topology(document)?;
        bench.handle(Event::Resources(Declared { domains, topology, ..Declared::default() }));
        bench.handle(Event::Lead { epoch: 1 });
        Ok(bench)
    }

    fn handle(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let began = Instant::now();
            self.controller.handle(self.now, event);
            let acts: Vec<_> = std::iter::from_fn(|| self.controller.poll()).collect();
            self.worked += began.elapsed();
            for act in acts {
                if let Act::Tell { session, plan } = act {
                    self.told += 1;
                    self.obey(session, &plan, &mut events);
                }
            }
        }
    }

    /// A node does what its plan says.
    fn obey(&mut self, session: u64, plan: &Arc<Plan>, events: &mut Vec<Event>) {
        let Ok(place) = usize::try_from(session) else { return };
        let (Some(told), Some(up)) = (self.plans.get_mut(place), self.up.get_mut(place)) else { return };
        *told = Arc::clone(plan);
        self.bytes = self.bytes.max(plan.encode().len());
        let planned: BTreeSet<&LinkId> = plan.links.iter().map(|link| &link.id).collect();
        let gone: Vec<_> = up.iter().filter(|link| !planned.contains(link)).cloned().collect();
        for link in gone {
            up.remove(&link);
            events.push(Event::Down { session, link, why: "unplanned".into() });
        }
        for link in plan.links.iter().filter(|link| !up.contains(&link.id)) {
            let Some(node) = link.node.clone() else { continue };
            let peer = NodeId::new(link.domain.clone(), node);
            let dialled = link.dial.clone();
            events.push(Event::Up { session, up: Standing { link: link.id.clone(), peer, dialled } });
        }
        up.extend(plan.links.iter().map(|link| link.id.clone()));
        // Handled last of all, since the last is taken first: what is acknowledged comes before what is up.
        events.push(Event::Acked { session, generation: plan.generation, failed: Vec::new() });
    }

    /// Lets time go on until nothing is due within a second.
    fn rest(&mut self) {
        let end = self.now.after(Duration::from_secs(1));
        while let Some(wake) = self.controller.wake().filter(|wake| *wake <= end) {
            self.now = self.now.max(wake);
            self.handle(Event::Tick);
        }
    }

    fn start(&mut self) {
        for (session, node) in self.nodes.clone().into_iter().enumerate() {
            let endpoints =
                Endpoints { listen: Some(node.to_string().into()), external: Some(format!("ext.{node}").into()) };
            let session = session as u64;
            let (plan, up, routes) = (Generation::default(), Vec::new(), false);
            self.handle(Event::Registered { session, node, endpoints, plan, up, routes });
        }
        self.rest();
    }

    /// How many links between domains are up, of how many.
    fn applied(&self) -> (usize, usize) {
        let links: Vec<_> =
            self.controller.status().links.into_iter().filter(|link| link.kind == LinkKind::Remote).collect();
        (links.iter().filter(|link| link.state == LinkState::Applied).count(), links.len())
    }

    fn acknowledged(&self) -> bool {
        self.controller.status().nodes.iter().all(|node| node.told == node.acked)
    }

    /// A gateway dies: its channel ends, and the other ends tell of it.
    fn kill(&mut self, place: usize) {
        let Some(plan) = self.plans.get(place).cloned() else { return };
        self.handle(Event::Gone { session: place as u64 });
        for link in &plan.links {
            let other =
                self.nodes.iter().position(|node| node.domain == link.domain && Some(&node.node) == link.node.as_ref());
            if let Some(other) = other {
                if let Some(up) = self.up.get_mut(other) {
                    up.remove(&link.id);
                }
                let (session, link) = (other as u64, link.id.clone());
                self.handle(Event::Down { session, link, why: "lost".into() });
            }
        }
    }
}

fn controller(what: &str, document: &Document) -> Result<(), Failure> {
    let mut bench = Bench::new(document)?;
    bench.start();
    let (applied, links) = bench.applied();
    println!(
        "{what}, cold start: {:.1} ms of machine time; {} plans told, the largest {} bytes; {applied} of {links} links up; all acknowledged: {}",
        bench.worked.as_secs_f64() * 1e3,
        bench.told,
        bench.bytes,
        bench.acknowledged(),
    );
    (bench.worked, bench.told) = (Duration::ZERO, 0);
    let before = bench.now;
    // A node that holds links of its domain to others.
    let gateway = bench.plans.iter().position(|plan| plan.links.iter().any(|link| link.kind == LinkKind::Remote));
    bench.kill(gateway.unwrap_or_default());
    let (worked, told) = (bench.worked, bench.told);
    let (applied, links) = bench.applied();
    println!(
        "{what}, a gateway dies: {:.2} ms of machine time until siblings hold its links ({:.0} ms of control time); {told} plans told; {applied} of {links} links up",
        worked.as_secs_f64() * 1e3,
        bench.now.since(before).as_secs_f64() * 1e3,
    );
    Ok(())
}

fn proof(what: &str, before: &Document, after: &Document) -> Result<(), Failure> {
    let domains: BTreeSet<Name> = (0..DOMAINS).map(domain).collect::<Result<_, _>>()?;
    let began = Instant::now();
    let (old, new) = (topology(before)?, topology(after)?);
    let ((old, _), (new, warnings)) = (old.expand(&domains), new.expand(&domains));
    let (was, is) = (Reach::of(&old, &domains), Reach::of(&new, &domains));
    let invariants = topology(after)?;
    let proof = prove((&was, &[]), (&is, &[]), invariants.invariants());
    let took = began.elapsed();
    println!(
        "proof of {} segments over {DOMAINS} domains, {what}: {:.1} ms; {} edges, {} pairs change, {} invariants broken, {} warnings",
        new.all().len(),
        took.as_secs_f64() * 1e3,
        new.all().iter().map(|segment| segment.edges.len()).sum::<usize>(),
        proof.changes.len(),
        proof.broken.len(),
        warnings.len(),
    );
    Ok(())
}

/// A hundred segments, each made of its number.
fn hundred(links: impl Fn(usize) -> Vec<Adjacent>) -> Document {
    let segments = (0..DOMAINS).map(|number| SegmentText { name: format!("s{number:03}"), links: links(number) });
    Document { segments: segments.collect(), ..Document::default() }
}

fn main() -> Result<(), Failure> {
    let mesh = Document { links: links("*", "*"), ..Document::default() };
    controller("1,000 nodes, 100 domains, full mesh", &mesh)?;
    let star = SegmentText { name: "segment-$domain".into(), links: links("domain-000", "$domain") };
    let star = Document { segments: vec![star], ..Document::default() };
    controller("1,000 nodes, 100 domains, a segment for each spoke", &star)?;

    // A customer each, all of which see one of ten shared domains.
    let name = |number: usize| format!("domain-{:03}", number % DOMAINS);
    let customers = |shared: usize| {
        hundred(move |number| {
            links(&name(number % shared), &name(if number < shared { 90 + number % 10 } else { number }))
        })
    };
    let mut after = customers(9);
    after.never = vec![("domain-050".into(), "domain-051".into()), ("domain-060".into(), "*".into())];
    proof("one hub and one customer each", &customers(10), &after)?;
    let chains = |step: usize| {
        hundred(move |number| {
            (0..DOMAINS - 1).flat_map(|at| links(&name(number + at * step), &name(number + (at + 1) * step))).collect()
        })
    };
    proof("each a chain of all", &hundred(|_| links("domain-000", "domain-001")), &chains(7))?;
    proof("each a full mesh", &hundred(|_| links("domain-000", "domain-001")), &hundred(|_| links("*", "*")))?;
    Ok(())
}
