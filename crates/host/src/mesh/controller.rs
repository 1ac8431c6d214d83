//! The controller with everything that it wants done: control channels, keys of domains, time.
//!
//! One task owns the machine and tells it what happened, in the order in which it came. Each control channel has a
//! task that reads it. A node that comes is taken if it holds the secret of its domain, and it is this node that leads;
//! else it is told who does.
//!
//! # Invariants
//! - A node's name is what the handshake proved its domain for; what it says of itself is where it can be dialled.
//! - A node that says nothing after it came, or says what nodes do not say, is closed.
//! - Secrets are read from the files that are declared, when resources change and when they are asked to be; a domain
//!   whose file cannot be used is told: what was read of it before counts, and where nothing was, its nodes are not
//!   taken. When a secret is another one, the channels that
//!   were proven by the old one end: its nodes come back with the new one, and go on by their plans meanwhile.
//! - What nodes say and is not yet heard takes at most [`SAID_KIB_MAX`], and one word of each: who says much waits.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use link::mesh::{Admission, Hello, LinkKey, Opened, Outbound, Talk};
use mesh::control::{Act, Controller, Endpoints, Event, Keys, Rejected, Status};
use mesh::names::{LinkId, Name, NodeId};
use mesh::proof::Reach;
use mesh::segment::Segments;
use parking_lot::RwLock;
use plan::Declared;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use zeroize::Zeroizing;

use super::accept::Controls;
use super::declared::governed;
use super::lead::Leading;
use super::root::Root;
use super::said::{Asked, Said, Word, generation, plan_bytes};
use super::traces::Shelf;
use crate::clock::now;
use crate::file::read_token;

/// Shortest secret of a domain, in bytes: less can be guessed from what is heard of a handshake.
pub(crate) const SECRET_BYTES_MIN: usize = 32;
/// Things that happened and are not yet told to the machine, at most: beyond, who tells them waits.
const TOLD_MAX: usize = 4_096;
/// What nodes said and is not yet heard, in KiB as it came, at most: sixteen of the longest words.
const SAID_KIB_MAX: u32 = 64 * 1024;
/// How long a node that came may take to register.
const REGISTER: Duration = Duration::from_secs(15);
/// How long a node may take to answer what it is asked.
const ANSWER: Duration = Duration::from_secs(5);
/// Questions that wait for answers of nodes, at most.
const QUESTIONS_MAX: usize = 1_024;

/// The secret of a domain.
pub(crate) type Secret = Arc<Zeroizing<Vec<u8>>>;

/// What happened, for the task.
enum Told {
    /// For the machine, as it is.
    Event(Event),
    /// A node came, and by what it proved its domain; of a foreign make that is known when it registers.
    Came { session: u64, proven: Option<(Name, Secret)>, end: End },
    /// A node said something; there is room for more once it is heard.
    Said { session: u64, node: NodeId, from: Option<SocketAddr>, word: Box<Word>, room: OwnedSemaphorePermit },
    /// Somebody wants to see how it stands.
    View(Shows, oneshot::Sender<View>),
    /// Files of secrets may have changed.
    Secrets,
    /// Somebody asks a node.
    Ask { node: NodeId, what: Asked, answer: oneshot::Sender<Result<Value, String>> },
}

/// Where what is for a session goes.
enum End {
    /// To a node of our own make.
    Native(Arc<Outbound>),
    /// To whoever speaks with a node of a foreign make. What finds no room ends the session.
    Foreign(mpsc::Sender<Act>),
}

/// How the controller stands.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// What it shows of itself.
    pub(crate) status: Status,
    /// The segments, as the topology has them.
    pub(crate) segments: Segments,
    /// Those with the edges that can be walked now, where that was asked for.
    pub(super) live: Segments,
    /// Who could reach whom, were every link up, where that was asked for.
    pub(super) reach: Option<Reach>,
}

/// What is to be seen besides what is at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shows {
    /// Nothing.
    Little,
    /// The edges that can be walked now.
    Live,
    /// Who could reach whom.
    Reach,
}

