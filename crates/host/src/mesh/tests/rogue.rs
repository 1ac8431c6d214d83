//! A node that was taken over: it holds the secret of its domain and the keys of its links, and says on them whatever
//! it likes. Whatever that is, nobody hears what he may not, it is counted, and the others go on.
//!
//! ```text
//!   a/a1, the rogue ── customer-a ── hub/h1, the controller ── customer-b ── b/b1
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;

use ::mesh::control::{Endpoints, NodeView};
use ::mesh::envelope::{Deliver, Envelope};
use ::mesh::node::Refusal;
use ::mesh::wire::{Note, Part, Source, Wish};
use link::mesh::{Frame, Hello, Letter, LinkKey, Outbound, Purpose, Put, Reader, Talk, dial};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::super::controller::{Governor, GovernorParts, domain_key, read_secret};

use super::super::kept::{Head, What, Word as KeptWord};
use super::super::lead::Leading;
use super::super::member::{Member, MemberParts};
use super::super::root::Root;
use super::super::said::{Link, Said, Word, plan_bytes};
use super::super::secrets::Secrets;
use super::*;

mod keeps;
mod storms;

/// Frames that a rogue may have heard and not looked at.
const HEARD_MAX: usize = 4_096;

pub(super) struct World {
    pub(super) hub: Station,
    pub(super) b: Station,
    pub(super) of_b: Arc<Secrets>,
    pub(super) governor: Arc<Governor>,
    heard_hub: Subscription,
    pub(super) heard_b: Subscription,
    secrets: BTreeMap<&'static str, LinkKey>,
    fences: usize,
    _leading: watch::Sender<Leading>,
    _declared: watch::Sender<Arc<plan::Declared>>,
    pub(super) folder: tempfile::TempDir,
}

/// By how many links a message of the subject goes on that enters there.
fn beyond(station: &Station, subject: &str) -> usize {
    station.body.ask(|node| node.beyond(subject).direct.len())
}

