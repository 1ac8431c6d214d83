//! Streams of this node that are kept elsewhere too, with custody: because a mirror here says so, or because another
//! node asked.
//!
//! Each has a durable consumer of its stream for each place where it is kept. Its messages are sent in order, a window
//! ahead of what the far side has confirmed; what it confirms is acknowledged. Where an answer stays out, or something
//! was lost on the way, all that is not confirmed is sent anew: the far side takes each once. A far side that has less
//! than it once confirmed is sent what it lacks, as far as that is still there.
//!
//! # Invariants
//! - Nothing is acknowledged that the far side has not recorded.
//! - At most [`WINDOW`] messages, and of those at most [`WINDOW_BYTES`], are under way.
//! - A mirror that does not get on says why, and tries again for ever; one that was asked for, for as long as it is.
//! - Who asks gets a stream only if rules of names let his domain have all of it, and each message only if they do.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use event::Pattern;
use journal::{
    Ack, AckPolicy, AckToken, ConsumerConfig, ConsumerError, ConsumerInfo, ConsumerStart, Delivery, Journal,
};
use link::mesh::{Letter, Put};
use mesh::names::NodeId;
use mesh::node::{Leg, Refusal, Report};
use parking_lot::Mutex;
use plan::{Declared, MirrorSpec};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::body::{Body, Conn};
use super::custody::{Back, COPIES};
use super::kept::{ASKED, Head, Place, What, Word};
use super::pull::Pull;
use crate::entropy::seed;
use crate::federation::feed::Feed;

/// Messages of one mirror that are under way to one domain, at most: a round trip of 20 ms at 50,000 a second.
const WINDOW: usize = 1_024;

/// Bytes of those, at most, but for one message.
const WINDOW_BYTES: usize = 2 << 20;

/// How long an answer may stay out before all is sent anew: longer than any way that is up.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// How long a message waits for room on its link, or for a way, before that is looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The first pause after something went wrong, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// See [`PAUSE_MIN`].
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Longer than any answer stays out: it is this task that sends anew, not the consumer.
const ACK_WAIT: Duration = Duration::from_hours(24);

/// How long a stream is brought to one who asked and asks no more.
const ASKED_FOR: Duration = Duration::from_secs(30);

/// How long the consumer of one who asked is kept without him: a day off, and nothing is missed.
const ASKED_KEPT: Duration = Duration::from_hours(24);

/// Streams that are brought to those who ask, at most, together and to one domain: each is a task and a window.
const ASKED_MAX: usize = 256;
/// See [`ASKED_MAX`].
const ASKED_OF_DOMAIN_MAX: usize = 64;

/// Consumers of one stream for those who ask, at most: who asks under names that he makes up fills no more.
const ASKED_OF_STREAM_MAX: usize = 64;

/// Bytes of the filters of a question, at most.
const FILTERS_BYTES_MAX: usize = 16 << 10;

/// First tokens of subjects that nobody is given: what nodes keep for themselves and for their clients alone, and
/// copies, which are asked for where they are from.
const NOT_GIVEN: [&str; 3] = ["tidings", "slim-inbox", COPIES];

/// What a mirror does, as people read it.
#[derive(Debug, Clone, Default)]
struct Standing {
    /// Everything up to this position is kept there.
    confirmed: u64,
    /// Messages that are not yet.
    owed: u64,
    /// Why it does not get on.
    why: Option<String>,
}

/// What is brought, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Job {
    stream: String,
    into: String,
    filters: Vec<Pattern>,
    to: Place,
}

/// Of one that was asked for.
struct Asked {
    by: String,
    run: u64,
    /// When it was last asked for, and where the answer goes.
    last: Mutex<(Instant, Back)>,
}

/// One mirror, to one place.
struct Mirror {
    body: Arc<Body>,
    journal: Arc<dyn Journal>,
    /// The name under which its messages go.
    name: String,
    job: Job,
    asked: Option<Asked>,
    standing: Mutex<Standing>,
    /// The far side has no more than this, plus one; 0: as far as its consumer says.
    rewind: AtomicU64,
    /// It is declared no more: its consumer is of no use.
    over: AtomicBool,
    end: CancellationToken,
}

