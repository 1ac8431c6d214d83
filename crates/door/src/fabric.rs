//! Who listens now.
//!
//! A [`Fabric`] knows who wants a subject and makes [`Way`]s of it; a way hands a [`Parcel`] to each
//! [`Taker`] that it leads to, which writes it, already in its own protocol, into its own bounded
//! buffer.
//!
//! # Invariants
//! - Offering never waits. A taker that has no room says so, does what its policy says (drop and
//!   count, or hang up), and nobody else notices.
//! - A way never changes. Who keeps one asks [`Fabric::is_current`] before each use, which costs a
//!   few atomic reads.
//! - A listener that joined before a message was offered is offered it.
//!
//! # Cost
//! One call and one copy for each receiver; no allocation, no lock but the receiver's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use event::{Headers, Message, Pattern, Subject, TraceParent};
pub use route::Class;

/// Names one listener of a fabric.
pub type ListenerId = u64;

/// Names one connection of a node. [`NOBODY`] where a message comes from none.
pub type ConnectionId = u64;

/// The connection of what comes from no connection.
pub const NOBODY: ConnectionId = 0;

/// The queue group of those who keep what nobody else takes. No client can name it: it holds a space.
pub const KEEPS_UNTAKEN: &str = "keeps untaken";

/// The queue group of those who have something kept, and so take what comes before anybody else does: nothing is to
/// overtake what they keep.
pub const KEEPS_AHEAD: &str = "keeps ahead";

/// The header of a parcel from another node that is handed to one who keeps it: the segment in which it came; empty
/// where it entered in the own domain.
pub const WITHIN_HEADER: &str = "Tidings-Within";

/// A message on its way to its receivers: borrowed, never kept.
#[derive(Debug, Clone, Copy)]
pub struct Parcel<'a> {
    /// The subject that receivers see. It need not be the one that the way leads to.
    pub subject: &'a str,
    /// Where an answer is awaited; empty: nowhere.
    pub reply: &'a str,
    /// A status such as `503` or `100 Idle Heartbeat`, as the first line of NATS's header block has
    /// it; empty: none.
    pub status: &'a str,
    /// The header block, as [`Headers`] keeps it.
    pub headers: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
}

impl<'a> Parcel<'a> {
    /// A parcel with a payload alone.
    pub fn new(subject: &'a str, payload: &'a [u8]) -> Self {
        Parcel { subject, reply: "", status: "", headers: &[], payload }
    }

    /// The message as it is.
    pub fn of(message: &'a Message) -> Self {
        Parcel {
            subject: message.subject.as_str(),
            reply: message.reply.as_ref().map_or("", Subject::as_str),
            status: "",
            headers: message.headers.as_block(),
            payload: &message.payload,
        }
    }

    /// Bytes of subject, headers and payload together.
    pub fn size(&self) -> usize {
        self.subject.len() + self.headers.len() + self.payload.len()
    }

    /// A copy that can be kept; `None` where subject, reply or headers break the grammar.
    pub fn to_message(&self) -> Option<Message> {
        let reply = match self.reply {
            "" => None,
            reply => Some(Subject::parse(reply).ok()?),
        };
        let headers = match self.headers {
            [] => Headers::EMPTY,
            block => Headers::from_block(Bytes::copy_from_slice(block)).ok()?,
        };
        let subject = Subject::parse(self.subject).ok()?;
        Some(Message { subject, reply, headers, payload: Bytes::copy_from_slice(self.payload) })
    }
}

/// What a taker said to a parcel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Took {
    /// It has no room, or is gone: somebody else of its group may take it.
    No,
    /// It has it.
    Yes,
    /// It has it, and waits to be [`flushed`](Taker::flush) or [woken](Taker::wake).
    First,
}