fn resource(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": plan::API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// The domains, a segment for each customer, and a name that `a` may neither say nor hear.
fn declared(folder: &Path) -> Arc<plan::Declared> {
    let domain = |name: &str| resource("Domain", name, json!({"secretFile": folder.join(name)}));
    let segment = json!({"links": [{"domain": "hub", "neighbors": ["$domain"]}]});
    let both = ["domain:hub", "domain:b"];
    let acl = json!({"subjects": ["closed.>"], "publish": both, "subscribe": both});
    let all = vec![
        domain("a"),
        domain("b"),
        resource("Segment", "customer-$domain", segment),
        resource("NameAcl", "closed", acl),
    ];
    Arc::new(plan::check(plan::documents(Value::Array(all)).unwrap()).unwrap())
}

/// A node that follows a controller, and what it proves its domain by.
pub(super) struct Honest {
    pub(super) station: Station,
    pub(super) secrets: Arc<Secrets>,
}

/// A node that keeps to the rules, and follows the controller there.
pub(super) async fn honest(id: &str, controls: &ControlSlot, controller: Option<&str>, folder: &Path) -> Honest {
    let station = station_with(id, Arc::clone(controls)).await;
    let (domain, file) = (station.body.id.domain.clone(), folder.join(station.body.id.domain.as_str()));
    let own = (Some(file.clone()), read_secret(&file).unwrap());
    let secrets = Secrets::new(domain, own, None, watch::channel(Arc::default()).1);
    let address: Arc<str> = station.address.as_str().into();
    let parts = MemberParts {
        body: Arc::clone(&station.body),
        secrets: Arc::clone(&secrets),
        join: vec![controller.unwrap_or(&address).to_owned()],
        endpoints: Endpoints { listen: Some(Arc::clone(&address)), external: Some(address) },
        data: folder.join(id),
    };
    Member::start(parts, station.body.end.clone());
    Honest { station, secrets }
}

impl World {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secret = |name: &'static str| {
            let path = folder.path().join(name);
            std::fs::write(&path, name.repeat(32)).unwrap();
            (name, read_secret(&path).unwrap())
        };
        let all: BTreeMap<_, _> = ["hub", "a", "b"].into_iter().map(secret).collect();
        let secrets: BTreeMap<_, _> = all.iter().map(|(name, secret)| (*name, domain_key(secret, name))).collect();
        let (leading, leads) = watch::channel(Leading::Me { epoch: 7 });
        let (sender, declared) = watch::channel(declared(folder.path()));
        let id = NodeId::parse("hub/h1").unwrap();
        let parts = GovernorParts {
            id,
            secret: Arc::clone(&all["hub"]),
            root: Root::Known(vec![3; 32]),
            declared,
            leading: leads,
        };
        let governor = Governor::start(parts, CancellationToken::new());
        let controls = ControlSlot::default();
        assert!(controls.set(Arc::clone(&governor) as Arc<dyn super::super::Controls>).is_ok());
        let Honest { station: hub, .. } = honest("hub/h1", &controls, None, folder.path()).await;
        let b = honest("b/b1", &ControlSlot::default(), Some(&hub.address), folder.path()).await;
        let Honest { station: b, secrets: of_b } = b;
        let listen =
            |station: &Station| Subscription::new(Arc::clone(&station.live) as _, &[Pattern::all()], 100_000, 1 << 26);
        let (heard_hub, heard_b) = (listen(&hub), listen(&b));
        until(async || beyond(&hub, "x") == 1 && beyond(&b, "x") == 1).await;
        let (_leading, _declared) = (leading, sender);
        World { hub, b, of_b, governor, heard_hub, heard_b, secrets, fences: 0, _leading, _declared, folder }
    }

    fn refused(&self, why: Refusal) -> u64 {
        let place = Refusal::ALL.iter().position(|each| *each == why).unwrap();
        self.hub.body.counts.refused[place].load(Ordering::Relaxed)
    }

    pub(super) async fn nodes(&self) -> Vec<NodeView> {
        self.governor.view().await.unwrap().status.nodes
    }

    /// What `hub` and `b` say of these subjects is heard by both and not by the rogue, who is heard by `hub` and hears
    /// it, and nothing else was heard by anybody.
    async fn lives(&mut self, rogue: &Rogue, subjects: &[&str]) {
        for subject in subjects {
            for station in [&self.hub, &self.b] {
                station.live.deliver(&message(subject, "own".into()));
            }
            for _ in 0..2 {
                assert_eq!(next(&mut self.heard_hub).await.subject.as_str(), *subject);
                assert_eq!(next(&mut self.heard_b).await.subject.as_str(), *subject);
            }
        }
        self.fences += 1;
        let fence = format!("fence.{}", self.fences);
        rogue.message(&rogue.envelope(), &fence);
        assert_eq!(next(&mut self.heard_hub).await.subject.as_str(), fence, "nothing of it came before");
        until(async || beyond(&self.hub, "fence.x") == 2).await;
        self.hub.live.deliver(&message(&fence, "back".into()));
        for heard in [&mut self.heard_hub, &mut self.heard_b] {
            assert_eq!(next(heard).await.subject.as_str(), fence, "nothing of it came before");
        }
        until(async || rogue.heard.subjects.lock().contains(&fence)).await;
        let heard = std::mem::take(&mut *rogue.heard.subjects.lock());
        assert_eq!(heard, [fence], "the rogue heard what is not for it");
    }
}

/// What came on its link.
#[derive(Default)]
struct Ears {
    subjects: Mutex<Vec<String>>,
    notes: Mutex<Vec<Note>>,
    words: Mutex<Vec<What>>,
}

/// The node that was taken over.
struct Rogue {
    link: LinkPlan,
    control: Arc<Outbound>,
    out: Arc<Outbound>,
    heard: Arc<Ears>,
    _talk: mpsc::Receiver<Said>,
}

/// A control channel of whoever says that he is this node, with his first word.
async fn registered(world: &World, id: &str, key: &LinkKey, first: &Word) -> (Arc<Outbound>, mpsc::Receiver<Said>) {
    let hello = Hello { purpose: Purpose::Control, link: String::new(), from: id.to_owned(), to: String::new() };
    let (out, mut talk) = Talk::start(dial(&world.hub.address, hello, key, &[]).await.unwrap());
    out.control(&first.encode());
    let (said, heard) = mpsc::channel(HEARD_MAX);
    tokio::spawn(async move {
        while let Ok(bytes) = talk.next().await {
            let _full = said.try_send(Said::decode(&bytes).unwrap());
        }
    });
    (out, heard)
}