/// The mirrors of this node.
#[derive(Default)]
pub(crate) struct Mirrors {
    /// Those that are declared, by name and place.
    sent: Mutex<BTreeMap<(String, Place), Arc<Mirror>>>,
    /// Those that were asked for, by name and who asked.
    asked: Mutex<BTreeMap<(String, String), Arc<Mirror>>>,
    /// What this node asks for, by name.
    pulls: Mutex<BTreeMap<String, Arc<Pull>>>,
    journal: std::sync::OnceLock<Arc<dyn Journal>>,
}

impl Job {
    fn of(spec: &MirrorSpec, to: Place) -> Self {
        let filters = spec.filters.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
        Job { stream: spec.stream.clone(), into: called(spec).to_owned(), filters, to }
    }
}

/// What a stream is called where it is kept.
pub(super) fn called(spec: &MirrorSpec) -> &str {
    if spec.stream_there.is_empty() { &spec.stream } else { &spec.stream_there }
}

impl Mirrors {
    /// The mirrors as people read them, by name and place.
    pub(crate) fn rows(&self) -> Value {
        let mut rows: Vec<Value> = self.sent.lock().values().map(|mirror| mirror.row()).collect();
        rows.extend(self.pulls.lock().values().map(|pull| pull.row()));
        rows.extend(self.asked.lock().values().map(|mirror| mirror.row()));
        Value::Array(rows)
    }

    /// Follows what is declared, and which domains there are, until the node stops.
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

    pub(super) fn want(&self, body: &Arc<Body>, journal: &Arc<dyn Journal>, declared: &BTreeMap<String, MirrorSpec>) {
        let _first = self.journal.set(Arc::clone(journal));
        self.pull(body, journal, declared);
        let mut all = self.sent.lock();
        let mut wanted = BTreeMap::new();
        for (name, spec) in declared {
            for to in places(body, spec, all.keys().filter(|(each, _)| each == name).map(|(_, to)| to)) {
                wanted.insert((name.clone(), to.clone()), Job::of(spec, to));
            }
        }
        all.retain(|key, mirror| {
            let job = wanted.get(key);
            let stays = job.is_some_and(|job| *job == mirror.job);
            if !stays {
                // One that goes on otherwise takes the consumer over.
                mirror.over.store(job.is_none_or(|job| job.stream != mirror.job.stream), Ordering::Release);
                mirror.end.cancel();
            }
            stays
        });
        for ((name, to), job) in wanted {
            all.entry((name.clone(), to)).or_insert_with(|| Mirror::begin(body, journal, name, job, None));
        }
    }

    fn pull(&self, body: &Arc<Body>, journal: &Arc<dyn Journal>, declared: &BTreeMap<String, MirrorSpec>) {
        let wanted = |name: &str| declared.get(name).filter(|spec| !spec.from.is_empty());
        let mut all = self.pulls.lock();
        all.retain(|name, pull| {
            let stays = wanted(name).is_some_and(|spec| *spec == pull.spec);
            if !stays {
                pull.end.cancel();
            }
            stays
        });
        for (name, spec) in declared.iter().filter(|(name, _)| wanted(name).is_some()) {
            if let (false, Some(from)) = (all.contains_key(name), Place::parse(&spec.from)) {
                all.insert(name.clone(), Pull::begin(body, journal, name, spec, from));
            }
        }
    }

