//! What became of messages whose publishers asked for a trace: what each node that one came to noted of it.
//!
//! ```text
//!  enters here, with a sampled `traceparent` ──▶ Entry ─┐               ┌─▶ the node's own shelf
//!  comes on a link, with the envelope's flag ──▶ Relay ─┴─ a note each ─┤
//!                                                                       └─▶ untold ──▶ the controller's shelf
//! ```
//!
//! # Invariants
//! - A node tells its notes to its controller alone; who says something there is known by its proof, not by the note.
//! - A shelf holds at most [`TRACES_MAX`] traces of [`NOTES_OF_TRACE_MAX`] notes, in [`SHELF_BYTES_MAX`]; each note was
//!   cut to its limits before. Where it is full, the oldest trace of whoever began the most of them goes: who makes
//!   traces up crowds out his own.
//! - What is noted is bounded in rate, on entering and for each link; what is beyond is counted, and a message that enters
//!   beyond it is not traced anywhere.
//! - Nothing that is noted decides anything.
//!
//! # Cost
//! None for a message without headers. One with headers is looked through where it enters; one that is traced costs a
//! note at each node.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use door::{Offered, Parcel, Tracer};
use event::{Moment, TraceId, TraceParent};
use mesh::names::{LinkId, Name, NodeId};
use mesh::node::Refusal;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::body::{CONNECTIONS_FROM, Conn};
use crate::clock::now;

/// Traces that a shelf holds: what happened in the last seconds, where much is traced.
pub(super) const TRACES_MAX: usize = 1_024;

/// Bytes of a shelf's notes: most have some 500.
const SHELF_BYTES_MAX: usize = 32 << 20;

/// Bytes of what one node told, or one neighbour brought.
const TELLER_BYTES_MAX: usize = SHELF_BYTES_MAX / 8;

/// Notes of one trace: a message that goes to each of sixty nodes.
const NOTES_OF_TRACE_MAX: usize = 64;

/// Notes of one node in one trace: a few messages of a conversation. Others have room too.
const NOTES_OF_NODE_MAX: usize = 16;

/// Notes a second of what enters at this node, and of what one link brings.
const NOTES_A_SECOND_MAX: u32 = 256;

/// Notes that wait to be told; more are lost to the controller, and counted.
const UNTOLD_MAX: usize = 1_024;

/// Notes that are told in one go.
const TOLD_AT_ONCE: usize = 64;

/// How long is waited between two tellings: some 640 notes a second reach the controller.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// Links of a note on which a message went on; of more the number is noted.
const SENT_MAX: usize = 16;

/// Reasons of a note.
const WHY_MAX: usize = 8;

/// Bytes of a text of a note: the longest is the id of a link, of two nodes. Subjects are cut.
const TEXT_BYTES_MAX: usize = 256;

/// What a node noted of a message that came to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TraceNote {
    /// The trace, as its text.
    pub(crate) trace: String,
    /// What the publisher said of it, whole.
    pub(crate) parent: String,
    pub(crate) subject: String,
    /// When it came, in microseconds since 1970 by the node's own clock.
    pub(crate) at: u64,
    /// The link that it came by; `None`: it entered there.
    pub(crate) came: Option<Step>,
    /// The segment in which it came.
    pub(crate) segment: Option<String>,
    /// Receivers at the node who listen on their own and took it.
    pub(crate) direct: u64,
    /// Receivers at the node who took it as one of their group.
    pub(crate) groups: u64,
    /// Receivers at the node who had no room.
    pub(crate) full: u64,
    /// Links that it went on by.
    pub(crate) sent: Vec<Step>,
    /// How many more there were.
    pub(crate) more: u64,
    /// Why it did not come to whom it was for, or went nowhere.
    pub(crate) why: Vec<String>,
}

/// A link, and the node at its other end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    pub(crate) link: String,
    pub(crate) node: String,
    /// Whether there was room.
    pub(crate) taken: bool,
}

fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or_default().to_owned()
}