/// What a governor is made of.
pub(crate) struct GovernorParts {
    /// Who this node is.
    pub(crate) id: NodeId,
    /// The secret of its own domain.
    pub(crate) secret: Secret,
    /// That from which the keys of links are made.
    pub(super) root: Root,
    /// What is declared.
    pub(crate) declared: watch::Receiver<Arc<Declared>>,
    /// Who leads.
    pub(crate) leading: watch::Receiver<Leading>,
}

/// The controller of a node that may lead.
pub(crate) struct Governor {
    me: Weak<Governor>,
    id: NodeId,
    own: RwLock<Secret>,
    secrets: RwLock<BTreeMap<Name, Secret>>,
    leading: watch::Receiver<Leading>,
    told: mpsc::Sender<Told>,
    sessions: AtomicU64,
    said: Arc<Semaphore>,
    rooted: AtomicBool,
    /// What nodes told of traced messages.
    pub(super) traces: Shelf,
    runtime: tokio::runtime::Handle,
}

/// Keys of links: what a root gives for a text.
struct LinkKeys(Vec<u8>);

impl Keys for LinkKeys {
    fn key(&self, text: &str) -> [u8; 32] {
        let mut key = [0; 32];
        let signing = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &self.0);
        key.copy_from_slice(ring::hmac::sign(&signing, text.as_bytes()).as_ref());
        key
    }
}

/// The key by which nodes of a domain prove that they are of it.
pub(crate) fn domain_key(secret: &[u8], domain: &str) -> LinkKey {
    LinkKey::derive(secret, &format!("domain {domain}"))
}

/// The secret that is the first line of a file. Blocks.
pub(crate) fn read_secret(path: &Path) -> Result<Secret, String> {
    let secret = read_token(path).map_err(|error| error.replace("token", "secret"))?;
    if secret.len() < SECRET_BYTES_MIN {
        return Err(format!("the secret in {} has less than {SECRET_BYTES_MIN} characters", path.display()));
    }
    Ok(Arc::new(Zeroizing::new(secret.into_bytes())))
}

impl Governor {
    /// Governs until `end`. Spawns on the runtime that it is called in.
    pub(crate) fn start(parts: GovernorParts, end: CancellationToken) -> Arc<Self> {
        let GovernorParts { id, secret, root, declared, leading } = parts;
        let (told, receiver) = mpsc::channel(TOLD_MAX);
        let governor = Arc::new_cyclic(|me| Governor {
            me: me.clone(),
            id,
            own: RwLock::new(secret),
            secrets: RwLock::default(),
            leading: leading.clone(),
            told,
            sessions: AtomicU64::new(1),
            said: Arc::new(Semaphore::new(SAID_KIB_MAX as usize)),
            rooted: AtomicBool::new(false),
            traces: Shelf::default(),
            runtime: tokio::runtime::Handle::current(),
        });
        let held = Arc::clone(&governor);
        tokio::spawn(async move {
            let root = tokio::select! {
                root = root.bytes() => root,
                () = end.cancelled() => return,
            };
            held.rooted.store(true, Ordering::Relaxed);
            let desk = Desk {
                governor: held,
                machine: Controller::new(Box::new(LinkKeys(root))),
                ends: BTreeMap::new(),
                proven: BTreeMap::new(),
                named: BTreeMap::new(),
                questions: BTreeMap::new(),
                asked: 0,
            };
            desk.run(receiver, declared, leading, end).await;
        });
        governor
    }

    /// Whether it has what the keys of links are made from.
    pub(super) fn is_rooted(&self) -> bool {
        self.rooted.load(Ordering::Relaxed)
    }

    /// Who leads.
    pub(crate) fn leading(&self) -> Leading {
        self.leading.borrow().clone()
    }

    /// How it stands; `None`: the node stops.
    pub(crate) async fn view(&self) -> Option<View> {
        self.view_of(Shows::Little).await
    }

    /// The same, with what takes longer to find.
    pub(super) async fn view_of(&self, shows: Shows) -> Option<View> {
        let (view, shown) = oneshot::channel();
        let asked = async {
            self.told.send(Told::View(shows, view)).await.ok()?;
            shown.await.ok()
        };
        // It does nothing before it has what the keys of links are made from.
        timeout(ANSWER, asked).await.ok().flatten()
    }