    /// A node asks for a stream of this one.
    pub(super) fn asked(&self, body: &Arc<Body>, by: &NodeId, head: &Head<'_>, payload: &[u8], back: Back) {
        let refuse = |why: &str| back.say(0, What::Refused(why.to_owned()));
        let Some(journal) = self.journal.get() else { return refuse("this node gives no streams") };
        let text = std::str::from_utf8(payload).ok().filter(|text| text.len() <= FILTERS_BYTES_MAX);
        let filters: Option<Vec<Pattern>> =
            text.and_then(|text| text.lines().map(|line| Pattern::parse(line).ok()).collect());
        let (Some(filters), true) = (filters, head.mirror.starts_with(ASKED)) else {
            return refuse("the question cannot be read");
        };
        let to = Place { domain: by.domain.clone(), node: Some(by.node.clone()) };
        let job = Job { stream: head.stream.to_owned(), into: head.into.to_owned(), filters, to };
        let key = (head.mirror.to_owned(), by.to_string());
        let mut all = self.asked.lock();
        all.retain(|_, mirror| !mirror.end.is_cancelled());
        if let Some(mirror) = all.get(&key) {
            let same = mirror.job == job && mirror.asked.as_ref().is_some_and(|asked| asked.run == head.run);
            if same {
                return mirror.asked_again(back);
            }
            mirror.end.cancel();
            all.remove(&key);
        }
        let of_domain = all.values().filter(|mirror| mirror.job.to.domain == by.domain).count();
        if all.len() >= ASKED_MAX || of_domain >= ASKED_OF_DOMAIN_MAX {
            return refuse("this node brings too many streams to others");
        }
        let asked = Asked { by: by.to_string(), run: head.run, last: Mutex::new((Instant::now(), back)) };
        let mirror = Mirror::begin(body, journal, head.mirror.to_owned(), job, Some((asked, head.position)));
        all.insert(key, mirror);
    }
}

/// Where a declared mirror is kept: as it says, or in every domain that can be reached, and in those that could once.
fn places<'a>(body: &Body, spec: &MirrorSpec, known: impl Iterator<Item = &'a Place>) -> Vec<Place> {
    if spec.to.iter().any(|to| to == "*") {
        let mut all: Vec<Place> = known.cloned().collect();
        for domain in body.ask(mesh::node::Node::reachable) {
            let place = Place { domain, node: None };
            if !all.contains(&place) {
                all.push(place);
            }
        }
        return all;
    }
    let places = spec.to.iter().filter_map(|to| Place::parse(to));
    places
        .filter(|to| to.domain != body.id.domain || to.node.as_ref().is_some_and(|node| *node != body.id.node))
        .collect()
}

/// The way to a place now.
pub(super) fn way(body: &Body, to: &Place, subject: &str) -> Result<(Leg, Arc<Conn>), String> {
    let leg = body.ask(|node| match &to.node {
        Some(inner) if to.domain == body.id.domain => node.inward(inner, None),
        _ => node.toward(&to.domain, subject),
    });
    let leg = leg.map_err(|why: Refusal| format!("there is no way to {to}: {why}"))?;
    let conn = body.conn(leg.conn).ok_or_else(|| "the link has just ended".to_owned())?;
    Ok((leg, conn))
}

/// A text as a part of a consumer's name: what may not stand there is told by its number.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(char::from(byte)),
            other => out.push_str(&format!("_{other:02x}")),
        }
    }
    out
}

impl Mirror {
    /// Begins to bring. `asked`: by whom, and from behind which position plus one.
    fn begin(
        body: &Arc<Body>,
        journal: &Arc<dyn Journal>,
        name: String,
        job: Job,
        asked: Option<(Asked, u64)>,
    ) -> Arc<Self> {
        let (body, journal, end) = (Arc::clone(body), Arc::clone(journal), body.end.child_token());
        let (asked, rewind) = asked.map_or((None, 0), |(asked, from)| (Some(asked), from));
        let (rewind, over, standing) = (AtomicU64::new(rewind), AtomicBool::new(false), Mutex::default());
        let mirror = Arc::new(Mirror { body, journal, name, job, asked, standing, rewind, over, end });
        tokio::spawn(Arc::clone(&mirror).run());
        mirror
    }