impl TraceNote {
    fn new(parent: &TraceParent, at: Moment, subject: &str) -> Self {
        TraceNote {
            trace: parent.trace.to_string(),
            parent: parent.to_string(),
            subject: cut(subject),
            at: u64::try_from(at.since(Moment::EPOCH).as_micros()).unwrap_or(u64::MAX),
            came: None,
            segment: None,
            direct: 0,
            groups: 0,
            full: 0,
            sent: Vec::new(),
            more: 0,
            why: Vec::new(),
        }
    }

    /// Bytes that it takes, nearly.
    fn bytes(&self) -> usize {
        let TraceNote { parent, subject, came, sent, why, .. } = self;
        let steps = came.iter().chain(sent).map(|step| size_of::<Step>() + step.link.len() + step.node.len());
        let why = why.iter().map(|why| size_of::<String>() + why.len());
        let segment = self.segment.as_ref().map_or(0, String::len);
        size_of::<TraceNote>()
            + self.trace.len()
            + segment
            + parent.len()
            + subject.len()
            + steps.sum::<usize>()
            + why.sum::<usize>()
    }

    /// The trace, where all of it is within its limits.
    fn sound(&self) -> Option<TraceId> {
        let TraceNote { parent, subject, segment, came, sent, why, .. } = self;
        let steps = came.iter().chain(sent).flat_map(|step| [&step.link, &step.node]);
        let mut texts = [parent, subject].into_iter().chain(segment).chain(steps).chain(why);
        let few = sent.len() <= SENT_MAX && why.len() <= WHY_MAX;
        let sound = few && texts.all(|text| text.len() <= TEXT_BYTES_MAX && !text.contains(char::is_control));
        TraceId::parse(&self.trace).filter(|_| sound)
    }

    fn told(&self, node: &str, first: u64) -> Value {
        let step = |step: &Step| json!({"link": step.link, "node": step.node, "taken": step.taken});
        json!({
            "node": node, "at": Moment::EPOCH.after(Duration::from_micros(self.at)).to_string(),
            "afterMicros": self.at.saturating_sub(first), "subject": self.subject, "parent": self.parent,
            "came": self.came.as_ref().map(step), "segment": self.segment,
            "direct": self.direct, "groups": self.groups, "full": self.full,
            "sent": self.sent.iter().map(step).collect::<Vec<_>>(), "more": self.more, "why": self.why,
        })
    }
}

/// What is known of one trace.
#[derive(Debug, Default)]
struct Trace {
    notes: Vec<(Arc<str>, TraceNote)>,
    /// Who told of each of them.
    tellers: Vec<Arc<str>>,
    /// Notes that found no room.
    lost: u64,
}

/// Traces, the newest of them.
#[derive(Debug, Default)]
struct Ring {
    traces: HashMap<TraceId, Trace>,
    /// Of all notes, and of those of each who told some.
    bytes: usize,
    told: BTreeMap<Arc<str>, usize>,
    /// By who began them: the oldest first. Each is in `traces`.
    begun: BTreeMap<Arc<str>, VecDeque<TraceId>>,
}

impl Ring {
    fn put(&mut self, id: TraceId, node: &str, by: &str, note: TraceNote) {
        let (by, size): (Arc<str>, usize) = (by.into(), note.bytes());
        // Who tells much makes room for it among what he told, and where he has none, has no room.
        while self.told.get(&by).copied().unwrap_or(0) + size > TELLER_BYTES_MAX {
            if !self.forget_oldest(&by) {
                return self.lose(id);
            }
        }
        while self.bytes + size > SHELF_BYTES_MAX || (self.traces.len() >= TRACES_MAX && !self.traces.contains_key(&id))
        {
            let most = self.begun.iter().max_by_key(|(_, traces)| traces.len()).map(|(by, _)| Arc::clone(by));
            if !most.is_some_and(|most| self.forget_oldest(&most)) {
                return self.lose(id);
            }
        }
        if !self.traces.contains_key(&id) {
            self.begun.entry(Arc::clone(&by)).or_default().push_back(id);
        }
        let trace = self.traces.entry(id).or_default();
        let of_node = trace.notes.iter().filter(|(each, ..)| **each == *node).count();
        if trace.notes.len() >= NOTES_OF_TRACE_MAX || of_node >= NOTES_OF_NODE_MAX {
            trace.lost += 1;
            return;
        }
        trace.tellers.push(Arc::clone(&by));
        trace.notes.push((node.into(), note));
        self.bytes += size;
        *self.told.entry(by).or_default() += size;
    }