    /// Has the secrets of domains read again, and takes up that of its own. Blocks.
    pub(crate) fn reload(&self, own: Option<Secret>) {
        if let Some(own) = own {
            *self.own.write() = own;
        }
        let _stopped = self.told.blocking_send(Told::Secrets);
    }

    /// Asks a node that is connected here.
    ///
    /// # Errors
    /// Why there is no answer, for people.
    pub(crate) async fn ask(&self, node: NodeId, what: Asked) -> Result<Value, String> {
        let (answer, told) = oneshot::channel();
        let asked = Told::Ask { node, what, answer };
        self.told.send(asked).await.map_err(|_| "this node stops".to_owned())?;
        match timeout(ANSWER, told).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err("the node went before it answered".to_owned()),
            Err(_) => Err(format!("the node did not answer within {} s", ANSWER.as_secs())),
        }
    }

    /// A session for a node of a foreign make, whose acts go to `acts`; what happens in it is told with
    /// [`Governor::happened`].
    pub(crate) async fn foreign(&self, acts: mpsc::Sender<Act>) -> u64 {
        let session = self.session();
        let _stopped = self.told.send(Told::Came { session, proven: None, end: End::Foreign(acts) }).await;
        session
    }

    /// Tells the machine of something that happened in a foreign session.
    pub(crate) async fn happened(&self, event: Event) {
        let _stopped = self.told.send(Told::Event(event)).await;
    }

    /// The secret of a domain whose nodes are taken.
    pub(crate) fn secret(&self, domain: &Name) -> Option<Secret> {
        let declared = self.secrets.read().get(domain).cloned();
        declared.or_else(|| (*domain == self.id.domain).then(|| self.own.read().clone()))
    }

    fn session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed)
    }

    /// Where control channels of the one that leads are; `None`: it is not known.
    fn leader_address(&self) -> Option<Arc<str>> {
        match &*self.leading.borrow() {
            Leading::Other { address, .. } => Some(Arc::clone(address)),
            Leading::Me { .. } | Leading::Nobody => None,
        }
    }

    /// Reads one control channel to its end.
    async fn read(self: Arc<Self>, opened: Opened, node: NodeId, secret: Secret) {
        let (session, from) = (self.session(), opened.address());
        let (out, mut talk) = Talk::start(opened);
        let proven = Some((node.domain.clone(), secret));
        if self.told.send(Told::Came { session, proven, end: End::Native(Arc::clone(&out)) }).await.is_err() {
            return out.close("the controller stops");
        }
        let mut first = true;
        let why = loop {
            let said = match first {
                true => timeout(REGISTER, talk.next()).await.unwrap_or_else(|_| Ok(Vec::new())),
                false => talk.next().await,
            };
            let bytes = match said {
                Ok(bytes) => bytes,
                Err(why) => break why.to_string(),
            };
            // One word of a node at a time, and not too much of all: a permit is given back when it was heard.
            let kib = u32::try_from(bytes.len().div_ceil(1_024)).unwrap_or(u32::MAX).clamp(1, SAID_KIB_MAX / 4);
            let Ok(room) = Arc::clone(&self.said).acquire_many_owned(kib).await else { break String::new() };
            let word = match Said::decode(&bytes) {
                Ok(Said::Word(word)) if matches!(word, Word::Register { .. }) == first => Box::new(word),
                Ok(_) => break "it says what a node does not say there".to_owned(),
                Err(error) => break error.to_string(),
            };
            first = false;
            if self.told.send(Told::Said { session, node: node.clone(), from, word, room }).await.is_err() {
                break "the controller stops".to_owned();
            }
        };
        debug!(%node, why, "a control channel ended");
        out.close(&why);
        let _stopped = self.told.send(Told::Event(Event::Gone { session })).await;
    }
}

impl Controls for Governor {
    fn admit(&self, hello: &Hello) -> Option<(Admission, Secret)> {
        let node = NodeId::parse(&hello.from).ok()?;
        let secret = self.secret(&node.domain)?;
        let key = domain_key(&secret, node.domain.as_str());
        Some((Admission { key, payload: self.id.to_string().into_bytes() }, secret))
    }

    fn take(&self, opened: Opened, secret: Secret) {
        let Ok(node) = NodeId::parse(&opened.hello.from) else { return };
        if let Some(me) = self.me.upgrade() {
            self.runtime.spawn(me.read(opened, node, secret));
        }
    }
}