/// The receiving end of one listener.
pub trait Taker: Send + Sync {
    /// Takes a parcel, or not. Must not block: it is called from engines' own threads.
    fn take(&self, parcel: &Parcel<'_>) -> Took;

    /// Takes a parcel that is [traced](Tracer): one that goes on says so to whoever it goes to.
    fn take_traced(&self, parcel: &Parcel<'_>) -> Took {
        self.take(parcel)
    }

    /// After [`Took::First`]: sends what was taken, from this thread as far as that does not wait.
    fn flush(&self) {
        self.wake();
    }

    /// After [`Took::First`]: lets its own task send what was taken. Cheap.
    fn wake(&self) {}

    /// Whether so much waits in it that whoever sends had better pause for a moment, and it still
    /// makes progress.
    fn is_pressed(&self) -> bool {
        false
    }

    /// Whether so much waits in it that whoever keeps messages elsewhere had better leave them there,
    /// whether it makes progress or not.
    fn is_laden(&self) -> bool {
        self.is_pressed()
    }
}

/// Who a traced parcel was offered to, and what they said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offered {
    /// The connection of the receiver.
    pub connection: ConnectionId,
    /// Whether it was offered as to one of a group.
    pub grouped: bool,
    /// Whether it took it.
    pub taken: bool,
}

/// Notes what became of messages whose publishers ask for that, in the header `traceparent`. Asked only for what has
/// headers.
pub trait Tracer: Send + Sync {
    /// What of a parcel is noted; `None`: nothing.
    fn traced(&self, parcel: &Parcel<'_>) -> Option<TraceParent>;

    /// A parcel of which something is noted came at that time, and was offered to all of these. Must be quick.
    fn note(&self, trace: &TraceParent, began: Instant, parcel: &Parcel<'_>, offered: &[Offered]);
}

/// A listener about to join a fabric.
pub struct Listener {
    /// What it wants; a message that several of these match comes once.
    pub patterns: Vec<Pattern>,
    /// The queue group that it is a member of.
    pub queue: Option<Arc<str>>,
    /// The connection that it belongs to.
    pub connection: ConnectionId,
    /// The kind of that connection: which messages may go there.
    pub class: Class,
    /// Where its messages go.
    pub taker: Arc<dyn Taker>,
}

/// One receiver that a way leads to.
#[derive(Clone)]
pub struct Hop {
    /// The connection that it belongs to.
    pub connection: ConnectionId,
    /// Where messages go.
    pub taker: Arc<dyn Taker>,
}

/// The members of one queue group.
#[derive(Clone, Default)]
pub struct Group {
    /// Members at this node: they come first, in turn.
    pub near: Vec<Hop>,
    /// Where members are beyond this node, the nearest first: one of the first of these that takes it gets a copy
    /// for one member there, where nobody near does.
    pub far: Vec<Vec<Hop>>,
    /// The ways to all members beyond this node, for what every member is to have.
    pub everywhere: Vec<Hop>,
}

impl Group {
    /// A group of members at this node.
    pub fn near(near: Vec<Hop>) -> Self {
        Group { near, ..Group::default() }
    }
}

/// How many members of a queue group get a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spread {
    /// One of each group: the nearest that takes it.
    #[default]
    One,
    /// Every member of each group.
    Every,
}

/// Where the messages of one subject go, as it was when it was asked for. Never changes.
#[derive(Clone)]
pub struct Way {
    /// Each of these gets a copy.
    pub direct: Vec<Hop>,
    /// Of each of these, one or every member gets a copy, by the way's [`Spread`].
    pub groups: Vec<Group>,
    /// One of these gets a copy.
    pub repeaters: Vec<Hop>,
    /// Whose turn it is among the repeaters: all ways of a fabric share it.
    pub round: Arc<AtomicUsize>,
    /// The kind of connection that its messages come from.
    pub from: Class,
    /// How many members of a group get a copy.
    pub spread: Spread,
    /// What the fabric tells currency by.
    pub stamp: [u64; 3],
    /// Whether every subject that differs in its last token alone has the same way. Inboxes mostly
    /// do, so that the way to one answer leads to the next.
    pub alike: bool,
    /// Who notes what became of its messages, where that is asked for.
    pub tracer: Option<Arc<dyn Tracer>>,
    turn: Arc<AtomicUsize>,
}

impl Way {
    /// A way to these.
    pub fn new(direct: Vec<Hop>, groups: Vec<Group>, stamp: [u64; 3]) -> Self {
        Way {
            direct,
            groups,
            repeaters: Vec::new(),
            round: Arc::default(),
            from: Class::Client,
            spread: Spread::One,
            stamp,
            alike: false,
            tracer: None,
            turn: Arc::default(),
        }
    }