    fn lose(&mut self, id: TraceId) {
        if let Some(trace) = self.traces.get_mut(&id) {
            trace.lost += 1;
        }
    }

    /// Forgets the oldest trace that somebody began; whether there was one.
    fn forget_oldest(&mut self, by: &Arc<str>) -> bool {
        let Some(traces) = self.begun.get_mut(by) else { return false };
        let gone = traces.pop_front();
        if traces.is_empty() {
            self.begun.remove(by);
        }
        let Some(gone) = gone.and_then(|gone| self.traces.remove(&gone)) else { return false };
        for ((_, note), teller) in gone.notes.iter().zip(&gone.tellers) {
            let size = note.bytes();
            self.bytes -= size;
            if let Some(told) = self.told.get_mut(teller) {
                *told -= size;
                if *told == 0 {
                    self.told.remove(teller);
                }
            }
        }
        true
    }
}

/// Where notes are kept and looked up.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    ring: Mutex<Ring>,
    came: Notify,
}

impl Shelf {
    /// Keeps what a node told; whether it could be. Began by that node, where it is the first.
    pub(crate) fn keep(&self, node: &NodeId, notes: Vec<TraceNote>) -> bool {
        let node = node.to_string();
        let mut sound = notes.len() <= TOLD_AT_ONCE;
        for note in notes.into_iter().take(TOLD_AT_ONCE) {
            match note.sound() {
                Some(id) => self.ring.lock().put(id, &node, &node, note),
                None => sound = false,
            }
        }
        self.came.notify_waiters();
        sound
    }

    fn put(&self, id: TraceId, node: &str, by: &str, note: TraceNote) {
        self.ring.lock().put(id, node, by, note);
        self.came.notify_waiters();
    }

    /// What is noted of a trace, in the order in which it happened as far as the nodes' clocks agree; `None`: nothing.
    pub(crate) fn told(&self, id: TraceId) -> Option<Value> {
        let ring = self.ring.lock();
        let trace = ring.traces.get(&id)?;
        let mut notes: Vec<&(Arc<str>, TraceNote)> = trace.notes.iter().collect();
        let lost = trace.lost;
        notes.sort_by_key(|(_, note)| (note.at, note.came.is_some()));
        let first = notes.first().map_or(0, |(_, note)| note.at);
        let rows: Vec<Value> = notes.into_iter().map(|(node, note)| note.told(node, first)).collect();
        Some(json!({"trace": id.to_string(), "notes": rows, "lost": lost}))
    }

    /// Whether every node that a trace's messages were sent on to has noted them.
    fn is_whole(&self, id: TraceId) -> bool {
        let ring = self.ring.lock();
        let Some(trace) = ring.traces.get(&id) else { return false };
        let came = |step: &Step| {
            let there = |note: &TraceNote| note.came.as_ref().is_some_and(|came| came.link == step.link);
            trace.notes.iter().any(|(node, note)| **node == *step.node && there(note))
        };
        let entered = trace.notes.iter().any(|(_, note)| note.came.is_none());
        let told = |note: &TraceNote| note.more == 0 && note.sent.iter().filter(|step| step.taken).all(came);
        entered && trace.lost == 0 && trace.notes.iter().all(|(_, note)| told(note))
    }

