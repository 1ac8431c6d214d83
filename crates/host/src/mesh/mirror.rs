//! What is declared of streams that are kept elsewhere, done: brought there, fetched from there, and given to who asks.
//!
//! ```text
//!  to     a flow to each place, until the declaration goes         (its consumer goes with it)
//!  from   a question each second: at the other end a flow to here, as long as it is asked for
//!  asked  consent, by segments and the rules of names; then a flow to who asks
//! ```
//!
//! # Invariants
//! - What is fetched is recorded by the node that asks, whichever gateways it comes by.
//! - Who asks for a stream may subscribe to every subject of it; else nothing is sent, and he is told the rule.
//! - A flow that nobody asks for any more ends after [`ASKED_FOR`]; where it came to is known for [`HELD_FOR`] longer.
//! - On an engine that nodes share one of them does it, by a lease of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use event::{Pattern, encode_token};
use journal::limits::DEAD_PREFIX;
use journal::{Journal, Retention, StreamError};
use mesh::names::{Name, NodeId};
use mesh::node::Report;
use parking_lot::Mutex;
use plan::{Declared, MirrorSpec};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::body::Body;
use super::copies::{SOURCE_KEY, is_own, name_there};
use super::custody::{Custody, Whereto, forbidden};
use super::kept::What;
use super::lead::{Candidate, Leading};
use super::sending::{ASKED_BY, Flow, Standing, no_way};

/// How often it is asked for a stream.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How long a stream is sent to who does not ask for it any more: ten questions may be lost.
const ASKED_FOR: Duration = Duration::from_secs(10);

/// How long it is known how far who asks no more had it: a day. Then all is sent from the beginning, and what he has he
/// takes no second time.
const HELD_FOR: Duration = Duration::from_hours(24);

/// Streams that one domain may ask for at a time.
const ASKED_MAX: usize = 256;

/// Consumers of one stream for one domain that asks, at most: who asks under names that he makes up holds no more.
const ASKED_OF_STREAM_MAX: usize = 64;

/// How long a question that was denied is answered alike without being judged.
const DENIED_FOR: Duration = Duration::from_secs(1);

/// Bytes of a consumer's name that tell people whose it is.
const READABLE_BYTES_MAX: usize = 150;

/// A stream that is fetched.
struct Pull {
    body: Arc<Body>,
    journal: Arc<dyn Journal>,
    flow: String,
    spec: MirrorSpec,
    from: Whereto,
    standing: Mutex<(Standing, Option<Instant>)>,
    end: CancellationToken,
}

/// A stream that somebody asked for.
struct Asked {
    body: Arc<Body>,
    wanted: Wanted,
    until: Mutex<Instant>,
    verdict: Mutex<Option<Verdict>>,
    end: CancellationToken,
}

/// What became of a question: the flow to who asked, or why there is none, and since when.
type Verdict = Result<Arc<Flow>, (String, Instant)>;

/// The stream that is wanted, what it is called there, and the patterns of what is wanted.
type Wanted = (String, String, Vec<String>);

#[derive(Default)]
struct All {
    /// By the name of the declaration and the place.
    pushed: BTreeMap<(String, Whereto), (MirrorSpec, Arc<Flow>)>,
    pulled: BTreeMap<String, Arc<Pull>>,
    /// By who asks, and what words are told by.
    asked: BTreeMap<(NodeId, String), Arc<Asked>>,
}

/// The mirrors of this node.
#[derive(Default)]
pub(crate) struct Mirrors(Mutex<All>);

fn row(name: &str, stream: &str, ends: (&str, &str, &str), standing: &Standing, owed: Option<u64>) -> Value {
    let (from, to, into) = ends;
    let Standing { confirmed, why, .. } = standing;
    let state = if why.is_some() { "waiting" } else { "keeping" };
    json!({ "name": name, "stream": stream, "from": from, "to": to, "as": into, "confirmed": confirmed, "owed": owed,
        "state": state, "why": why })
}

/// The name of a consumer: readable, and never that of another's.
fn consumer_name(parts: &[&str]) -> String {
    let whole = parts.join("/");
    let readable: String = whole.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let readable = readable.get(..readable.len().min(READABLE_BYTES_MAX)).unwrap_or_default();
    // FNV-1a, 64 bits.
    let hash = whole
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("mirror-{readable}-{hash:016x}")
}