    /// The same way, with another spread.
    #[must_use]
    pub fn spread(self: &Arc<Self>, spread: Spread) -> Arc<Self> {
        match self.spread == spread {
            true => Arc::clone(self),
            false => Arc::new(Way { spread, ..(**self).clone() }),
        }
    }

    /// Every receiver that a copy may go to, but for repeaters.
    pub fn hops(&self) -> impl Iterator<Item = &Hop> {
        let grouped = self.groups.iter().flat_map(|group| group.near.iter().chain(group.far.iter().flatten()));
        self.direct.iter().chain(grouped)
    }

    /// Whether it leads nowhere.
    pub fn is_empty(&self) -> bool {
        self.direct.is_empty() && self.groups.is_empty() && self.repeaters.is_empty()
    }

    /// Offers a parcel to everyone that it leads to, but for the connection `without` ([`NOBODY`]:
    /// to all). `first` is called for each taker that waits to be flushed or woken; the counts are
    /// of those who took it and of those who would not.
    pub fn offer(
        &self,
        parcel: &Parcel<'_>,
        without: ConnectionId,
        first: &mut dyn FnMut(&Arc<dyn Taker>),
    ) -> (u64, u64) {
        if parcel.headers.is_empty() {
            return self.each(without, |hop, _| give(hop, hop.taker.take(parcel), first));
        }
        let traced = self.tracer.as_ref().and_then(|tracer| Some((tracer, tracer.traced(parcel)?)));
        let Some((tracer, trace)) = traced else {
            return self.each(without, |hop, _| give(hop, hop.taker.take(parcel), first));
        };
        let (began, mut offered) = (Instant::now(), Vec::new());
        let counts = self.each(without, |hop, grouped| {
            let taken = give(hop, hop.taker.take_traced(parcel), first);
            offered.push(Offered { connection: hop.connection, grouped, taken });
            taken
        });
        tracer.note(&trace, began, parcel, &offered);
        counts
    }

    /// Has each receiver given a copy, by the rules of groups; how many took it and how many would not.
    fn each(&self, without: ConnectionId, mut give: impl FnMut(&Hop, bool) -> bool) -> (u64, u64) {
        let (mut taken, mut refused) = (0, 0);
        let excluded = |hop: &Hop| without != NOBODY && hop.connection == without;
        for hop in self.direct.iter().filter(|hop| !excluded(hop)) {
            if give(hop, false) { taken += 1 } else { refused += 1 }
        }
        let mut one_of = |hops: &[Hop], turn: usize| {
            let (before, after) = hops.split_at(turn % hops.len().max(1));
            after.iter().chain(before).filter(|hop| !excluded(hop)).any(|hop| give(hop, true))
        };
        let mut count = |took: bool| if took { taken += 1 } else { refused += 1 };
        for group in &self.groups {
            match self.spread {
                Spread::One => {
                    let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                    count(one_of(&group.near, turn) || group.far.iter().any(|tier| one_of(tier, turn)));
                }
                Spread::Every => {
                    for hop in group.near.iter().chain(&group.everywhere).filter(|hop| !excluded(hop)) {
                        count(one_of(std::slice::from_ref(hop), 0));
                    }
                }
            }
        }
        if !self.repeaters.is_empty() {
            // The second of two comes first: clients of the first hubs rely on no order, and see theirs.
            count(one_of(&self.repeaters, self.round.fetch_add(1, Ordering::Relaxed).wrapping_add(1)));
        }
        (taken, refused)
    }
}

/// Whether a receiver took a parcel; it is flushed later where it waits for that.
fn give(hop: &Hop, took: Took, first: &mut dyn FnMut(&Arc<dyn Taker>)) -> bool {
    if took == Took::First {
        first(&hop.taker);
    }
    took != Took::No
}

/// Who keeps the messages of a subject for receivers that are away, here or beyond this node.
#[derive(Clone, Default)]
pub struct Keepers {
    /// One of these is offered each message first; only where nobody of them takes it, others are.
    pub ahead: Option<Arc<Way>>,
    /// One of these is offered what nobody else took.
    pub untaken: Option<Arc<Way>>,
}

/// Where the messages of one subject go beyond this node, as it was when it was asked for.
#[derive(Default)]
pub struct Beyond {
    /// Each of these gets a copy.
    pub direct: Vec<Hop>,
    /// The groups that have members there, by name; [`Group::near`] is empty.
    pub groups: Vec<(Arc<str>, Group)>,
    /// Whether every subject that differs in its last token alone has the same.
    pub alike: bool,
}

/// Knows who listens beyond this node. It says when that changes.
pub trait Far: Send + Sync {
    /// Whether nobody listens there at all.
    fn is_quiet(&self) -> bool;

