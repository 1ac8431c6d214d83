//! Who listens now: the [`Fabric`] on routes.
//!
//! # Invariants
//! - A listener that joined is on every way that is asked for after.
//! - A way is current until an interest that could touch its subject comes or goes. Interests are
//!   told apart by their first token, so that inboxes that come and go leave other ways alone.
//!
//! # Cost
//! Without listeners, whether to deliver costs one atomic read. A way that is kept costs two to
//! check. Asking for one takes a lock that many may hold at a time; only joining and leaving hold
//! it alone, for as long as one pattern is deep.
//!
//! # Beyond this node
//! A [`Far`] says who listens at other nodes; ways lead there too, for what enters here. What it must know in turn,
//! which patterns somebody wants here, is counted from the moment that there is one: a pattern's first and last
//! wisher is a change, and changes wait until they are fetched, one for each pattern however often it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use door::{
    Beyond, Class, Fabric, Far, Group, Hop, KEEPS_AHEAD, KEEPS_UNTAKEN, Keepers, Listener, ListenerId, Taker, Way,
};
use event::Pattern;
use parking_lot::RwLock;
use route::{Interests, Leg};
use tokio::sync::Notify;

use crate::mesh::AHEAD_ELSEWHERE;

/// Into how many parts first tokens are told apart: a few dozen kinds of subjects seldom meet.
const PARTS: usize = 64;

/// What a way's stamp says of the part that its subject is in.
const PART: usize = 0;

/// A pattern, and the queue group that somebody wants it for.
pub(crate) type Wish = (Pattern, Option<Arc<str>>);

#[derive(Default)]
struct Members {
    interests: Interests<Arc<dyn Taker>>,
    next: ListenerId,
    /// Who wants what here, where somebody beyond this node is to know.
    wishes: Option<Wishes>,
}

/// What is wanted here, by how many, and which of that somebody has yet to hear of.
#[derive(Default)]
struct Wishes {
    counts: BTreeMap<Wish, u64>,
    changed: BTreeSet<Wish>,
}

impl Wishes {
    fn come(&mut self, queue: Option<&Arc<str>>, patterns: &[Pattern]) {
        for pattern in each_once(patterns) {
            let count = self.counts.entry((pattern.clone(), queue.cloned())).or_default();
            *count += 1;
            if *count == 1 {
                self.changed.insert((pattern.clone(), queue.cloned()));
            }
        }
    }

    fn go(&mut self, queue: Option<&Arc<str>>, patterns: &[Pattern]) {
        for pattern in each_once(patterns) {
            let wish = (pattern.clone(), queue.cloned());
            let Some(count) = self.counts.get_mut(&wish) else { continue };
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&wish);
                self.changed.insert(wish);
            }
        }
    }
}

fn each_once(patterns: &[Pattern]) -> impl Iterator<Item = &Pattern> {
    patterns.iter().enumerate().filter(|(at, pattern)| !patterns[..*at].contains(pattern)).map(|(_, pattern)| pattern)
}

/// Who listens to a subject at this node.
pub(crate) struct Near {
    pub(crate) direct: Vec<Hop>,
    /// By the name of the group.
    pub(crate) groups: Vec<(Option<Arc<str>>, Group)>,
    pub(crate) repeaters: Vec<Hop>,
    /// By which [`Fabric::is_current`] tells whether it still is so.
    pub(crate) stamp: [u64; 3],
    /// Whether every subject that differs in its last token alone has the same.
    pub(crate) alike: bool,
}

/// Who listens to a subject, and of the groups of those who keep it, the one that is ahead and the other.
type Found = (Near, [Option<Group>; 2]);

/// Whether what comes from other nodes may go to a connection of a class, so that they are to know what it wants.
fn is_told(class: Class) -> bool {
    matches!(class, Class::Client | Class::Repeater)
}

/// See the module.
pub(crate) struct Live {
    /// The one place where membership changes.
    members: RwLock<Members>,
    /// Grows with interests that begin with a wildcard: they touch every part.
    everywhere: AtomicU64,
    parts: [AtomicU64; PARTS],
    listeners: AtomicU64,
    delivered: AtomicU64,
    dropped: AtomicU64,
    watchers: RwLock<Vec<Arc<dyn Fn() + Send + Sync>>>,
    /// Whose turn it is among repeaters.
    round: Arc<AtomicUsize>,
    /// Who listens beyond this node, where it is linked to any, and whom to tell that wishes changed.
    far: OnceLock<(Arc<dyn Far>, Arc<Notify>)>,
}