impl Mirrors {
    /// The mirrors as people read them: those that are brought, those that are fetched, and those that others fetch.
    pub(crate) fn rows(&self) -> Value {
        let all = self.0.lock();
        let mut rows = Vec::new();
        for ((name, to), (spec, flow)) in &all.pushed {
            let standing = flow.standing.lock().clone();
            let (own, to, owed) = (flow.body.id.to_string(), to.to_string(), Some(standing.owed));
            rows.push(row(name, &spec.stream, (&own, &to, name_there(spec)), &standing, owed));
        }
        for (name, pull) in &all.pulled {
            let (mut standing, heard) = pull.standing.lock().clone();
            standing.confirmed = pull.body.custody.copies.reached(name_there(&pull.spec)).unwrap_or(standing.confirmed);
            let owed = heard.is_some().then_some(standing.owed);
            let (from, own) = (pull.from.to_string(), pull.body.id.to_string());
            rows.push(row(name, &pull.spec.stream, (&from, &own, name_there(&pull.spec)), &standing, owed));
        }
        for ((who, flow), asked) in &all.asked {
            let (stream, into, _) = &asked.wanted;
            let standing = match &*asked.verdict.lock() {
                Some(Ok(flow)) => flow.standing.lock().clone(),
                Some(Err((why, _))) => Standing { why: Some(why.clone()), ..Standing::default() },
                None => Standing::default(),
            };
            let name = format!("({} asks) {}", who, flow.strip_prefix(PULL).unwrap_or(flow));
            let (own, to) = (asked.body.id.to_string(), who.to_string());
            rows.push(row(&name, stream, (&own, &to, into), &standing, Some(standing.owed)));
        }
        rows.into()
    }

    /// Follows what is declared until the node stops.
    pub(super) async fn follow(
        self: Arc<Self>,
        body: Arc<Body>,
        journal: Arc<dyn Journal>,
        mut declared: watch::Receiver<Arc<Declared>>,
    ) {
        let mut reports = body.reports();
        declared.mark_changed();
        loop {
            tokio::select! {
                () = body.end.cancelled() => return,
                changed = declared.changed() => if changed.is_err() {
                    return;
                },
                // There may be other domains.
                report = reports.recv() => match report {
                    Ok(Report::Applied(_)) | Err(RecvError::Lagged(_)) => {}
                    Ok(_) => continue,
                    Err(RecvError::Closed) => return,
                },
            }
            let now = Arc::clone(&declared.borrow_and_update());
            self.want(&body, &journal, now.mirrors());
        }
    }

    /// Does what is declared, and no more what was.
    pub(super) fn want(
        self: &Arc<Self>,
        body: &Arc<Body>,
        journal: &Arc<dyn Journal>,
        declared: &BTreeMap<String, MirrorSpec>,
    ) {
        body.custody.copies.declare(declared);
        let reachable: BTreeSet<Name> = body.ask(|node| node.domains().cloned().collect());
        let mut all = self.0.lock();
        let pushed = pushes(body, declared, &reachable, &all);
        all.pushed.retain(|key, (spec, flow)| {
            let stays = pushed.get(key).is_some_and(|wanted| **wanted == *spec);
            if !stays {
                flow.end.cancel();
                if !pushed.contains_key(key) {
                    let flow = Arc::clone(flow);
                    tokio::spawn(async move { flow.let_go().await });
                }
            }
            stays
        });
        for ((name, to), spec) in pushed {
            all.pushed.entry((name.clone(), to.clone())).or_insert_with(|| {
                let flow = push(body, journal, &name, to, spec);
                let lease = format!("to.{}", encode_token(&name));
                tokio::spawn(alone(Arc::clone(&flow), lease, flow.end.clone()));
                (spec.clone(), flow)
            });
        }
        let pulled: BTreeMap<_, _> = declared
            .iter()
            .filter_map(|(name, spec)| Some((name.clone(), (spec, Whereto::parse(&spec.from)?))))
            .collect();
        all.pulled.retain(|name, pull| {
            let stays = pulled.get(name).is_some_and(|(spec, _)| **spec == pull.spec);
            if !stays {
                pull.end.cancel();
            }
            stays
        });
        for (name, (spec, from)) in pulled {
            all.pulled.entry(name.clone()).or_insert_with(|| {
                let (body, spec, end) = (Arc::clone(body), spec.clone(), body.end.child_token());
                let (flow, journal, standing) = (format!("{PULL}{name}"), Arc::clone(journal), Mutex::default());
                let pull = Arc::new(Pull { body, journal, flow, spec, from, standing, end: end.clone() });
                tokio::spawn(alone(Arc::clone(&pull), format!("from.{}", encode_token(&name)), end));
                pull
            });
        }
    }