/// What the task owns.
struct Desk {
    governor: Arc<Governor>,
    machine: Controller,
    /// Unique by session: where what is for it goes.
    ends: BTreeMap<u64, End>,
    /// Unique by session: the domain, and the secret that it was proven by.
    proven: BTreeMap<u64, (Name, Secret)>,
    /// Unique by node: its newest session.
    named: BTreeMap<NodeId, u64>,
    /// Unique by number: who waits for a node's answer, and the session that is asked.
    questions: BTreeMap<u64, (u64, oneshot::Sender<Result<Value, String>>)>,
    asked: u64,
}

impl Desk {
    async fn run(
        mut self,
        mut told: mpsc::Receiver<Told>,
        mut declared: watch::Receiver<Arc<Declared>>,
        mut leading: watch::Receiver<Leading>,
        end: CancellationToken,
    ) {
        declared.mark_changed();
        leading.mark_changed();
        loop {
            let wake = self.machine.wake().map_or(Duration::from_secs(3_600), |at| at.since(now()));
            tokio::select! {
                () = end.cancelled() => break,
                Ok(()) = declared.changed() => {
                    let now_declared = Arc::clone(&declared.borrow_and_update());
                    self.resources(&now_declared).await;
                }
                Ok(()) = leading.changed() => {
                    let event = match &*leading.borrow_and_update() {
                        Leading::Me { epoch } => Event::Lead { epoch: *epoch },
                        Leading::Other { .. } | Leading::Nobody => Event::Follow,
                    };
                    self.machine.handle(now(), event);
                }
                Some(happened) = told.recv() => match happened {
                    Told::Secrets => {
                        let now_declared = Arc::clone(&declared.borrow());
                        self.secrets(&now_declared).await;
                    }
                    happened => self.happened(happened),
                },
                () = sleep(wake) => self.machine.handle(now(), Event::Tick),
            }
            while let Some(act) = self.machine.poll() {
                self.act(act);
            }
        }
        for end in self.ends.values() {
            if let End::Native(out) = end {
                out.close("the controller stops");
            }
        }
    }

    async fn resources(&mut self, declared: &Declared) {
        self.secrets(declared).await;
        match governed(declared, &self.governor.id.domain) {
            Ok(declared) => self.machine.handle(now(), Event::Resources(declared)),
            Err(error) => error!(%error, "what is declared of the mesh cannot be; what held before goes on"),
        }
    }

    /// Reads the secrets of the domains that are declared.
    async fn secrets(&mut self, declared: &Declared) {
        let domain = |(name, spec): (&String, &plan::DomainSpec)| {
            Some((Name::parse(name).ok()?, PathBuf::from(&spec.secret_file)))
        };
        let files: Vec<(Name, PathBuf)> = declared.domains().iter().filter_map(domain).collect();
        let known: BTreeSet<Name> = self.governor.secrets.read().keys().cloned().collect();
        let read = move || -> BTreeMap<Name, Option<Secret>> {
            let secret = |(name, path): (Name, PathBuf)| match read_secret(&path) {
                Ok(secret) => Some((name, Some(secret))),
                Err(why) => {
                    match known.contains(&name) {
                        true => {
                            error!(domain = %name, why, "the secret of a domain cannot be used; the old stays in force")
                        }
                        false => {
                            error!(domain = %name, why, "nodes of a domain are not taken: its secret cannot be used")
                        }
                    }
                    Some((name, None))
                }
            };
            files.into_iter().filter_map(secret).collect()
        };
        if let Ok(read) = spawn_blocking(read).await {
            let old = self.governor.secrets.read().clone();
            let of =
                |(name, read): (Name, Option<Secret>)| Some((name.clone(), read.or_else(|| old.get(&name).cloned())?));
            self.prove_anew(read.into_iter().filter_map(of).collect());
        }
    }

    /// Takes up secrets, and ends what was proven by those that are others now.
    fn prove_anew(&mut self, secrets: BTreeMap<Name, Secret>) {
        *self.governor.secrets.write() = secrets;
        let is_old = |(domain, by): &(Name, Secret)| self.governor.secret(domain).is_some_and(|now| now != *by);
        let old: Vec<u64> =
            self.proven.iter().filter(|(_, proven)| is_old(proven)).map(|(session, _)| *session).collect();
        for session in old {
            info!(session, "the secret of a domain is another one: a node of it must prove itself anew");
            self.close(session, "the secret of the domain is another one");
            self.machine.handle(now(), Event::Gone { session });
        }
    }