impl Default for Live {
    fn default() -> Self {
        Live {
            members: RwLock::default(),
            everywhere: AtomicU64::new(0),
            parts: std::array::from_fn(|_| AtomicU64::new(0)),
            listeners: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            watchers: RwLock::default(),
            round: Arc::default(),
            far: OnceLock::new(),
        }
    }
}

impl Live {
    /// Has ways lead beyond this node too, from now on. `wished` is notified when what is wanted here has changed;
    /// all that is wanted now has. Only the first call counts.
    pub(crate) fn set_far(&self, far: Arc<dyn Far>, wished: Arc<Notify>) {
        if self.far.set((far, Arc::clone(&wished))).is_err() {
            return;
        }
        let mut members = self.members.write();
        let mut wishes = Wishes::default();
        for (leg, patterns) in members.interests.each().filter(|(leg, _)| is_told(leg.class)) {
            wishes.come(leg.queue.as_ref(), patterns);
        }
        members.wishes = Some(wishes);
        self.everywhere.fetch_add(1, Ordering::Release);
        drop(members);
        wished.notify_one();
    }

    /// At most so many wishes that changed since they were last fetched, each with whether somebody has it now.
    pub(crate) fn changed_wishes(&self, most: usize) -> Vec<(Wish, bool)> {
        let mut members = self.members.write();
        let Some(wishes) = &mut members.wishes else { return Vec::new() };
        let mut changed = Vec::with_capacity(most.min(wishes.changed.len()));
        while changed.len() < most {
            let Some(wish) = wishes.changed.pop_first() else { break };
            let present = wishes.counts.contains_key(&wish);
            changed.push((wish, present));
        }
        changed
    }

    /// Says that who listens beyond this node to subjects of these patterns has changed: ways are made anew.
    pub(crate) fn touch(&self, patterns: &[Pattern]) {
        patterns.iter().for_each(|pattern| self.bump(pattern));
        self.watchers.read().iter().for_each(|joined| joined());
    }