    /// Waits until a trace is whole; whether it became so in time.
    pub(crate) async fn whole(&self, id: TraceId, patience: Duration) -> bool {
        let whole = async {
            loop {
                let came = self.came.notified();
                tokio::pin!(came);
                came.as_mut().enable();
                if self.is_whole(id) {
                    return;
                }
                came.await;
            }
        };
        tokio::time::timeout(patience, whole).await.is_ok()
    }
}

/// How many a second.
#[derive(Debug, Default)]
struct Rate(Mutex<Option<(Instant, u32)>>);

impl Rate {
    fn allows(&self) -> bool {
        let mut window = self.0.lock();
        match &mut *window {
            Some((since, count)) if since.elapsed() < Duration::from_secs(1) => {
                *count = count.saturating_add(1);
                *count <= NOTES_A_SECOND_MAX
            }
            other => {
                *other = Some((Instant::now(), 1));
                true
            }
        }
    }
}

/// The connections that are up, by number.
pub(super) type Conns = Arc<RwLock<BTreeMap<u64, Arc<Conn>>>>;

/// What this node notes.
pub(crate) struct Traces {
    id: String,
    conns: Conns,
    entering: Rate,
    /// What this node noted itself.
    pub(crate) shelf: Shelf,
    untold: Mutex<VecDeque<TraceNote>>,
    news: Notify,
    /// Notes that were made.
    pub(crate) noted: AtomicU64,
    /// Notes that were not made, or not told to the controller, for there were too many.
    pub(crate) lost: AtomicU64,
}

impl Traces {
    pub(super) fn new(id: &NodeId, conns: Conns) -> Arc<Self> {
        Arc::new(Traces {
            id: id.to_string(),
            conns,
            entering: Rate::default(),
            shelf: Shelf::default(),
            untold: Mutex::default(),
            news: Notify::new(),
            noted: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        })
    }

    fn lose(&self, count: u64) {
        self.lost.fetch_add(count, Ordering::Relaxed);
    }

    fn note(&self, id: TraceId, note: TraceNote) {
        self.noted.fetch_add(1, Ordering::Relaxed);
        let mut untold = self.untold.lock();
        if untold.len() < UNTOLD_MAX {
            untold.push_back(note.clone());
            self.news.notify_one();
        } else {
            self.lose(1);
        }
        drop(untold);
        let by = note.came.as_ref().map_or_else(|| self.id.clone(), |came| came.node.clone());
        self.shelf.put(id, &self.id, &by, note);
    }

    /// Who took a message, and where it went on to.
    fn fill(&self, note: &mut TraceNote, offered: &[Offered]) {
        let conns = self.conns.read();
        for each in offered {
            if each.connection >= CONNECTIONS_FROM {
                let Some(conn) = conns.get(&each.connection).filter(|_| note.sent.len() < SENT_MAX) else {
                    note.more += 1;
                    continue;
                };
                let (link, node) = (conn.link.to_string(), conn.peer.to_string());
                note.sent.push(Step { link, node, taken: each.taken });
                continue;
            }
            match (each.taken, each.grouped) {
                (false, _) => note.full += 1,
                (true, true) => note.groups += 1,
                (true, false) => note.direct += 1,
            }
        }
    }

    /// Waits until there is something to tell, and it is time.
    pub(super) async fn due(&self, last: tokio::time::Instant) {
        while self.untold.lock().is_empty() {
            self.news.notified().await;
        }
        tokio::time::sleep_until(last + TELL_EVERY).await;
    }

    /// What is to be told next, the oldest first.
    pub(super) fn untold(&self) -> Vec<TraceNote> {
        let mut untold = self.untold.lock();
        let most = untold.len().min(TOLD_AT_ONCE);
        untold.drain(..most).collect()
    }
}

/// Notes what enters at this node.
pub(super) struct Entry(pub(super) Arc<Traces>);

impl Tracer for Entry {
    fn traced(&self, parcel: &Parcel<'_>) -> Option<TraceParent> {
        let parent = TraceParent::sampled(parcel.headers)?;
        let allowed = self.0.entering.allows();
        if !allowed {
            self.0.lose(1);
        }
        allowed.then_some(parent)
    }