    fn happened(&mut self, happened: Told) {
        match happened {
            Told::Event(event) => {
                if let Event::Gone { session } = event {
                    self.forget(session);
                }
                if let Event::Registered { session, node, .. } = &event
                    && let Some(secret) = self.governor.secret(&node.domain)
                {
                    self.proven.insert(*session, (node.domain.clone(), secret));
                }
                self.machine.handle(now(), event);
            }
            Told::Came { session, proven, end } => {
                self.ends.insert(session, end);
                // The secret may have become another one while it proved itself.
                let stale = |(domain, by): &(Name, Secret)| self.governor.secret(domain).as_ref() != Some(by);
                if proven.as_ref().is_some_and(stale) {
                    return self.close(session, "the secret of the domain is another one");
                }
                self.proven.extend(proven.map(|proven| (session, proven)));
            }
            Told::Said { session, node, from, word, room } => {
                self.said(session, node, from, *word);
                drop(room);
            }
            Told::View(shows, view) => {
                let live = || self.machine.live().clone();
                let shown = View {
                    status: self.machine.status(),
                    segments: self.machine.segments().clone(),
                    live: if shows == Shows::Live { live() } else { Segments::default() },
                    reach: (shows == Shows::Reach).then(|| self.machine.reach()),
                };
                // Who does not wait any more need not know.
                let _gone = view.send(shown);
            }
            // They are read with what is declared.
            Told::Secrets => {}
            Told::Ask { node, what, answer } => self.ask(&node, what, answer),
        }
    }

    fn forget(&mut self, session: u64) {
        self.ends.remove(&session);
        self.proven.remove(&session);
        self.named.retain(|_, known| *known != session);
        self.questions.retain(|_, (asked, _)| *asked != session);
    }

    fn said(&mut self, session: u64, node: NodeId, from: Option<SocketAddr>, word: Word) {
        let link = |text: &str| LinkId::parse(text).ok();
        let event = match word {
            Word::Register { listen, external, plan, up, version } => {
                if !self.machine.leads() {
                    return self.turn_away(session);
                }
                debug!(%node, version, "a node registers");
                let endpoints = Endpoints { listen: placed(listen, from), external: placed(external, from) };
                self.named.insert(node.clone(), session);
                let up = up.iter().filter_map(super::said::Link::standing).collect();
                Event::Registered { session, node, endpoints, plan: generation(plan), up, routes: false }
            }
            Word::Acked { plan, failed } => {
                let failed = failed.into_iter().filter_map(|(id, why)| Some((link(&id)?, why.into()))).collect();
                Event::Acked { session, generation: generation(plan), failed }
            }
            Word::Up { up } => match up.standing() {
                Some(up) => Event::Up { session, up },
                None => return,
            },
            Word::Down { link: id, why } => match link(&id) {
                Some(link) => Event::Down { session, link, why: why.into() },
                None => return,
            },
            Word::Links { up } => {
                Event::Links { session, up: up.iter().filter_map(super::said::Link::standing).collect() }
            }
            Word::Leave => Event::Deregistered { session },
            Word::Traced { notes } => {
                if !self.governor.traces.keep(&node, notes) {
                    debug!(%node, "notes of a trace are over their limits");
                }
                return;
            }
            Word::Told { number, answer } => {
                let asked = self.questions.get(&number).is_some_and(|(asked, _)| *asked == session);
                if let Some((_, waiting)) = asked.then(|| self.questions.remove(&number)).flatten() {
                    // Who does not wait any more need not know.
                    let _gone = waiting.send(answer);
                }
                return;
            }
            Word::Moved { .. } | Word::Rejected { .. } | Word::Ask { .. } => {
                return self.close(session, "it says what only controllers say");
            }
        };
        let leaves = matches!(event, Event::Deregistered { .. });
        self.machine.handle(now(), event);
        if leaves {
            self.close(session, "farewell");
        }
    }