    fn bump(&self, pattern: &Pattern) {
        let counter = match first_token(pattern.as_str()) {
            "*" | ">" => Some(&self.everywhere),
            token => self.parts.get(part(token)),
        };
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Release);
        }
    }

    /// Called while membership is held alone.
    fn wished(
        &self,
        members: &mut Members,
        of: Option<Class>,
        queue: Option<&Arc<str>>,
        go: &[Pattern],
        come: &[Pattern],
    ) {
        if let Some(wishes) = members.wishes.as_mut().filter(|_| of.is_some_and(is_told)) {
            // First those that come: what stays wanted is no change then.
            wishes.come(queue, come);
            wishes.go(queue, go);
            if let Some((_, wished)) = self.far.get().filter(|_| !wishes.changed.is_empty()) {
                wished.notify_one();
            }
        }
    }

    /// How many listen.
    pub(crate) fn subscribers(&self) -> u64 {
        self.listeners.load(Ordering::Relaxed)
    }

    /// Messages handed to listeners so far.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Messages dropped so far because a listener was slow.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Called while membership is held alone, so that no way of the old state bears the new stamp.
    fn touched(&self, members: &Members, patterns: &[Pattern]) {
        self.listeners.store(members.interests.len() as u64, Ordering::Release);
        patterns.iter().for_each(|pattern| self.bump(pattern));
    }

    /// Who listens to a subject at this node, of what comes from a connection of a class.
    pub(crate) fn near(&self, subject: &str, from: Class) -> Near {
        let part = part(first_token(subject));
        let members = self.members.read();
        let stamp = self.stamp(part);
        let route = members.interests.route(subject, from);
        drop(members);
        let hop = |leg: &Arc<Leg<Arc<dyn Taker>>>| Hop { connection: leg.connection, taker: Arc::clone(&leg.hand) };
        let (mut groups, mut repeaters) = (Vec::with_capacity(route.groups.len()), Vec::new());
        for group in &route.groups {
            match group.first() {
                Some(leg) if leg.class == Class::Repeater => repeaters.extend(group.iter().map(hop)),
                first => {
                    // A member at a replica comes after those at this node, one in another domain after those.
                    let of = |wanted: &dyn Fn(Class) -> bool| -> Vec<Hop> {
                        group.iter().filter(|leg| wanted(leg.class)).map(hop).collect()
                    };
                    let mut members = Group::near(of(&|class| !matches!(class, Class::Peer | Class::Remote)));
                    for tier in [of(&|class| class == Class::Peer), of(&|class| class == Class::Remote)] {
                        members.everywhere.extend(tier.iter().cloned());
                        members.far.extend((!tier.is_empty()).then_some(tier));
                    }
                    groups.push((first.and_then(|leg| leg.queue.clone()), members));
                }
            }
        }
        Near { direct: route.direct.iter().map(hop).collect(), groups, repeaters, stamp, alike: route.alike }
    }

    /// Where the messages of a subject go beyond this node. What comes from a hub or from another node is not sent on
    /// from here: the first by the rules of hubs, the second by those who brought it.
    fn beyond(&self, subject: &str, from: Class, segment: Option<&str>) -> Beyond {
        match (self.far.get(), segment) {
            (Some((far, _)), None) if is_told(from) && !far.is_quiet() => far.beyond(subject),
            (Some((far, _)), Some(segment)) if is_told(from) && !far.is_quiet() => far.beyond_within(subject, segment),
            _ => Beyond { alike: true, ..Beyond::default() },
        }
    }

    /// The way of a subject, and its groups by name: those who keep are not on it.
    fn found(&self, subject: &str, from: Class, segment: Option<&str>) -> Found {
        let mut near = self.near(subject, from);
        let beyond = self.beyond(subject, from, segment);
        let beyond_direct = beyond.direct.len();
        near.direct.extend(beyond.direct);
        for (queue, far) in beyond.groups {
            match near.groups.iter_mut().find(|(name, _)| name.as_ref() == Some(&queue)) {
                Some((_, group)) => {
                    group.far.extend(far.far);
                    group.everywhere.extend(far.everywhere);
                }
                None => near.groups.push((Some(queue), far)),
            }
        }
        near.alike &= beyond.alike;
        let (mut keepers, mut elsewhere) = ([None, None], None);
        near.groups.retain_mut(|(name, group)| {
            let kind = match name.as_deref() {
                Some(KEEPS_AHEAD) => &mut keepers[0],
                Some(KEEPS_UNTAKEN) => &mut keepers[1],
                Some(AHEAD_ELSEWHERE) => &mut elsewhere,
                _ => return true,
            };
            *kind = Some(std::mem::take(group));
            false
        });
        let here = near.direct.len() > beyond_direct || near.groups.iter().any(|(_, group)| !group.near.is_empty());
        if !here && keepers[0].is_none() {
            keepers[0] = elsewhere;
        }
        (near, keepers)
    }

    fn way_of(&self, near: Near, subject: &str, from: Class) -> Arc<Way> {
        let groups = near.groups.into_iter().map(|(_, group)| group).collect();
        let mut way = Way::new(near.direct, groups, near.stamp);
        (way.repeaters, way.from, way.round) = (near.repeaters, from, Arc::clone(&self.round));
        way.alike = near.alike && subject.contains('.');
        way.tracer = self.far.get().filter(|_| is_told(from)).and_then(|(far, _)| far.tracer());
        Arc::new(way)
    }

    fn stamp(&self, part: usize) -> [u64; 3] {
        let version = self.parts.get(part).map_or(0, |counter| counter.load(Ordering::Acquire));
        [part as u64, version, self.everywhere.load(Ordering::Acquire)]
    }
}

/// The class and the queue group of a listener.
fn kind(members: &Members, id: ListenerId) -> (Option<Class>, Option<Arc<str>>) {
    let leg = members.interests.leg(id);
    (leg.map(|leg| leg.class), leg.and_then(|leg| leg.queue.clone()))
}

fn first_token(subject: &str) -> &str {
    subject.split('.').next().unwrap_or_default()
}

/// FNV-1a: which part a first token is in. Tokens that a stranger makes meet cost a way made anew.
fn part(token: &str) -> usize {
    let hash = token.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash as usize % PARTS
}

impl Fabric for Live {
    fn is_quiet(&self) -> bool {
        self.listeners.load(Ordering::Acquire) == 0 && self.far.get().is_none_or(|(far, _)| far.is_quiet())
    }

    fn way_from(&self, subject: &str, from: Class) -> Arc<Way> {
        self.way_of(self.found(subject, from, None).0, subject, from)
    }

    fn way_within(&self, subject: &str, segment: Option<&str>) -> Arc<Way> {
        self.way_of(self.found(subject, Class::Client, segment).0, subject, Class::Client)
    }

    fn keepers(&self, subject: &str, from: Class) -> Keepers {
        let (Near { stamp, .. }, keepers) = self.found(subject, from, None);
        let [ahead, untaken] = keepers.map(|group| Some(Arc::new(Way::new(Vec::new(), vec![group?], stamp))));
        Keepers { ahead, untaken }
    }

    fn is_current(&self, way: &Way) -> bool {
        let part = way.stamp.get(PART).and_then(|part| usize::try_from(*part).ok()).unwrap_or(PARTS);
        self.stamp(part) == way.stamp
    }