    /// Where the messages of a subject go that enter at this node. Asked when a way is made, not for each message.
    fn beyond(&self, subject: &str) -> Beyond;

    /// The same for a message that entered elsewhere and was kept here: it goes to the own domain, and to others
    /// within the segment in which it came.
    fn beyond_within(&self, subject: &str, segment: &str) -> Beyond {
        let (_, _) = (subject, segment);
        Beyond::default()
    }

    /// Who notes what becomes of messages that enter at this node.
    fn tracer(&self) -> Option<Arc<dyn Tracer>> {
        None
    }
}

/// Knows who wants what, now. Implemented by the host.
pub trait Fabric: Send + Sync {
    /// Whether nobody listens at all, so that a message need not be kept for them.
    fn is_quiet(&self) -> bool;

    /// Where the messages of a subject go that come from a connection of a class.
    fn way_from(&self, subject: &str, from: Class) -> Arc<Way>;

    /// Where the messages of a subject go that come from a client.
    fn way(&self, subject: &str) -> Arc<Way> {
        self.way_from(subject, Class::Client)
    }

    /// Where a message of a subject goes that was kept here: as one from a client, but of other domains to those
    /// alone that are in the segment in which it came. `None`: it entered in the own domain.
    fn way_within(&self, subject: &str, segment: Option<&str>) -> Arc<Way> {
        match segment {
            None => self.way(subject),
            Some(_) => Arc::new(Way::new(Vec::new(), Vec::new(), [0; 3])),
        }
    }

    /// Who keeps the messages of a subject that come from a connection of a class: no way leads to them. Current for as long as a way to the subject is that
    /// was asked for before.
    fn keepers(&self, subject: &str, from: Class) -> Keepers {
        let (_, _) = (subject, from);
        Keepers::default()
    }

    /// Whether a way to this subject is as it would be if it was asked for now.
    fn is_current(&self, way: &Way) -> bool;

    /// Counts what was handed to listeners, and what they would not take.
    fn count(&self, taken: u64, refused: u64);

    /// Adds a listener.
    fn join(&self, listener: Listener) -> ListenerId;

    /// Has a listener want other patterns, at once: nothing that both match is missed or comes twice.
    /// Unknown ones are ignored.
    fn change(&self, id: ListenerId, patterns: Vec<Pattern>);

    /// Takes a listener out. Unknown ones are ignored.
    fn leave(&self, id: ListenerId);

    /// Has `joined` called after each listener that joins, here or beyond this node, from now on: on the joiner's
    /// thread, so it must be quick. For the few who wait for somebody to listen.
    fn watch(&self, joined: Arc<dyn Fn() + Send + Sync>);

    /// Offers a message to everyone who wants it, and wakes whoever took it; how many did.
    fn deliver(&self, message: &Message) -> u64 {
        if self.is_quiet() && TraceParent::sampled(message.headers.as_block()).is_none() {
            return 0;
        }
        self.send(message.subject.as_str(), &Parcel::of(message))
    }