    /// Tells a node who leads, as far as that is known.
    fn turn_away(&mut self, session: u64) {
        if let Some(End::Native(out)) = self.ends.get(&session) {
            out.control(&Word::Moved { to: self.governor.leader_address().map(|to| to.to_string()) }.encode());
        }
        self.close(session, "another controller leads");
    }

    fn close(&mut self, session: u64, why: &str) {
        match self.ends.get(&session) {
            Some(End::Native(out)) => out.close(why),
            Some(End::Foreign(_)) | None => {}
        }
        self.forget(session);
    }

    fn ask(&mut self, node: &NodeId, what: Asked, answer: oneshot::Sender<Result<Value, String>>) {
        let end = self.named.get(node).and_then(|session| Some((*session, self.ends.get(session)?)));
        let refused = match end {
            Some((session, End::Native(out))) if self.questions.len() < QUESTIONS_MAX => {
                self.asked += 1;
                out.control(&Word::Ask { number: self.asked, what }.encode());
                self.questions.retain(|_, (_, waiting)| !waiting.is_closed());
                self.questions.insert(self.asked, (session, answer));
                return;
            }
            Some((_, End::Native(_))) => "too many questions wait for answers",
            Some((_, End::Foreign(_))) => "it is a node of a foreign make, which cannot be asked",
            None => "it is not connected to this controller",
        };
        // Who does not wait any more need not know.
        let _gone = answer.send(Err(refused.to_owned()));
    }

    fn act(&mut self, act: Act) {
        let session = match &act {
            Act::Tell { session, .. } | Act::Routes { session, .. } | Act::Reject { session, .. } => *session,
            Act::Report(report) => return info!(target: "mesh", "{report}"),
        };
        match (self.ends.get(&session), act) {
            (Some(End::Native(out)), Act::Tell { plan, .. }) => {
                out.control(&plan_bytes(&plan));
            }
            (Some(End::Native(_)), Act::Reject { why: Rejected::NotLeading | Rejected::Deposed, .. }) => {
                self.turn_away(session);
            }
            (Some(End::Native(out)), Act::Reject { why, .. }) => {
                warn!(%why, "a node is turned away");
                out.control(&Word::Rejected { last: why.is_final(), why: why.to_string() }.encode());
                self.close(session, "turned away");
            }
            (Some(End::Foreign(acts)), act) => {
                let last = matches!(act, Act::Reject { .. });
                if acts.try_send(act).is_err() || last {
                    self.forget(session);
                }
            }
            _ => {}
        }
    }
}

/// An address that a node told, where the part of it that says "every address" is the one that it came from.
fn placed(told: Option<String>, from: Option<SocketAddr>) -> Option<Arc<str>> {
    let told = told?;
    match (told.parse::<SocketAddr>(), from) {
        (Ok(address), Some(from)) if address.ip().is_unspecified() => {
            let ip: IpAddr = from.ip().to_canonical();
            Some(SocketAddr::new(ip, address.port()).to_string().into())
        }
        _ => Some(told.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_the_one_that_a_node_came_from() {
        let from = Some("192.0.2.7:51000".parse().unwrap());
        let check = |told: &str, expected: &str| assert_eq!(placed(Some(told.into()), from).as_deref(), Some(expected));
        check("0.0.0.0:7200", "192.0.2.7:7200");
        check("[::]:7200", "192.0.2.7:7200");
        check("10.0.0.1:7200", "10.0.0.1:7200");
        check("node.example:7200", "node.example:7200");
        assert_eq!(placed(None, from), None);
    }

    #[test]
    fn a_short_secret_is_refused_and_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "s3cret\n").unwrap();
        let why = read_secret(&path).unwrap_err();
        assert!(why.contains("less than 32") && !why.contains("s3cret"), "{why}");
        std::fs::write(&path, "x".repeat(32)).unwrap();
        assert_eq!(read_secret(&path).unwrap().len(), 32);
    }

    #[test]
    fn keys_of_links_differ_by_text_and_root() {
        let (one, two) = (LinkKeys(vec![1; 32]), LinkKeys(vec![2; 32]));
        assert_eq!(one.key("a"), one.key("a"));
        assert!(one.key("a") != one.key("b") && one.key("a") != two.key("a"));
    }
}