    /// Somebody asks for a stream of this node, for the first time or again.
    pub(super) fn asked(self: &Arc<Self>, body: &Arc<Body>, who: &NodeId, flow: &str, wanted: Wanted) {
        let key = (who.clone(), flow.to_owned());
        let say = |what| {
            // Who cannot be told asks again.
            let _away = Custody::say(body, &Whereto::of(who), flow, 0, what);
        };
        let mut all = self.0.lock();
        if let Some(asked) = all.asked.get(&key) {
            *asked.until.lock() = Instant::now() + ASKED_FOR;
            let verdict = match &*asked.verdict.lock() {
                None => return,
                Some(Ok(flow)) if asked.wanted == wanted => Some(What::Serving(flow.standing.lock().owed)),
                Some(Err((why, since))) if asked.wanted == wanted && since.elapsed() < DENIED_FOR => {
                    Some(What::Denied(why.clone()))
                }
                Some(_) => None,
            };
            if let Some(verdict) = verdict {
                drop(all);
                return say(verdict);
            }
            asked.end.cancel();
            all.asked.remove(&key);
        }
        if all.asked.keys().filter(|(other, _)| other.domain == who.domain).count() >= ASKED_MAX {
            drop(all);
            return say(What::Denied(format!("the domain {} asks for {ASKED_MAX} streams already", who.domain)));
        }
        let alike = |((other, _), asked): &(&(NodeId, String), &Arc<Asked>)| {
            other.domain == who.domain && asked.wanted.0 == wanted.0
        };
        if all.asked.iter().filter(alike).count() >= ASKED_OF_STREAM_MAX {
            drop(all);
            return say(What::Denied(too_often(&who.domain, &wanted.0)));
        }
        let until = Mutex::new(Instant::now() + ASKED_FOR);
        let (own, verdict, end) = (Arc::clone(body), Mutex::default(), body.end.child_token());
        let asked = Arc::new(Asked { body: own, wanted, until, verdict, end });
        all.asked.insert(key.clone(), Arc::clone(&asked));
        drop(all);
        tokio::spawn(Arc::clone(self).serve(key, asked));
    }

    /// Sends a stream to who asked for it, as long as he asks.
    async fn serve(self: Arc<Self>, key: (NodeId, String), asked: Arc<Asked>) {
        let ((who, name), body) = (&key, &asked.body);
        let made = asked_flow(body, who, name, &asked).await;
        let what = match &made {
            Ok(flow) => What::Serving(flow.standing.lock().owed),
            Err(why) => What::Denied(why.clone()),
        };
        let flow = made.as_ref().ok().cloned();
        *asked.verdict.lock() = Some(made.map_err(|why| (why, Instant::now())));
        // Who cannot be told asks again.
        let _away = Custody::say(body, &Whereto::of(who), name, 0, what);
        tokio::select! {
            () = asked.lapsed() => {}
            () = asked.end.cancelled() => {}
            () = async { if let Some(flow) = &flow { flow.run().await } else { std::future::pending().await } } => {}
        }
        let mut all = self.0.lock();
        if all.asked.get(&key).is_some_and(|other| Arc::ptr_eq(other, &asked)) {
            all.asked.remove(&key);
        }
    }

    /// Who was asked for a stream answers: so many messages are owed, or why it does not come.
    pub(super) fn answered(&self, origin: &NodeId, flow: &str, answer: Result<u64, String>) {
        let pull = flow.strip_prefix(PULL).and_then(|name| self.0.lock().pulled.get(name).cloned());
        let Some(pull) = pull.filter(|pull| pull.from.means(origin)) else { return };
        let mut standing = pull.standing.lock();
        standing.1 = Some(Instant::now());
        match answer {
            Ok(owed) => (standing.0.owed, standing.0.why) = (owed, None),
            Err(why) => standing.0.why = Some(format!("{origin} does not give it: {why}")),
        }
    }
}