    fn note(&self, trace: &TraceParent, began: Instant, parcel: &Parcel<'_>, offered: &[Offered]) {
        let mut note = TraceNote::new(trace, now().before(began.elapsed()), parcel.subject);
        self.0.fill(&mut note, offered);
        if offered.is_empty() {
            note.why.push("nobody who can be reached wants it".to_owned());
        }
        self.0.note(trace.trace, note);
    }
}

/// What one link may have noted.
#[derive(Debug, Default)]
pub(super) struct Bounds(Rate);

/// Notes what came on a link.
pub(super) struct Relay {
    traces: Arc<Traces>,
    bounds: Arc<Bounds>,
    link: LinkId,
    peer: NodeId,
    segment: Option<Name>,
    lost: Vec<String>,
}

impl Relay {
    /// Of what comes on a connection in a segment, of which these destinations are lost.
    pub(super) fn new(traces: &Arc<Traces>, conn: &Conn, segment: Option<&Name>, lost: &[(Name, Refusal)]) -> Self {
        let lost = lost.iter().map(|(name, why)| cut(&format!("not to {name}: {why}"))).take(WHY_MAX).collect();
        let (traces, bounds) = (Arc::clone(traces), Arc::clone(&conn.bounds));
        Relay { traces, bounds, link: conn.link.clone(), peer: conn.peer.clone(), segment: segment.cloned(), lost }
    }

    fn begin(&self, trace: &TraceParent, at: Moment, subject: &str) -> TraceNote {
        let mut note = TraceNote::new(trace, at, subject);
        note.came = Some(Step { link: self.link.to_string(), node: self.peer.to_string(), taken: true });
        note.segment = self.segment.as_ref().map(ToString::to_string);
        note.why.clone_from(&self.lost);
        note
    }

    /// Notes that a message is refused.
    pub(super) fn refused(&self, parcel: &Parcel<'_>, why: Refusal) {
        if let Some(trace) = self.traced(parcel) {
            let mut note = self.begin(&trace, now(), parcel.subject);
            note.why.insert(0, format!("refused: {why}"));
            note.why.truncate(WHY_MAX);
            self.traces.note(trace.trace, note);
        }
    }
}

impl Tracer for Relay {
    fn traced(&self, parcel: &Parcel<'_>) -> Option<TraceParent> {
        let parent = TraceParent::sampled(parcel.headers)?;
        let allowed = self.bounds.0.allows();
        if !allowed {
            self.traces.lose(1);
        }
        allowed.then_some(parent)
    }