    fn row(&self) -> Value {
        let Standing { confirmed, owed, why } = self.standing.lock().clone();
        let state = if why.is_some() { "waiting" } else { "keeping" };
        let (name, by) = (self.name.trim_start_matches(ASKED), self.asked.as_ref().map(|asked| &asked.by));
        json!({ "name": name, "stream": self.job.stream, "from": self.body.id.to_string(), "to": self.job.to.to_string(),
            "as": self.job.into, "askedBy": by, "confirmed": confirmed, "owed": owed, "state": state, "why": why })
    }

    fn consumer(&self) -> String {
        let (kind, name) = match &self.asked {
            Some(_) => ("asked", self.name.trim_start_matches(ASKED)),
            None => ("mirror", self.name.as_str()),
        };
        format!("{kind}-{}-{}", plain(name), plain(&self.job.to.to_string()))
    }

    /// Who asked asks again.
    fn asked_again(&self, back: Back) {
        let Some(asked) = &self.asked else { return };
        let standing = self.standing.lock().clone();
        match standing.why {
            Some(why) => back.say(0, What::Refused(why)),
            None => back.say(standing.confirmed, What::Confirmed),
        }
        *asked.last.lock() = (Instant::now(), back);
    }

    /// Tells who asked why he gets nothing.
    fn tell(&self, why: &str) {
        if let Some(asked) = &self.asked {
            asked.last.lock().1.say(0, What::Refused(why.to_owned()));
        }
    }

    fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    fn is_asked_no_more(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.last.lock().0.elapsed() > ASKED_FOR)
    }

    async fn run(self: Arc<Self>) {
        let mut pause = PAUSE_MIN;
        while !self.end.is_cancelled() && !self.is_asked_no_more() {
            let began = Instant::now();
            let ended = tokio::select! {
                () = self.end.cancelled() => break,
                ended = self.attempt() => ended,
            };
            let why = ended.err();
            if let Some(why) = why.as_ref().filter(|why| self.standing.lock().why.as_ref() != Some(why)) {
                warn!(mirror = self.name, to = %self.job.to, why, "a mirror does not get on");
                self.tell(why);
            }
            pause =
                if why.is_none() || began.elapsed() > PAUSE_MAX * 2 { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
            if why.is_some() {
                self.standing.lock().why = why;
            }
            tokio::select! {
                () = self.end.cancelled() => break,
                () = sleep(pause) => {}
            }
        }
        self.end.cancel();
        self.body.custody.forget(&self.name, &self.job.to);
        if self.over.load(Ordering::Acquire) {
            // Where it is not there, that is as well.
            let _gone = self.journal.consumer_delete(&self.job.stream, &self.consumer()).await;
        }
    }

    /// Whether who asked may have it. An error says why not.
    async fn consent(&self) -> Result<u64, String> {
        let stream = &self.job.stream;
        let info = self.journal.stream_info(stream).await.map_err(|error| error.to_string())?;
        let born = u64::try_from(info.created.nanos()).unwrap_or(0);
        if self.asked.is_none() {
            return Ok(born);
        }
        let subjects = &info.config.subjects;
        if subjects.is_empty() || subjects.iter().any(|each| NOT_GIVEN.contains(&first_token(each))) {
            return Err(format!("the stream '{stream}' is given to nobody: it is this node's own, or a copy itself"));
        }
        let asked = if self.job.filters.is_empty() { subjects } else { &self.job.filters };
        let domain = &self.job.to.domain;
        let closed = |rule| format!("the rule '{rule}' does not let the domain {domain} have the stream '{stream}'");
        if *domain != self.body.id.domain {
            self.body.ask(|node| node.may_have(domain, asked)).map_err(closed)?;
        }
        Ok(born)
    }

    /// The consumer as it stands, made or made anew where that has to be.
    async fn prepare(&self) -> Result<ConsumerInfo, String> {
        let (stream, consumer) = (&self.job.stream, self.consumer());
        let mut start = ConsumerStart::All;
        let from = self.rewind.swap(0, Ordering::AcqRel);
        match self.journal.consumer_reset(stream, &consumer, None).await {
            // What the far side lacks is before what it confirmed: begun there.
            Ok(info) if from > 0 && info.ack_floor >= from => start = ConsumerStart::Seq(from),
            Ok(info) if info.config.filters == self.job.filters => return Ok(info),
            Ok(info) => start = ConsumerStart::Seq(info.ack_floor + 1),
            Err(ConsumerError::NotFound { .. }) => {
                if from > 1 {
                    start = ConsumerStart::Seq(from);
                }
                if self.asked.is_some() {
                    let all = self.journal.consumers(stream).await.map_err(|error| error.to_string())?;
                    let asked = all.iter().filter(|each| each.config.name.starts_with("asked-")).count();
                    if asked >= ASKED_OF_STREAM_MAX {
                        return Err(format!("too many ask for the stream '{stream}'"));
                    }
                }
                info!(mirror = self.name, to = %self.job.to, "a stream is kept elsewhere from now on");
            }
            Err(error) => return Err(error.to_string()),
        }
        match self.journal.consumer_delete(stream, &consumer).await {
            Ok(()) | Err(ConsumerError::NotFound { .. }) => {}
            Err(error) => return Err(error.to_string()),
        }
        let config = ConsumerConfig {
            filters: self.job.filters.clone(),
            description: format!("Keeps the stream at {}", self.job.to),
            start,
            ack: AckPolicy::All,
            ack_wait: ACK_WAIT,
            ack_pending_max: Some(2 * WINDOW as u64),
            dead_letter: false,
            inactive: self.asked.as_ref().map(|_| ASKED_KEPT),
            ..ConsumerConfig::new(&consumer)
        };
        self.journal.consumer_create(stream, config).await.map_err(|error| error.to_string())
    }

    /// Sends until something goes wrong, or was lost. An error is why it does not get on.
    async fn attempt(&self) -> Result<(), String> {
        let born = self.consent().await?;
        let info = self.prepare().await?;
        {
            let mut standing = self.standing.lock();
            standing.confirmed = info.ack_floor;
            standing.owed = info.pending + info.ack_pending;
            if self.asked.is_some() {
                standing.why = None;
            }
        }
        let answers = self.body.custody.answers(&self.name, &self.job.to);
        let run = seed().map_err(|error| error.to_string())?[0];
        let feed = Feed::open(&self.journal, &self.job.stream, &self.consumer());
        let (under_way, since, floor) = (VecDeque::new(), Instant::now(), info.ack_floor);
        let sending =
            Sending { mirror: self, run, born, floor, previous: floor, under_way, bytes: 0, since, conn: None };
        sending.go(feed, answers).await
    }
}