/// First tokens of the subjects of streams that nobody is given: what died says what was sent, whatever rules say of that.
const NOT_GIVEN: [&str; 3] = ["tidings", "slim-inbox", DEAD_PREFIX];
/// What begins the names of flows that were asked for.
const PULL: &str = "pull/";
/// Every domain that can be reached.
const EVERYWHERE: &str = "*";

/// What is to be brought where. A domain that can be reached no more stays, where every domain is meant: what it lacks is
/// owed.
fn pushes<'a>(
    body: &Body,
    declared: &'a BTreeMap<String, MirrorSpec>,
    reachable: &BTreeSet<Name>,
    all: &All,
) -> BTreeMap<(String, Whereto), &'a MirrorSpec> {
    let mut wanted = BTreeMap::new();
    for (name, spec) in declared {
        let mut places: BTreeSet<Whereto> = spec.to.iter().filter_map(|to| Whereto::parse(to)).collect();
        if spec.to.iter().any(|to| to == EVERYWHERE) {
            places.extend(reachable.iter().map(|domain| Whereto { domain: domain.clone(), node: None }));
            places.extend(all.pushed.keys().filter(|(other, _)| other == name).map(|(_, to)| to.clone()));
        }
        // In its own domain a node is meant, and another one.
        places.retain(|to| to.domain != body.id.domain || to.node.as_ref().is_some_and(|node| *node != body.id.node));
        wanted.extend(places.into_iter().map(|to| ((name.clone(), to), spec)));
    }
    wanted
}

fn push(body: &Arc<Body>, journal: &Arc<dyn Journal>, name: &str, to: Whereto, spec: &MirrorSpec) -> Arc<Flow> {
    let consumer = consumer_name(&[name, &to.to_string()]);
    let filters = spec.filters.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
    Arc::new(Flow {
        body: Arc::clone(body),
        journal: Arc::clone(journal),
        flow: format!("push/{name}"),
        stream: spec.stream.clone(),
        into: name_there(spec).to_owned(),
        filters,
        to,
        consumer,
        inactive: None,
        standing: Mutex::default(),
        end: body.end.child_token(),
    })
}

fn too_often(domain: &Name, stream: &str) -> String {
    format!("the domain {domain} has asked for '{stream}' {ASKED_OF_STREAM_MAX} times already")
}

/// The flow to who asks, where he may have it.
async fn asked_flow(body: &Arc<Body>, who: &NodeId, name: &str, asked: &Asked) -> Result<Arc<Flow>, String> {
    let (stream, into, filters) = &asked.wanted;
    let journal = body.custody.copies.journal().ok_or("this node keeps nothing")?;
    if is_own(stream) {
        return Err(format!("'{stream}' is a stream of the node itself"));
    }
    let parsed: Result<Vec<Pattern>, _> = filters.iter().map(|text| Pattern::parse(text)).collect();
    let filters = parsed.map_err(|error| format!("a filter is no pattern: {error}"))?;
    let info = match journal.stream_info(stream).await {
        Ok(info) => info,
        Err(StreamError::NotFound(_)) => return Err(format!("there is no stream '{stream}' at {}", body.id)),
        Err(error) => return Err(error.to_string()),
    };
    // Of a copy the subjects are known message by message: each is held to the rules when it is sent.
    let copy = info.config.metadata.contains_key(SOURCE_KEY);
    let subjects = if filters.is_empty() && !copy { &info.config.subjects } else { &filters };
    let own = |subject: &&Pattern| subject.tokens().next().is_some_and(|first| NOT_GIVEN.contains(&first));
    if let Some(subject) = info.config.subjects.iter().find(own).filter(|_| !copy) {
        return Err(format!("'{stream}' captures {subject}, which nodes keep for themselves"));
    }
    if info.config.retention != Retention::Limits {
        // Who asks would have this stream keep what its own consumers are done with.
        return Err(format!("'{stream}' forgets what its consumers have had: it is pushed from there, or not at all"));
    }
    body.ask(|mesh| {
        let may =
            |subject: &Pattern| mesh.may_take(&who.domain, subject).map_err(|rule| forbidden(&rule, subject.as_str()));
        subjects.iter().try_for_each(may)
    })?;
    let consumer = consumer_name(&["asked", &who.to_string(), name]);
    let held = journal.consumers(stream).await.map_err(|error| error.to_string())?;
    let of_domain =
        held.iter().filter(|each| each.config.metadata.get(ASKED_BY).is_some_and(|by| who.domain.as_str() == by));
    if of_domain.count() >= ASKED_OF_STREAM_MAX && held.iter().all(|each| each.config.name != consumer) {
        return Err(too_often(&who.domain, stream));
    }
    Ok(Arc::new(Flow {
        body: Arc::clone(body),
        flow: name.to_owned(),
        stream: stream.clone(),
        into: into.clone(),
        filters,
        to: Whereto::of(who),
        consumer,
        inactive: Some(HELD_FOR),
        standing: Mutex::default(),
        end: asked.end.clone(),
        journal,
    }))
}