/// The first link of the first plan that has one.
async fn planned(talk: &mut mpsc::Receiver<Said>) -> LinkPlan {
    loop {
        let Said::Plan(plan) = timeout(LONG, talk.recv()).await.unwrap().unwrap() else { continue };
        if let Some(link) = plan.links.first().cloned() {
            return link;
        }
    }
}

fn register() -> Word {
    Word::register(&Endpoints::default(), Generation::default(), Vec::new())
}

async fn read(mut reader: Reader, heard: Arc<Ears>) {
    let each = &mut |frame: Frame<'_>| match frame {
        Frame::Message(letter) | Frame::Keep(letter) => heard.subjects.lock().push(letter.subject.to_owned()),
        Frame::Kept(bytes) => heard.words.lock().push(KeptWord::decode(bytes).unwrap().what),
        Frame::Note(bytes) => heard.notes.lock().push(Note::decode(bytes).unwrap()),
        _ => {}
    };
    while reader.batch(each).await.is_ok() {}
}

impl Rogue {
    async fn new(world: &World) -> Self {
        let (control, mut talk) = registered(world, "a/a1", &world.secrets["a"], &register()).await;
        let link = planned(&mut talk).await;
        let heard = Arc::default();
        let out = linked(world, &link, &heard).await;
        let rogue = Rogue { link, control, out, heard, _talk: talk };
        rogue.wants(&rogue.own(), &["fence.>"]);
        rogue
    }

    /// Dials its link anew.
    async fn again(&mut self, world: &World) {
        self.out = linked(world, &self.link, &self.heard).await;
        self.wants(&self.own(), &["fence.>"]);
    }

    fn own(&self) -> Source {
        domain("a", "customer-a")
    }

    /// What it may say: to `hub`, in the segment of both.
    fn envelope(&self) -> Envelope {
        Envelope {
            origin: NodeId::parse("a/a1").unwrap(),
            segment: Some(name("customer-a")),
            hops: 31,
            every: false,
            traced: false,
            here: Deliver::NOBODY,
            nodes: Vec::new(),
            to: vec![(name("hub"), Deliver::direct())],
        }
    }

    fn send(&self, letter: &Letter<'_>) {
        assert_ne!(self.out.message(letter), Put::No);
        self.out.flush();
    }

    fn message(&self, envelope: &Envelope, subject: &str) {
        self.send(&Letter { head: &envelope.encode(), subject, payload: b"rogue", ..Letter::default() });
    }

    fn note(&self, note: &Note) {
        assert!(self.out.note(&note.encode()));
    }

    fn wants(&self, source: &Source, patterns: &[&str]) {
        self.note(&Note::Wishes(vec![part(source, patterns, &[])]));
    }
}