fn first_token(pattern: &Pattern) -> &str {
    pattern.as_str().split('.').next().unwrap_or_default()
}

/// What is under way of one mirror.
struct Sending<'a> {
    mirror: &'a Mirror,
    run: u64,
    /// When the stream was made.
    born: u64,
    /// What was confirmed when it began.
    floor: u64,
    /// The position that was sent last.
    previous: u64,
    under_way: VecDeque<(u64, usize, AckToken)>,
    bytes: usize,
    /// When the far side last confirmed something, or nothing was under way.
    since: Instant,
    /// The connection that they went to.
    conn: Option<Arc<Conn>>,
}

/// Waits for the end of a connection.
async fn over(conn: Option<&Arc<Conn>>) {
    match conn {
        Some(conn) => conn.out.over().await,
        None => std::future::pending().await,
    }
}

impl Sending<'_> {
    async fn go(mut self, mut feed: Feed, mut answers: mpsc::Receiver<Word>) -> Result<(), String> {
        let mut next: Option<Delivery> = None;
        loop {
            while self.has_room()
                && let Some(delivery) = next.take()
            {
                let sent = self.send(&delivery);
                if let Ok(true) = sent {
                    next = feed.held();
                    continue;
                }
                if let (Err(why), Some(_)) = (&sent, &self.mirror.asked) {
                    return Err(why.clone());
                }
                self.mirror.standing.lock().why = sent.err();
                next = Some(delivery);
                break;
            }
            let room = self.has_room();
            let late = self.since + ANSWER_WAIT;
            tokio::select! {
                biased;
                word = answers.recv() => match word {
                    Some(word) if word.run == self.run => if !self.answered(word)? {
                        return Ok(());
                    },
                    Some(_) => {}
                    None => return Ok(()),
                },
                delivery = feed.next(), if next.is_none() && room => match delivery {
                    Some(delivery) => next = Some(delivery),
                    None => return Err(format!("the stream '{}' is not there any more", self.mirror.job.stream)),
                },
                () = sleep(LOOK_AGAIN), if next.is_some() && room => {}
                // What is under way is lost with it.
                () = over(self.conn.as_ref()), if !self.under_way.is_empty() => return Ok(()),
                () = sleep_until(late), if !self.under_way.is_empty() => {
                    return Err(format!("{} does not answer", self.mirror.job.to));
                }
                () = sleep(ASKED_FOR), if self.mirror.is_asked() => if self.mirror.is_asked_no_more() {
                    return Ok(());
                },
            }
        }
    }

    fn has_room(&self) -> bool {
        self.under_way.len() < WINDOW && self.bytes < WINDOW_BYTES
    }

    /// Sends one. `false`: its link has no room now.
    fn send(&mut self, delivery: &Delivery) -> Result<bool, String> {
        let (mirror, stored) = (self.mirror, &delivery.stored);
        let subject = stored.message.subject.as_str();
        let (leg, conn) = way(&mirror.body, &mirror.job.to, subject)?;
        if self.under_way.is_empty() {
            self.since = Instant::now();
        }
        let envelope = leg.envelope.encode();
        let position = stored.seq;
        let head = Head {
            envelope: &envelope,
            run: self.run,
            position,
            previous: self.previous,
            left: delivery.pending,
            born: self.born,
            node: mirror.job.to.node.as_ref().map_or("", |node| node.as_str()),
            mirror: &mirror.name,
            stream: &mirror.job.stream,
            into: &mirror.job.into,
            ..Head::default()
        };
        let head = head.encode();
        let (headers, payload) = (stored.message.headers.as_block(), &stored.message.payload);
        let letter = Letter { head: &head, subject, reply: "", status: "", headers, payload };
        mirror.body.custody.sent_on(&mirror.name, &mirror.job.to, conn.number);
        match conn.out.keep(&letter) {
            Put::No => return Ok(false),
            Put::First => conn.out.wake(),
            Put::Yes => {}
        }
        if self.conn.as_ref().is_none_or(|before| before.number != conn.number) {
            self.conn = Some(conn);
        }
        self.previous = position;
        let bytes = stored.message.size();
        self.under_way.push_back((position, bytes, delivery.token.clone()));
        self.bytes += bytes;
        mirror.standing.lock().owed = delivery.pending + self.under_way.len() as u64;
        Ok(true)
    }

    /// What the far side says. `false`: all that is not confirmed is to be sent anew.
    fn answered(&mut self, word: Word) -> Result<bool, String> {
        match word.what {
            What::Refused(why) => return Err(format!("{} takes nothing: {why}", self.mirror.job.to)),
            What::Again => {
                if word.position < self.floor {
                    self.mirror.rewind.store(word.position + 1, Ordering::Release);
                }
                return Ok(false);
            }
            What::Confirmed => {}
        }
        let mut done = None;
        while let Some((position, bytes, _)) = self.under_way.front() {
            if *position > word.position {
                break;
            }
            self.bytes -= bytes;
            done = self.under_way.pop_front();
        }
        if let Some((position, _, token)) = done {
            self.since = Instant::now();
            self.mirror.journal.acknowledge(token, Ack::Done, false, Box::new(|_| ()));
            let mut standing = self.mirror.standing.lock();
            standing.confirmed = position;
            standing.owed = standing.owed.saturating_sub(1).max(self.under_way.len() as u64);
            if self.under_way.is_empty() {
                standing.owed = 0;
            }
            standing.why = None;
        }
        Ok(true)
    }
}