    fn count(&self, taken: u64, refused: u64) {
        self.delivered.fetch_add(taken, Ordering::Relaxed);
        if refused > 0 {
            self.dropped.fetch_add(refused, Ordering::Relaxed);
        }
    }

    fn join(&self, listener: Listener) -> ListenerId {
        let Listener { patterns, queue, connection, class, taker } = listener;
        let mut members = self.members.write();
        let number = members.next;
        members.next += 1;
        self.wished(&mut members, Some(class), queue.as_ref(), &[], &patterns);
        members.interests.add(Leg { class, number, connection, queue, hand: taker }, &patterns);
        self.touched(&members, &patterns);
        drop(members);
        self.watchers.read().iter().for_each(|joined| joined());
        number
    }

    fn watch(&self, joined: Arc<dyn Fn() + Send + Sync>) {
        self.watchers.write().push(joined);
    }

    fn change(&self, id: ListenerId, patterns: Vec<Pattern>) {
        let mut members = self.members.write();
        let (class, queue) = kind(&members, id);
        if let Some(before) = members.interests.change(id, &patterns) {
            self.wished(&mut members, class, queue.as_ref(), &before, &patterns);
            self.touched(&members, &before);
            self.touched(&members, &patterns);
        }
        drop(members);
        self.watchers.read().iter().for_each(|joined| joined());
    }