impl Asked {
    /// Waits until nobody asked for long enough.
    async fn lapsed(&self) {
        loop {
            let until = *self.until.lock();
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

impl Pull {
    /// Asks until it is ended.
    async fn ask(&self) {
        if self.from.means(&self.body.id) {
            let why = format!("{} is this node's own domain: name another node of it, as domain/node", self.from);
            self.standing.lock().0.why = Some(why);
            return self.end.cancelled().await;
        }
        let (stream, into) = (self.spec.stream.clone(), name_there(&self.spec).to_owned());
        let what = What::Ask { stream, into, filters: self.spec.filters.clone() };
        let began = Instant::now();
        loop {
            let said = Custody::say(&self.body, &self.from, &self.flow, 0, what.clone());
            {
                let mut standing = self.standing.lock();
                let silent = standing.1.unwrap_or(began).elapsed();
                match said {
                    Err(why) => standing.0.why = Some(no_way(&self.from, why)),
                    Ok(()) if silent >= ASK_EVERY * 3 => {
                        standing.0.why = Some(format!("{} does not answer", self.from))
                    }
                    Ok(()) => {}
                }
            }
            tokio::select! {
                () = self.end.cancelled() => return,
                () = sleep(ASK_EVERY) => {}
            }
        }
    }
}

/// What one of the nodes that share an engine does.
trait Work: Send + Sync + 'static {
    fn parts(&self) -> (&Arc<Body>, &Arc<dyn Journal>);
    /// Another node does it; `None`: this one.
    fn elsewhere(&self, node: Option<&str>);
    fn run(&self) -> impl Future<Output = ()> + Send;
}

fn told_elsewhere(standing: &mut Standing, node: Option<&str>) {
    standing.why = node.map(|node| format!("{node} does it, with which this node shares its engine"));
}

impl Work for Flow {
    fn parts(&self) -> (&Arc<Body>, &Arc<dyn Journal>) {
        (&self.body, &self.journal)
    }

    fn elsewhere(&self, node: Option<&str>) {
        told_elsewhere(&mut self.standing.lock(), node);
    }

    fn run(&self) -> impl Future<Output = ()> + Send {
        Flow::run(self)
    }
}

impl Work for Pull {
    fn parts(&self) -> (&Arc<Body>, &Arc<dyn Journal>) {
        (&self.body, &self.journal)
    }

    fn elsewhere(&self, node: Option<&str>) {
        told_elsewhere(&mut self.standing.lock().0, node);
    }

    fn run(&self) -> impl Future<Output = ()> + Send {
        self.ask()
    }
}

/// Works until `end`; where nodes share the engine, while this one holds the lease of that name.
async fn alone(work: Arc<impl Work>, lease: String, end: CancellationToken) {
    let (body, journal) = work.parts();
    if !journal.relates() {
        return tokio::select! { () = end.cancelled() => {}, () = work.run() => {} };
    }
    let (journal, node) = (Arc::clone(journal), body.id.to_string());
    let subject = format!("tidings.mesh.mirror.{lease}");
    let mut leading = Candidate { journal, node, address: "".into(), shared: true, subject }.start(end.clone());
    loop {
        let now = leading.borrow_and_update().clone();
        match &now {
            Leading::Me { .. } => work.elsewhere(None),
            Leading::Other { node, .. } => work.elsewhere(Some(node)),
            Leading::Nobody => {}
        }
        tokio::select! {
            () = end.cancelled() => return,
            changed = leading.changed() => if changed.is_err() {
                return;
            },
            () = work.run(), if matches!(now, Leading::Me { .. }) => {}
        }
    }
}