    /// Offers a parcel to everyone who listens to `to`, and wakes whoever took it; how many did.
    fn send(&self, to: &str, parcel: &Parcel<'_>) -> u64 {
        let (taken, refused) = self.way(to).offer(parcel, NOBODY, &mut |taker| taker.wake());
        self.count(taken, refused);
        taken
    }
}

/// A fabric without listeners, for nodes and tests that need none: nobody hears anything.
#[derive(Debug, Default)]
pub struct Quiet;

impl Fabric for Quiet {
    fn is_quiet(&self) -> bool {
        true
    }

    fn way_from(&self, _subject: &str, from: Class) -> Arc<Way> {
        Arc::new(Way { from, ..Way::new(Vec::new(), Vec::new(), [0; 3]) })
    }

    fn is_current(&self, _way: &Way) -> bool {
        true
    }

    fn count(&self, _taken: u64, _refused: u64) {}

    fn join(&self, _listener: Listener) -> ListenerId {
        0
    }

    fn change(&self, _id: ListenerId, _patterns: Vec<Pattern>) {}

    fn leave(&self, _id: ListenerId) {}

    fn watch(&self, _joined: Arc<dyn Fn() + Send + Sync>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    struct Scripted(Mutex<Vec<String>>, Took);

    impl Taker for Scripted {
        fn take(&self, parcel: &Parcel<'_>) -> Took {
            self.0.lock().unwrap().push(parcel.subject.to_owned());
            self.1
        }
    }

    fn taker(took: Took) -> (Arc<Scripted>, Arc<dyn Taker>) {
        let scripted = Arc::new(Scripted(Mutex::new(Vec::new()), took));
        (Arc::clone(&scripted), scripted)
    }

    #[test]
    fn a_group_passes_over_members_that_have_no_room_and_the_sender() {
        let (full, full_hand) = taker(Took::No);
        let (free, free_hand) = taker(Took::First);
        let (own, own_hand) = taker(Took::Yes);
        let hop = |connection, taker: &Arc<dyn Taker>| Hop { connection, taker: Arc::clone(taker) };
        let group = vec![hop(1, &full_hand), hop(2, &free_hand), hop(3, &own_hand)];
        let way = Way::new(vec![hop(3, &own_hand)], vec![Group::near(group)], [0; 3]);
        let mut flushed = 0;
        for _ in 0..6 {
            let counts = way.offer(&Parcel::new("a", b""), 3, &mut |_| flushed += 1);
            assert_eq!(counts, (1, 0));
        }
        assert_eq!(free.0.lock().unwrap().len(), 6);
        assert!(own.0.lock().unwrap().is_empty() && !full.0.lock().unwrap().is_empty());
        assert_eq!(flushed, 6);
    }

    #[test]
    fn who_is_near_comes_before_who_is_far_and_every_member_has_one_where_all_are_meant() {
        let (near, near_hand) = taker(Took::Yes);
        let (full, full_hand) = taker(Took::No);
        let (far, far_hand) = taker(Took::Yes);
        let (last, last_hand) = taker(Took::Yes);
        let hop = |connection, taker: &Arc<dyn Taker>| Hop { connection, taker: Arc::clone(taker) };
        let beyond = vec![vec![hop(2, &full_hand)], vec![hop(3, &far_hand)], vec![hop(4, &last_hand)]];
        let everywhere = vec![hop(3, &far_hand), hop(4, &last_hand)];
        let group = Group { near: vec![hop(1, &near_hand)], far: beyond, everywhere };
        let way = Arc::new(Way::new(Vec::new(), vec![group], [0; 3]));
        let heard = |taker: &Scripted| taker.0.lock().unwrap().len();
        for _ in 0..3 {
            assert_eq!(way.offer(&Parcel::new("a", b""), NOBODY, &mut |_| ()), (1, 0));
        }
        assert_eq!((heard(&near), heard(&far), heard(&last)), (3, 0, 0));
        assert_eq!(way.offer(&Parcel::new("a", b""), 1, &mut |_| ()), (1, 0));
        assert_eq!((heard(&full), heard(&far), heard(&last)), (1, 1, 0));
        let every = way.spread(Spread::Every);
        assert_eq!(every.offer(&Parcel::new("a", b""), 4, &mut |_| ()), (2, 0));
        assert_eq!((heard(&near), heard(&far), heard(&last)), (4, 2, 0));
    }

    /// Notes what has headers.
    #[derive(Default)]
    struct Noting(Mutex<Vec<Vec<Offered>>>);

    impl Tracer for Noting {
        fn traced(&self, parcel: &Parcel<'_>) -> Option<TraceParent> {
            TraceParent::sampled(parcel.headers)
        }

        fn note(&self, _trace: &TraceParent, _began: Instant, _parcel: &Parcel<'_>, offered: &[Offered]) {
            self.0.lock().unwrap().push(offered.to_vec());
        }
    }

    #[test]
    fn what_became_of_a_message_is_noted_where_its_publisher_asks_for_it() {
        let ((_, full), (_, free)) = (taker(Took::No), taker(Took::Yes));
        let hop = |connection, taker: &Arc<dyn Taker>| Hop { connection, taker: Arc::clone(taker) };
        let noting = Arc::new(Noting::default());
        let group = Group { far: vec![vec![hop(2, &full)], vec![hop(3, &free)]], ..Group::default() };
        let tracer = Some(Arc::clone(&noting) as Arc<dyn Tracer>);
        let way = Way { tracer, ..Way::new(vec![hop(1, &free)], vec![group], [0; 3]) };
        let asks = b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
        for headers in [&b""[..], b"a: b\r\n", asks] {
            assert_eq!(way.offer(&Parcel { headers, ..Parcel::new("a", b"") }, NOBODY, &mut |_| ()), (2, 0));
        }
        let offered = |connection, grouped, taken| Offered { connection, grouped, taken };
        let all = vec![offered(1, false, true), offered(2, true, false), offered(3, true, true)];
        assert_eq!(*noting.0.lock().unwrap(), [all]);
    }

    #[test]
    fn repeaters_take_turns_over_all_ways_and_stand_in_for_each_other() {
        let (one, one_hand) = taker(Took::Yes);
        let (two, two_hand) = taker(Took::Yes);
        let (full, full_hand) = taker(Took::No);
        let hop = |connection, taker: &Arc<dyn Taker>| Hop { connection, taker: Arc::clone(taker) };
        let round = Arc::new(AtomicUsize::new(0));
        let way = |repeaters| {
            let round = Arc::clone(&round);
            Way { repeaters, round, ..Way::new(Vec::new(), Vec::new(), [0; 3]) }
        };
        let (first, second) =
            (way(vec![hop(1, &one_hand), hop(2, &two_hand)]), way(vec![hop(1, &one_hand), hop(2, &two_hand)]));
        let heard = |taker: &Scripted| taker.0.lock().unwrap().len();
        first.offer(&Parcel::new("a", b""), NOBODY, &mut |_| ());
        assert_eq!((heard(&one), heard(&two)), (0, 1));
        second.offer(&Parcel::new("b", b""), NOBODY, &mut |_| ());
        assert_eq!((heard(&one), heard(&two)), (1, 1));
        let third = way(vec![hop(3, &full_hand), hop(1, &one_hand)]);
        for _ in 0..2 {
            assert_eq!(third.offer(&Parcel::new("c", b""), NOBODY, &mut |_| ()), (1, 0));
        }
        assert!(heard(&full) > 0 && heard(&one) == 3);
    }

    #[test]
    fn a_parcel_becomes_a_message_where_it_keeps_the_grammar() {
        let parcel = Parcel { reply: "r", headers: b"A: 1\r\n", ..Parcel::new("a.b", b"x") };
        let message = parcel.to_message().unwrap();
        assert_eq!((message.subject.as_str(), &message.payload[..]), ("a.b", &b"x"[..]));
        assert_eq!(Parcel::of(&message).headers, parcel.headers);
        assert!(Parcel { headers: b"A", ..parcel }.to_message().is_none());
    }
}