    fn note(&self, trace: &TraceParent, began: Instant, parcel: &Parcel<'_>, offered: &[Offered]) {
        let mut note = self.begin(trace, now().before(began.elapsed()), parcel.subject);
        self.traces.fill(&mut note, offered);
        if offered.is_empty() && note.why.is_empty() {
            note.why.push("nobody wants it any more".to_owned());
        }
        self.traces.note(trace.trace, note);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> TraceId {
        TraceId::parse(&format!("{:032x}", number + 1)).unwrap()
    }

    fn note(number: u64) -> TraceNote {
        let parent = TraceParent { trace: id(number), span: [1; 8], sampled: true };
        TraceNote::new(&parent, Moment::EPOCH.after(Duration::from_micros(number)), "a.b")
    }

    fn node(text: &str) -> NodeId {
        NodeId::parse(text).unwrap()
    }

    #[test]
    fn who_tells_much_has_room_for_little_of_others() {
        let shelf = Shelf::default();
        let long = |number| TraceNote { why: vec!["x".repeat(TEXT_BYTES_MAX); WHY_MAX], ..note(number) };
        assert!(shelf.keep(&node("a/1"), vec![note(0)]));
        // Into traces of his own, and into that of another.
        for number in 0..TRACES_MAX as u64 {
            for _ in 0..NOTES_OF_NODE_MAX {
                shelf.keep(&node("rogue/1"), vec![long(number)]);
            }
        }
        let ring = shelf.ring.lock();
        let told: usize = ring.told.values().sum();
        let held: usize = ring.traces.values().flat_map(|trace| &trace.notes).map(|(_, note)| note.bytes()).sum();
        assert_eq!((told, held), (ring.bytes, ring.bytes));
        assert!(ring.told["rogue/1"] <= TELLER_BYTES_MAX && ring.traces.contains_key(&id(0)));
    }

    #[test]
    fn who_makes_traces_up_crowds_out_his_own() {
        let shelf = Shelf::default();
        assert!(shelf.keep(&node("a/1"), vec![note(0)]));
        for number in 1..3 * TRACES_MAX as u64 {
            assert!(shelf.keep(&node("rogue/1"), vec![note(number)]));
        }
        assert!(shelf.told(id(0)).is_some(), "what others noted stays");
        assert!(shelf.told(id(1)).is_none() && shelf.told(id(3 * TRACES_MAX as u64 - 1)).is_some());
        assert_eq!(shelf.ring.lock().traces.len(), TRACES_MAX);
    }

    #[test]
    fn a_trace_has_few_notes_of_each_node_and_says_what_it_lost() {
        let shelf = Shelf::default();
        for (who, count) in [("a/1", 40), ("b/1", 40), ("c/1", 40), ("d/1", 40), ("e/1", 40)] {
            shelf.keep(&node(who), vec![note(7); count]);
        }
        let told = shelf.told(id(7)).unwrap();
        assert_eq!((told["notes"].as_array().unwrap().len(), &told["lost"]), (NOTES_OF_TRACE_MAX, &(200 - 64).into()));
    }

    #[test]
    fn what_is_over_its_limits_is_not_kept() {
        let check = |change: &dyn Fn(&mut TraceNote)| {
            let (shelf, mut note) = (Shelf::default(), note(1));
            change(&mut note);
            let sound = shelf.keep(&node("a/1"), vec![note]);
            assert_eq!(sound, shelf.told(id(1)).is_some());
            sound
        };
        let step = Step { link: "l".into(), node: "a/1".into(), taken: true };
        assert!(check(&|note| note.sent = vec![step.clone(); SENT_MAX]));
        assert!(!check(&|note| note.sent = vec![step.clone(); SENT_MAX + 1]));
        assert!(!check(&|note| note.subject = "x".repeat(TEXT_BYTES_MAX + 1)));
        assert!(!check(&|note| note.why = vec!["\u{1b}[2J".to_owned()]));
        assert!(!check(&|note| note.trace = "00".to_owned()));
        assert!(!Shelf::default().keep(&node("a/1"), vec![note(1); TOLD_AT_ONCE + 1]));
        assert_eq!(cut(&"é".repeat(TEXT_BYTES_MAX)).len(), TEXT_BYTES_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trace_is_whole_when_everyone_has_told_of_it_whom_it_was_sent_to() {
        let shelf = Shelf::default();
        let step = |node: &str| Step { link: "l".into(), node: node.into(), taken: true };
        let full = Step { taken: false, ..step("x/1") };
        shelf.keep(&node("a/1"), vec![TraceNote { sent: vec![step("b/1"), full], ..note(1) }]);
        assert!(!shelf.whole(id(1), TELL_EVERY).await);
        let ((), whole) = tokio::join!(
            async {
                shelf.keep(&node("b/1"), vec![TraceNote { came: Some(step("a/1")), ..note(1) }]);
            },
            shelf.whole(id(1), TELL_EVERY)
        );
        assert!(whole);
    }

    #[test]
    fn so_many_a_second_are_noted_and_no_more() {
        let rate = Rate::default();
        let allowed = (0..2 * NOTES_A_SECOND_MAX).filter(|_| rate.allows()).count();
        assert!((NOTES_A_SECOND_MAX as usize..2 * NOTES_A_SECOND_MAX as usize).contains(&allowed), "{allowed}");
    }
}