async fn linked(world: &World, link: &LinkPlan, heard: &Arc<Ears>) -> Arc<Outbound> {
    let opened = timeout(LONG, async {
        loop {
            // The hub may have heard of the link a little later.
            match dial(&world.hub.address, hello(link, "a/a1", "hub"), &LinkKey::new(link.key), b"a/a1").await {
                Ok(opened) => return opened,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    });
    let (out, reader) = opened.await.unwrap().start();
    tokio::spawn(read(reader, Arc::clone(heard)));
    out
}

fn hello(link: &LinkPlan, from: &str, to: &str) -> Hello {
    Hello { purpose: Purpose::Link, link: link.id.to_string(), from: from.to_owned(), to: to.to_owned() }
}

fn domain(domain: &str, segment: &str) -> Source {
    Source::Domain { domain: name(domain), segment: name(segment) }
}

fn wish(pattern: &str) -> Wish {
    Wish { pattern: Pattern::parse(pattern).unwrap(), queue: None }
}

fn part(source: &Source, add: &[&str], remove: &[&str]) -> Part {
    let wishes = |patterns: &[&str]| patterns.iter().map(|pattern| wish(pattern)).collect();
    Part { source: source.clone(), anew: false, add: wishes(add), remove: wishes(remove) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_a_rogue_makes_up_come_to_nobody() {
    let mut world = World::new().await;
    let rogue = Rogue::new(&world).await;
    world.lives(&rogue, &["stolen.x"]).await;
    let own = rogue.envelope();
    let segment = |text: &str| Envelope { segment: Some(name(text)), ..own.clone() };
    let origin = |text: &str| Envelope { origin: NodeId::parse(text).unwrap(), ..own.clone() };
    let to = |text: &str| Envelope { to: vec![(name(text), Deliver::direct())], ..own.clone() };
    let made_up = [
        (segment("customer-b"), Refusal::LinkSegment),
        (Envelope { to: to("b").to, ..segment("customer-b") }, Refusal::LinkSegment),
        (segment("customer-c"), Refusal::LinkSegment),
        (Envelope { segment: None, ..own.clone() }, Refusal::LinkSegment),
        (origin("b/b1"), Refusal::OriginSegment),
        (origin("c/c1"), Refusal::OriginSegment),
        (origin("hub/h1"), Refusal::Path),
        (to("b"), Refusal::DestinationSegment),
        (to("c"), Refusal::DestinationSegment),
        (to("a"), Refusal::Path),
        (Envelope { here: Deliver::direct(), ..own.clone() }, Refusal::Shape),
        (Envelope { here: Deliver::direct(), ..to("b") }, Refusal::Shape),
        (Envelope { nodes: vec![(name("h1"), Deliver::direct())], ..own.clone() }, Refusal::Shape),
        (Envelope { to: [to("b").to, own.to.clone()].concat(), ..own.clone() }, Refusal::DestinationSegment),
    ];
    for (envelope, why) in made_up {
        let before = world.refused(why);
        rogue.message(&envelope, "stolen.x");
        until(async || world.refused(why) > before).await;
        world.lives(&rogue, &[]).await;
    }
    let before = world.refused(Refusal::PublishRule);
    rogue.message(&own, "closed.x");
    until(async || world.refused(Refusal::PublishRule) > before).await;
    let encoded = own.encode();
    for (head, subject) in [
        (&b""[..], "stolen.x"),
        (b"\x01", "stolen.x"),
        (&encoded[..encoded.len() - 1], "stolen.x"),
        (&[&encoded[..], b"\x00"].concat(), "stolen.x"),
        (&[0xff; 60_000], "stolen.x"),
        (&encoded, ""),
        (&encoded, "stolen..x"),
        (&encoded, "stolen.*"),
        (&encoded, "stolen x\r\nPUB y"),
    ] {
        let before = world.refused(Refusal::Shape);
        rogue.send(&Letter { head, subject, payload: b"rogue", ..Letter::default() });
        until(async || world.refused(Refusal::Shape) > before).await;
    }
    let letter = Letter { head: &encoded, subject: "stolen.x", ..Letter::default() };
    let many = [
        Letter { reply: "a..b", ..letter },
        Letter { reply: ">", ..letter },
        Letter { status: "200\r\nMSG", ..letter },
        Letter { headers: b"no headers", ..letter },
        Letter { headers: b"NATS/1.0\r\nA: b\r\n", ..letter },
    ];
    for letter in many {
        let before = world.hub.body.counts.malformed.load(Ordering::Relaxed);
        rogue.send(&letter);
        until(async || world.hub.body.counts.malformed.load(Ordering::Relaxed) > before).await;
    }
    world.lives(&rogue, &["stolen.x", "closed.x"]).await;
    let wide = Envelope { hops: 255, every: true, ..own.clone() };
    rogue.message(&wide, "said.often");
    assert_eq!(next(&mut world.heard_hub).await.subject.as_str(), "said.often", "that it may say, once");
    world.lives(&rogue, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wishes_that_a_rogue_makes_up_draw_nothing_and_take_nothing_from_others() {
    let mut world = World::new().await;
    let rogue = Rogue::new(&world).await;
    world.lives(&rogue, &["stolen.x"]).await;
    for source in [
        domain("b", "customer-b"),
        domain("b", "customer-a"),
        domain("hub", "customer-a"),
        domain("hub", "customer-b"),
        domain("a", "customer-b"),
        domain("c", "customer-a"),
        Source::Node(name("h1")),
        Source::Node(name("a1")),
        Source::Node(name("made-up")),
    ] {
        let before = world.refused(Refusal::Parent);
        rogue.wants(&source, &["stolen.>", ">"]);
        until(async || world.refused(Refusal::Parent) > before).await;
        let part = Part { anew: true, ..part(&source, &[], &[">", "stolen.x"]) };
        rogue.note(&Note::Wishes(vec![part]));
        until(async || world.refused(Refusal::Parent) > before + 2).await;
        rogue.note(&Note::Gone(vec![source.clone()]));
        rogue.note(&Note::Ask(vec![source]));
        world.lives(&rogue, &["stolen.x"]).await;
    }
    let before = world.refused(Refusal::SubscribeRule);
    rogue.wants(&rogue.own(), &["closed.>", "closed.x", "closed.*.y", "*.x"]);
    until(async || world.refused(Refusal::SubscribeRule) >= before + 3).await;
    world.lives(&rogue, &["closed.x", "closed.z.y"]).await;
    for note in std::mem::take(&mut *rogue.heard.notes.lock()) {
        let said = match note {
            Note::Wishes(parts) => parts.into_iter().map(|part| part.source).collect(),
            Note::Gone(sources) | Note::Ask(sources) => sources,
            Note::Full => Vec::new(),
        };
        assert!(said.iter().all(|source| *source == domain("hub", "customer-a")), "told of others: {said:?}");
    }
}

/// Dials and holds the key; how long the other side keeps the link.
async fn turned_away(world: &World, hello: Hello, key: &LinkKey, told: &[u8]) {
    let Ok(opened) = dial(&world.hub.address, hello, key, told).await else { return };
    let (_out, mut reader) = opened.start();
    let ends = async { while reader.batch(&mut |_| {}).await.is_ok() {} };
    timeout(LONG, ends).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_one_key_is_let_in_as_nobody_else() {
    let mut world = World::new().await;
    let mut rogue = Rogue::new(&world).await;
    world.lives(&rogue, &["x"]).await;
    let (domain_key, key) = (world.secrets["a"].clone(), LinkKey::new(rogue.link.key));
    for from in ["b/b1", "b/b2", "hub/h1", "hub/h2", "c/c1", "a", "a/a1/x", ""] {
        let hello = Hello { purpose: Purpose::Control, link: String::new(), from: from.into(), to: String::new() };
        assert!(dial(&world.hub.address, hello, &domain_key, &[]).await.is_err(), "registers as {from}");
    }
    let up = world.hub.body.conns().len();
    let other = world.hub.body.ask(|node| node.plan().links.iter().find(|link| link.domain == name("b")).cloned());
    let other = other.unwrap();
    for (link, from, to, told) in [
        (&rogue.link, "b/b1", "hub", "b/b1"),
        (&rogue.link, "hub/h1", "hub", "hub/h1"),
        (&rogue.link, "a/a2", "hub", "a/a2"),
        (&rogue.link, "a/a1", "hub", "b/b1"),
        (&rogue.link, "a/a1", "b", "a/a1"),
        (&rogue.link, "a/a1", "", "a/a1"),
        (&other, "a/a1", "hub", "a/a1"),
        (&other, "b/b1", "hub", "b/b1"),
    ] {
        turned_away(&world, hello(link, from, to), &key, told.as_bytes()).await;
        assert_eq!(world.hub.body.conns().len(), up, "{from} as {told} for {to}");
    }
    world.lives(&rogue, &["x"]).await;
    let plans = (world.hub.body.ask(|node| node.plan().clone()), world.b.body.ask(|node| node.plan().clone()));
    let newest = Plan { generation: Generation { epoch: u64::MAX, number: 1 }, ..Plan::default() };
    let old = Plan { generation: Generation { epoch: 1, number: 1 }, ..Plan::default() };
    let notes = [
        &b""[..],
        b"\x02\x04",
        b"\x01\x01\xff\xff\xff\xff\x0f",
        b"\x01\x04more",
        &long_wish(10_240),
        &Note::Wishes(vec![part(&rogue.own(), &["x"], &[])]).encode()[..20],
    ];
    for said in notes.map(|note| (note.to_vec(), true)).into_iter().chain([
        (plan_bytes(&newest), false),
        (plan_bytes(&old), false),
        (register().encode(), false),
    ]) {
        let (bytes, note) = said;
        assert!(if note { rogue.out.note(&bytes) } else { rogue.out.control(&bytes) });
        timeout(LONG, rogue.out.over()).await.unwrap();
        rogue.again(&world).await;
        world.lives(&rogue, &["x"]).await;
    }
    let now = (world.hub.body.ask(|node| node.plan().clone()), world.b.body.ask(|node| node.plan().clone()));
    assert_eq!(now, plans, "nobody is told plans by a neighbour");
}

/// A note whose wish has a name of so many bytes.
fn long_wish(bytes: usize) -> Vec<u8> {
    let short = Note::Wishes(vec![part(&domain("a", "customer-a"), &["x"], &[])]).encode();
    let at = short.len() - 4;
    let number = [u8::try_from(bytes & 0x7f).unwrap() | 0x80, u8::try_from(bytes >> 7).unwrap()];
    [&short[..at], &number, &vec![b'x'; bytes], &short[at + 2..]].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_rogue_tells_the_controller_moves_nothing_of_others() {
    let mut world = World::new().await;
    let rogue = Rogue::new(&world).await;
    world.lives(&rogue, &["x"]).await;
    let others = |links: &[LinkPlan]| links.iter().find(|link| link.domain == name("b")).cloned().unwrap();
    let between = world.hub.body.ask(|node| others(&node.plan().links));
    let key = world.secrets["a"].clone();
    let up = |link: &str, peer: &str, dialled: Option<&str>| Link {
        link: link.to_owned(),
        peer: peer.to_owned(),
        dialled: dialled.map(str::to_owned),
    };
    let made_up = |domain: &str| -> Vec<Link> {
        let link = |number| (format!("made-up {domain} {number}"), format!("{domain}/m{number}"));
        (0..600).map(link).map(|(link, peer)| up(&link, &peer, Some("127.0.0.1:1"))).collect()
    };
    let theirs = between.id.as_str();
    let words = [
        register(),
        Word::Moved { to: Some("127.0.0.1:1".into()) },
        Word::Rejected { last: true, why: "made up".into() },
        Word::Ask { number: 1, what: super::super::said::Asked::Sources { most: 1, own: false } },
        Word::Told { number: 1, answer: Ok(json!("never asked")) },
        Word::Acked { plan: (u64::MAX, u64::MAX), failed: vec![(theirs.into(), "made up".into())] },
        Word::Up { up: up(theirs, "hub/h1", None) },
        Word::Up { up: up(theirs, "b/b1", Some("127.0.0.1:1")) },
        Word::Down { link: theirs.into(), why: "made up".into() },
        Word::Links { up: [made_up("hub"), made_up("b"), made_up("c")].concat() },
        Word::Links { up: vec![up("\n", "no node", None)] },
        Word::Leave,
    ];
    for word in words {
        let (control, mut talk) = registered(&world, "a/a2", &key, &register()).await;
        assert!(matches!(timeout(LONG, talk.recv()).await.unwrap().unwrap(), Said::Plan(_)));
        control.control(&word.encode());
        let mark = Generation { epoch: 1, number: 1 };
        control.control(&Word::Acked { plan: (mark.epoch, mark.number), failed: Vec::new() }.encode());
        let heard = async || {
            let nodes = world.nodes().await;
            nodes.iter().find(|node| node.id.to_string() == "a/a2").is_none_or(|node| node.acked == mark)
        };
        until(heard).await;
        let nodes = world.nodes().await;
        let known =
            |node: &NodeView| node.id.domain == name("a") || ["hub/h1", "b/b1"].contains(&&*node.id.to_string());
        let strangers: Vec<_> = nodes.iter().filter(|node| !known(node)).collect();
        assert!(strangers.is_empty(), "{} nodes come of {:.80}", strangers.len(), format!("{word:?}"));
        world.lives(&rogue, &["x"]).await;
        assert_eq!(world.hub.body.ask(|node| others(&node.plan().links)), between);
        control.close("it is over");
    }
    drop(rogue.control);
}