    fn leave(&self, id: ListenerId) {
        let mut members = self.members.write();
        let (class, queue) = kind(&members, id);
        if let Some(patterns) = members.interests.remove(id) {
            self.wished(&mut members, class, queue.as_ref(), &patterns, &[]);
            self.touched(&members, &patterns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use door::{Heard, Subscription};
    use event::{Message, Subject};
    use parking_lot::Mutex;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    fn message(subject: &str, payload: &'static str) -> Message {
        Message::new(Subject::parse(subject).unwrap(), payload)
    }

    #[tokio::test]
    async fn each_hears_once_what_any_of_its_patterns_matches() {
        let live = Arc::new(Live::default());
        assert!(live.is_quiet());
        let mut both = Subscription::new(live.clone(), &[pattern("a.>"), pattern("a.*")], 8, 1024);
        let mut other = Subscription::new(live.clone(), &[pattern("b")], 8, 1024);
        assert_eq!(live.deliver(&message("a.b", "1")), 1);
        assert_eq!(live.deliver(&message("b", "2")), 1);
        assert_eq!(live.deliver(&message("c", "3")), 0);
        assert_eq!(both.next().await, Some(Heard::Message(message("a.b", "1"))));
        assert_eq!(other.next().await, Some(Heard::Message(message("b", "2"))));
        drop((both, other));
        assert!(live.is_quiet() && live.deliver(&message("b", "4")) == 0);
    }

    #[tokio::test]
    async fn who_does_not_keep_up_loses_alone() {
        let live = Arc::new(Live::default());
        let mut slow = Subscription::new(live.clone(), &[pattern("a")], 1, 1024);
        let mut quick = Subscription::new(live.clone(), &[pattern("a")], 8, 1024);
        for payload in ["1", "2", "3"] {
            live.deliver(&message("a", payload));
        }
        assert_eq!((live.delivered(), live.dropped()), (4, 2));
        assert_eq!(slow.next().await, Some(Heard::Dropped(2)));
        for payload in ["1", "2", "3"] {
            assert_eq!(quick.next().await, Some(Heard::Message(message("a", payload))));
        }
    }

    struct Elsewhere(Mutex<Vec<(&'static str, Arc<dyn Taker>)>>);

    impl Far for Elsewhere {
        fn is_quiet(&self) -> bool {
            self.0.lock().is_empty()
        }

        fn beyond(&self, subject: &str) -> Beyond {
            let taker = |(_, taker): &(&str, Arc<dyn Taker>)| Hop { connection: 7, taker: Arc::clone(taker) };
            let all = self.0.lock();
            let mut found = all.iter().filter(|(pattern, _)| Pattern::parse(pattern).unwrap().matches(subject));
            Beyond { direct: found.by_ref().map(taker).collect(), groups: Vec::new(), alike: true }
        }
    }

    #[derive(Default)]
    struct Counted(AtomicU64);

    impl Taker for Counted {
        fn take(&self, _parcel: &door::Parcel<'_>) -> door::Took {
            self.0.fetch_add(1, Ordering::Relaxed);
            door::Took::Yes
        }
    }

    #[test]
    fn what_enters_here_goes_beyond_and_what_comes_from_there_does_not_go_back() {
        let (live, taker) = (Live::default(), Arc::new(Counted::default()));
        let far = Arc::new(Elsewhere(Mutex::new(Vec::new())));
        live.set_far(far.clone(), Arc::default());
        assert!(live.is_quiet());
        let before = live.way("a.b");
        far.0.lock().push(("a.*", taker.clone()));
        live.touch(&[pattern("a.*")]);
        assert!(!live.is_quiet() && !live.is_current(&before) && live.is_current(&live.way("b")));
        assert_eq!(live.deliver(&message("a.b", "1")), 1);
        assert!(live.way_from("a.b", Class::Remote).is_empty() && live.way_from("a.b", Class::Peer).is_empty());
        assert!(live.way_from("a.b", Class::Hub).is_empty() && !live.way_from("a.b", Class::Repeater).is_empty());
    }

    #[test]
    fn others_are_told_the_first_and_the_last_who_wants_a_pattern() {
        let live = Arc::new(Live::default());
        let listen = |patterns: &[Pattern]| Subscription::new(live.clone(), patterns, 8, 1024);
        let early = listen(&[pattern("a"), pattern("a")]);
        assert!(live.changed_wishes(9).is_empty());
        let wished = Arc::new(Notify::new());
        live.set_far(Arc::new(Elsewhere(Mutex::default())), wished.clone());
        assert_eq!(live.changed_wishes(9), [((pattern("a"), None), true)]);
        let more = listen(&[pattern("a"), pattern("b.>")]);
        assert_eq!(live.changed_wishes(9), [((pattern("b.>"), None), true)]);
        drop(early);
        assert!(live.changed_wishes(9).is_empty());
        drop(more);
        assert_eq!(live.changed_wishes(1).len(), 1);
        assert_eq!(live.changed_wishes(9), [((pattern("b.>"), None), false)]);
        let queue: Arc<str> = "q".into();
        let join = |class| {
            let (taker, queue) = (Arc::new(Counted::default()), Some(queue.clone()));
            live.join(Listener { patterns: vec![pattern("c")], queue, connection: 1, class, taker })
        };
        let (_hub, client) = (join(Class::Hub), join(Class::Client));
        assert_eq!(live.changed_wishes(9), [((pattern("c"), Some(queue.clone())), true)]);
        live.change(client, vec![pattern("d")]);
        let gone_and_come = [((pattern("c"), Some(queue.clone())), false), ((pattern("d"), Some(queue)), true)];
        assert_eq!(live.changed_wishes(9), gone_and_come);
    }

    #[test]
    fn a_member_of_a_group_at_a_replica_or_in_another_domain_comes_after_those_at_this_node() {
        let live = Live::default();
        let queue: Arc<str> = "q".into();
        let join = |class, connection| {
            let (taker, queue) = (Arc::new(Counted::default()), Some(queue.clone()));
            live.join(Listener { patterns: vec![pattern("a.b")], queue, connection, class, taker })
        };
        let (replica, client) = (join(Class::Peer, 1), join(Class::Client, 2));
        let shown = |live: &Live| {
            let way = live.way("a.b");
            let of = |hops: &[Hop]| hops.iter().map(|hop| hop.connection).collect::<Vec<_>>();
            let group = way.groups.first().cloned().unwrap_or_default();
            (of(&group.near), group.far.iter().map(|tier| of(tier)).collect::<Vec<_>>(), of(&group.everywhere))
        };
        assert_eq!(shown(&live), (vec![2], vec![vec![1]], vec![1]));
        live.leave(client);
        assert_eq!(shown(&live), (vec![], vec![vec![1]], vec![1]));
        let elsewhere = join(Class::Remote, 3);
        assert_eq!(shown(&live), (vec![], vec![vec![1], vec![3]], vec![1, 3]));
        live.leave(replica);
        live.leave(elsewhere);
        assert!(live.way("a.b").groups.is_empty());
    }

    #[test]
    fn a_way_is_current_until_an_interest_that_could_touch_it_changes() {
        let live = Arc::new(Live::default());
        let (a, b) = (live.way("a.x"), live.way("b.x"));
        assert_ne!(part("a"), part("b"));
        let subscription = Subscription::new(live.clone(), &[pattern("a.y")], 1, 1);
        assert!(!live.is_current(&a) && live.is_current(&b));
        let everywhere = Subscription::new(live.clone(), &[pattern("*.y")], 1, 1);
        assert!(!live.is_current(&b));
        let b = live.way("b.y");
        assert!(live.is_current(&b) && b.direct.len() == 1);
        drop((subscription, everywhere));
        assert!(!live.is_current(&b) && live.way("b.y").is_empty());
    }
}
